"""Checks: what shared heads save, forged printouts, a budget of bytes."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np

from lora_edu.course.checks import call, check


def _number(value: Any, asked: str, what: str) -> float:
    """Return a finite number, also one in an array without dimensions."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    number = isinstance(value, (Real, np.number)) and not isinstance(value, (bool, np.bool_))
    assert number and np.isfinite(float(value)), f"{asked}: {what}, got {value!r}"  # noqa: PT018
    return value


@check
def check_shares_left(shares_left: Callable) -> None:
    """``shares_left(width, kv_width)``: kv / width, and (kv + width) / (2 width)."""
    for width, kv in ((4096, 1024), (8192, 1024), (960, 320), (64, 64)):
        got = call(shares_left, width=width, kv_width=kv)
        asked = f"shares_left({width}, {kv})"
        both = isinstance(got, (tuple, list, np.ndarray)) and np.shape(got) == (2,)
        assert both, f"{asked}: return two shares, (weights, LoRA's numbers), got {got!r}"
        weights, lora = (float(_number(value, asked, "a share is a number")) for value in got)
        area, edge = kv / width, (kv + width) / (2 * width)
        if np.allclose((weights, lora), (area, edge)):
            continue
        assert kv != width, f"{asked}: no row is missing, so both are 1; got {weights:g}, {lora:g}"
        percent = np.isclose(weights, 100 * area) or np.isclose(lora, 100 * edge)
        assert not percent, f"{asked}: these are per cent; a share is from 0 to 1"
        for why, slip in {
            "the weights' share first": (edge, area),
            "these are the shares that are saved; return those that are left": (1 - area, 1 - edge),
        }.items():
            assert not np.allclose((weights, lora), slip), f"{asked}: {why}"
        of_weights = {
            area / 4: "k and v have kv_width · width weights each; only the rows are fewer",
            area**2: "only the rows are fewer: the columns stay width",
            edge: "that is q and o counted too, or an edge: weights are rows · columns",
            float(kv * width): "that is a count of weights: divide it by width · width",
        }
        of_lora = {
            area: "lora_A is as wide as before: r (kv_width + width), not r · kv_width",
            2 * edge: "beside full k and v LoRA has width + width, not width",
            edge / 2: "r (d + k) of both: the 2 of two matrices stands above and below",
            (3 + area) / 4: "of k and v alone: q and o are not asked for",
        }
        for what, count, value, right, names in (
            ("the weights", "d k", weights, area, of_weights),
            ("LoRA's numbers", "r (d + k)", lora, edge, of_lora),
        ):
            names |= {1 / right: "that is full over shared: turn it round"}
            names |= {1 - right: "that share is saved; return the one that is left"}
            lost = "its digits are lost: divide with /, and do not round"
            names |= {round(right, digits): lost for digits in range(1, 5)}
            names |= dict.fromkeys((0, 1), f"not counted yet, or {lost}")
            how = f"{width} × {width} becomes {kv} × {width}: count {count} on both, and divide"
            many = value / right
            if abs(many) > 1.5 and np.isclose(many, round(many)):
                how = f"that is right times {many:,.0f}: is it divided, and are brackets missing?"
            if width != 4096:  # for that it is right
                how = "right for (4096, 1024), not here: is a number fixed that must change?"
            why = next((why for wrong, why in names.items() if np.isclose(value, wrong)), how)
            good = np.isclose(value, right)
            assert good, f"{asked}: of {what}, {value:g}, should be {right:.4g}: {why}"


def _positions(got: Any, asked: str, count: int) -> list[int]:
    """Return positions as sorted integers, or say what was given instead."""
    several = isinstance(got, (list, tuple, set, np.ndarray))
    assert several, f"return a list of positions, got {got!r} {asked}"
    items = got.tolist() if isinstance(got, np.ndarray) else list(got)
    nested = any(isinstance(item, (tuple, list, np.ndarray)) for item in items)
    assert not nested, f"return positions alone, such as [0, 2], got {got!r}"
    flags = len(items) == count and all(isinstance(item, (bool, np.bool_)) for item in items)
    assert not flags, f"return the positions of the forged ones, not a flag for each, {asked}"
    whole = all(isinstance(item, (Integral, np.integer)) for item in items)
    assert whole, f"positions are whole numbers, got {got!r}"
    return sorted(int(item) for item in items)


