"""Each claim that the lesson makes of its records, held against the single seeds.

"Ahead" is the word of the lesson: the mean of the paired differences over the seeds exceeds what
is claimed by more than two standard errors (`experiments.ahead`). A claim about every seed is
tested on every seed. Beside each stands the id of the cell that makes it.
"""

import numpy as np
import pytest
from builder.source import read_source, sources

from lora_edu.course.experiments import ahead, per_seed, results
from lora_edu.course.intrinsic import intrinsic_dimension

LORA = [method for method in results("rotated")["runs"] if method.startswith("r=")]
CUTS = results("rotated")["arguments"]["cuts"]
DIMENSIONS = (32, 64, 128, 192, 256)


def of(task, method, key="test"):
    return per_seed(results(task), method, key)


def cut(task, k):
    """Full fine-tuning's update, truncated: test accuracy, one a seed."""
    return of(task, "full", "truncated")[:, CUTS.index(k)]


def all_ahead(pairs, by=0.0):
    return all(ahead(better, worse, by) for better, worse in pairs)


def behind(method):
    """By how much LoRA is behind full fine-tuning on turned digits, seed by seed."""
    return of("rotated", "full") - of("rotated", method)


def first_checks(method):
    """What had been learned by heart after 100 passes."""
    return [run["curve"][0] for run in results("shuffled")["runs"][method]]


def last_gains(method):
    """What the last three checks, 300 passes, brought."""
    curves = [run["curve"] for run in results("shuffled")["runs"][method]]
    return [max(curve) - max(curve[:-3]) for curve in curves]


def dimensions(kind):
    """The intrinsic dimension in each seed."""
    baseline = of("intrinsic", "all")
    scores = {d: of("intrinsic", f"{kind} d={d}") for d in DIMENSIONS}
    return [
        intrinsic_dimension(lambda d, seed=seed: scores[d][seed], DIMENSIONS, whole)
        for seed, whole in enumerate(baseline)
    ]


