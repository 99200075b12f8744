"""Experiments: two voices swapped by merging, merged into four bits, and served."""

import copy
import math
import platform
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lora_edu import chat
from lora_edu.adapt import merge_and_unload
from lora_edu.checkpoint import load_adapter
from lora_edu.course import language
from lora_edu.course.experiments import Row, Settings, experiment
from lora_edu.course.language import RATES, RECIPE
from lora_edu.course.timing import compare
from lora_edu.quantize import NF4
from lora_edu.variants import BottleneckAdapter

FRANCE = "What is the capital of France?"
Weights = Mapping[str, Tensor]  # of the adapted layers


class Probe(language.Probe):
    """The chat model with other weights in the adapted layers, measured and asked."""

    def perplexity(self, text: str) -> float:
        """Return the perplexity of a text, e to the loss."""
        return round(math.exp(self.loss(text)), 4)

    def answers(self, questions: Sequence[str]) -> list[str]:
        """Return the first 24 tokens of its answers, the likeliest each time."""
        return chat.answers(self.model, self.tokenizer, questions, 24)

    @torch.no_grad()
    def paris(self) -> float:
        """Return the probability of the word Paris behind "The capital of France is"."""
        asked = [{"role": "user", "content": FRANCE}]
        text = chat.template(self.tokenizer, asked, answers=True) + "The capital of France is"
        ids = self.tokenizer([text], add_special_tokens=False, return_tensors="pt")["input_ids"]
        word = self.tokenizer(" Paris", add_special_tokens=False)["input_ids"][0]
        return round(self.model(ids).logits[0, -1].softmax(-1)[word].item(), 5)


# -- swaps ----------------------------------------------------------------------------------------

ALIKE = {"dtype": "bfloat16", "who": "voices", "times": 1, "keep": False}
SWAPS = {
    "two voices": ALIKE,
    "two voices, W0 kept": {**ALIKE, "keep": True},
    "two voices, float32": {**ALIKE, "dtype": "float32"},
    "two voices, 4 times as large": {**ALIKE, "times": 4},
    "strangers": {**ALIKE, "who": "strangers"},
    "strangers, float32": {**ALIKE, "who": "strangers", "dtype": "float32"},
}


def _stranger(adapter: chat.Adapter, draw: torch.Generator) -> Weights:
    """Return an update with the numbers of this one, its rows and columns in a new order."""
    found = {}
    for name, (A, B) in adapter.items():
        rows = torch.randperm(len(B), generator=draw)
        found[name] = B[rows] @ A[:, torch.randperm(A.shape[1], generator=draw)]
    return found


@experiment(seeds=range(3), gap=("", "strangers.off", "two voices.off"))
@torch.no_grad()
def swapped(
    seed: int, *,
    swaps: Settings = SWAPS, rounds: Sequence[int] = (0, 1, 10, 100, 1000),
    lr: Settings = RATES, recipe: Settings = RECIPE,
) -> Row:  # fmt: skip
    """Merge and subtract one adapter after the other; after some rounds ask what is left.

    Who comes next is drawn: one of the two voices, or a stranger, who has the numbers of one of
    them in another order. ``off``: ‖W - W₀‖ / ‖W₀‖ of all adapted matrices, W₀ as its type stores
    it; ``changed``: the share of weights that are not W₀'s; ``pirate``: the perplexity of his texts
    with his voice merged once more; ``others``: how many other answers are, word by word, what they
    were before the first swap.
    """
    voices = language.voices(seed, lr, recipe)
    changes = {name: language.products(adapter) for name, adapter in voices.items()}
    probe = Probe(recipe["first"], {"pirate": language.said("pirate", seed, recipe).test})
    start = probe.weights(changes["pirate"])
    row: Row = {}
    for name, how in swaps.items():
        dtype, draw = getattr(torch, how["dtype"]), random.Random(seed)
        order = torch.Generator().manual_seed(seed)
        W0 = {n: w.to(dtype) for n, w in start.items()}
        W = dict(W0)
        heard, found = [], []
        for done in range(rounds[-1] + 1):
            if done in rounds:
                probe.put({n: (W[n] + changes["pirate"][n]).to(dtype) for n in W})
                now = {**_drift(W0, W), "pirate": probe.perplexity("pirate")}
                probe.put(W)
                now |= {"paris": probe.paris(), "prose": probe.perplexity("prose")}
                now["says"] = probe.answers([FRANCE])[0]
                heard.append(probe.answers(language.texts("unseen")))
                now["others"] = sum(a == b for a, b in zip(heard[0], heard[-1], strict=True))
                found.append(now)
            who = draw.choice([*voices])
            new = changes[who] if how["who"] == "voices" else _stranger(voices[who], order)
            for n in () if how["keep"] else W:
                change = how["times"] * new[n]
                W[n] = ((W[n] + change).to(dtype) - change).to(dtype)
        row[name] = {key: [now[key] for now in found] for key in found[0]}
    probe.put(start)
    return row


