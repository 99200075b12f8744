"""The pages of the web edition in one language, written in a folder as Sphinx reads them.

They lie in folders as those of the repository do, so that links between them stay as they are.
"""

from __future__ import annotations

import html
import os
import re
from pathlib import Path

from builder import appendix
from builder.appendix import tree
from builder.editions import load
from builder.quiz import FINAL, read_quizzes
from builder.slides import CELL
from builder.source import NOTEBOOKS, BuildError, slug
from builder.webpage import LABELS, Page, Pictures, lesson_page, quiz
from lora_edu.files import write_whole

ROOT = NOTEBOOKS.parent
CORE = ["counting", "lowrank", "reference", "layers", "adapt", "checkpoint", "variants", "quantize"]
MORE = ["memory", "chat", "finetune", "assets"]  # what one uses after the course
EXPLORABLES = ["rank", "ellipse", "calculator"]
BENCHES = ["layers", "model", "breakdown", "svd", "chat"]
# The pages beside the lessons, in the order of the menu: what is read → where it is on the site.
BESIDE = {
    "Explore": {f"notebooks/site/explore/{name}.md": f"explore/{name}" for name in EXPLORABLES},
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
MEASURED = {"tests/benchmarks/README.md": "tests/benchmarks/index"} | {
    f"tests/benchmarks/{name}.md": f"tests/benchmarks/{name}" for name in BENCHES
}
# Pages that stand below another one in the menu.
BELOW = {
    "lora_edu/index": [f"api/{name}" for name in CORE + MORE],
    "tests/index": ["benchmarks/index"],
    "tests/benchmarks/index": BENCHES,
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
    return ["en", *(found.parent.name for found in sorted(NOTEBOOKS.glob("site/??/index.md")))]


def pages(language: str) -> dict[str, str]:
    """Return the pages of a language to which others lead: what is read → where it is."""
    folder = "notebooks" if language == "en" else f"notebooks/{language}"
    found = {f"{folder}/{stem}.ipynb": f"notebooks/{stem}" for stem in lessons(language)}
    if language != "en":
        return {f"notebooks/site/{language}/index.md": "index", **found}
    others = {source: place for part in BESIDE.values() for source, place in part.items()}
    return {"README.md": "index", **found, **others, **MEASURED}


def cells() -> dict[tuple[str, str], str]:
    """Return the page on which each cell of a lesson stands."""
    found = {}
    for stem, path in lessons("en").items():
        notebook, proof = load(path), False
        for cell in notebook.cells if notebook else []:
            if cell.cell_type == "markdown" and cell.source.startswith("## "):
                proof = cell.id == "know"
            found[stem, cell.id] = f"notebooks/know/{stem}" if proof else f"notebooks/{stem}"
    return found


def up(place: str) -> str:
    """Return the way from a page to the root of its language."""
    return "../" * place.count("/")


def read_here(opening: str, note: str) -> str:
    """Return the opening of a lesson without what only a kernel is for, and with a note instead."""
    return re.sub(r"(?m)^> \*\*.*\n?(?:^>.*\n?)*", "", opening).rstrip() + f"\n\n> {note}"


# -- the pages ------------------------------------------------------------------------------------


class Stage:
    """The pages of one language.

    Attributes
    ----------
    folder : Path
        Where they are written.
    pages : dict
        What is read → where it is on the site, without suffix.
    files : dict
        What is no page: place on the site → content. Pictures are those of the English pages.
    """

    def __init__(self, language: str, folder: Path) -> None:
        self.language, self.folder = language, folder
        self.pages, self.english, self.cells = pages(language), pages("en"), cells()
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
            self.write("notebooks/know/index", appendix.know_index(list(lessons("en"))))
            for name in CORE + MORE:
                self.write(f"lora_edu/api/{name}", appendix.api(name))

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
            folder = Path(place).parent / "img"
            self.files |= {str(folder / name): data for name, data in pictures.files.items()}

    def lesson(self, stem: str, path: Path) -> None:
        """Write a lesson, and the page that says how we know."""
        notebook = load(path)
        if notebook is None:
            raise BuildError(f"{path.name}: there is no notebook; run `make notebooks`")
        source, place = str(path.relative_to(ROOT)), f"notebooks/{stem}"
        page = Page(self.language, stem, self.album(place))
        opening = notebook.cells[0]
        title = opening.source.splitlines()[0].lstrip("# ")
        opening.source = read_here(opening.source, page.labels["here"])
        blocks, proof = lesson_page(notebook, page)
        if self.language == "en":
            know = f"notebooks/know/{stem}"
            text = appendix.know(stem, title, proof)
            self.write(know, self.relinked(text, source, know, page.pictures))
            claims = f'<a href="know/{stem}.html">{page.labels["claims"]}</a>'
            blocks.append(f"**{page.labels['know']}.** {claims}")
        if questions := self.quizzes.get(slug(path)):
            form = quiz(questions, "q", page, {slug(path): ""})
            blocks += [f"## {page.labels['questions']}", form]
        self.write(place, self.relinked("\n\n".join(blocks), source, place, page.pictures))
        self.keep(place, page.pictures)

    def beside(self, source: str, place: str) -> None:
        """Write a page that is no lesson."""
        album, text = self.album(place), (ROOT / source).read_text(encoding="utf-8")
        if source == "README.md":
            text = appendix.landing(text)
        elif source == "notebooks/GLOSSARY.md":
            text = appendix.glossary(text)
        elif source == "figures/README.md":
            names = {slug(path): path.name for path in lessons("en").values()}
            text = appendix.gallery(text, names)
        elif source == "figures/ledger.md":
            text = appendix.ledger(text)
        text = self.relinked(text, source, place, album)
        if place == "index":
            text += f"\n\n{self.menu()}\n"
        if place in BELOW:
            text += f"\n\n{tree(BELOW[place])}\n"
        if place.startswith("explore/"):
            names = ("explorables", Path(place).name)
            text += "".join(f'\n<script src="STATIC/{name}.js"></script>' for name in names)
        self.write(place, text)
        self.keep(place, album)

    def questions(self) -> None:
        """Write the page of the final, which leads to the questions on each lesson."""
        place, stems = "notebooks/QUIZZES", list(lessons(self.language))
        where = {stem.partition("_")[2]: f"{stem}.html" for stem in stems}
        form = quiz(self.quizzes[FINAL], "final", Page("en", "", self.album(place)), where)
        anchor = re.sub(r"[^\w -]", "", LABELS["en"]["questions"].lower()).replace(" ", "-")
        links = "\n".join(f"- [{stem[:2]}]({stem}.md#{anchor})" for stem in stems)
        self.write(place, appendix.filled("quizzes", form=form, list=links))

    def menu(self) -> str:
        """Return the menu, which stands hidden on the first page."""
        own = [f"notebooks/{stem}" for stem in lessons(self.language)]
        parts = {LABELS[self.language]["lessons"]: own}
        if self.language == "en":
            parts |= {title: list(group.values()) for title, group in BESIDE.items()}
            parts["Look it up"] += ["notebooks/QUIZZES", "notebooks/know/index"]
        return "\n\n".join(tree(places, title) for title, places in parts.items())

    # -- links --

    def relinked(self, text: str, source: str, place: str, pictures: Pictures) -> str:
        """Return the Markdown of a source with each link as it is from ``place`` on the site."""
        text = CELL.sub(lambda m: self.cell_link(*m.groups(), place), text)
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
            read = os.path.normpath(os.path.join(os.path.dirname(source), path))
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
        if read in self.english:
            return f"{up(place)}../en/{self.english[read]}.html"
        if (ROOT / read).is_file():  # not a page: it lies beside them, to be downloaded
            self.files.setdefault(f"files/{read}", (ROOT / read).read_bytes())
            return f"{up(place)}files/{read}"
        return None

    def cell_link(self, number: str, lesson: str, cell: str, place: str) -> str:
        """Return a link to a cell of a lesson, in this language if it has that lesson."""
        there = self.cells.get((lesson, cell))
        if there is None:
            raise BuildError(f"{place}: a link to {lesson}, which has no cell {cell}")
        language = "" if lesson in lessons(self.language) else "../en/"
        address = f"{up(place)}{language}{there}.html#cell-{cell}"
        return f'{number} <a href="{address}"><code>{cell}</code></a>'
