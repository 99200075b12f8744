"""A committed notebook → a page of the web edition, as MyST Markdown.

Nothing is run. The page keeps what a reader without a kernel can use. The panels of claims go to
the page "How we know", with the section of that name; hints, solutions and what sets the lesson up
are folded; a film plays in place of its stills. A question keeps its secret: the answer, what shows
it and the first paragraph about it stand folded behind a button.
"""

import base64
import html
import io
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text
from nbformat import NotebookNode
from PIL import Image

from builder.editions import draws, fenced, in_figures, offered, outputs, revealed, told_by
from builder.questions import Question, letter
from builder.slides import crowded, film_page, in_gallery, markdown, numbers_of, undrawn
from builder.source import tags
from lora_edu.course.figures import Entry
from lora_edu.course.plots import STYLES, small_png
from lora_edu.course.say import say

LABELS = {
    "en": {
        "answer": "<span>Your guess first. Then: the answer</span><span>The answer</span>",
        "guess": "Your guess",
        "say": "Guess",
        "said": "You said:",
        "drawing": "The code that draws it",
        "play": "Here you can do it yourself:",
        "start": "at the start",
        "here": "**Here you read, guess and play.** Where the text says *run* or *change*, it "
        "speaks to those who [have the lesson on their machine](SETUP.md).",
        "setup": "The cell that sets all up",
        "stills": "The film in stills, and in words",
        "claims": "Every sentence of this lesson that is held to a number, with that number",
        "check": "Check",
        "score": "right so far",
        "right": "Right.",
        "wrong": "No.",
        "none": "Choose first, or write a number.",
        "large": "It is smaller.",
        "small": "It is larger.",
        "number": "Your number",
        "cell": "Where the lesson shows it",
        "questions": "Five questions, to see what stayed",
    },
    "vi": {
        "answer": "<span>Hãy đoán trước, rồi mở đáp án</span><span>Đáp án</span>",
        "guess": "Bạn đoán",
        "say": "Đoán",
        "said": "Bạn đã đoán:",
        "drawing": "Mã vẽ hình",
        "play": "Hãy tự tay thử ở đây:",
        "start": "ở đầu bài",
        "here": "**Ở đây bạn đọc và đoán.** Muốn chạy, sửa và làm bài tập, hãy "
        "[đưa bài học về máy của bạn](SETUP.md).",
        "setup": "Ô chuẩn bị",
        "stills": "Phim dưới dạng ảnh tĩnh và bằng lời",
        "check": "Kiểm tra",
        "score": "câu đúng",
        "right": "Đúng.",
        "wrong": "Chưa đúng.",
        "none": "Hãy chọn trước, hoặc viết một số.",
        "large": "Nhỏ hơn thế.",
        "small": "Lớn hơn thế.",
        "number": "Số của bạn",
        "cell": "Chỗ bài học cho thấy điều đó",
        "questions": "Năm câu hỏi, để xem điều gì còn đọng lại",
    },
}
SIGNS = {
    "Delta": "Δ", "sigma": "σ", "alpha": "α", "lambda": "λ", "lVert": "‖", "rVert": "‖",
    "sqrt": "√", "sum": "∑", "top": "ᵀ", "cdot": "·", "times": "×", "ge": "≥",
    "le": "≤", "in": "∈", "dots": "…", "infty": "∞", "frac": "", "tfrac": "", "mathrm": "",
}  # fmt: skip
ASKS = re.compile(  # no answer any more
    r"(?m)^(?:#|\*\*(?:Predict|Vote|Guess|Your turn|Dự đoán|Bỏ phiếu|Đoán|Đến lượt bạn))"
)
APART = ("exercise", "two-hours")  # nor do cells with such names
LONG = 90  # a line of more signs is prose, and may be broken
WIDEST = 16_383  # pixels of a WebP
PHONE = 4.3  # inches of a picture for a phone
DATA = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")


