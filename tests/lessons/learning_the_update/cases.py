"""Answers to the exercises."""

import copy

import numpy as np
import torch
from torch import nn

from lora_edu.course.learning_the_update import checks


def repaired(base, r, alpha, *, frozen=True, parameter=True, zero=True):
    layer = checks.Suspect(base, r, alpha)
    if frozen:
        layer.base.requires_grad_(False)
    if parameter:
        layer.lora_A = nn.Parameter(layer.lora_A)
    if zero:
        nn.init.zeros_(layer.lora_B)
    return layer


def without(**what):
    return lambda *arguments: repaired(*arguments, **what)


def and_then(change):
    """An answer that repairs the layer, and then calls ``change(layer)``."""

    def answer(*arguments):
        layer = repaired(*arguments)
        change(layer)
        return layer

    return answer


def by_attribute(base, r, alpha):
    layer = repaired(base, r, alpha, frozen=False)
    layer.base.requires_grad = False
    return layer


# -- merge ---------------------------------------------------------------------------------------


def product(layer):
    return layer.lora_B @ layer.lora_A


def with_weight(weight):
    """An answer whose weight is ``weight(layer)``."""

    def merge(layer):
        plain = copy.deepcopy(layer.base)
        with torch.no_grad():
            plain.weight.copy_(weight(layer))
        return plain

    return merge


def in_place(layer):
    with torch.no_grad():
        layer.base.weight += layer.scaling * product(layer)
    return layer.base


def recorded(layer):
    plain = copy.deepcopy(layer.base)
    plain.weight += layer.scaling * product(layer)
    return plain


def of_the_page(layer):
    plain = nn.Linear(60, 40, dtype=torch.float64)
    plain.weight.data += layer.scaling * product(layer)
    return plain


# -- the smallest rank ---------------------------------------------------------------------------


def by_floors(floor):
    """An answer that takes the least r whose ``floor(S, r, n)`` is at most loss."""

    def smallest_rank(delta, x, loss):
        S = np.linalg.svd(x @ delta.T, compute_uv=False)
        r = 1
        while floor(S, r, len(x)) > loss:
            r += 1
        return r

    return smallest_rank


def floor(S, r, n):
    return np.sum(S[r:] ** 2) / (2 * n)


def of_delta(delta, x, loss):
    """An answer that takes the directions of the update, not of the outputs."""
    return by_floors(floor)(delta, len(x) ** 0.5 * np.eye(len(x), delta.shape[1]), loss)


A, B = [1, 1], [1.5, 1.2]
CASES = {
    checks.check_step: {
        "OK": (A, B),
        "lora_B: got [-1.5, -1.2]: the sign: a step goes": (A, [-1.5, -1.2]),
        "where is h, which B multiplies?": (A, [0.5, 0.4]),
        "that is after two steps": (A, [1.65, 1.32]),
        "got [1.5, 1.8], 1 of them right. Three": (A, [1.5, 1.8]),
        "lora_A: got [1.123, 1.246]. Its slope has B as": ([1.123, 1.246], B),
        "lora_A: got [0, 0]: that is its change": ([0, 0], B),
    },
    checks.check_repaired: {
        "OK": repaired,
        "what you return starts 8.5 off the outputs of base": without(zero=False),
        "after three steps W0 has moved by": without(frozen=False),
        "on a module does nothing: write `requires_grad": by_attribute,
        "after three steps lora_A has not mo": without(parameter=False),
        "nothing will ever move": and_then(lambda m: m.lora_A.data.zero_()),
        "scaling was right, lora_alpha / r = 4, and is 8": and_then(
            lambda m: setattr(m, "scaling", 8.0)
        ),
    },
    checks.check_merge: {
        "OK": with_weight(lambda m: m.base.weight + m.scaling * product(m)),
        "yours is W0: without lora_B @ lora_A (r = 6, scaling = 5)": with_weight(
            lambda m: m.base.weight
        ),
        "with torch.no_grad():": recorded,
        "Here base is 6 × 6: is the page's one in it?": of_the_page,
        "its base holds the update, and layer adds it once more": in_place,
        "that is the LoRA layer": lambda m: m,
    },
    checks.check_smallest_rank: {
        "OK": by_floors(floor),
        "whatever x may be: they are of x @ delta.T": of_delta,
        "2 times the right ones: you divide by 40, and 2n is 80": by_floors(
            lambda S, r, n: np.sum(S[r:] ** 2) / n
        ),
        "one fewer would do": by_floors(lambda S, r, n: floor(S, r - 1, n)),
        "and should be [8.53  0.53  0.125]": by_floors(lambda S, r, n: floor(S, r, n) ** 2),
        "which is no rank: is it a floor?": lambda delta, x, loss: 0.53,
        "it does not end: which loop never stops?": by_floors(lambda S, r, n: 1 + r),
    },
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [
    ("hidden.shape, 100", "hidden.shape, 30", range(1, 9)),
    ("r = 5   ", "r = 2   ", range(1, 4)),
    ("[(X, T)] * 1000", "[(X, T)] * 10", 1),
]
