"""Figures: ranks of real updates, accuracy and forgetting, subspaces, Table 7."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lora_edu.course.experiments import results
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREY, ORANGE, VERMILION

RANKS, AT = (1, 4, 8, 64), (1, 2, 4, 8, 16, 32, 64)
MODULES = [f"{layer}.{part}" for layer in (4, 5) for part in ("q", "k", "v", "o", "up", "down")]
ADAPTED = ("4.q", "4.v", "5.q", "5.v")
TABLE_7 = {4: (6.91, 0.32), 64: (3.57, 1.9)}  # r → ‖ΔW‖, ‖UᵀWV‖ as printed: GPT-3, one matrix
TABLE_7_W, TABLE_7_WIDTH = 61.95, 12_288  # ‖W‖, and d


@figure(
    "real_model_spectra",
    alt="How many directions hold 90 % of the energy, for twelve matrices in MiniLM's upper two "
    "layers, {seeds} seeds. Weights: {least} to {most}. "
    "Updates of full fine-tuning: {full[0]:.0f} (4.q), {full[2]:.0f} (4.v), {full[4]:.0f} "
    "(4.up), {full[6]:.0f} (5.q), {full[8]:.0f} (5.v), {full[11]:.0f} (5.down). Updates of LoRA, r "
    "= 64, on q and v: {lora[0]:.2g}, {lora[1]:.2g}, {lora[2]:.2g}, {lora[3]:.2g}. Noise: "
    "{noise[0]:.0f} for square matrices, {noise[1]:.0f} for the others.",
)
def real_model_spectra() -> tuple[Figure, Numbers]:
    """Show how many directions carry the weights of a real model, and its updates."""
    runs = results("minilm")["runs"]
    full, lora = ([run["r90"] for run in runs[method]] for method in ("full", "r=64"))
    noise, W0 = (np.mean([run[f"r90_{of}"] for run in runs["full"]], 0) for of in ("noise", "W0"))
    at = np.arange(len(MODULES))[::-1]
    of_lora = at[[MODULES.index(name) for name in ADAPTED]]
    noises = [noise[int(name.endswith(("up", "down")))] for name in MODULES]
    fig, ax = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
    ax.plot(noises, at, "|", color=GREY, markersize=14, label="noise")
    ax.plot(W0, at, "s", color=ORANGE, label="$W_0$")
    ax.plot(np.transpose(full), at, "o", color=BLUE, alpha=0.6, label=["full", "", ""])
    ax.plot(np.transpose(lora), of_lora, "^", color=VERMILION, label=["$r=64$", "", ""])
    ax.set(yticks=at, yticklabels=MODULES, xlim=(-5, 310))
    ax.set_xlabel("$n:\\ \\sum_{i\\leq n}\\sigma_i^2 \\geq 0.9\\,\\sum\\sigma_i^2$")
    ax.grid(axis="y", alpha=0.3)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    numbers = {"full": np.mean(full, axis=0).round(2), "lora": np.mean(lora, axis=0).round(2)}
    numbers |= {"W0": W0.astype(int), "noise": noise.round(2), "least": W0.min().astype(int)}
    numbers |= {"most": W0.max().astype(int), "seeds": np.array(len(full))}
    return fig, {k: v.tolist() for k, v in numbers.items()}


@figure(
    "real_model_rank_sweep",
    alt="Two panels against LoRA's rank, mean and standard deviation of {seeds} seeds. Left, test "
    "accuracy on five newsgroups: r = 1 {test[0]:.3f}, r = 8 {test[2]:.3f}, r = 64 {test[3]:.3f}; "
    "the head alone {head:.3f}, full fine-tuning of two layers {full:.3f}. Right, posts of other "
    "groups whose nearest neighbour is of the same group: with the head alone, which changes "
    "nothing there, {before:.2f}; r = 1 {neighbours[0]:.2f}, r = 8 {neighbours[2]:.2f}, r = 64 "
    "{neighbours[3]:.2f}, full {neighbours_full:.2f}.",
)
def real_model_rank_sweep() -> tuple[Figure, Numbers]:
    """Show what each rank learns on real text, and what it forgets."""
    record = results("minilm")
    mean, std, at = record["mean"], record["std"], np.arange(len(RANKS))
    fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    numbers: Numbers = {"seeds": len(record["runs"]["full"])}
    for ax, key in zip(axes, ("test", "neighbours"), strict=True):
        numbers[key], spread = ([of[f"r={r}"][key] for r in RANKS] for of in (mean, std))
        ax.errorbar(at, numbers[key], spread, fmt="o-", color=BLUE, capsize=3, label="LoRA")
        ax.axhline(mean["full"][key], linestyle="--", color=BLACK, label="full")
        ax.axhline(mean["head"][key], linestyle=":", color=VERMILION, label="head")
        ax.set(xlabel="r", xticks=at, xticklabels=RANKS, ylabel=key)
    axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    lines = {"head": mean["head"]["test"], "full": mean["full"]["test"]}
    lines |= {"before": mean["head"]["neighbours"], "neighbours_full": mean["full"]["neighbours"]}
    return fig, numbers | lines


@figure(
    "subspace_similarity",
    alt="Eight heat maps of phi(A of r = 8, A of r = 64, i, j), mean of {seeds} seeds, for q and v "
    "of two layers. Trained from different seeds, phi(1, 1) is {different[0]:.2f}, "
    "{different[1]:.2f}, {different[2]:.2f}, {different[3]:.2f}, and phi(8, 64) "
    "{all_different[0]:.2f}, {all_different[1]:.2f}, {all_different[2]:.2f}, "
    "{all_different[3]:.2f}. From the same seed, phi(8, 64) of the first matrix is "
    "{all_same[0]:.2f}, and {all_same[3]:.2f} for the last.",
)
def subspace_similarity() -> tuple[Figure, Numbers]:
    """Show which directions two ranks share, and what one seed for both pretends."""
    runs = results("subspaces")["runs"]
    fig, axes = plt.subplots(2, 4, figsize=(9.5, 4.4), layout="constrained", sharey=True)
    numbers: Numbers = {"seeds": len(runs["same"])}
    for row, method in zip(axes, ("different", "same"), strict=True):
        phi = np.mean([run["phi"] for run in runs[method]], axis=0)  # (4, 8, j)
        for ax, name, part in zip(row, ADAPTED, phi, strict=True):
            image = ax.imshow(part, vmin=0, vmax=1, aspect="auto", extent=(-0.5, 6.5, 8.5, 0.5))
            ax.set(title=name, xticks=range(len(AT)), xticklabels=AT, yticks=(1, 4, 8))
            ax.tick_params(axis="x", labelsize=9)
        row[0].set_ylabel(f"{method}\n$i$  ($r=8$)")
        shown = {method: phi[:, 0, 0], f"all_{method}": phi[:, -1, -1]}
        numbers |= {name: values.round(4).tolist() for name, values in shown.items()}
    fig.supxlabel("$j$  ($r=64$)", fontsize=11)
    fig.colorbar(image, ax=axes, label="$\\phi$")
    return fig, numbers


@figure(
    "amplification",
    alt="Two panels on logarithmic axes against r: four matrices, mean of {seeds} seeds, and "
    "crosses for GPT-3 as printed by the paper. Left, the amplification factor, median of the "
    "four: r = 4 {factor[1]:.3g} against {paper[0]:.3g}, r = 64 {factor[3]:.3g} against "
    "{paper[1]:.2g}. Right, the norm of W between the directions of the update, over that between "
    "random ones: r = 4 {own[1]:.2g} against {paper_own[0]:.2g}, r = 64 {own[3]:.2g} against "
    "{paper_own[1]:.2g}.",
)
def amplification() -> tuple[Figure, Numbers]:
    """Show the paper's Table 7 beside the same measure of this model."""
    runs, norms = results("minilm")["runs"], results("subspaces")["runs"]["same"][0]["norm_W0"]
    factor, norm = (
        np.mean([[run[key] for run in runs[f"r={r}"]] for r in RANKS], axis=1)
        for key in ("amplification", "norm")
    )  # (ranks, 4)
    own = norm / factor / (np.array(norms) * np.array(RANKS)[:, None] / 384)
    paper = [delta / between for delta, between in TABLE_7.values()]
    paper_own = [v[1] / (TABLE_7_W * r / TABLE_7_WIDTH) for r, v in TABLE_7.items()]
    fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    for ax, ours, theirs in zip(axes, (factor, own), (paper, paper_own), strict=True):
        for name, line, style in zip(ADAPTED, ours.T, ("o-", "^--", "s-.", "d:"), strict=True):
            ax.plot(RANKS, line, style, label=name)
        ax.plot(list(TABLE_7), theirs, "x", color=BLACK, markersize=12, mew=3, label="GPT-3")
        ax.axhline(1, color=GREY, linewidth=1)
        ax.set(xscale="log", yscale="log", xlabel="r", xticks=RANKS, xticklabels=RANKS)
        ax.minorticks_off()
    axes[0].set_ylabel("$\\|\\Delta W\\|\\ /\\ \\|U^T W_0 V\\|$")
    axes[1].set_ylabel("$\\|U^T W_0 V\\|\\ /\\ (\\|W_0\\|\\, r/d)$")
    axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    factor, own = (np.median(of, axis=1).round(4).tolist() for of in (factor, own))
    numbers = {"factor": factor, "own": own, "paper": paper, "paper_own": paper_own}
    return fig, numbers | {"seeds": len(runs["r=1"])}
