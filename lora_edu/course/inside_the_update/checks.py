"""Checks: an adapter cut to a lower rank, two subspaces, two adapters as one."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_edu.course.checks import call, check, compare, numbers


def _pair(answer: Any) -> tuple[NDArray, NDArray]:
    """Return what should be A and B as arrays, whatever their shapes."""
    got = len(answer) if isinstance(answer, (tuple, list)) else type(answer).__name__
    assert got == 2, f"return two arrays, lora_A and lora_B, got {got}"
    A, B = numbers(answer[0], "lora_A"), numbers(answer[1], "lora_B")
    for name, strip in (("lora_A", A), ("lora_B", B)):
        axes = "a strip has two axes (np.stack makes one more, np.concatenate does not)"
        assert strip.ndim == 2, f"{name} has shape {strip.shape}: {axes}"
        odd = strip[~np.isfinite(strip)]
        assert not odd.size, f"{name} holds {odd[0]}: a root of a negative number? 0 in a divisor?"
    return A, B


def _fit(A: NDArray, B: NDArray, right: NDArray, r: int, of_A: str, of_B: str) -> None:
    """Say what is wrong with the shapes of A (r, k) and B (d, r), and what each should hold."""
    d, k = right.shape
    swapped = (A.shape, B.shape) == ((d, r), (r, k)) != ((r, k), (d, r))
    if swapped and (d != k or np.allclose(A @ B, right)):
        raise AssertionError("lora_A comes first, then lora_B")
    for name, strip, shape, what in (("lora_A", A, (r, k), of_A), ("lora_B", B, (d, r), of_B)):
        assert strip.shape == shape, f"{name} has shape {strip.shape}, should be {shape}: {what}"


def _svd(M: NDArray) -> tuple[NDArray, ...]:
    return np.linalg.svd(M, full_matrices=False)


def _span(rows: NDArray) -> NDArray:
    """Return the projector on what the rows span: the same for all strips of these directions."""
    return np.linalg.pinv(rows) @ rows


@check
def check_cut(cut: Callable) -> None:
    """``cut(lora_A, lora_B, r)``: strips of rank r whose product is nearest to lora_B @ lora_A."""
    rng = np.random.default_rng(0)
    for d, k, most, r in ((6, 6, 6, 3), (9, 7, 4, 2), (8, 12, 5, 1), (9, 9, 9, 3)):
        A, B = rng.standard_normal((most, k)), rng.standard_normal((d, most))
        A *= (1 + np.arange(most) * 3 % 7)[:, None]  # neither the first rows nor the last ones win
        M = B @ A
        U, S, Vt = _svd(M)
        left, s, low = U[:, :r], S[:r], Vt[:r]
        right = (left * s) @ low
        new_A, new_B = _pair(call(cut, lora_A=A, lora_B=B, r=r))
        what = f"r = {r} directions, the strongest, as "
        _fit(new_A, new_B, right, r, what + "rows", what + "columns")
        got = new_B @ new_A
        if np.allclose(got, right):
            continue
        which = "which directions of the *product* are strongest?"
        longest = "that keeps the longest rows: directions come from the SVD of the product"
        lengths = np.linalg.norm(A, axis=1), np.linalg.norm(B, axis=0)
        spans = [
            (f"that keeps the first rows of A: {which}", A[:r]),
            (f"that keeps the last rows of A: {which}", A[-r:]),
            *((longest, A[np.argsort(-n)[:r]]) for n in (*lengths, lengths[0] * lengths[1])),
            ("those are directions of A: cut the product, not A and B one by one", _svd(A)[2][:r]),
            ("those are directions of B: cut the product, not B", _svd(B)[2][:r] @ A),
            ("the SVD of lora_B @ lora_A, not of lora_A @ lora_B", _svd(A @ B)[2][:r] @ A),
            ("these are the weakest: singular values come largest first", Vt[most - r : most]),
            ("svd returns Vᵀ: its rows are the directions, not its columns", Vt[:, :r].T),
            ("counting starts at 0: the strongest direction is the first", Vt[1 : r + 1]),
            ("the SVD of lora_B @ lora_A, not of lora_A @ lora_B", _svd(A @ B)[2][:r]),
            ("the rows of lora_A are those of Vᵀ, not the columns of U", left.T),
            ("no mean is to be taken away", _svd(M - M.mean(0))[2][:r]),
        ]
        kept = _span(new_A)
        for why, rows in spans if not np.allclose(kept, _span(low)) else ():
            assert rows.shape != low.shape or not np.allclose(kept, _span(rows)), why
        core = left.T @ got @ low.T  # what stands between the directions
        comes, times = np.diag(core), float(np.sum(got * right) / np.sum(right**2))
        if np.allclose(left @ core @ low, got):
            assert np.allclose(core, np.diag(comes)), "let B's columns stand as A's rows: one order"
            wrong = {
                "the singular values are missing": s**0,
                "the singular values stand in both strips: once, or their roots": s**2,
                "only roots of the singular values, and in one strip": s**0.5,
                f"{times:.4g} times the nearest: no factor beside the singular values": times * s,
            }
            for why, other in wrong.items():
                assert not np.allclose(comes, other), why
            own = f"should be {s.round(3)}: each direction has its own"
            raise AssertionError(f"right directions, but singular values {comes.round(3)}: {own}")
        for one, other, strip, rows in (("B", "A", new_A, low), ("A", "B", new_B.T, left.T)):
            apart = f"lora_{other} has the right directions, lora_{one} has not: both from one SVD"
            assert not np.allclose(_span(strip), _span(rows)), apart
        far = f"yours is {np.linalg.norm(got - M):.4g} away, best {np.linalg.norm(right - M):.4g}"
        raise AssertionError(f"keep the first {r} directions of the SVD of lora_B @ lora_A: {far}")


@check
def check_overlap(overlap: Callable) -> None:
    """``overlap(A_1, A_2, i, j)`` is ‖V₁ᵢᵀ V₂ⱼ‖²_F / min(i, j)."""
    rng = np.random.default_rng(0)
    for i, j, *ranks, k in ((2, 3, 7, 7, 7), (3, 3, 4, 6, 12), (4, 1, 4, 6, 12)):
        A_1, A_2 = (rng.standard_normal((r, k)) for r in ranks)
        (U_1, s_1, V_1), (U_2, s_2, V_2) = map(_svd, (A_1, A_2))
        n = min(i, j)

        def share(one: NDArray, two: NDArray, n: int = n) -> float:
            return float(np.sum((one @ two.T) ** 2)) / n

        cosines, rows = V_1[:i] @ V_2[:j].T, (A_1[:i], A_2[:j])
        longer, chance = s_1[:i, None] * cosines * s_2[:j], max(i, j) / k
        unit = [A / np.linalg.norm(A, axis=1, keepdims=True) for A in rows]
        right = share(V_1[:i], V_2[:j])
        got = numbers(call(overlap, A_1=A_1, A_2=A_2, i=i, j=j), "the result")
        assert got.ndim == 0, f"return one number, got shape {got.shape}"
        if np.isclose(got, right):
            continue
        svd = "the rows of A are no orthonormal directions: take the SVD first"
        all_sum = "‖·‖_F² sums all squares: np.linalg.norm(M), without a second argument"
        both = "i directions of the first, j of the second: not as many of both"
        wrong = [
            *(("square each cosine, once", of**0.5) for of in (right / n, right, right**4)),
            *(("square each cosine, then sum", cosines.sum() ** power / n) for power in (1, 2)),
            ("squares, not absolute values", np.abs(cosines).sum() / n),
            ("the sum of squares, not of the singular values", np.linalg.norm(cosines, "nuc") / n),
            ("each with each, not only like with like", np.sum(np.diag(cosines) ** 2) / n),
            (all_sum, np.linalg.norm(cosines, 2) ** 2 / n),
            ("that is 1 less the overlap", 1 - right),
            ("a share is of 1, not of 100", 100 * right),
            *(("φ itself: leave chance out", of) for of in (right - chance, right / chance)),
            *(("do not round", round(right, digits)) for digits in (1, 2, 3)),
            *((svd, share(one, two)) for one, two in (rows, unit)),
            ("the SVD of *all* of A first, then cut", share(_svd(rows[0])[2], _svd(rows[1])[2])),
            ("the vectors alone, without the singular values", np.sum(longer**2) / n),
            ("i belongs to A_1, j to A_2", share(V_1[:j], V_2[:i])),
            *((both, share(V_1[:m], V_2[:m], m)) for m in (i, j)),
            ("the first i with the first j, not i alone with j", cosines[-1, -1] ** 2),
            ("the first directions are the strongest, not the last", share(V_1[-i:], V_2[-j:])),
            ("only the first i and j, not all of them", share(V_1, V_2)),
        ]
        for (a, b), m in itertools.product(((0, 1), (0, -1), (1, 0), (1, 1)), (n - 1, n, n + 1)):
            slices = f"[:i] and [:j], here [:{i}] and [:{j}]; not [{a}:{i + b}] and [{a}:{j + b}]"
            wrong += [(slices, share(V_1[a : i + b], V_2[a : j + b], m or 1))]
        if ranks[0] == ranks[1]:  # else such products do not exist
            wrong += [
                ("svd returns Vᵀ: the directions are its rows", share(V_1[:, :i].T, V_2[:, :j].T)),
                ("the *right* singular vectors, the rows of Vᵀ", share(U_1[:, :i].T, U_2[:, :j].T)),
            ]
        for why, other in wrong:
            assert not np.isclose(got, other), why
        less = {"A_1": A_1[: max(i, ranks[0] - 1)], "A_2": A_2[: max(j, ranks[1] - 2)]}
        again = numbers(call(overlap, **less, i=i, j=j), "the result")
        assert not np.isclose(got, again), (
            f"{got:.4g} whatever A_1 and A_2 are: use both, and not one of them twice"
        )
        assert not np.isclose(got, 1), "only the first i and j, not all of them"
        over, rule = right * n / got if got else 0.5, f"divide by min(i, j), here {n}"
        why = f"the sum of squares is right, but divided by {over:.0f}: {rule} (a mean: by i j)"
        assert not np.isclose(over, np.rint(over)), why
        case = f"i = {i}, j = {j}: {got:.4g}, should be {right:.4g}: the squares of all {i} x {j}"
        raise AssertionError(f"{case} cosines sum to {right * n:.4g}; then {rule}")


@check
def check_one_adapter(one_adapter: Callable) -> None:
    """``one_adapter(A_1, B_1, A_2, B_2, weight)``: A, B with B A = B₁A₁ + weight · B₂A₂."""
    cases = ((5, 5, 2, 2, 3.0), (6, 4, 2, 2, -2.0), (4, 7, 1, 3, 0.25))
    rng = np.random.default_rng(0)
    for d, k, r_1, r_2, weight in cases:
        A_1, A_2 = rng.standard_normal((r_1, k)), rng.standard_normal((r_2, k))
        B_1, B_2 = rng.standard_normal((d, r_1)), rng.standard_normal((d, r_2))
        right = B_1 @ A_1 + weight * B_2 @ A_2
        A, B = _pair(call(one_adapter, A_1=A_1, B_1=B_1, A_2=A_2, B_2=B_2, weight=weight))
        if A.shape[1] == k and B.shape == (d, len(A)) and not np.allclose(B @ A, right):
            _name(B @ A, A_1, B_1, A_2, B_2, weight)
        least = min(d, k)  # strips from an SVD of the sum may be as low as this
        from_svd = (A.shape, B.shape) == ((least, k), (d, least))
        _fit(
            *(A, B, right, least if from_svd else r_1 + r_2),
            f"the {r_1} rows of A_1 above the {r_2} of A_2 (with fewer, something is lost)",
            f"the {r_1} columns of B_1 beside the {r_2} of B_2",
        )
        first = "do" if np.allclose(B[:, :r_1] @ A[:r_1], B_1 @ A_1) else "do not"
        why = f": the first {r_1} columns of B, rows of A, {first} give B_1 @ A_1; and the others?"
        compare(B @ A, right, "the sum of the updates", why)


def _name(got: NDArray, A_1: NDArray, B_1: NDArray, A_2: NDArray, B_2: NDArray, w: float) -> None:
    """Say which multiples of the products of B's and A's make up a wrong sum, if any do."""
    parts = {"B_1 @ A_1": B_1 @ A_1, "B_2 @ A_2": B_2 @ A_2}
    if len(A_1) == len(A_2):
        parts |= {"B_1 @ A_2": B_1 @ A_2, "B_2 @ A_1": B_2 @ A_1}
    columns = np.array([part.ravel() for part in parts.values()]).T
    times = np.linalg.lstsq(columns, got.ravel(), rcond=None)[0].round(6)
    if not np.allclose(columns @ times, got.ravel(), atol=1e-4):
        return
    one, two, *cross = times
    yours = " + ".join(f"{n:g} {what}" for n, what in zip(times, parts, strict=True) if n)
    added = "strips added: all meet all" if one and two else "another order, or one twice?"
    assert not any(cross), f"each B must meet its own A; yours is {yours} ({added})"
    wrong = {
        "the weight is missing": (1, 1),
        "the weight comes once: in A or in B, not in both": (1, w**2),
        "the weight belongs to the second alone": (w, w),
        "the weight belongs to the second, not to the first": (w, 1),
        "the root of the weight stands in one strip only": (1, abs(w) ** 0.5),
        "a negative weight has to stay negative": (1, abs(w)),
        "plus, not minus": (1, -w),
        "the weight is of the second; the first has 1, not 1 - weight": (1 - w, w),
    }
    for why, other in wrong.items():
        assert not np.allclose((one, two), other, atol=1e-5), why
    comes = f"B_1 @ A_1 {one:g} times, B_2 @ A_2 {two:g} times"
    raise AssertionError(f"{comes}: should be 1 and {w:g}")
