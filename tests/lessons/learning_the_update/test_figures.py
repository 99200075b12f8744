"""The figures: their numbers against theory."""

import pytest

from lora_edu.course.learning_the_update import figures


def test_the_planted_rank_is_where_the_floor_ends_and_the_overfitting_begins():
    numbers = figures.rank_sweep_planted.numbers()
    for r, floor, reached in zip(*map(numbers.get, ("ranks", "floors", "clean_loss")), strict=True):
        assert reached == pytest.approx(floor, rel=0.01, abs=1e-4)
        assert (floor > 0) is (r < 3)
    assert numbers["best"] == 3


def test_scaling_and_rank_finds_the_powers_of_theory():
    slopes = figures.scaling_and_rank.numbers()["slopes"]
    assert slopes["α/r"] == pytest.approx([-0.5, -1, 0], abs=0.1)
    assert slopes["α/√r"] == pytest.approx([0, 0, 0.5], abs=0.1)
