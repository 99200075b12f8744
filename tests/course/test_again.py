"""A run made again: what is the same, what is not, and what can be verified of a record."""

import json

import numpy as np
import pytest

from lora_edu.cli import main
from lora_edu.course import executed, experiments, verification
from lora_edu.course.again import changes, difference, numbers, sharing

# 1,500 passes through senseless labels make bits out of a sum's last digits, even in float64: a
# repeat differs by half as much as another seed does.
CHAOTIC = pytest.mark.xfail(reason="chaotic", strict=True)
RECORDED = [name for name in experiments.load() if name not in ("own_answers", "served")]


def runs(**methods):
    """Rows of methods that have these values of x, a seed each."""
    return {
        (method, 1.0, seed): {"method": method, "lr": 1.0, "seed": seed, "x": x}
        for method, values in methods.items()
        for seed, x in enumerate(values)
    }


def beyond(old, new, repeat=()):
    return [f"{c.method}: {c.number}" for c in changes(old, new, repeat) if c.beyond]


def repeated(old, **methods):
    """What a record keeps of runs that came out with these values of x."""
    again = runs(**methods)
    return [difference(old[key], again[key]) for key in again]


DIFFERENCES = [
    ({"x": 0.5, "n": 7}, {"x": 0.5 + 1e-9, "n": 7}, None),
    ({"n": 7}, {"n": 8}, "n"),
    ({"curve": [0.1, 0.2]}, {"curve": [0.2, 0.1]}, None),  # it dipped elsewhere
    ({"phi": [[0.1, 0.2], [0.3]]}, {"phi": [[0.1, 0.2], [0.9]]}, "phi"),
    ({"a": [{"b": {"c": 0.1}}]}, {"a": [{"b": {"c": 0.4}}]}, "a.0.b.c"),
    ({"x": 0.5}, {"x": float("nan")}, "x"),
    ({"x": 0.5, "name": "a"}, {"x": 0.5}, "name"),
]


@pytest.mark.parametrize(("old", "new", "number"), DIFFERENCES)
def test_where_no_repeat_was_measured_numbers_must_be_the_same(old, new, number):
    found = [c.number for c in changes({(4,): old}, {(4,): new, (5,): {}}, ()) if c.beyond]
    assert found == ([] if number is None else [number])


@pytest.mark.parametrize("n", [1, 4, 20])
@pytest.mark.parametrize("sign", [-1, 1])
def test_three_spreads_of_a_mean_are_what_a_repeat_explains(n, sign):
    old = runs(a=np.linspace(0.2, 0.8, n))
    repeat = repeated(old, a=[x + 0.01 * (-1) ** i for i, x in enumerate(np.linspace(0.2, 0.8, n))])
    for spreads, differs in ((2.9, False), (3.1, True)):
        moved = {k: {**r, "x": r["x"] + sign * spreads * 0.01 / n**0.5} for k, r in old.items()}
        assert beyond(old, moved, repeat) == (["a, 1.0: x"] if differs else [])


def test_of_a_single_run_five_spreads_are_too_much():
    old = runs(a=[0.5] * 100)
    repeat = repeated(old, a=[0.49, 0.51] * 50)
    for by, differs in ((0.049, False), (0.051, True)):
        one = {**old["a", 1.0, 3], "x": 0.5 + by}
        assert bool(beyond(old, {**old, ("a", 1.0, 3): one}, repeat)) is differs


def test_of_one_run_the_numbers_share_a_spread_but_for_what_came_out_the_same_to_the_last_digit():
    """Each is a single difference, small by luck: their root mean square, as a part of each."""
    old = {"a": 1.0, "b": 10.0, "zero": 0.0, "same": 1.0}
    new = {"a": 1.02, "b": 10.5, "zero": 0.05, "same": 1.02}
    repeat = [{"differs": {"a": 0.001, "b": 0.5, "zero": 0.01}}]
    alone = changes({(): old}, {(): new}, repeat)
    assert [c.number for c in alone if c.beyond] == ["a", "same", "zero"]
    shared = sharing(alone)
    assert [c.number for c in shared if c.beyond] == ["same", "zero"]
    part = ((0.001**2 + 0.05**2) / 2) ** 0.5
    assert [c.spread for c in shared] == pytest.approx([part, 0.5, 0, 0.01])


def test_a_method_that_fails_by_chance_does_not_excuse_the_others():
    old = runs(wild=[0.5], **{f"m{i}": [0.5] for i in range(9)})
    repeat = repeated(old, wild=[0.1], **{f"m{i}": [0.501] for i in range(9)})
    assert beyond(old, runs(wild=[0.2]), repeat) == []
    assert beyond(old, runs(m0=[0.52]), repeat) == ["m0, 1.0: x"]


# -- the records of the lessons ---------------------------------------------------------------


