"""What is handed out of a lesson: the learner's own copies, and assignments for nbgrader."""

import build
import nbformat
import pytest
from builder.source import exercises, read_source, slug, sources
from small_lesson import GOOD, VIETNAMESE, code, text


@pytest.fixture
def own(lesson, capsys):
    """A function that makes the copies; returns what the command says, in both languages."""

    def make(*cells):
        lesson.write(*cells)
        assert build.main(["--own"]) == 0
        return capsys.readouterr().out.split(" s  ")[1].strip()

    return make


def test_own_copies_are_made_once_in_each_language_and_never_written_over(lesson, own):
    lesson.write(*GOOD)
    lesson.translate()
    assert own(*GOOD) == "your copy; vi: your copy"
    first = lesson.folder / "mine" / "07_small.ipynb"
    copy = nbformat.read(first.parent / "vi" / first.name, as_version=4)
    assert VIETNAMESE["first"] in [cell.source for cell in copy.cells]
    notebook = nbformat.read(first, as_version=4)
    assert all(not c.get("outputs") and not c.get("execution_count") for c in notebook.cells)

    lesson.rendered.unlink()
    notebook.cells[3].source = "# my own notes"
    nbformat.write(notebook, first)
    worked_on = first.read_bytes()
    assert own(*GOOD) == "yours, kept as it is: 07_small.ipynb"
    news = text("news", "More.")
    assert own(*GOOD, news) == "the lesson has changed: see 07_small-2.ipynb"
    assert own(*GOOD, news) == "yours, kept as it is: 07_small-2.ipynb"
    assert first.read_bytes() == worked_on
    names = sorted(path.name for path in first.parent.glob("*.ipynb"))
    assert names == ["07_small-2.ipynb", "07_small.ipynb"]


@pytest.mark.parametrize("written", ["{ half a file", '{"metadata": {"lora_edu": 5}}'])
def test_what_is_no_copy_of_the_lesson_is_left_to_its_owner(lesson, own, written):
    path = lesson.folder / "mine" / "07_small.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(written)
    assert own(*GOOD) == "the lesson has changed: see 07_small-2.ipynb"
    assert path.read_text() == written


TOLD = "Five. $2 + 3$\n\nAnd more."
FOLD = "<details><summary>Your guess first. Then: why</summary>\n\nFive. $2 + 3$\n\n</details>"
FOLDED = [
    ("ask-why", TOLD, f"{FOLD}\n\nAnd more."),
    ("next-text", TOLD, TOLD),  # leads on
    ("ask-why", "## 2 · Five", "## 2 · Five"),
    ("ask-why", "**Predict.** And now?", "**Predict.** And now?"),
]


@pytest.mark.parametrize(("name", "said", "copied"), FOLDED)
def test_the_copies_keep_the_answers_back_and_fold_what_tells_them(lesson, own, name, said, copied):
    asked = code("ask", 'guess = "?"  # more, or less\npredict(guess, 5)', "predict")
    asking = [text("lead", "Lead."), asked, code("shown", "print(5)")]
    own(*asking, text(name, said), text("last-why", "Last."))
    made = nbformat.read(lesson.folder / "mine" / "07_small.ipynb", as_version=4)
    lead, question, _, why, last = made.cells
    assert question.source == "guess = None  # more, or less\npredict(guess, 5)"
    assert (lead.source, why.source, last.source) == ("Lead.", copied, "Last.")


# -- assignments ------------------------------------------------------------------------------

WITH_EXERCISES = [path for path in sources() if exercises(read_source(path))]


@pytest.mark.parametrize("path", WITH_EXERCISES, ids=slug)
def test_a_release_has_the_exercises_and_no_answer(path, tmp_path, capsys):
    assert build.main(["--assignment", path.stem, "--out", str(tmp_path)]) == 0
    asked = exercises(read_source(path))
    names = ", ".join(exercise.check for exercise in asked.values())
    assert f"{len(asked)} points: {names}\n" in capsys.readouterr().out
    files = [tmp_path / kind / path.stem / f"{path.stem}.ipynb" for kind in ("release", "source")]
    given, version = (nbformat.read(file, as_version=4).cells for file in files)
    assert [cell.id for cell in given] == [cell.id for cell in version]
    assert not {"solution", "quiz"} & {tag for c in given for tag in c.metadata.get("tags", [])}
    written = {cell.id: cell.source for cell in version}
    graded = {cell.id: cell for cell in given if "nbgrader" in cell.metadata}
    assert list(graded) == [name for each in asked for name in (each, f"{each}-check")]
    for name, exercise in asked.items():
        answer, test = graded[name], graded[f"{name}-check"]
        about = {"schema_version": 3, "task": False, "grade_id": name}
        hand_in = {"solution": True, "locked": False, "grade": False}
        assert answer.metadata.nbgrader == {**about, **hand_in}
        marked = {"solution": False, "locked": True, "grade": True, "points": 1}
        assert test.metadata.nbgrader == {**about, **marked, "grade_id": f"{name}-check"}
        assert exercise.stub.endswith(f"\n\n{test.source}")
        hidden = f'assert {test.source.partition("(")[0]}.passed, "not attempted yet"'
        hidden = f"### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS"
        assert written[test.id] == f"{test.source}\n{hidden}"
        own = {line.strip() for line in answer.source.splitlines() if "..." not in line}
        own -= {line.strip() for line in exercise.stub.splitlines()}
        assert own == {"# YOUR CODE HERE", "raise NotImplementedError()"}
        for line in exercise.solution.splitlines():
            assert line in written[name]


def test_answers_stand_between_marks(lesson, tmp_path):
    head = 'import numpy as np  # given\n\ndef double(x):\n    """Return 2 x."""\n'
    body = "    # a comment\n    return 2 * x\n"
    named = "three, four = 3, 4  # two numbers"
    call = "\n\nchecks.check_double(double)"
    lesson.write(code("it", f"{head}{body}\n{named}{call}", "exercise"))
    assert build.main(["--assignment", "07", "--out", str(tmp_path)]) == 0
    path = tmp_path / "source" / "07_small" / "07_small.ipynb"
    assert nbformat.read(path, as_version=4).cells[0].source == (
        f"{head}    ### BEGIN SOLUTION\n{body}    ### END SOLUTION\n"
        "\nthree, four = ..., ...  # two numbers\n"
        f"### BEGIN SOLUTION\n{named}\n### END SOLUTION"
    )


def test_what_cannot_be_graded_is_refused(tmp_path, capsys):
    assert build.main(["--assignment", "00", "--out", str(tmp_path)]) == 1
    assert "00_first_words: it has no exercise, so nothing to grade" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        build.main(["--assignment"])
    assert "name the lessons" in capsys.readouterr().err
