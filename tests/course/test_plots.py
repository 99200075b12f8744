import unicodedata

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import ndimage

from lora_edu.course import plots


def test_heatmaps_have_one_scale_and_whole_pixels_and_leave_the_style_where_it_was():
    before = plt.rcParams["figure.dpi"], plt.rcParams["font.size"]
    fig = plots.heatmaps({"a": np.full((20, 30), 0.5), "b": np.diag([0.5, 3.0])}, limit=2.0)
    assert (plt.rcParams["figure.dpi"], plt.rcParams["font.size"]) == before
    first, second = (ax.images[0] for ax in fig.axes)
    assert first.to_rgba(0.5) == second.to_rgba(0.5)
    assert second.to_rgba(3.0) == second.to_rgba(2.0)  # beyond the limit: the last colour
    assert [ax.get_title() for ax in fig.axes] == ["a", "b"]
    box = fig.axes[0].get_window_extent()
    assert (box.width, box.height) == pytest.approx((90, 60))  # cells of 3 pixels


def test_thousands_are_apart_in_every_language():
    assert plots.grouped(1_234_567) == "1\u2009234\u2009567"
    assert plots.grouped(0.5) == "0.5"


def test_runs_are_faint_and_their_mean_is_named():
    each = np.array([[0.0, 1.0], [1.0, 3.0]])
    _, ax = plt.subplots()
    plots.runs(ax, [3, 4], each, "s--", plots.GREEN, "LoRA", alpha=0.1)
    *faint, mean = ax.lines
    assert [list(line.get_ydata()) for line in faint] == each.tolist()
    assert list(mean.get_ydata()) == [0.5, 2.0]
    assert ax.get_legend_handles_labels()[1] == ["LoRA"]


@pytest.mark.parametrize(("text", "rank"), [("I", 1), ("LILI", 2), ("E", 4)])
def test_letters_of_upright_and_level_strokes_have_a_low_rank(text, rank):
    drawn = plots.letters(text)
    assert drawn.shape == (100, 100)
    assert (drawn.min(), drawn.max()) == (0, 1)
    assert np.linalg.matrix_rank(drawn) == rank


@pytest.mark.parametrize(("text", "parts"), [("U", 1), ("Ư", 1), ("O", 2), ("PHƯƠNG", 3)])
def test_holes_of_letters_stay_empty_and_nothing_else(text, parts):
    """Count the parts of the ground."""
    assert ndimage.label(plots.letters(text, size=200) == 0)[1] == parts


def test_letters_fill_the_square_but_for_a_margin():
    inked = np.argwhere(plots.letters("O", size=50) > 0)
    assert (inked.min(), inked.max()) == (3, 46)  # 6 % of 50
    assert np.allclose(plots.letters("T"), plots.letters("T")[:, ::-1])  # a symmetric letter
    assert plots.letters("L")[0:50, 50:].sum() == 0  # row 0 is at the top
    assert ndimage.label(plots.letters("I I").sum(axis=0) > 0)[1] == 2  # a blank stays blank


@pytest.mark.parametrize("name", ["HƯƠNG", "ĐỨC", "Thuỳ", "NGỌC LAN"])
def test_a_name_may_be_typed_with_its_tones_apart(name):
    apart = unicodedata.normalize("NFD", name)
    assert apart != name
    np.testing.assert_array_equal(plots.letters(apart), plots.letters(name))
