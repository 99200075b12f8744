"""The variants against PEFT's, on the same tensors; and the bottleneck adapter by hand."""

import math

import peft
import pytest
import torch
from helpers import assert_near, attempt, error_of, randn, relative, scramble
from hypothesis import given
from hypothesis import strategies as st
from peft.optimizers import create_loraplus_optimizer
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_edu import adapt
from lora_edu.adapt import LoraConfig, add_lora
from lora_edu.checkpoint import save_adapter
from lora_edu.layers import LoRALinear
from lora_edu.variants import BottleneckAdapter, DoRALinear, init_pissa, loraplus_groups, to_dora

SAME = {"target_modules": ["0", "2"], "r": 3, "lora_alpha": 6.0}
DORA, PISSA = {"use_dora": True}, {"init_lora_weights": "pissa"}
X = randn(7, 10)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 6))


def ours(**options):
    return add_lora(network(), LoraConfig(**SAME | options))


def theirs(**options):
    return peft.get_peft_model(network(), peft.LoraConfig(**SAME | options))


def parts(layer):
    """Return what trains in a layer, ours or PEFT's, in one order."""
    if isinstance(layer, DoRALinear):
        return [*parts(layer.lora), layer.magnitude]
    if isinstance(layer, LoRALinear):
        return [layer.lora_A, layer.lora_B]
    modules = layer.lora_A, layer.lora_B, layer.lora_magnitude_vector
    return [module.default.weight for module in modules if module]


CHOICES = {"DoRA": DORA, "PiSSA": PISSA, "both": DORA | PISSA}


@pytest.mark.parametrize("options", CHOICES.values(), ids=CHOICES)
def test_outputs_and_gradients_are_pefts(options):
    model, other = ours(**options), theirs(**options)
    assert relative(model(X), network()(X)) < 1e-5  # where all of them start
    own = parts(model[0]) + parts(model[2])
    their = parts(other.base_model.model[0]) + parts(other.base_model.model[2])
    if "init_lora_weights" in options:
        assert_near(own, their, 1e-5)  # the strongest directions, in equal parts
    for seed, (tensor, twin) in enumerate(zip(own, their, strict=True)):
        tensor.data = randn(*tensor.shape, seed=seed)
        twin.data = tensor.data.clone()
    assert_near([model(X)], [other(X)], 1e-5)
    for y in (model(X), other(X)):
        y.square().sum().backward()
    assert_near([t.grad for t in own], [t.grad for t in their], 1e-4)


# LoRA+ and PiSSA


@pytest.mark.parametrize("options", [{}, DORA, {"modules_to_save": ["2"], "target_modules": ["0"]}])
def test_the_groups_of_loraplus_are_pefts(options):
    optimizer = create_loraplus_optimizer(
        theirs(**options), torch.optim.AdamW, lr=0.01, loraplus_lr_ratio=4
    )
    rates = []
    for groups in (loraplus_groups(ours(**options), lr=0.01, ratio=4), optimizer.param_groups):
        rates.append(sorted((g["lr"], tuple(p.shape)) for g in groups for p in g["params"]))
    assert rates[0] == rates[1]


def test_a_weight_in_two_places_is_not_split():
    """PEFT splits it in both of them, so that the outputs are others from the start."""

    def tied():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(8, 6), nn.Linear(6, 8, bias=False))
        model[1].weight = model[0].weight
        return model

    fields, tokens = {"target_modules": ["1"], "r": 3} | PISSA, torch.arange(8)
    other = peft.get_peft_model(tied(), peft.LoraConfig(**fields))
    assert relative(other(tokens), tied()(tokens)) > 0.1
    message = "ValueError: 1 shares its weight, so PiSSA changes others: clone it first"
    assert attempt(add_lora, tied(), LoraConfig(**fields))[1] == message


def test_a_model_made_pissa_by_hand_is_saved_as_such(tmp_path):
    model = ours()
    init_pissa(model)
    save_adapter(model, tmp_path)
    saved = peft.LoraConfig.from_pretrained(tmp_path)
    assert saved.init_lora_weights == "pissa"


# DoRA, and coming back


