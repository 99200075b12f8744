"""A chat model, its voices and ``lora-edu chat``, on a tiny Llama made here."""

import copy
import io
import json
import os
import shutil
import subprocess
import sys

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_llama import TEMPLATE, llama, tokenizer
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from lora_edu import chat
from lora_edu.adapt import LoraConfig, add_lora, lora_layers
from lora_edu.checkpoint import save_adapter
from lora_edu.cli import main
from lora_edu.files import shown
from lora_edu.layers import LoRALinear

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="<|>"), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def loaded(folder):
    return chat.load(folder)


def made(folder, where, seed, r, targets=("q_proj", "v_proj"), **more):
    """Write an adapter of random numbers; return its folder."""
    model = LlamaForCausalLM.from_pretrained(folder)
    add_lora(model, LoraConfig(target_modules=targets, r=r, lora_alpha=2 * r, **more))
    torch.manual_seed(seed)
    for layer in lora_layers(model).values():
        torch.nn.init.normal_(layer.lora_A, std=0.5)
        torch.nn.init.normal_(layer.lora_B, std=0.5)
    save_adapter(model, where)
    return where


@pytest.fixture(scope="module")
def adapters(folder, tmp_path_factory):
    where = tmp_path_factory.mktemp("adapters")
    return made(folder, where / "one", 1, 2), made(folder, where / "two", 2, 5, "all-linear")


# -- a conversation as tokens -------------------------------------------------------------------


@settings(max_examples=50)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_labels_are_what_the_model_says_and_the_tokens_are_those_of_the_template(turns):
    roles = [r for _ in turns for r in ("user", "assistant")]
    said = [{"role": r, "content": c} for r, c in zip(roles, sum(turns, ()), strict=True)]
    fast = tokenizer()
    ids, labels = chat.encode(fast, said)
    whole = fast.apply_chat_template(said, tokenize=False)
    assert fast.decode(ids) == whole.removesuffix("\n")
    counted = [label for label in labels if label != -100]
    assert fast.decode(counted) == "".join(answer + "<|im_end|>" for _, answer in turns)
    assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))


def test_an_end_token_is_set_where_the_template_has_none():
    bare = TEMPLATE.replace("<|im_end|>", "")
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    ids, labels = chat.encode(tokenizer(bare), said)
    assert tokenizer().decode([x for x in labels if x != -100]) == "b\n<|im_end|>"
    assert ids[-1] == labels[-1] == tokenizer().eos_token_id


THINKS = TEMPLATE.replace("assistant\n{% endif", "assistant\n<think>{% endif")
FORGETS = TEMPLATE.replace("{{ message['content'] }}", "{{ message['content'] if loop.last }}")
FORGETS = FORGETS.replace("if loop.last", "if loop.last or message['role'] == 'user'")


@pytest.mark.parametrize(
    ("spoilt", "turns", "message"),
    [
        (THINKS, ["a", "b"], "message 2: the chat template changes what stands before it"),
        (FORGETS, ["a", "b", "c", "d"], "message 4: the chat template changes what stands"),
        ("{{ raise_exception('no system') }}", ["a", "b"], "refuses this: no system"),
        (TEMPLATE, ["a", "b<|im_end|>c"], r"a message holds <\|im_end\|>"),
    ],
)
def test_what_a_template_would_lose_is_refused(spoilt, turns, message):
    """Or the answer would not be in what is learned, or a turn of it twice, without a word."""
    roles = ("user", "assistant") * 2
    said = [{"role": r, "content": c} for r, c in zip(roles, turns, strict=False)]
    with pytest.raises(ValueError, match=message):
        chat.encode(tokenizer(spoilt), said)


# -- answers ----------------------------------------------------------------------------------


def test_a_batch_answers_as_each_would_alone(loaded):
    model, fast = loaded
    asked = ["a", "What is the capital of France?", "one two"]
    together = chat.answers(model, fast, asked, 12)
    assert together == [chat.answers(model, fast, [one], 12)[0] for one in asked]
    assert len(set(together)) == 3


def test_the_likeliest_token_is_taken_each_time(loaded):
    """Checked without a cache, token by token."""
    model, fast = loaded
    text = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    ids = fast(text, return_tensors="pt")["input_ids"]
    for _ in range(8):
        with torch.no_grad():
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
    assert text + chat.answers(model, fast, ["Hi"], 8)[0] == fast.decode(ids[0])


def test_drawn_answers_follow_the_seed(loaded):
    model, fast = loaded
    before = torch.get_rng_state()
    first, again, other = (
        chat.answers(model, fast, ["Hi"], 20, temperature=1.0, seed=s)[0] for s in (0, 0, 1)
    )
    assert first == again != other
    assert torch.equal(before, torch.get_rng_state())


# -- adapters, a row each ---------------------------------------------------------------------


