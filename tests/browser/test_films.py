"""A film's player in a real browser: what one sees, presses and hears of it."""

import io

import pytest
from browser.page import expect
from PIL import Image

from lora_edu.course import figures, films

FRAMES = 5
PAUSE = 350  # milliseconds a frame


@pytest.fixture(scope="module")
def film():
    """A page whose film turns from black to white in five frames."""

    def scene(stage, numbers):
        patch = stage.patch
        return lambda i: patch.set_facecolor(str(i / (FRAMES - 1)))

    def numbers():
        return {"captions": [f"shade {i}" for i in range(FRAMES)], "moments": [1]}

    def shades(numbers):
        """Show shades.

        A dark grey.
        """
        return films.strip(scene, numbers, (3, 1))

    page = films.player(figures.Entry(numbers, shades), numbers(), scene, (3, 1)).html
    return f"<!doctype html><html lang='en'><title>film</title><body>{page}</body></html>"


def expect_frame(page, i):
    """Hold the picture, and what is said of it, to one frame."""
    expect(page.locator("output")).to_have_text(f"shade {i}")
    at = page.get_by_role("slider")
    expect(at).to_have_value(str(i))
    expect(at).to_have_attribute("aria-valuetext", f"shade {i}")
    picture = page.get_by_role("img", name=f"shades: shade {i}")
    shot = Image.open(io.BytesIO(picture.screenshot(animations="disabled"))).convert("L")
    grey = shot.getpixel((shot.width // 2, shot.height // 2)) / 255
    assert round(grey * (FRAMES - 1)) == i


@pytest.mark.smoke
def test_a_film_is_moved_by_keys_plays_stops_and_begins_anew(opened, film):
    page = opened(film, width=600, clock=True)
    page.evaluate("() => { heard = []; document.onkeydown = event => heard.push(event.key); }")
    expect_frame(page, 0)
    at = page.get_by_role("slider", name="frame")
    for key, frame in (("ArrowRight", 1), ("End", 4), ("ArrowLeft", 3), ("Home", 0)):
        at.press(key)
        expect_frame(page, frame)
    assert page.evaluate("heard") == []
    at.press("Control+s")  # to save stays the page's
    assert page.evaluate("heard") == ["Control", "s"]

    button, said = page.get_by_role("button"), page.locator("output")

    def shows(milliseconds, frame, label):
        page.clock.run_for(milliseconds)
        expect_frame(page, frame)
        expect(button).to_have_text(label)

    shows(2 * PAUSE, 0, "▶ Play")
    button.press("Space")
    expect(said).to_have_attribute("aria-live", "off")
    shows(2 * PAUSE, 2, "❚❚ Stop")
    button.press("Enter")
    shows(2 * PAUSE, 2, "▶ Play")
    button.press("Enter")
    at.press("Home")  # to move by hand stops it as well
    shows(2 * PAUSE, 0, "▶ Play")
    at.press("End")
    button.press("Space")
    shows(0, 0, "❚❚ Stop")
    shows(FRAMES * PAUSE, 4, "▶ Play")
    expect(said).to_have_attribute("aria-live", "polite")


def test_whoever_wants_less_motion_gets_frames(opened, film):
    page = opened(film, width=600, clock=True, reduced_motion="reduce")
    button = page.get_by_role("button")
    expect(button).to_have_text("▶ Next")
    for frame in (1, 2, 3, 4, 0):
        button.click()
        expect_frame(page, frame)
    page.clock.run_for(2 * PAUSE)
    expect_frame(page, 0)
