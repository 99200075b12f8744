"""Figures: the spectrum of an update, accuracy against rank, controls, dimension."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lora_edu.course.experiments import per_seed, results
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION

RANKS = (1, 2, 4, 8, 16)
_LABELS = {"inverted": "LoRA, epochs=30", "patient": "LoRA, epochs=150"}


@figure(
    "spectrum_of_the_update",
    alt="How many directions hold 90 % of the energy of a 256 × 256 layer, mean of {seeds} seeds: "
    "noise {r90[noise]:.3g}, the pretrained weight {r90[W0]:.3g}, the update of full fine-tuning "
    "on turned digits {r90[full]:.3g}, the update of pretraining itself {r90[pretraining]:.3g}, "
    "the update that LoRA of rank 16 makes {r90[lora]:.3g}.",
)
def spectrum_of_the_update() -> tuple[Figure, Numbers]:
    """Show how many directions carry a weight, an update and noise."""
    record = results("rotated")
    keys = {"noise": "r90_noise", "W0": "r90_W0", "full": "r90", "pretraining": "r90_pretraining"}
    r90 = {name: per_seed(record, "full", key) for name, key in keys.items()}
    r90["lora"] = per_seed(record, "r=16", "r90")
    labels = ["noise", "$W_0$", "$\\Delta W$", "$W_0 - W_{init}$", "LoRA, $r=16$"]
    fig, ax = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
    means = [float(np.mean(values)) for values in r90.values()]
    ax.barh(labels[::-1], means[::-1], color=[VERMILION, GREEN, BLUE, ORANGE, GREY], height=0.6)
    for at, values in enumerate(list(r90.values())[::-1]):
        ax.plot(values, np.full(len(values), at), "|", color=BLACK, markersize=14)
        ax.text(max(values) + 2, at, f"{np.mean(values):.3g}", va="center")
    ax.set(xlabel="$n:\\ \\sum_{i\\leq n}\\sigma_i^2 \\geq 0.9\\,\\sum\\sigma_i^2$", xlim=(0, 150))
    return fig, {"r90": dict(zip(r90, means, strict=True)), "seeds": len(r90["full"])}


@figure(
    "accuracy_vs_rank",
    alt="Test accuracy on turned digits against the rank, mean and standard deviation over "
    "{seeds} seeds. LoRA trained at r = 1: {lora[0]:.2f}, r = 4: {lora[2]:.2f}, r = 16: "
    "{lora[4]:.2f}. The update of full fine-tuning truncated to r = 1: {cut[0]:.2f}, r = 4: "
    "{cut[2]:.2f}, r = 16: {cut[4]:.2f}. A level line: full fine-tuning, {full:.2f}. A third "
    "curve, low at each rank: LoRA's accuracy on upright digits, {upright[0]:.2f} at r = 1, "
    "{upright[4]:.2f} at r = 16; before fine-tuning it was {upright_before:.2f}.",
)
def accuracy_vs_rank() -> tuple[Figure, Numbers]:
    """Show that a rank trained for does more than the same rank cut out, and what is forgotten."""
    record = results("rotated")
    cut = per_seed(record, "full", "truncated")[:, 1:6]  # r = 1, 2, 4, 8, 16
    curves = {  # each (seeds, ranks)
        "LoRA": np.array([per_seed(record, f"r={r}") for r in RANKS]).T,
        "truncated $\\Delta W$": cut,
        "LoRA, 0°": np.array([per_seed(record, f"r={r}", "upright") for r in RANKS]).T,
    }
    fig, ax = plt.subplots(figsize=(7.5, 4.0), layout="constrained")
    at, styles = np.arange(len(RANKS)), [("o-", BLUE), ("s--", ORANGE), ("^:", VERMILION)]
    for (name, values), (style, color) in zip(curves.items(), styles, strict=True):
        centre, spread = values.mean(0), values.std(0, ddof=1)
        ax.plot(at, centre, style, color=color, label=name)
        ax.fill_between(at, centre - spread, centre + spread, color=color, alpha=0.2)
    full = record["mean"]["full"]["test"]
    ax.axhline(full, color=BLACK, linewidth=1, label="full")
    ax.set(xlabel="r", xticks=at, xticklabels=RANKS, ylim=(0, 1.02), ylabel="accuracy")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    names = zip(("lora", "cut", "upright"), curves.values(), strict=True)
    numbers = {name: np.round(values.mean(0), 4).tolist() for name, values in names}
    before = record["mean"]["full"]["upright_before"]
    return fig, numbers | {"seeds": len(cut), "full": full, "upright_before": before}


@figure(
    "controls",
    alt="Three panels of accuracy against LoRA's rank, means and single runs of {seeds} seeds, "
    "full fine-tuning as a level line. Turned digits, test: r = 1 {rotated[0]:.2f}, full "
    "{rotated_full:.2f}. Inverted pixels, test, in 30 passes: r = 1 {inverted[0]:.2f}, r = 4 "
    "{inverted[2]:.2f}, r = 16 {inverted[4]:.2f}, full {inverted_full:.2f}; in 150 passes a higher "
    "curve: {patient[0]:.2f}, {patient[1]:.2f}, {patient[2]:.2f}. Random labels, training, until "
    "no more is learned: r = 1 {shuffled[0]:.2f}, r = 4 {shuffled[1]:.2f}, r = 16 "
    "{shuffled[2]:.2f}, full {shuffled_full:.2f}.",
)
def controls() -> tuple[Figure, Numbers]:
    """Show three tasks for one network: how much rank is enough, and how many passes."""
    panels = {"rotated": ["rotated"], "inverted": ["inverted", "patient"], "shuffled": ["shuffled"]}
    fig, axes = plt.subplots(1, 3, figsize=(10.0, 3.6), sharey=True, layout="constrained")
    numbers: Numbers = {}
    for ax, (title, tasks) in zip(axes, panels.items(), strict=True):
        key = "train" if title == "shuffled" else "test"
        for task, style, color in zip(tasks, ("o-", "s--"), (BLUE, ORANGE), strict=False):
            runs = results(task)["runs"]
            ranks = [r for r in RANKS if f"r={r}" in runs]
            values = np.array([[run[key] for run in runs[f"r={r}"]] for r in ranks])
            at = [RANKS.index(r) for r in ranks]
            ax.plot(at, values, style[0], color=color, markersize=3.5, alpha=0.6)
            ax.plot(at, values.mean(1), style, color=color, label=_LABELS.get(task, "LoRA"))
            numbers[task] = np.round(values.mean(1), 4).tolist()
        numbers[f"{title}_full"] = results(title)["mean"]["full"][key]
        ax.axhline(numbers[f"{title}_full"], color=BLACK, linestyle=":", linewidth=1, label="full")
        ax.set(
            title=f"{title}: {key}", xlabel="r", xticks=range(5), xticklabels=RANKS, ylim=(0, 1.02)
        )
        ax.legend(loc="lower right")
    axes[0].set_ylabel("accuracy")
    return fig, numbers | {"seeds": values.shape[1]}


@figure(
    "intrinsic_dimension",
    alt="Test accuracy against the number d of trained numbers, logarithmic, {seeds} seeds: sparse "
    "and dense random directions rise alike, from {dense[0]:.2f} at d = {d[0]} to {dense[4]:.2f} "
    "at d = {d[4]}; all {D} parameters reach {all:.2f}, and 90 % of that is a level line.",
)
def intrinsic_dimension() -> tuple[Figure, Numbers]:
    """Show how many random directions reach 90 % of what all parameters reach."""
    record = results("intrinsic")
    grid = [int(m.split("=")[1]) for m in record["runs"] if m.startswith("dense")]
    fig, ax = plt.subplots(figsize=(7.0, 3.8), layout="constrained")
    numbers: Numbers = {"d": grid, "D": 8970, "all": record["mean"]["all"]["test"]}
    for kind, style, color in (("sparse", "o-", BLUE), ("dense", "s--", ORANGE)):
        values = np.array([per_seed(record, f"{kind} d={d}") for d in grid])  # (grid, seeds)
        ax.errorbar(
            grid, values.mean(1), values.std(1, ddof=1),
            fmt=style, color=color, label=kind, capsize=3,
        )  # fmt: skip
        numbers |= {kind: np.round(values.mean(1), 4).tolist(), "seeds": values.shape[1]}
    for share, text in ((1, f"d = D = {numbers['D']}"), (0.9, "90 %")):
        ax.axhline(share * numbers["all"], color=BLACK, linewidth=1, linestyle=":")
        ax.text(grid[0], share * numbers["all"] + 0.01, text)
    ax.set(xlabel="d", ylabel="accuracy", xscale="log", ylim=(0.3, 1.05))
    ax.set_xticks(grid, grid)
    ax.minorticks_off()
    ax.legend(loc="lower right")
    return fig, numbers
