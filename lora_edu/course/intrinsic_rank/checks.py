"""Checks: the jury's votes, a control, an update cut by its outputs, a fair comparison."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_edu.course.checks import call, check, compare, numbers
from lora_edu.course.datasets import digits
from lora_edu.course.digits import adapt, pretrain, updates
from lora_edu.course.intrinsic import r90

VERDICTS = ("won", "lost", "cannot tell")
_VOTES: dict[str, str] = {}  # when → what, in the order of the page


def vote(guess: object, when: str) -> None:
    """Note how the reader votes at a moment of the trial, and print all votes so far.

    ``None`` asks for one; ``"?"`` abstains. Any other word than those of ``VERDICTS`` is taken as
    it is written: nobody is stopped from having an opinion.
    """
    if guess is None or guess is ...:
        print('your vote first: write "won", "lost" or "cannot tell" in place of None')
        return
    _VOTES[when] = "–" if guess == "?" else str(guess)
    width = max(map(len, _VOTES))
    print("the bet is ...")
    for moment, voted in _VOTES.items():
        print(f"  {moment:<{width}}   {voted}")
    if list(_VOTES.values()).count("cannot tell") > 1:
        print("cannot tell, again? Write down what you would have to see: a witness may bring it")


# -- exercise 1: a control that could refute a claim ---------------------------------------------

CHOICES: dict[str, Sequence[Any]] = {
    "start": ("pretrained", "random"),
    "labels": ("right", "shuffled"),
}


@functools.cache
def directions(start: str, degrees: float, labels: str, lr: float, epochs: int) -> int:
    """Fine-tune fully on turned digits; return how many directions hold 90 % of fc2's update."""
    init, base = pretrain(0)
    before = base if start == "pretrained" else init
    data = digits(degrees, shuffle_labels=0 if labels == "shuffled" else None)
    return r90(updates(adapt(before, data, None, lr, 0, epochs=epochs), before)["fc2"])


@check
def check_control(control: Mapping[str, Any]) -> None:
    """``control`` is the usual run with another start, and nothing else; it is run."""
    usual = {"start": "pretrained", "degrees": 45, "labels": "right", "lr": 1e-3, "epochs": 30}
    assert isinstance(control, Mapping), f"it must be a dict, got {type(control).__name__}"
    missing = [name for name, value in control.items() if value is ...]
    if len(missing) == len(control):
        raise NotImplementedError
    assert not missing, f"{' and '.join(missing)} are still to be given"
    if unknown := sorted(map(str, control.keys() ^ usual.keys())):
        raise AssertionError(f"it must have the keys of `usual`, neither more nor fewer: {unknown}")
    for name, allowed in CHOICES.items():
        value = control[name]
        assert value in allowed, f"{name} must be one of {', '.join(allowed)}, got {value!r}"
    changed = [name for name in usual if not _same(control[name], usual[name])]
    assert changed, "nothing is changed: that is the usual run once more"
    assert len(changed) == 1, (
        f"{' and '.join(changed)} are changed: whatever comes out, you cannot tell which did it"
    )
    assert changed == ["start"], (
        f"only {changed[0]} is changed, and the claim is about what the network knew before: "
        "whatever comes out, the claim can stand"
    )
    was, now = directions(**usual), directions(**control)
    print(f"directions for 90 %: {was} from the pretrained network, {now} from a random one")


def _same(one: Any, other: Any) -> bool:
    numeric = isinstance(one, (int, float)) and isinstance(other, (int, float))
    return math.isclose(one, other) if numeric else one == other


# -- exercise 2: a fair comparison ---------------------------------------------------------------


