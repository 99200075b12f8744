"""The lessons themselves: as their sources say, solvable, and true for another seed."""

import re

import pytest
from builder import execute
from builder.editions import LABELS, printed
from builder.lint import check
from builder.prose import without_code
from builder.source import NOTEBOOKS, exercises, read_source, slug, sources
from conftest import needs_assets

SOURCES = sources()
NUMBERED = {path.stem[:2]: path for path in SOURCES}  # as pages for readers name the lessons
lessons = pytest.mark.parametrize("source", SOURCES, ids=slug)
ON_ASSETS = [
    pytest.param(path, marks=[pytest.mark.assets] if needs_assets(path) else []) for path in SOURCES
]
executed_lessons = pytest.mark.parametrize("source", ON_ASSETS, ids=slug)


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
    assert list(parts) == list(NUMBERED)
    for number, source in NUMBERED.items():
        ids = {cell.id for cell in read_source(source).cells}
        named = re.findall(r"[Cc]ells?((?:(?:,| and| to)?\s`[a-z0-9-]+`)+)", parts[number])
        cells = {name for some in named for name in re.findall(r"`(.+?)`", some)}
        assert len(cells) >= 5
        assert cells <= ids, cells - ids


# What each lesson needs: one other, and all that this one needs.
BUILDS_ON = {
    "matrix_example": None,
    "rank_and_svd": "matrix_example",
    "learning_the_update": "rank_and_svd",
    "intrinsic_rank": "learning_the_update",
    "counting_parameters": "matrix_example",
    "merging": "learning_the_update",
    "real_model": "intrinsic_rank",
    "beyond_lora": "real_model",
}


def up_to(lesson: str) -> set[str]:
    """Return a lesson and all that it builds on."""
    before = BUILDS_ON[lesson]
    return {lesson} if before is None else {lesson} | up_to(before)


def says(term: str, text: str) -> bool:
    """Say whether a word of the text begins with the term, whatever its case and emphasis."""
    return bool(re.search(rf"(?i)(?<![\w-]){re.escape(term)}", text.replace("*", "")))


def glossary_rows() -> list[tuple[str, list[tuple[str, str]], set[str]]]:
    """Return of each row its term, the lessons and cells that explain it, the lessons named.

    The rows name lessons by their numbers; here they are slugs.
    """
    text = (NOTEBOOKS / "GLOSSARY.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| (.+?) \| .+ \| (\[.+) \|$", text)
    assert len(rows) == len(re.findall(r"(?m)^\|", text)) - 2  # its head, and the line below it
    found = []
    for term, where in rows:
        cells = re.findall(r"\[(\d\d)\]\((\d\d_\w+)\.ipynb\) `([a-z0-9-]+)`", where)
        for number, stem, _ in cells:
            assert stem == NUMBERED[number].stem, term
        explain = [(slug(NUMBERED[number]), cell) for number, _, cell in cells]
        numbers = re.findall(r"[^, ]+", where.partition("; named in ")[2])
        found.append((term, explain, {slug(NUMBERED[number]) for number in numbers}))
    return found


def test_the_glossary_has_the_terms_of_the_course_in_order():
    terms = [term for term, _, _ in glossary_rows()]
    assert 35 <= len(terms) <= 60
    assert terms == sorted(terms, key=str.lower)


def test_each_term_of_the_glossary_stands_in_the_cells_that_explain_it():
    lessons = {slug(path): read_source(path).cells for path in SOURCES}
    for term, cells, _ in glossary_rows():
        assert cells, term
        for lesson, name in cells:
            texts = [cell.source for cell in lessons[lesson] if cell.id == name]
            assert texts, f"{term}: {lesson} has no cell {name}"
            assert says(term, texts[0]), f"{lesson}, cell {name} does not say {term!r}"


def test_no_lesson_says_a_term_that_nothing_before_it_explains_unless_the_glossary_admits_it():
    prose = {
        slug(path): "\n".join(
            without_code(cell.source)
            for cell in read_source(path).cells
            if cell.cell_type == "markdown"
        )
        for path in SOURCES
    }
    assert prose.keys() == BUILDS_ON.keys()
    for term, cells, named in glossary_rows():
        explain = {lesson for lesson, _ in cells}
        without = {
            lesson
            for lesson, text in prose.items()
            if says(term, text) and not explain & up_to(lesson)
        }
        assert without == named, (
            f"{term!r} is said, unexplained, in lessons {sorted(without)}; GLOSSARY.md admits "
            f"{sorted(named)}: explain it there, say it otherwise, or mend the row"
        )