def logits(model, ids):
    with torch.no_grad():
        return model(ids).logits


def test_each_row_has_its_own_adapter_as_peft_would_have_it_alone(folder, loaded, adapters):
    model, _ = loaded
    ids = torch.randint(3, 200, (4, 9), generator=torch.Generator().manual_seed(0))
    read = [chat.adapter(model, where) for where in adapters]
    base = logits(model, ids)
    with chat.speaking(model, [None, read[0], read[1], read[1]], [1, 1, 1, -0.5]):
        mixed = logits(model, ids)
    torch.testing.assert_close(mixed[0], base[0])
    for row, where, scale in ((1, adapters[0], 1.0), (2, adapters[1], 1.0), (3, adapters[1], -0.5)):
        alone = peft.PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(folder), where)
        for module in alone.modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                module.scaling["default"] *= scale
        expected = logits(alone.eval(), ids)[row]
        assert (expected - base[row]).abs().max() > 0.1
        torch.testing.assert_close(mixed[row], expected, rtol=1e-4, atol=1e-4)


def test_a_layer_that_stores_its_weight_the_other_way_round(tmp_path):
    """GPT-2's Conv1D, (in, out), three times as wide as high."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    model = GPT2LMHeadModel(config).eval()
    apart = add_lora(copy.deepcopy(model), LoraConfig(target_modules=["c_attn"], r=2))
    torch.nn.init.normal_(lora_layers(apart)["transformer.h.0.attn.c_attn"].lora_B)
    save_adapter(apart, tmp_path)
    ids = torch.arange(8)[None]
    with chat.speaking(model, [chat.adapter(model, tmp_path)]):
        torch.testing.assert_close(logits(model, ids), logits(apart, ids))


def test_afterwards_the_model_is_as_it_was(loaded, adapters):
    model, _ = loaded
    ids = torch.arange(5, 14)[None]
    before, names = logits(model, ids), [name for name, _ in model.named_modules()]
    one = chat.adapter(model, adapters[0])
    with pytest.raises(KeyError), chat.speaking(model, [one]):
        raise KeyError
    assert torch.equal(logits(model, ids), before)
    assert [name for name, _ in model.named_modules()] == names


def test_interrupted_while_an_adapter_is_read_the_model_is_as_it_was(loaded, adapters, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    model, ids = loaded[0], torch.arange(5, 14)[None]
    before = logits(model, ids)
    monkeypatch.setattr("lora_edu.adapt.swap_adapter", interrupted)
    with pytest.raises(KeyboardInterrupt):
        chat.adapter(model, adapters[0])
    assert torch.equal(logits(model, ids), before)
    assert not [module for module in model.modules() if isinstance(module, LoRALinear)]


def test_what_ends_a_message_ends_an_answer(folder, tmp_path):
    """Also the tokens that the model's own settings name; its other settings play no part."""
    own = shutil.copytree(folder, tmp_path / "own")
    model, fast = chat.load(own)
    ids = fast(chat.template(fast, [{"role": "user", "content": "Hi"}], answers=True))["input_ids"]
    for _ in range(2):
        ids.append(int(logits(model, torch.tensor([ids]))[0, -1].argmax()))
    (own / "generation_config.json").write_text(
        f'{{"eos_token_id": [2, {ids[-1]}], "repetition_penalty": 9.0}}'
    )
    assert chat.answers(*chat.load(own), ["Hi"], 20)[0] == fast.decode(ids[-2:])


def test_an_answer_ends_with_what_the_model_can_read(loaded):
    said = chat.answers(*loaded, ["x" * 200], 500)[0]
    asked = chat.template(loaded[1], [{"role": "user", "content": "x" * 200}], answers=True)
    tokens = [loaded[1](text)["input_ids"] for text in (asked, said)]
    assert sum(map(len, tokens)) <= 256
    with pytest.raises(ValueError, match=r"a prompt has \d+ tokens, the model reads 256"):
        chat.answers(*loaded, ["x" * 300], 5)


def test_a_batch_has_a_row_for_each_adapter(loaded, adapters):
    model, fast = loaded
    one = chat.adapter(model, adapters[0])
    with chat.speaking(model, [one, one]):
        with pytest.raises(ValueError, match="the batch must have 2 rows, got 1"):
            logits(model, torch.arange(5)[None])
        with pytest.raises(ValueError, match="prompts must be at least one, got none"):
            chat.answers(model, fast, [], 5)


def test_as_many_scales_as_rows(loaded):
    with (
        pytest.raises(ValueError, match="scales must be 2, got 1"),
        chat.speaking(loaded[0], [None, None], [1.0]),
    ):
        pass


# -- lora-edu chat ----------------------------------------------------------------------------


