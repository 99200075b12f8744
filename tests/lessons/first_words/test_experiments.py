"""What lesson 00 measured, measured again in part; and what its experiments count."""

import pytest
import torch

from lora_edu.course import experiments
from lora_edu.course.first_words import experiments as lab

EMOJI = [("Good morning!", 0), ("‘I will,’ – said … 90 °F", 0), ("🌟🌍 **x**", 2), ("日本 한국", 0)]


@pytest.mark.parametrize(("text", "number"), EMOJI)
def test_emoji_are_counted(text, number):
    assert lab.pictures(text) == number


@pytest.mark.slow
@pytest.mark.assets
@torch.no_grad()
def test_a_voice_against_itself_comes_out_as_recorded():
    """The voices that ship, at one scale."""
    recorded = experiments.read("knob")["rows"][0]["loss"]
    for voice, losses in lab.knob(0, scales=(-1.0,))["loss"].items():
        for scale in ("-1.0", "drawn"):
            assert losses[scale] == pytest.approx(recorded[voice][scale], rel=0.01)


@pytest.mark.slow
@pytest.mark.assets
@torch.no_grad()
def test_five_sentences_of_a_cat_come_out_as_recorded():
    recorded = experiments.read("five_sentences")["rows"][1]
    made = lab.five_sentences(1, sentences={"cat": lab.SENTENCES["cat"]}, lr=(0.003,))
    for what in ("begins", "by_heart"):
        assert made[what]["cat"]["0.003"] == pytest.approx(recorded[what]["cat"]["0.003"], abs=2)
