"""What ``lora-edu reproduce`` does: derive a published table again, or a figure of the course."""

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from lora_edu.course import commands

FIGURES = Path(__file__).parents[2] / "figures"
LINES = 25  # of a figure's numbers, at most: a screen, with what stands around them


def reproduce(arguments: Namespace) -> int:
    """Print what is expected beside what is found now; return 1 if they differ."""
    if arguments.what == "figure":
        return _figure(arguments)
    if arguments.seeds is not None:
        raise ValueError("--seeds is for a figure: a table is derived, and nothing is run")
    how = {"csv": False, "json": False, "check": None, "model": None}
    return commands.show_ledger(Namespace(source=arguments.what, table=arguments.name, **how))


def _figure(arguments: Namespace) -> int:
    """Compute a figure's numbers again and compare; with seeds, runs behind it as well."""
    if arguments.name is None:
        raise ValueError("name a figure; figures/README.md shows them all")
    os.environ["OMP_NUM_THREADS"] = "1"
    from lora_edu.course import figures

    rows, records = figures.compare(FIGURES, arguments.name)
    rows.sort(key=lambda row: row[-1])  # first what differs
    for where, expected, found, equal in [("", "expected", "found", True), *rows[:LINES]]:
        line = f"{where[-46:]:<46} {_short(expected):>20} {_short(found):>20}"
        print(line if equal else f"{line}  differs")
    differ = sum(not equal for *_, equal in rows)
    more = f", {len(rows) - LINES} of them not shown" if len(rows) > LINES else ""
    tolerance = f"a relative {figures.RELATIVE_TOLERANCE:g}"
    print(f"{len(rows)} numbers{more}; {differ} differ by more than {tolerance}")
    codes = [1 if differ else 0]
    for name in records:
        if arguments.seeds is None:
            print(f"drawn from the record {name}")
        else:
            codes.append(_again(name, arguments))
    if records and arguments.seeds is None:
        print(f"a run of each again: lora-edu reproduce figure {arguments.name} --seeds 0")
    return max(codes)


def _again(name: str, arguments: Namespace) -> int:
    """Run some seeds of a record again, or as many others where it has none of these."""
    from lora_edu.course.again import seeds_of
    from lora_edu.course.experiments import read

    held, asked = seeds_of(read(name)["rows"]), commands._whole_numbers(arguments.seeds)
    seeds = [seed for seed in asked if seed in held] or held[: len(asked)]
    words = ",".join(map(str, seeds))
    instead = f" (it has no seed {arguments.seeds})" if held and seeds != asked else ""
    print(f"{name}, " + (f"seeds {words}{instead}" if seeds else "a measurement"))
    how = {"seeds": words or None, "out": arguments.out, "jobs": arguments.jobs}
    return commands.record(Namespace(name=[name], verify=False, repeat=False, **how))


def _short(value: Any) -> str:
    text = f"{value:.9g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 20 else f"{text[:19]}…"
