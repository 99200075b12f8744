"""LoRALinear: against the NumPy reference, the plain expression, autograd, PEFT and loralib."""

import copy
import warnings
from unittest import mock

import numpy as np
import peft
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.autograd import forward_ad
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from lora_edu import _fused, reference
from lora_edu.layers import LoRALinear, merge_layers

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def make(d=5, k=7, r=3, dtype=torch.float64, bias=True, conv=False, seed=0, **options):
    """Return a layer whose lora_B is not zero, with all of it in one dtype."""
    torch.manual_seed(seed)
    base = Conv1D(d, k) if conv else nn.Linear(k, d, bias=bias)
    if conv:
        nn.init.normal_(base.bias)
    layer = LoRALinear(base, r, lora_alpha=2 * r, **options).to(dtype)
    nn.init.normal_(layer.lora_B)
    return layer


def without_fast_path(layer, x):
    """What the layer computes where its fast path does not serve."""
    with mock.patch.object(_fused, "operands", return_value=None):
        return layer(x)


def plain(layer, x):
    """The equation as it stands: what the layer must equal, through autograd."""
    weight = layer.base.weight.T if isinstance(layer.base, Conv1D) else layer.base.weight
    y = F.linear(x, weight, layer.base.bias)
    return y + F.linear(F.linear(x, layer.lora_A), layer.lora_B) * layer.scaling


def run(layer, function, x, cotangent):
    """Return y and the gradients of x, lora_A and lora_B."""
    x = x.detach().requires_grad_()
    y = function(x)
    return y, *torch.autograd.grad(y, (x, layer.lora_A, layer.lora_B), cotangent)


def relative(ours, theirs):
    """The largest difference, relative to the largest entry."""
    assert ours.shape == theirs.shape
    if not ours.numel():
        return 0.0
    ours, theirs = ours.detach().double(), theirs.detach().double()
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-300)).item()


SHAPES = [(), (4,), (2, 3), (2, 3, 2), (2, 1, 3, 2), (0,), (2, 0, 3)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", ["bias", "no bias", "Conv1D"])
@pytest.mark.parametrize("leading", SHAPES, ids=str)
def test_fused_equals_plain(leading, kind, dtype):
    layer = make(dtype=dtype, bias=kind == "bias", conv=kind == "Conv1D")
    x, cotangent = torch.randn(*leading, 7).to(dtype), torch.randn(*leading, 5).to(dtype)
    ours, theirs = (run(layer, f, x, cotangent) for f in (layer, lambda x: plain(layer, x)))
    assert type(ours[0].grad_fn).__name__ == "_FusedBackward"
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        assert relative(one, other) <= TOLERANCE[dtype]
    with torch.no_grad():  # the path without autograd
        assert torch.equal(layer(x), ours[0])


def test_layer_equals_the_numpy_reference():
    layer = make()
    x, G = torch.randn(2, 3, 7, dtype=torch.float64), torch.randn(2, 3, 5, dtype=torch.float64)
    y, grad_x, grad_A, grad_B = (t.detach().numpy() for t in run(layer, layer, x, G))
    W0, bias, lora_A, lora_B = (
        t.detach().numpy() for t in (*layer.base.parameters(), layer.lora_A, layer.lora_B)
    )
    expected = reference.forward(x.numpy(), W0, lora_A, lora_B, layer.scaling, bias)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-13)
    gradients = reference.backward(G.numpy(), x.numpy(), W0, lora_A, lora_B, layer.scaling)
    for ours, theirs in zip((grad_A, grad_B, grad_x), gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    expected = reference.delta_weight(lora_A, lora_B, layer.scaling)
    np.testing.assert_allclose(layer.delta_weight().detach().numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("conv", [False, True])
def test_gradients_and_second_gradients_equal_finite_differences(conv):
    layer = make(d=3, k=4, r=2, conv=conv)
    x = torch.randn(2, 2, 4, dtype=torch.float64, requires_grad=True)
    names = ["lora_A", "lora_B"]

    def function(x, *factors):
        return torch.func.functional_call(layer, dict(zip(names, factors, strict=True)), (x,))

    arguments = (x, *(getattr(layer, n).detach().clone().requires_grad_() for n in names))
    assert torch.autograd.gradcheck(function, arguments)
    assert torch.autograd.gradgradcheck(function, arguments)


@pytest.mark.parametrize("frozen", [("x",), ("lora_A",), ("lora_B",), ("x", "lora_A")], ids=str)
def test_gradients_that_nobody_needs_are_not_made(frozen):
    layer = make()
    x = torch.randn(4, 7, dtype=torch.float64, requires_grad=True)
    expected = run(layer, layer, x, torch.ones(4, 5, dtype=torch.float64))[1:]
    tensors = {"x": x, "lora_A": layer.lora_A, "lora_B": layer.lora_B}
    for name in frozen:
        tensors[name].requires_grad_(False)
    layer(x).sum().backward()
    for (name, tensor), gradient in zip(tensors.items(), expected, strict=True):
        if name in frozen:
            assert tensor.grad is None
        else:
            assert torch.equal(tensor.grad, gradient)
    assert layer.base.weight.grad is None


def test_nothing_needs_a_gradient():
    layer = make().requires_grad_(False)
    x = torch.randn(4, 7, dtype=torch.float64)
    assert layer(x).grad_fn is None
    assert relative(layer(x), plain(layer, x)) < 1e-12


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.transpose(0, 1),
        lambda x: x[:, ::2],
        lambda x: x[:1].expand(5, -1, -1),
        lambda x: torch.cat((x, x), -1)[..., ::2],
    ],
    ids=["transposed", "strided", "expanded", "last axis strided"],
)
def test_inputs_that_are_not_contiguous(view):
    layer = make()
    x = view(torch.randn(4, 6, 7, dtype=torch.float64))
    cotangent = torch.randn(x.shape[1], x.shape[0], 5, dtype=torch.float64).transpose(0, 1)
    assert not x.is_contiguous()
    ours, theirs = (run(layer, f, x, cotangent) for f in (layer, lambda x: plain(layer, x)))
    for one, other in zip(ours, theirs, strict=True):
        assert relative(one, other) <= 1e-12


