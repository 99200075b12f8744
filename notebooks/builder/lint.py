"""Build the notebooks from their sources, notebooks/src/*.md (MyST Markdown).

    python notebooks/build.py [NAME ...]            execute; write the reading edition
    python notebooks/build.py --check [NAME ...]    compare what is committed with its source
    python notebooks/build.py --solved [NAME ...]   execute with the exercises solved; write nothing
    python notebooks/build.py --seed N [NAME ...]   execute with another SEED; write nothing
    python notebooks/build.py --own [NAME ...]      make the learner's own copies, notebooks/mine/

One source, three editions. *Reading*: executed, with outputs, committed. *Own*: the same without
outputs, for the learner to work in. *Solved*: each solution in the place of its stub, in memory.

How a source is written: each cell has an id. A code cell tagged `exercise` holds a stub and, as
its last line, the call of its check; Markdown tagged `hint` may follow, then a code cell tagged
`solution`, which readers see folded. A figure is followed by Markdown tagged `figure-text`. A
cell tagged `parameters` holds `SEED = 0`. Numbers in the prose that no cell computes (years, say)
stand in the front matter, `lora_edu: allowed_numbers:`, each with its reason.

How it is translated: `src/vi/NAME.md` holds the Markdown cells alone, each with the id of the
English cell that it renders and, as `en`, that cell's digest. `vi/NAME.ipynb` shares code and
outputs with the English notebook. `src/vi/glossary.md` says how the terms are rendered.
"""

from __future__ import annotations

import argparse
import ast
import base64
import copy
import hashlib
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from lora_edu.files import write_whole

NOTEBOOKS = Path(__file__).resolve().parents[1]
LABELS = {
    "en": {"hint": "Hint", "solution": "Solution"},
    "vi": {"hint": "Gợi ý", "solution": "Lời giải"},
}
WIDGET = "application/vnd.jupyter.widget-view+json"
SECONDS_PER_CELL = 600

# What a lesson may measure: cells, words of prose, lines of a code cell, bytes.
CELLS, WORDS, MEDIAN_LINES, MOST_LINES, MOST_BYTES = (30, 70), (1000, 2500), 6, 25, 400_000


class BuildError(Exception):
    """A notebook that cannot be built, with file and cell in the message."""


# -- reading a source -------------------------------------------------------------------------


