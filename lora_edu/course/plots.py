"""The look of the course: its styles, two palettes, a few primitives.

Colours are safe for colour-blind readers (cividis for matrices; Okabe and Ito's palette for
lines) and never stand alone: lines also differ in dash or marker, and carry their names.
"""

import io
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ft2font import LoadFlags
from matplotlib.image import AxesImage
from matplotlib.path import Path
from matplotlib.rcsetup import cycler
from matplotlib.text import Annotation, Text
from matplotlib.textpath import TextPath
from numpy.typing import ArrayLike, NDArray

from lora_edu.course.say import language, say

# Okabe & Ito, Color Universal Design, 2008
BLACK, GREY = "#000000", "#666666"
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"

# The side of a cell in a heat map, in inches: 3 pixels at 100 dots an inch. Whole pixels make
# cells of one size, and files a third as large.
CELL = 0.03

STYLE: dict[Any, Any] = {
    "figure.dpi": 100,
    "figure.figsize": (7.0, 4.0),
    "savefig.dpi": 200,
    "font.family": "DejaVu Sans",  # ships with Matplotlib: the same on each machine
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, VERMILION, BLACK]),
    "lines.linewidth": 2.0,
    "legend.frameon": False,
    "image.cmap": "cividis",
    "image.interpolation": "nearest",
}

NIGHT, PALE = "#121212", "#F2F2F2"
AT_NIGHT = {BLACK: PALE, "#FFFFFF": NIGHT, GREY: "#A6A6A6", BLUE: "#56B4E9"}
ENLARGED = 18 / 11  # on slides, so that a text of 11 points has 18
STYLES: dict[str, dict[Any, Any]] = {
    "light": STYLE,
    "dark": {
        **STYLE,
        "figure.facecolor": NIGHT,
        "axes.facecolor": NIGHT,
        "axes.edgecolor": PALE,
        "axes.labelcolor": PALE,
        "text.color": PALE,
        "xtick.color": PALE,
        "ytick.color": PALE,
    },
    "slides": {**STYLE, "figure.dpi": 100 * ENLARGED, "savefig.dpi": 200 * ENLARGED},
}


def use_style() -> None:
    """Make the course's style the default of this process (a notebook's first cell does so).

    From the next cell on, a notebook shows its figures with their texts in the learner's language.
    Where ``LORA_EDU_PICTURES`` names another, as in a build, an output holds the picture in that
    language as well, in its metadata.
    """
    plt.rcParams.update(STYLE)
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    also = os.environ.get("LORA_EDU_PICTURES", "en")
    if shell is None or {language(), also} == {"en"}:
        return

    plt.switch_backend(plt.get_backend())  # which loads what shows figures

    def speak(*_: object) -> None:  # after Matplotlib has told IPython how to show a figure
        shell.events.unregister("post_run_cell", speak)
        formatter = shell.display_formatter.formatters["image/png"]
        as_png = formatter.lookup_by_type(Figure)

        def shown(fig: Figure) -> Any:
            reword(fig, language())
            png = as_png(fig)
            reword(fig, also)
            return png if also == "en" else (png, {also: as_png(fig)})

        formatter.for_type(Figure, shown)

    shell.events.register("post_run_cell", speak)


def reword(fig: Figure, language: str) -> None:
    """Say the texts of a figure in a language; those of an axis are made anew from its labels."""
    if language == "en":
        return
    for axis in fig.findobj(Axis):
        before = [label.get_text() for label in axis.get_ticklabels()]
        after = [say(text, language) for text in before]
        if after != before:
            axis.set_ticks(axis.get_ticklocs(), after)
    for text in fig.findobj(Text):
        text.set_text(say(text.get_text(), language))


def grouped(number: float) -> str:
    """Write a number with thin spaces between thousands, as no language takes amiss."""
    return f"{number:,.15g}".replace(",", "\N{THIN SPACE}")


