"""The figures compare a cut with the knob that costs as much, and an overlap with chance."""

import numpy as np
import pytest

from lora_edu.course.inside_the_update import figures


@pytest.mark.parametrize(("share", "ahead"), [(0.75, 0), (1.0, 0.25)])
def test_a_cut_is_compared_with_the_knob_at_its_price(monkeypatch, share, ahead):
    """It costs 2.25, whose root, 1.5, is half-way between those of the knob at .5 and 1."""
    shares = {"none": 0, "half": 0.5, "all": 1, "cut": share}
    prices = {"none": 0, "half": 1, "all": 4, "cut": 2.25}
    monkeypatch.setattr(figures, "knob", lambda: [(0, "none"), (0.5, "half"), (1, "all")])
    monkeypatch.setattr(figures, "left", lambda _, cut: np.array([shares[cut]]))
    monkeypatch.setattr(figures, "price", lambda _, cut: np.array([prices[cut]]))
    assert figures.better("a voice", "cut") == pytest.approx([ahead])


def test_chance_is_what_random_subspaces_have():
    rng = np.random.default_rng(0)
    V, W = (np.linalg.qr(rng.standard_normal((384, n)))[0] for n in (8, 64))
    assert figures.chance()[7, 6] == pytest.approx(np.sum((V.T @ W) ** 2) / 8, abs=0.04)
