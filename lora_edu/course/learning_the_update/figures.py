"""Figures: a saddle, a word that lights up, ranks and noise."""

from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lora_edu.course import films, plots
from lora_edu.course.experiments import results  # the page takes it from here
from lora_edu.course.figures import Numbers, figure
from lora_edu.course.plots import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION, heatmap
from lora_edu.course.recorded import column


def hidden_word() -> NDArray:
    """Return the update that lesson 03 hides: a word, (40, 60), with σ = 3, 2, 1 and no other."""
    drawn = plots.letters("LIT", 120).reshape(40, 3, 60, 2).mean(axis=(1, 3))
    U, _, Vt = np.linalg.svd(drawn, full_matrices=False)
    return (U[:, :3] * (3, 2, 1)) @ Vt[:3]


# -- the smallest LoRA: two numbers --------------------------------------------------------------

STARTS = {
    "one at zero": (0.0, 1.2),  # a and b
    "both close to zero": (0.0, 0.02),
    "both zero": (0.0, 0.0),
}


def _walks(lr: float = 0.1, steps: int = 100) -> Numbers:
    """Walk down L = ½ (ba - 1)² from each of ``STARTS``."""
    walk = [np.array([*STARTS.values()])]  # (starts, 2): a and b
    for _ in range(steps):
        error = walk[-1].prod(axis=1, keepdims=True) - 1
        walk.append(walk[-1] - lr * error * walk[-1][:, ::-1])
    walks = np.stack(walk, axis=1)  # (starts, steps + 1, 2)
    losses = 0.5 * (walks.prod(axis=2) - 1) ** 2  # (starts, steps + 1)
    return {
        "steps": steps,
        "half": [int(np.argmax(way < 0.25)) for way in losses[:2]],  # half of the loss is gone
        "losses": losses,
    }


@figure(_walks, 7.0, 3.2)
def saddle(numbers: Numbers, ax: Axes) -> None:
    """Show how long the smallest LoRA, b · a, waits where both its numbers are near zero.

    The loss ½ (ba - 1)² against the step, up to step {steps}, for three starts. With one number at
    zero and the other at 1.2 the loss falls at once: half of it is gone after {half[0]} steps.
    With both close to zero the line stays level, as if nothing happened, and then falls: half of it
    is gone after {half[1]} steps. With both at zero the line stays level to the end.
    """
    looks = [("-", BLUE), ("--", VERMILION), (":", BLACK)]
    for name, losses, (look, color) in zip(STARTS, numbers["losses"], looks, strict=True):
        ax.plot(losses, look, color=color, linewidth=2.5, label=name)
    ax.set(xlabel="step", ylabel="loss", ylim=(-0.02, 0.56))
    ax.legend(loc="center right", title="the two numbers at the start")


# -- a film: each direction lights up at its time ------------------------------------------------

STRENGTHS = (3.0, 2.0, 1.0)
STILL, FRAME = (2.4, 3.45), (7.2, 3.3)  # inches, as all lengths below: width, height


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
    moments = sorted({int(np.argmin(np.abs(done[frames] - goal))) for goal in (1, 2, 3)})
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


def _strips_and_heights(stage: films.Stage, numbers: Numbers, beside: bool = False) -> films.Show:
    """Draw A above, B at the left and BA; below or beside them the strengths, up to that step."""
    u, low, curve = (1.4, 0.8, (3.8, 0.6, 3.2, 2.3)) if beside else (1, 1.7, (0.5, 0.58, 1.8, 0.72))
    lora_A, lora_B, delta = numbers["lora_A"], numbers["lora_B"], numbers["delta"]
    limit = float(max(np.abs(lora_A).max(), np.abs(lora_B).max()))
    flat = heatmap(films.place(stage, 0.4, low + 1.35 * u, 1.9 * u, 0.2 * u), lora_A[0], limit)
    flat.axes.set_ylabel("$A$", rotation=0, ha="right", va="center")
    tall = heatmap(films.place(stage, 0.1, low, 0.2 * u, 1.25 * u), lora_B[0], limit)
    tall.axes.set_xlabel("$B$")
    square = films.place(stage, 0.4, low, 1.9 * u, 1.25 * u)
    product = heatmap(square, delta, float(np.abs(delta).max()))
    square.set_xlabel("$BA$")
    heights, frames = numbers["heights"], numbers["frames"]
    ax = films.place(stage, *curve)
    lines = ax.plot(heights[:1], color=GREY, linewidth=1.5)
    (dots,) = ax.plot(np.zeros(heights.shape[1]), heights[0], "o", color=VERMILION, clip_on=False)
    ax.set(xlim=(0, len(heights) - 1), ylim=(0, 3.3), yticks=[0, 1, 2, 3], xlabel="step")
    ax.set_ylabel("strength σ")

    def show(i: int) -> None:
        flat.set_data(lora_A[i])
        tall.set_data(lora_B[i])
        product.set_data(lora_B[i] @ lora_A[i])
        way = heights[: frames[i] + 1]
        for line, height in zip(lines, way.T, strict=True):
            line.set_data(range(len(way)), height)
        dots.set_data(np.full(heights.shape[1], frames[i]), way[-1])

    return show


