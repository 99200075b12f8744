"""Figures: learning against forgetting, the directions of real updates, an update cut."""

import functools
from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lora_edu.course.experiments import intervals, results
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION

PARTS = ("query", "key", "value", "output", "up", "down")


@functools.cache
def record(name: str) -> dict[str, Any]:
    """Return a record and what follows from it, read once."""
    return results(name)


def at(name: str, method: str, lr: float, key: str) -> NDArray:
    """Return what a method gave at one rate, seed by seed, (seeds,) or (seeds, n)."""
    rows = record(name)["rows"]
    return np.array([row[key] for row in rows if (row["method"], row["lr"]) == (method, lr)])


def chosen(method: str) -> float:
    """Return the rate at which a method was best on the validation posts of the eight runs.

    Reported is what it got on their test posts. (The three runs of other seeds that were to choose
    gave two of LoRA's methods a rate that was worse in the eight: too few.)
    """
    return float(record("minilm")["chosen"][method])


def moved(method: str, lr: float, part: str = "test", name: str = "minilm") -> tuple[NDArray, ...]:
    """Return what a setting learned, and what it kept, seed by seed: (seeds,) each.

    Learned: right on the posts of a part, less what the head alone gets right there. Kept: of the
    posts of other groups with a neighbour of their own, less what the untouched encoder has.
    """
    head = at(name, "head", chosen("head"), part), at(name, "head", chosen("head"), "neighbours")
    own = at(name, method, lr, part), at(name, method, lr, "neighbours")
    return own[0] - head[0], own[1] - head[1]


# -- learning against forgetting -----------------------------------------------------------------


def _settings() -> list[tuple[str, float]]:
    rates = record("minilm")["arguments"]["rates"]
    return [(method, lr) for method in rates if "passes" not in method for lr in rates[method]]


def _frontier(part: str = "test", own: Iterable[tuple[float, float]] = ()) -> Numbers:
    """Collect what each setting learned and kept, and where dots of one's own lie."""
    if part not in ("test", "validation"):
        raise ValueError(f"part must be 'test' or 'validation', got {part!r}")
    try:
        own = [[float(learned), float(kept)] for learned, kept in own]
    except (TypeError, ValueError):
        raise ValueError(f"own must be a list of pairs (learned, kept), got {own!r}") from None
    curves: dict[str, list[list[float]]] = {}
    clouds = []
    ahead: dict[str, float] = {}
    best: dict[str, list[float]] = {}
    for method, lr in _settings():
        both = moved(method, lr, part)
        clouds.append(np.transpose(both))  # (seeds, 2)
        curves.setdefault(method, []).append([round(float(x.mean()), 4) for x in both])
        learned = float(moved(method, lr, "validation")[0].mean())
        if learned > ahead.get(method, -1):
            ahead[method], best[method] = learned, curves[method][-1]
    return {
        "curves": curves,
        "part": part,
        "seeds": len(clouds[0]),
        "settings": len(clouds),
        "before": round(float(at("minilm", "head", chosen("head"), "neighbours").mean()), 3),
        "head": round(float(at("minilm", "head", chosen("head"), part).mean()), 3),
        "best": best,
        "own": own,
        "clouds": np.stack(clouds),  # (settings, seeds, 2)
    }


