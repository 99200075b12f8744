"""The figures: the example's rank, and what is counted of it."""

import numpy as np
import pytest

from lora_edu.course.matrix_example import figures


@pytest.mark.parametrize("r", [1, 2, 5, 7, 60, 100])
def test_the_example_has_the_rank_that_is_asked_for(r):
    for seed in range(5):
        W0, lora_A, lora_B = figures.matrix_example(seed, 120, 100, r)
        assert (W0.shape, lora_A.shape, lora_B.shape) == ((120, 100), (r, 100), (120, r))
        assert np.linalg.matrix_rank(lora_B @ lora_A) == r
        assert 0.3 < np.std(lora_B @ lora_A) < 2  # of the noise's size, whatever the rank


def test_the_flow_counts_the_work_of_each_way_and_ends_in_the_layers_output():
    W0, lora_A, lora_B = figures.matrix_example(0, 30, 20, 4)
    fig, work = figures.data_flow(W0, lora_A, lora_B)
    assert (work["work_of_W0"], work["work_of_A"], work["work_of_B"]) == (600, 80, 120)
    x, *_, output = [ax.images[0].get_array().ravel() for ax in fig.axes if ax.images]
    assert np.allclose(output, (W0 + lora_B @ lora_A) @ x)


# -- films ----------------------------------------------------------------------------------------
