"""Experiments: a small network, pretrained on upright digits, meets another task."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from lora_edu.course.datasets import Digits, accuracy, digits, mlp
from lora_edu.course.digits import (
    INVERTED,
    PRETRAINING,
    SPLIT,
    TURNED,
    adapt,
    pretrained,
    task,
    train,
    trainer,
    truncated,
    updates,
    upright,
)
from lora_edu.course.experiments import Row, Settings, experiment
from lora_edu.course.intrinsic import Subspace, r90

# Half decades, and for each method those of them between which its best rate lies.
LR = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
SHIFTED = {
    "full": LR[1:5], "r=1": LR[3:6], "r=2": LR[2:6], "r=4": LR[2:5], "r=8": LR[2:5],
    "r=16": LR[1:5],
}  # fmt: skip
PATIENT = {"r=1": LR[2:5], "r=4": LR[1:5], "r=16": LR[1:4]}
BY_HEART = {"full": LR[1:5], "r=1": LR[2:5], "r=4": LR[2:5], "r=16": LR[2:5]}
SPACES = {"all": LR[1:5]} | {
    f"{kind} d={d}": LR[4:] if d < 128 else LR[3:7]
    for kind in ("sparse", "dense")
    for d in (32, 64, 128, 192, 256)
}
TRAINING = {"epochs": 30, "size": 64}
LONG = {"epochs": 150, "size": 64}
CUTS = (0, 1, 2, 4, 8, 16, 32, 64, 256)


def _rank(method: str) -> int | None:
    return None if method == "full" else int(method.removeprefix("r="))


def _shift(
    method: str, lr: float, seed: int, data: Settings, training: Settings, cuts: Sequence[int],
    pretraining: Settings,
) -> Row:  # fmt: skip
    """Fine-tune on another task; measure the update, and what is left of the old task."""
    init, base = pretrained(seed, data, pretraining)
    r, now, before = _rank(method), task(**data), upright(data)
    model = adapt(base, now, r, lr, seed, **training)
    deltas = updates(model, base)
    row = {
        "validation": accuracy(model, now.validation),
        "test": accuracy(model, now.test),
        "upright": accuracy(model, before.test),
        "r90": r90(deltas["fc2"]),
    }
    if r is not None:
        return row
    cut = [truncated(base, deltas, k) for k in cuts]
    W0, W_init = base.get_parameter("fc2.weight"), init.get_parameter("fc2.weight")
    noise = torch.randn(W0.shape, generator=torch.Generator().manual_seed(seed))
    return row | {
        "before": accuracy(base, now.test),
        "upright_before": accuracy(base, before.test),
        "r90_W0": r90(W0),
        "r90_pretraining": r90(W0 - W_init),
        "r90_noise": r90(noise),
        "truncated": [accuracy(m, now.test) for m in cut],
    }


@experiment()
def rotated(
    method: str, lr: float, seed: int, *,
    rates: Settings = SHIFTED, data: Settings = TURNED, training: Settings = TRAINING,
    cuts: Sequence[int] = CUTS, pretraining: Settings = PRETRAINING,
) -> Row:  # fmt: skip
    """Turn the digits."""
    return _shift(method, lr, seed, data, training, cuts, pretraining)


@experiment()
def inverted(
    method: str, lr: float, seed: int, *,
    rates: Settings = SHIFTED, data: Settings = INVERTED, training: Settings = TRAINING,
    cuts: Sequence[int] = CUTS, pretraining: Settings = PRETRAINING,
) -> Row:  # fmt: skip
    """Turn light and dark."""
    return _shift(method, lr, seed, data, training, cuts, pretraining)


@experiment()
def patient(
    method: str, lr: float, seed: int, *,
    rates: Settings = PATIENT, data: Settings = INVERTED, training: Settings = LONG,
    cuts: Sequence[int] = CUTS, pretraining: Settings = PRETRAINING,
) -> Row:  # fmt: skip
    """Turn light and dark, and train five times as long."""
    return _shift(method, lr, seed, data, training, cuts, pretraining)


def memorise(
    model: nn.Module, data: Digits, lr: float, seed: int, size: int, passes: int, checks: int
) -> list[float]:
    """Train in batches of ``size`` until all is learned, or no more is; return how it went.

    That is the accuracy on the training part after each check, ``passes`` apart. The end: all of
    it is right; or the last three rose by less than 0.01 above all before; or there are ``checks``.
    """
    more, curve = trainer(model, data, lr, seed, size), [0.0]
    while curve[-1] < 1 and len(curve) <= checks:
        more(passes)
        curve.append(accuracy(model, data.train))
        if len(curve) > 4 and max(curve[-3:]) < max(curve[:-3]) + 0.01:
            break
    return curve[1:]


# Not its ``passes``: rounding decides when the last, smallest rises end.
@experiment(compared=("validation", "train", "curve", "test", "r90", "r90_right"))
def shuffled(
    method: str, lr: float, seed: int, *, rates: Settings = BY_HEART, data: Settings = TURNED,
    size: int = 250, passes: int = 100, checks: int = 15, pretraining: Settings = PRETRAINING,
) -> Row:  # fmt: skip
    """Learn labels without sense by heart: nothing to validate; who learns most, soonest, wins."""
    _, base = pretrained(seed, data, pretraining)
    r, senseless = _rank(method), digits(**data, shuffle_labels=seed)
    model = adapt(base, senseless, r, lr, seed, epochs=0)
    curve = memorise(model, senseless, lr, seed, size, passes, checks)
    row = {
        "validation": float(np.mean([max(curve[:n]) for n in range(1, checks + 1)])),
        "train": max(curve),
        "passes": passes * len(curve),
        "curve": curve,
        "test": accuracy(model, senseless.test),
        "r90": r90(updates(model, base)["fc2"]),
    }
    if r is not None:
        return row
    # The same with the right labels: what the rate alone does to the rank.
    right = task(**data)
    twin = adapt(base, right, r, lr, seed, epochs=0)
    memorise(twin, right, lr, seed, size, passes, checks)
    return row | {"r90_right": r90(updates(twin, base)["fc2"])}


@experiment()
def intrinsic(
    method: str, lr: float, seed: int, *, rates: Settings = SPACES, data: Settings = SPLIT,
    widths: Sequence[int] = (64, 64, 64, 10), training: Settings = TRAINING, block: int = 64,
) -> Row:  # fmt: skip
    """Train from the start, all parameters or d random directions."""
    digits_now, model = task(**data), mlp(*widths, seed=seed)
    if method != "all":
        kind, d = method.split(" d=")
        model = Subspace(model, int(d), kind, seed=seed, block=block)
    train(model, digits_now, lr, seed, **training)
    return {
        "validation": accuracy(model, digits_now.validation),
        "test": accuracy(model, digits_now.test),
    }
