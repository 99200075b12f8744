"""The recorded runs: one flow from constants, which are arguments, to rows, one a run.

The *keyword* arguments of an experiment are its constants; the *positional* ones say what it is run
for:

    run(method, lr, seed, *, rates, …)   each method with each of its ``rates``, for each seed
    run(seed, *, …)                      each seed
    run(*, …)                            once: a measurement

A run returns a row: numbers, texts, lists of them. A record is a version, the arguments, and the
rows, in ``records/NAME.json``. It is stale when an argument has another value now, or when somebody
has raised the ``version`` because the same arguments mean another thing. That is what an author
says. What a machine can say: a record is *verified* when enough of its runs were made again and
came out as recorded (:mod:`.again`), with code that has not changed since (:mod:`.executed`).
"""

import functools
import hashlib
import importlib
import inspect
import json
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
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lora_edu.course import LESSONS
from lora_edu.course.again import KEYS, Key, Row, by_key, changes, seeds_of
from lora_edu.files import write_whole

RECORDS = Path(__file__).parent / "records"
Settings = Mapping[str, Any]  # an argument that holds several constants
FIELDS = {"name", "version", "arguments", "made", "rows"}
READ: set[str] = set()  # the records that were read, by their names: see recorded.noted


@dataclass(frozen=True)
class Experiment:
    """A function to run, and what a record of it must have been made with."""

    name: str
    run: Callable[..., Row]
    version: int
    seeds: Sequence[int]  # those that are recorded, if nobody asks for others
    gap: tuple[str, str, str] | None = None  # the difference that the lesson speaks of
    compared: Sequence[str] = ()  # the columns that another machine must give, too; none means all

    def compares(self, number: str) -> bool:
        """Say whether a number, by the way to it in a row, must come out on another machine."""
        return not self.compared or bool({*number.split(".")} & {*self.compared})

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
    gap: tuple[str, str, str] | None = None,
    compared: Sequence[str] = (),
    tuning: Settings | None = None,
    choosing: Sequence[int] = range(100, 105),
) -> Callable[[Callable], Any]:
    """Register the decorated function as the experiment of its name.

    Raise ``version`` when a run would give other rows for the same arguments. With ``rates``,
    method → learning rates to try, a row holds ``"validation"``: the higher, the better the rate.
    ``gap`` is the difference of which the lesson speaks, and that a verification has to hold: a
    number, and the two methods between which it is (or, of rows without methods, the two ways to
    it: ``loss`` of ``pirate`` and of ``grimm``). With ``tuning``, other values for some arguments,
    there is a twin, ``NAME_tuning``: the same run for the seeds ``choosing``, which choose what the
    others report; it has no gap.
    """

    def register(run: Callable[..., Row]) -> Callable[..., Row]:
        name = run.__name__
        asked = _positional(run)
        if name in EXPERIMENTS:
            raise ValueError(f"two experiments are called {name!r}")
        if asked not in (KEYS, ("seed",), ()):
            raise TypeError(f"{name} must take {KEYS}, seed or nothing before `*`, got {asked}")
        entry = Experiment(name, run, version, seeds, gap, compared)
        EXPERIMENTS[name] = entry
        if tuning is not None:
            twin, tuned = f"{name}_tuning", functools.partial(run, **tuning)
            EXPERIMENTS[twin] = replace(entry, name=twin, run=tuned, seeds=choosing, gap=None)
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
    READ.add(name)
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
    """Return a record and what follows from its rows: search and chosen.

    ``search``: method → rate → the validations, one a seed. ``chosen``: method → the rate with the
    best mean validation. A measurement has the columns of its row in their place.
    """
    record = read(name)
    rows: list[Row] = record["rows"]
    if "rates" not in record["arguments"]:
        return record if "seed" in rows[0] else {**record, **rows[0]}
    tried: dict[str, dict[float, list[Row]]] = {}
    for row in rows:
        tried.setdefault(row["method"], {}).setdefault(row["lr"], []).append(row)
    search = {
        method: {f"{lr:g}": [row["validation"] for row in of] for lr, of in rates.items()}
        for method, rates in tried.items()
    }
    chosen = {method: _best(rates) for method, rates in tried.items()}
    return {**record, "search": search, "chosen": chosen}


def _best(tried: Mapping[float, Sequence[Row]]) -> float:
    """Return the rate with the best mean validation; of equals, the first that was run in full.

    Means are equal to nine digits: the last ones of a sum depend on the version of Python.
    """

    def rank(lr: float) -> tuple[float, int]:
        mean = statistics.fmean(row["validation"] for row in tried[lr])
        return round(mean, 9), len(tried[lr][0])  # the more columns, the fuller the run

    return max(tried, key=rank)


def intervals(gaps: Mapping[Any, NDArray]) -> list[tuple[Any, float, float, float, float]]:
    """Return of each comparison, gaps one a seed: its mean, the 95 % interval, p of no gap.

    The interval is Student's, the p after Holm: the least p times how many there are, the next
    times one fewer, none below the last.
    """
    from scipy.stats import ttest_1samp  # of [course]: the figures are drawn without it

    tests: dict[Any, Any] = {name: ttest_1samp(values, 0) for name, values in gaps.items()}
    rows, last = {}, 0.0
    for i, name in enumerate(sorted(tests, key=lambda name: tests[name].pvalue)):
        low, high = tests[name].confidence_interval()
        last = max(last, min(1.0, (len(tests) - i) * tests[name].pvalue))
        rows[name] = (name, float(gaps[name].mean()), float(low), float(high), last)
    return [rows[name] for name in gaps]


