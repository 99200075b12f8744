"""The learner's own copies of the lessons, notebooks/mine/: made once, never written over."""

from __future__ import annotations

import hashlib
import json
import os
import re
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
    under the next free name, once. When the lesson has another number since, its copies first take
    the new one.
    """
    folder = path.parent.parent / "mine" / language
    renumbered = renumber(folder, path.stem)
    cells = json.dumps([[cell.id, cell.cell_type, cell.source] for cell in notebook.cells])
    lesson = hashlib.sha256(cells.encode()).hexdigest()[:16]
    notebook.metadata["lora_edu"] = {"lesson": lesson}
    for number in range(1, 1000):
        name = f"{path.stem}.ipynb" if number == 1 else f"{path.stem}-{number}.ipynb"
        copied = folder / name
        if not os.path.lexists(copied):
            write_whole(copied, dumps(notebook))
            made = "your copy" if number == 1 else f"the lesson has changed: see {name}"
            return "; ".join([*renumbered, made])
        mine = load(copied)
        if mine is not None and mine.metadata.get("lora_edu") == {"lesson": lesson}:
            return "; ".join([*renumbered, f"yours, kept as it is: {name}"])
    raise BuildError(f"{file_name(path)}: a thousand copies in {folder}")


def renumber(folder: Path, stem: str) -> list[str]:
    """Rename copies of a lesson that had another number when they were made; return what was done.

    A lesson is known by its slug: ``08_beyond_lora-2.ipynb`` is a copy of ``10_beyond_lora``. Where
    the new name is taken, both files stay as they are.
    """
    number, _, slug = stem.partition("_")
    former = re.compile(rf"(?P<number>\d\d)_{re.escape(slug)}(?P<copy>(?:-\d+)?\.ipynb)")
    done = []
    for path in sorted(folder.glob(f"*_{slug}*.ipynb")):
        match = former.fullmatch(path.name)
        if match is None or match["number"] == number or path.is_dir():
            continue
        target = folder / f"{number}_{slug}{match['copy']}"
        if os.path.lexists(target):
            done.append(f"{path.name} and {target.name} are both yours, both kept")
        else:
            path.rename(target)
            done.append(f"your {path.name} is {target.name} now")
    return done
