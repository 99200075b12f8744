"""Answers to the exercises."""

import copy

import numpy as np
import torch
from lessons import loses_return
from torch import nn

from lora_edu.course.learning_the_update import checks

# -- exercise 2 ----------------------------------------------------------------------------------


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
    def answer(*arguments):
        layer = repaired(*arguments)
        change(layer)
        return layer

    return answer


def all_frozen(layer):
    layer.requires_grad_(False)


def no_bias_frozen(layer):
    layer.base.bias.requires_grad_(True)


def by_attribute(base, r, alpha):
    layer = repaired(base, r, alpha, frozen=False)
    layer.base.requires_grad = False
    return layer


def argument_frozen(base, r, alpha):
    layer = repaired(base, r, alpha, frozen=False)
    base.requires_grad_(False)
    return layer


def of_another(base, r, alpha):
    return repaired(nn.Linear(60, 40, dtype=torch.float64), 5, alpha)


def asks_for_a_gradient(base, r, alpha):
    layer = repaired(base, r, alpha, parameter=False)
    layer.lora_A.requires_grad_(True)
    return layer


def equal_rows(layer):
    layer.lora_A.data = layer.lora_A.data[:1].repeat(len(layer.lora_A), 1)


def b_is_frozen(layer):
    layer.lora_B.requires_grad_(False)


def alpha_alone(layer):
    layer.scaling = 8.0


def both_zero(layer):
    layer.lora_A.data.zero_()


def transposed(layer):
    layer.lora_A = nn.Parameter(layer.lora_A.data.T.clone())


def other_base(layer):
    layer.base.weight.data *= 2


def cut_off(layer):
    layer.forward = lambda x: layer.base(x)


# -- exercise 3 ----------------------------------------------------------------------------------


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


def right(layer):
    return layer.base.weight + layer.scaling * product(layer)


def in_place(layer):
    with torch.no_grad():
        layer.base.weight += layer.scaling * product(layer)
    return layer.base


def clears(layer):
    plain = with_weight(right)(layer)
    layer.lora_B.data.zero_()
    return plain


def outputs_first(layer):
    plain = nn.Linear(*layer.base.weight.shape, bias=layer.base.bias is not None)
    plain.weight.data = right(layer).detach()
    if layer.base.bias is not None:
        plain.bias.data = layer.base.bias.data.clone()
    return plain


def recorded(layer):
    plain = copy.deepcopy(layer.base)
    plain.weight += layer.scaling * product(layer)
    return plain


def assigned(layer):
    plain = copy.deepcopy(layer.base)
    plain.weight = right(layer)
    return plain


def fresh(layer, **options):
    d, k = layer.base.weight.shape
    plain = nn.Linear(k, d, **{"dtype": torch.float64, **options})
    plain.weight.data = right(layer).detach().to(plain.weight.dtype)
    return plain


def of_the_page(layer):
    plain = nn.Linear(60, 40, dtype=torch.float64)
    plain.weight.data += layer.scaling * product(layer)
    return plain


# -- exercise 4 ----------------------------------------------------------------------------------


def values(x, delta):
    return np.linalg.svd(x @ delta.T, compute_uv=False)


def alone(x, delta):
    return np.linalg.svd(delta, compute_uv=False)


def over(divisor, spectrum=values, power=2):
    """An answer that adds up σ**power from r on, over ``divisor(x, delta)``."""

    def smallest_rank(delta, x, loss):
        tail = spectrum(x, delta) ** power / divisor(x, delta)
        r = 1
        while tail[r:].sum() > loss:
            r += 1
        return r

    return smallest_rank


def rank(spectrum=values, power=2):
    return over(lambda x, delta: 2 * len(x), spectrum, power)


def one_early(delta, x, loss):
    tail = values(x, delta) ** 2 / (2 * len(x))
    return next(r for r in range(1, 6) if tail[r - 1 :].sum() <= loss)


def largest_left(delta, x, loss):
    tail = np.linalg.svd(x @ delta.T, compute_uv=False) ** 2 / (2 * len(x))
    return max(1, int(np.sum(tail > loss)))


