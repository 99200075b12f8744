"""Checks: the layer in rows, its gradients, the start, the floor, the first step."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_edu import reference
from lora_edu.course.checks import call, check, compare, numbers

S = 3.0  # the scaling in all examples: neither 1 nor 2, so that no slip hides


def _example(n: int, d: int, k: int, r: int) -> list[NDArray]:
    """Return x (n, k), W0 (d, k), lora_A (r, k), lora_B (d, r), G (n, d) of small integers."""
    rng, shapes = np.random.default_rng(0), [(n, k), (d, k), (r, k), (d, r), (n, d)]
    return [rng.integers(1, 9, shape).astype(float) for shape in shapes]


def _shaped(value: Any, shape: tuple[int, ...], name: str) -> NDArray:
    got = numbers(value, name)
    assert got.shape == shape or got.shape != shape[::-1], f"{name} is transposed: it is {shape}"
    assert got.shape == shape, f"{name} must have shape {shape}, got {got.shape}"
    return got


def _pair(got: Any, names: str, *shapes: tuple[int, ...]) -> list[NDArray]:
    pair = isinstance(got, (tuple, list)) and len(got) == 2
    assert pair, f"return two arrays: {names}; got {type(got).__name__}"
    two = [numbers(*each) for each in zip(got, names.split(", "), strict=True)]
    swapped = [one.shape for one in two] == [*shapes[::-1]]
    assert not swapped, f"the two are swapped: return {names}, in this order"
    return [_shaped(*each) for each in zip(two, shapes, names.split(", "), strict=True)]


def _none_of(got: Any, wrong: dict[str, Any]) -> None:
    """Refuse each wrong value by its name."""
    for why, value in wrong.items():
        assert not np.allclose(got, value), why


@check
def check_forward(forward: Callable) -> None:
    """``forward(x, W0, lora_A, lora_B, scaling)`` is x W0ᵀ + s (x Aᵀ) Bᵀ, a sample in each row."""
    x, W0, A, B, _ = _example(3, 4, 6, 2)
    y = _shaped(call(forward, x=x, W0=W0, lora_A=A, lora_B=B, scaling=S), (3, 4), "y")
    base, update = x @ W0.T, x @ A.T @ B.T
    _none_of(y, {
        "x W0ᵀ alone: the update is missing": base,
        "the update alone: x W0ᵀ is missing": S * update,
        "scaling is missing": base + update,
        "scaling belongs to the update only": S * (base + update),
        "scaling belongs to the update, not to x W0ᵀ": S * base + update,
    })  # fmt: skip
    compare(y, base + S * update, "y")


@check
def check_gradients(gradients: Callable) -> None:
    """``gradients(G, x, lora_A, lora_B, scaling)`` is dA = s (G B)ᵀ x and dB = s Gᵀ (x Aᵀ)."""
    x, W0, A, B, G = _example(5, 4, 6, 2)
    got = call(gradients, G=G, x=x, lora_A=A, lora_B=B, scaling=S)
    got = _pair(got, "dA, dB", A.shape, B.shape)
    right = reference.backward(G, x, W0, A, B, S)[:2]
    for name, value, want in zip(("dA", "dB"), got, right, strict=True):
        _none_of(value, {
            f"{name}: scaling is missing": want / S,
            f"{name}: scaling stands in it twice": want * S,
            f"{name}: G holds the 1/n already: sum over the samples": want / len(x),
            f"{name}: the sign is turned: the gradient points up": -want,
        })  # fmt: skip
        compare(value, want, name, ": which numbers meet there?")


@check
def check_start(start: Callable) -> None:
    """``start(d, k, r, rng)``: B = 0, the entries of A uniform between -1/√k and 1/√k."""
    d, k, r = 20, 400, 8
    got = [call(start, d=d, k=k, r=r, rng=np.random.default_rng(seed)) for seed in (0, 0, 1)]
    (A, B), (again, _), (other, _) = (_pair(g, "lora_A, lora_B", (r, k), (d, r)) for g in got)
    assert A.any() or B.any(), "both are zero: both gradients are zero too, and nothing ever moves"
    assert A.any(), "A = 0 is the mirror image: it trains as well, but here B is the one at zero"
    assert not B.any(), "B is not zero, nor is BA: the layer does not start at W0"
    rank = np.linalg.matrix_rank(A)
    assert rank == r, f"the rows of A have rank {rank} only: B A can have no more at the first step"
    assert not np.array_equal(A, other), "A is the same for another rng: draw it from rng"
    assert np.array_equal(A, again), "A differs for the same rng: draw from rng, and nothing else"
    bound, largest = 1 / np.sqrt(k), np.abs(A).max()
    axis = 0.9 < largest * np.sqrt(r) <= 1
    assert not axis, "the bound is 1/√r: a row of A reads k numbers, so it is 1/√k"
    assert 0.9 * bound < largest <= bound, f"entries of A reach {largest:.3g}: 1/√k is {bound:.3g}"
    assert abs(A.mean()) < 0.1 * bound, "the entries of A lean to one sign: from -1/√k to 1/√k"
    even = abs(A.std() * np.sqrt(3) / bound - 1) < 0.1  # what rng.uniform draws has std bound / √3
    assert even, "the entries of A are not spread evenly from -1/√k to 1/√k: rng.uniform"


@check
def check_floor(floor: Callable) -> None:
    """``floor(delta, x, r)`` is the tail of the spectrum of ΔW xᵀ, squared, over 2 n."""
    x, delta, *_ = _example(7, 5, 4, 1)
    s, alone = (np.linalg.svd(m, compute_uv=False) for m in (delta @ x.T, delta))
    for r in (2, 1, 4):
        got = numbers(call(floor, delta=delta, x=x, r=r), "the floor")
        assert not got.ndim, f"the floor is one number, got shape {got.shape}: is a sum missing?"
        right = np.sum(s[r:] ** 2) / (2 * len(x))
        wrong = {
            "the tail of ΔW alone: what counts is ΔW on the inputs": np.sum(alone[r:] ** 2),
            "that is what r directions keep, not what they miss": np.sum(s[:r] ** 2),
            "r directions are kept, 0 to r - 1: miss from index r on": np.sum(s[r - 1 :] ** 2),
            "r directions are kept, 0 to r - 1: σ at index r is missed": np.sum(s[r + 1 :] ** 2),
            "the squares of σ add up, not the σ: square each": np.sum(s[r:]),
            "the sum of the squares, without its root": np.sum(s[r:] ** 2) ** 0.5,
            "divide by 2 n, as the loss does": np.sum(s[r:] ** 2),
        }
        if not np.isclose(got, right, atol=1e-9):
            for scale in (1, 2, len(x), 2 * len(x)):
                _none_of(got * scale, wrong)
            raise AssertionError(f"r = {r}: {got:.4g}, should be {right:.4g}")


@check
def check_first_update(first_update: Callable) -> None:
    """``first_update(G, x, lora_A, lr, scaling)`` is ΔW after an SGD step from B = 0."""
    x, W0, A, B, G = _example(5, 4, 6, 2)
    got = numbers(call(first_update, G=G, x=x, lora_A=A, lr=0.5, scaling=S), "ΔW")
    assert got.shape != B.shape, "this has the shape of B: the update is s B A"
    right = -0.5 * S**2 * G.T @ x @ A.T @ A
    got = _shaped(got, W0.shape, "ΔW")
    _none_of(got, {
        "that is a step of full fine-tuning: here B moves, and A stays between": -0.5 * G.T @ x,
        "the sign: a step goes against the gradient": -right,
        "scaling stands once: it is in the gradient of B, and in s B A": right / S,
        "scaling is missing, in the gradient of B and in s B A": right / S**2,
        "lr is missing": right / 0.5,
    })  # fmt: skip
    compare(got, right, "ΔW")
