"""Experiments: the floor and the noise, and when each direction lights up, seed by seed."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lora_edu.course.experiments import Row, experiment
from lora_edu.course.learning_the_update.figures import lighting_up


def _descend(A: NDArray, t: NDArray, x: NDArray, lr: float, steps: int) -> Iterator[NDArray]:
    """Yield BA (d, k) after each step of gradient descent from B = 0 and A (r, k).

    The loss of n examples is ‖x (BA)ᵀ - t‖² / 2n, with x (n, k) and t (n, d).
    """
    second_moment, target = x.T @ x / len(x), t.T @ x / len(x)  # (k, k), (d, k)
    B = np.zeros((t.shape[1], len(A)))
    for _ in range(steps):
        G = B @ (A @ second_moment) - target  # (d, k): the slopes of L by the entries of BA
        A, B = A - lr * B.T @ G, B - lr * G @ A.T
        yield B @ A


@experiment(seeds=range(20), version=2)
def planted(
    seed: int, *, d: int = 40, k: int = 60, n: int = 100, strengths: Sequence[float] = (3, 2, 1),
    ranks: Sequence[int] = (1, 2, 3, 5, 10, 40), noises: Sequence[float] = (0.0, 0.3, 1.0),
    lr: float = 0.1, steps: int = 1000, small: float = 0.01,
) -> Row:  # fmt: skip
    """Plant an update of rank 3 anew; learn it at each rank, from targets with more and more noise.

    Noise by noise, rank by rank: ``losses``, of the targets without noise; ``missed``, the share of
    the update's energy that is missed at the end; ``stopped``, the same at the step that is best on
    n other examples, as noisy, and ``stopped_small`` from a ``small`` start; ``all``, at the end of
    training on these others as well.
    """
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.standard_normal((m, len(strengths))))[0] for m in (d, k))
    delta = (U * strengths) @ V.T  # (d, k)
    x, error = rng.standard_normal((n, k)), rng.standard_normal((n, d))
    starts = [rng.standard_normal((r, k)) / k**0.5 for r in ranks]
    other_x, other_error = rng.standard_normal((n, k)), rng.standard_normal((n, d))
    tail = np.linalg.svd(x @ delta.T, compute_uv=False) ** 2 / (2 * n)

    def missed(found: NDArray) -> float:
        return float(np.sum((found - delta) ** 2) / np.sum(delta**2))

    row: Row = {"floors": [float(tail[r:].sum()) for r in ranks]}
    row |= {name: [] for name in ("losses", "missed", "stopped", "stopped_small", "all")}
    all_x = np.concatenate([x, other_x])  # (2n, k)
    for noise in noises:
        t, other_t = x @ delta.T + noise * error, other_x @ delta.T + noise * other_error  # (n, d)

        def chosen(found: NDArray, other_t: NDArray = other_t) -> float:
            return float(np.sum((other_x @ found.T - other_t) ** 2))

        all_t = np.concatenate([t, other_t])  # (2n, d)
        ways = [list(_descend(A, t, x, lr, steps)) for A in starts]
        ends = [way[-1] for way in ways]
        found = {
            "missed": ends,
            "stopped": [min(way, key=chosen) for way in ways],
            "stopped_small": [
                min(_descend(small * A, t, x, lr, steps), key=chosen) for A in starts
            ],
            "all": [list(_descend(A, all_t, all_x, lr, steps))[-1] for A in starts],
        }
        row["losses"].append([float(np.sum((x @ (M - delta).T) ** 2) / (2 * n)) for M in ends])
        for name, updates in found.items():
            row[name].append([*map(missed, updates)])
    return row


@experiment(seeds=range(20), gap=("", "half", "theory"))
def lights(
    seed: int, *, r: int = 5, start: float = 0.01, lr: float = 0.01, steps: int = 1200
) -> Row:
    """Note when each direction of the hidden word has half its height, measured and by theory."""
    numbers = lighting_up(r, start, lr, steps, seed)
    return {name: numbers[name] for name in ("half", "theory", "spare")}
