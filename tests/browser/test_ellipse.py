"""The explorable `ellipse` in a real browser: its numbers and its drawing against NumPy."""

import json
from pathlib import Path

import numpy as np
import pytest
from builder import explorables

from lora_edu import lowrank
from lora_edu.course.rank_and_svd.checks import length_at
from lora_edu.course.rank_and_svd.figures import MACHINE

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
STATIC = Path(explorables.__file__).parents[1] / "site" / "static"
DATA = explorables.ellipse_data()
PRESETS = {name: np.array(matrix) for name, matrix in DATA["presets"].items()}
ENTRIES = ["row 1, column 1", "row 1, column 2", "row 2, column 1", "row 2, column 2"]
DARK = """<style>html { background: #131416; color: #cfd0d0; --color-background-primary: #131416;
--color-foreground-primary: #cfd0d0; --color-background-border: #303335; --mark: #56b4e9;
--color-foreground-muted: #81868d; --warm: #e69f00; color-scheme: dark }</style>"""
PAGE = """<!doctype html><html lang="{lang}"><head><title>ellipse</title>
<meta name="viewport" content="width=device-width"><style>{css}</style>{style}</head><body><main>
<h1>A circle becomes an ellipse</h1>
<div class="explorable" data-explorable="ellipse"><p>without scripts</p></div></main>
<script>const loraData = {data};</script><script>{script}</script></body></html>"""

# What is drawn, in pixels from the middle of each plot, and what is printed, unrounded.
READ = """() => {
  const [left, right] = document.querySelectorAll("svg"), read = {};
  const lines = (plot, kind) => [...plot.querySelectorAll(`polyline.${kind}`)].map(line =>
    line.getAttribute("points").split(" ").map(point => point.split(",").map(Number)));
  for (const fact of document.querySelectorAll("dl div"))
    read[fact.className] = Number(fact.querySelector("data").value);
  const drawn = (plot, kinds) => Object.fromEntries(kinds.map(kind => [kind, lines(plot, kind)]));
  return {...read, left: drawn(left, ["circle", "axis", "in"]),
    right: drawn(right, ["circle", "axis", "out", "ellipse"])};
}"""
SET = """([entries, angle, copy]) => {
  const root = document.querySelector(".explorable");
  const set = (input, value) => {
    input.value = value;
    input.dispatchEvent(new Event("input", {bubbles: true}));
  };
  const sliders = root.querySelectorAll("[type=range]");
  [...entries, angle].forEach((value, i) => set(sliders[i], value));
  if (root.querySelector("[name=copy]").checked !== copy) root.querySelector("[name=copy]").click();
}"""


@pytest.fixture
def opened(alone):
    """A function that opens the piece in a page of its own."""

    def open_page(lang="en", style="", **settings):
        css = (STATIC / "explorables.css").read_text(encoding="utf-8")
        script = (STATIC / "ellipse.js").read_text(encoding="utf-8")
        data = json.dumps({"ellipse": DATA})
        content = PAGE.format(lang=lang, css=css, style=style, data=data, script=script)
        return alone(content, **settings)

    return open_page


def unit(angle):
    return np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])


def points(line):
    """Return the points of a line, (n, 2), counted upward."""
    return np.array(line) * (1, -1)


MORE = {
    "negative": [[-0.3, 1.1], [1.7, 0.4]],
    "equal, turned back": [[-1.2, -0.5], [0.5, -1.2]],
    "rank 1, crooked": [[0.3, -0.7], [-0.6, 1.4]],
    "one entry": [[0, 2], [0, 0]],
    "minus the identity": [[-1, 0], [0, -1]],
    "the far corner": [[-2, 2], [-2, -1.9]],
}
RANDOM = np.random.default_rng(0).integers(-20, 21, size=(40, 2, 2)) / 10
MATRICES = [*PRESETS.values(), *map(np.array, MORE.values()), *RANDOM]


