"""LoRALinear: against the NumPy reference, the plain equation, finite differences and PEFT."""

import copy
from functools import partial
from unittest import mock

import numpy as np
import peft
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from helpers import assert_near, randn, relative
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from lora_edu import _fused, reference
from lora_edu.layers import LoRALinear, merge_layers

DOUBLE = torch.float64
TOLERANCE = {DOUBLE: 1e-12, torch.float32: 1e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}
LINEAR_AND_CONV = pytest.mark.parametrize("conv", [False, True], ids=["Linear", "Conv1D"])
X = randn(4, 7, dtype=DOUBLE).requires_grad_()
# What torch says when it differentiates forwards, or traces, for the first time.
SCRIPTS = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


class Equation(nn.Module):
    """What a layer must equal: the equation as it stands, through autograd."""

    def __init__(self, layer):
        super().__init__()
        self.base, self.scaling = layer.base, layer.scaling
        self.lora_A, self.lora_B = layer.lora_A, layer.lora_B

    def forward(self, x):
        h = F.linear(x, self.lora_A)
        return self.base(x) + F.linear(h, self.lora_B) * self.scaling


def make(d=5, k=7, r=3, dtype=DOUBLE, bias=True, conv=False, **options):
    """Return a layer whose lora_B is not zero, with all of it in one dtype."""
    torch.manual_seed(0)
    base = Conv1D(d, k) if conv else nn.Linear(k, d, bias=bias)
    layer = LoRALinear(base, r, lora_alpha=2 * r, **options).to(dtype)
    nn.init.normal_(layer.lora_B)
    if bias:
        nn.init.normal_(base.bias)
    return layer


def outcome(layer, function, x, autocast=(False, False)):
    """Return y, and the gradients of x and of all that trains: autocast (forward, backward)."""
    forward, backward = (torch.autocast("cpu", torch.bfloat16, enabled=on) for on in autocast)
    x = x.detach().requires_grad_(x.requires_grad)
    layer.zero_grad()
    torch.manual_seed(1)  # of dropout
    with forward:
        y = function(x)
    with backward:
        y.backward(randn(*y.shape, 2, dtype=y.dtype)[..., 0], retain_graph=True)
    trained = [p for p in layer.parameters() if p.requires_grad]
    return [y, *(leaf.grad for leaf in [x, *trained])]


def check(layer, x, tolerance=1e-12, function=None, **options):
    """Compare the layer, or another function that stands for it, with the equation."""
    ours = outcome(layer, function or layer, x, **options)
    assert_near(ours, outcome(layer, Equation(layer), x, **options), tolerance)


def is_fused(y):
    return type(y.grad_fn).__name__ == "_FusedBackward"


def without_fast_path(layer, x):
    """Return what the layer computes where its fast path does not serve."""
    with mock.patch.object(_fused, "operands", return_value=None):
        return layer(x)


# The equation and its gradients


LAYOUTS = {
    "contiguous": lambda *shape: randn(*shape),
    "strided": lambda *shape: randn(*shape, 2)[..., 0],
    "transposed": lambda *shape: randn(*shape[::-1]).permute(*range(len(shape))[::-1]),
    "expanded": lambda *shape: randn(shape[-1]).expand(shape),
}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@given(
    sizes=st.sampled_from([(5, 7, 3), (4, 6, 9), (0, 7, 3), (5, 0, 3)]),
    leading=st.lists(st.integers(0, 3), max_size=4),
    layout=st.sampled_from(sorted(LAYOUTS)),
    kind=st.sampled_from(["bias", "no bias", "Conv1D"]),
    dtype=st.sampled_from([*TOLERANCE]),
    learns=st.sets(st.sampled_from(["x", "lora_A", "lora_B"]), min_size=1),
)
def test_the_fast_path_equals_the_equation(sizes, leading, layout, kind, dtype, learns):
    assume(kind != "Conv1D" or (layout == "contiguous" and all(sizes)))  # it can do no other
    layer = make(*sizes, dtype, bias=kind != "no bias", conv=kind == "Conv1D")
    x = LAYOUTS[layout](*leading, layer.in_features).to(dtype).requires_grad_("x" in learns)
    layer.lora_A.requires_grad_("lora_A" in learns)
    layer.lora_B.requires_grad_("lora_B" in learns)
    check(layer, x, TOLERANCE[dtype])
    y = layer(x)
    assert is_fused(y) == all(sizes)
    with torch.no_grad():
        assert torch.equal(layer(x), y)


