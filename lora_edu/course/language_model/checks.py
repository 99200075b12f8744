"""Checks of lesson 09, and the blind test on the learner's own voice."""

import math
import operator
import random
import string
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lora_edu.course.checks import call, check, compare_number

MASKED = -100


def _listed(value: Any, name: str) -> list[int]:
    try:
        return [operator.index(one) for one in value]
    except TypeError:
        raise AssertionError(f"{name} must be a list of whole numbers, got {value!r}") from None


def _compare(labels: list[int], right: list[int], ids: list[int], where: str) -> None:
    """Raise an ``AssertionError`` that names the mistake in labels, if there is one."""
    long = f"a label for each token, please: {len(ids)} tokens, {len(labels)} labels"
    assert len(labels) == len(ids), where + long
    if labels == right:
        return
    start = next(i for i, label in enumerate(right) if label != MASKED)
    stop = max(i for i, label in enumerate(right) if label != MASKED) + 1
    others = {label for label, good in zip(labels, right, strict=True) if good == MASKED}
    mask = min(others)
    n = len(ids)
    assert labels != [MASKED] * n, f"{where}all labels are -100: nothing is learned"
    assert labels != ids, f"{where}everything is learned, the question as well: mask it by -100"
    if len(others) == 1 and labels == [mask if one == MASKED else one for one in right]:
        raise AssertionError(f"{where}what is not learned has the label -100, not {mask}")
    shifted = (right[1:] + labels[-1:], labels[:1] + right[:-1])
    assert labels not in shifted, (
        f"{where}the labels are shifted by one, got {labels}; that is done later, when the loss is "
        "computed"
    )
    end = [*right[: stop - 1], MASKED, *right[stop:]]
    assert labels != end, f"{where}the token that ends the answer has no label: it never stops"
    alone = [MASKED] * (stop - 1) + [ids[stop - 1]] + [MASKED] * (n - stop)
    assert labels != alone, f"{where}only the end token is learned, and not the answer"
    assert labels[start:stop] != [MASKED] * (stop - start), (
        f"{where}the answer has no labels: got {labels}, that way round the question is learned"
    )
    for m in (start - 1, start + 1):
        assert labels != [MASKED] * m + [*ids[:start], *right[start:]][m:], (
            f"{where}the question has {start} tokens, and {m} are masked"
        )
    assert labels[:start] == right[:start], (
        f"{where}the question has {start} tokens, all to be masked; got {labels}"
    )
    raise AssertionError(f"{where}labels must be {right}, got {labels}")


@check
def check_example(example: Callable) -> None:
    """Check the tokens and labels of a question and its answer."""
    tried = (([5, 6, 7], [8, 9, 4], 2), ([3, 5], [7], 2), ([1], [6, 0, 1], 9))
    for question, answer, end in tried:
        given = call(example, question=question, answer=answer, end=end)
        two = isinstance(given, tuple | list) and len(given) == 2
        assert two, f"return two lists, ids and labels, got {type(given).__name__}"
        ids, labels = _listed(given[0], "ids"), _listed(given[1], "labels")
        whole, n = [*question, *answer, end], len(question)
        right = [MASKED] * n + whole[n:]
        where = f"for question {question}, answer {answer} and end {end}: "
        assert (ids, labels) != (right, whole), f"{where}ids come first, then labels, got {ids}"
        assert ids != whole[:-1], f"{where}the end token is missing from ids: it never stops"
        assert MASKED not in ids, f"{where}ids are what the model reads, without a mask, got {ids}"
        assert ids[:n] == question, f"{where}ids begin with the question, got {ids}"
        last = f"{where}the end token comes last, behind the answer, got {ids}"
        assert ids == whole or sorted(ids) != sorted(whole), last
        assert ids == whole, f"{where}ids must be {whole}, got {ids}"
        _compare(labels, right, ids, where)


