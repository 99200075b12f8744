"""`lora-edu finetune`, on a tiny BERT made here: what it leaves, resumes, spreads and refuses."""

import ast
import contextlib
import csv
import functools
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    PreTrainedTokenizerFast,
    pipeline,
)

from lora_edu import adapt, assets, chat
from lora_edu.checkpoint import load_adapter
from lora_edu.cli import main
from lora_edu.finetune import Chats, Texts, _last, _write_merged, read_table, split

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
FRUIT, VEHICLES = ["apple", "pear", "plum", "fig"], ["car", "bus", "tram", "bike"]
COLOURS = ["red", "green", "blue", "dark"]
LENGTH = 16  # positions of the model
QUICK = ["--batch-size", "8", "--epochs", "4", "--lr", "5e-3"]


def bert(folder, kind=BertModel, dropout=0.1):
    """Write a model of two layers and its tokenizer, as transformers does; return the folder."""
    vocabulary = [*SPECIAL, *FRUIT, *VEHICLES, *COLOURS]
    numbers = {word: number for number, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(word, numbers[word]) for word in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, ends)
    names = dict(zip(["pad_token", "unk_token", "cls_token", "sep_token"], SPECIAL, strict=False))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        vocab_size=len(vocabulary),
        max_position_embeddings=LENGTH,
        initializer_range=0.2,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kind(config).save_pretrained(folder)
    return folder


def table(path, rows, columns=("text", "kind")):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def sentences(n):
    """Draw n different texts, of two kinds in turn."""
    generator, found = random.Random(0), {}
    while len(found) < n:
        kind, words = [("fruit", FRUIT), ("vehicle", VEHICLES)][len(found) % 2]
        drawn = generator.choices(words, k=2) + generator.choices(COLOURS, k=2)
        found.setdefault(" ".join(generator.sample(drawn, 4)), kind)
    return list(found.items())


def command(data, model, out, *more):
    options = ["--text", "text", "--label", "kind", *QUICK, *more]
    return ["finetune", "--data", str(data), "--model", str(model), "--out", str(out), *options]


def python(*arguments, **kwargs):
    """Start Python with one thread, its stdout and stderr as text."""
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **kwargs}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *map(str, arguments)], env=environment, **how)


def logits(model, folder, texts):
    tokens = AutoTokenizer.from_pretrained(folder)(list(texts), padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**tokens).logits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return table(tmp_path_factory.mktemp("data") / "mine.csv", sentences(176))


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Runs are compared to the last bit, some of them in processes with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def run(folder, data, tmp_path_factory):
    """An uninterrupted run with --merge: its folder, and what it printed."""
    out, printed = tmp_path_factory.mktemp("run") / "out", io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(command(data, folder, out, "--merge")) == 0
    return out, printed.getvalue()


# -- what it leaves ---------------------------------------------------------------------------


def test_it_leaves_an_adapter_its_metrics_and_nothing_half_done(run):
    out, _ = run
    assert sorted(path.name for path in out.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "checkpoints", "merged",
        "metrics.json", "settings.json",
    ]  # fmt: skip
    # A checkpoint is an adapter as well, and without the frozen weights.
    checkpoints = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert checkpoints == ["checkpoint-60", "checkpoint-80"]
    last = load_file(out / "checkpoints" / "checkpoint-80" / "adapter_model.safetensors")
    final = load_file(out / "adapter_model.safetensors")
    assert last.keys() == final.keys()
    assert all(torch.equal(last[name], final[name]) for name in final)


