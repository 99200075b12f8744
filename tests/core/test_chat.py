"""A chat model, its voices and ``lora-edu chat``, on a tiny Llama made here."""

import copy
import io
import json
import shutil
import sys
from unittest.mock import Mock

import peft
import pytest
import torch
from helpers import said, save_random
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_llama import TEMPLATE, llama, tokenizer
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from lora_edu import chat
from lora_edu.checkpoint import WEIGHTS
from lora_edu.cli import main
from lora_edu.files import printable
from lora_edu.layers import LoRALinear

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="<|>"), min_size=1, max_size=12)
IDS = torch.randint(3, 200, (4, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def loaded(folder):
    return chat.load(folder)


def made(folder, where, seed=0, targets=("q_proj", "v_proj"), r=2, **more):
    model = LlamaForCausalLM.from_pretrained(folder)
    return save_random(model, where, seed, target_modules=targets, r=r, lora_alpha=2 * r, **more)


@pytest.fixture(scope="module")
def adapters(folder, tmp_path_factory):
    where = tmp_path_factory.mktemp("adapters")
    return made(folder, where / "one", 1), made(folder, where / "two", 2, "all-linear", r=5)


@torch.no_grad()
def logits(model, ids=IDS):
    return model(ids).logits


def silent(text):
    """Write nothing."""


# -- a conversation as tokens -------------------------------------------------------------------


@settings(max_examples=50)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_labels_are_what_the_model_says_and_the_tokens_are_those_of_the_template(turns):
    talk, fast = said(*sum(turns, ())), tokenizer()
    ids, labels = chat.encode(fast, talk)
    assert fast.decode(ids) == fast.apply_chat_template(talk, tokenize=False).removesuffix("\n")
    counted = [label for label in labels if label != -100]
    assert fast.decode(counted) == "".join(answer + "<|im_end|>" for _, answer in turns)
    assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))


def test_an_end_token_is_set_where_the_template_has_none():
    ids, labels = chat.encode(tokenizer(TEMPLATE.replace("<|im_end|>", "")), said("a", "b"))
    assert tokenizer().decode([x for x in labels if x != -100]) == "b\n<|im_end|>"
    assert ids[-1] == labels[-1] == tokenizer().eos_token_id


THINKS = TEMPLATE.replace("assistant\n{% endif", "assistant\n<think>{% endif")
FORGETS = TEMPLATE.replace("{{ message['content'] }}", "{{ message['content'] if loop.last }}")
FORGETS = FORGETS.replace("if loop.last", "if loop.last or message['role'] == 'user'")


SPOILT = [
    (THINKS, "ab", "message 2: the chat template changes what stands before it"),
    (FORGETS, "abcd", "message 4: the chat template changes what stands"),
    (TEMPLATE, ["a", "b<|im_end|>c"], r"a message holds <\|im_end\|>"),
]


@pytest.mark.parametrize(("spoilt", "turns", "message"), SPOILT)
def test_what_a_template_would_lose_is_refused(spoilt, turns, message):
    """Or the answer would not be in what is learned, or a turn of it twice, without a word."""
    with pytest.raises(ValueError, match=message):
        chat.encode(tokenizer(spoilt), said(*turns))


# -- answers ----------------------------------------------------------------------------------


def test_a_batch_answers_as_each_would_alone(loaded):
    asked = ["a", "What is the capital of France?", said("one", "two", "three")]
    together = chat.answers(*loaded, asked, 12)
    assert together == [chat.answers(*loaded, [one], 12)[0] for one in asked]
    assert len(set(together)) == 3


def test_the_likeliest_token_is_taken_each_time(loaded):
    """Checked without a cache, token by token."""
    model, fast = loaded
    text = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    ids = fast(text, return_tensors="pt")["input_ids"]
    for _ in range(8):
        ids = torch.cat([ids, logits(model, ids)[:, -1:].argmax(-1)], 1)
    assert text + chat.answers(model, fast, ["Hi"], 8)[0] == fast.decode(ids[0])


def test_drawn_answers_follow_the_seed(loaded):
    before = torch.get_rng_state()
    first, again, other = (
        chat.answers(*loaded, ["Hi"], 20, temperature=1.0, seed=s)[0] for s in (0, 0, 1)
    )
    assert first == again != other
    assert torch.equal(before, torch.get_rng_state())


