"""Answers to the exercises."""

import numpy as np
import torch
from lessons import loses_return

from lora_edu.course.real_model import checks


def neighbours(e, y, axis=1, sign=1, own=True, mean=np.mean):
    e = e if axis is None else e / np.linalg.norm(e, axis=axis, keepdims=True)
    score = sign * e @ e.T
    if own:
        np.fill_diagonal(score, -np.inf)
    return mean(y[score.argmax(1)] == y)


def neighbours_by_loop(e, y):
    hits = 0
    for i, one in enumerate(e):
        cosines = [one @ o / (np.linalg.norm(one) * np.linalg.norm(o)) for o in e]
        best = max((c, j) for j, c in enumerate(cosines) if j != i)[1]
        hits += y[best] == y[i]
    return hits / len(e)


def neighbours_by_distance(e, y):
    distance = np.linalg.norm(e[:, None] - e, axis=-1)
    np.fill_diagonal(distance, np.inf)
    return np.mean(y[distance.argmin(1)] == y)


def neighbours_in_torch(e, y):
    unit = e / e.norm(dim=1, keepdim=True)
    cosines = (unit @ unit.T).fill_diagonal_(-torch.inf)
    return (y[cosines.argmax(dim=1)] == y).double().mean()


def numbers_for_labels(e, y):
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    cosines = unit @ unit.T - 9 * np.eye(len(e))
    return np.mean(cosines.argmax(axis=1) == y)


def later_rows_alone(e, y):
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    nearest = [i + 1 + np.argmax(unit[i + 1 :] @ unit[i]) for i in range(len(e) - 1)]
    return np.sum(y[nearest] == y[:-1]) / len(e)


def unit_in_place(e, y):
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    return neighbours(e, y)


def between_columns(e, y):
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    cosines = unit.T @ unit
    np.fill_diagonal(cosines, -np.inf)
    return np.mean(y[cosines.argmax(axis=1)] == y)


def ruled_out(e, y, which, by):
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    cosines = unit @ unit.T
    cosines[which(cosines)] = by
    return np.mean(y[cosines.argmax(1)] == y)


def frontier(learned, kept, beats=lambda x, y, a, b: a >= x and b >= y and (a > x or b > y)):
    pairs = list(zip(learned, kept, strict=True))
    return np.array([not any(beats(x, y, a, b) for a, b in pairs) for x, y in pairs])


def frontier_by_sorting(learned, kept):
    found, best = np.zeros(len(kept), bool), -np.inf
    for x in sorted(set(learned), reverse=True):
        top = max(kept[learned == x])
        if top > best:
            found |= (learned == x) & (kept == top)
            best = top
    return found.tolist()


def delta(tensors, name, lora_alpha, prefix="base_model.model.", scale=lambda alpha, r: alpha / r):
    A, B = (tensors[f"{prefix}{name}.lora_{part}.weight"] for part in "AB")
    return scale(lora_alpha, len(A)) * B @ A


def scaled_by_columns(tensors, name, lora_alpha):
    columns = tensors[f"base_model.model.{name}.lora_A.weight"].shape[1]
    return delta(tensors, name, lora_alpha, scale=lambda alpha, _: alpha / columns)


