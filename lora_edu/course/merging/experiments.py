"""Experiments: two voices swapped by merging, merged into four bits, and served."""

import copy
import functools
import math
import platform
import random
import time
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

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
Weights = dict[str, Tensor]  # of the adapted layers


def _stranger(adapter: chat.Adapter, draw: torch.Generator) -> Weights:
    """Return an update with the numbers of this one, its rows and columns in a new order."""
    found = {}
    for name, (A, B) in adapter.items():
        rows = torch.randperm(len(B), generator=draw)
        columns = torch.randperm(A.shape[1], generator=draw)
        found[name] = B[rows] @ A[:, columns]
    return found


class Probe(language.Probe):
    """Asks the model, too, with other weights in the adapted layers."""

    def answer(self, question: str = FRANCE, max_tokens: int = 24) -> str:
        """Return what it answers, the likeliest token each time."""
        return chat.answers(self.model, self.tokenizer, [question], max_tokens)[0]

    @torch.no_grad()
    def paris(self) -> float:
        """Return the probability of the word Paris behind "The capital of France is"."""
        asked = [{"role": "user", "content": FRANCE}]
        text = chat.template(self.tokenizer, asked, answers=True) + "The capital of France is"
        ids = self.tokenizer([text], add_special_tokens=False, return_tensors="pt")["input_ids"]
        word = self.tokenizer(" Paris", add_special_tokens=False)["input_ids"][0]
        return round(self.model(ids).logits[0, -1].softmax(-1)[word].item(), 5)


ALIKE = {"dtype": "bfloat16", "who": "voices", "times": 1, "keep": False}
SWAPS = {
    "two voices": ALIKE,
    "two voices, W0 kept": {**ALIKE, "keep": True},
    "two voices, float32": {**ALIKE, "dtype": "float32"},
    "two voices, 4 times as large": {**ALIKE, "times": 4},
    "strangers": {**ALIKE, "who": "strangers"},
    "strangers, float32": {**ALIKE, "who": "strangers", "dtype": "float32"},
}


