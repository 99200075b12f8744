"""Experiments: LoRA's descendants, each as carefully tuned as plain LoRA.

A seed redraws split, pretrained network and adapter of the digits; of MiniLM the posts, the head,
the adapter and the order. What is reported was chosen by the twins, ``NAME_tuning``, with seeds of
their own.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lora_edu import lowrank
from lora_edu.adapt import LoraConfig, add_lora, lora_layers
from lora_edu.counting import one_of
from lora_edu.course import minilm
from lora_edu.course.datasets import accuracy
from lora_edu.course.digits import INVERTED, PRETRAINING, TURNED, pretrained, task
from lora_edu.course.experiments import Row, Settings, experiment, settings
from lora_edu.course.training import Batches, fit
from lora_edu.layers import dense_weight
from lora_edu.quantize import NF4
from lora_edu.variants import init_pissa, loraplus_groups, to_dora


@torch.no_grad()
def random_start(model: nn.Module) -> None:
    """Start as PiSSA does, with strips as long, but in random directions: its control."""
    init_pissa(model)
    for layer in lora_layers(model).values():
        layer.base.weight += layer.delta_weight()  # W0 again
        sizes = layer.lora_A.norm(dim=1)  # (r,)
        (d, r), k, dtype = layer.lora_B.shape, layer.in_features, layer.lora_A.dtype
        U, _ = torch.linalg.qr(torch.randn(d, r, dtype=dtype))  # (d, r)
        V, _ = torch.linalg.qr(torch.randn(k, r, dtype=dtype))  # (k, r)
        layer.lora_A.copy_((V * sizes).T)  # (r, k)
        layer.lora_B.copy_(U * sizes)  # (d, r)
        layer.base.weight -= layer.delta_weight()


# What is done to a model after ``add_lora``; in the others, nothing.
CHANGES: Mapping[str, Callable[[nn.Module], object]] = {
    "pissa": init_pissa,
    "random start": random_start,
    "dora": to_dora,
}


def grid(
    alphas: Mapping[str, Sequence[int]], rates: Sequence[float], r: int = 8
) -> dict[str, Sequence[float]]:
    """Return each kind of LoRA of rank r with each of its alphas: method → the rates to try."""
    return {f"{kind} r={r} alpha={alpha}": rates for kind, of in alphas.items() for alpha in of}


def alone(chosen: Mapping[str, float]) -> dict[str, Sequence[float]]:
    """Return each method with the one rate that was chosen for it."""
    return {method: (lr,) for method, lr in chosen.items()}


HALF_DECADES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
LR, SLOW, WIDE = HALF_DECADES[:6], HALF_DECADES[1:4], HALF_DECADES[1:5]

# -- digits ---------------------------------------------------------------------------------------

ALPHAS = {
    "lora": (8, 32, 128, 512, 2048, 8192),
    "rslora": (8,),
    "lora+": (8, 32, 128, 512),
    "dora": (8, 32, 128, 512, 2048, 8192),
    "pissa": (8, 32, 128, 512),
    "random start": (8, 32, 128, 512, 2048),
}
GRID = {"full": LR} | grid(ALPHAS, LR)
GRID |= grid({"lora": (8, 64, 512, 2048)}, LR, r=64)
GRID |= grid({"lora": (8192, 32768)}, (3e-5, *LR), r=64)
GRID |= grid({"pissa": (1,), "random start": (1,)}, HALF_DECADES[1:])
# What is reported: what the tuning chose, with alpha = 8 and with the best alpha.
TURNED_RATES = alone({
    "full": 1e-2, "lora r=8 alpha=8": 1e-2, "lora r=8 alpha=128": 3e-3, "rslora r=8 alpha=8": 3e-3,
    "lora+ r=8 alpha=8": 3e-3, "dora r=8 alpha=8": 1e-2, "dora r=8 alpha=128": 3e-3,
    "pissa r=8 alpha=8": 1e-2, "pissa r=8 alpha=128": 1e-3, "random start r=8 alpha=8": 3e-3,
    "random start r=8 alpha=1": 3e-2, "lora r=64 alpha=8": 1e-2, "lora r=64 alpha=64": 3e-3,
    "lora r=64 alpha=2048": 1e-3,
})  # fmt: skip
INVERTED_RATES = alone({
    "full": 3e-3, "lora r=8 alpha=8": 1e-2, "lora r=8 alpha=512": 1e-3, "rslora r=8 alpha=8": 1e-2,
    "lora+ r=8 alpha=8": 3e-3, "lora+ r=8 alpha=32": 1e-3, "dora r=8 alpha=8": 1e-2,
    "dora r=8 alpha=8192": 3e-3, "pissa r=8 alpha=8": 1e-2, "random start r=8 alpha=8": 1e-2,
    "random start r=8 alpha=128": 3e-3, "lora r=64 alpha=8": 1e-2, "lora r=64 alpha=64": 3e-3,
    "lora r=64 alpha=8192": 1e-4,
})  # fmt: skip


def adapt(base: nn.Module, kind: str, seed: int, r: int = 8, alpha: float = 8) -> nn.Module:
    """Return a copy of ``base`` as a descendant trains it, or with all its weights (``full``)."""
    one_of("kind", kind, ("full", "lora", "rslora", "lora+", *CHANGES))
    model = copy.deepcopy(base)
    if kind == "full":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("weight"))
        return model
    options = {"r": r, "lora_alpha": alpha, "use_rslora": kind == "rslora"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        add_lora(model, LoraConfig(target_modules=r"fc\d", **options))
        if kind in CHANGES:
            CHANGES[kind](model)
    return model


STEPS = {"epochs": 30, "size": 64, "ratio": 16.0}
BOTH = ("validation", "test")
PISSA_LEADS = ("test", "pissa r=8 alpha=8", "lora r=8 alpha=8")


def _descendants(
    name: str, rates: Settings, tried: Settings, data: Settings, training: Settings = STEPS,
    gap: tuple[str, str, str] | None = PISSA_LEADS,
) -> Callable[..., Row]:  # fmt: skip
    """Make the experiment ``name``: fine-tune the digits' network as LoRA's descendants do."""

    def run(
        method: str, lr: float, seed: int, *, rates: Settings = rates, data: Settings = data,
        training: Settings = training, pretraining: Settings = PRETRAINING,
        parts: Sequence[str] = BOTH,
    ) -> Row:  # fmt: skip
        data = {**data, "split": seed}
        now = task(**data)
        _, base = pretrained(seed, data, pretraining)
        kind, numbers = settings(method)
        model = adapt(base, kind, seed, **numbers)
        groups = loraplus_groups(model, lr, training["ratio"] if kind == "lora+" else 1)
        optimizer = torch.optim.Adam(groups, fused=True)
        generator = torch.Generator().manual_seed(seed)
        batches = Batches(*now.train, size=training["size"], generator=generator)
        loss, epochs = nn.functional.cross_entropy, training["epochs"]

        def validate(model: nn.Module) -> float:
            return accuracy(model, now.validation)

        history = fit(model, batches, loss, optimizer, epochs, validate=validate)
        row: Row = {"validation": history.validation[-1]}
        if "test" in parts:
            row["test"] = accuracy(model, now.test)
            row["curve"] = history.validation
        return row

    run.__name__ = name
    tuning = {"rates": tried, "parts": ("validation",)}
    return experiment(version=2, seeds=range(20), gap=gap, tuning=tuning)(run)


# Where LoRA does well, and where it falls short with a small alpha; and the latter in batches of
# 16: four times as many steps, in as many passes.
descendants_turned = _descendants("descendants_turned", TURNED_RATES, GRID, TURNED, gap=None)
descendants_inverted = _descendants("descendants_inverted", INVERTED_RATES, GRID, INVERTED)
BATCH_GRID = grid({"lora": (8, 128, 512, 2048)}, LR[:5]) | grid({"pissa": (8,)}, LR[1:])
BATCH_RATES = alone({
    "lora r=8 alpha=8": 3e-3, "lora r=8 alpha=512": 3e-4, "pissa r=8 alpha=8": 3e-3,
})  # fmt: skip
SMALL = {**STEPS, "size": 16}
small_batches = _descendants("small_batches", BATCH_RATES, BATCH_GRID, INVERTED, SMALL)


# -- a real encoder -------------------------------------------------------------------------------

ATTENTION = tuple(name for name in minilm.MODULES if ".attention." in name)
MLP = tuple(name for name in minilm.MODULES if ".attention." not in name)
# Where LoRA sits, if not on query and value. Of rank 45, 36 and 20 they train 276,480 numbers each.
PLACED = {"attention": ATTENTION, "mlp": MLP, "all": minilm.MODULES}
REAL_GRID = {
    "lora r=8 alpha=8": WIDE, "lora r=8 alpha=32": WIDE, "lora r=8 alpha=128": SLOW,
    "lora r=8 alpha=512": HALF_DECADES[:3],
    "lora+ r=8 alpha=1": WIDE, "lora+ r=8 alpha=2": WIDE, "lora+ r=8 alpha=8": SLOW,
    "dora r=8 alpha=8": WIDE, "dora r=8 alpha=32": WIDE, "dora r=8 alpha=128": SLOW,
    "pissa r=8 alpha=8": WIDE, "pissa r=8 alpha=32": WIDE, "pissa r=8 alpha=128": WIDE,
    "random start r=8 alpha=8": WIDE, "random start r=8 alpha=32": WIDE,
    "lora attention r=45 alpha=32": WIDE, "lora mlp r=36 alpha=32": WIDE,
    "lora all r=20 alpha=32": WIDE,
    "nf4 r=8 alpha=32": WIDE, "nf4 head": (2e-2, 5e-2, 1e-1, 2e-1),
    "head": (2e-2, 5e-2, 1e-1, 2e-1),
}  # fmt: skip
REAL_RATES = alone({
    "lora r=8 alpha=8": 3e-3, "lora r=8 alpha=32": 3e-3, "lora+ r=8 alpha=8": 1e-3,
    "lora+ r=8 alpha=2": 3e-3, "dora r=8 alpha=8": 1e-2, "dora r=8 alpha=32": 3e-3,
    "pissa r=8 alpha=8": 3e-3, "pissa r=8 alpha=128": 1e-3, "random start r=8 alpha=32": 3e-3,
    "nf4 r=8 alpha=32": 3e-3, "nf4 head": 1e-1, "head": 1e-1, "lora attention r=45 alpha=32": 1e-3,
    "lora mlp r=36 alpha=32": 1e-3, "lora all r=20 alpha=32": 1e-3,
})  # fmt: skip
REAL_STEPS = {"epochs": 2, "size": 16, "head_lr": 2e-2}


@torch.no_grad()
def rounded(model: Any) -> Any:
    """Round the weights of MiniLM's upper two layers to NF4, in place; return the model."""
    for name in minilm.MODULES:
        weight = dense_weight(model.get_submodule(name))
        weight.copy_(NF4.quantize(weight, double=True).dequantize())
    return model


