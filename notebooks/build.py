"""Build the notebooks from their sources, notebooks/src/*.md.

    python notebooks/build.py [NAME ...]            execute; write the reading edition, and its
                                                    pictures in figures/ where it has changed
    python notebooks/build.py --text [NAME ...]     write it with the outputs that it has: only
                                                    words have changed
    python notebooks/build.py --check [NAME ...]    compare what is committed with its source
                                                    (--release: translations, too, are up to date)
    python notebooks/build.py --translate vi NAME ...  write or extend what is to be translated
    python notebooks/build.py --solved [NAME ...]   execute with the exercises solved; write nothing
    python notebooks/build.py --seed N [NAME ...]   execute with another SEED; write nothing
    python notebooks/build.py --own [NAME ...]      make the learner's own copies, notebooks/mine/
    python notebooks/build.py --slides [NAME ...]   make slides/NAME.html, those of the class, too
    python notebooks/build.py --assignment NAME ... make assignments/, for nbgrader
    python notebooks/build.py --quizzes             make quizzes/, for Moodle and to print
                                                    (--out: elsewhere)

How a source is written stands in notebooks/builder/source.py; how it is translated, in translate.py
beside it; what is compared and refused, in lint.py. A build of all lessons writes constraints.txt.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from builder import constraints, execute, lint, own
from builder.source import NOTEBOOKS, BuildError, read_source, slug, sources

CLASS = NOTEBOOKS / "FIFTY_MINUTES.md"  # a script, from which slides are made


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code: 0, or 1 when something was refused."""
    parser = argparse.ArgumentParser(description="Build the notebooks from notebooks/src/*.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="lessons; all when none is named")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="compare with the sources, run nothing")
    what.add_argument("--text", action="store_true", help="only words have changed: run nothing")
    what.add_argument("--translate", metavar="LANGUAGE", help="add the cells that it lacks")
    what.add_argument("--solved", action="store_true", help="run every exercise's solution")
    what.add_argument("--own", action="store_true", help="make copies in notebooks/mine")
    what.add_argument("--slides", action="store_true", help="make slides, one HTML file a lesson")
    what.add_argument("--assignment", action="store_true", help="make assignments for nbgrader")
    what.add_argument("--quizzes", action="store_true", help="make quizzes, for Moodle and paper")
    what.add_argument("--site", action="store_true", help="make the web edition")
    what.add_argument("--site-live", action="store_true", help="the same, with lessons that run")
    parser.add_argument("--release", action="store_true", help="with --check: nothing is late")
    parser.add_argument("--seed", type=int, help="run with another SEED; write nothing")
    parser.add_argument("--out", type=Path, help="where what is made for a class goes")
    options = parser.parse_args(argv)
    if options.assignment and not options.names:
        parser.error("name the lessons of the assignment, such as 01 03")
    try:
        paths = chosen_paths(options)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    live = partial(make_site, live=True)
    for name, make in (("quizzes", make_quizzes), ("site", make_site), ("site_live", live)):
        if getattr(options, name):
            return 1 if attempt(name, partial(make, options.out)) is None else 0
    step = chosen_step(options)
    if options.check and not options.names:
        step = partial(check_quietly, release=options.release)
    results = [attempt(path.stem, partial(step, path)) for path in paths]
    if step is build and paths and None not in results:
        root = paths[0].parents[2]
        changed = any(str(each).startswith("changed") for each in results)
        if not options.names:
            results.append(attempt(constraints.FILE, partial(write_constraints, root)))
        elif changed and (packages := constraints.says_otherwise(root)):
            print(
                f"{constraints.FILE} says otherwise of {', '.join(packages)}: "
                "it is written when all lessons are built",
                file=sys.stderr,
            )
    return 1 if None in results else 0


def attempt(name: str, step: Callable[[], str]) -> str | None:
    """Take one step, with a line of progress; return what it says, None when it refuses."""
    print(f"{name:<28}", end=" ", flush=True)
    start, complaint = time.perf_counter(), None
    try:
        result = step()
    except (BuildError, OSError) as error:
        result, complaint = None, error
    print(f"{time.perf_counter() - start:5.1f} s  {result or 'NOT RIGHT:'}", flush=True)
    if complaint is not None:
        print(complaint, file=sys.stderr, flush=True)
    return result


def chosen_paths(options: argparse.Namespace) -> list[Path]:
    """Return the sources of the named lessons, or all; for slides, the script of a class, too."""
    names = [name for name in options.names if name != CLASS.stem]
    paths = sources(names) if names or not options.names else []
    if options.slides and (CLASS.stem in options.names or not options.names):
        paths.append(CLASS)
    return paths


# -- the steps: each takes a lesson, and says in a word or two what came of it ----------------


def chosen_step(options: argparse.Namespace) -> Callable[[Path], str]:
    """Return what is to be done with each lesson."""
    if options.check:
        return partial(check, release=options.release)
    if options.text:
        return partial(build, text=True)
    if options.translate:
        return partial(extend_translation, language=options.translate)
    if options.own:
        return own.own_copies
    if options.slides:
        return partial(make_slides, out=options.out or Path("slides"))
    if options.assignment:
        return partial(make_assignment, out=options.out or Path("assignments"))
    if options.solved:
        return partial(run_solved, seed=options.seed)
    if options.seed is not None:
        return partial(run_with_seed, seed=options.seed)
    return build


def build(path: Path, text: bool = False) -> str:
    """Build a lesson; then refuse what its text says and nothing shows, or a stale translation."""
    changed = execute.build(path, text=text)
    if problems := lint.check(path):
        raise BuildError("\n".join(problems))
    if changed and not text:
        draw_figures(path)
    return "changed" if changed else "unchanged"


def draw_figures(path: Path) -> None:
    """Draw the pictures of a lesson once more in figures/: its page shows the new ones by now."""
    import matplotlib as mpl

    mpl.use("Agg")  # files only: needs no screen
    from lora_edu.course import figures

    own = [name for name, entry in figures.load().items() if entry.lesson == slug(path)]
    if own:
        list(figures.write(path.parents[2] / "figures", own))


def check(path: Path, release: bool = False) -> str:
    """Refuse a lesson that is not as its source says, or breaks a rule; say what is late."""
    problems = lint.check(path)
    late = [] if problems else lint.late(path)
    if problems or (release and late):
        raise BuildError("\n".join(problems or late))
    return "\n".join(["as its source says", *late])


def check_quietly(path: Path, release: bool = False) -> str:
    """Refuse the same; of what is late, say only how much."""
    said, *late = check(path, release).split("\n")
    places = sum(not line.startswith(" ") for line in late)  # a diff stands below each
    told = f"\nlate, in translations: {places}; python notebooks/build.py --check {path.stem}"
    return said + (told if late else "")


def extend_translation(path: Path, language: str) -> str:
    """Write the cells that a translation lacks, each with its English text to replace."""
    from builder.translate import write_skeleton

    return write_skeleton(read_source(path), language)


def run_solved(path: Path, seed: int | None) -> str:
    """Run a lesson with its exercises solved."""
    execute.run_solved(path, seed)
    return "every solution passes its check"


def run_with_seed(path: Path, seed: int) -> str:
    """Run a lesson with another seed."""
    execute.run_with_seed(path, seed)
    return f"holds with SEED = {seed}"


def make_slides(path: Path, out: Path) -> str:
    """Write the slides of a lesson."""
    from builder.slides import write_slides  # loads nbconvert: not for the other steps

    return str(write_slides(path, out))


def make_assignment(path: Path, out: Path) -> str:
    """Write a lesson as nbgrader takes it."""
    from builder.assignment import write_assignment

    return write_assignment(path, out)


def make_quizzes(out: Path | None) -> str:
    """Write the questions of all lessons, for Moodle and to print."""
    from builder.sheets import write_quizzes

    return write_quizzes(NOTEBOOKS / "src", out or Path("quizzes"))


def make_site(out: Path | None, live: bool = False) -> str:
    """Write the web edition: all pages, with nothing executed."""
    from builder.site import write_site

    return write_site(out or Path("site"), live)


def write_constraints(root: Path) -> str:
    """Write the versions behind the outputs."""
    return "changed" if constraints.write_constraints(root) else "unchanged"


if __name__ == "__main__":
    sys.exit(main())
