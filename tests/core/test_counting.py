import time
from fractions import Fraction

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from meta import build

from lora_edu import counting
from lora_edu.adapt import LoraConfig, add_lora, count_parameters

sizes = st.integers(1, 20_000)
ranks = st.integers(1, 512)


def test_the_example():
    assert counting.dense_parameters(100, 100) == 10_000
    assert counting.lora_parameters(100, 100, 5) == 1_000
    assert counting.reduction(100, 100, 5) == 10.0
    assert counting.break_even_rank(100, 100) == 50.0
    assert counting.degrees_of_freedom(100, 100, 5) == 975


def test_rectangular_shapes_tell_rows_from_columns():
    # 3 x 7, r = 2: A is 2 x 7, B is 3 x 2
    assert counting.lora_parameters(3, 7, 2) == 2 * 7 + 3 * 2 == 20
    assert counting.degrees_of_freedom(3, 7, 2) == 2 * (3 + 7 - 2) == 16
    assert counting.lora_multiply_adds(3, 7, 2, vectors=5) == 5 * 20
    assert counting.lora_multiply_adds(3, 7, 2, vectors=5, form_delta=True) == 42 + 5 * 21


@given(sizes, sizes, ranks)
def test_lora_counts_the_entries_of_both_factors(d, k, r):
    lora_A, lora_B = np.broadcast_to(0, (r, k)), np.broadcast_to(0, (d, r))
    assert counting.lora_parameters(d, k, r) == lora_A.size + lora_B.size


@given(sizes, sizes, ranks)
def test_lora_saves_exactly_below_the_break_even_rank(d, k, r):
    saves = counting.lora_parameters(d, k, r) < counting.dense_parameters(d, k)
    assert saves == (Fraction(r) < Fraction(d * k, d + k))
    assert counting.break_even_rank(d, k) == pytest.approx(float(Fraction(d * k, d + k)))
    assert (counting.reduction(d, k, r) > 1) == saves


@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_degrees_of_freedom_are_the_rank_of_the_jacobian(d, k, data):
    r = data.draw(st.integers(1, min(d, k)))
    rng = np.random.default_rng(0)
    lora_A, lora_B = rng.standard_normal((r, k)), rng.standard_normal((d, r))
    jacobian = np.hstack([np.kron(np.eye(d), lora_A.T), np.kron(lora_B, np.eye(k))])
    assert np.linalg.matrix_rank(jacobian) == counting.degrees_of_freedom(d, k, r)


@given(sizes, sizes)
def test_full_rank_has_as_many_degrees_of_freedom_as_entries(d, k):
    assert counting.degrees_of_freedom(d, k, min(d, k)) == d * k


@given(st.integers(1, 2000), st.integers(1, 2000), ranks, st.integers(1, 64))
def test_forming_the_product_is_dearer_below_break_even(d, k, r, vectors):
    apart = counting.lora_multiply_adds(d, k, r, vectors=vectors)
    formed = counting.lora_multiply_adds(d, k, r, vectors=vectors, form_delta=True)
    dense = counting.dense_multiply_adds(d, k, vectors=vectors)
    assert formed > dense
    if r <= counting.break_even_rank(d, k):
        assert apart <= dense < formed


def test_numpy_integers_are_integers():
    result = counting.lora_parameters(np.int32(70_000), np.int64(70_000), np.int16(8))
    assert type(result) is int  # no int32, which would overflow a little further on
    assert result == 8 * 140_000


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((100, 100, 0), ValueError, "r must be at least 1, got 0"),
        ((100, 100, -3), ValueError, "r must be at least 1, got -3"),
        ((0, 100, 5), ValueError, "out_features must be at least 1, got 0"),
        ((100, -1, 5), ValueError, "in_features must be at least 1, got -1"),
        ((100, 100, 5.0), TypeError, "r must be an integer, got 5.0"),
        ((100, 100, True), TypeError, "r must be an integer, got True"),
        ((100, 100, None), TypeError, "r must be an integer, got None"),
        ((float("nan"), 100, 5), TypeError, "out_features must be an integer, got nan"),
        ((100, "100", 5), TypeError, "in_features must be an integer, got '100'"),
    ],
)
@pytest.mark.parametrize(
    "count",
    [
        counting.lora_parameters,
        counting.reduction,
        counting.degrees_of_freedom,
        counting.lora_multiply_adds,
    ],
)
def test_bad_input_is_named(count, arguments, error, message):
    with pytest.raises(error, match=message):
        count(*arguments)


