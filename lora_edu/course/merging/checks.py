"""Checks: what arrives, a loop without drift, rounding by dice."""

from collections.abc import Callable

import numpy as np

from lora_edu.course.checks import call, check, compare, numbers


@check
def check_arrived(arrived: Callable) -> None:
    """``arrived(W0, delta)``: ⟨W - W0, ΔW⟩ / ‖ΔW‖² for W = W0 + ΔW rounded to the type of W0."""
    for shape, size in (((12, 12), 0.0006), ((40, 25), 0.0006), ((30, 50), 0.02)):
        rng = np.random.default_rng(3)
        W0 = rng.standard_normal(shape).astype(np.float16)
        delta = (size * rng.standard_normal(shape)).astype(np.float32)
        stored = W0.astype(float)
        step = (W0 + delta).astype(np.float16) - stored
        whole = np.sum(np.square(delta, dtype=float))
        right, length = np.sum(step * delta) / whole, np.linalg.norm(step) / np.sqrt(whole)
        got = numbers(call(arrived, W0=W0, delta=delta), "the share")
        assert not got.ndim, f"the share is one number, got shape {got.shape}"
        for why, value in {
            "that is 1 where nothing is rounded: bring the sum back to W0.dtype": 1.0,
            "that compares lengths: a step to a wrong side counts too": length,
            "multiply entry by entry, and sum: @ is the product of matrices": (
                np.sum(step @ delta) / whole if len(set(shape)) == 1 else np.inf
            ),
            "norm(ΔW, 2) is the largest singular value: leave out the 2": (
                np.sum(step * delta) / np.linalg.norm(delta, 2) ** 2
            ),
            "a sum above and below, or a mean above and below": right / delta.size,
            "that is the squared length of the step: where is its product with ΔW?": length**2,
            "that is the cosine: divide by ‖ΔW‖² alone": right / length,
            "that is the error: it counts noise, and more than ΔW may be lost by it": (
                np.linalg.norm(step - delta) / np.sqrt(whole)
            ),
            "1 less the error is not what arrives": (
                1 - np.linalg.norm(step - delta) / np.sqrt(whole)
            ),
            "that is the share of weights that move, however far": np.mean(step != 0),
            "that is the share of weights that stay": np.mean(step == 0),
            "that is the share that is lost": 1 - right,
            "divide by ‖ΔW‖², not by ‖ΔW‖": right * np.sqrt(whole),
            "divide by ‖ΔW‖²: the share of an update, not of W0": (
                np.sum(step * delta) / np.sum(stored**2)
            ),
            "divide by ‖ΔW‖², not by the length of the step": (
                np.sum(step * delta) / np.sum(step**2)
            ),
            "take the step, W - W0, not W itself": np.sum((stored + step) * delta) / whole,
            "the step is W - W0, not W0 - W": -right,
            "sum over all weights, then divide: this is the mean of single shares": (
                np.mean(step / delta)
            ),
            "a share is of 1, not of 100": 100 * right,
        }.items():
            assert np.isclose(value, right, 1e-3) or not np.isclose(got, value, 1e-3), why
        near = np.isclose(got, right, rtol=2e-3)
        assert near, f"for W0 of shape {shape}: {got:.4g}, should be {right:.4g}"


@check
def check_roll(roll: Callable) -> None:
    """``roll(place, rng)`` rounds up or down by chance, so that the mean of many is the place."""
    levels, others = np.arange(-3.0, 12.0), np.linspace(-2.95, 14.9, 90)
    call(roll, place=others, rng=np.random.default_rng(5))  # of any shape
    many = np.tile(np.concatenate([levels, others]), (4000, 1))
    got = numbers(call(roll, place=many, rng=np.random.default_rng(5)), "what is rolled")
    assert got.shape == many.shape, f"keep the shape {many.shape}, got {got.shape}"
    odd = got[got != np.round(got)]
    assert not odd.size, f"levels are whole numbers, got {odd[0]:g}: round, by the dice"
    again = numbers(call(roll, place=many, rng=np.random.default_rng(6)), "what is rolled")
    for why, fixed in {
        "that rounds to the nearest: where are the dice?": np.round(many),
        "that always rounds down: where are the dice?": np.floor(many),
        "that always rounds up: where are the dice?": np.ceil(many),
        "that cuts off the digits: where are the dice?": np.trunc(many),
    }.items():
        assert not np.array_equal(got, fixed), why
    assert np.any(again != got), "throw the dice of the rng you get: yours fall alike each time"
    moved = np.any(got != many, axis=0)[: len(levels)]
    up, share = np.mean(got - np.floor(many), axis=0)[len(levels) :], others - np.floor(others)
    for why, value in {
        "up and down are as likely here: the nearer level must come more often": 0.5,
        "turned round: 2.3 must become 2 more often than 3": 1 - share,
    }.items():
        assert not np.allclose(up, value, atol=0.06), why
    below_zero = moved.any() and not moved[levels >= 0].any()
    assert not below_zero, "below zero, int() and trunc go up: floor goes down there, too"
    assert not moved.any(), "a place on a level must stay there: 2.0 is always 2"
    between = np.all(np.abs(got - many) < 1)
    assert between, "2.3 may become 2 or 3, and nothing else (and -2.3 becomes -3 or -2)"
    fell = (got > many)[:, len(levels) :]  # (rolls, places)
    assert np.any(fell != fell[0]), "all rows got the same dice: one for each place, of place.shape"
    off = np.max(np.abs(up - share))
    assert off < 0.035, f"the mean of many rolls is off by up to {off:.2f}: 2.3 must stay 2.3"
    same = np.abs(np.corrcoef(fell[:, 10], fell[:, 55])[0, 1]) > 0.1
    assert not same, "all places of a row got the same dice: one for each place, of place.shape"


@check
def check_serve(serve: Callable) -> None:
    """``serve(W0, deltas, use)``: use(W0 + ΔW) for each; at the end W0, to the last bit."""
    rng, seen = np.random.default_rng(0), []
    W0 = (0.04 * rng.standard_normal((16, 16))).astype(np.float16)
    deltas = (0.01 * rng.standard_normal((50, 16, 16))).astype(np.float32)
    end = call(serve, W0=W0, deltas=deltas, use=lambda W: seen.append(np.array(W)))
    assert len(seen) == 50, f"use was called {len(seen)} times: once for each of 50 updates"
    for number, (got, delta) in enumerate(zip(seen, deltas, strict=True)):
        right, at = (W0 + delta).astype(np.float16), f"update {number}"
        assert got.dtype == W0.dtype, f"use got {got.dtype}: round the sum to W0's own type"
        assert not np.array_equal(got, W0), f"{at}: use got W0, before the merge"
        piled = number > 0 and np.allclose(got, W0 + deltas[: number + 1].sum(0), atol=1e-3)
        assert not piled, f"{at}: on top of the one before, which was never taken off"
        why = "the weights have drifted: start each merge from W0, and subtract nothing"
        if np.array_equal(got, W0 + delta.astype(W0.dtype)):
            why = "the update was rounded before the sum, then the sum: round the sum alone"
        assert np.array_equal(got, right), f"{at}: {why}"
    assert not np.array_equal(end, seen[-1]), "the last update is still merged: return W0"
    end = numbers(end, "what is returned at the end")
    assert end.shape == W0.shape, f"return W0, of shape {W0.shape}, got shape {end.shape}"
    compare(end, W0, "W0", ": it must be back to the last bit")
