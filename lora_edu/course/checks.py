"""Checks of the exercises: they take what the learner wrote, and name the mistake.

A check prints ``check_name: OK``, or ``check_name: not attempted yet`` when it is given what the
stub holds (``...``, ``None``, or a function that raises ``NotImplementedError``); so a notebook
nobody has worked on runs to its end. (A grader asks for ``check_name.passed``.) A wrong answer
raises an ``AssertionError`` that says what is wrong with it; a notebook shows that alone, without a
traceback.
"""

import copy
import functools
import linecache
import math
import re
import textwrap
import traceback
from collections.abc import Callable, Mapping
from numbers import Number, Real
from types import CodeType
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        missing = [answer is None or answer is ... for answer in answers]
        mistake = None
        try:
            if all(missing):
                raise NotImplementedError
            assert not any(missing), f"answer {missing.index(True) + 1} is still to be given"
            function(*answers)
        except NotImplementedError:
            print(f"{name}: not attempted yet")
            return
        except AssertionError as error:
            mistake = str(error)
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

    Parameters
    ----------
    answer : function
        What the learner wrote.
    **arguments
        Passed by position; their names appear in the messages.

    Raises
    ------
    NotImplementedError
        The function raises it itself: what the stub left to do is still to be done.
    AssertionError
        It raised another error (the message quotes the line), returned nothing, or changed what
        it was given. Who works with torch, and is given NumPy's arrays, is given tensors instead.
    """
    own = getattr(answer, "__code__", None)  # None: not written in Python
    before = {name: _copy(value) for name, value in arguments.items()}
    given = ", ".join(f"{name} {_given(value)}" for name, value in arguments.items())
    try:
        result = answer(*arguments.values())
    except NotImplementedError as error:
        *_, (deepest, _) = traceback.walk_tb(error.__traceback__)
        stub = deepest.f_code
        if stub is own:
            raise
        raise AssertionError(
            f"it calls {stub.co_name}, which is still a stub: write that first"
        ) from None
    except Exception as error:
        if tensors := _as_tensors(error, arguments):
            return call(answer, **tensors)
        raised = f"for {given} it raises {type(error).__name__}: {error}"
        raise AssertionError(raised + _where(error, own)) from None
    for name, value in before.items():
        assert _equal(value, arguments[name]), (
            f"{name} itself was changed: return something new (y = a + b, not a += b)"
        )
    assert result is not None, (
        f"for {given} it returned None: is the `return` missing? Or never reached?"
    )
    return result


def _where(error: Exception, own: CodeType | None) -> str:
    """Say on which line of the learner's an error came up: the deepest of their file or cell."""
    where = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if own is None or code.co_filename != own.co_filename:
            continue
        if own.co_firstlineno <= code.co_firstlineno <= _last_line(own):  # the function, or inside
            place = f"line {line - own.co_firstlineno + 1} of your function"
        else:
            place = f"line {line - code.co_firstlineno + 1} of {code.co_name}"
        text = linecache.getline(code.co_filename, line).strip()
        where = f" ({place}: {text})" if text else f" ({place})"
    return where


def _last_line(code: CodeType) -> int:
    return max(line for *_, line in code.co_lines() if line is not None)


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


def _copy(value: Any) -> Any:
    """Return a copy of an argument, to compare it with later."""
    if isinstance(value, (dict, list)):
        return copy.deepcopy(value)
    return value.detach().clone() if hasattr(value, "detach") else np.array(value)


