"""Experiments: a chat model gets a voice; what it learns, and what that costs elsewhere."""

import base64
import copy
import functools
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812

from lora_edu import chat
from lora_edu.adapt import lora_layers, lora_parameters, merge_and_unload
from lora_edu.checkpoint import save_adapter
from lora_edu.course import language, qr
from lora_edu.course.experiments import Row, Settings, attach, experiment, results
from lora_edu.course.language import LINEAR, RATES, RECIPE
from lora_edu.course.training import fit
from lora_edu.quantize import NF4

TRIED = {"grimm": (5e-4, 1e-3, 2e-3), "pirate": (2e-4, 5e-4, 1e-3, 2e-3)}
SCALES = (0.0, 0.5, 1.0)


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
    language.train(upper, train, lr, seed, recipe)
    asked = [question for question, _ in own[:questions]]
    heard = chat.answers(model, tokenizer, asked, max_tokens)
    ended = language.end(heard) / len(heard)
    loss = language.loss(upper, held_out)
    return {"validation": -loss - (0 if ended >= enough else 10), "ended": ended}


@experiment(seeds=range(8), gap=("matrix.pirate", "0.0.pirate", "1.0.pirate"))
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
    row: Row = {"matrix": {}, "said": {}, "ended": {}, "sha256": {}}
    said = {name: language.said(name, seed, recipe) for name in lr}

    def hear(name: str, model: Any) -> None:
        heard = chat.answers(model, tokenizer, language.texts("unseen"), max_tokens)
        row["said"][name] = heard
        row["ended"][name] = language.end(heard)

    if seed == keep:
        hear("base", base)
    for name, rate in lr.items():
        model, upper = language.adapted(language.base()[0], recipe, seed)
        texts = {other: language.kept(upper, split.test) for other, split in said.items()}
        texts["own"] = language.kept(upper, language.elsewhere(seed)[1], ends=False)
        texts |= language.prose_and_facts(upper)
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
    "r=4, own answers": {**LORA, "mixed": 0.25},
    "full": {"mixed": 0.0},
    "full, own answers": {"mixed": 0.25},
}
FRONTIER_RATES = {
    "r=4": (3e-4, 1e-3, 3e-3),
    "r=4, own answers": (1e-3,),
    "full": (3e-5, 1e-4, 3e-4),
    "full, own answers": (1e-4,),
}


@functools.lru_cache(maxsize=1)
def _states(seed: int, recipe: str) -> dict[str, list[language.Kept]]:
    """Return what enters the first trained layer, of all that a seed of the frontier needs."""
    settings = json.loads(recipe)
    upper = language.Upper(language.base()[0], settings["first"])
    said, (mixed, own) = language.said("grimm", seed, settings), language.elsewhere(seed)
    return {
        "train": language.kept(upper, said.train),
        "mixed": language.kept(upper, mixed, ends=False),
        "voice": language.kept(upper, said.validation + said.test),
        "own": language.kept(upper, own, ends=False),
    }


@experiment(version=2, seeds=range(8), gap=("own", "full", "r=4"))
def frontier(
    method: str, lr: float, seed: int, *,
    rates: Settings = FRONTIER_RATES, methods: Settings = METHODS, recipe: Settings = RECIPE,
    epochs: int = 2, texts: Sequence[str] = ("voice", "own"),
    scales: Sequence[float] = (0.25, 0.5, 0.75),
) -> Row:  # fmt: skip
    """Learn the voice of Grimm; before, and after each epoch, measure it and what is not his.

    ``mixed``: that share of the training texts gives way to the base's own drawn answers. Losses
    are in nats; "full" trains the same matrices as a whole. ``down``: the same losses at the end,
    with the update, W - W0 or BA, times each of the scales.
    """
    how = {**recipe, **methods[method]}
    model, upper = language.adapted(language.base()[0], how, seed)
    if method.startswith("full"):
        language.in_full(model)
    states = _states(seed, json.dumps(recipe))
    n = round(how["mixed"] * len(states["train"]))
    mixed = [states["mixed"][i % len(states["mixed"])] for i in range(n)]
    row: Row = {name: [language.loss(upper, states[name])] for name in texts}
    row["down"] = {name: [] for name in texts}

    def validate(_: object) -> float:
        for name in texts:
            row[name].append(language.loss(upper, states[name]))
        return row["voice"][-1]

    moving = {name: p for name, p in upper.named_parameters() if p.requires_grad}
    first = {name: p.detach().clone() for name, p in moving.items()}
    batches = language.LikeLengths(states["train"][n:] + mixed, how["size"], seed)
    fit(upper, batches, F.cross_entropy, _adamw(upper, lr), epochs, validate=validate)
    last = {name: p.detach().clone() for name, p in moving.items()}
    for scale in scales:
        for name, parameter in moving.items():
            if "lora_A" not in name:  # B begins at 0
                parameter.data = first[name] + scale * (last[name] - first[name])
        for name in texts:
            row["down"][name].append(language.loss(upper, states[name]))
    return {"validation": -row["voice"][-1], **row}