def test_rank_above_the_matrix_has_no_degrees_of_freedom():
    with pytest.raises(ValueError, match=r"at most min\(out_features, in_features\) = 8, got 9"):
        counting.degrees_of_freedom(8, 100, 9)
    assert counting.lora_parameters(8, 100, 9) == 972  # but it can be counted, as PEFT does


@pytest.mark.parametrize("count", [counting.dense_multiply_adds, counting.lora_multiply_adds])
def test_no_vectors_is_an_error(count):
    r = {"r": 2} if count is counting.lora_multiply_adds else {}
    with pytest.raises(ValueError, match="vectors must be at least 1, got 0"):
        count(4, 4, vectors=0, **r)


# -- other methods, by shapes -----------------------------------------------------------------


def test_methods_on_one_matrix():
    assert counting.adapter_parameters(3, 7, 2) == (20, 20)
    assert counting.adapter_parameters(3, 7, 2, "dora") == (23, 23)
    assert counting.adapter_parameters(3, 7, 2, "lora-fa") == (6, 20)
    assert counting.adapter_parameters(3, 7, 2, "vera") == (5, 5)
    with pytest.raises(ValueError, match=r"method must be one of lora, dora, .*, got 'loha'"):
        counting.adapter_parameters(3, 7, 2, "loha")


def test_bottleneck_adapters_and_prefixes_are_what_torch_would_hold():
    site = torch.nn.Sequential(torch.nn.Linear(8, 3), torch.nn.Linear(3, 8))
    norm = torch.nn.LayerNorm(8)
    one, ln = (sum(p.numel() for p in m.parameters()) for m in (site, norm))
    assert counting.bottleneck_parameters(8, 3, sites=10, layer_norms=5) == 10 * one + 5 * ln
    assert counting.prefix_parameters(8, tokens=6, layers=4) == torch.zeros(4, 6, 8).numel()
    with pytest.raises(ValueError, match="sites must be at least 1, got 0"):
        counting.bottleneck_parameters(8, 3, 0)


