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

import itertools
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

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
        Of whom it is said: any seed of the lesson, or so many recorded runs.
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
        return f"“{words}”: now {shown(value)} (the text: {self.says})"


def claim(
    words: str,
    value: Any,
    said: Any = NOTHING,
    *,
    within: float | None = None,
    above: float | None = None,
    below: float | None = None,
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
    interval = above is not None or below is not None
    if interval == (said is not NOTHING):
        raise ValueError(f"{words!r}: give either what the text says, or above and below")
    if seeds != "any" and not (type(seeds) is int and seeds >= 1):
        raise ValueError(f"{words!r}: seeds must be 'any' or their number, got {seeds!r}")
    if callable(value):
        try:
            value = value()
        except Exception as error:  # in a learner's hands nothing stops
            value = error
    if interval:
        least = -math.inf if above is None else above
        most = math.inf if below is None else below
        holds = _number(value) and least < value < most
        return Claim(words, value, _interval(above, below), 0.0, seeds, bool(holds))
    if not _number(said):
        return Claim(words, value, shown(said), 0.0, seeds, _equal(value, said))
    if type(said) not in (int, float):
        raise ValueError(f"{words!r}: a number is said as an int or a float, got {said!r}")
    unit = _last_digit(said)
    exactly = type(said) is int and _number(value) and isinstance(value, Integral)
    if within is None:
        within = 0.0 if exactly else unit / 2
    if not 0.0 <= within <= unit:
        raise ValueError(f"{words!r}: within must be from 0 to {unit:g}, got {within:g}")
    if exactly and within == 0.0:
        holds = int(value) == said
    else:  # a number half-way between two roundings may come out a hair beyond
        holds = _number(value) and abs(float(value) - said) <= within + 1e-9 * max(within, unit)
    return Claim(words, value, shown(said), within, seeds, bool(holds))


def panel(*claims: Claim) -> "Panel":
    """Hold a section to its claims; see the module's docstring.

    Raises
    ------
    AssertionError
        Under ``LORA_EDU_CLAIMS``, a sentence does not hold.
    """
    shown_now = Panel(claims)
    _PANELS[tuple(claim.words for claim in claims)] = shown_now
    if os.environ.get("LORA_EDU_CLAIMS") == "strict" and shown_now.false:
        raise AssertionError("; ".join(map(str, shown_now.false)))
    return shown_now


_RUNS = itertools.count()  # of panels, in this kernel


class Panel:
    """What a section's claims come to; a notebook shows it as one quiet line, or as a list."""

    def __init__(self, claims: tuple[Claim, ...]) -> None:
        self.claims = claims
        self.order = next(_RUNS)
        self.false = [claim for claim in claims if not claim.holds]

    def __repr__(self) -> str:
        """Return what is shown."""
        n = len(self.claims)
        sentences = f"{n} sentences of this section" if n != 1 else "The one sentence held here"
        if not self.false:
            return f"{sentences} hold{'s' if n == 1 else ''}."
        no_longer = f"Of {n} sentences here {len(self.false)} no longer"
        return "\n".join([f"{no_longer} hold{'s' if len(self.false) == 1 else ''}:", *self._list()])

    def _list(self) -> Iterator[str]:
        for false in self.false:
            yield f"  ✗ {false}"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        """Return what a notebook shows, and the claims for the builder beside it."""
        rows = [
            {
                "words": claim.words,
                "value": shown(claim.value),
                "says": claim.says,
                "within": claim.within,
                "seeds": claim.seeds,
            }
            for claim in self.claims
        ]
        return {"text/plain": repr(self)}, {"lora_edu": {"claims": rows}}


_PANELS: dict[tuple[str, ...], Panel] = {}  # by their words, in the order of their first run


def puzzle(above: int) -> None:
    """Say whether exactly one sentence of the first ``above`` panels of the page is false now.

    What is below may hold what was true before a change, for nobody runs it anew.

    Raises
    ------
    ValueError
        ``above`` is less than 1.
    """
    if above < 1:
        raise ValueError(f"above must be at least 1, got {above}")
    panels = list(_PANELS.values())[:above]
    orders = [panel.order for panel in panels]
    if len(orders) < above or orders != list(range(orders[0], orders[0] + above)):
        print(
            "puzzle: choose Run → Run All Above Selected Cell: not every section was run just now\n"
            "(if it was: Kernel → Restart Kernel and Run up to Selected Cell)"
        )
        return
    sentences = sum(len(panel.claims) for panel in panels)
    false = [claim for panel in panels for claim in panel.false]
    if not false:
        print(f"puzzle: none of the {sentences} sentences above is false")
    elif len(false) == 1:
        print(f"puzzle: OK: of {sentences} sentences exactly one is false now:\n  ✗ {false[0]}")
    else:
        print(f"puzzle: {len(false)} of {sentences} sentences are false now, not one. The first:")
        print(*(f"  ✗ {claim}" for claim in false[:3]), sep="\n")


def collected() -> dict[str, list[dict[str, Any]]]:
    """Return all claims of the course as the last build found them: lesson → its claims."""
    return json.loads(COLLECTED.read_text(encoding="utf-8"))


# -- numbers ------------------------------------------------------------------------------------


def shown(value: Any) -> str:
    """Write a value as a reader wants it: 10,000, 1,228.8, 2.3e-16, “yes”."""
    if isinstance(value, Exception):
        why = "run the cells above" if isinstance(value, NameError) else type(value).__name__
        return f"nothing that can be computed ({why})"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(shown, value))})"
    if not _number(value):
        return " ".join(str(value).split())
    if isinstance(value, Integral):
        return f"{int(value):,}"
    digits = ",.15g" if 1e6 <= abs(value) < 1e15 else ",.6g"
    return format(float(value), digits)


def _interval(above: float | None, below: float | None) -> str:
    if above is None:
        return f"below {shown(below)}"
    if below is None:
        return f"above {shown(above)}"
    return f"{shown(above)} to {shown(below)}"


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
