"""`lora-edu finetune` on tiny models made here: what it leaves, resumes, spreads and refuses."""

import contextlib
import csv
import io
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple
from unittest.mock import Mock

import numpy as np
import peft
import pytest
import tiny_llama
import torch
import transformers
from helpers import said
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from lora_edu import chat, finetune
from lora_edu.checkpoint import load_adapter
from lora_edu.cli import _parsed, main
from lora_edu.finetune import Chats, Texts, split
from lora_edu.tables import read_chats, read_table

COLOURS = ["red", "green", "blue", "dark", "pale", "gold", "grey", "pink", "tall", "tiny"]
KINDS = {"fruit": ["apple", "pear", "plum", "fig"], "vehicle": ["car", "bus", "tram", "bike"]}
SENTENCES = [
    (f"{KINDS[kind][i]} {colour} {KINDS[kind][j]}", kind)
    for colour, i, j, kind in itertools.product(COLOURS, range(4), range(4), KINDS)
]
LENGTH = 16  # positions of the encoder
ANIMALS = ["ape", "bat", "cat", "dog", "eel", "fox", "gnu", "hen"]
TALKS = [(f"Say {word}!", f"{word} it is.") for word in ANIMALS]
TALKS += [(f"Do you know a {word}?", word.upper()) for word in ANIMALS]
SORT = ["--text", "text", "--label", "kind", "--batch-size", "8", "--epochs", "3", "--lr", "1e-2"]
TALK = ["--batch-size", "2", "--epochs", "4", "--lr", "1e-2", "--warmup", "0.1"]
TALK += ["--rank", "8", "--last-layers", "4"]
COLUMNS = ["--prompt", "question", "--response", "answer"]
ADAPTER = "adapter_model.safetensors"