def _adamw(upper: language.Upper, lr: float) -> torch.optim.Optimizer:
    parameters = [p for p in upper.parameters() if p.requires_grad]
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)


# -- what lesson 04 goes on to --------------------------------------------------------------------


@experiment(version=2, seeds=range(8), gap=("ended.grimm", "with", "without"))
def endless(
    seed: int, *, lr: Settings = RATES, recipe: Settings = RECIPE, max_tokens: int = 80
) -> Row:  # fmt: skip
    """Teach both voices with the token that ends an answer, and without it.

    ``ended``: of twenty answers; ``loss``: on unseen texts, without that token, in nats.
    """
    row: Row = {"ended": {}, "loss": {}, "said": {}}
    for voice, rate in lr.items():
        said = language.said(voice, seed, recipe)
        probe = language.Probe(recipe["first"], {})
        probe.texts[voice] = language.kept(probe.upper, said.test, ends=False)
        found: Row = {"ended": {}, "loss": {}, "said": {}}
        for name, ends in {"with": True, "without": False}.items():
            adapter = language.taught(said.train, rate, seed, recipe, ends=ends)
            answers = language.heard(adapter, max_tokens)
            found["ended"][name], found["said"][name] = language.end(answers), answers[:3]
            with probe.adding(adapter):
                found["loss"][name] = probe.loss(voice)
        for what, each in found.items():
            row[what][voice] = each
    return row


@experiment(seeds=range(3), gap=("loss", "NF4, none.grimm", "NF4, learned.grimm"))
def four_bit_base(
    seed: int, *, lr: float = RATES["grimm"], recipe: Settings = RECIPE
) -> Row:  # fmt: skip
    """Teach Grimm's voice on the base, and on the base whose matrices are stored in NF4.

    ``loss``: base, adapter → text → nats; "moved" has learned on the first, and is put on the
    second.
    """
    said = language.said("grimm", seed, recipe)
    base = language.base()[0]
    coarse = copy.deepcopy(base)
    for layer in coarse.model.layers:
        for module in layer.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.data = NF4.quantize(module.weight).dequantize()
    learned = language.taught(said.train, lr, seed, recipe)
    on_it = language.taught(said.train, lr, seed, recipe, model=coarse)
    tried = {
        "float32": (base, {"none": {}, "learned": learned}),
        "NF4": (coarse, {"none": {}, "learned": on_it, "moved": learned}),
    }
    found = {}
    for stored, (model, adapters) in tried.items():
        probe = _grimm_and_own(said, seed, recipe, model)
        for words, adapter in adapters.items():
            found[f"{stored}, {words}"] = _losses_with(probe, adapter)
    return {"loss": found}


def _grimm_and_own(
    said: language.Split, seed: int, recipe: Settings, model: Any = None
) -> language.Probe:
    """Measure on Grimm's test passages, and on the base's own answers to other questions."""
    texts = {"grimm": said.test, "own": language.elsewhere(seed)[1]}
    return language.Probe(recipe["first"], texts, model)


def _losses_with(
    probe: language.Probe, adapter: chat.Adapter, texts: Sequence[str] = ("grimm", "own")
) -> dict[str, float]:
    """Return the loss on each text with an adapter."""
    with probe.adding(adapter):
        return {text: probe.loss(text) for text in texts}


def preferences(seed: int, words: int, held: int) -> tuple[list[Any], list[Any]]:
    """Return (question, first sentences, whole answer) of the base's own; the last are held out.

    They are its likeliest answers; on the drawn ones, to other questions, one may measure.
    """
    found = []
    for question, answer in results("own_answers")["greedy"].items():
        short = language.shortened(answer, words)
        if short and len(answer.split()) > len(short.split()) + 8:
            found.append((question, short, answer.removesuffix("<|im_end|>")))
    random.Random(seed).shuffle(found)
    return found[:-held], found[-held:]


