"""The steps of lesson 04's experiments, on a small network and a few digits."""

import copy

import numpy as np
import pytest
import torch

from lora_edu.adapt import merge_and_unload
from lora_edu.course.datasets import Digits, digits, mlp
from lora_edu.course.experiments import nb04


@pytest.fixture(scope="module")
def data():
    return Digits(*((x[:100], y[:100]) for x, y in digits(45)))


@pytest.fixture
def base():
    return mlp(64, 12, 12, 10, seed=0)


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("r", [None, 2])
def test_weights_move_biases_stay_and_the_base_is_left_alone(base, data, r):
    before = state(base)
    model = nb04.adapt(base, data, r, 1e-2, seed=0, epochs=1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(base).items())
    deltas = nb04.updates(model, base)
    after = state(model if r is None else merge_and_unload(copy.deepcopy(model)))
    assert deltas.keys() == {"fc1", "fc2", "fc3"}
    for name, tensor in after.items():
        layer, _, kind = name.partition(".")
        if kind == "bias":
            assert torch.equal(tensor, before[name])
        else:
            assert deltas[layer].any()
            torch.testing.assert_close(tensor - before[name], deltas[layer], rtol=0, atol=1e-6)
            if r is not None:
                assert np.linalg.matrix_rank(deltas[layer].numpy(), tol=1e-5) <= r


def test_the_start_of_lora_comes_from_the_seed_alone(base, data):
    def start(seed):
        return state(nb04.adapt(base, data, 2, 1e-2, seed, epochs=0))["fc1.lora_A"]

    torch.manual_seed(7)
    first, drawn = start(0), torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))
    assert torch.equal(first, start(0))
    assert not torch.equal(first, start(1))


def test_an_update_is_cut_to_rank_k_and_added_to_the_base(base, data):
    model = nb04.adapt(base, data, None, 1e-2, seed=0, epochs=1)
    deltas, before = nb04.updates(model, base), state(base)
    none, one, whole = (state(nb04.truncated(base, deltas, k)) for k in (0, 1, 12))
    for name, tensor in state(model).items():
        assert torch.equal(none[name], before[name])
        torch.testing.assert_close(whole[name], tensor, rtol=0, atol=1e-6)
        if name.endswith("weight"):
            cut, S = (one[name] - before[name]).numpy(), nb04.singular_values(tensor - before[name])
            assert np.linalg.norm(cut) == pytest.approx(S[0], rel=1e-3)
            assert np.linalg.matrix_rank(cut, tol=1e-4) == 1
