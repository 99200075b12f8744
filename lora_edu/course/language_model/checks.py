"""Checks of lesson 04, and the blind test on the learner's own voice."""

import math
import random
import re
import string
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lora_edu.course import language
from lora_edu.course.checks import call, check, number, slip, whole
from lora_edu.course.say import say

MASKED = -100


def _listed(value: Any, name: str) -> list[int]:
    """Return a list of whole numbers, or say what it is instead."""
    try:
        items = [*value]
    except TypeError:
        why = ": `append` changes a list, and returns None" if value is None else ""
        said = f"{name} must be a list of whole numbers, got {value!r}{why}"
        raise AssertionError(said) from None
    return [whole(item, "a label") for item in items]


def _compare(labels: list[int], right: list[int], ids: list[int], where: str) -> None:
    """Raise an ``AssertionError`` that names the mistake in labels, if there is one."""
    if labels == right:
        return
    n, where = len(ids), f"{where}, labels are {labels}: "
    learned = [i for i, label in enumerate(right) if label != MASKED]
    start, stop = learned[0], learned[-1] + 1
    after = [MASKED] * (n - stop)
    behind = ". The question holds an end token, too: look for the one after it"
    slips = {
        f"nothing is learned{behind if ids[stop - 1] in ids[:start] else ''}": [MASKED] * n,
        "everything is learned, the question as well: mask it by -100": ids,
        "the token that ends the answer has no label: it never stops":
            [*right[: stop - 1], MASKED, *after],
        "the end token's label is missing: it is learned, too": right[: stop - 1] + after,
        "the padding is cut off: it has a label, too, -100": right[:stop],
        "the answer has none; that way round the question is learned":
            ids[:start] + [MASKED] * (n - start),
    }  # fmt: skip
    for why, wrong_labels in slips.items():
        assert labels != wrong_labels, where + why
    marked = [i for i, label in enumerate(labels) if label != MASKED]
    yes = marked and {*labels} <= {MASKED, 0, 1}
    assert not yes, f"{where}a label is the token itself, or -100, not a yes or no"
    own = [labels[i] == ids[i] for i in marked if i < n]
    for by, why in (1, "; that is done later, when the loss is computed"), (-1, ", to the right"):
        moved = [0 <= i + by < n and labels[i] == ids[i + by] for i in marked if len(labels) <= n]
        shifted = len(moved) > 1 and all(moved) and not all(own)
        assert not shifted, f"{where}they are shifted by one{why}: a label stands at its token"
    low, high = (marked[0], marked[-1] + 1) if marked else (len(labels), 0)
    long = f"{n} tokens, {len(labels)} labels; the question has {start} tokens, and you mask {low}"
    assert len(labels) == n, f"{where}a label for each token, please: {long}"
    mask = min(label for label, good in zip(labels, right, strict=True) if good == MASKED)
    other = labels == [mask if one == MASKED else one for one in right]
    assert not other, f"{where}what is not learned has the label -100, not {mask}"
    wrong = [i for i in range(n) if labels[i] != right[i]]
    kept = {ids[i] for i in marked}.isdisjoint(ids[i] for i in range(n) if i not in marked)
    by_token = kept and all(ids.count(ids[i]) > 1 for i in wrong)
    why = ". Do you go by token? It is there twice: go by place" if by_token else ""
    if labels[low:high] == ids[low:high]:
        why += f". You learn places {low} to {high - 1}, and it should be {start} to {stop - 1}: "
        why += "the answer and the first end token behind the question"
        if high == stop - start:
            why += f". Is the end counted from the answer's start, as in ids[{start}:]: "
            why += f"add {start}?"
    end = f" (the answer ends at place {stop - 1})"
    for i in sorted(wrong, key=lambda i: right[i] != MASKED):  # first what should have none
        part = "question" if i < start else "answer" if i < stop else f"padding{end}"
        assert labels[i] == right[i], (
            f"{where}token {ids[i]} at place {i} belongs to the {part}: its label is {right[i]}, "
            f"not {labels[i]}{why}"
        )


