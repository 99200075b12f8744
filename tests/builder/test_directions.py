"""How many sentences turned into their opposite are refused, and what a harmless rewording costs.

On the committed notebooks; nothing is run. A piece is replaced alike in the text of the page and in
the words of its claim, but not in the claim's code: so does who makes a slip, or who heeds a
complaint of the builder without thought.
"""

import copy
from pathlib import Path

import pytest
import yaml
from builder.editions import load
from builder.lint import carried, check_claims, check_prose
from builder.source import NOTEBOOKS, read_source

SENTENCES = yaml.safe_load(Path(__file__).with_name("sentences.yml").read_text(encoding="utf-8"))
PAGES = {name: load(NOTEBOOKS / f"{name}.ipynb") for name in SENTENCES["flips"]}
ALLOWED = {name: read_source(NOTEBOOKS / "src" / f"{name}.md").allowed_numbers for name in PAGES}


def refusals(name, pieces, *, in_words=True):
    """Return what the builder says of a page when pieces of its claims' words are replaced."""
    page = copy.deepcopy(PAGES[name])
    rows = [row for cell in page.cells for row in carried(cell)]
    changed = {old: [row for row in rows if old in row["words"]] for old in pieces}
    for old, (row,) in changed.items():
        before, after = row["words"], row["words"].replace(old, pieces[old], 1)
        texts = [cell for cell in page.cells if cell.cell_type == "markdown"]
        assert any(before in cell.source for cell in texts), before
        for cell in texts:
            cell.source = cell.source.replace(before, after)
        row["words"] = after if in_words else before
    return [*check_claims(page), *check_prose(page, ALLOWED[name])]


def each(kind):
    """Return the lessons' changes of a kind."""
    return [(name, pieces) for name, some in SENTENCES[kind].items() for pieces in some]


def test_of_eighty_sentences_turned_into_their_opposite_all_but_six_are_refused():
    """Where one of the six is refused by now, it belongs among the others."""
    assert [refusals(name, {}) for name in PAGES] == [[], []]
    assert (len(each("flips")), len(each("escapes"))) == (74, 6)
    assert [pieces for name, pieces in each("flips") if not refusals(name, pieces)] == []
    assert [pieces for name, pieces in each("escapes") if refusals(name, pieces)] == []


@pytest.mark.parametrize(("name", "pieces"), each("rewordings"))
def test_a_harmless_rewording_costs_one_edit_in_the_text_and_one_in_the_claim(name, pieces):
    assert refusals(name, pieces) == []
    assert refusals(name, pieces, in_words=False)  # the claim follows its sentence
