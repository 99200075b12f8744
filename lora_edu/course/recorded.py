"""Columns of the records, as arrays, one value a run; and what leads from a number to its runs."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_edu.course.again import seeds_of
from lora_edu.course.experiments import READ, RECORDS, Row, load, read, results

record = functools.cache(results)  # read once


def runs(name: str, **settings: Any) -> list[Row]:
    """Return the rows of a record: those with these ``settings`` (method, lr), or all of them."""
    return [row for row in record(name)["rows"] if settings.items() <= row.items()]


def column(name: str, *path: Any, **settings: Any) -> NDArray:
    """Return the value at the end of a ``path`` of keys in each of :func:`runs`: (runs, ...).

    A ValueError if no run has these settings; or it names what is recorded, if a key is not.
    """
    values: list[Any] = runs(name, **settings)
    if not values:
        raise ValueError(f"{name}: a run with {settings} is not recorded")
    for key in path:
        if isinstance(values[0], dict) and key not in values[0]:
            known = ", ".join(map(repr, values[0]))
            raise ValueError(f"{name} records no {key!r}, only {known}")
        values = [value[key] for value in values]
    return np.array(values)


def rounded(values: NDArray, digits: int = 3) -> float:
    """Return the mean of some numbers, rounded."""
    return round(float(values.mean()), digits)


def noted(compute: Callable[[], Any]) -> tuple[Any, list[str]]:
    """Return what a function returns, and the names of the records that it read meanwhile."""
    record.cache_clear()  # what comes from memory is not read
    READ.clear()
    return compute(), sorted(READ)


def behind(name: str) -> dict[str, Any]:
    """Return what leads to the runs of a record: how many, the command for one seed, its minutes.

    Minutes, to one digit, only of a record that was verified: they are measured then.
    """
    content = read(name)
    seeds, seconds = seeds_of(content["rows"]), _seconds(content)
    one = f" --seeds {seeds[0]}" if seeds else ""
    told = {"record": name, "runs": len(content["rows"]), "seeds": len(seeds)}
    told["again"] = f"lora-edu experiments {name}{one} --out again"
    return told if seconds is None else told | {"minutes": float(f"{seconds / 60:.1g}")}


def _seconds(content: Row) -> float | None:
    """Return what the runs of one seed of a record took when it was verified, if it was."""
    verified = content.get("verified")
    if verified is None:
        return None
    return verified["seconds"] * len(content["rows"]) / max(1, len(seeds_of(content["rows"])))


def compute() -> str:
    """Say how long all records took, of those that tell it; nothing if none does."""
    contents = [read(name) for name in load() if (RECORDS / f"{name}.json").exists()]
    took = [(_seconds(content), max(1, len(seeds_of(content["rows"])))) for content in contents]
    known = [seconds * seeds for seconds, seeds in took if seconds is not None]
    told = f"{sum(known) / 60:.0f} minutes for {len(known)} of {len(contents)} records"
    return f"{told}: those of a seed, when it was verified, times the seeds" if known else ""
