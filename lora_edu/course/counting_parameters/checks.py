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
    for width, kv in ((4096, 1024), (8192, 1024), (64, 64)):
        got = call(shares_left, width=width, kv_width=kv)
        asked = f"shares_left({width}, {kv})"
        both = isinstance(got, (tuple, list, np.ndarray)) and np.shape(got) == (2,)
        assert both, f"{asked}: return two shares, (weights, LoRA's numbers), got {got!r}"
        weights, lora = (float(_number(value, asked, "a share is a number")) for value in got)
        area, edge = kv / width, (kv + width) / (2 * width)
        if kv == width:
            same = np.allclose((weights, lora), 1)
            assert same, f"{asked}: nothing is shared, so both are 1; got {weights:g}, {lora:g}"
            continue
        percent = np.isclose(weights, 100 * area) or np.isclose(lora, 100 * edge)
        assert not percent, f"{asked}: these are per cent; a share is from 0 to 1"
        assert not np.allclose((weights, lora), (edge, area)), f"{asked}: the weights' share first"
        saved = np.allclose((weights, lora), (1 - area, 1 - edge))
        assert not saved, (
            f"{asked}: these are the shares that are saved; return those that are left"
        )
        names = {
            1 / area: "that is full over shared: turn it round",
            1 - area: "that share is saved; return the one that is left",
            area / 4: "k and v have kv_width · width weights each; only the rows are fewer",
            area**2: "only the rows are fewer: the columns stay width",
            (1 + area)
            / 2: "that is q's weights counted too, or an edge: weights are rows · columns",
            float(kv * width): "that is a count of weights: divide it by width · width",
        }
        for wrong, why in names.items():
            assert not np.isclose(weights, wrong), f"{asked}: of the weights, {weights:g}: {why}"
        assert np.isclose(weights, area), f"{asked}: {area:g} of the weights, got {weights:g}"
        names = {
            area: "lora_A is as wide as before: r (kv_width + width), not r · kv_width",
            1 / edge: "that is full over shared: turn it round",
            1 - edge: "that share is saved; return the one that is left",
            2 * edge: "beside full k and v LoRA has width + width, not width",
            edge / 2: "r (d + k) of both: the 2 of two matrices stands above and below",
            (3 + area) / 4: "of k and v alone: q and o are not asked for",
        }
        for wrong, why in names.items():
            assert not np.isclose(lora, wrong), f"{asked}: of LoRA's numbers, {lora:g}: {why}"
        assert np.isclose(lora, edge), f"{asked}: {edge:g} of LoRA's numbers, got {lora:g}"


def _positions(got: Any, asked: str, count: int) -> list[int]:
    """Return positions as sorted integers, or say what was given instead."""
    several = isinstance(got, (list, tuple, set, np.ndarray))
    assert several, f"return a list of positions, got {got!r} for {asked}"
    items = got.tolist() if isinstance(got, np.ndarray) else list(got)
    nested = any(isinstance(item, (tuple, list, np.ndarray)) for item in items)
    assert not nested, f"return positions alone, such as [0, 2], got {got!r}"
    flags = len(items) == count and all(isinstance(item, (bool, np.bool_)) for item in items)
    assert not flags, f"return the positions of the forged ones, not a flag for each: {asked}"
    whole = all(isinstance(item, (Integral, np.integer)) for item in items)
    assert whole, f"positions are whole numbers, got {got!r}"
    return sorted(int(item) for item in items)


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
        asked = f"printouts {printouts}, base {base:,}, one rank {one:,}"
        got = call(forged, printouts=list(printouts), base=base, one_rank=one)
        got = _positions(got, asked, len(printouts))
        if got == right:
            continue
        everyone = list(range(len(printouts)))
        slips = [
            ([i for i in everyone if i not in right], "these are the sound ones"),
            ([i + 1 for i in right], "positions count from 0"),
            (everyone, "not all are forged: compare all - trainable with the base"),
            ([], "some are forged, and none is returned"),
            (right[:1], "only the first is returned: go on to the end"),
            ([i for i, (t, a) in enumerate(printouts) if a - t != base],
             "the difference is tested; a rank must be a whole number, too"),
            ([i for i, (t, _) in enumerate(printouts) if t % one],
             "whole ranks are tested; all - trainable must be the base, too"),
            ([i for i, (t, a) in enumerate(printouts) if t % one and a - t != base],
             "one failed test is enough: or, not and"),
        ]  # fmt: skip
        for slip, why in slips:
            assert got != slip, f"{why}; got {got} for {asked}"
        said = f"{right} are forged" if right else "all of these hold"
        raise AssertionError(f"{said}; got {got} for {asked}")


@check
def check_largest_rank(largest_rank: Callable) -> None:
    """``largest_rank(shapes, budget, size)``: budget // (size · Σ (d + k))."""
    qv = [(4096, 4096), (1024, 4096)] * 32
    linear = qv + [(1024, 4096), (4096, 4096), (14_336, 4096), (14_336, 4096), (4096, 14_336)] * 32
    exact = 8 * 2 * sum(d + k for d, k in qv)
    cases = {
        "q and v": (qv, 10_000_000, 2),
        "all seven": (linear, 10_000_000, 2),
        "q and v, in 32 bits": (qv, 50_000_000, 4),
        "q and v, a budget that fits exactly": (qv, exact, 2),
        "one shape of 30 × 10": ([(30, 10)], 80_000, 2),
        "three uneven shapes": ([(5, 4), (3, 4), (1, 2)], 19_000, 1),
        "q and v, too little for r = 1": (qv, 100_000, 2),
    }
    for name, (shapes, budget, size) in cases.items():
        edge = sum(d + k for d, k in shapes)
        right = budget // (size * edge)
        asked = f"largest_rank of {name}, {budget:,} bytes, {size} a number"
        got = call(largest_rank, shapes=list(shapes), budget=budget, size=size)
        got = _number(got, asked, "return a number")
        assert got == int(got), f"{asked}: a rank is a whole number, got {float(got):g}: cut it"
        got = int(got)
        if got == right:
            continue
        area = sum(d * k for d, k in shapes)
        names = {
            budget // edge: f"each number takes {size} bytes",
            budget * size // edge: "divide by the bytes of a number, do not multiply",
            budget // (size * sum(shapes[-1])): "only the last shape is counted",
            budget // (size * sum(shapes[0])): "only the first shape is counted",
            budget // (size * sum(d for d, _ in shapes)): "lora_A is missing: r k more",
            budget // (size * sum(k for _, k in shapes)): "lora_B is missing: r d more",
            budget * 8 // (size * edge): "size is in bytes, not in bits",
            edge * size: "that is what one rank costs: how often does it fit?",
            right * size * edge: "that is the size in bytes, and not the rank",
        }
        if area and got:
            names[budget // (size * area)] = "r d k is no count of LoRA's: it is r (d + k)"
        assert got not in names, f"{asked}: {got}: {names.get(got)}"
        assert got < right, f"{asked}: {got} takes {got * size * edge:,} bytes: too many"
        assert got == right, f"{asked}: {got} fits, but {right} fits too"
