"""Experiments: LoRA and its descendants, on digits and on a real sentence encoder."""

import copy
import functools
import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lora_edu.adapt import LoraConfig, add_lora, lora_layers
from lora_edu.course.datasets import Digits, accuracy, digits, newsgroups
from lora_edu.course.experiments import Run, experiment
from lora_edu.course.intrinsic_rank.experiments import pretrain
from lora_edu.course.real_model import experiments as real_model
from lora_edu.course.training import Batches, fit
from lora_edu.variants import (
    DoRALinear,
    NF4Linear,
    freeze_A,
    init_pissa,
    loraplus_groups,
    quantize_base,
    to_dora,
)  # fmt: skip


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


def recipe(method: str) -> tuple[int, float, Callable | None]:
    """Return r, lora_alpha, and what is done to the model after ``add_lora``."""
    return {
        "lora": (8, 8, None),
        "lora alpha=32": (8, 32, None),
        "lora r=64": (64, 8, None),
        "rslora": (8, 8, None),
        "rslora r=64": (64, 8, None),
        "lora+": (8, 8, None),
        "pissa": (8, 8, init_pissa),
        "random start": (8, 8, random_start),
        "dora": (8, 8, to_dora),
        "lora-fa": (17, 17, freeze_A),  # as many trained numbers as r = 8, within 2 %
        "nf4": (8, 8, quantize_base),
    }[method]


def prepare(base: nn.Module, method: str, seed: int) -> nn.Module:
    """Return a copy of ``base`` as ``method`` trains it: all weights, or an adapter on each."""
    model = copy.deepcopy(base)
    if method == "full":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("weight"))
        return model
    r, lora_alpha, change = recipe(method)
    options = {"r": r, "lora_alpha": lora_alpha, "use_rslora": method.startswith("rslora")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        add_lora(model, LoraConfig(target_modules=r"fc\d", **options))
        if change is not None:
            change(model)
    return model


def adapt(
    base: nn.Module, data: Digits, method: str, lr: float, seed: int, epochs: int = 30
) -> tuple[nn.Module, list[float]]:
    """Fine-tune a copy of ``base``; return it, and its validation accuracy after each epoch."""
    model = prepare(base, method, seed)
    ratio = 16.0 if method == "lora+" else 1.0
    optimizer = torch.optim.Adam(loraplus_groups(model, lr, ratio), fused=True)
    batches = Batches(*data.train, size=64, generator=torch.Generator().manual_seed(seed))
    history = fit(
        model, batches, nn.functional.cross_entropy, optimizer, epochs,
        validate=lambda m: accuracy(m, data.validation),
    )  # fmt: skip
    return model, history.validation


@functools.lru_cache(maxsize=8)
def _pretrained(seed: int) -> nn.Module:
    torch.set_num_threads(1)  # so small that a second one is in the way
    return pretrain(seed)[1]


_digits = functools.lru_cache(maxsize=8)(digits)


def _variant(data: Digits, method: str, lr: float, seed: int) -> Run:
    model, curve = adapt(_pretrained(seed), data, method, lr, seed)
    return {
        "validation": curve[-1],
        "test": accuracy(model, data.test),
        "upright": accuracy(model, _digits().test),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "curve": curve,
    }


_ALIKE = ("full", "lora", "lora alpha=32", "lora r=64", "rslora", "rslora r=64")
_DIGITS = dict.fromkeys(
    (*_ALIKE, "lora+", "pissa", "random start", "dora", "nf4"), (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2)
) | {"lora-fa": (5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 2e-1)}
_USES = (
    recipe, prepare, adapt, _variant, pretrain, digits, loraplus_groups, init_pissa, random_start,
    freeze_A, to_dora, DoRALinear, quantize_base, NF4Linear,
)  # fmt: skip


@experiment("variants_rotated", _DIGITS, _USES)
def variants_rotated(method: str, lr: float, seed: int) -> Run:
    """Turn the digits by 45°, as in lesson 04: where LoRA does well."""
    return _variant(_digits(45), method, lr, seed)


@experiment("variants_inverted", _DIGITS, _USES)
def variants_inverted(method: str, lr: float, seed: int) -> Run:
    """Turn light and dark, as in lesson 04: where LoRA falls short."""
    return _variant(_digits(inverted=True), method, lr, seed)


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


def place(base: nn.Module, method: str, seed: int) -> nn.Module:
    """Return a copy of MiniLM's end with a new head: its last layer trains, or LoRA on it.

    Biases and norms stay; lora_alpha is 8. LoRA on the attention has r = 9, on all matrices 4:
    27,648 numbers in both cases.
    """
    part, r = {"attention": ("attention.", 9)}.get(method, ("", 4))
    names = rf"bert\.encoder\.layer\.5\.{part}.*(query|key|value|dense)"
    model = copy.deepcopy(base).requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.classifier.reset_parameters()
        if method != "full":
            config = LoraConfig(target_modules=names, r=r, modules_to_save=["classifier"])
            add_lora(model, config)
    model.classifier.requires_grad_(True)
    for name, parameter in model.named_parameters() if method == "full" else ():
        if re.fullmatch(rf"{names}\.weight", name):
            parameter.requires_grad_(True)
    return Last(model)


@functools.lru_cache(maxsize=1)
@torch.no_grad()
def _posts() -> tuple[nn.Module, list[tuple[Tensor, Tensor, Tensor]]]:
    """Return MiniLM, and the three parts of the posts up to what enters its last layer."""
    torch.set_num_threads(1)
    base, parts = real_model.pretrained(), []
    run = functools.partial(base.bert, output_hidden_states=True)
    for ids, mask, y in newsgroups():
        batches = zip(ids.split(100), mask.split(100), strict=True)
        hidden = [run(i, attention_mask=m).hidden_states[5] for i, m in batches]
        parts.append((torch.cat(hidden), mask, y))
    return base, parts


_LAST = {"full": (1e-4, 3e-4, 1e-3)} | dict.fromkeys(("attention", "all"), (1e-3, 2e-3, 5e-3, 1e-2))


@experiment("placement", _LAST, (Last, place), seeds=3)
def placement(method: str, lr: float, seed: int) -> Run:
    """Fine-tune the last layer of MiniLM on lesson 07's posts: all of it, or LoRA on parts."""
    base, (train, validation, test) = _posts()
    model = place(base, method, seed)
    head = {id(p) for p in model.model.classifier.parameters()}
    body = [p for p in model.parameters() if p.requires_grad and id(p) not in head]
    heads = {"params": model.model.classifier.parameters(), "lr": real_model.HEAD_LR}
    optimizer = torch.optim.Adam([{"params": body, "lr": lr}, heads], fused=True)
    batches = Batches(*train, size=32, generator=torch.Generator().manual_seed(seed))
    fit(model, batches, nn.functional.cross_entropy, optimizer, epochs=3)
    with torch.no_grad():
        right = [(model(h, m).argmax(-1) == y).double().mean() for h, m, y in (validation, test)]
    trained = sum(p.numel() for p in body)
    return {"validation": right[0].item(), "test": right[1].item(), "trained": trained}
