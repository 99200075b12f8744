"""Figures: a merge being rounded, what arrives, many swaps, four bits, one batch for many."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lora_edu.course import films, plots
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.merging.experiments import in_4_bits, outcome
from lora_edu.course.plots import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION, grouped
from lora_edu.course.recorded import column, record

COLOURS = {"grimm": (BLUE, "Grimm"), "pirate": (VERMILION, "the pirate")}


def _digits(values: Iterable[float]) -> list[float]:
    """Round to three digits: what a figure shows."""
    return [float(f"{value:.3g}") for value in values]


# -- a film: a merge being rounded ---------------------------------------------------------------

STILL, FRAME = (2.6, 2.1), (8.4, 3.0)  # inches: width, height


def rounding(dtype: str = "bfloat16") -> Numbers:
    """Merge a word into weights as large as it, then ever smaller: the sizes are 1 to 0.0001.

    ``dtype`` is one of PyTorch's floating-point types, or a ValueError says so.
    """
    kind = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise ValueError(f"dtype must be a floating-point type of torch, got {dtype!r}")
    drawn = np.vstack([plots.letters("Lo")[::2], plots.letters("RA")[::2]])  # (100, 100)
    U, s, Vt = np.linalg.svd(drawn - drawn.mean())
    word = torch.from_numpy((U[:, :8] * s[:8]) @ Vt[:8])
    W0 = torch.from_numpy(np.random.default_rng(0).standard_normal(word.shape)).to(kind).double()
    delta = word * (W0.norm() / word.norm())
    sizes = np.geomspace(1, 1e-4, films.MOST_FRAMES)
    merged = [(W0 + size * delta).to(kind).double() for size in sizes]
    outcomes = [outcome(W0, s * delta, W) for s, W in zip(sizes, merged, strict=True)]
    arrived, error, still = np.transpose(outcomes)
    captions = [
        f"size {size:.2g}: {share:.0%} arrives, {stay:.0%} stay"
        for size, share, stay in zip(sizes, arrived, still, strict=True)
    ]
    moments = [int(np.argmin(np.abs(np.log(sizes / at)))) for at in (1, 0.02, 0.005, 0.001, 1e-4)]
    return {
        "captions": captions,
        "moments": moments,
        "dtype": str(kind).removeprefix("torch."),
        "weights": W0.numel(),
        "told": "; ".join(captions[i] for i in moments),
        "sizes": sizes,
        "arrived": arrived,
        "still": still,
        "error": error,
        "law": np.minimum(1, 0.425 * torch.finfo(kind).eps / 2 / sizes),
        "delta": delta.numpy(),
        "kept": np.array([(W - W0) / s for s, W in zip(sizes, merged, strict=True)]),
    }


def _kept(
    stage: films.Stage, numbers: Numbers, left: float = 0.32, side: float = 1.95
) -> films.Show:
    """Draw what the weights kept of the word, divided by its size."""
    ax = films.place(stage, left, 0.1, side, side)
    image = plots.heatmap(ax, numbers["kept"][0], float(np.abs(numbers["delta"]).max()))
    return lambda i: image.set_data(numbers["kept"][i])


def _asked_and_kept(stage: films.Stage, numbers: Numbers) -> films.Show:
    """Draw the word, what is kept of it, and three shares against the size, with the law."""
    asked = films.place(stage, 0.1, 0.1, 2.5, 2.5)
    plots.heatmap(asked, numbers["delta"], float(np.abs(numbers["delta"]).max()))
    asked.set_title("asked for: $\\Delta W$", fontsize=11)
    show_kept = _kept(stage, numbers, left=2.75, side=2.5)
    stage.axes[1].set_title(f"what {numbers['dtype']} kept", fontsize=11)
    ax = films.place(stage, 6.0, 0.65, 2.2, 1.95)
    sizes = numbers["sizes"]
    ax.plot(sizes, numbers["law"], ":", color=BLACK, label="error, by the law")
    curves = {"error": (GREEN, "error"), "arrived": (BLUE, "arrived"), "still": (VERMILION, "stay")}
    dots = {}
    for key, (color, words) in curves.items():
        ax.plot(sizes, numbers[key], color=color, linewidth=1, label=words)
        (dots[key],) = ax.plot([], [], "o", color=color)
    ax.set(xscale="log", xlim=(1.5, 7e-5), ylim=(-0.03, 1.06), xlabel="size of $\\Delta W$")
    ax.legend(loc="center left", fontsize=8)

    def show(i: int) -> None:
        show_kept(i)
        for key, dot in dots.items():
            dot.set_data([sizes[i]], [numbers[key][i]])

    return show


@figure(rounding)
def merge_being_rounded(numbers: Numbers) -> Figure:
    """Show what stays of an update that is merged into 16-bit weights, as it shrinks.

    The update is the word LoRA. Five moments, each drawn as large as its update; the size, how
    much of it arrives, how many weights stay as they were: {told}. The
    word is whole at first, then grainy, then a few specks.
    """
    return films.strip(_kept, numbers, STILL)


def film_of_rounding(dtype: str = "bfloat16") -> films.Player:
    """Return the film of a merge being rounded to a type."""
    return films.player(merge_being_rounded, rounding(dtype), _asked_and_kept, FRAME)


# -- two curves, and where real updates are ------------------------------------------------------


SIZES = [10 ** (-n / 4) for n in range(17)]  # 1 to 0.0001
KINDS = {
    "float16": (lambda W: W.half().float(), "s", ORANGE),
    "bfloat16": (lambda W: W.bfloat16().float(), "o", VERMILION),
    "4 bits": (in_4_bits, "D", BLUE),
}


def real_sizes() -> dict[str, list[float]]:
    """Return the least and the largest ‖ΔW‖ / ‖W₀‖ of the matrices of real updates.

    The voices of all recorded seeds; MiniLM's at their best rates, means of eight runs; GPT-3's one
    matrix from the norms in LoRA's Table 7, of ΔW and of W_q.
    """

    def minilm(method: str) -> NDArray:
        lr = record("minilm")["chosen"][method]
        return column("minilm", "sizes", method=method, lr=lr).mean(axis=0)

    sizes = {
        "the voice of Grimm": four_bits("sizes", "grimm"),
        "the voice of the pirate": four_bits("sizes", "pirate"),
        "MiniLM, full": minilm("full"),
        "MiniLM, LoRA r = 8": minilm("LoRA q,v r=8"),
        "GPT-3, r = 64": np.array([3.57 / 61.95]),
        "GPT-3, r = 4": np.array([6.91 / 61.95]),
    }
    return {name: [float(of.min()), float(of.max())] for name, of in sizes.items()}


def _outcomes() -> Numbers:
    """Merge an update at each size into one drawn matrix, in each way to store it."""
    rng = np.random.default_rng(0)
    drawn = torch.from_numpy(0.05 * rng.standard_normal((256, 256))).float()
    delta = torch.from_numpy(rng.standard_normal((256, 8)) @ rng.standard_normal((8, 256))).float()
    numbers: Numbers = {"sizes": _digits(SIZES), "real": real_sizes(), "voices": {}}
    for name, (store, *_) in KINDS.items():
        W0 = store(drawn)
        changes = [size * W0.norm() / delta.norm() * delta for size in SIZES]
        told = [outcome(W0, change, store(W0 + change)) for change in changes]
        arrived, error, _ = zip(*told, strict=True)
        numbers[name] = {"arrived": _digits(arrived), "error": _digits(error)}
        if name != "float16":  # which no voice was merged into
            dots = [(four_bits("sizes", v), four_bits(name, v, "arrived")) for v in COLOURS]
            numbers["voices"][name] = np.stack(dots, axis=1).reshape(2, -1).tolist()
    return numbers


@figure(_outcomes)
def what_arrives(numbers: Numbers) -> Figure:
    """Show how much of an update arrives in a merge, and how large real updates are.

    Against the size of the update, the share that arrives: near 1 for large updates, then a fall,
    float16's at the very end, bfloat16's near 0.001 ({bfloat16[arrived][12]:.2g}), that of 4 bits
    between 0.3 and 0.01 ({4 bits[arrived][4]:.2g} at 0.1). Bars above mark real updates, all larger
    than 0.005. Faint dots are the matrices of two voices: on the line of bfloat16, and above that
    of 4 bits.
    """
    fig, ax = plt.subplots(figsize=(8.4, 4.6))
    fig.subplots_adjust(left=0.1, right=0.98, bottom=0.12, top=0.7)
    for name, (_, marker, color) in KINDS.items():
        line = numbers["sizes"], numbers[name]["arrived"]
        ax.plot(*line, marker + "-", color=color, label=name)
        if name in numbers["voices"]:
            ax.plot(*numbers["voices"][name], ".", color=color, alpha=0.15)
    ax.set(xscale="log", xlim=(1.3, 7e-5), ylim=(-0.03, 1.08))
    ax.legend(loc="center left")
    ax.set_xlabel("size, $\\|\\Delta W\\|\\,/\\,\\|W_0\\|$")
    ax.set_ylabel("share of $\\Delta W$ that arrives")
    above = {"transform": ax.get_xaxis_transform(), "clip_on": False}
    for i, (name, ends) in enumerate(numbers["real"].items()):
        high = 1.05 + 0.07 * i
        ax.plot(ends, [high, high], "|-", color=BLACK, linewidth=3, **above)
        ax.text(ends[0] * 0.85, high, name, va="center", fontsize=10, **above)
    return fig


# -- many swaps ------------------------------------------------------------------------------------

LINES = {
    "strangers": ("s-", VERMILION, "strangers, bfloat16"),
    "two voices": ("o--", VERMILION, "two voices, bfloat16"),
    "two voices, float32": ("o--", BLUE, "two voices, float32"),
    "strangers, float32": ("s-", BLUE, "strangers, float32"),
}


def _swaps() -> Numbers:
    """Return how far the weights are from W₀ after each number of swaps: the mean of the runs."""
    found = record("swapped")
    numbers: Numbers = {"rounds": found["arguments"]["rounds"][1:], "runs": len(found["rows"])}
    for name in LINES:
        numbers[name] = _digits(column("swapped", name, "off").mean(axis=0)[1:])
    return numbers


@figure(_swaps, 7.5, 4.0)
def many_swaps(numbers: Numbers, ax: Axes) -> None:
    """Show how far the weights drift when adapters are merged and subtracted, up to 1,000 times.

    The distance from W₀ as a part of it, against the number of swaps, both logarithmic, means of
    {runs} runs. In bfloat16 strangers rise from {strangers[0]:.1g} to {strangers[3]:.1g}, two
    voices from {two voices[0]:.1g} to {two voices[3]:.1g}, level at the end. In float32 the
    former end at {strangers, float32[3]:.0e}, the latter at {two voices, float32[3]:.0e}.
    """
    rounds = numbers["rounds"]
    for name, (style, color, words) in LINES.items():
        ax.loglog(rounds, numbers[name], style, color=color)
        at = rounds[-1], numbers[name][-1]
        plots.note(ax, words, at, (8, 0), color=color, va="center", fontsize=10)
    ax.set_xticks(rounds, [*map(grouped, rounds)])
    ax.minorticks_off()
    ax.set(xlim=(0.8, 6e4), xlabel="swaps")
    ax.set_ylabel("distance from $W_0$, $\\|W - W_0\\|\\,/\\,\\|W_0\\|$")


class Asked(NamedTuple):
    """What is left after some swaps, one value a run."""

    way: str
    swaps: int
    paris: list[float]  # the probability of the word
    prose: list[float]  # perplexity
    pirate: list[float]  # perplexity of his texts, with his voice merged once more


def asked() -> list[Asked]:
    """Return a line for each way of swapping and number of swaps."""
    arguments, lines = record("swapped")["arguments"], []
    for way in arguments["swaps"]:
        for i, swaps in enumerate(arguments["rounds"]):
            each = [column("swapped", way, key, i).tolist() for key in Asked._fields[2:]]
            lines.append(Asked(way, swaps, *each))
    return lines


# -- four bits -------------------------------------------------------------------------------------

WAYS = {
    "base": "no voice",
    "apart": "voice apart",
    "bfloat16": "merged, bfloat16",
    "4 bits": "merged, 4 bits again",
    "4 bits, dice": "merged, 4 bits, with dice",
}
OTHERS = {
    "4 bits, other levels": "merged, NF4",
    "5 bits": "merged, 5 bits",
    "off its levels, apart": "W0 off its levels: voice apart",
    "off its levels, 4 bits": "W0 off its levels: merged, 4 bits",
    "base in NF4": "W0 in NF4: no voice",
    "NF4, apart": "W0 in NF4: voice apart",
    "NF4": "W0 in NF4: merged, NF4 again",
    "NF4, other levels": "W0 in NF4: merged, our 4 bits",
}


def four_bits(way: str, voice: str, key: str = "said") -> NDArray:
    """Return a column of the record, one a run, or for each matrix: (runs, matrices)."""
    if way == "sizes":
        return column("requantised", way, voice)
    path = (key, voice) if way.startswith("base") else (voice, key)
    return column("requantised", way, *path)


def columns(way: str) -> list[NDArray]:
    """Return what arrives, the error, and three perplexities: of prose, the pirate's, Grimm's."""
    said = [four_bits(way, voice) for voice in ("pirate", "grimm")]
    if way.startswith("base"):
        return [np.zeros(1), np.ones(1), column("requantised", way, "prose"), *said]
    both = [
        np.array([four_bits(way, voice, key) for voice in COLOURS]) for key in ("arrived", "error")
    ]
    return [*both, four_bits(way, "pirate", "prose"), *said]


def _perplexities() -> Numbers:
    """Return the perplexity of each voice's own texts, in each way, one a run."""
    return {voice: {way: _digits(four_bits(way, voice)) for way in WAYS} for voice in COLOURS}