def test_output_can_be_changed_in_place():
    layer = make()
    x = torch.randn(2, 3, 7, dtype=torch.float64)
    y = layer(x)
    y.mul_(2)  # refused by autograd if y were a view
    assert relative(y, 2 * plain(layer, x)) < 1e-12
    y.sum().backward()


def test_backward_twice_over_one_graph():
    layer = make()
    y = layer(torch.randn(4, 7, dtype=torch.float64)).sum()
    y.backward(retain_graph=True)
    once = layer.lora_A.grad.clone(), layer.lora_B.grad.clone()
    y.backward()
    assert torch.equal(layer.lora_A.grad, 2 * once[0])
    assert torch.equal(layer.lora_B.grad, 2 * once[1])


def saved_bytes(layer, x):
    """Bytes that autograd keeps for the backward pass, each storage once, parameters left out."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = layer(x)
    assert y.requires_grad
    parameters = {p.untyped_storage().data_ptr() for p in layer.parameters()}
    return sum(size for pointer, size in kept.items() if pointer not in parameters)


@pytest.mark.parametrize("conv", [False, True])
def test_it_keeps_x_and_h_and_nothing_else(conv):
    layer = make(d=50, k=70, r=3, dtype=torch.float32, conv=conv)
    x = torch.randn(20, 70)
    assert saved_bytes(layer, x) == 4 * (20 * 70 + 20 * 3)


@pytest.mark.parametrize("inside", [False, True], ids=["backward outside", "backward inside"])
@pytest.mark.parametrize("conv", [False, True])
def test_autocast(conv, inside):
    layer = make(dtype=torch.float32, conv=conv)
    x, cotangent = torch.randn(2, 3, 7), torch.randn(2, 3, 5)
    results = []
    for function in (layer, lambda x: plain(layer, x)):
        layer.zero_grad()
        leaf = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = function(leaf)
            if inside:
                y.backward(cotangent.to(y.dtype))
        if not inside:
            y.backward(cotangent.to(y.dtype))
        results.append((y, leaf.grad, layer.lora_A.grad, layer.lora_B.grad))
    ours, theirs = results
    assert ours[0].dtype == torch.bfloat16
    assert type(ours[0].grad_fn).__name__ == "_FusedBackward"
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        assert relative(one, other) <= TOLERANCE[torch.bfloat16]


def test_autocast_leaves_float64_alone():
    layer = make()
    x = torch.randn(4, 7, dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert relative(layer(x), plain(layer, x)) <= 1e-12


def peft_layer(layer, dropout=0.0, **options):
    """PEFT's own layer with the same tensors."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = copy.deepcopy(layer.base)

        def forward(self, x):
            return self.fc(x)

    config = peft.LoraConfig(
        r=layer.r,
        lora_alpha=layer.lora_alpha,
        lora_dropout=dropout,
        use_rslora=layer.use_rslora,
        target_modules=["fc"],
        fan_in_fan_out=isinstance(layer.base, Conv1D),
    )
    theirs = peft.get_peft_model(Model(), config, **options).base_model.model.fc
    with torch.no_grad():
        theirs.lora_A["default"].weight.copy_(layer.lora_A)
        theirs.lora_B["default"].weight.copy_(layer.lora_B)
    return theirs


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("conv", [False, True])
def test_plain_equals_peft_bit_for_bit_and_fused_to_rounding(conv, rslora):
    layer = make(48, 64, 8, dtype=torch.float32, conv=conv, use_rslora=rslora)
    theirs = peft_layer(layer)
    assert theirs.scaling["default"] == layer.scaling
    x, cotangent = torch.randn(4, 16, 64), torch.randn(4, 16, 48)
    leaf = x.clone().requires_grad_()
    y = theirs(leaf)
    y.backward(cotangent)
    factors = theirs.lora_A["default"].weight.grad, theirs.lora_B["default"].weight.grad
    expected = (y, leaf.grad, *factors)
    unfused = run(layer, lambda x: without_fast_path(layer, x), x, cotangent)
    assert all(map(torch.equal, unfused, expected))
    fused = run(layer, layer, x, cotangent)
    assert relative(fused[0], expected[0]) <= 1e-6
    for ours, peft_gradient in zip(fused[1:], expected[1:], strict=True):
        assert relative(ours, peft_gradient) <= 1e-5
    theirs.merge()
    layer.merge()
    assert torch.equal(layer.base.weight, theirs.base_layer.weight)


