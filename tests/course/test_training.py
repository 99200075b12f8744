"""The training loop, against steps by hand; batches that hold each sample once a pass."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from lora_edu import reference
from lora_edu.course.training import Batches, fit
from lora_edu.layers import LoRALinear


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


def test_it_does_what_the_reference_does_by_hand():
    rng = np.random.default_rng(0)
    W0, x, target, B = (rng.normal(size=shape) for shape in [(4, 6), (9, 6), (9, 4), (4, 2)])
    base = nn.Linear(6, 4, bias=False, dtype=torch.float64)
    base.weight.data = torch.tensor(W0)
    layer = LoRALinear(base, r=2, lora_alpha=3)
    layer.lora_B.data = torch.tensor(B)
    A = layer.lora_A.detach().numpy().copy()
    data = torch.tensor(x), torch.tensor(target)
    strips = torch.optim.SGD([layer.lora_A, layer.lora_B], lr=0.1)
    fit(layer, [data], half_squares, strips, epochs=5)
    for _ in range(5):
        G = (reference.forward(x, W0, A, B, 1.5) - target) / len(x)
        gradients = reference.backward(G, x, W0, A, B, 1.5)
        A, B = A - 0.1 * gradients.lora_A, B - 0.1 * gradients.lora_B
    np.testing.assert_allclose(layer.lora_A.detach(), A, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(layer.lora_B.detach(), B, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(layer.base.weight, W0)


def test_only_what_the_optimizer_holds_is_trained():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    before = [p.detach().clone() for p in model.parameters()]
    fit(model, [(torch.randn(5, 3), torch.randn(5, 2))], mse_loss, sgd(model[2]))
    same = [torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True)]
    assert same == [True, True, False, False]


def test_a_model_may_have_several_inputs_and_a_data_loader():
    class Masked(nn.Linear):
        def forward(self, hidden, mask):
            return super().forward((hidden * mask[..., None]).sum(1))

    hidden, mask = torch.randn(10, 4, 3), torch.randint(2, (10, 4)).float()
    data = TensorDataset(hidden, mask, torch.randint(2, (10,)))
    model = Masked(3, 2)
    loader = DataLoader(data, batch_size=4)
    history = fit(model, loader, nn.CrossEntropyLoss(), sgd(model), epochs=20)
    assert len(history.loss) == 20 * 3
    assert np.mean(history.loss[-3:]) < np.mean(history.loss[:3])


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


def test_batches_are_drawn_from_their_own_generator_alone():
    x = torch.arange(50)
    first, again, other = (
        torch.cat([batch for (batch,) in made(x, seed=seed)]) for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("lengths", "size", "message"),
    [
        ([3, 4], 2, r"tensors must be of one length, at least 1, got lengths \[3, 4\]"),
        ([0], 2, r"at least 1, got lengths \[0\]"),
        ([], 2, r"at least 1, got lengths \[\]"),
        ([3], 0, "size must be at least 1, got 0"),
    ],
)
def test_batches_that_cannot_be_made(lengths, size, message):
    with pytest.raises(ValueError, match=message):
        Batches(*map(torch.zeros, lengths), size=size, generator=torch.Generator())
