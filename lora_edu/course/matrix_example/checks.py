"""Checks: letters from two rows, the last rank that pays, another adapter, another pair."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_edu.course import checks as tools

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


def _strips(d: int, k: int, r: int, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Return lora_A (r, k), lora_B (d, r) of quarters: exact to compare, and lost by rounding."""
    rng = np.random.default_rng(seed)
    return rng.integers(1, 33, (r, k)) / 4, rng.integers(1, 33, (d, r)) / 4


@tools.check
def check_hi(lora_A: Any, lora_B: Any) -> None:
    """``lora_B @ lora_A`` is ``HI``, with r = 2."""
    A, B = _table(lora_A, "hi_A"), _table(lora_B, "hi_B")
    (d, k), r = HI.shape, 2
    (used, width), (lines, thick) = A.shape, B.shape
    swapped = (A.shape, B.shape) == ((d, r), (r, k))
    assert not swapped, f"the two are swapped: hi_B is ({d}, {r}), on the left, hi_A is ({r}, {k})"
    assert (A.shape, B.shape) != ((k, r), (r, d)), "both lie on their side: write rows for columns"
    assert width == k, f"a row of hi_A is as long as a line of HI, {k} numbers: yours have {width}"
    empty = f"hi_B has {d} rows, one for each line of HI, the empty one too: yours has {lines}"
    assert lines == d, empty
    assert thick == used, f"r differs: hi_A has {used} rows, hi_B {thick} columns"
    assert used != 1, "one row can only be repeated, larger or smaller: HI has different rows"
    assert used == r, (
        f"r = {used} takes {used * (d + k)} numbers for a picture of {d * k}; two rows are enough: "
        "which row is the sum of two others?"
    )
    mixed = B @ A
    wrong = np.flatnonzero(~np.isclose(mixed, HI).all(axis=1))
    if not len(wrong):
        return
    why = "Each row of hi_B says how much to take of the rows of hi_A"
    if abs(mixed - HI).max() < 0.4:
        why = "All is nearly right: is it rounded?"
    elif sorted(mixed.tolist()) == sorted(HI.tolist()):
        why = "All lines are there, in another order: H stands above I"
    elif (A[0] * A[1]).any():
        why += ". Where your two overlap they add up; you may take away, too"
    yours = " ".join(f"{number:g}" for number in mixed[wrong[0]])
    wanted = " ".join(map(str, HI[wrong[0]]))
    line = f"line {wrong[0] + 1} of the seven is {wanted}; your hi_B mixes {yours} there"
    raise AssertionError(f"{line}. {why}")


def _table(strip: Any, name: str) -> NDArray:
    try:
        table = tools.numbers(strip, name)
    except AssertionError:  # text, a hole, rows of different lengths
        table = np.zeros(0)
    assert table.ndim == 2, (
        f"{name} must be a table, a list of rows: [[1, 0, …], [0, 1, …], …]. All its rows are of "
        "one length and hold numbers, not text, with no ? or … left in them; a row of hi_B holds "
        "one for each row of hi_A"
    )
    return table


