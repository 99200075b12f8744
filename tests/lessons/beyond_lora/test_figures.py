"""The figures: they round as NF4 does, and draw what the records hold."""

import matplotlib as mpl
import pytest
import torch

mpl.use("Agg")
import matplotlib.pyplot as plt

from lora_edu.course.beyond_lora import figures
from lora_edu.course.experiments import results
from lora_edu.quantize import NF4, nf4_levels


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_the_figure_rounds_as_nf4_does():
    W = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    error = (NF4.quantize(W).dequantize() - W).norm() / W.norm()
    assert figures.rounding_error(W, nf4_levels(), 64) == pytest.approx(error.item(), rel=1e-5)


def test_the_figures_draw_what_is_recorded():
    _, rates = figures.learning_rate_gap()
    _, equal = figures.variants_at_equal_parameters()
    for task in ("rotated", "inverted"):
        record = results(f"variants_{task}")
        assert rates[task] == {m: record["chosen"][m] for m in rates[task]}
        assert equal[task] == {m: record["mean"][m]["test"] for m in equal[task]}