def test_what_ends_a_message_ends_an_answer(folder, tmp_path):
    """Also the tokens that the model's own settings name; its other settings play no part."""
    own = shutil.copytree(folder, tmp_path / "own")
    model, fast = chat.load(own)
    ids = fast(chat.template(fast, said("Hi"), answers=True))["input_ids"]
    for _ in range(2):
        ids.append(int(logits(model, torch.tensor([ids]))[0, -1].argmax()))
    settings = {"eos_token_id": [2, ids[-1]], "repetition_penalty": 9.0}
    (own / "generation_config.json").write_text(json.dumps(settings))
    assert chat.answers(*chat.load(own), ["Hi"], 20)[0] == fast.decode(ids[-2:])


def test_an_answer_ends_with_what_the_model_can_read(loaded):
    answer = chat.answers(*loaded, ["x" * 200], 500)[0]
    asked = chat.template(loaded[1], said("x" * 200), answers=True)
    assert sum(len(loaded[1](text)["input_ids"]) for text in (asked, answer)) <= 256
    with pytest.raises(ValueError, match=r"a prompt has \d+ tokens, the model reads 256"):
        chat.answers(*loaded, ["x" * 300], 5)
    with pytest.raises(ValueError, match="prompts must be at least one, got none"):
        chat.answers(*loaded, [], 5)


# -- adapters, a row each ---------------------------------------------------------------------


def test_each_row_has_its_own_adapter_as_peft_would_have_it_alone(folder, loaded, adapters):
    model, _ = loaded
    read = [chat.adapter(model, where) for where in adapters]
    base = logits(model)
    with chat.speaking(model, [None, read[0], read[1], read[1]], [1, 1, 1, -0.5]):
        mixed = logits(model)
    torch.testing.assert_close(mixed[0], base[0])
    for row, where, scale in ((1, adapters[0], 1.0), (2, adapters[1], 1.0), (3, adapters[1], -0.5)):
        alone = peft.PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(folder), where)
        for module in alone.modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                module.scaling["default"] *= scale
        expected = logits(alone.eval())[row]
        assert (expected - base[row]).abs().max() > 0.1
        torch.testing.assert_close(mixed[row], expected, rtol=1e-4, atol=1e-4)


