"""The figures compare an overlap with chance."""

import numpy as np
import pytest

from lora_edu.course.inside_the_update import figures


def test_chance_is_what_random_subspaces_have():
    rng = np.random.default_rng(0)
    V, W = (np.linalg.qr(rng.standard_normal((384, n)))[0] for n in (8, 64))
    assert figures.chance()[7, 6] == pytest.approx(np.sum((V.T @ W) ** 2) / 8, abs=0.04)
