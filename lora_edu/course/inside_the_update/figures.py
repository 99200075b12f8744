"""Figures: the layers of a voice, cuts beside a knob, two subspaces, a ceiling, intruders."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lora_edu.counting import one_of
from lora_edu.course import films, plots
from lora_edu.course.experiments import intervals
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREEN, GREY, ORANGE, STYLE, VERMILION, panels
from lora_edu.course.recorded import column, record, rounded
from lora_edu.course.recorded import runs as rows

LAYERS = tuple(range(20, 30))
KINDS = ("q", "k", "v", "o", "gate", "up", "down")
VOICES = {"pirate": "the pirate", "grimm": "Grimm"}


# -- a voice, cut -------------------------------------------------------------------------------


def loss(voice: str, cut: str, text: str | None = None) -> NDArray:
    """Return the loss on a text, the voice's own by default, after a cut: one a run, in nats."""
    more = rows("two_voices")[0]["cuts"].get(voice, {})
    return column("two_voices" if cut in more else "surgery", "cuts", voice, cut, text or voice)


def left(voice: str, cut: str) -> NDArray:
    """Return which share of the voice is left: 0 for the base, 1 for the whole adapter, a run."""
    none = loss(voice, "none")
    return (none - loss(voice, cut)) / (none - loss(voice, "all"))


def heard(cut: str, what: str = "begins") -> NDArray:
    """Return in how many of twenty answers the pirate is heard after a cut: one number a run.

    ``what``: "begins" with *Arrr!* or "ends" with *matey!*; of "layer" and "without layer" a mean
    over the ten.
    """
    each = [f"{cut} {layer}" for layer in LAYERS] if cut.endswith("layer") else [cut]
    return np.mean([column("heard_cuts", what, words) for words in each], axis=0)


def price(voice: str, cut: str, text: str = "own") -> NDArray:
    """Return by how much the loss on the base's own answers is above the base's: one a run."""
    return loss(voice, cut, text) - loss(voice, "none", text)


def knob() -> list[tuple[float, str]]:
    """Return the scales of the whole adapter that were measured, and what they are called."""
    scales = record("surgery")["arguments"]["knob"] + record("two_voices")["arguments"]["more"]
    return [(0.0, "none"), *((scale, f"knob {scale:g}") for scale in sorted(scales)), (1.0, "all")]


def better(voice: str, cut: str) -> NDArray:
    """Return the share that a cut leaves less what the knob leaves at the same price, a run.

    Between two scales of the knob the line is straight in the root of the price, which grows with
    the square of the scale. (Straight in the price, it would lie too low where cuts are cheap.)
    """
    scales = [cut, *(words for _, words in knob())]
    shares = np.transpose([left(voice, words) for words in scales])  # (runs, 1 + scales)
    prices = np.transpose([price(voice, words) for words in scales])
    runs = zip(shares, np.sqrt(np.maximum(0, prices)), strict=True)
    return np.array([share[0] - np.interp(x[0], x[1:], share[1:]) for share, x in runs])


def bargains() -> dict[tuple[str, str], tuple[float, float, float, float]]:
    """Return (voice, cut) → by how much better than the knob, 95 % interval, p after Holm."""
    gaps = {(voice, cut): better(voice, cut) for voice in VOICES for cut in CUTS}
    return {name: (*rest,) for name, *rest in intervals(gaps)}


def drawn(voice: str) -> NDArray:
    """Return what one matrix of each kind leaves, from layers drawn at random: two draws a run."""
    return np.array([left(voice, f"one of each kind {number}") for number in range(2)])


def _layers() -> Numbers:
    numbers: Numbers = {"seeds": len(rows("surgery")), "voices": VOICES}
    modules = record("surgery")["arguments"]["recipe"]["modules"]
    for voice in VOICES:
        alone = np.array([left(voice, f"layer {layer}") for layer in LAYERS])  # (10, runs)
        without = np.array([left(voice, f"without layer {layer}") for layer in LAYERS])
        kinds = np.array([left(voice, kind) for kind in modules])  # (7, runs)
        told = {
            "most_alone": alone.mean(1).max(),
            "least_without": without.mean(1).min(),
            "most_of_a_kind": kinds.mean(1).max(),
            "tenth": left(voice, "knob 0.1"),
            "nine_tenths": left(voice, "knob 0.9"),
            "drawn": drawn(voice).max(),
        }
        numbers[voice] = {name: rounded(value, 2) for name, value in told.items()}
        numbers[f"{voice}_layers"] = np.array([alone, without])
        numbers[f"{voice}_kinds"] = kinds
    return numbers


