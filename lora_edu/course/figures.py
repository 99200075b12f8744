"""Every figure of the course: the numbers that it shows, and how they are drawn.

Both are functions in the folder of the lesson that shows the figure. The first computes the
numbers, and is cheap; the second draws them with Matplotlib, and only draws. Notebooks call the
figure, and assert on the numbers; ``lora-edu figures`` writes all of them into a folder, with a
gallery. What is compared later is numbers and words, never pixels: those differ between two
versions of a font renderer.

How a picture looks is an argument of ``Entry.draw``, not a second drawing: a style (light, dark or
for slides), the language of its texts, and its width.
"""

import csv
import functools
import importlib
import inspect
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lora_edu.counting import one_of
from lora_edu.course import LESSONS, plots
from lora_edu.course.plots import AT_NIGHT, ENLARGED, STYLE, STYLES, recolour, reword, small_png
from lora_edu.course.recorded import behind, noted
from lora_edu.course.say import languages
from lora_edu.files import write_whole

Numbers = dict[str, Any]
RELATIVE_TOLERANCE = 1e-6
ROUNDING = 1e-9  # of the largest: what is smaller may be rounding, which differs between machines
SAMPLES = 200  # of an array that is drawn, about as many; of one below twice that, all
# Student's quantile at 97.5 %, by how many runs: the figures are drawn without scipy.
STUDENT = {3: 4.302653, 8: 2.364624, 20: 2.093024}
# What a file of each format is told, so that the same picture gives the same bytes: no date.
UNDATED = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


# -- the registry -----------------------------------------------------------------------------


class Entry:
    """A registered figure: its numbers, the function that draws them, and what is said of it.

    ``shows`` is the first paragraph of that function's docstring: one sentence for the gallery.
    ``alt`` is the rest, for those who cannot see the picture: a template such as ``... {ratio:g}
    times fewer``, filled in from the recorded numbers, so that words and picture cannot disagree.
    ``runs`` is the axis of its arrays along which the runs lie, if they are drawn with their mean.
    """

    runs: int | None = None

    def __init__(self, numbers: Callable[..., Numbers], draw: Callable[[Numbers], Figure]) -> None:
        self.name, self.lesson = draw.__name__, draw.__module__.split(".")[-2]
        self.numbers = numbers
        self._draw = draw
        shows, _, alt = inspect.cleandoc(draw.__doc__ or "").partition("\n\n")
        self.shows, self.alt = " ".join(shows.split()), " ".join(alt.split())
        self.__doc__ = draw.__doc__  # this and the next for whoever asks a notebook for help
        self.__signature__ = inspect.signature(numbers)

    def draw(
        self, numbers: Numbers, *,
        style: str = "light", language: str = "en", width: float | None = None,
    ) -> Figure:  # fmt: skip
        """Draw what ``numbers`` returned.

        Parameters
        ----------
        numbers : dict
            What ``self.numbers`` returned.
        style : str
            ``"light"``, the course's; ``"dark"``; or ``"slides"``, enlarged: a text of 11 points
            has 18.
        language : str
            The texts of the picture are replaced as its catalogue says (``say``). A text that it
            lacks stays English.
        width : float, optional
            In inches. Texts and lines keep their size in points. A picture that Matplotlib lays out
            keeps its height; one whose parts are placed keeps its proportions.

        Raises
        ------
        ValueError
            The style or the language is unknown, or the width not positive.
        """
        one_of("style", style, STYLES)
        one_of("language", language, languages())
        if width is not None and not (isinstance(width, (int, float)) and 0 < width < math.inf):
            raise ValueError(f"width must be a positive number of inches, got {width!r}")
        with plt.rc_context(STYLES[style]):
            fig = self._draw(numbers)
            if width is not None:
                _resize(fig, width / ENLARGED if style == "slides" else width)
            reword(fig, language)
        if style == "dark":
            recolour(fig, AT_NIGHT)
        return fig

    def picture(self, numbers: Numbers, kind: str, *, style: str = "light", **look: Any) -> bytes:
        """Draw it as a file in the format ``kind``; the same numbers give the same bytes.

        The other arguments are those of ``draw``.
        """
        fig, buffer = self.draw(numbers, style=style, **look), io.BytesIO()
        with plt.rc_context({**STYLES[style], "svg.hashsalt": self.name, "pdf.fonttype": 42}):
            fig.savefig(buffer, format=kind, metadata=UNDATED[kind])
        plt.close(fig)
        return small_png(buffer.getvalue()) if kind == "png" else buffer.getvalue()

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Figure, Numbers]:
        """Return the picture of ``numbers(...)``, and these without the NumPy arrays."""
        numbers = self.numbers(*args, **kwargs)
        return self.draw(numbers), _told(numbers)


