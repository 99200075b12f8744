"""Answers to the exercises."""

import numpy as np
from lessons import in_place, loses_return

from lora_edu.course.matrix_example import checks

A_GOOD = [[1, 0, 1], [0, 1, 0]]
B_GOOD = [[1, 0], [1, 1], [1, 0], [0, 0], [1, 1], [0, 1], [1, 1]]


def mixture(r):
    return np.eye(r) + np.tri(r)


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
            "six rows": ((A_GOOD, [*B_GOOD[:3], *B_GOOD[4:]]), "the empty one too: yours has 6"),
            "columns for rows": ((np.transpose(A_GOOD), B_GOOD), "a row of hi_A is as long"),
            "different r": ((A_GOOD, np.ones((7, 3))), "r differs"),
            "flat": (([1, 0, 1], [1, 1, 1, 0, 1, 0, 1]), "hi_A must be a table, a list of rows"),
            "ragged": ((A_GOOD, [[1, 0], [0]]), "hi_B must be a table"),
            "text": ((["101", "010"], B_GOOD), "hold numbers, not text"),
            "a hole": ((A_GOOD, [[1, ...], [0, 1]]), "no ? or … left"),
            "half done": ((A_GOOD, None), "answer 2 is still to be given"),
        },
    ),
    checks.check_largest_saving_rank: (
        lambda d, k: (d * k - 1) // (d + k),
        {
            "break-even itself": (lambda d, k: d * k // (d + k), "nothing is saved yet"),
            "one too many": (lambda d, k: d * k // (d + k) + 1, "takes 2,420 numbers"),
            "one less always": (lambda d, k: d * k // (d + k) - 1, "only where both counts are"),
            "a tenth less": (
                lambda d, k: int(d * k / (d + k) - 0.1),
                "(13, 4): r = 2 saves, but r = 3 saves as well: 51 < 52; take 1 (or less) off only",
            ),
            "rounded down, a float": (lambda d, k: float((d * k - 1) // (d + k)), "int() rounds"),
            "how many times fewer": (lambda d, k: d * k / (5 * (d + k)), "is this a rank at all?"),
            "all of them": (
                lambda d, k: [r for r in range(k) if r * (d + k) < d * k],
                "return one rank, the largest, got a list of them",
            ),
            "no brackets": (
                lambda d, k: (d * k - k - 1) // d,
                "r = 29 takes 3,190 numbers, ΔW 2,400; is it nearly the largest rank there is? Or",
            ),
            "the page's square": (lambda d, k: 9_999 // (d + k), "Use d and k"),
            "the first": (lambda d, k: 1, "r = 1 saves, but r = 2 saves as well: 220 < 2,400; go"),
            "a search to 99": (
                lambda d, k: min(99, (d * k - 1) // (d + k)),
                "r = 100 saves as well: 512,000 < 4,194,304; does a search end too early?",
            ),
            "a float": (lambda d, k: d * k / (d + k), "a rank is a whole number"),
            "the full rank": (lambda d, k: min(d, k), "the largest rank there is"),
            "square only": (
                lambda d, k: d // 2 - 1,
                "r = 39 takes 4,290 numbers, ΔW 2,400; half a side (or of both, in the mean) is",
            ),
            "d k - 1 over d, plus k": (lambda d, k: (d * k - 1) // d + k, "no rank is above 30"),
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
            "one order": (lambda W, a, b, c, d: W - b @ a + c @ d, "a product is in the wrong"),
            "transposed": (lambda W, a, b, c, d: W - b @ a + (d @ c).T, "product is transposed"),
            "cell by cell": (lambda W, a, b, c, d: W - b * a + d * c, "cell by cell: use @"),
            "over r": (lambda W, a, b, c, d: W + (d @ c - b @ a) / len(a), "0.75, 0.25: is one"),
            "all but a column": (
                lambda W, a, b, c, d: W - b[:, 1:] @ a[1:] + d[:, 1:] @ c[1:],
                "1, 1/0, 0/1: is one scaled, by 1 / r, say? Or, at a /, does a loop",
            ),
            "two pairs mixed": (lambda W, a, b, c, d: W - b @ a + d @ a, "made of two pairs"),
            "rounded": (
                lambda W, a, b, c, d: np.round(W - b @ a + d @ c, 2),
                "is 25.31 and should be 25.3125: is it rounded?",
            ),
            "of strips": (lambda W, a, b, c, d: W + (d - b) @ (c - a), "strips were subtracted"),
            "a list": (lambda W, a, b, c, d: (W - b @ a + d @ c).tolist(), "return one array"),
            "no return": (loses_return, "is the `return` missing?"),
        },
    ),
    checks.check_other_pair: (
        lambda A, B: (A / 2, 2 * B),
        {
            "the same": (lambda A, B: (A.copy(), B.copy()), "lora_A is as it was, and so is"),
            "twice both": (
                lambda A, B: (2 * A, 2 * B),
                "the other lora_B[0, 0] is 13.5 and should be 3.375: lora_A is 2 times what it was",
            ),
            "whole numbers": (lambda A, B: (2 * A, B // 2), "[0, 0] is 3 and should be 3.375"),
            "turned over": (lambda A, B: (B.T, A.T), "the product turned over"),
            "one mixture for both": (
                lambda A, B: (mixture(len(A)) @ A, B @ mixture(len(A))),
                "You mix both by the same M: one needs its inverse",
            ),
            "one alone": (lambda A, B: (2 * A, B.copy()), "[0, 0] is 6.75 and should be 3.375"),
            "changed places": (lambda A, B: (B.copy(), A.copy()), "changed places"),
            "one plus": (lambda A, B: (A + 1, B - 1), "What is added here cannot be"),
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
