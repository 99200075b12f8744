"""Figures: the anatomy of the update, and what it saves."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import CARETLEFT, CARETRIGHT
from numpy.typing import NDArray

from lora_edu import counting, lowrank
from lora_edu.course import films, plots
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, CELL, GREEN, GREY, VERMILION, grouped

Given = NDArray | None  # the learner's, or else the example's


def matrix_example(
    seed: int = 0, d: int = 100, k: int = 100, r: int = 5
) -> tuple[NDArray, NDArray, NDArray]:
    """Make the lesson's example: ``W0`` (d, k), ``lora_A`` (r, k), ``lora_B`` (d, r).

    ``W0`` is Gaussian noise. The rows of ``lora_A`` and the columns of ``lora_B`` are random sums
    of cosines, at least eight, so that their product shows a pattern that an eye finds again in
    the sum.
    """
    rng = np.random.default_rng(seed)
    W0 = rng.standard_normal((d, k))
    slow_to_fast = np.arange(max(8, r))  # no fewer independent waves than directions
    across = np.cos(np.pi * np.outer(slow_to_fast, np.linspace(0, 1, k)))  # (waves, k)
    down = np.cos(np.pi * np.outer(np.linspace(0, 1, d), slow_to_fast))  # (d, waves)
    size = np.sqrt(len(across) / 2 * r**0.5)  # of a sum: entries of BA are then near 1
    lora_A = rng.standard_normal((r, len(across))) @ across / size  # (r, k)
    lora_B = down @ rng.standard_normal((len(across), r)) / size  # (d, r)
    return W0, lora_A, lora_B


def _or_example(*given: Given) -> Numbers:
    """Return W0, lora_A and lora_B as they are given, or ``matrix_example()`` if one is not."""
    W0, lora_A, lora_B = given
    if W0 is None or lora_A is None or lora_B is None:
        W0, lora_A, lora_B = matrix_example()
    (d, k), r = W0.shape, len(lora_A)
    return {"d": d, "k": k, "r": r, "W0": W0, "lora_A": lora_A, "lora_B": lora_B}


def _anatomy(W0: Given = None, lora_A: Given = None, lora_B: Given = None) -> Numbers:
    """Count what is in W0 (d, k) and in BA; without arguments, of ``matrix_example()``."""
    numbers = _or_example(W0, lora_A, lora_B)
    delta = numbers["lora_B"] @ numbers["lora_A"]  # (d, k)
    return {
        **numbers,
        "numbers_in_factors": numbers["lora_A"].size + numbers["lora_B"].size,
        "numbers_in_update": delta.size,
        "colour_limit": 2.0 * float(np.std(numbers["W0"] + delta)),
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
    W0, delta, lora_A, lora_B = (numbers[name] for name in ("W0", "delta", "lora_A", "lora_B"))
    (d, k), r, limit = W0.shape, len(lora_A), numbers["colour_limit"]
    gap, margin, between = 4, 14, 22  # in cells, so that a strip of 5 is as thin as it should be
    canvas = plots.Canvas(3 * k + r + gap + 2 * between + 2 * margin, d + r + gap + 2 * margin)
    first = margin  # the left edges: of W0, B, BA and the sum
    tall = first + k + between
    second = tall + r + gap
    third = second + k + between
    middle, top = margin + d / 2, margin + d + gap

    def square(matrix: NDArray, name: str, left: float) -> None:
        canvas.place(matrix, left, margin, limit)
        canvas.write(f"{name}: {d} × {k} = {grouped(d * k)}", left + k / 2, margin / 2)

    square(W0, "$W_0$", first)
    canvas.write("+", tall - between / 2 - 4, middle, fontsize=22)
    canvas.place(lora_B, tall, margin, limit)
    canvas.write(f"$B$: {d} × {r} = {grouped(d * r)}", tall - 5, middle, rotation=90)
    square(delta, "$\\Delta W = BA$", second)
    canvas.place(lora_A, second, top, limit)
    canvas.write(f"$A$: {r} × {k} = {grouped(r * k)}", second + k / 2, top + r + 6)
    canvas.write("=", third - between / 2, middle, fontsize=22)
    square(W0 + delta, "$W_0 + BA$", third)
    return canvas.fig


def _flow(W0: Given = None, lora_A: Given = None, lora_B: Given = None) -> Numbers:
    """Send an x (k,) through W0 (d, k), and through A and B; without arguments, the example's."""
    numbers = _or_example(W0, lora_A, lora_B)
    d, k, r = numbers["d"], numbers["k"], numbers["r"]
    return {
        **numbers,
        "work_of_W0": counting.dense_multiply_adds(d, k),
        "work_of_A": r * k,
        "work_of_B": d * r,
        "x": np.random.default_rng(0).standard_normal(k),
    }