def test_dropout_is_pefts_bit_for_bit_and_off_in_eval():
    layer = make(48, 64, 8, dtype=torch.float32, lora_dropout=0.5)
    theirs, x = peft_layer(layer, dropout=0.5), torch.randn(16, 64)
    torch.manual_seed(1)
    ours = layer(x)
    torch.manual_seed(1)
    assert torch.equal(ours, theirs(x))
    assert not torch.equal(ours, layer(x))  # another mask
    assert type(layer.eval()(x).grad_fn).__name__ == "_FusedBackward"
    layer.base.half()  # mixed dtypes: the plain path, which dropout is a part of
    assert torch.equal(layer(x.half()), layer(x.half()))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_base_gets_single_precision_factors_as_in_peft(half):
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(64, 48).to(half), r=8, lora_alpha=16)
    assert (layer.lora_A.dtype, layer.lora_B.dtype) == (torch.float32, torch.float32)
    nn.init.normal_(layer.lora_B)
    theirs, x = peft_layer(layer), torch.randn(16, 64).to(half)
    assert layer(x).dtype == half
    assert torch.equal(layer(x), theirs(x))
    layer.merge()
    theirs.merge()
    assert torch.equal(layer.base.weight, theirs.base_layer.weight)


def test_start_is_the_base_and_that_of_loralib_and_peft():
    torch.manual_seed(0)
    base = nn.Linear(384, 96)
    layer = LoRALinear(base, r=16, lora_alpha=16)
    x = torch.randn(4, 384)
    assert torch.equal(layer(x), base(x))
    assert not layer.lora_B.any()
    bound = 1 / 384**0.5  # kaiming_uniform with a = √5 over in_features
    assert 0.99 * bound < layer.lora_A.abs().max() <= bound
    assert layer.lora_A.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)
    before = layer.lora_A.clone()
    nn.init.ones_(layer.lora_B)
    layer.reset_lora_parameters()
    assert not layer.lora_B.any()
    assert not torch.equal(layer.lora_A, before)


def test_only_the_factors_train_and_scaling():
    layer = make(r=4)
    assert [n for n, p in layer.named_parameters() if p.requires_grad] == ["lora_A", "lora_B"]
    assert make(r=4).scaling == 2
    assert make(r=4, use_rslora=True).scaling == 4


def test_layer_by_hand():
    base = nn.Linear(2, 2)
    layer = LoRALinear(base, r=1, lora_alpha=2)
    with torch.no_grad():
        base.weight.copy_(torch.eye(2))
        base.bias.copy_(torch.tensor([100.0, 200.0]))
        layer.lora_A.copy_(torch.tensor([[1.0, 2.0]]))
        layer.lora_B.copy_(torch.tensor([[3.0], [4.0]]))
    assert layer.delta_weight().tolist() == [[6, 12], [8, 16]]
    assert layer(torch.ones(2)).tolist() == [119, 225]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_delta_weight_is_computed_in_single_precision_or_more(dtype):
    layer = make(dtype=dtype)
    delta, (A, B) = layer.delta_weight(), (t.double() for t in (layer.lora_A, layer.lora_B))
    assert delta.dtype == torch.promote_types(dtype, torch.float32)
    assert relative(delta, layer.scaling * B @ A) < 1e-6


