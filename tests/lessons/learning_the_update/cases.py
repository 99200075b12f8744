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


def argument_frozen(base, r, alpha):
    layer = repaired(base, r, alpha, frozen=False)
    base.requires_grad_(False)
    return layer


def equal_rows(layer):
    layer.lora_A.data = layer.lora_A.data[:1].repeat(len(layer.lora_A), 1)


def transposed(layer):
    layer.lora_A = nn.Parameter(layer.lora_A.data.T.clone())


def other_base(layer):
    layer.base.weight.data *= 2


def cut_off(layer):
    layer.forward = lambda x: layer.base(x)


# -- merge ---------------------------------------------------------------------------------------


def product(layer):
    return layer.lora_B @ layer.lora_A


def right(layer):
    return layer.base.weight + layer.scaling * product(layer)


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


def clears(layer):
    plain = with_weight(right)(layer)
    layer.lora_B.data.zero_()
    return plain


def recorded(layer):
    plain = copy.deepcopy(layer.base)
    plain.weight += layer.scaling * product(layer)
    return plain


def fresh(layer, **options):
    d, k = layer.base.weight.shape
    plain = nn.Linear(k, d, **{"dtype": torch.float64, **options})
    plain.weight.data = right(layer).detach().to(plain.weight.dtype)
    return plain


def outputs_first(layer):
    d, k = layer.base.weight.shape
    plain = nn.Linear(d, k, bias=layer.base.bias is not None)
    plain.weight.data = right(layer).detach()
    if layer.base.bias is not None:
        plain.bias.data = layer.base.bias.data.clone()
    return plain


def of_the_page(layer):
    plain = nn.Linear(60, 40, dtype=torch.float64)
    plain.weight.data += layer.scaling * product(layer)
    return plain


# -- the smallest rank ---------------------------------------------------------------------------


def values(x, delta):
    return np.linalg.svd(x @ delta.T, compute_uv=False)


def alone(x, delta):
    return np.linalg.svd(delta, compute_uv=False)


def by_floors(floor, spectrum=values):
    """An answer that takes the least r whose ``floor(S, r, n)`` is at most loss."""

    def smallest_rank(delta, x, loss):
        S = spectrum(x, delta)
        r = 1
        while floor(S, r, len(x)) > loss:
            r += 1
        return r

    return smallest_rank


def floor(S, r, n):
    return np.sum(S[r:] ** 2) / (2 * n)


def least(ranks, delta, x, loss):
    S = values(x, delta)
    return next((r for r in ranks if floor(S, r, len(x)) <= loss), None)


def head(delta, x, loss):
    S, r = values(x, delta), 1
    while np.sum(S[:r] ** 2) / (2 * len(x)) < loss:
        r += 1
    return r


def at_least(delta, x, loss):
    S, r = values(x, delta), 1
    while floor(S, r, len(x)) >= loss:
        r += 1
    return r


def below(delta, x, loss):
    S = values(x, delta)
    return next((r for r in (1, 2, 3, 4) if floor(S, r, len(x)) < loss), 4)