@figure(_flow)
def data_flow(numbers: Numbers) -> Figure:
    """Show the two ways of an input: through W₀, and through a gap of r numbers between A and B.

    From left to right. An input x, a column of {k} coloured cells, takes two ways. Above, through
    the square W0, {work_of_W0:,} multiply-adds, to a column of {d} numbers. Below, through the
    flat strip A, {work_of_A:,} multiply-adds, to a short column of only {r} numbers, and from
    there through the upright strip B, {work_of_B:,} more, to a column of {d}. The two columns are
    added: the output y.
    """
    x, W0, lora_A, lora_B = (numbers[name] for name in ("x", "W0", "lora_A", "lora_B"))
    (d, k), r = W0.shape, len(lora_A)
    frozen, gap = W0 @ x, lora_A @ x  # (d,), (r,)
    update = lora_B @ gap  # (d,)
    thick = 6  # a column of numbers is so many cells wide
    canvas = plots.Canvas(k + r + 262, 2 * d + 62, cell=0.7 * CELL)
    low, high = 26 + d / 2, 46 + 1.5 * d  # the middle of either way
    centre = (low + high) / 2

    def place(values: NDArray, words: str, left: float, middle: float, work: str = "") -> float:
        """Draw a matrix and its work, or a column; return where an arrow begins behind it."""
        rows, columns = values.shape if work else (len(values), thick)
        bottom, across = middle - rows / 2, left + columns / 2
        canvas.place(values, left, bottom, 2 * float(np.std(values)), thick)
        canvas.write(words, across, bottom + rows + 8 if work else bottom - 9)
        if work:
            words = f"{grouped(numbers[work])} multiply-adds"
            canvas.write(words, across, bottom - 8, color=GREY)
        return left + columns + 3

    start, far = place(x, "input $x$", 20, centre), k + r + 190
    canvas.arrow((start, centre + 6), (60, high))
    canvas.arrow((start, centre - 6), (60, low))
    end = place(W0, f"$W_0$: {d} × {k}, frozen", 63, high, "work_of_W0")
    canvas.arrow((end, high), (far, high))
    end = place(lora_A, f"$A$: {r} × {k}", 63, low, "work_of_A")
    canvas.arrow((end, low), (end + 26, low))
    end = place(gap, f"$Ax$: {r} numbers", end + 29, low)
    canvas.arrow((end, low), (end + 26, low))
    end = place(lora_B, f"$B$: {d} × {r}", end + 29, low, "work_of_B")
    canvas.arrow((end, low), (far, low))
    end = place(frozen, "$W_0x$", far + 3, high)
    place(update, "$B(Ax)$", far + 3, low)
    canvas.arrow((end, high), (end + 30, centre + 8))
    canvas.arrow((end, low), (end + 30, centre - 8))
    canvas.write("+", end + 20, centre, fontsize=22)
    place(frozen + update, "output $y$", end + 33, centre)
    return canvas.fig


def _reductions(r: int = 5) -> Numbers:
    """Divide the full count by LoRA's at rank r, for the example and for real models.

    These stand at the width of their query projection, a square d x d matrix.
    """
    names = ["all-MiniLM-L6-v2", "gpt2-xl", "llama-2-7b", "gpt3-175b", "llama-3.1-405b"]
    configs = [counting.catalogue()[name] for name in names]
    widths = [config.get("hidden_size") or config["n_embd"] for config in configs]
    ranks, ends = [1, r, 64], [50, 32768]
    return {
        "ranks": ranks,
        "ends": ends,
        "at_ends": [[counting.reduction(end, end, rank) for end in ends] for rank in ranks],
        "example": counting.reduction(100, 100, r),
        "models": names,
        "widths": widths,
        "reductions": [counting.reduction(width, width, r) for width in widths],
    }


