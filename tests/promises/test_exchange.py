"""Exchange with PEFT as a property: any model, any configuration, a step of training, both ways."""

import copy

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file

from lora_edu import adapt
from lora_edu.adapt import LoraConfig, add_lora
from lora_edu.checkpoint import WEIGHTS, load_adapter, save_adapter

# On is_gradient_checkpointing; on fan_in_fan_out, ties; on patterns that match nothing.
ignored = (FutureWarning, UserWarning, RuntimeWarning)
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind.__name__}") for kind in ignored]

TOKENS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "vocab_size": 32}
WIDTHS = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
DEPTH = {"num_hidden_layers": 2, "initializer_range": 0.4}
GPT2 = {"n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": 16, "initializer_range": 0.4}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_heads": 2, "num_layers": 2}
T5 |= {"decoder_start_token_id": 0, "initializer_factor": 0.4}
# A model; names of layers, a regular expression, what PEFT can train whole beside them.
MODELS = [
    (
        "BertForSequenceClassification",
        {**WIDTHS, **DEPTH, "vocab_size": 32},
        ["query", "value", "attention.output.dense", "bert.encoder.layer.1.intermediate.dense"],
        r".*layer\.[01]\.attention\.self\.(query|key)",
        ["classifier", "pooler", "embeddings.word_embeddings"],
    ),
    (
        "GPT2LMHeadModel",
        {**GPT2, **TOKENS},
        ["c_attn", "attn.c_proj", "c_fc"],
        r".*\.h\.1\..*c_(attn|fc)",
        ["lm_head", "wte", "ln_f"],
    ),
    (
        "LlamaForCausalLM",
        {**WIDTHS, **DEPTH, **TOKENS, "num_key_value_heads": 1},
        ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
        r"model\.layers\.0\..*_proj",
        ["lm_head", "embed_tokens", "norm"],
    ),
    (
        "T5ForConditionalGeneration",
        {**T5, **TOKENS},
        ["q", "v", "wo"],
        r"decoder\..*SelfAttention\.[qv]",
        ["lm_head", "shared"],
    ),
]


def draw(seed):
    """Return a function that builds a base model, and the fields of a configuration for it."""
    rng = np.random.default_rng(seed)
    name, config, names, expression, whole = MODELS[seed % len(MODELS)]
    some = [str(name) for name in rng.choice(names, rng.integers(1, len(names) + 1), False)]
    fields = {"r": int(rng.integers(1, 9)), "lora_alpha": float(rng.choice([0.5, 1, 8, 24]))}
    fields["target_modules"] = [some, expression, "all-linear"][int(rng.integers(3))]
    optional = [
        (0.3, {"use_rslora": True}),
        (0.3, {"rank_pattern": {rf".*\.1\..*{some[0]}": int(rng.integers(1, 12)), some[-1]: 3}}),
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
    if "init_lora_weights" in fields:  # its rank is that of the smallest matrix, and no other
        fields.pop("rank_pattern", None)
    low = "use_dora" not in fields and rng.random() < 0.3  # DoRA's norms round as PEFT's do not
    dtype = torch.bfloat16 if low else torch.float32

    def build():
        torch.manual_seed(seed)
        model_class = getattr(transformers, name)
        return model_class(model_class.config_class(**config)).to(dtype).eval()

    return build, fields


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


@pytest.mark.parametrize("seed", range(20))
def test_what_one_saves_the_other_loads(seed, tmp_path):
    check(seed, tmp_path)


@pytest.mark.slow
def test_what_one_saves_the_other_loads_many_times(tmp_path):
    for seed in range(20, 400):
        check(seed, tmp_path / str(seed))
