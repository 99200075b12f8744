"""What ``lora-edu figures``, ``experiments``, ``records``, ``claims`` and ``ledger`` do."""

import csv
import json
import os
import re
import sys
import textwrap
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


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

    if arguments.merge and (arguments.seeds or not arguments.name):
        raise ValueError("--merge asks for a NAME, takes the seeds that it finds, and no --seeds")
    seeds = None if arguments.seeds is None else _whole_numbers(arguments.seeds)
    names = arguments.name or list(experiments.load())
    code = 0
    for name in names:
        if arguments.merge:
            differ = experiments.merge(name, arguments.merge, arguments.out)
        else:
            how = {"jobs": arguments.jobs, "progress": True}
            differ = experiments.record(name, seeds, arguments.out, **how)
        print(f"{name:<24} {'differs' if differ else 'recorded'}")
        if arguments.out and (experiments.RECORDS / f"{name}.json").exists():
            print(experiments.beside(name, arguments.out))
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
    for name in listed:
        again = f"run `lora-edu experiments {name}"
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
        what = f"version {recorded['version']}, {recorded['made'][-1]['date']}"
        print(f"{name:<24} {runs}, {what}", end="")
        print(f", STALE: {why}: {again}`" if why else "")
        code = 1 if why else code
    for name in arguments.name:
        _show(name)
    return code


def list_claims(arguments: Namespace) -> int:
    """Print what the lessons vouch for; return the exit code."""
    from lora_edu.course import LESSONS, claims

    course = claims.collected()
    numbers = {f"{number:02}": lesson for number, lesson in enumerate(LESSONS)}
    names = [numbers.get(name) or name for name in arguments.name]
    if unknown := [name for name in names if name not in course]:
        raise ValueError(f"no claims of {unknown[0]!r}; there are those of {', '.join(course)}")
    columns = ["lesson", "section", "cell", "words", "value", "says", "within", "seeds"]
    table = csv.writer(sys.stdout, lineterminator="\n")
    if arguments.csv:
        table.writerow(columns)
    for lesson in names or course:
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


def show_ledger(arguments: Namespace) -> int:
    """List the sources of the ledger, print a source or a table, or judge someone's printout."""
    from lora_edu.course import ledger

    if arguments.check is not None:
        if arguments.source or arguments.csv:
            raise ValueError("--check judges a printout, and takes no SOURCE and no --csv")
        return _judge(arguments.check, arguments.json)
    if arguments.csv and arguments.json:
        raise ValueError("--csv or --json, not both")
    tables, cited = ledger.tables(), ledger.sources()
    source: str = arguments.source
    if source is not None and source not in tables:
        raise ValueError(f"no source {source!r}; there are {', '.join(tables)}")
    chosen = tables if source is None else {source: tables[source]}
    if arguments.table is not None:
        names = {_plain(name): name for name in chosen[source]}
        wanted = _plain(arguments.table)
        name = names.get(wanted) or names.get(f"table{wanted}")
        if name is None:
            there = "; ".join(chosen[source])
            raise ValueError(f"{source} has no {arguments.table!r}; there are: {there}")
        chosen = {source: {name: chosen[source][name]}}
    if arguments.csv or arguments.json:
        lines = ledger.lines(chosen)
        if arguments.json:
            print(json.dumps(lines, indent=1, ensure_ascii=False))
            return 0
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(ledger.COLUMNS)
        table.writerows(line.values() for line in lines)
        return 0
    if source is None:
        _list_sources(tables, cited)
        return 0
    print(cited[source])
    for name, rows in chosen[source].items():
        _print_table(name, rows)
    return 0


