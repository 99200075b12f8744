"""A source and its text in another language → the source translated; what is wrong, or late.

How it is translated: `src/vi/NAME.md` holds the Markdown cells alone, each with the id of the
English cell that it renders and, as `en`, that cell's digest. `vi/NAME.ipynb` shares code and
outputs with the English notebook. `src/vi/terms.md` says how the terms are rendered; a cell in
which a word is no term names it: `"free": ["base"]`.

`build.py --translate vi NAME` writes or extends such a file: a cell that is missing comes with its
English text in a comment, to be replaced. A cell whose English text is newer than its translation
is *late*: a check says so and shows what has changed; only a release refuses it.
"""

import copy
import dataclasses
import difflib
import hashlib
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from nbformat import NotebookNode

from builder.source import (
    Source,
    file_name,
    numbers_in,
    read_cells,
    read_text,
    without_code,
)
from lora_edu.files import write_whole

FRONT = """---
jupytext:
  text_representation: {extension: .md, format_name: myst}
---
"""
OPENING = re.compile(r"(?m)^(?:\+\+\+|```+\{(?:code|raw)-cell\})")  # of a cell
TO_DO = "<!-- English:"  # opens the comment that a translation replaces
SYLLABLES = 35  # of a sentence, at most: Vietnamese writes each apart
OLD_TONES = re.compile(r"(?i)\b\w*(?:[óòỏõọ][ae]|(?<!q)[úùủũụ]y)\b")  # hóa, tọa, tùy
SENTENCE = re.compile(r"(?<=[.?!:;])[*_)\"]*\s+|\n\s*\n|\n(?=\s*(?:[-|>#]|\d+\.))")
FORMULA = re.compile(r"(?s)\$\$(.+?)\$\$|\$(.+?)\$")


@dataclasses.dataclass(frozen=True)
class Term:
    """A row of `terms.md`: words of English, how all of them are rendered, and how no text may."""

    english: tuple[str, ...]
    agreed: str
    never: tuple[str, ...]


def languages(path: Path) -> list[str]:
    """Return the languages into which a source is translated."""
    return sorted(found.parent.name for found in path.parent.glob(f"*/{path.name}"))


