"""Answers to the exercises."""

import numpy as np

from lora_edu.course.intrinsic_rank import checks

USUAL = {"start": "pretrained", "degrees": 45, "labels": "right", "lr": 1e-3, "epochs": 30}


# -- a fair comparison ---------------------------------------------------------------------------


def best(method, part="validation"):
    return max(method[part], key=lambda setting: np.mean(method[part][setting]))


def at(method, setting):
    return np.array(method["test"][setting])


def fair(full, lora, part="validation"):
    return at(full, best(full, part)) - at(lora, best(lora, part))


def by_place(full, lora):
    def place(method):
        return [*method["test"].values()][[*method["validation"]].index(best(method))]

    return np.subtract(place(full), place(lora))


# -- a cut by outputs ----------------------------------------------------------------------------


def along(matrix, delta, r, first=0):
    U = np.linalg.svd(matrix, full_matrices=False)[0][:, first : first + r]
    return U @ (U.T @ delta)


def cut(delta, x, r):
    return along(delta @ x.T, delta, r)


CASES = {
    checks.check_control: {
        "OK": USUAL | {"start": "random"},
        "nothing is changed": dict(USUAL),
        "start and degrees are changed": USUAL | {"start": "random", "degrees": 0},
        "only labels is changed": USUAL | {"labels": "shuffled"},
        "neither more nor fewer: ['seed']": USUAL | {"seed": 1},
        "start must be one of pretrained, random": USUAL | {"start": "scratch"},
        "lr and epochs are still to be given": USUAL | {"lr": ..., "epochs": ...},
    },
    checks.check_fair: {
        "OK": fair,
        "the setting of full, 0.01, is the best on test": lambda full, lora: fair(
            full, lora, "test"
        ),
        "look it up by its name": by_place,
        "not turned over, not scaled": lambda full, lora: fair(lora, full),
        "that is their mean": lambda *both: fair(*both).mean(),
        "no mean is subtracted": lambda full, lora: (
            at(full, best(full)) - np.mean(at(lora, best(lora)))
        ),
    },
    checks.check_cut_by_outputs: {
        "OK": cut,
        "the inputs play no part": lambda delta, x, r: along(delta, delta, r),
        "directions [2, 3], counted": lambda delta, x, r: along(delta @ x.T, delta, r, 1),
        "only 2 of 5 are used": lambda delta, x, r: cut(delta, x[:r], r),
        "an input is a row of x": lambda delta, x, r: along(delta @ x, delta, r),
        "its rank is 1: with 2": lambda delta, x, r: cut(delta, x, 1),
        "are kept or struck": lambda delta, x, r: delta * (np.arange(delta.shape[1]) < r),
    },
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [
    ("lr=1e-2, r=4)", "lr=1e-2, r=1)", range(1, 4)),
    ("lora_alpha=1024)", "lora_alpha=16)", 3),
]
