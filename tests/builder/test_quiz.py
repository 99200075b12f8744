"""Questions: five on each lesson, twenty at the end; on the page, on paper, and for Moodle."""

import re
from collections import Counter

import build
import pytest
import yaml
from builder import quiz, sheets
from builder.editions import own_edition, reading_edition
from builder.quiz import FINAL, KINDS, Choice, Question
from builder.slides import markdown
from builder.source import NOTEBOOKS, BuildError, read_source, slug, sources
from small_lesson import code, text

QUIZZES = quiz.read_quizzes(NOTEBOOKS / "src")
ALL = [question for questions in QUIZZES.values() for question in questions]
GOOD = {
    "kind": "concept",
    "ask": "What is 2 + 3?",
    "choices": [{"wrong": "6", "why": "You multiplied."}, {"right": "5"}],
    "why": "One adds.",
    "cell": "sum",
}


def test_each_lesson_has_five_questions_and_the_end_twenty_which_give_no_answer_away():
    lessons = {slug(path): read_source(path).lines for path in sources()}
    *parts, final = QUIZZES
    assert (parts, final) == (list(lessons), FINAL)
    for lesson in lessons:
        assert [question.kind for question in QUIZZES[lesson]] == KINDS, lesson
    assert len(QUIZZES[FINAL]) == 20
    assert {question.lesson for question in QUIZZES[FINAL]} >= set(parts[1:])
    assert {question.kind for question in QUIZZES[FINAL]} == set(KINDS)
    assert len({question.ask for question in ALL}) == len(ALL)
    for question in ALL:
        assert question.cell in lessons[question.lesson], question.ask

    chosen = [question for question in ALL if question.choices]
    places = Counter(question.answer for question in chosen)
    assert set(places) == set("ABCD")
    assert max(places.values()) < 0.35 * len(chosen)
    longest = [max(q.choices, key=lambda choice: len(choice.text)).right for q in chosen]
    assert sum(longest) < 0.3 * len(chosen)
    assert all(3 <= len(question.choices) <= 4 for question in chosen)


@pytest.mark.parametrize("path", sources(), ids=slug)
def test_a_lesson_ends_with_its_questions_folded(path):
    last = own_edition(read_source(path)).cells[-1]
    assert last.id == "quiz"
    assert last.source.startswith("<details><summary>Five questions")
    assert last.source.count("<details>") == last.source.count("</details>") == 6
    for question in QUIZZES[slug(path)]:
        assert question.ask in last.source
        assert f"**{question.answer}.** {question.why} (see *" in last.source
        for choice in question.choices:
            assert choice.text in last.source
            assert choice.why in last.source


@pytest.fixture
def asked(lesson):
    """A function that asks five questions, or as many, on a small lesson: of one of its cells."""

    def ask(cell, count=5):
        lesson.write(
            text("opening", "# Small"), text("first", "## 1 · Adding\n\n### More"),
            code("sum", "1"), text("a", "Words.\n\n## Last"), code("b", "1"),
        )  # fmt: skip
        questions = [{**GOOD, "kind": kind, "cell": cell} for kind in KINDS[:count]]
        written = yaml.safe_dump({"small": questions})
        (lesson.source.parent / "quizzes.yml").write_text(written)
        return reading_edition(read_source(lesson.source)).cells[-1].source

    return ask


def test_an_answer_says_below_which_heading_its_cell_stands(asked):
    headings = {"first": "*1 · Adding*", "sum": "*More*", "b": "*Last*"}
    for cell, heading in headings.items():
        assert asked(cell).count(f"**B.** One adds. (see {heading})") == 5
    assert asked("opening").count("**B.** One adds. (cell `opening`)") == 5
    with pytest.raises(BuildError, match=r"kinds are concept, .*; got .*, number, misconception$"):
        asked("sum", 4)
    with pytest.raises(BuildError, match="question 1: the lesson has no cell 'nowhere'"):
        asked("nowhere")


# -- for Moodle, read back by the rules of its own reader ------------------------------------------

SIGN = r"(?:\\.|[^\\~=#{}:])"  # escaped, or none of GIFT's own
TEXT = re.compile(rf"::({SIGN}+)::\[html\]({SIGN}+) \{{(#?)\n(.+)\n\}}", re.DOTALL)
ANSWER = re.compile(rf"(?m)^([=~])({SIGN}+(?::[\d.]+)?)(?:#(?!#)({SIGN}+))?$")


def unescaped(text):
    """Undo GIFT's escapes, and the HTML."""
    text = re.sub(r"\\(.)", r"\1", text)
    text = re.sub(r"\\\((.*?)\\\)", r"$\1$", text)
    text = re.sub("</?code>", "`", re.sub("</?em>", "*", text))
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


