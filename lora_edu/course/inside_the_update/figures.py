"""Figures: the layers of a voice, cuts beside a knob, two subspaces, a ceiling, intruders."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from lora_edu.counting import one_of
from lora_edu.course import films
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
    one_of("voice", voice, VOICES)
    recorded = {}
    for name in ("two_voices", "surgery"):
        recorded |= dict.fromkeys(rows(name)[0]["cuts"][voice], name)
    name = recorded[one_of("cut", cut, recorded)]
    text = text or voice
    one_of("text", text, rows(name)[0]["cuts"][voice][cut])
    return column(name, "cuts", voice, cut, text)


def left(voice: str, cut: str) -> NDArray:
    """Return which share of the voice is left: 0 for the base, 1 for the whole adapter, a run."""
    none = loss(voice, "none")
    return (none - loss(voice, cut)) / (none - loss(voice, "all"))


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

    def root(words: str) -> NDArray:
        return np.sqrt(np.maximum(0, price(voice, words)))

    scales = [words for _, words in knob()]
    shares = np.transpose([left(voice, words) for words in scales])  # (runs, scales)
    roots = np.transpose([root(words) for words in scales])
    runs = zip(root(cut), roots, shares, strict=True)
    return left(voice, cut) - [np.interp(x, *line) for x, *line in runs]


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
        numbers[voice] = {
            "most_alone": max(rounded(each, 2) for each in alone),
            "least_without": min(rounded(each, 2) for each in without),
            "most_of_a_kind": max(rounded(each, 2) for each in kinds),
            "tenth": rounded(left(voice, "knob 0.1"), 2),
            "nine_tenths": rounded(left(voice, "knob 0.9"), 2),
            "drawn": round(float(drawn(voice).max()), 2),
        }
        numbers[f"{voice}_layers"] = np.array([alone, without])
        numbers[f"{voice}_kinds"] = kinds
    return numbers


@figure(_layers)
def layers_of_a_voice(numbers: Numbers) -> Figure:
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
    fig, axes = panels(11, 4.4, 2, sharey=True)
    places = np.arange(len(LAYERS))
    kinds = len(LAYERS) + 1 + np.arange(len(KINDS))
    for ax, (voice, words) in zip(axes, numbers["voices"].items(), strict=True):
        alone, without = numbers[f"{voice}_layers"]
        groups = {
            "all but this layer": (places, without, "o", VERMILION),
            "this layer alone": (places, alone, "s", BLUE),
            "this kind alone": (kinds, numbers[f"{voice}_kinds"], "D", GREEN),
        }
        for label, (at, shares, marker, color) in groups.items():
            ax.plot(at, shares, marker, color=color, alpha=0.2, markersize=3)
            ax.plot(at, shares.mean(1), marker, color=color, markersize=8, label=label)
        told = numbers[voice]
        line = {"color": GREY, "linewidth": 1.2}
        label = "the whole, turned down: 0.1 and 0.9"
        ax.axhline(told["tenth"], linestyle="--", **line, label=label)
        ax.axhline(told["nine_tenths"], linestyle="--", **line)
        label = "seven matrices, layers drawn: the most"
        ax.axhline(told["drawn"], linestyle=":", **line, label=label)
        ax.axhline(1, color=GREY, linewidth=0.6)
        ax.set_xticks([*places, *kinds], [*LAYERS, *KINDS], rotation=60)
        ax.set(xlabel="layer  |  kind of matrix", title=words, ylim=(-0.02, 1.12))
    axes[0].set_ylabel("share of the voice that is left")
    axes[0].legend(loc="upper left", bbox_to_anchor=(0, 0.82), fontsize=9)
    return fig


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
            for words in (*CUTS, "all", "knob 0.5", "drawn anywhere", "stranger")
        }
        line = [[price(voice, words), left(voice, words)] for _, words in knob()]
        numbers[f"{voice}_knob"] = np.array(line)  # (scales, 2, runs)
    return numbers


@figure(_knob)
def cuts_and_a_knob(numbers: Numbers) -> Figure:
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
    fig, axes = panels(11, 4.6, 2, sharey=True)
    for ax, (voice, words) in zip(axes, numbers["voices"].items(), strict=True):
        prices, shares = numbers[f"{voice}_knob"].mean(-1).T
        ax.plot(prices, shares, ".-", color=BLACK, label="the knob: all of it, turned down")
        for scale, x, y in zip(numbers["scales"], prices, shares, strict=True):
            if scale in (0.2, 0.4, 0.5, 0.6, 0.8, 1.0):
                ax.annotate(f"{scale:g} ", (x, y), fontsize=10, ha="right", va="bottom")
        for cut in numbers["cuts"]:
            label, marker, color = CUTS[cut]
            ax.plot(*numbers[voice][cut], marker, color=color, markersize=11, label=label)
        ax.set(xlabel="price: loss on the base's own answers, rise in nats", title=words)
    axes[0].set_ylabel("share of the voice that is left")
    axes[1].legend(loc="lower right", fontsize=9)
    return fig


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
TAUGHT = ("further", "on top", "second alone")


def losses(words: str) -> NDArray:
    """Return the losses of a model with two voices: (runs, 4), of the pirate, Grimm, own, facts."""
    one_of("words", words, [*rows("two_voices")[0]["sums"], *TAUGHT])
    name, part = ("surgery", "taught") if words in TAUGHT else ("two_voices", "sums")
    texts = ("pirate", "grimm", "own", "facts")
    return np.stack([column(name, part, words, text) for text in texts], axis=1)


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


def alike(partner: str, matrix: int | None = None, of: str = "strips") -> NDArray:
    """Return φ(i, j) of lora_A of an adapter of rank 8 and a partner of rank 64: (runs, 8, 7).

    Of one matrix, 0 to 3, or the mean of the four; with ``of="updates"`` of their ΔW, trained. The
    j are 1, 2, 4, 8, 16, 32, 64.
    """
    one_of("partner", partner, PARTNERS)
    one_of("matrix", matrix, (0, 1, 2, 3, None))
    one_of("of", of, ("strips", "updates"))
    path = ("untrained", "same") if partner == "untrained" else (of, partner)
    phi = column("alike", *path)  # (runs, 4, 8, 7)
    return phi.mean(1) if matrix is None else phi[:, matrix]


def chance() -> NDArray:
    """Return φ(i, j) of two random subspaces of 384 directions, on average: (8, 7)."""
    return np.maximum.outer(np.arange(1, 9), record("alike")["arguments"]["at"]) / 384


def _subspaces(partners: Iterable[str] = PARTNERS, matrix: int | None = 0) -> Numbers:
    partners = [partners] if isinstance(partners, str) else [*partners]
    found = {partner: alike(partner, matrix) for partner in partners}  # (runs, 8, 7)
    return {
        "partners": partners,
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
    names = [*numbers["partners"], "chance"]
    columns = min(4, len(names))
    lines = math.ceil(len(names) / columns)
    fig, grid = panels(2.9 * columns + 0.4, 2.3 * lines + 0.4, columns, lines, squeeze=False)
    for ax in grid.flat[len(names) :]:
        ax.axis("off")
    for ax, name, phi in zip(grid.flat, names, [*numbers["phi"], numbers["chance"]], strict=False):
        _map(ax, phi, numbers["at"])
        ax.set_title(PARTNERS.get(name, name), fontsize=11)
    fig.supxlabel("first j directions of the adapter of rank 64", fontsize=11)
    fig.supylabel("first i of rank 8", fontsize=11)
    return fig


def _map(ax: Axes, phi: NDArray, at: Sequence[int]) -> None:
    """Draw φ as a heat map, with its numbers."""
    ax.clear()
    cells = phi[np.array(AT) - 1]  # (4, 7)
    ax.imshow(cells, vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(cells):
        text = f"{value:.2f}".lstrip("0") if value < 0.995 else "1"
        color = "white" if value < 0.6 else "black"
        ax.text(j, i, text, ha="center", va="center", color=color, fontsize=8)
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


def _trained_and_chance(stage: Figure | SubFigure, numbers: Numbers) -> Callable[[int], None]:
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
    captions = [
        f"{words}: φ(1, 1) = {first[name]}, φ(8, 64) = {whole[name]}"
        for name, words in PARTNERS.items()
    ]
    numbers |= {"captions": captions, "moments": [*range(len(captions))]}
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


def _opened(key: str, method: str, lr: float) -> NDArray:
    """Return a column of MiniLM's record for a method and one of its rates."""
    rates = record("opened")["arguments"]["rates"]
    one_of("lr", lr, rates[one_of("method", method, rates)])
    return column("opened", key, method=method, lr=lr)


