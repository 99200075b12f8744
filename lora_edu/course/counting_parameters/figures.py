"""Figures, and the ledger as tables."""

import re
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lora_edu import counting
from lora_edu.course import blocks, ledger
from lora_edu.course.figures import Numbers, as_csv, figure, table
from lora_edu.course.plots import BLUE, GREEN, GREY, ORANGE, VERMILION, grouped, note, panels


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


FARTHEST = {  # in a few words, why the figures differ that are farthest off, by their cause
    "the random matrices": "VeRA: what does not train is counted",
    "S.gemma-7b.r1": "SVFT: Gemma 2B's number beside Gemma 7B",
    "A.D4.gpt3.37.7.text": "LoRA's paper: the number for twice the rank",
    "A.T2.deb.lora.r8": "LoRA's paper: another rank than in the scripts",
    "A.claim.speed": "LoRA's paper: time saved, called speed",
    "A.ckpt.gpt2l": "loralib: the size of a file, unexplained",
    "the output layer": "LoRA Without Regret: one layer more than named",
    "A.claim.vram": "LoRA's paper: 1.2 TB of memory, unexplained",
    "B.1TB_25MB": "the talk: 25 MB",
    "the label of the row above": "LoRA's paper: the line that you found",
}


def _differing() -> Numbers:
    """Count what agrees and what differs; the farthest ratio of each of the ten first causes."""
    farthest: dict[str, float] = {}
    for entry, quantity in ledger.misfits():
        farthest.setdefault(entry.cause, quantity.ratio)
    shares = ledger.shares()
    ratios = {FARTHEST[cause]: farthest[cause] for cause in [*farthest][: len(FARTHEST)]}
    agree = shares["tested"] - shares["differ"]
    return {"ratios": ratios, "agree": agree, "most": max(ratios.values()), **shares}


@figure(_differing, 9, 4.2)
def published_over_derived(numbers: Numbers, ax: Axes) -> None:
    """Show how far the published figures that differ are off, and why: the ten farthest causes.

    {agree} of {tested} published figures agree with what follows from the shapes, as far as they
    are printed; the other {differ} differ for {causes} reasons. A line for each of the ten reasons
    that lead the farthest away, from 1, where both agree, to published / derived, at most
    {most:.2f}; beside it the reason in a few words.
    """
    ratios = numbers["ratios"]
    ax.axvline(1, color=GREY, linewidth=1)
    for row, ratio in enumerate(ratios.values()):
        color = VERMILION if ratio > 1 else BLUE
        ax.hlines(row, 1, ratio, color=color, linewidth=2)
        ax.plot(ratio, row, "o", color=color)
        side, align = ((8, 0), "left") if ratio > 1 else ((-8, 0), "right")
        note(ax, f"{ratio:.2f}", (ratio, row), side, ha=align, va="center")
    ax.set_yticks(range(len(ratios)), ratios)
    ax.set(xscale="log", xlabel="published / derived", xlim=(0.27, 5))
    ax.set_ylim(len(ratios) - 0.5, -0.5)
    ticks = [0.5, 1, 2, 4]
    ax.set_xticks(ticks, ticks)
    ax.minorticks_off()
    ax.set_title(f"{numbers['agree']} of {numbers['tested']} agree; the others, farthest off first")


REGRET = "Parameter counts for LoRA on Llama-3.1-8B"  # in "LoRA Without Regret"


def forgotten() -> Numbers:
    """Find what is missing, a rank, in each count in the table of *LoRA Without Regret*.

    "rows": label → what is printed and counted, the least and the most that may be missing: what
    rounds to the printed number, less what was counted, over the rank. "layer": the only one of the
    linear layers whose "edge", d + k, all rows allow, from "least" to "most".
    """
    rows = {}
    for label, entry in ledger.tables()["regret"][REGRET]:
        quantity, r = entry.quantities[0], int(re.findall(r"r = (\d+)", label)[0])
        missing = ledger.printed_value(quantity.published) - quantity.derived
        half = Fraction(10**9, 200)  # of the last digit, a hundredth of a billion
        rows[label] = {
            "printed": quantity.published,
            "counted": int(quantity.derived),
            "least": float((missing - half) / r),
            "most": float((missing + half) / r),
        }
    least = max(row["least"] for row in rows.values())
    most = min(row["most"] for row in rows.values())
    linear = {
        name.split(".")[-1]: m.out_features + m.in_features
        for name, m in counting.modules("llama-3.1-8b").items()
        if m.kind in ("linear", "head")
    }
    ((layer, edge),) = ((name, edge) for name, edge in linear.items() if least <= edge <= most)
    return {"rows": rows, "least": least, "most": most, "layer": layer, "edge": edge}


