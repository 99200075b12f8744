"""Figures: what is learned of a text, what a voice costs, shorter answers, a voice as a QR code."""

import base64
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

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


def ended(voice: str, how: str) -> list[int]:
    """Return how many of twenty answers end, run by run: "with" or "without" the end's label."""
    return column("endless", "ended", voice, how).tolist()


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


@figure(_costs, 8.4, 2.9)
def what_it_costs(numbers: Numbers, ax: Axes) -> None:
    """Show the perplexity of five texts for the chat model, and with either voice.

    Three rows, five columns, a number in each: geometric means of {seeds} files. Pink where a
    voice has made the text less likely, green where more. Grimm's passages fall from {base[grimm]}
    to {grimm[grimm]} with Grimm, the pirate's sentences from {base[pirate]} to {pirate[pirate]}
    with the pirate. The model's own answers rise from {base[own]} to {grimm[own]} and
    {pirate[own]}. Other prose: {base[prose]}, {grimm[prose]} and {pirate[prose]}; last words of
    facts: {base[facts]}, {grimm[facts]} and {pirate[facts]}.
    """
    table = numbers["table"]
    words = [f"{value:.1f}" if value < 10 else f"{value:.0f}" for value in table.flat]
    look = {"cmap": "PiYG_r", "norm": LogNorm(1 / 60, 60), "alpha": 0.7}
    cells(ax, table / table[0], words, 0, 12, **look)
    ax.set_xticks(range(len(TEXTS)), TEXTS.values())
    ax.set_yticks(range(len(table)), numbers["names"])
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.set_title("perplexity; pink: less likely than without a file, green: likelier", pad=40)


WAYS = {  # as the record calls them → in words, colour, marker, a rate: all learn as much there
    "full": ("full training", VERMILION, "s", 1e-4),
    "r=4": ("LoRA", BLUE, "o", 1e-3),
    "full, own answers": ("full, own answers mixed in", ORANGE, "D", 1e-4),
    "r=4, own answers": ("LoRA, own answers mixed in", GREEN, "^", 1e-3),
}


def trade(way: str, lr: float) -> NDArray:
    """Return what a way has learned and what it costs after each epoch: (epochs, seeds, 2), nats.

    Learned: by how much the loss on Grimm's passages has fallen; cost: by how much that on the
    model's own answers has risen.
    """
    one_of("way", way, WAYS)
    return _traded([column("frontier", key, method=way, lr=lr) for key in ("voice", "own")])


def turned_down(way: str) -> NDArray:
    """Return the same of a finished update, times each scale of the record: (scales, seeds, 2)."""
    where = {"method": one_of("way", way, WAYS), "lr": WAYS[way][-1]}
    before = [column("frontier", key, **where)[:, :1] for key in ("voice", "own")]
    after = [column("frontier", "down", key, **where) for key in ("voice", "own")]
    return _traded(np.concatenate([before, after], axis=2))


def _traded(losses: ArrayLike) -> NDArray:
    """Return how the loss falls on the voice and rises on a text: (settings, seeds, 2).

    From both losses, (2, seeds, 1 + settings), of which the first are those before.
    """
    both = np.array(losses)
    learned, cost = both[..., 1:] - both[..., :1]
    return np.transpose([-learned, cost])


def trades() -> Numbers:
    """Return what each way has learned of Grimm, and what it costs, in nats; and all marks."""
    arguments = record("frontier")["arguments"]
    rates, scales = arguments["rates"], arguments["scales"]
    numbers: Numbers = {"seeds": trade("full", 1e-4).shape[1], "rates": rates}
    for way, (words, *_, middle) in WAYS.items():
        down = turned_down(way)
        found = {
            words: trade(way, middle)[-1],
            f"{words} at a half": down[scales.index(0.5)],
            f"{words} at three quarters": down[scales.index(0.75)],
        }
        for name, runs_of in found.items():
            learned, cost = runs_of.T
            numbers[name] = {"learned": rounded(learned, 2), "cost": rounded(cost, 2)}
        numbers[f"down {way}"] = down
        numbers |= {f"{way} at {lr}": trade(way, lr) for lr in rates[way]}
    return numbers


