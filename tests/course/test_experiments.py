"""The recorded runs: how they are made, when they are stale, what becomes of what differs."""

import csv
import hashlib
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from scipy import stats

from lora_edu.cli import main
from lora_edu.course import experiments

NAMES = list(experiments.load())
REAL = {
    "minilm",
    "minilm_tuning",
    "minilm_updates",
    "opened",
    "descendants_minilm",
    "descendants_minilm_tuning",
    "qr_voice",
    "qr_voice_tuning",
    "four_bits",
    "voice_rates",
    "frontier",
}  # on real weights
RATES = {"a": (1.0, 2.0, 3.0), "b": (1.0,)}


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A registry with one cheap experiment, an empty folder of records, and the runs made."""
    made = []
    monkeypatch.setattr(experiments, "EXPERIMENTS", {})
    monkeypatch.setattr(experiments, "load", lambda: experiments.EXPERIMENTS)
    monkeypatch.setattr(experiments, "RECORDS", tmp_path)

    @experiments.experiment(seeds=range(3))
    def tiny(method, lr, seed, *, rates=RATES, shift=0.0):
        made.append((method, lr, seed))
        value = 10 * lr + seed / 8
        return {"validation": -abs(lr - 2) + seed, "test": value, "curve": [1, shift]}

    return made


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def rows_of(folder):
    return experiments.read("tiny", folder)["rows"]


def test_a_twin_tunes_with_its_own_seeds_and_values(tiny):
    @experiments.experiment(seeds=range(2), tuning={"rates": RATES, "shift": 1.0}, choosing=(7, 8))
    def told(method, lr, seed, *, rates={"a": (2.0,)}, shift=0.0):  # noqa: B006
        return {"validation": seed, "shift": shift}

    twin = experiments.EXPERIMENTS["told_tuning"]
    assert twin.arguments == {"rates": {"a": [1, 2, 3], "b": [1]}, "shift": 1}
    assert experiments.EXPERIMENTS["told"].arguments == {"rates": {"a": [2]}, "shift": 0}
    assert twin.keys(twin.seeds)[-1] == ("b", 1.0, 8)
    experiments.record("told_tuning")
    assert {(row["seed"], row["shift"]) for row in experiments.read("told_tuning")["rows"]} == {
        (7, 1.0), (8, 1.0)
    }  # fmt: skip


# -- what a record holds ----------------------------------------------------------------------


def test_a_record_is_a_version_arguments_and_a_row_a_run(tiny, tmp_path):
    assert experiments.record("tiny") == []
    content = json.loads((tmp_path / "tiny.json").read_text())
    assert list(content) == ["name", "version", "arguments", "made", "rows"]
    assert content["arguments"] == {"rates": {"a": [1, 2, 3], "b": [1]}, "shift": 0}
    assert len(content["rows"]) == 3 * 4
    assert [row["seed"] for row in content["rows"]] == sorted([0, 1, 2] * 4)
    assert content["rows"][1] == {
        "method": "a", "lr": 2, "seed": 0, "validation": 0, "test": 20, "curve": [1, 0]
    }  # fmt: skip
    assert names(tmp_path) == ["tiny.json"]
    lines = (tmp_path / "tiny.json").read_text().splitlines()
    assert sum('"seed"' in line for line in lines) == 12  # a run a line: a diff shows which


def test_the_rate_is_chosen_on_validation_and_its_runs_are_reported(tiny):
    experiments.record("tiny")
    content = experiments.results("tiny")
    assert content["chosen"] == {"a": 2.0, "b": 1.0}
    assert content["search"]["a"] == {"1": [-1, 0, 1], "2": [0, 1, 2], "3": [-1, 0, 1]}
    assert [run["test"] for run in content["runs"]["a"]] == [20, 20.125, 20.25]
    assert [run["seed"] for run in content["runs"]["a"]] == [0, 1, 2]
    assert content["mean"]["a"] == {"validation": 1, "test": 20.125}
    assert content["std"]["a"]["test"] == statistics.stdev([20, 20.125, 20.25])
    assert [row["test"] for row in content["runs"]["b"]] == [10, 10.125, 10.25]


def test_of_equal_rates_the_first_is_chosen_that_was_run_in_full():
    """Added up by `sum`, one of these two is larger, with another Python the other."""
    shares = [0.1, 0.2, 0.3]
    rows = [{"validation": share, "test": share} for share in shares]
    assert experiments._best({1.0: rows, 2.0: rows[::-1]}) == 1.0
    assert experiments._best({1.0: rows[::-1], 2.0: rows}) == 1.0
    short = [{"validation": share} for share in shares]
    assert experiments._best({1.0: short, 2.0: rows, 3.0: short}) == 2.0
    better = [{"validation": share + 1e-6} for share in shares]
    assert experiments._best({1.0: rows, 2.0: better}) == 2.0


def test_a_measurement_has_no_seed_and_one_row(tiny, tmp_path):
    @experiments.experiment()
    def clock(*, rounds=2):
        return {"machine": "this one", "seconds": [1.5] * rounds}

    experiments.record("clock")
    assert experiments.read("clock")["rows"] == [{"machine": "this one", "seconds": [1.5, 1.5]}]
    content = experiments.results("clock")
    assert (content["machine"], content["seconds"]) == ("this one", [1.5, 1.5])
    assert content["made"][0]["versions"].keys() >= {"python", "torch"}


def test_an_experiment_without_rates_runs_once_a_seed(tiny):
    @experiments.experiment(seeds=(3, 5))
    def squares(seed, *, power=2):
        return {"value": seed**power}

    experiments.record("squares")
    rows = [{"seed": 3, "value": 9}, {"seed": 5, "value": 25}]
    assert experiments.results("squares")["rows"] == rows


def test_one_seed_has_a_mean_and_no_deviation(tiny):
    experiments.record("tiny", [1])
    content = experiments.results("tiny")
    assert content["mean"]["a"]["test"] == 20.125
    assert np.isnan(content["std"]["a"]["test"])


# -- fresh by meaning -------------------------------------------------------------------------

FIRST = '''
def measured(seed, *, epochs=30, rates_of_decay=(0.1, 0.2)):
    """Return what is asked for."""
    # A remark.
    total = epochs * sum(rates_of_decay) + seed
    return {"total": total}
'''


def measured(code, version=1):
    """The experiment that this code defines."""
    namespace = {}
    exec(code, namespace)
    return experiments.Experiment("measured", namespace["measured"], version, range(2))


@pytest.fixture
def recorded(tiny):
    experiments.EXPERIMENTS["measured"] = measured(FIRST)
    experiments.record("measured")


SAME = {
    "a line is wrapped": ("epochs * sum(", "epochs * sum(\n        "),
    "a variable has another name": ("total", "everything"),
    "another remark": ("# A remark.", "# Another remark."),
    "other words in the docstring": ("Return what is asked for.", "Return the total."),
    "the arguments stand in another order": (
        "epochs=30, rates_of_decay=(0.1, 0.2)", "rates_of_decay=(0.1, 0.2), epochs=30"
    ),
    "a tuple is a list": ("(0.1, 0.2)", "[0.1, 0.2]"),
}  # fmt: skip


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("change", SAME)
def test_how_the_code_is_written_leaves_a_record_fresh(change):
    code = FIRST.replace(*SAME[change])
    assert code != FIRST
    experiments.EXPERIMENTS["measured"] = measured(code)
    assert experiments.stale("measured") is None


OTHER = {
    "epochs is 40, recorded was 30": ("epochs=30", "epochs=40"),
    "rates_of_decay is [0.1, 0.3], recorded was [0.1, 0.2]": ("0.2", "0.3"),
    "size is 64, and was no argument when it was recorded": ("epochs=30", "epochs=30, size=64"),
    "size is None, and was no argument when it was recorded": ("epochs=30", "epochs=30, size=None"),
    "epochs was 30, and is no argument now": ("epochs=30, ", ""),
}


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("message", OTHER)
def test_another_argument_makes_it_stale_and_is_named(message, capsys):
    experiments.EXPERIMENTS["measured"] = measured(FIRST.replace(*OTHER[message]))
    assert experiments.stale("measured") == message
    assert main(["records", "measured"]) == 1
    assert (
        f"STALE: {message}: run `lora-edu experiments measured --seeds 0,1`"
        in capsys.readouterr().out
    )


@pytest.mark.usefixtures("recorded")
def test_another_version_makes_it_stale_and_other_seeds_do_not():
    experiments.EXPERIMENTS["measured"] = measured(FIRST, version=2)
    assert experiments.stale("measured") == "version is 2, recorded was 1"
    again = measured(FIRST)
    experiments.EXPERIMENTS["measured"] = experiments.Experiment(
        "measured", again.run, 1, range(50)
    )
    assert experiments.stale("measured") is None


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("change", ["epochs=40", "epochs=30, size=None"])
def test_a_stale_record_is_replaced_by_a_run_of_all_its_seeds_and_by_no_less(change, tmp_path):
    before = (tmp_path / "measured.json").read_bytes()
    experiments.EXPERIMENTS["measured"] = measured(FIRST.replace("epochs=30", change))
    (why,) = experiments.record("measured", [0, 7])
    assert why.endswith("; its seeds [1] were not run now")
    assert (tmp_path / "measured.json").read_bytes() == before
    with pytest.raises(ValueError, match=r"measured\.new\.json waits: rename it"):
        experiments.record("measured", [0, 1])
    (tmp_path / "measured.new.json").unlink()
    assert experiments.record("measured", [0, 1]) == []
    assert experiments.stale("measured") is None


# -- interrupted, extended, put together ------------------------------------------------------


def test_it_goes_on_where_it_was_interrupted(tiny, tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    experiments.record("tiny", range(2), whole)
    planned = list(tiny)
    tiny.clear()
    run = experiments.run

    def interrupted(name, key, beside):
        if len(tiny) == 5:
            raise KeyboardInterrupt
        return run(name, key, beside)

    monkeypatch.setattr(experiments, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        experiments.record("tiny", range(2))
    assert names(tmp_path) == ["tiny.part", "whole"]
    part = tmp_path / "tiny.part"
    part.write_text(part.read_text() + '\n{"method": "a", "lr": 2.0')  # cut off in a line
    monkeypatch.setattr(experiments, "run", run)
    experiments.record("tiny", range(2))
    assert tiny == planned
    assert rows_of(tmp_path) == rows_of(whole)
    assert names(tmp_path) == ["tiny.json", "whole"]


@pytest.mark.parametrize("text", ["5\n7\n", "null", "\x00{", '{"version": 1}\n5'])
def test_a_damaged_part_is_not_used(tiny, tmp_path, text):
    (tmp_path / "tiny.part").write_text(text)
    assert experiments.record("tiny") == []
    assert len(tiny) == 12


def test_a_part_of_other_arguments_is_not_used(tiny, tmp_path):
    row = {"method": "a", "lr": 1.0, "seed": 0, "validation": 99, "test": 99}
    head = {"version": 1, "arguments": {"rates": {}, "shift": 7}}
    (tmp_path / "tiny.part").write_text(f"{json.dumps(head)}\n{json.dumps(row)}\n")
    experiments.record("tiny")
    assert tiny[0] == ("a", 1.0, 0)
    assert experiments.results("tiny")["chosen"]["a"] == 2.0


def test_noted_runs_of_other_seeds_outlive_a_recording(tiny, tmp_path, monkeypatch):
    run = experiments.run

    def interrupted(name, key, beside):
        if key[-1] == 2:
            raise KeyboardInterrupt
        return run(name, key, beside)

    monkeypatch.setattr(experiments, "run", interrupted)
    assert main(["experiments", "tiny"]) == 130
    assert main(["experiments", "tiny", "--seeds", "0,9"]) == 0
    assert {row["seed"] for row in rows_of(tmp_path)} == {0, 9}
    monkeypatch.setattr(experiments, "run", run)
    tiny.clear()
    assert experiments.record("tiny") == []
    assert {seed for _, _, seed in tiny} == {0, 2}  # 1 was noted
    assert names(tmp_path) == ["tiny.json"]


def test_a_seed_that_is_asked_for_twice_runs_once(tiny, tmp_path):
    assert experiments.record("tiny", [1, 1]) == []
    assert len(tiny) == len(rows_of(tmp_path)) == 4
    assert names(tmp_path) == ["tiny.json"]


def test_a_run_again_elsewhere_is_compared_with_the_record(tiny, tmp_path, capsys):
    experiments.record("tiny", [0, 1])
    before = (tmp_path / "tiny.json").read_bytes()
    assert main(["experiments", "tiny", "--seeds", "0-1", "--out", str(tmp_path / "mine")]) == 0
    assert "8 runs: 8 as recorded, to the last digit; 0 beyond" in capsys.readouterr().out
    path = tmp_path / "mine" / "tiny.json"
    path.write_text(path.read_text().replace('"test": 20.0', '"test": 29.0'))
    said = experiments.beside("tiny", tmp_path / "mine")
    assert said.startswith("8 runs: 7 as recorded, to the last digit; 1 beyond")
    assert "a, 2.0, 0: test is 29, recorded was 20" in said
    assert (tmp_path / "tiny.json").read_bytes() == before


def test_shards_are_not_merged_over_a_record_that_waits(tiny, tmp_path):
    experiments.record("tiny", [0], tmp_path / "shard")
    (tmp_path / "tiny.new.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tiny\.new\.json waits"):
        experiments.merge("tiny", [tmp_path / "shard"])
    assert (tmp_path / "tiny.new.json").read_text() == "{}"


def test_two_recordings_at_once_are_refused(tiny, tmp_path):
    pytest.importorskip("fcntl")
    entry = experiments.find("tiny")
    other = experiments._Part(tmp_path / "tiny.part", entry)
    with other, pytest.raises(ValueError, match=r"tiny\.part is being written by another"):
        experiments.record("tiny")
    assert names(tmp_path) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32(1), {1, 2}])
def test_a_row_that_no_record_can_hold_is_refused(tiny, tmp_path, value):
    @experiments.experiment()
    def odd(seed):
        return {"value": value}

    with pytest.raises(ValueError, match=r"odd \(0,\) returned what a record cannot hold: "):
        experiments.record("odd")
    assert names(tmp_path) == []


def test_a_record_that_lacks_a_run_is_stale(tiny, tmp_path):
    experiments.record("tiny")
    path = tmp_path / "tiny.json"
    content = json.loads(path.read_text())
    content["rows"].pop(3)
    path.write_text(json.dumps(content))
    assert experiments.stale("tiny") == "it lacks the run ('b', 1.0, 0)"
    content["rows"] = []
    path.write_text(json.dumps(content))
    assert experiments.stale("tiny") == "it has no run"


def test_more_seeds_join_those_that_are_there(tiny, tmp_path):
    experiments.record("tiny", [0, 1])
    tiny.clear()
    experiments.record("tiny", [3, 2])
    assert {seed for _, _, seed in tiny} == {2, 3}
    assert [row["seed"] for row in rows_of(tmp_path)] == sorted([0, 1, 2, 3] * 4)


def test_a_record_says_of_each_seed_when_and_with_what_it_was_made(tiny, tmp_path):
    experiments.record("tiny", range(4))
    path = tmp_path / "tiny.json"
    content = json.loads(path.read_text())
    content["made"] = [{"date": "2001-01-01", "versions": {"torch": "1.0"}, "seeds": [0, 1, 2, 3]}]
    path.write_text(json.dumps(content))
    experiments.record("tiny", [2, 7])
    old, new = experiments.read("tiny")["made"]
    assert (old["date"], old["versions"], old["seeds"]) == (
        "2001-01-01",
        {"torch": "1.0"},
        [0, 1, 3],
    )
    assert new["seeds"] == [2, 7]
    assert new["date"] > "2026"
    other = tmp_path / "other"
    experiments.record("tiny", [5], other)
    experiments.merge("tiny", [other])
    made = experiments.read("tiny")["made"]
    assert [each["seeds"] for each in made] == [[0, 1, 3], [2, 7], [5]]
    assert made[2] == experiments.read("tiny", other)["made"][0]


def test_shards_of_several_machines_make_one_record(tiny, tmp_path, capsys):
    for shard, seeds in (("one", [0, 2]), ("other", [1])):
        experiments.record("tiny", seeds, tmp_path / shard)
    whole = tmp_path / "whole"
    experiments.record("tiny", None, whole)
    tiny.clear()
    folders = [str(tmp_path / "one"), str(tmp_path / "other")]
    (tmp_path / "tiny.json").unlink(missing_ok=True)
    assert main(["experiments", "tiny", "--merge", *folders]) == 0
    assert tiny == []
    assert rows_of(tmp_path) == rows_of(whole)


def test_a_shard_may_be_a_part_but_no_run_may_be_missing(tiny, tmp_path):
    experiments.record("tiny", [0], tmp_path / "one")
    text = "\n".join(map(json.dumps, rows_of(tmp_path / "one")))
    head = json.dumps({"version": 1, "arguments": experiments.find("tiny").arguments})
    shard = tmp_path / "two"
    shard.mkdir()
    (shard / "tiny.part").write_text(f"{head}\n{text}\n")
    experiments.merge("tiny", [shard])
    assert rows_of(tmp_path) == rows_of(tmp_path / "one")
    (shard / "tiny.part").write_text("\n".join([head, *text.splitlines()[1:]]))
    with pytest.raises(ValueError, match=r"no shard has the run .'a', 1.0, 0. of tiny"):
        experiments.merge("tiny", [shard])


def test_shards_that_do_not_fit_are_refused(tiny, tmp_path):
    for shard in ("one", "other"):
        experiments.record("tiny", [0, 1], tmp_path / shard)
    path = tmp_path / "other" / "tiny.json"
    text = path.read_text()
    path.write_text(text.replace('"test": 20.0', '"test": 21.0'))
    with pytest.raises(ValueError, match=r"disagrees .*a, 2\.0, 0: test is 21, recorded was 20"):
        experiments.merge("tiny", [tmp_path / "one", tmp_path / "other"])
    path.write_text(text.replace('"shift": 0.0', '"shift": 1.0'))
    with pytest.raises(
        ValueError, match=r"tiny\.json was made otherwise: shift is 0\.0, recorded was 1\.0"
    ):
        experiments.merge("tiny", [tmp_path / "one", tmp_path / "other"])
    with pytest.raises(ValueError, match="no run of tiny"):
        experiments.merge("tiny", [tmp_path / "nowhere"])
    assert not (tmp_path / "tiny.json").exists()


# A program of its own: the processes that it starts import it, and so know the experiment.
PROGRAM = """
    import sys, time
    import lora_edu.course
    lora_edu.course.LESSONS = ()
    from lora_edu.course import experiments
    experiments.LESSONS = ()

    @experiments.experiment(seeds=range(6))
    def slow(seed, *, seconds=0.3):
        time.sleep(seconds)
        return {"square": seed * seed}

    if __name__ == "__main__":
        from lora_edu.cli import main
        sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_two_at_a_time_and_killed_it_goes_on_and_leaves_no_process(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    command = [sys.executable, str(program), "experiments", "slow", "--out", str(tmp_path)]
    command += ["--jobs", "2"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = subprocess.Popen(command, start_new_session=True, **quiet)
    part = tmp_path / "slow.part"
    until = time.monotonic() + 60
    while not part.is_file() or part.read_text().count("square") < 2:
        assert time.monotonic() < until, "no run was noted within a minute"
        time.sleep(0.02)
    started.send_signal(signal.SIGKILL)  # the parent alone: its processes see it, and end
    started.wait()
    done = part.read_text().count("square")
    assert 2 <= done < 6
    while time.monotonic() < until:
        try:
            os.killpg(started.pid, 0)  # is anybody left of its group?
        except ProcessLookupError:
            break
        time.sleep(0.02)
    else:
        pytest.fail("a process outlived the command")
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{done}/6" in again.stderr  # the bar begins where the first one ended
    rows = experiments.read("slow", tmp_path)["rows"]
    assert rows == [{"seed": seed, "square": seed * seed} for seed in range(6)]
    assert names(tmp_path) == ["program.py", "slow.json"]


# -- what differs -----------------------------------------------------------------------------


def test_what_differs_beyond_its_tolerance_is_reported_and_replaces_nothing(tiny, tmp_path, capsys):
    experiments.record("tiny")
    path = tmp_path / "tiny.json"
    honest = path.read_text()
    path.write_text(honest.replace('"test": 20.125', '"test": 20.9'))
    before = path.read_bytes()
    assert main(["experiments", "tiny"]) == 1
    printed = capsys.readouterr()
    assert "tiny                     differs" in printed.out
    assert "a, 2.0, 1: test is 20.125, recorded was 20.9\n" in printed.err
    assert "the new one is tiny.new.json" in printed.err
    assert path.read_bytes() == before
    new = json.loads((tmp_path / "tiny.new.json").read_text())
    assert new["rows"] == json.loads(honest)["rows"]


def test_what_another_processor_changes_is_within_the_tolerance(tiny, tmp_path):
    experiments.record("tiny")
    path = tmp_path / "tiny.json"
    path.write_text(path.read_text().replace('"test": 20.125', '"test": 20.2'))
    assert experiments.record("tiny") == []  # far below three deviations
    assert "20.125" in path.read_text()


@pytest.mark.parametrize(
    ("old", "new", "differ"),
    [
        ({"x": 0.5}, {"x": 0.509}, False),
        ({"x": 0.5}, {"x": 0.52}, True),
        ({"n": 7}, {"n": 8}, False),
        ({"n": 7}, {"n": 9}, True),
        ({"curve": [0.1, 0.2]}, {"curve": [0.1, 0.3]}, True),
        ({"curve": [0.1, 0.2]}, {"curve": [0.2, 0.1]}, False),  # it dipped elsewhere
        ({"phi": [[0.1, 0.2], [0.3, 0.4]]}, {"phi": [[0.1, 0.2], [0.3, 0.8]]}, True),
        ({"cases": [{"a": {"b": 0.1}}]}, {"cases": [{"a": {"b": 0.4}}]}, True),
        ({"x": 0.5}, {"x": float("nan")}, True),
        ({"x": 0.5, "name": "a"}, {"x": 0.5}, True),  # a column is missing
    ],
)
def test_a_single_row_has_the_least_tolerance(old, new, differ):
    entry = experiments.Experiment("any", dict, 1, range(1))
    found = experiments.differences({(0,): old}, {(0,): new}, entry)
    assert bool(found) is differ


def test_a_measurement_says_what_of_it_is_compared():
    entry = experiments.Experiment("any", dict, 1, range(1), 0.1, ("ratio",))
    old = {(): {"cases": [{"ratio": [1.1], "seconds": [3.0]}]}}
    for ratio, differ in ((1.19, False), (1.21, True)):
        new = {(): {"cases": [{"ratio": [ratio], "seconds": [9.0]}]}}
        assert bool(experiments.differences(old, new, entry)) is differ


def test_the_spread_of_the_seeds_is_a_tolerance():
    entry = experiments.Experiment("any", dict, 1, range(3))
    old = {("a", 1.0, seed): {"x": value} for seed, value in enumerate((0.2, 0.4, 0.6))}
    for shift, differ in ((0.84, False), (0.86, True)):  # three deviations of a difference: 0.849
        new = {("a", 1.0, 1): {"x": 0.4 + shift}}
        assert bool(experiments.differences(old, new, entry)) is differ


def test_seeds_that_lie_close_by_chance_get_the_spread_of_the_other_methods():
    entry = experiments.Experiment("any", dict, 1, range(3))
    old = {("a", 1.0, seed): {"x": 0.4} for seed in range(3)}
    for method, apart in (("b", 0.2), ("c", 0.3)):
        old |= {(method, 1.0, seed): {"x": 0.4 + apart * seed} for seed in range(3)}
    for shift, differ in ((0.84, False), (0.86, True)):  # in the middle of 0, 0.2 and 0.3
        new = {("a", 1.0, 1): {"x": 0.4 + shift}}
        assert bool(experiments.differences(old, new, entry)) is differ


# -- the commands -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiments", "cold_fusion"], "no experiment is called 'cold_fusion'; there are "),
        (["experiments", "tiny", "--seeds", "four"], "must be such as 0-9 or 0,2,5-7, got 'four'"),
        (["experiments", "tiny", "--seeds", "4-2"], "the smaller first, got '4-2'"),
        (["experiments", "tiny", "--jobs", "0"], "jobs must be at least 1, got 0"),
        (["experiments", "tiny", "--seeds", "4294967296"], "seeds must be below 2**32"),
        (["experiments", "tiny", "--merge", "nowhere"], "nowhere holds no run of tiny"),
        (["experiments", "--merge", "nowhere"], "--merge asks for a NAME"),
        (["experiments", "tiny", "--merge", ".", "--seeds", "1"], "and no --seeds"),
        (["records", "cold_fusion"], "no experiment is called 'cold_fusion'"),
        (["records", "tiny"], "there is no record tiny.json in "),
        (["records", "--csv"], "--csv takes one NAME, got 0"),
    ],
)
def test_bad_input_is_one_line_and_code_2(tiny, tmp_path, capsys, arguments, message):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"rows": []}'])
def test_a_damaged_record_is_one_line(tiny, tmp_path, capsys, text):
    (tmp_path / "tiny.json").write_text(text)
    assert main(["records", "tiny"]) == 2
    assert "tiny.json is damaged: " in capsys.readouterr().err


