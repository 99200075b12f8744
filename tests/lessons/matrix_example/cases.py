"""Answers to the exercises."""

import numpy as np
from lessons import in_place, loses_return

from lora_edu.course.matrix_example import checks

A_GOOD = [[1, 0, 1], [0, 1, 0]]
B_GOOD = [[1, 0], [1, 1], [1, 0], [0, 0], [1, 1], [0, 1], [1, 1]]

CASES = {
    checks.check_hi: (
        (A_GOOD, B_GOOD),
        {
            "swapped": ((B_GOOD, A_GOOD), "swapped"),
            "three rows": (
                ([[1, 0, 1], [1, 1, 1], [0, 1, 0]],
                 [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]]),
                "r = 3 takes 30 numbers for a picture of 21",
            ),
            "one row": (([[1, 1, 1]], [[1]] * 7), "one row can only be repeated"),
            "no bar in H": (
                (A_GOOD, [[1, 0], [1, 0], *B_GOOD[2:]]),
                "line 2 of the seven is 1 1 1; your hi_B mixes 1 0 1 there",
            ),
            "I without its ends": (
                (A_GOOD, [*B_GOOD[:4], [0, 1], [0, 1], [0, 1]]),
                "line 5 of the seven is 1 1 1; your hi_B mixes 0 1 0",
            ),
            "the full row as the second": (
                ([[1, 0, 1], [1, 1, 1]], B_GOOD),
                "line 2 of the seven is 1 1 1; your hi_B mixes 2 1 2",
            ),
            "the gap forgotten": (
                (A_GOOD, [*B_GOOD[:3], [1, 0], *B_GOOD[4:]]),
                "line 4 of the seven is 0 0 0; your hi_B mixes 1 0 1",
            ),
            "six rows": ((A_GOOD, [*B_GOOD[:3], *B_GOOD[4:]]), "hi_B must have 7 rows"),
            "columns for rows": ((np.transpose(A_GOOD), B_GOOD), "hi_A must have 3 columns"),
            "different r": ((A_GOOD, np.ones((7, 3))), "r differs"),
            "flat": (([1, 0, 1], [1, 1, 1, 0, 1, 0, 1]), "both strips are tables"),
            "ragged": ((A_GOOD, [[1, 0], [0]]), "rows of one length"),
            "a hole": ((A_GOOD, [[1, ...], [0, 1]]), "no ? or … left"),
            "half done": ((A_GOOD, None), "answer 2 is still to be given"),
        },
    ),
    checks.check_largest_saving_rank: (
        lambda d, k: (d * k - 1) // (d + k),
        {
            "break-even itself": (lambda d, k: d * k // (d + k), "nothing is saved yet"),
            "one too many": (lambda d, k: d * k // (d + k) + 1, "has only"),
            "a float": (lambda d, k: d * k / (d + k), "a rank is a whole number"),
            "the full rank": (lambda d, k: min(d, k), "the largest rank there is"),
            "one too few": (lambda d, k: (d * k - 1) // (d + k) - 1, "saves as well"),
            "square only": (
                lambda d, k: d // 2 - 1,
                "largest_saving_rank(4096, 1024): r = 2047 needs",
            ),
        },
    ),
    checks.check_swap: (
        lambda W, a, b, c, d: W - b @ a + d @ c,
        {
            "both in": (lambda W, a, b, c, d: W + d @ c, "both updates are in it"),
            "only out": (lambda W, a, b, c, d: W - b @ a, "the new one is not in"),
            "the new alone": (lambda W, a, b, c, d: d @ c, "W0 is lost"),
            "the difference": (lambda W, a, b, c, d: d @ c - b @ a, "without W"),
            "signs": (lambda W, a, b, c, d: W + b @ a - d @ c, "put in once more, and the new"),
            "all plus": (lambda W, a, b, c, d: W + b @ a + d @ c, "the new one as well"),
            "all minus": (lambda W, a, b, c, d: W - b @ a - d @ c, "it must be added"),
            "nothing": (lambda W, *_: W.copy(), "this is W"),
            "A @ B": (lambda W, a, b, c, d: W - a @ b + c @ d, "in the wrong order"),
            "in place": (lambda W, a, b, c, d: in_place(W, d @ c - b @ a), "W itself was changed"),
            "one order": (lambda W, a, b, c, d: W - b @ a + c @ d, "W[0, 0] is"),
            "of strips": (lambda W, a, b, c, d: W + (d - b) @ (c - a), "strips were subtracted"),
            "a list": (lambda W, a, b, c, d: (W - b @ a + d @ c).tolist(), "must return an array"),
            "no return": (loses_return, "is the `return` missing?"),
        },
    ),
    checks.check_other_pair: (
        lambda A, B: (A / 2, 2 * B),
        {
            "the same": (lambda A, B: (A.copy(), B.copy()), "lora_A is as it was, and so is"),
            "twice both": (lambda A, B: (2 * A, 2 * B), "the product is 4 times what it was"),
            "one alone": (lambda A, B: (2 * A, B.copy()), "the product is 2 times what it was"),
            "changed places": (lambda A, B: (B.copy(), A.copy()), "changed places"),
            "one plus": (lambda A, B: (A + 1, B - 1), "(other_B @ other_A)[0, 0] is"),
            "B first": (lambda A, B: (2 * B, A / 2), "return the other lora_A first"),
            "one row": (
                lambda A, B: (A * np.r_[2, np.ones(len(A) - 1)][:, None],
                              B / np.r_[2, np.ones(len(A) - 1)]),
                "numbers stand where they stood",
            ),
            "one strip": (lambda A, B: A / 2, "got ndarray of length 3"),
            "no return": (loses_return, "is the `return` missing?"),
        },
    ),
}  # fmt: skip