def test_every_number_and_every_line_is_that_of_numpy(opened):
    page = opened()
    rng = np.random.default_rng(1)
    round_once = unit(3 * np.arange(121)).T  # (121, 2)
    for M in MATRICES:
        angle = int(rng.integers(360))
        page.evaluate(SET, [M.ravel().tolist(), angle, False])
        whole = page.evaluate(READ)
        page.evaluate(SET, [M.ravel().tolist(), angle, True])
        copied = page.evaluate(READ)
        S = np.linalg.svd(M, compute_uv=False)
        apart = S[0] - S[1] > 1e-9

        rank = np.linalg.matrix_rank(M)
        assert (whole["rank"], copied["rank"]) == (rank, min(rank, 1)), M
        for read in (whole, copied):
            np.testing.assert_allclose([read["s1"], read["s2"]], S, atol=1e-12)
        np.testing.assert_allclose(whole["area"], abs(np.linalg.det(M)), atol=1e-12)
        assert whole["off"] == 0
        np.testing.assert_allclose(copied["area"], 0, atol=1e-12)
        if apart:
            for axis, σ in (("first", S[0]), ("second", S[1])):
                assert 0 <= whole[axis] < 180
                np.testing.assert_allclose(length_at(M, whole[axis]), σ, atol=1e-8)
        else:
            assert np.isnan([whole["first"], whole["second"]]).all()

        # The inputs: a circle, v and w on it, and v₂ and v₁, which M sends to right angles.
        (circle,), hands = whole["left"]["circle"], whole["left"]["in"]
        scale = circle[0][0]
        np.testing.assert_allclose(points(circle), scale * round_once, atol=1e-9)
        w, v = (points(hand)[1] / scale for hand in hands)
        v2, v1 = (points(axis)[1] / scale for axis in whole["left"]["axis"])
        assert abs(v @ unit(angle)) > np.cos(np.radians(0.51))  # it may snap to v₁ or v₂
        np.testing.assert_allclose([v @ v, w @ w, v @ w], [1, 1, 0], atol=1e-9)
        np.testing.assert_allclose([v1 @ v2, (M @ v1) @ (M @ v2)], 0, atol=1e-8)

        # The outputs: the scale is that of the dashed circle. Its axes are σ₂u₂ and σ₁u₁.
        scale = whole["right"]["circle"][0][0][0]
        outputs = points(whole["right"]["ellipse"][0]) / scale
        np.testing.assert_allclose(outputs, round_once @ M.T, atol=1e-9)
        axes = [points(axis)[1] / scale for axis in whole["right"]["axis"]]
        np.testing.assert_allclose(np.linalg.norm(axes, axis=1), S[::-1], atol=1e-8)
        np.testing.assert_allclose(axes, [M @ v2, M @ v1], atol=1e-9)
        assert np.abs(axes).max() * scale < 130  # of 170 to the rim, with room for a name
        across, out = (points(hand)[1] / scale for hand in whole["right"]["out"])
        np.testing.assert_allclose([out, across], [M @ v, M @ w], atol=1e-9)
        np.testing.assert_allclose(whole["length"], np.linalg.norm(M @ v), atol=1e-12)
        lengths = np.linalg.norm([out, across], axis=1)
        if lengths.min() > 1e-6:
            cosine = out @ across / lengths.prod()
            np.testing.assert_allclose(np.cos(np.radians(whole["gap"])), cosine, atol=1e-8)
            aligned = min(abs(v @ v1), abs(v @ v2)) < 1e-6
            assert (abs(cosine) < 1e-6) == (aligned or not apart), M
        else:
            assert np.isnan(whole["gap"])

        # The copy: no matrix of rank 1 is nearer.
        line = points(copied["right"]["ellipse"][0]) / scale
        copy = np.stack([line[0], line[30]], axis=1)  # what becomes of (1, 0) and (0, 1)
        np.testing.assert_allclose(line, round_once @ copy.T, atol=1e-9)
        assert np.linalg.svd(copy, compute_uv=False)[1] < 1e-9
        np.testing.assert_allclose(np.linalg.norm(M - copy), S[1], atol=1e-9)
        if apart:
            np.testing.assert_allclose(copy, lowrank.best_approximation(M, 1), atol=1e-8)
        missing = np.linalg.norm((M - copy) @ v)
        np.testing.assert_allclose(copied["off"], missing, atol=1e-9)
        np.testing.assert_allclose(copied["length"], np.linalg.norm(copy @ v), atol=1e-9)
        assert missing <= S[1] + 1e-9


