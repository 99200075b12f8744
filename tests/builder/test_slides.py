"""Slides: each lesson has them, and they need nothing but a browser."""

import re

import build
import nbformat
import pytest
from builder import execute, slides
from builder.editions import reading_edition
from builder.source import BuildError, read_source, slug, sources
from small_lesson import GOOD, code, text

lessons = pytest.mark.parametrize("source", sources(), ids=slug)


@lessons
def test_each_lesson_has_slides_that_need_no_network(source):
    page = slides.page(source)
    assert 8 <= page.count("<section>") <= 40
    assert page.count("<section>") == page.count("</section>")
    assert not re.search(r"<link|<iframe|<script[^>]*src|@import|url\(", page)
    sources = re.findall(r'<img src="(.{22})', page)
    assert set(sources) == {"data:image/png;base64,"}
    text = re.sub(r"(?s)<script>.*|<style>.*?</style>|<pre.*?</pre>|<code.*?</code>", "", page)
    assert "$" not in text  # every formula is drawn


def test_slides_begin_where_the_cells_say(lesson):
    cells = [
        text("title", "# 07 · Small & good", "slide"),
        code("sum", "print(2 + 3)", "slide"),
        text("left-out", "Not on a slide."),
        text("formula", "It is $2 + 3$:\n\n$$x^2$$", "fragment"),
    ]
    source = lesson(cells)
    small = read_source(source)
    built = execute.execute(reading_edition(small), small)
    title, second = slides.slides(built)
    assert "Small &amp; good" in title
    assert "class=step" not in title
    assert second.count("class=step") == 2  # the output, the formula
    assert '<pre class="output">5\n</pre>' in second
    assert second.count("<math") == 2
    assert "left-out" not in second
    assert "Not on a slide" not in second


def test_a_picture_has_a_slide_of_its_own_with_what_is_printed_after_it(lesson):
    cells = [
        code("plot", "plt.plot([1, 2])\nplt.show()\nprint(2 + 3)", "slide"),
        text("plot-text", "**In the figure:** a *line*.", "figure-text"),
        text("after", "So it rises.", "fragment"),
    ]
    notebook = reading_edition(read_source(lesson(cells)))
    notebook.cells[0].outputs = [
        nbformat.v4.new_output("stream", text="before\n"),
        nbformat.v4.new_output("display_data", {"image/png": "iVBORw0K"}),
        nbformat.v4.new_output("stream", text="5\n"),
    ]
    plot, picture, after = slides.slides(notebook)
    assert "<img" not in plot + after
    assert '<pre class="output">before\n</pre>' in plot
    assert picture.count("<img") == 1
    assert 'alt="In the figure: a line."' in picture
    assert picture.endswith('<div class=step><pre class="output">5\n</pre></div>')
    assert "So it rises" in after
    notebook.cells[0].source = "fig, shown = figures.plot()\nplt.show()"
    notebook.cells[0].outputs.pop(0)
    assert slides.slides(notebook) == [picture, after]


def test_a_lesson_without_slides_and_one_that_begins_with_a_fragment(lesson):
    source = lesson(GOOD)
    with pytest.raises(BuildError, match="there is no notebook"):
        slides.page(source)
    execute.build(source)
    with pytest.raises(BuildError, match="no cell is tagged `slide`"):
        slides.page(source)
    execute.build(lesson([text("title", "# 07", "fragment")]))
    with pytest.raises(BuildError, match="cell title: a fragment before the first slide"):
        slides.page(source)


def test_the_command_writes_them(tmp_path, capsys):
    assert build.main(["--slides", "matrix_example", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "01_matrix_example.html").read_text(encoding="utf-8").startswith("<!doctype")
    assert build.main(["--slides", "99", "--out", str(tmp_path)]) == 1
    assert "no lesson is called '99'" in capsys.readouterr().err
