"""Checks: neighbours, ΔW out of a file of PEFT's, subspaces, intruder dimensions."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lora_edu.course.checks import call, check, compare, numbers


def _name(got: object, right: float, wrong: dict[str, float], what: str) -> None:
    """Raise an ``AssertionError`` that names the mistake which gives ``got``, if it is wrong."""
    value = numbers(got, "the result")
    assert value.ndim == 0, f"return one number, got shape {value.shape}"
    for why, other in wrong.items():
        assert np.isclose(value, right) or not np.isclose(value, other), why
    assert np.isclose(value, right), f"{what}: {value:.4g}, should be {right:.4g}"


@check
def check_neighbours(neighbours: Callable) -> None:
    """``neighbours(e, y)``: the share of rows whose nearest other row, by cosine, has their y."""
    rng, y = np.random.default_rng(3), np.arange(40) % 4
    e = (np.eye(4)[y] + 0.7 * rng.standard_normal((40, 4))) * rng.uniform(0.2, 5, (40, 1))
    unit, own = e / np.linalg.norm(e, axis=1, keepdims=True), 9e9 * np.eye(40)

    def share(score: NDArray) -> float:
        return float(np.mean(y[np.argmax(score - own, axis=1)] == y))

    wrong = {
        "the nearest row to each is the row itself: leave it out": 1.0,
        "that is the dot product, and long rows win: divide each row by its length": share(e @ e.T),
        "the nearest is that of the largest cosine, not the least": share(-unit @ unit.T),
        "that is how many: divide by n": 40 * share(unit @ unit.T),
    }
    _name(call(neighbours, e=e, y=y), share(unit @ unit.T), wrong, "for 40 rows")


@check
def check_delta_from_file(delta: Callable) -> None:
    """``delta(tensors, name, lora_alpha)`` is ΔW of one layer, from the tensors PEFT saves."""
    import torch

    rng, key = np.random.default_rng(0), "base_model.model.{}.lora_{}.weight".format
    shapes, layers = {"A": (2, 5), "B": (5, 2)}, ("bert.q", "bert.v")
    arrays = {key(n, p): rng.integers(-9, 10, shape) for n in layers for p, shape in shapes.items()}
    for name in layers:
        tensors = {k: torch.tensor(array, dtype=torch.float32) for k, array in arrays.items()}
        try:
            given = delta(tensors, name, 12)
        except KeyError as error:
            raise AssertionError(f"no key is {error}; one is {next(iter(tensors))!r}") from None
        got, product = numbers(given, "ΔW"), arrays[key(name, "B")] @ arrays[key(name, "A")]
        assert got.shape == (5, 5), f"shape {got.shape}: ΔW is lora_B @ lora_A, (5, 5)"
        scalings = {
            "the scaling is missing: lora_alpha / r": 1,
            "the scaling is lora_alpha / r; here r is 2": 12,
            "r is 2 here, not 8: take it from the shape of lora_A": 12 / 8,
            "r is 2 here, not 5: lora_A is (r, in_features), lora_B (out_features, r)": 12 / 5,
            "the scaling is lora_alpha / r, not lora_alpha / √r": 12 / 2**0.5,
        }
        for why, scaling in scalings.items():
            assert not np.allclose(got, scaling * product), why
        assert not np.allclose(got, 6 * product.T), "transposed: ΔW is lora_B @ lora_A"
        compare(got, 6 * product, "ΔW")


@check
def check_phi(phi: Callable) -> None:
    """``phi(A_1, A_2, i, j)`` is ‖V₁ᵢᵀ V₂ⱼ‖²_F / min(i, j)."""
    rng = np.random.default_rng(0)
    A_1, A_2 = rng.standard_normal((4, 12)), rng.standard_normal((6, 12))

    def directions(A: NDArray, full: bool = False) -> NDArray:
        return np.linalg.svd(A, full_matrices=full)[2]  # as rows

    def overlap(V_1: NDArray, V_2: NDArray) -> float:
        return np.sum((V_1 @ V_2.T) ** 2) / min(len(V_1), len(V_2))

    V_1, V_2, W_1, W_2 = (directions(A, full) for full in (False, True) for A in (A_1, A_2))
    for i, j in ((2, 5), (3, 3), (4, 1)):
        right, most = overlap(V_1[:i], V_2[:j]), min(i, j)
        rows = A_1[:i], A_2[:j]
        wrong = {
            "the norm is to be squared": (right / most) ** 0.5,
            "divide by min(i, j): so much is possible at most": right * most,
            "divide by min(i, j), not by max(i, j)": right * most / max(i, j),
            "the rows of A are no orthonormal directions: take the SVD first": overlap(*rows),
            "svd returns Vᵀ: the directions are its rows": overlap(W_1[:, :i].T, W_2[:, :j].T),
            "the top directions of *all* of A: the SVD first": overlap(*map(directions, rows)),
            "‖·‖_F² sums all squares: np.linalg.norm(M), without a second argument": (
                np.linalg.norm(V_1[:i] @ V_2[:j].T, 2) ** 2 / most
            ),
        }
        got = call(phi, A_1=A_1, A_2=A_2, i=i, j=j)
        _name(got, right, wrong, f"i = {i}, j = {j}")


@check
def check_intruders(intruders: Callable) -> None:
    """``intruders(W0, W1, k, epsilon)``: of the top-k left singular vectors, how many are new."""
    rng = np.random.default_rng(1237)  # a draw in which each mistake gives another number
    W0 = rng.standard_normal((16, 12)) * np.arange(12, 0, -1)
    W_1 = W0 + 6 * rng.standard_normal((16, 3)) @ rng.standard_normal((3, 12))
    (U_0, _, V_0), (U_1, _, V_1) = (np.linalg.svd(W, full_matrices=False) for W in (W0, W_1))
    for k, epsilon in ((8, 0.5), (9, 0.8)):
        cosine, right_ones = U_0.T @ U_1[:, :k], V_0 @ V_1[:k].T
        right = np.sum(np.abs(cosine).max(0) < epsilon)
        same_place = np.sum(np.abs(np.diag(cosine)) < epsilon)
        all_of_1, all_of_0 = (np.sum(np.abs(U_0.T @ U_1).max(axis) < epsilon) for axis in (0, 1))
        wrong = {
            "an intruder is *below* epsilon for every vector of W0": k - right,
            "a singular vector has no sign: take |cosine|": np.sum(cosine.max(0) < epsilon),
            "compare with every vector of W0, not only with that of the same place": same_place,
            "compare the left singular vectors": np.sum(np.abs(right_ones).max(0) < epsilon),
            "the first k columns of W1's U only": all_of_1,
            "the new are W1's: of each its best match over W0's, along axis 0": all_of_0,
        }
        got = call(intruders, **{"W0": W0, "W1": W_1, "k": k, "epsilon": epsilon})
        _name(got, right, wrong, f"k = {k}, epsilon = {epsilon}")
    raised = W0 + 99 * np.outer(U_0[:, -1], V_0[-1])  # the weakest direction becomes the first
    got = call(intruders, **{"W0": W0, "W1": raised, "k": 3, "epsilon": 0.7})
    wrong = {"compare with every vector of W0, not only with its first k": 1}
    _name(got, 0, wrong, "when the weakest direction of W0 has become the first")