@dataclass
class Pictures:
    """The pictures of a page: made smaller, kept by name, and shown from ``folder``."""

    folder: str
    language: str = "en"
    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, name: str, png: bytes) -> tuple[str, int, int]:
        """Keep a PNG, as WebP if that is smaller; return its address, its width and its height."""
        data, kind = png, "png"
        with Image.open(io.BytesIO(png)) as picture:
            width, height = picture.size
            if width <= WIDEST:
                buffer = io.BytesIO()
                picture.save(buffer, "webp", lossless=True, method=4)
                data, kind = min((png, "png"), (buffer.getvalue(), "webp"), key=lambda p: len(p[0]))
        self.files[f"{name}.{kind}"] = data
        return f"{self.folder}{name}.{kind}", width, height

    def tag(self, name: str, png: bytes, alt: str, entry: Entry | None = None) -> str:
        """Return the picture as HTML: it is loaded when it comes near, and keeps its place.

        One of the gallery is shown as that draws it for a dark page, and for a phone, if the
        gallery draws just this one, and not another of the same kind. One that is wide keeps its
        size on a phone otherwise, and is moved.
        """
        if entry is None or redrawn(entry, "light", self.language) != png:
            return panned(self.image(name, png, alt))
        found = []
        for style, called in (("light", name), ("dark", f"{name}-dark")):
            shown = self.image(called, redrawn(entry, style, self.language), alt)
            narrow, source = redrawn(entry, style, self.language, phone=True), ""
            if narrow:
                address, width, height = self.add(f"{called}-phone", narrow)
                size = f'width="{width}" height="{height}"'
                source = f'<source media="(max-width: 500px)" srcset="{address}" {size}>'
            both = f'<picture class="only-{style}">{source}{shown}</picture>'
            found.append(both if narrow else panned(both))
        return "".join(found)

    def image(self, name: str, png: bytes, alt: str) -> str:
        """Return one picture as HTML."""
        address, width, height = self.add(name, png)
        return (
            f'<img src="{address}" width="{width}" height="{height}" loading="lazy" '
            f'decoding="async" alt="{html.escape(alt)}">'
        )


def panned(picture: str) -> str:
    """Let a wide picture keep its size on a phone, where it is moved."""
    width = int(re.findall(r'width="(\d+)"', picture)[-1])
    if width < 2 * 328:  # pixels of a phone's column
        return picture
    return f'<div class="pan" style="--wide: {width}px">{picture}</div>'


@cache
def redrawn(entry: Entry, style: str, language: str = "en", *, phone: bool = False) -> bytes:
    """Draw a figure of the gallery anew, as PNG; nothing if on a phone its words would meet."""
    buffer = io.BytesIO()
    with plt.rc_context(STYLES[style]):
        fig = entry.draw(numbers_of(entry), style=style, language=language)
        if not phone or stacked(fig):
            fig.savefig(buffer, format="png", dpi=160 if phone else 100, bbox_inches="tight")
    plt.close(fig)
    return small_png(buffer.getvalue()) if buffer.tell() else b""


def stacked(fig: Figure) -> bool:
    """Make a figure as narrow as a phone, its panels below one another; say whether it fits."""
    texts = [text for text in fig.findobj(Text) if text.get_text() and text.get_visible()]
    sizes = [text.get_fontsize() for text in texts]
    at_rest, (width, height) = crowded(fig, texts, sizes), fig.get_size_inches()
    places = {ax: spec for ax in fig.axes if (spec := ax.get_subplotspec()) is not None}
    grids = {spec.get_gridspec() for spec in places.values()}
    if fig.get_layout_engine() is None or len(grids) != 1 or width < 1.5 * PHONE:
        return False  # its parts are placed by hand; or it is narrow as it is
    rows, columns = grids.pop().get_geometry()
    if rows > 1 and columns > 1:
        return False
    below = fig.add_gridspec(rows * columns, 1)
    for ax, spec in places.items():
        if columns > 1:
            ax.set_subplotspec(below[spec.colspan.start, 0])
            ax.tick_params(labelleft=True)
    fig.set_size_inches(PHONE, height * columns)
    with warnings.catch_warnings(record=True) as told:  # that there is no room for the axes
        warnings.simplefilter("always")
        meet = crowded(fig, texts, sizes) > at_rest
    edge = fig.bbox.padded(2)
    return not (told or meet) and all(
        edge.x0 <= t.x0 and t.x1 <= edge.x1 for t in map(Text.get_window_extent, texts)
    )


@dataclass(frozen=True)
class Page:
    """What the cells of a page need to know of it: its language, its lesson, its pictures."""

    language: str
    stem: str
    pictures: Pictures

    @property
    def labels(self) -> dict[str, str]:
        """The words of the page that are no lesson's."""
        return LABELS[self.language]

    def folded(self, kind: str, summary: str, blocks: Iterable[str]) -> str:
        """Return blocks behind a line that opens them."""
        inside = "\n\n".join(blocks)
        return f'<details class="{kind}"><summary>{summary}</summary>\n\n{inside}\n\n</details>'


def anchor(cell: NotebookNode) -> str:
    """Return the place of a cell, to which other pages lead."""
    return f'<div id="cell-{cell.id}"></div>'


