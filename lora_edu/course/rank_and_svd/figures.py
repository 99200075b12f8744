"""Figures: two inputs turn, a picture grows, a square turns."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lora_edu import lowrank
from lora_edu.course import films
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLUE, GREY, VERMILION, heatmap

Given = NDArray | None  # the learner's, or else the lesson's
MACHINE = np.array([[0.6, 0.0], [0.8, 1.0]])


def _errors(matrix: NDArray) -> NDArray:
    """Return ‖M - Mᵣ‖ / ‖M‖ for r = 0, 1, …, m, from the spectrum: (m + 1,)."""
    energy = np.linalg.svd(matrix, compute_uv=False) ** 2
    return np.sqrt(np.append(np.cumsum(energy[::-1])[::-1], 0) / energy.sum())


# -- a film: two inputs at right angles, and the angle between their outputs ----------------------

TURN = (6.4, 3.3)  # inches, as all lengths below: width, height


def _on_circle(degrees: Iterable[float]) -> NDArray:
    """Return the points of the circle of radius 1 at these angles: (2, n)."""
    angles = np.radians([*degrees])
    return np.stack([np.cos(angles), np.sin(angles)])


def _turning(machine: Given = None) -> Numbers:
    """Send v and w, at right angles, through a machine (2, 2), at every 7.5° of a quarter turn."""
    machine = MACHINE if machine is None else np.asarray(machine)
    if machine.shape != (2, 2) or not np.isfinite(machine).all():
        raise ValueError(f"machine must hold 2 × 2 finite numbers, got {machine.tolist()}")
    angles = [7.5 * i for i in range(13)]
    v = _on_circle(angles)  # (2, 13)
    hands = np.stack([v, (-v[1], v[0]), machine @ v, machine @ (-v[1], v[0])])  # (4, 2, 13)
    lengths = np.linalg.norm(hands[2], axis=0)
    dots = np.sum(hands[2] * hands[3], axis=0).round(9) + 0  # what is rounding is 0
    told = zip(angles, lengths, dots, strict=True)
    return {
        "captions": [
            f"{at:g}°: Mv is {long:.2f} long,\nMv · Mw = {dot:.2f}" for at, long, dot in told
        ],
        "moments": [4, 6, 8],  # at 0° and 90° an output covers an input
        "angles": angles,
        "lengths": lengths.tolist(),
        "dots": dots.tolist(),
        "reach": 1.25 * max(1.0, *np.linalg.norm(hands[2:], axis=1).flat),
        "machine": machine,
        "hands": hands,
    }


def _dial(stage: films.Stage, numbers: Numbers, side: float = 2.0) -> films.Show:
    """Draw the circle and the ellipse, with two inputs and their outputs as hands."""
    ax = films.place(stage, 0.1, 0.1, side, side)
    reach = numbers["reach"]
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
    ax.axis("off")
    circle = _on_circle(range(0, 361, 3))  # (2, 121)
    ax.plot(*circle, "--", color=BLUE, linewidth=1.2)
    ax.plot(*(numbers["machine"] @ circle), color=VERMILION, linewidth=1.2)
    looks = [{"color": BLUE, "linewidth": 1.5}] * 2 + [{"color": VERMILION, "linewidth": 4}] * 2
    lines = [ax.plot(0, 0, zorder=3, **look)[0] for look in looks]
    middle = {"ha": "center", "va": "center", "zorder": 4}
    names = [
        ax.text(0, 0, name, fontsize=10, color=look["color"], **middle)
        for name, look in zip(("v", "w", "Mv", "Mw"), looks, strict=True)
    ]

    def show(i: int) -> None:
        ends = numbers["hands"][:, :, i]
        for line, name, (x, y) in zip(lines, names, ends, strict=True):
            line.set_data([0, x], [0, y])
            along = 1 + 0.2 / max(np.hypot(x, y), 0.1)
            name.set_position((along * x, along * y))

    return show


def _dial_and_dot(stage: films.Stage, numbers: Numbers) -> films.Show:
    """Draw the same, larger, and beside it length and dot product of the outputs."""
    show_dial = _dial(stage, numbers, side=3.1)
    ax = films.place(stage, 3.9, 0.6, 2.3, 2.3)
    curves = {"lengths": (VERMILION, "length of Mv"), "dots": (BLUE, "dot product Mv · Mw")}
    ax.axhline(0, color=GREY, linewidth=1)
    ends = []
    for name, (color, words) in curves.items():
        ax.plot(numbers["angles"], numbers[name], color=color, label=words)
        ends += ax.plot(0, 0, "o", color=color, markersize=8)
    ax.set(xticks=[0, 45, 90], xlabel="angle of v, in degrees", ylabel="length, dot product")
    ax.legend(loc="lower left", fontsize=9)

    def show(i: int) -> None:
        show_dial(i)
        for dot, name in zip(ends, curves, strict=True):
            dot.set_data([numbers["angles"][i]], [numbers[name][i]])

    return show


@figure(_turning)
def circle_to_ellipse(numbers: Numbers) -> Figure:
    """Show two inputs at right angles turn: where one output is longest, so are the outputs.

    Three moments. In each a dashed circle of inputs, and the ellipse of their outputs, slim and
    upright, leaning to the right. Two thin lines, the inputs v and w, stand at right angles; two
    thick lines are their outputs. At 30° the outputs lean towards each other, Mv is
    {lengths[4]:.2f} long: dot product {dots[4]:.2f}. At 45° Mv lies along the ellipse and is
    longest, {lengths[6]:.2f}; Mw lies across it, and the dot product is {dots[6]:.2f}. At 60° the
    outputs lean apart: {dots[8]:.2f}.
    """
    return films.strip(_dial, numbers, films.SQUARE)


film_of_turning = films.film(circle_to_ellipse, _dial_and_dot, TURN)


# -- a film: a picture, piece by piece -----------------------------------------------------------

PIECES = (6.9, 3.9)


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


def _adding(image: Given = None) -> Numbers:
    """Add up the pieces of an image (d, k), not all 0; by default of the painted one."""
    image = picture() if image is None else np.asarray(image)
    U, S, Vt = lowrank.truncated_svd(image, min(image.shape, default=0))
    if not image.any():
        raise ValueError(f"image must hold a number other than 0, got {image.size} zeros")
    rank = int(np.linalg.matrix_rank(image))
    first = min(rank, 20)
    later = np.linspace(first, rank, 5).round().astype(int).tolist()
    ranks = sorted({*range(1, first + 1), *later})
    moments = sorted({1, 4, 16} & set(ranks))
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
        "pieces": np.stack([S[r - 1] * np.outer(U[:, r - 1], Vt[r - 1]) for r in ranks]),
        "sums": np.stack([(U[:, :r] * S[:r]) @ Vt[:r] for r in ranks]),
    }


_so_far = films.one_matrix("sums")


def _piece_sum_rest(stage: films.Stage, numbers: Numbers) -> films.Show:
    """Draw the last piece, the sum so far and what is left, and under them the error."""
    squares = [films.place(stage, 0.2 + 2.25 * n, 1.5, 2, 2) for n in range(3)]
    images = [heatmap(square, numbers["image"], 1) for square in squares]
    ax = films.place(stage, 0.75, 0.55, 5.95, 0.75)
    ax.plot(numbers["curve"], color=GREY)
    (dot,) = ax.plot(0, 1, "o", color=VERMILION, markersize=8, clip_on=False)
    ax.set(ylim=(0, 1.05), xlim=(0, numbers["rank"]), ylabel="off", xlabel="pieces added")

    def show(i: int) -> None:
        r, so_far = numbers["ranks"][i], numbers["sums"][i]
        parts = {
            f"piece {r}": numbers["pieces"][i],
            "all so far": so_far,
            "what is left": numbers["image"] - so_far,
        }
        for image, (words, part) in zip(images, parts.items(), strict=True):
            image.set_data(part)
            image.axes.set_title(words, fontsize=11)
        dot.set_data([r], [numbers["curve"][r]])

    return show


@figure(_adding)
def piece_by_piece(numbers: Numbers) -> Figure:
    """Show a picture that is the sum of pieces: what is straight comes first, slants last.

    A picture, from left to right the sum of more and more of its {rank} pieces; off by {told}. Of
    the painted one the first piece has only bars, across and down; four make the six windows of
    the house, and a square for a sun; with 16 the sun is round and the roof slanted, a little
    blurred.
    """
    return films.strip(_so_far, numbers, films.SQUARE)


film_of_pieces = films.film(piece_by_piece, _piece_sum_rest, PIECES)


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


def _turned() -> Numbers:
    """Turn the square to 45°; count its pieces, and how many come within 1 % of it."""
    angles = [0, 1, 2, *range(4, 42, 2), 43, 45]
    squares = np.stack([square(angle) for angle in angles])
    ranks = [int(np.linalg.matrix_rank(one)) for one in squares]
    within = [int(np.sum(_errors(one)[:-1] > 0.01)) for one in squares]
    told = zip(angles, ranks, within, strict=True)
    moments = [angles.index(angle) for angle in (0, 1, 40)]
    counts = {"angles": angles, "ranks": ranks, "within": within}
    return {
        "captions": [f"{angle}°: rank {r};\nat most 1 % off: {n}" for angle, r, n in told],
        "moments": moments,
        "shown": {name: ", ".join(str(own[i]) for i in moments) for name, own in counts.items()},
        **counts,
        "squares": squares,
    }


_tilted = films.one_matrix("squares")


def _tilted_and_counted(stage: films.Stage, numbers: Numbers) -> films.Show:
    """Draw the same, and beside it the pieces needed, up to this angle."""
    show_square = _tilted(stage, numbers)
    ax = films.place(stage, 2.9, 0.6, 2.5, 1.6)
    (exact,) = ax.plot([], [], "o-", color=VERMILION, markersize=4)
    (near,) = ax.plot([], [], "s--", color=BLUE, markersize=3, linewidth=1.2)
    ax.set(xlim=(-1, 46), ylim=(0, 1.1 * max(numbers["ranks"])), xticks=[0, 15, 30, 45])
    ax.set_xlabel("angle, in degrees")
    ax.set_title("pieces needed", fontsize=11)
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
    {shown[ranks]}. To be at most 1 % off takes {shown[within]} pieces.
    """
    return films.strip(_tilted, numbers, films.SQUARE)


film_of_the_square = films.film(square_that_turns, _tilted_and_counted, TURNS)
