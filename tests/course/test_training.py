"""The training loop, against steps by hand; batches that hold each sample once a pass."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lora_edu.course.training import Batches, fit


def half_squares(y, target):
    return ((y - target) ** 2).sum() / (2 * len(y))


@pytest.fixture
def line():
    """A model with one weight, 0, and the data of y = 2x: L = (w - 2)² · mean(x²) / 2."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    x = torch.tensor([[1.0], [2.0]])  # mean(x²) = 2.5
    return model, (x, 2 * x)


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr)


def test_steps_and_losses_by_hand(line):
    # w: 0, then 0 + 0.2 · 2.5 · (2 - 0) = 1, then 1.5. L = 1.25 (w - 2)²: 5, 1.25, 0.3125.
    model, data = line
    history = fit(model, [data], half_squares, sgd(model, lr=0.2), epochs=3)
    assert history.loss == pytest.approx([5, 1.25, 0.3125])
    assert model.weight.item() == pytest.approx(1.75)
    assert history.validation == []


def test_a_data_loader_serves_as_well(line):
    model, data = line
    loader = DataLoader(TensorDataset(*data), batch_size=2)
    history = fit(model, loader, half_squares, sgd(model, lr=0.2), epochs=3)
    assert history.loss == pytest.approx([5, 1.25, 0.3125])


@pytest.mark.parametrize("mode", [True, False])
def test_it_trains_in_train_mode_and_validates_in_eval_mode_without_gradients(line, mode):
    model, data = line
    seen = []
    model.register_forward_hook(lambda model, *_: seen.append((model.training, "step")))

    def validate(model):
        seen.append((model.training, torch.is_grad_enabled()))
        return torch.tensor(len(seen))

    model.train(mode)
    history = fit(model, [data, data], half_squares, sgd(model), epochs=2, validate=validate)
    assert seen == [(True, "step"), (True, "step"), (False, False)] * 2
    assert model.training is mode
    assert history.validation == [3.0, 6.0]
    assert all(type(value) is float for value in history.validation)


@pytest.mark.parametrize(("scale", "name"), [(math.nan, "nan"), (math.inf, "inf")])
def test_a_loss_that_is_not_finite_stops_before_the_step(line, scale, name):
    model, (x, y) = line
    model.eval()
    with pytest.raises(FloatingPointError, match=f"the loss is {name} at step 2: try a smaller lr"):
        fit(model, [(x, y), (x, scale * y)], half_squares, sgd(model, lr=0.2), epochs=5)
    assert model.weight.item() == pytest.approx(1.0)  # one step, and no more
    assert not model.training


def test_an_iterator_would_be_empty_at_the_second_epoch(line):
    model, data = line
    with pytest.raises(TypeError, match="batches must be iterable anew each epoch, got generator"):
        fit(model, (batch for batch in [data]), half_squares, sgd(model))


def made(*tensors, seed=0):
    return Batches(*tensors, size=4, generator=torch.Generator().manual_seed(seed))


def test_batches_hold_each_sample_once_in_a_new_order_each_pass():
    x = torch.arange(10)
    batches = made(x, 10 * x)
    assert len(batches) == 3
    passes = [list(batches) for _ in range(2)]
    for some in passes:
        assert [len(a) for a, _ in some] == [4, 4, 2]
        assert all(torch.equal(b, 10 * a) for a, b in some)
        assert torch.equal(torch.cat([a for a, _ in some]).sort().values, x)
    assert not torch.equal(passes[0][0][0], passes[1][0][0])


NO_BATCHES = [
    ([3, 4], 2, r"tensors must be of one length, at least 1, got lengths \[3, 4\]"),
    ([], 2, r"at least 1, got lengths \[\]"),
    ([3], 0, "size must be at least 1, got 0"),
]


@pytest.mark.parametrize(("lengths", "size", "message"), NO_BATCHES)
def test_batches_that_cannot_be_made(lengths, size, message):
    with pytest.raises(ValueError, match=message):
        Batches(*map(torch.zeros, lengths), size=size, generator=torch.Generator())
