"""Experiments: a chat model gets a voice; what it learns, and what that costs elsewhere."""

import copy
import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812

from lora_edu import chat
from lora_edu.adapt import lora_layers, lora_parameters, unload
from lora_edu.checkpoint import save_adapter
from lora_edu.course import language
from lora_edu.course.experiments import Row, Settings, attach, experiment
from lora_edu.course.language import LINEAR, RATES, RECIPE
from lora_edu.course.training import fit

TRIED = {"grimm": (5e-4, 1e-3, 2e-3), "pirate": (2e-4, 5e-4, 1e-3, 2e-3)}
SCALES = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5)


@experiment()
def own_answers(*, max_tokens: int = 64, temperature: float = 1.0, batch: int = 12) -> Row:
    """Let the base answer: the likeliest tokens, and for questions of elsewhere a drawn answer."""
    model, tokenizer = language.base()

    def ask(questions: Sequence[str], **how: Any) -> dict[str, str]:
        said: list[str] = []
        for i in range(0, len(questions), batch):
            part = questions[i : i + batch]
            said += chat.answers(model, tokenizer, part, max_tokens, seed=i, **how)
        return dict(zip(questions, said, strict=True))

    return {
        "greedy": ask(language.texts("questions")),
        "sampled": ask(language.texts("elsewhere"), temperature=temperature),
    }


@experiment(seeds=(100, 101, 102))
def voice_rates(
    method: str, lr: float, seed: int, *,
    rates: Settings = TRIED, recipe: Settings = RECIPE,
    questions: int = 16, max_tokens: int = 80, enough: float = 0.8,
) -> Row:  # fmt: skip
    """Choose a rate: the smallest loss on the voice among those at which nearly all answers end.

    (Where fewer than ``enough`` end, 10 nats are added.) Seeds and questions are its own: none of
    the unseen twenty. The passages are those of ``voices``, in other splits.
    """
    _, tokenizer = language.base()
    model, upper = language.adapted(language.base()[0], recipe, seed)
    said, (_, own) = language.said(method, seed, recipe), language.elsewhere(seed)
    train, held_out = language.kept(upper, said.train), language.kept(upper, said.validation)
    elsewhere = language.kept(upper, own, ends=False)
    language.train(upper, train, lr, seed, recipe)
    asked = [question for question, _ in own[:questions]]
    heard = chat.answers(model, tokenizer, asked, max_tokens)
    ended = sum(answer.endswith(tokenizer.eos_token) for answer in heard) / len(heard)
    loss = language.loss(upper, held_out)
    return {
        "validation": -loss - (0 if ended >= enough else 10),
        "voice": math.exp(loss),
        "own": math.exp(language.loss(upper, elsewhere)),
        "ended": ended,
        "loops": sum(map(language.loops, heard)) / len(heard),
    }


@experiment(seeds=range(3), compared=("matrix", "ended"))
def voices(
    seed: int, *,
    lr: Settings = RATES, recipe: Settings = RECIPE,
    scales: Sequence[float] = SCALES, max_tokens: int = 80, keep: int = 0,
) -> Row:  # fmt: skip
    """Make both voices; hear them on unseen questions, and measure them on each other's texts.

    ``matrix``: voice → scale of the adapter → text → mean loss in nats; the base is at scale 0.
    The adapters of the seed ``keep`` are written beside the record: those two ship.
    """
    base, tokenizer = language.base()
    row: Row = {"matrix": {}, "said": {}, "ended": {}, "loops": {}, "sha256": {}}
    said = {name: language.said(name, seed, recipe) for name in lr}

    def hear(name: str, model: Any) -> None:
        heard = chat.answers(model, tokenizer, language.texts("unseen"), max_tokens)
        row["said"][name] = heard
        row["ended"][name] = sum(answer.endswith(tokenizer.eos_token) for answer in heard)
        row["loops"][name] = sum(map(language.loops, heard))

    if seed == keep:
        hear("base", base)
    for name, rate in lr.items():
        model, upper = language.adapted(language.base()[0], recipe, seed)
        texts = {other: language.kept(upper, split.test) for other, split in said.items()}
        texts["own"] = language.kept(upper, language.elsewhere(seed)[1], ends=False)
        for raw in ("prose", "facts"):
            found = (language.raw(tokenizer, t, last=raw == "facts") for t in language.texts(raw))
            texts[raw] = upper.keep(found)
        language.train(upper, language.kept(upper, said[name].train), rate, seed, recipe)
        for parameter in lora_parameters(model):  # what is heard and measured is what ships
            parameter.data = parameter.data.half().float()
        hear(name, model)
        if seed == keep:
            row["sha256"][name] = attach(f"adapters/{name}", functools.partial(_save, model))
        row["matrix"][name] = {str(s): _losses(model, upper, texts, s) for s in scales}
    return row