@figure(_perplexities, 7.5, 3.6)
def voice_in_four_bits(numbers: Numbers, ax: Axes) -> None:
    """Show where a voice is heard: apart, merged in 16 bits, in 4 bits, and in 4 bits with dice.

    The perplexity of each voice's own texts, a mark for each of three adapters. Without the voice
    about {grimm[base][0]:.0f} for Grimm and {pirate[base][0]:.0f} for the pirate; apart
    {grimm[apart][0]:.0f} and {pirate[apart][0]:.1f}, and merged in bfloat16 as much. Merged into
    4 bits again {grimm[4 bits][0]:.0f} and {pirate[4 bits][0]:.0f}: most of the way back. With dice
    {grimm[4 bits, dice][0]:.0f} and {pirate[4 bits, dice][0]:.1f}.
    """
    for shift, (voice, (color, words)) in zip((0.12, -0.12), COLOURS.items(), strict=True):
        for i, values in enumerate(numbers[voice].values()):
            ax.plot(values, [i + shift] * len(values), "o", color=color, alpha=0.7)
        ax.text(max(numbers[voice]["base"]) * 1.1, shift, words, color=color, va="center")
    ax.set(xscale="log", xlim=(2.5, 150))
    ax.set_xlabel("perplexity of the voice's own texts (low: the voice is there)")
    ticks = [3, 5, 10, 20, 50, 100]
    ax.set_xticks(ticks, ticks)
    ax.set_yticks(range(len(WAYS)), WAYS.values())
    ax.invert_yaxis()
    ax.minorticks_off()
    ax.grid(axis="y", alpha=0.3)


