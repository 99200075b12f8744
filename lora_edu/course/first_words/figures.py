"""Figures: a model and a file, to scale; a voice turned up, down and below zero."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from lora_edu import chat
from lora_edu.checkpoint import read_adapter
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREY, VERMILION, grouped
from lora_edu.course.recorded import column, record, rounded

MODEL = 134_515_008  # numbers of SmolLM2-135M, as its page says and lesson 00 counts


def _sizes() -> Numbers:
    file = sum(math.prod(t.shape) for t in read_adapter(chat.SHIPPED / "pirate")[1].values())
    return {"model": MODEL, "file": file, "ratio": round(MODEL / file)}


@figure(_sizes, 7, 3.6)
def model_and_file(numbers: Numbers, ax: Axes) -> None:
    """Show a chat model and the file that changes its voice as squares, to scale.

    A large square, the model: {model:,} numbers. In its lower right corner a small square, the
    file: {file:,} numbers, {ratio} times fewer; its side is an eighteenth of the large one's.
    """
    side = math.sqrt(numbers["file"] / numbers["model"])
    ax.add_patch(Rectangle((0, 0), 1, 1, color=BLUE, alpha=0.35))
    ax.add_patch(Rectangle((1.12, 0), side, side, color=VERMILION))
    ax.text(0.5, 0.5, f"the model\n{grouped(numbers['model'])} numbers", ha="center", va="center")
    ax.text(1.12 + 1.5 * side, side / 2, f"the file\n{grouped(numbers['file'])}", va="center")
    ax.set(xlim=(-0.01, 1.9), ylim=(-0.01, 1.01), aspect="equal")
    ax.axis("off")


def likelier(voice: str, scale: float | str, text: str | None = None) -> NDArray:
    """Return how many times likelier a token of a text has become: one a run; its own by default.

    Below 1, it has become less likely. The scale "drawn" is a file of random numbers of equal norm.
    """
    scales = ("0.0", str(scale))
    before, now = (column("knob", "loss", voice, at, text or voice) for at in scales)  # in nats
    return np.exp(before - now)


def _turned() -> Numbers:
    scales = record("knob")["arguments"]["scales"]
    ratios = {}
    for text in ("grimm", "prose"):
        each = [likelier("grimm", scale, text) for scale in scales]  # (scales, runs)
        ratios[text] = np.exp(np.log(each).mean(axis=1))
    ends = {text: rounded(1 / each[0], 1) for text, each in ratios.items()}
    return {"seeds": len(record("knob")["rows"]), "scales": scales, "against": ends, **ratios}


@figure(_turned, 7, 3.6)
def turned_voice(numbers: Numbers, ax: Axes) -> None:
    """Show what becomes likelier as Grimm is turned up, down, and below zero.

    Across, the scale of Grimm's file, from −1 to 1.5; up, how many times likelier a token is than
    without the file, on a logarithmic axis: geometric means of {seeds} files. Solid, Grimm's own
    sentences, unseen: likelier above 0, and at −1 {against[grimm]} times less likely. Dotted, other
    prose: nearly level, at −1 {against[prose]} times less likely.
    """
    ax.plot(numbers["scales"], numbers["grimm"], "-", color=VERMILION, label="Grimm's sentences")
    ax.plot(numbers["scales"], numbers["prose"], ":", color=BLACK, label="other prose")
    ax.axhline(1, color=GREY, linewidth=0.8)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set(xlabel="scale of Grimm's file", ylabel="a token is", yscale="log")
    words = ["100 times\nless likely", "10 times\nless likely", "as before", "10 times\nlikelier"]
    ax.set_yticks([0.01, 0.1, 1, 10], words)
    ax.minorticks_off()
    ax.legend(loc="lower right")
