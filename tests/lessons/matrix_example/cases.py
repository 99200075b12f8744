"""Answers to the exercises."""

import numpy as np

from lora_edu.course.matrix_example import checks

A_GOOD = [[1, 0, 1], [0, 1, 0]]
B_GOOD = [[1, 0], [1, 1], [1, 0], [0, 0], [1, 1], [0, 1], [1, 1]]


def first_row_doubled(A, B):
    factors = np.ones(len(A))
    factors[0] = 2
    return A * factors[:, None], B / factors


CASES = {
    checks.check_hi: {
        "OK": (A_GOOD, B_GOOD),
        "swapped": (B_GOOD, A_GOOD),
        "r = 3 takes 30 numbers for a picture of 21": (np.eye(3), np.ones((7, 3))),
        "one row can only be repeated": ([[1, 1, 1]], [[1]] * 7),
        "mixes 2 1 2 there": ([[1, 0, 1], [1, 1, 1]], B_GOOD),
        "H stands above I": (A_GOOD, B_GOOD[::-1]),
        "no ? or … left": (A_GOOD, [[1, ...], [0, 1]]),
    },
    checks.check_largest_saving_rank: {
        "OK": lambda d, k: (d * k - 1) // (d + k),
        "nothing is saved yet": lambda d, k: d * k // (d + k),
        "r = 20 saves, but r = 21 saves as well, 2,310 < 2,400: take 1 (or less) off only": (
            lambda d, k: d * k // (d + k) - 1
        ),
        "got 21.8091: int() rounds": lambda d, k: (d * k - 1) / (d + k),
        "strips have 3,190 numbers, ΔW 2,400: d + k needs its brackets": lambda d, k: (
            (d * k - k - 1) // d
        ),
        "the same whatever d and k may be": lambda d, k: 17,
    },
    checks.check_swap: {
        "OK": lambda W, a, b, c, d: W - b @ a + d @ c,
        "yours is W + new_B @ new_A: without old_B @ old_A": lambda W, a, b, c, d: W + d @ c,
        "old_B @ old_A comes 1 times, not -1 times": lambda W, a, b, c, d: W + b @ a - d @ c,
        "does a loop or a slice leave some out?": lambda W, a, b, c, d: (
            W - b[:, 1:] @ a[1:] + d[:, 1:] @ c[1:]
        ),
        "new_B @ old_A and old_B @ new_A is too much": lambda W, a, b, c, d: W + (d - b) @ (c - a),
    },
    checks.check_other_pair: {
        "OK": lambda A, B: (A / 2, 2 * B),
        "lora_A is as it was, and so is": lambda A, B: (A.copy(), B.copy()),
        "right times 4: lora_A is 2 times what it was": lambda A, B: (2 * A, 2 * B),
        "the product turned over": lambda A, B: (B.T, A.T),
        "the strips changed places": lambda A, B: (2 * B, A / 2),
        "12 numbers stand where they stood: row 1 of lora_A": first_row_doubled,
    },
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [
    ("100, 100, 5 ", "100, 100, 60 ", range(10, 30)),
    ("100, 100, 5 ", "50, 80, 5 ", range(10, 30)),
    ("tasks = 10", "tasks = 11", 1),
]