def test_the_command_records_lists_and_exports(tiny, tmp_path, capsys):
    assert main(["experiments", "--seeds", "0-1,4"]) == 0
    assert capsys.readouterr().out.split() == ["tiny", "recorded"]
    assert main(["records"]) == 0
    assert "tiny                       12 runs, 3 seeds, version 1, 20" in capsys.readouterr().out
    assert main(["records", "tiny"]) == 0
    listed = capsys.readouterr().out
    assert "shift = 0.0\n" in listed
    assert "a              lr 2       validation 1.667 ± 2.1  test 20.21 ± 0.26" in listed
    assert main(["records", "tiny", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 12
    assert rows[1] == {
        "method": "a", "lr": "2.0", "seed": "0", "validation": "0.0", "test": "20.0",
        "curve": "[1, 0.0]",
    }  # fmt: skip


def test_an_experiment_that_is_not_recorded_is_listed_and_the_others_too(tiny, capsys):
    @experiments.experiment()
    def another(seed):
        return {"seed": seed}

    experiments.record("another")
    assert main(["records"]) == 1
    listed = capsys.readouterr().out.splitlines()
    assert listed[0].split(maxsplit=1) == ["tiny", "NOT RECORDED: run `lora-edu experiments tiny`"]
    assert listed[1].startswith("another ")


def test_what_is_attached_lies_beside_the_record_and_is_not_written_over(tiny, tmp_path):
    weights = [b"one"]

    @experiments.experiment(seeds=(0,))
    def with_files(seed):
        def write(folder):
            folder.mkdir()
            (folder / "a.safetensors").write_bytes(weights[0])

        return {"seed": seed, "sha256": experiments.attach("files/a", write)}

    def found():
        return {p.parent.name: p.read_bytes() for p in tmp_path.glob("files/*/*.safetensors")}

    experiments.record("with_files")
    assert found() == {"a": b"one"}
    row = experiments.read("with_files")["rows"][0]
    assert row["sha256"] == hashlib.sha256(b"one").hexdigest()
    experiments.record("with_files")
    assert found() == {"a": b"one"}
    weights[0] = b"two"
    experiments.record("with_files")
    assert found() == {"a": b"one", "a.new": b"two"}
    assert experiments.run("with_files", (0,))["sha256"] == ""  # nothing is recorded here
    assert len(found()) == 2


def test_a_constant_stands_behind_the_star(tiny):
    with pytest.raises(TypeError, match=r"odd must take .* before `\*`, got \('seed', 'power'\)"):

        @experiments.experiment()
        def odd(seed, power=2):
            """Never run."""


def test_two_experiments_cannot_share_a_name(tiny):
    with pytest.raises(ValueError, match="two experiments are called 'tiny'"):

        @experiments.experiment()
        def tiny():
            """Never run."""


# -- the records of the lessons ---------------------------------------------------------------


def test_no_record_belongs_to_no_experiment():
    stems = {path.stem for path in experiments.RECORDS.glob("*.*")}
    assert stems == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_fresh_and_complete(name):
    assert experiments.stale(name) is None, f"run `lora-edu experiments {name}`"
    entry, content = experiments.find(name), experiments.read(name)
    made = [tuple(row[key] for key in experiments.KEYS if key in row) for row in content["rows"]]
    assert made == entry.keys(entry.seeds)
    assert content["made"][0]["versions"].keys() >= {"python", "torch"}
    assert "rates" not in entry.arguments or len(entry.seeds) >= 3


# Rates that may stand at an end of their grid, each with its reason.
TOO_LARGE = "so large an alpha wants a smaller rate; other alphas of its rank are better"
ONE_RATE = "a single rate, to compare with the same one and another head"
AT_AN_EDGE = {
    ("minilm_tuning", f"{name}, slow head"): ONE_RATE
    for name in ("LoRA q,v r=8", "LoRA q,v r=64", "full q,v")
}
AT_AN_EDGE |= {
    (name, method): TOO_LARGE
    for name in ("turned_tuning", "inverted_tuning")
    for method in ("r=8 alpha=8192", "r=16 alpha=16384")
}
AT_AN_EDGE |= {
    (f"descendants_{task}_tuning", method): TOO_LARGE
    for task, methods in {
        "turned": ("lora r=8 alpha=8192", "lora+ r=8 alpha=512"),
        "inverted": ("lora r=8 alpha=8192", "lora+ r=8 alpha=512", "lora r=64 alpha=32768"),
    }.items()
    for method in methods
}
AT_AN_EDGE |= {
    ("descendants_turned_tuning", "lora r=64 alpha=32768"): TOO_LARGE,
    ("descendants_turned_tuning", "dora r=8 alpha=8"): "as good as at the next two rates",
    ("descendants_minilm_tuning", "dora r=8 alpha=8"): "as good as at the next rate",
    ("small_batches_tuning", "lora r=8 alpha=2048"): TOO_LARGE,
}


# Where no rate is chosen: all are shown; or they were, by the twin that tunes. Learning by heart is
# tuned along a line of scale and rate together.
NOT_CHOSEN = {"frontier", "by_heart_tuning", "minilm_updates", "opened"} | {
    name for name in NAMES if f"{name}_tuning" in NAMES
}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_CHOSEN])
def test_no_chosen_rate_is_at_an_edge_of_its_grid(name):
    content = experiments.results(name)
    for method, lr in content.get("chosen", {}).items():
        rates = content["arguments"]["rates"][method]
        inside = min(rates) < lr < max(rates)
        assert inside != ((name, method) in AT_AN_EDGE), f"{name}, {method}: {lr}"


