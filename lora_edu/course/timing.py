"""The one way in which this course times things: interleaved, paired, with their spread.

A machine's speed drifts: clocks change, other programs come and go. Timing one candidate after the
other mistakes the drift for a difference. Here every round times all of them, in a new order, and
what is reported is the ratio *within* a round.
"""

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timings:
    """Seconds per call: for each candidate one sample a round, the rounds in the same order."""

    seconds: dict[str, list[float]]

    def quartiles(self, name: str) -> tuple[float, float, float]:
        """Return the first quartile, the median and the third of a candidate, in seconds."""
        return _quartiles(self.seconds[name])

    def ratio(self, name: str, reference: str) -> tuple[float, float, float]:
        """Return the quartiles of ``name / reference``, round by round: below 1 is faster."""
        pairs = zip(self.seconds[name], self.seconds[reference], strict=True)
        return _quartiles([one / other for one, other in pairs])


def compare(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int = 30,
    sample_seconds: float = 0.01,
    clock: Callable[[], float] = time.perf_counter,
) -> Timings:
    """Time each candidate once a round, in a shuffled order (always the same one).

    ``candidates``: name → function without arguments. A sample repeats its candidate until about
    ``sample_seconds`` are over, and divides. ``clock`` returns seconds; ``time.process_time``
    counts those of this process alone, over all threads. A ValueError if there is no candidate, or
    if ``rounds`` are below 2, so that there is no spread.
    """
    if not candidates:
        raise ValueError("candidates must hold at least one function, got none")
    if rounds < 2:
        raise ValueError(f"rounds must be at least 2, got {rounds}")
    order = list(candidates)
    calls: dict[str, int] = {}
    for name, function in candidates.items():
        function()  # the second call is the first one that is warm
        once = max(_time(function, 1, clock), 1e-9)
        calls[name] = max(1, math.ceil(sample_seconds / once))
    shuffle = random.Random(0).shuffle
    seconds: dict[str, list[float]] = {name: [] for name in order}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # or one candidate pays for another's garbage
    try:
        for _ in range(rounds):
            shuffle(order)
            for name in order:
                seconds[name].append(_time(candidates[name], calls[name], clock))
    finally:
        if collecting:
            gc.enable()
    return Timings(seconds)


def _time(function: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        function()
    return (clock() - start) / calls


def _quartiles(samples: list[float]) -> tuple[float, float, float]:
    first, median, third = statistics.quantiles(samples, n=4, method="inclusive")
    return first, median, third
