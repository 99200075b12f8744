"""Figures: learning against forgetting, the directions of real updates, an update cut."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lora_edu.counting import one_of
from lora_edu.course.experiments import intervals
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION, panels, runs
from lora_edu.course.recorded import column, record, rounded

PARTS = ("query", "key", "value", "output", "up", "down")


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
    head = chosen("head")
    learned, kept = (
        column(name, key, method=method, lr=lr) - column(name, key, method="head", lr=head)
        for key in (part, "neighbours")
    )
    return learned, kept


# -- learning against forgetting -----------------------------------------------------------------


def _settings() -> list[tuple[str, float]]:
    rates = record("minilm")["arguments"]["rates"]
    return [(method, lr) for method in rates if "passes" not in method for lr in rates[method]]


def _head(key: str) -> float:
    return rounded(column("minilm", key, method="head", lr=chosen("head")))


def _frontier(part: str = "test", own: Iterable[tuple[float, float]] = ()) -> Numbers:
    """Collect what each setting learned and kept, and where dots of one's own lie."""
    one_of("part", part, ("test", "validation"))
    try:
        own = [[float(learned), float(kept)] for learned, kept in own]
    except (TypeError, ValueError):
        raise ValueError(f"own must be a list of pairs (learned, kept), got {own!r}") from None
    clouds = np.array([np.transpose(moved(*setting, part)) for setting in _settings()])
    curves: dict[str, list[list[float]]] = {}
    best: dict[str, list[float]] = {}
    for (method, lr), cloud in zip(_settings(), clouds, strict=True):
        means = [rounded(each, 4) for each in cloud.T]
        curves.setdefault(method, []).append(means)
        if lr == chosen(method):
            best[method] = means
    return {
        "curves": curves,
        "part": part,
        "seeds": clouds.shape[1],
        "settings": len(clouds),
        "before": _head("neighbours"),
        "head": _head(part),
        "best": best,
        "own": own,
        "clouds": clouds,  # (settings, seeds, 2)
    }


@figure(_frontier, runs=1)
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
    fig, axes = panels(11, 4.6, 2, sharey=True)
    looks = {"r=1": ("^:", ORANGE), "r=8": ("s--", BLUE), "r=64": ("D-.", GREEN)}
    titles = "queries and values: 4 matrices", "all 12 matrices"
    clouds = iter(numbers["clouds"])
    for method, curve in numbers["curves"].items():
        dots = np.concatenate([next(clouds) for _ in curve])
        if method == "head":
            continue
        ax = axes[0 if "q,v" in method else 1]  # "LoRA q,v r=8", "full q,v" or "full"
        style, color = looks.get(method.split()[-1], ("o-", BLACK))
        label = f"LoRA, {method.split()[-1]}" if "LoRA" in method else "trained fully"
        ax.plot(*dots.T, style[0], color=color, markersize=3, alpha=0.25)
        ax.plot(*np.transpose(curve), style, color=color, label=label)
        if "full" in method:
            rates = record("minilm")["arguments"]["rates"][method]
            for lr, at_rate in zip(rates, curve, strict=True):
                ax.annotate(f"  {lr:.5f}".rstrip("0"), at_rate, fontsize=9, va="bottom")
    star = {"markersize": 24, "color": VERMILION, "markeredgecolor": BLACK, "zorder": 4}
    centre = {"ha": "center", "va": "center", "color": "white", "weight": "bold"}
    for ax, title in zip(axes, titles, strict=True):
        ax.plot(0, 0, "o", color=GREY, markersize=9, label="the head alone")
        for number, dot in enumerate(numbers["own"], 1):
            ax.plot(*dot, "*", **star, label=None if number > 1 else "yours")
            ax.text(*dot, str(number), fontsize=9, zorder=5, **centre)
        ax.set(xlabel=f"right on {numbers['part']} posts, above the head alone", title=title)
        ax.set(xlim=(-0.05, 0.12), ylim=(-0.13, 0.035))
        ax.axhline(0, color=GREY, linewidth=0.6)
    axes[0].set_ylabel("change in neighbours kept")
    axes[1].legend(loc="lower left", fontsize=10)
    return fig


