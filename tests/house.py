"""What the files of the project import: for the tests of its architecture and of its metadata."""

import ast
import re
from functools import cache


@cache
def tree_of(path):
    """Return the syntax of a file: of all of it, or of the code cells of a notebook's source."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        cells = re.findall(r"(?s)```\{code-cell\}[^\n]*\n(.*?)```", text)
        text = re.sub(r"(?m)^[:%].*", "", "\n".join(cells))  # without their options, and magics
    return ast.parse(text)


def imported(path, *, everywhere=True):
    """Names of the modules that a file imports: anywhere in it, or at its top level."""
    tree = tree_of(path)
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.importorskip":
            yield node.args[0].value