@figure(_layers, 11, 4.4, 2, runs=-1, sharey=True)
def layers_of_a_voice(numbers: Numbers, axes: NDArray) -> None:
    """Show how much of a voice a single layer carries, and how much is lost without it.

    Two panels, the pirate and Grimm. Across, the ten adapted layers of the chat model, then the
    seven kinds of matrices. Up, the share of the voice that is left: 0 is the base, 1 the whole
    adapter; means of {seeds} runs, which are faint. Circles: one layer is taken out, and at least
    {pirate[least_without]} and {grimm[least_without]} is left. Squares: one layer alone leaves
    {pirate[most_alone]} and {grimm[most_alone]} at most; one kind of matrix, in all ten layers,
    {pirate[most_of_a_kind]} and {grimm[most_of_a_kind]} at most. Dashed lines: the whole adapter
    turned down, to a tenth {pirate[tenth]} and {grimm[tenth]}, to nine tenths {pirate[nine_tenths]}
    and {grimm[nine_tenths]}; a dotted one, the most of sixteen
    sets of one matrix of each kind, from layers drawn: {pirate[drawn]} and {grimm[drawn]}.
    """
    places = np.arange(len(LAYERS))
    kinds = len(LAYERS) + 1 + np.arange(len(KINDS))
    for ax, (voice, words) in zip(axes, numbers["voices"].items(), strict=True):
        alone, without = numbers[f"{voice}_layers"]
        plots.runs(ax, places, without.T, "o", VERMILION, "all but this layer")
        plots.runs(ax, places, alone.T, "s", BLUE, "this layer alone")
        plots.runs(ax, kinds, numbers[f"{voice}_kinds"].T, "D", GREEN, "this kind alone")
        levels = (
            ("tenth", "--", "the whole, turned down: 0.1 and 0.9"),
            ("nine_tenths", "--", None),
            ("drawn", ":", "seven matrices, layers drawn: the most"),
        )
        for name, dash, label in levels:
            ax.axhline(numbers[voice][name], linestyle=dash, color=GREY, linewidth=1.2, label=label)
        ax.axhline(1, color=GREY, linewidth=0.6)
        ax.set_xticks([*places, *kinds], [*LAYERS, *KINDS], rotation=60)
        ax.set(xlabel="layer  |  kind of matrix", title=words, ylim=(-0.02, 1.12))
    axes[0].set_ylabel("share of the voice that is left")
    axes[0].legend(loc="upper left", bbox_to_anchor=(0, 0.82), fontsize=9)


CUTS = {
    "strongest": ("the strongest direction", "*", VERMILION),
    "without strongest": ("all but the strongest", "X", VERMILION),
    "second, as large": ("the second, made as large", "p", ORANGE),
    "lower half": ("layers 20 to 24", "v", BLUE),
    "upper half": ("layers 25 to 29", "^", BLUE),
    "attention": ("attention alone", "<", GREEN),
    "MLP": ("MLP alone", ">", GREEN),
    "drawn half 0": ("half of the matrices, drawn", "d", GREY),
}


def _knob() -> Numbers:
    numbers: Numbers = {"seeds": len(rows("surgery")), "voices": VOICES, "cuts": [*CUTS]}
    numbers["scales"] = [scale for scale, _ in knob()]
    for voice in VOICES:
        numbers[voice] = {
            words: [rounded(price(voice, words)), rounded(left(voice, words))]
            for words in (*CUTS, "all", "knob 0.5")
        }
        line = [[price(voice, words), left(voice, words)] for _, words in knob()]
        numbers[f"{voice}_knob"] = np.array(line)  # (scales, 2, runs)
    return numbers


