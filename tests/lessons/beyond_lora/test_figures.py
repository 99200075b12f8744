"""The figures: they choose on validation, show what the records hold, round as NF4 does."""

import numpy as np
import pytest
import torch

from lora_edu.course.beyond_lora import figures
from lora_edu.course.experiments import read, results
from lora_edu.quantize import NF4, nf4_levels

REPORTED = {task: read(f"descendants_{task}")["rows"] for task in figures.TASKS}


@pytest.mark.parametrize("task", figures.TASKS)
@pytest.mark.parametrize("kind", ["lora", "pissa", "dora"])
def test_no_setting_that_was_tried_is_better_on_validation(task, kind):
    method, lr = figures.chosen(task, kind)
    search = results(f"descendants_{task}_tuning")["search"]
    best = np.mean(search[method][f"{lr:g}"])
    for other, rates in search.items():
        if other.startswith(f"{kind} r=8 "):
            assert max(map(np.mean, rates.values())) <= best + 1e-9
    rows = [row for row in REPORTED[task] if (row["method"], row["lr"]) == (method, lr)]
    assert figures.right(task, kind).tolist() == [row["test"] for row in rows]


@pytest.mark.parametrize("task", figures.TASKS)
def test_a_gain_is_the_mean_of_the_gaps_run_by_run(task):
    for (kind, tuned), (mean, low, high, p) in figures.gains(task).items():
        alpha = None if tuned else figures.ORIGINAL
        gaps = figures.right(task, kind, alpha) - figures.right(task, "lora", alpha)
        assert mean == pytest.approx(gaps.mean())
        assert low < mean < high
        assert 0 <= p <= 1


def test_the_bars_of_the_figure_are_the_intervals():
    """It is drawn without scipy, which the intervals come from."""
    _, numbers = figures.gains_and_care()
    for task in figures.TASKS:
        for (kind, tuned), (mean, low, high, _) in figures.gains(task).items():
            drawn = numbers[task][f"{kind}, {'tuned' if tuned else 'alpha 8'}"]
            assert drawn == pytest.approx([100 * each for each in (mean, low, high)], abs=0.051)


def test_runs_below_half_are_counted(monkeypatch):
    monkeypatch.setattr(figures, "right", lambda *_: np.array([0.49, 0.5, 0.1, 0.9]))
    assert figures.collapsed("turned", "lora") == 2


def test_what_rank_64_adds_is_compared_at_one_alpha_or_at_the_best_of_each():
    for words, (low, high, alpha) in figures.BY_RANK.items():
        of_8 = figures.right("turned", low, alpha and figures.ORIGINAL)
        added = figures.right("turned", high, alpha, r=64) - of_8
        assert figures.by_rank("turned", words) == pytest.approx(added)


def test_the_blind_curves_are_those_with_names_and_do_not_tell():
    blind, (named, numbers) = figures.blind(), figures.five_curves()
    lines = [[line.get_ydata() for line in fig.axes[0].lines] for fig in (blind, named)]
    assert all(np.array_equal(one, two) for one, two in zip(*lines, strict=True))
    labels = [text.get_text() for text in blind.axes[0].get_legend().get_texts()]
    assert labels == [*figures.SECRET]
    assert sorted(figures.SECRET.values()) == sorted(numbers["kinds"])


def test_a_row_of_dora_keeps_its_length_and_lora_moves_along_a_line():
    numbers = figures._row()
    m = np.linalg.norm(numbers["row"])
    assert np.linalg.norm(numbers["dora"], axis=1) == pytest.approx(np.full(7, m))
    steps = np.diff(numbers["lora"], axis=0)
    assert np.allclose(steps, steps[0])
    cosines = (numbers["lora"] * numbers["dora"]).sum(1)
    assert cosines == pytest.approx(m * np.linalg.norm(numbers["lora"], axis=1))
    assert figures.a_row_of_dora()[1]["m"] == round(float(m), 2)


@pytest.mark.parametrize(
    ("ask", "names"),
    [
        (lambda: figures.chosen("upside down", "lora"), "inverted, turned, minilm"),
        (lambda: figures.chosen("turned", "galore"), "'galore'"),
        (lambda: figures.chosen("turned", "lora", alpha=7), "alpha=7"),
        (lambda: figures.right("turned", "lora", 32), "is not recorded"),
        (lambda: figures.by_rank("turned", "tuned"), "its best alpha at each rank, got 'tuned'"),
        (lambda: figures.placed("everywhere"), "all, rank 20, got 'everywhere'"),
    ],
)
def test_what_is_not_recorded_is_refused_in_one_line(ask, names):
    with pytest.raises(ValueError, match=names) as caught:
        ask()
    assert "\n" not in str(caught.value)


def test_the_page_rounds_as_nf4_does():
    W = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    error = (NF4.quantize(W).dequantize() - W).norm() / W.norm()
    assert figures.rounding_error(W, nf4_levels(), 64) == pytest.approx(error.item(), rel=1e-5)


def test_the_figure_of_rates_draws_what_was_tried():
    _, rates = figures.learning_rate_gap()
    for task in ("turned", "inverted"):
        search = results(f"descendants_{task}_tuning")["search"]
        for name, of in rates["reached"][task].items():
            assert of == {
                float(lr): pytest.approx(np.mean(one)) for lr, one in search[name].items()
            }