# Merging


@pytest.mark.parametrize("conv", [False, True])
def test_merge_and_unmerge(conv):
    layer = make(conv=conv)
    x = torch.randn(4, 7, dtype=torch.float64)
    W0, storage = layer.base.weight.clone(), layer.base.weight.data_ptr()
    before = layer(x)
    assert layer.merged is False
    layer.merge()
    assert layer.merged is True
    assert layer.base.weight.data_ptr() == storage
    with torch.no_grad():
        assert relative(layer(x), before) < 1e-12
        assert torch.equal(layer(x), layer.base(x))
    layer.unmerge()
    assert layer.merged is False
    assert layer.base.weight.data_ptr() == storage
    assert relative(layer.base.weight, W0) < 1e-14


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_unmerge_leaves_at_most_the_two_roundings_it_says(dtype):
    layer = make(64, 64, dtype=torch.float32)
    layer.base.to(dtype)
    W0 = layer.base.weight.double()
    layer.merge()
    merged = layer.base.weight.double()
    layer.unmerge()
    u = torch.finfo(dtype).eps / 2
    error = (layer.base.weight.double() - W0).abs()
    tiny = 1e-6 * W0.abs().max()  # ΔW itself is computed in float32
    assert (error <= u * (merged.abs() + layer.base.weight.double().abs()) + tiny).all()
    assert error.max() > 0 or dtype == torch.float64


@pytest.mark.parametrize("scale", [1.0, 2.0**-16])  # the second: below float16's normal numbers
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@torch.no_grad()
def test_merging_moves_no_output_further_than_its_roundings(dtype, scale):
    """Merged, W and y are rounded to the type; apart, W0 x and y: 4 u, relative to S.

    Products are added up in float32 or better, one rounding a term. Below its smallest normal
    number a type has even steps: half of one, eta, a rounding.
    """
    layer, x = make(96, 64, dtype=dtype, bias=False), torch.randn(50, 64).to(dtype)
    layer.base.weight *= scale
    nn.init.normal_(layer.lora_B, std=0.02 * scale)
    info, (r, k), size = torch.finfo(dtype), layer.lora_A.shape, x.double().abs()
    W0, A, B = (t.double().abs() for t in (layer.base.weight, layer.lora_A, layer.lora_B))
    S = size @ (W0 + layer.scaling * B @ A).T
    u = info.eps / 2
    e = 4 * u + 2 * (k + r + 3) * min(u, 2**-24)
    eta = info.smallest_normal * u * (size.sum(1, keepdim=True) + 3)
    apart = layer(x).double()
    layer.merge()
    moved = (layer(x).double() - apart).abs()
    assert (moved <= e / (1 - e) * S + eta).all()
    assert moved.max() > 0
    if dtype == torch.float16 and scale < 1:
        assert (moved > e / (1 - e) * S).any()  # eta is needed


def test_a_repeat_is_refused():
    layer = make()
    with pytest.raises(RuntimeError, match="is not merged"):
        layer.unmerge()
    layer.merge()
    merged = layer.base.weight.clone()
    with pytest.raises(RuntimeError, match="is merged already"):
        layer.merge()
    assert torch.equal(layer.base.weight, merged)


def test_unmerge_subtracts_what_was_added_even_if_the_factors_have_changed_since():
    layer = make()
    W0 = layer.base.weight.clone()
    layer.merge()
    nn.init.normal_(layer.lora_A)
    layer.unmerge()
    assert relative(layer.base.weight, W0) < 1e-14


def test_a_merged_layer_refuses_to_train_and_predicts():
    layer = make()
    x = torch.randn(4, 7, dtype=torch.float64)
    layer.merge()
    with pytest.raises(RuntimeError, match=r"cannot train: unmerge\(\) first"):
        layer(x)
    with torch.no_grad():
        y = layer(x)
    assert torch.equal(layer.eval()(x), y)
    assert torch.equal(layer.train().requires_grad_(False)(x), y)


def test_merging_what_is_not_finite_is_refused_and_harms_nothing():
    layer = make()
    W0 = layer.base.weight.clone()
    layer.lora_A.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="must be finite"):
        layer.merge()
    assert torch.equal(layer.base.weight, W0)
    assert not layer.merged


