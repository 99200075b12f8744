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


def test_copies_of_a_lesson_that_has_another_number_now_take_it(translated):
    source = translated()
    for language in ("", "vi"):
        (mine_of(source, language) / "05_small.ipynb").write_bytes(b"{ what I wrote \xff")
        (mine_of(source, language) / "05_small-2.ipynb").write_bytes(b"{ more of it")
    said = (
        "your 05_small-2.ipynb is 07_small-2.ipynb now; your 05_small.ipynb is 07_small.ipynb now; "
        "the lesson has changed: see 07_small-3.ipynb"
    )
    assert own_copies(source) == f"{said}; vi: {said}"
    for language in ("", "vi"):
        folder = mine_of(source, language)
        names = sorted(path.name for path in folder.glob("*.ipynb"))
        assert names == ["07_small-2.ipynb", "07_small-3.ipynb", "07_small.ipynb"]
        assert (folder / "07_small.ipynb").read_bytes() == b"{ what I wrote \xff"
        assert (folder / "07_small-2.ipynb").read_bytes() == b"{ more of it"


def test_a_copy_that_was_not_touched_is_the_lesson_under_its_new_name(lesson):
    source = lesson(GOOD)
    own_copies(source)
    made = (mine_of(source) / "07_small.ipynb").rename(mine_of(source) / "12_small.ipynb")
    content = made.read_bytes()
    assert own_copies(source) == (
        "your 12_small.ipynb is 07_small.ipynb now; yours, kept as it is: 07_small.ipynb"
    )
    assert [path.name for path in mine_of(source).iterdir()] == ["07_small.ipynb"]
    assert (mine_of(source) / "07_small.ipynb").read_bytes() == content
    assert own_copies(source) == "yours, kept as it is: 07_small.ipynb"


def test_of_two_copies_with_one_name_both_are_kept(lesson):
    source = lesson(GOOD)
    own_copies(source)
    new, old = mine_of(source) / "07_small.ipynb", mine_of(source) / "05_small.ipynb"
    older = mine_of(source) / "04_small-2.ipynb"
    old.write_bytes(b"what I wrote before")
    older.write_bytes(b"and before that")
    content = new.read_bytes()
    assert own_copies(source) == (
        "your 04_small-2.ipynb is 07_small-2.ipynb now; "
        "05_small.ipynb and 07_small.ipynb are both yours, both kept; "
        "yours, kept as it is: 07_small.ipynb"
    )
    assert new.read_bytes() == content
    assert old.read_bytes() == b"what I wrote before"
    assert (mine_of(source) / "07_small-2.ipynb").read_bytes() == b"and before that"


@pytest.mark.parametrize("name", ["05_very_small.ipynb", "05_small-notes.ipynb", "my_small.ipynb"])
def test_other_files_of_the_learner_keep_their_names(lesson, name):
    source = lesson(GOOD)
    (mine_of(source) / name).write_text("mine")
    assert own_copies(source) == "your copy"
    assert (mine_of(source) / name).read_text() == "mine"


def test_what_only_looks_like_a_former_copy_stays_where_it_is(lesson):
    source = lesson(GOOD)
    mine = source.parent.parent / "mine"
    mine.mkdir()
    (mine / "2024_small.ipynb").write_text("a backup")
    (mine / "08_small.ipynb").mkdir()
    assert own_copies(source) == "your copy"
    assert (mine / "2024_small.ipynb").read_text() == "a backup"
    assert (mine / "08_small.ipynb").is_dir()


@pytest.mark.parametrize("own", [5, {"lesson": 7}, None])
def test_a_copy_with_other_metadata_is_somebodys_own(lesson, own):
    source = lesson(GOOD)
    own_copies(source)
    path = source.parent.parent / "mine" / "07_small.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["lora_edu"] = own
    nbformat.write(notebook, path)
    assert own_copies(source) == "the lesson has changed: see 07_small-2.ipynb"
