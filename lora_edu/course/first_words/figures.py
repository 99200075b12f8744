"""Figures: a model and a file, to scale; a voice turned up, down and against itself."""

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from lora_edu import chat
from lora_edu.checkpoint import read_adapter
from lora_edu.counting import one_of
from lora_edu.course.experiments import results
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREY, VERMILION, grouped

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


def _losses(voice: str, scale: float | str, text: str) -> NDArray:
    """Return the loss on a text at a scale of a voice's file: one a run, in nats."""
    rows: Any = results("knob")["rows"]
    return np.array([row["loss"][voice][str(scale)][text] for row in rows])


def likelier(voice: str, scale: float | str, text: str | None = None) -> NDArray:
    """Return how many times likelier a token of a text has become: one a run; its own by default.

    Below 1, it has become less likely. The scale "drawn" is a file of drawn numbers, as large.
    """
    one_of("voice", voice, VOICES)
    measured = results("knob")["rows"][0]["loss"][voice]
    one_of("scale", str(scale), measured)
    one_of("text", text or voice, measured[str(scale)])
    change = _losses(voice, 0.0, text or voice) - _losses(voice, scale, text or voice)
    return np.exp(change)


def at_minus_one(what: str, words: str) -> NDArray:
    """Return of how many of twenty answers at −1 it is true, run by run.

    That they "ended", or hold "pictures" (emoji), with a voice or, say, "grimm, drawn".
    """
    rows: Any = results("knob")["rows"]
    one_of("what", what, ("ended", "pictures"))
    one_of("words", words, rows[0][what])
    return np.array([row[what][words] for row in rows])


def five_sentences() -> dict[tuple[str, float], NDArray]:
    """Return (what, learning rate) → of how many of twenty answers it is true: (sets, runs).

    That they begin as the five sentences do ("begins"), or are one of them ("by heart").
    """
    record: Any = results("five_sentences")
    found = {}
    for what in ("begins", "by heart"):
        for rate in record["arguments"]["lr"]:
            counts = [
                [row[what.replace(" ", "_")][name][str(rate)] for row in record["rows"]]
                for name in record["arguments"]["sentences"]
            ]
            found[what, rate] = np.array(counts)
    return found


def _turned() -> Numbers:
    scales = results("knob")["arguments"]["scales"]
    numbers: Numbers = {"seeds": len(results("knob")["rows"]), "scales": scales, "voices": VOICES}
    for voice in VOICES:
        own = np.array([likelier(voice, scale) for scale in scales])  # (scales, runs)
        numbers[f"{voice}_own"] = own
        numbers[f"{voice}_model"] = np.array([likelier(voice, s, "own") for s in scales])
        numbers[f"{voice}_prose"] = np.array([likelier(voice, s, "prose") for s in scales])
        numbers[voice] = {
            "against": round(1 / _mean(likelier(voice, -1.0))),
            "prose": round(1 / _mean(likelier(voice, -1.0, "prose")), 1),
            "full": round(_mean(likelier(voice, 1.0)), 1),
            "drawn": round(_mean(likelier(voice, "drawn")), 2),
        }
    return numbers


def _mean(values: NDArray) -> float:
    """Return the mean of ratios: that of their logarithms, as ratio."""
    return float(np.exp(np.log(values).mean()))


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
    fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.6), sharey=True, layout="constrained")
    for ax, (voice, name) in zip(axes, numbers["voices"].items(), strict=True):
        kinds = {"own": (VERMILION, "-", "sentences of the voice")}
        kinds["model"] = (BLUE, "--", "the model's own answers")
        kinds["prose"] = (BLACK, ":", "other prose")
        for kind, (colour, dash, words) in kinds.items():
            ratios = numbers[f"{voice}_{kind}"]  # (scales, runs)
            ax.plot(numbers["scales"], ratios, color=colour, alpha=0.2, linewidth=0.8)
            mean = np.exp(np.log(ratios).mean(1))
            ax.plot(numbers["scales"], mean, dash, color=colour, label=words)
        ax.plot(1, numbers[voice]["drawn"], "x", color=GREY, markersize=9, label="random file")
        ax.axhline(1, color=GREY, linewidth=0.8)
        ax.axvline(0, color=GREY, linewidth=0.8)
        ax.set(title=f"{name[0].upper()}{name[1:]}", xlabel="scale of the file", yscale="log")
        ax.set_yticks(
            [0.01, 0.1, 1, 10],
            ["100 times\nless likely", "10 times\nless", "as before", "10 times\nmore"],
        )
        ax.minorticks_off()
    axes[0].legend(loc="lower right", fontsize=9)
    return fig
