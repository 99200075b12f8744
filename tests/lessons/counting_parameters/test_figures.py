"""The figures: what is planned, told and listed, against the same thing counted another way."""

import pytest

from lora_edu.course.counting_parameters import figures


def test_the_two_accounts_of_gpt3_are_those_of_the_paper_and_of_the_talk():
    numbers = figures.gpt3_one_terabyte.numbers()
    one = 96 * 2 * 2 * 12_288  # numbers of a rank-1 adapter: 96 layers, q and v, A and B
    base = 174_604_259_328
    assert numbers["paper_adapter"] == pytest.approx(4 * one * 2 / 1e6)
    assert numbers["talk_adapter"] == pytest.approx(one * 6 / 1e6)
    assert (numbers["paper_full"], numbers["talk_full"]) == (2 * base / 1e9, 6 * base / 1e9)
    assert numbers["talk_ratio"] == pytest.approx(4 * numbers["paper_ratio"])


def test_bars_are_as_high_as_the_plans():
    plan = {"weights": 3_000_000_000, "gradients": 1_000_000_000, "optimizer": 0, "kept": 0}
    fig = figures.memory_bars({"one": {"full": plan}, "two": {"full": plan, "LoRA": plan}})
    assert [len(ax.patches) for ax in fig.axes] == [4, 8]
    assert fig.axes[0].patches[1].get_y() == 3.0
    assert [text.get_text() for text in fig.axes[1].texts] == ["4", "4"]
