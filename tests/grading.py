"""Does nbgrader take the assignments? Six students hand in, and its autograder marks them.

    python tests/grading.py [NAME ...]         lessons (01 03), a minute for each
    python tests/grading.py --python PATH ...  in an environment that has nbgrader and lora_edu

Without one it makes its own in build/nbgrader, a few minutes once. The release that nbgrader makes
of the instructor's version has to be ours, and the points have to be what the students earned: all
for every answer right (also above a `raise` that was left), one for the first alone, all but one
after a first one that is no Python, none for wrong ones, none for an untouched release.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from nbformat import NotebookNode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "notebooks"))
from builder.assignment import instructor_version, write_assignment
from builder.editions import dumps, load
from builder.source import read_source, sources

ROOT = Path(__file__).resolve().parents[1]
HOW = ("right", "raise left", "no Python", "first", "wrong", "untouched")
POINTS = """
import json, sys
from nbgrader.api import Gradebook
with Gradebook("sqlite:///gradebook.db") as book:
    students = [student.id for student in book.students]
    print(json.dumps({one: book.find_submission(sys.argv[1], one).score for one in students}))
"""


def environment() -> Path:
    """Return a Python that has nbgrader and this project; make it if there is none."""
    home = ROOT / "build" / "nbgrader"
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not (home / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        wanted = ["nbgrader>=0.9.5", "-e", f"{ROOT}[course]"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
        (home / "made").touch()
    return python


def answered(version: NotebookNode, handed_in: NotebookNode, how: str) -> NotebookNode:
    """Fill in a release: how is a key of ``main``'s table of what is due."""
    right = {cell.id: cell.source for cell in version.cells}
    answers = [c for c in handed_in.cells if c.metadata.get("nbgrader", {}).get("solution")]
    for number, cell in enumerate(answers):
        if how == "no Python" and number == 0:
            cell.source = "def"
        elif how in ("right", "no Python") or (how == "first" and number == 0):
            cell.source = right[cell.id]
        elif how == "raise left":
            cell.source = f"{right[cell.id]}\nraise NotImplementedError()"
        elif how == "wrong":
            cell.source = wrong(right[cell.id])
    return handed_in


def wrong(answer: str) -> str:
    """Return an answer whose functions return 0, and whose names are 0."""
    lines = []
    for node in ast.parse(answer).body:
        if isinstance(node, ast.FunctionDef):
            lines.append(f"def {node.name}({ast.unparse(node.args)}):\n    return 0")
        elif isinstance(node, ast.Assign):
            names = [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]
            lines += [f"{name} = 0" for name in names[:1]]
    return "\n".join(lines)


def marked(python: Path, lesson: Path, course: Path) -> dict[str, float]:
    """Hand in a lesson four times and have it marked; return each student's points."""

    # nbgrader starts `alembic` by its name.
    space = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}

    def run(*command: str) -> str:
        done = subprocess.run(
            [str(python), *command], cwd=course, env=space, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
        return done.stdout

    name = lesson.stem
    version = instructor_version(read_source(lesson))
    write_assignment(lesson, course)
    ours = load(course / "release" / name / f"{name}.ipynb")
    run("-m", "nbgrader", "generate_assignment", name, "--create", "--force")
    theirs = load(course / "release" / name / f"{name}.ipynb")
    assert ours is not None
    assert theirs is not None
    assert [c.source for c in ours.cells] == [c.source for c in theirs.cells], name
    for how in HOW:
        target = course / "submitted" / how / name / f"{name}.ipynb"
        target.parent.mkdir(parents=True)
        handed_in = load(course / "release" / name / f"{name}.ipynb")
        assert handed_in is not None
        target.write_text(dumps(answered(version, handed_in, how)), encoding="utf-8")
    run("-m", "nbgrader", "autograde", name, "--create")
    run("-m", "nbgrader", "generate_feedback", name)
    assert len([*(course / "feedback").rglob(f"{name}.html")]) == len(HOW)
    return json.loads(run("-c", POINTS, name))


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description="Try the assignments with nbgrader.")
    parser.add_argument("names", nargs="*", default=["01", "03"], metavar="NAME")
    parser.add_argument("--python", type=Path, help="of an environment with nbgrader and lora_edu")
    options = parser.parse_args()
    python = options.python or environment()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for lesson in sources(options.names):
            points = marked(python, lesson, Path(folder))
            cells = instructor_version(read_source(lesson)).cells
            most = sum("points" in cell.metadata.get("nbgrader", {}) for cell in cells)
            due = dict(zip(HOW, (most, most, most - 1, 1, 0, 0), strict=True))
            failed = failed or points != due
            print(f"{lesson.stem:<28}{'as earned' if points == due else 'NOT RIGHT'}: {points}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