def test_the_layer_equals_the_numpy_reference():
    layer = make()
    x, G = randn(2, 3, 7, dtype=DOUBLE).requires_grad_(), randn(2, 3, 5, seed=1, dtype=DOUBLE)
    y = layer(x)
    y.backward(G)
    W0, bias, A, B = (
        t.detach().numpy() for t in (layer.base.weight, layer.base.bias, layer.lora_A, layer.lora_B)
    )
    samples, s = x.detach().numpy(), layer.scaling
    expected = reference.backward(G.numpy(), samples, W0, A, B, s)
    for ours, theirs in [
        (y, reference.forward(samples, W0, A, B, s, bias)),
        (layer.delta_weight(), reference.delta_weight(A, B, s)),
        (layer.lora_A.grad, expected.lora_A),
        (layer.lora_B.grad, expected.lora_B),
        (x.grad, expected.x),
    ]:
        np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=0, atol=1e-12)


@SCRIPTS
@LINEAR_AND_CONV
def test_first_and_second_gradients_equal_finite_differences(conv):
    layer = make(3, 4, 2, conv=conv)

    def function(x, lora_A, lora_B):
        factors = {"lora_A": lora_A, "lora_B": lora_B}
        return torch.func.functional_call(layer, factors, x).sin()

    x = randn(2, 2, 4, dtype=DOUBLE).requires_grad_()
    arguments = x, layer.lora_A, layer.lora_B
    assert torch.autograd.gradcheck(function, arguments, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, arguments, check_fwd_over_rev=True)


def test_the_output_may_be_changed_in_place_and_its_graph_used_twice():
    layer, x = make(), randn(2, 3, 7, dtype=DOUBLE)
    y = layer(x)
    y.mul_(2)  # refused by autograd if y were a view
    assert relative(y, 2 * layer(x)) < 1e-12
    y.sum().backward(retain_graph=True)
    once = layer.lora_A.grad.clone()
    y.sum().backward()
    assert torch.equal(layer.lora_A.grad, 2 * once)


@LINEAR_AND_CONV
def test_autograd_keeps_x_and_h_and_nothing_else(conv):
    layer, x = make(50, 70, 3, dtype=torch.float32, conv=conv), randn(20, 70)
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    for parameter in layer.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    assert sum(kept.values()) == 4 * (20 * 70 + 20 * 3)


@pytest.mark.parametrize("backward", [False, True])
@LINEAR_AND_CONV
def test_autocast_casts_what_it_would_cast_in_the_equation(conv, backward):
    layer, x = make(dtype=torch.float32, conv=conv), X.float()
    check(layer, x, TOLERANCE[torch.bfloat16], autocast=(True, backward))
    check(make(), x.double(), autocast=(True, backward))  # float64 stays
    with torch.autocast("cpu", torch.bfloat16):
        assert is_fused(layer(x))
        with pytest.raises(RuntimeError, match="dtype"):
            layer(x.long())


def test_autocast_in_the_backward_pass_alone_changes_nothing():
    layer, x = make(dtype=torch.float32), X.float()
    found = outcome(layer, layer, x, autocast=(False, True))
    assert all(map(torch.equal, found, outcome(layer, layer, x)))


# Against PEFT