# -- time ------------------------------------------------------------------------------------------

CALLS = {
    "base, one batch": "no adapter, one batch",
    "own adapters, one batch": "each its own adapter, one batch",
    "own adapters, in turn": "one after the other, apart",
    "merged, in turn": "one after the other, merged for each",
}


def ratio(case: str, name: str) -> tuple[float, float, float]:
    """Return how much longer a call takes than the first of its case: median, 95 % interval of it.

    Of the ratios in the same round. The interval ends at the k-th least and the k-th largest of n,
    with the largest k for which k - 1 of n tosses of a coin or fewer come up in 2.5 % at most.
    """
    seconds = record("served")["cases"][case]["seconds"]
    first = next(iter(seconds.values()))
    ratios = np.sort(np.divide(seconds[name], first))
    n, k, tail = len(ratios), 0, 0.5 ** len(ratios)
    while tail <= 0.025:
        k += 1
        tail += math.comb(n, k) / 2**n
    return float(np.median(ratios)), float(ratios[k - 1]), float(ratios[n - k])


def _served() -> Numbers:
    """Return the recorded times of eight customers, over those of the base alone."""
    ratios = {name: list(ratio("customers", name)) for name in CALLS}
    return {"customers": record("served")["arguments"]["customers"], "ratio": ratios}


