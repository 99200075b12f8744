"""Answers to the exercises."""

import math

from lessons import loses_return

from lora_edu.course.language_model import checks

MASKED = -100


# -- exercise 1 ----------------------------------------------------------------------------------


def example(question, answer, end):
    return question + answer + [end], [MASKED] * len(question) + answer + [end]


def with_labels(labels):
    """An answer whose ids are right, and whose labels are these."""
    return lambda question, answer, end: (
        [*question, *answer, end],
        labels(question, answer, end),
    )


def labelled(kept):
    """An answer that keeps the labels of tokens for which ``kept(i, ids, asked, pad)``."""
    return lambda ids, asked, pad: [
        token if kept(i, ids, asked, pad) else MASKED for i, token in enumerate(ids)
    ]


EXAMPLES = {
    "question learned": (
        with_labels(lambda question, answer, end: [*question, *answer, end]),
        "everything is learned, the question as well",
    ),
    "zeros": (
        with_labels(lambda question, answer, end: [0] * len(question) + [*answer, end]),
        "has the label -100, not 0",
    ),
    "no label at the end": (
        with_labels(lambda question, answer, end: [MASKED] * len(question) + [*answer, MASKED]),
        "the token that ends the answer has no label",
    ),
    "no end": (
        lambda question, answer, _: (
            question + answer,
            [MASKED] * len(question) + answer,
        ),
        "the end token is missing: it never stops",
    ),
    "shifted": (
        with_labels(
            lambda question, answer, end: [MASKED] * (len(question) - 1) + [*answer, end, MASKED]
        ),
        "shifted by one",
    ),
    "the other way round": (
        with_labels(lambda question, answer, _: question + [MASKED] * (len(answer) + 1)),
        "that way round the question is learned",
    ),
    "the answer alone": (
        with_labels(lambda question, answer, end: [*answer, end]),
        "a label for each token, please",
    ),
    "all masked": (
        with_labels(lambda question, answer, _: [MASKED] * (len(question + answer) + 1)),
        "nothing is learned",
    ),
    "ids masked": (
        lambda question, answer, end: 2 * ([MASKED] * len(question) + [*answer, end],),
        "ids are what the model reads",
    ),
    "by heart": (
        lambda *_: ([5, 6, 7, 8, 9, 4, 2], [MASKED] * 3 + [8, 9, 4, 2]),
        "they begin with the question",
    ),
    "end first": (
        lambda question, answer, end: (
            [*question, end, *answer],
            [MASKED] * len(question) + [end, *answer],
        ),
        "the end token comes once, behind the answer",
    ),
    "one list": (lambda question, answer, end: [*question, *answer, end], "return two lists"),
    "other numbers": (
        with_labels(lambda question, answer, end: [MASKED] * len(question) + [end, *answer]),
        "belongs to the answer: its label is 8, not 2",
    ),
    "swapped": (
        lambda question, answer, end: example(question, answer, end)[::-1],
        "ids come first",
    ),
    "one short": (
        with_labels(
            lambda question, answer, end: (
                [MASKED] * (len(question) - 1) + question[-1:] + [*answer, end]
            )
        ),
        "token 7 at place 2 belongs to the question",
    ),
    "by token": (
        with_labels(
            lambda question, answer, end: [
                MASKED if one in question else one for one in [*question, *answer, end]
            ]
        ),
        "token 8 at place 4 belongs to the answer: its label is 8, not -100. Do you go by token",
    ),
    "behind the first end": (
        with_labels(
            lambda question, answer, end: labelled(
                lambda i, ids, asked, end: i >= asked or end in ids[:i]
            )([*question, *answer, end], len(question), end)
        ),
        "token 8 at place 2 belongs to the question: its label is -100",
    ),
    "of the page": (
        with_labels(lambda question, answer, end: [MASKED] * 36 + [*answer, end][36:]),
        "the question has 3 tokens, and you mask 36",
    ),
    "strings": (
        lambda question, answer, end: [
            [str(one) for one in part] for part in example(question, answer, end)
        ],
        "a list of whole numbers",
    ),
    "no lists": (lambda *_: ("ids", None), "ids must be a list of whole numbers"),
    "no return": (loses_return, "is the `return` missing"),
}


# -- exercise 2 ----------------------------------------------------------------------------------


def counted(log_p, labels):
    return [one for one, label in zip(log_p, labels, strict=True) if label != MASKED]


def perplexity(log_p, labels):
    some = counted(log_p, labels)
    return math.exp(-sum(some) / len(some))


def of_counted(value):
    return lambda log_p, labels: value(counted(log_p, labels))


