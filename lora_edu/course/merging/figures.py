"""Figures: what rounding takes of a merge, how it adds up, and the time it saves."""

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lora_edu.course.experiments import results
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION

SIZES = [10 ** (-n / 2) for n in range(11)]  # of an update, relative to the weights: 1 to 1e-5
TYPES = {"bfloat16": ("o", VERMILION), "float16": ("s", ORANGE)}
TYPES |= {"float32": ("^", BLUE), "float64": ("v", GREEN)}
SIZE = "$\\|\\Delta W\\|\\,/\\,\\|W_0\\|$"
DRIFTING = ("bfloat16", "float16", "float32")
BESIDE = {"loc": "upper left", "bbox_to_anchor": (1, 1)}


def _draw(rng: np.random.Generator, columns: int = 256) -> Tensor:
    return torch.from_numpy(0.05 * rng.standard_normal((256, columns)))


def _update(rng: np.random.Generator) -> Tensor:
    """Return an update of rank 1, of about the norm of W0; a product without sums is exact."""
    return 20 * _draw(rng, 1) @ _draw(rng, 1).T


class Merged(NamedTuple):
    """By type and for each size: the lost part of ΔW, and the share of weights that stay."""

    lost: dict[str, list[float]]
    same: dict[str, list[float]]


def _merged() -> Merged:
    """Merge one update into one weight, in each type and at each size."""
    rng = np.random.default_rng(0)
    lost: dict[str, list[float]] = {name: [] for name in TYPES}
    same: dict[str, list[float]] = {name: [] for name in TYPES}
    W0, delta = _draw(rng), _update(rng)
    alike = round(float(W0.norm() / delta.norm()), 6)  # brings ΔW to the norm of W0
    for name in TYPES:
        dtype = getattr(torch, name)
        stored = W0.to(dtype).double()
        for size in SIZES:
            change = size * alike * delta
            W = (stored + change).to(dtype).double()
            lost[name].append(_three_digits((W - stored - change).norm() / change.norm()))
            same[name].append(float((stored == W).double().mean()))
    return Merged(lost, same)


def _three_digits(value: Tensor | float) -> float:
    return float(f"{value:.3g}")


def _staircase() -> Numbers:
    """Add small updates to 1 in bfloat16, and merge updates of each size."""
    asked = torch.linspace(-0.012, 0.012, 2401, dtype=torch.float64)
    kept = (1 + asked).to(torch.bfloat16).double() - 1
    still = asked[kept == 0]
    ends = {"up": float(still.max()), "down": -float(still.min())}
    return {**ends, **_merged().same, "asked": asked.numpy(), "kept": kept.numpy()}


@figure(_staircase)
def small_updates_vanish(numbers: Numbers) -> Figure:
    """Show that an update below half a step of the type leaves a weight as it was.

    Left, 1 + an update in bfloat16: a staircase, level from -{down:.4f} to {up:.4f}. Right, the
    share of weights that a merge leaves as they were: it rises to 1 as the update shrinks, first in
    bfloat16, then in float16. For an update of 0.001 of the weights: bfloat16 {bfloat16[6]:.2f},
    float16 {float16[6]:.2f}, float32 {float32[6]:.4f}.
    """
    fig, axes = plt.subplots(1, 2, figsize=(9.0, 3.8), layout="constrained")
    asked, kept = numbers["asked"], numbers["kept"]
    axes[0].plot(asked, asked, "--", color=GREY, linewidth=1, label="float64")
    axes[0].plot(asked, kept, color=VERMILION, label="bfloat16")
    axes[0].set(xlabel="$\\Delta w$", ylabel="$(1 + \\Delta w) - 1$")
    for name, (marker, color) in TYPES.items():
        axes[1].plot(SIZES, numbers[name], f"{marker}-", color=color, label=name)
    axes[1].set(xscale="log", xlabel=SIZE, ylabel="$\\#(W = W_0)\\,/\\,dk$")
    for ax in axes:
        ax.legend()
    return fig


def _lost_parts() -> Numbers:
    """Merge updates of each size in each type; beside what is lost stands what the law says."""
    eps = {name: torch.finfo(getattr(torch, name)).eps for name in TYPES}  # 2u
    law = {name: [0.21 * step / size for size in SIZES] for name, step in eps.items()}
    return {**_merged().lost, "law": law}


@figure(_lost_parts)
def merge_error_by_dtype(numbers: Numbers) -> Figure:
    """Show the law of the lost part, 0.42 u |W0| / |ΔW|, and where it ends.

    The part of an update that a merge loses, against its size relative to the weights, both
    logarithmic: falling lines. At 0.1 bfloat16 {bfloat16[2]:.2g}, float16 {float16[2]:.2g}, float32
    {float32[2]:.2g}, float64 {float64[2]:.1g}. Dashed lines, 0.42 u / size, lie on them until
    nearly all is lost, as in bfloat16 at 0.001: {bfloat16[6]:.2g}.
    """
    fig, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    for name, (marker, color) in TYPES.items():
        ax.plot(SIZES, numbers[name], f"{marker}-", color=color, linewidth=0.8, label=name)
        ax.plot(SIZES, numbers["law"][name], "--", color=BLACK, linewidth=1)
    ax.lines[-1].set_label(f"$0.42\\,u\\,/\\,$({SIZE})")
    ax.set(xscale="log", yscale="log", ylim=(1e-17, 30), xlabel=SIZE)
    ax.set_ylabel("$\\|W - (W_0 + \\Delta W)\\|\\,/\\,\\|\\Delta W\\|$")
    ax.legend(**BESIDE)
    return fig