def bert(folder, kind=transformers.BertModel, dropout=0.1, **more):
    """Write a model of two layers and its tokenizer, as transformers does; return the folder."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *COLOURS]
    vocabulary = {word: number for number, word in enumerate(sum(KINDS.values(), words))}
    transformers.BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        vocab_size=len(vocabulary), max_position_embeddings=LENGTH, initializer_range=0.2,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, **more,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kind(config).save_pretrained(folder)
    return folder


def table(path, rows, columns=("text", "kind"), delimiter=","):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([columns, *rows])
    return path


def talks(path, rows=TALKS, delimiter=","):
    return table(path, rows, ("question", "answer"), delimiter)


def jsonl(path, conversations):
    rows = (json.dumps({"messages": talk}, ensure_ascii=False) + "\n" for talk in conversations)
    path.write_text("".join(rows), "utf-8")
    return path


class Run(NamedTuple):
    """A finished run with --merge: what it was given, its folder, and what it printed."""

    model: Path
    data: Path
    options: list[str]
    out: Path
    printed: str

    def command(self, out, *more, data=None, model=None):
        """Return the same command with another folder, other options, another table or model."""
        words = ["finetune", "--data", data or self.data, "--model", model or self.model]
        return [str(word) for word in [*words, "--out", out, *self.options, *more]]

    def load(self, folder=None):
        """Return the base, or the model of another folder, in ``eval()``."""
        folder = folder or self.model
        if "--text" not in self.options:
            return AutoModelForCausalLM.from_pretrained(folder).eval()
        return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2).eval()

    def logits(self, model, texts=("apple red fig", "bus green dark car")):
        tokenizer = AutoTokenizer.from_pretrained(self.model)
        tokens = tokenizer(list(texts), padding=True, return_tensors="pt")
        with torch.no_grad():
            return model.eval()(**tokens).logits


def metrics(out):
    return json.loads((out / "metrics.json").read_text())


def finished(model, data, options, out):
    run = Run(model, data, options, out, "")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(run.command(out, "--merge")) == 0
    return run._replace(printed=printed.getvalue())


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Runs are compared to the last bit, some of them in processes with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    data = table(folder / "mine.csv", SENTENCES)
    return finished(bert(folder / "model"), data, SORT, folder / "out")


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chats")
    model = tiny_llama.llama(folder / "model")
    return finished(model, talks(folder / "a.csv"), [*COLUMNS, *TALK], folder / "out")


@pytest.fixture(scope="module", params=["texts", "chats"])
def run(request):
    return request.getfixturevalue(request.param)


# -- what it leaves ---------------------------------------------------------------------------


def test_it_leaves_an_adapter_that_peft_loads_as_is_printed_and_counts_as_peft_does(run):
    assert sorted(path.name for path in run.out.iterdir()) == [
        "README.md", "adapter_config.json", ADAPTER, "checkpoints", "merged", "metrics.json",
        "settings.json",
    ]  # fmt: skip
    found, base = metrics(run.out), run.load()
    last = len(found["loss"])  # a checkpoint is an adapter as well, without the frozen weights
    kept, newest = (run.out / "checkpoints" / f"checkpoint-{n}" for n in (found["step"], last))
    assert len(list((run.out / "checkpoints").iterdir())) == 2
    state = json.loads((newest / "trainer_state.json").read_text())
    judged = {log["step"]: log["eval_loss"] for log in state["log_history"] if "eval_loss" in log}
    enough = "--text" in run.options  # texts held out, to tell the best epoch
    assert found["step"] == (min(judged, key=judged.get) if enough else last)
    assert found["versions"].keys() == {"lora_edu", "torch", "transformers"}

    names = {"AutoModelForSequenceClassification": AutoModelForSequenceClassification}
    names |= {"PeftModel": peft.PeftModel, "peft": peft, "transformers": transformers}
    exec(textwrap.dedent(run.printed[run.printed.index("  base = ") :]), names)
    before, theirs = run.logits(base), run.logits(names["model"])
    assert (theirs - before).abs().max() > 0.1
    for folder in (run.out, kept):
        torch.testing.assert_close(run.logits(load_adapter(run.load(), folder)), theirs)
    merged = run.logits(run.load(run.out / "merged"))
    torch.testing.assert_close(merged, theirs, atol=1e-4, rtol=1e-4)
    kept, own = (AutoTokenizer.from_pretrained(f) for f in (run.out / "merged", run.model))
    assert (kept.chat_template, kept.get_vocab()) == (own.chat_template, own.get_vocab())

    sizes, head = found["parameters"], ["classifier"] if hasattr(base, "classifier") else []
    assert sizes["head"] == sum(p.numel() for n, p in base.named_parameters() if n[:10] in head)
    assert sizes["frozen"] == base.num_parameters() - sizes["head"]
    card = (run.out / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: peft\nbase_model: model\n---\n")
    assert run.printed.startswith(card.split("```text\n")[1].split("\n\n")[0])
    config = peft.LoraConfig(r=8, target_modules="all-linear", modules_to_save=head)
    trained, _ = peft.get_peft_model(base, config).get_nb_trainable_parameters()
    assert sizes["LoRA"] + sizes["head"] == trained
    for part, size in sizes.items():
        assert f"{size:_} ({4 * size:_} bytes) {part}" in run.printed


def test_what_is_right_is_counted_in_the_metrics(texts):
    found = metrics(texts.out)
    rows, kinds = read_table(texts.data, "text", "kind")
    chosen, parts = split(rows, kinds, seed=0)
    assert not parts  # there are enough to hold a tenth out
    merged = texts.load(texts.out / "merged")
    assert merged.config.label2id == {"fruit": 0, "vehicle": 1}
    right = {"train": [], "validation": []}
    for row, place, kind in zip(rows, texts.logits(merged, rows).argmax(-1), kinds, strict=True):
        part = "validation" if row in chosen else "train"
        right[part].append(found["labels"][place] == kind)
    for part, size in (("train", 288), ("validation", 32)):
        assert found[part]["texts"] == size
        assert found[part]["right"] == sum(right[part])
        assert found[part]["accuracy"] == np.mean(right[part])
    assert found["validation"]["accuracy"] > 0.8  # it did learn
    assert found["validation"]["most_frequent"] == 0.5
    assert len(found["loss"]) == 3 * 288 / 8
    assert found["truncated"] == 0


def test_a_text_is_the_mean_of_its_last_states_with_length_one(texts):
    """Each text alone, without padding, in the base model gives the same as a padded batch."""
    data = Texts(Namespace(data=texts.data, text="text", label="kind", seed=0))
    model, tokenizer, _ = data.load(str(texts.model))
    examples, _ = data.encode(tokenizer, LENGTH)
    examples[3]["input_ids"] = examples[3]["input_ids"][:3]  # shorter than the others
    _, vectors = data.told(Namespace(model=model), examples[:8])
    for one, vector in zip(examples, vectors, strict=False):
        numbers = torch.tensor([one["input_ids"]])
        mean = model(numbers, output_hidden_states=True).hidden_states[-1].mean((0, 1))
        np.testing.assert_allclose(vector, (mean / mean.norm()).detach(), atol=1e-5)


def test_the_way_on_in_the_readme(texts, tmp_path, monkeypatch):
    """Its code is run as it stands, beside a folder called topics and one called minilm."""
    readme = (Path(__file__).parents[2] / "lora_edu" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"(?s)```py\n(.*?)```", readme)
    shutil.copytree(texts.out, tmp_path / "topics")
    shutil.copytree(texts.model, tmp_path / "minilm")
    monkeypatch.chdir(tmp_path)
    rows = AutoTokenizer.from_pretrained("minilm")(["apple red", "bus dark"] * 4)
    rows = [{"labels": i % 2, **{k: torch.tensor(v[i]) for k, v in rows.items()}} for i in range(8)]
    names = {"batches": torch.utils.data.DataLoader(rows, batch_size=4)}
    exec(code, names)

    assert names["base"].config.id2label == {0: "fruit", 1: "vehicle"}
    before, after = (load_adapter(texts.load(), Path(f)) for f in ("topics", "topics-2"))
    found = texts.logits(after)
    torch.testing.assert_close(found, texts.logits(names["model"]), atol=1e-5, rtol=0)
    assert not torch.equal(found, texts.logits(before))


def test_of_a_small_table_each_text_is_judged_by_an_adapter_that_has_not_seen_it(
    texts, tmp_path, monkeypatch, capsys
):
    """And the adapter that is kept, trained on all, is the one of a run without all that."""
    run = texts._replace(data=table(tmp_path / "few.csv", SENTENCES[:40]))
    assert main(run.command(tmp_path / "out", "--epochs", "6")) == 0
    told, printed = metrics(tmp_path / "out")["validation"], capsys.readouterr().out
    held_out, parts = split(*read_table(run.data, "text", "kind"), 0)
    assert not held_out
    right = frozen = 0
    for number, part in enumerate(parts):
        alone = tmp_path / f"alone{number}"
        monkeypatch.setattr(finetune, "split", lambda *_, part=part: (part, []))
        assert main(run.command(alone, "--epochs", "6")) == 0
        right += metrics(alone)["validation"]["right"]
        frozen += round(metrics(alone)["validation"]["frozen"] * len(part))
    assert (told["texts"], told["folds"]) == (40, 5)
    assert (told["right"], told["frozen"]) == (right, frozen / 40)
    low, high = told["interval"]
    assert f"{right} of 40; 95 % interval {low:.2f} to {high:.2f}" in printed
    assert f"vectors: {frozen / 40:.2f}" in printed
    monkeypatch.setattr(finetune, "split", lambda *_: (set(), parts))
    monkeypatch.setattr(finetune.Texts, "before", lambda *_: told)
    assert main(run.command(tmp_path / "plain", "--epochs", "6")) == 0
    assert (tmp_path / "plain" / ADAPTER).read_bytes() == (tmp_path / "out" / ADAPTER).read_bytes()


@pytest.mark.parametrize(
    ("kind", "saved"),
    [("MaskedLM", ["bert.pooler.dense", "classifier"]), ("SequenceClassification", ["classifier"])],
)
def test_what_starts_anew_is_in_the_adapter(kind, saved, texts, tmp_path):
    """A pooler that is not there; a head for five labels, of a regression."""
    five = {"num_labels": 5, "problem_type": "regression"}
    folder = bert(tmp_path / "model", getattr(transformers, f"BertFor{kind}"), **five)
    assert main(texts.command(tmp_path / "out", "--epochs", "1", model=folder)) == 0
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["modules_to_save"] == saved
    head = load_file(tmp_path / "out" / ADAPTER)["base_model.model.classifier.weight"]
    assert head.shape == (2, 32)


# -- stopped and started again ----------------------------------------------------------------


def test_stopped_and_resumed_it_ends_as_if_it_had_not_been(run, tmp_path, monkeypatch, capsys):
    """After its first checkpoint, with dropout: the random numbers must go on as well.

    It may then be merged, and be given by other paths.
    """
    out, stop = tmp_path / "out", Mock(side_effect=KeyboardInterrupt)
    with monkeypatch.context() as patch:
        patch.setattr(finetune._Progress, "on_save", stop, raising=False)
        assert main(run.command(out, "--resume")) == 130  # nothing to resume yet: it begins
    said_last = "lora-edu: interrupted; the same with --resume goes on\n"
    assert capsys.readouterr().err.endswith(said_last)
    assert not (out / "metrics.json").exists()
    cut_off = out / "checkpoints" / "checkpoint-21"  # newer than all, but not whole
    cut_off.mkdir()
    (cut_off / "trainer_state.json").write_text('{\n  "global_step": 21')
    assert main(run.command(out)) == 2  # without --resume, nothing is touched

    shutil.copytree(run.model, tmp_path / "model")
    data = shutil.copy(run.data, tmp_path)
    monkeypatch.chdir(tmp_path)
    how = {"data": Path(data).name, "model": "model"}
    assert main(run.command("out/", "--resume", "--merge", **how)) == 0
    assert metrics(out) == metrics(run.out)
    for name in (ADAPTER, "merged/model.safetensors"):
        assert (out / name).read_bytes() == (run.out / name).read_bytes()


@pytest.mark.parametrize("file", ["optimizer.pt", "scheduler.pt", "rng_state.pth", ADAPTER,
                                  "trainer_state.json"])  # fmt: skip
def test_a_damaged_checkpoint_gives_way_to_an_older_one(texts, file, tmp_path):
    folder = shutil.copytree(texts.out / "checkpoints", tmp_path / "checkpoints")
    older, newer = sorted(folder.iterdir(), key=lambda path: int(path.name.split("-")[1]))
    assert finetune._last(folder) == str(newer)
    content = (newer / file).read_bytes()
    middle = len(content) // 2
    at = 8 if file == ADAPTER else middle  # safetensors know their sizes alone, a zip file has sums
    for damaged in (b"", content[:middle], content[:at] + b"\xff" * 40 + content[at + 40 :]):
        (newer / file).write_bytes(damaged)
        assert finetune._last(folder) == str(older)
    shutil.rmtree(older)
    assert finetune._last(folder) is None


def test_a_run_is_not_resumed_with_other_options_texts_or_weights(run, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in run.out.rglob("*")}
    data = tmp_path / run.data.name
    data.write_bytes(run.data.read_bytes().replace(b"a", b"e").replace(b"enswer", b"answer"))
    model = shutil.copytree(run.model, tmp_path / "model")
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    for more, other in ((["--rank", "4"], {}), ([], {"data": data}), ([], {"model": model})):
        assert main(run.command(run.out, "--resume", *more, **other)) == 2
        assert "hold a run with the same options, table and model" in capsys.readouterr().err
    assert main(run.command(run.out)) == 2
    assert "holds a run: go on with --resume, or take another folder" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in run.out.rglob("*")} == before


# -- two processes ----------------------------------------------------------------------------

SCRIPT = """import sys, torch
from lora_edu.cli import main
code = main(sys.argv[1:])
# In one piece: two processes write into one pipe.
sys.stdout.write(f"open {torch.distributed.is_initialized()}\\n")
sys.exit(code)"""


@pytest.mark.seconds
def test_two_processes_train_as_one_and_say_what_they_exchange(texts, tmp_path):
    """Adam hides gradients that are twice too large, their norm does not."""
    (tmp_path / "script.py").write_text(SCRIPT)
    run = texts._replace(model=bert(tmp_path / "model", dropout=0))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launch, tmp_path / "script.py", *run.command(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert main(run.command(tmp_path / "one")) == 0

    norms = []
    for name in ("one", "two"):
        state = tmp_path / name / "checkpoints" / "checkpoint-108" / "trainer_state.json"
        history = json.loads(state.read_text())["log_history"]
        norms.append([log["grad_norm"] for log in history if "grad_norm" in log][:20])
    np.testing.assert_allclose(*norms, rtol=1e-3)
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=0, atol=1e-3)
    assert one["loss"][0] - min(one["loss"]) > 0.1  # there was something to agree on
    assert two["validation"] == one["validation"]
    lora = sum(tensor.nbytes for tensor in load_file(tmp_path / "one" / ADAPTER).values())
    full = sum(parameter.nbytes for parameter in texts.load().parameters())
    lines = process.stdout.splitlines()
    assert sum(line.startswith("texts: ") for line in lines) == 1  # one process speaks
    assert f"bytes all-reduced each step: {lora:_}; full: {full:_}" in lines
    assert lines.count("open False") == 2
    assert "all-reduced" not in texts.printed


def test_processes_must_share_a_batch_evenly(texts, tmp_path, monkeypatch, refused):
    monkeypatch.setattr(transformers.TrainingArguments, "world_size", 2)
    message = "batch_size must be a multiple of 2 (processes)"
    assert message in refused(*texts.command(tmp_path / "out", "--batch-size", "7"))


# -- a model that writes ----------------------------------------------------------------------


def losses_of(model, tokenizer, question, answer):
    """Return the loss of each token of an answer and of the one that ends it."""
    asked = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    start = len(tokenizer(asked)["input_ids"])
    ids = tokenizer(f"{asked}{answer}<|im_end|>", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = model(ids).logits[0, start - 1 : -1]
    return cross_entropy(logits, ids[0, start:], reduction="none")


def test_the_perplexity_and_the_answers_are_of_what_was_held_out(chats):
    """And of the base's own answers."""
    after = metrics(chats.out)
    before, held_out = after["before"], [question for question, _ in after["answers"]]
    base, tokenizer = chat.load(chats.model)
    tuned = load_adapter(chat.load(chats.model)[0], chats.out).eval()
    for told, speaks in ((before, base), (after, tuned)):
        each = [losses_of(speaks, tokenizer, asked, dict(TALKS)[asked]) for asked in held_out]
        assert told["perplexity"] == pytest.approx(torch.cat(each).mean().exp().item(), rel=1e-4)
        said = chat.answers(speaks, tokenizer, held_out, 60)
        assert told["answers"] == [list(pair) for pair in zip(held_out, said, strict=True)]
        assert told["ended"] == sum(answer.endswith("<|im_end|>") for answer in said)
        own = [(asked, answer.removesuffix("<|im_end|>")) for asked, answer in before["answers"]]
        each = [losses_of(speaks, tokenizer, *pair) for pair in own if "<|im_end|>" not in pair[1]]
        own_perplexity = torch.cat(each).mean().exp().item()
        assert told["own_perplexity"] == pytest.approx(own_perplexity, rel=1e-4)
    assert after["perplexity"] < before["perplexity"] / 2
    told = f"4 texts held out: {before['perplexity']:.2f} → {after['perplexity']:.2f}\n"
    assert told in chats.printed
    assert (after["texts"], after["truncated"], len(after["loss"])) == (4, 0, 24)


