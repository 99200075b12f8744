"""What a text says: its words and its numbers, apart from its code and its formulas."""

from __future__ import annotations

import re

NUMBER = re.compile(r"(?<![\w.^\\])\d[\d,_]*(?:\.\d+)?(?:e-?\d+)?(?!\w*[_\d])")
NOT_NUMBERS = re.compile(
    r"\]\([^)]*\)"  # the address of a link
    r"|arXiv:\S+|https?://\S+"
    r"|^#+ [^\d\n]*\d+(?: ·|:)"  # the number of a lesson, a section or an exercise
    r"|^ *\d+\. ",  # of an item in a list
    re.MULTILINE,
)


def numbers_in(text: str) -> dict[float, str]:
    """Find the numbers in a text: value → as it is written there."""
    found = {}
    for match in NUMBER.findall(NOT_NUMBERS.sub(" ", text)):
        written = match.rstrip(",_")
        found[float(written.replace(",", "").replace("_", ""))] = written
    return found


def without_code(text: str) -> str:
    """Return Markdown without its code and its formulas."""
    return re.sub(r"(?s)```(?!\{).*?```|(?<!`)`[^`]+`(?!`)|\$[^$]*\$", " ", text)
