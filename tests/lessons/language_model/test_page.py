"""What the learner wrote in lesson 03 does in lesson 04 what the package does."""

import ast
import re

import peft
import torch
from builder.source import NOTEBOOKS, read_source, sources
from tiny_llama import llama
from torch.nn import functional as F  # noqa: N812

from lora_edu import chat
from lora_edu.course import language
from lora_edu.layers import LoRALinear

LINEAR = language.LINEAR


def cell(number, name):
    """Return the code of a cell."""
    (path,) = sources([number])
    (found,) = (cell.source for cell in read_source(path).cells if cell.id == name)
    return found


def test_the_learner_s_layer_trains_a_chat_model_like_the_package_s(tmp_path):
    namespace = {"torch": torch, "nn": torch.nn}
    exec(cell("03", "lora"), namespace)
    model, tokenizer = chat.load(llama(tmp_path))
    pairs = [("Who?", "A king."), ("And where?", "In the tower, I think.")]
    examples = [language.example(tokenizer, pair) for pair in pairs]
    losses, start = {}, {}
    for name, kind in {"theirs": LoRALinear, "own": namespace["LoRA"]}.items():
        model, tokenizer = chat.load(tmp_path)
        model.requires_grad_(False)
        torch.manual_seed(0)
        for path, layer in list(model.named_modules()):
            parent, _, last = path.rpartition(".")
            if last in LINEAR and int(path.split(".")[2]) >= 2:
                strips = kind(layer, r=2, lora_alpha=4)
                strips.lora_A.data = start.setdefault(path, strips.lora_A.detach().clone()).clone()
                setattr(model.get_submodule(parent), last, strips)
        upper = language.Upper(model, 2)
        trainable = [p for p in model.parameters() if p.requires_grad]
        assert len(trainable) == 2 * 2 * len(LINEAR)
        optimizer = torch.optim.AdamW(trainable, lr=0.01, weight_decay=0.0)
        losses[name] = []
        for _ in range(5):
            for states, counted, target in language.LikeLengths(upper.keep(examples), 2, 0):
                loss = F.cross_entropy(upper(states, counted), target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses[name].append(loss.item())
    assert losses["own"][0] > 1.1 * losses["own"][-1]
    torch.testing.assert_close(torch.tensor(losses["own"]), torch.tensor(losses["theirs"]))


def test_the_page_takes_the_learner_s_layer():
    assert 'LoRA = take("LoRA", LoRALinear)' in cell("04", "insert")
    assert "keep(LoRA," in cell("03", "keep")


def test_the_script_for_a_bigger_machine_is_python_and_peft_takes_its_settings():
    """TRL is not at hand; what each option is called there was read in its code."""
    page = (NOTEBOOKS / "BIGGER.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"(?s)```python\n(.*?)```", page)
    calls = [node for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Call)]
    (config,) = (call for call in calls if ast.unparse(call.func) == "LoraConfig")
    how = {word.arg: ast.literal_eval(word.value) for word in config.keywords}
    assert peft.LoraConfig(**how).lora_alpha == 2 * how["r"]
    named = re.findall(r"\b(\d\d) (`[a-z0-9-]+`(?:, `[a-z0-9-]+`)*)", page)
    assert len(named) >= 9
    for number, cells in named:
        (path,) = sources([number])
        ids = {one.id for one in read_source(path).cells}
        assert set(re.findall(r"`(.+?)`", cells)) <= ids, (number, cells)
    explained = set(re.findall(r"`(\w+)`", page))
    (settings,) = (call for call in calls if ast.unparse(call.func) == "SFTConfig")
    skip = {"output_dir", "per_device_train_batch_size"}
    assert {word.arg for word in settings.keywords} - skip <= explained
