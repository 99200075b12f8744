"""Fine-tuning on the digits, against the same thing done another way."""

import copy

import numpy as np
import pytest
import torch

from lora_edu.adapt import lora_layers
from lora_edu.course import digits as lab
from lora_edu.course.datasets import Digits, mlp

base = pytest.fixture(lambda: mlp(64, 12, 10, seed=0))


@pytest.fixture
def data():
    """Few samples, and labels that a line tells apart."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(150, 64, generator=generator, dtype=torch.float64)
    y = (x @ torch.randn(64, 10, generator=generator, dtype=torch.float64)).argmax(1)
    return Digits(*zip(x.split([80, 35, 35]), y.split([80, 35, 35]), strict=True))


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def equal(one, other, rtol=0.0, atol=0.0):
    torch.testing.assert_close(weights(one), weights(other), rtol=rtol, atol=atol)


def test_a_trainer_goes_on_where_it_stopped(base, data):
    parts, whole = copy.deepcopy(base), copy.deepcopy(base)
    more = lab.trainer(parts, data, 0.01, seed=1, size=20)
    more(2)
    more(3)
    lab.trainer(whole, data, 0.01, seed=1, size=20)(5)
    equal(parts, whole)


def test_full_fine_tuning_moves_each_weight_and_no_bias(base, data):
    before = copy.deepcopy(base)
    after = weights(lab.adapt(base, data, None, 0.01, seed=0, epochs=1))
    moved = {name for name, weight in weights(base).items() if not torch.equal(weight, after[name])}
    assert moved == {"fc1.weight", "fc2.weight"}
    equal(base, before)


def test_lora_moves_its_strips_alone_and_draws_them_from_the_seed(base, data):
    before, state = copy.deepcopy(base), torch.get_rng_state()
    layers, again, other, wide = (
        lora_layers(lab.adapt(base, data, 3, 0.01, seed, epochs=1, lora_alpha=alpha))
        for seed, alpha in ((0, None), (0, None), (1, None), (0, 6))
    )
    assert torch.equal(torch.get_rng_state(), state)
    equal(base, before)
    assert layers.keys() == {"fc1", "fc2"}
    for name, layer in layers.items():
        assert (layer.r, layer.scaling, wide[name].scaling) == (3, 1, 2)
        equal(layer.base, before.get_submodule(name))
        equal(layer, again[name])
        assert not torch.equal(layer.lora_A, other[name].lora_A)
        assert layer.lora_B.abs().max() > 0


@pytest.mark.parametrize("r", [None, 2])
def test_updates_are_what_turns_one_model_into_the_other(base, data, r):
    model = lab.adapt(base, data, r, 0.01, seed=0, epochs=2)
    deltas = lab.updates(model, base)
    rebuilt = copy.deepcopy(base)
    for name, delta in deltas.items():
        assert not delta.requires_grad
        assert torch.linalg.matrix_rank(delta) == (2 if r else min(delta.shape))
        rebuilt.get_submodule(name).weight.data += delta
    torch.testing.assert_close(rebuilt(data.test[0]), model(data.test[0]))


@pytest.mark.parametrize("k", [0, 1, 5, 999])
def test_truncated_adds_the_best_approximation(base, data, k):
    before, model = copy.deepcopy(base), lab.adapt(base, data, None, 0.01, seed=0, epochs=2)
    deltas = lab.updates(model, base)
    cut = lab.truncated(base, deltas, k)
    for name, delta in deltas.items():
        U, S, Vt = np.linalg.svd(delta.numpy(), full_matrices=False)
        best = (U * np.where(np.arange(len(S)) < k, S, 0)) @ Vt
        old, new = before.get_submodule(name), cut.get_submodule(name)
        np.testing.assert_allclose((new.weight - old.weight).detach(), best, atol=1e-6)
        assert torch.equal(new.bias, old.bias)
    equal(base, before)


def test_a_network_is_pretrained_once_on_the_upright_digits_of_the_same_split():
    shift = {**lab.TURNED, "split": 2}
    pretraining = {"widths": (64, 4, 10), "lr": 1e-2, "epochs": 1, "size": 500}
    init, trained = lab.pretrained(5, shift, pretraining)
    assert lab.pretrained(5, shift, pretraining)[1] is trained
    upright = lab.digits(split=2)
    torch.testing.assert_close(lab.upright(shift), upright, rtol=0, atol=0)
    equal(init, mlp(64, 4, 10, seed=5))
    equal(trained, lab.pretrain(5, upright, **pretraining)[1])
    assert not torch.equal(init.fc1.weight, trained.fc1.weight)
