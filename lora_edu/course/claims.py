"""Claims: the sentences of a page, each held to what the page computed.

A section ends with one folded cell that repeats what its text says, a line a sentence::

    panel(
        claim("ten times fewer numbers", full / lora, 10),
        claim("as long as it stays below", r, below=break_even),
        claim("right in 0.9 of cases", share, 0.9, seeds=20),
    )

In a learner's hands it never stops anything. Untouched it is one quiet line; after a change it says
which sentences no longer hold, and what is true instead. In builds and tests the environment says
``LORA_EDU_CLAIMS=strict``, and a sentence that does not hold is an error.

The panel's output carries its claims as metadata, which no reader sees. From there the build
collects those of all lessons into ``data/claims.json``: ``lora-edu claims`` prints them.
"""

import json
import math
import os
import re
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

from lora_edu.course.say import say

COLLECTED = Path(__file__).parent / "data" / "claims.json"
NOTHING = object()  # said, where an interval is given


@dataclass(frozen=True)
class Claim:
    """One sentence: its words, what is true now, what the text says.

    Attributes
    ----------
    words : str
        As they stand in the text; the builder looks for them there.
    value : Any
        What was computed.
    says : str
        What the text says of it: ``10``, ``below 50``, ``0.3 to 0.5``.
    within : float
        How far ``value`` may be from the number said; 0 is exact.
    seeds : "any" or int
        Its scope: any seed of the lesson, or the number of recorded runs that it is said of.
    holds : bool
        Whether ``value`` is what the text says.
    """

    words: str
    value: Any
    says: str
    within: float
    seeds: Literal["any"] | int
    holds: bool

    def __str__(self) -> str:
        """Return the words with both values."""
        words = re.sub(r"[*$`]|\\[,;]", "", self.words.replace("\\Delta ", "Δ"))
        value = self.value
        if _number(value) and self.within:  # no more digits than the tolerance has
            value = round(float(value), 1 - math.floor(math.log10(self.within)))
        return f"“{words}”: now {as_text(value)} (the text: {self.says})"


def claim(
    words: str,
    value: Any,
    said: Any = NOTHING,
    *,
    within: float | None = None,
    above: float = -math.inf,
    below: float = math.inf,
    seeds: Literal["any"] | int = "any",
) -> Claim:
    """Hold one sentence to what was computed.

    Parameters
    ----------
    words : str
        A piece of the section's text, word for word.
    value : anything
        What is true now; a function without arguments where a change may make it fail.
    said : anything
        What the text says. A whole number is meant exactly where ``value`` is one; any other
        number as it is rounded: ``76.8`` holds for 76.75 to 76.85. (A float does not know its last
        zeros: beside ``0.10`` say ``within=0.005``.) Anything else must be equal.
    within : float, optional
        Another tolerance, at most one unit of the last digit of ``said``.
    above, below : float, optional
        An interval in place of ``said``: ``above < value < below``.
    seeds : "any" or int
        See ``Claim``.

    Raises
    ------
    ValueError
        Neither or both of ``said`` and an interval are given; ``within`` is wider than a unit of
        the last digit; ``seeds`` is neither.
    """
    if (above == -math.inf and below == math.inf) == (said is NOTHING):
        raise ValueError(f"{words!r}: give either what the text says, or above and below")
    if seeds != "any" and not (type(seeds) is int and seeds >= 1):
        raise ValueError(f"{words!r}: seeds must be 'any' or their number, got {seeds!r}")
    if callable(value):
        try:
            value = value()
        except Exception as error:  # in a learner's hands nothing stops
            value = error
    if said is NOTHING:
        says = f"{as_text(above)} to {as_text(below)}"
        if above == -math.inf:
            says = f"below {as_text(below)}"
        elif below == math.inf:
            says = f"above {as_text(above)}"
        holds = _number(value) and bool(above < value < below)
        return Claim(words, value, says, 0.0, seeds, holds)
    if not _number(said):
        return Claim(words, value, as_text(said), 0.0, seeds, _equal(value, said))
    return _of_a_number(words, value, said, within, seeds)