def held(r: int, shuffled: bool = False) -> NDArray:
    """Return of MiniLM's adapters of rank r, at rate 0.001: [‖ΔW‖, held, most], (runs, 4, 3).

    In ‖W₀‖: what W₀ holds between the r directions of the update, and between its own first r.
    """
    return _opened("between", f"r={r}, shuffled" if shuffled else f"r={r}", 1e-3)


def _ceilings() -> Numbers:
    ours = {r: held(r) for r in RANKS}
    bars: dict[str, dict[int, list[float]]] = {"MiniLM": {}, "GPT-3": {}}
    for r, norms in ours.items():
        means = np.exp(np.log(norms).mean((0, 1)))  # geometric
        bars["MiniLM"][r] = [r / 384, *means[1:].tolist()]
    for r, norms in TABLE_7.items():
        bars["GPT-3"][r] = [r / WIDTH, norms["held"] / NORM, norms["most"] / NORM]
    return {
        "seeds": len(ours[8]),
        "bars": bars,
        "factor": {
            f"r{r}": round(float(np.median(norms[..., 0] / norms[..., 1])), 1)
            for r, norms in ours.items()
        },
        "minilm": _times_chance(bars["MiniLM"]),
        "gpt3": _times_chance(bars["GPT-3"]),
        "dots": np.array([norms[..., 1] for norms in ours.values()]),  # (ranks, runs, 4)
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


@figure(_ceilings)
def between_chance_and_ceiling(numbers: Numbers) -> Figure:
    """Show what a weight holds in the directions of its update, between chance and the most.

    Logarithmic. For MiniLM at four ranks ({seeds} runs, four matrices: small dots) and for one
    matrix of GPT-3 at two, from LoRA's Table 7, a bar from what random directions hold to what the
    weight's own first directions hold, as shares of its norm, and a dot for the update's. At r = 4:
    {minilm[r4][times]} times chance of {minilm[r4][most]} possible, {minilm[r4][share]} % of the
    most; for GPT-3 {gpt3[r4][times]} times of {gpt3[r4][most]}, {gpt3[r4][share]} %.
    """
    fig, ax = panels(8, 4.2)
    place, ticks = 0.0, {}
    dots = iter(numbers["dots"])
    for name, color in {"MiniLM": BLUE, "GPT-3": VERMILION}.items():
        bar = {"color": color, "linewidth": 9, "alpha": 0.25, "solid_capstyle": "butt"}
        for r, (chance, found, most) in numbers["bars"][name].items():
            ax.plot([place, place], [chance, most], **bar)
            if name == "MiniLM":
                each = next(dots).ravel()
                across = place + np.linspace(-0.12, 0.12, len(each))
                ax.plot(across, each, ".", color=GREY, markersize=3)
            ax.plot(place, found, "o", color=color, markersize=9)
            ax.annotate(f" {100 * found / most:.1f} %", (place + 0.14, found), fontsize=10)
            ticks[place] = f"{name}\nr = {r}"
            place += 1
    ax.set_xticks([*ticks], ticks.values())
    ax.set(yscale="log", xlim=(-0.5, place), ylabel="held by the weight, share of its norm")
    ax.set_title("from chance (lower end) to the most possible (upper end)")
    return fig


# -- intruders ------------------------------------------------------------------------------------


def sizes(method: str, lr: float) -> NDArray:
    """Return ‖ΔW‖ / ‖W₀‖ of MiniLM's four matrices, run by run: (runs, 4)."""
    return _opened("sizes", method, lr)


def counted(
    method: str, lr: float, who: str = "intruders", epsilon: float = 0.5, k: int = 10
) -> NDArray:
    """Return how many of the first k directions of four matrices resemble none of W₀'s, a run."""
    arguments = record("opened")["arguments"]
    one_of("who", who, ("intruders", "strangers"))
    one_of("epsilon", epsilon, arguments["epsilons"])
    at = arguments["ks"].index(one_of("k", k, arguments["ks"]))
    return np.array([counts[f"{epsilon:g}"][at] for counts in _opened(who, method, lr)])


def scaled(lr: float) -> dict[str, NDArray]:
    """Return what is scaled → right on test posts, neighbours: (scales, 2, runs); last, whole."""
    recorded = {row["lr"]: row["scaled"] for row in rows("opened") if "scaled" in row}
    whole = _opened("all", "r=8", one_of("lr", lr, recorded))  # (runs, 2)
    found = {}
    for words in recorded[lr]:
        parts = column("opened", "scaled", words, method="r=8", lr=lr)  # (runs, scales, 2)
        found[words] = np.append(parts, whole[:, None], axis=1).transpose(1, 2, 0)
    return found


LOOKS: Mapping[str, Sequence[str]] = {
    "knob": (".-", BLACK, "the whole update"),
    "intruders": ("o--", VERMILION, "the intruders"),
    "strongest": ("s:", BLUE, "its strongest directions"),
    "others": ("d-.", ORANGE, "others of the first thirty"),
}


def _intruders() -> Numbers:
    arguments = record("opened")["arguments"]
    rates = (1e-3, 3e-3, 1e-2)

    def means(lr: float, who: str) -> list[float]:
        return [rounded(counted("r=8", lr, who, e), 2) for e in arguments["epsilons"]]

    roads = [[scaled(lr)[words].mean(-1) for lr in rates[1:]] for words in LOOKS]
    return {
        "seeds": len(counted("r=8", 1e-3)),
        "epsilons": arguments["epsilons"],
        "rates": rates,
        "scales": [*arguments["scales"], 1.0],
        "at_half": {f"{lr:g}": rounded(counted("r=8", lr), 1) for lr in rates},
        "stranger": {f"{lr:g}": rounded(counted("r=8", lr, "strangers"), 1) for lr in rates},
        # (rates, 2, epsilons)
        "counts": np.array([[means(lr, "intruders"), means(lr, "strangers")] for lr in rates]),
        "roads": np.array(roads),  # (what, rates, scales, 2)
    }


@figure(_intruders)
def intruders_scaled(numbers: Numbers) -> Figure:
    """Show how many intruders there are, whoever trained, and what scaling them down gives back.

    MiniLM, LoRA of rank 8 on four matrices, {seeds} runs. Left, how many of their forty first
    directions resemble none of the weight's, against how strict one is (ε), at three rates; at
    ε = 0.5 {at_half}; dashed, the same numbers in other places, which learned nothing: {stranger}.
    Right, at two rates, what is right on test posts against neighbours kept, when a part is scaled
    from 1 down to 0: the intruders, the strongest directions of the update, the whole update, or
    others of the first thirty directions.
    """
    fig, axes = panels(12, 4.2, 3)
    colors = (GREEN, BLUE, VERMILION)
    for lr, counts, color in zip(numbers["rates"], numbers["counts"], colors, strict=True):
        axes[0].plot(numbers["epsilons"], counts[0], "o-", color=color, label=f"rate {lr:g}")
        axes[0].plot(numbers["epsilons"], counts[1], "x--", color=color)
    axes[0].plot([], [], "x--", color=GREY, label="the stranger")
    axes[0].set(xlabel="how strict: ε", ylabel="intruders among 40", title="how many")
    axes[0].legend(fontsize=10)
    for place, lr in enumerate(numbers["rates"][1:]):
        ax = axes[1 + place]
        for (style, color, label), roads in zip(LOOKS.values(), numbers["roads"], strict=True):
            ax.plot(*roads[place].T, style, color=color, label=label)
        ax.plot(*numbers["roads"][0][place][-1], "*", color=BLACK, markersize=15)
        ax.set(xlabel="right on test posts", title=f"scaled down, rate {lr:g}")
    axes[1].set_ylabel("neighbours kept")
    axes[1].legend(fontsize=9)
    return fig
