"""Figures: the rank against a planted update, the starts, the scaling."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREY, ORANGE, VERMILION

D, K, N, RANK = 40, 30, 50, 3


def _planted() -> tuple[np.random.Generator, NDArray, NDArray]:
    """Return a generator, ΔW* (d, k) of rank 3 and inputs (n, k). W0 drops out of the loss."""
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((rows, RANK)))[0] for rows in (D, K))
    return rng, (U * [3, 2, 1]) @ V.T, rng.standard_normal((N, K))


def _uniform(rng: np.random.Generator, rows: int, columns: int) -> NDArray:
    """Return what PyTorch's ``kaiming_uniform_(a=√5)`` draws: ±1/√columns."""
    return rng.uniform(-1, 1, (rows, columns)) / columns**0.5


def _descend(
    A: NDArray, B: NDArray, x: NDArray, effect: NDArray, steps: int, lr: float
) -> tuple[NDArray, NDArray]:
    """Return BA (…, d, k) and the losses ‖x (BA)ᵀ - effect‖² / 2n on the way (…, steps).

    Several descents go side by side: A (…, r, k), B (…, d, r), effect (…, n, d), and x (n, k).
    """
    losses = []
    for _ in range(steps):
        h = x @ A.swapaxes(-1, -2)  # (…, n, r)
        G = (h @ B.swapaxes(-1, -2) - effect) / len(x)  # (…, n, d)
        losses.append(np.sum(G**2, axis=(-1, -2)) * len(x) / 2)
        A, B = A - lr * (G @ B).swapaxes(-1, -2) @ x, B - lr * G.swapaxes(-1, -2) @ h
    return B @ A, np.stack(losses, axis=-1)


class Sweep(NamedTuple):
    """For each rank: the floor, the last losses, the errors on fresh inputs; clean: no noise."""

    ranks: Sequence[int]
    floors: Sequence[float]
    clean_loss: Sequence[float]
    noisy_loss: Sequence[float]
    clean_test: Sequence[float]
    noisy_test: Sequence[float]


def _sweep() -> Sweep:
    rng, delta, x = _planted()
    ranks, effect = [1, 2, 3, 5, 10, 30], x @ delta.T  # (n, d)
    squares = np.linalg.svd(effect, compute_uv=False) ** 2
    targets = np.stack([effect, effect + 0.3 * rng.standard_normal(effect.shape)])  # (2, n, d)
    floors, losses, errors = [], [], []
    for r in ranks:
        A, B = _uniform(rng, r, K), np.zeros((D, r))
        found, curves = _descend(np.stack([A, A]), np.stack([B, B]), x, targets, 1000, 0.1)
        floors.append(np.sum(squares[r:]) / (2 * N))
        losses.append(curves[:, -1])
        errors.append(np.sum((found - delta) ** 2, axis=(1, 2)) / np.sum(delta**2))
    clean_loss, noisy_loss = np.transpose(losses)
    clean_test, noisy_test = np.transpose(errors)
    return Sweep(ranks, floors, clean_loss, noisy_loss, clean_test, noisy_test)


def _planted_sweep(*rows: Sequence[float]) -> Numbers:
    """Name the rows of a ``Sweep``, by default of the course's own planted update."""
    sweep = Sweep(*rows) if rows else _sweep()
    # Beyond eight decimals stands what is zero but for rounding: another on each machine.
    numbers = {name: np.round(row, 8).tolist() for name, row in sweep._asdict().items()}
    best = np.argmin(sweep.noisy_test)
    return {**numbers, "best": int(sweep.ranks[best])}


