"""Checks of the exercises: they take what the learner wrote, and name the mistake.

A check prints ``check_name: OK``, or ``check_name: not attempted yet`` when it is given what the
stub holds (``...``, ``None``, or a function that raises ``NotImplementedError``); so a notebook
nobody has worked on runs to its end. A wrong answer raises an ``AssertionError`` that says what
is wrong with it. The checks of lesson NN are in ``nbNN``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

__all__ = ["check", "predict"]


def check(function: Callable[..., None]) -> Callable[..., None]:
    """Turn a function that raises ``AssertionError`` on a wrong answer into an exercise's check."""
    name = function.__name__

    @functools.wraps(function)
    def checked(*answers: Any) -> None:
        if any(answer is None or answer is ... for answer in answers):
            print(f"{name}: not attempted yet")
            return
        mistake = None
        try:
            function(*answers)
        except NotImplementedError:
            print(f"{name}: not attempted yet")
            return
        except AssertionError as error:
            mistake = str(error)
        if mistake is not None:  # raised here, so that the traceback shows no inner workings
            raise AssertionError(mistake)
        print(f"{name}: OK")

    return checked


def predict(guess: object, actual: object) -> None:
    """Print the answer beside a guess. It never raises: a prediction cannot be wrong to make.

    Parameters
    ----------
    guess : anything
        ``None`` when no prediction was made. Numbers are compared as numbers, all else as is.
    actual : anything
        The answer; integers are printed with thousands separators.
    """
    if guess is None or guess is ...:
        print(f"answer: {_show(actual)}   (no guess)")
        return
    try:
        right = bool(guess == actual)
    except Exception:  # an array, say: whatever it is, it is not this answer
        right = False
    verdict = "yes" if right else "not quite" + _how_far(guess, actual)
    print(f"answer: {_show(actual)}   your guess: {_show(guess)}   {verdict}")


def _show(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _how_far(guess: object, actual: object) -> str:
    """Say by which factor a number is off; nothing for what is no positive number."""
    try:
        ratio = float(guess) / float(actual)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return ""
    if not 0 < ratio < float("inf"):
        return ""
    return (
        f" (too large: {ratio:.3g} times)" if ratio > 1 else f" (too small: {1 / ratio:.3g} times)"
    )
