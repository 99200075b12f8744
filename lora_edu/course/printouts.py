"""Someone's printout of trainable parameters, judged against the models of the catalogue.

What is left after ``trainable`` is taken from ``all`` must be a known base, and LoRA or DoRA of
some rank on some of its layers must give ``trainable``. That finds broken pairs and impossible
counts. A line copied whole from another run holds; then the answer names that run.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from lora_edu import counting
from lora_edu.course.ledger import printed_value, verdict

HOLDS, FAILS, OPEN = "holds", "DOES NOT HOLD", "NOT EXPLAINED"


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
    r"(?P<sign>\s{0,9}[:=|])?(?:(?(before)(?(sign)|(?!)))[\s\"'`*(|:=~≈]{0,20}"
    rf"(?:(?P<of_base>{SHARE}) ?%[a-z ]{{0,12}}\( ?)?(?P<after>{WRITTEN})"
    rf"(?: ?(?:of|/) ?(?P<whole>{WRITTEN}))?(?: ?\((?P<percent>{SHARE}) ?%)?)?"
)
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
USUAL = (  # what people adapt, by the last parts of names
    {"q_proj", "v_proj"}, {"query", "value"}, {"q", "v"}, {"query_proj", "value_proj"}, {"c_attn"},
    {"query_key_value"}, {"qkv_proj"}, ATTENTION, {"gate_proj", "up_proj", "down_proj"},
)  # fmt: skip
# What is trained whole beside LoRA.
SAVED = (), ("classifier",), ("score",), ("qa_outputs",), ("lm_head",), ("embed_tokens", "lm_head")


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

    ``method`` is lora, dora or full; ``layers`` how many of the last ones, all if it is None.
    """

    model: str
    method: str
    r: int = 0
    target_modules: tuple[str, ...] = ()
    modules_to_save: tuple[str, ...] = ()
    layers: int | None = None
    usual: bool = True

    def __str__(self) -> str:
        if self.method == "full":
            return f"{self.model}: all of its parameters"
        method = {"lora": "LoRA", "dora": "DoRA"}[self.method]
        saved = f", {', '.join(self.modules_to_save)} trained" if self.modules_to_save else ""
        where = "" if self.layers is None else f" in {self.layers} layers"
        names = ", ".join(self.target_modules)
        return f"{self.model}: {method} r = {self.r} on {names}{where}{saved}"


class Judgement(NamedTuple):
    """A ``verdict`` of three, what was found, in words, and the ``ways`` to the count.

    ``HOLDS``: a known base is left, and there is a usual way. ``FAILS``: it contradicts itself.
    ``OPEN``: neither; a model that is not in the catalogue, biases, some of the layers. ``models``
    are those whose base is left. The usual ways come first.
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


def judge(printout: Printout) -> Judgement:
    """Judge a printout against the models of the catalogue."""
    every = list(counting.catalogue())
    if printout.all is None:
        ways = _ways(every, printout, any_set=False)
        return Judgement(HOLDS if ways else OPEN, [], ways, every)
    trainable, everything = printed_value(printout.trainable), printed_value(printout.all)
    if trainable > everything or everything == 0:
        return Judgement(FAILS, ["more is trainable than there is"], [], [])
    rest = everything - trainable
    alone = [name for name in every if _gives(printout.all, _bases(name)[0])]
    wrong = _wrong_share(printout.trainable, printout.all, printout.share or printout.of_base)
    parts = (printout.trainable, printout.all, printout.frozen or "")
    if all(part[-1:].isdigit() for part in parts) and printed_value(parts[2]) != rest:
        wrong.append(f"non-trainable must be {int(rest):,}, and {parts[2]} is printed")
    if trainable == everything:
        left, models = "everything trains", alone
    elif printout.of_base:
        left, models = "all (MLX counts no adapter)", alone
    else:
        left = f"all - trainable = {int(rest):,}"  # of a base in 4 bits as it is stored
        models = [n for n in every if any(_gives(printout.all, b + trainable) for b in _bases(n))]
        if alone and not models:
            wrong.append(f"all is {', '.join(alone)} alone: nothing was added to it")
    # To a rounded count too many other sets of layers would lead.
    ways = _ways(models or every, printout, bool(models) and printout.trainable[-1].isdigit())
    usual = bool(ways) and ways[0].usual
    findings = list(wrong)
    if models:
        plain, packed = _bases(models[0])
        stored = ", two numbers in a byte (4 bits)" if rest == packed != plain else ""
        findings.append(f"{left}: the base of {', '.join(models)}{stored}")
        if not usual:
            findings.append("no usual way to the trainable (biases? some layers? other ones?)")
    elif not wrong:
        off = {name: int(_bases(name)[0] - rest) for name in every}
        nearest = min(off, key=lambda name: abs(off[name]) / _bases(name)[0])
        near = f"{nearest}, has {abs(off[nearest]):,} {'more' if off[nearest] > 0 else 'fewer'}"
        findings.append(f"{left}: the base of no model of the catalogue; the nearest, {near}")
    known = HOLDS if models and usual else OPEN
    return Judgement(FAILS if wrong else known, findings, ways, models)


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
    if 100 * least / high - digit <= Fraction(printed) <= 100 * most / low + digit:
        return []
    follows = 100 * printed_value(trainable) / printed_value(everything)
    return [f"the share must be {float(follows):.4f} %, and {printed} is printed"]


def _gives(printed: str, count: int | Fraction) -> bool:
    rounded = printed[-1] in "KMB" and verdict(printed, count) != "differs"
    return rounded or printed_value(printed) == count


@lru_cache(None)
def _bases(name: str) -> tuple[int, int]:
    modules = counting.modules(name)
    return counting.base_parameters(modules), counting.packed_4bit_parameters(modules)


@lru_cache(None)
def _sides(name: str) -> dict[str, Counter[str]]:
    """Return, by the last part of a name: Σ (d + k), Σ d, parameters, linear ones."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for module_name, m in counting.modules(name).items():
        if m.kind in ("linear", "head", "embedding"):
            side = found[module_name.rpartition(".")[2]]
            side.update(both=m.out_features + m.in_features, rows=m.out_features)
            whole = m._replace(tied=False).parameters
            side.update(whole=whole, linear=int(m.kind == "linear"))
    return found


