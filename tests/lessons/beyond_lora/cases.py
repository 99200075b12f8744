"""Answers to the exercises."""

import numpy as np

from lora_edu.course.beyond_lora import checks


def sorted_out(fast, lr=lambda lr, ratio: (lr, ratio * lr), trains=lambda name, p: p.requires_grad):
    """An answer that finds the fast ones by ``fast(name)``, and sets the two rates."""

    def groups(named, rate, ratio):
        used = [(name, p) for name, p in named if trains(name, p)]
        slow_rate, fast_rate = lr(rate, ratio)
        return [
            {"params": [p for name, p in used if not fast(name)], "lr": slow_rate},
            {"params": [p for name, p in used if fast(name)], "lr": fast_rate},
        ]

    return groups


def is_B(name):
    return name.endswith("lora_B")


groups = sorted_out(is_B)


def with_rates(lr):
    return sorted_out(is_B, lr)


def slow_too(named, lr, ratio):
    trains = [p for _, p in named if p.requires_grad]
    return [{"params": trains, "lr": lr}, groups(named, lr, ratio)[1]]


def with_names(named, lr, ratio):
    return [{"params": [pair for pair in named if pair[1].requires_grad], "lr": lr}]


def through_it_twice(named, lr, ratio):
    slow = [p for name, p in named if p.requires_grad and not is_B(name)]
    fast = [p for name, p in named if p.requires_grad and is_B(name)]
    return [{"params": slow, "lr": lr}, {"params": fast, "lr": ratio * lr}]


def pissa(W0, r, s, of_A=np.sqrt, of_B=np.sqrt, at=slice, rest=lambda W0, A, B, s: W0 - s * B @ A):
    U, S, Vt = np.linalg.svd(W0, full_matrices=False)
    which = at(r)
    A, B = of_A(S[which] / s)[:, None] * Vt[which], U[:, which] * of_B(S[which] / s)
    return A, B, rest(W0, A, B, s)


def pissa_with(**what):
    return lambda W0, r, s: pissa(W0, r, s, **what)


def without_s(W0, r, s):
    A, B, _ = pissa(W0, r, 1.0)
    return A, B, W0 - s * B @ A


def dora_weight(W0, A, B, s, m):
    V = W0 + s * B @ A
    return (m / np.linalg.norm(V, axis=1))[:, None] * V


def from_v(weight):
    """An answer that returns ``weight(V, m)``."""
    return lambda W0, A, B, s, m: weight(W0 + s * B @ A, m)


def norm(M, axis=1):
    return np.linalg.norm(M, axis=axis)


