"""The figures: what is planned, told and listed, against the same thing counted another way."""

from lora_edu.course.counting_parameters import figures


def test_bars_are_as_high_as_the_plans():
    plan = {"weights": 3_000_000_000, "gradients": 1_000_000_000, "optimizer": 0, "kept": 0}
    fig = figures.memory_bars({"one": {"full": plan}, "two": {"full": plan, "LoRA": plan}})
    assert [len(ax.patches) for ax in fig.axes] == [4, 8]
    assert fig.axes[0].patches[1].get_y() == 3.0
    assert [text.get_text() for text in fig.axes[1].texts] == ["4", "4"]
