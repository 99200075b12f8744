"""Answers to the exercises."""

import numpy as np

from lora_edu.course.merging import checks


def merged(W0, delta):
    return (W0 + delta).astype(W0.dtype)


def of(share):
    """An answer that returns ``share(step, delta)``."""
    return lambda W0, delta: share(merged(W0, delta).astype(float) - W0, delta)


def norm(array):
    return np.linalg.norm(array)


arrived = of(lambda step, delta: np.sum(step * delta) / np.sum(delta**2))


def roll(place, rng):
    return np.floor(place + rng.random(place.shape))


def serve(W0, deltas, use):
    for delta in deltas:
        use(merged(W0, delta))
    return W0


def the_page(W0, deltas, use):
    for delta in deltas:
        W0 += delta
        use(W0)
        W0 -= delta
    return W0


def last_stays(W0, deltas, use):
    serve(W0, deltas, use)
    return merged(W0, deltas[-1])


CASES = {
    checks.check_arrived: {
        "OK": arrived,
        "yours is ‖ΔW‖^-1 · ‖W - W0‖": of(lambda step, d: norm(step) / norm(d)),
        "1 less ‖ΔW‖^-1 · ‖W - W0 - ΔW‖": of(lambda step, d: 1 - norm(step - d) / norm(d)),
        "weights that move": of(lambda step, d: np.mean(step != 0)),
        "return all digits": lambda W0, d: round(float(arrived(W0, d)), 2),
        "= 0.7 arrives; you return 0.8047": lambda W0, d: arrived(W0, d) + 0.1,
    },
    checks.check_roll: {
        "OK": roll,
        "that always rounds to the nearest": lambda p, rng: np.round(p),
        "below zero": lambda p, rng: np.trunc(p + rng.random(p.shape)),
        "only the level below or above will do": lambda p, rng: np.round(
            p + rng.uniform(-1, 1, p.shape)
        ),
        "2.3 becomes 2.8 on average, all are off alike": lambda p, rng: np.round(
            p + rng.random(p.shape)
        ),
        "all places of a row got": lambda p, rng: np.floor(p + rng.random((len(p), 1))),
        "with another rng it rolls the same": lambda p, rng: roll(p, np.random.default_rng(0)),
    },
    checks.check_serve: {
        "OK": serve,
        "update 1: the weights have drifted": the_page,
        "the last update is still merged": last_stays,
        "(update) is": lambda W0, deltas, use: serve(W0, 2 * deltas, use),
        "use was never called": lambda W0, deltas, use: W0,
        "calls of use: 1, updates: 50": lambda W0, deltas, use: serve(W0, deltas[:1], use),
    },
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [
    ("step = (largest - least) / 15", "step = (largest - least) / 31", range(1, 6)),
    ('"a": (0.001, drawn)', '"a": (0.01, drawn)', 1),
]
