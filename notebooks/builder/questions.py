"""notebooks/src/quizzes.yml → the questions that end a lesson, and as files for a class.

How it is written: under the slug of each lesson five questions, and under `final` twenty; each has

    kind      concept, prediction, number or misconception
    ask       the question: plain words, `code`, $formulas$
    choices   a list, one of them `right`, the others `wrong`, each with `why` somebody takes it;
              or instead: number, and perhaps tolerance
    why       why the right answer is right
    cell      the cell of the lesson that shows it (in the final: `lesson`, too)

The page of a lesson ends with its five, folded. For a class, a lesson's five, and the final, are
files in GIFT, which Moodle imports, and pages to print. So are `notebooks/HANDOUT.md` and
`FIVE_QUESTIONS.md`: what stands in their frames (`>`) is for the lecturer alone.
"""

import base64
import html
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

from builder.source import BuildError, read_text, slug
from lora_edu.files import write_whole

FILE, FINAL = "quizzes.yml", "final"
KINDS = ["concept", "prediction", "number", "misconception", "misconception"]  # of a lesson's five
LABELS = {
    "en": {
        "quiz": "Five questions, to see what stayed",
        "answer": "Answer",
        "cell": "cell",
        "see": "see",
        "answers": "Answers",
        "name": "Name",
        FINAL: "Twenty questions on the whole course",
    },
    "vi": {
        "quiz": "Năm câu hỏi, để xem điều gì còn đọng lại",
        "answer": "Đáp án",
        "cell": "ô",
        "see": "xem",
        "answers": "Đáp án",
        "name": "Họ và tên",
        FINAL: "Hai mươi câu hỏi về cả khoá học",
    },
}


@dataclass(frozen=True)
class Choice:
    """One of the answers to choose from; ``why`` says why somebody takes it, if it is wrong."""

    text: str
    right: bool
    why: str


@dataclass(frozen=True)
class Question:
    """A question with its answer: one of ``choices``, or ``number`` give or take ``tolerance``."""

    kind: str
    ask: str
    why: str
    lesson: str
    cell: str
    choices: tuple[Choice, ...] = ()
    number: float | None = None
    tolerance: float = 0

    @property
    def answer(self) -> str:
        """The letter of the right choice, or the number."""
        if self.number is not None:
            return f"{self.number:,}"
        return letter([choice.right for choice in self.choices].index(True))


def letter(index: int) -> str:
    """Return the letter of a choice."""
    return "ABCDEFGH"[index]


# -- the file -----------------------------------------------------------------------------------


