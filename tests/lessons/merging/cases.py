"""Answers to the exercises."""

import numpy as np

from lora_edu.course.merging import checks


def merged(W0, delta):
    return (W0 + delta).astype(W0.dtype)


def step_of(W0, delta):
    return merged(W0, delta).astype(float) - W0


def arrived(W0, delta):
    return np.sum(step_of(W0, delta) * delta) / np.sum(delta**2)


def of(share):
    """An answer that returns ``share(step, delta)``."""
    return lambda W0, delta: share(step_of(W0, delta), delta)


def narrow(W0, delta):
    half = delta.astype(W0.dtype)
    return np.sum((W0 + half - W0) * half) / np.sum(half**2)


def not_rounded(W0, delta):
    return np.sum((W0 + delta - W0.astype(float)) * delta) / np.sum(delta**2)


def whole(W0, delta):
    return np.sum((np.round(W0 + delta) - W0.astype(float)) * delta) / np.sum(delta**2)


def taken_off(W0, delta):
    return np.sum(step_of(W0, -delta) * delta) / np.sum(delta**2)


def norm(array):
    return np.linalg.norm(array)


def roll(place, rng):
    return np.floor(place + rng.random(place.shape))


def digits(place):
    return place - np.floor(place)


def serve(W0, deltas, use):
    for delta in deltas:
        use(merged(W0, delta))
    return W0


def drifting(W0, deltas, use):
    W = W0.copy()
    for delta in deltas:
        W = (W + delta).astype(W0.dtype)
        use(W)
        W = (W - delta).astype(W0.dtype)
    return W


def serves_drift_at_the_end_only(W0, deltas, use):
    serve(W0, deltas, use)
    return drifting(W0, deltas, lambda W: None)


def last_stays(W0, deltas, use):
    serve(W0, deltas, use)
    return merged(W0, deltas[-1])


def the_page(W0, deltas, use):
    for delta in deltas:
        W0 += delta
        use(W0)
        W0 -= delta
    return W0


def second_name(W0, deltas, use):
    kept = W0
    for delta in deltas:
        W0 += delta
        use(W0)
        W0 = kept
    return W0


def using(weights):
    """An answer that uses ``weights(W0, delta)``."""

    def answer(W0, deltas, use):
        for delta in deltas:
            use(weights(W0, delta))
        return W0

    return answer


CASES = {
    checks.check_arrived: (
        arrived,
        {
            "nearly all arrives: round the sum": not_rounded,
            "yours is ‖ΔW‖^-1 · ‖step‖": of(lambda step, d: norm(step) / norm(d)),
            "yours is ⟨step, ΔW⟩ · ‖ΔW‖^-1. The": of(lambda step, d: np.sum(step * d) / norm(d)),
            "1 less ‖ΔW‖^-1 · ‖step - ΔW‖": of(lambda step, d: 1 - norm(step - d) / norm(d)),
            "a sum above and below": lambda W0, d: arrived(W0, d) / d.size,
            "weights that move": of(lambda step, d: np.mean(step != 0)),
            "weights that stay": of(lambda step, d: np.mean(step == 0)),
            "not W itself": lambda W0, d: np.sum(merged(W0, d).astype(float) * d) / np.sum(d**2),
            "the update is to be added": taken_off,
            "@ is the product of matrices": of(lambda step, d: np.sum(step @ d) / np.sum(d**2)),
            "a mean of shares": of(lambda step, d: np.mean(step / d)),
            "do not cut the share at 1": lambda W0, d: min(1.0, arrived(W0, d)),
            "before you sum": of(lambda step, d: step.sum() / d.sum()),
            "np.round goes to whole numbers": whole,
            "float16 cannot hold such squares": narrow,
            "return all digits": lambda W0, d: round(float(arrived(W0, d)), 2),
            "it is 0.39 whatever W0 and delta": lambda W0, d: 0.39,
            "a share is of 1": lambda W0, d: 100 * arrived(W0, d),
            "= 0.7 arrives; you return 0.8047": lambda W0, d: arrived(W0, d) + 0.1,
        },
    ),
    checks.check_roll: (
        roll,
        {
            "that always rounds to the nearest": lambda p, rng: np.round(p),
            "all go up with the chance 0.5: which must 2.3 have": (
                lambda p, rng: np.floor(p) + rng.integers(0, 2, p.shape)
            ),
            "turned round": lambda p, rng: np.floor(p) + (rng.random(p.shape) > digits(p)),
            "below zero": lambda p, rng: np.trunc(p + rng.random(p.shape)),
            "only the level below or above will do": (
                lambda p, rng: np.round(p + rng.uniform(-1, 1, p.shape))
            ),
            "a place on a level must stay": (
                lambda p, rng: np.ceil(p) - (rng.random(p.shape) > digits(p))
            ),
            "2.3 becomes 2.8 on average, all are off alike": (
                lambda p, rng: np.round(p + rng.random(p.shape))
            ),
            "add them to the level below": lambda p, rng: rng.random(p.shape) < digits(p),
            "levels are whole numbers, got -2.195": lambda p, rng: p + rng.random(p.shape),
            "all rows got the same": lambda p, rng: np.floor(p + rng.random()),
            "all places of a row got": lambda p, rng: np.floor(p + rng.random((len(p), 1))),
            "with another rng it rolls the same": lambda p, rng: roll(p, np.random.default_rng(0)),
            "with the same rng it rolls anew": lambda p, rng: roll(p, np.random.default_rng()),
            "on average: its chance to go up must be": (
                lambda p, rng: np.floor(p) + (rng.random(p.shape) < digits(p) ** 2)
            ),
            "keep the shape": lambda p, rng: roll(p, rng).ravel(),
        },
    ),
    checks.check_serve: (
        serve,
        {
            "update 1: the weights have drifted": the_page,
            "update 1: on top of the one before": second_name,
            "it must be back to the last bit": serves_drift_at_the_end_only,
            "update 0: the update was rounded, and the sum": (
                lambda W0, deltas, use: serve(W0, deltas.astype(W0.dtype), use)
            ),
            "the last update is still merged": last_stays,
            "(update) is": using(lambda W0, delta: merged(W0, 2 * delta)),
            "use got float32": using(lambda W0, delta: W0 + delta),
            "what is returned has shape (50,), not (16, 16): return W0": (
                lambda W0, deltas, use: [use(merged(W0, delta)) for delta in deltas]
            ),
            "use was never called": lambda W0, deltas, use: W0,
            "calls of use: 1, updates: 50": lambda W0, deltas, use: serve(W0, deltas[:1], use),
        },
    ),
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [
    ("step = (largest - least) / 15", "step = (largest - least) / 31", range(1, 6)),
    ('"a": (0.001, drawn)', '"a": (0.01, drawn)', 1),
]
