"""Figures: what is learned of a text, what a voice costs, shorter answers, a voice as a QR code."""

import base64
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lora_edu.counting import one_of
from lora_edu.course import plots
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLUE, GREEN, GREY, ORANGE, VERMILION, cells, panels
from lora_edu.course.recorded import column, record, rounded, runs

TEXTS = {
    "grimm": "Grimm's\npassages",
    "pirate": "the pirate's\nsentences",
    "own": "the model's\nown answers",
    "prose": "other\nprose",
    "facts": "last words\nof facts",
}


def tokens(pieces: Sequence[str], labels: Sequence[int], width: int = 112) -> Figure:
    """Draw the tokens of a text as boxes: filled those with a label, empty those with −100."""
    fig, ax = panels(9.6, 2.4)
    style = {"ha": "center", "va": "center", "family": "monospace", "fontsize": 8.5}
    x = y = 0
    for piece, label in zip(pieces, labels, strict=True):
        text = piece.replace("\n", "⏎").replace(" ", "␣")
        if x + len(text) + 1 > width:
            x, y = 0, y - 1
        colour = "white" if label == -100 else ORANGE
        box = {"boxstyle": "round,pad=0.25", "facecolor": colour, "edgecolor": GREY}
        ax.text(x + len(text) / 2, y, text, **style, bbox=box)
        x += len(text) + 2.2
        if piece.endswith("\n"):
            x, y = 0, y - 1
    ax.set(xlim=(-1, width), ylim=(y - 0.7, 0.7))
    ax.axis("off")
    return fig


def ended(how: str) -> list[int]:
    """Return how many of twenty answers end, run by run: "with" or "without" the end's label."""
    return column("endless", "ended", how).tolist()


def perplexities(voice: str, scale: float = 1.0) -> NDArray:
    """Return the perplexity of each text with a voice at a scale, run by run: (3, 5)."""
    losses = [column("voices", "matrix", voice, str(float(scale)), text) for text in TEXTS]
    return np.exp(np.transpose(losses))


def _costs() -> Numbers:
    each = [perplexities("grimm", 0.0), perplexities("grimm"), perplexities("pirate")]
    table = np.exp(np.log(each).mean(1))  # (3, 5)
    numbers: Numbers = {"seeds": len(each[0]), "table": table}
    numbers["names"] = ["without a file", "with Grimm", "with the pirate"]
    for name, line in zip(("base", "grimm", "pirate"), table, strict=True):
        numbers[name] = dict(zip(TEXTS, map(round, line), strict=True))
    return numbers


@figure(_costs)
def what_it_costs(numbers: Numbers) -> Figure:
    """Show the perplexity of five texts for the chat model, and with either voice.

    Three rows, five columns, a number in each: geometric means of {seeds} files. Pink where a
    voice has made the text less likely, green where more. Grimm's passages fall from {base[grimm]}
    to {grimm[grimm]} with Grimm, the pirate's sentences from {base[pirate]} to {pirate[pirate]}
    with the pirate. The model's own answers rise from {base[own]} to {grimm[own]} and
    {pirate[own]}. Other prose: {base[prose]}, {grimm[prose]} and {pirate[prose]}; last words of
    facts: {base[facts]}, {grimm[facts]} and {pirate[facts]}.
    """
    fig, ax = panels(8.4, 2.9)
    table = numbers["table"]
    words = [f"{value:.1f}" if value < 10 else f"{value:.0f}" for value in table.flat]
    look = {"cmap": "PiYG_r", "norm": LogNorm(1 / 60, 60), "alpha": 0.7}
    cells(ax, table / table[0], words, 0, 12, **look)
    ax.set_xticks(range(len(TEXTS)), TEXTS.values())
    ax.set_yticks(range(len(table)), numbers["names"])
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    return fig


def suffers(voice: str) -> str:
    """Say which grows most with a voice: the perplexity of "own", "prose" or "facts"."""
    one_of("voice", voice, ("grimm", "pirate"))
    numbers = _costs()
    return max(("own", "prose", "facts"), key=lambda t: numbers[voice][t] / numbers["base"][t])


