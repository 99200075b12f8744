"""Every figure of the course: one short function each, registered under its name.

The functions stand in the folder of the lesson that shows them. Each draws with Matplotlib and
returns the figure together with the numbers behind it. Notebooks call them, and assert on the
numbers; ``lora-edu figures`` writes all of them into a folder, with a gallery. What is compared
later is numbers and words, never pixels: those differ between two versions of a font renderer.
"""

import functools
import hashlib
import importlib
import inspect
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from lora_edu.course import LESSONS
from lora_edu.course.plots import STYLE, small_png
from lora_edu.files import write_whole

Numbers = dict[str, Any]
RELATIVE_TOLERANCE = 1e-6


# -- the registry -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A registered figure: how to draw it, and what to say of it."""

    name: str
    alt: str  # a template: {names} are filled in from the figure's numbers
    draw: Callable[..., tuple[Figure, Numbers]]

    @property
    def shows(self) -> str:
        """The first paragraph of the drawing function's docstring."""
        return " ".join(inspect.cleandoc(self.draw.__doc__ or "").split("\n\n")[0].split())

    @property
    def code_digest(self) -> str:
        """A digest of the drawing function: a figure is stale when its code has changed."""
        source = inspect.getsource(inspect.unwrap(self.draw))
        return hashlib.sha256(source.encode()).hexdigest()[:16]


FIGURES: dict[str, Entry] = {}
TABLES: dict[str, tuple[str, Callable[[], str]]] = {}  # file name → what it shows, how to write it


