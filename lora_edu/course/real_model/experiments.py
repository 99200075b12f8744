"""Experiments: the upper two layers of a real sentence encoder meet newsgroups.

A seed redraws which posts train, validate, test and measure what is forgotten; the head and the
adapter; and the order. The encoder is given.
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lora_edu.course.experiments import Row, Settings, experiment
from lora_edu.course.intrinsic import r90
from lora_edu.course.minilm import (
    ELSEWHERE_POSTS,
    MODULES,
    POSTS,
    QUERY_VALUE,
    accuracy,
    adapt,
    cached_part,
    encoder,
    moments,
    neighbours,
    replaced,
    train,
    updates,
)
from lora_edu.layers import dense_weight

LR = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # half decades
ALPHA = 32
PLACES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 384)
METHODS: dict[str, dict[str, Any]] = {
    "head": {"modules": ()},
    "full": {"modules": MODULES},
    "full q,v": {"modules": QUERY_VALUE},
}
for words, modules in {"q,v": QUERY_VALUE, "all": MODULES}.items():
    for r in (1, 8, 64):
        METHODS[f"LoRA {words} r={r}"] = {"modules": modules, "r": r, "lora_alpha": ALPHA}
PATIENT = {"LoRA q,v r=8, 6 passes": "LoRA q,v r=8", "full q,v, 6 passes": "full q,v"}
METHODS |= {name: METHODS[of] | {"epochs": 6} for name, of in PATIENT.items()}
# Fewer posts: as many passes as make sixty steps or more.
FEW = {50: 15, 150: 6, 500: 2}  # posts: passes
FEW_METHODS = ("head", "LoRA q,v r=8", "full")
METHODS |= {
    f"{method}, {posts} posts": METHODS[method] | {"few": posts, "epochs": epochs}
    for posts, epochs in FEW.items()
    for method in FEW_METHODS
}
RATES = {
    "head": (2e-2, 5e-2, 1e-1),
    "full": LR[1:4],
    "full q,v": LR[2:6],
    "LoRA q,v r=1": LR[3:6],
    "LoRA q,v r=8": LR[3:6],
    "LoRA q,v r=64": LR[3:6],
    "LoRA all r=1": LR[2:5],
    "LoRA all r=8": LR[2:5],
    "LoRA all r=64": LR[2:5],
    "LoRA q,v r=8, 6 passes": LR[3:5],
    "full q,v, 6 passes": LR[3:5],
}
# Whoever takes a larger alpha needs a lower rate (lesson 03): each alpha tries rates of its own.
ALPHAS = {8: LR[4:7], 128: LR[2:6], 512: LR[1:5]}
ALPHA_METHODS = ("LoRA q,v r=8", "LoRA q,v r=64", "LoRA all r=64")
METHODS |= {
    f"{method} alpha={alpha}": METHODS[method] | {"lora_alpha": alpha}
    for alpha in ALPHAS
    for method in ALPHA_METHODS
}
ALPHA_RATES = {f"{m} alpha={alpha}": of for alpha, of in ALPHAS.items() for m in ALPHA_METHODS}
FEW_RATES = {f"{method}, {n} posts": RATES[method] for n in FEW for method in FEW_METHODS}
# What a head learns slowly, the layers below have to make good.
SLOW = {
    f"{name}, slow head": METHODS[name] | {"head_lr": 5e-3}
    for name in ("LoRA q,v r=8", "LoRA q,v r=64", "full q,v")
}
TRIED = RATES | FEW_RATES | ALPHA_RATES | {"full q,v, 6 passes": LR[2:6]}
TRIED |= {f"LoRA all r={r}": LR[2:6] for r in (1, 8, 64)}
TRIED |= {f"LoRA q,v r={r}": LR[3:7] for r in (8, 64)}
TRIED |= {name: (2e-2, 5e-2, 1e-1, 2e-1) for name in TRIED if name.startswith("head")}
TRIED |= {"full": LR[1:5], "LoRA q,v r=8, 6 passes": LR[3:6]}
TRIED |= dict(zip(SLOW, (LR[5:6], LR[5:6], LR[4:5]), strict=True))
# What those runs chose is reported.
RATES |= {"LoRA q,v r=64 alpha=128": (1e-3,), "LoRA all r=64 alpha=512": (1e-4,)}
RATES |= {f"head, {n} posts": (lr,) for n, lr in {50: 1e-1, 150: 5e-2, 500: 1e-1}.items()}
RATES |= {f"LoRA q,v r=8, {n} posts": (1e-3,) for n in FEW}
RATES |= {f"full, {n} posts": (1e-4,) for n in FEW}
TRAINING = {"epochs": 2, "size": 16, "head_lr": 2e-2}


@functools.lru_cache(maxsize=1)
def _sizes(modules: Sequence[str]) -> dict[str, float]:
    return {n: dense_weight(encoder().get_submodule(n)).norm().item() for n in modules}


@experiment(
    gap=("test", "full", "LoRA all r=8"),
    seeds=range(8),
    tuning={"rates": TRIED, "methods": METHODS | SLOW, "parts": ("validation",)},
    choosing=range(100, 105),
)
def minilm(
    method: str, lr: float, seed: int, *, rates: Settings = RATES, methods: Settings = METHODS,
    posts: Settings = POSTS, elsewhere: Settings = ELSEWHERE_POSTS, training: Settings = TRAINING,
    parts: Sequence[str] = ("validation", "test"),
) -> Row:  # fmt: skip
    """Fine-tune on five newsgroups; measure what is learned, what is kept, and how far W0 moved.

    ``sizes``: ‖ΔW‖/‖W₀‖ of each matrix that trained.
    """
    how = {**methods[method]}
    steps = {**training} | {name: how.pop(name) for name in ("epochs", "head_lr") if name in how}
    some = slice(how.pop("few", None))
    start = adapt(encoder(), seed, **how)
    part = tuple(tensor[some] for tensor in cached_part("train", seed, **posts))
    model = train(start, part, lr, seed, **steps)
    row: Row = {part: accuracy(model, cached_part(part, seed, **posts)) for part in parts}
    row["neighbours"] = neighbours(model, cached_part("train", seed, **elsewhere))
    if how["modules"]:
        weights, deltas = _sizes(MODULES), updates(model, encoder(), how["modules"])
        row["sizes"] = [round(delta.norm().item() / weights[n], 5) for n, delta in deltas.items()]
    return row


INSIDE = {"full": (1e-4,), "LoRA q,v r=64": (1e-3,)}
LOOKED_AT = {method: METHODS[method] for method in INSIDE}


def output_directions(delta: Tensor, moments: Tensor) -> Tensor:
    """Return orthonormal U (d, d) whose first k span the outputs of ΔW best, for each k.

    So U₍ₖ₎ U₍ₖ₎ᵀ ΔW is the D of rank k with the least ‖X Dᵀ - X ΔWᵀ‖. Shapes: ΔW (d, in) and
    XᵀX (in, in).
    """
    return torch.linalg.eigh(delta @ moments @ delta.T).eigenvectors.flip(1)


@experiment(seeds=range(8), gap=("r90", "full", "LoRA q,v r=64"))
def minilm_updates(
    method: str, lr: float, seed: int, *, rates: Settings = INSIDE, methods: Settings = LOOKED_AT,
    posts: Settings = POSTS, training: Settings = TRAINING,
    cuts: Sequence[int] = (1, 2, 4, 8, 16, 64), places: Sequence[int] = PLACES,
) -> Row:  # fmt: skip
    """Look at the updates: their directions, and what is right when few of them are kept.

    ``r90`` and ``heights``, the singular values at ``places`` as shares of the norm: of each matrix
    that trained. Of full fine-tuning: ``cut`` keeps the directions of each matrix that are
    strongest, ``cut_by_outputs`` those whose outputs on the training posts are, and
    ``cut_centred`` those whose outputs differ most from their mean; all on test.
    """
    how = methods[method]
    here, test = cached_part("train", seed, **posts), cached_part("test", seed, **posts)
    model = train(adapt(encoder(), seed, **how), here, lr, seed, **training)
    deltas = {n: d.double() for n, d in updates(model, encoder(), how["modules"]).items()}
    row: Row = {
        "validation": accuracy(model, cached_part("validation", seed, **posts)),
        "test": accuracy(model, test),
        "r90": [r90(delta) for delta in deltas.values()],
        "heights": [_heights(delta, places) for delta in deltas.values()],
    }
    if method != "full":
        return row
    weights = [dense_weight(encoder().get_submodule(n)).detach() for n in how["modules"]]
    row["r90_W0"] = [r90(W) for W in weights]
    row["r90_noise"] = []
    for W in weights:
        draw = torch.Generator().manual_seed(seed)
        row["r90_noise"].append(r90(torch.randn(W.shape, generator=draw)))
    row["heights_W0"] = [_heights(W, places) for W in weights]
    inputs = moments(model, here, how["modules"])
    ways = {"cut": {n: torch.linalg.svd(d, full_matrices=False).U for n, d in deltas.items()}}
    for name, which in (("cut_by_outputs", 0), ("cut_centred", 1)):
        ways[name] = {n: output_directions(d, inputs[n][which]) for n, d in deltas.items()}
    for name, directions in ways.items():
        row[name] = []
        for k in cuts:
            kept = {n: U[:, :k] @ (U[:, :k].T @ deltas[n]) for n, U in directions.items()}
            row[name].append(accuracy(replaced(model, encoder(), kept), test))
    return row


def _heights(matrix: Tensor, places: Sequence[int]) -> list[float]:
    sigma = torch.linalg.svdvals(matrix.double())
    return [round((sigma[i - 1] / sigma.norm()).item(), 5) for i in places]
