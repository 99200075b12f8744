"""Figures: what rounding takes of a merge, how it adds up, and the time it saves."""

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
BESIDE = {"loc": "upper left", "bbox_to_anchor": (1, 1)}


def _draw(rng: np.random.Generator, columns: int = 256) -> Tensor:
    return torch.from_numpy(0.05 * rng.standard_normal((256, columns)))


def _update(rng: np.random.Generator) -> Tensor:
    """Return an update of rank 1, of about the norm of W0; a product without sums is exact."""
    return 20 * _draw(rng, 1) @ _draw(rng, 1).T


def _merged() -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return, by type and for each size, the lost part of ΔW and the share of weights that stay."""
    rng, lost, same = np.random.default_rng(0), {}, {}
    W0, delta = _draw(rng), _update(rng)
    changes = [size * round(float(W0.norm() / delta.norm()), 6) * delta for size in SIZES]
    for name in TYPES:
        stored = W0.to(getattr(torch, name)).double()
        sums = [((stored + c).to(getattr(torch, name)).double(), c) for c in changes]
        lost[name] = [float(f"{(W - stored - c).norm() / c.norm():.3g}") for W, c in sums]
        same[name] = [float((stored == W).double().mean()) for W, _ in sums]
    return lost, same


@figure(
    "small_updates_vanish",
    alt="Left, 1 + an update in bfloat16: a staircase, level from -{down:.4f} to {up:.4f}. "
    "Right, the share of weights that a merge leaves as they were: it rises to 1 as the update "
    "shrinks, first in bfloat16, then in float16. For an update of 0.001 of the weights: bfloat16 "
    "{bfloat16[6]:.2f}, float16 {float16[6]:.2f}, float32 {float32[6]:.4f}.",
)
def small_updates_vanish() -> tuple[Figure, Numbers]:
    """Show that an update below half a step of the type leaves a weight as it was."""
    fig, axes = plt.subplots(1, 2, figsize=(9.0, 3.8), layout="constrained")
    asked, same = torch.linspace(-0.012, 0.012, 2401, dtype=torch.float64), _merged()[1]
    kept = (1 + asked).to(torch.bfloat16).double() - 1
    axes[0].plot(asked, asked, "--", color=GREY, linewidth=1, label="float64")
    axes[0].plot(asked, kept, color=VERMILION, label="bfloat16")
    axes[0].set(xlabel="$\\Delta w$", ylabel="$(1 + \\Delta w) - 1$")
    for name, (marker, color) in TYPES.items():
        axes[1].plot(SIZES, same[name], f"{marker}-", color=color, label=name)
    axes[1].set(xscale="log", xlabel=SIZE, ylabel="$\\#(W = W_0)\\,/\\,dk$")
    for ax in axes:
        ax.legend()
    still = asked[kept == 0]
    return fig, {"up": float(still.max()), "down": -float(still.min()), **same}


@figure(
    "merge_error_by_dtype",
    alt="The part of an update that a merge loses, against its size relative to the weights, both "
    "logarithmic: falling lines. At 0.1 bfloat16 {bfloat16[2]:.2g}, float16 {float16[2]:.2g}, "
    "float32 {float32[2]:.2g}, float64 {float64[2]:.1g}. Dashed lines, 0.42 u / size, lie on "
    "them until nearly all is lost, as in bfloat16 at 0.001: {bfloat16[6]:.2g}.",
)
def merge_error_by_dtype() -> tuple[Figure, Numbers]:
    """Show the law of the lost part, 0.42 u |W0| / |ΔW|, and where it ends."""
    fig, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    lost = _merged()[0]
    for name, (marker, color) in TYPES.items():
        law = 0.21 * torch.finfo(getattr(torch, name)).eps / np.array(SIZES)
        ax.plot(SIZES, lost[name], f"{marker}-", color=color, linewidth=0.8, label=name)
        (line,) = ax.plot(SIZES, law, "--", color=BLACK, linewidth=1)
    line.set_label(f"$0.42\\,u\\,/\\,$({SIZE})")
    ax.set(xscale="log", yscale="log", ylim=(1e-17, 30), xlabel=SIZE)
    ax.set_ylabel("$\\|W - (W_0 + \\Delta W)\\|\\,/\\,\\|\\Delta W\\|$")
    ax.legend(**BESIDE)
    return fig, lost


def _drift(name: str, fresh: bool, cycles: int = 1000) -> list[float]:
    """Return |W - W0| / |W0| after each cycle of a merge and a subtraction."""
    rng = np.random.default_rng(0)
    W = start = _draw(rng).to(getattr(torch, name))
    change, found = 0.1 * _update(rng).float(), []
    for _ in range(cycles):
        W = ((W + change).to(W.dtype) - change).to(W.dtype)
        found.append(float((W.double() - start.double()).norm() / start.double().norm()))
        change = 0.1 * _update(rng).float() if fresh else change
    return found


@figure(
    "merge_drift",
    alt="The relative distance from W0 after n cycles of merging and subtracting, log axes. "
    "One and the same update: level lines. New ones: rising, no faster than the square root of n, "
    "dotted. From n = 1 to {cycles}: bfloat16 {bfloat16[0]:.1g} to {bfloat16[1]:.1g}, float16 "
    "{float16[0]:.1g} to {float16[1]:.1g}, float32 {float32[0]:.1g} to {float32[1]:.1g}.",
)
def merge_drift() -> tuple[Figure, Numbers]:
    """Show that cycles with one update stop drifting at once, and those with new ones do not."""
    fig, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    numbers: Numbers = {"cycles": 1000}
    n = np.arange(1, numbers["cycles"] + 1)
    for name in ("bfloat16", "float16", "float32"):
        new, same, (marker, color) = _drift(name, True), _drift(name, False), TYPES[name]
        look = {"color": color, "marker": marker, "markevery": [0, 9, 99, 999]}
        ax.plot(n, new, "-", label=f"{name}, $\\Delta W_n$", **look)
        ax.plot(n, same, "--", label=f"{name}, $\\Delta W_1$", **look)
        numbers[name] = [float(f"{x:.3g}") for x in (new[0], new[-1], same[-1])]
    ax.plot(n, 2e-3 * n**0.5, ":", color=BLACK, linewidth=1, label="$\\sqrt{n}$")
    ax.set(xscale="log", yscale="log", xlabel="$n$", ylabel="$\\|W_n - W_0\\|\\,/\\,\\|W_0\\|$")
    ax.legend(**BESIDE)
    return fig, numbers


@figure(
    "latency",
    alt="Time relative to the base, median and quartiles of {rounds} paired rounds, for inputs "
    "from 1 × 16 to 32 × 32 tokens. A copy and the merged model lie at 1, within 0.02. LoRA apart: "
    "{LoRA[0]:.2f}, {LoRA[1]:.2f}, {LoRA[2]:.2f}, {LoRA[3]:.2f}; bottleneck adapters of as many "
    "parameters: {bottleneck[0]:.2f}, {bottleneck[1]:.2f}, {bottleneck[2]:.2f}, "
    "{bottleneck[3]:.2f}.",
)
def latency() -> tuple[Figure, Numbers]:
    """Show the recorded times of a merged model, of LoRA kept apart and of bottleneck adapters."""
    cases = results("latency")["cases"]
    fig, ax = plt.subplots(figsize=(7.5, 4.0), layout="constrained")
    numbers: Numbers = {"rounds": len(cases[0]["seconds"]["base"])}
    styles = {"copy": ("x", GREY), "merged": ("o", BLUE)}
    styles |= {"LoRA": ("s", VERMILION), "bottleneck": ("D", ORANGE)}
    for shift, (name, (marker, color)) in enumerate(styles.items()):
        low, middle, high = np.array([case["ratio"][name] for case in cases]).T
        at, spread = np.arange(len(cases)) + 0.14 * (shift - 1.5), [middle - low, high - middle]
        ax.errorbar(at, middle, spread, fmt=marker, color=color, label=name, capsize=3)
        numbers[name] = middle.tolist()
    ax.axhline(1, color=BLACK, linewidth=1, linestyle=":")
    ax.set_xticks(range(len(cases)), [f"{c['batch']} × {c['tokens']}" for c in cases])
    ax.set(xlabel="batch × tokens", ylabel="$t\\,/\\,t_{base}$")
    ax.legend(**BESIDE)
    return fig, numbers