def costs_less() -> str:
    """Say which costs less when both have learned about 1.2 nats: "LoRA" or "full"."""
    numbers = trades()
    return min("LoRA", "full training", key=lambda name: numbers[name]["cost"]).partition(" ")[0]


@figure(trades, 7.2, 4.4, runs=1)
def voice_frontier(numbers: Numbers, ax: Axes) -> None:
    """Show how much of Grimm's voice is learned, and what that costs elsewhere.

    Across, by how many nats a token of unseen passages has become likelier; up, by how many nats a
    token of the model's own answers has become less likely: best is low and to the right. At each
    rate a hollow mark after the first epoch is joined to a filled one after the second; means of
    {seeds} runs. Squares, full training, lie lower than circles, LoRA: at the middle rates
    {full training[learned]} nats learned for {full training[cost]} against {LoRA[learned]} for
    {LoRA[cost]}. With the model's own answers mixed in:
    {full, own answers mixed in[learned]} for {full, own answers mixed in[cost]}, and LoRA
    {LoRA, own answers mixed in[learned]} for {LoRA, own answers mixed in[cost]}. Dashed, finished
    updates turned down: at half their scale full training has {full training at a half[learned]}
    for {full training at a half[cost]}, LoRA {LoRA at a half[learned]} for {LoRA at a half[cost]}.
    """
    for way, (words, colour, marker, middle) in WAYS.items():
        for lr in numbers["rates"][way]:
            epochs = numbers[f"{way} at {lr}"].mean(1)
            ax.plot(*epochs.T, color=colour, linewidth=1.2)
            ax.plot(*epochs[:1].T, marker, color=colour, markerfacecolor="white")  # the first
            (last,) = ax.plot(*epochs[1:].T, marker, color=colour)
        last.set_label(words)
        if "own" not in way:
            whole = numbers[f"{way} at {middle}"][-1:]
            up = np.concatenate([numbers[f"down {way}"], whole]).mean(1)
            ax.plot(*np.vstack([[0, 0], up]).T, "--.", color=colour, linewidth=1, markersize=4)
    ax.set(xlabel="learned: nats a token of Grimm", ylabel="cost: nats a token of own answers")
    ax.set(xlim=(0, None), ylim=(0, None))
    ax.legend(loc="upper left")


LOSSES = {"DPO": ("o-", VERMILION), "imitation": ("s--", BLUE), "both": ("^:", GREEN)}


def lengths(method: str, what: str) -> NDArray:
    """Return tokens, empty, prefers or chosen of the shorter answers: (steps, seeds)."""
    steps = record("shorter")["arguments"]["steps"]
    return np.array([column("shorter", what, f"{method}, {step}") for step in steps])


def _shorter() -> Numbers:
    numbers: Numbers = {"steps": record("shorter")["arguments"]["steps"]}
    numbers["seeds"] = len(runs("shorter"))
    for method in LOSSES:
        numbers[f"{method}_tokens"] = lengths(method, "tokens")
        numbers[f"{method}_empty"] = lengths(method, "empty")
        numbers[f"{method}_mean"] = [*map(round, numbers[f"{method}_tokens"].mean(1))]
    numbers["least"] = round(100 * float(lengths("DPO", "prefers").min()))
    last = numbers["DPO_empty"][-1]
    low, high = last.min(), last.max()
    numbers["empty"] = f"{low:.0f} to {high:.0f}" if low < high else f"{low:.0f}"
    return numbers


