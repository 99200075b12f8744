"""The rules of the page: what a learner sees of the code, and what stands behind it.

A page shows ideas and numbers. What proves them, asserts too, stands in the folded panels of claims
that end its sections; a question to guess at stands in a cell of its own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from nbformat import NotebookNode

from builder.editions import printed, sections
from builder.source import tags


def visible(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells that a reader sees: all but the folded panels."""
    return [c for c in notebook.cells if c.cell_type == "code" and "claims" not in tags(c)]


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


def check_page(notebook: NotebookNode) -> Iterator[str]:
    """Name each breach of the rules of the page."""
    for cell in visible(notebook):
        tree = parsed(cell)
        if any(isinstance(n, ast.Assert) or "assert_" in called(n) for n in ast.walk(tree)):
            yield f"cell {cell.id}: an assert on the page: claims hold what it says"
        if asks(tree) != ("predict" in tags(cell)) or asks(tree) != is_question(cell.source, tree):
            yield (
                f'cell {cell.id}: a question holds guess = "?" and predict(guess, …) alone, '
                "and has the tag `predict`"
            )
        elif asks(tree) and gives_away(tree):
            yield f"cell {cell.id}: the question gives its answer away: compute it"
        if re.search(r"\b(?:True|False)_?\b", printed(cell)):
            yield f"cell {cell.id}: it shows True or False; show the number, or say it in words"
    for section in sections(notebook.cells)[1:]:
        code = [cell for cell in section if cell.cell_type == "code"]
        if code and [cell for cell in code if "claims" in tags(cell)] != section[-1:]:
            yield f"cell {section[0].id}: one cell tagged `claims` ends a section with code"
