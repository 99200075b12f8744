"""Fine-tuning on the digits: a small network, pretrained on upright ones, meets another task.

Letters: d = out_features, k = in_features, r = rank.
"""

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lora_edu import lowrank
from lora_edu.adapt import LoraConfig, add_lora, lora_layers
from lora_edu.course.datasets import Digits, digits, mlp
from lora_edu.course.experiments import Settings
from lora_edu.course.training import Batches, History, fit
from lora_edu.layers import dense_weight


def trainer(
    model: nn.Module, data: Digits, lr: float, seed: int, size: int = 64
) -> Callable[[int], History]:
    """Return a function that trains for a number of further epochs with Adam."""
    batches = Batches(*data.train, size=size, generator=torch.Generator().manual_seed(seed))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=lr, fused=True)
    return functools.partial(fit, model, batches, nn.functional.cross_entropy, optimizer)


def train(
    model: nn.Module, data: Digits, lr: float, seed: int, epochs: int = 30, size: int = 64
) -> nn.Module:
    """Train with Adam, in batches of ``size``; return the model."""
    trainer(model, data, lr, seed, size)(epochs)
    return model


def pretrain(
    seed: int,
    data: Digits | None = None,
    widths: tuple[int, ...] = (64, 256, 256, 10),
    lr: float = 1e-3,
    epochs: int = 30,
    size: int = 64,
) -> tuple[nn.Module, nn.Module]:
    """Return the network before and after training on ``data``, by default upright digits."""
    init = mlp(*widths, seed=seed)
    return init, train(copy.deepcopy(init), data or digits(), lr, seed, epochs, size)


def adapt(
    base: nn.Module,
    data: Digits,
    r: int | None,
    lr: float,
    seed: int,
    epochs: int = 30,
    size: int = 64,
    lora_alpha: float | None = None,
) -> nn.Module:
    """Return a copy of ``base`` fine-tuned on ``data``: all weights (r None), or LoRA on all.

    The biases stay as they are in both; lora_alpha is r by default.
    """
    model = copy.deepcopy(base)
    if r is None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("weight"))
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            scale = r if lora_alpha is None else lora_alpha
            add_lora(model, LoraConfig(target_modules=r"fc\d", r=r, lora_alpha=scale))
    return train(model, data, lr, seed, epochs, size)


# What the experiments on the digits have in common, each an argument of theirs: the parts, the
# shift, and how the network was pretrained.
SPLIT = {"validation": 400, "test": 400}
TURNED, INVERTED = SPLIT | {"degrees": 45}, SPLIT | {"inverted": True}
PRETRAINING = {"widths": (64, 256, 256, 10), "lr": 1e-3, "epochs": 30, "size": 64}


@functools.cache
def task(**how: Any) -> Digits:
    """Return ``digits(**how)``, made once."""
    return digits(**how)


def upright(data: Settings) -> Digits:
    """Return the digits as they were before the shift that ``data`` is, in the same parts."""
    return task(**{name: data[name] for name in ("validation", "test", "split") if name in data})


_pretrained = functools.cache(pretrain)


def pretrained(seed: int, data: Settings, pretraining: Settings) -> tuple[nn.Module, nn.Module]:
    """Return what :func:`pretrain` does on the upright digits, made once for each seed."""
    return _pretrained(seed, upright(data), **pretraining)


def updates(model: nn.Module, base: nn.Module) -> dict[str, Tensor]:
    """Return ΔW of each layer, name → (d, k), of full fine-tuning or of LoRA."""
    if hasattr(model, "lora_config"):
        return {name: layer.delta_weight().detach() for name, layer in lora_layers(model).items()}
    old = dict(base.named_parameters())
    new = {name: p for name, p in model.named_parameters() if p.ndim == 2}
    return {name.removesuffix(".weight"): (p - old[name]).detach() for name, p in new.items()}


def truncated(base: nn.Module, deltas: dict[str, Tensor], k: int) -> nn.Module:
    """Return ``base`` with each ΔW added, cut to rank k; k = 0 adds nothing."""
    model = copy.deepcopy(base)
    if k == 0:
        return model
    for name, delta in deltas.items():
        near = lowrank.best_approximation(delta.numpy(), min(k, *delta.shape))
        dense_weight(model.get_submodule(name)).data += torch.from_numpy(near)
    return model