@experiment(
    gap=("test", "lora r=8 alpha=32", "head"),
    seeds=range(8),
    tuning={"rates": REAL_GRID, "parts": ("validation",)},
    choosing=range(100, 103),
)
def descendants_minilm(
    method: str, lr: float, seed: int, *, rates: Settings = REAL_RATES,
    posts: Settings = minilm.POSTS, elsewhere: Settings = minilm.ELSEWHERE_POSTS,
    training: Settings = REAL_STEPS, ratio: float = 16, placed: Settings = PLACED,
    parts: Sequence[str] = BOTH,
) -> Row:  # fmt: skip
    """Fine-tune MiniLM on newsgroups, by LoRA on query and value or elsewhere, or a descendant.

    ``nf4``: the weights of both layers are rounded before. ``head``: nothing else trains.
    """
    kind, numbers = settings(method)
    base = minilm.encoder()
    if kind.startswith("nf4"):
        base = rounded(copy.deepcopy(base))
    model = minilm.adapt(base, seed)
    if numbers:
        modules = placed.get(kind.removeprefix("lora "), minilm.QUERY_VALUE)
        model = minilm.adapt(base, seed, modules, numbers["r"], numbers["alpha"])
    if kind in CHANGES:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            CHANGES[kind](model)
    here = minilm.cached_part("train", seed, **posts)
    minilm.train(model, here, lr, seed, **training, ratio=ratio if kind == "lora+" else 1)
    row: Row = {p: minilm.accuracy(model, minilm.cached_part(p, seed, **posts)) for p in parts}
    row["neighbours"] = minilm.neighbours(model, minilm.cached_part("train", seed, **elsewhere))
    return row


