"""Checks: letters from two rows, the last rank that pays, another adapter, another pair."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_edu.course.checks import call, check, compare

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
    """Return lora_A (r, k), lora_B (d, r) of small whole numbers from 1: exact to compare."""
    rng = np.random.default_rng(seed)
    return rng.integers(1, 9, (r, k)).astype(float), rng.integers(1, 9, (d, r)).astype(float)


@check
def check_hi(lora_A: Any, lora_B: Any) -> None:
    """``lora_B @ lora_A`` is ``HI``, with r = 2."""
    try:
        A, B = np.array(lora_A, dtype=float), np.array(lora_B, dtype=float)
    except (TypeError, ValueError):
        raise AssertionError(
            "each strip is a full table of numbers: rows of one length, no ? or … left in it"
        ) from None
    (d, k), r = HI.shape, 2
    assert A.ndim == B.ndim == 2, f"both strips are tables, got shapes {A.shape} and {B.shape}"
    assert not (A.shape == (d, r) and B.shape == (r, k)), (
        f"the two are swapped: hi_B is ({d}, {r}) and stands on the left, hi_A is ({r}, {k})"
    )
    assert A.shape[1] == k, f"hi_A must have {k} columns, as the letters have, got {A.shape}"
    assert B.shape[0] == d, f"hi_B must have {d} rows, one for each row of HI, got {B.shape}"
    used = A.shape[0]
    assert B.shape[1] == used, f"r differs: hi_A has {used} rows, hi_B {B.shape[1]} columns"
    assert used != 1, "one row can only be repeated, larger or smaller: HI has different rows"
    assert used == r, (
        f"r = {used} takes {used * (d + k)} numbers for a picture of {d * k}; two rows are enough: "
        "which row is the sum of two others?"
    )
    wrong = np.argwhere(~np.isclose(B @ A, HI).all(axis=1)).ravel()
    if len(wrong):
        row = int(wrong[0])
        mixed = " ".join(f"{number:g}" for number in (B @ A)[row])
        wanted = " ".join(str(number) for number in HI[row])
        raise AssertionError(
            f"line {row + 1} of the seven is {wanted}; your hi_B mixes {mixed} there. "
            "Each row of hi_B says how much to take of the rows of hi_A"
        )


@check
def check_largest_saving_rank(largest_saving_rank: Callable) -> None:
    """``largest_saving_rank(d, k)`` is the largest r with r (d + k) < d k."""
    for d, k, right in [(100, 100, 49), (4096, 1024, 819), (768, 768, 383), (50, 30, 18)]:
        got = call(largest_saving_rank, d=d, k=k)
        asked = f"largest_saving_rank({d}, {k})"
        assert isinstance(got, (int, np.integer)), (
            f"{asked}: a rank is a whole number of type int, got {got!r}"
        )
        assert got != min(d, k), f"{asked}: {got} is the largest rank there is; does it save?"
        assert got * (d + k) != d * k, (
            f"{asked}: at r = {got} both counts are {d * k:,}: nothing is saved yet"
        )
        assert got * (d + k) < d * k, (
            f"{asked}: r = {got} needs {got * (d + k):,} numbers, ΔW has only {d * k:,}"
        )
        assert got >= right, (
            f"{asked}: r = {got} saves, but r = {got + 1} saves as well: "
            f"{(got + 1) * (d + k):,} < {d * k:,}"
        )


@check
def check_swap(swap: Callable) -> None:
    """``swap(W, old_A, old_B, new_A, new_B)`` puts the new update in the old one's place."""
    # All square first: there a product in the wrong order has the right shape, and can be named.
    for d, k, r in [(4, 4, 4), (6, 5, 2)]:
        (old_A, old_B), (new_A, new_B) = _strips(d, k, r), _strips(d, k, r, seed=1)
        W0 = np.arange(d * k, dtype=float).reshape(d, k)
        W = W0 + old_B @ old_A
        got = call(swap, W=W, old_A=old_A, old_B=old_B, new_A=new_A, new_B=new_B)
        assert isinstance(got, np.ndarray), f"it must return an array, got {type(got).__name__}"
        assert got.shape == (d, k), f"W is ({d}, {k}), and so is what comes back, got {got.shape}"
        old, new = old_B @ old_A, new_B @ new_A
        slips = {
            "both updates are in it: take the old one out": W + new,
            "the old update is out, the new one is not in": W0,
            "nothing has changed: this is W": W,
            "this is the new update alone: W0 is lost": new,
            "the old update was put in once more, and the new one taken out": W + old - new,
            "the old update was put in once more, and the new one as well": W + old + new,
            "the new update is subtracted: it must be added": W0 - new,
            "the difference of the two updates, without W": new - old,
            "the strips were subtracted, not their products: B A - D C is not (B - D)(A - C)": (
                W + (new_B - old_B) @ (new_A - old_A)
            ),
        }
        if d == k == r:
            message = "a product is in the wrong order: the update is lora_B @ lora_A"
            slips[message] = W - old_A @ old_B + new_A @ new_B
        for mistake, slip in slips.items():
            assert not np.allclose(got, slip), mistake
        compare(got, W0 + new, "W")


@check
def check_other_pair(other_pair: Callable) -> None:
    """``other_pair(lora_A, lora_B)``: every number another, and the same product."""
    for d, k, r in [(3, 3, 3), (6, 5, 2), (4, 7, 1)]:
        A, B = _strips(d, k, r)
        pair = call(other_pair, lora_A=A, lora_B=B)
        two = isinstance(pair, (tuple, list)) and len(pair) == 2
        got = f"{type(pair).__name__} of length {len(pair)}" if hasattr(pair, "__len__") else pair
        assert two, f"return two arrays, the other lora_A and the other lora_B, got {got}"
        other_A, other_B = (np.asarray(strip, dtype=float) for strip in pair)
        shapes = other_A.shape, other_B.shape
        assert shapes == (A.shape, B.shape), (
            f"for strips of {A.shape} and {B.shape} you return {shapes[0]} and {shapes[1]}"
        )
        product, right = other_B @ other_A, B @ A
        if np.array_equal(other_A, B) and np.array_equal(other_B, A):
            raise AssertionError("the strips changed places: lora_A @ lora_B is another product")
        assert not (np.allclose(product, right) and np.array_equal(other_A, A)), (
            "lora_A is as it was" + (", and so is lora_B" if np.array_equal(other_B, B) else "")
        )
        swapped = other_A.shape == other_B.shape and np.allclose(other_A @ other_B, right)
        assert not swapped, "return the other lora_A first, then the other lora_B"
        factor = float(product[0, 0] / right[0, 0])
        if not np.isclose(factor, 1) and np.allclose(product, factor * right):
            raise AssertionError(
                f"every number is another, but the product is {factor:.3g} times what it was: "
                "what one strip gains, the other has to lose"
            )
        compare(product, right, "(other_B @ other_A)")
        same = int(np.sum(other_A == A) + np.sum(other_B == B))
        assert same == 0, f"the product is right, but {same} numbers stand where they stood"
