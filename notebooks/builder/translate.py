"""Translations of a lesson, and whether they still say what the English text says.

How it is translated: `src/vi/NAME.md` holds the Markdown cells alone, each with the id of the
English cell that it renders and, as `en`, that cell's digest. `vi/NAME.ipynb` shares code and
outputs with the English notebook. `src/vi/glossary.md` says how the terms are rendered.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import re
from pathlib import Path

from nbformat import NotebookNode

from builder.prose import numbers_in, without_code
from builder.source import Source, file_name, read_cells, read_text


def languages(path: Path) -> list[str]:
    """Return the languages into which a source is translated."""
    return sorted(found.parent.name for found in path.parent.glob(f"*/{path.name}"))


def digest(cell: NotebookNode) -> str:
    """Return a digest of the text of a cell, which its translation quotes."""
    return hashlib.sha256(cell.source.encode()).hexdigest()[:8]


def read_translation(source: Source, language: str) -> Source:
    """Read the Markdown cells that render a source in another language."""
    return read_cells(source.path.parent / language / source.path.name)


def translate(source: Source, rendered: Source) -> tuple[Source, list[str]]:
    """Return a source with its Markdown translated, and what is wrong with the translation.

    A cell that is missing stays English. Wrong is: a cell that is missing, is no English one, or
    renders an older text; other numbers than in English; another word than the glossary's.
    """
    cells = {cell.id: cell for cell in rendered.cells}
    terms = glossary(rendered.path.parent / "glossary.md")
    translation = copy.deepcopy(source.cells)
    problems = []
    for cell in translation:
        if cell.cell_type != "markdown":
            continue
        own = cells.pop(cell.id, None)
        if own is None:
            problems.append(
                f"{file_name(rendered.path)}: cell {cell.id}: not translated; "
                f"the English one is {digest(cell)}"
            )
            continue
        problems += [f"{rendered.place(own)}: {what}" for what in differences(cell, own, terms)]
        cell.source = own.source
    problems += [
        f"{rendered.place(cell)}: no Markdown cell of the English source" for cell in cells.values()
    ]
    return dataclasses.replace(source, cells=translation), problems


def differences(english: NotebookNode, own: NotebookNode, terms: dict[str, str]) -> list[str]:
    """Name what one translated cell says otherwise than the English cell."""
    found = []
    if own.metadata.get("en") != digest(english):
        found.append(f'stale; bring it up to date, then set "en": "{digest(english)}"')
    plain = re.sub(r"(?<=\d)\.(?=\d{3}(?!\d))", "", own.source)  # 10.000; not Llama 3.1
    plain = re.sub(r"(?<=\d),(?=\d)", ".", plain)  # 38,4
    differ = numbers_in(english.source).keys() ^ numbers_in(plain).keys()
    if differ:
        found.append(f"other numbers than in English: {sorted(differ)}")
    for term, agreed in terms.items():
        said = re.search(rf"(?i)\b{term}\b", without_code(english.source))
        if said and agreed.lower() not in own.source.lower():
            found.append(f"{said[0]!r} is rendered {agreed!r}")
    return found


def glossary(path: Path) -> dict[str, str]:
    """Read the agreed terms: English (a regular expression of whole words) → rendering."""
    rows = re.findall(r"(?m)^\| (.+?) \| (.+?) \|", read_text(path))[1:]
    return {
        f"(?:{'|'.join(map(re.escape, english.split(', ')))})": agreed for english, agreed in rows
    }
