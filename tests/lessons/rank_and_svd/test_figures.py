"""The figures: what they draw, against the same thing computed another way."""

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt

from lora_edu import lowrank
from lora_edu.course.rank_and_svd import figures


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def relative_error(matrix, r):
    return np.linalg.norm(matrix - lowrank.best_approximation(matrix, r)) / np.linalg.norm(matrix)


@pytest.mark.parametrize("seed", range(5))
def test_three_matrices_have_their_ranks_and_one_size(seed):
    made = figures.three_matrices(seed)
    assert [np.linalg.matrix_rank(matrix) for matrix in made.values()] == [100, 70, 4]
    assert all(np.mean(matrix**2) == pytest.approx(1, abs=0.1) for matrix in made.values())


def test_three_ranks_counts_what_stands_above_rounding():
    _, numbers = figures.three_ranks(
        {"a": np.diag([4.0, 2, 1e-11, 1e-13, 0]), "b": np.ones((5, 5))}
    )
    assert numbers["ranks"] == [3, 1]
    assert numbers["spectra"] == [pytest.approx([1, 0.5, 2.5e-12]), [1.0]]


def test_eckart_young_draws_the_errors_of_truncation_and_nothing_lies_below():
    _, numbers = figures.eckart_young(tries=20)
    made = figures.three_matrices()
    assert [numbers["noise"][r] for r in (1, 5, 50)] == pytest.approx(
        [relative_error(made["r = 100"], r) for r in (1, 5, 50)]
    )
    for name in ("noise", "structure"):
        assert (numbers[name][0], numbers[name][100]) == (pytest.approx(1), 0)
        assert np.all(np.array(numbers[name])[numbers["ranks"]] < numbers[f"random_{name}"])


def test_the_picture_is_straight_but_for_its_sun_and_its_roof():
    image = figures.picture()
    assert image.shape == (100, 100)
    assert np.abs(image).max() == 1
    assert np.linalg.matrix_rank(image == 0.9) == 1  # six windows


@pytest.mark.parametrize("r", [1, 10, 37, 38, 40])
def test_truncated_picture_shows_the_matrix_and_the_error_of_one_rank(r):
    image = figures.picture()
    fig, numbers = figures.truncated_picture(ranks=[r])
    shown = fig.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, lowrank.best_approximation(image, r), atol=1e-12)
    assert numbers["errors"] == pytest.approx([relative_error(image, r)], abs=1e-12)
    assert (numbers["errors"][0] == 0) == (r >= np.linalg.matrix_rank(image))