@figure(_knob, 11, 4.6, 2, runs=-1, sharey=True)
def cuts_and_a_knob(numbers: Numbers, axes: NDArray) -> None:
    """Show each cut as a bargain, and beside them all a knob that turns the whole adapter down.

    Two panels, the pirate and Grimm; means of {seeds} runs. Across, the price: by how much the loss
    on the base's own answers rises, in nats. Up, the share of the voice. A line is the knob, from
    scale 0 through {scales} at its dots; the whole adapter costs {pirate[all][0]} and
    {grimm[all][0]}, at half {pirate[knob 0.5][0]} and {grimm[knob 0.5][0]} for a share of
    {pirate[knob 0.5][1]} and {grimm[knob 0.5][1]}. The strongest direction of each matrix alone
    leaves {pirate[strongest][1]} and {grimm[strongest][1]} at {pirate[strongest][0]} and
    {grimm[strongest][0]}, all but it {pirate[without strongest][1]} and
    {grimm[without strongest][1]} at {pirate[without strongest][0]} and
    {grimm[without strongest][0]}; further cuts are other marks.
    """
    for ax, (voice, words) in zip(axes, numbers["voices"].items(), strict=True):
        prices, shares = numbers[f"{voice}_knob"].mean(-1).T
        ax.plot(prices, shares, ".-", color=BLACK, label="the knob: all of it, turned down")
        for scale, x, y in zip(numbers["scales"], prices, shares, strict=True):
            if scale in (0.2, 0.4, 0.5, 0.6, 0.8, 1.0):
                ax.annotate(f"{scale:g} ", (x, y), fontsize=10, ha="right", va="bottom")
        for cut in numbers["cuts"]:
            label, marker, color = CUTS[cut]
            ax.plot(*numbers[voice][cut], marker, color=color, markersize=11, label=label)
        ax.set_title(words)
    axes[0].set_ylabel("share of the voice that is left")
    axes[0].figure.supxlabel("price: loss on the base's own answers, rise in nats", fontsize=11)
    axes[1].legend(loc="lower right", fontsize=9)


# -- two voices ---------------------------------------------------------------------------------

BOTH = {
    "none": "the base",
    "pirate": "the pirate alone",
    "grimm": "Grimm alone",
    "updates": "updates added",
    "updates, half": "updates added, knob at 0.5",
    "updates, cut to 4": "updates added, cut to rank 4",
    "strips": "strips added",
    "strips, turned 0": "strips added, one pair turned",
    "further": "the pirate, trained on as Grimm",
    "on top": "the pirate merged, Grimm on top",
}
TAUGHT = ("further", "on top")


def losses(words: str) -> NDArray:
    """Return the losses of a model with two voices: (runs, 4), of the pirate, Grimm, own, facts."""
    name, part = ("surgery", "taught") if words in TAUGHT else ("two_voices", "sums")
    texts = ("pirate", "grimm", "own", "facts")
    return np.transpose([column(name, part, words, text) for text in texts])


def perplexities(words: str) -> NDArray:
    """Return e to the mean loss over the runs, for the texts of :func:`losses`: (4,)."""
    return np.exp(losses(words).mean(0))


# -- two adapters, compared ---------------------------------------------------------------------

PARTNERS = {
    "untrained": "same seed, untrained",
    "same": "same seed",
    "other strips": "other strips",
    "other seed": "other seed",
    "other groups": "other groups",
    "shuffled labels": "shuffled labels",
}
MATRICES = ("4, query", "4, value", "5, query", "5, value")
AT = (1, 2, 4, 8)  # the i that are shown


def alike(partner: str, matrix: int | None = None) -> NDArray:
    """Return φ(i, j) of lora_A of an adapter of rank 8 and a partner of rank 64: (runs, 8, 7).

    Of one matrix, 0 to 3, or the mean of the four. The j are 1, 2, 4, 8, 16, 32, 64.
    """
    one_of("matrix", matrix, (0, 1, 2, 3, None))
    path = ("untrained", "same") if partner == "untrained" else ("strips", partner)
    phi = column("alike", *path)  # (runs, 4, 8, 7)
    return phi.mean(1) if matrix is None else phi[:, matrix]


def chance() -> NDArray:
    """Return φ(i, j) of two random subspaces of 384 directions, on average: (8, 7)."""
    return np.maximum.outer(np.arange(1, 9), record("alike")["arguments"]["at"]) / 384


def _subspaces(partners: Iterable[str] = PARTNERS, matrix: int | None = 0) -> Numbers:
    partners = [partners] if isinstance(partners, str) else partners
    found = {partner: alike(partner, matrix) for partner in partners}  # (runs, 8, 7)
    return {
        "partners": [*found],
        "matrix": "mean of four" if matrix is None else f"layer {MATRICES[matrix]}",
        "at": record("alike")["arguments"]["at"],
        "seeds": len(rows("alike")),
        "first": {name: rounded(phi[:, 0, 0], 2) for name, phi in found.items()},
        "whole": {name: rounded(phi[:, -1, -1], 2) for name, phi in found.items()},
        "phi": np.array([phi.mean(0) for phi in found.values()]),  # (partners, 8, 7)
        "chance": chance(),
    }


