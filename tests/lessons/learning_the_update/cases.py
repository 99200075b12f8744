"""Answers to the exercises."""

import numpy as np
from lessons import in_place, loses_return

from lora_edu.course.learning_the_update import checks


def gradients(G, x, A, B, s):
    return s * (G @ B).T @ x, s * G.T @ (x @ A.T)


def uniform(r, k, rng, bound):
    return rng.uniform(-1, 1, (r, k)) * bound


def start(d, k, r, rng):
    return uniform(r, k, rng, k**-0.5), np.zeros((d, r))


def tail(matrix, r, power=2):
    return np.sum(np.linalg.svd(matrix, compute_uv=False)[r:] ** power)


def first_update(G, x, A, lr, s):
    return -lr * s**2 * G.T @ x @ A.T @ A


CASES = {
    checks.check_forward: (
        lambda x, W0, A, B, s: x @ W0.T + s * (x @ A.T) @ B.T,
        {
            "no scaling": (lambda x, W0, A, B, s: x @ (W0 + B @ A).T, "scaling is missing"),
            "all scaled": (lambda x, W0, A, B, s: s * x @ (W0 + B @ A).T, "the update only"),
            "no update": (lambda x, W0, A, B, s: x @ W0.T, "the update is missing"),
            "no base": (lambda x, W0, A, B, s: s * x @ A.T @ B.T, "x W0ᵀ is missing"),
            "columns": (lambda x, W0, A, B, s: (W0 + s * B @ A) @ x.T, "y is transposed"),
            "one sample": (lambda x, W0, A, B, s: W0 @ x[0], "y must have shape (3, 4), got (4,)"),
            "as on paper": (lambda x, W0, A, B, s: W0 @ x + s * B @ (A @ x), "raises ValueError"),
            "base scaled": (lambda x, W0, A, B, s: x @ (s * W0 + B @ A).T, "not to x W0ᵀ"),
            "scaled twice": (lambda x, W0, A, B, s: x @ (W0 + s * s * B @ A).T, "but y[0, 0] is"),
            "a tuple": (lambda x, W0, *_: (x @ W0.T, 1), "y must be a number or an array"),
            "a word": (lambda *_: "y", "got str"),
        },
    ),
    checks.check_gradients: (
        gradients,
        {
            "swapped": (lambda *a: gradients(*a)[::-1], "swapped: return dA, dB"),
            "only one": (lambda *a: gradients(*a)[0], "return two arrays"),
            "no scaling": (lambda *a: gradients(*a[:4], 1), "dA: scaling is missing"),
            "scaled twice": (
                lambda G, x, A, B, s: (s * (G @ B).T @ x, s * s * G.T @ x @ A.T),
                "dB: scaling stands in it twice",
            ),
            "mean": (lambda G, *a: gradients(G / len(G), *a), "holds the 1/n already"),
            "downhill": (lambda G, *a: gradients(-G, *a), "the gradient points up"),
            "transposed": (
                lambda G, x, A, B, s: (s * x.T @ G @ B, s * G.T @ x @ A.T),
                "dA is transposed: it is (2, 6)",
            ),
            "dB from x": (
                lambda G, x, A, B, s: (s * (G @ B).T @ x, s * G.T @ x),
                "dB must have shape (4, 2), got (4, 6)",
            ),
            "ragged": (lambda *_: ([[1, 2], [3]], [1]), "dA must be a number or an array"),
            "half a pair": (lambda *a: (gradients(*a)[0], ...), "dB must be a number or an array"),
            "one sample": (lambda G, x, *a: gradients(G[:1], x[:1], *a), "which numbers meet"),
        },
    ),
    checks.check_start: (
        start,
        {
            "swapped": (lambda *a: start(*a)[::-1], "swapped: return lora_A, lora_B"),
            "both zero": (lambda d, k, r, rng: (np.zeros((r, k)), np.zeros((d, r))), "ever moves"),
            "the mirror": (
                lambda d, k, r, rng: (np.zeros((r, k)), uniform(d, r, rng, r**-0.5)),
                "the mirror image",
            ),
            "both random": (
                lambda d, k, r, rng: (uniform(r, k, rng, k**-0.5), uniform(d, r, rng, r**-0.5)),
                "does not start at W0",
            ),
            "all equal": (
                lambda d, k, r, rng: (np.full((r, k), k**-0.5), np.zeros((d, r))),
                "rank 1 only",
            ),
            "fixed seed": (lambda d, k, r, _: start(d, k, r, np.random.default_rng(5)), "another"),
            "wrong axis": (
                lambda d, k, r, rng: (uniform(r, k, rng, r**-0.5), np.zeros((d, r))),
                "the bound is 1/√r",
            ),
            "normal": (
                lambda d, k, r, rng: (rng.normal(0, k**-0.5, (r, k)), np.zeros((d, r))),
                "1/√k is 0.05",
            ),
            "timid": (lambda *a: (start(*a)[0] / 2, start(*a)[1]), "reach 0.025"),
            "one sign": (lambda *a: (abs(start(*a)[0]), start(*a)[1]), "lean to one sign"),
            "signs": (
                lambda d, k, r, rng: (rng.choice([-1, 1], (r, k)) / k**0.5, np.zeros((d, r))),
                "not spread evenly",
            ),
            "triangle": (
                lambda *a: ((start(*a)[0] + start(*a)[0]) / 2, np.zeros((a[0], a[2]))),
                "not spread evenly",
            ),
            "another source": (
                lambda d, k, r, _: start(d, k, r, np.random.default_rng()),
                "A differs for the same rng",
            ),
            "square": (lambda d, k, r, rng: start(k, d, r, rng), "lora_A must have shape (8, 400)"),
        },
    ),
    checks.check_floor: (
        lambda delta, x, r: tail(delta @ x.T, r) / (2 * len(x)),
        {
            "without inputs": (lambda delta, x, r: tail(delta, r) / 2, "the tail of ΔW alone"),
            "the head": (
                lambda delta, x, r: (tail(delta @ x.T, 0) - tail(delta @ x.T, r)) / (2 * len(x)),
                "what r directions keep",
            ),
            "one early": (
                lambda delta, x, r: tail(delta @ x.T, r - 1) / (2 * len(x)),
                "miss from index r on",
            ),
            "no squares": (
                lambda delta, x, r: tail(delta @ x.T, r, 1) / (2 * len(x)),
                "square each",
            ),
            "a root": (
                lambda delta, x, r: tail(delta @ x.T, r) ** 0.5 / (2 * len(x)),
                "without its root",
            ),
            "no sum": (
                lambda delta, x, r: np.linalg.svd(delta @ x.T)[1][r:] ** 2 / (2 * len(x)),
                "got shape (3,): is a sum missing?",
            ),
            "a sum": (lambda delta, x, r: tail(delta @ x.T, r), "divide by 2 n"),
            "a mean": (lambda delta, x, r: tail(delta @ x.T, r) / len(x), "divide by 2 n"),
            "one late": (
                lambda delta, x, r: tail(delta @ x.T, r + 1) / (2 * len(x)),
                "r is missed",
            ),
            "in place": (lambda delta, x, r: in_place(x, 1.0).sum(), "x itself was changed"),
        },
    ),
    checks.check_first_update: (
        first_update,
        {
            "once": (lambda *a: first_update(*a) / a[-1], "scaling stands once"),
            "not at all": (lambda *a: first_update(*a[:4], 1), "scaling is missing"),
            "uphill": (lambda *a: -first_update(*a), "against the gradient"),
            "no lr": (lambda G, x, A, _, s: first_update(G, x, A, 1, s), "lr is missing"),
            "only B": (lambda G, x, A, lr, s: -lr * s * G.T @ x @ A.T, "the shape of B"),
            "transposed": (lambda *a: first_update(*a).T, "ΔW is transposed"),
            "full fine-tuning": (lambda G, x, A, lr, s: -lr * G.T @ x, "of full fine-tuning"),
            "cubed": (lambda *a: first_update(*a) * a[-1], "ΔW[0, 0] is"),
            "no return": (loses_return, "is the `return` missing?"),
        },
    ),
}
