"""Each check gets the solution, and wrong answers whose mistake it must name; and the tools."""

import importlib
import re
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

from lora_edu.course import LESSONS, checks
from lora_edu.course.checks import call, check, predict
from lora_edu.course.intrinsic_rank import checks as control
from lora_edu.course.learning_the_update import checks as update
from lora_edu.course.matrix_example import checks as example
from lora_edu.course.rank_and_svd import checks as companions

CASES = {
    c: (said["OK"], {words: said[words] for words in said if words != "OK"})
    for lesson in LESSONS
    for c, said in importlib.import_module(f"lessons.{lesson}.cases").CASES.items()
}


def named(exercise_check):
    return f"{exercise_check.__module__.split('.')[-2]}.{exercise_check.__name__}"


each_check = pytest.mark.parametrize("exercise_check", CASES, ids=named)
WRONG = [
    pytest.param(c, answer, message, id=f"{named(c)}: {message}")
    for c, (_, wrong) in CASES.items()
    for message, answer in wrong.items()
]


def answers(answer):
    return answer if isinstance(answer, tuple) else (answer,)


def said_of(exercise_check, answer):
    with pytest.raises(AssertionError) as caught:
        exercise_check(*answers(answer))
    return str(caught.value)


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_check_has_cases(lesson):
    module = importlib.import_module(f"lora_edu.course.{lesson}.checks")
    own = {value for name, value in vars(module).items() if name.startswith("check_")}
    assert own == {c for c in CASES if c.__module__ == module.__name__}
    assert all(4 <= len(CASES[c][1]) <= 6 for c in own)


@each_check
def test_a_right_answer_is_ok(exercise_check, capsys):
    exercise_check(*answers(CASES[exercise_check][0]))
    assert capsys.readouterr().out.splitlines()[-1] == f"{exercise_check.__name__}: OK"
    assert exercise_check.passed


def skip_if_traced():
    """Skip what a loop without an end would never leave: another tracer keeps ours out."""
    if sys.gettrace() is not None:
        pytest.skip("coverage, or a debugger, is at work")


@pytest.mark.parametrize(("exercise_check", "answer", "message"), WRONG)
def test_a_wrong_answer_has_its_mistake_named(exercise_check, answer, message, capsys, monkeypatch):
    monkeypatch.setattr(checks, "SECONDS", 0.5)
    if "does not end" in message:
        skip_if_traced()
    assert message in said_of(exercise_check, answer)
    assert capsys.readouterr().out == ""
    assert not exercise_check.passed


