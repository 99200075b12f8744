"""Figures: a model and a file, to scale; a voice turned up, down and against itself."""

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from lora_edu import chat
from lora_edu.checkpoint import read_adapter
from lora_edu.counting import one_of
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREY, VERMILION, grouped, panels
from lora_edu.course.recorded import column, record, rounded

VOICES = {"pirate": "the pirate", "grimm": "Grimm"}
MODEL = 134_515_008  # numbers of SmolLM2-135M, as its page says and lesson 00 counts


def _sizes() -> Numbers:
    file = sum(math.prod(t.shape) for t in read_adapter(chat.SHIPPED / "pirate")[1].values())
    return {"model": MODEL, "file": file, "ratio": round(MODEL / file)}


@figure(_sizes)
def model_and_file(numbers: Numbers) -> Figure:
    """Show a chat model and the file that changes its voice as squares, to scale.

    A large square, the model: {model:,} numbers. In its lower right corner a small square, the
    file: {file:,} numbers, {ratio} times fewer; its side is an eighteenth of the large one's.
    """
    fig, ax = plt.subplots(figsize=(7, 3.6))
    side = math.sqrt(numbers["file"] / numbers["model"])
    ax.add_patch(Rectangle((0, 0), 1, 1, color=BLUE, alpha=0.35))
    ax.add_patch(Rectangle((1.12, 0), side, side, color=VERMILION))
    ax.text(0.5, 0.5, f"the model\n{grouped(numbers['model'])} numbers", ha="center", va="center")
    ax.text(1.12 + 1.5 * side, side / 2, f"the file\n{grouped(numbers['file'])}", va="center")
    ax.set(xlim=(-0.01, 1.9), ylim=(-0.01, 1.01), aspect="equal")
    ax.axis("off")
    return fig


def likelier(voice: str, scale: float | str, text: str | None = None) -> NDArray:
    """Return how many times likelier a token of a text has become: one a run; its own by default.

    Below 1, it has become less likely. The scale "drawn" is a file of random numbers of equal norm.
    """
    scales = ("0.0", str(scale))
    before, now = (column("knob", "loss", voice, at, text or voice) for at in scales)  # in nats
    return np.exp(before - now)


def at_minus_one(what: str, words: str) -> NDArray:
    """Return of how many of twenty answers at −1 it is true, run by run.

    That they "ended", or hold "pictures" (emoji), with a voice or, say, "grimm, drawn".
    """
    return column("knob", one_of("what", what, ("ended", "pictures")), words)


def five_sentences() -> dict[tuple[str, float], NDArray]:
    """Return (what, learning rate) → of how many of twenty answers it is true: (sets, runs).

    That they begin as the five sentences do ("begins"), or are one of them ("by heart").
    """
    arguments, found = record("five_sentences")["arguments"], {}
    for what in ("begins", "by heart"):
        for rate in arguments["lr"]:
            path = what.replace(" ", "_"), str(rate)
            counts = [column("five_sentences", path[0], s, path[1]) for s in arguments["sentences"]]
            found[what, rate] = np.array(counts)
    return found


def _mean(ratios: NDArray) -> NDArray:
    """Return the geometric means over the runs, which are the last axis."""
    return np.exp(np.log(ratios).mean(axis=-1))


def _turned() -> Numbers:
    scales = record("knob")["arguments"]["scales"]
    numbers: Numbers = {"seeds": len(record("knob")["rows"]), "scales": scales, "voices": VOICES}
    for voice in VOICES:
        for kind, text in {"own": voice, "model": "own", "prose": "prose"}.items():
            ratios = [likelier(voice, scale, text) for scale in scales]
            numbers[f"{voice}_{kind}"] = np.array(ratios)  # (scales, runs)
        numbers[voice] = {
            "against": round(1 / _mean(likelier(voice, -1.0))),
            "prose": rounded(1 / _mean(likelier(voice, -1.0, "prose")), 1),
            "full": rounded(_mean(likelier(voice, 1.0)), 1),
            "drawn": rounded(_mean(likelier(voice, "drawn")), 2),
        }
    return numbers


@figure(_turned)
def turned_voice(numbers: Numbers) -> Figure:
    """Show what becomes likelier as a voice is turned up, down, and against itself.

    Two panels, the pirate and Grimm. Across, the scale of the file, from −1 to 1.5; up, how many
    times likelier a token is than without the file, on a logarithmic axis: geometric means of
    {seeds} files, which are faint. Solid, the voice's own sentences, unseen: at 1
    {pirate[full]} and {grimm[full]} times likelier, at −1 {pirate[against]} and {grimm[against]}
    times less likely. Dashed, the model's own answers: less likely at both ends. Dotted, other
    prose: {pirate[prose]} and {grimm[prose]} times less likely at −1. A cross at 1, the
    voice's own sentences with a file of random numbers, as large: {pirate[drawn]} and
    {grimm[drawn]}.
    """
    fig, axes = panels(8.4, 3.6, 2, sharey=True)
    looks = {
        "own": ("-", VERMILION, "sentences of the voice"),
        "model": ("--", BLUE, "the model's own answers"),
        "prose": (":", BLACK, "other prose"),
    }
    for ax, (voice, name) in zip(axes, numbers["voices"].items(), strict=True):
        for kind, (dash, color, label) in looks.items():
            ratios = numbers[f"{voice}_{kind}"]  # (scales, runs)
            ax.plot(numbers["scales"], ratios, color=color, alpha=0.2, linewidth=0.8)
            ax.plot(numbers["scales"], _mean(ratios), dash, color=color, label=label)
        ax.plot(1, numbers[voice]["drawn"], "x", color=GREY, markersize=9, label="random file")
        ax.axhline(1, color=GREY, linewidth=0.8)
        ax.axvline(0, color=GREY, linewidth=0.8)
        ax.set(title=f"{name[0].upper()}{name[1:]}", xlabel="scale of the file", yscale="log")
        words = ["100 times\nless likely", "10 times\nless", "as before", "10 times\nmore"]
        ax.set_yticks([0.01, 0.1, 1, 10], words)
        ax.minorticks_off()
    axes[0].legend(loc="lower right", fontsize=9)
    return fig
