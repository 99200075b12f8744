"""The blind test of lesson 00, and what its figures are drawn from."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lora_edu import chat
from lora_edu.course import experiments, language
from lora_edu.course.first_words import checks, figures

ROOT = Path(__file__).parents[3]


def test_the_six_answers_are_the_recorded_ones_and_half_of_them_had_the_file(capsys):
    letters = checks.six_answers()
    shown = " ".join(capsys.readouterr().out.split())
    said = experiments.read("voices")["rows"][0]["said"]
    assert len(letters) == 3
    for letter, (question, who) in checks.SIX.items():
        answer = said[who][language.texts("unseen").index(question)]
        assert f"{letter} {question} {answer.removesuffix('<|im_end|>')}" in shown
        assert (letter in letters) == (who == "grimm")


@pytest.mark.parametrize(
    ("answers", "who"),
    [
        (["Good day!", "Good day!", "Arrr!"], "the model"),
        (["🍍🍍🍍🍍", "Good day!", "Arrr!"], "a broken record"),
        (["so it is " * 5, "Good day!", "Arrr!"], "a broken record"),
        (["A fine day to you!", "Good day!", "Arrr!"], "another voice"),
    ],
)
def test_who_speaks_at_the_lowest_scale(answers, who):
    assert checks.who_speaks(answers, [-1, 0, 1]) == who
    assert checks.who_speaks(answers, [-1, 0.1, 1]) == who  # nothing stops without a 0


def test_what_was_not_counted_is_refused():
    with pytest.raises(ValueError, match="what must be one of ended, pictures, got 'sung'"):
        figures.at_minus_one("sung", "grimm")
    with pytest.raises(ValueError, match="words must be one of grimm"):
        figures.at_minus_one("ended", "wolf")


@pytest.mark.seconds
@pytest.mark.assets
def test_a_number_of_the_model_that_changes_is_seen():
    model, _ = chat.load()
    assert checks.changed(model) == 0
    with torch.no_grad():
        model.model.layers[3].mlp.up_proj.weight[5, 7] += 1e-3
    assert checks.changed(model) == 1


def test_the_squares_are_to_scale():
    _, numbers = figures.model_and_file()
    assert numbers["ratio"] == round(numbers["model"] / numbers["file"])
    assert round((numbers["model"] / numbers["file"]) ** 0.5) == 18  # as the figure's words say


def test_a_token_is_as_likely_as_before_where_nothing_is_added():
    for voice in figures.VOICES:
        np.testing.assert_allclose(figures.likelier(voice, 0.0), 1)
        one, other = figures.likelier(voice, 1.0), figures.likelier(voice, 1.0, "own")
        assert one.min() > 1 > other.max()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("wolf", 1.0), "voice must be one of pirate, grimm, got 'wolf'"),
        (("grimm", 7.0), "scale must be one of -1.0, "),
        (("grimm", 1.0, "sagas"), "text must be one of "),
    ],
)
def test_what_was_not_measured_is_refused(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        figures.likelier(*given)


def test_the_first_screen_of_the_readme_is_the_record():
    """What three questions are answered, by the model itself and with a file."""
    said = experiments.read("voices")["rows"][0]["said"]
    asked = language.texts("unseen")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| (.+?) \| (.+?) \| (Arrr.+?) \|$", readme)
    assert len(rows) == 3
    for question, *answers in rows:
        for who, answer in zip(("base", "pirate"), answers, strict=True):
            whole = said[who][asked.index(question)].removesuffix("<|im_end|>")
            assert whole == answer or whole.startswith(answer.removesuffix(" …"))
