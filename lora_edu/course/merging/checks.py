"""Checks: what arrives, a loop without drift, rounding by dice."""

from collections.abc import Callable

import numpy as np

from lora_edu.course.checks import call, check, compare, numbers


@check
def check_arrived(arrived: Callable) -> None:
    """``arrived(W0, delta)``: ⟨W - W0, ΔW⟩ / ‖ΔW‖² for W = W0 + ΔW rounded to the type of W0."""
    for shape, size in (((12, 12), 0.0006), ((12, 12), 0.001), ((40, 25), 0.0003)):
        rng = np.random.default_rng(3)
        W0 = rng.standard_normal(shape).astype(np.float16)
        delta = (size * rng.standard_normal(shape)).astype(np.float32)
        got = numbers(call(arrived, W0=W0, delta=delta), "the share")
        assert not got.ndim, f"the share is one number, got shape {got.shape}"
        stored, half, norm = W0.astype(float), delta.astype(np.float16), np.linalg.norm
        step, d = (W0 + delta).astype(np.float16) - stored, delta.astype(float)
        dot, whole, error = np.sum(step * d), np.sum(d**2), norm(step - d) / norm(d)
        right = dot / whole
        across, own = step[:12, :12] @ d[:12, :12], d[:12, :12] @ d[:12, :12]
        mixed = [one.sum() / whole for one in (across, step @ d.T, step.T @ d)]
        narrow = np.sum((W0 + half - W0) * half) / np.sum(half * half)
        to_whole = np.round(W0 + delta) - stored
        means = [np.mean(np.sum(step * d, i) / np.sum(d**2, i)) for i in (0, 1, ())]
        for why, value in {
            "more than ΔW can arrive, too: do not cut the share at 1": min(right, 1.0),
            "nearly all arrives: round the sum (astype returns it, W stays), not delta alone": 1,
            "that compares lengths: a step to a wrong side counts too": norm(step) / norm(d),
            "multiply entry by entry, and sum: @ is the product of matrices": mixed,
            "the trace of a product needs X.T @ Y": np.trace(across) / np.trace(own),
            "norm(ΔW, 2) is the largest singular value: leave out the 2": dot / norm(d, 2) ** 2,
            "a sum above and below, or a mean above and below": right / d.size,
            "that is the step times itself: multiply it by ΔW": np.sum(step**2) / whole,
            "multiply the step by ΔW, entry by entry, before you sum": step.sum() / d.sum(),
            "that is the cosine: divide by ‖ΔW‖² alone": dot / norm(step) / norm(d),
            "that is the error: it counts noise, and more than ΔW may be lost by it": error,
            "1 less the error is not what arrives": 1 - error,
            "that is the share of weights that move, however far": np.mean(step != 0),
            "that is the share of weights that stay": np.mean(step == 0),
            "that is the share that is lost": 1 - right,
            "divide by ‖ΔW‖², not by ‖ΔW‖": dot / norm(d),
            "the product is there: divide it by ‖ΔW‖²": dot,
            "‖ΔW‖² is the sum of the squares, not the square of the sum": dot / d.sum() ** 2,
            "divide by ‖ΔW‖²: the share of an update, not of W0": dot / np.sum(stored**2),
            "divide by ‖ΔW‖², not by the length of the step": dot / np.sum(step**2),
            "take the step, W - W0, not W itself": np.sum((stored + step) * d) / whole,
            "the step is W - W0, not W0 - W": -right,
            "sum over all weights, then divide: that is a mean of shares": means,
            "a share is of 1, not of 100": [round(100 * right, n) for n in (0, 1, 2, 9)],
            "multiply the step by ΔW: amounts have no side": np.abs(step).sum() / np.abs(d).sum(),
            "np.round goes to whole numbers: .astype(W0.dtype)": np.sum(to_whole * d) / whole,
            "float16 cannot hold such squares: round the sum, then take more digits": narrow,
            "that is rounded: return all digits": [round(right, n) for n in (1, 2, 3)],
        }.items():
            slips = [slip for slip in np.atleast_1d(value) if not np.isclose(slip, right, 2e-4)]
            assert not np.any(np.isclose(got, slips, 2e-4)), why
        if not np.isclose(got, right, 2e-4):
            W0, delta = np.float16([[1, 2], [2, 2]]), np.float32([[7, 4], [4, 4]]) / 10_000
            now = numbers(call(arrived, W0=W0, delta=delta), "the share")
            raise AssertionError(
                "W0 = [[1, 2], [2, 2]], delta = [[7, 4], [4, 4]] / 10,000: W - W0 is 0.00098, and "
                f"zeros; 9.8 · 7 / (7² + 3 · 4²) = 0.7 arrives; you return {now:.4g}; and for the "
                f"larger W0 {got:.4g}, not {right:.4g}: is a number fixed, or a factor too many?"
            )


WAYS = ("to the nearest", "down", "up", "to 0, its digits cut off")


