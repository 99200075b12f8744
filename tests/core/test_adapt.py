"""LoRA for a whole model: which layers, in what state. That PEFT adapts the same: ``promises``."""

import re
import time
from functools import partial

import pytest
import torch
from helpers import attempt, error_of, scramble
from tiny_net import X, tiny_net
from torch import nn

from lora_edu import adapt
from lora_edu.adapt import LoraConfig, add_lora
from lora_edu.layers import LoRALinear


def config(**options):
    return LoraConfig(**{"target_modules": ["query"], "r": 2} | options)


def adapted(model=tiny_net, seed=1, **options):
    return scramble(add_lora(model(), config(**options)), seed)


# Which layers


def test_the_model_is_changed_in_place_and_computes_the_same_at_first():
    model = tiny_net()
    before = model(X)
    assert add_lora(model, config(target_modules="all-linear", modules_to_save=["head"])) is model
    assert torch.equal(model(X), before)
    assert not any(module.training for module in model.modules())
    names = [f"body.layers.{i}.{name}" for i in (0, 1) for name in ("query", "key", "value")]
    assert list(adapt.lora_layers(model)) == names
    assert model.lora_config.target_modules == sorted(names)
    # Six layers of r · (in + out) = 2 · (4 + 4) = 16, and a head of 12 + 3. What is frozen has
    # 6 · 16 weights and 4 · 4 biases.
    assert adapt.count_parameters(model) == (111, 111 + 112)
    assert sum(p.numel() for p in adapt.lora_parameters(model)) == 6 * 16


def test_a_block_in_two_places_is_adapted_in_both():
    block = nn.Sequential(nn.Linear(3, 3))
    changed = adapted(lambda: nn.Sequential(block, nn.ReLU(), block), target_modules=["0.0"])
    assert changed[0][0] is changed[2][0]
    assert isinstance(changed[0][0], LoRALinear)


# Errors


def plain(out_features=6):
    return nn.Sequential(nn.Linear(1, out_features))


def marked():
    model = plain()
    model.lora_config = "mine"
    return model


def twice():
    shared = nn.Linear(3, 3)
    return nn.Sequential(nn.Sequential(shared), shared)


FAILURES = [
    (tiny_net, ["quary"], {}, "must match a linear layer, got ['quary']; nearest names: query"),
    (tiny_net, ["zzz"], {}, "nearest names: head, key, query, value"),
    (tiny_net, "query", {}, "got 'query'; nearest names: query"),
    (tiny_net, ["tanh"], {}, "body.layers.0.tanh must be nn.Linear or Conv1D, got Tanh"),
    (tiny_net, ["value"], {"modules_to_save": ["haed"]}, "must match a module, got ['haed']"),
    (tiny_net, ["query"], {"modules_to_save": ["rs.1"]}, "layers.1.query must not be in target"),
    (tiny_net, ["query"], {"r": 1001}, "r must be at most 1000 for body.layers.0.query, got 1001"),
    (partial(plain, 1500), ["0"], {"r": 1501}, "r must be at most 1500 for 0, got 1501"),
    (adapted, ["value"], {}, "model must have no LoRA layers yet, but body.layers.0.query is one"),
    (marked, ["0"], {}, "model has an attribute lora_config of its own, where ours would"),
    (twice, "all-linear", {}, "is one layer in 2 places: give each its own"),
]


@pytest.mark.parametrize(("model", "targets", "options", "message"), FAILURES)
def test_a_failure_is_explained_and_leaves_the_model_as_it_was(model, targets, options, message):
    assert message in attempt(add_lora, model(), config(target_modules=targets, **options))[1]


PARTS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.mark.parametrize("before", ["layers.", r"layers\."])
def test_a_rank_for_each_layer_of_a_large_model_costs_no_more_than_a_second(before):
    """Llama 3.1 405B has 126 layers; a file of PEFT's may name each matrix."""
    blocks = [nn.ModuleDict({part: nn.Linear(1, 1) for part in PARTS}) for _ in range(126)]
    model = nn.ModuleDict({"layers": nn.ModuleList(blocks)})
    names = [f"{before}{layer}.{part}" for layer in range(126) for part in PARTS]
    ranks = {name: number % 3 + 1 for number, name in enumerate(names)}
    start = time.process_time()
    add_lora(model, config(target_modules=PARTS, rank_pattern=ranks, alpha_pattern=ranks))
    assert time.process_time() - start < 3  # on a slow machine, too
    found = [(layer.r, layer.lora_alpha) for layer in adapt.lora_layers(model).values()]
    assert found == [(r, r) for r in ranks.values()]


EXPRESSIONS = [  # as they stand in recipes
    r".*\.(q_proj|v_proj)$",
    r"model\.layers\.(1[0-9]|2[0-7])\.self_attn\.(q|v)_proj",
    r"^(?!.*(visual|audio)).*\.(?:q|k|v|o)_proj$",
    r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|v_proj).*?)"
    r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|v_proj)))",
    r"(?i).*\.Q_PROJ",
    r"[\w.]+(?<=self_attn)\.[^k.]_proj",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_matches_as_python_s_own(expression):
    parts = [f"{block}.{part}" for block in ("self_attn", "mlp") for part in PARTS]
    names = [f"model.layers.{layer}.{part}" for layer in (0, 9, 10, 27) for part in parts]
    own = {name for name in names if re.fullmatch(expression, name)}
    assert own
    assert adapt._chosen(names, expression, time.thread_time() + 9) == own


