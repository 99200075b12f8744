"""Figures: learning against forgetting, the directions of real updates, an update cut."""

import re
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lora_edu.counting import one_of
from lora_edu.course import plots
from lora_edu.course.experiments import intervals
from lora_edu.course.figures import Numbers, figure, mean_and_half
from lora_edu.course.plots import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION, cells, runs
from lora_edu.course.real_model.experiments import FEW
from lora_edu.course.recorded import column, record, rounded

PARTS = ("query", "key", "value", "output", "up", "down")


def chosen(method: str) -> float:
    """Return the rate at which a method was best on validation, in the runs that chose."""
    rates = record("minilm_tuning")["chosen"]
    return float(rates[one_of("method", method, rates)])


def tuned(method: str) -> tuple[str, float]:
    """Return a method with its best alpha and that one's best rate: of those that were tried."""
    search = record("minilm_tuning")["search"]
    one_of("method", method, search)
    names = [name for name in search if re.fullmatch(rf"{method}( alpha=\d+)?", name)]
    rights = {(n, float(lr)): np.mean(each) for n in names for lr, each in search[n].items()}
    return max(rights, key=rights.__getitem__)


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
    drawn = [method for method in rates if not re.search("passes|posts", method)]
    return [(method, lr) for method in drawn for lr in rates[method]]


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


@figure(_frontier, 11, 4.6, 2, runs=1, sharey=True)
def real_frontier(numbers: Numbers, axes: NDArray) -> None:
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
    looks = {"r=1": ("^:", ORANGE), "r=8": ("s--", BLUE), "r=64": ("D-.", GREEN)}
    rates, clouds = record("minilm")["arguments"]["rates"], iter(numbers["clouds"])
    for method, curve in numbers["curves"].items():
        dots = np.concatenate([next(clouds) for _ in curve])
        if method == "head":
            continue
        ax = axes[0 if "q,v" in method else 1]  # "LoRA q,v r=8", "full q,v" or "full"
        style, color = looks.get(method.split()[2] if "LoRA" in method else "", ("o-", BLACK))
        label = f"LoRA, {method.split()[2]}" if "LoRA" in method else "trained fully"
        if "alpha" in method:  # one rate, not a line
            style, label, alpha = "D", None, method.split("=")[-1]
            away = (-12, -34) if ax is axes[0] else (2, 30)  # where no line is
            line = {"arrowstyle": "-"}
            plots.note(ax, f"α = {alpha}", curve[0], away, color=GREEN, arrowprops=line)
        ax.plot(*dots.T, style[0], color=color, markersize=3, alpha=0.25)
        ax.plot(*np.transpose(curve), style, color=color, label=label)
        if "full" in method:
            for lr, at_rate in zip(rates[method], curve, strict=True):
                ax.annotate(f"  {lr:.5f}".rstrip("0"), at_rate, fontsize=9, va="bottom")
    star = {"markersize": 24, "color": VERMILION, "markeredgecolor": BLACK, "zorder": 4}
    centre = {"ha": "center", "va": "center", "color": "white", "weight": "bold"}
    for ax, title in zip(axes, ("queries and values: 4 matrices", "all 12 matrices"), strict=True):
        ax.plot(0, 0, "o", color=GREY, markersize=9, label="the head alone")
        for number, dot in enumerate(numbers["own"], 1):
            ax.plot(*dot, "*", **star, label=None if number > 1 else "yours")
            ax.text(*dot, str(number), fontsize=9, zorder=5, **centre)
        ax.set(xlabel=f"right on {numbers['part']} posts, above the head alone", title=title)
        ax.set(xlim=(-0.05, 0.12), ylim=(-0.13, 0.035))
        ax.axhline(0, color=GREY, linewidth=0.6)
    axes[0].set_ylabel("change in neighbours kept")
    axes[1].legend(loc="lower left", fontsize=10)


def better(learned: float, kept: float, part: str = "validation") -> list[str]:
    """Return the recorded settings whose means are better than a dot in both."""
    names, all_learned, all_kept = means(part)
    return names[(all_learned > learned) & (all_kept > kept)].tolist()


# -- inside the update ---------------------------------------------------------------------------


def _of_full(key: str) -> NDArray:
    return column("minilm_updates", key, method="full")


def _spectra() -> Numbers:
    """Average the singular values of twelve weights, of their updates, and count directions."""
    lora = column("minilm_updates", "r90", method="LoRA q,v r=64")  # (seeds, 4)
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
    }


