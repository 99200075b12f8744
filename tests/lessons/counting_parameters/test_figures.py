"""The figures: what is planned, told and listed, against the same thing counted another way."""

import csv
from pathlib import Path

import pytest

from lora_edu.course import ledger
from lora_edu.course.counting_parameters import figures

FOLDER = Path(__file__).parents[3] / "figures"


def test_the_two_accounts_of_gpt3_are_those_of_the_paper_and_of_the_talk():
    numbers = figures.gpt3_one_terabyte.numbers()
    one = 96 * 2 * 2 * 12_288  # numbers of a rank-1 adapter: 96 layers, q and v, A and B
    base = 174_604_259_328
    assert numbers["paper_adapter"] == pytest.approx(4 * one * 2 / 1e6)
    assert numbers["talk_adapter"] == pytest.approx(one * 6 / 1e6)
    assert (numbers["paper_full"], numbers["talk_full"]) == (2 * base / 1e9, 6 * base / 1e9)
    assert numbers["talk_ratio"] == pytest.approx(4 * numbers["paper_ratio"])


def test_the_block_is_the_first_of_llama():
    numbers = figures.transformer_block.numbers()
    sites = {name: (d, k, adapted) for name, d, k, _, adapted in numbers["sites"]}
    assert [name for name, (*_, adapted) in sites.items() if adapted] == ["q_proj", "v_proj"]
    assert sites["k_proj"] == (1024, 4096, False)
    assert sites["down_proj"] == (4096, 14_336, False)
    attention = 2 * 4096 * 4096 + 2 * 1024 * 4096
    mlp = 3 * 4096 * 14_336
    assert numbers["mlp_share"] == pytest.approx(mlp / (attention + mlp))


def test_each_figure_that_can_fail_has_its_dot():
    numbers, counted = figures.published_over_derived.numbers(), ledger.shares()
    agree, differ = [], []
    for both in numbers["groups"].values():
        agree += both["agree"]
        differ += both["differ"]
    assert len(agree) + len(differ) == numbers["figures"] == counted["tested"]
    assert len(differ) == numbers["misfits"] == counted["differ"]
    assert [ratio for _, ratio in numbers["worst"]] == [q.ratio for _, q in ledger.misfits()[:10]]
    assert numbers["near"] == sum(0.9 < ratio < 1.1 for ratio in differ)


def test_bars_are_as_high_as_the_plans():
    plan = {"weights": 3_000_000_000, "gradients": 1_000_000_000, "optimizer": 0, "kept": 0}
    fig = figures.memory_bars({"one": {"full": plan}, "two": {"full": plan, "LoRA": plan}})
    assert [len(ax.patches) for ax in fig.axes] == [4, 8]
    assert fig.axes[0].patches[1].get_y() == 3.0
    assert [text.get_text() for text in fig.axes[1].texts] == ["4", "4"]


def test_the_ledger_is_a_table_of_every_figure():
    with open(FOLDER / "ledger.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    entries = ledger.ledger()
    assert len(rows) == len(ledger.lines(ledger.tables()))
    assert {row["id"] for row in rows} == {entry.id for entry in entries}
    assert all(row["explanation"] for row in rows if row["verdict"] == "differs")
    text = (FOLDER / "ledger.md").read_text(encoding="utf-8")
    assert all(entry.reason in text for entry in entries if entry.verdict == "differs")
