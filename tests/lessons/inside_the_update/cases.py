"""Answers to the exercises."""

import numpy as np
from lessons import in_place, loses_return

from lora_edu.course.inside_the_update import checks


def svd(M):
    return np.linalg.svd(M, full_matrices=False)


def cut(A, B, r):
    U, S, Vt = svd(B @ A)
    return Vt[:r], U[:, :r] * S[:r]


def cut_with(A, B, r, left=lambda S: S, right=lambda S: S**0, at=slice):
    U, S, Vt = svd(B @ A)
    which = at(r)
    return right(S[which])[:, None] * Vt[which], U[:, which] * left(S[which])


def cut_columns(A, B, r):
    U, S, Vt = svd(B @ A)
    return Vt[:, :r].T, U[:, :r] * S[:r]


def cut_apart(A, B, r, both=True):
    A_low, B_low = (np.matmul(*cut(np.eye(M.shape[1]), M, r)[::-1]) for M in (A, B))
    return cut(A_low, B_low if both else B, r)


def overlap(A_1, A_2, i, j, over=min, power=2, directions=lambda A: svd(A)[2]):
    V_1, V_2 = directions(A_1)[:i], directions(A_2)[:j]
    return np.linalg.norm(V_1 @ V_2.T) ** power / over(i, j)


def overlap_of_columns(A_1, A_2, i, j):
    V_1, V_2 = (np.linalg.svd(A)[2] for A in (A_1, A_2))
    return np.linalg.norm(V_1[:, :i].T @ V_2[:, :j]) ** 2 / min(i, j)


def overlap_spectral(A_1, A_2, i, j):
    return np.linalg.norm(svd(A_1)[2][:i] @ svd(A_2)[2][:j].T, 2) ** 2 / min(i, j)


def overlap_plain(A_1, A_2, i, j, square=False, absolute=False):
    cosines = svd(A_1)[2][:i] @ svd(A_2)[2][:j].T
    total = np.abs(cosines).sum() if absolute else cosines.sum()
    return (total**2 if square else total) / min(i, j)


def one_adapter(A_1, B_1, A_2, B_2, weight, first=1.0, of_A=1.0, of_B=None):
    of_B = weight if of_B is None else of_B
    return np.concatenate([A_1, of_A * A_2]), np.concatenate([first * B_1, of_B * B_2], axis=1)


def crossed(A_1, B_1, A_2, B_2, weight):
    return np.concatenate([A_2, A_1]), np.concatenate([B_1, weight * B_2], axis=1)


def whole(A_1, B_1, A_2, B_2, weight):
    total = B_1 @ A_1 + weight * B_2 @ A_2
    return np.eye(total.shape[1]), total


CASES = {
    checks.check_cut: (
        cut,
        {
            "first rows": (lambda A, B, r: (A[:r], B[:, :r]), "that keeps the first rows of A"),
            "last rows": (lambda A, B, r: (A[-r:], B[:, -r:]), "that keeps the last rows of A"),
            "no values": (
                lambda A, B, r: cut_with(A, B, r, left=lambda S: S**0),
                "the singular values are missing",
            ),
            "twice": (lambda A, B, r: cut_with(A, B, r, right=lambda S: S), "in both strips"),
            "one root": (
                lambda A, B, r: cut_with(A, B, r, left=np.sqrt),
                "in one strip",
            ),
            "weakest": (
                lambda A, B, r: cut_with(A, B, r, at=lambda r: slice(len(A) - r, len(A))),
                "these are the weakest",
            ),
            "columns": (cut_columns, "its rows are the directions"),
            "one by one": (cut_apart, "cut the product, not A and B"),
            "A alone": (lambda A, B, r: cut_apart(A, B, r, both=False), "this cuts A"),
            "turned": (lambda A, B, r: cut(A, B, r)[::-1], "lora_A comes first"),
            "not cut": (lambda A, B, r: (A, B), "should be (3, 6)"),
            "product": (lambda A, B, r: np.matmul(*cut(A, B, r)[::-1]), "return two arrays"),
            "in place": (lambda A, B, r: (in_place(A, 1.0), B), "lora_A itself was changed"),
            "no return": (loses_return, "is the `return` missing?"),
        },
    ),
    checks.check_overlap: (
        overlap,
        {
            "no square": (lambda *a: overlap(*a, power=1), "are to be squared"),
            "sum squared": (lambda *a: overlap_plain(*a, square=True), "not the sum squared"),
            "plain sum": (overlap_plain, "squared, then summed"),
            "absolute": (lambda *a: overlap_plain(*a, absolute=True), "not absolute values"),
            "undivided": (lambda *a: overlap(*a, over=lambda *_: 1), "so much is possible"),
            "max": (lambda *a: overlap(*a, over=max), "not by max(i, j)"),
            "mean": (lambda *a: overlap(*a, over=lambda i, j: i * j), "that is a mean"),
            "rows": (lambda *a: overlap(*a, directions=lambda A: A), "take the SVD first"),
            "columns": (overlap_of_columns, "the directions are its rows"),
            "cut first": (
                lambda A, B, i, j: overlap(A[:i], B[:j], i, j),
                "the SVD first, then cut",
            ),
            "spectral": (overlap_spectral, "without a second argument"),
            "less": (lambda *a: 1 - overlap(*a), "1 less"),
            "a matrix": (lambda A_1, A_2, i, j: A_1 @ A_2.T, "got shape (4, 6)"),
            "no return": (loses_return, "is the `return` missing?"),
        },
    ),
    checks.check_one_adapter: (
        one_adapter,
        {
            "strips added": (
                lambda A_1, B_1, A_2, B_2, w: (A_1 + A_2, B_1 + w * B_2),
                "strips added",
            ),
            "no weight": (lambda *a: one_adapter(*a, of_B=1.0), "the weight is missing"),
            "both": (
                lambda A_1, B_1, A_2, B_2, w: one_adapter(A_1, B_1, A_2, B_2, w, of_A=w),
                "not in both",
            ),
            "all": (
                lambda A_1, B_1, A_2, B_2, w: one_adapter(A_1, B_1, A_2, B_2, w, first=w),
                "to the second alone",
            ),
            "of the first": (
                lambda A_1, B_1, A_2, B_2, w: one_adapter(A_1, B_1, A_2, B_2, w, first=w, of_B=1.0),
                "not to the first",
            ),
            "root": (
                lambda *a: one_adapter(*a, of_B=abs(a[4]) ** 0.5),
                "in one strip only",
            ),
            "crossed": (crossed, "in the same order"),
            "mixed": (
                lambda A_1, B_1, A_2, B_2, w: one_adapter(A_1, B_1, A_2, B_2, w, first=1 - w),
                "the first has 1",
            ),
            "whole": (whole, "lora_A has shape"),
            "turned": (lambda *a: one_adapter(*a)[::-1], "lora_A comes first"),
            "product": (lambda *a: np.matmul(*one_adapter(*a)[::-1]), "return two arrays"),
            "no return": (loses_return, "is the `return` missing?"),
        },
    ),
}
