"""Questions: five on each lesson, twenty at the end; on the page, on paper, and for Moodle."""

import re
from collections import Counter
from dataclasses import replace

import build
import nbformat
import pytest
from builder import paper, questions
from builder.questions import FINAL, KINDS, Choice, Question
from builder.slides import markdown
from builder.source import NOTEBOOKS, BuildError, read_source, slug, sources
from small_lesson import ASKED

QUIZZES = questions.read_quizzes(NOTEBOOKS / "src")
ALL = [question for part in QUIZZES.values() for question in part]


def test_each_lesson_has_five_questions_and_the_end_twenty_which_give_no_answer_away():
    lessons = {slug(path): read_source(path).lines for path in sources()}
    assert list(QUIZZES) == [*lessons, FINAL]
    assert len(QUIZZES[FINAL]) == 20
    assert {question.lesson for question in QUIZZES[FINAL]} >= {*lessons} - {"first_words"}
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


def test_an_answer_says_below_which_heading_its_cell_stands(full):
    cells = full.page().cells
    expected = {"title": "", "first": "1 · Adding", "sum": "1 · Adding"}
    expected |= {"told": "2 · More", "ask-plot": "Later"}  # which stands within `told`
    above = questions.headings(cells)
    assert {name: above[name] for name in expected} == expected
    exercise = nbformat.v4.new_markdown_cell("### Exercise 1: double it", id="exercise-text")
    after = nbformat.v4.new_markdown_cell("Then read on.", id="after")
    above = questions.headings([*cells[:-1], exercise, after])
    assert above["exercise-text"] == "Exercise 1: double it"
    assert above["after"] == above[cells[-2].id] != ""
    assert cells[-1].source.count("**B.** One adds. (see *1 · Adding*)") == 5
    asked = questions.read_quizzes(full.source.parent)["small"]
    assert "(cell `title`)" in questions.answered(replace(asked[0], cell="title"))
    with pytest.raises(BuildError, match=r"kinds are concept, .*; got .*, number, misconception$"):
        questions.quiz_cell(asked[:4], "en", cells)
    asked[1] = replace(asked[1], cell="nowhere")
    with pytest.raises(BuildError, match="small, question 2: the lesson has no cell 'nowhere'"):
        questions.quiz_cell(asked, "en", cells)


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


@pytest.mark.parametrize("asked", [*QUIZZES.values(), [SPECIAL]])
def test_moodle_reads_back_what_was_written(asked):
    first, *blocks = paper.gift("LoRA", asked).strip().split("\n\n")
    assert first == "$CATEGORY: $course$/top/LoRA/LoRA"
    for block, question in zip(blocks, asked, strict=True):
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

NUMBER = "number and tolerance are numbers"
ONE = "just one choice is `right`, or there is a number"
REFUSED = [
    ({"kind": "riddle"}, "there is no kind 'riddle'; there are ['concept', 'prediction', "),
    ({"why": None}, "holds ask, cell, kind, why, and choices or a number"),
    ({"lesson": "merging"}, "['lesson'] is no part of a question"),  # but of the final
    ({"number": 5}, ONE),
    ({"choices": None, "number": 5, "tolerance": "a bit"}, NUMBER),
    ({"choices": [{"right": "5"}, {"right": "V"}]}, ONE),
    ({"choices": [{"right": "5"}, {"wrong": "6"}]}, "a choice is `right`, or `wrong` and says"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_a_question_that_cannot_be_asked_is_refused(full, change, message):
    entry = {key: value for key, value in {**ASKED, **change}.items() if value is not None}
    full.ask([ASKED, entry])
    with pytest.raises(BuildError) as caught:
        questions.read_quizzes(full.source.parent)
    assert str(caught.value).startswith(f"quizzes.yml: small, question 2: {message}")


def test_a_file_that_is_none_is_refused_and_none_is_needed(tmp_path):
    assert questions.read_quizzes(tmp_path) == {}
    for written, message in {"a: [": "no YAML", "a: b": "holds the slugs", "- a": "holds"}.items():
        (tmp_path / "quizzes.yml").write_text(written)
        with pytest.raises(BuildError, match=f"quizzes.yml: {message}"):
            questions.read_quizzes(tmp_path)


def test_the_command_writes_both_forms(tmp_path, capsys):
    assert build.main(["--quizzes", "--out", str(tmp_path)]) == 0
    assert f"{len(ALL)} questions" in capsys.readouterr().out
    stems = [*(path.stem for path in sources()), "final"]
    names = {path.name for path in tmp_path.glob("*.*")}
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("gift.txt", "html")}
    page = (tmp_path / "final.html").read_text(encoding="utf-8")
    asks, _, answers = page.partition('<section class="tells">')
    numbers = {slug(path): path.stem[:2] for path in sources()}
    for number, question in enumerate(QUIZZES[FINAL], start=1):
        why = markdown(question.why).removeprefix("<p>").removesuffix("</p>\n")
        assert f"<strong>{number}.</strong>" in asks
        assert why not in asks
        assert f"<strong>{number}.</strong> <strong>{question.answer}.</strong> {why}" in answers
        assert f"(see <em>{numbers[question.lesson]}, " in answers
    words = re.sub("<[^>]+>", "", asks.partition("</style>")[2])
    assert not re.search(r"[*`$]", words), "Markdown is left"
    own = (tmp_path / "vi" / "03_learning_the_update.html").read_text(encoding="utf-8")
    assert "<title>03 · Hạ gradient có tìm được hai dải không?" in own


@pytest.mark.parametrize(("name", "headed"), [("HANDOUT", 4), ("FIVE_QUESTIONS", 6)])
def test_students_get_no_answer_and_the_lecturer_gets_them_all_in_each_language(name, headed):
    told = {}
    for language in ("", "vi"):
        source = NOTEBOOKS / language / f"{name}.md"
        text = source.read_text(encoding="utf-8")
        asks, tells = (paper.paper(text, source, language or "en", k) for k in ("asks", "tells"))
        answers = re.findall(r"(?m)^> (\w.+|\*\*.+)", text)
        for answer in answers:
            plain = re.sub(r"^<ol[^>]*>\s*|^<p>|</p>$|\s*</ol>$", "", markdown(answer).strip())
            assert plain not in asks
            assert plain in tells
        assert f"<h1>{text.splitlines()[0][2:]}</h1>" in asks
        assert tells.count("<h2") == headed
        assert not re.search(r"\.svg", asks + tells)  # the drawings are inside
        told[language] = len(answers)
    assert told[""] == told["vi"] > 4


def test_without_a_browser_there_is_a_page_to_print(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paper, "launched", lambda chromium: None)
    said = paper.write_handout(NOTEBOOKS / "HANDOUT.md", tmp_path)
    assert said.startswith(f"{tmp_path}/HANDOUT: HTML alone; print it from your browser")
    made = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    names = ["HANDOUT.answers.html", "HANDOUT.html"]
    assert made == [*names, *(f"vi/{name}" for name in names)]
