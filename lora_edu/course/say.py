"""What the package says to learners, in their language.

Messages are written in English where they arise. A table holds a language's translations:
``{"too large: {} times": "zu groß: das {}fache"}``. What stands for a hole is said in turn, so that
a sentence made of parts needs one entry for each. What no table has stays English.
"""

import os
import re
from collections.abc import Mapping

TABLES: dict[str, Mapping[str, str]] = {}  # language → English template → translation


def say(text: str, language: str | None = None) -> str:
    """Return a message in a language, that of ``LORA_EDU_LANGUAGE`` unless one is named."""
    return translated(text, TABLES.get(language or os.environ.get("LORA_EDU_LANGUAGE", "en"), {}))


def translated(text: str, words: Mapping[str, str]) -> str:
    """Return a text as the first row of a table that fits it says, or else as it is.

    ``{}`` stands for any part of the text, which is translated in turn: ``"row {} of {}"``.
    """
    for before, after in words.items():
        pattern = re.escape(before).replace(r"\{\}", "(.+?)")
        if found := re.fullmatch(pattern, text, re.DOTALL):
            return after.format(*(translated(hole, words) for hole in found.groups()))
    return text
