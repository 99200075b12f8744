"""The helpers of the experiments."""

import pytest
import torch

from lora_edu.adapt import lora_layers
from lora_edu.course.beyond_lora import experiments as lab
from lora_edu.course.datasets import digits, mlp

METHODS = (
    "full", "lora", "lora alpha=32", "lora r=64", "rslora", "rslora r=64", "lora+", "pissa",
    "random start", "dora", "nf4", "lora-fa",
)  # fmt: skip


@pytest.fixture
def base():
    return mlp(64, 32, 16, 10, seed=0)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_starts_where_the_base_is(base, method):
    if method == "lora r=64":
        assert lora_layers(lab.prepare(base, method, 0))["fc1"].scaling == 8 / 64
    model, x = lab.prepare(base.double() if method != "nf4" else base, method, 0), torch.rand(5, 64)
    x = x.to(base.fc1.weight.dtype)
    near = 0.2 if method == "nf4" else 1e-5
    assert (model(x) - base(x)).abs().max() < near
    assert not any(p.requires_grad for n, p in model.named_parameters() if n.endswith("bias"))


def test_the_random_start_has_pissas_sizes_and_other_directions(base):
    one, two = (lora_layers(lab.prepare(base, m, 0)) for m in ("pissa", "random start"))
    for name in one:
        deltas = [layers[name].delta_weight().detach() for layers in (one, two)]
        sigma = [torch.linalg.svdvals(delta)[:8] for delta in deltas]
        assert torch.allclose(*sigma, rtol=1e-4)
        assert (deltas[0] - deltas[1]).norm() > 0.5 * deltas[0].norm()
        assert torch.allclose(two[name].base.weight + deltas[1], base.get_submodule(name).weight,
                              atol=1e-5)  # fmt: skip


def test_a_run_learns_and_leaves_the_base_alone(base):
    before = base.fc1.weight.clone()
    _, curve = lab.adapt(base, digits(), "lora+", 3e-3, seed=0, epochs=3)
    assert torch.equal(base.fc1.weight, before)
    assert len(curve) == 3
    assert curve[-1] > 0.6
