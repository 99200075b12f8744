"""The figures: what is planned, told and listed, against the same thing counted another way."""

import csv
from pathlib import Path

import pytest

from lora_edu import counting
from lora_edu.course.counting_parameters import figures
from lora_edu.course.ledger import ledger

ROOT = Path(__file__).parents[3]


def test_the_two_accounts_of_gpt3_are_those_of_the_paper_and_of_the_talk():
    numbers = figures.gpt3_one_terabyte.numbers()
    one = 96 * 2 * 2 * 12_288  # numbers of a rank-1 adapter: 96 layers, q and v, A and B
    base = 174_604_259_328
    assert numbers["paper_adapter"] == pytest.approx(4 * one * 2 / 1e6)
    assert numbers["talk_adapter"] == pytest.approx(one * 6 / 1e6)
    assert (numbers["paper_full"], numbers["talk_full"]) == (2 * base / 1e9, 6 * base / 1e9)
    assert numbers["talk_ratio"] == pytest.approx(4 * numbers["paper_ratio"])


@pytest.mark.parametrize("model", ["roberta-large", "gpt2-xl"])
def test_plans_of_memory_differ_where_the_methods_do(model):
    full, lora, qlora = figures.memory_plans(model, r=8).values()
    base, trained = counting.base_parameters(model), lora["gradients"] // 4
    linear = 2 * (base - counting.packed_4bit_parameters(model))  # packed: two in one
    assert (full["weights"], lora["weights"]) == (2 * base, 2 * base + 4 * trained)
    # 4 bits, 8 for each block of 64, 32 for 256 blocks; norms and embeddings stay at 16.
    four_bits = linear * (4 + 8 / 64 + 32 / (64 * 256)) / 8
    rest = 2 * (base - linear) + 4 * trained
    assert qlora["weights"] == pytest.approx(four_bits + rest, abs=1)
    assert full["optimizer"] == 8 * base
    assert lora["optimizer"] == qlora["optimizer"] == 8 * trained
    assert full["activations"] == lora["activations"] == qlora["activations"]


def test_the_ledger_is_a_table_of_every_figure():
    with open(ROOT / "figures" / "ledger.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    entries = ledger()
    assert len(rows) == sum(len(entry.quantities) for entry in entries)
    assert {row["id"] for row in rows} == {entry.id for entry in entries}
    assert all(row["explanation"] for row in rows if row["verdict"] == "differs")
    text = (ROOT / "figures" / "ledger.md").read_text(encoding="utf-8")
    assert all(f"**{entry.id}**" in text for entry in entries if entry.verdict == "differs")
