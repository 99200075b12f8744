"""What ``lora-edu figures``, ``experiments``, ``records`` and ``claims`` do."""

import csv
import json
import os
import re
import sys
from argparse import Namespace


def draw(arguments: Namespace) -> int:
    """Draw the figures, or check them; return the exit code."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # matrices so small that a second is in the way
    import matplotlib as mpl

    mpl.use("Agg")  # files only: needs no screen
    from lora_edu.course import figures as drawn

    if arguments.format != "png":
        if arguments.check:
            raise ValueError("--check is about the PNG pictures and takes no --format")
        for path in drawn.export(arguments.out or "print", arguments.format, arguments.only):
            print(path)
        return 0
    folder = arguments.out or "figures"
    if arguments.check:
        problems = drawn.check(folder)
        for problem in problems:
            print(problem, file=sys.stderr)
        mend = ": run `lora-edu figures`" if problems else ""
        print(f"{len(drawn.load())} figures checked, {len(problems)} problems{mend}")
        return 1 if problems else 0
    for name, anew in drawn.write(folder, arguments.only):
        print(f"{name:<24} {'drawn' if anew else 'unchanged'}")
    return 0


def record(arguments: Namespace) -> int:
    """Record the long runs anew; return the exit code."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of this process, and of those that --jobs starts
    from lora_edu.course import experiments

    if arguments.merge and arguments.seeds:
        raise ValueError("--merge takes the seeds that it finds, and no --seeds")
    seeds = None if arguments.seeds is None else _whole_numbers(arguments.seeds)
    names = arguments.name or list(experiments.load())
    if arguments.merge and not arguments.name:
        there = {path.stem for folder in arguments.merge for path in folder.glob("*")}
        names = [name for name in names if name in there]
        if not names:
            raise ValueError(f"no run of an experiment in {', '.join(map(str, arguments.merge))}")
    code = 0
    for name in names:
        if arguments.merge:
            differ = experiments.merge(name, arguments.merge, arguments.out)
        else:
            how = {"jobs": arguments.jobs, "progress": True}
            differ = experiments.record(name, seeds, arguments.out, **how)
        print(f"{name:<24} {'differs' if differ else 'recorded'}")
        if differ:
            print(*differ, sep="\n", file=sys.stderr)
            print(
                f"The record was left as it was; the new one is {name}.new.json. "
                f"Rename it to {name}.json if it is the right one.",
                file=sys.stderr,
            )
            code = 1
    return code


def list_records(arguments: Namespace) -> int:
    """List the records, or print one as CSV; return the exit code."""
    from lora_edu.course import experiments

    if arguments.csv:
        if len(arguments.name) != 1:
            raise ValueError(f"--csv takes one NAME, got {len(arguments.name)}")
        (name,) = arguments.name
        if why := experiments.stale(name):
            print(f"lora-edu: {name} is stale: {why}", file=sys.stderr)
        print(experiments.as_csv(name), end="")
        return 0
    code = 0
    listed = arguments.name or list(experiments.load())
    for name in [*listed, *(f"{n}_again" for n in listed if not arguments.name)]:
        if name.endswith("_again") and not (experiments.RECORDS / f"{name}.json").exists():
            continue
        again = f"run `lora-edu experiments {name.removesuffix('_again')}"
        if not arguments.name and not (experiments.RECORDS / f"{name}.json").exists():
            print(f"{name:<24} NOT RECORDED: {again}`")
            code = 1
            continue
        why, recorded = experiments.stale(name), experiments.read(name)
        seeds = sorted({row["seed"] for row in recorded["rows"] if "seed" in row})
        runs = f"{len(recorded['rows']):>4} runs, {len(seeds)} seeds"
        if seeds:
            again += f" --seeds {','.join(map(str, seeds))}"
        else:
            runs = "   a measurement"
        if name.endswith("_again"):
            again += f" --out DIR` on another processor; what it records becomes `{name}.json"
        what = f"version {recorded['version']}, {recorded['made'][-1]['date']}"
        print(f"{name:<24} {runs}, {what}", end="")
        print(f", STALE: {why}: {again}`" if why else "")
        code = 1 if why else code
    for name in arguments.name:
        _show(name)
    return code


def list_claims(arguments: Namespace) -> int:
    """Print what the lessons vouch for; return the exit code."""
    from lora_edu.course import claims

    course = claims.collected()
    if unknown := [name for name in arguments.name if name not in course]:
        raise ValueError(f"no claims of {unknown[0]!r}; there are those of {', '.join(course)}")
    columns = ["lesson", "section", "cell", "words", "value", "says", "within", "seeds"]
    table = csv.writer(sys.stdout, lineterminator="\n")
    if arguments.csv:
        table.writerow(columns)
    for lesson in arguments.name or course:
        rows = [{"lesson": lesson, **row} for row in course[lesson]]
        if arguments.csv:
            table.writerows([row[column] for column in columns] for row in rows)
            continue
        print(f"{lesson}: {len(rows)} sentences")
        section = None
        for row in rows:
            if row["section"] != section:
                section = row["section"]
                print(f"\n  {section}\n  {'now':>12} {'the text':>16} {'within':>9}  seeds")
            interval = row["says"].startswith(("below", "above")) or " to " in row["says"]
            within = f"{row['within']:g}" if row["within"] else "" if interval else "exact"
            numbers = f"{row['value']:>12} {row['says']:>16} {within:>9}  {row['seeds']!s:<5}"
            print(f"  {numbers}  {row['words']}")
        print()
    return 0


def _show(name: str) -> None:
    """Print the arguments of a record, and its single numbers: mean and deviation by method."""
    from lora_edu.course import experiments

    content = experiments.results(name)
    print(f"\n{name}")
    for argument, value in content["arguments"].items():
        print(f"  {argument} = {json.dumps(value)}")
    for method, numbers in content.get("mean", {}).items():
        std = content["std"][method]
        shown = [f"{column} {mean:.4g} ± {std[column]:.2g}" for column, mean in numbers.items()]
        print(f"  {method:<14} lr {content['chosen'][method]:<7g} {'  '.join(shown)}")


def _whole_numbers(text: str) -> list[int]:
    """Read ``0-4,7`` as 0, 1, 2, 3, 4, 7; a ValueError if it is nothing of this kind."""
    found: set[int] = set()
    for part in text.split(","):
        if not (match := re.fullmatch(r"(\d+)(?:-(\d+))?", part)):
            raise ValueError(f"seeds must be such as 0-9 or 0,2,5-7, got {text!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last >= 2**32:
            raise ValueError(f"seeds must be below 2**32, got {last}")
        if last < first:
            raise ValueError(f"seeds must be such as 0-9, the smaller first, got {part!r}")
        found.update(range(first, last + 1))
    return sorted(found)
