"""Checks: a step by hand, a layer to repair, merge, the smallest rank that will do."""

import copy
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lora_edu.course import checks as tools
from lora_edu.files import one_line

# -- questions ------------------------------------------------------------------------------------


def same_as(curves: Mapping[str, Sequence[float]]) -> str:
    """Say which of the doubled rates gives the losses that α = 8 gives."""
    rates = {"A": "the rate of A", "B": "the rate of B", "both": "both rates"}
    for name, words in rates.items():
        if np.allclose(curves["α = 8"], curves[f"α = 4, {words} doubled"], rtol=1e-3):
            return name
    return "none"


# -- a step by hand ------------------------------------------------------------------------------

X, A, T, LR = np.array([1, 2]), np.array([1, 1]), np.array([6, 6]), 0.1  # W0 changes nothing


# What makes a step of another length or sense: how many times the right one it is.
FACTORS = {
    -1: "the sign: a step goes against the slope",
    -10: "that is the slope: a step goes lr = 0.1 times it, downhill",
    10: "the slope against its sign, but not times lr = 0.1",
    1 / 3: "that is lr times G: where is h, which B multiplies?",
    -1 / 3: "that is lr times G: where is h, and which way is downhill?",
    2 / 3: "h is a sum, 1 + 2 = 3",
    2: "the loss halves the squares: the slope is y - t times h, not twice that",
    1 / 2: "the loss is a sum over the outputs, not their mean",
    0: "it has not moved: its slope is G times h, and neither is 0",
}


@tools.check
def check_step(lora_A: Any, lora_B: Any) -> None:
    """Each is two numbers: the strips after one step from B = 0."""
    right_A, right = A, -LR * (X - T) * (A @ X)  # from lora_B = 0, lora_A does not move
    got_A, got = tools.numbers(lora_A, "lora_A").ravel(), tools.numbers(lora_B, "lora_B").ravel()
    for name, strip in {"lora_A": got_A, "lora_B": got}.items():
        assert strip.size == 2, f"{name} holds two numbers, got {strip.size}"
    swapped = np.allclose([got_A, got], [right, right_A])
    assert not swapped, "the two are swapped: lora_A comes first"
    old_B, old_slope = np.array([2, 1]), (X + 3 * np.array([2, 1]) - T) * 3
    slips = [
        *((why, factor * right) for factor, why in FACTORS.items()),
        ("h is A x = 3, not x", -LR * (X - T) * X),
        ("each output has an error of its own", right[[0, 0]]),
        ("this B starts at zero, not at the (2, 1) of the example", old_B - LR * old_slope),
        ("B starts at zero here: there is nothing to add to", old_B + right),
        ("G is y - t, and with B = 0 y is x alone", -LR * old_slope),
        ("G is y - t, and y is x here, not 0", LR * T * (A @ X)),
        ("that is after two steps", right - LR * (X + 3 * right - T) * 3),
        ("the other way round: the upper output comes first", right[::-1]),
        ("that is the (2, 1) of the example: here B starts at zero, nor is it rounded", old_B),
        ("those are rounded: whole numbers are not asked for", right.round()),
    ]
    asked = f"lora_B: got {_list(got)}"
    tools.slip(got, slips, f"{asked}: ")
    fits = np.isclose(got, right)
    assert fits.all(), (
        f"{asked}, {fits.sum()} of them right. Three numbers make a step: G = y - t, h = A x, and "
        "lr = 0.1. Which of them is another with you?"
    )
    assert got_A.any(), "lora_A: got [0, 0]: that is its change: where is it now?"
    assert np.allclose(got_A, right_A), (
        f"lora_A: got {_list(got_A)}. Its slope has B as a factor. What is B before the step?"
    )


def _list(values: NDArray) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"


# -- a layer to repair ---------------------------------------------------------------------------


