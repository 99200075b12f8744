"""Claims: the sentences of a page, each held to what the page computed.

A section ends with one folded cell that holds the statements that carry its argument, a clause
each, with subject, direction and number. Which way a comparison goes is said in code, and so is who
is compared with whom: a name is a piece of the words, and the builder refuses words that name
others, or say the opposite::

    panel(
        claim("LoRA learns less, by 0.02", less={"LoRA learns": one, "full": other}, by=0.02),
        claim("merged, it answers the same", same={"merged": merged, "apart": apart}),
        claim("The sun has rank 7, the roof 29", rank_of, {"The sun": 7, "the roof": 29}),
        claim("It is right in 0.9 of all cases", share, 0.9, seeds=20),
    )

In a learner's hands it never stops anything. Untouched it is one quiet line, behind which a table
opens; after a change it says which sentences no longer hold, and what is true instead. In builds
and tests the environment says ``LORA_EDU_CLAIMS=strict``, and a sentence that does not hold is an
error.

The panel's output carries its claims as metadata, which no reader sees. From there the build
collects those of all lessons into ``data/claims.json``: ``lora-edu claims`` prints them.
"""

import html
import json
import math
import os
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

from lora_edu.course.say import say

NOTHING = object()  # said, where an interval is given


@dataclass(frozen=True)
class Claim:
    """One sentence: its words, what is true now, what the text says."""

    words: str  # as they stand in the text; the builder looks for them there
    value: Any  # what was computed
    says: str  # what the text says of it: ``10``, ``below 50``, ``0.3 to 0.5``
    within: float  # how far ``value`` may be from the number said; 0 is exact
    seeds: Literal["any"] | int  # its scope: any seed, or how many recorded runs it is said of
    holds: bool  # whether ``value`` is what the text says
    sense: str = ""  # the words' direction: more, less, same; none: a negation
    names: tuple[str, ...] = ()  # what the words name, in this order; of a comparison, the first
    name: str = ""  # how a closing, or another page, calls the claim that it repeats

    @property
    def now(self) -> str:
        """The value, with no more digits than the tolerance has."""
        if _number(self.value) and self.within:
            return as_text(round(float(self.value), 1 - math.floor(math.log10(self.within))))
        return as_text(self.value)

    def __str__(self) -> str:
        """Return the words with both values."""
        return f"“{plain(self.words)}”: now {self.now} (the text: {self.says})"


def claim(
    words: str,
    value: Any = NOTHING,
    said: Any = NOTHING,
    *,
    more: Any = None,
    less: Any = None,
    same: Any = None,
    by: float | None = None,
    times: float | None = None,
    within: float | None = None,
    above: float = -math.inf,
    below: float = math.inf,
    seeds: Literal["any"] | int = "any",
    name: str = "",
) -> Claim:
    """Hold one statement to what was computed.

    Parameters
    ----------
    words : str
        A clause of the section's text, word for word.
    value : anything
        What is true now; a function without arguments where a change may make it fail.
    said : anything
        What the text says. A whole number is meant exactly where ``value`` is one; any other
        number as it is rounded: ``76.8`` holds for 76.75 to 76.85. (A float does not know its last
        zeros: beside ``0.10`` say ``within=0.005``.) A dict holds a number for each of the names
        that stand in the words, which are looked up in ``value``. Anything else must be equal.
        Of a comparison: what the text says of the first.
    more, less, same : dict, optional
        In place of ``value``: who is compared with whom, ``{"LoRA": 0.93, "full": 0.91}``. A
        name is a piece of the words, best a subject with its verb, ``"LoRA keeps"``. The words name
        the first, and the second behind it or not at all.
        The first must be more than the second, less, or the same up to ``within`` (1e-9).
    by, times : float, optional
        The difference, or the ratio, that the text says of ``more`` or ``less``.
    within : float, optional
        Another tolerance, at most one unit of the last digit of the number said.
    above, below : float, optional
        An interval in place of ``said``: ``above < value < below``.
    seeds, name
        See ``Claim``.

    A ValueError if neither or several of ``said``, an interval and a comparison are given, if a
    comparison is not of two, if ``by`` and ``times`` are both given, or without a comparison, if
    ``within`` is wider than a unit of the last digit, or if ``seeds`` is neither.
    """
    compared = {"more": more, "less": less, "same": same}
    pairs = [(sense, pair) for sense, pair in compared.items() if pair is not None]
    interval = above > -math.inf or below < math.inf
    if interval + (said is not NOTHING and not pairs) + len(pairs) != 1:
        ways = "either what the text says, or above and below, or one of more, less and same"
        raise ValueError(f"{words!r}: give {ways}")
    if seeds != "any" and not (type(seeds) is int and seeds >= 1):
        raise ValueError(f"{words!r}: seeds must be 'any' or their number, got {seeds!r}")
    if (by is not None) + (times is not None) > bool(pairs) or (times is not None and same):
        ways = "by or times, one of them and of a comparison; times of more and less"
        raise ValueError(f"{words!r}: give {ways}, got {by} and {times}")
    if pairs:
        held = _compared(words, *pairs[0], said, by, times, within)
    elif interval:
        held = _between(words, _now(value), above, below)
    else:
        held = _as_said(words, _now(value), said, within)
    return replace(held, seeds=seeds, name=name)


