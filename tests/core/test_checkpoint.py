"""Adapters on disk: both ways with PEFT, and nothing half done, on disk or in the model."""

import json
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import peft
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
)

from lora_edu import adapt, checkpoint
from lora_edu.adapt import LoraConfig, add_lora
from lora_edu.checkpoint import load_adapter, read_adapter, save_adapter


def bert():
    config = BertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=50,
        num_labels=3,
        initializer_range=0.5,  # far from linear: what an adapter does is seen in the logits
    )
    return BertForSequenceClassification(config)


def distilbert():
    return DistilBertForSequenceClassification(
        DistilBertConfig(
            dim=16, n_layers=2, n_heads=2, hidden_dim=32, vocab_size=50, initializer_range=0.5
        )
    )


def gpt2():
    tokens = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(
        GPT2Config(
            n_embd=16,
            n_layer=2,
            n_head=2,
            vocab_size=50,
            n_positions=16,
            initializer_range=0.5,
            **tokens,
        )
    )


def build(family, dtype=torch.float32):
    """Return the same base model at each call, in eval mode (no dropout)."""
    torch.manual_seed(0)
    return family().to(dtype).eval()


def scramble(model):
    """Stand in for training: give every trainable tensor other values."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                values = torch.randn(parameter.shape, generator=generator) / 4
                parameter.copy_(values)
    return model


def logits(model):
    tokens = torch.arange(10).reshape(2, 5)
    with torch.no_grad():
        return model(tokens).logits


Q = ["query", "value"]
CASES = {
    "plain": (bert, {"target_modules": Q}),
    "rslora": (bert, {"target_modules": Q, "use_rslora": True}),
    "patterns": (
        bert,
        {
            "target_modules": [*Q, "intermediate.dense"],
            "rank_pattern": {r"layer\.1\.attention\.self\.query": 2, "dense": 6},
            "alpha_pattern": {"value": 32},
        },
    ),
    "regex": (bert, {"target_modules": r".*layer\.1\.attention\.self\.(query|key)"}),
    "all-linear": (bert, {"target_modules": "all-linear", "modules_to_save": ["classifier"]}),
    "Conv1D": (gpt2, {"target_modules": ["c_attn", "c_proj"]}),
    "Conv1D all-linear": (gpt2, {"target_modules": "all-linear"}),
    "head": (bert, {"target_modules": Q, "modules_to_save": ["classifier"]}),
    "two heads": (distilbert, {"target_modules": ["q_lin"], "modules_to_save": ["classifier"]}),
}
TYPES = [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("case", CASES)
def test_what_we_save_peft_loads(tmp_path, case, dtype):
    family, options = CASES[case]
    ours = scramble(add_lora(build(family, dtype), LoraConfig(r=4, lora_alpha=8, **options)))
    save_adapter(ours, tmp_path)
    theirs = peft.PeftModel.from_pretrained(build(family, dtype), tmp_path)
    difference = (logits(theirs) - logits(ours)).abs().max()
    assert difference <= (1e-5 if dtype == torch.float32 else 0)  # bfloat16: one path, PEFT's
    assert (logits(theirs) - logits(build(family, dtype))).abs().max() > 0.1  # it did something


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("case", CASES)
def test_what_peft_saves_we_load_and_save_again_alike(tmp_path, case, dtype):
    family, options = CASES[case]
    extra = {"fan_in_fan_out": True} if family is gpt2 else {}
    config = peft.LoraConfig(r=4, lora_alpha=8, **options, **extra)
    theirs = scramble(peft.get_peft_model(build(family, dtype), config)).eval()
    theirs.save_pretrained(tmp_path / "theirs", save_embedding_layers=False)
    ours = load_adapter(build(family, dtype), tmp_path / "theirs")
    difference = (logits(theirs) - logits(ours)).abs().max()
    assert difference <= (1e-5 if dtype == torch.float32 else 0)  # bfloat16: one path, PEFT's

    save_adapter(ours, tmp_path / "ours")
    files = [tmp_path / who / "adapter_model.safetensors" for who in ("theirs", "ours")]
    expected, saved = map(load_file, files)
    assert saved.keys() == expected.keys()
    for key, tensor in expected.items():
        assert saved[key].dtype == tensor.dtype
        assert torch.equal(saved[key], tensor)
    with safe_open(files[1], "pt") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.parametrize("merged", [False, True])
def test_saved_and_loaded_by_ourselves_merged_or_not(tmp_path, merged):
    config = LoraConfig(target_modules=Q, modules_to_save=["classifier"], lora_dropout=0.1)
    ours = scramble(add_lora(build(bert), config))
    expected = logits(ours)
    tensors = {n: t.clone() for n, t in adapt.adapter_tensors(ours).items()}
    if merged:
        adapt.merge(ours)
    save_adapter(ours, tmp_path / "new" / "folder")
    again = load_adapter(build(bert), tmp_path / "new" / "folder")
    assert again.lora_config == config
    assert torch.equal(logits(again), expected)
    assert adapt.adapter_tensors(again).keys() == tensors.keys()
    for name, tensor in adapt.adapter_tensors(again).items():
        assert torch.equal(tensor, tensors[name])


def test_the_first_pattern_that_matches_is_still_the_first_after_saving(tmp_path):
    """PEFT sorts the patterns when it saves, and cannot load such a file of its own again."""
    patterns = {r"layer\.1\.attention\.self\.query": 2, "attention.*query": 6}
    ours = scramble(add_lora(build(bert), LoraConfig(target_modules=Q, rank_pattern=patterns)))
    save_adapter(ours, tmp_path)
    theirs = peft.PeftModel.from_pretrained(build(bert), tmp_path)
    assert (logits(theirs) - logits(ours)).abs().max() <= 1e-5
    assert torch.equal(logits(load_adapter(build(bert), tmp_path)), logits(ours))


def test_another_saved_adapter_can_be_swapped_in(tmp_path):
    one = add_lora(build(bert), LoraConfig(target_modules=Q))
    other = scramble(add_lora(build(bert), LoraConfig(target_modules=Q)))
    save_adapter(other, tmp_path)
    config, tensors = read_adapter(tmp_path)
    assert config == one.lora_config
    adapt.swap_adapter(one, tensors)
    assert torch.equal(logits(one), logits(other))


def test_the_embedding_that_saves_space(tmp_path):
    """2 layers of query and value, r = 4, 16 × 16: 4 · 4 · 32 = 512 numbers, 2 KiB."""
    save_adapter(add_lora(build(bert), LoraConfig(target_modules=Q, r=4)), tmp_path)
    assert sum(t.numel() for t in load_file(tmp_path / "adapter_model.safetensors").values()) == 512
    assert 2048 < (tmp_path / "adapter_model.safetensors").stat().st_size < 2048 + 2000


# What is wrong with a file is said, and the model left as it was


@pytest.fixture
def saved(tmp_path):
    config = LoraConfig(target_modules=Q, r=4, modules_to_save=["classifier"])
    save_adapter(scramble(add_lora(build(bert), config)), tmp_path)
    return tmp_path


def refuse(directory, message):
    """Assert that loading fails with this message and leaves no trace in the model."""
    model = build(bert)
    model.bert.embeddings.requires_grad_(False)  # a state of its own to come back to
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainable = {name: p.requires_grad for name, p in model.named_parameters()}
    modules, attributes = list(model.named_modules()), set(vars(model))
    with pytest.raises(ValueError, match=message):
        load_adapter(model, directory)
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert {name: p.requires_grad for name, p in model.named_parameters()} == trainable
    assert list(model.named_modules()) == modules
    assert set(vars(model)) == attributes


def edit(directory, **fields):
    path = directory / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"peft_version": "9.9", "task_type": "SEQ_CLS", "inference_mode": False, "revision": "x"},
        {"auto_mapping": {"a": "b"}, "megatron_core": "m", "qalora_group_size": 16},
        {"use_dora": False, "layers_to_transform": None, "loftq_config": {}, "from_the_future": ""},
        {"init_lora_weights": "gaussian", "fan_in_fan_out": True, "rank_pattern": None},
        {"init_lora_weights": False, "target_parameters": [], "trainable_token_indices": None},
    ],
)
def test_fields_that_change_nothing_are_ignored(saved, fields):
    expected = logits(load_adapter(build(bert), saved))
    edit(saved, **fields)
    assert torch.equal(logits(load_adapter(build(bert), saved)), expected)


ENDLESS = r"(?:(?:\w|\w\w|\.)+)+[!?]"  # it tries each way to cut a name into pieces


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"use_dora": True}, r"lora_magnitude_vector must be \(16,\), got nothing"),
        ({"use_dora": "yes"}, "use_dora must be True or False, got 'yes'"),
        ({"use_rslora": "false"}, "use_rslora must be True or False, got 'false'"),
        ({"bias": "lora_only"}, 'bias = "lora_only" is not supported'),
        ({"layers_to_transform": [0]}, r"layer\.1\..*lora_A\.weight must be absent, got \(4, 16\)"),
        ({"layers_to_transform": ["0"]}, "layers_to_transform must be a list of numbers"),
        ({"layers_pattern": "layer"}, 'layers_pattern = "layer" is not supported'),
        ({"exclude_modules": ["key"]}, r'exclude_modules = \["key"\] is not supported'),
        ({"init_lora_weights": "pissa_niter_4"}, 'init_lora_weights must be True or "pissa"'),
        ({"r": 1e1}, r"r must be an integer, got 10\.0"),
        ({"r": -4}, "r must be at least 1, got -4"),
        ({"r": 1000}, r"lora_A\.weight must be \(1000, 16\), got \(4, 16\)"),
        ({"r": 10**7}, "r must be at most 1000 for bert"),
        ({"lora_alpha": float("nan")}, "lora_alpha must be greater than 0 and finite, got nan"),
        ({"lora_alpha": 10**400}, "lora_alpha must be greater than 0 and finite, got 1000"),
        ({"rank_pattern": {"(": 4}}, "must be a regular expression"),
        ({"rank_pattern": {ENDLESS: 4}}, "takes too long to compare with"),
        ({"target_modules": ENDLESS}, "takes too long to compare with"),
        ({"peft_type": "IA3"}, 'peft_type = "IA3" is not supported'),
        ({"from_the_future": 0}, "from_the_future = 0 is not supported"),
        ({"r": 0}, "r must be at least 1, got 0"),
        ({"target_modules": None}, "target_modules"),
        ({"target_modules": ["nothing"]}, "target_modules must match a linear layer"),
        ({"rank_pattern": [3]}, r"rank_pattern must be a dict, got \[3\]"),
        ({"r": 8}, r"lora_A\.weight must be \(8, 16\), got \(4, 16\)"),
        ({"target_modules": ["query"]}, r"value\.lora_A\.weight must be absent, got \(4, 16\)"),
        ({"target_modules": [*Q, "key"]}, r"key\.lora_A\.weight must be \(4, 16\), got nothing"),
        ({"modules_to_save": None}, r"classifier\.bias must be absent, got \(3,\)"),
    ],
)
def test_a_configuration_that_does_not_serve(saved, fields, message, monkeypatch):
    monkeypatch.setattr(adapt, "PATIENCE", 0.1)
    edit(saved, **fields)
    refuse(saved, message)


def rewrite(directory, change):
    path = directory / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


KEY = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(KEY), r"query\.lora_A\.weight must be \(4, 16\), got nothing"),
        (
            lambda t: t.pop("base_model.model.classifier.bias"),
            r"classifier\.bias must be \(3,\), got nothing",
        ),
        (
            lambda t: t.update({KEY.replace("lora_A", "lora_magnitude_vector"): torch.ones(1)}),
            r"lora_magnitude_vector\.weight must be absent, got \(1,\)",
        ),
        (
            lambda t: t.update({KEY: torch.ones(4, 15)}),
            r"query\.lora_A\.weight must be \(4, 16\), got \(4, 15\)",
        ),
        (lambda t: t.update(weight=torch.ones(1)), r"weight must be absent, got \(1,\)"),
    ],
)
def test_tensors_that_do_not_fit(saved, change, message):
    rewrite(saved, change)
    refuse(saved, message)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "foreign"])
def test_a_damaged_file_is_named(saved, name, damage):
    path = saved / name
    content = path.read_bytes()
    path.unlink()
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "foreign":
        path.write_bytes(b'{"model_type": "bert"}' if name.endswith("json") else b"PK\3\4" * 99)
    refuse(saved, name)


def test_a_huge_and_a_nested_configuration_are_refused(saved):
    path = saved / "adapter_config.json"
    whole = path.read_bytes()
    path.write_bytes(whole + b" " * 10_000_000)
    refuse(saved, "a configuration must be at most 10 MB")
    path.write_bytes(whole[:-3] + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    refuse(saved, "adapter_config.json: maximum recursion depth")


def test_two_keys_of_one_tensor_are_refused(saved):
    rewrite(saved, lambda t: t.update({KEY.removeprefix("base_model.model."): t[KEY].clone()}))
    refuse(saved, "two keys stand for one tensor")


@pytest.mark.skipif(os.name == "nt", reason="Windows lets few make links")
@pytest.mark.parametrize("name", [".adapter-saving", ".adapter-committed"])
def test_no_link_is_followed(saved, tmp_path_factory, name):
    other = tmp_path_factory.mktemp("other")
    (other / "adapter_config.json").write_text("mine")
    (saved / name).symlink_to(other)
    model = add_lora(build(bert), LoraConfig(target_modules=Q))
    with pytest.raises(OSError, match=rf"{name} must be no link"):
        save_adapter(model, saved)
    if name.endswith("committed"):
        refuse(saved, r"\.adapter-committed must be no link")
    (saved / name).unlink()
    (saved / ".adapter-saving").mkdir()
    (saved / ".adapter-saving" / "adapter_config.json").symlink_to(other / "adapter_config.json")
    save_adapter(model, saved)
    assert not (saved / "adapter_config.json").is_symlink()
    assert [path.read_text() for path in other.iterdir()] == ["mine"]


def test_what_is_saved_between_two_reads_is_read_as_a_whole(saved, monkeypatch):
    other = scramble(add_lora(build(bert), LoraConfig(target_modules=Q, r=2)))
    read, reads = checkpoint._read, []

    def disturbed(directory, name):
        reads.append(name)
        if len(reads) == 2:  # the configuration was read
            save_adapter(other, directory)
        return read(directory, name)

    monkeypatch.setattr(checkpoint, "_read", disturbed)
    config, tensors = read_adapter(saved)
    assert config.r == 2
    assert all(2 in tensor.shape for tensor in tensors.values())


def test_a_file_that_is_moved_while_it_is_read_is_found_at_its_place(saved, monkeypatch):
    expected = read_adapter(saved)[0]
    (saved / ".adapter-committed").mkdir()
    moved = saved / ".adapter-committed" / "adapter_config.json"
    (saved / "adapter_config.json").rename(moved)
    is_file = Path.is_file

    def found(path):
        there = is_file(path)
        if path == moved and there:
            moved.rename(saved / "adapter_config.json")
        return there

    monkeypatch.setattr(Path, "is_file", found)
    assert read_adapter(saved)[0] == expected


def test_what_is_tied_inside_of_a_module_to_save_is_saved_twice(tmp_path):
    def tied():
        torch.manual_seed(0)
        pair = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        pair[1].weight = pair[0].weight
        return nn.ModuleDict({"fc": nn.Linear(3, 3), "pair": pair})

    config = LoraConfig(target_modules=["fc"], modules_to_save=["pair"])
    save_adapter(scramble(add_lora(tied(), config)), tmp_path)
    pair = load_adapter(tied(), tmp_path)["pair"]
    assert pair[1].weight is pair[0].weight
    assert not torch.equal(pair[0].weight, tied()["pair"][0].weight)


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no such modes")
def test_others_may_read_an_adapter(saved):
    assert stat.S_IMODE((saved / "adapter_model.safetensors").stat().st_mode) == 0o644


def test_a_pickle_is_not_read(saved):
    (saved / "adapter_model.safetensors").unlink()
    torch.save({KEY: torch.ones(4, 16)}, saved / "adapter_model.bin")
    refuse(saved, "adapter_model.safetensors")


def test_a_model_with_lora_is_not_loaded_into(saved):
    with pytest.raises(ValueError, match="no LoRA layers yet"):
        load_adapter(load_adapter(build(bert), saved), saved)


def test_a_number_that_only_float64_holds_is_loaded_into_float64(tmp_path):
    new = lambda: nn.Sequential(nn.Linear(3, 3).double())  # noqa: E731
    ours = add_lora(new(), LoraConfig(target_modules=["0"], r=2))
    with torch.no_grad():
        ours[0].lora_A.fill_(1e39)
    save_adapter(ours, tmp_path)
    assert (load_adapter(new(), tmp_path)[0].lora_A == 1e39).all()


def test_a_model_that_came_from_a_path_is_saved(tmp_path):
    ours = add_lora(build(bert), LoraConfig(target_modules=Q))
    ours.config.name_or_path = tmp_path
    save_adapter(ours, tmp_path)
    saved = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert saved["base_model_name_or_path"] == str(tmp_path)


def test_a_model_without_lora_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match=r"call add_lora\(model, config\) first"):
        save_adapter(nn.Sequential(nn.Linear(2, 2)), tmp_path / "x")
    assert not (tmp_path / "x").exists()


# Atomicity


def test_saving_over_an_adapter_keeps_other_files_and_leaves_no_rubbish(saved):
    (saved / "README.md").write_text("mine")
    save_adapter(scramble(add_lora(build(bert), LoraConfig(target_modules=Q, r=2))), saved)
    names = {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert set(os.listdir(saved)) == names
    assert read_adapter(saved)[0].r == 2


def test_an_error_while_writing_leaves_the_old_adapter(saved, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    expected, files = logits(load_adapter(build(bert), saved)), set(os.listdir(saved))
    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_adapter(add_lora(build(bert), LoraConfig(target_modules=Q, r=2)), saved)
    assert set(os.listdir(saved)) == files
    assert torch.equal(logits(load_adapter(build(bert), saved)), expected)


KILLED = textwrap.dedent("""
    import os, shutil, sys
    from pathlib import Path
    import torch
    from torch import nn
    from lora_edu.adapt import LoraConfig, add_lora
    from lora_edu.checkpoint import load_adapter, save_adapter

    torch.set_num_threads(1)
    root = Path(sys.argv[1])

    def make(r):  # r stands in the configuration, in the shapes and in the values
        model = add_lora(nn.Sequential(nn.Linear(64, 64)), LoraConfig(target_modules=["0"], r=r))
        nn.init.constant_(model[0].lora_B, r)
        return model

    old, new = make(2), make(5)
    save_adapter(old, root / "old")
    point, outcomes = 0, []
    while True:
        directory = root / str(point)
        shutil.copytree(root / "old", directory)
        child = os.fork()
        if not child:
            seen = 0
            def kill(event, arguments):  # before each operation on a file, the point-th time
                global seen
                if event == "open" or event.startswith("os."):
                    if seen == point:
                        os._exit(9)
                    seen += 1
            sys.addaudithook(kill)
            save_adapter(new, directory)
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        layer = load_adapter(nn.Sequential(nn.Linear(64, 64)), directory)[0]
        assert (layer.lora_B == layer.r).all()
        outcomes.append(layer.r)
        save_adapter(new, directory)  # and the next save clears up
        assert sorted(os.listdir(directory)) == ["adapter_config.json", "adapter_model.safetensors"]
        assert load_adapter(nn.Sequential(nn.Linear(64, 64)), directory)[0].r == 5
        if not killed:
            break
        point += 1
    print(*outcomes)
""")


@pytest.mark.seconds
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
def test_killed_at_every_operation_on_a_file(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    outcomes = list(map(int, result.stdout.split()))
    assert len(outcomes) > 5
    assert outcomes == sorted(outcomes)  # the old one up to some point, then the new one
    assert {outcomes[0], outcomes[-1]} == {2, 5}
