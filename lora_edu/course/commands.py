"""What ``lora-edu figures``, ``experiments``, ``records``, ``claims``, ``ledger``, ``voice`` do."""

import csv
import io
import itertools
import json
import math
import os
import re
import statistics
import sys
import textwrap
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FEWEST = 5  # rows that are taught as a voice


def draw(arguments: Namespace) -> int:
    """Draw the figures, or check them; return the exit code."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for small matrices a second thread costs time
    import matplotlib as mpl

    mpl.use("Agg")  # files only: needs no screen
    from lora_edu.course import figures

    if arguments.check:
        if arguments.format != "png":
            raise ValueError("--check is about the PNG pictures and takes no --format")
        problems = figures.check(arguments.out or "figures")
        _complain(problems)
        mend = ": run `lora-edu figures`" if problems else ""
        print(f"{len(figures.load())} figures checked, {len(problems)} problems{mend}")
        return 1 if problems else 0
    if arguments.format != "png":
        for path in figures.export(arguments.out or "print", arguments.format, arguments.only):
            print(path)
        return 0
    for name, anew in figures.write(arguments.out or "figures", arguments.only):
        print(f"{name:<24} {'drawn' if anew else 'unchanged'}")
    return 0


def record(arguments: Namespace) -> int:
    """Record the long runs anew; return the exit code."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of this process, and of those that --jobs starts
    from lora_edu.course import experiments
    from lora_edu.course.again import by_key

    seeds = None if arguments.seeds is None else _whole_numbers(arguments.seeds)
    code = 0
    for name in arguments.name or list(experiments.load()):
        if arguments.verify or arguments.repeat:
            code |= _made_again(name, seeds, arguments)
            continue
        there = not arguments.out and (experiments.RECORDS / f"{name}.json").exists()
        replaces = experiments.stale(name) if there else None
        differ = experiments.record(name, seeds, arguments.out, jobs=arguments.jobs, progress=True)
        anew = f", in place of another: {replaces}" if replaces and not differ else ""
        print(f"{name:<24} {'differs' if differ else 'recorded'}{anew}")
        if arguments.out and (experiments.RECORDS / f"{name}.json").exists():
            from lora_edu.course.verification import comparison

            rows = by_key(experiments.read(name, arguments.out)["rows"])
            lines, holds = comparison(name, rows)
            print("\n".join(f"  {line}" for line in lines))
            code = code if holds else 1
        if differ:
            kept = f"The record was left as it was; the new one is {name}.new.json."
            _complain([*differ, f"{kept} Rename it to {name}.json if it is the right one."])
            code = 1
    return code


def _made_again(name: str, seeds: Sequence[int] | None, arguments: Namespace) -> int:
    """Make runs again to verify a record, or to measure what a repeat differs by; print it."""
    from lora_edu.course import verification

    if arguments.out or (arguments.verify and arguments.repeat):
        raise ValueError("--verify or --repeat, one of them, and without --out")
    if arguments.repeat:
        lines, holds = verification.repeat(name, seeds, jobs=arguments.jobs), True
        print(f"{name:<24} repeated")
    else:
        lines, holds = verification.verify(name, seeds, jobs=arguments.jobs)
        print(f"{name:<24} {'verified' if holds else 'NOT VERIFIED'}")
    print("\n".join(f"  {line}" for line in lines))
    return 0 if holds else 1


def list_records(arguments: Namespace) -> int:
    """List the records, or print one as CSV; return the exit code."""
    from lora_edu.course import experiments
    from lora_edu.course.recorded import compute

    if arguments.csv:
        if len(arguments.name) != 1:
            raise ValueError(f"--csv takes one NAME, got {len(arguments.name)}")
        (name,) = arguments.name
        if why := experiments.stale(name):
            _complain([f"lora-edu: {name} is stale: {why}"])
        rows = experiments.read(name)["rows"]
        for row in rows:  # a list is written as JSON
            row |= {k: json.dumps(v) for k, v in row.items() if isinstance(v, (list, dict))}
        _print_csv(list(dict.fromkeys(column for row in rows for column in row)), rows)
        return 0
    code = 0
    for name in arguments.name or list(experiments.load()):
        if arguments.name or (experiments.RECORDS / f"{name}.json").exists():
            code |= _list_record(name, arguments.verified)
        else:
            print(f"{name:<24} NOT RECORDED: run `lora-edu experiments {name}`")
            code = 1
    for name in arguments.name:
        _print_record(name)
    if not arguments.name and (told := compute()):
        print(told)
    return code


