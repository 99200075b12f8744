"""Checks: letters from two rows, the last rank that pays, another adapter, another pair."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_edu.course.checks import call, check, compare, numbers

# H above I, 7 x 3: every row is a mixture of 1 0 1 and 0 1 0.
HI = np.array(
    [[1, 0, 1], [1, 1, 1], [1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 1, 1]]
)  # fmt: skip
# More letters of 3 x 3. The same two rows write all but one.
LETTERS = {
    "T": np.array([[1, 1, 1], [0, 1, 0], [0, 1, 0]]),
    "L": np.array([[1, 0, 0], [1, 0, 0], [1, 1, 1]]),
    "X": np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]]),
    "U": np.array([[1, 0, 1], [1, 0, 1], [1, 1, 1]]),
}


def drawing(*pictures: NDArray) -> str:
    """Draw pictures of as many rows side by side, a block for each 1."""
    rows = zip(*pictures, strict=True)
    return "\n".join("     ".join(" ".join("·█"[n] for n in part) for part in row) for row in rows)


def letter_that_needs_more() -> str:
    """Return the letter of ``LETTERS`` whose rows are no mixtures of 1 0 1 and 0 1 0."""
    pair = [[1, 0, 1], [0, 1, 0]]
    return max(LETTERS, key=lambda one: np.linalg.matrix_rank(np.vstack([pair, LETTERS[one]])))


def rank_when_shuffled(matrix: NDArray) -> int:
    """Return the rank of a matrix whose rows and columns were put in random order."""
    rng = np.random.default_rng(0)
    return int(np.linalg.matrix_rank(rng.permutation(rng.permutation(matrix).T)))


def _strips(d: int, k: int, r: int, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Return lora_A (r, k), lora_B (d, r) of quarters: exact to compare, and lost by rounding."""
    rng = np.random.default_rng(seed)
    return rng.integers(1, 33, (r, k)) / 4, rng.integers(1, 33, (d, r)) / 4


@check
def check_hi(lora_A: Any, lora_B: Any) -> None:
    """``lora_B @ lora_A`` is ``HI``, with r = 2."""
    tables = []
    for name, strip in (("hi_A", lora_A), ("hi_B", lora_B)):
        try:
            tables.append(np.array(strip, dtype=float))
        except (TypeError, ValueError):
            tables.append(np.zeros(0))
        assert tables[-1].ndim == 2, (
            f"{name} must be a table, a list of rows: [[1, 0, …], [0, 1, …], …]. All its rows are "
            "of one length and hold numbers, not text, with no ? or … left in them; a row of hi_B "
            "holds one for each row of hi_A"
        )
    (A, B), (d, k), r = tables, HI.shape, 2
    assert not (A.shape == (d, r) and B.shape == (r, k)), (
        f"the two are swapped: hi_B is ({d}, {r}) and stands on the left, hi_A is ({r}, {k})"
    )
    assert (A.shape, B.shape) != ((k, r), (r, d)), "both lie on their side: write rows for columns"
    (used, width), (lines, thick) = A.shape, B.shape
    assert width == k, f"a row of hi_A is as long as a line of HI, {k} numbers: yours have {width}"
    assert lines == d, (
        f"hi_B has {d} rows, one for each line of HI, the empty one too: yours has {lines}"
    )
    assert thick == used, f"r differs: hi_A has {used} rows, hi_B {thick} columns"
    assert used != 1, "one row can only be repeated, larger or smaller: HI has different rows"
    assert used == r, (
        f"r = {used} takes {used * (d + k)} numbers for a picture of {d * k}; two rows are enough: "
        "which row is the sum of two others?"
    )
    wrong = np.argwhere(~np.isclose(B @ A, HI).all(axis=1)).ravel()
    if len(wrong):
        row, off = int(wrong[0]), abs(B @ A - HI).max()
        mixed = " ".join(f"{number:g}" for number in (B @ A)[row])
        wanted = " ".join(str(number) for number in HI[row])
        why = "Each row of hi_B says how much to take of the rows of hi_A"
        if off < 0.4:
            why = "All is nearly right: is it rounded?"
        elif sorted((B @ A).tolist()) == sorted(HI.tolist()):
            why = "All lines are there, in another order: H stands above I"
        elif (A[0] * A[1]).any():
            why += ". Where your two overlap they add up; you may take away, too"
        raise AssertionError(
            f"line {row + 1} of the seven is {wanted}; your hi_B mixes {mixed} there. {why}"
        )


