"""Run the editions of a lesson in a fresh kernel, and write the one that is read."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from nbformat import NotebookNode

from builder.claims import write_collection
from builder.editions import (
    built_path,
    dumps,
    load,
    outputs,
    printed,
    reading_edition,
    solved_edition,
    translated_edition,
    with_seed,
)
from builder.lint import check_source
from builder.source import (
    NOTEBOOKS,
    BuildError,
    Source,
    exercises,
    file_name,
    read_source,
    tags,
)
from builder.translate import languages, read_translation, translate
from lora_edu.files import write_whole

WIDGET = "application/vnd.jupyter.widget-view+json"
SECONDS_PER_CELL = 600


def execute(notebook: NotebookNode, source: Source, *, strict: bool = True) -> NotebookNode:
    """Run an edition of a source from top to bottom in a fresh kernel.

    Parameters
    ----------
    notebook, source
        The edition, and where its cells come from.
    strict : bool
        Whether its claims have to hold; not in a learner's hands.

    Raises
    ------
    BuildError
        A cell raised an error, wrote to stderr, took too long, ended its kernel, or shows a widget
        and is not tagged ``live``.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # sums in one order: the same last digits
    environment = {name: v for name, v in os.environ.items() if name != "LORA_EDU_CLAIMS"}
    environment |= {"LORA_EDU_CLAIMS": "strict"} if strict else {}
    begun: list[NotebookNode] = []
    client = NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # else one print may arrive in one piece or in two
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(NOTEBOOKS)}},
        on_cell_start=lambda cell, cell_index: begun.append(cell),
    )
    try:
        client.execute(env=environment)
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


def retold(notebook: NotebookNode, former: NotebookNode | None, source: Source) -> NotebookNode:
    """Give an edition the outputs of its former build, which ran the same code."""
    before = {cell.id: cell for cell in former.cells if cell.cell_type == "code"} if former else {}
    other = "other code than in the last build: build without --text"
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        old = before.pop(cell.id, None)
        if old is None or old.source != cell.source:
            raise BuildError(f"{source.place(cell)}: {other}")
        cell.outputs, cell.execution_count = old.outputs, old.execution_count
    if before:
        raise BuildError(f"{file_name(source.path)}: cell {next(iter(before))}, gone: {other}")
    return notebook


def build(path: Path, *, text: bool = False) -> bool:
    """Execute the reading edition of one source and write it beside ``src``; say if it changed.

    With ``text`` nothing is run: where only words have changed, the outputs stay.

    Raises
    ------
    BuildError
        The source or a translation cannot be read or breaks a rule of ``check_source``, or a cell
        fails (with ``text``: has changed). Nothing is written then.
    """
    source = read_source(path)
    rendered = {language: read_translation(source, language) for language in languages(path)}
    if problems := [line for each in [source, *rendered.values()] for line in check_source(each)]:
        raise BuildError("\n".join(problems))
    translations = {
        # What is wrong with one, --check says: a lesson is built while its translation is late.
        language: translate(source, own)[0]
        for language, own in rendered.items()
    }
    page, former = reading_edition(source), load(built_path(path))
    notebook = retold(page, former, source) if text else tidy(execute(page, source), former)
    changed = write_whole(built_path(path), dumps(notebook))
    for language, translation in translations.items():
        other = translated_edition(translation, notebook, language)
        changed |= write_whole(built_path(path, language), dumps(other))
    return write_collection(path.parent.parent) or changed


def run_solved(path: Path, seed: int | None = None) -> NotebookNode:
    """Execute the solved edition in memory; refuse it unless every check says OK."""
    source = read_source(path)
    notebook = solved_edition(source)
    if seed is not None:
        with_seed(notebook, seed, source)
    execute(notebook, source)
    cells = {cell.id: cell for cell in notebook.cells}
    for name, exercise in exercises(source).items():
        said = printed(cells[name])
        if f"{exercise.check}: OK" not in said:
            raise BuildError(
                f"{source.place(cells[name])}: {exercise.check} did not say OK but {said.strip()!r}"
            )
    return notebook


def run_with_seed(path: Path, seed: int) -> NotebookNode:
    """Execute the reading edition in memory with another seed: what is said of any must hold."""
    source = read_source(path)
    notebook = with_seed(reading_edition(source), seed, source)
    return execute(notebook, source)
