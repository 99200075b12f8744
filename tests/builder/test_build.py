"""The pipeline, on small notebooks that are good or bad on purpose."""

import json

import nbformat
import pytest
from builder import lint as build

FRONT = """---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {display_name: Python 3, language: python, name: python3}
lora_edu:
  allowed_numbers: {2021: the year of the paper}
---
"""


def text(name, body, *labels):
    return f'\n+++ {{"id": "{name}", "tags": {json.dumps(labels)}}}\n\n{body}\n'


def code(name, body, *labels):
    return (
        f"\n```{{code-cell}} ipython3\n:id: {name}\n:tags: [{', '.join(labels)}]\n\n{body}\n```\n"
    )


STUB = "def double(x):\n    raise NotImplementedError\n\ncheck_double(double)"
CHECK = """from lora_edu.course.checks import check

@check
def check_double(double):
    assert double(2) == 4, f"double(2) is 4, got {double(2)}"
"""
GOOD = [
    text("title", "# 07 · A small lesson\n\nIn 2021 somebody added 2 and 3."),
    code("parameters", "SEED = 0", "parameters"),
    text("first", "## 1 · Adding\n\nThe sum is 5."),
    code("sum", "print(2 + 3)"),
    code("check", CHECK),
    code("exercise", STUB, "exercise"),
    text("a-hint", "Think of 5.", "hint"),
    code("the-solution", "def double(x):\n    return 2 * x", "solution"),
]


@pytest.fixture
def lesson(tmp_path):
    """A folder with a source; call it with the cells to write."""
    source = tmp_path / "src" / "07_small.md"
    source.parent.mkdir()

    def write(cells):
        source.write_text(FRONT + "".join(cells), encoding="utf-8")
        return source

    return write


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The good lesson, built once: its source and the text of its notebook."""
    source = tmp_path_factory.mktemp("good") / "src" / "07_small.md"
    source.parent.mkdir()
    source.write_text(FRONT + "".join(GOOD), encoding="utf-8")
    assert build.build(source) is True
    return source, (source.parent.parent / "07_small.ipynb").read_text(encoding="utf-8")


@pytest.fixture
def committed(lesson, built):
    """The good lesson's built notebook, to be spoilt: returns (source, path, notebook)."""
    source = lesson(GOOD)
    path = source.parent.parent / "07_small.ipynb"
    path.write_text(built[1], encoding="utf-8")
    return source, path, nbformat.reads(built[1], as_version=4)


def problems(source):
    return build.check(source, size=False)


# -- what is built ----------------------------------------------------------------------------


def test_a_good_lesson_has_no_problems_and_a_second_build_changes_nothing(built):
    source, notebook = built
    assert problems(source) == []
    assert build.build(source) is False
    assert (source.parent.parent / "07_small.ipynb").read_text(encoding="utf-8") == notebook


def test_the_reading_edition(built):
    notebook = nbformat.reads(built[1], as_version=4)
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells] == [
        "title", "parameters", "first", "sum", "check", "exercise", "a-hint", "the-solution",
    ]  # fmt: skip
    *_, exercise, hint, solution = notebook.cells
    assert build.printed(exercise) == "check_double: not attempted yet\n"
    assert hint.source == "<details><summary>Hint</summary>\n\nThink of 5.\n\n</details>"
    assert solution.cell_type == "markdown"
    assert "```python\ndef double(x):\n    return 2 * x\n```" in solution.source
    assert solution.source.startswith("<details><summary>Solution</summary>")
    assert "timestamp" not in built[1]
    assert "3." not in notebook.metadata.language_info  # no version of Python
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_the_solved_edition_says_ok(built):
    notebook = build.run_solved(built[0])
    exercise = next(cell for cell in notebook.cells if cell.id == "exercise")
    assert exercise.source == "def double(x):\n    return 2 * x\n\ncheck_double(double)"
    assert build.printed(exercise) == "check_double: OK\n"


