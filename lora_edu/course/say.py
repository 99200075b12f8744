"""What the package says to learners, in their language: panels, checks, predictions, pictures.

Messages are written in English where they arise. The catalogue of a language, ``data/vi.po``, holds
what stands in their place. It has gettext's format, which translators' programs read and write, and
is read as it is, so that nothing needs to be compiled. ``{}`` stands for any part of a message,
which is translated in turn: a sentence made of parts needs one row for each. In a translation
``{!s}`` leaves the part as it is: what somebody wrote, or Python said. What no catalogue has stays
English.

The language is that of the environment, ``LORA_EDU_LANG``, or else of the notebook that is open.
"""

import contextlib
import functools
import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

CATALOGUES = Path(__file__).parent / "data"
LONGEST = 1_000  # signs of a message: what is longer is somebody's data, and slow to compare
SHORT, WORDS = 4, 8  # a row with fewer letters, such as "{} to {}", joins parts of so many words
ROW = re.compile(r'^msgid (".+")\nmsgstr (".+")$', re.MULTILINE)


def say(text: str, into: str | None = None) -> str:
    """Return a message in a language: the learner's, unless one is named."""
    exact, holed = catalogue(into or language())
    if text in exact or len(text) > LONGEST:
        return exact.get(text, text)
    for pattern, after, joins in holed:
        found = pattern.fullmatch(text)
        if found and (not joins or max(len(part.split()) for part in found.groups()) <= WORDS):
            return after.format(*(_Part(part, into) for part in found.groups()))
    return text


class _Part(str):
    """A part of a message, which ``{}`` says in a language and ``{!s}`` as it is."""

    into: str | None

    def __new__(cls, text: str, into: str | None) -> "_Part":
        part = super().__new__(cls, text)
        part.into = into
        return part

    def __format__(self, _: str) -> str:
        return say(str(self), self.into)


@functools.cache
def catalogue(language: str) -> tuple[dict[str, str], list[tuple[re.Pattern[str], str, bool]]]:
    """Return the rows of a language: those without holes, and the others, the longest first.

    Of these also whether they only join what is said elsewhere.
    """
    path = CATALOGUES / f"{language}.po"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    rows = {json.loads(before): json.loads(after) for before, after in ROW.findall(text)}
    exact = {before: after for before, after in rows.items() if "{}" not in before}
    holed = sorted(rows.keys() - exact.keys(), key=lambda row: (-len(row.replace("{}", "")), row))
    return exact, [
        (
            re.compile(re.escape(row).replace(r"\{\}", "(.*?)"), re.DOTALL),
            rows[row],
            sum(map(str.isalpha, row)) < SHORT,
        )
        for row in holed
    ]


@functools.cache
def languages() -> list[str]:
    """Return English, and the languages that have a catalogue."""
    return ["en", *sorted(path.stem for path in CATALOGUES.glob("*.po"))]


def language() -> str:
    """Return the language of the learner: ``"en"`` where nothing says one that has a catalogue."""
    # Jupyter tells a kernel in its environment which notebook is open, VS Code in a variable.
    opened = getattr(sys.modules["__main__"], "__vsc_ipynb_file__", "")
    opened = opened or os.environ.get("JPY_SESSION_NAME", "")
    named = os.environ.get("LORA_EDU_LANG") or _of_notebook(opened)
    return named if named in languages() else "en"


@contextlib.contextmanager
def speaking(language: str) -> Iterator[None]:
    """Within ``with``, the learner's language is this one."""
    before = os.environ.get("LORA_EDU_LANG")
    os.environ["LORA_EDU_LANG"] = language
    try:
        yield
    finally:
        os.environ.pop("LORA_EDU_LANG")
        if before is not None:
            os.environ["LORA_EDU_LANG"] = before


def without_accents(text: str) -> str:
    """Return a text in small letters, as one types it without a Vietnamese keyboard."""
    apart = unicodedata.normalize("NFD", text.lower().replace("đ", "d"))
    return "".join(sign for sign in apart if not unicodedata.combining(sign))


@functools.cache
def _of_notebook(path: str) -> str:
    """Return the language that the metadata of a notebook name."""
    try:
        metadata = json.loads(Path(path).read_text(encoding="utf-8"))["metadata"]
        return str(metadata["lora_edu"]["language"])
    except (OSError, ValueError, KeyError, TypeError):  # no notebook, or one without a language
        return "en"
