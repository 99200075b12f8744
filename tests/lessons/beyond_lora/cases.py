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
            "the scale": (lambda lora_alpha, r: lora_alpha / r**0.5, "that is rsLoRA's scale"),
            "plain scale": (lambda lora_alpha, r: lora_alpha / r, "that is plain LoRA's scale"),
            "times r": (lambda lora_alpha, r: lora_alpha * r, "your alpha is divided by r again"),
            "the factor": (lambda lora_alpha, r: r**0.5, "without alpha"),
            "the same": (lambda lora_alpha, r: lora_alpha, "gives another scale"),
            "divided": (lambda lora_alpha, r: lora_alpha / r**1.5, "multiply by r"),
            "a pair": (lambda lora_alpha, r: [lora_alpha, r**0.5], "return one number"),
            "half": (lambda lora_alpha, r: lora_alpha * r**0.5 / 2, "9.487, should be 18.97"),
            "no return": (loses_return, "is the `return` missing"),
        },
    ),
    checks.check_loraplus_groups: (
        groups,
        {
            "A is fast": (lambda n, lr, ratio: groups(n, lr, ratio, "lora_A"), "not lora_A"),
            "all slow": (lambda n, lr, ratio: groups(n, lr, 1), "no lora_B learns faster"),
            "slower": (
                lambda n, lr, ratio: groups(n, lr, 1 / ratio),
                "faster, not slower",
            ),
            "ratio alone": (lambda n, lr, ratio: groups(n, lr, ratio / lr), "that is ratio alone"),
            "added": (lambda n, lr, ratio: groups(n, lr, ratio / lr + 1), "that is their sum"),
            "the head is fast": (head_too, "the head learns at lr"),
            "frozen": (lambda *a: groups(*a, frozen=True), "is frozen: nothing to optimise"),
            "no head": (strips_alone, "'gate.B' trains, and is in no group"),
            "twice": (slow_too, "is in 2 groups"),
            "with names": (with_names, "hand over the parameters alone"),
            "one group": (lambda *a: groups(*a)[0], "return a list of groups"),
            "no rates": (lambda *a: [{"params": g["params"]} for g in groups(*a)], "a list of gro"),
            "another rate": (
                lambda n, lr, ratio: groups(n, lr, ratio, slow=2 * lr),
                "has lr 1, not 0.5",
            ),
            "through it twice": (through_it_twice, "gone through only 1 time"),
            "always 16": (lambda n, lr, ratio: groups(n, lr, 16), "has lr 4, not 1.5"),
            "by a capital B": (lambda *a: groups(*a, fast="B"), "'gate.B' is no lora_B"),
            "a rate in words": (lambda n, lr, ratio: groups(n, lr, ratio, slow="slow"), "a number"),
            "no return": (loses_return, "is the `return` missing"),
        },
    ),
    checks.check_pissa: (
        pissa,
        {
            "no s": (lambda W0, r, s: pissa_without(W0, r, s), "s is missing"),
            "times s": (lambda W0, r, s: pissa_without(W0, r, s, 1 / s), "divide by s"),
            "last": (
                lambda W0, r, s: pissa(W0, r, s, at=lambda r: slice(-r, None)),
                "the *last* directions",
            ),
            "no values": (
                lambda W0, r, s: pissa(W0, r, s, lambda x: x**0 / s**0.5, lambda x: x**0 / s**0.5),
                "the singular values are missing",
            ),
            "no values, no s": (
                lambda W0, r, s: pissa(W0, r, s, lambda x: x**0, lambda x: x**0),
                "the singular values are missing, and s",
            ),
            "twice": (
                lambda W0, r, s: pissa(W0, r, s, lambda x: x * s**0.5, lambda x: x * s**0.5),
                "σ is in both strips",
            ),
            "twice, no s": (
                lambda W0, r, s: pissa(W0, r, s, lambda x: x * s, lambda x: x * s),
                "and s is missing",
            ),
            "one root": (
                lambda W0, r, s: pissa(W0, r, s, of_B=lambda x: x**0 / s**0.5),
                "only √σ arrives",
            ),
            "s twice": (
                lambda W0, r, s: pissa(W0, r, s, of_B=lambda x: x**0.5 / s),
                "s is divided out twice",
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
                "that is the strongest part itself",
            ),
            "added": (
                lambda W0, r, s: pissa(W0, r, s, rest=lambda W0, A, B, s: W0 + s * B @ A),
                "added, not taken away",
            ),
            "turned": (
                lambda W0, r, s: (pissa(W0, r, s)[0].T, *pissa(W0, r, s)[1:]),
                "turn it",
            ),
            "B first": (
                lambda W0, r, s: [pissa(W0, r, s)[place] for place in (1, 0, 2)],
                "you return B first",
            ),
            "always 2": (lambda W0, r, s: pissa(W0, 2, s), "A must have shape (1, 3)"),
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
                "the wrong axis",
            ),
            "columns on rows": (
                lambda W0, A, B, s, m: (m / norm(W0, A, B, s, 0))[:, None] * (W0 + s * B @ A),
                "laid on the rows",
            ),
            "no new axis": (
                lambda W0, A, B, s, m: m / norm(W0, A, B, s, 1) * (W0 + s * B @ A),
                "[:, None] is missing",
            ),
            "of W0": (
                lambda W0, A, B, s, m: (m / norm(W0, A, B, 0, 1))[:, None] * (W0 + s * B @ A),
                "that of V",
            ),
            "outside": (
                lambda W0, A, B, s, m: (m / norm(W0, A, B, 0, 1))[:, None] * W0 + s * B @ A,
                "only W0 was made so long",
            ),
            "whole": (
                lambda W0, A, B, s, m: m[:, None] * (W0 + s * B @ A) / norm(W0, A, B, s, None),
                "the norm of the whole matrix",
            ),
            "no scaling": (
                lambda W0, A, B, s, m: dora_weight(W0, A, B, 1, m),
                "scaling is missing",
            ),
            "no magnitude": (
                lambda W0, A, B, s, m: dora_weight(W0, A, B, s, np.ones(len(W0))),
                "the magnitude is missing",
            ),
            "no norm": (lambda W0, A, B, s, m: m[:, None] * (W0 + s * B @ A), "are not divided"),
            "V": (lambda W0, A, B, s, m: W0 + s * B @ A, "not taken apart"),
            "m on columns": (
                lambda W0, A, B, s, m: m * (W0 + s * B @ A) / norm(W0, A, B, s, 1)[:, None],
                "but m on the columns",
            ),
            "norms on columns": (
                lambda W0, A, B, s, m: m[:, None] * (W0 + s * B @ A) / norm(W0, A, B, s, 1),
                "but the norms on the columns",
            ),
            "columns by columns": (
                lambda W0, A, B, s, m: m[:, None] * (W0 + s * B @ A) / norm(W0, A, B, s, 0),
                "axis 1, one for each output",
            ),
            "minus": (lambda W0, A, B, s, m: dora_weight(W0, A, B, -s, m), "*plus* the update"),
            "always 3": (lambda W0, A, B, s, m: dora_weight(W0, A, B, 3, m), "W[0, 0] is"),
            "rows alone": (lambda W0, A, B, s, m: norm(W0, A, B, s, 1), "W must have shape (4, 4)"),
            "twice": (lambda *a: 2 * dora_weight(*a), "W[0, 0] is"),
            "in place": (lambda W0, A, B, s, m: in_place(W0, s * B @ A), "W0 itself was changed"),
        },
    ),
}
