"""Answers to the exercises; the wrong ones were given by readers of the lesson."""

from lora_edu.course.counting_parameters import checks


def shares(width, kv):
    return kv / width, (kv + width) / (2 * width)


def with_lora(share):
    """An answer whose share of the weights is right."""
    return lambda width, kv: (kv / width, share(width, kv))


def forged(printouts, base, one):
    return [i for i, (t, a) in enumerate(printouts) if a - t != base or t % one]


def by(rule):
    """An answer that finds those for which ``rule(trainable, all, base, one_rank)``."""
    return lambda printouts, base, one: [
        i for i, (t, a) in enumerate(printouts) if rule(t, a, base, one)
    ]


def listed_twice(printouts, base, one):
    tests = by(lambda t, a, base, one: a - t != base), by(lambda t, a, base, one: t % one)
    return [i for test in tests for i in test(printouts, base, one)]


def largest(shapes, budget, size):
    return budget // (size * sum(d + k for d, k in shapes))


def costing(cost):
    """An answer for which one rank costs ``cost(shapes, size)``."""
    return lambda shapes, budget, size: int(budget / cost(shapes, size))


CASES = {
    checks.check_shares_left: (
        shares,
        {
            "not 0.625; it is 0.5 · kv_width · width + 0.5 · width²": (
                with_lora(lambda w, kv: (w + kv) / 2 * w)
            ),
            "it is width^-1 · kv_width: count LoRA's numbers, r (d + k)": (
                with_lora(lambda w, kv: kv / w)
            ),
            "is 0.375, not 0.625: that share is saved": with_lora(
                lambda w, kv: 1 - shares(w, kv)[1]
            ),
            "per cent": lambda w, kv: tuple(100 * share for share in shares(w, kv)),
            "the weights' share comes first": lambda w, kv: shares(w, kv)[::-1],
            "shares that are saved": lambda w, kv: tuple(1 - share for share in shares(w, kv)),
            "of the weights your share for (4096, 1024) is 0, not 0.25: do not round": (
                lambda w, kv: (kv // w, (kv + w) // (2 * w))
            ),
            "right there alone: do not": lambda w, kv: [round(share, 4) for share in shares(w, kv)],
        },
    ),
    checks.check_forged: (
        forged,
        {
            "30 / 12 is 2.5, not whole. You call forged 3 of 3 with a wrong difference, 0 of 2": (
                by(lambda t, a, base, one: a - t != base)
            ),
            "is forged: 1,000 - 24 is 976, not the base": by(lambda t, a, base, one: t % one),
            "3,833,857 / 425,984 is 9.00000235": (
                by(lambda t, a, base, one: a - t != base or abs(t / one - round(t / one)) > 1e-3)
            ),
            "these are the sound ones": (
                lambda p, base, one: [i for i in range(len(p)) if i not in forged(p, base, one)]
            ),
            "was the last one looked at?": lambda *a: forged(*a)[:-1],
            "there is no position -1": lambda *a: [-1, *forged(*a)],
            "stands twice in [0, 2, 3, 3": listed_twice,
            "positions alone": lambda p, *a: [p[i] for i in forged(p, *a)],
            "not a flag for each": lambda p, *a: [i in forged(p, *a) for i in range(len(p))],
            "positions are whole numbers": lambda *a: [str(i) for i in forged(*a)],
            "return a list of positions": lambda *a: len(forged(*a)),
        },
    ),
    checks.check_largest_rank: (
        largest,
        {
            "costs you 5,040 bytes, not 10,080: yours is Σ d + Σ k": (
                costing(lambda shapes, size: sum(map(sum, shapes)))
            ),
            "yours is Σ (d + k) / size": costing(lambda shapes, size: sum(map(sum, shapes)) / size),
            "you return 1 for a budget of 1 byte": lambda *a: largest(*a) + 1,
            "a budget of as many is enough": lambda s, budget, size: largest(s, budget - 1, size),
            "whatever budget may be": lambda s, budget, size: size * sum(map(sum, s)),
            "rounded to megabytes": lambda s, b, size: largest(s, b // 10**6 * 10**6, size),
            "is the size in bytes, and not the rank": (
                lambda s, budget, size: largest(s, budget, size) * size * sum(map(sum, s))
            ),
            "64 fits, but 2136 fits too: 64 is a power": lambda *a: min(64, largest(*a)),
            "70 fits, but 2136 fits too: does a search end": lambda *a: min(70, largest(*a)),
            "a rank is a whole number": lambda s, b, size: b / (size * sum(map(sum, s))),
        },
    ),
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [
    ("batch=1, length=512)\ntotal", "batch=4, length=2048)\ntotal", range(1, 4)),
    ("batch=1, length=4096)", "batch=1, length=2048)", 1),
]