SAID = [  # a matrix, an angle, a copy? → what the page says
    ("machine", 45, False, f"comes out {length_at(MACHINE, 45):.2f} long. No output is longer"),
    ("machine", 45, False, "this is σ₁. Mv and Mw stand at right angles, as v and w do."),
    ("machine", 315, False, f"{length_at(MACHINE, 135):.2f} long. No output is shorter"),
    ("machine", 90, False, "1 long. v and w stand at right angles, Mv and Mw at 143.1°."),
    ("machine", 135, True, "comes out 0 long, M itself 0.45. Their tips are 0.45 apart, and"),
    ("machine", 80, True, "Their tips are 0.26 apart, and nowhere more than σ₂ = 0.45: the error"),
    ("shear", 58, False, "At 58.3° the input v, of length 1, comes out 1.62 long. No output is l"),
    ("turn", 10, False, "comes out 1 long. So does every input: a circle again."),
    ("mirror", 10, True, "nowhere more than σ₂ = 1: the error"),
    ("flat", 10, False, "All outputs lie on one line: the rank is 1."),
    ("flat", 10, True, "Their tips are 0 apart, and nowhere more than σ₂ = 0: the error"),
    ("zeros", 10, False, "comes out 0 long. So does every input: the rank is 0."),
    ("zeros", 10, True, "comes out 0 long, M itself 0. Their tips are 0 apart"),
]


def test_a_sentence_says_what_is_to_be_seen_and_is_spoken_when_the_hand_rests(opened):
    page = opened(clock=True)
    live = page.locator("[aria-live=polite]")
    page.clock.run_for(1000)
    expect(live).to_have_text("")  # nothing has happened yet
    for name, angle, copy, words in SAID:
        page.evaluate(SET, [PRESETS[name].ravel().tolist(), angle, copy])
        expect(page.locator(".said")).to_contain_text(words)
        said = page.locator(".said").inner_text()
        expect(page.get_by_role("img")).to_have_attribute(
            "aria-label",
            f"inputs: a circle; {'outputs of the copy' if copy else 'their outputs'}; {said}",
        )
    page.clock.run_for(300)
    expect(live).to_have_text("")
    page.clock.run_for(300)
    expect(live).to_have_text(said)


def test_all_can_be_done_by_keys(opened):
    page = opened()
    start, hand = page.get_by_label("Start from"), page.get_by_role("slider", name="angle of the")
    expect(start).to_have_value("machine")
    first = page.get_by_role("slider", name=ENTRIES[0])
    for name, entry in zip(ENTRIES, MACHINE.ravel(), strict=True):
        expect(page.get_by_role("slider", name=name, exact=True)).to_have_value(f"{entry:g}")
    first.press("ArrowRight")
    expect(first).to_have_value("0.7")
    expect(start).to_have_value("own")
    expect(page.locator(".explorable b").first).to_have_text("0.7")
    start.select_option("shear")
    expect(first).to_have_value("1")
    start.select_option("own")  # asks for nothing else than what there is
    expect(first).to_have_value("1")
    start.select_option("zeros")
    for name in ("gap", "first"):
        expect(page.locator(f".{name} dd")).to_have_text("–")
    keys = {"ArrowRight": "1°", "End": "359°", "ArrowLeft": "358°", "Home": "0°"}
    for key, angle in keys.items():
        hand.press(key)
        expect(hand).to_have_attribute("aria-valuetext", angle)
    page.get_by_label("keep the first direction only").press("Space")
    expect(page.locator(".said")).to_contain_text("the copy of rank 1")
    expect(page.get_by_text("Mv to Mw")).to_be_hidden()
    expect(page.get_by_text("tips apart")).to_be_visible()
    page.get_by_label("show the singular vectors").press("Space")
    for hidden in ("longest at", "σ₂u₂", "v₁"):
        expect(page.get_by_text(hidden, exact=True)).to_be_hidden()


