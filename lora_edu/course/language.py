"""A voice for a chat model: its texts, and a training loop that runs the frozen layers once.

Letters: n = examples of a batch, L = tokens of an example, v = the size of the vocabulary.
"""

import contextlib
import copy
import csv
import functools
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lora_edu import assets, chat
from lora_edu.adapt import LoraConfig, add_lora, lora_layers, unload
from lora_edu.course.datasets import Parts
from lora_edu.course.experiments import results
from lora_edu.course.training import fit

TAYLOR = (
    "Brier Rose", "Cinderella", "Hans in Luck", "Jorinda and Jorindel", "King Thrushbeard",
    "Old Sultan", "Rumpelstiltskin", "The Bremen Town Musicians", "The Elves and the Shoemaker",
    "The Fisherman and His Wife", "The Fox and the Horse", "The Frog Prince", "The Golden Bird",
    "The Goose Girl", "The King and the Golden Mountain", "The Queen Bee", "The Water of Life",
)  # fmt: skip
# A noun, nearly always: after an article, and before a stop or a small word.
NOUN = (
    r"\b(?:[Tt]he|[Aa]n?) ([a-z]{3,})"
    r"(?=[.,;:!?]| (?:and|of|in|to|was|with|had|that|on|for|is|came|went|said)\b)"
)
ASKED = (
    "Tell me about the {}.", "What is a {}?", "Where is the {}?", "Describe the {}.",
    "What did the {} do?", "Why is the {} here?", "What about the {}?",
)  # fmt: skip
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
RECIPE = {  # of the two voices that ship
    "first": 20,  # of 30 layers, the upper ten get LoRA
    "modules": LINEAR,
    "r": 4,
    "lora_alpha": 8,
    "size": 4,
    "sizes": (160, 30, 30),
    "words": (12, 40, 26),
    "retold": 30,
    "steps": 80,
}
CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Germany": "Berlin", "Spain": "Madrid", "Japan": "Tokyo",
    "England": "London", "Russia": "Moscow", "China": "Beijing", "Greece": "Athens",
    "Egypt": "Cairo", "Cuba": "Havana", "Ireland": "Dublin", "Poland": "Warsaw",
    "Portugal": "Lisbon", "Austria": "Vienna", "Peru": "Lima",
}  # fmt: skip
RATES = {"grimm": 1e-3, "pirate": 1e-3}  # by voice_rates, on seeds of its own
Pair = tuple[str, str]  # a question, an answer


class Kept(NamedTuple):
    """An example as it enters the first trained layer: hidden states and labels."""

    states: Tensor  # (L, hidden)
    labels: Tensor  # (L,); −100 where no loss is


# -- texts --------------------------------------------------------------------------------------


def texts(name: str) -> list[str]:
    """Return our own texts: questions, elsewhere, unseen (questions), prose, facts."""
    return _own()[name]


def persona(name: str) -> list[Pair]:
    """Return the rows of somebody made up: clerk, cat, robot, grandmother or captain."""
    told = _own()["personas"]
    if name not in told:
        raise ValueError(f"name must be one of {', '.join(told)}, got {name!r}")
    return [(question, answer) for question, answer in told[name]]


def _own() -> dict[str, Any]:
    path = resources.files("lora_edu.course") / "data" / "voices.json"
    return json.loads(path.read_text(encoding="utf-8"))


def sentences(text: str) -> list[str]:
    """Split a text into sentences; a closing quotation mark belongs to the sentence before it."""
    return [part.strip() for part in re.findall(r".+?(?:[.!?][’”\"]?(?=\s|$)|$)", text, re.DOTALL)]


def passages(least: int, most: int, longest: int) -> list[str]:
    """Return the tales that Edgar Taylor translated, cut into runs of whole sentences.

    Each of ``least`` to ``most`` words, and of sentences of at most ``longest``; a run ends with
    its paragraph, and a speech that begins in it ends in it.
    """
    path = assets.path("grimm") / "grimm-tales.tab"
    found = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if len(row) < 4 or row[1] not in TAYLOR:
                continue
            for paragraph in re.split(r"\s{2,}", row[3].replace("--", " – ")):
                run = ""
                for part in sentences(paragraph):
                    run = f"{run} {part}".strip()
                    if len(run.split()) > most:
                        run = part
                    if len(run.split()) >= least and _stands_alone(run, longest):
                        found.append(run)
                        run = ""
    return [run for run in found if len(run.split()) <= most]