def inline(text: str) -> str:
    """Return a line of Markdown as HTML without a paragraph around it."""
    return markdown(text).strip().removeprefix("<p>").removesuffix("</p>")


# -- a lesson -------------------------------------------------------------------------------------


def lesson_page(notebook: NotebookNode, page: Page) -> tuple[list[str], list[str]]:
    """Return the blocks of a lesson, and those of its section "How we know"."""
    cells = [c for c in notebook.cells if not {"claims", "quiz"} & set(tags(c))]
    lesson: list[str] = []
    proof: list[str] = []
    blocks = lesson
    at = 0
    while at < len(cells):
        cell = cells[at]
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            blocks = proof if cell.id == "know" else lesson
        if "predict" in tags(cell):
            hidden, open_, at = question(cells, at, page)
            blocks += [anchor(cell), guess(cell, page)]
            blocks += [page.folded("predict", page.labels["answer"], hidden), *open_]
        else:
            found, at = following(cells, at, page)
            blocks += found
    return lesson, proof


def following(cells: list[NotebookNode], at: int, page: Page) -> tuple[list[str], int]:
    """Return what a page shows of a cell, of a film with its stills, and the next cell's place."""
    if "live" in tags(cells[at]) and cells[at].source.startswith("figures.film_"):
        return film(cells, at, page)
    return list(blocks_of(cells, at, page)), at + 1


def blocks_of(cells: list[NotebookNode], at: int, page: Page) -> Iterator[str]:
    """Yield the blocks of one cell: its text, or its code and what that shows."""
    cell = cells[at]
    if "live" in tags(cell):  # it needs a kernel; its twin, the next cell, does not
        return
    yield anchor(cell)
    if cell.cell_type == "markdown":
        yield cell.source
        return
    if "parameters" in tags(cell):
        yield page.folded("setup", page.labels["setup"], [fenced(cell.source)])
        return
    if draws(cell) and not undrawn(cell.source):
        yield page.folded("drawing", page.labels["drawing"], [fenced(cell.source)])
    else:
        yield fenced(cell.source)
    if "exercise" not in tags(cell):
        yield from results(cells, at, page)


def results(cells: list[NotebookNode], at: int, page: Page) -> Iterator[str]:
    """Yield what a code cell shows: pictures, described by the text that follows, and print."""
    cell, following = cells[at], cells[at + 1] if at + 1 < len(cells) else None
    alt = plain(told_by(following))
    for number, output in enumerate(outputs(cell)):
        data = output.get("data", {})
        if "image/png" in data:
            png = base64.b64decode(data["image/png"])
            name = f"{page.stem[:2]}-{cell.id}" + (f"-{number}" if number else "")
            entry = in_gallery(cell.source, page.stem.partition("_")[2])
            yield page.pictures.tag(name, png, alt, entry)
        elif "text/html" in data:
            yield data["text/html"]
        elif text := output.get("text") or data.get("text/plain"):
            text = text.strip("\n")
            widest = max(map(len, text.splitlines()))
            table = re.search(r"(?m)^.{12,}\S {2,}\S", text)
            long = " long" if widest > LONG and not table else ""
            yield f'<pre class="output{long}">{html.escape(text, quote=False)}</pre>'


def plain(text: str) -> str:
    """Return Markdown as plain words, its formulas as one says them without drawing."""
    text = re.sub(r"\]\([^)]*\)", "", " ".join(text.split()))
    text = re.sub(r"\$+([^$]+)\$+", lambda formula: said(formula[1]), text)
    return re.sub(r"[*`\[]", "", text)


def said(formula: str) -> str:
    """Return a formula in signs alone: its letters, without what sets them high or low."""
    for written, sign in SIGNS.items():
        formula = re.sub(rf"\\{written}(?![a-zA-Z]) ?", sign, formula)
    return re.sub(r"\\.|[{}_^]", "", formula.replace(r"\|", "‖"))


# -- a question -----------------------------------------------------------------------------------


def guess(cell: NotebookNode, page: Page) -> str:
    """Return where a reader commits to a guess: what there is to choose from, or a field."""
    options, right = offered(cell)
    labels = page.labels
    inside = "".join(
        f'<button type="button"{" data-right" if each == right else ""}>'
        f"{html.escape(say(in_figures(each), page.language))}</button>"
        for each in options
    ) or (
        f'<label>{labels["guess"]} <input autocomplete="off"></label> '
        f'<button type="button">{labels["say"]}</button>'
    )
    return (
        f'<div class="guess" role="group" aria-label="{labels["guess"]}" '
        f'data-answer="{html.escape(revealed(cell))}" data-said="{labels["said"]}" '
        f'data-yes="{labels["right"]}" data-no="{labels["wrong"]}">'
        f"{inside}</div>"
    )