def heatmap(ax: Axes, matrix: NDArray, limit: float) -> AxesImage:
    """Draw a matrix, one coloured cell for each number, on a scale from -limit to +limit.

    Row 0 is at the top, as matrices are written; the ticks of ``ax`` are removed. Pictures that are
    to be compared have one ``limit``: equal colours then mean equal numbers.
    """
    image = ax.imshow(matrix, vmin=-limit, vmax=limit, aspect="auto")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(True)
    return image


def recolour(fig: Figure, colours: Mapping[str, str]) -> None:
    """Replace colours of a drawn figure: those of lines, areas and words, not those of matrices.

    Words on a matrix stay as they are, too: they were chosen for the cells behind them.
    """
    artists = fig.findobj()
    artists += [text.arrow_patch for text in fig.findobj(Annotation) if text.arrow_patch]
    for artist in artists:
        if isinstance(artist, Text) and artist.axes is not None and artist.axes.images:
            continue
        for part in ("color", "facecolor", "edgecolor", "markeredgecolor", "markerfacecolor"):
            found = getattr(artist, f"get_{part}", lambda: "none")()
            shades = {to_hex(shade).upper() for shade in to_rgba_array(found) if shade[3]}
            if len(shades) == 1 and (shade := shades.pop()) in colours:
                getattr(artist, f"set_{part}")(colours[shade])


def note(
    ax: Axes, text: str, at: tuple[float, float], shift: tuple[float, float], **style: Any
) -> None:
    """Write a text beside a point; ``shift`` says how far to the right and up, in points."""
    ax.annotate(text, at, shift, textcoords="offset points", **style)


def runs(
    ax: Axes, x: ArrayLike, each: NDArray, look: str, color: str, label: str, alpha: float = 0.25
) -> None:
    """Draw each run as faint marks, and their mean as a line; ``each`` is (runs, len(x)).

    ``look`` is a marker and a dash, as in ``"o--"``.
    """
    ax.plot(x, each.T, look[0], color=color, markersize=3.5, alpha=alpha)
    ax.plot(x, each.mean(axis=0), look, color=color, label=label)


def cells(
    ax: Axes, table: NDArray, words: Iterable[str], dark: float = 0.6, size: int = 9, **look: Any
) -> None:
    """Draw a table as a map, with words in its cells; white ones where a number is below ``dark``.

    ``look``: more for ``ax.imshow``.
    """
    ax.imshow(table, aspect="auto", **look)
    for ((i, j), value), text in zip(np.ndenumerate(table), words, strict=True):
        color = "white" if value < dark else "black"
        ax.text(j, i, text, ha="center", va="center", color=color, fontsize=size)


