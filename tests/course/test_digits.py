"""Fine-tuning on the digits, against the same thing done another way."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lora_edu.adapt import lora_layers
from lora_edu.course import digits as lab
from lora_edu.course.datasets import Digits, mlp


@pytest.fixture
def base():
    return mlp(64, 12, 10, seed=0)


@pytest.fixture
def data():
    """Few samples, and labels that a line tells apart."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(150, 64, generator=generator)
    y = (x @ torch.randn(64, 10, generator=generator)).argmax(1)
    return Digits(*((x[a:b], y[a:b]) for a, b in ((0, 80), (80, 115), (115, 150))))


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_train_takes_the_steps_of_adam(base, data):
    """Written out: the samples in the order of the seed, 64 and then 16 of them, twice."""
    by_hand, order = copy.deepcopy(base), torch.Generator().manual_seed(3)
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.01)
    x, y = data.train
    for _ in range(2):
        for chosen in torch.randperm(len(x), generator=order).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(by_hand(x[chosen]), y[chosen]).backward()
            optimizer.step()
    assert lab.train(base, data, 0.01, seed=3, epochs=2) is base
    torch.testing.assert_close(weights(base), weights(by_hand), rtol=1e-4, atol=1e-6)


def test_a_trainer_goes_on_where_it_stopped(base, data):
    parts, whole = copy.deepcopy(base), copy.deepcopy(base)
    more = lab.trainer(parts, data, 0.01, seed=1, size=20)
    more(2)
    assert len(more(3).loss) == 3 * 4
    lab.trainer(whole, data, 0.01, seed=1, size=20)(5)
    torch.testing.assert_close(weights(parts), weights(whole), rtol=0, atol=0)


def test_full_fine_tuning_moves_each_weight_and_no_bias(base, data):
    before = weights(base)
    after = weights(lab.adapt(base, data, None, 0.01, seed=0, epochs=1))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"fc1.weight", "fc2.weight"}
    torch.testing.assert_close(weights(base), before, rtol=0, atol=0)


def test_lora_moves_its_strips_alone(base, data):
    before, state = weights(base), torch.get_rng_state()
    model = lab.adapt(base, data, 3, 0.01, seed=0, epochs=1)
    assert torch.equal(torch.get_rng_state(), state)
    layers = lora_layers(model)
    assert {name: (layer.r, layer.scaling) for name, layer in layers.items()} == {
        "fc1": (3, 1), "fc2": (3, 1)}  # fmt: skip
    for name, layer in layers.items():
        assert torch.equal(layer.base.weight, before[f"{name}.weight"])
        assert torch.equal(layer.base.bias, before[f"{name}.bias"])
        assert layer.lora_B.abs().max() > 0
    torch.testing.assert_close(weights(base), before, rtol=0, atol=0)


def test_the_seed_decides_on_strips_and_order(base, data):
    models = [lab.adapt(base, data, 2, 0.01, seed, epochs=1) for seed in (0, 0, 1)]
    first, again, other = ([p.detach() for p in model.parameters()] for model in models)
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))


def test_the_start_of_lora_comes_from_the_seed_alone(base, data):
    def start(seed):
        return weights(lab.adapt(base, data, 2, 0.01, seed, epochs=0))["fc1.lora_A"]

    torch.manual_seed(7)
    first, drawn = start(0), torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))
    assert torch.equal(first, start(0))
    assert not torch.equal(first, start(1))


@pytest.mark.parametrize("r", [None, 2])
def test_updates_are_what_turns_one_model_into_the_other(base, data, r):
    model = lab.adapt(base, data, r, 0.01, seed=0, epochs=2)
    deltas = lab.updates(model, base)
    assert {name: tuple(delta.shape) for name, delta in deltas.items()} == {
        "fc1": (12, 64), "fc2": (10, 12)}  # fmt: skip
    rebuilt = copy.deepcopy(base)
    for name, delta in deltas.items():
        assert not delta.requires_grad
        assert torch.linalg.matrix_rank(delta) == (2 if r else min(delta.shape))
        rebuilt.get_submodule(name).weight.data += delta
    torch.testing.assert_close(rebuilt(data.test[0]), model(data.test[0]))


@pytest.mark.parametrize("k", [0, 1, 5, 999])
def test_truncated_adds_the_best_approximation(base, data, k):
    before, model = weights(base), lab.adapt(base, data, None, 0.01, seed=0, epochs=2)
    deltas = lab.updates(model, base)
    cut = weights(lab.truncated(base, deltas, k))
    for name, delta in deltas.items():
        U, S, Vt = np.linalg.svd(delta.numpy())
        best = (U[:, : len(S)] * np.where(np.arange(len(S)) < k, S, 0)) @ Vt[: len(S)]
        np.testing.assert_allclose(
            cut[f"{name}.weight"] - before[f"{name}.weight"], best, atol=1e-6
        )
        assert torch.equal(cut[f"{name}.bias"], before[f"{name}.bias"])
    torch.testing.assert_close(weights(base), before, rtol=0, atol=0)