@check
def check_perplexity(perplexity: Callable) -> None:
    """Check the perplexity of a text from the log-probabilities of its tokens, and its labels."""
    tried = (
        ([-0.7, -3.0, -0.5, -1.9, -0.3], [MASKED, MASKED, 7, 9, 3]),
        ([-2.0, -0.1, -0.4, -2.5, -0.6], [MASKED, 3, 0, 8, 2]),
        ([-6.0, -0.25], [MASKED, 1]),
    )
    for log_p, labels in tried:
        counted = [one for one, label in zip(log_p, labels, strict=True) if label != MASKED]
        masked = [one for one, label in zip(log_p, labels, strict=True) if label == MASKED]
        n, total = len(counted), sum(counted)
        positive = [one for one, label in zip(log_p, labels, strict=True) if label > 0]
        each = [math.exp(-one) for one in counted]
        got = call(perplexity, log_p=log_p, labels=labels)
        wrong = {
            "a perplexity is at least 1: turn the sign round": math.exp(total / n),
            "that is the loss, in nats; the perplexity is e to it": -total / n,
            "that is the mean of log_p: the perplexity is e to minus that": total / n,
            "that counts the question as well: leave out where the label is -100": (
                math.exp(-sum(log_p) / len(log_p))
            ),
            "that counts the question, and not the answer": math.exp(-sum(masked) / len(masked)),
            "divide by the number of tokens with a label, not by that of all": (
                math.exp(-total / len(log_p))
            ),
            "sum over the tokens with a label, not over all": math.exp(-sum(log_p) / n),
            "take the mean over the tokens, not the sum": math.exp(-total),
            "log_p are natural logarithms: e to the mean, not 2": 2 ** (-total / n),
            "log_p are natural logarithms: e to the mean, not 10": 10 ** (-total / n),
            "take the mean first, then e to it: the mean of single perplexities is another": (
                sum(each) / n
            ),
            "take the mean of log_p first: one over the mean p is another number": (
                n / sum(map(math.exp, counted))
            ),
            "the first token with a label counts, too": (
                math.exp(-sum(counted[1:]) / max(n - 1, 1))
            ),
            "the last token with a label counts, too": (
                math.exp(-sum(counted[:-1]) / max(n - 1, 1))
            ),
            "0 is a token like any other: only -100 is left out": (
                math.exp(-sum(positive) / len(positive))
            ),
            "with lists, log_p[labels != -100] is log_p[1]: choose the tokens one by one": (
                math.exp(-log_p[1])
            ),
        }
        compare_number(got, math.exp(-total / n), wrong, f"for log_p = {log_p}, labels = {labels}")


@check
def check_labels(labels_of: Callable) -> None:
    """Check the labels of a padded row, whose padding is the end token."""
    tried = (
        ([4, 2, 8, 9, 2, 2, 2], 2, 2),  # the question holds an end token, too
        ([4, 2, 5, 6, 7, 2], 3, 2),  # nothing is padded
        ([1, 6, 8, 3, 3], 1, 3),
    )
    for ids, asked, pad in tried:
        labels = _listed(call(labels_of, ids=ids, asked=asked, pad=pad), "labels")
        end = ids.index(pad, asked)
        right = [MASKED] * asked + ids[asked : end + 1] + [MASKED] * (len(ids) - end - 1)
        where = f"for {ids}, the first {asked} of them asked, and padding {pad}: "
        padded = [MASKED] * asked + ids[asked:]
        last = [MASKED if one == pad else one for one in right[:-1]] + ids[-1:]
        one_more = right[: end + 1] + ids[end + 1 : end + 2] + right[end + 2 :]
        wrong = {
            "the padding is learned as well: only the first end token ends the answer": padded,
            "one end token too many is learned": one_more,
            "nothing is learned. The question holds an end token, too: look for the one after it": (
                [MASKED] * len(ids)
            ),
            "the last token of the row is padding; the answer ends at the first one": last,
        }
        for why, other in wrong.items():
            trivial = other in (right, ids)
            assert labels != other or trivial, where + why
        _compare(labels, right, ids, where)


def blind(
    answers: Mapping[str, Sequence[str]], questions: Sequence[str], seed: int
) -> dict[str, str]:
    """Print one answer to each question, by lot; return who → the letters of what they said."""
    lots = [who for who in answers for _ in range(-(-len(questions) // len(answers)))]
    lots = lots[: len(questions)]
    random.Random(seed).shuffle(lots)
    letters: dict[str, str] = dict.fromkeys(answers, "")
    for i, (question, who) in enumerate(zip(questions, lots, strict=True)):
        said = answers[who][i].removesuffix("<|im_end|>")
        print(f"{chr(65 + i)}   {question}\n{textwrap.indent(textwrap.fill(said, 80), '    ')}\n")
        letters[who] += chr(65 + i)
    return letters


def score(guess: object, right: str) -> str:
    """Say how many letters of a guess are right; or that it is none."""
    chosen = {*guess.upper()} if isinstance(guess, str) else set()
    if len(chosen & {*string.ascii_uppercase}) != len(right):
        return f"no {len(right)} letters, no score"
    return f"{len(chosen & {*right})} of {len(right)} are yours"
