"""Build what readers get from the sources, each step by one part of notebooks/builder.

    source → cells → edition → output
    src/NN_slug.md   source, translate: cells with ids, exercises, another language
                     editions: reading, own, solved, for nbgrader; questions at the end
                     execute: the reading edition with outputs, NN_slug.ipynb, committed
                     lint: what of it is refused
                     pages, reference, explorables → site: site/
                     slides: slides/NN_slug.html;  paper: quizzes/, for Moodle and to print

    python notebooks/build.py [NAME ...]            write the notebook, the translated ones and the
                                                    lesson's pictures in figures/; nothing is run
                                                    where words alone have changed (but for --run)
    python notebooks/build.py --check [NAME ...]    compare what is committed with its source
                                                    (--release: translations, too, are up to date)
    python notebooks/build.py --translate vi NAME ...  write or extend what is to be translated
    python notebooks/build.py --own [NAME ...]      make the learner's own copies, notebooks/mine/
    python notebooks/build.py --slides [NAME ...]   make slides/NAME.html, those of the class, too
    python notebooks/build.py --assignment NAME ... make assignments/, for nbgrader
    python notebooks/build.py --handouts [NAME ...] make handouts/: the class's slides as a PDF, and
                                                    what is printed for it; or slides of lessons
    python notebooks/build.py --quizzes             make quizzes/, for Moodle and to print
    python notebooks/build.py --site                make site/ (--site-voice: with the chat model)
                                                    (--out: elsewhere)

How a source is written stands in notebooks/builder/source.py; how it is translated, in translate.py
beside it; what is compared and refused, in lint.py. A build of all lessons writes constraints.txt.
"""

import argparse
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path

from builder import editions, execute, lint, translate
from builder.source import NOTEBOOKS, BuildError, read_source, slug, sources

