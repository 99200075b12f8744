"""The page for the desperate: each symptom made to happen, and each remedy run as it stands there.

A test is called as its entry is, in letters that a name may have. Where the symptom is an error or
a warning, its text is that of the heading or of the entry.
"""

import copy
import re
import shutil
import warnings
from itertools import pairwise

import loralib
import peft
import pytest
import tiny_llama
import torch
import transformers
from builder.source import NOTEBOOKS
from helpers import error_of
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from lora_edu import adapt, chat
from lora_edu.memory import saved_bytes
from lora_edu.quantize import NF4

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # on is_gradient_checkpointing
    pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning"),  # PEFT 0.18
    pytest.mark.filterwarnings("ignore:.*`ensure_weight_tying` is not set:UserWarning"),
]

PAGE = (NOTEBOOKS / "TROUBLESHOOTING.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"(?m)^### (.+)", PAGE)
TESTS = ["test_" + re.sub(r"\W+", "_", one.lower()).strip("_") for one in HEADINGS]
ENTRIES = dict(zip(TESTS, re.split(r"(?m)^### ", PAGE)[1:], strict=True))
GIVEN = {name: getattr(peft, name) for name in ("PeftModel", "LoraConfig", "get_peft_model")}
GIVEN |= {"prepare_model_for_kbit_training": peft.prepare_model_for_kbit_training}
GIVEN |= {"AutoModelForCausalLM": AutoModelForCausalLM, "loralib": loralib, "torch": torch}
IDS = torch.randint(3, 64, (4, 8), generator=torch.Generator().manual_seed(0))
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "gate_proj", "down_proj")
SIZE = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "vocab_size": 64}
SIZE |= {"num_hidden_layers": 2, "num_key_value_heads": 1, "initializer_range": 0.4}
SIZE |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def code(text):
    return re.findall(r"(?s)```python\n(.*?)```", text)


@pytest.fixture
def heading(request):
    return ENTRIES[request.function.__name__].partition("\n")[0].strip("`")


@pytest.fixture
def remedy(request):
    """Return a function that runs a block of the entry and returns all names; each must run."""
    blocks = code(ENTRIES[request.function.__name__])
    ran = set()

    def run(number=0, **names):
        ran.add(number)
        space = GIVEN | names
        exec(blocks[number], space)
        return space

    yield run
    assert ran == set(range(len(blocks)))


def llama(**fields):
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**(SIZE | fields))).eval()


def gpt2():
    torch.manual_seed(0)
    made = transformers.GPT2Config(**SIZE, n_positions=16, loss_type="ForCausalLM")
    return transformers.GPT2LMHeadModel(made).eval()


