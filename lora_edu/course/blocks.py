"""One block of a transformer, drawn: its weight matrices to scale, and where LoRA sits."""

import re
from collections.abc import Collection
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lora_edu import counting
from lora_edu.course.plots import BLACK, BLUE, GREY, ORANGE, VERMILION, grouped

# Last parts of names of the matrix that writes the result of its part back.
WRITES = ("o_proj", "out_proj", "c_proj", "o", "wo", "down_proj", "fc2", "dense_4h_to_h", "dense")


class Site(NamedTuple):
    """A weight matrix of a block: ``part`` is attention or MLP."""

    name: str
    out_features: int
    in_features: int
    part: str
    adapted: bool


def sites(source: Any, target_modules: Collection[str] | str = ()) -> list[Site]:
    """Return the linear layers of the first block; ``adapted`` where LoRA sits.

    Attention before the MLP, and last in each the one that writes back. Experts that share one
    parameter are no linear layers, and not among them.

    ``source`` and ``target_modules`` are as in :func:`lora_edu.counting.targets`. A ValueError if
    the model has no numbered blocks.
    """
    modules = counting.modules(source)
    adapted = counting.targets(source, target_modules) if target_modules else {}
    found, first = [], None
    for name, module in modules.items():
        block = re.fullmatch(r"([^0-9]*\.)?0\.(.+)", name)  # of T5 the encoder's, which comes first
        if block and module.kind == "linear" and first in (None, block[1]):
            first, own = block[1], block[2]
            part = "attention" if "att" in own.lower() else "MLP"
            d, k = module.out_features, module.in_features
            found.append(Site(_short(own), d, k, part, name in adapted))
    if not found:
        raise ValueError("this model has no numbered blocks with linear layers")

    def place(site: Site) -> tuple[bool, bool]:
        last = site.name.rpartition(".")[2]
        return site.part == "MLP", last in WRITES and site.name != "intermediate.dense"

    return sorted(found, key=place)


def _short(name: str) -> str:
    """Shorten a name to its last part; of BERT's many that are called dense, to two or three."""
    parts = name.split(".")
    if parts[-1] in ("dense", "c_proj"):
        return ".".join(parts[-3:] if "output" in parts[-2] else parts[-2:])
    return parts[-1]


def draw_block(shapes: list[Site], title: str = "") -> Figure:
    """Draw a block from left to right, each matrix to one scale, strips where LoRA is added.

    The line below is what goes through; each part reads from it, and adds its result to it.
    A matrix is as high as its outputs and as wide as its inputs. LoRA's B stands at its left, as
    high, and A above it, as wide; how thick they are is not to scale.
    """
    if not shapes:
        raise ValueError("shapes must hold at least one site, got none")
    unit = shapes[0].in_features  # what reads x is as wide as x
    fig, ax = plt.subplots(figsize=(11, 5), layout="constrained")
    x, gap = 0.6, 1.0
    _stream(ax, 0, x)
    for part in ("attention", "MLP"):
        of_part = [site for site in shapes if site.part == part]
        if not of_part:  # experts, say
            continue
        *inner, last = of_part
        left, y = x, 1.0
        if part == "attention":  # one above the other
            for site in inner:
                _matrix(ax, site, x, y, unit)
                y += site.out_features / unit + 0.75
            x += max((site.in_features for site in inner), default=0) / unit + gap
        else:  # side by side
            for site in inner:
                _matrix(ax, site, x, y, unit)
                x += site.in_features / unit + gap
        _matrix(ax, last, x, 1.0, unit)
        x += last.in_features / unit + 1.3 * gap
        ax.annotate(part, ((left + x - gap) / 2, 0.32), ha="center", color=BLACK, fontweight="bold")
        _stream(ax, left - 0.3, x)
        arrow = {"arrowstyle": "-|>", "color": GREY, "linewidth": 1.5}
        ax.annotate("", (left - 0.3, 1.0), (left - 0.3, 0), arrowprops=arrow)
        ax.annotate("", (x - 0.7, 0.1), (x - 0.7, 1.0), arrowprops=arrow)
        ax.plot(x - 0.7, 0, "o", color="white", markeredgecolor=BLACK, markersize=13)
        ax.annotate("+", (x - 0.7, 0), ha="center", va="center")
    words = f"x, {grouped(unit)} numbers a token"
    ax.annotate(words, (0, -0.12), va="top", color=BLACK, fontsize=10)
    ax.set_title(title, pad=24)
    ax.set(xlim=(-0.2, x + 0.3), aspect="equal")
    ax.autoscale(axis="y")
    ax.axis("off")
    return fig


def _stream(ax: Axes, start: float, end: float) -> None:
    ax.plot([start, end], [0, 0], color=GREY, linewidth=3, solid_capstyle="butt", zorder=0)


def _matrix(ax: Axes, site: Site, x: float, y: float, unit: int) -> None:
    height, width, thick = site.out_features / unit, site.in_features / unit, 0.09
    ax.add_patch(Rectangle((x, y), width, height, facecolor=BLUE, alpha=0.35, edgecolor=BLUE))
    if site.adapted:
        strips = [  # letter and its place, left, low, wide, high
            ("B", (x - 0.13, y - 0.14), x - 0.04 - thick, y, thick, height),
            ("A", (x + width + 0.03, y + height + 0.04), x, y + height + 0.04, width, thick),
        ]
        for letter, place, left, low, wide, high in strips:
            ax.add_patch(Rectangle((left, low), wide, high, facecolor=ORANGE, edgecolor=VERMILION))
            ax.annotate(letter, place, fontsize=8, color=BLACK)
    words = f"{site.name}\n{grouped(site.out_features)} × {grouped(site.in_features)}"
    ax.annotate(words, (x, y + height + 0.08 + thick), va="bottom", fontsize=9)
