"""Columns of the records, as arrays: one value a run."""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_edu.course.experiments import Row, results

record = functools.cache(results)  # read once


def runs(name: str, **settings: Any) -> list[Row]:
    """Return the rows of a record: those with these ``settings`` (method, lr), or all of them."""
    return [row for row in record(name)["rows"] if settings.items() <= row.items()]


def column(name: str, *path: Any, **settings: Any) -> NDArray:
    """Return the value at the end of a ``path`` of keys in each of :func:`runs`: (runs, ...).

    A ValueError names what is recorded, if a key of the path is not.
    """
    values: list[Any] = runs(name, **settings)
    for key in path:
        if values and isinstance(values[0], dict) and key not in values[0]:
            known = ", ".join(map(repr, values[0]))
            raise ValueError(f"{name} records no {key!r}, only {known}")
        values = [value[key] for value in values]
    return np.array(values)


def rounded(values: NDArray, digits: int = 3) -> float:
    """Return the mean of some numbers, rounded."""
    return round(float(values.mean()), digits)
