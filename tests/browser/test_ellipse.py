"""The explorable `ellipse` in a real browser: its numbers and its drawing against NumPy."""

import numpy as np
import pytest
from browser.page import expect
from builder import explorables

from lora_edu.course.rank_and_svd.checks import length_at
from lora_edu.course.rank_and_svd.figures import MACHINE

PRESETS = {name: np.array(M) for name, M in explorables.ellipse_data()["presets"].items()}

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


def choose(page, M, angle, copy):
    """Move all sliders, and tick or untick the copy."""
    for slider, value in zip(page.get_by_role("slider").all(), [*M.ravel(), angle], strict=True):
        slider.fill(f"{value:g}")
    page.get_by_label("keep the first direction only").set_checked(copy)


def hand(page):
    return page.get_by_role("slider", name="angle of the")


def unit(angle):
    return np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])


def points(lines):
    """Return the points of lines, counted upward."""
    return np.array(lines) * (1, -1)


def near(found, wanted, within=1e-8):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=within)


MORE = {
    "equal, turned back": [[-1.2, -0.5], [0.5, -1.2]],
    "rank 1, crooked": [[0.3, -0.7], [-0.6, 1.4]],
    "one entry": [[0, 2], [0, 0]],
    "the far corner": [[-2, 2], [-2, -1.9]],
}
RANDOM = np.random.default_rng(0).integers(-20, 21, size=(20, 2, 2)) / 10
ROUND = unit(3 * np.arange(121)).T  # (121, 2)


def check(page, M, angle):
    """Hold the page to NumPy, for one matrix and one place of the hand."""
    choose(page, M, angle, copy=False)
    whole = page.evaluate(READ)
    choose(page, M, angle, copy=True)
    copied = page.evaluate(READ)
    S, rank = np.linalg.svd(M, compute_uv=False), np.linalg.matrix_rank(M)
    assert (whole["rank"], copied["rank"]) == (rank, min(rank, 1))
    near([whole["s1"], whole["s2"], copied["s1"], copied["s2"]], [*S, *S])
    near([whole["area"], copied["area"], whole["off"]], [abs(np.linalg.det(M)), 0, 0])
    lengths = [length_at(M, whole["first"]), length_at(M, whole["second"])]
    near(lengths, S if S[0] - S[1] > 1e-9 else [np.nan, np.nan])

    # The inputs: a circle, w and v on it, and v₂ and v₁, which M sends to right angles.
    left = {kind: points(lines) for kind, lines in whole["left"].items()}
    scale = left["circle"][0, 0, 0]
    near(left["circle"][0], scale * ROUND)
    (w, v), (v2, v1) = left["in"][:, 1] / scale, left["axis"][:, 1] / scale
    assert abs(v @ unit(angle)) > np.cos(np.radians(0.51))  # it may snap to v₁ or v₂
    near([v @ v, w @ w, v @ w, v1 @ v2, (M @ v1) @ (M @ v2)], [1, 1, 0, 0, 0])

    # The outputs: the scale is that of the dashed circle. Its axes are σ₂u₂ and σ₁u₁.
    right = {kind: points(lines) for kind, lines in whole["right"].items()}
    scale = right["circle"][0, 0, 0]
    near(right["ellipse"][0] / scale, ROUND @ M.T)
    near(right["axis"][:, 1] / scale, [M @ v2, M @ v1])
    assert np.abs(right["axis"]).max() < 130  # of 170 to the rim, with room for a name
    near(right["out"][:, 1] / scale, [M @ w, M @ v])
    near(whole["length"], np.linalg.norm(M @ v))
    lengths = np.linalg.norm([M @ v, M @ w], axis=1).prod()
    cosine = (M @ v) @ (M @ w) / lengths if lengths > 1e-6 else np.nan
    near(np.cos(np.radians(whole["gap"])), cosine)

    # The copy: no matrix of rank 1 is nearer.
    line = points(copied["right"]["ellipse"])[0] / scale
    copy = np.stack([line[0], line[30]], axis=1)  # what becomes of (1, 0) and (0, 1)
    near(line, ROUND @ copy.T)
    near([np.linalg.svd(copy, compute_uv=False)[1], np.linalg.norm(M - copy)], [0, S[1]])
    near(copied["off"], np.linalg.norm((M - copy) @ v))
    near(copied["length"], np.linalg.norm(copy @ v))


@pytest.mark.smoke
def test_every_number_and_every_line_is_that_of_numpy(piece):
    page, rng = piece("ellipse"), np.random.default_rng(1)
    for M in (*PRESETS.values(), *map(np.array, MORE.values()), *RANDOM):
        check(page, M, int(rng.integers(360)))