def _cycle(W: Tensor, change: Tensor) -> Tensor:
    """Merge an update and subtract it again, rounding to the type of W each time."""
    return ((W + change).to(W.dtype) - change).to(W.dtype)


def _distance(W: Tensor, W0: Tensor) -> float:
    """Return |W - W0| / |W0|; W0 in float64, of which each other type is a part."""
    return float((W - W0).norm() / W0.norm())


def _drift_of_one(W0: Tensor, change: Tensor, cycles: int) -> list[float]:
    """Return |W - W0| / |W0| after each cycle with one and the same update."""
    W, found = W0, []
    while len(found) < cycles:
        before, W = W, _cycle(W, change)
        found.append(_distance(W, W0.double()))
        if torch.equal(W, before):  # a cycle that changes nothing: so do all that follow
            break
    return found + found[-1:] * (cycles - len(found))


def _drift(cycles: int = 1000) -> Numbers:
    """Return |W - W0| / |W0| after each cycle, with new updates and with one and the same."""
    rng = np.random.default_rng(0)
    drawn = _draw(rng)
    first = change = 0.1 * _update(rng).float()
    starts = {name: drawn.to(getattr(torch, name)) for name in DRIFTING}
    weights, exact = dict(starts), {name: W0.double() for name, W0 in starts.items()}
    new: dict[str, list[float]] = {name: [] for name in DRIFTING}
    for _ in range(cycles):
        for name, W0 in exact.items():
            weights[name] = _cycle(weights[name], change)
            new[name].append(_distance(weights[name], W0))
        change = 0.1 * _update(rng).float()
    same = {name: _drift_of_one(W0, first, cycles) for name, W0 in starts.items()}
    numbers: Numbers = {"cycles": cycles}
    for name in DRIFTING:
        numbers[name] = [_three_digits(x) for x in (new[name][0], new[name][-1], same[name][-1])]
    curves = [[new[name], same[name]] for name in DRIFTING]
    return {**numbers, "curves": np.array(curves)}  # (types, 2, cycles)


@figure(_drift)
def merge_drift(numbers: Numbers) -> Figure:
    """Show that cycles with one update stop drifting at once, and those with new ones do not.

    The relative distance from W0 after n cycles of merging and subtracting, log axes. One and the
    same update: level lines. New ones: rising, no faster than the square root of n, dotted. From n
    = 1 to {cycles}: bfloat16 {bfloat16[0]:.1g} to {bfloat16[1]:.1g}, float16 {float16[0]:.1g} to
    {float16[1]:.1g}, float32 {float32[0]:.1g} to {float32[1]:.1g}.
    """
    fig, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    n = np.arange(1, numbers["cycles"] + 1)
    for name, (new, same) in zip(DRIFTING, numbers["curves"], strict=True):
        marker, color = TYPES[name]
        look = {"color": color, "marker": marker, "markevery": [0, 9, 99, 999]}
        ax.plot(n, new, "-", label=f"{name}, $\\Delta W_n$", **look)
        ax.plot(n, same, "--", label=f"{name}, $\\Delta W_1$", **look)
    ax.plot(n, 2e-3 * n**0.5, ":", color=BLACK, linewidth=1, label="$\\sqrt{n}$")
    ax.set(xscale="log", yscale="log", xlabel="$n$", ylabel="$\\|W_n - W_0\\|\\,/\\,\\|W_0\\|$")
    ax.legend(**BESIDE)
    return fig


def _times() -> Numbers:
    """Return quartiles of the recorded times, over those of the base in the same round."""
    cases = results("latency")["cases"]
    numbers: Numbers = {"rounds": len(cases[0]["seconds"]["base"])}
    numbers["shapes"] = [f"{case['batch']} × {case['tokens']}" for case in cases]
    numbers["quartiles"] = {}
    for name in ("copy", "merged", "LoRA", "bottleneck"):
        quartiles = [case["ratio"][name] for case in cases]  # (cases, 3)
        numbers["quartiles"][name] = quartiles
        numbers[name] = [median for _, median, _ in quartiles]
    return numbers


@figure(_times)
def latency(numbers: Numbers) -> Figure:
    """Show the recorded times of a merged model, of LoRA kept apart and of bottleneck adapters.

    Time relative to the base, median and quartiles of {rounds} paired rounds, for inputs from 1 ×
    16 to 32 × 32 tokens. A copy and the merged model lie at 1, within 0.02. LoRA apart:
    {LoRA[0]:.2f}, {LoRA[1]:.2f}, {LoRA[2]:.2f}, {LoRA[3]:.2f}; bottleneck adapters of as many
    parameters: {bottleneck[0]:.2f}, {bottleneck[1]:.2f}, {bottleneck[2]:.2f}, {bottleneck[3]:.2f}.
    """
    fig, ax = plt.subplots(figsize=(7.5, 4.0), layout="constrained")
    looks = [("x", GREY), ("o", BLUE), ("s", VERMILION), ("D", ORANGE)]
    shapes = numbers["shapes"]
    for i, (name, look) in enumerate(zip(numbers["quartiles"], looks, strict=True)):
        low, median, high = np.transpose(numbers["quartiles"][name])
        at, spread = np.arange(len(shapes)) + 0.14 * (i - 1.5), [median - low, high - median]
        marker, color = look
        ax.errorbar(at, median, spread, fmt=marker, color=color, label=name, capsize=3)
    ax.axhline(1, color=BLACK, linewidth=1, linestyle=":")
    ax.set_xticks(range(len(shapes)), shapes)
    ax.set(xlabel="batch × tokens", ylabel="$t\\,/\\,t_{base}$")
    ax.legend(**BESIDE)
    return fig
