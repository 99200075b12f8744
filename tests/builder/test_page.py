"""The rules of the page, on notebooks that keep them or break them on purpose."""

import nbformat
import pytest
from builder.page import check_page


def cell(source, *labels, printed="", **named):
    """Return Markdown, if it is words, or a code cell."""
    if source.startswith(("#", "Only")):
        return nbformat.v4.new_markdown_cell(source, **named)
    outputs = [nbformat.v4.new_output("stream", text=printed)]
    metadata = {"tags": [label for label in labels if label]}
    return nbformat.v4.new_code_cell(source, metadata=metadata, outputs=outputs, **named)


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


def problems(*more, at):
    """Return what is said of the fine page with more cells in it."""
    page = nbformat.v4.new_notebook()
    page.cells = [*FINE[:at], *more, *FINE[at:]]
    return list(check_page(page))


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
    ('guess = "?"\nchecks.vote(guess)', "predict", "", HOLDS),
    ('guess = "?"\npredict(guess, 500 + 0)', "predict", "", AWAY),
    ("print(x)", "", "np.True_", BOOLEAN),
    ("print(x)", "", "sorted: True", BOOLEAN),
    # what may stand there
    ("print(x)", "", "Trueness, Falsehood", None),
    ('guess = "?"  # more, or less\npredict(guess, max(\n    1, 2))', "predict", "", None),
    ('guess = "?"\nchecks.vote(guess, "at the end")', "predict", "", None),
    ("%time 1", "", "", None),
    ("y = model.predict(x)", "", "", None),
]


@pytest.mark.parametrize(("source", "tag", "printed", "problem"), CELLS)
def test_what_a_cell_may_hold(source, tag, printed, problem):
    found = problems(cell(source, tag, printed=printed, id="bad"), at=4)
    assert bool(found) == bool(problem)
    assert all(line.startswith(f"cell bad: {problem}") for line in found)


MORE = [cell("## 2 · More", id="bad"), cell("print(7)")]
SECTIONS = [(MORE, 1), ([*MORE, PANEL], 0), ([*MORE, PANEL, cell("Only then")], 1)]
SECTIONS += [([*MORE, PANEL, PANEL], 1), ([MORE[0], cell("Only words.")], 0)]


@pytest.mark.parametrize(("cells", "wrong"), SECTIONS)
def test_a_section_with_code_ends_in_one_panel(cells, wrong):
    ends = "cell bad: one cell tagged `claims` ends a section with code"
    assert problems(*cells, at=6) == [ends] * wrong
