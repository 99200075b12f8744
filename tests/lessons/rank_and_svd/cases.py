"""Answers to the exercises."""

import numpy as np
from lessons import in_place, loses_return

from lora_edu import lowrank
from lora_edu.course.rank_and_svd import checks


def values(M):
    return np.linalg.svd(M, compute_uv=False)


def held(S):
    return np.cumsum(S**2) / np.sum(S**2)


def strips(rank):
    """An answer to the last exercise that finds its rank by ``rank(S, error)``."""
    return lambda M, error: lowrank.factor(M, rank(values(M), error))


def right_rank(S, error):
    return lowrank.energy_rank(S, 1 - error**2)


CASES = {
    checks.check_count_directions: (
        lambda M: int(np.sum(values(M) > 1e-12 * values(M)[0])),
        {
            "all of them": (lambda M: len(values(M)), "got 5, right is 3: a direction of strength"),
            "above zero": (lambda M: np.count_nonzero(values(M)), "of strength zero, or nearly"),
            "eigenvalues": (
                lambda M: int(np.sum(abs(np.linalg.eigvals(M)) > 1e-12)),
                "it raises LinAlgError",
            ),
            "eigenvalues if square": (
                lambda M: int(
                    np.sum(abs(np.linalg.eigvals(M)) > 1e-12)
                    if M.shape[0] == M.shape[1]
                    else np.linalg.matrix_rank(M)
                ),
                "got 0, right is 5: all its eigenvalues are zero",
            ),
            "absolute": (lambda M: int(np.sum(values(M) > 1e-12)), "not with 1"),
            "NumPy's own line": (lambda M: np.linalg.matrix_rank(M), "got 4, right is 2: the line"),
            "the line in σ²": (
                lambda M: int(np.sum(values(M) ** 2 > 1e-12 * values(M)[0] ** 2)),
                "got 1, right is 2",
            ),
            "a lower line": (
                lambda M: int(np.sum(values(M) > 1e-13 * values(M)[0])),
                "got 3, right is 2: the line is at 1e-12",
            ),
            "of the norm": (
                lambda M: int(np.sum(values(M) > 1e-12 * np.linalg.norm(M))),
                "got 4, right is 5: compare with the largest σ, not with a norm",
            ),
            "zero divided by zero": (
                lambda M: int(np.sum(~(values(M) / max(values(M)[0], 1e-300) <= 1e-12)) or 1),
                "got 1, right is 0: nothing is there",
            ),
            "the list": (lambda M: values(M) > 1e-12 * values(M)[0], "a whole number of type int"),
            "no return": (loses_return, "is the `return` missing?"),
        },
    ),
    checks.check_energy_rank: (
        lambda S, energy: int(np.sum(held(S) < energy)) + 1,
        {
            "of σ": (
                lambda S, energy: int(np.sum(np.cumsum(S) / np.sum(S) < energy)) + 1,
                "got 2, right is 1: that is for σ; energy is σ²",
            ),
            "an index": (
                lambda S, energy: int(np.argmax(held(S) >= energy)),
                "got 0, right is 1: an index starts at 0",
            ),
            "more than": (
                lambda S, energy: int(np.sum(held(S) <= energy)) + 1,
                "got 3, right is 2: a share reached exactly",
            ),
            "smallest first": (
                lambda S, energy: int(np.sum(held(S[::-1]) < energy)) + 1,
                "got 3, right is 1: add the shares up, the largest first",
            ),
            "each share by itself": (
                lambda S, energy: int(np.sum(S**2 / np.sum(S**2) < energy)) + 1,
                "got 4, right is 1: add the shares up",
            ),
            "how many hold that much": (
                lambda S, energy: int(np.sum(S**2 / np.sum(S**2) > energy)),
                "got 0, right is 2: add the shares up",
            ),
            "not a share": (
                lambda S, energy: int(np.sum(np.cumsum(S**2) < energy)) + 1,
                "got 5, right is 2: a share is σ² over Σ σ²",
            ),
            "roots of shares": (
                lambda S, energy: int(np.sum(np.sqrt(held(S)) < energy)) + 1,
                "σ² over Σ σ², no root",
            ),
            "the nearest share": (
                lambda S, energy: int(np.argmin(abs(held(S) - energy))) + 1,
                "got 2, right is 3: that share is not yet reached",
            ),
            "the share": (
                lambda S, energy: held(S)[0],
                "energy_rank([4, 2, 2, 1], 0.3): a rank is a whole number of type int, got ",
            ),
            "sorts in place": (lambda S, energy: in_place(S, 1), "S itself was changed"),
        },
    ),
    checks.check_truncation_error: (
        lambda S, r: np.linalg.norm(S[r:]) / np.linalg.norm(S),
        {
            "squared": (
                lambda S, r: np.sum(S[r:] ** 2) / np.sum(S**2),
                "0.36, right is 0.6: a root",
            ),
            "not relative": (lambda S, r: np.linalg.norm(S[r:]), "got 3, right is 0.6: that is ‖M"),
            "what is kept": (
                lambda S, r: np.linalg.norm(S[:r]) / np.linalg.norm(S),
                "got 0.8, right is 0.6: that is what is kept",
            ),
            "one too many": (
                lambda S, r: np.linalg.norm(S[r - 1 :]) / np.linalg.norm(S),
                "σ_1 is kept, not lost",
            ),
            "one too few": (
                lambda S, r: np.linalg.norm(S[r + 1 :]) / np.linalg.norm(S),
                "σ_2 is lost too",
            ),
            "sums of σ": (lambda S, r: S[r:].sum() / S.sum(), "a root of a sum of squares"),
            "spectral": (lambda S, r: S[r] / S[0], "by the spectral norm"),
            "the energy lost": (
                lambda S, r: np.sum(S[r:] ** 2),
                "got 9, right is 0.6: that is the energy that is lost",
            ),
            "the root above alone": (
                lambda S, r: np.linalg.norm(S[r:]) / np.sum(S**2),
                "got 0.12, right is 0.6: divide by ‖M‖ = 5, not by its square",
            ),
            "the energy kept": (
                lambda S, r: np.sum(S[:r] ** 2) / np.sum(S**2),
                "got 0.64, right is 0.6: that is the share of the energy that is kept",
            ),
            "1 minus what is kept": (
                lambda S, r: 1 - np.linalg.norm(S[:r]) / np.linalg.norm(S),
                "got 0.2, right is 0.6: 0.8 is kept, but",
            ),
            "the first dropped": (
                lambda S, r: S[r] / np.linalg.norm(S),
                "got 0.4, right is 0.6: that is σ_2 alone",
            ),
            "text": (lambda S, r: f"{S[r]:.1f}", "the error must be a number or an array of"),
            "each of them": (lambda S, r: S[r:] / np.linalg.norm(S), "one number, got shape (3,)"),
            "r fixed at 1": (
                lambda S, r: np.linalg.norm(S[1:]) / 5,
                "r = 3: got 0.6, right is 0.2",
            ),
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
                "r = 5 keeps to it, but r = 2 is thinner",
            ),
            "one too few": (
                strips(lambda S, error: right_rank(S, error) - 1),
                "r = 1 leaves a relative error of 0.786",
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
                "r = 3 leaves a relative error of",
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
}