def read_quizzes(folder: Path) -> dict[str, list[Question]]:
    """Return the questions of a folder of sources, by the slug of their lesson; none, no file.

    Raises
    ------
    BuildError
        The file is no YAML, or a question is not as described above; the message names it.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        found = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise BuildError(f"{FILE}: no YAML: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(each, list) for each in found.values()):
        raise BuildError(f"{FILE}: holds the slugs of lessons, each with a list of questions")
    return {
        lesson: [
            read_question(entry, lesson, f"{FILE}: {lesson}, question {number}")
            for number, entry in enumerate(entries, start=1)
        ]
        for lesson, entries in found.items()
    }


def read_question(entry: Any, part: str, place: str) -> Question:
    """Return one question of a part of the file; ``place`` names it when it is refused."""
    needed = {"kind", "ask", "why", "cell"} | ({"lesson"} if part == FINAL else set())
    if not isinstance(entry, dict) or not needed <= entry.keys():
        raise BuildError(f"{place}: holds {', '.join(sorted(needed))}, and choices or a number")
    if entry["kind"] not in KINDS:
        raise BuildError(f"{place}: there is no kind {entry['kind']!r}; there are {KINDS[:4]}")
    number, tolerance = entry.get("number"), entry.get("tolerance", 0)
    if not all(type(value) in (int, float) for value in (number or 0, tolerance)):
        raise BuildError(f"{place}: number and tolerance are numbers")
    choices = tuple(read_choice(choice, place) for choice in entry.get("choices", []))
    if [choice.right for choice in choices].count(True) != (number is None):
        raise BuildError(f"{place}: just one choice is `right`, or there is a number")
    named = {name: entry[name] for name in ("kind", "ask", "why", "cell")}
    lesson = entry.get("lesson", part)
    if unknown := entry.keys() - {*needed, "choices", "number", "tolerance"}:
        raise BuildError(f"{place}: {sorted(unknown)} is no part of a question")
    return Question(**named, lesson=lesson, choices=choices, number=number, tolerance=tolerance)


def read_choice(entry: Any, place: str) -> Choice:
    """Return one answer to choose from."""
    match entry:
        case {"right": str(text), **rest} if not rest:
            return Choice(text, True, "")
        case {"wrong": str(text), "why": str(why), **rest} if not rest:
            return Choice(text, False, why)
    raise BuildError(f"{place}: a choice is `right`, or `wrong` and says `why` one takes it")


# -- on the page --------------------------------------------------------------------------------


def asked(question: Question, number: int) -> str:
    """Return a question as Markdown, with what there is to choose from."""
    options = [f"- **{letter(i)}** {each.text}" for i, each in enumerate(question.choices)]
    return "\n".join([f"**{number}.** {question.ask}", *([""] if options else []), *options])


def answered(question: Question, language: str = "en", heading: str = "") -> str:
    """Return the answer as Markdown: which, why, and the cell; then why not the others."""
    labels = LABELS[language]
    where = f"{labels['see']} *{heading}*" if heading else f"{labels['cell']} `{question.cell}`"
    said = f"**{question.answer}.** {question.why} ({where})"
    others = [
        f"- **{letter(i)}** {choice.why}"
        for i, choice in enumerate(question.choices)
        if not choice.right
    ]
    return "\n".join([said, *([""] if others else []), *others])


def headings(cells: Iterable[NotebookNode]) -> dict[str, str]:
    """Return the heading below which each cell of a lesson stands: JupyterLab shows no ids.

    An exercise's heading stands above its own cells alone, and above no later text of the section.
    """
    found, heading = {}, ""
    for cell in cells:
        own = re.findall(r"(?m)^##+ (.+)", cell.source) if cell.cell_type == "markdown" else []
        found[cell.id] = own[0] if own and cell.source.startswith("##") else heading
        heading = next((h for h in own[::-1] if not re.match("Exercise|Bài tập", h)), heading)
    return found


def quiz_cell(
    questions: Iterable[Question], language: str, cells: Iterable[NotebookNode]
) -> NotebookNode:
    """Return the cell that ends a lesson: its questions, folded, each answer folded once more.

    A BuildError unless they are five, one of each of ``KINDS``, each with a cell of the lesson.
    """
    questions, above, labels = list(questions), headings(cells), LABELS[language]
    if (kinds := [question.kind for question in questions]) != KINDS:
        raise BuildError(f"{FILE}: a lesson's kinds are {', '.join(KINDS)}; got {', '.join(kinds)}")
    parts = [f"<details><summary>{labels['quiz']}</summary>"]
    for number, question in enumerate(questions, start=1):
        if question.cell not in above:
            place = f"{FILE}: {question.lesson}, question {number}"
            raise BuildError(f"{place}: the lesson has no cell {question.cell!r}")
        answer = answered(question, language, above[question.cell])
        parts.append(asked(question, number))
        parts.append(f"<details><summary>{labels['answer']}</summary>\n\n{answer}\n\n</details>")
    text = "\n\n".join([*parts, "</details>"])
    return nbformat.v4.new_markdown_cell(text, id="quiz", metadata={"tags": ["quiz"]})


# -- on paper ------------------------------------------------------------------------------------


BROWSERS = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"
FRAME = re.compile(r"(?m)((?:^>.*\n?)+)")  # an answer on paper, or what goes on a slide


def paper(text: str, place: Path, language: str = "en", kind: str = "asks tells") -> str:
    """Return a text as a page to print: what it asks, or what it tells, or both, one by one.

    What stands in a frame (`>`) is an answer; a heading stands with the answers below it. A line
    `---` begins a new page. ``place``: the file that the text is of, for its drawings.
    """
    from builder.slides import markdown  # loads nbconvert

    title = text.splitlines()[0].lstrip("# ")
    headed = re.findall(r"(?m)^## .+\n(?=(?:(?!## ).*\n)*>)|(?:^>.*\n?)+", text)
    answers = [f"# {LABELS[language]['answers']}: {title}", *headed]
    parts = {
        "asks": FRAME.sub("", text),
        "tells": re.sub(r"(?m)^> ?", "", "\n\n".join(answers)),
    }
    sections = [
        f'<section class="{each}">\n{inlined(markdown(parts[each]), place)}\n</section>\n'
        for each in kind.split()
    ]
    inside = {"LANGUAGE": language, "TITLE": html.escape(title), "SECTIONS": "".join(sections)}
    return filled("paper.html", inside)


def filled(template: str, inside: Mapping[str, str]) -> str:
    """Return a page, of a file beside this one, whose ``@NAMES@`` are filled in."""
    text = Path(__file__).with_name(template).read_text(encoding="utf-8")
    return re.sub(r"@([A-Z_]+)@", lambda name: inside[name[1]], text)


def inlined(text: str, place: Path) -> str:
    """Put the drawings that a text in HTML shows into it, in place of their files' names."""

    def drawing(found: re.Match[str]) -> str:
        svg = read_text(place.parent / found[1])
        return f'src="data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"'

    return re.sub(r'src="([\w./-]+\.svg)"', drawing, text)


