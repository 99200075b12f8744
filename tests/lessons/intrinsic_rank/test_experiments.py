"""Learning by heart: when it ends, and that it learns."""

import numpy as np
import pytest
import torch

from lora_edu.course.datasets import Digits, accuracy, mlp
from lora_edu.course.intrinsic_rank import experiments as lab


@pytest.fixture
def scripted(monkeypatch):
    """Let `memorise` see these accuracies instead of training for them."""

    def script(*values):
        calls, left = [], iter(values)
        monkeypatch.setattr(lab, "trainer", lambda *_: calls.append)
        monkeypatch.setattr(lab, "accuracy", lambda *_: next(left))
        return lab.memorise(
            None, Digits(None, None, None), 0.1, 0, size=250, passes=100, checks=15
        ), calls

    return script


def test_memorise_ends_when_all_is_right(scripted):
    assert scripted(0.5, 0.9, 1.0, 0.3) == ([0.5, 0.9, 1.0], [100, 100, 100])


def test_memorise_ends_when_three_checks_bring_nothing(scripted):
    assert scripted(0.2, 0.5, 0.505, 0.4, 0.509, 0.9)[0] == [0.2, 0.5, 0.505, 0.4, 0.509]


def test_memorise_goes_on_through_a_dip(scripted):
    assert scripted(0.2, 0.5, 0.3, 0.4, 0.52, 0.4, 0.6, 1.0)[0][-1] == 1


def test_memorise_ends_at_its_last_check(scripted):
    curve, _ = scripted(*np.linspace(0.1, 0.9, 30))
    assert len(curve) == 15


def test_memorise_learns_what_can_be_learned():
    """Few samples, and labels that a line tells apart."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(80, 64, generator=generator)
    y = (x @ torch.randn(64, 10, generator=generator)).argmax(1)
    base, data = mlp(64, 12, 10, seed=0), Digits(*[(x, y)] * 3)
    curve = lab.memorise(base, data, 0.01, 0, size=250, passes=100, checks=15)
    assert curve[-1] == accuracy(base, data.train) == 1