def question(cells: list[NotebookNode], at: int, page: Page) -> tuple[list[str], list[str], int]:
    """Return what a question hides, what follows it in the open, and the next cell's place.

    Hidden is all that may tell the answer: what is computed, drawn and said from here to the next
    section, exercise or question, or to a cell tagged ``open``, which tells it no more.
    """
    hidden = list(results(cells, at, page))
    at += 1
    while at < len(cells):
        cell = cells[at]
        found = ASKS.search(cell.source) if cell.cell_type == "markdown" else None
        stops = {"predict", "exercise", "open"} & set(tags(cell)) or cell.id.startswith(APART)
        if stops or (found and not found.start()):
            break
        if found:
            told, asks = cell.source[: found.start()].strip(), cell.source[found.start() :]
            return [*hidden, told], [anchor(cell), asks], at + 1
        blocks, at = following(cells, at, page)
        hidden += blocks
    return hidden, [], at


# -- a film ---------------------------------------------------------------------------------------


def film(cells: list[NotebookNode], at: int, page: Page) -> tuple[list[str], int]:
    """Return a film, its stills and its description folded below, and the next cell's place."""
    cell, twin = cells[at], cells[at + 1]
    name = cell.source.partition("(")[0].removeprefix("figures.")
    lesson, place = page.stem.partition("_")[2], f"{page.stem[:2]}-{cell.id}"
    stills = [fenced(twin.source), *results(cells, at + 1, page)]
    text = cells[at + 2]
    if "figure-text" in tags(text):
        stills.append(text.source)
    blocks = [
        anchor(cell),
        fenced(cell.source),
        player(film_page(lesson, name, page.language), place, page.pictures),
        anchor(twin),
        page.folded("stills", page.labels["stills"], stills),
    ]
    return blocks, at + (3 if "figure-text" in tags(text) else 2)


def player(film: str, name: str, pictures: Pictures) -> str:
    """Return the player of a film, its pictures in files beside the page, as one line of HTML."""
    names = iter((f"{name}-frames", f"{name}-still"))

    def outside(data: re.Match[str]) -> str:
        return pictures.add(next(names), base64.b64decode(data[1]))[0]

    opening = DATA.sub(outside, film).partition("<script>")[0]
    picture = opening.rstrip().replace("<img ", '<img loading="lazy" ')
    return f'{picture}\n<script src="STATIC/films.js"></script></figure>'


# -- questions that mark themselves ---------------------------------------------------------------


def quiz(questions: Iterable[Question], name: str, page: Page, where: dict[str, str]) -> str:
    """Return questions as a form; ``where`` holds the pages of lessons, by their slugs."""
    labels, rows = page.labels, []
    for number, each in enumerate(questions, start=1):
        key = f"{name}-{number}"
        fields = []
        for i, choice in enumerate(each.choices):
            why = "" if choice.right else f'<p class="why" hidden>{inline(choice.why)}</p>'
            fields.append(
                f'<div><label><input type="radio" name="{key}" value="{letter(i)}"'
                f"{' data-right' if choice.right else ''}> {inline(choice.text)}</label>{why}</div>"
            )
        if each.number is not None:
            fields.append(
                f'<label>{labels["number"]} <input inputmode="decimal" name="{key}" '
                f'data-number="{each.number}" data-within="{each.tolerance}" autocomplete="off">'
                "</label>"
            )
        shows = f'<a href="{where[each.lesson]}#cell-{each.cell}">{labels["cell"]}</a>'
        rows.append(
            f"<fieldset><legend><b>{number}.</b> {inline(each.ask)}</legend>{''.join(fields)}"
            f'<button type="button">{labels["check"]}</button>'
            f'<p class="verdict" role="status" data-right="{labels["right"]}" '
            f'data-wrong="{labels["wrong"]}" data-none="{labels["none"]}" '
            f'data-large="{labels["large"]}" data-small="{labels["small"]}"></p>'
            f'<p class="why-right" hidden>{inline(each.why)} {shows}</p></fieldset>'
        )
    text = "\n".join(" ".join(row.split()) for row in rows)
    return (
        f'<form class="quiz" data-of="{len(rows)}" data-score="{labels["score"]}">\n{text}\n'
        '<p class="score" role="status"></p>\n</form>'
    )
