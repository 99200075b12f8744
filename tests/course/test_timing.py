"""The timing harness, with a clock that the test turns: no real time is measured."""

import gc

import pytest

from lora_edu.course.timing import Timings, compare


class Machine:
    """A clock that the candidates move."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def clock(self):
        return self.now

    def candidate(self, name, seconds):
        def run():
            self.calls.append(name)
            self.now += seconds

        return run


def test_a_ratio_is_of_the_same_round():
    timings = Timings({"a": [1, 2, 3, 4, 5], "b": [5, 4, 3, 2, 1]})
    assert timings.quartiles("a") == (2, 3, 4)
    assert timings.ratio("a", "b") == (0.5, 1, 2)  # of the rounds 1/5, 2/4, 3/3, 4/2, 5/1


def test_samples_are_seconds_per_call():
    machine = Machine()
    candidates = {"slow": machine.candidate("slow", 4.0), "fast": machine.candidate("fast", 0.5)}
    timings = compare(candidates, rounds=5, sample_seconds=2.0, clock=machine.clock)
    assert timings.seconds == {"slow": [4.0] * 5, "fast": [0.5] * 5}
    assert timings.ratio("fast", "slow") == (0.125, 0.125, 0.125)
    # Two calls to warm up and to choose the number: 1 of the slow one, 4 of the fast one a round.
    assert machine.calls.count("slow") == 2 + 5
    assert machine.calls.count("fast") == 2 + 4 * 5


def test_every_round_has_all_in_changing_order():
    machine = Machine()
    candidates = {name: machine.candidate(name, 1.0) for name in "abc"}
    compare(candidates, rounds=20, sample_seconds=1.0, clock=machine.clock)
    calls = machine.calls[6:]
    rounds = ["".join(calls[i : i + 3]) for i in range(0, 60, 3)]
    assert {"".join(sorted(r)) for r in rounds} == {"abc"}
    assert len(set(rounds)) > 3


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_rests_and_comes_back(enabled):
    seen = []

    def fails():
        seen.append(gc.isenabled())
        if len(seen) == 4:
            raise KeyboardInterrupt

    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(KeyboardInterrupt):
            compare({"a": fails}, sample_seconds=0.0)
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
    assert seen == [enabled, enabled, False, False]
