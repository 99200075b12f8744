"""Counts in closed form against what NumPy, PyTorch, transformers and PEFT hold."""

import re
from fractions import Fraction

import numpy as np
import peft
import pytest
import torch
import transformers
from helpers import error_of
from hypothesis import given
from hypothesis import strategies as st
from meta import build
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lora_edu import counting
from lora_edu.adapt import LoraConfig, add_lora

sizes = st.integers(1, 20_000)
ranks = st.integers(1, 512)
Q_V = ["q_proj", "v_proj"]


def numbers(module):
    return sum(parameter.numel() for parameter in module.parameters())


# -- one matrix -------------------------------------------------------------------------------


@given(sizes, sizes, ranks)
def test_lora_saves_exactly_below_the_break_even_rank(d, k, r):
    lora_A, lora_B = np.broadcast_to(0, (r, k)), np.broadcast_to(0, (d, r))
    assert counting.lora_parameters(d, k, r) == lora_A.size + lora_B.size
    saves = lora_A.size + lora_B.size < counting.dense_parameters(d, k)
    assert saves == (Fraction(r) < Fraction(d * k, d + k))
    assert counting.break_even_rank(d, k) == float(Fraction(d * k, d + k))
    assert (counting.reduction(d, k, r) > 1) == saves


@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_degrees_of_freedom_are_the_rank_of_the_jacobian(d, k, data):
    r = data.draw(st.integers(1, min(d, k)))
    rng = np.random.default_rng(0)
    lora_A, lora_B = rng.standard_normal((r, k)), rng.standard_normal((d, r))
    jacobian = np.hstack([np.kron(np.eye(d), lora_A.T), np.kron(lora_B, np.eye(k))])
    assert np.linalg.matrix_rank(jacobian) == counting.degrees_of_freedom(d, k, r)
    assert counting.degrees_of_freedom(d, k, min(d, k)) == d * k


@given(st.integers(1, 99), st.integers(1, 99), st.integers(1, 99), st.integers(1, 64))
def test_multiply_adds_are_those_that_pytorch_does(d, k, r, vectors):
    def done(compute, *shapes):
        with FlopCounterMode(display=False) as counter:
            compute(*(torch.empty(shape, device="meta") for shape in shapes))
        return counter.get_total_flops() // 2  # PyTorch counts a multiplication and an addition

    x, A, B, W = (vectors, k), (r, k), (d, r), (d, k)
    assert counting.dense_multiply_adds(d, k, vectors=vectors) == done(lambda x, W: x @ W.T, x, W)
    apart = counting.lora_multiply_adds(d, k, r, vectors=vectors)
    assert apart == done(lambda x, A, B: x @ A.T @ B.T, x, A, B)
    formed = counting.lora_multiply_adds(d, k, r, vectors=vectors, form_delta=True)
    assert formed == done(lambda x, A, B: x @ (B @ A).T, x, A, B)


def test_numpy_integers_are_integers():
    result = counting.lora_parameters(np.int32(70_000), np.int64(70_000), np.int16(8))
    assert type(result) is int  # no int32, which would overflow a little further on
    assert result == 8 * 140_000


def test_bottleneck_adapters_and_prefixes_are_what_torch_would_hold():
    site = nn.Sequential(nn.Linear(8, 3), nn.Linear(3, 8))
    expected = 10 * numbers(site) + 5 * numbers(nn.LayerNorm(8))
    assert counting.bottleneck_parameters(8, 3, sites=10, layer_norms=5) == expected
    assert counting.bottleneck_parameters(8, 3, sites=1) == numbers(site)
    assert counting.prefix_parameters(8, tokens=6) == 8 * 6
    assert counting.prefix_parameters(8, tokens=6, layers=4) == torch.zeros(4, 6, 8).numel()


def test_a_number_of_vectors_is_at_least_one():
    for function, sizes in ((counting.dense_multiply_adds, 2), (counting.lora_multiply_adds, 3)):
        assert "vectors must be at least 1, got 0" in error_of(function, *[3] * sizes, vectors=0)


# -- whole models -----------------------------------------------------------------------------


CATALOGUE = counting.catalogue()
BIAS = re.compile(r"(?<!\.dt_)bias$")  # dt_bias is no bias of a layer


BUILT = [name for name, config in CATALOGUE.items() if "architectures" in config]


@pytest.mark.seconds  # each is quick, but there are more than two hundred
@pytest.mark.parametrize("name", BUILT)
def test_the_catalogue_is_what_transformers_builds(name):
    model = build(name)
    live, ours = counting.modules(model), counting.modules(name)
    if CATALOGUE[name]["model_type"] in ("t5", "mt5"):  # transformers 5 ties each of their heads
        ours["lm_head"] = ours["lm_head"]._replace(tied=live["lm_head"].tied)
    assert live == ours
    assert counting.base_parameters(ours) == numbers(model)
    biases = (p.numel() for n, p in model.named_parameters() if BIAS.search(n))
    assert counting.bitfit_parameters(ours) == sum(biases)