def tags(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return cell.metadata.get("tags", [])


def called_check(cell: NotebookNode) -> str:
    """Return the name of the check that an exercise calls in its last line, or ``""``."""
    match = re.match(r"(?:\w+\.)?(check_\w+)\(", cell.source.rsplit("\n", 1)[-1])
    return match[1] if match else ""


def read_source(path: Path) -> NotebookNode:
    """Read a MyST source into a notebook whose cells carry their ids.

    Raises
    ------
    BuildError
        A cell without an id, an id twice, or an exercise that is not complete.
    """
    import jupytext

    notebook = jupytext.read(path)
    seen: set[str] = set()
    for number, cell in enumerate(notebook.cells, start=1):
        name = cell.metadata.pop("id", None)
        if name is None:
            raise BuildError(f"{path.name}: cell {number} has no id: {cell.source[:40]!r}")
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", name):
            raise BuildError(f"{path.name}: cell {name!r}: an id is made of a-z, 0-9 and -")
        if name in seen:
            raise BuildError(f"{path.name}: cell {name}: a second cell has this id")
        seen.add(name)
        cell["id"] = name
    for exercise, _, solution in exercises(notebook, path.name):
        called = called_check(exercise)
        if not called:
            raise BuildError(
                f"{path.name}: cell {exercise.id}: the last line of an exercise calls its check_…"
            )
        if called in solution.source:
            raise BuildError(
                f"{path.name}: cell {solution.id}: a solution leaves {called} to its exercise"
            )
    return notebook


def exercises(
    notebook: NotebookNode, name: str
) -> list[tuple[NotebookNode, list[NotebookNode], NotebookNode]]:
    """Return each exercise with its hints and its solution; refuse an incomplete one."""
    found, cells = [], iter(notebook.cells)
    for cell in cells:
        if {"hint", "solution"} & set(tags(cell)):
            raise BuildError(f"{name}: cell {cell.id}: it belongs to no exercise")
        if "exercise" not in tags(cell):
            continue
        hints = []
        for follower in cells:
            if "hint" not in tags(follower):
                break
            hints.append(follower)
        else:
            follower = cell
        if "solution" not in tags(follower):
            raise BuildError(f"{name}: cell {cell.id}: this exercise has no solution")
        found.append((cell, hints, follower))
    return found


# -- translations -----------------------------------------------------------------------------


def languages(path: Path) -> list[str]:
    """Return the languages into which a source is translated."""
    return sorted(found.parent.name for found in path.parent.glob(f"*/{path.name}"))


def digest(cell: NotebookNode) -> str:
    """Return a digest of the text of a cell, which its translation quotes."""
    return hashlib.sha256(cell.source.encode()).hexdigest()[:8]


def translate(source: NotebookNode, path: Path, language: str) -> tuple[NotebookNode, list[str]]:
    """Return a source with its Markdown translated, and what is wrong with the translation.

    A cell that is missing stays English. Wrong is: a cell that is missing, is no English one, or
    renders an older text; other numbers than in English; another word than the glossary's.
    """
    import jupytext

    file = path.parent / language / path.name
    cells = {cell.metadata.get("id"): cell for cell in jupytext.read(file).cells}
    translation, problems = copy.deepcopy(source), []
    terms = glossary(file.parent / "glossary.md")
    for cell in translation.cells:
        if cell.cell_type != "markdown":
            continue
        rendered = cells.pop(cell.id, None)
        if rendered is None:
            problems.append(f"cell {cell.id}: not translated; the English one is {digest(cell)}")
            continue
        if rendered.metadata.get("en") != digest(cell):
            problems.append(f"cell {cell.id}: stale; the English one is {digest(cell)} now")
        plain = re.sub(r"(?<=\d)\.(?=\d{3}(?!\d))", "", rendered.source)  # 10.000; not Llama 3.1
        plain = re.sub(r"(?<=\d),(?=\d)", ".", plain)  # 38,4
        differ = numbers_in(cell.source).keys() ^ numbers_in(plain).keys()
        if differ:
            problems.append(f"cell {cell.id}: other numbers than in English: {sorted(differ)}")
        for term, agreed in terms.items():
            said = re.search(rf"(?i)\b{term}\b", without_code(cell.source))
            if said and agreed.lower() not in rendered.source.lower():
                problems.append(f"cell {cell.id}: {said[0]!r} is rendered {agreed!r}")
        cell.source = rendered.source
    problems += [f"cell {name}: no Markdown cell of the English source" for name in cells]
    return translation, problems


def glossary(path: Path) -> dict[str, str]:
    """Read the agreed terms: English (whole words, as a regular expression) → rendering."""
    rows = re.findall(r"(?m)^\| (.+?) \| (.+?) \|", path.read_text(encoding="utf-8"))[1:]
    return {f"(?:{english.replace(', ', '|')})": agreed for english, agreed in rows}


def translated_edition(
    source: NotebookNode, committed: NotebookNode, language: str
) -> NotebookNode:
    """Give a translated source the outputs of the English notebook."""
    notebook = reading_edition(source, language)
    built = {cell.id: cell for cell in committed.cells}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = built[cell.id].outputs
            cell.execution_count = built[cell.id].execution_count
    return notebook


# -- the editions -----------------------------------------------------------------------------


def reading_edition(source: NotebookNode, language: str = "en") -> NotebookNode:
    """Fold hints and solutions, and keep only the metadata that a notebook needs."""
    notebook = nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in copy.deepcopy(source.cells):
        for tag, label in LABELS[language].items():
            if tag in tags(cell):
                body = f"```python\n{cell.source}\n```" if cell.cell_type == "code" else cell.source
                folded = f"<details><summary>{label}</summary>\n\n{body}\n\n</details>"
                cell = nbformat.v4.new_markdown_cell(folded, id=cell.id, metadata={"tags": [tag]})
        notebook.cells.append(cell)
    return notebook


def solved_edition(source: NotebookNode) -> NotebookNode:
    """Put each solution in the place of its stub; the check stays as the last line."""
    notebook = reading_edition(source)
    stubs = {cell.id: cell for cell in notebook.cells}
    for exercise, _, solution in exercises(source, "source"):
        check = exercise.source.rsplit("\n", 1)[-1]
        stubs[exercise.id].source = f"{solution.source}\n\n{check}"
    return notebook


def with_seed(notebook: NotebookNode, seed: int, name: str) -> NotebookNode:
    """Replace ``SEED = …`` in the cell tagged ``parameters``."""
    for cell in notebook.cells:
        if "parameters" in tags(cell):
            cell.source, count = re.subn(r"(?m)^SEED = \d+", f"SEED = {seed}", cell.source)
            if count == 1:
                return notebook
    raise BuildError(f"{name}: no cell tagged `parameters` holds SEED = …")


# -- executing --------------------------------------------------------------------------------


def execute(notebook: NotebookNode, name: str) -> NotebookNode:
    """Run a notebook from top to bottom in a fresh kernel.

    Raises
    ------
    BuildError
        A cell raised an error, wrote to stderr, or took too long.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # sums in one order: the same last digits
    client = NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # else one print may arrive in one piece or in two
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    )
    try:
        client.execute()
    except CellTimeoutError:
        raise BuildError(f"{name}: a cell took more than {SECONDS_PER_CELL} s") from None
    except CellExecutionError as error:
        cell = next(c for c in notebook.cells if any(o.output_type == "error" for o in outputs(c)))
        raise BuildError(f"{name}: cell {cell.id}: {error.ename}: {error.evalue}") from None
    for cell in notebook.cells:
        for output in outputs(cell):
            if output.get("name") == "stderr":
                raise BuildError(f"{name}: cell {cell.id}: wrote to stderr: {output.text[:200]}")
    notebook.metadata["language_info"] = {"name": "python"}  # no version: it differs by machine
    notebook.metadata.pop("widgets", None)
    return notebook


def outputs(cell: NotebookNode) -> list[NotebookNode]:
    """Return the outputs of a cell (none for Markdown)."""
    return cell.get("outputs", [])


def printed(cell: NotebookNode) -> str:
    """Return all text that a cell shows."""
    texts = [o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in outputs(cell)]
    return "\n".join(texts)


def tidy(notebook: NotebookNode, former: NotebookNode | None) -> NotebookNode:
    """Make the outputs those that a second build makes as well.

    A live widget needs a kernel, so its view is left out. What differs at each run (a timing, in a
    cell tagged ``nbval-ignore-output``) keeps its former output while the source is unchanged.
    """
    from lora_edu.course.plots import small_png  # loads Matplotlib: not for --check

    before = {cell.id: cell for cell in former.cells} if former else {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]
        for output in cell.outputs:
            if png := output.get("data", {}).get("image/png"):
                small = base64.b64encode(small_png(base64.b64decode(png)))
                output.data["image/png"] = small.decode()
        old = before.get(cell.id)
        if "nbval-ignore-output" in tags(cell) and old and old.source == cell.source:
            cell.outputs = old.outputs
    return notebook


def dumps(notebook: NotebookNode) -> str:
    """Write a notebook as the text of its file."""
    return nbformat.writes(notebook, version=4) + "\n"


def load(path: Path) -> NotebookNode | None:
    """Read a built notebook; None when it is missing or no notebook."""
    try:
        return nbformat.read(path, as_version=4)
    except Exception:  # nbformat raises a dozen kinds, and each means: build it anew
        return None


def build(path: Path) -> bool:
    """Execute the reading edition of one source and write it beside ``src``; say if it changed."""
    target = path.parent.parent / f"{path.stem}.ipynb"
    source = read_source(path)
    notebook = tidy(execute(reading_edition(source), path.name), load(target))
    changed = write_whole(target, dumps(notebook))
    for language in languages(path):
        translation, _ = translate(source, path, language)  # what is wrong, --check says
        notebook = translated_edition(translation, notebook, language)
        changed |= write_whole(target.parent / language / target.name, dumps(notebook))
    return changed


def run_solved(path: Path, seed: int | None = None) -> NotebookNode:
    """Execute the solved edition in memory; refuse it unless every check says OK."""
    source = read_source(path)
    notebook = solved_edition(source)
    if seed is not None:
        with_seed(notebook, seed, path.name)
    execute(notebook, path.name)
    cells = {cell.id: cell for cell in notebook.cells}
    for exercise, _, solution in exercises(source, path.name):
        called = called_check(exercise)
        if f"{called}: OK" not in printed(cells[exercise.id]):
            raise BuildError(
                f"{path.name}: cell {solution.id}: {called} did not say OK but "
                f"{printed(cells[exercise.id]).strip()!r}"
            )
    return notebook


def run_with_seed(path: Path, seed: int) -> NotebookNode:
    """Execute the reading edition in memory with another seed: its assertions must still hold."""
    notebook = reading_edition(read_source(path))
    return execute(with_seed(notebook, seed, path.name), path.name)


def own_copies(path: Path) -> str:
    """Give the learner a copy of the lesson in each of its languages; return what was done."""
    source = read_source(path)
    done = [own_copy(path, reading_edition(source))]
    for language in languages(path):
        translation, _ = translate(source, path, language)
        said = own_copy(path, reading_edition(translation, language), language)
        done.append(f"{language}: {said}")
    return "; ".join(done)


def own_copy(path: Path, notebook: NotebookNode, language: str = "") -> str:
    """Put a lesson without outputs among the learner's own; return what was done.

    A copy is never written over. When the lesson has changed since, the new one is put beside it
    under the next free name, once.
    """
    folder = path.parent.parent / "mine" / language
    cells = json.dumps([[cell.id, cell.cell_type, cell.source] for cell in notebook.cells])
    lesson = hashlib.sha256(cells.encode()).hexdigest()[:16]
    notebook.metadata["lora_edu"] = {"lesson": lesson}
    for number in range(1, 1000):
        name = f"{path.stem}.ipynb" if number == 1 else f"{path.stem}-{number}.ipynb"
        copied = folder / name
        if not copied.exists():
            write_whole(copied, dumps(notebook))
            return "your copy" if number == 1 else f"the lesson has changed: see {name}"
        mine = load(copied)
        if mine is not None and mine.metadata.get("lora_edu", {}).get("lesson") == lesson:
            return f"yours, kept as it is: {name}"
    raise BuildError(f"{path.name}: a thousand copies in {folder}")


# -- the static check -------------------------------------------------------------------------

NUMBER = re.compile(r"(?<![\w.^\\])\d[\d,_]*(?:\.\d+)?(?:e-?\d+)?(?!\w*[_\d])")
NOT_NUMBERS = re.compile(
    r"\]\([^)]*\)"  # the address of a link
    r"|arXiv:\S+|https?://\S+"
    r"|^#+ [^\d\n]*\d+(?: ·|:)"  # the number of a lesson, a section or an exercise
    r"|^ *\d+\. ",  # of an item in a list
    re.MULTILINE,
)
FORBIDDEN = {
    "a MyST directive (Jupyter shows it raw)": re.compile(r"^```\{", re.MULTILINE),
    "HTML other than <details>": re.compile(r"</?(?!details\b|summary\b)[a-zA-Z]+[ >/]"),
    "a relative link to something that is no sibling notebook": re.compile(
        r"\]\((?!https?://|#|\d\d_\w+\.ipynb)"
    ),
}


def numbers_in(text: str) -> dict[float, str]:
    """Find the numbers in a text: value → as it is written there."""
    found = {}
    for match in NUMBER.findall(NOT_NUMBERS.sub(" ", text)):
        written = match.rstrip(",_")
        found[float(written.replace(",", "").replace("_", ""))] = written
    return found


def numbers_shown(cell: NotebookNode) -> set[float]:
    """Collect the numbers that a code cell holds as constants or shows in its outputs."""
    try:
        nodes: Iterable[ast.AST] = ast.walk(ast.parse(cell.source))
    except SyntaxError:  # a magic: its outputs count all the same
        nodes = ()
    constants = (node.value for node in nodes if isinstance(node, ast.Constant))
    values = {
        float(c) for c in constants if isinstance(c, (int, float)) and not isinstance(c, bool)
    }
    return values | set(numbers_in(printed(cell)))


def sections(cells: Iterable[NotebookNode]) -> list[list[NotebookNode]]:
    """Cut a notebook at its headings of the second level."""
    parts: list[list[NotebookNode]] = [[]]
    for cell in cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            parts.append([])
        parts[-1].append(cell)
    return parts


def without_code(text: str) -> str:
    """Return Markdown without its code and its formulas."""
    return re.sub(r"(?s)```(?!\{).*?```|(?<!`)`[^`]+`(?!`)|\$[^$]*\$", " ", text)


def check_prose(notebook: NotebookNode, allowed: Iterable[float]) -> Iterator[str]:
    """Name each number in the prose that no cell of its section holds or shows.

    A section without code (a closing, say) may use the numbers of the whole notebook; so may the
    opening, which says what is to come.
    """
    allowed = {float(number) for number in allowed}
    parts = sections(notebook.cells)
    by_part = [
        set().union(*(numbers_shown(c) for c in part if c.cell_type == "code")) for part in parts
    ]
    everywhere = set().union(*by_part)
    for position, (part, shown) in enumerate(zip(parts, by_part, strict=True)):
        has_code = any(cell.cell_type == "code" for cell in part)
        known = allowed | (shown if has_code and position > 0 else everywhere)
        for cell in part:
            if cell.cell_type == "markdown" and "solution" not in tags(cell):
                for value, written in numbers_in(cell.source).items():
                    if value not in known:
                        yield f"cell {cell.id}: no cell of this section shows the number {written}"


def check_committed(source: NotebookNode, committed: NotebookNode) -> Iterator[str]:
    """Name what in a committed notebook is not as a fresh build of its source makes it."""
    expected = reading_edition(source)
    for new, old in zip(expected.cells, committed.cells, strict=False):
        same = (new.id, new.cell_type, new.source, tags(new)) == (
            old.id, old.cell_type, old.source, tags(old))  # fmt: skip
        if not same:
            yield f"cell {new.id}: differs from its source; run `make notebooks`"
    if len(expected.cells) != len(committed.cells):
        yield (
            f"{len(committed.cells)} cells, its source has {len(expected.cells)}; "
            "run `make notebooks`"
        )
    count = 0
    for cell in committed.cells:
        if cell.cell_type != "code":
            continue
        count += 1
        if cell.execution_count != count:
            yield (
                f"cell {cell.id}: execution count {cell.execution_count}, expected {count}: "
                "not run from top to bottom"
            )
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"cell {cell.id}: an error output: {output.ename}: {output.evalue}"
            if output.get("name") == "stderr":
                yield f"cell {cell.id}: an output on stderr: {output.text[:80]!r}"
    if set(committed.metadata) - {"kernelspec", "language_info"}:
        yield f"metadata that no build writes: {sorted(committed.metadata)}"


def check_cells(committed: NotebookNode) -> Iterator[str]:
    """Name breaches of the rules that hold for single cells: figures, Markdown, plots."""
    for cell, following in zip(committed.cells, [*committed.cells[1:], None], strict=True):
        if any("image/png" in output.get("data", {}) for output in outputs(cell)) and (
            following is None or "figure-text" not in tags(following)
        ):
            yield f"cell {cell.id}: a figure without its text (a next cell tagged `figure-text`)"
        if cell.cell_type == "code":
            if cell.source.rstrip().endswith(";"):
                yield f"cell {cell.id}: ends in `;`, which nbval does not honour: use `plt.show()`"
            continue
        for what, pattern in FORBIDDEN.items():
            if found := pattern.search(without_code(cell.source)):
                yield f"cell {cell.id}: {what}: {found[0]!r}"


def check_size(notebook: NotebookNode) -> Iterator[str]:
    """Name each measure of a lesson that is out of bounds."""
    code = [
        len(re.findall(r"(?m)^.*\S", c.source)) for c in notebook.cells if c.cell_type == "code"
    ]
    words = sum(
        len(re.findall(r"[^\W\d_]+", without_code(cell.source)))
        for cell in notebook.cells
        if cell.cell_type == "markdown" and "solution" not in tags(cell)
    )
    for what, value, (least, most) in [
        ("cells", len(notebook.cells), CELLS),
        ("words of prose", words, WORDS),
        ("lines in the median code cell", statistics.median(code or [0]), (0, MEDIAN_LINES)),
        ("lines in the longest code cell", max(code or [0]), (0, MOST_LINES)),
        ("bytes", len(dumps(notebook).encode()), (0, MOST_BYTES)),
    ]:
        if not least <= value <= most:
            yield f"{value} {what}, not {least} to {most}"


def check(path: Path, *, size: bool = True) -> list[str]:
    """Check one committed notebook against its source without running it.

    Returns
    -------
    list of str
        One line for each problem, with file and cell.
    """
    try:
        source = read_source(path)
    except BuildError as error:
        return [str(error)]
    target = path.parent.parent / f"{path.stem}.ipynb"
    committed = load(target)
    if committed is None:
        return [f"{target.name}: missing, or no notebook; run `make notebooks`"]
    allowed = source.metadata.get("lora_edu", {}).get("allowed_numbers", {})
    problems = [
        *check_committed(source, committed),
        *check_cells(committed),
        *check_prose(committed, allowed),
        *(check_size(committed) if size else ()),
    ]
    problems = [f"{target.name}: {problem}" for problem in problems]
    for language in languages(path):
        translation, found = translate(source, path, language)
        target = path.parent.parent / language / f"{path.stem}.ipynb"
        expected = None if found else translated_edition(translation, committed, language)
        if expected and load(target) != expected:
            found = ["differs from its source; run `make notebooks`"]
        problems += [f"{language}/{target.name}: {problem}" for problem in found]
    return problems


# -- the command ------------------------------------------------------------------------------


def sources(names: Iterable[str] = (), folder: Path = NOTEBOOKS) -> list[Path]:
    """Return the sources of the named lessons (``01`` or ``01_matrix_example``), or all."""
    paths = sorted((folder / "src").glob("*.md"))
    if not names:
        return paths
    chosen = []
    for name in names:
        stem = Path(name).stem
        found = [path for path in paths if path.stem == stem or path.stem.split("_")[0] == stem]
        if not found:
            raise BuildError(f"no lesson is called {name!r}; there are {[p.stem for p in paths]}")
        chosen += found
    return chosen


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code: 0, or 1 when something was refused."""
    parser = argparse.ArgumentParser(description="Build the notebooks from notebooks/src/*.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="lessons; all when none is named")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="compare with the sources, run nothing")
    what.add_argument("--solved", action="store_true", help="run every exercise's solution")
    what.add_argument("--own", action="store_true", help="make copies in notebooks/mine")
    parser.add_argument("--seed", type=int, help="run with another SEED; write nothing")
    options = parser.parse_args(argv)

    def checked(path: Path) -> str:
        if problems := check(path):
            raise BuildError("\n".join(problems))
        return "as its source says"

    def step(path: Path) -> str:
        if options.check:
            return checked(path)
        if options.own:
            return own_copies(path)
        if options.solved:
            run_solved(path, options.seed)
            return "every solution passes its check"
        if options.seed is not None:
            run_with_seed(path, options.seed)
            return f"holds with SEED = {options.seed}"
        return "changed" if build(path) else "unchanged"

    return _each(step, options.names)


def _each(step: Callable[[Path], str], names: list[str]) -> int:
    """Take each lesson through one step, with a line of progress; go on after a refusal."""
    failed = False
    try:
        paths = sources(names)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    for path in paths:
        print(f"{path.stem:<28}", end=" ", flush=True)
        start, complaint = time.perf_counter(), ""
        try:
            result = step(path)
        except BuildError as error:
            result, complaint, failed = "refused", str(error), True
        print(f"{time.perf_counter() - start:5.1f} s  {result}", flush=True)
        if complaint:
            print(complaint, file=sys.stderr, flush=True)
    return int(failed)