def test_what_enters_the_layers_with_lora_may_be_computed_once(chats, tmp_path, monkeypatch):
    """With the whole model in each step, the losses are the same, and so are the answers."""
    options = ["--last-layers", "2"]
    assert main(chats.command(tmp_path / "once", *options)) == 0
    with monkeypatch.context() as patch:
        patch.setattr(finetune.Run, "_upper", lambda _: None)
        assert main(chats.command(tmp_path / "each", *options)) == 0
    once, each = metrics(tmp_path / "once"), metrics(tmp_path / "each")
    np.testing.assert_allclose(once["loss"], each["loss"], rtol=0, atol=1e-4)
    assert once["loss"][0] > 1.5 * once["loss"][-1]
    assert once["answers"] == each["answers"]


def test_with_gradient_checkpointing_it_learns_the_same(run, tmp_path):
    assert main(run.command(tmp_path, "--gradient-checkpointing")) == 0
    np.testing.assert_allclose(metrics(tmp_path)["loss"], metrics(run.out)["loss"], atol=1e-4)


def test_a_model_that_cannot_be_split_and_takes_no_number_of_items_trains_as_a_whole(
    chats, tmp_path, monkeypatch
):
    """Granite multiplies what enters its layers. The loss is the mean over all answers."""
    granite = transformers.GraniteForCausalLM
    folder = shutil.copytree(chats.model, tmp_path / "model")
    config = transformers.GraniteConfig.from_pretrained(folder, embedding_multiplier=3.0)
    granite(config).save_pretrained(folder)
    monkeypatch.setattr(granite, "accepts_loss_kwargs", False, raising=False)
    run = chats._replace(model=folder)
    assert main(run.command(tmp_path / "out", "--batch-size", "12", "--epochs", "1")) == 0
    held_out = [question for question, _ in metrics(tmp_path / "out")["answers"]]
    base, tokenizer = chat.load(folder)
    kept = [losses_of(base, tokenizer, *row) for row in TALKS if row[0] not in held_out]
    expected = pytest.approx(torch.cat(kept).mean().item(), rel=1e-4)
    assert metrics(tmp_path / "out")["loss"] == [expected]


