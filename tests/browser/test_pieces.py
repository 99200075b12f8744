"""What holds for each piece to play with: on a phone, for whoever needs help, in Vietnamese."""

import json
import re

import pytest
from browser.page import expect
from builder.site import SITE

OWN = '{"model_type": "' + 99 * "W" + '"}'
CROWDED = {  # what is chosen and typed, one after the other
    "calculator": ["llama-3.1-8b", "deepseek-v3", "", OWN],
    "ellipse": ["shear", "zeros"],
    "rank": ["ANNA", "李"],
    "strips": ["tiny", "ANNA"],
}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", CROWDED)
def test_it_fits_a_phone_and_whoever_needs_help_to_see_it(piece, violations, name, dark):
    page = piece(name, dark=dark, width=320, reduced_motion="reduce")
    for value in CROWDED[name]:
        options = page.locator(f"option[value='{value}'], option:text-is('{value}')")
        if options.count():
            page.locator("select").select_option(value)
        else:
            page.locator("textarea, input:not([type])").fill(value)
        page.wait_for_timeout(400)  # until it is said
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert violations(page) == []
    controls = "input:not([type=checkbox]), select, textarea, button, label:has([type=checkbox])"
    for control in page.locator(controls).all():
        box = control.bounding_box()
        assert box is None or min(box["width"], box["height"]) >= 40


def holes(words):
    """Return where each text stands, and what is put into it."""
    if isinstance(words, dict):
        return {key: holes(value) for key, value in words.items()}
    if isinstance(words, list):
        return [holes(value) for value in words]
    return sorted(set(re.findall(r"\{\w+\}", words)))


SHOWN = {"calculator": "8.030.261.248", "ellipse": "1,34", "rank": "1.000 số so với 10.000"}


@pytest.mark.parametrize("name", SHOWN)
def test_it_has_words_without_scripts_and_the_same_in_vietnamese_with_other_points(piece, name):
    page = piece(name, java_script_enabled=False)
    expect(page.locator(".explorable p").last).to_contain_text("This piece needs JavaScript.")
    page = piece(name, lang="vi")
    script = (SITE / "static" / f"{name}.js").read_text(encoding="utf-8")
    english = re.findall(r"(?s)const WORDS = (\{.+?\n  \});", script)[0]
    own = page.evaluate(f"loraWords[{json.dumps(name)}]")
    assert holes(page.evaluate(f"({english})")) == holes(own)
    expect(page.locator(".explorable")).to_contain_text(SHOWN[name])
    expect(page.locator(".explorable")).not_to_contain_text("JavaScript")