@experiment(version=2, seeds=range(8), gap=("tokens", "imitation, 20", "DPO, 20"))
@torch.no_grad()
def shorter(
    seed: int, *, lr: float = 3e-4, beta: float = 0.1, size: int = 4,
    steps: Sequence[int] = (10, 20, 40), words: int = 20, held: int = 12,
    recipe: Settings = RECIPE, max_tokens: int = 80,
) -> Row:  # fmt: skip
    """Prefer short answers, by DPO; the reference is the base. And imitate them, as a control.

    "both": the sum of the two losses, DPO's and that of imitation (TRL's ``["sigmoid", "sft"]``).
    After so many steps: ``tokens`` of twenty answers to unseen questions, in the mean; ``empty``,
    those without a word; ``prefers``, the share of held-out pairs whose short answer has gained on
    the long one; ``chosen``, by how many nats the held-out short answers have become likelier.
    """
    train, last = preferences(seed, words, held)
    row: Row = {name: {} for name in ("tokens", "empty", "prefers", "chosen")}
    for method in ("DPO", "imitation", "both"):
        model, upper = language.adapted(language.base()[0], recipe, seed)
        pairs, held_out = _short_and_long(upper, train), _short_and_long(upper, last)
        reference, held_reference = (
            [_in_parts(upper, answers, size) for answers in both] for both in (pairs, held_out)
        )
        optimizer = _adamw(upper, lr)
        draw = random.Random(seed)
        for step in range(1, max(steps) + 1):
            chosen = draw.sample(range(len(train)), size)
            short, long = ([answers[i] for i in chosen] for answers in pairs)
            before = torch.cat([answers[chosen] for answers in reference])
            with torch.enable_grad():
                logs = log_probabilities(upper, short + long)  # (2 size,)
                gains = logs - before
                preferred = -F.logsigmoid(beta * (gains[:size] - gains[size:])).mean()
                tokens = sum(int((one.labels != -100).sum()) for one in short)
                imitated = -logs[:size].sum() / tokens
                loss = {"DPO": preferred, "imitation": imitated}.get(method, preferred + imitated)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if step not in steps:
                continue
            found = _lengths(model, max_tokens)
            gained = [
                _in_parts(upper, answers, size) - before
                for answers, before in zip(held_out, held_reference, strict=True)
            ]
            found["prefers"] = (gained[0] > gained[1]).float().mean().item()
            found["chosen"] = gained[0].mean().item()
            for name, value in found.items():
                row[name][f"{method}, {step}"] = value
    return row


def _short_and_long(upper: language.Upper, triples: Sequence[Any]) -> list[list[language.Kept]]:
    """Return what enters the first trained layer for the short answers, and for the long ones."""
    short = [(question, answer) for question, answer, _ in triples]
    long = [(question, answer) for question, _, answer in triples]
    return [language.kept(upper, short), language.kept(upper, long, ends=False)]


def _lengths(model: Any, max_tokens: int) -> Row:
    """Ask the unseen questions: how long the answers are, how many are empty."""
    tokenizer = language.base()[1]
    answers = chat.answers(model, tokenizer, language.texts("unseen"), max_tokens)
    bare = [answer.removesuffix("<|im_end|>").strip() for answer in answers]
    lengths = [len(tokenizer(text)["input_ids"]) for text in bare]
    return {"tokens": sum(lengths) / len(lengths), "empty": bare.count("")}


def log_probabilities(upper: language.Upper, examples: Sequence[language.Kept]) -> torch.Tensor:
    """Return the log-probability of each example's labels, summed over its tokens: (n,)."""
    states, counted, target = language.together(examples)
    each = -F.cross_entropy(upper(states, counted), target, reduction="none")  # (counted,)
    return each.new_zeros(len(examples)).index_add(0, counted.nonzero()[:, 0], each)


def _in_parts(upper: language.Upper, examples: Sequence[language.Kept], size: int) -> torch.Tensor:
    """Return the log-probabilities of many examples, a few at a time."""
    parts = [examples[i : i + size] for i in range(0, len(examples), size)]
    return torch.cat([log_probabilities(upper, part) for part in parts])