def test_peft_loads_it_by_the_lines_that_are_printed(run, folder, data):
    out, printed = run
    code = textwrap.dedent(printed[printed.index("  base = ") :])
    names = {"AutoModelForSequenceClassification": AutoModelForSequenceClassification}
    exec(code, {**names, "PeftModel": peft.PeftModel}, names)

    texts, _ = read_table(data, "text", "kind")
    expected = logits(names["model"], folder, texts)
    ours = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    torch.testing.assert_close(logits(load_adapter(ours, out), folder, texts), expected)
    merged = AutoModelForSequenceClassification.from_pretrained(out / "merged")
    torch.testing.assert_close(logits(merged, out / "merged", texts), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", [Texts, Chats])
def test_the_printed_lines_take_any_path(kind):
    windows = r"C:\Users\Zoë Nguyễn"
    printed = kind.use.format(out=windows, folder=windows, labels=2)
    code = ast.parse(textwrap.dedent(printed[printed.index("  base = ") :]))
    paths = [node.value for node in ast.walk(code) if isinstance(node, ast.Constant)]
    assert [path for path in paths if isinstance(path, str)] == [windows, windows]
    if kind is Chats:
        assert printed.startswith(f'lora-edu chat "{windows}" --adapter "{windows}"\n')


def test_a_merged_model_that_is_in_use_stays_whole(run, tmp_path, monkeypatch):
    def refused(path, to):  # as on Windows, while somebody has opened a file in it
        raise PermissionError(13, "in use", str(path))

    shutil.copytree(run[0] / "merged", tmp_path / "merged")
    before = {path.name: path.read_bytes() for path in (tmp_path / "merged").iterdir()}
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    monkeypatch.setattr(adapt, "merge_and_unload", lambda model: model)
    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(PermissionError, match="in use"):
        _write_merged(plain, AutoTokenizer.from_pretrained(tmp_path / "merged"), tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "merged").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_the_merged_model_needs_nothing_else_and_knows_the_labels(run):
    classify = pipeline("text-classification", model=str(run[0] / "merged"), device="cpu")
    found = classify(["apple pear red plum", "tram bus red car"])
    assert [one["label"] for one in found] == ["fruit", "vehicle"]
    assert classify.model.config.label2id == {"fruit": 0, "vehicle": 1}


def test_the_metrics_are_those_of_the_model(run, folder, data):
    metrics = json.loads((run[0] / "metrics.json").read_text())
    texts, kinds = read_table(data, "text", "kind")
    chosen = split(texts, kinds, seed=0)
    merged = AutoModelForSequenceClassification.from_pretrained(run[0] / "merged")
    right = np.array(
        [
            metrics["labels"][place] == kind
            for place, kind in zip(logits(merged, folder, texts).argmax(-1), kinds, strict=True)
        ]
    )
    held_out = np.array([text in chosen for text in texts])
    assert metrics["validation"] == {"texts": 16, "accuracy": right[held_out].mean()}
    assert metrics["train"] == {"texts": 160, "accuracy": right[~held_out].mean()}
    assert metrics["validation"]["accuracy"] > 0.8  # it did learn
    assert len(metrics["loss"]) == 4 * 160 / 8
    assert metrics["truncated"] == 0
    assert metrics["versions"].keys() == {"lora_edu", "torch", "transformers"}


def test_what_is_frozen_and_what_trains_is_counted_as_peft_counts(run, folder):
    out, printed = run
    sizes = json.loads((out / "metrics.json").read_text())["parameters"]
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    whole = base.num_parameters()
    config = peft.LoraConfig(r=8, target_modules="all-linear", modules_to_save=["classifier"])
    trained, _ = peft.get_peft_model(base, config).get_nb_trainable_parameters()
    assert sizes["LoRA"] + sizes["head"] == trained
    assert sizes["head"] == 2 * 32 + 2
    assert sizes["frozen"] == whole - sizes["head"]
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines()[1:4]}
    assert rows == {k: [f"{n:_}", "numbers", f"{4 * n:_}", "bytes"] for k, n in sizes.items()}


