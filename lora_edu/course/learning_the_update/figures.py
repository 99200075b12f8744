"""Figures: a saddle, a word that lights up, ranks and noise."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from lora_edu.course import films, plots
from lora_edu.course.experiments import results  # the page takes it from here
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION, heatmap, panels
from lora_edu.course.recorded import column

Stage = Figure | SubFigure


def hidden_word() -> NDArray:
    """Return the update that lesson 03 hides: a word, (40, 60), with σ = 3, 2, 1 and no other."""
    drawn = plots.letters("LIT", 120).reshape(40, 3, 60, 2).mean(axis=(1, 3))
    U, _, Vt = np.linalg.svd(drawn, full_matrices=False)
    return (U[:, :3] * (3, 2, 1)) @ Vt[:3]


# -- the smallest LoRA: two numbers --------------------------------------------------------------

STARTS = {
    "LoRA's start: b = 0": (1.2, 0.0),
    "the mirror: a = 0": (0.0, 1.2),
    "close to 0: it waits": (0.06, 0.0),
    "one the other's opposite": (-1.2, 1.2),
    "both 0: it stays": (0.0, 0.0),
}


def _walks(lr: float = 0.1, steps: int = 80) -> Numbers:
    """Walk down L = ½ (ba - 1)² from each of ``STARTS``."""
    walk = [np.array([*STARTS.values()])]  # (starts, 2): a and b
    for _ in range(steps):
        error = walk[-1].prod(axis=1, keepdims=True) - 1
        walk.append(walk[-1] - lr * error * walk[-1][:, ::-1])
    walks = np.stack(walk, axis=1)  # (starts, steps + 1, 2)
    losses = 0.5 * (walks.prod(axis=2) - 1) ** 2  # (starts, steps + 1)
    return {
        "steps": steps,
        "waited": int(np.argmax(losses[2] < 0.25)),  # until half of the loss is gone
        "reached": losses[:, -1].round(4).tolist(),
        "walks": walks,
    }


@figure(_walks)
def saddle(numbers: Numbers) -> Figure:
    """Show the smallest LoRA, b · a, as a landscape: at a = b = 0 the ground is level.

    A map of the loss over a, across, and b, up. Two valleys, where b · a = 1, curve around the
    corners upper right and lower left. Between them, at 0, lies a saddle. Five walks of {steps}
    steps. From b = 0 with a well away from 0, and from a = 0 with b away from 0, a walk goes
    straight into a valley. One that begins close to 0 waits some {waited} steps, then goes down
    too. The walk that begins at 0 stays there. One on the diagonal, where one number is the
    other's opposite, goes to the saddle, and stays.
    """
    fig, ax = panels(6.6, 4.4)
    at = np.linspace(-1.6, 1.6, 200)
    loss = 0.5 * (np.outer(at, at) - 1) ** 2
    levels = [0, 0.005, 0.05, 0.15, 0.3, 0.5, 0.8, 1.5, 3, 7]
    ax.contourf(at, at, loss, levels, cmap="cividis", norm="symlog", alpha=0.7)
    ax.contour(at, at, loss, levels, colors=GREY, linewidths=0.5)
    looks = [("o-", BLUE), ("s-", ORANGE), ("^-", VERMILION), ("D-", GREEN), ("X-", BLACK)]
    for name, walk, (look, color) in zip(STARTS, numbers["walks"], looks, strict=True):
        ax.plot(*walk[::2].T, look, color=color, markersize=5, linewidth=1, label=name)
        ax.plot(*walk[0], look[0], color=color, markersize=11, markeredgecolor="white")
    ax.set(xlabel="a", ylabel="b", title="the loss of b · a: dark is low", aspect="equal")
    ax.text(1.35, 0.78, "valley", ha="center", rotation=-38)
    ax.text(-1.05, -1.05, "valley", ha="center", rotation=-45)
    fig.legend(loc="outside right upper", fontsize=9, title="large: where it starts")
    return fig


# -- a film: each direction lights up at its time ------------------------------------------------

STRENGTHS = (3.0, 2.0, 1.0)
STILL, FRAME = (2.45, 2.0), (7.4, 4.0)  # inches, as all lengths below: width, height


def _check(name: str, value: Any, least: float, most: float) -> None:
    """Refuse what is no number from ``least`` to ``most``, and no integer where these are."""
    whole = isinstance(least, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise TypeError(f"{name} must be {'an integer' if whole else 'a number'}, got {value!r}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be from {least:g} to {most:g}, got {value}")


def lighting_up(
    r: int = 5, start: float = 0.01, lr: float = 0.01, steps: int = 1200, seed: int = 12
) -> Numbers:
    """Learn the hidden word from white inputs, with ``lora_A`` ``start`` times its usual size.

    ``half``: the step at which each singular value of BA has half its height; never, if beyond.
    ``theory``: the same by ln(4σ / ‖A v‖²) / (2σ lr). ``spare``: the largest beyond the third. A
    TypeError for what is no number, a ValueError beyond the bounds: larger ones shoot off.
    """
    _check("r", r, 1, 1000)
    _check("steps", steps, 1, 100_000)
    _check("start", start, 1e-9, 5.0)
    _check("lr", lr, 1e-6, 0.02)
    delta = hidden_word()  # (d, k)
    d, k = delta.shape
    A, B = start * np.random.default_rng(seed).standard_normal((r, k)) / k**0.5, np.zeros((d, r))
    sizes = np.sum((A @ np.linalg.svd(delta)[2][:3].T) ** 2, axis=0)  # (3,): ‖A v‖²
    theory = np.log(4 * np.array(STRENGTHS) / sizes) / (2 * np.array(STRENGTHS) * lr)
    strips, curves = [], []
    for _ in range(steps + 1):
        strips.append((A, B))
        R_A, R_B = np.linalg.qr(A.T)[1], np.linalg.qr(B)[1]  # of BA, a small core: lesson 02
        curves.append(np.linalg.svd(R_B @ R_A.T, compute_uv=False))
        G = B @ A - delta  # white inputs: L = ½ ‖BA - ΔW*‖²
        A, B = A - lr * B.T @ G, B - lr * G @ A.T
    heights = np.array(curves)  # (steps + 1, r)
    shares = np.minimum(heights[:, :3] / STRENGTHS[:r], 1)  # (steps + 1, 3), or fewer
    half = [int(np.argmax(up)) if up.any() else steps + 1 for up in (shares >= 0.5).T]
    # Frames at equal distances of what is done, not of time: at first nothing is to be seen.
    done = shares.sum(axis=1)
    marks = np.linspace(0, done.max(), films.MOST_FRAMES)
    frames = sorted({int(np.argmax(done >= mark - 1e-9)) for mark in marks})
    lit = [sum(step >= s for s in half) for step in frames]
    moments = sorted({int(np.argmin(np.abs(done[frames] - goal))) for goal in (0, 0.5, 1, 2, 3)})
    return {
        "captions": [f"step {step}: {n} of 3 lit" for step, n in zip(frames, lit, strict=True)],
        "moments": moments,
        "told": ", ".join(f"at step {frames[i]}" for i in moments),
        "r": r,
        "when": ", ".join(map(str, half)),
        "half": half,
        "theory": theory[:r].round(6).tolist(),
        "spare": round(float(heights[-1, 3:].max(initial=0)), 6),
        "frames": frames,
        "delta": delta,
        "heights": heights,
        "lora_A": np.array([strips[step][0] for step in frames]),
        "lora_B": np.array([strips[step][1] for step in frames]),
    }


def _strips(stage: Stage, numbers: Numbers, low: float = 0.1) -> Callable[[int], None]:
    """Draw A above, B at the left and BA; ``low`` is how far above the edge."""
    lora_A, lora_B, delta = numbers["lora_A"], numbers["lora_B"], numbers["delta"]
    limit = float(max(np.abs(lora_A).max(), np.abs(lora_B).max()))
    flat = heatmap(films.place(stage, 0.4, low + 1.4, 1.95, 0.25), lora_A[0], limit)
    tall = heatmap(films.place(stage, 0.1, low, 0.25, 1.3), lora_B[0], limit)
    square = films.place(stage, 0.4, low, 1.95, 1.3)
    product = heatmap(square, delta, float(np.abs(delta).max()))

    def show(i: int) -> None:
        flat.set_data(lora_A[i])
        tall.set_data(lora_B[i])
        product.set_data(lora_B[i] @ lora_A[i])

    return show


def _strips_and_heights(stage: Stage, numbers: Numbers) -> Callable[[int], None]:
    """Draw the same and the hidden word beside it; below, how high each direction stands."""
    show_strips = _strips(stage, numbers, low=2.0)
    hidden = films.place(stage, 4.6, 2.0, 1.95, 1.3)
    heatmap(hidden, numbers["delta"], float(np.abs(numbers["delta"]).max()))
    hidden.set_title("the hidden word", fontsize=11)
    stage.axes[0].set_title("$A$, and below it $B$ and $BA$", fontsize=11)
    ax = films.place(stage, 0.75, 0.55, 6.4, 1.15)
    heights, frames = numbers["heights"], numbers["frames"]
    for n, height in enumerate(heights.T):
        ax.plot(height, ":" if n > 2 else "-", color=GREY, linewidth=1)
    (dots,) = ax.plot(np.zeros(heights.shape[1]), heights[0], "o", color=VERMILION, clip_on=False)
    ax.set(xlim=(0, len(heights) - 1), ylim=(0, 3.3), yticks=[0, 1, 2, 3])
    ax.set(xlabel="step", ylabel="σ of $BA$")

    def show(i: int) -> None:
        show_strips(i)
        dots.set_data(np.full(heights.shape[1], frames[i]), heights[frames[i]])

    return show


@figure(lighting_up)
def directions_light_up(numbers: Numbers) -> Figure:
    """Show two strips learn a hidden word: its directions light up one by one, the strongest first.

    Five moments of gradient descent. In each the flat strip A on top, the tall strip B at the left,
    and their product: {told}. At first all is level. Then three upright stems come out of it,
    III; next the last one gets its bar and is a T; at the end the first one gets its foot and is an
    L: the word LIT. Of {r} directions these have half their height after {when} steps; no other
    rises above {spare:.1g}.
    """
    return films.strip(_strips, numbers, STILL)


film_of_light = films.film(directions_light_up, _strips_and_heights, FRAME)


# -- ranks, with noise and without ---------------------------------------------------------------


def _recorded() -> Numbers:
    """Average the recorded runs, and count at which rank each missed least."""
    arguments = results("planted")["arguments"]
    ranks = arguments["ranks"]
    missed = column("planted", "missed")  # (seeds, noises, ranks)
    clean, floors = column("planted", "losses", 0), column("planted", "floors")  # (seeds, ranks)
    low = sum(r < 3 for r in ranks)  # these cannot hold the update
    best = missed.argmin(axis=2)  # (seeds, noises)
    mean = missed.mean(axis=0)
    return {
        "ranks": ranks,
        "noises": arguments["noises"],
        "seeds": len(missed),
        "mean": mean.round(4).tolist(),
        "least": [ranks[i] for i in mean.argmin(axis=1)],
        "best": [np.bincount(places, minlength=len(ranks)).tolist() for places in best.T],
        "over_floor": round(float((clean[:, :low] / floors[:, :low]).max()), 5),
        "left": round(float(clean[:, low:].max()), 9),
        "stopped": column("planted", "stopped").mean(axis=0).round(4).tolist(),
        "missed": missed,
    }


@figure(_recorded, runs=0)
def rank_and_noise(numbers: Numbers) -> Figure:
    """Show that spare rank harms where targets are noisy, and hardly does if one stops in time.

    What is missed of a planted update of rank 3, as a share of its energy, on a logarithmic axis,
    against the rank of the adapter, {ranks}; each line is the mean of {seeds} runs, whose dots are
    drawn faintly. Trained to the end: without noise it falls to next to nothing at rank 3 and stays
    there; with noise of {noises[1]} it is least at rank 3, {mean[1][2]:.2g}, and rises to
    {mean[1][5]:.2g} at rank {ranks[5]}; with noise of {noises[2]} it is least at rank 2,
    {mean[2][1]:.2g}, and rises to {mean[2][5]:.2g}. Two thin lines, stopped in time: from rank 3 on
    they are level, at {stopped[1][5]:.2g} and {stopped[2][5]:.2g}.
    """
    fig, ax = panels(7.4, 4.4)
    at = range(len(numbers["ranks"]))
    looks = [("o", BLUE), ("s", ORANGE), ("^", VERMILION)]
    words = ["no noise", "some noise: {:g}", "much: {:g}"]
    for n, (marker, color) in enumerate(looks):
        label = words[n].format(numbers["noises"][n])
        plots.runs(ax, at, np.maximum(numbers["missed"][:, n], 1e-4), f"{marker}-", color, label)
        if n > 0:
            look = {"markerfacecolor": "white", "linewidth": 1.2, "label": "… stopped in time"}
            ax.plot(at, numbers["stopped"][n], f"{marker}:", color=color, **look)
    ax.set(yscale="log", xlabel="rank of the adapter (r)", ylim=(7e-5, 10))
    ax.set_ylabel("share of the update that is missed")
    ax.set_yticks([1e-4, 1e-3, 1e-2, 1e-1, 1], ["0.0001\nor less", "0.001", "0.01", "0.1", "1"])
    ax.minorticks_off()
    ax.set_xticks(at, numbers["ranks"])
    ax.legend(loc="lower left", fontsize=9, title="targets with")
    return fig