def talk(monkeypatch, capsys, lines, *options, code=0):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines) + "\n"))
    assert main(["chat", *map(str, options), "--max-tokens", "6"]) == code
    out, err = capsys.readouterr()
    return out.splitlines(), err.splitlines()


def test_a_pipe_is_answered_line_by_line(folder, loaded, monkeypatch, capsys):
    out, err = talk(monkeypatch, capsys, ["Hi", "", "/new", "Hi", "/quit", "Hi"], folder)
    answer = shown(chat.answers(*loaded, ["Hi"], 6)[0]) + " …"
    assert "<|im_end|>" not in answer  # it is cut off
    assert out == [*answer.splitlines(), "(a new conversation)", *answer.splitlines()]
    assert err == []


def test_the_conversation_is_kept(folder, loaded):
    talks = chat.Conversation(folder, [], 5, 0.0, 0)
    talks.answer("Hi", lambda text: None)
    talks.answer("And?", lambda text: None)
    roles = [message["role"] for message in talks.messages]
    assert roles == ["user", "assistant"] * 2
    expected = chat.answers(*loaded, [talks.messages[:3]], 5)[0].removesuffix("<|im_end|>")
    assert talks.messages[3]["content"] == expected


def test_an_adapter_speaks_at_a_scale_until_it_is_off(
    folder, loaded, adapters, monkeypatch, capsys
):
    model, fast = loaded
    lines = ["Hi", "/new", "/scale 0.5", "Hi", "/new", "/adapter two", "Hi", "/new", "/off", "Hi"]
    out, _ = talk(monkeypatch, capsys, lines, folder, "--adapter", *adapters)
    one, two = (chat.adapter(model, where) for where in adapters)
    with chat.speaking(model, [one, one, two, None], [1, 0.5, 0.5, 1]):
        said = chat.answers(model, fast, ["Hi"] * 4, 6)
    assert len(set(said)) == 4
    assert not any(answer.endswith("<|im_end|>") for answer in said)
    heard = [f"{shown(answer)} …".splitlines() for answer in said]
    new = "(a new conversation)"
    expected = [*heard[0], new, f"(speaks: {adapters[0]}, scale 0.5)", *heard[1], new]
    expected += ["(speaks: two, scale 0.5)", *heard[2], new, "(speaks: the base itself)", *heard[3]]
    assert out == expected


def test_what_the_model_says_does_not_steer_the_terminal(folder, monkeypatch, capsys):
    def red(self, question, write):
        write("\x1b[31mred\n")
        raise ValueError("\x1b[2J")

    monkeypatch.setattr(chat.Conversation, "answer", red)
    out, err = talk(monkeypatch, capsys, ["Hi"], folder, code=1)
    assert (out, err) == ([r"\x1b[31mred"], [r"\x1b[2J"])


def test_a_wrong_command_costs_nothing(folder, adapters, monkeypatch, capsys):
    lines = ["/scale 3", "/scale much", "/adapter nobody", "/adapter", "/help", "/scale -1", "/x"]
    out, err = talk(monkeypatch, capsys, lines, folder, "--adapter", adapters[0], code=1)
    assert err[:2] == [f"scale must be a number from -1 to 2, got {s}" for s in ("3", "much")]
    assert err[2].startswith("no adapter is called 'nobody'; there are ")
    assert "one" in err[2]
    assert err[3:] == ["no command is called /x: /help lists them"]
    assert sum("/adapter NAME" in line for line in out) == 1
    assert out[0] == f"(speaks: {adapters[0]}, scale 1)"
    assert out[-1] == f"(speaks: {adapters[0]}, scale -1)"


def test_ctrl_c_ends_an_answer_and_keeps_what_was_said(folder, monkeypatch):
    talks = chat.Conversation(folder, [], 50, 0.0, 0)
    said = []

    def write(text):
        said.append(text)
        if len("".join(said)) > 3:
            raise KeyboardInterrupt

    talks.answer("Hi", write)
    assert talks.messages[-1] == {"role": "assistant", "content": "".join(said)}
    assert 3 < len("".join(said)) < 50
    with torch.no_grad():  # no hook of an adapter is left, and the next answer comes
        talks.answer("Go on", lambda text: None)
    assert len(talks.messages) == 4


def test_a_pipe_that_is_interrupted_or_in_part_unanswered_says_so(folder, monkeypatch, capsys):
    lines = ["x" * 250, "Hi"]
    out, err = talk(monkeypatch, capsys, lines, folder, code=1)
    assert len(err) == 1
    assert out

    def interrupted(self, question, write):
        return False

    monkeypatch.setattr(chat.Conversation, "answer", interrupted)
    talk(monkeypatch, capsys, ["Hi", "Hi"], folder, code=130)