def test_the_seed_is_replaced_in_memory_only(lesson):
    source = lesson([*GOOD[:3], code("sum", "assert SEED == 3, f'SEED = {SEED}'")])
    build.run_with_seed(source, 3)
    with pytest.raises(build.BuildError, match="cell sum: AssertionError: SEED = 4"):
        build.run_with_seed(source, 4)
    assert not (source.parent.parent / "07_small.ipynb").exists()
    with pytest.raises(build.BuildError, match="no cell tagged `parameters`"):
        build.run_with_seed(lesson([GOOD[0], GOOD[2]]), 3)


def test_what_differs_at_each_run_keeps_its_former_output(lesson):
    clock = "import time\nprint(time.perf_counter_ns())"
    cells = [text("title", "# A clock"), code("time", clock, "nbval-ignore-output")]
    source = lesson(cells)
    assert build.build(source) is True
    former = build.printed(build.load(source.parent.parent / "07_small.ipynb").cells[1])
    assert build.build(source) is False
    lesson([cells[0], code("time", clock + "  # changed", "nbval-ignore-output")])
    assert build.build(source) is True
    printed = build.printed(build.load(source.parent.parent / "07_small.ipynb").cells[1])
    assert int(printed) > int(former)  # the output of the new code


def test_widgets_leave_no_state_behind(lesson):
    widget = "from ipywidgets import IntSlider\nIntSlider(3)"
    source = lesson([text("title", "# A slider"), code("slider", widget, "nbval-ignore-output")])
    build.build(source)
    built = (source.parent.parent / "07_small.ipynb").read_text()
    assert "widget" not in built.replace("ipywidgets", "")
    assert build.build(source) is False


# -- the learner's own copies -----------------------------------------------------------------


def test_own_copies_are_made_once_and_never_written_over(lesson):
    source = lesson(GOOD)
    mine = source.parent.parent / "mine"
    assert build.own_copies(source) == "your copy"
    first = mine / "07_small.ipynb"
    notebook = nbformat.read(first, as_version=4)
    assert all(not c.get("outputs") and not c.get("execution_count") for c in notebook.cells)

    notebook.cells[3].source = "# my own notes"
    nbformat.write(notebook, first)
    worked_on = first.read_bytes()
    assert build.own_copies(source) == "yours, kept as it is: 07_small.ipynb"

    lesson([*GOOD, text("news", "More.")])
    assert build.own_copies(source) == "the lesson has changed: see 07_small-2.ipynb"
    assert build.own_copies(source) == "yours, kept as it is: 07_small-2.ipynb"
    assert first.read_bytes() == worked_on
    assert sorted(p.name for p in mine.iterdir()) == ["07_small-2.ipynb", "07_small.ipynb"]


def test_a_damaged_copy_is_left_to_its_owner(lesson):
    source = lesson(GOOD)
    build.own_copies(source)
    damaged = source.parent.parent / "mine" / "07_small.ipynb"
    damaged.write_text("{ half a file")
    assert build.own_copies(source) == "the lesson has changed: see 07_small-2.ipynb"
    assert damaged.read_text() == "{ half a file"


# -- what is refused, with file and cell ------------------------------------------------------


def spoil(cells, name, new):
    return [new if f'"{name}"' in cell or f":id: {name}\n" in cell else cell for cell in cells]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([*GOOD[:6]], "07_small.md: cell exercise: this exercise has no solution"),
        ([*GOOD[:7]], "07_small.md: cell exercise: this exercise has no solution"),
        ([*GOOD[:4], GOOD[7]], "07_small.md: cell the-solution: it belongs to no exercise"),
        ([*GOOD, GOOD[0]], "07_small.md: cell title: a second cell has this id"),
        ([*GOOD[:3], "\n```{code-cell} ipython3\nx = 1\n```\n"], "07_small.md: cell 4 has no id"),
        ([*GOOD[:3], code("Sum_1", "1")], "cell 'Sum_1': an id is made of a-z, 0-9 and -"),
        (
            spoil(GOOD, "exercise", code("exercise", "x = 1", "exercise")),
            "07_small.md: cell exercise: the last line of an exercise calls its check",
        ),
        (
            spoil(
                GOOD, "the-solution", code("the-solution", "check_double(lambda x: 4)", "solution")
            ),
            "cell the-solution: a solution leaves check_double to its exercise",
        ),
    ],
)
def test_a_source_that_is_not_complete(lesson, cells, message):
    with pytest.raises(build.BuildError) as caught:
        build.read_source(lesson(cells))
    assert message in str(caught.value)
    assert message in problems(lesson(cells))[0]  # --check refuses it in the same words