@experiment(seeds=range(3), tolerance=0.05, compared=("paris", "prose"))
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
    model = probe.model
    start = {n: model.get_submodule(n).weight.detach().clone() for n in changes["pirate"]}
    row: Row = {}
    for name, how in swaps.items():
        dtype, draw = getattr(torch, how["dtype"]), random.Random(seed)
        order = torch.Generator().manual_seed(seed)
        W0 = {n: w.to(dtype) for n, w in start.items()}
        W, found = dict(W0), {"off": [], "changed": [], "paris": [], "prose": []}
        found |= {"pirate": [], "says": [], "others": []}
        before: list[str] = []
        for done in range(rounds[-1] + 1):
            if done in rounds:
                off = sum((W[n].double() - W0[n].double()).square().sum() for n in W0)
                whole = sum(w.double().square().sum() for w in W0.values())
                changed = sum(int((W[n] != W0[n]).sum()) for n in W0)
                found["off"].append(float(f"{math.sqrt(off / whole):.3g}"))
                found["changed"].append(round(changed / sum(w.numel() for w in W0.values()), 4))
                probe.put({n: (W[n] + changes["pirate"][n]).to(dtype) for n in W})
                found["pirate"].append(probe.perplexity("pirate"))
                probe.put(W)
                found["paris"].append(probe.paris())
                found["prose"].append(probe.perplexity("prose"))
                found["says"].append(probe.answer())
                heard = chat.answers(model, probe.tokenizer, language.texts("unseen"), 24)
                before = before or heard
                found["others"].append(sum(map(str.__eq__, before, heard)))
            who = draw.choice([*voices])
            new = changes[who] if how["who"] == "voices" else _stranger(voices[who], order)
            for n in W:
                change = how["times"] * new[n]
                merged = (W[n] + change).to(dtype)
                W[n] = W0[n] if how["keep"] else (merged - change).to(dtype)
        row[name] = found
    probe.put(start)
    return row


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

    With ``draw`` it rounds up or down by chance, the more often up the nearer that level is.
    """
    blocks = W.reshape(-1, block)
    least = blocks.amin(1, keepdim=True)
    step = (blocks.amax(1, keepdim=True) - least) / (levels - 1)
    place = (blocks - least) / step.where(step > 0, 1)
    dice = 0.5 if draw is None else torch.rand(place.shape, generator=draw)
    return (least + step * (place + dice).floor().clamp(0, levels - 1)).reshape(W.shape)


def _off_its_levels(W: Tensor, draw: torch.Generator) -> Tensor:
    """Return weights up to half a step away from the levels that these stand on."""
    blocks = W.reshape(-1, 32)
    step = (blocks.amax(1, keepdim=True) - blocks.amin(1, keepdim=True)) / 15
    return (blocks + step * (torch.rand(blocks.shape, generator=draw) - 0.5)).reshape(W.shape)


def _in_nf4(W: Tensor) -> Tensor:
    return NF4.quantize(W).dequantize()


@experiment(seeds=range(3), tolerance=0.05, compared=("said",))
@torch.no_grad()
def requantised(
    seed: int, *, lr: Settings = RATES, recipe: Settings = RECIPE,
    fainter: Sequence[float] = (1e-4, 1e-5), question: str = "Why is the sky blue?",
) -> Row:  # fmt: skip
    """Merge a voice and store the sum in 16 and in 4 bits, upon a base that has 4 bits already.

    A way is a base W₀, and what is stored of W₀ + ΔW. Of each matrix, layer by layer: ``arrived``,
    ⟨W - W₀, ΔW⟩ / ‖ΔW‖², and ``error``, ‖W - W₀ - ΔW‖ / ‖ΔW‖. ``still``: the share of weights that
    do not move. ``said``: the perplexity of the voice's own test texts. The model's weights stand
    on the levels of Q4_1; other bases are rounded to NF4 before, or moved off their levels.
    ``faint``: the pirate, trained at smaller rates, and merged into bfloat16.
    """
    voices = language.voices(seed, lr, recipe)
    probe = Probe(
        recipe["first"], {name: language.said(name, seed, recipe).test for name in voices}
    )
    layers = [*voices["grimm"]]
    own = {n: probe.model.get_submodule(n).weight.detach().clone() for n in layers}
    coarse = {n: _in_nf4(w) for n, w in own.items()}
    dice = torch.Generator().manual_seed(seed)
    half = {n: w.bfloat16().float() for n, w in own.items()}
    moved = {n: _off_its_levels(w, dice) for n, w in own.items()}
    ways: dict[str, tuple[Weights, Callable[[Tensor], Tensor]]] = {
        "apart": (own, lambda W: W),
        "bfloat16": (half, lambda W: W.bfloat16().float()),
        "4 bits": (own, in_4_bits),
        "4 bits, dice": (own, lambda W: in_4_bits(W, dice)),
        "4 bits, other levels": (own, _in_nf4),
        "5 bits": (own, lambda W: in_4_bits(W, levels=32)),
        "off its levels, apart": (moved, lambda W: W),
        "off its levels, 4 bits": (moved, in_4_bits),
        "NF4, apart": (coarse, lambda W: W),
        "NF4": (coarse, _in_nf4),
        "NF4, other levels": (coarse, in_4_bits),
    }
    row: Row = {"sizes": {}}
    for name, weights in (("base", own), ("base in NF4", coarse)):
        probe.put(weights)
        row[name] = {"said": {voice: probe.perplexity(voice) for voice in voices}}
        row[name] |= {"prose": probe.perplexity("prose"), "answer": probe.answer(question)}
    for voice, adapter in voices.items():
        deltas = language.products(adapter)
        sizes = [deltas[n].norm() / own[n].norm() for n in layers]
        row["sizes"][voice] = [round(size.item(), 5) for size in sizes]
        for way, (base, store) in ways.items():
            merged = {n: store(base[n] + deltas[n]) for n in layers}
            told = [outcome(base[n], deltas[n], merged[n]) for n in layers]
            arrived, error, still = zip(*told, strict=True)
            count = [deltas[n].numel() for n in layers]
            probe.put(merged)
            row.setdefault(way, {})[voice] = {
                "arrived": [round(share, 4) for share in arrived],
                "error": [round(part, 4) for part in error],
                "still": round(fmean(still, count), 4),
                "said": probe.perplexity(voice),
                "prose": probe.perplexity("prose"),
                "answer": probe.answer(question),
            }
    row["faint"] = {}
    for rate in fainter:
        probe.put(own)  # or it would learn on top of what was merged last
        deltas = language.products(language.trained("pirate", rate, seed, recipe))
        merged = {n: (half[n] + delta).bfloat16().float() for n, delta in deltas.items()}
        size = fmean(float(deltas[n].norm() / own[n].norm()) for n in layers)
        arrived = fmean(outcome(half[n], deltas[n], merged[n])[0] for n in layers)
        now = {"size": float(f"{size:.3g}"), "arrived": round(arrived, 4)}
        for key, weights in (("apart", {n: own[n] + deltas[n] for n in layers}), ("said", merged)):
            probe.put(weights)
            now[key] = probe.perplexity("pirate")
        row["faint"][f"{rate:g}"] = now
    probe.put(own)
    return row


def _with_bottlenecks(base: Any, layers: Sequence[str]) -> Any:
    """Return a copy with bottleneck adapters at these layers, as many numbers as strips of r = 4.

    3.42 numbers wide they would have just as many: in four of the ten blocks they are 4 wide, else
    3, which is .6 % fewer.
    """
    model = copy.deepcopy(base)
    for name in layers:
        width = 4 if name.split(".")[2] in ("22", "24", "26", "28") else 3
        parent, _, child = name.rpartition(".")
        layer = BottleneckAdapter(model.get_submodule(name), width)
        setattr(model.get_submodule(parent), child, layer)
    return model.eval()


@experiment(compared=("ratio",), tolerance=0.1)
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
    base = copy.deepcopy(
        language.base()[0]
    )  # so that all lie in memory alike: loaded, it is mapped
    own = chat.adapter(base, chat.SHIPPED / voice)
    apart = load_adapter(copy.deepcopy(base), chat.SHIPPED / voice)
    models = {"base": base, "copy": copy.deepcopy(base)}
    models |= {"merged": merge_and_unload(copy.deepcopy(apart)), "apart": apart}
    models["bottleneck"] = _with_bottlenecks(base, [*own])
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, (customers, long), generator=draw)
    changes = language.products(own)
    weights = {n: base.get_submodule(n).weight for n in own}
    start = {n: weight.clone() for n, weight in weights.items()}

    def write(model: Any, rows: int) -> None:
        given = ids[:rows, :prompt]
        how = {"min_new_tokens": tokens, "max_new_tokens": tokens}
        model.generate(given, attention_mask=torch.ones_like(given), **how)

    def apart_for(rows: int) -> None:
        with chat.speaking(base, [own] * rows):
            write(base, rows)

    def merged_for_one() -> None:
        for n, weight in weights.items():
            weight.copy_(start[n] + changes[n])
        write(base, 1)
        for n, weight in weights.items():
            weight.copy_(start[n])

    def in_turn(call: Callable[..., None], *given: int) -> None:
        for _ in range(customers):
            call(*given)

    cases: dict[str, dict[str, Callable[[], object]]] = {
        "read": {n: functools.partial(m, ids[:1]) for n, m in models.items()},
        "write": {n: functools.partial(write, m, 1) for n, m in models.items()},
        "write 8": {n: functools.partial(write, m, customers) for n, m in models.items()},
        "customers": {
            "base, one batch": functools.partial(write, base, customers),
            "own adapters, one batch": functools.partial(apart_for, customers),
            "own adapters, in turn": functools.partial(in_turn, apart_for, 1),
            "merged, in turn": functools.partial(in_turn, merged_for_one),
        },
    }
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for case, calls in cases.items():
        many = turns if case == "customers" else rounds
        timings = compare(calls, many, 0.01, clock=time.process_time)
        first = next(iter(calls))
        ratio = {name: [round(q, 4) for q in timings.ratio(name, first)] for name in calls}
        seconds = {name: [float(f"{s:.4g}") for s in row] for name, row in timings.seconds.items()}
        found[case] = {"ratio": ratio, "seconds": seconds}
    plain = sum(p.numel() for p in base.parameters())
    added = {n: sum(p.numel() for p in m.parameters()) - plain for n, m in models.items()}
    return {"processor": platform.machine(), "threads": 1, "added": added, "cases": found}
