"""Assignments for nbgrader."""

import build
import nbformat
import pytest
from builder.source import exercises, read_source, slug, sources
from small_lesson import code

from lora_edu.course.checks import check

WITH_EXERCISES = [path for path in sources() if exercises(read_source(path))]
BEGIN, END = "### BEGIN SOLUTION\n", "\n### END SOLUTION"
HIDDEN = "### BEGIN HIDDEN TESTS"


@pytest.mark.parametrize("path", WITH_EXERCISES, ids=slug)
def test_a_release_has_the_exercises_and_no_answer(path, tmp_path, capsys):
    assert build.main(["--assignment", path.stem, "--out", str(tmp_path)]) == 0
    asked = exercises(read_source(path))
    names = ", ".join(exercise.check for exercise in asked.values())
    assert f"{len(asked)} points: {names}\n" in capsys.readouterr().out
    files = [f"{kind}/{path.stem}/{path.stem}.ipynb" for kind in ("release", "source")]
    found = sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.ipynb"))
    assert found == files
    given, version = (nbformat.read(tmp_path / file, as_version=4) for file in files)
    cells = {cell.id: cell for cell in given.cells}
    written = {cell.id: cell.source for cell in version.cells}
    assert list(written) == list(cells)
    assert len(cells) == len(given.cells)
    assert not {"solution", "quiz"} & {t for c in given.cells for t in c.metadata.get("tags", [])}
    graded = {
        cell.id: cell.metadata.nbgrader for cell in given.cells if "nbgrader" in cell.metadata
    }
    assert list(graded) == [name for each in asked for name in (each, f"{each}-check")]
    for name, exercise in asked.items():
        answer, test = graded[name], graded[f"{name}-check"]
        assert (answer.solution, answer.locked, answer.grade) == (True, False, False)
        assert (test.solution, test.locked, test.grade, test.points) == (False, True, True, 1)
        assert answer.grade_id == name
        stub, call = cells[name].source, cells[f"{name}-check"].source
        assert exercise.stub.endswith(f"\n\n{call}")
        hidden = f'{HIDDEN}\nassert {call.partition("(")[0]}.passed, "not attempted yet"\n'
        assert written[f"{name}-check"] == f"{call}\n{hidden}### END HIDDEN TESTS"
        own = {line for line in stub.splitlines() if "..." not in line}
        own -= {*exercise.stub.splitlines(), ""}
        assert {line.strip() for line in own} == {"# YOUR CODE HERE", "raise NotImplementedError()"}
        for line in exercise.solution.splitlines():
            assert line in written[name]


def test_answers_stand_between_marks(lesson, tmp_path):
    head = 'import numpy as np  # given\n\ndef double(x):\n    """Return 2 x."""\n'
    body = "    # a comment\n    return 2 * x\n"
    named = "\nthree, four = 3, 4  # two numbers"
    call = "\n\nchecks.check_double(double)"
    lesson.write(code("it", f"{head}{body}{named}{call}", "exercise"))
    assert build.main(["--assignment", "07", "--out", str(tmp_path)]) == 0
    path = tmp_path / "source" / "07_small" / "07_small.ipynb"
    answer = nbformat.read(path, as_version=4).cells[0].source
    assert answer == (
        f"{head}    {BEGIN}{body}    ### END SOLUTION\n"
        f"\nthree, four = ..., ...  # two numbers\n{BEGIN}{named.strip()}{END}"
    )


def test_a_check_says_whether_it_was_passed():
    @check
    def check_five(number):
        assert number == 5, "no"

    check_five(5)
    assert check_five.passed
    check_five(...)
    assert not check_five.passed
    check_five(5)
    with pytest.raises(AssertionError):
        check_five(6)
    assert not check_five.passed


def test_what_cannot_be_graded_is_refused(tmp_path, capsys):
    assert build.main(["--assignment", "00", "--out", str(tmp_path)]) == 1
    assert "00_first_words: it has no exercise, so nothing to grade" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        build.main(["--assignment"])
    assert "name the lessons" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
