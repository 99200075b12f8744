"""What the learner wrote in lesson 03 does in lesson 04 what the package does."""

import ast

import torch
from builder.source import read_source, sources
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


def defined(number, *names):
    """Return what cells define, each function and class as its syntax tree, by its name."""
    trees = [ast.parse(cell(number, name)).body for name in names]
    kinds = ast.FunctionDef | ast.ClassDef
    return {node.name: node for body in trees for node in body if isinstance(node, kinds)}


def test_the_page_has_the_layer_and_the_loop_of_lesson_03():
    here, there = defined("04", "lora", "loop"), defined("03", "lora", "loop")
    for name in ("LoRA", "train"):
        assert ast.dump(here[name]) == ast.dump(there[name])
        assert name in cell("03", "keep")


def test_the_page_s_own_loop_learns_what_the_fast_one_learns(tmp_path):
    page = defined("04", "lora", "insert", "loss", "loop")
    space = {"torch": torch, "nn": torch.nn, "matrices": language.LINEAR}
    exec(compile(ast.Module([*page.values()], []), "page", "exec"), space)
    space["wanted"] = lambda name: name.split(".")[-1] in LINEAR and int(name.split(".")[2]) >= 2
    model, tokenizer = chat.load(llama(tmp_path))
    pairs = [("Who?", "A king."), ("And where?", "In the tower, I think.")]
    torch.manual_seed(0)
    strips = space["add_lora"](model, 2, 4)
    start = {name: layer.lora_A.detach().clone() for name, layer in strips.items()}
    assert len(space["trainable"](model)) == 2 * 2 * len(LINEAR)

    def adamw(model):
        return torch.optim.AdamW(space["trainable"](model), lr=0.01, weight_decay=0.0)

    batches = language.batches(tokenizer, pairs, 2, 0)
    assert [row.tolist().count(-100) for row in batches[0][1]] != [0, 0]
    own = space["train"](model, 5 * batches, space["loss"], adamw(model))

    model, tokenizer = chat.load(tmp_path)
    model.requires_grad_(False)
    for name, lora_A in start.items():
        layer = LoRALinear(model.get_submodule(name), r=2, lora_alpha=4)
        layer.lora_A.data = lora_A
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer)
    upper = language.Upper(model, 2)
    kept = upper.keep(language.example(tokenizer, pair) for pair in pairs)
    optimizer, theirs = adamw(model), []
    for _ in range(5):
        (batch,) = language.LikeLengths(kept, 2, 0)
        theirs += space["train"](
            lambda x: upper(*x), [(batch[:2], batch[2])], F.cross_entropy, optimizer
        )
    assert own[0] > 1.1 * own[-1]
    torch.testing.assert_close(torch.tensor(own), torch.tensor(theirs))
