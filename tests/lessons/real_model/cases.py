"""Answers to the exercises."""

import numpy as np

from lora_edu.course.real_model import checks


def by_scores(score):
    """An answer whose nearest is that of the largest ``score(e)``, but for itself."""

    def neighbours(e, y):
        scores = score(e)
        np.fill_diagonal(scores, -np.inf)
        return np.mean(y[scores.argmax(axis=1)] == y)

    return neighbours


def rows(e, axis=1):
    return e / np.linalg.norm(e, axis=axis, keepdims=True)


def cosines(e):
    return rows(e) @ rows(e).T


neighbours = by_scores(cosines)


def count(e, y):
    return neighbours(e, y) * len(e)


def numbers_for_labels(e, y):
    scores = cosines(e) - 9 * np.eye(len(e))
    return np.mean(scores.argmax(axis=1) == y)


def later_rows_alone(e, y):
    unit = rows(e)
    nearest = [i + 1 + np.argmax(unit[i + 1 :] @ unit[i]) for i in range(len(e) - 1)]
    return np.sum(y[nearest] == y[:-1]) / len(e)


def ruled_out(which, by):
    def answer(e, y):
        scores = cosines(e)
        scores[which(scores)] = by
        return np.mean(y[scores.argmax(axis=1)] == y)

    return answer


def frontier(learned, kept, beats=lambda x, y, a, b: a >= x and b >= y and (a > x or b > y)):
    pairs = list(zip(learned, kept, strict=True))
    return np.array([not any(beats(x, y, a, b) for a, b in pairs) for x, y in pairs])


def beaten_if(beats):
    return lambda learned, kept: frontier(learned, kept, beats)


def without_twins(learned, kept):
    pairs = list(zip(learned, kept, strict=True))
    return frontier(learned, kept) & [pairs.count(pair) == 1 for pair in pairs]


def strips(tensors, name, prefix="base_model.model."):
    return (tensors[f"{prefix}{name}.lora_{part}.weight"] for part in "AB")


def delta(tensors, name, lora_alpha, prefix="base_model.model."):
    A, B = strips(tensors, name, prefix)
    return lora_alpha / len(A) * B @ A


def of_strips(product):
    """An answer that is ``product(A, B, lora_alpha)``."""
    return lambda tensors, name, lora_alpha: product(*strips(tensors, name), lora_alpha)


CASES = {
    checks.check_neighbours: (
        neighbours,
        {
            "each finds itself: leave it out": lambda e, y: np.mean(y[cosines(e).argmax(1)] == y),
            "long rows win": by_scores(lambda e: e @ e.T),
            "that is by distance": by_scores(lambda e: -np.linalg.norm(e[:, None] - e, axis=-1)),
            "not each column": by_scores(lambda e: rows(e, 0) @ rows(e, 0).T),
            "the cosines are between rows": by_scores(lambda e: rows(e).T @ rows(e)),
            "not the least": by_scores(lambda e: -cosines(e)),
            "no absolute value": by_scores(lambda e: abs(cosines(e))),
            "yours is 71 / 1: divide by n": count,
            "yours is 71 / 600": lambda e, y: count(e, y) / 600,
            "of another group": lambda e, y: 1 - neighbours(e, y),
            "of groups [0, 1, 0]: 1, should be 0.3333, for the nearest are rows [1, 0, 0]: all": (
                ruled_out(lambda c: np.eye(len(c), dtype=bool), 0)
            ),
            "two are alike": ruled_out(lambda c: c > 0.9999, -2),
            "0.85: it is the same whatever e and y may be": lambda e, y: 0.85,
            "do not round": lambda e, y: round(neighbours(e, y), 2),
            "not the row's number": numbers_for_labels,
            "not only with later ones": later_rows_alone,
            "only the first row counts": lambda e, y: 1 / len(e),
            "yours is no whole number": lambda e, y: neighbours(e, y) ** 2,
            "for 101 rows: 0.6733, should be 0.703, or 71 / 101": by_scores(
                lambda e: cosines(e) ** 2 * (e @ e.T)
            ),
        },
    ),
    checks.check_frontier: (
        frontier,
        {
            "each is as good as itself": beaten_if(lambda x, y, a, b: a >= x and b >= y),
            "equal in one and better in the other": beaten_if(lambda x, y, a, b: a > x and b > y),
            "a small lead is a lead": lambda x, y: frontier(x.round(2), y.round(2)),
            "two equal settings do not beat each other": without_twins,
            "one True or False for each": lambda x, y: np.flatnonzero(frontier(x, y)),
            "True or False for each setting, got 0.6": lambda x, y: x,
            "(0.2, 0.5) is beaten by (0.6, 0.8)": lambda x, y: np.ones(len(x), bool),
        },
    ),
    checks.check_delta_from_file: (
        delta,
        {
            "lora_A @ lora_B in place of": of_strips(lambda A, B, alpha: alpha / len(A) * A @ B),
            "lora_B * lora_A.T in place of": of_strips(
                lambda A, B, alpha: alpha / len(A) * B * A.T
            ),
            "comes 1 times: lora_alpha / 10": of_strips(lambda A, B, alpha: B @ A),
            "comes 1.4 times: lora_alpha / 5. The scaling is lora_alpha / r": (
                of_strips(lambda A, B, alpha: alpha / A.shape[1] * B @ A)
            ),
            "one key is 'base_model.model.bert.": lambda *a: delta(*a, prefix=""),
            "right but for its digits": lambda *a: delta(*a).round(decimals=1),
        },
    ),
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [
    ("train(full, lr=1e-4)", "train(full, lr=1e-6)", range(1, 7)),
]