def test_a_solution_that_its_own_check_rejects(lesson):
    wrong = code("the-solution", "def double(x):\n    return x", "solution")
    with pytest.raises(
        build.BuildError, match=r"07_small.md: cell exercise: AssertionError.*got 2"
    ):
        build.run_solved(lesson(spoil(GOOD, "the-solution", wrong)))


def test_a_solution_that_is_still_a_stub(lesson):
    stub = code("the-solution", "def double(x):\n    raise NotImplementedError", "solution")
    message = r"cell the-solution: check_double did not say OK but 'check_double: not attempted"
    with pytest.raises(build.BuildError, match=message):
        build.run_solved(lesson(spoil(GOOD, "the-solution", stub)))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "07_small.md: cell bad: ZeroDivisionError: division by zero"),
        ("import sys\nprint('oh', file=sys.stderr)", "07_small.md: cell bad: wrote to stderr: oh"),
        ("import warnings\nwarnings.warn('old')", "07_small.md: cell bad: wrote to stderr"),
    ],
)
def test_a_cell_that_fails_or_complains_is_not_built(lesson, source, message):
    path = lesson([*GOOD[:2], code("bad", source)])
    with pytest.raises(build.BuildError) as caught:
        build.build(path)
    assert message in str(caught.value)
    assert not (path.parent.parent / "07_small.ipynb").exists()


def change(cell, **values):
    def spoiled(notebook):
        notebook.cells[cell].update(values)

    return spoiled


def add_output(cell, **output):
    def spoiled(notebook):
        notebook.cells[cell].outputs.append(nbformat.v4.new_output(**output))

    return spoiled


PNG = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo="}}


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (change(3, execution_count=7), "cell sum: execution count 7, expected 2: not run from top"),
        (change(3, execution_count=None), "cell sum: execution count None, expected 2"),
        (
            add_output(3, output_type="error", ename="KeyError", evalue="'x'"),
            "cell sum: an error output: KeyError: 'x'",
        ),
        (
            add_output(3, output_type="stream", name="stderr", text="[123] a warning"),
            "cell sum: an output on stderr: '[123] a warning'",
        ),
        (change(3, source="print(5)"), "cell sum: differs from its source; run `make notebooks`"),
        (change(2, source="## 1 · Adding\n\nFive."), "cell first: differs from its source"),
        (change(3, id="other"), "cell sum: differs from its source"),
        (add_output(3, **PNG), "cell sum: a figure without its text"),
        (lambda notebook: notebook.cells.pop(), "7 cells, its source has 8"),
        (lambda notebook: notebook.metadata.update(widgets={}), "metadata that no build writes"),
    ],
)
def test_a_committed_notebook_that_is_not_as_built(committed, spoiled, message):
    source, path, notebook = committed
    spoiled(notebook)
    path.write_text(json.dumps(notebook), encoding="utf-8")
    found = problems(source)
    assert any(line.startswith(f"07_small.ipynb: {message}") for line in found), found


def test_a_stale_committed_notebook(committed):
    source, _, _ = committed
    source.write_text(FRONT + "".join(spoil(GOOD, "sum", code("sum", "print(3 + 2)"))))
    assert problems(source) == [
        "07_small.ipynb: cell sum: differs from its source; run `make notebooks`"
    ]


