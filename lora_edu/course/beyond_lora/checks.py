"""Checks: four descendants of LoRA, each its heart: a scale, two rates, a start, a form."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lora_edu.course.checks import call, check, compare_named, compare_number, numbers


def _powers(values: Any, bases: dict[str, Any]) -> str:
    """Return the product of powers that all values are, as `` = 2 · m · V^-1``; else nothing."""
    made = np.log([*bases.values(), np.full(len(values), np.e)]).T
    if len(values) < len(bases) + 2 or not (np.multiply(values, values[0]) > 0).all():
        return ""
    wanted = np.log(np.abs(values))
    *powers, factor = found = np.linalg.pinv(made) @ wanted
    text = f" = {np.sign(values[0]) * np.exp(factor):.4g}"
    for name, power in zip(bases, np.round(powers, 3) + 0.0, strict=True):
        text += f" · {name}" * bool(power) + f"^{power:g}" * (power not in (0, 1))
    return text if np.allclose(made @ found, wanted, atol=1e-6) else ""


@check
def check_plain_alpha(plain_alpha: Callable) -> None:
    """``plain_alpha(lora_alpha, r)``: with it, plain LoRA does what rsLoRA does with lora_alpha."""
    for alpha, r in ((6.3, 10), (32.0, 24)):
        asked = {"alpha": [alpha, 2 * alpha, alpha, alpha], "r": [r, r, 2 * r, 4 * r]}
        got = [call(plain_alpha, lora_alpha=a, r=n) for a, n in zip(*asked.values(), strict=True)]
        root, values = r**0.5, [numbers(one, "the result").sum() for one in got]
        made, rule = _powers(values, asked), "rsLoRA's scale, alpha / √r, is to be yours / r"
        why = " (in Python r**1/2 is r/2, and r**(1//2) is 1)" if "^" not in made else ""
        wrong = {f"yours{made}, and should be alpha · r^0.5: {rule}{why}": got[0]} if made else {}
        if abs(values[0] / (alpha * root) - 1) < 0.06:
            wrong = {f"{values[0]:.5g} is nearly right: is something rounded or cut?": got[0]}
        compare_number(got[0], alpha * root, wrong, f"alpha = {alpha:g}, r = {r}: {rule}. Yours")


SHAPES = {  # of a small model with LoRA, a gate and a head; in no order that helps
    "embed.weight": (3, 4), "fc1.base.weight": (4, 4), "fc1.lora_B": (4, 2), "fc1.lora_A": (2, 4),
    "gate.B": (4,), "net.fc2.lora_A": (2, 4), "net.fc2.lora_B": (4, 2),
    "net.fc2.base.weight": (4, 4), "head.weight": (5, 4), "fc3.lora_B": (4, 2),
}  # fmt: skip
FROZEN = ("embed.weight", "fc1.base.weight", "net.fc2.base.weight", "fc3.lora_B")


def _rates(groups: Any, named: list[tuple[str, nn.Parameter]]) -> dict[str, float]:
    """Return the rate at which each parameter is to learn, by name; refuse what holds none."""
    assert groups is not None, "it returned None: is the `return` missing?"
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
        assert isinstance(group["lr"], (int, float)), f'"lr" is a number, got {group["lr"]!r}'
        params = group["params"]
        for parameter in [params] if isinstance(params, Tensor) else params or []:
            kind = f"params holds a {type(parameter).__name__}"
            assert isinstance(parameter, Tensor), f"{kind}: hand over the parameters alone"
            name = names.get(id(parameter))
            assert name, "params holds a tensor that is no parameter of the model"
            assert name not in found, f"{name} is in 2 groups: PyTorch would refuse"
            found[name] = float(group["lr"])
    return found


@check
def check_loraplus_groups(loraplus_groups: Callable) -> None:
    """``loraplus_groups(named, lr, ratio)``: groups for an optimizer; lora_B learns faster."""
    for lr, ratio in ((0.5, 16.0), (0.25, 6.0)):
        model = {name: torch.ones(shape) for name, shape in SHAPES.items()}
        named = [(name, nn.Parameter(ones, name not in FROZEN)) for name, ones in model.items()]
        _check_rates(_asked(loraplus_groups, named, lr, ratio), named, lr, ratio)
        once = _rates(_asked(loraplus_groups, iter(named), lr, ratio, named), named)
        why = "model.named_parameters() can be gone through only 1 time: make a list of it first"
        assert len(once) == len(SHAPES) - len(FROZEN), why


def _asked(answer: Callable, given: Any, lr: float, ratio: float, named: Any = None) -> Any:
    """Call the learner's function, and name what goes wrong on the way."""
    try:
        groups = answer(given, lr, ratio)
    except NotImplementedError:
        raise
    except Exception as error:
        raise AssertionError(f"it raises {type(error).__name__}: {error}") from None
    for name, parameter in named or given:
        same = parameter.requires_grad == (name not in FROZEN) and bool((parameter == 1).all())
        assert same, f"{name!r} itself was changed: only sort the parameters"
    return groups