def _drift(W0: Weights, W: Weights) -> dict[str, float]:
    """Return how far the weights are from W₀, and the share of them that are not W₀'s."""
    off = sum((W[n].double() - W0[n].double()).square().sum() for n in W0)
    whole = sum(w.double().square().sum() for w in W0.values())
    changed = sum(int((W[n] != W0[n]).sum()) for n in W0)
    numbers = sum(w.numel() for w in W0.values())
    return {"off": float(f"{math.sqrt(off / whole):.3g}"), "changed": round(changed / numbers, 4)}


# -- four bits ------------------------------------------------------------------------------------


def outcome(W0: Tensor, delta: Tensor, W: Tensor) -> tuple[float, float, float]:
    """Return what a merge of ``delta`` into W0 has done, when W is what was stored.

    The share of ΔW that arrives, ⟨W - W₀, ΔW⟩ / ‖ΔW‖²; the error ‖W - W₀ - ΔW‖ / ‖ΔW‖; the share of
    weights that do not move.
    """
    kept = W - W0
    arrived = (kept * delta).sum() / delta.square().sum()
    error = (kept - delta).norm() / delta.norm()
    return float(arrived), float(error), float((kept == 0).double().mean())


def in_4_bits(
    W: Tensor, draw: torch.Generator | None = None, block: int = 32, levels: int = 16
) -> Tensor:
    """Round to 16 even levels between the least and the largest weight of each block (Q4_1).

    With ``draw`` it rounds up or down by chance, the more often up the nearer that level is
    (stochastic rounding).
    """
    blocks = W.reshape(-1, block)
    least = blocks.amin(1, keepdim=True)
    step = (blocks.amax(1, keepdim=True) - least) / (levels - 1)
    place = (blocks - least) / step.where(step > 0, 1)
    dice = 0.5 if draw is None else torch.rand(place.shape, generator=draw)
    return (least + step * (place + dice).floor().clamp(0, levels - 1)).reshape(W.shape)


def _off_its_levels(W: Tensor, draw: torch.Generator) -> Tensor:
    """Return weights up to half a step away from those of a matrix that is in 4 bits."""
    blocks = W.reshape(-1, 32)
    step = (blocks.amax(1, keepdim=True) - blocks.amin(1, keepdim=True)) / 15
    return (blocks + step * (torch.rand(blocks.shape, generator=draw) - 0.5)).reshape(W.shape)


def _in_nf4(W: Tensor) -> Tensor:
    return NF4.quantize(W).dequantize()


def _in_bfloat16(W: Tensor) -> Tensor:
    return W.bfloat16().float()


def _measured(probe: Probe, weights: Weights, *voices: str) -> Row:
    """Return the perplexities of voices and of prose with these weights."""
    probe.put(weights)
    said = {voice: probe.perplexity(voice) for voice in voices}
    return {"said": said, "prose": probe.perplexity("prose")}


