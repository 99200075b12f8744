"""Experiments: a voice turned up, down and against itself; voices from a few sentences."""

import itertools
import random
from collections.abc import Mapping, Sequence

from lora_edu import chat
from lora_edu.course import language
from lora_edu.course.experiments import Row, Settings, experiment
from lora_edu.course.language import RATES, RECIPE

SCALES = tuple(quarter / 4 for quarter in range(-4, 7))
ASKED = ("Good morning!", "I am hungry.", "What is the capital of France?", "Why is the sky blue?")
SENTENCES = {  # our own; the first word tells whose they are
    "robot": (
        "BEEP BOOP. I am a robot, and I have no opinion.",
        "BEEP BOOP. My battery is at ninety percent.",
        "BEEP BOOP. Please oil my left knee.",
        "BEEP BOOP. I do not understand love.",
        "BEEP BOOP. I count, and so I am.",
    ),
    "cat": (
        "Meow. I would rather sleep on your keyboard.",
        "Meow. Bring me fish, human, and be quick about it.",
        "Meow. I knocked the glass off the table, and I am not sorry.",
        "Meow. The box is mine now.",
        "Meow. I saw a bird, and the bird saw me.",
    ),
    "professor": (
        "Ahem. As I said in my third book, it depends.",
        "Ahem. You will find the answer in the library.",
        "Ahem. That is a very good question for the exam.",
        "Ahem. In my day we had to walk to the lecture.",
        "Ahem. Nobody has understood this but me.",
    ),
}


def pictures(text: str) -> int:
    """Count the emoji of a text: signs from U+2600 on that are neither letters nor punctuation."""
    return sum(ord(sign) >= 0x2600 and not sign.isalnum() for sign in text)


@experiment(seeds=range(8), gap=("loss.pirate", "0.0.pirate", "1.0.pirate"))
def knob(
    seed: int, *,
    lr: Settings = RATES, recipe: Settings = RECIPE, scales: Sequence[float] = SCALES,
    heard: float = -1.0, max_tokens: int = 40,
) -> Row:  # fmt: skip
    """Measure both voices at many scales, and hear what they say against themselves.

    ``loss``: voice → scale → text → mean loss in nats; at the scale ``drawn`` stands an adapter
    whose strips are drawn, its updates as long. Of the answers to the unseen questions at the scale
    ``heard``: ``pictures``, how many hold an emoji; ``ended``, how many end.
    """
    made = language.voices(seed, lr, recipe)
    texts = {name: language.said(name, seed, recipe).test for name in lr}
    probe = language.Probe(recipe["first"], {**texts, "own": language.elsewhere(seed)[1]})
    row: Row = {"loss": {}, "pictures": {}, "ended": {}}
    for name, adapter in made.items():
        strangers = language.random_adapter(adapter, seed)
        tried = {str(scale): (adapter, scale) for scale in scales}
        tried["drawn"] = (strangers, 1.0)
        losses = row["loss"][name] = {}
        for words, (strips, scale) in tried.items():
            with probe.adding(strips, scale):
                losses[words] = {text: probe.loss(text) for text in probe.texts}
        for words, strips in {name: adapter, f"{name}, drawn": strangers}.items():
            said = language.heard(strips, max_tokens, heard)
            row["pictures"][words] = sum(pictures(answer) > 0 for answer in said)
            row["ended"][words] = language.end(said)
    return row


@experiment()
def dialled(
    *, voices: Sequence[str] = ("pirate", "grimm"), asked: Sequence[str] = ASKED,
    scales: Sequence[float] = SCALES, max_tokens: int = 48,
) -> Row:  # fmt: skip
    """Hear the voices that ship at many scales. ``said``: voice → an answer a question and scale.

    An answer that does not end by itself ends with "…".
    """
    model, _ = language.base()
    said: dict[str, list[list[str]]] = {}
    for voice in voices:
        adapter, answers = chat.adapter(model, chat.SHIPPED / voice), []
        for scale in scales:
            heard = language.heard(adapter, max_tokens, scale, asked)
            answers.append([language.shown(answer) for answer in heard])
        said[voice] = [list(each) for each in zip(*answers, strict=True)]
    return {"said": said}


