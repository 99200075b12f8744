"""Checks of lesson 01: the update, its counts, its rank, the order of products, merging."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lora_edu.course.checks import check

__all__ = [
    "SMALL_UPDATE",
    "check_delta_weight",
    "check_factors",
    "check_forward",
    "check_largest_saving_rank",
    "check_merge",
]

# Rank 2: the third row is 2 · first + second, the fourth is first − second.
SMALL_UPDATE = np.array([[1, 0, 2], [0, 1, 1], [2, 1, 5], [1, -1, 1]])


def _example(d: int, k: int, r: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return W0 (d, k), lora_A (r, k), lora_B (d, r) of small integers: exact to compare."""
    rng = np.random.default_rng(0)
    W0, lora_A, lora_B = (rng.integers(1, 9, s).astype(float) for s in [(d, k), (r, k), (d, r)])
    return W0, lora_A, lora_B


def _shape(value: Any, name: str) -> tuple[int, ...]:
    assert isinstance(value, np.ndarray), f"{name} must be an array, got {type(value).__name__}"
    return value.shape


@check
def check_delta_weight(delta_weight: Callable) -> None:
    """``delta_weight(lora_A, lora_B)`` returns ``lora_B @ lora_A``."""
    _, A, B = _example(6, 6, 2)
    shape = _shape(delta_weight(A, B), "ΔW")
    assert shape != (2, 2), "shape (2, 2): that is lora_A @ lora_B; ΔW is lora_B @ lora_A"
    assert shape == (6, 6), f"ΔW must be (6, 6) for lora_A (2, 6) and lora_B (6, 2), got {shape}"
    _, A, B = _example(6, 4, 2)  # d ≠ k: what was hidden by a square shows
    try:
        result = delta_weight(A, B)
    except ValueError as error:
        raise AssertionError(f"it fails when d = 6 and k = 4 differ: {error}") from None
    assert result.shape != (4, 6), "shape (4, 6): that is ΔW transposed"
    assert result.shape == (6, 4), f"ΔW must be (6, 4) when d = 6, k = 4, got {result.shape}"
    assert np.array_equal(result, B @ A), (
        f"the shape is right, the entries are not: ΔW[0, 0] is {(B @ A)[0, 0]:g}, the sum over j "
        f"of lora_B[0, j] * lora_A[j, 0], got {result[0, 0]:g}"
    )


@check
def check_largest_saving_rank(largest_saving_rank: Callable) -> None:
    """``largest_saving_rank(d, k)`` is the largest r with r (d + k) < d k."""
    for d, k, right in [(100, 100, 49), (4096, 1024, 819), (768, 768, 383), (50, 30, 18)]:
        got = largest_saving_rank(d, k)
        call = f"largest_saving_rank({d}, {k})"
        assert not isinstance(got, float), f"{call}: a rank is an int, got {got!r}; use //"
        assert got != min(d, k), f"{call}: {got} is the largest rank there is; does it save?"
        assert got * (d + k) != d * k, (
            f"{call}: at r = {got} both counts are {d * k:,}: nothing is saved yet"
        )
        assert got * (d + k) < d * k, (
            f"{call}: r = {got} needs {got * (d + k):,} numbers, ΔW has only {d * k:,}"
        )
        assert got >= right, (
            f"{call}: r = {got} saves, but r = {got + 1} saves as well: "
            f"{(got + 1) * (d + k):,} < {d * k:,}"
        )