MARKED = [pytest.param(n, marks=CHAOTIC) if "by_heart" in n else n for n in RECORDED]


@pytest.mark.parametrize("name", MARKED)
def test_a_run_of_another_seed_does_not_pass_for_this_one(name):
    record = experiments.read(name)
    rows = experiments.by_key(record["rows"])
    seeds = sorted({key[-1] for key in rows if key})
    repeat = record.get("repeat", {}).get("rows", ())
    noticed = tried = 0
    for key in rows:
        if not key or len(seeds) == 1:
            continue
        other = (*key[:-1], seeds[(seeds.index(key[-1]) + 1) % len(seeds)])
        if other in rows and numbers(rows[other]) != numbers(rows[key]):
            tried += 1
            noticed += bool(beyond({key: rows[key]}, {key: rows[other]}, repeat))
    assert noticed >= 0.95 * tried


@pytest.mark.parametrize("name", [n for n in RECORDED if experiments.find(n).gap])
def test_a_record_without_the_gap_of_its_lesson_does_not_pass(name):
    entry, record = experiments.find(name), experiments.read(name)
    rows = experiments.by_key(record["rows"])
    gaps = {key: gap for key, row in verification.gaps(entry, rows).items() for gap in row.values()}
    assert len(gaps) == len({key[-1:] for key in rows})
    column, one, _ = entry.gap
    keyed = "method" in record["rows"][0]

    def without(value, path, by):
        first, _, rest = path.partition(".")
        while isinstance(value, dict) and first not in value:
            more, _, rest = rest.partition(".")
            first = f"{first}.{more}"
        if not rest and isinstance(value[first], list):
            return {**value, first: [np.array(v) - by for v in value[first]]}
        return {**value, first: without(value[first], rest, by) if rest else value[first] - by}

    closed = {}
    for key, row in rows.items():
        if not keyed or key[0] == one:
            path = column if keyed else f"{column}.{one}".removeprefix(".")
            closed[key] = without(row, path, gaps[key[-1:]])
    closed = json.loads(json.dumps([*closed.values()], default=np.ndarray.tolist))
    lines, holds = verification.comparison(name, experiments.by_key(closed))
    assert not holds, lines


# -- made again, compared, stamped --------------------------------------------------------------


@pytest.fixture
def here(tiny, monkeypatch):
    """The tiny record, whose runs are made in this process."""

    def in_processes(of, name, keys, jobs):
        for key in keys:
            yield key, of(name, key)

    monkeypatch.setattr(experiments, "in_processes", in_processes)
    experiments.record("tiny")
    tiny.made.clear()
    return tiny


def test_a_verified_record_says_by_what_and_the_methods_of_its_gap_were_made_again(here, capsys):
    assert verification.unverified("tiny") == "its runs were not made again yet"
    assert main(["records", "--verified"]) == 1
    late = "late, tiny: its runs were not made again yet: run `lora-edu experiments tiny --verify`"
    assert late in capsys.readouterr().out
    assert main(["experiments", "tiny", "--repeat", "--seeds", "0-1"]) == 0
    capsys.readouterr()
    assert here.made == [("a", 2, 0), ("b", 1, 0), ("a", 2, 1), ("b", 1, 1)] * 2
    here.made.clear()
    assert main(["experiments", "tiny", "--verify"]) == 0
    assert here.made == [("a", 2, 0), ("b", 1, 0)]
    assert capsys.readouterr().out.splitlines() == [
        "tiny                     verified",
        "  2 of 2 runs as recorded, to the last digit",
        "  the gap of the lesson: test, a less b was 10, and differs by +0 on average, 0 at most "
        "(1 seed); a repeat by 0",
    ]
    stamp = experiments.read("tiny")["verified"]
    assert stamp["seeds"] == [0]
    assert stamp["gap"] == "a repeat moves it by 0 at most"
    assert stamp.keys() >= {"date", "commit", "versions", "processor", "seconds"}
    assert main(["records", "--verified"]) == 0
    content = experiments.read("tiny")
    assert len(content["rows"]) == 12
    content["rows"][3]["test"] += 1  # by hand
    experiments.write(experiments.find("tiny"), content)
    assert verification.unverified("tiny") == f"since {stamp['date']} other rows"


def test_runs_that_come_out_otherwise_are_not_stamped(here, capsys):
    record = experiments.read("tiny")
    for row in record["rows"]:
        row["test"] += 0.01 if row["method"] == "a" else 0
    experiments.write(experiments.find("tiny"), record)
    assert main(["experiments", "tiny", "--verify", "--seeds", "0-2"]) == 1
    said = capsys.readouterr().out
    assert "tiny                     NOT VERIFIED\n" in said
    assert "1 of 6 numbers beyond what a repeat explains:\n" in said
    assert "and differs by -0.01 on average, 0.01 at most (3 seeds)" in said
    assert "the gap of the lesson: test, a less b was 10.01, and differs by -0.01 on" in said
    assert "verified" not in experiments.read("tiny")


