"""What the figures count, and a row of DoRA."""

import numpy as np
import pytest

from lora_edu.course.beyond_lora import figures


def test_the_blind_curves_are_those_with_names_and_do_not_tell():
    blind, (named, _) = figures.blind(), figures.five_curves()
    for one, two in zip(blind.axes[0].lines, named.axes[0].lines, strict=True):
        assert np.array_equal(one.get_ydata(), two.get_ydata())
    labels = [text.get_text() for text in blind.axes[0].get_legend().get_texts()]
    assert labels == [*figures.SECRET]


def test_a_row_of_dora_keeps_its_length_and_lora_moves_along_a_line():
    numbers = figures.a_row_of_dora.numbers()
    lora, dora, m = numbers["lora"], numbers["dora"], np.linalg.norm(numbers["row"])
    assert np.linalg.norm(dora, axis=1) == pytest.approx(np.full(7, m))
    assert np.diff(lora, n=2, axis=0) == pytest.approx(np.zeros((5, 2)))
    assert (lora * dora).sum(1) == pytest.approx(m * np.linalg.norm(lora, axis=1))
