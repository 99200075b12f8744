"""Experiments: a small network, pretrained on upright digits, meets another task."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from lora_edu.course.datasets import Digits, accuracy, digits, mlp
from lora_edu.course.digits import adapt, pretrain, train, trainer, truncated, updates
from lora_edu.course.experiments import Row, experiment
from lora_edu.course.intrinsic import Subspace, r90

Settings = Mapping[str, Any]

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
CUTS = (0, 1, 2, 4, 8, 16, 32, 64, 256)
PRETRAINING = {"widths": (64, 256, 256, 10), "lr": 1e-3, "epochs": 30, "size": 64}

_digits = functools.cache(digits)


@functools.lru_cache(maxsize=8)
def _pretrained(seed: int, **how: Any) -> tuple[nn.Module, nn.Module]:
    torch.set_num_threads(1)  # so small that a second one is in the way
    return pretrain(seed, **how)


def _rank(method: str) -> int | None:
    return None if method == "full" else int(method.removeprefix("r="))


def _shift(
    data: Digits, method: str, lr: float, seed: int, epochs: int, cuts: Sequence[int], how: Settings
) -> Row:
    """Fine-tune on another task; measure the update, and what is left of the old task."""
    init, base = _pretrained(seed, **how)
    r, upright = _rank(method), _digits()
    model = adapt(base, data, r, lr, seed, epochs, how["size"])
    deltas = updates(model, base)
    row = {
        "validation": accuracy(model, data.validation),
        "test": accuracy(model, data.test),
        "upright": accuracy(model, upright.test),
        "r90": r90(deltas["fc2"]),
    }
    if r is not None:
        return row
    cut = [truncated(base, deltas, k) for k in cuts]
    W0, W_init = (model.get_parameter("fc2.weight") for model in (base, init))
    noise = torch.randn(W0.shape, generator=torch.Generator().manual_seed(seed))
    return row | {
        "before": accuracy(base, data.test),
        "upright_before": accuracy(base, upright.test),
        "r90_W0": r90(W0),
        "r90_pretraining": r90(W0 - W_init),
        "r90_noise": r90(noise),
        "truncated": [accuracy(m, data.test) for m in cut],
    }


@experiment()
def rotated(
    method: str, lr: float, seed: int, *,
    rates: Settings = SHIFTED, degrees: float = 45, epochs: int = 30,
    cuts: Sequence[int] = CUTS, pretraining: Settings = PRETRAINING,
) -> Row:  # fmt: skip
    """Turn the digits."""
    return _shift(_digits(degrees), method, lr, seed, epochs, cuts, pretraining)


@experiment()
def inverted(
    method: str, lr: float, seed: int, *,
    rates: Settings = SHIFTED, epochs: int = 30,
    cuts: Sequence[int] = CUTS, pretraining: Settings = PRETRAINING,
) -> Row:  # fmt: skip
    """Turn light and dark."""
    return _shift(_digits(inverted=True), method, lr, seed, epochs, cuts, pretraining)


@experiment()
def patient(
    method: str, lr: float, seed: int, *,
    rates: Settings = PATIENT, epochs: int = 150,
    cuts: Sequence[int] = CUTS, pretraining: Settings = PRETRAINING,
) -> Row:  # fmt: skip
    """Turn light and dark, and train five times as long."""
    return _shift(_digits(inverted=True), method, lr, seed, epochs, cuts, pretraining)


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


@experiment()
def shuffled(
    method: str, lr: float, seed: int, *,
    rates: Settings = BY_HEART, degrees: float = 45,
    size: int = 250, passes: int = 100, checks: int = 15, pretraining: Settings = PRETRAINING,
) -> Row:  # fmt: skip
    """Learn labels without sense by heart: nothing to validate; who learns most, soonest, wins."""
    _, base = _pretrained(seed, **pretraining)
    r, data = _rank(method), digits(degrees, shuffle_labels=seed)
    model = adapt(base, data, r, lr, seed, epochs=0)
    curve = memorise(model, data, lr, seed, size, passes, checks)
    row = {
        "validation": float(np.mean([max(curve[:n]) for n in range(1, checks + 1)])),
        "train": max(curve),
        "passes": passes * len(curve),
        "curve": curve,
        "test": accuracy(model, data.test),
        "r90": r90(updates(model, base)["fc2"]),
    }
    if r is not None:
        return row
    # The same with the right labels: what the rate alone does to the rank.
    right = _digits(degrees)
    twin = adapt(base, right, r, lr, seed, epochs=0)
    memorise(twin, right, lr, seed, size, passes, checks)
    return row | {"r90_right": r90(updates(twin, base)["fc2"])}


@experiment()
def intrinsic(
    method: str, lr: float, seed: int, *,
    rates: Settings = SPACES, widths: Sequence[int] = (64, 64, 64, 10),
    epochs: int = 30, size: int = 64,
) -> Row:  # fmt: skip
    """Train from the start, all parameters or d random directions."""
    torch.set_num_threads(1)
    data, model = _digits(), mlp(*widths, seed=seed)
    if method != "all":
        kind, d = method.split(" d=")
        model = Subspace(model, int(d), kind, seed=seed)
    train(model, data, lr, seed, epochs, size)
    return {"validation": accuracy(model, data.validation), "test": accuracy(model, data.test)}
