"""The figures: what they draw, against the same thing computed another way."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lora_edu import lowrank
from lora_edu.course import plots
from lora_edu.course.rank_and_svd import checks, figures


def relative_error(matrix, r):
    return np.linalg.norm(matrix - lowrank.best_approximation(matrix, r)) / np.linalg.norm(matrix)


# -- a circle becomes an ellipse ----------------------------------------------------------------


def test_the_longest_and_the_shortest_output_are_the_singular_values():
    numbers = figures.circle_to_ellipse.numbers()
    S = np.linalg.svd(figures.MACHINE, compute_uv=False)
    assert [max(numbers["lengths"]), min(numbers["lengths"])] == pytest.approx(list(S))
    at = numbers["angles"].index
    assert numbers["lengths"][at(45)] == pytest.approx(S[0])
    assert numbers["lengths"][at(135)] == pytest.approx(S[1])
    assert checks.length_at(figures.MACHINE, 45) == pytest.approx(S[0])
    assert numbers["captions"][at(45)] == "45°: in 1, out 1.34"


@pytest.mark.parametrize("machine", [figures.MACHINE, np.diag([0.1, 3.0]), np.zeros((2, 2))])
def test_the_hands_point_to_the_circle_and_to_the_ellipse(machine):
    numbers = figures.circle_to_ellipse.numbers(machine)
    fig = plt.figure(figsize=figures.TURN)
    show = figures._dial_and_length(fig, numbers)
    dial, chart = fig.axes
    for frame in (0, 7, 23):
        show(frame)
        circle, ellipse, put_in, come_out = (np.array(line.get_data()) for line in dial.lines)
        assert np.linalg.norm(circle, axis=0) == pytest.approx(np.ones(121))
        assert ellipse == pytest.approx(machine @ circle)
        assert np.linalg.norm(put_in[:, 1]) == pytest.approx(1)
        assert come_out[:, 1] == pytest.approx(machine @ put_in[:, 1])
        (angle,), (length,) = chart.lines[2].get_data()
        assert angle == pytest.approx(np.degrees(np.arctan2(put_in[1, 1], put_in[0, 1])))
        assert length == pytest.approx(np.linalg.norm(come_out[:, 1]))
    reach = dial.get_xlim()[1]  # all of it is in the picture
    assert np.abs(ellipse).max() < reach
    assert reach > 1


def test_strips_of_rank_r_leave_r_axes():
    numbers = figures.ball_to_sheet.numbers()
    assert [np.count_nonzero(axes) for axes in numbers["axes"]] == numbers["ranks"] == [3, 2, 1]
    fig = figures.ball_to_sheet.draw(numbers)
    assert [ax.get_title()[:6] for ax in fig.axes] == ["rank 3", "rank 2", "rank 1"]


# -- a picture, weave by weave ------------------------------------------------------------------


def test_the_picture_is_straight_but_for_its_sun_and_its_roof():
    image = figures.picture()
    assert image.shape == (100, 100)
    assert np.abs(image).max() == 1
    assert np.linalg.matrix_rank(image == 0.9) == 1  # six windows
    assert checks.first_part(image) == "windows"


@pytest.mark.parametrize("image", [None, plots.letters("ANNA"), np.eye(7, 5)])
def test_the_weaves_add_up_to_the_picture_and_the_errors_are_those_of_the_sums(image):
    numbers = figures.weave_by_weave.numbers(*[] if image is None else [image])
    image, ranks = numbers["image"], numbers["ranks"]
    assert ranks == sorted(set(ranks))
    assert ranks[-1] == numbers["rank"] == np.linalg.matrix_rank(image)
    assert len(ranks) <= 24
    for r, weave, so_far, error in zip(
        ranks, numbers["weaves"], numbers["sums"], numbers["errors"], strict=True
    ):
        assert np.linalg.matrix_rank(weave) == 1
        assert so_far == pytest.approx(lowrank.best_approximation(image, r), abs=1e-9)
        assert error == pytest.approx(relative_error(image, r), abs=1e-6)
    assert np.sum(numbers["weaves"][:4], axis=0) == pytest.approx(numbers["sums"][3], abs=1e-9)
    assert ranks[numbers["moments"][-1]] == numbers["rank"]


def test_the_film_takes_other_pictures_also_of_few_weaves():
    assert len(figures.film_of_weaves(plots.letters("LILI")).html) < 100_000
    assert len(figures.film_of_weaves([[1, 2], [2, 4]]).html) < 100_000
    moments = figures.weave_by_weave.numbers([[1, 2], [2, 4]])["told"]
    assert moments == "0% at 1"


@pytest.mark.parametrize(
    ("film", "given", "message"),
    [
        (figures.film_of_turning, np.eye(3), r"2 × 2 finite numbers, got \[\[1.0, 0.0"),
        (figures.film_of_turning, [1, 2], r"finite numbers, got \[1, 2\]"),
        (figures.film_of_turning, np.full((2, 2), np.nan), r"got \[\[nan"),
        (figures.film_of_weaves, np.zeros((5, 4)), "other than 0, got 20 zeros"),
        (figures.film_of_weaves, np.ones((6, 5, 3)), r"2 dimensions, got shape \(6, 5, 3\)"),
        (figures.film_of_weaves, 5, r"2 dimensions, got shape \(\)"),
        (figures.film_of_weaves, np.full((3, 3), np.nan), "finite"),
    ],
)
def test_what_is_no_picture_and_no_machine_is_refused(film, given, message):
    with pytest.raises(ValueError, match=message):
        film(given)


def test_a_frame_shows_the_weave_the_sum_and_what_is_left():
    numbers = figures.weave_by_weave.numbers()
    fig = plt.figure(figsize=figures.WEAVES)
    figures._weave_sum_rest(fig, numbers)(4)
    *squares, chart = fig.axes
    weave, so_far, rest = (np.array(ax.images[0].get_array()) for ax in squares)
    assert squares[0].get_title() == "weave 5"
    assert so_far + rest == pytest.approx(figures.picture())
    assert so_far - weave == pytest.approx(lowrank.best_approximation(figures.picture(), 4))
    (r,), (error,) = chart.lines[1].get_data()
    assert (r, error) == (5, pytest.approx(relative_error(figures.picture(), 5)))


# -- a square that turns ------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [0, 1, 20, 45, 70])
def test_a_turned_square_is_as_large_as_an_upright_one(angle):
    drawn = figures.square(angle)
    assert (drawn.min(), drawn.max()) == (0, 1)
    assert drawn.sum() == pytest.approx(50 * 50, rel=3e-3)
    assert figures.square(angle + 90) == pytest.approx(drawn, abs=0.07)


def test_ranks_and_directions_are_those_of_the_square_at_each_angle():
    numbers = figures.square_that_turns.numbers()
    told = zip(numbers["angles"], numbers["ranks"], numbers["within"], strict=True)
    for angle, rank, within in list(told)[::4]:
        drawn = figures.square(angle)
        assert rank == np.linalg.matrix_rank(drawn)
        assert relative_error(drawn, within) <= 0.01
        assert within == 1 or relative_error(drawn, within - 1) > 0.01
    assert (numbers["ranks"][0], numbers["within"][0]) == (1, 1)
    assert len(numbers["angles"]) == 24


def test_off_the_middle_the_rank_does_not_drop_at_45_degrees_and_the_count_at_1_percent_does():
    drawn = figures.square(45, off=0.3)
    assert np.linalg.matrix_rank(drawn) > 65
    assert relative_error(drawn, 36) <= 0.01
    assert relative_error(figures.square(40, off=0.3), 50) > 0.01


def test_the_film_of_the_square_counts_up_to_its_frame():
    numbers = figures.square_that_turns.numbers()
    fig = plt.figure(figsize=figures.TURNS)
    figures._tilted_and_counted(fig, numbers)(9)
    picture, chart = fig.axes
    assert np.array_equal(picture.images[0].get_array(), figures.square(numbers["angles"][9]))
    exact, near = chart.lines
    assert list(exact.get_ydata()) == numbers["ranks"][:10]
    assert list(near.get_ydata()) == numbers["within"][:10]
    assert list(near.get_xdata()) == numbers["angles"][:10]


def test_the_board_and_the_line():
    board, line = figures.board_and_line()
    assert board[:2, :3].tolist() == [[1, -1, 1], [-1, 1, -1]]
    assert np.array_equal(line, np.eye(100))


@pytest.mark.seconds
def test_the_films_are_small():
    sizes = [len(film().html) for film in (figures.film_of_turning, figures.film_of_the_square)]
    assert max(sizes) < 130_000
    assert len(figures.film_of_weaves().html) < 220_000


@pytest.mark.seconds
def test_a_film_of_a_learners_matrix_tells_its_own_numbers():
    told = figures.film_of_turning(np.diag([2.0, 0.5])).html
    assert "0°: in 1, out 2.00" in told[told.index('alt="') :]
