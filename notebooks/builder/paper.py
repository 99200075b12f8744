"""Questions, and pages for a class → what is printed of them, and files for Moodle.

For a class, the five questions of a lesson, and the final, are files in GIFT, which Moodle imports,
and pages to print. So are `notebooks/HANDOUT.md` and `FIVE_QUESTIONS.md`: what stands in their
frames (`>`) is for the lecturer alone.
"""

import html
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from builder.editions import loaded
from builder.questions import (
    FILE,
    FINAL,
    FRAME,
    LABELS,
    Choice,
    Question,
    answered,
    asked,
    filled,
    headings,
    inlined,
    read_quizzes,
)
from builder.slides import markdown
from builder.source import read_text, slug
from lora_edu.files import write_whole

BROWSERS = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"


def paper(text: str, place: Path, language: str = "en", kind: str = "asks tells") -> str:
    """Return a text as a page to print: what it asks, or what it tells, or both, one by one.

    What stands in a frame (`>`) is an answer; a heading stands with the answers below it. A line
    `---` begins a new page. ``place``: the file that the text is of, for its drawings.
    """
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