def test_intervals_are_students_and_p_is_after_holm():
    rng = np.random.default_rng(0)
    gaps = {name: rng.normal(mean, 1, 8) for name, mean in {"a": 0, "b": 3, "c": 1, "d": 1}.items()}
    p = {name: stats.ttest_1samp(values, 0).pvalue for name, values in gaps.items()}
    ordered, least, expected = sorted(p, key=lambda name: p[name]), 0.0, {}
    for place, name in enumerate(ordered):
        least = max(least, min(1.0, (len(p) - place) * p[name]))
        expected[name] = least
    found = experiments.intervals(gaps)
    assert [name for name, *_ in found] == list(gaps)
    for name, mean, low, high, adjusted in found:
        half = stats.t.ppf(0.975, 7) * gaps[name].std(ddof=1) / 8**0.5
        assert [low, mean, high] == pytest.approx([mean - half, gaps[name].mean(), mean + half])
        assert adjusted == pytest.approx(expected[name])


# The run of each record that is made again at each `make test`: those that take three seconds or
# less. Of the others, and of every method, one seed is made again by `make test-slow`.
QUICK = {
    "turned": "r=8 alpha=128",
    "inverted": "r=4 alpha=1024",
    "descendants_turned": "pissa r=8 alpha=128",
    "descendants_inverted": "pissa r=8 alpha=128",
}