def test_what_peft_trained_loads_here(folder, tmp_path, data):
    torch.manual_seed(1)
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    config = peft.LoraConfig(r=4, target_modules=["query", "value"], modules_to_save=["classifier"])
    theirs = peft.get_peft_model(base, config)
    texts, _ = read_table(data, "text", "kind")
    optimizer = torch.optim.SGD([p for p in theirs.parameters() if p.requires_grad], lr=0.5)
    for _ in range(3):
        tokens = AutoTokenizer.from_pretrained(folder)(texts[:8], padding=True, return_tensors="pt")
        theirs(**tokens, labels=torch.arange(8) % 2).loss.backward()
        optimizer.step()
    theirs.save_pretrained(tmp_path)
    ours = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    found = logits(load_adapter(ours, tmp_path), folder, texts)
    torch.testing.assert_close(found, logits(theirs, folder, texts), atol=1e-5, rtol=0)


def test_the_way_on_in_the_readme(run, folder, tmp_path, monkeypatch):
    """Its code is run as it stands, beside a folder called topics and one called minilm."""
    readme = (Path(__file__).parents[2] / "lora_edu" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"(?s)```py\n(.*?)```", readme)
    shutil.copytree(run[0], tmp_path / "topics")
    shutil.copytree(folder, tmp_path / "minilm")
    monkeypatch.chdir(tmp_path)
    texts = ["apple red fig dark", "bus green car blue"] * 4
    rows = AutoTokenizer.from_pretrained("minilm")(texts, return_tensors="pt")
    rows = [{"labels": place % 2, **{k: v[place] for k, v in rows.items()}} for place in range(8)]
    names = {"batches": torch.utils.data.DataLoader(rows, batch_size=4)}
    exec(code, names)

    assert names["base"].config.id2label == {0: "fruit", 1: "vehicle"}
    ours = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    found = logits(load_adapter(ours, tmp_path / "topics-2"), folder, texts)
    expected = logits(names["model"], folder, texts)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    before, after = (
        load_file(f"{name}/adapter_model.safetensors") for name in ("topics", "topics-2")
    )
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("kind", [BertForMaskedLM, AutoModelForSequenceClassification])
def test_a_head_that_is_there_and_a_pooler_that_is_not(kind, tmp_path, data, capsys):
    """Where something of the model must start anew, the adapter holds it."""
    folder = tmp_path / "model"
    if kind is BertForMaskedLM:  # has no pooler
        bert(folder, kind)
        saved = ["bert.pooler.dense", "classifier"]
    else:  # has a head, but for five labels
        bert(folder)
        five = kind.from_pretrained(folder, num_labels=5, problem_type="regression")
        five.save_pretrained(folder)
        saved = ["classifier"]
    assert main(command(data, folder, tmp_path / "out", "--epochs", "1")) == 0
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["modules_to_save"] == saved
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert tensors["base_model.model.classifier.weight"].shape == (2, 32)


# -- stopped and started again ----------------------------------------------------------------


