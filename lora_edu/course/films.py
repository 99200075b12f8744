"""Motion: a film is a figure that changes; where nothing moves, it is a strip of stills.

A *scene* draws what stays, and returns the function that shows frame i. From it come both: the
`strip`, a few moments in a row, which a registered figure returns; and the `player`, all frames
with a button and a range to move, for a kernel or a site. So a player is a slider, too, and needs
no kernel: its frames are the values to choose from.

    def scene(stage, numbers):
        image = heatmap(films.place(stage, 0.2, 0.2, 2, 2), numbers["steps"][0], limit=1)
        return lambda i: image.set_data(numbers["steps"][i])

    @figure(steps)
    def learning(numbers):
        return films.strip(scene, numbers, (2.4, 2.4))

    film_of_learning = films.film(learning, scene, (2.4, 2.4))

Beside what is drawn, such numbers hold ``captions``, a text for each frame, and ``moments``, the
frames of the strip, counted from 0.
"""

import base64
import functools
import html
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from PIL import Image

from lora_edu.course.figures import Entry, Numbers
from lora_edu.course.plots import STYLE, heatmap, reword
from lora_edu.course.say import language, say

Stage = Figure | SubFigure
Show = Callable[[int], None]  # shows frame i
Scene = Callable[[Stage, Numbers], Show]

CAPTION = 0.5  # inches below a still: two lines
DPI = 100
MOST_FRAMES, MOST_PIXELS = 24, 32_000  # a PNG wider than 2**15 pixels compresses badly
MOST_BYTES = 400_000
BUTTONS = ("Play", "Next", "Stop", "frame")  # in the order in which films.js takes them

PLAYER = """<figure aria-label="{name}" data-captions="{captions}" data-words="{words}" \
data-sheet="{sheet}" \
style="margin:0;max-width:{width}px"><img src="{still}" alt="{alt}" style="max-width:100%">
<script>
{script}</script></figure>"""


def place(stage: Stage, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes to a scene, for which all lengths are inches, from its lower left corner."""
    across, up = stage.bbox.width / stage.dpi, stage.bbox.height / stage.dpi
    return stage.add_axes((left / across, bottom / up, width / across, height / up))


SQUARE = (2.2, 2.2)  # the size of the scene of one matrix: 2 inches, and a margin of 0.1


def one_matrix(name: str) -> Scene:
    """Return the scene of a square in which frame i is the i-th matrix of ``numbers[name]``.

    Colours run from -1 to 1.
    """

    def scene(stage: Stage, numbers: Numbers) -> Show:
        image = heatmap(place(stage, 0.1, 0.1, 2, 2), numbers[name][0], 1)
        return lambda i: image.set_data(numbers[name][i])

    return scene


def strip(scene: Scene, numbers: Numbers, size: tuple[float, float]) -> Figure:
    """Draw the moments of a film in a row, each above its caption.

    ``scene`` takes a figure, or a part of one, and ``numbers``; it returns the function that shows
    frame i. ``size``: width and height of a moment, in inches; the captions come below.
    """
    captions, moments = numbers["captions"], numbers["moments"]
    width, height = size
    fig = plt.figure(figsize=(width * len(moments), height + CAPTION))
    heights = (height, CAPTION)
    stills, texts = fig.subfigures(2, len(moments), squeeze=False, height_ratios=heights)
    for moment, still, below in zip(moments, stills, texts, strict=True):
        scene(still, numbers)(moment)
        below.text(0.5, 0.95, captions[moment], ha="center", va="top", fontsize=9)
    return fig


@dataclass(frozen=True)
class Player:
    """A film in a page: what a kernel shows of it is ``html``."""

    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html


def player(
    entry: Entry, numbers: Numbers, scene: Scene, size: tuple[float, float], *, own: bool = False
) -> Player:
    """Return the film whose stills a registered figure shows, as a player.

    It asks no host for anything, and the same numbers give the same bytes. Until its script runs,
    and where that may not, the page shows the stills with their alt text. The figure's name, with
    spaces, is that of the film. ``scene`` is as in `strip`, and may show more than the stills do;
    ``size`` is that of a frame, in inches of 100 pixels. Where the numbers are a learner's ``own``,
    the figure's alt text, which is of the course's, may not fit: the captions are told instead.

    A ValueError if the frames are none or more than 24, all together wider than 32,000 pixels, or
    if the player has more than 400 kB.
    """
    count, width = len(numbers["captions"]), round(size[0] * DPI)
    if not 1 <= count <= MOST_FRAMES:
        raise ValueError(f"a film has 1 to {MOST_FRAMES} frames, got {count} captions")
    if count * width > MOST_PIXELS:
        wide = f"{count} frames of {width} are {count * width:,}"
        raise ValueError(f"the frames may be {MOST_PIXELS:,} pixels wide in all: {wide}")
    captions = [say(caption) for caption in numbers["captions"]]
    tells = own or language() != "en"
    page = PLAYER.format(
        name=html.escape(say(entry.name.replace("_", " "))),
        captions=html.escape(json.dumps(captions)),
        words=html.escape(json.dumps([say(word) for word in BUTTONS])),
        sheet=_address(_sheet(scene, numbers, size)),
        width=width,
        still=_address(entry.picture(numbers, "png", language=language())),
        alt=html.escape("; ".join(captions) if tells else entry.alt.format(**numbers)),
        script=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
    )
    if len(page) > MOST_BYTES:
        found = f"this one has {len(page) // 1000}: show fewer frames, or smaller ones"
        raise ValueError(f"a player may have {MOST_BYTES // 1000} kB, {found}")
    return Player(page)


def film(entry: Entry, scene: Scene, size: tuple[float, float]) -> Callable[..., Player]:
    """Return the function that makes the film of a figure; it takes what ``entry.numbers`` takes.

    With an argument, the numbers are a learner's own. For the others see `player`.
    """

    def film_of(*args: Any, **kwargs: Any) -> Player:
        own = any(value is not None for value in (*args, *kwargs.values()))
        return player(entry, entry.numbers(*args, **kwargs), scene, size, own=own)

    return functools.update_wrapper(film_of, entry.numbers, ("__module__", "__doc__"))


def _sheet(scene: Scene, numbers: Numbers, size: tuple[float, float]) -> bytes:
    """Draw all frames side by side, as a PNG: what does not change costs next to nothing there."""
    frames, buffer = [], io.BytesIO()
    with plt.rc_context(STYLE):
        canvas = FigureCanvasAgg(Figure(figsize=size, dpi=DPI))
        show = scene(canvas.figure, numbers)
        for i in range(len(numbers["captions"])):
            show(i)
            reword(canvas.figure, language())
            canvas.draw()
            frames.append(np.array(canvas.buffer_rgba())[..., :3])
    # 128 colours that cover what there is: exact to the eye, where others lose a single dot's.
    sheet = Image.fromarray(np.concatenate(frames, axis=1))
    sheet = sheet.quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    sheet.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
