"""What becomes of an exercise as it is written: its stub, its solution, its check."""

import ast

import pytest
from builder.stubs import read_exercise

CALL = "\n\nchecks.check_it(it)"


@pytest.mark.parametrize(
    ("written", "stub", "solution"),
    [
        (
            'def it(x: int) -> int:\n    """Return ΔW."""\n    y = x  # half\n\n    return y + 1',
            'def it(x: int) -> int:\n    """Return ΔW."""\n    raise NotImplementedError',
            None,
        ),
        (
            'def it(x):\n    """Two\n\n    lines: ΔΔ."""  # 2\n    return x  # it\n    # so\nb = 1',
            'def it(x):\n    """Two\n\n    lines: ΔΔ."""\n    raise NotImplementedError\nb = ...',
            None,
        ),
        (
            "@cache\ndef it(\n    x,  # (d, k)\n):\n    # first\n\n    return x",
            "@cache\ndef it(\n    x,  # (d, k)\n):\n    raise NotImplementedError",
            None,
        ),
        (
            "def it(x):\n    @cache\n    def h(y):\n        return y\n    return h(x)",
            "def it(x):\n    raise NotImplementedError",
            None,
        ),
        ("a = [1, 2]", "a = ...", None),
        (
            "# two\na = [\n    1,\n]   # ΔW: [?]\nb = (1 + 2)# more",
            "# two\na = ...   # ΔW: [?]\nb = ...# more",
            "# two\na = [\n    1,\n]\nb = (1 + 2)",
        ),
        ("a, b = 1, 2  # both", "a, b = ..., ...  # both", "a, b = 1, 2"),
        ("(a, b, c) = f(x)", "(a, b, c) = ..., ..., ...", None),
        (
            'a = {"Δ": [1, 2], 3: f(x)}  # both',
            'a = {"Δ": ..., 3: ...}  # both',
            'a = {"Δ": [1, 2], 3: f(x)}',
        ),
        ('a = {\n    "b": 1,  # b\n}', 'a = {\n    "b": ...,  # b\n}', None),
        ("a = {b: 1}", "a = ...", None),
        ("a = {}", "a = ...", None),
        ("a = {**b}", "a = ...", None),
        ("import ast\nfrom re import sub\na = 1", "import ast\nfrom re import sub\na = ...", None),
        (
            "x = [1.0]  # given\na = 2\nprint(x)  #  given: a look",
            "x = [1.0]  # given\na = ...\nprint(x)  #  given: a look",
            "a = 2",
        ),
        (
            "def h(x):\n    return x  # given\n\na = h(2)",
            "def h(x):\n    return x  # given\n\na = ...",
            "a = h(2)",
        ),
    ],
)
def test_stub_and_solution(written, stub, solution):
    exercise = read_exercise(written + CALL)
    assert exercise.stub == stub + CALL
    assert exercise.solution == (solution or written)
    assert exercise.check == "check_it"
    ast.parse(exercise.stub)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("a = 1\nchecks.check_it(a)", "a blank line and the call of its check_… end an exercise"),
        ("a = 1\n\nchecks.check_it(a)\nb = 2", "a blank line and the call"),
        ("a = 1\n\nprint(a)", "a blank line and the call"),
        ("\n\ncheck_it(a)", "a blank line and the call"),
        (f"a ={CALL}", "no Python: "),
        (f"a += 1{CALL}", "'a += 1': what a learner is to write is a function, or the value of a"),
        (f"a: int = 1{CALL}", "'a: int = 1': what"),
        (f"a = b = 1{CALL}", "'a = b = 1': what"),
        (f"a.b = 1{CALL}", "'a.b = 1': what"),
        (f"a, b.c = 1, 2{CALL}", "'a, b.c = 1, 2': what"),
        (f"a, *b = 1, 2{CALL}", "'a, *b = 1, 2': what"),
        (f"(a,) = 1,{CALL}", "'(a,) = 1,': what"),
        (f"class A:\n    b = 1{CALL}", "'class A:': what"),
        (f"for a in b:\n    print(a){CALL}", "'for a in b:': what"),
        (f"print(1)  # not given{CALL}", "'print(1)  # not given': what"),
        (f"a = 1; b = 2{CALL}", "'a = 1; b = 2': one statement on a line"),
        (f"a = 1  # given{CALL}", "nothing in it is left to a learner"),
        (f"import os{CALL}", "nothing in it is left to a learner"),
        (f"def it(x): return x{CALL}", "'def it(x): return x': a body stands on lines of its own"),
    ],
)
def test_what_has_no_stub_is_refused(cell, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read_exercise(cell)
    assert str(caught.value).startswith(message)