def _resize(fig: Figure, width: float) -> None:
    """Make a figure ``width`` inches wide."""
    before, height = fig.get_size_inches()
    if fig.get_layout_engine() is None:
        height *= width / before
    fig.set_size_inches(width, height)


def _told(numbers: Numbers) -> Numbers:
    """Leave out the NumPy arrays: they are drawn, and too long to be read."""
    return {name: value for name, value in numbers.items() if not isinstance(value, np.ndarray)}


def mean_and_half(array: NDArray, runs: int = 0) -> tuple[NDArray, NDArray]:
    """Return the means over the axis ``runs``, and the half of each 95 % interval, Student's.

    A ValueError for a number of runs that STUDENT does not have.
    """
    n = array.shape[runs]
    if n not in STUDENT:
        raise ValueError(f"runs must be one of {', '.join(map(str, STUDENT))}, got {n}")
    return array.mean(runs), STUDENT[n] * array.std(runs, ddof=1) / n**0.5


def _summary(array: NDArray, runs: int | None = None) -> dict[str, Any]:
    """Sum up an array that is drawn: all of its numbers, or every n-th of them if there are many.

    The standard deviation shows a change of the others. There is no mean of all: that of noise is
    near zero, where a relative tolerance is none. Along the axis ``runs``, how many there are, the
    means, and the half of each 95 % interval, Student's.
    """
    values = array.astype(float).ravel()
    rounding = ROUNDING * np.abs(values).max()

    def rounded(value: float) -> float:
        return 0.0 if abs(value) <= rounding else float(f"{value:.9g}")

    over: dict[str, Any] = {}
    if runs is not None:
        means, halves = mean_and_half(array, runs)
        over = {"runs": array.shape[runs], "means": [*map(rounded, means.ravel())]}
        over["plus_minus_95"] = [*map(rounded, halves.ravel())]

    every = len(values) // SAMPLES | 1  # odd, or it would walk down a few columns of a matrix
    return {
        "shape": array.shape,
        "least": rounded(values.min()),
        "most": rounded(values.max()),
        "deviation": rounded(values.std()),
        "every": every,
        "numbers": [rounded(value) for value in values[::every]],
        **over,
    }


def points(numbers: Any, part: str = "", *place: int) -> Iterator[tuple[str, str, Any]]:
    """Yield every number of a figure: its part, such as ``mean.LoRA``, its place there, itself."""
    if isinstance(numbers, Mapping):
        for name, inner in numbers.items():
            yield from points(inner, f"{part}.{name}".strip("."), *place)
    elif isinstance(numbers, (list, tuple, np.ndarray)):
        for i, inner in enumerate(numbers):
            yield from points(inner, part, *place, i)
    else:
        yield part, " ".join(map(str, place)), numbers


def as_csv(rows: Iterable[Iterable[Any]]) -> str:
    """Write rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


FIGURES: dict[str, Entry] = {}
TABLES: dict[str, tuple[str, Callable[[], str]]] = {}  # file name → what it shows, how to write it


def table(name: str, shows: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Register the decorated function, which returns a text, as the file ``name`` beside them."""

    def register(text: Callable[[], str]) -> Callable[[], str]:
        if name in TABLES:
            raise ValueError(f"two tables are called {name!r}")
        TABLES[name] = shows, text
        return text

    return register


def figure(
    numbers: Callable[..., Numbers], *size: Any, runs: int | None = None, **how: Any
) -> Callable[..., Entry]:
    """Register the decorated function, which draws what it is given, as the figure of its name.

    Its docstring is what is said of the figure: see ``Entry``. A ValueError if one has this name.

    ``numbers()`` returns what is drawn, name → number, text, list or dict of these, all of which is
    recorded and compared, or NumPy array. Of an array of 400 numbers or more, the record holds
    shape, least, most, standard deviation and every n-th number, of a smaller one all; what is
    below 1e-9 of its largest counts as zero. Without arguments, the course's own. ``runs`` is the
    axis of all these arrays along which the runs lie: their means and 95 % intervals are recorded.
    A ``size``, and ``how``, are what :func:`.plots.panels` takes: the decorated function is given
    their axes, too, and draws there. Without a size it returns a figure of its own.
    """

    def register(draw: Callable[..., Any]) -> Entry:
        def on_panels(numbers: Numbers) -> Figure:
            fig, axes = plots.panels(*size, **how)
            draw(numbers, axes)
            return fig

        entry = Entry(numbers, functools.update_wrapper(on_panels, draw) if size else draw)
        entry.runs = runs
        if entry.name in FIGURES:
            raise ValueError(f"two figures are called {entry.name!r}")
        FIGURES[entry.name] = entry
        return entry

    return register


