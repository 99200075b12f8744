"""Checks: neighbours, the frontier, ΔW out of a file of PEFT's."""

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lora_edu.course import checks as tools


def _share(score: NDArray, y: NDArray) -> float:
    nearest = np.argmax(score - 9e9 * np.eye(len(y)), axis=1)
    return float(np.mean(y[nearest] == y))


@tools.check
def check_neighbours(neighbours: Callable) -> None:
    """``neighbours(e, y)``: the share of rows whose nearest other row, by cosine, has their y."""
    unnamed = ""
    for rows, columns in ((101, 101), (40, 4)):  # so many that no two mistakes give one share
        rng, y = np.random.default_rng(2510), np.arange(rows) % 4 % 3  # one group is larger
        e = np.eye(columns)[y] + 0.4 * rng.standard_normal((rows, columns))
        e *= rng.uniform(0.2, 5, (rows, 1))
        unit = e / np.linalg.norm(e, axis=1, keepdims=True)
        got, right = tools.number(tools.call(neighbours, e=e, y=y)), _share(unit @ unit.T, y)
        if unnamed or np.isclose(got, right):
            continue
        tools.slip(got, _neighbour_slips(e, unit, y, right))
        assert not tools.lost_digits(got, right), "do not round the share"
        others = {"e": rng.permutation(e), "y": y * (y > 1)}
        same = tools.ignored(neighbours, {"e": e, "y": y}, others)
        assert not same, f"{got:.4g}: {same}"
        many, over = round(rows * right), rows * right / got if got else 0.5
        unnamed = f"for {rows} rows: {got:.4g}, should be {right:.4g}, or {many} / {rows}"
        by_another = f"{unnamed}; yours is {many} / {over:.0f}: divide by n"
        assert not np.isclose(over, round(over)), by_another
        assert np.isclose(rows * got, round(rows * got)), (
            f"{unnamed}; times {rows} yours is no whole number: count rows, each as 1 or as 0 (is "
            "its neighbour's y its own?), then divide by n, not group by group"
        )
    itself = "all cosines are negative; does each find itself? Rule it out by -np.inf, not by 0"
    twin = "two are alike; leave out the row itself, by its place, and no other: no twin"
    for rows, groups, near, right, hint in (
        ([[2, 0], [-1, 3], [-1, -2]], [0, 1, 0], [1, 0, 0], 1 / 3, itself),
        ([[1, 0], [2, 0], [0, 1], [-1, 4]], [0, 1, 1, 1], [1, 0, 3, 2], 1 / 2, twin),
    ):
        got = tools.number(tools.call(neighbours, e=np.array(rows, float), y=np.array(groups)))
        assert np.isclose(got, right), (
            f"for the rows {rows} of groups {groups}: {got:.4g}, should be {right:.4g}, "
            f"for the nearest are rows {near}: {'which does yours find?' if unnamed else hint}"
        )
    assert not unnamed, unnamed


def _neighbour_slips(e: NDArray, unit: NDArray, y: NDArray, right: float) -> list:
    """Return what mistakes make of the share."""
    n, cosines, apart = len(y), unit @ unit.T, np.abs(e[:, None] - e)
    order = np.argsort(cosines - 9e9 * np.eye(n))  # first itself, then from far to near
    later = np.sum((y[np.argmax(cosines - 9e9 * np.tri(n), axis=1)] == y)[:-1])
    less, columns = e - e.mean(axis=0), e / np.linalg.norm(e, axis=0)
    long = np.linalg.norm(e, axis=1, keepdims=True)
    alone = "compare each row with all others, not only with later ones"
    scores = [
        ("long rows win: divide each row by its length, on both sides of the product", e @ e.T),
        ("divide each *row* by its length, not each column", columns @ columns.T),
        ("a length is the *root* of the sum of squares", (unit / long) @ (unit / long).T),
        ("no mean is to be taken away", np.corrcoef(e)),
        ("no mean is to be taken away", (less @ less.T) / np.linalg.norm(less, axis=1)),
        ("that is by distance: divide each row by its length", -(apart**2).sum(axis=-1)),
        ("that is by distance: divide each row by its length", -apart.sum(axis=-1)),
        ("the nearest is that of the largest cosine, not the least", -cosines),
        ("opposite is not near: no absolute value", np.abs(cosines)),
    ]
    if e.shape[0] == e.shape[1]:
        scores += [
            ("the cosines are between rows: e @ e.T", unit.T @ unit),
            ("divide each *row* by its own length: keepdims=True", (e / long.T) @ (e / long.T).T),
        ]
    return [
        ("each finds itself: leave it out (or is the `return` inside the loop?)", 1.0),
        *((why, _share(score, y)) for why, score in scores),
        ("compare y[nearest] with y, not the row's number", np.mean(order[:, -1] == y)),
        (alone, later / n),
        (alone, (later + 1) / n),
        ("only the first row counts: is the `return` inside the loop?", 1 / n),
        ("the nearest alone, no second", np.mean(y[order[:, -2]] == y)),
        ("a share is of 1, not of 100", 100 * right),
        ("that is the share whose neighbour is of another group", 1 - right),
    ]


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


