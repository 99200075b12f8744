"""The page for the desperate: each symptom made to happen, and each remedy run as it stands there.

Where the symptom is an error or a warning, its text is that of the heading or of the entry.
"""

import copy
import re
import warnings
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import loralib
import peft
import pytest
import tiny_llama
import torch
from builder.source import NOTEBOOKS, read_source, sources
from packaging.version import Version
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    DataCollatorForLanguageModeling,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from lora_edu import adapt, chat
from lora_edu.layers import LoRALinear
from lora_edu.memory import saved_bytes
from lora_edu.quantize import NF4

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # on is_gradient_checkpointing
    pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning"),  # PEFT 0.18
    pytest.mark.filterwarnings("ignore:.*`ensure_weight_tying` is not set:UserWarning"),
]

PAGE = (NOTEBOOKS / "TROUBLESHOOTING.md").read_text(encoding="utf-8")
ENTRIES = {part.split("\n")[0]: part for part in re.split(r"(?m)^### ", PAGE)[1:]}
TESTED: list[str] = []
NEWEST = Version(version("peft")) >= Version("0.21")  # of what the page says of this version alone
IDS = torch.randint(3, 64, (4, 8), generator=torch.Generator().manual_seed(0))


def entry(heading: str) -> Callable[[Callable], Callable]:
    """Note that a test is of this entry."""
    TESTED.append(heading)
    return lambda test: test


def code(heading: str) -> list[str]:
    """Return the blocks of code of an entry."""
    return re.findall(r"(?s)```python\n(.*?)```", ENTRIES[heading])


def run(source: str, **names: Any) -> dict[str, Any]:
    """Run a block of the page, with what it takes for granted; return all names."""
    given = {name: getattr(peft, name) for name in ("PeftModel", "LoraConfig", "get_peft_model")}
    given |= {"prepare_model_for_kbit_training": peft.prepare_model_for_kbit_training}
    given |= {"AutoModelForCausalLM": AutoModelForCausalLM, "loralib": loralib, "torch": torch}
    space: dict[str, Any] = given | names
    exec(source, space)
    return space


def llama(**fields: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**(SIZE | fields))).eval()


SIZE: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
SIZE |= {"num_hidden_layers": 2, "num_key_value_heads": 1, "vocab_size": 64}
SIZE |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "initializer_range": 0.4}


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    size = {"n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": 16, "vocab_size": 64}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "loss_type": "ForCausalLM"}
    return GPT2LMHeadModel(GPT2Config(**size, **ends, initializer_range=0.4)).eval()


