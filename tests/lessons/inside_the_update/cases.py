"""Answers to the exercises."""

import numpy as np

from lora_edu.course.inside_the_update import checks


def cut(A, B, r, power=1):
    U, S, Vt = np.linalg.svd(B @ A, full_matrices=False)
    return Vt[:r], U[:, :r] * S[:r] ** power


def cosines(A, B, i, j):
    first, second = (np.linalg.svd(M, full_matrices=False)[2] for M in (A, B))
    return first[:i] @ second[:j].T


def overlap(A, B, i, j, over=min):
    return np.sum(cosines(A, B, i, j) ** 2) / over(i, j)


def of_cosines(value):
    """An answer that is ``value(cosines)``, divided by min(i, j)."""
    return lambda A, B, i, j: value(cosines(A, B, i, j)) / min(i, j)


def one_adapter(A_1, B_1, A_2, B_2, weight):
    return np.concatenate([A_1, A_2]), np.concatenate([B_1, weight * B_2], axis=1)


def cut_back(A_1, B_1, A_2, B_2, weight):
    total = B_1 @ A_1 + weight * B_2 @ A_2
    return cut(np.eye(total.shape[1]), total, len(A_1))


CASES = {
    checks.check_cut: {
        "OK": cut,
        "that keeps the first rows of A": lambda A, B, r: (A[:r], B[:, :r]),
        "= σ^0.5, and not [44.739 31.773  9.09 ] = σ": lambda A, B, r: cut(A, B, r, power=0.5),
        "its columns are none of the first columns of U": lambda A, B, r: (
            cut(A, B, r)[0],
            B[:, :r],
        ),
        "not (3, 6): r = 3 directions": lambda A, B, r: (A, B),
    },
    checks.check_overlap: {
        "OK": overlap,
        "the sum of squares^0.5": of_cosines(np.linalg.norm),
        "should be 0.3787: square each cosine, then sum": of_cosines(np.sum),
        "divided by 3; asked are": lambda *a: overlap(*a, over=max),
        "i = 4, j = 1: ": lambda *a: overlap(*a, over=lambda i, j: i),
        "do not round": lambda *a: round(overlap(*a), 2),
        "which directions do you take": of_cosines(lambda c: np.sum(c**3)),
    },
    checks.check_one_adapter: {
        "OK": one_adapter,
        "B_2 @ A_2 comes 1 times, not 3 times (weight = 3; each": lambda *a: one_adapter(
            *a[:4], 1.0
        ),
        "B_1 @ A_2 and B_2 @ A_1 in place of": lambda A_1, B_1, A_2, B_2, w: one_adapter(
            A_2, B_1, A_1, B_2, w
        ),
        "lora_A has shape (2, 5), not (4, 5): the 2 rows of A_1 above the 2 of A_2": cut_back,
        "both strips are matrices": lambda A_1, B_1, A_2, B_2, w: (
            np.stack([A_1, A_2]),
            np.stack([B_1, w * B_2]),
        ),
    },
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [("lab.adapt(base, SEED + 1,", "lab.adapt(base, SEED,", 1)]