def on_paper(title: str, questions: list[tuple[Question, str]], language: str = "en") -> str:
    """Return questions as a text for :func:`paper`; with each the place that shows its answer."""
    labels = LABELS[language]
    blocks = [f"# {title}", f"{labels['name']}: ______________________________"]
    for number, (question, place) in enumerate(questions, start=1):
        answer = f"**{number}.** {answered(question, language, place)}"
        blocks += [asked(question, number), re.sub("(?m)^", "> ", answer)]
    return "\n\n".join(blocks) + "\n"


def write_handout(path: Path, folder: Path) -> str:
    """Write a page to print, and beside it its answers, in each language; return where."""
    made = []
    for source in [path, *sorted(path.parent.glob(f"??/{path.name}"))]:
        language = "en" if source == path else source.parent.name
        text, own = read_text(source), folder / ("" if source == path else language)
        for name, kind in {
            f"{path.stem}.html": "asks",
            f"{path.stem}.answers.html": "tells",
        }.items():
            write_whole(own / name, paper(text, source, language, kind))
            made.append(own / name)
    return f"{folder / path.stem}: {as_pdf(made)}"


def as_pdf(pages: Iterable[Path], how: str = "") -> str:
    """Print pages to PDF, each beside its HTML; say what came of it.

    A browser that is installed prints them. ``how`` ends the address of slides, which lay out
    their pages themselves.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        browser = launched(running.chromium)
        if browser is None:
            return "HTML alone; print it from your browser (none was found that would make a PDF)"
        tab = browser.new_page()
        for page in pages:
            tab.goto(f"{page.resolve().as_uri()}{how}")
            if how:
                tab.wait_for_selector(".pdf-page")
            pdf = tab.pdf(prefer_css_page_size=True, print_background=True)
            write_whole(page.with_suffix(".pdf"), pdf)
        browser.close()
    return "HTML and PDF"


def launched(chromium: Any) -> Any:
    """Start a browser that is installed: one on the path, or Chrome or Edge where they usually are.

    None if there is none.
    """
    from playwright.sync_api import Error

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    ways = [{"executable_path": path}] if path else [{"channel": "chrome"}, {"channel": "msedge"}]
    for way in ways:
        with suppress(Error):
            return chromium.launch(**way)
    return None


# -- for Moodle ---------------------------------------------------------------------------------


def gift(category: str, questions: list[Question]) -> str:
    """Return questions in Moodle's GIFT format, as one category of its question bank.

    Source: https://docs.moodle.org/en/GIFT_format. What a choice reveals is its feedback, why the
    right one is right that of the question.
    """
    blocks = [f"$CATEGORY: $course$/top/LoRA/{category}"]
    for number, question in enumerate(questions, start=1):
        name = in_gift(f"{category} · {number} · {question.kind}", plain=True)
        if question.number is not None:
            answers = [f"={question.number:g}:{question.tolerance:g}"]
            opening = "{#"
        else:
            answers, opening = [choice_in_gift(choice) for choice in question.choices], "{"
        lines = [f"::{name}::[html]{in_gift(question.ask)} {opening}", *answers]
        blocks.append("\n".join([*lines, f"####{in_gift(question.why)}", "}"]))
    return "\n\n".join(blocks) + "\n"


def choice_in_gift(choice: Choice) -> str:
    """Return an answer to choose from, with its feedback."""
    if choice.right:
        return f"={in_gift(choice.text)}"
    return f"~{in_gift(choice.text)}#{in_gift(choice.why)}"


def in_gift(text: str, *, plain: bool = False) -> str:
    """Return Markdown as the HTML that GIFT holds, on one line, its control signs escaped."""
    if not plain:
        parts = re.split(r"(`[^`]+`|\$[^$]+\$)", " ".join(text.split()))
        text = "".join(map(as_html, parts))
    return re.sub(r"([\\~=#{}:])", r"\\\1", text)


def as_html(part: str) -> str:
    """Return `code`, a $formula$ or what stands between them as HTML, formulas as MathJax reads."""
    if part.startswith("`"):
        return f"<code>{html.escape(part[1:-1], quote=False)}</code>"
    if part.startswith("$"):
        return rf"\({html.escape(part[1:-1], quote=False)}\)"
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", html.escape(part, quote=False))


# -- the files ----------------------------------------------------------------------------------


def quiz_files(folder: Path) -> dict[str, str]:
    """Return the questions on each lesson of a folder, and the final: the name of a file → text."""
    from builder.editions import loaded  # which needs this module

    language = "en" if folder.name == "src" else folder.name
    built = folder.parent if language == "en" else folder.parents[1] / language
    lessons = {slug(path): path for path in sorted(folder.glob("[0-9]*.md"))}
    cells = {each: loaded(built / f"{path.stem}.ipynb").cells for each, path in lessons.items()}
    above = {lesson: headings(own) for lesson, own in cells.items()}
    files = {}
    for part, questions in read_quizzes(folder).items():
        placed = [
            (each, f"{lessons[each.lesson].stem[:2]}, {above[each.lesson].get(each.cell, '')}")
            for each in questions
        ]
        name = FINAL if part == FINAL else lessons[part].stem
        title = LABELS[language][FINAL] if part == FINAL else cells[part][0].source.splitlines()[0]
        files[f"{name}.gift.txt"] = gift(name, questions)
        text = on_paper(title.lstrip("# "), placed, language)
        files[f"{name}.html"] = paper(text, folder, language)
    return files


def write_quizzes(folder: Path, out: Path) -> str:
    """Write the questions on each lesson of a folder, and the final; say how many.

    Those of a translation go into a folder of it.
    """
    for own in [folder, *(file.parent for file in sorted(folder.glob(f"*/{FILE}")))]:
        for name, text in quiz_files(own).items():
            write_whole(out / own.relative_to(folder) / name, text)
    return f"{sum(map(len, read_quizzes(folder).values()))} questions in {out}"
