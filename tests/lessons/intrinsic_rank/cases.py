"""Answers to the exercises."""

import numpy as np

from lora_edu.course.intrinsic_rank import checks

USUAL = {"start": "pretrained", "degrees": 45, "labels": "right", "lr": 1e-3, "epochs": 30}


# -- a fair comparison ---------------------------------------------------------------------------


def best(method, by=np.mean, part="validation"):
    return max(method[part], key=lambda setting: by(method[part][setting]))


def at(method, setting):
    return np.array(method["test"][setting])


def alone(method):
    return at(method, best(method))


def chosen_by(by=np.mean, part="validation"):
    """An answer that chooses its settings by something else."""
    return lambda full, lora: at(full, best(full, by, part)) - at(lora, best(lora, by, part))


def fair(full, lora):
    return alone(full) - alone(lora)


def anew(full, lora):
    return np.max([*full["test"].values()], axis=0) - np.max([*lora["test"].values()], axis=0)


def all_settings(full, lora):
    return np.mean([*full["test"].values()], axis=0) - np.mean([*lora["test"].values()], axis=0)


def on_validation(full, lora):
    runs = [np.array(method["validation"][best(method)]) for method in (full, lora)]
    return runs[0] - runs[1]


def by_place(full, lora):
    def place(method):
        return [*method["test"].values()][[*method["validation"]].index(best(method))]

    return np.subtract(place(full), place(lora))


# -- a cut by outputs ----------------------------------------------------------------------------


def directions(matrix, r, first=0):
    return np.linalg.svd(matrix, full_matrices=False)[0][:, first : first + r]


def along(matrix, delta, r, first=0):
    U = directions(matrix, r, first)
    return U @ (U.T @ delta)


def cut(delta, x, r):
    return along(delta @ x.T, delta, r)


def plain(matrix, r, power=1):
    U, S, Vt = np.linalg.svd(matrix, full_matrices=False)
    return (U[:, :r] * S[:r] ** power) @ Vt[:r]


def root(x):
    values, V = np.linalg.eigh(x.T @ x)
    return V * np.sqrt(values) @ V.T


def columns_of_vt(delta, x, r):
    V = np.linalg.svd(x @ delta.T)[2][:, :r]
    return V @ V.T @ delta


def projector(delta, x, r):
    U = directions(delta @ x.T, r)
    return U @ U.T


def weaves(delta, x, r):
    U, S, Vt = np.linalg.svd(delta, full_matrices=False)
    most = np.argsort(-S * np.linalg.norm(x @ Vt.T, axis=0))[:r]
    return (U[:, most] * S[most]) @ Vt[most]


def weighed(delta, x, r):
    sizes = np.linalg.norm(x, axis=0)
    return plain(delta * sizes, r) / sizes