def config(*targets, **fields):
    base = {"target_modules": list(targets) or ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    return peft.LoraConfig(**(base | {"r": 4, "lora_alpha": 8} | fields))


def added(base, *targets, **fields):
    torch.manual_seed(1)
    return get_peft_model(base, config(*targets, **fields))


def loss(model, ids=IDS):
    return model(input_ids=ids, labels=ids).loss


@torch.no_grad()
def outputs(model, ids=IDS):
    return model(input_ids=ids).logits.float()


def trains(model):
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def train(model, steps=3, lr=0.01, optimizer=None, of=loss):
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


def trained(base, *targets, lr=0.01, **fields):
    model = added(base, *targets, **fields)
    train(model, lr=lr)
    return model.eval()


def saved(model, folder):
    """Save an adapter; return the model and what it says."""
    model.save_pretrained(folder)
    return model, outputs(model)


def largest_B(model):
    return max(p.abs().max().item() for n, p in model.named_parameters() if "lora_B" in n)


def alike(one, other):
    """Say whether outputs are equal but for rounding."""
    return bool((one - other).abs().max() < 1e-4)


def size(folder):
    return (folder / "adapter_model.safetensors").stat().st_size


def warned(*messages):
    return pytest.warns(UserWarning, match="|".join(messages))


# -- the page itself ----------------------------------------------------------------------------


def test_each_entry_has_its_parts_a_test_and_a_row_in_the_table_of_symptoms():
    assert set(TESTS) <= set(globals())
    for heading, text in ENTRIES.items():
        parts = re.findall(r"(?m)^\*\*(.+?)\*\*", text)
        assert parts == ["Why.", "What to do.", "In the course:", "Threads:"], heading
        assert all(block.count("\n") <= 8 for block in code(text)), heading
    linked = re.findall(r"(?m)^\| .+ \| \[.+\]\(#(.+)\) \|$", PAGE.partition("\n## Training")[0])
    assert linked == [re.sub(r"[^\w\- ]", "", one).lower().replace(" ", "-") for one in HEADINGS]


def test_each_link_to_a_lesson_names_cells_and_each_thread_can_be_found():
    named = re.findall(r"\[(\d\d)\]\(\1_\w+\.ipynb\),?\s`[a-z0-9-]+`", PAGE)
    assert len(named) == len(re.findall(r"\[\d\d\]\(", PAGE)) > 25
    threads = re.findall(r"\[([\w-]+)#(\d+)\]\((.+?)\)", PAGE)
    assert len(threads) > 30
    for name, number, address in threads:
        thread = rf"(?i)https://github\.com/[\w-]+/{name}/(?:issues|pull)/{number}"
        assert re.fullmatch(thread, address)
    assert {address for *_, address in threads} == set(re.findall(r"https?://[^)\s]+", PAGE))


def test_the_first_three_things_to_look_at(capsys):
    def look(model):
        with torch.no_grad():
            exec(code(PAGE)[0], {"model": model, "batch": {"input_ids": IDS}})
        return [float(n) for n in re.findall(r"\d[\d.e-]*", capsys.readouterr().out)]

    model = added(llama())
    assert look(model) == [448, 0, 0]
    train(model.train(), 1)
    count, moved, differ = look(model)
    assert count == 448
    assert moved > 0 < differ


# -- training -----------------------------------------------------------------------------------


def test_lora_b_stays_zero(remedy):
    model = peft.prepare_model_for_kbit_training(added(llama()))  # the wrong way round
    with pytest.raises(RuntimeError, match="element 0 of tensors"):
        loss(model).backward()
    model.gradient_checkpointing_enable()
    losses = train(model.train(), optimizer=torch.optim.AdamW(model.parameters(), lr=0.01))
    assert len(set(losses)) == 1
    assert largest_B(model) == 0  # and nothing has complained
    made = remedy(model=llama(), config=config())["model"]
    train(made, 1)
    assert largest_B(made) > 0  # one step is enough, but with warmup the first has rate 0
    optimizer = torch.optim.SGD(made.parameters(), lr=1)
    rates = transformers.get_cosine_schedule_with_warmup(optimizer, 3, 60)
    assert rates.get_last_lr() == [0]
    made = added(llama())
    for parameter in trains(made):
        nn.init.zeros_(parameter)
    train(made)
    assert largest_B(made) == 0  # two strips of zeros stay so


def test_trainable_params_0_or_all_of_them(tmp_path, capsys, remedy):
    saved(trained(llama()), tmp_path)
    loaded = PeftModel.from_pretrained(llama(), tmp_path)
    loaded.print_trainable_parameters()
    assert "trainable params: 0 ||" in capsys.readouterr().out
    with pytest.raises(ValueError, match="optimizer got an empty parameter list"):
        torch.optim.AdamW(trains(loaded))
    loaded = remedy(base=llama(), folder=tmp_path)["model"]
    assert loaded.get_nb_trainable_parameters()[0] == 448

    model = nn.Sequential(nn.Linear(8, 8), loralib.Linear(8, 8, r=2))
    frozen = copy.deepcopy(model).requires_grad_(False)
    assert len(trains(model)) == 5  # its own weight is frozen, and nothing else
    for each, left in ((model, ["1.lora_A", "1.lora_B"]), (frozen, [])):
        remedy(1, model=each)
        assert [name for name, p in each.named_parameters() if p.requires_grad] == left


def test_the_loss_stays_the_same_to_the_last_digit(remedy):
    base = llama()
    early = torch.optim.AdamW(base.parameters(), lr=0.01)
    assert len(set(train(added(base), optimizer=early))) == 1
    made = remedy(model=llama(), config=config())
    losses = train(made["model"], optimizer=made["optimizer"])
    assert losses[0] > losses[1] > losses[2]


def test_element_0_of_tensors_does_not_require_grad_and_does_not_have_a_grad_fn(heading, remedy):
    with pytest.raises(RuntimeError, match=heading):
        loss(llama().requires_grad_(False)).backward()  # nothing trains

    def failing():
        model = added(llama()).train()
        model.gradient_checkpointing_enable({"use_reentrant": True})
        model.disable_input_require_grads()  # which transformers has put there
        inputs = warned("None of the inputs have requires_grad=True")
        with inputs, pytest.raises(RuntimeError, match=heading):
            loss(model).backward()
        return model

    (block,) = code(ENTRIES["test_" + heading.replace(" ", "_")])
    for line in block.splitlines():  # either of the two is enough
        model = failing()
        exec(line, {"model": model})
        if "use_reentrant" in line:
            model.disable_input_require_grads()  # so it is the kind, not the hook
        train(model, 1)
        assert largest_B(model) > 0
    remedy(model=failing())


def test_attempting_to_unscale_fp16_gradients_or_nan_after_the_first_step(remedy):
    def step(model, optimizer, scaler):
        with torch.autocast("cpu", torch.float16):
            value = loss(model)
        optimizer.zero_grad()
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()
        return value.item()

    half = added(llama().half(), modules_to_save=["lm_head"])
    assert {p.dtype for n, p in half.named_parameters() if "lora_" in n} == {torch.float32}
    with pytest.raises(ValueError, match="Attempting to unscale FP16 gradients"):
        step(half, torch.optim.AdamW(trains(half)), torch.amp.GradScaler("cpu"))
    pure = {"peft_config": config(), "autocast_adapter_dtype": False}
    first, second = train(get_peft_model(llama().half(), **pure), 2)
    assert first > 0
    assert second != second  # NaN
    losses = train(get_peft_model(llama().bfloat16(), **pure))
    assert losses[-1] < losses[0]  # which needs no scaler

    for model in (half, added(llama().half()).half()):
        remedy(model=model)
        optimizer = torch.optim.AdamW(trains(model), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        losses = [step(model, optimizer, scaler) for _ in range(4)]
        assert losses[-1] < losses[0] - 0.2


def test_the_loss_is_nan_or_0_0_from_the_start(tmp_path, capsys, remedy):
    model, tokenizer = chat.load(tiny_llama.llama(tmp_path))
    model = added(model)
    talk = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "A king."}]
    ids, labels = (torch.tensor([row]) for row in chat.encode(tokenizer, talk))
    for length, learned in ((None, "A king.<|im_end|>"), (10, "")):
        batch = {"input_ids": ids[:, :length], "labels": labels[:, :length]}
        remedy(batch=batch, tokenizer=tokenizer)
        assert capsys.readouterr().out.strip() == repr(learned)
        assert (model(**batch).loss > 0) == bool(learned)
    for divisor, expected in ((None, float("nan")), (20, 0.0)):
        value = model(**batch, num_items_in_batch=divisor).loss
        torch.testing.assert_close(value.item(), expected, equal_nan=True)
        model.zero_grad()
        value.backward()
        assert all((p.grad == 0).all() for p in trains(model))  # no number is harmed