ALL = "you call all forged: are base and one_rank those given, and a pair (trainable, all)?"


@check
def check_forged(forged: Callable) -> None:
    """``forged(printouts, base, one_rank)``: the difference, and a whole rank."""
    base, one = 1000, 12
    sound = [(one * r, base + one * r) for r in (1, 256, 10)]
    bare, odd, less, more = (24, base), (30, base + 30), (36, base + 24), (36, base + 48)
    cases = [
        ([bare, sound[0], odd, (31, base), less, sound[1], more, (1024, 2024)], [0, 2, 3, 4, 6, 7]),
        ([sound[0], bare, bare, sound[2]], [1, 2]),
        ([odd, *sound], [0]),
        ([(30, 1024), *sound, more], [0, 4]),
        (sound, []),
    ]  # fmt: skip
    base_8b, one_8b = 8_030_261_248, 425_984
    near = [
        (n * one_8b + more, base_8b + n * one_8b + more) for n, more in ((8, 0), (9, 1), (3, -1))
    ]
    questions = [(printouts, base, one, right) for printouts, right in cases]
    for printouts, base, one, right in [*questions, (near, base_8b, one_8b, [1, 2])]:
        asked = f"for printouts {printouts}, base {base:,}, one rank {one:,}"
        got = call(forged, printouts=list(printouts), base=base, one_rank=one)
        got = _positions(got, asked, len(printouts))
        sound_ones = [i for i in range(len(printouts)) if i not in right]
        for slip, why in (
            (sound_ones, "these are the sound ones"),
            ([i + 1 for i in right], "positions count from 0"),
            (right[:1], "only the first is returned: go on to the end"),
            ([1, 3], "these are the forged ones on the page: judge the list that you get"),
        ):
            assert got == right or got != slip, f"{why}; got {got} {asked}"
        twice = [i for i in got if got.count(i) > 1]
        assert not twice, (
            f"position {twice[0]} stands twice in {got}: two tests are one question, with or (and "
            "list.index finds the first of two equal printouts only)"
        )
        bases = [i for i, (trained, total) in enumerate(printouts) if total - trained != base]
        ranks = [i for i, (trained, _) in enumerate(printouts) if trained % one]
        why = {
            str(right[:-1]): ": was the last one looked at?",
            str(right[1:]): ": was the first one looked at?",
            str([i for i in bases if i in ranks]): ": one broken rule is enough: or, not and",
            str(bases): ": a wrong difference is found, a wrong rank is not: how is it tested?",
            str(ranks): ": a wrong rank is found, a wrong difference is not: how is it tested?",
            str([*range(len(printouts))]): f": {ALL}",
        }.get(str(got), "")
        for i in sorted({*got} ^ {*right}):
            assert i in range(len(printouts)), f"there is no position {i}, got {got} {asked}"
            trained, total = printouts[i]
            given = f"position {i}, ({trained}, {total}) with base {base:,} and one rank {one:,},"
            left = f"{total:,} - {trained:,} is {total - trained:,}"
            broken = f"{left}, not the base"
            if total - trained == base:
                broken = f"{trained:,} is no multiple of {one:,}"
            if one == one_8b:
                why = f": {trained / one:.7f} is no whole rank: may anything be rounded?"
            assert i not in right, f"{given} is forged: {broken}{why}"
            whole = f"{left}, the base, and {trained:,} is {trained // one} · {one:,}"
            raise AssertionError(f"{given} can be printed: {whole}{why}")


