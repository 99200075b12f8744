"""Claims: what holds, what is said of what does not, and for whom it stops."""

from fractions import Fraction

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


class Odd:
    def __eq__(self, other):
        raise RuntimeError

    __hash__ = None


@pytest.mark.parametrize(
    ("value", "said", "holds"),
    [
        (1_000, 1_000, True),
        (1_001, 1_000, False),
        (10.0, 10, True),
        (9.4, 10, False),
        (76.84, 76.8, True),
        (76.86, 76.8, False),
        (76.75, 76.8, True),  # half-way
        (0.0, 0.0, True),
        (float("nan"), 1.0, False),
        (float("inf"), 1, False),
        (True, 1, False),  # a truth is no number
        ("one", "one", True),
        ("two", "one", False),
        ((1, 2), (1, 2), True),
        ([1, 2], (1, 2), True),
        (np.array([1, 2]), (1, 2), True),
        (None, 3, False),
        (1.4e-13, 1e-13, True),
        (1.6e-13, 1e-13, False),
        (np.arange(4).reshape(2, 2), ((1, 2), (3, 4)), False),
        (np.float64(3), (1, 2), False),
        (10**400, 3, False),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), False),
        (Odd(), "x", False),
        (2_000_000_001, 2_000_000_000, False),
        (2**60 + 1, 2**60, False),
        (float(2**60), 2**60 + 4096, False),
        (1.04e16, 1e15, False),
    ],
)
def test_a_value_is_what_the_text_says_when_it_is_rounded_to_its_digits(value, said, holds):
    assert claim("so much", value, said).holds is holds


@given(st.integers(-(10**6), 10**6), st.integers(0, 3), st.floats(-0.499, 0.499))
def test_what_rounds_to_the_number_said_holds_and_what_does_not_is_false(digits, places, off):
    hypothesis.assume(digits % 10 or places == 0)  # a float does not know its last zeros
    unit = 10.0**-places
    said = round(digits * unit, places) if places else digits
    assert claim("x", said + off * unit, said, within=unit / 2).holds
    assert not claim("x", said + (off + 1.1 if off > -0.1 else off - 0.7) * unit, said).holds


@pytest.mark.parametrize(
    ("value", "interval", "says"),
    [
        (5, {"below": 50}, "below 50"),
        (12, {"above": 9.5}, "above 9.5"),
        (0.4, {"above": 0.3, "below": 0.5}, "0.3 to 0.5"),
    ],
)
def test_an_interval_has_open_ends(value, interval, says):
    held = claim("so much", value, **interval)
    assert held.holds
    assert held.says == says
    for end in interval.values():
        assert not claim("so much", end, **interval).holds
    assert not claim("so much", "many", **interval).holds


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either what the text says"),
        ({"said": 1, "below": 2}, "give either what the text says"),
        ({"said": 76.8, "within": 0.2}, "within must be from 0 to 0.1, got 0.2"),
        ({"said": 76.8, "within": -0.1}, "within must be from 0"),
        ({"said": 1, "seeds": "some"}, "seeds must be"),
        ({"said": 1, "seeds": 0}, "seeds must be"),
    ],
)
def test_a_claim_that_cannot_be_held_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        claim("so much", 1, **arguments)


def ten(value, **arguments):
    return claim("ten times fewer", value, 10, **arguments)


def test_untouched_a_panel_is_one_quiet_line():
    assert repr(panel(ten(10), ten(10.0))) == "2 sentences of this section hold."
    assert repr(panel(ten(10))) == "The one sentence held here holds."


def test_after_a_change_it_says_what_no_longer_holds_and_nothing_stops():
    said = repr(panel(ten(5 / 6), ten(10), claim("below break-even", 60, below=50.0)))
    assert said == (
        "Of 3 sentences here 2 no longer hold:\n"
        "  ✗ “ten times fewer”: now 0.83 (the text: 10)\n"
        "  ✗ “below break-even”: now 60 (the text: below 50)"
    )
    one = "Of 2 sentences here 1 no longer holds:\n  ✗ “ten times fewer”: now 9 (the text: 10)"
    assert repr(panel(ten(9), ten(10))) == one


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (lambda: [1, 2][4], "IndexError"),
        (lambda: never_run, "run the cells above"),  # noqa: F821
    ],
)
def test_a_value_that_can_no_longer_be_had_is_false_and_stops_nothing(value, why):
    said = repr(panel(claim("the fifth is 3", value, 3)))
    assert f"now nothing that can be computed ({why}) (the text: 3)" in said


def test_builds_and_tests_stop_at_a_broken_claim_with_its_words_and_both_values(monkeypatch):
    monkeypatch.setenv("LORA_EDU_CLAIMS", "strict")
    panel(ten(10))
    with pytest.raises(AssertionError, match=r"“ten times fewer”: now 9 \(the text: 10\)"):
        panel(ten(10), ten(9))


@pytest.mark.parametrize("word", ["", "0", "off", "Strict"])
def test_another_word_in_the_environment_stops_nobody(word, monkeypatch):
    monkeypatch.setenv("LORA_EDU_CLAIMS", word)
    panel(ten(9))


def test_a_panel_carries_its_claims_beside_what_is_seen():
    data, metadata = panel(ten(10.2), claim("few", 3, below=5, seeds=20))._repr_mimebundle_()
    assert data == {"text/plain": "2 sentences of this section hold."}
    assert metadata["lora_edu"]["claims"] == [
        {"words": "ten times fewer", "value": "10.2", "says": "10", "within": 0.5, "seeds": "any"},
        {"words": "few", "value": "3", "says": "below 5", "within": 0.0, "seeds": 20},
    ]


@pytest.mark.parametrize("said", [np.float64(38.4), np.int64(3), Fraction(1, 3)])
def test_a_number_is_said_as_an_int_or_a_float(said):
    with pytest.raises(ValueError, match="as an int or a float"):
        claim("so much", 38.4, said)


@pytest.mark.parametrize(
    ("words", "value", "said", "shows"),
    [
        ("$B(Ax)$ takes 5", 4.2e-13, 5, "“B(Ax) takes 5”: now 0 (the text: 5)"),
        ("$\\Delta W$ is 18", 0.0923059, 18, "“ΔW is 18”: now 0.09 (the text: 18)"),
        ("three", (10_000, 2), (1, 2), "now (10,000, 2) (the text: (1, 2))"),
        ("so few", 12_345_678, 3, "now 12,345,678 (the text: 3)"),
        ("few", (0.123456789, 1234567.25, 2e15), 3, "now (0.123457, 1,234,567.25, 2e+15) (the"),
        ("much", 1.0, 1234567.8, "(the text: 1,234,567.8)"),
    ],
)
def test_values_are_written_as_a_reader_wants_them(words, value, said, shows):
    assert shows in repr(panel(claim(words, value, said)))
