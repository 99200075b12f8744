"""The small lesson as files: to be written, built, and translated."""

import build
import pytest
from builder import execute
from builder.questions import KINDS
from small_lesson import ASKED, FULL, GOOD, Lesson

from lora_edu.course.say import catalogue


def add_a_row(patch):
    """Let the Vietnamese catalogue have what the small lesson claims."""
    patch.setitem(catalogue("vi")[0], "The sum is 5", "Tổng là 5")


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    """A folder for a lesson, which `build.py` takes for the only one.

    It is so small that the rules of the page do not hold: test_lint.py tries them by themselves.
    """
    made = Lesson(tmp_path / "course")
    monkeypatch.setattr(build, "sources", lambda names: [made.source])
    monkeypatch.setattr(build, "NOTEBOOKS", made.folder)
    monkeypatch.setattr(build.lint, "check_page", lambda _: ())
    add_a_row(monkeypatch)
    return made


@pytest.fixture(scope="session")
def built_once(tmp_path_factory):
    """The good lesson and its translation, built."""
    made = Lesson(tmp_path_factory.mktemp("good"))
    made.write(*GOOD)
    made.translate()
    with pytest.MonkeyPatch.context() as patch:
        add_a_row(patch)
        execute.build(made.source)
    return made


@pytest.fixture
def built(lesson, built_once):
    """A copy of them, to be spoilt."""
    return built_once.copy(lesson.root)


@pytest.fixture(scope="session")
def full_once(tmp_path_factory):
    """The lesson with a cell of each kind, and its questions, built."""
    made = Lesson(tmp_path_factory.mktemp("full"))
    made.write(*FULL)
    made.ask([{**ASKED, "kind": kind} for kind in KINDS])
    execute.build(made.source)
    return made


@pytest.fixture
def full(lesson, full_once):
    """A copy of it, to be spoilt."""
    return full_once.copy(lesson.root)
