"""What the static check says of notebooks that no build makes, or that break a rule of the page."""

import copy
import itertools
import json

import build
import nbformat
import pytest
from builder import execute
from builder.lint import check_page, wrong_words
from builder.source import numbers_in
from small_lesson import GOOD, code, text

PNG = {"image/png": "iVBORw0KGgo="}
REBUILD = "differs from its source; run `notebooks/build.py` for it"
UNSEEN = "cell {}: no cell of this section shows the number {}"
UNSAID = "cell claims: no sentence of its section says “{}”"


def add(cell, kind, **content):
    """Return what adds an output to a cell."""
    return lambda page: page.cells[cell].outputs.append(nbformat.v4.new_output(kind, **content))


def change(cell, **values):
    """Return what changes a cell."""
    return lambda page: page.cells[cell].update(values)


def say(prose, **claimed):
    """Return what changes the words of the section, and its claim; its code shows no 5 any more."""

    def spoil(page):
        page.cells[2].source = f"## 1 · Adding\n\n{prose}"
        page.cells[3].outputs[0].text = "2 and 3"
        page.cells[-1].outputs[0].metadata.lora_edu.claims[0].update(claimed)

    return spoil


SPOILT = [  # what is done to the committed notebook, and what the check says of it
    (change(3, execution_count=7), "cell sum: execution count 7, expected 2: not run from top"),
    (add(3, "error", ename="KeyError", evalue="'x'"), "cell sum: an error output: KeyError: 'x'"),
    (add(3, "stream", name="stderr", text="a warning"), "cell sum: an output on stderr: 'a warni"),
    (add(3, "display_data", data=PNG), "cell sum: a figure without its text"),
    (change(3, source="print(5)"), f"cell sum: {REBUILD} (what is written in the notebook itself"),
    (lambda page: page.cells.pop(), "8 cells, its source has 9"),
    (lambda page: page.metadata.update(widgets={}), "metadata that no build writes: ['kernelspec"),
    (say("It is 1,000."), UNSEEN.format("first", "1,000")),
    # claims
    (say("The sum is 5, of 7."), UNSEEN.format("first", 7)),
    (say("The total is 5."), UNSAID.format("The sum is 5")),
    (say("The sum is 5.", words="sum"), UNSAID.format("sum")),  # one word
    (
        say("The sum of 2 is 5.", words="The sum of 2 is 5"),
        "cell claims: “The sum of 2 is 5” is held to 5",
    ),
    (say("The sum is 5.", value="7"), "claims.json has other claims of this lesson; run"),
    (change(-1, outputs=[]), "cell claims: it shows no panel of claims"),
    (change(-1, source="panel()"), "cell claims: a reader sees its first line, which is '# What"),
    (change(-1, metadata={"tags": ["claims", "slide"]}), "cell claims: claims are no part of the"),
]


@pytest.mark.parametrize(("spoil", "said"), SPOILT)
def test_a_committed_notebook_that_is_not_as_built(built, spoil, said):
    built.rendered.unlink()
    built.spoil(spoil)
    found = built.problems()
    assert any(line.startswith(f"07_small.ipynb: {said}") for line in found), found


CHANGES = [{"source": ""}, {"id": "other"}, {"metadata": {"tags": ["a"]}}, {"cell_type": "raw"}]


def test_every_change_of_a_cell_is_found_in_each_language(built):
    assert built.problems() == []
    for language in ("", "vi"):
        page, path = built.page(language), built.folder / language / built.notebook.name
        for at, values in itertools.product(range(len(page.cells)), CHANGES):
            spoilt = copy.deepcopy(page)
            spoilt.cells[at].update(values)
            path.write_text(json.dumps(spoilt), encoding="utf-8")
            assert built.problems(), (language, at, values)
        path.write_text(json.dumps(page), encoding="utf-8")


