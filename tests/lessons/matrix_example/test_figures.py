"""The figures: the example's rank, what is counted of it, and the widths of real models."""

import itertools
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lora_edu import counting
from lora_edu.course import plots
from lora_edu.course.matrix_example import checks, figures

ROOT = Path(__file__).parents[3]


def test_the_example_is_of_rank_five_whatever_the_seed():
    for seed in range(20):
        W0, lora_A, lora_B = figures.matrix_example(seed)
        assert (W0.shape, lora_A.shape, lora_B.shape) == ((100, 100), (5, 100), (100, 5))
        assert np.linalg.matrix_rank(lora_B @ lora_A) == 5


def test_anatomy_draws_the_matrices_it_is_given():
    _, numbers = figures.matrix_anatomy(np.eye(6, 4), np.ones((2, 4)), np.ones((6, 2)))
    assert (numbers["d"], numbers["k"], numbers["r"]) == (6, 4, 2)
    assert numbers["numbers_in_factors"] == 2 * (6 + 4)
    assert numbers["colour_limit"] == pytest.approx(2 * np.std(np.eye(6, 4) + 2))  # W0 + BA, BA = 2


def widths():
    numbers = figures.reduction_vs_width.numbers()
    return dict(zip(numbers["models"], numbers["widths"], strict=True))


def test_widths_are_those_of_square_query_projections():
    path = ROOT / "lora_edu" / "data" / "models.json"
    sources = {m["id"]: m["source"] for m in json.loads(path.read_text("utf-8"))["models"]}
    for name, width in widths().items():
        module = next(
            m
            for n, m in counting.modules(name).items()
            if n.endswith(("query", "q_proj", "attn.c_proj"))
        )
        assert module.out_features == module.in_features == width
        assert len(sources[name]) > 20


@pytest.mark.parametrize(
    ("model", "config", "width"),
    [
        ("roberta-base", "RobertaConfig", "hidden_size"),
        ("llama-2-7b", "LlamaConfig", "hidden_size"),
    ],
)
def test_widths_agree_with_transformers_defaults(model, config, width):
    transformers = pytest.importorskip("transformers")
    assert widths()[model] == getattr(getattr(transformers, config)(), width)


@pytest.mark.parametrize("r", [1, 2, 7, 60, 100])
def test_the_example_has_the_rank_that_is_asked_for(r):
    _, lora_A, lora_B = figures.matrix_example(0, 100, 100, r)
    assert np.linalg.matrix_rank(lora_B @ lora_A) == r
    assert 0.5 < np.std(lora_B @ lora_A) < 2  # of the noise's size, whatever the rank


def test_the_flow_counts_the_work_of_each_way_and_ends_in_the_layers_output():
    W0, lora_A, lora_B = figures.matrix_example(0, 30, 20, 4)
    numbers = figures.data_flow.numbers(W0, lora_A, lora_B)
    assert (numbers["work_of_W0"], numbers["work_of_A"], numbers["work_of_B"]) == (600, 80, 120)
    fig = figures.data_flow.draw(numbers)
    drawn = [ax.images[0].get_array() for ax in fig.axes if ax.images]
    output = W0 @ numbers["x"] + lora_B @ (lora_A @ numbers["x"])
    assert np.allclose(drawn[-1].ravel(), output)
    assert {len(part) for part in drawn} == {20, 30, 4}


def test_the_name_comes_nearer_with_each_direction_as_its_singular_values_say():
    target = plots.letters("LEIF")
    numbers = figures.a_name_by_its_directions.numbers(target)
    S = np.linalg.svd(target, compute_uv=False)
    for r, off in enumerate(numbers["missing"], start=1):
        assert off == pytest.approx(np.linalg.norm(S[r:]) / np.linalg.norm(S), abs=1e-6)
        assert np.linalg.matrix_rank(numbers["nearest"][r - 1], tol=1e-9) == min(r, 4)
    assert numbers["captions"][1] == f"r = 2: {numbers['missing'][1]:.0%} off"
    assert len(figures.film_of_name(plots.letters("I", size=5)).html) < 100_000


# -- the film -----------------------------------------------------------------------------------


def _tenths(number):
    return f"{number:.1f}".replace("-0.0", "0.0").replace("-", "−")


def shown(stage, scene, numbers, frame):
    """What a frame shows: the images of the axes, without masks, in the order of drawing."""
    scene(stage, numbers)(frame)
    return [np.ma.filled(ax.images[0].get_array(), np.nan) for ax in stage.axes if ax.images]