def _save(model: Any, directory: Path) -> None:
    """Write an adapter of this model in half precision, without a path of this machine."""
    small = copy.deepcopy(model)
    small.config.name_or_path = "HuggingFaceTB/SmolLM2-135M-Instruct"
    for layer in lora_layers(small).values():
        layer.half()
    save_adapter(small, directory)


def _losses(
    model: Any, upper: language.Upper, texts: Mapping[str, list[language.Kept]], scale: float
) -> dict[str, float]:
    """Return the loss on each text with the adapter at a scale."""
    layers = lora_layers(model).values()
    scaling = [layer.scaling for layer in layers]
    for layer, s in zip(layers, scaling, strict=True):
        layer.scaling = s * scale
    found = {name: language.loss(upper, kept) for name, kept in texts.items()}
    for layer, s in zip(layers, scaling, strict=True):
        layer.scaling = s
    return found


LORA = {"r": 4, "lora_alpha": 8, "modules": LINEAR, "mixed": 0.0}
METHODS = {
    "r=4": LORA,
    "r=16": {**LORA, "r": 16, "lora_alpha": 32},
    "r=4, alpha 32": {**LORA, "lora_alpha": 32},
    "r=4, q and v": {**LORA, "modules": ("q_proj", "v_proj")},
    "r=4, own answers": {**LORA, "mixed": 0.25},
    "full": {"mixed": 0.0},
    "full, q and v": {"modules": ("q_proj", "v_proj"), "mixed": 0.0},
    "full, own answers": {"mixed": 0.25},
}
FRONTIER_RATES = {
    "r=4": (3e-4, 1e-3, 3e-3),
    "r=16": (3e-4, 1e-3),
    "r=4, alpha 32": (3e-4, 1e-3),
    "r=4, q and v": (1e-3, 3e-3),
    "r=4, own answers": (1e-3, 3e-3),
    "full": (3e-5, 1e-4, 3e-4),
    "full, q and v": (3e-4, 1e-3),
    "full, own answers": (1e-4, 3e-4),
}


@functools.lru_cache(maxsize=1)
def _states(seed: int, recipe: str) -> dict[str, list[language.Kept]]:
    """Return what enters the first trained layer, of all that a seed of the frontier needs."""
    model, tokenizer = language.base()
    settings = json.loads(recipe)
    upper = language.Upper(model, settings["first"])
    said, (mixed, own) = language.said("grimm", seed, settings), language.elsewhere(seed)
    return {
        "train": language.kept(upper, said.train),
        "mixed": language.kept(upper, mixed, ends=False),
        "voice": language.kept(upper, said.validation + said.test),
        "own": language.kept(upper, own, ends=False),
        "prose": upper.keep(language.raw(tokenizer, t) for t in language.texts("prose")),
        "facts": upper.keep(language.raw(tokenizer, t, last=True) for t in language.texts("facts")),
    }


@experiment(seeds=range(3), tolerance=0.1, compared=("voice", "own", "prose", "facts"))
def frontier(
    method: str, lr: float, seed: int, *,
    rates: Settings = FRONTIER_RATES, methods: Settings = METHODS, recipe: Settings = RECIPE,
    epochs: int = 2, texts: Sequence[str] = ("voice", "own", "prose", "facts"),
) -> Row:  # fmt: skip
    """Learn the voice of Grimm; before, and after each epoch, measure it and what is not his.

    ``mixed``: that share of the training texts gives way to the base's own drawn answers. Losses
    are in nats; "full" trains the same matrices as a whole.
    """
    how = {**recipe, **methods[method]}
    model, upper = language.adapted(language.base()[0], how, seed)
    if method.startswith("full"):
        names = [*lora_layers(model)]
        unload(model)
        for name in names:
            model.get_submodule(name).weight.requires_grad_(True)
    states = _states(seed, json.dumps(recipe))
    n = round(how["mixed"] * len(states["train"]))
    mixed = [states["mixed"][i % len(states["mixed"])] for i in range(n)]
    row: Row = {name: [language.loss(upper, states[name])] for name in texts}

    def measured(_: object) -> float:
        for name in texts:
            row[name].append(language.loss(upper, states[name]))
        return row["voice"][-1]

    parameters = [p for p in upper.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)
    batches = language.LikeLengths(states["train"][n:] + mixed, how["size"], seed)
    fit(upper, batches, F.cross_entropy, optimizer, epochs, validate=measured)
    return {"validation": -row["voice"][-1], **row}
