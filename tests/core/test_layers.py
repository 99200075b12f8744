"""LoRALinear: against the plain equation, finite differences and PEFT.

That what is merged comes back, in every type and order, is tested in ``promises``.
"""

import copy
from functools import partial
from unittest import mock

import peft
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from helpers import assert_near, error_of, randn, relative
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from lora_edu import _fused
from lora_edu.layers import LoRALinear, merge_layers
from lora_edu.memory import saved_bytes

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
        self.base, self.scaling, self.dropout = layer.base, layer.scaling, layer.lora_dropout
        self.lora_A, self.lora_B = layer.lora_A, layer.lora_B
        self.train(layer.training)

    def forward(self, x):
        h = F.linear(F.dropout(x, self.dropout, self.training), self.lora_A)
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
    y.mul_(2)  # as any output, it may be changed in place, and have its graph used twice
    with backward:
        for _ in range(2):
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


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors", "ignore:grad and param do")
@settings(max_examples=60)
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


@LINEAR_AND_CONV
def test_autograd_keeps_x_and_h_and_nothing_else(conv):
    layer, x = make(50, 70, 3, dtype=torch.float32, conv=conv), randn(20, 70)
    assert saved_bytes(layer, lambda: layer(x)) == 4 * (20 * 70 + 20 * 3)


@LINEAR_AND_CONV
def test_autocast_casts_what_it_would_cast_in_the_equation(conv):
    layer, x = make(dtype=torch.float32, conv=conv), X.float()
    for backward in (False, True):
        check(layer, x, TOLERANCE[torch.bfloat16], autocast=(True, backward))
        check(make(), X, autocast=(True, backward))  # float64 stays
    only_backward = outcome(layer, layer, x, autocast=(False, True))
    assert all(map(torch.equal, only_backward, outcome(layer, layer, x)))
    with torch.autocast("cpu", torch.bfloat16):
        assert is_fused(layer(x))
        assert "RuntimeError" in error_of(layer, x.long())


# Against PEFT


def pefts(layer):
    """Return PEFT's own layer with the same tensors."""
    names = ["r", "lora_alpha", "lora_dropout", "use_rslora", "fan_in_fan_out"]
    options = {name: getattr(layer, name) for name in names}
    model = nn.Sequential(copy.deepcopy(layer.base))
    model = peft.get_peft_model(model, peft.LoraConfig(target_modules=["0"], **options))
    theirs = model.base_model.model[0]
    theirs.lora_A.default.weight.data.copy_(layer.lora_A)
    theirs.lora_B.default.weight.data.copy_(layer.lora_B)
    return theirs


OPTIONS = [{}, {"bias": False}, {"conv": True}, {"use_rslora": True}, {"lora_dropout": 0.5}]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_plain_path_is_pefts_bit_for_bit_and_the_fast_one_to_rounding(options, dtype):
    layer = make(48, 64, 8, torch.float32, **options)
    layer.base.to(dtype)  # and the factors stay in single precision
    x = randn(4, 16, 64, dtype=dtype).requires_grad_()
    theirs = pefts(layer)
    assert theirs.scaling["default"] == layer.scaling
    expected = outcome(theirs, theirs, x)
    assert all(map(torch.equal, outcome(layer, partial(without_fast_path, layer), x), expected))
    assert_near(outcome(layer, layer, x), expected, 1e-5)
    assert relative(layer.eval()(x), theirs.eval()(x)) <= 1e-6  # no dropout
    theirs.merge()
    layer.merge()
    assert torch.equal(layer.base.weight, theirs.base_layer.weight)


@pytest.mark.parametrize("training", [False, True])
def test_dropout_is_of_what_enters_the_update_and_of_training(training):
    layer = make(lora_dropout=0.5).train(training)
    check(layer, X)
    assert is_fused(layer(X)) is not training
    one, other = (without_fast_path(layer, X) for _ in range(2))
    assert torch.equal(one, other) is not training


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


# Merging


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_delta_weight_is_in_single_precision_or_more_and_stays_what_was_merged(dtype):
    layer, x = make(dtype=dtype), X.to(dtype)
    expected = layer.scaling * layer.lora_B.double() @ layer.lora_A.double()
    delta, weight, before = layer.delta_weight(), layer.weight, layer(x)
    assert delta.dtype == torch.promote_types(dtype, torch.float32)
    assert relative(delta, expected) < 1e-6
    layer.merge()
    assert relative(layer.eval()(x), before) <= max(2 * TOLERANCE[dtype], 1e-6)
    nn.init.normal_(layer.lora_A)
    assert torch.equal(layer.delta_weight(), delta)
    assert torch.equal(layer.weight, weight)


def test_a_merged_layer_predicts_and_refuses_to_train_or_to_be_loaded():
    layer = make()
    storage, state = layer.base.weight.data_ptr(), layer.state_dict()
    layer.merge()
    with torch.no_grad():
        y = layer(X)
    assert torch.equal(layer.eval()(X), y)
    layer.train()
    message = "RuntimeError: a merged LoRALinear cannot train: unmerge() first, or eval()"
    for learning in (layer.lora_A, layer.lora_B):
        assert error_of(layer, X) == message
        learning.requires_grad_(False)
    assert torch.equal(layer(X), y)
    assert "this layer is merged: unmerge() before" in error_of(layer.load_state_dict, state)
    layer.unmerge()
    assert layer.base.weight.data_ptr() == storage
    assert error_of(layer.unmerge) == "RuntimeError: this LoRALinear is not merged"


