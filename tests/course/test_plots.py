import unicodedata

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from scipy import ndimage

from lora_edu.course import plots


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


@pytest.mark.parametrize(("text", "rank"), [("I", 1), ("L", 2), ("H", 2), ("LILI", 2), ("E", 4)])
def test_letters_of_upright_and_level_strokes_have_a_low_rank(text, rank):
    drawn = plots.letters(text)
    assert drawn.shape == (100, 100)
    assert (drawn.min(), drawn.max()) == (0, 1)
    assert np.linalg.matrix_rank(drawn) == rank


def test_letters_fill_the_square_but_for_a_margin_and_holes_stay_empty():
    drawn = plots.letters("O", size=50)
    assert drawn[25, 25] == 0
    inked = np.argwhere(drawn > 0)
    assert inked.min() == 3  # 6 % of 50
    assert inked.max() == 46
    for text, parts in [
        ("U", 1),
        ("Ư", 1),
        ("O", 2),
        ("PHƯƠNG", 3),
    ]:  # of the ground: no other hole
        assert ndimage.label(plots.letters(text, size=200) == 0)[1] == parts, text
    assert np.allclose(plots.letters("T"), plots.letters("T")[:, ::-1])  # a symmetric letter
    assert plots.letters("L")[0:50, 50:].sum() == 0  # row 0 is at the top
    assert ndimage.label(plots.letters("I I").sum(axis=0) > 0)[1] == 2  # a blank stays blank


@pytest.mark.parametrize("name", ["HƯƠNG", "ĐỨC", "Thuỳ", "NGỌC LAN"])
def test_a_name_may_be_typed_with_its_tones_apart(name):
    apart = unicodedata.normalize("NFD", name)
    assert apart != name
    np.testing.assert_array_equal(plots.letters(apart), plots.letters(name))


def test_letters_are_as_wide_as_the_font_says():
    """In DejaVu Sans Bold an I takes 762 of 2,048 parts of the height of a line."""
    ink = np.flatnonzero(np.diff(plots.letters("III", size=400).sum(axis=0) > 1))
    first, second, third = ink[::2]
    assert third - second == pytest.approx(second - first, abs=1)
    stroke = ink[1] - ink[0]
    bar = TextPath((0, 0), "I", size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    assert (second - first) / stroke == pytest.approx(762 / 2048 / bar.get_extents().width, 0.01)


@pytest.mark.parametrize(
    ("text", "size", "message"),
    [
        ("", 9, "a letter, got ''"),
        (" ", 9, "a letter"),
        ("\u200b", 9, "a letter"),
        ("A李", 9, "no '李'"),
        ("A", 0, "size must"),
    ],
)
def test_letters_that_cannot_be_drawn_are_refused(text, size, message):
    with pytest.raises(ValueError, match=message):
        plots.letters(text, size)


def test_a_canvas_counts_in_cells_of_the_matrices():
    canvas = plots.Canvas(20, 10)
    canvas.place(np.zeros((5, 8)), 2, 1, limit=1)
    canvas.place(np.zeros(6), 14, 1, limit=1, thick=3)
    canvas.arrow((1, 1), (2, 2))
    boxes = [ax.get_position().bounds for ax in canvas.fig.axes if ax.images]
    assert np.allclose(boxes, [(0.1, 0.1, 0.4, 0.5), (0.7, 0.1, 0.15, 0.6)])
    plt.close(canvas.fig)
