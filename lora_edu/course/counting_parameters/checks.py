"""Checks: what shared heads save, forged printouts, a budget of bytes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from lora_edu.course import checks as tools


@tools.check
def check_shares_left(shares_left: Callable) -> None:
    """``shares_left(width, kv_width)``: kv / width, and (kv + width) / (2 width)."""
    width = np.array([4096, 8192, 960, 64, 512, 3072, 2048])
    kv = np.array([1024, 1024, 320, 64, 128, 1024, 1536])
    rows = []
    for w, k in zip(width.tolist(), kv.tolist(), strict=True):
        both = tools.call(shares_left, width=w, kv_width=k)
        both = tools.several(both, ("the weights' share", "LoRA's share"))
        rows.append([tools.number(share, "a share") for share in both])
    shares = np.transpose(rows)
    left, names = kv / width, {"the weights": "d k", "LoRA's numbers": "r (d + k)"}
    right = np.array([left, (left + 1) / 2])
    slips = {
        "the weights' share comes first": right[::-1],
        "these are the shares that are saved; return those that are left": 1 - right,
        "these are per cent; a share is from 0 to 1": 100 * right,
    }
    tools.slip(shares, slips.items())
    bases = {"width": width, "kv_width": kv}
    parts = {"1": np.ones(len(width)), "kv_width / width": left, **bases}
    parts |= {"kv_width · width": kv * width, "width²": width**2}
    for what, wanted, got in zip(names, right, shares, strict=True):
        if np.allclose(got, wanted):
            continue
        made = tools.as_product(got, bases) or tools.told(tools.as_sum(got, parts))
        asked = f"of {what} your share for ({width[0]}, {kv[0]}) is {got[0]:.5g}"
        asked += f", not {wanted[0]:.5g}" if got[0] != wanted[0] else ", which is right there alone"
        rounded = [wanted.round(n) for n in range(5)]
        slips = [("do not round, divide with /", cut) for cut in (*rounded, np.floor(wanted))]
        saved = "that share is saved; return the one that is left", 1 - wanted
        tools.slip(got, [*slips, saved], f"{asked}: ")
        made = "" if made == "0" else f"; it is {made}"
        if np.ptp(got) == 0:
            made = ", and you return the same for every model"
        raise AssertionError(
            f"{asked}{made}: count {what}, {names[what]}, for k and v of {width[0]} rows and of "
            f"{kv[0]}, and divide. The columns stay"
        )


def _positions(got: Any, asked: str, count: int) -> list[int]:
    """Return positions as sorted integers, or say what was given instead."""
    items = got.tolist() if hasattr(got, "tolist") else got  # an array, a tensor
    several = isinstance(items, (list, tuple, set))
    assert several, f"return a list of positions, got {got!r} {asked}"
    nested = any(isinstance(item, (tuple, list)) or np.ndim(item) for item in items)
    assert not nested, f"return positions alone, such as [0, 2], got {got!r}"
    flags = len(items) == count and all(isinstance(item, (bool, np.bool_)) for item in items)
    assert not flags, f"return the positions of the forged ones, not a flag for each, {asked}"
    return sorted(tools.whole(item, "a position") for item in items)


@tools.check
def check_forged(forged: Callable) -> None:
    """``forged(printouts, base, one_rank)``: the difference, and a whole rank."""
    base, one, base_8b, one_8b = 1000, 12, 8_030_261_248, 425_984
    sound = [(one * r, base + one * r) for r in (1, 256, 10)]
    bare, odd, less, more = (24, base), (30, base + 30), (36, base + 24), (36, base + 48)
    near = [(n * one_8b + off, base_8b + n * one_8b + off) for n, off in ((8, 0), (9, 1), (3, -1))]
    for printouts, *of in (
        ([bare, sound[0], odd, (31, base), less, sound[1], more, (1024, 2024)], base, one),
        ([sound[0], bare, bare, sound[2]], base, one),
        ([odd, *sound], base, one),
        ([(30, 1024), *sound, more], base, one),
        (sound, base, one),
        (near, base_8b, one_8b),
    ):
        _check_forged(forged, printouts, *of)


def _check_forged(forged: Callable, printouts: list[tuple[int, int]], base: int, one: int) -> None:
    asked = f"for printouts {printouts}, base {base:,}, one rank {one:,}"
    got = tools.call(forged, printouts=list(printouts), base=base, one_rank=one)
    got = _positions(got, asked, len(printouts))
    kinds = {  # of each printout: is the difference wrong, and the rank?
        i: (total - trained != base, trained % one > 0)
        for i, (trained, total) in enumerate(printouts)
    }
    right = [i for i, wrong in kinds.items() if any(wrong)]
    for why, positions in (
        ("these are the sound ones", [i for i in kinds if i not in right]),
        ("positions count from 0", [i + 1 for i in right]),
        ("only the first is returned: go on to the end", right[:1]),
        ("was the last one looked at?", right[:-1]),
        ("these are the forged ones on the page: judge the list that you get", [1, 3]),
    ):
        assert got == right or got != positions, f"{why}; got {got} {asked}"
    twice = [i for i in got if got.count(i) > 1]
    assert not twice, (
        f"position {twice[:1]} stands twice in {got}: two tests are one question, with or (and "
        "list.index finds the first of two equal printouts only)"
    )
    if got == right:
        return
    every, called = [*kinds.values()], [kinds.get(i) for i in got]
    words = {
        (True, False): "with a wrong difference",
        (False, True): "with a wrong rank",
        (True, True): "with both",
        (False, False): "sound ones",
    }
    found = [
        f"{called.count(kind)} of {every.count(kind)} {what}"
        for kind, what in words.items()
        if kind in every
    ]
    i = min({*got} ^ {*right})
    assert i in kinds, f"there is no position {i}, got {got} {asked}"
    trained, total = printouts[i]
    given = f"position {i}, ({trained}, {total}) with base {base:,} and one rank {one:,},"
    left = f"{total:,} - {trained:,} is {total - trained:,}"
    whole = f"{trained:,} / {one:,} is {trained / one:.9g}"
    says = f"can be printed: {left}, the base, and {whole}"
    if any(kinds[i]):
        wrong = f"{left}, not the base" if kinds[i][0] else f"{whole}, not whole"
        says = f"is forged: {wrong}"
    raise AssertionError(f"{given} {says}. You call forged {', '.join(found)}")


@tools.check
def check_largest_rank(largest_rank: Callable) -> None:
    """``largest_rank(shapes, budget, size)``: budget // (size · Σ (d + k)).

    The least budget for which a rank of 1 comes out is what one rank costs: of what is it made?
    """
    lists = [
        ([(960, 480), (1440, 720), (960, 480)], 2),
        ([(480, 960), (240, 4800)], 4),
        ([(720, 240), (240, 720), (2400, 480), (720, 240)], 5),
        ([(1920, 960)], 1),
        ([(240, 480), (240, 960), (4800, 240)], 3),
        ([(480, 2400), (960, 240)], 8),
        ([(720, 1200)] * 5, 4),
        ([(1200, 720), (960, 960), (240, 1680)], 6),
    ]
    cost = np.array([_first(largest_rank, shapes, size) for shapes, size in lists])
    each: dict[str, Callable] = {
        "Σ d": lambda shapes: sum(d for d, _ in shapes),
        "Σ k": lambda shapes: sum(k for _, k in shapes),
        "Σ d k": lambda shapes: sum(d * k for d, k in shapes),
        "(d + k) of the first shape": lambda shapes: sum(shapes[0]),
        "(d + k) of the last shape": lambda shapes: sum(shapes[-1]),
        "(d + k) of the smallest shape": lambda shapes: min(map(sum, shapes)),
        "(d + k) of the largest shape": lambda shapes: max(map(sum, shapes)),
        "the mean of d + k": lambda shapes: np.mean(shapes) * 2,
        "(d + k) of shapes that differ (a set keeps one)": lambda shapes: sum(map(sum, {*shapes})),
    }
    sizes = np.array([size for _, size in lists])
    others = {name: np.array([of(shapes) for shapes, _ in lists]) for name, of in each.items()}
    others |= {f"size · {name}": sizes * value for name, value in others.items()}
    others |= {"Σ (d + k) / size": (others["Σ d"] + others["Σ k"]) / sizes, "size": sizes}
    both = {name: others[name] for name in ("size · Σ d", "size · Σ k")}
    (shapes, size), right = lists[0], sum(both.values())
    asked = f"for shapes {shapes}, {size} bytes a number,"
    same = tools.ignored(
        largest_rank, {"shapes": shapes, "budget": 30_000, "size": size}, {"budget": 10**9}
    )
    assert not same, f"{same} F{asked[1:]} one rank costs {right[0]} bytes. How often does it fit?"
    always = f"{asked} you return 1 for a budget of 1 byte. Round down, and return 0 if none fits"
    assert cost.max() > 1, always
    fits = f"{asked} a rank of 1 costs {right[0]} bytes, and a budget of as many is enough for it"
    assert not np.array_equal(cost, right + 1), fits
    half = f"{asked} half of the bytes of a rank are enough for you: round down"
    assert not np.allclose(cost, right / 2, atol=2), half
    assert (cost % 10**6).any(), "is the budget rounded to megabytes? Keep bytes"
    try:
        tools.compare_sum(cost, dict.fromkeys(both, 1), both, others)
    except AssertionError as error:
        costs = f"a rank of 1 costs you {cost[0]:,.0f} bytes, not {right[0]:,}"
        raise AssertionError(f"{asked} {costs}: {str(error).split(':')[0]}") from None
    qv = [(4096, 4096), (1024, 4096)] * 32
    for name, shapes, budget, size in (
        ("[(30, 12), (50, 25)] * 3", [(30, 12), (50, 25)] * 3, 1_500_000, 2),
        ("q and v", qv, 10_000_000, 2),
        ("q and v, in 32 bits", qv, 50_000_000, 4),
        ("q and v, a budget that fits exactly", qv, 8 * 2 * sum(map(sum, qv)), 2),
        ("[(5, 4), (3, 4), (1, 2)]", [(5, 4), (3, 4), (1, 2)], 19_000, 1),
        ("q and v, too little for r = 1", qv, 100_000, 2),
    ):
        asked = f"largest_rank of {name}, {budget:,} bytes, {size} a number"
        got = _rank(largest_rank, shapes, budget, size)
        one = size * sum(map(sum, shapes))
        right = budget // one
        why = "does a search end too early?"
        if got == budget // 10**6 * 10**6 // one:
            why = "is the budget rounded to megabytes? Keep bytes"
        elif got & (got - 1) == 0:
            why = f"{got} is a power of two: any whole number is a rank"
        whole = f"{asked}: {got} is the size in bytes, and not the rank"
        assert got != right * one or not right, whole
        assert got <= right, f"{asked}: {got} takes {got * one:,} bytes: too many"
        assert got == right, f"{asked}: {got} fits, but {right} fits too: {why}"


def _rank(largest_rank: Callable, shapes: list[tuple[int, int]], budget: int, size: int) -> int:
    got = tools.call(largest_rank, shapes=list(shapes), budget=budget, size=size)
    rank = tools.number(got, "the rank")
    assert rank == int(rank), f"a rank is a whole number, got {rank:g} for {budget:,} bytes: cut it"
    return int(rank)


def _first(largest_rank: Callable, shapes: list[tuple[int, int]], size: int) -> float:
    """Return the least budget with which the learner affords a rank of 1."""
    low, high = 0, 1
    while _rank(largest_rank, shapes, high, size) < 1:
        low, high = high, 2 * high
        if high > 2**40:
            return np.inf
    while high - low > 1:
        middle = (low + high) // 2
        enough = _rank(largest_rank, shapes, middle, size) >= 1
        low, high = (low, middle) if enough else (middle, high)
    return high
