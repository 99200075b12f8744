"""The claims of a page, as the outputs of its panels carry them; and the file that collects all.

A panel (see lora_edu/course/claims.py) shows one line. Its claims stand beside it in the committed
notebook, in metadata that no reader sees.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from builder.editions import load, outputs, sections
from builder.prose import numbers_in
from builder.source import slug, sources, tags
from lora_edu.files import write_whole

# What a reader sees of a folded cell, for JupyterLab shows its first line.
FIRST_LINE = "# What this section says, held to its numbers (click to read)"


def carried(cell: NotebookNode) -> list[dict[str, Any]]:
    """Return the claims that the output of a cell carries."""
    found = []
    for output in outputs(cell):
        found += output.get("metadata", {}).get("lora_edu", {}).get("claims", [])
    return found


def claims_of(notebook: NotebookNode) -> list[dict[str, Any]]:
    """Return the claims of a notebook in their order, each with its section and its cell."""
    found = []
    for section in sections(notebook.cells):
        for cell in section:
            title = re.sub(r"^#+ (?:\d+ · )?", "", section[0].source.splitlines()[0])
            found += [{"section": title, "cell": cell.id, **row} for row in carried(cell)]
    return found


def numbers_claimed(cell: NotebookNode) -> set[float]:
    """Return the numbers that a panel holds its text to."""
    return {number for row in carried(cell) for number in numbers_in(row["says"])}


def check_claims(notebook: NotebookNode) -> Iterator[str]:
    """Name each panel that is not as it should be, and each claim that no sentence makes."""
    folded = {"hint", "solution"}
    for section in sections(notebook.cells):
        prose = [
            c for c in section if c.cell_type == "markdown" and not folded.intersection(tags(c))
        ]
        text = plain("\n".join(cell.source for cell in prose))
        for cell in section:
            if "claims" not in tags(cell):
                continue
            if {"slide", "fragment"}.intersection(tags(cell)):
                yield f"cell {cell.id}: claims are no part of the slides"
            if cell.source.partition("\n")[0] != FIRST_LINE:
                yield f"cell {cell.id}: a reader sees its first line, which is {FIRST_LINE!r}"
            if not carried(cell):
                yield f"cell {cell.id}: it shows no panel of claims"
            for row in carried(cell):
                if len(row["words"].split()) < 2 or plain(row["words"]) not in text:
                    yield f"cell {cell.id}: no sentence of its section says “{row['words']}”"
                elif not quotes(row["words"], row["says"]):
                    yield f"cell {cell.id}: “{row['words']}” is held to {row['says']}"


def quotes(words: str, says: str) -> bool:
    """Say whether words that quote numbers quote one that they are held to, if need be in %.

    An interval is not quoted, and a number may be spelled.
    """
    if says.startswith(("above", "below")) or " to " in says:
        return True
    quoted, said = numbers_in(words).keys(), numbers_in(says).keys()
    return not (quoted and said) or bool(quoted & (said | {round(100 * n, 9) for n in said}))


def plain(text: str) -> str:
    """Return a text without its markup, so that words are found whatever is emphasised in them."""
    return re.sub(r"\s+", " ", re.sub(r"[*$`]|\\[,;]", "", text))


# -- the file that ships ------------------------------------------------------------------------


def collection(folder: Path) -> Path:
    """Return the file that holds the claims of all lessons in ``folder``, the notebooks'."""
    return folder.parent / "lora_edu" / "course" / "data" / "claims.json"


def collect(folder: Path) -> str:
    """Return what that file must say: lesson → claims, of each lesson that makes any."""
    found = {}
    for path in sources(folder=folder):
        notebook = load(folder / f"{path.stem}.ipynb")
        if notebook is not None and (rows := claims_of(notebook)):
            found[slug(path)] = rows
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def write_collection(folder: Path) -> bool:
    """Write the file; return whether it changed."""
    return write_whole(collection(folder), collect(folder))


def check_collection(path: Path, notebook: NotebookNode) -> Iterator[str]:
    """Say whether the file has other claims of a lesson than its notebook."""
    file = collection(path.parent.parent)
    stored = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if stored.get(slug(path), []) != claims_of(notebook):
        yield f"{file.name} has other claims of this lesson; run `notebooks/build.py` for it"
