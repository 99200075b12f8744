"""What lesson 00 measured, measured again in part; and what its experiments count."""

import pytest
import torch

from lora_edu.course import experiments
from lora_edu.course.first_words.experiments import (
    SENTENCES,
    five_sentences,
    knob,
    pictures,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [("Good morning!", 0), ("‘I will,’ – said … 90 °F", 0), ("🌟🌍 **x**", 2), ("日本 한국", 0)],
)
def test_emoji_are_counted(text, number):
    assert pictures(text) == number


@pytest.mark.long
@pytest.mark.assets
@torch.no_grad()
def test_a_voice_against_itself_comes_out_as_recorded():
    """The voices that ship, at one scale."""
    row = experiments.read("knob")["rows"][0]
    made = knob(0, scales=(-1.0,))
    for voice, losses in made["loss"].items():
        for scale in ("-1.0", "drawn"):
            assert losses[scale] == pytest.approx(row["loss"][voice][scale], rel=0.01)


@pytest.mark.slow
@pytest.mark.assets
@torch.no_grad()
def test_five_sentences_of_a_cat_come_out_as_recorded():
    row = experiments.read("five_sentences")["rows"][1]
    made = five_sentences(1, sentences={"cat": SENTENCES["cat"]}, lr=(0.003,))
    for what in ("begins", "by_heart"):
        assert made[what]["cat"]["0.003"] == pytest.approx(row[what]["cat"]["0.003"], abs=2)
