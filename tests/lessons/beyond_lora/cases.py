"""Answers to the exercises."""

import numpy as np

from lora_edu.course.beyond_lora import checks


def sorted_out(fast):
    """An answer in which those learn fast for which ``fast(name)``."""

    def groups(named, lr, ratio):
        trains = [(name, p) for name, p in named if p.requires_grad]
        return [
            {"params": [p for name, p in trains if not fast(name)], "lr": lr},
            {"params": [p for name, p in trains if fast(name)], "lr": ratio * lr},
        ]

    return groups


groups = sorted_out(lambda name: name.endswith("lora_B"))


def frozen_too(named, lr, ratio):
    named = list(named)
    slow, fast = groups(named, lr, ratio)
    return [slow, {**fast, "params": fast["params"] + [p for _, p in named if not p.requires_grad]}]


def through_it_twice(named, lr, ratio):
    slow = [p for name, p in named if p.requires_grad and not name.endswith("lora_B")]
    fast = [p for name, p in named if p.requires_grad and name.endswith("lora_B")]
    return [{"params": slow, "lr": lr}, {"params": fast, "lr": ratio * lr}]


def pissa(W0, r, s, power=0.5):
    U, S, Vt = np.linalg.svd(W0, full_matrices=False)
    A = (S[:r] / s)[:, None] ** (1 - power) * Vt[:r]
    B = U[:, :r] * (S[:r] / s) ** power
    return A, B, W0 - s * B @ A


def with_rest(rest):
    """An answer whose strips are right, and whose W0 is ``rest(W0, B @ A)``."""

    def answer(W0, r, s):
        A, B, _ = pissa(W0, r, s)
        return A, B, rest(W0, B @ A)

    return answer


def without_s(W0, r, s):
    A, B, _ = pissa(W0, r, 1.0)
    return A, B, W0 - s * B @ A


def dora_weight(W0, A, B, s, m):
    V = W0 + s * B @ A
    return (m / np.linalg.norm(V, axis=1))[:, None] * V


def norm(M, axis=1):
    return np.linalg.norm(M, axis=axis)


CASES = {
    checks.check_plain_alpha: {
        "OK": lambda lora_alpha, r: lora_alpha * r**0.5,
        "plain LoRA with yours by 0.1992. Yours is lora_alpha · r^-0.5": lambda a, r: a / r**0.5,
        "Yours is lora_alpha · r (in": lambda a, r: a * r,
        "is something rounded or cut?": lambda a, r: int(a * r**0.5),
        "plain LoRA with yours by 2.093": lambda a, r: a * np.log2(r),
    },
    checks.check_loraplus_groups: {
        "OK": groups,
        "gate.B has lr 8, not 0.5: only a lora_B learns so fast": sorted_out(
            lambda name: name.endswith("B")
        ),
        "is frozen: nothing to optimise": frozen_too,
        "has no 'lr'": lambda *a: [{"params": group["params"]} for group in groups(*a)],
        "one dictionary twice": lambda *a: 2 * groups(*a)[:1],
        "inside the loop": lambda *a: groups(*a)[:0],
        "gone through only 1 time": through_it_twice,
    },
    checks.check_pissa: {
        "OK": pissa,
        "strengths [3.428 1.579 1.366] = σ, and not [11.425  5.262  4.553] = 3.333": without_s,
        "share σ / s": lambda W0, r, s: pissa(W0, r, s, power=1),
        "B @ A comes -1 times, not -0.3 times": with_rest(lambda W0, product: W0 - product),
        "lora_A has shape (2, 5), not (3, 5), for r = 3": lambda W0, r, s: pissa(W0, 2, s),
    },
    checks.check_dora_weight: {
        "OK": dora_weight,
        "lies on each *column* of V": lambda W0, A, B, s, m: (
            m / norm(W0 + s * B @ A) * (W0 + s * B @ A)
        ),
        "= m · ‖V‖ · ‖W0‖^-1, not m": lambda W0, A, B, s, m: (
            (m / norm(W0))[:, None] * (W0 + s * B @ A)
        ),
        "your V is W0 +1 · BA, and should be W0 +3 · BA": lambda W0, A, B, s, m: dora_weight(
            W0, A, B, 1, m
        ),
        "W0 is missing": lambda W0, *rest: dora_weight(0 * W0, *rest),
        "return the weight, no change": lambda W0, *rest: dora_weight(W0, *rest) - W0,
        "row by row, W is not made of": lambda W0, A, B, s, m: (W0 + s * B @ A) ** 2,
    },
}

# What a learner may change on the page, and how many of its sentences are false then.
PLAYED = [
    ("moved(lora_alpha=32, lr=1e-3)", "moved(lora_alpha=32, lr=2e-3)", 1),
]
