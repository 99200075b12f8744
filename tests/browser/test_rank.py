"""The explorable `rank` in a real browser: what it draws and says, against ``lora_edu``."""

import base64
import io

import numpy as np
from browser.page import expect
from builder import explorables
from PIL import Image

from lora_edu import counting, lowrank
from lora_edu.course.matrix_example.figures import matrix_example
from lora_edu.course.plots import letters
from lora_edu.course.rank_and_svd.figures import picture

DATA = explorables.rank_data()
SHADES = {tuple(colour): shade for shade, colour in enumerate(DATA["cividis"])}
W0, lora_A, lora_B = matrix_example()
LESSONS = {"update": lora_B @ lora_A, "noise": W0, "house": picture()}
READ = "() => [...document.querySelectorAll('canvas')].map(one => one.toDataURL())"


def name_of(page):
    return page.get_by_role("textbox", name="Name")


def drawn(page):
    """Return the shades of the three pictures, 0 to 255: (3, 100, 100)."""
    shades = []
    for address in page.evaluate(READ):
        png = io.BytesIO(base64.b64decode(address.partition(",")[2]))
        pixels = np.array(Image.open(png).convert("RGBA")).reshape(-1, 4).tolist()
        shades.append([SHADES[tuple(colour)] for colour in pixels])
    return np.reshape(shades, (3, 100, 100))


def sixteenths(page):
    """Return the first picture as numbers: each cell of a letter is so many of 16 points."""
    return (drawn(page)[0] - 127) // 8 / 16


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
    rank, figures = int(np.linalg.matrix_rank(matrix)), page.locator("figure")
    expect(figures.nth(0)).to_contain_text(f"exact with {rank}")
    chosen, _ = curves(page)
    assert len(chosen) == 100
    assert np.all((chosen > 0) == (np.arange(1, 101) < rank))
    for r in {1, 2, 5, 33, max(rank - 1, 1), rank, 100}:
        page.get_by_role("slider").fill(str(r))
        np.testing.assert_allclose(chosen[r - 1], off(matrix, r), rtol=0, atol=tolerance)
        expect(figures.nth(2)).to_contain_text(f"{100 * chosen[r - 1]:.3g}% off")
        numbers = f"{counting.lora_parameters(100, 100, r):,} numbers against 10,000"
        expect(figures.nth(1)).to_contain_text(numbers)
        copy = lowrank.best_approximation(matrix, r)
        for shades, part in zip(drawn(page), (matrix, copy, matrix - copy), strict=True):
            apart = np.abs(shades + 0.5 - np.clip((part / limit + 1) * 128, 0, 256))
            assert apart.max() < 2  # shades of 256; neighbours in cividis may be equal


def test_every_name_and_matrix_is_drawn_and_taken_apart_as_the_package_does(piece):
    page = piece("rank")
    for name in ("ANNA", "I", "X", "Zoë", "Nguyễn Đặng", "Łukasz O'Neil"):
        name_of(page).fill(name)
        matrix = sixteenths(page)
        np.testing.assert_array_equal(matrix, letters(name))
        holds(page, matrix, limit=1, tolerance=1e-9)
    for kind, matrix in LESSONS.items():
        page.get_by_role("combobox", name="Matrix").select_option(kind)
        holds(page, matrix, DATA["limits"].get(kind, 1), tolerance=5e-5)
        _, other = curves(page)
        against = LESSONS["update" if kind == "noise" else "noise"]
        errors = [off(against, r) for r in (1, 5, 50)]
        np.testing.assert_allclose(other[[0, 4, 49]], errors, atol=5e-5)


def test_every_letter_of_vietnamese_is_drawn_as_by_the_package(piece):
    page = piece("rank")
    marks = ["", "\u0300", "\u0301", "\u0303", "\u0309", "\u0323"]
    small = "đ" + "".join(vowel + mark for vowel in "aăâeêioôơuưy" for mark in marks)
    name_of(page).evaluate("input => { input.maxLength = 1000; }")
    for text in (small, small.upper()):
        name_of(page).fill(text)  # letters and their marks, apart
        composed = page.evaluate("text => text.normalize('NFC')", text)
        assert len(composed) == 73
        np.testing.assert_array_equal(sixteenths(page), letters(composed))


def test_all_can_be_done_by_keys_and_is_told_in_a_sentence(piece):
    page = piece("rank", clock=True, reduced_motion="reduce")
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
    expect(name_of(page)).to_have_value("LILI")
    page.get_by_role("button", name="one direction less").press("Enter")
    expect(page.get_by_role("img", name="LILI. What is left: 33.5% off")).to_be_visible()
    expect(page.get_by_role("img", name="Solid: LILI, 33.5% at r = 1. Dashed")).to_be_visible()
    page.get_by_role("combobox", name="Matrix").press("ArrowDown")
    expect(page.get_by_role("img", name="the update BA of lesson 01. The matrix")).to_be_visible()
    expect(name_of(page)).to_be_hidden()
    page.clock.run_for(5000)
    expect(slider).to_have_value("1")  # nothing moves by itself


def test_a_name_that_cannot_be_drawn_gets_a_line_and_the_last_one_stays(piece):
    page = piece("rank")
    told = page.get_by_role("alert")
    for text, problem in {
        "": "Type at least one letter.",
        " \u00a0 ": "Type at least one letter.",
        "Li 李": "“李” is not here: take Latin letters and digits.",
        "🙂": "“🙂” is not here: take Latin letters and digits.",
        "<b>": "“<” is not here: take Latin letters and digits.",
    }.items():
        name_of(page).fill("ANNA")
        before = drawn(page)
        name_of(page).fill(text)
        expect(told).to_have_text(f"{problem} Until then, ANNA stays.")
        expect(name_of(page)).to_have_attribute("aria-invalid", "true")
        np.testing.assert_array_equal(drawn(page), before)
    name_of(page).fill("  An ")
    expect(told).to_have_text("")
    expect(name_of(page)).to_have_attribute("aria-invalid", "false")
    np.testing.assert_array_equal(sixteenths(page), letters("An"))
