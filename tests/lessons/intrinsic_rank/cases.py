"""Answers to the exercises."""

import numpy as np
from lessons import loses_return

from lora_edu.course.intrinsic_rank import checks

USUAL = {"start": "pretrained", "degrees": 45, "labels": "right", "lr": 1e-3, "epochs": 30}


# -- a fair comparison ---------------------------------------------------------------------------


def best(method, by=np.mean, part="validation"):
    return max(method[part], key=lambda setting: by(method[part][setting]))


def fair(full, lora, by=np.mean, part="validation", told="test"):
    return np.array(full[told][best(full, by, part)]) - lora[told][best(lora, by, part)]


def of_full(full, lora):
    return np.array(full["test"][best(full)]) - lora["test"][best(full)]


def of_lora(full, lora):
    return np.array(full["test"][best(lora)]) - lora["test"][best(lora)]


def both_parts(full, lora):
    def chosen(method):
        both = {s: runs + method["test"][s] for s, runs in method["validation"].items()}
        return np.array(method["test"][best({"both": both}, part="both")])

    return chosen(full) - alone(lora)


def full_untuned(full, lora):
    return np.array(full["test"][0.001]) - alone(lora)


def largest(full, lora):
    return np.array(full["test"][max(full["test"])]) - lora["test"][max(lora["test"])]


def anew(full, lora):
    return np.max([*full["test"].values()], axis=0) - np.max([*lora["test"].values()], axis=0)


def all_settings(full, lora):
    return np.mean([*full["test"].values()], axis=0) - np.mean([*lora["test"].values()], axis=0)


def sorted_runs(full, lora):
    return np.sort(full["test"][best(full)]) - np.sort(lora["test"][best(lora)])


def by_place(full, lora):
    def place(method):
        return [*method["test"].values()][[*method["validation"]].index(best(method))]

    return np.subtract(place(full), place(lora))


def alone(method):
    return np.array(method["test"][best(method)])


# -- a cut by outputs ----------------------------------------------------------------------------


def along(matrix, delta, r, first=0):
    U = np.linalg.svd(matrix, full_matrices=False)[0][:, first : first + r]
    return U @ (U.T @ delta)


def cut(delta, x, r):
    return along(delta @ x.T, delta, r)


def plain(matrix, r, power=1):
    U, S, Vt = np.linalg.svd(matrix, full_matrices=False)
    return (U[:, :r] * S[:r] ** power) @ Vt[:r]


def root(x):
    values, V = np.linalg.eigh(x.T @ x)
    return V * np.sqrt(values) @ V.T


def root_twice(delta, x, r):
    return plain(delta @ root(x), r) @ root(x)


def columns_of_vt(delta, x, r):
    V = np.linalg.svd(x @ delta.T)[2][:, :r]
    return V @ V.T @ delta


def weakest(delta, x, r):
    U = np.linalg.svd(delta @ x.T, full_matrices=False)[0][:, -r:]
    return U @ U.T @ delta


def projector(delta, x, r):
    U = np.linalg.svd(delta @ x.T, full_matrices=False)[0][:, :r]
    return U @ U.T


def single_outputs(delta, x, r):
    strong = np.argsort(-np.linalg.norm(delta @ x.T, axis=1))[:r]
    return delta * np.isin(np.arange(len(delta)), strong)[:, None]


def squared(delta, x, r):
    return plain(delta @ x.T @ x, r) @ np.linalg.inv(x.T @ x)


def weaves(delta, x, r):
    U, S, Vt = np.linalg.svd(delta, full_matrices=False)
    most = np.argsort(-S * np.linalg.norm(x @ Vt.T, axis=0))[:r]
    return (U[:, most] * S[most]) @ Vt[most]


def first_inputs(delta, x, r):
    return delta * (np.arange(delta.shape[1]) < r)


def weighed(delta, x, r):
    sizes = np.linalg.norm(x, axis=0)
    return plain(delta * sizes, r) / sizes


