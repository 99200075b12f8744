"""Answers to the exercises."""

import numpy as np
from lessons import loses_return

from lora_edu import lowrank
from lora_edu.course.intrinsic_rank import checks

cut = lowrank.best_approximation


def weakest(W0, W, r):
    U, S, Vt = np.linalg.svd(W - W0, full_matrices=False)
    return W0 + (U[:, -r:] * S[-r:]) @ Vt[-r:]


def without_sigma(W0, W, r):
    U, _, Vt = lowrank.truncated_svd(W - W0, r)
    return W0 + U @ Vt


def choose(validation, test, best=None, ddof=1):
    rate = max(validation, key=best or (lambda lr: np.mean(validation[lr])))
    return rate, np.mean(test[rate]), np.std(test[rate], ddof=ddof)


def share(y, lora, full, classes):
    of = np.isin(y, classes)
    return lora[of].mean() / full[of].mean()


def dimension(accuracy, full):
    return min(d for d, a in accuracy.items() if a >= 0.9 * full)


CASES = {
    checks.check_truncate: (
        lambda W0, W, r: W0 + cut(W - W0, r),
        {
            "no W0": (lambda W0, W, r: cut(W - W0, r), "the update alone"),
            "the weights": (lambda W0, W, r: cut(W, r), "W itself was cut"),
            "on W": (lambda W0, W, r: W + cut(W - W0, r), "not of W"),
            "sign": (lambda W0, W, r: W0 + cut(W0 - W, r), "the sign"),
            "weakest": (weakest, "the first r are the strongest"),
            "no sigma": (without_sigma, "the singular values are missing"),
            "columns": (lambda W0, W, r: W0 + (W - W0) * (np.arange(4) < r), "first r columns"),
            "factors": (lambda W0, W, r: lowrank.truncated_svd(W - W0, r), "got tuple"),
            "transposed": (lambda W0, W, r: (W0 + cut(W - W0, r)).T, "the shape of W0, (6, 4)"),
            "nothing": (loses_return, "is the `return` missing?"),
            "all of it": (lambda W0, W, r: W, "the shape is right, but"),
        },
    ),
    checks.check_choose: (
        choose,
        {
            "on test": (
                lambda v, t: choose(v, t, lambda lr: np.mean(t[lr])),
                "1.0 is best on test",
            ),
            "lucky run": (lambda v, t: choose(v, t, lambda lr: max(v[lr])), "one lucky run"),
            "last seed": (lambda v, t: choose(v, t, lambda lr: v[lr][-1]), "for the last seed"),
            "median": (lambda v, t: choose(v, t, lambda lr: np.median(v[lr])), "by the median"),
            "validation": (lambda v, t: (0.01, np.mean(v[0.01]), 0.05), "the mean on validation"),
            "ddof": (lambda v, t: choose(v, t, ddof=0), "divide by n - 1"),
            "standard error": (
                lambda v, t: (*choose(v, t)[:2], np.std(t[0.01], ddof=1) / 3**0.5),
                "the standard error",
            ),
            "variance": (lambda v, t: (*choose(v, t)[:2], 0.05**2), "take its root"),
            "a text": (
                lambda v, t: (0.01, "0.75", 0.05),
                "must be a number or an array of numbers",
            ),
            "only the rate": (lambda v, t: choose(v, t)[0], "return three"),
        },
    ),
    checks.check_share: (
        share,
        {
            "the flaw": (
                lambda y, lora, full, classes: lora[np.isin(y, classes)].mean() / full.mean(),
                "that is the flaw",
            ),
            "flaw turned": (
                lambda y, lora, full, classes: lora.mean() / full[np.isin(y, classes)].mean(),
                "both on the same",
            ),
            "all": (lambda y, lora, full, classes: lora.mean() / full.mean(), "on all classes"),
            "turned": (lambda y, lora, full, c: share(y, full, lora, c), "LoRA over full"),
            "difference": (
                lambda y, lora, full, c: lora[np.isin(y, c)].mean() - full[np.isin(y, c)].mean(),
                "not a share",
            ),
            "one for each": (
                lambda y, lora, full, c: lora[np.isin(y, c)] / full.mean(),
                "return one number, got shape",
            ),
            "alone": (lambda y, lora, full, c: lora[np.isin(y, c)].mean(), "LoRA alone"),
        },
    ),
    checks.check_dimension: (
        dimension,
        {
            "largest": (
                lambda acc, full: max(d for d, a in acc.items() if a >= 0.9 * full),
                "the largest d",
            ),
            "first": (
                lambda acc, full: next(d for d, a in acc.items() if a >= 0.9 * full),
                "the first in the dict",
            ),
            "absolute": (lambda acc, full: dimension(acc, 1), "0.9 of full, not 0.9"),
            "strictly": (
                lambda acc, full: min(d for d, a in acc.items() if a > 0.9 * full + 1e-9),
                ">=",
            ),
            "accuracy": (lambda acc, full: acc[dimension(acc, full)], "that is an accuracy"),
            "nearest": (
                lambda acc, full: min(acc, key=lambda d: abs(acc[d] - 0.9 * full)),
                "does not reach",
            ),
            "all of them": (
                lambda acc, full: [d for d in acc if acc[d] >= 0.9 * full],
                "return one number, the least d",
            ),
        },
    ),
}