class Canvas:
    """A figure, ``fig``, on which matrices stand to scale; its origin is below, at the left.

    All lengths are in cells of the matrices.
    """

    def __init__(self, width: float, height: float, cell: float = CELL) -> None:
        self.width, self.height = width, height
        self.fig = plt.figure(figsize=(width * cell, height * cell))
        self._arrows = self.fig.add_axes((0, 0, 1, 1), frameon=False, xticks=[], yticks=[])
        self._arrows.set(xlim=(0, width), ylim=(0, height))

    def place(
        self, matrix: NDArray, left: float, bottom: float, limit: float, thick: float = 1
    ) -> AxesImage:
        """Draw a matrix, or numbers (n,) as a column, ``thick`` cells wide and n high."""
        rows, columns = matrix.shape if matrix.ndim == 2 else (len(matrix), thick)
        size = columns / self.width, rows / self.height
        axes = self.fig.add_axes((left / self.width, bottom / self.height, *size))
        return heatmap(axes, matrix.reshape(len(matrix), -1), limit)

    def write(self, text: str, across: float, up: float, **style: Any) -> None:
        """Write a text, centred at a point."""
        size = 1.36 * self.fig.get_figwidth()  # 9.5 points where the page shows it 7 inches wide
        style = {"ha": "center", "va": "center", "fontsize": size, **style}
        self.fig.text(across / self.width, up / self.height, text, **style)

    def arrow(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw an arrow from a point to another."""
        look = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0}
        self._arrows.annotate("", end, start, arrowprops=look)


def heatmaps(matrices: dict[str, NDArray], limit: float) -> Figure:
    """Draw matrices, title → (rows, columns), side by side, on one scale: -limit to +limit."""
    gap, head = 12, 12  # all lengths in cells
    rows = max(len(matrix) for matrix in matrices.values())
    width = sum(matrix.shape[1] + gap for matrix in matrices.values()) + gap
    height = rows + head + gap
    with plt.rc_context(STYLE):
        fig = plt.figure(figsize=(width * CELL, height * CELL))
        left = gap
        for title, matrix in matrices.items():
            box = left / width, gap / height, matrix.shape[1] / width, len(matrix) / height
            heatmap(fig.add_axes(box), matrix, limit).axes.set_title(title)
            left += matrix.shape[1] + gap
    return fig


def letters(text: str, size: int = 100) -> NDArray:
    """Draw a text into a square matrix: each entry is the share of its cell that is inked, 0 to 1.

    The letters are as wide and as high as the square has room for. They come from the outlines of
    a font that ships with Matplotlib, each put where the font's own widths say: the same on each
    machine. (Renderers of pixels differ, and so do Matplotlib's versions in where a letter begins.)

    The letters are those of DejaVu Sans: Latin with all accents, Greek, Cyrillic, Arabic, not
    Chinese. A ValueError if ``text`` holds none of them, or another, or if ``size``, the rows and
    columns of the matrix, is below 1.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    text = unicodedata.normalize("NFC", text)  # Ê typed as E and ^ is one letter
    if not text.strip() or not text.isprintable():
        raise ValueError(f"text must hold a letter, got {text!r}")
    bold = FontProperties(family="DejaVu Sans", weight="bold")
    font = get_font(findfont(bold))
    if missing := [letter for letter in text if ord(letter) not in font.get_charmap()]:
        raise ValueError(f"DejaVu Sans has no {missing[0]!r}: take letters that it has")
    outlines, start = [], 0.0
    for letter in text:
        glyph = [] if letter.isspace() else TextPath((0, 0), letter, 1, bold).to_polygons()
        outlines += [np.add(outline, (start, 0)) for outline in glyph]
        start += font.load_char(ord(letter), LoadFlags.NO_SCALE).horiAdvance / font.units_per_EM
    corner, opposite = np.vstack(outlines).min(axis=0), np.vstack(outlines).max(axis=0)
    margin, fine = 0.06, 4  # of the square; samples along a side of a cell
    at = ((np.arange(size * fine) + 0.5) / (size * fine) - margin) / (1 - 2 * margin)
    across, down = np.meshgrid(at, 1 - at)
    points = corner + np.column_stack([across.ravel(), down.ravel()]) * (opposite - corner)
    turns = np.zeros(len(points), dtype=int)  # of all outlines around a point
    for outline in outlines:
        area = outline[:-1, 0] @ outline[1:, 1] - outline[1:, 0] @ outline[:-1, 1]
        turns += -int(np.sign(area)) * Path(outline).contains_points(points)  # a hole turns back
    return (turns != 0).reshape(size, fine, size, fine).mean(axis=(1, 3))


def small_png(png: bytes) -> bytes:
    """Re-encode a PNG picture with a palette of 256 colours: a third of the bytes.

    The eye sees no difference, and the same picture always gives the same bytes.
    """
    from PIL import Image  # comes with Matplotlib

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def panels(
    width: float, height: float, columns: int = 1, rows: int = 1, **how: Any
) -> tuple[Figure, Any]:
    """Return a figure, in inches, and its axes: one, or an array of them.

    Their labels get the room that they need. ``how``: more for ``plt.subplots``.
    """
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **how)
