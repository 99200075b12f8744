"""Checks: axes by hand, a picture in thin strips, a companion of an update."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_edu import lowrank
from lora_edu.course.checks import call, check, numbers

# What is done to the circle, and how long the axes of its ellipse are: the longest first.
BY_HAND = {
    "mirror": ([[1, 0], [0, -2]], [2, 1]),
    "shift": ([[0, 3], [0, 0]], [3, 0]),
    "flat": ([[3, 4], [0, 0]], [5, 0]),
}


def length_at(machine: NDArray, angle: float) -> float:
    """Return how long the output is of the input of length 1 at an angle in degrees."""
    way = np.radians(angle)
    return float(np.linalg.norm(machine @ (np.cos(way), np.sin(way))))


def first_part(image: NDArray) -> str:
    """Return the part of ``figures.picture()`` that its four strongest weaves show best."""
    off = abs(image - lowrank.best_approximation(image, 4))
    parts = {"windows": image == 0.9, "sun": image == 1.0, "roof": image == -1.0}
    return min(parts, key=lambda name: off[parts[name]].mean())


def _example(*strengths: float, d: int = 7, k: int = 5) -> NDArray:
    """Return a matrix (d, k) with these min(d, k) singular values."""
    rng = np.random.default_rng(0)
    m = min(d, k)
    U, V = (np.linalg.qr(rng.standard_normal((n, m)))[0] for n in (d, k))
    return (U * strengths) @ V.T


def _strips(got: Any, d: int, k: int) -> tuple[NDArray, NDArray]:
    """Return two strips that belong to a (d, k) matrix, d ≠ k, or say what they are instead."""
    what = f"{len(got)} values" if isinstance(got, (tuple, list)) else type(got).__name__
    assert what == "2 values", f"return the two strips, lora_A and lora_B, got {what}"
    A, B = map(numbers, got, ("lora_A", "lora_B"))
    assert A.ndim == B.ndim == 2, f"both strips are matrices, got {A.shape} and {B.shape}"
    assert (len(A), B.shape[1]) != (d, k), "the two are swapped: lora_A comes first"
    fits = A.shape[1] == k and len(B) == d and len(A) == B.shape[1]
    assert fits, (
        f"lora_A is (r, {k}), lora_B ({d}, r), got {A.shape} and {B.shape}: do they lie on their "
        "side, or are they made from the page's numbers, not from what you were given?"
    )
    return A, B


@check
def check_axes(mirror: Any, shift: Any, flat: Any) -> None:
    """Each is the two singular values of its matrix in ``BY_HAND``, the longest axis first."""
    for name, given in zip(BY_HAND, (mirror, shift, flat), strict=True):
        matrix, right = map(np.array, BY_HAND[name])
        got = numbers(given, name)
        assert got.shape == (2,), f"{name}: give two lengths, in one list, got shape {got.shape}"
        asked = f"{name}: got [{got[0]:g}, {got[1]:g}]"
        assert (got >= 0).all(), f"{asked}: an axis is a length, and no length is negative"
        if np.allclose(got, right):
            continue
        slips = {
            "the longest comes first": right,
            "measure from the middle to the rim, not from rim to rim": 2 * right,
            "measure from the middle to the rim; that of the circle is 1": right / 2,
            "these are squares of lengths (or is your input longer than 1?)": right**2,
            "these are the eigenvalues. Where does (0, 1) go?": abs(np.linalg.eigvals(matrix)),
            "so long are its columns, the outputs of (1, 0) and (0, 1). Does an input between them "
            "come out longer?": np.linalg.norm(matrix, axis=0),
            "both columns add up to this, but an input of length 1 holds less than 1 of each": (
                np.abs(matrix).sum(axis=1)
            ),
            "so long are the outputs of (1, 1) and (-1, 1), which are longer than 1 themselves": (
                np.linalg.norm(matrix @ [[1, -1], [1, 1]], axis=0)
            ),
        }
        filled = np.where(np.eye(2) * (matrix == 0), 1, matrix)
        slips |= {
            "so it would be with ones on the diagonal, where zeros are": np.linalg.svd(filled)[1],
            "these are the axes of the page's M": [1.34, 0.45],
            **{f"these are the axes of {other}": BY_HAND[other][1] for other in BY_HAND},
        }
        for why, slip in slips.items():
            assert not np.allclose(np.sort(got), np.sort(slip), atol=0.01), f"{asked}: {why}"
        at_45 = length_at(matrix, 45)
        assert abs(got[0] - at_45) > 0.01, f"{asked}: so far comes the input at 45°. Try others"
        assert abs(got - right).max() > 0.3, (
            f"{asked}: nearly. Too few angles, or rounded? On paper it comes out exact"
        )
        asks = (
            "Which input of length 1 comes out longest, and how long is its output?",
            "What becomes of the input at a right angle to the one that comes out longest?",
        )
        wrong = [ask for ask, fits in zip(asks, np.isclose(got, right), strict=True) if not fits]
        columns = " and ".join(f"({x}, {y})" for x, y in matrix.T)
        raise AssertionError(
            f"{asked}: {'one of the two is right. ' * (len(wrong) == 1)}{' '.join(wrong)} "
            f"(1, 0) and (0, 1) become {columns}"
        )


# Ranks that a slip finds, from the singular values S and the error e that is allowed.
RANK_SLIPS: dict[str, Callable[[NDArray, float], int]] = {
    "the energy that may be lost is error**2, not error": (
        lambda S, e: lowrank.energy_rank(S, 1 - e)
    ),
    "too little: of the energy keep the share 1 - error**2": (
        lambda S, e: lowrank.energy_rank(S, (1 - e) ** 2)
    ),
    "one more would do: do you count, or take an index?": (
        lambda S, e: lowrank.energy_rank(S, 1 - e**2) - 1
    ),
    "one fewer would do: after r directions S[r:] is missing": (
        lambda S, e: lowrank.energy_rank(S, 1 - e**2) + 1
    ),
    "energy is the sum of *squares*": (
        lambda S, e: 1 + int(np.sum(np.cumsum(S) / np.sum(S) < 1 - e**2))
    ),
    "all that is left out counts together, not each σ alone": (
        lambda S, e: int(np.sum(S / np.linalg.norm(S) > e))
    ),
    "‖·‖ is the Frobenius norm, the root of Σσ²: not the largest σ alone": (
        lambda S, e: int(np.sum(S / S[0] > e))
    ),
    "the error is relative: compare with error · ‖M‖": (
        lambda S, e: sum(bool(np.linalg.norm(S[r:]) > e) for r in range(len(S)))
    ),
    "‖·‖ is the root of the sum of *squares*: not the sum of the lengths": (
        lambda S, e: sum(bool(S[r:].sum() > e * S.sum()) for r in range(len(S)))
    ),
}


@check
def check_compress(compress: Callable) -> None:
    """``compress(M, error)`` returns the thinnest strips with ‖M - BA‖ <= error ‖M‖."""
    pairs, flat, steep = (20, 20, 11, 11, 0.25), (4, 2, 2, 2, 2), (20, 10, 5, 3, 1)
    examples: list[tuple[tuple[float, ...], float]] = [
        (pairs, 0.5), (flat, 0.6), (steep, 0.1), (steep, 0.3), ((5, 5, *[4] * 40), 0.1)
    ]  # fmt: skip
    ranks, enough, problems = [], [], []
    for S, allowed in examples:
        d, k = (7, 5) if len(S) == 5 else (42, 45)
        M, asked = _example(*S, d=d, k=k), f"σ = {S[:5]}{' …' * (d > 7)}, error = {allowed}"
        A, B = _strips(call(compress, M=M, error=allowed), d, k)
        least, r = lowrank.energy_rank(S, 1 - allowed**2), len(A)
        error = np.linalg.norm(M - B @ A) / np.linalg.norm(M)
        ranks.append(r)
        enough.append(least)
        U, sigma, Vt = np.linalg.svd(M, full_matrices=False)
        best, used = np.linalg.norm(sigma[r:]) / np.linalg.norm(M), np.linalg.matrix_rank(B @ A)
        if error > allowed:
            problems.append(f"{asked}: r = {r} leaves a relative error of {error:.3g}")
            means = M.mean(axis=0), M.mean(axis=1, keepdims=True), M.mean()
            slips = [
                ("the lengths σ are missing", U[:, :r] @ Vt[:r]),
                ("each σ comes in twice", (U[:, :r] * sigma[:r] ** 2) @ Vt[:r]),
                ("the directions are the *rows* of Vt", (U[:, :r] * sigma[:r]) @ Vt[:, :r].T),
                *(
                    (
                        "M itself is asked for, not M less a mean",
                        lowrank.best_approximation(M - m, r),
                    )
                    for m in means
                ),
            ]
            for why, slip in slips:
                assert not np.allclose(B @ A, slip), f"{problems[0]}: {why}"
            assert r != least, (
                f"{problems[0]}, though r = {r} is enough: are these the strongest directions of M "
                "itself, the first columns of U and *rows* of Vt?"
            )
        elif r > least:
            problems.append(
                f"{asked}: r = {r} keeps to it, but r = {least} is thinner and does too"
            )
            assert used == r, f"{problems[0]}: your BA has rank {used} only; cut off what is zero"
            assert error < best + 1e-6, (
                f"{problems[0]}. The strongest {r} directions of M leave {best:.3g}, yours "
                f"{error:.3g}: are yours rows or columns of M, or another choice?"
            )
        if problems and len(ranks) == 4:  # what is thought too large does not exist in the fifth
            break
    for why, slip in RANK_SLIPS.items():
        found = [slip(np.array(S, dtype=float), e) for S, e in examples[: len(ranks)]]
        assert not problems or ranks != found, f"{problems[0]}: {why}"
    same = f"; r is {ranks[2]} for 0.1 and for 0.3: is error used, and the right way round?"
    told = f"; yours are {ranks}, enough are {enough}: which do you try? Is anything rounded?"
    assert not problems, problems[0] + (same if ranks[2] == ranks[3] else told)


@check
def check_companion(companion: Callable) -> None:
    """``companion(lora_A, lora_B)`` is another update of rank r; the sum of both has rank r."""
    rng = np.random.default_rng([3, 1, 4])  # no answer that draws its strips gets these

    def rank(M: NDArray) -> int:
        return int(np.linalg.matrix_rank(M, tol=1e-6 * np.linalg.norm(M)))  # float32 will do

    for d, k, r in [(7, 5, 2), (6, 9, 3)]:
        A, B = rng.standard_normal((r, k)), rng.standard_normal((d, r))
        other_A, other_B = _strips(call(companion, lora_A=A, lora_B=B), d, k)
        first, second = B @ A, other_B @ other_A
        asked = f"for strips of rank {r}"
        own, both = rank(second), rank(first + second)
        assert own == r, f"{asked} your update has rank {own}: it must have {r} as well"
        assert len(other_A) == r, f"{asked} your strips take {len(other_A)} rows: {r} are enough"
        factor = float(np.sum(first * second) / np.sum(first**2))
        assert np.linalg.norm(second - factor * first) > 1e-6 * np.linalg.norm(second), (
            f"{asked} yours is the first one, {factor:.3g} times: make another"
        )
        assert both <= r, (
            f"{asked} the sum has rank {both}, and should have {r}. All rows of the first are "
            "mixtures of the rows of its lora_A. Which rows may those of yours be mixed from?"
        )
        assert both == r, (
            f"{asked} the sum has rank {both}: a direction of yours takes away one of the first. "
            "Choose other numbers"
        )
