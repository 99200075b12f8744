"""Answers to the exercises."""

import numpy as np
from lessons import in_place, loses_return

from lora_edu.course.merging import checks


def lost_part(size, u):
    return min(1, 0.42 * u / size)


def serve(W0, deltas, use):
    for delta in deltas:
        use((W0 + delta).astype(W0.dtype))
    return W0


def drifting(W0, deltas, use):
    W = W0.copy()
    for delta in deltas:
        W = (W + delta).astype(W0.dtype)
        use(W)
        W = (W - delta).astype(W0.dtype)
    return W


def drifts_and_comes_home(W0, deltas, use):
    drifting(W0, deltas, use)
    return W0


def serves_drift_at_the_end_only(W0, deltas, use):
    serve(W0, deltas, use)
    return drifting(W0, deltas, lambda W: None)


def piling(W0, deltas, use):
    W = W0
    for delta in deltas:
        W = (W + delta).astype(W0.dtype)
        use(W)
    return W0


def last_stays(W0, deltas, use):
    serve(W0, deltas, use)
    return (W0 + deltas[-1]).astype(W0.dtype)


def subtracts_in_place(W0, deltas, use):
    for delta in deltas:
        W0 += delta.astype(W0.dtype)
        use(W0)
        W0 -= delta.astype(W0.dtype)
    return W0


def rounds_the_update(W0, deltas, use):
    return serve(W0, deltas.astype(W0.dtype), use)


def per_row(x, W0, A, B, which):
    h = np.einsum("nrk,nk->nr", A[which], x)
    return x @ W0.T + np.einsum("ndr,nr->nd", B[which], h)


CASES = {
    checks.check_lost_part: (
        lost_part,
        {
            "the worst": (lambda size, u: min(1, u / size), "the worst case of each weight"),
            "turned over": (
                lambda size, u: min(1, size / u),
                "a larger update must lose a smaller",
            ),
            "product": (lambda size, u: 0.42 * size * u, "a larger update must lose a smaller"),
            "no size": (lambda size, u: 0.42 * u, "a larger update must lose a smaller"),
            "no u": (lambda size, u: min(1, 0.004 / size), "a finer type (a smaller u)"),
            "max": (lambda size, u: max(1, 0.42 * u / size), "less than 1 is lost"),
            "no end": (
                lambda size, u: 0.42 * u / size,
                "more than all cannot be lost, got 1.64e+03",
            ),
            "a tenth": (lambda size, u: min(1, 0.1 * u / size), "size 0.3, u = 2**-8"),
            "squared": (lambda size, u: min(1, (u / size) ** 2), "but measured"),
            "pair": (lambda size, u: (u, size), "one number, got shape (2,)"),
            "no return": (loses_return, "is the `return` missing?"),
        },
    ),
    checks.check_serve: (
        serve,
        {
            "subtracts": (drifting, "update 1: the weights have drifted"),
            "comes home": (drifts_and_comes_home, "the weights have drifted"),
            "drift at the end": (serves_drift_at_the_end_only, "to the last bit"),
            "piles up": (piling, "update 1: on top of the one before"),
            "two roundings": (rounds_the_update, "update 0: the update was rounded before"),
            "last stays": (last_stays, "the last update is still merged"),
            "in place": (subtracts_in_place, "W0 itself was changed"),
            "never answers": (lambda W0, deltas, use: W0, "use was called 0 times"),
            "wide": (
                lambda W0, deltas, use: [use(W0 + delta) for delta in deltas] and W0,
                "use got float32",
            ),
            "too early": (
                lambda W0, deltas, use: [use(W0) for _ in deltas] and W0,
                "update 0: use got W0",
            ),
        },
    ),
    checks.check_stories: (
        (True, False, False, True),
        {
            "phone": ((False, False, False, True), "phone: a small batch, one adapter"),
            "customers": ((True, True, False, True), "customers: a weight holds one adapter"),
            "faint": ((True, False, True, True), "faint: bfloat16 would round"),
            "archive": ((True, False, False, False), "archive: large batches shrink"),
            "word": (("yes", False, False, True), "phone must be True or False, got yes"),
            "three": ((True, False, False, ...), "answer 4 is still to be given"),
        },
    ),
    checks.check_per_row: (
        per_row,
        {
            "no base": (lambda x, W0, *a: per_row(x, 0 * W0, *a), "x W0ᵀ is missing"),
            "no update": (lambda x, W0, *_: x @ W0.T, "the updates are missing"),
            "all": (
                lambda x, W0, A, B, _: x @ (W0 + np.einsum("mdr,mrk->dk", B, A)).T,
                "each row got all adapters",
            ),
            "the first": (
                lambda x, W0, A, B, which: x @ (W0 + B[which[0]] @ A[which[0]]).T,
                "all rows got the first row's",
            ),
            "in turn": (
                lambda x, W0, A, B, _: per_row(x, W0, A, B, np.arange(len(x)) % len(A)),
                "which adapter did that row get?",
            ),
            "columns": (lambda *a: per_row(*a).T, "y must have shape (5, 4)"),
            "in place": (lambda x, *a: in_place(x, 1.0), "x itself was changed"),
        },
    ),
}
