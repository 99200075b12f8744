"""The lessons themselves: as their sources say, solvable, and true for another seed."""

import configparser
import dis
import importlib
import re
import unicodedata
from functools import cache
from pathlib import Path

import pytest
from builder import execute
from builder.editions import LABELS, load, own_edition, printed
from builder.lint import check
from builder.questions import read_quizzes
from builder.source import (
    NOTEBOOKS,
    numbers_in,
    read_cells,
    read_source,
    slug,
    sources,
    tags,
    without_code,
)
from builder.translate import read_terms, slips
from nbformat import NotebookNode

from conftest import LONGER, NEED_ASSETS, needs_assets
from lora_edu.course import experiments
from lora_edu.course.claims import claim, panel

ROOT = NOTEBOOKS.parent
SOURCES = sources()
NUMBERED = {path.stem[:2]: path for path in SOURCES}  # as pages for readers name the lessons
lessons = pytest.mark.parametrize("source", SOURCES, ids=slug)


@cache
def outputs() -> dict[tuple[str, str], tuple[str, dict[float, str]]]:
    """Return of each cell of each built lesson what it printed, and the numbers one sees."""
    cells = {}
    for path in SOURCES:
        for cell in load(NOTEBOOKS / f"{path.stem}.ipynb").cells:
            out = printed(cell)
            cells[path.stem, cell.id] = out, numbers_in(f"{cell.source}\n{out}")
    return cells


@cache
def texts(language: str = "") -> dict[str, dict[str, str]]:
    """Return of each lesson, by its file's stem, the text of each cell in its source."""
    return {
        path.stem: {cell.id: cell.source for cell in read_cells(path).cells}
        for path in sorted((NOTEBOOKS / "src" / language).glob("[01]*.md"))
    }


def test_each_translation_belongs_to_a_lesson():
    for language in LABELS.keys() - {"en"}:
        written = {p.stem for p in (NOTEBOOKS / "src" / language).glob("[0-9]*.md")}
        built = {p.stem for p in (NOTEBOOKS / language).glob("*.ipynb")}
        assert written == built
        assert written <= {path.stem for path in SOURCES}


@lessons
def test_the_committed_notebook_is_as_its_source_says(source):
    assert check(source)[0] == []


def test_another_processor_may_change_the_table_of_a_panel_and_nothing_else_of_it():
    """nbval leaves the table out of its comparison: numbers there may end in other digits."""
    masks = configparser.RawConfigParser()
    masks.read(ROOT / "tests" / "nbval_sanitize.cfg")
    mask = masks["table of a panel"]
    shown = [panel(*[claim("x", 1, 1)] * n)._repr_mimebundle_()[0]["text/html"] for n in (1, 2)]
    for path in SOURCES:
        for cell in load(NOTEBOOKS / f"{path.stem}.ipynb").cells:
            if "claims" in tags(cell):
                shown += [output["data"]["text/html"] for output in cell.outputs]
    assert len(shown) > 80
    for page in shown:
        line, table, _ = page.partition("<table>")
        assert table
        assert re.sub(mask["regex"], mask["replace"], page) == f"{line}</details>"


@lessons
def test_a_lesson_switches_gradients_off_for_its_own_lines_alone(source):
    """For the whole process, a check of another lesson would judge wrongly."""
    code = "".join(cell.source for cell in read_cells(source).cells if cell.cell_type == "code")
    assert "set_grad_enabled" not in code


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "seed"),
    [
        pytest.param(path, seed, marks=pytest.mark.assets if needs_assets(path) else [])
        for path in SOURCES
        for seed in ((1, 2) if slug(path) in LONGER else (1, 2, 3))
        if (slug(path), seed) != ("language_model", 2)  # which takes the longest
    ],
    ids=lambda value: slug(value) if isinstance(value, Path) else str(value),
)
def test_the_claims_hold_for_other_seeds_and_each_exercise_can_be_solved(source, seed):
    execute.rerun(source, solved=True, seed=seed)


# -- a page in a learner's hands ----------------------------------------------------------------

