"""Answers to the exercises."""

import math

from lora_edu.course.language_model import checks

MASKED = -100


def example(question, answer, end):
    return [*question, *answer, end], [MASKED] * len(question) + [*answer, end]


def with_labels(labels):
    """An answer whose ids are right, and whose labels are these."""
    return lambda question, answer, end: (
        [*question, *answer, end],
        labels(question, answer, end),
    )


def mask(question):
    return [MASKED] * len(question)


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
    checks.check_example: (
        example,
        {
            "everything is learned, the question as well": with_labels(
                lambda q, a, end: [*q, *a, end]
            ),
            "has the label -100, not 0": with_labels(lambda q, a, end: [0] * len(q) + [*a, end]),
            "shifted by one; that is done later": with_labels(
                lambda q, a, end: [*mask(q)[1:], *a, end, MASKED]
            ),
            "the end token is missing: it never stops": lambda q, a, _: (q + a, mask(q) + a),
            "token 7 at place 2 belongs to the question": with_labels(
                lambda q, a, end: [*mask(q)[1:], q[-1], *a, end]
            ),
            "ids come first": lambda *given: example(*given)[::-1],
        },
    ),
    checks.check_perplexity: (
        perplexity,
        {
            "that is the loss": of_counted(loss),
            "[-0.2, -0.2, -0.2, -0.2, -0.2] times": lambda log_p, _: math.exp(loss(log_p)),
            "natural logarithms: e to the mean, not 2": of_counted(lambda some: 2 ** loss(some)),
            "yours is a sum in which log_p counts [0.0, 0.0, 0.333, 0.333, 0.333]": (
                of_counted(lambda some: -loss(some))
            ),
            "one over the mean p": of_counted(lambda some: len(some) / sum(map(math.exp, some))),
            "-6.3811, should be 6.3811. A perplexity is at least 1": (
                lambda *text: -perplexity(*text)
            ),
        },
    ),
    checks.check_labels: (
        labels_of,
        {
            "the token that ends the answer has no label": labelled(
                lambda i, ids, asked, pad: i >= asked and ids[i] != pad
            ),
            "token 2 at place 7 belongs to the padding": labelled(
                lambda i, ids, asked, pad: i >= asked
            ),
            "token 4 at place 0 belongs to the question": labelled(
                lambda i, ids, asked, pad: i <= ids.index(pad, asked)
            ),
            "not a yes or no": lambda *row: [one != MASKED for one in labels_of(*row)],
            "for [4, 2, 5": lambda *_: [MASKED, MASKED, MASKED, 8, 9, 5, 2, MASKED, MASKED],
        },
    ),
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [("lr=0.001,", "lr=0.0,", range(4, 9))]
