"""Small lessons, built and run."""

import nbformat
import pytest
from builder import execute
from builder.editions import load, printed, reading_edition
from builder.lint import check
from builder.source import BuildError, read_source, tags
from small_lesson import GOOD, SOLVED, code, spoil, text


def test_a_good_lesson_has_no_problems_and_a_second_build_changes_nothing(built):
    source, notebook = built
    assert check(source, size=False) == []
    assert execute.build(source) is False
    assert (source.parent.parent / "07_small.ipynb").read_text(encoding="utf-8") == notebook


def test_the_reading_edition(built):
    notebook = nbformat.reads(built[1], as_version=4)
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells] == [
        "title", "parameters", "first", "sum", "check", "exercise", "a-hint",
        "exercise-solution",
    ]  # fmt: skip
    *_, exercise, hint, solution = notebook.cells
    assert exercise.source == (
        "def double(x):\n    raise NotImplementedError\n\ncheck_double(double)"
    )
    assert tags(exercise) == ["exercise"]
    assert printed(exercise) == "check_double: not attempted yet\n"
    assert hint.source == "<details><summary>Hint</summary>\n\nThink of 5.\n\n</details>"
    assert solution.cell_type == "markdown"
    assert solution.source == (
        "<details><summary>Solution</summary>\n\n"
        "```python\ndef double(x):\n    return 2 * x\n```\n\n</details>"
    )
    assert tags(solution) == ["solution"]
    assert "timestamp" not in built[1]
    assert "3." not in notebook.metadata.language_info  # no version of Python
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_a_solution_with_a_fence_in_it_stays_folded(lesson):
    solution = 'def double(x):\n    """```\n    x\n    ```"""\n    return 2 * x'
    cell = code("exercise", f"{solution}\n\ncheck_double(double)", "exercise")
    cell = cell.replace("```{", "````{").rstrip("\n") + "`\n"
    folded = reading_edition(read_source(lesson([*GOOD[:5], cell]))).cells[-1].source
    assert "````python\n" in folded
    assert folded.endswith("\n````\n\n</details>")


def test_the_solved_edition_says_ok(built):
    notebook = execute.run_solved(built[0])
    exercise = next(cell for cell in notebook.cells if cell.id == "exercise")
    assert exercise.source == SOLVED
    assert printed(exercise) == "check_double: OK\n"


def test_the_seed_is_replaced_in_memory_only(lesson):
    source = lesson([*GOOD[:3], code("sum", "assert SEED == 3, f'SEED = {SEED}'")])
    execute.run_with_seed(source, 3)
    with pytest.raises(BuildError, match="cell sum: AssertionError: SEED = 4"):
        execute.run_with_seed(source, 4)
    assert not (source.parent.parent / "07_small.ipynb").exists()
    with pytest.raises(BuildError, match="no cell tagged `parameters`"):
        execute.run_with_seed(lesson([GOOD[0], GOOD[2]]), 3)


def test_what_differs_at_each_run_keeps_its_former_output(lesson):
    clock = "import time\nprint(time.perf_counter_ns())"
    cells = [text("title", "# A clock"), code("time", clock, "timing")]
    source = lesson(cells)
    assert execute.build(source) is True
    former = printed(load(source.parent.parent / "07_small.ipynb").cells[1])
    assert execute.build(source) is False
    lesson([cells[0], code("time", clock + "  # changed", "timing")])
    assert execute.build(source) is True
    new = printed(load(source.parent.parent / "07_small.ipynb").cells[1])
    assert int(new) > int(former)  # the output of the new code


def test_words_alone_are_written_without_a_run(lesson, monkeypatch):
    cells = [text("title", "# A clock"), code("time", "import time\nprint(time.time_ns())")]
    source = lesson(cells)
    with pytest.raises(BuildError, match="cell time: other code than in the last build"):
        execute.build(source, text=True)  # there was none
    execute.build(source)
    page = source.parent.parent / "07_small.ipynb"
    former = load(page).cells[1]
    lesson([text("title", "# A watch"), text("why", "It is small."), cells[1]])
    assert execute.build(source, text=True) is True
    title, why, clock = load(page).cells
    assert (title.source, why.source, clock) == ("# A watch", "It is small.", former)
    for other in ([cells[0], code("time", "print(1)")], [*cells, code("new", "1")], cells[:1]):
        before = page.read_bytes()
        with pytest.raises(BuildError, match=r"other code .*: build without --text"):
            execute.build(lesson(other), text=True)
        assert page.read_bytes() == before


