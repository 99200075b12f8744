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
    found = statistics.fmean(r[key] for r in rows if (r["method"], r["lr"]) == (method, lr))
    return pytest.approx(found, abs=6e-4)


def test_the_heights_of_matrices_are_shares_of_their_norm():
    matrices = {"one": np.diag([3.0, 4.0]), "two": np.ones((2, 2)), "three": np.eye(2)}
    fig, numbers = figures.heights_of_the_update(matrices)
    assert numbers["r90"] == {"one": 2, "two": 1, "three": 2}
    drawn = [list(line.get_ydata()) for line in fig.axes[0].lines][::2]
    for heights, expected in zip(drawn, ([0.8, 0.6], [1.0, 0.0], [0.5**0.5] * 2), strict=True):
        assert heights == pytest.approx(expected, abs=1e-8)
    still = figures.heights_of_the_update.numbers({"nothing has moved": np.zeros((2, 2))})
    assert still["heights"] == {"nothing has moved": [0.0, 0.0]}


def test_cut_or_trained_takes_what_validation_chose_and_for_a_cut_what_suits_it_best():
    numbers = figures.cut_or_trained.numbers()
    tuning = results("turned_tuning")
    assert numbers["full"] == mean("turned", "full", float(tuning["chosen"]["full"]))
    tried = []
    for method in tuning["search"]:
        for lr, found in tuning["search"][method].items():
            if method.startswith("r=16 "):
                tried.append((np.mean(found), method, float(lr)))
    assert numbers["mean"]["LoRA"][-1] == mean("turned", *max(tried)[1:])
    rows = [row for row in results("turned")["rows"] if row["method"] == "full"]
    for words, key in (("cut", "cut"), ("cut by outputs", "cut_by_outputs")):
        rates = {row["lr"] for row in rows}
        cuts = [np.mean([r[key] for r in rows if r["lr"] == lr], axis=0) for lr in rates]
        assert numbers["mean"][words] == pytest.approx(np.max(cuts, axis=0), abs=6e-4)
    assert [figures.best_way(r) for r in (1, 16)] == ["LoRA", "cut by outputs"]


def test_the_table_of_evidence_is_a_paired_t_test_with_holms_correction():
    rows = {name: rest for name, *rest in figures.evidence()}
    chosen = results("turned_tuning")["chosen"]
    full = figures.at("turned", "full", float(chosen["full"]))
    test = ttest_rel(full, figures.at("turned", "r=1 alpha=1", float(chosen["r=1 alpha=1"])))
    gap, low, high, _ = rows["turned: full - LoRA r=1"]
    assert (low, high) == pytest.approx(test.confidence_interval())
    assert low < gap < high
    raw = sorted(ttest_rel(gaps, 0 * gaps).pvalue for gaps in figures.gaps().values())
    steps = [min(1.0, value * (len(raw) - place)) for place, value in enumerate(raw)]
    assert sorted(p for *_, p in rows.values()) == pytest.approx(np.maximum.accumulate(steps))


@pytest.mark.parametrize(
    ("asked", "given", "message"),
    [
        ("capacity", "width=1 r=1", "by_heart was tuned for no 'width=1 r=1'; it was for width="),
        ("heights_of_the_update", dict.fromkeys("abcd", np.eye(2)), "one to three, got 4"),
        ("heights_of_the_update", {}, "one to three, got 0"),
    ],
)
def test_what_was_not_tuned_and_too_many_matrices_are_refused(asked, given, message):
    with pytest.raises(ValueError, match=message):
        getattr(figures, asked)(given)