@pytest.mark.parametrize("content", [None, "{ half a file", "[]"])
def test_a_missing_or_damaged_notebook(committed, content):
    source, path, _ = committed
    path.unlink() if content is None else path.write_text(content)
    assert problems(source) == ["07_small.ipynb: missing, or no notebook; run `make notebooks`"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("## 1 · Adding\n\nThe sum is 6.", "no cell of this section shows the number 6"),
        ("## 1 · Adding\n\nThe sum is 5, by 1,000 %.", "shows the number 1,000"),
        ("## 1 · Adding\n\n```{note}\n5\n```", "cell first: a MyST directive"),
        ("## 1 · Adding\n\n<b>five</b>", "cell first: HTML other than <details>: '<b>'"),
        ("## 1 · Adding\n\n[it](../README.md)", "cell first: a relative link"),
    ],
)
def test_prose_that_no_cell_carries(lesson, built, body, message):
    source = lesson(spoil(GOOD, "first", text("first", body)))
    notebook = nbformat.reads(built[1], as_version=4)
    notebook.cells[2].source = body
    (source.parent.parent / "07_small.ipynb").write_text(json.dumps(notebook))
    found = problems(source)
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize(
    ("prose", "numbers"),
    [
        ("10,000 = 100 × 100, 10 times", {10_000, 100, 10}),
        ("a ratio of 409.6×, below 1e-9", {409.6, 1e-9}),
        ("$W_0$, $x^2$, `float64`, W1 and A5x", set()),
        ("$5 \\times 100$ and $10_000$", {5, 100, 10_000}),
        ("## 4 · The 7 ways\n\n1. one\n2. two", {7}),
        ("### Exercise 3: find 8 of them", {8}),
        ("[arXiv:2106.09685](https://arxiv.org/abs/2106.09685)", set()),
        ("in 2021, with r = 5.", {2021, 5}),
    ],
)
def test_which_numbers_are_seen_in_prose(prose, numbers):
    assert set(build.numbers_in(prose)) == numbers


def test_numbers_of_another_section_do_not_count(lesson):
    other = [text("second", "## 2 · Again\n\nStill 5."), code("nothing", "print('nothing')")]
    source = lesson([*GOOD[:4], *other])
    build.build(source)
    assert problems(source) == [
        "07_small.ipynb: cell second: no cell of this section shows the number 5"
    ]


def test_a_plot_ends_with_show_and_not_with_a_semicolon(lesson):
    source = lesson([text("title", "# A plot"), code("plot", "[1];")])
    build.build(source)
    assert "cell plot: ends in `;`" in problems(source)[0]


def test_a_lesson_out_of_bounds(committed):
    source, _, _ = committed
    sizes = [line.removeprefix("07_small.ipynb: ") for line in build.check(source)]
    assert "8 cells, not 30 to 70" in sizes
    assert any("words of prose, not 1000 to 2500" in line for line in sizes)


# -- the command ------------------------------------------------------------------------------


def test_the_command_names_each_lesson_and_fails_when_one_is_refused(capsys, monkeypatch, built):
    source, _ = built
    monkeypatch.setattr(build, "sources", lambda names: [source])
    assert build.main(["--check"]) == 1  # too small for a lesson
    captured = capsys.readouterr()
    assert "8 cells, not 30 to 70" in captured.err
    assert captured.out.startswith("07_small ")
    assert "refused" in captured.out
    assert build.main([]) == 0
    assert "unchanged" in capsys.readouterr().out
    assert build.main(["--solved"]) == 0
    assert "every solution passes its check" in capsys.readouterr().out


def test_a_lesson_is_named_by_its_number_or_its_slug(capsys):
    (path,) = build.sources(["01"])
    assert path.stem == "01_matrix_example"
    assert build.sources(["01_matrix_example.ipynb"]) == [path]
    assert build.main(["99"]) == 1
    assert "no lesson is called '99'" in capsys.readouterr().err


# -- translations -----------------------------------------------------------------------------

TERMS = "| English | x |\n|---|---|\n| sum, sums | tổng |\n"
VIETNAMESE = {
    "title": "# 07 · Một bài nhỏ\n\nNăm 2021 có người cộng 2 với 3.",
    "first": "## 1 · Cộng\n\nTổng là 5.",
    "a-hint": "Hãy nghĩ đến 5.",
}