@experiment(seeds=range(3), gap=("", "4 bits.pirate.said", "apart.pirate.said"))
@torch.no_grad()
def requantised(
    seed: int, *, lr: Settings = RATES, recipe: Settings = RECIPE,
    fainter: Sequence[float] = (1e-4, 1e-5),
) -> Row:  # fmt: skip
    """Merge a voice and store the sum in 16 and in 4 bits, upon a base that has 4 bits already.

    A way is a base W₀, and what is stored of W₀ + ΔW. Of each matrix, layer by layer: ``arrived``,
    ⟨W - W₀, ΔW⟩ / ‖ΔW‖², and ``error``, ‖W - W₀ - ΔW‖ / ‖ΔW‖. ``still``: the share of weights that
    do not move. ``said``: the perplexity of the voice's own test texts. The weights of the model
    are levels of Q4_1; other bases are rounded to NF4 before, or moved off their levels. ``faint``:
    the pirate, trained at smaller rates, and merged into bfloat16.
    """
    voices = language.voices(seed, lr, recipe)
    texts = {name: language.said(name, seed, recipe).test for name in voices}
    probe = Probe(recipe["first"], texts)
    own = probe.weights(voices["grimm"])
    ways = _ways(own, torch.Generator().manual_seed(seed))
    row: Row = {"sizes": {}}
    for name, weights in {"base": own, "base in NF4": ways["NF4"][0]}.items():
        row[name] = _measured(probe, weights, *voices)
    for voice, adapter in voices.items():
        update = language.products(adapter)
        row["sizes"][voice] = [round(size, 5) for size in _sizes(update, own)]
        for way, (base, store) in ways.items():
            merged = {n: store(base[n] + delta) for n, delta in update.items()}
            found = _measured(probe, merged, voice)
            found["said"] = found["said"][voice]
            row.setdefault(way, {})[voice] = _outcomes(base, update, merged) | found
    row["faint"] = {}
    for rate in fainter:
        probe.put(own)  # or it would learn on top of what was merged last
        update = language.products(language.trained("pirate", rate, seed, recipe))
        row["faint"][f"{rate:g}"] = _faint(own, update)
    probe.put(own)
    return row


def _ways(
    own: Weights, dice: torch.Generator
) -> dict[str, tuple[Weights, Callable[[Tensor], Tensor]]]:
    """Return the bases, and what is stored of a sum: those of the model, rounded or moved."""
    coarse = {n: _in_nf4(w) for n, w in own.items()}
    half = {n: _in_bfloat16(w) for n, w in own.items()}
    moved = {n: _off_its_levels(w, dice) for n, w in own.items()}
    return {
        "apart": (own, lambda W: W),
        "bfloat16": (half, _in_bfloat16),
        "4 bits": (own, in_4_bits),
        "4 bits, dice": (own, partial(in_4_bits, draw=dice)),
        "4 bits, other levels": (own, _in_nf4),
        "5 bits": (own, partial(in_4_bits, levels=32)),
        "off its levels, apart": (moved, lambda W: W),
        "off its levels, 4 bits": (moved, in_4_bits),
        "NF4, apart": (coarse, lambda W: W),
        "NF4": (coarse, _in_nf4),
        "NF4, other levels": (coarse, in_4_bits),
    }


def _faint(own: Weights, update: Weights) -> dict[str, float]:
    """Merge a small update into bfloat16; return its size, and how much of it arrives."""
    half = {n: _in_bfloat16(w) for n, w in own.items()}
    merged = {n: _in_bfloat16(half[n] + delta) for n, delta in update.items()}
    arrived = [outcome(half[n], delta, merged[n])[0] for n, delta in update.items()]
    return {
        "size": float(f"{fmean(_sizes(update, own)):.3g}"),
        "arrived": round(fmean(arrived), 4),
    }


def _sizes(update: Weights, own: Weights) -> list[float]:
    """Return ‖ΔW‖ / ‖W₀‖ of each matrix."""
    return [float(delta.norm() / own[n].norm()) for n, delta in update.items()]


def _outcomes(base: Weights, update: Weights, merged: Weights) -> Row:
    """Return what of each update has arrived, its error, and the share of all that did not move."""
    told = [outcome(base[n], delta, merged[n]) for n, delta in update.items()]
    arrived, error, still = zip(*told, strict=True)
    return {
        "arrived": [round(share, 4) for share in arrived],
        "error": [round(share, 4) for share in error],
        "still": round(float(np.average(still, weights=[d.numel() for d in update.values()])), 4),
    }


# -- time -----------------------------------------------------------------------------------------


