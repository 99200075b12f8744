"""The look of the course: one style, two palettes, a few primitives.

Colours are safe for colour-blind readers (cividis for matrices; Okabe and Ito's palette for
lines) and never stand alone: lines also differ in dash or marker, and carry their names.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

__all__ = ["BLACK", "BLUE", "GREEN", "GREY", "ORANGE", "STYLE", "VERMILION", "heatmap", "use_style"]

# Okabe & Ito, Color Universal Design, 2008
BLACK, GREY = "#000000", "#666666"
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"

STYLE: dict[str, Any] = {
    "figure.dpi": 110,
    "figure.figsize": (7.0, 4.0),
    "savefig.dpi": 150,
    "font.family": "DejaVu Sans",  # ships with Matplotlib: the same on each machine
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, VERMILION, BLACK]),
    "lines.linewidth": 2.0,
    "legend.frameon": False,
    "image.cmap": "cividis",
    "image.interpolation": "nearest",
}


def use_style() -> None:
    """Make the course's style the default of this process (a notebook's first cell does so)."""
    plt.rcParams.update(STYLE)


def heatmap(ax: Axes, matrix: np.ndarray, limit: float, *, title: str = "") -> AxesImage:
    """Draw a matrix, one coloured square for each number, on a scale from -limit to +limit.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw; its ticks are removed.
    matrix : array of shape (rows, columns)
        Row 0 is drawn at the top, as matrices are written.
    limit : float
        The same for pictures that are to be compared: equal colours then mean equal numbers.
    title : str
        Written above.
    """
    image = ax.imshow(matrix, vmin=-limit, vmax=limit, aspect="auto")
    ax.set(xticks=[], yticks=[], title=title)
    for spine in ax.spines.values():
        spine.set_visible(True)
    return image
