"""The rules of the page: what a learner sees of the code, and what stands behind it.

A page shows ideas and numbers. What holds it together (imports, the unpacking of a record) is
machinery, and takes little room; proofs, asserts too, stand in the folded panels of claims.
"""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode

from builder.editions import printed, sections
from builder.source import tags

# Lines of a visible cell in the median, at most, and at most where it is what the lesson is about.
MEDIAN, MOST, SUBJECT = 6, 15, 25
MACHINERY, IMPORTS = 0.2, 12  # of all visible lines; lines of imports in one cell


@dataclass(frozen=True)
class Measures:
    """What the visible code of a page comes to.

    Attributes
    ----------
    lines : dict
        The id of each cell → its lines, without blank ones.
    machinery : int
        How many of all lines are imports, or unpack a record.
    booleans : list of str
        The cells that show True or False.
    """

    lines: dict[str, int]
    machinery: int
    booleans: list[str]

    @property
    def share(self) -> float:
        """The part of the visible lines that is machinery."""
        return self.machinery / max(sum(self.lines.values()), 1)


def visible(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells that a reader sees: all but the folded panels."""
    return [c for c in notebook.cells if c.cell_type == "code" and "claims" not in tags(c)]


def measure(notebook: NotebookNode) -> Measures:
    """Measure the visible code of a page."""
    cells = visible(notebook)
    lines, machinery, records = {}, 0, set()
    for cell in cells:
        tree = parsed(cell)
        lines[cell.id] = len(re.findall(r"(?m)^.*\S", cell.source))
        held = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.stmt) and is_machinery(node, records):
                held.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        machinery += len(held)
    booleans = [c.id for c in cells if re.search(r"\b(?:True|False)_?\b", printed(c))]
    return Measures(lines, machinery, booleans)


def parsed(cell: NotebookNode) -> ast.Module:
    """Return the code of a cell; of one with a magic, nothing."""
    try:
        return ast.parse(cell.source)
    except SyntaxError:
        return ast.Module([], [])


def called(node: ast.AST) -> str:
    """Return the last name of what a node calls, or ``""``."""
    if not isinstance(node, ast.Call):
        return ""
    function: Any = node.func
    return getattr(function, "attr", "") or getattr(function, "id", "")


def is_machinery(node: ast.stmt, records: set[str]) -> bool:
    """Say whether a statement is none of the page's ideas; note the names that hold records.

    That is: an import, and the unpacking of a record, which is an assignment of what
    ``results(...)`` returns, or of a part of it.
    """
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return True
    if not isinstance(node, ast.Assign):
        return False
    parts = list(ast.walk(node.value))
    taken = any(called(part) == "results" for part in parts)
    of_record = any(
        isinstance(part, ast.Subscript)
        and isinstance(part.value, ast.Name)
        and part.value.id in records
        for part in parts
    )
    if taken:
        for target in node.targets:
            records |= {part.id for part in ast.walk(target) if isinstance(part, ast.Name)}
    return taken or of_record


def is_asking(call: ast.AST) -> bool:
    """Say whether a function asks for a guess: ``predict``, or ``checks.vote``."""
    return ast.unparse(call) in ("predict", "checks.vote")


def asks(tree: ast.Module) -> bool:
    """Say whether a cell asks for a guess."""
    return any(isinstance(node, ast.Call) and is_asking(node.func) for node in ast.walk(tree))


def is_question(source: str, tree: ast.Module) -> bool:
    """Say whether a cell is ``guess = "?"``, a comment perhaps, and ``predict(guess, …)`` alone."""
    match tree.body:
        case [
            ast.Assign(targets=[ast.Name("guess")]),
            ast.Expr(ast.Call(asking, [ast.Name("guess"), _, *_])),
        ]:
            return is_asking(asking) and re.match(r'guess = "\?"(?:  # .*)?\n', source) is not None
    return False


def gives_away(question: ast.Module) -> bool:
    """Say whether a prediction holds its answer, which nothing computes; a vote has none."""
    call: Any = question.body[1]
    if ast.unparse(call.value.func) != "predict":
        return False
    return not any(isinstance(node, (ast.Name, ast.Call)) for node in ast.walk(call.value.args[1]))


def plays(cell: NotebookNode) -> bool:
    """Say whether a cell is the page's puzzle: the call alone."""
    return re.fullmatch(r"puzzle\(\d+\)", cell.source) is not None


def check_page(notebook: NotebookNode, taste: bool = False) -> Iterator[str]:
    """Name each breach of the rules of the page; the first lesson, a taste, needs no puzzle."""
    found = measure(notebook)
    for cell in visible(notebook):
        most = SUBJECT if "subject" in tags(cell) else MOST
        if found.lines[cell.id] > most:
            yield f"cell {cell.id}: {found.lines[cell.id]} lines, at most {most}"
        tree = parsed(cell)
        if any(isinstance(n, ast.Assert) or "assert_" in called(n) for n in ast.walk(tree)):
            yield f"cell {cell.id}: an assert on the page: claims hold what it says"
        kinds = (ast.Import, ast.ImportFrom)
        imports = sum(len(node.names) for node in ast.walk(tree) if isinstance(node, kinds))
        if imports > IMPORTS:
            yield f"cell {cell.id}: {imports} imports, at most {IMPORTS}"
        if asks(tree) != ("predict" in tags(cell)) or asks(tree) != is_question(cell.source, tree):
            yield (
                f'cell {cell.id}: a question holds guess = "?" and predict(guess, …) alone, '
                "and has the tag `predict`"
            )
        elif asks(tree) and gives_away(tree):
            yield f"cell {cell.id}: the question gives its answer away: compute it"
    for cell in found.booleans:
        yield f"cell {cell}: it shows True or False; show the number, or say it in words"
    median = statistics.median(found.lines.values() or [0])
    if median > MEDIAN:
        yield f"{median:g} lines in the median cell, at most {MEDIAN}"
    if found.share > MACHINERY:
        yield f"{found.share:.0%} of the visible lines are machinery, at most {MACHINERY:.0%}"
    for section in sections(notebook.cells)[1:]:
        code = [c for c in section if c.cell_type == "code" and not plays(c)]
        if code and [cell for cell in code if "claims" in tags(cell)] != section[-1:]:
            yield f"cell {section[0].id}: one cell tagged `claims` ends a section with code"
    above = 0
    puzzles = []
    for cell in notebook.cells:
        above += "claims" in tags(cell)
        if cell.cell_type == "code" and plays(cell):
            puzzles.append((cell.source, f"puzzle({above})"))
    if taste and not puzzles:
        return
    if len(puzzles) != 1 or puzzles[0][0] != puzzles[0][1]:
        yield f"one cell of a lesson is puzzle(n), for the n panels above it; found {len(puzzles)}"
