"""Figures: a circle becomes an ellipse, a ball a sheet, a picture grows, a square turns."""

from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from lora_edu import lowrank
from lora_edu.course import films
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLUE, GREY, VERMILION, heatmap

Given = NDArray | None  # the learner's, or else the lesson's
Stage = Figure | SubFigure
MACHINE = np.array([[0.6, 0.0], [0.8, 1.0]])


def _errors(matrix: NDArray) -> NDArray:
    """Return ‖M - Mᵣ‖ / ‖M‖ for r = 0, 1, …, m, from the spectrum: (m + 1,)."""
    energy = np.linalg.svd(matrix, compute_uv=False) ** 2
    return np.sqrt(np.append(np.cumsum(energy[::-1])[::-1], 0) / energy.sum())


# -- a film: a circle becomes an ellipse ---------------------------------------------------------

DIAL, TURN = (2.2, 2.2), (6.4, 3.3)  # inches, as all lengths below: width, height


def _on_circle(degrees: Iterable[float]) -> NDArray:
    """Return the points of the circle of radius 1 at these angles: (2, n)."""
    angles = np.radians([*degrees])
    return np.stack([np.cos(angles), np.sin(angles)])


def _turning(machine: Given = None) -> Numbers:
    """Send a unit input through a machine (2, 2), at every 7.5° of half a circle."""
    machine = MACHINE if machine is None else np.asarray(machine)
    if machine.shape != (2, 2) or not np.isfinite(machine).all():
        raise ValueError(f"machine must hold 2 × 2 finite numbers, got {machine.tolist()}")
    angles = [7.5 * i for i in range(24)]
    inputs = _on_circle(angles)  # (2, 24)
    outputs = machine @ inputs  # (2, 24)
    lengths = np.linalg.norm(outputs, axis=0).tolist()
    return {
        "captions": [
            f"{angle:g}°: in 1, out {length:.2f}"
            for angle, length in zip(angles, lengths, strict=True)
        ],
        "moments": [0, 6, 12, 18],
        "angles": angles,
        "lengths": lengths,
        "reach": 1.1 * max(1.0, *lengths),
        "machine": machine,
        "inputs": inputs,
        "outputs": outputs,
    }


def _dial(stage: Stage, numbers: Numbers, side: float = 2.0) -> Callable[[int], None]:
    """Draw the circle and the ellipse, with the input and the output of the frame as hands."""
    ax = films.place(stage, 0.1, 0.1, side, side)
    reach = numbers["reach"]
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
    ax.axis("off")
    circle = _on_circle(range(0, 361, 3))  # (2, 121)
    ax.plot(*circle, "--", color=BLUE, linewidth=1.2)
    ax.plot(*(numbers["machine"] @ circle), color=VERMILION, linewidth=1.2)
    thin = {"color": BLUE, "linewidth": 1.5, "markersize": 5, "zorder": 3}
    (put_in,) = ax.plot(0, 0, "o-", markevery=[1], **thin)
    (come_out,) = ax.plot(0, 0, "s-", color=VERMILION, linewidth=4, markersize=8, markevery=[1])

    def show(i: int) -> None:
        for hand, ends in ((put_in, numbers["inputs"]), (come_out, numbers["outputs"])):
            x, y = ends[:, i]
            hand.set_data([0, x], [0, y])

    return show


def _dial_and_length(stage: Stage, numbers: Numbers) -> Callable[[int], None]:
    """Draw the same, larger, and beside it how long the output is at each angle."""
    show_dial = _dial(stage, numbers, side=3.1)
    ax = films.place(stage, 3.9, 0.6, 2.3, 2.3)
    ax.plot(numbers["angles"], numbers["lengths"], color=GREY)
    ax.axhline(1, color=BLUE, linestyle="--", linewidth=1.2)
    (dot,) = ax.plot(0, 1, "o", color=VERMILION, markersize=9)
    ax.set(ylim=(0, None), xticks=[0, 45, 90, 135, 180])
    ax.set(xlabel="angle of the input, in degrees", title="length of the output")

    def show(i: int) -> None:
        show_dial(i)
        dot.set_data([numbers["angles"][i]], [numbers["lengths"][i]])

    return show


@figure(_turning)
def circle_to_ellipse(numbers: Numbers) -> Figure:
    """Show a matrix turn a circle into an ellipse; its axes are outputs of perpendicular inputs.

    Four moments. In each a dashed circle of inputs, and the ellipse of their outputs, slim and
    upright, leaning to the right. A thin hand, the input, points to the circle, a thick one, its
    output, to the ellipse. At 0° and at 90° both have length 1. At 45° the thick hand lies along
    the ellipse and is longest, {lengths[6]:.2f}. At 135° it lies across and is shortest,
    {lengths[18]:.2f}. These two thick hands stand at right angles.
    """
    return films.strip(_dial, numbers, DIAL)


film_of_turning = films.film(circle_to_ellipse, _dial_and_length, TURN)


# -- a ball through strips of rank 3, 2 and 1 ----------------------------------------------------


