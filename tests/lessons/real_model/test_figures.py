"""The figures and the table of evidence, from the rows of the records by other ways."""

import statistics

import numpy as np
import pytest
import torch
from lessons.real_model import cases

from lora_edu.course.experiments import read
from lora_edu.course.real_model import checks, figures

RATES = read("minilm")["arguments"]["rates"]


def values(key, method, lr):
    """Return a column of a setting by seed, from the record itself."""
    rows = read("minilm")["rows"]
    return {r["seed"]: r[key] for r in rows if (r["method"], r["lr"]) == (method, lr)}


def mean(key, method, lr):
    return statistics.fmean(values(key, method, lr).values())


def best(method):
    """Return the rate with the best mean validation."""
    return max(RATES[method], key=lambda lr: mean("validation", method, lr))


def gaps(key, one, other):
    """Return by how much a setting is above another, seed by seed."""
    first, second = values(key, *one), values(key, *other)
    return [first[seed] - second[seed] for seed in first]


@pytest.mark.parametrize("method", RATES)
def test_the_best_rate_is_that_on_validation(method):
    assert figures.chosen(method) == best(method)


def test_who_chose_does_not_report():
    seeds = [{row["seed"] for row in read(name)["rows"]} for name in ("minilm_tuning", "minilm")]
    assert seeds[0].isdisjoint(seeds[1])
    assert len(seeds[1]) >= 8


@pytest.mark.parametrize("part", ["test", "validation"])
def test_the_map_is_of_gaps_to_the_head_alone(part):
    own = [(0.03, -0.01), (0.05, 0.0)]
    fig, numbers = figures.real_frontier(part, own)
    head = "head", best("head")
    for method, curve in numbers["curves"].items():
        for lr, found in zip(RATES[method], curve, strict=True):
            each = [gaps(key, (method, lr), head) for key in (part, "neighbours")]
            assert found == pytest.approx(np.mean(each, axis=1), abs=6e-5)
        assert numbers["best"][method] == curve[RATES[method].index(best(method))]
    for ax in fig.axes:
        stars = [line.get_xydata()[0] for line in ax.lines if line.get_marker() == "*"]
        assert np.array_equal(stars, own)
        assert len({line.get_label() for line in ax.lines} & {"LoRA, r=8", "trained fully"}) == 2


@pytest.mark.parametrize("own", [(0.1, 0.2), [0.1], [(0.1, "low")], [(0.1,)], 3])
def test_dots_that_are_no_pairs_and_other_parts_are_refused(own):
    with pytest.raises(ValueError, match=r"own must be a list of pairs \(learned, kept\), got "):
        figures.real_frontier("test", own)
    with pytest.raises(ValueError, match="part must be one of test, validation, got 'tset'"):
        figures.real_frontier("tset", own)


def test_a_dot_is_beaten_by_what_is_better_in_both():
    names, learned, kept = figures.means("validation")
    assert figures.better(1.0, -1.0) == []
    assert figures.better(-1.0, -1.0) == list(names)
    place = int(np.argmax(learned))
    for off, expected in {0.0: [], 1e-6: [names[place]]}.items():
        assert figures.better(learned[place] - off, kept[place] - off) == expected
    assert list(figures.on_frontier(learned, kept)) == list(cases.frontier(learned, kept))


@pytest.mark.parametrize("pair", figures.PAIRS)
def test_gaps_are_taken_seed_by_seed_at_a_rate_that_fits(pair):
    full, small = figures.PAIRS[pair]
    found = figures.gaps()
    expected = gaps("test", (full, best(full)), (small, best(small)))
    assert found[figures.QUESTIONS[0], pair] == pytest.approx(expected)
    looked_at = (("neighbours", "test"), ("validation", "neighbours"))
    for question, (key, told) in zip(figures.QUESTIONS[2:], looked_at, strict=True):
        goal = mean(key, small, best(small))
        off = {abs(mean(key, full, lr) - goal): lr for lr in RATES[full] if lr <= best(full)}
        assert ((question, pair) in found) == (min(off) < 0.02)
        if min(off) < 0.02:
            expected = gaps(told, (full, off[min(off)]), (small, best(small)))
            assert found[question, pair] == pytest.approx(expected)


def test_other_right_answers(capsys):
    def neighbours_by_loop(e, y):
        hits = 0
        for i, one in enumerate(e):
            cosines = [one @ o / (np.linalg.norm(one) * np.linalg.norm(o)) for o in e]
            best = max((c, j) for j, c in enumerate(cosines) if j != i)[1]
            hits += y[best] == y[i]
        return hits / len(e)

    def neighbours_in_torch(e, y):
        unit = e / e.norm(dim=1, keepdim=True)
        cosines = (unit @ unit.T).fill_diagonal_(-torch.inf)
        return (y[cosines.argmax(dim=1)] == y).double().mean()

    checks.check_neighbours(neighbours_by_loop)
    checks.check_neighbours(neighbours_in_torch)
    assert capsys.readouterr().out.count("OK") == 2