def rooted(delta, x, loss):
    return rank()(delta, x, loss**2)


def square_of_sum(delta, x, loss):
    S = values(x, delta)
    return next(r for r in range(1, 5) if S[r:].sum() ** 2 / (2 * len(x)) <= loss)


def index_from_one(delta, x, loss):
    tail = values(x, delta) ** 2 / (2 * len(x))
    r = 1
    while tail[r + 1 :].sum() > loss:
        r += 1
    return r


def from_zero(delta, x, loss):
    tail = values(x, delta) ** 2 / (2 * len(x))
    return next(r for r in range(6) if tail[r:].sum() <= loss + 1e-9)


def full_rank_left_out(delta, x, loss):
    tail = values(x, delta) ** 2 / (2 * len(x))
    return next((r for r in range(1, len(tail)) if tail[r:].sum() <= loss + 1e-9), None)


def least(floors, loss, ranks=(1, 2, 3, 4)):
    return next((r for r in ranks if floors(r) <= loss), None)


def kept(delta, x, loss):
    tail = values(x, delta) ** 2 / (2 * len(x))
    return least(lambda r: tail[:r].sum(), loss)


def a_share(delta, x, loss):
    tail = values(x, delta) ** 2
    return least(lambda r: tail[r:].sum() / tail.sum(), loss)


def a_mean(delta, x, loss):
    tail = values(x, delta) ** 2
    return least(lambda r: tail[r:].sum() / max(1, 4 - r) / 2, loss)


def below(delta, x, loss):
    tail = values(x, delta) ** 2 / (2 * len(x))
    return next((r for r in range(1, 5) if tail[r:].sum() < loss), None)


def the_floor(delta, x, loss):
    return (values(x, delta) ** 2 / (2 * len(x)))[rank()(delta, x, loss) :].sum()


def of_a_table(delta, x, loss):
    return 1 if loss >= 2.5741 else 2 if loss >= 0.6466 else 3


def few_ranks(delta, x, loss):
    tail = values(x, delta) ** 2 / (2 * len(x))
    return least(lambda r: tail[r:].sum(), loss, (1, 2, 3, 5))


