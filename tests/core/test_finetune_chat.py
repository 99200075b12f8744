"""`lora-edu finetune` for a model that writes, on a tiny Llama made here."""

import csv
import io
import itertools
import json
import math
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import peft
import pytest
import torch
from safetensors.torch import load_file
from test_finetune import python
from tiny_llama import llama, tokenizer
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from lora_edu import chat
from lora_edu.checkpoint import load_adapter
from lora_edu.cli import main
from lora_edu.finetune import Chats, read_chats

QUICK = ["--batch-size", "4", "--epochs", "3", "--lr", "1e-2", "--warmup", "0.1"]
WORDS = ["ape", "bat", "cat", "dog", "eel", "fox", "gnu", "hen"]
ROWS = [(f"Say {word}!", f"{word} it is.") for word in WORDS]
ROWS += [(f"Do you know a {word}?", word.upper()) for word in WORDS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def table(path, rows=ROWS, columns=("question", "answer"), delimiter=","):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([columns, *rows])
    return path


def lines(path, conversations):
    path.write_text("".join(json.dumps({"messages": c}) + "\n" for c in conversations), "utf-8")
    return path


def message(role, content):
    return {"role": role, "content": content}


def command(data, model, out, *more):
    columns = [] if data.suffix == ".jsonl" else ["--prompt", "question", "--response", "answer"]
    options = ["--data", data, "--model", model, "--out", out, *columns, *QUICK, *more]
    return ["finetune", *map(str, options)]


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    where = tmp_path_factory.mktemp("run")
    assert main(command(table(where / "data.csv"), folder, where / "out", "--merge")) == 0
    return where / "out"


def logits(model, ids):
    with torch.no_grad():
        return model.eval()(ids).logits


IDS = torch.randint(3, 200, (2, 12), generator=torch.Generator().manual_seed(0))


def test_peft_loads_what_it_leaves_with_equal_logits(run, folder):
    base = AutoModelForCausalLM.from_pretrained(folder)
    before = logits(base, IDS)
    theirs = logits(peft.PeftModel.from_pretrained(base, run), IDS)
    ours = logits(load_adapter(LlamaForCausalLM.from_pretrained(folder), run), IDS)
    merged = logits(AutoModelForCausalLM.from_pretrained(run / "merged"), IDS)
    assert (theirs - before).abs().max() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    torch.testing.assert_close(merged, theirs, rtol=1e-4, atol=1e-4)
    assert tokenizer().chat_template == chat.load(run / "merged")[1].chat_template


def test_the_metrics_are_those_of_the_model(run, folder):
    """Perplexity of the held-out answers alone, by hand; and what the model says to them."""
    metrics = json.loads((run / "metrics.json").read_text())
    fast, base = chat.load(folder)[1], chat.load(folder)[0]
    tuned = load_adapter(chat.load(folder)[0], run).eval()
    held_out = {question for question, _ in metrics["answers"]}
    assert len(held_out) == metrics["texts"] == len(ROWS) // 10 == 1
    for found, speaks in ((metrics["before"], base), (metrics, tuned)):
        total, count = 0.0, 0
        for question, answer in ROWS:
            if question in held_out:
                asked = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
                start = len(fast(asked)["input_ids"])
                ids = fast(f"{asked}{answer}<|im_end|>", return_tensors="pt")["input_ids"]
                each = logits(speaks, ids)[0, start - 1 : -1].log_softmax(-1)
                total -= each.gather(1, ids[0, start:, None]).sum().item()
                count += ids.shape[1] - start
        assert found["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-4)
        said = chat.answers(speaks, fast, sorted(held_out), 60)
        assert found["answers"] == [list(pair) for pair in zip(sorted(held_out), said, strict=True)]
    assert metrics["perplexity"] < metrics["before"]["perplexity"] / 2
    assert metrics["parameters"]["head"] == metrics["truncated"] == 0
    assert len(metrics["loss"]) == 3 * math.ceil(15 / 4)


def test_each_token_of_an_answer_weighs_alike_in_the_perplexity(folder, tmp_path):
    path = table(tmp_path / "data.csv", ROWS[::3])  # questions and answers of unequal lengths
    data = Chats(Namespace(data=path, prompt="question", response="answer", seed=0))
    model, its_tokenizer, _ = data.load(str(folder))
    examples, _ = data.encode(its_tokenizer, 512)
    losses = []
    for one in examples:
        ids, labels = torch.tensor(one["input_ids"]), torch.tensor(one["labels"])
        each = logits(model.eval(), ids[None])[0, :-1].log_softmax(-1)
        losses.append(-each.gather(1, ids[1:, None])[labels[1:] != -100])
    found = data.measured(SimpleNamespace(model=model), {"validation": examples})
    assert found["perplexity"] == pytest.approx(torch.cat(losses).mean().exp().item(), rel=1e-4)


def test_it_goes_on_where_it_stopped(run, folder, tmp_path, monkeypatch):
    """Killed after its first checkpoint, and resumed: the same adapter and losses."""
    data = table(tmp_path / "data.csv", [(f"{i} {q}", a) for i in range(4) for q, a in ROWS])
    for out in ("whole", "parts"):
        command_ = command(data, folder, tmp_path / out)
        if out == "parts":
            started = python("-m", "lora_edu.cli", *command_)
            while not list((tmp_path / out).glob("checkpoints/*/trainer_state.json")):
                assert started.poll() is None
            started.kill()
            started.communicate()
            assert not (tmp_path / out / "metrics.json").exists()
            command_.append("--resume")
        assert main(command_) == 0
    whole, parts = (
        json.loads((tmp_path / o / "metrics.json").read_text()) for o in ("whole", "parts")
    )
    assert whole["loss"] == pytest.approx(parts["loss"], rel=1e-5)
    names = [tmp_path / o / "adapter_model.safetensors" for o in ("whole", "parts")]
    for one, other in zip(load_file(names[0]).values(), load_file(names[1]).values(), strict=True):
        torch.testing.assert_close(one, other)


def test_checkpointing_changes_memory_and_not_the_result(run, folder, tmp_path):
    data = table(tmp_path / "data.csv")
    assert main(command(data, folder, tmp_path / "out", "--gradient-checkpointing")) == 0
    losses = [json.loads((o / "metrics.json").read_text())["loss"] for o in (run, tmp_path / "out")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_tsv_and_jsonl_are_read_as_csv_is(tmp_path):
    by_comma = list(read_chats(table(tmp_path / "a.csv"), "question", "answer"))
    by_tab = list(read_chats(table(tmp_path / "a.tsv", delimiter="\t"), "question", "answer"))
    pairs = [[message("user", q), message("assistant", a)] for q, a in ROWS]
    assert by_comma == by_tab == list(read_chats(lines(tmp_path / "a.jsonl", pairs), None, None))


def test_a_line_ends_where_the_file_says_so(tmp_path):
    """Not at the other signs that Python's splitlines takes for an end."""
    pair = [message("user", "one\u2028two\x85three"), message("assistant", "    code()")]
    (tmp_path / "a.JSONL").write_text(json.dumps({"messages": pair}, ensure_ascii=False), "utf-8")
    assert [json.loads(row) for row in read_chats(tmp_path / "a.JSONL", None, None)] == [pair]


def test_a_last_step_into_nowhere_is_no_result(folder, tmp_path, capsys):
    """The only step has a finite loss before it; what it leads to is seen as well."""
    wild = ["--batch-size", "100", "--epochs", "1", "--lr", "1e30", "--warmup", "0"]
    assert main(command(table(tmp_path / "a.csv"), folder, tmp_path / "out", *wild)) == 2
    assert "the loss is not finite: try a smaller lr" in capsys.readouterr().err
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_a_run_goes_on_with_the_same_weights_alone(folder, tmp_path, capsys, monkeypatch):
    data, model = table(tmp_path / "a.csv"), shutil.copytree(folder, tmp_path / "model")
    assert main(command(data, model, tmp_path / "out")) == 0
    monkeypatch.chdir(tmp_path)  # the same, by other paths
    assert main(command(data, Path("model"), "out/", "--resume")) == 0
    llama(model, seed=1)
    assert main(command(data, model, tmp_path / "out", "--resume")) == 2
    assert "the same options, table and model" in capsys.readouterr().err


def test_every_turn_of_the_model_counts_in_a_conversation(folder, tmp_path):
    turns = [message("system", "Be brief."), message("user", "a"), message("assistant", "b")]
    turns += [message("user", "c"), message("assistant", "d")]
    data = lines(tmp_path / "data.jsonl", [turns, [*turns[:3]], turns[1:]])
    assert main(command(data, folder, tmp_path / "out")) == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["texts"] == 1


def test_what_is_cut_is_counted_and_said(folder, tmp_path, capsys):
    data = table(tmp_path / "data.csv", [*ROWS, ("long", "x" * 100)])
    assert main(command(data, folder, tmp_path / "out", "--max-length", "80")) == 0
    assert "1 cut to 80 tokens" in capsys.readouterr().out


def test_a_question_of_the_table_does_not_steer_the_terminal(folder, tmp_path, capsys):
    data = table(tmp_path / "data.csv", [("\x1b[31mred", "a"), ("\x1b[31mred", "b")])
    assert main(command(data, folder, tmp_path / "out", "--epochs", "1")) == 0
    printed = capsys.readouterr().out
    assert r"\x1b[31mred" in printed
    assert "\x1b[31m" not in printed


def test_the_loss_of_a_batch_is_the_mean_over_its_tokens(run, folder):
    """The first logged loss, from the rows that the Trainer drew: the mean over all that counts."""
    losses = json.loads((run / "metrics.json").read_text())["loss"]
    model, fast = chat.load(folder)
    held_out = dict(json.loads((run / "metrics.json").read_text())["answers"])
    kept = []
    for question, answer in ROWS:
        if question not in held_out:
            ids, labels = chat.encode(
                fast, [message("user", question), message("assistant", answer)]
            )
            each = logits(model, torch.tensor([ids]))[0, :-1].log_softmax(-1)
            target = torch.tensor(labels[1:])
            nll = -each[target != -100].gather(1, target[target != -100, None])
            kept.append((nll.sum().item(), len(nll)))
    means = [sum(a for a, _ in four) / sum(b for _, b in four)
             for four in itertools.combinations(kept, 4)]  # fmt: skip
    assert min(abs(mean - losses[0]) for mean in means) < 1e-4


BAD = [
    ("question,answer\na,b\n", [], "must have two different rows"),
    ("question,answer\na,b\na,b\n", [], "must have two different rows"),
    ("question,reply\na,b\n", [], "has no column 'answer', only ['question', 'reply']\n"),
    ("question,answer,answer\na,b,c\n", [], "must have two columns, and one of the name 'answer'"),
    ("question;answer\na;b\n", [], "only ['question;answer'] (columns are separated by ',')"),
    ("question,answer\na,b<|im_end|>c\nd,e\n", [], "conversation 1: a message holds <|im_end|>"),
    ("question,answer\na,b\nc,d\n", ["--response", "question"], "must have two columns, and one"),
    ("question,answer\na,\n", [], "line 2: an empty answer"),
    ("question,answer\n ,b\n", [], "line 2: an empty question"),
    ("question,answer\na,b,c\n", [], "line 2, is no CSV: 3 fields, not 2: is a ',' unq"),
    ("", [], "has no column 'question', only []"),
    (b"question,answer\n\xff,b\n", [], "must be a file in UTF-8"),
    ('question,answer\n"a,b\n', [], "is no CSV: unexpected end"),
    ("question,answer\na,b\nc,d\n", ["--max-length", "10"], "max_length 10 leaves no answer"),
    ("question,answer\na,b\nc,d\n", ["--warmup", "1"], "warmup must be at least 0 and below 1"),
    ("question,answer\na,b\nc,d\n", ["--text", "question"], "--text and --label go together"),
    ("question,answer\na,b\nc,d\n", ["--lr", "0"], "lr must be greater than 0"),
]


@pytest.mark.parametrize(("content", "options", "message"), BAD)
def test_a_bad_table_is_one_line_and_nothing_is_written(
    content, options, message, folder, tmp_path, capsys
):
    data = tmp_path / "data.csv"
    data.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main([*command(data, folder, tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1 must be {"),
        pytest.param("[" * 100_000, "line 1 must be {", id="deep"),
        ("[]", "line 1 must be {"),
        ('{"messages": 3}', "line 1 must be {"),
        ('{"messages": [{"role": "user"}]}', "line 1 must be {"),
        ('{"messages": [{"role": "bot", "content": "a"}]}', "role must be system, user, assistant"),
        ('{"messages": [{"role": "user", "content": " "}]}', "an empty content"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "must end with what the assistant"),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}',
            "must end with what the assistant",
        ),
        ('{"messages": []}', "must end with what the assistant"),
        ('{"messages": [{"role": "user", "content": "a\\ud800"}]}', "line 1 must be {"),
    ],
)
def test_a_bad_line_of_messages_is_named(line, message, folder, tmp_path, capsys):
    data = tmp_path / "data.jsonl"
    data.write_text(line + "\n")
    assert main(command(data, folder, tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "data.jsonl" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_columns_and_kinds_are_not_mixed(folder, tmp_path, capsys):
    data, messages = table(tmp_path / "a.csv"), lines(tmp_path / "a.jsonl", [])
    both = [
        "--text",
        "question",
        "--label",
        "answer",
        "--prompt",
        "question",
        "--response",
        "answer",
    ]
    for given, options, said in (
        (data, both, "not both"),
        (data, [], "name the columns, --prompt and --response or --text and --label"),
        (messages, both[4:], "holds messages"),
    ):
        out = ["--model", folder, "--out", tmp_path / "out"]
        assert main(["finetune", "--data", *map(str, [given, *out, *options])]) == 2
        assert said in capsys.readouterr().err


def test_a_model_that_cannot_chat_is_refused(tmp_path, capsys):
    bare = llama(tmp_path / "bare", template=None)
    assert main(command(table(tmp_path / "a.csv"), bare, tmp_path / "out")) == 2
    assert "its tokenizer has no chat_template" in capsys.readouterr().err


def test_what_cannot_be_merged_is_refused_before_it_is_trained(folder, tmp_path, capsys):
    options = ["--merge", "--target-modules", "lm_head"]
    assert main(command(table(tmp_path / "a.csv"), folder, tmp_path / "out", *options)) == 2
    assert "lm_head shares its weight, so merging changes others" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_split_follows_the_seed(folder, tmp_path):
    data, found = table(tmp_path / "a.csv"), []
    for seed in ("1", "1", "2"):
        out = tmp_path / str(len(found))
        assert main(command(data, folder, out, "--epochs", "1", "--seed", seed)) == 0
        found.append(list(dict(json.loads((out / "metrics.json").read_text())["answers"])))
    assert found[0] == found[1] != found[2]


def test_it_speaks_in_the_chat(run, folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Say cat!\n"))
    assert main(["chat", str(folder), "--adapter", str(run)]) == 0
    assert capsys.readouterr().out.strip()