def test_a_layer_that_stores_its_weight_the_other_way_round(tmp_path):
    """GPT-2's Conv1D, (in, out), three times as wide as high."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    model = GPT2LMHeadModel(config).eval()
    apart = copy.deepcopy(model)
    save_random(apart, tmp_path, target_modules=["c_attn"], r=2)
    ids = torch.arange(8)[None]
    with chat.speaking(model, [chat.adapter(model, tmp_path)]):
        torch.testing.assert_close(logits(model, ids), logits(apart, ids))


def test_whatever_happens_the_model_is_as_it_was_afterwards(loaded, adapters, monkeypatch):
    model, _ = loaded
    before, names = logits(model), [name for name, _ in model.named_modules()]
    one = chat.adapter(model, adapters[0])
    with pytest.raises(KeyError), chat.speaking(model, [one]):
        raise KeyError
    monkeypatch.setattr("lora_edu.adapt.swap_adapter", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        chat.adapter(model, adapters[0])
    assert torch.equal(logits(model), before)
    assert [name for name, _ in model.named_modules()] == names
    assert not [module for module in model.modules() if isinstance(module, LoRALinear)]


def test_a_batch_has_a_row_and_a_scale_for_each_adapter(loaded, adapters):
    one = chat.adapter(loaded[0], adapters[0])
    for scales, message in ((None, "batch must have 2 rows, got 4"), ([1], "scales must be 2, g")):
        with pytest.raises(ValueError, match=message), chat.speaking(loaded[0], [one, one], scales):
            logits(loaded[0])


# -- lora-edu chat ----------------------------------------------------------------------------


@pytest.fixture
def talk(folder, monkeypatch, capsys):
    """Return a function that pipes lines into the command and returns what it prints."""

    def run(lines, *options, code=0):
        text = lines if isinstance(lines, bytes) else "\n".join(lines).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text), "utf-8"))
        arguments = ["chat", folder, *options, "--max-tokens", 6]
        assert main([str(argument) for argument in arguments]) == code
        out, err = capsys.readouterr()
        return out.splitlines(), err.splitlines()

    return run


def test_a_pipe_is_answered_line_by_line(loaded, talk):
    answer = printable(chat.answers(*loaded, ["Hi"], 6)[0]) + " …"
    assert "<|im_end|>" not in answer  # it is cut off
    new = ["(a new conversation)"]
    out, err = talk(["Hi", "", "/new", "Hi", "/quit", "Hi"])
    assert (out, err) == ([*answer.splitlines(), *new, *answer.splitlines()], [])
    out, err = talk(b"caf\xe9\nHi\n")  # a byte that is no letter is no end
    assert len(out) >= 2
    assert err == []


def test_an_adapter_speaks_at_a_scale_until_it_is_off(loaded, adapters, talk):
    model, fast = loaded
    one, two = (chat.adapter(model, where) for where in adapters)
    with chat.speaking(model, [one, one, two, None], [1, 0.5, 0.5, 1]):
        answers = chat.answers(model, fast, ["Hi"] * 4, 6)
    assert len(set(answers)) == 4
    assert not any(answer.endswith("<|im_end|>") for answer in answers)
    lines = ["Hi", "/new", "/scale 0.5", "Hi", "/new", "/adapter two", "Hi", "/new", "/off", "Hi"]
    told = ["", f"(speaks: {adapters[0]}, scale 0.5)", "(speaks: two, scale 0.5)",
            "(speaks: the base itself)"]  # fmt: skip
    expected = [f"{line}\n{printable(a)} …" for line, a in zip(told, answers, strict=True)]
    out, _ = talk(lines, "--adapter", *adapters)
    assert out == "\n(a new conversation)\n".join(expected).splitlines()[1:]


LONG = "x" * 10**6
WRONG_COMMANDS = {  # → the beginning of what is said
    "/scale 3": "scale must be a number from -1 to 2, got 3",
    "/scale nan": "scale must be a number from -1 to 2, got nan",
    f"/scale {LONG}": "scale must be a number from -1 to 2, got xxx",
    "/adapter nobody": "no adapter is called 'nobody'; there are grimm, pirate, one, or a folder",
    f"/adapter {LONG}": "",  # as the system says it
    "/adapter a\0b": r"no adapter is called 'a\x00b'",
    "/adapter file": "no adapter is called 'file'",
    "/adapter ill": "[Errno 5] Input/output error",
    f"/{LONG}": "no command is called /xxx",
    "/quit now": "no command is called /quit: /help lists them",
}


def test_a_wrong_command_is_one_line_and_another_voice_reads_what_was_said(
    adapters, talk, tmp_path, monkeypatch
):
    read, ill = chat.adapter, Mock(side_effect=OSError(5, "Input/output error"))
    monkeypatch.setattr(chat, "adapter", lambda *how: (ill if how[1].name == "ill" else read)(*how))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "ill").mkdir()
    lines = [*WRONG_COMMANDS, "/adapter", "/help", "/scale -1", "Hi", "/off", "/new", "/off"]
    out, err = talk(lines, "--adapter", adapters[0], code=1)
    for told, start in zip(err, WRONG_COMMANDS.values(), strict=True):
        assert told.startswith(start)
        assert len(told) <= 500
    assert sum("/adapter NAME" in line for line in out) == 1
    assert out[0] == f"(speaks: {adapters[0]}, scale 1)"
    assert f"(speaks: {adapters[0]}, scale -1)" in out
    assert out[-3] == "(speaks: the base itself; it reads what was said before: /new forgets that)"
    assert out[-2:] == ["(a new conversation)", "(speaks: the base itself)"]


def test_a_reader_that_has_left_ends_the_talk(monkeypatch):
    """Were it told like an error of a file, a model would answer on to nobody."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hi\n"))
    monkeypatch.setattr(chat, "_reply", Mock(side_effect=BrokenPipeError))
    with pytest.raises(BrokenPipeError):
        chat.talk(None)


def test_what_the_model_says_does_not_steer_the_terminal(talk, monkeypatch):
    def red(self, question, write):
        write("\x1b[31mred\n")
        raise ValueError("\x1b[2J")

    monkeypatch.setattr(chat.Conversation, "answer", red)
    assert talk(["Hi"], code=1) == ([r"\x1b[31mred"], [r"\x1b[2J"])


