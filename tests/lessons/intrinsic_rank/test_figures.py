"""The heights of an update's directions."""

import numpy as np
import pytest

from lora_edu.course.intrinsic_rank import figures


def test_the_heights_of_matrices_are_shares_of_their_norm():
    matrices = {"one": np.diag([3.0, 4.0, 0.0]), "two": np.ones((2, 2)), "three": np.eye(2, 9)}
    fig, numbers = figures.heights_of_the_update(matrices)
    assert numbers["r90"] == {"one": 2, "two": 1, "three": 2}
    drawn = [list(line.get_ydata()) for line in fig.axes[0].lines][::2]
    for heights, expected in zip(drawn, ([0.8, 0.6, 0.0], [1.0, 0.0], [0.5**0.5] * 2), strict=True):
        assert heights == pytest.approx(expected, abs=1e-8)
    still = figures.heights_of_the_update.numbers({"nothing has moved": np.zeros((2, 2))})
    assert still["heights"] == {"nothing has moved": [0.0, 0.0]}
