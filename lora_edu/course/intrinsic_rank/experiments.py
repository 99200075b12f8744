"""Experiments: the bet on trial. A seed redraws split, pretrained network and adapter.

What an experiment reports was chosen by its twin, ``NAME_tuning``, with seeds of its own.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lora_edu import lowrank
from lora_edu.course.datasets import Digits, accuracy
from lora_edu.course.digits import (
    INVERTED,
    PRETRAINING,
    TURNED,
    adapt,
    pretrain,
    pretrained,
    task,
    trainer,
    truncated,
    updates,
    upright,
)
from lora_edu.course.experiments import Row, Settings, experiment, settings
from lora_edu.course.intrinsic import r90

TRAINING, LONG = {"epochs": 30, "size": 64}, {"epochs": 150, "size": 64}
LR = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # half decades
CUTS = (1, 2, 4, 8, 16)
GRID = {"full": LR[1:6]} | {
    f"r={r} alpha={r * s}": LR for r in CUTS for s in (1, 4, 16, 64, 256, 1024)
}
PATIENT_GRID = {"full": LR[1:5]} | {
    f"r={r} alpha={r * s}": LR[1:6] if s == 1 else LR[1:5] for r in (1, 4, 16) for s in (1, 16, 64)
}
# What is reported: what the tuning chose, and on turned digits other rates, to see what is kept.
TURNED_RATES = {
    "full": LR[:6], "r=1 alpha=1": LR[3:6], "r=1 alpha=4": (1e-2,), "r=2 alpha=32": (3e-3,),
    "r=4 alpha=4": LR[2:6], "r=4 alpha=64": (3e-3,), "r=8 alpha=128": (3e-3,),
    "r=16 alpha=16": LR[2:6], "r=16 alpha=1024": LR[:3], "r=16 alpha=4096": (3e-4,),
    "r=64 alpha=64": LR[1:4],
}  # fmt: skip
INVERTED_RATES = {
    "full": (3e-3,), "r=1 alpha=1": (1e-2,), "r=16 alpha=16": (1e-2,),
    "r=1 alpha=256": (1e-3,), "r=16 alpha=1024": (1e-3,),
}  # fmt: skip
PATIENT_RATES = {
    "full": (1e-3,), "r=1 alpha=1": (1e-2,), "r=16 alpha=16": (3e-3,),
    "r=1 alpha=16": (3e-3,), "r=16 alpha=256": (3e-3,),
}  # fmt: skip
HEART_RATES = {
    "width=64 r=1 scale=1": (1e-2,), "width=64 r=3 scale=8": (3e-3,),
    "width=256 r=1 scale=1": (1e-2,), "width=256 r=4 scale=1": (1e-2,),
    "width=256 r=16 scale=64": (1e-3,), "full": (1e-3,), "full right": (1e-3,),
}  # fmt: skip


# -- another task: turned, or light and dark inverted --------------------------------------------


@torch.no_grad()
def inputs(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return what enters each linear layer, name → (n, k), where x (n, 64) enters the model."""
    found = {}
    for name, part in model.named_children():
        if isinstance(part, nn.Linear):
            found[name] = x
        x = part(x)
    return found


def cut_by_outputs(delta: Tensor, x: Tensor, k: int) -> Tensor:
    """Return the D of rank k with the least ‖x Dᵀ - x ΔWᵀ‖, for x (n, in) and ΔW (out, in)."""
    U = torch.linalg.svd(delta @ x.T, full_matrices=False).U[:, :k]  # (out, k)
    return U @ (U.T @ delta)


def _shift(
    name: str, rates: Settings, data: Settings, training: Settings, grid: Settings,
    cuts: Sequence[int] = CUTS,
) -> Callable[..., Row]:  # fmt: skip
    """Make the experiment ``name``: fine-tune on another task; see what is left of the old one."""

    def run(
        method: str, lr: float, seed: int, *, rates: Settings = rates, data: Settings = data,
        training: Settings = training, cuts: Sequence[int] = cuts,
        pretraining: Settings = PRETRAINING,
    ) -> Row:  # fmt: skip
        data = {**data, "split": seed}
        _, base = pretrained(seed, data, pretraining)
        _, how = settings(method)
        now, before = task(**data), upright(data)
        model = adapt(base, now, how.get("r"), lr, seed, **training, lora_alpha=how.get("alpha"))
        deltas = updates(model, base)
        row: Row = {
            "validation": accuracy(model, now.validation),
            "test": accuracy(model, now.test),
            "upright": accuracy(model, before.test),
        }
        if not how:  # full fine-tuning
            entering = inputs(model, now.train[0])
            row |= {
                "upright_before": accuracy(base, before.test),
                "cut": [accuracy(truncated(base, deltas, k), now.test) for k in cuts],
                "cut_by_outputs": [],
            }
            for k in cuts:
                near = {n: cut_by_outputs(delta, entering[n], k) for n, delta in deltas.items()}
                row["cut_by_outputs"].append(accuracy(truncated(base, near, k), now.test))
        return row

    run.__name__ = name
    gap, tuning = ("test", "full", "r=16 alpha=16"), {"rates": grid, "cuts": ()}
    return experiment(version=2, seeds=range(20), gap=gap, tuning=tuning)(run)


