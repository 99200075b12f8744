"""Figures: ranks of real updates, accuracy and forgetting, subspaces, Table 7."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lora_edu.course.experiments import per_seed, results
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREY, ORANGE, VERMILION

MODULES = [f"{layer}.{part}" for layer in (4, 5) for part in ("q", "k", "v", "o", "up", "down")]
ADAPTED = ("4.q", "4.v", "5.q", "5.v")
TABLE_7 = {4: (6.91, 0.32), 64: (3.57, 1.9)}  # r → ‖ΔW‖, ‖UᵀWV‖ as printed: GPT-3, one matrix
TABLE_7_W, TABLE_7_WIDTH = 61.95, 12_288  # ‖W‖, and d


def _directions() -> Numbers:
    """Count the directions that hold 90 % of the energy, for each matrix."""
    record = results("minilm")
    full, lora = per_seed(record, "full", "r90"), per_seed(record, "r=64", "r90")
    W0 = per_seed(record, "full", "r90_W0").mean(0).astype(int)
    noise = per_seed(record, "full", "r90_noise").mean(0)
    means = {"full": full.mean(0), "lora": lora.mean(0), "W0": W0, "noise": noise}
    numbers: Numbers = {name: mean.round(2).tolist() for name, mean in means.items()}
    numbers |= {"least": int(W0.min()), "most": int(W0.max()), "seeds": len(full)}
    return {**numbers, "each": {"full": full.tolist(), "lora": lora.tolist()}}


@figure(_directions)
def real_model_spectra(numbers: Numbers) -> Figure:
    """Show how many directions carry the weights of a real model, and its updates.

    How many directions hold 90 % of the energy, for twelve matrices in MiniLM's upper two layers,
    {seeds} seeds. Weights: {least} to {most}. Updates of full fine-tuning: {full[0]:.0f} (4.q),
    {full[2]:.0f} (4.v), {full[4]:.0f} (4.up), {full[6]:.0f} (5.q), {full[8]:.0f} (5.v),
    {full[11]:.0f} (5.down). Updates of LoRA, r = 64, on q and v: {lora[0]:.2g}, {lora[1]:.2g},
    {lora[2]:.2g}, {lora[3]:.2g}. Noise: {noise[0]:.0f} for square matrices, {noise[1]:.0f} for the
    others.
    """
    at = np.arange(len(MODULES))[::-1]
    of_lora = at[[MODULES.index(name) for name in ADAPTED]]
    each, (square, oblong) = numbers["each"], numbers["noise"]
    noise = [oblong if name.endswith(("up", "down")) else square for name in MODULES]
    unnamed = [""] * (numbers["seeds"] - 1)  # in the legend one seed stands for all
    fig, ax = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
    ax.plot(noise, at, "|", color=GREY, markersize=14, label="noise")
    ax.plot(numbers["W0"], at, "s", color=ORANGE, label="$W_0$")
    full, lora = np.transpose(each["full"]), np.transpose(each["lora"])  # (matrices, seeds)
    ax.plot(full, at, "o", color=BLUE, alpha=0.6, label=["full", *unnamed])
    ax.plot(lora, of_lora, "^", color=VERMILION, label=["$r=64$", *unnamed])
    ax.set(yticks=at, yticklabels=MODULES, xlim=(-5, 310))
    ax.set_xlabel("$n:\\ \\sum_{i\\leq n}\\sigma_i^2 \\geq 0.9\\,\\sum\\sigma_i^2$")
    ax.grid(axis="y", alpha=0.3)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return fig


def _ranks() -> list[int]:
    """Return the ranks of LoRA that MiniLM was fine-tuned with."""
    return [int(name[2:]) for name in results("minilm")["runs"] if name.startswith("r=")]


def _learned_and_kept() -> Numbers:
    """Return accuracies and neighbours, mean and spread: of each rank, of the head, of all."""
    record, ranks = results("minilm"), _ranks()
    mean, std = record["mean"], record["std"]
    numbers: Numbers = {"ranks": ranks, "seeds": len(record["runs"]["full"])}
    for key in ("test", "neighbours"):
        numbers[key] = [mean[f"r={r}"][key] for r in ranks]
        numbers[f"{key}_std"] = [std[f"r={r}"][key] for r in ranks]
    numbers |= {"head": mean["head"]["test"], "full": mean["full"]["test"]}
    numbers["before"] = mean["head"]["neighbours"]
    return {**numbers, "neighbours_full": mean["full"]["neighbours"]}


@figure(_learned_and_kept)
def real_model_rank_sweep(numbers: Numbers) -> Figure:
    """Show what each rank learns on real text, and what it forgets.

    Two panels against LoRA's rank, mean and standard deviation of {seeds} seeds. Left, test
    accuracy on five newsgroups: r = 1 {test[0]:.3f}, r = 8 {test[2]:.3f}, r = 64 {test[3]:.3f}; the
    head alone {head:.3f}, full fine-tuning of two layers {full:.3f}. Right, posts of other groups
    whose nearest neighbour is of the same group: with the head alone, which changes nothing there,
    {before:.2f}; r = 1 {neighbours[0]:.2f}, r = 8 {neighbours[2]:.2f}, r = 64 {neighbours[3]:.2f},
    full {neighbours_full:.2f}.
    """
    at = np.arange(len(numbers["ranks"]))
    panels = [("test", "full", "head"), ("neighbours", "neighbours_full", "before")]
    fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    for ax, (key, full, head) in zip(axes, panels, strict=True):
        spread = numbers[f"{key}_std"]
        ax.errorbar(at, numbers[key], spread, fmt="o-", color=BLUE, capsize=3, label="LoRA")
        ax.axhline(numbers[full], linestyle="--", color=BLACK, label="full")
        ax.axhline(numbers[head], linestyle=":", color=VERMILION, label="head")
        ax.set(xlabel="r", xticks=at, xticklabels=numbers["ranks"], ylabel=key)
    axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return fig


def _similarities() -> Numbers:
    """Average phi over the seeds, for pairs of runs from different seeds and from the same."""
    record = results("subspaces")
    numbers: Numbers = {"seeds": len(record["runs"]["same"]), "at": record["arguments"]["at"]}
    for method in ("different", "same"):
        phi = per_seed(record, method, "phi").mean(0)  # (4, 8, j)
        numbers[method] = phi[:, 0, 0].round(4).tolist()
        numbers[f"all_{method}"] = phi[:, -1, -1].round(4).tolist()
        numbers[f"phi_{method}"] = phi
    return numbers


@figure(_similarities)
def subspace_similarity(numbers: Numbers) -> Figure:
    """Show which directions two ranks share, and what one seed for both pretends.

    Eight heat maps of phi(A of r = 8, A of r = 64, i, j), mean of {seeds} seeds, for q and v of two
    layers. Trained from different seeds, phi(1, 1) is {different[0]:.2f}, {different[1]:.2f},
    {different[2]:.2f}, {different[3]:.2f}, and phi(8, 64) {all_different[0]:.2f},
    {all_different[1]:.2f}, {all_different[2]:.2f}, {all_different[3]:.2f}. From the same seed,
    phi(8, 64) of the first matrix is {all_same[0]:.2f}, and {all_same[3]:.2f} for the last.
    """
    fig, axes = plt.subplots(2, 4, figsize=(9.5, 4.4), layout="constrained", sharey=True)
    for row, method in zip(axes, ("different", "same"), strict=True):
        for ax, name, phi in zip(row, ADAPTED, numbers[f"phi_{method}"], strict=True):
            end = len(numbers["at"]) - 0.5
            ax.imshow(phi, vmin=0, vmax=1, aspect="auto", extent=(-0.5, end, 8.5, 0.5))
            ax.set(title=name, yticks=(1, 4, 8))
            ax.set_xticks(range(len(numbers["at"])), numbers["at"])
            ax.tick_params(axis="x", labelsize=9)
        row[0].set_ylabel(f"{method}\n$i$  ($r=8$)")
    fig.supxlabel("$j$  ($r=64$)", fontsize=11)
    fig.colorbar(axes[0, 0].images[0], ax=axes, label="$\\phi$")
    return fig


def _amplifications() -> Numbers:
    """Measure how much an update amplifies what it finds, here and in the paper's Table 7."""
    record, ranks = results("minilm"), _ranks()
    methods = [f"r={r}" for r in ranks]
    factors = np.array([per_seed(record, name, "amplification").mean(0) for name in methods])
    norms = np.array([per_seed(record, name, "norm").mean(0) for name in methods])  # (ranks, 4)
    norms_0 = per_seed(results("subspaces"), "same", "norm_W0")[0]  # (4,)
    owns = norms / factors / (norms_0 * np.array(ranks)[:, None] / 384)
    numbers: Numbers = {
        "factor": np.median(factors, axis=1).round(4).tolist(),
        "own": np.median(owns, axis=1).round(4).tolist(),
        "paper": [],
        "paper_own": [],
    }
    for r, (update, between) in TABLE_7.items():
        numbers["paper"].append(update / between)
        numbers["paper_own"].append(between / (TABLE_7_W * r / TABLE_7_WIDTH))
    seeds = len(record["runs"]["full"])
    return {**numbers, "seeds": seeds, "ranks": ranks, "factors": factors, "owns": owns}


