"""Verify that a record is still what the code makes: runs made again, compared, and stamped.

A record holds, beside its rows:

    repeat     by how much its numbers differ when the same seeds run with other instructions of
               the processor, as on a machine without the newer ones
    verified   by what it was last verified: which seeds were made again, when, where, in how many
               seconds a run, with which libraries, a fingerprint of each function executed, and one
               of the rows
"""

import hashlib
import json
import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_edu.course import again, executed, experiments
from lora_edu.course.again import Change, Key, Row
from lora_edu.course.experiments import Experiment

# What tells the libraries below NumPy and torch to use the instructions of a processor of 2008.
PLAIN = {
    "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "OPENBLAS_CORETYPE": "Nehalem",
}  # fmt: skip


def repeat(name: str, seeds: Sequence[int] | None = None, *, jobs: int = 1) -> list[str]:
    """Run some seeds twice, by default the first, once on PLAIN instructions; note what differs.

    Of an experiment with a gap only the methods of the gap run, of a tuning only what it chose.
    Both runs are made now, with the same code: against the recorded ones, a change of the code
    would count as a repeat. Return what was found, in words. A ValueError as of :func:`verify`.
    """
    entry, content = _fresh(name, seeds, jobs)
    keys = cheapest(name, seeds or again.seeds_of(content["rows"])[:1])
    here = dict(experiments.in_processes(experiments.run, name, keys, jobs))
    before = {variable: os.environ.get(variable) for variable in PLAIN}
    os.environ.update(PLAIN)  # the processes that are started inherit it
    try:
        plain = dict(experiments.in_processes(experiments.run, name, keys, jobs))
    finally:
        for variable, value in before.items():
            os.environ.pop(variable) if value is None else os.environ.update({variable: value})
    rows = [again.difference(here[key], plain[key]) for key in keys]
    how = " ".join(f"{variable}={value}" for variable, value in PLAIN.items())
    experiments.write(entry, {**content, "repeat": {"instructions": how, "rows": rows}})
    same = sum(not row["differs"] for row in rows)
    return [f"{same} of {len(rows)} runs the same to the last digit; what differs is noted"]


def verify(
    name: str, seeds: Sequence[int] | None = None, *, jobs: int = 1
) -> tuple[list[str], bool]:
    """Make the cheapest part of a record that means something again; stamp the record if it holds.

    Of an experiment with a gap that is enough seeds of the gap's two methods that a repeat could
    not move the gap by half; of a tuning it is what it chose. Return what was found, in words, and
    whether the record was stamped. A ValueError if the record is stale, or if a seed is none of
    its own.
    """
    import torch

    entry, content = _fresh(name, seeds, jobs)
    seeds = seeds or again.seeds_of(content["rows"])[: seeds_needed(entry, content)]
    keys, rows, seen, seconds = cheapest(name, seeds), {}, set(), []
    for key, (row, code, took) in experiments.in_processes(_watched, name, keys, jobs):
        rows[key] = row
        seen |= code
        seconds.append(took)
    lines, holds = comparison(name, rows)
    if not holds:
        return lines, False
    gap = "none is named"
    for change in _of_the_gap(entry, content, rows):
        could = 2 * change.spread / math.sqrt(change.n)
        firm = could < abs(change.recorded) / 2 and "repeat" in content
        gap = f"a repeat moves it by {could:.2g} at most" if firm else "not verified"
    stamp = experiments.made_now(list(seeds)) | {
        "commit": git("rev-parse", "--short", "HEAD"),
        "processor": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "seconds": round(statistics.fmean(seconds), 1),
        "gap": gap,
        "code": executed.pieces(seen),
        "rows": fingerprint(content["rows"]),
    }
    experiments.write(entry, {**content, "verified": stamp})
    return lines, True


def _fresh(name: str, seeds: Sequence[int] | None, jobs: int) -> tuple[Experiment, dict[str, Any]]:
    """Return an experiment and its record; a ValueError if these cannot be told of one another."""
    if why := experiments.stale(name):
        raise ValueError(f"{name} is stale: {why}; record it anew")
    content = experiments.read(name)
    known = again.seeds_of(content["rows"])
    if unknown := sorted(set(seeds or ()).difference(known)):
        raise ValueError(f"seeds must be recorded ones of {name}, {known}, got {unknown}")
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    return experiments.find(name), content


def unverified(name: str) -> str | None:
    """Say why a record is not verified with the code as it is; None if it is."""
    content = experiments.read(name)
    stamp = content.get("verified")
    if stamp is None:
        return "its runs were not made again yet"
    if stamp["rows"] != fingerprint(content["rows"]):
        return f"since {stamp['date']} other rows"
    if changed := executed.changed(stamp["code"]):
        more = f" and {len(changed) - 2} more" if len(changed) > 2 else ""
        return f"since {stamp['date']} other code: {', '.join(changed[:2])}{more}"
    return None