@check
def check_fair(fair: Callable) -> None:
    """``fair(full, lora)``: full minus LoRA on test, run by run, each at its own chosen setting."""
    full = {
        "validation": {1e-3: [0.97, 0.71], 1e-2: [0.90, 0.92], 1e-1: [0.3, 0.3]},
        "test": {
            1e-3: [0.99, 0.98, 0.99, 0.97],
            1e-2: [0.8925, 0.93, 0.90, 0.91],
            1e-1: [0.3, 0.2, 0.3, 0.4],
        },
    }
    lora = {
        "validation": {
            1e-3: [0.50, 0.95],
            1e-2: [0.80, 0.84],
            3e-2: [0.70, 0.72],
            1e-1: [0.83, 0.85],
        },
        "test": {
            1e-3: [0.6, 0.7, 0.6, 0.5],
            1e-2: [0.91, 0.90, 0.85, 0.86],
            3e-2: [0.98, 0.93, 0.90, 0.97],
            1e-1: [0.84, 0.9675, 0.88, 0.90],
        },
    }
    got = numbers(call(fair, full=full, lora=lora), "the result")
    of = {
        name: {setting: np.array(runs) for setting, runs in method["test"].items()}
        for name, method in (("full", full), ("LoRA", lora))
    }
    a, b = of["full"][1e-2], of["LoRA"][1e-1]
    right, lucky = a - b, (of["full"][1e-3], of["LoRA"][1e-3])
    assert not np.allclose(got, right.mean()), "that is their mean: return one gap a run"
    assert got.ndim, "return one gap a run, not a single number"
    wrong = {
        "it is turned over: full minus LoRA": -right,
        "a gap may be negative: no absolute value": abs(right),
        "the gaps are rounded: return them as they are": right.round(2),
        "those are a hundred times too large: plain differences": 100 * right,
        "that says who wins: return by how much": right > 0,
        "the order of the runs must stay: run by run": np.sort(right),
        "the order of the runs must stay, or other networks are compared": np.sort(a) - np.sort(b),
        "run by run: no mean is subtracted": a - b.mean(),
        "a setting was chosen on test: choose it on validation": lucky[0] - b,
        "the setting was chosen on test: choose it on validation": lucky[0] - of["LoRA"][3e-2],
        "LoRA's setting was chosen on test": a - of["LoRA"][3e-2],
        "the best of each single run is chosen on test: one setting for all runs": np.max(
            [*of["full"].values()], axis=0
        )
        - np.max([*of["LoRA"].values()], axis=0),
        "both at the setting that is best for full: each needs its own": a - of["LoRA"][1e-2],
        "both at the setting that is best for LoRA: each needs its own": of["full"][1e-1] - b,
        "one lucky run chose the setting: take the mean over the runs": lucky[0] - lucky[1],
        "that is the worst setting of each: more right is better": of["full"][1e-1]
        - of["LoRA"][3e-2],
        "that is the mean over all settings: choose one": np.mean([*of["full"].values()], axis=0)
        - np.mean([*of["LoRA"].values()], axis=0),
        "that is the accuracy of full alone": a,
        "that is the accuracy of LoRA alone": b,
        "that is a ratio: subtract": a / b,
        "the gaps were divided by full: differences alone": right / a,
        "those are the gaps on validation": np.subtract(
            full["validation"][1e-2], lora["validation"][1e-1]
        ),
    }
    for why, value in wrong.items():
        assert value.shape != got.shape or not np.allclose(got, value), why
    assert got.shape == right.shape, f"return one gap a run, {right.shape}, got shape {got.shape}"
    compare(got, right, "the result")


# -- exercise 3: cut where it counts -------------------------------------------------------------


