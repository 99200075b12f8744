"""The records of the long runs: how they are made, whether they are fresh, what they carry."""

import inspect
import json
import linecache
import runpy
import statistics

import numpy as np
import pytest
from scipy import stats

from lora_edu.cli import main
from lora_edu.course import experiments

NAMES = list(experiments.load())
REAL = {"minilm", "subspaces", "placement"}  # on real weights
WITH_RATES = [
    pytest.param(name, marks=[pytest.mark.assets] * (name in REAL))
    for name, entry in experiments.load().items()
    if entry.rates
]


@pytest.fixture
def tiny(monkeypatch):
    """A registry with one cheap experiment, and the list of its runs."""
    calls, state = [], {"fail_at": None}
    monkeypatch.setattr(experiments, "EXPERIMENTS", {})
    monkeypatch.setattr(experiments, "load", lambda: experiments.EXPERIMENTS)

    @experiments.experiment("tiny", {"a": (1.0, 2.0, 3.0), "b": (1.0,)})
    def tiny(method, lr, seed):
        if len(calls) == state["fail_at"]:
            raise KeyboardInterrupt
        calls.append((method, lr, seed))
        return {"validation": -abs(lr - 2) + seed, "test": 10 * lr + seed, "curve": [1, 2]}

    return calls, state


def test_the_rate_is_chosen_on_validation_and_only_its_test_is_kept(tiny, tmp_path):
    content = experiments.record("tiny", 3, tmp_path)
    assert content["chosen"] == {"a": 2.0, "b": 1.0}
    assert content["search"]["a"] == {"1": [-1, 0, 1], "2": [0, 1, 2], "3": [-1, 0, 1]}
    assert [run["test"] for run in content["runs"]["a"]] == [20, 21, 22]
    assert [run["seed"] for run in content["runs"]["a"]] == [0, 1, 2]
    assert content["mean"]["a"] == {"validation": 1, "test": 21}
    assert content["std"]["a"]["test"] == statistics.stdev([20, 21, 22])
    assert "test" not in json.dumps(content["search"])
    assert json.loads((tmp_path / "tiny.json").read_text()) == content
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.json"]


def test_a_measurement_is_made_once_and_recorded_as_it_is(tiny, tmp_path):
    calls = []

    @experiments.experiment("clock")
    def clock():
        calls.append(1)
        return {"machine": "this one", "seconds": [1.5, 2.5]}

    content = experiments.record("clock", 5, tmp_path)
    assert calls == [1]
    assert {k: content[k] for k in ("name", "machine", "seconds")} == {"name": "clock", **clock()}
    assert content["digest"] == experiments.EXPERIMENTS["clock"].digest
    assert content["versions"].keys() >= {"python", "torch"}
    assert json.loads((tmp_path / "clock.json").read_text()) == content
    assert [path.name for path in tmp_path.iterdir()] == ["clock.json"]


def test_it_goes_on_after_an_interruption(tiny, tmp_path):
    calls, state = tiny
    whole = experiments.record("tiny", 2, tmp_path / "whole")
    planned = list(calls)
    calls.clear()
    state["fail_at"] = 5
    with pytest.raises(KeyboardInterrupt):
        experiments.record("tiny", 2, tmp_path)
    assert not (tmp_path / "tiny.json").exists()
    part = tmp_path / "tiny.json.part"
    part.write_text(part.read_text() + '\n[["a", 2.0')  # cut off in the middle of a line
    state["fail_at"] = None
    assert experiments.record("tiny", 2, tmp_path) == whole
    assert calls == planned


def test_a_part_of_other_code_is_not_used(tiny, tmp_path):
    calls, _ = tiny
    old = ["a", 1.0, 0], {"validation": 99, "test": 99}
    (tmp_path / "tiny.json.part").write_text(f"0123456789abcdef\n{json.dumps(old)}\n")
    content = experiments.record("tiny", 2, tmp_path)
    assert content["chosen"]["a"] == 2.0
    assert calls[0] == ("a", 1.0, 0)


def described(lr):
    """Return what is asked for."""
    # A remark.
    return {"validation": lr}


def test_other_words_in_a_docstring_do_not_make_a_record_stale(tmp_path):
    """But any other change does, of a remark too."""

    def digest(old, new):
        path = tmp_path / "code.py"
        path.write_text(inspect.getsource(described).replace(old, new), encoding="utf-8")
        linecache.checkcache(str(path))
        namespace = runpy.run_path(str(path))
        return experiments.Experiment("x", namespace["described"], {}, ()).digest

    before = digest("", "")
    assert digest("what is asked for", "the same") == before
    assert len({before, digest("A remark", "Another"), digest("lr}", "-lr}")}) == 3


def test_bad_input_is_one_line_and_code_2(tmp_path, capsys):
    out = ["--out", str(tmp_path)]
    assert main(["experiments", "cold_fusion", *out]) == 2
    assert "no experiment is called 'cold_fusion'; there are " in capsys.readouterr().err
    assert main(["experiments", "rotated", "--seeds", "1", *out]) == 2
    assert "seeds must be at least 2, got 1" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"no record cold_fusion\.json"):
        experiments.results("cold_fusion")


