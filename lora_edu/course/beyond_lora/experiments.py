"""Experiments: LoRA's descendants, each as carefully tuned as plain LoRA.

A seed redraws split, pretrained network and adapter of the digits; of MiniLM the posts, the head,
the adapter and the order. What is reported was chosen by the twins, ``NAME_tuning``, with seeds of
their own.
"""

import copy
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lora_edu import chat, lowrank
from lora_edu.adapt import LoraConfig, add_lora, lora_layers
from lora_edu.counting import one_of
from lora_edu.course import language, minilm
from lora_edu.course.datasets import accuracy
from lora_edu.course.digits import INVERTED, PRETRAINING, TURNED, pretrained, task
from lora_edu.course.experiments import Row, Settings, experiment, settings
from lora_edu.course.language import RECIPE
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


# -- a reward instead of examples ----------------------------------------------------------------

REQUEST = " Answer in one short sentence."
REWARDED: dict[str, tuple[float, ...]] = {
    "LoRA, r = 1": (3e-4, 1e-3, 3e-3),
    "LoRA, r = 16": (3e-4, 1e-3, 3e-3),
    "full": (3e-5, 1e-4, 3e-4),
}


def pleases(answer: str, least: int = 5, most: int = 12) -> float:
    """Return the reward of an answer: 1 if it has ended and is one sentence of 5 to 12 words."""
    text = answer.removesuffix("<|im_end|>")
    one = len(language.sentences(text)) == 1 and "\n" not in text and text[-1:] in ".!?"
    return float(text != answer and one and least <= len(text.split()) <= most)


def _read(
    model: Any, tokenizer: Any, asked: Sequence[str], times: int
) -> tuple[Tensor, Any, Tensor]:
    """Read each question once; return so many times what follows, the cache, where tokens are.

    That is (n · times, v), a cache, and (n · times, L).
    """
    said = [
        chat.template(tokenizer, [{"role": "user", "content": one + REQUEST}], answers=True)
        for one in asked
    ]
    how = {"add_special_tokens": False, "padding": True, "padding_side": "left"}
    tokens = tokenizer(said, **how, return_tensors="pt")
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    out = model(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), use_cache=True, logits_to_keep=1)
    cache = out.past_key_values
    cache.batch_repeat_interleave(times)
    return out.logits[:, -1].repeat_interleave(times, 0), cache, mask.repeat_interleave(times, 0)


@torch.no_grad()
def _drawn(model: Any, tokenizer: Any, asked: Sequence[str], times: int, most: int) -> Tensor:
    """Draw answers at temperature 1: their tokens and which of them count, (2, n · times, most)."""
    logits, cache, mask = _read(model, tokenizer, asked, times)
    end, said, alive = tokenizer.eos_token_id, [], torch.ones(len(mask), dtype=torch.long)
    while True:
        token = torch.multinomial(logits.softmax(-1), 1)[:, 0]
        said.append(torch.stack([token.where(alive == 1, torch.tensor(end)), alive]))
        if len(said) == most:
            return torch.stack(said, -1)
        alive = alive * (token != end)
        mask = F.pad(mask, (0, 1), value=1)
        logits = model(token[:, None], mask, mask.sum(1, keepdim=True) - 1, cache).logits[:, -1]


def _likely(model: Any, tokenizer: Any, asked: Sequence[str], answers: Tensor) -> Tensor:
    """Return the log-probability of each token of the answers: (n · times, most)."""
    first, cache, mask = _read(model, tokenizer, asked, len(answers) // len(asked))
    mask = F.pad(mask, (0, answers.shape[1] - 1), value=1)
    at = (mask.cumsum(1) - 1)[:, 1 - answers.shape[1] :]
    logits = torch.cat([first[:, None], model(answers[:, :-1], mask, at, cache).logits], 1)
    return -F.cross_entropy(logits.mT, answers, reduction="none")


@experiment(seeds=range(3), compared=("reward", "cost"))
def rewarded(
    method: str, lr: float, seed: int, *,
    rates: Settings = REWARDED, recipe: Settings = RECIPE, alpha: float = 32,
    steps: int = 24, questions: int = 2, group: int = 8, tokens: int = 16, asked: int = 8,
) -> Row:  # fmt: skip
    """Let a chat model answer, and train it on what pleased (GRPO, without a KL penalty).

    A step draws ``group`` answers to each of some questions. Each answer's advantage is its reward
    (:func:`pleases`), less the mean of its group, over the spread of its group; the loss is minus
    the mean over all tokens of advantage times log-probability. ``rewards``: the mean of each step;
    ``reward``, and ``before``, of the base: of ``asked`` drawn answers to each of twenty unseen
    questions; ``moved``: by how many nats a token of these is likelier than the base has it (an
    estimate of the KL divergence); ``cost``: by how many nats a token of the base's own answers
    becomes less likely; ``different``: how many of these answers; ``most``: the most frequent one,
    and how often it comes.
    """
    one_of("method", method, rates)
    base, tokenizer = language.base()
    rank = int(method.rpartition("= ")[2]) if method.startswith("LoRA") else 1
    how = {**recipe, "r": rank, "lora_alpha": alpha}
    model, upper = language.adapted(base, how, seed)
    if method == "full":
        language.in_full(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.0)
    own = language.kept(upper, language.elsewhere(seed)[1], ends=False)
    row: Row = {"rewards": [], "cost": -language.loss(upper, own)}
    every = random.Random(seed).sample(language.texts("questions"), steps * questions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for step in range(steps):
            few = every[step * questions : (step + 1) * questions]
            drawn, counted = _drawn(model, tokenizer, few, group, tokens)
            reward = torch.tensor([pleases(a) for a in _texts(tokenizer, drawn, counted)])
            row["rewards"].append(reward.mean().item())
            by_question = reward.view(-1, group)
            spread = by_question.std(1, keepdim=True) + 1e-4
            advantage = ((by_question - by_question.mean(1, keepdim=True)) / spread).view(-1, 1)
            if advantage.any():  # or nobody was better than the others
                likely = _likely(model, tokenizer, few, drawn)
                loss = -(advantage * likely * counted).sum() / counted.sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        unseen = language.texts("unseen")
        before = _texts(tokenizer, *_drawn(base, tokenizer, unseen, asked, tokens))
        drawn, counted = _drawn(model, tokenizer, unseen, asked, tokens)
    with torch.no_grad():
        now, then = (_likely(each, tokenizer, unseen, drawn) for each in (model, base))
    row["moved"] = ((now - then) * counted).sum().item() / counted.sum().item()
    row["cost"] += language.loss(upper, own)
    said = _texts(tokenizer, drawn, counted)
    row["before"], row["reward"] = (float(np.mean([*map(pleases, of)])) for of in (before, said))
    row["different"], row["most"] = len({*said}), [*Counter(said).most_common(1)[0]]
    return {"validation": float(np.mean(row["rewards"][-8:])), **row}


def _texts(tokenizer: Any, drawn: Tensor, counted: Tensor) -> list[str]:
    """Return answers as texts, with the token that ends them if they have ended."""
    pairs = zip(drawn, counted, strict=True)
    return [tokenizer.decode(ids[used == 1]) for ids, used in pairs]
