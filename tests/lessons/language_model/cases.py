"""Answers to the exercises."""

import math

from lora_edu.course.language_model import checks

MASKED = -100


def of_counted(value):
    """An answer that is ``value`` of what the labels let count."""

    def answer(log_p, labels):
        return value([p for p, label in zip(log_p, labels, strict=True) if label != MASKED])

    return answer


def loss(some):
    return -sum(some) / len(some)


perplexity = of_counted(lambda some: math.exp(loss(some)))


def labelled(kept):
    """An answer that keeps the labels of tokens for which ``kept(i, ids, asked, pad)``."""
    return lambda ids, asked, pad: [
        token if kept(i, ids, asked, pad) else MASKED for i, token in enumerate(ids)
    ]


labels_of = labelled(lambda i, ids, asked, pad: asked <= i <= ids.index(pad, asked))

CASES = {
    checks.check_perplexity: {
        "OK": perplexity,
        "that is the loss": of_counted(loss),
        "[-0.2, -0.2, -0.2, -0.2, -0.2] times": lambda log_p, _: math.exp(loss(log_p)),
        "natural logarithms: e to the mean, not 2": of_counted(lambda some: 2 ** loss(some)),
        "yours is a sum in which log_p counts [0.0, 0.0, 0.333, 0.333, 0.333]": of_counted(
            lambda some: -loss(some)
        ),
        "one over the mean p": of_counted(lambda some: len(some) / sum(map(math.exp, some))),
        "-6.3811, should be 6.3811. A perplexity is at least 1": lambda *text: -perplexity(*text),
    },
    checks.check_labels: {
        "OK": labels_of,
        "the token that ends the answer has no label": labelled(
            lambda i, ids, asked, pad: i >= asked and ids[i] != pad
        ),
        "token 2 at place 7 belongs to the padding": labelled(
            lambda i, ids, asked, pad: i >= asked
        ),
        "token 4 at place 0 belongs to the question": labelled(
            lambda i, ids, asked, pad: i <= ids.index(pad, asked)
        ),
        "everything is learned, the question as well": lambda ids, *_: ids,
        "has the label -100, not 0": lambda *row: [max(one, 0) for one in labels_of(*row)],
        "shifted by one; that is done later": lambda *row: [*labels_of(*row)[1:], MASKED],
    },
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [("lr=0.002,", "lr=0.0,", range(2, 9))]