def _through_strips() -> Numbers:
    """Send a ball through the first 3, 2 and 1 directions of two strips, both (3, 3)."""
    lora_B = np.array([[1.0, 0.1, -0.4], [0.2, -0.9, 0.3], [0.5, 0.2, 0.8]])
    lora_A = np.array([[0.8, 0.6, 0.2], [-0.5, 0.7, 0.3], [0.1, -0.4, 0.9]])
    products = np.stack([lora_B[:, :r] @ lora_A[:r] for r in (3, 2, 1)])
    lengths = np.linalg.svd(products, compute_uv=False).round(9) + 0  # what is rounding is 0
    return {"ranks": [3, 2, 1], "axes": lengths.tolist(), "products": products}


@figure(_through_strips)
def ball_to_sheet(numbers: Numbers) -> Figure:
    """Show a ball after a 3 × 3 matrix of rank 3, 2 and 1: an egg, a flat sheet, a line.

    Three drawings in space, of the outputs of all inputs of length 1. Left, at rank 3, an egg, with
    axes of {axes[0][0]:.2f}, {axes[0][1]:.2f} and {axes[0][2]:.2f}. In the middle, at rank 2, a
    flat sheet: one axis is 0. Right, at rank 1, a line: two are 0.
    """
    fig = plt.figure(figsize=(9, 3.2))
    down = np.radians(np.arange(0, 181, 15))[:, None]
    x, y = _on_circle(range(0, 361, 15))  # (25,) each
    ball = np.stack([x * np.sin(down), y * np.sin(down), np.cos(down) + 0 * x])  # (3, 13, 25)
    names = {3: "an egg", 2: "a sheet", 1: "a line"}
    for r, product in zip(numbers["ranks"], numbers["products"], strict=True):
        ax = fig.add_axes((1 - 0.33 * r, 0, 0.31, 0.88), projection="3d")
        surface = np.einsum("ij,jab->iab", product, ball)  # (3, 13, 25)
        look = {"edgecolor": VERMILION, "linewidth": 1.0 if r == 1 else 0.4, "shade": r == 3}
        ax.plot_surface(*surface, color="#F6C9A5", rstride=1, cstride=1, **look)
        ax.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
        ax.set(xticklabels=[], yticklabels=[], zticklabels=[])
        ax.view_init(elev=38)
        ax.set_box_aspect((1, 1, 1))
        ax.set_title(f"rank {r}: {names[r]}")
    return fig


# -- a film: a picture, weave by weave -----------------------------------------------------------

STILL, WEAVES = (2.2, 2.2), (6.9, 3.9)


def picture() -> NDArray:
    """Paint a matrix (100, 100), entries -1 to 1: sky, sun, and a house with six windows."""
    y, x = np.mgrid[0:100, 0:100]
    image = y / 50 - 0.8
    image[80:] = -0.6
    image[(x - 80) ** 2 + (y - 20) ** 2 < 12**2] = 1.0
    image[45:90, 15:65] = 0.2
    image[(y < 45) & (abs(x - 40) < y - 15)] = -1.0
    for left in (20, 33, 46):
        image[52:62, left : left + 8] = image[70:80, left : left + 8] = 0.9
    return image


def _weaving(image: Given = None) -> Numbers:
    """Add up the weaves of an image (d, k), not all 0; by default of the painted one."""
    image = picture() if image is None else np.asarray(image)
    U, S, Vt = lowrank.truncated_svd(image, min(image.shape, default=0))
    if not image.any():
        raise ValueError(f"image must hold a number other than 0, got {image.size} zeros")
    rank = int(np.linalg.matrix_rank(image))
    first = min(rank, 20)
    later = np.linspace(first, rank, 5).round().astype(int).tolist()
    ranks = sorted({*range(1, first + 1), *later})
    moments = sorted({1, 2, 4, 16, rank} & set(ranks))
    errors = np.append(_errors(image)[:rank], 0)  # at the full rank only rounding is left
    return {
        "captions": [f"r = {r}: {errors[r]:.0%} off" for r in ranks],
        "moments": [ranks.index(r) for r in moments],
        "told": ", ".join(f"{errors[r]:.0%} at {r}" for r in moments),
        "rank": rank,
        "ranks": ranks,
        "errors": errors[ranks].round(6).tolist(),
        "curve": errors,
        "image": image,
        "weaves": np.stack([S[r - 1] * np.outer(U[:, r - 1], Vt[r - 1]) for r in ranks]),
        "sums": np.stack([(U[:, :r] * S[:r]) @ Vt[:r] for r in ranks]),
    }


_so_far = films.one_matrix("sums")


