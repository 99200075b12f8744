"""Committed notebooks, and the Markdown beside them → the web edition, a folder of static pages.

Nothing is executed; films and tables are drawn from the package. First the pages of each language
are written as Sphinx reads them, in folders as those of the repository, so that links between them
stay as they are; then Sphinx builds each language (`notebooks/site/conf.py`); then every link is
followed. The pages ask no other host for anything, and work from any folder.

A language has a `README.LANGUAGE.md` and the lessons and pages that are translated into it; for all
else it leads to English.
"""

from __future__ import annotations

import html
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from html.parser import HTMLParser
from itertools import repeat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nbformat import NotebookNode

from builder import reference
from builder.editions import loaded
from builder.explorables import DATA, scripts, write_voice
from builder.pages import LABELS, Page, Pictures, inline, lesson_page, quiz
from builder.paper import quiz_files
from builder.questions import FINAL, headings, read_quizzes
from builder.slides import page_of
from builder.source import NOTEBOOKS, BuildError, slug, sources
from lora_edu.files import take_place, temporary_folder, write_whole

ROOT = NOTEBOOKS.parent
SITE = NOTEBOOKS / "site"  # what the site has beside the lessons
FILMS = ROOT / "lora_edu" / "course" / "films.js"
CLASS = NOTEBOOKS / "FIFTY_MINUTES.md"
MOST_BYTES = 36_000_000  # each language has pictures of its own
# What becomes a page, beside the lessons: in English, and in another language.
ENGLISH = (
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "notebooks/*.md", "figures/*.md",
    "lora_edu/README.md", "lora_edu/course/records/README.md", "tests/README.md",
    "tests/benchmarks/README.md", "notebooks/site/explore/*.md",
)  # fmt: skip
TRANSLATED = ("README.{}.md", "notebooks/{}/*.md", "notebooks/site/{}/explore/*.md")
# The modules with a page of their own: the core, and what one uses after the course.
API = (
    "counting", "lowrank", "reference", "layers", "adapt", "checkpoint", "variants", "quantize",
    "memory", "chat", "finetune", "assets",
)  # fmt: skip
# Where a lesson leads to a piece that one can play with, or has it.
PLAY = {
    ("01_matrix_example", "name-text"): "rank",
    ("01_matrix_example", "given-up"): "strips",
    ("03_learning_the_update", "floor-why"): "strips",
    ("02_rank_and_svd", "svd"): "ellipse",
    ("02_rank_and_svd", "tail"): "rank",
    ("06_counting_parameters", "memory"): "calculator",
}
CELLS = re.compile(r"\[(\d\d)\]\((\d\d_\w+)\.ipynb\) (`[a-z0-9-]+`(?:, `[a-z0-9-]+`)*)")
FENCE = re.compile(r"(?ms)^(`{3,}).*?^\1`*[ \t]*$")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\((?!https?:|mailto:|#)([^)\s]+)\)")
# Before version 0.3 some lessons had another number. Whoever comes by an old address is led on.
FORMER = {
    "04_language_model": "09", "05_intrinsic_rank": "04", "06_counting_parameters": "05",
    "07_merging": "06", "08_real_model": "07", "09_inside_the_update": "08",
}  # fmt: skip
LED_ON = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{0}</title>
<script>location.replace("{0}.html" + location.hash)</script>
<meta http-equiv="refresh" content="1; url={0}.html"><a href="{0}.html">{0}</a></html>
"""
# OWNER/NAME of the repository on GitHub, where a workflow of GitHub builds the site; with it, the
# pages say their own address, and lessons lead to where they run.
ADDRESS = os.environ.get("GITHUB_REPOSITORY", "")
ELSEWHERE = {
    "Binder": "https://mybinder.org/v2/gh/{address}/main?labpath=notebooks/{stem}.ipynb",
    "Colab": "https://colab.research.google.com/github/{address}/blob/main/notebooks/{stem}.ipynb",
    "Kaggle": "https://kaggle.com/kernels/welcome?src=https://github.com/{address}/blob/main/notebooks/{stem}.ipynb",
}


def write_site(out: Path, voice: bool = False) -> str:
    """Build the site into a folder, which it replaces whole; say how large it is.

    With ``voice``, the chat model lies on it, too, for the page `talk` (see `builder.explorables`).

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
        made = work / "site"
        build(work, made, write_voice(made / "voice") if voice else {})
        take_place(made, out)
    return f"{out}: {len(list(out.rglob('*.html')))} pages, {size_of(out) / 1e6:.1f} MB"


def size_of(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def build(work: Path, made: Path, voice: Mapping[str, int]) -> None:
    """Build the site into a folder, with the help of another one.

    ``voice``: the files that are in its folder ``voice`` by now, and their bytes.
    """
    with ProcessPoolExecutor() as pool:  # most of the time goes into pictures
        stages = [*pool.map(written, languages(), repeat(work / "stage"))]
    switch = {stage.language: sorted(stage.pages.values()) for stage in stages}
    running = []
    for stage in stages:
        write_whole(stage.folder / "languages.json", json.dumps(switch))
        own = SITE / stage.language / "sphinx.po"
        if own.exists():  # what the theme says by itself
            there = stage.folder / "locale" / stage.language / "LC_MESSAGES" / "sphinx.po"
            write_whole(there, own.read_bytes())
        running.append(sphinx(stage.language, stage.folder, made / stage.language, voice))
    for process in running:
        said = process.communicate()[0]
        if process.returncode:
            raise BuildError(said.strip())
    for stage in stages:
        for place, data in stage.files.items():
            write_whole(made / stage.language / place, data)
    lead_on(made)
    write_whole(made / "talk.html", LED_ON.format("en/explore/talk"))  # so that a link is short
    write_whole(made / "index.html", (SITE / "start.html").read_text(encoding="utf-8"))
    write_whole(made / ".nojekyll", "")
    if dead := list(dead_links(made)):
        raise BuildError("\n".join(dead))
    if (size := size_of(made) - sum(voice.values())) > MOST_BYTES:
        raise BuildError(f"the site has {size / 1e6:.1f} MB, at most {MOST_BYTES / 1e6:g}")


def written(language: str, folder: Path) -> Stage:
    """Write the pages of a language."""
    stage = Stage(language, folder / language)
    stage.write_all()
    return stage


def lead_on(made: Path) -> None:
    """Write a page at each old address of a lesson, which leads to the new one."""
    for stem, number in FORMER.items():
        for page in list(made.rglob(f"{stem}.html")):
            write_whole(page.with_name(f"{number}{stem[2:]}.html"), LED_ON.format(stem))


def sphinx(
    language: str, stage: Path, out: Path, voice: Mapping[str, int]
) -> subprocess.Popen[str]:
    """Start Sphinx on the pages of a language; a warning is an error."""
    static = stage.parent / f"static-{language}"
    for name, text in scripts(voice).items():
        write_whole(static / f"{name}.data.js", text)
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


# -- which pages there are, and where they are on the site ----------------------------------------


def lessons(language: str) -> dict[str, Path]:
    """Return the lessons of a language: their names, such as 01_matrix_example → notebooks."""
    folder = NOTEBOOKS if language == "en" else NOTEBOOKS / language
    return {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}


def languages() -> list[str]:
    """Return the languages of the site, English first."""
    return ["en", *(found.name.split(".")[1] for found in sorted(ROOT.glob("README.??.md")))]


def pages(language: str) -> dict[str, str]:
    """Return the pages of a language: what is read → where it is on the site, without suffix."""
    found = [path.relative_to(ROOT).as_posix() for path in lessons(language).values()]
    patterns = ENGLISH if language == "en" else [each.format(language) for each in TRANSLATED]
    for pattern in patterns:
        found += sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))
    return {read: place_of(read, language) for read in found}


def place_of(read: str, language: str) -> str:
    """Return where what is read is on the site."""
    place = read.removeprefix("notebooks/site/").replace(f"{language}/", "", 1)
    place = re.sub(rf"README(\.{language})?\.md$", "index.md", place)
    return place.rpartition(".")[0]


def up(place: str) -> str:
    """Return the way from a page to the root of its language."""
    return "../" * place.count("/")


def cells(language: str) -> dict[tuple[str, str], tuple[str, str]]:
    """Return of each cell of a lesson the page on which it stands, and the heading above it.

    The heading is in the language if it has that lesson.
    """
    found = {}
    for stem, path in (lessons("en") | lessons(language)).items():
        own, proof = loaded(path).cells, False
        above = headings(own)
        for cell in own:
            if cell.cell_type == "markdown" and cell.source.startswith("## "):
                proof = cell.id == "know"
            apart = proof and (language == "en" or stem not in lessons(language))
            place = f"notebooks/know/{stem}" if apart else f"notebooks/{stem}"
            found[stem, cell.id] = place, re.sub(r"^\d+ · ", "", above[cell.id])
    return found


def piece(*names: str) -> str:
    """Return what loads pieces to play with: what all share, their data, if any, and scripts."""
    files = ["pieces.js"]
    for name in names:
        files += [f"{name}.data.js"] * (name in DATA) + [f"{name}.js"]
    return "".join(f'\n<script defer src="STATIC/{file}"></script>' for file in files)


def below(place: str) -> str:
    """Return the menu of the pages that stand below another one; mostly there are none."""
    lower = {
        "lora_edu/index": ["course/records/index", *(f"api/{name}" for name in API)],
        "tests/index": ["benchmarks/index"],
        "notebooks/know/index": [*lessons("en")],
    }
    if place not in lower:
        return ""
    return "\n".join(["\n\n```{toctree}", ":hidden:", "", *lower[place], "```\n"])


# -- the pages of one language --------------------------------------------------------------------


class Stage:
    """The pages of one language, written as Sphinx reads them.

    Attributes
    ----------
    folder : Path
        Where they are written.
    pages : dict
        What is read → where it is on the site, without suffix.
    files : dict
        What is no page, such as pictures: place on the site → content.
    """

    def __init__(self, language: str, folder: Path) -> None:
        self.language, self.folder = language, folder
        self.labels = LABELS[language]
        self.own = "" if language == "en" else language  # the folder of what is in this language
        self.pages, self.cells = pages(language), cells(language)
        self.elsewhere: dict[str, str] = {}
        for other in reversed(languages()):  # English last: of two it is the one
            if other != language:
                for read, place in pages(other).items():
                    self.elsewhere[read] = f"{other}/{place}.html"
        self.files: dict[str, bytes] = {}
        self.quizzes = read_quizzes(NOTEBOOKS / "src" / self.own)

    def write_all(self) -> None:
        """Write every page."""
        for stem, path in lessons(self.language).items():
            self.write_lesson(stem, path)
        for source, place in self.pages.items():
            if not source.endswith(".ipynb"):
                self.write_text(source, place)
        self.write_questions()
        if self.language == "en":
            self.write("notebooks/know/index", reference.know_index(list(lessons("en"))))
            for name in API:
                self.write(f"lora_edu/api/{name}", reference.api(name))

    def write(self, place: str, text: str) -> None:
        """Write one page."""
        text = (text + below(place)).replace("STATIC/", f"{up(place)}_static/")
        write_whole(self.folder / f"{place}.md", text)

    def keep(self, place: str, pictures: Pictures) -> None:
        """Keep the pictures of a page."""
        folder = posixpath.join(posixpath.dirname(place), "img")
        self.files |= {f"{folder}/{name}": data for name, data in pictures.files.items()}

    # -- a lesson --

    def write_lesson(self, stem: str, path: Path) -> None:
        """Write a lesson, and in English the page that says how we know."""
        notebook = loaded(path)
        source, place = path.relative_to(ROOT).as_posix(), f"notebooks/{stem}"
        page = Page(self.language, stem, Pictures("img/", self.language))
        title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
        self.adapt(notebook, stem, place)
        blocks, proof = lesson_page(notebook, page)
        if self.language == "en":
            self.write_proof(stem, title, proof, page.pictures)
            blocks.append(f'<a href="know/{stem}.html">{self.labels["claims"]}</a>')
        else:  # there is no page of its own
            blocks += proof
        if questions := self.quizzes.get(slug(path)):
            form = quiz(questions, "q", page, {slug(path): ""})
            blocks += [f"## {self.labels['questions']}", form]
        self.write(place, self.relinked("\n\n".join(blocks), source, place, page.pictures))
        self.keep(place, page.pictures)

    def adapt(self, notebook: NotebookNode, stem: str, place: str) -> None:
        """Leave out of the opening what only a kernel is for; lead to what can be played with."""
        notes = []
        if ADDRESS:
            links = (
                f"[{name}]({link.format(address=ADDRESS, stem=stem)})"
                for name, link in ELSEWHERE.items()
            )
            notes.append(" · ".join(links))
        notes.append(self.labels["here"])
        opening = notebook.cells[0]
        read = re.sub(r"(?m)^> \*\*.*\n?(?:^>.*\n?)*", "", opening.source).rstrip()
        title, _, text = read.partition("\n")
        opening.source = "\n".join([title, "", "> " + "\n>\n> ".join(notes), text])
        for cell in notebook.cells:
            name = PLAY.get((stem, cell.id))
            if name == "strips":
                here = reference.box(name, self.language) + piece(name)
                cell.source += f"\n\n> {self.labels['play']}\n\n{here}"
            elif name:
                played = SITE / self.own / "explore" / f"{name}.md"
                words = played.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
                link = f'<a href="../explore/{name}.html">{words}</a>'
                cell.source += f"\n\n> {self.labels['play']} {link}"

    def write_proof(self, stem: str, title: str, proof: list[str], pictures: Pictures) -> None:
        """Write the page of a lesson that says how we know."""
        place = f"notebooks/know/{stem}"
        places: dict[str, str] = {}  # each heading → where it stands
        for (own, cell), (there, heading) in self.cells.items():
            if own == stem:
                page_of_cell = "" if there == place else f"../{stem}.html"
                places.setdefault(heading, f"{page_of_cell}#cell-{cell}")
        text = reference.know(stem, title, proof, places)
        self.write(place, self.relinked(text, f"notebooks/{stem}.ipynb", place, pictures))

    # -- other pages --

    def write_text(self, source: str, place: str) -> None:
        """Write a page that is no lesson."""
        album, text = Pictures("img/", self.language), (ROOT / source).read_text(encoding="utf-8")
        text = self.relinked(self.rewritten(text, source, place, album), source, place, album)
        if place == "index":
            text += f"\n\n{reference.filled('menu', self.language)}{piece('front', 'strips')}"
        if place.startswith("explore/"):
            text += piece(Path(place).name)
        self.write(place, text)
        self.keep(place, album)

    def rewritten(self, text: str, source: str, place: str, album: Pictures) -> str:
        """Return the text of a page as the site shows it, where that is not as it is written."""
        if place == "index":
            return reference.landing(text, self.language)
        if place == "notebooks/FIFTY_MINUTES":
            self.files["files/slides/FIFTY_MINUTES.html"] = page_of(CLASS, self.language).encode()
            scripts = [path for path in sources() if path.stem in lessons(self.language)]
            return self.with_slides(text, {s: page_of(s, self.language) for s in scripts})
        if place == "notebooks/GLOSSARY":
            return reference.glossary(text, self.language)
        if place == "figures/index":
            names = {slug(p): p.name for p in lessons("en").values()}
            return reference.gallery(text, names, album)
        return reference.ledger(text) if place == "figures/ledger" else text

    def with_slides(self, text: str, slides: Mapping[Path, str]) -> str:
        """Return a page with links to the slides of lessons below its title."""
        links = []
        for path, page in slides.items():
            self.files[f"files/slides/{path.stem}.html"] = page.encode()
            links.append(f'<a href="../files/slides/{path.stem}.html">{path.stem[:2]}</a>')
        told = reference.filled("slides", self.language, lessons=", ".join(links))
        return text.replace("\n", f"\n\n{told}\n", 1)

    def write_questions(self) -> None:
        """Write the page of the final, which leads to the questions on each lesson."""
        place, stems = "notebooks/QUIZZES", list(lessons(self.language))
        where = {stem.partition("_")[2]: f"{stem}.html" for stem in stems}
        form = quiz(self.quizzes[FINAL], "final", Page(self.language, "", Pictures("img/")), where)
        anchor = re.sub(r"[^\w -]", "", self.labels["questions"].lower()).replace(" ", "-")
        files: dict[str, list[str]] = {"gift.txt": [], "html": []}
        for name, text in quiz_files(NOTEBOOKS / "src" / self.own).items():
            self.files[f"files/quizzes/{name}"] = text.encode()
            stem, _, kind = name.partition(".")
            words = stem if stem == FINAL else stem[:2]
            files[kind].append(f'<a href="../files/quizzes/{name}">{words}</a>')
        parts = {
            "form": form,
            "list": "\n".join(f"- [{stem[:2]}]({stem}.md#{anchor})" for stem in stems),
            "gift": ", ".join(files["gift.txt"]),
            "paper": ", ".join(files["html"]),
        }
        self.write(place, reference.filled("quizzes", self.language, **parts))

    # -- links --

    def relinked(self, text: str, source: str, place: str, pictures: Pictures) -> str:
        """Return the Markdown of a source with each link as it is from ``place`` on the site."""

        def relink(link: re.Match[str]) -> str:
            picture, words, target = link.groups()
            path, _, part = target.partition("#")
            read = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
            if picture and read.endswith(".png") and (ROOT / read).is_file():
                return pictures.tag(Path(read).stem, (ROOT / read).read_bytes(), words)
            address = self.address(read, place)
            if address is None:
                raise BuildError(f"{source}: a link to {target}, which is not there")
            address += f"#{part}" if part else ""
            if picture:
                return f'<img src="{address}" loading="lazy" alt="{html.escape(words)}">'
            if read in self.pages:  # Sphinx follows it, and knows the headings
                return f"[{words}]({address})"
            return f'<a href="{address}">{words}</a>'

        text = CELLS.sub(lambda m: self.cell_links(*m.groups(), place), text)
        parts, at = [], 0
        for fence in FENCE.finditer(text):
            parts += [LINK.sub(relink, text[at : fence.start()]), fence[0]]
            at = fence.end()
        return "".join([*parts, LINK.sub(relink, text[at:])])

    def address(self, read: str, place: str) -> str | None:
        """Return how a page leads to what is read from the repository, None if there is no such."""
        if read in self.pages:
            return f"{up(place)}{self.pages[read]}.md"
        if read in self.elsewhere:
            return f"{up(place)}../{self.elsewhere[read]}"
        if (ROOT / read).is_file():  # not a page: it lies beside them, to be downloaded
            self.files.setdefault(f"files/{read}", (ROOT / read).read_bytes())
            return f"{up(place)}files/{read}"
        return None

    def cell_links(self, number: str, lesson: str, names: str, place: str) -> str:
        """Return links to cells of a lesson, in this language if it has that lesson.

        A link says the heading above the cell: nobody who reads knows its id.
        """
        language = "" if lesson in lessons(self.language) else "../en/"
        links: dict[str, str] = {}  # by their words: of two cells below one heading the first
        for cell in re.findall("`(.+?)`", names):
            if (lesson, cell) not in self.cells:
                raise BuildError(f"{place}: a link to {lesson}, which has no cell {cell}")
            there, title = self.cells[lesson, cell]
            words = inline(title) if title else self.labels["start"]
            address = f"{up(place)}{language}{there}.html#cell-{cell}"
            links.setdefault(words, f'<a href="{address}">{words}</a>')
        return f"{number} {', '.join(links.values())}"


# -- every link is followed -----------------------------------------------------------------------


class Links(HTMLParser):
    """The places of a page, where it leads, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.places: set[str | None] = {""}
        self.leads: set[str] = set()
        self.loads: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what one tag brings."""
        found = {name: value or "" for name, value in attrs}
        self.places.add(found.get("id"))
        if tag == "a":
            self.leads.add(found.get("href", "").strip())
        if tag == "link" and "canonical" not in found.get("rel", ""):
            self.loads.add(found.get("href", ""))
        self.loads |= {found.get("src", ""), found.get("data-sheet", "")}


def dead_links(folder: Path) -> Iterator[str]:
    """Name each link of a site that leads nowhere, and what is loaded from another host."""
    read = {path: Links(path) for path in sorted(folder.rglob("*.html"))}
    for path, page in read.items():
        name = path.relative_to(folder)
        for address in page.loads:
            if urlsplit(address).scheme not in ("", "data") or address.startswith("//"):
                yield f"{name}: loads {address} from another host"
        for address in filter(None, page.leads | page.loads):
            if why := leads_nowhere(address, path, read):
                yield f"{name}: leads to {address}, which {why}"


def leads_nowhere(address: str, path: Path, read: Mapping[Path, Links]) -> str | None:
    """Say what is wrong with where a page leads; ``read`` holds the pages of the site."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "is not there"
    if target in read and unquote(parts.fragment) not in read[target].places:
        return "has no such place"
    return None
