"""The figures: what they draw, against the same thing computed another way."""

import numpy as np
import pytest

from lora_edu import lowrank
from lora_edu.course import plots
from lora_edu.course.rank_and_svd import checks, figures


def relative_error(matrix, r):
    return np.linalg.norm(matrix - lowrank.best_approximation(matrix, r)) / np.linalg.norm(matrix)


# -- two inputs turn ------------------------------------------------------------------------------


def test_the_longest_output_is_the_first_singular_value_and_stands_at_a_right_angle():
    numbers = figures.circle_to_ellipse.numbers()
    longest, shortest = np.linalg.svd(figures.MACHINE, compute_uv=False)
    lengths = dict(zip(numbers["angles"], numbers["lengths"], strict=True))
    assert max(numbers["lengths"]) == lengths[45] == pytest.approx(longest)
    assert np.linalg.norm(numbers["hands"][3], axis=0)[6] == pytest.approx(shortest)
    assert numbers["dots"][::6] == [0.8, 0, -0.8]
    assert checks.first_part(figures.picture()) == "windows"
    assert numbers["captions"][6] == "45°: Mv is 1.34 long,\nMv · Mw = 0.00"


# -- a picture, piece by piece --------------------------------------------------------------------


IMAGES = [figures.picture(), plots.letters("ANNA", 40), np.eye(7, 5), [[1, 2], [2, 4]]]


@pytest.mark.parametrize("image", IMAGES)
def test_the_pieces_add_up_to_the_picture_and_the_errors_are_those_of_the_sums(image):
    numbers = figures.piece_by_piece.numbers(image)
    ranks, rank = numbers["ranks"], np.linalg.matrix_rank(image)
    assert ranks == sorted(set(ranks))
    assert ranks[-1] == numbers["rank"] == rank
    assert len(ranks) <= 24
    for i in range(0, len(ranks), 6):
        r = ranks[i]
        so_far = lowrank.best_approximation(image, r)
        assert numbers["sums"][i] == pytest.approx(so_far, abs=1e-9)
        before = lowrank.best_approximation(image, r - 1) if r > 1 else 0
        assert numbers["pieces"][i] == pytest.approx(so_far - before, abs=1e-9)
        assert numbers["errors"][i] == pytest.approx(relative_error(image, r), abs=1e-6)
    told = [f"{numbers['errors'][i]:.0%} at {ranks[i]}" for i in numbers["moments"]]
    assert numbers["told"] == ", ".join(told)