# What a learner may try in a lesson, and how many of its sentences are false then.
TRIED = {
    lesson: importlib.import_module(f"lessons.{lesson}.cases").PLAYED
    for lesson in map(slug, SOURCES)
}


def played(lesson: str, old: str, new: str) -> NotebookNode:
    """Run a learner's own copy with one piece of its code changed."""
    (path,) = [path for path in SOURCES if slug(path) == lesson]
    source = read_source(path)
    notebook = own_edition(source)
    changed = [cell for cell in notebook.cells if cell.cell_type == "code" and old in cell.source]
    assert len(changed) == 1, f"{old!r} stands in {len(changed)} cells"
    changed[0].source = changed[0].source.replace(old, new)
    return execute.execute(notebook, source, strict=False)


# Lessons that run in a quarter of a minute: with these one plays in each `make test`.
SECONDS = {"matrix_example", "rank_and_svd", "learning_the_update", "beyond_lora"}


def marks_of(lesson: str, last: bool) -> list[pytest.MarkDecorator]:
    """Return the marks of a change: slow, but for the last one of a lesson that takes seconds."""
    marks = [] if last and lesson in SECONDS else [pytest.mark.slow]
    return [*marks, pytest.mark.assets] if lesson in NEED_ASSETS else marks


PLAYS = [
    pytest.param(lesson, *tried, marks=marks_of(lesson, tried == changes[-1]))
    for lesson, changes in TRIED.items()
    for tried in changes
]


@pytest.mark.parametrize(("lesson", "old", "new", "false"), PLAYS)
def test_nothing_stops_when_a_learner_plays_and_the_page_says_what_is_false(
    lesson, old, new, false
):
    notebook = played(lesson, old, new)
    panels = [printed(cell) for cell in notebook.cells if "claims" in tags(cell)]
    found = sum(text.count("✗") for text in panels)
    assert found in (false if isinstance(false, range) else [false]), panels


def test_one_may_come_back_to_a_question():
    """A name that it is judged by is nothing else further down: Run All, then a guess."""

    def names(cell, how):
        return {each.argval for each in dis.get_instructions(cell.source) if each.opname == how}

    for path in SOURCES:
        code = [cell for cell in read_source(path).cells if cell.cell_type == "code"]
        for at, cell in enumerate(code):
            if "predict" in tags(cell):
                judged_by = names(cell, "LOAD_NAME") - names(cell, "STORE_NAME")
                for later in code[at + 1 :]:
                    assert not judged_by & names(later, "STORE_NAME"), f"{path.stem}: {later.id}"


# -- the pages beside the lessons ---------------------------------------------------------------


def test_the_page_for_teachers_names_cells_that_exist():
    text = (NOTEBOOKS / "TEACHING.md").read_text(encoding="utf-8")
    parts = {part[:2]: part for part in re.split(r"(?m)^### ", text)[1:]}
    assert list(parts) == list(NUMBERED)
    for number, source in NUMBERED.items():
        named = re.findall(r"[Cc]ells?((?:(?:,| and| to)?\s`[a-z0-9-]+`)+)", parts[number])
        cells = {name for some in named for name in re.findall(r"`(.+?)`", some)}
        assert len(cells) >= 5
        assert cells <= texts()[source.stem].keys()


# A lesson, with a link or without, and cells of it
CELLS = r"(?:\[\d\d\]\((\d\d)_\w+\.ipynb\)|\b(\d\d))((?:,?\s`[a-z0-9-]+`)+)"


def named_cells(text: str) -> list[tuple[str, str]]:
    """Return the cells that a text beside the lessons names, each with its lesson's file."""
    return [
        (NUMBERED[linked or named].stem, cell)
        for linked, named, cells in re.findall(CELLS, text)
        for cell in re.findall(r"`(.+?)`", cells)
    ]


PAGES = ["DECISIONS.md", "FIFTY_MINUTES.md", "SHIP.md", "TROUBLESHOOTING.md"]


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page):
    mentions = named_cells((NOTEBOOKS / page).read_text(encoding="utf-8"))
    assert len(mentions) >= 15
    assert [(lesson, cell) for lesson, cell in mentions if cell not in texts()[lesson]] == []


