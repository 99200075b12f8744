"""The recorded runs: one flow from constants, which are arguments, to rows, one a run.

The *keyword* arguments of an experiment are its constants; the *positional* ones say what it is run
for:

    run(method, lr, seed, *, rates, …)   each method with each of its ``rates``, for each seed
    run(seed, *, …)                      each seed
    run(*, …)                            once: a measurement

A run returns a row: numbers, texts, lists of them. A record is a version, the arguments, and the
rows, in ``records/NAME.json``. It is fresh by meaning: it is stale when an argument has another
value now, or when somebody has raised the ``version`` because the same arguments mean another
thing. How the code is written plays no part.
"""

import contextlib
import csv
import functools
import hashlib
import importlib
import inspect
import io
import json
import math
import multiprocessing
import os
import platform
import shutil
import signal
import statistics
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.util import find_spec
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lora_edu.course import LESSONS
from lora_edu.files import write_whole

RECORDS = Path(__file__).parent / "records"
Row = dict[str, Any]
Settings = Mapping[str, Any]  # an argument that holds several constants
Key = tuple[Any, ...]  # (method, lr, seed), (seed,) or ()
KEYS = ("method", "lr", "seed")
FIELDS = {"name", "version", "arguments", "made", "rows"}


@dataclass(frozen=True)
class Experiment:
    """A function to run, and what a record of it must have been made with."""

    name: str
    run: Callable[..., Row]
    version: int
    seeds: Sequence[int]  # those that are recorded, if nobody asks for others
    tolerance: float = 0.01  # by which a number may come out otherwise
    compared: Sequence[str] = ()  # the columns that are compared then; none means all

    @property
    def arguments(self) -> dict[str, Any]:
        """The constants, name → value, as JSON holds them."""
        parameters = inspect.signature(self.run).parameters.values()
        constants = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        return json.loads(json.dumps(constants))

    def keys(self, seeds: Iterable[int]) -> list[Key]:
        """Return what each run is for, seed by seed."""
        asked = _positional(self.run)
        if asked == KEYS:
            grid = [(m, lr) for m, rates in self.arguments["rates"].items() for lr in rates]
            return [(method, lr, seed) for seed in seeds for method, lr in grid]
        return [(seed,) for seed in seeds] if asked == ("seed",) else [()]


def settings(method: str) -> tuple[str, dict[str, int]]:
    """Return what a method's name says: ``random start r=8 alpha=32`` is its kind, r and alpha."""
    words = method.split()
    numbers = dict(word.split("=") for word in words if "=" in word)
    kind = " ".join(word for word in words if "=" not in word)
    return kind, {name: int(value) for name, value in numbers.items()}


def _positional(run: Callable[..., Row]) -> tuple[str, ...]:
    parameters = inspect.signature(run).parameters.values()
    return tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)


EXPERIMENTS: dict[str, Experiment] = {}


def experiment(
    *,
    version: int = 1,
    seeds: Sequence[int] = range(5),
    tolerance: float = 0.01,
    compared: Sequence[str] = (),
    tuning: Settings | None = None,
    choosing: Sequence[int] = range(100, 105),
) -> Callable[[Callable], Any]:
    """Register the decorated function as the experiment of its name.

    Raise ``version`` when a run would give other rows for the same arguments. With ``rates``,
    method → learning rates to try, a row holds ``"validation"``: the higher, the better the rate.
    For ``tolerance`` and ``compared`` see :func:`differences`. With ``tuning``, other values for
    some arguments, there is a twin, ``NAME_tuning``: the same run for the seeds ``choosing``, which
    choose what the others report.
    """

    def register(run: Callable[..., Row]) -> Callable[..., Row]:
        name, asked = run.__name__, _positional(run)
        if name in EXPERIMENTS:
            raise ValueError(f"two experiments are called {name!r}")
        if asked not in (KEYS, ("seed",), ()):
            raise TypeError(f"{name} must take {KEYS}, seed or nothing before `*`, got {asked}")
        EXPERIMENTS[name] = Experiment(name, run, version, seeds, tolerance, compared)
        if tuning is not None:
            twin = functools.partial(run, **tuning)
            EXPERIMENTS[f"{name}_tuning"] = Experiment(
                f"{name}_tuning", twin, version, choosing, tolerance, compared
            )
        return run

    return register


