"""The ledger: published figures, each derived again from shapes, and judged.

``data/published.json`` holds, for each entry, what was printed, where, and the arithmetic that
should give it: ``{"function": name, "arguments": …}``. Only the functions of ``FUNCTIONS`` can be
named; arguments are numbers, texts, lists, ``{"given": name}`` for a number that the source prints
itself, or derivations again. Arithmetic is exact (integers and fractions).

The verdict follows from the digits that were printed:

    exact        the number itself
    rounds       it rounds to the printed digits (a half in either direction)
    truncates    it is cut to them
    approximate  it rounds to a printed integer's digits without the zeros at its end
    differs      none of these

Some figures cannot fail: misprints, collected because they are wrong; those of an entry whose rank
we chose so that it fits; and what is exact by construction. They are not ``tested``, and no share
counts them.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib import resources
from typing import Any

from lora_edu import counting

VERDICTS = ("exact", "rounds", "truncates", "approximate", "differs")
UNITS = {
    "": 1, "times": 1, "%": Fraction(1, 100), "K": 10**3, "M": 10**6, "B": 10**9,  # a billion
    "MB": 10**6, "MiB": 2**20,
    "GB": 10**9, "TB": 10**12,
}  # fmt: skip


@dataclass(frozen=True)
class Quantity:
    """One printed figure: ``name``, the ``published`` text, the ``derived`` number, a verdict.

    ``tested`` says whether it could fail; ``arithmetic`` is the derivation, written as a formula.
    """

    name: str
    published: str
    derived: int | Fraction
    verdict: str
    unit: str | None = None
    tested: bool = True
    arithmetic: str = ""

    @property
    def printed(self) -> str:
        """The published text, and how its unit is read where that is not as it stands."""
        return f"{self.published} (MiB)" if self.unit == "MiB" else self.published

    @property
    def number(self) -> int | float:
        """The derived number: whole as it is, any other to six digits."""
        if self.derived == int(self.derived):
            return int(self.derived)
        rounded = float(f"{float(self.derived):.6g}")
        return int(rounded) if rounded == int(rounded) else rounded

    @property
    def counted(self) -> str:
        """The same as a text, which says so where it is in bytes."""
        sizes = self.published.endswith(("MB", "GB", "TB"))
        return f"{self.number:,}{' bytes' if sizes else ''}"

    @property
    def tolerance(self) -> str:
        """By how much the derived number may be off the published one, as the verdict allows."""
        digits, _, divisor, last = _parts(self.published, self.unit)
        if self.verdict == "approximate":
            last *= 10 ** (len(digits) - len(digits.rstrip("0")))
        sign, off = ("+", last) if self.verdict == "truncates" else ("±", last / 2)
        whole = off >= 1 or divisor > 1 or self.derived == int(self.derived)
        return f"{sign}{int(off):,}" if whole else f"{sign}{float(off):g}"

    @property
    def ratio(self) -> float:
        """Published / derived."""
        return float(printed_value(self.published, self.unit) / Fraction(self.derived))


@dataclass(frozen=True)
class Entry:
    """An entry of the ledger; its ``verdict`` is the worst of its quantities'.

    ``cites`` is the short name of its ``source``, ``place`` where it stands there, ``url`` its
    address, ``read`` how it was read: "the source itself", "a copy" or "a note" about it.
    ``explanation`` says why a figure differs, or "unexplained"; entries that differ for one reason
    have the same ``cause``. ``hypotheses`` are what was tried, each judged against the figure that
    differs.
    """

    id: str
    kind: str
    cites: str
    source: str
    place: str
    model: str
    configuration: str
    quantities: tuple[Quantity, ...]
    verdict: str
    explanation: str = ""
    hypotheses: tuple[Quantity, ...] = ()
    note: str = ""
    url: str = ""
    read: str = ""
    cause: str = ""

    @property
    def reason(self) -> str:
        """The explanation as a sentence, with what else is known."""
        said = "Unexplained." if self.explanation == "unexplained" else self.explanation
        return f"{said} {self.note}".strip()


# -- what a derivation may name ---------------------------------------------------------------


def _layers_and_width(model: str) -> tuple[int, int]:
    config = counting.catalogue()[model]
    if "n_layer" in config:  # GPT-2's names
        return config["n_layer"], config["n_embd"]
    return config["num_hidden_layers"], config["hidden_size"]


def _square_lora(model: str, ranks: list[int], method: str = "lora") -> int:
    """In each layer, one d x d matrix for each rank: Hu et al. 2021, section 5.1."""
    layers, d = _layers_and_width(model)
    return layers * sum(counting.adapter_parameters(d, d, r, method)[0] for r in ranks)


def _bottleneck(model: str, r: int, sites_per_layer: int, norms_per_layer: int) -> int:
    n, width = _layers_and_width(model)
    return counting.bottleneck_parameters(width, r, n * sites_per_layer, n * norms_per_layer)


def _prefix(model: str, tokens: int, in_every_layer: bool) -> int:
    layers, width = _layers_and_width(model)
    return counting.prefix_parameters(width, tokens, layers if in_every_layer else 1)


def _base(model: str | dict[str, Any]) -> int:
    """Count a model of the catalogue, or one like it but for some keys of its config."""
    if isinstance(model, dict):
        model = {**counting.catalogue()[model["like"]], **model}
    return counting.base_parameters(model)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sum": lambda *numbers: sum(numbers),
    "difference": lambda first, *others: first - sum(others),
    "product": lambda *numbers: math.prod(numbers),
    "quotient": lambda a, b: Fraction(a) / Fraction(b),
    "power": lambda base, exponent: base**exponent,
    "rounded": lambda number, unit: unit * math.floor(Fraction(number, unit) + Fraction(1, 2)),
    "truncated": lambda number, unit: number // unit * unit,
    "base": _base,
    "packed": counting.packed_4bit_parameters,
    "bitfit": counting.bitfit_parameters,
    "config": lambda model, key: counting.catalogue()[model][key],
    "trainable": lambda model, **how: counting.count(model, **how).trainable,
    "all": lambda model, **how: counting.count(model, **how).all,
    "adapted": lambda model, **how: len(counting.targets(model, **how)),
    "square_lora": _square_lora,
    "bottleneck": _bottleneck,
    "prefix": _prefix,
    "lora_on_shapes": lambda shapes, r: sum(
        n * counting.lora_parameters(d, k, r) for n, d, k in shapes
    ),
    "dense": lambda *shapes: sum(n * (d * k + d) for n, d, k in shapes),  # weights and biases
    "bytes": counting.bytes_of,
}


def derive(value: Any, given: Mapping[str, Any]) -> Any:
    """Compute a derivation; a ValueError if it names a function or a number that there is not."""
    if isinstance(value, float):
        return Fraction(str(value))
    if isinstance(value, list):
        return [derive(item, given) for item in value]
    if not isinstance(value, dict) or "like" in value:
        return value
    if value.keys() == {"given"} and value["given"] in given:
        return derive(given[value["given"]], {})
    if value.keys() != {"function", "arguments"} or value["function"] not in FUNCTIONS:
        raise ValueError(f"no derivation: {value!r}")
    function, arguments = FUNCTIONS[value["function"]], value["arguments"]
    if isinstance(arguments, dict):
        return function(**{name: derive(item, given) for name, item in arguments.items()})
    return function(*derive(arguments, given))


def _formula(value: Any, given: Mapping[str, Any]) -> str:
    """Write a derivation as a formula: ``trainable(model=gpt2, r=8, target_modules=[c_attn])``."""
    if isinstance(value, list):
        return f"[{', '.join(_formula(item, given) for item in value)}]"
    if not isinstance(value, dict) or "like" in value:
        return str(value)
    if "given" in value:
        return f"{given[value['given']]}"
    arguments = value["arguments"]
    if isinstance(arguments, dict):
        inner = ", ".join(f"{key}={_formula(item, given)}" for key, item in arguments.items())
    else:
        inner = ", ".join(_formula(item, given) for item in arguments)
    return f"{value['function']}({inner})"


# -- judging ----------------------------------------------------------------------------------


def _parts(published: str, unit: str | None) -> tuple[str, str, int, Fraction]:
    """Take a figure apart: digits before and after the point, divisor, worth of the last digit."""
    match = re.fullmatch(r"([\d,]+)(?:\.(\d+))?(?:/(\d+))? ?(\w*|%)", published)
    if match is None or match[4] not in UNITS or (unit is not None and unit not in UNITS):
        got = repr(published) if unit is None else f"{published!r} in {unit!r}"
        raise ValueError(f"published must be a number and a unit of UNITS, got {got}")
    decimals = match[2] or ""
    last = Fraction(UNITS[unit or match[4]], 10 ** len(decimals))
    return match[1].replace(",", ""), decimals, int(match[3] or 1), last


def printed_value(published: str, unit: str | None = None) -> Fraction:
    """Return the number that a figure prints, in its smallest unit (bytes, parameters)."""
    digits, decimals, divisor, last = _parts(published, unit)
    return int(digits + decimals) * last / divisor


def verdict(published: str, derived: int | Fraction, unit: str | None = None) -> str:
    """Judge a printed figure, such as ``"0.35M"``, ``"25%"``, ``"2/3"`` or ``"4,194,304"``.

    ``unit`` replaces the one printed (``"MiB"`` where MB means 2²⁰ bytes).
    """
    digits, decimals, divisor, last = _parts(published, unit)
    printed = printed_value(published, unit)
    if derived == printed:
        return "exact"
    if divisor > 1:
        return "differs"
    if abs(derived - printed) <= last / 2:
        return "rounds"
    if derived // last * last == printed:
        return "truncates"
    coarse = last * 10 ** (0 if decimals else len(digits) - len(digits.rstrip("0")))
    return "approximate" if abs(derived - printed) <= coarse / 2 else "differs"


def _quantity(
    raw: Mapping[str, Any], item: Mapping[str, Any], other: Quantity | None = None
) -> Quantity:
    """Derive a figure of an entry and judge it; a hypothesis is judged against another figure."""
    if other is None:
        name, published, unit = item.get("name", "value"), item["published"], item.get("unit")
    else:
        name, published, unit = item["text"], other.published, other.unit
    given = raw.get("given", {})
    derived = derive(item["derivation"], given)
    judged = verdict(published, derived, unit)
    can_fail = raw["kind"] != "misprint" and not raw.get("fitted", False)
    tested = can_fail and not item.get("by_construction", False)
    formula = _formula(item["derivation"], given)
    return Quantity(name, published, derived, judged, unit, tested, formula)


def _entry(raw: Mapping[str, Any], source: Mapping[str, str]) -> Entry:
    quantities = [_quantity(raw, item) for item in raw["quantities"]]
    against = [q for q in quantities if q.verdict == "differs"] or quantities[:1]
    hypotheses = tuple(
        min((_quantity(raw, item, quantity) for quantity in against), key=_badness)
        for item in raw.get("hypotheses", ())
    )
    keys = ("id", "kind", "place", "model", "configuration", "explanation", "note")
    words = {key: raw.get(key, "") for key in keys}
    words |= {"cites": raw["source"], "source": source["cite"]}
    words |= {key: raw.get(key, source[key]) for key in ("url", "read")}
    words["cause"] = raw.get("cause", raw["id"])
    verdict = max(quantities, key=_badness).verdict
    return Entry(**words, verdict=verdict, quantities=tuple(quantities), hypotheses=hypotheses)


def _badness(quantity: Quantity) -> int:
    return VERDICTS.index(quantity.verdict)


@lru_cache(1)
def _data() -> dict[str, Any]:
    path = resources.files("lora_edu.course") / "data" / "published.json"
    return json.loads(path.read_text(encoding="utf-8"))


@lru_cache(1)
def _entries() -> dict[str, Entry]:
    """Derive every entry, once; id → entry."""
    data = _data()
    return {raw["id"]: _entry(raw, data["sources"][raw["source"]]) for raw in data["entries"]}


def ledger() -> list[Entry]:
    """Return the entries of the ledger."""
    return list(_entries().values())


Row = tuple[str, Entry]  # of a published table: its label there, and our entry


def tables() -> dict[str, dict[str, list[Row]]]:
    """Return source → table → rows, in the source's own order.

    A row that two tables print stands in both. What is no row of a table stands under its place
    (a section, a file), labelled with its configuration.
    """
    data, entries = _data(), _entries()
    found: dict[str, dict[str, list[Row]]] = {}
    for raw in data["entries"]:
        own = data["tables"].get(raw["source"], {})
        number = re.match(r"Tables? (\d+)", raw["place"])
        table = f"Table {number[1]}" if number else raw["place"]
        rows = found.setdefault(raw["source"], {}).setdefault(table, [])
        if table not in own:
            rows.append((raw["configuration"], entries[raw["id"]]))
        elif not rows:
            rows.extend((label, entries[id_]) for label, id_ in own[table])

    def order(table: tuple[str, list[Row]]) -> tuple[bool, int]:
        number = re.fullmatch(r"Table (\d+)", table[0])
        return (not number, int(number[1]) if number else 0)

    return {source: dict(sorted(its.items(), key=order)) for source, its in found.items()}


COLUMNS = (
    "source", "table", "row", "id", "model", "configuration", "quantity", "published", "derived",
    "verdict", "could_fail", "explanation", "cause", "tried", "arithmetic", "citation", "url",
    "read",
)  # fmt: skip


def lines(chosen: Mapping[str, Mapping[str, list[Row]]]) -> list[dict[str, Any]]:
    """Return tables as a list with a dict of ``COLUMNS`` for each figure."""
    found = []
    for source, its_tables in chosen.items():
        for table, rows in its_tables.items():
            for label, entry in rows:
                found += [_line(source, table, label, entry, q) for q in entry.quantities]
    return found


def _line(source: str, table: str, label: str, entry: Entry, quantity: Quantity) -> dict[str, Any]:
    differs = quantity.verdict == "differs"
    explanation, cause = (entry.explanation, entry.cause) if differs else ("", "")
    tried = "; ".join(f"{h.name}: {h.counted} ({h.verdict})" for h in entry.hypotheses)
    again = table.startswith("Table ") and table.split()[1] not in re.findall(r"\d+", entry.place)
    citation = f"{entry.source}, {table if again else entry.place}"  # again: printed there, too
    values = (
        source, table, label, entry.id, entry.model, entry.configuration, quantity.name,
        quantity.printed, quantity.number, quantity.verdict, quantity.tested, explanation, cause,
        tried, quantity.arithmetic, citation, entry.url, entry.read,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def shares() -> dict[str, int]:
    """Count entries and figures, those that could fail (``tested``), and those that did.

    ``causes``: for how many reasons they differ, each counted once. ``paper``: those that could
    fail and stand in LoRA's own paper; ``paper_differ``: those of them that did.
    """
    figures = [(entry, quantity) for entry in ledger() for quantity in entry.quantities]
    tested, differ = [entry for entry, q in figures if q.tested], [entry for entry, _ in misfits()]
    return {
        "entries": len(ledger()),
        "figures": len(figures),
        "tested": len(tested),
        "differ": len(differ),
        "causes": len({entry.cause for entry in differ}),
        "paper": sum(entry.cites == "hu2021" for entry in tested),
        "paper_differ": sum(entry.cites == "hu2021" for entry in differ),
    }


def misfits() -> list[tuple[Entry, Quantity]]:
    """Return the figures that could fail and did, the farthest from published = derived first."""
    pairs = [(entry, q) for entry in ledger() for q in entry.quantities if q.tested]
    failed = [(entry, q) for entry, q in pairs if q.verdict == "differs"]
    return sorted(failed, key=lambda pair: -abs(math.log(pair[1].ratio)))


def sources() -> dict[str, str]:
    """Return the short name and the citation of each source with an entry, version included."""
    return {name: _data()["sources"][name]["cite"] for name in tables()}


def measured() -> dict[str, dict[str, Any]]:
    """Return what others measured, id → source, place, model, configuration, published.

    Of memory in training, also method, r, batch and length: those of a plan to hold beside it.
    There is no arithmetic to such a figure, so it is no part of the ledger and has no verdict.
    """
    data = _data()
    cited = {name: source["cite"] for name, source in data["sources"].items()}
    return {m["id"]: {**m, "source": cited[m["source"]]} for m in data["measured"]}