@figure(_subspaces)
def two_subspaces(numbers: Numbers) -> Figure:
    """Show how far the directions of a small adapter lie in those of a larger one.

    One matrix of MiniLM ({matrix}), {seeds} runs each. In each panel, down: the first 1, 2, 4 and 8
    directions of an adapter of rank 8; across: the first 1 to 64 of one of rank 64; in a cell the
    overlap φ, from 0 to 1, bright is much. First, both adapters untrained and of the same seed:
    {whole[untrained]} at the lower right. Then trained, with ever less in common: of the same seed,
    φ(1, 1) is {first[same]}; with other strips {first[other strips]}; with another seed
    {first[other seed]}; on other groups {first[other groups]}; on shuffled labels
    {first[shuffled labels]}. Last: chance, max(i, j) / 384.
    """
    maps = dict(zip(numbers["partners"], numbers["phi"], strict=True))
    maps["chance"] = numbers["chance"]
    columns = min(4, len(maps))
    lines = math.ceil(len(maps) / columns)
    fig, grid = panels(2.9 * columns + 0.4, 2.3 * lines + 0.4, columns, lines, squeeze=False)
    for ax in grid.flat[len(maps) :]:
        ax.axis("off")
    for ax, (name, phi) in zip(grid.flat, maps.items(), strict=False):
        _map(ax, phi, numbers["at"])
        ax.set_title(PARTNERS.get(name, name), fontsize=11)
    fig.supxlabel("first j directions of the adapter of rank 64", fontsize=11)
    fig.supylabel("first i of rank 8", fontsize=11)
    return fig


def _map(ax: Axes, phi: NDArray, at: Sequence[int]) -> None:
    """Draw φ as a heat map, with its numbers."""
    ax.clear()
    table = phi[np.array(AT) - 1]  # (4, 7)
    words = [f"{value:.2f}".lstrip("0") if value < 0.995 else "1" for value in table.flat]
    plots.cells(ax, table, words, vmin=0, vmax=1)
    ax.set_xticks(range(len(at)), at, fontsize=9)
    ax.set_yticks(range(len(AT)), AT, fontsize=9)


def a_convincing_picture() -> tuple[Figure, int]:
    """Draw the map of one pair, and do not say of which; return how many steps it was trained."""
    with plt.rc_context(STYLE):
        fig, ax = panels(5.2, 2.8)
        _map(ax, alike("untrained", 0)[0], record("alike")["arguments"]["at"])
        ax.set(xlabel="first j directions of the adapter of rank 64", ylabel="first i of rank 8")
        ax.set_title("two adapters, one matrix")
    return fig, 0  # "untrained"


def _trained_and_chance(stage: films.Stage, numbers: Numbers) -> films.Show:
    """Draw the map of one pair after the other, and chance beside it."""
    pair, other = (films.place(stage, left, 0.55, 3.4, 2.0) for left in (0.6, 4.5))
    _map(other, numbers["chance"], numbers["at"])
    other.set_title("chance", fontsize=11)

    def show(i: int) -> None:
        _map(pair, numbers["phi"][i], numbers["at"])
        pair.set_title(PARTNERS[numbers["partners"][i]], fontsize=11)
        pair.set(xlabel="first j of rank 64", ylabel="first i of rank 8")

    return show


def film_of_partners(matrix: int | None = 0) -> films.Player:
    """Return the maps of all pairs as a film: less and less in common."""
    numbers = _subspaces(matrix=matrix)
    first, whole = numbers["first"], numbers["whole"]
    numbers["captions"] = [
        f"{words}: φ(1, 1) = {first[name]}, φ(8, 64) = {whole[name]}"
        for name, words in PARTNERS.items()
    ]
    return films.player(two_subspaces, numbers, _trained_and_chance, (8.2, 3.0))


# -- amplification --------------------------------------------------------------------------------


# LoRA's Table 7 (Hu et al. 2021), as printed: norms of one matrix of GPT-3, 12,288 wide, of its
# update, and of what it holds between the update's first r directions, or between its own.
WIDTH, NORM = 12_288, 61.95
TABLE_7 = {
    4: {"update": 6.91, "held": 0.32, "most": 21.67},
    64: {"update": 3.57, "held": 1.90, "most": 37.71},
}
RANKS = (1, 4, 8, 64)