def test_bytes():
    assert [counting.bytes_of(3, t) for t in ("float64", "float32", "bfloat16")] == [24, 12, 6]
    assert counting.bytes_of(3, "int4") == 2  # whole bytes
    assert counting.bytes_of(0, "float32") == 0
    assert counting.bytes_of(64 * 256, "nf4") == 64 * 256 // 2 + 4 * 256
    assert counting.bytes_of(64 * 256, "nf4-double") == 64 * 256 // 2 + 256 + 4
    with pytest.raises(ValueError, match=r"dtype must be one of .*, got 'float8'"):
        counting.bytes_of(1, "float8")


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        (
            "bottleneck_parameters",
            (8, 3, 2, -1),
            ValueError,
            "layer_norms must be .* got -1",
        ),
        ("bytes_of", (-1, "float32"), ValueError, "numbers must be at least 0, got -1"),
        ("bytes_of", (1.5, "float32"), TypeError, "numbers must be an integer, got 1.5"),
        ("training_memory", (-2, 3), ValueError, "frozen must be at least 0, got -2"),
        ("training_memory", (2, -3), ValueError, "trained must be at least 0, got -3"),
        ("training_memory", (2, 3.0), TypeError, "trained must be an integer, got 3.0"),
    ],
)
def test_no_count_is_negative_or_broken(function, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(counting, function)(*arguments)


# -- whole models -----------------------------------------------------------------------------


TIED_SINCE_5 = {"flan-t5-large", "mt0-large"}  # transformers 5 ties their heads, whatever the file


@pytest.mark.parametrize(
    "name", [n for n, c in counting.catalogue().items() if "architectures" in c]
)
def test_the_catalogue_is_what_transformers_builds(name):
    model = build(name)
    live, ours = counting.modules(model), counting.modules(name)
    if name in TIED_SINCE_5:
        ours["lm_head"] = ours["lm_head"]._replace(tied=live["lm_head"].tied)
    assert live == ours
    assert counting.base_parameters(ours) == sum(p.numel() for p in model.parameters())
    biases = (p.numel() for n, p in model.named_parameters() if n.endswith("bias"))
    assert counting.bitfit_parameters(ours) == sum(biases)


def test_published_totals():
    totals = {m["id"]: m["total"] for m in counting._data()["models"] if "total" in m}
    assert len(totals) >= 28
    assert {name: counting.base_parameters(name) for name in totals} == totals


@pytest.mark.parametrize(
    ("name", "total"), [("llama-3.1-405b", 405_853_388_800), ("deepseek-v3", 671_026_404_352)]
)
def test_the_largest_models_are_counted_in_a_millisecond(name, total):
    def seconds():
        start = time.perf_counter()
        assert counting.base_parameters(name) == total
        return time.perf_counter() - start

    assert min(seconds() for _ in range(30)) < 1e-3


def test_what_others_count_more_in_deepseek_v3_are_buffers():
    buffers = build("deepseek-v3").named_buffers()
    biases = sum(b.numel() for n, b in buffers if n.endswith("e_score_correction_bias"))
    assert counting.base_parameters("deepseek-v3") + biases == 671_026_419_200


@pytest.mark.parametrize("dense", [0, 1, 3])
def test_experts_begin_after_the_dense_layers(dense):
    fields = {"num_hidden_layers": 3, "first_k_dense_replace": dense}
    found = counting.modules({**counting.catalogue()["deepseek-v3"], **fields})
    assert found == counting.modules(build("deepseek-v3", **fields))
    assert sum(name.endswith("mlp.experts") for name in found) == 3 - dense


# Keys of the file that stand for sums of keys which transformers knows
SUMS = {
    "qkv_heads": lambda c: c["num_attention_heads"] + 2 * c["num_key_value_heads"],
    "qk_head_dim": lambda c: c["qk_nope_head_dim"] + c["qk_rope_head_dim"],
    "kv_a_features": lambda c: c["kv_lora_rank"] + c["qk_rope_head_dim"],
    "kv_b_head_dim": lambda c: c["qk_nope_head_dim"] + c["v_head_dim"],
}


@pytest.mark.parametrize("key", SUMS)
def test_keys_that_stand_for_sums_are_these_sums(key):
    configs = [config for config in counting.catalogue().values() if key in config]
    assert len(configs) == 2
    assert all(config[key] == SUMS[key](config) for config in configs)


def test_a_config_object_counts_as_its_dict():
    config = transformers.LlamaConfig(num_hidden_layers=2, head_dim=128)
    assert counting.modules(config) == counting.modules(build("llama-2-7b", num_hidden_layers=2))
    assert counting.modules(counting.modules("gpt2")) == counting.modules("gpt2")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gpt5", "model must be one of all-MiniLM-L6-v2, .*, got 'gpt5'"),
        ({"model_type": "mamba"}, "model_type must be one of llama, .*, got 'mamba'"),
        ({}, "model_type must be one of .*, got None"),
        ({"model_type": "llama", "hidden_size": 8}, "of a llama model lacks 'vocab_size'"),
    ],
)
def test_an_unknown_source_is_named(source, message):
    with pytest.raises(ValueError, match=message):
        counting.modules(source)


