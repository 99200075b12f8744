"""What the lesson says of its records, seed by seed: no claim may rest on a mean alone."""

import numpy as np
import pytest

from lora_edu.course.experiments import ahead, results
from lora_edu.course.ledger import ledger
from lora_edu.course.minilm import MODULES
from lora_edu.course.real_model import figures

RECORD, SUBSPACES = results("minilm"), results("subspaces")
LORA = [method for method in RECORD["runs"] if method.startswith("r=")]


def each(key, method):
    """Return what the runs of a method hold, the seeds along the first axis."""
    return np.array([run[key] for run in RECORD["runs"][method]])


def test_no_chosen_rate_is_at_an_edge_of_its_grid():
    for method, rates in RECORD["arguments"]["rates"].items():
        assert min(rates) < RECORD["chosen"][method] < max(rates), method


@pytest.mark.parametrize("method", LORA)
def test_lora_learns_more_than_the_head_and_keeps_more_than_full(method):
    assert (each("test", method) > each("test", "head") + 0.005).all()
    assert (each("neighbours", method) > each("neighbours", "full") + 0.02).all()
    assert (each("neighbours", method) <= each("neighbours", "head")).all()


def test_full_fine_tuning_is_ahead_on_validation_and_hardly_on_the_newer_test():
    for method in ("r=4", "r=8", "r=64"):
        gaps = {k: each(k, "full") - each(k, method) for k in ("validation", "test")}
        assert gaps["validation"].min() > 0.015
        assert -0.005 < gaps["test"].mean() < 0.02
        assert gaps["test"].mean() < gaps["validation"].mean()
        assert ahead(each("validation", "full"), each("validation", method))
        assert ahead(each("test", "full"), each("test", method)) == (method == "r=64")


def test_from_r_4_on_the_rate_matters_more_than_the_rank():
    methods = ("r=4", "r=8", "r=64")
    tests = [each("test", method).mean() for method in methods]
    assert max(tests) - min(tests) < 0.011 < min(tests) - each("test", "r=1").mean()
    best = [each("validation", method).mean() for method in methods]
    for method in methods:
        by_rate = [np.mean(values) for values in RECORD["search"][method].values()]
        assert max(by_rate) - min(by_rate) > max(best) - min(best)


def test_ranks_of_the_updates():
    full, W0 = each("r90", "full"), each("r90_W0", "full")
    assert (full < 0.6 * W0).all()
    assert (full.max(axis=1) < each("r90_noise", "full").min(axis=1)).all()
    assert ((full <= 8).sum(axis=1) == 1).all()
    assert (full[:, 6:] < full[:, :6]).all()
    square = [i for i, name in enumerate(MODULES) if "attention" in name]
    fuller = [i for i in square if W0[0, i] > each("r90_noise", "full")[:, 0].max()]
    assert [MODULES[i] for i in fuller] == ["bert.encoder.layer.5.attention.output.dense"]
    assert (full.mean(0) > 16).sum() == 8
    assert each("r90", "r=64").max() <= 4
    cut = dict(zip(RECORD["arguments"]["cuts"], each("truncated", "full").T, strict=True))
    whole = each("validation", "full")
    assert (cut[16] > whole - 0.03).all()
    assert (cut[4] < whole - 0.05).all()
    assert (cut[0] < each("validation", "head") - 0.1).all()


def test_subspaces():
    phi = {m: np.array([run["phi"] for run in SUBSPACES["runs"][m]]) for m in ("different", "same")}
    top = phi["different"][..., 0, 0]  # (seeds, matrices)
    assert (top.min(), top.max()) == (
        pytest.approx(0.24, abs=0.005),
        pytest.approx(0.81, abs=0.005),
    )
    assert (top > 0.5).sum() == 7
    assert np.argwhere(top < 0.25).tolist() == [[2, 1], [2, 3]]
    assert phi["different"][2, 3, 1, 1] > 0.7  # the same pair of directions, in another order
    assert (phi["different"][..., -1, -1] > 64 / 384).all()
    assert (phi["same"][..., 0, 0].mean(0) > top.mean(0) + 0.1).all()
    start = np.array([run["phi_start"] for run in SUBSPACES["runs"]["same"]])
    assert (start[:, 0] > 0.999).all()  # of the first matrix drawn, and of no other
    assert (start[:, 1:] < 0.2).all()


def test_table_7():
    derived = {e.id: e for e in ledger()}["A.T7.ampl"].quantities
    printed = [delta / own for delta, own in figures.TABLE_7.values()]
    assert [float(q.derived) for q in derived] == pytest.approx(printed)
    W, d = figures.TABLE_7_W, figures.TABLE_7_WIDTH
    random = {e.id: e for e in ledger()}["A.T7.values"].quantities
    assert [float(q.derived) for q in random] == pytest.approx([W * r / d for r in (4, 64)])
    norms = np.array(SUBSPACES["runs"]["same"][0]["norm_W0"])
    for (r, (_, own)), paper in zip(figures.TABLE_7.items(), printed, strict=True):
        factor = each("amplification", f"r={r}")
        assert np.median(factor) == pytest.approx(paper, rel=0.3)
        of_random = each("norm", f"r={r}") / factor / (norms * r / 384)
        assert np.median(of_random) < 2 < 5 < own / (W * r / d)


def test_at_rank_1_the_upper_layer_picks_a_direction_that_is_strong_in_the_weight():
    norms = np.array(SUBSPACES["runs"]["same"][0]["norm_W0"])
    of_random = each("norm", "r=1") / each("amplification", "r=1") / (norms / 384)  # (seeds, 4)
    assert of_random[:, 2:].min() > 3 > of_random[:, :2].max()


def test_intruders():
    full = each("intruders", "full")
    assert (full[:, 0] == 0).all()
    for method in LORA:
        assert (each("intruders", method) > full.max(axis=0)).all()
    r_8 = each("intruders", "r=8").mean(0)
    at = RECORD["arguments"]["epsilons"].index
    assert r_8[at(0.8)] > 2 * r_8[at(0.5)]
