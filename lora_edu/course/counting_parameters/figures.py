"""Figures, and the ledger as tables."""

import csv
import io
from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from lora_edu import counting
from lora_edu.course import blocks, ledger
from lora_edu.course.figures import Numbers, figure, table
from lora_edu.course.plots import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION, grouped, note, panels


def _block() -> Numbers:
    """Take the shapes of one block of Llama 3.1 8B, q and v adapted."""
    shapes = blocks.sites("llama-3.1-8b", ["q_proj", "v_proj"])
    sizes = {"attention": 0, "MLP": 0}
    for site in shapes:
        sizes[site.part] += site.out_features * site.in_features
    return {
        "sites": [list(site) for site in shapes],
        "matrices": len(shapes),
        "mlp_share": sizes["MLP"] / sum(sizes.values()),
    }


@figure(_block)
def transformer_block(numbers: Numbers) -> Figure:
    """Show the weight matrices of a transformer block to scale, and where LoRA sits.

    One block of Llama 3.1 8B from left to right, its {matrices} weight matrices as rectangles to
    one scale. Attention: q and o are squares of 4,096; k and v are a quarter as high. The MLP: gate
    and up are 3.5 times as high as wide, down as wide as they are high; they hold
    {mlp_share:.0%} of the numbers. Two strips, lora_B left and lora_A above, stand at q and v.
    Below runs the line of x; attention and MLP read from it and add to it.
    """
    shapes = [blocks.Site(*site) for site in numbers["sites"]]
    return blocks.draw_block(shapes, "One block of Llama 3.1 8B, with LoRA on q and v")


GROUPS = {  # what a row of the figure holds
    "LoRA paper: tables": lambda e: e.cites == "hu2021" and e.kind != "claim",
    "LoRA paper: claims": lambda e: e.cites == "hu2021" and e.kind == "claim",
    "printouts of tools": lambda e: e.kind in ("peft_output", "tool_output"),
    "later papers": lambda e: e.kind == "followup",
    "talk, README, file sizes": lambda e: True,
}


def _group(entry: ledger.Entry) -> str:
    return next(name for name, holds in GROUPS.items() if holds(entry))


def _ratios() -> Numbers:
    """Divide each published figure that could fail by the derived one, group by group."""
    groups: dict[str, dict[str, list]] = {}
    tested = [(entry, q) for entry in ledger.ledger() for q in entry.quantities if q.tested]
    for entry, quantity in tested:
        both = groups.setdefault(_group(entry), {"agree": [], "differ": []})
        both["differ" if quantity.verdict == "differs" else "agree"].append(quantity.ratio)
    misfits = ledger.misfits()
    worst = [[_group(entry), quantity.ratio] for entry, quantity in misfits[:10]]
    return {
        "groups": groups,
        "worst": worst,
        "figures": len(tested),
        "misfits": len(misfits),
        "near": sum(abs(quantity.ratio - 1) < 0.1 for _, quantity in misfits),
        "most": worst[0][1],
        "least": min(ratio for _, ratio in worst),
    }


@figure(_ratios)
def published_over_derived(numbers: Numbers) -> Figure:
    """Show published / derived for each figure that could fail: most stand on the line.

    {figures} published figures, each divided by what follows from the shapes, on a logarithmic
    axis, a row for each kind of source. Circles agree to the printed digits; most stand on the line
    of 1. Crosses are the {misfits} that differ: {near} of them by less than a tenth. The ten
    farthest are numbered, from {least:.2f} to {most:.2f}.
    """
    groups = numbers["groups"]
    names = [name for name in GROUPS if name in groups]
    fig, ax = panels(9, 4.2)
    ax.axvline(1, color=GREY, linewidth=1)
    looks = {"agree": ("o", BLUE, 0.12), "differ": ("X", VERMILION, 0)}
    for row, name in enumerate(names):
        for kind, (marker, color, above) in looks.items():
            ratios = groups[name][kind]
            heights = row + above + np.linspace(-0.25, 0.0, len(ratios))
            label = f"{kind}s" if row == 0 else None
            ax.plot(ratios, heights, marker, color=color, alpha=0.7, label=label)
    places: dict[tuple[str, float], list[int]] = {}  # those that all but coincide share one
    for i, (name, ratio) in enumerate(numbers["worst"]):
        places.setdefault((name, round(ratio, 1)), []).append(i)
    for (name, _), here in places.items():
        at = numbers["worst"][here[0]][1], names.index(name) - 0.3
        words = ", ".join(str(i + 1) for i in here)
        note(ax, words, at, (0, 6), ha="center", color=BLACK, fontweight="bold")
    labels = [f"{n} ({len(groups[n]['agree']) + len(groups[n]['differ'])})" for n in names]
    ax.set_yticks(range(len(names)), labels)
    ax.set(xscale="log", xlabel="published / derived", ylim=(len(names) - 0.4, -0.7))
    ticks = [0.75, 1, 1.25, 1.5, 2, 3, 4]
    ax.set_xticks(ticks, ticks)
    ax.minorticks_off()
    ax.legend(loc="lower right")
    ax.set_title("Most of these figures follow from the shapes")
    return fig


def _accounts() -> Numbers:
    """Derive both ends of both accounts, from the ranks of q and v and the bytes of a number."""
    base = counting.base_parameters("gpt3-175b")
    told = {"paper": (350e9, 35e6, [4, 4], 2), "talk": (1e12, 25e6, [1, 1], 6)}
    numbers: Numbers = {}
    for name, (full, small, ranks, size) in told.items():
        adapter = ledger.FUNCTIONS["square_lora"]("gpt3-175b", ranks)
        numbers[f"{name}_full"] = base * size / 1e9
        numbers[f"{name}_adapter"] = adapter * size / 1e6
        numbers[f"{name}_ratio"] = base / adapter
        numbers[f"{name}_bytes"] = size
        numbers[f"{name}_told"] = [full, small]
    return numbers


