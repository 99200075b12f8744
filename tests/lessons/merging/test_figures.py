"""The figures: the numbers behind them, against rounding computed another way."""

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt

from lora_edu.course.experiments import results
from lora_edu.course.merging import figures


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_an_update_below_half_a_step_leaves_a_weight():
    _, numbers = figures.small_updates_vanish()
    assert numbers["up"] == pytest.approx(2**-8, abs=1e-5)  # half of what lies above 1
    assert numbers["down"] == pytest.approx(2**-9, abs=1e-5)
    for name in ("bfloat16", "float16"):
        assert np.all(np.diff(numbers[name]) > 0)
        assert numbers[name][0] < 0.01 < 0.98 < numbers[name][-1]
    assert max(numbers["float64"]) == 0


def test_the_lost_part_is_that_of_numpys_float16_and_follows_the_law():
    _, numbers = figures.merge_error_by_dtype()
    rng = np.random.default_rng(5)
    W0, delta = 0.05 * rng.standard_normal((2, 256, 256))
    stored = W0.astype(np.float16).astype(float)
    for at in (2, 4, 6):  # sizes 0.1, 0.01, 0.001
        change = figures.SIZES[at] * delta * (np.linalg.norm(W0) / np.linalg.norm(delta))
        error = (stored + change).astype(np.float16).astype(float) - stored - change
        lost = np.linalg.norm(error) / np.linalg.norm(change)
        assert numbers["float16"][at] == pytest.approx(lost, rel=0.12)
    for name, bits in [("bfloat16", 8), ("float16", 11), ("float32", 24), ("float64", 53)]:
        assert numbers[name][2] == pytest.approx(0.42 * 2.0**-bits / 0.1, rel=0.1)


def test_one_update_stops_drifting_and_new_ones_do_not():
    _, numbers = figures.merge_drift()
    lines = {line.get_label(): line.get_ydata() for line in plt.gca().lines}
    for name in ("bfloat16", "float16", "float32"):
        same, new = lines[f"{name}, $\\Delta W_1$"], lines[f"{name}, $\\Delta W_n$"]
        assert len(set(same)) == 1
        assert same[0] == new[0] > 0
        assert 10 * new[0] < new[-1] < 1000**0.5 * new[0]
        assert numbers[name] == pytest.approx([new[0], new[-1], same[-1]], rel=0.01)


def test_latency_draws_the_record():
    _, numbers = figures.latency()
    for case, *middles in zip(
        results("latency")["cases"], numbers["merged"], numbers["LoRA"], strict=True
    ):
        assert middles == [case["ratio"][name][1] for name in ("merged", "LoRA")]
