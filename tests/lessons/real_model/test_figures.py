"""The figures and the table of evidence: what they show is what the records hold."""

import statistics

import numpy as np
import pytest
from lessons.real_model import cases

from lora_edu.course.experiments import read
from lora_edu.course.minilm import MODULES, QUERY_VALUE
from lora_edu.course.real_model import checks, figures

RATES = read("minilm")["arguments"]["rates"]


def rows(name, method, lr):
    """Return the rows of a setting by seed, from the record itself."""
    all_rows = read(name)["rows"]
    return {r["seed"]: r for r in all_rows if (r["method"], r["lr"]) == (method, lr)}


def best(method):
    """Return the rate with the best mean validation."""

    def mean(lr):
        return statistics.fmean(r["validation"] for r in rows("minilm", method, lr).values())

    return max(RATES[method], key=mean)


@pytest.mark.parametrize("method", RATES)
def test_the_best_rate_is_that_on_validation(method):
    assert figures.chosen(method) == best(method)
    first, reported = (
        {row["seed"] for row in read(name)["rows"]} for name in ("minilm_tuning", "minilm")
    )
    assert len(reported) >= 8
    assert not first & reported


@pytest.mark.parametrize("part", ["test", "validation"])
def test_the_map_is_drawn_seed_by_seed_against_the_head_alone(part):
    own = [(0.03, -0.01), (0.05, 0.0)]
    fig, numbers = figures.real_frontier(part, own)
    head = rows("minilm", "head", best("head"))
    for method, curve in numbers["curves"].items():
        assert "passes" not in method
        for lr, (learned, kept) in zip(RATES[method], curve, strict=True):
            runs = rows("minilm", method, lr)
            gaps = [runs[s][part] - head[s][part] for s in head]
            assert learned == pytest.approx(statistics.fmean(gaps), abs=6e-5)
            gaps = [runs[s]["neighbours"] - head[s]["neighbours"] for s in head]
            assert kept == pytest.approx(statistics.fmean(gaps), abs=6e-5)
    drawn = {}
    for ax in fig.axes:
        stars = [line for line in ax.lines if line.get_marker() == "*"]
        assert [(float(s.get_xdata()[0]), float(s.get_ydata()[0])) for s in stars] == own
        for line in ax.lines:
            if line.get_markersize() == 3:
                drawn[ax, line.get_color()] = line.get_xdata()
    expected = [
        run[part] - head[s][part]
        for lr in RATES["LoRA all r=8"]
        for s, run in rows("minilm", "LoRA all r=8", lr).items()
    ]
    assert list(drawn[fig.axes[1], figures.BLUE]) == pytest.approx(expected)


@pytest.mark.parametrize("own", [(0.1, 0.2), [0.1], [(0.1, "low")], [(0.1,)], 3])
def test_dots_that_are_no_pairs(own):
    with pytest.raises(ValueError, match=r"own must be a list of pairs \(learned, kept\), got "):
        figures.real_frontier("test", own)


def test_another_part():
    with pytest.raises(ValueError, match="part must be 'test' or 'validation', got 'tset'"):
        figures.real_frontier("tset")


def test_a_dot_is_beaten_by_what_is_better_in_both():
    names, learned, kept = figures.means("validation")
    assert figures.better(1.0, -1.0) == []
    assert set(figures.better(-1.0, -1.0)) == set(names)
    place = int(np.argmax(learned))
    assert names[place] not in figures.better(learned[place], kept[place])
    assert figures.better(learned[place] - 1e-6, kept[place] - 1e-6)[0:] == [names[place]]
    assert list(figures.on_frontier(learned, kept)) == list(cases.frontier(learned, kept))


def test_the_gaps_are_taken_seed_by_seed():
    gaps, table = figures.gaps(), figures.compared()
    full, lora = (rows("minilm", m, best(m)) for m in ("full q,v", "LoRA q,v r=64"))
    expected = [full[s]["test"] - lora[s]["test"] for s in full]
    key = "at the best rate of each: learned", "q and v, rank 64"
    assert gaps[key] == pytest.approx(expected)
    assert list(table) == list(gaps)
    gap, low, high, p = table[key]
    assert low < gap < high
    assert gap == pytest.approx(statistics.fmean(expected))
    assert 0 <= p <= 1


