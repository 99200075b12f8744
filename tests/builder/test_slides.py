"""Slides: each lesson has them, and they need nothing but a browser."""

import re

import build
import pytest
from builder import slides
from builder.source import BuildError, slug, sources
from builder.translate import languages
from hypothesis import given
from hypothesis import strategies as st


def slides_of(page):
    """Return the insides of the sections of a page."""
    return re.findall(r"(?s)<section>\n(.*?)\n</section>", page)


@pytest.mark.parametrize("source", sources(), ids=slug)
def test_each_lesson_has_slides_that_need_no_network_and_so_has_each_translation(
    source, tmp_path, capsys
):
    assert build.main(["--slides", source.stem, "--out", str(tmp_path)]) == 0
    own = [f"{language}/{source.stem}.html" for language in languages(source)]
    found = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html")]
    assert sorted(found) == [f"{source.stem}.html", *own]
    for name in found:
        page = (tmp_path / name).read_text(encoding="utf-8")
        language = name[:2] if "/" in name else "en"
        assert page.startswith(f'<!doctype html>\n<html lang="{language}">')
        assert 8 <= len(slides_of(page)) == page.count("<section>") <= 40
        assert not re.search(r"<link|<iframe|<script[^>]*src|@import|url\(", page)
        assert set(re.findall(r'<img src="(.{22})', page)) == {"data:image/png;base64,"}
        text = re.sub(r"(?s)<script>.*|<style>.*?</style>|<pre.*?</pre>|<code.*?</code>", "", page)
        assert "$" not in text  # every formula is drawn


def test_slides_begin_where_the_cells_say_and_a_picture_has_one_of_its_own(full):
    found = slides_of(slides.page(full.source))
    title, more, line, picture, why, after, still = found
    assert "Small &amp; good" in title
    assert "class=step" not in title
    assert more.count("<math") == 2
    assert "And more" not in more
    assert more.count("class=step") == 2  # the code, and its output
    assert '<pre class="output">one &lt;two&gt;</pre>' in more
    assert "line" in line
    assert "plt" not in line  # what draws a picture is left out
    assert picture.startswith("<div><img")
    assert picture.count("<img") == 1
    assert 'alt="In the figure: a x that goes &quot;up&quot;."' in picture
    assert picture.endswith('<div class=step><pre class="output">5</pre></div>')
    assert "So it rises" in why
    assert "It leads on" in after
    assert still.startswith("<div><img")


def test_a_text_with_headings_is_several_slides(full):
    full.spoil(lambda page: page.cells[0].update(source="### One\n\nA.\n\n### Two"))
    one, two = slides_of(slides.page(full.source))[:2]
    assert ("One" in one, "Two" in one, "Two" in two) == (True, False, True)


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
    assert [slides.lines_of("x" * wide, 10) for wide in (10, 11, 16, 17)] == [1, 2, 2, 3]
    start = "x = 1\ny = 2\nz = 3"
    assert slides.pieces(f"{start}\n{HEAD}", 6, 82) == [start, HEAD]


SHOWN = "[07](07_small.ipynb) `shown`"


def test_the_slides_of_a_class_are_its_frames(full):
    script = full.folder / "CLASS.md"
    frames = f"> ## Vote\n>\n> $2 + 3$ is\n>\n> {SHOWN}\n\nSay.\n\n> The end.\n"
    script.write_text(f"# A class\n\nDraw.\n\n{frames}")
    vote, end = slides_of(slides.class_page(script))
    assert '<pre class="output">one &lt;two&gt;</pre>' in vote
    assert "Vote" in vote
    assert "import" not in vote  # a class sees no code
    assert "The end." in end
    for bad, message in {
        f"> {SHOWN.replace('shown', 'product')}\n": "CLASS.md: 07_small has no cell product",
        f"> {SHOWN.replace('shown', 'film')}\n": r"cell film: only figures.NAME\(\) plays on a",
        f"> {SHOWN.replace('07_small', '08_none')}\n": "08_none: there is no notebook",
        "# A class\n\nWords alone.\n": "CLASS.md: no frame",
    }.items():
        script.write_text(bad)
        with pytest.raises(BuildError, match=message):
            slides.class_page(script)
    script.unlink()
    with pytest.raises(BuildError, match=r"CLASS.md: missing"):
        slides.class_page(script)


def test_what_has_no_slides_is_refused(built, capsys):
    assert build.main(["--slides", "07"]) == 1
    assert "07_small: no cell is tagged `slide`" in capsys.readouterr().err
    built.spoil(lambda page: page.cells[0].metadata.update(tags=["fragment"]))
    with pytest.raises(BuildError, match="cell title: a fragment before the first slide"):
        slides.page(built.source)
