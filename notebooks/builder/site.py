"""The web edition: static pages from the committed notebooks, and from the Markdown beside them.

Nothing is executed; films and tables are drawn from the package. First all pages are staged, as
Markdown (`builder/stage.py`); then Sphinx builds each language (`notebooks/site/conf.py`); then
every link is followed. The pages ask no other host for anything, and work from any folder.

A language has a `README.LANGUAGE.md` and the lessons and pages that are translated into it; for all
else it leads to English.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from builder.explorables import script
from builder.live import LESSONS, write_live
from builder.source import NOTEBOOKS, BuildError
from builder.stage import Stage, languages
from lora_edu.files import take_place, temporary_folder, write_whole

SITE = NOTEBOOKS / "site"  # what the site has beside the lessons
FILMS = NOTEBOOKS.parent / "lora_edu" / "course" / "films.js"
MOST_BYTES = 25_000_000


def write_site(out: Path, live: bool = False) -> str:
    """Build the site into a folder, which it replaces whole; say how large it is.

    With ``live``, the lessons that need NumPy alone run on it, too (see `builder.live`).

    Raises
    ------
    BuildError
        A page, or a link, is not as it should be; the site is too large; or the folder holds
        something else.
    """
    if out.exists() and not (out / "en" / "index.html").is_file():
        raise BuildError(f"{out}: is there, and is no site; name another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(out.resolve()) as work:
        made = build(work, LESSONS if live else {})
        if live:
            write_live(made / "live")
        take_place(made, out)
    size = size_of(out)
    return f"{out}: {len(list(out.rglob('*.html')))} pages, {size / 1e6:.1f} MB"


def size_of(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def build(work: Path, live: Mapping[str, int]) -> Path:
    """Build the site within a folder; return its place there."""
    made = work / "site"
    stages = [Stage(language, work / "stage" / language, live) for language in languages()]
    switch = {stage.language: sorted(stage.pages.values()) for stage in stages}
    running = []
    for stage in stages:
        stage.write_all()
        write_whole(stage.folder / "languages.json", json.dumps(switch))
        own = SITE / stage.language / "sphinx.po"
        if own.exists():  # what the theme says by itself
            there = stage.folder / "locale" / stage.language / "LC_MESSAGES" / "sphinx.po"
            write_whole(there, own.read_bytes())
        running.append(sphinx(stage.language, stage.folder, made / stage.language))
    for process in running:
        said = process.communicate()[0]
        if process.returncode:
            raise BuildError(said.strip())
    for stage in stages:
        for place, data in stage.files.items():
            write_whole(made / stage.language / place, data)
    write_whole(made / "index.html", (SITE / "start.html").read_text(encoding="utf-8"))
    write_whole(made / ".nojekyll", "")
    if dead := list(dead_links(made)):
        raise BuildError("\n".join(dead))
    if (size := size_of(made)) > MOST_BYTES:
        raise BuildError(f"the site has {size / 1e6:.1f} MB, at most {MOST_BYTES / 1e6:g}")
    return made


def sphinx(language: str, stage: Path, out: Path) -> subprocess.Popen[str]:
    """Start Sphinx on the pages of a language; a warning is an error."""
    static = stage.parent / f"static-{language}"
    write_whole(static / "explorables.js", script())
    for path in [*(SITE / "static").iterdir(), FILMS]:
        shutil.copy(path, static)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-E", "-W", "--keep-going"]
    command += ["-c", str(SITE), "-d", str(stage.parent / f".{language}")]
    command += ["-D", f"language={language}", "-D", f"html_static_path={static}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(NOTEBOOKS)}
    return subprocess.Popen(
        [*command, str(stage), str(out)],
        env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


class Links(HTMLParser):
    """The places of a page, where it leads, and what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.leads: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what one tag brings."""
        found = dict(attrs)
        self.places.add(found.get("id") or "")
        if tag == "a" and (found.get("href") or "").strip():
            self.leads.append(found["href"] or "")
        if tag == "link" and "canonical" not in (found.get("rel") or ""):
            self.loads.append(found.get("href") or "")
        if tag in ("img", "script", "source", "iframe"):
            self.loads.append(found.get("src") or "")
        if tag == "figure":
            self.loads.append(found.get("data-sheet") or "")

    def has(self, fragment: str) -> bool:
        """Say whether a link may end in this fragment: an id of the page, or none."""
        return not fragment or unquote(fragment) in self.places


def dead_links(folder: Path) -> Iterator[str]:
    """Name each link of a site that leads nowhere, and what is loaded from another host."""
    read: dict[Path, Links] = {}
    for path in sorted(folder.rglob("*.html")):
        read[path] = Links()
        read[path].feed(path.read_text(encoding="utf-8"))
    for path, page in read.items():
        name = path.relative_to(folder)
        for address in page.loads:
            if urlsplit(address).scheme not in ("", "data") or address.startswith("//"):
                yield f"{name}: loads {address} from another host"
        for address in {*page.leads, *filter(None, page.loads)}:
            if why := leads_nowhere(address, path, read):
                yield f"{name}: leads to {address}, which {why}"


def leads_nowhere(address: str, path: Path, read: dict[Path, Links]) -> str | None:
    """Say what is wrong with where a page leads; ``read`` holds the pages of the site."""
    parts = urlsplit(address)
    made_apart = parts.path.startswith("../../live/")  # and tried by tests/live.py
    if parts.scheme or parts.netloc or made_apart:
        return None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "is not there"
    if target in read and not read[target].has(parts.fragment):
        return "has no such place"
    return None