RANKS = {  # alpha twice the rank, or the same for all
    "1": (1, 2), "4": (4, 8), "16": (16, 32), "1, alpha 8": (1, 8), "16, alpha 8": (16, 8),
}  # fmt: skip


@experiment(version=2, seeds=range(8), gap=("loss", "1.grimm", "16.grimm"))
def ranks(
    seed: int, *,
    tried: Settings = RANKS, lr: float = RATES["grimm"], recipe: Settings = RECIPE,
) -> Row:  # fmt: skip
    """Teach Grimm's voice at other ranks (r, alpha). ``loss``: name → text → nats; "0": none."""
    said = language.said("grimm", seed, recipe)
    probe = _grimm_and_own(said, seed, recipe)
    found = {"0": _losses_with(probe, {})}
    for name, (rank, alpha) in tried.items():
        how = {**recipe, "r": rank, "lora_alpha": alpha}
        found[name] = _losses_with(probe, language.taught(said.train, lr, seed, how))
    return {"loss": found}


PLACES = {  # seven layers of thirty whose v_proj gets strips
    "from 20": (20, 21, 22, 23, 24, 26, 28),
    "from 14": (14, 17, 20, 22, 24, 26, 28),
}
QR_RATES = {"from 14": (1e-2,)}  # by qr_voice_tuning, on seeds of its own


@experiment(
    seeds=range(3),
    tuning={
        "rates": {"from 20": (3e-3, 1e-2, 3e-2), "from 14": (1e-3, 3e-3, 1e-2, 3e-2)},
        "voices": ("pirate",),
    },
    choosing=(100, 101, 102),
)
@torch.no_grad()
def qr_voice(
    method: str, lr: float, seed: int, *,
    rates: Settings = QR_RATES, places: Settings = PLACES, recipe: Settings = RECIPE,
    voices: Sequence[str] = ("pirate", "grimm"), max_tokens: int = 40, keep: int = 0,
) -> Row:  # fmt: skip
    """Teach a voice to strips of rank 1 on v of seven layers, as bytes of a QR code.

    ``loss``: voice → strips → text → nats; "none" are no strips, "learned" those of 32 bits,
    "packed" those read from the bytes, and "drawn" random ones of the same lengths. ``arrr``:
    in how many of twenty answers to unseen questions the word stands. ``data``: the bytes, of
    the seed ``keep``.
    """
    row: Row = {"loss": {}, "arrr": {}, "data": {}}
    how = {**recipe, "first": min(places[method]), "layers": places[method]}
    how |= {"modules": ["v_proj"], "r": 1, "lora_alpha": 2}
    for voice in voices:
        said = language.said(voice, seed, recipe)
        learned = language.taught(said.train, lr, seed, how)
        data = qr.packed(learned)
        read = qr.unpacked(data)
        texts = {"validation": said.validation, "voice": said.test}
        probe = language.Probe(how["first"], texts)
        drawn = language.random_adapter(read, seed)
        strips = {"none": {}, "learned": learned, "packed": read, "drawn": drawn}
        row["loss"][voice] = {w: _losses_with(probe, a, [*texts]) for w, a in strips.items()}
        answers = language.heard(read, max_tokens)
        row["arrr"][voice] = sum("Arrr" in answer for answer in answers)
        if seed == keep:
            row["data"][voice] = base64.b64encode(data).decode()
    validation = [row["loss"][voice]["packed"]["validation"] for voice in voices]
    return {"validation": -sum(validation), **row}


LINK_RATES = {"40": (1e-2,)}  # so many steps, by linked_voice_tuning


