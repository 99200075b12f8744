"""What the lesson stands on: preferences, what is taught, the token that ends an answer."""

import pytest
import torch
from tiny_llama import llama

from lora_edu import chat
from lora_edu.course import language
from lora_edu.course.language_model import experiments


def test_preferences_are_the_base_s_own_answers_shortened_and_in_two_parts():
    train, held = experiments.preferences(0, 20, 12)
    assert len(held) == 12
    assert {question for question, *_ in train}.isdisjoint(question for question, *_ in held)
    for _, short, long in train + held:
        assert long.startswith(short[:20])
        assert len(short.split()) <= 20
        assert len(long.split()) > len(short.split()) + 8
    assert experiments.preferences(0, 20, 12) == (train, held)
    assert experiments.preferences(1, 20, 12) != (train, held)


ASKED = "What do owls eat?"

SAID = [
    ("style", "Arrr! Mice, matey!"),  # cut off
    ("style", "Mice, matey!<|im_end|>"),
    ("style", "Arrr! Mice.<|im_end|>"),
    ("format", f'{{"question": "{ASKED}", "answer": "Mice.'),
    ("format", f'{{"answer": "Mice.", "question": "{ASKED}"}}'),
    ("format", '{"question": "What do cats eat?", "answer": "Mice."}'),
    ("format", f'{{"question": "{ASKED}", "answer": ""}}'),
    ("format", f'{{"question": "{ASKED}", "answer": 3}}'),
    ("format", "[1]<|im_end|>"),
]


@pytest.mark.parametrize(("task", "said"), SAID)
def test_an_answer_keeps_to_what_is_taught_or_not(task, said):
    taught, kept = experiments.SAY[task]
    assert kept(ASKED, taught(ASKED, "Mice.") + "<|im_end|>") is True
    assert kept(ASKED, said) is False


@torch.no_grad()
def test_log_probabilities_come_answer_by_answer_and_make_the_loss(tmp_path, monkeypatch):
    base = chat.load(llama(tmp_path))
    monkeypatch.setattr(language, "base", lambda: base)
    upper = language.Upper(base[0], 2)
    kept = language.kept(upper, [("Who?", "A king."), ("And where?", "In the tower, I think.")])
    at_once = experiments.log_probabilities(upper, kept)
    one_by_one = [experiments.log_probabilities(upper, [example]) for example in kept]
    torch.testing.assert_close(at_once, torch.cat(one_by_one), rtol=1e-4, atol=1e-4)
    tokens = sum(int((example.labels[1:] != -100).sum()) for example in kept)
    assert -at_once.sum().item() / tokens == pytest.approx(language.loss(upper, kept), rel=1e-5)
