"""Figures: what is learned of a text, what a voice costs, shorter answers, a voice as a QR code."""

import base64
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lora_edu.counting import one_of
from lora_edu.course.experiments import results
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLUE, GREEN, GREY, ORANGE, VERMILION

TEXTS = {
    "grimm": "Grimm's\npassages",
    "pirate": "the pirate's\nsentences",
    "own": "the model's\nown answers",
    "prose": "other\nprose",
    "facts": "last words\nof facts",
}


def tokens(pieces: Sequence[str], labels: Sequence[int], width: int = 112) -> Figure:
    """Draw the tokens of a text as boxes: filled those with a label, empty those with −100."""
    fig, ax = plt.subplots(figsize=(9.6, 2.4), layout="constrained")
    x = y = 0
    for piece, label in zip(pieces, labels, strict=True):
        text = piece.replace("\n", "⏎").replace(" ", "␣")
        if x + len(text) + 1 > width:
            x, y = 0, y - 1
        colour = ORANGE if label != -100 else "white"
        box = {"boxstyle": "round,pad=0.25", "facecolor": colour, "edgecolor": GREY}
        ax.text(x + len(text) / 2, y, text, ha="center", va="center", family="monospace",
                fontsize=8.5, bbox=box)  # fmt: skip
        x += len(text) + 2.2
        if piece.endswith("\n"):
            x, y = 0, y - 1
    ax.set(xlim=(-1, width), ylim=(y - 0.7, 0.7))
    ax.axis("off")
    return fig


def ended(how: str) -> list[int]:
    """Return how many of twenty answers end, run by run: "with" or "without" the end's label."""
    one_of("how", how, ("with", "without"))
    return [row["ended"][how] for row in results("endless")["rows"]]


def perplexities(voice: str, scale: float = 1.0) -> NDArray:
    """Return the perplexity of each text with a voice at a scale, run by run: (3, 5)."""
    rows: Any = results("voices")["rows"]
    one_of("voice", voice, rows[0]["matrix"])
    one_of("scale", scale, [float(known) for known in rows[0]["matrix"][voice]])
    losses = [[row["matrix"][voice][str(float(scale))][t] for t in TEXTS] for row in rows]
    return np.exp(np.array(losses))


