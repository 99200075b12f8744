"""The rules of the page, on notebooks that keep them or break them on purpose."""

import nbformat
import pytest
from builder.page import check_page


def cell(source, *labels, printed="", **named):
    """Return Markdown, if it is words, or a code cell."""
    if source.startswith(("#", "Only")):
        return nbformat.v4.new_markdown_cell(source, **named)
    outputs = [nbformat.v4.new_output("stream", text=printed)]
    metadata = {"tags": list(labels)}
    return nbformat.v4.new_code_cell(source, metadata=metadata, outputs=outputs, **named)


def page(cells):
    made = nbformat.v4.new_notebook()
    made.cells = list(cells)
    return made


def problems(*more, at=4):
    """Return what is said of the fine page with more cells in it."""
    return list(check_page(page([*FINE[:at], *more, *FINE[at:]])))


PANEL = cell("panel(claim('it is 5', 5, 5))", "claims")
QUESTION = 'guess = "?"\npredict(guess, sum([2, 3]))'
FINE = [
    cell("# A page"),
    cell("import numpy\n" + "x = 1\n" * 4),
    cell("## 1 · Adding"),
    cell("print(2 + 3)", printed="5\n"),
    cell(QUESTION, "predict"),
    PANEL,
    cell("## Closing"),
]
HOLDS, AWAY = "a question holds", "the question gives its answer away"
ASSERT = "an assert on the page"


CELLS = [
    ("assert 1\nx = 3", (), ASSERT),
    ("np.testing.assert_equal(1)", (), ASSERT),
    ("def same(x):\n    assert x", (), ASSERT),
    ("predict(1, 2)", ("predict",), HOLDS),
    (QUESTION, (), HOLDS),
    (f"{QUESTION}\nprint(5)", ("predict",), HOLDS),
    (QUESTION.replace('"?"', "None"), ("predict",), HOLDS),
    ("x = 1", ("predict",), HOLDS),
    ('guess = "?"\npredict(guess, x), print(7)', ("predict",), HOLDS),
    ('guess = "?"\npredict(guess)', ("predict",), HOLDS),
    ('guess = "?"\nchecks.vote(guess)', ("predict",), HOLDS),
    ('checks.vote("won", "at the end")', (), HOLDS),
    ('guess = "?"\npredict(guess, "more")', ("predict",), AWAY),
    ('guess = "?"\npredict(guess, 500 + 0)', ("predict",), AWAY),
    # what may stand there
    ('guess = "?"  # more, or less\npredict(guess, max(\n    1, 2))', ("predict",), None),
    ('guess = "?"\nchecks.vote(guess, "at the end")', ("predict",), None),
    ("%time 1", (), None),
    ("y = model.predict(x)", (), None),
]


@pytest.mark.parametrize(("source", "labels", "problem"), CELLS)
def test_what_a_cell_may_hold(source, labels, problem):
    found = problems(cell(source, *labels, id="bad"))
    assert bool(found) == bool(problem)
    assert all(line.startswith(f"cell bad: {problem}") for line in found[:1])


@pytest.mark.parametrize(
    ("printed", "named"), [("np.True_", 1), ("sorted: True", 1), ("Trueness, Falsehood", 0)]
)
def test_booleans_are_named_and_words_that_hold_them_are_not(printed, named):
    found = problems(cell("print(x)", printed=printed, id="bad"))
    assert [line.split(";")[0] for line in found] == ["cell bad: it shows True or False"] * named


MORE = [cell("## 2 · More", id="bad"), cell("print(7)")]
ENDS = "cell bad: one cell tagged `claims` ends a section with code"


SECTIONS = [
    (MORE, [ENDS]),
    ([*MORE, PANEL], []),
    ([*MORE, PANEL, cell("Only then")], [ENDS]),
    ([*MORE, PANEL, PANEL], [ENDS]),
    ([MORE[0], cell("Only words.")], []),
]


@pytest.mark.parametrize(("cells", "found"), SECTIONS)
def test_a_section_with_code_ends_in_one_panel(cells, found):
    assert problems(*cells, at=6) == found
