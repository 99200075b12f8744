"""The long runs: several seeds, a learning rate chosen on validation, every run recorded.

An experiment is a function ``run(method, lr, seed)``, registered with the rates to try for each
method. The rate of a method is the one with the best mean ``"validation"`` over the seeds. What
the runs at this rate returned beside it, the test among them, goes into the record; of the other
rates nothing else is kept. An experiment without rates is a *measurement*: ``run()`` is called
once, and what it returns is the record. Experiments stand in the folders of the lessons, their
records in ``lora_edu/course/records``.
"""

import ast
import hashlib
import importlib
import inspect
import json
import platform
import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lora_edu.course import LESSONS
from lora_edu.files import write_whole

RESULTS = Path(__file__).parent / "records"
Run = dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """What to run: a function, and for each method the learning rates to try, if any."""

    name: str
    run: Callable[..., Run]
    rates: Mapping[str, Sequence[float]]
    uses: Sequence[Callable]
    seeds: int = 5  # as many are recorded, if nobody asks for another number

    @property
    def digest(self) -> str:
        """A digest of the rates and of the code that is particular to the experiment."""
        code = [_code(function) for function in (self.run, *self.uses)]
        parts = json.dumps([self.name, {m: list(r) for m, r in self.rates.items()}, code])
        return hashlib.sha256(parts.encode()).hexdigest()[:16]