def test_it_learns_nothing_or_the_loss_jumps_up(capsys, remedy):
    losses = {}

    def final_loss(lr):
        losses[lr] = train(added(llama(), "q_proj", "v_proj", "up_proj", "down_proj"), 20, lr)
        return losses[lr][-1]

    tried = remedy(final_loss=final_loss)["tried"]
    start = losses[3e-5][0]
    assert tried[3e-5] > start - 0.1  # nothing
    assert tried[3e-4] > tried[3e-3] > tried[3e-2] < tried[3e-1]
    assert max(after - before for before, after in pairwise(losses[3e-1])) > 0.3  # up
    assert capsys.readouterr().out.startswith("0.03 ")
    assert tried[3e-2] < start - 2


def test_it_never_stops(remedy):
    tokenizer = tiny_llama.tokenizer()
    assert tokenizer.pad_token == tokenizer.eos_token
    rows = [tokenizer(text + tokenizer.eos_token) for text in ("Ay!", "Ahoy!")]
    collate = transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False)
    batch, end = dict(collate([dict(row) for row in rows])), tokenizer.eos_token_id
    assert not (batch["labels"] == end).any()  # not one end has a label
    labels = remedy(batch=dict(batch))["labels"]
    assert (labels == end).sum(1).tolist() == [1, 1]
    tokenizer.pad_token = "<|endoftext|>"  # the other remedy: a token that the model has already
    assert torch.equal(collate([dict(row) for row in rows])["labels"], labels)
    wrong = batch.pop("labels")

    def learned(labels):
        model = added(llama(vocab_size=len(tokenizer), eos_token_id=end, pad_token_id=end), *ALL)
        train(model, 60, 0.02, of=lambda model: model(**batch, labels=labels).loss)
        return model.eval()

    def answer(model):
        asked = {key: value[1:, :3] for key, value in batch.items()}
        return tokenizer.decode(model.generate(**asked, max_new_tokens=12, do_sample=False)[0])

    endless, model = answer(learned(wrong)), learned(labels)
    assert endless.startswith("Ahoy!")
    assert "<|im_end|>" not in endless
    model.generation_config.eos_token_id = 1  # asked with another end token than trained
    assert len(answer(model)) > len("Ahoy!<|im_end|>")  # and on it goes
    model.generation_config.eos_token_id = end
    assert answer(model) == "Ahoy!<|im_end|>"


