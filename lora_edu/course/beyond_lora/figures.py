"""Figures: the variants side by side, NF4, learning rates."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lora_edu.course.experiments import per_seed, results
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION
from lora_edu.quantize import nf4_levels

TASKS = {"rotated": "45°", "inverted": "inverted"}
EQUAL = ("lora", "rslora", "lora+", "dora", "lora-fa", "nf4", "pissa", "random start")
RATED = {
    "full": ("o-", BLACK), "lora": ("s-", BLUE), "lora alpha=32": ("s--", ORANGE),
    "lora r=64": ("^-", GREEN), "rslora r=64": ("^--", VERMILION),
}  # fmt: skip


def _variants() -> Numbers:
    """Collect the accuracies of full fine-tuning and of eight methods, on both tasks."""
    records = {task: results(f"variants_{task}") for task in TASKS}
    numbers: Numbers = {"each": {}}
    for task, record in records.items():
        numbers[task] = {name: record["mean"][name]["test"] for name in ("full", *EQUAL)}
        numbers["each"][task] = {name: per_seed(record, name).tolist() for name in EQUAL}
    turned = [numbers["rotated"][name] for name in EQUAL]
    lora = records["rotated"]["mean"]["lora"]
    numbers |= {"least": min(turned), "most": max(turned), "trained": int(lora["trained"])}
    return {**numbers, "seeds": len(records["rotated"]["runs"]["lora"])}


@figure(_variants)
def variants_at_equal_parameters(numbers: Numbers) -> Figure:
    """Show that the descendants of LoRA differ little on one task, and a lot on another.

    Test accuracy of eight methods that train about {trained} numbers, mean and single runs of
    {seeds} seeds, full fine-tuning as a level line. Turned digits: all means between {least:.2f}
    and {most:.2f}, full {rotated[full]:.2f}. Inverted digits: LoRA {inverted[lora]:.2f}, rsLoRA
    {inverted[rslora]:.2f}, LoRA+ {inverted[lora+]:.2f}, DoRA {inverted[dora]:.2f}, LoRA-FA
    {inverted[lora-fa]:.2f}, NF4 {inverted[nf4]:.2f}, PiSSA {inverted[pissa]:.2f}, the same start in
    random directions {inverted[random start]:.2f}, full {inverted[full]:.2f}.
    """
    fig, axes = plt.subplots(1, 2, figsize=(10.0, 4.0), sharey=True, layout="constrained")
    at = np.arange(len(EQUAL))
    for ax, (task, title) in zip(axes, TASKS.items(), strict=True):
        mean, each = numbers[task], numbers["each"][task]
        means = [mean[name] for name in EQUAL]
        ax.plot(at, means, "_", color=BLUE, markersize=24, markeredgewidth=3)
        ax.plot(at, [each[name] for name in EQUAL], ".", color=BLACK, markersize=4)
        ax.axhline(mean["full"], color=BLACK, linestyle="--", linewidth=1)
        ax.text(7.4, mean["full"] + 0.01, "full", ha="right")
        ax.set(title=title, ylim=(0, 1.06))
        ax.set_xticks(at, EQUAL, rotation=40, ha="right")
    axes[0].set_ylabel("accuracy")
    return fig


def rounding_error(W: Tensor, levels: Tensor, block_size: int) -> float:
    """Return ‖W - Ŵ‖ / ‖W‖, for Ŵ with the nearest of ``levels`` in each block."""
    blocks = W.flatten().view(-1, block_size)  # (blocks, block_size)
    absmax = blocks.abs().amax(1, keepdim=True)
    codes = torch.bucketize(blocks / absmax, (levels[1:] + levels[:-1]) / 2)
    return ((levels[codes] * absmax - blocks).norm() / blocks.norm()).item()


def _rounding() -> Numbers:
    """Round normal and uniform weights in blocks, to NF4's 16 levels and to even ones."""
    generator, sizes = torch.Generator().manual_seed(0), [16, 64, 256, 1024]
    # In float64: a sum of a million squares in float32 is right to five digits, and not to six.
    weights = {
        "normal": torch.randn(1024, 1024, generator=generator).double(),
        "uniform": torch.rand(1024, 1024, generator=generator).double() * 2 - 1,
    }
    levels = {"nf4": nf4_levels().double(), "even": torch.linspace(-1, 1, 16).double()}
    numbers: Numbers = {"sizes": sizes}
    numbers["levels"] = {name: of.tolist() for name, of in levels.items()}
    curves = {}
    for name, kind in product(levels, weights):
        errors = [rounding_error(weights[kind], levels[name], size) for size in sizes]
        numbers[f"{name}_{kind}"] = [round(error, 4) for error in errors]
        curves[f"{name}, {kind}"] = errors
    return {**numbers, "labels": list(curves), "curves": np.array(list(curves.values()))}


