"""An exercise is written solved; its stub, and the solution that readers unfold, are derived."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

CELL = re.compile(r"(?s)(?P<solved>.+)\n\n(?P<call>(?:\w+\.)?(?P<check>check_\w+)\([^\n]*\))")
GIVEN = re.compile(rb"\s*#\s*given\b")
# What still belongs to a body behind its last statement: comments, on its line and below it.
COMMENTS = re.compile(rb"[^\n]*(?:\n+[ \t]+#[^\n]*)*")
REST = re.compile(rb"[^\n]*")  # of a line


class Exercise(NamedTuple):
    """What becomes of the cell of an exercise.

    Attributes
    ----------
    stub : str
        The cell as the learner gets it: ``...`` or ``raise NotImplementedError`` where there is
        something to write, and the call of the check.
    solution : str
        What the learner may unfold: without the check, without what is ``# given`` and without the
        comments behind assignments, which say what belongs there.
    check : str
        The name of the check.
    """

    stub: str
    solution: str
    check: str


class Edit(NamedTuple):
    """New text for the bytes of a cell from ``start`` to ``end``."""

    start: int
    end: int
    text: bytes = b""


def read_exercise(cell: str) -> Exercise:
    """Derive from an exercise as it is written what becomes of it.

    Raises
    ------
    ValueError
        The cell does not end in a blank line and the call of its check, or is no Python, or one
        of its statements is of a kind that has no stub.
    """
    match = CELL.fullmatch(cell)
    if match is None:
        raise ValueError("a blank line and the call of its check_… end an exercise")
    code = Code(match["solved"])
    stub, solution = [], []
    for statement in code.statements:
        end = code.end(statement)
        rest = REST.match(code.data, end)
        if rest is None or rest[0].strip()[:1] not in (b"", b"#"):
            raise ValueError(f"{code.line(statement)!r}: one statement on a line")
        if GIVEN.match(rest[0]):
            solution.append(Edit(code.start(statement), rest.end() + 1))
            continue
        stub += code.left_to_do(statement)
        if isinstance(statement, ast.Assign):
            solution.append(Edit(end, rest.end()))
    if not stub:
        raise ValueError("nothing in it is left to a learner")
    return Exercise(
        f"{code.edited(stub)}\n\n{match['call']}",
        code.edited(solution).strip("\n"),
        match["check"],
    )


def between_marks(cell: str) -> tuple[str, str]:
    """Return an exercise with its answers between nbgrader's marks, and the call of its check.

    What is left when the marked part is taken out is a function's head, or each ``name = ...``.
    These stand first, their answers in one part after them: so a student who replaces the ``...``
    and leaves nbgrader's ``raise`` below has answered, and who touches nothing has names to check.

    Raises
    ------
    ValueError
        As `read_exercise`.
    """
    read_exercise(cell)
    match = CELL.fullmatch(cell)
    assert match is not None
    code = Code(match["solved"])
    edits, named, last = [], [], 0
    for statement in code.statements:
        line_end = REST.match(code.data, code.end(statement))
        assert line_end is not None
        left = list(code.left_to_do(statement))
        if GIVEN.match(line_end[0]) or not left:
            continue
        if isinstance(statement, ast.FunctionDef):
            (body,) = left
            answer = code.data[body.start : body.end].lstrip(b"\n")
            indent = re.match(rb"[ ]*", answer)
            assert indent is not None
            edits.append(Edit(body.start, body.end, b"\n" + marked(answer, indent[0])))
        else:
            start, end = code.start(statement), line_end.end()
            answer, stub = code.data[start:end], bytearray(code.data[start:end])
            for part in reversed(left):
                stub[part.start - start : part.end - start] = part.text
            named.append(answer)
            last = len(edits)
            edits.append(Edit(start, end, bytes(stub)))
    if named:
        text = edits[last].text + b"\n" + marked(b"\n".join(named), b"")
        edits[last] = edits[last]._replace(text=text)
    return code.edited(edits), match["call"]


def marked(answer: bytes, indent: bytes) -> bytes:
    """Return an answer between nbgrader's marks."""
    return b"%s### BEGIN SOLUTION\n%s\n%s### END SOLUTION" % (indent, answer, indent)


class Code:
    """The code of a cell, and where its parts stand. Python counts columns in bytes of UTF-8."""

    def __init__(self, text: str) -> None:
        try:
            self.statements = ast.parse(text).body
        except SyntaxError as error:
            raise ValueError(f"no Python: {error.msg}") from None
        self.data = text.encode()
        self.lines = self.data.split(b"\n")

    def at(self, line: int, column: int) -> int:
        """Return how many bytes stand before a place; lines count from 1, columns from 0."""
        return sum(len(before) + 1 for before in self.lines[: line - 1]) + column

    def start(self, node: ast.stmt | ast.expr) -> int:
        """Return where a part begins; a function, with its decorators."""
        return self.at(first_line(node), node.col_offset)

    def end(self, node: ast.stmt | ast.expr) -> int:
        """Return where a part ends."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.at(node.end_lineno, node.end_col_offset)

    def line(self, node: ast.stmt) -> str:
        """Return the line on which a statement begins."""
        return self.lines[node.lineno - 1].decode().strip()

    def edited(self, edits: list[Edit]) -> str:
        """Return the code with some of its parts replaced."""
        data = self.data
        for edit in reversed(edits):  # from the last to the first, so that places stay true
            data = data[: edit.start] + edit.text + data[edit.end :]
        return data.decode()

    def left_to_do(self, statement: ast.stmt) -> Iterator[Edit]:
        """Take out of a statement what a learner is to write."""
        match statement:
            case ast.Import() | ast.ImportFrom():
                pass
            case ast.FunctionDef():
                yield self._body(statement)
            case ast.Assign(
                targets=[ast.Name()], value=ast.Dict(keys=[_, *_] as keys) as table
            ) if all_are(ast.Constant, keys):
                for value in table.values:
                    yield Edit(self.start(value), self.end(value), b"...")
            case ast.Assign(targets=[ast.Name() as name]):
                yield Edit(self.end(name), self.end(statement), b" = ...")
            case ast.Assign(targets=[ast.Tuple(elts=[_, _, *_] as names) as target]) if all_are(
                ast.Name, names
            ):
                dots = ", ".join(["..."] * len(names))
                yield Edit(self.end(target), self.end(statement), f" = {dots}".encode())
            case _:
                raise ValueError(
                    f"{self.line(statement)!r}: what a learner is to write is a function, or the "
                    "value of a name; the rest says `# given`"
                )

    def _body(self, function: ast.FunctionDef) -> Edit:
        """Leave of a function its signature and its docstring."""
        first = function.body[0]
        indent = self.lines[first.lineno - 1][: first.col_offset]
        if indent.strip():
            raise ValueError(f"{self.line(function)!r}: a body stands on lines of its own")
        if ast.get_docstring(function) is not None:
            head = self.end(first)
        else:
            above = first_line(first) - 1
            while self.lines[above - 1].strip()[:1] in (b"", b"#"):
                above -= 1
            head = self.at(above, len(self.lines[above - 1]))
        behind = COMMENTS.match(self.data, self.end(function))
        assert behind is not None
        return Edit(head, behind.end(), b"\n" + indent + b"raise NotImplementedError")


def first_line(node: ast.stmt | ast.expr) -> int:
    """Return the line on which a part begins; a function, with its decorators."""
    return min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])


def all_are(kind: type[ast.expr], nodes: Sequence[ast.expr | None]) -> bool:
    """Say whether all parts are of one kind."""
    return all(isinstance(node, kind) for node in nodes)
