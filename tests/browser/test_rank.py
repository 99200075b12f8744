"""The explorable `rank` in a real browser: what it draws and says, against ``lora_edu``."""

import base64
import io
import json
import re

import numpy as np
import pytest
from builder import explorables
from builder.site import SITE
from PIL import Image

from lora_edu import counting, lowrank
from lora_edu.course.matrix_example.figures import matrix_example
from lora_edu.course.plots import letters
from lora_edu.course.rank_and_svd.figures import picture

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
DATA = explorables.rank_data()
W0, lora_A, lora_B = matrix_example()
LESSONS = {"update": lora_B @ lora_A, "noise": W0, "house": picture()}
TEXT = (SITE / "explore" / "rank.md").read_text(encoding="utf-8")
DIV = re.search(r'<div class="explorable".*?</div>', TEXT, re.DOTALL).group()
DARK = """<style>html { background: #131416; color: #cfd0d0; --color-background-primary: #131416;
--color-foreground-primary: #cfd0d0; --color-background-border: #303335; --mark: #56b4e9;
--color-foreground-secondary: #9ca0a5; --color-background-secondary: #1a1c1e; --warm: #e69f00;
--color-background-hover: #1e2124; --color-foreground-border: #666; --color-problematic: #ee5151;
color-scheme: dark }</style>"""
PAGE = """<!doctype html><html lang="{lang}"><head><title>rank</title>
<meta name="viewport" content="width=device-width"><style>{css}</style>{style}</head><body><main>
<h1>How many directions does it need?</h1>{div}</main>
<script>const loraData = {data}, Documentation = {{addTranslations() {{}}}};</script>
<script>{own}</script><script>{script}</script></body></html>"""
READ = "() => [...document.querySelectorAll('canvas')].map(one => one.toDataURL())"


@pytest.fixture
def opened(alone):
    """A function that opens the piece in a page of its own."""

    def open_page(lang="en", style="", **settings):
        css = (SITE / "static" / "explorables.css").read_text(encoding="utf-8")
        script = (SITE / "static" / "rank.js").read_text(encoding="utf-8")
        words = {"lang": lang, "style": style, "css": css, "script": script, "div": DIV}
        vietnamese = (SITE / "static" / "words.vi.js").read_text(encoding="utf-8")
        words["own"] = vietnamese if lang == "vi" else ""
        return alone(PAGE.format(data=json.dumps({"rank": DATA}), **words), **settings)

    return open_page


def turn_to(page, r):
    page.get_by_role("slider").fill(str(r))


def drawn(page):
    """Return the shades of the three pictures, 0 to 255: (3, 100, 100)."""
    palette = {tuple(colour): shade for shade, colour in enumerate(DATA["cividis"])}
    shades = []
    for address in page.evaluate(READ):
        png = io.BytesIO(base64.b64decode(address.partition(",")[2]))
        pixels = np.array(Image.open(png).convert("RGBA")).reshape(-1, 4).tolist()
        shades.append([palette[tuple(colour)] for colour in pixels])
    return np.reshape(shades, (3, 100, 100))


def curves(page):
    """Return the errors for r = 1, 2, …: of the chosen matrix, and of the other."""
    lines = [line.get_attribute("points").split() for line in page.locator("polyline").all()]
    other, chosen = ([1 - float(point.partition(",")[2]) for point in line] for line in lines)
    return np.array(chosen), np.array(other)


def off(matrix, r):
    """Return how far off the best copy is, by the package."""
    copy = lowrank.best_approximation(matrix, r)
    return np.linalg.norm(matrix - copy) / np.linalg.norm(matrix)


