"""Checks: the update, its counts, its rank, the order of products, merging."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from lora_edu import reference
from lora_edu.course.checks import call, check, compare

# Rank 2: its third row is 2 · first + second, and so on.
SMALL_UPDATE = np.array(
    [[1, 0, 2, 0, 1], [0, 1, 1, 3, 0], [2, 1, 5, 3, 2], [1, -1, 1, -3, 1], [1, 1, 3, 3, 1],
     [0, 2, 2, 6, 0]]
)  # fmt: skip


def _example(d: int, k: int, r: int) -> tuple[NDArray, NDArray, NDArray]:
    """Return W0 (d, k), lora_A (r, k), lora_B (d, r) of small integers: exact to compare."""
    rng = np.random.default_rng(0)
    W0, lora_A, lora_B = (rng.integers(1, 9, s).astype(float) for s in [(d, k), (r, k), (d, r)])
    return W0, lora_A, lora_B


def _matrix(value: Any, name: str) -> NDArray:
    assert isinstance(value, np.ndarray), f"{name} must be an array, got {type(value).__name__}"
    return value


@check
def check_delta_weight(delta_weight: Callable) -> None:
    """``delta_weight(lora_A, lora_B)`` returns ``lora_B @ lora_A``."""
    for k, r in [(6, 2), (4, 3)]:  # d = k first, where the wrong product has a shape as well
        _, A, B = _example(6, k, r)
        right = B @ A
        got = _matrix(call(delta_weight, lora_A=A, lora_B=B), "ΔW")
        assert got.shape != (r, r), (
            f"shape ({r}, {r}): that is lora_A @ lora_B; ΔW is lora_B @ lora_A"
        )
        assert not np.array_equal(got, right.T), f"shape {got.shape}: that is ΔW transposed"
        assert got.shape == (6, k), f"ΔW must be (6, {k}), as d = 6 and k = {k}, got {got.shape}"
        compare(got, right, "ΔW", ", the sum over s of lora_B[i, s] * lora_A[s, j]")


@check
def check_largest_saving_rank(largest_saving_rank: Callable) -> None:
    """``largest_saving_rank(d, k)`` is the largest r with r (d + k) < d k."""
    for d, k, right in [(100, 100, 49), (4096, 1024, 819), (768, 768, 383), (50, 30, 18)]:
        got = call(largest_saving_rank, d=d, k=k)
        asked = f"largest_saving_rank({d}, {k})"
        assert isinstance(got, (int, np.integer)), (
            f"{asked}: a rank is a whole number of type int, got {got!r}"
        )
        assert got != min(d, k), f"{asked}: {got} is the largest rank there is; does it save?"
        assert got * (d + k) != d * k, (
            f"{asked}: at r = {got} both counts are {d * k:,}: nothing is saved yet"
        )
        assert got * (d + k) < d * k, (
            f"{asked}: r = {got} needs {got * (d + k):,} numbers, ΔW has only {d * k:,}"
        )
        assert got >= right, (
            f"{asked}: r = {got} saves, but r = {got + 1} saves as well: "
            f"{(got + 1) * (d + k):,} < {d * k:,}"
        )


@check
def check_factors(lora_A: Any, lora_B: Any) -> None:
    """``lora_B @ lora_A`` is ``SMALL_UPDATE``, with r = 2."""
    try:
        A, B = np.array(lora_A, dtype=float), np.array(lora_B, dtype=float)
    except (TypeError, ValueError):
        raise AssertionError(
            "each factor is a full table of numbers: rows of one length, no ? or … left in it"
        ) from None
    (d, k), r = SMALL_UPDATE.shape, 2
    assert A.ndim == B.ndim == 2, f"both factors are matrices, got shapes {A.shape} and {B.shape}"
    assert not (A.shape == (d, r) and B.shape == (r, k)), (
        f"the two are swapped: lora_B is ({d}, {r}) and stands on the left, lora_A is ({r}, {k})"
    )
    assert A.shape[1] == k, f"lora_A must have {k} columns, one for each input, got {A.shape}"
    assert B.shape[0] == d, f"lora_B must have {d} rows, one for each output, got {B.shape}"
    used = A.shape[0]
    assert B.shape[1] == used, f"r differs: lora_A has {used} rows, lora_B {B.shape[1]} columns"
    assert used != 1, "r = 1 makes all rows multiples of one row: look at the first two"
    assert used == r, (
        f"r = {used} holds {used * (d + k)} numbers for a matrix of {d * k}; look for r = {r}: "
        "which rows are sums of others?"
    )
    compare(B @ A, SMALL_UPDATE, "lora_B @ lora_A", ": the first index is the row to mend")


def _plain(value: Any) -> Any:
    """Take the watch off an array, also inside a list or tuple."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return value.view(np.ndarray) if isinstance(value, _Watched) else value