turned = _shift("turned", TURNED_RATES, TURNED, TRAINING, GRID | {"r=64 alpha=64": LR[1:5]})
inverted = _shift("inverted", INVERTED_RATES, INVERTED, TRAINING, GRID)
patient = _shift("patient", PATIENT_RATES, INVERTED, LONG, PATIENT_GRID)


# -- learning by heart ---------------------------------------------------------------------------


@torch.no_grad()
def bits(model: nn.Module, part: tuple[Tensor, Tensor]) -> float:
    """Return how many bits of the labels of ``part`` the model holds.

    Without it n labels of ten take n · log₂(10) bits; with it, what they still surprise it by.
    """
    x, y = part
    surprise = nn.functional.cross_entropy(model(x), y, reduction="sum").item() / math.log(2)
    return len(y) * math.log2(10) - surprise


def memorise(
    model: nn.Module, data: Digits, lr: float, seed: int, size: int, passes: int, checks: int
) -> tuple[list[float], list[float]]:  # fmt: skip
    """Train in batches of ``size`` until all is learned, or no more is; return how it went.

    That is the accuracy on the training part after each check, ``passes`` apart, and the bits. The
    end: all of it is right; or the last three checks rose by less than 0.01 above all before; or
    there are ``checks``.
    """
    more, curve, held = trainer(model, data, lr, seed, size), [0.0], []
    while curve[-1] < 1 and len(curve) <= checks:
        more(passes)
        curve.append(accuracy(model, data.train))
        held.append(bits(model, data.train))
        if len(curve) > 4 and max(curve[-3:]) < max(curve[:-3]) + 0.01:
            break
    return curve[1:], held


def merged(data: Digits, classes: int) -> Digits:
    """Return the same pictures with fewer labels: the digit modulo ``classes``."""
    return Digits(*((x, y % classes) for x, y in data))


CASES = ("width=64 r=1", "width=64 r=3", "width=256 r=1", "width=256 r=4", "width=256 r=16")
HEART_GRID = {
    f"{case} scale={s}": rates
    for case in CASES
    for s, rates in {1: (3e-3, 1e-2), 8: (1e-3, 3e-3), 64: (1e-3,)}.items()
}


@experiment(
    version=2,
    gap=("validation", "full", "width=256 r=1 scale=1"),
    seeds=range(20),
    tuning={"rates": HEART_GRID},
    choosing=range(100, 103),
)
def by_heart(
    method: str, lr: float, seed: int, *, rates: Settings = HEART_RATES, data: Settings = TURNED,
    size: int = 250, passes: int = 100, checks: int = 15, pretraining: Settings = PRETRAINING,
) -> Row:  # fmt: skip
    """Learn labels without sense by heart (or, for comparison, the ``right`` ones)."""
    how = {"width": 256, "scale": 1} | settings(method)[1]
    data = {**data, "split": seed}
    widths = (64, how["width"], how["width"], 10)
    _, base = pretrained(seed, data, {**pretraining, "widths": widths})
    labels = {} if "right" in method else {"shuffle_labels": seed}
    now, r = task(**data, **labels), how.get("r")
    model = adapt(base, now, r, lr, seed, epochs=0, lora_alpha=r and r * how["scale"])
    curve, held = memorise(model, now, lr, seed, size, passes, checks)
    return {
        "validation": max(held),  # the bits: nothing to validate, what counts is what is learned
        "learned": max(curve),
        "numbers": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "r90": r90(updates(model, base)["fc2"]),
    }


# -- one thing at a time -------------------------------------------------------------------------


