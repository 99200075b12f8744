"""What the static check says of sources and notebooks that are good or bad on purpose."""

import json

import nbformat
import pytest
from builder import execute
from builder.lint import check, check_source
from builder.prose import numbers_in
from builder.source import BuildError, read_source
from small_lesson import FRONT, GOOD, code, spoil, text


@pytest.fixture
def committed(lesson, built):
    """The good lesson's built notebook, to be spoilt: returns (source, path, notebook)."""
    source = lesson(GOOD)
    path = source.parent.parent / "07_small.ipynb"
    path.write_text(built[1], encoding="utf-8")
    return source, path, nbformat.reads(built[1], as_version=4)


def problems(source):
    return check(source, size=False)


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
        (
            change(3, source="print(5)"),
            "cell sum: differs from its source; run `notebooks/build.py` for it (what is",
        ),
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
        "07_small.ipynb: cell sum: differs from its source; run `notebooks/build.py` for it "
        "(what is written in the notebook itself is lost)"
    ]


@pytest.mark.parametrize("content", [None, "{ half a file", "[]"])
def test_a_missing_or_damaged_notebook(committed, content):
    source, path, _ = committed
    path.unlink() if content is None else path.write_text(content)
    assert problems(source) == [
        "07_small.ipynb: missing, or no notebook; run `notebooks/build.py` for it"
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("## 1 · Adding\n\nThe sum is 6.", "no cell of this section shows the number 6"),
        ("## 1 · Adding\n\nThe sum is 5, by 1,000 %.", "shows the number 1,000"),
        ("## 1 · Adding\n\n```{note}\n5\n```", "cell first: a MyST directive"),
        ("## 1 · Adding\n\n<b>five</b>", "cell first: HTML other than <details>: '<b>'"),
        (
            "## 1 · Adding\n\n[it](../README.md)",
            "07_small.md:26: cell first: a link to neither https://…, nor #…",
        ),
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
    assert set(numbers_in(prose)) == numbers


def test_numbers_of_another_section_do_not_count(lesson):
    other = [text("second", "## 2 · Again\n\nStill 5."), code("nothing", "print('nothing')")]
    source = lesson([*GOOD[:4], *other])
    execute.build(source)
    assert problems(source) == [
        "07_small.ipynb: cell second: no cell of this section shows the number 5"
    ]


def test_a_plot_ends_with_show_and_not_with_a_semicolon(lesson):
    source = lesson([text("title", "# A plot"), code("plot", "[1];")])
    assert "07_small.md:13: cell plot: ends in `;`" in problems(source)[0]
    with pytest.raises(BuildError, match="cell plot: ends in `;`"):
        execute.build(source)


def test_a_lesson_out_of_bounds(committed):
    source, _, _ = committed
    sizes = [line.removeprefix("07_small.ipynb: ") for line in check(source)]
    assert "8 cells, not 30 to 80" in sizes
    assert any("words of prose, not 1000 to 2300" in line for line in sizes)


# -- the rules of the page --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("below", "body", "problem"),
    [
        (2, "Open\n\n<details ontoggle=alert(1)>", "HTML other than <details>: '<details ontoggle"),
        (0, "<details open onclick=x>", "HTML other than <details>: '<details open onclick=x>'"),
        (0, "<summary class=x>it</summary>", "HTML other than <details>: '<summary class=x>'"),
        (0, "<details>\n<img src=x onerror=alert(1)>", "HTML other than <details>: '<img src=x"),
        (0, "an <img\nsrc=x> in a line", "HTML other than <details>: '<img'"),
        (0, "<script", "HTML other than <details>: '<script'"),
        (0, "<!-- a comment -->", "HTML other than <details>: '<!-- a comment -->'"),
        (2, "a ` tick\n\n<b>bold</b> and ` another", "HTML other than <details>: '<b>'"),
        (0, "a $5 note, <b>bold</b>, a $6 one", "HTML other than <details>: '<b>'"),
        (2, "One\n\n- two <b>bold</b>", "HTML other than <details>: '<b>'"),
        (0, "```{note}\nIt\n```", "a MyST directive (Jupyter shows it raw): '{note}'"),
        (0, "``` {note}\nIt\n```", "a MyST directive (Jupyter shows it raw): ' {note}'"),
        (0, ":::{note}\nIt\n:::", "a MyST directive (Jupyter shows it raw): ':::{note}'"),
        (0, "[nowhere]()", "a link to neither"),
        (0, "See [it][1].\n\n[1]: javascript:alert(1)", "a link to neither"),
        (2, "Nothing refers\n\n[to]: data:text/html,it", "a link to neither"),
        (0, "[it](javascript:alert(1))", "a link to neither"),
        (0, "[it](JavaScript:alert(1))", "a link to neither"),
        (0, "[it](&#106;avascript:alert(1))", "a link to neither"),
        (0, "[it](file:///etc/passwd)", "a link to neither"),
        (0, "<javascript:alert(1)>", "a link to neither"),
        (0, "![a picture](picture.png)", "a link to neither"),
        (0, "[it](//example.org)", "a link to neither"),
        (0, "[it](06_missing.ipynb)", "a link to neither"),
        (0, "[it](07_small.ipynb/../../README.md)", "a link to neither"),
        (2, "| a |\n|---|\n| [it](../a) |", "a link to neither"),
    ],
)
def test_what_a_page_may_not_hold_is_named_with_its_line(lesson, below, body, problem):
    found = next(check_source(read_source(lesson([text("bad", body)]))))
    assert found.startswith(f"07_small.md:{11 + below}: cell bad: {problem}")


