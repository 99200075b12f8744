"""Lessons as assignments for nbgrader: an instructor's version, and the students' release.

An exercise becomes two cells: what a student writes, and its check, which is worth a point. In the
instructor's version the answer stands between nbgrader's marks, so `nbgrader generate_assignment`
makes the release by itself; it is written here, too, for those who only hand it out. The check
that students see says `not attempted yet` and stops nothing; a hidden test makes that no point.
Left out are the folded solutions and the questions at the end.

Source: https://nbgrader.readthedocs.io, *Creating and grading assignments*.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from builder.editions import dumps, own_edition
from builder.source import BuildError, Source, exercises, read_source, tags
from builder.stubs import between_marks
from lora_edu.files import write_whole

LEFT = {"solution", "quiz"}  # what stands in no assignment
STUB = "# YOUR CODE HERE\nraise NotImplementedError()"  # nbgrader's own
SOLUTION = re.compile(r"(?ms)^([ ]*)### BEGIN SOLUTION\n.*?^[ ]*### END SOLUTION$")
HIDDEN = re.compile(r"(?ms)\n### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS")


def instructor_version(source: Source) -> NotebookNode:
    """Return a lesson as nbgrader's `source/` holds it: answers between marks, checks as tests."""
    notebook = own_edition(source)
    written = {cell.id: cell.source for cell in source.cells}
    cells = []
    for cell in notebook.cells:
        if LEFT.intersection(tags(cell)):
            continue
        if "exercise" not in tags(cell):
            cells.append(cell)
            continue
        answer, call = between_marks(written[cell.id])
        check = call.partition("(")[0]
        hidden = f'assert {check}.passed, "not attempted yet"'
        test = f"{call}\n### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS"
        cells.append(graded(f"{cell.id}", answer, solution=True))
        cells.append(graded(f"{cell.id}-check", test, solution=False))
    notebook.cells = cells
    return notebook


def graded(name: str, code: str, *, solution: bool) -> NotebookNode:
    """Return a cell with nbgrader's metadata: a student's answer, or a test worth a point."""
    about = {
        "grade": not solution,
        "grade_id": name,
        "locked": not solution,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    if not solution:
        about["points"] = 1
    return nbformat.v4.new_code_cell(code, id=name, metadata={"nbgrader": about})


def release(version: NotebookNode) -> NotebookNode:
    """Return the instructor's version as students get it: no answers, no hidden tests."""
    notebook = copy.deepcopy(version)
    for cell in notebook.cells:
        if "nbgrader" in cell.metadata:
            cell.source = HIDDEN.sub("", SOLUTION.sub(without, cell.source))
    return notebook


def without(region: re.Match[str]) -> str:
    """Return what nbgrader puts in the place of an answer, as far indented."""
    return "\n".join(region[1] + line for line in STUB.splitlines())


def write_assignment(path: Path, folder: Path) -> str:
    """Write both versions of the lesson whose source is ``path``; say what there is to grade.

    Raises
    ------
    BuildError
        The lesson has no exercise.
    """
    source = read_source(path)
    names = [exercise.check for exercise in exercises(source).values()]
    if not names:
        raise BuildError(f"{path.stem}: it has no exercise, so nothing to grade")
    version = instructor_version(source)
    for kind, notebook in {"source": version, "release": release(version)}.items():
        target = folder / kind / path.stem
        target.mkdir(parents=True, exist_ok=True)
        write_whole(target / f"{path.stem}.ipynb", dumps(notebook))
    points = sum("points" in cell.metadata.get("nbgrader", {}) for cell in version.cells)
    return f"{points} points: {', '.join(names)}"
