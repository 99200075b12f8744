"""Slides as the back row sees them: large code, little of it, nothing cut off."""

import build
import pytest
from builder.source import sources

NAMES = [*(path.stem for path in sources()), "FIFTY_MINUTES"]
MEASURED = """() => slides.map((slide, i) => {
  at = i;
  show(true);
  const scale = Math.min(innerWidth / slide.offsetWidth, innerHeight / slide.offsetHeight);
  const codes = [...slide.querySelectorAll(".highlight pre")];
  return {
    scale,
    lines: lines(slide),
    pixels: Math.min(...codes.map(code => scale * parseFloat(getComputedStyle(code).fontSize))),
    wide: Math.max(...[...slide.querySelectorAll("*")].map(e => e.scrollWidth - e.clientWidth)),
    empty: !slide.textContent.trim() && !slide.querySelector("img"),
  };
})"""


@pytest.mark.parametrize("name", NAMES)
def test_slides_can_be_read_from_the_back_row(browser, tmp_path, name):
    assert build.main(["--slides", name, "--out", str(tmp_path)]) == 0
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    made = sorted(tmp_path.rglob("*.html"))  # the translation of a lesson, too
    assert {path.name for path in made} == {f"{name}.html"}
    for path in made:
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        measured = page.evaluate(MEASURED)
        assert len(measured) >= 20
        for number, slide in enumerate(measured, start=1):
            assert not slide["empty"], (path, number)
            assert slide["lines"] <= 10, (path, number)
            assert slide["scale"] >= 0.99, (path, number)  # nothing is drawn smaller to fit
            assert slide["pixels"] is None or slide["pixels"] >= 23.7, (path, number)
    page.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_a_film_that_plays_does_not_hold_the_class(browser, tmp_path):
    assert build.main(["--slides", "FIFTY_MINUTES", "--out", str(tmp_path)]) == 0
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    path = (tmp_path / "FIFTY_MINUTES.html").as_uri()
    page.goto(path)
    film = page.evaluate("slides.findIndex(slide => slide.querySelector('figure')) + 1")

    def at():
        return page.evaluate("at + 1")

    page.goto(f"{path}#{film}")  # by hand, in the address
    assert at() == film
    page.get_by_role("button").click()
    page.keyboard.press("PageDown")  # what a presenter sends
    assert at() == film + 1
    page.keyboard.press("ArrowLeft")
    page.get_by_role("button").focus()
    page.keyboard.press("ArrowRight")
    assert at() == film + 1
    page.keyboard.press("ArrowLeft")
    page.get_by_role("slider").press("ArrowRight")  # the slider's own
    assert (at(), page.get_by_role("slider").input_value()) == (film, "1")
    page.keyboard.press("End")
    assert at() == film  # that of the slider, too
    page.get_by_role("button").focus()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("End")
    assert at() == page.evaluate("slides.length")
    page.keyboard.press("Home")
    assert at() == 1
    vote = page.evaluate(
        "slides.findIndex(slide => steps(slide).length && /Vote/.test(slide.textContent)) + 1"
    )
    page.goto(f"{path}#{vote}")
    waiting = page.locator("section.now > .step.hidden")
    before = waiting.count()
    page.set_viewport_size({"width": 1920, "height": 1080})  # the projector is plugged in
    assert waiting.count() == before > 0
    assert page.get_by_text("Vote.").locator("visible=true").count() == 1
    page.goto(f"{path}#{film}")
    page.emulate_media(media="print")
    still = page.locator("figure img").first
    assert still.is_visible()
    assert page.get_by_role("button").is_hidden()
    page.close()