@tools.check
def check_frontier(frontier: Callable) -> None:
    """``frontier(learned, kept)``: for each setting, whether no other beats it."""

    def ask(learned: NDArray, kept: NDArray) -> NDArray:
        got = tools.numbers(tools.call(frontier, learned=learned, kept=kept), "the result")
        assert got.shape == learned.shape, (
            f"shape {got.shape}: one True or False for each of the {len(learned)} settings (not "
            "their places; and no `return` inside a loop)"
        )
        odd = [value for value in got.tolist() if value not in (0, 1)]
        assert not odd, f"True or False for each setting, got {odd[0]:g}"
        return got

    for place, (learned, kept, why) in enumerate(SETTINGS):
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
        stretched = ask(np.exp(9 * x) - 50, -9 * np.exp(-9 * y))  # nobody comes ahead by that
        if place < 6 and not np.array_equal(ask(x, y), stretched):
            why = AMOUNT
        elif place == 0:
            why = FIRST.get(tuple(got), why)
        elif place == 2 and sum(got) == sum(right):
            why = ORDER
        raise AssertionError(f"for learned {learned} and kept {kept}, {says}: {why}")


@tools.check
def check_delta_from_file(delta: Callable) -> None:
    """``delta(tensors, name, lora_alpha)`` is ΔW of one layer, from the tensors PEFT saves."""
    import torch

    rng, key = np.random.default_rng(0), "base_model.model.{}.lora_{}.weight".format
    layers = [
        f"bert.encoder.layer.{layer}.attention.self.{which}"
        for layer, which in ((4, "query"), (5, "query"), (4, "value"))
    ]
    for r, d, alpha in ((3, 3, 10), (2, 5, 7)):  # square first: a wrong order has a value too
        shapes = {"A": (r, d), "B": (d, r)}
        arrays = {key(n, p): rng.integers(-9, 10, s) for n in layers for p, s in shapes.items()}
        for name in layers:
            tensors = {k: torch.tensor(array, dtype=torch.float32) for k, array in arrays.items()}
            try:
                given = tools.call(delta, tensors=tensors, name=name, lora_alpha=alpha)
            except AssertionError as error:
                hint = f"; one key is {next(iter(arrays))!r}" if "KeyError" in str(error) else ""
                raise AssertionError(f"{error}{hint}") from None
            got = tools.shaped(given, (d, d), "ΔW", ": it is lora_B @ lora_A")
            A, B = arrays[key(name, "A")], arrays[key(name, "B")]
            part = {"lora_B @ lora_A": B @ A}
            others = tools.products(lora_A=A, lora_B=B) if r == d else {}
            for n, m in itertools.product(layers, repeat=2):
                if {n, m} != {name}:
                    of_others = arrays[key(n, "B")] @ arrays[key(m, "A")]
                    others[f"lora_B of {n} @ lora_A of {m}"] = of_others
            times = tools.as_sum(got, part).get("lora_B @ lora_A", alpha / r)
            assert np.isclose(times, alpha / r, rtol=1e-4), (
                f"lora_B @ lora_A comes {times:.4g} times: lora_alpha / {alpha / times:.4g}. "
                f"The scaling is lora_alpha / r: here lora_alpha is {alpha}, and r is {r}, the "
                "number of rows of lora_A"
            )
            asked = f" (the name is {name!r})"
            tools.compare_sum(got, {"lora_B @ lora_A": alpha / r}, part, others, asked)