def test_each_decision_says_how_sure_one_is_and_its_numbers_are_those_of_its_cells():
    text = (NOTEBOOKS / "DECISIONS.md").read_text(encoding="utf-8")
    rows = [row for row in re.findall(r"(?m)^\| (.+) \|$", text) if "how sure" not in row]
    assert len(rows) >= 30
    for row in rows:
        seen, do, where, sure = row.split(" | ")
        cells = named_cells(where)
        assert all([seen, do, cells, sure]), row
        missing = set(numbers_in(do)).difference(*(outputs()[cell][1] for cell in cells))
        assert not missing, (seen, missing)
    for name in set(re.findall(r"record `(\w+)`", text)):
        assert experiments.results(name), name


def test_each_number_that_the_class_hears_stands_in_one_of_the_lessons():
    text = (NOTEBOOKS / "FIFTY_MINUTES.md").read_text(encoding="utf-8").partition("\n## ")[2]
    said = set(numbers_in(re.sub(r"\]\([^)]+\)|(?m:^> \d\. .+$)", "", text)))
    said = said.difference(*(numbers for _, numbers in outputs().values()))
    # A step of the film, 12,288 over ten, and 10,000 less 1,000.
    assert said == {299, 1229, 9000}


# The cells that answer the votes of the class; what a sum on paper answers has none.
ANSWERED_BY = [
    ("00_first_words", "in-question"),
    None,
    ("01_matrix_example", "strips-count"),
    None,
    ("03_learning_the_update", "first-try-question"),
    ("03_learning_the_update", "time-question"),
]


def test_the_votes_of_the_class_are_answered_as_its_lessons_answer():
    text = (NOTEBOOKS / "FIFTY_MINUTES.md").read_text(encoding="utf-8")
    votes = re.split(r"(?m)^> .*\*\*Vote\.\*\*", text)[1:]
    for vote, by in zip(votes, ANSWERED_BY, strict=True):
        vote = vote.partition("\n## ")[0]  # a film asks once more, and there the answer is marked
        options = dict(re.findall(r"(?m)^> (\d)\. (.+)$", vote))
        (right,) = [key for key, option in options.items() if option.startswith("**")]
        said = re.search(r"(?m)It is \*([1-4])\*", vote)
        assert said is not None, vote
        assert said[1] == right
        if by is None:
            continue
        answer = outputs()[by][0].strip().removeprefix("answer: ")
        options = {key: option.strip("*") for key, option in options.items()}
        if not re.fullmatch(r"[\d,]+", answer):
            assert options[right] == answer
            continue
        numbers = {key: int(option.replace(",", "")) for key, option in options.items()}
        shown = int(answer.replace(",", ""))
        nearest = min(numbers, key=lambda key: max(numbers[key] / shown, shown / numbers[key]))
        assert right == nearest