@pytest.fixture
def translated(lesson):
    """The good lesson in Vietnamese; call it with cells that are other than right."""
    source = lesson(GOOD)
    english = {cell.id: cell for cell in build.read_source(source).cells}
    folder = source.parent / "vi"
    folder.mkdir()
    (folder / "glossary.md").write_text(TERMS)

    def write(**other):
        cells = {**VIETNAMESE, **{name.replace("_", "-"): body for name, body in other.items()}}
        parts = [FRONT.split("kernelspec")[0] + "---\n"]
        for name, body in cells.items():
            if body is not None:
                digest = build.digest(english[name]) if name in english else "0"
                parts.append(f'\n+++ {{"id": "{name}", "en": "{digest}"}}\n\n{body}\n')
        (folder / source.name).write_text("".join(parts))
        return source

    return write


def test_a_translation_shares_code_and_outputs(translated):
    source = translated()
    assert build.build(source)
    assert not build.build(source)
    assert build.check(source, size=False) == []
    root = source.parent.parent
    english, other = (build.load(root / f / "07_small.ipynb") for f in (".", "vi"))
    for one, two in zip(english.cells, other.cells, strict=True):
        assert one.id == two.id
        if one.cell_type == "code":
            assert one == two
        elif "solution" not in build.tags(one):
            assert VIETNAMESE[one.id] in two.source
    assert "<summary>Gợi ý</summary>" in other.cells[6].source
    assert "<summary>Lời giải</summary>" in other.cells[7].source


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"first": None}, "cell first: not translated; the English one is "),
        ({"fifth": "Lạ."}, "cell fifth: no Markdown cell of the English source"),
        ({"first": "## 1 · Cộng\n\nTổng là 6."}, "cell first: other numbers than in English: [5.0"),
        ({"first": "## 1 · Cộng\n\nKết quả là 5."}, "cell first: 'sum' is rendered 'tổng'"),
    ],
)
def test_a_faulty_translation_is_named(translated, cells, problem):
    source = translated()
    build.build(source)
    assert build.check(source, size=False) == []
    found = build.check(translated(**cells), size=False)
    assert len(found) == 1
    assert found[0].startswith(f"vi/07_small.ipynb: {problem}")


def test_a_stale_translation_is_named_with_the_new_digest(translated):
    source = translated()
    build.build(source)
    source.write_text(source.read_text().replace("The sum is 5", "Their sum is 5"))
    new = build.digest(next(c for c in build.read_source(source).cells if c.id == "first"))
    assert f"vi/07_small.ipynb: cell first: stale; the English one is {new} now" in build.check(
        source, size=False
    )


def test_a_translation_that_was_not_built_is_named(translated):
    source = translated()
    build.build(source)
    (source.parent.parent / "vi" / "07_small.ipynb").unlink()
    assert build.check(source, size=False) == [
        "vi/07_small.ipynb: differs from its source; run `make notebooks`"
    ]


def test_numbers_may_be_written_as_in_vietnamese(translated):
    source = translated()
    text = source.read_text().replace(
        "The sum is 5", "The sum is 1,228.8, of 10,000 and 3.1, not 5"
    )
    source.write_text(text)
    cell = next(c for c in build.read_source(source).cells if c.id == "first")
    body = "## 1 · Cộng\n\nTổng là 1.228,8, của 10.000 và 3.1, không phải 5."
    translated(first=body)
    file = source.parent / "vi" / source.name
    digest = build.digest(cell)
    file.write_text(
        "".join(
            line.replace(line.split('"en": "')[1][:8], digest) if '"first"' in line else line
            for line in file.read_text().splitlines(keepends=True)
        )
    )
    assert build.translate(build.read_source(source), source, "vi")[1] == []


def test_the_learners_copies_come_in_each_language(translated):
    source = translated()
    assert build.own_copies(source) == "your copy; vi: your copy"
    copy = build.load(source.parent.parent / "mine" / "vi" / "07_small.ipynb")
    assert VIETNAMESE["first"] in [cell.source for cell in copy.cells]
    assert build.own_copies(source).endswith("vi: yours, kept as it is: 07_small.ipynb")
