"""Slides: each lesson has them, and they need nothing but a browser."""

import re

import build
import nbformat
import pytest
from builder import slides
from builder.source import BuildError, slug, sources
from builder.translate import languages
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from lora_edu.course import figures, plots


def slides_of(page):
    """Return the insides of the sections of a page, without what only the presenter reads."""
    found = re.findall(r"(?s)<section[^>]*>\n(.*?)</section>", page.partition("<script>")[0])
    return [re.sub(r"(?s)<aside.*?</aside>", "", slide) for slide in found]


def notes_of(page):
    """Return what the presenter reads of each slide that has something to read."""
    return re.findall(r"(?s)<aside class=\"notes\">(.*?)</aside>", page.partition("<script>")[0])


# A deck takes seconds: that of the first lesson is drawn in each run, the others in the slow one.
FIRST, *OTHERS = sources()


@pytest.mark.parametrize(
    "source", [FIRST, *(pytest.param(each, marks=pytest.mark.slow) for each in OTHERS)], ids=slug
)
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
        assert 8 <= len(slides_of(page)) <= 60
        own = page.partition("<script>")[0]
        assert not re.search(r"<link|@import|url\((?!data:)", own)
        assert not re.search(r"<script[^>]*src", page)
        assert set(re.findall(r'<img src="(.{22})', own)) == {"data:image/png;base64,"}
        text = re.sub(r"(?s)<style>.*?</style>|<pre.*?</pre>|<code.*?</code>", "", own)
        assert "$" not in text  # every formula is drawn


def test_slides_begin_where_the_cells_say_and_a_picture_has_one_of_its_own(full):
    page = slides.page(full.source)
    title, more, line, picture, why, after, still = slides_of(page)
    assert title.startswith("<h1>07 · Small &amp; good</h1>")
    assert "fragment" not in title
    assert more.startswith("<h2>2 · More</h2>")
    assert more.count("<math") == 2
    assert more.count('class=" fragment"') == 2  # the code, and its output
    assert '<pre class="output">one &lt;two&gt;</pre>' in more
    assert line.startswith('<p class="kicker">2 · More</p>')
    assert "line" in line
    assert "plt" not in line  # what draws a picture is left out
    assert picture.count("<img") == 1
    assert 'alt="In the figure: a x that goes &quot;up&quot;."' in picture
    assert '<pre class="output">5</pre>' in why
    assert "So it rises" in why
    assert "It leads on" in after
    assert 'class="picture"' in still
    assert any("And more" in notes for notes in notes_of(page))  # not on a slide


def test_a_question_has_its_choices_and_then_its_answer_marked():
    cell = nbformat.v4.new_code_cell("predict(guess, 1234, 10, 1_000)")
    cell.outputs = [nbformat.v4.new_output("stream", text="answer: 1,234\n")]
    asked, answered = slides.question(cell, "en")
    assert (asked.kind, answered.kind) == ("question", "answer")
    assert "right" not in asked.html
    assert re.findall("<li(.*?)>", answered.html) == ["", ' class="right"']
    cell.source = "predict(guess, 2)"  # nothing to choose from
    (told,) = slides.question(cell, "en")
    assert (told.kind, "answer: 1,234" in told.html) == ("answer", True)


def test_a_text_with_headings_is_several_slides(full):
    full.spoil(lambda page: page.cells[0].update(source="### One\n\nA.\n\n### Two"))
    one, two = slides_of(slides.page(full.source))[:2]
    assert ("One" in one, "Two" in one, "Two" in two) == (True, False, True)


def test_a_picture_of_the_gallery_is_drawn_for_a_slide_with_words_of_18_points():
    entry = figures.load()["reduction_vs_width"]
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda fig, *_, **__: drawn.append(fig))
        patch.setattr(slides, "small_png", lambda png: png)
        slides.wide.__wrapped__(entry, "en")
    (fig,) = drawn
    assert fig.get_size_inches() * plots.ENLARGED == pytest.approx(slides.INCHES)
    words = [text for text in fig.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in words) * plots.ENLARGED >= 18


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
SCRIPT = f"""# A class

## 0 – 4 · One

**0.** Draw.

> ## Vote
>
> $2 + 3$ is
>
> 1. four
> 2. **five**
>
> {SHOWN}

It is *2*. *Late: go on.*

> | left | right |
> |---|---|
> | {SHOWN} | {SHOWN} |

**3.** Say.

> The end.

Thank them.
"""


def test_the_slides_of_a_class_are_its_frames_and_its_words_the_presenters(full):
    script = full.folder / "CLASS.md"
    script.write_text(SCRIPT)
    page = slides.class_page(script)
    vote, answer, both, end = slides_of(page)
    assert vote.startswith("<h2>Vote</h2>")
    assert "<li>four</li><li>five</li>" in vote
    assert "one" not in vote
    assert answer.startswith("<h2>Vote</h2>")
    assert '<li>four</li><li class="right">five</li>' in answer
    assert '<pre class="output">one &lt;two&gt;</pre>' in answer
    assert "import" not in answer  # a class sees no code
    assert (both.count("one &lt;two&gt;"), both.count("<h3>")) == (2, 2)
    assert "The end." in end
    asked, told, _, thanks = notes_of(page)
    assert asked == told
    assert asked.startswith("<p><b>0 – 4 · One · ▶ 0</b></p>")
    assert ">Late: go on.</em>" in asked
    assert "Thank them." in thanks
    seconds = [int(n) for n in re.findall(r'data-timing="(\d+)"', page)]
    assert abs(sum(seconds) - 240) < 30  # but for what is said before the first slide
    assert seconds[0] == seconds[1]


def test_a_printed_table_is_one_on_a_slide():
    table = slides.as_table('<pre class="output">of  a  b\nx  1  22\ny  2  3\nmore words</pre>')
    assert table.html == (
        "<table><tr><td>of</td><td class=number>a</td><td class=number>b</td></tr>"
        "<tr><td>x</td><td class=number>1</td><td class=number>22</td></tr>"
        "<tr><td>y</td><td class=number>2</td><td class=number>3</td></tr></table>"
    )


NOT_THERE = [
    (f"> {SHOWN.replace('shown', 'product')}\n", "CLASS.md: 07_small has no cell product"),
    (f"> {SHOWN.replace('shown', 'film')}\n", r"cell film: only figures.NAME\(\) plays on a"),
    (f"> {SHOWN.replace('07_small', '08_none')}\n", "08_none: there is no notebook"),
    (f"> | one |\n> |---|\n> | {SHOWN} | more |\n", "CLASS.md: cells side by side are a table"),
    ("# A class\n\nWords alone.\n", "CLASS.md: no frame"),
    (None, "CLASS.md: missing"),
]


@pytest.mark.parametrize(("said", "message"), NOT_THERE)
def test_a_script_that_shows_what_is_not_there_is_refused(full, said, message):
    script = full.folder / "CLASS.md"
    if said:
        script.write_text(said)
    with pytest.raises(BuildError, match=message):
        slides.class_page(script)


def test_what_has_no_slides_is_refused(built, capsys):
    assert build.main(["--slides", "07"]) == 1
    assert "07_small: no cell is tagged `slide`" in capsys.readouterr().err
    built.spoil(lambda page: page.cells[0].metadata.update(tags=["fragment"]))
    with pytest.raises(BuildError, match="cell title: a fragment before the first slide"):
        slides.page(built.source)