def stale(name: str) -> str | None:
    """Return in which version or argument a record differs from the code, or which run it lacks.

    None if it is fresh.
    """
    entry = find(name)
    content = read(name)
    if why := _mismatch(content, entry):
        return why
    rows = by_key(content["rows"])
    if not rows:
        return "it has no run"
    missing = [key for key in entry.keys(seeds_of(rows.values())) if key not in rows]
    return f"it lacks the run {missing[0]}" if missing else None


def _mismatch(content: Mapping[str, Any], entry: Experiment) -> str | None:
    """Compare the version and the arguments of a record with those of the code."""
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
    ``NAME.part.json`` when it is done: after an interruption, only what is missing runs. Seeds that
    the record holds already, and that are not asked for, stay in it.

    If a number differs from the recorded one by more than a repeat explains (:mod:`.again`), or if
    the record was made with other arguments and holds a seed that was not run now, the record is
    left as it was, the new one is written to ``NAME.new.json``, and what differs is returned.

    A ValueError if there is nothing to run, or if such a new record still waits for a decision.
    """
    from tqdm.auto import tqdm

    entry, folder = find(name), folder or RECORDS
    keys = list(dict.fromkeys(entry.keys(entry.seeds if seeds is None else seeds)))
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    if not keys:
        raise ValueError("seeds must be at least one, got none")
    new, part = folder / f"{name}.new.json", folder / f"{name}.part.json"
    if new.exists():
        raise ValueError(f"{new} waits: rename it to {name}.json if it is right, or delete it")
    rows: dict[Key, Row] = {}
    if part.is_file():  # of runs before an interruption, unless made with other arguments
        content = read(f"{name}.part", folder)
        rows = {} if _mismatch(content, entry) else by_key(content["rows"])
    todo = [key for key in keys if key not in rows]
    how = {"desc": name, "unit": "run", "total": len(keys), "initial": len(keys) - len(todo)}
    with tqdm(**how, disable=not progress) as bar:
        made = ((key, run(name, key, folder)) for key in todo)
        if jobs > 1:
            made = in_processes(run, name, todo, jobs, folder)
        for key, row in made:
            rows[key] = row
            write_whole(part, _text(entry, [], rows, {}))
            bar.update()
    differ = _finish(entry, {key: rows.pop(key) for key in keys}, folder)
    if rows:  # of seeds that were not asked for
        write_whole(part, _text(entry, [], rows, {}))
    else:
        part.unlink()
    return differ


def _finish(entry: Experiment, rows: dict[Key, Row], folder: Path) -> list[str]:
    """Write the record, or a new one beside it if it differs from the one that is there."""
    path, seeds = folder / f"{entry.name}.json", seeds_of(rows.values())
    made, differ, kept = [made_now(seeds)], [], {}
    if path.is_file():
        old = read(entry.name, folder)
        held = by_key(old["rows"])
        if why := _mismatch(old, entry):
            lost = sorted(set(seeds_of(held.values())) - set(seeds))
            differ = [f"{why}; its seeds {lost} were not run now"] if lost else []
        else:
            found = changes(held, rows, old.get("repeat", {}).get("rows", ()))
            differ = [str(c) for c in found if c.beyond and entry.compares(c.number)]
            rows, kept = held | rows, {k: old[k] for k in ("repeat", "verified") if k in old}
            for each in old["made"]:
                each["seeds"] = [seed for seed in each["seeds"] if seed not in seeds]
            made = [each for each in old["made"] if each["seeds"]] + made
    new = path.with_suffix(".new.json") if differ else path
    write_whole(new, _text(entry, made, rows, kept))
    return differ


def write(entry: Experiment, content: Mapping[str, Any]) -> None:
    """Write a record that has the same runs as before, and says something more of them."""
    kept = {name: value for name, value in content.items() if name not in FIELDS}
    text = _text(entry, content["made"], by_key(content["rows"]), kept)
    write_whole(RECORDS / f"{entry.name}.json", text)


def _text(entry: Experiment, made: list, rows: Mapping[Key, Row], kept: dict[str, Any]) -> str:
    """Return a record as JSON, an argument and a run a line: a diff shows what has changed.

    ``kept`` is what verifications have added: the repeat, and by what it was last verified.
    """
    arguments = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in entry.arguments.items()]
    by_seed = [rows[key] for key in sorted(rows, key=lambda key: key[-1:])]
    parts = [
        f'"name": {json.dumps(entry.name)}',
        f'"version": {entry.version}',
        '"arguments": {\n  ' + ",\n  ".join(arguments) + "\n }",
        '"made": [\n  ' + ",\n  ".join(map(json.dumps, made)) + "\n ]",
        '"rows": [\n  ' + ",\n  ".join(map(json.dumps, by_seed)) + "\n ]",
        *(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in kept.items()),
    ]
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def made_now(seeds: list[int]) -> dict[str, Any]:
    """Return what a record says of seeds that were run today, in this environment."""
    from importlib.metadata import version

    names = ("numpy", "torch", "scikit-learn", "transformers")
    versions = {"python": platform.python_version(), **{name: version(name) for name in names}}
    today = datetime.now(timezone.utc).date().isoformat()
    return {"date": today, "versions": versions, "seeds": seeds}


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
    files = sorted(folder.glob("*.safetensors"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


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


def in_processes(
    of: Callable[..., Any], name: str, keys: Sequence[Key], jobs: int, *more: Any
) -> Iterator[tuple[Key, Any]]:
    """Yield each key with ``of(name, key, *more)`` as they come, from fresh processes."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_end_with_the_parent) as pool:
        futures = {pool.submit(of, name, key, *more): key for key in keys}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:  # Ctrl-C as well: what runs now would not be noted any more
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _end_with_the_parent() -> None:
    """Let this process end when its parent does, even if that is killed, and not before."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this one
    parent: Any = multiprocessing.parent_process()

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