@figure(_reductions, 7.0, 4.2)
def reduction_vs_width(numbers: Numbers, ax: Axes) -> None:
    """Show that the wider the model, the more LoRA saves: at fixed r the ratio is d / 2r.

    How many times fewer numbers LoRA trains, against the width d of a square weight, both axes
    logarithmic: three parallel straight lines for r = {ranks[0]}, {ranks[1]} and {ranks[2]}, each
    proportional to d. On the line for r = {ranks[1]} stand the example (d = 100, {example:g}
    times) and real models, from {models[0]} (d = {widths[0]}, {reductions[0]:g} times) to
    {models[4]} (d = {widths[4]}, {reductions[4]:g} times). A level line at 1, below which LoRA
    saves nothing: at the width of the example the line for r = {ranks[2]} is below it.
    """
    ax.axhline(1, color=GREY, linewidth=1)
    words = "below: nothing is saved"
    plots.note(ax, words, (32768, 1), (0, -12), ha="right", color=GREY, fontsize=9)
    ends, looks = numbers["ends"], [("--", GREEN), ("-", BLUE), (":", VERMILION)]
    for r, heights, (dash, color) in zip(numbers["ranks"], numbers["at_ends"], looks, strict=True):
        ax.loglog(ends, heights, dash, color=color)
        plots.note(ax, f"r = {r}", (ends[1], heights[1]), (5, -4), color=color, fontsize=9)
    ax.plot(numbers["widths"], numbers["reductions"], "o", color=BLUE)
    for i, name in enumerate(numbers["models"]):  # in turn above and below the line
        at = numbers["widths"][i], numbers["reductions"][i]
        shift, side = ((-8, 5), "right") if i % 2 else ((8, -11), "left")
        plots.note(ax, name, at, shift, ha=side, fontsize=9)
    ax.plot(100, numbers["example"], "s", color=BLACK)
    plots.note(ax, "our example", (100, numbers["example"]), (8, -11), fontsize=9)
    ax.set(xlabel="width of the square matrix (d)", ylabel="times fewer numbers")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: grouped(value))


# -- a film: each row of BA is a mixture of A's rows --------------------------------------------

FRAME = (7.0, 3.1)  # inches, as all lengths below: width, height


