"""An edition → the same with outputs, from a fresh kernel; the one that is read is written.

Behind the committed outputs stand the versions in constraints.txt. It is written after each build
of *all* lessons that refuses none, whether or not an output has changed: then this environment gave
every committed output just now. After a build of some lessons no one environment need stand behind
all of them, and the file is left alone.
"""

import base64
import copy
import os
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from nbformat import NotebookNode
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from builder.editions import (
    built_path,
    dumps,
    load,
    outputs,
    printed,
    reading_edition,
    solved_edition,
    with_outputs,
    with_seed,
)
from builder.lint import as_written, check_source, collect, collection
from builder.source import (
    NOTEBOOKS,
    BuildError,
    Source,
    exercises,
    read_source,
    tags,
)
from builder.translate import languages, read_translation, translate
from lora_edu.files import write_whole

WIDGET = "application/vnd.jupyter.widget-view+json"
SECONDS_PER_CELL = 600
CONSTRAINTS = "constraints.txt"
PROJECT = "lora-edu"
EXTRAS = ("course", "test", "dev")
HEADER = """\
# The exact versions behind the outputs of notebooks/*.ipynb, on Python {python}.
# Written by notebooks/build.py when it builds all lessons. To install them:
#   python -m pip install -e ".[course,test,dev]" -c constraints.txt
"""