@figure(_frontier)
def real_frontier(numbers: Numbers) -> Figure:
    """Show what each method learns and what it forgets, at all rates, on a real model.

    MiniLM's upper two layers on five newsgroups. Across: how many more of the {part} posts are
    right than with the head alone ({head}). Up: how the share of posts of other groups changes that
    keep a neighbour of their own group ({before} before). {settings} settings, the mean of {seeds}
    runs each, and the runs as faint marks; a line joins the rates of a method. Left, LoRA on
    queries and values, and the same four matrices trained fully; right, all twelve. Up and to the
    right is better. Across and up, at the rate that is best on validation: full fine-tuning of the
    two layers {best[full]}, of the queries and values alone {best[full q,v]}; LoRA of rank 8 on
    queries and values {best[LoRA q,v r=8]}, of rank 64 on all linear layers {best[LoRA all r=64]}.
    """
    fig, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
    looks = {"full": ("o-", BLACK), "r=1": ("^:", ORANGE), "r=8": ("s--", BLUE)}
    looks["r=64"] = ("D-.", GREEN)
    panels = {"q,v": axes[0], "all": axes[1]}  # full fine-tuning is that of all
    clouds = iter(numbers["clouds"])
    for method, curve in numbers["curves"].items():
        words = [*method.split(), "all", ""]  # "LoRA q,v r=8", "full q,v" or "full"
        style, color = looks.get(words[2], looks["full"])
        label = "trained fully" if words[0] == "full" else f"LoRA, {words[2]}"
        runs = np.concatenate([next(clouds) for _ in curve])
        if method == "head":
            continue
        panels[words[1]].plot(*runs.T, style[0], color=color, markersize=3, alpha=0.25)
        panels[words[1]].plot(*np.transpose(curve), style, color=color, label=label)
    for ax, title in zip(axes, ("queries and values: 4 matrices", "all 12 matrices"), strict=True):
        ax.plot(0, 0, "o", color=GREY, markersize=9, label="the head alone")
        for number, dot in enumerate(numbers["own"], 1):
            star = {"markersize": 24, "color": VERMILION, "markeredgecolor": BLACK, "zorder": 4}
            ax.plot(*dot, "*", **star, label=None if number > 1 else "yours")
            centre = {"ha": "center", "va": "center", "color": "white", "weight": "bold"}
            ax.text(*dot, str(number), fontsize=9, zorder=5, **centre)
        ax.set(xlabel=f"right on {numbers['part']} posts, above the head alone", title=title)
        ax.set(xlim=(-0.05, 0.12), ylim=(-0.13, 0.035))
        ax.axhline(0, color=GREY, linewidth=0.6)
    for panel, method in {"q,v": "full q,v", "all": "full"}.items():
        rates = [lr for name, lr in _settings() if name == method]
        for lr, at_rate in zip(rates, numbers["curves"][method], strict=True):
            panels[panel].annotate(f"  {lr:.5f}".rstrip("0"), at_rate, fontsize=9, va="bottom")
    axes[0].set_ylabel("change in neighbours kept")
    axes[1].legend(loc="lower left", fontsize=10)
    return fig


def better(learned: float, kept: float, part: str = "validation") -> list[str]:
    """Return the recorded settings whose means are better than a dot in both."""
    found = []
    for method, lr in _settings():
        means = [float(each.mean()) for each in moved(method, lr, part)]
        if means[0] > learned and means[1] > kept:
            found.append(f"{method}, rate {lr:g}")
    return found


# -- inside the update ---------------------------------------------------------------------------


def _spectra() -> Numbers:
    """Average the singular values of twelve weights, of their updates, and count directions."""
    lr = chosen("full")
    counts = {
        name: at("minilm_updates", "full", lr, name) for name in ("r90", "r90_W0", "r90_noise")
    }
    lora = at("minilm_updates", "LoRA q,v r=64", chosen("LoRA q,v r=64"), "r90")  # (seeds, 4)
    heights = {n: at("minilm_updates", "full", lr, n).mean(0) for n in ("heights", "heights_W0")}
    means = {name: each.mean(0).round(1).tolist() for name, each in counts.items()}
    return {
        "update": means["r90"],
        "W0": means["r90_W0"],
        "noise": means["r90_noise"],
        "least": min(means["r90"]),
        "most": max(means["r90"]),
        "lora": lora.mean(0).round(1).tolist(),
        "lora_most": int(lora.max()),
        "places": record("minilm_updates")["arguments"]["places"],
        "seeds": len(lora),
        "heights": np.stack([heights["heights"], heights["heights_W0"]]),  # (2, 12, places)
        "each": counts["r90"],
    }


