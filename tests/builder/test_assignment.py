"""Assignments for nbgrader; that it takes them, tests/grading.py tries."""

import ast

import build
import pytest
from builder.assignment import instructor_version, release
from builder.source import exercises, read_source, slug, sources
from builder.stubs import between_marks

from lora_edu.course.checks import check

MARKS = ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN")
WITH_EXERCISES = [path for path in sources() if exercises(read_source(path))]


@pytest.mark.parametrize("path", WITH_EXERCISES, ids=slug)
def test_a_release_has_the_exercises_and_no_answer(path):
    source = read_source(path)
    version = instructor_version(source)
    given = release(version)
    about = [cell.metadata.get("nbgrader") for cell in given.cells]
    assert sum(each["points"] for each in about if each and each["grade"]) == len(exercises(source))
    assert all(each["solution"] != each["locked"] == each["grade"] for each in about if each)
    ids = [cell.id for cell in given.cells]
    assert len(set(ids)) == len(ids)
    assert not {"solution", "quiz"} & {
        tag for c in given.cells for tag in c.metadata.get("tags", [])
    }
    text = "\n".join(cell.source for cell in given.cells)
    assert not any(mark in text for mark in MARKS)
    assert text.count("# YOUR CODE HERE\n") >= len(exercises(source))
    for name, exercise in exercises(source).items():
        answer = next(cell.source for cell in version.cells if cell.id == name)
        stub = next(cell.source for cell in given.cells if cell.id == name)
        assert ast.dump(ast.parse(answer)).count("NotImplementedError") == 0
        written = [line for line in exercise.solution.splitlines() if len(line.strip()) > 30]
        assert any(line in answer for line in written) or not written
        for line in stub.splitlines():
            assert "..." in line or line in exercise.stub or "YOUR CODE" in line or "raise" in line


def test_answers_stand_between_marks():
    cell = '''import numpy as np  # given

def double(x):
    """Return 2 x."""
    # a comment
    return 2 * x

three, four = 3, 4  # two numbers

checks.check_double(double)'''
    answer, call = between_marks(cell)
    assert call == "checks.check_double(double)"
    assert (
        answer
        == '''import numpy as np  # given

def double(x):
    """Return 2 x."""
    ### BEGIN SOLUTION
    # a comment
    return 2 * x
    ### END SOLUTION

three, four = ..., ...  # two numbers
### BEGIN SOLUTION
three, four = 3, 4  # two numbers
### END SOLUTION'''
    )
    with pytest.raises(ValueError, match="end an exercise"):
        between_marks("x = 1")


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


def test_the_command_writes_both_versions(tmp_path, capsys):
    assert build.main(["--assignment", "01", "03", "--out", str(tmp_path)]) == 0
    assert "4 points: check_hi" in capsys.readouterr().out
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.ipynb")}
    names = ("01_matrix_example", "03_learning_the_update")
    kinds = ("release", "source")
    assert found == {f"{kind}/{name}/{name}.ipynb" for kind in kinds for name in names}


def test_what_cannot_be_graded_is_refused(tmp_path, capsys):
    assert build.main(["--assignment", "00", "--out", str(tmp_path)]) == 1
    assert "00_first_words: it has no exercise, so nothing to grade" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        build.main(["--assignment"])
    assert "name the lessons" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
