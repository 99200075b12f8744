"""Checks: neighbours, the frontier, ΔW out of a file of PEFT's."""

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lora_edu.course.checks import call, check, compare, numbers


def _share(score: NDArray, y: NDArray) -> float:
    nearest = np.argmax(score - 9e9 * np.eye(len(y)), axis=1)
    return float(np.mean(y[nearest] == y))


@check
def check_neighbours(neighbours: Callable) -> None:
    """``neighbours(e, y)``: the share of rows whose nearest other row, by cosine, has their y."""

    def ask(e: NDArray, y: NDArray) -> float:
        got = numbers(call(neighbours, e=e, y=y), "the result")
        assert got.ndim == 0, f"return one number, got shape {got.shape}"
        return float(got)

    unnamed, family, before = "", "", 0.0
    for rows, columns in ((101, 101), (40, 4)):  # so many that no two mistakes give one share
        rng, y = np.random.default_rng(2510), np.arange(rows) % 4 % 3  # one group is larger
        e = np.eye(columns)[y] + 0.4 * rng.standard_normal((rows, columns))
        e *= rng.uniform(0.2, 5, (rows, 1))
        length, less = np.linalg.norm(e, axis=1, keepdims=True), e - e.mean(0)
        unit, apart = e / length, np.abs(e[:, None] - e)
        cosines = unit @ unit.T
        order = np.argsort(cosines - 9e9 * np.eye(rows))  # first itself, then from far to near
        right, above = _share(cosines, y), np.argmax(np.triu(cosines, 1), axis=1)
        later = np.sum((y[np.argmax(cosines - 9e9 * np.tri(rows), axis=1)] == y)[:-1])
        strips = {  # what stands in place of rows of length 1
            "long rows win: divide each row by its length, on both sides of the product": e,
            "divide each *row* by its length, not each column": e / np.linalg.norm(e, axis=0),
            "a length is the *root* of the sum of squares": e / length**2,
            "a length is the *root* of the sum of squares ": e / np.abs(e).sum(1)[:, None],
            "no mean is to be taken away": less / np.linalg.norm(less, axis=1)[:, None],
        }
        if rows == columns:
            strips["the cosines are between rows: e @ e.T"] = unit.T
            strips["divide each *row* by its own length: keepdims=True"] = e / length.T
        not_all = "compare each row with all others, not only with later ones"
        distance = "that is by distance, and length counts: divide each row by its length"
        wrong = [
            ("each finds itself: leave it out (or is the `return` inside the loop?)", 1.0),
            *((why, _share(strip @ strip.T, y)) for why, strip in strips.items()),
            *((distance, _share(-(apart**power).sum(-1), y)) for power in (1, 2)),
            ("no mean is to be taken away", _share(np.asarray(np.corrcoef(e)), y)),
            ("the nearest is that of the largest cosine, not the least", _share(-cosines, y)),
            ("opposite is not near: no absolute value", _share(np.abs(cosines), y)),
            ("compare y[nearest] with y, not the row's number", np.mean(order[:, -1] == y)),
            *((not_all, n) for n in (later / rows, (later + 1) / rows, np.mean(y[above] == y))),
            ("only the first row counts: is the `return` inside the loop?", 1 / rows),
            *(("the nearest alone, no second", np.mean(y[order[:, n]] == y)) for n in (2, -2)),
            ("a share is of 1, not of 100", 100 * right),
            ("that is the share whose neighbour is of another group", 1 - right),
            *(("do not round the share", round(right, digits)) for digits in (1, 2)),
        ]
        got = ask(e, y)
        if not unnamed and not np.isclose(got, right):
            for why, other in wrong:
                assert not np.isclose(got, other), why.strip()
            hits, over = round(rows * right), rows * right / got if got else 0.5
            if np.isclose(over, round(over)):
                family = f", or {hits} / {rows}; yours is {hits} / {over:.0f}: divide by n"
            elif not np.isclose(rows * got, round(rows * got)):
                family = f"; times {rows} yours is no whole number: count rows, each as 1 or as 0 "
                family += "(is its neighbour's y its own?), then divide by n, not group by group"
            unnamed, before = f"for {rows} rows: {got:.4g}, should be {right:.4g}{family}", got
    itself = "all cosines are negative; does each find itself? Rule it out by -np.inf, not by 0"
    twin = "two are alike; leave out the row itself, by its place, and no other: no twin"
    for rows, groups, near, right, hint in (
        ([[2, 0], [-1, 3], [-1, -2]], [0, 1, 0], [1, 0, 0], 1 / 3, itself),
        ([[1, 0], [2, 0], [0, 1], [-1, 4]], [0, 1, 1, 1], [1, 0, 3, 2], 1 / 2, twin),
    ):
        got = ask(np.array(rows, float), np.array(groups))
        assert not (unnamed and got == before), f"{got:.4g} whatever e and y are: use them"
        assert not family, unnamed
        assert np.isclose(got, right), (
            f"for the rows {rows} of groups {groups}: {got:.4g}, should be {right:.4g}, "
            f"for the nearest are rows {near}: {'which does yours find?' if unnamed else hint}"
        )
    assert not unnamed, unnamed


