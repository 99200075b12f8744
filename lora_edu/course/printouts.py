"""Someone's printout of trainable parameters, judged against the models of the catalogue.

What is left after ``trainable`` is taken from ``all`` must be a known base, and LoRA or DoRA of
some rank on some of its layers must give ``trainable``. That finds broken pairs and impossible
counts. A line copied whole from another run is possible; then the answer names that run.
"""

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from lora_edu import counting
from lora_edu.course.ledger import printed_value, verdict

POSSIBLE, IMPOSSIBLE = "possible", "IMPOSSIBLE"
UNEXPLAINED, UNKNOWN = "NOT EXPLAINED", "UNKNOWN FAMILY"


PARAMS = r"[-_ ](?:model[-_ ])?param(?:eter)?s?(?: (?:in|of) (?:the )?model)?"
KINDS = {  # of figures, by the words beside them
    "frozen": rf"(?:(?:no[nt]|un)[-_ \u2010-\u2015]{{0,2}}trainable|frozen){PARAMS}",
    "trainable": rf"trainable(?:[-_ ]lora)?{PARAMS}|num\. trained|(?<=[KMB] )trainable(?= \[)",
    "all": rf"(?:all|total|num\.(?: shared)?|number of){PARAMS}|(?<=M )params(?= \()",
    "optimizer": rf"optimizer{PARAMS}",
    "share": r"trainable ?%|(?<=\|\| )trainable(?=\s?[:=])",
}
# What may be meant as a number (all of 4 194 30, so that it is not read as 4 194), and what is one.
# Bounded, because a log may be long.
MARK = r"(?:[\w.,'’+%-]|\s{1,3}(?=[,.'’_]?\d))"
WRITTEN = rf"\d{MARK}{{0,60}}(?!{MARK})(?:\s[KMB]\b)?(?!\s(?:[KMBG]|thou))"
COUNT = (  # 4.194 is refused: 4,194, or 4.194 M?
    r"(?!\d+\.\d{3}$|\d+(?:\.\d{3})+\.(?:\d\d?|\d{4,})\D*$)"
    r"(0|[1-9]\d*|[1-9]\d{0,2}(?=([.,_'’ \xa0\u2009\u202f]))(?:\2\d{3})+)"
    r"(?:\.00?|(\.\d{1,9})?\s?([KMB]))?"
)
SHARE = r"\d{0,3}\.?\d{1,20}(?:e-?\d{1,2})?"
# A number, words, a sign, a number. Without a sign the number before the words is meant, if there
# is one: Lightning prints "4.2 M     Trainable params". MLX prints a share first: "0.5% (3M/596M)".
FIGURE = (
    rf"(?i)(?:(?<![^\s(|])(?<!\d\s)(?P<before>{WRITTEN})\s{{1,9}})?"
    rf"(?<![a-z])(?:{'|'.join(f'(?P<{kind}>{words})' for kind, words in KINDS.items())})"
    r"(?P<sign>\s{0,9}(?:[:=]|(?(before)(?!)|\|)))?(?:(?(before)(?(sign)|(?!)))[\s\"'`*(|:=~≈]{0,20}"
    rf"(?:(?P<of_base>{SHARE}) ?%(?:[a-z ]{{0,12}}\(| =) ?)?(?P<after>{WRITTEN})"
    rf"(?: ?(?:of|/) ?(?P<whole>{WRITTEN}))?(?: ?\((?P<percent>{SHARE}) ?%)?)?"
)
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
MANY = 13  # more names of layers than can be tried in all combinations within a second
MLP = {"gate_proj", "up_proj", "down_proj"}
COMMON = (  # what most people adapt, by the last parts of names
    {"q_proj", "v_proj"}, {"query", "value"}, {"q", "v"}, {"query_proj", "value_proj"}, {"c_attn"},
    {"query_key_value"}, {"qkv_proj"}, {"q_lin", "v_lin"}, ATTENTION, ATTENTION | MLP,
)  # fmt: skip
USUAL = (  # and what some do
    *COMMON, {"q_proj"}, {"v_proj"}, {"q_proj", "k_proj"}, {"q_proj", "k_proj", "v_proj"}, MLP,
    {"query"}, {"query", "key"}, {"query", "key", "value"}, {"q"}, {"qkv_proj", "o_proj"},
    {"o_proj", "down_proj"},
)  # fmt: skip
# What is trained whole beside LoRA.
HEADS = "classifier", "score", "qa_outputs"
SAVED = (
    (), *((name,) for name in HEADS), ("pre_classifier", "classifier"), ("lm_head",),
    ("embed_tokens", "lm_head"),
)  # fmt: skip


