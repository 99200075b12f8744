"""The recorded runs: how they are made, when they are stale, what becomes of what differs."""

import contextlib
import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from scipy import stats

from lora_edu.cli import main
from lora_edu.course import experiments, verification
from lora_edu.files import write_whole

NAMES = list(experiments.load())
RATES = {"a": [1, 2, 3], "b": [1]}  # as in conftest.py


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def rows_of(folder):
    return experiments.read("tiny", folder)["rows"]


def alter(path, **changes):
    """Put other values into a record."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# -- what a record holds ----------------------------------------------------------------------


def test_a_record_is_a_version_arguments_and_a_row_a_run(tiny, tmp_path):
    assert experiments.record("tiny") == []
    text = (tmp_path / "tiny.json").read_text()
    content = json.loads(text)
    assert list(content) == ["name", "version", "arguments", "made", "rows"]
    assert content["version"] == 1
    assert content["arguments"] == {"rates": RATES, "shift": 0}
    assert [row["seed"] for row in content["rows"]] == [0] * 4 + [1] * 4 + [2] * 4
    assert list(content["rows"][1]) == ["method", "lr", "seed", "validation", "test", "curve"]
    assert list(content["rows"][1].values()) == ["a", 2, 0, 0, 20, [1, 0]]
    assert content["made"][0]["versions"].keys() >= {"python", "torch"}
    assert names(tmp_path) == ["tiny.json"]
    assert sum('"seed"' in line for line in text.splitlines()) == 12  # a diff shows which run


def test_the_rate_is_chosen_on_validation(tiny, tmp_path, capsys):
    experiments.record("tiny")
    content = experiments.results("tiny")
    assert content["chosen"] == {"a": 2, "b": 1}
    assert content["search"]["a"] == {"1": [-1, 0, 1], "2": [0, 1, 2], "3": [-1, 0, 1]}
    (tmp_path / "tiny.json").unlink()
    experiments.record("tiny", [1])
    assert main(["records", "tiny"]) == 0
    assert "test 20.12 ± nan" in capsys.readouterr().out  # one run has no deviation


SHARES = [0.1, 0.2, 0.3]  # added up in the other order, they give another float

TRIED = [
    ({1.0: (SHARES, "test"), 2.0: (SHARES[::-1], "test")}, 1.0),
    ({1.0: (SHARES, "seed"), 2.0: (SHARES, "test")}, 2.0),
    ({1.0: (SHARES, "test"), 2.0: ([0.1, 0.2, 0.30001], "test")}, 2.0),
]


@pytest.mark.parametrize(("tried", "best"), TRIED)
def test_of_equal_rates_the_first_is_chosen_that_was_run_in_full(tiny, tmp_path, tried, best):
    rows = []
    for lr, (shares, last) in tried.items():
        for seed, share in enumerate(shares):
            rows.append({"method": "a", "lr": lr, "seed": seed, "validation": share, last: 1})
    experiments.record("tiny", [0])
    alter(tmp_path / "tiny.json", rows=rows)
    assert experiments.results("tiny")["chosen"] == {"a": best}


def test_a_twin_tunes_with_its_own_seeds_and_values(tiny):
    @experiments.experiment(version=3, tuning={"rates": RATES, "shift": 1}, choosing=(7, 8))
    def told(method, lr, seed, *, rates={"a": [2]}, shift=0):  # noqa: B006
        return {"validation": seed, "shift": shift}

    own, twin = experiments.find("told"), experiments.find("told_tuning")
    assert own.arguments == {"rates": {"a": [2]}, "shift": 0}
    assert own.keys([0, 1]) == [("a", 2, 0), ("a", 2, 1)]
    assert twin.arguments == {"rates": RATES, "shift": 1}
    assert own.version == twin.version == 3
    experiments.record("told_tuning")
    rows = experiments.read("told_tuning")["rows"]
    assert {(row["seed"], row["shift"]) for row in rows} == {(7, 1), (8, 1)}


def test_an_experiment_has_a_name_of_its_own_and_its_constants_behind_the_star(tiny):
    def odd(seed, power=2):
        """Never run."""

    with pytest.raises(TypeError, match=r"odd must take .* before `\*`, got \('seed', 'power'\)"):
        experiments.experiment()(odd)
    odd.__name__ = "tiny"
    with pytest.raises(ValueError, match="two experiments are called 'tiny'"):
        experiments.experiment()(odd)


@pytest.mark.parametrize("value", [float("nan"), np.float32(1)])
def test_a_row_that_no_record_can_hold_is_refused(tiny, tmp_path, value):
    @experiments.experiment()
    def odd(seed):
        return {"value": value}

    with pytest.raises(ValueError, match=r"odd \(0,\) returned what a record cannot hold: "):
        experiments.record("odd")
    assert names(tmp_path) == []


# -- fresh by meaning -------------------------------------------------------------------------


MEANINGS = [
    ({"arguments": {"shift": 0, "rates": RATES}}, None),  # in another order
    ({"version": 2}, "version is 1, recorded was 2"),
    ({"arguments": {"rates": RATES, "shift": 1}}, "shift is 0.0, recorded was 1"),
    ({"arguments": {"rates": RATES}}, "shift is 0.0, and was no argument when it was recorded"),
    (
        {"arguments": {"rates": RATES, "shift": 0, "size": None}},
        "size was None, and is no argument now",
    ),
    ({"rows": [{"method": "a", "lr": 1, "seed": 0}]}, "it lacks the run ('a', 2, 0)"),
    ({"rows": []}, "it has no run"),
]


@pytest.mark.parametrize(("changes", "why"), MEANINGS)
def test_a_record_is_stale_when_it_means_something_else(tiny, tmp_path, capsys, changes, why):
    experiments.record("tiny", [0, 4])  # the seeds are no argument
    alter(tmp_path / "tiny.json", **changes)
    assert experiments.stale("tiny") == why
    if "rows" not in changes:
        assert main(["records"]) == (0 if why is None else 1)
        again = f", STALE: {why}: run `lora-edu experiments tiny --seeds 0,4`\n"
        assert capsys.readouterr().out.endswith("\n" if why is None else again)


def test_a_stale_record_is_replaced_by_a_run_of_all_its_seeds_and_by_no_less(
    tiny, tmp_path, capsys
):
    experiments.record("tiny", [0, 1])
    path = tmp_path / "tiny.json"
    alter(path, arguments={"rates": RATES, "shift": 1})
    before = path.read_bytes()
    (why,) = experiments.record("tiny", [0, 7])
    shift = experiments.stale("tiny")
    assert why == f"{shift}; its seeds [1] were not run now"
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match=r"tiny\.new\.json waits: rename it to tiny\.json if"):
        experiments.record("tiny", [0, 1])
    (tmp_path / "tiny.new.json").unlink()
    assert main(["experiments", "tiny", "--seeds", "0-1"]) == 0
    assert f"recorded, in place of another: {shift}" in capsys.readouterr().out
    assert experiments.stale("tiny") is None


# -- interrupted, and extended ----------------------------------------------------------------


def test_it_goes_on_where_it_was_interrupted(tiny, tmp_path, capsys):
    tiny.most = 5
    assert main(["experiments", "tiny"]) == 130
    assert names(tmp_path) == ["tiny.part.json"]
    tiny.most = None
    assert main(["experiments", "tiny", "--seeds", "0-1"]) == 0
    assert "5/8" in capsys.readouterr().err  # the bar begins where the first one ended
    assert tiny.made == experiments.find("tiny").keys([0, 1])
    assert len(rows_of(tmp_path)) == 8
    assert names(tmp_path) == ["tiny.json"]


def test_noted_runs_of_other_seeds_outlive_a_recording(tiny, tmp_path):
    tiny.most = 8  # of the seeds 0 and 1
    with pytest.raises(KeyboardInterrupt):
        experiments.record("tiny")
    tiny.most = None
    experiments.record("tiny", [0, 9])
    assert {row["seed"] for row in rows_of(tmp_path)} == {0, 9}
    tiny.made.clear()
    assert experiments.record("tiny") == []
    assert {seed for _, _, seed in tiny.made} == {0, 2}  # 1 was noted
    assert names(tmp_path) == ["tiny.json"]


def test_a_part_of_other_arguments_is_not_used_and_a_damaged_one_is_named(tiny, tmp_path):
    experiments.record("tiny")
    part = (tmp_path / "tiny.json").rename(tmp_path / "tiny.part.json")
    alter(part, arguments={"rates": {}, "shift": 7})
    experiments.record("tiny")
    assert len(tiny.made) == 2 * 12
    part.write_text("{")
    with pytest.raises(ValueError, match=r"tiny\.part\.json is damaged"):
        experiments.record("tiny")


def test_more_seeds_join_those_that_are_there_and_each_says_how_it_was_made(tiny, tmp_path):
    experiments.record("tiny", range(4))
    made = {"date": "2001-01-01", "versions": {"torch": "1.0"}, "seeds": [0, 1, 2, 3]}
    alter(tmp_path / "tiny.json", made=[made])
    with pytest.raises(ValueError, match="seeds must be at least one, got none"):
        experiments.record("tiny", [])
    experiments.record("tiny", [7, 2, 7])  # asked for twice, it runs once
    assert len(tiny.made) == 4 * 4 + 2 * 4
    assert [row["seed"] for row in rows_of(tmp_path)][::4] == [0, 1, 2, 3, 7]
    old, new = experiments.read("tiny")["made"]
    assert old == made | {"seeds": [0, 1, 3]}
    assert new["seeds"] == [2, 7]
    assert new["date"] > "2026"
    experiments.record("tiny", range(8))
    assert [made["seeds"] for made in experiments.read("tiny")["made"]] == [[*range(8)]]


# A program of its own: the processes that it starts import it, and so know the experiment.
PROGRAM = """
    import sys, time
    import lora_edu.course
    lora_edu.course.LESSONS = ()
    from lora_edu.course import experiments, verification

    @experiments.experiment(seeds=range(6))
    def slow(seed, *, seconds=0.3):
        time.sleep(seconds)
        return {"square": seed * seed}

    if __name__ == "__main__":
        from lora_edu.cli import main
        sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.seconds
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_two_at_a_time_and_killed_it_keeps_what_is_done_and_leaves_no_process(tmp_path):
    program, part = tmp_path / "program.py", tmp_path / "slow.part.json"
    program.write_text(textwrap.dedent(PROGRAM))
    command = [sys.executable, str(program), "experiments", "slow", "--jobs", "2"]
    started = subprocess.Popen([*command, "--out", str(tmp_path)], start_new_session=True)
    until = time.monotonic() + 100
    while not part.is_file() or part.read_text().count("square") < 2:
        assert time.monotonic() < until, "no run was noted"
        time.sleep(0.02)
    started.send_signal(signal.SIGKILL)  # the parent alone: its processes see it, and end
    started.wait()
    with contextlib.suppress(ProcessLookupError):  # then none is alive
        while True:
            os.killpg(started.pid, 0)
            assert time.monotonic() < until, "a process outlived the command"
            time.sleep(0.02)
    done = experiments.read("slow.part", tmp_path)["rows"]
    assert 2 <= len(done) < 6
    assert all(row["square"] == row["seed"] ** 2 for row in done)


