"""Answers to the exercises."""

import numpy as np

from lora_edu import lowrank
from lora_edu.course.rank_and_svd import checks


def values(M):
    return np.linalg.svd(M, compute_uv=False)


def right_rank(S, error):
    return lowrank.energy_rank(S, 1 - error**2)


def strips(rank):
    """An answer to the second exercise that finds its rank by ``rank(S, error)``."""
    return lambda M, error: lowrank.factor(M, rank(values(M), error))


def without_strengths(M, error):
    U, S, Vt = np.linalg.svd(M, full_matrices=False)
    r = right_rank(S, error)
    return Vt[:r], U[:, :r]


def one_more_where_it_just_fits(S, error):
    left = [np.linalg.norm(S[r:]) for r in range(len(S))]
    return sum(norm >= error * left[0] for norm in left)


def random(shape):
    return np.random.default_rng(1).standard_normal(shape)


AXES = ([2, 1], [3, 0], [5, 0])
CASES = {
    checks.check_axes: {
        "OK": AXES,
        "shift: got [0, 0]: these are the eigenvalues": ([2, 1], [0, 0], [3, 0]),
        "no length is negative": ([2, -1], *AXES[1:]),
        "mirror: got [4, 2]: measure from the middle": tuple(2 * np.array(AXES)),
        "flat: got [4.95, 0]: so far comes the input at 45°": (*AXES[:2], [4.95, 0]),
        "shift: got [3, 1]: one of the two is right. What becomes": ([2, 1], [3, 1], [5, 1]),
        "nearly. Too few angles, or rounded?": (*AXES[:2], [4.99, 0.27]),
    },
    checks.check_compress: {
        "OK": strips(right_rank),
        "the energy that may be lost is error**2, not error": strips(
            lambda S, error: lowrank.energy_rank(S, 1 - error)
        ),
        "r is 2 for 0.1 and for 0.3": lambda M, error: lowrank.factor(M, 2),
        "yours are [5, 4, 4, 4], enough are [4, 2, 2, 3]": strips(lambda S, e: right_rank(S, e**2)),
        "r = 1 leaves just 0.5, and <=, got r = 2": strips(one_more_where_it_just_fits),
        "strengths [1. 1. 1. 1.] = 1, and not [20. 10.  5.  3.] = σ": without_strengths,
    },
    checks.check_companion: {
        "OK": lambda A, B: (A, random(B.shape)),
        "the sum has rank 4, and should have 2": lambda A, B: (
            random(A.shape),
            random(B.shape),
        ),
        "yours is the first one, -1 times: make another": lambda A, B: (A, -B),
        "your update has rank 0: it must have 2 as well": lambda A, B: (A, 0 * B),
        "your strips take 4 rows: 2 are enough": lambda A, B: (
            np.vstack([A, A]),
            np.hstack([B, random(B.shape)]),
        ),
        "the sum has rank 1: a direction of yours takes away": lambda A, B: (
            A,
            np.column_stack([-B[:, 0], random(len(B))]),
        ),
        "lora_A has shape (2, 7), not (2, 5)": lambda A, B: (B.T, A.T),
    },
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [
    ("[[0.6, 0.0]", "[[0.6, 0.3]", 3),
    ('"rank 4 + 1e-6 noise": rank4 + 1e-6 * noise,', "", 3),
    ('noise": rank4 + 1e-6 * noise,', 'noise": rank4 + 0 * noise,', 3),
]