def _rank_slips(shapes: list[tuple[int, int]], budget: int, size: int) -> dict[int, str]:
    """Return the ranks that slips lead to, and how each slip is named."""
    edge, area = sum(d + k for d, k in shapes), sum(d * k for d, k in shapes)
    each = [d + k for d, k in shapes]
    alike = "all are counted as if they had one shape: add up d + k of each"
    square = "a matrix is no square here: d + k, not two times one of them"
    costs = {
        edge: f"each number takes {size} bytes",
        edge / size: "divide by the bytes of a number, do not multiply",
        size * edge / 8: "size is in bytes, not in bits",
        size * area: "r d k is no count of LoRA's: it is r (d + k)",
        size * each[0]: "only the first shape is counted",
        size * each[-1]: "only the last shape is counted",
        size * len(each) * min(each): alike,
        size * len(each) * max(each): alike,
        size * sum({*each}): "the same shape in another block costs again (a set keeps one)",
        size * edge * 32: "the list holds every block already",
        size * sum(d for d, _ in shapes): "lora_A is missing: r k more",
        size * sum(k for _, k in shapes): "lora_B is missing: r d more",
        size * sum(2 * d for d, _ in shapes): square,
        size * sum(2 * k for _, k in shapes): square,
        size * edge * 1e6 / 2**20: "the budget is in bytes as it is: not in MiB",
    }
    whole = budget // (size * edge)
    counted = "bytes are counted for each number, as in training, or bits"
    names = {
        budget // (n * edge): f"{n} {counted}: each number takes {size} bytes"
        for n in range(2, 64)
        if n != size
    }
    return (
        names
        | {int(budget / cost): why for cost, why in costs.items()}
        | {
            budget
            // 10**6
            * 10**6
            // (size * edge): "the budget is rounded to megabytes: keep bytes",
            sum(budget // (size * one) for one in each): "all share one budget: add up their costs",
            (budget - size * area)
            // (size * edge): "the file holds LoRA's numbers, no frozen ones",
            budget // edge * size: "divide by the bytes of a number, do not multiply",
            2 ** (whole.bit_length() - 1): "that is a power of two: any whole number is a rank",
            whole
            + 1: "one more than fits: rounded up or to the nearest, or one turn of a loop too many",
            whole - 1: "one less than fits: does a loop end too early, or not count from r = 1?",
            budget // size * edge: "without brackets, budget // size · edge multiplies",
            edge * size: "that is what one rank costs: how often does it fit?",
            whole * size * edge: "that is the size in bytes, and not the rank",
        }
    )


@check
def check_largest_rank(largest_rank: Callable) -> None:
    """``largest_rank(shapes, budget, size)``: budget // (size · Σ (d + k))."""
    qv = [(4096, 4096), (1024, 4096)] * 32
    linear = qv + [(1024, 4096), (4096, 4096), (14_336, 4096), (14_336, 4096), (4096, 14_336)] * 32
    small = [(30, 12), (50, 25)] * 3, 1_500_000, 2
    results = []
    for name, (shapes, budget, size) in {
        "[(30, 12), (50, 25)] * 3": small,
        "q and v": (qv, 10_000_000, 2),
        "all seven": (linear, 10_000_000, 2),
        "q and v, in 32 bits": (qv, 50_000_000, 4),
        "q and v, a budget that fits exactly": (qv, 8 * 2 * sum(map(sum, qv)), 2),
        "[(5, 4), (3, 4), (1, 2)]": ([(5, 4), (3, 4), (1, 2)], 19_000, 1),
        "q and v, too little for r = 1": (qv, 100_000, 2),
    }.items():
        asked = f"largest_rank of {name}, {budget:,} bytes, {size} a number"
        got = call(largest_rank, shapes=list(shapes), budget=budget, size=size)
        got = _number(got, asked, "return a number")
        assert got == int(got), f"{asked}: a rank is a whole number, got {float(got):g}: cut it"
        cost = size * sum(map(sum, shapes))
        results.append((int(got), budget // cost, cost, asked))
    (first, right, _, asked), *page = results[:3]
    slips = _rank_slips(*small)
    assert first == right or first not in slips, f"{asked}: {first}: {slips.get(first)}"
    hint = ""
    if all(got == right for got, right, *_ in page):
        hint = " (for the lists of the text it is right: is a number of theirs fixed?)"
    elif len({got for got, *_ in results}) == 1:
        hint = " (for all lists you return the same: is it fixed?)"
    elif first != right:
        hint = f" ({first / right:.3g} times what fits: what is counted too often, or left out?)"
    for place, (got, right, cost, asked) in enumerate(results):
        hint *= place < 4  # what comes then is a question of the edge
        assert got <= right, f"{asked}: {got} takes {got * cost:,} bytes: too many{hint}"
        assert got == right, f"{asked}: {got} fits, but {right} fits too{hint}"
