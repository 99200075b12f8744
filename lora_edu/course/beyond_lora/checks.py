"""Checks: four descendants of LoRA, each its heart: a scale, two rates, a start, a form."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lora_edu.course.checks import call, check, compare_named, compare_number, numbers


def _short(value: Any) -> str:
    """Say of what kind a thing is, and how many it holds."""
    kind = type(value).__name__
    return f"a {kind} of {len(value)}" if hasattr(value, "__len__") else f"a {kind}"


@check
def check_plain_alpha(plain_alpha: Callable) -> None:
    """``plain_alpha(lora_alpha, r)``: with it, plain LoRA does what rsLoRA does with lora_alpha."""
    for alpha, r in ((6.0, 10), (32.0, 24)):
        got, root = call(plain_alpha, lora_alpha=alpha, r=r), r**0.5
        wrong = {
            "that is rsLoRA's scale s: which alpha gives it in alpha / r?": alpha / root,
            "that is plain LoRA's scale: rsLoRA's is larger": alpha / r,
            "rsLoRA divides by the root of r; and your alpha is divided by r again": alpha * r,
            "by how much is alpha / √r larger than alpha / r? That is all, without alpha": root,
            "the same alpha gives another scale: alpha / √r is not alpha / r": alpha,
            "from alpha / √r = yours / r: multiply by r, do not divide": alpha / (r * root),
        }
        compare_number(got, alpha * root, wrong, f"for lora_alpha = {alpha:g} and r = {r}")


SHAPES = {  # of a small model with LoRA, a gate and a head; in no order that helps
    "embed.weight": (3, 4), "fc1.base.weight": (4, 4), "fc1.lora_B": (4, 2), "fc1.lora_A": (2, 4),
    "gate.B": (4,), "net.fc2.lora_A": (2, 4), "net.fc2.lora_B": (4, 2),
    "net.fc2.base.weight": (4, 4), "head.weight": (3, 4), "fc3.lora_B": (4, 2),
}  # fmt: skip
FROZEN = ("embed.weight", "fc1.base.weight", "net.fc2.base.weight", "fc3.lora_B")


def _rates(groups: Any, named: list[tuple[str, nn.Parameter]]) -> dict[str, float]:
    """Return the rate at which each parameter is to learn, by name; refuse what holds none."""
    assert groups is not None, "it returned None: is the `return` missing?"
    if not isinstance(groups, (dict, str, Tensor)) and hasattr(groups, "__iter__"):
        groups = list(groups)
    whole = isinstance(groups, list) and all(
        isinstance(group, dict) and {"params", "lr"} <= group.keys() for group in groups
    )
    form = '{"params": …, "lr": …}'
    assert whole, f"return a list of groups, each {form}, got {_short(groups)}"
    names = {id(parameter): name for name, parameter in named}
    found: dict[str, float] = {}
    for group in groups:
        assert isinstance(group["lr"], (int, float)), f'"lr" is a number, got {group["lr"]!r}'
        params = group["params"]
        for parameter in [params] if isinstance(params, Tensor) else params or []:
            kind = type(parameter).__name__
            assert isinstance(parameter, Tensor), (
                f"params holds a {kind}: hand over the parameters alone"
            )
            name = names.get(id(parameter))
            assert name, "params holds a tensor that is no parameter of the model"
            assert name not in found, f"{name} is in 2 groups: PyTorch would refuse"
            found[name] = float(group["lr"])
    return found


@check
def check_loraplus_groups(loraplus_groups: Callable) -> None:
    """``loraplus_groups(named, lr, ratio)``: groups for an optimizer; lora_B learns faster."""
    for lr, ratio in ((0.5, 16.0), (0.25, 6.0)):
        named = [
            (name, nn.Parameter(torch.ones(shape), requires_grad=name not in FROZEN))
            for name, shape in SHAPES.items()
        ]
        _check_rates(_asked(loraplus_groups, named, lr, ratio), named, lr, ratio)
        once = _rates(_asked(loraplus_groups, iter(named), lr, ratio, named), named)
        assert len(once) == len(SHAPES) - len(FROZEN), (
            "model.named_parameters() can be gone through only 1 time: make a list of it first"
        )


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


def _check_rates(
    groups: Any, named: list[tuple[str, nn.Parameter]], lr: float, ratio: float
) -> None:
    got, trains = _rates(groups, named), [name for name in SHAPES if name not in FROZEN]
    for name in SHAPES:
        assert name in trains or name not in got, f"{name!r} is frozen: nothing to optimise"
        assert name not in trains or name in got, f"{name!r} trains, and is in no group"
    slow, fast = lr, ratio * lr
    right = {"lora_A": slow, "lora_B": fast, "weight": slow, "B": slow}
    slips = {
        "it is lora_B that learns faster, not lora_A": {"lora_A": fast, "lora_B": slow},
        "all but lora_B learn at lr: you have the two exchanged": {
            "lora_A": fast, "lora_B": slow, "weight": fast, "B": fast,
        },
        "no lora_B learns faster: they are called fc1.lora_B, net.fc2.lora_B …, and get "
        "ratio times lr": {"lora_B": slow},
        "divided by ratio: lora_B is to learn faster, not slower": {"lora_B": lr / ratio},
        "lora_B learns at ratio *times* lr: that is ratio alone": {"lora_B": ratio},
        "lora_B learns at ratio *times* lr: that is their sum": {"lora_B": lr + ratio},
        "the head learns at lr: it is no lora_B": {"weight": fast, "B": fast},
        "'gate.B' is no lora_B: it learns at lr": {"B": fast},
    }  # fmt: skip
    for why, slip in slips.items():
        other = {name: (right | slip)[name.rpartition(".")[2]] for name in trains}
        assert any(not np.isclose(got[name], other[name]) for name in trains), why
    for name in trains:
        expected = right[name.rpartition(".")[2]]
        assert np.isclose(got[name], expected), f"{name} has lr {got[name]:g}, not {expected:g}"


@check
def check_pissa(pissa: Callable) -> None:
    """``pissa(W0, r, s)``: A (r, k), B (d, r) and the rest, W0 less s · B @ A."""
    for shape, r, s in (((4, 4), 2, 0.3), ((5, 3), 1, 2.0), ((3, 6), 2, 0.7)):
        W0 = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        _check_pissa(pissa, W0, r, s)


def _check_pissa(pissa: Callable, W0: Tensor, r: int, s: float) -> None:
    d, k = W0.shape
    got = call(pissa, W0=W0.double().numpy().copy(), r=r, s=s)
    three = isinstance(got, (tuple, list)) and len(got) == 3
    assert three, f"return three arrays: A, B and the rest, got {_short(got)}"
    A, B, rest = (numbers(one, name) for one, name in zip(got, ("A", "B", "rest"), strict=True))
    W = W0.double().numpy()
    U, sigma, Vt = np.linalg.svd(W, full_matrices=False)
    exchanged = (A.shape, B.shape) == ((d, r), (r, k))
    assert not exchanged, f"first A ({r}, {k}), then B ({d}, {r}): you return B first"
    for name, one, right in (("A", A, (r, k)), ("B", B, (d, r)), ("the rest", rest, (d, k))):
        turned = one.shape == right[::-1] and len(set(right)) > 1
        assert not turned, f"{name} has shape {one.shape}: turn it, it is to be {right}"
        assert one.shape == right, f"{name} must have shape {right}, got {one.shape}"
    product = B @ A
    best, last = (U[:, at] * sigma[at] @ Vt[at] for at in (slice(r), slice(-r, None)))
    named = {
        "s is missing: s · B @ A is to be the strongest part, so B @ A is that part / s": best,
        "s is divided out twice: once from A, once from B, is s². Each takes √(σ / s)": best / s**2,
        "divide by s, do not multiply: s · B @ A is to be the strongest part": best * s,
        "these are the *last* directions: the singular values come sorted, the first is the "
        "strongest": last / s,
        "the singular values are missing": U[:, :r] @ Vt[:r] / s,
        "the singular values are missing, and s": U[:, :r] @ Vt[:r],
        "σ is in both strips, so it is squared in B @ A: √σ in each": U[:, :r] * sigma[:r] ** 2
        @ Vt[:r] / s,
        "σ in both strips is σ² in their product; and s is missing": U[:, :r] * sigma[:r] ** 2
        @ Vt[:r],
        "only √σ arrives in B @ A: √σ belongs in both strips": U[:, :r] * sigma[:r] ** 0.5
        @ Vt[:r] / s,
        "columns of Vᵀ are no directions: take its rows": U[:, :r] * sigma[:r]
        @ Vt[:, :r].T / s if Vt[:, :r].T.shape == (r, k) else np.nan,
    }  # fmt: skip
    compare_named(product, best / s, named, "(B @ A)")
    lengths = np.linalg.norm(A, axis=1), np.linalg.norm(B, axis=0)
    assert np.allclose(*lengths), (
        f"the product is right, but A's rows have lengths {lengths[0].round(2)} and B's columns "
        f"{lengths[1].round(2)}: share σ / s, √(σ / s) in each"
    )
    named = {
        "that is W0: what the strips hold has to leave it, or the outputs change": W,
        "s is missing in W0 - s · B @ A": W - B @ A,
        "that is the strongest part itself: the rest is what is left of W0 without it": best,
        "added, not taken away": W + s * (B @ A),
    }
    compare_named(rest, W - best, named, "rest")


@check
def check_dora_weight(dora_weight: Callable) -> None:
    """``dora_weight(W0, lora_A, lora_B, scaling, magnitude)``: the rows of V, made so long."""
    rng = np.random.default_rng(0)
    for d, k, s in ((4, 4, 3.0), (5, 3, 0.5), (3, 5, 2.0)):
        W0, A, B = (rng.normal(size=shape) for shape in ((d, k), (2, k), (d, 2)))
        m = rng.permutation(d) + 1.0
        got = call(dora_weight, W0=W0, lora_A=A, lora_B=B, scaling=s, magnitude=m)
        got, V = numbers(got, "W"), W0 + s * B @ A
        assert got.shape == W0.shape, f"W must have shape {W0.shape}, got {got.shape}"
        slips = _slips_of_dora(W0, s * B @ A, B @ A, m) if d == k else {}
        compare_named(got, m[:, None] * V / _lengths(V), slips, "W")


def _lengths(V: NDArray) -> NDArray:
    return np.linalg.norm(V, axis=1, keepdims=True)  # (d, 1)


def _slips_of_dora(W0: NDArray, delta: NDArray, unscaled: NDArray, m: NDArray) -> dict[str, Any]:
    V, up = W0 + delta, m[:, None]
    rows, columns = np.linalg.norm(V, axis=1), np.linalg.norm(V, axis=0)
    return {
        "the wrong axis: these are the norms of the columns, one for each input": m / columns * V,
        "norms of columns, laid on the rows: axis 0 is summed away, keep it": (m / columns * V.T).T,
        "these are the norms of the columns: axis 1, one for each output": up / columns * V,
        "the norms are those of the rows, but [:, None] is missing: they meet the columns":
            m / rows * V,
        "the norms lie on the rows, but m on the columns: m[:, None]": m * V / rows[:, None],
        "m lies on the rows, but the norms on the columns: keepdims, or [:, None]": up * V / rows,
        "the norm is that of W0: it must be that of V, which has moved": up / _lengths(W0) * V,
        "the norm of the whole matrix: each row has its own": up * V / np.linalg.norm(V),
        "only W0 was made so long: s BA belongs inside, V is what has length m":
            up / _lengths(W0) * W0 + delta,
        "scaling is missing": up / _lengths(W0 + unscaled) * (W0 + unscaled),
        "the magnitude is missing: the rows have length 1": V / rows[:, None],
        "the rows are not divided by their norms": up * V,
        "that is V: length and direction are not taken apart": V,
        "V is W0 *plus* the update": up / _lengths(W0 - delta) * (W0 - delta),
    }  # fmt: skip
