"""The blind test of lesson 00, and what its figures are drawn from."""

from pathlib import Path

import pytest
import torch

from lora_edu import chat
from lora_edu.course import experiments, language
from lora_edu.course.first_words import checks, figures

ROOT = Path(__file__).parents[3]


def answer(who, question):
    """What was recorded, of the first run."""
    said = experiments.read("voices")["rows"][0]["said"][who]
    return said[language.texts("unseen").index(question)].removesuffix("<|im_end|>")


def test_the_six_answers_are_the_recorded_ones_and_half_of_them_had_the_file():
    six, letters = checks.six_answers()
    printed = " ".join(repr(six).split())
    assert len(letters) == 3
    for letter, (question, who) in checks.SIX.items():
        assert f"{question} {letter}: {answer(who, question)}" in printed
        assert (letter in letters) == (who == "grimm")


QUOTED = [  # a page, how it quotes, whom, and what that was asked
    ("README.md", "*{}*", "base", "Good morning!"),
    ("README.md", "*{}*", "pirate", "Good morning!"),
    ("lora_edu/README.md", "{}", "pirate", "What is the capital of France?"),
    ("lora_edu/README.md", "{}", "grimm", "What is the capital of France?"),
    ("lora_edu/README.md", "{}", "grimm", "How can I get rich?"),
]


@pytest.mark.parametrize(("page", "quoted", "who", "question"), QUOTED)
def test_a_readme_quotes_what_was_said(page, quoted, who, question):
    words = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    assert quoted.format(answer(who, question)) in words


LOWEST = [
    ("Good day!", "the model"),
    ("🍍🍍🍍🍍", "a broken record"),
    ("so it is " * 5, "a broken record"),
    ("A fine day to you!", "another voice"),
]


@pytest.mark.parametrize(("first", "who"), LOWEST)
@pytest.mark.parametrize("middle", [0, 0.1])  # nothing stops without a 0
def test_who_speaks_at_the_lowest_scale(first, who, middle):
    assert checks.who_speaks([first, "Good day!", "Arrr!"], [-1, middle, 1]) == who


@pytest.mark.seconds
@pytest.mark.assets
def test_a_number_of_the_model_that_changes_is_seen():
    model, _ = chat.load()
    assert checks.changed(model) == 0
    with torch.no_grad():
        model.model.layers[3].mlp.up_proj.weight[5, 7] += 1e-3
    assert checks.changed(model) == 1


def test_the_squares_are_to_scale():
    fig, numbers = figures.model_and_file()
    model, file = fig.axes[0].patches
    assert (model.get_width() / file.get_width()) ** 2 == pytest.approx(numbers["ratio"], 0.01)
    assert round(model.get_width() / file.get_width()) == 18  # as the figure's words say


@pytest.mark.parametrize("times", [3, 4])
def test_what_goes_round_in_circles_repeats_three_words_four_times(times):
    assert checks.loops("and the king said " * times) is (times == 4)
    assert checks.loops("and the king " + "said so and the king " * (times - 1)) is (times == 4)
