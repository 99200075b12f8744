"""Which directions the outputs of an update need."""

import numpy as np
import pytest
import torch
from lessons.conftest import SMALL

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


@pytest.mark.assets
@pytest.mark.seconds
def test_few_posts_are_the_first_of_those_that_the_seed_draws(monkeypatch):
    seen = []

    def train(model, part, *_, **steps):
        seen.append((*(len(tensor) for tensor in part), steps["epochs"]))
        return model

    monkeypatch.setattr(lab, "train", train)
    methods = lab.METHODS | {"full, 50 posts": lab.METHODS["full, 50 posts"] | {"few": 5}}
    small = {"posts": SMALL["posts"], "elsewhere": SMALL["elsewhere"], "methods": methods}
    for method in ("full, 50 posts", "full"):
        lab.minilm(method, 1e-4, 0, **small)
    assert seen == [(5, 5, 5, 15), (32, 32, 32, 2)]
