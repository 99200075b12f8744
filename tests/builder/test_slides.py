"""Slides: each lesson has them, and they need nothing but a browser."""

import re

import build
import nbformat
import pytest
from builder import execute, slides
from builder.editions import reading_edition
from builder.source import BuildError, read_source, slug, sources
from builder.translate import languages
from hypothesis import given
from hypothesis import strategies as st
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


translations = [(path, language) for path in sources() for language in languages(path)]


@pytest.mark.parametrize(("source", "language"), translations, ids=lambda part: str(part)[-20:])
def test_each_translation_has_the_slides_of_its_lesson(source, language):
    page = slides.page(source, language)
    assert f'<html lang="{language}">' in page
    english = slides.slides(slides.built(source))
    assert len(slides.slides(slides.built(source, language))) == len(english)


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
    assert '<pre class="output">5</pre>' in second
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
    assert plot == '<div><pre class="output">before</pre></div>'  # the picture says what is done
    assert picture.count("<img") == 1
    assert 'alt="In the figure: a line."' in picture
    assert picture.endswith('<div class=step><pre class="output">5</pre></div>')
    assert "So it rises" in after
    notebook.cells[0].source = "fig, shown = figures.plot()\nplt.show()"
    notebook.cells[0].outputs.pop(0)
    assert slides.slides(notebook) == [picture, after]


@given(
    st.lists(st.text("ab ", max_size=30), min_size=1, max_size=40),
    st.integers(3, 12),
    st.integers(8, 20),
)
def test_pieces_hold_each_line_and_fit_a_slide(rows, most, wide):
    found = slides.pieces("\n".join(rows), most, wide)
    kept = [row for piece in found for row in piece.splitlines() if row.strip()]
    assert kept == [row for row in rows if row.strip()]
    for piece in found:
        lines = [slides.lines_of(row, wide) for row in piece.splitlines()]
        assert sum(lines) <= most or len(lines) <= 2  # two rows may be wider than the slide


def test_code_is_cut_where_one_would_cut_it():
    code = '''class A:
    """Say

    what."""

    def one(self):
        return 1

    def two(self):
        return 2'''
    first, second = slides.pieces(code, 8, 82)
    assert first.endswith("return 1")
    assert second.startswith("    def two")
    assert slides.pieces(code, 4, 82)[0].endswith('what."""')  # not within the docstring
    later = 'x = 1\ny = 2\nz = 3\ndef f():\n    """Say\n\n    what."""'
    assert slides.pieces(later, 6, 82)[0] == "x = 1\ny = 2\nz = 3"


def test_the_slides_of_a_class_are_its_frames(lesson):
    source = lesson(
        [
            text("title", "# 07 · Small"),
            code("sum", "import math\n\nprint(2 + 3)"),
            code("film", "print(2)", "live"),
            code("still", "print(2)"),
            text("end", "The end."),
        ]
    )
    execute.build(source)
    script = source.parents[1] / "CLASS.md"
    cell = "[07](07_small.ipynb) `sum`"
    script.write_text(
        f"# A class\n\nDraw.\n\n> ## Vote\n>\n> $2 + 3$ is\n>\n> {cell}\n\nSay.\n\n> The end.\n"
    )
    assert slides.frames(script.read_text()) == [f"## Vote\n\n$2 + 3$ is\n\n{cell}", "The end."]
    page = slides.class_page(script)
    assert page.count("<section>") == 2
    assert '<pre class="output">5</pre>' in page
    assert "import" not in page.partition("<section>")[2]  # a class sees no code
    assert "Draw." not in page
    assert "<title>A class</title>" in page
    script.write_text(f"> {cell.replace('sum', 'product')}\n")
    with pytest.raises(BuildError, match=r"CLASS.md: 07_small has no cell product"):
        slides.class_page(script)
    script.write_text(f"> {cell.replace('sum', 'film')}\n")
    with pytest.raises(BuildError, match=r"cell film: only figures.NAME\(\) plays on a slide"):
        slides.class_page(script)
    script.write_text(f"> {cell.replace('07_small', '08_none')}\n")
    with pytest.raises(BuildError, match=r"08_none: there is no notebook"):
        slides.class_page(script)
    script.write_text("# A class\n\nWords alone.\n")
    with pytest.raises(BuildError, match=r"CLASS.md: no frame"):
        slides.class_page(script)
    script.unlink()
    with pytest.raises(BuildError, match=r"CLASS.md: missing"):
        slides.class_page(script)


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
    assert build.main(["--slides", "FIFTY_MINUTES", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "FIFTY_MINUTES.html").read_text(encoding="utf-8")
    assert "data-captions" in page  # the film of lesson 03
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "01_matrix_example.html",
        "FIFTY_MINUTES.html",
        "vi",
    ]
