"""Checks: four descendants of LoRA, each its heart: a scale, two rates, a start, a form."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lora_edu.course import checks as tools


@tools.check
def check_plain_alpha(plain_alpha: Callable) -> None:
    """``plain_alpha(lora_alpha, r)``: with it, plain LoRA does what rsLoRA does with lora_alpha."""
    asked = {"lora_alpha": [6.3, 32.0, 5.0, 16.0, 1.5], "r": [10, 24, 3, 64, 7]}
    pairs = list(zip(*asked.values(), strict=True))
    got = np.array([tools.number(tools.call(plain_alpha, lora_alpha=a, r=r)) for a, r in pairs])
    right = asked["lora_alpha"] * np.sqrt(asked["r"])
    if np.allclose(got, right):
        return
    alpha, r = pairs[0]
    scales = f"rsLoRA scales by {alpha} / √{r} = {alpha / r**0.5:.4g}"
    yours = f"lora_alpha = {alpha}, r = {r}: {scales}, plain LoRA with yours by {got[0] / r:.4g}"
    assert not tools.lost_digits(got, right), f"{yours}: is something rounded or cut?"
    logs = asked | {"log2(r)": np.log2(asked["r"])}
    made = tools.as_product(got, asked) or tools.as_product(got, logs)
    if made and "^" not in made and "log" not in made:
        made += " (in Python r**1/2 is r/2, and r**(1//2) is 1)"
    raise AssertionError(f"{yours}{f'. Yours is {made}' if made else ''}")


SHAPES = {  # of a small model with LoRA, a gate and a head; in no order that helps
    "embed.weight": (3, 4), "fc1.base.weight": (4, 4), "fc1.lora_B": (4, 2), "fc1.lora_A": (2, 4),
    "gate.B": (4,), "net.fc2.lora_A": (2, 4), "net.fc2.lora_B": (4, 2),
    "net.fc2.base.weight": (4, 4), "head.weight": (5, 4), "fc3.lora_B": (4, 2),
}  # fmt: skip
FROZEN = ("embed.weight", "fc1.base.weight", "net.fc2.base.weight", "fc3.lora_B")


def _rates(
    answer: Callable, given: Any, lr: float, ratio: float, named: list[tuple[str, nn.Parameter]]
) -> dict[str, float]:
    """Return the rate at which each parameter is to learn, by name; refuse what holds none."""
    groups = tools.call(answer, named=given, lr=lr, ratio=ratio)
    for name, parameter in named:
        same = parameter.requires_grad == (name not in FROZEN) and bool((parameter == 1).all())
        assert same, f"{name!r} itself was changed: only sort the parameters"
    if not isinstance(groups, (dict, str, Tensor)) and hasattr(groups, "__iter__"):
        groups = list(groups)
    whole = isinstance(groups, list) and all(isinstance(group, dict) for group in groups)
    form = '{"params": …, "lr": …}'
    assert whole, f"return a list of groups, each {form}, got {type(groups).__name__}"
    assert len({*map(id, groups)}) == len(groups), "one dictionary twice (2 * [{…}]?): make two"
    names = {id(parameter): name for name, parameter in named}
    found: dict[str, float] = {}
    for i, group in enumerate(groups):
        missing = {"params", "lr"} - group.keys()
        assert not missing, f"group {i} has no {missing.pop()!r}: each is {form}"
        rate = tools.number(group["lr"], '"lr"')
        params = group["params"]
        for parameter in [params] if isinstance(params, Tensor) else params or []:
            kind = f"params holds a {type(parameter).__name__}"
            assert isinstance(parameter, Tensor), f"{kind}: hand over the parameters alone"
            name = names.get(id(parameter))
            assert name, "params holds a tensor that is no parameter of the model"
            assert name not in found, f"{name} is in 2 groups: PyTorch would refuse"
            found[name] = rate
    return found


@tools.check
def check_loraplus_groups(loraplus_groups: Callable) -> None:
    """``loraplus_groups(named, lr, ratio)``: groups for an optimizer; lora_B learns faster."""
    for lr, ratio in ((0.5, 16.0), (0.25, 6.0)):
        model = {name: torch.ones(shape) for name, shape in SHAPES.items()}
        named = [(name, nn.Parameter(ones, name not in FROZEN)) for name, ones in model.items()]
        _check_rates(_rates(loraplus_groups, named, lr, ratio, named), lr, ratio)
        once = _rates(loraplus_groups, iter(named), lr, ratio, named)
        why = "model.named_parameters() can be gone through only 1 time: make a list of it first"
        assert len(once) == len(SHAPES) - len(FROZEN), why


def _check_rates(got: dict[str, float], lr: float, ratio: float) -> None:
    trains = [name for name in SHAPES if name not in FROZEN]
    assert len(got) > 1, f"in the groups is only {[*got]}: is the `return` inside the loop?"
    for name in SHAPES:
        assert name in trains or name not in got, f"{name!r} is frozen: nothing to optimise"
        like = [one for one in got if one[-6:] == name[-6:]]
        why = f"{[*got]}{': is a list made anew in a loop?' if like else ''}"
        assert name not in trains or name in got, f"{name!r} trains, and is in no group, only {why}"
    words = {
        16 * lr: f"that is 16 times lr, and ratio is {ratio:g} here",
        ratio * lr: "only a lora_B learns so fast",  # in place of the first, where ratio is 16
        lr: "lora_B learns at ratio * lr. Is it found? A name *ends* in lora_B",
        lr / ratio: "divided by ratio: lora_B is the faster one, at ratio * lr, the rest is at lr",
        ratio: "ratio *times* lr: that is ratio alone",
        lr + ratio: "ratio *times* lr: that is their sum",
    }
    for name in sorted(trains, key=lambda name: name.endswith("lora_B")):
        right, rate = ratio * lr if name.endswith("lora_B") else lr, got[name]
        why = next((f": {word}" for other, word in words.items() if np.isclose(rate, other)), "")
        assert np.isclose(rate, right), f"{name} has lr {rate:g}, not {right:g}{why}"


@tools.check
def check_pissa(pissa: Callable) -> None:
    """``pissa(W0, r, s)``: A (r, k), B (d, r) and the rest, W0 less s · B @ A."""
    for d, k, r, s in ((5, 5, 3, 0.3), (6, 5, 4, 2.0), (3, 6, 1, 0.7)):
        W0 = np.random.default_rng(1).normal(size=(d, k))
        A, B, rest = tools.several(tools.call(pissa, W0=W0, r=r, s=s), ("A", "B", "the rest"))
        A, B = tools.strips((A, B), d, k, r, f", for r = {r}")
        rest = tools.shaped(rest, (d, k), "the rest")
        tools.compare_cut(B @ A, W0, r, 1 / s)
        lengths = np.linalg.norm(A, axis=1), np.linalg.norm(B, axis=0)
        are = f"A's rows have lengths {lengths[0].round(2)}, B's columns {lengths[1].round(2)}"
        share = f"the product is right, but {are}: share σ / s, √(σ / s) in each"
        assert np.allclose(*lengths), share
        why = f" (s = {s}; what the strips hold has to leave W0, or the outputs change)"
        tools.compare_sum(rest, {"W0": 1, "B @ A": -s}, {"W0": W0, "B @ A": B @ A}, why=why)


@tools.check
def check_dora_weight(dora_weight: Callable) -> None:
    """``dora_weight(W0, lora_A, lora_B, scaling, magnitude)``: the rows of V, made so long."""
    rng = np.random.default_rng(0)
    for d, k, r, s in ((6, 6, 6, 3.0), (6, 3, 2, 0.5), (3, 5, 1, 2.0)):
        W0, A, B = (rng.normal(size=shape) for shape in ((d, k), (r, k), (d, r)))
        m = rng.permutation(d) + 2.0
        got = tools.call(dora_weight, W0=W0, lora_A=A, lora_B=B, scaling=s, magnitude=m)
        got, V = tools.shaped(got, (d, k), "W"), W0 + s * B @ A
        right = (m / _lengths(V))[:, None] * V
        if np.allclose(got, right):
            continue
        rounded = "W is right but for its digits: nothing is to be rounded"
        assert not tools.lost_digits(got, right), rounded
        if d == k and not np.allclose(_unit(got), _unit(V)):
            slips = {
                "W is turned round: an output is a row, so take .T": right.T,
                "in V it is W0, not W0.T": W0.T + s * B @ A,
            }
            for name, other in tools.products(lora_A=A, lora_B=B).items():
                slips[f"in V the update is not lora_B @ lora_A, but {name}"] = W0 + s * other
            tools.slip(got, slips.items(), of=_unit)
        _name_factors(got, W0, s * B @ A, s, m)
        raise AssertionError("row by row, W is not made of W0's row and of that of BA alone")


def _lengths(V: NDArray) -> NDArray:
    return np.linalg.norm(V, axis=1)  # (d,)


def _unit(V: NDArray) -> NDArray:
    return V / np.maximum(_lengths(V), 1e-12)[:, None]


def _name_factors(got: NDArray, W0: NDArray, delta: NDArray, s: float, m: NDArray) -> None:
    """Say of what the rows of W are made: of W0's and the update's, or of V with other lengths."""
    V, rows = W0 + delta, _lengths(W0 + delta)
    ratios = got / V
    on = np.ptp(ratios, axis=1).max() > 1e-4 and np.linalg.matrix_rank(ratios, 1e-4) == 1
    columns = "but m and ‖V‖ belong to rows: axis=1, and [:, None]"
    assert not on, f"a number lies on each *column* of V, {columns}"
    done = np.isclose(got, (m / rows)[:, None] * V).all(axis=1)
    ready = f"only rows {np.flatnonzero(done)} are done: is the `return` inside the loop?"
    assert not done.any(), ready
    parts = [
        tools.as_sum(row, {"W0": one, "BA": other})
        for row, one, other in zip(got, W0, delta / s, strict=True)
    ]
    if not all(parts):
        return
    first = f"row 0 of yours is {tools.told(parts[0])}"
    a, b = (np.array([part.get(name, 0) for part in parts]) for name in ("W0", "BA"))
    assert not np.allclose(a, m / rows - 1, atol=1e-4), f"{first}: return the weight, no change"
    assert a.any(), f"{first}: W0 is missing in V"
    mixed = b / np.where(a, a, 1)
    same = np.ptp(mixed) < 1e-3
    both = f"length {rows[0]:.3f} divides both, and m = {m[0]:g} multiplies both"
    assert same, f"{first}: add W0 and {s:g} · BA first, to V; its {both}"
    assert abs(mixed[0] - s) < 1e-3, (
        f"{first}: your V is W0 {mixed[0]:+.3g} · BA, and should be W0 {s:+.3g} · BA, for scaling "
        f"= {s:g}"
    )
    lengths = a * rows
    norms = {
        "the whole matrix: each row has its own": np.linalg.norm(V),
        "columns, laid on the rows: sum along axis=1": np.resize(_lengths(V.T), len(m)),
        "rows, but as a sum of absolute values": np.abs(V).sum(axis=1),
        "rows of W0 + BA: the scaling is in V, too": _lengths(W0 + delta / s),
        "rows of the update alone": _lengths(delta),
    }
    slips = [(of, (m / norm)[:, None] * V) for of, norm in norms.items()]
    tools.slip(got, slips, "that is the norm of ")
    made = tools.as_product(lengths, {"m": m, "‖V‖": rows, "‖W0‖": _lengths(W0)})
    raise AssertionError(
        f"the rows point right, but have lengths {lengths.round(3)}{f' = {made}' if made else ''}, "
        f"not m = {m}: V / ‖V‖ has length 1, m times it length m"
    )