def _painting(lora_A: Given = None, lora_B: Given = None) -> Numbers:
    """Choose rows of BA from the first to the last; by default those of ``matrix_example()``."""
    if lora_A is None or lora_B is None:
        _, lora_A, lora_B = matrix_example()
    d, r = lora_B.shape
    delta = lora_B @ lora_A  # (d, k)
    frames = min(d, films.MOST_FRAMES)
    rows = np.linspace(1, d, frames).round().astype(int).tolist()
    return {
        "d": d,
        "k": lora_A.shape[1],
        "r": r,
        "rows": rows,
        "captions": [f"row {row} of {d}" for row in rows],
        "moments": [2 * frames // 3],
        "colour_limit": 2.0 * float(max(np.std(lora_A), np.std(delta))),
        "longest_bar": float(np.abs(lora_B).max()) if lora_B.any() else 1.0,
        "lora_A": lora_A,
        "lora_B": lora_B,
        "delta": delta,
    }


def _tenths(number: float) -> str:
    return f"{round(number, 1) + 0:.1f}".replace("-", "−")  # 0 is added to make -0 a 0


def _frame(stage: films.Stage, numbers: Numbers) -> films.Show:
    """Draw A above, B at the left and BA, painted down to a row; beside it that row as a sum."""
    lora_A, lora_B, delta = (numbers[name] for name in ("lora_A", "lora_B", "delta"))
    (d, k), r = delta.shape, len(lora_A)
    limit, longest = numbers["colour_limit"], numbers["longest_bar"]
    named = range(r if r <= 8 else 0)  # the rows beside which there is room for words

    top = films.place(stage, 0.7, 2.3, 2, 0.5)
    plots.heatmap(top, lora_A, limit)
    top.set_title(f"the {r} rows of $A$", fontsize=10, pad=4)
    left = films.place(stage, 0.15, 0.25, 0.5, 2)
    plots.heatmap(left, lora_B, limit)
    left.set_xlabel("$B$", fontsize=10)
    square = films.place(stage, 0.7, 0.25, 2, 2)
    image = plots.heatmap(square, delta, limit)
    square.set_xlabel(f"the {d} rows of $\\Delta W = BA$", fontsize=10)
    # Arrows at the ends of the row: a frame would cover it.
    arrows = left.plot(-0.5, 0, marker=CARETRIGHT) + square.plot(k - 0.5, 0, marker=CARETLEFT)
    plt.setp(arrows, color=VERMILION, markersize=7, clip_on=False)

    weights = films.place(stage, 3.55, 0.95, 0.75, 1.5)
    bars = weights.barh(range(r), lora_B[0], color=VERMILION, height=0.6, snap=False)
    weights.axvline(0, color=BLACK, linewidth=0.8)
    weights.set(xlim=(-longest, longest), ylim=(r - 0.5, -0.5), xticks=[])
    weights.spines[:].set_visible(False)
    weights.tick_params(length=0, labelsize=10)
    parts = films.place(stage, 4.5, 0.95, 2.35, 1.5)
    scaled = plots.heatmap(parts, lora_A, limit)
    parts.set_title("each row of $A$, times its number", fontsize=10)
    for row in named[1:]:
        parts.axhline(row - 0.5, color="white", linewidth=3)
    total = films.place(stage, 4.5, 0.35, 2.35, 0.3)
    line = plots.heatmap(total, delta[:1], limit)
    total.set_title("added up:", fontsize=10, pad=4)
    plt.setp([*total.spines.values()], color=VERMILION, linewidth=2)

    def show(i: int) -> None:
        row = numbers["rows"][i]
        of_each = lora_B[row - 1]
        for end in arrows:
            end.set_ydata([row - 1])
        image.set_data(np.where(np.arange(d)[:, None] < row, delta, np.nan))
        for bar, weight in zip(bars, of_each, strict=True):
            bar.set_width(weight)
        weights.set_title(f"row {row} of $B$", fontsize=10)
        weights.set_yticks(named, [f"{_tenths(of_each[n])} × $a_{n + 1}$" for n in named])
        scaled.set_data(of_each[:, None] * lora_A)
        line.set_data(delta[row - 1 : row])
        total.set_xlabel(f"row {row} of $\\Delta W$", fontsize=10)

    return show


@figure(_painting)
def five_rows_paint_a_hundred(numbers: Numbers) -> Figure:
    """Show each row of BA painted as a mixture of the same rows, those of A; B says how much.

    Left, the flat strip A on top, {r} rows of {k} coloured cells, the upright strip B at its side,
    {d} rows of {r}, and between them the square BA, {d} by {k}, painted from the top down to the
    row that two small arrows mark, and white below it. Right, how that row comes about: {r} bars
    show that row of B, each with its number; beside each bar a row of A, times this number; below,
    all of them added up: the row that was just painted.
    """
    return films.strip(_frame, numbers, FRAME)


# This moment and those before and after it.
film_of_rows = films.film(five_rows_paint_a_hundred, _frame, FRAME)


# -- a film: a name, direction by direction ------------------------------------------------------


def _name(target: Given = None) -> Numbers:
    """Come as near to ``target`` (d, k) as 1 to 24 directions can; without one, to ANNA."""
    target = plots.letters("ANNA") if target is None else target
    ranks = range(1, 1 + min(films.MOST_FRAMES, *target.shape))
    nearest = np.stack([lowrank.best_approximation(target, r) for r in ranks])
    missing = np.linalg.norm(target - nearest, axis=(1, 2)) / np.linalg.norm(target)  # (24,)
    return {
        "captions": [f"r = {r}: {off:.0%} off" for r, off in zip(ranks, missing, strict=True)],
        "moments": [r - 1 for r in (1, 5, 10) if r in ranks],
        "missing": missing.round(6).tolist(),
        "nearest": nearest,
    }


_writing = films.one_matrix("nearest")


@figure(_name)
def a_name_by_its_directions(numbers: Numbers) -> Figure:
    """Show how a name comes out of the fog as strips get more directions to write it with.

    The letters ANNA in three squares of 100 by 100 cells, from left to right the best that strips
    of rank 1, 5 and 10 can do. With one direction bright columns; with five the name is easy to
    read, its slants frayed, and {missing[4]:.0%} of it is missing; with ten an eye sees no
    difference to the name itself.
    """
    return films.strip(_writing, numbers, films.SQUARE)


film_of_name = films.film(a_name_by_its_directions, _writing, films.SQUARE)