def _opened(*path: Any, method: str, lr: float) -> NDArray:
    """Return a column of MiniLM's record for a method and one of its rates."""
    rates = record("opened")["arguments"]["rates"]
    one_of("lr", lr, rates[one_of("method", method, rates)])
    return column("opened", *path, method=method, lr=lr)


def held(r: int, shuffled: bool = False) -> NDArray:
    """Return of MiniLM's adapters of rank r, at rate 0.001: [‖ΔW‖, held, most], (runs, 4, 3).

    In ‖W₀‖: what W₀ holds between the r directions of the update, and between its own first r.
    """
    return _opened("between", method=f"r={r}, shuffled" if shuffled else f"r={r}", lr=1e-3)


def _ceilings() -> Numbers:
    norms = np.array([held(r) for r in RANKS])  # (ranks, runs, 4, 3)
    update, found, _ = np.moveaxis(norms, -1, 0)
    means = np.exp(np.log(norms).mean((1, 2))).tolist()  # geometric, (ranks, 3)
    ours = {r: [r / 384, *of[1:]] for r, of in zip(RANKS, means, strict=True)}
    theirs = {r: [r / WIDTH, of["held"] / NORM, of["most"] / NORM] for r, of in TABLE_7.items()}
    factors = np.median(update / found, (1, 2)).round(1).tolist()
    return {
        "seeds": norms.shape[1],
        "bars": {"MiniLM": ours, "GPT-3": theirs},
        "factor": {f"r{r}": factor for r, factor in zip(RANKS, factors, strict=True)},
        "minilm": _times_chance(ours),
        "gpt3": _times_chance(theirs),
        "dots": found,
    }


def _times_chance(bars: dict[int, list[float]]) -> Numbers:
    """Return how many times chance is found, and is the most; and the found share of the most."""
    told = {}
    for r, (chance, found, most) in bars.items():
        told[f"r{r}"] = {
            "times": round(found / chance, 1),
            "most": round(most / chance),
            "share": round(100 * found / most, 1),
        }
    return told


@figure(_ceilings, 8, 4.2)
def between_chance_and_ceiling(numbers: Numbers, ax: Axes) -> None:
    """Show what a weight holds in the directions of its update, between chance and the most.

    Logarithmic. For MiniLM at four ranks ({seeds} runs, four matrices: small dots) and for one
    matrix of GPT-3 at two, from LoRA's Table 7, a bar from what random directions hold to what the
    weight's own first directions hold, as shares of its norm, and a dot for the update's. At r = 4:
    {minilm[r4][times]} times chance of {minilm[r4][most]} possible, {minilm[r4][share]} % of the
    most; for GPT-3 {gpt3[r4][times]} times of {gpt3[r4][most]}, {gpt3[r4][share]} %.
    """
    ticks = []
    for name, color in {"MiniLM": BLUE, "GPT-3": VERMILION}.items():
        for r, (chance, found, most) in numbers["bars"][name].items():
            place = len(ticks)
            ax.bar(place, most - chance, 0.16, chance, color=color, alpha=0.25)
            ax.plot(place, found, "o", color=color, markersize=9)
            ax.annotate(f" {100 * found / most:.1f} %", (place + 0.14, found), fontsize=10)
            ticks.append(f"{name}\nr = {r}")
    for place, dots in enumerate(numbers["dots"]):  # of MiniLM
        across = place + np.linspace(-0.12, 0.12, dots.size)
        ax.plot(across, dots.flat, ".", color=GREY, markersize=3, zorder=1.5)
    ax.set_xticks(range(len(ticks)), ticks)
    ax.set(yscale="log", xlim=(-0.5, len(ticks)), ylabel="held by the weight, share of its norm")
    ax.set_title("from chance (lower end) to the most possible (upper end)")


# -- intruders ------------------------------------------------------------------------------------


def sizes(method: str, lr: float) -> NDArray:
    """Return ‖ΔW‖ / ‖W₀‖ of MiniLM's four matrices, run by run: (runs, 4)."""
    return _opened("sizes", method=method, lr=lr)


