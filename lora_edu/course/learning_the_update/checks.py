"""Checks: a step by hand, a layer to repair, merge, the smallest rank that will do."""

import copy
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    got_A, got = numbers(lora_A, "lora_A").ravel(), numbers(lora_B, "lora_B").ravel()
    for name, value in (("lora_A", got_A), ("lora_B", got)):
        assert value.size == 2, f"{name} holds two numbers, got {value.size}"
    swapped = np.allclose(got_A, right) and np.allclose(got, right_A)
    assert not swapped, "the two are swapped: lora_A comes first"
    old_B, old_slope = np.array([2, 1]), (X + 3 * np.array([2, 1]) - T) * 3
    slips = {
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
        "those are rounded: whole numbers are not asked for": right.round(),
        "it has not moved: its slope is G times h, and neither is 0": 0 * right,
    }
    for why, slip in slips.items():
        assert not np.allclose(got, slip), f"lora_B: got {_list(got)}: {why}"
    fits = np.isclose(got, right)
    assert fits.all(), (
        f"lora_B: got {_list(got)}, {fits.sum()} of them right. Three numbers make a step: "
        "G = y - t, h = A x, and lr = 0.1. Which of them is another with you?"
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


@check
@torch.random.fork_rng()
def check_repaired(repaired: Callable) -> None:
    """``repaired(base, r, lora_alpha)`` is a Suspect that starts at W0 and trains A and B alone."""
    torch.manual_seed(0)
    base = nn.Linear(4, 6, dtype=torch.float64)
    x, t = torch.randn(20, 4, dtype=torch.float64), torch.randn(20, 6, dtype=torch.float64)
    layer = call(repaired, base=base, r=2, lora_alpha=8)
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


@check
@torch.random.fork_rng()
def check_merge(merge: Callable) -> None:
    """``merge(layer)`` is a new nn.Linear with the outputs of layer, a LoRA."""
    torch.manual_seed(0)
    for d, k, r, bias in [(4, 4, 4, False), (5, 3, 2, True)]:
        layer = Suspect(nn.Linear(k, d, bias, dtype=torch.float64), r, lora_alpha=5 * r)
        layer.base.requires_grad_(False)
        layer.lora_A = nn.Parameter(layer.lora_A)
        W0, A, B = (p.detach().clone() for p in (layer.base.weight, layer.lora_A, layer.lora_B))
        delta = B @ A
        try:
            merged = call(merge, layer=layer)
        except AssertionError as error:
            graph = re.search("non-leaf|leaf Variable", str(error))
            assert not graph, "PyTorch records what you do to the weight: `with torch.no_grad():`"
            alien = d == k and "size" in str(error)  # for all matrices of this layer are square
            hint = ". Here base is 4 × 4: is the page's one in it?" * alien
            raise AssertionError(f"{error}{hint}") from None
        assert not isinstance(merged, Tensor), "that is a weight: return an nn.Linear that has it"
        assert not isinstance(merged, Suspect), "that is the LoRA layer: return a plain nn.Linear"
        assert type(merged) is nn.Linear, f"return an nn.Linear, got {type(merged).__name__}"
        W = merged.weight
        shape = f"its weight is {tuple(W.shape)} of {W.dtype}, that of base {(d, k)} of {W0.dtype}"
        assert (W.shape, W.dtype) == (W0.shape, W0.dtype), shape
        sizes = merged.in_features, merged.out_features
        assert sizes == (k, d), f"nn.Linear takes the inputs first: that is {sizes}, not {(k, d)}"
        assert W.is_leaf, "its weight remembers how it was made: use `with torch.no_grad():`"
        s = ((W - W0) * delta).sum().item() / (delta * delta).sum().item()
        why = f"lora_B @ lora_A is added {s:.3g} times, and should be scaling = 5 times (r = {r})"
        assert not torch.allclose(W - W0, s * delta) or round(s, 6) == 5, why
        slips = {"W0 is missing": 5 * delta, "scaling is of the update alone": 5 * (W0 + delta)}
        if d == k:
            slips["that is lora_A @ lora_B; ΔW is lora_B @ lora_A"] = W0 + 5 * A @ B
            slips["the update is transposed"] = W0 + 5 * delta.T
            slips["all of it is transposed: nn.Linear(k, d) holds (d, k)"] = (W0 + 5 * delta).T
        for why, slip in slips.items():
            assert not torch.allclose(W, slip), why
        off = (W - W0 - 5 * delta).abs().max().item()
        near = f"its weight is up to {off:.2g} off: to W0 add scaling, times lora_B @ lora_A"
        assert torch.allclose(W, W0 + 5 * delta), near
        own, kept = ([0] * d if b is None else b.tolist() for b in (merged.bias, layer.base.bias))
        assert any(own) or not bias, "the bias of base is missing"
        assert own == kept, "its bias is not that of base: nn.Linear draws one at random"
        assert torch.equal(layer.base.weight, W0), (
            "layer has changed: its base holds the update, and layer adds it once more. Copy base"
        )
        strips, after = (torch.cat([a, b.T], 1) for a, b in ((A, B), (layer.lora_A, layer.lora_B)))
        assert torch.equal(after, strips), "layer has changed: its strips hold other numbers now"


# -- the smallest rank ---------------------------------------------------------------------------


def _floors(values: NDArray) -> NDArray:
    """Return the sums of values[r:], for r from 1 to all of them."""
    return np.array([values[r:].sum() for r in range(1, len(values) + 1)])


@check
def check_smallest_rank(smallest_rank: Callable) -> None:
    """``smallest_rank(delta, x, loss)``: the least r ≥ 1 whose floor is at most loss."""
    n, d, k = 40, 4, 6
    delta = np.eye(d, k) * (5, 4, 3, 2, 0, 0)  # four directions, each of one input
    rng = np.random.default_rng(0)
    x = np.linalg.qr(rng.standard_normal((n, k)))[0] * n**0.5 * (0.1, 3, 0.3, 2, 1, 1)
    seen = np.array([12, 4, 0.9, 0.5]) * n**0.5  # the singular values of x delta.T
    tail = seen**2 / (2 * n)
    none, floors = tail.sum(), _floors(tail)  # of r = 0; of r = 1, 2, 3, 4
    sizes = (3, 1.08, 0.999, 0.93, 0.6)
    losses = [round(floor * size, 4) for floor in floors[:3] for size in sizes]
    losses += [2.5 * none, 1.1 * none, 0]  # 0: only full rank will do, and it exactly

    def least(floors: Iterable[float]) -> NDArray:
        least = [[r for r, floor in enumerate(floors, 1) if floor <= loss] for loss in losses]
        return np.array([ranks[0] if ranks else np.nan for ranks in least])

    def ask(delta: NDArray, x: NDArray = x) -> NDArray:
        got = []
        for loss in losses:
            try:
                r = numbers(call(smallest_rank, delta=delta, x=x, loss=loss), "the rank")
            except AssertionError as error:
                if "returned None" not in str(error):
                    raise
                r = np.array(np.nan)
            assert not r.ndim, f"one rank is asked for, got shape {r.shape}"
            got.append(float(r))
        return np.array(got)

    over = {"1": 1, "2": 2, "n": n, "twice d": 2 * d, "twice k": 2 * k, "twice the page's n": 200}
    slips = {f"divide by 2n, n = len(x), not by {m}": floors * 2 * n / v for m, v in over.items()}
    slips |= {
        "the floor adds up squares: σ², not σ": _floors(seen / (2 * n)),
        "first square each σ, then add": _floors(seen) ** 2 / (2 * n),
        "the floor is the sum of squares, without its root": np.sqrt(floors),
        "all that is left counts together, not each σ alone": [*tail[1:], 0],
        "the floor is the sum of what is left, not its mean": floors / (3, 2, 1, 1),
        "the mean of what is left is not over n: take the sum, over 2n": n * floors / (3, 2, 1, 1),
        "that adds up what r directions keep: σ[r:] is what they leave": np.cumsum(tail),
        "svd gives the largest σ first: what r directions leave is σ[r:]": _floors(tail[::-1]),
        "the floor is a loss, not a share of one": floors / none,
        "one fewer would do: after r directions σ[r:] is left": [none, *floors],
        "one too few: do you count directions, or take an index?": floors[1:],
    }  # fmt: skip
    got, want = ask(delta), least(floors)
    assert not np.isnan(got).all(), "it returned None, whatever the loss: is the `return` missing?"
    if np.nanmax(got) > 1 and not np.array_equal(got, want):
        top = np.nanargmax(got)
        says = f"it says {got[top]:g} for loss = {losses[top]:.3g}, and again for"
        assert not np.array_equal(got, ask(delta * np.eye(d)[:, :1]), equal_nan=True), (
            f"{says} a delta of rank 1, where 1 will do: does it look at the delta that comes in?"
        )
        assert not np.array_equal(got, ask(delta, x[:, ::-1].copy()), equal_nan=True), (
            f"{says} x with its columns in another order: floors belong to x @ delta.T, not to ΔW"
        )
    for why, slip in slips.items():  # of what says 0, too
        assert not np.array_equal(np.maximum(got, 1)[:-1], least(slip)[:-1], equal_nan=True), why
    assert not np.allclose(got, floors[want.astype(int) - 1]), "that is the floor: return its r"
    told = ", ".join(f"{floor:.3g}" for floor in floors)
    never = "".join(f". It never returns {r:g}" for r in sorted({*want} - {*got})[:1])
    for loss, r, right in zip(losses, got, want, strict=True):
        says = f"for loss = {loss:.3g} it says {'None' if np.isnan(r) else f'{r:g}'}"
        assert not r < 1, f"{says}: no adapter has a rank below 1"
        assert r == right, (
            f"{says}, not {right:g}: floors must be <= loss, and from r = 1 on are {told}{never}"
        )
    assert ask(0 * delta)[-1] == 1, "if delta and loss are 0, 1 will do: `at most` is <=, not <"
