"""Questions: five on each lesson, twenty at the end; on the page, on paper, and for Moodle."""

import re
from collections import Counter
from dataclasses import replace

import build
import pytest
import yaml
from builder import quiz, sheets
from builder.editions import own_edition, reading_edition
from builder.quiz import FINAL, KINDS, Choice, Question
from builder.slides import markdown
from builder.source import NOTEBOOKS, BuildError, read_source, slug, sources

QUIZZES = quiz.read_quizzes(NOTEBOOKS / "src")
ALL = [question for questions in QUIZZES.values() for question in questions]
GOOD = {
    "kind": "concept",
    "ask": "What is 2 + 3?",
    "choices": [{"wrong": "6", "why": "You multiplied."}, {"right": "5"}],
    "why": "One adds.",
    "cell": "sum",
}


def test_each_lesson_has_five_questions_and_the_end_twenty():
    lessons = [slug(path) for path in sources()]
    assert [*QUIZZES] == [*lessons, FINAL]
    for lesson in lessons:
        assert [question.kind for question in QUIZZES[lesson]] == KINDS, lesson
    final = QUIZZES[FINAL]
    assert len(final) == 20
    assert {question.lesson for question in final} >= set(lessons[1:])
    assert {question.kind for question in final} == set(KINDS)
    asks = [question.ask for question in ALL]
    assert len(set(asks)) == len(asks) == 75


def test_each_question_names_a_cell_of_its_lesson():
    cells = {slug(path): {cell.id for cell in read_source(path).cells} for path in sources()}
    for question in ALL:
        assert question.cell in cells[question.lesson], question.ask


def test_neither_place_nor_length_gives_the_right_choice_away():
    chosen = [question for question in ALL if question.choices]
    places = Counter(question.answer for question in chosen)
    assert set(places) == set("ABCD")
    assert max(places.values()) < 0.35 * len(chosen)
    longest = [max(q.choices, key=lambda choice: len(choice.text)).right for q in chosen]
    assert sum(longest) < 0.3 * len(chosen)
    assert all(3 <= len(question.choices) <= 4 for question in chosen)


@pytest.mark.parametrize("path", sources(), ids=slug)
def test_a_lesson_ends_with_its_questions_folded(path):
    for edition in (reading_edition, own_edition):
        *cells, last = edition(read_source(path)).cells
        ids = [cell.id for cell in cells]
        assert last.id == "quiz"
        assert last.source.startswith("<details><summary>Five questions")
        assert last.source.count("<details>") == last.source.count("</details>") == 6
        for question in QUIZZES[slug(path)]:
            assert question.ask in last.source
            assert f"**{question.answer}.** {question.why}" in last.source
            at = ids.index(question.cell)
            said = "\n".join(c.source for c in cells[:at] if c.cell_type == "markdown")
            first = re.match("##+ .+", cells[at].source)
            (*_, above) = re.findall(r"(?m)^##+ (.+)", f"{said}\n{first[0] if first else ''}")
            assert f"{question.why} (see *{above}*)" in last.source


# -- for Moodle, read back by the rules of its own reader ------------------------------------------

SIGN = r"(?:\\.|[^\\~=#{}:])"  # escaped, or none of GIFT's own
TEXT = re.compile(rf"::({SIGN}+)::\[html\]({SIGN}+) \{{(#?)\n(.+)\n\}}", re.DOTALL)
ANSWER = re.compile(rf"(?m)^([=~])({SIGN}+(?::[\d.]+)?)(?:#(?!#)({SIGN}+))?$")


def plain(text):
    """Undo GIFT's escapes, and the HTML."""
    text = re.sub(r"\\(.)", r"\1", text)
    text = re.sub(r"\\\((.*?)\\\)", r"$\1$", text)
    text = re.sub("</?code>", "`", re.sub("</?em>", "*", text))
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


@pytest.mark.parametrize("part", QUIZZES)
def test_moodle_reads_back_what_was_written(part):
    first, *blocks = sheets.gift("LoRA", QUIZZES[part]).strip().split("\n\n")
    assert first == "$CATEGORY: $course$/top/LoRA/LoRA"
    assert len(blocks) == len(QUIZZES[part])
    for block, question in zip(blocks, QUIZZES[part], strict=True):
        match = TEXT.fullmatch(block)
        assert match is not None, block
        _, ask, numeric, body = match.groups()
        answers, _, why = body.partition("\n####")
        assert plain(ask) == question.ask
        assert plain(why) == question.why
        assert bool(numeric) == (question.number is not None)
        found = ANSWER.findall(answers)
        assert len(found) == answers.count("\n") + 1
        if question.number is not None:
            assert found == [("=", f"{question.number:g}:{question.tolerance:g}", "")]
        else:
            read = [Choice(plain(t), sign == "=", plain(why)) for sign, t, why in found]
            assert tuple(read) == question.choices