@check
def check_perplexity(perplexity: Callable) -> None:
    """Check the perplexity of a text from the log-probabilities of its tokens, and its labels.

    Its logarithm is a sum of the log-probabilities: by how much each counts is measured.
    """
    tried = (
        ([-0.2, -3.0, -1.52, -2.91, -1.13], [MASKED, MASKED, 7, 9, 3]),
        ([-2.03, -0.11, -0.47, -1.21, -2.5, -0.64], [MASKED, 3, 0, MASKED, 8, 2]),
        ([-6.0, -0.25], [MASKED, 1]),
    )
    for log_p, labels in tried:
        some = [one for one, label in zip(log_p, labels, strict=True) if label != MASKED]
        loss, single = -sum(some) / len(some), [math.exp(-one) for one in some]
        value = number(call(perplexity, log_p=log_p, labels=labels))
        if math.isclose(value, math.exp(loss), rel_tol=1e-5):
            continue
        first = "take the mean first, then e to it"
        by = f"divide by the {len(some)} tokens that count"
        slips = [
            (f"{first}: the mean of single perplexities is another", sum(single) / len(some)),
            (f"{first}: one over the mean p is another", len(some) / sum(map(math.exp, some))),
            ("log_p[labels != -100] of lists is log_p[1]: one by one", math.exp(-log_p[1])),
            (f"take the mean: {by}", math.exp(-sum(some))),
            (f"{by}, not by all", math.exp(-sum(some) / len(log_p))),
        ]
        for n in range(7):
            whole, near = round(math.exp(loss), n), round(loss, n)
            slips.append((f"{whole:g} is rounded: keep all digits", whole))
            slips.append((f"the loss is rounded, to {near}: keep all its digits", math.exp(near)))
        slip(value, slips)
        _measure(perplexity, value, log_p, labels)
        sign = "" if value >= 1 else ". A perplexity is at least 1: which sign is wrong?"
        asked = f"for log_p = {log_p}, labels = {labels} (so {some} count)"
        raise AssertionError(f"{asked}: {value:.5g}, should be {math.exp(loss):.5g}{sign}")


def _measure(perplexity: Callable, value: float, log_p: list[float], labels: list[int]) -> None:
    """Say by how much each log-probability counts, in the result or in its logarithm."""
    step = 0.01
    moved = np.array(log_p) + step * np.kron([[-1], [1]], np.eye(len(log_p)))  # all down, all up
    ends = [number(call(perplexity, log_p=one, labels=labels)) for one in moved.tolist()]

    def slopes(of: Callable) -> list[float]:
        """Return by how much ``of(result)`` rises with each; nothing if it is curved."""
        low, high = np.split(of(ends), 2)
        straight = np.allclose(low + high, 2 * of(value), rtol=1e-6)
        return ((high - low) / 2 / step).round(3).tolist() if straight else []

    plain = slopes(np.array)
    made = slopes(np.log) if min(*ends, value) > 0 else []
    assert np.any(plain) or not plain, "it is the same for any log_p: are they used?"
    n = len(labels) - labels.count(MASKED)
    right = np.array([0 if label == MASKED else -1 / n for label in labels])
    nats = "that is the loss, in nats; the perplexity is e to it"
    assert not (plain and np.allclose(plain, right, atol=1e-3)), nats
    line = f"yours is {{}}a sum in which log_p counts {plain or made} times"
    assert not plain, f"{line.format('')}: the perplexity is e to the mean, with a minus"
    if made:
        for base in (2, 10):
            other = f"log_p are natural logarithms: e to the mean, not {base}"
            assert not np.allclose(made, right * math.log(base), atol=1e-3), other
        sign = "" if value >= 1 else " A perplexity is at least 1: which sign is wrong?"
        count = f"The labels are {labels}: {n} tokens count, all as much, and no other.{sign}"
        raise AssertionError(f"{line.format('e to ')}. {count}")


@check
def check_labels(labels_of: Callable) -> None:
    """Check the labels of a padded row, whose padding is the end token."""
    tried = (
        ([4, 2, 3, 8, 9, 5, 2, 2, 2], 3, 2),  # the question holds an end token, too
        ([4, 2, 5, 6, 7, 2], 3, 2),  # nothing is padded
        ([1, 6, 8, 3, 3], 1, 3),
    )
    for ids, asked, pad in tried:
        labels = _listed(call(labels_of, ids=ids, asked=asked, pad=pad), "labels")
        end = ids.index(pad, asked)
        right = [MASKED] * asked + ids[asked : end + 1] + [MASKED] * (len(ids) - end - 1)
        where = f"for {ids}, the first {asked} of them asked, and padding {pad}"
        where += " (here none: the row ends with the answer)" if end == len(ids) - 1 else ""
        _compare(labels, right, ids, where)


def blind(
    answers: Mapping[str, Sequence[str]], questions: Sequence[str], seed: int
) -> dict[str, str]:
    """Print one answer to each question, by lot; return who → the letters of what they said.

    What is cut off in mid-sentence would betray a model, so each is cut to whole sentences.
    """
    lots = [who for who in answers for _ in range(-(-len(questions) // len(answers)))]
    lots = lots[: len(questions)]
    random.Random(seed).shuffle(lots)
    letters: dict[str, str] = dict.fromkeys(answers, "")
    for i, (question, who) in enumerate(zip(questions, lots, strict=True)):
        answer = answers[who][i].removesuffix("<|im_end|>")
        said = language.shortened(answer, 40) or answer
        print(f"{chr(65 + i)}   {question}\n{textwrap.indent(textwrap.fill(said, 80), '    ')}\n")
        letters[who] += chr(65 + i)
    return letters


def score(guess: object, right: str) -> str:
    """Say how many letters of a guess are right; or that it is none."""
    typed = guess.upper() if isinstance(guess, str) else ""
    chosen = {*re.findall(r"\b[A-Z]\b", typed)} or {*typed} & {*string.ascii_uppercase}
    if len(chosen) != len(right):
        return say(f"no {len(right)} letters, no score")
    return say(f"{len(chosen & {*right})} of {len(right)} are yours")