CLAIMS = {
    # -- 2 · cut, or trained
    ("accuracy-why", "up to rank 8 training beats cutting"): lambda: all_ahead(
        (of("rotated", f"r={r}"), cut("rotated", r)) for r in (1, 2, 4, 8)
    ),
    ("accuracy-text", "at 16 the cut update has reached LoRA"): lambda: (
        not ahead(of("rotated", "r=16"), cut("rotated", 16))
    ),
    ("accuracy-text", "the cut update starts near the bottom"): lambda: ahead(
        [0.3] * 5, cut("rotated", 1)
    ),
    ("accuracy-why", "LoRA of rank 1 goes most of the way"): lambda: ahead(
        of("rotated", "r=1") - of("rotated", "full", "before"),
        behind("r=1"),
        by=0.5,
    ),
    ("accuracy-why", "cut to 16 it loses nothing: less than 0.01"): lambda: ahead(
        cut("rotated", 16), of("rotated", "full"), by=-0.01
    ),
    ("accuracy-why", "at rank 1 and 2 LoRA is behind in every seed"): lambda: (
        min(*behind("r=1"), *behind("r=2")) > 0
        and all_ahead((of("rotated", "full"), of("rotated", m)) for m in ("r=1", "r=2"))
    ),
    ("accuracy-why", "from 4 on the gap is below 0.03"): lambda: all(
        0 < behind(m).mean() < 0.03 and behind(m).max() < 0.08 for m in LORA[2:]
    ),
    ("accuracy-why", "no method keeps half of the upright digits"): lambda: all_ahead(
        (of("rotated", "full", "upright_before") / 2, of("rotated", m, "upright"))
        for m in ("full", *LORA)
    ),
    ("accuracy-why", "no LoRA keeps more than full fine-tuning"): lambda: (
        not any(ahead(of("rotated", m, "upright"), of("rotated", "full", "upright")) for m in LORA)
    ),
    ("accuracy-why", "at 8 and 16 it keeps less"): lambda: all_ahead(
        (of("rotated", "full", "upright"), of("rotated", m, "upright")) for m in ("r=8", "r=16")
    ),
    # -- 3 · controls
    ("spectrum-text", "noise, W0, full, pretraining, LoRA: each longer than the next"): lambda: (
        all_ahead(
            (of("rotated", "full", a), of("rotated", "full", b))
            for a, b in (("r90_noise", "r90_W0"), ("r90_W0", "r90"), ("r90", "r90_pretraining"))
        )
        and ahead(of("rotated", "full", "r90_pretraining"), of("rotated", "r=16", "r90"))
    ),
    ("spectrum-text", "the update is far shorter than W0: less than a third"): lambda: ahead(
        of("rotated", "full", "r90_W0") / 3, of("rotated", "full", "r90")
    ),
    ("pretraining-why", "LoRA of rank 16 puts 90 % into fewer than 8"): lambda: (
        max(of("rotated", "r=16", "r90")) < 8
    ),
    ("shuffled-why", "rank 16 learns every label in every seed, as full does"): lambda: (
        min(of("shuffled", "r=16", "train")) == min(of("shuffled", "full", "train")) == 1
    ),
    ("shuffled-why", "rank 4 learns most of the labels: above 0.7 in every seed"): lambda: (
        min(of("shuffled", "r=4", "train")) > 0.7
    ),
    ("shuffled-why", "rank 1 gets stuck near 0.3: less than 0.4 in every seed"): lambda: (
        max(of("shuffled", "r=1", "train")) < 0.4
        and abs(of("shuffled", "r=1", "train").mean() - 0.3) < 0.03
    ),
    ("shuffled-why", "stuck: its last 300 passes, of at most 1,500, hardly gain"): lambda: (
        ahead([0.02] * 5, last_gains("r=1")) and max(of("shuffled", "r=1", "passes")) <= 1500
    ),
    ("shuffled-why", "rank 16 after 100 passes is not ahead of rank 1 in the end"): lambda: (
        not ahead(first_checks("r=16"), of("shuffled", "r=1", "train"))
    ),
    ("shuffled-why", "half as many directions again as with the right labels"): lambda: (
        ahead(of("shuffled", "full", "r90"), 1.3 * of("shuffled", "full", "r90_right"))
        and 1.4
        < of("shuffled", "full", "r90").mean() / of("shuffled", "full", "r90_right").mean()
        < 1.65
    ),
    ("shuffled-why", "in every seed"): lambda: (
        min(of("shuffled", "full", "r90") - of("shuffled", "full", "r90_right")) > 0
    ),
    ("controls-figure-text", "inverted, 30 passes: full is ahead of every rank"): lambda: all_ahead(
        (of("inverted", "full"), of("inverted", m)) for m in LORA
    ),
    ("inverted-why", "the records that it compares have 30 passes, and 150"): lambda: (
        results("inverted")["arguments"]["training"]["epochs"] == 30
        and results("patient")["arguments"]["training"]["epochs"] == 150
    ),
    ("inverted-why", "the full update is of low rank: 90 % in fewer than 15, every seed"): lambda: (
        max(of("inverted", "full", "r90")) < 15
    ),
    ("inverted-why", "and cut to rank 16 it reads 97 %: less than 0.01 is lost"): lambda: (
        ahead(cut("inverted", 16), of("inverted", "full"), by=-0.01)
        and round(cut("inverted", 16).mean(), 2) == 0.97
    ),
    ("controls-why", "150 passes are better than 30 by more than 0.1"): lambda: all_ahead(
        ((of("patient", m), of("inverted", m)) for m in ("r=1", "r=4", "r=16")), by=0.1
    ),
    ("controls-why", "at rank 16 it has caught up: to less than 0.02"): lambda: ahead(
        of("patient", "r=16"), of("inverted", "full"), by=-0.02
    ),
    ("controls-why", "at rank 1 a gap of more than 0.2 stays"): lambda: ahead(
        of("inverted", "full"), of("patient", "r=1"), by=0.2
    ),
    # -- Going further
    ("dimension-text", "both curves cross the line of 90 % between 64 and 256, in every seed"): (
        lambda: all(64 < d <= 256 for kind in ("sparse", "dense") for d in dimensions(kind))
    ),
    ("dimension-text", "the two rise together: nowhere more than 0.06 apart"): lambda: all(
        abs(of("intrinsic", f"sparse d={d}").mean() - of("intrinsic", f"dense d={d}").mean()) < 0.06
        for d in DIMENSIONS
    ),
    ("dimension-why", "about two in a hundred: 1 to 3"): lambda: all(
        0.01 < d / 8970 < 0.03 for kind in ("sparse", "dense") for d in dimensions(kind)
    ),
    ("two-ideas", "r = 1 trains more numbers than the intrinsic dimension"): lambda: (
        max(*dimensions("sparse"), *dimensions("dense")) < 64 + 64 + 64 + 64 + 64 + 10
    ),
}


def test_the_two_recordings_part_where_the_rate_is_large():
    """Cell ``ahead-text``: at a small rate nothing that one can see."""
    first, again = (results("rotated", again=again)["search"] for again in (False, True))
    for method, scores in first.items():
        apart = [np.abs(np.subtract(scores[lr], again[method][lr])).mean() for lr in scores]
        assert apart[0] <= 1 / 400  # of the rates, the smallest: a sample of 400
        assert apart[-1] > 0.01


@pytest.mark.usefixtures("recording")
@pytest.mark.parametrize("claim", CLAIMS, ids=": ".join)
def test_the_record_carries(claim):
    assert CLAIMS[claim]()


def test_each_claim_stands_in_a_cell_of_the_lesson():
    (path,) = sources(["intrinsic_rank"])
    ids = {cell.id for cell in read_source(path).cells}
    assert {cell for cell, _ in CLAIMS} <= ids
