"""Experiments: a small network, pretrained on upright digits, meets another task."""

import copy
import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lora_edu import lowrank
from lora_edu.adapt import LoraConfig, add_lora, lora_layers
from lora_edu.course.datasets import Digits, accuracy, digits, mlp
from lora_edu.course.experiments import Run, experiment
from lora_edu.course.intrinsic import Subspace
from lora_edu.course.training import Batches, History, fit

WIDTHS = (64, 256, 256, 10)
RANKS = (1, 2, 4, 8, 16)
CUTS = (0, 1, 2, 4, 8, 16, 32, 64, 256)  # to which the update of full fine-tuning is truncated
CHECKS = 15  # of what is learned by heart: one each 100 passes, so many at most
SMALL, DIMENSIONS = (64, 64, 64, 10), (32, 64, 128, 192, 256)


def trainer(
    model: nn.Module, data: Digits, lr: float, seed: int, size: int = 64
) -> Callable[[int], History]:
    """Return a function that trains what is trainable with Adam: so many more passes."""
    batches = Batches(*data.train, size=size, generator=torch.Generator().manual_seed(seed))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=lr, fused=True)
    return functools.partial(fit, model, batches, nn.functional.cross_entropy, optimizer)


def train(model: nn.Module, data: Digits, lr: float, seed: int, epochs: int = 30) -> nn.Module:
    """Train with Adam, in batches of 64; return the model."""
    trainer(model, data, lr, seed)(epochs)
    return model


def memorise(model: nn.Module, data: Digits, lr: float, seed: int) -> list[float]:
    """Train in batches of 250 until all is learned, or no more is; return how it went.

    That is the accuracy on the training part after each 100 passes. The end: all of it is right;
    or the last three rose by less than 0.01 above all before; or there are ``CHECKS``.
    """
    more, curve = trainer(model, data, lr, seed, size=250), [0.0]
    while curve[-1] < 1 and len(curve) <= CHECKS:
        more(100)
        curve.append(accuracy(model, data.train))
        if len(curve) > 4 and max(curve[-3:]) < max(curve[:-3]) + 0.01:
            break
    return curve[1:]


def pretrain(seed: int) -> tuple[nn.Module, nn.Module]:
    """Return the network as it was drawn, and trained on the upright digits."""
    init = mlp(*WIDTHS, seed=seed)
    return init, train(copy.deepcopy(init), digits(), 1e-3, seed)


def adapt(
    base: nn.Module, data: Digits, r: int | None, lr: float, seed: int, epochs: int = 30
) -> nn.Module:
    """Return a copy of ``base`` fine-tuned on ``data``: all weights (r None), or LoRA on all.

    The biases stay as they are in both; lora_alpha is r.
    """
    model = copy.deepcopy(base)
    if r is None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("weight"))
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            add_lora(model, LoraConfig(target_modules=r"fc\d", r=r, lora_alpha=r))
    return train(model, data, lr, seed, epochs)


def updates(model: nn.Module, base: nn.Module) -> dict[str, Tensor]:
    """Return ΔW of each layer, name → (d, k), of full fine-tuning or of LoRA."""
    if any(name.endswith("lora_A") for name, _ in model.named_parameters()):
        return {name: layer.delta_weight().detach() for name, layer in lora_layers(model).items()}
    old = dict(base.named_parameters())
    pairs = {n: (p - old[n]).detach() for n, p in model.named_parameters() if p.ndim == 2}
    return {name.removesuffix(".weight"): delta for name, delta in pairs.items()}


def truncated(base: nn.Module, deltas: dict[str, Tensor], k: int) -> nn.Module:
    """Return ``base`` with each ΔW added, cut to rank k."""
    model = copy.deepcopy(base)
    for name, delta in deltas.items() if k else ():
        near = lowrank.best_approximation(delta.numpy(), min(k, *delta.shape))
        model.get_submodule(name).weight.data += torch.from_numpy(near)
    return model


def r90(matrix: Tensor) -> int:
    """Return how many directions hold 90 % of the energy."""
    return lowrank.energy_rank(torch.linalg.svdvals(matrix.detach().double()).numpy())


@functools.lru_cache(maxsize=8)
def _pretrained(seed: int) -> tuple[nn.Module, nn.Module]:
    torch.set_num_threads(1)  # so small that a second one is in the way
    return pretrain(seed)


