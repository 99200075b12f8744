"""The small lesson as files: to be written, built, and translated."""

import build
import pytest
from builder import execute
from small_lesson import GOOD, Lesson


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    """A folder for a lesson, which `build.py` takes for the only one.

    It is so small that the rules of the page do not hold: test_page.py has a page of its own.
    """
    made = Lesson(tmp_path / "course")
    monkeypatch.setattr(build, "sources", lambda names: [made.source])
    monkeypatch.setattr(build.lint, "check_page", lambda _: ())
    return made


@pytest.fixture(scope="session")
def built_once(tmp_path_factory):
    """The good lesson and its translation, built."""
    made = Lesson(tmp_path_factory.mktemp("good"))
    made.write(*GOOD)
    made.translate()
    assert execute.build(made.source) is True
    return made


@pytest.fixture
def built(lesson, built_once):
    """A copy of them, to be spoilt."""
    return built_once.copy(lesson.root)
