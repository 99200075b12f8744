"""What is handed out of a lesson: the learner's own copies, and assignments for nbgrader."""

import build
import nbformat
import pytest
from builder.source import exercises, read_source, slug, sources, tags
from small_lesson import VIETNAMESE, text

from lora_edu.course.checks import GUESS_FIRST


@pytest.fixture
def own(built, capsys):
    """A function that makes the copies; returns what the command says, in both languages."""

    def make():
        assert build.main(["--own"]) == 0
        return capsys.readouterr().out.split(" s  ")[1].partition("\n")[0]

    return make


def test_own_copies_are_made_once_in_each_language_and_never_written_over(built, own):
    assert own() == "your copy; vi: your copy"
    first = built.folder / "mine" / "07_small.ipynb"
    copy = nbformat.read(first.parent / "vi" / first.name, as_version=4)
    assert VIETNAMESE["first"] in [cell.source for cell in copy.cells]
    assert copy.metadata.lora_edu.language == "vi"  # which the package asks
    notebook = nbformat.read(first, as_version=4)
    assert all(not c.get("outputs") and not c.get("execution_count") for c in notebook.cells)

    built.rendered.unlink()
    notebook.cells[3].source = "# my own notes"
    nbformat.write(notebook, first)
    worked_on = first.read_bytes()
    assert own() == "yours, kept as it is: 07_small.ipynb"
    built.edit('\n+++ {"id": "first"', text("news", "More.") + '\n+++ {"id": "first"')
    assert own() == "the lesson has changed: see 07_small-2.ipynb"
    assert own() == "yours, kept as it is: 07_small-2.ipynb"
    assert first.read_bytes() == worked_on
    names = sorted(path.name for path in first.parent.glob("*.ipynb"))
    assert names == ["07_small-2.ipynb", "07_small.ipynb", "START.ipynb"]


def test_copies_follow_their_lesson_to_another_number_and_never_over_a_file(built, own):
    own()
    mine = built.folder / "mine"
    made = (mine / "07_small.ipynb").rename(mine / "04_small.ipynb").read_bytes()
    for name in ("04_small-2", "04_smaller", "07_small-2"):
        (mine / f"{name}.ipynb").write_text(name)
    assert own() == "yours, kept as it is: 07_small.ipynb; vi: yours, kept as it is: 07_small.ipynb"
    assert (mine / "07_small.ipynb").read_bytes() == made
    for name in ("04_small-2", "04_smaller", "07_small-2"):
        assert (mine / f"{name}.ipynb").read_text() == name


@pytest.mark.parametrize("written", ["{ half a file", '{"metadata": {"lora_edu": 5}}'])
def test_what_is_no_copy_of_the_lesson_is_left_to_its_owner(built, own, written):
    path = built.folder / "mine" / "07_small.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(written)
    assert own().startswith("the lesson has changed: see 07_small-2.ipynb")
    assert path.read_text() == written


FOLD = "<details><summary>Your guess first. Then: why</summary>\n\n{}\n\n</details>"


def test_the_copies_keep_the_answers_back_and_fold_what_tells_them(full):
    assert build.main(["--own"]) == 0
    copy = nbformat.read(full.folder / "mine" / "07_small.ipynb", as_version=4)
    pairs = list(zip(copy.cells, full.page().cells, strict=True))
    for own, reading in pairs:
        if "predict" in tags(own):
            assert own.source == reading.source.replace('= "?"', "= None")
    told = {
        own.id: own.source
        for own, reading in pairs
        if own.source != reading.source and "predict" not in tags(own)
    }
    assert told == {
        "told": f"{FOLD.format('It is 5.')}\n\nAnd more.\n\n### Later",
        "plot-why": FOLD.format("So it rises."),
    }


def test_the_first_page_says_what_is_done_and_where_to_go_on(full):
    mine = full.folder / "mine"

    def greets():
        assert build.main(["--own"]) == 0
        (page,) = nbformat.read(mine / "START.ipynb", as_version=4).cells
        return page.source

    link = "[07 · Small & good](07_small.ipynb)"
    before = greets()
    assert f"|  | {link} | 0 of 6 | 0 of 2 |" in before
    assert f"**Begin with {link}.**" in before

    copy = nbformat.read(mine / "07_small.ipynb", as_version=4)
    said = {
        "predict": ["answer: 5\n", *[f"{GUESS_FIRST}\n"] * 5],
        "exercise": ["check_double: OK\n"] * 2,
    }
    for cell in copy.cells:
        for tag in said.keys() & {*tags(cell)}:
            cell.outputs = [nbformat.v4.new_output("stream", text=said[tag].pop())]
    nbformat.write(copy, mine / "07_small.ipynb")
    for place in ("mine/kept", "mine/vi"):  # a folder of the learner's own, and another language
        (full.folder / place).mkdir(exist_ok=True)
        nbformat.write(copy, full.folder / place / "07_small.ipynb")
    (mine / "07_small (1).ipynb").write_text("{}")
    after = greets()
    assert f"| ✓ | {link} | 1 of 6 | 2 of 2 |" in after
    assert "All is done." in after


# -- assignments ------------------------------------------------------------------------------

WITH_EXERCISES = [path for path in sources() if exercises(read_source(path))]


@pytest.mark.parametrize("path", WITH_EXERCISES, ids=slug)
def test_an_assignment_is_what_nbgrader_asks_for(path, tmp_path, capsys):
    assert build.main(["--assignment", path.stem, "--out", str(tmp_path)]) == 0
    asked = exercises(read_source(path))
    names = ", ".join(exercise.check for exercise in asked.values())
    assert f"{len(asked)} points: {names}\n" in capsys.readouterr().out
    assert [each.name for each in tmp_path.iterdir()] == ["source"]
    version = nbformat.read(tmp_path / "source" / path.stem / f"{path.stem}.ipynb", as_version=4)
    assert not {"solution", "quiz"} & {tag for cell in version.cells for tag in tags(cell)}
    graded = {cell.id: cell for cell in version.cells if "nbgrader" in cell.metadata}
    assert list(graded) == [name for each in asked for name in (each, f"{each}-check")]
    for name, exercise in asked.items():
        answer, test = graded[name], graded[f"{name}-check"]
        about = {"schema_version": 3, "task": False, "grade_id": name}
        about |= {"solution": True, "locked": False, "grade": False}
        assert answer.metadata.nbgrader == about
        about |= {"solution": False, "locked": True, "grade": True, "points": 1}
        assert test.metadata.nbgrader == {**about, "grade_id": test.id}
        hidden = f'assert {exercise.call.partition("(")[0]}.passed, "not attempted yet"'
        assert answer.source == exercise.marked
        assert "### BEGIN SOLUTION" in answer.source
        assert test.source == (
            f"{exercise.call}\n### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS"
        )


def test_what_cannot_be_graded_is_refused(tmp_path, capsys):
    assert build.main(["--assignment", "00", "--out", str(tmp_path)]) == 1
    assert "00_first_words: it has no exercise, so nothing to grade" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        build.main(["--assignment"])
    assert "name the lessons" in capsys.readouterr().err
