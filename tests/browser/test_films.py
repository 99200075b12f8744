"""A film's player in a real browser: what one sees, presses and hears of it."""

import io

import pytest
from PIL import Image

from lora_edu.course import figures, films

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
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


@pytest.fixture
def opened(browser, film):
    """A function that opens the film in a page whose clock stands still."""
    contexts = []

    def open_page(**settings):
        context = browser.new_context(viewport={"width": 600, "height": 300}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.route("**/*", lambda route: pytest.fail(f"a request to {route.request.url}"))
        page.clock.install(time=0)
        page.set_content(film)
        page.clock.pause_at(1000)  # milliseconds
        return page

    yield open_page
    for context in contexts:
        context.close()


def grey(page):
    """How bright the middle of the visible frame is: 0 to 4 quarters."""
    shot = Image.open(io.BytesIO(page.get_by_role("img").screenshot())).convert("L")
    return round(shot.getpixel((shot.width // 2, shot.height // 2)) / 255 * (FRAMES - 1))


def expect_frame(page, i):
    expect(page.locator("output")).to_have_text(f"shade {i}")
    at = page.get_by_role("slider")
    expect(at).to_have_value(str(i))
    expect(at).to_have_attribute("aria-valuetext", f"shade {i}")
    expect(page.get_by_role("img", name=f"shades: shade {i}")).to_be_visible()
    assert grey(page) == i


def test_the_range_moves_by_keys_which_the_page_never_hears(opened):
    page = opened()
    page.evaluate("() => { heard = []; document.onkeydown = event => heard.push(event.key); }")
    expect_frame(page, 0)
    at = page.get_by_role("slider", name="frame")
    for key, frame in (("ArrowRight", 1), ("End", 4), ("ArrowLeft", 3), ("Home", 0)):
        at.press(key)
        expect_frame(page, frame)
    assert page.evaluate("heard") == []
    at.press("Control+s")  # to save stays the page's
    assert page.evaluate("heard") == ["Control", "s"]


@pytest.mark.parametrize("key", ["Space", "Enter"])
def test_the_button_plays_and_stops(opened, key):
    page = opened()
    button = page.get_by_role("button")
    expect(button).to_have_text("▶ Play")
    button.press(key)
    expect(button).to_have_text("❚❚ Stop")
    expect(page.locator("output")).to_have_attribute("aria-live", "off")
    page.clock.run_for(2 * PAUSE)
    expect_frame(page, 2)
    button.press(key)
    expect(button).to_have_text("▶ Play")
    page.clock.run_for(2 * PAUSE)
    expect_frame(page, 2)
    button.press(key)
    page.get_by_role("slider").press("Home")  # to move by hand stops it as well
    page.clock.run_for(2 * PAUSE)
    expect_frame(page, 0)


def test_it_stops_at_the_end_and_begins_anew(opened):
    page = opened()
    button = page.get_by_role("button")
    page.get_by_role("slider").press("End")
    button.click()
    expect(button).to_have_text("❚❚ Stop")
    expect_frame(page, 0)
    page.clock.run_for(FRAMES * PAUSE)
    expect(button).to_have_text("▶ Play")
    expect_frame(page, 4)
    expect(page.locator("output")).to_have_attribute("aria-live", "polite")


def test_whoever_wants_less_motion_gets_a_frame_at_a_time(opened):
    page = opened(reduced_motion="reduce")
    button = page.get_by_role("button")
    expect(button).to_have_text("▶ Next")
    for frame in (1, 2, 3, 4, 0):
        button.click()
        expect_frame(page, frame)
    page.clock.run_for(2 * PAUSE)
    expect_frame(page, 0)


def test_without_scripts_the_still_is_seen_with_its_alt_text(opened):
    page = opened(java_script_enabled=False)
    expect(page.get_by_role("img", name="A dark grey.")).to_be_visible()
    expect(page.get_by_role("button")).to_have_count(0)
    assert page.locator("img").bounding_box()["width"] == 300
