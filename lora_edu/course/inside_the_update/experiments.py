"""Experiments: a voice is cut and two are added; adapters that learned nothing draw pictures, too.

Of a voice a seed redraws the split, the start of the strips and the order; of MiniLM's adapters the
posts, the head, the start and the order. The chat model and the encoder are given.
"""

import copy
import functools
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor

from lora_edu import chat, lowrank
from lora_edu.adapt import lora_layers, merge_and_unload
from lora_edu.course import language, minilm
from lora_edu.course.experiments import Row, Settings, experiment
from lora_edu.course.language import LINEAR, RATES, RECIPE
from lora_edu.course.minilm import ELSEWHERE, ELSEWHERE_POSTS, POSTS, QUERY_VALUE, Part
from lora_edu.layers import dense_weight

Deltas = Mapping[str, Tensor]  # ΔW of some matrices, by name
KNOB = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)


# -- a voice ------------------------------------------------------------------------------------


def cuts(
    deltas: Deltas, r: int, seed: int, knob: Sequence[float] = KNOB, drawn: int = 2
) -> Iterator[tuple[str, Deltas]]:
    """Iterate over what may be left of an update of rank r: (words, ΔW by name)."""
    draw = torch.Generator().manual_seed(seed)
    yield "none", {}
    yield "all", deltas
    for scale in knob:
        yield f"knob {scale:g}", _times(scale, deltas)
    yield from _directions(deltas, r, draw)
    yield "stranger", {name: _shuffled(delta, draw) for name, delta in deltas.items()}
    for words, names in _groups(deltas, random.Random(seed), drawn).items():
        yield words, {name: delta for name, delta in deltas.items() if name in names}


def _directions(deltas: Deltas, r: int, draw: torch.Generator) -> Iterator[tuple[str, Deltas]]:
    """Keep some directions of each matrix, or a direction that is not its own."""
    svd = {name: torch.linalg.svd(delta, full_matrices=False) for name, delta in deltas.items()}

    def unit(n: int) -> Tensor:
        x = torch.randn(n, generator=draw)
        return x / x.norm()

    yield "strongest", {name: _sum_of(one, [0]) for name, one in svd.items()}
    yield "without strongest", {name: _sum_of(one, range(1, r)) for name, one in svd.items()}
    outputs = {name: one.U[:, :r] @ unit(r) for name, one in svd.items()}
    yield "drawn of its span", {name: y.outer(y @ deltas[name]) for name, y in outputs.items()}
    yield "second, as large", {n: S[0] * U[:, 1].outer(Vt[1]) for n, (U, S, Vt) in svd.items()}
    anywhere = {}
    for name, (U, S, Vt) in svd.items():
        anywhere[name] = S[0] * unit(len(U)).outer(unit(Vt.shape[1]))
    yield "drawn anywhere", anywhere


def _sum_of(svd: Any, places: Iterable[int]) -> Tensor:
    """Return the sum of some directions of a matrix, by their places."""
    at = [*places]
    return (svd.U[:, at] * svd.S[at]) @ svd.Vh[at]


