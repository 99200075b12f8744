"""Answers to the exercises."""

import numpy as np
from lessons import in_place, loses_return

from lora_edu.course.beyond_lora import checks


def svd(M):
    return np.linalg.svd(M, full_matrices=False)


def groups(named, lr, ratio, fast="lora_B", slow=None, frozen=False):
    trains = [(name, p) for name, p in named if frozen or p.requires_grad]
    return [
        {"params": [p for name, p in trains if not name.endswith(fast)], "lr": slow or lr},
        {"params": [p for name, p in trains if name.endswith(fast)], "lr": ratio * lr},
    ]


def strips_alone(named, lr, ratio):
    return groups([(name, p) for name, p in named if "lora" in name], lr, ratio)


def slow_too(named, lr, ratio):
    trains = [p for _, p in named if p.requires_grad]
    return [{"params": trains, "lr": lr}, groups(named, lr, ratio)[1]]


def head_too(named, lr, ratio):
    trains = [(name, p) for name, p in named if p.requires_grad]
    return [
        {"params": [p for name, p in trains if name.endswith("lora_A")], "lr": lr},
        {"params": [p for name, p in trains if not name.endswith("lora_A")], "lr": ratio * lr},
    ]


def with_names(named, lr, ratio):
    pairs = [(name, p) for name, p in named if p.requires_grad]
    return [
        {"params": [(name, p) for name, p in pairs if not name.endswith("lora_B")], "lr": lr},
        {"params": [(name, p) for name, p in pairs if name.endswith("lora_B")], "lr": ratio * lr},
    ]


def through_it_twice(named, lr, ratio):
    slow = [p for name, p in named if p.requires_grad and not name.endswith("lora_B")]
    fast = [p for name, p in named if p.requires_grad and name.endswith("lora_B")]
    return [{"params": slow, "lr": lr}, {"params": fast, "lr": ratio * lr}]


def pissa(W0, r, s, of_A=np.sqrt, of_B=np.sqrt, at=slice, rest=lambda W0, A, B, s: W0 - s * B @ A):
    U, S, Vt = svd(W0)
    which = at(r)
    A, B = of_A(S[which] / s)[:, None] * Vt[which], U[:, which] * of_B(S[which] / s)
    return A, B, rest(W0, A, B, s)


def pissa_without(W0, r, s, share=1.0):
    A, B, _ = pissa(W0, r, share)
    return A, B, W0 - s * B @ A


def dora_weight(W0, A, B, s, m):
    V = W0 + s * B @ A
    return (m / np.linalg.norm(V, axis=1))[:, None] * V


def norm(W0, A, B, s, axis):
    return np.linalg.norm(W0 + s * B @ A, axis=axis)


