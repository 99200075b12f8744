"""Checks: a truncated update, a rate chosen fairly, a fair share, a dimension."""

from collections.abc import Callable

import numpy as np

from lora_edu.course.checks import call, check, compare, numbers


@check
def check_truncate(truncate: Callable) -> None:
    """``truncate(W0, W, r)`` is W0 plus the best approximation of rank r of W - W0."""
    rng = np.random.default_rng(0)
    W0, W = rng.standard_normal((2, 6, 4))
    U, S, Vt = np.linalg.svd(W - W0, full_matrices=False)
    U_1, s_1, V_1 = np.linalg.svd(W, full_matrices=False)
    for r in (2, 1, 4):
        got = numbers(call(truncate, W0=W0, W=W, r=r), "the result")
        assert got.shape == W0.shape, f"it must have the shape of W0, {W0.shape}, got {got.shape}"
        cut = (U[:, :r] * S[:r]) @ Vt[:r]
        wrong = {
            "the update alone: add it to W0": cut,
            "W itself was cut: cut W - W0, and add W0": (U_1[:, :r] * s_1[:r]) @ V_1[:r],
            "the update was added to W: it goes on top of W0, not of W": W + cut,
            "the sign: the update is W - W0": W0 - cut,
            "the weakest directions were kept: the first r are the strongest": W0
            + (U[:, -r:] * S[-r:]) @ Vt[-r:],
            "the singular values are missing": W0 + U[:, :r] @ Vt[:r],
            "the first r columns were kept: directions are singular vectors": W0
            + (W - W0) * (np.arange(4) < r),
        }
        for why, value in wrong.items():
            assert np.allclose(value, W0 + cut) or not np.allclose(got, value), why
        compare(got, W0 + cut, "the result")


@check
def check_choose(choose: Callable) -> None:
    """``choose(validation, test)``: best mean validation, then mean and deviation of its test."""
    runs = {  # rate: validation, test, and by which slip one chooses it
        1.0: ([0.5, 0.5, 0.5], [0.9, 0.9, 0.9], "best on test"),
        0.1: ([0.7, 0.9, 0.5], [0.8, 0.8, 0.8], "best in one lucky run"),
        0.01: ([0.8, 0.8, 0.8], [0.7, 0.8, 0.75], "none"),
        1e-3: ([0.6, 0.82, 0.81], [0.8, 0.8, 0.8], "best by the median"),
        1e-4: ([0.5, 0.5, 0.85], [0.6, 0.6, 0.6], "best for the last seed"),
    }
    validation, test, why = ({rate: row[at] for rate, row in runs.items()} for at in range(3))
    got = call(choose, validation=validation, test=test)
    three = isinstance(got, (tuple, list)) and len(got) == 3
    assert three, f"return three: rate, mean, deviation; got {type(got).__name__}"
    rate, (mean, deviation) = got[0], numbers(got[1:], "mean and deviation")
    assert rate in test, f"the first must be a rate of {list(test)}, got {rate}"
    assert rate == 0.01, f"{rate} is {why[rate]}: choose by the mean over the seeds on validation"
    assert not np.isclose(mean, 0.8), "that is the mean on validation, or the best run on test"
    assert np.isclose(mean, 0.75), f"the mean on test is 0.75, got {mean}"
    assert not np.isclose(deviation, np.std(test[0.01])), "divide by n - 1, not by n: ddof=1"
    assert not np.isclose(deviation, 0.05**2), "that is the variance: take its root"
    assert not np.isclose(deviation, 0.05 / 3**0.5), "that is the standard error: no root of n"
    right = np.isclose(deviation, 0.05)
    assert right, f"the standard deviation on test is 0.05, got {deviation:.3g}"


@check
def check_share(share: Callable) -> None:
    """``share(y, lora, full, classes)``: accuracy of LoRA over that of full, on these classes."""
    y = np.array([0, 1, 2, 3] * 5)
    lora, full = np.array([y < 2, y != 3]) & (np.arange(20) != 4)
    for classes in ([0, 1, 2], [0, 3], [0, 1, 2, 3]):
        got = numbers(
            call(share, y=y, lora=lora, full=full, classes=np.array(classes)), "the share"
        )
        assert np.ndim(got) == 0, f"return one number, got shape {np.shape(got)}"
        of = np.isin(y, classes)
        a, b = lora[of].mean(), full[of].mean()
        right, everywhere = a / b, lora.mean() / full.mean()
        wrong = {
            "LoRA on these classes, full fine-tuning on all: that is the flaw": a / full.mean(),
            "LoRA on all classes, full fine-tuning on these: both on the same": lora.mean() / b,
            "that is on all classes: on the given ones only": everywhere,
            "it is turned over: LoRA over full": b / a,
            "that is a difference, not a share": a - b,
            "that is the accuracy of LoRA alone": a,
        }
        for why, value in wrong.items():
            assert np.isclose(value, right) or not np.isclose(got, value), why
        assert np.isclose(got, right), f"classes {classes}: {got}, should be {right:.4g}"


@check
def check_dimension(dimension: Callable) -> None:
    """``dimension(accuracy, full)`` is the least d whose accuracy is at least 0.9 · full."""
    accuracy = {128: 0.8, 1024: 0.97, 512: 0.95, 64: 0.75, 256: 0.9, 32: 0.5}
    for full, right in ((0.8, 64), (1.0, 256), (0.5, 32), (0.9, 256)):
        got = numbers(call(dimension, accuracy=dict(accuracy), full=full), "the dimension")
        assert np.ndim(got) == 0, f"return one number, the least d, got shape {np.shape(got)}"
        got = float(got)
        reached = [d for d, a in accuracy.items() if a >= 0.9 * full]
        wrong = {
            min(accuracy, key=lambda d, at=0.9 * full: abs(accuracy[d] - at)): "that d is the "
            "nearest, but it does not reach 0.9 of full",
            accuracy[right]: "that is an accuracy: return the d that reaches it",
            min(d for d in accuracy if d > right): "exactly 0.9 of full counts as well: >=",
            min(d for d, a in accuracy.items() if a >= 0.9): "0.9 of full, not 0.9",
            reached[0]: "that is the first in the dict: it need not be in order",
            max(reached): "that is the largest d that reaches it, not the least",
        }
        if got != right:
            raise AssertionError(wrong.get(got, f"full = {full}: {got:g}, should be {right}"))