def _code(function: Callable) -> str:
    """Return a function's source but for docstrings: where only words change, a record holds."""
    source = textwrap.dedent(inspect.getsource(function))
    lines, documented = source.splitlines(), (ast.FunctionDef, ast.ClassDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            text = node.body[0]
            lines[text.lineno - 1 : text.end_lineno] = [""] * (text.end_lineno - text.lineno + 1)
    return "\n".join(line for line in lines if line)


EXPERIMENTS: dict[str, Experiment] = {}


def experiment(
    name: str,
    rates: Mapping[str, Sequence[float]] | None = None,
    uses: Sequence[Callable] = (),
    seeds: int = 5,
) -> Callable[[Callable], Callable]:
    """Register the decorated ``run(method, lr, seed)`` as the experiment ``name``.

    It returns a dict of numbers or lists of them, ``"validation"`` among them: the higher, the
    better the rate. Without ``rates`` it is a measurement, ``run()``. ``uses``: functions whose
    code the record depends on as well. ``seeds``: how many are recorded.
    """

    def register(run: Callable[..., Run]) -> Callable:
        if name in EXPERIMENTS:
            raise ValueError(f"two experiments are called {name!r}")
        EXPERIMENTS[name] = Experiment(name, run, rates or {}, uses, seeds)
        return run

    return register


def load() -> dict[str, Experiment]:
    """Import the experiments of every lesson; return the registry, name → experiment."""
    for lesson in LESSONS:
        if find_spec(f"lora_edu.course.{lesson}.experiments"):
            importlib.import_module(f"lora_edu.course.{lesson}.experiments")
    return EXPERIMENTS


def results(name: str, *, again: bool = False) -> dict[str, Any]:
    """Return the record of an experiment: digest, rates, chosen, search, runs, mean, std.

    ``runs``, method → one dict a seed; ``mean`` and ``std``, method → its single numbers over the
    seeds (std: of the sample). A measurement has what it returned in the place of the last five.
    ``again``: the second recording, of the same seeds on another processor. Its last digits differ,
    training amplifies them, and what a lesson claims has to hold in both. A ValueError if there is
    no such record.
    """
    path = RESULTS / (f"{name}_again.json" if again else f"{name}.json")
    if not path.is_file():
        raise ValueError(f"there is no record {path.name} in {path.parent}")
    return json.loads(path.read_text(encoding="utf-8"))


def per_seed(content: Mapping[str, Any], method: str, key: str = "test") -> np.ndarray:
    """Return what the runs of a method gave, (seeds,) or (seeds, n): the seeds in their order."""
    return np.array([run[key] for run in content["runs"][method]])


def ahead(better: Sequence[float], worse: Sequence[float] | float, by: float = 0.0) -> bool:
    """Return whether one is ahead of the other by more than ``by``, beyond the spread of seeds.

    Both hold one number a seed, in the same order (or ``worse`` is a bound). With g the n gaps
    ``better - worse - by``, their mean must exceed two of its standard errors: ḡ > 2 s(g)/√n.
    """
    if len(better) < 2 or np.shape(worse) not in ((), np.shape(better)):
        shapes = f"{np.shape(better)} and {np.shape(worse)}"
        raise ValueError(f"better and worse must hold one number a seed, two or more, got {shapes}")
    gaps = np.subtract(better, worse) - by
    return bool(gaps.mean() > 2 * gaps.std(ddof=1) / len(gaps) ** 0.5)


def record(
    name: str, seeds: int | None = None, folder: Path | None = None, *, progress: bool = False
) -> dict[str, Any]:
    """Run an experiment with the seeds 0, 1, … and write ``NAME.json``, whole; return it.

    Each run is noted in ``NAME.json.part`` when it is done: started again after an interruption,
    with the same code, it goes on from there. ``seeds``, as many as the experiment asks for if not
    given, is at least 2, for a spread.
    """
    known = load()
    if name not in known:
        raise ValueError(f"no experiment is called {name!r}; there are {', '.join(known)}")
    entry, folder = known[name], folder or RESULTS
    seeds = entry.seeds if seeds is None else seeds
    if seeds < 2:
        raise ValueError(f"seeds must be at least 2, got {seeds}")
    digest = entry.digest  # of the code that runs: the file may be edited meanwhile
    if not entry.rates:
        return _write(folder, name, digest, entry.run())
    part = _Part(folder / f"{name}.json.part", entry, digest)
    found: dict[str, dict[float, list[Run]]] = {method: {} for method in entry.rates}
    tries = [(method, lr) for method, rates in entry.rates.items() for lr in rates]
    with _bar(seeds * len(tries), name, progress) as bar:
        for method, lr in tries:
            found[method][lr] = []
            for seed in range(seeds):
                found[method][lr].append({"seed": seed, **part.get(method, lr, seed)})
                bar.update()
    search = {
        method: {f"{lr:g}": [run["validation"] for run in runs] for lr, runs in of.items()}
        for method, of in found.items()
    }
    chosen = {m: max(of, key=lambda lr, m=m: sum(search[m][f"{lr:g}"])) for m, of in found.items()}
    runs = {method: of[chosen[method]] for method, of in found.items()}
    content = {
        "rates": {method: list(rates) for method, rates in entry.rates.items()},
        "chosen": chosen,
        "search": search,
        "runs": runs,
        "mean": _over_seeds(runs, statistics.fmean),
        "std": _over_seeds(runs, statistics.stdev),
    }
    content = _write(folder, name, digest, content)
    part.path.unlink(missing_ok=True)
    return content


def _write(folder: Path, name: str, digest: str, found: Mapping[str, Any]) -> dict[str, Any]:
    date = datetime.now(timezone.utc).date().isoformat()
    content = {"name": name, "digest": digest, "date": date, "versions": _versions(), **found}
    write_whole(folder / f"{name}.json", json.dumps(content, indent=1) + "\n")
    return content


class _Part:
    """The runs that are done, one a line, under a first line with the digest."""

    def __init__(self, path: Path, entry: Experiment, digest: str) -> None:
        self.path, self.entry, self.done = path, entry, {}
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        if lines[:1] != [digest]:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, f"{digest}\n")
            return
        for line in lines[1:]:
            try:
                key, value = json.loads(line)
            except ValueError:  # the last, cut off
                continue
            self.done[tuple(key)] = value

    def get(self, method: str, lr: float, seed: int) -> Run:
        """Return a run, from the file or made now."""
        key = (method, lr, seed)
        if key not in self.done:
            self.done[key] = self.entry.run(method, lr, seed)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"\n{json.dumps([key, self.done[key]])}\n")
        return self.done[key]


def _over_seeds(runs: dict[str, list[Run]], of: Callable) -> dict[str, dict[str, float]]:
    return {
        method: {
            key: round(of([run[key] for run in each]), 6)
            for key, value in each[0].items()
            if isinstance(value, (int, float)) and key != "seed"
        }
        for method, each in runs.items()
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("numpy", "torch", "scikit-learn", "transformers")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _bar(total: int, name: str, progress: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=name, unit="run", disable=not progress)