CASES = {
    checks.check_plain_alpha: (
        lambda lora_alpha, r: lora_alpha * r**0.5,
        {
            "plain LoRA with yours by 0.1992. Yours is lora_alpha · r^-0.5": lambda a, r: (
                a / r**0.5
            ),
            "Yours is lora_alpha · r (in": lambda a, r: a * r,
            "Yours is r^0.5": lambda a, r: r**0.5,
            "Yours is 0.5 · lora_alpha · r^0.5": lambda a, r: a * r**0.5 / 2,
            "is something rounded or cut?": lambda a, r: int(a * r**0.5),
            "plain LoRA with yours by 2.093": lambda a, r: a * np.log2(r),
        },
    ),
    checks.check_loraplus_groups: (
        groups,
        {
            "fc1.lora_A has lr 8, not 0.5": sorted_out(lambda name: name.endswith("lora_A")),
            "gate.B has lr 8, not 0.5: only a lora_B learns so fast": (
                sorted_out(lambda name: name.endswith("B"))
            ),
            '"lr" is a number, got': with_rates(lambda lr, ratio: ("slow", ratio * lr)),
            "is frozen: nothing to optimise": sorted_out(is_B, trains=lambda name, p: True),
            "'gate.B' trains, and is in no group": sorted_out(
                is_B, trains=lambda name, p: "lora" in name
            ),
            "is in 2 groups": slow_too,
            "hand over the parameters alone": with_names,
            "a tensor that is no parameter of": lambda *a: [
                {"params": [np.e * a[0][1][1]], "lr": 1}
            ],
            "return a list of groups": lambda *a: groups(*a)[0],
            "has no 'lr'": lambda *a: [{"params": group["params"]} for group in groups(*a)],
            "one dictionary twice": lambda *a: 2 * groups(*a)[:1],
            "inside the loop": lambda *a: groups(*a)[:0],
            "gone through only 1 time": through_it_twice,
        },
    ),
    checks.check_pissa: (
        pissa,
        {
            "strengths [3.428 1.579 1.366] = σ, and not [11.425  5.262  4.553] = 3.333": without_s,
            "= 3.333 · σ^0.5": pissa_with(of_B=lambda x: x**0 / 0.3**0.5),
            "the directions [3, 4, 5]": pissa_with(at=lambda r: slice(-r, None)),
            "share σ / s": pissa_with(of_A=lambda x: x**0, of_B=lambda x: x),
            "yours is W0: without B @ A": pissa_with(rest=lambda W0, A, B, s: W0),
            "B @ A comes -1 times, not -0.3 times": pissa_with(rest=lambda W0, A, B, s: W0 - B @ A),
            "turn it": lambda *a: (pissa(*a)[0].T, *pissa(*a)[1:]),
            "lora_A has shape (2, 5), not (3, 5), for r = 3": lambda W0, r, s: pissa(W0, 2, s),
            "its rows are no mixtures of the first rows of Vᵀ": lambda *a: (
                pissa(*a)[0] + 1,
                *pissa(*a)[1:],
            ),
        },
    ),
    checks.check_dora_weight: (
        dora_weight,
        {
            "lies on each *column* of V": from_v(lambda V, m: m / norm(V) * V),
            "the norm of columns, laid on the rows": from_v(
                lambda V, m: (m / norm(V, 0))[:, None] * V
            ),
            "the whole matrix": from_v(lambda V, m: m[:, None] * V / norm(V, None)),
            "a sum of absolute values": from_v(lambda V, m: (m / abs(V).sum(1))[:, None] * V),
            "= m · ‖V‖ · ‖W0‖^-1, not m": (
                lambda W0, A, B, s, m: (m / norm(W0))[:, None] * (W0 + s * B @ A)
            ),
            "row 0 of yours is 7.496 · W0 + 3 · BA: add W0 and": (
                lambda W0, A, B, s, m: (m / norm(W0))[:, None] * W0 + s * B @ A
            ),
            "your V is W0 +1 · BA, and should be W0 +3 · BA": (
                lambda W0, A, B, s, m: dora_weight(W0, A, B, 1, m)
            ),
            "= 1, not m": from_v(lambda V, m: V / norm(V)[:, None]),
            "W0 is missing": lambda W0, *rest: dora_weight(0 * W0, *rest),
            "return the weight, no change": lambda W0, *rest: dora_weight(W0, *rest) - W0,
            "only rows [0] are done": lambda W0, *rest: np.vstack(
                [dora_weight(W0, *rest)[:1], W0[1:]]
            ),
            "an output is a row": lambda *a: dora_weight(*a).T,
            "not lora_B @ lora_A, but lora_A @ lora_B": lambda W0, A, B, s, m: dora_weight(
                W0, B, A, s, m
            ),
            "in V it is W0, not W0.T": lambda W0, *rest: (
                dora_weight(W0.T, *rest) if len(W0) == len(W0.T) else W0
            ),
            "right but for its digits": lambda *a: dora_weight(*a).round(2),
            "row by row, W is not made of": from_v(lambda V, m: V**2),
            "W has shape (6,), not (6, 6)": from_v(lambda V, m: norm(V)),
        },
    ),
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [
    ("moved(lora_alpha=32, lr=1e-3)", "moved(lora_alpha=32, lr=2e-3)", 1),
]