def test_published_totals():
    totals = {m["id"]: m["total"] for m in counting._data()["models"] if "total" in m}
    assert len(totals) >= 96
    assert {name: counting.base_parameters(name) for name in totals} == totals


def test_a_config_object_counts_as_its_dict():
    config = transformers.LlamaConfig(num_hidden_layers=2, head_dim=128)
    assert counting.modules(config) == counting.modules(build("llama-2-7b", num_hidden_layers=2))
    config, name = transformers.MixtralConfig(head_dim=128), "mixtral-8x7b"
    for wanted in (Q_V, "all-linear"):
        assert counting.count(config, 8, wanted) == counting.count(name, 8, wanted)


def test_what_is_tied_or_made_of_others_is_counted_once():
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


def test_four_bit_layers_are_counted_unpacked_and_can_be_counted_packed():
    packed = nn.Linear(6, 4, bias=False)  # as bitsandbytes has it: two numbers a byte, one column
    codes = torch.zeros(6 * 4 // 2, 1, dtype=torch.uint8)
    packed.weight = nn.Parameter(codes, requires_grad=False)
    model = nn.ModuleDict({"q": packed, "norm": nn.LayerNorm(4)})
    assert counting.base_parameters(model) == 6 * 4 + 8
    assert counting.packed_4bit_parameters(model) == numbers(model)


# -- adapted models ---------------------------------------------------------------------------


EXPERTS = ["mixtral-8x7b", "qwen3-30b-a3b", "deepseek-v2-lite", "deepseek-v3"]
WANTED = [r".*\.0\..*o_proj", ["mlp.down_proj"], ["gate"], ["q_proj", "w1", "w3"]]


@pytest.mark.parametrize("name", EXPERTS)
@pytest.mark.parametrize("wanted", WANTED)
def test_what_peft_adapts_otherwise_is_refused_of_the_catalogue_too(name, wanted):
    message = f"PEFT adapts a model of type {CATALOGUE[name]['model_type']}"
    for source in (name, CATALOGUE[name], build(name, num_hidden_layers=2)):
        assert message in error_of(counting.count, source, 8, wanted)
        assert counting.count(source, 8, ["o_proj"]).adapted_modules > 0
    for names in (wanted, "all-linear"):
        assert message in error_of(add_lora, source, LoraConfig(target_modules=names))
    add_lora(source, LoraConfig(target_modules=["o_proj"]))
    said = error_of(counting.count, name, 8, "all-linear", "dora")
    assert "method: dora adapts no experts" in said


def test_what_stays_frozen_of_experts_is_named():
    """That the numbers are PEFT's: ``promises``; here, which layers they pass over."""
    assert counting.left_frozen("gpt-oss-20b", ["q_proj"]) == {
        "mlp.experts.gate_up_proj": ("stack", 24 * 32 * 5760 * 2881),
        "mlp.experts.down_proj": ("stack", 24 * 32 * 2880 * 2881),
    }
    shared = [f"mlp.{which}_proj" for which in ("gate", "up", "down")]
    shared += [name.replace("mlp", "mlp.shared_experts") for name in shared]
    assert [*counting.left_frozen("deepseek-v3", "all-linear")] == shared
    assert counting.left_frozen("mixtral-8x7b", "all-linear") == {}
    assert counting.left_frozen("llama-2-7b", ["q_proj"]) == {}


def test_a_gate_that_is_no_matrix_is_no_router():
    model = nn.ModuleDict({"gate": nn.LayerNorm(4), "linear": nn.Linear(4, 4)})
    assert counting.modules(model)["gate"] == counting.Module("other", 4, 1, 4)
    assert counting.count(model, 2, "all-linear").trainable == 2 * 8


def test_modules_to_save_are_left_out_by_whole_parts_of_their_names():
    model = nn.ModuleDict({"masthead": nn.Linear(4, 4), "head": nn.Linear(4, 2)})
    assert [*counting.targets(model, "all-linear", ["head"])] == ["masthead"]
    norm = nn.ModuleDict({"norm": nn.LayerNorm(2)})
    said = error_of(counting.targets, norm, "all-linear")
    assert "parameters matches 'all-linear'" in said


MLA = ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]
CLASSIFIER = {"architectures": ["RobertaForSequenceClassification"]}
PEFT_CASES = {  # a model, what to adapt, what else its configuration says
    "latent attention": ("deepseek-v3", MLA, {}),
    "a regular expression": ("llama-2-7b", r".*\.1\..*(up|down)_proj", {}),
    "a whole name": ("llama-2-7b", ["model.layers.0.mlp.up_proj"], {}),
    "embedding": ("llama-2-7b", ["embed_tokens"], {}),
    "embedding, tied": ("gpt2", ["wte"], {}),
    "saved classifier": ("vit-base-food101", Q_V, {"modules_to_save": ["classifier"]}),
    "saved container": ("roberta-base", ["query"], {"modules_to_save": ["classifier"]}),
    "saved tied head": ("gpt2", ["c_attn"], {"modules_to_save": ["lm_head"]}),
    "convolution": ("vit-base-food101", ["projection"], {}),
    "experts": ("deepseek-v2-lite", "all-linear", {}),
    "dora, Conv1D": ("gpt2", ["c_attn"], {"use_dora": True}),
    "dora, embedding": ("llama-2-7b", ["embed_tokens"], {"use_dora": True}),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # on ties, on Conv1D
@pytest.mark.filterwarnings("ignore:.*pattern keys did not match:RuntimeWarning")  # of experts
@pytest.mark.parametrize(("name", "wanted", "more"), PEFT_CASES.values(), ids=PEFT_CASES)
def test_counts_are_those_of_peft(name, wanted, more):
    keys = ("num_hidden_layers", "n_layer", "num_layers")
    changes = {key: 2 for key in keys if key in CATALOGUE[name]}
    changes |= {"first_k_dense_replace": 1} if name.startswith("deepseek") else {}
    changes |= CLASSIFIER if name == "roberta-base" else {}
    model = build(name, **changes)
    method, saved = "dora" if "use_dora" in more else "lora", more.get("modules_to_save", ())
    ours = counting.count(model, 8, wanted, method, saved)
    assert counting.count(counting.modules(model), 8, wanted, method, saved) == ours
    assert ours.base == numbers(model)
    config = peft.LoraConfig(r=8, target_modules=wanted, **more)
    adapted = peft.get_peft_model(model, config)
    assert ours[:2] == adapted.get_nb_trainable_parameters()
    layers = sum(isinstance(m, peft.tuners.lora.LoraLayer) for m in model.modules())
    assert ours.adapted_modules == layers


QUICK = [
    "bart-base", "clip-vit-base-patch32", "gemma-4-e2b", "granite-4.0-h-350m", "modernbert-base",
    "opt-125m", "phi-2", "qwen3.5-4b", "whisper-tiny",
]  # fmt: skip
MODELS = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in BUILT]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("name", MODELS)
def test_each_model_counts_as_in_peft(name):
    config = CATALOGUE[name]
    if config["model_type"] in ("t5", "mt5") and not config["tie_word_embeddings"]:
        pytest.skip("transformers 5 ties their heads")
    theirs = peft.get_peft_model(build(name), peft.LoraConfig(r=8, target_modules="all-linear"))
    counted = counting.count(name, 8, "all-linear")
    assert counted[:2] == theirs.get_nb_trainable_parameters()