CLASS = NOTEBOOKS / "FIFTY_MINUTES.md"  # a script, from which slides are made
PRINTED = [NOTEBOOKS / f"{name}.md" for name in ("HANDOUT", "FIVE_QUESTIONS")]


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code: 0, or 1 when something was refused."""
    options = parsed(argv)
    step, _ = STEPS[options.what]
    if options.what in WHOLE:
        return 1 if attempt(options.what, lambda: step(options.out, options)) is None else 0
    try:
        paths = chosen_paths(options)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    results = [attempt(path.stem, partial(step, path, options)) for path in paths]
    if options.what == "own" and None not in results:
        results.append(attempt(editions.START, lambda: editions.write_start(sources([]))))
    if options.what == "build" and not options.names and None not in results:
        write = partial(execute.write_constraints, NOTEBOOKS.parent)
        results.append(attempt(execute.CONSTRAINTS, write))
    return 1 if None in results else 0


def parsed(argv: list[str] | None) -> Namespace:
    """Return the options: ``what`` is to be done, with which lessons, and ``out``, to where."""
    parser = argparse.ArgumentParser(description="Build the notebooks from notebooks/src/*.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="lessons; all when none is named")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--translate", metavar="LANGUAGE", help=STEPS["translate"][1])
    for name, (_, told) in STEPS.items():
        if name not in ("build", "translate"):
            what.add_argument(f"--{name}", action="store_const", dest="what", const=name, help=told)
    parser.add_argument("--run", action="store_true", help="run, even if words alone have changed")
    parser.add_argument("--release", action="store_true", help="with --check: nothing is late")
    parser.add_argument("--out", type=Path, help="where what is made for a class goes")
    options = parser.parse_args(argv)
    options.what = options.what or ("translate" if options.translate else "build")
    if options.what == "assignment" and not options.names:
        parser.error("name the lessons of the assignment, such as 01 03")
    usual = {"assignment": "assignments", "site-voice": "site"}.get(options.what, options.what)
    options.out = options.out or Path(usual)
    return options


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


def chosen_paths(options: Namespace) -> list[Path]:
    """Return the sources of the named lessons, or all; for slides, the script of a class, too."""
    names = [name for name in options.names if name != CLASS.stem]
    paths = sources(names) if names or not options.names else []
    if options.what == "slides" and (CLASS.stem in options.names or not options.names):
        paths.append(CLASS)
    if options.what == "handouts" and not options.names:
        return [CLASS, *PRINTED]
    return paths


# -- what there is to do with a lesson, given its source; each says in a line what came of it -----


def build(path: Path, options: Namespace) -> str:
    """Build a lesson; then refuse what its text says and nothing shows, or a stale translation."""
    said, ran = execute.build(path, run=options.run)
    problems, late = lint.check(path)
    if problems:
        raise BuildError("\n".join(problems))
    if ran:
        draw_figures(path)
    more = f"; late, in translations: {len(late)}, see --check {path.stem}"
    return said + more if late else said


def draw_figures(path: Path) -> None:
    """Draw the pictures of a lesson once more in figures/: its page shows the new ones by now."""
    import matplotlib as mpl

    mpl.use("Agg")  # files only: needs no screen
    from lora_edu.course import figures

    own = [name for name, entry in figures.load().items() if entry.lesson == slug(path)]
    if own:
        list(figures.write(path.parents[2] / "figures", own))


def check(path: Path, options: Namespace) -> str:
    """Refuse a lesson that is not as its source says, or breaks a rule; say what is late.

    Of all lessons, only how much is late.
    """
    problems, late = lint.check(path)
    if problems or (options.release and late):
        raise BuildError("\n".join(problems or late))
    if late and not options.names:
        more = f"python notebooks/build.py --check {path.stem}"
        late = [f"late, in translations: {len(late)}; {more}"]
    return "\n".join(["as its source says", *late])


def translation(path: Path, options: Namespace) -> str:
    """Write or extend a file to translate."""
    return translate.write_skeleton(read_source(path), options.translate)


def slides(path: Path, options: Namespace) -> str:
    """Write the slides of a lesson."""
    from builder.slides import write_slides  # loads nbconvert: not for the other steps

    return str(write_slides(path, options.out))


def handouts(path: Path, options: Namespace) -> str:
    """Write what is printed: a page with its answers, or slides; each as HTML and PDF."""
    from builder import paper  # loads nbconvert, as slides do

    if path in PRINTED:
        return paper.write_handout(path, options.out)
    made = slides(path, options)
    return f"{made}: {paper.as_pdf([Path(made)], '?print-pdf')}"


def quizzes(out: Path, options: Namespace) -> str:
    """Write the questions for Moodle, and to print."""
    from builder.paper import write_quizzes

    return write_quizzes(NOTEBOOKS / "src", out)


def site(out: Path, options: Namespace) -> str:
    """Write the web edition: all pages, with nothing executed."""
    from builder.site import write_site

    return write_site(out, options.what == "site-voice")


# What can be asked for: how it is done, and its help.
STEPS: dict[str, tuple[Callable[[Path, Namespace], str], str]] = {
    "build": (build, "what is done without an option"),
    "check": (check, "compare with the sources, run nothing"),
    "translate": (translation, "add the cells that it lacks"),
    "own": (lambda path, _: editions.own_copies(path), "make copies in notebooks/mine"),
    "slides": (slides, "make slides, one HTML file a lesson"),
    "handouts": (handouts, "make what is printed, as PDF"),
    "assignment": (
        lambda path, options: editions.write_assignment(path, options.out),
        "make assignments for nbgrader",
    ),
    "quizzes": (quizzes, "make quizzes, for Moodle and paper"),
    "site": (site, "make the web edition"),
    "site-voice": (site, "the same, with the chat model"),
}
WHOLE = ("quizzes", "site", "site-voice")  # one output for all lessons, instead of a path --out

if __name__ == "__main__":
    sys.exit(main())
