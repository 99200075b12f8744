"""Experiments: the upper two layers of a real sentence encoder meet newsgroups."""

import copy
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lora_edu import lowrank
from lora_edu.adapt import lora_layers
from lora_edu.course.datasets import Texts, newsgroups
from lora_edu.course.experiments import Row, Settings, experiment
from lora_edu.course.intrinsic import r90
from lora_edu.course.minilm import (
    ADAPTED,
    ELSEWHERE,
    MODULES,
    POSTS,
    Part,
    accuracy,
    adapt,
    cached,
    intruders,
    neighbours,
    pretrained,
    similarity,
    train,
    truncated,
    updates,
)
from lora_edu.layers import dense_weight

RATES = {
    "head": (5e-3, 2e-2, 5e-2, 1e-1),
    "full": (1e-4, 3e-4, 1e-3),
    "r=1": (3e-4, 1e-3, 3e-3, 1e-2),
    "r=4": (1e-3, 3e-3, 1e-2),
    "r=8": (1e-3, 3e-3, 1e-2),
    "r=64": (1e-3, 3e-3, 1e-2),
}
ELSEWHERE_POSTS = {"groups": ELSEWHERE, "sizes": (600, 0, 0), "length": 32}
SAME_RATE = {"different": (3e-3,), "same": (3e-3,)}
LORA = {"adapted": ADAPTED, "modules": MODULES, "lora_alpha": 8}
TRAINING = {"epochs": 3, "size": 32, "head_lr": 5e-3}


@functools.lru_cache(maxsize=1)
def _start(**posts: Any) -> tuple[Any, Texts]:
    """Return the encoder, and posts up to what enters layer 4."""
    base = pretrained()
    return base, Texts(*(cached(base, part) for part in newsgroups(**posts)))


@functools.lru_cache(maxsize=1)
def _elsewhere(**posts: Any) -> Part:
    """Return posts of groups that no fine-tuning sees, up to what enters layer 4."""
    return cached(pretrained(), newsgroups(**posts).train)


@functools.lru_cache(maxsize=1)
def _directions_of_weights(modules: Sequence[str]) -> list[int]:
    base = pretrained()
    return [r90(dense_weight(base.get_submodule(name))) for name in modules]


@experiment(seeds=range(3))
def minilm(
    method: str, lr: float, seed: int, *,
    rates: Settings = RATES, posts: Settings = POSTS, lora: Settings = LORA,
    training: Settings = TRAINING, elsewhere: Settings = ELSEWHERE_POSTS,
    cuts: Sequence[int] = (0, 1, 2, 4, 8, 16, 64), top: int = 10,
    epsilons: Sequence[float] = (0.5, 0.7, 0.8, 0.9),
) -> Row:  # fmt: skip
    """Fine-tune on five newsgroups; measure what it learned, what it forgot, and its update.

    ``cuts``: ranks to which the update of full fine-tuning is truncated.
    """
    base, here = _start(**posts)
    model = train(adapt(base, method, seed, **lora), here.train, lr, seed, **training)
    row: Row = {
        "validation": accuracy(model, here.validation),
        "test": accuracy(model, here.test),
        "neighbours": neighbours(model, _elsewhere(**elsewhere)),
    }
    if method == "head":
        return row
    deltas = updates(model, base, lora["modules"])
    weights = {n: dense_weight(base.get_submodule(n)).detach() for n in lora["adapted"]}
    counts = [intruders(W, W + deltas[name], top, epsilons) for name, W in weights.items()]
    row["r90"] = [r90(delta) for delta in deltas.values()]
    row["intruders"] = np.sum(counts, axis=0).tolist()
    if method == "full":
        generator = torch.Generator().manual_seed(seed)
        noise = [r90(torch.randn(d, 384, generator=generator)) for d in (384, 1536)]
        cut = [truncated(model, base, k, lora["modules"]) for k in cuts]
        return row | {
            "truncated": [accuracy(one, here.validation) for one in cut],
            "r90_W0": _directions_of_weights(lora["modules"]),
            "r90_noise": noise,
        }
    r = int(method.removeprefix("r="))
    factors = [lowrank.amplification(W, deltas[name], r) for name, W in weights.items()]
    norms = [deltas[name].norm().item() for name in weights]
    return row | {"amplification": factors, "norm": norms}


@experiment(seeds=range(3))
def subspaces(
    method: str, lr: float, seed: int, *,
    rates: Settings = SAME_RATE,
    ranks: tuple[int, int] = (8, 64), at: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    posts: Settings = POSTS, lora: Settings = LORA, training: Settings = TRAINING,
) -> Row:  # fmt: skip
    """Compare lora_A of r = 8 with that of r = 64, trained from "different" seeds or the "same".

    ``at``: the j of φ(A_r=8, A_r=64, i, j) that are recorded.
    """
    base, here = _start(**posts)
    small_r, large_r = ranks
    starts, models = [], []
    for r, s in ((small_r, seed), (large_r, seed + (method == "different"))):
        start = adapt(base, f"r={r}", s, **lora)
        starts.append(lora_layers(copy.deepcopy(start)))
        models.append(train(start, here.train, lr, s, **training))
    small, large = (lora_layers(model) for model in models)
    phi = similarity(small, large, lora["adapted"])
    top = []
    for name in lora["adapted"]:
        deltas = [layers[name].delta_weight().detach() for layers in (small, large)]
        top.append(float(lowrank.subspace_similarity(*deltas)[0, 0]))
    return {
        "validation": accuracy(models[0], here.validation),
        "test": accuracy(models[0], here.test),
        "phi": [part[:, np.array(at) - 1].round(4).tolist() for part in phi],
        "phi_start": [float(part[-1, -1]) for part in similarity(*starts, lora["adapted"])],
        "phi_update": top,
        "norm_W0": [dense_weight(base.get_submodule(n)).norm().item() for n in lora["adapted"]],
    }