def pefts(layer):
    """Return PEFT's own layer with the same tensors."""
    config = peft.LoraConfig(
        r=layer.r,
        lora_alpha=layer.lora_alpha,
        lora_dropout=layer.lora_dropout,
        use_rslora=layer.use_rslora,
        target_modules=["0"],
        fan_in_fan_out=layer.fan_in_fan_out,
    )
    model = nn.Sequential(copy.deepcopy(layer.base))
    theirs = peft.get_peft_model(model, config).base_model.model[0]
    theirs.lora_A.default.weight.data.copy_(layer.lora_A)
    theirs.lora_B.default.weight.data.copy_(layer.lora_B)
    return theirs


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"conv": True},
        {"use_rslora": True},
        {"lora_dropout": 0.5},
        {"half": torch.bfloat16},
        {"half": torch.float16},
    ],
    ids=str,
)
def test_the_plain_path_is_pefts_bit_for_bit_and_the_fast_one_to_rounding(options):
    half = options.pop("half", torch.float32)
    layer = make(48, 64, 8, torch.float32, **options)
    x = randn(4, 16, 64, dtype=half).requires_grad_()
    layer.base.to(half)  # and the factors stay in single precision
    theirs = pefts(layer)
    assert theirs.scaling["default"] == layer.scaling
    expected = outcome(theirs, theirs, x)
    plain = outcome(layer, partial(without_fast_path, layer), x)
    assert all(map(torch.equal, plain, expected))
    assert_near(outcome(layer, layer, x), expected, 1e-5)
    assert relative(layer.eval()(x), theirs.eval()(x)) <= 1e-6  # no dropout
    theirs.merge()
    layer.merge()
    assert torch.equal(layer.base.weight, theirs.base_layer.weight)


def test_a_layer_starts_as_its_base_and_as_in_loralib_and_peft():
    base, x = nn.Linear(384, 96), randn(4, 384)
    layer = LoRALinear(base, r=16, lora_alpha=16)
    bound = 1 / 384**0.5  # kaiming_uniform with a = √5 over in_features
    for _ in range(2):
        assert torch.equal(layer(x), base(x))
        assert 0.99 * bound < layer.lora_A.abs().max() <= bound
        assert layer.lora_A.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)
        nn.init.ones_(layer.lora_A)
        nn.init.ones_(layer.lora_B)
        layer.reset_lora_parameters()
    assert [n for n, p in layer.named_parameters() if p.requires_grad] == ["lora_A", "lora_B"]
    half = LoRALinear(nn.Linear(3, 2).half(), r=5, lora_alpha=5)  # above both sides
    assert half.lora_A.shape == (5, 3)
    assert half.lora_A.dtype == half.lora_B.dtype == torch.float32


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_delta_weight_is_computed_in_single_precision_or_more(dtype):
    layer = make(dtype=dtype)
    expected = layer.scaling * layer.lora_B.double() @ layer.lora_A.double()
    assert layer.delta_weight().dtype == torch.promote_types(dtype, torch.float32)
    assert relative(layer.delta_weight(), expected) < 1e-6


# Merging


@torch.no_grad()
@LINEAR_AND_CONV
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_merge_and_unmerge(dtype, conv):
    layer, x = make(64, 64, dtype=torch.float32, conv=conv), randn(4, 64, dtype=dtype)
    layer.base.to(dtype)
    W0, storage, before = layer.base.weight.double(), layer.base.weight.data_ptr(), layer(x)
    delta, weight = layer.delta_weight(), layer.weight
    assert layer.merged is False
    layer.merge()
    assert layer.merged is True
    assert relative(layer(x), before) <= max(2 * TOLERANCE[dtype], 1e-6)
    assert torch.equal(layer(x), layer.base(x))
    assert torch.equal(layer.weight, weight)
    nn.init.normal_(layer.lora_A)  # what was merged is known, whatever comes after
    assert torch.equal(layer.delta_weight(), delta)
    assert torch.equal(layer.weight, weight)
    merged = layer.base.weight.double()
    layer.unmerge()
    assert layer.merged is False
    assert layer.base.weight.data_ptr() == storage
    back, u = layer.base.weight.double(), torch.finfo(dtype).eps / 2
    tiny = 1e-6 * W0.abs().max()  # ΔW itself is computed in float32
    assert ((back - W0).abs() <= u * (merged.abs() + back.abs()) + tiny).all()