def test_what_ships_and_two_folders_of_one_name(folder, adapters, tmp_path, monkeypatch):
    shipped = tmp_path / "shipped"
    shutil.copytree(adapters[0], shipped / "one")
    for name in ("a/out", "b/out"):
        shutil.copytree(adapters[1], tmp_path / name)
    monkeypatch.setattr(chat, "SHIPPED", shipped)
    monkeypatch.chdir(tmp_path)
    talks = chat.Conversation(folder, ["one", "a/out", "b/out"], 5, 0.0, 0)
    assert list(talks.known) == ["one", "out", "a/out"]
    assert talks.known["one"] == shipped / "one"
    assert len(talks.voice) == 8  # of "one", which came first
    for name in ("out", "a/out", "b/out", "one"):
        talks.command(f"/adapter {name}")


@pytest.mark.seconds
def test_a_byte_that_is_no_letter_is_no_end(folder):
    command = [sys.executable, "-m", "lora_edu.cli", "chat", str(folder), "--max-tokens", "3"]
    done = subprocess.run(command, input=b"caf\xe9\nHi\n", capture_output=True, check=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert done.stdout.count(b"\n") >= 2
    assert done.stderr == b""


def test_a_conversation_may_grow_too_long(folder):
    talks = chat.Conversation(folder, [], 20, 0.0, 0)
    with pytest.raises(ValueError, match=r"the conversation has \d+ tokens, at most 236: /new"):
        talks.answer("x" * 230, lambda text: None)
    assert talks.messages == []


def test_what_is_wrong_at_the_start_is_one_line(folder, adapters, tmp_path, capsys):
    headed = made(folder, tmp_path / "head", 0, 2, modules_to_save=["model.norm"])
    bare = llama(tmp_path / "bare", template=None)
    (tmp_path / "empty").mkdir()
    both = shutil.copytree(adapters[0], llama(tmp_path / "both"), dirs_exist_ok=True)
    lacking = llama(tmp_path / "lacking")
    tensors = load_file(lacking / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "layers.2." not in name}
    save_file(kept, lacking / "model.safetensors", {"format": "pt"})
    huge, deep, red = (shutil.copytree(adapters[0], tmp_path / n) for n in ("huge", "deep", "red"))
    config = json.loads((huge / "adapter_config.json").read_text())
    (huge / "adapter_config.json").write_text(json.dumps({**config, "r": 10**9}))
    (deep / "adapter_config.json").write_text("[" * 100_000)
    (red / "adapter_config.json").write_text(json.dumps({**config, "\x1b[31mred": 1}))
    tall = llama(tmp_path / "tall")
    config = json.loads((tall / "config.json").read_text())
    (tall / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**9}))
    endless = shutil.copytree(adapters[0], tmp_path / "endless")
    tensors = load_file(endless / "adapter_model.safetensors")
    save_file({n: t * torch.nan for n, t in tensors.items()}, endless / "adapter_model.safetensors")
    for options, message in (
        ([tmp_path / "none"], "model must be a folder with a config.json and weights"),
        ([bare], "its tokenizer has no chat_template"),
        ([folder, "--adapter", tmp_path / "none"], "no adapter is called"),
        ([folder, "--adapter", tmp_path / "empty"], "adapter_config.json"),
        ([folder, "--adapter", headed], "modules_to_save must be empty"),
        ([folder, "--max-tokens", 0], "max_tokens must be from 1 to 255, got 0"),
        ([folder, "--max-tokens", 256], "max_tokens must be from 1 to 255, got 256"),
        ([folder, "--temperature", -1], "temperature must be 0, or at least 0.01, got -1.0"),
        ([folder, "--temperature", 1e-9], "temperature must be 0, or at least 0.01"),
        ([folder, "--temperature", "nan"], "temperature must be 0, or at least 0.01, got nan"),
        ([both], "holds an adapter beside the model"),
        ([lacking], "has no weights for model.layers.2."),
        ([folder, "--adapter", endless], "must be finite, got NaN"),
        ([folder, "--adapter", huge], "r must be at most 1000 for model.layers.0"),
        ([folder, "--adapter", deep], "adapter_config.json: maximum recursion depth exceeded"),
        ([folder, "--adapter", red], r"\x1b[31mred = 1 is not supported"),
        ([tall], "num_hidden_layers must be from 0 to 10_000, got 1000000000"),
        ([folder, "--scale", 3], "scale must be a number from -1 to 2"),
    ):
        assert main(["chat", *map(str, options)]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1


def test_a_folder_s_own_code_is_never_run(folder, tmp_path, capsys):
    own = llama(tmp_path / "own")
    config = (own / "config.json").read_text()
    (own / "config.json").write_text(
        config.replace('"model_type": "llama"', '"model_type": "mine", "auto_map": {"AutoConfig": '
                       '"evil.C", "AutoModelForCausalLM": "evil.M"}')
    )  # fmt: skip
    (own / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert main(["chat", str(own)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "ran").exists()