@figure(forgotten, 8, 2.6)
def what_was_forgotten(numbers: Numbers, ax: Axes) -> None:
    """Show that one layer explains all four counts of a table that are too large.

    A bar for each row of the table: from where to where the missing numbers may lie, one rank's
    worth, since the table prints two digits. All four bars share what lies from {least:,.0f} to
    {most:,.0f}. A line at {edge:,}, which is d + k of the output layer of Llama 3.1 8B, goes
    through all of them.
    """
    for y, row in enumerate(numbers["rows"].values()):
        ax.barh(y, row["most"] - row["least"], left=row["least"], height=0.6, color=BLUE)
    ax.axvspan(numbers["least"], numbers["most"], color=GREY, alpha=0.35, linewidth=0)
    ax.axvline(numbers["edge"], color=VERMILION, linewidth=2)
    note(ax, numbers["layer"], (numbers["edge"], -0.5), (6, 2), color=VERMILION)
    ax.set_yticks(range(4), [name.removeprefix("LoRA ") for name in numbers["rows"]])
    ax.set(xlabel="what our count lacks / r", xlim=(6e4, 1.7e5), ylim=(3.5, -1.1))
    ax.xaxis.set_major_formatter(lambda x, _: grouped(round(x)))


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


@figure(_accounts, 8, 3)
def gpt3_one_terabyte(numbers: Numbers, ax: Axes) -> None:
    """Show both accounts of GPT-3's reduction, as told and as counted.

    Two reductions of GPT-3 on one logarithmic axis of bytes. The paper, at 2 bytes a number: 350 GB
    to 35 MB published, {paper_full:.4g} GB to {paper_adapter:.3g} MB derived. The talk, as viewers
    noted it, at 6 bytes, which we guessed: 1 TB to 25 MB, and {talk_full:.4g} GB to
    {talk_adapter:.3g} MB derived. The large ends agree, the talk's by our guess; both small ends
    are told smaller than derived. The derived ratios are
    {paper_ratio:,.0f} and {talk_ratio:,.0f}.
    """
    ring = {"color": BLUE, "markersize": 13, "markerfacecolor": "white"}
    for row, name in enumerate(("paper", "talk")):
        derived = [1e9 * numbers[f"{name}_full"], 1e6 * numbers[f"{name}_adapter"]]
        ax.hlines(row, *derived, color=GREY, linewidth=1)
        rings = ax.plot(derived, [row, row], "o", **ring)
        crosses = ax.plot(numbers[f"{name}_told"], [row, row], "X", color=VERMILION, markersize=7)
        ratio, size = grouped(round(numbers[f"{name}_ratio"])), numbers[f"{name}_bytes"]
        note(ax, f"{ratio} times smaller, {size} bytes a number", (5e9, row), (0, 6), ha="center")
    above = {"loc": "upper center", "bbox_to_anchor": (0.5, 1.2)}
    ax.legend(rings + crosses, ["derived", "published"], ncols=2, **above)
    ax.set_yticks([0, 1], ["the paper, r = 4", "the talk, r = 1"])
    ax.set(xscale="log", xlabel="bytes", ylim=(1.5, -0.5))


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
    return as_csv([ledger.COLUMNS, *(row.values() for row in ledger.lines(ledger.tables()))])


LEDGER = """# The ledger

Made by `lora-edu figures`; see lesson 06 and `lora-edu ledger`.

*exact*: the number itself; *rounds*: to the printed digits; *truncates*: cut to them;
*approximate*: to a round number such as 10,000; *differs*: none of these. What was
tried for a figure that differs is judged in the same way. How each was read (the source
itself, a copy, a note about it) and where: see the columns of `ledger.csv`."""

HEAD = "| row | configuration | published | derived | verdict |"


@table("ledger.md", "The same as a table to read, by source, with what was tried for each misfit.")
def ledger_markdown() -> str:
    """Write the ledger as Markdown: the tables of each source, and the misfits explained."""
    text = [LEDGER, *_by_cause()]
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


def _by_cause() -> Iterator[str]:
    """Yield what differs, each cause once, the farthest first."""
    counts = ledger.shares()
    yield "\n## What differs, and why"
    yield (
        "\nPapers and libraries print these numbers about LoRA; each was computed again.\n"
        f"{counts['differ']} of the {counts['tested']} figures that could come out otherwise "
        f"differ, for {counts['causes']} reasons. Each reason stands here once.\n"
    )
    causes: dict[str, list] = {}
    for entry, quantity in ledger.misfits():
        causes.setdefault(entry.cause, []).append((entry, quantity))
    for pairs in causes.values():
        told = [
            f"{e.model}, {e.configuration}: {q.printed} for {q.counted} "
            f"([{e.cites}]({e.url}), {e.place})"
            for e, q in pairs
        ]
        tried = [f"{h.name} gives {h.counted}" for h in pairs[0][0].hypotheses]
        why = f"{pairs[0][0].reason} Tried: {'; '.join(tried)}."
        yield f"- {why}" + "".join(f"\n  - {one}" for one in told)


def _rows(label: str, entry: ledger.Entry, number: str) -> Iterator[str]:
    """Yield a row for each quantity of an entry; ``number`` is that of its explanation."""
    name = entry.id if label == entry.configuration else label
    how = f"{entry.model}, {entry.configuration}"
    for q in entry.quantities:
        row = f"{name}, {q.name}" if len(entry.quantities) > 1 else name
        mark = number if q.verdict == "differs" else ""
        yield f"| {row} | {how} | {q.printed} | {q.counted} | {q.verdict}{mark} |"