@figure(_planted_sweep)
def rank_sweep_planted(numbers: Numbers) -> Figure:
    """Show the loss stop at the Eckart-Young floor, and too large an r overfit noisy targets.

    Two panels against the rank r of an adapter that learns a planted update of rank 3. Left, the
    training loss: without noise it lies on the floor that the tail of the spectrum sets,
    {floors[0]:.2g} at r = 1, {floors[1]:.2g} at r = 2 and zero from r = 3 on; with noisy targets it
    keeps falling. Right, the error on fresh inputs: without noise zero from r = 3 on; with noise
    least at r = {best}, and {noisy_test[5]:.2g} at r = {ranks[5]}.
    """
    ranks, at = numbers["ranks"], np.arange(len(numbers["ranks"]))
    fig, axes = plt.subplots(1, 2, figsize=(9.0, 3.8), layout="constrained")
    tail = {"markersize": 26, "markeredgewidth": 2, "label": "$\\sum_{i>r}\\sigma_i^2\\,/\\,2n$"}
    axes[0].plot(at, numbers["floors"], "_", color=BLACK, **tail)
    for ax, measure in zip(axes, ("loss", "test"), strict=True):
        clean, noisy = numbers[f"clean_{measure}"], numbers[f"noisy_{measure}"]
        ax.plot(at, noisy, "s--", color=ORANGE, label="$T + 0.3\\,\\varepsilon$")
        ax.plot(at, clean, "o-", color=BLUE, label="$T$", linewidth=1)
        ax.set(xlabel="r", xticks=at, xticklabels=ranks)
        ax.set_ylim(-0.04 * max(noisy))
    axes[0].set_ylabel("$L$")
    axes[1].set_ylabel(
        "$\\|x(\\Delta W - \\Delta W^*)^\\top\\|^2\\,/\\,\\|x\\,\\Delta W^{*\\top}\\|^2$"
    )
    axes[0].legend()
    return fig


def _curves(draws: int = 20) -> dict[str, NDArray]:
    rng, delta, x = _planted()
    curves = {}
    for name, a, b in [("A = B = 0", 0, 0), ("B = 0", 1, 0), ("A = 0", 0, 1), ("random", 1, 1)]:
        A, B = np.empty((draws, RANK, K)), np.empty((draws, D, RANK))
        for draw in range(draws):
            A[draw] = a * _uniform(rng, RANK, K)
            B[draw] = b * _uniform(rng, D, RANK)
        curves[name] = _descend(A, B, x, x @ delta.T, 151, 0.03)[1]
    return curves


def _starts(curves: Mapping[str, NDArray] | None = None) -> Numbers:
    """Compare the losses from four starts, name → (draws, steps); by default our own."""
    curves = curves or _curves()
    ahead = np.sum(curves["B = 0"] < curves["A = 0"], axis=0)
    medians = {name: np.median(losses, axis=0) for name, losses in curves.items()}
    return {
        "draws": len(curves["B = 0"]),
        "level": float(curves["A = B = 0"][0, 0]),
        "random": float(np.mean(curves["random"][:, 0])),
        "last": len(ahead) - 1,
        "ahead_1": int(ahead[1]),
        "ahead_last": int(ahead[-1]),
        "medians": {name: np.round(line[::10], 5).tolist() for name, line in medians.items()},
        "losses": np.stack(list(curves.values())),  # (starts, draws, steps)
    }


@figure(_starts)
def initialisations(numbers: Numbers) -> Figure:
    """Show how training goes on from four starts: only A = B = 0 never moves.

    The loss against the step of gradient descent, {draws} draws of each start, thin, and their
    median, thick. With A = B = 0 a level line at {level:.2g}. With both random it begins higher, at
    {random:.2g} on average, and falls. With A = 0 and with B = 0 it begins on the level line; after
    1 step B = 0 is ahead in {ahead_1} of {draws} draws, after {last} steps in {ahead_last}.
    """
    fig, ax = plt.subplots(figsize=(8.0, 4.2), layout="constrained")
    looks = [(BLACK, ":"), (BLUE, "-"), (ORANGE, "--"), (GREY, "-.")]
    for name, losses, look in zip(numbers["medians"], numbers["losses"], looks, strict=True):
        color, dash = look
        ax.plot(losses.T, color=color, linewidth=0.6, alpha=0.35)
        label = f"${name}$" if "=" in name else "$A, B \\neq 0$"
        ax.plot(np.median(losses, axis=0), dash, color=color, linewidth=2.5, label=label)
    ax.set(xlabel="step", ylabel="$L$", xlim=(0, numbers["last"]), ylim=(0, None))
    ax.legend()
    return fig