# -- what differs -----------------------------------------------------------------------------


def test_what_differs_beyond_its_tolerance_is_reported_and_replaces_nothing(tiny, tmp_path, capsys):
    experiments.record("tiny")
    path, new = tmp_path / "tiny.json", tmp_path / "tiny.new.json"
    honest = path.read_text()
    changed = honest.replace('"test": 20.125', '"test": 20.9')
    path.write_text(changed)
    assert main(["experiments", "tiny"]) == 1
    printed = capsys.readouterr()
    assert "tiny                     differs" in printed.out
    assert "a, 2: test was 20.38, and differs by -0.26 on average, 0.77 at most" in printed.err
    assert "the new one is tiny.new.json" in printed.err
    assert path.read_text() == changed
    assert json.loads(new.read_text())["rows"] == json.loads(honest)["rows"]


def test_a_run_again_elsewhere_is_compared_with_the_record(tiny, tmp_path, capsys):
    experiments.record("tiny", [0, 1])
    before = (tmp_path / "tiny.json").read_text()
    again = ["experiments", "tiny", "--seeds", "0-1,5", "--out", str(tmp_path / "mine")]
    assert main(again) == 0
    said = capsys.readouterr().out
    assert "nothing is recorded of 4 of 12 runs\n  8 of 8 runs as recorded, to the last" in said
    assert (tmp_path / "tiny.json").read_text() == before