class Suspect(nn.Module):
    """A LoRA layer whose loss falls, and with which three things are wrong (see the exercise)."""

    def __init__(self, base: nn.Linear, r: int, lora_alpha: float) -> None:
        super().__init__()
        d, k = base.weight.shape
        self.base = copy.deepcopy(base).requires_grad_()  # wrong: it trains, too
        self.lora_A = torch.randn(r, k).to(base.weight) / k**0.5  # wrong: no parameter
        self.lora_B = nn.Parameter(torch.randn(d, r).to(base.weight) / r)  # wrong: not zero
        self.scaling = lora_alpha / r

    def forward(self, x: Tensor) -> Tensor:
        """Return y, (..., d), for x, (..., k)."""
        return self.base(x) + self.scaling * (x @ self.lora_A.T) @ self.lora_B.T


@tools.check
@torch.random.fork_rng()
def check_repaired(repaired: Callable) -> None:
    """``repaired(base, r, lora_alpha)`` is a Suspect that starts at W0 and trains A and B alone."""
    torch.manual_seed(0)
    base = nn.Linear(4, 6, dtype=torch.float64)
    x, t = torch.randn(20, 4, dtype=torch.float64), torch.randn(20, 6, dtype=torch.float64)
    layer = tools.call(repaired, base=base, r=2, lora_alpha=8)
    assert isinstance(layer, Suspect), f"return a Suspect, repaired: got {type(layer).__name__}"
    try:
        _examine(layer, base, 2, x, t)
    except (RuntimeError, AttributeError) as error:
        raise AssertionError(f"it cannot be trained: {one_line(error)}") from None


