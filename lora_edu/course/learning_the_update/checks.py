"""Checks: a step by hand, a layer to repair, merge, the smallest rank that will do."""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lora_edu.course.checks import call, check, numbers
from lora_edu.files import one_line

# -- questions ------------------------------------------------------------------------------------


def same_as(curves: Mapping[str, Sequence[float]]) -> str:
    """Say which of the doubled rates gives the losses that α = 8 gives."""
    for name in ("A", "B", "both"):
        words = "both rates" if name == "both" else f"the rate of {name}"
        if np.allclose(curves["α = 8"], curves[f"α = 4, {words} doubled"], rtol=1e-3):
            return name
    return "none"


# -- a step by hand ------------------------------------------------------------------------------

X, A, T, LR = np.array([1, 2]), np.array([1, 1]), np.array([6, 6]), 0.1  # W0 changes nothing


@check
def check_step(lora_A: Any, lora_B: Any) -> None:
    """Each is two numbers: the strips after one step from B = 0."""
    G, right_A = X - T, A  # from lora_B = 0, lora_A does not move
    right = -LR * G * (A @ X)
    got_A, got = (numbers(given, name) for given, name in ((lora_A, "lora_A"), (lora_B, "lora_B")))
    for name, value in (("lora_A", got_A), ("lora_B", got)):
        assert value.size == 2, f"{name} holds two numbers, got {value.size}"
    got_A, got = got_A.ravel(), got.ravel()
    swapped = np.allclose(got_A, right) and np.allclose(got, right_A)
    assert not swapped, "the two are swapped: lora_A comes first"
    old_B, old_slope = np.array([2, 1]), (X + 3 * np.array([2, 1]) - T) * 3
    _none_of(got, "lora_B", {
        "the sign: a step goes against the slope": -right,
        "that is the slope: a step goes lr = 0.1 times it, downhill": -right / LR,
        "the slope against its sign, but not times lr = 0.1": right / LR,
        "that is lr times G: where is h, which B multiplies?": -LR * G,
        "that is lr times G: where is h, and which way is downhill?": LR * G,
        "h is A x = 3, not x": -LR * G * X,
        "h is a sum, 1 + 2 = 3": -LR * G * 2,
        "each output has an error of its own": right[[0, 0]],
        "this B starts at zero, not at the (2, 1) of the example": old_B - LR * old_slope,
        "B starts at zero here: there is nothing to add to": old_B + right,
        "G is y - t, and with B = 0 y is x alone": -LR * old_slope,
        "G is y - t, and y is x here, not 0": LR * T * (A @ X),
        "the loss halves the squares: the slope is y - t times h, not twice that": 2 * right,
        "the loss is a sum over the outputs, not their mean": right / 2,
        "that is after two steps": right - LR * (X + 3 * right - T) * 3,
        "the other way round: the upper output comes first": right[::-1],
        "it has not moved: its slope is G times h, and neither is 0": 0 * right,
    })  # fmt: skip
    assert np.allclose(got, right), (
        f"lora_B: got {_list(got)}. Three numbers make a step: G = y - t, h = A x, and lr = 0.1. "
        "Which of them is another with you?"
    )
    _none_of(got_A, "lora_A", {"that is its change: where is it now?": 0 * right_A})
    assert np.allclose(got_A, right_A), (
        f"lora_A: got {_list(got_A)}. Its slope has B as a factor. What is B before the step?"
    )


def _none_of(got: NDArray, name: str, slips: Mapping[str, NDArray]) -> None:
    for why, slip in slips.items():
        assert not np.allclose(got, slip), f"{name}: got {_list(got)}: {why}"


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


@check
@torch.random.fork_rng()
def check_repaired(repaired: Callable) -> None:
    """``repaired(base, r, lora_alpha)`` is a Suspect that starts at W0 and trains A and B alone."""
    torch.manual_seed(0)
    d, k, r = 6, 4, 2
    base = nn.Linear(k, d, dtype=torch.float64)
    x, t = torch.randn(20, k, dtype=torch.float64), torch.randn(20, d, dtype=torch.float64)
    layer = call(repaired, base=base, r=r, lora_alpha=8)
    kind = type(layer).__name__
    assert isinstance(layer, Suspect), f"repair the Suspect, and return it, got {kind}"
    try:
        _examine(layer, base, r, x, t)
    except (RuntimeError, AttributeError) as error:
        raise AssertionError(f"it cannot be trained: {one_line(error)}") from None