# -- the commands -----------------------------------------------------------------------------


BAD_INPUT = [
    (["experiments", "cold_fusion"], "no experiment is called 'cold_fusion'; there are "),
    (["experiments", "tiny", "--seeds", "four"], "must be such as 0-9 or 0,2,5-7, got 'four'"),
    (["experiments", "tiny", "--jobs", "0"], "jobs must be at least 1, got 0"),
    (["experiments", "tiny", "--seeds", "4294967296"], "seeds must be below 2**32"),
    (["records", "tiny"], "there is no record tiny.json in "),
    (["records", "--csv"], "--csv takes one NAME, got 0"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT)
def test_bad_input_is_one_line_and_code_2(tiny, refused, arguments, message):
    assert message in refused(*arguments)


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": []}'])
def test_a_damaged_record_is_one_line(tiny, tmp_path, refused, text):
    (tmp_path / "tiny.json").write_text(text)
    assert "tiny.json is damaged: " in refused("records", "tiny")


def test_the_command_records_lists_and_exports(tiny, capsys):
    assert main(["records"]) == 1
    missing = ["tiny", "NOT RECORDED: run `lora-edu experiments tiny`"]
    assert capsys.readouterr().out.rstrip().split(maxsplit=1) == missing
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
    assert list(rows[1].values()) == ["a", "2", "0", "0", "20.0", "[1, 0.0]"]


def test_what_is_attached_lies_beside_the_record_and_is_not_written_over(tiny, tmp_path):
    weights = iter([b"one", b"one", b"two"])

    @experiments.experiment(seeds=(0,))
    def with_files(seed):
        def write(folder):
            write_whole(folder / "a.safetensors", next(weights))

        return {"sha256": experiments.attach("files/a", write)}

    for _ in range(3):
        experiments.record("with_files")
    found = {path.parent.name: path.read_bytes() for path in tmp_path.glob("files/*/*")}
    assert found == {"a": b"one", "a.new": b"two"}
    (row,) = experiments.read("with_files")["rows"]
    assert row["sha256"] == hashlib.sha256(b"two").hexdigest()
    assert experiments.run("with_files", (0,))["sha256"] == ""  # nothing is recorded here
    assert len(list(tmp_path.glob("files/*"))) == 2


# -- the records of the lessons ---------------------------------------------------------------


def test_no_record_belongs_to_no_experiment():
    assert {path.stem for path in experiments.RECORDS.glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_fresh_and_complete(name):
    assert experiments.stale(name) is None, f"run `lora-edu experiments {name}`"
    entry, content = experiments.find(name), experiments.read(name)
    assert list(experiments.by_key(content["rows"])) == entry.keys(entry.seeds)
    assert content["made"][0]["versions"].keys() >= {"python", "torch"}
    few = name == "how_many_tuning"  # a run trains with four numbers of examples
    assert few or "rates" not in entry.arguments or len(entry.seeds) >= 3


TWINS = {f"{name}_tuning": name for name in NAMES if f"{name}_tuning" in NAMES}


@pytest.mark.parametrize("tuning", TWINS)
def test_other_seeds_report_what_the_choosing_seeds_found_best(tuning):
    report = experiments.read(TWINS[tuning])
    choosing = {row.get("seed") for row in experiments.read(tuning)["rows"]}
    assert choosing.isdisjoint(row.get("seed") for row in report["rows"])
    for method, rates in report["arguments"].get("rates", {}).items():
        chosen = experiments.results(tuning)["chosen"].get(method)
        assert chosen is None or chosen in rates, method


# Methods whose best rate is at an end of those that were tried, by the reason. (So large an alpha
# wants a smaller rate; other alphas of its rank are better.)
LARGE_4, LARGE_8, LARGE_16 = "r=4 alpha=4096", "r=8 alpha=8192", "r=16 alpha=16384"
LARGE_64 = "lora r=64 alpha=32768"
AT_AN_EDGE = {
    "turned_tuning": {LARGE_4, LARGE_8, LARGE_16},
    "inverted_tuning": {LARGE_8, LARGE_16},
    "descendants_turned_tuning": {f"lora {LARGE_8}", LARGE_64, "lora+ r=8 alpha=512"},
    "descendants_inverted_tuning": {f"lora {LARGE_8}", LARGE_64, "lora+ r=8 alpha=512"},
    "descendants_minilm_tuning": {"dora r=8 alpha=8"},  # as good as at the next rate
    "small_batches_tuning": {"lora r=8 alpha=2048"},
    "linked_voice_tuning": {"20", "40", "80"},  # so many steps, at a single rate
    "minilm_tuning": {  # a single rate, to compare with the same one and another head
        "LoRA q,v r=8, slow head", "LoRA q,v r=64, slow head", "full q,v, slow head"
    },
}  # fmt: skip
# Where no rate is chosen: all are shown; or they were, by the twin that tunes. Learning by heart is
# tuned along a line of scale and rate together.
NOT_CHOSEN = {"frontier", "by_heart_tuning", "minilm_updates", "opened", "rewarded"}
NOT_CHOSEN |= {*TWINS.values()}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_CHOSEN])
def test_no_chosen_rate_is_at_an_edge_of_its_grid(name):
    content = experiments.results(name)
    chosen, rates = content.get("chosen", {}), content["arguments"].get("rates")
    at_an_edge = {m for m, lr in chosen.items() if lr in (min(rates[m]), max(rates[m]))}
    assert at_an_edge == AT_AN_EDGE.get(name, set())


