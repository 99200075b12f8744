"""The source of a lesson, notebooks/src/NAME.md, in MyST Markdown → its cells, each with an id.

How it is written: a figure is followed by Markdown tagged `figure-text`. A cell tagged `parameters`
holds `SEED = 0`. Numbers in the prose that no cell computes (years, say) stand in the front matter,
`lora_edu: allowed_numbers:`, each with its reason. A section ends with a code cell tagged `claims`,
which readers see folded. A sentence elsewhere that repeats a claim names it in a comment behind it,
which no reader sees: `<!-- claim NAME: WHAT IT SAYS -->`. A question stands in a cell of its own,
tagged `predict`, that holds `guess = "?"` and a call of `predict` and nothing else.

A code cell tagged `exercise` holds the solution, a blank line and the call of its check; Markdown
tagged `hint` may follow. The solution is one function with a docstring, imports perhaps before it;
or lines `name = value`, each with a comment that may say what belongs there. Readers see a stub,
where the function raises `NotImplementedError`, and `name = ...` (a dict keeps its keys); then the
hints and the solution, folded.

A code cell whose output another run may change says why, and nbval does not compare it:

- `timing`: a clock decides. The build keeps the former output while the cell is unchanged.
- `approx`: another processor may change the last digits. The build takes the new output.
- `live`: a slider, say, which needs a kernel. The build drops its output; its still twin, a code
  cell that shows the same without a kernel, is the next one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nbformat import NotebookNode

from lora_edu.files import one_line

NOTEBOOKS = Path(__file__).resolve().parents[1]
UNSTABLE = {"approx", "live", "timing"}
TAGS = UNSTABLE | {
    "claims", "exercise", "figure-text", "fragment", "hint", "open", "parameters", "predict",
    "slide",
}  # fmt: skip
OF_A_TYPE = dict.fromkeys([*UNSTABLE, "exercise"], "code") | {
    "hint": "markdown",
    "open": "markdown",
}
REPEATS = re.compile(r"<!-- claim (?:(?P<lesson>\w+) )?(?P<name>[\w-]+): (?P<says>.*?) -->")


class BuildError(Exception):
    """A notebook that cannot be built; the message names file, line and cell."""


@dataclass(frozen=True)
class Source:
    """A lesson as it is written, or a translation of one.

    Attributes
    ----------
    path : Path
        The file.
    cells : list of NotebookNode
        Its cells, each with its id.
    lines : dict
        The id of each cell → the line of the file, from 1, on which it begins: its text if it is
        Markdown, its fence if it is code.
    allowed_numbers : dict
        Each number that the prose may say though no cell shows it → the reason.
    """

    path: Path
    cells: list[NotebookNode]
    lines: dict[str, int]
    allowed_numbers: dict[float, str]

    def place(self, cell: NotebookNode, below: int = 0) -> str:
        """Name a cell, and the line so many lines ``below`` its first: ``FILE:LINE: cell ID``."""
        return f"{file_name(self.path)}:{self.lines[cell.id] + below}: cell {cell.id}"


def file_name(path: Path) -> str:
    """Return how messages call a source: ``01_x.md``, or ``vi/01_x.md`` for a translation."""
    return path.name if path.parent.name == "src" else f"{path.parent.name}/{path.name}"


def slug(path: Path) -> str:
    """Return how the project calls a lesson: ``matrix_example`` for ``01_matrix_example.md``."""
    return path.stem.partition("_")[2]


def sources(names: Iterable[str] = (), folder: Path = NOTEBOOKS) -> list[Path]:
    """Return the sources of the named lessons, or all.

    A name is ``01``, ``matrix_example`` or ``01_matrix_example``.
    """
    paths = sorted((folder / "src").glob("*.md"))
    if not names:
        return paths
    chosen = []
    for name in names:
        stem = Path(name).stem
        found = [path for path in paths if stem in (path.stem, path.stem.split("_")[0], slug(path))]
        if not found:
            raise BuildError(f"no lesson is called {name!r}; there are {[p.stem for p in paths]}")
        chosen += found
    return chosen


def tags(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return cell.metadata.get("tags", [])


# -- a file into cells ------------------------------------------------------------------------


def read_text(path: Path) -> str:
    """Read a text file.

    Raises
    ------
    BuildError
        There is no such file, or it is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BuildError(f"{file_name(path)}: missing") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BuildError(f"{file_name(path)}:{line}: not UTF-8: {error.reason}") from None
    for number, row in enumerate(text.split("\n"), start=1):
        if len(row.splitlines()) > 1:  # the readers of Markdown and of cells count lines otherwise
            raise BuildError(f"{file_name(path)}:{number}: a line break other than the newline")
    return text


