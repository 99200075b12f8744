"""Do the lessons say the same on another machine? Run them as one would: other sums.

    python tests/robustness.py [NAME ...]            every lesson, a minute or two for each
    python tests/robustness.py --only CONDITION ...  threads, or cpu

threads   with two threads, and so with sums in another order: the outputs as well have to be those
          that are committed (pictures aside, and cells tagged ``timing``, ``approx`` or ``live``)
cpu       the same with the arithmetic of an old processor: no AVX, no fused multiply-add

Both say first whether they change a single bit here; if not, they show nothing. A cell that
fails does not end its lesson: every assertion that does not hold is reported (what follows from it
as well). The exit code is 1 when there is anything to report.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from nbformat import NotebookNode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "notebooks"))
from builder import execute
from builder.editions import built_path, load, outputs, printed, reading_edition
from builder.source import (
    UNSTABLE,
    Source,
    read_source,
    sources,
    tags,
)

CONDITIONS = {
    "threads": {"OMP_NUM_THREADS": "2"},
    # PyTorch's own kernels, then those of the two libraries for matrices: its own, and NumPy's.
    "cpu": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
}
PROBE = """
import hashlib, numpy as np, torch
M = np.random.default_rng(0).standard_normal((300, 300))
S = np.linalg.svd(M @ M, compute_uv=False)
t = torch.from_numpy(M.astype("f4"))
for made in (S, torch.cat([(t @ t).flatten(), t.softmax(1).flatten(), t.sum()[None]]).numpy()):
    print(hashlib.sha256(made.tobytes()).hexdigest())
"""


def run_through(notebook: NotebookNode, source: Source) -> NotebookNode:
    """Execute a notebook to its end, whatever its cells raise."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata["tags"] = [*tags(cell), "raises-exception"]
    return execute.execute(notebook, source)


def errors(notebook: NotebookNode) -> Iterator[str]:
    """Name each cell that raised an error."""
    for cell in notebook.cells:
        for output in outputs(cell):
            if output.output_type == "error":
                yield f"cell {cell.id}: {output.ename}: {output.evalue}"


def as_committed(path: Path) -> Iterator[str]:
    """Name what does not hold in the reading edition, or prints another text than committed."""
    committed = load(built_path(path))
    if committed is None:
        yield "it is not built yet: run `make notebooks`"
        return
    source = read_source(path)
    notebook = run_through(reading_edition(source), source)
    yield from errors(notebook)
    before = {cell.id: cell for cell in committed.cells}
    for cell in notebook.cells:
        if UNSTABLE.intersection(tags(cell)) or cell.id not in before:
            continue
        old, new = (lines(each) for each in (before[cell.id], cell))
        if len(old) != len(new):
            yield f"cell {cell.id}: prints {len(new)} lines, committed are {len(old)}"
        for is_now, was in zip(new, old, strict=False):
            if is_now != was:
                yield f"cell {cell.id}: prints {is_now!r}, committed is {was!r}"


def lines(cell: NotebookNode) -> list[str]:
    """Return what a cell prints, without addresses of memory (as nbval_sanitize.cfg does)."""
    return re.sub(r"0x[0-9a-f]{6,}", "0xADDRESS", printed(cell)).splitlines()


def changed_bits() -> str:
    """Say which library computes other last digits in this environment than on one plain thread."""
    plain = {k: v for k, v in os.environ.items() if not any(k in c for c in CONDITIONS.values())}
    plain["OMP_NUM_THREADS"] = "1"
    both = [
        subprocess.run(
            [sys.executable, "-c", PROBE], env=env, capture_output=True, text=True, check=True
        ).stdout.split()
        for env in (plain, {**os.environ})
    ]
    names = [n for n, a, b in zip(("NumPy", "PyTorch"), *both, strict=True) if a != b]
    return f"other last digits in {' and '.join(names)}" if names else "changes no bit here"


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 when there is anything to report."""
    parser = argparse.ArgumentParser(description="Run the lessons as other machines would.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="lessons; all when none is named")
    parser.add_argument("--only", nargs="+", choices=CONDITIONS, default=[*CONDITIONS])
    options = parser.parse_args(argv)
    found = 0
    for name in options.only:
        with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1"} | CONDITIONS[name]):
            print(f"{name} {changed_bits()}", flush=True)
            for path in sources(options.names):
                start = time.perf_counter()
                problems = [*as_committed(path)]
                seconds = time.perf_counter() - start
                print(f"  {path.stem:<28} {seconds:5.1f} s  {len(problems) or 'nothing'} to report")
                print(*(f"    {problem}\n" for problem in problems), sep="", end="", flush=True)
                found += len(problems)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
