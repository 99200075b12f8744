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


def cosines(e):
    rows = e / np.linalg.norm(e, axis=1, keepdims=True)
    return rows @ rows.T


neighbours = by_scores(cosines)


def at_least_zero(e, y):
    scores = cosines(e) * (1 - np.eye(len(e)))
    return np.mean(y[scores.argmax(axis=1)] == y)


def frontier(learned, kept, beats=lambda x, y, a, b: a >= x and b >= y and (a > x or b > y)):
    pairs = list(zip(learned, kept, strict=True))
    return np.array([not any(beats(x, y, a, b) for a, b in pairs) for x, y in pairs])


def beaten_if(beats):
    return lambda learned, kept: frontier(learned, kept, beats)


def strips(tensors, name, prefix="base_model.model."):
    return (tensors[f"{prefix}{name}.lora_{part}.weight"] for part in "AB")


def delta(tensors, name, lora_alpha, prefix="base_model.model."):
    A, B = strips(tensors, name, prefix)
    return lora_alpha / len(A) * B @ A


def of_strips(product):
    """An answer that is ``product(A, B, lora_alpha)``."""
    return lambda tensors, name, lora_alpha: product(*strips(tensors, name), lora_alpha)


CASES = {
    checks.check_neighbours: {
        "OK": neighbours,
        "each finds itself: leave it out": lambda e, y: np.mean(y[cosines(e).argmax(1)] == y),
        "long rows win": by_scores(lambda e: e @ e.T),
        "yours is 71 / 1: divide by n": lambda e, y: neighbours(e, y) * len(e),
        "of groups [0, 1, 0]: 1, should be 0.3333, for the nearest are rows [1, 0, 0]: all": (
            at_least_zero
        ),
        "0.85: it is the same whatever e and y may be": lambda e, y: 0.85,
        "yours is no whole number": lambda e, y: neighbours(e, y) ** 2,
    },
    checks.check_frontier: {
        "OK": frontier,
        "each is as good as itself": beaten_if(lambda x, y, a, b: a >= x and b >= y),
        "equal in one and better in the other": beaten_if(lambda x, y, a, b: a > x and b > y),
        "a small lead is a lead": lambda x, y: frontier(x.round(2), y.round(2)),
        "one True or False for each": lambda x, y: np.flatnonzero(frontier(x, y)),
        "True or False for each setting, got 0.6": lambda x, y: x,
    },
    checks.check_delta_from_file: {
        "OK": delta,
        "lora_A @ lora_B in place of": of_strips(lambda A, B, alpha: alpha / len(A) * A @ B),
        "comes 1 times: lora_alpha / 10": of_strips(lambda A, B, alpha: B @ A),
        "comes 1.4 times: lora_alpha / 5. The scaling is lora_alpha / r": of_strips(
            lambda A, B, alpha: alpha / A.shape[1] * B @ A
        ),
        "one key is 'base_model.model.bert.": lambda *a: delta(*a, prefix=""),
        "right but for its digits": lambda *a: delta(*a).round(decimals=1),
    },
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [
    ("full_lr = 1e-4", "full_lr = 1e-6", range(1, 7)),
]
