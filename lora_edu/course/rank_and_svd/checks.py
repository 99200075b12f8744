"""Checks: axes by hand, a picture in thin strips, a companion of an update."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_edu import lowrank
from lora_edu.course import checks as tools

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
    """Return the part of ``figures.picture()`` that its four strongest pieces show best."""
    off = abs(image - lowrank.best_approximation(image, 4))
    parts = {"windows": image == 0.9, "sun": image == 1.0, "roof": image == -1.0}
    return min(parts, key=lambda name: off[parts[name]].mean())


def _example(*strengths: float, d: int = 7, k: int = 5) -> NDArray:
    """Return a matrix (d, k) with these min(d, k) singular values."""
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((n, min(d, k))))[0] for n in (d, k))
    return (U * strengths) @ V.T


@tools.check
def check_axes(mirror: Any, shift: Any, flat: Any) -> None:
    """Each is the two singular values of its matrix in ``BY_HAND``, the longest axis first."""
    for name, given in zip(BY_HAND, (mirror, shift, flat), strict=True):
        matrix, right = map(np.array, BY_HAND[name])
        got = tools.numbers(given, name)
        assert got.shape == (2,), f"{name}: give two lengths, in one list, got shape {got.shape}"
        asked = f"{name}: got [{got[0]:g}, {got[1]:g}]"
        assert (got >= 0).all(), f"{asked}: an axis is a length, and no length is negative"
        if np.allclose(got, right):
            continue
        filled = np.where(np.eye(2) * (matrix == 0), 1, matrix)
        between = "so long are its columns, the outputs of (1, 0) and (0, 1). Does an input between"
        slips = {
            "the longest comes first": right,
            "measure from the middle to the rim, not from rim to rim": 2 * right,
            "measure from the middle to the rim; that of the circle is 1": right / 2,
            "these are squares of lengths (or is your input longer than 1?)": right**2,
            "these are the eigenvalues. Where does (0, 1) go?": abs(np.linalg.eigvals(matrix)),
            f"{between} them come out longer?": np.linalg.norm(matrix, axis=0),
            "both columns add up to this, but an input of length 1 holds less than 1 of each": (
                abs(matrix).sum(axis=1)
            ),
            "so long are the outputs of (1, 1) and (-1, 1), which are longer than 1 themselves": (
                np.linalg.norm(matrix @ [[1, -1], [1, 1]], axis=0)
            ),
            "so it would be with ones on the diagonal, where zeros are": (
                np.linalg.svd(filled, compute_uv=False)
            ),
            "these are the axes of the page's M": (1.34, 0.45),
        }
        slips |= {f"these are the axes of {other}": axes for other, (_, axes) in BY_HAND.items()}
        tools.slip(got, slips.items(), f"{asked}: ", lambda axes: np.sort(axes).round(2))
        at_45 = f"{asked}: so far comes the input at 45°. Try others"
        assert abs(got[0] - length_at(matrix, 45)) > 0.01, at_45
        nearly = f"{asked}: nearly. Too few angles, or rounded? On paper it comes out exact"
        assert abs(got - right).max() > 0.3, nearly
        first = "Which input of length 1 comes out longest, and how long is its output?"
        second = "What becomes of the input at a right angle to the one that comes out longest?"
        fits = np.isclose(got, right)
        ask = f"one of the two is right. {second if fits[0] else first}"
        columns = " and ".join(f"({x}, {y})" for x, y in matrix.T)
        raise AssertionError(
            f"{asked}: {ask if fits.any() else f'{first} {second}'} "
            f"(1, 0) and (0, 1) become {columns}"
        )


def _left(S: NDArray, power: int = 2) -> NDArray:
    """Return what r = 0, 1, ... directions leave: the sums of S[r:] ** power."""
    return np.cumsum(S[::-1] ** power)[::-1]


def _rank_slips(S: NDArray, e: float) -> dict[str, int]:
    """Return the ranks that slips find, from the singular values and the error that is allowed."""
    energy, lengths = _left(S), _left(S, 1)
    enough = sum(energy > e**2 * energy[0])
    return {
        "the energy that may be lost is error**2, not error": sum(energy > e * energy[0]),
        "too little: of the energy keep the share 1 - error**2": (
            sum(energy > (1 - (1 - e) ** 2) * energy[0])
        ),
        "one more would do: do you count, or take an index?": enough - 1,
        "one fewer would do: after r directions S[r:] is missing": enough + 1,
        "energy is the sum of *squares*": sum(lengths > e**2 * lengths[0]),
        "all that is left out counts together, not each σ alone": sum(e * energy[0] ** 0.5 < S),
        "‖·‖ is the Frobenius norm, the root of Σσ²: not the largest σ alone": sum(e * S[0] < S),
        "the error is relative: compare with error · ‖M‖": sum(energy > e**2),
        "‖·‖ is the root of the sum of *squares*: not the sum of the lengths": (
            sum(lengths > e * lengths[0])
        ),
    }


@tools.check
def check_compress(compress: Callable) -> None:
    """``compress(M, error)`` returns the thinnest strips with ‖M - BA‖ <= error ‖M‖."""
    pairs, flat, steep = (20, 20, 11, 11, 0.25), (4, 2, 2, 2, 2), (20, 10, 5, 3, 1)
    many = (5, 5, *[4] * 40)
    examples = [(steep, 0.1), (steep, 0.3), (pairs, 0.5), (flat, 0.6), (many, 0.1)]
    ranks, enough, problem = [], [], ""
    for S, allowed in examples:
        d, k = (7, 5) if len(S) == 5 else (42, 45)
        M, asked = _example(*S, d=d, k=k), f"σ = {S[:5]}{' …' if d > 7 else ''}, error = {allowed}"
        A, B = tools.strips(tools.call(compress, M=M, error=allowed), d, k)
        least, r = lowrank.energy_rank(S, 1 - allowed**2), len(A)
        error = np.linalg.norm(M - B @ A) / np.linalg.norm(M)
        ranks.append(r)
        enough.append(least)
        if error <= allowed and r == least:
            continue
        says = f"{asked}: r = {r} leaves a relative error of {error:.3g}"
        if error <= allowed:
            says = f"{asked}: r = {r} keeps to it, but r = {least} is thinner and does too"
        try:
            tools.compare_cut(B @ A, M, r)
        except AssertionError as why:
            raise AssertionError(f"{says}: {why}") from None
        problem = problem or says
        if len(ranks) == 4:  # what is thought too large does not exist in the fifth
            break
    if not problem:
        M = np.eye(5, 4) * (3, 1, 1, 1)  # of which all sums, roots and shares are exact
        r = len(tools.strips(tools.call(compress, M=M, error=0.5), 5, 4)[0])
        assert r == 1, f"σ = (3, 1, 1, 1), error = 0.5: r = 1 leaves just 0.5, and <=, got r = {r}"
        return
    slips = [_rank_slips(np.array(S, dtype=float), e) for S, e in examples[: len(ranks)]]
    for why in slips[0]:
        assert ranks != [found[why] for found in slips], f"{problem}: {why}"
    used = f"r is {ranks[0]} for 0.1 and for 0.3: is error used, and the right way round?"
    assert ranks[0] != ranks[1], f"{problem}; {used}"
    raise AssertionError(f"{problem}; yours are {ranks}, enough are {enough}: which do you try?")


@tools.check
def check_companion(companion: Callable) -> None:
    """``companion(lora_A, lora_B)`` is another update of rank r; the sum of both has rank r."""
    rng = np.random.default_rng([3, 1, 4])  # no answer that draws its strips gets these

    def rank(M: NDArray) -> int:
        return int(np.linalg.matrix_rank(M, tol=1e-6 * np.linalg.norm(M)))  # float32 will do

    for d, k, r in [(7, 5, 2), (6, 9, 3)]:
        A, B = rng.standard_normal((r, k)), rng.standard_normal((d, r))
        other_A, other_B = tools.strips(tools.call(companion, lora_A=A, lora_B=B), d, k)
        first, second = B @ A, other_B @ other_A
        asked = f"for strips of rank {r}"
        own, both = rank(second), rank(first + second)
        assert own == r, f"{asked} your update has rank {own}: it must have {r} as well"
        assert len(other_A) == r, f"{asked} your strips take {len(other_A)} rows: {r} are enough"
        factor = tools.as_sum(second, {"the first": first})
        same = f"{asked} yours is the first one, {sum(factor.values()):.3g} times: make another"
        assert not factor, same
        assert both <= r, (
            f"{asked} the sum has rank {both}, and should have {r}. All rows of the first are "
            "mixtures of the rows of its lora_A. Which rows may those of yours be mixed from?"
        )
        assert both == r, (
            f"{asked} the sum has rank {both}: a direction of yours takes away one of the first. "
            "Choose other numbers"
        )