PERPLEXITIES = {
    "the loss": (of_counted(lambda some: -sum(some) / len(some)), "that is the loss"),
    "sign": (of_counted(lambda some: math.exp(sum(some) / len(some))), "at least 1"),
    "question too": (
        lambda log_p, _: math.exp(-sum(log_p) / len(log_p)),
        "that counts the question as well",
    ),
    "by all": (
        lambda log_p, labels: math.exp(-sum(counted(log_p, labels)) / len(log_p)),
        "divide by the number of tokens with a label",
    ),
    "sum": (of_counted(lambda some: math.exp(-sum(some))), "the mean over the tokens"),
    "base 2": (of_counted(lambda some: 2 ** (-sum(some) / len(some))), "natural logarithms"),
    "base 10": (of_counted(lambda some: 10 ** (-sum(some) / len(some))), "natural logarithms"),
    "mean of each": (
        of_counted(lambda some: sum(math.exp(-one) for one in some) / len(some)),
        "take the mean first",
    ),
    "the mean": (of_counted(lambda some: sum(some) / len(some)), "the mean of log_p"),
    "like an array": (lambda log_p, labels: math.exp(-log_p[labels != -100]), "is log_p[1]"),
    "one over the mean": (
        of_counted(lambda some: len(some) / sum(map(math.exp, some))),
        "one over the mean p",
    ),
    "the question alone": (
        lambda log_p, labels: math.exp(
            -sum(p for p, one in zip(log_p, labels, strict=True) if one == MASKED)
            / labels.count(MASKED)
        ),
        "and not the answer",
    ),
    "one too few": (
        of_counted(lambda some: math.exp(-sum(some[:-1]) / (len(some) - 1))),
        "that counts [-1.52, -2.91] of log_p",
    ),
    "0 is left out": (
        lambda log_p, labels: perplexity(log_p, [one if one > 0 else MASKED for one in labels]),
        "0 is a token like any other",
    ),
    "shifted": (
        lambda log_p, labels: perplexity(log_p, [*labels[1:], MASKED]),
        "nothing is to be shifted",
    ),
    "the first one": (of_counted(lambda some: math.exp(-some[0])), "inside the loop"),
    "rounded": (
        of_counted(lambda some: math.exp(round(-sum(some) / len(some), 1))),
        "that is e to 1.9",
    ),
    "whole": (lambda *text: round(perplexity(*text)), "6 is rounded: keep all digits"),
    "one more": (of_counted(lambda some: 1 - sum(some)), "6.56, should be 6.381"),
    "for each": (of_counted(lambda some: [math.exp(-one) for one in some]), "one number"),
    "by heart": (lambda *_: math.e, "the same for any log_p"),
    "no return": (loses_return, "is the `return` missing"),
}


# -- exercise 3 ----------------------------------------------------------------------------------


def labels_of(ids, asked, pad):
    end = ids.index(pad, asked)
    return [token if asked <= i <= end else MASKED for i, token in enumerate(ids)]


LABELS = {
    "as it was": (
        labelled(lambda i, ids, asked, pad: i >= asked and ids[i] != pad),
        "the token that ends the answer has no label",
    ),
    "padding learned": (
        labelled(lambda i, ids, asked, pad: i >= asked),
        "token 2 at place 7 belongs to the padding",
    ),
    "question learned": (
        labelled(lambda i, ids, asked, pad: i <= ids.index(pad, asked)),
        "token 4 at place 0 belongs to the question",
    ),
    "end of the question": (
        labelled(lambda i, ids, asked, pad: asked <= i <= ids.index(pad)),
        "The question holds an end token, too",
    ),
    "the last one": (
        labelled(lambda i, ids, asked, pad: i >= asked and (ids[i] != pad or i == len(ids) - 1)),
        "token 2 at place 8 belongs to the padding",
    ),
    "one too many": (
        labelled(lambda i, ids, asked, pad: asked <= i <= ids.index(pad, asked) + 1),
        "its label is -100, not 2",
    ),
    "cut off": (
        lambda ids, asked, pad: labels_of(ids, asked, pad)[: ids.index(pad, asked) + 1],
        "the padding is cut off",
    ),
    "zeros": (
        lambda *row: [0 if one == MASKED else one for one in labels_of(*row)],
        "has the label -100, not 0",
    ),
    "shifted": (lambda *row: [*labels_of(*row)[1:], MASKED], "shifted by one"),
    "the end alone": (
        labelled(lambda i, ids, asked, pad: i == ids.index(pad, asked)),
        "You learn places 6 to 6, and it should be 3 to 6",
    ),
    "counted from the answer": (
        lambda ids, asked, pad: [
            token if asked <= i <= ids[asked:].index(pad) else MASKED for i, token in enumerate(ids)
        ],
        "counted from the answer's start, as in ids[3:]: add 3",
    ),
    "yes or no": (lambda *row: [one != MASKED for one in labels_of(*row)], "not a yes or no"),
    "a number": (lambda *_: 3, "labels must be a list"),
    "by heart": (
        lambda *_: [MASKED, MASKED, MASKED, 8, 9, 5, 2, MASKED, MASKED],
        "for [4, 2, 5",
    ),
    "no return": (loses_return, "is the `return` missing"),
}

CASES = {
    checks.check_example: (example, EXAMPLES),
    checks.check_perplexity: (perplexity, PERPLEXITIES),
    checks.check_labels: (labels_of, LABELS),
}