def fingerprint(rows: Sequence[Row]) -> str:
    """Return a few letters that change with any number or word of the rows."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:8]


def cheapest(name: str, seeds: Sequence[int]) -> list[Key]:
    """Return the runs of these seeds: those of a gap's two methods, those that a tuning chose.

    A tuning tries rates at which training fails, too. What these give is chance, on any machine.
    """
    entry = experiments.find(name)
    keys = entry.keys(seeds)
    if len(keys[0]) == len(again.KEYS) and (entry.gap or name.endswith("_tuning")):
        chosen = experiments.results(name)["chosen"]
        methods = entry.gap[1:] if entry.gap else chosen
        return [key for key in keys if key[0] in methods and key[1] == chosen[key[0]]]
    return keys


def comparison(name: str, rows: Mapping[Key, Row]) -> tuple[list[str], bool]:
    """Say in words how rows made again compare with the recorded ones, and whether they hold.

    They hold if no number is beyond what a repeat explains (:mod:`.again`).
    """
    entry, content = experiments.find(name), experiments.read(name)
    held = again.by_key(content["rows"])
    known = {key: row for key, row in rows.items() if key in held}
    lines = []
    if len(known) < len(rows):
        lines.append(f"nothing is recorded of {len(rows) - len(known)} of {len(rows)} runs")
    if not known:
        return lines, False
    same = sum(row == held[key] for key, row in known.items())
    lines.append(f"{same} of {len(known)} runs as recorded, to the last digit")
    measured = content.get("repeat", {}).get("rows", ())
    found = [c for c in again.changes(held, known, measured) if entry.compares(c.number)]
    found = again.sharing(found) if [*held] == [()] else found
    beyond = [change for change in found if change.beyond]
    if beyond:
        lines.append(f"{len(beyond)} of {len(found)} numbers beyond what a repeat explains:")
        lines += [f"  {change}" for change in beyond]
    elif same < len(known):
        most = max(found, key=lambda change: change.largest / max(change.spread, 1e-300))
        lines.append(f"all within what a repeat explains; the farthest, {most}")
    lines += [f"the gap of the lesson: {change}" for change in _of_the_gap(entry, content, known)]
    return lines, not beyond


def seeds_needed(entry: Experiment, content: Mapping[str, Any]) -> int:
    """Return of how many seeds a repeat could not move the gap by half: 2 spreads of the mean."""
    rows = again.by_key(content["rows"])
    most = len({key[-1:] for key in rows})
    for gap in _of_the_gap(entry, content, rows):
        share = 2 * gap.spread / (abs(gap.recorded) / 2 or math.inf)
        return min(max(1, math.ceil(share**2)), most)
    return 1


def gaps(entry: Experiment, rows: Mapping[Key, Row]) -> dict[Key, Row]:
    """Return the gap of which the lesson speaks as a row a seed, where both sides are there.

    Of the rows of a repeat, by how much it differed: what they do not name was the same.
    """
    column, *sides = entry.gap or ("",)
    chosen = experiments.results(entry.name).get("chosen", {})
    found: dict[Key, list[float]] = {}
    for side in sides:
        at = column if chosen else f"{column}.{side}".removeprefix(".")
        for key, row in rows.items():
            if not chosen or key[:2] == (side, chosen[side]):
                values = row["differs"] if "differs" in row else again.numbers(row)
                found.setdefault(key[-1:], []).append(values.get(at, 0.0))
    name = f"{column}, {' less '.join(sides)}".removeprefix(", ")
    return {seed: {name: of[0] - of[1]} for seed, of in found.items() if len(of) == len(sides)}


def _of_the_gap(
    entry: Experiment, content: Mapping[str, Any], rows: Mapping[Key, Row]
) -> list[Change]:
    """Return the change of the gap, if there is one and its runs were made again."""
    repeat = gaps(entry, again.by_key(content.get("repeat", {}).get("rows", ())))
    measured = [{"seed": key[-1:], "differs": row} for key, row in repeat.items()]
    return again.changes(gaps(entry, again.by_key(content["rows"])), gaps(entry, rows), measured)


def _watched(name: str, key: Key) -> tuple[Row, set[tuple[str, int]], float]:
    """Run an experiment for one key; return its row, what it executed, and its seconds."""
    experiments.find(name)  # imports the lessons, which is no part of the run
    start = time.perf_counter()
    row, seen = executed.traced(lambda: experiments.run(name, key))
    return row, seen, time.perf_counter() - start


def git(*words: str) -> str:
    """Return what git says of this clone; "" outside of one, or where there is no git."""
    command = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
