"""Note what a run executed, with a fingerprint of each piece: so a later change is noticed.

A piece is a function or a method of ``lora_edu``, with the constants of its module that it names.
Its fingerprint is that of what it means: names, numbers, texts and structure, without comments,
docstrings, type hints and the words of errors. It is the same on Python 3.10 to 3.13.
"""

import ast
import functools
import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGE = Path(__file__).parents[1]
# They run an experiment, and decide none of its numbers.
MACHINERY = ("experiments", "verification", "executed", "again")
Pieces = dict[str, dict[str, str]]  # module → piece, such as ``Split.draw`` → fingerprint
IGNORED = {"annotation", "returns", "ctx", "kind", "type_comment", "type_params"}


def traced(run: Callable[[], Any]) -> tuple[Any, set[tuple[str, int]]]:
    """Return what ``run()`` does, and the code of the package that it executed: (module, line)."""
    seen: set[tuple[str, int]] = set()
    files = {}
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        if module.removeprefix("lora_edu.course.") not in MACHINERY:
            files[str(path)] = module

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename in files:
            seen.add((files[code.co_filename], code.co_firstlineno))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        return run(), seen
    finally:
        sys.setprofile(before)


def pieces(seen: set[tuple[str, int]]) -> Pieces:
    """Return the fingerprints of what :func:`traced` saw."""
    found: dict[str, set[str]] = {}
    for module, line in sorted(seen):
        for name, node in _defined(module).items():
            first = min(line.lineno for line in (node, *getattr(node, "decorator_list", ())))
            inside = first <= line <= (node.end_lineno or 0)
            if inside and not isinstance(node, ast.ClassDef | ast.Assign | ast.AnnAssign):
                found.setdefault(module, set()).add(name)
    return {m: {name: fingerprint(m, name) for name in sorted(of)} for m, of in found.items()}


def changed(then: Pieces) -> list[str]:
    """Name the pieces that have another fingerprint now, or are gone."""
    return [
        f"{module.removeprefix('lora_edu.')}.{name}"
        for module, of in then.items()
        for name, before in of.items()
        if fingerprint(module, name) != before
    ]


@functools.cache
def fingerprint(module: str, name: str) -> str:
    """Return eight letters that stand for a piece and the constants it names; "" if it is gone."""
    if name not in _defined(module):
        return ""
    waiting, shapes = [(module, name)], {}
    while waiting:
        where, piece = waiting.pop()
        node = _defined(where).get(piece)
        if node is None or (where, piece) in shapes:
            continue
        if (where, piece) == (module, name) or isinstance(node, ast.Assign | ast.AnnAssign):
            shapes[where, piece] = _shape(node)
            waiting += _named(where, node)
    text = repr(sorted(shapes.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@functools.cache
def _tree(module: str) -> ast.Module:
    path = PACKAGE.parent.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")


@functools.cache
def _defined(module: str) -> dict[str, ast.stmt]:
    """Return what a module defines: functions, classes and their methods, constants."""
    found: dict[str, ast.stmt] = {}
    for node in _tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        if isinstance(node, ast.ClassDef):
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            found |= {f"{node.name}.{method.name}": method for method in methods}
        for target in _targets(node):
            found[target] = node
    return found


def _targets(node: ast.stmt) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    for target in targets:
        for name in ast.walk(target):
            if isinstance(name, ast.Name):
                yield name.id


def _named(module: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield what a piece names: of its own module, or imported from another of the package."""
    imported = {
        alias.asname or alias.name: (str(found.module), alias.name)
        for found in _tree(module).body
        if isinstance(found, ast.ImportFrom) and (found.module or "").startswith("lora_edu")
        for alias in found.names
    }
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield imported.get(part.id, (module, part.id))
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            where = imported.get(part.value.id)
            if where:  # minilm.MODULES, after `from lora_edu.course import minilm`
                yield ".".join(where), part.attr


def _shape(node: Any) -> Any:
    """Return nested tuples that are equal if and only if two pieces of code mean the same."""
    if isinstance(node, list):
        return tuple(_shape(part) for part in node if not _is_docstring(part))
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.Raise):  # the words of an error are no part of it
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ("Raise", _shape(error))
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "experiment":
        return "experiment"  # @experiment(seeds=…): which runs are recorded, not what they give
    if isinstance(node, ast.JoinedStr):  # Python 3.12 adds an empty text to f"{x:{n}}"
        parts = [p for p in node.values if not (isinstance(p, ast.Constant) and p.value == "")]
        return ("JoinedStr", _shape(parts))
    if isinstance(node, ast.AnnAssign):
        return ("Assign", ("targets", (_shape(node.target),)), ("value", _shape(node.value)))
    fields = [
        (name, _shape(value))
        for name, value in ast.iter_fields(node)
        if name not in IGNORED and value not in (None, [])
    ]
    return (type(node).__name__, *fields)


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
