"""Slides as the back row sees them: large code, little of it, nothing cut off."""

import build
import pytest
from builder.source import sources

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
CLASS = "FIFTY_MINUTES"
NAMES = [*(path.stem for path in sources()), pytest.param(CLASS, marks=pytest.mark.smoke)]
SCREEN = {"viewport": {"width": 1280, "height": 720}}
MEASURED = """() => slides.map((slide, i) => {
  at = i;
  show(true);
  const codes = [...slide.querySelectorAll(".highlight pre")];
  const scale = Math.min(innerWidth / slide.offsetWidth, innerHeight / slide.offsetHeight);
  const size = code => scale * parseFloat(getComputedStyle(code).fontSize);
  const empty = !slide.textContent.trim() && !slide.querySelector("img");
  return {scale, empty, lines: lines(slide), pixels: Math.min(24, ...codes.map(size))};
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
            assert slide["scale"] >= 0.99, (path, slide)  # nothing is drawn smaller to fit
            assert slide["pixels"] >= 23.7, (path, slide)


@pytest.mark.smoke
def test_keys_and_a_film_do_not_meet_and_nothing_but_a_key_opens_a_step(opened, tmp_path):
    assert build.main(["--slides", CLASS, "--out", str(tmp_path)]) == 0
    page = opened(address=f"{CLASS}.html", root=f"{tmp_path.as_uri()}/", **SCREEN)
    film = page.evaluate("slides.findIndex(slide => slide.querySelector('figure')) + 1")
    vote = "slides.findIndex(slide => steps(slide).length && /Vote/.test(slide.textContent)) + 1"
    last = page.evaluate("slides.length")
    address = page.url.partition("#")[0]
    play, slider = page.get_by_role("button"), page.get_by_role("slider")

    def turns(*keys):
        """Press keys; each leads to a slide."""
        for key, number in keys:
            page.keyboard.press(key)
            assert page.evaluate("at + 1") == number

    page.goto(f"{address}#{film}")  # by hand, in the address
    play.click()
    turns(("PageDown", film + 1), ("ArrowLeft", film))  # what a presenter sends
    play.focus()
    turns(("ArrowRight", film + 1), ("ArrowLeft", film))
    slider.focus()
    turns(("ArrowRight", film), ("End", film))  # the slider's own
    expect(slider).not_to_have_value("0")
    page.evaluate("document.activeElement.blur()")
    turns(("End", last), ("Home", 1))

    page.goto(f"{address}#{page.evaluate(vote)}")
    waiting = page.locator("section.now > .step.hidden")
    before = waiting.count()
    page.set_viewport_size({"width": 1920, "height": 1080})  # a projector is plugged in
    assert waiting.count() == before > 0
    assert page.get_by_text("Vote.").locator("visible=true").count() == 1
    page.emulate_media(media="print")  # on paper a film is its stills
    assert page.locator("figure img").first.is_visible()
    assert page.get_by_role("button").is_hidden()
