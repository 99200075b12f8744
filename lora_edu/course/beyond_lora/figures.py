"""Figures: curves without names, gains with and without care, a row of DoRA, rates."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lora_edu.counting import one_of
from lora_edu.course.beyond_lora.experiments import rounding_error as rounding_error  # for the page
from lora_edu.course.beyond_lora.experiments import settings
from lora_edu.course.experiments import intervals
from lora_edu.course.figures import Numbers, figure, mean_and_half
from lora_edu.course.plots import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION
from lora_edu.course.recorded import column, record, rounded

TASKS = {"inverted": "inverted digits", "turned": "turned digits", "minilm": "MiniLM, newsgroups"}
KINDS = {
    "lora": ("plain LoRA", BLUE),
    "rslora": ("rsLoRA", GREY),
    "lora+": ("LoRA+", ORANGE),
    "pissa": ("PiSSA", VERMILION),
    "dora": ("DoRA", GREEN),
    "random start": ("random start", BLACK),
}
SECRET = {"A": "dora", "B": "lora+", "C": "pissa", "D": "lora", "E": "random start"}


RECORDED = {task: f"descendants_{task}" for task in TASKS} | {"small batches": "small_batches"}


def searched(task: str) -> dict[str, dict[float, float]]:
    """Return what was tried: method → rate → right on validation, a mean."""
    search = record(f"{RECORDED[one_of('task', task, RECORDED)]}_tuning")["search"]
    return {
        method: {float(lr): float(np.mean(each)) for lr, each in rates.items()}
        for method, rates in search.items()
    }


def chosen(task: str, kind: str, alpha: int | None = None, r: int = 8) -> tuple[str, float]:
    """Return the method and rate that did best on validation: of all alphas of a kind, or one."""
    found = {}
    for method, rates in searched(task).items():
        known, numbers = settings(method)
        fits = (known, numbers.get("r", r)) == (kind, r)
        if fits and alpha in (None, numbers.get("alpha")):
            found |= {(method, lr): round(right, 9) for lr, right in rates.items()}
    if not found:
        raise ValueError(f"nothing was tried of {kind!r} with alpha={alpha} and r={r}")
    return max(found, key=found.__getitem__)


def right(
    task: str, kind: str, alpha: int | None = None, r: int = 8, what: str = "test"
) -> NDArray:
    """Return what runs at the chosen setting gave, one a seed: (seeds,), or (seeds, passes)."""
    method, lr = chosen(task, kind, alpha, r)
    return column(RECORDED[task], what, method=method, lr=lr)


ORIGINAL = 8  # the alpha of all, if nobody tunes it


def gaps(task: str) -> dict[tuple[str, bool], NDArray]:
    """Return (kind, tuned) → by how much more is right than with plain LoRA, one a seed.

    Not tuned: alpha is 8 in both. Tuned: each has its own. The rate is chosen in both cases.
    """
    tried = {settings(method)[0] for method in searched(task)}
    found = {}
    for kind in ("rslora", "lora+", "pissa", "dora"):
        if kind in tried:
            found[kind, False] = right(task, kind, ORIGINAL) - right(task, "lora", ORIGINAL)
        if kind in tried and kind != "rslora":
            found[kind, True] = right(task, kind) - right(task, "lora")
    return found


def gains(task: str) -> dict[tuple[str, bool], tuple[float, float, float, float]]:
    """Return of each comparison of :func:`gaps` the mean, the 95 % interval, p after Holm."""
    return {name: (*rest,) for name, *rest in intervals(gaps(task))}


def interval(each: NDArray) -> list[float]:
    """Return the mean of some gaps, one a seed, and its 95 % interval: in points, to a tenth."""
    ((_, mean, low, high, _),) = intervals({"": each})
    return [round(100 * value, 1) for value in (mean, low, high)]


BY_RANK = {
    "alpha = 8 in both, plain LoRA": ("lora", "lora", 8),
    "alpha = 8 in both, rsLoRA": ("rslora", "lora", 64),
    "its best alpha at each rank": ("lora", "lora", None),
}


def by_rank(task: str, words: str) -> NDArray:
    """Return what rank 64 adds to rank 8, one a seed; rsLoRA of 64 is plain LoRA, alpha 64."""
    kind, other, alpha = BY_RANK[one_of("words", words, BY_RANK)]
    low = None if alpha is None else ORIGINAL
    return right(task, other, alpha, r=64) - right(task, kind, low)


# -- curves ---------------------------------------------------------------------------------------


def _curves() -> Numbers:
    curves = {kind: right("inverted", kind, what="curve") for kind in SECRET.values()}
    return {
        "last": {kind: rounded(each[:, -1]) for kind, each in curves.items()},
        "kinds": [*curves],
        "seeds": len(curves["lora"]),
        "full": rounded(right("inverted", "full", what="curve")[:, -1]),
        "curves": np.array([*curves.values()]),  # (kinds, seeds, passes)
    }


@figure(_curves, 8, 4.4, runs=1)
def five_curves(numbers: Numbers, ax: Axes) -> None:
    """Show how fast plain LoRA and its descendants learn, each with its own alpha and rate.

    Right on validation after each pass over inverted digits, means of {seeds} runs. At the end:
    plain LoRA {last[lora]}, LoRA+ {last[lora+]}, PiSSA {last[pissa]}, the same start in random
    directions {last[random start]}, DoRA {last[dora]}; dashed, full fine-tuning {full}.
    """
    for (letter, kind), marker, curves in zip(
        SECRET.items(), "Ds^ov", numbers["curves"], strict=True
    ):
        words, color = KINDS[kind]
        passes = range(1, curves.shape[1] + 1)
        look = {"color": color, "marker": marker, "markevery": 5, "markersize": 6}
        ax.plot(passes, curves.mean(0), **look, label=f"{letter}: {words}")
    ax.axhline(numbers["full"], color=GREY, linestyle="--", linewidth=1)
    ax.set(xlabel="passes", ylabel="right on validation", ylim=(0, 1))
    ax.legend(loc="lower right")


def envelope(bet: object) -> str:
    """Return the letter of plain LoRA, or that of LoRA+ if it was bet on: nobody can tell them."""
    letters = {kind: letter for letter, kind in SECRET.items()}
    return letters["lora+" if bet == letters["lora+"] else "lora"]


def blind() -> Figure:
    """Draw the same curves with letters for names."""
    fig, _ = five_curves()
    for name in fig.axes[0].get_legend().get_texts():
        name.set_text(name.get_text()[0])
    return fig


# -- gains ----------------------------------------------------------------------------------------


def _gains() -> Numbers:
    numbers: Numbers = {"tasks": TASKS, "seeds": {}}
    for task in TASKS:
        numbers[task] = {}
        for (kind, tuned), each in gaps(task).items():
            numbers["seeds"][task] = len(each)
            mean, half = mean_and_half(each)
            name = f"{kind}, tuned" if tuned else f"{kind}, alpha 8"
            ends = mean + half * np.array([0, -1, 1])
            numbers[task][name] = (100 * ends).round(1).tolist()
    return numbers


@figure(_gains, 11, 3.4, len(TASKS), sharey=True)
def gains_and_care(numbers: Numbers, axes: NDArray) -> None:
    """Show what each descendant gains over plain LoRA, before and after both are tuned.

    Three panels: inverted digits, turned digits, MiniLM on newsgroups. Across, what is right on
    test above plain LoRA, in points of a hundred, with 95 % intervals over {seeds[turned]} runs
    on digits and {seeds[minilm]} on MiniLM. Open: both with alpha = 8. Full: both with their best
    alpha. Inverted digits: PiSSA
    {inverted[pissa, alpha 8][0]} and {inverted[pissa, tuned][0]}, LoRA+
    {inverted[lora+, alpha 8][0]} and {inverted[lora+, tuned][0]}, DoRA
    {inverted[dora, alpha 8][0]} and {inverted[dora, tuned][0]}. Turned: PiSSA
    {turned[pissa, alpha 8][0]} and {turned[pissa, tuned][0]}. MiniLM: PiSSA
    {minilm[pissa, alpha 8][0]} and {minilm[pissa, tuned][0]}.
    """
    kinds = ("dora", "pissa", "lora+", "rslora")
    for ax, (task, title) in zip(axes, numbers["tasks"].items(), strict=True):
        for name, (mean, low, high) in numbers[task].items():
            kind, tuned = name.split(", ")
            color = KINDS[kind][1]
            inside, shift = (color, -0.14) if tuned == "tuned" else ("white", 0.14)
            up = kinds.index(kind) + shift
            ax.plot([low, high], [up, up], color=color)
            ax.plot(mean, up, "o", color=color, markerfacecolor=inside, markersize=8)
        ax.axvline(0, color=GREY, linewidth=1)
        ax.set(title=title, xlabel="points above plain LoRA")
        ax.set_yticks(range(len(kinds)), [KINDS[kind][0] for kind in kinds])
    axes[0].plot([], [], "o", color=BLACK, markerfacecolor="white", label="alpha = 8 in both")
    axes[0].plot([], [], "o", color=BLACK, label="both tuned")
    axes[0].legend(fontsize=9)


# -- a row of DoRA --------------------------------------------------------------------------------


def _row() -> Numbers:
    row, direction = np.array([1.8, 0.7]), np.array([-0.35, 0.94])
    tips = row + np.linspace(-1.5, 1.5, 7)[:, None] * direction  # (7, 2)
    lengths = np.linalg.norm(tips, axis=1)
    m = np.linalg.norm(row)
    return {
        "m": rounded(m, 2),
        "shortest": rounded(lengths.min(), 2),
        "longest": rounded(lengths.max(), 2),
        "row": row,
        "direction": direction,
        "lora": tips,
        "dora": m * tips / lengths[:, None],
    }


@figure(_row, 9.4, 4.2, 2, sharey=True)
def a_row_of_dora(numbers: Numbers, axes: NDArray) -> None:
    """Show what LoRA and DoRA do to a row of a weight.

    A row of two numbers as an arrow, {m} long, and where seven values of one number of B put it.
    Left, LoRA: the tip moves along a line, so that the length changes with the direction, from
    {shortest} to {longest}. Right, DoRA: the tip moves around a circle of radius m = {m}, and m
    itself can be changed.
    """
    row, angle = numbers["row"], np.linspace(-0.7, 1.7, 100)
    line = row + np.outer((-2, 2), numbers["direction"])
    circle = np.linalg.norm(row) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    titles = "LoRA: along a line", "DoRA: around a circle, and m, its radius"
    paths = {"lora": line, "dora": circle}
    for ax, (name, path), title in zip(axes, paths.items(), titles, strict=True):
        for tip in numbers[name]:
            _arrow(ax, tip, BLUE, 1.5)
        ax.plot(*numbers[name].T, "o", color=BLUE, markersize=5)
        _arrow(ax, row, BLACK, 2.5)
        ax.plot(*path.T, "--", color=GREY, linewidth=1)
        ax.set(title=title, xlim=(-0.3, 3), ylim=(-1.2, 2.6), aspect="equal")
    _arrow(axes[1], 1.35 * numbers["dora"][5], VERMILION, 2)


def _arrow(ax: Axes, tip: NDArray, color: str, width: float) -> None:
    look = {"arrowstyle": "->", "color": color, "linewidth": width, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", tip, (0, 0), arrowprops=look)


# -- learning rates -------------------------------------------------------------------------------


RATED = {
    "full": ("full fine-tuning", "o-", BLACK),
    "lora r=8 alpha=8": ("LoRA, alpha = 8", "s-", BLUE),
    "lora r=8 alpha=32": ("LoRA, alpha = 32", "D-", ORANGE),
    "lora r=8 alpha=512": ("LoRA, alpha = 512", "v-", VERMILION),
    "lora r=64 alpha=8": ("rank 64, alpha = 8", "^--", BLUE),
}


def _rates() -> Numbers:
    seeds = len(record("descendants_turned_tuning")["search"]["full"]["0.001"])
    numbers: Numbers = {"seeds": seeds, "reached": {}}
    for task in ("turned", "inverted"):
        found = {name: searched(task)[name] for name in RATED}
        best = {n.replace("lora ", ""): max(of, key=of.__getitem__) for n, of in found.items()}
        numbers["reached"][task], numbers[task] = found, best
    return numbers


@figure(_rates, 10, 3.8, 2, sharey=True)
def learning_rate_gap(numbers: Numbers, axes: NDArray) -> None:
    """Show how far apart the best learning rates of LoRA and of full fine-tuning are.

    Right on validation against the learning rate, logarithmic, means of {seeds} seeds, the best
    rate of each as a star. Turned digits: full {turned[full]:g}, LoRA with alpha 8
    {turned[r=8 alpha=8]:g}, 32 {turned[r=8 alpha=32]:g}, 512 {turned[r=8 alpha=512]:g}. Inverted:
    full {inverted[full]:g}, LoRA {inverted[r=8 alpha=8]:g}, {inverted[r=8 alpha=32]:g} and
    {inverted[r=8 alpha=512]:g}; of rank 64 {inverted[r=64 alpha=8]:g}.
    """
    for ax, task in zip(axes, ("turned", "inverted"), strict=True):
        for name, (words, style, color) in RATED.items():
            of = numbers["reached"][task][name]
            ax.plot([*of], [*of.values()], style, color=color, markersize=5, label=words)
            best = max(of, key=of.__getitem__)
            ax.plot(best, of[best], "*", color=color, markersize=15)
        ax.set(title=TASKS[task], xlabel="learning rate", xscale="log", ylim=(0, 1.02))
    axes[0].set_ylabel("right on validation")
    axes[0].legend(loc="lower left", fontsize=9)


PLACES = {
    "attention, rank 45": "lora attention",
    "MLP, rank 36": "lora mlp",
    "all, rank 20": "lora all",
}


def placed(words: str, what: str = "test") -> NDArray:
    """Return what MiniLM's runs gave with LoRA on some of its matrices, one a seed."""
    kind = PLACES[one_of("words", words, PLACES)]
    (r,) = {settings(method)[1]["r"] for method in searched("minilm") if method.startswith(kind)}
    return right("minilm", kind, r=r, what=what)