def test_intervals_are_students_and_p_is_after_holm():
    rng = np.random.default_rng(0)
    gaps = {name: rng.normal(mean, 1, 8) for name, mean in {"a": 0, "b": 3, "c": 1, "d": 1}.items()}
    p = {name: stats.ttest_1samp(values, 0).pvalue for name, values in gaps.items()}
    holm = {one: min(1, one * sum(other >= one for other in p.values())) for one in p.values()}
    found = experiments.intervals(gaps)
    assert [name for name, *_ in found] == list(gaps)
    for name, mean, low, high, adjusted in found:
        half = stats.t.ppf(0.975, 7) * gaps[name].std(ddof=1) / 8**0.5
        assert [low, mean, high] == pytest.approx([mean - half, gaps[name].mean(), mean + half])
        assert adjusted == pytest.approx(max(holm[one] for one in holm if one <= p[name]))


# Runs of three seconds or less. Those of every record are made again by `make release`.
QUICK = {"turned": "r=8 alpha=128", "inverted": "r=16 alpha=1024"}


@pytest.mark.parametrize("name", QUICK)
def test_a_run_comes_out_as_recorded(name):
    method, seed = QUICK[name], experiments.find(name).seeds[1]
    key = method, experiments.results(name)["chosen"][method], seed
    lines, holds = verification.comparison(name, {key: experiments.run(name, key)})
    assert holds, lines