@tools.check
def check_largest_saving_rank(largest_saving_rank: Callable) -> None:
    """``largest_saving_rank(d, k)`` is the largest r with r (d + k) < d k."""
    for d, k in [(80, 30), (100, 100), (13, 4), (20, 5), (2, 2), (4096, 1024), (100, 9901)]:
        full, both = d * k, d + k
        got, right = tools.call(largest_saving_rank, d=d, k=k), (full - 1) // both
        asked, near = f"largest_saving_rank({d}, {k})", tools.number(got, "the rank")
        hint = "int() rounds down" if abs(near - full / both) < 1 else "is this a rank at all?"
        got = tools.whole(got, f"{asked}: a rank", f": {hint}")
        counts = f"{asked}: at r = {got} the strips have {got * both:,} numbers, ΔW {full:,}"
        equal = f"{counts}: nothing is saved yet. This happens where d is not k, too"
        assert got * both != full, equal
        slips = {
            **dict.fromkeys((d // 2, k // 2, d // 2 - 1, k // 2 - 1), "that is for squares alone"),
            **dict.fromkeys(((full - k - 1) // d, (full - d - 1) // k), "d + k needs its brackets"),
            min(d, k): "that is the largest rank there is: do its strips save?",
            9_999 // both: "that is for the page's 100 × 100: use d and k",
            full // both - 1: "take 1 (or less) off only where both counts are equal",
            right + 1: "one less is right: round down, and let a loop stop one earlier",
        }
        same = tools.ignored(largest_saving_rank, {"d": d, "k": k}, {"d": 7 * d, "k": 7 * k})
        close = "is it divided by d + k?" if got > right else "does a loop end too early?"
        why = slips.get(got, same or close)
        assert got <= right, f"{counts}: {why}"
        more = f"r = {got + 1} saves as well, {(got + 1) * both:,} < {full:,}"
        assert got == right, f"{asked}: r = {got} saves, but {more}: {why}"


@tools.check
def check_swap(swap: Callable) -> None:
    """``swap(W, old_A, old_B, new_A, new_B)`` puts the new update in the old one's place."""
    # All square first: there a product in the wrong order has the right shape, and can be named.
    for d, k, r, new_r in [(6, 6, 6, 6), (6, 5, 2, 3)]:
        (old_A, old_B), (new_A, new_B) = _strips(d, k, r), _strips(d, k, new_r, seed=1)
        pairs = {"old_A": old_A, "old_B": old_B, "new_A": new_A, "new_B": new_B}
        old, new = old_B @ old_A, new_B @ new_A
        W = np.random.default_rng(2).integers(-40, 40, (d, k)) / 8
        got = tools.call(swap, W=W, **pairs)
        got = tools.shaped(got, (d, k), "W")
        parts = {"W": W, "old_B @ old_A": old, "new_B @ new_A": new}
        others = {"W.T": W.T, "the old update turned": old.T}
        others = tools.products(**pairs) | others if d == k == r else {}
        # Column times row: how often is each of them in it?
        B, A = np.hstack([old_B, new_B]), np.vstack([old_A, new_A])
        weaves = np.einsum("dr,rk->rdk", B, A)
        used = tools.as_sum(got - W, dict(enumerate(weaves)))
        times = [used.get(n, 0) for n in range(r + new_r)]
        even = len({*times[:r]}) == len({*times[r:]}) == 1
        assert even, (
            f"not all columns of old_B and new_B are in it, only {[*used]} of all "
            f"{r + new_r}: does a loop or a slice leave some out?"
        )
        tools.compare_sum(got, {"W": 1, "old_B @ old_A": -1, "new_B @ new_A": 1}, parts, others)


@tools.check
def check_other_pair(other_pair: Callable) -> None:
    """``other_pair(lora_A, lora_B)``: every number another, and the same product."""
    for d, k, r in [(3, 3, 3), (6, 5, 2), (4, 7, 1)]:
        A, B = _strips(d, k, r)
        pair = tools.call(other_pair, lora_A=A, lora_B=B)
        names = "the other lora_A", "the other lora_B"
        other_A, other_B = tools.several(pair, names)
        other_A = tools.shaped(other_A, A.shape, names[0])
        other_B = tools.shaped(other_B, B.shape, names[1])
        product, right = other_B @ other_A, B @ A
        both = ", and so is lora_B" if np.array_equal(other_B, B) else ""
        if r == 1:
            both += ": a single row has no others to change places with, or to be mixed from"
        assert not np.array_equal(other_A, A), f"for r = {r} lora_A is as it was{both}"
        if d == k == r:
            turned = "this is the product turned over, (BA)ᵀ: the strips keep their places"
            order = "return the other lora_A first, then the other lora_B"
            tools.slip(product, [(f"the strips changed places: {order}", A @ B), (turned, right.T)])
        # Every strip of the same span is a mixture: other_A = N @ A, other_B = B @ M.
        M, N = np.linalg.pinv(B) @ other_B, other_A @ np.linalg.pinv(A)
        why = ". Is all that M does on the right of B undone on the left of A, (B M)(M⁻¹ A)?"
        if np.allclose(N, N[0, 0] * np.eye(r)):
            factor = f"lora_A is {N[0, 0]:.3g} times what it was"
            why = f": {factor}, so lora_B has to be divided by that"
        elif np.ptp(other_A - A) < 1e-9:
            why = ". What is added here cannot be subtracted there: the strips are multiplied"
        elif np.allclose(M, N):
            why = ". You mix both by the same M: one needs its inverse"
        elif np.allclose(M, N.T):
            why = ". The transpose undoes a rotation alone: one needs the inverse of M"
        tools.compare(product, right, "(other_B @ other_A)", why)
        kept = np.all(other_A == A, axis=1)
        same = int(np.sum(other_A == A) + np.sum(other_B == B))
        where = f": row {kept.argmax()} of lora_A, say, is as it was" if kept.any() else ""
        assert same == 0, f"the product is right, but {same} numbers stand where they stood{where}"