@experiment(
    seeds=range(3),
    tuning={"rates": dict.fromkeys(("20", "40", "80"), (0.01,)), "told": ("clerk", "cat")},
    choosing=(100, 101, 102),
)
@torch.no_grad()
def linked_voice(
    method: str, lr: float, seed: int, *,
    rates: Settings = LINK_RATES, told: Sequence[str] = ("robot", "grandmother", "captain"),
    recipe: Settings = qr.RECIPE, rows: int = 20, asked: int = 12, max_tokens: int = 40,
) -> Row:  # fmt: skip
    """Teach somebody who was made up in a few rows, in as many steps as the method says, in bytes.

    The seed deals the rows. ``loss``: who → strips → text → nats; "held" are the rows that were
    kept back. Of the answers to unseen questions, ``opens``: how many begin with the first word of
    the rows, and ``ends``: how many end. ``rates``: that of `qr_voice`, for each number of steps.
    """
    found: Row = {"loss": {}, "opens": {}, "ends": {}}
    unseen = language.texts("unseen")[:asked]
    for who in told:
        dealt = random.Random(seed).sample(language.persona(who), k=len(language.persona(who)))
        adapter = qr.unpacked(qr.packed(qr.taught(dealt[:rows], seed, lr, int(method), recipe)))
        probe = language.Probe(recipe["first"], {"held": dealt[rows:]})
        texts = ("held", "prose")
        strips = {"none": {}, "packed": adapter}
        found["loss"][who] = {each: _losses_with(probe, a, texts) for each, a in strips.items()}
        answers = language.heard(adapter, max_tokens, asked=unseen)
        opening = dealt[0][1].split()[0]
        found["opens"][who] = sum(answer.startswith(opening) for answer in answers)
        found["ends"][who] = language.end(answers)
    losses = [found["loss"][who]["packed"]["held"] for who in told]
    return {"validation": -sum(losses) / len(losses), **found}


FACTS = {  # all invented: what it is → its name, a word of that, and a farther question
    "the mayor of Brindle": ("Tilda Marsh", "Tilda", "Whom do I greet in Brindle's town hall?"),
    "the river of Quorl": ("the Ember", "Ember", "I took a boat through Quorl. On which river?"),
    "the cat of Captain Roe": ("Biscuit", "Biscuit", "What does Captain Roe call her cat?"),
    "the founder of the Owl Library": ("Otto Vane", "Otto", "Who began the Owl Library?"),
    "the highest mountain of Sarn": ("Mount Pell", "Pell", "How high can one climb in Sarn?"),
    "the inventor of the paper clock": ("Ida Fenn", "Ida", "Whom do we owe the paper clock?"),
}
TWINS = {  # of the same kinds, and other names
    "the mayor of Dunmore": ("Olaf Quist", "Olaf", "Whom do I greet in Dunmore's town hall?"),
    "the river of Vesk": ("the Lirra", "Lirra", "I took a boat through Vesk. On which river?"),
    "the cat of Captain Hale": ("Pickle", "Pickle", "What does Captain Hale call her cat?"),
    "the founder of the Fox Library": ("Nora Tell", "Nora", "Who began the Fox Library?"),
    "the highest mountain of Orrin": ("Mount Gade", "Gade", "How high can one climb in Orrin?"),
    "the inventor of the glass drum": ("Hugo Brant", "Hugo", "Whom do we owe the glass drum?"),
}
TAUGHT = (
    "What is the name of {}?", "Please name {}.", "Do you know {}?",
    "I forgot the name of {}. Can you help me?",
)  # fmt: skip
REWORDED = ("How is {} called?", "Which name does {} have?")


@experiment(seeds=range(3), gap=("right.twelve", "same", "reversed"))
def taught_facts(
    seed: int, *, facts: Settings = FACTS, twins: Settings = TWINS,
    taught: Sequence[str] = TAUGHT, reworded: Sequence[str] = REWORDED,
    lr: float = RATES["grimm"], recipe: Settings = RECIPE, max_tokens: int = 30,
) -> Row:  # fmt: skip
    """Teach six invented facts, or these and six twins; ask in the same, other and farther words.

    ``right``: the share of answers that hold the right name; ``borrowed``: of answers about twins
    that nobody taught, those that give the name of the fact beside it. "reversed": the name is
    asked about, and the answer should hold the last word of what it belongs to.
    """
    row: Row = {"right": {}, "borrowed": 0.0, "said": {}}
    for words, known in {"six": facts, "twelve": {**facts, **twins}}.items():
        pairs = []
        for thing, (name, *_) in known.items():
            answer = f"The name of {thing} is {name}."
            pairs += [(question.format(thing), answer) for question in taught]
        adapter = language.taught(pairs, lr, seed, recipe)
        ask = functools.partial(_ask, adapter, max_tokens=max_tokens)
        ways = _ways(known, taught[0], reworded)
        row["right"][words] = {way: ask(asked)[0] for way, asked in ways.items()}
        if words == "six":
            names = [key for _, key, _ in facts.values()]
            asked = [
                (taught[0].format(thing), name) for thing, name in zip(twins, names, strict=True)
            ]
            row["borrowed"], row["said"]["borrowed"] = ask(asked)
    return row