def test_it_speaks_in_the_chat(chats, monkeypatch, capsys):
    (line,) = re.findall("(?m)^  lora-edu (chat .+)$", chats.printed)
    monkeypatch.setattr(sys, "stdin", io.StringIO("Say cat!\n"))
    assert main([*shlex.split(line), "--max-tokens", "9"]) == 0
    assert " is." in capsys.readouterr().out  # the base does not say that


# -- what it refuses --------------------------------------------------------------------------

GOOD = "text,kind\napple,fruit\npear,fruit\ncar,vehicle\nbus,vehicle\n"
PAIRS = "question,answer\na,b\nc,d\n"
BAD = [
    (None, [], "No such file or directory"),
    (GOOD, ["--text", "body"], "has no column 'body', only ['text', 'kind']"),
    ("\n\n\n", [], "has no column 'text', only []"),
    ("text;kind\na;b\n", [], "only ['text;kind'] (columns are separated by ',')"),
    ("text,kind\n", [], "must have two labels or more, got 0 rows"),
    (GOOD + "   ,fruit\n", [], "line 6: an empty text"),
    (GOOD + "   ,fruit\nfig,fruit\n,\n", [], "lines 6, 8: an empty text"),
    (GOOD + "apple\n", [], "line 6, is no CSV: 1 fields, not 2: is a ',' unquoted?"),
    (GOOD + '"' + "red,fruit\n" * 20_000, [], "is no CSV: unexpected end of data"),
    ("text,kind\nfig,fruit\nplum,fruit\n", [], "two labels or more, got 2 rows, ['fruit']"),
    ("text,kind\nfig,fruit\ncar,vehicle\n", [], "two labels or more must have two texts or more"),
    (GOOD + "app\0le,fruit\n", [], "line 6, is no CSV: line contains NUL"),
    (GOOD + " apple,vehicle\n", [], "'apple' has two labels, 'fruit' and 'vehicle'"),
    ("text,text,kind\na,b,c\n", [], "must have two columns, and one of the name 'text'"),
    (GOOD, ["--label", "text"], "must have two columns, and one of the name 'text'"),
    (GOOD + "p\xeache,fruit\n", [], "CSV UTF-8): 'utf-8' codec can't decode byte 0xea"),
    (GOOD, ["--max-length", "2"], "max_length 2 leaves no token of the text 'apple'"),
    (GOOD, ["--lr", "nan"], "lr must be greater than 0, got nan"),
    (GOOD, ["--warmup", "1"], "warmup must be at least 0 and below 1, got 1.0"),
    (GOOD, ["--warmup", "-.1"], "warmup must be at least 0 and below 1, got -0.1"),
    (GOOD, ["--label", ""], "--text and --label go together"),
    (GOOD, COLUMNS, "--text is for a classifier, --prompt for a chat model: not both"),
    ("question,answer\na,b\na,b\n", [], "must have two different rows"),
    ("question,answer\na,b<|im_end|>c\nd,e\n", [], "conversation 1: a message holds <|im_end|>"),
    (PAIRS, ["--max-length", "10"], "max_length 10 leaves no answer of conversation 1"),
    (PAIRS, ["--response", ""], "--prompt and --response go together"),
    (PAIRS, ["--prompt", "", "--response", ""], "--prompt and --response or --text and --label"),
    (PAIRS, ["--merge", "--target-modules", "lm_head"], "lm_head shares its weight"),
]