def load() -> dict[str, Experiment]:
    """Import the experiments of every lesson; return the registry, name → experiment."""
    for lesson in LESSONS:
        if find_spec(f"lora_edu.course.{lesson}.experiments"):
            importlib.import_module(f"lora_edu.course.{lesson}.experiments")
    return EXPERIMENTS


def find(name: str) -> Experiment:
    """Return the experiment of this name; a ValueError if there is none."""
    known = load()
    if name not in known:
        raise ValueError(f"no experiment is called {name!r}; there are {', '.join(known)}")
    return known[name]


# -- reading a record -------------------------------------------------------------------------


def read(name: str, folder: Path | None = None) -> dict[str, Any]:
    """Return a record as it is stored: name, version, arguments, made, rows.

    ``made`` says which seeds were run when, and with which versions of the libraries. A ValueError
    if there is no such record, or if it is damaged.
    """
    path = (folder or RECORDS) / f"{name}.json"
    if not path.is_file():
        raise ValueError(f"there is no record {path.name} in {path.parent}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict) or not content.keys() >= FIELDS:
        raise ValueError(f"{path} is damaged: it is no record")
    return content


def results(name: str) -> dict[str, Any]:
    """Return a record and what follows from its rows: search, chosen, runs, mean, std.

    ``search``: method → rate → the validations, one a seed. ``chosen``: method → the rate with the
    best mean validation. ``runs``: method → the rows at that rate, and ``mean`` and ``std`` (of the
    sample) of their single numbers. A measurement has the columns of its row in their place.
    """
    record = read(name)
    rows: list[Row] = record["rows"]
    if "rates" not in record["arguments"]:
        return record if "seed" in rows[0] else {**record, **rows[0]}
    tried: dict[str, dict[float, list[Row]]] = {}
    for row in rows:
        tried.setdefault(row["method"], {}).setdefault(row["lr"], []).append(row)
    search = {}
    for method, rates in tried.items():
        search[method] = {f"{lr:g}": [row["validation"] for row in of] for lr, of in rates.items()}
    chosen = {method: _best(rates) for method, rates in tried.items()}
    runs = {method: tried[method][lr] for method, lr in chosen.items()}
    mean = {method: _over_seeds(statistics.fmean, of) for method, of in runs.items()}
    std = {method: _over_seeds(statistics.stdev, of) for method, of in runs.items()}
    return {**record, "search": search, "chosen": chosen, "runs": runs, "mean": mean, "std": std}


def _best(tried: Mapping[float, Sequence[Row]]) -> float:
    """Return the rate with the best mean validation; of equals, the first that was run in full.

    Means are equal to nine digits: the last ones of a sum depend on the version of Python.
    """

    def rank(lr: float) -> tuple[float, int]:
        mean = statistics.fmean(row["validation"] for row in tried[lr])
        return round(mean, 9), len(tried[lr][0])  # the more columns, the fuller the run

    return max(tried, key=rank)


def _over_seeds(of: Callable[[list[float]], float], rows: Sequence[Row]) -> dict[str, float]:
    """Return a statistic of each column that holds a single number; NaN where it has none."""
    columns = [name for name, value in rows[0].items() if isinstance(value, (int, float))]
    found = {}
    for column in columns:
        if column not in KEYS:
            values = [row[column] for row in rows]
            alone = of is statistics.stdev and len(values) < 2
            found[column] = math.nan if alone else round(of(values), 6)
    return found


def intervals(gaps: Mapping[Any, NDArray]) -> list[tuple[Any, float, float, float, float]]:
    """Return of each comparison, gaps one a seed: its mean, the 95 % interval, p of no gap.

    The interval is Student's, the p after Holm: the least p times how many there are, the next
    times one fewer, none below the last.
    """
    from scipy.stats import ttest_1samp  # of [course]: the figures are drawn without it

    tests: dict[Any, Any] = {name: ttest_1samp(values, 0) for name, values in gaps.items()}
    left, adjusted, last = len(tests), {}, 0.0
    for name in sorted(tests, key=lambda name: tests[name].pvalue):
        last = max(last, min(1.0, left * tests[name].pvalue))
        adjusted[name], left = last, left - 1
    rows = []
    for name, test in tests.items():
        low, high = test.confidence_interval()
        rows.append((name, float(gaps[name].mean()), float(low), float(high), adjusted[name]))
    return rows


def stale(name: str) -> str | None:
    """Return in which version or argument a record differs from the code, or which run it lacks.

    None if it is fresh.
    """
    entry = find(name)
    content = read(name)
    if why := _mismatch(content, entry):
        return why
    rows = _by_key(content["rows"])
    missing = _missing(entry, rows)
    return f"it lacks the run {missing[0]}" if missing else None if rows else "it has no run"


def _missing(entry: Experiment, rows: Mapping[Key, Row]) -> list[Key]:
    """Return the runs that the seeds of some rows lack."""
    return [key for key in entry.keys(_seeds(rows)) if key not in rows]


def _seeds(rows: Iterable[Key]) -> list[int]:
    return sorted({key[-1] for key in rows if key})


def _mismatch(content: Mapping[str, Any], entry: Experiment) -> str | None:
    """Compare version and arguments of a record, or of the first line of a part, with the code."""
    now = {"version": entry.version} | entry.arguments
    then = {"version": content["version"]} | content["arguments"]
    for argument in [*now, *then]:
        if argument not in then:
            return f"{argument} is {now[argument]}, and was no argument when it was recorded"
        if argument not in now:
            return f"{argument} was {then[argument]}, and is no argument now"
        if now[argument] != then[argument]:
            return f"{argument} is {now[argument]}, recorded was {then[argument]}"
    return None


def as_csv(name: str) -> str:
    """Return the rows of a record as CSV, a line a run; a list is written as JSON."""
    rows = read(name)["rows"]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        nested = {k: json.dumps(v) for k, v in row.items() if isinstance(v, (list, dict))}
        writer.writerow(row | nested)
    return text.getvalue()


# -- making one -------------------------------------------------------------------------------


def record(
    name: str,
    seeds: Sequence[int] | None = None,
    folder: Path | None = None,
    *,
    jobs: int = 1,
    progress: bool = False,
) -> list[str]:
    """Run an experiment for some seeds and write ``NAME.json``; return how it differs from before.

    The runs are independent tasks of one thread each, ``jobs`` at a time. Each is noted in
    ``NAME.part`` when it is done: started again after an interruption, whatever it was, only what
    is missing runs. Seeds that the record holds already, and that are not asked for, stay in it.

    Where a row differs from the recorded one beyond its tolerance (see :func:`differences`), or
    where the record was made with other arguments and holds a seed that was not run now, it is left
    as it was, the new one is ``NAME.new.json``, and what differs is returned.

    A ValueError if there is nothing to run, if such a new one still waits for a decision, or if
    another process is recording the same.
    """
    from tqdm.auto import tqdm

    entry, folder = find(name), folder or RECORDS
    keys = list(dict.fromkeys(entry.keys(entry.seeds if seeds is None else seeds)))
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    if not keys:
        raise ValueError("seeds must be at least one, got none")
    _refuse_if_one_waits(name, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _Part(folder / f"{name}.part", entry) as part:
        todo = [key for key in keys if key not in part.rows]
        done = len(keys) - len(todo)
        with tqdm(
            total=len(keys), initial=done, desc=name, unit="run", disable=not progress
        ) as bar:
            for key, row in _run_all(name, todo, jobs, folder):
                part.add(key, row)
                bar.update()
        found = _finish(entry, {key: part.rows[key] for key in keys}, folder)
        part.drop(keys)
    return found


def merge(name: str, folders: Iterable[Path], folder: Path | None = None) -> list[str]:
    """Make one record of what several machines recorded, whole or in part; run nothing.

    ``folders`` hold ``NAME.json`` or ``NAME.part``. As in :func:`record`, the differences from the
    record that is there are returned. A ValueError if a shard was made with another version or
    other arguments, if two disagree, or if a seed lacks a run.
    """
    entry, folder = find(name), folder or RECORDS
    _refuse_if_one_waits(name, folder)
    rows: dict[Key, Row] = {}
    made: list[dict[str, Any]] = []
    for shard in folders:
        given, why = _noted(shard / f"{name}.part", entry)
        if why:
            raise ValueError(f"{shard / name}.part was made otherwise: {why}")
        if (shard / f"{name}.json").is_file():
            whole = read(name, shard)
            if why := _mismatch(whole, entry):
                raise ValueError(f"{shard / name}.json was made otherwise: {why}")
            made += whole["made"]
            given |= _by_key(whole["rows"])
        if not given:
            raise ValueError(f"{shard} holds no run of {name}")
        if disagree := differences(rows, given, entry):
            raise ValueError(f"{shard} disagrees with the shards before it: {disagree[0]}")
        rows |= given
    if missing := _missing(entry, rows):
        raise ValueError(f"no shard has the run {missing[0]} of {name}")
    rows = {key: rows[key] for key in entry.keys(_seeds(rows))}
    return _finish(entry, rows, folder, made)


def beside(name: str, folder: Path) -> str:
    """Say how the runs recorded in a folder compare with the same runs of the lessons' record."""
    own, other = (_by_key(read(name, place)["rows"]) for place in (RECORDS, folder))
    same = sum(row == own.get(key) for key, row in other.items())
    beyond = differences(own, other, find(name))
    told = f"{len(other)} runs: {same} as recorded, to the last digit;"
    return "\n".join([f"{told} {len(beyond)} beyond what another processor explains", *beyond])


def _refuse_if_one_waits(name: str, folder: Path) -> None:
    new = folder / f"{name}.new.json"
    if new.exists():
        raise ValueError(f"{new} waits: rename it to {name}.json if it is right, or delete it")


def differences(old: Mapping[Key, Row], new: Mapping[Key, Row], entry: Experiment) -> list[str]:
    """Name the runs of two recordings that differ by more than another processor can explain.

    A number may differ by three standard deviations of a difference, which has √2 times the spread
    over the seeds: of the recording in which they lie closer together, but no closer than in the
    middle of all methods, for five may do so by chance. In any case it may by the ``tolerance`` of
    the experiment, a count by 1. Of a list, that is its mean. Of a row, the columns that it has
    ``compared`` are looked at, or all; none may be missing. One line a run, for the first number.
    """
    spreads, spreads_now = _spreads(old), _spreads(new)
    columns: dict[str, list[float]] = {}
    for (_, at), spread in spreads.items():
        columns.setdefault(at, []).append(spread)
    found = []
    for key in old.keys() & new.keys():
        what = ", ".join(map(str, key)) or "the measurement"
        if gone := sorted(old[key].keys() - new[key].keys()):
            found.append(f"{what}: {gone[0]} is missing")
            continue
        before, after = _leaves(old[key]), _leaves(new[key])
        for at in before.keys() & after.keys():
            if entry.compared and not set(entry.compared).intersection(at.split(".")):
                continue
            grain = 1 if isinstance(before[at], int) else entry.tolerance
            spread = spreads.get((key[:-1], at), 0.0)
            spread = min(spread, spreads_now.get((key[:-1], at), spread))
            spread = max(spread, statistics.median(columns.get(at, [0.0])))
            tolerance = max(3 * math.sqrt(2) * spread, grain)
            if not abs(after[at] - before[at]) <= tolerance:  # NaN is no less and no more
                found.append(f"{what}: {at} is {after[at]:.6g}, recorded was {before[at]:.6g}")
                break
    return sorted(found)


def _spreads(rows: Mapping[Key, Row]) -> dict[tuple[Key, str], float]:
    """Return the standard deviation over the seeds: (all of the key but the seed, number)."""
    columns: dict[tuple[Key, str], list[float]] = {}
    for key, row in rows.items():
        for at, number in _leaves(row).items():
            columns.setdefault((key[:-1], at), []).append(number)
    return {at: statistics.stdev(values) for at, values in columns.items() if len(values) > 1}


def _leaves(value: Any, at: str = "") -> dict[str, float]:
    """Return the numbers in a row, by the way to them: ``cases.0.ratio``.

    Of a list of numbers that is its mean: a training curve may dip at another step each time.
    """
    if isinstance(value, (int, float)):
        return {at.removeprefix("."): value}
    if isinstance(value, list) and not any(isinstance(item, dict) for item in value):
        numbers = [number for item in value for number in _leaves(item).values()]
        return {at.removeprefix("."): statistics.fmean(numbers)} if numbers else {}
    if isinstance(value, list):
        value = dict(enumerate(value))
    found: dict[str, float] = {}
    if isinstance(value, dict):
        for name, item in value.items():
            found |= _leaves(item, f"{at}.{name}")
    return found


def _finish(
    entry: Experiment,
    rows: Mapping[Key, Row],
    folder: Path,
    made: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """Write the record, or beside it if it differs from the one that is there.

    ``made`` is what shards say of their seeds; the others were made here, today.
    """
    path = folder / f"{entry.name}.json"
    before: dict[Key, Row] = {}
    differ: list[str] = []
    here = set(_seeds(rows)) - {seed for each in made for seed in each["seeds"]}
    if here or not made:
        made = [*made, _made_here(here)]
    if path.is_file():
        old = read(entry.name, folder)
        held = _by_key(old["rows"])
        if why := _mismatch(old, entry):
            lost = sorted(set(_seeds(held)) - set(_seeds(rows)))
            differ = [f"{why}; its seeds {lost} were not run now"] if lost else []
        else:
            before, differ = held, differences(held, rows, entry)
            made = [*_without(old["made"], _seeds(rows)), *made]
    rows = {**before, **rows}
    content = {
        "name": entry.name,
        "version": entry.version,
        "arguments": entry.arguments,
        "made": made,
        "rows": [rows[key] for key in sorted(rows, key=lambda key: key[-1:])],  # by seed
    }
    text = _text(content)
    write_whole(path.with_suffix(".new.json") if differ else path, text)
    return differ


def _text(content: Mapping[str, Any]) -> str:
    """Write a record as JSON, an argument and a run a line: what changes, a diff shows."""
    parts = []
    for name, value in content.items():
        shown = json.dumps(value, ensure_ascii=False)
        if name == "arguments":
            lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
            shown = "{\n  " + ",\n  ".join(lines) + "\n }"
        if name in ("made", "rows"):
            shown = "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
        parts.append(f"{json.dumps(name)}: {shown}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def _made_here(seeds: set[int]) -> dict[str, Any]:
    """Say of seeds that they were run today, with the libraries that are here."""
    from importlib.metadata import version

    names = ("numpy", "torch", "scikit-learn", "transformers")
    versions = {"python": platform.python_version(), **{name: version(name) for name in names}}
    today = datetime.now(timezone.utc).date().isoformat()
    return {"date": today, "versions": versions, "seeds": sorted(seeds)}


def _without(made: Iterable[Mapping[str, Any]], seeds: Sequence[int]) -> list[Mapping[str, Any]]:
    """Leave these seeds out of what is said of how a record was made."""
    rest = [{**each, "seeds": [s for s in each["seeds"] if s not in seeds]} for each in made]
    return [each for each in rest if each["seeds"]]


def _by_key(rows: Iterable[Row]) -> dict[Key, Row]:
    return {tuple(row[name] for name in KEYS if name in row): row for row in rows}


def _noted(path: Path, entry: Experiment) -> tuple[dict[Key, Row], str | None]:
    """Return the runs in a part, and why they do not fit; what is cut off is left out."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    lines: list[dict[str, Any]] = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):  # cut off when the process was killed
            value = json.loads(line)
            if isinstance(value, dict):
                lines.append(value)
    if not lines:
        return {}, None
    if lines[0].keys() != {"version", "arguments"}:
        return {}, "it does not begin with a version and arguments"
    why = _mismatch(lines[0], entry)
    return ({} if why else _by_key(lines[1:])), why


class _Part:
    """The runs that are done, one a line, under a first line with the version and the arguments.

    Whoever adds to it holds a lock on the file (where there are such locks: not on Windows).
    """

    def __init__(self, path: Path, entry: Experiment) -> None:
        self.path, self.entry = path, entry
        self.rows: dict[Key, Row] = {}

    def __enter__(self) -> "_Part":
        """Take the file, to add to it; a ValueError if another process has it."""
        self._file = self.path.open("a", encoding="utf-8")
        try:
            import fcntl

            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except OSError:
            self._file.close()
            raise ValueError(f"{self.path} is being written by another process") from None
        self.rows, _ = _noted(self.path, self.entry)
        self.drop(())
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the file, if there is a run in it."""
        if not self.rows:
            if os.name == "nt":  # there an open file cannot be deleted
                self._file.close()
            self.path.unlink()
        self._file.close()

    def add(self, key: Key, row: Row) -> None:
        """Note a run."""
        self.rows[key] = row
        self._write(row)

    def drop(self, keys: Iterable[Key]) -> None:
        """Begin the file anew, without these runs: they are in a record."""
        for key in keys:
            del self.rows[key]
        self._file.truncate(0)
        self._write({"version": self.entry.version, "arguments": self.entry.arguments})
        for row in self.rows.values():
            self._write(row)

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


# -- running ----------------------------------------------------------------------------------


_beside: ContextVar[Path | None] = ContextVar("_beside", default=None)  # the record being made


def attach(name: str, write: Callable[[Path], None]) -> str:
    """Let an experiment ``write`` a folder NAME beside its record; return the hash of its weights.

    (SHA-256, of ``*.safetensors``.) One that is there with another hash stays, and the new one is
    NAME.new. Where nothing is recorded, nothing is written, and the hash is empty.
    """
    folder = _beside.get()
    if folder is None:
        return ""
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary, "made")
        write(made)
        found = _hash_of_weights(made)
        there = folder / name
        if there.exists() and _hash_of_weights(there) != found:
            there = there.with_name(f"{there.name}.new")
        shutil.copytree(made, there, dirs_exist_ok=True)
    return found


def _hash_of_weights(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        found.update(path.read_bytes())
    return found.hexdigest()


def run(name: str, key: Key, beside: Path | None = None) -> Row:
    """Run an experiment for one key, in one thread; return its row, which begins with the key.

    What it attaches goes to the folder ``beside``.
    """
    import torch

    _beside.set(beside)

    torch.set_num_threads(1)  # so small that a second one is in the way
    names = KEYS[len(KEYS) - len(key) :]  # all, the seed, or none
    row = dict(zip(names, key, strict=True)) | find(name).run(*key)
    try:
        json.dumps(row, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} {key} returned what a record cannot hold: {error}") from None
    return row


def _run_all(name: str, keys: Sequence[Key], jobs: int, beside: Path) -> Iterator[tuple[Key, Row]]:
    """Run an experiment for each key; yield the rows as they come."""
    if jobs == 1:
        for key in keys:
            yield key, run(name, key, beside)
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_end_with_the_parent)
    try:
        futures = {pool.submit(run, name, key, beside): key for key in keys}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BaseException:  # Ctrl-C as well: what runs now would not be noted any more
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_the_parent() -> None:
    """Let this process end when the one that asked for it does, be it killed, and not before."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this one
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a process of a pool ends with another"
    threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