@figure(_served, 9.6, 3.4, 2)
def one_batch_many_adapters(numbers: Numbers, axes: NDArray) -> None:
    """Show how one batch serves customers who each have an adapter, and what it takes.

    Left, a drawing: the rows of a batch, one a customer, all go through one W₀; beside it each row
    goes through two thin strips of its own. Right, the time for {customers} customers over that of
    the base alone: each its own adapter in one batch {ratio[own adapters, one batch][0]:.2f}; one
    after the other, apart, {ratio[own adapters, in turn][0]:.1f}; merged for each in turn
    {ratio[merged, in turn][0]:.1f}.
    """
    batch, bars = axes
    _draw_batch(batch)
    for i, (name, words) in enumerate(CALLS.items()):
        middle, low, high = numbers["ratio"][name]
        bars.barh(i, middle, 0.42, color=GREY)
        bars.plot([low, high], [i, i], color=BLACK)
        bars.text(0, i - 0.28, f" {words}: {middle:.2f}", va="bottom", fontsize=9)
    bars.set(yticks=[], ylim=(len(CALLS) - 0.5, -0.75))
    bars.set_xlabel(f"time of {numbers['customers']} customers (the base in one batch: 1)")


def _draw_batch(ax: Axes) -> None:
    """Draw the rows of a batch going through W₀ together, and through strips of their own."""
    ax.set(xlim=(0, 10), ylim=(0, 8), aspect="equal")
    ax.axis("off")
    ax.bar(4.3, 2.6, 2.6, 5.0, color=GREY, alpha=0.5)
    for i, hue in enumerate((BLUE, ORANGE, GREEN, VERMILION)):
        ax.barh([7 - 0.45 * i] * 2, 1.9, 0.32, [0.2, 7.6], color=hue)
        middle = 3.9 - i
        line = [5.4, middle, middle, 5.4]
        ax.plot([1.15, 1.15, 8.55, 8.55], line, color=GREY, linewidth=0.8, zorder=0)
        ax.barh(middle, 1.6, 0.22, 3.0, color=hue)  # A, flat
        ax.barh(middle, 0.22, 0.85, 5.3, color=hue)  # B, upright
    for start, end in ((2.15, 2.95), (5.65, 7.55)):
        ax.annotate("", (end, 6.3), (start, 6.3), arrowprops={"arrowstyle": "-|>", "color": BLACK})
    words = {"a row a customer": (1.15, 7.35), "outputs, added": (8.55, 7.35)}
    words |= {"$W_0$, once": (4.3, 6.2), "$A$": (3.8, 0.1), "$B$": (5.4, 0.1)}
    for text, (across, up) in words.items():
        ax.text(across, up, text, ha="center", fontsize=10)
