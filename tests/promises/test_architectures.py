"""Every model class of transformers that a small config builds, counted as PEFT counts it.

On the meta device: shapes without numbers. One test runs a sample, and the slow one all of them, a
minute or two; `pytest -s` shows the counts that it prints.
"""

import inspect
import re
import warnings

import peft
import pytest
import torch
import transformers
from torch import nn

from lora_edu import counting

R = 8
LAYERS = re.compile(r"(n|num)_(hidden_|encoder_|decoder_)?layers?|(en|de)coder_layers|n_layer")
# What is named so in many families: the query, the value, or both in one.
QUERY_VALUE = re.compile(r"(?:.*[._])?(q|v|query|value|qkv|c_attn|query_key_value|[qv]_(proj|lin))")
SAMPLE = (
    "LlamaForCausalLM", "GPT2LMHeadModel", "BertForMaskedLM", "T5ForConditionalGeneration",
    "T5Gemma2ForConditionalGeneration", "BarkModel", "MusicgenForConditionalGeneration",
    "VitsModel", "WhisperForConditionalGeneration", "ViTForImageClassification", "CLIPModel",
    "MixtralForCausalLM", "Qwen3MoeForCausalLM", "DeepseekV3ForCausalLM", "GptOssForCausalLM",
    "XLNetForSequenceClassification", "FunnelModel", "MambaForCausalLM",
)  # fmt: skip


def classes():
    """Return the names of all model classes with a config of their own."""
    found = []
    for name in dir(transformers):
        try:
            kind = getattr(transformers, name)
        except (ImportError, AttributeError):  # it needs what is not installed
            continue
        model = inspect.isclass(kind) and issubclass(kind, transformers.PreTrainedModel)
        if model and kind.config_class is not None and "PreTrained" not in name:
            found.append(name)
    return found


def shrink(config):
    """Leave two layers of each kind, of which experts begin with the second at the latest."""
    for key, value in list(vars(config).items()):
        if isinstance(value, transformers.PreTrainedConfig):
            shrink(value)
        elif type(value) is int and LAYERS.fullmatch(key):
            setattr(config, key, min(value, 2))
    if hasattr(config, "first_k_dense_replace"):
        config.first_k_dense_replace = 1
    return config


def build(name):
    """Return the model, from its small config or else from its own; None if neither builds it."""
    kind = getattr(transformers, name)
    for change in (shrink, lambda config: config):
        try:
            with torch.device("meta"):
                return kind(change(kind.config_class()))
        except Exception:  # the reasons are those of 1,800 classes
            continue
    return None


def compare(model, target_modules):
    """Return "equal", "refused: why", "PEFT: why it cannot" or "WRONG: both numbers"."""
    try:
        ours = counting.count(model, R, target_modules)
    except ValueError as error:
        ours = f"refused: {error}"
    try:
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=R, target_modules=target_modules))
    except Exception as error:
        return f"PEFT: {error}"
    if isinstance(ours, str):
        return ours
    layers = sum(isinstance(m, peft.tuners.lora.LoraLayer) for m in model.modules())
    found = ours.trainable, ours.all, ours.adapted_modules
    theirs = (*adapted.get_nb_trainable_parameters(), layers)
    return "equal" if found == theirs else f"WRONG: {found}, PEFT {theirs}"


def verdicts(name):
    """Return what is found of a class, by kind of count; nothing if it cannot be built."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if (model := build(name)) is None or not any(True for _ in model.parameters()):
            return {}
        held = sum(parameter.numel() for parameter in model.parameters())
        ours = counting.base_parameters(model)
        found = {"base": "equal" if ours == held else f"WRONG: {ours}, held {held}"}
        names = {n for n, m in model.named_modules() if isinstance(m, nn.Linear)}
        names = sorted({n.rpartition(".")[2] for n in names if QUERY_VALUE.fullmatch(n)})
        if names:
            found["q and v"] = compare(build(name), names)
        found["all-linear"] = compare(model, "all-linear")  # at last: PEFT changes the model
        return found


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(60, "transformers")


@pytest.mark.parametrize("name", SAMPLE)
def test_a_class_counts_as_in_peft_or_is_refused(name):
    found = verdicts(name)
    assert found["base"] == "equal"
    for kind, verdict in found.items():
        assert not verdict.startswith("WRONG"), f"{name}, {kind}: {verdict}"


@pytest.mark.slow
def test_every_class_counts_as_in_peft_or_is_refused():
    found = {name: verdicts(name) for name in classes()}
    built = {name: verdict for name, verdict in found.items() if verdict}
    assert len(built) > 500
    able = []  # where PEFT can adapt it: whether all counts are equal
    for name, verdict in built.items():
        assert verdict["base"] == "equal", name
        assert not any(said.startswith("WRONG") for said in verdict.values()), (name, verdict)
        if not any(said.startswith("PEFT") for said in verdict.values()):
            able.append(set(verdict.values()) == {"equal"})
    print(f"{len(found)} classes, {len(built)} built, {len(able)} adapted, {sum(able)} equal")
    assert sum(able) >= 0.95 * len(able)
