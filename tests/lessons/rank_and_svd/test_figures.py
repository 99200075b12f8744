"""The figures: what they draw, against the same thing computed another way."""

import numpy as np
import pytest

from lora_edu import lowrank
from lora_edu.course import plots
from lora_edu.course.rank_and_svd import figures


def relative_error(matrix, r):
    return np.linalg.norm(matrix - lowrank.best_approximation(matrix, r)) / np.linalg.norm(matrix)


# -- two inputs turn ------------------------------------------------------------------------------


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
