"""Figures: the anatomy of the update, and what it saves."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from lora_edu import counting
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import (
    BLACK,
    BLUE,
    CELL,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    grouped,
    heatmap,
)


def matrix_example(seed: int = 0) -> tuple[NDArray, NDArray, NDArray]:
    """Make the 100 x 100 example: ``W0`` (100, 100), ``lora_A`` (5, 100), ``lora_B`` (100, 5).

    ``W0`` is Gaussian noise. The rows of ``lora_A`` and the columns of ``lora_B`` are random sums
    of eight cosines, so that their product shows a pattern that an eye finds again in the sum.
    """
    rng = np.random.default_rng(seed)
    W0 = rng.standard_normal((100, 100))
    waves = np.cos(np.pi * np.outer(np.arange(1, 9), np.linspace(0, 1, 100)))  # (8, 100)
    lora_A = rng.standard_normal((5, 8)) @ waves / 3  # (5, 100)
    lora_B = waves.T @ rng.standard_normal((8, 5)) / 3  # (100, 5)
    return W0, lora_A, lora_B


def _anatomy(
    W0: NDArray | None = None, lora_A: NDArray | None = None, lora_B: NDArray | None = None
) -> Numbers:
    """Count what is in W0 (d, k) and in BA; without arguments, of ``matrix_example()``."""
    if W0 is None or lora_A is None or lora_B is None:
        W0, lora_A, lora_B = matrix_example()
    d, k = W0.shape
    delta = lora_B @ lora_A  # (d, k)
    return {
        "d": d,
        "k": k,
        "r": len(lora_A),
        "numbers_in_factors": lora_A.size + lora_B.size,
        "numbers_in_update": delta.size,
        "rank_of_update": int(np.linalg.matrix_rank(delta)),
        "colour_limit": 2.0 * float(np.std(W0 + delta)),
        "W0": W0,
        "lora_A": lora_A,
        "lora_B": lora_B,
        "delta": delta,
    }


@figure(_anatomy)
def matrix_anatomy(numbers: Numbers) -> Figure:
    """Show two thin strips make a full square: W₀ + BA, to scale and on one colour scale.

    A sum of matrices drawn to scale. Left, W0, a square of {d} by {k} cells of noise. Plus a second
    square of the same size, the update, a pattern of soft bright and dark patches in rows and
    columns; the thin upright strip B ({d} by {r}) stands along its left side and the thin flat
    strip A ({r} by {k}) along its top. Equals a third square, in which the pattern shows through
    the noise. The two strips hold {numbers_in_factors:,} numbers, the square they span
    {numbers_in_update:,}.
    """
    d, k, r = numbers["d"], numbers["k"], numbers["r"]
    W0, delta = numbers["W0"], numbers["delta"]
    lora_A, lora_B = numbers["lora_A"], numbers["lora_B"]

    # Lengths are in cells of the matrices, so that a strip of 5 is as thin as it should be.
    gap, margin, between = 4, 14, 22
    width, height = 3 * k + r + gap + 2 * between + 2 * margin, d + r + gap + 2 * margin
    fig = plt.figure(figsize=(width * CELL, height * CELL))

    def place(matrix: NDArray, left: float, bottom: float) -> None:
        rows, columns = matrix.shape
        box = (left / width, bottom / height, columns / width, rows / height)
        heatmap(fig.add_axes(box), matrix, numbers["colour_limit"])

    def write(text: str, x: float, y: float, **style: Any) -> None:
        fig.text(x / width, y / height, text, ha="center", va="center", **style)

    middle, below, x = margin + d / 2, margin / 2, float(margin)
    place(W0, x, margin)
    write(f"$W_0$: {d} × {k} = {grouped(W0.size)}", x + k / 2, below)
    x += k + between / 2
    write("+", x - 4, middle, fontsize=22)
    x += between / 2
    place(lora_B, x, margin)
    write(f"$B$: {d} × {r} = {grouped(lora_B.size)}", x - 5, middle, rotation=90)
    x += r + gap
    place(delta, x, margin)
    write(f"$\\Delta W = BA$: {d} × {k} = {grouped(delta.size)}", x + k / 2, below)
    place(lora_A, x, margin + d + gap)
    write(f"$A$: {r} × {k} = {grouped(lora_A.size)}", x + k / 2, margin + d + gap + r + 6)
    x += k + between / 2
    write("=", x, middle, fontsize=22)
    x += between / 2
    place(W0 + delta, x, margin)
    write(f"$W_0 + BA$: {d} × {k} = {grouped(W0.size)}", x + k / 2, below)
    return fig


def _counts(d: int = 100, k: int = 100, r: int = 5) -> Numbers:
    """Count the numbers to train for a weight (d, k), at rank r and at every other."""
    ranks = list(range(1, min(d, k) + 1))
    return {
        "d": d,
        "k": k,
        "r": r,
        "ranks": ranks,
        "counts": [counting.lora_parameters(d, k, rank) for rank in ranks],
        "slope": d + k,
        "dense": counting.dense_parameters(d, k),
        "lora": counting.lora_parameters(d, k, r),
        "break_even": counting.break_even_rank(d, k),
    }


@figure(_counts)
def parameters_vs_rank(numbers: Numbers) -> Figure:
    """Show LoRA's count grow with r, and meet the full update's at r* = dk / (d + k).

    Numbers to train against the rank r, for a {d} by {k} weight. A straight line rises from the
    origin: LoRA, {slope} numbers for each unit of rank. A level line at {dense:,}: the full update.
    They cross at r = {break_even:g}. At r = {r} LoRA needs {lora:,} numbers.
    """
    ranks, counts, r = numbers["ranks"], numbers["counts"], numbers["r"]
    dense, lora, break_even = numbers["dense"], numbers["lora"], numbers["break_even"]
    fig, ax = plt.subplots(layout="constrained")
    ax.plot(ranks, counts, color=BLUE)
    ax.axhline(dense, color=ORANGE, linestyle="--")
    ax.plot(r, lora, "o", color=BLUE, markersize=8)
    ax.plot(break_even, dense, "s", color=BLACK, markersize=7)
    above = {"xytext": (0, 8), "textcoords": "offset points"}
    ax.annotate(f"$dk$ = {grouped(dense)}", (ranks[0], dense), color=GREY, **above)
    ax.annotate(f"r = {r}: {grouped(lora)}", (r, lora), xytext=(14, -4), textcoords="offset points")
    ax.annotate(f"r* = {break_even:g}", (break_even, dense), ha="right", **above)
    ax.annotate(
        "$r\\,(d + k)$", (ranks[-1], counts[-1]), xytext=(-60, -4), textcoords="offset points"
    )
    ax.set(xlabel="r", ylabel="params", xlim=(0, ranks[-1]), ylim=(0, counts[-1]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: grouped(value)))
    return fig


def model_widths() -> dict[str, int]:
    """Return the width of some models of the catalogue, from small to large: id → width."""
    names = ["all-MiniLM-L6-v2", "roberta-base", "roberta-large", "gpt2-xl", "llama-2-7b"]
    configs = counting.catalogue()
    widths = {}
    for name in [*names, "gpt3-175b", "llama-3.1-405b"]:
        config = configs[name]
        widths[name] = config["hidden_size"] if "hidden_size" in config else config["n_embd"]
    return widths


def _reductions(r: int = 5) -> Numbers:
    """Divide the full count by LoRA's at rank r, for the example and for real models.

    These stand at the width of their query projection, a square d x d matrix.
    """
    models = model_widths()
    reductions = {name: counting.reduction(width, width, r) for name, width in models.items()}
    narrowest, widest = min(models, key=models.__getitem__), max(models, key=models.__getitem__)
    ranks, ends = [1, r, 64], [50, 32768]
    return {
        "ranks": ranks,
        "ends": ends,
        "at_ends": [[counting.reduction(end, end, rank) for end in ends] for rank in ranks],
        "example_width": 100,
        "example_reduction": counting.reduction(100, 100, r),
        "widths": models,
        "reductions": reductions,
        "narrowest": narrowest,
        "narrowest_width": models[narrowest],
        "narrowest_reduction": reductions[narrowest],
        "widest": widest,
        "widest_width": models[widest],
        "widest_reduction": reductions[widest],
    }


@figure(_reductions)
def reduction_vs_width(numbers: Numbers) -> Figure:
    """Show that the wider the model, the more LoRA saves: at fixed r the ratio is d / 2r.

    How many times fewer numbers LoRA trains, against the width d of a square weight, both axes
    logarithmic: three parallel straight lines for r = {ranks[0]}, {ranks[1]} and {ranks[2]}, each
    proportional to d. On the line for r = {ranks[1]} stand the example (d = {example_width},
    {example_reduction:g} times) and real models, from {narrowest} (d = {narrowest_width},
    {narrowest_reduction:g} times) to {widest} (d = {widest_width}, {widest_reduction:g} times). A
    level line at 1, below which LoRA saves nothing: at the width of the example the line for r =
    {ranks[2]} is below it.
    """
    fig, ax = plt.subplots(figsize=(8.0, 4.6), layout="constrained")
    beside: dict[str, Any] = {"textcoords": "offset points"}
    ax.axhline(1, color=GREY, linewidth=1)
    ends = numbers["ends"]
    looks = [("--", GREEN), ("-", BLUE), (":", VERMILION)]
    lines = zip(numbers["ranks"], numbers["at_ends"], looks, strict=True)
    for rank, heights, (style, color) in lines:
        ax.plot(ends, heights, style, color=color)
        ax.annotate(f"r = {rank}", (ends[1], heights[1]), (5, -4), color=color, **beside)
    widths, reductions = numbers["widths"], numbers["reductions"]
    ax.plot(list(widths.values()), list(reductions.values()), "o", color=BLUE)
    for i, (name, width) in enumerate(widths.items()):  # names in turn above and below the line
        shift, side = ((-8, 5), "right") if i % 2 else ((8, -11), "left")
        ax.annotate(name, (width, reductions[name]), shift, ha=side, fontsize=9, **beside)
    width, reduction = numbers["example_width"], numbers["example_reduction"]
    ax.plot(width, reduction, "s", color=BLACK)
    ax.annotate(f"d = {width}", (width, reduction), (8, -11), fontsize=9, **beside)
    ax.set(xscale="log", yscale="log", xlabel="d = k", ylabel="$dk\\;/\\;r(d+k)$")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: grouped(value)))
    return fig
