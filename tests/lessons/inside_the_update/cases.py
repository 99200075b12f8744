"""Answers to the exercises."""

import numpy as np
from lessons import in_place

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


def from_columns(A_1, A_2, i, j):
    return np.sum((directions(A_1)[:, :i].T @ directions(A_2)[:, :j]) ** 2) / min(i, j)


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
            "the two are swapped": lambda A, B, r: cut(A, B, r)[::-1],
            "not (3, 6): r = 3 directions": lambda A, B, r: (A, B),
            "return 2 values": lambda A, B, r: np.matmul(*cut(A, B, r)[::-1]),
            "lora_A itself was changed": lambda A, B, r: (in_place(A, 1.0), B),
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
            "the sum of absolute values": of_cosines(lambda c: abs(c).sum()),
            "the largest singular value": of_cosines(lambda c: np.linalg.norm(c, 2) ** 2),
            "the sum of singular values": of_cosines(lambda c: np.linalg.norm(c, "nuc")),
            "[1, 2] of A_1 with [1, 2, 3] of A_2, divided by 1;": (
                lambda *a: overlap(*a, over=lambda i, j: 1)
            ),
            "divided by 3; asked are": lambda *a: overlap(*a, over=max),
            "directions [4, 5] of A_1 with [3, 4, 5]": (
                lambda *a: overlap(*a, of=lambda A: directions(A)[::-1])
            ),
            "[1, 2, 3] of A_1 with [1, 2, 3, 4]": lambda A, B, i, j: overlap(A, B, i + 1, j + 1),
            "[1, 2, 3] of A_1 with [1, 2] of A_2": lambda A, B, i, j: overlap(B, A, i, j),
            "only the pairs [(1, 1), (2, 2)]": of_cosines(lambda c: np.sum(np.diag(c) ** 2)),
            "yours is 1 less the sum": lambda *a: 1 - overlap(*a),
            "yours is 2 more than the sum": lambda *a: 2 + overlap(*a),
            "the rows of A (take the SVD first)": lambda *a: overlap(*a, of=lambda A: A),
            "take that of all of A, then cut": lambda A, B, i, j: overlap(A[:i], B[:j], i, j),
            "the columns of Vᵀ": from_columns,
            "Uᵀ (the *right* singular": lambda *a: overlap(*a, of=lambda A: svd(A)[0]),
            "whatever A_1 and A_2 may be": lambda A, B, i, j: max(i, j) / 384,
            "do not round": lambda *a: round(overlap(*a), 2),
            "return one number": lambda A, B, i, j: A @ B.T,
            "i = 4, j = 1: ": lambda *a: overlap(*a, over=lambda i, j: i),
            "the sum of squares of squares (once)": of_cosines(lambda c: np.sum(c**4)),
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
            "B_2 @ A_2 comes 9 times": lambda *a: one_adapter(*a, of_A=a[4]),
            "B_1 @ A_1 comes 3 times, not 1 times": lambda *a: one_adapter(*a, first=a[4]),
            "B_1 @ A_2 and B_2 @ A_1 in place of": crossed,
            "lora_A has shape (2, 5), not (4, 5): the 2 rows of A_1 above the 2 of A_2": cut_back,
            "both strips are matrices": lambda A_1, B_1, A_2, B_2, w: (
                np.stack([A_1, A_2]),
                np.stack([B_1, w * B_2]),
            ),
            "lora_B holds nan": lambda *a: one_adapter(*a, of_B=np.nan),
            "the two are swapped": lambda *a: one_adapter(*a)[::-1],
            "return 2 values": lambda *a: np.matmul(*one_adapter(*a)[::-1]),
        },
    ),
}