NAMES = "TypeError: target_modules must be a list of 1 to 10,000 names, got "
# What takes all time or memory, and is refused as well: promises/costly.py.
PARTS_OF_IT = " must be a regular expression: letters, groups, sets and repeats, 1,000 signs at mo"


BAD_CONFIGS = [
    ({"rank_pattern": {"query": 0}}, "ValueError: r must be at least 1, got 0"),
    ({"rank_pattern": {1: 1}}, "ValueError: 1 must be a regular expression: object of"),
    ({"alpha_pattern": {"query": "8"}}, "TypeError: lora_alpha must be a number, got '8'"),
    ({"alpha_pattern": [1]}, "TypeError: alpha_pattern must be a dict, got [1]"),
    ({"target_modules": "("}, "ValueError: '(' must be a regular expression: missing )"),
    ({"target_modules": []}, NAMES + "[]"),
    ({"target_modules": [1]}, NAMES + "[1]"),
    ({"modules_to_save": "a"}, "TypeError: modules_to_save must be a list of 1 to 10,000 names, "),
    ({"exclude_modules": 1}, "TypeError: exclude_modules must be a list of 1 to 10,000 names, "),
    ({"exclude_modules": "["}, f"ValueError: '['{PARTS_OF_IT}"),
    ({"use_dora": 1}, "TypeError: use_dora must be True or False, got 1"),
    ({"target_modules": "a", "layers_to_transform": 1}, "ValueError: layers_to_transform needs a"),
    ({"target_modules": "a", "layers_to_transform": []}, "ValueError: layers_to_transform needs a"),
    ({"init_lora_weights": 1}, 'ValueError: init_lora_weights must be True or "pissa", got 1'),
    ({"target_modules": "(?:(?:a{99}){99}){99}"}, "ValueError: patterns must be at most 2,000 of"),
    ({"alpha_pattern": {"a" * 1001: 1}}, f"ValueError: '{'a' * 1001}'{PARTS_OF_IT}"),
    ({"target_modules": "(*SKIP)a"}, f"ValueError: '(*SKIP)a'{PARTS_OF_IT}"),
    ({"target_modules": "(?:ab){e<=3}"}, f"ValueError: '(?:ab){{e<=3}}'{PARTS_OF_IT}"),
    ({"target_modules": "[[:alpha:]]"}, f"ValueError: '[[:alpha:]]'{PARTS_OF_IT}"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_CONFIGS)
def test_a_bad_configuration_is_named(fields, message):
    assert error_of(config, **fields).startswith(message)


# Merging


def test_a_merged_model_is_not_swapped():
    changed = adapted()
    adapt.merge(changed)
    message = "RuntimeError: body.layers.0.query is merged already"
    assert error_of(adapt.swap_adapter, changed, {}) == message


def test_layers_placed_by_hand_are_swapped_merged_and_unloaded_as_well():
    changed = tiny_net()
    changed.head = LoRALinear(changed.head, r=1, lora_alpha=1)
    ones = {"head.lora_A.weight": torch.ones(1, 4), "head.lora_B.weight": torch.ones(3, 1)}
    adapt.swap_adapter(changed, ones)
    assert torch.equal(adapt.merge_and_unload(changed).head.weight, tiny_net().head.weight + 1)
    layer = LoRALinear(nn.Linear(2, 2), r=1, lora_alpha=1)
    assert adapt.merge_and_unload(layer) is layer.base


@pytest.mark.parametrize("function", [adapt.merge, adapt.unmerge, adapt.merge_and_unload])
def test_a_model_without_lora_is_told_what_to_do(function):
    message = "ValueError: model must have LoRA layers: call add_lora(model, config) first"
    assert error_of(function, tiny_net()) == message


# Swapping


A, B = "0.lora_A.weight", "0.lora_B.weight"
NUMBERS = f"{B} must be finite, got NaN or infinity"


MISFITS = [
    (A, None, f"{A} must be (2, 4), got nothing"),
    ("1.num_batches_tracked", None, "1.num_batches_tracked must be (), got nothing"),
    ("extra", torch.ones(2), "extra must be absent, got (2,)"),
    (B, torch.zeros(6, 3), f"{B} must be (6, 2), got (6, 3)"),
    (B, torch.full((6, 2), torch.nan), NUMBERS),
    (B, torch.full((6, 2), 1e300, dtype=torch.float64), NUMBERS),
    (B, torch.zeros(6, 2).int(), f"{B} must hold numbers of torch.float32, got torch.int32"),
]


@pytest.mark.parametrize(("name", "tensor", "message"), MISFITS)
def test_a_swap_that_does_not_fit_changes_nothing(name, tensor, message):
    base = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
    changed = adapted(lambda: base, target_modules=["0"], modules_to_save=["1"])
    tensors = {n: torch.zeros_like(t) for n, t in adapt.adapter_tensors(changed).items()}
    tensors[name] = tensor
    if tensor is None:
        del tensors[name]
    assert attempt(adapt.swap_adapter, changed, tensors)[1] == f"ValueError: {message}"


def test_a_model_without_numbers_cannot_swap():
    empty, tensors = adapted().to("meta"), adapt.adapter_tensors(adapted())
    message = "body.layers.0.query.lora_A.weight is on the meta device: it can hold no numbers"
    assert error_of(adapt.swap_adapter, empty, tensors) == f"ValueError: {message}"