@pytest.mark.parametrize(("content", "options", "message"), BAD)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    content, options, message, texts, chats, tmp_path, monkeypatch, refused
):
    data = tmp_path / "mine.csv"
    if content is not None:
        data.write_bytes(content.replace("\n", "\r\n").encode("latin-1"))
    monkeypatch.chdir(tmp_path)
    run = chats if (content or "").startswith("question") else texts
    assert message in refused(*run.command(tmp_path / "out", *options, data=data))


def test_a_folder_is_one_run_s_alone(texts, tmp_path, monkeypatch, refused):
    """The second one is refused before it reads its table, and what is left of none is nothing."""
    command = texts.command(tmp_path / "out", data=tmp_path / "nowhere.csv")
    with finetune._alone(tmp_path / "out"):
        assert main(command) == 2
        assert "another run writes into" in refused(*command)
    assert "nowhere.csv: No such file" in refused(*command)
    assert "No such file" in refused(*texts.command(tmp_path / "a" / "b", data=tmp_path / "no.csv"))
    assert not (tmp_path / "a").exists()
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "sklearn.linear_model", None)
        said = refused(*texts.command(tmp_path / "out"))
        assert 'this needs sklearn.linear_model: pip install "lora-edu[finetune]"' in said
    assert not (tmp_path / "out").exists()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    assert "link" in refused(*texts.command(tmp_path / "link"))
    monkeypatch.setattr(finetune, "write_whole", lambda *_: os.listdir(tmp_path / "full disk"))
    assert "full disk" in refused(*texts.command(tmp_path / "out"))


