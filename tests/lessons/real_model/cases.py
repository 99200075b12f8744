"""Answers to the exercises."""

import numpy as np
from lessons import loses_return

from lora_edu.course.real_model import checks


def neighbours(e, y, unit=True, sign=1, own=True, mean=np.mean):
    e = e / np.linalg.norm(e, axis=1, keepdims=True) if unit else e
    score = sign * e @ e.T
    if own:
        np.fill_diagonal(score, -np.inf)
    return mean(y[score.argmax(1)] == y)


def unit_in_place(e, y):
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    return neighbours(e, y)


def delta(tensors, name, lora_alpha, prefix="base_model.model.", scale=lambda alpha, r: alpha / r):
    A, B = (tensors[f"{prefix}{name}.lora_{part}.weight"] for part in "AB")
    return scale(lora_alpha, len(A)) * B @ A


def product_turned(tensors, name, lora_alpha):
    A, B = (tensors[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    return lora_alpha / len(A) * A @ B


def phi(A_1, A_2, i, j, over=min, power=2, svd=True):
    if svd:
        A_1, A_2 = (np.linalg.svd(A, full_matrices=False)[2] for A in (A_1, A_2))
    return np.linalg.norm(A_1[:i] @ A_2[:j].T) ** power / over(i, j)


def phi_of_columns(A_1, A_2, i, j):
    V_1, V_2 = (np.linalg.svd(A)[2] for A in (A_1, A_2))
    return np.linalg.norm(V_1[:, :i].T @ V_2[:, :j]) ** 2 / min(i, j)


def phi_spectral(A_1, A_2, i, j):
    V_1, V_2 = (np.linalg.svd(A, full_matrices=False)[2] for A in (A_1, A_2))
    return np.linalg.norm(V_1[:i] @ V_2[:j].T, 2) ** 2 / min(i, j)


def intruders(W0, W_1, k, epsilon, side=0, absolute=np.abs, first=True, most=lambda c: c.max(0)):
    old, new = (np.linalg.svd(W, full_matrices=False)[side] for W in (W0, W_1))
    old, new = (old, new) if side == 0 else (old.T, new.T)
    return np.sum(most(absolute(old.T @ (new[:, :k] if first else new))) < epsilon)


CASES = {
    checks.check_neighbours: (
        neighbours,
        {
            "itself": (lambda e, y: neighbours(e, y, own=False), "leave it out"),
            "dot product": (lambda e, y: neighbours(e, y, unit=False), "divide each row"),
            "farthest": (lambda e, y: neighbours(e, y, sign=-1), "not the least"),
            "count": (lambda e, y: neighbours(e, y, mean=np.sum), "divide by n"),
            "cut off": (lambda e, y: np.mean((e @ e.T).argmax(1) == y), "should be"),
            "in place": (unit_in_place, "e itself was changed"),
            "a list": (lambda e, y: neighbours(e, y, mean=np.asarray), "got shape (40,)"),
            "nothing": (loses_return, "is the `return` missing?"),
        },
    ),
    checks.check_delta_from_file: (
        delta,
        {
            "turned": (product_turned, "shape (2, 2): ΔW is lora_B @ lora_A"),
            "no scaling": (lambda *a: delta(*a, scale=lambda *_: 1), "the scaling is missing"),
            "alpha": (lambda *a: delta(*a, scale=lambda alpha, _: alpha), "here r is 2"),
            "transposed": (lambda *a: delta(*a).T, "transposed"),
            "no prefix": (lambda *a: delta(*a, prefix=""), "no key is 'bert.q.lora_A.weight'; one"),
            "r of the lesson": (lambda *a: delta(*a, scale=lambda alpha, _: alpha / 8), "not 8"),
            "r of the columns": (lambda *a: delta(*a, scale=lambda alpha, _: alpha / 5), "not 5"),
            "root": (
                lambda *a: delta(*a, scale=lambda alpha, r: alpha / r**0.5),
                "not lora_alpha / √r",
            ),
            "nothing": (loses_return, "got NoneType"),
            "one layer": (lambda t, _, alpha: delta(t, "bert.q", alpha), "the shape is right, but"),
        },
    ),
    checks.check_phi: (
        phi,
        {
            "no square": (lambda *a: phi(*a, power=1), "squared"),
            "undivided": (lambda *a: phi(*a, over=lambda *_: 1), "so much is possible at most"),
            "max": (lambda *a: phi(*a, over=max), "not by max(i, j)"),
            "rows": (lambda *a: phi(*a, svd=False), "take the SVD first"),
            "columns": (phi_of_columns, "the directions are its rows"),
            "cut first": (lambda A, B, i, j: phi(A[:i], B[:j], i, j), "the SVD first"),
            "spectral": (phi_spectral, "without a second argument"),
            "a matrix": (lambda A_1, A_2, i, j: A_1 @ A_2.T, "got shape (4, 6)"),
        },
    ),
    checks.check_intruders: (
        intruders,
        {
            "the others": (lambda W0, W_1, k, e: k - intruders(W0, W_1, k, e), "*below* epsilon"),
            "signed": (lambda *a: intruders(*a, absolute=lambda c: c), "has no sign"),
            "diagonal": (lambda *a: intruders(*a, most=np.diag), "of the same place"),
            "right ones": (lambda *a: intruders(*a, side=2), "the left singular vectors"),
            "all of them": (lambda *a: intruders(*a, first=False), "the first k columns of W1's U"),
            "the other axis": (
                lambda *a: intruders(*a, first=False, most=lambda c: c.max(1)),
                "the new are W1's",
            ),
            "first k of both": (
                lambda W0, W_1, k, e: intruders(W0, W_1, k, e, most=lambda c: c[:k].max(0)),
                "not only with its first k",
            ),
            "none": (lambda *a: 99, "should be"),
        },
    ),
}
