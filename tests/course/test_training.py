"""The training loop, against steps by hand; batches that hold each sample once a pass."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from lora_edu.course.training import Batches, fit


@pytest.fixture
def line():
    """A model with one weight, 0, and the data of y = 2x: L = (w - 2)² · mean(x²)."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    x = torch.tensor([[1.0], [2.0]])  # mean(x²) = 2.5
    return model, (x, 2 * x)


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


@pytest.mark.parametrize("loads", [False, True])
def test_steps_and_losses_by_hand(line, loads):
    # w: 0, then 0 + 0.1 · 5 · (2 - 0) = 1, then 1.5. L = 2.5 (w - 2)²: 10, 2.5, 0.625.
    model, data = line
    batches = DataLoader(TensorDataset(*data), batch_size=2) if loads else [data]
    history = fit(model, batches, mse_loss, sgd(model), epochs=3)
    assert history.loss == pytest.approx([10, 2.5, 0.625])
    assert model.weight.item() == pytest.approx(1.75)
    assert history.validation == []


@pytest.mark.parametrize("mode", [True, False])
def test_it_trains_in_train_mode_and_validates_in_eval_mode_without_gradients(line, mode):
    model, data = line
    seen = []
    model.register_forward_hook(lambda model, *_: seen.append((model.training, "step")))

    def validate(model):
        seen.append((model.training, torch.is_grad_enabled()))
        return torch.tensor(len(seen))

    model.train(mode)
    history = fit(model, [data, data], mse_loss, sgd(model), epochs=2, validate=validate)
    assert seen == [(True, "step"), (True, "step"), (False, False)] * 2
    assert model.training is mode
    assert history.validation == [3.0, 6.0]
    assert all(type(value) is float for value in history.validation)


@pytest.mark.parametrize(("scale", "name"), [(math.nan, "nan"), (math.inf, "inf")])
def test_a_loss_that_is_not_finite_stops_before_the_step(line, scale, name):
    model, (x, y) = line
    model.eval()
    with pytest.raises(FloatingPointError, match=f"the loss is {name} at step 2: try a smaller lr"):
        fit(model, [(x, y), (x, scale * y)], mse_loss, sgd(model), epochs=5)
    assert model.weight.item() == pytest.approx(1.0)  # one step, and no more
    assert not model.training


def test_an_iterator_would_be_empty_at_the_second_epoch(line):
    model, data = line
    with pytest.raises(TypeError, match="batches must be iterable anew each epoch, got generator"):
        fit(model, (batch for batch in [data]), mse_loss, sgd(model))


def test_batches_hold_each_sample_once_in_a_new_order_each_pass():
    x = torch.arange(10)
    batches = Batches(x, 10 * x, size=4, generator=torch.Generator().manual_seed(0))
    assert len(batches) == 3
    passes = [list(batches) for _ in range(2)]
    for some in passes:
        assert [len(a) for a, _ in some] == [4, 4, 2]
        assert all(torch.equal(b, 10 * a) for a, b in some)
        assert torch.equal(torch.cat([a for a, _ in some]).sort().values, x)
    assert not torch.equal(passes[0][0][0], passes[1][0][0])
