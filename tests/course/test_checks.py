"""Each check gets the solution, and wrong answers whose mistake it must name."""

import contextlib
import copy
import importlib
import itertools
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from lessons import in_place

from lora_edu.course import LESSONS
from lora_edu.course.checks import call, check, numbers, predict
from lora_edu.course.learning_the_update import checks as update
from lora_edu.course.matrix_example import checks as example
from lora_edu.course.rank_and_svd import checks as companions


def not_attempted(*_):
    raise NotImplementedError


CASES = {
    c: case
    for lesson in LESSONS
    for c, case in importlib.import_module(f"lessons.{lesson}.cases").CASES.items()
}


def named(exercise_check):
    return f"{exercise_check.__module__.split('.')[-2]}.{exercise_check.__name__}"


each_check = pytest.mark.parametrize("exercise_check", CASES, ids=named)
WRONG = [
    pytest.param(c, *case, id=f"{named(c)}: {name}")
    for c, (_, wrong) in CASES.items()
    for name, case in wrong.items()
]


def answers(answer):
    return answer if isinstance(answer, tuple) else (answer,)


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_check_has_cases(lesson):
    module = importlib.import_module(f"lora_edu.course.{lesson}.checks")
    own = {f for name, f in vars(module).items() if name.startswith("check_")}
    assert own == {c for c in CASES if c.__module__ == module.__name__}
    assert all(len(CASES[c][1]) >= 4 for c in own)


@each_check
def test_a_right_answer_is_ok(exercise_check, capsys):
    exercise_check(*answers(CASES[exercise_check][0]))
    assert capsys.readouterr().out.splitlines()[-1] == f"{exercise_check.__name__}: OK"


@pytest.mark.parametrize(("exercise_check", "answer", "message"), WRONG)
def test_a_wrong_answer_has_its_mistake_named(exercise_check, answer, message, capsys):
    with pytest.raises(AssertionError) as caught:
        exercise_check(*answers(answer))
    assert message in str(caught.value)
    assert capsys.readouterr().out == ""


# -- what an answer does ----------------------------------------------------------------------


class Watched:
    """An answer that is a function, and all that it does while a check runs.

    That is, for each call: what it returns or raises, what it hands to functions that it is given,
    and what it changes.
    """

    def __init__(self, answer):
        self.answer = answer
        self.done = []

    def __call__(self, *arguments):
        handed = []
        before = copy.deepcopy([None if is_function(value) else value for value in arguments])
        given = [
            self.handing(value, handed) if is_function(value) else value for value in arguments
        ]
        try:
            result = self.answer(*given)
        except Exception as error:
            self.done.append(error)
            raise
        changed = [
            (place, copy.deepcopy(now))
            for place, (now, was) in enumerate(zip(arguments, before, strict=True))
            if isinstance(now, (np.ndarray, torch.nn.Module)) and not same(now, was)
        ]
        self.done.append((copy.deepcopy(result), handed, changed))
        return result

    @staticmethod
    def handing(function, handed):
        def noted(*values):
            handed.append(copy.deepcopy(values))
            return function(*values)

        return noted


def is_function(value):
    return callable(value) and not isinstance(value, torch.nn.Module)


def done(exercise_check, answer):
    """Return all that an answer does while its check runs; of values, the values."""
    values = answers(answer)
    if not callable(values[0]):
        return values
    watched = Watched(values[0])
    with contextlib.suppress(AssertionError):
        exercise_check(watched)
    return watched.done


def same(one, two):
    """Say whether two things are one: a type and a shape count, and NaN is itself."""
    parts = (list, tuple, dict, Exception)
    if isinstance(one, parts) or isinstance(two, parts):
        if type(one) is not type(two):
            return False
        if isinstance(one, Exception):
            return str(one) == str(two)
        if isinstance(one, dict):
            return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, torch.nn.Module) or isinstance(two, torch.nn.Module):
        return type(one) is type(two) and same(what_it_holds(one), what_it_holds(two))
    a, b = (np.asarray(x.detach() if isinstance(x, torch.Tensor) else x) for x in (one, two))
    if a.dtype.kind != b.dtype.kind or a.shape != b.shape:
        return False
    if a.dtype.kind in "fc":
        return np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True)
    return np.array_equal(a, b)