def test_doras_base_comes_back_and_pissas_does_not():
    assert torch.equal(adapt.unload(scramble(ours(**DORA), 1))(X), network()(X))
    said = attempt(adapt.unload, scramble(ours(**PISSA), 1))[1]
    assert "pissa's base is only a part of W0: merge it" in said


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.booleans(), st.integers(0, 99))
def test_the_rows_of_doras_weight_are_as_long_as_its_magnitudes(d, k, r, bias, seed):
    torch.manual_seed(seed)
    base, x = nn.Linear(k, d, bias=bias).double(), randn(5, k).double()
    layer = DoRALinear(LoRALinear(base, r, 2.0))
    layer.lora.lora_B.data.normal_()
    W, bias = layer.weight, layer.lora.bias  # V may be almost nothing
    assert torch.allclose(W.norm(dim=1), layer.magnitude, atol=1e-5)
    assert torch.allclose(layer(x), nn.functional.linear(x, W, bias), atol=1e-4)
    layer.lora.merge()
    assert torch.allclose(layer.weight, W, atol=1e-4)
    assert torch.allclose(layer.eval()(x), nn.functional.linear(x, W, bias), atol=1e-4)


def test_a_row_of_zeros_has_no_direction_and_finite_gradients():
    """PEFT divides 0 by 0."""
    base = nn.Linear(4, 3)
    nn.init.zeros_(base.weight[:1])
    layer = DoRALinear(LoRALinear(base, 2, 2.0))
    assert not layer.weight[0].any()
    layer(torch.ones(1, 4)).sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters() if p.requires_grad)


def test_a_merged_dora_layer_loads_nothing():
    model = scramble(ours(**DORA), 1)
    adapt.merge(model)
    message = "RuntimeError: 0 is merged: unmerge() before loading"
    assert attempt(nn.Module.load_state_dict, model, ours(**DORA).state_dict())[1] == message


# The bottleneck adapter


@pytest.mark.parametrize("conv", [False, True])
def test_a_bottleneck_adapter_by_its_equation(conv):
    base = Conv1D(4, 10).double() if conv else nn.Linear(10, 4).double()
    layer, x = BottleneckAdapter(base, 3), X.double()
    assert torch.equal(layer(x), base(x))  # where it starts
    for parameter in layer.parameters():
        parameter.data.normal_()
    h = base(x)
    z = h @ layer.down.weight.T + layer.down.bias
    gelu = z * (1 + torch.erf(z / math.sqrt(2))) / 2
    assert relative(layer(x), h + gelu @ layer.up.weight.T + layer.up.bias) < 1e-12
    learning = {name for name, p in layer.named_parameters() if p.requires_grad}
    assert learning == {"down.weight", "down.bias", "up.weight", "up.bias"}


def packed():
    model = ours()
    codes = torch.zeros(24, 1, dtype=torch.uint8)  # two numbers in a byte, as bitsandbytes has it
    model[2].base.weight = nn.Parameter(codes, requires_grad=False)
    return model


BAD_INPUT = [
    (lambda: loraplus_groups(ours(), 0), "ValueError: lr must be greater than 0, got 0"),
    (lambda: loraplus_groups(ours(), 1, -2), "ValueError: ratio must be greater than 0, got -2"),
    (lambda: init_pissa(ours(r=7)), "ValueError: r must be at most 6 for PiSSA of 2, got 7"),
    (lambda: DoRALinear(nn.ReLU()), "TypeError: lora must be a LoRALinear, got ReLU"),
    (lambda: to_dora(ours(**DORA)), "ValueError: model has DoRA layers already"),
    (lambda: adapt.merge(packed()), "RuntimeError: Linear has no dense weight"),
    (lambda: BottleneckAdapter(X, 1), "TypeError: base must be nn.Linear or Conv1D, got Tensor"),
    (lambda: BottleneckAdapter(nn.Linear(6, 4), 0), "ValueError: r must be at least 1, got 0"),
]


@pytest.mark.parametrize(("call", "message"), BAD_INPUT)
def test_bad_input_is_named(call, message):
    assert error_of(call) == message


def test_layers_of_two_kinds_are_not_saved_as_one(tmp_path):
    model = ours()
    model[2] = DoRALinear(model[2])
    assert "of one kind to be saved, but 0 has" in error_of(save_adapter, model, tmp_path / "x")
    assert not (tmp_path / "x").exists()