def _examine(layer: Suspect, base: nn.Linear, r: int, x: Tensor, t: Tensor) -> None:
    (d, k), strips = base.weight.shape, {"lora_A": layer.lora_A, "lora_B": layer.lora_B}
    shapes = [tuple(strip.shape) for strip in strips.values()]
    assert shapes == [(r, k), (d, r)], (
        f"lora_A and lora_B have shapes {shapes}, not {(r, k)} and {(d, r)}: is one of them turned "
        "over, or the Suspect not one of the base and the r that you are given?"
    )
    assert layer.scaling == 4, f"scaling was right, lora_alpha / r = 4, and is {layer.scaling:g}"
    assert torch.equal(layer.base.weight, base.weight), "W0 itself has other numbers now"
    off = (layer(x) - base(x)).abs().max().item()
    assert off < 1e-9, f"what you return starts {off:.2g} off the outputs of base: where should it?"
    high = max(int(torch.linalg.matrix_rank(strip.detach())) for strip in strips.values())
    assert high, "both strips are zero: nothing will ever move"
    assert high == r, f"the strip that is not zero has rank {high} only: draw it at random"
    before = {name: strip.detach().clone() for name, strip in strips.items()}
    trains = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    assert trains, "nothing trains any more: which two should?"
    optimizer = torch.optim.SGD(trains, lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        (((layer(x) - t) ** 2).sum() / 40).backward()
        optimizer.step()
    wish = "requires_grad" in vars(layer.base)
    assert not wish, "`requires_grad = …` on a module does nothing: write `requires_grad_(…)`"
    copied = layer.base.weight.requires_grad and not base.weight.requires_grad
    assert not copied, "you froze the base that came in: a Suspect has its own copy, `layer.base`"
    moved = (layer.base.weight - base.weight).abs().max().item()
    assert moved == 0, f"after three steps W0 has moved by {moved:.2g}: it should be frozen"
    still = [name for name, p in layer.base.named_parameters() if p.requires_grad]
    assert not still, f"of the base this still requires a gradient: {', '.join(still)}"
    for name in ("lora_B", "lora_A"):  # if lora_B stays zero, lora_A cannot move
        assert not torch.equal(getattr(layer, name), before[name]), (
            f"after three steps {name} has not moved. Is it among layer.parameters(), from where "
            "the optimizer takes what it trains? And does it require a gradient?"
        )


# -- merge ---------------------------------------------------------------------------------------


@tools.check
@torch.random.fork_rng()
def check_merge(merge: Callable) -> None:
    """``merge(layer)`` is a new nn.Linear with the outputs of layer, a LoRA."""
    torch.manual_seed(0)
    for d, k, r, bias in [(6, 6, 6, False), (5, 3, 2, True)]:
        layer = Suspect(nn.Linear(k, d, bias, dtype=torch.float64), r, lora_alpha=5 * r)
        layer.base.requires_grad_(False)
        layer.lora_A = nn.Parameter(layer.lora_A)
        W0, A, B = (p.detach().clone() for p in (layer.base.weight, layer.lora_A, layer.lora_B))
        merged = _merged(merge, layer, d == k)
        W = merged.weight
        shape = f"its weight is {tuple(W.shape)} of {W.dtype}, that of base {(d, k)} of {W0.dtype}"
        assert (W.shape, W.dtype) == (W0.shape, W0.dtype), shape
        sizes = merged.in_features, merged.out_features
        assert sizes == (k, d), f"nn.Linear takes the inputs first: that is {sizes}, not {(k, d)}"
        assert W.is_leaf, "its weight remembers how it was made: use `with torch.no_grad():`"
        strips = {"W0": W0.numpy(), "lora_A": A.numpy(), "lora_B": B.numpy()}
        others = tools.products(**strips) if d == k else {}
        parts = {"W0": W0.numpy(), "lora_B @ lora_A": (B @ A).numpy()}
        right, scaled = {"W0": 1, "lora_B @ lora_A": 5}, f" (r = {r}, scaling = 5)"
        tools.compare_sum(W.detach().numpy(), right, parts, others, scaled)
        own, kept = ([0] * d if b is None else b.tolist() for b in (merged.bias, layer.base.bias))
        assert any(own) or not bias, "the bias of base is missing"
        assert own == kept, "its bias is not that of base: nn.Linear draws one at random"
        assert torch.equal(layer.base.weight, W0), (
            "layer has changed: its base holds the update, and layer adds it once more. Copy base"
        )
        same = torch.equal(layer.lora_A, A) and torch.equal(layer.lora_B, B)
        assert same, "layer has changed: its strips hold other numbers now"


def _merged(merge: Callable, layer: Suspect, square: bool) -> nn.Linear:
    """Call the learner's function; refuse what is no plain nn.Linear."""
    try:
        merged = tools.call(merge, layer=layer)
    except AssertionError as error:
        recorded = re.search("non-leaf|leaf Variable", str(error))
        assert not recorded, "PyTorch records what you do to the weight: `with torch.no_grad():`"
        alien = square and "size" in str(error)  # for all matrices of this layer are square
        hint = ". Here base is 6 × 6: is the page's one in it?" if alien else ""
        raise AssertionError(f"{error}{hint}") from None
    assert not isinstance(merged, Tensor), "that is a weight: return an nn.Linear that has it"
    assert not isinstance(merged, Suspect), "that is the LoRA layer: return a plain nn.Linear"
    assert type(merged) is nn.Linear, f"return an nn.Linear, got {type(merged).__name__}"
    return merged


# -- the smallest rank ---------------------------------------------------------------------------


def _floors(values: NDArray) -> NDArray:
    """Return the sums of values[r:], for r from 1 to 3."""
    return np.array([values[r:].sum() for r in (1, 2, 3)])


@tools.check
def check_smallest_rank(smallest_rank: Callable) -> None:
    """``smallest_rank(delta, x, loss)``: the least r ≥ 1 whose floor is at most loss.

    Where its answer changes from r to more, there a floor of the learner's own is: these are found
    by bisection, and compared.
    """
    n, d, k = 40, 4, 6
    delta = np.eye(d, k) * (5, 4, 3, 2, 0, 0)  # four directions, each of one input
    rng = np.random.default_rng(0)
    x = np.linalg.qr(rng.standard_normal((n, k)))[0] * n**0.5 * (0.1, 3, 0.3, 2, 1, 1)
    seen = np.array([12, 4, 0.9, 0.5]) * n**0.5  # the singular values of x delta.T
    tail = seen**2 / (2 * n)

    def ask(loss: float, delta: NDArray = delta, x: NDArray = x) -> int:
        r = tools.number(tools.call(smallest_rank, delta=delta, x=x, loss=loss), "the rank")
        says = f"for loss = {loss:.3g} it says {r:.4g}"
        assert r == int(r), f"{says}, which is no rank: is it a floor? Return its r"
        assert r >= 1, f"{says}: no adapter has a rank below 1"
        return int(r)

    def floors(**others: NDArray) -> NDArray:
        return np.array([_edge(functools.partial(ask, **others), r) for r in (1, 2, 3)])

    ask(1e6)  # the first floor is below: without a result here, `return` is missing
    try:
        ranks = ask(0.01), ask(78.0)
    except tools.NoResultError as error:
        falls = "A floor is made of what r directions *leave*, σ[r:]: with r it falls, to 0"
        raise AssertionError(f"{error} {falls}") from None
    kept = f"rank {ranks[0]} for loss 0.01, and {ranks[1]} for 78, where fewer will do"
    assert ranks[0] >= ranks[1], f"{kept}: σ[:r] is what r directions keep, σ[r:] what they leave"

    got, right, left = floors(), _floors(tail), (3, 2, 1)
    told = f"your floors for r = 1, 2, 3 are {got.round(4)}"
    if not np.allclose(got, right):
        others = {"delta": delta * np.eye(d)[:, :1], "x": x[:, ::-1].copy()}
        same = [name for name, other in others.items() if np.allclose(floors(**{name: other}), got)]
        assert not same, f"{told} whatever {' and '.join(same)} may be: they are of x @ delta.T"
    slips = [
        ("the floor adds up squares: σ², not σ", _floors(seen / (2 * n))),
        ("first square each σ, then add", _floors(seen) ** 2 / (2 * n)),
        ("the floor is the sum of squares, without its root", right**0.5),
        ("the floor is the sum of squares over 2n, without a root", (right / (2 * n)) ** 0.5),
        ("all that is left counts together, not each σ alone", tail[1:]),
        ("the floor is the sum of what is left, not its mean", right / left),
        ("the mean of what is left is not over n: take the sum, over 2n", n * right / left),
        ("svd gives the largest σ first: what r directions leave is σ[r:]", _floors(tail[::-1])),
        ("the floor is a loss, not a share of one", right / tail.sum()),
        ("one fewer would do: after r directions σ[r:] is left", (tail.sum(), *right[:2])),
        ("one too few: do you count directions, or take an index?", (*right[1:], 0)),
    ]
    tools.slip(got, slips, f"{told}: ")
    if not np.allclose(got, right):
        times = got[0] / right[0]
        by = f"you divide by {2 * n / max(times, 1e-9):.4g}, and 2n is {2 * n} here, n = len(x)"
        factor = f"{told}, {times:.4g} times the right ones: {by}"
        assert not np.allclose(got, times * right), factor
        raise AssertionError(f"{told}, and should be {right.round(4)}: which are in them?")
    assert ranks == (4, 1), f"for loss = 0.01 and 78 it says {ranks}, not (4, 1)"
    for delta_now, full in ((delta, 4), (0 * delta, 1)):
        only = f"for loss = 0 and a delta of rank {full if full > 1 else 0}"
        try:
            r = ask(0.0, delta_now)
        except tools.NoResultError as error:
            raise AssertionError(f"{error} The last floor is 0: `at most` is <=") from None
        assert r == full, f"{only} it says {r}, not {full}: `at most` is <=, not <"


def _edge(ask: Callable[[float], int], r: int) -> float:
    """Return the loss up to which more than r is asked for, by bisection."""
    low, high = 1e-4, 1e6
    if ask(low) <= r:
        return 0.0
    if ask(high) > r:
        return np.inf
    for _ in range(40):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if ask(middle) > r else (low, middle)
    return high