def test_where_a_repeat_could_move_the_gap_more_seeds_run_or_it_is_not_verified(here):
    entry, record = experiments.find("tiny"), experiments.read("tiny")

    def needed(by):
        rows = [{"method": m, "lr": lr, "seed": 0, "differs": {"test": d}}
                for m, lr, d in (("a", 2, by), ("b", 1, -by))]  # fmt: skip
        experiments.write(entry, {**record, "repeat": {"rows": rows}})
        return verification.seeds_needed(entry, experiments.read("tiny"))

    # The gap is 10; a repeat moves it by twice `by` in one seed, and 2 spreads must be below 5.
    assert [needed(by) for by in (0, 1.2, 1.3, 2.1, 9)] == [1, 1, 2, 3, 3]
    verification.verify("tiny")
    assert experiments.read("tiny")["verified"]["gap"] == "not verified"


def test_of_a_tuning_the_runs_are_made_again_that_it_chose():
    chosen = experiments.results("turned_tuning")["chosen"]
    assert verification.cheapest("turned_tuning", [101]) == [(*of, 101) for of in chosen.items()]


STALE = "tiny is stale: version is 1, recorded was 2; record it anew"
SEEDS = "seeds must be recorded ones of tiny, [0, 1, 2]"
WITHOUT = "--verify or --repeat, one of them, and without --out"

NOT_AGAIN = [
    (["--verify", "--repeat"], 1, WITHOUT),
    (["--verify", "--out", "mine"], 1, WITHOUT),
    (["--verify"], 2, STALE),
    (["--verify", "--seeds", "0,7"], 1, f"{SEEDS}, got [7]"),
    (["--repeat", "--jobs", "0"], 1, "jobs must be at least 1, got 0"),
]


@pytest.mark.parametrize(("arguments", "version", "message"), NOT_AGAIN)
def test_what_cannot_be_made_again_is_one_line_and_code_2(
    here, tmp_path, refused, arguments, version, message
):
    path = tmp_path / "tiny.json"
    text = path.read_text().replace('"version": 1', f'"version": {version}')
    path.write_text(text)
    assert refused("experiments", "tiny", *arguments) == f"lora-edu: {message}\n"
    assert here.made == []
    assert path.read_text() == text


# -- what a run executed ----------------------------------------------------------------------

SOURCE = '''
"""A module."""
LIMIT: int = 3
OTHER = 4


def helper(x):
    """Add the limit."""
    return x + LIMIT


class Thing:
    def grow(self, x):
        if x < 0:
            raise ValueError(f"x is {x}")
        return [helper(i) for i in range(x)]

    def rest(self):
        return OTHER
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one module; return a function that writes it, imports it, and runs it."""
    folder = tmp_path / "lora_edu"
    folder.mkdir()
    monkeypatch.setattr(executed, "PACKAGE", folder)

    def write(source):
        (folder / "small.py").write_text(source)
        namespace = {}
        exec(compile(source, str(folder / "small.py"), "exec"), namespace)
        return executed.traced(lambda: namespace["Thing"]().grow(2))

    for cached in ("_tree", "_defined", "fingerprint"):
        monkeypatch.setattr(executed, cached, getattr(executed, cached).__wrapped__)
    return write


def test_the_pieces_are_what_was_executed_with_the_same_fingerprints_on_each_python(package):
    result, seen = package(SOURCE)
    assert result == [3, 4]
    expected = {"Thing.grow": "3abef0e4", "helper": "52267294"}
    assert executed.pieces(seen) == {"lora_edu.small": expected}


EDITS = [
    ('"""Add the limit."""', '"""Other words."""', []),
    ("def helper(x):", "def helper(x: int) -> int:  # a number", []),
    ('f"x is {x}"', '"x must not be negative"', []),
    ("LIMIT: int = 3", "LIMIT = 3", []),
    ("x + LIMIT", "x - LIMIT", ["small.helper"]),
    ("LIMIT: int = 3", "LIMIT: int = 2", ["small.helper"]),
    ("x < 0", "x < 1", ["small.Thing.grow"]),
    ("def grow", "def shrink", ["small.Thing.grow"]),
]


@pytest.mark.parametrize(("old", "new", "changed"), EDITS)
def test_a_change_of_meaning_changes_a_fingerprint_and_words_do_not(package, old, new, changed):
    then = executed.pieces(package(SOURCE)[1])
    assert old in SOURCE
    with pytest.raises(AttributeError) if "shrink" in new else np.errstate():
        package(SOURCE.replace(old, new))
    assert executed.changed(then) == changed
