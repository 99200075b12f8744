"""A committed notebook, or the script of a class → slides: one HTML file for a browser alone.

Cells tagged `slide` begin a slide, and so does a `###` heading in them. Cells tagged `fragment`
come onto it at the next key press, and so does what a code cell prints. A question stands with its
choices; its answer, marked, is on the next slide. A picture has a slide of its own: one of the
gallery is drawn for it, wide, its words in 18 points. Left out are the code that draws a picture,
that of a prediction, and all other cells; the text of these stands in the presenter's view.
Pictures are inside the file, formulas are MathML, and reveal.js (https://revealjs.com) is inside,
too: it turns the slides, and has the presenter's view, the overview and the pages for a PDF.

What is written can be read from the back row: code in 24 pixels on a screen of 1280 x 720, and ten
lines of it on a slide. The browser makes it as large as there is room, and cuts what is longer.

A class, `notebooks/NAME.md`, is a script for a teacher. What stands in its frames (`>`) goes onto
the screen: words as they are; in place of a lesson and a cell, such as
``[01](01_matrix_example.ipynb) `film```, what that cell shows, of a `live` cell the player; with
`, picture` or `, table` behind it, that alone. A numbered list is a question's choices; what stands
in bold is right, and is marked on the next slide, above what the frame shows after the list. All
other text, to the next frame, is for the presenter; a bold number, such as **12.**, is the minute.
"""

import ast
import base64
import html
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from latex2mathml.converter import convert
from matplotlib.figure import Figure
from matplotlib.text import Text
from nbconvert.filters import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

from builder.editions import (
    LANGUAGES,
    built_path,
    draws,
    in_figures,
    loaded,
    offered,
    outputs,
    printed,
    told_by,
)
from builder.questions import FRAME, filled, inlined
from builder.source import BuildError, read_text, slug, tags
from builder.translate import languages
from lora_edu.course.figures import Entry
from lora_edu.course.plots import ENLARGED, STYLE, STYLES, small_png
from lora_edu.course.say import say, speaking
from lora_edu.files import write_whole

REVEAL = files("sphinx_revealjs") / "_static" / "revealjs"  # a package of PyPI that carries it
INCHES = 12.2, 5.3  # of a picture on a slide of 13.3 x 7.5


class Part(NamedTuple):
    """What comes onto a slide at once."""

    html: str
    kind: str = ""  # "picture", "film", "question", "answer", or "title": it begins one


@dataclass
class Slide:
    """A slide: its title, or the section that it is of; its parts; what the presenter reads."""

    head: str
    parts: list[Part] = field(default_factory=list)
    notes: str = ""
    minute: float = 0  # when a class comes to it
    seconds: int = 0  # how long it has, for the presenter's clock

    def page(self, stepwise: bool) -> str:
        """Return it as HTML; ``stepwise``, each part but the first waits for a key."""
        shown, seen = [], []  # a picture stands at the left of its question
        asks = any(part.kind == "question" for part in self.parts)
        asks = asks and not any("<table" in part.html for part in self.parts)  # which is as wide
        for i, (inside, kind) in enumerate(self.parts):
            step = " fragment" if stepwise and i > 0 and kind != "question" else ""
            here = seen if asks and kind == "picture" else shown
            here.append(f'<div class="{kind}{step}">{inside}</div>')
        if seen:
            shown = [*seen, f"<div>{''.join(shown)}</div>"]
        timing = f' data-timing="{self.seconds}"' if self.seconds else ""
        notes = f'<aside class="notes">{self.notes}</aside>' if self.notes else ""
        content = f'<div class="content{" beside" if seen else ""}">{"".join(shown)}</div>'
        return f"<section{timing}>\n{self.head}\n{content}\n{notes}</section>"


MOST_LINES, MOST_PRINTED, WIDE = 10, 16, 78  # lines of code and of output on a slide; signs a line


class Renderer(IPythonRenderer):
    """Markdown with formulas as MathML, which browsers draw by themselves."""

    def inline_math(self, body: str) -> str:
        """Return a formula within a line."""
        return convert(body)

    def block_math(self, body: str) -> str:
        """Return a formula on a line of its own."""
        return convert(body, display="block")


def markdown(text: str) -> str:
    """Return Markdown as HTML."""
    renderer = Renderer(escape=False, exclude_anchor_links=True)
    return MarkdownWithMath(renderer=renderer).render(text)