def test_what_a_page_may_hold(lesson):
    body = """<details open>

<summary>More</summary>

[a page](https://example.org/a_b?c#d), <https://example.org>, [here](#title), a [lesson][1],
`<b>code</b>`, $a < b > c$ and 2 < 3. [its part](07_small.ipynb#sum)

```html
<b onclick="x">as an example</b>
```

</details>

[1]: 07_small.ipynb
"""
    source = read_source(lesson([text("good", body), text("vi", "Đây là <details>\n</details>")]))
    assert list(check_source(source)) == []


@pytest.mark.parametrize(
    "cell",
    [
        code("told", "1", "nbval-ignore-output"),
        code("told", "1", "nbval-skip", "slide"),
        code("told", "#  NBVAL_IGNORE_OUTPUT\n1"),
        code("told", "1  #PYTEST_VALIDATE_IGNORE_OUTPUT"),
    ],
)
def test_a_source_says_what_a_cell_is_and_not_what_nbval_does(lesson, cell):
    (found,) = check_source(read_source(lesson([cell])))
    assert found.startswith("07_small.md:9: cell told: ")
    assert found.endswith(": say what the cell is: approx, live, timing")


TWIN = code("twin", "print('r = 5')")


@pytest.mark.parametrize("following", [[], [text("after", "More.")], [code("silent", "r = 5")]])
def test_what_is_live_has_a_still_twin(lesson, following):
    source = lesson([code("slider", "print(7)", "live"), *following])
    execute.build(source)
    assert problems(source) == [
        "07_small.ipynb: cell slider: live, without a still twin (a next cell with an output)"
    ]
    source = lesson([code("slider", "print(7)", "live"), TWIN, *following])
    execute.build(source)
    assert problems(source) == []


@pytest.mark.parametrize(
    ("kind", "shown"), [("timing", False), ("approx", False), ("live", False), ("slide", True)]
)
def test_an_output_that_another_run_may_change_carries_no_number(lesson, kind, shown):
    cells = [
        text("first", "## 1 · Adding\n\nThe sum of 2 and 3 is 5."),
        code("sum", "print(2 + 3)", kind),
        TWIN.replace("5", "6"),
    ]
    source = lesson(cells)
    execute.build(source)
    unseen = "07_small.ipynb: cell first: no cell of this section shows the number 5"
    assert problems(source) == ([] if shown else [unseen])  # 2 and 3 stand in the code