def overflow(layer):
    layer.base.half().weight.data.fill_(60_000)
    layer.lora_B.data.fill_(1e4)


def expanded(layer):
    layer.base.weight = nn.Parameter(torch.ones(1, 1).expand(4, 4))


def inference(layer):
    with torch.inference_mode():
        layer.base = nn.Linear(4, 4)


NO_PLACE = "has no weight of its own that could hold ΔW"


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (LoRALinear.merge, RuntimeError, "this LoRALinear is merged already"),
        (lambda layer: layer.lora_A.data[0].fill_(np.nan), ValueError, "must be finite, got NaN"),
        (overflow, ValueError, "must be finite, got NaN or infinity"),
        (lambda layer: prune.identity(layer.base, "weight"), RuntimeError, NO_PLACE),
        (lambda layer: nn.utils.weight_norm(layer.base), RuntimeError, NO_PLACE),
        (lambda layer: nn.utils.spectral_norm(layer.base), RuntimeError, NO_PLACE),
        (expanded, RuntimeError, NO_PLACE),
        (inference, RuntimeError, NO_PLACE),
    ],
)
def test_a_merge_that_is_refused_changes_no_layer(spoil, error, message):
    layers = [make(4, 4, dtype=torch.float32) for _ in range(2)]
    spoil(layers[1])
    before = [(layer.merged, layer.base.weight.clone()) for layer in layers]
    with pytest.raises(error, match=message):
        merge_layers(layers)
    for layer, (merged, weight) in zip(layers, before, strict=True):
        assert layer.merged == merged
        assert torch.equal(layer.base.weight, weight)


@pytest.mark.parametrize(("W0", "B"), [(60_000, 60_000), (60_000, 10_016), (10_016, 60_000)])
def test_what_half_precision_can_hold_is_merged_and_nothing_else(W0, B):
    layer = LoRALinear(nn.Linear(1, 1).half(), r=1, lora_alpha=1)
    layer.base.weight.data.fill_(W0)
    layer.lora_A.data.fill_(1)
    layer.lora_B.data.fill_(B)
    with pytest.raises(ValueError, match="must be finite"):
        layer.merge()
    assert layer.base.weight.item() == W0
    layer.lora_B.data.neg_()  # as large, but the sum can be held
    layer.merge()
    assert layer.base.weight.item() == W0 - B


def test_what_is_not_merged_cannot_be_unmerged():
    layer = make(dtype=torch.float32)
    with pytest.raises(RuntimeError, match="this LoRALinear is not merged"):
        layer.unmerge()
    layer.merge()
    prune.l1_unstructured(layer.base, "weight", amount=1)
    with pytest.raises(RuntimeError, match=NO_PLACE):
        layer.unmerge()
    assert layer.merged


def test_a_merged_layer_refuses_to_train_and_predicts():
    layer, x = make(), X
    layer.merge()
    with pytest.raises(RuntimeError, match=r"cannot train: unmerge\(\) first"):
        layer(x)
    with torch.no_grad():
        y = layer(x)
    assert torch.equal(layer.eval()(x), y)
    layer.train().lora_A.requires_grad_(False)
    with pytest.raises(RuntimeError, match="cannot train"):
        layer(x)
    layer.lora_B.requires_grad_(False)
    assert torch.equal(layer(x), y)


@LINEAR_AND_CONV
@pytest.mark.parametrize("dtype", [DOUBLE, torch.float16])
def test_a_state_holds_the_frozen_weight_merged_or_not(dtype, conv):
    model, x = nn.Sequential(make(conv=conv)), X.to(dtype)
    model[0].base.to(dtype)
    fresh, state = copy.deepcopy(model), copy.deepcopy(model.state_dict())
    model[0].merge()
    merged = model.state_dict()
    assert list(merged) == ["0.lora_A", "0.lora_B", "0.base.weight", "0.base.bias"]
    assert_near(merged.values(), state.values(), 10 * TOLERANCE[dtype])
    nn.init.zeros_(fresh[0].base.weight)
    fresh.load_state_dict(merged)
    assert relative(fresh(x), model.eval()(x)) < 10 * TOLERANCE[dtype]
    with pytest.raises(RuntimeError, match=r"0 is merged: unmerge\(\) before loading"):
        model.load_state_dict(state)


