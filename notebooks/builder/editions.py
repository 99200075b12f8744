"""A lesson → its editions, as notebooks.

*Reading*: executed, with outputs, committed; a translation has the outputs of the English one.
*Own*: without outputs and without answers, for the learner to work in: a copy is made once, and
never written over. *Solved*: each exercise as the source has it, in memory. Each of them may be
given another seed. *Assignment*, for nbgrader: an exercise becomes two cells, what a student
writes, and its check, which is worth a point. It is the instructor's version, where answers stand
between nbgrader's marks; nbgrader makes of it what students get. Their check says `not attempted
yet` and stops nothing; a hidden test makes that no point.

Source of the last: https://nbgrader.readthedocs.io, *Creating and grading assignments*.
"""

import ast
import copy
import hashlib
import html
import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from builder.questions import filled, quiz_cell, read_quizzes
from builder.source import (
    UNSTABLE,
    BuildError,
    Source,
    exercises,
    file_name,
    read_source,
    slug,
    solution_id,
    tags,
)
from builder.translate import languages, read_translation, translate
from lora_edu.course.checks import GUESS_FIRST, VOTE_FIRST, right_option
from lora_edu.course.say import languages as catalogued
from lora_edu.course.say import say
from lora_edu.files import write_whole

LABELS = {
    "en": {"hint": "Hint", "solution": "Solution", "why": "Your guess first. Then: why"},
    "vi": {"hint": "Gợi ý", "solution": "Lời giải", "why": "Đoán trước đã. Rồi xem vì sao"},
}
SPEAKS = {"predict", "exercise", "claims"}  # tags of cells in which the package says something
LANGUAGES = {"vi": "tiếng Việt"}
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


# -- a notebook -------------------------------------------------------------------------------


def built_path(path: Path, language: str = "en") -> Path:
    """Return where the notebook of a source is, in English or in another language."""
    return path.parent.parent / ("" if language == "en" else language) / f"{path.stem}.ipynb"


def load(path: Path) -> NotebookNode | None:
    """Read a built notebook; None when it is missing or no notebook."""
    try:
        return nbformat.read(path, as_version=4)
    except Exception:  # nbformat raises a dozen kinds, and each means: build it anew
        return None


def loaded(path: Path) -> NotebookNode:
    """Read a built notebook; a BuildError if there is none."""
    notebook = load(path)
    if notebook is None:
        raise BuildError(f"{path.stem}: there is no notebook; run `make notebooks`")
    return notebook


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


def offered(cell: NotebookNode) -> tuple[list[Any], Any]:
    """Return what a prediction offers to choose from, and which of it fits its answer."""
    asks: Any = ast.parse(cell.source).body[-1]
    options = [each.value for each in asks.value.args[2:] if isinstance(each, ast.Constant)]
    answer: Any = revealed(cell)
    for option in options:  # in a translation the answer is translated
        if answer in [say(str(option), language) for language in catalogued()]:
            return options, option
    with suppress(ValueError):
        answer = float(answer.replace(",", ""))
    return options, right_option(answer, tuple(options))


def revealed(cell: NotebookNode) -> str:
    """Return the answer of a prediction, as its cell prints it."""
    return printed(cell).strip().partition(": ")[2]


def in_figures(value: object) -> str:
    """Return one of the answers to choose from as a text says it: 10,000, or 0.0001."""
    if isinstance(value, float):
        return f"{value:.12f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)


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
    spoken = {} if language == "en" else {"lora_edu": {"language": language}}  # the package asks
    notebook = nbformat.v4.new_notebook(metadata=METADATA | spoken)
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
        # JupyterLab shows the first line alone: of imports, and of a section's claims.
        if {"claims", "parameters"} & {*tags(cell)}:
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


def with_outputs(
    notebook: NotebookNode,
    committed: NotebookNode,
    language: str = "en",
    pictures: NotebookNode | None = None,
) -> NotebookNode:
    """Give an edition the outputs of a committed notebook: the English one, or the last build.

    A code cell that was not built yet has none. In another language the package says in that
    language what answers, checks and panels say; the pictures are those of ``pictures``.
    """
    built = {cell.id: cell for cell in committed.cells if cell.cell_type == "code"}
    drawn = {cell.id: outputs(cell) for cell in pictures.cells} if pictures else {}
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    imported = ", ".join(re.findall(r"course\.lora_file import (.+)", code)).split(", ")
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.id in built:
            cell.outputs = built[cell.id].outputs
            cell.execution_count = built[cell.id].execution_count
            if language != "en":
                cell.outputs = copy.deepcopy(cell.outputs)
                saves = any(name and f"{name}(" in cell.source for name in imported)
                if saves or SPEAKS & {*tags(cell)}:
                    cell.outputs = [spoken_in(language, output) for output in cell.outputs]
                for output, own in zip(cell.outputs, drawn.get(cell.id, []), strict=False):
                    if "image/png" in output.get("data", {}) and "image/png" in own.get("data", {}):
                        output.data["image/png"] = own.data["image/png"]
    return notebook


