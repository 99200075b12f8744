"""Adapters on disk: what is written is read, and what is wrong with a file is said.

That PEFT reads and writes the same, that nothing is half done, and that no file of others does
harm, is tested in ``promises``.
"""

import json
import os
import re
import stat
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import peft
import pytest
import torch
from helpers import attempt, scramble
from tiny_net import X, tiny_net
from torch import nn

from lora_edu import adapt, checkpoint
from lora_edu.adapt import LoraConfig, add_lora
from lora_edu.checkpoint import COMMITTED, CONFIG, SAVING, WEIGHTS, load_adapter, save_adapter

Q_V = ["query", "value"]
KEY = "base_model.model.body.layers.0.query.lora_A.weight"


def trained(model=None, **fields):
    config = LoraConfig(**{"target_modules": Q_V, "r": 4, **fields})
    return scramble(add_lora(model or tiny_net(), config), 1)


@pytest.fixture
def saved(tmp_path):
    save_adapter(trained(modules_to_save=["head"]), tmp_path / "new" / "folder")
    return tmp_path / "new" / "folder"


def edit(folder, **fields):
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refuse(folder, message):
    """Assert that loading fails with this message and leaves no trace in the model."""
    model = tiny_net()
    model.body.requires_grad_(False)  # a state of its own to come back to
    assert re.search(f"^ValueError: .*{message}", attempt(load_adapter, model, folder)[1])


# -- what is written is read ------------------------------------------------------------------


def test_saved_and_loaded_while_it_is_merged(tmp_path):
    ours = trained(modules_to_save=["head"], lora_dropout=0.1)
    expected = ours(X)
    adapt.merge(ours)
    save_adapter(ours, tmp_path)
    again = load_adapter(tiny_net(), tmp_path)
    assert again.lora_config == ours.lora_config
    assert torch.equal(again(X), expected)


def test_the_first_pattern_that_matches_is_still_the_first_after_saving(tmp_path):
    """PEFT sorts the patterns when it saves, and cannot load such a file of its own again."""
    ours = trained(rank_pattern={r"layers\.1\.query": 2, "1.*query": 6})
    save_adapter(ours, tmp_path)
    assert torch.equal(load_adapter(tiny_net(), tmp_path)(X), ours(X))
    theirs = peft.PeftModel.from_pretrained(tiny_net(), str(tmp_path))
    torch.testing.assert_close(theirs(X), ours(X))


def test_what_is_tied_inside_of_a_module_to_save_is_saved_twice(tmp_path):
    def tied():
        torch.manual_seed(0)
        pair = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        pair[1].weight = pair[0].weight
        return nn.ModuleDict({"query": nn.Linear(3, 3), "pair": pair})

    ours = trained(tied(), target_modules=["query"], modules_to_save=["pair"])
    save_adapter(ours, tmp_path)
    pair = load_adapter(tied(), tmp_path)["pair"]
    assert pair[1].weight is pair[0].weight
    assert torch.equal(pair[0].weight, ours["pair"][0].weight)


def test_a_model_that_came_from_a_path_is_saved(tmp_path):
    ours = trained()
    ours.config = SimpleNamespace(name_or_path=tmp_path)
    save_adapter(ours, tmp_path)
    assert str(tmp_path) in (tmp_path / CONFIG).read_text(encoding="utf-8")


IGNORED = [
    {"peft_version": "9.9", "task_type": "SEQ_CLS", "inference_mode": False, "revision": "x"},
    {"auto_mapping": {"a": "b"}, "megatron_core": "m", "qalora_group_size": 16},
    {"use_dora": False, "layers_to_transform": None, "loftq_config": {}, "from_the_future": ""},
    {"init_lora_weights": "gaussian", "fan_in_fan_out": True, "rank_pattern": None},
    {"exclude_modules": ["key", "tanh", "no.such"], "layers_to_transform": []},
    {"exclude_modules": r".*\.key", "from_the_future": False},
    {"init_lora_weights": False, "target_parameters": [], "exclude_modules": []},
]


@pytest.mark.parametrize("fields", IGNORED)
def test_fields_that_change_nothing_are_ignored(saved, fields):
    expected = load_adapter(tiny_net(), saved)(X)
    edit(saved, **fields)
    assert torch.equal(load_adapter(tiny_net(), saved)(X), expected)


# -- what is wrong is said, and the model left as it was --------------------------------------