@check
def check_roll(roll: Callable) -> None:
    """``roll(place, rng)`` rounds up or down by chance, so that the mean of many is the place."""
    levels, others = np.arange(-3.0, 12.0), np.linspace(-2.95, 14.9, 90).round(2)
    call(roll, place=others, rng=np.random.default_rng(5))  # of any shape
    many = np.tile(np.concatenate([levels, others]), (4000, 1))
    got = numbers(call(roll, place=many, rng=np.random.default_rng(5)), "what is rolled")
    assert got.shape == many.shape, f"keep the shape {many.shape}, got {got.shape}"
    odd = got[got != np.round(got)]
    assert not odd.size, f"levels are whole numbers, got {odd[0]:g}: round, by dice, one roll each"
    assert not np.isin(got, (0, 1)).all(), "these say who goes up: add them to the level below"
    again = numbers(call(roll, place=many, rng=np.random.default_rng(6)), "what is rolled")
    for why, at in zip(WAYS, (np.round, np.floor, np.ceil, np.trunc), strict=True):
        assert not np.array_equal(got, at(many)), f"that always rounds {why}: where are the dice?"
    assert np.any(again != got), "with another rng it rolls the same: throw the dice of that rng"
    moved = np.any(got != many, axis=0)[: len(levels)]
    rolled, share = got[:, len(levels) :], others - np.floor(others)
    off, up = (np.mean(rolled, axis=0) - below for below in (others, np.floor(others)))
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
    far = [*map(tuple, np.argwhere(np.abs(rolled - others) >= 1))]
    assert not far, (
        f"{others[far[0][1]]:g} became {rolled[far[0]]:g}: only the level below or above will do"
    )
    assert not moved.any(), "a place on a level must stay there: 2.0 is always 2"
    fell = rolled > others  # (rolls, places)
    assert np.any(fell != fell[0]), "all rows got the same dice: one for each place, of place.shape"
    same = np.abs(np.corrcoef(fell[:, 10], fell[:, 55])[0, 1]) > 0.1
    assert not same, "all places of a row got the same dice: one for each place, of place.shape"
    at = np.argmax(np.abs(off))
    why = f"{others[at]:g} becomes {others[at] + off[at]:.2f} on average"
    assert np.abs(off[at]) < 0.035, f"{why}: its chance to go up must be {share[at]:.2f}"


COPY = "(kept = W0 and W0 = kept are second names of one array: .copy())"


@check
def check_serve(serve: Callable) -> None:
    """``serve(W0, deltas, use)``: use(W0 + ΔW) for each; at the end W0, to the last bit."""
    rng, seen, end = np.random.default_rng(0), [], None
    W0 = (0.04 * rng.standard_normal((16, 16))).astype(np.float16)
    deltas = (0.01 * rng.standard_normal((50, 16, 16))).astype(np.float32)
    use = lambda W: seen.append(np.array(W)) or len(seen)  # noqa: E731
    try:
        end = call(serve, W0=W0.copy(), deltas=deltas, use=use)
    except AssertionError as error:
        assert "W0 itself was changed" in str(error), error  # noqa: PT017
    assert seen, "use was never called: is the loop run? (map and generators wait to be read)"
    assert len(seen) == 50, f"calls of use: {len(seen)}, updates: 50; call it once for each"
    for n, (got, delta) in enumerate(zip(seen, deltas, strict=True)):
        right, at, near = (W0 + delta).astype(np.float16), f"update {n}", 1e-3 * (n > 0)
        fits = (got.dtype, got.shape) == (right.dtype, right.shape)
        assert fits, f"use got {got.dtype} of shape {got.shape}: round W0 + delta to W0's own type"
        wrong = [*map(tuple, np.argwhere(got != right))]
        for why, slip, close in (
            ("use got W0, before the merge", W0, 0),
            (f"on top of the one before: start from W0 {COPY}", W0 + deltas[: n + 1].sum(0), near),
            ("use got the update alone, without W0", np.float16(delta), 0),
            ("the update was rounded, and the sum: round the sum alone", W0 + np.float16(delta), 0),
            ("the weights have drifted: start each merge from W0, subtract nothing", right, near),
            (f"the kept weights are changed, too {COPY}", W0 + deltas[1 : n + 1].sum(0), near),
        ):
            assert not (wrong and np.allclose(got, slip, 0, close)), f"{at}: {why}"
        i = (wrong or [(0, 0)])[0]
        of = f"{W0[i]:.4f} (W0) + {delta[i]:.4f} (update) is {right[i]:.4f}"
        assert not wrong, f"{at}: {of}, use got {got[i]:.4f}"
    assert end is not None, "W0 itself was changed: put it back in the end, W0[:] = a copy"
    assert not np.array_equal(end, seen[-1]), "the last update is still merged: return W0"
    kind = str(getattr(end, "dtype", W0.dtype)).split(".")[-1]  # torch's name is torch.float16
    assert kind == "float16", f"W0 comes back as {kind}: it is {W0.dtype}"
    end = numbers(end, "W0, which is to be returned at the end,")
    assert end.shape == W0.shape, f"return W0, of shape {W0.shape}, got shape {end.shape}"
    compare(end, W0, "W0", ": it must be back to the last bit")
