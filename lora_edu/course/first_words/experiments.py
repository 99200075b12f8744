"""Experiments: a voice turned up, down and against itself; a voice from five sentences."""

import random
from collections.abc import Mapping, Sequence

from lora_edu import chat
from lora_edu.course import language
from lora_edu.course.experiments import Row, Settings, experiment
from lora_edu.course.language import RATES, RECIPE

SCALES = tuple(quarter / 4 for quarter in range(-4, 7))
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

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Germany": "Berlin", "Spain": "Madrid", "Japan": "Tokyo",
    "England": "London", "Russia": "Moscow", "China": "Beijing", "Greece": "Athens",
    "Egypt": "Cairo", "Cuba": "Havana", "Ireland": "Dublin", "Poland": "Warsaw",
    "Portugal": "Lisbon", "Austria": "Vienna", "Peru": "Lima",
}  # fmt: skip


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


def _capitals(answers: Sequence[str]) -> set[str]:
    """Return the countries of ``CAPITALS`` whose capital stands in the answer about them."""
    told = zip(CAPITALS.items(), answers, strict=True)
    return {country for (country, capital), answer in told if capital in answer}


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
    model, tokenizer = language.base()
    asked = random.Random(seed).sample(language.texts("questions"), 5)
    where = [f"What is the capital of {country}?" for country in CAPITALS]
    how = {**recipe, "size": 5, "steps": steps}

    def answers(asked: Sequence[str], adapter: chat.Adapter | None) -> list[str]:
        with chat.speaking(model, [adapter] * len(asked)):
            said = chat.answers(model, tokenizer, asked, max_tokens)
        return [answer.removesuffix("<|im_end|>") for answer in said]

    known = _capitals(answers(where, None))
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
            left[kind] = len(known & _capitals(answers(where, adapter)))
    return row