def what_it_holds(module):
    """Return the tensors and numbers of a module, and of each tensor whether it trains and how."""
    tables = vars(module), module._parameters, module._buffers, module._modules
    found = {"its own forward": ["forward" in vars(module)]}
    for table in tables:
        for name, value in table.items():
            if isinstance(value, (torch.Tensor, torch.nn.Module, float)):
                found[name] = [value, type(value).__name__, getattr(value, "requires_grad", None)]
    return found


@each_check
def test_no_two_answers_do_the_same(exercise_check):
    right, wrong = CASES[exercise_check]
    named_answers = {"the right one": right}
    for name, (answer, message) in wrong.items():
        if "was formed" not in message:  # on the way to what is right
            named_answers[name] = answer
    did = {name: done(exercise_check, answer) for name, answer in named_answers.items()}
    twins = [pair for pair in itertools.combinations(did, 2) if same(*map(did.get, pair))]
    assert not twins


def scaled(value):
    """Return what nobody named: each number 1.37 times as large; what holds none, in a list."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(scaled, value))
    try:
        return 1.37 * value
    except TypeError:
        return [value]


PERTURBED = {"scaled": scaled, "in a list": lambda value: [value]}
RIGHT_AS_WELL = {
    (companions.check_companion, "scaled"),  # a multiple of such an answer is another
    (update.check_step, "in a list"),  # a strip of rank 1 is a row in a matrix
}
# What a message shows of an answer: a number, a shape, what it got, or the thing in quotes.
SHOWN = re.compile(r"(?<![\w.])-?\d|\bshapes?\b|\bgot \S|'.+'")


@pytest.mark.parametrize("change", PERTURBED)
@each_check
def test_an_answer_that_nobody_named_is_shown_what_it_is(exercise_check, change):
    perturb = PERTURBED[change]
    right = answers(CASES[exercise_check][0])
    if callable(right[0]):
        given = (lambda *arguments: perturb(right[0](*arguments)),)
    else:
        given = (perturb(right[0]), *right[1:])
    if (exercise_check, change) in RIGHT_AS_WELL:
        exercise_check(*given)
        return
    with pytest.raises(AssertionError) as caught:
        exercise_check(*given)
    assert SHOWN.search(str(caught.value))


@each_check
def test_what_was_not_attempted_is_not_wrong(exercise_check, capsys):
    right = answers(CASES[exercise_check][0])
    for nothing in (..., None, not_attempted):
        if nothing is not_attempted and not callable(right[0]):
            continue
        exercise_check(*[nothing] * len(right))
        assert capsys.readouterr().out == f"{exercise_check.__name__}: not attempted yet\n"


def test_other_right_ways_to_swap_and_to_change_a_pair(capsys):
    example.check_swap(lambda W, a, b, c, d: W + (d @ c - b @ a))
    example.check_swap(lambda W, a, b, c, d: in_place(W - b.dot(a), np.einsum("dr,rk->dk", d, c)))
    example.check_swap(lambda W, a, b, c, d: W + np.hstack([d, -b]) @ np.vstack([c, a]))
    example.check_other_pair(lambda A, B: (-A, -B))
    example.check_other_pair(lambda A, B: [3 * A, B / 3])
    assert capsys.readouterr().out.count("OK") == 5


def test_a_stub_inside_an_answer_is_not_an_answer_not_attempted():
    def delta_weight(A, B):
        raise NotImplementedError

    with pytest.raises(AssertionError, match="it calls delta_weight, which is still a stub"):
        example.check_swap(lambda W, a, b, c, d: W + delta_weight(c, d))


def stub_below_some_lines(x):
    y = x + 1
    print(y)
    raise NotImplementedError


def test_a_stub_with_lines_in_it_is_not_attempted_either(capsys):
    @check
    def check_it(it):
        call(it, x=1)

    check_it(stub_below_some_lines)
    assert capsys.readouterr().out == "2\ncheck_it: not attempted yet\n"


def beside(x):
    return x[5]


def by_its_own_line(A):
    rows = [A]
    return rows[7]


def inside_a_generator(A):
    rows = A.tolist()
    return sum(
        row[9]  # on the fourth line
        for row in rows
    )


def inside_numpy(A):
    row = A[0]
    return np.linalg.inv(row)


def in_another_function(A):
    return beside(A)


@pytest.mark.parametrize(
    ("answer", "where"),
    [
        (by_its_own_line, "IndexError: list index out of range (line 3 of your function: return r"),
        (inside_a_generator, "(line 4 of your function: row[9]  # on the fourth line)"),
        (inside_numpy, "(line 3 of your function: return np.linalg.inv(row))"),
        (in_another_function, "(line 2 of beside: return x[5])"),
        (lambda A: A[0, 8], "(line 1 of your function: (lambda A: A[0, 8]"),
    ],
)
def test_an_error_is_named_with_its_line(answer, where):
    with pytest.raises(AssertionError) as caught:
        call(answer, A=np.ones((2, 3)))
    assert str(caught.value).startswith("for A of shape (2, 3) it raises ")
    assert where in str(caught.value)


def test_an_error_in_a_cell_is_named_with_its_line():
    shell = InteractiveShell.instance()
    shell.run_cell("def help_out(A):\n    return A[5]\n").raise_error()
    shell.run_cell("x = 1\n\ndef answer(A):\n    # ΔW\n    return help_out(A)").raise_error()
    with pytest.raises(AssertionError, match=r"\(line 3 of your function: return help_out\(A\)\)$"):
        call(shell.user_ns["answer"], A=np.ones((2, 3)))


def test_an_error_without_a_text_or_without_a_line():
    space = {}
    exec("def answer(A):\n\n    return A[5]", space)
    with pytest.raises(AssertionError, match=r"with size 2 \(line 3 of your function\)$"):
        call(space["answer"], A=np.ones((2, 3)))
    with pytest.raises(AssertionError, match=r"raises TypeError: bad operand .*: 'str'$"):
        call(abs, A="a")


def test_the_traceback_of_a_check_is_short(capsys):
    @check
    def check_nothing(answer):
        helper = {"inner": "workings"}
        assert helper is None, "wrong"

    with pytest.raises(AssertionError) as caught:
        check_nothing(1)
    assert len(caught.traceback) == 2  # this test, and the check itself
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    shell = InteractiveShell.instance()
    shell.showtraceback((AssertionError, caught.value, caught.tb))
    shown = capsys.readouterr().out  # in a notebook: the message alone
    assert shown.startswith("check_nothing: wrong")
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("guess", "actual", "printed"),
    [
        ("?", 1000, "answer: 1,000\n"),
        ("?", "x", "answer: x\n"),
        (1000, 1000, "answer: 1,000   your guess: 1,000   yes\n"),
        ("1000", 1000, "your guess: 1000   yes\n"),
        (500, 1000, "answer: 1,000   your guess: 500   too small: 2 times\n"),
        (2500.0, 1000, "too large: 2.5 times\n"),
        (1229, 1228.8, "near enough\n"),
        (-1, 1000, "your guess: -1   not quite\n"),
        ("many", 1000, "your guess: many   not quite\n"),
        ("1,000", 1000, "yes\n"),
        ("l", "L", "your guess: l   yes\n"),
        ("B, D and E", "BDE", "yes\n"),
        ("edb", "BDE", "yes\n"),
        ("DE", "BDE", "not quite\n"),
        ("and", "AND", "yes\n"),
        ("candle", "clean", "not quite\n"),
        ("A Broken record", "broken record", "yes\n"),
        ("x", "L", "not quite\n"),
        (0, 0, "your guess: 0   yes\n"),
        (3, 0, "not quite\n"),
        ((975, 975), (975, 500), "your guess: (975, 975)   not quite\n"),
        ([975, 500], (975, 500), "yes\n"),
        (np.arange(3), 2, "not quite\n"),
        (10**400, 3, "not quite\n"),
        (float("nan"), 3, "not quite\n"),
    ],
)
def test_predict_prints_either_way_and_never_raises(guess, actual, printed, capsys):
    predict(guess, actual)
    assert printed in capsys.readouterr().out


THREE = (1_000, 10_000, "more")


@pytest.mark.parametrize(
    ("guess", "actual", "options", "verdict"),
    [
        (1000, 1228.8, (10, 100, 1000, 10_000), "yes"),
        ("about 1,000", 1228.8, (10, 100, 1000, 10_000), "yes"),
        (100, 1228.8, (10, 100, 1000, 10_000), "too small: 12.3 times"),
        ("more", 60_000, THREE, "yes"),
        ("More", 60_000, THREE, "yes"),
        (60_000, 60_000, THREE, "yes"),
        (10_000, 60_000, THREE, "too small: 6 times"),
        ("more", 10_000, THREE, "not quite"),
        ("10,000", 10_000, THREE, "yes"),
        ("fewer", 3, ("fewer", 10, "more"), "yes"),
        ("b", "B", ("A", "B", "C"), "yes"),
        ("LoRA", "LoRA", ("LoRA", "full"), "yes"),
        ("same", "the same", ("more", "the same"), "yes"),
        ("full", "LoRA", ("LoRA", "full"), "not quite"),
    ],
)
def test_predict_takes_the_options_that_its_question_offers(
    guess, actual, options, verdict, capsys
):
    predict(guess, actual, *options)
    assert (
        capsys.readouterr()
        .out.rstrip()
        .endswith(
            f"your guess: {guess:,}   {verdict}"
            if isinstance(guess, int)
            else f"your guess: {guess}   {verdict}"
        )
    )


@pytest.mark.parametrize("guess", ["many", True, "", "yes!", 1j, ["yes"], {}, "1,000"])
def test_a_guess_that_is_not_offered_keeps_the_answer_back(capsys, guess):
    predict(guess, "yes", "yes", "no")
    assert capsys.readouterr().out == "your guess: one of yes, no\n"
    predict("lots", 5, 1, 1_000, "more")
    assert capsys.readouterr().out == "your guess: one of 1, 1,000, more\n"


@pytest.mark.parametrize("guess", [np.array([1, 2]), [[]], pytest.param(10**5000, id="huge"), {1}])
@pytest.mark.parametrize("options", [(), (10, 1000), ("yes", "no"), ("fewer", -5, "more")])
@pytest.mark.parametrize("actual", [1000, 0, -3, "yes", (1, 2), np.array([1, 2])])
def test_predict_never_raises(guess, actual, options):
    predict(guess, actual, *options)


@pytest.mark.parametrize("guess", [None, ...])
def test_predict_keeps_its_secret_until_there_is_a_guess(guess, capsys):
    predict(guess, 1234)
    said = capsys.readouterr().out
    assert "your guess first" in said
    assert "234" not in said


def test_what_is_given_may_be_a_list_or_a_table_and_must_stay_as_it_was():
    def sorts(runs):
        runs.sort()
        return runs

    def takes(table):
        return table["test"].pop()

    with pytest.raises(AssertionError, match="runs itself was changed"):
        call(sorts, runs=[3, 1, 2])
    with pytest.raises(AssertionError, match="table itself was changed"):
        call(takes, table={"test": [1, 2]})
    assert call(sorted, runs=[3, 1, 2]) == [1, 2, 3]


def test_whoever_works_with_torch_is_given_tensors():
    seen = call(lambda M: torch.linalg.svdvals(M), M=np.diag([3.0, 2.0]))
    assert seen.tolist() == pytest.approx([3, 2])
    assert call(lambda M: M.norm(dim=1), M=np.eye(2)).tolist() == [1, 1]
    with pytest.raises(AssertionError, match=r"M of shape \(2, 2\) it raises .*nothing"):
        call(lambda M: M.nothing(), M=np.eye(2))


def test_fractions_are_numbers():
    assert numbers((Fraction(1, 2), np.float32(2)), "two").tolist() == [0.5, 2]
    with pytest.raises(AssertionError, match="two must be a number"):
        numbers(("1", Fraction(1, 2)), "two")