CASES = {
    checks.check_control: (
        USUAL | {"start": "random"},
        {
            "nothing is changed": dict(USUAL),
            "start and degrees are changed": USUAL | {"start": "random", "degrees": 0},
            "only labels is changed": USUAL | {"labels": "shuffled"},
            "must have the keys of `usual`": {"start": "random"},
            "neither more nor fewer: ['seed']": USUAL | {"seed": 1},
            "start must be one of pretrained, random": USUAL | {"start": "scratch"},
            "it must be a dict, got str": "start",
            "lr and epochs are still to be given": USUAL | {"lr": ..., "epochs": ...},
        },
    ),
    checks.check_fair: (
        fair,
        {
            "the setting of full, 0.01, is the best on test": chosen_by(part="test"),
            "the setting of full, 0.001, comes first": (
                lambda full, lora: at(full, 0.001) - alone(lora)
            ),
            "look it up by its name": by_place,
            "the best of each single run is chosen on test": anew,
            "18 settings are mixed in it": all_settings,
            "not turned over, not scaled": lambda full, lora: fair(lora, full),
            "yours is 100 · full at 0.05 - 100 · LoRA": lambda *both: 100 * fair(*both),
            "may be negative": lambda *both: abs(fair(*both)),
            "says who wins": lambda *both: fair(*both) > 0,
            "the gaps[0] is -0.01 and should be -0.006: nothing is": (
                lambda *both: fair(*both).round(2)
            ),
            "the order of the runs must stay": lambda *both: np.sort(fair(*both)),
            "sorted, other networks are compared": (
                lambda full, lora: np.sort(alone(full)) - np.sort(alone(lora))
            ),
            "no mean is subtracted": lambda full, lora: alone(full) - alone(lora).mean(),
            "that is their mean": lambda *both: fair(*both).mean(),
            "not a single number": lambda full, lora: 0.5,
            "it should be one of full minus one of LoRA": lambda full, lora: alone(full),
            "a method minus itself": lambda full, lora: fair(full, full),
            "the gaps were divided": lambda full, lora: fair(full, lora) / alone(full),
            "that is a ratio": lambda full, lora: alone(full) / alone(lora),
            "gaps on validation": on_validation,
            "those are settings": lambda full, lora: (best(full), best(lora)),
            "each of the 24 runs": lambda *both: fair(*both)[:3],
        },
    ),
    checks.check_cut_by_outputs: (
        cut,
        {
            "the inputs play no part": lambda delta, x, r: plain(delta, r),
            "the cut of the outputs: undo x": lambda delta, x, r: plain(delta @ x.T, r),
            "turned over: undo x": lambda delta, x, r: plain(x @ delta.T, r),
            "each input was weighed alone": weighed,
            "not taken off": lambda delta, x, r: plain(delta @ root(x) / 3, r),
            "the root of xᵀx came in twice": (
                lambda delta, x, r: plain(delta @ root(x), r) @ root(x)
            ),
            "the inputs' directions": lambda delta, x, r: along(x.T, delta.T, r).T,
            "the update is missing": projector,
            "all directions were kept": lambda delta, x, r: delta,
            "what the cut leaves out": lambda delta, x, r: delta - cut(delta, x, r),
            "it is transposed": lambda *a: cut(*a).T,
            "strengths [-115.429  -24.307] = -1 · σ": lambda *a: -cut(*a),
            "directions [2, 3], counted": lambda delta, x, r: along(delta @ x.T, delta, r, 1),
            "the mean of the inputs": lambda delta, x, r: cut(delta, x - x.mean(0), r),
            "only 2 of 5 are used": lambda delta, x, r: cut(delta, x[:r], r),
            "x came in twice": lambda delta, x, r: along(delta @ x.T @ x, delta, r),
            "do the outputs, delta xᵀ, have those": weaves,
            "are its numbers rounded?": lambda *a: cut(*a).round(2),
            "return D, one matrix: not its parts": lambda delta, x, r: (cut(delta, x, r), delta),
            "an input is a row of x": lambda delta, x, r: along(delta @ x, delta, r),
            "transpose delta": lambda delta, x, r: along((x @ delta).T, delta, r),
            "belong to the examples": lambda delta, x, r: along(x @ delta.T, delta, r),
            "its rows are the directions": columns_of_vt,
            "to the left of delta": lambda delta, x, r: delta @ projector(delta, x, r),
            "the order is delta, x, r": lambda delta, x, r: cut(x, delta, r),
            "entry by entry": lambda delta, x, r: along((x * delta).T, delta, r),
            "its rank is 1: with 2": lambda delta, x, r: cut(delta, x, 1),
            "its rank must be at most 2, got 3": lambda delta, x, r: cut(delta, x, r + 1),
            "are kept or struck": lambda delta, x, r: delta * (np.arange(delta.shape[1]) < r),
            "D has shape (1, 5), not (5, 5): that of delta": lambda *a: cut(*a)[:1],
        },
    ),
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [
    ("lr=1e-2, r=4)", "lr=1e-2, r=1)", range(1, 4)),
    ("lora_alpha=1024)", "lora_alpha=16)", 1),
]