def plain(text: str) -> str:
    """Return a text without its markup, so that words are found whatever is emphasised in them."""
    return re.sub(r"\s+", " ", re.sub(r"[*$`]|\\[,;]", "", text.replace("\\Delta ", "Δ")))


def _now(value: Any) -> Any:
    """Return what is true now: a value, or what a function returns, or its error."""
    try:
        return value() if callable(value) else value
    except Exception as error:  # in a learner's hands nothing stops
        return error


def _compared(
    words: str, sense: str, pair: Any, said: Any, by: Any, times: Any, within: Any
) -> Claim:
    """Return the claim that one is more than another, less, or the same: see :func:`claim`."""
    if not isinstance(pair, dict) or len(pair) != 2:
        raise ValueError(f"{words!r}: {sense} compares two, {{who: value, whom: value}}: {pair}")
    one, other = map(_now, pair.values())
    large, small = (other, one) if sense == "less" else (one, other)
    lead = _now(lambda: large - small if times is None else large / small)
    number, how = (by, "by {}") if times is None else (times, "{} times")
    says = f"{sense} {'as' if sense == 'same' else 'than'} {tuple(pair)[1]}"
    says += "" if number is None else f", {how.format(as_text(number))}"
    value = f"{_short(one)} against {_short(other)}"
    holds = _now(lambda: bool(large > small)) is True
    if sense == "same":
        lead = _now(lambda: float(abs(lead).max() if hasattr(lead, "max") else abs(lead)))
        tolerance = next(each for each in (by, within, 1e-9) if each is not None)
        value, holds = _apart(lead), _number(lead) and bool(lead <= tolerance)
    elif number is not None:
        holds = holds and _of_a_number(words, lead, number, within).holds
    if said is not NOTHING:
        first = _as_said(words, one, said, None)
        says, holds = f"{first.says}, {says}", holds and first.holds
    return Claim(words, value, says, 0.0, "any", holds, sense, tuple(pair))


def _between(words: str, value: Any, above: float, below: float) -> Claim:
    """Return the claim that a value lies in an open interval: see :func:`claim`."""
    says, sense = f"{as_text(above)} to {as_text(below)}", ""
    if above == -math.inf:
        says, sense = f"below {as_text(below)}", "less"
    elif below == math.inf:
        says, sense = f"above {as_text(above)}", "more"
    holds = _number(value) and bool(above < value < below)
    return Claim(words, value, says, 0.0, "any", holds, sense)


def _as_said(words: str, value: Any, said: Any, within: float | None) -> Claim:
    """Return the claim that a value is what the text says, or several are: see :func:`claim`."""
    if isinstance(said, dict):
        found = value if isinstance(value, dict) else {}
        parts = {k: _as_said(words, found.get(k, value), said[k], within) for k in said}
        pattern = "{0} {1}" if len(said) > 1 else "{1}"
        now = ", ".join(pattern.format(name, part.now) for name, part in parts.items())
        says = ", ".join(pattern.format(name, part.says) for name, part in parts.items())
        holds = all(part.holds for part in parts.values())
        sense = "none" if all(part.sense for part in parts.values()) else ""
        return Claim(words, now, says, 0.0, "any", holds, sense, tuple(said))
    if _number(said):
        return _of_a_number(words, value, said, within)
    sense = "none" if said is False else ""
    return Claim(words, value, as_text(said), 0.0, "any", _equal(value, said), sense)