def _costs() -> Numbers:
    each = {"without a file": perplexities("grimm", 0.0)}
    each |= {"with Grimm": perplexities("grimm"), "with the pirate": perplexities("pirate")}
    mean = {name: np.exp(np.log(runs).mean(0)) for name, runs in each.items()}  # (5,)
    numbers: Numbers = {"seeds": len(each["with Grimm"]), "names": [*mean]}
    numbers["table"] = np.array([*mean.values()])  # (3, 5)
    base, grimm = mean["without a file"], mean["with Grimm"]
    numbers["base"] = dict(zip(TEXTS, map(round, base), strict=True))
    numbers["grimm"] = dict(zip(TEXTS, map(round, grimm), strict=True))
    numbers["pirate"] = dict(zip(TEXTS, map(round, mean["with the pirate"]), strict=True))
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
    fig, ax = plt.subplots(figsize=(8.4, 2.9), layout="constrained")
    table = numbers["table"]
    ax.imshow(table / table[0], cmap="PiYG_r", norm=LogNorm(1 / 60, 60), aspect="auto", alpha=0.7)
    for (i, j), value in np.ndenumerate(table):
        text = f"{value:.1f}" if value < 10 else f"{value:.0f}"
        ax.text(j, i, text, ha="center", va="center", fontsize=12)
    ax.set_xticks(range(len(TEXTS)), [*TEXTS.values()])
    ax.set_yticks(range(len(table)), numbers["names"])
    ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    ax.grid(visible=False)
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
    model's "own" answers, "prose" or "facts" has risen. A setting is a rate after one epoch or two;
    "LoRA" has those of several ranks, alphas and places, and "scale" is Grimm's finished file at
    0.25 to 1.
    """
    one_of("text", text, ("own", "prose", "facts"))
    if way == "LoRA":
        return np.concatenate([trade(method, text) for method in LORA])
    if way == "scale":
        runs: Any = [row["loss"]["grimm"] for row in results("knob")["rows"]]
        return np.array([
            [
                (of["0.0"]["grimm"] - of[s]["grimm"], of[s][text] - of["0.0"][text])
                for of in runs
            ]
            for s in ("0.25", "0.5", "0.75", "1.0")
        ])  # fmt: skip
    record: Any = results("frontier")
    one_of("way", way, [*record["arguments"]["rates"], "LoRA", "scale"])
    found = []
    for lr in record["arguments"]["rates"][way]:
        runs = [row for row in record["rows"] if (row["method"], row["lr"]) == (way, lr)]
        for epoch in (1, 2):
            found.append([
                (run["voice"][0] - run["voice"][epoch], run[text][epoch] - run[text][0])
                for run in runs
            ])  # fmt: skip
    return np.array(found)


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
    numbers: Numbers = {f"of {way}": trade(way) for way in [*WAYS, "scale"]}

    def at(way: str, setting: int) -> dict[str, float]:
        learned, cost = trade(way)[setting].mean(0)
        return {"learned": round(float(learned), 2), "cost": round(float(cost), 2)}

    numbers["full"] = at("full", 3)  # rate 1e-4, both epochs
    numbers["LoRA"] = at("r=4", 3)  # 1e-3
    numbers["LoRA, own answers mixed in"] = at("r=4, own answers", 1)  # 1e-3
    numbers["full, own answers mixed in"] = at("full, own answers", 1)  # 1e-4
    numbers["LoRA at a half"] = at("scale", 1)
    return numbers | {"seeds": len(trade("full")[0]), "beaten": beaten()}


def costs_less() -> str:
    """Say which costs less when both have learned about 1.2 nats: "LoRA" or "full"."""
    numbers = _frontier()
    return min(("LoRA", "full"), key=lambda way: numbers[way]["cost"])


@figure(_frontier)
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
    fig, ax = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    for way, (words, colour, marker) in WAYS.items():
        means = numbers[f"of {way}"].mean(1)  # (settings, 2)
        ax.plot(*means.T, marker, color=colour, label=words, alpha=0.8)
        if way == "full":
            for one, two in zip(means[::2], means[1::2], strict=True):
                ax.plot(*np.array([one, two]).T, ":", color=colour, linewidth=1)
    scales = numbers["of scale"].mean(1)
    ax.plot([0, *scales[:, 0]], [0, *scales[:, 1]], "--", color=GREY, label="LoRA, turned up to 1")
    ax.set(xlabel="learned: nats a token of Grimm", ylabel="cost: nats a token of own answers",
           xlim=(0, None), ylim=(0, None))  # fmt: skip
    ax.legend(loc="upper left")
    return fig


def lengths(method: str, what: str) -> NDArray:
    """Return what is recorded of shorter answers, (steps, seeds): tokens, empty, prefers, own."""
    record: Any = results("shorter")
    one_of("method", method, ("DPO", "imitation"))
    one_of("what", what, ("tokens", "ended", "empty", "own", "prefers", "chosen"))
    steps = record["arguments"]["steps"]
    return np.array([[row[what][f"{method}, {s}"] for row in record["rows"]] for s in steps])


def _shorter() -> Numbers:
    steps = results("shorter")["arguments"]["steps"]
    numbers: Numbers = {"steps": steps, "seeds": len(results("shorter")["rows"])}
    for method in ("DPO", "imitation"):
        for what in ("tokens", "empty"):
            numbers[f"{method}_{what}"] = lengths(method, what)
        means = numbers[f"{method}_tokens"].mean(1)
        numbers[f"{method}_mean"] = [round(float(n)) for n in means]
    numbers["least"] = round(100 * float(lengths("DPO", "prefers").min()))
    low, high = numbers["DPO_empty"][-1].min(), numbers["DPO_empty"][-1].max()
    numbers["empty"] = f"{low:.0f} to {high:.0f}" if low < high else f"{low:.0f}"
    return numbers


@figure(_shorter)
def shorter_answers(numbers: Numbers) -> Figure:
    """Show how long answers are as short ones are preferred by DPO, or imitated.

    Left, the mean tokens of twenty answers after {steps} steps: by DPO {DPO_mean}, by imitation
    {imitation_mean}; faint, the {seeds} runs. Right, how many of the twenty are empty: none
    imitated, and {empty} by DPO after the last step. All the while DPO's own measure on held-out
    pairs is at least {least} %.
    """
    fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained")
    for ax, what in zip(axes, ("tokens", "empty"), strict=True):
        _by_steps(ax, numbers, what)
    axes[0].set(title="tokens of an answer", ylim=(0, None))
    axes[1].set(title="empty answers, of twenty", ylim=(-0.5, 20))
    axes[0].legend()
    return fig


def _by_steps(ax: Axes, numbers: Numbers, what: str) -> None:
    looks = {"DPO": (VERMILION, "o-"), "imitation": (BLUE, "s--")}
    for method, (colour, look) in looks.items():
        values = numbers[f"{method}_{what}"]  # (steps, seeds)
        ax.plot(numbers["steps"], values, color=colour, alpha=0.25, linewidth=0.8)
        ax.plot(numbers["steps"], values.mean(1), look, color=colour, label=method)
    ax.set(xlabel="steps", xticks=numbers["steps"])


def voice_in_bytes(voice: str = "pirate") -> bytes:
    """Return the bytes of a QR code that hold a voice: those of the record's first run."""
    data = results("qr_voice")["rows"][0]["data"]
    one_of("voice", voice, data)
    return base64.b64decode(data[voice])


def in_a_code(voice: str, strips: str) -> NDArray:
    """Return the perplexity of a voice's unseen texts, run by run.

    With the strips "none", "learned", "packed" (read from the code) or "drawn".
    """
    rows: Any = results("qr_voice")["rows"]
    one_of("voice", voice, rows[0]["loss"])
    one_of("strips", strips, rows[0]["loss"][voice])
    return np.exp([row["loss"][voice][strips]["voice"] for row in rows])


def code(data: bytes) -> Figure:
    """Draw the QR code that holds some bytes."""
    import segno  # of [course]

    rows = segno.make(data, error="l", boost_error=False).matrix
    dark = np.array([list(row) for row in rows]) > 0  # (177, 177)
    fig, ax = plt.subplots(figsize=(4.6, 4.6), layout="constrained")
    ax.imshow(np.pad(dark, 4), cmap="Greys", interpolation="nearest")
    ax.axis("off")
    return fig
