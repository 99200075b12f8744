"""The figures: what they draw, against the same thing computed another way."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lora_edu import lowrank
from lora_edu.course import plots
from lora_edu.course.rank_and_svd import checks, figures


def relative_error(matrix, r):
    return np.linalg.norm(matrix - lowrank.best_approximation(matrix, r)) / np.linalg.norm(matrix)


def frame(scene, size, numbers, i):
    """The axes of one frame of a film."""
    fig = plt.figure(figsize=size)
    scene(fig, numbers)(i)
    return fig.axes


# -- a circle becomes an ellipse ------------------------------------------------------------------


def test_the_longest_and_the_shortest_output_are_the_singular_values():
    numbers = figures.circle_to_ellipse.numbers()
    longest, shortest = np.linalg.svd(figures.MACHINE, compute_uv=False)
    lengths = dict(zip(numbers["angles"], numbers["lengths"], strict=True))
    assert max(numbers["lengths"]) == lengths[45] == pytest.approx(longest)
    assert min(numbers["lengths"]) == lengths[135] == pytest.approx(shortest)
    assert checks.length_at(figures.MACHINE, 45) == pytest.approx(longest)
    assert checks.first_part(figures.picture()) == "windows"
    assert numbers["captions"][6] == "45°: in 1, out 1.34"


@pytest.mark.parametrize("machine", [figures.MACHINE, np.diag([0.1, 3.0]), np.zeros((2, 2))])
@pytest.mark.parametrize("i", [0, 7, 23])
def test_the_hands_point_to_the_circle_and_to_the_ellipse(machine, i):
    numbers = figures.circle_to_ellipse.numbers(machine)
    dial, chart = frame(figures._dial_and_length, figures.TURN, numbers, i)
    circle, ellipse, put_in, come_out = (np.array(line.get_data()) for line in dial.lines)
    assert np.linalg.norm(circle, axis=0) == pytest.approx(np.ones(121))
    assert ellipse == pytest.approx(machine @ circle)
    assert np.linalg.norm(put_in[:, 1]) == pytest.approx(1)
    assert come_out[:, 1] == pytest.approx(machine @ put_in[:, 1])
    (angle,), (length,) = chart.lines[2].get_data()
    assert angle == 7.5 * i == pytest.approx(np.degrees(np.arctan2(put_in[1, 1], put_in[0, 1])))
    assert length == pytest.approx(np.linalg.norm(come_out[:, 1]))
    reach = dial.get_xlim()[1]  # all of it is in the picture
    assert reach > max(1, np.abs(ellipse).max())


# -- a picture, weave by weave --------------------------------------------------------------------


@pytest.mark.parametrize(
    "image", [figures.picture(), plots.letters("ANNA", 40), np.eye(7, 5), [[1, 2], [2, 4]]]
)
def test_the_weaves_add_up_to_the_picture_and_the_errors_are_those_of_the_sums(image):
    numbers = figures.weave_by_weave.numbers(image)
    ranks, rank = numbers["ranks"], np.linalg.matrix_rank(image)
    assert ranks == sorted(set(ranks))
    assert ranks[-1] == ranks[numbers["moments"][-1]] == numbers["rank"] == rank
    assert len(ranks) <= 24
    for i in range(0, len(ranks), 6):
        r = ranks[i]
        so_far = lowrank.best_approximation(image, r)
        assert numbers["sums"][i] == pytest.approx(so_far, abs=1e-9)
        before = lowrank.best_approximation(image, r - 1) if r > 1 else 0
        assert numbers["weaves"][i] == pytest.approx(so_far - before, abs=1e-9)
        assert numbers["errors"][i] == pytest.approx(relative_error(image, r), abs=1e-6)
    assert numbers["told"].endswith(f"0% at {rank}")


def test_a_frame_shows_the_weave_the_sum_and_what_is_left():
    image = figures.picture()
    numbers = figures.weave_by_weave.numbers()
    *squares, chart = frame(figures._weave_sum_rest, figures.WEAVES, numbers, 4)
    weave, so_far, rest = (np.array(ax.images[0].get_array()) for ax in squares)
    assert squares[0].get_title() == "weave 5"
    assert so_far + rest == pytest.approx(image)
    assert so_far - weave == pytest.approx(lowrank.best_approximation(image, 4))
    (r,), (error,) = chart.lines[1].get_data()
    assert (r, error) == (5, pytest.approx(relative_error(image, 5)))


@pytest.mark.parametrize(
    ("film", "given", "message"),
    [
        ("turning", np.eye(3), r"machine must hold 2 × 2 finite numbers, got \[\[1.0, 0.0"),
        ("turning", [1, 2], r"finite numbers, got \[1, 2\]"),
        ("turning", np.full((2, 2), np.nan), r"got \[\[nan"),
        ("weaves", np.zeros((5, 4)), "image must hold a number other than 0, got 20 zeros"),
        ("weaves", np.ones((6, 5, 3)), r"2 dimensions, got shape \(6, 5, 3\)"),
        ("weaves", 5, r"2 dimensions, got shape \(\)"),
        ("weaves", np.full((3, 3), np.nan), "finite"),
    ],
)
def test_what_is_no_picture_and_no_machine_is_refused(film, given, message):
    with pytest.raises(ValueError, match=message):
        getattr(figures, f"film_of_{film}")(given)


# -- a square that turns --------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [0, 1, 20, 45, 70])
def test_a_turned_square_is_as_large_as_an_upright_one(angle):
    drawn = figures.square(angle)
    assert (drawn.min(), drawn.max()) == (0, 1)
    assert drawn.sum() == pytest.approx(50 * 50, rel=3e-3)
    assert figures.square(angle + 90) == pytest.approx(drawn, abs=0.07)


def test_ranks_and_directions_are_those_of_the_square_at_each_angle():
    numbers = figures.square_that_turns.numbers()
    assert len(numbers["angles"]) == 24
    assert (numbers["ranks"][0], numbers["within"][0]) == (1, 1)
    for i in range(4, 24, 4):
        drawn, within = figures.square(numbers["angles"][i]), numbers["within"][i]
        assert numbers["ranks"][i] == np.linalg.matrix_rank(drawn)
        assert relative_error(drawn, within) <= 0.01 < relative_error(drawn, within - 1)
    picture, chart = frame(figures._tilted_and_counted, figures.TURNS, numbers, 9)
    assert np.array_equal(picture.images[0].get_array(), figures.square(numbers["angles"][9]))
    for line, counts in zip(chart.lines, (numbers["ranks"], numbers["within"]), strict=True):
        assert list(line.get_xdata()) == numbers["angles"][:10]
        assert list(line.get_ydata()) == counts[:10]