def load() -> dict[str, Entry]:
    """Import the figures of every lesson; return them in the lessons' order, name → entry."""
    for lesson in LESSONS:
        if find_spec(f"lora_edu.course.{lesson}.figures"):
            importlib.import_module(f"lora_edu.course.{lesson}.figures")
    # Whoever imports one lesson first registers it first; the gallery must not depend on that.
    order = {lesson: place for place, lesson in enumerate(LESSONS)}
    entries = sorted(FIGURES.values(), key=lambda entry: order.get(entry.lesson, len(order)))
    return {entry.name: entry for entry in entries}


# -- writing and checking a folder of them ----------------------------------------------------


def _select(only: Sequence[str]) -> list[Entry]:
    known = load()
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise ValueError(f"no figure is called {unknown[0]!r}; there are {', '.join(known)}")
    return [known[name] for name in only or known]


def _record(entry: Entry) -> tuple[dict[str, Any], Numbers]:
    """Collect what is compared later, as JSON gives it back; return it, and all numbers.

    That is words, numbers, and what leads to the recorded runs behind these.
    """
    numbers, read = noted(entry.numbers)
    told = _told(numbers)
    drawn = {name: _summary(numbers[name], entry.runs) for name in numbers if name not in told}
    record = {"name": entry.name, "alt": entry.alt.format(**told), "shows": entry.shows}
    record |= {"numbers": told, "drawn": drawn, "draw": f"lora-edu figures --only {entry.name}"}
    record |= {"records": [*map(behind, read)]}
    return json.loads(json.dumps(record)), numbers


def _style() -> dict[str, Any]:
    """Return the style that all figures share, as JSON gives it back."""
    return json.loads(json.dumps(STYLE, default=str))


def _read(path: Path) -> dict[str, Any]:
    """Read a record; a missing or damaged one compares as different from each."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _changes(old: Any, new: Any, part: str = "") -> Iterator[str]:
    """Name the parts in which two JSON values differ, floats by more than the tolerance."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from _changes(old.get(key), new.get(key), f"{part}.{key}".strip("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for before, after in zip(old, new, strict=True):
            yield from _changes(before, after, part)
    elif isinstance(old, float) and isinstance(new, float):
        if not math.isclose(old, new, rel_tol=RELATIVE_TOLERANCE):
            yield part
    elif old != new:
        yield part


def _stale(path: Path, content: dict[str, Any]) -> list[str]:
    """Say in which parts a JSON file does not hold this content."""
    stored = _read(path)
    if not stored:
        return [f"{path.name}: missing or damaged"]
    changed = dict.fromkeys(_changes(stored, content))
    return [f"{path.name}: stale, its {part} changed" for part in changed]


def _problems(folder: Path, record: dict[str, Any]) -> list[str]:
    """Say how the picture of a figure and its record in ``folder`` are not what they should be."""
    picture = folder / f"{record['name']}.png"
    problems = _stale(folder / "data" / f"{record['name']}.json", record)
    if not picture.is_file() or not picture.read_bytes().startswith(b"\x89PNG"):
        problems.append(f"{picture.name}: missing, or no picture")
    return problems


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _gallery(records: Iterable[dict[str, Any]]) -> str:
    """Write the gallery: picture with its alt text, what it shows, the numbers behind it."""
    lines = [
        "# The figures",
        "",
        "Every picture of the course that stands by itself: to look at, to show, to check.",
        "`lora-edu figures` draws them; one: `--only NAME`, for print with `--format pdf`, all its",
        "numbers with `--format csv`. `lora-edu reproduce figure NAME` computes them again and",
        "compares, with `--seeds 0` a seed of each record as well, from which it is drawn.",
    ]
    for record in records:
        name = record["name"]
        lines += ["", f"## {name}", "", record["shows"], "", f"![{record['alt']}]({name}.png)", ""]
        behind = f"Numbers: [data/{name}.json](data/{name}.json); lesson: `{FIGURES[name].lesson}`"
        lines += [f"> {record['alt']}", "", behind]
        if record["records"]:
            lines[-1] += f"; drawn from {', '.join(map(_source, record['records']))}; again:"
            lines[-1] += f" `lora-edu reproduce figure {name} --seeds 0`"
    lines += ["", "## Tables", ""] if TABLES else []
    lines += [f"- [{name}]({name}): {shows}" for name, (shows, _) in TABLES.items()]
    return "\n".join(lines) + "\n"