def test_killed_and_resumed_it_ends_as_if_it_had_not_been(run, folder, data, tmp_path):
    out, arguments = tmp_path / "out", command(data, folder, tmp_path / "out", "--resume")
    first = python(
        "-m", "lora_edu.cli", *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not list(out.glob("checkpoints/checkpoint-*/trainer_state.json")):
        assert first.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    first.kill()  # at the end of an epoch, with dropout: the random numbers must go on as well
    first.wait()
    assert not (out / "metrics.json").exists()
    cut_off = out / "checkpoints" / "checkpoint-79"  # newer than all, but not whole
    cut_off.mkdir()
    (cut_off / "trainer_state.json").write_text('{\n  "global_step": 79')

    assert main(command(data, folder, out)) == 2  # without --resume, nothing is touched
    assert main(arguments) == 0
    whole = run[0]
    assert (out / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()
    adapters = [load_file(each / "adapter_model.safetensors") for each in (out, whole)]
    assert all(torch.equal(adapters[0][name], adapters[1][name]) for name in adapters[1])


@pytest.mark.parametrize(
    "file",
    ["optimizer.pt", "scheduler.pt", "rng_state.pth", "adapter_model.safetensors",
     "trainer_state.json"],
)  # fmt: skip
@pytest.mark.parametrize("how", ["cut", "overwritten", "emptied"])
def test_a_damaged_checkpoint_gives_way_to_an_older_one(run, file, how, tmp_path):
    folder = shutil.copytree(run[0] / "checkpoints", tmp_path / "checkpoints")
    older, newer = sorted(folder.iterdir())
    assert _last(folder) == str(newer)
    content = bytearray((newer / file).read_bytes())
    middle = len(content) // 2
    if how == "overwritten":  # safetensors know their sizes alone, a zip file has sums
        at = 8 if file.startswith("adapter") else middle
        content[at : at + 40] = b"\xff" * 40
    (newer / file).write_bytes(content[: {"cut": middle, "emptied": 0}.get(how)])
    assert _last(folder) == str(older)
    shutil.rmtree(older)
    assert _last(folder) is None


def test_a_run_with_a_damaged_checkpoint_is_resumed_and_ends_the_same(run, data, folder, tmp_path):
    out = shutil.copytree(run[0], tmp_path / "out")
    optimizer = out / "checkpoints" / "checkpoint-80" / "optimizer.pt"
    content = optimizer.read_bytes()
    optimizer.write_bytes(content[:2000] + bytes(100) + content[2100:])
    assert main(command(data, folder, out, "--resume")) == 0
    for name in ("metrics.json", "adapter_model.safetensors"):
        assert (out / name).read_bytes() == (run[0] / name).read_bytes()


def test_a_finished_run_is_not_trained_again_and_can_still_be_merged(run, folder, data, tmp_path):
    out, arguments = tmp_path / "out", command(data, folder, tmp_path / "out")
    assert main([*arguments, "--resume"]) == 0  # nothing to resume: it begins
    before = (out / "adapter_model.safetensors").read_bytes(), (out / "metrics.json").read_bytes()
    assert main([*arguments, "--resume", "--merge"]) == 0
    after = (out / "adapter_model.safetensors").read_bytes(), (out / "metrics.json").read_bytes()
    assert after == before
    merged = [load_file(each / "merged" / "model.safetensors") for each in (out, run[0])]
    assert all(torch.equal(merged[0][name], merged[1][name]) for name in merged[1])


def test_a_run_is_not_resumed_with_another_table(run, folder, data, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(run[0], out)
    settings = (out / "settings.json").read_text(encoding="utf-8")
    other = tmp_path / "texts.csv"
    other.write_bytes(Path(data).read_bytes().replace(b"a", b"e"))
    # The options are the same: only what stands in the file is not.
    settings = settings.replace(json.dumps(str(data)), json.dumps(str(other)))
    settings = settings.replace(json.dumps(str(run[0])), json.dumps(str(out)))
    (out / "settings.json").write_text(settings, encoding="utf-8")
    assert main(command(other, folder, out, "--resume")) == 2
    assert "options, table and model" in capsys.readouterr().err
    other.write_bytes(Path(data).read_bytes())
    assert main(command(other, folder, out, "--resume")) == 0


def test_a_run_is_not_resumed_with_other_options(run, folder, data, capsys):
    before = {path: path.stat().st_mtime_ns for path in run[0].rglob("*")}
    assert main(command(data, folder, run[0], "--resume", "--rank", "4")) == 2
    assert "hold a run with the same options, table" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in run[0].rglob("*")} == before


# -- two processes ----------------------------------------------------------------------------

# Adam would hide gradients that are twice too large, and so would clipping.
SGD = {"optim": "sgd", "max_grad_norm": 0}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
COUNTED = f"""
import functools, sys
import torch, transformers
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from lora_edu.cli import main
from lora_edu import finetune  # first: it makes transformers load what is changed now

transformers.TrainingArguments = functools.partial(transformers.TrainingArguments, **{SGD})
sent = []
parallel = torch.nn.parallel.DistributedDataParallel
init = parallel.__init__

def count(state, bucket):
    sent.append(bucket.buffer().nbytes)
    return allreduce_hook(state, bucket)

def counting_init(self, *args, **kwargs):
    init(self, *args, **kwargs)
    self.register_comm_hook(None, count)

parallel.__init__ = counting_init
code = main(sys.argv[1:])
# In one piece each: two processes write into one pipe.
sys.stdout.write(f"sent {{sum(sent)}}\\n")
sys.stdout.write(f"open {{torch.distributed.is_initialized()}}\\n")
sys.exit(code)
"""


def test_two_processes_train_as_one_and_say_what_they_exchange(tmp_path, data, monkeypatch, capfd):
    folder, script = bert(tmp_path / "model", dropout=0), tmp_path / "counted.py"
    script.write_text(COUNTED)
    more = ["--lr", "0.05", "--seed", "3"]
    process = python(*TORCHRUN, script, *command(data, folder, tmp_path / "two", *more))
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    arguments = functools.partial(transformers.TrainingArguments, **SGD)
    monkeypatch.setattr(transformers, "TrainingArguments", arguments)
    assert main(command(data, folder, tmp_path / "one", *more)) == 0

    first, second = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")
    )
    assert len(second["loss"]) == 80
    np.testing.assert_allclose(second["loss"][:50], first["loss"][:50], rtol=0, atol=1e-4)
    assert first["loss"][0] - min(first["loss"]) > 0.1  # there was something to agree on
    assert second["validation"] == first["validation"]
    adapters = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("one", "two")]
    for name, tensor in adapters[0].items():
        torch.testing.assert_close(adapters[1][name], tensor, atol=1e-4, rtol=0)

    lines = printed.splitlines()
    assert sum(line.startswith("texts: ") for line in lines) == 1  # one process speaks
    (said,) = [line for line in lines if "all-reduced" in line]
    lora, full = (int(word.strip(";")) for word in said.split() if word[0].isdigit())
    assert lora == sum(tensor.nbytes for tensor in adapters[0].values())
    assert [line for line in lines if line.startswith("sent")] == [f"sent {80 * lora}"] * 2
    assert [line for line in lines if line.startswith("open")] == ["open False"] * 2
    whole = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    assert full == 4 * whole.num_parameters()
    assert "all-reduced" not in capfd.readouterr().out  # of the one


