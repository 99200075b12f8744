"""Checks of the exercises: they take what the learner wrote, and name the mistake.

A check prints ``check_name: OK``, or ``check_name: not attempted yet`` when it is given what the
stub holds (``...``, ``None``, or a function that raises ``NotImplementedError``); so a notebook
nobody has worked on runs to its end. (A grader asks for ``check_name.passed``.) A wrong answer
raises an ``AssertionError`` that says what is wrong with it; a notebook shows that alone, without a
traceback.

Most checks *measure*: they say of what a result is made (``as_sum``, ``as_product``), which of its
entries are right, and which arguments it ignores. Slips that are common, and that no measure tells
apart, are listed beside what they give.
"""

import copy
import functools
import itertools
import linecache
import math
import re
import sys
import textwrap
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Number, Real
from types import CodeType, FrameType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lora_edu.course.say import say, without_accents

SECONDS = 3  # of computing that a learner's function may take


class NoResultError(AssertionError):
    """A learner's function returned None, or did not end in time."""


class _OutOfTime(BaseException):
    """What ends a loop without an end; no ``except Exception`` of the learner's catches it."""


def check(function: Callable[..., None]) -> Callable[..., None]:
    """Turn a function that raises ``AssertionError`` on a wrong answer into an exercise's check.

    An example whose matrices are all square comes first. With it, two factors in the wrong order
    still give a value, which the check can name; with any other, NumPy refuses the product before
    the check sees it, and the learner reads of shapes instead of the mistake.
    """
    name = function.__name__

    @functools.wraps(function)
    def checked(*answers: Any) -> None:
        checked.passed = False  # pyright: ignore[reportAttributeAccessIssue]
        if not __debug__:
            print(f"{name}: {say('cannot judge: start Python without -O, which skips asserts')}")
            return
        missing = [answer is None or answer is ... for answer in answers]
        mistake = None
        try:
            if all(missing):
                raise NotImplementedError
            assert not any(missing), f"answer {missing.index(True) + 1} is still to be given"
            function(*answers)
        except NotImplementedError:
            stub = "..." if all(missing) else "raise NotImplementedError"
            print(f"{name}: {say(f'not attempted yet: write your answer in place of {stub}')}")
            return
        except AssertionError as error:
            mistake = say(str(error))
        if mistake is not None:  # raised here, so that the traceback shows no inner workings
            wrong = AssertionError(mistake)
            # All that a notebook shows, for IPython asks for it. By itself JupyterLab would break a
            # long line inside a word.
            lines = textwrap.wrap(f"{name}: {mistake}", 88)
            wrong._render_traceback_ = lambda: lines  # pyright: ignore[reportAttributeAccessIssue]
            raise wrong
        checked.passed = True  # pyright: ignore[reportAttributeAccessIssue]
        print(f"{name}: OK")

    return checked


def call(answer: Callable, /, **arguments: Any) -> Any:
    """Call a learner's function for a check, and name what goes wrong on the way.

    A loop without an end is stopped after ``SECONDS``, wherever the notebook runs: a trace function
    looks at the clock at each line of the learner's. It cannot stop a single call into compiled
    code, such as ``list(itertools.count())``, and leaves a debugger's own trace function alone.

    The ``arguments`` are passed by position; their names appear in the messages. Who works with
    torch, and is given NumPy's arrays, is given tensors instead.

    A NotImplementedError if the function raises it itself: what the stub left to do is still to be
    done. An AssertionError if it raised another error (the message quotes the line), or changed
    what it was given; a NoResultError if it returned nothing, or did not end.
    """
    own = getattr(answer, "__code__", None)  # None: not written in Python
    before = {name: _copy(value) for name, value in arguments.items()}
    given = ", ".join(f"{name} {_given(value)}" for name, value in arguments.items())
    try:
        result = _in_time(answer, *arguments.values())
    except NotImplementedError as error:
        *_, (deepest, _) = traceback.walk_tb(error.__traceback__)
        stub = deepest.f_code
        if stub is own:
            raise
        raise AssertionError(
            f"it calls {stub.co_name}, which is still a stub: write that first"
        ) from None
    except _OutOfTime as error:
        endless = f"for {given} it does not end: which loop never stops?"
        raise NoResultError(endless + _where(error, own)) from None
    except Exception as error:
        if tensors := _as_tensors(error, arguments):
            return call(answer, **tensors)
        raised = f"for {given} it raises {type(error).__name__}: {error}"
        hints = [f". {do}" for said, do in HINTS.items() if re.search(said, str(error))]
        raise AssertionError(raised + _where(error, own) + "".join(hints[:1])) from None
    for name, value in before.items():
        assert _equal(value, arguments[name]), (
            f"{name} itself was changed: return something new (y = a + b, not a += b)"
        )
    if result is None:
        raise NoResultError(
            f"for {given} it returned None: is the `return` missing? Or never reached?"
        )
    return result


