"""What a function of shapes or of numbers cannot use is refused in one line, by its name."""

import numpy as np
import pytest
import torch
from helpers import error_of

from lora_edu import counting, lowrank, memory, reference
from lora_edu.quantize import NF4

CATALOGUE = counting.catalogue()
LLAMA, V3, GPT2 = (CATALOGUE[name] for name in ("llama-3.1-8b", "deepseek-v3", "gpt2"))
VIT = "ViTForImageClassification reads pixel_values, and a plan is for a model of text"
GOOD = {"x": [[1, 1]], "weight": np.eye(2), "lora_A": [[1, 2]], "lora_B": [[3], [4]]}
HUGE = np.full((2, 2), 1.5e308)
FINITE = "ValueError: W must be finite in float32, got NaN, infinity or nothing at all"
REFUSED = [
    (reference.forward, {"lora_B": [[3, 4]]}, "ValueError: lora_B must be (d, r), d = 2, r = 1, g"),
    (reference.forward, {"lora_A": [1, 2]}, "ValueError: lora_A must be (r, k), k = 2, got (2,)"),
    (reference.forward, {"lora_A": np.ones((0, 2))}, "got 0: lora_A has shape (0, 2)"),
    (reference.forward, {"x": 1.0}, "ValueError: x must be (..., k), k = 2, got ()"),
    (reference.forward, {"x": [[np.nan, 1]]}, "ValueError: x must be finite, got nan"),
    (reference.forward, {"bias": [1.0]}, "ValueError: bias must be (d), d = 2, got (1,)"),
    (reference.forward, {"scaling": True}, "TypeError: scaling must hold real numbers, got True"),
    (lowrank.truncated_svd, (np.eye(3), 0), "ValueError: r must be at least 1, got 0"),
    (lowrank.truncated_svd, (HUGE, 1), "ValueError: S must be finite, got inf"),
    (lowrank.factor, (np.ones((5, 3)), 4), "r must be at most 3, min(d, k) of shape (5, 3), got 4"),
    (lowrank.factor, ([1, 1, 1], 1), "ValueError: matrix must have 2 dimensions, got shape (3,)"),
    (lowrank.svd_of_product, (HUGE, HUGE), "ValueError: lora_B @ lora_A must be finite, got nan"),
    (lowrank.svd_of_product, ([[1]], [[1, 1]]), "ValueError: lora_B must be (d, r), r = 1, got (1"),
    (lowrank.stable_rank, ([1, -1],), "ValueError: singular_values must be at least one number >="),
    (lowrank.energy_rank, ([1], 1.1), "ValueError: energy must be a share, 0 < energy <= 1, got 1"),
    (lowrank.subspace_similarity, (np.eye(2), np.eye(3)), "A_2 must be (r_2, k), k = 2, got (3"),
    (lowrank.amplification, (np.eye(2), np.eye(3), 1), "weight must be (3, 3), as delta_weight, g"),
    (lowrank.amplification, (np.eye(2), np.ones((2, 2)), 2), "r must be at most 1, the rank of d"),
    (NF4.quantize, (torch.ones(4), 0), "ValueError: block_size must be even and at least 2, got 0"),
    (NF4.quantize, (torch.ones(4), 3), "ValueError: block_size must be even and at least 2, got 3"),
    (NF4.quantize, (torch.tensor([1, torch.nan]), 2), FINITE),
    (NF4.quantize, (torch.tensor([1e300], dtype=torch.float64), 2), FINITE),
    (NF4.quantize, (torch.empty(0), 2), FINITE),
    (NF4.quantize, (torch.arange(4), 2), "W must hold floating-point numbers, got torch.int64"),
    (counting.lora_parameters, (100, 100, 0), "ValueError: r must be at least 1, got 0"),
    (counting.lora_parameters, (0, 100, 5), "ValueError: out_features must be at least 1, got 0"),
    (counting.lora_parameters, (100, 100, 5.0), "TypeError: r must be an integer, got 5.0"),
    (counting.lora_multiply_adds, (100, 100, True), "TypeError: r must be an integer, got True"),
    (counting.degrees_of_freedom, (8, 100, 9), "most min(out_features, in_features) = 8, got 9"),
    (counting.adapter_parameters, (3, 7, 2, "loha"), "lora, dora, lora-fa, vera, got 'loha'"),
    (counting.bottleneck_parameters, (8, 3, 0), "ValueError: sites must be at least 1, got 0"),
    (counting.bytes_of, (1, "float8"), "ValueError: dtype must be one of float64, float32, float1"),
    (counting.bytes_of, (-1, "float32"), "ValueError: numbers must be at least 0, got -1"),
    (counting.training_memory, (-2, 3), "ValueError: frozen must be at least 0, got -2"),
    (counting.training_memory, (2, 3, "adam"), "one of sgd, momentum, adamw, got 'adam'"),
    (counting.count, ("gpt2", 8, ["attn"]), "'attn'; its linear layers are c_attn, c_proj, c_fc"),
    (counting.count, ("gpt2", 8, ["ln_f"]), "transformer.ln_f is no linear, embedding or convolut"),
    (counting.count, ("gpt2", 8, ["c_attn"], "lora", ["head2"]), "no module with parameters is ca"),
    (counting.count, ("gpt2", 8, ["wte"], "lora", ["wte"]), "but for those to save, matches 'wte'"),
    (counting.count, ("gpt2", 8, ["wte"], "vera"), "method: vera adapts linear layers only"),
    (counting.modules, (GPT2 | {"n_layer": 10_001},), "n_layer must be at most 10_000, got 10_001"),
    (counting.modules, (GPT2 | {"n_embd": 0},), "ValueError: n_embd must be at least 1, got 0"),
    (counting.modules, (GPT2 | {"model_type": "mamba"},), "model_type must be one of llama, "),
    (counting.modules, (GPT2 | {"model_type": "llama"},), "this config of a llama model lacks '"),
    (counting.modules, (V3 | {"first_k_dense_replace": 62},), "num_hidden_layers = 61, got 62"),
    (counting.modules, (V3 | {"q_lora_rank": None},), "q_lora_rank must be an integer, got None"),
    (counting.modules, (LLAMA | {"tie_word_embeddings": "no"},), "must be true or false, got 'no'"),
    (memory.plan, (LLAMA, 8, ["q_proj"], 0), "ValueError: batch must be at least 1, got 0"),
    (memory.plan, (LLAMA, 8, ["q_proj"], 10**9, 2), "at most 10**9, got 1000000000 and 2"),
    (memory.plan, (GPT2, 8, ["c_attn"], 1, 1025), "at most n_positions = 1024, got 1025"),
    (memory.plan, (GPT2 | {"n_layer": 1}, 8, ["c_attn", "nosuch"]), "matches 'nosuch'"),
    (memory.plan, (CATALOGUE["vit-base-food101"],), VIT),
]


@pytest.mark.parametrize(("function", "given", "message"), REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line(function, given, message):
    by_name = GOOD | given if isinstance(given, dict) else {}
    said = error_of(function, *(() if by_name else given), **by_name)
    assert message in said
    assert "\n" not in said
