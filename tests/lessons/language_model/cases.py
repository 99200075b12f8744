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


def counted(log_p, labels):
    return [one for one, label in zip(log_p, labels, strict=True) if label != MASKED]


def of_counted(value):
    return lambda log_p, labels: value(counted(log_p, labels))


def loss(some):
    return -sum(some) / len(some)


def perplexity(log_p, labels):
    return math.exp(loss(counted(log_p, labels)))


def labels_of(ids, asked, pad):
    end = ids.index(pad, asked)
    return [token if asked <= i <= end else MASKED for i, token in enumerate(ids)]


def labelled(kept):
    """An answer that keeps the labels of tokens for which ``kept(i, ids, asked, pad)``."""
    return lambda ids, asked, pad: [
        token if kept(i, ids, asked, pad) else MASKED for i, token in enumerate(ids)
    ]


EXAMPLES = {
    "everything is learned, the question as well": with_labels(lambda q, a, end: [*q, *a, end]),
    "has the label -100, not 0": with_labels(lambda q, a, end: [0] * len(q) + [*a, end]),
    "the token that ends the answer has no label": with_labels(
        lambda q, a, _: [*mask(q), *a, MASKED]
    ),
    "the end token is missing: it never stops": lambda q, a, _: (q + a, mask(q) + a),
    "shifted by one; that is done later": with_labels(
        lambda q, a, end: [*mask(q)[1:], *a, end, MASKED]
    ),
    "shifted by one, to the right": with_labels(lambda q, a, _: [*mask(q), MASKED, *a]),
    "a label for each token, please": with_labels(lambda q, a, end: [*a, end]),
    "the question has 3 tokens, and you mask 36": with_labels(
        lambda q, a, end: [MASKED] * 36 + [*a, end][36:]
    ),
    "ids are what the model reads": lambda *given: 2 * (example(*given)[1],),
    "they begin with the question": lambda *_: ([5, 6, 7, 8, 9, 4, 2], [MASKED] * 3 + [8, 9, 4, 2]),
    "the end token comes once, behind the answer": lambda q, a, end: (
        [*q, end, *a],
        [*mask(q), end, *a],
    ),
    "the end token is 9 here": lambda q, a, _: example(q, a, 2),
    "return two lists": lambda q, a, end: [*q, *a, end],
    "belongs to the answer: its label is 8, not 2": with_labels(
        lambda q, a, end: [*mask(q), end, *a]
    ),
    "ids come first": lambda *given: example(*given)[::-1],
    "token 7 at place 2 belongs to the question": with_labels(
        lambda q, a, end: [*mask(q)[1:], q[-1], *a, end]
    ),
    "`append` changes a list": lambda q, a, end: ([*q, *a, end], None),
}
PERPLEXITIES = {
    "that is the loss": of_counted(loss),
    "[0.0, 0.0, 0.333, 0.333, 0.333] times. The labels are [-100, -100, 7, 9, 3]: 3 tokens count, "
    "all as much, and no other. A perplexity is at least 1": (
        of_counted(lambda some: math.exp(-loss(some)))
    ),
    "[-0.2, -0.2, -0.2, -0.2, -0.2] times": lambda log_p, _: math.exp(loss(log_p)),
    "natural logarithms: e to the mean, not 2": of_counted(lambda some: 2 ** loss(some)),
    "natural logarithms: e to the mean, not 10": of_counted(lambda some: 10 ** loss(some)),
    "the mean of single perplexities": of_counted(
        lambda some: sum(math.exp(-p) for p in some) / len(some)
    ),
    "one over the mean p": of_counted(lambda some: len(some) / sum(map(math.exp, some))),
    "yours is a sum in which log_p counts [0.0, 0.0, 0.333, 0.333, 0.333]": (
        of_counted(lambda some: -loss(some))
    ),
    "of lists is log_p[1]": lambda log_p, labels: math.exp(-log_p[labels != -100]),
    "the loss is rounded, to 1.9": of_counted(lambda some: math.exp(round(loss(some), 1))),
    "6 is rounded: keep all digits": lambda *text: round(perplexity(*text)),
    "it is the same for any log_p": lambda *_: math.e,
    "-6.3811, should be 6.3811. A perplexity is at least 1": lambda *text: -perplexity(*text),
}
LABELS = {
    "the token that ends the answer has no label": labelled(
        lambda i, ids, asked, pad: i >= asked and ids[i] != pad
    ),
    "token 2 at place 7 belongs to the padding": labelled(lambda i, ids, asked, pad: i >= asked),
    "token 4 at place 0 belongs to the question": labelled(
        lambda i, ids, asked, pad: i <= ids.index(pad, asked)
    ),
    "The question holds an end token, too": labelled(
        lambda i, ids, asked, pad: asked <= i <= ids.index(pad)
    ),
    "not a yes or no": lambda *row: [one != MASKED for one in labels_of(*row)],
    "for [4, 2, 5": lambda *_: [MASKED, MASKED, MASKED, 8, 9, 5, 2, MASKED, MASKED],
}

CASES = {
    checks.check_example: (example, EXAMPLES),
    checks.check_perplexity: (perplexity, PERPLEXITIES),
    checks.check_labels: (labels_of, LABELS),
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [("lr=0.001,", "lr=0.0,", range(4, 9))]