def execute(
    notebook: NotebookNode, source: Source, *, strict: bool = True, also: str = "en"
) -> NotebookNode:
    """Run an edition of a source from top to bottom in a fresh kernel.

    Parameters
    ----------
    notebook, source
        The edition, and where its cells come from.
    strict : bool
        Whether its claims have to hold; not in a learner's hands.
    also : str
        Another language in which each picture is drawn; ``in_words_of`` takes these.

    Raises
    ------
    BuildError
        A cell raised an error, wrote to stderr, took too long, ended its kernel, or shows a widget
        and is not tagged ``live``.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from tqdm import tqdm

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # sums in one order: the same last digits
    environment = {name: v for name, v in os.environ.items() if name != "LORA_EDU_CLAIMS"}
    environment |= {"LORA_EDU_CLAIMS": "strict"} if strict else {}
    environment |= {"LORA_EDU_LANG": "en", "LORA_EDU_PICTURES": also}
    begun: list[NotebookNode] = []
    code = sum(cell.cell_type == "code" for cell in notebook.cells)
    bar = tqdm(total=code, unit="cell", leave=False, disable=None)  # at a terminal alone
    client = NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # else one print may arrive in one piece or in two
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(NOTEBOOKS)}},
        on_cell_start=lambda cell, cell_index: begun.append(cell),
        on_cell_executed=lambda cell, cell_index, execute_reply: bar.update(),
    )
    try:
        with bar:
            try:
                client.execute(env=environment)
            except RuntimeError:
                if begun:
                    raise
                client.execute(env=environment)  # another kernel had its port
    except CellTimeoutError:
        raise BuildError(f"{source.place(begun[-1])}: more than {SECONDS_PER_CELL} s") from None
    except DeadKernelError:
        raise BuildError(f"{source.place(begun[-1])}: the kernel died") from None
    except CellExecutionError as error:
        raise BuildError(f"{source.place(begun[-1])}: {error.ename}: {error.evalue}") from None
    for cell in notebook.cells:
        for output in outputs(cell):
            if output.get("name") == "stderr":
                raise BuildError(f"{source.place(cell)}: wrote to stderr: {output.text[:200]}")
            if WIDGET in output.get("data", {}) and "live" not in tags(cell):
                raise BuildError(f"{source.place(cell)}: it shows a widget: tag it `live`")
    notebook.metadata["language_info"] = {"name": "python"}  # no version: it differs by machine
    notebook.metadata.pop("widgets", None)
    return notebook


def tidy(notebook: NotebookNode, former: NotebookNode | None) -> NotebookNode:
    """Make the outputs those that a second build makes as well.

    What is ``live`` needs a kernel, so its output is left out. What a clock decides (``timing``)
    keeps its former output while the cell is unchanged.
    """
    from lora_edu.course.plots import small_png  # loads Matplotlib: not for --check

    before = {cell.id: cell for cell in former.cells if cell.cell_type == "code"} if former else {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        if "live" in tags(cell):
            cell.outputs = []
        for output in cell.outputs:
            if png := output.get("data", {}).get("image/png"):
                small = base64.b64encode(small_png(base64.b64decode(png)))
                output.data["image/png"] = small.decode()
        old = before.get(cell.id)
        if "timing" in tags(cell) and old and old.source == cell.source:
            cell.outputs = old.outputs
    return notebook


def in_words_of(language: str, notebook: NotebookNode) -> NotebookNode:
    """Take the pictures in another language out of the metadata of outputs; return them in a copy.

    (``plots.use_style`` put them there.)
    """
    from lora_edu.course.plots import small_png

    other = copy.deepcopy(notebook)
    for cell, own in zip(notebook.cells, other.cells, strict=True):
        for output, shown in zip(outputs(cell), outputs(own), strict=True):
            if png := output.get("metadata", {}).pop("image/png", {}).get(language):
                small = small_png(base64.b64decode(png))
                shown.data["image/png"] = base64.b64encode(small).decode()
    return other


def build(path: Path, *, run: bool = False) -> tuple[str, bool]:
    """Write the reading edition of a source beside ``src``; say what was done, and if it ran.

    Where words alone have changed, nothing is run, and the outputs stay, unless it is to ``run``.

    Raises
    ------
    BuildError
        The source or a translation cannot be read or breaks a rule of ``check_source``, or a cell
        fails. Nothing is written then.
    """
    source = read_source(path)
    rendered = {language: read_translation(source, language) for language in languages(path)}
    if problems := [line for each in [source, *rendered.values()] for line in check_source(each)]:
        raise BuildError("\n".join(problems))
    page, former = reading_edition(source), load(built_path(path))
    # What is wrong with a translation, --check says: a lesson is built while that is late.
    editions = {
        each: reading_edition(translate(source, own)[0], each) for each, own in rendered.items()
    }
    others = {each: load(built_path(path, each)) for each in editions}
    fresh = [(page, former), *((editions[each], others[each]) for each in editions)]
    if former is not None and not run and words_alone(fresh):
        notebook, said = with_outputs(page, former), "words changed, nothing run"
    else:
        executed = execute(page, source, also=next(iter(editions), "en"))
        others = {each: in_words_of(each, executed) for each in editions}
        run, notebook = True, tidy(executed, former)
        new = outputs_changed(notebook, former)
        said = f"run: other outputs in {', '.join(new)}" if new else "run: as before"
    write_whole(built_path(path), dumps(notebook))
    for language, edition in editions.items():
        own = with_outputs(edition, notebook, language, others[language])
        if write_whole(built_path(path, language), dumps(own)):
            said += f", {language} written"
    write_whole(collection(path.parent.parent), collect(path.parent.parent))
    return said, run


def words_alone(editions: Iterable[tuple[NotebookNode, NotebookNode | None]]) -> bool:
    """Say whether Markdown has changed since the last build, and no code, its order or its tags.

    ``editions``: English and the translations, each as it is now and as it was.
    """
    changed = False
    for now, before in editions:
        new = [as_written(cell) for cell in now.cells]
        old = [as_written(cell) for cell in before.cells] if before else []
        if [each for each in new if each[1] == "code"] != [c for c in old if c[1] == "code"]:
            return False
        changed = changed or new != old
    return changed


def outputs_changed(notebook: NotebookNode, former: NotebookNode | None) -> list[str]:
    """Name the cells with other outputs than before, those that are ``approx`` as such."""
    before = {cell.id: outputs(cell) for cell in former.cells} if former else {}
    return [
        f"{cell.id} (approx)" if "approx" in tags(cell) else cell.id
        for cell in notebook.cells
        if outputs(cell) != before.get(cell.id, [])
    ]


def rerun(path: Path, *, solved: bool = False, seed: int | None = None) -> NotebookNode:
    """Execute a lesson in memory, perhaps with another seed: what is said of any must hold.

    If it is to be ``solved``, a BuildError unless every check says OK.
    """
    source = read_source(path)
    notebook = solved_edition(source) if solved else reading_edition(source)
    if seed is not None:
        with_seed(notebook, seed, source)
    execute(notebook, source)
    cells = {cell.id: cell for cell in notebook.cells}
    for name, exercise in exercises(source).items() if solved else ():
        said = printed(cells[name])
        if f"{exercise.check}: OK" not in said:
            raise BuildError(
                f"{source.place(cells[name])}: {exercise.check} did not say OK but {said.strip()!r}"
            )
    return notebook


# -- the versions behind the outputs -----------------------------------------------------------


def pins(project: str = PROJECT, extras: tuple[str, ...] = EXTRAS) -> list[str]:
    """Return ``name==version`` of all that a project needs here, and of what these need, sorted.

    The project itself has no line. A local label (``+cpu``) is left out, for PyPI has none.

    Raises
    ------
    BuildError
        Something that the project needs is not installed.
    """
    versions: dict[str, str] = {}
    waiting = [(canonicalize_name(project), extra) for extra in ("", *extras)]
    seen = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise BuildError(
                f"{CONSTRAINTS}: not written: {name} is not installed; "
                f"python -m pip install -e '.[{','.join(EXTRAS)}]'"
            ) from None
        versions[name] = Version(distribution.version).public
        for line in distribution.requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                to = canonicalize_name(needed.name)
                waiting += [(to, one) for one in ("", *needed.extras)]
    del versions[canonicalize_name(project)]
    return [f"{name}=={version}" for name, version in sorted(versions.items())]


def versions() -> str:
    """Return what the file says of this environment."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return HEADER.format(python=python) + "\n".join(pins()) + "\n"


def write_constraints(root: Path) -> str:
    """Write the file into the project's folder; say whether it changed."""
    return "changed" if write_whole(root / CONSTRAINTS, versions()) else "unchanged"