@figure(_accounts)
def gpt3_one_terabyte(numbers: Numbers) -> Figure:
    """Show both accounts of GPT-3's reduction, as told and as counted.

    Two reductions of GPT-3 on one logarithmic axis of bytes. The paper, at 2 bytes a number: 350 GB
    to 35 MB published, {paper_full:.4g} GB to {paper_adapter:.3g} MB derived. The talk, as viewers
    noted it, at 6 bytes, which we guessed: 1 TB to 25 MB, and {talk_full:.4g} GB to
    {talk_adapter:.3g} MB derived. The large ends agree, the talk's by our guess; both small ends
    are told smaller than derived. The derived ratios are
    {paper_ratio:,.0f} and {talk_ratio:,.0f}.
    """
    fig, ax = panels(8, 3)
    ring = {"color": BLUE, "markersize": 13, "markerfacecolor": "white"}
    for row, name in enumerate(("paper", "talk")):
        derived = [1e9 * numbers[f"{name}_full"], 1e6 * numbers[f"{name}_adapter"]]
        ax.hlines(row, *derived, color=GREY, linewidth=1)
        rings = ax.plot(derived, [row, row], "o", **ring)
        crosses = ax.plot(numbers[f"{name}_told"], [row, row], "X", color=VERMILION, markersize=7)
        ratio, size = grouped(round(numbers[f"{name}_ratio"])), numbers[f"{name}_bytes"]
        text = f"{ratio} times smaller, {size} bytes a number"
        note(ax, text, (5e9, row), (0, 6), ha="center")
    both = rings + crosses
    ax.legend(
        both, ["derived", "published"], loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.2)
    )
    ax.set_yticks([0, 1], ["the paper, r = 4", "the talk, r = 1"])
    ax.set(xscale="log", xlabel="bytes", ylim=(1.5, -0.5))
    return fig


def memory_bars(plans: dict[str, dict[str, dict[str, int]]]) -> Figure:
    """Draw plans of :func:`lora_edu.memory.plan`, title → method → part → bytes, as stacked bars.

    No figure of the gallery: what is kept for the backward pass differs between PyTorch's versions.
    """
    fig, axes = panels(9, 4.2, len(plans), sharey=True)
    looks = [(BLUE, ""), (ORANGE, "//"), (GREEN, ".."), (GREY, "xx")]
    for ax, (title, plan) in zip(axes, plans.items(), strict=True):
        bottom = np.zeros(len(plan))
        for part, (color, hatch) in zip(plan["full"], looks, strict=True):
            heights = np.array([parts[part] for parts in plan.values()]) / 1e9
            look = {"color": color, "hatch": hatch, "edgecolor": "white", "linewidth": 0}
            bars = ax.bar([*plan], heights, bottom=bottom, label=part, **look)
            bottom += heights
        ax.bar_label(bars, [f"{total:.0f}" for total in bottom], padding=3)
        ax.set_title(title)
    axes[0].set_ylabel("GB")
    axes[-1].legend(fontsize=10)
    return fig


@table("ledger.csv", "Every published figure with source, derivation's result and verdict.")
def ledger_csv() -> str:
    """Write the ledger as CSV, one row for each figure, as ``lora-edu ledger --csv`` prints it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ledger.COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(ledger.lines(ledger.tables()))
    return text.getvalue()


LEDGER = """# The ledger

Made by `lora-edu figures`; see lesson 06 and `lora-edu ledger`.

*exact*: the number itself; *rounds*: to the printed digits; *truncates*: cut to them;
*approximate*: to a round number such as 10,000; *differs*: none of these. What was
tried for a figure that differs is judged in the same way."""

HEAD = "| row | configuration | published | derived | verdict |"


@table("ledger.md", "The same as a table to read, by source, with what was tried for each misfit.")
def ledger_markdown() -> str:
    """Write the ledger as Markdown: the tables of each source, and the misfits explained."""
    text = [LEDGER]
    cited = ledger.sources()
    for source, published in ledger.tables().items():
        text += ["", f"## {source}: {cited[source]}"]
        for name, rows in published.items():
            text += ["", f"### {name}", "", HEAD, "|---|---|---:|---:|---|"]
            entries = {entry.id: entry for _, entry in rows}
            differ = [entry for entry in entries.values() if entry.verdict == "differs"]
            numbered = {entry.id: f" [{n}]" for n, entry in enumerate(differ, 1)}
            for label, entry in rows:
                text += _rows(label, entry, numbered.get(entry.id, ""))
            for n, entry in enumerate(differ, 1):
                tried = [f"{h.name}: {h.counted} ({h.verdict})" for h in entry.hypotheses]
                text += ["", f"[{n}] {entry.reason} Tried: {'; '.join(tried)}."]
    return "\n".join(text) + "\n"


def _rows(label: str, entry: ledger.Entry, number: str) -> Iterator[str]:
    """Yield a row for each quantity of an entry; ``number`` is that of its explanation."""
    name = entry.id if label == entry.configuration else label
    how = f"{entry.model}, {entry.configuration}"
    for q in entry.quantities:
        row = f"{name}, {q.name}" if len(entry.quantities) > 1 else name
        mark = number if q.verdict == "differs" else ""
        yield f"| {row} | {how} | {q.printed} | {q.counted} | {q.verdict}{mark} |"
