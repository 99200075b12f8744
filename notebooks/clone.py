"""What one does in a clone of the course: open the lessons, check a change, run the tests.

The command `lora-edu` passes lab, check and test on to here, and so does the Makefile.
"""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from lora_edu import assets

ROOT = Path(__file__).parents[1]
INSTALL = 'python -m pip install -e ".[course,test,dev]"'
# Two processes of one thread each: two threads each would get in one another's way. UTF-8, since a
# pipe on Windows has no letter for Δ otherwise. Never -O: it leaves out the asserts of the checks.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "PYTHONOPTIMIZE": ""}

PYTEST = ["-m", "pytest", "-q"]
LORA_EDU = ["-m", "lora_edu.cli"]
HOUSE = [f"tests/test_{name}.py" for name in ("architecture", "project")]
# Left to `test`: what takes a second or more, most of it in processes that it starts.
QUICK = [*PYTEST, "-m", "not slow and not seconds"]
SLOWER = [f"--ignore-glob=*/test_{name}*.py" for name in ("assets", "finetune")]
# What `check` runs, each as arguments of Python. The longest come first: two run at a time.
CHECKS = {
    "types": ["-m", "pyright", "--pythonpath", sys.executable],
    "core": [*QUICK, "tests/core", *SLOWER],
    "lessons": [*QUICK, "tests/lessons", "--ignore=tests/lessons/test_notebooks.py"],
    "house": [*QUICK, *HOUSE, "tests/builder/test_constraints.py"],
    "figures": [*LORA_EDU, "figures", "--check"],
    "notebooks": ["notebooks/build.py", "--check"],
    "records": [*LORA_EDU, "records"],
    "style": ["-m", "ruff", "check", "."],
    "format": ["-m", "ruff", "format", "--check", "."],
}


def open_lab(options: Sequence[str]) -> int:
    """Give the learner copies of the lessons, and open them in JupyterLab; return its exit code.

    It opens with the page that says what is done and where to go on. ``options`` are JupyterLab's
    own, such as ``--no-browser``.
    """
    demand("jupyterlab", "jupytext")
    if code := run(["notebooks/build.py", "--own"]):
        return code
    notebooks = ROOT / "notebooks"
    # JupyterLab's terminals shall find `lora-edu`; no question about news shall lie over a lesson.
    before = {"PATH": Path(sys.executable).parent, "JUPYTER_CONFIG_PATH": notebooks / "jupyter"}
    for name, first in before.items():
        ENVIRONMENT[name] = os.pathsep.join(filter(None, [str(first), os.environ.get(name)]))
    # In a container one is root, and Jupyter wants to be told that this is meant.
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    where = [f"--ServerApp.root_dir={notebooks}", str(notebooks / "mine" / "START.ipynb")]
    return run(["-m", "jupyterlab", *root, *where, *options])


def check(names: Sequence[str]) -> int:
    """Run all of CHECKS, or those that are named, two at a time; return 1 if one fails.

    What fails prints what it has found; the last line says what to run next.
    """
    demand("pytest", "pyright", "ruff", "jupytext")
    if unknown := [name for name in names if name not in CHECKS]:
        raise ValueError(f"there is no check {unknown[0]!r}; there are {', '.join(CHECKS)}")
    start, failed = time.perf_counter(), []
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(run_check, name) for name in dict.fromkeys(names or CHECKS)]
        for done in as_completed(waiting):
            name, code, seconds, said = done.result()
            print(f"{name:<14} {'FAILED' if code else 'ok':<7} {seconds:5.1f} s", flush=True)
            for line in re.findall("(?m)^late, .*", said):
                print(line, flush=True)
            if code:
                failed.append(name)
                print(said, flush=True)
    took = f"in {time.perf_counter() - start:.0f} s"
    if failed:
        print(f"{', '.join(failed)} failed {took}. Mended? lora-edu check {' '.join(failed)}")
        return 1
    print(f"All passed {took}. Next: lora-edu test (minutes: all tests, all notebooks)")
    return 0


def run_tests(options: Sequence[str], which: str) -> int:
    """Run pytest; return its exit code. ``options`` are its own: paths, ``-k``, ``-x``.

    A path is one from where the caller stands, or from the clone. With a path or ``-k`` there is
    one process, since two say nothing of a path that is not there.

    ``which`` is "quick" (the unit tests, and the outputs of each notebook), "slow" (other seeds,
    every solution, a bare environment), or "browser" (JupyterLab and the
    web edition in a real browser).
    """
    demand("pytest", "xdist", "nbval", "jupytext")
    fetch()
    paths = [
        option
        for last, option in zip(["", *options], options, strict=False)
        if last not in ("-k", "-m") and not option.startswith("-")
    ]
    options = [from_here(option) if option in paths else option for option in options]
    if which == "browser":
        return run(["-m", "pytest", *([] if paths else ["tests/browser"]), *options])
    some = bool(paths) or "-k" in options
    how = ["-m", "slow"] if which == "slow" else []
    if not some:
        # A slow test is a whole lesson: any worker may take the next one. Otherwise a file stays
        # with one worker, and they begin in the order of conftest.py, the longest first.
        how += ["-n", "2", "--no-loadscope-reorder"]
        how += ["--dist", "loadfile" if which == "quick" else "worksteal"]
    return run(["-m", "pytest", *how, *options])


# -- their parts ------------------------------------------------------------------------------


def from_here(option: str) -> str:
    """Make a path absolute that stands where the caller does, with the test named in it, if any."""
    path, colons, test = option.partition("::")
    return f"{Path(path).resolve()}{colons}{test}" if Path(path).exists() else option


def demand(*modules: str) -> None:
    """Raise a ValueError that says what to install when a module is missing."""
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        raise ValueError(f"{missing[0]} is not installed: in {ROOT}, run {INSTALL}")


def fetch() -> None:
    """Fetch the real weights and texts, or say that what needs them will be skipped."""
    try:
        for name in assets.ASSETS:
            assets.path(name)
    except (ValueError, OSError) as error:
        print(f"{error}\nWhat needs these assets will be skipped", file=sys.stderr, flush=True)


def run(arguments: Sequence[str]) -> int:
    """Run Python in the clone; return its exit code."""
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=ENVIRONMENT)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the process got it too, and may ask whether it is meant
            continue


def run_check(name: str) -> tuple[str, int, float, str]:
    """Run one of CHECKS; return its name, exit code, seconds, and what it said."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *CHECKS[name]],
        cwd=ROOT,
        env=ENVIRONMENT,
        text=True,
        encoding="utf-8",
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return name, done.returncode, time.perf_counter() - start, done.stdout.rstrip()