def _source(record: dict[str, Any]) -> str:
    """Say of a record that a figure is drawn from how many seeds it has, and what one takes."""
    seeds = f"{record['seeds']} seeds" if record["seeds"] else "a measurement"
    minutes = f", {record['minutes']:g} min each" if "minutes" in record else ""
    return f"`{record['record']}` ({seeds}{minutes})"


def _texts(records: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return the gallery and the tables, file name → content."""
    return {"README.md": _gallery(records)} | {name: text() for name, (_, text) in TABLES.items()}


def write(folder: Path | str, only: Sequence[str] = ()) -> Iterator[tuple[str, bool]]:
    """Draw the figures into ``folder``; yield each name and whether it was drawn.

    A figure is drawn anew when its numbers, its words or the style changed, when a file is
    missing, or when ``only`` names it. So a picture does not change just because another machine
    drew it, nor because its code was put in other words.

    ``folder`` gets ``NAME.png`` and ``data/NAME.json``; ``README.md`` and the tables when it holds
    all figures; and ``data/style.json`` when all were asked for. A ValueError if ``only`` holds a
    name that no figure has.
    """
    folder, records = Path(folder), {}
    all_anew = bool(only) or bool(_stale(folder / "data" / "style.json", _style()))
    for entry in _select(only):
        record, numbers = _record(entry)
        records[entry.name] = record
        path = folder / "data" / f"{entry.name}.json"
        kept = record | {"records": _read(path).get("records")}  # what nobody sees in the picture
        stale = all_anew or bool(_problems(folder, kept))
        if stale:
            write_whole(folder / f"{entry.name}.png", entry.picture(numbers, "png"))
        if stale or kept != record:
            write_whole(path, _text(record))
        yield entry.name, stale
    # Of those not drawn now, what the folder holds of them.
    every = [records.get(name) or _read(folder / "data" / f"{name}.json") for name in load()]
    if all(every):
        for name, text in _texts(every).items():
            write_whole(folder / name, text)
    if not only:  # last, when all are drawn in it
        write_whole(folder / "data" / "style.json", _text(_style()))


def export(folder: Path | str, kind: str, only: Sequence[str] = ()) -> Iterator[Path]:
    """Draw the figures for print, as ``NAME.svg`` or ``NAME.pdf`` in ``folder``; yield each path.

    Nothing else is written: these files are no part of the gallery, and are never compared. A
    ``NAME.csv`` has all numbers, also those of arrays of which the record holds every n-th. A
    ValueError if ``only`` holds a name that no figure has.
    """
    for entry in _select(only):
        path = Path(folder) / f"{entry.name}.{kind}"
        numbers = entry.numbers()
        if kind == "csv":
            write_whole(path, as_csv([("part", "place", "value"), *points(numbers)]))
        else:
            write_whole(path, entry.picture(numbers, kind))
        yield path


def check(folder: Path | str) -> list[str]:
    """Compare a folder with what the code would draw; return one line for each disagreement.

    It finds a missing picture or record, numbers off by more than a relative 1e-6, another text
    or style, a gallery that says something else, and files that belong to no figure. Nothing is
    drawn.
    """
    folder = Path(folder)
    records = [_record(entry)[0] for entry in load().values()]
    problems = _stale(folder / "data" / "style.json", _style())
    for record in records:
        problems += _problems(folder, record)
    for name, text in _texts(records).items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != text.encode():
            problems.append(f"{name}: missing or stale")
    known = {"style.json", *TABLES}
    for name in FIGURES:
        known |= {f"{name}.png", f"{name}.json"}
    for path in [*folder.glob("*.png"), *folder.glob("*.csv"), *folder.glob("data/*.json")]:
        if path.name not in known:
            problems.append(f"{path.name}: belongs to no figure")
    return problems


def compare(folder: Path | str, name: str) -> tuple[list[tuple[str, Any, Any, bool]], list[str]]:
    """Compute a figure again; return its numbers, and the names of the records that it read.

    Of each number: where it stands, what the folder holds, what is found, and whether these are
    equal. A ValueError if there is no such figure, or nothing of it in the folder.
    """
    (entry,) = _select([name])
    path = Path(folder) / "data" / f"{name}.json"
    old, new = _read(path), _record(entry)[0]
    if not old:
        raise ValueError(f"{path} is missing or damaged; the figures are in a clone of the course")

    def placed(record: dict[str, Any]) -> dict[str, Any]:
        numbers = points({**record["numbers"], "drawn": record["drawn"]})
        return {f"{part} {place}".strip(): value for part, place, value in numbers}

    rows, expected, found = [], placed(old), placed(new)
    for where in {**expected, **found}:
        pair = expected.get(where), found.get(where)
        rows.append((where, *pair, not any(_changes(*pair, where))))
    return rows, [record["record"] for record in new["records"]]
