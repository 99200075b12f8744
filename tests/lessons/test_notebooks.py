"""The lessons themselves: as their sources say, solvable, and true for another seed."""

import re

import pytest
from builder import execute
from builder.editions import LABELS, printed
from builder.lint import check
from builder.prose import without_code
from builder.source import NOTEBOOKS, exercises, read_source, sources
from conftest import LESSONS

SOURCES = sources()
lessons = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
ON_ASSETS = [
    pytest.param(path, marks=[pytest.mark.assets] * path.name.startswith(LESSONS))
    for path in SOURCES
]
executed_lessons = pytest.mark.parametrize("source", ON_ASSETS, ids=lambda path: path.stem)


def test_there_are_lessons():
    assert SOURCES
    committed = {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    assert committed == {path.stem for path in SOURCES}, (
        "a notebook without a source, or the reverse"
    )


def test_each_translation_belongs_to_a_lesson():
    for language in LABELS.keys() - {"en"}:
        written = {p.stem for p in (NOTEBOOKS / "src" / language).glob("[0-9]*.md")}
        built = {p.stem for p in (NOTEBOOKS / language).glob("*.ipynb")}
        assert written == built
        assert written <= {path.stem for path in SOURCES}


@lessons
def test_the_committed_notebook_is_as_its_source_says(source):
    assert check(source) == []


@executed_lessons
def test_every_exercise_can_be_solved(source):
    notebook = execute.run_solved(source)
    assert "not attempted" not in "".join(map(printed, notebook.cells))


@lessons
def test_a_lesson_has_three_to_five_exercises_in_its_core(source):
    assert 3 <= len(exercises(read_source(source))) <= 6


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
@executed_lessons
def test_the_claims_hold_for_other_seeds(source, seed):
    execute.run_with_seed(source, seed)


def test_the_page_for_teachers_names_cells_that_exist():
    text = (NOTEBOOKS / "TEACHING.md").read_text(encoding="utf-8")
    parts = {part[:2]: part for part in re.split(r"(?m)^### ", text)[1:]}
    assert list(parts) == [source.name[:2] for source in SOURCES]
    for source in SOURCES:
        ids = {cell.id for cell in read_source(source).cells}
        named = re.findall(r"[Cc]ells?((?:(?:,| and| to)?\s`[a-z0-9-]+`)+)", parts[source.name[:2]])
        cells = {name for some in named for name in re.findall(r"`(.+?)`", some)}
        assert len(cells) >= 5
        assert cells <= ids, cells - ids


# What each lesson builds on, on the course's own order of needs: 05 needs only 01, 06 only 03.
BEFORE = {
    "01": "", "02": "01", "03": "01 02", "04": "01 02 03", "05": "01", "06": "01 02 03",
    "07": "01 02 03 04", "10": "01 02 03 04 07",
}  # fmt: skip


def says(term: str, text: str) -> bool:
    """Say whether a word of the text begins with the term, whatever its case and emphasis."""
    return bool(re.search(rf"(?i)(?<![\w-]){re.escape(term)}", text.replace("*", "")))


def glossary_rows() -> list[tuple[str, list[tuple[str, str]], set[str]]]:
    """Return of each row its term, the lessons and cells that explain it, the lessons named."""
    text = (NOTEBOOKS / "GLOSSARY.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| (.+?) \| .+ \| (\[.+) \|$", text)
    assert len(rows) == len(re.findall(r"(?m)^\|", text)) - 2  # its head, and the line below it
    found = []
    for term, where in rows:
        cells = re.findall(r"\[(\d\d)\]\((\d\d_\w+)\.ipynb\) `([a-z0-9-]+)`", where)
        assert all(stem[:2] == number for number, stem, _ in cells), term
        assert {stem for _, stem, _ in cells} <= {source.stem for source in SOURCES}, term
        named = where.partition("; named in ")[2].split(", ")
        found.append((term, [(number, cell) for number, _, cell in cells], {*named} - {""}))
    return found


def test_the_glossary_has_the_terms_of_the_course_in_order():
    terms = [term for term, _, _ in glossary_rows()]
    assert 35 <= len(terms) <= 60
    assert terms == sorted(terms, key=str.lower)


def test_each_term_of_the_glossary_stands_in_the_cells_that_explain_it():
    lessons = {path.name[:2]: read_source(path).cells for path in SOURCES}
    for term, cells, _ in glossary_rows():
        assert cells, term
        for number, name in cells:
            texts = [cell.source for cell in lessons[number] if cell.id == name]
            assert texts, f"{term}: lesson {number} has no cell {name}"
            assert says(term, texts[0]), f"lesson {number}, cell {name} does not say {term!r}"


def test_no_lesson_says_a_term_that_nothing_before_it_explains_unless_the_glossary_admits_it():
    prose = {
        path.name[:2]: "\n".join(
            without_code(cell.source)
            for cell in read_source(path).cells
            if cell.cell_type == "markdown"
        )
        for path in SOURCES
    }
    assert prose.keys() == BEFORE.keys()
    for term, cells, named in glossary_rows():
        explain = {number for number, _ in cells}
        without = {
            number
            for number, text in prose.items()
            if says(term, text) and not explain & {number, *BEFORE[number].split()}
        }
        assert without == named, (
            f"{term!r} is said, unexplained, in lessons {sorted(without)}; GLOSSARY.md admits "
            f"{sorted(named)}: explain it there, say it otherwise, or mend the row"
        )