def _of_a_number(words: str, value: Any, said: Any, within: float | None, seeds: Any) -> Claim:
    """Return the claim that a value is the number said, up to a tolerance: see :func:`claim`."""
    if type(said) not in (int, float):
        raise ValueError(f"{words!r}: a number is said as an int or a float, got {said!r}")
    unit, holds = _last_digit(said), False
    if within is None:
        within = 0.0 if type(said) is int and isinstance(value, Integral) else unit / 2
    if not 0.0 <= within <= unit:
        raise ValueError(f"{words!r}: within must be from 0 to {unit:g}, got {within:g}")
    if _number(value):
        number = int(value) if isinstance(value, Integral) else float(value)
        # A number half-way between two roundings may come out a hair beyond.
        holds = abs(number - said) <= within + 1e-9 * unit
    return Claim(words, value, as_text(said), within, seeds, holds)


def panel(*claims: Claim) -> "Panel":
    """Hold a section to its claims; see the module's docstring.

    Raises
    ------
    AssertionError
        Under ``LORA_EDU_CLAIMS``, a sentence does not hold.
    """
    found = Panel(claims)
    if os.environ.get("LORA_EDU_CLAIMS") == "strict" and found.false:
        raise AssertionError("; ".join(map(str, found.false)))
    return found


class Panel:
    """The claims of a section; a notebook shows them as one quiet line, or as a list."""

    def __init__(self, claims: tuple[Claim, ...]) -> None:
        self.claims = claims
        self.false = [claim for claim in claims if not claim.holds]

    def __repr__(self) -> str:
        """Return what is shown."""
        n, false = len(self.claims), len(self.false)
        if false:
            first = f"Of {n} sentences here {false} no longer hold{'s' if false == 1 else ''}:"
            return "\n".join([say(first), *(f"  ✗ {say(str(claim))}" for claim in self.false)])
        if n == 1:
            return say("The one sentence held here holds.")
        return say(f"{n} sentences of this section hold.")

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        """Return what a notebook shows, and the claims for the builder beside it."""
        rows = [{**vars(claim), "value": as_text(claim.value)} for claim in self.claims]
        for row in rows:
            del row["holds"]
        return {"text/plain": repr(self)}, {"lora_edu": {"claims": rows}}


def puzzle(*_: object) -> None:
    """Say what became of the puzzle that learners' copies of version 0.2's lessons end with."""
    print(say("the puzzle is gone since version 0.3: a newer copy of this lesson ends without it"))


def collected() -> dict[str, list[dict[str, Any]]]:
    """Return all claims of the course as the last build found them: lesson → its claims."""
    return json.loads(COLLECTED.read_text(encoding="utf-8"))


# -- numbers ------------------------------------------------------------------------------------


def as_text(value: Any) -> str:
    """Write a value as a reader wants it: 10,000, 1,228.8, 2.3e-16, “yes”."""
    if isinstance(value, Exception):
        why = "run the cells above" if isinstance(value, NameError) else type(value).__name__
        return f"nothing that can be computed ({why})"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(as_text, value))})"
    if not _number(value):
        return " ".join(str(value).split())
    if isinstance(value, Integral):
        return f"{int(value):,}"
    digits = ",.15g" if 1e6 <= abs(value) < 1e15 else ",.6g"
    return format(float(value), digits)


def _number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except Exception:  # no number, or one too large, or a tensor of several
        return False


def _equal(value: Any, said: Any) -> bool:
    """Compare anything: as a whole, else entry by entry; what does not compare is not equal."""
    try:
        if bool(value == said):
            return True
    except Exception:  # an array, say, of which each entry is compared
        pass
    try:
        return bool(list(value) == list(said))
    except Exception:  # no list, or one of arrays
        return False


def _last_digit(number: float) -> float:
    """Return the unit of the last digit with which a number is written: .1 for 76.8."""
    mantissa, _, exponent = repr(number).partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals)
