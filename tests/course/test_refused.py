"""What a tool cannot use is refused in one line, by its name."""

import numpy as np
import pytest
import torch

from lora_edu import counting
from lora_edu.course import blocks, bubbles, figures, language, ledger, plots, qr, recorded
from lora_edu.course.claims import claim
from lora_edu.course.datasets import mlp
from lora_edu.course.intrinsic import Subspace
from lora_edu.course.timing import compare
from lora_edu.course.training import Batches


def batches(*lengths, size=2):
    return Batches(*map(torch.zeros, lengths), size=size, generator=torch.Generator())


def strips(r=1, layer="3.self_attn.v_proj"):
    return {f"model.layers.{layer}": (torch.ones(r, 576), torch.ones(192, r))}


def anatomy():
    return figures.load()["matrix_anatomy"]


def look(**wanted):
    anatomy().draw({}, **wanted)


ONE = {"a": 1, "b": 0}
NO_STRIPS = r"rank 1 on v_proj, got model\.layers"
INTERVAL = "give either what the text says"
REFUSED = [
    (lambda: batches(3, 4), r"tensors must be of one length, at least 1, got lengths \[3, 4\]"),
    (lambda: batches(3, size=0), "size must be at least 1, got 0"),
    (lambda: blocks.sites({"a": counting.Module("linear", 3, 2)}), "no numbered blocks"),
    (lambda: blocks.draw_block([]), "at least one site"),
    (lambda: bubbles.dial({"a": "?"}, {"a": ["."]}, [0, 1]), r"each of 2 scales, got \{'a': 1\}"),
    (lambda: bubbles.show(["a", "b"], ["c", "d"], ["e"]), "as many, got"),
    (lambda: claim("x", 1), INTERVAL),
    (lambda: claim("x", more=ONE, less=ONE), "or one of more, less and same"),
    (lambda: claim("x", 1, np.float64(38.4)), "as an int or a float"),
    (lambda: claim("x", 1, 76.8, within=0.2), "within must be from 0 to 0.1, got 0.2"),
    (lambda: claim("x", 1, 1, seeds="some"), "seeds must be"),
    (lambda: claim("x", more={"a": 1}), "more compares two, {who: value, whom: value}: {'a': 1}"),
    (lambda: claim("x", 1, 1, by=2), "by or times, one of them and of a comparison.* 2 and None"),
    (lambda: claim("x", same=ONE, times=1), "times of more and less, got None and 1"),
    (lambda: compare({}), "candidates must hold at least one function, got none"),
    (lambda: compare({"a": int}, rounds=1), "rounds must be at least 2, got 1"),
    (lambda: mlp(3, seed=0), "widths must be two numbers or more"),
    (lambda: figures.mean_and_half(np.ones(5)), "runs must be one of 3, 8, 20, got 5"),
    (lambda: figures.figure(look)(anatomy()._draw), "two figures are called 'matrix_anatomy'"),
    (
        lambda: figures.load() and figures.table("ledger.csv", "")(str),
        r"two tables are called 'ledger\.csv'",
    ),
    (lambda: look(style="loud"), "style must be one of light, dark, slides, got 'loud'"),
    (lambda: look(language="xx"), "language must be one of en, vi, got 'xx'"),
    (lambda: look(width="wide"), "width must be a positive number of inches, got 'wide'"),
    (lambda: language.said("parrot", 0, {}), "name must be one of grimm, pirate, got 'parrot'"),
    (lambda: language.persona("nobody"), "one of clerk, .+, got 'nobody'"),
    (lambda: language.taught([], 1e-2, 0), "pairs must be at least one, got none"),
    (lambda: ledger.derive({"function": "eval", "arguments": ["1"]}, {}), "no derivation"),
    (lambda: ledger.derive({"given": "unknown"}, {}), "no derivation"),
    (lambda: ledger.verdict("a lot", 3), "must be a number and a unit of UNITS, got 'a lot'$"),
    (lambda: ledger.verdict("3", 3, "bananas"), "a unit of UNITS, got '3' in 'bananas'"),
    (lambda: plots.letters("", 9), "text must hold a letter, got ''"),
    (lambda: plots.letters("A李", 9), "DejaVu Sans has no '李': take"),
    (lambda: plots.letters("A", 0), "size must be at least 1, got 0"),
    (lambda: qr.packed({}), "at least one layer, got none"),
    (lambda: qr.packed(strips(r=2)), NO_STRIPS),
    (lambda: qr.packed(strips(layer="3.self_attn.q_proj")), NO_STRIPS),
    (lambda: qr.packed(strips(layer="300.self_attn.v_proj")), NO_STRIPS),
    (lambda: qr.unpacked(b""), "data must be a multiple of 393 bytes, got 0"),
    (lambda: recorded.column("taught", "x", lr=2), "taught: a run with {'lr': 2} is not recorded$"),
    (lambda: Subspace(mlp(3, 2, seed=0), 0, seed=0), "at least 1, got 0 and 2"),
    (lambda: Subspace(mlp(3, 2, seed=0).requires_grad_(False), 3, seed=0), "1, got 3 and 0"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_a_tool_cannot_use_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()