class Printout(NamedTuple):
    """The figures of a printout, as 4,194,304, 4194304 or 4.2M; None where there is none.

    ``of_base``: the share where it is MLX's, whose ``all`` counts no adapter.
    """

    trainable: str
    all: str | None = None
    share: str | None = None
    frozen: str | None = None
    of_base: str | None = None


class Way(NamedTuple):
    """A configuration that gives a count: PEFT's ``target_modules`` and ``modules_to_save``.

    ``method`` is lora, dora or full; ``blocks`` how many have adapters, all if it is None.
    """

    model: str
    method: str
    r: int = 0
    target_modules: tuple[str, ...] = ()
    modules_to_save: tuple[str, ...] = ()
    blocks: int | None = None
    usual: bool = True

    def __str__(self) -> str:
        if self.method == "full":
            return f"{self.model}: all of its parameters"
        method = {"lora": "LoRA", "dora": "DoRA"}[self.method]
        saved = f", {', '.join(self.modules_to_save)} trained" if self.modules_to_save else ""
        where = "" if self.blocks is None else f" in {self.blocks} blocks"
        names = ", ".join(self.target_modules)
        return f"{self.model}: {method} r = {self.r} on {names}{where}{saved}"


class Judgement(NamedTuple):
    """A ``verdict`` of four, what was found, in words, and the ``ways`` to the count.

    ``POSSIBLE``: a known base is left, and LoRA or DoRA gives the count; the usual ways come first.
    ``IMPOSSIBLE``: it contradicts itself, or whatever trains on the base, the count is no multiple
    of what all its sides are multiples of. ``UNEXPLAINED``: the base is known, and no way that was
    tried gives the count. ``UNKNOWN``: no known base is left. ``models`` are those whose base is.
    """

    verdict: str
    findings: list[str]
    ways: list[Way]
    models: list[str]


def read(text: str) -> tuple[list[Printout], list[str]]:
    """Return the printouts in a text, in its order, and which lines are wrong, and why.

    One printout is a line, or lines one after the other, until a kind of figure comes again. A
    ValueError if there is none.
    """
    groups, wrong = [dict[str, str]()], list[str]()
    for number, line in enumerate(re.sub(r"\x1b\[[0-9;]{0,20}m", "", text).splitlines(), 1):
        try:
            figures = list(_figures(line))
        except ValueError as error:
            wrong.append(f"line {number}: {error}")
            continue
        other = not figures and re.search(r"\w", line)
        if other or groups[-1].keys() & dict(figures):
            groups.append({})
        for kind, figure in figures:
            if kind in groups[-1]:
                groups.append({})
            groups[-1][kind] = figure
    found = [_printout(group) for group in groups if "trainable" in group]
    if not found:
        none = f"there is no printout like 'trainable params: 7 || all params: 9' in {text[:40]!r}"
        raise ValueError(wrong[0] if wrong else none)
    return found, wrong


def _figures(line: str) -> Iterator[tuple[str, str]]:
    """Yield the figures of a line by their kinds; a ValueError if one is no number."""
    for found in re.finditer(FIGURE, line):
        kind = next(kind for kind in KINDS if found[kind])
        number = found["after"] or (None if found["sign"] else found["before"])
        if found["sign"] and not number and found[kind].lower().startswith("trainable "):
            raise ValueError(f"no number stands after {found[kind]!r}")
        if number and (kind == "share" or not number.endswith("%")):
            yield kind, _figure(kind, number)
            for other, name in (("all", "whole"), ("share", "percent"), ("of_base", "of_base")):
                if found[name]:
                    yield other, _figure(other, found[name])


