"""Checks: count directions, measure energy, know the error, compress."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_edu import lowrank
from lora_edu.course.checks import call, check, numbers


def _example(*strengths: float) -> NDArray:
    """Return a matrix (7, 5) with these five singular values."""
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((n, 5)))[0] for n in (7, 5))
    return (U * strengths) @ V.T


def _whole(got: Any, asked: str) -> None:
    whole = isinstance(got, (int, np.integer))
    assert whole, f"{asked}: a rank is a whole number of type int, got {got!r}"


@check
def check_count_directions(count_directions: Callable) -> None:
    """``count_directions(M)`` counts the singular values above 1e-12 of the largest."""
    nearly = "a direction of strength zero, or nearly, is none"
    for matrix, right, why in [
        (np.diag([3, 2, 1, 0, 0]), 3, nearly),
        (_example(3, 2, 1, 0, 0), 3, nearly),
        (np.eye(6, k=1), 5, "all its eigenvalues are zero, but not its singular values"),
        (1e-15 * _example(3, 2, 1, 1, 1), 5, "all are small: compare with the largest, not with 1"),
        (np.diag([1, 2e-12, 5e-13, 1e-14]), 2, "the line is at 1e-12 of the largest σ, not of σ²"),
        (np.diag([1, 1, 1, 1, 1.9e-12]), 5, "compare with the largest σ, not with a norm or a sum"),
        (np.zeros((3, 3)), 0, "nothing is there to count"),
    ]:
        got = call(count_directions, M=matrix)
        _whole(got, "count_directions(M)")
        assert got == right, f"M of shape {matrix.shape}: got {got}, right is {right}: {why}"


@check
def check_energy_rank(energy_rank: Callable) -> None:
    """``energy_rank(S, energy)`` is the least r whose r largest σ² sum to that share."""
    index, adds = "an index starts at 0, a count at 1", "add the shares up, the largest first"
    reached = "a share reached exactly is reached: >=, not >"
    quarter = "one of four equal directions holds a quarter: σ² over Σ σ², no root"
    share = "a share is σ² over Σ σ², the sum of all"
    for S, energy, right, mistakes in [
        ([4, 2, 2, 1], 0.3, 1, {0: index, 3: adds, 4: adds}),
        ([4, 2, 2, 1], 0.6, 1, {2: "that is for σ; energy is σ²"}),
        ([0.25] * 4, 0.5, 2, {0: adds, 1: quarter, 3: reached, 5: share}),
        ([4, 2, 2, 1], 0.86, 3, {2: "that share is not yet reached"}),
    ]:
        asked = f"energy_rank({S}, {energy})"
        got = call(energy_rank, S=np.array(S, float), energy=energy)
        _whole(got, asked)
        why = mistakes.get(
            int(got), f"σ² is {[s * s for s in S]}, together {sum(s * s for s in S)}"
        )
        assert got == right, f"{asked}: got {got}, right is {right}: {why}"


@check
def check_truncation_error(truncation_error: Callable) -> None:
    """``truncation_error(S, r)`` is sqrt(Σᵢ>ᵣ σᵢ² / Σ σᵢ²)."""
    S = np.array([4.0, 2.0, 2.0, 1.0])  # σ² = 16, 4, 4, 1, together 25
    mistakes = {
        0.36: "a root is missing: that is the share of the energy that is lost",
        3.0: "that is ‖M - M_r‖ itself: divide by ‖M‖ = 5",
        9.0: "that is the energy that is lost: take the root, and divide by ‖M‖ = 5",
        0.12: "divide by ‖M‖ = 5, not by its square",
        0.8: "that is what is kept; the error is what is left out",
        0.64: "that is the share of the energy that is kept",
        0.2: "0.8 is kept, but 1 - 0.8 is not what is lost: the squares add up, not the norms",
        1.0: "σ_1 is kept, not lost: Python counts from 0, the tail is S[r:]",
        5 / 9: "that is Σσ over Σσ; the norm is a root of a sum of squares",
        0.4: "that is σ_2 alone: all dropped σ count",
        0.5: "that is σ_2 / σ_1, by the spectral norm; asked is the Frobenius norm",
        0.2**0.5: "σ_2 is lost too: Python counts from 0, the tail is S[r:]",
    }
    for r, right in [(1, 0.6), (3, 0.2), (4, 0.0)]:
        asked = f"S = [4, 2, 2, 1], r = {r}"
        got = numbers(call(truncation_error, S=S, r=r), "the error")
        assert got.shape == (), f"{asked}: the error is one number, got shape {got.shape}"
        named = (f": {why}" for slip, why in mistakes.items() if r == 1 and np.isclose(got, slip))
        what = f"{asked}: got {got:.4g}, right is {right:.4g}"
        assert np.isclose(got, right), what + next(named, "")


@check
def check_compress(compress: Callable) -> None:
    """``compress(M, error)`` returns the thinnest strips with ‖M - BA‖ <= error ‖M‖."""
    pairs, flat, steep = (20, 20, 11, 11, 2), (4, 2, 2, 2, 2), (16, 8, 4, 2, 1)
    for S, allowed, least in [(pairs, 0.5, 2), (flat, 0.4, 4), (steep, 0.2, 3), (steep, 0.3, 2)]:
        M, (d, k), asked = _example(*S), (7, 5), f"σ = {S}, error = {allowed}"
        got = call(compress, M=M, error=allowed)
        pair = isinstance(got, (tuple, list)) and len(got) == 2
        assert pair, f"return the two strips, lora_A and lora_B, got {type(got).__name__}"
        A, B = map(numbers, got, ("lora_A", "lora_B"))
        assert A.ndim == B.ndim == 2, f"both strips are matrices, got {A.shape} and {B.shape}"
        assert (len(A), B.shape[1]) != (d, k), "the two are swapped: lora_A comes first"
        fits = A.shape[1] == k and len(B) == d and len(A) == B.shape[1]
        assert fits, f"lora_A is (r, {k}), lora_B ({d}, r), got {A.shape} and {B.shape}"
        error, r = np.linalg.norm(M - B @ A) / np.linalg.norm(M), len(A)
        far = f"{asked}: r = {r} leaves a relative error of {error:.3g}"
        if r == lowrank.energy_rank(S, 1 - allowed) and error**2 <= allowed:
            far += ". Its square would do: the energy that may be lost is error**2, not error"
        assert error <= allowed, far
        assert r <= least, f"{asked}: r = {r} keeps to it, but r = {least} is thinner and does too"