@pytest.mark.parametrize("wanted", [["c_fc", "c_attn"], ["c_proj"], "all-linear"])
def test_a_rank_that_add_lora_refuses_is_refused_in_its_words(wanted):
    for width in (256, 1200):
        fields = {"n_embd": width, "n_head": 1, "n_layer": 1}
        for r in (1000, 1001, 1024, 1025, 1200, 1201, 3600, 3601, 4800, 4801, 10**30):
            model = build("gpt2", **fields)
            config = {**CATALOGUE["gpt2"], **fields}
            said = error_of(counting.count, config, r, wanted)
            assert said == error_of(counting.count, model, r, wanted)
            assert said == error_of(add_lora, model, LoraConfig(target_modules=wanted, r=r))
    assert re.search(r"r must be at most \d+ for transformer\.h\.0\..*, got 10+$", said)
    assert counting.count("roberta-base", 1024, ["query"], "vera").trainable == 12 * (768 + 1024)


BYTES = [(80, "float64", 640), (3, "int4", 2), (0, "float32", 0)]  # whole bytes
BLOCKS = 256 * 1000  # of 64 numbers each
BYTES += [(64 * BLOCKS, "nf4", 32 * BLOCKS + 4 * BLOCKS)]
BYTES += [(64 * BLOCKS, "nf4-double", 32 * BLOCKS + BLOCKS + 4 * 1000)]


@pytest.mark.parametrize(("count", "dtype", "expected"), BYTES)
def test_bytes_by_hand(count, dtype, expected):
    assert counting.bytes_of(count, dtype) == expected


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_the_memory_plan_is_what_pytorch_holds(lora, optimizer):
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4))
    if lora:
        add_lora(model, LoraConfig(r=2, target_modules=["0", "1"]))
    trained = [p for p in model.parameters() if p.requires_grad]
    stepper = OPTIMIZERS[optimizer](trained)
    model(torch.ones(3, 8)).sum().backward()
    stepper.step()
    held = {"weights": model.parameters(), "gradients": [p.grad for p in trained]}
    held["optimizer"] = [t for state in stepper.state.values() for t in state.values()]
    count = sum(p.numel() for p in trained)
    plan = counting.training_memory(numbers(model) - count, count, optimizer, tensors=len(trained))
    assert plan == {part: sum(t.nbytes for t in tensors) for part, tensors in held.items()}


@pytest.mark.parametrize(("optimizer", "states"), [("sgd", 0), ("momentum", 1), ("adamw", 2)])
def test_memory_of_mixed_types_by_hand(optimizer, states):
    types, steps = ("bfloat16", "float16", "float32"), 4 * 7 if states == 2 else 0
    plan = counting.training_memory(100, 10, optimizer, types, tensors=7)
    assert plan == {"weights": 220, "gradients": 20, "optimizer": 40 * states + steps}