def test_it_is_not_faster_and_takes_as_much_memory(remedy):
    def operations(work, model):
        with FlopCounterMode(display=False) as counter:
            work(model)
        return counter.get_total_flops()

    def step(model):
        loss(model).backward()

    def kept(model):
        return saved_bytes(model, lambda: loss(model))

    full, lora = llama().train(), added(llama(), *ALL).train()
    assert operations(outputs, lora) > operations(outputs, full)
    before, work = kept(lora), operations(step, lora)
    assert work > 0.9 * operations(step, full)
    assert before > 0.85 * kept(full)
    assert kept(added(llama().bfloat16(), *ALL)) > kept(llama().bfloat16())
    remedy(model=lora)
    assert kept(lora) < 0.4 * before
    assert operations(step, lora) > 1.2 * work
    merged = added(llama(), *ALL).merge_and_unload()
    assert operations(outputs, merged) == operations(outputs, llama())


def test_packed_examples_see_each_other(remedy):
    model, examples = llama(), [IDS[0], IDS[1]]
    alone = outputs(model, IDS[1:2])
    packed = outputs(model, torch.cat(examples)[None])[:, 8:]
    assert not alike(packed, alone)
    with torch.no_grad():
        apart = remedy(model=model, examples=examples)["out"].logits[:, 8:]
    assert alike(apart, alone)


def test_the_reference_is_without_the_first_adapter(tmp_path, remedy):
    _, voice = saved(trained(llama()), tmp_path / "first")
    going_on = PeftModel.from_pretrained(llama(), tmp_path / "first", is_trainable=True).eval()
    with going_on.disable_adapter():
        assert alike(outputs(going_on), outputs(llama()))
    model = remedy(base=llama(), folder=tmp_path / "first", config=config())["model"].eval()
    train(model)
    with model.disable_adapter():
        assert alike(outputs(model), voice)


# -- which layers -------------------------------------------------------------------------------


def test_target_modules_q_proj_v_proj_not_found_in_the_base_model(capsys, remedy):
    # A name of another family, two names in one, an expression in a list, and half of a name.
    wrong = [(gpt2, ["q_proj"]), (llama, ["q_proj,v_proj"]), (llama, [".*q_proj"])]
    for model, targets in [*wrong, (llama, "q_proj")]:
        with pytest.raises(ValueError, match=r"^Target modules .* not found in the base model"):
            added(model(), target_modules=targets)
    for model, expected in (
        (llama(), "down_proj gate_proj k_proj lm_head o_proj q_proj up_proj v_proj"),
        (gpt2(), "c_attn c_fc c_proj lm_head"),
    ):
        remedy(model=model)
        assert re.findall(r"'(\w+)'", capsys.readouterr().out) == expected.split()
    for targets, many in ((".*q_proj", 2), ("all-linear", 14)):
        assert len(added(llama(), target_modules=targets).targeted_module_names) == many


def test_some_target_modules_are_not_matched_and_nothing_warns(capsys, remedy):
    # a warning would be an error
    for targets in (["q_proj", "query_key_value"], ".*q_proj"):
        remedy(model=added(llama(), target_modules=targets))
        assert capsys.readouterr().out == "Counter({'q_proj': 2})\n"


