"""The trial's experiments: cuts; learning by heart."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lora_edu.course.datasets import Digits, accuracy, mlp
from lora_edu.course.intrinsic_rank import experiments as lab

# -- cuts -----------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(0, 10**6))
def test_the_cut_by_outputs_is_the_cut_of_delta_times_the_root_of_c(d, k, r, seed):
    """With C = xᵀx / n: cut ΔW C^½, and take C^½ off again."""
    generator = torch.Generator().manual_seed(seed)
    delta, x = (torch.randn(n, k, generator=generator, dtype=torch.float64) for n in (d, 30))
    values, V = torch.linalg.eigh(x.T @ x / len(x))
    root, back = V * values.sqrt() @ V.T, V / values.sqrt() @ V.T
    U, S, Vt = torch.linalg.svd(delta @ root, full_matrices=False)
    expected = (U[:, :r] * S[:r]) @ Vt[:r] @ back
    torch.testing.assert_close(lab.cut_by_outputs(delta, x, r), expected, rtol=0, atol=1e-8)


def test_the_inputs_of_each_layer_are_those_that_reach_it():
    model, x = mlp(64, 12, 11, 10, seed=0), torch.rand(5, 64, dtype=torch.float64)
    reached = lab.inputs(model, x)
    assert list(reached) == ["fc1", "fc2", "fc3"]
    assert reached["fc1"] is x
    assert torch.equal(reached["fc2"], torch.relu(model.fc1(x)))
    assert torch.equal(model.fc3(reached["fc3"]), model(x))


# -- learning by heart ----------------------------------------------------------------------------


ACCURACIES = [
    ([0.5, 0.9, 1.0, 0.3], 3),  # all is right
    ([0.2, 0.5, 0.505, 0.4, 0.509, 0.9], 5),  # three checks brought nothing
    ([0.2, 0.5, 0.3, 0.4, 0.52, 0.4, 0.6, 1.0], 8),  # through a dip
    (np.linspace(0.1, 0.9, 30), 15),  # no more checks
]


@pytest.mark.parametrize(("seen", "checks"), ACCURACIES)
def test_memorise_ends_when_nothing_more_is_learned(seen, checks, monkeypatch):
    """It sees these accuracies instead of training for them."""
    trained, left = [], iter(seen)
    monkeypatch.setattr(lab, "trainer", lambda *_: trained.append)
    monkeypatch.setattr(lab, "accuracy", lambda *_: next(left))
    monkeypatch.setattr(lab, "bits", lambda *_: 7.0)
    data = Digits(None, None, None)
    curve, held = lab.memorise(None, data, 0.1, 0, size=250, passes=100, checks=15)
    assert curve == list(seen[:checks])
    assert held == [7.0] * checks
    assert trained == [100] * checks


def test_memorise_learns_what_can_be_learned():
    """Few samples, and labels that a line tells apart: then it holds nearly all their bits."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(80, 64, generator=generator, dtype=torch.float64)
    y = (x @ torch.randn(64, 10, generator=generator, dtype=torch.float64)).argmax(1)
    base, data = mlp(64, 12, 10, seed=0), Digits(*[(x, y)] * 3)
    curve, held = lab.memorise(base, data, 0.01, 0, size=250, passes=100, checks=15)
    assert curve[-1] == accuracy(base, data.train) == 1
    assert 0.8 * 80 * math.log2(10) < held[-1] < 80 * math.log2(10)


def test_a_model_that_guesses_holds_no_bits():
    x, y = torch.rand(50, 64, dtype=torch.float64), torch.arange(50) % 10
    silent = nn.Linear(64, 10, dtype=torch.float64)
    nn.init.zeros_(silent.weight), nn.init.zeros_(silent.bias)
    assert lab.bits(silent, (x, y)) == pytest.approx(0, abs=1e-4)


def test_merged_labels_keep_the_pictures():
    part = torch.rand(5, 64, dtype=torch.float64), torch.tensor([0, 3, 7, 8, 9])
    (x, y), *_ = lab.merged(Digits(part, part, part), 3)
    assert x is part[0]
    assert y.tolist() == [0, 0, 1, 2, 0]
