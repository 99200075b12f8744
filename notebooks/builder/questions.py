"""notebooks/src/quizzes.yml → the questions that end a lesson.

How it is written: under the slug of each lesson five questions, and under `final` twenty; each has

    kind      concept, prediction, number or misconception
    ask       the question: plain words, `code`, $formulas$
    choices   a list, one of them `right`, the others `wrong`, each with `why` somebody takes it;
              or instead: number, and perhaps tolerance
    why       why the right answer is right
    cell      the cell of the lesson that shows it (in the final: `lesson`, too)

The page of a lesson ends with its five, folded; ``paper`` makes files of them for a class.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

from builder.source import BuildError, read_text

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


# -- a page, and what stands on it ----------------------------------------------------------------


FRAME = re.compile(r"(?m)((?:^>.*\n?)+)")  # an answer on paper, or what goes on a slide


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
