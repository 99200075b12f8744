"""The variants: where they start, what they compute and what they train."""

import math

import pytest
import torch
from torch import nn

from lora_edu import counting
from lora_edu.course.variants import BottleneckAdapter


def test_a_bottleneck_adapter_starts_as_the_identity():
    base, x = nn.Linear(6, 4), torch.randn(3, 5, 6)
    assert torch.equal(BottleneckAdapter(base, 2)(x), base(x))


def test_a_bottleneck_adapter_by_hand():
    layer = BottleneckAdapter(nn.Linear(2, 2, bias=False), 1)
    with torch.no_grad():
        layer.base.weight.copy_(torch.tensor([[1.0, 2], [3, 4]]))
        layer.down.weight.copy_(torch.tensor([[1.0, -1]]))
        layer.down.bias.fill_(5)
        layer.up.weight.copy_(torch.tensor([[10.0], [0]]))
        layer.up.bias.copy_(torch.tensor([0.5, -0.5]))
    # h = (3, 7); down: 3 - 7 + 5 = 1; gelu(1) = Φ(1)
    gelu = 0.5 * (1 + math.erf(2**-0.5))
    torch.testing.assert_close(
        layer(torch.tensor([1.0, 1])), torch.tensor([3 + 10 * gelu + 0.5, 6.5])
    )


def test_it_trains_its_own_parameters_only_and_as_many_as_counted():
    layer = BottleneckAdapter(nn.Linear(24, 10), 3)
    trained = {n: p.numel() for n, p in layer.named_parameters() if p.requires_grad}
    assert sum(trained.values()) == counting.bottleneck_parameters(10, 3, sites=1)
    assert not any(name.startswith("base") for name in trained)
    layer(torch.randn(4, 24)).square().sum().backward()
    assert layer.up.weight.grad.any()
    assert layer.base.weight.grad is None


def test_no_linear_layer_does_the_same():
    layer = BottleneckAdapter(nn.Linear(3, 3, bias=False), 2).double()
    nn.init.normal_(layer.up.weight)
    x, zero = torch.randn(2, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    affine = layer(x[0]) + layer(x[1]) - layer(zero)
    assert not torch.allclose(layer(x[0] + x[1]), affine)


def test_it_takes_conv1d_and_the_dtype_of_its_base():
    Conv1D = pytest.importorskip("transformers.pytorch_utils").Conv1D  # noqa: N806
    layer = BottleneckAdapter(Conv1D(4, 6).to(torch.bfloat16), 2)
    assert layer(torch.randn(1, 6, dtype=torch.bfloat16)).shape == (1, 4)
    assert layer.down.weight.dtype is torch.bfloat16


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="r must be at least 1, got 0"):
        BottleneckAdapter(nn.Linear(2, 2), 0)
    with pytest.raises(TypeError, match=r"must be nn\.Linear or Conv1D, got Embedding"):
        BottleneckAdapter(nn.Embedding(2, 2), 1)