def _weave_sum_rest(stage: Stage, numbers: Numbers) -> Callable[[int], None]:
    """Draw the last weave, the sum so far and what is left, and under them the error."""
    squares = [films.place(stage, 0.2 + 2.25 * n, 1.5, 2, 2) for n in range(3)]
    images = [heatmap(square, numbers["image"], 1) for square in squares]
    ax = films.place(stage, 0.75, 0.55, 5.95, 0.75)
    ax.plot(numbers["curve"], color=GREY)
    (dot,) = ax.plot(0, 1, "o", color=VERMILION, markersize=8, clip_on=False)
    ax.set(ylim=(0, 1.05), xlim=(0, numbers["rank"]), ylabel="off", xlabel="weaves added")

    def show(i: int) -> None:
        r, so_far = numbers["ranks"][i], numbers["sums"][i]
        parts = {
            f"weave {r}": numbers["weaves"][i],
            "all so far": so_far,
            "what is left": numbers["image"] - so_far,
        }
        for image, (words, part) in zip(images, parts.items(), strict=True):
            image.set_data(part)
            image.axes.set_title(words, fontsize=11)
        dot.set_data([r], [numbers["curve"][r]])

    return show


@figure(_weaving)
def weave_by_weave(numbers: Numbers) -> Figure:
    """Show a picture that is the sum of weaves: what is straight comes first, slants last.

    A picture, from left to right the sum of more and more of its weaves, up to all {rank}; off by
    {told}. Of the painted one the first weave has only bars, across and down, two make the wall of
    the house, four its six windows, and a square for a sun; with 16 the sun is round and the roof
    slanted, a little blurred; then nothing is missing: a house under an evening sky.
    """
    return films.strip(_so_far, numbers, STILL)


film_of_weaves = films.film(weave_by_weave, _weave_sum_rest, WEAVES)


# -- a film: a square that turns -----------------------------------------------------------------

TURNS = (5.6, 2.6)


def square(angle: float, off: float = 0.0) -> NDArray:
    """Draw a square of side 50, turned by an angle in degrees, into a matrix (100, 100).

    Each entry is the share of its cell that is covered, from 8 × 8 points in it. The square stands
    in the middle, or ``off`` cells further along and further down.
    """
    fine = 8
    at = (np.arange(100 * fine) + 0.5) / fine - 50 - off
    across, down = at[None, :], at[:, None]
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    inside = (abs(c * across + s * down) < 25) & (abs(c * down - s * across) < 25)
    return inside.reshape(100, fine, 100, fine).mean(axis=(1, 3))


def board_and_line() -> NDArray:
    """Return a chess board of ±1, and one line from corner to corner: (2, 100, 100)."""
    board = (-1.0) ** np.add.outer(np.arange(100), np.arange(100))
    return np.stack([board, np.eye(100)])


def _turned() -> Numbers:
    """Turn the square to 45°; count its directions, and how many come within 1 % of it."""
    angles = [0, 1, 2, *range(4, 42, 2), 43, 45]
    squares = np.stack([square(angle) for angle in angles])
    ranks = [int(np.linalg.matrix_rank(one)) for one in squares]
    within = [int(np.sum(_errors(one)[:-1] > 0.01)) for one in squares]
    told = zip(angles, ranks, within, strict=True)
    moments = [angles.index(angle) for angle in (0, 1, 10, 40, 45)]
    counts = {"angles": angles, "ranks": ranks, "within": within}
    return {
        "captions": [f"{angle}°: rank {r};\nat most 1 % off: {n}" for angle, r, n in told],
        "moments": moments,
        "shown": {name: ", ".join(str(own[i]) for i in moments) for name, own in counts.items()},
        **counts,
        "squares": squares,
    }


_tilted = films.one_matrix("squares")


def _tilted_and_counted(stage: Stage, numbers: Numbers) -> Callable[[int], None]:
    """Draw the same, and beside it the directions needed, up to this angle."""
    show_square = _tilted(stage, numbers)
    ax = films.place(stage, 2.9, 0.6, 2.5, 1.6)
    (exact,) = ax.plot([], [], "o-", color=VERMILION, markersize=4)
    (near,) = ax.plot([], [], "s--", color=BLUE, markersize=3, linewidth=1.2)
    ax.set(xlim=(-1, 46), ylim=(0, 1.1 * max(numbers["ranks"])), xticks=[0, 15, 30, 45])
    ax.set_xlabel("angle, in degrees")
    ax.set_title("directions needed", fontsize=11)
    ax.text(11, 58, "rank", color=VERMILION, ha="right")
    ax.text(30, 18, "at most 1 % off", color=BLUE, ha="center")

    def show(i: int) -> None:
        show_square(i)
        for line, counts in ((exact, numbers["ranks"]), (near, numbers["within"])):
            line.set_data(numbers["angles"][: i + 1], counts[: i + 1])

    return show


@figure(_turned)
def square_that_turns(numbers: Numbers) -> Figure:
    """Show that a square has rank 1 while it stands upright, and dozens when it is turned.

    A light square on a dark ground, turned by {shown[angles]} degrees. Its ranks are
    {shown[ranks]}: at the end, where it stands on a corner, fewer. To be at most 1 % off takes
    {shown[within]} directions.
    """
    return films.strip(_tilted, numbers, STILL)


film_of_the_square = films.film(square_that_turns, _tilted_and_counted, TURNS)
