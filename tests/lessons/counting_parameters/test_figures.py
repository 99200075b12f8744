"""The figures: what is planned, told and listed, against the same thing counted another way."""

import csv
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from lora_edu.course import ledger
from lora_edu.course.counting_parameters import figures

ROOT = Path(__file__).parents[3]


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
    adapted = [name for name, *_, here in numbers["sites"] if here]
    assert adapted == ["q_proj", "v_proj"]
    shapes = {name: (d, k) for name, d, k, *_ in numbers["sites"]}
    assert shapes["k_proj"] == (1024, 4096)
    assert shapes["down_proj"] == (4096, 14_336)
    mlp = sum(shapes[name][0] * shapes[name][1] for name in ("gate_proj", "up_proj", "down_proj"))
    assert numbers["mlp_share"] == pytest.approx(mlp / sum(d * k for d, k in shapes.values()))


def test_each_figure_that_can_fail_has_its_dot():
    numbers = figures.published_over_derived.numbers()
    counted = ledger.shares()
    dots = {kind: [r for both in numbers["groups"].values() for r in both[kind]]
            for kind in ("agree", "differ")}  # fmt: skip
    assert len(dots["agree"]) + len(dots["differ"]) == numbers["figures"] == counted["tested"]
    assert len(dots["differ"]) == numbers["misfits"] == counted["differ"]
    assert [ratio for _, ratio in numbers["worst"]] == [q.ratio for _, q in ledger.misfits()[:10]]
    assert numbers["near"] == sum(0.9 < ratio < 1.1 for ratio in dots["differ"])


def test_bars_are_as_high_as_the_plans():
    parts = ("weights", "gradients", "optimizer", "activations")
    plan = dict(zip(parts, (3_000_000_000, 1_000_000_000, 0, 0), strict=True))
    fig = figures.memory_bars({"one": {"full": plan}, "two": {"full": plan, "LoRA": plan}})
    assert [len(ax.patches) for ax in fig.axes] == [4, 8]
    assert fig.axes[0].patches[1].get_y() == 3.0
    assert [text.get_text() for text in fig.axes[1].texts] == ["4", "4"]
    plt.close(fig)


def test_the_ledger_is_a_table_of_every_figure():
    with open(ROOT / "figures" / "ledger.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    entries = ledger.ledger()
    assert len(rows) == len(ledger.lines(ledger.tables()))
    assert {row["id"] for row in rows} == {entry.id for entry in entries}
    assert all(row["explanation"] for row in rows if row["verdict"] == "differs")
    text = (ROOT / "figures" / "ledger.md").read_text(encoding="utf-8")
    assert all(entry.reason in text for entry in entries if entry.verdict == "differs")
