"""Figures: what a rank looks like, what truncation loses, a picture rank by rank."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lora_edu import lowrank
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLUE, CELL, GREY, ORANGE, VERMILION, heatmap

ROUNDING = 1e-12  # of the largest: what is smaller is rounding, and differs between machines
ERROR = r"$\|M - M_r\|\;/\;\|M\|$"


def three_matrices(seed: int = 0) -> dict[str, NDArray]:
    """Make matrices (100, 100) of rank 100, 70 and 4 whose entries have mean square about 1."""
    rng = np.random.default_rng(seed)
    made = {"r = 100": rng.standard_normal((100, 100))}
    for r in (70, 4):  # rows of B, and columns of A, of one length: no stripe in BA stands out
        B, A = rng.standard_normal((100, r)), rng.standard_normal((r, 100))
        B /= np.linalg.norm(B, axis=1, keepdims=True)
        A /= np.linalg.norm(A, axis=0, keepdims=True)
        made[f"r = {r}"] = np.sqrt(r) * B @ A
    return made


def _errors(matrix: NDArray) -> NDArray:
    """Return ‖M - Mᵣ‖ / ‖M‖ for r = 0, 1, …, m, from the spectrum: (m + 1,)."""
    energy = np.linalg.svd(matrix, compute_uv=False) ** 2
    errors = np.sqrt(np.append(np.cumsum(energy[::-1])[::-1], 0) / energy.sum())
    return np.where(errors < ROUNDING, 0, errors)


def _row(n: int) -> tuple[Figure, Callable[..., Axes]]:
    """Make room for n squares of 100 cells with plots below; lengths are in cells, from below."""
    width, height = 34 + 114 * n, 208
    fig = plt.figure(figsize=(width * CELL, height * CELL))

    def at(i: int, bottom: float, columns: float, rows: float) -> Axes:
        box = (34 + 114 * i) / width, bottom / height, columns / width, rows / height
        return fig.add_axes(box)

    return fig, at


def _spectra(matrices: Mapping[str, NDArray] | None = None) -> Numbers:
    """Return spectra over their largest value, of title → matrix; by default of the three."""
    matrices = matrices or three_matrices()
    relative = []
    for matrix in matrices.values():
        S = np.linalg.svd(matrix, compute_uv=False)
        relative.append(S / S[0])
    spectra = [S[S > ROUNDING].tolist() for S in relative]
    return {
        "size": len(relative[0]),
        "ranks": [len(spectrum) for spectrum in spectra],
        "spectra": spectra,
        "titles": list(matrices),
        "matrices": np.stack(list(matrices.values())),
        "with_rounding": np.stack(relative),  # (matrices, size)
    }


@figure(_spectra)
def three_ranks(numbers: Numbers) -> Figure:
    """Show three matrices of one size whose ranks the eye cannot tell: their spectra can.

    Three squares of grainy cells in a row; below each the {size} singular values of that matrix
    over their largest, on a logarithmic axis. The first two squares look the same, the third has a
    faint weave. The spectra differ. The first slopes down slowly, and steeper at its end, but never
    to zero: {ranks[0]} values. The second has {ranks[1]} and then falls off a cliff, into the grey
    band below 1e-12 where rounding is. The third has {ranks[2]} before its cliff.
    """
    fig, at = _row(len(numbers["titles"]))
    shown = zip(numbers["titles"], numbers["matrices"], numbers["with_rounding"], strict=True)
    for i, (title, matrix, S) in enumerate(shown):
        heatmap(at(i, 94, 100, 100), matrix, 2.5).axes.set_title(title)
        ax = at(i, 24, 100, 60)
        ax.axhspan(1e-18, ROUNDING, color=GREY, alpha=0.2, linewidth=0)
        ax.plot(np.arange(1, len(S) + 1), np.maximum(S, 1e-18), ".", color=BLUE, markersize=4)
        ax.set(yscale="log", ylim=(1e-18, 10), xlabel="i", xticks=[1, 25, 50, 75, 100])
        ax.set_yticks([1, 1e-6, 1e-12, 1e-18], None if i == 0 else [""] * 4)
        ax.set_ylabel("" if i else r"$\sigma_i\;/\;\sigma_1$")
    return fig


def _truncation(
    noise: NDArray | None = None, structure: NDArray | None = None, tries: int = 200
) -> Numbers:
    """Return what rank r leaves of two matrices (m, k): the best directions, and random ones.

    Of these, the best of ``tries`` random A (r, k), each with the B that fits it best.
    """
    rng = np.random.default_rng(0)
    if noise is None or structure is None:
        noise, _, structure = three_matrices().values()
        structure = structure + 0.1 * rng.standard_normal(structure.shape)
    numbers: Numbers = {"size": min(noise.shape), "tries": tries, "ranks": [1, 5, 10, 20, 40, 70]}
    for name, matrix in (("noise", noise), ("structure", structure)):
        numbers[name], numbers[f"random_{name}"] = _errors(matrix).tolist(), []
        for r in numbers["ranks"]:
            Q = np.linalg.qr(rng.standard_normal((tries, matrix.shape[1], r)))[0]  # (tries, k, r)
            kept = np.sum((matrix @ Q) ** 2, axis=(1, 2)).max() / np.sum(matrix**2)
            numbers[f"random_{name}"].append(float(np.sqrt(1 - kept)))
    return {**numbers, "at_5": [numbers["noise"][5], numbers["structure"][5]]}


@figure(_truncation)
def eckart_young(numbers: Numbers) -> Figure:
    """Show what rank r leaves of noise and of structure, and that random directions leave more.

    The relative error of the best rank-r approximation against r, from 0 to {size}, for two
    matrices. Noise, the upper curve, falls slowly: {at_5[0]:.2f} is left at r = 5. Structure of
    rank 4 under noise a tenth of its size, the lower curve, drops to {at_5[1]:.2f} by then, and
    from there hardly at all. Squares and circles, the best of {tries} random choices of r
    directions, lie above the curve of their matrix, those of the structure far above.
    """
    fig, ax = plt.subplots(layout="constrained")
    looks = [("noise", "-", "s", BLUE), ("structure", "--", "o", VERMILION)]
    for name, line, mark, color in looks:
        errors, best = numbers[name], numbers[f"random_{name}"]
        ax.plot(errors, line, color=color)
        ax.plot(numbers["ranks"], best, mark, color=color, markerfacecolor="none")
        ax.annotate(name, (15, errors[15]), (6, 6), textcoords="offset points", color=color)
    ax.annotate("random $A$", (70, numbers["random_noise"][-1]), (6, 6), textcoords="offset points")
    ax.set(xlabel="r", ylabel=ERROR, xlim=(0, 101), ylim=(0, 1.03))
    return fig


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


def _truncated(image: NDArray | None = None, ranks: Sequence[int] = (1, 4, 16, 38)) -> Numbers:
    """Truncate an image (m, k) to each rank; by default the painted one."""
    image = picture() if image is None else image
    errors = _errors(image)
    return {
        "ranks": list(ranks),
        "errors": errors[list(ranks)].tolist(),
        "curve": errors,
        "kept": np.stack([lowrank.best_approximation(image, r) for r in ranks]),
    }


@figure(_truncated)
def truncated_picture(numbers: Numbers) -> Figure:
    """Show a picture kept at rank r, and the error: what is straight comes first, slants last.

    A painted picture kept at four ranks, and below it the relative error against r, with these
    ranks marked. At rank {ranks[0]} only bars, across and down: an error of {errors[0]:.2f}. At
    {ranks[1]} windows, and a square for a sun: {errors[1]:.2f}. At {ranks[2]} a round sun and a
    slanted roof, a little blurred: {errors[2]:.2f}. At {ranks[3]}, the rank of the picture, nothing
    is missing: a house under an evening sky.
    """
    ranks, errors, curve = numbers["ranks"], numbers["errors"], numbers["curve"]
    fig, at = _row(len(ranks))
    for i, (r, error, kept) in enumerate(zip(ranks, errors, numbers["kept"], strict=True)):
        heatmap(at(i, 94, 100, 100), kept, 1.0).axes.set_title(f"r = {r}: {error:.3f}")
    ax = at(0, 24, 114 * len(ranks) - 14, 60)
    ax.plot(curve, color=GREY)
    ax.plot(ranks, errors, "o", color=ORANGE, markersize=8, clip_on=False)
    ax.set(xlabel="r", ylabel=ERROR, xlim=(0, 1.2 * np.count_nonzero(curve)), ylim=(0, 1.05))
    return fig