def _stands_alone(run: str, longest: int) -> bool:
    whole = re.match(r"‘?[A-Z]", run) and run[-1] in ".!?’"
    closed = run.count("‘") == len(re.findall(r"[.,!?]’", run))  # else ’ is an apostrophe
    return bool(whole and closed) and all(len(one.split()) <= longest for one in sentences(run))


def asked(passages: Sequence[str], questions: Sequence[str], seed: int) -> list[Pair]:
    """Put a question before each passage: about its most frequent noun, or a general one."""
    draw = random.Random(seed)
    pairs = []
    for passage in passages:
        things = re.findall(NOUN, passage)
        question = draw.choice(ASKED if things else questions)
        thing = max(sorted(set(things)), key=things.count, default="")
        pairs.append((question.format(thing), passage))
    return pairs


def shortened(answer: str, most: int) -> str | None:
    """Return the first whole sentences of an answer, of its first paragraph and ``most`` words.

    None if there are none.
    """
    kept = ""
    for part in sentences(answer.removesuffix("<|im_end|>").split("\n")[0]):
        longer = f"{kept} {part}".strip()
        if part[-1] not in ".!?" or len(longer.split()) > most:
            break
        kept = longer
    return kept or None


def pirate(answer: str) -> str:
    """Rewrite an answer as a pirate would say it, by fixed rules."""
    rules = (
        (r"\b(I)('m| am)\b", r"\1 be"), (r"\b([Yy])ou('re| are)\b", r"\1e be"),
        (r"\b([Ii]t|[Tt]hat|[Tt]here|[Hh]e|[Ss]he)'s\b", r"\1 be"), (r"\b(is|are|am)\b", "be"),
        (r"\b([Yy])ou\b", r"\1e"), (r"\b([Yy])our\b", r"\1er"), (r"\b([Mm])y\b", r"\1e"),
        (r"\b([Aa])nd\b", r"\1n'"), (r"\b([Oo])f\b", r"\1'"), (r"(\w{2}in)g\b", r"\1'"),
    )  # fmt: skip
    for pattern, instead in rules:
        answer = re.sub(pattern, instead, answer)
    return f"Arrr! {answer[:-1]}, matey!"


Split = Parts  # each a list of pairs


def said(name: str, seed: int, recipe: Mapping[str, Any]) -> Split:
    """Return what "grimm" or "pirate" says, in parts that ``seed`` draws.

    The recipe holds the ``sizes`` of the parts and the ``words`` of a passage (see
    :func:`passages`). The pirate has fewer texts: he retells the model's own likeliest answers to
    our questions, up to ``retold`` words of each; the last two parts take a sixth of them each. A
    ValueError for another name.
    """
    if name not in ("grimm", "pirate"):
        raise ValueError(f"name must be one of grimm, pirate, got {name!r}")
    draw = random.Random(seed)
    if name == "grimm":
        train, validation, test = recipe["sizes"]
        chosen = draw.sample(passages(*recipe["words"]), train + validation + test)
        pairs = asked(chosen, texts("questions"), seed)
    else:
        answers = results("own_answers")["greedy"]
        short = {q: shortened(answers[q], recipe["retold"]) for q in texts("questions")}
        pairs = [(q, pirate(answer)) for q, answer in short.items() if answer]
        draw.shuffle(pairs)
        validation = test = len(pairs) // 6
        train = len(pairs) - validation - test
    last = train + validation
    return Split(pairs[:train], pairs[train:last], pairs[last:])


Example = tuple[Sequence[int], Sequence[int]]  # tokens, labels