# Words of a claim, what its code says, and what the builder says of the words.
UNNAMED = "does not name “Full training learns”, then “LoRA”"
FULL = {"sense": "more", "names": ["Full training learns", "LoRA"], "says": "more than LoRA"}
BY = {**FULL, "says": "more than LoRA, by 0.02"}
TWO = {"names": ["the sun", "the roof"], "says": "the sun 7, the roof 29"}
NONE = {"sense": "none", "says": "no"}
CLAIMED = [
    ("Full training learns more", FULL, None),
    ("Full training learns more, by 0.02", BY, None),
    ("Full training learns more, by 2 %", BY, None),
    ("Full training learns no more", FULL, "says less, its code more"),
    ("Full training learns no less", FULL, None),
    ("Full training learns not only more", FULL, "says more and none, its code more"),
    ("Full training learns words", FULL, "says no direction, its code more"),
    ("LoRA more than Full training learns", FULL, UNNAMED),
    ("Full training learns more, by 0.03", BY, "is held to more than LoRA, by 0.02"),
    ("The sun has rank 7, the roof 29", TWO, None),
    ("The roof has rank 7, the sun 29", TWO, "does not name “the sun”, then “the roof”"),
    ("The sun has rank 29, the roof 7", TWO, "is held to the sun 7, the roof 29"),
    ("The sun has rank seven, the roof 29", TWO, None),
    ("The sun has a rank, the roof 29", TWO, "is held to the sun 7, the roof 29"),
    ("No rate fits with six passes", NONE, None),
    ("The gap is 0", {"says": "0"}, None),
    ("There is no gap", {"says": "0"}, None),
    ("by 0.02 with six passes", {"says": "0.02"}, "is no clause, from comma to comma, with a verb"),
]


@pytest.mark.parametrize(("words", "row", "said"), CLAIMED)
def test_the_words_of_a_claim_have_its_direction_its_names_and_its_numbers(words, row, said):
    found = wrong_words({"words": words, **row}, f"So: **{words}**, in our runs.")
    assert found == (said and f"“{words}” {said}")


CLAUSES = [  # a text, and whether the words "the sum is 5" are a clause of it
    ("the sum is 5", True),
    ("So (as we saw) the sum is 5.", False),
    ("(the sum is 5)", True),
    ("And the sum is 5.", False),
    ("See: the sum is 5.5.", False),
]


@pytest.mark.parametrize(("text", "whole"), CLAUSES)
def test_a_claim_is_a_whole_clause(text, whole):
    found = wrong_words({"words": "the sum is 5", "says": "5"}, text)
    assert (found is None) == whole


REPEATS = [  # a sentence that repeats a claim, and what is said of it
    ("The sum is 5.<!-- claim total: 5 --> More.", None),
    ("The sum is 5.<!-- claim other: 5 -->", "repeats other, which says no more"),
    ("The sum is 6.<!-- claim total: 6 -->", "repeats total, which says 5"),
    ("The sum is 6.<!-- claim total: 5 -->", "is held to 5"),
    ("The sum is not 5.<!-- claim total: 5 -->", "says none, its code no direction"),
]


def test_a_closing_names_the_claim_that_it_repeats_and_no_reader_sees_it(lesson):
    panel = GOOD[-1].replace("2 + 3, 5", '2 + 3, 5, name="total"')
    for sentence, said in REPEATS:
        closing = text("closing", f"## What you can say\n\n{sentence}")
        lesson.write(*GOOD[:-1], panel, closing)
        execute.build(lesson.source)  # once: then words alone have changed
        assert "<!--" not in lesson.notebook.read_text(encoding="utf-8")
        found = [line for line in lesson.problems() if "shows the number" not in line]
        assert len(found) == (said is not None), found
        assert said is None or said in found[0]


def test_so_does_a_line_of_decisions(lesson):
    lesson.write(*GOOD[:-1], GOOD[-1].replace("2 + 3, 5", '2 + 3, 5, name="total"'))
    execute.build(lesson.source)
    decisions = lesson.folder / "DECISIONS.md"
    decisions.write_text("| add | the sum is 5<!-- claim small total: 5 --> | sure |\n| 6 |")
    assert lesson.problems() == []
    decisions.write_text("| add | the sum is 7<!-- claim small total: 7 --> | sure |\n")
    said = "notebooks/DECISIONS.md:1: “the sum is 7” repeats total, which says 5"
    assert lesson.problems() == [said]


@pytest.mark.parametrize("content", [None, "{ half a file", "[]"])
def test_a_missing_or_damaged_notebook(built, content):
    built.notebook.unlink()
    if content:
        built.notebook.write_text(content)
    said = "07_small.ipynb: missing, or no notebook; run `notebooks/build.py` for it"
    assert built.problems() == [said]


NUMBERS = [
    ("10,000 = 100 × 100, 10 times", {10_000, 100, 10}),
    ("$W_0$, $x^2$, `float64`, W1 and A5x", set()),
    ("$5 \\times 100$ and $10_000$", {5, 100, 10_000}),
    ("## 4 · The 7 ways\n\n1. one\n2. two", {7}),
    ("### Exercise 3: find 8 of them", {8}),
]