# -- four bits ------------------------------------------------------------------------------------


def rounding_error(W: Tensor, levels: Tensor, block_size: int) -> float:
    """Return ‖W - Ŵ‖ / ‖W‖, for Ŵ with the nearest of ``levels`` in each block."""
    blocks = W.flatten().view(-1, block_size)  # (blocks, block_size)
    absmax = blocks.abs().amax(1, keepdim=True)
    codes = torch.bucketize(blocks / absmax, (levels[1:] + levels[:-1]) / 2)
    return ((levels[codes] * absmax - blocks).norm() / blocks.norm()).item()


@experiment(gap=("", "even", "nf4"))
def four_bits(*, modules: Sequence[str] = minilm.MODULES, block_size: int = 64, r: int = 8) -> Row:
    """Round real weights to 16 levels: how far off, and how much of that a rank-8 product holds.

    Of each matrix of MiniLM's upper two layers, in % of its norm: NF4, and 16 even levels; and the
    share of the squared error, in %, that is in its r strongest directions.
    """
    row: Row = {"nf4": [], "even": [], "held_of_error": []}
    for name in modules:
        W = dense_weight(minilm.encoder().get_submodule(name)).detach().double()
        error = NF4.quantize(W, block_size).dequantize() - W
        even = rounding_error(W, torch.linspace(-1, 1, 16), block_size)
        row["nf4"].append(round(100 * (error.norm() / W.norm()).item(), 3))
        row["even"].append(round(100 * even, 3))
        near = lowrank.best_approximation(error.numpy(), r)
        held = float((near**2).sum() / (error.numpy() ** 2).sum())
        row["held_of_error"].append(round(100 * held, 3))
    return row
