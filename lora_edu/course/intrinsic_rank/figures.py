"""Figures: an update's heights, classes, two ways to a rank, what is kept, alpha; the evidence."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lora_edu import lowrank
from lora_edu.course.experiments import intervals
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION, cells, note, runs
from lora_edu.course.recorded import column, record, rounded


def at(name: str, method: str, lr: float, key: str = "test") -> NDArray:
    """Return what a method gave at one rate, seed by seed."""
    return column(name, key, method=method, lr=lr)


def reported(name: str, method: str, key: str = "test") -> NDArray:
    """Return what a method gave at the rate that the choosing seeds found best, seed by seed."""
    return at(name, method, float(record(f"{name}_tuning")["chosen"][method]), key)


def best_of(name: str, words: str) -> str:
    """Return the method of these words, and one more, that the choosing seeds found best."""
    tried = tuned(name, words)
    return max(tried, key=lambda method: tried[method])


def tuned(name: str, words: str) -> dict[str, float]:
    """Return each method of these words, and one more → its mean at the best rate, as chosen.

    The last word is its alpha or scale.
    """
    search = record(f"{name}_tuning")["search"]
    tried = [method for method in search if method.rpartition(" ")[0] == words]
    if not tried:
        raise ValueError(f"{name} was tuned for no {words!r}; it was for {', '.join(search)}")
    return {method: max(np.mean(v) for v in search[method].values()) for method in tried}


# -- how many directions -------------------------------------------------------------------------


def _heights(matrices: Mapping[str, NDArray] | None = None) -> Numbers:
    """Return the singular values as shares of the norm: of these matrices, or of the record."""
    if matrices is None:
        return _recorded_heights()
    if not 1 <= len(matrices) <= 3:
        raise ValueError(f"matrices must be one to three, got {len(matrices)}")
    sigma = {name: np.linalg.svd(m, compute_uv=False) for name, m in matrices.items()}
    return {
        "places": list(range(1, 1 + max(map(len, sigma.values())))),
        "heights": {n: (s / max(np.linalg.norm(s), 1e-30)).tolist() for n, s in sigma.items()},
        "r90": {name: lowrank.energy_rank(s) for name, s in sigma.items()},
    }


def _recorded_heights() -> Numbers:
    labels = {"update": "the update", "W0": "the weight $W_0$", "noise": "noise"}
    paths = {"update": ("passes", 1), "W0": ("W0",), "noise": ("noise",)}
    heights = {name: column("one_change", "heights", name).mean(axis=0) for name in labels}
    return {
        "places": record("one_change")["arguments"]["places"],
        "heights": {labels[name]: of.round(6).tolist() for name, of in heights.items()},
        "r90": {labels[n]: float(column("one_change", *path).mean()) for n, path in paths.items()},
        "first": [round(float(of[0]), 3) for of in heights.values()],
        "seeds": len(record("one_change")["rows"]),
    }


@figure(_heights, 7.5, 4.0)
def heights_of_the_update(numbers: Numbers, ax: Axes) -> None:
    """Show that an update stands on a few directions, and the weight it is added to on many.

    Singular values of three 256 × 256 matrices of one norm, the largest first, both axes
    logarithmic, means of {seeds} runs. The update of full fine-tuning on turned digits starts
    highest, at {first[0]} of its norm, and falls steeply: 90 % of its energy are in the first
    {r90[the update]:.3g} directions. The weight below starts lower, at {first[1]}, and falls
    slowly: {r90[the weight $W_0$]:.3g}. Noise is nearly level, from {first[2]} on:
    {r90[noise]:.3g}.
    """
    looks = [("-", VERMILION), ("--", BLUE), (":", GREY)]
    for (name, heights), (dash, color) in zip(numbers["heights"].items(), looks, strict=False):
        n, places = numbers["r90"][name], numbers["places"][: len(heights)]
        ax.loglog(places, heights, dash, color=color, label=f"{name}: {n:.3g}")
        ax.plot(n, np.interp(n, places, heights), "o", color=color, markersize=8)
    ax.set(xlabel="direction, the strongest first", ylabel="singular value σ, share of the norm")
    ax.set(ylim=(1e-4, 1), title="few directions, or many? (left of a dot: 90 % of the energy)")
    ax.legend(loc="lower left", title="directions for 90 %")


def _classes() -> Numbers:
    """Count the directions of updates against the number of classes."""
    names = [name for name in record("taught")["rows"][0] if name != "seed"]
    each = {name: column("taught", name) for name in names}  # (seeds, classes)
    return {
        "classes": record("taught")["arguments"]["classes"],
        "seeds": len(each["tuned"]),
        "mean": {name: np.round(values.mean(axis=0), 2).tolist() for name, values in each.items()},
        "pretraining": each["pretraining"],
        "tuned": each["tuned"],
    }


@figure(_classes, 6.5, 4.0, runs=0)
def classes_taught(numbers: Numbers, ax: Axes) -> None:
    """Show that pretraining's own update has about as many directions as classes were taught.

    Directions that hold 90 % of the energy against the number of classes, {classes}, into which the
    labels are merged; the pictures stay. {seeds} runs as dots, their mean as a line. The update of
    pretraining lies in a grey band, between the classes and one less: {mean[pretraining]}. That of
    fine-tuning a network that had been taught ten lies above it where classes are few:
    {mean[tuned]}.
    """
    classes = np.array(numbers["classes"])
    label = "classes, or one less"
    ax.fill_between(classes, classes - 1, classes, color=GREY, alpha=0.3, label=label)
    runs(ax, classes - 0.08, numbers["pretraining"], "o-", BLUE, "pretraining's update")
    label = "fine-tuning's, after ten classes"
    runs(ax, classes + 0.08, numbers["tuned"], "s--", VERMILION, label)
    ax.set(xlabel="classes", ylabel="directions for 90 %", xticks=classes, ylim=0)
    ax.set_title("pretraining's update knows how many classes it was taught")
    ax.legend(loc="lower right")


# -- two ways to a rank, and what they leave -----------------------------------------------------


def _ways() -> Numbers:
    """Collect what a rank reaches on turned digits: trained, and cut out in two ways.

    Each cut is of full fine-tuning at the rate that suits it best on these very runs.
    """
    arguments = record("turned")["arguments"]
    ranks, rates = arguments["cuts"], arguments["rates"]["full"]
    trained = [reported("turned", best_of("turned", f"r={r}")) for r in ranks]
    each = {"LoRA": np.stack(trained, axis=1)}  # (seeds, ranks)
    for key in ("cut_by_outputs", "cut"):
        tried = np.stack([at("turned", "full", lr, key) for lr in rates])  # (rates, seeds, ranks)
        best = tried.mean(axis=1).argmax(axis=0)  # (ranks,)
        each[key.replace("_", " ")] = tried[best, :, range(len(ranks))].T
    return {
        "ranks": ranks,
        "mean": {name: values.mean(axis=0).round(3).tolist() for name, values in each.items()},
        "full": rounded(reported("turned", "full")),
        "seeds": len(trained[0]),
        "each": np.stack(list(each.values())),  # (ways, seeds, ranks)
    }


@figure(_ways, 7.5, 4.0, runs=1)
def cut_or_trained(numbers: Numbers, ax: Axes) -> None:
    """Show where training a rank beats cutting it out of full fine-tuning: at small ranks.

    Test accuracy on turned digits at ranks {ranks}, {seeds} runs as dots and their mean. LoRA:
    {mean[LoRA]}. The update of full fine-tuning, cut so that its outputs come nearest: {mean[cut by
    outputs]}. Cut by itself: {mean[cut]}. (Both from the learning rate that suits them best.) A
    level line: full fine-tuning, {full}.
    """
    steps = range(len(numbers["ranks"]))
    looks = [("o-", BLUE), ("s--", GREEN), ("^-.", ORANGE)]
    for name, each, (look, color) in zip(numbers["mean"], numbers["each"], looks, strict=True):
        runs(ax, steps, each, look, color, name)
    ax.axhline(numbers["full"], color=BLACK, linewidth=1, label="full fine-tuning")
    ax.set_xticks(steps, numbers["ranks"])
    ax.set(xlabel="rank", ylabel="right on turned digits", ylim=(0, 1.02))
    ax.set_title("the same rank, cut out or trained")
    ax.legend(loc="lower right")


def best_way(r: int) -> str:
    """Return which of LoRA, cut and cut by outputs is right most often at a rank, on average."""
    numbers = _ways()
    place = numbers["ranks"].index(r)
    return max(numbers["mean"], key=lambda way: numbers["mean"][way][place])


def against_the_line() -> dict[str, NDArray]:
    """Return by how much less LoRA keeps than full fine-tuning that has learned as much.

    A setting of LoRA → of upright digits, one gap a seed. On the line that joins the rates
    of full fine-tuning (up to 0.01, where it learns most) a point stands for a mixture of two: both
    tests are averaged with the weights that make the turned digits, in the mean, as often right.
    """
    rates = record("turned")["arguments"]["rates"]
    marks = [np.array([at("turned", "full", lr, key) for key in ("test", "upright")])
             for lr in rates["full"] if lr <= 0.01]  # fmt: skip
    found = {}
    for method in (method for method in rates if method != "full"):
        for lr in rates[method]:
            learned, kept = (at("turned", method, lr, key) for key in ("test", "upright"))
            high = next(i for i, mark in enumerate(marks) if mark[0].mean() >= learned.mean())
            one, other = marks[high - 1 : high + 1]
            share = (learned - other[0]).mean() / (one[0] - other[0]).mean()
            found[f"{method}, {lr:g}"] = share * one[1] + (1 - share) * other[1] - kept
    return found


def _frontier() -> Numbers:
    """Average what each method learns of the turned digits and keeps of the upright ones."""
    curves: dict[str, list[list[float]]] = {}
    for method, rates in record("turned")["arguments"]["rates"].items():
        curve = curves.setdefault(method.split()[0], [])
        for lr in rates:
            curve.append([rounded(at("turned", method, lr, key)) for key in ("test", "upright")])
    gaps = [rounded(gap, 2) for gap in against_the_line().values()]
    return {
        "curves": curves,
        "rates": record("turned")["arguments"]["rates"]["full"],
        "most": max(gaps),
        "above": -min(gaps),
        "before": rounded(reported("turned", "full", "upright_before")),
        "kept": {name: max(kept for _, kept in curve) for name, curve in curves.items()},
        "seeds": len(reported("turned", "full")),
    }


@figure(_frontier, 7.0, 4.6)
def learning_and_forgetting(numbers: Numbers, ax: Axes) -> None:
    """Show what full fine-tuning and LoRA learn and what they keep, at all rates: the lines cross.

    Right on upright digits after fine-tuning on turned ones, against right on turned ones; a mark
    for each rate and alpha, the mean of {seeds} runs. Before, {before} of the upright digits were
    right. A line joins the rates of full fine-tuning, which stand beside it. Most marks
    of LoRA lie below the line, by up to {most}; two lie above it, by up to {above}.
    """
    looks = {
        "full": ("o-", BLACK, "full fine-tuning, and its rates"),
        "r=1": ("x", GREY, "LoRA, r=1, 2, 8"), "r=2": ("x", GREY, None),
        "r=4": ("s", BLUE, "LoRA, r=4"), "r=8": ("x", GREY, None),
        "r=16": ("D", GREEN, "LoRA, r=16"), "r=64": ("*", VERMILION, "LoRA, r=64"),
    }  # fmt: skip
    for name, (look, color, label) in looks.items():
        ax.plot(*np.transpose(numbers["curves"][name]), look, color=color, label=label)
    for lr, mark in zip(numbers["rates"], numbers["curves"]["full"], strict=True):
        note(ax, f"{lr:g}", mark, (5, 5) if lr < 0.03 else (-12, -14), fontsize=9)
    ax.set(xlabel="right on turned digits", ylabel="still right on upright digits", ylim=(0, 0.8))
    ax.set_title("up and to the right is better")
    ax.legend(loc="lower left")


# -- light and dark ------------------------------------------------------------------------------


def _grids() -> Numbers:
    """Average what the tuning on inverted digits got right, alpha by rate."""
    search = record("inverted_tuning")["search"]  # method → rate → what is right, one a seed
    rates, scales = [*search["r=1 alpha=1"]], [1, 4, 16, 64, 256, 1024]
    grids = {}
    for r in (1, 4, 16):
        tried = [[*search[f"r={r} alpha={r * scale}"].values()] for scale in scales]
        grids[f"r={r}"] = np.mean(tried, axis=-1)
    bests = np.array([[float(rates[row.argmax()]) for row in grid] for grid in grids.values()])
    return {
        "rates": rates,
        "scales": scales,
        "lower": (bests[:, 0] / bests[:, -1]).round().astype(int).tolist(),
        "usual": {r: rounded(grid[0].max()) for r, grid in grids.items()},
        "best": {r: rounded(grid.max()) for r, grid in grids.items()},
        "full": rounded(np.mean([*search["full"].values()], axis=1).max()),
        "seeds": len(search["full"]["0.001"]),
        "grids": np.stack([*grids.values()]),  # (ranks, alphas, rates)
    }


@figure(_grids, 10.5, 3.8, 3, sharey=True)
def alpha_and_rate(numbers: Numbers, axes: NDArray) -> None:
    """Show that alpha must be tuned: with the same rank and as many passes, far more is right.

    Three maps, for LoRA of rank 1, 4 and 16, of what is right on inverted digits after 30 passes,
    the mean of {seeds} choosing runs on validation: the rate across, alpha up, as a multiple of the
    rank. A larger alpha wants a smaller rate: in the highest row {lower} times smaller than in the
    lowest, at the three ranks. In the lowest row, where alpha is the rank, the best are
    {usual[r=1]}, {usual[r=4]} and {usual[r=16]}; of all cells, {best[r=1]}, {best[r=4]} and
    {best[r=16]}. Full fine-tuning: {full}.
    """
    rates, scales = numbers["rates"], numbers["scales"]
    for ax, name, grid in zip(axes, numbers["best"], numbers["grids"], strict=True):
        words = [f"{right:.2f}".removeprefix("0") for right in grid.flat]
        cells(ax, grid, words, vmin=0, vmax=1, origin="lower")
        ax.texts[grid.argmax()].set_weight("bold")
        ax.set_xticks(range(len(rates)), rates, rotation=45)
        ax.set(title=f"LoRA, {name}", xlabel="learning rate")
    axes[0].set_yticks(range(len(scales)), [f"{s} r" if s > 1 else "r" for s in scales])
    axes[0].set_ylabel("α")


def lucky() -> tuple[float, int, float]:
    """Return the best test of all LoRA runs of rank 16 in the tuning, their number, full's mean."""
    rows = record("inverted_tuning")["rows"]
    tried = [row["test"] for row in rows if row["method"].startswith("r=16 ")]
    return max(tried), len(tried), float(at("inverted_tuning", "full", 1e-3).mean())


