"""Checks: the jury's votes, a control, an update cut by its outputs, a fair comparison."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_edu import lowrank
from lora_edu.course import checks as tools
from lora_edu.course.datasets import digits
from lora_edu.course.digits import adapt, pretrain, updates
from lora_edu.course.intrinsic import r90
from lora_edu.course.say import say

_VOTES: dict[str, str] = {}  # when → what, in the order of the page


def vote(guess: object, when: str) -> None:
    """Note how the reader votes at a moment of the trial, and print all votes so far.

    ``None`` asks for one; ``"?"`` abstains. Any other word is taken as it is written: nobody is
    stopped from having an opinion.
    """
    if guess is None or guess is ...:
        print(say(tools.VOTE_FIRST))
        return
    _VOTES[when] = "–" if guess == "?" else str(guess)
    votes = {say(moment): say(voted) for moment, voted in _VOTES.items()}
    width = max(map(len, votes))
    print(say("the bet is ..."))
    for moment, voted in votes.items():
        print(f"  {moment:<{width}}   {voted}")
    if list(votes.values()).count(say("cannot tell")) > 1:
        again = "cannot tell, again? Write down what you would have to see: a witness may bring it"
        print(say(again))


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


@tools.check
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
    control = {
        name: value.strip().lower() if isinstance(value, str) else value
        for name, value in control.items()
    }
    for name, allowed in CHOICES.items():
        value = control[name]
        assert value in allowed, f"{name} must be one of {', '.join(allowed)}, got {value!r}"
    changed = [name for name in usual if not _same(control[name], usual[name], name)]
    assert changed, "nothing is changed: that is the usual run once more"
    assert len(changed) == 1, (
        f"{' and '.join(changed)} are changed: whatever comes out, you cannot tell which did it"
    )
    assert changed == ["start"], (
        f"only {changed[0]} is changed, and the claim is about what the network knew before: "
        "whatever comes out, the claim can stand"
    )
    was, now = directions(**usual), directions(**{**usual, "start": "random"})
    print(say(f"directions for 90 %: {was} from the pretrained network, {now} from a random one"))


def _same(given: Any, usual: str | float, name: str) -> bool:
    if isinstance(usual, str):
        return given == usual
    return math.isclose(tools.number(given, name), usual)


# -- exercise 2: a fair comparison ---------------------------------------------------------------


# What a setting is → the shares right of its two runs on validation. The best is the seventh.
SETTINGS = {
    "comes first, and is the smallest: choose by the mean on validation": (0.70, 0.72),
    "has the one luckiest run: choose by the mean over the runs": (0.60, 0.97),
    "has the best first run, and so do lists compare: choose by the mean": (0.95, 0.65),
    "is the worst on validation: more right is better": (0.30, 0.40),
    "is the best on test, or by its worst run: choose by the mean on validation": (0.885, 0.889),
    "is the best one of the other method: each needs its own": (0.80, 0.78),
    "is right": (0.88, 0.90),
    "is the largest number, as `max` compares keys: choose by the mean": (0.75, 0.77),
    "stands on test where the best stands on validation: look it up by its name": (0.74, 0.76),
}
OF_FULL = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.03)
OF_LORA = (0.001, 0.002, 0.003, 0.005, 0.01, 0.05, 0.02, 0.2, 0.03)


def _table(settings: Sequence[float], runs: NDArray, swapped: int = 8) -> dict[float, list[float]]:
    """Return setting → runs in order, but for two that change places: one has no fixed place."""
    table = dict(zip(settings, runs.tolist(), strict=True))
    other = {settings[swapped]: settings[8], settings[8]: settings[swapped]}
    return {(at := other.get(place, place)): table[at] for place in sorted(table)}


@tools.check
def check_fair(fair: Callable) -> None:
    """``fair(full, lora)``: full minus LoRA on test, run by run, each at its own chosen setting."""
    runs, held = 24, np.array([*SETTINGS.values()])  # so many runs that a sum has one reading
    test = (0.6 + 0.2 * np.random.default_rng(3).uniform(size=(2, 9, runs))).round(4)
    test[:, 4] += 0.1
    (on_full, on_lora), gap = test, (0.02, 0.01)  # between the two on validation
    full = {"validation": _table(OF_FULL, held), "test": _table(OF_FULL, on_full, swapped=6)}
    lora = {"validation": _table(OF_LORA, held - gap), "test": _table(OF_LORA, on_lora, swapped=6)}
    got = tools.numbers(tools.call(fair, full=full, lora=lora), "the result")
    a, b = test[:, 6]
    right = a - b
    assert not np.allclose(got, right.mean()), "that is their mean: return one gap a run"
    assert got.ndim, "return one gap a run, not a single number"
    assert not np.isin(got, OF_FULL + OF_LORA).all(), "those are settings: what gaps have they?"
    best_runs = on_full.max(axis=0) - on_lora.max(axis=0)
    slips = {
        "a gap may be negative: no absolute value": abs(right),
        "that says who wins: return by how much": right > 0,
        "the order of the runs must stay: run by run": np.sort(right),
        "sorted, other networks are compared: run by run": np.sort(a) - np.sort(b),
        "the best of each single run is chosen on test: one setting for all runs": best_runs,
        "that is a ratio: subtract": a / b,
        "the gaps were divided by full: differences alone": right / a,
        "those are the gaps on validation": gap,
    }
    tools.slip(got, slips.items())
    each = f"return a gap for each of the {runs} runs on test, got {got.shape}"
    assert got.shape == (runs,), each
    parts = {f"full at {rate}": row for rate, row in zip(OF_FULL, on_full, strict=True)}
    parts |= {f"LoRA at {rate}": row for rate, row in zip(OF_LORA, on_lora, strict=True)}
    assert got.any(), "a method minus itself is 0: full minus LoRA"
    _name_sum(tools.as_sum(got, parts | {"a number": np.ones(runs)}))
    why = ": is it full minus LoRA, each at its setting of the best mean?"
    tools.compare(got, right, "the gaps", why)


def _name_sum(times: dict[str, float]) -> None:
    """Say what is wrong with the runs of which the gaps are made."""
    assert len(times) <= 3, f"{len(times)} settings are mixed in it: choose one for each method"
    yours = f"yours is {tools.told(times)}"
    assert "a number" not in times, f"{yours}: run by run, no mean is subtracted"
    for method, sign, rates in (("full", 1, OF_FULL), ("LoRA", -1, OF_LORA)):
        used = {at: n for at, n in times.items() if at.startswith(method)}
        assert len(used) == bool(times), f"{yours}: it should be one of full minus one of LoRA"
        for at, n in used.items():
            plain = "it should be full minus LoRA, not turned over, not scaled"
            assert n == sign, f"{yours}: {plain}"
            rate = at.split()[-1]
            setting = [*SETTINGS][rates.index(float(rate))]
            assert setting == "is right", f"{yours}: the setting of {method}, {rate}, {setting}"


# -- exercise 3: cut where it counts -------------------------------------------------------------


@tools.check
def check_cut_by_outputs(cut: Callable) -> None:
    """``cut(delta, x, r)`` has rank r, and the least ‖x Dᵀ - x deltaᵀ‖ of all such D."""
    rng = np.random.default_rng(0)
    for d, k, n, r in ((5, 5, 5, 2), (5, 4, 30, 3), (4, 6, 30, 2)):
        delta = rng.standard_normal((d, k))
        x = rng.standard_normal((n, k)) * np.geomspace(1, 20, k) + 1  # some inputs are larger
        result = tools.call(cut, delta=delta, x=x, r=r)
        assert not isinstance(result, tuple), "return D, one matrix: not its parts"
        got = tools.shaped(result, (d, k), "D", ": that of delta")
        right = _along(delta @ x.T, delta, r)
        if np.allclose(got, right):
            continue
        rounded = "right but for its digits: are its numbers rounded?"
        assert not tools.lost_digits(got, right), rounded
        rank = np.linalg.matrix_rank(got, tol=1e-5 * np.abs(delta).max())
        slips = _slips(delta, x, r) + (_square_slips(delta, x, r) if d == k == n else [])
        # A slip may come with a factor, as 1 / n: all are compared at the same length.
        tools.slip(got, slips, of=_unit)
        assert rank <= r, f"its rank must be at most {r}, got {rank}"
        assert rank == r, f"its rank is {rank}: with {r} directions the outputs would change less"
        U, _, Vt = np.linalg.svd(delta)
        own = "delta's own directions are kept: do the outputs, delta xᵀ, have those?"
        assert np.sum(abs(U.T @ got @ Vt.T) > 1e-6) != r, own
        kept = np.isclose(got, delta) | np.isclose(got, 0)
        assert not kept.all(), "numbers of delta are kept or struck, and directions mix all outputs"
        try:
            tools.compare_cut(got @ x.T, delta @ x.T, r)
        except AssertionError as error:
            raise AssertionError(f"of the outputs, delta xᵀ, {error}") from None


def _slips(delta: NDArray, x: NDArray, r: int) -> list[tuple[str, NDArray]]:
    """Return what mistakes make of an update: other directions are kept, or of another matrix."""
    outputs, sizes = delta @ x.T, np.linalg.norm(x, axis=0)
    values, V = np.linalg.eigh(x.T @ x)
    root, centred = V * np.sqrt(values) @ V.T, x - x.mean(axis=0)
    cut, kept = lowrank.best_approximation, _along(outputs, delta, r)
    slips = [
        ("all directions were kept: take the first r", delta),
        ("that is what the cut leaves out: keep the r strongest", delta - kept),
        ("delta's own directions are kept: the inputs play no part", cut(delta, r)),
        ("the inputs' directions were kept: take the outputs'", _along(x.T, delta.T, r).T),
        ("the mean of the inputs was taken off", _along(delta @ centred.T, delta, r)),
        ("x came in twice: the outputs are delta xᵀ", _along(outputs @ x, delta, r)),
        ("each input was weighed alone: they move together", cut(delta * sizes, r) / sizes),
        ("the root of xᵀx was multiplied in and not taken off", cut(delta @ root, r)),
        ("the root of xᵀx came in twice: its inverse undoes it", cut(delta @ root, r) @ root),
    ]
    for m in range(1, len(x)):
        few = f"all rows of x: only {m} of {len(x)} are used"
        slips.append((few, _along(outputs[:, :m], delta, r)))
    return slips


def _square_slips(delta: NDArray, x: NDArray, r: int) -> list[tuple[str, NDArray]]:
    """Return what comes of slips that only fit where all is square."""
    outputs = delta @ x.T
    U, columns = np.linalg.svd(outputs)[0][:, :r], np.linalg.svd(outputs.T)[2][:, :r]
    cut = lowrank.best_approximation(outputs, r)
    return [
        ("it is transposed", (U @ U.T @ delta).T),
        ("the update is missing: U Uᵀ alone keeps the directions", U @ U.T),
        ("the projector belongs to the left of delta", delta @ U @ U.T),
        ("that is the cut of the outputs: undo x, for an update is wanted", cut),
        ("that is the cut of the outputs, turned over: undo x", cut.T),
        ("an input is a row of x: transpose x, or delta", _along(delta @ x, delta, r)),
        ("the outputs are x @ delta.T: transpose delta", _along((x @ delta).T, delta, r)),
        ("the left vectors of x @ delta.T belong to the examples", _along(outputs.T, delta, r)),
        ("svd returns V transposed: its rows are the directions", columns @ columns.T @ delta),
        ("delta and x are swapped: the order is delta, x, r", _along(outputs.T, x, r)),
        ("x * delta multiplies entry by entry: x @ delta.T", _along((x * delta).T, delta, r)),
    ]


def _unit(matrix: NDArray) -> NDArray:
    return matrix / max(np.linalg.norm(matrix), 1e-12)


def _along(matrix: NDArray, delta: NDArray, r: int) -> NDArray:
    """Project ``delta`` on the r strongest left directions of a matrix."""
    U = np.linalg.svd(matrix, full_matrices=False)[0][:, :r]
    return U @ (U.T @ delta)