def test_a_merged_layer_is_copied_and_cast_with_what_was_merged():
    layer = make()
    W0 = layer.base.weight.clone()
    layer.merge()
    twin = copy.deepcopy(layer).float()
    twin.unmerge()
    assert layer.merged
    assert_near([twin.base.weight], [W0.float()], 1e-6)


# Where the fast path does not serve


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class DoubledTensor(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        found = super().__torch_function__(function, types, args, kwargs or {})
        return 2 * found if function is F.linear else found


def doubled_weight(base):
    base.bias = None
    base._parameters["weight"] = base.weight.detach().as_subclass(DoubledTensor)


CHANGES = {
    "forward hook": lambda base: base.register_forward_hook(lambda *seen: 2 * seen[-1]),
    "forward pre-hook": lambda base: base.register_forward_pre_hook(lambda _, x: (2 * x[0],)),
    "backward hook": lambda base: base.register_full_backward_hook(lambda _, g, __: (2 * g[0],)),
    "backward pre-hook": lambda base: base.register_full_backward_pre_hook(
        lambda _, g: (2 * g[0],)
    ),
    "forward of the instance": lambda base: setattr(base, "forward", F.relu),
    "class": lambda base: setattr(base, "__class__", Doubled),
    "class of the weight": doubled_weight,
    "trained weight": lambda base: base.weight.requires_grad_(),
    "trained bias": lambda base: base.bias.requires_grad_(),
    "pruned": lambda base: prune.random_unstructured(base, "weight", amount=0.5),
    "weight_norm": nn.utils.weight_norm,
    "spectral_norm": lambda base: nn.utils.spectral_norm(base).eval(),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_base_that_became_something_else_is_asked(change):
    layer = make(7, 7)
    change(layer.base)
    check(layer, X)


def test_hooks_on_all_modules_and_a_pruned_factor_are_heeded():
    layer, x = make(), X
    with register_module_forward_hook(lambda module, _, y: 2 * y if module is layer.base else y):
        check(layer, x)
    prune.random_unstructured(layer, "lora_A", amount=0.5)
    check(layer, x)


def test_an_input_of_another_kind_is_computed_by_its_own_rules():
    layer, x = make(), X.as_subclass(DoubledTensor)
    assert relative(layer(x), Equation(layer)(x)) < 1e-14


TOOLS = {
    "compile": lambda layer, x: torch.compile(layer, backend="eager", fullgraph=True)(x),
    "export": lambda layer, x: torch.export.export(layer, (x,)).module()(x),
    "trace": lambda layer, x: torch.jit.trace(layer, (x[:1],))(x),
    "fx": lambda layer, x: torch.fx.symbolic_trace(nn.Sequential(layer))(x),
}


@pytest.mark.filterwarnings("ignore")  # torch's own deprecations
@pytest.mark.parametrize("tool", TOOLS)
def test_tools_that_record_the_layer_see_the_equation(tool):
    layer, x = make(dtype=torch.float32), X.float()
    plain = partial(without_fast_path, layer)
    ours, theirs = (outcome(layer, f, x) for f in (partial(TOOLS[tool], layer), plain))
    assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing(use_reentrant):
    layer = make()
    again = partial(checkpoint, layer, use_reentrant=use_reentrant)
    check(layer, X, function=again)


TRANSFORMS = {
    "gradients of each sample": lambda f, p, x: torch.func.vmap(
        torch.func.grad(lambda p, x: f(p, x).sin().sum()), (None, 0)
    )(p, x),
    "an ensemble": lambda f, p, x: torch.func.vmap(f, (0, None))(
        {name: torch.stack([t, 2 * t]) for name, t in p.items()}, x
    ),
    "jvp": lambda f, p, x: torch.func.jvp(lambda x: f(p, x), (x,), (x.cos(),)),
    "jacrev": lambda f, p, x: torch.func.jacrev(f)(p, x),
    "hessian": lambda f, p, x: torch.func.hessian(lambda x: f(p, x).sin().sum())(x),
}


@SCRIPTS
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_the_transforms_of_torch_func(transform):
    layer, x = make(), X
    numbers = {name: parameter.detach() for name, parameter in layer.named_parameters()}
    ours, theirs = (
        transform(partial(torch.func.functional_call, module), numbers, x)
        for module in (layer, Equation(layer))
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("autocast", [False, True])  # which does not know this device
def test_shapes_on_the_meta_device(autocast):
    layer, x = make().to("meta"), torch.empty(2, 3, 7, dtype=DOUBLE, device="meta")
    with torch.autocast("cpu", enabled=autocast):
        y = layer(x.requires_grad_())
    y.sum().backward()
    assert (y.shape, x.grad.shape, layer.lora_A.grad.shape) == ((2, 3, 5), x.shape, (3, 7))


# The layer as a module, and bad input


def test_code_that_computes_with_the_weight_itself_computes_with_lora():
    """nn.TransformerEncoderLayer does, without gradients: it has one kernel for the whole."""
    layer = make()
    check(layer, X, function=lambda x: F.linear(x, layer.weight, layer.bias))
    block, x = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval(), randn(1, 3, 4)
    block.linear1 = LoRALinear(block.linear1, r=1, lora_alpha=1)
    nn.init.normal_(block.linear1.lora_B)
    slow = block(x)
    with torch.no_grad():
        assert relative(block(x), slow) < 1e-6
    layer.base.half()
    assert layer.weight.dtype == torch.float16


def test_repr_says_what_there_is():
    said = "in_features=7, out_features=5, r=3, lora_alpha=6, scaling=2.0, lora_dropout=0.0"
    assert f"{said}, use_rslora=False, merged=False" in repr(make())


PARAMETRIZED = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
NO_LINEAR = "base must be nn.Linear or Conv1D, got "


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"base": nn.Embedding(3, 3)}, TypeError, NO_LINEAR + "Embedding"),
        ({"base": nn.MultiheadAttention(4, 2).out_proj}, TypeError, NO_LINEAR + "NonDynamically"),
        ({"base": make()}, TypeError, NO_LINEAR + "LoRALinear"),
        ({"base": type("Conv1D", (nn.Linear,), {})(3, 3)}, TypeError, NO_LINEAR + "Conv1D"),
        ({"base": PARAMETRIZED}, TypeError, NO_LINEAR + "ParametrizedLinear"),
        (
            {"base": nn.Linear(3, 3, dtype=torch.complex64)},
            TypeError,
            "numbers, got torch.complex64",
        ),
        ({"base": nn.Linear(3, 3).to(torch.float8_e5m2)}, TypeError, "got torch.float8_e5m2"),
        ({"r": 0}, ValueError, "r must be at least 1, got 0"),
        ({"r": True}, TypeError, "r must be an integer, got True"),
        ({"r": 2.0}, TypeError, "r must be an integer, got 2.0"),
        ({"lora_alpha": 0}, ValueError, "lora_alpha must be greater than 0 and finite, got 0"),
        ({"lora_alpha": np.nan}, ValueError, "greater than 0 and finite, got nan"),
        ({"lora_alpha": 10**400}, ValueError, "greater than 0 and finite, got 1000"),
        ({"lora_alpha": "16"}, TypeError, "lora_alpha must be a number, got '16'"),
        ({"lora_dropout": True}, TypeError, "lora_dropout must be a number, got True"),
        ({"lora_dropout": -0.1}, ValueError, "lora_dropout must be at least 0 and below 1, got -"),
        ({"lora_dropout": 1.0}, ValueError, "lora_dropout must be at least 0 and below 1, got 1"),
    ],
)
def test_bad_input_is_named_and_the_base_left_trainable(arguments, error, message):
    base = nn.Linear(3, 3)
    with pytest.raises(error, match=message):
        LoRALinear(**{"base": base, "r": 1, "lora_alpha": 1} | arguments)
    assert base.weight.requires_grad
