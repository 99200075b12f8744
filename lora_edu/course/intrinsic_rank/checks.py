"""Checks: the jury's votes, a control, an update cut by its outputs, a fair comparison."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_edu.course.checks import call, check, numbers
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


# What a setting is → the shares right of its two runs on validation. The best is the seventh.
SETTINGS = {
    "comes first, and is the smallest: choose by the mean on validation": (0.70, 0.72),
    "has the one luckiest run: choose by the mean over the runs": (0.60, 0.97),
    "has the best first run, and so do lists compare: choose by the mean": (0.95, 0.65),
    "is the worst on validation: more right is better": (0.30, 0.40),
    "is the best on test, which may have no say: choose on validation": (0.83, 0.85),
    "is the best one of the other method: each needs its own": (0.80, 0.78),
    "is right": (0.88, 0.90),
    "is the largest number, as `max` compares keys: choose by the mean": (0.75, 0.77),
    "stands on test where the best stands on validation: look it up by its name": (0.74, 0.76),
}
OF_FULL = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.03)
OF_LORA = (0.001, 0.002, 0.003, 0.005, 0.01, 0.05, 0.02, 0.2, 0.03)


def _table(settings: Sequence[float], runs: NDArray) -> dict[float, list[float]]:
    return dict(sorted(zip(settings, runs.tolist(), strict=True)))


@check
def check_fair(fair: Callable) -> None:
    """``fair(full, lora)``: full minus LoRA on test, run by run, each at its own chosen setting."""
    held, test = np.array([*SETTINGS.values()]), np.random.default_rng(3).uniform(size=(2, 9, 4))
    test = (0.6 + 0.2 * test).round(4)
    test[:, 4] += 0.1
    (on_full, on_lora), gap = test, (0.02, 0.01)  # between the two on validation
    full = {"validation": _table(OF_FULL, held), "test": _table(OF_FULL, on_full)}
    lora = {"validation": _table(OF_LORA, held - gap), "test": _table(OF_LORA, on_lora)}
    for method, best in ((full, OF_FULL[6]), (lora, OF_LORA[6])):  # a setting has no fixed place
        other = {best: OF_FULL[8], OF_FULL[8]: best}
        method["test"] = {(s := other.get(at, at)): method["test"][s] for at in method["test"]}
    got = numbers(call(fair, full=full, lora=lora), "the result")
    a, b = test[:, 6]
    right = a - b
    assert not np.allclose(got, right.mean()), "that is their mean: return one gap a run"
    assert got.ndim, "return one gap a run, not a single number"
    assert not np.isin(got, OF_FULL + OF_LORA).all(), "those are settings: what gaps have they?"
    wrong = {
        "a gap may be negative: no absolute value": abs(right),
        "those are a hundred times too large: plain differences": 100 * right,
        "that says who wins: return by how much": right > 0,
        "the order of the runs must stay: run by run": np.sort(right),
        "the order of the runs must stay, or other networks are compared": np.sort(a) - np.sort(b),
        "run by run: no mean is subtracted": a - b.mean(),
        "the best of each single run is chosen on test: one setting for all runs": (
            on_full.max(axis=0) - on_lora.max(axis=0)
        ),
        "that is the mean over all settings: choose one": np.subtract(*test.mean(axis=1)),
        "that is the accuracy of full alone": a,
        "that is the accuracy of LoRA alone": b,
        "that is a ratio: subtract": a / b,
        "the gaps were divided by full: differences alone": right / a,
        "those are the gaps on validation": np.array(gap),
    }
    for why, value in wrong.items():
        assert value.shape != got.shape or not np.allclose(got, value), why
    assert got.shape == (4,), f"return a gap for each of the four runs on test, got {got.shape}"
    for (i, first), (j, second) in itertools.product(enumerate(SETTINGS), repeat=2):
        for one in test:
            assert not np.allclose(got, one[i] - one[j]), "a method minus itself: full minus LoRA"
        assert not np.allclose(got, on_lora[i] - on_full[j]), "it is turned over: full minus LoRA"
        if np.allclose(got, on_full[i] - on_lora[j]):
            assert i == 6, f"the setting of full, {OF_FULL[i]}, {first}"
            assert j == 6, f"the setting of LoRA, {OF_LORA[j]}, {second}"
            return
    near = np.allclose(got, right, atol=0.011)
    assert not near, f"something is rounded, {got.round(4)}: take the numbers as they are"
    raise AssertionError(
        f"full is best at {OF_FULL[6]}, LoRA at {OF_LORA[6]}. In the first run on test they have "
        f"{a[0]:.4f} and {b[0]:.4f} right, a gap of {right[0]:.4f}: got {got[0]:.4f}"
    )


# -- exercise 3: cut where it counts -------------------------------------------------------------


@check
def check_cut_by_outputs(cut: Callable) -> None:
    """``cut(delta, x, r)`` has rank r, and the least ‖x Dᵀ - x deltaᵀ‖ of all such D."""
    rng = np.random.default_rng(0)
    for (d, k, n), r in (((5, 5, 5), 2), ((5, 4, 30), 3), ((4, 6, 30), 2)):
        delta = rng.standard_normal((d, k))
        x = rng.standard_normal((n, k)) * np.geomspace(1, 20, k) + 1  # some inputs are larger
        result = call(cut, delta=delta, x=x, r=r)
        assert not isinstance(result, tuple), "return D, one matrix: not its parts"
        got = numbers(result, "the result")
        square = d == k
        assert got.ndim == 2, f"return D, of the shape of delta, {delta.shape}, got {got.shape}"
        assert square or got.shape == delta.shape, (
            f"it must have the shape of delta, {delta.shape}, got {got.shape}"
        )
        U, S, Vt = np.linalg.svd(delta @ x.T, full_matrices=False)
        values, V = np.linalg.eigh(x.T @ x)
        root = V * np.sqrt(values) @ V.T
        sizes, right = np.linalg.norm(x, axis=0), U[:, :r] @ U[:, :r].T @ delta
        wrong = {
            "that is the best cut of delta itself: the inputs play no part in it": _cut(delta, r),
            "that is the cut of the outputs: undo x, for an update is wanted": _cut(delta @ x.T, r),
            "that is the cut of the outputs, turned over: undo x": _cut(x @ delta.T, r),
            "x came in twice: the outputs are delta xᵀ": _along(delta @ x.T @ x, delta, r),
            "the directions of the inputs were kept: take those of the outputs": (
                _along(x.T, delta.T, r).T
            ),
            "the update is missing: U Uᵀ alone keeps the directions": U[:, :r] @ U[:, :r].T,
            "all directions were kept: take the first r": delta,
            "it is transposed": right.T,
            "that is what the cut leaves out: keep the r strongest": delta - right,
            "the weakest directions were kept: the first r are the strongest": (
                U[:, -r:] @ U[:, -r:].T @ delta
            ),
            "the strongest direction is left out: counting begins at 0": (
                U[:, 1 : r + 1] @ U[:, 1 : r + 1].T @ delta
            ),
            "the mean of the inputs was taken off: the outputs contain it": (
                _along(delta @ (x - x.mean(axis=0)).T, delta, r)
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
        for m in range(1, n):
            wrong[f"all rows of x: only {m} of {n} are used"] = _along(delta @ x[:m].T, delta, r)
        for why, value in wrong.items():
            if value.shape == got.shape and got.any():  # a slip may come with a factor, as 1 / n
                assert not np.allclose(got, value * (np.sum(got * value) / np.sum(value**2))), why
        assert got.shape == delta.shape, f"D has the shape of delta, {delta.shape}: got {got.shape}"
        rank = np.linalg.matrix_rank(got, tol=1e-5 * np.abs(delta).max())
        rounded = " (are its numbers rounded?)" if np.allclose(got, right, atol=0.01) else ""
        assert rank <= r, f"its rank must be at most {r}, got {rank}{rounded}"
        assert rank == r, f"its rank is {rank}: with {r} directions the outputs would change less"
        least, change = np.sqrt(np.sum(S[r:] ** 2)), np.linalg.norm(x @ (got - delta).T)
        factor, U, V = np.sum(got * right) / np.sum(right**2), *np.linalg.svd(delta)[::2]
        own, struck = np.abs(U.T @ got @ V.T) > 1e-6, np.isclose(got, delta) | np.isclose(got, 0)
        turned, projected = _along(right, got, r), _along(got, delta, r)
        forms = {
            f"that is right times {factor:.3g}: why": np.allclose(got, factor * right),
            "numbers of delta are kept or struck: which directions mix all outputs": struck.all(),
            "delta's own directions are kept: do the outputs, delta xᵀ, have those": own.sum() == r,
            "right directions, wrong weights: is x undone, or a root": np.allclose(got, turned),
            "cut to r directions, as it should be; but to which": np.allclose(got, projected),
            "does D fit all inputs": True,
        }
        form = next(form for form, holds in forms.items() if holds)
        off = f"The outputs change by {change:.3g}, and {least:.3g} is possible"
        assert change < least * (1 + 1e-5), f"the rank is right; {form}? {off}"


def _cut(matrix: NDArray, r: int) -> NDArray:
    U, S, Vt = np.linalg.svd(matrix, full_matrices=False)
    return (U[:, :r] * S[:r]) @ Vt[:r]


def _along(matrix: NDArray, delta: NDArray, r: int) -> NDArray:
    """Project ``delta`` on the r strongest left directions of a matrix."""
    U = np.linalg.svd(matrix, full_matrices=False)[0][:, :r]
    return U @ (U.T @ delta)
