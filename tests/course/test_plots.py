import io

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt

from lora_edu.course import plots


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_equal_numbers_get_equal_colours_in_each_heatmap():
    fig = plots.heatmaps({"a": np.full((4, 4), 0.5), "b": np.diag([0.5, 3.0])}, limit=2.0)
    first, second = (ax.images[0] for ax in fig.axes)
    assert first.to_rgba(0.5) == second.to_rgba(0.5)
    assert second.to_rgba(3.0) == second.to_rgba(2.0)  # beyond the limit: the last colour
    assert [ax.get_title() for ax in fig.axes] == ["a", "b"]


def test_thousands_are_apart_in_every_language():
    assert plots.grouped(1_234_567) == "1\u2009234\u2009567"
    assert plots.grouped(0.5) == "0.5"


def test_cells_are_whole_pixels():
    fig = plots.heatmaps({"a": np.zeros((20, 30))}, limit=1.0)
    box = fig.axes[0].get_window_extent()
    assert box.width == pytest.approx(90)  # 30 cells of 3 pixels
    assert box.height == pytest.approx(60)


def test_the_style_is_left_where_it_was():
    before = plt.rcParams["figure.dpi"]
    plots.heatmaps({"a": np.zeros((2, 2))}, limit=1.0)
    assert plt.rcParams["figure.dpi"] == before


def test_slider_draws_at_once_and_again_when_moved():
    drawn = []

    def draw(r):
        drawn.append(r)
        fig, ax = plt.subplots(figsize=(1, 1))
        ax.plot(np.arange(r))
        return fig

    box = plots.slider(draw, "r", 5, least=1, most=9)
    control, picture = box.children
    first = bytes(picture.value)
    control.value = 7
    assert drawn == [5, 7]
    assert bytes(picture.value) != first
    assert plt.imread(io.BytesIO(picture.value)).ndim == 3
    assert plt.get_fignums() == []  # closed, so that a notebook does not show it twice