@figure(_rounding)
def nf4_levels_and_error(numbers: Numbers) -> Figure:
    """Show where NF4 puts its 16 levels, and for which weights that pays.

    Left, the bell curve of the normal distribution over 16 marks: NF4's levels lie close together
    near zero and far apart at the ends; below them 16 even ones. Right, the relative error of
    rounding against the block size: for normal weights NF4 {nf4_normal[1]:.3f} and even levels
    {even_normal[1]:.3f} at 64; for uniform weights NF4 {nf4_uniform[1]:.3f} and even levels
    {even_uniform[1]:.3f}. Both grow with the block for normal weights.
    """
    sizes = numbers["sizes"]
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.0, 3.6), layout="constrained")
    x = np.linspace(-1.1, 1.1, 200)
    left.plot(x, np.exp(-((2.4 * x) ** 2) / 2), color=GREY, linewidth=1)
    for place, (name, color) in enumerate((("nf4", BLUE), ("even", ORANGE))):
        left.plot(numbers["levels"][name], [-0.12 - 0.2 * place] * 16, "|", color=color,
                  markersize=16, markeredgewidth=2)  # fmt: skip
        left.text(1.12, -0.16 - 0.2 * place, name, color=color)
    for label, errors in zip(numbers["labels"], numbers["curves"], strict=True):
        color, inside = (BLUE, BLUE) if label.startswith("nf4") else (ORANGE, "white")
        style = "o-" if label.endswith("normal") else "s--"
        right.plot(sizes, errors, style, color=color, markerfacecolor=inside, label=label)
    left.set(xlabel="w / absmax", yticks=[], xlim=(-1.15, 1.35))
    left.spines["left"].set_visible(False)
    right.set(xscale="log", xlabel="block_size", ylim=(0, None),
              ylabel="$\\|W - \\hat W\\|\\,/\\,\\|W\\|$")  # fmt: skip
    right.set_xticks(sizes, sizes)
    right.minorticks_off()
    right.legend()
    return fig


def _rates() -> Numbers:
    """Collect, for each task and method, the chosen rate and what each rate reached on average."""
    records = {task: results(f"variants_{task}") for task in TASKS}
    numbers: Numbers = {"reached": {}}
    for task, record in records.items():
        numbers[task] = {name: record["chosen"][name] for name in RATED}
        numbers["reached"][task] = {}
        for name in RATED:
            scores = record["search"][name].items()
            numbers["reached"][task][name] = [[float(lr), float(np.mean(of))] for lr, of in scores]
    return {**numbers, "seeds": len(records["rotated"]["runs"]["full"])}


@figure(_rates)
def learning_rate_gap(numbers: Numbers) -> Figure:
    """Show how far apart the best learning rates of LoRA and of full fine-tuning are.

    Validation accuracy against the learning rate, logarithmic, means of {seeds} seeds, the best
    rate of each method as a star. Turned digits: best rates full {rotated[full]:g}, LoRA
    {rotated[lora]:g}, LoRA with alpha 32 {rotated[lora alpha=32]:g}. Inverted digits, where full
    fine-tuning lies above all at each rate: full {inverted[full]:g}, LoRA {inverted[lora]:g}, with
    alpha 32 {inverted[lora alpha=32]:g}.
    """
    fig, axes = plt.subplots(1, 2, figsize=(10.0, 3.8), sharey=True, layout="constrained")
    for ax, (task, title) in zip(axes, TASKS.items(), strict=True):
        for name, (style, color) in RATED.items():
            reached, best = dict(numbers["reached"][task][name]), numbers[task][name]
            rates, means = list(reached), list(reached.values())
            ax.plot(rates, means, style, color=color, markersize=5, label=name)
            ax.plot(best, reached[best], "*", color=color, markersize=15)
        ax.set(title=title, xlabel="lr", xscale="log", ylim=(0, 1.02))
    axes[0].set_ylabel("accuracy")
    axes[0].legend(loc="lower left")
    return fig