@figure(lighting_up)
def directions_light_up(numbers: Numbers) -> Figure:
    """Show two strips learn a hidden word: its directions light up one by one, the strongest first.

    Three moments of gradient descent: {told}. In each the flat strip A on top, the tall strip B at
    the left, and their product; below them the strengths of the product's directions, drawn up to
    that step. First one line is up, and the product shows three upright stems, III; next two lines,
    and the last stem has its bar, a T; at last three lines, and the first stem has its foot, an L:
    the word LIT. Of {r} directions these have half their height after {when} steps; no other rises
    above {spare:.1g}.
    """
    return films.strip(_strips_and_heights, numbers, STILL)


film_of_light = films.film(directions_light_up, partial(_strips_and_heights, beside=True), FRAME)


# -- ranks, with noise and without ---------------------------------------------------------------


def _recorded() -> Numbers:
    """Average the recorded runs."""
    arguments = results("planted")["arguments"]
    ranks = arguments["ranks"]
    missed = column("planted", "missed")  # (seeds, noises, ranks)
    clean, floors = column("planted", "losses", 0), column("planted", "floors")  # (seeds, ranks)
    low = sum(r < 3 for r in ranks)  # these cannot hold the update
    mean = missed.mean(axis=0)
    return {
        "ranks": ranks,
        "noises": arguments["noises"],
        "seeds": len(missed),
        "mean": mean.round(4).tolist(),
        "least": [ranks[i] for i in mean.argmin(axis=1)],
        "over_floor": round(float((clean[:, :low] / floors[:, :low]).max()), 5),
        **{
            name: column("planted", name).mean(axis=0).round(4).tolist()
            for name in ("stopped", "stopped_small", "all")
        },
        "missed": missed,
    }


@figure(_recorded, 7.2, 3.8, 2, runs=0, sharey=True)
def rank_and_noise(numbers: Numbers, axes: NDArray) -> None:
    """Show that spare rank harms where targets are noisy, and when stopping in time helps.

    What is missed of a planted update of rank 3, as a share of its energy, on a logarithmic axis,
    against the rank of the adapter, {ranks}; each line is the mean of {seeds} runs. Left, trained
    to the end, single runs drawn faintly: without noise it falls to next to nothing at rank 3 and
    stays there; with noise of {noises[1]} it is least at rank 3, {mean[1][2]:.2g}, and rises to
    {mean[1][5]:.2g} at rank {ranks[5]}; with noise of {noises[2]} it is least at rank 2,
    {mean[2][1]:.2g}, and rises to {mean[2][5]:.2g}. Right, noise of {noises[1]}: trained to the end
    it rises as on the left; stopped in time it rises to {stopped[1][5]:.2g} at rank {ranks[5]};
    stopped in time from a tiny start it stays level, at {stopped_small[1][5]:.2g}.
    """
    left, right = axes
    at = range(len(numbers["ranks"]))
    noises = {"no noise": ("o-", BLUE), "some noise": ("s--", ORANGE), "much noise": ("^:", BLACK)}
    for n, (name, look) in enumerate(noises.items()):
        plots.runs(left, at, np.maximum(numbers["missed"][:, n], 1e-4), *look, name)
    right.plot(at, numbers["mean"][1], "s--", color=ORANGE, label="trained to the end")
    right.plot(at, numbers["stopped"][1], "D-", color=GREEN, label="stopped in time")
    right.plot(at, numbers["stopped_small"][1], "v:", color=VERMILION, label="stopped, tiny start")
    left.set(yscale="log", ylim=(7e-5, 10), ylabel="share of the update that is missed")
    left.set_yticks([1e-4, 1e-3, 1e-2, 1e-1, 1], ["0.0001\nor less", "0.001", "0.01", "0.1", "1"])
    left.set_title("trained to the end")
    right.set_title("some noise")
    for ax in (left, right):
        ax.minorticks_off()
        ax.set_xticks(at, numbers["ranks"])
        ax.set_xlabel("rank of the adapter (r)")
        ax.legend(loc="lower right", bbox_to_anchor=(1, 0.08))