def spoken_in(language: str, output: NotebookNode) -> NotebookNode:
    """Return an output in another language: what the package says, as a whole or by lines."""
    data = output.get("data", {})

    def spoken(text: str) -> str:
        whole = say(text.rstrip("\n"), language)
        if whole != text.rstrip("\n"):
            return whole + "\n" * text.endswith("\n")
        return "\n".join(say(line, language) for line in text.split("\n"))

    def between_tags(found: re.Match[str]) -> str:
        return html.escape(say(html.unescape(found[0]), language), quote=False)

    for where, kind in ((output, "text"), (data, "text/plain")):
        if kind in where:
            where[kind] = spoken(where[kind])
    if "text/html" in data:
        data["text/html"] = re.sub(r"(?<=>)[^<>]+(?=<)", between_tags, data["text/html"])
    return output


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
            another = cell.source.startswith(("#", "**"))  # a section, another matter or question
            is_folded = {"hint", "solution"} & {*tags(cell)}
            if not (another or is_folded or cell.id.endswith("-text")):
                fold = folded(cell.id, "why", first, language).source
                cell.source = f"{fold}\n\n{rest}".rstrip()
    return notebook


def solved_edition(source: Source) -> NotebookNode:
    """Put each exercise, as it is written, in the place of its stub."""
    notebook = reading_edition(source)
    written = {cell.id: cell for cell in source.cells}
    for cell in notebook.cells:
        if "exercise" in tags(cell):
            cell.source = written[cell.id].source
    return notebook


def with_seed(notebook: NotebookNode, seed: int, source: Source) -> None:
    """Replace ``SEED = …`` in the cell tagged ``parameters``."""
    for cell in notebook.cells:
        if "parameters" in tags(cell):
            cell.source, count = re.subn(r"(?m)^SEED = \d+", f"SEED = {seed}", cell.source)
            if count == 1:
                return
    raise BuildError(f"{file_name(source.path)}: no cell tagged `parameters` holds SEED = …")


# -- the learner's own ------------------------------------------------------------------------


def own_copies(path: Path) -> str:
    """Give the learner a copy of the lesson in each of its languages; return what was done."""
    source = read_source(path)
    done = [own_copy(path, own_edition(source))]
    for language in languages(path):
        translation, _, _ = translate(source, read_translation(source, language))
        said = own_copy(path, own_edition(translation, language), language)
        done.append(f"{language}: {said}")
    return "; ".join(done)


def own_copy(path: Path, notebook: NotebookNode, language: str = "") -> str:
    """Put a lesson without outputs among the learner's own; return what was done.

    A copy is never written over. When the lesson has changed since, the new one is put beside it
    under the next free name, once.
    """
    folder = path.parent.parent / "mine" / language
    for former in folder.glob("*.ipynb"):  # an earlier version had given the lesson another number
        name = path.stem[:2] + former.name[2:]
        if re.fullmatch(rf"\d\d_{slug(path)}(-\d+)?", former.stem) and not (folder / name).exists():
            former.rename(folder / name)
    cells = json.dumps([[cell.id, cell.cell_type, cell.source] for cell in notebook.cells])
    lesson = hashlib.sha256(cells.encode()).hexdigest()[:16]
    notebook.metadata["lora_edu"] = {**notebook.metadata.get("lora_edu", {}), "lesson": lesson}
    for number in range(1, 1000):
        name = f"{path.stem}.ipynb" if number == 1 else f"{path.stem}-{number}.ipynb"
        copied = folder / name
        if not os.path.lexists(copied):
            write_whole(copied, dumps(notebook))
            return "your copy" if number == 1 else f"the lesson has changed: see {name}"
        mine = load(copied)
        if mine is not None and lesson in str(mine.metadata.get("lora_edu")):
            return f"yours, kept as it is: {name}"
    raise BuildError(f"{file_name(path)}: a thousand copies in {folder}")