class _Watched(np.ndarray):
    """An array that keeps, in ``seen``, a copy of every array computed from it."""

    seen: list[NDArray]

    def __array_finalize__(self, parent: Any) -> None:
        self.seen = getattr(parent, "seen", [])

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return self._noted(getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self._noted(func, args, kwargs)

    def dot(self, other: Any) -> Any:  # type: ignore[override]
        return self @ other

    def _noted(self, func: Callable, args: Any, kwargs: Any) -> Any:
        result = func(*_plain(args), **{name: _plain(value) for name, value in kwargs.items()})
        if isinstance(result, np.ndarray):
            self.seen.append(result.copy())
            result = result.view(_Watched)
            result.seen = self.seen
        return result


@check
def check_forward(forward: Callable) -> None:
    """``forward(x, W0, lora_A, lora_B)`` is W0 x + B (A x), and never forms a d x k update."""
    d, k, r = 7, 11, 2
    W0, A, B = _example(d, k, r)
    x = np.arange(1.0, k + 1)
    seen: list[NDArray] = []

    def watched(array: NDArray) -> _Watched:
        view = array.copy().view(_Watched)
        view.seen = seen
        return view

    def noted(formed: NDArray) -> Callable[..., NDArray]:
        return lambda *_, **__: seen.append(formed) or formed

    with (  # the package's own functions would take the watch off
        mock.patch.object(reference, "delta_weight", noted(B @ A)),
        mock.patch.object(reference, "merge", noted(W0 + B @ A)),
    ):
        result = call(forward, x=x, W0=watched(W0), lora_A=watched(A), lora_B=watched(B))
    got = np.asarray(result).view(np.ndarray)
    assert got.shape == (d,), f"y must have shape ({d},), as W0 @ x has, got {got.shape}"
    base, update = W0 @ x, B @ (A @ x)
    assert not np.allclose(got, base), "this is W0 @ x: the update is missing"
    assert not np.allclose(got, update), "this is B (A x) alone: W0 @ x is missing"
    assert not np.allclose(got, base - update), "the update is subtracted: it must be added"
    compare(got, base + update, "y")
    for formed in (B @ A, W0 + B @ A):
        assert not any(
            made.shape == shape.shape and np.allclose(made, shape)
            for made in seen
            for shape in (formed, formed.T)
        ), (
            f"right, but a {d} x {k} update was formed on the way: start from x, "
            "lora_A @ x has only r numbers"
        )


@check
def check_merge(merge: Callable) -> None:
    """``merge(W0, lora_A, lora_B)`` returns W0 + BA and leaves its arguments alone."""
    W0, A, B = _example(6, 4, 3)
    right = W0 + B @ A
    got = _matrix(call(merge, W0=W0, lora_A=A, lora_B=B), "the merged matrix")
    assert got.shape == W0.shape, f"the merged matrix must be (6, 4), as W0 is, got {got.shape}"
    assert not np.array_equal(got, right - W0), "this is ΔW alone: add it to W0"
    assert not np.array_equal(got, W0), "this is W0: the update is missing"
    assert not np.array_equal(got, 2 * W0 - right), "the update is subtracted: that would unmerge"
    compare(got, right, "W")
