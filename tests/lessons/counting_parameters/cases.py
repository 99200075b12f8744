"""Answers to the exercises; the wrong ones were given by readers of the lesson."""

from lora_edu.course.counting_parameters import checks


def shares(width, kv):
    return kv / width, (kv + width) / (2 * width)


def with_lora(share):
    """An answer whose share of the weights is right."""
    return lambda width, kv: (kv / width, share(width, kv))


def by(rule):
    """An answer that finds those for which ``rule(trainable, all, base, one_rank)``."""
    return lambda printouts, base, one: [
        i for i, (t, a) in enumerate(printouts) if rule(t, a, base, one)
    ]


forged = by(lambda t, a, base, one: a - t != base or t % one)


def largest(shapes, budget, size):
    return budget // (size * sum(d + k for d, k in shapes))


CASES = {
    checks.check_shares_left: {
        "OK": shares,
        "not 0.625; it is 0.5 · kv_width · width + 0.5 · width²": with_lora(
            lambda w, kv: (w + kv) / 2 * w
        ),
        "is 0.375, not 0.625: that share is saved": with_lora(lambda w, kv: 1 - shares(w, kv)[1]),
        "per cent": lambda w, kv: tuple(100 * share for share in shares(w, kv)),
        "the weights' share comes first": lambda w, kv: shares(w, kv)[::-1],
        "right there alone: do not": lambda w, kv: [round(share, 4) for share in shares(w, kv)],
    },
    checks.check_forged: {
        "OK": forged,
        "30 / 12 is 2.5, not whole. You call forged 3 of 3 with a wrong difference, 0 of 2": by(
            lambda t, a, base, one: a - t != base
        ),
        "is forged: 1,000 - 24 is 976, not the base": by(lambda t, a, base, one: t % one),
        "3,833,857 / 425,984 is 9.00000235": by(
            lambda t, a, base, one: a - t != base or abs(t / one - round(t / one)) > 1e-3
        ),
        "stands twice in [0, 0, 2, 2": lambda *a: sorted(2 * forged(*a)),
        "there is no position -1": lambda *a: [-1, *forged(*a)],
        "not a flag for each": lambda p, *a: [i in forged(p, *a) for i in range(len(p))],
    },
    checks.check_largest_rank: {
        "OK": largest,
        "costs you 5,040 bytes, not 10,080: yours is Σ d + Σ k": lambda s, budget, size: largest(
            s, budget, 1
        ),
        "you return 1 for a budget of 1 byte": lambda *a: largest(*a) + 1,
        "a budget of as many is enough": lambda s, budget, size: largest(s, budget - 1, size),
        "whatever budget may be": lambda s, budget, size: size * sum(map(sum, s)),
        "rounded to megabytes": lambda s, b, size: largest(s, b // 10**6 * 10**6, size),
        "64 fits, but 2136 fits too: 64 is a power": lambda *a: min(64, largest(*a)),
    },
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [
    ("batch=1, length=512)\ntotal", "batch=4, length=2048)\ntotal", range(1, 4)),
    ("batch=1, length=4096)", "batch=1, length=2048)", 1),
]