def _of_a_number(words: str, value: Any, said: Any, within: float | None) -> Claim:
    """Return the claim that a value is the number said, up to a tolerance: see :func:`claim`."""
    if type(said) not in (int, float):
        raise ValueError(f"{words!r}: a number is said as an int or a float, got {said!r}")
    unit, holds = 10.0 ** int(Decimal(repr(said)).as_tuple().exponent), False  # of its last digit
    if within is None:
        within = 0.0 if type(said) is int and isinstance(value, Integral) else unit / 2
    if not 0.0 <= within <= unit:
        raise ValueError(f"{words!r}: within must be from 0 to {unit:g}, got {within:g}")
    if _number(value):
        number = int(value) if isinstance(value, Integral) else float(value)
        # A number half-way between two roundings may come out a hair beyond.
        holds = abs(number - said) <= within + 1e-9 * unit
    return Claim(words, value, as_text(said), within, "any", holds)


def panel(*claims: Claim) -> "Panel":
    """Hold a section to its claims; see the module's docstring."""
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
        some = f"All {n} sentences here were" if n > 1 else "The one sentence here was"
        return say(f"{some} just checked, and hold{'s' if n == 1 else ''}.")

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        """Return what a notebook shows, and the claims for the builder beside it."""
        data = {"text/plain": repr(self)}
        if not self.false:  # else one reads what is false
            held = ((plain(claim.words), claim.says, claim.now) for claim in self.claims)
            rows = map(_row, [("the sentence", "it says", "now"), *held])
            table = f"<table>{''.join(rows)}</table>"
            data["text/html"] = f"<details><summary>{self!r}</summary>{table}</details>"
        told = [{**vars(claim), "value": as_text(claim.value)} for claim in self.claims]
        rows = [
            {k: v for k, v in row.items() if k != "holds" and v not in ("", ())} for row in told
        ]
        return data, {"lora_edu": {"claims": rows}}


def puzzle(*_: object) -> None:
    """Say what became of the puzzle that learners' copies of version 0.2's lessons end with."""
    print(say("the puzzle is gone since version 0.3: a newer copy of this lesson ends without it"))


def collected() -> dict[str, list[dict[str, Any]]]:
    """Return all claims of the course as the last build found them: lesson → its claims."""
    path = Path(__file__).parent / "data" / "claims.json"
    return json.loads(path.read_text(encoding="utf-8"))


# -- numbers ------------------------------------------------------------------------------------


def as_text(value: Any) -> str:
    """Write a value as a reader wants it: 10,000, 1,228.8, 2.3e-16, “yes”."""
    if isinstance(value, Exception):
        why = "run the cells above" if isinstance(value, NameError) else type(value).__name__
        return f"nothing that can be computed ({why})"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(as_text, value))})"
    if not _number(value):
        text = " ".join(str(value).split())
        return {"True": "yes", "False": "no"}.get(text, text)
    if isinstance(value, Integral):
        return f"{int(value):,}"
    digits = ",.15g" if 1e6 <= abs(value) < 1e15 else ",.6g"
    return format(float(value) + 0.0, digits)  # no -0


def _row(cells: tuple[str, ...]) -> str:
    """Return the row of a table that a notebook shows."""
    return f"<tr>{''.join(f'<td>{html.escape(say(cell))}</td>' for cell in cells)}</tr>"


def _short(value: Any) -> str:
    """Write a value with three digits."""
    rounds = _number(value) and not isinstance(value, Integral)
    return as_text(float(f"{float(value):.3g}") if rounds else value)


def _apart(lead: Any) -> str:
    """Write how far two values are apart; of a rounding error a bound, as its digits say nothing.

    (They differ from one processor to the next.)
    """
    if _number(lead) and 0 < lead < 1e-9:
        return "0 to rounding"
    if _number(lead) and 0 < lead < 1e-4:
        return f"less than {10.0 ** math.ceil(math.log10(lead)):g} apart"
    return f"{_short(lead)} apart"


def _number(value: Any) -> bool:
    """Say whether something is a finite number; a truth is none, nor is a tensor of several."""
    return str(value) not in ("True", "False") and _now(lambda: math.isfinite(value)) is True


def _equal(value: Any, said: Any) -> bool:
    """Compare anything: as a whole, else entry by entry; what does not compare is not equal."""
    whole, entries = lambda: bool(value == said), lambda: bool(list(value) == list(said))
    return _now(whole) is True or _now(entries) is True
