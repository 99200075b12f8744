"""Checks: what arrives, a loop without drift, rounding by dice."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lora_edu.course import checks as tools


def _total(arrays: NDArray) -> NDArray:
    return arrays.sum(axis=(1, 2))


def _length(arrays: NDArray) -> NDArray:
    return _total(arrays.astype(float) ** 2) ** 0.5


@tools.check
def check_arrived(arrived: Callable) -> None:
    """``arrived(W0, delta)``: ⟨W - W0, ΔW⟩ / ‖ΔW‖² for W = W0 + ΔW rounded to the type of W0.

    Over many examples, what is returned is a product of powers of lengths, or a known slip.
    """
    rng, half, many = np.random.default_rng(3), np.float16, (9, 12, 12)
    W0 = (rng.uniform(0.5, 2, (9, 1, 1)) * rng.standard_normal(many)).astype(half)
    sizes = rng.permutation(np.geomspace(0.0003, 0.002, 9))[:, None, None]
    delta = (sizes * rng.standard_normal(many)).astype(np.float32)
    got = np.array([_share(arrived, *pair) for pair in zip(W0, delta, strict=True)])
    stored, d, low = W0.astype(float), delta.astype(float), delta.astype(half)
    step, narrow = (W0 + delta).astype(half) - stored, W0 + low - W0
    dot, whole = _total(step * d), _total(d**2)
    right = dot / whole
    if np.allclose(got, right, 2e-4):
        _share(arrived, np.ones((4, 3), half), np.ones((4, 3), np.float32))  # not only squares
        return
    slips = {
        "more than ΔW can arrive, too: do not cut the share at 1": right.clip(max=1),
        "a sum above and below, or a mean above and below": right / d[0].size,
        "multiply entry by entry, and sum: @ is the product of matrices": _total(step @ d) / whole,
        "multiply the step by ΔW, entry by entry, before you sum": _total(step) / _total(d),
        "that is the share of weights that move, however far": np.mean(step != 0, axis=(1, 2)),
        "that is the share of weights that stay": np.mean(step == 0, axis=(1, 2)),
        "take the step, W - W0, not W itself": _total((stored + step) * d) / whole,
        "the update is to be added": _total(((W0 - delta).astype(half) - stored) * d) / whole,
        "sum over all weights, then divide: that is a mean of shares": _total(step / d) / 144,
        "np.round goes to whole numbers: .astype(W0.dtype)": (
            _total((np.round(W0 + delta) - stored) * d) / whole
        ),
        "float16 cannot hold such squares: round the sum, then take more digits": (
            _total(narrow * low) / _total(low * low)
        ),
    }
    tools.slip(got, slips.items())
    assert np.ptp(got), f"it is {got[0]:.4g} whatever W0 and delta may be: are they used?"
    nearly = "nearly all arrives: round the sum (astype returns it, W stays), not delta alone"
    assert not np.allclose(got, 1, atol=2e-3), nearly
    assert not np.allclose(got, 100 * right, atol=0.6), "a share is of 1, not of 100"
    shown = f"for the first W0 and delta it is {got[0]:.5g}, should be {right[0]:.5g}"
    lengths = {
        "⟨W - W0, ΔW⟩": dot,
        "‖ΔW‖": _length(d),
        "‖W - W0‖": _length(step),
        "‖W - W0 - ΔW‖": _length(step - d),
        "‖W0‖": _length(W0),
        "σ₁(ΔW)": np.linalg.norm(d, 2, axis=(1, 2)),
    }
    made, less = tools.as_product(got, lengths), tools.as_product(1 - got, lengths)
    assert not made, f"{shown}: yours is {made}. The step is W - W0: which share of ΔW is it?"
    assert "·" not in less, f"{shown}: yours is 1 less {less}, which is not what arrives"
    rounded = np.allclose(got, right, atol=0.06) and np.allclose(got, got.round(3))
    assert not rounded, f"{shown}: return all digits"
    now = _share(arrived, half([[1, 2], [2, 2]]), np.float32([[7, 4], [4, 4]]) / 10_000)
    raise AssertionError(
        "W0 = [[1, 2], [2, 2]], delta = [[7, 4], [4, 4]] / 10,000: W - W0 is 0.00098, and zeros; "
        f"9.8 · 7 / (7² + 3 · 4²) = 0.7 arrives; you return {now:.4g}; and {shown}"
    )


def _share(arrived: Callable, W0: NDArray, delta: NDArray) -> float:
    return tools.number(tools.call(arrived, W0=W0, delta=delta), "the share")


WAYS = ("to the nearest", "down", "up", "to 0, its digits cut off")


@tools.check
def check_roll(roll: Callable) -> None:
    """``roll(place, rng)`` rounds up or down by chance, so that the mean of many is the place."""
    levels, others = np.arange(-3.0, 6.0), np.linspace(-2.95, 8.6, 16).round(2)

    def rolled(place: NDArray, seed: int) -> NDArray:
        got = tools.call(roll, place=place, rng=np.random.default_rng(seed))
        return tools.shaped(got, place.shape, "what is rolled", ": keep the shape of place")

    many = np.tile(np.concatenate([levels, others]), (2500, 1))
    got = rolled(many, 5)
    odd = got[got != np.round(got)]
    assert not odd.size, f"levels are whole numbers, got {odd[0]:g}: round, by dice, one roll each"
    assert not np.isin(got, (0, 1)).all(), "these say who goes up: add them to the level below"
    for why, at in zip(WAYS, (np.round, np.floor, np.ceil, np.trunc), strict=True):
        assert not np.array_equal(got, at(many)), f"that always rounds {why}: where are the dice?"
    of_rng = "throw the dice of the rng that comes in"
    again, anew, other = (rolled(many[:50], seed) for seed in (5, 5, 6))
    assert np.any(other != again), f"with another rng it rolls the same: {of_rng}"
    assert np.array_equal(anew, again), f"with the same rng it rolls anew: {of_rng}"
    moved = np.any(got != many, axis=0)[: len(levels)]
    high, share = got[:, len(levels) :], others - np.floor(others)
    mean = high.mean(axis=0)
    off, up = mean - others, mean - np.floor(others)
    for why, value in {
        "turned round: 2.3 must become 2 more often than 3": 1 - share,
        "2.3 goes up with the chance 0.3: compare the dice with the digits": others.clip(0, 1),
        f"all go up with the chance {up[0]:.1f}: which must 2.3 have, and 2.5?": up[0],
    }.items():
        assert not np.allclose(up, value, atol=0.06), why
    alike = np.ptp(off) < 0.1 and abs(off[0]) > 0.1
    assert not alike, f"2.3 becomes {2.3 + off[0]:.1f} on average, all are off alike: what adds up?"
    below_zero = moved.any() and not moved[levels >= 0].any()
    assert not below_zero, "below zero, int() and trunc go up: floor goes down there, too"
    for roll_far, place in np.argwhere(abs(high - others) >= 1):
        became = f"{others[place]:g} became {high[roll_far, place]:g}"
        raise AssertionError(f"{became}: only the level below or above will do")
    assert not moved.any(), "a place on a level must stay there: 2.0 is always 2"
    fell = high > others  # (rolls, places)
    each = "one for each place, of place.shape"
    assert np.any(fell != fell[0]), f"all rows got the same dice: {each}"
    same = abs(np.corrcoef(fell[:, 3], fell[:, 8])[0, 1]) > 0.1
    assert not same, f"all places of a row got the same dice: {each}"
    at = np.argmax(abs(off))
    why = f"{others[at]:g} becomes {mean[at]:.2f} on average"
    assert abs(off[at]) < 0.04, f"{why}: its chance to go up must be {share[at]:.2f}"
    rolled(others, 5)  # of any shape


COPY = "(kept = W0 and W0 = kept are second names of one array: .copy())"


@tools.check
def check_serve(serve: Callable) -> None:
    """``serve(W0, deltas, use)``: use(W0 + ΔW) for each; at the end W0, to the last bit."""
    rng, seen, end = np.random.default_rng(0), [], None
    W0 = (0.04 * rng.standard_normal((16, 16))).astype(np.float16)
    deltas = (0.01 * rng.standard_normal((50, 16, 16))).astype(np.float32)

    def use(W: NDArray) -> int:
        seen.append(np.array(W))
        return len(seen)

    try:
        end = tools.call(serve, W0=W0.copy(), deltas=deltas, use=use)
    except AssertionError as error:
        assert "W0 itself was changed" in str(error), error  # noqa: PT017
    assert seen, "use was never called: is the loop run? (map and generators wait to be read)"
    assert len(seen) == 50, f"calls of use: {len(seen)}, updates: 50; call it once for each"
    for n, got in enumerate(seen):
        _check_used(n, got, W0, deltas)
    assert end is not None, "W0 itself was changed: put it back in the end, W0[:] = a copy"
    assert not np.array_equal(end, seen[-1]), "the last update is still merged: return W0"
    kind = str(getattr(end, "dtype", W0.dtype)).split(".")[-1]  # torch's name is torch.float16
    assert kind == "float16", f"W0 comes back as {kind}: it is {W0.dtype}"
    end = tools.shaped(end, W0.shape, "what is returned", ": return W0")
    tools.compare(end, W0, "W0", ": it must be back to the last bit")


def _check_used(n: int, got: NDArray, W0: NDArray, deltas: NDArray) -> None:
    """Say what ``use`` got instead of the nth update merged into W0."""
    delta, near = deltas[n], 1e-3 if n else 0
    right = (W0 + delta).astype(np.float16)
    fits = (got.dtype, got.shape) == (right.dtype, right.shape)
    assert fits, f"use got {got.dtype} of shape {got.shape}: round W0 + delta to W0's own type"
    wrong = np.argwhere(got != right)
    if not len(wrong):
        return
    for why, other, close in (
        ("use got W0, before the merge", W0, 0),
        (f"on top of the one before: start from W0 {COPY}", W0 + deltas[: n + 1].sum(0), near),
        ("use got the update alone, without W0", np.float16(delta), 0),
        ("the update was rounded, and the sum: round the sum alone", W0 + np.float16(delta), 0),
        ("the weights have drifted: start each merge from W0, subtract nothing", right, near),
        (f"the kept weights are changed, too {COPY}", W0 + deltas[1 : n + 1].sum(0), near),
    ):
        assert not np.allclose(got, other, 0, close), f"update {n}: {why}"
    i = tuple(wrong[0])
    of = f"{W0[i]:.4f} (W0) + {delta[i]:.4f} (update) is {right[i]:.4f}"
    raise AssertionError(f"update {n}: {of}, use got {got[i]:.4f}")