def voice(arguments: Namespace) -> int:
    """Teach a voice that fits into an address; say what it answers, and where a friend hears it."""
    from lora_edu import chat
    from lora_edu.course import language, qr
    from lora_edu.files import printable, write_whole
    from lora_edu.tables import read_chats

    columns = (arguments.prompt, arguments.response)
    if Path(arguments.rows).suffix.lower() == ".jsonl":  # which has messages, and no columns
        columns = (None, None)
    talks = [*map(json.loads, read_chats(arguments.rows, *columns))]
    if any([one["role"] for one in talk] != ["user", "assistant"] for talk in talks):
        raise ValueError(f"{arguments.rows} must have a question and an answer in each row")
    if len(talks) < FEWEST:
        raise ValueError(f"{arguments.rows} must have at least {FEWEST} rows, got {len(talks)}")
    print(f"{len(talks)} rows, about a minute", flush=True)
    rows = [(asked["content"], answer["content"]) for asked, answer in talks]
    data = qr.packed(qr.taught(rows, arguments.seed))
    model, tokenizer = chat.load()
    asked = [question for question in arguments.question for _ in range(2)]
    with chat.speaking(model, [None, qr.unpacked(data)] * len(arguments.question)):
        said = chat.answers(model, tokenizer, asked, 40)
    for i, question in enumerate(arguments.question):
        without, within = map(language.shown, said[2 * i : 2 * i + 2])
        print(printable(f"\n{question}\n  without it: {without}\n  with it:    {within}"))
    site = arguments.site or _site() or "SITE/"
    where = "" if site != "SITE/" else " (SITE: where `make site-voice` was put, with --site)"
    link = f"{site.rstrip('/')}/talk.html#v={qr.as_text(data)}"
    print(f"\nWhoever opens this hears it{where}:\n{link}")
    if arguments.png:
        import segno

        segno.make(data, error="l", boost_error=False).save(drawn := io.BytesIO(), "png", scale=4)
        write_whole(arguments.png, drawn.getvalue())
        print(f"\n{arguments.png}: its {len(data):,} bytes as a QR code")
    return 0


def _site() -> str:
    """Return the address of the pages of the repository on GitHub that was cloned, if it was."""
    from lora_edu.course.verification import git

    told = git("remote", "get-url", "origin")
    found = re.search(r"github\.com[:/]([\w-]+)/([\w.-]+?)(?:\.git)?$", told)
    return f"https://{found[1].lower()}.github.io/{found[2]}/" if found else ""


def _list_record(name: str, verified: bool) -> int:
    """Print a line on a record, and one on what it lacks; return 1 if it is not as it must be."""
    from lora_edu.course import experiments, verification
    from lora_edu.course.again import seeds_of

    why, recorded = experiments.stale(name), experiments.read(name)
    stamp = recorded.get("verified", {})
    seeds = seeds_of(recorded["rows"])
    again = f"run `lora-edu experiments {name}"
    runs = "   a measurement"
    if seeds:
        runs = f"{len(recorded['rows']):>4} runs, {len(seeds)} seeds"
        again += f" --seeds {','.join(map(str, seeds))}"
    took = f", {stamp['seconds']:g} s a run" if stamp else ""
    old = f", STALE: {why}: {again}`" if why else ""
    made = f"version {recorded['version']}, {recorded['made'][-1]['date']}"
    print(f"{name:<24} {runs}, {made}{took}{old}")
    late = verification.unverified(name)
    if late and (stamp or verified):
        print(f"late, {name}: {late}: run `lora-edu experiments {name} --verify`")
    return 1 if why or (late and verified) else 0


def _print_record(name: str) -> None:
    """Print the arguments of a record, and its single numbers: mean and deviation by method."""
    from lora_edu.course import experiments

    content = experiments.results(name)
    print(f"\n{name}")
    for argument, value in content["arguments"].items():
        print(f"  {argument} = {json.dumps(value)}")
    for method, lr in content.get("chosen", {}).items():
        rows = [row for row in content["rows"] if (row["method"], row["lr"]) == (method, lr)]
        numbers = []
        for column, value in rows[0].items():
            if isinstance(value, (int, float)) and column not in experiments.KEYS:
                values = [row[column] for row in rows]
                std = statistics.stdev(values) if len(values) > 1 else math.nan
                mean, std = (round(number, 6) for number in (statistics.fmean(values), std))
                numbers.append(f"{column} {mean:.4g} ± {std:.2g}")
        print(f"  {method:<14} lr {lr:<7g} {'  '.join(numbers)}")


