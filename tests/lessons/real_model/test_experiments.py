"""Which directions the outputs of an update need."""

import numpy as np
import pytest
import torch

from lora_edu.course.real_model import experiments as lab


@pytest.mark.parametrize("shape", [(5, 8), (8, 5)])
def test_output_directions_leave_the_least_of_the_outputs(shape):
    rng = np.random.default_rng(0)
    delta, x = rng.standard_normal(shape), rng.standard_normal((40, shape[1]))
    x *= range(1, shape[1] + 1)
    tail = np.linalg.svd(x @ delta.T, compute_uv=False)
    U = lab.output_directions(torch.from_numpy(delta), torch.from_numpy(x.T @ x)).numpy()
    for k in range(1, min(shape)):
        left = delta - U[:, :k] @ U[:, :k].T @ delta
        assert np.linalg.norm(x @ left.T) == pytest.approx(np.linalg.norm(tail[k:]))  # Eckart-Young