# -- what it refuses --------------------------------------------------------------------------

GOOD = "text,kind\napple,fruit\npear,fruit\ncar,vehicle\nbus,vehicle\n"


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, [], "No such file or directory"),
        (
            GOOD,
            ["--text", "body"],
            "has no column 'body', only ['text', 'kind']",
        ),
        (GOOD, ["--label", "class"], "has no column 'class', only ['text', 'kind']"),
        ("", [], "has no column 'text', only []"),
        ("text,kind\n", [], "must have two labels or more, got 0 rows"),
        (GOOD + "   ,fruit\n", [], "line 6: an empty text"),
        (GOOD + "apple,\n", [], "line 6: an empty kind"),
        (GOOD + "apple\n", [], "line 6, is no CSV: 1 fields, not 2: is a ',' unquoted?"),
        (GOOD + "red, green,fruit\n", [], "line 6, is no CSV: 3 fields, not 2: is a ',' unquoted?"),
        (GOOD + '"red,fruit\n', [], "is no CSV: unexpected end of data"),
        ("text,kind\nfig,fruit\nplum,fruit\n", [], "two labels or more, got 2 rows, ['fruit']"),
        ("text,kind\nfig,fruit\ncar,vehicle\n", [], "a label must have two texts or more"),
        (GOOD + "app\0le,fruit\n", [], "line 6, is no CSV: it holds NUL"),
        (GOOD + " apple,vehicle\n", [], "'apple' has two labels, 'fruit' and 'vehicle'"),
        ("text,text,kind\na,b,c\n", [], "must have two columns, and one of the name 'text'"),
        (GOOD, ["--max-length", "2"], "max_length 2 leaves no token of the text 'apple'"),
        (GOOD, ["--max-length", "1"], "max_length 1 leaves no token of the text 'apple'"),
        (GOOD, ["--rank", "1000000000"], "r must be at most 1000 for bert.encoder.layer.0"),
        (GOOD.encode() + b"p\xeache,fruit\n", [], "in UTF-8: 'utf-8' codec can't decode byte 0xea"),
        (GOOD, ["--rank", "0"], "r must be at least 1, got 0"),
        (GOOD, ["--alpha", "0"], "lora_alpha must be greater than 0 and finite, got 0.0"),
        (GOOD, ["--epochs", "0"], "epochs must be greater than 0, got 0"),
        (GOOD, ["--lr", "nan"], "lr must be greater than 0, got nan"),
        (GOOD, ["--batch-size", "-8"], "batch_size must be greater than 0, got -8"),
        (GOOD, ["--target-modules", "q_proj"], "nearest names: "),
        (GOOD, ["--model", "nowhere"], "model must be a folder with a config.json and weights"),
    ],
)
def test_what_is_wrong_is_one_line_and_code_2(
    content, options, message, folder, tmp_path, capsys, monkeypatch
):
    data, out = tmp_path / "mine.csv", tmp_path / "new" / "out"
    if content is not None:
        data.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.chdir(tmp_path)
    assert main(command(data, folder, out, *options)) == 2
    printed, error = capsys.readouterr()
    assert printed == ""
    assert error.startswith("lora-edu: ")
    assert message in error
    assert error.count("\n") == 1
    assert not out.parent.exists()