def _figure(kind: str, written: str) -> str:
    """Return a number as a Printout has it; a ValueError if it is none, or ambiguous."""
    written = written.rstrip(".,'’_%-")
    share = kind in ("share", "of_base")
    match = re.fullmatch(SHARE if share else COUNT, written, re.IGNORECASE | re.ASCII)
    if match is None:
        raise ValueError(f"{written!r} must be like 4,194,304, 4194304 or 4.2 M; a share like 0.06")
    if share:
        return written
    whole, _, decimals, unit = match.groups("")
    return re.sub(r"\D", ",", whole) + decimals + unit.upper()


def _printout(figures: dict[str, str]) -> Printout:
    """Return figures by kind as a printout; without ``all``, that is the sum of the others."""
    parts = [figures["trainable"], figures.get("frozen", "")]
    replaced = figures.pop("optimizer", None) or "all" not in figures  # Keras adds it to the total
    if replaced and all(part[-1:].isdigit() for part in parts):
        figures["all"] = f"{sum(int(printed_value(part)) for part in parts):,}"
    return Printout(**figures)


class Shapes(NamedTuple):
    """What of a model decides a count; ``sides`` by the last part of a name, see :func:`shapes`."""

    name: str
    base: int
    packed: int
    sides: dict[str, Counter[str]]
    blocks: int
    width: int
    tables: int
    unit: int  # of which each side and each module's count is a multiple
    tied: int = 0  # the base where its head is tied to the table, as transformers 5 does of T5's
    whole: int = 0  # with its towers for pictures and sound, if it is a text part