def _check_rates(groups: Any, named: list, lr: float, ratio: float) -> None:
    got, trains = _rates(groups, named), [name for name in SHAPES if name not in FROZEN]
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


@check
def check_pissa(pissa: Callable) -> None:
    """``pissa(W0, r, s)``: A (r, k), B (d, r) and the rest, W0 less s · B @ A."""
    for (d, k), r, s in (((5, 5), 3, 0.3), ((6, 5), 4, 2.0), ((3, 6), 1, 0.7)):
        _check_pissa(pissa, np.random.default_rng(1).normal(size=(d, k)), d, k, r, s)


def _check_pissa(pissa: Callable, W0: NDArray, d: int, k: int, r: int, s: float) -> None:
    got = call(pissa, W0=W0, r=r, s=s)
    three = isinstance(got, (tuple, list)) and len(got) == 3
    assert three, f"return three arrays: A, B and the rest, got {type(got).__name__}"
    A, B, rest = (numbers(one, name) for one, name in zip(got, ("A", "B", "rest"), strict=True))
    U, sigma, Vt = np.linalg.svd(W0, full_matrices=False)
    exchanged = (A.shape, B.shape) == ((d, r), (r, k))
    why = "both are turned (.T)" if exchanged and _places(A.T, Vt) else "you return B first"
    assert not exchanged, f"first A ({r}, {k}), then B ({d}, {r}): {why}"
    for name, one, right in (("A", A, (r, k)), ("B", B, (d, r)), ("the rest", rest, (d, k))):
        turn = ": turn it" if one.shape == right[::-1] else f", for r = {r}"
        assert one.shape == right, f"{name} has shape {one.shape}, and must have {right}{turn}"
    known = {"rows of Vᵀ": Vt, "columns of U": U.T, "columns of Vᵀ": Vt.T, "rows of U": U}
    for name, strip, of in (("A's rows", A, "rows of Vᵀ"), ("B's columns", B.T, "columns of U")):
        inside = np.linalg.norm(strip @ known[of][:r].T) > 0.995 * np.linalg.norm(strip)
        found = [f"{which} {at}" for which, rows in known.items() if (at := _places(strip, rows))]
        why = "(`svd` gives U, Σ and Vᵀ, the strongest first; `eigh` begins with the weakest)"
        assert inside, f"{name} are {[*found, 'others'][0]}, and should be the first {r} {of} {why}"
    product, left = B @ A, (U.T @ rest @ Vt.T).diagonal() / sigma
    along = np.allclose(rest, U * (left * sigma) @ Vt)
    U, sigma, Vt = U[:, :r], sigma[:r], Vt[:r]
    held = np.diag(U.T @ product @ Vt.T)
    made = _powers(held, {"Σ": sigma}) or ": is it one order in A and B, is anything rounded?"
    strengths = f"in B @ A should be Σ / s = {1 / s:.4g} · Σ = {(sigma / s).round(4)}"
    why = f"the strengths {strengths}, √(Σ / s) from each strip; they are {held.round(4)}{made}"
    assert np.allclose(product, U * sigma / s @ Vt), why
    lengths = np.linalg.norm(A, axis=1), np.linalg.norm(B, axis=0)
    are = f"A's rows have lengths {lengths[0].round(2)}, B's columns {lengths[1].round(2)}"
    assert np.allclose(*lengths), f"the product is right, but {are}: share σ / s, √(σ / s) in each"
    named = {
        "that is W0: what the strips hold has to leave it, or the outputs change": W0,
        "s is missing in W0 - s · B @ A": W0 - product,
        f"of W0's directions the rest holds these parts: {left.round(3) + 0.0}. It should hold 0 "
        f"of the {r} strongest, and 1 of the others": rest if along else np.inf,
    }  # fmt: skip
    compare_named(rest, W0 - s * product, named, "rest")


def _places(strip: NDArray, rows: NDArray) -> list[int]:
    """Return which of some directions each row of a strip has, from 1 on; none if one has none."""
    along = np.abs(strip @ rows.T) if strip.shape[1] == rows.shape[1] else np.zeros((1, 1))
    near = along.max(axis=1) > 0.99 * np.linalg.norm(strip, axis=1)
    return (along.argmax(axis=1) + 1).tolist() if near.all() else []