def table(name: str, shows: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Register the decorated function, which returns a text, as the file ``name`` beside them."""

    def register(text: Callable[[], str]) -> Callable[[], str]:
        TABLES[name] = shows, text
        return text

    return register


def figure(name: str, *, alt: str) -> Callable[[Callable], Callable]:
    """Register the decorated function as the figure ``name``, drawn in the course's style.

    Parameters
    ----------
    name : str
        The name of its files.
    alt : str
        What a reader who cannot see the picture is told: a template such as ``"... {ratio:g}
        times fewer"``, filled in from the numbers that the function returns, so that the words
        cannot disagree with the picture.
    """

    def register(draw: Callable[..., tuple[Figure, Numbers]]) -> Callable:
        @functools.wraps(draw)
        def styled(*args: Any, **kwargs: Any) -> tuple[Figure, Numbers]:
            with plt.rc_context(STYLE):
                return draw(*args, **kwargs)

        if name in FIGURES:
            raise ValueError(f"two figures are called {name!r}")
        FIGURES[name] = Entry(name, alt, styled)
        return styled

    return register


def load() -> dict[str, Entry]:
    """Import the figures of every lesson; return them in the lessons' order, name → entry."""
    modules = [f"lora_edu.course.{lesson}.figures" for lesson in LESSONS]
    modules = [name for name in modules if find_spec(name)]
    for name in modules:
        importlib.import_module(name)
    # Whoever imports one lesson first registers it first; the gallery must not depend on that.
    return dict(
        sorted(
            FIGURES.items(),
            key=lambda item: [*modules, item[1].draw.__module__].index(item[1].draw.__module__),
        )
    )


# -- writing and checking a folder of them ----------------------------------------------------


def _select(only: Iterable[str] | None) -> list[Entry]:
    known = load()
    unknown = sorted(set(only or ()) - set(known))
    if unknown:
        raise ValueError(f"no figure is called {unknown[0]!r}; there are {', '.join(known)}")
    return [known[name] for name in only or known]


def _record(entry: Entry, numbers: Numbers) -> dict[str, Any]:
    """Collect what is compared later: words, numbers and a digest of the code."""
    return {
        "name": entry.name,
        "alt": entry.alt.format(**numbers),
        "shows": entry.shows,
        "code": entry.code_digest,
        "numbers": numbers,
    }


def _same(a: Any, b: Any) -> bool:
    """Compare two JSON values, floats with ``RELATIVE_TOLERANCE``."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE)
    return a == b


def _read(path: Path) -> dict[str, Any]:
    """Read a record; a missing or damaged one compares as different from each."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _gallery(records: Iterable[dict[str, Any]]) -> str:
    """Write the gallery: picture with its alt text, what it shows, the numbers behind it."""
    lines = [
        "# The figures",
        "",
        "Rebuilt by `make figures`. Each stands here with the text that describes it to someone",
        "who cannot see it, and with the numbers it was drawn from.",
    ]
    for record in records:
        name = record["name"]
        lines += ["", f"## {name}", "", record["shows"], "", f"![{record['alt']}]({name}.png)", ""]
        lines += [f"> {record['alt']}", "", f"Numbers: [data/{name}.json](data/{name}.json)"]
    lines += ["", "## Tables", ""] if TABLES else []
    lines += [f"- [{name}]({name}): {shows}" for name, (shows, _) in TABLES.items()]
    return "\n".join(lines) + "\n"


def write(folder: Path | str, only: Iterable[str] | None = None) -> Iterator[tuple[str, bool]]:
    """Draw the figures into ``folder``; yield each name and whether its files changed.

    A figure is drawn anew when its numbers, its words or its code changed, when a file is missing,
    or when ``only`` names it. So a picture does not change just because another machine drew it.

    Parameters
    ----------
    folder : path
        Gets ``NAME.png``, ``data/NAME.json`` and, when all are drawn, the tables and ``README.md``.
    only : names, optional
        Which figures to draw; all by default.

    Raises
    ------
    ValueError
        ``only`` holds a name that no figure has.
    """
    folder, records = Path(folder), []
    for entry in _select(only):
        fig, numbers = entry.draw()
        record = _record(entry, numbers)
        picture, data = folder / f"{entry.name}.png", folder / "data" / f"{entry.name}.json"
        stale = only is not None or not picture.is_file() or not _same(_read(data), record)
        if stale:
            buffer = io.BytesIO()
            with plt.rc_context(STYLE):
                fig.savefig(buffer, format="png")
            write_whole(picture, small_png(buffer.getvalue()))
            write_whole(data, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        plt.close(fig)
        records.append(record)
        yield entry.name, stale
    if only is None:
        for name, (_, text) in TABLES.items():
            write_whole(folder / name, text())
        write_whole(folder / "README.md", _gallery(records))


def check(folder: Path | str) -> list[str]:
    """Compare a folder with what the code draws now; return one line for each disagreement.

    It finds a missing picture or record, numbers off by more than a relative 1e-6, another text
    or code, a gallery that says something else, and files that belong to no figure.
    """
    folder, problems, records = Path(folder), [], []
    for entry in load().values():
        fig, numbers = entry.draw()
        plt.close(fig)
        record = json.loads(json.dumps(_record(entry, numbers)))
        records.append(record)
        if not (folder / f"{entry.name}.png").is_file():
            problems.append(f"{entry.name}: the picture is missing")
        stored = _read(folder / "data" / f"{entry.name}.json")
        if not stored:
            problems.append(f"{entry.name}: the numbers behind it are missing or damaged")
            continue
        problems += [
            f"{entry.name}: stale, its {part} changed"
            for part in record
            if not _same(stored.get(part), record[part])
        ]
    for name, (_, text) in TABLES.items():
        if not (folder / name).is_file() or (folder / name).read_text("utf-8") != text():
            problems.append(f"{name}: the table is missing or stale")
    known = {f"{name}.{kind}" for name in FIGURES for kind in ("png", "json")} | TABLES.keys()
    files = [*folder.glob("*.png"), *folder.glob("*.csv"), *folder.glob("data/*.json")]
    problems += [f"{path.name}: belongs to no figure" for path in files if path.name not in known]
    gallery = folder / "README.md"
    if not gallery.is_file() or gallery.read_text(encoding="utf-8") != _gallery(records):
        problems.append("README.md: the gallery is missing or stale")
    return problems