@pytest.mark.parametrize(("prose", "numbers"), NUMBERS)
def test_which_numbers_are_seen_in_prose(prose, numbers):
    assert set(numbers_in(prose)) == numbers


SUM = "print(2 + 3)"
ADDING = text("first", "## 1 · Adding\n\nThe sum of 2 and 3 is 5.")
AGAIN = text("second", "## 2 · Again\n\nStill 5.")
ALONE = "cell slider: live, without a still twin (a next cell with an output)"
VOUCHED = [
    ([ADDING, code("sum", SUM, "timing")], UNSEEN.format("first", 5)),  # 2 and 3 are in the code
    ([ADDING, code("sum", SUM), AGAIN, code("other", "'other'")], UNSEEN.format("second", 5)),
    ([ADDING, code("sum", SUM), AGAIN], None),  # a section without code
    ([code("slider", "7", "live"), text("after", "More.")], ALONE),
    ([code("slider", "7", "live"), code("silent", "r = 6")], ALONE),
]


@pytest.mark.parametrize(("cells", "said"), VOUCHED)
def test_what_an_output_vouches_for_and_what_is_live_has_a_still_twin(lesson, cells, said):
    lesson.write(*cells)
    execute.build(lesson.source)
    assert lesson.problems() == ([f"07_small.ipynb: {said}"] if said else [])


def test_a_notebook_that_is_too_large_a_file(capsys, built, monkeypatch):
    monkeypatch.setattr(build.lint, "MOST_BYTES", 100)
    assert build.main(["--check"]) == 1
    said = capsys.readouterr()
    assert "NOT RIGHT:" in said.out
    assert " bytes, more than 100: draw fewer or smaller pictures" in said.err


# -- the rules of the page ------------------------------------------------------------------------


@pytest.fixture
def page(built_once):
    """The good lesson; but its check, which asserts, is no cell of a lesson."""
    page = built_once.page()
    page.cells = [cell for cell in page.cells if cell.id != "check"]
    assert list(check_page(page)) == []
    return page


QUESTION = 'guess = "?"\npredict(guess, sum([2, 3]))'
HOLDS, AWAY = "a question holds", "the question gives its answer away"
ASSERT, BOOLEAN = "an assert on the page", "it shows True or False; show the number"
CELLS = [  # a cell, its tag, what it prints, and what is said of it
    ("np.testing.assert_equal(1)", "", "", ASSERT),
    ("def same(x):\n    assert x", "", "", ASSERT),
    (QUESTION, "", "", HOLDS),
    (f"{QUESTION}\nprint(5)", "predict", "", HOLDS),
    (QUESTION.replace('"?"', "None"), "predict", "", HOLDS),
    ("x = 1", "predict", "", HOLDS),
    ('guess = "?"\npredict(guess)', "predict", "", HOLDS),
    ('guess = "?"\npredict(guess, 500 + 0)', "predict", "", AWAY),
    ("print(x)", "", "np.True_", BOOLEAN),
    ("print(x)", "", "sorted: True", BOOLEAN),
    # what may stand there
    ("print(x)", "", "Trueness, Falsehood", None),
    ("%time 1", "", "", None),
]


@pytest.mark.parametrize(("source", "tag", "printed", "problem"), CELLS)
def test_what_a_cell_may_hold(page, source, tag, printed, problem):
    cell = page.cells[3]
    cell.update(source=source, metadata={"tags": [tag]})
    cell.outputs[0].text = printed
    found = list(check_page(page))
    assert bool(found) == bool(problem)
    assert all(line.startswith(f"cell sum: {problem}") for line in found)


MORE = nbformat.v4.new_markdown_cell("## 2 · More", id="bad")
WORDS, CODE = nbformat.v4.new_markdown_cell("Only words."), nbformat.v4.new_code_cell("print(7)")
SECTIONS = [("wc", 1), ("cp", 0), ("cpw", 1), ("cpp", 1), ("w", 0)]  # words, code, a panel


@pytest.mark.parametrize(("kinds", "wrong"), SECTIONS)
def test_a_section_with_code_ends_in_one_panel(page, kinds, wrong):
    cells = {"w": WORDS, "c": CODE, "p": page.cells[-1]}
    page.cells += [MORE, *(cells[kind] for kind in kinds)]
    ends = "cell bad: one cell tagged `claims` ends a section with code"
    assert list(check_page(page)) == [ends] * wrong