@figure(_shorter, 8.4, 3.2, 2, runs=-1)
def shorter_answers(numbers: Numbers, axes: NDArray) -> None:
    """Show how long answers are as short ones are preferred by DPO, or imitated.

    Left, the mean tokens of twenty answers after {steps} steps: by DPO {DPO_mean}, by imitation
    {imitation_mean}, by both losses together {both_mean}; faint, the {seeds} runs. Right, how many
    of the twenty are empty: none by imitation, hardly one by both, and {empty} by DPO after the
    last step. All the while
    DPO's own measure on held-out pairs is at least {least} %.
    """
    for ax, what in zip(axes, ("tokens", "empty"), strict=True):
        for method, look in LOSSES.items():
            plots.runs(ax, numbers["steps"], numbers[f"{method}_{what}"].T, *look, method)
        ax.set(xlabel="steps", xticks=numbers["steps"])
    axes[0].set(title="tokens of an answer", ylim=(0, None))
    axes[1].set(title="empty answers, of twenty", ylim=(-0.5, 20))
    axes[0].legend()


MANY = {  # of how many examples: as the record calls it → in words, look, colour
    "style": ("a style", "o-", ORANGE),
    "style in full": ("a style (full training)", "s--", VERMILION),
    "format": ("a format", "^-", BLUE),
    "facts": ("five facts", "D-", GREEN),
}


def examples(task: str, what: str, asked: str = "") -> dict[int, list[float]]:
    """Return right, cost or capitals, run by run: number of examples → numbers of the runs.

    ``asked``: how facts are asked for, in other words (``reworded``) if nothing is said.
    """
    one_of("task", task, MANY)
    how = asked or ("reworded" if task == "facts" else "unseen")
    more = [how] if what == "right" else []
    arguments = record("how_many")["arguments"]
    numbers = arguments["in_full" if task.endswith("in full") else "numbers"]
    return {n: column("how_many", what, str(n), *more, method=task).tolist() for n in numbers}


def _how_many() -> Numbers:
    found = {
        task: {what: examples(task, what) for what in ("right", "cost", "capitals")}
        for task in MANY
    }
    means: Numbers = {
        task: {
            f"{what}{n}": rounded(np.array(each[n]), 2)
            for what, each in its.items()
            for n in (min(each), max(each))
        }
        for task, its in found.items()
    }
    known = runs("few_rows")[0]["capitals"]["known"]
    return {"found": found, "known": known, "seeds": len(found["style"]["cost"][5]), **means}


@figure(_how_many, 9.6, 3.4, 3, runs=-1)
def how_many_examples(numbers: Numbers, axes: NDArray) -> None:
    """Show what 5, 20, 80 and 320 examples teach, and what they cost.

    Across, the number of examples; lines are means, faint marks the {seeds} runs. Left, the share
    of right answers to questions that were not taught. With five examples it is
    {style[right5]} for a style, {format[right5]} for a format and {facts[right5]} for five facts
    asked for in other words; with 320 {style[right320]}, {format[right320]} and
    {facts[right320]}. In the middle, by how many nats a token of the model's own answers has become
    less likely: {style[cost5]}, {format[cost5]} and {facts[cost5]} with five, {style[cost320]},
    {format[cost320]} and {facts[cost320]} with 320; for the style by full training
    {style in full[cost20]} with 20 and {style in full[cost320]} with 320. Right, how many capitals
    are named; without training, {known}.
    """
    for ax, what in zip(axes, ("right", "cost", "capitals"), strict=True):
        for task, (words, look, colour) in MANY.items():
            found = numbers["found"][task][what]
            plots.runs(ax, [*found], np.transpose([*found.values()]), look, colour, words)
        ax.set(xscale="log", xticks=(5, 20, 80, 320), xlabel="examples")
        ax.set_xticklabels(("5", "20", "80", "320"))
        ax.minorticks_off()
    axes[0].set(title="right answers, a share", ylim=(-0.03, 1.05))
    axes[1].set(title="cost: nats a token of own answers", ylim=(0, None))
    axes[2].axhline(numbers["known"], color=GREY, linewidth=1, linestyle=":")
    axes[2].set(title="capitals named", ylim=(-0.5, 16.5))
    axes[0].legend()


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
