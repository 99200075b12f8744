"""A registry with one cheap experiment, and an empty folder of records."""

from types import SimpleNamespace

import pytest

from lora_edu.course import experiments

RATES = {"a": [1, 2, 3], "b": [1]}


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Return what was run: ``made``. It is interrupted when there are ``most``."""
    state = SimpleNamespace(made=[], most=None)
    monkeypatch.setattr(experiments, "EXPERIMENTS", {})
    monkeypatch.setattr(experiments, "load", lambda: experiments.EXPERIMENTS)
    monkeypatch.setattr(experiments, "RECORDS", tmp_path)

    @experiments.experiment(seeds=range(3), gap=("test", "a", "b"))
    def tiny(method, lr, seed, *, rates=RATES, shift=0.0):
        if len(state.made) == state.most:
            raise KeyboardInterrupt
        state.made.append((method, lr, seed))
        value = 10 * lr + seed / 8
        return {"validation": -abs(lr - 2) + seed, "test": value, "curve": [1, shift]}

    return state