def read_cells(path: Path) -> Source:
    """Read a source, or a translation, into cells that carry their ids.

    Raises
    ------
    BuildError
        The file is not UTF-8; metadata are no YAML, or not what they should be; a cell has no id,
        a bad one, or that of another cell; it is neither Markdown nor code.
    """
    from jupytext.myst import myst_to_notebook

    text = read_text(path)
    try:
        notebook = myst_to_notebook(text, add_source_map=True)
    except Exception as error:  # of jupytext, which names the line of the cell, or of nbformat
        raise BuildError(f"{file_name(path)}: bad metadata: {one_line(error)}") from None
    rows = text.splitlines()
    lines: dict[str, int] = {}
    for number, cell in enumerate(notebook.cells, start=1):
        line = notebook.metadata.source_map[number - 1]
        if cell.cell_type == "markdown":
            while not rows[line].strip():
                line += 1
            line += 1  # from here on counted from 1, as that of code is already
        place = f"{file_name(path)}:{line}: cell"
        name = cell.metadata.pop("id", None)
        if name is None:
            raise BuildError(f"{place} {number} has no id: {cell.source[:40]!r}")
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", name):
            raise BuildError(f"{place} {number}: an id is made of a-z, 0-9 and -, got {name!r}")
        if name in lines:
            raise BuildError(f"{place} {name}: a second cell has this id")
        if problem := _wrong_kind(cell):
            raise BuildError(f"{place} {name}: {problem}")
        lines[name] = line
        cell["id"] = name
        cell.source = REPEATS.sub("", cell.source)
    return Source(path, notebook.cells, lines, _allowed_numbers(notebook.metadata, text, path))


def _wrong_kind(cell: NotebookNode) -> str | None:
    """Say what is wrong with the type of a cell, or with its tags."""
    own = [tag for tag in tags(cell) if not tag.startswith("nbval-")]  # those the lint names
    if cell.cell_type == "raw":
        return "it is raw; a cell is Markdown or code"
    for tag in own:
        if tag not in TAGS:
            return f"there is no tag {tag!r}; there are {', '.join(sorted(TAGS))}"
        if OF_A_TYPE.get(tag, cell.cell_type) != cell.cell_type:
            return f"`{tag}` is for a cell of {OF_A_TYPE[tag]}"
    if len(unstable := sorted(UNSTABLE.intersection(own))) > 1:
        return f"it is either {' or '.join(unstable)}"
    return None


def _allowed_numbers(front: NotebookNode, text: str, path: Path) -> dict[float, str]:
    """Return what the front matter says under ``lora_edu``; refuse what it may not say."""
    line = text.split("lora_edu")[0].count("\n") + 1
    place = f"{file_name(path)}:{line}: the front matter:"
    own: Any = front.get("lora_edu", {})
    if not isinstance(own, dict) or own.keys() - {"allowed_numbers"}:
        raise BuildError(f"{place} `lora_edu` holds `allowed_numbers` alone")
    allowed: Any = own.get("allowed_numbers", {})
    if not isinstance(allowed, dict) or not all(
        type(number) in (int, float) and isinstance(reason, str) and reason
        for number, reason in allowed.items()
    ):
        raise BuildError(f"{place} `allowed_numbers` holds lines `number: its reason`")
    return {float(number): reason for number, reason in allowed.items()}


# -- cells into a lesson ----------------------------------------------------------------------


def read_source(path: Path) -> Source:
    """Read the source of a lesson; its exercises are complete.

    Raises
    ------
    BuildError
        The file cannot be read (see ``read_cells``), or an exercise (see ``exercises``).
    """
    source = read_cells(path)
    exercises(source)
    return source


def exercises(source: Source) -> dict[str, Exercise]:
    """Return what becomes of each exercise, by the id of its cell.

    Raises
    ------
    BuildError
        No stub can be derived from an exercise; a hint belongs to none; the id of a solution, which
        is that of its exercise and ``-solution``, is taken.
    """
    found = {}
    before: set[str] = set()
    for cell in source.cells:
        if "hint" in tags(cell) and not before & {"exercise", "hint"}:
            raise BuildError(f"{source.place(cell)}: it belongs to no exercise")
        if "exercise" in tags(cell):
            try:
                found[cell.id] = read_exercise(cell.source)
            except ValueError as error:
                raise BuildError(f"{source.place(cell)}: {error}") from None
            if solution_id(cell.id) in source.lines:
                raise BuildError(f"{source.place(cell)}: {solution_id(cell.id)} is another cell")
        before = set(tags(cell))
    return found