def test_what_another_processor_changes_is_always_the_new_output(lesson, monkeypatch):
    cells = [text("title", "# Digits"), code("of", "import os\nprint(os.environ['OF'])", "approx")]
    source = lesson(cells)
    for processor in ("one", "another"):
        monkeypatch.setenv("OF", processor)
        assert execute.build(source) is True
        notebook = load(source.parent.parent / "07_small.ipynb")
        assert printed(notebook.cells[1]) == f"{processor}\n"


def test_nbval_is_told_what_not_to_compare(lesson):
    kinds = ("timing", "approx", "live")
    cells = [code(kind, "print(1)", kind, "slide") for kind in kinds]
    notebook = reading_edition(read_source(lesson([*cells, code("exact", "1", "slide")])))
    for cell, kind in zip(notebook.cells, kinds, strict=False):
        assert tags(cell) == [kind, "slide", "nbval-ignore-output"]
    assert tags(notebook.cells[-1]) == ["slide"]


def test_a_cell_that_takes_too_long_is_named(lesson, monkeypatch):
    monkeypatch.setattr(execute, "SECONDS_PER_CELL", 1)
    slow = lesson([code("slow", "import time\ntime.sleep(60)")])
    with pytest.raises(BuildError, match=r"07_small.md:9: cell slow: more than 1 s"):
        execute.build(slow)


def test_what_breaks_a_rule_of_the_page_is_not_built(lesson):
    path = lesson([text("title", "# A <b>bold</b> lesson")])
    with pytest.raises(BuildError, match=r"07_small.md:11: cell title: HTML"):
        execute.build(path)
    assert not (path.parent.parent / "07_small.ipynb").exists()


def test_what_is_live_leaves_nothing_behind(lesson):
    widget = "from ipywidgets import IntSlider\nIntSlider(3)"
    source = lesson([text("title", "# A slider"), code("slider", widget, "live")])
    execute.build(source)
    built = (source.parent.parent / "07_small.ipynb").read_text()
    assert "widget" not in built.replace("ipywidgets", "")
    assert execute.build(source) is False


def test_a_solution_that_its_own_check_rejects(lesson):
    wrong = code("exercise", SOLVED.replace("2 * x", "x"), "exercise")
    with pytest.raises(BuildError, match=r"07_small.md:47: cell exercise: AssertionError.*got 2"):
        execute.run_solved(lesson(spoil(GOOD, "exercise", wrong)))


def test_a_solution_that_is_still_a_stub(lesson):
    stub = code("exercise", SOLVED.replace("return 2 * x", "raise NotImplementedError"), "exercise")
    message = r"cell exercise: check_double did not say OK but 'check_double: not attempted"
    with pytest.raises(BuildError, match=message):
        execute.run_solved(lesson(spoil(GOOD, "exercise", stub)))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "07_small.md:22: cell bad: ZeroDivisionError: division by zero"),
        (
            "import sys\nprint('oh', file=sys.stderr)",
            "07_small.md:22: cell bad: wrote to stderr: oh",
        ),
        ("import warnings\nwarnings.warn('old')", "07_small.md:22: cell bad: wrote to stderr"),
        ("import os\nos._exit(1)", "07_small.md:22: cell bad: the kernel died"),
        (
            "import ipywidgets\nipywidgets.IntSlider(3)",
            "07_small.md:22: cell bad: it shows a widget",
        ),
    ],
)
def test_a_cell_that_fails_or_complains_is_not_built(lesson, source, message):
    path = lesson([*GOOD[:2], code("bad", source)])
    with pytest.raises(BuildError) as caught:
        execute.build(path)
    assert message in str(caught.value)
    assert not (path.parent.parent / "07_small.ipynb").exists()
