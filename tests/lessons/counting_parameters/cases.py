"""Answers to the exercises; the wrong ones were given by readers of the lesson."""

import numpy as np

from lora_edu.course.counting_parameters import checks


def shares(width, kv):
    return kv / width, (kv + width) / (2 * width)


def forged(printouts, base, one_rank):
    return [i for i, (t, a) in enumerate(printouts) if a - t != base or t % one_rank]


def largest(shapes, budget, size):
    return budget // (size * sum(d + k for d, k in shapes))


def first_only(printouts, base, one_rank):
    for i, (trainable, everything) in enumerate(printouts):
        if everything - trainable != base or trainable % one_rank:
            return [i]
    return []


CASES = {
    checks.check_shares_left: (
        lambda width, kv_width: shares(width, kv_width),
        {
            "brackets": (
                lambda w, kv: (kv / w, (w + kv) / 2 * w),
                "that is right times 16,777,216",
            ),
            "per cent": (lambda w, kv: tuple(100 * s for s in shares(w, kv)), "per cent"),
            "turned": (lambda w, kv: shares(w, kv)[::-1], "the weights' share first"),
            "A shrinks": (lambda w, kv: (kv / w, kv / w), "lora_A is as wide as before"),
            "squared": (lambda w, kv: ((kv / w) ** 2, 0.5), "the columns stay width"),
            "saved": (lambda w, kv: tuple(1 - s for s in shares(w, kv)), "shares that are saved"),
            "one saved": (lambda w, kv: (kv / w, 1 - shares(w, kv)[1]), "that share is saved"),
            "inverse": (lambda w, kv: (w / kv, 1), "full over shared"),
            "counts": (lambda w, kv: (kv * w, kv + w), "that is a count of weights"),
            "edge": (lambda w, kv: ((kv + w) / (2 * w),) * 2, "weights are rows · columns"),
            "one width": (lambda w, kv: (kv / w, (kv + w) / w), "LoRA has width + width"),
            "one number": (lambda w, kv: kv / w, "return two shares"),
            "a text": (lambda w, kv: (f"{kv / w}", 1), "a share is a number"),
            "a constant": (lambda w, kv: (0.25, 0.625), "is a number fixed that must change?"),
            "Llama's width": (
                lambda w, kv: (kv / w, (4096 + kv) / 8192),
                "of LoRA's numbers, 0.625, should be 0.5625: right for (4096, 1024), not here",
            ),
            "whole division": (lambda w, kv: (kv // w, (kv + w) // (2 * w)), "divide with /"),
            "rounded": (lambda w, kv: tuple(round(s, 4) for s in shares(w, kv)), "do not round"),
            "r d + k": (
                lambda w, kv: (kv / w, (8 * kv + w) / (8 * w + w)),
                "4096 × 4096 becomes 1024 × 4096: count r (d + k) on both",
            ),
            "all four": (lambda w, kv: (kv / w, (3 + kv / w) / 4), "q and o are not asked for"),
        },
    ),
    checks.check_forged: (
        forged,
        {
            "the sound": (
                lambda p, base, one: [i for i in range(len(p)) if i not in forged(p, base, one)],
                "these are the sound ones",
            ),
            "difference": (
                lambda p, base, one: [i for i, (t, a) in enumerate(p) if a - t != base],
                "(30, 1030) with base 1,000 and one rank 12, is forged: 30 is no multiple of 12",
            ),
            "ranks": (
                lambda p, base, one: [i for i, (t, _) in enumerate(p) if t % one],
                "is forged: 1,000 - 24 is 976, not the base",
            ),
            "and": (
                lambda p, base, one: [i for i, (t, a) in enumerate(p) if a - t != base and t % one],
                "one broken rule is enough",
            ),
            "without the last": (lambda *a: forged(*a)[:-1], "was the last one looked at?"),
            "from 1": (lambda *a: [i + 1 for i in forged(*a)], "count from 0"),
            "the pairs": (lambda p, *a: [p[i] for i in forged(p, *a)], "positions alone"),
            "first only": (first_only, "only the first is returned"),
            "none": (lambda *a: [], "position 0, (24, 1000) with"),
            "all": (lambda p, *a: list(range(len(p))), "1,012 - 12 is 1,000, the base"),
            "the page's": (lambda *a: [1, 3], "judge the list that you get"),
            "out of range": (lambda *a: [-1, *forged(*a)], "there is no position -1"),
            "listed twice": (
                lambda p, base, one: [
                    i for i, (t, a) in enumerate(p) for bad in (a - t != base, t % one) if bad
                ],
                "position 3 stands twice",
            ),
            "flags": (
                lambda p, *a: [i in forged(p, *a) for i in range(len(p))],
                "not a flag for each",
            ),
            "np.where": (lambda *a: (np.array(forged(*a)),), "positions alone"),
            "texts": (lambda *a: [str(i) for i in forged(*a)], "positions are whole numbers"),
            "how many": (lambda *a: len(forged(*a)), "return a list of positions"),
            "too small only": (
                lambda p, base, one: [i for i, (t, a) in enumerate(p) if a - t < base or t % one],
                "1,048 - 36 is 1,012, not the base",
            ),
            "powers of two": (
                lambda p, base, one: [
                    i
                    for i, (t, a) in enumerate(p)
                    if a - t != base or t / one not in [2**n for n in range(11)]
                ],
                "120 is 10 · 12",
            ),
            "rounded": (
                lambda p, base, one: [
                    i for i, (t, a) in enumerate(p) if a - round(t / one) * one != base
                ],
                "1,024 - 30 is 994",
            ),
            "nearly whole": (
                lambda p, base, one: [
                    i
                    for i, (t, a) in enumerate(p)
                    if a - t != base or abs(t / one - round(t / one)) > 1e-3
                ],
                "3,833,857 is no multiple of 425,984",
            ),
        },
    ),
    checks.check_largest_rank: (
        largest,
        {
            "one more": (lambda *a: largest(*a) + 1, "too many"),
            "not whole": (
                lambda shapes, budget, size: budget / (size * sum(map(sum, shapes))),
                "a rank is a whole number",
            ),
            "no bytes": (
                lambda shapes, budget, size: budget // sum(map(sum, shapes)),
                "each number takes 2 bytes",
            ),
            "times": (
                lambda shapes, budget, size: budget * size // sum(map(sum, shapes)),
                "do not multiply",
            ),
            "first": (lambda s, b, size: largest(s[:1], b, size), "only the first shape"),
            "last": (lambda s, b, size: largest(s[-1:], b, size), "only the last shape"),
            "B only": (
                lambda s, b, size: b // (size * sum(d for d, _ in s)),
                "lora_A is missing",
            ),
            "A only": (
                lambda s, b, size: b // (size * sum(k for _, k in s)),
                "lora_B is missing",
            ),
            "its size": (
                lambda s, b, size: largest(s, b, size) * size * sum(map(sum, s)),
                "that is the size in bytes",
            ),
            "its cost": (lambda s, b, size: size * sum(map(sum, s)), "how often does it fit?"),
            "area": (
                lambda s, b, size: b // (size * sum(d * k for d, k in s)),
                "r d k is no count of LoRA's",
            ),
            "squares": (lambda s, b, size: b // (size * sum(2 * d for d, _ in s)), "no square"),
            "a set": (lambda s, b, size: largest({*s}, b, size), "the same shape in another block"),
            "no brackets": (
                lambda s, b, size: b // size * sum(map(sum, s)),
                "without brackets",
            ),
            "each alone": (
                lambda s, b, size: sum(b // (size * sum(one)) for one in s),
                "all share one budget",
            ),
            "two bytes": (lambda s, b, size: largest(s, b, 2), "is a number of theirs fixed?"),
            "megabytes": (
                lambda s, b, size: largest(s, b // 10**6 * 10**6, size),
                "rounded to megabytes",
            ),
            "at least 1": (lambda *a: max(1, largest(*a)), "too many"),
            "strictly less": (
                lambda s, b, size: largest(s, b - 1, size),
                "7 fits, but 8 fits too",
            ),
            "up to 64": (
                lambda *a: min(64, largest(*a)),
                "64 fits, but 2136 fits too (for the lists",
            ),
            "a text": (lambda *a: str(largest(*a)), "return a number"),
        },
    ),
}