@figure(_spectra)
def real_spectra(numbers: Numbers) -> Figure:
    """Show the singular values of twelve weights of a real model, and of their updates.

    One panel for each matrix of MiniLM's layers 4 and 5, both axes logarithmic, scaled to one norm,
    means of {seeds} runs. The updates of full fine-tuning (solid) start higher and fall earlier
    than the weights (dashed). In each panel: how many directions hold 90 % of the energy.
    Updates, layer 4 first: {update}. Weights: {W0}. Noise: {noise[0]:.0f} for square matrices,
    {noise[4]:.0f} for the others. LoRA's updates at rank 64, on queries and values: {lora}.
    """
    fig, axes = plt.subplots(
        2, 6, figsize=(12, 4.6), layout="constrained", sharex=True, sharey=True
    )
    updates, weights = numbers["heights"]
    for i, ax in enumerate(axes.flat):
        ax.loglog(numbers["places"], weights[i], "--", color=BLUE, label="weight")
        ax.loglog(numbers["places"], updates[i], "-", color=VERMILION, label="update")
        counts = f"{numbers['update'][i]:.0f}", f"{numbers['W0'][i]:.0f}"
        for up, count, color in zip((0.22, 0.06), counts, (VERMILION, BLUE), strict=True):
            ax.text(0.06, up, count, color=color, transform=ax.transAxes, weight="bold")
        if i < len(PARTS):
            ax.set_title(PARTS[i])
    axes[0, 0].set(ylim=(1e-3, 1.3), ylabel="layer 4")
    axes[1, 0].set(ylabel="layer 5")
    axes[0, 5].legend(fontsize=9)
    fig.supxlabel("direction, the strongest first", fontsize=11)
    fig.supylabel("singular value, share of the norm", fontsize=11)
    return fig


def sizes(method: str) -> list[int]:
    """Return ‖ΔW‖/‖W₀‖ at a method's best rate, in %: the least and the most of its matrices."""
    means = 100 * at("minilm", method, chosen(method), "sizes").mean(axis=0)
    return [round(float(means.min())), round(float(means.max()))]


WAYS = {"cut": "strongest in the update", "cut_by_outputs": "strongest in the outputs"}
WAYS["cut_centred"] = "outputs, less their mean"


def _cuts() -> Numbers:
    """Collect what is right when only k directions of each full update are kept."""
    lr = chosen("full")
    whole = at("minilm_updates", "full", lr, "test")
    each = np.stack(
        [at("minilm_updates", "full", lr, name) for name in WAYS]
    )  # (ways, seeds, cuts)
    means = {name: cut.mean(0).round(3).tolist() for name, cut in zip(WAYS, each, strict=True)}
    return {
        "cuts": record("minilm_updates")["arguments"]["cuts"],
        "mean": means,
        "full": round(float(whole.mean()), 3),
        "head": round(float(at("minilm", "head", chosen("head"), "test").mean()), 3),
        "seeds": len(whole),
        "each": each,
        "whole": whole,
    }


@figure(_cuts)
def real_cut(numbers: Numbers) -> Figure:
    """Show how many directions of a real update are needed, kept in three ways.

    Right on the test posts when each of twelve full updates is cut to {cuts} directions, {seeds}
    runs as dots, and their mean. The strongest directions of the update: {mean[cut]}. Those with
    the largest outputs: {mean[cut_by_outputs]}; with outputs that vary most: {mean[cut_centred]}.
    Level lines: the whole update {full}, the head alone {head}.
    """
    fig, ax = plt.subplots(figsize=(7.5, 4.0), layout="constrained")
    looks = [("o-", BLUE), ("s--", GREEN), ("^-.", ORANGE)]
    steps = np.arange(len(numbers["cuts"]))
    for (name, mean), each, (style, color) in zip(
        numbers["mean"].items(), numbers["each"], looks, strict=True
    ):
        ax.plot(steps, each.T, style[0], color=color, markersize=3.5, alpha=0.25)
        ax.plot(steps, mean, style, color=color, label=WAYS[name])
    ax.axhline(numbers["full"], color=BLACK, linewidth=1, label="the whole update")
    ax.axhline(numbers["head"], color=GREY, linestyle=":", label="the head alone")
    ax.set(xlabel="directions kept in each matrix", ylabel="right on test posts")
    ax.set_xticks(steps, numbers["cuts"])
    ax.set_title("cut the full update: which directions are worth keeping?")
    ax.legend(loc="lower right")
    return fig


# -- how we know ---------------------------------------------------------------------------------


def means(part: str = "test") -> tuple[NDArray, NDArray, NDArray]:
    """Return the recorded settings: their names, what each learned and what it kept, on average."""
    both = [[each.mean() for each in moved(*setting, part)] for setting in _settings()]
    names = [f"{method}, rate {lr:g}" for method, lr in _settings()]
    return np.array(names), *np.transpose(both)


