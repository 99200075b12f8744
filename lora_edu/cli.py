"""The command ``lora-edu``.

Each subcommand imports what it needs when it runs, so that ``lora-edu --help`` answers at once.
Bad input ends in one line on stderr and exit code 2; a check that fails, in exit code 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lora_edu import __version__

__all__ = ["main"]


def _figures(arguments: argparse.Namespace) -> int:
    import matplotlib as mpl

    mpl.use("Agg")  # files only: needs no screen
    from lora_edu.course import figures

    if arguments.check:
        problems = figures.check(arguments.out)
        for problem in problems:
            print(problem, file=sys.stderr)
        print(f"{len(figures.load())} figures checked, {len(problems)} problems")
        return 1 if problems else 0
    for name, changed in figures.write(arguments.out, arguments.only):
        print(f"{name:<24} {'drawn' if changed else 'unchanged'}")
    return 0


def _experiments(arguments: argparse.Namespace) -> int:
    from lora_edu.course import experiments

    for name in arguments.name or experiments.load():
        experiments.record(name, arguments.seeds, arguments.out, progress=True)
        print(f"{name:<24} recorded")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lora-edu", description="Companion of the LoRA course: figures and numbers."
    )
    parser.add_argument("--version", action="version", version=f"lora-edu {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    figures = commands.add_parser("figures", help="draw every figure of the course")
    figures.add_argument(
        "--only", nargs="+", metavar="NAME", help="draw these, even when nothing changed"
    )
    figures.add_argument(
        "--check", action="store_true", help="write nothing; fail on a missing or stale figure"
    )
    figures.add_argument(
        "--out", default="figures", metavar="DIR", help="the folder (default: figures)"
    )
    figures.set_defaults(run=_figures)

    experiments = commands.add_parser("experiments", help="record the long runs anew (minutes)")
    experiments.add_argument("name", nargs="*", metavar="NAME", help="which (default: all)")
    experiments.add_argument("--seeds", type=int, default=5, metavar="N", help="default: 5")
    experiments.add_argument(
        "--out", metavar="DIR", type=Path, help="the folder (default: where the lessons read)"
    )
    experiments.set_defaults(run=_experiments)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code (0 well, 1 a check failed, 2 bad input)."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (ValueError, OSError) as error:
        print(f"lora-edu: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