def test_the_film_goes_from_the_first_row_to_the_last_in_steps_that_can_be_seen():
    numbers = figures.five_rows_paint_a_hundred.numbers()
    steps = np.diff(numbers["rows"])
    assert (numbers["rows"][0], numbers["rows"][-1]) == (1, 100)
    assert len(numbers["rows"]) == len(numbers["captions"]) == 24
    assert set(steps) == {4, 5}
    assert [numbers["rows"][moment] for moment in numbers["moments"]] == [1, 35, 66, 100]


def test_a_frame_paints_to_its_row_and_shows_what_is_mixed():
    numbers = figures.five_rows_paint_a_hundred.numbers()
    lora_A, lora_B, delta = numbers["lora_A"], numbers["lora_B"], numbers["delta"]
    for frame in (0, 11, 23):
        row = numbers["rows"][frame]
        fig = plt.figure(figsize=figures.FRAME)
        top, left, square, parts, total = shown(fig, figures._frame, numbers, frame)
        assert np.array_equal(top, lora_A)
        assert np.array_equal(left, lora_B)
        assert np.array_equal(square[:row], delta[:row])
        assert np.isnan(square[row:]).all()
        assert np.allclose(parts.sum(0), delta[row - 1])  # added up
        assert np.array_equal(total, delta[row - 1 : row])
        corner = fig.axes[0]
        assert np.array_equal([bar.get_height() for bar in corner.patches], lora_B[row - 1])
        words = [label.get_text() for label in fig.axes[4].get_yticklabels()]
        assert words == [f"{_tenths(lora_B[row - 1, n])} × $a_{n + 1}$" for n in range(5)]
        for line in (*fig.axes[2].lines, *fig.axes[3].lines):
            assert list(line.get_ydata()) == [row - 1]


def test_a_strip_shows_what_the_film_shows():
    numbers = figures.five_rows_paint_a_hundred.numbers()
    fig = figures.five_rows_paint_a_hundred.draw(numbers)
    squares = [ax for ax in fig.axes if "Delta" in ax.get_xlabel()]
    painted = [np.isfinite(np.ma.filled(ax.images[0].get_array(), np.nan)) for ax in squares]
    assert [int(cells.all(1).sum()) for cells in painted] == [1, 35, 66, 100]


@pytest.mark.parametrize(("d", "r", "k"), [(8, 1, 30), (2, 2, 2), (100, 8, 60), (100, 100, 100)])
def test_the_film_takes_other_matrices(d, r, k):
    rng = np.random.default_rng(0)
    lora_A, lora_B = rng.standard_normal((r, k)), rng.standard_normal((d, r))
    numbers = figures.five_rows_paint_a_hundred.numbers(lora_A, lora_B)
    assert numbers["rows"] == sorted(set(numbers["rows"]))
    assert numbers["rows"][-1] == d
    fig = plt.figure(figsize=figures.FRAME)
    show = figures._frame(fig, numbers)
    show(len(numbers["rows"]) - 1)
    fig.canvas.draw()
    words = [label.get_window_extent() for label in fig.axes[4].get_yticklabels()]
    assert len(words) == (r if r <= 8 else 0)
    assert not any(above.overlaps(below) for above, below in itertools.pairwise(words))


def test_the_film_takes_a_fresh_adapter_whose_b_is_zero():
    _, lora_A, _ = figures.matrix_example()
    numbers = figures.five_rows_paint_a_hundred.numbers(lora_A[:1, :9], np.zeros((3, 1)))
    fig = plt.figure(figsize=figures.FRAME)
    shown(fig, figures._frame, numbers, 2)
    assert [label.get_text() for label in fig.axes[4].get_yticklabels()] == ["0.0 × $a_1$"]


@pytest.mark.seconds
def test_a_film_of_noise_is_not_too_large():
    rng = np.random.default_rng(0)
    page = figures.film_of_rows(rng.standard_normal((100, 100)), rng.standard_normal((100, 100)))
    assert len(page.html) < 360_000  # 321,000; the sum of five cosine rows has 188,000


@pytest.mark.seconds
def test_the_films_are_small():
    assert len(figures.film_of_rows().html) < 220_000
    assert len(figures.film_of_name().html) < 220_000


def test_what_the_questions_of_the_page_ask_for():
    _, lora_A, lora_B = figures.matrix_example()
    assert checks.letter_that_needs_more() == "L"
    assert checks.rank_when_shuffled(lora_B @ lora_A) == 5
    assert checks.rank_when_shuffled(np.diag([1.0, 0, 2, 0])) == 2