def _ways(models: Iterable[str], printout: Printout, any_set: bool) -> list[Way]:
    """Return the ways of some models to a trainable count, or only those that people use.

    Any rank to 1,024 on what people usually adapt; powers of two on any other set of layers.
    """
    found = []
    for name in models:
        if _gives(printout.trainable, _bases(name)[0]):
            found.append(Way(name, "full"))
        for saved in SAVED:
            if set(saved) <= _sides(name).keys():
                found += _adapters(name, printout, saved, any_set)
    return sorted((way for way in found if way.usual or any_set), key=_strangeness)


def _adapters(
    name: str, printout: Printout, saved: tuple[str, ...], any_set: bool
) -> Iterator[Way]:
    """Yield each LoRA or DoRA on a model that gives a trainable count, ``saved`` trained whole."""
    sides = _sides(name)
    linear = {last for last, side in sides.items() if side["linear"]}
    names = [last for last in sides if last not in saved]
    usual_sets = [of for of in [*USUAL, linear.difference(*SAVED)] if of and of <= {*names}]
    sets = [[last for last in names if last in of] for of in usual_sets]
    if any_set:
        sizes = range(1, len(names) + 1)
        sets = itertools.chain(*(itertools.combinations(names, size) for size in sizes))
    trained = sum(sides[last]["whole"] for last in saved)
    for chosen in map(tuple, sets):
        usual = set(chosen) in usual_sets
        both = sum(sides[last]["both"] for last in chosen)
        rows = sum(sides[last]["rows"] for last in chosen)
        parts: dict[int | None, int | Fraction] = {None: 1}  # all layers
        if usual and printout.of_base:  # MLX may adapt some of the last ones
            numbers = re.findall(r"(?m)^\D*\.(\d+)\.", "\n".join(counting.modules(name)))
            blocks = 1 + max(map(int, numbers))
            parts |= {n: Fraction(n, blocks) for n in (16, 8, 4) if n < blocks}
        for (layers, part), dora in itertools.product(parts.items(), (0, 1)):
            more = trained + dora * rows * part
            r = round((printed_value(printout.trainable) - more) / (both * part))
            common = r & (r - 1) == 0 or (usual and r <= 64)
            count = r * both * part + more
            if 1 <= r <= 1024 and (usual or common) and _gives(printout.trainable, count):
                yield Way(name, ("lora", "dora")[dora], r, chosen, saved, layers, usual and common)


def _strangeness(way: Way) -> tuple[bool, bool, bool, int, int]:
    """Sort the ways: what people do comes first."""
    odd = way.r & (way.r - 1) != 0
    return not way.usual, odd, way.method == "dora", len(way.target_modules), way.r