def holds(page, matrix, limit, tolerance):
    """Hold the page to the package, at several r: pictures, curve and words."""
    rank = int(np.linalg.matrix_rank(matrix))
    expect(page.locator("figure").nth(0)).to_contain_text(f"exact with {rank}")
    chosen, _ = curves(page)
    assert len(chosen) == 100
    assert np.all(chosen[rank - 1 :] == 0)
    assert np.all(chosen[: rank - 1] > 0)
    for r in {1, 2, 5, 33, max(rank - 1, 1), rank, 100}:
        turn_to(page, r)
        np.testing.assert_allclose(chosen[r - 1], off(matrix, r), rtol=0, atol=tolerance)
        percent = f"{100 * chosen[r - 1]:.3g}%"
        expect(page.locator("figure").nth(2)).to_contain_text(f"{percent} off")
        numbers = f"{counting.lora_parameters(100, 100, r):,} numbers against 10,000"
        expect(page.locator("figure").nth(1)).to_contain_text(numbers)
        copy = lowrank.best_approximation(matrix, r)
        for shades, part in zip(drawn(page), (matrix, copy, matrix - copy), strict=True):
            off_by = np.abs(shades + 0.5 - np.clip((part / limit + 1) * 128, 0, 256))
            assert off_by.max() < 2  # shades of 256; neighbours in cividis may be equal