A, B = [1, 1], [1.5, 1.2]
CASES = {
    checks.check_step: (
        (A, B),
        {
            "lora_B: got [-1.5, -1.2]: the sign: a step goes": (A, [-1.5, -1.2]),
            "that is the slope: a step goes lr = 0.1 times it": (A, [-15, -12]),
            "the slope against its sign, but not times lr": (A, [15, 12]),
            "where is h, which B multiplies?": (A, [0.5, 0.4]),
            "where is h, and which way is downhill?": (A, [-0.5, -0.4]),
            "h is A x = 3, not x": (A, [0.5, 0.8]),
            "each output has an error of its own": (A, [1.5, 1.5]),
            "this B starts at zero, not at the (2, 1)": (A, [1.7, 1.3]),
            "there is nothing to add to": (A, [3.5, 2.2]),
            "with B = 0 y is x alone": (A, [-0.3, 0.3]),
            "y is x here, not 0": (A, [1.8, 1.8]),
            "that is after two steps": (A, [1.65, 1.32]),
            "the upper output comes first": (A, [1.2, 1.5]),
            "got [1.5, 1.8], 1 of them right. Three": (A, [1.5, 1.8]),
            "lora_B: got [2, 1]: those are rounded": (A, [2, 1]),
            "lora_A: got [1.123, 1.246]. Its slope has B as": ([1.123, 1.246], B),
            "lora_A: got [0, 0]: that is its change": ([0, 0], B),
            "lora_B holds two numbers, got 4": (A, [1, 5, 1, 2]),
        },
    ),
    checks.check_repaired: (
        repaired,
        {
            "what you return starts 8.5 off the outputs of base": without(zero=False),
            "after three steps W0 has moved by": without(frozen=False),
            "still requires a gradient: bias": and_then(lambda m: m.base.bias.requires_grad_(True)),
            "a Suspect has its own copy, `layer.base`": argument_frozen,
            "or the Suspect not one of the base and the r that": (
                lambda base, r, alpha: repaired(nn.Linear(60, 40), 5, alpha)
            ),
            "on a module does nothing: write `requires_grad": by_attribute,
            "after three steps lora_A has not mo": without(parameter=False),
            "after three steps lora_B has not mo": and_then(
                lambda m: m.lora_B.requires_grad_(False)
            ),
            "nothing trains any more": and_then(lambda m: m.requires_grad_(False)),
            "nothing will ever move": and_then(lambda m: m.lora_A.data.zero_()),
            "has rank 1 only: draw it at random": and_then(equal_rows),
            "scaling was right, lora_alpha / r = 4, and is 8": (
                and_then(lambda m: setattr(m, "scaling", 8.0))
            ),
            "have shapes [(4, 2), (6, 2)], not (2, 4) and": and_then(transposed),
            "W0 itself has other numbers now": and_then(other_base),
            "it cannot be trained: element 0 of tensors does not": and_then(cut_off),
        },
    ),
    checks.check_merge: (
        with_weight(right),
        {
            "yours is W0: without lora_B @ lora_A (r = 6, scaling = 5)": (
                with_weight(lambda m: m.base.weight)
            ),
            "lora_B @ lora_A comes 0.8333 times, not 5 times": (
                with_weight(lambda m: m.base.weight + m.scaling / len(m.lora_A) * product(m))
            ),
            "with torch.no_grad():": recorded,
            "is (6, 6) of torch.float32": lambda m: fresh(m, dtype=torch.float32),
            "its bias is not that of base: nn.Linear draws one": fresh,
            "the bias of base is missing": lambda m: fresh(m, bias=False),
            "Here base is 6 × 6: is the page's one in it?": of_the_page,
            "its base holds the update, and layer adds it once more": in_place,
            "its strips hold other numbers now": clears,
            "the inputs first: that is (5, 3), not (3, 5)": outputs_first,
            "that is the LoRA layer": lambda m: m,
            "return an nn.Linear, got method": lambda m: m.forward,
        },
    ),
    checks.check_smallest_rank: (
        by_floors(floor),
        {
            "whatever x may be: they are of x @ delta.T": by_floors(floor, alone),
            "2 times the right ones: you divide by 40, and 2n is 80": (
                by_floors(lambda S, r, n: np.sum(S[r:] ** 2) / n)
            ),
            "squares: σ², not σ": by_floors(lambda S, r, n: np.sum(S[r:]) / (2 * n)),
            "first square each σ": by_floors(lambda S, r, n: np.sum(S[r:]) ** 2 / (2 * n)),
            "without its root": by_floors(lambda S, r, n: floor(S, r, n) ** 0.5),
            "all that is left counts together": by_floors(
                lambda S, r, n: floor(S, r, n) - floor(S, r + 1, n)
            ),
            "one fewer would do": by_floors(lambda S, r, n: floor(S, r - 1, n)),
            "one too few: do you count directions, or take": (
                by_floors(lambda S, r, n: floor(S, r + 1, n))
            ),
            "svd gives the largest σ first": by_floors(lambda S, r, n: floor(S[::-1], r, n)),
            "the floor is a loss, not a share of one": (
                by_floors(lambda S, r, n: floor(S, r, n) / floor(S, 0, n))
            ),
            "the sum of what is left, not its mean": (
                by_floors(lambda S, r, n: floor(S, r, n) / max(1, len(S) - r))
            ),
            "not over n: take the sum, over 2n": (
                by_floors(lambda S, r, n: n * floor(S, r, n) / max(1, len(S) - r))
            ),
            "and should be [8.53  0.53  0.125]": by_floors(lambda S, r, n: floor(S, r, n) ** 2),
            "which is no rank: is it a floor?": lambda delta, x, loss: 0.53,
            "it says 0: no adapter has a rank below 1": lambda *a: least(range(5), *a),
            "σ[:r] is what r directions keep": head,
            "The last floor is 0: `at most` is <=": at_least,
            "and a delta of rank 0 it says 4, not 1: `at most` is <=": below,
            "for loss = 0.01 and 78 it says (5, 1), not (4, 1)": lambda *a: least((1, 2, 3, 5), *a),
            "with r it falls, to 0": lambda *a: least((1, 2, 3), *a),
            "it does not end: which loop never stops?": by_floors(lambda S, r, n: 1 + r),
        },
    ),
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [
    ("hidden.shape, 100", "hidden.shape, 30", range(1, 9)),
    ("r = 5   ", "r = 2   ", range(1, 4)),
    ("[(X, T)] * 1000", "[(X, T)] * 10", 1),
]