def config(*targets: str, **fields: Any) -> peft.LoraConfig:
    base = {"target_modules": list(targets) or ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    return peft.LoraConfig(**(base | {"r": 4, "lora_alpha": 8} | fields))


def added(base: nn.Module, *targets: str, **fields: Any) -> peft.PeftModel:
    torch.manual_seed(1)
    return peft.get_peft_model(base, config(*targets, **fields))


def loss(model: nn.Module, ids: Tensor = IDS) -> Tensor:
    return model(input_ids=ids, labels=ids).loss


@torch.no_grad()
def outputs(model: nn.Module, ids: Tensor = IDS) -> Tensor:
    return model(input_ids=ids).logits.float()


def trains(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def train(model: Any, steps: int = 3, lr: float = 0.01, optimizer: Any = None, of: Any = loss):
    """Take some steps; return the losses."""
    optimizer = optimizer or torch.optim.AdamW(trains(model), lr=lr)
    losses = []
    for _ in range(steps):
        value = of(model)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def trained(base: nn.Module, *targets: str, lr: float = 0.01, **fields: Any) -> peft.PeftModel:
    model = added(base, *targets, **fields)
    train(model, lr=lr)
    return model.eval()


def largest_B(model: nn.Module) -> float:
    found = [p.abs().max().item() for n, p in model.named_parameters() if "lora_B" in n]
    return max(found)


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether outputs are equal but for rounding."""
    return bool((one - other).abs().max() < 1e-4)


def size(folder: Path) -> int:
    return (folder / "adapter_model.safetensors").stat().st_size


# -- the page itself ----------------------------------------------------------------------------


def test_each_entry_has_its_parts_and_a_test():
    assert list(ENTRIES) == TESTED
    for heading, text in ENTRIES.items():
        parts = re.findall(r"(?m)^\*\*(.+?)\*\*", text)
        assert parts == ["Why.", "What to do.", "In the course:", "Threads:"], heading
        assert all(block.count("\n") <= 8 for block in code(heading)), heading


def test_the_table_of_symptoms_leads_to_every_entry():
    table = PAGE.partition("\n## Training")[0]
    linked = re.findall(r"(?m)^\| .+ \| \[.+\]\(#(.+)\) \|$", table)
    slugs = [re.sub(r"[^\w\- ]", "", one).lower().replace(" ", "-") for one in ENTRIES]
    assert linked == slugs


def test_each_cell_that_the_page_names_exists():
    named = re.findall(r"\[(\d\d)\]\((\d\d_\w+\.ipynb)\)((?:,?\s`[a-z0-9-]+`)+)", PAGE)
    assert len(named) == len(re.findall(r"\[\d\d\]\(", PAGE)) > 25
    for path in sources(sorted({number for number, *_ in named})):
        ids = {cell.id for cell in read_source(path).cells}
        for number, file, cells in named:
            if number == path.stem[:2]:
                assert file == f"{path.stem}.ipynb"
                assert set(re.findall(r"`(.+?)`", cells)) <= ids, (number, cells)


def test_each_thread_is_a_thread_on_github():
    found = re.findall(r"\[([\w-]+)#(\d+)\]\((.+?)\)", PAGE)
    assert len(found) > 30
    for name, number, address in found:
        owner = re.fullmatch(r"https://github\.com/[\w-]+/([\w-]+)/(?:issues|pull)/(\d+)", address)
        assert owner, address
        assert (owner[1].lower(), owner[2]) == (name.lower(), number)
    assert {address for *_, address in found} == set(re.findall(r"https?://[^)\s]+", PAGE))


def test_the_first_three_things_to_look_at(capsys):
    block = re.findall(r"(?s)```python\n(.*?)```", PAGE.partition("\n### ")[0])[0]
    assert block.count("\n") == 6

    def look(model):
        with torch.no_grad():
            run(block, model=model, batch={"input_ids": IDS})
        return [float(n) for n in re.findall(r"\d[\d.e-]*", capsys.readouterr().out)]

    model = added(llama())
    assert look(model) == [448, 0, 0]
    train(model.train(), 1)
    count, moved, differ = look(model)
    assert count == 448
    assert moved > 0 < differ
    model.requires_grad_(False)
    assert look(model)[0] == 0


# -- training -----------------------------------------------------------------------------------


@entry("`lora_B` stays zero")
def test_lora_b_stays_zero():
    model = peft.prepare_model_for_kbit_training(added(llama()))  # the wrong way round
    with pytest.raises(RuntimeError, match="element 0 of tensors"):
        loss(model).backward()
    model.gradient_checkpointing_enable()
    losses = train(model.train(), optimizer=torch.optim.AdamW(model.parameters(), lr=0.01))
    assert len(set(losses)) == 1
    assert largest_B(model) == 0  # and nothing has complained

    made = run(*code("`lora_B` stays zero"), model=llama(), config=config())["model"]
    train(made, 1)
    assert largest_B(made) > 0  # one step is enough

    both = adapt.add_lora(llama(), adapt.LoraConfig(target_modules=["q_proj"]))
    for name, parameter in both.named_parameters():
        if "lora_A" in name:
            nn.init.zeros_(parameter)
    train(both)
    assert largest_B(both) == 0


@entry("`trainable params: 0`, or all of them")
def test_trainable_params_0_or_all(tmp_path, capsys):
    peft_way, loralib_way = code("`trainable params: 0`, or all of them")
    trained(llama()).save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(llama(), tmp_path)
    loaded.print_trainable_parameters()
    assert "trainable params: 0 ||" in capsys.readouterr().out
    with pytest.raises(ValueError, match="optimizer got an empty parameter list"):
        torch.optim.AdamW(trains(loaded))
    loaded = run(peft_way, base=llama(), folder=tmp_path)["model"]
    assert loaded.get_nb_trainable_parameters()[0] == 448

    def new():
        return nn.Sequential(nn.Linear(8, 8), loralib.Linear(8, 8, r=2))

    def free(model):
        return [name for name, p in model.named_parameters() if p.requires_grad]

    model = new()
    assert free(model) == ["0.weight", "0.bias", "1.bias", "1.lora_A", "1.lora_B"]
    run(loralib_way, model=model)
    assert free(model) == ["1.lora_A", "1.lora_B"]
    run(loralib_way, model=(frozen := new().requires_grad_(False)))
    assert free(frozen) == []


@entry("The loss stays the same, to the last digit")
def test_the_loss_stays_the_same_to_the_last_digit():
    base = llama()
    early = torch.optim.AdamW(base.parameters(), lr=0.01)
    model = added(base)
    assert len(set(train(model, optimizer=early))) == 1
    (block,) = code("The loss stays the same, to the last digit")
    made = run(block, model=llama(), config=config())
    losses = train(made["model"], optimizer=made["optimizer"])
    assert losses[0] > losses[1] > losses[2]


@entry("`element 0 of tensors does not require grad and does not have a grad_fn`")
def test_element_0_of_tensors_does_not_require_grad():
    heading = "`element 0 of tensors does not require grad and does not have a grad_fn`"
    frozen = llama().requires_grad_(False)
    with pytest.raises(RuntimeError, match=heading.strip("`")):
        loss(frozen).backward()  # nothing trains

    def reentrant():
        model = added(llama()).train()
        model.gradient_checkpointing_enable({"use_reentrant": True})
        model.disable_input_require_grads()  # which transformers has put there
        return model

    def fails(model):
        with (
            pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"),
            pytest.raises(RuntimeError, match=heading.strip("`")),
        ):
            loss(model).backward()

    fails(model := reentrant())
    hook, other_kind = code(heading)[0].splitlines()
    run(hook, model=model)
    train(model, 1)
    assert largest_B(model) > 0
    fails(model := reentrant())
    run(other_kind, model=model)
    model.disable_input_require_grads()  # so it is the kind, not the hook
    train(model, 1)
    assert largest_B(model) > 0
    model = added(llama()).train()  # and left alone, both kinds work
    model.gradient_checkpointing_enable({"use_reentrant": True})
    train(model, 1)
    assert largest_B(model) > 0


@entry("`Attempting to unscale FP16 gradients`, or NaN after the first step")
def test_attempting_to_unscale_fp16_gradients():
    def half():
        return added(llama().half(), modules_to_save=["lm_head"])

    def step(model, optimizer, scaler):
        with torch.autocast("cpu", torch.float16):
            value = loss(model)
        optimizer.zero_grad()
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()
        return value.item()

    model = half()
    kinds = {name: p.dtype for name, p in model.named_parameters() if p.requires_grad}
    assert {kind for name, kind in kinds.items() if "lora_" in name} == {torch.float32}
    assert {kind for name, kind in kinds.items() if "lm_head" in name} == {torch.float16}
    assert {p.dtype for p in trains(half().half())} == {torch.float16}
    with pytest.raises(ValueError, match="Attempting to unscale FP16 gradients"):
        step(model, torch.optim.AdamW(trains(model)), torch.amp.GradScaler("cpu"))

    pure = peft.get_peft_model(llama().half(), config(), autocast_adapter_dtype=False)
    first, second = train(pure, 2)
    assert first > 0
    assert second != second  # NaN

    (block,) = code("`Attempting to unscale FP16 gradients`, or NaN after the first step")
    for model in (half(), pure := added(llama().half()).half()):
        run(block, model=model)
        optimizer = torch.optim.AdamW(trains(model), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        losses = [step(model, optimizer, scaler) for _ in range(4)]
        assert losses[-1] < losses[0] - 0.2
    assert {p.dtype for p in pure.get_base_model().lm_head.parameters()} == {torch.float16}
    losses = train(peft.get_peft_model(llama().bfloat16(), config(), autocast_adapter_dtype=False))
    assert losses[-1] < losses[0]


@entry("The loss is NaN, or 0.0, from the start")
def test_the_loss_is_nan_or_0_from_the_start(tmp_path, capsys):
    model, tokenizer = chat.load(tiny_llama.llama(tmp_path))
    model = added(model)
    talk = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "A king."}]
    ids, labels = chat.encode(tokenizer, talk)
    (block,) = code("The loss is NaN, or 0.0, from the start")

    def learns(length):
        batch = {"input_ids": torch.tensor([ids[:length]]), "labels": torch.tensor([labels])}
        batch["labels"] = batch["labels"][:, :length]
        run(block, batch=batch, tokenizer=tokenizer)
        return batch, capsys.readouterr().out.strip()

    cut, said = learns(10)
    assert said == "''"
    for divisor, expected in ((None, float("nan")), (20, 0.0)):
        value = model(**cut, num_items_in_batch=divisor).loss
        torch.testing.assert_close(value.item(), expected, equal_nan=True)
        model.zero_grad()
        value.backward()
        assert all((p.grad == 0).all() for p in trains(model))  # no number is harmed
    whole, said = learns(len(ids))
    assert said == repr("A king.<|im_end|>")
    assert model(**whole).loss > 0


@entry("It learns nothing, or the loss jumps up")
def test_it_learns_nothing_or_the_loss_jumps_up(capsys):
    losses: dict[float, list[float]] = {}

    def final_loss(lr):
        losses[lr] = train(added(llama(), "q_proj", "v_proj", "up_proj", "down_proj"), 20, lr)
        return losses[lr][-1]

    (block,) = code("It learns nothing, or the loss jumps up")
    tried = run(block, final_loss=final_loss)["tried"]
    start = losses[3e-5][0]
    assert tried[3e-5] > start - 0.1  # nothing
    assert tried[3e-4] > tried[3e-3] > tried[3e-2] < tried[3e-1]
    high = losses[3e-1]
    assert max(after - before for before, after in pairwise(high)) > 0.3  # up
    assert capsys.readouterr().out.startswith("0.03 ")
    assert tried[3e-2] < start - 2


@entry("It never stops")
def test_it_never_stops():
    tokenizer = tiny_llama.tokenizer()
    assert tokenizer.pad_token == tokenizer.eos_token
    rows = [tokenizer(text + tokenizer.eos_token) for text in ("Ay!", "Ahoy!")]
    collate = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    batch = dict(collate([{key: row[key] for key in row} for row in rows]))
    end = tokenizer.eos_token_id
    assert (batch["input_ids"] == end).any(1).all()
    assert not (batch["labels"] == end).any()  # not one end has a label

    (block,) = code("It never stops")
    labels = run(block, batch=batch)["labels"]
    assert (labels == end).sum(1).tolist() == [1, 1]
    assert (labels == -100).tolist() == (batch["attention_mask"] == 0).tolist()
    tokenizer.pad_token = "<|endoftext|>"  # the other remedy: a token that the model has already
    own = collate([{key: row[key] for key in row} for row in rows])["labels"]
    assert own.tolist() == labels.tolist()

    given = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}

    def learned(labels):
        base = llama(vocab_size=len(tokenizer), eos_token_id=end, pad_token_id=end)
        model = added(base, "q_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj")
        train(model, 60, 0.02, of=lambda model: model(**given, labels=labels).loss)
        return model.eval()

    def answer(model):
        asked = {key: value[1:, :3] for key, value in given.items()}
        return tokenizer.decode(model.generate(**asked, max_new_tokens=12, do_sample=False)[0])

    endless = answer(learned(batch["labels"]))
    assert endless.startswith("Ahoy!")
    assert "<|im_end|>" not in endless
    model = learned(labels)
    assert answer(model) == "Ahoy!<|im_end|>"
    model.generation_config.eos_token_id = 1  # asked with another end token than trained
    assert answer(model).startswith("Ahoy!<|im_end|>")
    assert answer(model) != "Ahoy!<|im_end|>"  # and on it goes
    model.generation_config.eos_token_id = end
    assert answer(model) == "Ahoy!<|im_end|>"


@entry("It is not faster, and takes as much memory")
def test_it_is_not_faster_and_takes_as_much_memory():
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "gate_proj", "down_proj")

    def operations(work):
        with FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops()

    def kept(model):
        return saved_bytes(model, lambda: loss(model))

    full, lora = llama().train(), added(llama(), *names).train()
    assert operations(lambda: outputs(lora)) > operations(lambda: outputs(full))
    work = [operations(lambda m=model: loss(m).backward()) for model in (lora, full)]
    assert work[0] > 0.9 * work[1]
    assert kept(lora) > 0.85 * kept(full)
    assert sum(p.numel() for p in trains(lora)) < 0.5 * sum(p.numel() for p in trains(full))
    assert kept(added(llama().bfloat16(), *names)) > 1.2 * kept(llama().bfloat16())

    (block,) = code("It is not faster, and takes as much memory")
    before = kept(lora)
    run(block, model=lora)
    assert kept(lora) < 0.4 * before
    assert operations(lambda: loss(lora).backward()) > 1.2 * work[0]
    merged = added(llama(), *names).merge_and_unload()
    assert operations(lambda: outputs(merged)) == operations(lambda: outputs(llama()))


# -- which layers -------------------------------------------------------------------------------


@entry("`Target modules {'q_proj', 'v_proj'} not found in the base model`")
def test_target_modules_not_found_in_the_base_model(capsys):
    with pytest.raises(ValueError, match=r"^Target modules \{'q_proj'\} not found in the base mod"):
        added(gpt2(), "q_proj")
    with pytest.raises(ValueError, match=r"Target modules \{'q_proj,v_proj'\} not found"):
        added(llama(), "q_proj,v_proj")
    with pytest.raises(ValueError, match="not found in the base model"):
        added(llama(), ".*q_proj")  # an expression, in a list
    with pytest.raises(ValueError, match="Target modules q_proj not found"):
        added(llama(), target_modules="q_proj")
    assert len(added(llama(), target_modules=".*q_proj").targeted_module_names) == 2
    with pytest.raises(ValueError, match=r"nearest names: .*q_proj"):
        adapt.add_lora(llama(), adapt.LoraConfig(target_modules=["q_projs"]))

    (block,) = code("`Target modules {'q_proj', 'v_proj'} not found in the base model`")
    for model, expected in (
        (llama(), "down_proj gate_proj k_proj lm_head o_proj q_proj up_proj v_proj"),
        (gpt2(), "c_attn c_fc c_proj lm_head"),
    ):
        run(block, model=model)
        assert re.findall(r"'(\w+)'", capsys.readouterr().out) == expected.split()
    assert len(added(gpt2(), "c_attn", fan_in_fan_out=True).targeted_module_names) == 2
    every = added(llama(), target_modules="all-linear").targeted_module_names
    assert len(every) == 14


@entry("Some target modules are not matched, and nothing warns")
def test_some_target_modules_are_not_matched_and_nothing_warns(capsys):
    asked = config("q_proj", "query_key_value")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", FutureWarning)
        model = peft.get_peft_model(llama(), asked)
    assert model.get_nb_trainable_parameters()[0] == 2 * 4 * (16 + 16)
    (block,) = code("Some target modules are not matched, and nothing warns")
    run(block, model=model, config=asked)
    said = sorted(capsys.readouterr().out.splitlines())
    assert said == ["q_proj 2 layers", "query_key_value 0 layers"]


@entry("`fan_in_fan_out is set to False but the target module is Conv1D`")
def test_fan_in_fan_out_is_set_to_false_but_the_target_module_is_conv1d():
    with pytest.warns(UserWarning, match="fan_in_fan_out is set to False but the target module is"):
        model = trained(gpt2(), "attn.c_proj")
    voice = outputs(model)
    with pytest.warns(UserWarning, match="fan_in_fan_out is set to True but the target module is"):
        other = trained(llama(), fan_in_fan_out=True)
    assert torch.equal(outputs(other), outputs(trained(llama())))  # harmless
    silent = trained(gpt2(), "attn.c_proj", fan_in_fan_out=True)
    assert torch.equal(outputs(silent), voice)

    strips = [
        (f"transformer.h.{i}.attn.c_proj", layer.lora_A.default.weight, layer.lora_B.default.weight)
        for i, layer in enumerate(
            block.attn.c_proj for block in model.get_base_model().transformer.h
        )
    ]
    (remedy,) = code("`fan_in_fan_out is set to False but the target module is Conv1D`")

    def by_hand(block):
        plain = gpt2()
        for name, A, B in strips:
            layer = plain.get_submodule(name)
            with torch.no_grad():
                run(block, layer=layer, A=A, B=B, scaling=2.0)
        return outputs(plain)

    assert not alike(by_hand(remedy.replace(".T", "")), voice)  # square: nothing fails
    assert alike(by_hand(remedy), voice)
    assert alike(outputs(copy.deepcopy(model).merge_and_unload()), voice)
    assert LoRALinear(gpt2().transformer.h[0].attn.c_attn, r=2, lora_alpha=2).fan_in_fan_out


@entry("`You are trying to modify a model with PEFT for a second time`")
def test_you_are_trying_to_modify_a_model_with_peft_for_a_second_time(tmp_path):
    def again(base):
        with (
            pytest.warns(UserWarning, match="You are trying to modify a model with PEFT for a sec"),
            pytest.warns(UserWarning, match="Already found a `peft_config` attribute in the model"),
        ):
            return peft.get_peft_model(base, config())

    base = llama()
    first = trained(base)
    first.save_pretrained(tmp_path)
    voice = outputs(first)
    assert torch.equal(outputs(base), voice)  # the base is changed in place
    again(base)
    assert torch.equal(outputs(first), outputs(llama()))  # and now the voice is gone
    lora = adapt.LoraConfig(target_modules=["q_proj"])
    ours = adapt.add_lora(llama(), lora)
    with pytest.raises(ValueError, match="model must have no LoRA layers yet"):
        adapt.add_lora(ours, lora)

    off, two = code("`You are trying to modify a model with PEFT for a second time`")
    model = trained(llama())
    with warnings.catch_warnings():
        if not NEWEST:
            warnings.simplefilter("ignore", UserWarning)
        model = run(off, model=model, config=config(r=2))["model"]
    assert torch.equal(outputs(model), outputs(llama()))
    assert model.get_nb_trainable_parameters()[0] == 224
    assert train(model)[0] > train(model)[0]

    model = run(two, model=(one := trained(llama(), lr=0.03)), folder=tmp_path)["model"].eval()
    assert alike(outputs(model), voice)
    model.set_adapter("default")
    assert not alike(outputs(one), voice)


# -- saving and loading -------------------------------------------------------------------------


@entry("The adapter loads and nothing changes")
def test_the_adapter_loads_and_nothing_changes(tmp_path):
    model = trained(llama())
    model.save_pretrained(tmp_path)
    with (
        pytest.warns(UserWarning, match="Found missing adapter keys while loading"),
        pytest.warns(UserWarning, match="Already found a `peft_config`"),
    ):
        wrong = peft.PeftModel.from_pretrained(added(llama()), tmp_path).eval()
    assert torch.equal(outputs(wrong), outputs(llama()))  # to the last digit
    (block,) = code("The adapter loads and nothing changes")
    loaded = run(block, base=llama(), folder=tmp_path)["model"]
    assert alike(outputs(loaded), outputs(model))
    assert not alike(outputs(loaded), outputs(llama()))


@entry("`Found missing adapter keys while loading the checkpoint`")
def test_found_missing_adapter_keys_while_loading_the_checkpoint(tmp_path):
    model = trained(llama(), task_type=None)
    model.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="Found missing adapter keys while loading the checkpoint"):
        wrong = peft.PeftModel.from_pretrained(llama().model, tmp_path)
    assert largest_B(wrong) == 0
    (block,) = code("`Found missing adapter keys while loading the checkpoint`")
    made = run(block, causal=llama(), folder=tmp_path)
    with torch.no_grad():
        states = made["encoder"](input_ids=IDS).last_hidden_state
        plain = llama().model(input_ids=IDS).last_hidden_state
        assert alike(model.get_base_model().lm_head(states), outputs(model))
        assert not alike(states, plain)

    trained(llama()).save_pretrained(tmp_path / "causal")
    with pytest.raises(AttributeError):
        peft.PeftModel.from_pretrained(llama().model, tmp_path / "causal")
    loaded = added(llama()).load_adapter(tmp_path / "causal", "other")
    assert not loaded.missing_keys  # of the base, none is listed any more
    if NEWEST:
        with pytest.warns(UserWarning, match="Adapter name 'lora' should not be contained"):
            named = peft.get_peft_model(llama(), config(), adapter_name="lora")
        train(named)
        named.save_pretrained(tmp_path)
        again = peft.PeftModel.from_pretrained(llama(), tmp_path / "lora", adapter_name="lora")
        assert alike(outputs(again), outputs(named.eval()))


@entry("The adapter's file is 2 GB")
def test_the_adapter_s_file_is_2_gb(tmp_path):
    table = 512 * 16 * 4  # bytes

    def base():
        return llama(vocab_size=512)

    model = trained(base(), "q_proj", "lm_head")
    with pytest.warns(UserWarning, match="Setting `save_embedding_layers` to `True`"):
        model.save_pretrained(tmp_path / "large")
    names = load_file(tmp_path / "large" / "adapter_model.safetensors")
    assert "base_model.model.lm_head.base_layer.weight" in names
    (block,) = code("The adapter's file is 2 GB")
    run(block, model=model, folder=tmp_path / "small")
    assert size(tmp_path / "large") - size(tmp_path / "small") > table
    loaded = peft.PeftModel.from_pretrained(base(), tmp_path / "small")
    assert alike(outputs(loaded), outputs(model))  # nothing is missing

    added(base()).save_pretrained(tmp_path / "usual")
    added(base(), modules_to_save=["embed_tokens"]).save_pretrained(tmp_path / "whole")
    assert size(tmp_path / "whole") - size(tmp_path / "usual") > table
    torch.save(added(base()).state_dict(), tmp_path / "state.pt")
    assert (tmp_path / "state.pt").stat().st_size > sum(p.nbytes for p in base().parameters())


@entry("The adapter's file is nearly empty")
def test_the_adapter_s_file_is_nearly_empty(tmp_path):
    model = trained(llama())
    voice = outputs(model)
    model.save_pretrained(tmp_path / "before")
    model.merge_and_unload()  # what it returns is thrown away
    assert alike(outputs(model), voice)  # in memory it is merged all the same
    model.save_pretrained(tmp_path / "empty")
    assert size(tmp_path / "empty") == 40 < size(tmp_path / "before")
    with pytest.warns(UserWarning, match="Found missing adapter keys"):
        loaded = peft.PeftModel.from_pretrained(llama(), tmp_path / "empty")
    assert torch.equal(outputs(loaded), outputs(llama()))

    (block,) = code("The adapter's file is nearly empty")
    run(block, model=trained(llama()), folder=tmp_path / "merged")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert alike(outputs(again), voice)

    old = trained(llama())
    former = old.state_dict
    old.state_dict = lambda *_, **__: peft.get_peft_model_state_dict(old, former())
    old.save_pretrained(tmp_path / "script")
    assert size(tmp_path / "script") == (size(tmp_path / "before") if NEWEST else 40)


@entry("After loading it answers differently")
def test_after_loading_it_answers_differently(tmp_path):
    quiet, with_head = code("After loading it answers differently")
    model = peft.get_peft_model(llama().eval(), config(lora_dropout=0.5))
    assert model.training
    train(model)
    assert not alike(outputs(model), outputs(model))
    run(quiet, model=model)
    assert torch.equal(outputs(model), outputs(model))

    def classifier(head):
        torch.manual_seed(0)
        made = LlamaForSequenceClassification(LlamaConfig(**SIZE, num_labels=3))
        torch.manual_seed(head)
        nn.init.normal_(made.score.weight)
        return made.eval()

    def loaded_differs(how):
        trained = peft.get_peft_model(classifier(1), how)
        trained.get_base_model().score.requires_grad_(True)
        train(trained, of=lambda m: m(input_ids=IDS, labels=torch.tensor([0, 1, 2, 0])).loss)
        trained.eval().save_pretrained(tmp_path)
        again = peft.PeftModel.from_pretrained(classifier(2), tmp_path).eval()
        return not alike(outputs(again), outputs(trained))

    assert loaded_differs(peft.LoraConfig(target_modules=["q_proj"]))
    assert not loaded_differs(run(with_head)["config"])
    assert not loaded_differs(peft.LoraConfig(target_modules=["q_proj"], task_type="SEQ_CLS"))

    model = trained(llama())
    model.save_pretrained(tmp_path / "voice")
    other = llama(initializer_range=0.5)  # the same shapes
    loaded = peft.PeftModel.from_pretrained(other, tmp_path / "voice")  # without a word
    assert not alike(outputs(loaded), outputs(model))


@entry("`size mismatch for base_model.model.model.embed_tokens.weight`")
def test_size_mismatch_for_embed_tokens(tmp_path):
    heading = "`size mismatch for base_model.model.model.embed_tokens.weight`"
    llama().save_pretrained(tmp_path / "base")
    ids = torch.tensor([[64, 65, 3, 4]])

    def base(resized=False, seed=0):
        made = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()
        torch.manual_seed(seed)
        if resized:
            made.resize_token_embeddings(66)
        return made

    model = added(base(resized=True))
    rows = model.get_input_embeddings().weight.detach().clone()
    train(model.train(), of=lambda model: loss(model, ids))
    assert torch.equal(model.get_input_embeddings().weight, rows)  # the new ones have not moved
    with pytest.warns(UserWarning, match="the embedding layer has been resized during finetuning"):
        model.eval().save_pretrained(tmp_path / "voice")
    with pytest.raises(RuntimeError, match=heading.strip("`")):
        peft.PeftModel.from_pretrained(base(), tmp_path / "voice")

    load, rows_too = code(heading)
    made = run(load, base=base(), folder=tmp_path / "voice", tokenizer=range(66))
    assert alike(outputs(made["model"], ids), outputs(model, ids))

    new = run(rows_too, new=[64, 65])["config"]
    model = peft.get_peft_model(base(resized=True), new)
    before = outputs(model.eval(), ids)
    train(model.train(), of=lambda model: loss(model, ids))
    with pytest.warns(UserWarning, match="the embedding layer has been resized during finetuning"):
        model.eval().save_pretrained(tmp_path / "rows")
    tensors = load_file(tmp_path / "rows" / "adapter_model.safetensors")
    (moved,) = (t for name, t in tensors.items() if "trainable_tokens_delta" in name)
    assert moved.shape == (2, 16)
    assert not alike(outputs(model, ids), before)

    nowhere = llama()  # without a folder
    nowhere.resize_token_embeddings(66)
    added(nowhere).save_pretrained(tmp_path / "nowhere")
    names = load_file(tmp_path / "nowhere" / "adapter_model.safetensors")
    assert not any("embed_tokens" in name for name in names)


# -- merging ------------------------------------------------------------------------------------


@entry("`Model with tie_word_embeddings=True`, merged and wrong")
def test_model_with_tie_word_embeddings_merged_and_wrong(tmp_path):
    tied = {"tie_word_embeddings": True}
    names = ("q_proj", "lm_head")

    def off_by(model):
        voice = outputs(model)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*tie_word_embeddings", UserWarning)
            warnings.filterwarnings("ignore", ".*no longer tied", UserWarning)
            merged = model.merge_and_unload()
            merged.save_pretrained(tmp_path)
        again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
        return [(outputs(one) - voice).abs().max().item() for one in (merged, again)]

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*tie_word_embeddings", UserWarning)
        warnings.filterwarnings("ignore", ".*no tied modules", UserWarning)
        model = trained(llama(**tied), *names)
        asked = trained(llama(**tied), *names, ensure_weight_tying=True)
        whole = trained(llama(**tied), "q_proj", modules_to_save=["lm_head"])
    with pytest.warns(UserWarning, match="Model with `tie_word_embeddings=True` and the"):
        copy.deepcopy(model).merge_and_unload()
    assert min(off_by(model)) > 0.1
    assert min(off_by(asked)) > 0.1  # nor does that help
    merged, again = off_by(whole)
    assert merged < 1e-4
    assert again < 1e-4
    lora = adapt.add_lora(llama(**tied), adapt.LoraConfig(target_modules=["lm_head"]))
    with pytest.raises(ValueError, match="lm_head shares its weight"):
        adapt.merge(lora)
    left_out = added(llama(**tied), target_modules="all-linear").targeted_module_names
    assert not any("lm_head" in name for name in left_out)

    (block,) = code("`Model with tie_word_embeddings=True`, merged and wrong")
    base = run(block, model=llama(**tied))["model"]
    assert torch.equal(outputs(base), outputs(llama(**tied)))
    assert max(off_by(trained(base, *names))) < 1e-4


@entry("After merging it answers differently")
def test_after_merging_it_answers_differently(tmp_path):
    in_32, in_16 = code("After merging it answers differently")

    def arrived(merged, model):
        """Return the share of the update that is in the merged weights, as in lesson 06."""
        kept = asked = 0.0
        for name, layer in model.get_base_model().named_modules():
            if hasattr(layer, "get_delta_weight"):
                change = layer.get_delta_weight("default").detach().float()
                moved = merged.get_submodule(name).weight - layer.base_layer.weight.float()
                kept += (moved * change).sum().item()
                asked += change.square().sum().item()
        return kept / asked

    @torch.no_grad()
    def on_levels(model):
        for name, parameter in model.named_parameters():
            if name.endswith("_proj.weight"):
                parameter.copy_(NF4.quantize(parameter).dequantize())
        return model

    faint = trained(llama().bfloat16(), lr=1e-4)
    lossy = copy.deepcopy(faint).merge_and_unload()
    assert arrived(lossy, faint) < 0.6
    exact = run(in_32, model=copy.deepcopy(faint))["merged"]
    assert arrived(exact, faint) == pytest.approx(1, abs=1e-3)
    assert alike(outputs(exact), outputs(copy.deepcopy(faint).float()))
    usual = trained(llama().bfloat16(), lr=3e-3)
    assert arrived(copy.deepcopy(usual).merge_and_unload(), usual) > 0.9

    llama().save_pretrained(tmp_path / "base")
    base = on_levels(llama())
    model = trained(base, lr=1e-3)
    model.save_pretrained(tmp_path / "voice")
    voice, itself = outputs(model), outputs(on_levels(llama()))
    unpacked = copy.deepcopy(model).merge_and_unload()
    packed = on_levels(copy.deepcopy(unpacked))
    assert arrived(packed, model) < 0.1
    assert (outputs(packed) - voice).norm() > 5 * (outputs(packed) - itself).norm()

    names = {"name": tmp_path / "base", "folder": tmp_path / "voice"}
    made = run(in_16, **names)
    assert made["merged"].dtype == torch.bfloat16
    original = peft.PeftModel.from_pretrained(llama().bfloat16(), tmp_path / "voice")
    assert arrived(made["merged"], original) > 0.7
    # Which 16 bits? On this model, those on which it was trained.
    assert alike(outputs(unpacked), voice)
    to_voice = [(outputs(one.bfloat16()) - voice).norm() for one in (unpacked, made["merged"])]
    assert to_voice[0] < to_voice[1]


@entry("Merged twice")
def test_merged_twice(tmp_path):
    model = trained(llama())
    voice = outputs(model)
    model.save_pretrained(tmp_path / "voice")
    model.merge_adapter()
    with pytest.warns(UserWarning, match="All adapters are already merged, nothing to do"):
        model.merge_adapter()
    assert alike(outputs(model), voice)
    llama().save_pretrained(tmp_path / "base")
    with pytest.warns(UserWarning, match="already merged"):
        model.merge_and_unload().save_pretrained(tmp_path / "merged")

    base = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    twice = peft.PeftModel.from_pretrained(base, tmp_path / "voice").eval()  # without a word
    louder = peft.PeftModel.from_pretrained(llama(), tmp_path / "voice")
    for layer in louder.modules():
        if hasattr(layer, "lora_B"):
            layer.scaling["default"] *= 2
    assert alike(outputs(twice), outputs(louder))
    assert not alike(outputs(twice), voice)
    (block,) = code("Merged twice")
    loaded = run(block, name=tmp_path / "base", folder=tmp_path / "voice")["model"]
    assert alike(outputs(loaded.eval()), voice)

    torch.manual_seed(0)
    layer, x = loralib.Linear(8, 8, r=2), torch.randn(3, 8)
    nn.init.normal_(layer.lora_B)
    once = layer(x).detach()
    layer.eval()
    state = copy.deepcopy(layer.state_dict())
    for first, same in ((False, False), (True, True)):
        other = loralib.Linear(8, 8, r=2)
        if first:
            other.eval()  # the remedy
        other.load_state_dict(state)
        other.eval()
        assert alike(other(x), once) is same

    ours = LoRALinear(nn.Linear(8, 8), r=2, lora_alpha=2)
    ours.merge()
    with pytest.raises(RuntimeError, match="is merged already"):
        ours.merge()
    with pytest.raises(RuntimeError, match="a merged LoRALinear cannot train"):
        ours(x)
    ours.unmerge()
    ours(x).sum().backward()