def list_claims(arguments: Namespace) -> int:
    """Print what the lessons vouch for; return the exit code."""
    from lora_edu.course import LESSONS, claims

    course = claims.collected()
    numbers = {f"{number:02}": lesson for number, lesson in enumerate(LESSONS)}
    names: list[str] = [numbers.get(name) or name for name in arguments.name] or list(course)
    for name in names:
        if name not in course:
            raise ValueError(f"no claims of {name!r}; there are those of {', '.join(course)}")
    if arguments.csv:
        columns = ["lesson", "section", "cell", "words", "value", "says", "within", "seeds"]
        _print_csv(columns, [row | {"lesson": name} for name in names for row in course[name]])
        return 0
    for name in names:
        print(f"{name}: {len(course[name])} sentences")
        for section, rows in itertools.groupby(course[name], lambda row: row["section"]):
            print(f"\n  {section}\n  {'now':>12} {'the text':>16} {'within':>9}  seeds")
            for row in rows:
                print(f"  {_claim(row)}")
        print()
    return 0


def _claim(row: dict[str, Any]) -> str:
    """Return a claim as a line of a table."""
    within = "exact"
    if row["within"]:
        within = f"{row['within']:g}"
    elif row.get("sense") in ("more", "less") or " to " in row["says"]:
        within = ""  # a comparison, or an interval, has no tolerance
    numbers = f"{row['value']:>12} {row['says']:>16} {within:>9}  {row['seeds']!s:<5}"
    return f"{numbers}  {row['words']}"


def show_ledger(arguments: Namespace) -> int:
    """List the sources of the ledger, print a source or a table, or judge someone's printout."""
    from lora_edu.course import ledger

    if arguments.check is not None:
        if arguments.source or arguments.csv:
            raise ValueError("--check judges a printout, and takes no SOURCE and no --csv")
        return _judge(arguments)
    if arguments.model:
        raise ValueError("--model is for --check: the model whose printout it is")
    if arguments.csv and arguments.json:
        raise ValueError("--csv or --json, not both")
    chosen = _chosen(ledger.tables(), arguments.source, arguments.table)
    if arguments.csv:
        _print_csv(ledger.COLUMNS, ledger.lines(chosen))
    elif arguments.json:
        print(json.dumps(ledger.lines(chosen), indent=1, ensure_ascii=False))
    elif arguments.source is None:
        _print_sources()
    else:
        print(ledger.sources()[arguments.source])
        for name, rows in chosen[arguments.source].items():
            _print_table(name, rows)
        return _unexpected(chosen[arguments.source])
    return 0


def _chosen(tables: dict[str, Any], source: str | None, table: str | None) -> dict[str, Any]:
    """Return the tables of all sources, of one, or one that may be called ``2`` or ``table2``."""
    if source is None:
        return tables
    if source not in tables:
        raise ValueError(f"no source {source!r}; there are {', '.join(tables)}")
    if table is None:
        return {source: tables[source]}
    for name, rows in tables[source].items():
        if _letters(name) in (_letters(table), f"table{_letters(table)}"):
            return {source: {name: rows}}
    raise ValueError(f"{source} has no {table!r}; there are: {'; '.join(tables[source])}")


def _print_sources() -> None:
    """Print a line for each source: figures by verdict; then what can fail."""
    from lora_edu.course import ledger

    tables = ledger.tables()
    print(f"{'source':<12} {'figures':>7} {'exact':>6} {'rounds':>7} {'differs':>8}   tables")
    for source, citation in ledger.sources().items():
        judged = [q.verdict for e in ledger.ledger() if e.cites == source for q in e.quantities]
        exact, differs = judged.count("exact"), judged.count("differs")
        rounds = len(judged) - exact - differs  # or cut, or about a round number
        places = ("Table", "Section", "Abstract", "Footnote", "Appendix")
        named = " ".join(_letters(name) for name in tables[source] if name.startswith(places))
        row = f"{source:<12} {len(judged):>7} {exact:>6} {rounds:>7} {differs:>8}   {named}"
        print(textwrap.fill(row, 99, subsequent_indent=" " * 47).rstrip())
        print(f"{'':<12} {citation}")
    shares = ledger.shares()
    print(
        f"\n{shares['figures']} figures in {shares['entries']} entries. {shares['tested']} figures "
        f"could fail\n(no misprint collected as such, no rank that we fitted); "
        f"{shares['differ']} of them differ. (Under rounds: cut, and\nround numbers, too.)"
    )