def scaled(value):
    """Return what nobody named: each number 1.37 times as large; what holds none, in a list."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(scaled, value))
    try:
        return 1.37 * value
    except TypeError:
        return [value]


def huge(value):
    """Return a whole number that no float holds, in place of each number."""
    return type(value)(map(huge, value)) if isinstance(value, (list, tuple)) else 10**400


PERTURBED = {"scaled": scaled, "in a list": lambda value: [value], "huge": huge}
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
    perturbed = (perturb(right[0]), *right[1:])
    if callable(right[0]):
        perturbed = (lambda *arguments: perturb(right[0](*arguments)),)
    if (exercise_check, change) in RIGHT_AS_WELL:
        exercise_check(*perturbed)
    else:
        assert SHOWN.search(said_of(exercise_check, perturbed))


def not_attempted(*_):
    raise NotImplementedError


@each_check
def test_what_was_not_attempted_is_not_wrong(exercise_check, capsys):
    right = answers(CASES[exercise_check][0])
    for nothing in (..., None, not_attempted):
        if nothing is not_attempted and not callable(right[0]):
            continue
        exercise_check(*[nothing] * len(right))
        left = "raise NotImplementedError" if nothing is not_attempted else "..."
        told = f"not attempted yet: write your answer in place of {left}"
        assert capsys.readouterr().out == f"{exercise_check.__name__}: {told}\n"
        if len(right) > 1:
            half = said_of(exercise_check, (*right[:-1], nothing))
            assert f"answer {len(right)} is still to be given" in half


def tensor(array):
    made = torch.tensor(array)
    return made.requires_grad_(made.is_floating_point())


TYPES = {
    "tensors": tensor,
    "lists": np.ndarray.tolist,
    "floats": lambda array: array.astype(float) if array.dtype.kind == "i" else array,
}


def converted(value, into):
    """Return a value with each array, list of numbers or number in it as another type."""
    if isinstance(value, tuple):
        return tuple(converted(one, into) for one in value)
    if isinstance(value, (torch.Tensor, torch.nn.Module)):
        return value
    array = np.asarray(value)
    return into(array) if array.dtype.kind in "iuf" else value


@pytest.mark.parametrize("kind", TYPES)
@each_check
def test_a_right_answer_may_be_of_another_type(exercise_check, kind):
    """A tensor that autograd follows, a list of lists, 21.0 for 21."""
    right = answers(CASES[exercise_check][0])
    if callable(right[0]):
        answer = right[0]
        right = (lambda *given: converted(answer(*given), TYPES[kind]),)
    else:
        right = converted(right, TYPES[kind])
    exercise_check(*right)
    assert exercise_check.passed


def test_a_right_answer_may_be_written_otherwise():
    example.check_swap(lambda W, a, b, c, d: W + np.hstack([d, -b]) @ np.vstack([c, a]))
    control.check_control({**CASES[control.check_control][0], "start": "Random"})
    assert example.check_swap.passed
    assert control.check_control.passed


# -- calling an answer ---------------------------------------------------------------------------


def test_without_asserts_a_check_judges_nothing():
    code = "from lora_edu.course.matrix_example.checks import check_swap as c; c(min)"
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("check_swap: cannot judge: start Python without -O")


def stub_below_a_line(x):
    print(x + 1)
    raise NotImplementedError


def test_a_stub_is_not_attempted_but_an_answer_that_calls_one_is(capsys):
    @check
    def check_it(it):
        call(it, x=1)

    check_it(stub_below_a_line)
    assert capsys.readouterr().out.startswith("2\ncheck_it: not attempted yet: write your answer")
    with pytest.raises(AssertionError, match="it calls not_attempted, which is still a stub"):
        check_it(lambda x: not_attempted(x))


def helper(x):
    return x[5]


def inside_a_generator(A):
    rows = A.tolist()
    return sum(
        row[9]  # on the fourth line
        for row in rows
    )


FAILING = [
    (inside_a_generator, "IndexError: list index out of range (line 4 of your function: row[9]  #"),
    (lambda A: helper(A), "(line 2 of helper: return x[5])"),
    (int, "TypeError: only "),  # which has no lines
]


@pytest.mark.parametrize(("answer", "where"), FAILING)
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


def count_up():
    n = 0
    while True:
        n += 1


def endless_though_caught(x):
    while True:
        try:
            x += 1
        except Exception:
            return x


ENDLESS = [
    (lambda x: count_up(), r"\(line \d of count_up: (while True:|n \+= 1)\)"),
    (endless_though_caught, r"\(line \d of your function: "),
]


@pytest.mark.parametrize(("answer", "where"), ENDLESS)
def test_a_loop_without_an_end_is_stopped_and_named(answer, where, monkeypatch):
    skip_if_traced()
    monkeypatch.setattr(checks, "SECONDS", 0.05)
    message = r"for x = 1 it does not end: which loop never stops\? "
    with pytest.raises(checks.NoResultError, match=message + where):
        call(answer, x=1)
    assert sys.gettrace() is None


def test_few_slow_lines_and_a_debugger_are_left_alone(monkeypatch):
    skip_if_traced()
    monkeypatch.setattr(checks, "SECONDS", -1)
    assert call(lambda x: sum(range(x)), x=10) == 45
    sys.settrace(debugger := lambda *_: None)
    try:
        assert call(sys.gettrace) is debugger
    finally:
        sys.settrace(None)


def test_the_traceback_of_a_check_is_short(capsys):
    @check
    def check_nothing(answer):
        assert answer is None, "wrong"

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


def test_something_must_come_back():
    assert call(sorted, runs=[3, 1, 2]) == [1, 2, 3]
    with pytest.raises(checks.NoResultError, match=r"for x = 3 it returned None: is the `return`"):
        call(lambda x: None, x=3)


def test_whoever_works_with_torch_is_given_tensors():
    assert call(lambda M: M.norm(dim=1), M=np.eye(2)).tolist() == [1, 1]
    with pytest.raises(AssertionError, match=r"M of shape \(2, 2\) it raises .*nothing"):
        call(lambda M: M.nothing(), M=np.eye(2))


# -- what a result is ----------------------------------------------------------------------------


CHANGED = "given itself was changed"
TOLD = [
    (lambda: call(lambda given: given["test"].pop(), given={"test": [1, 2]}), CHANGED),
    (lambda: call(lambda given: given.add_(1), given=torch.zeros(2)), CHANGED),
    (lambda: checks.number([1, 2]), "return one number, got shape (2,)"),
    (lambda: checks.number(float("nan")), "the result is nan: is something divided by 0?"),
    (lambda: checks.number("1"), "the result must be a number or an array of numbers, got str"),
    (lambda: checks.number([[1], [1, 2]]), "must be a number or an array of numbers, got list"),
    (lambda: checks.shaped(np.ones((3, 2)), (2, 3), "W"), "not (2, 3): turn it (.T)"),
    (lambda: checks.shaped([1, np.inf], (2,), "W"), "W holds inf: a root of a negative"),
    (lambda: checks.several(np.ones((2, 2)), "AB"), "return 2 values, A and B, got ndarr"),
]


@pytest.mark.parametrize(("called", "message"), TOLD)
def test_what_was_changed_or_has_another_form_is_told(called, message):
    with pytest.raises(AssertionError, match=re.escape(message)):
        called()


def test_fractions_tensors_and_lists_are_numbers():
    assert checks.numbers((Fraction(1, 2), np.float32(2)), "two").tolist() == [0.5, 2]
    assert checks.number(torch.tensor(2.0, requires_grad=True)) == 2
    assert [one.tolist() for one in checks.several(np.array([1, 2]), "AB")] == [1, 2]


some = st.floats(-3, 3).map(lambda n: round(n, 2))


@given(some, some, some)
def test_a_sum_is_taken_apart(a, b, c):
    rng = np.random.default_rng(0)
    parts = {name: rng.standard_normal((4, 4)) for name in ("X", "Y")}
    others = checks.products(X=parts["X"], Y=parts["Y"])
    whole = a * parts["X"] + b * parts["Y"] + c * parts["Y"].T @ parts["X"]
    made = {name: times for name, times in {"X": a, "Y": b, "Y.T @ X": c}.items() if times}
    assert checks.as_sum(whole, parts, others) == pytest.approx(made)
    if c:
        assert checks.as_sum(whole, parts) == {}


@given(some.filter(bool), st.sampled_from([-2, -0.5, 0, 1]), st.sampled_from([-1, 0, 0.25, 2]))
def test_a_product_is_taken_apart(factor, m, n):
    bases = {"m": np.array([1.0, 2, 3, 5, 8]), "n": np.array([4.0, 1, 7, 2, 3])}
    text = checks.as_product(factor * bases["m"] ** m * bases["n"] ** n, bases)
    values = {name: 1.7 + i for i, name in enumerate(bases)}
    written = text.replace("^", "**").replace(" · ", " * ")
    assert eval(written, {}, values) == pytest.approx(factor * 1.7**m * 2.7**n, rel=1e-3)
    assert checks.as_product(bases["m"] + bases["n"], bases) == ""


ROUNDED = [
    (0.33, 1 / 3, True),
    (0.35, 1 / 3, False),
    ([1.2, 3.4], [1.23, 3.38], True),
    ([1.2, 3.38], [1.23, 3.38], False),
    (np.float32(-113.3), -113.3333, True),
]


@pytest.mark.parametrize(("got", "right", "lost"), ROUNDED)
def test_lost_digits_are_seen(got, right, lost):
    assert checks.lost_digits(got, right) is lost


def test_the_first_wrong_entry_is_shown():
    checks.compare([1.0, 2.5], [1, 2.5], "x", ": why")
    with pytest.raises(AssertionError, match=r"^x\[1\] is 2\.1 and should be 2\.5: why$"):
        checks.compare([1.0, 2.1], [1, 2.5], "x", ": why")
    times = r"^x\[0\] is 3 and should be 1: that is right times 3: why$"
    with pytest.raises(AssertionError, match=times):
        checks.compare([3.0, 7.5], [1, 2.5], "x", ": why")


CUTS = [
    (lambda U, S, Vt: (U * S) @ Vt[::-1], "not in one order in both strips"),
    (lambda U, S, Vt: U[:, :2] @ Vt[:2], "it holds the directions [1, 2], counted from the st"),
    (lambda U, S, Vt: (U * S) @ Vt + 1, "it is 5.17 away, the 3 strongest directions 1: its r"),
]


@pytest.mark.parametrize(("made", "message"), CUTS)
def test_a_cut_is_told_which_directions_it_holds(made, message):
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((5, 4)))[0] for _ in range(2))
    M = (U * (4, 3, 2, 1)) @ V.T
    U, S, Vt = np.linalg.svd(M, full_matrices=False)
    best = (U[:, :3] * S[:3]) @ Vt[:3]
    checks.compare_cut(best, M, 3)
    with pytest.raises(AssertionError, match=re.escape(message)):
        checks.compare_cut(made(U[:, :3], S[:3], Vt[:3]), M, 3)
    with pytest.raises(AssertionError, match=r"it is 5\.17 away, the 3 strongest directions 1:"):
        checks.compare_cut(2 * (best + 1), M, 3, times=2.0)


HINTS = [
    (lambda a: a @ np.ones(5), "In a @ b, a has as many columns as b rows"),
    (lambda a: setattr(torch.nn.Linear(2, 2), "weight", torch.ones(2)), "Wrap it, nn.Param"),
    (lambda a: torch.nn.Linear(2, 2).weight.zero_(), "Change numbers that train within"),
]


@pytest.mark.parametrize(("answer", "hint"), HINTS)
def test_the_commonest_errors_come_with_a_way_out(answer, hint):
    with pytest.raises(AssertionError, match=rf"of your function.*\. {hint}"):
        checks.call(answer, a=np.ones(3))


IGNORING = [
    (lambda a, b: b, "it is the same whatever a may be: is it used?"),
    (lambda a, b: 3, "it is the same whatever a and b may be: is it used?"),
    (lambda a, b: a if b == [2] else b[7], ""),
]


@pytest.mark.parametrize(("answer", "said"), IGNORING)
def test_an_argument_that_makes_no_difference_is_named(answer, said):
    assert checks.ignored(answer, {"a": 1, "b": [2]}, {"a": 5, "b": [6]}) == said


# -- predictions ---------------------------------------------------------------------------------

THOUSAND = ["1000", "1,000", "1.000", "1\u00a0000", "1'000", "1_000", "~1000", "about 1,000"]
THOUSAND += ["1000 numbers", "1k", "10^3", "1e3", 1000, 1009]
MORE, FEWER = (1_000, 10_000, "more"), ("fewer", 5, "more")
SHARES, POWERS = (0.02, 0.17, 0.5), (10, 100, 1_000, 10_000)
HALF = ("about half", "clearly less", "clearly more")
AGAIN = "your guess: one of "


@pytest.mark.parametrize("guess", THOUSAND)
def test_a_number_may_be_written_in_many_ways(guess, capsys):
    predict(guess, 1000)
    said = capsys.readouterr().out
    assert said.startswith("answer: 1,000   your guess: ")
    assert said.endswith(("   yes\n", "   near enough\n"))


GUESSES = [
    (1229, 1228.8, (), "near enough"),
    ("many", 1000, (), "not quite"),
    (10, 1000, (), "too small: 100 times (exactly: is it in another notation?)"),
    ("1,34", 1.34, (0.45, 1, 1.34), "yes"),
    ("3 million", 3_407_872, (300_000, 3_000_000, 30_000_000), "yes"),
    ("3M", 3_407_872, (300_000, 3_000_000, 30_000_000), "yes"),
    ("1.3", 1.34, (0.45, 1, 1.34), "near enough"),
    (1.3, 1.34, (), "near enough"),
    (1.2, 1.34, (), "too small: 1.12 times"),
    ("17%", 0.16, SHARES, "yes"),
    (17, 0.16, SHARES, "yes, in per cent"),
    ("10^-4", 4e-5, (1e-8, 1e-4, 1), "yes"),
    ("1.003", 1.0, (1.0, 1.003, 1.0078125), "not quite"),
    (1000, 1228.8, POWERS, "yes"),
    ("> 10,000", 60_000, MORE, "yes"),
    (50_000, 60_000, MORE, "yes"),
    ("fewer than 5", 3, FEWER, "yes"),
    ("less than 5", 5, FEWER, "not quite"),
    ("1 and 100", [1, 100], (), "yes"),
    ([100, 1], [1, 100], (), "not quite"),
    ("answer B", "b", ("a", "b", "c"), "yes"),
    ("clearly LESS", "clearly less", HALF, "yes"),
    ("B, D and E", "BDE", (), "yes"),
    (["B", "D", "E"], "BDE", (), "yes"),
    (9, 10, (46, 10, 9, 1), "not quite"),
    (3, 0, (), "not quite"),
    ("9**9**9", 3, (), "not quite"),
    (" ? ", 3, (2, 4), ""),
]


@pytest.mark.parametrize(("guess", "actual", "options", "verdict"), GUESSES)
def test_predict_reads_what_people_type(guess, actual, options, verdict, capsys):
    predict(guess, actual, *options)
    said = capsys.readouterr().out.rstrip("\n")
    shown = f"{actual:,}" if isinstance(actual, int) else f"{actual}"
    assert said.startswith(f"answer: {shown}")
    assert said.endswith(verdict)
    assert verdict or "guess" not in said


UNOFFERED = ["many", True, 1j, ["yes"], "1,000"]
KEPT_BACK = [
    *((guess, 1234, (), checks.GUESS_FIRST) for guess in (None, ..., "  ")),
    *((guess, "yes", ("yes", "no"), f"{AGAIN}yes, no") for guess in UNOFFERED),
    ("more than 1000", 60_000, MORE, f"{AGAIN}1,000, 10,000, more"),
    ("less", "clearly less", HALF, f"{AGAIN}about half, clearly less, clearly more"),
    ((2, 0), 2000, (), 'a comma makes two numbers of one: write 2000, or "2,000" in quotes'),
]


@pytest.mark.parametrize(("guess", "actual", "options", "said"), KEPT_BACK)
def test_what_is_no_guess_keeps_the_answer_back(guess, actual, options, said, capsys):
    predict(guess, actual, *options)
    assert capsys.readouterr().out == f"{said}\n"


@pytest.mark.parametrize("guess", [np.array([1, 2]), [[]], pytest.param(10**5000, id="huge"), {1}])
@pytest.mark.parametrize("options", [(), (10, 1000), ("yes", "no"), ("fewer", -5, "more")])
@pytest.mark.parametrize("actual", [1000, 0, -3, "yes", (1, 2), np.array([1, 2])])
def test_predict_never_raises(guess, actual, options):
    predict(guess, actual, *options)
