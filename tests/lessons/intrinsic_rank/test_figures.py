"""The figures and the table of evidence: what they show is what the records hold."""

import statistics

import numpy as np
import pytest
from scipy.stats import ttest_rel

from lora_edu.course.experiments import results
from lora_edu.course.intrinsic_rank import figures


def mean(name, method, lr, key="test"):
    """Over the seeds, from the rows themselves."""
    rows = results(name)["rows"]
    return statistics.fmean(r[key] for r in rows if r["method"] == method and r["lr"] == lr)


def near(numbers):
    return pytest.approx(numbers, abs=6e-4)


def test_the_heights_of_matrices_are_shares_of_their_norm():
    matrices = {"one": np.diag([3.0, 4.0]), "two": np.ones((2, 2)), "three": np.eye(2)}
    fig, numbers = figures.heights_of_the_update(matrices)
    assert numbers["r90"] == {"one": 2, "two": 1, "three": 2}
    drawn = [list(line.get_ydata()) for line in fig.axes[0].lines][::2]
    for heights, expected in zip(drawn, ([0.8, 0.6], [1.0, 0.0], [0.5**0.5] * 2), strict=True):
        assert heights == pytest.approx(expected, abs=1e-8)


def test_the_recorded_heights_are_means():
    _, numbers = figures.heights_of_the_update()
    rows = results("one_change")["rows"]
    assert numbers["seeds"] == len(rows) == 20
    first = statistics.fmean(row["heights"]["W0"][0] for row in rows)
    assert numbers["first"][1] == near(first)
    assert numbers["r90"]["noise"] == near(statistics.fmean(row["noise"] for row in rows))


def test_classes_taught_draws_every_run():
    fig, numbers = figures.classes_taught()
    rows = results("taught")["rows"]
    assert numbers["mean"]["tuned"][1] == near(statistics.fmean(row["tuned"][1] for row in rows))
    for line, row in zip(fig.axes[0].lines, rows, strict=False):
        assert list(line.get_ydata()) == row["pretraining"]
    band = fig.axes[0].collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == (min(numbers["classes"]) - 1, max(numbers["classes"]))


def test_cut_or_trained_takes_what_validation_chose_and_for_a_cut_what_suits_it_best():
    _, numbers = figures.cut_or_trained()
    chosen = float(results("turned_tuning")["chosen"]["full"])
    assert numbers["full"] == near(mean("turned", "full", chosen))
    full = [row for row in results("turned")["rows"] if row["method"] == "full"]
    for words, key in (("cut", "cut"), ("cut by outputs", "cut_by_outputs")):
        rates = {row["lr"] for row in full}
        cuts = [np.mean([r[key] for r in full if r["lr"] == lr], axis=0) for lr in rates]
        assert numbers["mean"][words] == near(list(np.max(cuts, axis=0)))
    search = results("turned_tuning")["search"]
    best = max((np.mean(v), m, float(lr)) for m in search if m.startswith("r=16 ")
               for lr, v in search[m].items())  # fmt: skip
    assert numbers["mean"]["LoRA"][-1] == near(mean("turned", best[1], best[2]))
    assert figures.best_way(1) == "LoRA"


def test_the_frontier_has_a_mark_for_each_rate():
    _, numbers = figures.learning_and_forgetting()
    rates = results("turned")["arguments"]["rates"]
    assert len(numbers["curves"]["full"]) == len(rates["full"])
    assert numbers["curves"]["full"][0] == near(
        [mean("turned", "full", rates["full"][0], key) for key in ("test", "upright")]
    )
    assert numbers["kept"]["full"] == max(kept for _, kept in numbers["curves"]["full"])


def test_the_maps_are_of_the_choosing_runs():
    fig, numbers = figures.alpha_and_rate()
    assert (
        numbers["best"]["r=16"]
        >= numbers["usual"]["r=16"]
        == near(
            max(
                mean("inverted_tuning", "r=16 alpha=16", float(lr), "validation")
                for lr in numbers["rates"]
            )
        )
    )
    (image,) = fig.axes[1].images
    at_4 = mean("inverted_tuning", "r=4 alpha=16", 0.003, "validation")
    assert image.get_array()[1, numbers["rates"].index("0.003")] == near(at_4)


def test_the_table_of_evidence_is_a_paired_t_test_with_holms_correction():
    rows = {name: rest for name, *rest in figures.evidence()}
    rank_one = float(results("turned_tuning")["chosen"]["r=1 alpha=1"])
    full = figures.at("turned", "full", float(results("turned_tuning")["chosen"]["full"]))
    test = ttest_rel(full, figures.at("turned", "r=1 alpha=1", rank_one))
    low, high = test.confidence_interval()
    gap, *interval, _ = rows["turned: full - LoRA r=1"]
    assert interval == pytest.approx([low, high])
    assert low < gap < high
    raw = sorted(ttest_rel(gaps, 0 * gaps).pvalue for gaps in figures.gaps().values())
    by_hand, last = [], 0.0
    for place, value in enumerate(raw):
        last = max(last, min(1.0, value * (len(raw) - place)))
        by_hand.append(last)
    assert sorted(p for *_, p in rows.values()) == pytest.approx(by_hand)


def test_one_change_at_a_time_is_a_mean_of_all_runs():
    found = figures.changed()
    rows = results("one_change")["rows"]
    assert found["turn: 90"] == near(statistics.fmean(row["turn"][2] for row in rows))
    assert found["nothing"] == found["turn: 45"] == found["passes: 30"] == found["rate: 0.001"]


def test_what_was_not_tuned_and_too_many_matrices_are_refused():
    with pytest.raises(ValueError, match="by_heart was tuned for no 'width=1 r=1'; it was for w"):
        figures.capacity("width=1 r=1")
    with pytest.raises(ValueError, match="one to three, got 4"):
        figures.heights_of_the_update({str(i): np.eye(2) for i in range(4)})
    assert len(figures.heights_of_the_update({"one": np.eye(2)})[0].axes[0].lines) == 2
    still = figures.heights_of_the_update.numbers({"nothing has moved": np.zeros((2, 2))})
    assert still["heights"] == {"nothing has moved": [0.0, 0.0]}