SIGNS = r'Is $a_{1} = \nu < 2$ in `x ~ "y": {#}`, *really*?'
SPECIAL = Question("number", SIGNS, "So: 2 = 2.", "x", "y", number=0.25, tolerance=0.01)


@pytest.mark.parametrize("questions", [*QUIZZES.values(), [SPECIAL]])
def test_moodle_reads_back_what_was_written(questions):
    first, *blocks = sheets.gift("LoRA", questions).strip().split("\n\n")
    assert first == "$CATEGORY: $course$/top/LoRA/LoRA"
    for block, question in zip(blocks, questions, strict=True):
        _, ask, numeric, body = TEXT.fullmatch(block).groups()
        answers, _, why = body.partition("\n####")
        assert unescaped(ask) == question.ask
        assert unescaped(why) == question.why
        assert bool(numeric) == (question.number is not None)
        found = ANSWER.findall(answers)
        assert len(found) == answers.count("\n") + 1
        if question.number is not None:
            assert found == [("=", f"{question.number:g}:{question.tolerance:g}", "")]
        else:
            read = [Choice(unescaped(t), sign == "=", unescaped(why)) for sign, t, why in found]
            assert tuple(read) == question.choices


# -- what is refused ------------------------------------------------------------------------------

REFUSED = [
    ({"kind": "riddle"}, "there is no kind 'riddle'; there are ['concept', 'prediction', "),
    ({"cel": "sum"}, "holds kind, ask, why, cell, and choices or a number"),
    ({"lesson": "merging"}, "`lesson` stands in the final, and there alone"),
    ({"number": 5}, "holds either choices or a number"),
    ({"choices": None}, "holds either choices or a number"),
    ({"choices": None, "number": "5"}, "number and tolerance are numbers"),
    ({"choices": [{"right": "5"}, {"right": "V"}]}, "just one choice is `right`"),
    ({"choices": [{"wrong": "6", "why": "No."}]}, "just one choice is `right`"),
    ({"choices": [{"right": "5"}, {"wrong": "6"}]}, "a choice is `right`, or `wrong` and says"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_a_question_that_cannot_be_asked_is_refused(tmp_path, change, message):
    entry = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    (tmp_path / "quizzes.yml").write_text(yaml.safe_dump({"small": [GOOD, entry]}))
    with pytest.raises(BuildError) as caught:
        quiz.read_quizzes(tmp_path)
    assert str(caught.value).startswith(f"quizzes.yml: small, question 2: {message}")


def test_a_file_that_is_none_is_refused_and_none_is_needed(tmp_path):
    assert quiz.read_quizzes(tmp_path) == {}
    refused = {"a: [": "no YAML", "a: b": "holds the slugs", "- a": "holds the slugs"}
    for written, message in refused.items():
        (tmp_path / "quizzes.yml").write_text(written)
        with pytest.raises(BuildError, match=f"quizzes.yml: {message}"):
            quiz.read_quizzes(tmp_path)


def test_the_command_writes_both_forms(tmp_path, capsys):
    assert build.main(["--quizzes", "--out", str(tmp_path)]) == 0
    assert f"{len(ALL)} questions" in capsys.readouterr().out
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert len(names) == 2 * len(QUIZZES)
    assert {"03_learning_the_update.gift.txt", "final.gift.txt", "final.html"} <= names
    page = (tmp_path / "final.html").read_text(encoding="utf-8")
    asks, _, answers = page.partition("<h2>Answers</h2>")
    numbers = {slug(path): path.stem[:2] for path in sources()}
    for number, question in enumerate(QUIZZES[FINAL], start=1):
        why = markdown(question.why).removeprefix("<p>").removesuffix("</p>\n")
        assert f"<strong>{number}.</strong>" in asks
        assert why not in asks
        assert f"<strong>{number}.</strong> <strong>{question.answer}.</strong> {why}" in answers
        assert f"(see <em>{numbers[question.lesson]}, " in answers
    assert "<math" in asks
    words = re.sub("<[^>]+>", "", asks.partition("</style>")[2])
    assert not re.search(r"[*`$]", words), "Markdown is left"
    own = (tmp_path / "vi" / "03_learning_the_update.html").read_text(encoding="utf-8")
    assert "<h2>Đáp án</h2>" in own
    assert "<title>03 · Hạ gradient có tìm được hai dải không?" in own
    assert (tmp_path / "vi" / "03_learning_the_update.gift.txt").is_file()
