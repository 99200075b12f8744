"""What becomes of an exercise as it is written: its stub, and the solution that is unfolded."""

import ast

import pytest
from builder.stubs import read_exercise

CALL = "\n\nchecks.check_it(it)"
TODO = "raise NotImplementedError"
GIVEN = "def h(x):\n    return x  # given\n\na = "
FUNCTIONS = [
    ('def it(x: int) -> int:\n    """Return ΔW."""\n', "    y = x  # half\n\n    return y + 1"),
    ('def it(x):\n    """Two\n\n    lines: ΔΔ."""', "  # 2\n    return x  # it\n    # so"),
    ("@cache\ndef it(\n    x,  # (d, k)\n):\n", "    # first\n\n    return x"),
    ("def it(x):\n", "    @cache\n    def h(y):\n        return y\n    return h(x)"),
]


@pytest.mark.parametrize(("head", "body"), FUNCTIONS)
def test_of_a_function_its_head_is_left(head, body):
    written = f"{head}{body}\nb = 1"
    exercise = read_exercise(written + CALL)
    assert exercise.stub == f"{head.rstrip()}\n    {TODO}\nb = ...{CALL}"
    assert (exercise.solution, exercise.check) == (written, "check_it")
    ast.parse(exercise.stub)


ASSIGNMENTS = [
    ("# two\na = [\n    1,\n]   # Δ: [?]", "# two\na = ...   # Δ: [?]", "# two\na = [\n    1,\n]"),
    ("b = (1 + 2)# more", "b = ...# more", "b = (1 + 2)"),
    ("(a, b, c) = f(x)", "(a, b, c) = ..., ..., ...", "(a, b, c) = f(x)"),
    ('a = {"Δ": [1], 3: f(x)}  # b', 'a = {"Δ": ..., 3: ...}  # b', 'a = {"Δ": [1], 3: f(x)}'),
    ("a = {b: 1}", "a = ...", "a = {b: 1}"),
    ("a = {}", "a = ...", "a = {}"),
    ("import ast\na = 1", "import ast\na = ...", "import ast\na = 1"),
    ("x = 1  # given\na = 2", "x = 1  # given\na = ...", "a = 2"),
    (f"{GIVEN}h(2)", f"{GIVEN}...", "a = h(2)"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "stub", "solution"), ASSIGNMENTS)
def test_of_an_assignment_its_names_are_left(written, stub, solution):
    assert read_exercise(written + CALL) == (stub + CALL, solution, "check_it")