@figure(_amplifications)
def amplification(numbers: Numbers) -> Figure:
    """Show the paper's Table 7 beside the same measure of this model.

    Two panels on logarithmic axes against r: four matrices, mean of {seeds} seeds, and crosses for
    GPT-3 as printed by the paper. Left, the amplification factor, median of the four: r = 4
    {factor[1]:.3g} against {paper[0]:.3g}, r = 64 {factor[3]:.3g} against {paper[1]:.2g}. Right,
    the norm of W between the directions of the update, over that between random ones: r = 4
    {own[1]:.2g} against {paper_own[0]:.2g}, r = 64 {own[3]:.2g} against {paper_own[1]:.2g}.
    """
    ranks, styles = numbers["ranks"], ("o-", "^--", "s-.", "d:")
    fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    for ax, ours, paper in zip(axes, ("factors", "owns"), ("paper", "paper_own"), strict=True):
        for name, line, style in zip(ADAPTED, numbers[ours].T, styles, strict=True):
            ax.plot(ranks, line, style, label=name)
        at, theirs = list(TABLE_7), numbers[paper]
        ax.plot(at, theirs, "x", color=BLACK, markersize=12, mew=3, label="GPT-3")
        ax.axhline(1, color=GREY, linewidth=1)
        ax.set(xscale="log", yscale="log", xlabel="r", xticks=ranks, xticklabels=ranks)
        ax.minorticks_off()
    axes[0].set_ylabel("$\\|\\Delta W\\|\\ /\\ \\|U^T W_0 V\\|$")
    axes[1].set_ylabel("$\\|U^T W_0 V\\|\\ /\\ (\\|W_0\\|\\, r/d)$")
    axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return fig
