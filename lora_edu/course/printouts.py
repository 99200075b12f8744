"""Someone's printout of trainable parameters, judged against the models of the catalogue.

What is left after ``trainable`` is taken from ``all`` must be a known base, and LoRA or DoRA of
some rank on some of its layers must give ``trainable``. That finds broken pairs and impossible
counts. A line copied whole from another run holds; then the answer names that run.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from lora_edu import counting
from lora_edu.course.ledger import printed_value, verdict

HOLDS, FAILS, OPEN = "holds", "DOES NOT HOLD", "NOT EXPLAINED"


def _number(name: str) -> str:
    # Bounded, and begun at its first digit only: a long log must not take for ever.
    return rf"(?<![\d,._])(?P<{name}>[0-9][0-9,_]{{0,23}}(?:\.[0-9]{{1,9}})?(?: ?[KMB]\b)?)"


SHARE = r"(?P<share>[0-9]{0,3}\.?[0-9]{1,20}(?:e-?[0-9]{1,2})?)"
FORMS = {
    "PEFT": rf"trainable params:\s{{0,3}}{_number('trainable')}\s{{0,3}}(?:\|\|)?\s{{0,3}}"
    rf"all params:\s{{0,3}}{_number('all')}"
    rf"(?:\s{{0,3}}(?:\|\|)?\s{{0,3}}trainable%:\s{{0,3}}{SHARE})?",
    "Unsloth": rf"Trainable parameters ?= ?{_number('trainable')} ?(?:of|/) ?{_number('all')}"
    rf"(?: ?\({SHARE} ?%)?",
    "MLX": rf"Trainable parameters: {SHARE} ?% ?\({_number('trainable')}/{_number('all')}\)",
    "Trainer": rf"Number of trainable parameters ?= ?{_number('trainable')}",
    "Lightning": rf"{_number('trainable')}\s{{1,9}}Trainable params\s{{1,9}}[0-9.,]{{1,20}} ?[KMB]?"
    rf"\s{{1,9}}Non-trainable params\s{{1,9}}{_number('all')}\s{{1,9}}Total params",
    "torchinfo": rf"Total params: {_number('all')}\s{{1,9}}"
    rf"Trainable params: {_number('trainable')}",
}
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
USUAL = (  # what people adapt, by the last parts of names
    {"q_proj", "v_proj"}, {"query", "value"}, {"q", "v"}, {"query_proj", "value_proj"}, {"c_attn"},
    {"query_key_value"}, {"qkv_proj"}, ATTENTION, {"gate_proj", "up_proj", "down_proj"},
)  # fmt: skip
SAVED = (  # what is trained whole beside LoRA
    (), ("classifier",), ("score",), ("qa_outputs",), ("lm_head",), ("embed_tokens", "lm_head"),
)  # fmt: skip


class Printout(NamedTuple):
    """The figures of a printout, as they stand there; None where there is none."""

    tool: str
    trainable: str
    all: str | None
    share: str | None


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
        return (
            f"{self.model}: {method} r = {self.r} on {', '.join(self.target_modules)}{where}{saved}"
        )


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


def read(text: str) -> list[Printout]:
    """Return the printouts in a text, in its order; a ValueError if there is none."""
    text = re.sub(r"\x1b\[[0-9;]{0,9}m", "", text)  # colours
    found = []
    for tool, form in FORMS.items():
        for match in re.finditer(form, text, re.IGNORECASE):
            named = {"all": None, "share": None, **match.groupdict()}
            plain = {
                key: value and re.sub(r"[ _]", "", value).upper() for key, value in named.items()
            }
            found.append((match.start(), Printout(tool, **plain)))
    if not found:
        raise ValueError(
            "there is no printout such as 'trainable params: 4,194,304 || all params: "
            f"6,742,609,920'; known are those of {', '.join(FORMS)}"
        )
    return [printout for _, printout in sorted(found, key=lambda pair: pair[0])]


def judge(printout: Printout) -> Judgement:
    """Judge a printout against the models of the catalogue."""
    every = list(counting.catalogue())
    if printout.all is None:
        ways = [way for name in every for way in _ways(name, printout) if way.usual]
        return Judgement(HOLDS if ways else OPEN, [], sorted(ways, key=_strangeness), every)
    trainable, everything = printed_value(printout.trainable), printed_value(printout.all)
    if trainable > everything or everything == 0:
        return Judgement(FAILS, ["more is trainable than there is"], [], [])
    wrong = _wrong_share(printout)
    findings = [wrong] if wrong else []
    models = [name for name in every if _is_base(name, printout)]
    left = f"all - trainable = {int(everything - trainable):,}"
    if trainable == everything:
        left, models = "everything trains", [n for n in every if _gives(printout.all, _bases(n)[0])]
    elif alone := [n for n in every if _gives(printout.all, _bases(n)[0])]:
        if printout.tool == "MLX":
            left = "all (MLX counts no adapter)"
        elif not models:
            findings.append(f"all is {', '.join(alone)} alone: nothing was added to it")
            wrong = "nothing was added"
    if models:
        plain, packed = _bases(models[0])
        stored = (
            ", two numbers in a byte (4 bits)" if everything - trainable == packed != plain else ""
        )
        findings.append(f"{left}: the base of {', '.join(models)}{stored}")
    elif not wrong:
        findings.append(f"{left}: the base of no model of the catalogue; {_near(printout)}")
    ways = [way for name in models or every for way in _ways(name, printout)]
    if not models:
        ways = [way for way in ways if way.usual]
    elif not any(way.usual for way in ways):
        findings.append("no way to the trainable that is usual (biases? some layers? other ones?)")
    known = models and any(way.usual for way in ways)
    word = FAILS if wrong else HOLDS if known else OPEN
    return Judgement(word, findings, sorted(ways, key=_strangeness), models)


def _ends(printed: str) -> tuple[Fraction, Fraction]:
    """Return the least and the largest number that a printed one can stand for."""
    value = printed_value(printed)
    if printed[-1] not in "KMB":
        return value, value
    digits = len(printed[:-1].partition(".")[2])
    half = printed_value(f"1{printed[-1]}") / 10**digits / 2
    return value - half, value + half


def _wrong_share(printout: Printout) -> str:
    """Say what is wrong with a printed share; nothing if it follows from the counts."""
    assert printout.all is not None
    if printout.share is None:
        return ""
    (least, most), (low, high) = _ends(printout.trainable), _ends(printout.all)
    share = Fraction(Decimal(printout.share))
    exponent = Decimal(printout.share).as_tuple().exponent
    assert isinstance(exponent, int)
    digit = Fraction(10) ** max(exponent, -10)  # beyond it, floats round
    if 100 * least / high - digit <= share <= 100 * most / low + digit:
        return ""
    follows = 100 * printed_value(printout.trainable) / printed_value(printout.all)
    return f"the share must be {float(follows):.4f} %, and {printout.share} is printed"


def _is_base(name: str, printout: Printout) -> bool:
    """Whether ``all`` fits a model with the trainable on top; of a 4-bit base as it is stored."""
    assert printout.all is not None
    if printout.tool == "MLX":  # whose total leaves the adapter out
        return _gives(printout.all, _bases(name)[0])
    trainable = printed_value(printout.trainable)
    return any(_gives(printout.all, base + trainable) for base in _bases(name))


def _gives(printed: str, count: int | Fraction) -> bool:
    if printed[-1] in "KMB":
        return verdict(printed, count) != "differs"
    return printed_value(printed) == count


def _near(printout: Printout) -> str:
    """Say how far the base is from the nearest one."""
    assert printout.all is not None
    left = printed_value(printout.all) - printed_value(printout.trainable)
    off = {name: int(_bases(name)[0] - left) for name in counting.catalogue()}
    nearest = min(off, key=lambda name: abs(off[name]) / _bases(name)[0])
    more = "more" if off[nearest] > 0 else "fewer"
    return f"the nearest, {nearest}, has {abs(off[nearest]):,} {more}"


@lru_cache(None)
def _bases(name: str) -> tuple[int, int]:
    modules = counting.modules(name)
    return counting.base_parameters(modules), counting.packed_4bit_parameters(modules)


class _Sides(NamedTuple):
    """Of the modules with one last part of a name: Σ (d + k), Σ d, parameters, linear or not."""

    both: int
    rows: int
    whole: int
    linear: bool


@lru_cache(None)
def _sides(name: str) -> dict[str, _Sides]:
    found: defaultdict[str, _Sides] = defaultdict(lambda: _Sides(0, 0, 0, True))
    for module_name, m in counting.modules(name).items():
        if m.kind in ("linear", "head", "embedding"):
            last = module_name.rpartition(".")[2]
            old, own = found[last], m._replace(tied=False).parameters
            sums = (old.both + m.out_features + m.in_features, old.rows + m.out_features)
            found[last] = _Sides(*sums, old.whole + own, m.kind == "linear")
    return dict(found)


@lru_cache(None)
def _blocks(name: str) -> int:
    """Return how many numbered blocks there are."""
    numbers = (re.search(r"\.(\d+)\.", module) for module in counting.modules(name))
    return 1 + max((int(number[1]) for number in numbers if number), default=0)


def _ways(name: str, printout: Printout) -> Iterator[Way]:
    """Yield each configuration of a model that gives a printed count of trainable parameters.

    Any rank to 1,024 on what people usually adapt; powers of two on any other set of layers.
    """
    printed = printout.trainable
    if _gives(printed, _bases(name)[0]):
        yield Way(name, "full")
    sides, blocks = _sides(name), _blocks(name)
    linear = {last for last, side in sides.items() if side.linear} - {
        s for some in SAVED for s in some
    }
    shares = [None] if printout.tool != "MLX" else [None, *{16, 8, 4} - {blocks}]
    for saved in SAVED:
        if not set(saved) <= set(sides):
            continue
        whole = sum(sides[last].whole for last in saved)
        names = [last for last in sides if last not in saved]
        every_set = itertools.chain.from_iterable(
            itertools.combinations(names, size) for size in range(1, len(names) + 1)
        )
        for chosen, layers in itertools.product(every_set, shares):
            usual = set(chosen) in USUAL or set(chosen) == linear
            if layers is not None and not (usual and layers < blocks):
                continue
            part = Fraction(layers or blocks, blocks)
            both = sum(sides[last].both for last in chosen) * part
            rows = sum(sides[last].rows for last in chosen) * part
            for method, more in (("lora", whole), ("dora", whole + rows)):
                r = round((printed_value(printed) - more) / both)
                power_of_2 = r & (r - 1) == 0
                if 1 <= r <= 1024 and (usual or power_of_2) and _gives(printed, r * both + more):
                    common = usual and (power_of_2 or r <= 64)
                    yield Way(name, method, r, chosen, saved, layers, common)


def _strangeness(way: Way) -> tuple[bool, bool, bool, int, int]:
    """Sort the ways: what people do comes first."""
    odd = way.r & (way.r - 1) != 0
    return not way.usual, odd, way.method == "dora", len(way.target_modules), way.r
