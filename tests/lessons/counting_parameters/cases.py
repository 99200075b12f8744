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
            "a constant": (lambda w, kv: (0.25, 0.625), "0.125 of the weights, got 0.25"),
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
                "must be a whole number, too",
            ),
            "ranks": (
                lambda p, base, one: [i for i, (t, _) in enumerate(p) if t % one],
                "must be the base, too",
            ),
            "and": (
                lambda p, base, one: [i for i, (t, a) in enumerate(p) if a - t != base and t % one],
                "or, not and",
            ),
            "from 1": (lambda *a: [i + 1 for i in forged(*a)], "count from 0"),
            "the pairs": (lambda p, *a: [p[i] for i in forged(p, *a)], "positions alone"),
            "first only": (first_only, "only the first is returned"),
            "none": (lambda *a: [], "none is returned"),
            "all": (lambda p, *a: list(range(len(p))), "not all are forged"),
            "flags": (
                lambda p, *a: [i in forged(p, *a) for i in range(len(p))],
                "not a flag for each",
            ),
            "np.where": (lambda *a: (np.array(forged(*a)),), "positions alone"),
            "texts": (lambda *a: [str(i) for i in forged(*a)], "positions are whole numbers"),
            "how many": (lambda *a: len(forged(*a)), "return a list of positions"),
            "too small only": (
                lambda p, base, one: [i for i, (t, a) in enumerate(p) if a - t < base or t % one],
                "are forged; got",
            ),
            "powers of two": (
                lambda p, base, one: [
                    i
                    for i, (t, a) in enumerate(p)
                    if a - t != base or t / one not in [2**n for n in range(11)]
                ],
                "are forged; got",
            ),
            "rounded": (
                lambda p, base, one: [
                    i for i, (t, a) in enumerate(p) if a - round(t / one) * one != base
                ],
                "are forged; got",
            ),
            "nearly whole": (
                lambda p, base, one: [
                    i
                    for i, (t, a) in enumerate(p)
                    if a - t != base or abs(t / one - round(t / one)) > 1e-3
                ],
                "none is returned",
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
                lambda s, b, size: max(1, b // (size * sum(d * k for d, k in s))),
                "fits too",
            ),
            "at least 1": (lambda *a: max(1, largest(*a)), "too many"),
            "strictly less": (
                lambda s, b, size: largest(s, b - 1, size),
                "7 fits, but 8 fits too",
            ),
            "up to 64": (lambda *a: min(64, largest(*a)), "fits too"),
            "a text": (lambda *a: str(largest(*a)), "return a number"),
        },
    ),
}