@pytest.mark.parametrize(
    ("name", "fields", "error", "message"),
    [
        ("gpt2", {"n_layer": 10_001}, ValueError, "n_layer must be at most 10_000, got 10_001"),
        ("gpt2", {"n_layer": -1}, ValueError, "n_layer must be at least 0, got -1"),
        ("gpt2", {"n_embd": 0}, ValueError, "n_embd must be at least 1, got 0"),
        (
            "deepseek-v3",
            {"first_k_dense_replace": 62},
            ValueError,
            "first_k_dense_replace must be at most num_hidden_layers = 61, got 62",
        ),
        (
            "deepseek-v3",
            {"first_k_dense_replace": -1},
            ValueError,
            "first_k_dense_replace must be at least 0, got -1",
        ),
        ("deepseek-v3", {"q_lora_rank": None}, TypeError, "q_lora_rank must be an integer, got No"),
        ("llama-2-7b", {"tie_word_embeddings": "no"}, TypeError, "must be true or false, got 'no'"),
    ],
)
def test_a_config_of_nonsense_is_named(name, fields, error, message):
    with pytest.raises(error, match=message):
        counting.modules({**counting.catalogue()[name], **fields})


def test_what_is_tied_or_made_of_others_is_counted_once():
    nn = torch.nn
    one, other, scaled = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(2, 2)
    other.weight, other.bias = one.weight, one.bias
    scaled.scale = nn.Parameter(torch.ones(5))
    made = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    parts = {"pair": nn.Sequential(one, other), "scaled": scaled, "made": made}
    model = nn.ModuleDict(parts)
    assert counting.base_parameters(model) == 20 + 11 + 18
    assert counting.modules(model)["pair.1"] == counting.Module("linear", 4, 4, tied=True)
    counted = counting.count(model, 1, ["scaled"], modules_to_save=["pair"])
    assert counted.trainable == 20 + 4  # the copy of a pair is a pair


