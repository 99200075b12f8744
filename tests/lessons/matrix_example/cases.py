"""Answers to the exercises."""

import numpy as np
from lessons import in_place, loses_return

from lora_edu import reference
from lora_edu.course.matrix_example import checks

A_GOOD = [[1, 0, 2, 0, 1], [0, 1, 1, 3, 0]]
B_GOOD = [[1, 0], [0, 1], [2, 1], [1, -1], [1, 1], [0, 2]]

CASES = {
    checks.check_delta_weight: (
        lambda A, B: B @ A,
        {
            "A @ B": (lambda A, B: A @ B, "lora_A @ lora_B; ΔW is lora_B @ lora_A"),
            "transposed": (lambda A, B: A.T @ B.T, "ΔW transposed"),
            "twice": (lambda A, B: 2 * B @ A, "the shape is right, but ΔW[0, 0] is"),
            "one direction": (lambda A, B: B[:, :1] @ A[:1], "the sum over s of lora_B[i, s]"),
            "square only": (lambda A, B: (B @ A).reshape(6, 6), "(3, 4), lora_B of shape (6, 3)"),
            "r fixed at 2": (lambda A, B: B[:, :2] @ A[:2], "the shape is right"),
            "r fixed at 5": (
                lambda A, B: sum(np.outer(B[:, s], A[s]) for s in range(5)),
                "it raises IndexError",
            ),
            "in place": (lambda A, B: B @ in_place(A, A), "lora_A itself was changed"),
            "no return": (loses_return, "is the `return` missing?"),
            "a list": (lambda A, B: (B @ A).tolist(), "must be an array, got list"),
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
    checks.check_factors: (
        (A_GOOD, B_GOOD),
        {
            "swapped": ((B_GOOD, A_GOOD), "swapped"),
            "rank 5": (
                (np.eye(5), checks.SMALL_UPDATE),
                "r = 5 holds 55 numbers for a matrix of 30",
            ),
            "rank 1": ((A_GOOD[:1], [[1], [0], [2], [1], [1], [0]]), "r = 1 makes all rows"),
            "a wrong sign": (
                (A_GOOD, [*B_GOOD[:3], [1, 1], *B_GOOD[4:]]),
                "lora_B @ lora_A[3, 1] is 1 and should be -1: the first index is the row to mend",
            ),
            "flat": (([1, 0, 2], [1, 0, 2, 1]), "both factors are matrices"),
            "columns for rows": ((np.transpose(A_GOOD), B_GOOD), "lora_A must have 5 columns"),
            "rows missing": ((A_GOOD, B_GOOD[:4]), "lora_B must have 6 rows"),
            "different r": ((A_GOOD, np.ones((6, 3))), "r differs"),
            "ragged": ((A_GOOD, [[1, 0], [0]]), "rows of one length"),
            "a hole": ((A_GOOD, [[1, ...], [0, 1]]), "no ? or … left"),
            "half done": ((A_GOOD, None), "answer 2 is still to be given"),
        },
    ),
    checks.check_forward: (
        lambda x, W0, A, B: W0 @ x + B @ (A @ x),
        {
            "forms BA": (lambda x, W0, A, B: W0 @ x + (B @ A) @ x, "a 7 x 11 update was formed"),
            "left to right": (lambda x, W0, A, B: W0 @ x + B @ A @ x, "was formed"),
            "merges": (lambda x, W0, A, B: (W0 + B.dot(A)) @ x, "was formed"),
            "forms it by dot": (lambda x, W0, A, B: W0 @ x + np.dot(B, A) @ x, "was formed"),
            "forms it by einsum": (
                lambda x, W0, A, B: W0 @ x + np.einsum("dr,rk->dk", B, A) @ x,
                "was formed",
            ),
            "no update": (lambda x, W0, A, B: W0 @ x, "the update is missing"),
            "no base": (lambda x, W0, A, B: B @ (A @ x), "W0 @ x is missing"),
            "minus": (lambda x, W0, A, B: W0 @ x - B @ (A @ x), "must be added"),
            "a sum": (lambda x, W0, A, B: (W0 @ x + B @ (A @ x)).sum(), "must have shape"),
            "scaled": (lambda x, W0, A, B: W0 @ x + 2 * (B @ (A @ x)), "y[0] is"),
            "by the package": (
                lambda x, W0, A, B: W0 @ x + reference.delta_weight(A, B) @ x,
                "was formed",
            ),
            "merged by the package": (
                lambda x, W0, A, B: reference.merge(W0, A, B) @ x,
                "was formed",
            ),
            "merged in place": (lambda x, W0, A, B: in_place(W0, B @ A) @ x, "W0 itself was"),
            "B first": (lambda x, W0, A, B: A @ (B @ x), "it raises ValueError"),
            "rows": (lambda x, W0, A, B: x @ W0, "for x of shape (11,), W0 of shape (7, 11)"),
            "no return": (loses_return, "is the `return` missing?"),
        },
    ),
    checks.check_merge: (
        lambda W0, A, B: W0 + B @ A,
        {
            "in place": (lambda W0, A, B: in_place(W0, B @ A), "W0 itself was changed"),
            "the update alone": (lambda W0, A, B: B @ A, "this is ΔW alone"),
            "nothing": (lambda W0, A, B: W0.copy(), "the update is missing"),
            "minus": (lambda W0, A, B: W0 - B @ A, "that would unmerge"),
            "transposed": (lambda W0, A, B: W0.T + A.T @ B.T, "must be (6, 4)"),
            "A @ B": (lambda W0, A, B: W0 + A @ B, "it raises ValueError"),
            "twice": (lambda W0, A, B: W0 + 2 * B @ A, "W[0, 0] is"),
        },
    ),
}
