"""Compare a run made again with the recorded one, by what an honest repeat differs.

What a run gives depends a little on the processor, which rounds sums in another order, and training
may make much of little. So a record holds a ``repeat``: by how much its numbers differed when the
same seeds ran again with other instructions of the processor. New rows are compared with recorded
ones seed by seed, and against this spread; never against the spread over seeds, which is far wider:
a run could then be replaced by that of another seed, and nobody would notice.
"""

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

Row = dict[str, Any]
Key = tuple[Any, ...]  # (method, lr, seed), (seed,) or ()
KEYS = ("method", "lr", "seed")
ALIKE = 1e-6  # of a number: what a sum may lose, also where a repeat was the same to the last digit


class Change(NamedTuple):
    """How one number of one method came out, beside what is recorded of the same seeds."""

    method: str  # with its rate; "" of an experiment without
    number: str  # the way to it in a row: ``loss.pirate``
    recorded: float  # its mean
    mean: float  # of the differences, new - recorded, of ``n`` seeds
    largest: float  # of them, without its sign
    n: int
    spread: float  # of a repeat: the root of the mean square of its differences

    @property
    def beyond(self) -> bool:
        """Whether this is more than a repeat explains: 3 spreads of the mean, 5 of one run."""
        least = ALIKE * max(abs(self.recorded), 1)
        far = abs(self.mean) > 3 * self.spread / math.sqrt(self.n) + least
        return far or not self.largest <= 5 * self.spread + least  # NaN is beyond

    def __str__(self) -> str:
        """Return the change in words."""
        what = f"{self.method}: {self.number}" if self.method else self.number
        seeds = f"{self.n} seeds" if self.n > 1 else "1 seed"
        differs = f"differs by {self.mean:+.2g} on average, {self.largest:.2g} at most ({seeds})"
        return f"{what} was {self.recorded:.4g}, and {differs}; a repeat by {self.spread:.2g}"


def changes(old: Mapping[Key, Row], new: Mapping[Key, Row], repeat: Iterable[Row]) -> list[Change]:
    """Compare the runs that both have, paired by seed: one change a method and number.

    ``repeat`` are the rows that :func:`difference` returned; without any, numbers must be the same.
    """
    measured = _measured(repeat)
    together = _spreads(measured)
    pairs: dict[tuple[Key, str], list[tuple[float, float]]] = {}
    for key in old.keys() & new.keys():
        after = numbers(new[key])
        lost = dict.fromkeys(old[key].keys() - new[key].keys(), math.nan)
        for at, before in {**lost, **numbers(old[key])}.items():
            pairs.setdefault((key[:-1], at), []).append((before, after.get(at, math.nan)))
    found = []
    for (group, at), of in sorted(pairs.items(), key=lambda item: str(item[0])):
        differ = [after - before for before, after in of]
        spread = max(_root_mean_square(measured.get((group, at), [])), together.get(at, 0.0))
        recorded, mean = (statistics.fmean(v) for v in ([b for b, _ in of], differ))
        largest = max(map(abs, differ), key=lambda d: (math.isnan(d), d))
        name = ", ".join(map(str, group))
        found.append(Change(name, at, recorded, mean, largest, len(of), spread))
    return found


def sharing(found: list[Change]) -> list[Change]:
    """Return the changes of one run, such as a timing, with at least the spread that they share.

    Its repeat is one run, too, so each spread is a single difference, small or large by luck: the
    next one is beyond three times that in one case of five. So they share one spread, a part of
    each number. What a repeat gave to the last digit stays as it is.
    """
    parts = [c.spread / abs(c.recorded) for c in found if c.spread and c.recorded]
    part = _root_mean_square(parts)
    return [
        c._replace(spread=max(c.spread, part * abs(c.recorded))) if c.spread else c for c in found
    ]


def difference(old: Row, new: Row) -> Row:
    """Return what a record keeps of a repeat: its key, and the numbers that came out otherwise."""
    key = {name: old[name] for name in KEYS if name in old}
    after = numbers(new)
    differ = {at: after[at] - before for at, before in numbers(old).items()}
    return key | {"differs": {at: float(f"{d:.3g}") for at, d in differ.items() if d}}


def by_key(rows: Iterable[Row]) -> dict[Key, Row]:
    """Return rows by what each was run for."""
    return {tuple(row[name] for name in KEYS if name in row): row for row in rows}


def seeds_of(rows: Iterable[Row]) -> list[int]:
    """Return the seeds of some runs, in order; of a measurement, none."""
    return sorted({row["seed"] for row in rows if "seed" in row})


def numbers(value: Any, at: str = "") -> dict[str, float]:
    """Return the numbers in a row by the way to them, ``cases.0.ratio``, without its key.

    Of a list of numbers that is its mean: a training curve may dip at another step each time.
    """
    if isinstance(value, (int, float)):
        return {at.removeprefix("."): value}
    if isinstance(value, list) and not any(isinstance(item, dict) for item in value):
        found = [number for item in value for number in numbers(item).values()]
        return {at.removeprefix("."): statistics.fmean(found)} if found else {}
    items = enumerate(value) if isinstance(value, list) else ()
    items = value.items() if isinstance(value, dict) else items
    return {
        way: number
        for name, item in items
        if at or name not in KEYS
        for way, number in numbers(item, f"{at}.{name}").items()
    }


def _measured(repeat: Iterable[Row]) -> dict[tuple[Key, str], list[float]]:
    """Return the differences of a repeat, (all of the key but the seed, number) → one a run."""
    rows = by_key(repeat)
    names = {at for row in rows.values() for at in row["differs"]}
    measured: dict[tuple[Key, str], list[float]] = {}
    for key, row in rows.items():
        for at in names:
            measured.setdefault((key[:-1], at), []).append(row["differs"].get(at, 0.0))
    return measured


def _spreads(measured: Mapping[tuple[Key, str], list[float]]) -> dict[str, float]:
    """Return the spread of each number, of all methods but the tenth that differed most.

    (A rate that makes training fail makes its result a matter of chance.)
    """
    by_number: dict[str, list[float]] = {}
    for (_, at), differ in measured.items():
        by_number.setdefault(at, []).append(_root_mean_square(differ))
    kept = {at: sorted(of)[: math.ceil(0.9 * len(of))] for at, of in by_number.items()}
    return {at: _root_mean_square(of) for at, of in kept.items()}


def _root_mean_square(values: list[float]) -> float:
    return math.sqrt(statistics.fmean(v * v for v in values)) if values else 0.0