# -- how we know ---------------------------------------------------------------------------------


def capacity(case: str) -> tuple[int, float, float]:
    """Return how many numbers train, and what share and how many bits of the labels they hold."""
    method = best_of("by_heart", case)
    keys = ("numbers", "learned", "validation")
    numbers, learned, bits = (reported("by_heart", method, key).mean() for key in keys)
    return int(numbers), float(learned), float(bits)


def changed() -> dict[str, float]:
    """Return what is changed → the directions of full fine-tuning's update, mean of all seeds."""
    arguments = record("one_change")["arguments"]
    paths: dict[str, tuple] = {"nothing": ("passes", 1), "the start: random": ("start",)}
    grids = {"rate": "lrs", "passes": "passes", "turn": "degrees", "width": "widths"}
    for what, argument in grids.items():
        for i, value in enumerate(arguments[argument]):
            paths[f"{what}: {value:g}"] = what, i
    return {words: float(column("one_change", *path).mean()) for words, path in paths.items()}


def gaps() -> dict[str, NDArray]:
    """Return each comparison that the lesson makes → its gaps, one a seed."""
    found = {}
    ways = _ways()
    # rank → (seeds,)
    trained, cut, _ = (dict(zip(ways["ranks"], each.T, strict=True)) for each in ways["each"])
    for r in ways["ranks"]:
        found[f"turned: full - LoRA r={r}"] = reported("turned", "full") - trained[r]
    usual = reported("turned", "r=16 alpha=16")
    found["turned: full - LoRA r=16, α = r"] = reported("turned", "full") - usual
    for r in (1, 4, 8, 16):
        found[f"turned: LoRA r={r} - cut by outputs"] = trained[r] - cut[r]
    for r in (1, 16):
        for passes, name in ((30, "inverted"), (150, "patient")):
            full, words = reported(name, "full"), f"inverted, {passes} passes: full - LoRA r={r}"
            found[f"{words}, α = r"] = full - reported(name, f"r={r} alpha={r}")
            found[f"{words}, α chosen"] = full - reported(name, best_of(name, f"r={r}"))
    pretraining = column("taught", "pretraining", 0)
    found["directions: fine-tuning - pretraining"] = column("taught", "tuned", 0) - pretraining
    slow, *_, fast = column("one_change", "rate").T
    found["directions: rate 0.01 - rate 0.0003"] = fast - slow
    right = at("by_heart", "full right", 1e-3, "r90")
    found["directions: senseless - right labels"] = at("by_heart", "full", 1e-3, "r90") - right

    def bits(case: str) -> NDArray:
        return reported("by_heart", best_of("by_heart", case), "validation")

    one = bits("width=256 r=1")
    found["bits: rank 1, width 256 - width 64"] = one - bits("width=64 r=1")
    found["bits: rank 3, width 64 - rank 1, width 256"] = bits("width=64 r=3") - one
    return found


def evidence() -> list[tuple[str, float, float, float, float]]:
    """Return each comparison: its mean gap, the 95 % interval, and p of no gap after Holm."""
    return intervals(gaps())
