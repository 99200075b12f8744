"""The static check: what is committed against its source, and the rules of the page.

Nothing is run. What stands in a source is named with file, line and cell; what only a committed
notebook shows, with its file and the cell.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from nbformat import NotebookNode

from builder.claims import check_claims, check_collection, numbers_claimed
from builder.editions import (
    built_path,
    draws,
    dumps,
    load,
    outputs,
    printed,
    reading_edition,
    sections,
    told_by,
    translated_edition,
)
from builder.page import check_page
from builder.prose import numbers_in
from builder.source import UNSTABLE, BuildError, Source, read_source, tags
from builder.translate import languages, read_translation, translate

MOST_BYTES = 600_000  # of a notebook, which everybody who clones the course fetches
HTML = re.compile(r"</?(?:details|summary)>|<details open>")  # all that a page may hold
LINK = re.compile(r"https?://.+|#.*|(?P<up>\.\./)?(?P<lesson>\d\d_\w+)\.ipynb(?:#.*)?")
REBUILD = "run `notebooks/build.py` for it"
MADE = "what is written in the notebook itself is lost"
NBVAL = re.compile(r"nbval-[a-z-]+|#[#\s]*(?:NBVAL|PYTEST_VALIDATE)_\w+")


# -- a source ---------------------------------------------------------------------------------


def check_source(source: Source) -> Iterator[str]:
    """Name breaches of the rules of the page in a source, or in a translation."""
    for cell in source.cells:
        if found := NBVAL.search("\n".join([*tags(cell), cell.source])):
            kinds = ", ".join(sorted(UNSTABLE))
            yield f"{source.place(cell)}: {found[0]}: say what the cell is: {kinds}"
        if cell.cell_type == "markdown":
            for below, problem in check_markdown(cell.source, source.path.parent):
                yield f"{source.place(cell, below)}: {problem}"
        elif cell.source.rstrip().endswith(";"):
            yield (
                f"{source.place(cell)}: ends in `;`, which nbval does not honour: use `plt.show()`"
            )


MARKDOWN = MarkdownIt("commonmark").enable("table")
# The rules of the page judge an address, and more strictly.
MARKDOWN.validateLink = lambda url: True  # pyright: ignore[reportAttributeAccessIssue]


def check_markdown(text: str, siblings: Path) -> Iterator[tuple[int, str]]:
    """Name what a Markdown cell may not hold, each with how many lines below its first.

    That is: HTML other than ``<details>`` and ``<summary>``, a directive of MyST, and a link that
    leads neither to a page of the web, nor into the page, nor to a sibling notebook.
    """
    references: dict[str, dict] = {}
    line = 0
    for block in MARKDOWN.parse(text, {"references": references}):
        line = block.map[0] if block.map else line
        for token in [block, *(block.children or [])]:
            if problem := wrong_html(token) or wrong_link(token, siblings):
                yield line, problem
                break  # one for a block: what opens is closed as well
    for reference in references.values():
        if not leads_somewhere(reference["href"], siblings):
            yield reference["map"][0], f"{NO_LINK}: {reference['href']!r}"


def wrong_html(token: Token) -> str | None:
    """Say what a piece of Markdown shows raw or runs, if anything."""
    if token.type == "fence" and token.info.strip().startswith("{"):
        return f"a MyST directive (Jupyter shows it raw): {token.info!r}"
    if token.type == "inline" and (found := re.search(r"(?m)^:::+ *\{.*", token.content)):
        return f"a MyST directive (Jupyter shows it raw): {found[0]!r}"
    if token.type not in ("html_block", "html_inline"):
        return None
    found = re.search(r"<[^>\n]*>?", HTML.sub("", token.content))
    return f"HTML other than <details>: {found[0]!r}" if found else None


NO_LINK = "a link to neither https://…, nor #…, nor a sibling notebook"


def wrong_link(token: Token, siblings: Path) -> str | None:
    """Say where a link or a picture leads if it may not lead there."""
    address = token.attrGet("src") if token.type == "image" else token.attrGet("href")
    if address is None or leads_somewhere(str(address), siblings):
        return None
    return f"{NO_LINK}: {address!r}"


def leads_somewhere(address: str, siblings: Path) -> bool:
    """Say whether an address is one to which a page may lead."""
    match = LINK.fullmatch(address)
    if match is None:
        return False
    if match["lesson"] is None:
        return True
    folder = siblings.parent if match["up"] else siblings  # from a translation to English
    return (folder / f"{match['lesson']}.md").exists()


# -- a committed notebook ---------------------------------------------------------------------


def numbers_shown(cell: NotebookNode) -> set[float]:
    """Collect the numbers that a code cell holds as constants, or shows and will show again."""
    try:
        nodes: Iterable[ast.AST] = ast.walk(ast.parse(cell.source))
    except SyntaxError:  # a magic: its outputs count all the same
        nodes = ()
    constants = (node.value for node in nodes if isinstance(node, ast.Constant))
    values = {
        float(c) for c in constants if isinstance(c, (int, float)) and not isinstance(c, bool)
    }
    if "claims" in tags(cell):  # a panel shows how many there are, and holds what each says
        return numbers_claimed(cell)
    if UNSTABLE.intersection(tags(cell)):
        return values
    return values | set(numbers_in(printed(cell)))


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
            if cell.cell_type == "markdown" and not {"solution", "quiz"}.intersection(tags(cell)):
                for value, written in numbers_in(cell.source).items():
                    if value not in known:
                        yield f"cell {cell.id}: no cell of this section shows the number {written}"


def check_committed(source: Source, committed: NotebookNode) -> Iterator[str]:
    """Name what in a committed notebook is not as a fresh build of its source makes it."""
    expected = reading_edition(source)
    for new, old in zip(expected.cells, committed.cells, strict=False):
        same = (new.id, new.cell_type, new.source, tags(new)) == (
            old.id, old.cell_type, old.source, tags(old))  # fmt: skip
        if not same:
            yield f"cell {new.id}: differs from its source; {REBUILD} ({MADE})"
    if len(expected.cells) != len(committed.cells):
        yield (f"{len(committed.cells)} cells, its source has {len(expected.cells)}; {REBUILD}")
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        if cell.execution_count != count:
            yield (
                f"cell {cell.id}: execution count {cell.execution_count}, expected {count}: "
                "not run from top to bottom"
            )
        yield from check_outputs(cell)
    if set(committed.metadata) - {"kernelspec", "language_info"}:
        yield f"metadata that no build writes: {sorted(committed.metadata)}"


def check_outputs(cell: NotebookNode) -> Iterator[str]:
    """Name each error among the outputs of a cell, and what it wrote to stderr."""
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"cell {cell.id}: an error output: {output.ename}: {output.evalue}"
        if output.get("name") == "stderr":
            yield f"cell {cell.id}: an output on stderr: {output.text[:80]!r}"


def check_cells(committed: NotebookNode) -> Iterator[str]:
    """Name each figure without its text, and each live cell without its still twin."""
    for cell, following in zip(committed.cells, [*committed.cells[1:], None], strict=True):
        if draws(cell) and not told_by(following):
            yield f"cell {cell.id}: a figure without its text (a next cell tagged `figure-text`)"
        if "live" in tags(cell) and (
            following is None or "live" in tags(following) or not outputs(following)
        ):
            yield f"cell {cell.id}: live, without a still twin (a next cell with an output)"


def check_size(notebook: NotebookNode) -> Iterator[str]:
    """Say that a notebook is too large a file, if it is."""
    if (size := len(dumps(notebook).encode())) > MOST_BYTES:
        yield f"{size:,} bytes, more than {MOST_BYTES:,}: draw fewer or smaller pictures"


def check(path: Path) -> list[str]:
    """Check one committed notebook, and its translations, against the sources without running it.

    Returns
    -------
    list of str
        One line for each problem, with file and cell.
    """
    try:
        source = read_source(path)
    except BuildError as error:
        return [str(error)]
    committed = load(built_path(path))
    if committed is None:
        missing = f"{path.stem}.ipynb: missing, or no notebook; {REBUILD}"
        return [*check_source(source), missing]
    found = [
        *check_committed(source, committed),
        *check_cells(committed),
        *check_claims(committed),
        *check_collection(path, committed),
        *check_prose(committed, source.allowed_numbers),
        *check_size(committed),
        *check_page(committed),
    ]
    problems = [*check_source(source), *(f"{path.stem}.ipynb: {problem}" for problem in found)]
    for language in languages(path):
        problems += check_translation(source, committed, language)
    return problems


def late(path: Path) -> list[str]:
    """Return where translations of a lesson are behind it, a line or more for each place."""
    source = read_source(path)
    found = [translate(source, read_translation(source, each))[2] for each in languages(path)]
    return [line for lines in found for line in lines]


def check_translation(source: Source, committed: NotebookNode, language: str) -> list[str]:
    """Check one translation against the English source, and its notebook against both."""
    try:
        rendered = read_translation(source, language)
        translation, problems, _ = translate(source, rendered)
        problems += check_source(rendered)
        expected = translated_edition(translation, committed, language)
    except BuildError as error:
        return [str(error)]
    if not problems and load(built_path(source.path, language)) != expected:
        problems.append(f"{language}/{source.path.stem}.ipynb: differs from its source; {REBUILD}")
    return problems