ALL = "compare each with *all* others, whether they stand before it or after"
ORDER = "give the answers in the order of the settings"
AMOUNT = "only who is ahead counts, not by how much: no fixed number, mean or (weighted) sum"
FIRST = {  # what mistakes make of the first three settings
    (0, 0, 0): "each is as good as itself: to beat it, another must be better in one thing",
    (0, 1, 1): "True is for the settings that no other beats",
    (0, 1, 0): "this keeps those that learn and keep least",
    (0, 0, 1): ORDER,
    (1, 0, 1): ALL,
}
SETTINGS = (  # learned, kept, and what decides; those who come so far know what stands above
    ([0.6, 0.2, 0.4], [0.8, 0.5, 0.7], "more is better in both"),
    ([0.2, 0.6], [0.9, 0.3], "to beat a setting, another must not be worse in either"),
    ([0.2, 0.5, 0.3], [0.9, 0.4, 0.2], ALL),
    ([0.1, 0.4, 0.9], [0.9, 0.3, 0.1], "to beat it, one and the same must be as good in both"),
    ([0.3, 0.3, 0.2], [0.7, 0.8, 0.8], "equal in one and better in the other beats, too"),
    ([0.4, 0.4], [0.6, 0.6], "two equal settings do not beat each other"),
    ([0.5, 0.504], [0.4, 0.403], "a small lead is a lead: no rounding, no tolerance"),
    ([0.4, 0.1, 0.3, 0.5, 0.2, 0.6, 0.1, 0.6], [0.3, 0.9, 0.8, 0.4, 0.8, 0.1, 0.9, 0.3], ALL),
)


@check
def check_frontier(frontier: Callable) -> None:
    """``frontier(learned, kept)``: for each setting, whether no other beats it."""

    def ask(learned: NDArray, kept: NDArray) -> NDArray:
        got = numbers(call(frontier, learned=learned, kept=kept), "the result")
        assert got.shape == learned.shape, (
            f"shape {got.shape}: one True or False for each of the {len(learned)} settings (not "
            "their places; and no `return` inside a loop)"
        )
        odd = [value for value in got.tolist() if value not in (0, 1)]
        assert not odd, f"True or False for each setting, got {odd[0]:g}"
        return got

    for number, (learned, kept, why) in enumerate(SETTINGS):
        pairs = list(zip(learned, kept, strict=True))
        beaten = [
            [p for p in pairs if p != own and p[0] >= own[0] and p[1] >= own[1]] for own in pairs
        ]
        right = np.array([not by for by in beaten])
        got = ask(np.array(learned), np.array(kept))
        if np.array_equal(got, right):
            continue
        i = np.flatnonzero(got != right)[0]
        says = f"{pairs[i]} is beaten by {beaten[i][0]}" if got[i] else f"nobody beats {pairs[i]}"
        x, y = np.random.default_rng(0).random((2, 20))
        if number < 6 and not np.array_equal(
            ask(x, y), ask(np.exp(9 * x) - 50, -9 * np.exp(-9 * y))
        ):
            why = AMOUNT
        elif number == 0:
            why = FIRST.get(tuple(got), why)
        elif number == 2 and sum(got) == sum(right):
            why = ORDER
        raise AssertionError(f"for learned {learned} and kept {kept}, {says}: {why}")


