"""The pages of the web edition in one language, written in a folder as Sphinx reads them.

They lie in folders as those of the repository do, so that links between them stay as they are.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from builder.appendix import (
    api,
    filled,
    gallery,
    glossary,
    inline,
    know,
    know_index,
    landing,
    ledger,
    tree,
)  # fmt: skip
from builder.editions import load
from builder.quiz import FINAL, headings, read_quizzes
from builder.sheets import quiz_files
from builder.slides import page as slides_of
from builder.slides import page_of
from builder.source import NOTEBOOKS, BuildError, slug, sources, tags
from builder.webpage import LABELS, Page, Pictures, film, lesson_page, quiz, results
from lora_edu.files import write_whole

ROOT = NOTEBOOKS.parent
CORE = ["counting", "lowrank", "reference", "layers", "adapt", "checkpoint", "variants", "quantize"]
MORE = ["memory", "chat", "finetune", "assets"]  # what one uses after the course
EXPLORABLES = {
    "en": {
        "rank": "How many directions does it need?",
        "ellipse": "A circle becomes an ellipse",
        "calculator": "How many numbers train, and do they fit?",
    },
    "vi": {
        "rank": "Cần bao nhiêu hướng?",
        "ellipse": "Đường tròn biến thành elip",
        "calculator": "Huấn luyện bao nhiêu số, và có vừa bộ nhớ không?",
    },
}
# Where a lesson leads to one of them.
PLAY = {
    ("01_matrix_example", "name-text"): "rank",
    ("02_rank_and_svd", "svd"): "ellipse",
    ("02_rank_and_svd", "tail"): "rank",
    ("05_counting_parameters", "memory"): "calculator",
}
# The pages beside the lessons, in the order of the menu: what is read → where it is on the site.
BESIDE = {
    "Explore": {
        f"notebooks/site/explore/{name}.md": f"explore/{name}" for name in EXPLORABLES["en"]
    },
    "Look it up": {
        "notebooks/DECISIONS.md": "notebooks/DECISIONS",
        "notebooks/TROUBLESHOOTING.md": "notebooks/TROUBLESHOOTING",
        "notebooks/GLOSSARY.md": "notebooks/GLOSSARY",
        "figures/README.md": "figures/index",
        "figures/ledger.md": "figures/ledger",
    },
    "Teach it": {
        "notebooks/FIFTY_MINUTES.md": "notebooks/FIFTY_MINUTES",
        "notebooks/TEACHING.md": "notebooks/TEACHING",
    },
    "Use it": {
        "notebooks/README.md": "notebooks/index",
        "notebooks/SETUP.md": "notebooks/SETUP",
        "notebooks/BIGGER.md": "notebooks/BIGGER",
        "lora_edu/README.md": "lora_edu/index",
    },
    "The project": {
        "CONTRIBUTING.md": "CONTRIBUTING",
        "CHANGELOG.md": "CHANGELOG",
        "tests/README.md": "tests/index",
    },
}
MEASURED = {"tests/benchmarks/README.md": "tests/benchmarks/index"}
# Pages that stand below another one in the menu.
BELOW = {
    "lora_edu/index": [f"api/{name}" for name in CORE + MORE],
    "tests/index": ["benchmarks/index"],
}
CELLS = re.compile(r"\[(\d\d)\]\((\d\d_\w+)\.ipynb\) (`[a-z0-9-]+`(?:, `[a-z0-9-]+`)*)")
FRAMED = re.compile(r"(?m)^> \[(\d\d)\]\((\d\d_\w+)\.ipynb\) `([a-z0-9-]+)`$")
ADDRESS = ""  # OWNER/NAME of the repository on GitHub; with it, lessons lead to Binder and Colab
ELSEWHERE = {
    "Binder": "https://mybinder.org/v2/gh/{address}/main?labpath=notebooks/{stem}.ipynb",
    "Colab": "https://colab.research.google.com/github/{address}/blob/main/notebooks/{stem}.ipynb",
}
FENCE = re.compile(r"(?ms)^(`{3,}).*?^\1`*[ \t]*$")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\((?!https?:|mailto:|#)([^)\s]+)\)")


# -- what there is --------------------------------------------------------------------------------


def lessons(language: str) -> dict[str, Path]:
    """Return the lessons of a language: their names, such as 01_matrix_example → notebooks."""
    folder = NOTEBOOKS if language == "en" else NOTEBOOKS / language
    return {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}


def languages() -> list[str]:
    """Return the languages of the site, English first."""
    return ["en", *(found.name.split(".")[1] for found in sorted(ROOT.glob("README.??.md")))]


def pages(language: str) -> dict[str, str]:
    """Return the pages of a language to which others lead: what is read → where it is."""
    folder = "notebooks" if language == "en" else f"notebooks/{language}"
    found = {f"{folder}/{stem}.ipynb": f"notebooks/{stem}" for stem in lessons(language)}
    if language != "en":
        beside = sorted(NOTEBOOKS.glob(f"{language}/*.md"))
        own = {f"{folder}/{path.name}": f"notebooks/{path.stem}" for path in beside}
        played = {
            f"notebooks/site/{language}/explore/{name}.md": f"explore/{name}"
            for name in EXPLORABLES[language]
        }
        return {f"README.{language}.md": "index", **found, **own, **played}
    others = {source: place for part in BESIDE.values() for source, place in part.items()}
    return {"README.md": "index", **found, **others, **MEASURED}


def cells(language: str) -> dict[tuple[str, str], tuple[str, str]]:
    """Return of each cell of a lesson the page on which it stands, and the heading above it.

    The heading is in the language if it has that lesson.
    """
    found = {}
    for stem, path in (lessons("en") | lessons(language)).items():
        notebook, proof = load(path), False
        above = headings(notebook.cells if notebook else [])
        for cell in notebook.cells if notebook else []:
            if cell.cell_type == "markdown" and cell.source.startswith("## "):
                proof = cell.id == "know"
            apart = proof and (language == "en" or stem not in lessons(language))
            place = f"notebooks/know/{stem}" if apart else f"notebooks/{stem}"
            found[stem, cell.id] = place, re.sub(r"^\d+ · ", "", above[cell.id])
    return found


def up(place: str) -> str:
    """Return the way from a page to the root of its language."""
    return "../" * place.count("/")


def read_here(opening: str, note: str) -> str:
    """Return the opening of a lesson without what only a kernel is for, and with a note instead."""
    read = re.sub(r"(?m)^> \*\*.*\n?(?:^>.*\n?)*", "", opening).rstrip()
    title, _, text = read.partition("\n")
    return f"{title}\n\n> {note}\n{text}"


# -- the pages ------------------------------------------------------------------------------------


class Stage:
    """The pages of one language.

    Attributes
    ----------
    folder : Path
        Where they are written.
    live : dict, optional
        The slugs of the lessons that run on the site → what that loads, in MB: a button says so.
    pages : dict
        What is read → where it is on the site, without suffix.
    files : dict
        What is no page: place on the site → content. Pictures are those of the English pages.
    """

    def __init__(self, language: str, folder: Path, live: Mapping[str, int] | None = None) -> None:
        self.language, self.folder, self.live = language, folder, live or {}
        self.pages, self.cells = pages(language), cells(language)
        others = [other for other in languages() if other != language]
        self.elsewhere = {
            read: f"{other}/{place}.html"
            for other in reversed(others)  # English last: of two it is the one
            for read, place in pages(other).items()
        }
        self.files: dict[str, bytes] = {}
        self.quizzes = read_quizzes(NOTEBOOKS / "src" / ("" if language == "en" else language))

    def write_all(self) -> None:
        """Write every page."""
        for stem, path in lessons(self.language).items():
            self.lesson(stem, path)
        for source, place in self.pages.items():
            if not source.endswith(".ipynb"):
                self.beside(source, place)
        if self.language == "en":
            self.questions()
            self.write("notebooks/know/index", know_index(list(lessons("en"))))
            for name in CORE + MORE:
                self.write(f"lora_edu/api/{name}", api(name))

    def write(self, place: str, text: str) -> None:
        """Write one page."""
        write_whole(self.folder / f"{place}.md", text.replace("STATIC/", f"{up(place)}_static/"))

    def album(self, place: str) -> Pictures:
        """Return what a page keeps its pictures in."""
        there = "img/" if self.language == "en" else f"{up(place)}../en/{Path(place).parent}/img/"
        return Pictures(there)

    def keep(self, place: str, pictures: Pictures) -> None:
        """Keep the pictures of a page; a translation shows the English ones."""
        if self.language == "en":
            folder = posixpath.join(posixpath.dirname(place), "img")
            self.files |= {f"{folder}/{name}": data for name, data in pictures.files.items()}

    def lesson(self, stem: str, path: Path) -> None:
        """Write a lesson, and the page that says how we know."""
        notebook = load(path)
        if notebook is None:
            raise BuildError(f"{path.name}: there is no notebook; run `make notebooks`")
        source, place = path.relative_to(ROOT).as_posix(), f"notebooks/{stem}"
        page = Page(self.language, stem, self.album(place))
        opening = notebook.cells[0]
        title = opening.source.splitlines()[0].lstrip("# ")
        opening.source = read_here(opening.source, page.labels["here"])
        if slug(path) in self.live:
            there = f"{up(place)}../live/notebooks/index.html?path={stem}.ipynb"
            words = page.labels["live"].format(self.live[slug(path)])
            button = f'<a class="live" href="{there}">{words}</a>'
            opening.source = opening.source.replace("\n> ", f"\n> {button}\n>\n> ", 1)
        if ADDRESS:
            links = (
                f"[{name}]({link.format(address=ADDRESS, stem=stem)})"
                for name, link in ELSEWHERE.items()
            )
            opening.source = opening.source.replace("\n> ", f"\n> {' · '.join(links)}\n>\n> ", 1)
        for cell in notebook.cells:
            if explorable := PLAY.get((stem, cell.id)):
                link = f"../explore/{explorable}.html"
                words = EXPLORABLES[self.language][explorable]
                cell.source += f'\n\n> ▶ {page.labels["play"]} <a href="{link}">{words}</a>'
        blocks, proof = lesson_page(notebook, page)
        if self.language == "en":
            proven = f"notebooks/know/{stem}"
            places: dict[str, str] = {}  # each heading → where it stands
            for (own, cell), (there, heading) in self.cells.items():
                if own == stem:
                    page_of_cell = "" if there == proven else f"../{stem}.html"
                    places.setdefault(heading, f"{page_of_cell}#cell-{cell}")
            text = know(stem, title, proof, places)
            self.write(proven, self.relinked(text, source, proven, page.pictures))
            claims = f'<a href="know/{stem}.html">{page.labels["claims"]}</a>'
            blocks.append(claims)
        else:  # there is no page of its own
            blocks += proof
        if questions := self.quizzes.get(slug(path)):
            form = quiz(questions, "q", page, {slug(path): ""})
            blocks += [f"## {page.labels['questions']}", form]
        self.write(place, self.relinked("\n\n".join(blocks), source, place, page.pictures))
        self.keep(place, page.pictures)

    def beside(self, source: str, place: str) -> None:
        """Write a page that is no lesson."""
        album, text = self.album(place), (ROOT / source).read_text(encoding="utf-8")
        text = self.rewritten(text, source, place, album)
        text = self.relinked(text, source, place, album)
        if place == "index":
            text += f"\n\n{self.menu()}\n"
        if place in BELOW:
            text += f"\n\n{tree(BELOW[place])}\n"
        if place.startswith("explore/"):
            names = ("explorables", Path(place).name)
            text += "".join(f'\n<script defer src="STATIC/{name}.js"></script>' for name in names)
        self.write(place, text)
        self.keep(place, album)

    def rewritten(self, text: str, source: str, place: str, album: Pictures) -> str:
        """Return the text of a page as the site shows it, where that is not as it is written."""
        if place == "index":
            return landing(text, self.language)
        if source == "notebooks/FIFTY_MINUTES.md":
            return self.class_on_screen(text, album)
        if place == "notebooks/TEACHING" and self.language != "en":
            scripts = [path for path in sources() if path.stem in lessons(self.language)]
            for script in scripts:
                slides = slides_of(script, self.language).encode()
                self.files[f"files/slides/{script.stem}.html"] = slides
            return self.with_slides(text, scripts)
        if place == "notebooks/GLOSSARY":
            return glossary(text, self.language)
        if source == "figures/README.md":
            return gallery(text, {slug(path): path.name for path in lessons("en").values()})
        return ledger(text) if source == "figures/ledger.md" else text

    def class_on_screen(self, text: str, album: Pictures) -> str:
        """Return the script of a class with what its slides show, and where they are."""

        def show(frame: re.Match[str]) -> str:
            number, stem, name = frame.groups()
            notebook = load(lessons("en")[stem])
            cells = notebook.cells if notebook else []
            at = next((i for i, cell in enumerate(cells) if cell.id == name), None)
            if at is None:
                raise BuildError(f"FIFTY_MINUTES.md: {stem} has no cell {name}")
            page = Page("en", stem, album)
            if "live" in tags(cells[at]):
                blocks = [
                    block for block in film(cells, at, page)[0] if block.startswith("<figure")
                ]
            else:
                blocks = list(results(cells, at, page))
            shown = "\n\n".join([*blocks, f"[{number}]({stem}.ipynb) `{name}`"])
            return "\n".join(f"> {row}".rstrip() for row in shown.split("\n"))

        scripts = [NOTEBOOKS / "FIFTY_MINUTES.md", *sources()]
        for script in scripts:
            self.files[f"files/slides/{script.stem}.html"] = page_of(script).encode()
        return self.with_slides(FRAMED.sub(show, text), scripts[1:])

    def with_slides(self, text: str, scripts: Iterable[Path]) -> str:
        """Return a page with links to the slides of lessons below its title."""
        title, _, rest = text.partition("\n")
        links = (
            f'<a href="../files/slides/{script.stem}.html">{script.stem[:2]}</a>'
            for script in scripts
        )
        return f"{title}\n\n{filled('slides', self.language, lessons=', '.join(links))}\n{rest}"

    def questions(self) -> None:
        """Write the page of the final, which leads to the questions on each lesson."""
        place, stems = "notebooks/QUIZZES", list(lessons(self.language))
        where = {stem.partition("_")[2]: f"{stem}.html" for stem in stems}
        form = quiz(self.quizzes[FINAL], "final", Page("en", "", self.album(place)), where)
        anchor = re.sub(r"[^\w -]", "", LABELS["en"]["questions"].lower()).replace(" ", "-")
        links = "\n".join(f"- [{stem[:2]}]({stem}.md#{anchor})" for stem in stems)
        files = {kind: [] for kind in (".gift.txt", ".html")}
        for name, text in quiz_files(NOTEBOOKS / "src").items():
            self.files[f"files/quizzes/{name}"] = text.encode()
            stem, _, kind = name.partition(".")
            words = stem if stem == FINAL else stem[:2]
            files[f".{kind}"].append(f'<a href="../files/quizzes/{name}">{words}</a>')
        gift, paper = (", ".join(each) for each in files.values())
        self.write(place, filled("quizzes", form=form, list=links, gift=gift, paper=paper))

    def menu(self) -> str:
        """Return the menu, which stands hidden on the first page."""
        own = [f"notebooks/{stem}" for stem in lessons(self.language)]
        parts = {LABELS[self.language]["lessons"]: own}
        if self.language == "en":
            parts |= {title: list(group.values()) for title, group in BESIDE.items()}
            parts["Look it up"] += ["notebooks/QUIZZES", "notebooks/know/index"]
        else:
            parts[LABELS[self.language]["more"]] = [
                place for place in self.pages.values() if place not in (*own, "index")
            ]
        return "\n\n".join(tree(places, title) for title, places in parts.items())

    # -- links --

    def relinked(self, text: str, source: str, place: str, pictures: Pictures) -> str:
        """Return the Markdown of a source with each link as it is from ``place`` on the site."""
        text = CELLS.sub(lambda m: self.cell_links(*m.groups(), place), text)
        parts, at = [], 0
        for fence in FENCE.finditer(text):
            parts += [self.links(text[at : fence.start()], source, place, pictures), fence[0]]
            at = fence.end()
        return "".join([*parts, self.links(text[at:], source, place, pictures)])

    def links(self, text: str, source: str, place: str, pictures: Pictures) -> str:
        """Do the same for a text without fences."""

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

        return LINK.sub(relink, text)

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

    def cell_links(self, number: str, lesson: str, cells: str, place: str) -> str:
        """Return links to cells of a lesson, in this language if it has that lesson.

        A link says the heading above the cell: nobody who reads knows its id.
        """
        language = "" if lesson in lessons(self.language) else "../en/"
        links: dict[str, str] = {}  # by their words: of two cells below one heading the first
        for cell in re.findall("`(.+?)`", cells):
            if (lesson, cell) not in self.cells:
                raise BuildError(f"{place}: a link to {lesson}, which has no cell {cell}")
            there, title = self.cells[lesson, cell]
            words = inline(title) if title else LABELS[self.language]["start"]
            address = f"{up(place)}{language}{there}.html#cell-{cell}"
            links.setdefault(words, f'<a href="{address}">{words}</a>')
        return f"{number} {', '.join(links.values())}"
