"""Answers to the exercises."""

import numpy as np
from lessons import in_place, loses_return

from lora_edu.course.merging import checks


def merged(W0, delta):
    return (W0 + delta).astype(W0.dtype)


def step_of(W0, delta):
    return merged(W0, delta).astype(float) - W0


def product(step, delta):
    return np.sum(step * delta)


def arrived(W0, delta):
    return product(step_of(W0, delta), delta) / np.sum(delta**2)


def roll(place, rng):
    return np.floor(place + rng.random(place.shape))


def serve(W0, deltas, use):
    for delta in deltas:
        use((W0 + delta).astype(W0.dtype))
    return W0


def drifting(W0, deltas, use):
    W = W0.copy()
    for delta in deltas:
        W = (W + delta).astype(W0.dtype)
        use(W)
        W = (W - delta).astype(W0.dtype)
    return W


def drifts_and_comes_home(W0, deltas, use):
    drifting(W0, deltas, use)
    return W0


def serves_drift_at_the_end_only(W0, deltas, use):
    serve(W0, deltas, use)
    return drifting(W0, deltas, lambda W: None)


def piling(W0, deltas, use):
    W = W0
    for delta in deltas:
        W = (W + delta).astype(W0.dtype)
        use(W)
    return W0


def last_stays(W0, deltas, use):
    serve(W0, deltas, use)
    return (W0 + deltas[-1]).astype(W0.dtype)


def subtracts_in_place(W0, deltas, use):
    for delta in deltas:
        W0 += delta.astype(W0.dtype)
        use(W0)
        W0 -= delta.astype(W0.dtype)
    return W0


def the_page(W0, deltas, use):
    for delta in deltas:
        W0 += delta
        use(W0)
        W0 -= delta
    return W0


def rounds_the_update(W0, deltas, use):
    return serve(W0, deltas.astype(W0.dtype), use)


def narrow(W0, delta):
    half = delta.astype(W0.dtype)
    return product(W0 + half - W0, half) / np.sum(half**2)


def serves_the_update(W0, deltas, use):
    for delta in deltas:
        use(delta.astype(W0.dtype))
    return W0


def second_name(W0, deltas, use):
    kept = W0
    for delta in deltas:
        W0 += delta
        use(W0)
        W0 = kept
    return W0


def spoils_the_copy(W0, deltas, use):
    kept = W0.copy()
    for delta in deltas:
        W0 += delta
        use(W0)
        W0 = kept
    return W0


def leaves_it_merged(W0, deltas, use):
    kept = W0.copy()
    for delta in deltas:
        W0[:] = kept + delta
        use(W0)
    return kept