def test_a_pair_without_a_rate_that_fits_is_not_compared():
    pairs = [
        words for words, pair in figures.PAIRS.items() if figures.as_much(*pair[::-1], "validation")
    ]
    told = [pair for question, pair in figures.gaps() if question == figures.QUESTIONS[3]]
    assert told == pairs
    assert 0 < len(told) < len(figures.PAIRS)


def test_the_runs_drawn_anew():
    assert 0.3 < figures.redrawn(200) < 0.5  # of the map itself none is LoRA's
    names, *both = figures.means()
    assert not any(name.startswith("LoRA") for name in names[figures.on_frontier(*both)])


def test_what_else_was_tried_is_told_of_the_choosing_seeds():
    found = {(method, lr): rest for method, lr, *rest in figures.tried()}
    slow = "LoRA q,v r=8, slow head"
    (lr,) = read("minilm_tuning")["arguments"]["rates"][slow]
    head = rows("minilm_tuning", "head", best("head"))
    for method in (slow, "LoRA q,v r=8"):
        runs = rows("minilm_tuning", method, lr)
        share, change = found[method, lr]
        assert share == pytest.approx(statistics.fmean(r["validation"] for r in runs.values()))
        kept = [runs[s]["neighbours"] - head[s]["neighbours"] for s in runs]
        assert change == pytest.approx(statistics.fmean(kept))


@pytest.mark.parametrize("key", ["validation", "neighbours"])
@pytest.mark.parametrize(("full", "small"), figures.PAIRS.values())
def test_as_much_is_nearest_up_to_the_best_rate(full, small, key):
    def mean(method, lr):
        return statistics.fmean(r[key] for r in rows("minilm", method, lr).values())

    goal = mean(small, best(small))
    rates = [lr for lr in RATES[full] if lr <= best(full)]
    nearest = min(rates, key=lambda lr: abs(mean(full, lr) - goal))
    near = abs(mean(full, nearest) - goal) < 0.02
    assert figures.as_much(small, full, key) == (nearest if near else None)


def test_the_spectra_and_the_counts_are_those_of_the_record():
    fig, numbers = figures.real_spectra()
    runs = rows("minilm_updates", "full", best("full"))
    assert numbers["update"] == pytest.approx(
        np.mean([r["r90"] for r in runs.values()], axis=0), abs=0.06
    )
    assert len(fig.axes) == len(MODULES)
    for ax, height in zip(
        fig.axes, np.mean([r["heights"] for r in runs.values()], axis=0), strict=True
    ):
        assert list(ax.lines[1].get_ydata()) == pytest.approx(list(height))
    assert len(numbers["lora"]) == len(QUERY_VALUE)


def test_the_cut_update_is_that_of_the_record():
    _, numbers = figures.real_cut()
    runs = rows("minilm_updates", "full", best("full"))
    for way in figures.WAYS:
        means = np.mean([r[way] for r in runs.values()], axis=0)
        assert numbers["mean"][way] == pytest.approx(means, abs=6e-4)
    for k, kept in zip(numbers["cuts"], numbers["mean"]["cut"], strict=True):
        near = abs(kept - numbers["full"]) < abs(kept - numbers["head"])
        assert figures.left_of_the_update(k) == ("all" if near else "head")


def test_the_size_of_each_update_that_trained_is_recorded():
    of = {"head": 0, "full": 12, "full q,v": 4, "LoRA q,v r=8": 4, "LoRA all r=64": 12}
    for method, count in of.items():
        sizes = rows("minilm", method, best(method))[0].get("sizes", [])
        assert len(sizes) == count
        assert all(0 < size < 2 for size in sizes)
    means = np.mean([r["sizes"] for r in rows("minilm", "full q,v", best("full q,v")).values()], 0)
    assert figures.sizes("full q,v") == [round(100 * min(means)), round(100 * max(means))]


def test_other_right_answers(capsys):
    checks.check_neighbours(cases.neighbours_by_loop)
    checks.check_neighbours(cases.neighbours_in_torch)
    checks.check_frontier(cases.frontier_by_sorting)
    assert capsys.readouterr().out.count("OK") == 3