# Of runs of minutes, one method is made again.
ONE_METHOD = {"voice_rates": ["pirate"], "frontier": ["r=4"], "qr_voice_tuning": ["from 14"]}
ONE_METHOD |= {"by_heart_tuning": ["width=64 r=1 scale=1"], "patient_tuning": ["r=4 alpha=4"]}
ONE_METHOD |= {name: ["full", "r=4 alpha=64"] for name in ("turned_tuning", "inverted_tuning")}
ONE_METHOD |= {"minilm": ["LoRA q,v r=8", "full q,v"], "minilm_tuning": ["head"]}
ONE_METHOD |= {"minilm_updates": ["LoRA q,v r=8"], "opened": ["r=4"]}
ONE_METHOD |= {
    f"descendants_{task}_tuning": ["full", "pissa r=8 alpha=32"] for task in ("turned", "inverted")
}
ONE_METHOD |= {"descendants_minilm": ["lora r=8 alpha=32"], "descendants_minilm_tuning": ["head"]}
ONE_METHOD |= {"small_batches_tuning": ["pissa r=8 alpha=8"]}


@pytest.mark.parametrize("name", QUICK)
def test_a_run_comes_out_as_recorded(name):
    check_again(name, [QUICK[name]])


LONG = {"qr_voice", "qr_voice_tuning", "frontier", "voice_rates", "by_heart"}  # minutes each


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[
                pytest.mark.long if name in LONG else pytest.mark.slow,
                *[pytest.mark.assets] * (name in REAL),
            ],
        )
        for name in NAMES
        if "rates" in experiments.find(name).arguments
    ],
)
def test_one_seed_comes_out_as_recorded(name):
    check_again(name, ONE_METHOD.get(name) or experiments.find(name).arguments["rates"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["taught", "one_change"])
def test_a_seed_comes_out_as_recorded(name):
    rows = {(row["seed"],): row for row in experiments.read(name)["rows"]}
    assert (
        experiments.differences(rows, {(1,): experiments.run(name, (1,))}, experiments.find(name))
        == []
    )


def check_again(name, methods):
    """Run a seed of these methods at their chosen rates: equal means within the tolerance."""
    chosen = experiments.results(name)["chosen"]
    rows = {(row["method"], row["lr"], row["seed"]): row for row in experiments.read(name)["rows"]}
    seed = experiments.find(name).seeds[1]
    keys = [(method, chosen[method], seed) for method in methods]
    made = {key: experiments.run(name, key) for key in keys}
    assert experiments.differences(rows, made, experiments.find(name)) == []