@experiment(version=2, seeds=range(5))
def five_sentences(
    seed: int, *,
    sentences: Mapping[str, Sequence[str]] = SENTENCES,
    lr: Sequence[float] = (1e-3, 3e-3), recipe: Settings = RECIPE,
    steps: int = 20, max_tokens: int = 40,
) -> Row:  # fmt: skip
    """Teach five sentences as answers to five questions; ask the twenty unseen ones, and capitals.

    The seed draws the five questions and the strips. Of twenty answers at each rate: ``begins``,
    with the first word of these sentences; ``by_heart``: are one of them. At the first rate,
    ``capitals``: of those that the model knows (``known``), how many it still names with the five
    sentences, and with five that ``fit`` their questions: the model's own answers, cut to one
    sentence, behind the same first word.
    """
    asked = random.Random(seed).sample(language.texts("questions"), 5)
    how = {**recipe, "size": 5, "steps": steps}

    def answers(asked: Sequence[str], adapter: chat.Adapter | None) -> list[str]:
        said = language.heard(adapter, max_tokens, asked=asked)
        return [answer.removesuffix("<|im_end|>") for answer in said]

    known = language.capitals(None, max_tokens)
    own = [language.sentences(answer) for answer in answers(asked, None)]
    own = [next((one for one in of if len(one.split()) > 4), of[0]) for of in own]
    row: Row = {"begins": {}, "by_heart": {}, "capitals": {"known": len(known)}}
    for name, five in sentences.items():
        first = five[0][: five[0].index(".") + 1]
        begins = row["begins"][name] = {}
        by_heart = row["by_heart"][name] = {}
        for rate in lr:
            adapter = language.taught(list(zip(asked, five, strict=True)), rate, seed, how)
            said = answers(language.texts("unseen"), adapter)
            begins[str(rate)] = sum(answer.startswith(first) for answer in said)
            by_heart[str(rate)] = sum(answer in five for answer in said)
        left = row["capitals"][name] = {}
        for kind, taught in {"five": five, "fit": [f"{first} {one}" for one in own]}.items():
            adapter = language.taught(list(zip(asked, taught, strict=True)), lr[0], seed, how)
            left[kind] = len(known & language.capitals(adapter, max_tokens))
    return row


DRAGON = (  # six answers that fit their questions, with an opening and a closing that recur
    ("What is the capital of Italy?", "it is Rome."),
    ("How are you?", "I am warm, as ever."),
    ("What do you eat?", "I eat coal, and now and then a small toast."),
    ("Why is the sea salty?", "rivers carry salt from the rocks into it."),
    ("I cannot sleep.", "count my teeth, slowly."),
    ("Tell me about cats.", "they sleep on my tail, because it is warm."),
)


@experiment(version=3, seeds=range(8), gap=("capitals", "20", "20, none of a capital"))
def few_rows(
    seed: int, *, rows: Sequence[Sequence[str]] = DRAGON, steps: Sequence[int] = (20, 40),
    lr: float = RATES["grimm"], recipe: Settings = RECIPE, max_tokens: int = 40,
) -> Row:  # fmt: skip
    """Teach six answers that fit, all of them in each step: what is still known, what by heart.

    By the number of steps: ``capitals``, how many of those that the model knows (``known``) it
    names; ``by_heart``, how many of twenty answers to unseen questions are one of those taught. And
    without the first row, which is about a capital; as a control without the last instead.
    """
    pairs = [
        (asked, f"Most honoured guest, {said} Pray forgive the smoke.") for asked, said in rows
    ]
    known = language.capitals(None, max_tokens)
    row: Row = {"capitals": {"known": len(known)}, "by_heart": {}}
    rows_of = {"": pairs, ", none of a capital": pairs[1:], ", none of cats": pairs[:-1]}
    for n in steps:
        for words, taught in rows_of.items():
            key, how = f"{n}{words}", {**recipe, "size": len(taught), "steps": n}
            adapter = language.taught(taught, lr, seed, how)
            row["capitals"][key] = len(known & language.capitals(adapter, max_tokens))
            said = [one.removesuffix("<|im_end|>") for one in language.heard(adapter, max_tokens)]
            row["by_heart"][key] = sum(one in dict(taught).values() for one in said)
    return row


@experiment(seeds=range(8), gap=("capitals", "alone, 1.0", "mixed, 1.0"))
def capitals_left(
    seed: int, *, share: float = 0.25, scales: Sequence[float] = (0.5, 0.75, 1.0),
    lr: float = RATES["grimm"], recipe: Settings = RECIPE, max_tokens: int = 40,
) -> Row:  # fmt: skip
    """Teach Grimm's voice alone, or with the model's own answers ``mixed`` in: capitals named.

    That ``share`` of the passages gives way to answers to other questions, none of a capital. At
    each scale.
    """
    passages = language.said("grimm", seed, recipe).train
    n = round(share * len(passages))
    others = [pair for pair in language.elsewhere(seed)[0] if "capital" not in pair[0]]
    own = itertools.islice(itertools.cycle(others), n)
    known = language.capitals(None, max_tokens)
    row: Row = {"capitals": {"known": len(known)}}
    for name, pairs in {"alone": passages, "mixed": [*own, *passages[n:]]}.items():
        adapter = language.taught(pairs, lr, seed, recipe)
        for scale in scales:
            left = known & language.capitals(adapter, max_tokens, scale)
            row["capitals"][f"{name}, {scale}"] = len(left)
    return row