@check
def check_factors(lora_A: Any, lora_B: Any) -> None:
    """``lora_B @ lora_A`` is ``SMALL_UPDATE``, with r = 2."""
    A, B = np.asarray(lora_A), np.asarray(lora_B)
    assert A.ndim == B.ndim == 2, f"both factors are matrices, got shapes {A.shape} and {B.shape}"
    assert not (A.shape == (4, 2) and B.shape == (2, 3)), (
        "the two are swapped: lora_B is (4, 2) and stands on the left, lora_A is (2, 3)"
    )
    assert A.shape[1] == 3, f"lora_A must have 3 columns, one for each input, got {A.shape}"
    assert B.shape[0] == 4, f"lora_B must have 4 rows, one for each output, got {B.shape}"
    r = A.shape[0]
    assert B.shape[1] == r, f"r differs: lora_A has {r} rows, lora_B {B.shape[1]} columns"
    assert r != 1, "r = 1 makes all rows multiples of one row: look at the first two"
    assert r == 2, (
        f"r = {r} holds {r * (4 + 3)} numbers for a matrix of 12; look for r = 2: "
        "which rows are sums of others?"
    )
    wrong = np.argwhere(~np.isclose(B @ A, SMALL_UPDATE))
    if len(wrong):
        i, j = wrong[0]
        raise AssertionError(
            f"row {i} is off: entry [{i}, {j}] is {(B @ A)[i, j]:g}, should be {SMALL_UPDATE[i, j]}"
        )


class _Watched(np.ndarray):
    """An array that notes the shape of everything computed from it."""

    seen: set[tuple[int, ...]]

    def __array_finalize__(self, parent: Any) -> None:
        self.seen = getattr(parent, "seen", set())

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return self._noted(getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self._noted(func, args, kwargs)

    def _noted(self, func: Callable, args: Any, kwargs: Any) -> Any:
        plain = [a.view(np.ndarray) if isinstance(a, _Watched) else a for a in args]
        result = func(*plain, **kwargs)
        if not isinstance(result, np.ndarray):
            return result
        self.seen.add(result.shape)
        watched = result.view(_Watched)
        watched.seen = self.seen
        return watched

    def dot(self, other: Any) -> Any:  # type: ignore[override]
        return self @ other


@check
def check_forward(forward: Callable) -> None:
    """``forward(x, W0, lora_A, lora_B)`` is W0 x + B (A x), and never forms a d x k update."""
    d, k, r = 7, 11, 2
    W0, A, B = _example(d, k, r)
    x = np.arange(1.0, k + 1)
    seen: set[tuple[int, ...]] = set()
    watched = []
    for array in (W0, A, B):
        view = array.copy().view(_Watched)
        view.seen = seen
        watched.append(view)
    got = np.asarray(forward(x.copy(), *watched)).view(np.ndarray)
    assert got.shape == (d,), f"y must have shape ({d},), as W0 @ x has, got {got.shape}"
    base, update = W0 @ x, B @ (A @ x)
    assert not np.allclose(got, base), "this is W0 @ x: the update is missing"
    assert not np.allclose(got, update), "this is B (A x) alone: W0 @ x is missing"
    assert not np.allclose(got, base - update), "the update is subtracted: it must be added"
    assert np.allclose(got, base + update), f"y[0] is {(base + update)[0]:g}, got {got[0]:g}"
    assert not seen & {(d, k), (k, d)}, (
        f"right, but a matrix of {d} x {k} was formed on the way: start from x, "
        "lora_A @ x has only r numbers"
    )


@check
def check_merge(merge: Callable) -> None:
    """``merge(W0, lora_A, lora_B)`` returns W0 + BA and leaves its arguments alone."""
    W0, A, B = _example(6, 4, 2)
    kept = W0.copy()
    try:
        got = merge(W0, A, B)
    except ValueError as error:
        raise AssertionError(f"the shapes do not fit: {error}") from None
    shape = _shape(got, "the merged matrix")
    assert shape == W0.shape, f"the merged matrix must be (6, 4), as W0 is, got {shape}"
    assert np.array_equal(W0, kept), (
        "right or not, W0 itself was changed: you can never go back. Use W0 + …, not W0 += …"
    )
    assert not np.array_equal(got, B @ A), "this is ΔW alone: add it to W0"
    assert not np.array_equal(got, W0), "this is W0: the update is missing"
    assert not np.array_equal(got, W0 - B @ A), "the update is subtracted: that would unmerge"
    assert np.array_equal(got, W0 + B @ A), (
        f"entry [0, 0] is {(W0 + B @ A)[0, 0]:g}, got {got[0, 0]:g}"
    )