FAULTS = {
    "utf-16": lambda text, i: text.encode("utf-16"),
    "utf-16 without its mark": lambda text, i: text.encode("utf-16-be"),
    "utf-32": lambda text, i: text.encode("utf-32"),
    "latin-1": lambda text, i: text.replace("e", "é").encode("latin-1"),
    "nothing": lambda text, i: b"",
    "lines without anything": lambda text, i: b"\n" * i,
    "only a header": lambda text, i: text.split("\n")[0].encode(),
    "a header twice": lambda text, i: text.replace("kind", "text", 1).encode(),
    "a field too few": lambda text, i: text.replace(",vehicle", "", 1).encode(),
    "fields too many": lambda text, i: text.replace("\n", "," * i + "\n", 2).encode(),
    "NUL": lambda text, i: (text[:-i] + "\0" + text[-i:]).encode(),
    "an open quote": lambda text, i: (text + '"x,fruit' * i).encode(),
    "a long open quote": lambda text, i: (text + '"' + "x,fruit\n" * 10_000 * i).encode(),
    "two labels": lambda text, i: (text + "apple,vehicle\n" * i).encode(),
    "an empty label": lambda text, i: (text + "," * i + "\n").encode(),
}


@pytest.mark.parametrize("fault", FAULTS)
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(i=st.integers(1, 20), newline=st.sampled_from(["\n", "\r\n"]))
def test_a_faulty_table_is_one_line_and_nothing_is_written(fault, tmp_path, i, newline):
    data = tmp_path / "mine.csv"
    data.write_bytes(FAULTS[fault](GOOD.replace("\n", newline), i))
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        assert main(command(data, tmp_path / "no model", tmp_path / "out")) == 2
    (line,) = errors.getvalue().splitlines()
    assert line.startswith(f"lora-edu: {data}")
    assert len(line) < 1100
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