CASES = {
    checks.check_arrived: (
        arrived,
        {
            "not rounded": (
                lambda W0, d: product(W0 + d - W0.astype(float), d) / np.sum(d**2),
                "nearly all arrives: round the sum",
            ),
            "lengths": (
                lambda W0, d: np.linalg.norm(step_of(W0, d)) / np.linalg.norm(d),
                "that compares lengths",
            ),
            "cosine": (
                lambda W0, d: arrived(W0, d) * np.linalg.norm(d) / np.linalg.norm(step_of(W0, d)),
                "that is the cosine",
            ),
            "error": (
                lambda W0, d: np.linalg.norm(step_of(W0, d) - d) / np.linalg.norm(d),
                "that is the error",
            ),
            "one less error": (
                lambda W0, d: 1 - np.linalg.norm(step_of(W0, d) - d) / np.linalg.norm(d),
                "1 less the error",
            ),
            "moved": (lambda W0, d: np.mean(step_of(W0, d) != 0), "weights that move"),
            "stay": (lambda W0, d: np.mean(step_of(W0, d) == 0), "weights that stay"),
            "lost": (lambda W0, d: 1 - arrived(W0, d), "the share that is lost"),
            "no square": (
                lambda W0, d: product(step_of(W0, d), d) / np.linalg.norm(d),
                "not by ‖ΔW‖",
            ),
            "of W0": (
                lambda W0, d: product(step_of(W0, d), d) / np.sum(W0.astype(float) ** 2),
                "not of W0",
            ),
            "of the step": (
                lambda W0, d: product(step_of(W0, d), d) / np.sum(step_of(W0, d) ** 2),
                "not by the length of the step",
            ),
            "W itself": (
                lambda W0, d: product(merged(W0, d).astype(float), d) / np.sum(d**2),
                "not W itself",
            ),
            "turned": (lambda W0, d: -arrived(W0, d), "not W0 - W"),
            "product, turned": (
                lambda W0, d: np.sum(step_of(W0, d) @ d.T) / np.sum(d**2),
                "multiply entry by entry",
            ),
            "product": (lambda W0, d: np.sum(step_of(W0, d) @ d) / np.sum(d**2), "the product of"),
            "largest": (
                lambda W0, d: product(step_of(W0, d), d) / np.linalg.norm(d, 2) ** 2,
                "the largest singular value",
            ),
            "mean above": (lambda W0, d: arrived(W0, d) / d.size, "a sum above and below"),
            "mean of shares": (lambda W0, d: np.mean(step_of(W0, d) / d), "a mean of shares"),
            "update rounded": (
                lambda W0, d: product(d.astype(W0.dtype), d) / np.sum(d**2),
                "not delta alone",
            ),
            "cut at 1": (lambda W0, d: min(1.0, arrived(W0, d)), "do not cut the share at 1"),
            "rounded": (lambda W0, d: round(float(arrived(W0, d)), 2), "return all digits"),
            "sums": (lambda W0, d: step_of(W0, d).sum() / d.sum(), "before you sum"),
            "narrow": (narrow, "float16 cannot hold such squares"),
            "the film's": (
                lambda W0, d: 0.39,
                "arrives; you return 0.39; and for the larger W0 0.39",
            ),
            "percent": (lambda W0, d: 100 * arrived(W0, d), "a share is of 1"),
            "matrix": (lambda W0, d: step_of(W0, d) * d, "the share is one number"),
            "in place": (lambda W0, d: in_place(W0, 1.0), "W0 itself was changed"),
            "no return": (loses_return, "is the `return` missing?"),
        },
    ),
    checks.check_roll: (
        roll,
        {
            "nearest": (lambda p, rng: np.round(p), "that always rounds to the nearest"),
            "down": (lambda p, rng: np.floor(p), "that always rounds down"),
            "up": (lambda p, rng: np.ceil(p), "that always rounds up"),
            "cut off": (lambda p, rng: np.trunc(p), "its digits cut off"),
            "coin": (
                lambda p, rng: np.floor(p) + rng.integers(0, 2, p.shape),
                "all go up with the chance 0.5: which must 2.3 have",
            ),
            "turned": (
                lambda p, rng: np.floor(p) + (rng.random(p.shape) > p - np.floor(p)),
                "turned round",
            ),
            "cut below zero": (lambda p, rng: np.trunc(p + rng.random(p.shape)), "below zero"),
            "wide": (
                lambda p, rng: np.round(p + rng.uniform(-1, 1, p.shape)),
                "only the level below or above will do",
            ),
            "whole ones fall": (
                lambda p, rng: np.ceil(p) - (rng.random(p.shape) > p - np.floor(p)),
                "a place on a level must stay",
            ),
            "half too high": (
                lambda p, rng: np.round(p + rng.random(p.shape)),
                "2.3 becomes 2.8 on average, all are off alike",
            ),
            "below the place": (
                lambda p, rng: np.floor(p) + (rng.random(p.shape) < p),
                "compare the dice with the digits",
            ),
            "who goes up": (
                lambda p, rng: rng.random(p.shape) < p - np.floor(p),
                "add them to the level below",
            ),
            "digits": (lambda p, rng: p + rng.random(p.shape), "levels are whole numbers"),
            "one throw": (lambda p, rng: np.floor(p + rng.random()), "all rows got the same"),
            "one a row": (
                lambda p, rng: np.floor(p + rng.random((len(p), 1))),
                "all places of a row got",
            ),
            "own dice": (
                lambda p, rng: roll(p, np.random.default_rng(0)),
                "throw the dice of that rng",
            ),
            "seldom": (
                lambda p, rng: np.floor(p) + (rng.random(p.shape) < (p - np.floor(p)) ** 2),
                "on average: its chance to go up must be",
            ),
            "flat": (lambda p, rng: roll(p, rng).ravel(), "keep the shape"),
            "no return": (loses_return, "is the `return` missing?"),
        },
    ),
    checks.check_serve: (
        serve,
        {
            "subtracts": (drifting, "update 1: the weights have drifted"),
            "comes home": (drifts_and_comes_home, "the weights have drifted"),
            "drift at the end": (serves_drift_at_the_end_only, "to the last bit"),
            "piles up": (piling, "update 1: on top of the one before"),
            "two roundings": (rounds_the_update, "update 0: the update was rounded, and the sum"),
            "last stays": (last_stays, "the last update is still merged"),
            "in place": (subtracts_in_place, "update 0: the update was rounded"),
            "the loop of the page": (the_page, "update 1: the weights have drifted"),
            "a second name": (second_name, "update 1: on top of the one before"),
            "spoils the copy": (spoils_the_copy, "update 2: the kept weights are changed, too"),
            "left merged": (leaves_it_merged, "W0 itself was changed: put it back"),
            "update alone": (
                serves_the_update,
                "update 0: use got the update alone",
            ),
            "collects": (
                lambda W0, deltas, use: [use((W0 + d).astype(W0.dtype)) for d in deltas],
                "return W0, of shape (16, 16), got shape (50,)",
            ),
            "never answers": (lambda W0, deltas, use: W0, "use was never called"),
            "wide": (
                lambda W0, deltas, use: [use(W0 + delta) for delta in deltas] and W0,
                "use got float32",
            ),
            "too early": (
                lambda W0, deltas, use: [use(W0) for _ in deltas] and W0,
                "update 0: use got W0",
            ),
        },
    ),
}
