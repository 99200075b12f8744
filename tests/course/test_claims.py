"""Claims: what holds, what is said of what does not, and for whom it stops."""

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lora_edu.course.claims import claim, panel


@pytest.fixture(autouse=True)
def _gentle(monkeypatch):
    monkeypatch.delenv("LORA_EDU_CLAIMS", raising=False)


VALUES = [
    (76.75, 76.8, True),  # half-way
    (float("nan"), 1.0, False),
    (float("inf"), 1, False),
    (True, 1, False),  # a truth is no number
    ((1, 2), (1, 2), True),
    (np.array([1, 2]), (1, 2), True),
    (1.6e-13, 1e-13, False),
    (10**400, 3, False),
    (torch.tensor([1, 2]), torch.tensor([1, 3]), False),
    (5, "x", False),  # no list
    (float(2**60), 2**60 + 4096, False),
]


@pytest.mark.parametrize(("value", "said", "holds"), VALUES)
def test_a_value_is_what_the_text_says_when_it_is_rounded_to_its_digits(value, said, holds):
    assert claim("so much", value, said).holds is holds


@given(st.integers(-(10**6), 10**6), st.integers(0, 3), st.floats(-0.499, 0.499))
def test_what_rounds_to_the_number_said_holds_and_what_does_not_is_false(digits, places, off):
    hypothesis.assume(digits % 10 or places == 0)  # a float does not know its last zeros
    unit = 10.0**-places
    said = round(digits * unit, places) if places else digits
    assert claim("x", said + off * unit, said, within=unit / 2).holds
    assert not claim("x", said + (off + 1.1 if off > -0.1 else off - 0.7) * unit, said).holds


def test_an_interval_has_open_ends():
    held = claim("so much", 0.4, above=0.3, below=0.5)
    assert (held.holds, held.says) == (True, "0.3 to 0.5")
    assert claim("so much", 12, above=9.5).says == "above 9.5"
    for value in (0.3, 0.5, "many"):
        assert not claim("so much", value, above=0.3, below=0.5).holds


COMPARED = [  # what is claimed of two numbers, whether it holds, and what it says
    ("more", (3, 2), {}, True, "more than b"),
    ("more", (2, 2), {}, False, "more than b"),
    ("less", (2, 3), {}, True, "less than b"),
    ("more", (0.93, 0.905), {"by": 0.025}, True, "more than b, by 0.025"),
    ("more", (0.93, 0.904), {"by": 0.025}, False, "more than b, by 0.025"),
    ("more", (0.9, 0.925), {"by": -0.025}, False, "more than b, by -0.025"),
    ("less", (26_501, 591_749), {"times": 22}, True, "less than b, 22 times"),
    ("less", (26_501, 500_000), {"times": 22}, False, "less than b, 22 times"),
    ("more", (1.341, 1.2), {"said": 1.34}, True, "1.34, more than b"),
    ("more", (1.351, 1.2), {"said": 1.34}, False, "1.34, more than b"),
    ("same", (0.1 + 0.2, 0.3), {}, True, "same as b"),
    ("same", (0.31, 0.3), {"by": 0.02}, True, "same as b, by 0.02"),
    ("same", (np.eye(2), np.eye(2) + 1e-12), {}, True, "same as b"),
    ("same", (torch.ones(2), torch.tensor([1.0, 1.2])), {"within": 0.1}, False, "same as b"),
    ("more", (float("nan"), 2), {}, False, "more than b"),
    ("same", (lambda: [1][4], 2), {}, False, "same as b"),
]


@pytest.mark.parametrize(("sense", "pair", "arguments", "holds", "says"), COMPARED)
def test_of_two_the_first_is_more_less_or_the_same(sense, pair, arguments, holds, says):
    held = claim("a is so", **{sense: dict(zip("ab", pair, strict=True))}, **arguments)
    assert (held.holds, held.says, held.sense) == (holds, says, sense)
    assert held.names == ("a", "b")