def better(learned: float, kept: float, part: str = "validation") -> list[str]:
    """Return the recorded settings whose means are better than a dot in both."""
    names, all_learned, all_kept = means(part)
    return names[(all_learned > learned) & (all_kept > kept)].tolist()


# -- inside the update ---------------------------------------------------------------------------


def _of_full(key: str) -> NDArray:
    return column("minilm_updates", key, method="full", lr=chosen("full"))


def _spectra() -> Numbers:
    """Average the singular values of twelve weights, of their updates, and count directions."""
    small = "LoRA q,v r=64"
    lora = column("minilm_updates", "r90", method=small, lr=chosen(small))  # (seeds, 4)
    each = {"update": _of_full("r90"), "W0": _of_full("r90_W0"), "noise": _of_full("r90_noise")}
    means = {name: of.mean(0).round(1).tolist() for name, of in (each | {"lora": lora}).items()}
    return {
        **means,
        "least": min(means["update"]),
        "most": max(means["update"]),
        "lora_most": int(lora.max()),
        "places": record("minilm_updates")["arguments"]["places"],
        "seeds": len(lora),
        # (2, 12, places)
        "heights": np.stack([_of_full(key).mean(0) for key in ("heights", "heights_W0")]),
        "each": each["update"],
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
    fig, axes = panels(12, 4.6, 6, rows=2, sharex=True, sharey=True)
    updates, weights = numbers["heights"]
    for i, ax in enumerate(axes.flat):
        ax.loglog(numbers["places"], weights[i], "--", color=BLUE, label="weight")
        ax.loglog(numbers["places"], updates[i], "-", color=VERMILION, label="update")
        bold = {"transform": ax.transAxes, "weight": "bold"}
        ax.text(0.06, 0.22, f"{numbers['update'][i]:.0f}", color=VERMILION, **bold)
        ax.text(0.06, 0.06, f"{numbers['W0'][i]:.0f}", color=BLUE, **bold)
    for ax, part in zip(axes[0], PARTS, strict=True):
        ax.set_title(part)
    axes[0, 0].set(ylim=(1e-3, 1.3), ylabel="layer 4")
    axes[1, 0].set(ylabel="layer 5")
    axes[0, 5].legend(fontsize=9)
    fig.supxlabel("direction, the strongest first", fontsize=11)
    fig.supylabel("singular value, share of the norm", fontsize=11)
    return fig


def sizes(method: str) -> list[int]:
    """Return ‖ΔW‖/‖W₀‖ at a method's best rate, in %: the least and the most of its matrices."""
    means = 100 * column("minilm", "sizes", method=method, lr=chosen(method)).mean(axis=0)
    return [round(float(means.min())), round(float(means.max()))]


WAYS = {
    "cut": "strongest in the update",
    "cut_by_outputs": "strongest in the outputs",
    "cut_centred": "outputs, less their mean",
}


def _cuts() -> Numbers:
    """Collect what is right when only k directions of each full update are kept."""
    each = {way: _of_full(way) for way in WAYS}  # (seeds, cuts)
    whole = _of_full("test")
    return {
        "cuts": record("minilm_updates")["arguments"]["cuts"],
        "mean": {way: runs.mean(0).round(3).tolist() for way, runs in each.items()},
        "full": rounded(whole),
        "head": _head("test"),
        "seeds": len(whole),
        "each": np.stack([*each.values()]),  # (ways, seeds, cuts)
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
    fig, ax = panels(7.5, 4.0)
    looks = (("o-", BLUE), ("s--", GREEN), ("^-.", ORANGE))
    steps = range(len(numbers["cuts"]))
    for words, each, look in zip(WAYS.values(), numbers["each"], looks, strict=True):
        runs(ax, steps, each, *look, words)
    ax.axhline(numbers["full"], color=BLACK, linewidth=1, label="the whole update")
    ax.axhline(numbers["head"], color=GREY, linestyle=":", label="the head alone")
    ax.set(xlabel="directions kept in each matrix", ylabel="right on test posts")
    ax.set_xticks(steps, numbers["cuts"])
    ax.set_title("cut the full update: which directions are worth keeping?")
    ax.legend(loc="lower right")
    return fig


def left_of_the_update(k: int) -> str:
    """Return what full updates cut to k directions come nearest to, on test: "all" or "head"."""
    numbers = _cuts()
    kept = numbers["mean"]["cut"][numbers["cuts"].index(k)]
    return "all" if numbers["full"] - kept < abs(kept - numbers["head"]) else "head"


# -- how we know ---------------------------------------------------------------------------------


def means(part: str = "test") -> tuple[NDArray, NDArray, NDArray]:
    """Return the recorded settings: their names, what each learned and what it kept, on average."""
    names = [f"{method}, rate {lr:g}" for method, lr in _settings()]
    both = [np.mean(moved(*setting, part), axis=1) for setting in _settings()]
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
    goal = column("minilm", key, method=method, lr=chosen(method)).mean()
    apart = {}
    for lr in record("minilm")["arguments"]["rates"][of]:
        if lr <= chosen(of):
            apart[lr] = abs(column("minilm", key, method=of, lr=lr).mean() - goal)
    nearest = min(apart, key=apart.__getitem__)
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
    for pair, (full, small) in PAIRS.items():
        best, lora = chosen(full), moved(small, chosen(small))
        rates = (best, best, as_much(small, full, "neighbours"), as_much(small, full, "validation"))
        for question, lr, which in zip(QUESTIONS, rates, (0, 1, 0, 1), strict=True):
            if lr is not None:
                found[question, pair] = moved(full, lr)[which] - lora[which]
    return found


def compared() -> dict[tuple[str, str], tuple[float, float, float, float]]:
    """Return (question, pair) → full minus LoRA, the 95 % interval, and p after Holm."""
    return {name: (*rest,) for name, *rest in intervals(gaps())}


def redrawn(times: int = 1000) -> float:
    """Return in what share of draws, with replacement, of the seeds a LoRA setting is unbeaten."""
    both = np.array([moved(*setting) for setting in _settings()])  # (settings, 2, seeds)
    lora = np.array([method.startswith("LoRA") for method, _ in _settings()])
    seeds = both.shape[2]
    unbeaten = 0
    for drawn in np.random.default_rng(0).integers(seeds, size=(times, seeds)):
        learned, kept = both[:, :, drawn].mean(axis=2).T
        unbeaten += bool(on_frontier(learned, kept)[lora].any())
    return unbeaten / times


def tried() -> list[tuple[str, float, float, float]]:
    """Return what else the choosing seeds tried: setting, rate, right on validation, kept."""
    tuning = record("minilm_tuning")
    small = "LoRA q,v r=8"
    alphas = (f"{small} alpha=8", small, f"{small} alpha=128")
    settings = [(method, float(tuning["chosen"][method])) for method in alphas]
    for slow, (lr, *_) in tuning["arguments"]["rates"].items():
        if slow.endswith(", slow head"):
            settings += [(slow.removesuffix(", slow head"), lr), (slow, lr)]
    found = []
    for method, lr in settings:
        right = column("minilm_tuning", "validation", method=method, lr=lr).mean()
        _, kept = moved(method, lr, "validation", "minilm_tuning")
        found.append((method, lr, float(right), float(kept.mean())))
    return found


def spread(part: str = "validation") -> tuple[float, float]:
    """Return how far a run lies from the mean of its setting, learned and kept: the median."""
    deviations = [np.std(moved(*setting, part), axis=1, ddof=1) for setting in _settings()]
    learned, kept = np.median(deviations, axis=0)
    return float(learned), float(kept)