def shapes(name: str, source: Any = None) -> Shapes:
    """Return the shapes of a model: one of the catalogue, or any ``source`` of ``modules``.

    Of a side: Σ (d + k) of its matrices, Σ d, all that it holds, how many are linear layers, how
    many stand in the blocks, and ``uneven`` if not in each block the same. Experts are one: what
    all-linear of PEFT adapts of them. Where they share parameters, ``expert_*`` are the matrices as
    layers of their own, as they once were.
    """
    modules = counting.modules(name if source is None else source)
    numbers = re.findall(r"(?m)^\D*\.(\d+)\.", "\n".join(modules))
    blocks = 1 + max(map(int, numbers), default=0)
    sides: dict[str, Counter[str]] = defaultdict(Counter)
    alike: dict[str, set[tuple[int, int]]] = defaultdict(set)
    unit = 0
    for where, m in modules.items():
        last, d, k = where.rpartition(".")[2], m.out_features, m.in_features
        block = int(re.search(r"\.\d+\.", where) is not None)
        alike[last].add((d, k))
        own = [d * k] if m.kind == "other" else [d // 2, k] if m.kind == "fused" else [d, k]
        unit = math.gcd(unit, *own, m.bias, m.more)
        if m.kind in ("linear", "head", "embedding"):
            both = {"both": d + k, "rows": d, "linear": int(m.kind == "linear")}
            sides[last].update(both, whole=m._replace(tied=False).parameters, block=block)
        elif m.kind in ("router", "fused", "experts"):
            rank = m.copies * (2 if m.kind == "fused" else 1)  # gate and up: r for each
            sides["experts"].update(both=rank * (d + k), rows=m.copies * d, block=block)
        if m.kind in ("fused", "experts", "stack"):
            wide = d // 2 if last == "gate_up_proj" else d
            for part in ("gate", "up") if last == "gate_up_proj" else ("down",):
                both = {"both": m.copies * (wide + k), "rows": m.copies * wide}
                sides[f"expert_{part}_proj"].update(both, block=block)
    for last, side in sides.items():
        side["uneven"] = int(len(alike[last]) > 1 or side["block"] % blocks > 0)
    tables = [m for m in modules.values() if m.kind in ("embedding", "head") and not m.tied]
    rows = max((max(m.out_features, m.in_features) for m in tables), default=0)
    wide = [min(m[1:3]) for m in tables if rows in m[1:3]]
    base, packed = counting.base_parameters(modules), counting.packed_4bit_parameters(modules)
    head = sum(m.parameters for m in modules.values() if m.kind == "head")
    tied = base - head if head and "decoder.embed_tokens" in modules else 0
    found = dict(sides), blocks, max(wide, default=0), len(wide), unit, tied
    return Shapes(name, base, packed, *found)


@lru_cache(1)
def _known() -> list[Shapes]:
    return [shapes(m["id"])._replace(whole=m.get("whole", 0)) for m in counting.models()]


def judge(printout: Printout, own: Shapes | None = None) -> Judgement:
    """Judge a printout against the models of the catalogue, or against a model of one's ``own``."""
    known = [own] if own else _known()
    if printout.all is None:
        ways = [way for of in known for way in _ways(Base(of), printout)]
        told = [] if ways else ["no known model gives it in a usual way, and no total is told"]
        verdict = POSSIBLE if ways else UNKNOWN
        return Judgement(verdict, told, sorted(ways, key=_strangeness), [])
    trainable, everything = printed_value(printout.trainable), printed_value(printout.all)
    if trainable > everything or everything == 0:
        return Judgement(IMPOSSIBLE, ["more is trainable than there is"], [], [])
    wrong = _wrong(printout)
    left, bases = _bases(printout, known)
    alone = [] if bases else [of.name for of in known if _gives(printout.all, of.base)]
    both = printout.trainable[-1] + printout.all[-1]
    exact = both.isdigit() and not _nominal(printout)
    found = [(base, _ways(base, printout, exact and not base.changed)) for base in bases]
    plain = [pair for pair in found if not (pair[0].changed or _nominal(printout))]
    found = plain or [pair for pair in found if pair[1]]  # a table or a head may fit by chance
    ways = sorted((way for _, its in found for way in its), key=_strangeness)
    tried = exact and plain and all(len(base.of.sides) <= MANY for base, _ in plain)
    findings = list(wrong)
    if found:
        findings.append(f"{left}: the base of {_named(base for base, _ in found)}")
    if ways and not ways[0].usual:
        findings.append("in no usual way")
    elif alone:
        told = "nothing was added to it, so this is no LoRA; a part of it may have trained"
        findings.append(f"all is {', '.join(alone)} alone: {told}")
    elif tried and not ways:
        units = {base.of.unit for base, _ in plain}
        never = all(trainable % unit for unit in units)
        if never:
            told = f"a multiple of {', '.join(map(str, units))}, and so does any layer, whole"
            wrong.append(f"any LoRA or DoRA on it trains {told}")
            findings.append(wrong[-1])
        else:
            told = "1 to 1,024 gives the trainable, on the same layers of all blocks or of some"
            findings.append(f"no LoRA or DoRA of one rank from {told}")
    elif not found and (hints := [base for base in bases if base.whole]):
        told = f"the base of {_named(hints)}, of which not all layers are known here"
        findings.append(f"{left}: {told}")
    elif not found and not wrong:
        near = min(known, key=lambda of: abs(of.base - everything + trainable) / of.base)
        off = int(near.base - everything + trainable)
        more = f"{near.name}, has {abs(off):,} {'more' if off > 0 else 'fewer'}"
        no = f"not the base of {own.name}" if own else "the base of no model that is known"
        findings.append(f"{left}: {no}; {'' if own else 'the nearest, '}{more}")
    known_base = UNEXPLAINED if found or alone else UNKNOWN
    verdict = IMPOSSIBLE if wrong else POSSIBLE if ways else known_base
    models = list(dict.fromkeys(base.of.name for base, _ in found))
    return Judgement(verdict, findings, ways, models)


def _named(bases: Iterable["Base"]) -> str:
    """Return the names of some bases, with what is told of the first."""
    bases = list(bases)
    return ", ".join(dict.fromkeys(base.of.name for base in bases)) + bases[0].told


def _nominal(printout: Printout) -> bool:
    """Say whether a total is a round number of millions: Unsloth once printed a name's size.

    Its shares have two decimals; with more, it is a line of PEFT's, which counts.
    """
    everything, decimals = printout.all or "", (printout.share or "").partition(".")[2]
    if len(decimals) > 2 or not everything[-1].isdigit():
        return False
    return printed_value(everything) % 10**6 == 0


def _bases(printout: Printout, known: Iterable[Shapes]) -> tuple[str, list["Base"]]:
    """Return what is left without the adapter, in words, and the models that it can be."""
    trainable, everything = printed_value(printout.trainable), printed_value(printout.all or "")
    if _nominal(printout):
        near = [Base(of) for of in known if 0.6 < of.base / everything < 1.6]
        return "all is the size that the name tells, no count; it may be", near
    if trainable == everything or printout.of_base:
        alone = [Base(of) for of in known if _gives(printout.all or "", of.base)]
        return "all (MLX counts no adapter)" if printout.of_base else "everything trains", alone
    left = f"all - trainable = {int(everything - trainable):,}"
    return left, [base for of in known for base in _left(of, printout)]


class Base(NamedTuple):
    """A model as what is left: in words how it is stored, or ``changed``; its new ``head``.

    ``whole``: with parts that are not in the catalogue.
    """

    of: Shapes
    stored: str = ""
    changed: str = ""
    head: int = 0
    whole: bool = False

    @property
    def told(self) -> str:
        """What is special about it, in words."""
        return self.changed + self.stored


def _left(of: Shapes, printout: Printout) -> Iterator[Base]:
    """Yield how a model can be what is left: as it is, in 4 bits, with other rows, a new head."""
    everything, trainable = printout.all or "", printed_value(printout.trainable)
    ends = _ends(printout.trainable)
    if of.tied and any(_gives(everything, of.tied + end) for end in ends):
        yield Base(of, ", its head tied to the table, as transformers 5 has it")
    if of.whole and _gives(everything, of.whole + trainable):
        yield Base(of, changed=", with its towers for pictures or sound", whole=True)
    own_head = sum(of.sides[name]["whole"] for name in HEADS if name in of.sides)
    if own_head and _gives(everything, of.base - own_head + trainable):
        yield Base(of, ", its head counted once: it trains itself, and no copy")
    for base, stored in ((of.base, ""), (of.packed, ", two numbers in a byte (4 bits)")):
        if any(_gives(everything, base + end) for end in (trainable, *ends)):
            yield Base(of, stored)
        elif everything[-1].isdigit() and of.width:
            more = int(printed_value(everything) - trainable) - base
            rows, over = divmod(more, of.width * of.tables)
            if not over and rows and -64 <= rows <= 512:  # rounded to 64; new tokens
                words = f", its table with {abs(rows)} rows {'more' if rows > 0 else 'fewer'}"
                yield Base(of, stored, words)
            labels, over = divmod(more, of.width + 1)
            if not over and 0 < labels <= 1000:
                layer = "a layer and " if labels > of.width else ""
                outputs = labels - of.width if layer else labels
                yield Base(of, stored, f", with {layer}a head of {outputs} outputs", more)


def _wrong(printout: Printout) -> list[str]:
    """Say in which ways the numbers of a printout contradict each other."""
    trainable, everything, share, frozen, of_base = printout
    wrong = _wrong_share(trainable, everything or "", share or of_base)
    if printed_value(trainable) == 0:
        wrong.append("nothing trains: no layer has such a name, or the adapter is frozen")
    if all(part[-1:].isdigit() for part in (trainable, everything or "", frozen or "")):
        rest = printed_value(everything or "") - printed_value(trainable)
        if printed_value(frozen or "") != rest:
            wrong.append(f"non-trainable must be {int(rest):,}, and {frozen} is printed")
    return wrong


def _ends(printed: str) -> tuple[Fraction, Fraction]:
    """Return the least and the largest number that a printed one can stand for."""
    value = printed_value(printed)
    digits = len(printed.rstrip("KMB").partition(".")[2])
    half = 0 if printed[-1].isdigit() else printed_value(f"1{printed[-1]}") / 10**digits / 2
    return value - half, value + half


def _wrong_share(trainable: str, everything: str, printed: str | None) -> list[str]:
    """Say what is wrong with a printed share; nothing if it follows from the counts."""
    if printed is None:
        return []
    (least, most), (low, high) = _ends(trainable), _ends(everything)
    last = Decimal(printed).as_tuple().exponent
    digit = Fraction(10) ** max(int(last), -10)  # beyond it, floats round
    rounded_up, cut = 100 * most / low + digit / 2, 100 * least / high - digit
    if cut < Fraction(printed) <= rounded_up:
        return []
    follows = 100 * printed_value(trainable) / printed_value(everything)
    return [f"the share must be {float(follows):.4f} %, and {printed} is printed"]


def _gives(printed: str, count: int | Fraction) -> bool:
    rounded = printed[-1] in "KMB" and verdict(printed, count) != "differs"
    return rounded or printed_value(printed) == count


def _ways(base: "Base", printout: Printout, every: bool = False) -> list[Way]:
    """Return the ways of a model to a trainable count: the usual ones or, if asked for, any.

    Usual is what people adapt, at a rank that they choose, in all blocks. ``every`` other
    set of layers, and some of the blocks, are tried only where no usual one gives the count.
    """
    of, head = base.of, base.head
    whole = [Way(of.name, "full")] if _gives(printout.trainable, of.base) else []
    saved = {names: sum(of.sides[name]["whole"] for name in names) for names in SAVED
             if {*names} <= of.sides.keys()}  # fmt: skip
    if head:
        saved[("a new head",)] = head
        before = of.width * (of.width + 1)
        saved["a new head", "a layer before it"] = head + before
        if head > before:
            saved[("the new head's last layer",)] = head - before
    usual = [way for names in _usual(of) for way in _adapters(of, printout, names, saved, True)]
    usual = [way for way in usual if way.usual or every]
    if usual or not every or len(of.sides) > MANY:
        return whole + usual
    sizes = range(1, len(of.sides) + 1)
    sets = itertools.chain(*(itertools.combinations(of.sides, size) for size in sizes))
    return whole + [w for names in sets for w in _adapters(of, printout, names, saved, False)]


def _usual(of: Shapes) -> Iterator[tuple[str, ...]]:
    """Yield the sets of layers that people adapt, of those that a model has."""
    linear = {name for name, side in of.sides.items() if side["linear"]}.difference(*SAVED)
    each = linear | {name for name in of.sides if name.startswith("expert_")}
    known = [*USUAL, linear, linear | {"experts"}, linear - MLP | {"experts"}, each]
    for names in dict.fromkeys(map(frozenset, known)):
        if names and names <= of.sides.keys():
            yield tuple(name for name in of.sides if name in names)


def _adapters(
    of: Shapes, printout: Printout, chosen: tuple[str, ...],
    saved: Mapping[tuple[str, ...], int], usual: bool,
) -> Iterator[Way]:  # fmt: skip
    """Yield each LoRA or DoRA on some layers that gives a trainable count, ``saved`` beside it.

    All is counted ``blocks`` times, so that the share of some of the blocks is a whole number.
    """
    sides = [of.sides[name] for name in chosen]
    inside = [sum(s[what] for s in sides if s["block"]) for what in ("both", "rows")]
    outside = [
        of.blocks * sum(s[what] for s in sides if not s["block"]) for what in ("both", "rows")
    ]
    some = [n for n in (16, 8, 4) if n < of.blocks and printout.of_base]  # MLX: of the last ones
    if any(side["uneven"] for side in sides):
        some = []
    elif not usual and inside[0]:
        some = range(1, of.blocks)
    wanted = of.blocks * int(printed_value(printout.trainable))
    exact = printout.trainable[-1].isdigit()
    for names, whole in saved.items():
        if {*names} & {*chosen}:
            continue
        for blocks in (of.blocks, *some):
            both = blocks * inside[0] + outside[0]
            rows = blocks * inside[1] + outside[1]
            for dora in (0, 1):
                more = of.blocks * whole + dora * rows
                r, over = (
                    divmod(wanted - more, both) if exact else (round((wanted - more) / both), 0)
                )
                if over or not 1 <= r <= 1024:
                    continue
                if exact or _gives(printout.trainable, Fraction(r * both + more, of.blocks)):
                    chosen_rank = r <= 16 or (r <= 64 and r % 4 == 0) or r & (r - 1) == 0
                    common = usual and chosen_rank
                    where = None if blocks == of.blocks else blocks
                    method = ("lora", "dora")[dora]
                    yield Way(of.name, method, r, chosen, names, where, common)


def _strangeness(way: Way) -> tuple[bool, bool, bool, bool, bool, int, int]:
    """Sort the ways: what people do comes first."""
    odd, rare = way.r & (way.r - 1) != 0, {*way.target_modules} not in COMMON
    some, names = way.blocks is not None, len(way.target_modules)
    return not way.usual, odd, some, way.method == "dora", rare, names, way.r
