"""Checks: an adapter cut to a lower rank, two subspaces, two adapters as one."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lora_edu import lowrank
from lora_edu.course import checks as tools


def _svd(M: NDArray) -> tuple[NDArray, ...]:
    return np.linalg.svd(M, full_matrices=False)


def _span(rows: NDArray) -> NDArray:
    """Return the projector on what the rows span: the same for all strips of these directions."""
    return np.linalg.pinv(rows) @ rows


@tools.check
def check_cut(cut: Callable) -> None:
    """``cut(lora_A, lora_B, r)``: strips of rank r whose product is nearest to lora_B @ lora_A."""
    rng = np.random.default_rng(0)
    for d, k, most, r in ((6, 6, 6, 3), (9, 7, 4, 2), (8, 12, 5, 1), (9, 9, 9, 3)):
        A, B = rng.standard_normal((most, k)), rng.standard_normal((d, most))
        A *= (1 + np.arange(most) * 3 % 7)[:, None]  # neither the first rows nor the last ones win
        directions = f": r = {r} directions, the strongest"
        new_A, new_B = tools.strips(tools.call(cut, lora_A=A, lora_B=B, r=r), d, k, r, directions)
        U, _, Vt = _svd(B @ A)
        which = "which directions of the *product* are strongest?"
        spans = [
            (f"that keeps the first rows of A: {which}", A[:r]),
            (f"that keeps the last rows of A: {which}", A[-r:]),
            ("those are directions of A: cut the product, not A and B one by one", _svd(A)[2][:r]),
            ("those are directions of B: cut the product, not B", _svd(B)[2][:r] @ A),
            ("the rows of lora_A are those of Vᵀ, not the columns of U", U[:, :r].T),
            ("svd returns Vᵀ: its rows are the directions, not its columns", Vt[:, :r].T),
        ]
        longest = "that keeps the longest rows: directions come from the SVD of the product"
        long_A, long_B = np.linalg.norm(A, axis=1), np.linalg.norm(B, axis=0)
        for length in (long_A, long_B, long_A * long_B):
            spans.append((longest, A[np.argsort(-length)[:r]]))
        if d == k:
            turned, rows = "the SVD of lora_B @ lora_A, not of lora_A @ lora_B", _svd(A @ B)[2][:r]
            spans += [(turned, rows), (turned, rows @ A)]
        tools.slip(new_A, spans, of=_span)
        tools.compare_cut(new_B @ new_A, B @ A, r)


def _times(one: NDArray, two: NDArray) -> NDArray:
    """Return the products of all rows of two matrices, for many pairs of them."""
    return one @ two.swapaxes(1, 2)


@tools.check
def check_overlap(overlap: Callable) -> None:
    """``overlap(A_1, A_2, i, j)`` is ‖V₁ᵢᵀ V₂ⱼ‖²_F / min(i, j).

    Over many examples it is a sum of squared cosines: which of them are in it, and how often?
    """
    n, i, j, rng = 5, 2, 3, np.random.default_rng(0)
    A_1, A_2 = rng.standard_normal((2, 40, n, 8))
    (U_1, s_1, V_1), (U_2, s_2, V_2) = _svd(A_1), _svd(A_2)
    got = np.array([_overlap(overlap, *pair, i, j) for pair in zip(A_1, A_2, strict=True)])
    all_pairs = _times(V_1, V_2)
    cosines = all_pairs[:, :i, :j]
    right = np.sum(cosines**2, axis=(1, 2)) / i
    if np.allclose(got, right):
        A_1, A_2 = rng.standard_normal((4, 12)), rng.standard_normal((6, 12))
        for i, j in ((3, 3), (4, 1)):
            share = _overlap(overlap, A_1, A_2, i, j)
            right = lowrank.subspace_similarity(A_1, A_2)[i - 1, j - 1]
            only = f"right for i = 2, j = 3, but not for i = {i}, j = {j}: {share:.4g}"
            assert np.isclose(share, right), f"{only}, should be {right:.4g}: divide by min(i, j)"
        return
    shown = f"i = {i}, j = {j}: {got[0]:.4g}, should be {right[0]:.4g}"
    assert np.ptp(got) > 1e-9, f"{shown}: it is the same whatever A_1 and A_2 may be"
    assert not tools.lost_digits(got, right), f"{shown}: do not round"
    each = {(a + 1, b + 1): all_pairs[:, a, b] ** 2 for a, b in np.ndindex(n, n)}
    _name_pairs(tools.as_sum(got, each | {(0, 0): np.ones(len(got))}), i, j)
    long_1, long_2, svd = s_1[..., None] * V_1, s_2[..., None] * V_2, "(take the SVD first)"
    first = _times(_svd(A_1[:, :i])[2], _svd(A_2[:, :j])[2])
    columns = V_1[:, :, :i].swapaxes(1, 2) @ V_2[:, :, :j]
    left = U_1[:, :, :i].swapaxes(1, 2) @ U_2[:, :, :j]
    squares = {
        f"the rows of A {svd}": _times(A_1[:, :i], A_2[:, :j]),
        "the SVD of the first rows (take that of all of A, then cut)": first,
        "vectors times singular values (the vectors alone)": _times(long_1[:, :i], long_2[:, :j]),
        "the columns of Vᵀ (svd returns Vᵀ: the directions are its rows)": columns,
        "U (the *right* singular vectors are the rows of Vᵀ)": left,
        "Uᵀ (the *right* singular vectors are the rows of Vᵀ)": _times(U_1[:, :i], U_2[:, :j]),
        "squares (once)": cosines**2,
    }
    plain, values = np.sum(cosines, (1, 2)), np.linalg.svd(cosines, compute_uv=False)
    sums = {f"the sum of squares of {of}": np.sum(M**2, (1, 2)) for of, M in squares.items()}
    sums |= {
        "the sum of squares": i * right,
        "the sum of absolute values (square each cosine)": np.sum(abs(cosines), (1, 2)),
        "the plain sum (square each cosine, then sum), squared": plain**2,
        "the sum of singular values (squares are asked for)": values.sum(axis=1),
        "the largest singular value (norm(M, 2), not norm(M))": values[:, 0],
    }
    for name, inner in sums.items():
        made = tools.as_product(got, {name: inner})
        assert name not in made, f"{shown}. Yours is {made}"
    tools.slip(got, [(f"{shown}: square each cosine, then sum", plain / i)])
    raise AssertionError(f"{shown}: which directions do you take, and what of their cosines?")


def _overlap(overlap: Callable, A_1: NDArray, A_2: NDArray, i: int, j: int) -> float:
    return tools.number(tools.call(overlap, A_1=A_1, A_2=A_2, i=i, j=j))


def _name_pairs(times: dict[tuple[int, int], float], i: int, j: int) -> None:
    """Say of which directions the squared cosines are in a sum, and by what it is divided."""
    constant = times.pop((0, 0), 0)
    if not times:
        return
    one, two = (sorted({*side}) for side in zip(*times, strict=True))
    which = "" if len(times) == len(one) * len(two) else f", only the pairs {[*times]}"
    factor = next(iter(times.values()))
    less = f"{constant:g} less " if factor < 0 else f"{constant:g} more than " if constant else ""
    raise AssertionError(
        f"for i = {i}, j = {j} yours is {less}the sum of the squared cosines of the directions "
        f"{one} of A_1 with {two} of A_2{which}, divided by {abs(1 / factor):.4g}; asked are the "
        f"first i with the first j, divided by min(i, j), here {min(i, j)}"
    )


@tools.check
def check_one_adapter(one_adapter: Callable) -> None:
    """``one_adapter(A_1, B_1, A_2, B_2, weight)``: A, B with B A = B₁A₁ + weight · B₂A₂."""
    rng = np.random.default_rng(0)
    for d, k, r_1, r_2, weight in ((5, 5, 2, 2, 3.0), (6, 4, 2, 2, -2.0), (4, 7, 1, 3, 0.25)):
        A_1, A_2 = rng.standard_normal((r_1, k)), rng.standard_normal((r_2, k))
        B_1, B_2 = rng.standard_normal((d, r_1)), rng.standard_normal((d, r_2))
        got = tools.call(one_adapter, A_1=A_1, B_1=B_1, A_2=A_2, B_2=B_2, weight=weight)
        A, B = tools.several(got, ("lora_A", "lora_B"))
        parts = {"B_1 @ A_1": B_1 @ A_1, "B_2 @ A_2": B_2 @ A_2}
        others = {"B_1 @ A_2": B_1 @ A_2, "B_2 @ A_1": B_2 @ A_1} if r_1 == r_2 else {}
        made = {"B_1 @ A_1": 1, "B_2 @ A_2": weight}
        why = f" (weight = {weight:g}; each B meets its own A)"
        fits = A.ndim == B.ndim == 2 and A.shape[1] == k and B.shape == (d, len(A))
        if fits and tools.as_sum(B @ A, parts, others):
            tools.compare_sum(B @ A, made, parts, others, why)
        from_svd = (A.shape, B.shape) == ((min(d, k), k), (d, min(d, k)))
        rank = min(d, k) if from_svd else r_1 + r_2  # strips from an SVD of the sum may be so low
        rows = f": the {r_1} rows of A_1 above the {r_2} of A_2 (with fewer, something is lost), "
        A, B = tools.strips((A, B), d, k, rank, f"{rows}the columns of B_1 beside those of B_2")
        tools.compare_sum(B @ A, made, parts, others, why)