@check
def check_delta_from_file(delta: Callable) -> None:
    """``delta(tensors, name, lora_alpha)`` is ΔW of one layer, from the tensors PEFT saves."""
    import torch

    rng, key = np.random.default_rng(0), "base_model.model.{}.lora_{}.weight".format
    query, value = "{}.attention.self.query", "{}.attention.self.value"
    layers = [
        f"bert.encoder.layer.{of}" for of in (query.format(4), query.format(5), value.format(4))
    ]
    for r, d, alpha in ((3, 3, 10), (2, 5, 7)):  # square first: a wrong order has a value too
        shapes = {"A": (r, d), "B": (d, r)}
        arrays = {key(n, p): rng.integers(-9, 10, s) for n in layers for p, s in shapes.items()}
        for name in layers:
            tensors = {k: torch.tensor(array, dtype=torch.float32) for k, array in arrays.items()}
            try:
                given = call(delta, tensors=tensors, name=name, lora_alpha=alpha)
            except AssertionError as error:
                hint = f"; one key is {next(iter(arrays))!r}" if "KeyError" in str(error) else ""
                raise AssertionError(f"{error}{hint}") from None
            strips = {n: [arrays[key(n, p)] for p in "AB"] for n in layers}
            A, B = strips[name]
            got, right = numbers(given, "ΔW"), alpha / r * B @ A
            assert got.shape == (d, d), f"shape {got.shape}: ΔW is lora_B @ lora_A, {(d, d)}"
            scalings = {
                "the scaling is missing: lora_alpha / r": 1,
                f"the scaling is lora_alpha / r; here r is {r}": alpha,
                "the scaling is lora_alpha / r: lora_alpha is missing": 1 / r,
                "the scaling is lora_alpha / r, not lora_alpha / √r": alpha / r**0.5,
                "the scaling comes once: not on lora_A and on lora_B": (alpha / r) ** 2,
                "the scaling is lora_alpha / r, not r / lora_alpha": r / alpha,
                "lora_alpha / r is no whole number here: no //, no rounding": alpha // r,
                f"lora_alpha is {alpha} here: it is an argument": 32 / r,
                "not minus": -alpha / r,
            }
            times = _times(got, B @ A)
            if times and not np.allclose(got, right):
                for why, scaling in scalings.items():
                    assert not np.isclose(times, scaling), why
                over = alpha / times
                rank = f"r is {r} here, not {over:.0f}: it is the number of rows of lora_A"
                assert not np.isclose(over, round(over)), rank
                raise AssertionError(
                    f"lora_B @ lora_A comes {times:.4g} times: the scaling is lora_alpha / r, here "
                    f"{alpha} / {r}. Is a number fixed that must change?"
                )
            wrong = [("transposed: ΔW is lora_B @ lora_A", right.T)]
            for n, m in itertools.product(layers, repeat=2):
                if (n, m) != (name, name):
                    other = strips[n][1] @ strips[m][0]
                    wrong += [(f"that is another layer: its name is {name!r}", other)]
            if r == d:
                entry = "a product of matrices is @; * multiplies entry by entry"
                neither = "ΔW is lora_B @ lora_A: each once, and neither transposed"
                wrong += [(entry, M * N) for M in (B, B.T) for N in (A, A.T)]
                transposed = B.T @ A, B @ A.T, A.T @ B, A @ B.T
                wrong += [(neither, M) for M in (*transposed, A @ A, B @ B)]
                wrong += [("in the wrong order: ΔW is lora_B @ lora_A", A @ B)]
            for why, other in wrong if not np.allclose(got, right) else ():
                assert _times(got, other) is None, why
            rounded = "right but for the decimals: no rounding, no whole numbers"
            assert np.allclose(got, right) or np.abs(got - right).max() > 1, rounded
            compare(got, right, "ΔW", ": are both strips of this layer, and is it lora_B @ lora_A?")


def _times(got: NDArray, other: NDArray) -> float | None:
    """Return how many times another matrix this is, or None."""
    times = float(np.sum(got * other) / np.sum(other * other))
    return times if np.allclose(got, times * other) else None