@figure(_spectra, 12, 4.6, 6, 2, sharex=True, sharey=True)
def real_spectra(numbers: Numbers, axes: NDArray) -> None:
    """Show the singular values of twelve weights of a real model, and of their updates.

    One panel for each matrix of MiniLM's layers 4 and 5, both axes logarithmic, scaled to one norm,
    means of {seeds} runs. The updates of full fine-tuning (solid) start higher and fall earlier
    than the weights (dashed). In each panel: how many directions hold 90 % of the energy.
    Updates, layer 4 first: {update}. Weights: {W0}. Noise: {noise[0]:.0f} for square matrices,
    {noise[4]:.0f} for the others. LoRA's updates at rank 64, on queries and values: {lora}.
    """
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
    fig = axes[0, 0].figure
    fig.supxlabel("direction, the strongest first", fontsize=11)
    fig.supylabel("singular value, share of the norm", fontsize=11)


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
    }


@figure(_cuts, 7.5, 4.0)
def real_cut(numbers: Numbers, ax: Axes) -> None:
    """Show how many directions of a real update are needed, kept in three ways.

    Right on the test posts when each of twelve full updates is cut to {cuts} directions, {seeds}
    runs as dots, and their mean. The strongest directions of the update: {mean[cut]}. Those with
    the largest outputs: {mean[cut_by_outputs]}; with outputs that vary most: {mean[cut_centred]}.
    Level lines: the whole update {full}, the head alone {head}.
    """
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


def left_of_the_update(k: int) -> str:
    """Return what full updates cut to k directions come nearest to, on test: "all" or "head"."""
    numbers = _cuts()
    kept = numbers["mean"]["cut"][numbers["cuts"].index(k)]
    return "all" if numbers["full"] - kept < abs(kept - numbers["head"]) else "head"


# -- full minus LoRA ------------------------------------------------------------------------------


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


PAIRS = {
    "queries and values": ("full q,v", "LoRA q,v r=64"),
    "all twelve": ("full", "LoRA all r=64"),
    "queries and values, 6 passes": ("full q,v, 6 passes", "LoRA q,v r=8, 6 passes"),
}
QUESTIONS = ("learned", "kept")


def gaps() -> dict[tuple[str, str], NDArray]:
    """Return (question, pair) → full minus LoRA on test, one a seed: what is learned, and kept."""
    found = {}
    for pair, (full, small) in PAIRS.items():
        both = moved(full, chosen(full)), moved(*tuned(small))
        for question, ours, theirs in zip(QUESTIONS, *both, strict=True):
            found[question, pair] = ours - theirs
    return found


def compared() -> dict[tuple[str, str], tuple[float, float, float, float]]:
    """Return (question, pair) → full minus LoRA, the 95 % interval, and p after Holm."""
    return {name: (*rest,) for name, *rest in intervals(gaps())}


def _full_minus_lora() -> Numbers:
    ends, found = {}, gaps()
    for key, each in found.items():
        mean, half = mean_and_half(each)
        ends[key] = [float(mean + way * half) for way in (0, -1, 1)]
    return {
        "gaps": {pair: {q: ends[q, pair] for q in QUESTIONS} for pair in PAIRS},
        "seeds": len(next(iter(found.values()))),
    }


@figure(_full_minus_lora, 8, 3.6)
def full_minus_lora(numbers: Numbers, ax: Axes) -> None:
    """Show how much more full training learns and keeps than LoRA, on a real model.

    Full minus LoRA, the mean of {seeds} runs and its 95 % interval, on MiniLM and newsgroups: what
    is learned on test posts (circles) and what is kept of the neighbours (squares). Each at the
    rate, and LoRA at the alpha, that other runs chose. On queries and values full training learns
    {gaps[queries and values][learned][0]:.3f} more, and keeps
    {gaps[queries and values][kept][0]:.3f} more; on all twelve matrices it is
    {gaps[all twelve][learned][0]:.3f} and {gaps[all twelve][kept][0]:.3f}, with six passes on
    queries and values {gaps[queries and values, 6 passes][learned][0]:.3f} and
    {gaps[queries and values, 6 passes][kept][0]:.3f}.
    """
    looks = {"learned": ("o", BLUE, 0.12), "kept": ("s", VERMILION, -0.12)}
    for question, (marker, color, off) in looks.items():
        for row, of_pair in enumerate(numbers["gaps"].values()):
            mean, low, high = of_pair[question]
            reach = [[mean - low], [high - mean]]
            look = {"color": color, "label": question if row == 0 else None, "capsize": 3}
            ax.errorbar(mean, -row + off, xerr=reach, fmt=marker, **look)
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set_yticks([0, -1, -2], numbers["gaps"])
    ax.set_xlabel("LoRA ahead   ←   full minus LoRA   →   full ahead")
    ax.set_title("each at the setting that other runs chose")
    ax.legend()


# -- fewer posts, other alphas -------------------------------------------------------------------

BY_POSTS = {
    "head": ("head alone", "o:", GREY),
    "LoRA q,v r=8": ("LoRA, r = 8", "s--", BLUE),
    "full": ("full", "D-", BLACK),
}


def by_posts() -> dict[str, dict[int, NDArray]]:
    """Return method → number of posts to learn from → what is right on test, one a seed."""
    found: dict[str, dict[int, NDArray]] = {}
    for method in BY_POSTS:
        named = {n: f"{method}, {n} posts" for n in FEW} | {1000: method}
        found[method] = {
            n: column("minilm", "test", method=name, lr=chosen(name)) for n, name in named.items()
        }
    return found


