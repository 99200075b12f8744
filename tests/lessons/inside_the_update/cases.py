"""Answers to the exercises."""

import numpy as np
import torch
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


def longest(A):
    return np.argsort(-np.linalg.norm(A, axis=1))


def left(A):
    return svd(A)[0].T


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


def cut_back(A_1, B_1, A_2, B_2, weight):
    return cut(*whole(A_1, B_1, A_2, B_2, weight), len(A_1))


def cut_in_torch(A, B, r):
    U, S, Vt = torch.linalg.svd(B @ A, full_matrices=False)
    return Vt[:r], U[:, :r] * S[:r]


def joined_in_torch(A_1, B_1, A_2, B_2, weight):
    return torch.cat([A_1, A_2]), torch.cat([B_1, weight * B_2], 1)


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
            "one by one": (cut_apart, "cut the product, not A and B one by one"),
            "best B for those rows": (
                lambda A, B, r: (A[:r], B @ A @ np.linalg.pinv(A[:r])),
                "that keeps the first rows of A",
            ),
            "longest": (
                lambda A, B, r: (A[longest(A)[:r]], B[:, longest(A)[:r]]),
                "that keeps the longest rows",
            ),
            "A @ B": (
                lambda A, B, r: (svd(A @ B)[2][:r] @ A, B @ svd(A @ B)[0][:, :r]),
                "not of lora_A @ lora_B",
            ),
            "one value lost": (
                lambda A, B, r: cut_with(A, B, r, left=lambda S: S * (S[-1] < S)),
                "each direction has its own",
            ),
            "as long as the whole": (
                lambda A, B, r: cut_with(A, B, r, left=lambda S: 1.01 * S),
                "1.01 times the nearest",
            ),
            "on their sides": (
                lambda A, B, r: [strip.T for strip in cut(A, B, r)],
                "lora_A has shape (6, 3), should be (3, 6)",
            ),
            "turned": (lambda A, B, r: cut(A, B, r)[::-1], "lora_A comes first"),
            "not cut": (lambda A, B, r: (A, B), "r = 3 directions"),
            "product": (lambda A, B, r: np.matmul(*cut(A, B, r)[::-1]), "return two arrays"),
            "in place": (lambda A, B, r: (in_place(A, 1.0), B), "lora_A itself was changed"),
            "no return": (loses_return, "is the `return` missing?"),
        },
    ),
    checks.check_overlap: (
        overlap,
        {
            "no square": (lambda *a: overlap(*a, power=1), "square each cosine"),
            "sum squared": (
                lambda *a: overlap_plain(*a, square=True),
                "then sum",
            ),
            "plain sum": (overlap_plain, "square each cosine"),
            "absolute": (lambda *a: overlap_plain(*a, absolute=True), "not absolute values"),
            "undivided": (
                lambda *a: overlap(*a, over=lambda *_: 1),
                "divided by 1: divide by min(i, j)",
            ),
            "max": (lambda *a: overlap(*a, over=max), "divided by 3: divide by min(i, j), here 2"),
            "mean": (lambda *a: overlap(*a, over=lambda i, j: i * j), "divided by 6: divide"),
            "rows": (lambda *a: overlap(*a, directions=lambda A: A), "take the SVD first"),
            "columns": (overlap_of_columns, "the directions are its rows"),
            "cut first": (
                lambda A, B, i, j: overlap(A[:i], B[:j], i, j),
                "the SVD of *all* of A first",
            ),
            "spectral": (overlap_spectral, "without a second argument"),
            "less": (lambda *a: 1 - overlap(*a), "1 less"),
            "a matrix": (lambda A_1, A_2, i, j: A_1 @ A_2.T, "got shape (7, 7)"),
            "left": (lambda A, B, i, j: overlap(A, B, i, j, directions=left), "*right* singular"),
            "weakest": (
                lambda *a: overlap(*a, directions=lambda A: svd(A)[2][::-1]),
                "not the last",
            ),
            "one more": (lambda A, B, i, j: overlap(A, B, i + 1, j + 1), "not [0:3] and [0:4]"),
            "above chance": (
                lambda *a: overlap(*a) - max(a[2:]) / a[0].shape[1],
                "leave chance out",
            ),
            "chance": (lambda A, B, i, j: max(i, j) / 384, "whatever A_1 and A_2 are"),
            "rounded": (lambda *a: round(overlap(*a), 2), "do not round"),
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
            "crossed": (crossed, "each B must meet its own A"),
            "mixed": (
                lambda A_1, B_1, A_2, B_2, w: one_adapter(A_1, B_1, A_2, B_2, w, first=1 - w),
                "the first has 1",
            ),
            "whole": (whole, "lora_A has shape"),
            "cut back": (cut_back, "with fewer, something is lost"),
            "side by side": (
                lambda A_1, B_1, A_2, B_2, w: (np.hstack([A_1, A_2]), np.vstack([B_1, w * B_2])),
                "lora_A has shape (2, 10), should be (4, 5): the 2 rows",
            ),
            "half": (
                lambda *a: one_adapter(*a, of_B=0.5),
                "B_2 @ A_2 0.5 times: should be 1 and 3",
            ),
            "stacked": (
                lambda A_1, B_1, A_2, B_2, w: (np.stack([A_1, A_2]), np.stack([B_1, w * B_2])),
                "a strip has two axes",
            ),
            "no number": (lambda *a: one_adapter(*a, of_B=np.nan), "lora_B holds nan"),
            "turned": (lambda *a: one_adapter(*a)[::-1], "lora_A comes first"),
            "product": (lambda *a: np.matmul(*one_adapter(*a)[::-1]), "return two arrays"),
            "no return": (loses_return, "is the `return` missing?"),
        },
    ),
}