def expanded(layer):
    layer.base.weight = nn.Parameter(torch.ones(1, 1).expand(4, 4))


def inference(layer):
    with torch.inference_mode():
        layer.base = nn.Linear(4, 4)


NO_PLACE = "RuntimeError: Linear(in_features=4, out_features=4, bias=True) has no weight of its own"


UNMERGEABLE = [
    (LoRALinear.merge, "RuntimeError: this LoRALinear is merged already"),
    (lambda layer: layer.lora_A.data[0].fill_(torch.nan), "ValueError: W0 + delta_weight()"),
    (expanded, NO_PLACE),
    (inference, NO_PLACE),
]


@pytest.mark.parametrize(("spoil", "message"), UNMERGEABLE)
def test_a_merge_that_is_refused_changes_no_layer(spoil, message):
    layers = [make(4, 4, dtype=torch.float32) for _ in range(2)]
    spoil(layers[1])
    before = [(layer.merged, layer.base.weight.clone()) for layer in layers]
    assert error_of(merge_layers, layers).startswith(message)
    for layer, (merged, weight) in zip(layers, before, strict=True):
        assert layer.merged == merged
        assert torch.equal(layer.base.weight, weight)


@pytest.mark.parametrize(("W0", "B"), [(60_000, 60_000), (60_000, 10_016), (10_016, 60_000)])
def test_what_half_precision_can_hold_is_merged_and_nothing_else(W0, B):
    layer = LoRALinear(nn.Linear(1, 1).half(), r=1, lora_alpha=1)
    layer.base.weight.data.fill_(W0)
    layer.lora_A.data.fill_(1)
    layer.lora_B.data.fill_(B)
    message = "ValueError: W0 + delta_weight() must be finite, got NaN or infinity"
    assert error_of(layer.merge) == message
    assert layer.base.weight.item() == W0
    layer.lora_B.data.neg_()  # as large, but the sum can be held
    layer.merge()
    assert layer.base.weight.item() == W0 - B


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


def twice(_, tensors, *__):
    return (2 * tensors[0],)


CHANGES = {
    "forward hook": lambda base: base.register_forward_hook(lambda *seen: 2 * seen[-1]),
    "forward pre-hook": lambda base: base.register_forward_pre_hook(twice),
    "backward hook": lambda base: base.register_full_backward_hook(twice),
    "backward pre-hook": lambda base: base.register_full_backward_pre_hook(twice),
    "forward of the instance": lambda base: setattr(base, "forward", F.relu),
    "class": lambda base: setattr(base, "__class__", Doubled),
    "class of the weight": doubled_weight,
    "trained weight": lambda base: base.weight.requires_grad_(),
    "trained bias": lambda base: base.bias.requires_grad_(),
    "pruned": lambda base: prune.random_unstructured(base, "weight", amount=0.5),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_base_that_became_something_else_is_asked(change):
    layer = make(7, 7)
    change(layer.base)
    check(layer, X)


def test_hooks_on_all_modules_a_pruned_factor_and_an_input_of_another_kind_are_heeded():
    layer = make()
    with register_module_forward_hook(lambda module, _, y: 2 * y if module is layer.base else y):
        check(layer, X)
    prune.random_unstructured(layer, "lora_A", amount=0.5)
    check(layer, X)
    x = X.as_subclass(DoubledTensor)
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


@SCRIPTS
def test_the_transforms_of_torch_func():
    """A gradient of a gradient, of many vectors at once; forwards: the finite differences above."""

    def hessian(function):
        return torch.func.jacrev(torch.func.grad(lambda x: function(x).sin().sum()))(X.detach())

    layer = make()
    torch.testing.assert_close(hessian(layer), hessian(Equation(layer)), rtol=1e-12, atol=1e-12)


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
LINEAR = "TypeError: base must be nn.Linear or Conv1D, got "
NUMBERS = "TypeError: base must have a weight of real numbers, got torch."


BAD_INPUT = [
    ("base", nn.Embedding(3, 3), LINEAR + "Embedding"),
    ("base", nn.MultiheadAttention(4, 2).out_proj, LINEAR + "NonDynamicallyQuantizableLinear"),
    ("base", PARAMETRIZED, LINEAR + "ParametrizedLinear"),
    ("base", nn.Linear(3, 3, dtype=torch.complex64), NUMBERS + "complex64"),
    ("r", 0, "ValueError: r must be at least 1, got 0"),
    ("r", True, "TypeError: r must be an integer, got True"),
    ("lora_alpha", 0, "ValueError: lora_alpha must be greater than 0 and finite, got 0"),
    ("lora_alpha", 1e39, "ValueError: lora_alpha must be greater than 0 and finite, got 1e+39"),
    ("lora_dropout", -1, "ValueError: lora_dropout must be at least 0 and below 1, got -1"),
    ("lora_dropout", 1, "ValueError: lora_dropout must be at least 0 and below 1, got 1"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD_INPUT)
def test_bad_input_is_named_and_the_base_left_trainable(name, value, message):
    base = nn.Linear(3, 3)
    arguments = {"base": base, "r": 1, "lora_alpha": 1, name: value}
    assert error_of(LoRALinear, **arguments) == message
    assert base.weight.requires_grad