def _examine(layer: Suspect, base: nn.Linear, r: int, x: Tensor, t: Tensor) -> None:
    (d, k), strips = base.weight.shape, {"lora_A": layer.lora_A, "lora_B": layer.lora_B}
    shapes = [tuple(strip.shape) for strip in strips.values()]
    assert shapes == [(r, k), (d, r)], (
        f"lora_A and lora_B have shapes {shapes}, not {(r, k)} and {(d, r)}: make a new Suspect, "
        "of the base and the r that you are given"
    )
    assert layer.scaling == 4, f"scaling was right, lora_alpha / r = 4, and is {layer.scaling:g}"
    assert torch.equal(layer.base.weight, base.weight), "W0 itself has other numbers now"
    off = (layer(x) - base(x)).abs().max().item()
    assert off < 1e-9, (
        f"before any training its outputs are {off:.2g} off those of the base: where does the "
        "update start?"
    )
    ranks = {name: int(torch.linalg.matrix_rank(strip.detach())) for name, strip in strips.items()}
    assert any(ranks.values()), "both strips are zero: nothing will ever move"
    high = max(ranks.values())
    assert high == r, f"the strip that is not zero has rank {high} only: draw it at random"
    before = {name: strip.detach().clone() for name, strip in strips.items()}
    trains = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    assert trains, "nothing trains any more: which two should?"
    optimizer = torch.optim.SGD(trains, lr=0.05)
    for _ in range(3):
        loss = ((layer(x) - t) ** 2).sum() / 40
        optimizer.zero_grad()
        loss.backward()
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


@check
@torch.random.fork_rng()
def check_merge(merge: Callable) -> None:
    """``merge(layer)`` is a new nn.Linear with the outputs of layer, a LoRA."""
    torch.manual_seed(0)
    for d, k, r, bias in [(4, 4, 4, False), (5, 3, 2, True)]:
        layer = Suspect(nn.Linear(k, d, bias, dtype=torch.float64), r, lora_alpha=5 * r)
        layer.base.requires_grad_(False)
        layer.lora_A = nn.Parameter(layer.lora_A)
        W0, delta = layer.base.weight.clone(), (layer.lora_B @ layer.lora_A).detach()
        strips = torch.cat([layer.lora_A, layer.lora_B.T], dim=1).detach()
        try:
            merged = call(merge, layer=layer)
        except AssertionError as error:
            graph = re.search("non-leaf|leaf Variable", str(error))
            assert not graph, "PyTorch records what you do to the weight: `with torch.no_grad():`"
            raise
        kind = type(merged)
        assert not isinstance(merged, Tensor), "that is a weight: return an nn.Linear that has it"
        assert kind is not Suspect, "that is the LoRA layer: return a plain nn.Linear"
        assert kind is nn.Linear, f"return an nn.Linear, got {kind.__name__}"
        W = merged.weight
        shape = f"its weight is {tuple(W.shape)} of {W.dtype}, that of base {(d, k)} of {W0.dtype}"
        assert (W.shape, W.dtype) == (W0.shape, W0.dtype), shape
        sizes = merged.in_features, merged.out_features
        assert sizes == (k, d), f"nn.Linear takes the inputs first: that is {sizes}, not {(k, d)}"
        assert W.is_leaf, "its weight remembers how it was made: use `with torch.no_grad():`"
        slips = {
            "that is the base alone: add the update to its weight": W0,
            "scaling is missing": W0 + delta,
            "scaling stands in it twice": W0 + 25 * delta,
            "that divides by scaling": W0 + delta / 5,
            "scaling is lora_alpha / r already: do not divide by r again": W0 + 5 * delta / r,
            "W0 is missing": 5 * delta,
            "the update is subtracted": W0 - 5 * delta,
            "scaling belongs to the update, not to W0": 5 * (W0 + delta),
            "the update is in it twice": W0 + 10 * delta,
        }
        if d == k:
            turned = (layer.lora_A @ layer.lora_B).detach()
            slips["that is lora_A @ lora_B; ΔW is lora_B @ lora_A"] = W0 + 5 * turned
            slips["the update is transposed"] = W0 + 5 * delta.T
        for why, slip in slips.items():
            assert not torch.allclose(W, slip), why
        off = (W - W0 - 5 * delta).abs().max().item()
        assert torch.allclose(W, W0 + 5 * delta), (
            f"its weight is up to {off:.2g} off. To W0 add scaling, times the product of the strips"
        )
        own = None if merged.bias is None else merged.bias.tolist()
        kept = layer.base.bias.tolist() if bias else None
        assert own == kept, "its bias should be that of the base, or None where that has none"
        assert torch.equal(layer.base.weight, W0), (
            "layer has changed: its base holds the update now, and layer adds it once more. Make a "
            "new nn.Linear, a copy of base"
        )
        after = torch.cat([layer.lora_A, layer.lora_B.T], dim=1)
        assert torch.equal(after, strips), "layer has changed: its strips hold other numbers now"


