"""The small lesson built and run: the edition that is read, the solved one, other seeds."""

import build
import nbformat
import pytest
from builder import execute
from builder.editions import fenced, printed
from builder.source import BuildError, tags
from small_lesson import CLAIM, GOOD, SOLVED, code, text


def test_the_reading_edition(built):
    page = built.page()
    nbformat.validate(page)
    assert [cell.id for cell in page.cells] == [
        "title", "parameters", "first", "sum", "check", "exercise", "a-hint",
        "exercise-solution", "claims",
    ]  # fmt: skip
    *_, exercise, hint, solution, claims = page.cells
    stub = "def double(x):\n    raise NotImplementedError\n\ncheck_double(double)"
    assert (exercise.source, tags(exercise)) == (stub, ["exercise"])
    assert printed(exercise) == "check_double: not attempted yet\n"
    assert hint.source == "<details><summary>Hint</summary>\n\nThink of 5.\n\n</details>"
    assert (solution.cell_type, tags(solution)) == ("markdown", ["solution"])
    assert solution.source == (
        "<details><summary>Solution</summary>\n\n"
        "```python\ndef double(x):\n    return 2 * x\n```\n\n</details>"
    )
    assert fenced('"""```\nx\n```"""') == '````python\n"""```\nx\n```"""\n````'
    assert claims.metadata == {"jupyter": {"source_hidden": True}, "tags": ["claims"]}
    assert claims.outputs[0].data == {"text/plain": "The one sentence held here holds."}
    assert built.claims() == {"small": [CLAIM]}
    assert "timestamp" not in built.notebook.read_text(encoding="utf-8")
    assert page.metadata.language_info == {"name": "python"}  # no version of Python
    assert set(page.metadata) == {"kernelspec", "language_info"}


def test_which_outputs_a_second_build_keeps_and_what_nbval_is_told_of_them(lesson, monkeypatch):
    clock = "import os, time\nprint(os.environ['OF'], time.perf_counter_ns())"
    widget = "from ipywidgets import IntSlider\nIntSlider(3)"
    cells = [code("timing", clock, "timing"), code("approx", clock, "approx")]
    cells += [code("live", widget, "live"), code("exact", "print(1)")]

    def built_on(processor):
        monkeypatch.setenv("OF", processor)
        changed = execute.build(lesson.source)
        return [changed, *(printed(cell).split(" ")[0] for cell in lesson.page().cells)]

    lesson.write(*cells)
    assert built_on("one") == [True, "one", "one", "", "1\n"]
    assert built_on("two") == [True, "one", "two", "", "1\n"]
    ignored = [[kind, "nbval-ignore-output"] for kind in ("timing", "approx", "live")]
    assert [tags(cell) for cell in lesson.page().cells] == [*ignored, []]
    lesson.write(cells[0].replace("import", "import  "), *cells[2:])
    assert built_on("three") == [True, "three", "", "1\n"]
    assert built_on("four") == [False, "three", "", "1\n"]
    assert "widget" not in lesson.notebook.read_text().replace("ipywidgets", "")


def test_words_alone_are_written_without_a_run(lesson):
    cells = [text("title", "# A clock"), code("time", "import time\nprint(time.time_ns())")]
    lesson.write(*cells)
    with pytest.raises(BuildError, match="cell time: other code than in the last build"):
        execute.build(lesson.source, text=True)  # there was none
    execute.build(lesson.source)
    former = lesson.page().cells[1]
    lesson.write(text("title", "# A watch"), text("why", "It is small."), cells[1])
    assert build.main(["--text", "07"]) == 0
    title, why, clock = lesson.page().cells
    assert (title.source, why.source, clock) == ("# A watch", "It is small.", former)
    before = lesson.notebook.read_bytes()
    for other in ([cells[0], code("time", "print(1)")], [*cells, code("new", "1")], cells[:1]):
        lesson.write(*other)
        with pytest.raises(BuildError, match=r"other code .*: build without --text"):
            execute.build(lesson.source, text=True)
    assert lesson.notebook.read_bytes() == before


def test_the_solved_edition_says_ok_and_another_seed_stands_in_memory_only(lesson):
    lesson.write(*GOOD)
    solved = execute.run_solved(lesson.source).cells[5]
    assert (solved.source, printed(solved)) == (SOLVED, "check_double: OK\n")
    lesson.write(*GOOD[:3], code("sum", "assert SEED == 3, f'SEED = {SEED}'"))
    execute.run_with_seed(lesson.source, 3)
    with pytest.raises(BuildError, match="cell sum: AssertionError: SEED = 4"):
        execute.run_with_seed(lesson.source, 4)
    lesson.write(GOOD[0], GOOD[2])
    with pytest.raises(BuildError, match="no cell tagged `parameters`"):
        execute.run_with_seed(lesson.source, 3)
    assert not lesson.notebook.exists()


FAILING = [
    (code("bad", "1 / 0"), "ZeroDivisionError: division by zero"),
    (code("bad", "import sys\nprint('oh', file=sys.stderr)"), "wrote to stderr: oh"),
    (code("bad", "import os\nos._exit(1)"), "the kernel died"),
    (code("bad", "import time\ntime.sleep(60)"), "more than 2 s"),
    (code("bad", "import ipywidgets\nipywidgets.IntSlider(3)"), "it shows a widget"),
    (GOOD[-1].replace("2 + 3", "6").replace(":id: claims", ":id: bad"), "AssertionError: “The su"),
    # when solved
    (code("bad", SOLVED.replace("2 * x", "x"), "exercise"), "AssertionError: double(2) is 4, got"),
    (
        code("bad", SOLVED.replace("return 2 * x", "raise NotImplementedError"), "exercise"),
        "check_double did not say OK but 'check_double: not attempted yet'",
    ),
]


@pytest.mark.parametrize(("cell", "message"), FAILING)
def test_a_cell_that_fails_or_complains_is_not_built(capsys, lesson, monkeypatch, cell, message):
    monkeypatch.setattr(execute, "SECONDS_PER_CELL", 2)
    lesson.write(GOOD[4], cell)
    assert build.main(["--solved", "07"] if "[exercise]" in cell else ["07"]) == 1
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith(f"07_small.md:22: cell bad: {message}")
    assert not lesson.notebook.exists()


def test_a_build_refuses_what_the_text_says_and_nothing_shows(capsys, built):
    built.rendered.unlink()
    built.edit("The *sum* is 5", "The *sum* is 5, not 6")
    assert build.main(["07"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "07_small.ipynb: cell first: no cell of this section shows the number 6"