def scaled_in_place(tensors, name, lora_alpha):
    A, B = (tensors[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    B *= lora_alpha / len(A)
    return B @ A


def product_turned(tensors, name, lora_alpha):
    A, B = (tensors[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    return lora_alpha / len(A) * A @ B


def entry_by_entry(tensors, name, lora_alpha):
    A, B = (tensors[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    return lora_alpha / len(A) * B * A.T


CASES = {
    checks.check_neighbours: (
        neighbours,
        {
            "itself": (lambda e, y: neighbours(e, y, own=False), "each finds itself: leave it out"),
            "dot product": (lambda e, y: neighbours(e, y, None), "divide each row"),
            "distance": (neighbours_by_distance, "that is by distance"),
            "columns": (lambda e, y: neighbours(e, y, 0), "not each column"),
            "between columns": (between_columns, "the cosines are between rows"),
            "farthest": (lambda e, y: neighbours(e, y, sign=-1), "not the least"),
            "count": (lambda e, y: neighbours(e, y, mean=np.sum), "divide by n"),
            "others": (lambda e, y: 1 - neighbours(e, y), "of another group"),
            "a zero": (
                lambda e, y: ruled_out(e, y, lambda c: np.eye(len(c), dtype=bool), 0),
                "of groups [0, 1, 0]: 1, should be 0.3333, for the nearest are rows [1, 0, 0]: all",
            ),
            "twins": (
                lambda e, y: ruled_out(e, y, lambda c: c > 0.9999, -2),
                "two are alike",
            ),
            "in place": (unit_in_place, "e itself was changed"),
            "a list": (lambda e, y: neighbours(e, y, mean=np.asarray), "got shape (101,)"),
            "made up": (lambda e, y: 0.85, "0.85 whatever e and y are"),
            "rounded": (lambda e, y: round(neighbours(e, y), 2), "do not round"),
            "numbers": (numbers_for_labels, "not the row's number"),
            "later rows": (later_rows_alone, "not only with later ones"),
            "first row": (lambda e, y: 1 / len(e), "inside the loop?"),
            "all pairs": (lambda e, y: np.mean(y[:, None] == y), "no whole number"),
            "of the lesson": (
                lambda e, y: neighbours(e, y, mean=np.sum) / 600,
                "yours is 71 / 600",
            ),
            "nothing": (loses_return, "is the `return` missing?"),
        },
    ),
    checks.check_frontier: (
        frontier,
        {
            "itself": (
                lambda x, y: frontier(x, y, lambda x, y, a, b: a >= x and b >= y),
                "each is as good as itself",
            ),
            "strict": (
                lambda x, y: frontier(x, y, lambda x, y, a, b: a > x and b > y),
                "equal in one and better in the other",
            ),
            "either": (
                lambda x, y: frontier(x, y, lambda x, y, a, b: a > x or b > y),
                "must not be worse in either",
            ),
            "turned": (lambda x, y: ~frontier(x, y), "that no other beats"),
            "the worst": (
                lambda x, y: frontier(-x, -y),
                "this keeps those that learn and keep least",
            ),
            "above the mean": (lambda x, y: (x > x.mean()) & (y > y.mean()), "mean or"),
            "learning": (lambda x, y: x == x.max(), "nobody beats (0.2, 0.9)"),
            "sum": (lambda x, y: x + y == (x + y).max(), "sum"),
            "ends": (
                lambda x, y: (x == x.max()) | (y == y.max()),
                "one and the same must be",
            ),
            "sorted": (
                lambda x, y: frontier(np.sort(x), y[np.argsort(x)]),
                "in the order of the settings",
            ),
            "the last": (
                lambda x, y: (x >= x[-1]) | (y >= y[-1]),
                "compare each with *all* others",
            ),
            "twins": (
                lambda x, y: (
                    frontier(x, y)
                    & [list(zip(x, y, strict=True)).count(p) == 1 for p in zip(x, y, strict=True)]
                ),
                "two equal settings do not beat each other",
            ),
            "rounded": (lambda x, y: frontier(x.round(2), y.round(2)), "a small lead is a lead"),
            "places": (lambda x, y: np.flatnonzero(frontier(x, y)), "one True or False for each"),
            "values": (lambda x, y: x, "got 0.6"),
            "all": (lambda x, y: np.ones(len(x), bool), "(0.2, 0.5) is beaten by (0.6, 0.8)"),
            "nothing": (loses_return, "is the `return` missing?"),
        },
    ),
    checks.check_delta_from_file: (
        delta,
        {
            "turned": (product_turned, "in the wrong order"),
            "no scaling": (lambda *a: delta(*a, scale=lambda *_: 1), "the scaling is missing"),
            "alpha": (lambda *a: delta(*a, scale=lambda alpha, _: alpha), "here r is 3"),
            "transposed": (lambda *a: delta(*a).T, "transposed"),
            "no prefix": (
                lambda *a: delta(*a, prefix=""),
                "one key is 'base_model.model.bert.",
            ),
            "r of the lesson": (lambda *a: delta(*a, scale=lambda alpha, _: alpha / 8), "not 8"),
            "r of the columns": (scaled_by_columns, "not 5"),
            "upside down": (
                lambda *a: delta(*a, scale=lambda alpha, r: r / alpha),
                "not r / lora_alpha",
            ),
            "root": (
                lambda *a: delta(*a, scale=lambda alpha, r: alpha / r**0.5),
                "not lora_alpha / √r",
            ),
            "nothing": (loses_return, "is the `return` missing?"),
            "in place": (scaled_in_place, "tensors itself was changed"),
            "raises": (lambda *a: [][1], "it raises IndexError"),
            "one layer": (
                lambda t, _, alpha: delta(t, next(iter(t))[17:-14], alpha),
                "that is another layer",
            ),
            "by entry": (entry_by_entry, "a product of matrices is @"),
        },
    ),
}