def builds_on() -> dict[str, set[str]]:
    """Return what each lesson needs, itself and all before it, as the README's list says."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    needs: dict[str, set[str]] = {}
    for number, after in re.findall(r"(?m)^- \*\*(\d\d)\*\* .+?(?:\*After (.+)\.\*)?$", text):
        before = [slug(NUMBERED[one]) for one in re.findall(r"\d\d", after)]
        needs[slug(NUMBERED[number])] = {slug(NUMBERED[number])}.union(*(needs[b] for b in before))
    return needs


def says(term: str, text: str) -> bool:
    """Say whether a word of the text begins with the term, whatever its case and emphasis."""
    return bool(re.search(rf"(?i)(?<![\w-]){re.escape(term)}", text.replace("*", "")))


def is_bold(term: str, text: str) -> bool:
    """Say whether the term stands in bold somewhere in the text."""
    return any(says(term, words) for words in re.findall(r"(?s)\*\*(.+?)\*\*", text))


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


def test_the_vietnamese_glossary_has_the_same_terms_in_bold_where_they_are_explained():
    text = (NOTEBOOKS / "vi" / "GLOSSARY.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| (.+?) \| (.+?) \| .+ \| (\[.+) \|$", text)
    assert len(rows) == len(re.findall(r"(?m)^\|", text)) - 2
    said = {english: (term, where) for term, english, where in rows}
    assert said.keys() == {term for term, _, _ in glossary_rows()}
    for english, cells, _ in glossary_rows():
        term, where = said[english]
        found = re.findall(r"\((?:\.\./)?(\d\d_\w+)\.ipynb\) `([a-z0-9-]+)`", where)
        assert [(stem.partition("_")[2], name) for stem, name in found] == cells, term
        for stem, name in found:
            if stem in texts("vi"):
                assert is_bold(term, texts("vi")[stem][name]), f"{term}: in {stem}, {name}"


VIETNAMESE = [
    ROOT / "README.vi.md",
    *sorted((NOTEBOOKS / "vi").glob("*.md")),
    *sorted((NOTEBOOKS / "site" / "vi").rglob("*.md")),
    NOTEBOOKS / "src" / "vi" / "quizzes.yml",
    NOTEBOOKS / "site" / "static" / "words.vi.js",
]


@pytest.mark.parametrize("path", VIETNAMESE, ids=lambda path: path.name)
def test_a_vietnamese_page_says_the_agreed_words(path):
    text = path.read_text(encoding="utf-8")
    assert text == unicodedata.normalize("NFC", text)
    if path.name == "GLOSSARY.md":  # whose second column is English
        text = re.sub(r"(?m)^(\| [^|]+) \| [^|]+ \|", r"\1 |", text)
    if path.suffix == ".md":
        assert list(slips(text, read_terms(NOTEBOOKS / "src" / "vi"))) == []
    else:  # whose sentences nothing parts
        found = slips(text, read_terms(NOTEBOOKS / "src" / "vi"))
        assert [slip for slip in found if "syllables" not in slip] == []


def test_the_vietnamese_questions_are_the_english_ones():
    english, own = (read_quizzes(NOTEBOOKS / "src" / folder) for folder in ("", "vi"))
    translated = {stem.partition("_")[2] for stem in texts("vi")}
    assert set(own) == {*translated, "final"}
    for lesson, questions in own.items():
        for one, other in zip(english[lesson], questions, strict=True):
            assert (one.kind, one.cell, one.number, one.tolerance) == (
                other.kind, other.cell, other.number, other.tolerance)  # fmt: skip
            assert [choice.right for choice in one.choices] == [c.right for c in other.choices]


def test_the_vietnamese_lessons_call_each_other_by_their_titles():
    own = {stem[:2]: [*cells.values()] for stem, cells in texts("vi").items()}
    titles = {number: cells[0].splitlines()[0][7:] for number, cells in own.items()}
    for number, cells in own.items():
        for next_one, title in re.findall(r"[Bb]ài (\d\d), \[?\*([^*]+\?)\*", cells[-1]):
            assert title == titles.get(next_one, title), number


def test_each_term_of_the_glossary_in_order_stands_in_bold_in_the_cells_that_explain_it():
    lessons = {slug(path): texts()[path.stem] for path in SOURCES}
    terms = [term for term, _, _ in glossary_rows()]
    assert 35 <= len(terms) <= 75
    assert terms == sorted(terms, key=str.lower)
    for term, cells, _ in glossary_rows():
        assert cells, term
        for lesson, name in cells:
            assert is_bold(term, lessons[lesson][name]), f"{term}: in {lesson}, {name}"


def test_no_lesson_says_a_term_that_nothing_before_it_explains_unless_the_glossary_admits_it():
    prose = {
        slug(path): "\n".join(
            without_code(cell.source)
            for cell in read_source(path).cells
            if cell.cell_type == "markdown"
        )
        for path in SOURCES
    }
    needed = builds_on()
    assert prose.keys() == needed.keys()
    for term, cells, named in glossary_rows():
        explain = {lesson for lesson, _ in cells}
        without = {
            lesson
            for lesson, text in prose.items()
            if says(term, text) and not explain & needed[lesson]
        }
        assert without == named, (
            f"{term!r} is said, unexplained, in lessons {sorted(without)}; GLOSSARY.md admits "
            f"{sorted(named)}: explain it there, say it otherwise, or mend the row"
        )