@check
def check_largest_saving_rank(largest_saving_rank: Callable) -> None:
    """``largest_saving_rank(d, k)`` is the largest r with r (d + k) < d k."""
    for d, k in [(80, 30), (100, 100), (13, 4), (20, 5), (2, 2), (4096, 1024), (100, 9901)]:
        full, thick = d * k, d + k
        got, right = call(largest_saving_rank, d=d, k=k), (full - 1) // thick
        asked, value = f"largest_saving_rank({d}, {k})", numbers(got, "the rank")
        assert value.ndim == 0, f"return one rank, the largest, got a {type(got).__name__} of them"
        hint = "int() rounds down" if abs(value - full / thick) < 1 else "is this a rank at all?"
        assert isinstance(got, (int, np.integer)), (
            f"{asked}: a rank is a whole number of type int, got {got}: {hint}"
        )
        if got == right:
            continue
        square = np.array_equal(call(largest_saving_rank, d=100, k=100), 49)
        close = {min(d, k), min(d, k) - 1, (full - k - 1) // d, (full - d - 1) // k}
        halves = {side // 2 - less for side in (d, k, thick // 2) for less in (0, 1)}
        slips = {
            "; one less is right: round down, and let a loop stop one earlier": {right + 1},
            "; take 1 (or less) off only where both counts are equal": {full // thick - 1},
            "; is that for the page's 100 × 100? Use d and k": {49, 9_999 // thick},
            "; half a side (or of both, in the mean) is right for squares alone": halves,
            "; is it nearly the largest rank there is? Or r d + k, without the brackets?": close,
            "; go on after the first": {0, 1},
        }
        why = next((why for why, ranks in slips.items() if got in ranks), "")
        if not why and got > min(d, k):
            why = f"; no rank is above {min(d, k)}, the shorter side: did you divide by (d + k)?"
        elif not why and square and k < 100:
            why = "; yours is right for 100 × 100: is it made for squares alone?"
        both = "; you minded it for squares: it happens with others, too" * (square and d != k)
        assert got * thick != full, (
            f"{asked}: at r = {got} both counts are {full:,}: nothing is saved yet{both}"
        )
        assert got < right, f"{asked}: r = {got} takes {got * thick:,} numbers, ΔW {full:,}{why}"
        raise AssertionError(
            f"{asked}: r = {got} saves, but r = {got + 1} saves as well: {(got + 1) * thick:,} < "
            f"{full:,}{why or '; does a search end too early?'}"
        )


# How often W0, the old update and the new one are in an answer: 1, 0, 1 is right.
TIMES = {
    "1, 1, 1": "both updates are in it: take the old one out",
    "1, 0, 0": "the old update is out, the new one is not in",
    "1, 1, 0": "nothing has changed: this is W",
    "0, 0, 1": "this is the new update alone: W0 is lost",
    "1, 2, -1": "the old update was put in once more, and the new one taken out",
    "1, 2, 1": "the old update was put in once more, and the new one as well",
    "1, 0, -1": "the new update is subtracted: it must be added",
    "0, -1, 1": "the difference of the two updates, without W",
}


@check
def check_swap(swap: Callable) -> None:
    """``swap(W, old_A, old_B, new_A, new_B)`` puts the new update in the old one's place."""
    # All square first: there a product in the wrong order has the right shape, and can be named.
    for d, k, r, new_r in [(4, 4, 4, 4), (6, 5, 2, 3)]:
        (old_A, old_B), (new_A, new_B) = _strips(d, k, r), _strips(d, k, new_r, seed=1)
        W0 = np.arange(d * k).reshape(d, k) / 8
        W = W0 + old_B @ old_A
        got = call(swap, W=W, old_A=old_A, old_B=old_B, new_A=new_A, new_B=new_B)
        assert isinstance(got, np.ndarray), f"return one array, got {type(got).__name__}"
        assert got.shape == (d, k), f"W is ({d}, {k}), and so is what comes back, got {got.shape}"
        old, new = old_B @ old_A, new_B @ new_A
        # If W0 and the parts of both updates, column times row, make got: how often is each in it?
        weaves = [*np.einsum("dr,rk->rdk", old_B, old_A), *np.einsum("dr,rk->rdk", new_B, new_A)]
        parts = np.reshape([W0, *weaves], (1 + r + new_r, d * k)).T
        times = np.linalg.lstsq(parts, got.ravel(), rcond=None)[0].round(3) + 0
        if np.allclose(parts @ times, got.ravel()):
            split = np.split(times, [1, 1 + r])
            told = ", ".join("/".join(f"{n:g}" for n in dict.fromkeys(part)) for part in split)
            assert told == "1, 0, 1", TIMES.get(told) or (
                "W0, the old update and the new one should be in it 1, 0, 1 times, and are "
                f"{told}: is one scaled, by 1 / r, say? Or, at a /, does a loop or slice leave out "
                "columns of lora_B?"
            )
        if d == k == r:
            assert not np.allclose(got, W + (new_B - old_B) @ (new_A - old_A)), (
                "the strips were subtracted, not their products: B A - D C is not (B - D)(A - C)"
            )
            crossed = "made of two pairs, the lora_B of one and the lora_A of the other"
            for mistake, out, into in [
                (crossed, old_B @ new_A, new_B @ old_A),
                (crossed, new_B @ old_A, old_B @ new_A),
                ("in the wrong order: the update is lora_B @ lora_A", old_A @ old_B, new_A @ new_B),
                ("transposed: add lora_B @ lora_A as it is", old.T, new.T),
                ("made cell by cell: use @, not *", old_B * old_A, new_B * new_A),
            ]:
                for slip in (W - out + into, W - out + new, W0 + into):
                    assert not np.allclose(got, slip), f"a product is {mistake}"
        compare(got, W0 + new, "W", ": is it rounded?" * (float(abs(got - W0 - new).max()) < 0.6))


@check
def check_other_pair(other_pair: Callable) -> None:
    """``other_pair(lora_A, lora_B)``: every number another, and the same product."""
    for d, k, r in [(3, 3, 3), (6, 5, 2), (4, 7, 1)]:
        A, B = _strips(d, k, r)
        pair = call(other_pair, lora_A=A, lora_B=B)
        two = isinstance(pair, (tuple, list)) and len(pair) == 2
        got = f"{type(pair).__name__} of length {len(pair)}" if hasattr(pair, "__len__") else pair
        assert two, f"return two arrays, the other lora_A and the other lora_B, got {got}"
        other_A, other_B = map(numbers, pair, ("the other lora_A", "the other lora_B"))
        shapes = other_A.shape, other_B.shape
        assert shapes == (A.shape, B.shape), (
            f"for strips of {A.shape} and {B.shape} you return {shapes[0]} and {shapes[1]}"
        )
        product, right = other_B @ other_A, B @ A
        both = ", and so is lora_B" if np.array_equal(other_B, B) else ""
        both += ": a single row has no others to change places with, or to be mixed from" * (r == 1)
        assert not np.array_equal(other_A, A), f"for r = {r} lora_A is as it was{both}"
        if d == k == r:
            assert not np.allclose(product, A @ B), (
                "the strips changed places: return the other lora_A first, then the other lora_B"
            )
            assert not np.allclose(product, right.T), "this is the product turned over, (BA)ᵀ"
            assert not np.allclose(product, (A @ B).T), "both strips lie on their side: no .T"
        factor = other_A[0, 0] / A[0, 0]
        if factor and np.allclose(other_A, factor * A):
            why = f": lora_A is {factor:.3g} times what it was, so lora_B has to be divided by that"
            compare(other_B, B / factor, "the other lora_B", why)
        # Every strip of the same span is a mixture: other_B = B @ M, other_A = N @ A.
        M, N = np.linalg.pinv(B) @ other_B, other_A @ np.linalg.pinv(A)
        why = ". Is all that M does on the right of B undone on the left of A, (B M)(M⁻¹ A)?"
        if np.allclose(B @ M, other_B) and np.allclose(N @ A, other_A):
            if np.allclose(M, N):
                why = ". You mix both by the same M: one needs its inverse"
            elif np.allclose(M, N.T):
                why = ". The transpose undoes a rotation alone: one needs the inverse of M"
        if np.ptp(other_A - A) < 1e-9:
            why = ". What is added here cannot be subtracted there: the strips are multiplied"
        compare(product, right, "(other_B @ other_A)", why)
        same, kept = int(np.sum(other_A == A) + np.sum(other_B == B)), np.all(other_A == A, axis=1)
        where = f": row {kept.argmax()} of lora_A, say, is as it was" * bool(kept.any())
        assert same == 0, f"the product is right, but {same} numbers stand where they stood{where}"