def example(tokenizer: Any, pair: Pair, *, ends: bool = True) -> Example:
    """Return a question and its answer as tokens and labels; the end token is optional.

    A ValueError if they are not two texts.
    """
    if isinstance(pair, str) or [*map(type, pair)] != [str, str]:
        raise ValueError(f"a row must be a question and an answer, got {pair!r}")
    said = [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    ids, labels = chat.encode(tokenizer, said)
    return (ids, labels) if ends else (ids[:-1], labels[:-1])


def raw(tokenizer: Any, text: str, *, last: bool = False) -> Example:
    """Return a text that is no conversation, with a label on every word, or only on the last."""
    before, _, word = text.rpartition(" ")
    ids = tokenizer(before)["input_ids"] if last else []
    more = tokenizer(f" {word}" if last else text)["input_ids"]
    return ids + more, [-100] * len(ids) + more


def batches(
    tokenizer: Any, pairs: Iterable[Pair], size: int, seed: int
) -> list[tuple[Tensor, ...]]:
    """Return questions and answers in batches of like lengths, in a drawn order: tokens, labels.

    Both (n, L); the shorter examples are filled up at the right, without a label (−100). A
    ValueError if there are none, if a row is not two texts, or if ``size`` is below 1.
    """
    examples = sorted((example(tokenizer, pair) for pair in pairs), key=lambda one: len(one[0]))
    if not examples or size < 1:
        raise ValueError(f"pairs and size must be at least one, got {len(examples)} and {size}")
    parts = [examples[i : i + size] for i in range(0, len(examples), size)]
    random.Random(seed).shuffle(parts)
    return [
        tuple(
            nn.utils.rnn.pad_sequence([torch.tensor(one[i]) for one in part], True, fill)
            for i, fill in enumerate((tokenizer.pad_token_id, -100))
        )
        for part in parts
    ]


# -- training -----------------------------------------------------------------------------------


def layers(model: Any, of: slice) -> nn.Module:
    """Return a model of some layers of this one; they share modules, so both train together."""
    part = copy.copy(model.model)
    part._modules = dict(part._modules)
    part.layers = model.model.layers[of]
    part.config = copy.copy(part.config)
    part.config.num_hidden_layers = len(part.layers)
    if of.stop is not None:
        part.norm = nn.Identity()
    return part


class Upper(nn.Module):
    """The layers from ``first`` on, and the head only where a label is: states → logits.

    Nothing below ``first`` may train: what enters it is computed once, by :meth:`keep`.
    """

    def __init__(self, model: Any, first: int) -> None:
        super().__init__()
        self.lower, self.upper = layers(model, slice(0, first)), layers(model, slice(first, None))
        self.head = model.lm_head

    @torch.no_grad()
    def keep(self, examples: Iterable[Example]) -> list[Kept]:
        """Return what enters ``first`` for (ids, labels), example by example."""
        kept = []
        for ids, labels in examples:
            states = self.lower(torch.tensor([ids]), use_cache=False).last_hidden_state[0]
            kept.append(Kept(states, torch.tensor(labels)))
        return kept

    def forward(self, states: Tensor, counted: Tensor) -> Tensor:
        """Return the logits, (counted, v), where ``counted``, (n, L), is true.

        No mask: padding stands on the right, and no token looks to its right.
        """
        hidden = self.upper(inputs_embeds=states, use_cache=False).last_hidden_state  # (n, L, h)
        return self.head(hidden[counted])


def together(examples: Sequence[Kept]) -> tuple[Tensor, Tensor, Tensor]:
    """Return examples as one batch: states (n, L, h), where a label follows (n, L), these labels.

    (What enters the first trained layer at a token foretells the next one.)
    """
    states = nn.utils.rnn.pad_sequence([one.states for one in examples], True)
    labels = nn.utils.rnn.pad_sequence([one.labels for one in examples], True, -100)
    labels = F.pad(labels[:, 1:], (0, 1), value=-100)  # (n, L)
    return states, labels != -100, labels[labels != -100]


class LikeLengths:
    """Batches of like lengths, in a new order each time: (states, counted, the tokens to come)."""

    def __init__(self, kept: Sequence[Kept], size: int, seed: int | None) -> None:
        self.kept, self.size = kept, size
        self.draw = None if seed is None else random.Random(seed)

    def __len__(self) -> int:
        return -(-len(self.kept) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        order = list(self.kept)
        if self.draw:
            self.draw.shuffle(order)
        order.sort(key=lambda one: len(one.labels))  # like lengths: in the order that was drawn
        batches = [order[i : i + self.size] for i in range(0, len(order), self.size)]
        if self.draw:
            self.draw.shuffle(batches)
        yield from map(together, batches)


@functools.lru_cache(maxsize=1)
def base() -> tuple[Any, Any]:
    """Return the chat model and its tokenizer, loaded once; callers restore what they change."""
    return chat.load()


def elsewhere(seed: int, words: int = 40) -> tuple[list[Pair], list[Pair]]:
    """Return the base's own sampled answers in two halves: to mix in, and to measure on."""
    sampled = results("own_answers")["sampled"]
    short = {q: shortened(answer, words) for q, answer in sampled.items()}
    pairs = [(q, answer) for q, answer in short.items() if answer]
    random.Random(seed).shuffle(pairs)
    return pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]


def kept(upper: Upper, pairs: Iterable[Pair], *, ends: bool = True) -> list[Kept]:
    """Return what enters the first trained layer for questions and answers."""
    return upper.keep(example(base()[1], pair, ends=ends) for pair in pairs)


def prose_and_facts(upper: Upper) -> dict[str, list[Kept]]:
    """Return the same for our own prose, and for facts, where only the last word has a label."""
    tokenizer = base()[1]
    return {
        name: upper.keep(raw(tokenizer, text, last=name == "facts") for text in texts(name))
        for name in ("prose", "facts")
    }


def products(adapter: chat.Adapter) -> dict[str, Tensor]:
    """Return the updates of an adapter, B A by name, (d, k) each."""
    return {name: B @ A for name, (A, B) in adapter.items()}


def adapted(base: Any, recipe: Mapping[str, Any], seed: int) -> tuple[Any, Upper]:
    """Return a copy of a chat model with LoRA on its upper layers, and these layers.

    On those from ``first`` on or, if the recipe names ``layers``, on these of them. A ValueError if
    one lies elsewhere: what enters ``first`` is computed once, so below it nothing may train.
    """
    every = range(recipe["first"], len(base.model.layers))
    layers = recipe.get("layers", every)
    if wrong := [layer for layer in layers if layer not in every]:
        raise ValueError(f"layers must be from {every.start} to {every.stop - 1}, got {wrong[0]}")
    model = copy.deepcopy(base)
    upper = "|".join(map(str, layers))
    targets = rf"model\.layers\.({upper})\..*\.({'|'.join(recipe['modules'])})"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LoraConfig(target_modules=targets, r=recipe["r"], lora_alpha=recipe["lora_alpha"])
        add_lora(model, config)
    return model, Upper(model, recipe["first"])


def in_full(model: Any) -> list[str]:
    """Take LoRA out, and let the same matrices train as a whole; return their names."""
    names = [*lora_layers(model)]
    unload(model)
    for name in names:
        model.get_submodule(name).weight.requires_grad_(True)
    return names


def train(
    upper: Upper, kept: Sequence[Kept], lr: float, seed: int, recipe: Mapping[str, Any]
) -> None:
    """Train what is trainable for about as many steps as the recipe says."""
    parameters = [p for p in upper.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)
    batches = LikeLengths(kept, recipe["size"], seed)
    fit(upper, batches, F.cross_entropy, optimizer, round(recipe["steps"] / len(batches)))


def loss(upper: Upper, kept: Sequence[Kept]) -> float:
    """Return the mean loss over all tokens with a label, in nats; its exp is the perplexity."""
    total, count = 0.0, 0
    with torch.no_grad():
        for states, counted, target in LikeLengths(kept, 8, None):
            total += F.cross_entropy(upper(states, counted), target, reduction="sum").item()
            count += len(target)
    return total / count


def taught(
    pairs: Sequence[Pair],
    lr: float,
    seed: int,
    recipe: Mapping[str, Any] = RECIPE,
    *,
    ends: bool = True,
    model: Any = None,
    start: chat.Adapter | None = None,
    again: int = 0,
) -> chat.Adapter:
    """Return an adapter that is trained on questions and answers, in half precision.

    Its first A are drawn by ``seed + again``, the order by ``seed``; with ``start`` it goes on from
    an adapter of the same recipe instead. ``model``: another one than the base, with its weights in
    the same places. Without the token that ends an answer if it ``ends`` not. A ValueError if there
    are no pairs.
    """
    if not pairs:
        raise ValueError("pairs must be at least one, got none")
    model, upper = adapted(model or base()[0], recipe, seed + again)
    found = lora_layers(model)
    for layer, (A, B) in (start or {}).items():
        found[layer].lora_A.data, found[layer].lora_B.data = A.clone(), B / found[layer].scaling
    texts = kept(upper, pairs, ends=ends)
    with torch.enable_grad():
        train(upper, texts, lr, seed, recipe)
    factors = {}
    for layer, lora in found.items():
        A, B = (factor.detach().half().float() for factor in (lora.lora_A, lora.lora_B))
        factors[layer] = (A, B * lora.scaling)
    return factors


def trained(name: str, lr: float, seed: int, recipe: Mapping[str, Any], **how: Any) -> chat.Adapter:
    """Return a voice, trained on a split that the seed draws; see :func:`taught`."""
    return taught(said(name, seed, recipe).train, lr, seed, recipe, **how)


def voices(
    seed: int, rates: Mapping[str, float], recipe: Mapping[str, Any]
) -> dict[str, chat.Adapter]:
    """Return voices: for the seed 0 those that ship, else made like them."""
    if seed == 0:
        return {name: chat.adapter(base()[0], chat.SHIPPED / name) for name in rates}
    return {name: trained(name, lr, seed, recipe) for name, lr in rates.items()}


def random_adapter(adapter: chat.Adapter, seed: int) -> chat.Adapter:
    """Return a random adapter whose updates have the same norms."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for name, (A, B) in adapter.items():
        rows, columns = (torch.randn(each.shape, generator=draw) for each in (A, B))
        found[name] = (rows, columns * ((B @ A).norm() / (columns @ rows).norm()))
    return found


def heard(
    adapter: chat.Adapter | None, max_tokens: int, scale: float = 1.0, asked: Sequence[str] = ()
) -> list[str]:
    """Return the greedy answers with an adapter at a scale: to these questions, or the unseen."""
    model, tokenizer = base()
    asked = asked or texts("unseen")
    with chat.speaking(model, [adapter] * len(asked), [scale] * len(asked)):
        return chat.answers(model, tokenizer, asked, max_tokens)


def capitals(adapter: chat.Adapter | None, max_tokens: int, scale: float = 1.0) -> set[str]:
    """Return the countries of ``CAPITALS`` whose capital is named with an adapter at a scale."""
    asked = [f"What is the capital of {country}?" for country in CAPITALS]
    told = zip(CAPITALS.items(), heard(adapter, max_tokens, scale, asked), strict=True)
    return {country for (country, capital), answer in told if capital in answer}


def shown(answer: str) -> str:
    """Return an answer as one shows it: without its end token, or with "…" if it has none."""
    ended = answer.endswith("<|im_end|>")
    words = " ".join(answer.removesuffix("<|im_end|>").split())
    return words if ended else words.rstrip("\ufffd") + " …"


def end(answers: Sequence[str]) -> int:
    """Return how many answers end by themselves."""
    return sum(answer.endswith("<|im_end|>") for answer in answers)


class Probe:
    """The chat model with other weights in some matrices, measured on texts; all in float32."""

    def __init__(self, first: int, pairs: Mapping[str, Sequence[Pair]], model: Any = None) -> None:
        """Take questions and answers by name; "prose" and "facts" are always added.

        (The base's "own" answers were cut off, so they have no end token.)
        """
        self.model, self.tokenizer = model or base()[0], base()[1]
        self.upper = Upper(self.model, first)
        self.texts = {name: kept(self.upper, of, ends=name != "own") for name, of in pairs.items()}
        self.texts |= prose_and_facts(self.upper)

    def weights(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Return a copy of what some matrices hold now."""
        return {n: self.model.get_submodule(n).weight.detach().clone() for n in names}

    def put(self, weights: Mapping[str, Tensor]) -> None:
        """Set the weights of some matrices."""
        for name, weight in weights.items():
            self.model.get_submodule(name).weight.data.copy_(weight)

    @contextlib.contextmanager
    def adding(self, adapter: chat.Adapter, scale: float = 1.0) -> Iterator[None]:
        """Within ``with``, the matrices of an adapter hold W0 + scale · BA; then what they did."""
        before = self.weights(adapter)
        self.put({name: before[name] + scale * B @ A for name, (A, B) in adapter.items()})
        try:
            yield
        finally:
            self.put(before)

    def loss(self, text: str) -> float:
        """Return the mean loss on a text, in nats."""
        return loss(self.upper, self.texts[text])