def _list_sources(tables: Mapping[str, Any], cited: Mapping[str, str]) -> None:
    """Print a line for each source: figures by verdict; then what can fail."""
    from lora_edu.course import ledger

    print(f"{'source':<12} {'figures':>7} {'exact':>6} {'rounds':>7} {'differs':>8}   tables")
    for source, citation in cited.items():
        judged = [q.verdict for e in ledger.ledger() if e.cites == source for q in e.quantities]
        exact, differs = judged.count("exact"), judged.count("differs")
        rounds = len(judged) - exact - differs  # or cut, or about a round number
        places = ("Table", "Section", "Abstract", "Footnote", "Appendix")
        named = [_plain(name) for name in tables[source] if name.startswith(places)]
        row = f"{source:<12} {len(judged):>7} {exact:>6} {rounds:>7} {differs:>8}"
        print(textwrap.fill(f"{row}   {' '.join(named)}", 99, subsequent_indent=" " * 47).rstrip())
        print(f"{'':<12} {citation}")
    shares = ledger.shares()
    print(
        f"\n{shares['figures']} figures in {shares['entries']} entries. {shares['tested']} figures "
        f"could fail\n(no misprint collected as such, no rank that we fitted); "
        f"{shares['differ']} of them differ. (Under rounds: cut, and\nround numbers, too.)"
    )


def _print_table(name: str, rows: Sequence[Any]) -> None:
    """Print a published table in its order, with what follows from the shapes beside it."""
    print(f"\n{name}")
    labels = [label if label != entry.configuration else entry.model for label, entry in rows]
    wide = max(map(len, labels))
    print(f"{'':<{wide}}  {'published':>14}  {'derived':>23}  {'verdict':<11}  configuration")
    notes = {}
    for label, (_, entry) in zip(labels, rows, strict=True):
        for quantity in entry.quantities:
            mark = ""
            if quantity.verdict == "differs":
                mark = f" [{notes.setdefault(entry.id, len(notes) + 1)}]"
            how = entry.configuration
            how = how if len(entry.quantities) == 1 else f"{quantity.name}: {how}"
            figures = f"{quantity.printed:>14}  {quantity.counted:>23}"
            print(f"{label:<{wide}}  {figures}  {quantity.verdict + mark:<11}  {how}".rstrip())
    for id_, number in notes.items():
        entry = next(entry for _, entry in rows if entry.id == id_)
        print(textwrap.fill(f"[{number}] {entry.reason}", 99, subsequent_indent="    "))
        for tried in entry.hypotheses:
            print(f"    tried: {tried.name}: {tried.counted} ({tried.verdict})")


def _judge(given: str, as_json: bool) -> int:
    """Judge the printouts in a text, or in a file of that name; 1 if one does not hold."""
    from lora_edu.course import printouts

    text = _text(given)
    judged = [(printout, printouts.judge(printout)) for printout in printouts.read(text)]
    unread = len(re.findall(r"(?<!non-)\btrainable param", text.lower())) - len(judged)
    if unread > 0:
        print(f"not read: {unread} of the places that say 'trainable param'", file=sys.stderr)
    if as_json:
        whole = [
            {**p._asdict(), **j._asdict(), "ways": [way._asdict() for way in j.ways]}
            for p, j in judged
        ]
        print(json.dumps(whole, indent=1))
    for printout, judgement in () if as_json else judged:
        total = f" of {printout.all}" if printout.all else ""
        print(f"{printout.trainable}{total}: {judgement.verdict}")
        for finding in judgement.findings:
            print(f"  {finding}")
        usual = [way for way in judgement.ways if way.usual] or judgement.ways[:3]
        for way in usual[:8]:
            print(f"  {printout.trainable} could be {way}")
        if (more := len(judgement.ways) - len(usual[:8])) > 0:
            print(f"  and {more} other ways to that number")
    held = all(judgement.verdict == printouts.HOLDS for _, judgement in judged)
    return 0 if held and unread <= 0 else 1


def _text(given: str) -> str:
    """Return the text of a file, or what was given, if that holds a printout and not a name."""
    if given == "-":
        return sys.stdin.read()
    if not os.path.exists(given):  # nor is what is too long for a name
        if "param" not in given.lower():
            raise ValueError(f"{given!r} is no file, and no printout of parameters")
        return given
    content = Path(given).read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    return content.decode(encoding, errors="replace")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


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