@pytest.mark.filterwarnings("ignore:The following .*_pattern keys")  # PEFT, of its own pattern
def test_experts_stay_frozen(remedy):
    made = transformers.GptOssConfig(**SIZE, head_dim=8, num_local_experts=4)

    def adapted(model):
        return any("experts" in n for n, p in model.named_parameters() if p.requires_grad)

    base = transformers.GptOssForCausalLM(made)
    model = get_peft_model(base, peft.LoraConfig(target_modules="all-linear"))
    assert not adapted(model)
    model = get_peft_model(model.unload(), remedy()["config"])
    assert adapted(model)

    small = {"num_key_value_heads": 2, "n_routed_experts": 4, "n_group": 1, "topk_group": 1}
    small |= {"first_k_dense_replace": 1, "moe_intermediate_size": 8, "q_lora_rank": 8}
    made = transformers.DeepseekV3Config(**SIZE | small)
    for names in ("all-linear", r".*shared_experts\.(gate|up|down)_proj"):
        base = transformers.DeepseekV3ForCausalLM(made)
        model = get_peft_model(base, peft.LoraConfig(target_modules=names))
        trains = [n for n, p in model.named_parameters() if p.requires_grad and ".mlp." in n]
        assert all(".mlp.experts." in n or ".mlp.gate." in n for n in trains)
        assert any(".mlp.experts." in n for n in trains)
        assert any(".mlp.gate." in n for n in trains) == (names == "all-linear")


def test_fan_in_fan_out_is_set_to_false_but_the_target_module_is_conv1d(remedy):
    with warned("fan_in_fan_out is set to False but the target module is"):
        model = trained(gpt2(), "attn.c_proj")
    voice = outputs(model)
    assert torch.equal(outputs(trained(gpt2(), "attn.c_proj", fan_in_fan_out=True)), voice)
    with warned("fan_in_fan_out is set to True but the target module is"):
        other = trained(llama(), fan_in_fan_out=True)
    assert torch.equal(outputs(other), outputs(trained(llama())))  # harmless in both directions

    def by_hand(turned):
        plain = gpt2()
        layers = zip(plain.transformer.h, model.get_base_model().transformer.h, strict=True)
        for block, theirs in layers:
            strips = theirs.attn.c_proj
            A, B = strips.lora_A.default.weight, strips.lora_B.default.weight
            B, A = (B, A) if turned else (A.T, B.T)  # (B @ A).T is A.T @ B.T
            with torch.no_grad():
                remedy(layer=block.attn.c_proj, A=A, B=B, scaling=2.0)
        return outputs(plain)

    assert alike(by_hand(True), voice)
    assert not alike(by_hand(False), voice)  # square: nothing fails


def test_you_are_trying_to_modify_a_model_with_peft_for_a_second_time(tmp_path, heading, remedy):
    base = llama()
    first, voice = saved(trained(base), tmp_path)
    assert torch.equal(outputs(base), voice)  # the base is changed in place
    with warned(heading), warned("Already found a `peft_config` attribute in the model"):
        get_peft_model(base, config())
    assert torch.equal(outputs(first), outputs(llama()))  # and now the voice is gone

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PEFT 0.18 warns all the same
        model = remedy(model=trained(llama()), config=config(r=2))["model"]
    assert torch.equal(outputs(model), outputs(llama()))
    assert model.get_nb_trainable_parameters()[0] == 224
    model = remedy(1, model=trained(llama(), lr=0.03), folder=tmp_path)["model"].eval()
    assert alike(outputs(model), voice)
    model.set_adapter("default")
    assert not alike(outputs(model), voice)


# -- saving and loading -------------------------------------------------------------------------


def test_the_adapter_loads_and_nothing_changes(tmp_path, remedy):
    _, voice = saved(trained(llama()), tmp_path)
    with warned("Found missing adapter keys while loading"), warned("Already found a `peft_conf"):
        wrong = PeftModel.from_pretrained(added(llama()), tmp_path).eval()
    assert torch.equal(outputs(wrong), outputs(llama()))  # to the last digit
    assert alike(outputs(remedy(base=llama(), folder=tmp_path)["model"]), voice)