# -- the smallest rank ---------------------------------------------------------------------------


def _least(tail: NDArray, loss: float) -> int:
    """Return the first r ≥ 1 for which the sum of tail[r:] is at most loss."""
    return max(1, sum(tail[r:].sum() > loss for r in range(len(tail))))


@check
def check_smallest_rank(smallest_rank: Callable) -> None:
    """``smallest_rank(delta, x, loss)``: the least r ≥ 1 whose floor is at most loss."""
    n, d, k = 40, 4, 6
    delta = np.eye(d, k) * (5, 4, 3, 2, 0, 0)  # four directions, each of one input
    rng = np.random.default_rng(0)
    x = np.linalg.qr(rng.standard_normal((n, k)))[0] * n**0.5 * (0.1, 3, 0.3, 2, 1, 1)
    seen = np.array([12, 4, 0.9, 0.5]) * n**0.5  # the singular values of x delta.T
    tail, alone = seen**2 / (2 * n), np.array([5, 4, 3, 2.0])
    floors = [tail[r:].sum() for r in range(d)]  # of r = 0, 1, 2, 3
    losses = [floor * size for floor in floors[1:] for size in (3, 1.08, 0.93, 0.6)]
    losses.append(1.1 * floors[0])
    want = [_least(tail, loss) for loss in losses]
    tails = {
        "floors belong to what the update does to these inputs, not to ΔW alone": alone**2 / 2,
        "n belongs to the inputs: take the spectrum of what the update does to them": (
            alone**2 / (2 * n)
        ),
        "divide by 2n, as the loss does": seen**2,
        "divide by 2n, not by n": seen**2 / n,
        "divide by 2n, not by 2": seen**2 / 2,
        "n is the number of examples, len(x), and not that of inputs": seen**2 / (2 * k),
        "n is the number of examples, len(x), and not that of outputs": seen**2 / (2 * d),
        "the floor adds up squares: σ², not σ": seen / (2 * n),
    }
    slips = {why: [_least(tail, loss) for loss in losses] for why, tail in tails.items()}
    slips |= {
        "all that is left counts together, not each σ alone": (
            [max(1, int(np.sum(tail > loss))) for loss in losses]
        ),
        "the floor is the sum of squares, without its root": (
            [max(1, int(np.sum(np.sqrt(floors) > loss))) for loss in losses]
        ),
        "one fewer would do: after r directions σ[r:] is left": [r + 1 for r in want],
        "one too few: do you count directions, or take an index?": [max(1, r - 1) for r in want],
    }
    got = []
    for loss in losses:
        r = numbers(call(smallest_rank, delta=delta, x=x, loss=loss), "the rank")
        assert not r.ndim, f"one rank is asked for, got shape {r.shape}"
        got.append(float(r))
    for why, slip in slips.items():
        assert got[:-1] != slip[:-1], why
    told = ", ".join(f"{floor:.3g}" for floor in [*floors[1:], 0])
    for loss, r, right in zip(losses, got, want, strict=True):
        assert r >= 1, f"for loss = {loss:.3g} it says {r:g}: no adapter has a rank below 1"
        assert r == right, (
            f"for loss = {loss:.3g} it says {r:g}, and should say {right}: the floors from r = 1 "
            f"on are {told}"
        )
