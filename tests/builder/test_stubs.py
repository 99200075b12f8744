"""What becomes of an exercise as it is written: its stub, its solution, its check."""

import ast

import pytest
from builder.stubs import between_marks, read_exercise

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
    ("a = [1, 2]", "a = ...", None),
    (
        "# two\na = [\n    1,\n]   # Δ: [?]",
        "# two\na = ...   # Δ: [?]",
        "# two\na = [\n    1,\n]",
    ),
    ("b = (1 + 2)# more", "b = ...# more", "b = (1 + 2)"),
    ("a, b = 1, 2  # both", "a, b = ..., ...  # both", "a, b = 1, 2"),
    ("(a, b, c) = f(x)", "(a, b, c) = ..., ..., ...", None),
    (
        'a = {"Δ": [1, 2], 3: f(x)}  # b',
        'a = {"Δ": ..., 3: ...}  # b',
        'a = {"Δ": [1, 2], 3: f(x)}',
    ),
    ('a = {\n    "b": 1,  # b\n}', 'a = {\n    "b": ...,  # b\n}', None),
    ("a = {b: 1}", "a = ...", None),
    ("a = {}", "a = ...", None),
    ("a = {**b}", "a = ...", None),
    ("import ast\nfrom re import sub\na = 1", "import ast\nfrom re import sub\na = ...", None),
    (
        "x = 1  # given\na = 2\nf(x)  #  given: b",
        "x = 1  # given\na = ...\nf(x)  #  given: b",
        "a = 2",
    ),
    (f"{GIVEN}h(2)", f"{GIVEN}...", "a = h(2)"),
]


@pytest.mark.parametrize(("written", "stub", "solution"), ASSIGNMENTS)
def test_of_an_assignment_its_names_are_left(written, stub, solution):
    assert read_exercise(written + CALL) == (stub + CALL, solution or written, "check_it")


NO_CALL, LEFT = "a blank line and the call of its check_… end an exercise", ": what a learner is to"


REFUSED = [
    ("a = 1\nchecks.check_it(a)", NO_CALL),
    ("a = 1\n\nchecks.check_it(a)\nb = 2", NO_CALL),
    ("a = 1\n\nprint(a)", NO_CALL),
    ("\n\ncheck_it(a)", NO_CALL),
    (f"a ={CALL}", "no Python: "),
    (f"a += 1{CALL}", f"'a += 1'{LEFT}"),
    (f"a: int = 1{CALL}", f"'a: int = 1'{LEFT}"),
    (f"a = b = 1{CALL}", f"'a = b = 1'{LEFT}"),
    (f"a.b = 1{CALL}", f"'a.b = 1'{LEFT}"),
    (f"a, b.c = 1, 2{CALL}", f"'a, b.c = 1, 2'{LEFT}"),
    (f"a, *b = 1, 2{CALL}", f"'a, *b = 1, 2'{LEFT}"),
    (f"(a,) = 1,{CALL}", f"'(a,) = 1,'{LEFT}"),
    (f"class A:\n    b = 1{CALL}", f"'class A:'{LEFT}"),
    (f"for a in b:\n    print(a){CALL}", f"'for a in b:'{LEFT}"),
    (f"print(1)  # not given{CALL}", f"'print(1)  # not given'{LEFT}"),
    (f"a = 1; b = 2{CALL}", "'a = 1; b = 2': one statement on a line"),
    (f"a = 1  # given{CALL}", "nothing in it is left to a learner"),
    (f"import os{CALL}", "nothing in it is left to a learner"),
    (f"def it(x): return x{CALL}", "'def it(x): return x': a body stands on lines of its own"),
]


@pytest.mark.parametrize(("cell", "message"), REFUSED)
def test_what_has_no_stub_is_refused(cell, message):
    for read in (read_exercise, between_marks):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            read(cell)
        assert str(caught.value).startswith(message)
