"""Experiments: LoRA and its descendants, on digits and on a real sentence encoder."""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lora_edu.adapt import LoraConfig, add_lora, lora_layers
from lora_edu.course import minilm
from lora_edu.course.datasets import Digits, Texts, accuracy, newsgroups
from lora_edu.course.digits import INVERTED, PRETRAINING, TURNED, pretrained, task, upright
from lora_edu.course.experiments import Row, Settings, experiment
from lora_edu.course.training import Batches, fit
from lora_edu.variants import (
    freeze_A,
    init_pissa,
    loraplus_groups,
    quantize_base,
    to_dora,
)  # fmt: skip

Sizes = Mapping[str, tuple[int, float]]  # method → r, lora_alpha


@torch.no_grad()
def random_start(model: nn.Module) -> None:
    """Start as PiSSA does, with factors of the same size, but in random directions: its control."""
    init_pissa(model)
    for layer in lora_layers(model).values():
        layer.base.weight += layer.delta_weight()  # W0 again
        sizes = layer.lora_A.norm(dim=1)  # (r,)
        U, _ = torch.linalg.qr(torch.randn(layer.lora_B.shape))  # (d, r)
        V, _ = torch.linalg.qr(torch.randn(layer.lora_A.T.shape))  # (k, r)
        layer.lora_A.copy_((V * sizes).T)  # (r, k)
        layer.lora_B.copy_(U * sizes)  # (d, r)
        layer.base.weight -= layer.delta_weight()


# What is done to the model after ``add_lora``; in the others, nothing.
CHANGES: dict[str, Callable] = {
    "pissa": init_pissa,
    "random start": random_start,
    "dora": to_dora,
    "lora-fa": freeze_A,
    "nf4": quantize_base,
}
ALIKE = (8, 8)
SIZES = dict.fromkeys(("lora", "rslora", "lora+", "pissa", "random start", "dora", "nf4"), ALIKE)
SIZES |= {
    "lora alpha=32": (8, 32),
    "lora r=64": (64, 8),
    "rslora r=64": (64, 8),
    "lora-fa": (17, 17),  # as many trained numbers as r = 8, within 2 %
}


def prepare(base: nn.Module, method: str, seed: int, sizes: Sizes = SIZES) -> nn.Module:
    """Return a copy of ``base`` as ``method`` trains it: all weights, or an adapter on each.

    ``sizes``: method → r and lora_alpha.
    """
    model = copy.deepcopy(base)
    if method == "full":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("weight"))
        return model
    r, lora_alpha = sizes[method]
    options = {"r": r, "lora_alpha": lora_alpha, "use_rslora": method.startswith("rslora")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        add_lora(model, LoraConfig(target_modules=r"fc\d", **options))
        if method in CHANGES:
            CHANGES[method](model)
    return model


def adapt(
    base: nn.Module,
    data: Digits,
    method: str,
    lr: float,
    seed: int,
    epochs: int = 30,
    size: int = 64,
    ratio: float = 16,
    sizes: Sizes = SIZES,
) -> tuple[nn.Module, list[float]]:
    """Fine-tune a copy of ``base``; return it, and its validation accuracy after each epoch.

    ``ratio`` is that of LoRA+.
    """
    model = prepare(base, method, seed, sizes)
    groups = loraplus_groups(model, lr, ratio if method == "lora+" else 1)
    optimizer = torch.optim.Adam(groups, fused=True)
    batches = Batches(*data.train, size=size, generator=torch.Generator().manual_seed(seed))
    history = fit(
        model, batches, nn.functional.cross_entropy, optimizer, epochs,
        validate=lambda m: accuracy(m, data.validation),
    )  # fmt: skip
    return model, history.validation


RATES: dict[str, Sequence[float]] = dict.fromkeys(
    ("full", "lora", "lora alpha=32", "lora r=64", "rslora", "rslora r=64", "lora+", "pissa",
     "random start", "dora", "nf4"),
    (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2),
)  # fmt: skip
RATES["lora-fa"] = (5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 2e-1)
TRAINING = {"epochs": 30, "size": 64, "ratio": 16.0, "sizes": SIZES}


def _variant(
    method: str, lr: float, seed: int, data: Settings, training: Settings, pretraining: Settings
) -> Row:
    _, base = pretrained(seed, data, pretraining)
    now = task(**data)
    model, curve = adapt(base, now, method, lr, seed, **training)
    return {
        "validation": curve[-1],
        "test": accuracy(model, now.test),
        "upright": accuracy(model, upright(data).test),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "curve": curve,
    }


@experiment()
def variants_rotated(
    method: str, lr: float, seed: int, *, rates: Settings = RATES, data: Settings = TURNED,
    training: Settings = TRAINING, pretraining: Settings = PRETRAINING,
) -> Row:  # fmt: skip
    """Turn the digits: where LoRA does well."""
    return _variant(method, lr, seed, data, training, pretraining)


@experiment()
def variants_inverted(
    method: str, lr: float, seed: int, *, rates: Settings = RATES, data: Settings = INVERTED,
    training: Settings = TRAINING, pretraining: Settings = PRETRAINING,
) -> Row:  # fmt: skip
    """Turn light and dark: where LoRA falls short."""
    return _variant(method, lr, seed, data, training, pretraining)


LAST = 5  # of MiniLM's layers 0 … 5
WHOLE = tuple(name for name in minilm.MODULES if f"layer.{LAST}." in name)
# Where "attention" and "all" put LoRA, and with which r: 27,648 numbers in both cases.
PLACES = {
    "attention": {"adapted": tuple(name for name in WHOLE if ".attention." in name), "r": 9},
    "all": {"adapted": WHOLE, "r": 4},
}
PLACE_RATES = {"full": (1e-4, 3e-4, 1e-3)}
PLACE_RATES |= dict.fromkeys(PLACES, (1e-3, 2e-3, 5e-3, 1e-2))
PLACE_TRAINING = {"epochs": 3, "size": 32, "head_lr": 5e-3}
PLACE_POSTS = {**minilm.POSTS, "sizes": (1500, 500, 1500)}


@functools.lru_cache(maxsize=1)
def _posts(layer: int, **posts: Any) -> tuple[Any, Texts]:
    """Return MiniLM, and the three parts of the posts up to what enters its last layer."""
    base = minilm.pretrained()
    return base, Texts(*(minilm.cached(base, part, layer=layer) for part in newsgroups(**posts)))


@experiment(seeds=range(3))
def placement(
    method: str, lr: float, seed: int, *, rates: Settings = PLACE_RATES, layer: int = LAST,
    posts: Settings = PLACE_POSTS, places: Settings = PLACES, lora_alpha: float = 8,
    whole: Sequence[str] = WHOLE, training: Settings = PLACE_TRAINING,
) -> Row:  # fmt: skip
    """Fine-tune the last layer of MiniLM on newsgroups: all of it, or LoRA on parts."""
    base, parts = _posts(layer, **posts)
    if method == "full":
        model = minilm.adapt(base, seed, whole)
    else:
        adapted, r = places[method]["adapted"], places[method]["r"]
        model = minilm.adapt(base, seed, adapted, r, lora_alpha)
    layers = [layer]
    minilm.train(model, parts.train, lr, seed, **training, layers=layers)
    return {
        "validation": minilm.accuracy(model, parts.validation, layers),
        "test": minilm.accuracy(model, parts.test, layers),
        "trained": sum(p.numel() for p in minilm.trained(model)),
    }