@pytest.mark.parametrize(("W0", "B"), [(60_000, 60_000), (60_000, 10_016), (10_016, 60_000)])
def test_merging_what_half_precision_cannot_hold_is_refused(W0, B):
    layer = LoRALinear(nn.Linear(1, 1).half(), r=1, lora_alpha=1)
    with torch.no_grad():
        for tensor, value in ((layer.base.weight, W0), (layer.lora_A, 1), (layer.lora_B, B)):
            tensor.fill_(value)
    with pytest.raises(ValueError, match="must be finite"):
        layer.merge()
    assert layer.base.weight.item() == W0
    layer.lora_B.data.neg_()  # as large, but the sum can be held
    layer.merge()
    assert layer.base.weight.item() == W0 - B


@pytest.mark.parametrize("conv", [False, True])
def test_state_dict_counts_delta_weight_once_merged_or_not(conv):
    model, fresh = nn.Sequential(make(conv=conv)), nn.Sequential(make(conv=conv, seed=1))
    x = torch.randn(4, 7, dtype=torch.float64)
    before, state = model(x), {k: v.clone() for k, v in model.state_dict().items()}
    model[0].merge()
    merged = model.state_dict()
    assert list(merged) == list(state) == ["0.lora_A", "0.lora_B", "0.base.weight", "0.base.bias"]
    for name in state:
        assert relative(merged[name], state[name]) < 1e-14
    fresh.load_state_dict(merged)
    assert relative(fresh(x), before) < 1e-12
    with pytest.raises(RuntimeError, match=r"0 is merged: unmerge\(\) before loading"):
        model.load_state_dict(state)


# The world around


@pytest.mark.parametrize("merged", [False, True])
def test_deepcopy(merged):
    layer = make()
    x = torch.randn(4, 7, dtype=torch.float64)
    if merged:
        layer.merge()
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        assert torch.equal(twin(x), layer(x))
        if merged:
            twin.unmerge()
            assert relative(twin(x), layer(x)) < 1e-12
        twin.lora_B.zero_()
    assert layer.lora_B.any()
    assert layer.merged is merged


def test_to_another_dtype_while_merged():
    layer = make(dtype=torch.float64)
    W0 = layer.base.weight.clone()
    layer.merge()
    layer.to(torch.float32)
    layer.unmerge()
    assert layer.base.weight.dtype == torch.float32
    assert relative(layer.base.weight, W0) < 1e-6