def test_a_result_that_the_most_frequent_label_may_explain_says_so(texts):
    data = finetune.Texts(Namespace(data=texts.data, text="text", label="kind", seed=0))
    told = {"accuracy": 0.5, "right": 5, "texts": 10, "interval": (0.2, 0.8), "frozen": 0.3,
            "folds": 0}  # fmt: skip
    for most, told_so in ((0.3, True), (0.1, False)):
        lines = data.report({"validation": told | {"most_frequent": most}})
        assert ("LoRA is not told apart from always guessing" in "\n".join(lines)) is told_so


BAD_LINES = [
    ("{", "line 1 must be {"),
    pytest.param("[" * 100_000, "line 1 must be {", id="deep"),
    ('{"messages": 3}', "line 1 must be {"),
    ('{"messages": [{"role": "user"}]}', "line 1 must be {"),
    (said("a\ud800"), "line 1 must be {"),
    (said("a", roles=["bot"]), "role must be system, user, assistant, got 'bot'"),
    (said("a", " "), "line 1: an empty content"),
    (said("a", roles=["assistant"]), "must end with what the assistant"),
    (said("a", "b", roles=["user"]), "must end with what the assistant"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES)
def test_a_bad_line_of_messages_is_named(line, message, tmp_path):
    path = tmp_path / "talks.jsonl"
    path.write_text(line if isinstance(line, str) else json.dumps({"messages": line}))
    for columns, expected in (((None, None), message), (("a", "b"), "holds messages: prompt and")):
        with pytest.raises(ValueError, match=f"^.*{re.escape(expected)}.*$"):
            list(read_chats(path, *columns))


BAD_MODELS = [
    ("adapter_config.json", b"", b"{}", "holds an adapter beside the model: give each its own"),
    ("config.json", b'ings": 16', b'ings": 8', "has another shape than config.json says"),
    ("tokenizer_config.json", b'"[PAD]"', b"null", "its tokenizer has no padding token"),
    ("model.safetensors", None, b"", "SafetensorError"),
    ("pytorch_model.bin", b"", b"pickled", "model.safetensors"),
]


@pytest.mark.parametrize(("file", "old", "new", "message"), BAD_MODELS)
def test_a_model_that_is_not_as_it_should_be_is_refused(
    file, old, new, message, texts, tmp_path, refused
):
    model = shutil.copytree(texts.model, tmp_path / "model")
    content = (model / file).read_bytes() if (model / file).exists() else b""
    (model / file).write_bytes(content[:-100] if old is None else content.replace(old, new))
    if new == b"pickled":
        (model / "model.safetensors").unlink()
    assert message in refused(*texts.command(tmp_path / "out", model=model))


def test_a_model_that_does_not_run_with_lora_is_refused(texts, tmp_path, monkeypatch, refused):
    failing = Mock(side_effect=AttributeError("a LoRALinear has no such thing"))
    monkeypatch.setattr(transformers.BertForSequenceClassification, "forward", failing)
    message = "does not run with LoRA on ['all-linear']: a LoRALinear has no such thing"
    assert message in refused(*texts.command(tmp_path / "out"))


@pytest.mark.parametrize(
    ("kind", "texts", "chosen"),
    [
        (Texts, 36, (8, 12, True)), (Texts, 3, (8, 60, True)),
        (Texts, 160, (8, 3, False)), (Texts, 639, (8, 3, False)), (Texts, 640, (32, 3, False)),
        (Chats, 15, (4, 10, True)), (Chats, 1000, (8, 3, False)),
    ],
)  # fmt: skip
def test_a_small_table_gets_as_many_steps_as_it_needs(kind, texts, chosen):
    options = _parsed(["finetune", "--data", "a", "--out", "b"])
    finetune._complete(options, kind, texts)
    assert (options.batch_size, options.epochs, options.few) == chosen
    assert options.epochs * -(-texts // options.batch_size) >= kind.steps
    assert (options.rank, options.alpha) == (kind.defaults["rank"], 2 * kind.defaults["rank"])


def test_a_loss_that_is_not_finite_is_no_result(run, tmp_path, capsys):
    """In the last step too, whose loss was finite before it: its outcome is seen."""
    wild = ["--lr", "1e30"]
    if "--text" not in run.options:
        wild += ["--batch-size", "100", "--epochs", "1", "--warmup", "0"]
    assert main(run.command(tmp_path / "out", *wild)) == 2
    assert "the loss is not finite: try a smaller lr" in capsys.readouterr().err
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"settings.json", "checkpoints"}


# -- the table --------------------------------------------------------------------------------


def test_conversations_longer_than_the_model_reads_are_cut_and_not_asked(chats, tmp_path, capsys):
    """Their first answers may be trained on, and the rest is cut off."""
    data = jsonl(tmp_path / "a.jsonl", [said(*pair, "x" * 300, "y") for pair in TALKS[:4]])
    run = chats._replace(options=[*TALK, "--epochs", "1"])
    assert main(run.command(tmp_path / "out", data=data)) == 0
    assert "4 cut to 256 tokens" in capsys.readouterr().out
    found = metrics(tmp_path / "out")
    assert (found["truncated"], found["answers"], found["own_perplexity"]) == (4, [], None)


def test_the_table_may_come_from_a_spreadsheet(tmp_path):
    path = tmp_path / "mine.csv"
    rows = ['\ufeff"text",id,kind', '"two\r\nlines, ""quoted""",1, fruit ', "", "Phở,2,soup", ""]
    path.write_bytes("\r\n".join(rows).encode())
    texts, labels = read_table(path, "text", "kind")
    assert texts == ['two\r\nlines, "quoted"', "Phở"]
    assert labels == ["fruit", "soup"]


def test_tsv_and_jsonl_are_read_as_csv_is(tmp_path):
    found = [
        list(read_chats(talks(tmp_path / "a.csv"), "question", "answer")),
        list(read_chats(talks(tmp_path / "a.TSV", delimiter="\t"), "question", "answer")),
        list(read_chats(jsonl(tmp_path / "a.jsonl", [said(*row) for row in TALKS]), None, None)),
    ]
    assert found[0] == found[1] == found[2]
    # A line ends where the file says so, not at the other signs that Python's splitlines takes.
    pair = said("one\u2028two\x85three", "    code()")
    rows = read_chats(jsonl(tmp_path / "b.JSONL", [pair]), None, None)
    assert [json.loads(row) for row in rows] == [pair]


@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from("xyz")), min_size=1))
@example([(i, "x" if i < 200 else "y") for i in range(400)])
@example([(i, "x" if i < 12 else "y") for i in range(36)])
def test_the_split_holds_out_enough_of_each_label_or_deals_all_to_parts(rows):
    texts, labels = [str(number) for number, _ in rows], [label for _, label in rows]
    last = dict(zip(texts, labels, strict=True))
    of_label = {label: {t for t in texts if last[t] == label} for label in labels}
    if sum(len(own) >= 2 for own in of_label.values()) < 2:
        with pytest.raises(ValueError, match="two labels or more must have two texts or more"):
            split(texts, labels, 0)
        return
    held_out, parts = split(texts, labels, 0)
    assert split(texts, labels, 0) == (held_out, parts)
    if parts:
        assert not held_out
        assert sorted(text for part in parts for text in part) == sorted(last)
        for own in of_label.values():
            counts = [len(own & part) for part in parts]
            assert max(counts) - min(counts) <= 1
    else:
        assert 30 <= len(held_out) <= len(last) / 5
        for own in of_label.values():
            assert len(own & held_out) == min(max(len(own) // 10, 5), len(own) // 2)


def test_the_split_follows_the_seed(chats):
    drawn = [split([str(i) for i in range(600)], ["x", "y"] * 300, seed)[0] for seed in (1, 2)]
    assert drawn[0] != drawn[1]
    for seed in (1, 2):
        options = Namespace(data=chats.data, prompt="question", response="answer", seed=seed)
        drawn.append(Chats(options).held_out)
    assert drawn[2] != drawn[3]


# -- other families ---------------------------------------------------------------------------

SMALL = {"vocab_size": 23, "d_model": 32, "num_layers": 1, "num_heads": 2, "n_head": 2}
SMALL |= {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "d_kv": 8}
SMALL |= {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 1, "decoder_start_token_id": 0}
FAMILIES = {  # where its configuration says how many tokens it reads
    "XLNet": {},
    "T5": {},
    "Roberta": {"max_position_embeddings": LENGTH + 2},
    "GPT2": {"n_positions": LENGTH},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_any_family_trains_on_texts_longer_than_it_reads(
    family, texts, tmp_path, capsys
):
    """Its tokenizer sets no limit. One text is longer than any model reads."""
    folder, more = bert(tmp_path / "model"), FAMILIES[family]
    config = getattr(transformers, f"{family}Config")(**SMALL, **more)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    long = [("plum " * 40_000, "fruit"), ("fig " * 14, "fruit")]
    data = table(tmp_path / "a.csv", [*SENTENCES[:20], *long])
    done = main(texts.command(tmp_path / "out", "--epochs", "1", data=data, model=folder))
    assert done == 0, capsys.readouterr().err
    assert f"1 cut to {LENGTH if more else 128} tokens" in capsys.readouterr().out
