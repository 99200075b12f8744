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

SECTION = re.compile(r"(?s)<section>\n(.*?)\n</section>")


def slides_of(path):
    """Return the insides of the sections of a page."""
    return SECTION.findall(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("source", sources(), ids=slug)
def test_each_lesson_has_slides_that_need_no_network_and_so_has_each_translation(
    source, tmp_path, capsys
):
    assert build.main(["--slides", source.stem, "--out", str(tmp_path)]) == 0
    own = [f"{language}/{source.stem}.html" for language in languages(source)]
    found = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html")]
    assert sorted(found) == [f"{source.stem}.html", *own]
    english = slides_of(tmp_path / found[0])
    assert 8 <= len(english) <= 40
    for name in found:
        page = (tmp_path / name).read_text(encoding="utf-8")
        language = name[:2] if "/" in name else "en"
        assert page.startswith(f'<!doctype html>\n<html lang="{language}">')
        assert len(slides_of(tmp_path / name)) == page.count("<section>") == len(english)
        assert not re.search(r"<link|<iframe|<script[^>]*src|@import|url\(", page)
        assert set(re.findall(r'<img src="(.{22})', page)) == {"data:image/png;base64,"}
        text = re.sub(r"(?s)<script>.*|<style>.*?</style>|<pre.*?</pre>|<code.*?</code>", "", page)
        assert "$" not in text  # every formula is drawn


def test_slides_begin_where_the_cells_say(lesson, tmp_path):
    lesson.write(
        text("title", "# 07 · Small & good", "slide"),
        code("sum", "print(2 + 3)", "slide"),
        text("left-out", "Not on a slide."),
        text("formula", "It is $2 + 3$:\n\n$$x^2$$", "fragment"),
    )
    execute.build(lesson.source)
    assert build.main(["--slides", "07", "--out", str(tmp_path)]) == 0
    title, second = slides_of(tmp_path / "07_small.html")
    assert "Small &amp; good" in title
    assert "class=step" not in title
    assert second.count("class=step") == 2  # the output, the formula
    assert '<pre class="output">5</pre>' in second
    assert second.count("<math") == 2
    assert "left-out" not in second
    assert "Not on a slide" not in second


def test_a_picture_has_a_slide_of_its_own_with_what_is_printed_after_it(lesson):
    lesson.write(
        code("plot", "plt.plot([1, 2])\nplt.show()\nprint(2 + 3)", "slide"),
        text("plot-text", "**In the figure:** a *line*.", "figure-text"),
        text("after", "So it rises.", "fragment"),
    )
    notebook = reading_edition(read_source(lesson.source))
    notebook.cells[0].outputs = [
        nbformat.v4.new_output("stream", text="before\n"),
        nbformat.v4.new_output("display_data", {"image/png": "iVBORw0K"}),
        nbformat.v4.new_output("stream", text="5\n"),
    ]
    plot, picture, after = slides.slides(notebook)
    assert plot == '<div><pre class="output">before</pre></div>'  # the picture says what is done
    assert picture.count("<img") == 1
    assert 'alt="In the figure: a line."' in picture
    assert picture.endswith('<div class=step><pre class="output">5</pre></div>')
    assert "So it rises" in after
    assert "<img" not in after
    notebook.cells[0].source = "fig, shown = figures.plot()\nplt.show()"
    notebook.cells[0].outputs.pop(0)
    assert slides.slides(notebook) == [picture, after]


ROWS = st.lists(st.text("ab ", max_size=30), min_size=1, max_size=40)


@given(ROWS, st.integers(3, 12), st.integers(8, 20))
def test_pieces_hold_each_line_and_fit_a_slide(rows, most, wide):
    found = slides.pieces("\n".join(rows), most, wide)
    kept = [row for piece in found for row in piece.splitlines() if row.strip()]
    assert kept == [row for row in rows if row.strip()]
    for piece in found:
        lines = [slides.lines_of(row, wide) for row in piece.splitlines()]
        assert sum(lines) <= most or len(lines) <= 2  # two rows may be wider than the slide


HEAD = 'class A:\n    """Say\n\n    what."""'
FIRST = f"{HEAD}\n\n    def one(self):\n        return 1"
SECOND = "    def two(self):\n        return 2"


PIECES = [
    (f"{FIRST}\n\n{SECOND}", 8, [FIRST, SECOND]),
    (f"{HEAD}\n\n{SECOND}", 4, [HEAD, SECOND]),  # not within the docstring
    (f"x = 1\ny = 2\nz = 3\n{HEAD}", 6, ["x = 1\ny = 2\nz = 3", HEAD]),
]


@pytest.mark.parametrize(("code", "most", "pieces"), PIECES)
def test_code_is_cut_where_one_would_cut_it(code, most, pieces):
    assert slides.pieces(code, most, 82) == pieces


SUM, OTHER = "[07](07_small.ipynb) `sum`", "[07](07_small.ipynb) `{}`"


def test_the_slides_of_a_class_are_its_frames(lesson, monkeypatch, tmp_path, capsys):
    cells = [code("sum", "import math\n\nprint(2 + 3)"), code("film", "print(2)", "live")]
    lesson.write(text("title", "# 07 · Small"), *cells, code("still", "print(2)"))
    execute.build(lesson.source)
    script = lesson.folder / "CLASS.md"
    monkeypatch.setattr(build, "CLASS", script)

    def run(written):
        script.write_text(written)
        code = build.main(["--slides", "CLASS", "--out", str(tmp_path)])
        return code, capsys.readouterr().err

    frames = f"> ## Vote\n>\n> $2 + 3$ is\n>\n> {SUM}\n\nSay.\n\n> The end.\n"
    assert run(f"# A class\n\nDraw.\n\n{frames}") == (0, "")
    vote, end = slides_of(tmp_path / "CLASS.html")
    assert '<pre class="output">5</pre>' in vote
    assert "Vote" in vote
    assert "import" not in vote  # a class sees no code
    assert "The end." in end
    page = (tmp_path / "CLASS.html").read_text(encoding="utf-8")
    assert "<title>A class</title>" in page
    assert "Draw." not in page
    for bad, message in {
        f"> {OTHER.format('product')}\n": "CLASS.md: 07_small has no cell product",
        f"> {OTHER.format('film')}\n": "cell film: only figures.NAME() plays on a slide",
        f"> {SUM.replace('07_small', '08_none')}\n": "08_none: there is no notebook",
        "# A class\n\nWords alone.\n": "CLASS.md: no frame",
    }.items():
        code_, said = run(bad)
        assert code_ == 1
        assert message in said
    script.unlink()
    with pytest.raises(BuildError, match=r"CLASS.md: missing"):
        slides.class_page(script)


def test_a_lesson_without_slides_and_one_that_begins_with_a_fragment(lesson, capsys, tmp_path):
    for cells, message in (
        (None, "there is no notebook; run `make notebooks`"),
        ([GOOD[0]], "07_small: no cell is tagged `slide`"),
        ([text("title", "# 07", "fragment")], "cell title: a fragment before the first slide"),
    ):
        lesson.write(*(cells or GOOD))
        if cells:
            execute.build(lesson.source)
        assert build.main(["--slides", "07", "--out", str(tmp_path)]) == 1
        assert message in capsys.readouterr().err


def test_the_class_of_the_course_has_its_film(tmp_path):
    assert build.main(["--slides", "FIFTY_MINUTES", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "FIFTY_MINUTES.html").read_text(encoding="utf-8")
    assert "data-captions" in page  # of lesson 03