def rates_of_minilm() -> dict[str, float]:
    """Return the best rates of lesson 08's search: full fine-tuning, and LoRA with alpha = 32."""
    chosen = record("minilm_tuning")["chosen"]
    names = ("full", "LoRA all r=1", "LoRA all r=8", "LoRA all r=64")
    return {name: chosen[name] for name in names}


# -- evidence -------------------------------------------------------------------------------------

FOUR_BITS = {
    "W0 as it is, the head alone": ("head", None),
    "W0 in NF4, the head alone": ("nf4 head", None),
    "W0 as it is, LoRA": ("lora", 32),
    "W0 in NF4, LoRA": ("nf4", 32),
}


def collapsed(task: str, kind: str, alpha: int | None = None) -> int:
    """Return how many runs end with less than half of the test right."""
    return int((right(task, kind, alpha) < 0.5).sum())


# -- a reward ------------------------------------------------------------------------------------

REWARDED = {"LoRA, r = 1": ("^", ORANGE), "LoRA, r = 16": ("s", BLUE), "full": ("o", BLACK)}


def rewarded(method: str, lr: float, what: str = "reward") -> NDArray:
    """Return a number of the runs with a reward, one a seed."""
    return column("rewarded", what, method=method, lr=lr)


def _reward_and_cost() -> Numbers:
    rates = record("rewarded")["arguments"]["rates"]
    settings = [(method, lr) for method in REWARDED for lr in rates[method]]
    each = {what: np.array([rewarded(*s, what) for s in settings]) for what in ("reward", "cost")}
    steps = np.array([rewarded(*s, "rewards") for s in settings])  # (settings, seeds, steps)
    shape = (len(REWARDED), -1, steps.shape[1], 2)
    names = [f"{method}, {lr:g}" for method, lr in settings]
    return {
        "reward": dict(zip(names, each["reward"].mean(1).round(2).tolist(), strict=True)),
        "cost": dict(zip(names, each["cost"].mean(1).round(2).tolist(), strict=True)),
        "before": rounded(column("rewarded", "before"), 2),
        "seeds": steps.shape[1],
        "each": np.stack([each["cost"], each["reward"]], -1).reshape(shape),  # (…, rates, seeds, 2)
        "steps": steps.mean(1).reshape(len(REWARDED), -1, steps.shape[2] // 4, 4).mean(-1),
    }


@figure(_reward_and_cost, 11, 4.2, 2, sharey=True)
def reward_and_cost(numbers: Numbers, axes: NDArray) -> None:
    """Show what a chat model learns from a reward, and what of its own it loses by it.

    Left, the mean reward of four steps, on the way; right, after 24 steps, the reward of answers to
    unseen questions (before: {before}) against the nats by which a token of the model's own answers
    has become less likely; {seeds} runs as faint marks, and their means, a line through the rates
    of a method. At its highest rate LoRA of rank 1 ends at {reward[LoRA, r = 1, 0.003]} for a cost
    of {cost[LoRA, r = 1, 0.003]}, LoRA of rank 16 {reward[LoRA, r = 16, 0.003]} for
    {cost[LoRA, r = 16, 0.003]}, full training {reward[full, 0.0003]} for {cost[full, 0.0003]}.
    """
    left, right = axes
    of_methods = zip(REWARDED.items(), numbers["each"], numbers["steps"], strict=True)
    for (method, (marker, color)), dots, by_rate in of_methods:
        best = np.argmax(dots[:, :, 1].mean(1))
        for rate, steps in enumerate(by_rate):
            dash, name = ("-", method) if rate == best else (":", None)
            places = 4 * np.arange(len(steps)) + 2
            left.plot(places, steps, f"{marker}{dash}", color=color, markersize=5, label=name)
        right.plot(*dots.reshape(-1, 2).T, marker, color=color, markersize=4, alpha=0.3)
        right.plot(*dots.mean(1).T, f"{marker}-", color=color, label=method)
    right.plot(0, numbers["before"], "*", color=VERMILION, markersize=16, label="before")
    left.set(xlabel="step", ylabel="reward", ylim=(0, 1.03), title="on the way")
    right.set(xlabel="its own answers, nats a token less likely", title="at the end: what it cost")
    left.set_xticks([0, 8, 16, 24])
    left.legend()
    right.legend()