def _first_steps(draws: int = 200) -> tuple[list[int], dict[str, NDArray]]:
    """To first order a step of SGD takes ‖dB‖² off, one of Adam, which is sign(dB), Σ|dB|."""
    rng, delta, x = _planted()
    ranks, measured = [1, 2, 4, 8, 16], {}
    for name, power in [("α/r", 1.0), ("α/√r", 0.5)]:
        measured[name] = np.empty((len(ranks), 3))
        for row, r in zip(measured[name], ranks, strict=True):
            A = np.stack([_uniform(rng, r, K) for _ in range(draws)])  # (draws, r, k)
            grad_B = r**-power * (delta @ x.T @ x) @ A.swapaxes(1, 2)  # (draws, d, r)
            square = np.sum(grad_B**2) / draws
            row[:] = square**0.5, square, np.abs(grad_B).sum() / draws
    return ranks, measured


def _powers(ranks: Sequence[int] = (), measured: Mapping[str, NDArray] | None = None) -> Numbers:
    """Fit powers of the rank to what first steps measure; by default our own.

    Takes ranks and name → (ranks, 3): the size of dB, the drop of L under SGD and under Adam.
    """
    if measured is None:
        ranks, measured = _first_steps()
    slopes = {}
    for name, values in measured.items():
        slopes[name] = np.polyfit(np.log(ranks), np.log(values), 1)[0].tolist()
    relative = np.stack([values / values[0] for values in measured.values()])
    return {"ranks": list(ranks), "slopes": slopes, "relative": relative}


@figure(_powers)
def scaling_and_rank(numbers: Numbers) -> Figure:
    """Show what scaling by α/r and by α/√r keeps equal as r grows: it depends on the optimizer.

    Three panels, both axes logarithmic, each against the rank r and relative to r = 1. The first
    gradient of B: level under alpha over root r, slope -1/2 under alpha over r. What a first small
    step of SGD takes off the loss: level under alpha over root r, slope -1 under alpha over r. The
    same under Adam: slope +1/2 under alpha over root r, level under alpha over r. From r =
    {ranks[0]} to {ranks[4]}.
    """
    ranks = numbers["ranks"]
    fig, axes = plt.subplots(1, 3, figsize=(10.0, 3.6), sharey=True, layout="constrained")
    titles = ["$\\|\\partial L/\\partial B\\|$", "SGD: $-\\Delta L$", "Adam: $-\\Delta L$"]
    styles = {"α/r": ("s--", VERMILION, "/r$"), "α/√r": ("o-", BLUE, "/\\sqrt{r}$")}
    for column, (ax, title) in enumerate(zip(axes, titles, strict=True)):
        for (name, slopes), relative in zip(
            numbers["slopes"].items(), numbers["relative"], strict=True
        ):
            (style, color, label), height = styles[name], relative[:, column]
            ax.plot(ranks, height, style, color=color, label=f"$s = \\alpha{label}")
            end = {"xy": (ranks[-1], height[-1]), "xytext": (-8, 9)}
            power = round(2 * slopes[column]) / 2
            ax.annotate(f"$r^{{{power:g}}}$", textcoords="offset points", **end)
        ax.set(title=title, xlabel="r", xscale="log", yscale="log")
        ax.set_xticks(ranks, ranks)
        ax.minorticks_off()
    axes[0].set_ylabel("$y(r)\\,/\\,y(1)$")
    axes[1].legend(loc="lower left")
    return fig
