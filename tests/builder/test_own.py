"""The learner's own copies."""

import nbformat
import pytest
from builder.editions import load
from builder.own import own_copies
from small_lesson import GOOD, VIETNAMESE, text


def test_own_copies_are_made_once_and_never_written_over(lesson):
    source = lesson(GOOD)
    mine = source.parent.parent / "mine"
    assert own_copies(source) == "your copy"
    first = mine / "07_small.ipynb"
    notebook = nbformat.read(first, as_version=4)
    assert all(not c.get("outputs") and not c.get("execution_count") for c in notebook.cells)

    notebook.cells[3].source = "# my own notes"
    nbformat.write(notebook, first)
    worked_on = first.read_bytes()
    assert own_copies(source) == "yours, kept as it is: 07_small.ipynb"

    lesson([*GOOD, text("news", "More.")])
    assert own_copies(source) == "the lesson has changed: see 07_small-2.ipynb"
    assert own_copies(source) == "yours, kept as it is: 07_small-2.ipynb"
    assert first.read_bytes() == worked_on
    assert sorted(p.name for p in mine.iterdir()) == ["07_small-2.ipynb", "07_small.ipynb"]


def test_a_damaged_copy_is_left_to_its_owner(lesson):
    source = lesson(GOOD)
    own_copies(source)
    damaged = source.parent.parent / "mine" / "07_small.ipynb"
    damaged.write_text("{ half a file")
    assert own_copies(source) == "the lesson has changed: see 07_small-2.ipynb"
    assert damaged.read_text() == "{ half a file"


def test_the_learners_copies_come_in_each_language(translated):
    source = translated()
    assert own_copies(source) == "your copy; vi: your copy"
    copy = load(source.parent.parent / "mine" / "vi" / "07_small.ipynb")
    assert VIETNAMESE["first"] in [cell.source for cell in copy.cells]
    assert own_copies(source).endswith("vi: yours, kept as it is: 07_small.ipynb")


# -- a lesson that has another number than when its copies were made --------------------------


def mine_of(source, language=""):
    folder = source.parent.parent / "mine" / language
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("name", ["05_very_small.ipynb", "05_small-notes.ipynb", "my_small.ipynb"])
def test_other_files_of_the_learner_keep_their_names(lesson, name):
    source = lesson(GOOD)
    (mine_of(source) / name).write_text("mine")
    assert own_copies(source) == "your copy"
    assert (mine_of(source) / name).read_text() == "mine"


@pytest.mark.parametrize("own", [5, {"lesson": 7}, None])
def test_a_copy_with_other_metadata_is_somebodys_own(lesson, own):
    source = lesson(GOOD)
    own_copies(source)
    path = source.parent.parent / "mine" / "07_small.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["lora_edu"] = own
    nbformat.write(notebook, path)
    assert own_copies(source) == "the lesson has changed: see 07_small-2.ipynb"