CASES = {
    checks.check_control: (
        USUAL | {"start": "random"},
        {
            "nothing": (dict(USUAL), "nothing is changed"),
            "two": (USUAL | {"start": "random", "degrees": 0}, "start and degrees are changed"),
            "longer": (USUAL | {"start": "random", "epochs": 300}, "cannot tell which did it"),
            "labels": (USUAL | {"labels": "shuffled"}, "only labels is changed"),
            "turn": (USUAL | {"degrees": 90}, "the claim can stand"),
            "alone": ({"start": "random"}, "must have the keys of `usual`"),
            "new key": (USUAL | {"seed": 1}, "neither more nor fewer: ['seed']"),
            "other word": (USUAL | {"start": "scratch"}, "start must be one of pretrained, random"),
            "a text": ("start", "it must be a dict, got str"),
            "half": (USUAL | {"lr": ..., "epochs": ...}, "lr and epochs are still to be given"),
        },
    ),
    checks.check_fair: (
        fair,
        {
            "on test": (lambda full, lora: fair(full, lora, part="test"), "is the best on test"),
            "on both": (both_parts, "the setting of full, 0.01, is the best on test"),
            "full untuned": (full_untuned, "the setting of full, 0.001, comes first"),
            "largest": (largest, "the setting of full, 0.1, is the largest number, as `max`"),
            "as lists": (lambda full, lora: fair(full, lora, by=list), "the best first run"),
            "LoRA on test": (
                lambda full, lora: alone(full) - lora["test"][best(lora, part="test")],
                "the setting of LoRA, 0.01, is the best on test",
            ),
            "anew": (anew, "one setting for all runs"),
            "lucky": (lambda full, lora: fair(full, lora, by=max), "the one luckiest run"),
            "worst": (lambda full, lora: fair(full, lora, by=lambda v: -sum(v)), "is the worst"),
            "rate of full": (of_full, "of LoRA, 0.05, is the best one of the other method"),
            "rate of LoRA": (of_lora, "of full, 0.02, is the best one of the other method"),
            "all settings": (all_settings, "the mean over all settings"),
            "by place": (by_place, "look it up by its name"),
            "sign": (lambda full, lora: fair(lora, full), "turned over"),
            "absolute": (lambda full, lora: abs(fair(full, lora)), "may be negative"),
            "rounded": (lambda full, lora: fair(full, lora).round(2), "is rounded, [ 0.14"),
            "percent": (lambda full, lora: 100 * fair(full, lora), "a hundred times"),
            "who wins": (lambda full, lora: fair(full, lora) > 0, "says who wins"),
            "sorted": (lambda full, lora: np.sort(fair(full, lora)), "the order of the runs"),
            "sorted runs": (sorted_runs, "or other networks are compared"),
            "minus mean": (
                lambda full, lora: alone(full) - alone(lora).mean(), "no mean is subtracted"
            ),
            "mean": (lambda full, lora: fair(full, lora).mean(), "that is their mean"),
            "one number": (lambda full, lora: 0.5, "not a single number"),
            "full alone": (lambda full, lora: alone(full), "full alone"),
            "LoRA alone": (lambda full, lora: alone(lora), "LoRA alone"),
            "divided": (
                lambda full, lora: fair(full, lora) / alone(full), "the gaps were divided"
            ),
            "ratio": (lambda full, lora: alone(full) / alone(lora), "a ratio"),
            "validation": (
                lambda full, lora: fair(full, lora, told="validation"), "gaps on validation"
            ),
            "settings": (lambda full, lora: (best(full), best(lora)), "those are settings"),
            "three runs": (lambda full, lora: fair(full, lora)[:3], "each of the four runs"),
        },
    ),
    checks.check_cut_by_outputs: (
        cut,
        {
            "plain": (lambda delta, x, r: plain(delta, r), "the inputs play no part"),
            "outputs": (lambda delta, x, r: plain(delta @ x.T, r), "undo x"),
            "outputs, turned": (lambda delta, x, r: plain(x @ delta.T, r), "turned over: undo x"),
            "weighed": (weighed, "each input was weighed alone"),
            "root": (lambda delta, x, r: plain(delta @ root(x), r), "not taken off"),
            "root twice": (root_twice, "came in twice"),
            "inputs": (lambda delta, x, r: along(x.T, delta.T, r).T, "directions of the inputs"),
            "projector": (projector, "the update is missing"),
            "all": (lambda delta, x, r: delta, "all directions were kept"),
            "transposed": (lambda delta, x, r: cut(delta, x, r).T, "it is transposed"),
            "sign": (lambda delta, x, r: -cut(delta, x, r), "right times -1: why?"),
            "weakest": (weakest, "the weakest directions"),
            "skipped": (lambda delta, x, r: along(delta @ x.T, delta, r, 1), "begins at 0"),
            "centred": (lambda delta, x, r: cut(delta, x - x.mean(0), r), "the mean of the inputs"),
            "few": (lambda delta, x, r: cut(delta, x[:r], r), "only 2 of 5 are used"),
            "squared": (squared, "x came in twice"),
            "scaled root": (lambda delta, x, r: plain(delta @ root(x) / 3, r), "not taken off"),
            "weaves": (weaves, "delta's own directions are kept"),
            "what is left": (lambda *a: a[0] - cut(*a), "what the cut leaves out"),
            "rounded": (lambda *a: cut(*a).round(2), "(are its numbers rounded?)"),
            "strips": (lambda *a: (cut(*a), a[0]), "return D, one matrix: not its parts"),
            "no sigma": (
                lambda delta, x, r: plain(delta @ x.T, r, 0) @ np.linalg.pinv(x).T,
                "the singular values are missing",
            ),
            "sigma twice": (
                lambda delta, x, r: plain(delta @ x.T, r, 2) @ np.linalg.pinv(x).T,
                "the singular values came in twice",
            ),
            "x as columns": (lambda delta, x, r: along(delta @ x, delta, r), "a row of x"),
            "delta as it is": (
                lambda delta, x, r: along((x @ delta).T, delta, r), "transpose delta"
            ),
            "left": (lambda delta, x, r: along(x @ delta.T, delta, r), "belong to the examples"),
            "columns of Vt": (columns_of_vt, "its rows are the directions"),
            "right side": (
                lambda delta, x, r: delta @ projector(delta, x, r), "to the left of delta"
            ),
            "swapped": (lambda delta, x, r: cut(x, delta, r), "the order is delta, x, r"),
            "entries": (lambda delta, x, r: along((x * delta).T, delta, r), "entry by entry"),
            "always one": (lambda delta, x, r: cut(delta, x, 1), "its rank is 1: with 2"),
            "too many": (lambda delta, x, r: cut(delta, x, r + 1), "its rank must be at most 2"),
            "single outputs": (single_outputs, "are kept or struck"),
            "first inputs": (first_inputs, "are kept or struck"),
            "a number": (lambda delta, x, r: np.linalg.norm(x), "return D, of the shape of delta"),
            "too few rows": (lambda delta, x, r: cut(delta, x, r)[:1], "D has the shape of delta"),
            "nothing": (loses_return, "is the `return` missing?"),
        },
    ),
}  # fmt: skip