LORA = ("r=4", "r=16", "r=4, alpha 32", "r=4, q and v")


def trade(way: str, text: str = "own") -> NDArray:
    """Return what a way has learned and what it costs: (settings, seeds, 2), in nats.

    Learned: by how much the loss on Grimm's passages has fallen; cost: by how much that on the
    model's "own" answers or "prose" has risen. A setting is a rate after one epoch or two;
    "LoRA" has those of several ranks, alphas and places, and "scale" is Grimm's finished file at
    0.25 to 1.
    """
    one_of("text", text, ("own", "prose"))
    if way == "LoRA":
        return np.concatenate([trade(method, text) for method in LORA])
    if way == "scale":
        scales = ("0.0", "0.25", "0.5", "0.75", "1.0")
        losses = [[column("knob", "loss", "grimm", s, t) for s in scales] for t in ("grimm", text)]
        return _traded(np.moveaxis(losses, -1, 1))
    rates = record("frontier")["arguments"]["rates"]
    found = []
    for lr in rates[one_of("way", way, [*rates, "LoRA", "scale"])]:
        losses = [column("frontier", key, method=way, lr=lr) for key in ("voice", text)]
        found.append(_traded(np.array(losses)))
    return np.concatenate(found)


def _traded(losses: NDArray) -> NDArray:
    """Return how the loss falls on the voice and rises on a text: (settings, seeds, 2).

    From both losses, (2, seeds, 1 + settings), of which the first are those before.
    """
    learned, cost = losses[..., 1:] - losses[..., :1]
    return np.transpose([-learned, cost])


def beaten(text: str = "own") -> int:
    """Count the settings of LoRA for which one of full training has learned more and cost less."""
    full, lora = (trade(way, text).mean(1) for way in ("full", "LoRA"))  # (settings, 2)
    better = (full[:, 0] > lora[:, :1]) & (full[:, 1] < lora[:, 1:])  # (LoRA, full)
    return int(better.any(1).sum())


WAYS = {
    "LoRA": ("LoRA", BLUE, "o"),
    "r=4, own answers": ("LoRA, own answers mixed in", GREEN, "^"),
    "full": ("full", VERMILION, "s"),
    "full, own answers": ("full, own answers mixed in", ORANGE, "D"),
}


def _frontier() -> Numbers:
    settings = {
        "full": ("full", 3),  # rate 1e-4, both epochs
        "LoRA": ("r=4", 3),  # 1e-3
        "LoRA, own answers mixed in": ("r=4, own answers", 1),  # 1e-3
        "full, own answers mixed in": ("full, own answers", 1),  # 1e-4
        "LoRA at a half": ("scale", 1),
    }
    numbers: Numbers = {"seeds": trade("full").shape[1], "beaten": beaten()}
    for words, (way, setting) in settings.items():
        learned, cost = trade(way)[setting].T
        numbers[words] = {"learned": rounded(learned, 2), "cost": rounded(cost, 2)}
    for way in (*WAYS, "scale"):
        numbers[f"of {way}"] = trade(way)
    return numbers


def costs_less() -> str:
    """Say which costs less when both have learned about 1.2 nats: "LoRA" or "full"."""
    numbers = _frontier()
    return min(("LoRA", "full"), key=lambda way: numbers[way]["cost"])