def test_a_model_with_an_adapter_beside_it_is_refused(run, data, tmp_path, capsys):
    model = bert(tmp_path / "model")
    shutil.copy(run[0] / "adapter_config.json", model)
    assert main(command(data, model, tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert error == (
        f"lora-edu: {model} holds an adapter beside the model: give each its own folder\n"
    )
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_of_the_config_are_refused(data, tmp_path, capsys):
    model = bert(tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 8}))
    assert main(command(data, model, tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert "position_embeddings.weight has another shape than config.json says" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_damaged_model_a_pickled_one_and_one_without_padding_are_refused(data, tmp_path, capsys):
    def refused(message):
        assert main(command(data, tmp_path / "model", tmp_path / "out")) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not (tmp_path / "out").exists()

    weights = bert(tmp_path / "model") / "model.safetensors"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "model")
    refused("has no padding token")
    torch.save(load_file(weights), tmp_path / "model" / "pytorch_model.bin")
    weights.write_bytes(weights.read_bytes()[:-100])
    refused("SafetensorError")
    weights.unlink()
    refused("model.safetensors")


def test_a_model_that_does_not_run_with_lora_is_refused(
    data, folder, tmp_path, monkeypatch, capsys
):
    def failing(self, *arguments, **options):
        raise AttributeError("a LoRALinear has no such thing")

    monkeypatch.setattr(transformers.BertForSequenceClassification, "forward", failing)
    assert main(command(data, folder, tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert "does not run with LoRA" in error
    assert "a LoRALinear has no such thing" in error
    assert not (tmp_path / "out").exists()


def test_processes_must_share_a_batch_evenly(data, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(transformers.TrainingArguments, "world_size", 2)
    assert main(command(data, folder, tmp_path / "out", "--batch-size", "7")) == 2
    assert "batch_size must be a multiple of 2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_not_finite_is_no_result(data, folder, tmp_path, capsys):
    assert main(command(data, folder, tmp_path / "out", "--lr", "1e30")) == 2
    assert "the loss is not finite: try a smaller lr" in capsys.readouterr().err
    assert not (tmp_path / "out" / "metrics.json").exists()
    assert not (tmp_path / "out" / "adapter_model.safetensors").exists()


# -- the table --------------------------------------------------------------------------------


def test_a_long_text_is_cut_and_counted(folder, tmp_path, capsys):
    rows = [*sentences(20), ("plum " * 40_000, "fruit"), ("car " * LENGTH, "vehicle")]
    data = table(tmp_path / "mine.csv", rows)  # the longest of 200,000 characters
    assert main(command(data, folder, tmp_path / "out", "--epochs", "1")) == 0
    assert f"2 cut to {LENGTH} tokens" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["truncated"] == 2
    assert main(command(data, folder, tmp_path / "5", "--epochs", "1", "--max-length", "5")) == 0
    assert "22 cut to 5 tokens" in capsys.readouterr().out


def test_the_table_may_come_from_a_spreadsheet(tmp_path):
    path = tmp_path / "mine.csv"
    rows = ['\ufeff"text",id,kind', '"two\r\nlines, ""quoted""",1, fruit ', "", "Phở,2,soup", ""]
    path.write_bytes("\r\n".join(rows).encode())
    texts, labels = read_table(path, "text", "kind")
    assert texts == ['two\r\nlines, "quoted"', "Phở"]
    assert labels == ["fruit", "soup"]


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xyz")), min_size=1),
    st.integers(0, 9),
)
def test_the_split_separates_texts_and_keeps_each_label_on_both_sides(rows, seed):
    texts, labels = zip(*rows, strict=True)
    distinct = {label: set() for label in labels}
    for text, label in dict(rows).items():
        distinct[label].add(text)
    if all(len(own) < 2 for own in distinct.values()):
        with pytest.raises(ValueError, match="a label must have two texts or more"):
            split(texts, labels, seed)
        return
    held_out = split(texts, labels, seed)
    assert split(texts, labels, seed) == held_out
    assert held_out <= set(texts)
    for own in distinct.values():
        assert len(own & held_out) == (1 if len(own) > 1 else 0)


def test_the_split_holds_out_a_tenth_drawn_from_the_seed():
    texts = [f"text {number}" for number in range(400)]
    labels = ["a"] * 300 + ["b"] * 100
    drawn = [split(texts, labels, seed) for seed in range(3)]
    assert [len(each & set(texts[:300])) for each in drawn] == [30, 30, 30]
    assert [len(each & set(texts[300:])) for each in drawn] == [10, 10, 10]
    assert drawn[0] != drawn[1] != drawn[2]


# -- other families ---------------------------------------------------------------------------

SMALL = {"vocab_size": 17, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
ENDS = {"bos_token_id": 2, "eos_token_id": 3}
SIDES = {f"{side}_{what}": n for side in ("encoder", "decoder")
         for what, n in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))}  # fmt: skip
FAMILIES = {  # its configuration, and how many tokens it reads: None is no limit
    "Bloom": (transformers.BloomConfig(**SMALL, **ENDS), None),
    "XLNet": (transformers.XLNetConfig(vocab_size=17, d_model=32, n_layer=1, n_head=2, d_inner=32),
              None),
    "T5": (transformers.T5Config(vocab_size=17, d_model=32, d_kv=8, d_ff=32, num_layers=1,
                                 num_heads=2, decoder_start_token_id=0, **ENDS), None),
    "Roberta": (transformers.RobertaConfig(
        **SMALL, intermediate_size=32, max_position_embeddings=LENGTH + 2, pad_token_id=1), LENGTH),
    "MPNet": (transformers.MPNetConfig(
        **SMALL, intermediate_size=32, max_position_embeddings=LENGTH + 2, pad_token_id=1), LENGTH),
    "GPT2": (transformers.GPT2Config(**SMALL, n_positions=LENGTH, **ENDS), LENGTH),
    "OPT": (transformers.OPTConfig(**SMALL, ffn_dim=32, word_embed_proj_dim=32,
                                   max_position_embeddings=LENGTH, pad_token_id=0), LENGTH),
    "Bart": (transformers.BartConfig(vocab_size=17, d_model=32, max_position_embeddings=LENGTH,
                                     pad_token_id=0, **ENDS, **SIDES), LENGTH),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_any_family_trains_on_texts_longer_than_it_reads(family, tmp_path, capsys):
    """Its tokenizer sets no limit. What cannot train is refused before anything is written."""
    folder, (config, most) = bert(tmp_path / "model"), FAMILIES[family]
    model = transformers.AutoModel.from_config(config)
    assert chat.positions(model) == most or (most is None and chat.positions(model) > 10**9)
    model.save_pretrained(folder)
    data = table(
        tmp_path / "a.csv", [*sentences(20), ("plum " * 90, "fruit"), ("fig " * 14, "fruit")]
    )
    done = main(command(data, folder, tmp_path / "out", "--epochs", "1"))
    printed, error = capsys.readouterr()
    assert done == 0, error
    assert f"{1 if most else 0} cut to {most or 128} tokens" in printed


# -- the real model ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.assets
def test_minilm_learns_and_peft_agrees(tmp_path):
    animals = ["the cat sleeps", "a dog barks", "horses run", "birds sing", "the cow eats grass"]
    sums = ["two plus two", "a prime number", "the square root", "solve for x", "divide by three"]
    kinds = [(text, "animal") for text in animals] + [(text, "sum") for text in sums]
    rows = [(f"{text} {end}", kind) for text, kind in kinds for end in ("today", "now", "here")]
    data, out = table(tmp_path / "mine.csv", rows), tmp_path / "out"
    how = ["finetune", "--data", str(data), "--text", "text", "--label", "kind", "--out", str(out)]
    assert main([*how, "--batch-size", "8", "--epochs", "4"]) == 0
    assert json.loads((out / "metrics.json").read_text())["validation"]["accuracy"] == 1
    folder = assets.path("minilm")
    ours, theirs = (
        AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2) for _ in range(2)
    )
    theirs, ours = peft.PeftModel.from_pretrained(theirs, out), load_adapter(ours, out)
    expected = logits(theirs, folder, [text for text, _ in rows])
    found = logits(ours, folder, [text for text, _ in rows])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