def digest(text: str) -> str:
    """Return a digest of the text of a cell, which its translation quotes."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def read_translation(source: Source, language: str) -> Source:
    """Read the Markdown cells that render a source in another language."""
    rendered = read_cells(source.path.parent / language / source.path.name)
    for cell in rendered.cells:
        cell.source = unicodedata.normalize("NFC", cell.source)
    return rendered


def translate(source: Source, rendered: Source) -> tuple[Source, list[str], list[str]]:
    """Return a source with its Markdown translated, what is wrong with that, and what is late.

    A cell that is missing stays English. Late is: a cell that is missing, is no English one any
    more, or renders an older text. Wrong is, in one that is not late: numbers, formulas or code
    other than in English; another word than the agreed one; what ``slips`` finds.
    """
    cells = {cell.id: cell for cell in rendered.cells}
    terms = read_terms(rendered.path.parent)
    translation = copy.deepcopy(source.cells)
    wrong, late = [], []
    for cell in translation:
        if cell.cell_type != "markdown":
            continue
        own = cells.pop(cell.id, None)
        if own is None or own.source.startswith(TO_DO):
            late.append(f"{file_name(rendered.path)}: cell {cell.id}: not translated")
            cell.source = from_one_folder_down(cell.source, rendered.path.parent)
            continue
        said, quoted = cell.source, own.metadata.get("en")
        cell.source = own.source
        if quoted != digest(said):
            late.append(
                f'{rendered.place(own)}: older than the English; then "en": "{digest(said)}"'
                + changed(source.path, cell.id, quoted, said)
            )
            continue
        found = [*differences(said, own, terms), *slips(own.source, terms)]
        wrong += [f"{rendered.place(own)}: {what}" for what in found]
    late += [f"{rendered.place(cell)}: no Markdown cell of the source" for cell in cells.values()]
    return dataclasses.replace(source, cells=translation), wrong, late


def from_one_folder_down(english: str, folder: Path) -> str:
    """Return an English cell as it stands among translations: other pages are one folder up.

    ``folder`` holds the sources of the translations; their pages are in the folder of that name.
    """

    def link(found: re.Match[str]) -> str:
        name, kind = found.groups()
        translated = folder if kind == "ipynb" else folder.parents[1] / folder.name
        return found[0] if (translated / f"{name}.md").exists() else f"](../{name}.{kind}"

    return re.sub(r"\]\((\w+)\.(ipynb|md)\b", link, english)


# -- one cell beside the English one ----------------------------------------------------------


def differences(english: str, own: NotebookNode, terms: Iterable[Term]) -> Iterator[str]:
    """Name what one translated cell says otherwise than the English text."""
    text = own.source
    plain = re.sub(r"\{([.,])\}", r"\1", text)  # in formulas
    plain = re.sub(r"(?<=\d)\.(?=\d{3}(?!\d))", "", plain)  # 10.000; not Llama 3.1
    plain = re.sub(r"(?<=\d),(?=\d)", ".", plain)  # 38,4
    if differ := numbers_in(english.replace("{,}", ",")).keys() ^ numbers_in(plain).keys():
        yield f"other numbers than in English: {sorted(differ)}"
    if lost := formulas(english) - formulas(text):
        yield f"without the formulas {sorted(lost)}"
    if lost := coded(english) - coded(re.sub(r"\bnotebooks/[a-z]{2}/", "notebooks/", text)):
        yield f"without {', '.join(sorted(lost))}"
    left, folded, free = without_code(english), text.lower(), own.metadata.get("free", [])
    rows = {english: term for term in terms for english in term.english}
    for words in sorted(rows, key=len, reverse=True):  # "low-rank adaptation" before "rank"
        left, times = re.subn(whole(words), " ", left)
        if times and rows[words].agreed.lower() not in folded and words not in free:
            yield f"{words!r} is rendered {rows[words].agreed!r}"


def coded(text: str) -> set[str]:
    """Return the code of a text: what stands between backticks, and in fences."""
    fences = re.findall(r"(?ms)^```.*?^```", text)
    return {*fences, *re.findall(r"`[^`]+`", re.sub(r"(?ms)^```.*?^```", "", text))}


def formulas(text: str) -> set[str]:
    """Return the formulas of a text without words, spaces, and what divides digits."""
    found = {display or inline for display, inline in FORMULA.findall(re.sub("`[^`]+`", "", text))}
    bare = {re.sub(r"\\text\{[^}]*\}|\\q?quad|\\[,;! ]|\s", "", formula) for formula in found}
    return {re.sub(r"(?<=\d)\{?[.,]\}?(?=\d)", "", each).rstrip(".,;:?") for each in bare}


def slips(text: str, terms: Iterable[Term]) -> Iterator[str]:
    """Name what no Vietnamese text may hold: never forms, old tone marks, long sentences."""
    prose = without_code(text)
    plain = re.sub(r"\*[^*\n]+\*", " ", prose)  # what is quoted from a picture is English
    for term in terms:
        for form in term.never:
            if re.search(whole(form), plain):
                yield f"{form!r}: say {term.agreed!r}" if term.agreed else f"{form!r} is not said"
    if old := OLD_TONES.search(prose):
        yield f"{old[0]!r}: the tone stands on the last vowel, as in hoá, toạ, tuỳ"
    for sentence in SENTENCE.split(re.sub(r"(?m)^(?:\||<nav).*$|\]\([^)]*\)", " ", prose)):
        if (length := len(re.findall(r"[^\W_]+", sentence))) > SYLLABLES:
            yield f"{length} syllables, at most {SYLLABLES}: {sentence.strip()[:60]!r}"


def whole(words: str) -> str:
    """Return a pattern of whole words, in capitals or not."""
    return rf"(?i)(?<!\w){re.escape(words)}(?!\w)"


def read_terms(folder: Path) -> list[Term]:
    """Read the agreed terms of a language."""
    rows = re.findall(r"(?m)^\| (.+?) \| ?(.*?) \| ?(.*?) ?\|$", read_text(folder / "terms.md"))[1:]
    return [
        Term(tuple(english.split(", ")), agreed, tuple(filter(None, never.split(", "))))
        for english, agreed, never in rows
    ]


# -- what is late -----------------------------------------------------------------------------


def changed(path: Path, name: str, quoted: str, now: str) -> str:
    """Return how a cell changed since the text that was translated, as far as Git remembers it."""
    before = next((text for text in past(path, name) if digest(text) == quoted), None)
    if before is None:
        return ""
    lines = difflib.unified_diff(before.split("\n"), now.split("\n"), n=0, lineterm="")
    return "".join(f"\n    {line}" for line in list(lines)[2:] if not line.startswith("@@"))


def past(path: Path, name: str) -> Iterator[str]:
    """Yield the texts that a cell of a source has had, the newest first."""

    def git(*command: str) -> str:
        if shutil.which("git") is None:
            return ""
        run = subprocess.run(
            ["git", *command], cwd=path.parent, capture_output=True, encoding="utf-8"
        )
        return run.stdout if run.returncode == 0 else ""

    for commit in git("log", "--format=%h", "--", path.name).split():
        for text in OPENING.split(git("show", f"{commit}:./{path.name}")):
            head, _, body = text.partition("\n")
            if f'"id": "{name}"' in head:
                yield body.strip()


# -- a file to fill in ------------------------------------------------------------------------


def write_skeleton(source: Source, language: str) -> str:
    """Add the cells that a translation lacks, each with its English text to replace.

    Phrases that recur are filled in; what is translated is kept as it is, in the order of the
    source.
    """
    path = source.path.parent / language / source.path.name
    terms = read_terms(path.parent)
    phrases = {words: term.agreed for term in terms for words in term.english if words[0] in "#*"}
    kept = {}
    if path.exists():
        texts = re.split(r"(?m)^(?=\+\+\+)", read_text(path))[1:]
        kept = {re.findall('"id": "(.+?)"', text)[0]: text.strip() for text in texts}
    parts, added = [FRONT], 0
    for cell in source.cells:
        if cell.cell_type == "markdown" and cell.id not in kept:
            said = "\n\n".join(agreed for words, agreed in phrases.items() if words in cell.source)
            kept[cell.id] = (
                f'+++ {{"id": "{cell.id}", "en": "{digest(cell.source)}"}}\n\n'
                f"{TO_DO}\n{cell.source}\n-->\n\n{said}"
            ).rstrip()
            added += 1
        if cell.id in kept:
            parts.append(f"{kept.pop(cell.id)}\n")
    parts += [f"{text}\n" for text in kept.values()]  # of cells that are gone: --check names them
    write_whole(path, "\n".join(parts))
    return f"{added} to translate" if added else "complete"
