"""Experiments: LoRA and its descendants, on digits and on a real sentence encoder."""

import copy
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lora_edu.adapt import LoraConfig, add_lora, lora_layers
from lora_edu.course.datasets import Digits, accuracy, digits, newsgroups
from lora_edu.course.digits import pretrain
from lora_edu.course.experiments import Row, experiment
from lora_edu.course.minilm import pretrained
from lora_edu.course.training import Batches, fit
from lora_edu.variants import (
    freeze_A,
    init_pissa,
    loraplus_groups,
    quantize_base,
    to_dora,
)  # fmt: skip

Settings = Mapping[str, Any]
Sizes = Mapping[str, tuple[int, float]]  # method → r, lora_alpha


@torch.no_grad()
def random_start(model: nn.Module) -> None:
    """Start as PiSSA does, with factors of the same size, but in random directions: its control."""
    init_pissa(model)
    for layer in lora_layers(model).values():
        layer.base.weight += layer.delta_weight()  # W0 again
        sizes = layer.lora_A.norm(dim=1)  # (r,)
        U, V = (torch.linalg.qr(torch.randn(t.shape))[0] for t in (layer.lora_B, layer.lora_A.T))
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


@functools.lru_cache(maxsize=8)
def _pretrained(seed: int, **how: Any) -> nn.Module:
    torch.set_num_threads(1)  # so small that a second one is in the way
    return pretrain(seed, **how)[1]


_digits = functools.cache(digits)


def _variant(
    data: Digits, method: str, lr: float, seed: int, training: Settings, pretraining: Settings
) -> Row:
    model, curve = adapt(_pretrained(seed, **pretraining), data, method, lr, seed, **training)
    return {
        "validation": curve[-1],
        "test": accuracy(model, data.test),
        "upright": accuracy(model, _digits().test),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "curve": curve,
    }


RATES: dict[str, Sequence[float]] = dict.fromkeys(
    ("full", "lora", "lora alpha=32", "lora r=64", "rslora", "rslora r=64", "lora+", "pissa",
     "random start", "dora", "nf4"),
    (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2),
)  # fmt: skip
RATES["lora-fa"] = (5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 2e-1)
TRAINING = {"epochs": 30, "size": 64, "ratio": 16.0, "sizes": SIZES}
PRETRAINING = {"widths": (64, 256, 256, 10), "lr": 1e-3, "epochs": 30, "size": 64}


@experiment()
def variants_rotated(
    method: str, lr: float, seed: int, *, rates: Settings = RATES, degrees: float = 45,
    training: Settings = TRAINING, pretraining: Settings = PRETRAINING,
) -> Row:  # fmt: skip
    """Turn the digits: where LoRA does well."""
    return _variant(_digits(degrees), method, lr, seed, training, pretraining)


@experiment()
def variants_inverted(
    method: str, lr: float, seed: int, *, rates: Settings = RATES,
    training: Settings = TRAINING, pretraining: Settings = PRETRAINING,
) -> Row:  # fmt: skip
    """Turn light and dark: where LoRA falls short."""
    return _variant(_digits(inverted=True), method, lr, seed, training, pretraining)


RANKS = {"attention": 9, "all": 4}


class Last(nn.Module):
    """The last layer of MiniLM and its head, from what enters the layer to the logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.layer = model, model.bert.encoder.layer[-1]

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the logits, (n, classes), of which the head reads the first token alone."""
        bias = (1 - mask[:, None, None].to(hidden)) * torch.finfo(hidden.dtype).min  # (n, 1, 1, L)
        context = self.layer.attention.self(hidden, bias)[0][:, :1]  # (n, 1, 384)
        first = self.layer.attention.output(context, hidden[:, :1])
        first = self.layer.output(self.layer.intermediate(first), first)
        return self.model.classifier(self.model.bert.pooler(first))


def place(
    base: nn.Module, method: str, seed: int, ranks: Mapping[str, int] = RANKS, lora_alpha: float = 8
) -> nn.Module:
    """Return a copy of MiniLM's end with a new head: its last layer trains, or LoRA on it.

    Biases and norms stay. LoRA on the attention has r = 9, on all matrices 4: 27,648 numbers in
    both cases.
    """
    part = "attention." if method == "attention" else ""
    names = rf"bert\.encoder\.layer\.5\.{part}.*(query|key|value|dense)"
    model = copy.deepcopy(base).requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.classifier.reset_parameters()
        if method != "full":
            lora = {"r": ranks[method], "lora_alpha": lora_alpha}
            head = ["classifier"]
            add_lora(model, LoraConfig(target_modules=names, modules_to_save=head, **lora))
    model.classifier.requires_grad_(True)
    for name, parameter in model.named_parameters() if method == "full" else ():
        if re.fullmatch(rf"{names}\.weight", name):
            parameter.requires_grad_(True)
    return Last(model)


@functools.lru_cache(maxsize=1)
@torch.no_grad()
def _posts(
    sizes: tuple[int, int, int], length: int
) -> tuple[nn.Module, list[tuple[Tensor, Tensor, Tensor]]]:
    """Return MiniLM, and the three parts of the posts up to what enters its last layer."""
    torch.set_num_threads(1)
    base, parts = pretrained(), []
    run = functools.partial(base.bert, output_hidden_states=True)
    for ids, mask, y in newsgroups(sizes=sizes, length=length):
        batches = zip(ids.split(100), mask.split(100), strict=True)
        hidden = [run(i, attention_mask=m).hidden_states[5] for i, m in batches]
        parts.append((torch.cat(hidden), mask, y))
    return base, parts


LAST = {"full": (1e-4, 3e-4, 1e-3)} | dict.fromkeys(("attention", "all"), (1e-3, 2e-3, 5e-3, 1e-2))
POSTS = {"sizes": (1500, 500, 1500), "length": 32}


@experiment(seeds=range(3))
def placement(
    method: str, lr: float, seed: int, *, rates: Settings = LAST, posts: Settings = POSTS,
    ranks: Mapping[str, int] = RANKS, lora_alpha: float = 8,
    epochs: int = 3, size: int = 32, head_lr: float = 5e-3,
) -> Row:  # fmt: skip
    """Fine-tune the last layer of MiniLM on newsgroups: all of it, or LoRA on parts."""
    base, (train, validation, test) = _posts(**posts)
    model = place(base, method, seed, ranks, lora_alpha)
    head = {id(p) for p in model.model.classifier.parameters()}
    body = [p for p in model.parameters() if p.requires_grad and id(p) not in head]
    heads = {"params": model.model.classifier.parameters(), "lr": head_lr}
    optimizer = torch.optim.Adam([{"params": body, "lr": lr}, heads], fused=True)
    batches = Batches(*train, size=size, generator=torch.Generator().manual_seed(seed))
    fit(model, batches, nn.functional.cross_entropy, optimizer, epochs)
    with torch.no_grad():
        right = [(model(h, m).argmax(-1) == y).double().mean() for h, m, y in (validation, test)]
    trained = sum(p.numel() for p in body)
    return {"validation": right[0].item(), "test": right[1].item(), "trained": trained}
