"""The figures: what they draw is what the records hold."""

import statistics
from itertools import pairwise

import matplotlib as mpl
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt

from lora_edu.course.experiments import results
from lora_edu.course.intrinsic_rank import figures


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def means(task, methods, key="test"):
    """Over the seeds, one a method, from the runs themselves."""
    runs = results(task)["runs"]
    return [statistics.fmean(run[key] for run in runs[method]) for method in methods]


def near(numbers):
    return pytest.approx(numbers, abs=1e-4)


RANKS = (1, 2, 4, 8, 16)
CUTS = results("rotated")["arguments"]["cuts"]
DIMENSIONS = (32, 64, 128, 192, 256)
LORA = [f"r={r}" for r in RANKS]


def test_the_ranks_are_those_of_the_experiments():
    assert tuple(figures.accuracy_vs_rank.numbers()["ranks"]) == RANKS


def test_the_bars_of_the_spectrum_are_the_means_and_its_ticks_the_seeds():
    fig, numbers = figures.spectrum_of_the_update()
    keys = ["r90_noise", "r90_W0", "r90", "r90_pretraining"]
    expected = [means("rotated", ["full"], key)[0] for key in keys]
    expected += means("rotated", ["r=16"], "r90")
    assert list(numbers["r90"].values()) == near(expected)
    (ax,) = fig.axes
    assert [bar.get_width() for bar in ax.patches] == near(expected[::-1])
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[::-1] == ["noise", "$W_0$", "$\\Delta W$", "$W_0 - W_{init}$", "LoRA, $r=16$"]
    runs = results("rotated")["runs"]["full"]
    assert list(ax.lines[-1].get_xdata()) == [run["r90_noise"] for run in runs]
    assert numbers["seeds"] == len(runs)
    assert max(numbers["r90"].values()) < ax.get_xlim()[1]


def test_accuracy_vs_rank_is_of_the_test_part():
    fig, numbers = figures.accuracy_vs_rank()
    assert numbers["lora"] == near(means("rotated", LORA))
    assert numbers["upright"] == near(means("rotated", LORA, "upright"))
    assert numbers["full"] == near(means("rotated", ["full"])[0])
    cuts = [run["truncated"] for run in results("rotated")["runs"]["full"]]
    assert numbers["cut"] == near([statistics.fmean(c[CUTS.index(k)] for c in cuts) for k in RANKS])
    drawn = [list(line.get_ydata()) for line in fig.axes[0].lines]
    assert drawn[:3] == [near(numbers[name]) for name in ("lora", "cut", "upright")]
    spread = [statistics.stdev(run["test"] for run in results("rotated")["runs"][m]) for m in LORA]
    assert numbers["lora_std"] == near(spread)
    band = fig.axes[0].collections[0].get_paths()[0].get_extents()
    assert band.y1 == near(max(m + s for m, s in zip(numbers["lora"], spread, strict=True)))


def test_controls_shows_every_seed_of_every_task():
    fig, numbers = figures.controls()
    tasks = {"rotated": "test", "inverted": "test", "patient": "test", "shuffled": "train"}
    for task, key in tasks.items():
        methods = [method for method in results(task)["runs"] if method != "full"]
        assert numbers[task] == near(means(task, methods, key))
        if task != "patient":
            assert numbers[f"{task}_full"] == near(means(task, ["full"], key)[0])
    titles = ["rotated: test", "inverted: test", "shuffled: train"]
    assert [ax.get_title() for ax in fig.axes] == titles
    for ax, panel in zip(fig.axes, ("rotated", "inverted", "shuffled"), strict=True):
        drawn = [line for line in ax.lines if not line.get_label().startswith("_")]
        tasks = [panel, "patient"] if panel == "inverted" else [panel]
        assert [list(line.get_ydata()) for line in drawn[:-1]] == [near(numbers[t]) for t in tasks]
        assert drawn[-1].get_ydata()[0] == numbers[f"{panel}_full"]
    shown = fig.axes[2].lines  # a line of dots for each seed, then the mean, then full
    runs = results("shuffled")["runs"]
    for seed in range(numbers["seeds"]):
        dots = list(zip(shown[seed].get_xdata(), shown[seed].get_ydata(), strict=True))
        expected = [
            (RANKS.index(int(m[2:])), of[seed]["train"]) for m, of in runs.items() if m != "full"
        ]
        assert dots == expected


def test_intrinsic_dimension_counts_the_parameters_of_the_network():
    _, numbers = figures.intrinsic_dimension()
    widths = results("intrinsic")["arguments"]["widths"]
    assert numbers["D"] == sum(a * b + b for a, b in pairwise(widths))
    assert tuple(numbers["d"]) == DIMENSIONS
    for kind in ("sparse", "dense"):
        assert numbers[kind] == near(means("intrinsic", [f"{kind} d={d}" for d in DIMENSIONS]))
    assert numbers["all"] == near(means("intrinsic", ["all"])[0])