def _in_time(answer: Callable, *arguments: Any) -> Any:
    """Call a function; raise ``_OutOfTime`` if it goes on running lines of its own for too long."""
    space = getattr(answer, "__globals__", None)  # the notebook's, which all its functions share
    end, lines = time.process_time() + SECONDS, 0

    def watch(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if frame.f_globals is not space:
            return None  # a library's: not to be slowed down
        lines += 1
        if lines > 5_000 and time.process_time() > end:  # an import may take long, in few lines
            raise _OutOfTime
        return watch

    debugger = sys.gettrace()
    sys.settrace(debugger or watch)
    try:
        return answer(*arguments)
    finally:
        sys.settrace(debugger)


def _where(error: BaseException, own: CodeType | None) -> str:
    """Say on which line of the learner's an error came up: the deepest of their file or cell."""
    where = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if own is None or code.co_filename != own.co_filename:
            continue
        last = max(line for *_, line in own.co_lines() if line is not None)
        if own.co_firstlineno <= code.co_firstlineno <= last:  # the function, or inside
            place = f"line {line - own.co_firstlineno + 1} of your function"
        else:
            place = f"line {line - code.co_firstlineno + 1} of {code.co_name}"
        text = linecache.getline(code.co_filename, line).strip()
        where = f" ({place}: {text})" if text else f" ({place})"
    return where


def _given(value: Any) -> str:
    if isinstance(value, (Number, str)) or (isinstance(value, list) and len(value) <= 8):
        return f"= {value}"
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    return f"({kind})" if shape is None else f"of shape {tuple(shape)}"


# What torch says of NumPy's arrays, and NumPy of torch's words.
NO_TENSOR = re.compile(
    r"(?:not|got|found) .*numpy\.ndarray|'numpy\.ndarray' object|argument '(?:dim|keepdim)'"
)


def _as_tensors(error: Exception, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with tensors for arrays if the error asks for them, else nothing."""
    arrays = [name for name, value in arguments.items() if isinstance(value, np.ndarray)]
    if not arrays or not NO_TENSOR.search(str(error)):
        return {}
    import torch  # most lessons that need it have loaded it already

    return {**arguments, **{name: torch.from_numpy(arguments[name].copy()) for name in arrays}}


# What Python, NumPy and torch say of the commonest slips, and what to do.
HINTS = {
    "cannot assign .* as parameter": "Wrap it, nn.Parameter(...), or change its numbers in place",
    "leaf Variable that requires grad": "Change numbers that train within `with torch.no_grad():`",
    "core dimension|cannot be multiplied|not aligned": "In a @ b, a has as many columns as b rows",
}


def _copy(value: Any) -> Any:
    """Return a copy of an argument, to compare it with later."""
    if isinstance(value, (dict, list)):
        return copy.deepcopy(value)
    return value.detach().clone() if hasattr(value, "detach") else np.array(value)


def _equal(one: Any, other: Any) -> bool:
    """Say whether two values are the same, whatever they hold."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    if hasattr(one, "detach"):
        return one.shape == other.shape and bool((one == other).all())
    return np.array_equal(one, other)


def ignored(answer: Callable, given: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """Name the arguments that make no difference to a result, and say so; else return ``""``.

    ``others`` has other values for some of the arguments of ``given``. They are tried one by one.
    """
    result, same = call(answer, **given), []
    for name, other in others.items():
        try:
            again = call(answer, **{**given, name: other})
        except AssertionError:  # it does make a difference
            continue
        if _equal(result, again):
            same.append(name)
    return f"it is the same whatever {' and '.join(same)} may be: is it used?" if same else ""


# -- what a result has to be ---------------------------------------------------------------------


def numbers(value: Any, name: str) -> NDArray:
    """Return what a learner gave as an array of floats, or say what it is instead."""
    try:
        rows = [*map(_without_slopes, value)] if isinstance(value, (list, tuple)) else value
        array = np.asarray(_without_slopes(rows))
        fractions = array.dtype.kind == "O" and all(isinstance(n, Real) for n in array.flat)
        if array.dtype.kind in "biuf" or fractions:
            return array.astype(float)
    except OverflowError:
        raise AssertionError(f"{name} is beyond all floats: they end at 1.8e308") from None
    except (TypeError, ValueError, RuntimeError):  # ragged lists; what NumPy cannot hold
        pass
    kind = getattr(value, "dtype", type(value).__name__)
    raise AssertionError(f"{name} must be a number or an array of numbers, got {kind}")


def _without_slopes(value: Any) -> Any:
    """Return a tensor without what autograd remembers of it, which NumPy refuses."""
    return value.detach() if hasattr(value, "detach") else value


def number(value: Any, name: str = "the result") -> float:
    """Return what a learner gave as one number, or say what it is instead."""
    array = numbers(value, name)
    assert array.ndim == 0, f"return one number, got shape {array.shape}"
    assert np.isfinite(array), f"{name} is {array}: is something divided by 0?"
    return float(array)


def whole(value: Any, name: str, why: str = "") -> int:
    """Return what a learner gave as one whole number, of any type, or say what it is instead."""
    found = number(value, name)
    assert found == int(found), f"{name} must be a whole number, got {found:g}{why}"
    return int(found)


def shaped(value: Any, shape: tuple[int, ...], name: str, why: str = "") -> NDArray:
    """Return what a learner gave as an array of this shape, or say what is wrong with its own."""
    array = numbers(value, name)
    turn = ": turn it (.T)" if array.shape == shape[::-1] else ""
    assert array.shape == shape, f"{name} has shape {array.shape}, not {shape}{turn or why}"
    odd = array[~np.isfinite(array)]
    assert not odd.size, f"{name} holds {odd[0]}: a root of a negative number? 0 in a divisor?"
    return array


def several(value: Any, names: Sequence[str]) -> list[NDArray]:
    """Return the arrays that a learner gave together, or say what came instead."""
    many = isinstance(value, (tuple, list)) or getattr(value, "ndim", None) == 1
    got = f"{len(value)} values" if many else type(value).__name__
    wanted = f"{len(names)} values"
    assert got == wanted, f"return {wanted}, {' and '.join(names)}, got {got}"
    return [numbers(one, name) for one, name in zip(value, names, strict=True)]


def strips(value: Any, d: int, k: int, r: int | None = None, of: str = "") -> list[NDArray]:
    """Return lora_A (r, k) and lora_B (d, r), or say what came instead; r is any if it is None."""
    A, B = several(value, ("lora_A", "lora_B"))
    assert A.ndim == B.ndim == 2, f"both strips are matrices, got {A.shape} and {B.shape}"
    rank = r or (len(A) if A.shape[1] == k else min(A.shape))
    swapped = (A.shape, B.shape) == ((d, rank), (rank, k)) != ((rank, k), (d, rank))
    assert not swapped, "the two are swapped: lora_A comes first, then lora_B"
    return [shaped(A, (rank, k), "lora_A", of), shaped(B, (d, rank), "lora_B", of)]


# -- what a result is ----------------------------------------------------------------------------


def as_sum(
    got: NDArray, parts: Mapping[str, NDArray], others: Mapping[str, NDArray] | None = None
) -> dict[str, float]:
    """Return how often each part is in an array that is a sum of them; nothing if it is none.

    If the parts do not make it up, one or two of the others are taken to help.
    """
    others, found = others or {}, []
    for many in range(3 if others else 1):
        for more in itertools.combinations(others, many):
            used = {**parts, **{name: others[name] for name in more}}
            columns = np.stack([np.ravel(part) for part in used.values()], axis=1)
            times = np.linalg.lstsq(columns, np.ravel(got), rcond=None)[0]
            if np.allclose(columns @ times, np.ravel(got), atol=1e-6):
                every = zip(used, times.round(5).tolist(), strict=True)
                found.append({name: n for name, n in every if n})
        if found:
            return min(found, key=len)
    return {}


def products(**factors: NDArray) -> dict[str, NDArray]:
    """Return what may be made of square factors by mistake: other orders, transposes, ``*``."""
    made = factors | {f"{name}.T": factor.T for name, factor in factors.items()}
    for one, two in itertools.product([*made], repeat=2):
        made[f"{one} @ {two}"] = made[one] @ made[two]
        made[f"{one} * {two}"] = made[one] * made[two]
    return made


def compare_sum(
    got: NDArray,
    right: Mapping[str, float],
    parts: Mapping[str, NDArray],
    others: Mapping[str, NDArray] | None = None,
    why: str = "",
) -> None:
    """Raise an ``AssertionError`` unless an array is the right sum of parts; say which it is."""
    true = sum(n * parts[name] for name, n in right.items())
    if np.allclose(got, true):
        return
    assert not lost_digits(got, true), "right but for its digits: nothing is to be rounded or cut"
    others = {name: other for name, other in (others or {}).items() if name not in parts}
    found = as_sum(got, parts, others)
    if not found:
        compare(got, true, "the result", why)
    lost, extra = [name for name in right if name not in found], sorted(found.keys() - right.keys())
    off = [
        f"{name} comes {found[name]:.4g} times, not {n:.4g} times"
        for name, n in right.items()
        if name in found and not math.isclose(found[name], n, rel_tol=1e-4)
    ]
    if lost and extra:
        off += [f"{' and '.join(extra)} in place of {' and '.join(lost)}"]
    elif lost or extra:
        off += [f"without {' and '.join(lost)}" if lost else f"{' and '.join(extra)} is too much"]
    raise AssertionError(f"yours is {told(found)}: {', '.join(off)}{why}")


def told(times: Mapping[str, float]) -> str:
    """Write a sum: ``W0 - 3 · B @ A``."""
    text = ""
    for name, n in times.items():
        term = name if abs(n) == 1 else f"{abs(n):.4g} · {name}"
        term = f"{abs(n):.4g}" if name == "1" else term
        text += f" {'-' if n < 0 else '+'} {term}"
    return text.removeprefix(" + ").replace(" - ", "-", text.startswith(" - ")) or "0"


def as_product(values: ArrayLike, bases: Mapping[str, Any]) -> str:
    """Write all values as one product of powers, ``2 · m · V^-1``; return nothing if none fits."""
    values, logs = np.asarray(values), np.log([*bases.values()]).T
    if len(values) <= len(bases) or not (values * values[0] > 0).all():
        return ""
    wanted = np.log(np.abs(values))
    found = np.linalg.pinv(np.column_stack([logs, np.ones(len(values))])) @ wanted
    powers = np.round(4 * found[:-1]) / 4  # whole, or of roots
    factors = np.sign(values[0]) * np.exp(wanted - logs @ powers)
    if np.ptp(factors) > 1e-4 * np.abs(factors).max():
        return ""
    made = [f"{name}^{n:g}" if n != 1 else name for name, n in zip(bases, powers, strict=True) if n]
    factor = factors.mean()
    return " · ".join(made if made and abs(factor - 1) < 1e-4 else [f"{factor:.4g}", *made])


def compare_cut(got: NDArray, M: NDArray, r: int, times: float = 1.0) -> None:
    """Raise an ``AssertionError`` unless a matrix is M cut to its r strongest directions.

    It says which directions of M are in it, and how strong they are; ``times`` is a factor wanted.
    """
    U, S, Vt = np.linalg.svd(M, full_matrices=False)
    right = (U[:, :r] * S[:r] * times) @ Vt[:r]
    if np.allclose(got, right):
        return
    assert not lost_digits(got, right), "right but for its digits: nothing is to be rounded or cut"
    columns = (U[:, :r] * S[:r] * times) @ Vt[:, :r].T if len(Vt) == M.shape[1] else right
    assert not np.allclose(got, columns), "svd returns Vᵀ: its rows are the directions"
    strengths = np.diag(U.T @ got @ Vt.T)
    if not np.allclose((U * strengths) @ Vt, got, atol=1e-5):
        V, U = Vt[:r], U[:, :r]
        off = []
        if not np.allclose(got, got @ V.T @ V):
            off.append("its rows are no mixtures of the first rows of Vᵀ")
        if not np.allclose(got, U @ U.T @ got):
            off.append("its columns are none of the first columns of U")
        far, best = np.linalg.norm(got / times - M), np.linalg.norm(S[r:])
        why = " and ".join(off) or "right directions, but not in one order in both strips"
        raise AssertionError(
            f"it is {far:.3g} away, the {r} strongest directions {best:.3g}: {why}"
        )
    held = np.flatnonzero(np.abs(strengths) > 1e-6 * S[0]) + 1
    few = f"it holds the directions {held.tolist()}, counted from the strongest, not the first {r}"
    assert held.tolist() == [*range(1, r + 1)], few
    made = as_product(strengths[:r], {"σ": S[:r]})
    yours = f"{strengths[:r].round(3)}{f' = {made}' if made else ''}"
    wanted = f"{(times * S[:r]).round(3)}{f' = {times:.4g} · σ' if times != 1 else ' = σ'}"
    raise AssertionError(f"right directions, but with strengths {yours}, and not {wanted}")


def slip(
    got: ArrayLike, slips: Iterable[tuple[str, Any]], says: str = "", of: Callable = np.asarray
) -> None:
    """Raise an ``AssertionError`` with the words of the first slip that gives ``got``.

    ``says`` stands before them. What is compared is ``of`` both, if that is named.
    """
    for why, other in slips:
        if np.shape(of(other)) == np.shape(of(got)):
            assert not np.allclose(of(got), of(other)), f"{says}{why}"


def compare(got: ArrayLike, right: ArrayLike, name: str, why: str = "") -> None:
    """Raise an ``AssertionError`` unless ``got`` is right, and say what is wrong with it.

    That is lost digits, a factor, or the first entry that is wrong, followed by ``why``.
    """
    got, right = np.asarray(got), np.asarray(right)
    wrong = np.argwhere(~np.isclose(got, right))
    if not len(wrong):
        return
    at = tuple(map(int, wrong[0]))
    place = f"{name}[{', '.join(map(str, at))}]" if at else name
    first = f"{place} is {got[at]:.5g} and should be {right[at]:.5g}"
    assert not lost_digits(got, right), f"{first}: nothing is to be rounded or cut"
    factor = np.sum(got * right) / np.sum(right * right) if right.any() else 1.0
    if np.allclose(got, factor * right):
        first += f": that is right times {factor:.4g}"
    raise AssertionError(first + why)


def lost_digits(got: ArrayLike, right: ArrayLike) -> bool:
    """Say whether a result is right but for digits that were rounded or cut away."""
    got, right = np.asarray(got), np.asarray(right)
    for digits in range(7):
        unit = 10.0**-digits
        near = np.abs(got - right).max() < unit < np.abs(right).max() / 2
        if near and np.allclose(got, np.round(got, digits), rtol=1e-7, atol=1e-6 * unit):
            return True
    return False


# -- predictions ---------------------------------------------------------------------------------


# What a guess, or a vote, that is still to be made is asked for.
GUESS_FIRST = 'your guess first: write it in place of None ("?" gives up)'
VOTE_FIRST = 'your vote first: write "won", "lost" or "cannot tell" in place of None'


def predict(guess: object, actual: object, *options: object) -> None:
    """Print the answer beside a guess. It never raises: a prediction cannot be wrong to make.

    Parameters
    ----------
    guess : anything
        ``None`` while there is none: then the answer is kept back. ``"?"`` gives up. A number
        within 1 %, or the answer rounded to two digits, is near enough; it may be written
        (``"about 2 000 numbers"``, ``"17 %"``, ``"1,34"``, ``"3 million"``, ``"3M"``). Case and
        article of words do not matter, nor the order of letters where the answer is a few capitals.
    actual : anything
        The answer.
    *options
        What the question offers, if it does: numbers, of which the nearest one is right, or a
        word, ``"more"`` than all of them or ``"fewer"``. A guess that is none of these keeps the
        answer back.
    """
    if isinstance(guess, tuple) and isinstance(actual, (int, float)):  # 2,000 is (2, 0)
        print(say('a comma makes two numbers of one: write 2000, or "2,000" in quotes'))
        return
    if isinstance(guess, (list, tuple, set)) and isinstance(actual, str) and not options:
        guess = ", ".join(sorted(map(str, guess)))
    typed = guess.strip() if isinstance(guess, str) else guess
    if guess is None or guess is ... or (isinstance(typed, str) and not typed):
        print(say(GUESS_FIRST))
        return
    line = f"answer: {_show(actual)}"
    gives_up = isinstance(typed, str) and typed.lower() in GIVES_UP  # an array compares entries
    if not gives_up:
        try:
            verdict = _verdict(guess, actual, options)
            told = f"   your guess: {_show(guess)}   {verdict}" if verdict else ""
        except Exception:  # arrays that do not compare, numbers without end: a guess never stops
            told = "" if options else "   not quite"
        offered = ", ".join(say(_show(option)) for option in options)
        line = line + told if told else f"your guess: one of {offered}"
    print(say(line))


def _show(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


# What people type, in English and in Vietnamese.
ABOUT = r"^(?:(?:about|around|roughly|approximately|nearly|almost|just|only|ca\.?|[~≈=]|"
ABOUT += r"khoảng|chừng|tầm|cỡ|độ|gần|xấp xỉ)\s*)+"
HALF = r"^(?:(?:an?|one) )?half\b|^(?:một )?nửa\b"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
CHU_SO = ("không", "một", "hai", "ba", "bốn", "năm", "sáu", "bảy", "tám", "chín", "mười")
TENS = re.compile(rf"(?:({'|'.join(CHU_SO)}) mươi|mười)(?: ({'|'.join(CHU_SO)}|mốt|tư|lăm))?\b")
TIMES = {"k": 1e3, "m": 1e6, "hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9}
TIMES |= {"chục": 10, "nghìn": 1e3, "ngàn": 1e3, "triệu": 1e6, "tỉ": 1e9, "tỷ": 1e9}
TIMES |= {"trăm": 1e2, "vạn": 1e4, "nghin": 1e3, "ngan": 1e3, "trieu": 1e6, "tram": 1e2, "chuc": 10}
PARTS = {"hai": 2, "ba": 3, "tư": 4, "bốn": 4, "năm": 5, "tám": 8, "mười": 10, "trăm": 100}
PARTS |= {"nghìn": 1e3, "ngàn": 1e3, "vạn": 1e4, "triệu": 1e6}  # một phần tư: a quarter
WITHOUT = r"^(?:(?:the|an?|answer|option|đáp án|của|là|chữ) )+"  # what says nothing
GIVES_UP = ("?", "không biết", "chịu", "chịu thua")
TYPED = re.compile(r"([-+]?[\d.,'’ ]*\d)(?:(e|\*\*|\^)([-+]?\d+))?\s*((?:[^\W\d_]|[%× ])*)")
BEYOND = re.compile(
    r"(?:(more|over|above|>|nhiều hơn|lớn hơn|cao hơn|hơn|trên)|"
    r"(?:fewer|less|under|below|<|ít hơn|nhỏ hơn|thấp hơn|dưới|chưa (?:đến|tới)))(?: ?than)? ?(.*)"
)


def _readings(guess: Any) -> list[float]:
    """Return the numbers that a guess may mean: 17 and 0.17 for ``"17 %"``, none for words."""
    if isinstance(guess, (int, float, np.number)) and not isinstance(guess, bool):
        return [float(guess)]
    text = guess.strip(" .!?").lower().replace("\u00a0", " ") if isinstance(guess, str) else ""
    text = re.sub(HALF, "0.5", re.sub(ABOUT, "", text)).replace("_", "")
    if part := re.fullmatch(r"(?:một|1) phần (\w+)", text):
        whole = PARTS.get(part[1]) or float(
            part[1] if re.fullmatch("[1-9][0-9]{0,8}", part[1]) else 0
        )
        return [1 / whole] if whole else []
    text, half = re.subn(r" rưỡi$", "", text)
    text = TENS.sub(_up_to_99, text, count=1)
    for digit, words in enumerate(zip(DIGITS, CHU_SO, strict=True)):
        text = re.sub(rf"^(?:{'|'.join(words)})\b", str(digit), text)
    if not BEYOND.fullmatch(text):
        text = re.sub(r"^[^\W\d_][^-+\d.,]*(?=[-+.,]?\d)", "", text)  # "rank 2", "r = 2"
    found = TYPED.fullmatch(text)
    if not found:
        return []
    core, power_sign, power, unit = found.groups()
    core, values = re.sub(r"[ '’](?=\d{3}(?!\d))", "", core), []
    for mark, point in ((",", "."), (".", ",")):  # 1,234.5 and 1.234,5
        # Three zeros behind a sign are thousands: nobody writes 100 as 100.000.
        if re.fullmatch(rf"[-+]?(\d{{1,3}}([{mark}]\d{{3}})+|\d*)([{point}](?!000$)\d+)?", core):
            values.append(float(core.replace(mark, "").replace(point, ".")))
    if power:
        values = [n * 10.0 ** int(power) if power_sign == "e" else n ** int(power) for n in values]
    values = [(n + half / 2) * TIMES.get(unit.split(" ")[0], 1) for n in values]
    share = unit.startswith(("%", "per cent", "percent", "phần trăm"))
    return values + [n / 100 for n in values if share]


def _up_to_99(found: re.Match[str]) -> str:
    """Write "mười hai" or "bốn mươi lăm" in digits."""
    one = {"mốt": 1, "tư": 4, "lăm": 5, None: 0} | {word: n for n, word in enumerate(CHU_SO)}
    return str(10 * (one[found[1]] or 1) + one[found[2]])


def _plain(guess: Any, options: tuple[Any, ...] = ()) -> Any:
    """Return words without what does not matter; "fewer than 5" is "fewer" where 5 is the least.

    An option may be typed in the learner's language.
    """
    if not isinstance(guess, str):
        return guess
    words = re.sub(WITHOUT, "", guess.strip(" .!?\"'").lower())
    offered = [option for option in options if isinstance(option, str)]
    for option in offered:
        if words in (say(option).lower(), without_accents(say(option))):
            return _plain(option)
    numbers = [option for option in options if not isinstance(option, str)]
    if not (found := BEYOND.fullmatch(words)) or words in map(_plain, offered):
        return words
    word = "more" if found[1] else "fewer"
    edge = [max(numbers) if word == "more" else min(numbers)] if numbers else []
    return word if not found[2] or {*edge} & {*_readings(found[2])} else words


def right_option(actual: Any, options: tuple[Any, ...]) -> Any:
    """Return the option that fits: the nearest number, or what lies beyond all numbers."""
    numbers = [option for option in options if not isinstance(option, str)]
    if not numbers or not isinstance(actual, (int, float)):
        return actual
    if "more" in options and actual > max(numbers):
        return "more"
    if "fewer" in options and actual < min(numbers):
        return "fewer"
    if actual <= 0 or min(numbers) <= 0:
        return min(numbers, key=lambda option: abs(option - actual))
    return min(numbers, key=lambda option: abs(math.log(option / actual)))


def _verdict(guess: Any, actual: Any, options: tuple[Any, ...]) -> str:
    """Say whether a guess is right; for numbers, by which factor it is off; "" if not offered."""
    right, readings = right_option(actual, options), _readings(guess)
    words = _plain(guess, options or (actual,))
    numeric = readings and any(not isinstance(option, str) for option in options)
    if options and not numeric and words not in [_plain(o) for o in options if isinstance(o, str)]:
        return ""
    if isinstance(actual, (list, tuple)):
        typed = re.findall(r"-?\d+(?:\.\d+)?", str(guess))
        return "yes" if typed and [*map(float, typed)] == [*map(float, actual)] else "not quite"
    if readings and not isinstance(actual, str):
        readings = [number for number in readings if number in options] or readings
        found = [_compared(number, actual, right, options) for number in readings]
        far = [abs(math.log(number / actual)) if number * actual > 0 else 99 for number in readings]
        ranked = zip([not verdict.startswith("yes") for verdict in found], far, found, strict=True)
        return min(ranked)[-1]
    if not (isinstance(words, str) and isinstance(right, str)):
        return "yes" if np.array_equal(guess, right) else "not quite"
    typed = re.sub(r"\W|\b(?:and|và|câu|chữ|là)\b", "", guess.lower())
    letters = right.isupper() and sorted(typed) == sorted(right.lower())
    return "yes" if letters or words == _plain(right) else "not quite"


def _compared(number: float, actual: Any, right: Any, options: tuple[Any, ...]) -> str:
    """Compare a number with the answer, and with the option that is right."""
    if isinstance(right, str):  # "more" than all that is offered, or "fewer"
        right = number if right_option(number, options) == right else actual
    if number in (actual, right):
        return "yes"
    if not (number * actual > 0 and math.isfinite(number)):
        return "not quite"
    if math.isclose(max(number / right, right / number), 100) and min(number, right) < 1:
        return "yes, as a share" if number < right else "yes, in per cent"
    ratio = number / actual
    if 0.99 <= ratio <= 1.01 or number == float(f"{actual:.2g}"):
        return "not quite" if number in options else "near enough"
    times = max(ratio, 1 / ratio)
    if times < 2 and number in options:  # two names of a count, and not a slip in its size
        return "not quite"
    off = f"too {'large' if ratio > 1 else 'small'}: {float(f'{times:.3g}'):,g} times"
    exact = math.isclose(times, 100) or math.isclose(times, 1000)
    return f"{off} (exactly: is it in another notation?)" if exact else off