def test_signs_of_gift_and_of_html_are_escaped():
    ask = r"Is $a_{1} = \nu < 2$ in `x ~ y: {#}`, *really*?"
    question = Question("number", ask, "So: 2 = 2.", "x", "y", number=0.25, tolerance=0.01)
    text = sheets.gift("small", [question])
    assert "=0.25:0.01" in text
    assert r"\\(a_\{1\} \= \\nu &lt; 2\\)" in text  # "\n" alone would be a line break
    match = TEXT.search(text)
    assert match is not None
    assert plain(match[2]) == ask


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "riddle"}, "there is no kind 'riddle'"),
        ({"why": None, "cel": "sum"}, "holds kind, ask, why, cell"),
        ({"lesson": "merging"}, "`lesson` stands in the final"),
        ({"number": 5}, "either choices or a number"),
        ({"choices": None}, "either choices or a number"),
        ({"choices": None, "number": "5"}, "number and tolerance are numbers"),
        ({"choices": [{"right": "5"}, {"right": "V"}]}, "just one choice is `right`"),
        ({"choices": [{"wrong": "6", "why": "No."}]}, "just one choice is `right`"),
        ({"choices": [{"right": "5"}, {"wrong": "6"}]}, "or `wrong` and says `why`"),
        ({"choices": [{"right": 5}]}, "or `wrong` and says `why`"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(tmp_path, change, message):
    entry = {**GOOD, **change}
    entry = {key: value for key, value in entry.items() if value is not None}
    (tmp_path / "quizzes.yml").write_text(yaml.safe_dump({"small": [GOOD, entry]}))
    with pytest.raises(BuildError, match=f"quizzes.yml: small, question 2: .*{message}"):
        quiz.read_quizzes(tmp_path)


def test_a_lesson_refuses_four_questions_and_a_cell_that_it_has_not():
    source = read_source(sources(["01"])[0])
    *first, last = QUIZZES["matrix_example"]
    with pytest.raises(BuildError, match=r"kinds are concept, .*; got .*number, misconception$"):
        quiz.quiz_cell(first, "en", source.cells)
    with pytest.raises(BuildError, match=r"matrix_example, question 5: .* no cell 'nowhere'"):
        quiz.quiz_cell([*first, replace(last, cell="nowhere")], "en", source.cells)


def test_a_file_that_is_none_is_refused_and_none_is_needed(tmp_path):
    assert quiz.read_quizzes(tmp_path) == {}
    for text, message in (("a: [", "no YAML"), ("a: b", "holds the slugs"), ("- a", "holds")):
        (tmp_path / "quizzes.yml").write_text(text)
        with pytest.raises(BuildError, match=message):
            quiz.read_quizzes(tmp_path)


def test_the_command_writes_both_forms(tmp_path, capsys):
    assert build.main(["--quizzes", "--out", str(tmp_path)]) == 0
    assert "75 questions" in capsys.readouterr().out
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert len(names) == 2 * len(QUIZZES)
    assert {"03_learning_the_update.gift.txt", "final.gift.txt", "final.html"} <= names
    page = (tmp_path / "final.html").read_text(encoding="utf-8")
    asks, _, answers = page.partition("<h2>Answers</h2>")
    for number, question in enumerate(QUIZZES[FINAL], start=1):
        assert f"<strong>{number}.</strong>" in asks
        assert markdown(question.why) not in asks
        assert f"<strong>{number}.</strong> <strong>{question.answer}.</strong>" in answers
        assert markdown(question.why).removeprefix("<p>").removesuffix("</p>\n") in answers
        stem = next(path.stem for path in sources() if slug(path) == question.lesson)
        assert f"(see <em>{stem[:2]}, " in answers
    assert "<math" in asks
    words = re.sub("<[^>]+>", "", asks.partition("</style>")[2])
    assert not re.search(r"[*`$]", words), "Markdown is left"
    own = (tmp_path / "vi" / "03_learning_the_update.html").read_text(encoding="utf-8")
    assert "<h2>Đáp án</h2>" in own
    assert "<title>03 · Hạ gradient có tìm được hai dải không?" in own
    assert (tmp_path / "vi" / "03_learning_the_update.gift.txt").is_file()
