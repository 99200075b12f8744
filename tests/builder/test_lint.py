"""What the static check says of sources and notebooks that are good or bad on purpose."""

import json
import re

import build
import nbformat
import pytest
from builder import execute
from builder.prose import numbers_in
from builder.source import BuildError
from small_lesson import GOOD, code, text

PNG = {"image/png": "iVBORw0KGgo="}
REBUILD = "differs from its source; run `notebooks/build.py` for it"


def add(cell, kind, **content):
    """Return what adds an output to a cell."""
    return lambda page: page.cells[cell].outputs.append(nbformat.v4.new_output(kind, **content))


def change(cell, **values):
    """Return what changes a cell."""
    return lambda page: page.cells[cell].update(values)


def unvouched(page):
    page.cells[-1].outputs[0].metadata.lora_edu.claims[0].update(value="7")


def shown_on_slides(page):
    page.cells[-1].metadata.tags.append("slide")


SPOILT = [  # what is done to the committed notebook, and what the check says of it
    (change(3, execution_count=7), "cell sum: execution count 7, expected 2: not run from top"),
    (change(3, execution_count=None), "cell sum: execution count None, expected 2"),
    (add(3, "error", ename="KeyError", evalue="'x'"), "cell sum: an error output: KeyError: 'x'"),
    (add(3, "stream", name="stderr", text="a warning"), "cell sum: an output on stderr: 'a warni"),
    (add(3, "display_data", data=PNG), "cell sum: a figure without its text"),
    (change(3, source="print(5)"), f"cell sum: {REBUILD} (what is written in the notebook itself"),
    (change(2, source="## 1 · Adding\n\nSum is 5."), f"cell first: {REBUILD}"),
    (change(2, source="## 1 · Adding\n\nSum is 6."), "cell first: no cell of this section shows "),
    (change(2, source="## 1 · Adding\n\nOf 1,000."), "cell first: no cell of this section shows "),
    (change(3, id="other"), f"cell sum: {REBUILD}"),
    (lambda page: page.cells.pop(), "8 cells, its source has 9"),
    (lambda page: page.metadata.update(widgets={}), "metadata that no build writes: ['kernelspec"),
    # claims
    (
        change(2, source="## 1 · Adding\n\n5."),
        "cell claims: no sentence of its section says “The s",
    ),
    (change(-1, outputs=[]), "cell claims: it shows no panel of claims"),
    (change(-1, source="panel()"), "cell claims: a reader sees its first line, which is '# What"),
    (shown_on_slides, "cell claims: claims are no part of the slides"),
    (unvouched, "claims.json has other claims of this lesson; run `notebooks/build.py` for it"),
]


@pytest.mark.parametrize(("spoil", "said"), SPOILT)
def test_a_committed_notebook_that_is_not_as_built(built, spoil, said):
    built.rendered.unlink()
    assert built.problems() == []
    page = built.page()
    spoil(page)
    built.notebook.write_text(json.dumps(page), encoding="utf-8")
    found = built.problems()
    assert any(line.startswith(f"07_small.ipynb: {said}") for line in found), found


@pytest.mark.parametrize("content", [None, "{ half a file", "[]"])
def test_a_missing_or_damaged_notebook(built, content):
    built.notebook.unlink()
    if content is not None:
        built.notebook.write_text(content)
    assert built.problems() == [
        "07_small.ipynb: missing, or no notebook; run `notebooks/build.py` for it"
    ]


NUMBERS = [
    ("10,000 = 100 × 100, 10 times", {10_000, 100, 10}),
    ("a ratio of 409.6×, below 1e-9", {409.6, 1e-9}),
    ("$W_0$, $x^2$, `float64`, W1 and A5x", set()),
    ("$5 \\times 100$ and $10_000$", {5, 100, 10_000}),
    ("## 4 · The 7 ways\n\n1. one\n2. two", {7}),
    ("### Exercise 3: find 8 of them", {8}),
    ("[arXiv:2106.09685](https://arxiv.org/abs/2106.09685)", set()),
    ("in 2021, with r = 5.", {2021, 5}),
]


@pytest.mark.parametrize(("prose", "numbers"), NUMBERS)
def test_which_numbers_are_seen_in_prose(prose, numbers):
    assert set(numbers_in(prose)) == numbers


ADDING, SUM = text("first", "## 1 · Adding\n\nThe sum of 2 and 3 is 5."), "print(2 + 3)"
TWIN = code("twin", "print('r = 6')")
AGAIN = text("second", "## 2 · Again\n\nStill 5.")
UNSEEN = "cell {}: no cell of this section shows the number 5"
ALONE = "cell slider: live, without a still twin (a next cell with an output)"


VOUCHED = [
    ([ADDING, code("sum", SUM, "slide")], None),
    ([ADDING, code("sum", SUM, "timing")], UNSEEN.format("first")),  # 2 and 3 are in the code
    ([ADDING, code("sum", SUM, "approx")], UNSEEN.format("first")),
    ([ADDING, code("sum", SUM, "live"), TWIN], UNSEEN.format("first")),
    ([ADDING, code("sum", SUM), AGAIN, code("other", "'other'")], UNSEEN.format("second")),
    ([ADDING, code("sum", SUM), AGAIN], None),  # a section without code
    ([code("slider", "7", "live"), TWIN], None),
    ([code("slider", "7", "live"), TWIN, text("after", "More.")], None),
    ([code("slider", "7", "live")], ALONE),
    ([code("slider", "7", "live"), text("after", "More.")], ALONE),
    ([code("slider", "7", "live"), code("silent", "r = 6")], ALONE),
]