A, B = [1, 1], [1.5, 1.2]
CASES = {
    checks.check_step: (
        (A, B),
        {
            "uphill": ((A, [-1.5, -1.2]), "lora_B: got [-1.5, -1.2]: the sign: a step goes"),
            "the slope": ((A, [-15, -12]), "that is the slope: a step goes lr = 0.1 times it"),
            "no lr": ((A, [15, 12]), "the slope against its sign, but not times lr"),
            "no h": ((A, [0.5, 0.4]), "where is h, which B multiplies?"),
            "no h, uphill": ((A, [-0.5, -0.4]), "where is h, and which way is downhill?"),
            "x for h": ((A, [0.5, 0.8]), "h is A x = 3, not x"),
            "h is a product": ((A, [1, 0.8]), "h is a sum, 1 + 2 = 3"),
            "one error for both": ((A, [1.5, 1.5]), "each output has an error of its own"),
            "from the old B": ((A, [1.7, 1.3]), "this B starts at zero, not at the (2, 1)"),
            "added to the old B": ((A, [3.5, 2.2]), "there is nothing to add to"),
            "the old errors": ((A, [-0.3, 0.3]), "with B = 0 y is x alone"),
            "y is 0": ((A, [1.8, 1.8]), "y is x here, not 0"),
            "no half": ((A, [3, 2.4]), "the loss halves the squares"),
            "a mean": ((A, [0.75, 0.6]), "a sum over the outputs, not their mean"),
            "two steps": ((A, [1.65, 1.32]), "that is after two steps"),
            "reversed": ((A, [1.2, 1.5]), "the upper output comes first"),
            "nothing moves": ((A, [0, 0]), "lora_B: got [0, 0]: it has not moved"),
            "a slip": ((A, [1.5, 1.8]), "got [1.5, 1.8], 1 of them right. Three"),
            "swapped": ((B, A), "the two are swapped"),
            "A moves": (([1.123, 1.246], B), "lora_A: got [1.123, 1.246]. Its slope has B as"),
            "the change of A": (([0, 0], B), "lora_A: got [0, 0]: that is its change"),
            "one number": ((1, B), "lora_A holds two numbers, got 1"),
            "a comma": ((A, [1, 5, 1, 2]), "lora_B holds two numbers, got 4"),
            "rounded": ((A, [2, 1]), "lora_B: got [2, 1]: those are rounded"),
            "text": ((A, "1.5, 1.2"), "lora_B must be a number or an array of numbers, got str"),
            "half done": ((A, None), "answer 2 is still to be given"),
        },
    ),
    checks.check_repaired: (
        repaired,
        {
            "untouched": (checks.Suspect, "off the outputs of base: where should it?"),
            "B is random": (
                without(zero=False),
                "what you return starts 8.5 off the outputs of base",
            ),
            "W0 trains": (without(frozen=False), "after three steps W0 has moved by"),
            "its bias trains": (and_then(no_bias_frozen), "still requires a gradient: bias"),
            "the argument is frozen": (argument_frozen, "a Suspect has its own copy, `layer.base`"),
            "of another base": (of_another, "or the Suspect not one of the base and the r that"),
            "frozen by attribute": (by_attribute, "on a module does nothing: write `requires_grad"),
            "A is no parameter": (without(parameter=False), "after three steps lora_A has not mo"),
            "A asks for a gradient": (asks_for_a_gradient, "Is it among layer.parameters()"),
            "B is frozen": (and_then(b_is_frozen), "after three steps lora_B has not moved"),
            "all is frozen": (and_then(all_frozen), "nothing trains any more"),
            "both zero": (and_then(both_zero), "nothing will ever move"),
            "equal rows": (and_then(equal_rows), "has rank 1 only: draw it at random"),
            "scaling": (and_then(alpha_alone), "scaling was right, lora_alpha / r = 4, and is 8"),
            "A transposed": (and_then(transposed), "have shapes [(4, 2), (6, 2)], not (2, 4) and"),
            "another W0": (and_then(other_base), "W0 itself has other numbers now"),
            "cut off": (and_then(cut_off), "it cannot be trained: element 0 of tensors does not"),
            "another layer": (
                lambda base, r, alpha: base,
                "return a Suspect, repaired: got Linear",
            ),
            "no return": (loses_return, "is the `return` missing?"),
        },
    ),
    checks.check_merge: (
        with_weight(right),
        {
            "the base": (with_weight(lambda m: m.base.weight), "lora_B @ lora_A is added 0 times"),
            "no scaling": (
                with_weight(lambda m: m.base.weight + product(m)),
                "is added 1 times, and should be scaling = 5",
            ),
            "scaled twice": (
                with_weight(lambda m: m.base.weight + m.scaling**2 * product(m)),
                "is added 25 times",
            ),
            "divided": (
                with_weight(lambda m: m.base.weight + product(m) / m.scaling),
                "is added 0.2 times",
            ),
            "over r again": (
                with_weight(lambda m: m.base.weight + m.scaling / len(m.lora_A) * product(m)),
                "is added 1.25 times, and should be scaling = 5 times (r = 4)",
            ),
            "no W0": (with_weight(lambda m: m.scaling * product(m)), "W0 is missing"),
            "subtracted": (
                with_weight(lambda m: m.base.weight - m.scaling * product(m)),
                "is added -5 times",
            ),
            "all scaled": (
                with_weight(lambda m: m.scaling * (m.base.weight + product(m))),
                "scaling is of the update alone",
            ),
            "twice": (
                with_weight(lambda m: m.base.weight + 2 * m.scaling * product(m)),
                "is added 10 times",
            ),
            "A B": (
                with_weight(lambda m: m.base.weight + m.scaling * m.lora_A @ m.lora_B),
                "that is lora_A @ lora_B",
            ),
            "transposed": (
                with_weight(lambda m: m.base.weight + m.scaling * product(m).T),
                "the update is transposed",
            ),
            "all of it transposed": (
                with_weight(lambda m: (m.base.weight + m.scaling * product(m)).T),
                "all of it is transposed: nn.Linear(k, d) holds (d, k)",
            ),
            "element by element": (
                with_weight(lambda m: m.base.weight + m.scaling * m.lora_A * m.lora_B),
                "off: to W0 add scaling, times lora_B @ lora_A",
            ),
            "recorded": (recorded, "with torch.no_grad():"),
            "assigned": (assigned, "raises TypeError: cannot assign"),
            "float32": (lambda m: fresh(m, dtype=torch.float32), "is (4, 4) of torch.float32"),
            "another bias": (fresh, "its bias is not that of base: nn.Linear draws one"),
            "no bias": (lambda m: fresh(m, bias=False), "the bias of base is missing"),
            "the page's base": (of_the_page, "Here base is 4 × 4: is the page's one in it?"),
            "in place": (in_place, "its base holds the update, and layer adds it once more"),
            "strips cleared": (clears, "its strips hold other numbers now"),
            "outputs first": (outputs_first, "the inputs first: that is (5, 3), not (3, 5)"),
            "a weight": (lambda m: right(m).detach(), "that is a weight"),
            "the layer": (lambda m: m, "that is the LoRA layer"),
            "a function": (lambda m: m.forward, "return an nn.Linear, got method"),
            "no return": (loses_return, "is the `return` missing?"),
        },
    ),
    checks.check_smallest_rank: (
        rank(),
        {
            "without inputs": (
                over(lambda x, delta: 2, alone),
                "x with its columns in another order: floors belong to x @ delta.T",
            ),
            "without inputs, over n": (rank(alone), "floors belong to x @"),
            "no 2n": (over(lambda x, delta: 1), "divide by 2n, n = len(x), not by 1"),
            "over n": (over(lambda x, delta: len(x)), "n = len(x), not by n"),
            "over 2": (over(lambda x, delta: 2), "n = len(x), not by 2"),
            "n is k": (over(lambda x, delta: 2 * x.shape[1]), "not by twice k"),
            "n is d": (over(lambda x, delta: 2 * len(delta)), "not by twice d"),
            "the page's n": (over(lambda x, delta: 200), "not by twice the page's n"),
            "no squares": (rank(power=1), "squares: σ², not σ"),
            "a root": (rooted, "without its root"),
            "each alone": (largest_left, "all that is left counts together"),
            "one too many": (one_early, "one fewer would do"),
            "one too few": (index_from_one, "one too few: do you count directions, or take"),
            "the sum, squared": (square_of_sum, "first square each σ"),
            "kept": (kept, "that adds up what r directions keep"),
            "upwards": (rank(lambda *a: values(*a)[::-1]), "svd gives the largest σ first"),
            "a share": (a_share, "the floor is a loss, not a share of one"),
            "a mean": (a_mean, "the mean of what is left is not over n"),
            "below": (
                below,
                "for loss = 0 it says None, not 4: floors must be <= loss, and from",
            ),
            "below, or all": (lambda *a: below(*a) or 4, "`at most` is <=, not <"),
            "the floor": (the_floor, "that is the floor: return its r"),
            "of the page": (
                of_a_table,
                "it says 3 for loss = 0.572, and again for a delta of rank 1, where 1 will do",
            ),
            "few are tried": (
                few_ranks,
                "it says 5, not 4: floors must be <= loss, and from r = 1 on are 8.53, 0.53,",
            ),
            "from zero": (from_zero, "it says 0: no adapter has a rank below 1"),
            "full rank left out": (
                full_rank_left_out,
                "from r = 1 on are 8.53, 0.53, 0.125, 0. It never returns 4",
            ),
            "always 3": (
                lambda *_: 3,
                "it says 3 for loss = 25.6, and again for a delta of rank 1",
            ),
            "no return": (loses_return, "it returned None, whatever the loss"),
            "a list": (lambda *a: [rank()(*a)], "one rank is asked for, got shape (1,)"),
        },
    ),
}
