"""The figures choose on validation, and compare seed by seed."""

import numpy as np
import pytest

from lora_edu.course.beyond_lora import figures
from lora_edu.course.experiments import read, results


@pytest.mark.parametrize("task", figures.TASKS)
@pytest.mark.parametrize("kind", ["lora", "pissa", "dora"])
def test_no_setting_that_was_tried_is_better_on_validation(task, kind):
    method, lr = figures.chosen(task, kind)
    search = results(f"descendants_{task}_tuning")["search"]
    best = np.mean(search[method][f"{lr:g}"])
    for other, rates in search.items():
        if other.startswith(f"{kind} r=8 "):
            assert max(map(np.mean, rates.values())) <= best + 1e-9
    rows = read(f"descendants_{task}")["rows"]
    right = [row["test"] for row in rows if (row["method"], row["lr"]) == (method, lr)]
    assert figures.right(task, kind).tolist() == right


@pytest.mark.parametrize("task", figures.TASKS)
def test_a_bar_is_the_interval_of_the_gaps_run_by_run(task):
    """It is drawn without scipy, which the intervals come from."""
    drawn = figures.gains_and_care.numbers()[task]
    for (kind, tuned), (mean, low, high, p) in figures.gains(task).items():
        alpha = None if tuned else figures.ORIGINAL
        gaps = figures.right(task, kind, alpha) - figures.right(task, "lora", alpha)
        assert mean == pytest.approx(gaps.mean())
        assert 0 <= p <= 1
        ends = drawn[f"{kind}, tuned" if tuned else f"{kind}, alpha 8"]
        assert ends == pytest.approx([100 * mean, 100 * low, 100 * high], abs=0.051)


def test_runs_below_half_are_counted(monkeypatch):
    monkeypatch.setattr(figures, "right", lambda *_: np.array([0.49, 0.5, 0.1, 0.9]))
    assert figures.collapsed("turned", "lora") == 2


@pytest.mark.parametrize(
    ("words", "of_8", "of_64"),
    [
        ("alpha = 8 in both, plain LoRA", ("lora", 8), ("lora", 8, 64)),
        ("alpha = 8 in both, rsLoRA", ("rslora", 8), ("lora", 64, 64)),
        ("its best alpha at each rank", ("lora",), ("lora", None, 64)),
    ],
)
def test_what_rank_64_adds(words, of_8, of_64):
    added = figures.right("turned", *of_64) - figures.right("turned", *of_8)
    assert figures.by_rank("turned", words) == pytest.approx(added)


def test_the_blind_curves_are_those_with_names_and_do_not_tell():
    blind, (named, _) = figures.blind(), figures.five_curves()
    for one, two in zip(blind.axes[0].lines, named.axes[0].lines, strict=True):
        assert np.array_equal(one.get_ydata(), two.get_ydata())
    labels = [text.get_text() for text in blind.axes[0].get_legend().get_texts()]
    assert labels == [*figures.SECRET]


def test_a_row_of_dora_keeps_its_length_and_lora_moves_along_a_line():
    numbers = figures.a_row_of_dora.numbers()
    lora, dora, m = numbers["lora"], numbers["dora"], np.linalg.norm(numbers["row"])
    assert np.linalg.norm(dora, axis=1) == pytest.approx(np.full(7, m))
    assert np.diff(lora, n=2, axis=0) == pytest.approx(np.zeros((5, 2)))
    assert (lora * dora).sum(1) == pytest.approx(m * np.linalg.norm(lora, axis=1))


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