def solution_id(exercise: str) -> str:
    """Return the id of the folded solution of an exercise."""
    return f"{exercise}-solution"


# -- an exercise ------------------------------------------------------------------------------

CELL = re.compile(r"(?s)(?P<solved>.+)\n\n(?P<call>(?:\w+\.)?(?P<check>check_\w+)\([^\n]*\))")
NAMED = re.compile(r"(?P<name>\w+) = (?P<value>\S.*?)(?P<comment> *# .*)?")


class Exercise(NamedTuple):
    """What becomes of the cell of an exercise.

    Attributes
    ----------
    stub : str
        The cell as the learner gets it, with the call of the check.
    solution : str
        What the learner may unfold: without the check, and without the comments behind values.
    marked : str
        The answer between nbgrader's marks, behind what a student gets in its place.
    call, check : str
        The call of the check, and its name.
    """

    stub: str
    solution: str
    marked: str
    call: str
    check: str


def read_exercise(cell: str) -> Exercise:
    """Derive from an exercise as it is written what becomes of it.

    A ValueError if it is not written as described above.
    """
    match = CELL.fullmatch(cell)
    if match is None:
        raise ValueError("a blank line and the call of its check_… end an exercise")
    solved, call = match["solved"], match["call"]
    try:
        *before, last = ast.parse(solved).body
    except SyntaxError as error:
        raise ValueError(f"no Python: {error.msg}") from None
    if isinstance(last, ast.FunctionDef) and all(
        isinstance(each, (ast.Import, ast.ImportFrom)) for each in before
    ):
        head, body = _parts_of(last, solved)
        stub, solution = f"{head}\n    raise NotImplementedError", solved
        marked = f"{head}\n{_between_marks(body, '    ')}"
    else:
        rows = [NAMED.fullmatch(line) for line in solved.split("\n")]
        if None in rows:
            raise ValueError("an exercise is a function, or lines `name = value`")
        named = [row for row in rows if row is not None]
        stub = "\n".join(f"{r['name']} = {_blank(r['value'])}{r['comment'] or ''}" for r in named)
        solution = "\n".join(f"{row['name']} = {row['value']}" for row in named)
        marked = f"{stub}\n{_between_marks(solved, '')}"
    return Exercise(f"{stub}\n\n{call}", solution, marked, call, match["check"])


def _parts_of(function: ast.FunctionDef, code: str) -> tuple[str, str]:
    """Return the code down to the docstring of a function, and the rest of its body."""
    lines, docstring = code.split("\n"), function.body[0]
    if ast.get_docstring(function) is None or len(function.body) < 2:
        raise ValueError(f"{function.name}: a docstring, and an answer below it")
    return "\n".join(lines[: docstring.end_lineno]), "\n".join(lines[docstring.end_lineno :])


def _blank(value: str) -> str:
    """Return what stands in a stub for a value."""
    return re.sub(r"(?<=: )[^,}]+", "...", value) if value.startswith("{") else "..."


def _between_marks(answer: str, indent: str) -> str:
    return f"{indent}### BEGIN SOLUTION\n{answer}\n{indent}### END SOLUTION"


# -- what a text says, apart from its code and its formulas -------------------------------------

NUMBER = re.compile(r"(?<![\w.^\\])\d[\d,_]*(?:\.\d+)?(?:e-?\d+)?(?!\w*[_\d])")
NOT_NUMBERS = re.compile(
    r"\]\([^)]*\)"  # the address of a link
    r"|arXiv:\S+|https?://\S+"
    r"|^#+ [^\d\n]*\d+(?: ·|:)"  # the number of a lesson, a section or an exercise
    r"|^ *\d+\. ",  # of an item in a list
    re.MULTILINE,
)


def listed_numbers(text: str) -> list[tuple[float, str]]:
    """Find the numbers in a text, one after the other: each value as it is written there."""
    found = [match.rstrip(",_") for match in NUMBER.findall(NOT_NUMBERS.sub(" ", text))]
    return [(float(written.replace(",", "").replace("_", "")), written) for written in found]


def numbers_in(text: str) -> dict[float, str]:
    """Find the numbers in a text: value → as it is written there."""
    return dict(listed_numbers(text))


def without_code(text: str) -> str:
    """Return Markdown without its code and its formulas."""
    return re.sub(r"(?s)```(?!\{).*?```|(?<!`)`[^`]+`(?!`)|\$[^$]*\$", " ", text)