def _equal(one: Any, other: Any) -> bool:
    """Say whether two arguments are the same, whatever they hold."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if hasattr(one, "detach"):
        return one.shape == other.shape and bool((one == other).all())
    return np.array_equal(one, other)


def numbers(value: Any, name: str) -> NDArray:
    """Return what a learner gave as an array of floats, or say what it is instead."""
    try:
        array = np.asarray(value.detach() if hasattr(value, "detach") else value)
        fractions = array.dtype.kind == "O" and all(isinstance(n, Real) for n in array.flat)
        if array.dtype.kind in "biuf" or fractions:
            return array.astype(float)
    except (TypeError, ValueError, RuntimeError):  # ragged lists; lists of tensors
        pass
    kind = getattr(value, "dtype", type(value).__name__)
    raise AssertionError(f"{name} must be a number or an array of numbers, got {kind}")


def compare(got: NDArray, right: NDArray, name: str, why: str = "") -> None:
    """Raise an ``AssertionError`` that quotes the first entry in which ``got`` is wrong."""
    wrong = np.argwhere(~np.isclose(got, right))
    if len(wrong):
        at = tuple(map(int, wrong[0]))
        raise AssertionError(
            f"the shape is right, but {name}[{', '.join(map(str, at))}] is {got[at]:g} and should "
            f"be {right[at]:g}{why}"
        )


def compare_number(got: object, right: float, wrong: Mapping[str, float], where: str) -> None:
    """Raise an ``AssertionError`` unless ``got`` is the right number.

    It says which mistake of ``wrong``, words → what they give, has been made. Words that differ by
    blanks at their end are the same for the learner.
    """
    value = numbers(got, "the result")
    assert value.ndim == 0, f"return one number, got shape {value.shape}"
    if np.isclose(value, right):
        return
    for why, other in wrong.items():
        assert not np.isclose(value, other), why.strip()
    raise AssertionError(f"{where}: {value:.4g}, should be {right:.4g}")


def compare_named(got: NDArray, right: NDArray, wrong: Mapping[str, Any], name: str) -> None:
    """Do the same for an array."""
    if not np.allclose(got, right):
        for why, other in wrong.items():
            assert not np.allclose(got, other), why.strip()
    compare(got, right, name)


def predict(guess: object, actual: object, *options: object) -> None:
    """Print the answer beside a guess. It never raises: a prediction cannot be wrong to make.

    Parameters
    ----------
    guess : anything
        ``None`` while there is none: then the answer is kept back. ``"?"`` gives up. A number
        within 1 % is near enough; ``"1,000"`` is one. Case and article of words do not matter, nor
        the order of letters where the answer is a few capitals.
    actual : anything
        The answer.
    *options
        What the question offers, if it does: numbers, of which the nearest one is right, or a
        word, ``"more"`` than all of them or ``"fewer"``. A guess that is none of these keeps the
        answer back.
    """
    if guess is None or guess is ...:
        print('your guess first: write it in place of None ("?" gives up)')
        return
    if options and not _offered(guess, options):
        print(f"your guess: one of {', '.join(map(_show, options))}")
        return
    line = f"answer: {_show(actual)}"
    if not (isinstance(guess, str) and guess == "?"):  # an array would compare each entry
        try:
            line += f"   your guess: {_show(guess)}   {_verdict(guess, actual, options)}"
        except Exception:  # arrays that do not compare, numbers without end: a guess never stops
            line += "   not quite"
    print(line)


def _offered(guess: Any, options: tuple[Any, ...]) -> bool:
    """Say whether a guess is one of the words, or a number where numbers are offered, or "?"."""
    words = ["?", *(_plain(option) for option in options if isinstance(option, str))]
    numbers = any(not isinstance(option, str) for option in options)
    number = numbers and not isinstance(guess, bool) and _number(guess) is not None
    return number or (isinstance(guess, str) and _plain(guess) in words)


def _show(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _number(value: Any) -> float | None:
    """Return a number as a float, also one that is written: ``"about 1,000"``."""
    if isinstance(value, str):
        value = re.sub(r"^(?:about|just) |[,_]", "", value.strip().lower())
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _plain(guess: Any) -> Any:
    """Return words without what does not matter: case, blanks around, an article."""
    return re.sub(r"^(?:the|an?) ", "", guess.strip().lower()) if isinstance(guess, str) else guess


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
    """Say whether a guess is right; for numbers, by which factor it is off."""
    if options:
        right = right_option(actual, options)
        number = _number(guess)
        if _plain(guess) == right or (number is not None and number == _number(right)):
            return "yes"
    return _compared(guess, actual)


def _compared(guess: Any, actual: Any) -> str:
    """Compare as numbers, if both are; else say whether they are equal."""
    number, right = _number(guess), _number(actual)
    if number is None or right is None:
        if isinstance(guess, str) and isinstance(actual, str):
            letters = sorted(re.sub(r"\W|\band\b", "", guess.lower())) == sorted(actual.lower())
            same = _plain(guess) == _plain(actual) or (letters and actual.isupper())
            return "yes" if same else "not quite"
        try:
            same = bool(guess == actual or list(guess) == list(actual))
        except (TypeError, ValueError):
            same = False
        return "yes" if same else "not quite"
    if number == right:
        return "yes"
    ratio = number / right if right else 0.0
    if not 0 < ratio < float("inf"):
        return "not quite"
    if 0.99 <= ratio <= 1.01:
        return "near enough"
    return f"too large: {ratio:.3g} times" if ratio > 1 else f"too small: {1 / ratio:.3g} times"
