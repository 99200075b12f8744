"""Exchange with PEFT as a property: any model, any configuration, a step of training, both ways."""

import copy
import re
import time
from functools import partial

import numpy as np
import peft
import pytest
import torch
import transformers
from hypothesis import example, given, reject
from hypothesis import strategies as st
from peft.utils.other import get_pattern_key
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from lora_edu import adapt
from lora_edu.adapt import LoraConfig, add_lora
from lora_edu.checkpoint import WEIGHTS, load_adapter, save_adapter

# On is_gradient_checkpointing; on fan_in_fan_out, ties; on patterns that match nothing.
ignored = (FutureWarning, UserWarning, RuntimeWarning)
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind.__name__}") for kind in ignored]

SIZE = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "vocab_size": 32}
SIZE |= {"num_hidden_layers": 2, "num_key_value_heads": 1, "initializer_range": 0.4}
SIZE |= {"n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": 16, "num_layers": 2}
SIZE |= {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_heads": 2, "initializer_factor": 0.4}
TOKENS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "decoder_start_token_id": 0}
# A model: names of layers, a regular expression, what PEFT can train whole beside them.
MODELS = {
    "BertForSequenceClassification": (
        ["query", "value", "attention.output.dense", "bert.encoder.layer.1.intermediate.dense"],
        r".*layer\.[01]\.attention\.self\.(query|key)",
        ["classifier", "pooler", "embeddings.word_embeddings"],
    ),
    "GPT2LMHeadModel": (
        ["c_attn", "attn.c_proj", "c_fc"],
        r".*\.h\.1\..*c_(attn|fc)",
        ["lm_head", "wte", "ln_f"],
    ),
    "LlamaForCausalLM": (
        ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
        r"model\.layers\.0\..*_proj",
        ["lm_head", "embed_tokens", "norm"],
    ),
    "T5ForConditionalGeneration": (
        ["q", "v", "wo"],
        r"decoder\..*SelfAttention\.[qv]",
        ["lm_head", "shared"],
    ),
}


def built(name, seed=0, **more):
    torch.manual_seed(seed)
    model_class = getattr(transformers, name)
    return model_class(model_class.config_class(**SIZE, **TOKENS, **more)).eval()


def draw(seed):
    """Return a function that builds a base model, and the fields of a configuration for it."""
    rng = np.random.default_rng(seed)
    name = list(MODELS)[seed % len(MODELS)]
    names, expression, whole = MODELS[name]
    some = [str(name) for name in rng.choice(names, rng.integers(1, len(names) + 1), False)]
    fields = {"r": int(rng.integers(1, 9)), "lora_alpha": float(rng.choice([0.5, 1, 8, 24]))}
    fields["target_modules"] = [some, expression, "all-linear"][int(rng.integers(3))]
    optional = [
        (0.3, {"use_rslora": True}),
        (0.3, {"rank_pattern": {rf".*\.1\..*{some[0]}": int(rng.integers(1, 12)), some[-1]: 3}}),
        (0.25, {"exclude_modules": [[str(names[0])], rf".*\.{names[0]}"][int(rng.integers(2))]}),
        (0.3, {"alpha_pattern": {some[0]: 3.5, some[-1]: 16}}),
        (0.4, {"modules_to_save": rng.choice(whole, rng.integers(1, 3)).tolist()}),
        (0.25, {"layers_to_transform": [[0], 1, [0, 1], []][int(rng.integers(4))]}),
        (0.25, {"lora_dropout": 0.3}),
        (0.25, {"use_dora": True}),
        (0.2, {"init_lora_weights": "pissa", "r": 2}),
    ]
    for share, more in optional:
        if rng.random() < share:
            fields |= more
    if isinstance(fields["target_modules"], str):
        fields.pop("layers_to_transform", None)
    elif fields["target_modules"] == [names[0]]:  # nothing would be left
        fields.pop("exclude_modules", None)
    if "init_lora_weights" in fields:  # its rank is that of the smallest matrix, and no other
        fields.pop("rank_pattern", None)
    low = "use_dora" not in fields and rng.random() < 0.3  # DoRA's norms round as PEFT's do not
    dtype = torch.bfloat16 if low else torch.float32
    return lambda: built(name, seed).to(dtype), fields


def outputs(model, seed=0):
    tokens = torch.randint(1, 32, (3, 7), generator=torch.Generator().manual_seed(seed))
    more = {"decoder_input_ids": tokens} if model.config.is_encoder_decoder else {}
    return model(input_ids=tokens, **more).logits