def counted(
    method: str, lr: float, who: str = "intruders", epsilon: float = 0.5, k: int = 10
) -> NDArray:
    """Return how many of the first k directions of four matrices resemble none of W₀'s, a run."""
    arguments = record("opened")["arguments"]
    at = arguments["ks"].index(one_of("k", k, arguments["ks"]))
    return _opened(who, f"{epsilon:g}", at, method=method, lr=lr)


def scaled(lr: float) -> dict[str, NDArray]:
    """Return what is scaled → right on test posts, neighbours: (scales, 2, runs); last, whole."""
    one_of("lr", lr, {row["lr"] for row in rows("opened") if "scaled" in row})
    setting = {"method": "r=8", "lr": lr}
    whole = column("opened", "all", **setting)[:, None]  # (runs, 1, 2)
    found = {}
    for words in rows("opened", **setting)[0]["scaled"]:
        parts = column("opened", "scaled", words, **setting)  # (runs, scales, 2)
        found[words] = np.append(parts, whole, axis=1).transpose(1, 2, 0)
    return found


LOOKS: Mapping[str, Sequence[str]] = {
    "knob": (".-", BLACK, "the whole update"),
    "intruders": ("o--", VERMILION, "the intruders"),
    "strongest": ("s:", BLUE, "its strongest directions"),
    "others": ("d-.", ORANGE, "others of the first thirty"),
}


def _intruders() -> Numbers:
    arguments = record("opened")["arguments"]
    epsilons, rates = arguments["epsilons"], (1e-3, 3e-3, 1e-2)

    def counts(lr: float, who: str) -> list[float]:
        return [rounded(counted("r=8", lr, who, epsilon), 2) for epsilon in epsilons]

    def at_half(who: str) -> dict[str, float]:
        return {f"{lr:g}": rounded(counted("r=8", lr, who), 1) for lr in rates}

    roads = [[scaled(lr)[words].mean(-1) for lr in rates[1:]] for words in LOOKS]
    return {
        "seeds": len(rows("opened", method="r=8", lr=1e-3)),
        "epsilons": epsilons,
        "rates": rates,
        "scales": [*arguments["scales"], 1.0],
        "at_half": at_half("intruders"),
        "stranger": at_half("strangers"),
        # (rates, 2, epsilons)
        "counts": np.array([[counts(lr, "intruders"), counts(lr, "strangers")] for lr in rates]),
        "roads": np.array(roads),  # (what, rates, scales, 2)
    }


@figure(_intruders, 12, 4.2, 3)
def intruders_scaled(numbers: Numbers, axes: NDArray) -> None:
    """Show how many intruders there are, whoever trained, and what scaling them down gives back.

    MiniLM, LoRA of rank 8 on four matrices, {seeds} runs. Left, how many of their forty first
    directions resemble none of the weight's, against how strict one is (ε), at three rates; at
    ε = 0.5 {at_half[0.001]}, {at_half[0.003]} and {at_half[0.01]}. Dashed, the same numbers in
    other places, which learned nothing: {stranger[0.001]}, {stranger[0.003]} and {stranger[0.01]}.
    Right, at two rates, what is right on test posts against neighbours kept, when a part is scaled
    from 1 down to 0: the intruders, the strongest directions of the update, the whole update, or
    others of the first thirty directions.
    """
    how_many, *scaled_down = axes
    looks = (("^", GREEN), ("s", BLUE), ("o", VERMILION))
    rates = zip(numbers["rates"], numbers["counts"], looks, strict=True)
    for lr, (ours, strangers), (marker, color) in rates:
        how_many.plot(numbers["epsilons"], ours, f"{marker}-", color=color, label=f"rate {lr:g}")
        how_many.plot(numbers["epsilons"], strangers, "x--", color=color)
    how_many.plot([], [], "x--", color=GREY, label="the stranger")
    how_many.set(xlabel="how strict: ε", ylabel="intruders among 40", title="how many")
    how_many.legend(fontsize=10)
    for place, ax in enumerate(scaled_down):
        for (style, color, label), roads in zip(LOOKS.values(), numbers["roads"], strict=True):
            ax.plot(*roads[place].T, style, color=color, label=label)
        ax.plot(*numbers["roads"][0, place, -1], "*", color=BLACK, markersize=15)
        title = f"scaled down, rate {numbers['rates'][1 + place]:g}"
        ax.set(xlabel="right on test posts", title=title)
    axes[1].set_ylabel("neighbours kept")
    axes[1].legend(fontsize=9)