@check
def check_cut_by_outputs(cut: Callable) -> None:
    """``cut(delta, x, r)`` has rank r, and the least ‖x Dᵀ - x deltaᵀ‖ of all such D."""
    rng = np.random.default_rng(0)
    for (d, k, n), r in (((5, 5, 5), 2), ((5, 4, 30), 1), ((4, 6, 30), 2)):
        delta = rng.standard_normal((d, k))
        x = rng.standard_normal((n, k)) * np.geomspace(1, 20, k) + 1  # some inputs are larger
        got = numbers(call(cut, delta=delta, x=x, r=r), "the result")
        square = d == k
        assert got.ndim == 2, f"return D, of the shape of delta, {delta.shape}, got {got.shape}"
        assert square or got.shape == delta.shape, (
            f"it must have the shape of delta, {delta.shape}, got {got.shape}"
        )
        U, S, Vt = np.linalg.svd(delta @ x.T, full_matrices=False)
        values, V = np.linalg.eigh(x.T @ x)
        root = V * np.sqrt(values) @ V.T
        sizes = np.linalg.norm(x, axis=0)
        wrong = {
            "that is the best cut of delta itself: the inputs play no part in it": _cut(delta, r),
            "that is the cut of the outputs: undo x, for an update is wanted": _cut(delta @ x.T, r),
            "that is the cut of the outputs, turned over: undo x": _cut(x @ delta.T, r),
            "those directions are delta's own: take those of delta xᵀ": _along(delta, delta, r),
            "the directions of the inputs were kept: take those of the outputs": (
                _along(x.T, delta.T, r).T
            ),
            "the update is missing: U Uᵀ alone keeps the directions": U[:, :r] @ U[:, :r].T,
            "all directions were kept: take the first r": delta,
            "it is transposed": (U[:, :r] @ U[:, :r].T @ delta).T,
            "the sign is turned": -U[:, :r] @ U[:, :r].T @ delta,
            "the weakest directions were kept: the first r are the strongest": (
                U[:, -r:] @ U[:, -r:].T @ delta
            ),
            "the strongest direction is left out: counting begins at 0": (
                U[:, 1 : r + 1] @ U[:, 1 : r + 1].T @ delta
            ),
            "the mean of the inputs was taken off: the outputs contain it": (
                _along(delta @ (x - x.mean(axis=0)).T, delta, r)
            ),
            "only the first r inputs were used: use all rows of x": (
                _along(delta @ x[:r].T, delta, r)
            ),
            "the root of xᵀx was multiplied in and not taken off": _cut(delta @ root, r),
            "the root of xᵀx came in twice: its inverse takes it off": _cut(delta @ root, r) @ root,
            "each input was weighed alone: they move together": _cut(delta * sizes, r) / sizes,
            "the singular values are missing in the cut outputs": (
                (U[:, :r] @ Vt[:r]) @ np.linalg.pinv(x).T
            ),
            "the singular values came in twice": (
                (U[:, :r] * S[:r] ** 2) @ Vt[:r] @ np.linalg.pinv(x).T
            ),
        }
        if square:  # slips that otherwise do not fit
            columns = np.linalg.svd(x @ delta.T)[2][:, :r]
            wrong |= {
                "an input is a row of x: delta @ x.T, or x @ delta.T": _along(delta @ x, delta, r),
                "the outputs are x @ delta.T: transpose delta": _along((x @ delta).T, delta, r),
                "the left vectors of x @ delta.T belong to the examples": (
                    _along(x @ delta.T, delta, r)
                ),
                "svd returns V transposed: its rows are the directions": columns
                @ columns.T
                @ delta,
                "the projector belongs to the left of delta": delta @ U[:, :r] @ U[:, :r].T,
                "delta and x are swapped: the order is delta, x, r": _along(x @ delta.T, x, r),
                "x * delta multiplies entry by entry: x @ delta.T": (
                    _along((x * delta).T, delta, r)
                ),
            }
        for why, value in wrong.items():
            if value.shape == got.shape:
                assert not np.allclose(got, value), why
        assert got.shape == delta.shape, f"D has the shape of delta, {delta.shape}: got {got.shape}"
        rank = np.linalg.matrix_rank(got, tol=1e-8 * np.abs(delta).max())
        assert rank <= r, f"its rank must be at most {r}, got {rank}"
        assert rank == r, f"its rank is {rank}: with {r} directions the outputs would change less"
        least, change = np.sqrt(np.sum(S[r:] ** 2)), np.linalg.norm(x @ (got - delta).T)
        assert change < least * (1 + 1e-6), (
            f"the rank is right; the outputs change by {change:.3g}, and {least:.3g} is possible"
        )


def _cut(matrix: NDArray, r: int) -> NDArray:
    U, S, Vt = np.linalg.svd(matrix, full_matrices=False)
    return (U[:, :r] * S[:r]) @ Vt[:r]


def _along(matrix: NDArray, delta: NDArray, r: int) -> NDArray:
    """Project ``delta`` on the r strongest left directions of a matrix."""
    U = np.linalg.svd(matrix, full_matrices=False)[0][:, :r]
    return U @ (U.T @ delta)