ENDLESS = r"(?:(?:(?:(?:.|..|...|....)+)+)+)+[!?]"  # it tries each way to cut a name into pieces
EXPERTS = "mlp.experts.gate_up_proj"
ABSENT = r"lora_A\.weight must be absent, got \(4, 4\)"
REFUSED = [
    ("use_dora", True, r"lora_magnitude_vector must be \(4,\), got nothing"),
    ("use_rslora", "false", "use_rslora must be True or False, got 'false'"),
    ("bias", "lora_only", 'bias = "lora_only" is not supported'),
    ("layers_to_transform", [0], rf"layers\.1\..*{ABSENT}"),
    ("exclude_modules", ["query"], rf"layers\.0\.query\.{ABSENT}"),
    ("exclude_modules", r".*\.[01]\.\w+", "target_modules must match a linear layer"),
    ("target_parameters", [EXPERTS], f'"{EXPERTS}".* not supported'),
    ("init_lora_weights", "pissa_niter_4", 'init_lora_weights must be True or "pissa"'),
    ("r", 1e1, r"r must be an integer, got 10\.0"),
    ("lora_alpha", 10**400, "lora_alpha must be greater than 0 and finite, got 1000"),
    ("rank_pattern", {ENDLESS: 4}, "takes too long to compare with"),
    ("target_modules", ENDLESS, "takes too long to compare with"),
    ("modules_to_save", None, r"head\.bias must hold the numbers of the model itself"),
    ("peft_type", "IA3", 'peft_type = "IA3" is not supported'),
    ("peft_type", None, "not the configuration of an adapter"),
    ("from_the_future", 0, "from_the_future = 0 is not supported"),
    ("kasa_config", {}, r"kasa_config = \{\} is not supported"),  # which PEFT would switch on
]


@pytest.mark.parametrize(("field", "value", "message"), REFUSED)
def test_a_configuration_that_does_not_serve(saved, field, value, message, monkeypatch):
    monkeypatch.setattr(adapt, "PATIENCE", 0.1)
    edit(saved, **{field: value})
    refuse(saved, message)


def test_a_huge_and_a_nested_configuration_are_refused(saved):
    path = saved / CONFIG
    whole = path.read_bytes()
    path.write_bytes(whole + b" " * 1_000_000)
    refuse(saved, f"{CONFIG}: a configuration must be at most 1 MB")
    path.write_bytes(whole[:-3] + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    refuse(saved, f"{CONFIG}: maximum recursion depth")


def test_a_model_without_an_adapter_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match=r"call add_lora\(model, config\) first"):
        save_adapter(tiny_net(), tmp_path / "x")
    assert not (tmp_path / "x").exists()


# -- what others do to the folder -------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no such modes, and lets few make links")
def test_no_link_is_followed(saved, tmp_path):
    assert stat.S_IMODE((saved / WEIGHTS).stat().st_mode) == 0o644
    (tmp_path / CONFIG).write_text("mine")
    for name in (SAVING, COMMITTED):
        (saved / name).symlink_to(tmp_path)
        with pytest.raises(OSError, match=rf"{name} must be no link"):
            save_adapter(trained(), saved)
        if name == COMMITTED:
            refuse(saved, r"\.adapter-committed must be no link")
        (saved / name).unlink()
    (saved / SAVING).mkdir()
    (saved / SAVING / CONFIG).symlink_to(tmp_path / CONFIG)
    save_adapter(trained(), saved)
    assert not (saved / CONFIG).is_symlink()
    assert (tmp_path / CONFIG).read_text() == "mine"


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_file_that_is_damaged_or_missing_is_named(saved, name):
    path = saved / name
    path.write_bytes(path.read_bytes()[:100])
    refuse(saved, name)
    path.rename(saved / "adapter_model.bin")  # a pickle there is not read
    refuse(saved, name)


def test_a_file_that_may_not_be_read_is_named(saved, monkeypatch):
    monkeypatch.setattr(Path, "open", Mock(side_effect=PermissionError(13, "Permission denied")))
    refuse(saved, r"adapter_config\.json: .*Permission denied")


def test_what_is_saved_between_two_reads_is_read_as_a_whole(saved, monkeypatch):
    """Also if the configuration is then, word for word, what it was."""
    opened, read = [], checkpoint._open

    def disturbed(folder, name):
        opened.append(name)
        if len(opened) in (2, 3):  # the configuration of r = 4 was opened, then the tensors of 2
            save_adapter(trained(r=2 * len(opened) - 2), folder)
        return read(folder, name)

    monkeypatch.setattr(checkpoint, "_open", disturbed)
    config, tensors = checkpoint.read_adapter(saved)
    assert config.r == 4
    assert all(4 in tensor.shape for tensor in tensors.values())
    assert len(opened) == 6


def test_what_a_killed_save_has_left_is_removed(saved):
    for place in (saved / SAVING, saved / COMMITTED):
        save_adapter(trained(), place)
        (place / ".tmpAbC").write_text("safetensors writes here first")
    save_adapter(trained(r=2), saved)
    assert sorted(os.listdir(saved)) == [CONFIG, WEIGHTS]
    assert checkpoint.read_adapter(saved)[0].r == 2


def test_a_file_that_is_moved_while_it_is_read_is_found_at_its_place(saved, monkeypatch):
    moved, is_file = saved / COMMITTED / CONFIG, Path.is_file
    moved.parent.mkdir()
    (saved / CONFIG).rename(moved)

    def found(path):
        there = is_file(path)
        if path == moved and there:
            moved.rename(saved / CONFIG)
        return there

    monkeypatch.setattr(Path, "is_file", found)
    assert checkpoint.read_adapter(saved)[0].r == 4
