"""The small lesson as files: as it is written, as it is built, as it is translated."""

import pytest
from builder import execute
from builder.source import read_source
from builder.translate import digest
from small_lesson import FRONT, GOOD, TERMS, VIETNAMESE


@pytest.fixture
def lesson(tmp_path):
    """A folder with a source; call it with the cells to write."""
    source = tmp_path / "notebooks" / "src" / "07_small.md"
    source.parent.mkdir(parents=True)

    def write(cells):
        source.write_text(FRONT + "".join(cells), encoding="utf-8")
        return source

    return write


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The good lesson, built once: its source and the text of its notebook."""
    source = tmp_path_factory.mktemp("good") / "notebooks" / "src" / "07_small.md"
    source.parent.mkdir(parents=True)
    source.write_text(FRONT + "".join(GOOD), encoding="utf-8")
    assert execute.build(source) is True
    return source, (source.parent.parent / "07_small.ipynb").read_text(encoding="utf-8")


@pytest.fixture
def translated(lesson):
    """The good lesson in Vietnamese; call it with cells that are other than right."""
    source = lesson(GOOD)
    english = {cell.id: cell for cell in read_source(source).cells}
    folder = source.parent / "vi"
    folder.mkdir()
    (folder / "terms.md").write_text(TERMS)

    def write(**other):
        cells = {**VIETNAMESE, **{name.replace("_", "-"): body for name, body in other.items()}}
        parts = [FRONT.split("kernelspec")[0] + "---\n"]
        for name, body in cells.items():
            if body is not None:
                quoted = digest(english[name].source) if name in english else "0"
                parts.append(f'\n+++ {{"id": "{name}", "en": "{quoted}"}}\n\n{body}\n')
        (folder / source.name).write_text("".join(parts))
        return source

    return write
