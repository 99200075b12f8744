"""Checks: the lost part, a loop without drift, when to merge, one adapter a row."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lora_edu.course.checks import call, check, compare, numbers


def _rounded(W: NDArray, bits: int) -> NDArray:
    """Round each number to ``bits`` significant bits, as a type with u = 2**-bits does."""
    fraction, power = np.frexp(W)
    return np.ldexp(np.rint(np.ldexp(fraction, bits)), power - bits)


@check
def check_lost_part(lost_part: Callable) -> None:
    """``lost_part(size, u)`` is min(1, 0.42 u / size), within a factor of two."""

    def ask(size: float, bits: int) -> float:
        got = numbers(call(lost_part, size=size, u=2.0**-bits), "the lost part")
        assert not got.ndim, f"the lost part is one number, got shape {got.shape}"
        return float(got)

    some, tiny = ask(0.03, 8), ask(1e-6, 8)
    assert tiny > ask(0.3, 8), "a larger update must lose a smaller part: the error is the same"
    assert some < 1, f"u = 2**-8, size 0.03: most of it arrives, so less than 1 is lost, got {some}"
    assert ask(0.03, 11) < some, "a finer type (a smaller u) must lose less of the same update"
    assert tiny <= 1, f"more than all cannot be lost, got {tiny:.3g}: where does the rule end?"
    worst = np.isclose(some * 0.03 * 2**8, 1)
    assert not worst, "u / size is the worst case of each weight: on average it is less than half"
    W0, delta = np.random.default_rng(0).standard_normal((2, 50_000))
    for bits, size in [(b, s) for b in (8, 11, 24) for s in (0.3, 0.03, 1e-3, 1e-4, 1e-6)]:
        stored, change = _rounded(W0, bits), size * delta
        missed = _rounded(stored + change, bits) - stored - change
        actual, got = np.linalg.norm(missed) / np.linalg.norm(change), ask(size, bits)
        near = actual / 2 <= got <= 2 * actual
        assert near, f"size {size}, u = 2**-{bits}: {got:.2g}, but measured {actual:.2g}"


@check
def check_serve(serve: Callable) -> None:
    """``serve(W0, deltas, use)``: use(W0 + ΔW) for each; at the end W0, to the last bit."""
    rng, seen = np.random.default_rng(0), []
    W0 = (0.04 * rng.standard_normal((16, 16))).astype(np.float16)
    deltas = (0.01 * rng.standard_normal((50, 16, 16))).astype(np.float32)
    end = call(serve, W0=W0, deltas=deltas, use=lambda W: seen.append(np.array(W)))
    assert len(seen) == 50, f"use was called {len(seen)} times: once for each of 50 updates"
    for number, (got, delta) in enumerate(zip(seen, deltas, strict=True)):
        right, at = (W0 + delta).astype(np.float16), f"update {number}"
        assert got.dtype == W0.dtype, f"use got {got.dtype}: round the sum to W0's own type"
        assert not np.array_equal(got, W0), f"{at}: use got W0, before the merge"
        piled = number > 0 and np.allclose(got, W0 + deltas[: number + 1].sum(0), atol=1e-3)
        assert not piled, f"{at}: on top of the one before, which was never taken off"
        why = "the weights have drifted: start each merge from W0, and subtract nothing"
        if np.array_equal(got, W0 + delta.astype(W0.dtype)):
            why = "the update was rounded before the sum, then the sum: round the sum alone"
        assert np.array_equal(got, right), f"{at}: {why}"
    assert not np.array_equal(end, seen[-1]), "the last update is still merged: return W0"
    end = numbers(end, "what is returned at the end")
    assert end.shape == W0.shape, f"return W0, of shape {W0.shape}, got shape {end.shape}"
    compare(end, W0, "W0", ": it must be back to the last bit")


@check
def check_stories(phone: bool, customers: bool, faint: bool, archive: bool) -> None:
    """Four stories: True to merge, False to keep the adapter apart."""
    for name, got, right, why in [
        ("phone", phone, True, "a small batch, one adapter: apart it costs time, merged none"),
        ("customers", customers, False, "a weight holds one adapter: this batch needs many"),
        ("faint", faint, False, "bfloat16 would round most of so small an update away"),
        ("archive", archive, True, "large batches shrink what it costs apart, not to nothing"),
    ]:
        assert got in (True, False), f"{name} must be True or False, got {got}"
        assert got == right, f"{name}: {why}"


@check
def check_per_row(forward: Callable) -> None:
    """``forward(x, W0, lora_A, lora_B, which)``: row i is W0 x + B[which[i]] A[which[i]] x."""
    rng, which = np.random.default_rng(0), np.array([2, 0, 2, 1, 0])
    x, W0, A, B = (rng.integers(1, 9, s) * 1.0 for s in [(5, 6), (4, 6), (3, 2, 6), (3, 4, 2)])
    y = numbers(call(forward, x=x, W0=W0, lora_A=A, lora_B=B, which=which), "y")
    assert y.shape == (5, 4), f"y must have shape (5, 4), a row for each row of x, got {y.shape}"
    each, base = np.einsum("mdr,mrk,nk->nmd", B, A, x), x @ W0.T
    rows = np.arange(5)
    for why, value in {
        "the updates alone: x W0ᵀ is missing": each[rows, which],
        "x W0ᵀ alone: the updates are missing": base,
        "each row got all adapters: take that of which[i] alone": base + each.sum(1),
        "all rows got the first row's adapter: which[i] differs": base + each[:, which[0]],
    }.items():
        assert not np.allclose(y, value), why
    compare(y, base + each[rows, which], "y", ": which adapter did that row get?")