def test_the_command_records(tiny, tmp_path, capsys):
    assert main(["experiments", "--seeds", "2", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == ["tiny", "recorded"]
    assert (tmp_path / "tiny.json").is_file()


def test_no_record_belongs_to_no_experiment():
    stems = {path.stem.removesuffix("_again") for path in experiments.RESULTS.glob("*.json")}
    assert stems == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_fresh_and_complete(name):
    entry, content = experiments.EXPERIMENTS[name], experiments.results(name)
    again = f"run `lora-edu experiments {name}`"
    assert content["digest"] == entry.digest, f"rates or code have changed: {again}"
    assert content["versions"].keys() >= {"python", "torch"}
    for method, rates in entry.rates.items():
        assert len(content["runs"][method]) == entry.seeds >= 3
        search = content["search"][method]
        best = max(search, key=lambda lr: sum(search[lr]))
        assert list(search) == [f"{lr:g}" for lr in rates]
        assert float(best) == content["chosen"][method]
        tests = [run["test"] for run in content["runs"][method]]
        assert content["mean"][method]["test"] == pytest.approx(statistics.fmean(tests), abs=1e-6)
        assert content["std"][method]["test"] == pytest.approx(statistics.stdev(tests), abs=1e-6)


AGAIN = [path.stem[:-6] for path in experiments.RESULTS.glob("*_again.json")]


@pytest.mark.parametrize("name", AGAIN)
def test_a_second_recording_is_of_the_same_runs(name):
    first, again = experiments.results(name), experiments.results(name, again=True)
    assert first["rates"] == again["rates"]
    assert first["search"] != again["search"]  # another processor, another rounding
    assert {m: len(runs) for m, runs in first["runs"].items()} == {
        m: len(runs) for m, runs in again["runs"].items()
    }


def test_there_are_second_recordings_and_not_of_everything():
    assert {"rotated", "variants_rotated"} <= set(AGAIN)
    with pytest.raises(ValueError, match=r"no record clock_again\.json"):
        experiments.results("clock", again=True)


# Rates that may stand at an end of their grid, each with its reason.
ONE_RATE = "a grid of one: the rate that lesson 07 chose for r = 8 and for r = 64"
AT_AN_EDGE = {("subspaces", "different"): ONE_RATE, ("subspaces", "same"): ONE_RATE}


@pytest.mark.parametrize("name", NAMES)
def test_no_chosen_rate_is_at_an_edge_of_its_grid(name):
    content = experiments.results(name)
    for method, lr in content.get("chosen", {}).items():
        inside = min(content["rates"][method]) < lr < max(content["rates"][method])
        assert inside != ((name, method) in AT_AN_EDGE), f"{name}, {method}: {lr}"


@pytest.mark.parametrize("by", [0, 0.05, -0.1])
def test_ahead_is_a_paired_test_at_two_standard_errors(by):
    rng = np.random.default_rng(0)
    answers = set()
    for _ in range(50):
        better, worse = rng.normal([[0.1], [0]], 0.1, (2, 5))
        t = stats.ttest_rel(better - by, worse).statistic
        assert experiments.ahead(better, worse, by) is bool(t > 2)
        answers.add(t > 2)
    assert answers == {True, False}


def test_ahead_of_a_bound_and_with_no_spread():
    assert experiments.ahead([0.8, 0.9, 0.8], 0.7)
    assert not experiments.ahead([0.8, 0.9, 0.3], 0.6)
    assert experiments.ahead([2, 2], [1, 1])
    assert not experiments.ahead([1, 1], [1, 1])


@pytest.mark.parametrize(("better", "worse"), [([1], [0]), ([1, 2], [1, 2, 3])])
def test_ahead_needs_pairs_of_two_seeds_or_more(better, worse):
    with pytest.raises(ValueError, match=r"one number a seed, two or more, got \("):
        experiments.ahead(better, worse)


def test_per_seed_keeps_the_order_of_the_seeds():
    content = {"runs": {"a": [{"test": 3, "curve": [1, 2]}, {"test": 1, "curve": [0, 5]}]}}
    assert experiments.per_seed(content, "a").tolist() == [3, 1]
    assert experiments.per_seed(content, "a", "curve").shape == (2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_RATES)
def test_one_seed_comes_out_as_recorded(name):
    content = experiments.results(name)
    for method, lr in content["chosen"].items():
        found, mean = experiments.EXPERIMENTS[name].run(method, lr, 1), content["mean"][method]
        for key, value in mean.items():
            grain = 1 if key.startswith("r90") else 0.01  # another CPU may round otherwise
            near = max(3 * content["std"][method][key], grain)
            assert abs(found[key] - value) <= near, f"{method}, {key}: {found[key]}, not {value}"
