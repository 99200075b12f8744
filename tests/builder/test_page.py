"""The rules of the page, on notebooks that keep them or break them on purpose."""

import copy

import nbformat
import pytest
from builder.page import check_page, measure


def cell(source, *labels, printed="", name=None):
    outputs = [nbformat.v4.new_output("stream", name="stdout", text=printed)] if printed else []
    made = nbformat.v4.new_code_cell(source, metadata={"tags": list(labels)}, outputs=outputs)
    made.id = name or made.id
    return made


def words(source):
    return nbformat.v4.new_markdown_cell(source)


def page(*cells):
    return nbformat.v4.new_notebook(cells=list(cells))


def panel():
    return cell("panel(claim('it is 5', 5, 5))", "claims")


PUZZLE = cell("puzzle(1)")
QUESTION = 'guess = "?"\npredict(guess, sum([2, 3]))'
FINE = [
    words("# A page"),
    cell("import numpy\n" + "x = 1\n" * 4),
    words("## 1 · Adding"),
    cell("print(2 + 3)", printed="5\n"),
    cell(QUESTION, "predict"),
    panel(),
    words("## The puzzle"),
    PUZZLE,
    words("## Closing"),
]


def problems(*more, at=4):
    cells = copy.deepcopy([*FINE[:at], *more, *FINE[at:]])
    end = next(i for i, cell in enumerate(cells) if cell.source == PUZZLE.source)
    above = sum("claims" in cell.metadata.get("tags", []) for cell in cells[:end])
    cells[end].source = f"puzzle({above})"
    return list(check_page(page(*cells)))


def test_a_page_that_keeps_the_rules():
    assert problems() == []


@pytest.mark.parametrize(
    ("source", "labels", "problem"),
    [
        ("assert 1\nx = 3", (), "cell bad: an assert on the page"),
        ("np.testing.assert_equal(1)", (), "cell bad: an assert on the page"),
        ("def same(x):\n    assert x", (), "cell bad: an assert on the page"),
        ("x = 1\n" * 16, (), "cell bad: 16 lines, at most 15"),
        ("x = 1\n" * 26, ("subject",), "cell bad: 26 lines, at most 25"),
        ("predict(1, 2)", ("predict",), "cell bad: a question holds"),
        (QUESTION, (), "cell bad: a question holds"),
        (f"{QUESTION}\nprint(5)", ("predict",), "cell bad: a question holds"),
        (QUESTION.replace('"?"', "None"), ("predict",), "cell bad: a question holds"),
        ("x = 1", ("predict",), "cell bad: a question holds"),
        ('guess = "?"\npredict(guess, "more")', ("predict",), "gives its answer away"),
        ("puzzle(7)", (), "one cell of a lesson is puzzle(n), for the n panels above it; found 2"),
        ('guess = "?"\npredict(guess, 500 + 0)', ("predict",), "gives its answer away"),
        ('guess = "?"\npredict(guess, x), print(7)', ("predict",), "a question holds"),
        ('guess = "?"\npredict(guess)', ("predict",), "a question holds"),
        ('guess = "?"\nchecks.vote(guess)', ("predict",), "a question holds"),
        ('checks.vote("won", "at the end")', (), "a question holds"),
        ("from m import a, b, c, d, e, f, g, h, i, j, k, l, n", (), "13 imports, at most 12"),
    ],
)
def test_a_cell_that_breaks_a_rule(source, labels, problem):
    found = problems(cell(source, *labels, name="bad"))
    assert any(problem in line for line in found), found


@pytest.mark.parametrize(
    ("source", "labels"),
    [
        ("x = 1\n" * 15, ()),
        ("x = 1\n\n" * 15, ()),  # blank lines are none
        ("x = 1\n" * 25, ("subject",)),
        ("assert 1\n" * 30, ("claims",)),
        ('guess = "?"  # more, or less\npredict(guess, max(\n    1, 2))', ("predict",)),
        ('guess = "?"\nchecks.vote(guess, "at the end")', ("predict",)),
        ("%time 1", ()),
        ("y = model.predict(x)", ()),
    ],
)
def test_a_cell_that_keeps_them(source, labels):
    at = 4 if labels != ("claims",) else 2  # not the panel of the section
    assert problems(cell(source, *labels), at=at) == []


def test_booleans_are_named_and_words_that_hold_them_are_not():
    assert len(problems(cell("print(x)", printed="np.True_"))) == 1
    (found,) = problems(cell("print(x)", printed="sorted: True", name="bad"))
    assert found.startswith("cell bad: it shows True or False")
    assert problems(cell("print(x)", printed="Trueness, Falsehood")) == []


def test_a_section_with_code_ends_in_one_panel():
    unheld = [words("## 2 · More"), cell("print(7)")]
    (found,) = problems(*unheld, at=6)
    assert found.endswith("one cell tagged `claims` ends a section with code")
    assert problems(*unheld, panel(), at=6) == []
    assert len(problems(*unheld, panel(), words("and then"), at=6)) == 1
    assert len(problems(*unheld, panel(), panel(), at=6)) == 1
    assert problems(words("## 2 · More"), words("Only words."), at=6) == []


def test_a_puzzle_counts_the_panels_above_it():
    wrong = [cell("puzzle(2)") if c is PUZZLE else c for c in FINE]
    (found,) = check_page(page(*wrong))
    assert found == "one cell of a lesson is puzzle(n), for the n panels above it; found 1"


def test_a_page_without_a_puzzle():
    assert list(check_page(page(*(c for c in FINE if c is not PUZZLE)))) == [
        "one cell of a lesson is puzzle(n), for the n panels above it; found 0"
    ]


def test_what_counts_as_machinery():
    found = measure(
        page(
            cell("import numpy as np\nfrom x import (\n    y,\n)\nz = 1"),  # 4 of 5
            cell("runs = results('rotated')\nmeans = runs['mean']['lora']"),  # 2 of 2
            cell("best = {r: means[r] for r in means}\nother = z['mean']"),  # 0 of 2
            cell("import y\n" * 9, "claims"),
        )
    )
    assert (found.machinery, sum(found.lines.values())) == (6, 9)


def test_too_much_machinery_is_named():
    found = problems(cell("import x\nimport y\nimport z\nu = 1"))
    assert found == ["31% of the visible lines are machinery, at most 20%"]
