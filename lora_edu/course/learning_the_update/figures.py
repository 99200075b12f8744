"""Figures: the rank against a planted update, the starts, the scaling."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREY, ORANGE, VERMILION

D, K, N, RANK = 40, 30, 50, 3


def _planted() -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """Return a generator, ΔW* (d, k) of rank 3 and inputs (n, k). W0 drops out of the loss."""
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((rows, RANK)))[0] for rows in (D, K))
    return rng, (U * [3, 2, 1]) @ V.T, rng.standard_normal((N, K))


def _uniform(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Return what PyTorch's ``kaiming_uniform_(a=√5)`` draws: ±1/√columns."""
    return rng.uniform(-1, 1, (rows, columns)) / columns**0.5


def _descend(
    A: np.ndarray, B: np.ndarray, x: np.ndarray, effect: np.ndarray, steps: int, lr: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return BA and the losses ‖x (BA)ᵀ - effect‖² / 2n on the way."""
    losses = np.empty(steps)
    for step in range(steps):
        h = x @ A.T  # (n, r)
        G = (h @ B.T - effect) / len(x)  # (n, d)
        losses[step] = np.sum(G**2) * len(x) / 2
        A, B = A - lr * (G @ B).T @ x, B - lr * G.T @ h
    return B @ A, losses


def _sweep() -> list[Sequence[float]]:
    rng, delta, x = _planted()
    ranks, effect = [1, 2, 3, 5, 10, 30], x @ delta.T  # (n, d)
    squares = np.linalg.svd(effect, compute_uv=False) ** 2
    noise = 0.3 * rng.standard_normal(effect.shape)
    rows = []
    for r in ranks:
        A, B = _uniform(rng, r, K), np.zeros((D, r))
        runs = [_descend(A, B, x, target, 1000, 0.1) for target in (effect, effect + noise)]
        errors = [np.sum((found - delta) ** 2) / np.sum(delta**2) for found, _ in runs]
        rows.append([r, np.sum(squares[r:]) / (2 * N), *(loss[-1] for _, loss in runs), *errors])
    return list(zip(*rows, strict=True))


@figure(
    "rank_sweep_planted",
    alt="Two panels against the rank r of an adapter that learns a planted update of rank 3. Left, "
    "the training loss: without noise it lies on the floor that the tail of the spectrum sets, "
    "{floors[0]:.2g} at r = 1, {floors[1]:.2g} at r = 2 and zero from r = 3 on; with noisy targets "
    "it keeps falling. Right, the error on fresh inputs: without noise zero from r = 3 on; with "
    "noise least at r = {best}, and {noisy_test[5]:.2g} at r = {ranks[5]}.",
)
def rank_sweep_planted(*sweep: Sequence[float]) -> tuple[Figure, Numbers]:
    """Show the loss stop at the Eckart-Young floor, and too large an r overfit noisy targets.

    Takes ranks, floors, losses without and with noise, test errors without and with noise.
    """
    sweep = sweep or _sweep()
    ranks, floors = sweep[:2]
    at = np.arange(len(ranks))
    fig, axes = plt.subplots(1, 2, figsize=(9.0, 3.8), layout="constrained")
    tail = {"markersize": 26, "markeredgewidth": 2, "label": "$\\sum_{i>r}\\sigma_i^2\\,/\\,2n$"}
    axes[0].plot(at, floors, "_", color=BLACK, **tail)
    for ax, rows in zip(axes, (sweep[2:4], sweep[4:6]), strict=True):
        ax.plot(at, rows[1], "s--", color=ORANGE, label="$T + 0.3\\,\\varepsilon$")
        ax.plot(at, rows[0], "o-", color=BLUE, label="$T$", linewidth=1)
        ax.set(xlabel="r", xticks=at, xticklabels=ranks)
        ax.set_ylim(-0.04 * max(rows[1]))
    axes[0].set_ylabel("$L$")
    axes[1].set_ylabel(
        "$\\|x(\\Delta W - \\Delta W^*)^\\top\\|^2\\,/\\,\\|x\\,\\Delta W^{*\\top}\\|^2$"
    )
    axes[0].legend()
    names = ["ranks", "floors", "clean_loss", "noisy_loss", "clean_test", "noisy_test"]
    numbers = {name: np.round(row, 5).tolist() for name, row in zip(names, sweep, strict=True)}
    return fig, numbers | {"best": int(ranks[np.argmin(sweep[5])])}


def _curves(draws: int = 20) -> dict[str, np.ndarray]:
    rng, delta, x = _planted()
    curves = {}
    for name, a, b in [("A = B = 0", 0, 0), ("B = 0", 1, 0), ("A = 0", 0, 1), ("random", 1, 1)]:
        starts = [(a * _uniform(rng, RANK, K), b * _uniform(rng, D, RANK)) for _ in range(draws)]
        curves[name] = np.array([_descend(*s, x, x @ delta.T, 151, 0.03)[1] for s in starts])
    return curves


@figure(
    "initialisations",
    alt="The loss against the step of gradient descent, {draws} draws of each start, thin, and "
    "their median, thick. With A = B = 0 a level line at {level:.2g}. With both random it begins "
    "higher, at {random:.2g} on average, and falls. With A = 0 and with B = 0 it begins on the "
    "level line; after 1 step B = 0 is ahead in {ahead_1} of {draws} draws, after {last} steps in "
    "{ahead_last}.",
)
def initialisations(curves: Mapping[str, np.ndarray] | None = None) -> tuple[Figure, Numbers]:
    """Show how training goes on from four starts: only A = B = 0 never moves.

    Takes name → losses of shape (draws, steps).
    """
    curves = curves or _curves()
    fig, ax = plt.subplots(figsize=(8.0, 4.2), layout="constrained")
    for (name, losses), color, dash in zip(
        curves.items(), [BLACK, BLUE, ORANGE, GREY], [":", "-", "--", "-."], strict=True
    ):
        ax.plot(losses.T, color=color, linewidth=0.6, alpha=0.35)
        label = f"${name}$" if "=" in name else "$A, B \\neq 0$"
        ax.plot(np.median(losses, axis=0), dash, color=color, linewidth=2.5, label=label)
    ahead = np.sum(curves["B = 0"] < curves["A = 0"], axis=0)
    ax.set(xlabel="step", ylabel="$L$", xlim=(0, len(ahead) - 1), ylim=(0, None))
    ax.legend()
    return fig, {
        "draws": len(curves["B = 0"]),
        "level": float(curves["A = B = 0"][0, 0]),
        "random": float(np.mean(curves["random"][:, 0])),
        **{"last": len(ahead) - 1, "ahead_1": int(ahead[1]), "ahead_last": int(ahead[-1])},
        "medians": {n: np.round(np.median(c[:, ::10], 0), 5).tolist() for n, c in curves.items()},
    }


def _first_steps(draws: int = 200) -> tuple[list[int], dict[str, np.ndarray]]:
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


@figure(
    "scaling_and_rank",
    alt="Three panels, both axes logarithmic, each against the rank r and relative to r = 1. The "
    "first gradient of B: level under alpha over root r, slope -1/2 under alpha over r. What a "
    "first small step of SGD takes off the loss: level under alpha over root r, slope -1 under "
    "alpha over r. The same under Adam: slope +1/2 under alpha over root r, level under alpha "
    "over r. From r = {ranks[0]} to {ranks[4]}.",
)
def scaling_and_rank(
    ranks: Sequence[int] = (), measured: Mapping[str, np.ndarray] | None = None
) -> tuple[Figure, Numbers]:
    """Show what scaling by α/r and by α/√r keeps equal as r grows: it depends on the optimizer.

    Takes ranks and name → (ranks, 3): the size of dB, the drop of L under SGD and under Adam.
    """
    if measured is None:
        ranks, measured = _first_steps()
    fig, axes = plt.subplots(1, 3, figsize=(10.0, 3.6), sharey=True, layout="constrained")
    titles = ["$\\|\\partial L/\\partial B\\|$", "SGD: $-\\Delta L$", "Adam: $-\\Delta L$"]
    slopes = {n: np.polyfit(np.log(ranks), np.log(v), 1)[0].tolist() for n, v in measured.items()}
    styles = {"α/r": ("s--", VERMILION, "/r$"), "α/√r": ("o-", BLUE, "/\\sqrt{r}$")}
    for column, (ax, title) in enumerate(zip(axes, titles, strict=True)):
        for name, (style, color, label) in styles.items():
            height, power = measured[name][:, column], slopes[name][column]
            ax.plot(ranks, height / height[0], style, color=color, label=f"$s = \\alpha{label}")
            end = {"xy": (ranks[-1], height[-1] / height[0]), "xytext": (-8, 9)}
            ax.annotate(f"$r^{{{round(2 * power) / 2:g}}}$", textcoords="offset points", **end)
        ax.set(title=title, xlabel="r", xscale="log", yscale="log")
        ax.set_xticks(ranks, ranks)
        ax.minorticks_off()
    axes[0].set_ylabel("$y(r)\\,/\\,y(1)$")
    axes[1].legend(loc="lower left")
    return fig, {"ranks": list(ranks), "slopes": slopes}