SAID = [  # a matrix, an angle, a copy? → what the page says
    ("machine", 45, False, f"comes out {length_at(MACHINE, 45):.2f} long. No output is longer"),
    ("machine", 315, False, f"{length_at(MACHINE, 135):.2f} long. No output is shorter"),
    ("machine", 90, False, "1 long. v and w stand at right angles, Mv and Mw at 143.1°."),
    ("machine", 135, True, "comes out 0 long, M itself 0.45. Their tips are 0.45 apart, and"),
    ("turn", 10, False, "comes out 1 long. So does every input: a circle again."),
    ("flat", 10, False, "All outputs lie on one line: the rank is 1."),
    ("zeros", 10, False, "comes out 0 long. So does every input: the rank is 0."),
]


def test_a_sentence_says_what_is_to_be_seen_and_is_spoken_when_the_hand_rests(piece):
    page = piece("ellipse", clock=True)
    live, said = page.locator("[aria-live=polite]"), page.locator(".said")
    page.clock.run_for(1000)
    expect(live).to_have_text("")  # nothing has happened yet
    for name, angle, copy, words in SAID:
        choose(page, PRESETS[name], angle, copy)
        expect(said).to_contain_text(words)
        outputs = "outputs of the copy" if copy else "their outputs"
        label = f"inputs: a circle; {outputs}; {said.inner_text()}"
        expect(page.get_by_role("img")).to_have_attribute("aria-label", label)
    page.clock.run_for(300)
    expect(live).to_have_text("")
    page.clock.run_for(300)
    expect(live).to_have_text(said.inner_text())


def test_all_can_be_done_by_keys_by_the_mouse_and_by_the_finger(piece):
    page = piece("ellipse", has_touch=True)
    start = page.get_by_label("Start from")
    first = page.get_by_role("slider", name="row 1, column 1")
    expect(start).to_have_value("machine")
    first.press("ArrowRight")
    expect(first).to_have_value("0.7")
    expect(start).to_have_value("own")
    start.select_option("shear")
    start.select_option("own")  # asks for nothing else than what there is
    expect(first).to_have_value("1")
    start.select_option("zeros")
    for name in ("gap", "first"):
        expect(page.locator(f".{name} dd")).to_have_text("–")
    keys = {"ArrowRight": "1°", "End": "359°", "ArrowLeft": "358°", "Home": "0°"}
    for key, angle in keys.items():
        hand(page).press(key)
        expect(hand(page)).to_have_attribute("aria-valuetext", angle)
    page.get_by_label("keep the first direction only").press("Space")
    expect(page.locator(".said")).to_contain_text("the copy of rank 1")
    expect(page.get_by_text("Mv to Mw")).to_be_hidden()
    expect(page.get_by_text("tips apart")).to_be_visible()
    page.get_by_label("show the singular vectors").press("Space")
    for hidden in ("longest at", "σ₂u₂", "v₁"):
        expect(page.get_by_text(hidden, exact=True)).to_be_hidden()

    plot = page.locator("svg").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)  # not pressed
    expect(hand(page)).to_have_value("0")
    page.mouse.down()
    for right, down, angle in ((0, -80, "90"), (-300, 0, "180"), (0, 60, "270"), (50, -50, "45")):
        page.mouse.move(x + right, y + down)
        expect(hand(page)).to_have_value(angle)
    page.mouse.up()
    page.mouse.move(x, y - 80)
    expect(hand(page)).to_have_value("45")
    page.touchscreen.tap(x - 60, y)
    expect(hand(page)).to_have_value("180")
    assert plot.evaluate("plot => getComputedStyle(plot).touchAction") == "none"


def test_the_hand_turns_once_around_or_step_by_step(piece):
    page = piece("ellipse", clock=True, reduced_motion="no-preference")
    button = page.get_by_role("button")

    def turned(milliseconds, angle, label):
        page.clock.run_for(milliseconds)
        expect(hand(page)).to_have_value(angle)
        expect(button).to_have_text(label)

    turned(1000, "0", "▶ Play")
    button.press("Enter")
    turned(4000, "100", "❚❚ Stop")
    button.press("Enter")
    turned(1000, "100", "▶ Play")
    button.press("Enter")
    hand(page).press("Home")  # to turn by hand stops it as well
    turned(1000, "0", "▶ Play")
    button.press("Enter")
    turned(40 * 400, "0", "▶ Play")  # once around
    page = piece("ellipse", clock=True, reduced_motion="reduce")
    button = page.get_by_role("button")
    expect(button).to_have_text("▶ Next")
    button.press("Enter")
    turned(5000, "15", "▶ Next")