CASES = {
    checks.check_plain_alpha: (
        lambda lora_alpha, r: lora_alpha * r**0.5,
        {
            "the scale": (lambda lora_alpha, r: lora_alpha / r**0.5, "yours = 1 · alpha · r^-0.5"),
            "plain scale": (lambda lora_alpha, r: lora_alpha / r, "yours = 1 · alpha · r^-1, and"),
            "times r": (
                lambda lora_alpha, r: lora_alpha * r,
                "yours = 1 · alpha · r, and should be alpha · r^0.5",
            ),
            "the factor": (lambda lora_alpha, r: r**0.5, "yours = 1 · r^0.5"),
            "the same": (lambda lora_alpha, r: lora_alpha, "r**(1//2) is 1"),
            "divided": (lambda lora_alpha, r: lora_alpha / r**1.5, "yours = 1 · alpha · r^-1.5"),
            "a pair": (lambda lora_alpha, r: [lora_alpha, r**0.5], "return one number"),
            "half": (lambda lora_alpha, r: lora_alpha * r**0.5 / 2, "yours = 0.5 · alpha · r^0.5"),
            "no return": (loses_return, "is the `return` missing"),
        },
    ),
    checks.check_loraplus_groups: (
        groups,
        {
            "A is fast": (
                lambda n, lr, ratio: groups(n, lr, ratio, "lora_A"),
                "fc1.lora_A has lr 8",
            ),
            "all slow": (lambda n, lr, ratio: groups(n, lr, 1), "has lr 0.5, not 8: lora_B learns"),
            "slower": (
                lambda n, lr, ratio: groups(n, lr, 1 / ratio),
                "divided by ratio",
            ),
            "ratio alone": (lambda n, lr, ratio: groups(n, lr, ratio / lr), "that is ratio alone"),
            "added": (lambda n, lr, ratio: groups(n, lr, ratio / lr + 1), "that is their sum"),
            "the head is fast": (head_too, "only a lora_B learns so fast"),
            "frozen": (lambda *a: groups(*a, frozen=True), "is frozen: nothing to optimise"),
            "no head": (strips_alone, "'gate.B' trains, and is in no group"),
            "twice": (slow_too, "is in 2 groups"),
            "with names": (with_names, "hand over the parameters alone"),
            "one group": (lambda *a: groups(*a)[0], "return a list of groups"),
            "no rates": (lambda *a: [{"params": g["params"]} for g in groups(*a)], "has no 'lr'"),
            "by shape": (
                lambda named, *a: groups(
                    [(f"{n}lora_B" if len(p) > p[0].numel() > 1 else n, p) for n, p in named], *a
                ),
                "head.weight has lr 8, not 0.5",
            ),
            "one twice": (lambda *a: 2 * groups(*a)[:1], "one dictionary twice"),
            "at once": (lambda *a: groups(*a)[:0], "inside the loop"),
            "both slower": (
                lambda n, lr, ratio: groups(n, lr / ratio, ratio),
                "fc1.lora_A has lr 0.03125, not 0.5: divided by ratio",
            ),
            "another rate": (
                lambda n, lr, ratio: groups(n, lr, ratio, slow=2 * lr),
                "has lr 1, not 0.5",
            ),
            "through it twice": (through_it_twice, "gone through only 1 time"),
            "always 16": (lambda n, lr, ratio: groups(n, lr, 16), "that is 16 times lr"),
            "by a capital B": (lambda *a: groups(*a, fast="B"), "gate.B has lr 8, not 0.5"),
            "a rate in words": (lambda n, lr, ratio: groups(n, lr, ratio, slow="slow"), "a number"),
            "no return": (loses_return, "is the `return` missing"),
        },
    ),
    checks.check_pissa: (
        pissa,
        {
            "no s": (lambda W0, r, s: pissa_without(W0, r, s), "should be Σ / s = 3.333 · Σ"),
            "times s": (
                lambda W0, r, s: pissa_without(W0, r, s, 1 / s),
                "= 0.3 · Σ",
            ),
            "of the page": (lambda W0, r, s: pissa_without(W0, r, s, 8 / r), "= 0.375 · Σ"),
            "rounded": (
                lambda W0, r, s: pissa(W0, r, s, *2 * [lambda x: x.round(1) ** 0.5]),
                "is anything rounded",
            ),
            "last": (
                lambda W0, r, s: pissa(W0, r, s, at=lambda r: slice(-r, None)),
                "A's rows are rows of Vᵀ [3, 4, 5], and should be the first 3",
            ),
            "no values": (
                lambda W0, r, s: pissa(W0, r, s, lambda x: x**0 / s**0.5, lambda x: x**0 / s**0.5),
                "= 3.333",
            ),
            "no values, no s": (
                lambda W0, r, s: pissa(W0, r, s, lambda x: x**0, lambda x: x**0),
                "[1. 1. 1.] = 1",
            ),
            "twice": (
                lambda W0, r, s: pissa(W0, r, s, lambda x: x * s**0.5, lambda x: x * s**0.5),
                "= 3.333 · Σ^2",
            ),
            "twice, no s": (
                lambda W0, r, s: pissa(W0, r, s, lambda x: x * s, lambda x: x * s),
                "= 1 · Σ^2",
            ),
            "one root": (
                lambda W0, r, s: pissa(W0, r, s, of_B=lambda x: x**0 / s**0.5),
                "= 3.333 · Σ^0.5",
            ),
            "s twice": (
                lambda W0, r, s: pissa(W0, r, s, of_B=lambda x: x**0.5 / s),
                "= 11.11 · Σ",
            ),
            "all in B": (
                lambda W0, r, s: pissa(W0, r, s, of_A=lambda x: x**0, of_B=lambda x: x),
                "share σ / s",
            ),
            "W0 stays": (
                lambda W0, r, s: pissa(W0, r, s, rest=lambda W0, A, B, s: W0),
                "that is W0",
            ),
            "rest without s": (
                lambda W0, r, s: pissa(W0, r, s, rest=lambda W0, A, B, s: W0 - B @ A),
                "s is missing in W0",
            ),
            "the part": (
                lambda W0, r, s: pissa(W0, r, s, rest=lambda W0, A, B, s: s * B @ A),
                "holds these parts: [1. 1. 1. 0. 0.]",
            ),
            "added": (
                lambda W0, r, s: pissa(W0, r, s, rest=lambda W0, A, B, s: W0 + s * B @ A),
                "holds these parts: [2. 2. 2. 1. 1.]",
            ),
            "turned": (
                lambda W0, r, s: (pissa(W0, r, s)[0].T, *pissa(W0, r, s)[1:]),
                "turn it",
            ),
            "B first": (
                lambda W0, r, s: [pissa(W0, r, s)[place] for place in (1, 0, 2)],
                "you return B first",
            ),
            "always 2": (
                lambda W0, r, s: pissa(W0, 2, s),
                "A has shape (2, 5), and must have (3, 5), for r = 3",
            ),
            "both turned": (
                lambda W0, r, s: (*(one.T for one in pissa(W0, r, s)[:2]), pissa(W0, r, s)[2]),
                "both are turned",
            ),
            "two": (lambda W0, r, s: pissa(W0, r, s)[:2], "return three arrays"),
            "in place": (lambda W0, r, s: in_place(W0, -W0 / 2), "W0 itself was changed"),
            "no return": (loses_return, "is the `return` missing"),
        },
    ),
    checks.check_dora_weight: (
        dora_weight,
        {
            "columns": (
                lambda W0, A, B, s, m: m / norm(W0, A, B, s, 0) * (W0 + s * B @ A),
                "lies on each *column* of V",
            ),
            "columns on rows": (
                lambda W0, A, B, s, m: (m / norm(W0, A, B, s, 0))[:, None] * (W0 + s * B @ A),
                "the norm of the columns, laid on the rows",
            ),
            "no new axis": (
                lambda W0, A, B, s, m: m / norm(W0, A, B, s, 1) * (W0 + s * B @ A),
                "lies on each *column* of V",
            ),
            "of W0": (
                lambda W0, A, B, s, m: (m / norm(W0, A, B, 0, 1))[:, None] * (W0 + s * B @ A),
                "= 1 · m · ‖V‖ · ‖W0‖^-1, not m",
            ),
            "outside": (
                lambda W0, A, B, s, m: (m / norm(W0, A, B, 0, 1))[:, None] * W0 + s * B @ A,
                "row 0 is 4.646 · W0 +1.000 · s BA",
            ),
            "whole": (
                lambda W0, A, B, s, m: m[:, None] * (W0 + s * B @ A) / norm(W0, A, B, s, None),
                "the norm of the whole matrix",
            ),
            "no scaling": (
                lambda W0, A, B, s, m: dora_weight(W0, A, B, 1, m),
                "your V is W0 +1 · BA, and should be W0 +3 · BA",
            ),
            "no magnitude": (
                lambda W0, A, B, s, m: dora_weight(W0, A, B, s, np.ones(len(W0))),
                "[1. 1. 1. 1. 1.] = 1, not m",
            ),
            "no norm": (
                lambda W0, A, B, s, m: m[:, None] * (W0 + s * B @ A),
                "= 1 · m · ‖V‖, not m",
            ),
            "V": (lambda W0, A, B, s, m: W0 + s * B @ A, "= 1 · ‖V‖, not m"),
            "m on columns": (
                lambda W0, A, B, s, m: m * (W0 + s * B @ A) / norm(W0, A, B, s, 1)[:, None],
                "lies on each *column* of V",
            ),
            "norms on columns": (
                lambda W0, A, B, s, m: m[:, None] * (W0 + s * B @ A) / norm(W0, A, B, s, 1),
                "lies on each *column* of V",
            ),
            "columns by columns": (
                lambda W0, A, B, s, m: m[:, None] * (W0 + s * B @ A) / norm(W0, A, B, s, 0),
                "axis=1, and [:, None]",
            ),
            "minus": (
                lambda W0, A, B, s, m: dora_weight(W0, A, B, -s, m),
                "your V is W0 -3 · BA",
            ),
            "always 3": (
                lambda W0, A, B, s, m: dora_weight(W0, A, B, 3, m),
                "your V is W0 +3 · BA, and should be W0 +0.5 · BA",
            ),
            "rows alone": (lambda W0, A, B, s, m: norm(W0, A, B, s, 1), "W must have shape (5, 5)"),
            "twice": (lambda *a: 2 * dora_weight(*a), "= 2 · m, not m"),
            "W0": (lambda W0, *_: W0.copy(), "your V is W0 +0 · BA"),
            "squares": (
                lambda W0, A, B, s, m: dora_weight(W0, A, B, s, m / norm(W0, A, B, s, 1)),
                "= 1 · m · ‖V‖^-1, not m",
            ),
            "by r again": (
                lambda W0, A, B, s, m: dora_weight(W0, A, B, s / len(A), m),
                "your V is W0 +0.6 · BA, and should be W0 +3 · BA, for scaling = 3 (and r = 5)",
            ),
            "turned": (
                lambda *a: dora_weight(*a).T,
                "an output is a row",
            ),
            "A first": (
                lambda W0, A, B, s, m: dora_weight(W0, B, A, s, m),
                "B comes first",
            ),
            "in place": (lambda W0, A, B, s, m: in_place(W0, s * B @ A), "W0 itself was changed"),
        },
    ),
}
