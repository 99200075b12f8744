"""The learner's own copies of the lessons, notebooks/mine/: made once, never written over."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from nbformat import NotebookNode

from builder.editions import dumps, load, own_edition
from builder.source import BuildError, file_name, read_source
from builder.translate import languages, read_translation, translate
from lora_edu.files import write_whole


def own_copies(path: Path) -> str:
    """Give the learner a copy of the lesson in each of its languages; return what was done."""
    source = read_source(path)
    done = [own_copy(path, own_edition(source))]
    for language in languages(path):
        translation, _, _ = translate(source, read_translation(source, language))
        said = own_copy(path, own_edition(translation, language), language)
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
        if not os.path.lexists(copied):
            write_whole(copied, dumps(notebook))
            return "your copy" if number == 1 else f"the lesson has changed: see {name}"
        mine = load(copied)
        if mine is not None and mine.metadata.get("lora_edu") == {"lesson": lesson}:
            return f"yours, kept as it is: {name}"
    raise BuildError(f"{file_name(path)}: a thousand copies in {folder}")
