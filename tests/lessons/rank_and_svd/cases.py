"""Answers to the exercises."""

import numpy as np

from lora_edu import lowrank
from lora_edu.course.rank_and_svd import checks


def values(M):
    return np.linalg.svd(M, compute_uv=False)


def held(S):
    return np.cumsum(S**2) / np.sum(S**2)


def strips(rank):
    """An answer to the second exercise that finds its rank by ``rank(S, error)``."""
    return lambda M, error: lowrank.factor(M, rank(values(M), error))


def right_rank(S, error):
    return lowrank.energy_rank(S, 1 - error**2)


def sigma_in_both(U, S, Vt):
    return S[:, None] * Vt, U * S


def random(shape):
    return np.random.default_rng(1).standard_normal(shape)


def first_column_back(A, B):
    """The strips whose sum with the first loses a direction."""
    other = random(B.shape)
    other[:, 0] = -B[:, 0]
    return A, other


AXES = ([2, 1], [3, 0], [5, 0])
CASES = {
    checks.check_axes: (
        AXES,
        {
            "eigenvalues": (
                ([2, 1], [0, 0], [3, 0]),
                "shift: got [0, 0]: these are the eigenvalues",
            ),
            "eigenvalues of flat": (
                ([2, 1], [3, 0], [3, 0]),
                "flat: got [3, 0]: these are the eig",
            ),
            "a negative length": (([2, -1], *AXES[1:]), "no length is negative"),
            "the shortest first": (([1, 2], *AXES[1:]), "mirror: got [1, 2]: the longest comes"),
            "lengths of columns": (
                (*AXES[:2], [4, 3]),
                "flat: got [4, 3]: so long are its columns",
            ),
            "columns in their order": (
                (*AXES[:2], [3, 4]),
                "flat: got [3, 4]: so long are its col",
            ),
            "end to end": (
                tuple(2 * np.array(AXES)),
                "mirror: got [4, 2]: measure from the middle",
            ),
            "halves": ((*AXES[:2], [2.5, 0]), "the middle to the rim; that of the circle is 1"),
            "squares": (tuple(np.square(AXES)), "mirror: got [4, 1]: these are squares of lengths"),
            "the sum of the columns": (
                (*AXES[:2], [7, 0]),
                "flat: got [7, 0]: both columns add up",
            ),
            "by the page's two inputs": (
                ([5**0.5, 5**0.5], *AXES[1:]),
                "mirror: got [2.23607, 2.23607]: so long are the outputs of (1, 1) and (-1, 1)",
            ),
            "at 45°": (
                (*AXES[:2], [4.95, 0]),
                "flat: got [4.95, 0]: so far comes the input at 45°",
            ),
            "no stretch": ((*AXES[:2], [1, 1]), "flat: got [1, 1]: Which input of length 1 comes"),
            "the circle keeps its 1": (
                ([2, 1], [3, 1], [5, 1]),
                "shift: got [3, 1]: one of the two is right. What becomes of the input at a right",
            ),
            "exchanged": (
                ([2, 1], [5, 0], [3, 0]),
                "shift: got [5, 0]: these are the axes of flat",
            ),
            "ones on the diagonal": ((AXES[0], [3.303, 0.303], AXES[2]), "with ones on the diag"),
            "every ten degrees": ((*AXES[:2], [4.99, 0.27]), "nearly. Too few angles, or rounded?"),
            "two for one": ((*AXES[:2], 5), "flat: give two lengths, in one list, got shape ()"),
            "a rank": (([2], [1], [1]), "mirror: give two lengths, in one list, got shape (1,)"),
            "half done": (([2, 1], [3, 0], None), "answer 3 is still to be given"),
            "a word": ((["two", "one"], *AXES[1:]), "mirror must be a number or an array of"),
        },
    ),
    checks.check_compress: (
        strips(right_rank),
        {
            "energy for error": (
                strips(lambda S, error: lowrank.energy_rank(S, 1 - error)),
                "the energy that may be lost is error**2, not error",
            ),
            "not relative": (
                strips(lambda S, error: int(np.sum(1 - held(S) > (error / np.sum(S)) ** 2)) + 1),
                "the error is relative: compare with error · ‖M‖",
            ),
            "1 - error squared": (
                strips(lambda S, error: lowrank.energy_rank(S, (1 - error) ** 2)),
                "too little: of the energy keep the share 1 - error**2",
            ),
            "an index": (
                lambda M, error: lowrank.factor(
                    M, max(1, int(np.argmax(held(values(M)) >= 1 - error**2)))
                ),
                "one more would do: do you count, or take an index?",
            ),
            "sums of σ": (
                strips(lambda S, e: 1 + int(np.sum(np.cumsum(S) / np.sum(S) < 1 - e**2))),
                "energy is the sum of *squares*",
            ),
            "each alone": (
                strips(lambda S, error: int(np.sum(error * np.linalg.norm(S) < S))),
                "all that is left out counts together",
            ),
            "lengths added up": (
                strips(lambda S, e: sum(sum(S[r:]) > e * sum(S) for r in range(len(S)))),
                "not the sum of the lengths",
            ),
            "always two": (lambda M, error: lowrank.factor(M, 2), "r is 2 for 0.1 and for 0.3"),
            "all": (lambda M, error: lowrank.factor(M, min(M.shape)), "is error used, and the"),
            "rows of M": (
                lambda M, error: next(
                    (M[:r], M @ np.linalg.pinv(M[:r]))
                    for r in range(1, len(M) + 1)
                    if np.linalg.norm(M - M @ np.linalg.pinv(M[:r]) @ M[:r])
                    <= error * np.linalg.norm(M)
                ),
                "yours 0.196: are yours rows or columns of M",
            ),
            "all but the last": (
                lambda M, error: next(
                    (
                        lowrank.factor(M, r)
                        for r in range(1, min(M.shape))
                        if np.linalg.norm(M - lowrank.best_approximation(M, r))
                        <= error * np.linalg.norm(M)
                    ),
                    None,
                ),
                "it returned None: is the `return` missing? Or never reached?",
            ),
            "no σ": (
                lambda M, error: (
                    lowrank.truncated_svd(M, right_rank(values(M), error))[2],
                    lowrank.truncated_svd(M, right_rank(values(M), error))[0],
                ),
                "r = 2 leaves a relative error of 0.962: the lengths σ are missing",
            ),
            "σ twice": (
                lambda M, error: sigma_in_both(
                    *lowrank.truncated_svd(M, right_rank(values(M), error))
                ),
                "each σ comes in twice",
            ),
            "three values": (
                lambda M, error: (*lowrank.factor(M, 2), 2),
                "return the two strips, lora_A and lora_B, got 3 values",
            ),
            "one too many": (
                strips(lambda S, error: right_rank(S, error) + 1),
                "r = 3 keeps to it, but r = 2 is thinner",
            ),
            "the spectral norm": (
                strips(lambda S, error: int(np.sum(error * S[0] < S))),
                "r = 4 keeps to it, but r = 2 is thinner",
            ),
            "ragged": (lambda M, error: ([[1, 2], [3]], M), "lora_A must be a number or an array"),
            "text": (lambda M, error: (M, "B"), "lora_B must be a number or an array of numbers"),
            "swapped": (
                lambda M, error: lowrank.factor(M, right_rank(values(M), error))[::-1],
                "the two are swapped",
            ),
            "no strengths": (
                lambda M, error: (np.eye(3, 5), np.eye(7, 3)),
                "though r = 3 is enough: are these the strongest directions",
            ),
            "the product": (
                lambda M, error: lowrank.best_approximation(M, 3),
                "return the two strips, lora_A and lora_B, got ndarray",
            ),
            "the SVD": (
                lambda M, error: lowrank.truncated_svd(M, 3),
                "return the two strips",
            ),
            "V for its transpose": (
                lambda M, error: (lowrank.factor(M, 3)[0].T, lowrank.factor(M, 3)[1]),
                "lora_A is (r, 5), lora_B (7, r), got (5, 3) and (7, 3)",
            ),
            "a vector": (lambda M, error: (M[0], M[:, 0]), "both strips are matrices"),
        },
    ),
    checks.check_companion: (
        lambda A, B: (A, random(B.shape)),
        {
            "two random strips": (
                lambda A, B: (random(A.shape), random(B.shape)),
                "the sum has rank 4, and should have 2",
            ),
            "one direction shared": (
                lambda A, B: (np.vstack([A[:1], random(A[1:].shape)]), random(B.shape)),
                "the sum has rank 3, and should have 2",
            ),
            "the same": (lambda A, B: (A.copy(), B.copy()), "yours is the first one, 1 times"),
            "the same again": (lambda A, B: (A / 2, 2 * B), "yours is the first one, 1 times"),
            "twice": (lambda A, B: (A, 2 * B), "yours is the first one, 2 times: make another"),
            "taken back": (lambda A, B: (A, -B), "yours is the first one, -1 times"),
            "nothing": (lambda A, B: (A, 0 * B), "your update has rank 0: it must have 2 as well"),
            "strips of the sum": (
                lambda A, B: (np.vstack([A, A]), np.hstack([B, random(B.shape)])),
                "for strips of rank 2 your strips take 4 rows: 2 are enough",
            ),
            "transposed": (
                lambda A, B: (B.T, A.T),
                "got (2, 7) and (5, 2): do they lie on their s",
            ),
            "one direction": (lambda A, B: (A[:1], B[:, :1]), "your update has rank 1: it must"),
            "one cancels out": (
                first_column_back,
                "the sum has rank 1: a direction of yours takes away",
            ),
            "swapped": (lambda A, B: (random(B.shape), A), "the two are swapped"),
            "one strip": (lambda A, B: random(B.shape), "return the two strips"),
        },
    ),
}
