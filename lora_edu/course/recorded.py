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
    many, seeds, verified = len(content["rows"]), seeds_of(content["rows"]), content.get("verified")
    one = f" --seeds {seeds[0]}" if seeds else ""
    told: dict[str, Any] = {"record": name, "runs": many, "seeds": len(seeds)}
    told["again"] = f"lora-edu experiments {name}{one} --out again"
    if verified:
        minutes = verified["seconds"] * many / max(1, len(seeds)) / 60
        told["minutes"] = float(f"{minutes:.1g}")
    return told


def compute() -> str:
    """Say how long all records took, of those that tell it; nothing if none does."""
    contents = [read(name) for name in load() if (RECORDS / f"{name}.json").exists()]
    known = [c["verified"]["seconds"] * len(c["rows"]) for c in contents if c.get("verified")]
    told = f"{sum(known) / 60:.0f} minutes for {len(known)} of {len(contents)} records"
    return f"{told}: those of a seed, when it was verified, times the seeds" if known else ""