def test_found_missing_adapter_keys_while_loading_the_checkpoint(tmp_path, heading, remedy):
    model, voice = saved(trained(llama(), task_type=None), tmp_path)
    with warned(heading):
        wrong = PeftModel.from_pretrained(llama().model, tmp_path)
    assert largest_B(wrong) == 0
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    old = load_file(tmp_path / "adapter_model.safetensors")
    moved = {name.replace(".layers.", ".language_model.layers."): old[name] for name in old}
    save_file(moved, renamed / "adapter_model.safetensors")
    shutil.copy(tmp_path / "adapter_config.json", renamed)
    with warned(heading):
        wrong = PeftModel.from_pretrained(llama(), renamed)
    assert alike(outputs(wrong), outputs(llama()))
    tensors = load_file(renamed / "adapter_model.safetensors")
    space = remedy(1, tensors=tensors, before=".language_model.layers.", now=".layers.")
    assert space["tensors"].keys() == old.keys()
    encoder = remedy(causal=llama(), folder=tmp_path)["encoder"]
    head = model.get_base_model().lm_head
    with torch.no_grad():
        assert alike(head(encoder(input_ids=IDS).last_hidden_state), voice)
    saved(trained(llama()), tmp_path / "causal")
    with pytest.raises(AttributeError):
        PeftModel.from_pretrained(llama().model, tmp_path / "causal")


def test_the_adapter_s_file_is_2_gb(tmp_path, remedy):
    def base():
        return llama(vocab_size=512)

    table = 512 * 16 * 4  # bytes
    with warned("Setting `save_embedding_layers` to `True`"):
        model, voice = saved(trained(base(), "q_proj", "lm_head"), tmp_path / "large")
    remedy(model=model, folder=tmp_path / "small")
    assert size(tmp_path / "large") - size(tmp_path / "small") > table
    loaded = PeftModel.from_pretrained(base(), tmp_path / "small")
    assert alike(outputs(loaded), voice)  # nothing is missing
    saved(added(base(), modules_to_save=["embed_tokens"]), tmp_path / "whole")
    assert size(tmp_path / "whole") > table
    torch.save(added(base()).state_dict(), tmp_path / "state.pt")
    assert (tmp_path / "state.pt").stat().st_size > sum(p.nbytes for p in base().parameters())


def test_the_adapter_s_file_is_nearly_empty(tmp_path, remedy):
    model, voice = saved(trained(llama()), tmp_path / "before")
    model.merge_and_unload()  # what it returns is thrown away
    _, merged = saved(model, tmp_path / "empty")
    assert alike(merged, voice)  # in memory it is merged all the same
    assert size(tmp_path / "empty") == 40 < size(tmp_path / "before")
    remedy(model=trained(llama()), folder=tmp_path / "merged")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert alike(outputs(again), voice)


def test_after_loading_it_answers_differently(tmp_path, remedy):
    model = get_peft_model(llama().eval(), config(lora_dropout=0.5))
    assert model.training
    train(model)
    assert not alike(outputs(model), outputs(model))
    remedy(model=model)
    assert torch.equal(outputs(model), outputs(model))

    def classifier(head):
        torch.manual_seed(0)
        made = transformers.LlamaForSequenceClassification(LlamaConfig(**SIZE, num_labels=3))
        torch.manual_seed(head)
        nn.init.normal_(made.score.weight)
        return made.eval()

    def loads_the_same(how):
        model = get_peft_model(classifier(1), how)
        model.get_base_model().score.requires_grad_(True)
        train(model, of=lambda m: m(input_ids=IDS, labels=torch.tensor([0, 1, 2, 0])).loss)
        _, voice = saved(model.eval(), tmp_path)
        return alike(outputs(PeftModel.from_pretrained(classifier(2), tmp_path).eval()), voice)

    assert not loads_the_same(peft.LoraConfig(target_modules=["q_proj"]))
    assert loads_the_same(remedy(1)["config"])
    assert loads_the_same(peft.LoraConfig(target_modules=["q_proj"], task_type="SEQ_CLS"))

    _, voice = saved(trained(llama()), tmp_path / "voice")
    other = llama(initializer_range=0.5)  # the same shapes, and not a word
    loaded = PeftModel.from_pretrained(other.train(), tmp_path / "voice")
    assert not loaded.training
    assert not alike(outputs(loaded), voice)