def _with_bottlenecks(base: Any, layers: Iterable[str]) -> Any:
    """Return a copy with bottleneck adapters at these layers, as many numbers as strips of r = 4.

    3.42 numbers wide they would have just as many: in four of the ten blocks they are 4 wide, else
    3, which is .6 % fewer.
    """
    model = copy.deepcopy(base)
    for name in layers:
        width = 4 if name.split(".")[2] in ("22", "24", "26", "28") else 3
        layer = BottleneckAdapter(model.get_submodule(name), width)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer)
    return model.eval()


@experiment(compared=("ratio",), gap=("cases.read.ratio", "apart", "merged"))
@torch.no_grad()
def served(
    *, prompt: int = 12, tokens: int = 8, long: int = 128, customers: int = 8,
    rounds: int = 40, turns: int = 16, voice: str = "pirate",
) -> Row:  # fmt: skip
    """Time reading and writing, in one thread: the base, a copy, a voice merged, apart, its rival.

    The rival are bottleneck adapters at the same layers. Then a customer a row, each with strips of
    its own (here of equal numbers, on which no time depends): as one batch, or in turn. ``ratio``
    is over the first of a case in the same round: quartiles. ``added``: how many numbers.
    """
    base = copy.deepcopy(language.base()[0])  # what is loaded is mapped from a file
    own = chat.adapter(base, chat.SHIPPED / voice)
    apart = load_adapter(copy.deepcopy(base), chat.SHIPPED / voice)
    models = {
        "base": base,
        "copy": copy.deepcopy(base),
        "merged": merge_and_unload(copy.deepcopy(apart)),
        "apart": apart,
        "bottleneck": _with_bottlenecks(base, own),
    }
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, (customers, long), generator=draw)
    cases = {"read": {name: partial(model, ids[:1]) for name, model in models.items()}}
    cases |= _writing(models, own, ids[:, :prompt], tokens)
    torch.set_num_threads(1)
    found = {}
    for case, calls in cases.items():
        many = turns if case == "customers" else rounds
        timings = compare(calls, many, 0.01, clock=time.process_time)
        first = next(iter(calls))
        found[case] = {
            "ratio": {name: [round(q, 4) for q in timings.ratio(name, first)] for name in calls},
            "seconds": {n: [float(f"{s:.4g}") for s in of] for n, of in timings.seconds.items()},
        }
    numbers = {n: sum(p.numel() for p in m.parameters()) for n, m in models.items()}
    added = {n: count - numbers["base"] for n, count in numbers.items()}
    return {"processor": platform.machine(), "threads": 1, "added": added, "cases": found}


def _writing(
    models: Mapping[str, Any], own: chat.Adapter, ids: Tensor, tokens: int
) -> dict[str, dict[str, Callable[[], object]]]:
    """Return what is timed: each model writes for one, and for all; the base for all in four ways.

    ``ids``, (customers, prompt): what they ask.
    """
    base, customers = models["base"], len(ids)
    weights = {name: base.get_submodule(name).weight for name in own}
    start = {name: weight.clone() for name, weight in weights.items()}
    changes = language.products(own)

    def write(model: Any, rows: int) -> None:
        asked, mask = ids[:rows], torch.ones_like(ids[:rows])
        model.generate(asked, attention_mask=mask, min_new_tokens=tokens, max_new_tokens=tokens)

    def with_adapters(rows: int) -> None:
        with chat.speaking(base, [own] * rows):
            write(base, rows)

    def in_turn() -> None:
        for _ in range(customers):
            with_adapters(1)

    def merged_in_turn() -> None:
        for _ in range(customers):
            for name, weight in weights.items():
                weight.copy_(start[name] + changes[name])
            write(base, 1)
            for name, weight in weights.items():
                weight.copy_(start[name])

    return {
        "write": {name: partial(write, model, 1) for name, model in models.items()},
        "write 8": {name: partial(write, model, customers) for name, model in models.items()},
        "customers": {
            "base, one batch": partial(write, base, customers),
            "own adapters, one batch": partial(with_adapters, customers),
            "own adapters, in turn": in_turn,
            "merged, in turn": merged_in_turn,
        },
    }