def on_frontier(learned: NDArray, kept: NDArray) -> NDArray:
    """Return which settings no other beats: none is as good in both, and better in one."""
    as_good = (learned[:, None] >= learned) & (kept[:, None] >= kept)
    more = (learned[:, None] > learned) | (kept[:, None] > kept)
    return np.logical_not((as_good & more).any(axis=0))


def as_much(method: str, of: str, key: str) -> float | None:
    """Return the rate at which ``of`` comes nearest to what a method has at its best rate.

    ``key``: "validation" for as much learned, "neighbours" for as much kept; of the rates up to its
    own best one, for beyond it a method learns less and forgets more. None if they are 0.02 apart.
    """
    goal = at("minilm", method, chosen(method), key).mean()
    rates = [lr for lr in record("minilm")["arguments"]["rates"][of] if lr <= chosen(of)]
    apart = {lr: abs(float(at("minilm", of, lr, key).mean() - goal)) for lr in rates}
    nearest = min(apart, key=lambda lr: apart[lr])
    return nearest if apart[nearest] < 0.02 else None


PAIRS = {
    "q and v, rank 64": ("full q,v", "LoRA q,v r=64"),
    "all twelve, rank 64": ("full", "LoRA all r=64"),
    "q and v, rank 8, 6 passes": ("full q,v, 6 passes", "LoRA q,v r=8, 6 passes"),
}
QUESTIONS = (
    "at the best rate of each: learned",
    "at the best rate of each: kept",
    "where as much is kept: learned",
    "where as much is learned: kept",
)


def gaps() -> dict[tuple[str, str], NDArray]:
    """Return (question, pair) → full minus LoRA on test, one a seed, where a rate fits."""
    found = {}
    for words, (full, small) in PAIRS.items():
        rates = [chosen(full)] * 2 + [as_much(small, full, k) for k in ("neighbours", "validation")]
        for question, lr, which in zip(QUESTIONS, rates, (0, 1, 0, 1), strict=True):
            if lr is not None:
                lora = moved(small, chosen(small))
                found[question, words] = moved(full, lr)[which] - lora[which]
    return found


def compared() -> dict[tuple[str, str], tuple[float, float, float, float]]:
    """Return (question, pair) → full minus LoRA, the 95 % interval, and p after Holm."""
    return {name: (*rest,) for name, *rest in intervals(gaps())}


def redrawn(times: int = 1000) -> float:
    """Return in what share of draws, with replacement, of the seeds a LoRA setting is unbeaten."""
    both = np.array([moved(*setting) for setting in _settings()])  # (settings, 2, seeds)
    lora = np.array([method.startswith("LoRA") for method, _ in _settings()])
    draws = np.random.default_rng(0).integers(both.shape[2], size=(times, both.shape[2]))
    return float(np.mean([on_frontier(*both[..., d].mean(-1).T)[lora].any() for d in draws]))


def tried() -> list[tuple[str, float, float, float]]:
    """Return what else the choosing seeds tried: setting, rate, right on validation, kept."""
    small = "LoRA q,v r=8"
    best = record("minilm_tuning")["chosen"]
    settings = [(m, float(best[m])) for m in (f"{small} alpha=8", small, f"{small} alpha=128")]
    rates = record("minilm_tuning")["arguments"]["rates"]
    for slow in [method for method in rates if method.endswith(", slow head")]:
        settings += [(slow.removesuffix(", slow head"), rates[slow][0]), (slow, rates[slow][0])]
    found = []
    for method, lr in settings:
        right = at("minilm_tuning", method, lr, "validation").mean()
        _, kept = moved(method, lr, "validation", "minilm_tuning")
        found.append((method, lr, float(right), float(kept.mean())))
    return found


def spread(part: str = "validation") -> tuple[float, float]:
    """Return how far a run lies from the mean of its setting, learned and kept: the median."""
    deviations = [[each.std(ddof=1) for each in moved(*setting, part)] for setting in _settings()]
    learned, kept = np.median(deviations, axis=0)
    return float(learned), float(kept)


def left_of_the_update(k: int) -> str:
    """Return what full updates cut to k directions come nearest to, on test: "all" or "head"."""
    numbers = _cuts()
    kept = numbers["mean"]["cut"][numbers["cuts"].index(k)]
    return "all" if numbers["full"] - kept < abs(kept - numbers["head"]) else "head"