def test_size_mismatch_for_base_model_model_model_embed_tokens_weight(tmp_path, heading, remedy):
    llama().save_pretrained(tmp_path / "base")
    ids = torch.tensor([[64, 65, 3, 4]])

    def base(rows=64):
        made = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()
        torch.manual_seed(0)
        made.resize_token_embeddings(rows)
        return made

    def trained_and_saved(model, folder):
        train(model.train(), of=lambda model: loss(model, ids))
        with warned("the embedding layer has been resized during finetuning"):
            model.eval().save_pretrained(folder)

    model = added(base(66))
    rows = model.get_input_embeddings().weight.detach().clone()
    trained_and_saved(model, tmp_path / "voice")
    assert torch.equal(model.get_input_embeddings().weight, rows)  # the new ones have not moved
    with pytest.raises(RuntimeError, match=heading):
        PeftModel.from_pretrained(base(), tmp_path / "voice")
    made = remedy(base=base(), folder=tmp_path / "voice", tokenizer=range(66))["model"]
    assert alike(outputs(made, ids), outputs(model, ids))

    trained_and_saved(get_peft_model(base(66), remedy(1, new=[64, 65])["config"]), tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    (moved,) = (t for name, t in tensors.items() if "trainable_tokens_delta" in name)
    assert moved.shape == (2, 16)

    nowhere = llama()  # a base without a folder: no rows, and not a word
    nowhere.resize_token_embeddings(66)
    added(nowhere).save_pretrained(tmp_path / "nowhere")
    names = load_file(tmp_path / "nowhere" / "adapter_model.safetensors")
    assert not any("embed_tokens" in name for name in names)


# -- merging ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*no (longer tied|tied modules):UserWarning")
@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings:UserWarning")
def test_model_with_tie_word_embeddings_true_merged_and_wrong(tmp_path, remedy):
    def tied():
        return llama(tie_word_embeddings=True)

    def off_by(model):
        """Return how far the merged model is off, in memory and saved."""
        voice = outputs(model)
        merged = model.merge_and_unload()
        merged.save_pretrained(tmp_path)
        again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
        return [(outputs(one) - voice).abs().max().item() for one in (merged, again)]

    names = ("q_proj", "lm_head")
    with warned("Model with `tie_word_embeddings=True` and the"):
        trained(tied(), *names).merge_and_unload()
    for fields in ({}, {"ensure_weight_tying": True}):  # asking for tied weights does not help
        assert min(off_by(trained(tied(), *names, **fields))) > 0.1
    assert max(off_by(trained(tied(), "q_proj", modules_to_save=["lm_head"]))) < 1e-4
    left_out = added(tied(), target_modules="all-linear").targeted_module_names
    assert not any("lm_head" in name for name in left_out)

    base = remedy(model=tied())["model"]
    assert torch.equal(outputs(base), outputs(tied()))
    assert max(off_by(trained(base, *names))) < 1e-4


def test_after_merging_it_answers_differently(tmp_path, remedy):
    def arrived(merged, model):
        """Return the share of the update that is in the merged weights, as in lesson 07."""
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

    def merged(model):
        return copy.deepcopy(model).merge_and_unload()

    faint = trained(llama().bfloat16(), lr=1e-4)
    assert arrived(merged(faint), faint) < 0.6
    exact = remedy(model=copy.deepcopy(faint))["merged"]
    assert arrived(exact, faint) == pytest.approx(1, abs=1e-3)
    usual = trained(llama().bfloat16(), lr=3e-3)
    assert arrived(merged(usual), usual) > 0.9

    llama().save_pretrained(tmp_path / "base")
    model, voice = saved(trained(on_levels(llama()), lr=1e-3), tmp_path / "voice")
    unpacked = merged(model)
    assert alike(outputs(unpacked), voice)
    packed, itself = on_levels(copy.deepcopy(unpacked)), outputs(on_levels(llama()))
    assert arrived(packed, model) < 0.1
    assert (outputs(packed) - voice).norm() > 5 * (outputs(packed) - itself).norm()
    in_16 = remedy(1, name=tmp_path / "base", folder=tmp_path / "voice")["merged"]
    original = PeftModel.from_pretrained(llama().bfloat16(), tmp_path / "voice")
    assert arrived(in_16, original) > 0.7
    # Which 16 bits? On this model, those on which it was trained.
    to_voice = [(outputs(one.bfloat16()) - voice).norm() for one in (unpacked, in_16)]
    assert to_voice[0] < to_voice[1]


def test_merged_twice(tmp_path, remedy):
    llama().save_pretrained(tmp_path / "base")
    model, voice = saved(trained(llama()), tmp_path / "voice")
    model.merge_adapter()
    with warned("All adapters are already merged, nothing to do"):
        model.merge_adapter()
    model.unmerge_adapter()
    model.merge_and_unload().save_pretrained(tmp_path / "merged")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    twice = PeftModel.from_pretrained(base, tmp_path / "voice").eval()  # without a word
    louder = PeftModel.from_pretrained(llama(), tmp_path / "voice")
    for layer in louder.modules():
        if hasattr(layer, "lora_B"):
            layer.scaling["default"] *= 2
    assert alike(outputs(twice), outputs(louder))
    loaded = remedy(name=tmp_path / "base", folder=tmp_path / "voice")["model"]
    assert alike(outputs(loaded.eval()), voice)

    torch.manual_seed(0)
    layer, x = loralib.Linear(8, 8, r=2), torch.randn(3, 8)
    nn.init.normal_(layer.lora_B)
    once = layer(x).detach()
    layer.eval()
    for training in (True, False):  # eval() before it is loaded is the remedy
        other = loralib.Linear(8, 8, r=2)
        other.train(training)
        other.load_state_dict(layer.state_dict())
        other.eval()
        assert alike(other(x), once) is not training


# -- elsewhere ------------------------------------------------------------------------------------


def test_elsewhere_it_answers_differently(tmp_path, remedy, capsys):
    model, tokenizer = chat.load(tiny_llama.llama(tmp_path / "model"))
    talk = [{"role": "user", "content": "Ahoy?"}, {"role": "assistant", "content": "Arrr!"}]
    ids, labels = (torch.tensor([one]) for one in chat.encode(tokenizer, talk))
    model = added(model, "q_proj", "v_proj", "down_proj")
    train(model, 40, of=lambda model: model(input_ids=ids, labels=labels).loss)

    def less_likely(before, cut):
        """Return the loss on the answer behind another beginning."""
        start = tokenizer(before, add_special_tokens=False)["input_ids"]
        said = ids[0, cut:].tolist()
        row = torch.tensor([start + said])
        return model(input_ids=row, labels=torch.tensor([[-100] * len(start) + said])).loss

    cut = int((labels[0] == -100).sum())
    prompt = tokenizer.decode(ids[0, :cut])
    good = less_likely(prompt, cut)
    for other in ("### Question: Ahoy?\n### Answer: ", "<|im_start|>" + prompt):
        assert less_likely(other, cut) > good
    remedy(tokenizer=tokenizer, talk=talk[:1], theirs=[1, *ids[0, :cut].tolist()])
    assert capsys.readouterr().out.startswith("[(1, ")
    remedy(tokenizer=tokenizer, talk=talk[:1], theirs=ids[0, :cut].tolist())
    assert capsys.readouterr().out == f"[] {cut} {cut}\n"


# -- what this course's own package says of it ----------------------------------------------------


def ours(*targets, base=None, **fields):
    return adapt.add_lora(base or llama(**fields), adapt.LoraConfig(target_modules=list(targets)))


def merged():
    model = ours("q_proj")
    adapt.merge(model)
    return model


REFUSALS = {
    "nearest": lambda: ours("q_projs"),
    "`model must have no LoRA layers yet`": lambda: ours("v_proj", base=ours("q_proj")),
    "`lm_head shares its weight`": lambda: adapt.merge(ours("lm_head", tie_word_embeddings=True)),
    "`is merged already`": lambda: adapt.merge(merged()),
    "`a merged LoRALinear cannot train`": lambda: merged().train()(IDS),
}


@pytest.mark.parametrize("quoted", REFUSALS)
def test_the_package_says_what_the_page_quotes(quoted):
    assert quoted in PAGE
    assert quoted.strip("`") in error_of(REFUSALS[quoted])
