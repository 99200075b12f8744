"""Answers to the exercises."""

import numpy as np

from lora_edu.course.inside_the_update import checks


def svd(M):
    return np.linalg.svd(M, full_matrices=False)


def cut(A, B, r, power=1):
    U, S, Vt = svd(B @ A)
    return Vt[:r], U[:, :r] * S[:r] ** power


def weakest(A, B, r):
    U, S, Vt = svd(B @ A)
    last = slice(len(A) - r, len(A))
    return Vt[last], U[:, last] * S[last]


def cut_columns(A, B, r):
    U, S, Vt = svd(B @ A)
    return Vt[:, :r].T, U[:, :r] * S[:r]


def cut_apart(A, B, r):
    low_A, low_B = (np.matmul(*cut(np.eye(M.shape[1]), M, r)[::-1]) for M in (A, B))
    return cut(low_A, low_B, r)


def longest(A, B, r):
    most = np.argsort(-np.linalg.norm(A, axis=1))[:r]
    return A[most], B[:, most]


def directions(A):
    return svd(A)[2]


def overlap(A_1, A_2, i, j, of=directions, over=min):
    return np.sum((of(A_1)[:i] @ of(A_2)[:j].T) ** 2) / over(i, j)


def of_cosines(value):
    """An answer that is ``value(cosines)``, divided by min(i, j)."""
    return lambda A, B, i, j: value(directions(A)[:i] @ directions(B)[:j].T) / min(i, j)


def one_adapter(A_1, B_1, A_2, B_2, weight, first=1.0, of_A=1.0, of_B=None):
    of_B = weight if of_B is None else of_B
    return np.concatenate([A_1, of_A * A_2]), np.concatenate([first * B_1, of_B * B_2], axis=1)


def crossed(A_1, B_1, A_2, B_2, weight):
    return np.concatenate([A_2, A_1]), np.concatenate([B_1, weight * B_2], axis=1)


def cut_back(A_1, B_1, A_2, B_2, weight):
    total = B_1 @ A_1 + weight * B_2 @ A_2
    return cut(np.eye(total.shape[1]), total, len(A_1))


CASES = {
    checks.check_cut: (
        cut,
        {
            "that keeps the first rows of A": lambda A, B, r: (A[:r], B[:, :r]),
            "that keeps the last rows of A": lambda A, B, r: (A[-r:], B[:, -r:]),
            "that keeps the longest rows": longest,
            "strengths [1. 1. 1.] = 1, and not": lambda A, B, r: cut(A, B, r, power=0),
            "= σ^0.5, and not [44.739 31.773  9.09 ] = σ": lambda A, B, r: cut(A, B, r, power=0.5),
            "it holds the directions [4, 5, 6], counted from the strongest": weakest,
            "its rows are the directions, not its columns": cut_columns,
            "cut the product, not A and B one by one": cut_apart,
            "not of lora_A @ lora_B": lambda A, B, r: (directions(A @ B)[:r] @ A, B[:, :r]),
            "the rows of lora_A are those of Vᵀ": lambda A, B, r: (
                svd(B @ A)[0][:, :r].T,
                B[:, :r],
            ),
            "its columns are none of the first columns of U": lambda A, B, r: (
                cut(A, B, r)[0],
                B[:, :r],
            ),
            "not (3, 6): r = 3 directions": lambda A, B, r: (A, B),
        },
    ),
    checks.check_overlap: (
        overlap,
        {
            "the sum of squares^0.5": of_cosines(np.linalg.norm),
            "the plain sum (square each cosine, then sum), squared": of_cosines(
                lambda c: c.sum() ** 2
            ),
            "should be 0.3787: square each cosine, then sum": of_cosines(np.sum),
            "[1, 2] of A_1 with [1, 2, 3] of A_2, divided by 1;": (
                lambda *a: overlap(*a, over=lambda i, j: 1)
            ),
            "divided by 3; asked are": lambda *a: overlap(*a, over=max),
            "whatever A_1 and A_2 may be": lambda A, B, i, j: max(i, j) / 384,
            "do not round": lambda *a: round(overlap(*a), 2),
            "i = 4, j = 1: ": lambda *a: overlap(*a, over=lambda i, j: i),
            "which directions do you take": of_cosines(lambda c: np.sum(c**3)),
        },
    ),
    checks.check_one_adapter: (
        one_adapter,
        {
            "B_1 @ A_2 and B_2 @ A_1 is too much": (
                lambda A_1, B_1, A_2, B_2, w: (A_1 + A_2, B_1 + w * B_2)
            ),
            "B_2 @ A_2 comes 1 times, not 3 times (weight = 3; each": (
                lambda *a: one_adapter(*a, of_B=1.0)
            ),
            "B_1 @ A_1 comes 3 times, not 1 times": lambda *a: one_adapter(*a, first=a[4]),
            "B_1 @ A_2 and B_2 @ A_1 in place of": crossed,
            "lora_A has shape (2, 5), not (4, 5): the 2 rows of A_1 above the 2 of A_2": cut_back,
            "both strips are matrices": lambda A_1, B_1, A_2, B_2, w: (
                np.stack([A_1, A_2]),
                np.stack([B_1, w * B_2]),
            ),
        },
    ),
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [("lab.adapt(base, SEED + 1,", "lab.adapt(base, SEED,", 1)]
