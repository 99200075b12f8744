"""The two adapters that ship: small, as the record says, and PEFT's."""

import hashlib
import json
from importlib import resources

import pytest
import torch
from safetensors.torch import load_file

from lora_edu import chat
from lora_edu.course import experiments, language

VOICES = ("grimm", "pirate")


@pytest.mark.parametrize("voice", VOICES)
def test_an_adapter_is_small_half_precise_and_that_of_the_record(voice):
    content = experiments.read("voices")
    row = next(row for row in content["rows"] if row["seed"] == content["arguments"]["keep"])
    path = chat.SHIPPED / voice / "adapter_model.safetensors"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"][voice]
    assert path.stat().st_size <= 1e6
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    config = json.loads((path.parent / "adapter_config.json").read_text())
    assert config["r"] == content["arguments"]["recipe"]["r"]
    assert "/" not in config["base_model_name_or_path"].removeprefix("HuggingFaceTB/")


@pytest.mark.parametrize("name", ["blind", "blind_code"])
def test_blind_the_voices_are_told_apart(name):
    """Of 20 pairs each, by whoever did not know which is whose; in a QR code as well."""
    path = resources.files("lora_edu.course") / "data" / f"{name}.json"
    blind = json.loads(path.read_text(encoding="utf-8"))
    asked = [[voice, i] for voice in VOICES for i in range(20)]
    assert sorted(pair[:2] for pair in blind["pairs"]) == asked
    assert {*blind["said"]} == {"".join(side for *_, side in blind["pairs"])}


@pytest.mark.assets
def test_the_passages_are_taylors():
    passages = language.passages(12, 40, 26)
    assert len(passages) == len(set(passages)) == 330
    assert all(12 <= len(passage.split()) <= 40 for passage in passages)
    assert not [passage for passage in passages if '"' in passage or "  " in passage]
