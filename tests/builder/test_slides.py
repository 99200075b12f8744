"""Slides: each lesson has them, and they need nothing but a browser."""

import re

import build
import nbformat
import pytest
from builder import slides
from builder.editions import dumps, reading_edition
from builder.source import BuildError, read_source, slug, sources
from builder.translate import languages
from hypothesis import given
from hypothesis import strategies as st
from small_lesson import GOOD, code, text


def slides_of(path):
    """Return the insides of the sections of a page."""
    return re.findall(r"(?s)<section>\n(.*?)\n</section>", path.read_text(encoding="utf-8"))


@pytest.fixture
def made(lesson, tmp_path, capsys):
    """A function that makes slides of cells, with outputs by their ids, or refuses them."""

    def make(*cells, name="07_small", **shown):
        lesson.write(*cells)
        notebook = reading_edition(read_source(lesson.source))
        for cell in notebook.cells:
            for output in shown.get(cell.id, []):
                kind = "stream" if isinstance(output, str) else "display_data"
                content = {"text": output} if isinstance(output, str) else {"data": output}
                cell.outputs.append(nbformat.v4.new_output(kind, **content))
        lesson.notebook.write_text(dumps(notebook), encoding="utf-8")
        if build.main(["--slides", name.removesuffix("_small"), "--out", str(tmp_path)]):
            return capsys.readouterr().err
        return slides_of(tmp_path / f"{name}.html")

    return make


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


PLOT = "plt.plot([1, 2])\nplt.show()\nprint(2 + 3)"
TOLD = text("plot-text", "**In the figure:** a *line*.", "figure-text")


def test_slides_begin_where_the_cells_say_and_a_picture_has_one_of_its_own(made):
    title, total, before, picture, after, alone, last = made(
        text("title", "# 07 · Small & good", "slide"),
        code("sum", "print(2 + 3)", "slide"),
        text("left-out", "Not on a slide."),
        text("formula", "It is $2 + 3$:\n\n$$x^2$$", "fragment"),
        code("plot", PLOT, "slide"),
        TOLD,
        text("after", "So it rises.", "fragment"),
        code("alone", "fig, shown = figures.plot()\nplt.show()", "slide"),
        TOLD.replace("plot-text", "alone-text"),
        text("last", "### One\n\nA.\n\n### Two", "slide"),
        sum=["5\n"],
        plot=["before\n", {"image/png": "iVBORw0K"}, "5\n"],
        alone=[{"image/png": "iVBORw0K"}],
    )[:7]
    assert "Small &amp; good" in title
    assert "class=step" not in title
    assert total.count("class=step") == 2  # the output, the formula
    assert '<pre class="output">5</pre>' in total
    assert total.count("<math") == 2
    assert "Not on a slide" not in total
    assert before == '<div><pre class="output">before</pre></div>'  # the picture says what is done
    assert picture.count("<img") == 1
    assert 'alt="In the figure: a line."' in picture
    assert picture.endswith('<div class=step><pre class="output">5</pre></div>')
    assert "So it rises" in after
    assert alone == picture.partition("\n")[0]
    assert "One" in last
    assert "Two" not in last


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


def test_code_is_cut_where_one_would_cut_it():
    assert slides.pieces(f"{FIRST}\n\n{SECOND}", 8, 82) == [FIRST, SECOND]
    assert slides.pieces(f"{HEAD}\n\n{SECOND}", 4, 82) == [HEAD, SECOND]  # not in the docstring
    start = "x = 1\ny = 2\nz = 3"
    assert slides.pieces(f"{start}\n{HEAD}", 6, 82) == [start, HEAD]


SUM = "[07](07_small.ipynb) `sum`"


def test_the_slides_of_a_class_are_its_frames(lesson, made, monkeypatch):
    script = lesson.folder / "CLASS.md"
    monkeypatch.setattr(build, "CLASS", script)
    cells = [code("sum", "import math\n\nprint(2 + 3)"), code("film", "print(2)", "live")]

    def run(written):
        script.parent.mkdir(exist_ok=True, parents=True)
        script.write_text(written)
        return made(text("title", "# 07 · Small"), *cells, name="CLASS", sum=["5\n"])

    frames = f"> ## Vote\n>\n> $2 + 3$ is\n>\n> {SUM}\n\nSay.\n\n> The end.\n"
    vote, end = run(f"# A class\n\nDraw.\n\n{frames}")
    assert '<pre class="output">5</pre>' in vote
    assert "Vote" in vote
    assert "import" not in vote  # a class sees no code
    assert "The end." in end
    for bad, message in {
        f"> {SUM.replace('sum', 'product')}\n": "CLASS.md: 07_small has no cell product",
        f"> {SUM.replace('sum', 'film')}\n": "cell film: only figures.NAME() plays on a slide",
        f"> {SUM.replace('07_small', '08_none')}\n": "08_none: there is no notebook",
        "# A class\n\nWords alone.\n": "CLASS.md: no frame",
    }.items():
        assert message in run(bad)
    script.unlink()
    with pytest.raises(BuildError, match=r"CLASS.md: missing"):
        slides.class_page(script)


def test_what_has_no_slides_is_refused(made):
    assert "07_small: no cell is tagged `slide`" in made(GOOD[0])
    fragment = text("title", "# 07", "fragment")
    assert "cell title: a fragment before the first slide" in made(fragment)


def test_the_class_of_the_course_has_its_film(tmp_path):
    assert build.main(["--slides", "FIFTY_MINUTES", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "FIFTY_MINUTES.html").read_text(encoding="utf-8")
    assert "data-captions" in page  # of lesson 03
    assert "<title>LoRA in fifty minutes<" in page
