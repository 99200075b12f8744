"""The editions of a lesson: one source, several notebooks.

*Reading*: executed, with outputs, committed; a translation has the outputs of the English one.
*Own*: the same without outputs and without answers, for the learner to work in. *Solved*: each
exercise as the source has it, in memory. Each of them may be given another seed.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from builder.quiz import quiz_cell, read_quizzes
from builder.source import (
    UNSTABLE,
    BuildError,
    Source,
    exercises,
    file_name,
    slug,
    solution_id,
    tags,
)

LABELS = {
    "en": {"hint": "Hint", "solution": "Solution", "why": "Your guess first. Then: why"},
    "vi": {"hint": "Gợi ý", "solution": "Lời giải", "why": "Đoán trước đã. Rồi xem vì sao"},
}


# -- a notebook -------------------------------------------------------------------------------


def built_path(path: Path, language: str = "") -> Path:
    """Return where the notebook of a source is, in English or in another language."""
    return path.parent.parent / language / f"{path.stem}.ipynb"


def load(path: Path) -> NotebookNode | None:
    """Read a built notebook; None when it is missing or no notebook."""
    try:
        return nbformat.read(path, as_version=4)
    except Exception:  # nbformat raises a dozen kinds, and each means: build it anew
        return None


def dumps(notebook: NotebookNode) -> str:
    """Write a notebook as the text of its file."""
    return nbformat.writes(notebook, version=4) + "\n"


def outputs(cell: NotebookNode) -> list[NotebookNode]:
    """Return the outputs of a cell (none for Markdown)."""
    return cell.get("outputs", [])


def printed(cell: NotebookNode) -> str:
    """Return all text that a cell shows."""
    texts = [o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in outputs(cell)]
    return "\n".join(texts)


def draws(cell: NotebookNode) -> bool:
    """Say whether a cell shows a picture."""
    return any("image/png" in output.get("data", {}) for output in outputs(cell))


def told_by(following: NotebookNode | None) -> str:
    """Return the text of the cell below a picture, if it tells the picture; else nothing."""
    return following.source if following and "figure-text" in tags(following) else ""


def sections(cells: Iterable[NotebookNode]) -> list[list[NotebookNode]]:
    """Cut a notebook at its headings of the second level."""
    parts: list[list[NotebookNode]] = [[]]
    for cell in cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            parts.append([])
        parts[-1].append(cell)
    return parts


# -- from a source ----------------------------------------------------------------------------


def reading_edition(source: Source, language: str = "en") -> NotebookNode:
    """Put stubs for exercises, fold hints and solutions, tag for nbval, end with the questions.

    The metadata are those alone that a notebook needs.

    Raises
    ------
    BuildError
        ``LABELS`` has no words for the language.
    """
    if language not in LABELS:
        raise BuildError(f"{file_name(source.path)}: LABELS has no words for {language!r}")
    notebook = nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    asked = exercises(source)
    solution = None  # of the exercise before, whose hints may still come
    for cell in copy.deepcopy(source.cells):
        if "hint" in tags(cell):
            cell = folded(cell.id, "hint", cell.source, language)
        elif solution is not None:
            notebook.cells.append(solution)
            solution = None
        if cell.id in asked:
            cell.source = asked[cell.id].stub
            code = fenced(asked[cell.id].solution)
            solution = folded(solution_id(cell.id), "solution", code, language)
        if "claims" in tags(cell):  # JupyterLab shows its first line alone, and what it says
            cell.metadata["jupyter"] = {"source_hidden": True}
        if UNSTABLE.intersection(tags(cell)):
            cell.metadata["tags"] = [*tags(cell), "nbval-ignore-output"]
        notebook.cells.append(cell)
    if solution is not None:
        notebook.cells.append(solution)
    folder = source.path.parent / ("" if language == "en" else language)
    if questions := read_quizzes(folder).get(slug(source.path)):
        notebook.cells.append(quiz_cell(questions, language, notebook.cells))
    return notebook


def folded(name: str, tag: str, body: str, language: str) -> NotebookNode:
    """Return a hint or a solution as a Markdown cell that shows its label alone."""
    text = f"<details><summary>{LABELS[language][tag]}</summary>\n\n{body}\n\n</details>"
    return nbformat.v4.new_markdown_cell(text, id=name, metadata={"tags": [tag]})


def fenced(code: str) -> str:
    """Return code as Markdown, in a fence that no backticks within it end."""
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}python\n{code}\n{fence}"


def translated_edition(translation: Source, committed: NotebookNode, language: str) -> NotebookNode:
    """Give a translated source the outputs of the English notebook.

    A code cell that was not built yet has none.
    """
    notebook = reading_edition(translation, language)
    built = {cell.id: cell for cell in committed.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.id in built:
            cell.outputs = built[cell.id].outputs
            cell.execution_count = built[cell.id].execution_count
    return notebook


def own_edition(source: Source, language: str = "en") -> NotebookNode:
    """Keep the answers back: a question waits for a guess, which is ``None`` until then.

    The paragraph that tells the answer is folded. (A cell ``…-text`` leads to what comes next.)
    """
    notebook = reading_edition(source, language)
    asked = False
    for cell in notebook.cells:
        if cell.cell_type == "code":
            asked = "predict" in tags(cell) or (asked and "exercise" not in tags(cell))
            cell.source = re.sub(r'(?m)^guess = "\?"', "guess = None", cell.source)
        elif asked and "figure-text" not in tags(cell):
            asked = False
            first, _, rest = cell.source.partition("\n\n")
            if answers(cell) and not cell.id.endswith("-text"):
                fold = folded(cell.id, "why", first, language).source
                cell.source = f"{fold}\n\n{rest}".rstrip()
    return notebook


def answers(cell: NotebookNode) -> bool:
    """Say whether a Markdown cell after a question begins with a paragraph about the answer."""
    another = ("#", "**")  # a section, another matter, or the next question
    return not (cell.source.startswith(another) or {"hint", "solution"} & set(tags(cell)))


def solved_edition(source: Source) -> NotebookNode:
    """Put each exercise, as it is written, in the place of its stub."""
    notebook = reading_edition(source)
    written = {cell.id: cell for cell in source.cells}
    for cell in notebook.cells:
        if "exercise" in tags(cell):
            cell.source = written[cell.id].source
    return notebook


def with_seed(notebook: NotebookNode, seed: int, source: Source) -> NotebookNode:
    """Replace ``SEED = …`` in the cell tagged ``parameters``."""
    for cell in notebook.cells:
        if "parameters" in tags(cell):
            cell.source, count = re.subn(r"(?m)^SEED = \d+", f"SEED = {seed}", cell.source)
            if count == 1:
                return notebook
    raise BuildError(f"{file_name(source.path)}: no cell tagged `parameters` holds SEED = …")
