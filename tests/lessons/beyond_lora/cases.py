"""Answers to the exercises."""

import numpy as np
from lessons import in_place

from lora_edu.course.beyond_lora import checks


def dora_weight(W0, A, B, s, m):
    V = W0 + s * B @ A
    return (m / np.linalg.norm(V, axis=1))[:, None] * V


def norm(W0, A, B, s, axis):
    return np.linalg.norm(W0 + s * B @ A, axis=axis)


RESTORED = [0.8814, -2.0, 0.1592, 0.6758]
RIGHT = {"memory": "nf4", "rank": "rslora", "gains": "dora"}

CASES = {
    checks.check_dora_extra: (
        lambda shapes: sum(d for d, _ in shapes),
        {
            "inputs": (lambda shapes: sum(k for _, k in shapes), "belongs to a row"),
            "both": (lambda shapes: sum(d + k for d, k in shapes), "each input and each output"),
            "one each": (len, "one for each matrix"),
            "all": (lambda shapes: sum(d * k for d, k in shapes), "one for each row"),
            "first": (lambda shapes: shapes[0][0], "only the first matrix"),
            "a set": (lambda shapes: sum(d for d, _ in set(shapes)), "equal shapes count"),
            "shorter": (lambda shapes: sum(map(min, shapes)), "the shorter side"),
            "longer": (lambda shapes: sum(map(max, shapes)), "the longer side"),
            "a list": (lambda shapes: [d for d, _ in shapes], "return one number"),
            "half": (lambda shapes: sum(d for d, _ in shapes) / 2, "13056, got 6528"),
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
                lambda W0, A, B, s, m: dora_weight(W0, A, B, s, np.ones(4)),
                "the magnitude is missing",
            ),
            "no norm": (lambda W0, A, B, s, m: m[:, None] * (W0 + s * B @ A), "are not divided"),
            "V": (lambda W0, A, B, s, m: W0 + s * B @ A, "not taken apart"),
            "rows alone": (lambda W0, A, B, s, m: norm(W0, A, B, s, 1), "W must have shape (4, 4)"),
            "twice": (lambda *a: 2 * dora_weight(*a), "W[0, 0] is"),
            "in place": (lambda W0, A, B, s, m: in_place(W0, s * B @ A), "W0 itself was changed"),
        },
    ),
    checks.check_by_hand: (
        (2, [12, 0, 8, 11], RESTORED),
        {
            "no sign": ((1, [12, 0, 8, 11], RESTORED), "without its sign"),
            "signed": ((-2, [12, 0, 8, 11], RESTORED), "absolute"),
            "levels": ((2, [0.4407, -1, 0.0796, 0.3379], RESTORED), "a code is the place"),
            "from 1": ((2, [13, 1, 9, 12], RESTORED), "count from 0"),
            "below": ((2, [12, 0, 7, 10], RESTORED), "take the nearer one"),
            "not divided": ((2, [15, 0, 8, 13], RESTORED), "divide by absmax first"),
            "two digits": ((2, [13, 0, 8, 11], RESTORED), "compare three digits"),
            "one off": ((2, [11, 0, 8, 11], RESTORED), "codes[0] is 11 and should be 12"),
            "not multiplied": (
                (2, [12, 0, 8, 11], [0.4407, -1, 0.0796, 0.3379]),
                "multiply by absmax again",
            ),
            "not rounded": ((2, [12, 0, 8, 11], [1, -2, 0.1, 0.6]), "comes back is rounded"),
            "a slip": ((2, [12, 0, 8, 11], [0.8814, -2, 0.1592, 0.7]), "restored[3] is 0.7"),
            "half done": ((2, [12, 0, 8, 11], ...), "answer 3 is still to be given"),
            "three": ((2, [12, 0, 8], RESTORED), "four codes"),
        },
    ),
    checks.check_choice: (
        RIGHT,
        {
            "fa for memory": ({**RIGHT, "memory": "lora-fa"}, "memory: not lora-fa"),
            "dora for memory": ({**RIGHT, "memory": "dora"}, "memory: not dora"),
            "pissa for rank": ({**RIGHT, "rank": "pissa"}, "rank: not pissa"),
            "nf4 for rank": ({**RIGHT, "rank": "nf4"}, "rank: not nf4"),
            "rslora for gains": ({**RIGHT, "gains": "rslora"}, "gains: not rslora"),
            "plus for gains": ({**RIGHT, "gains": "lora+"}, "gains: not lora+"),
            "unknown": ({**RIGHT, "gains": "galore"}, "got 'galore'"),
            "a list": (["nf4"], "a dict: memory"),
            "one missing": ({"memory": "nf4"}, "a dict: memory, rank, gains"),
        },
    ),
}