def test_a_pipe_that_is_interrupted_or_in_part_unanswered_says_so(talk, monkeypatch):
    out, err = talk(["x" * 250, "Hi"], code=1)
    assert len(err) == 1
    assert out
    monkeypatch.setattr(chat.Conversation, "answer", lambda *_: False)
    assert talk(["Hi", "Hi"], code=130) == ([""], ["lora-edu: interrupted"])


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_at_a_terminal_an_interrupt_or_an_error_ends_nothing(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", Terminal("/x\nHi\n/quit\nHi\n"))
    monkeypatch.setattr(chat.Conversation, "answer", Mock(side_effect=KeyboardInterrupt))
    assert main(["chat", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert out == "Ask anything; /help says what else there is.\n> > \n(/quit leaves)\n> "
    assert err == "no command is called /x: /help lists them\n"


def test_a_conversation_is_kept_and_what_has_no_answer_is_not(folder, loaded):
    talks = chat.Conversation(folder, [], 20, 0.0, 0)
    with pytest.raises(ValueError, match=r"the conversation has \d+ tokens, at most 236: /new"):
        talks.answer("x" * 230, silent)
    assert talks.messages == []
    assert talks.answer("Hi", silent)
    assert talks.answer("And?", silent)
    answers = [message["content"] for message in talks.messages[1::2]]
    assert talks.messages == said("Hi", answers[0], "And?", answers[1])
    expected = chat.answers(*loaded, [talks.messages[:3]], 20)[0]
    assert answers[1] == expected.removesuffix("<|im_end|>")

    heard = []

    def write(text):  # until Ctrl + C, which ends the answer; what was heard is kept
        heard.append(text)
        if len("".join(heard)) > 3:
            raise KeyboardInterrupt

    assert not talks.answer("Well?", write)
    assert talks.messages[4:] == said("Well?", "".join(heard))
    assert 3 < len("".join(heard)) < 20
    assert talks.answer("Go on", silent)
    assert len(talks.messages) == 8


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
    assert talks.command("/scale") == "(speaks: one, scale 1)"
    for name in ("out", "a/out", "b/out", "one"):
        talks.command(f"/adapter {name}")


# -- what is wrong at the start -------------------------------------------------------------------


def test_a_wrong_option_or_folder_is_one_line(folder, adapters, tmp_path, refused):
    (tmp_path / "empty").mkdir()
    higher = shutil.copytree(folder, tmp_path / "higher")
    config = (higher / "config.json").read_text()
    (higher / "config.json").write_text(config.replace('_layers": 4', '_layers": 5'))
    endless = shutil.copytree(adapters[0], tmp_path / "endless")
    tensors = {name: tensor * torch.nan for name, tensor in load_file(endless / WEIGHTS).items()}
    save_file(tensors, endless / WEIGHTS)
    headed = made(folder, tmp_path / "head", modules_to_save=["model.norm"])
    dora = made(folder, tmp_path / "dora", use_dora=True)
    pissa = made(folder, tmp_path / "pissa", init_lora_weights="pissa")
    for options, message in (
        ([folder, "--max-tokens", 0], "max_tokens must be from 1 to 255, got 0"),
        ([folder, "--max-tokens", 256], "max_tokens must be from 1 to 255, got 256"),
        ([folder, "--temperature", 1e-9], "temperature must be 0, or at least 0.01, got 1e-09"),
        ([folder, "--temperature", "nan"], "temperature must be 0, or at least 0.01, got nan"),
        ([folder, "--scale", -1.1], "scale must be a number from -1 to 2, got -1.1"),
        ([tmp_path / "none"], "model must be a folder with a config.json and weights"),
        ([llama(tmp_path / "bare", template=None)], "its tokenizer has no chat_template"),
        ([higher], "has no weights for model.layers.4."),
        ([folder, "--adapter", tmp_path / "empty"], "adapter_config.json"),
        ([folder, "--adapter", headed], "no head of its own, as a classifier has"),
        ([folder, "--adapter", dora], "must be plain LoRA for a chat"),
        ([folder, "--adapter", pissa], "must be plain LoRA for a chat"),
        ([folder, "--adapter", endless], "must be finite, got NaN"),
    ):
        assert message in refused("chat", *options)


def test_a_folder_s_own_code_is_never_run(folder, tmp_path, refused):
    named = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}
    own = shutil.copytree(folder, tmp_path / "own")
    config = {**json.loads((own / "config.json").read_text()), "auto_map": named}
    (own / "config.json").write_text(json.dumps({**config, "model_type": "mine"}))
    (own / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    refused("chat", own)