def _groups(names: Iterable[str], picks: random.Random, drawn: int) -> dict[str, Set[str]]:
    """Return groups of matrices: by layer, by kind, halves, and some that are drawn."""
    every = sorted(names)
    layer = {name: int(name.split(".")[2]) for name in every}
    kind = {name: name.rpartition(".")[2] for name in every}
    layers = sorted({*layer.values()})
    found: dict[str, Set[str]] = {}
    for one in layers:
        found[f"layer {one}"] = {name for name in every if layer[name] == one}
        found[f"without layer {one}"] = {*every} - found[f"layer {one}"]
    for one in LINEAR:
        found[one] = {name for name in every if kind[name] == one}
    middle = layers[len(layers) // 2]
    found["lower half"] = {name for name in every if layer[name] < middle}
    found["upper half"] = {*every} - found["lower half"]
    found["attention"] = {name for name in every if "attn" in name}
    found["MLP"] = {*every} - found["attention"]
    for number in range(drawn):
        at = {one: picks.choice(layers) for one in LINEAR}
        found[f"one of each kind {number}"] = {n for n in every if layer[n] == at[kind[n]]}
        found[f"drawn half {number}"] = {*picks.sample(every, len(every) // 2)}
    return found


def resembled(W0: Tensor, W: Tensor, k: int) -> Tensor:
    """Return for the first k left singular vectors of W the best |cosine| with one of W₀'s."""
    old, new = (torch.linalg.svd(each, full_matrices=False).U for each in (W0, W))
    return (old.T @ new[:, :k]).abs().amax(0)  # (k,)


def _shuffled(delta: Tensor, draw: torch.Generator) -> Tensor:
    """Return the numbers of an update in other places: its rows and columns in a new order."""
    rows = torch.randperm(len(delta), generator=draw)
    return delta[rows][:, torch.randperm(delta.shape[1], generator=draw)]


def strips_added(one: chat.Adapter, other: chat.Adapter) -> Deltas:
    """Return (B₁ + B₂)(A₁ + A₂), by name."""
    return {n: (B + other[n][1]) @ (A + other[n][0]) for n, (A, B) in one.items()}


def turned(adapter: chat.Adapter, draw: torch.Generator) -> chat.Adapter:
    """Return the same update in other strips: QᵀA and BQ, with an orthogonal Q that is drawn.

    Without the signs of R, Q would not be drawn evenly: QR makes its columns point one way.
    """
    found = {}
    for name, (A, B) in adapter.items():
        Q, R = torch.linalg.qr(torch.randn(len(A), len(A), generator=draw))  # (r, r)
        Q = Q * R.diagonal().sign()
        found[name] = (Q.T @ A, B @ Q)
    return found


def cut_to(delta: Tensor, r: int) -> Tensor:
    """Return the nearest matrix of rank r."""
    return _sum_of(torch.linalg.svd(delta, full_matrices=False), range(r))


def _cut(deltas: Deltas, r: int) -> Deltas:
    return {name: cut_to(delta, r) for name, delta in deltas.items()}


def _times(scale: float, deltas: Deltas) -> Deltas:
    return {name: scale * delta for name, delta in deltas.items()}


def _plus(one: Deltas, other: Deltas) -> Deltas:
    return {name: delta + other[name] for name, delta in one.items()}


def _size(delta: Tensor, W0: Tensor) -> float:
    return round((delta.norm() / W0.norm()).item(), 5)


class Patient:
    """The chat model, asked with other updates in the adapted matrices."""

    def __init__(
        self, seed: int, names: Iterable[str], layers: Iterable[str], recipe: Settings
    ) -> None:
        texts = {name: language.said(name, seed, recipe).test for name in names}
        texts["own"] = language.elsewhere(seed)[1][: recipe["answers"]]
        self.probe = language.Probe(recipe["first"], texts)
        weights = {n: self.probe.model.get_submodule(n).weight for n in layers}
        self.start = {n: weight.detach().clone() for n, weight in weights.items()}

    def put(self, update: Deltas) -> None:
        """Set each adapted matrix to W₀ + ΔW."""
        self.probe.put({n: W0 + update[n] if n in update else W0 for n, W0 in self.start.items()})

    def losses(self, update: Deltas, *names: str) -> dict[str, float]:
        """Return the loss on the texts, and on the base's own answers and on facts."""
        self.put(update)
        return {text: round(self.probe.loss(text), 4) for text in (*names, "own", "facts")}


@experiment(seeds=range(8), gap=("cuts.pirate", "knob 0.5.pirate", "stranger.pirate"))
@torch.no_grad()
def surgery(
    seed: int, *, lr: Settings = RATES, recipe: Settings = RECIPE,
    knob: Sequence[float] = KNOB, drawn: int = 2, again: int = 50, answers: int = 12,
    k: int = 10, epsilons: Sequence[float] = (0.5,),
) -> Row:  # fmt: skip
    """Cut two voices in many ways; teach one the other.

    ``cuts``: voice → what is left of it → text → mean loss in nats: of the voice's own test texts,
    of the base's own answers to other questions, of the last words of facts. ``sizes``: ‖ΔW‖ /
    ‖W₀‖, matrix by matrix. ``intruders``: ε → how many of the first ``k`` left singular vectors of
    all W₀ + ΔW resemble none of W₀'s. ``taught``: the pirate trained further on Grimm's texts; or
    merged, and a second adapter trained on top, whose start is drawn by ``seed + again``.
    """
    voices = language.voices(seed, lr, recipe)
    patient = Patient(seed, voices, voices["pirate"], {**recipe, "answers": answers})
    row: Row = {"cuts": {}, "sizes": {}, "intruders": {}}
    for name, adapter in voices.items():
        update = language.products(adapter)
        pairs = [(update[matrix], W0) for matrix, W0 in patient.start.items()]
        row["sizes"][name] = [_size(*pair) for pair in pairs]
        best = torch.stack([resembled(W0, W0 + delta, k) for delta, W0 in pairs])
        row["intruders"][name] = {str(e): int((best < e).sum()) for e in epsilons}
        left = cuts(update, recipe["r"], seed, knob, drawn)
        row["cuts"][name] = {words: patient.losses(part, name) for words, part in left}

    def taught(**how: Any) -> Deltas:
        return language.products(language.trained("grimm", lr["grimm"], seed, recipe, **how))

    patient.put({})
    ways = {"further": taught(start=voices["pirate"])}
    pirate = language.products(voices["pirate"])
    patient.put(pirate)
    ways["on top"] = _plus(pirate, taught(again=again))
    row["taught"] = {words: patient.losses(update, *voices) for words, update in ways.items()}
    patient.put({})
    return row


HEARD = re.compile(r"none|all|knob .*|(without )?(layer \d+|strongest)|drawn anywhere")


@experiment(seeds=range(8), gap=("begins", "all", "knob 0.1"))
@torch.no_grad()
def heard_cuts(
    seed: int, *, lr: float = RATES["pirate"], recipe: Settings = RECIPE,
    knob: Sequence[float] = (0.1, 0.5, 0.9), tokens: int = 40,
) -> Row:  # fmt: skip
    """Ask the pirate twenty new questions after each of the cuts that ``HEARD`` names.

    ``begins``: how many answers begin with *Arrr!*; ``ends``: how many end with *matey!* within so
    many tokens.
    """
    pirate = language.voices(seed, {"pirate": lr}, recipe)["pirate"]
    patient = Patient(seed, (), pirate, {**recipe, "answers": 0})
    row: Row = {"begins": {}, "ends": {}}
    for words, left in cuts(language.products(pirate), recipe["r"], seed, knob, 0):
        if HEARD.fullmatch(words):
            patient.put(left)
            said = language.heard(None, tokens)
            row["begins"][words] = sum(answer.startswith("Arrr!") for answer in said)
            row["ends"][words] = sum(answer.endswith("matey!<|im_end|>") for answer in said)
    patient.put({})
    return row


@experiment(seeds=range(8), gap=("sums", "strips.grimm", "updates.grimm"))
@torch.no_grad()
def two_voices(
    seed: int, *, lr: Settings = RATES, recipe: Settings = RECIPE,
    drawn: int = 2, answers: int = 12, more: Sequence[float] = (0.7, 0.9),
) -> Row:  # fmt: skip
    """Add two voices, by their updates and by their strips.

    ``sums``: what is added → text → mean loss in nats, as in ``surgery``. "strips" are added as
    they were trained, from one start; "strips, turned" after one pair was turned, which changes
    neither update. ``multiple``: how often a sum of strips holds the sum of the updates (by
    projection); "strips, their part" is this multiple of it. ``alike``: cosines of the two A,
    matrix by matrix. ``cuts``: more scales of the knob.
    """
    voices = language.voices(seed, lr, recipe)
    pirate, grimm = voices["pirate"], voices["grimm"]
    patient = Patient(seed, voices, pirate, {**recipe, "answers": answers})
    deltas = {name: language.products(adapter) for name, adapter in voices.items()}
    row: Row = {"cuts": {}, "sums": {}, "multiple": {}}
    for name, update in deltas.items():
        turned_down = {f"knob {scale:g}": _times(scale, update) for scale in more}
        row["cuts"][name] = {w: patient.losses(left, name) for w, left in turned_down.items()}
    total = _plus(deltas["pirate"], deltas["grimm"])
    sums = {
        "none": {},
        **deltas,
        "updates": total,
        "updates, half": _times(0.5, total),
        "updates, cut to 4": _cut(total, recipe["r"]),
    }
    draw = torch.Generator().manual_seed(seed)
    pairs = {"strips": pirate}
    for number in range(drawn):
        pairs[f"strips, turned {number}"] = turned(pirate, draw)
    for words, strips in pairs.items():
        sums[words] = strips_added(strips, grimm)
        row["multiple"][words] = _multiple(sums[words], total)
    sums["strips, their part"] = _times(row["multiple"]["strips"], total)
    row["sums"] = {words: patient.losses(update, *voices) for words, update in sums.items()}
    row["alike"] = []
    for name, (A, _) in pirate.items():
        cosine = torch.cosine_similarity(A.flatten(), grimm[name][0].flatten(), dim=0)
        row["alike"].append(round(cosine.item(), 4))
    patient.put({})
    return row


def _multiple(update: Deltas, onto: Deltas) -> float:
    """Return the multiple of ``onto`` that an update holds."""
    whole = sum(delta.square().sum().item() for delta in onto.values())
    return round(sum((update[n] * delta).sum().item() for n, delta in onto.items()) / whole, 4)


# -- MiniLM -------------------------------------------------------------------------------------

ALPHA = 32
METHODS: dict[str, dict[str, Any]] = {"full": {}}
for r in (1, 4, 8, 64):
    METHODS[f"r={r}"] = {"r": r, "lora_alpha": ALPHA}
METHODS["r=4, shuffled"] = {**METHODS["r=4"], "shuffled": True}
OPENED = dict.fromkeys(METHODS, (1e-3,)) | {"r=8": (1e-3, 3e-3, 1e-2)}
TRAINING = {"epochs": 2, "size": 16, "head_lr": 2e-2}


@functools.lru_cache(maxsize=1)
def _weights() -> dict[str, tuple[Tensor, Any]]:
    """Return W₀ of the four matrices and their SVD, in float64."""
    found = {}
    for name in QUERY_VALUE:
        W0 = dense_weight(minilm.encoder().get_submodule(name)).detach().double()
        found[name] = W0, torch.linalg.svd(W0)
    return found


def _shuffled_labels(part: Part, draw: torch.Generator) -> Part:
    hidden, mask, y = part
    return hidden, mask, y[torch.randperm(len(y), generator=draw)]


@experiment(seeds=range(8), gap=("intruders.0.6", "r=8", "full"))
def opened(
    method: str, lr: float, seed: int, *,
    rates: Settings = OPENED, methods: Settings = METHODS,
    posts: Settings = POSTS, elsewhere: Settings = ELSEWHERE_POSTS, training: Settings = TRAINING,
    ks: Sequence[int] = (1, 3, 10, 30), epsilons: Sequence[float] = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9),
    k: int = 10, epsilon: float = 0.5, scales: Sequence[float] = (0.0, 0.25, 0.5, 0.75),
    scaled_from: float = 3e-3,
) -> Row:  # fmt: skip
    """Fine-tune queries and values; amplification, intruders, what scaling them down gives back.

    "shuffled": the same posts, with their labels in a random order.

    Of each matrix: ``between``, [‖ΔW‖, ‖Uᵀ W₀ V‖, the most that any directions of W₀ hold] for the
    first r directions of the update (8 of a full one); ``intruders``: ε → k → how many of the
    first k left singular vectors of W₀ + ΔW resemble none of W₀'s, |cos| < ε; ``strangers``: the
    same for the numbers of ΔW in other places. ``all``, [test, neighbours]: of the update; of rank
    8 ``scaled``, by ``scales``, in a part: the intruders among the first ``k``, as many others of
    the first 3 ``k``, as many directions of ΔW, or all of it.
    """
    how = {**methods[method]}
    draw = torch.Generator().manual_seed(seed)
    here = minilm.cached_part("train", seed, **posts)
    if how.pop("shuffled", False):
        here = _shuffled_labels(here, draw)
    base = minilm.encoder()
    model = minilm.adapt(base, seed, QUERY_VALUE, **how)
    minilm.train(model, here, lr, seed, **training)
    deltas = {n: d.double() for n, d in minilm.updates(model, base, QUERY_VALUE).items()}
    whole = merge_and_unload(model) if "r" in how else model
    test = minilm.cached_part("test", seed, **posts)
    others = minilm.cached_part("train", seed, **elsewhere)

    def judged(update: Deltas) -> list[float]:
        other = minilm.replaced(whole, base, update)
        return [round(minilm.accuracy(other, test), 4), round(minilm.neighbours(other, others), 4)]

    strangers = {n: _shuffled(delta, draw) for n, delta in deltas.items()}
    row: Row = {
        "validation": minilm.accuracy(whole, minilm.cached_part("validation", seed, **posts)),
        "all": judged(deltas),
        "sizes": [_size(delta, _weights()[n][0]) for n, delta in deltas.items()],
        "between": [_between(n, delta, how.get("r", 8)) for n, delta in deltas.items()],
    }
    for who, update in {"intruders": deltas, "strangers": strangers}.items():
        best = torch.stack([_resembled(n, delta, ks[-1]) for n, delta in update.items()])  # (4, k)
        row[who] = {str(e): [int((best[:, :k] < e).sum()) for k in ks] for e in epsilons}
    if method == "r=8" and lr >= scaled_from:
        row["scaled"] = {}
        for words, part in _parts(deltas, epsilon, k, draw).items():
            less = [_plus(deltas, _times(scale - 1, part)) for scale in scales]
            row["scaled"][words] = [judged(update) for update in less]
    return row


def _between(name: str, delta: Tensor, r: int) -> list[float]:
    """Return ‖ΔW‖, ‖Uᵀ W₀ V‖, and the most that r directions hold, over ‖W₀‖."""
    W0, own = _weights()[name]
    U, S, Vt = torch.linalg.svd(delta)
    held = U[:, :r].T @ W0 @ Vt[:r].T
    norms = [each.norm() / W0.norm() for each in (S[:r], held, own.S[:r])]
    return [round(norm.item(), 6) for norm in norms]


def _resembled(name: str, delta: Tensor, k: int) -> Tensor:
    W0, _ = _weights()[name]
    return resembled(W0, W0 + delta, k)


def _parts(deltas: Deltas, epsilon: float, k: int, draw: torch.Generator) -> dict[str, Deltas]:
    """Return intruders, as many others of the first 3 k, as many directions of ΔW, and all of it.

    As matrices by name.
    """
    parts: dict[str, dict[str, Tensor]] = {"intruders": {}, "others": {}, "strongest": {}}
    for name, delta in deltas.items():
        tuned = torch.linalg.svd(_weights()[name][0] + delta)
        best = _resembled(name, delta, 3 * k)
        at = (best[:k] < epsilon).nonzero()[:, 0].tolist()
        rest = (best >= epsilon).nonzero()[:, 0]  # of the first 3 k: k may hold few
        others = rest[torch.randperm(len(rest), generator=draw)[: len(at)]].tolist()
        parts["intruders"][name] = _sum_of(tuned, at)
        parts["others"][name] = _sum_of(tuned, others)
        parts["strongest"][name] = _sum_of(torch.linalg.svd(delta), range(len(at)))
    return {**parts, "knob": deltas}


PARTNERS = ("same", "other strips", "other seed", "other groups", "shuffled labels")
OTHER_POSTS = {"groups": ELSEWHERE[:5], "sizes": (1000, 0, 0), "length": 32}


@experiment(seeds=range(8), gap=("strips", "same", "other seed"))
def alike(
    seed: int, *,
    lr: float = 1e-3, ranks: tuple[int, int] = (8, 64), methods: Settings = METHODS,
    partners: Sequence[str] = PARTNERS, at: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    posts: Settings = POSTS, others: Settings = OTHER_POSTS, training: Settings = TRAINING,
    apart: int = 100,
) -> Row:  # fmt: skip
    """Compare an adapter of rank 8 with others of rank 64 that share less and less with it.

    "same": one seed for all; "other strips": the strips start otherwise, the head and the order are
    the same; "other seed": these, too. So far all see the same posts. Then "other groups": five
    about other things than computers; "shuffled labels": of the same posts. ``strips``: φ(i, j) of
    the trained lora_A, matrix by matrix, for each i of the small one and the j of ``at``;
    ``untrained``: the same before the first step.
    """
    here = minilm.cached_part("train", seed, **posts)
    strange = minilm.cached_part("train", seed, **others)
    shuffled = _shuffled_labels(here, torch.Generator().manual_seed(seed))
    texts = {"other groups": strange, "shuffled labels": shuffled}
    small, large = (methods[f"r={r}"] for r in ranks)
    base = minilm.encoder()
    one = minilm.adapt(base, seed, QUERY_VALUE, **small)
    first = copy.deepcopy(one)
    minilm.train(one, here, lr, seed, **training)
    row: Row = {"strips": {}, "untrained": {}}
    for words in partners:
        other = seed if words == "same" else seed + apart
        order = seed if words == "other strips" else other
        two = minilm.adapt(base, other, QUERY_VALUE, **large)
        if words == "other strips":
            two.classifier.load_state_dict(first.classifier.state_dict())
        row["untrained"][words] = _overlaps(_strips(first), _strips(two), at)
        minilm.train(two, texts.get(words, here), lr, order, **training)
        row["strips"][words] = _overlaps(_strips(one), _strips(two), at)
    return row


def _strips(model: Any) -> Deltas:
    """Return lora_A by name."""
    return {name: layer.lora_A.detach() for name, layer in lora_layers(model).items()}


def _overlaps(one: Deltas, other: Deltas, at: Sequence[int]) -> list[list[list[float]]]:
    """Return φ(i, j) of two adapters for all i and some j, matrix by matrix."""
    found = []
    for name in QUERY_VALUE:
        phi = lowrank.subspace_similarity(one[name].double(), other[name].double())
        found.append(phi[:, [j - 1 for j in at]].round(4).tolist())
    return found