def on_slide(text: str) -> str:
    """Return Markdown as HTML; a link to a page of the course, not beside slides, is words."""
    return markdown(re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", text))


def pieces(text: str, most: int, wide: int) -> list[str]:
    """Cut code, or what it prints, into pieces of so many lines at most, of so many signs each.

    It is cut where a line is blank, or else where one is least indented, never within a docstring.
    """
    rows = text.splitlines()
    found = []
    while True:
        fits = 0  # rows of the text; one that is wider than the slide takes several lines of it
        while fits < len(rows) and sum(lines_of(row, wide) for row in rows[: fits + 1]) <= most:
            fits += 1
        fits = max(fits, 1)
        if fits >= len(rows):
            return [*found, "\n".join(rows)]
        places = [i for i in range(2, fits + 1) if "\n".join(rows[:i]).count('"""') % 2 == 0]
        places = places or [fits]
        blank = [i for i in places if not rows[i].strip() and i > fits // 3]
        depth = {i: len(rows[i]) - len(rows[i].lstrip()) for i in places}
        at = blank[-1] if blank else max(places, key=lambda i: (-depth[i], i))
        found.append("\n".join(rows[:at]))
        rows = rows[at:]
        while rows and not rows[0].strip():
            rows = rows[1:]


def undrawn(code: str) -> str:
    """Leave out of the code of a picture what draws it; nothing is left if it does nothing else."""
    drawing = re.compile(r"\b(?:plt|plots|figures|axe?s?|fig)\.")
    kept, ideas = [], False
    rows = code.splitlines()
    for node in ast.parse(code).body:
        if drawing.search(ast.unparse(node)) and not isinstance(node, ast.FunctionDef):
            continue
        kept.append("\n".join(rows[node.lineno - 1 : node.end_lineno]))
        ideas = ideas or isinstance(node, (ast.Assign, ast.FunctionDef, ast.ClassDef))
    return "\n".join(kept) if ideas else ""


def highlighted(code: str) -> str:
    """Return code as HTML in colours; a row that is too long goes on further to the right."""
    code = code.strip("\n")
    found = re.fullmatch(r"(?s)(.*?<pre>)(.*?)\n?(</pre>.*)", Highlight2HTML()(code))
    assert found is not None, code
    before, rows, after = found.groups()
    parts = []
    for row, plain in zip(rows.split("\n"), code.split("\n"), strict=True):
        deep = len(plain) - len(plain.lstrip()) + 4
        parts.append(
            f'<span class="row" style="padding-left:{deep}ch;text-indent:-{deep}ch">{row}</span>'
        )
    return f"{before}{''.join(parts)}{after}"


def lines_of(row: str, wide: int) -> int:
    """Return how many lines of a slide a row takes: what is too long goes on, indented."""
    deep = len(row) - len(row.lstrip()) + 4
    return 1 + max(0, -(-(len(row) - wide) // max(wide - deep, 1)))


def parts(
    cell: NotebookNode, following: NotebookNode | None, lesson: str = "", language: str = "en"
) -> Iterator[Part]:
    """Yield what a cell brings onto slides: its text or code, then its outputs, in their order."""
    if cell.cell_type == "markdown":
        text = re.split(r"\n\*\*(?:You need|Bạn cần)\*\*", cell.source)[0]  # the title is short
        for piece in re.split(r"\n(?=### )", text) if "slide" in tags(cell) else [text]:
            titled = piece.startswith("#") and "slide" in tags(cell)
            yield Part(on_slide(piece), "title" if titled else "")
        return
    if "predict" in tags(cell):
        yield from question(cell, language)
        return
    code = undrawn(cell.source) if draws(cell) else cell.source
    code = re.sub(r"(?<=\S) {2,}#", "  #", code)  # comments in no column
    for piece in pieces(code, MOST_LINES, WIDE) if code else ():
        yield Part(highlighted(piece))
    yield from shown(cell, following, lesson, language)


def shown(
    cell: NotebookNode, following: NotebookNode | None, lesson: str, language: str = "en"
) -> Iterator[Part]:
    """Yield the outputs of a cell."""
    for output in outputs(cell):
        data = output.get("data", {})
        if "image/png" in data:
            alt = html.escape(re.sub(r"[*$`\\]", "", told_by(following)))
            entry = in_gallery(cell.source, lesson)
            png = wide(entry, language) if entry else data["image/png"].strip()
            yield Part(f'<img src="data:image/png;base64,{png}" alt="{alt}">', "picture")
        elif "text/html" in data:
            many = data["text/html"].count("<div") > MOST_LINES  # a conversation, in two columns
            yield Part(data["text/html"], "talk" if many else "")
        elif text := output.get("text") or data.get("text/plain"):
            for piece in pieces(text, MOST_PRINTED, WIDE):
                yield Part(f'<pre class="output">{html.escape(piece)}</pre>')


def in_gallery(code: str, lesson: str) -> Entry | None:
    """Return the figure of the gallery that a cell draws, if it does.

    One of numbers that the page alone has, which stand in the call as they are, is not there.
    """
    called = re.search(r"figures\.(\w+)\(([^()'\"]*)\)", code)
    if not (lesson and called):
        return None
    entry = getattr(import_module(f"lora_edu.course.{lesson}.figures"), called[1], None)
    return entry if isinstance(entry, Entry) else None


@cache
def numbers_of(entry: Entry) -> dict[str, object]:
    """Return the numbers of a figure, which is drawn for several kinds of pages."""
    return entry.numbers()


@cache
def wide(entry: Entry, language: str) -> str:
    """Draw a figure as large as a slide has room for, its words in 18 points; in base64.

    What Matplotlib lays out fills the room; parts that are placed grow together. Words are smaller
    where in 18 points more of them would run into one another.
    """
    buffer = io.BytesIO()
    with plt.rc_context(STYLES["slides"]):
        fig = entry.draw(numbers_of(entry), style="slides", language=language)
        room, before, scale = np.array(INCHES) / ENLARGED, fig.get_size_inches(), 1.0
        if fig.get_layout_engine() is None:
            scale = min(room / before)
            room = before * scale
        fig.set_size_inches(room)
        texts = [text for text in fig.findobj(Text) if text.get_text() and text.get_visible()]
        sizes = [scale * text.get_fontsize() for text in texts]
        most = STYLE["font.size"]
        at_rest = crowded(fig, texts, sizes)
        while most and crowded(fig, texts, [max(size, most) for size in sizes]) > at_rest:
            most = max(most - 1, 0)
        fig.savefig(buffer, format="png", bbox_inches="tight")
    plt.close(fig)
    return base64.b64encode(small_png(buffer.getvalue())).decode()


def crowded(fig: Figure, texts: Sequence[Text], sizes: Sequence[float]) -> int:
    """Give the words of a figure these sizes; return how many pairs of them meet."""
    for text, size in zip(texts, sizes, strict=True):
        text.set_fontsize(size)
    fig.canvas.draw()
    boxes = [text.get_window_extent() for text in texts]
    return sum(one.overlaps(other) for one, other in combinations(boxes, 2))


def question(cell: NotebookNode, language: str) -> Iterator[Part]:
    """Yield the choices of a prediction, and then its answer."""
    options, right = offered(cell)
    said = [html.escape(say(in_figures(option), language)) for option in options]
    if "predict(" not in cell.source:  # a vote
        yield from shown(cell, None, "")
    elif not options:
        yield Part(f"<p><b>{html.escape(' '.join(printed(cell).split()))}</b></p>", "answer")
    elif right not in options:  # the choice is a reader's own
        yield Part(choices(said), "question")
    else:
        yield Part(choices(said), "question")
        yield Part(choices(said, options.index(right)), "answer")


def choices(said: Sequence[str], right: int | None = None) -> str:
    """Return the choices of a question as a list; the right one is marked, if it is said."""
    marks = [' class="right"' if i == right else "" for i in range(len(said))]
    rows = "".join(f"<li{mark}>{each}</li>" for mark, each in zip(marks, said, strict=True))
    return f'<ol class="choices{"" if right is None else " answered"}">{rows}</ol>'


def slides(notebook: NotebookNode, lesson: str = "", language: str = "en") -> list[Slide]:
    """Return the slides of a notebook."""
    found: list[Slide] = []
    section, answered = "", False
    for cell, following in zip(notebook.cells, [*notebook.cells[1:], None], strict=True):
        if title := re.match(r"## (.+)", cell.source) if cell.cell_type == "markdown" else None:
            section = on_slide(title[1]).strip().replace("<p>", '<p class="kicker">')
        begins = "slide" in tags(cell)
        if not (begins or "fragment" in tags(cell)):
            if found and cell.cell_type == "markdown" and not {"hint", "quiz"} & {*tags(cell)}:
                found[-1].notes += on_slide(cell.source)
            continue
        if not (begins or found):
            raise BuildError(f"cell {cell.id}: a fragment before the first slide")
        for part in parts(cell, following, lesson, language):
            goes_on = answered and part.kind in ("", "picture")  # below the answer to a question
            alone = found and found[-1].parts and found[-1].parts[-1].kind == "picture"
            opens = ("title", "answer") if answered else ("title", "answer", "picture")
            if alone or (begins and not goes_on) or part.kind in opens:
                found.append(Slide(section))
            add(found[-1], part)
            begins, answered = False, part.kind == "answer"
    return found


def add(slide: Slide, part: Part) -> None:
    """Put a part onto a slide; a title above all that is on it."""
    title = re.match(r"(?s)\s*(<h[123].*?</h[123]>)(.*)", part.html)
    if title and not slide.parts:
        slide.head, part = title[1], Part(title[2].strip())
    if part.html:
        slide.parts.append(part)


def page(path: Path, language: str = "en") -> str:
    """Return the slides of the lesson whose source is ``path``, as one HTML page."""
    notebook = loaded(built_path(path, language))
    found = slides(notebook, slug(path), language)
    if not found:
        raise BuildError(f"{path.stem}: no cell is tagged `slide`")
    return as_page(notebook.cells[0].source, [each.page(stepwise=True) for each in found], language)


def as_page(text: str, found: list[str], language: str = "en") -> str:
    """Return slides as a page, whose title is the first line of the text."""
    inside = {
        "LANGUAGE": language,
        "TITLE": html.escape(text.splitlines()[0].lstrip("# ")),
        "REVEAL_CSS": (REVEAL / "dist" / "reveal.css").read_text(encoding="utf-8"),
        "HIGHLIGHT": HtmlFormatter().get_style_defs(".highlight"),
        "SLIDES": "\n".join(found),
        "REVEAL_JS": (REVEAL / "dist" / "reveal.js").read_text(encoding="utf-8"),
        "NOTES_JS": (REVEAL / "plugin" / "notes" / "notes.js").read_text(encoding="utf-8"),
    }
    return filled("slides.html", inside)


# -- a class --------------------------------------------------------------------------------------

CELL = re.compile(
    r"\[(\d\d)\]\((\d\d_\w+)\.ipynb\) `([a-z0-9-]+)`(?:, (picture|table))?"
)  # a lesson, a cell
LATE = re.compile("<em>(?=Late|Muộn)"), '<em style="background: #ffd75e; color: black">'


def class_page(script: Path) -> str:
    """Return the slides of a class, as one HTML page.

    Raises
    ------
    BuildError
        There is no frame, or one names a lesson or a cell that there is not, or a film that needs
        more than its name.
    """
    text = read_text(script)
    said, *rest = FRAME.split(text)
    if not rest:
        raise BuildError(f"{script.name}: no frame (`>`): nothing goes on a slide")
    found: list[Slide] = []
    section, position, minutes = "", len(said), clock(text)
    for i, (frame, after) in enumerate(zip(rest[::2], rest[1::2], strict=True)):
        section = ([section, *re.findall(r"(?m)^## (\d+ – \d+ · .+)", said)])[-1]
        words = next(filter(str.strip, rest[2 * i + 1 :: 2]), "")  # two frames in a row share them
        notes = LATE[0].sub(LATE[1], inlined(on_slide(words), script))
        start = float(np.interp(position, *minutes))
        for slide in in_a_frame(re.sub(r"(?m)^> ?", "", frame).strip(), script):
            slide.minute = start
            slide.notes = f"<p><b>{section} · ▶ {start:.0f}</b></p>{notes}"
            found.append(slide)
        said = after
        position += len(frame) + len(after)
    pace(found, end=minutes[1][-1])
    return as_page(text, [slide.page(stepwise=False) for slide in found], spoken_in(script))


def spoken_in(script: Path) -> str:
    """Return the language of a script: the name of its folder, or English."""
    return script.parent.name if script.parent.name in LANGUAGES else "en"


def clock(text: str) -> tuple[list[int], list[int]]:
    """Return where in a script it is which minute: its parts say it, and its bold numbers.

    What stands between two of them takes its time in proportion to the words.
    """
    parts = [*re.finditer(r"(?m)^## (\d+) – (\d+) · .+", text)]
    if not parts:
        return [0], [0]
    after = text.find("\n## ", parts[-1].end())
    marks = [(parts[0].start(), int(parts[0][1]))]
    marks += [(mark.start(), int(mark[1])) for mark in re.finditer(r"\*\*(\d+)\.\*\*", text)]
    marks.append((len(text) if after < 0 else after, int(parts[-1][2])))
    places, minutes = zip(*marks, strict=True)
    return list(places), list(minutes)


def pace(found: list[Slide], end: float) -> None:
    """Give slides the time until the minute of the next ones, in equal parts."""
    starts = [slide.minute for slide in found]
    for slide, start in zip(found, starts, strict=True):
        until = min((other for other in starts if other > start), default=end)
        slide.seconds = round(60 * (until - start) / starts.count(start))


def in_a_frame(frame: str, script: Path) -> list[Slide]:
    """Return the slides of a frame: one, or a question and its answer."""
    found = [Slide("")]
    for block in re.split(r"\n\s*\n", frame):
        if cell := CELL.fullmatch(block.strip()):
            for part in of_a_cell(script, *cell.groups()):
                add(found[-1], part)
        elif CELL.search(block):
            add(found[-1], Part(columns(block, script)))
        elif listed := re.findall(r"(?m)^\d\. +(.+)$", block):
            right = next((i for i, each in enumerate(listed) if each.startswith("**")), None)
            said = [on_slide(each.strip("*")).strip()[3:-4] for each in listed]
            add(found[-1], Part(choices(said), "question"))
            if right is not None:
                found.append(Slide(found[-1].head, [Part(choices(said, right), "answer")]))
        else:
            inside = inlined(on_slide(block), script)
            image = re.search("<img .*?>", inside)
            add(found[-1], Part(image[0], "picture") if image else Part(inside))
    return found


def columns(table: str, script: Path) -> str:
    """Return cells beside one another, as in a Markdown table of one row, each under its title."""
    rows = [[each.strip() for each in row.strip("| ").split("|")] for row in table.split("\n")]
    named = [CELL.fullmatch(cell) for cell in rows[-1]]
    if len(rows) != 3 or len(rows[0]) != len(named) or None in named:
        raise BuildError(f"{script.name}: cells side by side are a table of one row: {table!r}")
    inside = []
    for title, cell in zip(rows[0], filter(None, named), strict=True):
        below = "".join(part.html for part in of_a_cell(script, *cell.groups()))
        inside.append(f"<div><h3>{title}</h3>{below}</div>")
    return f'<div class="columns">{"".join(inside)}</div>'


def of_a_cell(script: Path, number: str, lesson: str, name: str, only: str | None) -> list[Part]:
    """Return what a cell shows: of a `live` one the player, of others all, a picture or a table."""
    language = spoken_in(script)
    source = (script.parent if language == "en" else script.parent.parent) / "src" / f"{lesson}.md"
    cells = loaded(built_path(source, language)).cells
    at = next((i for i, cell in enumerate(cells) if cell.id == name), None)
    if at is None:
        raise BuildError(f"{script.name}: {lesson} has no cell {name}")
    if "live" in tags(cells[at]):
        place = f"{script.name}: {lesson}, cell {name}"
        return [Part(player(cells[at], slug(source), place, language), "film")]
    found = list(shown(cells[at], [*cells, None][at + 1], slug(source), language))
    if only == "table":
        return [as_table(part.html) for part in found if part.kind == ""]
    return [part for part in found if part.kind == only or not only]


def as_table(printed: str) -> Part:
    """Return as a table the first rows of a text that have as many columns, two blanks between."""
    text = re.sub(r"</?pre[^>]*>", "", printed)
    rows = [re.split(r" {2,}", row.strip()) for row in text.splitlines()]
    rows = [row for row in rows if len(row) == len(rows[0])]
    number = [bool(re.fullmatch(r"[\d.,–−-]+", cell)) for cell in rows[-1]]
    inside = [
        "".join(
            f"<td{' class=number' if of_numbers else ''}>{cell}</td>"
            for cell, of_numbers in zip(row, number, strict=True)
        )
        for row in rows
    ]
    return Part(f"<table><tr>{'</tr><tr>'.join(inside)}</tr></table>")


def player(cell: NotebookNode, lesson: str, place: str, language: str = "en") -> str:
    """Return the film of a cell: a function of the lesson's figures that is called without more."""
    film = re.match(r"figures\.(\w+)\(\)", cell.source)
    if film is None:
        raise BuildError(f"{place}: only figures.NAME() plays on a slide: show its still instead")
    return film_page(lesson, film[1], language)


@cache
def film_page(lesson: str, name: str, language: str = "en") -> str:
    """Return the player of a film of a lesson's, of the course's own numbers."""
    with speaking(language):
        return getattr(import_module(f"lora_edu.course.{lesson}.figures"), name)().html


def write_slides(path: Path, folder: Path) -> Path:
    """Write the slides of a lesson, or of a class, into a folder; return their file.

    Those of a translation go into a folder of it.
    """
    target = folder / f"{path.stem}.html"
    write_whole(target, page_of(path))
    for language in languages(path):
        write_whole(folder / language / target.name, page_of(path, language))
    return target


def page_of(path: Path, language: str = "en") -> str:
    """Return the slides of a lesson, or of a class, as one HTML page."""
    if path.parent.name == "src":
        return page(path, language)
    return class_page(path if language == "en" else path.parent / language / path.name)
