"""The explorable `strips` in a real browser: its gradients and directions, against ``lora_edu``."""

import re

import numpy as np
import pytest
from browser.page import expect

from lora_edu import reference

D, K = 24, 48
SLOPES = """([A, B, T, r]) => {
  const found = loraStrips.slopes(...[A, B, T].map(M => Float64Array.from(M)), r);
  return [Array.from(found.A), Array.from(found.B)];
}"""
DIRECTIONS = """T => loraStrips.directions(Float64Array.from(T))
  .map(({size, u, v}) => [size, Array.from(u), Array.from(v)])"""
STILL = {"clock": True, "reduced_motion": "reduce"}


def left(page):
    """Return the step, and how much of the drawing is left, in percent."""
    step, off = re.search(
        r"Step (\d+): (.+?) of the", page.locator("output").text_content()
    ).groups()
    return int(step), 0.0 if off.startswith("less") else float(off.rstrip("%"))


@pytest.mark.parametrize("r", [1, 3, 24])
def test_its_gradients_are_those_of_the_package(piece, r):
    draw = np.random.default_rng(r)
    A, B, drawn = (draw.standard_normal(shape) for shape in ((r, K), (D, r), (D, K)))
    # On the rows of the identity a layer without W0 has the outputs (BA)ᵀ; the loss is ½ ‖BA − T‖².
    wanted = reference.backward((B @ A - drawn).T, np.eye(K), np.zeros((D, K)), A, B)
    found = piece("strips", **STILL).evaluate(
        SLOPES, [*(M.ravel().tolist() for M in (A, B, drawn)), r]
    )
    for slope, own in zip(found, (wanted.lora_A, wanted.lora_B), strict=True):
        np.testing.assert_allclose(np.reshape(slope, own.shape), own, rtol=1e-9, atol=1e-9)


def test_its_directions_are_the_singular_vectors(piece):
    page = piece("strips", **STILL)
    for drawn in (np.random.default_rng(0).standard_normal((D, K)), np.eye(D, K), np.zeros((D, K))):
        found = page.evaluate(DIRECTIONS, drawn.ravel().tolist())
        sizes, u, v = (np.array(part) for part in zip(*found, strict=True))
        np.testing.assert_allclose(sizes, np.linalg.svd(drawn, compute_uv=False), atol=1e-9)
        np.testing.assert_allclose((u.T * sizes) @ v, drawn, atol=1e-9)


def test_it_learns_what_its_rank_holds_and_no_start_at_zero_moves(piece):
    page = piece("strips", **STILL)
    rank, rate = page.get_by_role("slider").all()
    ten = page.get_by_role("button", name="10 steps")
    assert left(page) == (0, 100)  # with reduced motion nothing begins by itself
    expect(page.locator(".trained")).to_have_text("216 numbers train; the drawing has 1,152.")

    def learn(steps):
        for _ in range(steps // 10):
            ten.press("Enter")
        return left(page)

    assert learn(400) == (400, 0)
    assert "with rank 3, at best 0%" in page.locator("output").text_content()
    rank.fill("2")
    floor = float(re.search(r"at best (.+?)%", page.locator("output").text_content())[1])
    assert learn(600)[1] == pytest.approx(floor, abs=0.2)
    assert floor > 10
    page.get_by_role("combobox").select_option("zero")
    assert learn(200) == (200, 100)
    page.get_by_role("combobox").select_option("tiny")
    assert learn(20)[1] > 99  # at first it is slow
    assert learn(600)[1] == pytest.approx(floor, abs=0.2)
    rate.fill("-0.5")
    page.get_by_role("button", name="From the start").press("Enter")
    for _ in range(5):
        ten.press("Enter")
    expect(page.locator("output")).to_contain_text("the steps are too large")


def test_one_draws_with_keys_and_with_a_pointer_and_it_learns_at_once(piece):
    page = piece("strips", **STILL)
    page.get_by_role("button", name="Clear").press("Enter")
    expect(page.locator("output")).to_have_text("There is nothing to learn: draw something.")
    drawing = page.get_by_role("application")
    drawing.press("ArrowRight")
    expect(page.locator("output")).to_have_text("Row 13, column 26: empty.")
    drawing.press("Space")
    expect(page.locator("output")).to_have_text("Row 13, column 26: painted.")
    box = drawing.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 5, box["y"] + box["height"] - 5, steps=60)
    page.mouse.up()
    assert "at best 0%" not in page.locator("output").text_content()  # a slash
    assert left(page) == (0, 100)
    page.get_by_role("textbox").fill("ANNA")
    assert "at best 0%" not in page.locator("output").text_content()

    page = piece("strips")
    assert left(page) == (0, 100)  # nothing is given away before the question is read
    page.get_by_role("textbox").fill("LILI")
    page.get_by_role("slider").first.fill("24")  # it learns at once, and again
    expect(page.locator("output")).to_contain_text("less than 0.1%", timeout=20_000)
    expect(page.get_by_role("button", name="Learn")).to_be_visible()  # it has stopped by itself