@check
def check_dora_weight(dora_weight: Callable) -> None:
    """``dora_weight(W0, lora_A, lora_B, scaling, magnitude)``: the rows of V, made so long."""
    rng = np.random.default_rng(0)
    for d, k, r, s in ((5, 5, 5, 3.0), (6, 3, 2, 0.5), (3, 5, 1, 2.0)):
        W0, A, B = (rng.normal(size=shape) for shape in ((d, k), (r, k), (d, r)))
        m = rng.permutation(d) + 1.0
        got = call(dora_weight, W0=W0, lora_A=A, lora_B=B, scaling=s, magnitude=m)
        got, V = numbers(got, "W"), W0 + s * B @ A
        assert got.shape == W0.shape, f"W must have shape {W0.shape}, got {got.shape}"
        right = (m / _lengths(V))[:, None] * V
        if np.isfinite(got).all() and not np.allclose(got, right):
            _name_factors(got, W0, s * B @ A, s, m)
        slips = {"W is turned round: an output is a row, so take .T": right.T} if d == k else {}
        for name, other in {"A @ B": A @ B, "its .T": (B @ A).T}.items() if d == k == r else ():
            V = W0 + s * other
            slips[f"B comes first: lora_B @ lora_A, not {name}"] = (m / _lengths(V))[:, None] * V
        near = "Is anything rounded?" if np.allclose(got, right, atol=0.1) else "V is W0 + s BA"
        slips[f"row by row, W is not made of W0's row and of that of BA alone. {near}"] = got
        compare_named(got, right, slips, "W")


def _lengths(V: NDArray) -> NDArray:
    return np.linalg.norm(V, axis=1)  # (d,)


def _name_factors(got: NDArray, W0: NDArray, delta: NDArray, s: float, m: NDArray) -> None:
    """Name the mistake where W is made of W0 and the update, or of V, but with other factors."""
    V = W0 + delta
    rows, factors = _lengths(V), got / V
    on = np.ptp(factors, axis=1).max() > 1e-4 and np.linalg.matrix_rank(factors, 1e-4) == 1
    why = "but m and ‖V‖ belong to rows: axis=1, and [:, None]"
    assert not on, f"a number lies on each *column* of V, {why}"
    done = np.all(np.isclose(got, (m / rows)[:, None] * V), axis=1)
    stay = any(np.allclose(got[~done], one[~done]) for one in (V, W0, 0 * V))
    ready = f"only rows {np.flatnonzero(done)} are done: is the `return` inside the loop?"
    assert not (done[0] and stay), ready
    both = np.stack([W0, delta], axis=2)  # (d, k, 2)
    found = np.linalg.pinv(both) @ got[..., None]  # (d, 2, 1)
    a, b = found[..., 0].T.round(9) + 0.0  # no -0
    if not np.allclose(both @ found, got[..., None]):
        return
    assert a.any(), "W0 is missing: V is W0 + s BA"
    assert not np.allclose(a + 1, b), "W0 is taken off: return the weight, not its change"
    same = a.all() and np.ptp(b / np.where(a, a, 1)) < 1e-6
    why = f"its length {rows[0]:.3f} divides both, and m = {m[0]:g} multiplies both"
    assert same, f"row 0 is {a[0]:.3f} · W0 {b[0]:+.3f} · s BA: add the two first, to V; {why}"
    mixed = f"{s * b[0] / a[0]:+.3g} · BA, and should be W0 {s:+.3g} · BA, for scaling = {s:g}"
    assert np.allclose(a, b), f"your V is W0 {mixed} (and r = {np.linalg.matrix_rank(delta)})"
    named = {
        "whole matrix: each row has its own": np.linalg.norm(V),
        "columns, laid on the rows: sum along axis=1": np.resize(_lengths(V.T), len(m)),
        "rows, but as a sum of absolute values": np.abs(V).sum(axis=1),
    } | {f"first {n} numbers of a row alone": _lengths(V[:, :n]) for n in range(1, V.shape[1])}
    for why, norm in named.items():
        assert not np.allclose(a * rows, m * rows / norm), f"that is the norm of the {why}"
    made = _powers(a * rows, {"m": m, "‖V‖": rows, "‖W0‖": _lengths(W0)})
    wrong = f"{(a * rows).round(3)}{made}, not m = {m}: V / ‖V‖ has length 1, m times it length m"
    raise AssertionError(f"the rows point right, but have lengths {wrong}")
