"""Checks: an adapter cut to a lower rank, two subspaces, two adapters as one."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lora_edu.course.checks import call, check, compare_named, compare_number, numbers


def _pair(answer: object) -> tuple[NDArray, NDArray]:
    """Return what should be A and B as arrays, whatever their shapes."""
    got = len(answer) if isinstance(answer, (tuple, list)) else type(answer).__name__
    assert got == 2, f"return two arrays, lora_A and lora_B, got {got}"
    return numbers(answer[0], "lora_A"), numbers(answer[1], "lora_B")


def _strips(got: object, d: int, k: int, r: int) -> tuple[NDArray, NDArray]:
    """Return A (r, k) and B (d, r) from an answer, or say which shape is wrong."""
    A, B = _pair(got)
    if A.shape != (r, k) and A.shape == (d, r) and B.shape == (r, k):
        raise AssertionError("lora_A comes first, then lora_B")
    for name, array, shape in (("lora_A", A, (r, k)), ("lora_B", B, (d, r))):
        turned = array.shape == shape[::-1] and array.shape != shape
        hint = ": turned on its side" if turned else ""
        assert array.shape == shape, f"{name} has shape {array.shape}, should be {shape}{hint}"
    return A, B


def _svd(M: NDArray) -> tuple[NDArray, ...]:
    return np.linalg.svd(M, full_matrices=False)


def _nearest(M: NDArray, r: int) -> NDArray:
    """Return the nearest matrix of rank r."""
    U, S, Vt = _svd(M)
    return (U[:, :r] * S[:r]) @ Vt[:r]


@check
def check_cut(cut: Callable) -> None:
    """``cut(lora_A, lora_B, r)``: strips of rank r whose product is nearest to lora_B @ lora_A."""
    for seed, (d, k, most, r) in enumerate(
        ((6, 6, 6, 3), (9, 7, 4, 2), (8, 12, 5, 1), (9, 9, 9, 3))
    ):
        rng = np.random.default_rng(seed)
        A, B = rng.standard_normal((most, k)), rng.standard_normal((d, most))
        A *= np.arange(1, most + 1)[:, None]  # the first rows are not the strongest
        strips = _strips(call(cut, lora_A=A, lora_B=B, r=r), d, k, r)
        U, S, Vt = _svd(B @ A)
        right = _nearest(B @ A, r)
        own = [_svd(M) for M in (A, B)]
        lows = [_nearest(M, r) for M in (A, B)]
        last, longest = slice(most - r, most), np.argsort(-np.linalg.norm(A, axis=1))[:r]
        wrong = {
            "that keeps the first rows of A: which directions of the *product* are strongest?": (
                B[:, :r] @ A[:r]
            ),
            "that keeps the last rows of A: which directions of the *product* are strongest?": (
                B[:, -r:] @ A[-r:]
            ),
            "the singular values are missing": U[:, :r] @ Vt[:r],
            "the singular values stand in both strips: once, or their roots": (
                (U[:, :r] * S[:r] ** 2) @ Vt[:r]
            ),
            "only roots of the singular values, and in one strip": (
                (U[:, :r] * np.sqrt(S[:r])) @ Vt[:r]
            ),
            "these are the weakest directions: singular values come largest first": (
                (U[:, last] * S[last]) @ Vt[last]
            ),
            "svd returns Vᵀ: its rows are the directions, not its columns": (
                (U[:, :r] * S[:r]) @ Vt[:, :r].T if d == k else np.inf
            ),
            "cut the product, not A and B one by one": lows[1] @ lows[0],
            "cut the product: this cuts A": B @ lows[0],
            "cut the product: this cuts B": lows[1] @ A,
            "one SVD, of the product: the directions of A and of B do not belong together": (
                (own[1][0][:, :r] * own[1][1][:r]) @ own[0][2][:r]
            ),
            "that keeps the old B: its columns belong to the old A": B[:, :r] @ Vt[:r],
            "that keeps the longest rows of A: directions come from the SVD of the product": (
                B[:, longest] @ A[longest]
            ),
            "the first columns of U, not its first rows": (
                (U[:r].T * S[:r]) @ Vt[:r] if d == k else np.inf
            ),
            "counting starts at 0: the strongest direction is the first": (
                (U[:, 1 : r + 1] * S[1 : r + 1]) @ Vt[1 : r + 1]
            ),
            "one direction is missing": (U[:, : r - 1] * S[: r - 1]) @ Vt[: r - 1],
            "each direction has its own singular value": S[0] * U[:, :r] @ Vt[:r],
            "nothing is to be made good: no factor beside the singular values": right * most / r,
            "no mean is to be taken away: the SVD of the product itself": (
                _nearest(B @ A - (B @ A).mean(0), r)
            ),
            "the strips are still zero": np.zeros_like(right),
        }
        where = f"lora_B @ lora_A, cut from rank {most} to {r},"
        compare_named(strips[1] @ strips[0], right, wrong, where)


@check
def check_overlap(overlap: Callable) -> None:
    """``overlap(A_1, A_2, i, j)`` is ‖V₁ᵢᵀ V₂ⱼ‖²_F / min(i, j)."""
    rng = np.random.default_rng(0)
    A_1, A_2 = rng.standard_normal((4, 12)), rng.standard_normal((6, 12))

    def directions(A: NDArray, full: bool = False) -> NDArray:
        return np.linalg.svd(A, full_matrices=full)[2]  # as rows

    def share(V_1: NDArray, V_2: NDArray) -> float:
        return float(np.sum((V_1 @ V_2.T) ** 2)) / min(len(V_1), len(V_2))

    V_1, V_2, W_1, W_2 = (directions(A, full) for full in (False, True) for A in (A_1, A_2))
    long_1, long_2 = (s[:, None] * Vt for _, s, Vt in map(_svd, (A_1, A_2)))
    for i, j in ((2, 5), (3, 3), (4, 1)):
        right, most = share(V_1[:i], V_2[:j]), min(i, j)
        rows = A_1[:i], A_2[:j]
        wrong = {
            "the cosines are to be squared": (right / most) ** 0.5,
            "each cosine is squared, then they are summed: not the sum squared": (
                float(np.sum(V_1[:i] @ V_2[:j].T)) ** 2 / most
            ),
            "the cosines are to be squared, then summed": float(np.sum(V_1[:i] @ V_2[:j].T)) / most,
            "squares, not absolute values": float(np.abs(V_1[:i] @ V_2[:j].T).sum()) / most,
            "divide by min(i, j): so much is possible at most": right * most,
            "divide by min(i, j), not by max(i, j)": right * most / max(i, j),
            "divide by min(i, j), not by i j: that is a mean": right * most / (i * j),
            "divide by min(i, j), not by i": right * most / i,
            "divide by min(i, j), not by j": right * most / j,
            "the rows of A are no orthonormal directions: take the SVD first": share(*rows),
            "svd returns Vᵀ: the directions are its rows": share(W_1[:, :i].T, W_2[:, :j].T),
            "the first directions of *all* of A: the SVD first, then cut": share(
                *map(directions, rows)
            ),
            "i belongs to A_1, j to A_2": share(V_1[: min(j, 4)], V_2[:i]),
            "‖·‖_F² sums all squares: np.linalg.norm(M), without a second argument": (
                float(np.linalg.norm(V_1[:i] @ V_2[:j].T, 2)) ** 2 / most
            ),
            "that is 1 less the overlap": 1 - right,
            "j directions of the second, not i": share(V_1[:i], V_2[:i]) if i != j else -1.0,
            "i of the one and j of the other: this cuts both to min(i, j)": (
                share(V_1[:most], V_2[:most]) if i != j else -1.0
            ),
            "the first i with the first j, not vector i with vector j alone": (
                float(V_1[i - 1] @ V_2[j - 1]) ** 2
            ),
            "each with each: this takes the first with the first, the second with the second": (
                float(np.sum(np.sum(V_1[:most] * V_2[:most], axis=1) ** 2)) / most
            ),
            "the vectors alone, without the singular values": (
                float(np.sum((long_1[:i] @ long_2[:j].T) ** 2)) / most
            ),
            "the first directions are the strongest: these are the last": share(V_1[-i:], V_2[-j:]),
            "that compares A_1 with itself": share(V_1[:i], V_1[:j]),
            "a share is of 1, not of 100": 100 * right,
            "only the first i and j, not all of them": share(V_1, V_2),
            "only the first i and j, not all of them ": share(V_1, V_2) * 4 / most,
            "counting starts at 0: the strongest direction is the first": (
                share(V_1[1:i], V_2[1:j]) * min(i - 1, j - 1) / most if most > 1 else -1.0
            ),
        }
        got = call(overlap, A_1=A_1, A_2=A_2, i=i, j=j)
        compare_number(got, right, wrong, f"i = {i}, j = {j}")


@check
def check_one_adapter(one_adapter: Callable) -> None:
    """``one_adapter(A_1, B_1, A_2, B_2, weight)``: A, B with B A = B₁A₁ + weight · B₂A₂."""
    cases = ((5, 5, 5, 5, 3.0), (6, 4, 2, 2, -2.0), (4, 7, 1, 3, 0.25), (4, 4, 2, 2, 4.0))
    for seed, (d, k, r_1, r_2, weight) in enumerate(cases):
        rng = np.random.default_rng(seed)
        A_1, A_2 = rng.standard_normal((r_1, k)), rng.standard_normal((r_2, k))
        B_1, B_2 = rng.standard_normal((d, r_1)), rng.standard_normal((d, r_2))
        one, two = B_1 @ A_1, B_2 @ A_2
        right = one + weight * two
        given = {"A_1": A_1, "B_1": B_1, "A_2": A_2, "B_2": B_2, "weight": weight}
        answer = call(one_adapter, **given)
        A, B = _pair(answer)
        added = r_1 == r_2 and (A.shape, B.shape) == ((r_1, k), (d, r_1))
        if added and not np.allclose(B @ A, right):
            says = "strips added: then B₁ meets A₂, too. Each B must meet its own A, and no other"
            raise AssertionError(says)
        least = min(d, k)  # strips from an SVD of the sum may be as low as this
        from_svd = (A.shape, B.shape) == ((least, k), (d, least))
        A, B = _strips(answer, d, k, least if from_svd else r_1 + r_2)
        wrong = {
            "the weight is missing": one + two,
            "the weight comes once: in A or in B, not in both": one + weight**2 * two,
            "the weight belongs to the second alone": weight * (one + two),
            "the weight belongs to the second, not to the first": weight * one + two,
            "the root of the weight stands in one strip only": one + abs(weight) ** 0.5 * two,
            "a negative weight has to stay negative": one + abs(weight) * two,
            "a sum, not a mean": right / 2,
            "a sum, not a mean ": right / (1 + weight) if weight != -1 else np.inf,
            "plus, not minus": one - weight * two,
            "the second adapter is missing": one,
            "the first adapter is missing": weight * two,
            "B_1 belongs to A_1, and B_2 to A_2": one + weight * B_2 @ A_1 if r_1 == r_2 else one,
            "the weight is of the second; the first has 1, not 1 - weight": (
                (1 - weight) * one + weight * two
            ),
        }
        if r_1 == r_2:
            wrong["each B must meet its own A: put both in the same order"] = (
                B_1 @ A_2 + weight * B_2 @ A_1
            )
            wrong["each B must meet its own A: put both in the same order "] = (
                weight * B_1 @ A_2 + B_2 @ A_1
            )
        compare_named(B @ A, right, wrong, "the sum of the updates")
