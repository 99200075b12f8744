"""Adapters in GGUF, as llama.cpp and transformers read them, on a tiny Llama made here."""

import itertools
import json
from unittest.mock import Mock

import gguf
import pytest
import torch
import transformers
from gguf import GGUFValueType as Value
from helpers import save_random
from tiny_llama import SIZES, TEMPLATE, llama, tokenizer

from lora_edu import assets, chat, cli, export

LORA = {"target_modules": "all-linear", "r": 3, "lora_alpha": 2}
ADAPTERS = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "patterns": {"rank_pattern": {"q_proj": 5}, "alpha_pattern": {"v_proj": 1}},
}
QUESTION = "What is the capital of France?"


def as_gguf(model, path, **other):
    """Write a tiny model as GGUF: our own words for what llama.cpp's converter does."""
    config, kind = model.config, other.pop("kind", model.config.model_type)
    fields = {
        f"{kind}.block_count": (4, Value.UINT32),
        f"{kind}.context_length": (256, Value.UINT32),
        f"{kind}.embedding_length": (32, Value.UINT32),
        f"{kind}.feed_forward_length": (48, Value.UINT32),
        f"{kind}.attention.head_count": (4, Value.UINT32),
        f"{kind}.attention.head_count_kv": (2, Value.UINT32),
        f"{kind}.attention.layer_norm_rms_epsilon": (config.rms_norm_eps, Value.FLOAT32),
        f"{kind}.rope.freq_base": (config.rope_parameters["rope_theta"], Value.FLOAT32),
        "tokenizer.ggml.model": ("gpt2", Value.STRING),
        "tokenizer.ggml.pre": ("smollm", Value.STRING),
        "tokenizer.ggml.tokens": (tokenizer().convert_ids_to_tokens(range(259)), Value.ARRAY),
        "tokenizer.ggml.token_type": ([3] * 3 + [1] * 256, Value.ARRAY),  # 3: special
        "tokenizer.ggml.merges": (["a b"], Value.ARRAY),
        "tokenizer.ggml.bos_token_id": (1, Value.UINT32),
        "tokenizer.ggml.eos_token_id": (2, Value.UINT32),
        "tokenizer.ggml.add_bos_token": (False, Value.BOOL),
        "tokenizer.chat_template": (TEMPLATE, Value.STRING),
    }
    writer = gguf.GGUFWriter(path, kind)
    for name, how in (fields | other).items():
        if how:
            writer.add_key_value(name, *how)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[config.model_type.upper()], 4)
    for name, tensor in model.state_dict().items():
        heads = {"q_proj.weight": 4, "k_proj.weight": 2}.get(".".join(name.split(".")[-2:]))
        if heads and config.model_type == "llama":  # head by head, first half and second in turns
            tensor = tensor.view(heads, 2, 4, -1).transpose(1, 2).reshape(tensor.shape)
        if name != "lm_head.weight":  # that is the table of the tokens
            writer.add_tensor(names.get_name(name, (".weight", ".bias")), tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a model, the same as base.gguf, and adapters of random numbers."""
    place = tmp_path_factory.mktemp("export")
    llama(place / "model")
    as_gguf(chat.load(place / "model")[0], place / "base.gguf")
    for name, more in (ADAPTERS | {"dora": {"use_dora": True}}).items():
        save_random(chat.load(place / "model")[0], place / name, **LORA, **more)
    return place


@pytest.fixture
def run(place, capsys):
    """Return a function: export an adapter of a folder with a model and base.gguf."""

    def run(name, *words, place=place):
        given = [place / name, "--model", place / "model", "--base", place / "base.gguf", *words]
        assert cli.main(["export", *map(str, given)]) == 0
        return capsys.readouterr()

    return run


def asked():
    return chat.template(tokenizer(), [{"role": "user", "content": QUESTION}], answers=True)


def said_by_llama_cpp(model, lora=None, **wanted):
    """Return the tokens that llama.cpp says, with their logprobs."""
    xllamacpp = pytest.importorskip("xllamacpp")
    how = xllamacpp.CommonParams()
    how.model.path, how.n_ctx, how.n_parallel = str(model), 256, 1
    how.warmup, how.verbosity = False, -1
    how.cpuparams.n_threads = how.cpuparams_batch.n_threads = 1
    # By default it keeps keys and values in 16 bits, which costs three digits.
    how.cache_type_k = how.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    how.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if lora:
        how.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(lora), 1.0)]
    return xllamacpp.Server(how).handle_completions(wanted)["choices"][0]["logprobs"]["content"]


def in_llama_cpp(model, lora=None):
    """Return the probabilities of the token that follows the question, as llama.cpp sees them."""
    # "a" is said, because half a letter or an end would be kept back; it changes no logprob.
    wanted = {"prompt": asked(), "max_tokens": 1, "logprobs": 259, "logit_bias": {"a": 100}}
    (said,) = said_by_llama_cpp(model, lora, **wanted)
    found = {token["id"]: token["logprob"] for token in said["top_logprobs"]}
    return torch.tensor([found[i] for i in range(259)]).exp()


def in_torch(model, adapter=None):
    """Return the same of a model in torch, with the adapter of a folder."""
    voice = adapter and chat.adapter(model, adapter)
    with torch.no_grad(), chat.speaking(model, [voice]):
        return model(torch.tensor([tokenizer()(asked())["input_ids"]])).logits[0, -1].softmax(-1)


@pytest.mark.seconds
@pytest.mark.parametrize("name", ADAPTERS)
def test_llama_cpp_and_transformers_find_the_probabilities_of_torch(place, run, tmp_path, name):
    lora, whole, folder = (tmp_path / end for end in ("lora.gguf", "whole.gguf", "whole"))
    run(name, "--gguf", lora, "--merged", whole, "--type", "f32")
    run(name, "--merged", folder)
    model, _ = chat.load(place / "model")
    wanted, base = in_torch(model, place / name), in_torch(model)
    assert (wanted - base).abs().max() > 0.02
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=whole.name)
    found = {
        "the base, in llama.cpp": in_llama_cpp(place / "base.gguf") - base,
        "with the LoRA, in llama.cpp": in_llama_cpp(place / "base.gguf", lora) - wanted,
        "merged, in llama.cpp": in_llama_cpp(whole) - wanted,
        "merged, in transformers": in_torch(again) - wanted,
        "a folder": in_torch(chat.load(folder)[0]) - wanted,
    }
    assert {what: off.abs().max().item() for what, off in found.items()} == {
        what: pytest.approx(0, abs=1e-6) for what in found
    }


@pytest.mark.assets
@pytest.mark.seconds
@pytest.mark.parametrize("name", ["pirate", "grimm"])
def test_the_voices_that_ship_speak_in_llama_cpp_as_here(tmp_path, name):
    """On the base in 4 bits, with which llama.cpp rounds to 8 bits what flows through."""
    lora = tmp_path / f"{name}.gguf"
    assert cli.main(["export", name, "--gguf", str(lora)]) == 0
    told = json.loads(lora.with_suffix(".json").read_text(encoding="utf-8"))
    (base,) = assets.path("smollm2-gguf").glob("*.gguf")
    how = {"prompt": told["prompt"], "temperature": 0, "logprobs": 1}
    said = said_by_llama_cpp(base, lora, max_tokens=export.LENGTH, **how)
    assert told["lead"] < 0.3 or [one["id"] for one in said] == told["tokens"]
    pairs = list(zip(said, told["tokens"], told["log_probabilities"], strict=False))
    alike = list(itertools.takewhile(lambda pair: pair[0]["id"] == pair[1], pairs))
    assert len(alike) >= 3
    assert all(abs(one["logprob"] - p) < 0.3 for one, _, p in alike)


@pytest.mark.seconds
@pytest.mark.parametrize("family", ["Qwen2", "Qwen3"])
def test_so_do_other_families(run, tmp_path, family):
    llama(tmp_path / "model")
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SIZES, head_dim=8)
    made = transformers.AutoModelForCausalLM.from_config(config)
    made.save_pretrained(tmp_path / "model")
    as_gguf(made, tmp_path / "base.gguf")
    save_random(chat.load(tmp_path / "model")[0], tmp_path / "voice", **LORA)
    run("voice", "--gguf", tmp_path / "lora.gguf", place=tmp_path)
    model, _ = chat.load(tmp_path / "model")
    wanted = in_torch(model, tmp_path / "voice")
    assert (wanted - in_torch(model)).abs().max() > 0.02
    found = in_llama_cpp(tmp_path / "base.gguf", tmp_path / "lora.gguf")
    assert (found - wanted).abs().max() < 1e-6


def test_another_chat_template_is_named(place, run, tmp_path):
    other = {"tokenizer.chat_template": ("{{ messages }}", Value.STRING)}
    base = as_gguf(chat.load(place / "model")[0], tmp_path / "base.gguf", **other)
    said = run("plain", "--gguf", tmp_path / "it.gguf", "--base", base)
    assert said.err == f"note: {base} has another chat template than the model\n"


@pytest.mark.seconds
def test_what_stands_beside_it_is_what_the_chat_says(place, run, tmp_path):
    run("plain", "--gguf", tmp_path / "it.gguf", "--question", "a", QUESTION, "b c")
    told = json.loads((tmp_path / "it.json").read_text(encoding="utf-8"))
    model, fast = chat.load(place / "model")
    how = model, fast, chat.adapter(model, place / "plain")
    leads = [export.expected(*how, [question])["lead"] for question in ("a", QUESTION, "b c")]
    assert told["lead"] == max(leads) > min(leads)
    run("plain", "--merged", tmp_path / "system", "--system", "Be brief.")
    system = json.loads((tmp_path / "system" / "expected.json").read_text())
    before = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
    assert system["prompt"].startswith(before)
    for adapters, answer in (([str(place / "plain")], "answer"), ([], "without_the_adapter")):
        words = []
        talks = chat.Conversation(str(place / "model"), adapters, export.LENGTH, 0, 0)
        talks.answer(told["messages"][-1]["content"], words.append)
        assert "".join(words).removesuffix(" …") == told[answer].removesuffix("<|im_end|>")
    ids = fast(told["prompt"])["input_ids"] + told["tokens"]
    assert fast.decode(told["tokens"]) == told["answer"]
    with torch.no_grad(), chat.speaking(model, [how[2]]):
        p = model(torch.tensor([ids])).logits[0, -len(told["tokens"]) - 1 : -1].softmax(-1)
    each = p.gather(1, torch.tensor(told["tokens"])[:, None])[:, 0]
    assert torch.tensor(told["log_probabilities"]).exp().tolist() == pytest.approx(each, abs=1e-4)
    used = {"adapter": place / "plain" / "adapter_model.safetensors", "base": place / "base.gguf"}
    for name, path in used.items():
        assert told[name]["sha256"] == assets.sha256(path)


def test_half_precision_where_nothing_is_rounded(place, tmp_path):
    """The voices that ship are in half precision, what was just trained is not."""
    model, fast = chat.load(place / "model")
    voice = chat.adapter(model, place / "plain")
    halves = {name: (A.half().float(), B) for name, (A, B) in voice.items()}
    export.write_lora(halves, export.Base(place / "base.gguf", fast), tmp_path / "it.gguf")
    for tensor in gguf.GGUFReader(tmp_path / "it.gguf").tensors:
        assert tensor.tensor_type.name == ("F16" if tensor.name.endswith("a") else "F32")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"kind": "gemma"}, "base.gguf: ValueError: gemma is not tried here"),
        ({"tokenizer.ggml.eos_token_id": (0, Value.UINT32)}, "or the one that ends answers"),
        ({"tokenizer.ggml.tokens": (["a"] * 259, Value.ARRAY)}, "its tokens, or the one that"),
        ({"llama.block_count": (2, Value.UINT32)}, "has no model.layers.2.self_attn.q_proj of"),
        ({"llama.attention.head_count": None}, "KeyError: 'llama.attention.head_count'"),
    ],
)  # fmt: skip
def test_a_base_that_is_not_that_of_the_adapter_is_refused(place, tmp_path, refused, other, said):
    base = as_gguf(chat.load(place / "model")[0], tmp_path / "base.gguf", **other)
    how = ["--model", place / "model", "--base", base, "--gguf", tmp_path / "it.gguf"]
    assert said in refused("export", place / "plain", *how)


def test_what_cannot_be_exported_is_refused_in_a_line(place, tmp_path, refused):
    base, model, new = place / "base.gguf", place / "model", tmp_path / "new.gguf"
    (tmp_path / "there.json").write_text("{}")
    for words, said in {
        ("plain",): "say what to write: --gguf FILE.gguf, --merged PATH, or both",
        ("plain", "--gguf", new, "--merged", new): "must be two places, got",
        ("plain", "--gguf", tmp_path / "it.bin"): "say what to write: --gguf FILE.gguf",
        ("plain", "--gguf", base): "base.gguf is there already: give another name",
        ("plain", "--gguf", tmp_path / "there.gguf"): "there.json is there already",
        ("plain", "--gguf", tmp_path / "no" / "it.gguf"): "no is no folder",
        ("plain", "--gguf", new): "--base FILE: a GGUF file of the model is needed",
        ("plain", "--gguf", new, "--base", model / "config.json"): "config.json: ValueError: GGUF",
        ("plain", "--gguf", new, "--base", tmp_path / "no"): "no: FileNotFoundError",
        ("plain", "--merged", new, "--type", "q8_0", "--base", base): "cannot be merged as Q8_0",
        ("nobody", "--gguf", new, "--base", base): "is no file",
        ("dora", "--gguf", new, "--base", base): "must be plain LoRA for a chat",
    }.items():  # fmt: skip
        name, *how = words
        assert said in refused("export", place / name, "--model", model, *how)


def test_an_adapter_without_a_layer_is_no_adapter(place, tmp_path):
    base = export.Base(place / "base.gguf", tokenizer())
    with pytest.raises(ValueError, match="adapter must have at least one layer, got none"):
        export.write_lora({}, base, tmp_path / "it.gguf")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(place, tmp_path, refused, monkeypatch):
    full = Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", full)
    how = ["--model", place / "model", "--base", place / "base.gguf"]
    said = refused("export", place / "plain", *how, "--gguf", tmp_path / "it.gguf")
    assert "No space left on device" in said