@experiment(version=4, seeds=range(20), gap=("", "pretraining", "others"))
def taught(
    seed: int, *, classes: Sequence[int] = (10, 7, 5, 3, 2), lr: float = 1e-3,
    epochs: int = 30, few: int = 150, shares: Sequence[float] = (0.8, 0.95, 0.99),
    data: Settings = TURNED, pretraining: Settings = PRETRAINING,
) -> Row:  # fmt: skip
    """Count the directions of an update where fewer classes are taught.

    For each count c of classes: ``pretraining`` on c, all pictures, the digits merged modulo c, and
    the same for other ``shares`` of the energy, and for the layer below, ``fc1``; ``outputs``, of a
    network with c outputs; ``others``, on the first c digits alone, ``few`` pictures and as many
    steps; ``tuned``, fine-tuning on c of a network that was taught ten; ``both``, of one that was
    taught c.
    """
    data = {**data, "split": seed}
    now, before = task(**data), upright(data)
    steps = {"lr": lr, "seed": seed, "epochs": epochs}
    _, ten = pretrained(seed, data, pretraining)
    found = []
    for c in classes:
        init, base = pretrain(seed, merged(before, c), **pretraining)
        x, y = before.train
        first = (y < c).nonzero().flatten()[:few]
        alone = before._replace(train=(x[first], y[first]))
        longer = {**pretraining, "epochs": round(pretraining["epochs"] * len(x) / few)}
        narrow = {**pretraining, "widths": (*pretraining["widths"][:-1], c)}
        pairs = {
            "pretraining": (base, init),
            "outputs": pretrain(seed, merged(before, c), **narrow)[::-1],
            "others": pretrain(seed, alone, **longer)[::-1],
            "tuned": (adapt(ten, merged(now, c), None, **steps), ten),
            "both": (adapt(base, merged(now, c), None, **steps), base),
        }
        counts = {name: r90(updates(*pair)["fc2"]) for name, pair in pairs.items()}
        own = updates(base, init)
        counts["fc1"] = r90(own["fc1"])
        sigma = torch.linalg.svdvals(own["fc2"].double()).numpy()
        counts |= {f"share {share:g}": lowrank.energy_rank(sigma, share) for share in shares}
        found.append(counts)
    return {name: [counts[name] for counts in found] for name in found[0]}


@experiment(version=2, seeds=range(20), gap=("", "noise", "start"))
def one_change(
    seed: int, *, lr: float = 1e-3, lrs: Sequence[float] = (3e-4, 1e-3, 3e-3, 1e-2),
    passes: Sequence[int] = (10, 30, 100), degrees: Sequence[int] = (15, 45, 90),
    widths: Sequence[int] = (64, 256), data: Settings = TURNED,
    places: Sequence[int] = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256),
    pretraining: Settings = PRETRAINING,
) -> Row:  # fmt: skip
    """Count the directions of full fine-tuning's update where one thing is another.

    ``rate``, ``passes``, ``turn``, ``width``: r90 for each of ``lrs``, ``passes``, ``degrees``,
    ``widths``; ``start``: from a network that was not pretrained. ``heights``: the singular values
    at ``places``, as shares of the norm, of W0, of the update and of noise.
    """
    data = {**data, "split": seed}
    init, base = pretrained(seed, data, pretraining)

    def update(start: nn.Module, lr: float = lr, epochs: int = 30, **shift: float) -> Tensor:
        model = adapt(start, task(**{**data, **shift}), None, lr, seed, epochs=epochs)
        return updates(model, start)["fc2"]

    narrow = [(64, width, width, 10) for width in widths]
    starts = [pretrained(seed, data, {**pretraining, "widths": of})[1] for of in narrow]
    W0 = base.get_parameter("fc2.weight").detach()
    noise = torch.randn(W0.shape, dtype=W0.dtype, generator=torch.Generator().manual_seed(seed))
    heights = {}
    for name, matrix in {"update": update(base), "W0": W0, "noise": noise}.items():
        sigma = torch.linalg.svdvals(matrix.double())
        heights[name] = [round((sigma[i - 1] / sigma.norm()).item(), 5) for i in places]
    return {
        "rate": [r90(update(base, lr=rate)) for rate in lrs],
        "passes": [r90(update(base, epochs=epochs)) for epochs in passes],
        "turn": [r90(update(base, degrees=turn)) for turn in degrees],
        "width": [r90(update(start)) for start in starts],
        "start": r90(update(init)),
        "W0": r90(W0),
        "noise": r90(noise),
        "heights": heights,
    }
