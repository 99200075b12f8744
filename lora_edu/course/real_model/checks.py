"""Checks: neighbours, the frontier, ΔW out of a file of PEFT's."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lora_edu.course.checks import call, check, compare_named, compare_number, numbers


@check
def check_neighbours(neighbours: Callable) -> None:
    """``neighbours(e, y)``: the share of rows whose nearest other row, by cosine, has their y."""
    for rows, columns in ((12, 12), (40, 4)):
        rng, y = np.random.default_rng(753), np.arange(rows) % 4 % 3  # one group is larger
        e = np.eye(columns)[y] + 0.7 * rng.standard_normal((rows, columns))
        e *= rng.uniform(0.2, 5, (rows, 1))
        length = np.linalg.norm(e, axis=1, keepdims=True)
        unit, by_column, own = e / length, e / np.linalg.norm(e, axis=0), 9e9 * np.eye(rows)

        def share(score: NDArray, y: NDArray = y, own: NDArray = own) -> float:
            return float(np.mean(y[np.argmax(score - own, axis=1)] == y))

        right = share(unit @ unit.T)
        short, squares = e / length**2, ((e[:, None] - e) ** 2).sum(-1)
        wrong = {
            "the nearest row to each is the row itself: leave it out": 1.0,
            "that is the dot product, and long rows win: divide each row by its length": share(
                e @ e.T
            ),
            "that is by distance, and length counts: divide each row by its length": share(
                -squares
            ),
            "divide each *row* by its length, not each column": share(by_column @ by_column.T),
            "the length of a row is the *root* of its squares": share(short @ short.T),
            "the nearest is that of the largest cosine, not the least": share(-unit @ unit.T),
            "opposite is not near: no absolute value": share(np.abs(unit @ unit.T)),
            "that is how many: divide by n": rows * right,
            "a share is of 1, not of 100": 100 * right,
            "divide by n, the number of rows, not by n - 1": rows * right / (rows - 1),
            "divide by n, the number of rows, not by that of columns": rows * right / columns,
            "that is the share whose neighbour is of another group": 1 - right,
        }
        if rows == columns:
            wrong["the cosines are between rows: e @ e.T"] = share(unit.T @ unit)
        compare_number(call(neighbours, e=e, y=y), right, wrong, f"for {rows} rows")
    own = "leave out the row itself, by its place, and no other"
    for angles, groups, right, what in (
        ([0, 110, 230], [0, 1, 1], 1 / 3, "where all cosines are negative"),
        ([0, 0, 90, 100], [0, 1, 1, 1], 1 / 2, "where two rows are the same"),
    ):
        e = np.array([[np.cos(np.radians(a)), np.sin(np.radians(a))] for a in angles])
        got = numbers(call(neighbours, e=e, y=np.array(groups)), "the result")
        assert np.isclose(got, right), f"{what}: {got:.4g}, should be {right:.4g}: {own}"


@check
def check_frontier(frontier: Callable) -> None:
    """``frontier(learned, kept)``: for each setting, whether no other beats it."""
    tried = [([0.6, 0.2, 0.4], [0.8, 0.5, 0.7])]  # one beats all
    tried += [
        (
            [0.1, 0.3, 0.3, 0.5, 0.2, 0.6, 0.1, 0.6, 0.504],
            [0.9, 0.8, 0.7, 0.4, 0.8, 0.1, 0.9, 0.3, 0.403],
        )
    ]
    for number, (learned, kept) in enumerate(map(np.array, pair) for pair in tried):
        dx, dy = (values - values[:, None] for values in (learned, kept))  # row: is it beaten?
        as_good, other = (dx >= 0) & (dy >= 0), ~np.eye(len(learned), dtype=bool)
        beats = as_good & ((dx > 0) | (dy > 0))
        sums = learned + kept

        def alone(beats: NDArray) -> NDArray:
            return ~beats.any(axis=1)

        wrong = {
            "True is for the settings that no other beats": ~alone(beats),
            "some are beaten by others": np.ones(len(learned), bool),
            "more is better in both: this keeps those that learn and keep least": alone(beats.T),
        }
        if number == 0:
            wrong["each is as good as itself: to beat it, another must be better in one thing"] = (
                alone(as_good)
            )
        else:
            equal = (
                "a setting is beaten as well by one that is equal in one and better in the other"
            )
            for beaten in ((dx > 0) & (dy > 0), (dx > 0) & (dy >= 0), (dx >= 0) & (dy > 0)):
                wrong |= {equal + " " * len(wrong): alone(beaten)}
            wrong |= {
                "two equal settings do not beat each other": alone(as_good & other),
                "to beat a setting, another must not be worse in either": alone(
                    (dx > 0) | (dy > 0)
                ),
                "forgetting counts as well: this keeps only those that learn most": dx.max(1) == 0,
                "learning counts as well: this keeps only those that forget least": dy.max(1) == 0,
                "not the sum: learning and keeping have no common unit": np.isclose(
                    sums, sums.max()
                ),
                "True is for those that nobody beats, not for those that beat another": beats.any(
                    axis=0
                ),
                "compare with all others: this leaves out those before": alone(np.triu(beats)),
                "compare with all others: this leaves out those after": alone(np.tril(beats)),
            }
        got = numbers(call(frontier, learned=learned, kept=kept), "the result")
        assert got.shape == beats.shape[:1], (
            f"shape {got.shape}: one True or False for each of the {len(learned)} settings"
        )
        odd = [value for value in got.tolist() if value not in (0, 1)]
        assert not odd, f"True or False for each setting, got {odd[0]:g}"
        if np.array_equal(got, alone(beats)):
            continue
        for why, answer in wrong.items():
            assert not np.array_equal(got, answer), why.strip()
        i = np.flatnonzero(got != alone(beats))[0]
        says = "another beats" if got[i] else "nobody beats"
        raise AssertionError(
            f"({learned[i]:g}, {kept[i]:g}) is a setting that {says}, among learned {learned} and "
            f"kept {kept}"
        )


@check
def check_delta_from_file(delta: Callable) -> None:
    """``delta(tensors, name, lora_alpha)`` is ΔW of one layer, from the tensors PEFT saves."""
    import torch

    rng, key = np.random.default_rng(0), "base_model.model.{}.lora_{}.weight".format
    layers = ("layer.0.q", "layer.1.q", "layer.0.v")
    for r, d, alpha in ((3, 3, 12), (2, 5, 7)):  # square first: a wrong order has a value too
        shapes = {"A": (r, d), "B": (d, r)}
        arrays = {key(n, p): rng.integers(-9, 10, s) for n in layers for p, s in shapes.items()}
        for name in layers:
            tensors = {k: torch.tensor(array, dtype=torch.float32) for k, array in arrays.items()}
            given = _delta(delta, tensors, name, alpha)
            A, B = (arrays[key(name, p)] for p in "AB")
            got, right = numbers(given, "ΔW"), alpha / r * B @ A
            assert got.shape == (d, d), f"shape {got.shape}: ΔW is lora_B @ lora_A, {(d, d)}"
            unchanged = tensors.keys() == arrays.keys() and all(
                np.array_equal(tensors[k], array) for k, array in arrays.items()
            )
            assert unchanged, "the tensors of the file were changed: leave them as they are"
            scalings = {
                "the scaling is missing: lora_alpha / r": 1,
                f"the scaling is lora_alpha / r; here r is {r}": alpha,
                "the scaling is lora_alpha / r: lora_alpha is missing": 1 / r,
                "the scaling is lora_alpha / r, not times": alpha * r,
                f"r is {r} here, not 8: take it from the shape of lora_A": alpha / 8,
                f"r is {r} here, not {d}: lora_A is (r, in_features)": alpha / d,
                "the scaling is lora_alpha / r, not lora_alpha / √r": alpha / r**0.5,
                "the scaling is lora_alpha / r, and no root": (alpha / r) ** 0.5,
                "the scaling comes once: not on lora_A and on lora_B": (alpha / r) ** 2,
                "the scaling is lora_alpha / r, not r / lora_alpha": r / alpha,
                "lora_alpha / r is no whole number here: / instead of //": alpha // r,
                f"lora_alpha is {alpha} here: it is an argument": 32 / r,
                "not minus": -alpha / r,
            }
            wrong = {why: scaling * B @ A for why, scaling in scalings.items()}
            wrong |= {"transposed: ΔW is lora_B @ lora_A": right.T}
            other = layers[layers.index(name) - 1]
            A_2, B_2 = (arrays[key(other, p)] for p in "AB")
            for scaling in (alpha / r, alpha, 1) if r == d else ():
                products = {
                    "in the wrong order: ΔW is lora_B @ lora_A": A @ B,
                    "ΔW is lora_B @ lora_A, and neither is transposed": B.T @ A,
                    "ΔW is lora_B @ lora_A: neither is transposed": B @ A.T,
                    "lora_B @ lora_A: each once": B @ B,
                    "lora_B @ lora_A: both, once each": A @ A,
                    "a product of matrices is @; * multiplies entry by entry": B * A,
                    f"that is another layer: its name is {name!r}": B_2 @ A_2,
                }
                for why, product in products.items():
                    wrong[why + " " * len(wrong)] = scaling * product
            compare_named(got, right, wrong, "ΔW")


def _delta(delta: Callable, tensors: dict, name: str, lora_alpha: float) -> object:
    """Call a learner's function, whose first argument is too long to be quoted in a message."""
    given = dict(tensors)
    try:
        found = delta(tensors, name, lora_alpha)
    except NotImplementedError:
        raise
    except KeyError as error:
        raise AssertionError(f"no key is {error}; one is {next(iter(given))!r}") from None
    except Exception as error:
        raise AssertionError(f"it raises {type(error).__name__}: {error}") from None
    assert found is not None, "it returned None: is the `return` missing?"
    return found