def train(model):
    """Two steps, of which the second moves both factors."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=0.02)
    for step in range(2):
        optimizer.zero_grad()
        outputs(model, step).square().mean().backward()
        optimizer.step()
    return model.eval()


def close(ours, theirs, within):
    """Whether logits agree within a number, relative to their size."""
    return (ours - theirs).abs().max() <= within * max(1, theirs.abs().max())


def check(seed, folder):
    new, fields = draw(seed)
    extra = {"fan_in_fan_out": True} if new().config.model_type == "gpt2" else {}
    ours = train(add_lora(new(), LoraConfig(**fields)))
    assert not close(outputs(ours), outputs(new()), within=1e-4)
    single = outputs(ours).dtype == torch.float32
    within = 1e-5 if single else 0.0  # 16 bits: one path, PEFT's
    save_adapter(ours, folder / "ours")
    theirs = peft.PeftModel.from_pretrained(new(), folder / "ours").eval()
    assert close(outputs(theirs), outputs(ours), within), "ours, loaded by PEFT"
    again = load_adapter(new(), folder / "ours")
    assert torch.equal(outputs(again), outputs(ours)), "ours, loaded by ourselves"
    if single:
        assert close(outputs(adapt.merge_and_unload(again)), outputs(ours), within), "merged"

    theirs = train(peft.get_peft_model(new(), peft.LoraConfig(**copy.deepcopy(fields), **extra)))
    theirs.save_pretrained(folder / "theirs", save_embedding_layers=False)
    ours = load_adapter(new(), folder / "theirs")
    assert close(outputs(ours), outputs(theirs), within), "PEFT's"
    save_adapter(ours, folder / "again")
    expected, found = (load_file(folder / name / WEIGHTS) for name in ("theirs", "again"))
    assert {key: t.dtype for key, t in found.items()} == {k: t.dtype for k, t in expected.items()}
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())
    with safe_open(folder / "again" / WEIGHTS, "pt") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.parametrize("seeds", [(0, 20), pytest.param((20, 400), marks=pytest.mark.slow)])
def test_what_one_saves_the_other_loads(seeds, tmp_path):
    for seed in range(*seeds):
        check(seed, tmp_path / str(seed))


# -- what PEFT does of its own accord -----------------------------------------------------------


PIECES = ["q", "proj", "q_proj", "layers", "1", "17", ".", r"\.", ".*", "(q|x)", "(?:layers)", "|"]
PIECES += ["*", "?", "[.17]", "{2}", "^", "$", "-", r"\d", r"\w", "layers.17.", ".1.", r"\.17\."]
NAMES = ["q", "layers.17.q", "m.layers.1.x.q_proj", "layersX17.q", "a.1.q-x", "17.1.q_proj"]
NAMES += ["1.q.17"]


@given(st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join), min_size=1))
@example([".1.|q"])  # no number need be in the name
def test_a_pattern_matches_as_in_peft(patterns):
    values = {pattern: number + 2 for number, pattern in enumerate(patterns)}
    try:
        config = LoraConfig(target_modules=["q"], rank_pattern=values)
        theirs = [values.get(get_pattern_key(values, name), 1) for name in NAMES]
    except (ValueError, re.error):
        reject()
    until = time.thread_time() + 9
    assert [adapt._first_match(config.rules[0], name, 1, until) for name in NAMES] == theirs


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_the_base_s_embeddings_beside_an_adapter_are_no_part_of_it(tied, whole, tmp_path):
    """PEFT saves the head's own weight if it is adapted, and embeddings if it is asked to."""
    new = partial(built, "LlamaForCausalLM", tie_word_embeddings=tied)
    targets = ["q_proj", "v_proj"] if whole else ["q_proj", "lm_head"]
    theirs = train(peft.get_peft_model(new(), peft.LoraConfig(target_modules=targets, r=2)))
    theirs.save_pretrained(tmp_path, **({"save_embedding_layers": True} if whole else {}))
    key = "lm_head.weight" if whole else "lm_head.base_layer.weight"
    tensors = load_file(tmp_path / WEIGHTS)
    assert torch.equal(tensors[f"base_model.model.{key}"], new().lm_head.weight)
    assert close(outputs(load_adapter(new(), tmp_path)), outputs(theirs), 1e-5)
    low = {name: tensor.bfloat16() for name, tensor in tensors.items()}  # the same, rounded
    save_file(low, tmp_path / WEIGHTS)
    load_adapter(new(), tmp_path)
    tensors[f"base_model.model.{key}"][0, 0] += 1
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(ValueError, match=f"{key} must hold the numbers of the model itself"):
        load_adapter(new(), tmp_path)


def test_what_a_model_reads_itself_is_adapted_here_and_in_peft_once_it_is_merged(tmp_path):
    """Mamba multiplies by dt_proj.weight: PEFT never calls that layer, so that B stays zero."""
    base = built("MambaForCausalLM", state_size=4)
    nn.init.normal_(base.backbone.layers[0].mixer.x_proj.weight)  # so that it matters
    fields = {"target_modules": ["dt_proj"], "r": 2}
    theirs = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(**fields))
    assert not outputs(theirs).requires_grad
    ours = train(add_lora(copy.deepcopy(base), LoraConfig(**fields, lora_alpha=64)))
    assert not close(outputs(ours), outputs(base), 1e-3)
    save_adapter(ours, tmp_path)
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path).eval()
    assert close(outputs(theirs), outputs(base), 1e-6)  # with slopes the kernel may be another
    assert close(outputs(theirs.merge_and_unload()), outputs(ours), 1e-5)