def test_the_hand_follows_the_mouse_and_the_finger(opened):
    page = opened(has_touch=True)
    plot = page.locator("svg").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    at = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    hand = page.get_by_role("slider", name="angle of the")
    page.mouse.move(*at)  # not pressed
    expect(hand).to_have_value("0")
    page.mouse.down()
    for way, angle in (((0, -80), "90"), ((-300, 0), "180"), ((0, 60), "270"), ((50, -50), "45")):
        page.mouse.move(at[0] + way[0], at[1] + way[1])
        expect(hand).to_have_value(angle)
    page.mouse.up()
    page.mouse.move(at[0], at[1] - 80)
    expect(hand).to_have_value("45")
    page.touchscreen.tap(at[0] - 60, at[1])
    expect(hand).to_have_value("180")
    assert plot.evaluate("plot => getComputedStyle(plot).touchAction") == "none"


def test_the_hand_turns_once_around_or_step_by_step_for_whoever_wants_less_motion(opened):
    page = opened(clock=True)
    hand, button = page.get_by_role("slider", name="angle of the"), page.get_by_role("button")
    expect(button).to_have_text("▶ Play")
    button.press("Enter")
    expect(button).to_have_text("❚❚ Stop")
    page.clock.run_for(40 * 100)
    expect(hand).to_have_value("100")
    button.press("Enter")
    page.clock.run_for(1000)
    expect(hand).to_have_value("100")
    button.press("Enter")
    hand.press("Home")  # to turn by hand stops it as well
    page.clock.run_for(1000)
    expect(hand).to_have_value("0")
    button.press("Enter")
    page.clock.run_for(40 * 400)
    expect(hand).to_have_value("0")
    expect(button).to_have_text("▶ Play")

    calm = opened(clock=True, reduced_motion="reduce")
    expect(calm.get_by_role("button")).to_have_text("▶ Next")
    calm.get_by_role("button").click()
    calm.clock.run_for(5000)
    expect(calm.get_by_role("slider", name="angle of the")).to_have_value("15")


@pytest.mark.parametrize("style", ["", DARK], ids=["light", "dark"])
def test_it_fits_a_phone_and_whoever_needs_help_to_see_it(opened, style):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    page = opened(style=style, width=320)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    for copy in (False, True):
        page.evaluate(SET, [[-2, 2, -1.9, -2], 222, copy])
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        found = axe.Axe().run(page, options={"runOnly": {"type": "tag", "values": tags}})
        assert found.violations_count == 0, found.generate_report()
    for control in page.locator("input, select, button").all():
        box = control.bounding_box()
        least = 22 if control.get_attribute("type") == "checkbox" else 40  # its label is larger
        assert min(box["width"], box["height"]) >= least
    for label in page.locator(".check").all():
        assert label.bounding_box()["height"] >= 40


def test_it_answers_at_once_and_in_a_language_whose_words_are_not_there(opened):
    page = opened(lang="vi")
    expect(page.get_by_label("Start from")).to_be_visible()
    expect(page.locator("dl .s1 dd")).to_have_text("1,34")
    spent = page.evaluate("""() => {
      const root = document.querySelector(".explorable"), hand = root.querySelectorAll("input")[4];
      const times = [];
      for (let angle = 0; angle < 60; angle++) {
        const began = performance.now();
        hand.value = angle;
        hand.dispatchEvent(new Event("input", {bubbles: true}));
        root.getBoundingClientRect();  // with its layout
        times.push(performance.now() - began);
      }
      return times.sort((a, b) => a - b)[30];
    }""")
    assert spent < 50, f"a step takes {spent:.1f} ms"
