"""The variants against PEFT's, on the same tensors; and the bottleneck adapter by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_edu import counting
from lora_edu.adapt import (
    LoraConfig,
    adapter_tensors,
    add_lora,
    count_parameters,
    lora_layers,
    merge,
    merge_and_unload,
    swap_adapter,
    unload,
)
from lora_edu.checkpoint import load_adapter, save_adapter
from lora_edu.layers import LoRALinear
from lora_edu.variants import (
    BottleneckAdapter,
    DoRALinear,
    init_pissa,
    loraplus_groups,
    to_dora,
)

R, ALPHA = 3, 6.0


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 6))


def ours(r=R, **options):
    config = LoraConfig(target_modules=["0", "2"], r=r, lora_alpha=ALPHA, **options)
    return add_lora(network(), config)


def theirs(r=R, **options):
    import peft

    config = peft.LoraConfig(target_modules=["0", "2"], r=r, lora_alpha=ALPHA, **options)
    return peft.get_peft_model(network(), config)


def copy_adapter(model, other):
    """Fill both factors with the same numbers, and return the pairs of layers."""
    generator = torch.Generator().manual_seed(1)
    pairs = []
    for name, layer in lora_layers(model).items():
        found = other.base_model.model.get_submodule(name.removesuffix(".lora"))
        for own, their in (
            (layer.lora_A, found.lora_A.default.weight),
            (layer.lora_B, found.lora_B.default.weight),
        ):
            own.data = torch.randn(own.shape, generator=generator)
            their.data = own.data.clone()
        pairs.append((layer, found))
    return pairs


def inputs():
    return torch.randn(7, 10, generator=torch.Generator().manual_seed(2))


def relative(one, two):
    return ((one - two).abs().max() / two.abs().max()).item()


# -- rsLoRA, DoRA -----------------------------------------------------------------------------


def test_rslora_is_pefts():
    model, other = ours(use_rslora=True), theirs(use_rslora=True)
    copy_adapter(model, other)
    assert relative(model(inputs()), other(inputs())) < 1e-6


def test_dora_starts_at_w0_and_is_pefts_in_outputs_and_gradients():
    model, other = to_dora(ours()), theirs(use_dora=True)
    assert relative(model(inputs()), network()(inputs())) < 1e-6
    pairs = copy_adapter(model, other)
    for number, (_, found) in zip(("0", "2"), pairs, strict=True):
        magnitude = model.get_submodule(number).magnitude
        start = found.lora_magnitude_vector.default.weight
        assert torch.allclose(magnitude, start)
        magnitude.data *= torch.linspace(0.5, 2, len(magnitude))
        start.data = magnitude.data.clone()
    y, right = model(inputs()), other(inputs())
    assert relative(y, right) < 1e-6
    for out in (y, right):
        out.square().sum().backward()
    for number, (layer, found) in zip(("0", "2"), pairs, strict=True):
        for own, their in (
            (layer.lora_A, found.lora_A.default.weight),
            (layer.lora_B, found.lora_B.default.weight),
            (
                model.get_submodule(number).magnitude,
                found.lora_magnitude_vector.default.weight,
            ),
        ):
            assert relative(own.grad, their.grad) < 1e-5


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(0, 99))
def test_the_rows_of_doras_weight_are_as_long_as_its_magnitudes(d, k, r, seed):
    torch.manual_seed(seed)
    layer = DoRALinear(LoRALinear(nn.Linear(k, d).double(), r, 2.0))  # V may be almost nothing
    layer.lora.lora_B.data.normal_()
    W, x = layer.weight, torch.randn(5, k, dtype=torch.float64)
    assert torch.allclose(W.norm(dim=1), layer.magnitude.abs(), atol=1e-5)
    plain = nn.functional.linear(x, W, layer.lora.base.bias)
    assert torch.allclose(layer(x), plain, atol=1e-4)


def test_dora_of_a_merged_layer_is_the_same():
    model = to_dora(ours())
    for layer in lora_layers(model).values():
        layer.lora_B.data.normal_()
    before = model(inputs())
    weight = model[0].weight
    merge(model)
    model.eval()
    assert relative(model(inputs()), before) < 1e-5
    assert relative(model[0].weight, weight) < 1e-5


@pytest.mark.parametrize("method", ["lora", "dora", "lora-fa"])
def test_counts_are_those_of_counting_and_of_peft(method):
    model, other = ours(), theirs(use_dora=method == "dora")
    if method == "dora":
        to_dora(model)
    if method == "lora-fa":
        from peft.optimizers import create_lorafa_optimizer

        for layer in lora_layers(model).values():
            layer.lora_A.requires_grad_(False)
        create_lorafa_optimizer(other, r=R, lora_alpha=ALPHA, lr=1e-3)  # freezes lora_A
    counted = counting.count(network(), R, ["0", "2"], method)
    assert count_parameters(model) == (counted.trainable, counted.all)
    assert other.get_nb_trainable_parameters() == (counted.trainable, counted.all)


# -- LoRA+, PiSSA, LoRA-FA --------------------------------------------------------------------


@pytest.mark.parametrize("use_dora", [False, True])
def test_the_groups_of_loraplus_are_pefts(use_dora):
    from peft.optimizers import create_loraplus_optimizer

    model, other = ours(), theirs(use_dora=use_dora)
    if use_dora:
        to_dora(model)
    groups = loraplus_groups(model, lr=0.01, ratio=4)
    optimizer = create_loraplus_optimizer(other, torch.optim.AdamW, lr=0.01, loraplus_lr_ratio=4)
    found = [
        (group["lr"], tuple(p.shape)) for group in optimizer.param_groups for p in group["params"]
    ]
    own = [(group["lr"], tuple(p.shape)) for group in groups for p in group["params"]]
    assert sorted(own) == sorted(found)
    assert sum(rate == 0.01 for rate, _ in own) == 2  # one lora_A a layer


def test_a_trained_head_has_the_rate_of_a_and_its_bias_that_of_b():
    config = LoraConfig(target_modules=["0"], r=R, lora_alpha=ALPHA, modules_to_save=["2"])
    slow, fast = loraplus_groups(add_lora(network(), config), 0.1, 2)
    assert [tuple(p.shape) for p in slow["params"]] == [(R, 10), (6, 8)]
    assert [tuple(p.shape) for p in fast["params"]] == [(8, R), (6,)]
    assert fast["lr"] == 0.2


@pytest.mark.parametrize(
    ("lr", "ratio", "message"), [(0, 16, "lr"), (-1, 16, "lr"), (1, -2, "ratio")]
)
def test_loraplus_refuses_rates_that_do_not_train(lr, ratio, message):
    with pytest.raises(ValueError, match=f"{message} must be greater than 0, got"):
        loraplus_groups(ours(), lr, ratio)


def test_dora_is_made_of_a_lora_layer():
    with pytest.raises(TypeError, match="lora must be a LoRALinear, got Linear"):
        DoRALinear(nn.Linear(3, 2))


def test_pissa_is_pefts():
    model, other = ours(), theirs(init_lora_weights="pissa")
    init_pissa(model)
    assert relative(model(inputs()), network()(inputs())) < 1e-5
    for name, layer in lora_layers(model).items():
        found = other.base_model.model.get_submodule(name)
        assert torch.allclose(layer.base.weight, found.base_layer.weight, atol=1e-6)
        assert torch.allclose(layer.delta_weight(), found.get_delta_weight("default"), atol=1e-6)
        assert relative(layer.lora_A.abs(), found.lora_A.default.weight.abs()) < 1e-4


def test_pissa_takes_the_strongest_directions():
    model, plain = ours(), network()
    init_pissa(model)
    for name, layer in lora_layers(model).items():
        sigma = torch.linalg.svdvals(plain.get_submodule(name).weight)
        assert torch.allclose(torch.linalg.svdvals(layer.delta_weight())[:R], sigma[:R], atol=1e-5)
        rest = torch.linalg.svdvals(layer.base.weight)
        assert torch.allclose(rest[: len(sigma) - R], sigma[R:], atol=1e-5)


def test_pissa_refuses_more_rank_than_there_is():
    with pytest.raises(ValueError, match="r must be at most 8 for PiSSA of 0, got 9"):
        init_pissa(ours(r=9))


# -- what a variant says of itself ------------------------------------------------------------


def trained(change):
    """Return a model that ``change`` made, after some steps."""
    model = ours()
    change(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (model(inputs()) - 1).square().mean().backward()
        optimizer.step()
    return model


@pytest.mark.parametrize(
    "change",
    [init_pissa, to_dora, lambda model: (init_pissa(model), to_dora(model))],
    ids=["PiSSA", "DoRA", "both"],
)
def test_what_is_saved_both_load(change, tmp_path):
    import peft

    model = trained(change)
    save_adapter(model, tmp_path)
    theirs = peft.PeftModel.from_pretrained(network(), tmp_path)
    assert relative(theirs(inputs()), model(inputs())) < 1e-5
    again = load_adapter(network(), tmp_path)
    assert relative(again(inputs()), model(inputs())) < 1e-5
    plain = merge_and_unload(again)
    assert type(plain[0]) is nn.Linear
    assert relative(plain(inputs()), model(inputs())) < 1e-5


def test_doras_base_comes_back_and_pissas_does_not():
    model = trained(to_dora)
    base = unload(model)
    assert torch.equal(base(inputs()), network()(inputs()))
    model = trained(init_pissa)
    before = dict(model.named_modules())
    with pytest.raises(ValueError, match="PiSSA's base is only a part of W0: merge it"):
        unload(model)
    assert dict(model.named_modules()) == before


@pytest.mark.parametrize("base", [nn.Linear(5, 4).half(), Conv1D(4, 5)], ids=["half", "Conv1D"])
def test_a_base_that_is_written_anew_lies_as_before_and_has_its_dtype(base):
    torch.manual_seed(0)
    plain, x = nn.Sequential(base), torch.randn(3, 5).to(base.weight.dtype)
    options = {"use_dora": True, "init_lora_weights": "pissa"}
    before = plain(x), base.weight.shape, base.weight.dtype
    changed = add_lora(plain, LoraConfig(target_modules=["0"], r=2, **options))
    assert relative(changed(x), before[0]) < 1e-2
    merged = merge_and_unload(changed)[0]
    assert relative(merged(x), before[0]) < 1e-2
    assert before[1:] == (merged.weight.shape, merged.weight.dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_doras_weight_has_the_dtype_of_its_base(dtype):
    layer = DoRALinear(LoRALinear(nn.Linear(4, 3).to(dtype), 2, 2.0))
    assert layer.weight.dtype == layer(torch.ones(1, 4, dtype=dtype)).dtype == dtype


def test_dora_of_dora_is_refused():
    model = to_dora(ours())
    with pytest.raises(ValueError, match="DoRA layers already"):
        to_dora(model)
    assert isinstance(model[0].lora, LoRALinear)


def test_a_packed_base_has_no_dense_weight_and_refuses_to_merge():
    model = ours()
    codes = torch.zeros(24, 1, dtype=torch.uint8)  # two numbers in a byte, as bitsandbytes has it
    model[2].base.weight = nn.Parameter(codes, requires_grad=False)
    with pytest.raises(RuntimeError, match="Linear has no dense weight"):
        merge(model)
    assert not model[0].merged  # all of them, or none


def test_doras_weight_has_its_gradients():
    """For code that computes with it by itself: the same as those of its own forward."""
    layer = trained(to_dora)[0]
    x = inputs()
    learning = [p for p in layer.parameters() if p.requires_grad]
    ours = torch.autograd.grad(layer(x).square().sum(), learning)
    theirs = torch.autograd.grad(
        nn.functional.linear(x, layer.weight, layer.lora.bias).square().sum(), learning
    )
    assert len(ours) == 3
    for one, other in zip(ours, theirs, strict=True):
        assert relative(one, other) < 1e-5


def test_doras_magnitudes_are_a_part_of_its_adapter():
    model, other = trained(to_dora), to_dora(ours())
    tensors = {name: tensor.clone() for name, tensor in adapter_tensors(model).items()}
    assert sorted(tensors) == [
        f"{layer}.{own}"
        for layer in ("0", "2")
        for own in ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")
    ]
    assert relative(other(inputs()), model(inputs())) > 0.01
    swap_adapter(other, tensors)
    assert torch.equal(other(inputs()), model(inputs()))


def test_layers_of_two_kinds_are_not_saved_as_one(tmp_path):
    model = ours()
    model[2] = DoRALinear(model[2])
    with pytest.raises(ValueError, match=r"of one kind to be saved, but 0 has .*, 2 has .*dora"):
        save_adapter(model, tmp_path / "x")
    assert not (tmp_path / "x").exists()


# -- the bottleneck adapter ------------------------------------------------------------------


def test_a_bottleneck_adapter_starts_as_the_identity():
    base, x = nn.Linear(6, 4), torch.randn(3, 5, 6)
    assert torch.equal(BottleneckAdapter(base, 2)(x), base(x))


@pytest.mark.parametrize(("r", "error"), [(0, ValueError), (1.5, TypeError)])
def test_a_bottleneck_adapter_that_is_refused_leaves_the_layer_as_it_was(r, error):
    base = nn.Linear(6, 4)
    with pytest.raises(error):
        BottleneckAdapter(base, r)
    assert base.weight.requires_grad


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
