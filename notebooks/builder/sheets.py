"""The questions of `quiz` as files for a class: GIFT, which Moodle imports, and pages to print."""

from __future__ import annotations

import html
import re
from pathlib import Path

from builder.quiz import FILE, FINAL, Choice, Question, answered, asked, headings, read_quizzes
from builder.slides import markdown
from builder.source import read_cells, slug
from lora_edu.files import write_whole

LABELS = {
    "en": {"answers": "Answers", "name": "Name", FINAL: "Twenty questions on the whole course"},
    "vi": {"answers": "Đáp án", "name": "Họ và tên"},
}
PAGE = """<!doctype html>
<html lang="{language}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ max-width: 44em; margin: 2em auto; padding: 0 1em; font: 11pt/1.4 serif }}
@media screen {{ p, li {{ overflow-x: auto; overflow-wrap: anywhere }} }}
h1 {{ font-size: 16pt }}
ul {{ margin-top: 0; padding-left: 1.5em; list-style: none }}
section > * {{ break-inside: avoid }}
section + section {{ break-before: page }}
</style>
<h1>{title}</h1>
<p>{name}: ______________________________</p>
<section>
{asks}
</section>
<section>
<h2>{answers}</h2>
{answered}
</section>
</html>
"""


# -- on paper -----------------------------------------------------------------------------------


def paper(title: str, questions: list[tuple[Question, str]], language: str = "en") -> str:
    """Return questions as an HTML page to print, the answers on a page of their own.

    With each question comes the place that shows its answer, in words.
    """
    numbered = list(enumerate(questions, start=1))
    asks = [asked(question, number) for number, (question, _) in numbered]
    answers = [
        f"**{number}.** {answered(question, language, place)}"
        for number, (question, place) in numbered
    ]
    labels = LABELS[language]
    return PAGE.format(
        language=language,
        title=html.escape(title),
        name=labels["name"],
        asks="\n".join(f"<div>{markdown(text)}</div>" for text in asks),
        answers=labels["answers"],
        answered="\n".join(f"<div>{markdown(text)}</div>" for text in answers),
    )


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
    lessons = {slug(path): path for path in sorted(folder.glob("[0-9]*.md"))}
    cells = {lesson: read_cells(path).cells for lesson, path in lessons.items()}
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
        files[f"{name}.html"] = paper(title.lstrip("# "), placed, language)
    return files


def write_quizzes(folder: Path, out: Path) -> str:
    """Write the questions on each lesson of a folder, and the final; say how many.

    Those of a translation go into a folder of it.
    """
    for own in [folder, *(file.parent for file in sorted(folder.glob(f"*/{FILE}")))]:
        for name, text in quiz_files(own).items():
            write_whole(out / own.relative_to(folder) / name, text)
    return f"{sum(map(len, read_quizzes(folder).values()))} questions in {out}"
