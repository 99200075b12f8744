"""Checks: what arrives, a loop without drift, rounding by dice."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lora_edu.course import checks as tools


def _pair(n: int, k: int, size: float, seed: int) -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    W0 = rng.uniform(0.5, 2) * rng.standard_normal((n, k))
    return W0.astype(np.float16), (size * rng.standard_normal((n, k))).astype(np.float32)


def _measured(W0: NDArray, delta: NDArray) -> tuple[dict[str, float], dict[str, float]]:
    """Return lengths of which a share may be made, and what slips give; the right one first."""
    stored, half, d = W0.astype(float), delta.astype(np.float16), delta.astype(float)
    step, norm = (W0 + delta).astype(np.float16) - stored, np.linalg.norm
    dot, whole, to_whole = np.sum(step * d), np.sum(d**2), np.round(W0 + delta) - stored
    taken = (W0 - delta).astype(np.float16) - stored
    lengths = {
        "⟨step, ΔW⟩": dot,
        "‖ΔW‖": norm(d),
        "‖step‖": norm(step),
        "‖step - ΔW‖": norm(step - d),
        "‖W0‖": norm(stored),
        "σ₁(ΔW)": norm(d, 2),
        "their number": d.size,
    }
    slips = {
        "right": dot / whole,
        "more than ΔW can arrive, too: do not cut the share at 1": min(dot / whole, 1.0),
        "multiply entry by entry, and sum: @ is the product of matrices": (step @ d).sum() / whole,
        "multiply entry by entry: step @ ΔW.T is a product": np.sum(step @ d.T) / whole,
        "multiply the step by ΔW, entry by entry, before you sum": step.sum() / d.sum(),
        "that is the share of weights that move, however far": np.mean(step != 0),
        "that is the share of weights that stay": np.mean(step == 0),
        "‖ΔW‖² is the sum of the squares, not the square of the sum": dot / d.sum() ** 2,
        "take the step, W - W0, not W itself": np.sum((stored + step) * d) / whole,
        "the update is to be added, W0 + delta": np.sum(taken * d) / whole,
        "sum over all weights, then divide: that is a mean of shares": np.mean(step / d),
        "multiply the step by ΔW: amounts have no side": abs(step).sum() / abs(d).sum(),
        "np.round goes to whole numbers: .astype(W0.dtype)": np.sum(to_whole * d) / whole,
        "float16 cannot hold such squares: round the sum, then take more digits": (
            np.sum((W0 + half - W0) * half) / np.sum(half * half)
        ),
    }
    return lengths, slips


@tools.check
def check_arrived(arrived: Callable) -> None:
    """``arrived(W0, delta)``: ⟨W - W0, ΔW⟩ / ‖ΔW‖² for W = W0 + ΔW rounded to the type of W0.

    Over many examples, what is returned is a product of powers of lengths, or a known slip.
    """
    sizes = (0.0006, 0.001, 0.0003, 0.002, 0.0008, 0.0004, 0.0012, 0.0005, 0.0007)
    pairs = [_pair(12 + i % 3, 12 + i % 3, size, i) for i, size in enumerate(sizes)]
    got = np.array(
        [tools.number(tools.call(arrived, W0=W0, delta=d), "the share") for W0, d in pairs]
    )
    rows = [_measured(*pair) for pair in pairs]
    lengths = {name: np.array([row[0][name] for row in rows]) for name in rows[0][0]}
    slips = {why: np.array([row[1][why] for row in rows]) for why in rows[0][1]}
    right = slips.pop("right")
    if np.allclose(got, right, 2e-4):
        W0, delta = _pair(40, 25, 0.0003, 3)
        step = (W0 + delta).astype(np.float16).astype(float) - W0
        share = tools.number(tools.call(arrived, W0=W0, delta=delta), "the share")
        wide = f"right for squares, but for {W0.shape} it is {share:.4g}"
        assert np.isclose(share, np.sum(step * delta) / np.sum(delta**2), 2e-4), wide
        return
    tools.slip(got, slips.items())
    assert np.ptp(got), f"it is {got[0]:.4g} whatever W0 and delta may be: are they used?"
    nearly = "nearly all arrives: round the sum (astype returns it, W stays), not delta alone"
    assert not np.allclose(got, 1, atol=2e-3), nearly
    assert not np.allclose(got, 100 * right, atol=0.6), "a share is of 1, not of 100"
    shown = f"for the first W0 and delta it is {got[0]:.5g}, should be {right[0]:.5g}"
    made, less = tools.as_product(got, lengths), tools.as_product(1 - got, lengths)
    assert not made, f"{shown}: yours is {made}. The step is W - W0: which share of ΔW is it?"
    assert "·" not in less, f"{shown}: yours is 1 less {less}, which is not what arrives"
    rounded = np.allclose(got, right, atol=0.06) and np.allclose(got, got.round(3))
    assert not rounded, f"{shown}: return all digits"
    W0, delta = np.float16([[1, 2], [2, 2]]), np.float32([[7, 4], [4, 4]]) / 10_000
    now = tools.number(tools.call(arrived, W0=W0, delta=delta), "the share")
    raise AssertionError(
        "W0 = [[1, 2], [2, 2]], delta = [[7, 4], [4, 4]] / 10,000: W - W0 is 0.00098, and zeros; "
        f"9.8 · 7 / (7² + 3 · 4²) = 0.7 arrives; you return {now:.4g}; and {shown}"
    )


WAYS = ("to the nearest", "down", "up", "to 0, its digits cut off")


@tools.check
def check_roll(roll: Callable) -> None:
    """``roll(place, rng)`` rounds up or down by chance, so that the mean of many is the place."""
    levels, others = np.arange(-3.0, 6.0), np.linspace(-2.95, 8.9, 24).round(2)

    def rolled(place: NDArray, seed: int) -> NDArray:
        got = tools.call(roll, place=place, rng=np.random.default_rng(seed))
        return tools.shaped(got, place.shape, "what is rolled", ": keep the shape of place")

    many = np.tile(np.concatenate([levels, others]), (3000, 1))
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
    off, up = (np.mean(high, axis=0) - below for below in (others, np.floor(others)))
    at = np.argmax(np.abs(off))
    for why, value in {
        "turned round: 2.3 must become 2 more often than 3": 1 - share,
        "2.3 goes up with the chance 0.3: compare the dice with the digits": others.clip(0, 1),
        f"all go up with the chance {up[0]:.1f}: which must 2.3 have, and 2.5?": up[0],
    }.items():
        assert not np.allclose(up, value, atol=0.06), why
    alike = np.ptp(off) < 0.1 and np.abs(off[0]) > 0.1
    assert not alike, f"2.3 becomes {2.3 + off[0]:.1f} on average, all are off alike: what adds up?"
    below_zero = moved.any() and not moved[levels >= 0].any()
    assert not below_zero, "below zero, int() and trunc go up: floor goes down there, too"
    far = np.argwhere(np.abs(high - others) >= 1)
    assert not len(far), (
        f"{others[far[0, 1]]:g} became {high[tuple(far[0])]:g}: only the level below or above "
        "will do"
    )
    assert not moved.any(), "a place on a level must stay there: 2.0 is always 2"
    fell = high > others  # (rolls, places)
    each = "one for each place, of place.shape"
    assert np.any(fell != fell[0]), f"all rows got the same dice: {each}"
    same = np.abs(np.corrcoef(fell[:, 5], fell[:, 15])[0, 1]) > 0.1
    assert not same, f"all places of a row got the same dice: {each}"
    why = f"{others[at]:g} becomes {others[at] + off[at]:.2f} on average"
    assert np.abs(off[at]) < 0.04, f"{why}: its chance to go up must be {share[at]:.2f}"
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