NAMES = ["ANNA", "LILI", "I", "X", "Zoë", "Nguyễn Đặng", "Łukasz O'Neil", "g8"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_drawn_and_taken_apart_as_the_package_does(opened, name):
    page = opened()
    page.get_by_role("textbox", name="Name").fill(name)
    sixteenths = np.round((drawn(page)[0] - 128) / 8)  # each cell is so many of 16 points
    np.testing.assert_array_equal(sixteenths / 16, letters(name))
    holds(page, sixteenths / 16, limit=1, tolerance=1e-9)


def test_every_letter_of_vietnamese_is_drawn_as_by_the_package(opened):
    page = opened()
    vowels = "aăâeêioôơuưy"
    marks = ["", "\u0300", "\u0301", "\u0303", "\u0309", "\u0323"]
    small = "đ" + "".join(vowel + mark for vowel in vowels for mark in marks)
    page.get_by_role("textbox", name="Name").evaluate("input => { input.maxLength = 1000; }")
    for text in (small, small.upper()):
        page.get_by_role("textbox", name="Name").fill(text)  # letters and their marks, apart
        composed = page.evaluate("text => text.normalize('NFC')", text)
        assert len(composed) == 73
        np.testing.assert_array_equal((drawn(page)[0] - 127) // 8 / 16, letters(composed))


@pytest.mark.parametrize("kind", LESSONS)
def test_the_matrices_of_the_lessons_are_theirs(opened, kind):
    page = opened()
    page.get_by_role("combobox", name="Matrix").select_option(kind)
    matrix = LESSONS[kind]
    limit = 1 if kind == "house" else 2 * np.std(matrix)
    holds(page, matrix, DATA["limits"].get(kind, 1), tolerance=5e-5)
    assert abs(DATA["limits"].get(kind, 1) - limit) < 0.05
    _, other = curves(page)
    against = LESSONS["update" if kind == "noise" else "noise"]
    np.testing.assert_allclose(other[[0, 4, 49]], [off(against, r) for r in (1, 5, 50)], atol=5e-5)


def test_what_the_page_tells_is_so():
    ranks = {name: np.linalg.matrix_rank(letters(name)) for name in ("LILI", "X")}
    assert f"LILI is exact with {ranks['LILI']} directions, X only with {ranks['X']}." in TEXT
    assert f"its best five directions leave {100 * off(W0, 5):.0f} % of it missing" in TEXT
    assert f"Each direction costs {counting.lora_parameters(100, 100, 1)} numbers" in TEXT
    assert f"At $r = {counting.break_even_rank(100, 100):g}$ the strips are as large" in TEXT


def test_all_can_be_done_by_keys_and_is_told_in_a_sentence(opened):
    page = opened(clock=True, reduced_motion="reduce")
    said, slider = page.locator("output"), page.get_by_role("slider", name="Directions r")
    page.clock.run_for(10)
    expect(said).to_contain_text("With r = 5, the best copy of ANNA is 12.2% off. From r = 26 on")
    for key, r in (("ArrowRight", 6), ("End", 100), ("ArrowLeft", 99), ("Home", 1)):
        slider.press(key)
        expect(page.locator(".steps b")).to_have_text(str(r))
    page.clock.run_for(200)
    expect(said).to_contain_text("With r = 5")  # it is read out when the slider rests
    page.clock.run_for(200)
    expect(said).to_contain_text("With r = 1, the best copy of ANNA is 47% off.")
    page.get_by_role("button", name="one direction more").press("Enter")
    page.get_by_role("button", name="LILI").press("Space")
    page.clock.run_for(400)
    words = "With r = 2, the best copy of LILI is 0% off. From r = 2 on it is at most 1% off, "
    words += "from r = 2 on exact. Its strips hold 400 numbers, the square 10,000."
    expect(said).to_have_text(words)
    expect(page.get_by_role("textbox", name="Name")).to_have_value("LILI")
    page.get_by_role("button", name="one direction less").press("Enter")
    expect(page.get_by_role("img", name="LILI. What is left: 33.5% off")).to_be_visible()
    expect(page.get_by_role("img", name="Solid: LILI, 33.5% at r = 1. Dashed")).to_be_visible()
    page.get_by_role("combobox", name="Matrix").press("ArrowDown")
    expect(page.get_by_role("img", name="the update BA of lesson 01. The matrix")).to_be_visible()
    expect(page.get_by_role("textbox", name="Name")).to_be_hidden()
    page.clock.run_for(5000)
    expect(slider).to_have_value("1")  # nothing moves by itself
    assert page.evaluate("document.getAnimations().length") == 0


def test_a_name_that_cannot_be_drawn_gets_a_line_and_the_last_one_stays(opened):
    page = opened()
    name, problem = page.get_by_role("textbox", name="Name"), page.get_by_role("alert")
    before = drawn(page)
    lines = {
        "": "Type at least one letter. Until then, ANNA stays.",
        " \u00a0 ": "Type at least one letter. Until then, ANNA stays.",
        "Li 李": "“李” is not here: take Latin letters and digits. Until then, ANNA stays.",
        "🙂": "“🙂” is not here: take Latin letters and digits. Until then, ANNA stays.",
        "<b>": "“<” is not here: take Latin letters and digits. Until then, ANNA stays.",
    }
    for text, line in lines.items():
        name.fill(text)
        expect(problem).to_have_text(line)
        expect(name).to_have_attribute("aria-invalid", "true")
        np.testing.assert_array_equal(drawn(page), before)
    turn_to(page, 49)
    expect(page.get_by_role("img", name="ANNA. What is left: 0% off")).to_be_visible()
    expect(problem).to_have_text(line)
    name.fill("  An ")
    expect(problem).to_have_text("")
    expect(name).to_have_attribute("aria-invalid", "false")
    np.testing.assert_array_equal((drawn(page)[0] - 127) // 8 / 16, letters("An"))


@pytest.mark.parametrize("style", ["", DARK], ids=["light", "dark"])
def test_it_fits_a_phone_and_whoever_needs_help_to_see_it(opened, style):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    page = opened(style=style, width=320)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    for text in ("ANNA", "李"):
        page.get_by_role("textbox", name="Name").fill(text)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        found = axe.Axe().run(page, options={"runOnly": {"type": "tag", "values": tags}})
        assert found.violations_count == 0, found.generate_report()
    for control in page.locator("input, select, button").all():
        box = control.bounding_box()
        assert min(box["width"], box["height"]) >= 40


def test_it_speaks_vietnamese(opened):
    page = opened(lang="vi")
    expect(page.locator("figure").nth(1)).to_contain_text("1.000 số so với 10.000")
    expect(page.locator("figure").nth(2)).to_contain_text("lệch 12,2%")
    expect(page.get_by_role("slider")).to_have_accessible_name("Số hướng r")
