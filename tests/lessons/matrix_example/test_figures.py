"""The figures: the example's rank, what is counted of it, and the widths of real models."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lora_edu import lowrank
from lora_edu.course import plots
from lora_edu.course.matrix_example import checks, figures


@pytest.mark.parametrize("r", [1, 2, 5, 7, 60, 100])
def test_the_example_has_the_rank_that_is_asked_for(r):
    for seed in range(5):
        W0, lora_A, lora_B = figures.matrix_example(seed, 120, 100, r)
        assert (W0.shape, lora_A.shape, lora_B.shape) == ((120, 100), (r, 100), (120, r))
        assert np.linalg.matrix_rank(lora_B @ lora_A) == r
        assert 0.3 < np.std(lora_B @ lora_A) < 2  # of the noise's size, whatever the rank


def test_anatomy_draws_the_matrices_it_is_given():
    fig, numbers = figures.matrix_anatomy(np.eye(6, 4), np.ones((2, 4)), np.ones((6, 2)))
    assert (numbers["d"], numbers["k"], numbers["r"]) == (6, 4, 2)
    assert (numbers["numbers_in_factors"], numbers["numbers_in_update"]) == (2 * (6 + 4), 6 * 4)
    assert numbers["colour_limit"] == pytest.approx(2 * np.std(np.eye(6, 4) + 2))  # W0 + BA, BA = 2
    drawn = [np.array(ax.images[0].get_array()) for ax in fig.axes if ax.images]
    assert [matrix.shape for matrix in drawn] == [(6, 4), (6, 2), (6, 4), (2, 4), (6, 4)]
    assert np.array_equal(drawn[0] + drawn[1] @ drawn[3], drawn[4])


def test_the_flow_counts_the_work_of_each_way_and_ends_in_the_layers_output():
    W0, lora_A, lora_B = figures.matrix_example(0, 30, 20, 4)
    fig, work = figures.data_flow(W0, lora_A, lora_B)
    assert (work["work_of_W0"], work["work_of_A"], work["work_of_B"]) == (600, 80, 120)
    x, *_, output = [ax.images[0].get_array().ravel() for ax in fig.axes if ax.images]
    assert np.allclose(output, (W0 + lora_B @ lora_A) @ x)


# -- films ----------------------------------------------------------------------------------------


def test_the_name_comes_nearer_with_each_direction_as_its_singular_values_say():
    target = plots.letters("LEIF")
    numbers = figures.a_name_by_its_directions.numbers(target)
    for r, nearest in enumerate(numbers["nearest"], start=1):
        assert np.allclose(nearest, lowrank.best_approximation(target, r))
        off = np.linalg.norm(target - nearest) / np.linalg.norm(target)
        assert numbers["missing"][r - 1] == pytest.approx(off, abs=1e-6)
    assert numbers["captions"][1] == f"r = 2: {numbers['missing'][1]:.0%} off"
    assert len(figures.a_name_by_its_directions.numbers(np.eye(5, 3))["captions"]) == 3


def cells(ax):
    """What is drawn of a matrix; NaN where nothing is."""
    return np.ma.filled(ax.images[0].get_array(), np.nan)


@pytest.mark.parametrize(
    ("d", "r", "k"), [(100, 5, 100), (8, 1, 30), (2, 2, 2), (100, 8, 60), (100, 100, 100)]
)
def test_a_frame_paints_to_its_row_and_shows_what_is_mixed(d, r, k):
    rng = np.random.default_rng(0)
    lora_A, lora_B = rng.standard_normal((r, k)), rng.standard_normal((d, r))
    delta = lora_B @ lora_A
    numbers = figures.five_rows_paint_a_hundred.numbers(lora_A, lora_B)
    fig = plt.figure(figsize=figures.FRAME)
    show = figures._frame(fig, numbers)
    corner, top, left, square, parts, total = fig.axes
    for frame in {0, len(numbers["rows"]) // 2, len(numbers["rows"]) - 1}:
        show(frame)
        row = numbers["rows"][frame]
        assert np.array_equal(cells(top), lora_A)
        assert np.array_equal(cells(left), lora_B)
        assert np.array_equal(cells(square)[:row], delta[:row])
        assert np.isnan(cells(square)[row:]).all()
        assert np.allclose(cells(parts).sum(0), delta[row - 1])
        assert np.array_equal(cells(total), delta[row - 1 : row])
        assert np.array_equal([bar.get_height() for bar in corner.patches], lora_B[row - 1])
        for arrow in (*left.lines, *square.lines):
            assert list(arrow.get_ydata()) == [row - 1]
    fig.canvas.draw()
    words = parts.get_yticklabels()
    assert len(words) == (r if r <= 8 else 0)
    boxes = [word.get_window_extent() for word in words]
    assert not any(above.overlaps(below) for above, below in itertools.pairwise(boxes))


def test_the_film_takes_a_fresh_adapter_whose_b_is_zero():
    numbers = figures.five_rows_paint_a_hundred.numbers(np.ones((1, 9)), np.zeros((3, 1)))
    fig = plt.figure(figsize=figures.FRAME)
    figures._frame(fig, numbers)(2)
    assert fig.axes[4].get_yticklabels()[0].get_text() == "0.0 × $a_1$"
    assert (figures._tenths(-0.04), figures._tenths(-0.06)) == ("0.0", "−0.1")


@pytest.mark.seconds
def test_a_film_of_noise_is_not_too_large():
    rng = np.random.default_rng(0)
    page = figures.film_of_rows(rng.standard_normal((100, 100)), rng.standard_normal((100, 100)))
    assert len(page.html) < 360_000  # 321,000; the sum of five cosine rows has 188,000


def test_what_the_questions_of_the_page_ask_for():
    _, lora_A, lora_B = figures.matrix_example()
    assert checks.letter_that_needs_more() == "L"
    assert checks.rank_when_shuffled(lora_B @ lora_A) == 5
    assert checks.rank_when_shuffled(np.diag([1.0, 0, 2, 0])) == 2
