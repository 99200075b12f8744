"""The lessons themselves: as their sources say, solvable, and true for another seed."""

import re

import pytest
from conftest import LESSONS
from test_build import build

SOURCES = build.sources()
lessons = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
ON_ASSETS = [
    pytest.param(path, marks=[pytest.mark.assets] * path.name.startswith(LESSONS))
    for path in SOURCES
]
executed_lessons = pytest.mark.parametrize("source", ON_ASSETS, ids=lambda path: path.stem)


def test_there_are_lessons():
    assert SOURCES
    committed = {path.stem for path in build.NOTEBOOKS.glob("*.ipynb")}
    assert committed == {path.stem for path in SOURCES}, (
        "a notebook without a source, or the reverse"
    )


def test_each_translation_belongs_to_a_lesson():
    for language in build.LABELS.keys() - {"en"}:
        written = {p.stem for p in (build.NOTEBOOKS / "src" / language).glob("[0-9]*.md")}
        built = {p.stem for p in (build.NOTEBOOKS / language).glob("*.ipynb")}
        assert written == built
        assert written <= {path.stem for path in SOURCES}


@lessons
def test_the_committed_notebook_is_as_its_source_says(source):
    assert build.check(source) == []


@executed_lessons
def test_every_exercise_can_be_solved(source):
    notebook = build.run_solved(source)
    assert "not attempted" not in "".join(map(build.printed, notebook.cells))


@lessons
def test_a_lesson_has_three_to_five_exercises_in_its_core(source):
    notebook = build.read_source(source)
    assert 3 <= len(build.exercises(notebook, source.name)) <= 6


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
@executed_lessons
def test_the_claims_hold_for_other_seeds(source, seed):
    build.run_with_seed(source, seed)


def test_the_page_for_teachers_names_cells_that_exist():
    text = (build.NOTEBOOKS / "TEACHING.md").read_text(encoding="utf-8")
    parts = {part[:2]: part for part in re.split(r"(?m)^### ", text)[1:]}
    assert list(parts) == [source.name[:2] for source in SOURCES]
    for source in SOURCES:
        ids = {cell.id for cell in build.read_source(source).cells}
        named = re.findall(r"[Cc]ells?((?:(?:,| and| to)?\s`[a-z0-9-]+`)+)", parts[source.name[:2]])
        cells = {name for some in named for name in re.findall(r"`(.+?)`", some)}
        assert len(cells) >= 5
        assert cells <= ids, cells - ids
