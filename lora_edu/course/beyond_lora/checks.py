"""Checks: DoRA's count and its axis, NF4 by hand, which variant when."""

from collections.abc import Callable
from typing import Any

import numpy as np

from lora_edu.course.checks import call, check, compare, numbers


def _refuse(got: Any, wrong: dict[str, Any], atol: float = 1e-8) -> None:
    """Refuse each wrong value by its name."""
    for why, value in wrong.items():
        assert np.shape(got) != np.shape(value) or not np.allclose(got, value, atol=atol), why


@check
def check_dora_extra(dora_extra: Callable) -> None:
    """``dora_extra(shapes)`` sums d over the shapes (d, k): a magnitude for each output."""
    shapes = [(11008, 4096), (1024, 4096), (1024, 4096)]  # d above k, and below
    got = numbers(call(dora_extra, shapes=shapes), "the count")
    assert not got.ndim, f"return one number, got shape {got.shape}"
    d, k = np.array(shapes).sum(0)
    _refuse(got, {
        "one for each input: a magnitude belongs to a row, so to an output": k,
        "one for each input and each output: only rows have a magnitude": d + k,
        "one for each matrix: each of its rows has its own": len(shapes),
        "each number of the matrix has one: it is one for each row": sum(d * k for d, k in shapes),
        "only the first matrix is counted": shapes[0][0],
        "equal shapes count each time: two matrices, two magnitudes": 11008 + 1024,
        "the shorter side is not always d: rows of (d, k) are counted": sum(map(min, shapes)),
        "the longer side is not always d: rows of (d, k) are counted": sum(map(max, shapes)),
    })  # fmt: skip
    assert got == d, f"for {shapes}: {d}, got {got:g}"


@check
def check_dora_weight(dora_weight: Callable) -> None:
    """``dora_weight(W0, lora_A, lora_B, scaling, magnitude)``: the rows of V, made so long."""
    rng, s = np.random.default_rng(0), 3.0
    W0, A, B = rng.normal(size=(4, 4)), rng.normal(size=(2, 4)), rng.normal(size=(4, 2))
    m = np.array([1.0, 2, 3, 4])
    got = call(dora_weight, W0=W0, lora_A=A, lora_B=B, scaling=s, magnitude=m)
    got, V = numbers(got, "W"), W0 + s * B @ A
    assert got.shape == W0.shape, f"W must have shape {W0.shape}, got {got.shape}"
    rows, columns = np.linalg.norm(V, axis=1), np.linalg.norm(V, axis=0)
    _refuse(got, {
        "the wrong axis: these are the norms of the columns, one for each input": m / columns * V,
        "norms of columns, laid on the rows: axis 0 is summed away, keep it": (m / columns * V.T).T,
        "the norms are those of the rows, but [:, None] is missing: they meet the columns":
            m / rows * V,
        "the norm is that of W0: it must be that of V, which has moved":
            (m / np.linalg.norm(W0, axis=1))[:, None] * V,
        "the norm of the whole matrix: each row has its own": m[:, None] * V / np.linalg.norm(V),
        "only W0 was made so long: s BA belongs inside, V is what has length m":
            (m / np.linalg.norm(W0, axis=1))[:, None] * W0 + s * B @ A,
        "scaling is missing":
            (m / np.linalg.norm(W0 + B @ A, axis=1))[:, None] * (W0 + B @ A),
        "the magnitude is missing: the rows have length 1": V / rows[:, None],
        "the rows are not divided by their norms": m[:, None] * V,
        "that is V: length and direction are not taken apart": V,
    })  # fmt: skip
    compare(got, (m / rows)[:, None] * V, "W")


BLOCK = np.array([1.0, -2.0, 0.1, 0.6])  # to be quantised by hand


@check
def check_by_hand(absmax: Any, codes: Any, restored: Any) -> None:
    """``BLOCK`` in NF4: its absmax, four codes, and the numbers that come back."""
    from lora_edu.quantize import nf4_levels

    levels = nf4_levels().double().numpy()
    scale, codes = numbers(absmax, "absmax"), numbers(codes, "codes")
    _refuse(scale, {
        "that is the largest: -2 is larger without its sign": 1.0,
        "the largest *absolute* value": -2.0,
    })  # fmt: skip
    assert scale.tolist() == 2, f"absmax is one number, 2, got {scale}"
    assert codes.shape == (4,), f"four codes, got shape {codes.shape}"
    right = np.abs(BLOCK[:, None] / 2 - levels).argmin(1)
    _refuse(codes, {
        "these are levels: a code is the place of one, from 0 to 15": levels[right],
        "places count from 0, as in Python: yours count from 1": right + 1,
        "that is the level below: take the nearer one": [12, 0, 7, 10],
        "0.5 is nearer to the level of code 12: compare three digits": [13, 0, 8, 11],
        "divide by absmax first": np.abs(BLOCK[:, None] - levels).argmin(1),
    }, atol=0.006)  # fmt: skip
    compare(codes, right.astype(float), "codes")
    restored = numbers(restored, "restored")
    assert restored.shape == (4,), f"four numbers come back, got shape {restored.shape}"
    _refuse(restored, {
        "multiply by absmax again": levels[right],
        "that is the block itself: what comes back is rounded": BLOCK,
    }, atol=0.006)  # fmt: skip
    wrong = np.abs(restored - 2 * levels[right]) > 0.011  # levels may be rounded to two digits
    assert not wrong.any(), f"restored[{wrong.argmax()}] is {restored[wrong][0]:g}"


RIGHT = {"memory": ["nf4"], "rank": ["rslora", "lora+"], "gains": ["dora"]}  # a larger scale, twice
CHANGES = {
    "nf4": "how the frozen weights are stored, nothing else",
    "rslora": "the scale, for large r, nothing else",
    "dora": "the form: each output gets a length of its own",
    "lora+": "the learning rate of B, nothing else",
    "pissa": "the start; the form and the memory stay",
    "lora-fa": "what trains: half as much; the frozen weights, most of the memory, stay",
}


@check
def check_choice(choice: Any) -> None:
    """``choice``: situation → variant, for the three situations of the exercise."""
    whole = isinstance(choice, dict) and choice.keys() == RIGHT.keys()
    assert whole, f"a dict: {', '.join(RIGHT)} → variant, got {choice!r}"
    for situation, right in RIGHT.items():
        got = choice[situation]
        if got is None or got is ...:
            raise NotImplementedError
        assert got in CHANGES, f"{situation}: one of {', '.join(CHANGES)}, got {got!r}"
        assert got in right, f"{situation}: not {got}. It changes {CHANGES[got]}"