@figure(_frontier, runs=1)
def voice_frontier(numbers: Numbers) -> Figure:
    """Show how much of Grimm's voice is learned, and what that costs elsewhere.

    Across, by how many nats a token of unseen passages has become likelier; up, by how many nats a
    token of the model's own answers has become less likely: best is low and to the right. A mark
    for each setting, after one and two epochs; means of {seeds} runs. Squares, full training: low,
    as at {full[learned]} nats learned for {full[cost]}. Circles, LoRA: above them,
    {LoRA[learned]} for {LoRA[cost]}; for {beaten} circles there is a square that has learned more
    and cost less. With the model's own answers mixed in, triangles, LoRA:
    {LoRA, own answers mixed in[learned]} for {LoRA, own answers mixed in[cost]}; diamonds, full:
    {full, own answers mixed in[learned]} for {full, own answers mixed in[cost]}. Dashed, finished
    files of LoRA turned up from 0, along the squares: {LoRA at a half[learned]} for
    {LoRA at a half[cost]} at half their scale.
    """
    fig, ax = panels(7.2, 4.4)
    for way, (words, colour, marker) in WAYS.items():
        means = numbers[f"of {way}"].mean(1)  # (settings, 2)
        ax.plot(*means.T, marker, color=colour, label=words, alpha=0.8)
        if way == "full":
            for i in range(0, len(means), 2):
                ax.plot(*means[i : i + 2].T, ":", color=colour, linewidth=1)
    learned, cost = numbers["of scale"].mean(1).T
    ax.plot([0, *learned], [0, *cost], "--", color=GREY, label="LoRA, turned up to 1")
    ax.set(xlabel="learned: nats a token of Grimm", ylabel="cost: nats a token of own answers")
    ax.set(xlim=(0, None), ylim=(0, None))
    ax.legend(loc="upper left")
    return fig


def lengths(method: str, what: str) -> NDArray:
    """Return tokens, empty, prefers or chosen of the shorter answers: (steps, seeds)."""
    steps = record("shorter")["arguments"]["steps"]
    return np.array([column("shorter", what, f"{method}, {step}") for step in steps])


def _shorter() -> Numbers:
    numbers: Numbers = {"steps": record("shorter")["arguments"]["steps"]}
    numbers["seeds"] = len(runs("shorter"))
    for method in ("DPO", "imitation"):
        numbers[f"{method}_tokens"] = lengths(method, "tokens")
        numbers[f"{method}_empty"] = lengths(method, "empty")
        numbers[f"{method}_mean"] = [*map(round, numbers[f"{method}_tokens"].mean(1))]
    numbers["least"] = round(100 * float(lengths("DPO", "prefers").min()))
    last = numbers["DPO_empty"][-1]
    low, high = last.min(), last.max()
    numbers["empty"] = f"{low:.0f} to {high:.0f}" if low < high else f"{low:.0f}"
    return numbers


@figure(_shorter, runs=-1)
def shorter_answers(numbers: Numbers) -> Figure:
    """Show how long answers are as short ones are preferred by DPO, or imitated.

    Left, the mean tokens of twenty answers after {steps} steps: by DPO {DPO_mean}, by imitation
    {imitation_mean}; faint, the {seeds} runs. Right, how many of the twenty are empty: none
    imitated, and {empty} by DPO after the last step. All the while DPO's own measure on held-out
    pairs is at least {least} %.
    """
    fig, axes = panels(8.4, 3.2, 2)
    looks = {"DPO": ("o-", VERMILION), "imitation": ("s--", BLUE)}
    for ax, what in zip(axes, ("tokens", "empty"), strict=True):
        for method, look in looks.items():
            plots.runs(ax, numbers["steps"], numbers[f"{method}_{what}"].T, *look, method)
        ax.set(xlabel="steps", xticks=numbers["steps"])
    axes[0].set(title="tokens of an answer", ylim=(0, None))
    axes[1].set(title="empty answers, of twenty", ylim=(-0.5, 20))
    axes[0].legend()
    return fig


def voice_in_bytes(voice: str = "pirate") -> bytes:
    """Return the bytes of a QR code that hold a voice: those of the record's first run."""
    data = runs("qr_voice")[0]["data"]
    return base64.b64decode(data[one_of("voice", voice, data)])


def in_a_code(voice: str, strips: str) -> NDArray:
    """Return the perplexity of a voice's unseen texts, run by run.

    With the strips "none", "learned", "packed" (read from the code) or "drawn".
    """
    return np.exp(column("qr_voice", "loss", voice, strips, "voice"))


def code(data: bytes) -> Figure:
    """Draw the QR code that holds some bytes."""
    import segno  # of [course]

    rows = segno.make(data, error="l", boost_error=False).matrix
    dark = np.array([list(row) for row in rows]) > 0  # (177, 177)
    fig, ax = panels(4.6, 4.6)
    ax.imshow(np.pad(dark, 4), cmap="Greys", interpolation="nearest")
    ax.axis("off")
    return fig
