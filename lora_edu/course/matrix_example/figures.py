"""Figures: the anatomy of the update, and what it saves."""

from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

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


def matrix_example(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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


@figure(
    "matrix_anatomy",
    alt="A sum of matrices drawn to scale. Left, W0, a square of {d} by {k} cells of noise. Plus a "
    "second square of the same size, the update, a pattern of soft bright and dark patches in rows "
    "and columns; the thin upright strip B ({d} by {r}) stands along its left side and the thin "
    "flat strip A ({r} by {k}) along its top. Equals a third square, in which the pattern shows "
    "through the noise. The two strips hold {numbers_in_factors:,} numbers, the square they span "
    "{numbers_in_update:,}.",
)
def matrix_anatomy(
    W0: np.ndarray | None = None,
    lora_A: np.ndarray | None = None,
    lora_B: np.ndarray | None = None,
) -> tuple[Figure, Numbers]:
    """Show two thin strips make a full square: W₀ + BA, to scale and on one colour scale.

    Without arguments it draws ``matrix_example()``.
    """
    if W0 is None or lora_A is None or lora_B is None:
        W0, lora_A, lora_B = matrix_example()
    (d, k), r = W0.shape, len(lora_A)
    delta = lora_B @ lora_A  # (d, k)
    limit = 2.0 * float(np.std(W0 + delta))

    # Lengths are in cells of the matrices, so that a strip of 5 is as thin as it should be.
    gap, margin, between = 4, 14, 22
    width, height = 3 * k + r + gap + 2 * between + 2 * margin, d + r + gap + 2 * margin
    fig = plt.figure(figsize=(width * CELL, height * CELL))

    def place(matrix: np.ndarray, left: float, bottom: float) -> None:
        rows, columns = matrix.shape
        box = (left / width, bottom / height, columns / width, rows / height)
        heatmap(fig.add_axes(box), matrix, limit)

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
    return fig, {
        "d": d,
        "k": k,
        "r": r,
        "numbers_in_factors": lora_A.size + lora_B.size,
        "numbers_in_update": delta.size,
        "rank_of_update": int(np.linalg.matrix_rank(delta)),
        "colour_limit": limit,
    }


@figure(
    "parameters_vs_rank",
    alt="Numbers to train against the rank r, for a {d} by {k} weight. A straight line rises "
    "from the origin: LoRA, {slope} numbers for each unit of rank. A level line at {dense:,}: "
    "the full update. They cross at r = {break_even:g}. At r = {r} LoRA needs {lora:,} numbers.",
)
def parameters_vs_rank(d: int = 100, k: int = 100, r: int = 5) -> tuple[Figure, Numbers]:
    """Show LoRA's count grow with r, and meet the full update's at r* = dk / (d + k)."""
    ranks = np.arange(1, min(d, k) + 1)
    counts = [counting.lora_parameters(d, k, int(rank)) for rank in ranks]
    dense, lora = counting.dense_parameters(d, k), counting.lora_parameters(d, k, r)
    break_even = counting.break_even_rank(d, k)

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
    return fig, {
        "d": d,
        "k": k,
        "r": r,
        "ranks": ranks.tolist(),
        "counts": counts,
        "slope": d + k,
        "dense": dense,
        "lora": lora,
        "break_even": break_even,
    }


def model_widths() -> dict[str, int]:
    """Return the width of some models of the catalogue, from small to large: id → width."""
    names = ["all-MiniLM-L6-v2", "roberta-base", "roberta-large", "gpt2-xl", "llama-2-7b"]
    configs = counting.catalogue()
    chosen = {name: configs[name] for name in [*names, "gpt3-175b", "llama-3.1-405b"]}
    return {name: c.get("hidden_size", c.get("n_embd")) for name, c in chosen.items()}


@figure(
    "reduction_vs_width",
    alt="How many times fewer numbers LoRA trains, against the width d of a square weight, both "
    "axes logarithmic: three parallel straight lines for r = {ranks[0]}, {ranks[1]} and "
    "{ranks[2]}, each proportional to d. On the line for r = {ranks[1]} stand the example (d = "
    "{example_width}, {example_reduction:g} times) and real models, from {narrowest} (d = "
    "{narrowest_width}, {narrowest_reduction:g} times) to {widest} (d = {widest_width}, "
    "{widest_reduction:g} times). A level line at 1, below which LoRA saves nothing: at the width "
    "of the example the line for r = {ranks[2]} is below it.",
)
def reduction_vs_width(r: int = 5) -> tuple[Figure, Numbers]:
    """Show that the wider the model, the more LoRA saves: at fixed r the ratio is d / 2r.

    Real models stand at the width of their query projection, a square d x d matrix.
    """
    example_width = 100
    models = model_widths()
    narrowest, widest = min(models, key=models.get), max(models, key=models.get)
    ranks = [1, r, 64]

    def ratios(widths: Iterable[int], rank: int) -> list[float]:
        return [counting.reduction(width, width, rank) for width in widths]

    fig, ax = plt.subplots(figsize=(8.0, 4.6), layout="constrained")
    beside: dict[str, Any] = {"textcoords": "offset points"}
    ax.axhline(1, color=GREY, linewidth=1)
    ends = [50, 32768]
    for rank, style, color in zip(ranks, ["--", "-", ":"], [GREEN, BLUE, VERMILION], strict=True):
        heights = ratios(ends, rank)
        ax.plot(ends, heights, style, color=color)
        ax.annotate(f"r = {rank}", (ends[1], heights[1]), (5, -4), color=color, **beside)
    reductions = ratios(models.values(), r)
    ax.plot(list(models.values()), reductions, "o", color=BLUE)
    for i, (name, width) in enumerate(models.items()):  # names in turn above and below the line
        shift, side = ((-8, 5), "right") if i % 2 else ((8, -11), "left")
        ax.annotate(name, (width, reductions[i]), shift, ha=side, fontsize=9, **beside)
    (example,) = ratios([example_width], r)
    ax.plot(example_width, example, "s", color=BLACK)
    ax.annotate(f"d = {example_width}", (example_width, example), (8, -11), fontsize=9, **beside)
    ax.set(xscale="log", yscale="log", xlabel="d = k", ylabel="$dk\\;/\\;r(d+k)$")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: grouped(value)))
    return fig, {
        "ranks": ranks,
        "example_width": example_width,
        "example_reduction": example,
        "widths": models,
        "reductions": dict(zip(models, reductions, strict=True)),
        "narrowest": narrowest,
        "narrowest_width": models[narrowest],
        "narrowest_reduction": min(reductions),
        "widest": widest,
        "widest_width": models[widest],
        "widest_reduction": max(reductions),
    }