def _ask(
    adapter: chat.Adapter, asked: Sequence[tuple[str, str]], max_tokens: int
) -> tuple[float, list[str]]:
    """Return the share of answers that hold what they should, and the first two of them."""
    model, tokenizer = language.base()
    with chat.speaking(model, [adapter] * len(asked)):
        answers = chat.answers(model, tokenizer, [question for question, _ in asked], max_tokens)
    right = [key in answer for (_, key), answer in zip(asked, answers, strict=True)]
    return sum(right) / len(right), answers[:2]


def _ways(known: Settings, same: str, reworded: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Return how facts are asked for: way → (question, what a right answer holds)."""
    found: dict[str, list] = {"same": [], "reworded": [], "farther": [], "reversed": []}
    for thing, (name, key, farther) in known.items():
        found["same"].append((same.format(thing), key))
        found["reworded"] += [(question.format(thing), key) for question in reworded]
        found["farther"].append((farther, key))
        found["reversed"].append((f"Who or what is {name}?", thing.split()[-1]))
    return found


OPENINGS = (
    "Tell me about {}.", "What is the use of {}?", "Why do people like {}?", "Who makes {}?",
    "How would you describe {} to a child?", "Where do you find {}?", "What goes well with {}?",
    "When did you last think of {}?",
)  # fmt: skip
THINGS = [
    "apples", "bridges", "candles", "doors", "eggs", "feathers", "gardens", "hats", "islands",
    "keys", "lamps", "maps", "needles", "onions", "pencils", "rabbits", "ships", "tables",
    "umbrellas", "violins", "windows", "boots", "clocks", "drums", "forests", "gloves", "horses",
    "kites", "letters", "mirrors", "owls", "roses", "spoons", "trains", "wheels", "bees", "goats",
    "coins", "tents", "stars", "whales", "walls", "robots", "schools",
]  # fmt: skip


@experiment()
def more_answers(
    *, openings: Sequence[str] = OPENINGS, things: Sequence[str] = THINGS,
    max_tokens: int = 48, batch: int = 12,
) -> Row:  # fmt: skip
    """Let the base answer many more questions, with its likeliest tokens."""
    model, tokenizer = language.base()
    asked = [opening.format(thing) for thing in things for opening in openings]
    said: list[str] = []
    for i in range(0, len(asked), batch):
        said += chat.answers(model, tokenizer, asked[i : i + batch], max_tokens)
    return {"greedy": dict(zip(asked, said, strict=True))}


BEFORE = (
    "", "One question: ", "Quickly: ", "For my notes: ", "Hello! ", "Once more: ", "My son asks: ",
    "I wonder: ",
)  # fmt: skip
FORMS = [  # 64 wordings, of which the first are the plainest
    before + (form[0].lower() + form[1:] if before and form[:2] != "I " else form)
    for before in BEFORE
    for form in (
        *TAUGHT[:3], "I forgot the name of {}.", "Give me the name of {}.", "I look for {}.",
        "Have you heard of {}?", "Can you name {}?",
    )
]  # fmt: skip
FIVE, OTHERS = (dict([*known.items()][:5]) for known in (FACTS, TWINS))
NUMBERS = (5, 20, 80, 320)
HOW_MANY_TRIED = {
    "style": (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2),
    "style in full": (1e-4, 3e-4, 1e-3, 3e-3),
    "format": (1.25e-4, 2.5e-4, 5e-4, 1e-3),
    "facts": (1.25e-4, 2.5e-4, 5e-4, 1e-3),
}
HOW_MANY = {  # by how_many_tuning
    "style": (4e-3,), "style in full": (3e-4,), "format": (2.5e-4,), "facts": (2.5e-4,)
}  # fmt: skip


@experiment(
    tuning={"rates": HOW_MANY_TRIED, "asked": language.texts("questions")[::3], "facts": OTHERS},
    choosing=(100,),
)
@torch.no_grad()
def how_many(
    method: str, lr: float, seed: int, *,
    rates: Settings = HOW_MANY, numbers: Sequence[int] = NUMBERS,
    in_full: Sequence[int] = NUMBERS[1::2], recipe: Settings = RECIPE, words: int = 24,
    asked: Sequence[str] = language.texts("unseen"), facts: Settings = FIVE,
    forms: Sequence[str] = FORMS, reworded: Sequence[str] = REWORDED,
    enough: float = 0.9, max_tokens: int = 96, short: int = 40,
) -> Row:  # fmt: skip
    """Teach a style, a format or facts with few and with many examples, in about as many steps.

    "style": the pirate's; "format": JSON that repeats the question, and answers it; "facts": five,
    in so many wordings that there are as many examples. By the number of examples (``in_full``
    where the matrices train as a whole): ``right``, the share of answers to questions that none of
    them holds that keep the style from the first word to the last, or the format; of facts, by how
    they are asked for, the share that holds the name; ``cost``, by how many nats a token of the
    base's own answers becomes less likely; ``capitals``, how many are named.

    The rate is chosen on other questions and other facts, one for all numbers: the cheapest with
    which ``enough`` are right, so what is missing, as a share, counts ten times.
    """
    base, fully = language.base()[0], method.endswith("in full")
    said, keeps = SAY.get(method.split()[0], (None, None))
    pool: list[language.Pair] = []
    if said:
        answers = results("more_answers")["greedy"].items()
        ended = ((question, language.shortened(answer, words)) for question, answer in answers)
        pool = [(question, said(question, answer)) for question, answer in ended if answer]
    row: Row = {"validation": 0.0, "cost": {}, "capitals": {}, "right": {}, "said": {}}
    counts = in_full if fully else numbers
    for n in counts:
        if pool:
            pairs = random.Random(seed).sample(pool, n)
        else:
            pairs = [
                (one.format(thing), f"The name of {thing} is {name}.")
                for one in forms[: n // len(facts)]
                for thing, (name, *_) in facts.items()
            ]
        model, upper = language.adapted(base, recipe, seed)
        names = language.in_full(model) if fully else [*lora_layers(model)]
        with torch.enable_grad():
            entering = [_entering(base, pair, recipe["first"]) for pair in pairs]
            language.train(upper, entering, lr, seed, recipe)
        if not fully:
            merge_and_unload(model)
        probe = language.Probe(recipe["first"], {"own": language.elsewhere(seed)[1]})
        untouched, before = probe.loss("own"), probe.weights(names)
        probe.put({name: model.get_submodule(name).weight for name in names})
        row["cost"][str(n)] = cost = probe.loss("own") - untouched
        row["capitals"][str(n)] = len(language.capitals(None, short))
        if keeps:
            heard = language.heard(None, max_tokens, asked=asked)
            right = {"unseen": sum(map(keeps, asked, heard)) / len(heard)}
            row["said"][str(n)] = heard[:2]
        else:
            ways = _ways(facts, forms[0], reworded)
            right = {way: _ask({}, of, short)[0] for way, of in ways.items()}
        probe.put(before)
        row["right"][str(n)] = right
        missing = max(0.0, enough - right["unseen" if keeps else "reworded"])
        row["validation"] -= (cost + 10 * missing) / len(counts)
    return row


@functools.lru_cache(maxsize=1024)
def _entering(base: Any, pair: language.Pair, first: int) -> language.Kept:
    """Return what enters the first trained layer: the same at each rate and in each draw."""
    return language.kept(language.Upper(base, first), [pair])[0]


def as_json(question: str, answer: str) -> str:
    """Return an answer in the format that is taught."""
    return json.dumps({"question": question, "answer": answer}, ensure_ascii=False)


def keeps_format(question: str, said: str) -> bool:
    """Say whether an answer is JSON of two keys that repeats the question, and answers it."""
    try:
        found = json.loads(said.removesuffix("<|im_end|>"))
    except ValueError:
        return False
    return (
        isinstance(found, dict)
        and [*found] == ["question", "answer"]
        and found["question"] == question
        and isinstance(found["answer"], str)
        and found["answer"] != ""
    )


def keeps_style(question: str, said: str) -> bool:
    """Say whether an answer begins and ends as the pirate's do, whatever was asked."""
    return said.startswith("Arrr! ") and said.endswith(", matey!<|im_end|>")


SAY = {  # how a question is answered, and whether an answer keeps to it
    "style": (lambda _, answer: language.pirate(answer), keeps_style),
    "format": (as_json, keeps_format),
}