class TinyExperts(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.down_proj = torch.nn.Parameter(torch.zeros(3, 4, 4))


def test_all_linear_is_refused_where_peft_adapts_experts_too():
    model = torch.nn.ModuleDict({"q": torch.nn.Linear(4, 4), "experts": TinyExperts()})
    model.config = transformers.GptOssConfig()
    assert [*counting.targets(model, "all-linear")] == ["q"]
    model.config = transformers.MixtralConfig()
    with pytest.raises(ValueError, match="all-linear: PEFT adapts a model of type mixtral"):
        counting.targets(model, "all-linear")
    with pytest.raises(ValueError, match="experts is no linear, embedding or convolution"):
        counting.targets(model, ["experts"])
    assert counting.base_parameters(model) == 20 + 48


CONVERTED = ["mixtral-8x7b", "qwen3-30b-a3b", "deepseek-v2-lite", "deepseek-v3"]


@pytest.mark.parametrize("name", CONVERTED)
@pytest.mark.parametrize("wanted", ["all-linear", r".*\.0\..*o_proj", ["mlp.down_proj"], ["gate"]])
def test_what_peft_adapts_otherwise_is_refused_of_the_catalogue_too(name, wanted):
    config = counting.catalogue()[name]
    for source in (name, config, build(name, num_hidden_layers=2)):
        with pytest.raises(ValueError, match=f"PEFT adapts a model of type {config['model_type']}"):
            counting.count(source, 8, wanted)
        assert counting.count(source, 8, ["o_proj"]).adapted_modules > 0


def test_what_peft_adapts_otherwise_is_refused_of_a_config_object():
    config = transformers.MixtralConfig(head_dim=128)
    assert counting.count(config, 8, Q_V) == counting.count("mixtral-8x7b", 8, Q_V)
    with pytest.raises(ValueError, match="all-linear: PEFT adapts a model of type mixtral"):
        counting.count(config, 8, "all-linear")


def test_modules_to_save_are_left_out_by_whole_parts_of_their_names():
    names = {"masthead": torch.nn.Linear(4, 4), "head": torch.nn.Linear(4, 2)}
    model = torch.nn.ModuleDict(names)
    assert [*counting.targets(model, "all-linear", ["head"])] == ["masthead"]
    with pytest.raises(ValueError, match="no module with parameters matches 'all-linear'"):
        counting.targets(torch.nn.ModuleDict({"norm": torch.nn.LayerNorm(2)}), "all-linear")


Q_V = ["q_proj", "v_proj"]
TINY = {"num_hidden_layers": 2, "vocab_size": 64}
EXPERTS = {**TINY, "first_k_dense_replace": 1}
MLA = ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]
PEFT_CASES = {
    "grouped queries": ("llama-3.1-8b", TINY, {"target_modules": Q_V}),
    "head_dim is not d/h": ("gemma-2-2b", TINY, {"target_modules": ["o_proj", *Q_V]}),
    "biases": ("qwen2.5-0.5b", TINY, {"target_modules": Q_V}),
    "norms in attention": ("qwen3-8b", TINY, {"target_modules": Q_V}),
    "experts": ("mixtral-8x7b", TINY, {"target_modules": Q_V}),
    "experts, norms": ("qwen3-30b-a3b", TINY, {"target_modules": ["o_proj", *Q_V]}),
    "latent attention": ("deepseek-v3", EXPERTS, {"target_modules": MLA}),
    "latent keys and values": (
        "deepseek-v2-lite",
        EXPERTS,
        {"target_modules": ["q_proj", *MLA[2:]]},
    ),
    "norms around": ("gemma-3-1b", TINY, {"target_modules": "all-linear"}),
    "fused, grouped": ("phi-4", {"num_hidden_layers": 2}, {"target_modules": "all-linear"}),
    "all linear": ("llama-2-7b", TINY, {"target_modules": "all-linear"}),
    "a regular expression": ("llama-2-7b", TINY, {"target_modules": r".*\.1\..*(up|down)_proj"}),
    "a whole name": ("llama-2-7b", TINY, {"target_modules": ["model.layers.0.mlp.up_proj"]}),
    "fused, Conv1D": ("gpt2", {"n_layer": 2}, {"target_modules": ["c_attn", "mlp.c_proj"]}),
    "fused": ("gpt-neox-20b", TINY, {"target_modules": ["query_key_value"]}),
    "embedding": ("llama-2-7b", TINY, {"target_modules": ["embed_tokens"]}),
    "head": ("llama-2-7b", TINY, {"target_modules": ["lm_head"]}),
    "embedding, tied": ("gpt2", {"n_layer": 2}, {"target_modules": ["wte"]}),
    "saved head": ("llama-2-7b", TINY, {"target_modules": Q_V, "modules_to_save": ["lm_head"]}),
    "saved classifier": (
        "vit-base-patch16-224",
        {"num_hidden_layers": 2},
        {"target_modules": Q_V, "modules_to_save": ["classifier"]},
    ),
    "saved container": (
        "roberta-base",
        {**TINY, "architectures": ["RobertaForSequenceClassification"]},
        {"target_modules": ["query"], "modules_to_save": ["classifier"]},
    ),
    "saved tied head": (
        "gpt2",
        {"n_layer": 2},
        {"target_modules": ["c_attn"], "modules_to_save": ["lm_head"]},
    ),
    "convolution": ("vit-base-patch16-224", TINY, {"target_modules": ["projection"]}),
    "encoder, decoder": ("t5-base", {"num_layers": 2}, {"target_modules": ["q", "v"]}),
    "dora": ("llama-3.1-8b", TINY, {"target_modules": Q_V, "use_dora": True}),
    "dora, Conv1D": ("gpt2", {"n_layer": 2}, {"target_modules": ["c_attn"], "use_dora": True}),
    "dora, embedding": ("llama-2-7b", TINY, {"target_modules": ["embed_tokens"], "use_dora": True}),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # on ties, on Conv1D
@pytest.mark.parametrize(("name", "changes", "config"), PEFT_CASES.values(), ids=PEFT_CASES)
def test_counts_are_those_of_peft(name, changes, config):
    import peft

    model = build(name, **changes)
    count = {k: config[k] for k in ("target_modules", "modules_to_save") if k in config}
    method = "dora" if "use_dora" in config else "lora"
    ours = counting.count(model, 8, **count, method=method)
    assert counting.count(counting.modules(model), 8, **count, method=method) == ours
    base = sum(p.numel() for p in model.parameters())
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=8, **config))
    assert (*ours[:2], base) == (*adapted.get_nb_trainable_parameters(), ours.base)
    layers = sum(isinstance(m, peft.tuners.lora.LoraLayer) for m in model.modules())
    assert ours.adapted_modules == layers