_digits = functools.lru_cache(maxsize=8)(digits)
HELPERS = (trainer, train, pretrain, adapt, updates, truncated, digits, mlp)


def _rank(method: str) -> int | None:
    return None if method == "full" else int(method.removeprefix("r="))


def _shift(data: Digits, method: str, lr: float, seed: int, epochs: int = 30) -> Run:
    """Fine-tune on another task; measure the update, and what is left of the old task."""
    init, base = _pretrained(seed)
    r, upright = _rank(method), _digits()
    model = adapt(base, data, r, lr, seed, epochs)
    deltas, measured = updates(model, base), {}
    if r is None:
        cut = [truncated(base, deltas, k) for k in CUTS]
        noise = torch.randn(256, 256, generator=torch.Generator().manual_seed(seed))
        measured = {
            "before": accuracy(base, data.test),
            "upright_before": accuracy(base, upright.test),
            "r90_W0": r90(base.fc2.weight),
            "r90_pretraining": r90(base.fc2.weight - init.fc2.weight),
            "r90_noise": r90(noise),
            "truncated": [accuracy(m, data.test) for m in cut],
        }
    return {
        "validation": accuracy(model, data.validation),
        "test": accuracy(model, data.test),
        "upright": accuracy(model, upright.test),
        "r90": r90(deltas["fc2"]),
        **measured,
    }


# Half decades, and for each method those of them between which its best rate lies.
_LR = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
_RATES = {
    "full": _LR[1:5], "r=1": _LR[3:6], "r=2": _LR[2:6], "r=4": _LR[2:5], "r=8": _LR[2:5],
    "r=16": _LR[1:5],
}  # fmt: skip


@experiment("rotated", _RATES, (*HELPERS, _shift))
def rotated(method: str, lr: float, seed: int) -> Run:
    """Turn the digits by 45°."""
    return _shift(_digits(45), method, lr, seed)


@experiment("inverted", _RATES, (*HELPERS, _shift))
def inverted(method: str, lr: float, seed: int) -> Run:
    """Turn light and dark."""
    return _shift(_digits(inverted=True), method, lr, seed)


_PATIENT = {"r=1": _LR[2:5], "r=4": _LR[1:5], "r=16": _LR[1:4]}


@experiment("patient", _PATIENT, (*HELPERS, _shift))
def patient(method: str, lr: float, seed: int) -> Run:
    """Turn light and dark, and train five times as long."""
    return _shift(_digits(inverted=True), method, lr, seed, epochs=150)


_BY_HEART = {"full": _LR[1:5], "r=1": _LR[2:5], "r=4": _LR[2:5], "r=16": _LR[2:5]}


@experiment("shuffled", _BY_HEART, (*HELPERS, memorise))
def shuffled(method: str, lr: float, seed: int) -> Run:
    """Learn labels without sense by heart: nothing to validate; who learns most, soonest, wins."""
    _, base = _pretrained(seed)
    r, data, measured = _rank(method), digits(45, shuffle_labels=seed), {}
    model = adapt(base, data, r, lr, seed, epochs=0)
    curve = memorise(model, data, lr, seed)
    if r is None:  # the same with the right labels: what the rate alone does to the rank
        twin = adapt(base, _digits(45), r, lr, seed, epochs=0)
        memorise(twin, _digits(45), lr, seed)
        measured = {"r90_right": r90(updates(twin, base)["fc2"])}
    return {
        "validation": float(np.mean([max(curve[:n]) for n in range(1, CHECKS + 1)])),
        "train": max(curve),
        "passes": 100 * len(curve),
        "curve": curve,
        "test": accuracy(model, data.test),
        "r90": r90(updates(model, base)["fc2"]),
        **measured,
    }


_SPACES = {"all": _LR[1:5]} | {
    f"{kind} d={d}": _LR[4:] if d < 128 else _LR[3:7]
    for kind in ("sparse", "dense")
    for d in DIMENSIONS
}


@experiment("intrinsic", _SPACES, (trainer, train, digits, mlp, Subspace))
def intrinsic(method: str, lr: float, seed: int) -> Run:
    """Train from the start, all parameters or d random directions."""
    torch.set_num_threads(1)
    model = mlp(*SMALL, seed=seed)
    if method != "all":
        kind, d = method.split(" d=")
        model = Subspace(model, int(d), kind, seed=seed)
    train(model, _digits(), lr, seed)
    return {f: accuracy(model, getattr(_digits(), f)) for f in ("validation", "test")}
