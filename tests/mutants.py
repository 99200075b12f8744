"""How strong are the tests? Draw mutants of the code; each should fail a test.

    python tests/mutants.py core                      150 mutants of the core: about half an hour
    python tests/mutants.py tools --draw 300 --seed 7 other ones, of the tools and the checks
    python tests/mutants.py builder --coverage FILE   with the coverage of an earlier run

By cosmic-ray: a place in the code is drawn, then one of its changes there (``<`` becomes ``<=``, a
number another one, ``and`` becomes ``or``). The tests that reach the place run against the change
in a copy of the project: at most 40, those that run the fewest lines. What survives is printed with
its change, at the end the share that was killed. Not every survivor is a gap: some changes change
nothing.

Which tests reach a place, coverage.py says: each file of tests runs once, in a process of its own.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

from coverage import CoverageData

ROOT = Path(__file__).resolve().parents[1]
AREAS = {
    "core": ["lora_edu/*.py"],
    "tools": ["lora_edu/course/*.py", "lora_edu/course/*/checks.py"],
    "builder": ["notebooks/builder/*.py"],
}
MOST = 40  # tests tried against one mutant: a place that every lesson runs is reached by hundreds
SECONDS = 300  # for them: a mutant that hangs is killed by that
# These compare what is committed with the code. Who edits draws anew, and then they know nothing.
RENEWED = ("test_committed_figures_are_what_the_code_would_draw", "test_a_record_is_fresh_and")
PYTEST = ["-q", "-o", "addopts=", "--import-mode=importlib", "-p", "no:cacheprovider"]
QUICK = ["-m", "not slow"]
# Each run is a fork of one process that has loaded what takes long, and nothing of the project.
CONTEXT = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
CONTEXT.set_forkserver_preload(["torch", "transformers", "peft", "sklearn.datasets", "jupytext"])


class Mutant(NamedTuple):
    """A file with one change, and the line at which it stands."""

    file: Path
    line: int
    before: str
    after: str

    def change(self) -> str:
        """Return what has changed, as a diff without its head."""
        lines = difflib.unified_diff(
            self.before.splitlines(), self.after.splitlines(), lineterm="", n=0
        )
        return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


def draw(area: str, count: int, seed: int) -> Iterator[Mutant]:
    """Yield mutants of an area: places drawn without replacement, at each one change."""
    from cosmic_ray.commands.init import _all_work_items
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    places = defaultdict(list)
    files = sorted(path for pattern in AREAS[area] for path in ROOT.glob(pattern))
    for item in _all_work_items(files, {}):
        change = item.mutations[0]
        if "BitOr" not in change.operator_name:  # nearly always the | of a type hint
            places[str(change.module_path), change.start_pos].append(change)
    chance = random.Random(seed)
    for path, position in chance.sample(sorted(places), min(count, len(places))):
        change = chance.choice(places[path, position])
        before = Path(path).read_text(encoding="utf-8")
        after = mutate_code(before, get_operator(change.operator_name)(), change.occurrence)
        yield Mutant(Path(path).relative_to(ROOT), position[0], before, after)


# -- which tests reach a place ----------------------------------------------------------------


def run_with_coverage(folder: Path) -> Path:
    """Run each file of tests by itself; return the file that says which test ran which line."""
    for path in sorted(ROOT.glob("tests/**/test_*.py")):
        if {"browser", "benchmarks"}.intersection(path.parts):
            continue
        name = "-".join(path.relative_to(ROOT).parts)
        sources = ["--cov=lora_edu", "--cov=notebooks/builder", "--cov-context=test"]
        subprocess.run(
            [sys.executable, "-m", "pytest", *PYTEST, *QUICK, *sources, "--cov-report=", str(path)],
            cwd=ROOT,
            env=os.environ | {"COVERAGE_FILE": str(folder / f"coverage.{name}")},
            stdout=subprocess.DEVNULL,
        )
        print("coverage of", name, flush=True)
    combined = folder / "coverage"
    subprocess.run(
        [sys.executable, "-m", "coverage", "combine", "--data-file", str(combined), str(folder)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return combined


def statement(text: str, line: int) -> range | None:
    """Return the lines of the statement at a line, without its body; None: no function runs it."""

    def first(node: ast.stmt) -> int:
        return min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])

    nodes = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.stmt) and first(node) <= line <= node.end_lineno
    ]
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    if not any(isinstance(node, functions) and node.body[0].lineno <= line for node in nodes):
        return None
    node = nodes[-1]  # the innermost
    body = getattr(node, "body", None)
    last = max(first(node), body[0].lineno - 1) if body else node.end_lineno
    return range(first(node), last + 1)


def breadths(coverage: CoverageData) -> Counter[str]:
    """Return for each test how many lines it runs: the fewer, the sooner it is done.

    Left out is a test that pytest does not find by its name: a run of it would look like a kill.
    """
    listed = [sys.executable, "-m", "pytest", *PYTEST, *QUICK, "--collect-only", "tests"]
    said = subprocess.run(listed, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = set(said.splitlines())
    return Counter(
        context.partition("|")[0]
        for file in coverage.measured_files()
        for contexts in coverage.contexts_by_lineno(file).values()
        for context in contexts
        if context.partition("|")[0] in found
    )


def reaching(mutant: Mutant, coverage: CoverageData, lines_of: Counter[str]) -> list[str]:
    """Name the tests that run the statement of a mutant, the narrowest first, at most MOST.

    What runs when its module is loaded is reached by all tests of that module.
    """
    contexts = coverage.contexts_by_lineno(str(ROOT / mutant.file))
    names = {
        context.partition("|")[0]
        for line in statement(mutant.before, mutant.line) or contexts
        for context in contexts.get(line, [])
        if not any(name in context for name in RENEWED)
    }
    return sorted(names & lines_of.keys(), key=lambda name: (lines_of[name], name))[:MOST]


# -- running them -----------------------------------------------------------------------------


def copy_project(to: Path) -> Path:
    """Copy what the tests need: no history, no environment, no caches, no copies of learners."""
    ignored = shutil.ignore_patterns(".*", "__pycache__", "mine", "*.egg-info", "build", "dist")
    return Path(shutil.copytree(ROOT, to, ignore=ignored))


def run_tests(copy: Path, tests: list[str], log: Path) -> None:
    """Run tests in a copy, in a process of their own; its exit code is pytest's."""
    with log.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.setpgrp()
    os.chdir(copy)
    os.environ |= {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # some take longer to load than most tests
    sys.path[0] = str(copy)
    # A change may leave size and second of its file as they were: then old bytecode would count.
    sys.dont_write_bytecode = True
    import pytest

    sys.exit(pytest.main(["-x", *PYTEST, *tests]))


def killed(copy: Path, tests: list[str]) -> str | None:
    """Return what saw the change that has been made in a copy, None if nothing did."""
    if not tests:
        return None
    log = copy.parent / "log"
    shutil.rmtree(copy / ".hypothesis", ignore_errors=True)  # examples that failed before
    process = CONTEXT.Process(target=run_tests, args=(copy, tests, log))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        subprocess.run(["kill", "-9", "--", f"-{process.pid}"], check=False)
        return f"{SECONDS} seconds"
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()
    failed = [line for line in said if line.startswith(("FAILED", "ERROR"))]
    return None if process.exitcode == 0 else (failed or said[-1:] or [""])[-1]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Draw mutants: each should fail a test.")
    parser.add_argument("area", choices=AREAS)
    parser.add_argument("--draw", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--coverage", type=Path, help="made before, by this command")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, ThreadPoolExecutor(options.jobs) as pool:
        folder = Path(made).resolve()
        if options.coverage is None:
            options.coverage = run_with_coverage(folder)
            print(shutil.copy(options.coverage, Path(tempfile.mkdtemp(), "coverage")))
        coverage = CoverageData(str(options.coverage))
        coverage.read()
        lines_of = breadths(coverage)
        free: Queue[Path] = Queue()
        for number in range(options.jobs):
            free.put(copy_project(folder / str(number) / "project"))

        def tried(mutant: Mutant) -> tuple[Mutant, int, str | None]:
            tests = reaching(mutant, coverage, lines_of)
            copy = free.get()
            try:
                (copy / mutant.file).write_text(mutant.after, encoding="utf-8")
                by = killed(copy, tests)
            finally:
                (copy / mutant.file).write_text(mutant.before, encoding="utf-8")
                free.put(copy)
            return mutant, len(tests), by

        seen = []
        for mutant, tests, by in pool.map(tried, draw(options.area, options.draw, options.seed)):
            seen.append(by is not None)
            place = f"{mutant.file.as_posix()}:{mutant.line}"
            print(place, by or f"SURVIVED {tests} tests:\n{mutant.change()}", flush=True)
    print(f"{options.area}: {sum(seen)} of {len(seen)} killed ({sum(seen) / len(seen):.0%})")


if __name__ == "__main__":
    main()
