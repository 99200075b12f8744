"""Figures: the spectrum of an update, accuracy against rank, controls, dimension."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lora_edu.course.experiments import per_seed, results
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION


def _ranks(record: Mapping[str, Any]) -> list[int]:
    """Return the ranks of LoRA whose runs a record holds."""
    return [int(method[2:]) for method in record["runs"] if method.startswith("r=")]


def _spectrum() -> Numbers:
    """Count the directions that hold 90 % of the energy, for each seed and on average."""
    record = results("rotated")
    keys = {"noise": "r90_noise", "W0": "r90_W0", "full": "r90", "pretraining": "r90_pretraining"}
    seeds = {name: per_seed(record, "full", key).tolist() for name, key in keys.items()}
    seeds["lora"] = per_seed(record, "r=16", "r90").tolist()
    means = {name: float(np.mean(values)) for name, values in seeds.items()}
    return {"r90": means, "seeds": len(seeds["full"]), "each": seeds}


@figure(_spectrum)
def spectrum_of_the_update(numbers: Numbers) -> Figure:
    """Show how many directions carry a weight, an update and noise.

    How many directions hold 90 % of the energy of a 256 × 256 layer, mean of {seeds} seeds: noise
    {r90[noise]:.3g}, the pretrained weight {r90[W0]:.3g}, the update of full fine-tuning on turned
    digits {r90[full]:.3g}, the update of pretraining itself {r90[pretraining]:.3g}, the update that
    LoRA of rank 16 makes {r90[lora]:.3g}.
    """
    labels = {
        "noise": "noise",
        "W0": "$W_0$",
        "full": "$\\Delta W$",
        "pretraining": "$W_0 - W_{init}$",
        "lora": "LoRA, $r=16$",
    }
    names, colors = list(labels)[::-1], [VERMILION, GREEN, BLUE, ORANGE, GREY]  # from below
    fig, ax = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
    for at, (name, color) in enumerate(zip(names, colors, strict=True)):
        mean, each = numbers["r90"][name], numbers["each"][name]
        ax.barh(labels[name], mean, color=color, height=0.6)
        ax.plot(each, np.full(len(each), at), "|", color=BLACK, markersize=14)
        ax.text(max(each) + 2, at, f"{mean:.3g}", va="center")
    ax.set(xlabel="$n:\\ \\sum_{i\\leq n}\\sigma_i^2 \\geq 0.9\\,\\sum\\sigma_i^2$", xlim=(0, 150))
    return fig


def _accuracies() -> Numbers:
    """Average over the seeds what each rank reaches: trained for, cut out, on upright digits."""
    record = results("rotated")
    ranks = _ranks(record)
    columns = [record["arguments"]["cuts"].index(r) for r in ranks]
    curves = {  # each (ranks, seeds)
        "lora": np.array([per_seed(record, f"r={r}") for r in ranks]),
        "cut": per_seed(record, "full", "truncated")[:, columns].T,
        "upright": np.array([per_seed(record, f"r={r}", "upright") for r in ranks]),
    }
    numbers: Numbers = {"ranks": ranks, "seeds": curves["lora"].shape[1]}
    for name, values in curves.items():
        numbers[name] = np.round(values.mean(1), 8).tolist()
        numbers[f"{name}_std"] = np.round(values.std(1, ddof=1), 8).tolist()
    mean = record["mean"]["full"]
    return {**numbers, "full": mean["test"], "upright_before": mean["upright_before"]}


@figure(_accuracies)
def accuracy_vs_rank(numbers: Numbers) -> Figure:
    """Show that a rank trained for does more than the same rank cut out, and what is forgotten.

    Test accuracy on turned digits against the rank, mean and standard deviation over {seeds} seeds.
    LoRA trained at r = 1: {lora[0]:.2f}, r = 4: {lora[2]:.2f}, r = 16: {lora[4]:.2f}. The update of
    full fine-tuning truncated to r = 1: {cut[0]:.2f}, r = 4: {cut[2]:.2f}, r = 16: {cut[4]:.2f}. A
    level line: full fine-tuning, {full:.2f}. A third curve, low at each rank: LoRA's accuracy on
    upright digits, {upright[0]:.2f} at r = 1, {upright[4]:.2f} at r = 16; before fine-tuning it was
    {upright_before:.2f}.
    """
    fig, ax = plt.subplots(figsize=(7.5, 4.0), layout="constrained")
    at = np.arange(len(numbers["ranks"]))
    for name, style, color, label in [
        ("lora", "o-", BLUE, "LoRA"),
        ("cut", "s--", ORANGE, "truncated $\\Delta W$"),
        ("upright", "^:", VERMILION, "LoRA, 0°"),
    ]:
        centre, spread = np.array(numbers[name]), np.array(numbers[f"{name}_std"])
        ax.plot(at, centre, style, color=color, label=label)
        ax.fill_between(at, centre - spread, centre + spread, color=color, alpha=0.2)
    ax.axhline(numbers["full"], color=BLACK, linewidth=1, label="full")
    ax.set(xlabel="r", xticks=at, xticklabels=numbers["ranks"], ylim=(0, 1.02), ylabel="accuracy")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return fig


def _controls() -> Numbers:
    """Collect the accuracies of four experiments: of each run, and their mean at each rank."""
    numbers: Numbers = {"ranks": {}, "each": {}}
    for task in ("rotated", "inverted", "patient", "shuffled"):
        record, key = results(task), "train" if task == "shuffled" else "test"
        ranks = _ranks(record)
        values = np.array([per_seed(record, f"r={r}", key) for r in ranks])  # (ranks, seeds)
        numbers["ranks"][task], numbers["each"][task] = ranks, values.tolist()
        numbers[task] = np.round(values.mean(1), 4).tolist()
        if "full" in record["mean"]:
            numbers[f"{task}_full"] = record["mean"]["full"][key]
    return {**numbers, "seeds": values.shape[1]}


@figure(_controls)
def controls(numbers: Numbers) -> Figure:
    """Show three tasks for one network: how much rank is enough, and how many passes.

    Three panels of accuracy against LoRA's rank, means and single runs of {seeds} seeds, full
    fine-tuning as a level line. Turned digits, test: r = 1 {rotated[0]:.2f}, full
    {rotated_full:.2f}. Inverted pixels, test, in 30 passes: r = 1 {inverted[0]:.2f}, r = 4
    {inverted[2]:.2f}, r = 16 {inverted[4]:.2f}, full {inverted_full:.2f}; in 150 passes a higher
    curve: {patient[0]:.2f}, {patient[1]:.2f}, {patient[2]:.2f}. Random labels, training, until no
    more is learned: r = 1 {shuffled[0]:.2f}, r = 4 {shuffled[1]:.2f}, r = 16 {shuffled[2]:.2f},
    full {shuffled_full:.2f}.
    """
    lines = {
        "rotated": [("rotated", "LoRA")],
        "inverted": [("inverted", "LoRA, epochs=30"), ("patient", "LoRA, epochs=150")],
        "shuffled": [("shuffled", "LoRA")],
    }
    fig, axes = plt.subplots(1, 3, figsize=(10.0, 3.6), sharey=True, layout="constrained")
    all_ranks = numbers["ranks"]["rotated"]
    for ax, (panel, tasks) in zip(axes, lines.items(), strict=True):
        for task, label in tasks:
            style, color = ("s--", ORANGE) if task == "patient" else ("o-", BLUE)
            at = [all_ranks.index(r) for r in numbers["ranks"][task]]
            each = np.array(numbers["each"][task])  # (ranks, seeds)
            ax.plot(at, each, style[0], color=color, markersize=3.5, alpha=0.6)
            ax.plot(at, each.mean(1), style, color=color, label=label)
        full = numbers[f"{panel}_full"]
        ax.axhline(full, color=BLACK, linestyle=":", linewidth=1, label="full")
        key = "train" if panel == "shuffled" else "test"
        ax.set(title=f"{panel}: {key}", xlabel="r", ylim=(0, 1.02))
        ax.set_xticks(range(len(all_ranks)), all_ranks)
        ax.legend(loc="lower right")
    axes[0].set_ylabel("accuracy")
    return fig


def _dimensions() -> Numbers:
    """Average over the seeds what d random directions reach, of D."""
    record = results("intrinsic")
    grid = [int(name.split("=")[1]) for name in record["runs"] if name.startswith("dense")]
    numbers: Numbers = {"d": grid, "D": 8970, "all": record["mean"]["all"]["test"]}
    for kind in ("sparse", "dense"):
        values = np.array([per_seed(record, f"{kind} d={d}") for d in grid])  # (grid, seeds)
        numbers[kind] = np.round(values.mean(1), 8).tolist()
        numbers[f"{kind}_std"] = np.round(values.std(1, ddof=1), 8).tolist()
    return {**numbers, "seeds": values.shape[1]}


@figure(_dimensions)
def intrinsic_dimension(numbers: Numbers) -> Figure:
    """Show how many random directions reach 90 % of what all parameters reach.

    Test accuracy against the number d of trained numbers, logarithmic, {seeds} seeds: sparse and
    dense random directions rise alike, from {dense[0]:.2f} at d = {d[0]} to {dense[4]:.2f} at d =
    {d[4]}; all {D} parameters reach {all:.2f}, and 90 % of that is a level line.
    """
    grid = numbers["d"]
    fig, ax = plt.subplots(figsize=(7.0, 3.8), layout="constrained")
    for kind, style, color in (("sparse", "o-", BLUE), ("dense", "s--", ORANGE)):
        spread = numbers[f"{kind}_std"]
        ax.errorbar(grid, numbers[kind], spread, fmt=style, color=color, label=kind, capsize=3)
    for share, text in ((1, f"d = D = {numbers['D']}"), (0.9, "90 %")):
        ax.axhline(share * numbers["all"], color=BLACK, linewidth=1, linestyle=":")
        ax.text(grid[0], share * numbers["all"] + 0.01, text)
    ax.set(xlabel="d", ylabel="accuracy", xscale="log", ylim=(0.3, 1.05))
    ax.set_xticks(grid, grid)
    ax.minorticks_off()
    ax.legend(loc="lower right")
    return fig
