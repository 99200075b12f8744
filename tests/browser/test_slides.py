"""Slides as the back row sees them: large code, little of it, nothing cut off."""

import re
import subprocess
import sys

import build
import pytest
from browser.page import expect
from builder.source import NOTEBOOKS, sources

CLASS = "FIFTY_MINUTES"
NAMES = [*(path.stem for path in sources()), pytest.param(CLASS, marks=pytest.mark.smoke)]
SCREEN = {"viewport": {"width": 1280, "height": 720}}
MEASURED = """() => [...document.querySelectorAll("section")].map((slide, i) => {
  Reveal.slide(i, 0, 99);
  const content = slide.querySelector(".content"), codes = [...slide.querySelectorAll("pre")];
  const pixels = each => parseFloat(getComputedStyle(each).fontSize);
  return {
    empty: !slide.textContent.trim() && !slide.querySelector("img"),
    lines: lines(slide),
    over: content.scrollHeight - content.clientHeight,
    least: Math.min(pixels(content), ...codes.map(pixels)),
    picture: Math.min(1e9, ...[...slide.querySelectorAll(".picture")].map(one => one.offsetHeight)),
  };
})"""


@pytest.mark.parametrize("name", NAMES)
def test_slides_can_be_read_from_the_back_row(opened, tmp_path, name):
    assert build.main(["--slides", name, "--out", str(tmp_path)]) == 0
    made = sorted(tmp_path.rglob("*.html"))  # the translation of a lesson, too
    assert {path.name for path in made} == {f"{name}.html"}
    for path in made:
        page = opened(address=path.name, root=f"{path.parent.as_uri()}/", **SCREEN)
        measured = page.evaluate(MEASURED)
        assert len(measured) >= 20
        for slide in measured:
            assert not slide["empty"], (path, slide)
            assert slide["lines"] <= 10, (path, slide)
            assert slide["over"] <= 1, (path, slide)  # nothing is cut off
            assert slide["least"] >= 24, (path, slide)
            assert slide["picture"] >= 240, (path, slide)


@pytest.fixture
def shown(opened, tmp_path):
    """The slides of the class, open; and their address without a number."""
    assert build.main(["--slides", CLASS, "--out", str(tmp_path)]) == 0
    page = opened(address=f"{CLASS}.html", root=f"{tmp_path.as_uri()}/", **SCREEN)
    return page, page.url.partition("#")[0]


def at(page):
    """Return the number of the slide that is on."""
    return page.evaluate("Reveal.getIndices().h + 1")


@pytest.mark.smoke
def test_a_class_takes_one_key_a_slide_and_a_film_keeps_its_own(shown):
    page, address = shown
    last = page.evaluate("Reveal.getTotalSlides()")
    for key in ["ArrowRight"] * (last - 1):
        page.keyboard.press(key)
    assert at(page) == last <= 36  # at most 35 keys for fifty minutes
    page.keyboard.press("Home")
    assert at(page) == 1

    page.goto(f"{address}#/{page.evaluate(FILM)}")
    film, slider = at(page), page.get_by_role("slider")
    assert "And the weakest" in page.locator("section.present").inner_text()  # its question
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert (at(page), slider.input_value()) == (film, "1")
    page.keyboard.press("PageDown")  # what a presenter sends
    assert at(page) == film + 1
    page.keyboard.press("PageUp")
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function("document.activeElement === document.body")  # let go: arrows turn again
    page.keyboard.press("ArrowRight")
    assert at(page) == film + 1


FILM = "[...document.querySelectorAll('section')].findIndex(s => s.querySelector('figure')) + 1"


@pytest.mark.smoke
def test_the_presenter_sees_words_and_a_pace_and_turns_the_slides(shown):
    page, _ = shown
    with page.expect_popup() as waits:
        page.keyboard.press("s")
    presenter = waits.value
    notes = presenter.locator(".speaker-controls-notes")
    expect(notes).to_contain_text("0 – 10 · A voice in a file")
    expect(presenter.get_by_text("Pacing")).to_be_visible()
    presenter.keyboard.press("ArrowRight")
    page.wait_for_function("Reveal.getIndices().h === 1")
    expect(notes).to_contain_text("Hands up for each letter")
    presenter.close()


@pytest.mark.smoke
def test_what_is_printed_has_the_pages_that_it_should(tmp_path):
    command = [sys.executable, NOTEBOOKS / "build.py", "--handouts", "--out", tmp_path]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    pages = {
        path.relative_to(tmp_path).as_posix(): len(re.findall(rb"/Type /Page\b", path.read_bytes()))
        for path in tmp_path.rglob("*.pdf")
    }
    sheets = {"HANDOUT": 2, "HANDOUT.answers": 1, "FIVE_QUESTIONS": 1, "FIVE_QUESTIONS.answers": 1}
    expected = {f"{at}{name}.pdf": n for name, n in sheets.items() for at in ("", "vi/")}
    assert pages.pop(f"{CLASS}.pdf") >= 20
    assert pages == expected