def test_compile_takes_the_plain_path_in_one_graph():
    layer = make(dtype=torch.float32)
    x = torch.randn(2, 3, 7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        compiled = torch.compile(layer, backend="eager", fullgraph=True)
        y = compiled(x)
    assert torch.equal(y, without_fast_path(layer, x))
    y.sum().backward()
    assert layer.lora_A.grad is not None


def test_export():
    layer = make(dtype=torch.float32)
    x = torch.randn(2, 3, 7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(layer, (x,)).module()
    assert torch.equal(exported(x), without_fast_path(layer, x))


def test_an_unfrozen_base_gets_its_gradient():
    layer = make()
    layer.base.bias.requires_grad_()
    layer.base.weight.requires_grad_()
    layer(torch.ones(4, 7, dtype=torch.float64)).sum().backward()
    assert layer.base.bias.grad.tolist() == [4.0] * 5
    assert layer.base.weight.grad.tolist() == [[4.0] * 7] * 5


def test_hooks_and_a_replaced_forward_of_the_base_are_heard():
    layer = make()
    x, calls = torch.randn(4, 7, dtype=torch.float64), []
    handle = layer.base.register_forward_hook(lambda *_: calls.append("hook"))
    layer(x)
    handle.remove()
    layer(x)
    original = layer.base.forward
    layer.base.forward = lambda x: calls.append("forward") or original(x)
    layer(x)
    assert calls == ["hook", "forward"]


def test_a_factor_that_is_no_parameter_serves_as_well():
    """Pruning makes it a plain tensor, as does each replica of nn.DataParallel."""
    layer = make()
    x = torch.randn(4, 7, dtype=torch.float64)
    prune.random_unstructured(layer, "lora_A", amount=0.5)
    assert relative(layer(x), plain(layer, x)) <= 1e-12
    layer(x).sum().backward()
    assert layer.lora_A_orig.grad.count_nonzero() == layer.lora_A.count_nonzero() < 21


def test_a_module_that_computes_with_the_weight_itself_computes_with_lora():
    """nn.TransformerEncoderLayer does, without gradients: it has one kernel for the whole."""
    block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
    x = torch.randn(1, 3, 4)
    base = block(x)
    for name in ("linear1", "linear2"):
        layer = LoRALinear(getattr(block, name), r=1, lora_alpha=1)
        nn.init.normal_(layer.lora_B)
        setattr(block, name, layer)
    slow = block(x)
    with torch.no_grad():
        fast = block(x)
    assert relative(fast, slow) < 1e-6
    assert relative(fast, base) > 0.01


def test_the_weight_has_the_gradients_of_the_layer():
    layer, x = make(), torch.randn(4, 7, dtype=torch.float64)
    ours, theirs = (
        torch.autograd.grad(function(x).sin().sum(), (layer.lora_A, layer.lora_B))
        for function in (lambda x: F.linear(x, layer.weight, layer.bias), layer)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert relative(one, other) <= 1e-12


def test_the_weight_is_that_after_merging_in_the_dtype_of_the_base():
    layer = make(dtype=torch.float32)
    layer.base.half()
    weight, W0 = layer.weight, layer.base.weight.clone()
    layer.merge()
    assert weight.dtype == layer.weight.dtype == layer.state_dict()["base.weight"].dtype == W0.dtype
    assert relative(layer.weight, weight) < 1e-3
    assert relative(layer.weight, W0) > 0.1


# As torch's own: every transform and every tool that takes an nn.Linear


def numbers(layer):
    return {name: parameter.detach() for name, parameter in layer.named_parameters()}


def both(layer):
    """Return the layer, and the plain equation, as functions of parameters and x."""

    def ours(parameters, x):
        return torch.func.functional_call(layer, parameters, (x,))

    def theirs(parameters, x):
        y = F.linear(x, parameters["base.weight"], parameters["base.bias"])
        h = F.linear(x, parameters["lora_A"])
        return y + F.linear(h, parameters["lora_B"]) * layer.scaling

    return ours, theirs


TRANSFORMS = {
    "grad": lambda f, p, x: torch.func.grad(lambda p: f(p, x).sin().sum())(p),
    "vmap": lambda f, p, x: torch.func.vmap(f, (None, 0))(p, x),
    "vmap of grad": lambda f, p, x: torch.func.vmap(
        torch.func.grad(lambda p, x: f(p, x).sin().sum()), (None, 0)
    )(p, x),
    "an ensemble": lambda f, p, x: torch.func.vmap(f, (0, None))(
        {name: torch.stack([t, 2 * t]) for name, t in p.items()}, x
    ),
    "jvp": lambda f, p, x: torch.func.jvp(lambda x: f(p, x), (x,), (x.cos(),)),
    "vjp": lambda f, p, x: torch.func.vjp(lambda x: f(p, x), x)[1](f(p, x)),
    "jacrev": lambda f, p, x: torch.func.jacrev(f)(p, x),
    "jacfwd": lambda f, p, x: torch.func.jacfwd(f)(p, x),
    "hessian": lambda f, p, x: torch.func.hessian(lambda x: f(p, x).sin().sum())(x),
}


# What torch itself does when it differentiates forwards for the first time.
scripts = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@scripts
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_the_transforms_of_torch_func(transform):
    layer, x = make(), torch.randn(4, 7, dtype=torch.float64)
    ours, theirs = (transform(f, numbers(layer), x) for f in both(layer))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@scripts
def test_forward_mode_differentiation():
    layer, x = make(), torch.randn(4, 7, dtype=torch.float64)
    tangents = {name: torch.randn_like(t) for name, t in numbers(layer).items()}
    results = []
    for f in both(layer):
        with forward_ad.dual_level():
            dual = {n: forward_ad.make_dual(t, tangents[n]) for n, t in numbers(layer).items()}
            y = f(dual, forward_ad.make_dual(x, x.cos()))
            results.append(forward_ad.unpack_dual(y))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


@scripts
def test_finite_differences_agree_forwards_and_backwards():
    layer, x = make(3, 4, 2), torch.randn(2, 4, dtype=torch.float64, requires_grad=True)

    def function(x, lora_A, lora_B):
        parameters = {"lora_A": lora_A, "lora_B": lora_B}
        return torch.func.functional_call(layer, parameters, (x,)).sin()

    arguments = (x, layer.lora_A, layer.lora_B)
    assert torch.autograd.gradcheck(function, arguments, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, arguments, check_fwd_over_rev=True)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing(use_reentrant):
    layer, cotangent = make(lora_dropout=0.0), torch.randn(4, 5, dtype=torch.float64)
    x = torch.randn(4, 7, dtype=torch.float64)

    def again(x):
        return checkpoint(layer, x, use_reentrant=use_reentrant)

    expected = run(layer, layer, x, cotangent)
    leaf = x.clone().requires_grad_()
    y = again(leaf)
    y.backward(cotangent)
    for one, other in zip(
        (y, leaf.grad, layer.lora_A.grad, layer.lora_B.grad), expected, strict=True
    ):
        assert torch.equal(one, other)


@scripts
def test_tracing():
    layer, x = make(), torch.randn(4, 7, dtype=torch.float64)
    traced, other = torch.jit.trace(layer, (x,)), torch.randn(2, 7, dtype=torch.float64)
    assert relative(traced(other), layer(other)) <= 1e-12


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(("d", "k"), [(5, 0), (0, 7), (0, 0)])
def test_a_layer_without_features(d, k):
    layer, x = make(d, k), torch.randn(4, k, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    assert torch.equal(y, plain(layer, x))
    y.sum().backward()
    assert x.grad.shape == x.shape


def test_a_backward_pass_under_autocast_after_a_forward_pass_without():
    layer, x = make(dtype=torch.float32), torch.randn(4, 7, requires_grad=True)
    leaves = (x, layer.lora_A, layer.lora_B)
    expected = torch.autograd.grad(layer(x).sum(), leaves)
    y = layer(x).sum()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = torch.autograd.grad(y, leaves)
    assert all(map(torch.equal, found, expected))


def test_autocast_does_not_make_numbers_of_integers():
    layer = make(dtype=torch.float32)
    with torch.autocast("cpu"), pytest.raises(RuntimeError, match="dtype"):
        layer(torch.ones(2, 7, dtype=torch.long))


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class DoubledWeight(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        found = super().__torch_function__(function, types, args, kwargs or {})
        return 2 * found if function is F.linear else found


@pytest.mark.parametrize("of", ["class", "weight"])
def test_a_base_that_became_something_else_is_asked(of):
    layer, x = make(), torch.randn(4, 7, dtype=torch.float64)
    y, base = layer(x), layer.base(x)
    if of == "class":
        layer.base.__class__ = Doubled
    else:
        layer.base.bias = None
        base = layer.base(x)
        y = layer(x)
        layer.base._parameters["weight"] = layer.base.weight.detach().as_subclass(DoubledWeight)
    assert relative(layer(x).as_subclass(torch.Tensor), y + base) < 1e-14


def test_symbolic_tracing():
    layer, x = make(), torch.randn(4, 7, dtype=torch.float64)
    assert relative(torch.fx.symbolic_trace(nn.Sequential(layer))(x), layer(x)) < 1e-14


@pytest.mark.parametrize("autocast", [False, True])  # which does not know this device
def test_shapes_on_the_meta_device(autocast):
    layer, x = make().to("meta"), torch.empty(2, 3, 7, dtype=torch.float64, device="meta")
    with torch.autocast("cpu", enabled=autocast):
        y = layer(x.requires_grad_())
    y.sum().backward()
    assert (y.shape, x.grad.shape, layer.lora_A.grad.shape) == ((2, 3, 5), x.shape, (3, 7))


HOOKS = ["register_full_backward_hook", "register_full_backward_pre_hook"]
HOOKS += ["register_forward_hook", "register_forward_pre_hook"]


@pytest.mark.parametrize("register", HOOKS)
def test_hooks_on_the_base_fire_and_change_nothing(register):
    layer, x = make(), torch.randn(4, 7, dtype=torch.float64)
    expected, seen = run(layer, layer, x, torch.ones(4, 5, dtype=torch.float64)), []
    handle = getattr(layer.base, register)(lambda *arguments: seen.append(arguments))
    ours = run(layer, layer, x, torch.ones(4, 5, dtype=torch.float64))
    assert len(seen) == 1
    for one, other in zip(ours, expected, strict=True):
        assert relative(one, other) <= 1e-12
    handle.remove()
    assert type(layer(x).grad_fn).__name__ == "_FusedBackward"


def lost(change):
    """Return a layer whose base makes its weight anew at each call."""
    base = nn.Linear(4, 3)
    change(base)
    layer = LoRALinear(base, r=2, lora_alpha=2)
    nn.init.normal_(layer.lora_B)
    return layer


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "change",
    [
        lambda base: prune.random_unstructured(base, "weight", amount=0.5),
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
    ],
    ids=["pruned", "weight_norm", "spectral_norm"],
)
def test_a_base_that_makes_its_weight_anew_trains_and_refuses_to_merge(change):
    layer, x = lost(change).eval(), torch.randn(2, 4)
    expected = layer.base(x) + layer.scaling * x @ layer.lora_A.T @ layer.lora_B.T
    assert relative(layer(x), expected) < 1e-6
    with pytest.raises(RuntimeError, match="has no weight of its own that could hold ΔW"):
        layer.merge()
    assert not layer.merged
    assert torch.equal(layer(x), layer(x))


def test_a_base_that_is_pruned_while_merged_does_not_lose_what_to_unmerge():
    layer = make(dtype=torch.float32)
    layer.merge()
    prune.l1_unstructured(layer.base, "weight", amount=1)
    with pytest.raises(RuntimeError, match="has no weight of its own that could hold ΔW"):
        layer.unmerge()
    assert layer.merged


def test_hooks_on_all_modules_see_the_base_too():
    layer, seen = make(), []
    hook = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module))
    try:
        y = layer(torch.ones(2, 7, dtype=torch.float64))
    finally:
        hook.remove()
    assert seen == [layer.base, layer]
    assert relative(y, layer(torch.ones(2, 7, dtype=torch.float64))) <= 1e-12


@pytest.mark.parametrize("kind", ["of inference mode", "expanded"])
def test_a_weight_that_cannot_be_changed_in_place_is_not_merged(kind):
    """The layers before it stay as they are."""
    with torch.inference_mode(kind == "of inference mode"):
        base = nn.Linear(4, 4)
    if kind == "expanded":
        base.weight = nn.Parameter(torch.ones(1, 1).expand(4, 4))
    layers = [make(4, 4, dtype=torch.float32), LoRALinear(base, r=2, lora_alpha=2)]
    with pytest.raises(RuntimeError, match="has no weight of its own that could hold ΔW"):
        merge_layers(layers)
    assert not any(layer.merged for layer in layers)


@pytest.mark.parametrize("change", ["weight_norm", "spectral_norm", "orthogonal"])
def test_a_parametrized_base_is_refused(change):
    base = getattr(nn.utils.parametrizations, change)(nn.Linear(4, 4))
    with pytest.raises(TypeError, match=r"nn\.Linear or Conv1D, got ParametrizedLinear"):
        LoRALinear(base, r=2, lora_alpha=2)


def test_repr_says_what_there_is():
    text = repr(make(use_rslora=True))
    for part in ("in_features=7", "out_features=5", "r=3", "lora_alpha=6", "merged=False"):
        assert part in text


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"base": nn.Embedding(3, 3)}, TypeError, "base must be nn.Linear or Conv1D, got Embedd"),
        ({"base": nn.MultiheadAttention(4, 2).out_proj}, TypeError, "got NonDynamicallyQuant"),
        ({"base": make()}, TypeError, "got LoRALinear"),
        ({"base": type("Conv1D", (nn.Linear,), {})(3, 3)}, TypeError, "got Conv1D"),
        ({"base": nn.Linear(3, 3, dtype=torch.complex64)}, TypeError, "numbers, got .*complex64"),
        ({"base": nn.Linear(3, 3).to(torch.float8_e5m2)}, TypeError, "numbers, got .*float8"),
        ({"r": 0}, ValueError, "r must be at least 1, got 0"),
        ({"r": True}, TypeError, "r must be an integer, got True"),
        ({"r": 2.0}, TypeError, "r must be an integer, got 2.0"),
        ({"lora_alpha": 0}, ValueError, "lora_alpha must be greater than 0 and finite, got 0"),
        ({"lora_alpha": float("nan")}, ValueError, "greater than 0 and finite, got nan"),
        ({"lora_alpha": 10**400}, ValueError, "greater than 0 and finite, got 1000"),
        ({"lora_alpha": "16"}, TypeError, "lora_alpha must be a number, got '16'"),
        ({"lora_dropout": 1.0}, ValueError, "lora_dropout must be at least 0 and below 1, got 1"),
        ({"lora_dropout": None}, TypeError, "lora_dropout must be a number, got None"),
    ],
)
def test_bad_input_is_named_and_the_base_left_trainable(arguments, error, message):
    base = nn.Linear(3, 3)
    with pytest.raises(error, match=message):
        LoRALinear(**{"base": base, "r": 1, "lora_alpha": 1} | arguments)
    assert base.weight.requires_grad


def test_a_rank_above_both_sides_is_allowed():
    assert LoRALinear(nn.Linear(3, 2), r=5, lora_alpha=5).lora_A.shape == (5, 3)