def test_several_numbers_are_looked_up_by_the_names_that_the_words_give_them():
    ranks = {"the sun": 7, "the roof": 29, "the house": 38}
    held = claim("The sun has 7", ranks, {"the sun": 7, "the roof": 29})
    assert (held.holds, held.says, held.names) == (True, "the sun 7, the roof 29", (*ranks,)[:2])
    assert not claim("The sun has 29", ranks, {"the sun": 29, "the roof": 7}).holds
    gone = claim("no rate fits", {"rate": 1}, {"rat": False})
    assert (gone.holds, gone.sense) == (False, "none")
    assert not claim("x", lambda: never_run, {"x": 3}).holds  # noqa: F821


def ten(value, **arguments):
    return claim("ten times fewer", value, 10, **arguments)


def test_opened_it_is_a_table_of_the_sentences_and_no_code():
    held = panel(claim("$a < b$", less={"a": 0.123456, "b": 2}), ten(10.2))
    data, _ = held._repr_mimebundle_()
    assert data["text/html"] == (
        "<details><summary>All 2 sentences here were just checked, and hold.</summary><table>"
        "<tr><td>the sentence</td><td>it says</td><td>now</td></tr>"
        "<tr><td>a &lt; b</td><td>less than b</td><td>0.123 against 2</td></tr>"
        "<tr><td>ten times fewer</td><td>10</td><td>10.2</td></tr></table></details>"
    )
    assert list(panel(ten(9))._repr_mimebundle_()[0]) == ["text/plain"]


def test_after_a_change_it_says_what_no_longer_holds_and_nothing_stops():
    said = repr(panel(ten(5 / 6), ten(10), claim("below break-even", 60, below=50.0)))
    assert said == (
        "Of 3 sentences here 2 no longer hold:\n"
        "  ✗ “ten times fewer”: now 0.83 (the text: 10)\n"
        "  ✗ “below break-even”: now 60 (the text: below 50)"
    )
    one = "Of 2 sentences here 1 no longer holds:\n  ✗ “ten times fewer”: now 9 (the text: 10)"
    assert repr(panel(ten(9), ten(10))) == one


def test_a_value_that_can_no_longer_be_had_is_false_and_stops_nothing():
    said = repr(panel(claim("the fifth", lambda: [1][4], 3), claim("x", lambda: never_run, 3)))  # noqa: F821
    assert "now nothing that can be computed (IndexError) (the text: 3)" in said
    assert "now nothing that can be computed (run the cells above) (the text: 3)" in said


def test_builds_and_tests_stop_at_a_broken_claim_with_its_words_and_both_values(monkeypatch):
    monkeypatch.setenv("LORA_EDU_CLAIMS", "Strict")
    panel(ten(9))  # another word stops nobody
    monkeypatch.setenv("LORA_EDU_CLAIMS", "strict")
    with pytest.raises(AssertionError, match=r"“ten times fewer”: now 9 \(the text: 10\)"):
        panel(ten(10), ten(9))


def test_a_panel_carries_its_claims_beside_what_is_seen():
    few = claim("few", 3, below=5, seeds=20, name="few")
    data, metadata = panel(ten(10.2), few)._repr_mimebundle_()
    assert data["text/plain"] == "All 2 sentences here were just checked, and hold."
    assert metadata["lora_edu"]["claims"] == [
        {"words": "ten times fewer", "value": "10.2", "says": "10", "within": 0.5, "seeds": "any"},
        {
            "words": "few", "value": "3", "says": "below 5", "within": 0.0, "seeds": 20,
            "sense": "less", "name": "few",
        },
    ]  # fmt: skip


SHOWN = [
    ("$B(Ax)$ takes 5", 4.2e-13, 5, "“B(Ax) takes 5”: now 0 (the text: 5)"),
    ("$\\Delta W$ is 18", 0.0923059, 18, "“ΔW is 18”: now 0.09 (the text: 18)"),
    ("few", (0.123456789, 1234567.25, 2e15), 3, "now (0.123457, 1,234,567.25, 2e+15) (the"),
]


@pytest.mark.parametrize(("words", "value", "said", "shows"), SHOWN)
def test_values_are_written_as_a_reader_wants_them(words, value, said, shows):
    assert shows in repr(panel(claim(words, value, said)))