START = "START.ipynb"


def write_start(paths: Sequence[Path]) -> str:
    """Write the page that greets a learner: the lessons, what is done of each, where to go on."""
    folder = paths[0].parent.parent / "mine"
    rows, following, begun = [], "", False
    for path in paths:
        title = read_source(path).cells[0].source.splitlines()[0].lstrip("# ")
        own = re.compile(rf"{path.stem}(-\d+)?")
        copies = sorted(each for each in folder.glob("*.ipynb") if own.fullmatch(each.stem))
        if not copies:  # this lesson alone was not asked for
            continue
        others = [folder / language / f"{path.stem}.ipynb" for language in languages(path)]
        others = [each for each in others if each.exists()]
        counts = (done(load(copied)) for copied in [*copies, *others])
        guesses, exercises = max(counts, key=lambda each: each[0][0] + each[1][0])
        right, asked = exercises if exercises[1] else guesses
        mark = "✓" if 0 < right == asked else ""
        links = [f"[{title}]({copies[0].name})"]  # of several the newest: it sorts first
        for each in others:
            name = LANGUAGES[each.parent.name]
            links.append(f"[{name}]({each.parent.name}/{each.name})")
        following = following or ("" if mark else links[0])
        begun = begun or guesses[0] + exercises[0] > 0
        told = [f"{n} of {of}" if of else "" for n, of in (guesses, exercises)]
        rows.append(f"| {mark} | {' · '.join(links)} | {' | '.join(told)} |")
    goes_on = f"{'Go on' if begun else 'Begin'} with {following}." if following else "All is done."
    text = filled("start.md", {"ROWS": "\n".join(rows), "GOES_ON": goes_on})
    cell = nbformat.v4.new_markdown_cell(text, id="start")
    page = nbformat.v4.new_notebook(cells=[cell], metadata=METADATA)
    write_whole(folder / START, dumps(page))
    return "what is done, and where to go on"


def done(copied: NotebookNode | None) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return of a learner's copy how many guesses are made, of how many, and exercises right."""
    cells = copied.cells if copied else []
    guesses = [printed(cell) for cell in cells if "predict" in tags(cell)]
    exercises = [printed(cell) for cell in cells if "exercise" in tags(cell)]
    waits = [say(a, language) for a in (GUESS_FIRST, VOTE_FIRST) for language in catalogued()]
    made = sum(bool(each.strip()) and each.strip() not in waits for each in guesses)
    return (made, len(guesses)), (sum(": OK" in each for each in exercises), len(exercises))


# -- assignments ------------------------------------------------------------------------------


def instructor_version(source: Source) -> NotebookNode:
    """Return a lesson as nbgrader's `source/` holds it: answers between marks, checks as tests."""
    notebook, asked = own_edition(source), exercises(source)
    cells: list[NotebookNode] = []
    for cell in notebook.cells:
        if cell.id in asked:
            exercise = asked[cell.id]
            check = exercise.call.partition("(")[0]
            hidden = f'assert {check}.passed, "not attempted yet"'
            test = f"{exercise.call}\n### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS"
            cells += [graded(cell.id, exercise.marked), graded(f"{cell.id}-check", test, points=1)]
        elif not {"solution", "quiz"}.intersection(tags(cell)):
            cells.append(cell)
    notebook.cells = cells
    return notebook


def graded(name: str, code: str, **points: int) -> NotebookNode:
    """Return a cell with nbgrader's metadata: a student's answer or, with points, its test."""
    is_test = bool(points)
    about = {
        "grade": is_test,
        "grade_id": name,
        "locked": is_test,
        "schema_version": 3,
        "solution": not is_test,
        "task": False,
        **points,
    }
    return nbformat.v4.new_code_cell(code, id=name, metadata={"nbgrader": about})


def write_assignment(path: Path, folder: Path) -> str:
    """Write a lesson for nbgrader; say what there is to grade, or refuse it for want of that.

    A BuildError if the lesson has no exercise.
    """
    source = read_source(path)
    names = [exercise.check for exercise in exercises(source).values()]
    if not names:
        raise BuildError(f"{path.stem}: it has no exercise, so nothing to grade")
    version = instructor_version(source)
    write_whole(folder / "source" / path.stem / f"{path.stem}.ipynb", dumps(version))
    return f"{len(names)} points: {', '.join(names)}"