def test_lora_fa_and_vera_count_as_in_peft():
    import peft
    from peft.optimizers import create_lorafa_optimizer

    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=64,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    expected = counting.count(model, 4, Q_V, "lora-fa")
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=Q_V))
    create_lorafa_optimizer(adapted, r=4, lora_alpha=4, lr=1e-3)
    assert adapted.get_nb_trainable_parameters() == expected[:2]

    model = transformers.LlamaForCausalLM(config)
    expected = counting.count(model, 4, Q_V, "vera")
    adapted = peft.get_peft_model(model, peft.VeraConfig(r=4, target_modules=Q_V))
    assert adapted.get_nb_trainable_parameters() == expected[:2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, ["c_attn"]), "r must be at least 1, got 0"),
        ((8, ["q_proj"]), "target_modules: no module with parameters matches 'q_proj'"),
        ((8, ["attn"]), "target_modules: no module with parameters matches 'attn'"),
        ((8, ["ln_f"]), "target_modules: transformer.ln_f is no linear, embedding or"),
        ((8, ["c_attn"], "lora", ["head2"]), "modules_to_save: no module .* called 'head2'"),
        ((8, ["wte"], "lora", ["wte"]), "but for those to save, matches .wte."),
        ((8, ["wte"], "vera"), "vera adapts linear layers only"),
        ((8, ["c_attn"], "loha"), "method must be one of"),
    ],
)
def test_what_cannot_be_counted_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        counting.count("gpt2", *arguments)


def test_four_bit_layers_are_counted_unpacked_and_can_be_counted_packed():
    class Linear4bit(torch.nn.Linear):  # as bitsandbytes has it: two numbers a byte, one column
        def __init__(self, k, d):
            super().__init__(k, d, bias=False)
            packed = torch.zeros(d * k // 2, 1, dtype=torch.uint8)
            self.weight = torch.nn.Parameter(packed, requires_grad=False)

    model = torch.nn.ModuleDict({"q": Linear4bit(6, 4), "norm": torch.nn.LayerNorm(4)})
    assert counting.base_parameters(model) == 6 * 4 + 8
    stored = sum(p.numel() for p in model.parameters())
    assert counting.packed_4bit_parameters(model) == stored == 6 * 4 // 2 + 8


# -- memory, measured -------------------------------------------------------------------------


def small_bert(layers=2):
    torch.manual_seed(0)
    return transformers.BertModel(
        transformers.BertConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=4,
            vocab_size=50, max_position_embeddings=16, attn_implementation="eager",
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip


def size(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_the_memory_plan_is_what_pytorch_holds(lora, optimizer):
    model = small_bert()
    if lora:
        add_lora(model, LoraConfig(r=2, lora_alpha=2, target_modules=["query", "value"]))
    trained, total = count_parameters(model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    stepper = OPTIMIZERS[optimizer](parameters)
    out = model(torch.arange(8)[None])
    (out.last_hidden_state.sum() + out.pooler_output.sum()).backward()
    stepper.step()
    held = {
        "weights": size(model.parameters()),
        "gradients": size(p.grad for p in parameters),
        "optimizer": size(
            t for s in stepper.state.values() for t in s.values() if isinstance(t, torch.Tensor)
        ),
    }
    plan = counting.training_memory(
        total - trained, trained, optimizer=optimizer, tensors=len(parameters)
    )
    assert plan == held


def kept_for_backward(model, **inputs):
    """Return the bytes that PyTorch keeps for the backward pass, without weights; each once."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = tensor, storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = model(**inputs)
    assert out is not None
    return sum(nbytes for _, nbytes in kept.values())
