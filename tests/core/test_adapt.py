"""LoRA for a whole model: which layers, in what state, against PEFT's choice of them."""

import copy

import peft
import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

from lora_edu import adapt
from lora_edu.adapt import LoraConfig, add_lora
from lora_edu.layers import LoRALinear


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.query = nn.Linear(4, 6)
        self.value = nn.Linear(4, 6)
        self.norm = nn.LayerNorm(6)

    def forward(self, x):
        return self.norm(self.query(x) + self.value(x))


class Model(nn.Module):
    """Two blocks of 2·(24 + 6) + 12 parameters and a head of 18 + 3: 165 in all."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.blocks[0](x) + self.blocks[1](x))


def model():
    torch.manual_seed(0)
    return Model()


def adapted(trained=True, **options):
    changed = add_lora(model(), LoraConfig(**{"target_modules": ["query"], "r": 2} | options))
    if trained:
        with torch.no_grad():
            for layer in adapt.lora_layers(changed).values():
                nn.init.normal_(layer.lora_B)
    return changed


def bert():
    config = BertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=50,
        num_labels=3,
    )
    return BertForSequenceClassification(config)


def gpt2():
    tokens = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(
        GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=50, n_positions=16, **tokens)
    )


def distilbert():
    return DistilBertForSequenceClassification(
        DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, vocab_size=50)
    )


def test_it_changes_the_model_in_place_and_at_the_start_nothing_else():
    plain = model()
    x = torch.randn(5, 4)
    before = plain(x)
    result = add_lora(plain, LoraConfig(target_modules=["query", "value"], r=2))
    assert result is plain
    assert torch.equal(plain(x), before)
    assert list(adapt.lora_layers(plain)) == [
        "blocks.0.query",
        "blocks.0.value",
        "blocks.1.query",
        "blocks.1.value",
    ]


def test_counts_by_hand():
    # Two layers of r · (in + out) = 2 · (4 + 6) = 20.
    changed = adapted()
    assert adapt.count_parameters(changed) == (40, 205)
    assert sum(p.numel() for p in adapt.lora_parameters(changed)) == 40
    assert all(p.requires_grad for p in adapt.lora_parameters(changed))
    # A head that is saved trains as well: 18 + 3.
    assert adapt.count_parameters(adapted(modules_to_save=["head"])) == (61, 205)


CHOICES = [
    {"target_modules": ["query"]},
    {"target_modules": {"value", "query"}},
    {"target_modules": ["layer.1.attention.self.query", "intermediate.dense"]},
    {"target_modules": r".*layer\.0\.attention.*\.(query|key)"},
    {"target_modules": "all-linear"},
    {"target_modules": "all-linear", "modules_to_save": ["classifier"]},
    {"target_modules": ["dense"], "modules_to_save": ["pooler"]},
    {"target_modules": ["dense"], "layers_to_transform": 1},  # and not the pooler
    {"target_modules": ["query"], "rank_pattern": {"query": 2}, "alpha_pattern": {"query": 3}},
    {
        "target_modules": ["query", "value"],
        "rank_pattern": {r"layer\.1\.attention\.self\.query": 2, "query": 6},
        "alpha_pattern": {"^bert.*value": 32},
        "use_rslora": True,
    },
]


@pytest.mark.filterwarnings("ignore:Using Rank-Stabilized LoRA")
@pytest.mark.parametrize("options", CHOICES, ids=[str(i) for i in range(len(CHOICES))])
def test_layers_ranks_and_scalings_are_pefts(options):
    ours = add_lora(bert(), LoraConfig(r=4, lora_alpha=8, **options))
    theirs = peft.get_peft_model(bert(), peft.LoraConfig(r=4, lora_alpha=8, **options))
    expected = {
        name.removeprefix("base_model.model."): (
            tuple(module.lora_A["default"].weight.shape),
            tuple(module.lora_B["default"].weight.shape),
            module.scaling["default"],
        )
        for name, module in theirs.named_modules()
        if isinstance(module, peft.tuners.lora.Linear)
    }
    assert expected == {
        name: (tuple(layer.lora_A.shape), tuple(layer.lora_B.shape), layer.scaling)
        for name, layer in adapt.lora_layers(ours).items()
    }
    trainable, everything = adapt.count_parameters(ours)
    copied = sum(  # PEFT trains a copy of a module to save, and counts the original as well
        p.numel() for n, p in theirs.named_parameters() if "modules_to_save" in n
    )
    assert theirs.get_nb_trainable_parameters() == (trainable, everything + copied)


def test_all_linear_spares_the_tied_output_head_and_takes_conv1d():
    ours = add_lora(gpt2(), LoraConfig(target_modules="all-linear"))
    names = set(adapt.lora_layers(ours))
    assert len(names) == 8
    assert "lm_head" not in names
    assert all(layer.fan_in_fan_out for layer in adapt.lora_layers(ours).values())


def test_modules_to_save_match_the_bare_end_of_a_name_as_in_peft():
    config = LoraConfig(target_modules=["q_lin"], modules_to_save=["classifier"])
    changed = add_lora(distilbert(), config)
    trains = {n.split(".")[0] for n, p in changed.named_parameters() if p.requires_grad}
    assert trains == {"distilbert", "pre_classifier", "classifier"}


def test_of_two_numbers_in_a_name_the_first_is_that_of_the_layer_as_in_peft():
    size = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_heads": 2, "num_layers": 2, "vocab_size": 9}
    options = {"target_modules": ["q", "wo"], "layers_to_transform": [1]}
    ours, theirs = (T5ForConditionalGeneration(T5Config(**size)) for _ in range(2))
    names = set(adapt.lora_layers(add_lora(ours, LoraConfig(**options))))
    peft.get_peft_model(theirs, peft.LoraConfig(**options))
    layers = (n for n, m in theirs.named_modules() if isinstance(m, peft.tuners.lora.Linear))
    assert names == set(layers)
    assert len(names) == 3 + 2


def test_the_order_of_names_means_nothing():
    one = LoraConfig(target_modules=["query", "value"], modules_to_save=["head", "norm"])
    other = LoraConfig(target_modules=("value", "query"), modules_to_save={"norm", "head"})
    assert one == other
    torch.manual_seed(1)
    a = add_lora(model(), one)
    torch.manual_seed(1)
    b = add_lora(model(), other)
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[name])


def test_the_mode_of_the_model_is_kept():
    assert not any(
        m.training for m in add_lora(model().eval(), LoraConfig(target_modules=["query"])).modules()
    )


def snapshot(plain):
    grads = [p.requires_grad for p in plain.parameters()]
    return grads, list(plain.state_dict()), [type(m) for m in plain.modules()], set(vars(plain))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_modules": ["quary"]}, r"got \['quary'\]; nearest names: query"),
        ({"target_modules": ["uery"]}, r"got \['uery'\]; nearest names: query"),  # no whole part
        ({"target_modules": ["zzz"]}, "nearest names: head, query, value"),
        (
            {"target_modules": "query"},
            "must match a linear layer, got 'query'; nearest names: query",
        ),
        (
            {"target_modules": "blocks.0.*"},
            "blocks.0 must be nn.Linear or Conv1D, got Block",
        ),
        (
            {"target_modules": ["norm"]},
            "target_modules: blocks.0.norm must be nn.Linear or Conv1D, got LayerNorm",
        ),
        (
            {"target_modules": ["query"], "modules_to_save": ["haed"]},
            r"modules_to_save must match a module, got \['haed'\]",
        ),
        (
            {"target_modules": ["query", "value"], "modules_to_save": ["ery"]},
            "blocks.0.query must not be in target_modules and in modules_to_save",
        ),
        (
            {"target_modules": ["query"], "modules_to_save": ["ks.1"]},
            "blocks.1.query must not be in target_modules and in modules_to_save",
        ),
        ({"target_modules": ["query"], "r": 1001}, "r must be at most 1000 for blocks.0.query"),
    ],
)
def test_a_failure_is_explained_and_leaves_the_model_as_it_was(options, message):
    plain = model()
    before = snapshot(plain)
    with pytest.raises(ValueError, match=message):
        add_lora(plain, LoraConfig(**options))
    assert snapshot(plain) == before


def test_lora_twice_is_refused():
    changed = adapted()
    before = snapshot(changed)
    with pytest.raises(ValueError, match=r"no LoRA layers yet, but blocks\.0\.query is one"):
        add_lora(changed, LoraConfig(target_modules=["value"]))
    assert snapshot(changed) == before


def test_an_attribute_of_the_models_own_is_not_overwritten():
    plain = model()
    plain.lora_config = "mine"
    with pytest.raises(ValueError, match="has an attribute lora_config of its own"):
        add_lora(plain, LoraConfig(target_modules=["query"]))
    assert plain.lora_config == "mine"


def test_a_rank_may_be_as_large_as_a_side():
    changed = add_lora(nn.Sequential(nn.Linear(1, 1500)), LoraConfig(target_modules=["0"], r=1500))
    assert changed[0].lora_A.shape == (1500, 1)
    with pytest.raises(ValueError, match="r must be at most 1500 for 0, got 1501"):
        add_lora(nn.Sequential(nn.Linear(1, 1500)), LoraConfig(target_modules=["0"], r=1501))


def test_tensors_that_do_not_fit_are_refused_before_there_is_memory_for_others(monkeypatch):
    tensors = adapt.adapter_tensors(adapted())
    monkeypatch.setattr(LoRALinear, "__init__", lambda *_: pytest.fail("a layer was made"))
    with pytest.raises(ValueError, match=r"lora_A\.weight must be \(900, 4\), got \(2, 4\)"):
        add_lora(model(), LoraConfig(target_modules=["query"], r=900), tensors)


def test_a_saved_head_is_a_copy_and_leaves_what_it_was_tied_to():
    tied = gpt2()
    embedding = tied.transformer.wte.weight
    changed = add_lora(tied, LoraConfig(target_modules=["c_attn"], modules_to_save=["lm_head"]))
    assert changed.transformer.wte.weight is embedding
    assert not embedding.requires_grad
    assert changed.lm_head.weight.requires_grad
    assert changed.lm_head.weight is not embedding


def test_all_linear_is_resolved_into_names():
    changed = add_lora(model(), LoraConfig(target_modules="all-linear", modules_to_save=["head"]))
    assert changed.lora_config.target_modules == sorted(adapt.lora_layers(changed))


def test_a_whole_name_is_adapted_whatever_its_layer():
    names = ["bert.encoder.layer.1.attention.self.key", "query"]
    changed = add_lora(bert(), LoraConfig(target_modules=names, layers_to_transform=0))
    ours = [name.removeprefix("bert.encoder.layer.") for name in adapt.lora_layers(changed)]
    assert ours == ["0.attention.self.query", "1.attention.self.key"]


def test_the_time_for_regular_expressions_is_one_for_all_names(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr(adapt.time, "monotonic", lambda: next(now))
    left = []

    class Pattern:
        def fullmatch(self, name, timeout):
            left.append(timeout)
            return name == "blocks.0.query"

    monkeypatch.setattr(adapt, "_compiled", lambda pattern: Pattern())
    add_lora(model(), LoraConfig(target_modules=r"blocks\.\d\.query"))
    assert left[:3] == [1, 0, 0]  # of two seconds


@pytest.mark.parametrize("layer", [nn.MultiheadAttention(4, 2)])
def test_a_linear_layer_of_another_kind_is_not_passed_over_in_silence(layer):
    with pytest.raises(ValueError, match=r"out_proj must .* got NonDynamicallyQuantizableLinear"):
        add_lora(nn.Sequential(nn.Linear(2, 4), layer), LoraConfig(target_modules="all-linear"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"r": 0}, ValueError, "r must be at least 1, got 0"),
        ({"rank_pattern": {"query": 0}}, ValueError, "r must be at least 1, got 0"),
        ({"alpha_pattern": {"query": "8"}}, TypeError, "lora_alpha must be a number, got '8'"),
        ({"rank_pattern": [1]}, TypeError, r"rank_pattern must be a dict, got \[1\]"),
        ({"rank_pattern": {"(": 1}}, ValueError, r"'\(' must be a regular expression"),
        ({"target_modules": "("}, ValueError, r"'\(' must be a regular expression"),
        ({"target_modules": []}, TypeError, r"target_modules must be a list of names, got \[\]"),
        ({"target_modules": [1]}, TypeError, r"target_modules must be a list of names, got \[1\]"),
        ({"target_modules": None}, TypeError, "target_modules must be a list of names, got None"),
        ({"modules_to_save": "head"}, TypeError, "modules_to_save must be a list of names"),
        ({"lora_dropout": 1}, ValueError, "lora_dropout must be at least 0 and below 1, got 1"),
    ],
)
def test_a_bad_configuration_is_named(options, error, message):
    with pytest.raises(error, match=message):
        LoraConfig(**{"target_modules": ["query"]} | options)


def test_a_layer_in_two_places_is_refused():
    """PEFT adapts it in the first one alone, and the two go different ways."""
    shared = nn.Linear(3, 3, bias=False)
    near = nn.Sequential(shared, nn.ReLU(), shared)
    far = nn.Sequential(nn.Sequential(shared), shared)
    for twice in (near, far):
        before = snapshot(twice)
        with pytest.raises(ValueError, match=r"is one layer in 2 places: give each its own"):
            add_lora(twice, LoraConfig(target_modules="all-linear"))
        assert snapshot(twice) == before


def test_a_block_in_two_places_is_adapted_in_both():
    block = nn.Sequential(nn.Linear(3, 3))
    changed = add_lora(nn.Sequential(block, nn.ReLU(), block), LoraConfig(target_modules=["0.0"]))
    assert changed[0][0] is changed[2][0]
    assert isinstance(changed[0][0], LoRALinear)


# Merging


def test_merge_unmerge_and_a_repeat():
    changed = adapted()
    x = torch.randn(5, 4)
    before, state = changed(x), copy.deepcopy(changed.state_dict())
    with pytest.raises(RuntimeError, match="is not merged"):
        adapt.unmerge(changed)
    adapt.merge(changed)
    torch.testing.assert_close(changed.eval()(x), before)
    with pytest.raises(RuntimeError, match=r"blocks\.0\.query is merged already"):
        adapt.merge(changed)
    adapt.unmerge(changed)
    for name, tensor in changed.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=1e-6)


def test_a_merge_that_fails_merges_nothing():
    changed = adapted()
    changed.blocks[1].query.lora_B.data[0] = float("inf")
    with pytest.raises(ValueError, match="must be finite"):
        adapt.merge(changed)
    assert not any(layer.merged for layer in adapt.lora_layers(changed).values())


@pytest.mark.parametrize("merged", [False, True])
def test_merge_and_unload_leaves_plain_layers(merged):
    changed = adapted()
    x = torch.randn(5, 4)
    before = changed(x)
    if merged:
        adapt.merge(changed)
    plain = adapt.merge_and_unload(changed)
    assert plain is changed
    assert [type(m) for m in plain.modules()] == [type(m) for m in model().modules()]
    assert list(plain.state_dict()) == list(model().state_dict())
    assert "lora_config" not in vars(plain)
    torch.testing.assert_close(plain(x), before)


def test_merge_and_unload_of_a_single_layer():
    layer = LoRALinear(nn.Linear(2, 2), r=1, lora_alpha=1)
    assert adapt.merge_and_unload(layer) is layer.base


def test_layers_placed_by_hand_are_merged_swapped_and_unloaded_as_well():
    plain = model()
    plain.head = LoRALinear(plain.head, r=1, lora_alpha=1)
    ones = {"head.lora_A.weight": torch.ones(1, 6), "head.lora_B.weight": torch.ones(3, 1)}
    adapt.swap_adapter(plain, ones)
    adapt.merge(plain)
    assert torch.equal(adapt.merge_and_unload(plain).head.weight, model().head.weight + 1)


@pytest.mark.parametrize("function", [adapt.merge, adapt.unmerge, adapt.merge_and_unload])
def test_a_model_without_lora_is_told_what_to_do(function):
    with pytest.raises(ValueError, match=r"call add_lora\(model, config\) first"):
        function(model())


def test_a_tied_weight_is_not_merged():
    """It would change the embedding as well; with a weight of its own the head can be merged."""
    changed = add_lora(gpt2(), LoraConfig(target_modules=["c_attn", "lm_head"]))
    message = "lm_head shares its weight, so merging changes others: clone it first"
    for function in (adapt.merge, adapt.merge_and_unload):
        before = copy.deepcopy(changed.state_dict())
        with pytest.raises(ValueError, match=message):
            function(changed)
        assert all(torch.equal(t, before[n]) for n, t in changed.state_dict().items())
    nn.init.normal_(changed.lm_head.lora_B)
    tokens = torch.arange(6)[None]
    expected = changed.eval()(tokens).logits
    changed.lm_head.base.weight = nn.Parameter(changed.lm_head.base.weight.clone())
    torch.testing.assert_close(adapt.merge_and_unload(changed)(tokens).logits, expected)


# Swapping


def test_swap_adapter():
    one, other = adapted(modules_to_save=["head"]), adapted(modules_to_save=["head"])
    nn.init.normal_(other.head.weight)
    x = torch.randn(5, 4)
    first = {name: tensor.clone() for name, tensor in adapt.adapter_tensors(one).items()}
    assert sorted(first) == [
        "blocks.0.query.lora_A.weight",
        "blocks.0.query.lora_B.weight",
        "blocks.1.query.lora_A.weight",
        "blocks.1.query.lora_B.weight",
        "head.bias",
        "head.weight",
    ]
    before = one(x)
    adapt.swap_adapter(one, adapt.adapter_tensors(other))
    assert torch.equal(one(x), other(x))
    assert not torch.equal(one(x), before)
    adapt.swap_adapter(one, first)
    assert torch.equal(one(x), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("blocks.0.query.lora_A.weight"),
            r"blocks\.0\.query\.lora_A\.weight must be \(2, 4\), got nothing",
        ),
        (
            lambda t: t.update(extra=t["blocks.0.query.lora_A.weight"]),
            r"extra must be absent, got \(2, 4\)",
        ),
        (
            lambda t: t.update({"blocks.1.query.lora_B.weight": torch.zeros(6, 3)}),
            r"blocks\.1\.query\.lora_B\.weight must be \(6, 2\), got \(6, 3\)",
        ),
        (
            lambda t: t["blocks.1.query.lora_B.weight"].fill_(float("nan")),
            r"blocks\.1\.query\.lora_B\.weight must be finite",
        ),
        (
            lambda t: t.update({"blocks.1.query.lora_B.weight": torch.zeros(6, 2).int()}),
            r"lora_B\.weight must hold numbers of torch\.float32, got torch\.int32",
        ),
    ],
)
def test_a_swap_that_does_not_fit_changes_nothing(change, message):
    changed = adapted()
    before = copy.deepcopy(changed.state_dict())
    tensors = {n: torch.zeros_like(t) for n, t in adapt.adapter_tensors(changed).items()}
    change(tensors)
    with pytest.raises(ValueError, match=message):
        adapt.swap_adapter(changed, tensors)
    for name, tensor in changed.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_model_without_numbers_cannot_swap():
    tensors = adapt.adapter_tensors(adapted())
    with pytest.raises(ValueError, match="on the meta device: it can hold no numbers"):
        adapt.swap_adapter(adapted().to("meta"), tensors)


def test_a_missing_count_of_batches_is_named():
    norm = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    changed = add_lora(norm, LoraConfig(target_modules=["0"], modules_to_save=["1"]))
    tensors = adapt.adapter_tensors(changed)
    del tensors["1.num_batches_tracked"]
    with pytest.raises(ValueError, match=r"1\.num_batches_tracked must be \(\), got nothing"):
        adapt.swap_adapter(changed, tensors)


def test_no_layers_to_transform_are_all_as_in_peft():
    config = LoraConfig(target_modules=["query"], layers_to_transform=[])
    assert len(adapt.lora_layers(add_lora(model(), config))) == 2


def test_a_merged_model_cannot_swap():
    changed = adapted()
    adapt.merge(changed)
    with pytest.raises(RuntimeError, match=r"blocks\.0\.query is merged already"):
        adapt.swap_adapter(changed, adapt.adapter_tensors(changed))


def test_deepcopy_and_training():
    changed = adapted(modules_to_save=["head"])
    twin = copy.deepcopy(changed)
    frozen = {n: p.clone() for n, p in twin.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.SGD([p for p in twin.parameters() if p.requires_grad], lr=0.1)
    x, target = torch.randn(32, 4), torch.randint(3, (32,))
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(twin(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for name, parameter in twin.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name])
    assert torch.equal(changed.head.weight, model().head.weight)