@pytest.mark.parametrize(("cells", "said"), VOUCHED)
def test_what_an_output_vouches_for_and_what_is_live_has_a_still_twin(lesson, cells, said):
    lesson.write(*cells)
    execute.build(lesson.source)
    assert lesson.problems() == ([f"07_small.ipynb: {said}"] if said else [])


def test_a_notebook_that_is_too_large_a_file(capsys, built, monkeypatch):
    monkeypatch.setattr(build.lint, "MOST_BYTES", 100)
    assert build.main(["--check"]) == 1
    said = capsys.readouterr()
    assert "NOT RIGHT:" in said.out
    assert re.search(r"07_small.ipynb: [\d,]+ bytes, more than 100: ", said.err)


# -- the rules of the page --------------------------------------------------------------------

HTML, LINK = "HTML other than <details>: ", "a link to neither https://…, nor #…, nor a sibling"
RAW = "a MyST directive (Jupyter shows it raw): "


FORBIDDEN = [
    (2, "Open\n\n<details ontoggle=alert(1)>", f"{HTML}'<details ontoggle=alert(1)>'"),
    (0, "<details open onclick=x>", f"{HTML}'<details open onclick=x>'"),
    (0, "<summary class=x>it</summary>", f"{HTML}'<summary class=x>'"),
    (0, "<details>\n<img src=x onerror=alert(1)>", f"{HTML}'<img src=x onerror=alert(1)>'"),
    (0, "an <img\nsrc=x> in a line", f"{HTML}'<img'"),
    (0, "<script", f"{HTML}'<script'"),
    (0, "<!-- a comment -->", f"{HTML}'<!-- a comment -->'"),
    (2, "a ` tick\n\n<b>bold</b> and ` another", f"{HTML}'<b>'"),
    (0, "a $5 note, <b>bold</b>, a $6 one", f"{HTML}'<b>'"),
    (2, "One\n\n- two <b>bold</b>", f"{HTML}'<b>'"),
    (0, "```{note}\nIt\n```", f"{RAW}'{{note}}'"),
    (0, "``` {note}\nIt\n```", f"{RAW}' {{note}}'"),
    (0, ":::{note}\nIt\n:::", f"{RAW}':::{{note}}'"),
    (0, "[nowhere]()", LINK),
    (0, "See [it][1].\n\n[1]: javascript:alert(1)", LINK),
    (2, "Nothing refers\n\n[to]: data:text/html,it", LINK),
    (0, "[it](javascript:alert(1))", LINK),
    (0, "[it](JavaScript:alert(1))", LINK),
    (0, "[it](&#106;avascript:alert(1))", LINK),
    (0, "[it](file:///etc/passwd)", LINK),
    (0, "<javascript:alert(1)>", LINK),
    (0, "![a picture](picture.png)", LINK),
    (0, "[it](//example.org)", LINK),
    (0, "[it](../README.md)", LINK),
    (0, "[it](06_missing.ipynb)", LINK),
    (0, "[it](07_small.ipynb/../../README.md)", LINK),
    (2, "| a |\n|---|\n| [it](../a) |", LINK),
]


@pytest.mark.parametrize(("below", "body", "problem"), FORBIDDEN)
def test_what_a_page_may_not_hold_is_named_with_its_line_and_not_built(
    lesson, below, body, problem
):
    lesson.write(text("bad", body))
    found = lesson.problems()[0]
    assert found.startswith(f"07_small.md:{11 + below}: cell bad: {problem}")
    with pytest.raises(BuildError) as caught:
        execute.build(lesson.source)
    assert str(caught.value).startswith(found)
    assert not lesson.notebook.exists()


TOLD = [
    (code("a", "1", "nbval-ignore-output"), "nbval-ignore-output: say what the cell is: app"),
    (code("a", "1", "nbval-skip", "slide"), "nbval-skip: say what the cell is: approx, live"),
    (code("a", "#  NBVAL_IGNORE_OUTPUT\n1"), "#  NBVAL_IGNORE_OUTPUT: say what the cell is"),
    (code("a", "1  #PYTEST_VALIDATE_IGNORE_OUTPUT"), "#PYTEST_VALIDATE_IGNORE_OUTPUT: say"),
    (code("a", "plot()\n[1];"), "ends in `;`, which nbval does not honour: use `plt.show()`"),
]


@pytest.mark.parametrize(("cell", "problem"), TOLD)
def test_a_source_says_what_a_cell_is_and_not_what_nbval_does(lesson, cell, problem):
    lesson.write(cell)
    assert lesson.problems()[0].startswith(f"07_small.md:9: cell a: {problem}")


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
    lesson.write(text("good", body), text("vi", "Đây là <details>\n</details>"), GOOD[1])
    (found,) = lesson.problems()
    assert "missing, or no notebook" in found