def _few_posts() -> Numbers:
    each = by_posts()
    return {
        "right": {method: [*map(rounded, of.values())] for method, of in each.items()},
        "posts": [*each["full"]],
        "seeds": len(each["full"][1000]),
        "each": np.array([[*of.values()] for of in each.values()]),  # (methods, posts, seeds)
    }


@figure(_few_posts, 7.5, 4.0)
def few_posts(numbers: Numbers, ax: Axes) -> None:
    """Show how many posts it takes: what is right on test posts after 50 to 1,000 of them.

    {seeds} runs each, as faint marks, and their means, of {posts[0]} to {posts[3]} posts: the head
    alone {right[head][0]} to {right[head][3]}, LoRA {right[LoRA q,v r=8][0]} to
    {right[LoRA q,v r=8][3]}, full training {right[full][0]} to {right[full][3]}. Each at the rate
    that other runs chose for it, and with as many passes as make sixty steps or more.
    """
    for (words, look, color), each in zip(BY_POSTS.values(), numbers["each"], strict=True):
        runs(ax, numbers["posts"], each.T, look, color, words)
    ax.set(xscale="log", xlabel="posts to learn from (five classes)", ylabel="right on test posts")
    ax.set_xticks(numbers["posts"], [*map(plots.grouped, numbers["posts"])])
    ax.minorticks_off()
    ax.set_title("how many examples?")
    ax.legend(loc="lower right")


WIDE = {"LoRA q,v r=64": "full q,v", "LoRA all r=64": "full"}


def _rates_and_alphas() -> Numbers:
    search = record("minilm_tuning")["search"]
    alphas = {"8": " alpha=8", "32": "", "128": " alpha=128", "512": " alpha=512"}
    rights = {
        method: {
            alpha: {lr: rounded(np.array(each)) for lr, each in search[method + end].items()}
            for alpha, end in alphas.items()
        }
        for method in WIDE
    }
    full = {method: rounded(np.array(search[f][f"{chosen(f):g}"])) for method, f in WIDE.items()}
    seeds = len(search["full"]["0.0001"])
    return {"right": rights, "full": full, "best": {m: tuned(m) for m in WIDE}, "seeds": seeds}


@figure(_rates_and_alphas, 11, 3.6, 2, sharey=True)
def rates_and_alphas(numbers: Numbers, axes: NDArray) -> None:
    """Show what LoRA of rank 64 gets right at each alpha and rate that was tried, on MiniLM.

    Two tables, queries and values, and all twelve matrices. A row is an alpha, a column a rate, a
    cell the share of validation posts that is right: the mean of {seeds} runs that chose. A star
    marks the best: {best[LoRA q,v r=64][0]}, at rate {best[LoRA q,v r=64][1]}, and
    {best[LoRA all r=64][0]}, at rate {best[LoRA all r=64][1]}. Full training of the same matrices
    at its best rate: {full[LoRA q,v r=64]} and {full[LoRA all r=64]}.
    """
    titles = "queries and values", "all twelve"
    for ax, title, (method, by_alpha) in zip(axes, titles, numbers["right"].items(), strict=True):
        rates = sorted({lr for of in by_alpha.values() for lr in of}, key=float)
        table = np.array([[of.get(lr, np.nan) for lr in rates] for of in by_alpha.values()])
        top = np.nanmax(table)
        words = ["" if np.isnan(v) else f"{v:.3f}" + "*" * int(v == top) for v in table.flat]
        cells(ax, table, words, 0.7, 10, vmin=0.6, vmax=0.8)
        ax.set_xticks(range(len(rates)), [f"{float(lr):g}" for lr in rates])
        ax.set(xlabel="rate", title=f"{title} (full: {numbers['full'][method]:.3f})")
    axes[0].set_yticks(range(len(by_alpha)), by_alpha)
    axes[0].set_ylabel("alpha")


# -- how we know ---------------------------------------------------------------------------------


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
    """Return what a slower head did, in the runs that chose: setting, rate, right, kept."""
    found = []
    for slow, (lr, *_) in record("minilm_tuning")["arguments"]["rates"].items():
        if slow.endswith(", slow head"):
            for method in (slow.removesuffix(", slow head"), slow):
                right = column("minilm_tuning", "validation", method=method, lr=lr).mean()
                _, kept = moved(method, lr, "validation", "minilm_tuning")
                found.append((method, lr, float(right), float(kept.mean())))
    return found


def spread(part: str = "validation") -> tuple[float, float]:
    """Return how far a run lies from the mean of its setting, learned and kept: the median."""
    deviations = [np.std(moved(*setting, part), axis=1, ddof=1) for setting in _settings()]
    learned, kept = np.median(deviations, axis=0)
    return float(learned), float(kept)