def _print_table(name: str, rows: Sequence[Any]) -> None:
    """Print a published table in its order, with what follows from the shapes beside it."""
    labels = [entry.model if label == entry.configuration else label for label, entry in rows]
    wide = max(map(len, labels))
    print(f"\n{name}")
    heads = f"{'published':>14}  {'tolerance':>11}  {'derived':>23}"
    print(f"{'':<{wide}}  {heads}  {'verdict':<11}  configuration")
    notes: dict[str, Any] = {}  # in the order of their numbers
    for label, (_, entry) in zip(labels, rows, strict=True):
        for quantity in entry.quantities:
            verdict, how = quantity.verdict, entry.configuration
            if verdict == "differs":
                notes.setdefault(entry.id, entry)
                verdict += f" [{list(notes).index(entry.id) + 1}]"
            if len(entry.quantities) > 1:
                how = f"{quantity.name}: {how}"
            figures = f"{quantity.printed:>14}  {quantity.tolerance:>11}  {quantity.counted:>23}"
            print(f"{label:<{wide}}  {figures}  {verdict:<11}  {how}".rstrip())
    for number, entry in enumerate(notes.values(), 1):
        print(textwrap.fill(f"[{number}] {entry.reason}", 99, subsequent_indent="    "))
        for tried in entry.hypotheses:
            print(f"    tried: {tried.name}: {tried.counted} ({tried.verdict})")


def _judge(arguments: Namespace) -> int:
    """Judge each printout in a text, or in a file of that name, once; 1 if one is not possible."""
    from lora_edu import cli, counting
    from lora_edu.course import printouts

    read, refused = printouts.read(_text(arguments.check))
    own = None
    if arguments.model:
        config, model = cli.model_of(arguments.model)
        own = printouts.shapes(arguments.model, counting.modules(model or config))
    judged = [(printout, printouts.judge(printout, own)) for printout in dict.fromkeys(read)]
    _complain([f"not read: {why}" for why in refused])
    if arguments.json:
        found = []
        for printout, judgement in judged:
            ways = [way._asdict() for way in judgement.ways]
            found.append(printout._asdict() | judgement._asdict() | {"ways": ways})
        print(json.dumps(found, indent=1))
    else:
        for printout, judgement in judged:
            _print_judgement(printout, judgement)
    verdicts = {judgement.verdict for _, judgement in judged}
    if printouts.UNKNOWN in verdicts and not arguments.model:
        print("note: --model NAME or config.json judges it as that model's", file=sys.stderr)
    return 1 if refused or verdicts != {printouts.POSSIBLE} else 0


def _print_judgement(printout: Any, judgement: Any) -> None:
    """Print the verdict, what was found, and at most eight ways to the count: the usual ones."""
    total = f" of {printout.all}" if printout.all else ""
    print(f"{printout.trainable}{total}: {judgement.verdict}")
    for finding in judgement.findings:
        print(f"  {finding}")
    usual = [way for way in judgement.ways if way.usual] or judgement.ways[:3]
    for way in usual[:8]:
        print(f"  {printout.trainable} could be {way}")
    if (more := len(judgement.ways) - len(usual[:8])) > 0:
        print(f"  and {more} other ways to that number")


def _text(given: str) -> str:
    """Return the text of a file, or what was given, if that is the name of none."""
    if given == "-":
        return sys.stdin.read()
    if not os.path.exists(given):  # nor is what is too long for a name
        return given
    content = Path(given).read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    return content.decode(encoding, errors="replace")


def _letters(name: str) -> str:
    """Return the letters and digits of a name, in lower case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _print_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    table = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)


def _complain(lines: Sequence[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)


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


def _unexpected(tables: Mapping[str, Sequence[Any]]) -> int:
    """Say how many figures of some tables differ; return 1 if the ledger does not say so of one."""
    entries = [entry for _, entry in itertools.chain(*tables.values())]
    judged = [(q.verdict == "differs", entry) for entry in entries for q in entry.quantities]
    reasons = [entry.explanation for differs, entry in judged if differs]
    told = f"{len(judged)} figures derived again: {len(judged) - len(reasons)} hold, "
    open_ones = reasons.count("unexplained")
    print(f"\n{told}{len(reasons)} differ" + (f", {open_ones} unexplained" if open_ones else ""))
    unsaid = [entry.id for differs, entry in judged if differs and not entry.explanation]
    _complain([f"{name} differs, and the ledger does not say why" for name in unsaid])
    return 1 if unsaid else 0
