"""What holds for all tests: no deadlines; what needs real weights is skipped without, but in CI."""

import os
import re
import sys
from itertools import chain
from pathlib import Path

import hypothesis
import matplotlib as mpl
import pytest
from builder.source import slug

from lora_edu import assets, cli

NEED_ASSETS = {"first_words", "merging", "real_model", "inside_the_update", "language_model"}
# Seconds of one thread that a lesson may take from top to bottom. They are printed, not asserted.
GOAL, LONGER = 30, {"first_words": 60, "real_model": 75, "inside_the_update": 75}
LONGER |= {"language_model": 120}
LONGEST = {"test_notebooks.py", "test_finetune.py"}  # these begin, and the lessons above
STEERING = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f]")  # signs that a terminal obeys

# Two workers share the cores: two threads each would wait for each other, and take twice as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# In the kernels that nbval starts, a claim of a page that does not hold is an error.
os.environ["LORA_EDU_CLAIMS"] = "strict"

mpl.use("Agg")  # needs no screen

# A deadline would fail a test because another program is busy.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


def needs_assets(path):
    """Say whether a file is a notebook, or the source of one, that reads the assets."""
    return path.suffix in {".ipynb", ".md"} and slug(path) in NEED_ASSETS


def pytest_collection_modifyitems(items):
    """Skip what needs the assets if a file is missing; under CI=true it runs, and may fail.

    That is: the notebooks of NEED_ASSETS, and tests with the mark ``assets``.
    """
    items.sort(key=lambda item: item.path.name not in LONGEST and not needs_assets(item.path))
    waiting = [
        item for item in items if item.get_closest_marker("assets") or needs_assets(item.path)
    ]
    if not waiting or os.environ.get("CI") == "true":
        return
    if wrong := next(filter(None, map(assets.problem, assets.ASSETS)), None):
        skip = pytest.mark.skip(reason=f"{wrong}: run `lora-edu assets --fetch`")
        for item in waiting:
            item.add_marker(skip)


def pytest_terminal_summary(terminalreporter):
    """Print how long each lesson took, beside its goal."""
    seconds = {}
    for report in chain(*terminalreporter.stats.values()):
        path = Path(getattr(report, "nodeid", "").partition("::")[0])
        if path.suffix == ".ipynb" and hasattr(report, "duration"):
            seconds[path.stem] = seconds.get(path.stem, 0) + report.duration
    if seconds:
        terminalreporter.section("lessons: seconds, and the goal")
    for stem, took in sorted(seconds.items()):
        goal = LONGER.get(stem.partition("_")[2], GOAL)
        terminalreporter.line(f"{stem:<28} {took:6.1f} {goal:>5} {'above' if took > goal else ''}")


@pytest.fixture(autouse=True)
def _close():
    """Leave no figure open."""
    yield
    if plt := sys.modules.get("matplotlib.pyplot"):
        plt.close("all")


@pytest.fixture
def refused(tmp_path, capsys):
    """Return a function: run a command that ends with code 2; return the only line that it says.

    It writes no files.
    """

    def run(*words):
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        assert cli.main([str(word) for word in words]) == 2
        out, error = capsys.readouterr()
        assert (out, error.count("\n"), error[:10]) == ("", 1, "lora-edu: ")
        assert len(error) < 1100
        assert not STEERING.search(error)
        assert sorted(tmp_path.rglob("*")) == before
        return error

    return run
