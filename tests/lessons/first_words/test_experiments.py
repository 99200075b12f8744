"""What the experiments of lesson 00 count."""

import pytest

from lora_edu.course.first_words import experiments as lab

EMOJI = [("Good morning!", 0), ("‘I will,’ – said … 90 °F", 0), ("🌟🌍 **x**", 2), ("日本 한국", 0)]


@pytest.mark.parametrize(("text", "number"), EMOJI)
def test_emoji_are_counted(text, number):
    assert lab.pictures(text) == number
