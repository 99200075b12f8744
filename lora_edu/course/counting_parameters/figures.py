"""Figures, and the ledger as tables."""

import csv
import io
from fractions import Fraction
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lora_edu import counting
from lora_edu.course.figures import Numbers, figure, table
from lora_edu.course.ledger import FUNCTIONS, Entry, ledger, printed_value
from lora_edu.course.plots import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION, grouped


def _misfits() -> Numbers:
    """Compare all published figures with the derived ones; name those that differ, from below."""
    agreeing, differing, off_by = [], [], []
    for entry in ledger():
        for quantity in entry.quantities:
            published = printed_value(quantity.published, quantity.unit)
            pair = [float(quantity.derived), float(published)]
            if quantity.verdict == "differs":
                differing.append(pair)
                off_by.append([entry.id, float(published / quantity.derived) - 1])
            else:
                agreeing.append(pair)
    off_by.sort(key=lambda misfit: misfit[1])
    return {
        "quantities": len(agreeing) + len(differing),
        "misfits": len(off_by),
        "least": off_by[0][1],
        "most": off_by[-1][1],
        "off_by": off_by,
        "agreeing": agreeing,  # of [derived, published]
        "differing": differing,
    }


@figure(_misfits)
def published_vs_derived(numbers: Numbers) -> Figure:
    """Show every figure of the ledger against its derivation, and each large misfit by its name.

    Left: {quantities} published figures against the derived ones, on logarithmic axes, along the
    diagonal; crosses mark the {misfits} that differ. Right: by how far published / derived is from
    1 for those {misfits}, from {least:.2g} to {most:.2g}. Those off by more than a tenth have a row
    each, with their names; the others, more than half, share one. The farthest are misprints and a
    table that counts frozen matrices.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 5.6), layout="constrained")
    left.plot([1e-4, 1e14], [1e-4, 1e14], color=GREY, linewidth=1)
    for pairs, style, color in (("agreeing", "o", BLUE), ("differing", "X", VERMILION)):
        derived, published = np.transpose(numbers[pairs])
        left.plot(derived, published, style, color=color, alpha=0.6, markersize=6)
    left.set(xscale="log", yscale="log", xlabel="derived", ylabel="published", aspect="equal")
    ratios = [ratio for _, ratio in numbers["off_by"]]
    below, near = sum(r < -0.1 for r in ratios), sum(abs(r) <= 0.1 for r in ratios)
    rows = [min(i, max(below, i - near + 1)) for i in range(len(ratios))]  # the near ones: one row
    names = [name for name, ratio in numbers["off_by"] if abs(ratio) > 0.1]
    names.insert(below, f"{near}: |x| ≤ 0.1")
    right.axvline(0, color=GREY, linewidth=1)
    right.plot(ratios, rows, "X", color=VERMILION)
    right.set_yticks(range(len(names)), names, fontsize=10)
    right.set_xscale("symlog", linthresh=1e-4)
    right.set(xlabel="x = published / derived − 1", xlim=(-2, 6), ylim=(-1, len(names)))
    right.set_xticks([-1, -1e-2, 0, 1e-2, 1])
    return fig


def _accounts() -> Numbers:
    """Derive both ends of both accounts, from the ranks of q and v and the bytes of a number."""
    base = counting.base_parameters("gpt3-175b")
    told = {"paper": (350e9, 35e6, [4, 4], 2), "talk": (1e12, 25e6, [1, 1], 6)}
    numbers: Numbers = {}
    for name, (full, small, ranks, size) in told.items():
        adapter = FUNCTIONS["square_lora"]("gpt3-175b", ranks)
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
    to 35 MB published, {paper_full:.4g} GB to {paper_adapter:.3g} MB derived. The talk, at 6 bytes:
    1 TB to 25 MB published, {talk_full:.4g} GB to {talk_adapter:.3g} MB derived. The large ends
    agree; both small ends are published smaller than derived. The derived ratios are
    {paper_ratio:,.0f} and {talk_ratio:,.0f}.
    """
    fig, ax = plt.subplots(figsize=(8, 3), layout="constrained")
    for row, name in enumerate(("paper", "talk")):
        derived = [1e9 * numbers[f"{name}_full"], 1e6 * numbers[f"{name}_adapter"]]
        ax.plot(derived, [row, row], "-", color=GREY, linewidth=1)
        ax.plot(derived, [row, row], "o", color=BLUE, markersize=13, markerfacecolor="white")
        ax.plot(numbers[f"{name}_told"], [row, row], "X", color=VERMILION, markersize=7)
        text = f"× {grouped(round(numbers[f'{name}_ratio']))}   {numbers[f'{name}_bytes']} B"
        ax.annotate(text, (5e9, row), (0, 6), textcoords="offset points", ha="center")
    ax.plot([], [], "o", color=BLUE, markersize=13, markerfacecolor="white", label="derived")
    ax.plot([], [], "X", color=VERMILION, label="published")
    ax.legend(loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.2))
    ax.set_yticks([0, 1], ["$r_q = r_v = 4$", "$r_q = r_v = 1$"])
    ax.set(xscale="log", xlabel="bytes", ylim=(1.5, -0.5))
    return fig


def memory_plans(model: str, r: int = 8, batch: int = 1) -> dict[str, dict[str, int]]:
    """Plan bytes in training: full, LoRA on q and v, QLoRA, at 16 bits with Adam in 32.

    GPT- and BERT-like models only, for the estimate of activations (sequences of 512 tokens).
    """
    found, config = counting.modules(model), counting.catalogue()[model]
    base, half, single = counting.base_parameters(found), "bfloat16", "float32"
    linear = sum(m.out_features * m.in_features for m in found.values() if m.kind == "linear")
    layers = config["n_layer"] if "n_layer" in config else config["num_hidden_layers"]
    width = config["n_embd"] if "n_embd" in config else config["hidden_size"]
    heads = config["n_head"] if "n_head" in config else config["num_attention_heads"]
    lora = FUNCTIONS["square_lora"](model, [r, r])
    kept = counting.activation_bytes(layers, width, 4 * width, heads, 512, batch, half)
    plans = {
        "full": counting.training_memory(0, base, dtypes=(half, half, single)),
        "LoRA": counting.training_memory(base, lora, dtypes=(half, single, single)),
        "QLoRA": counting.training_memory(base, lora, dtypes=(half, single, single)),
    }
    saved = counting.bytes_of(linear, half) - counting.bytes_of(linear, "nf4-double")
    plans["QLoRA"]["weights"] -= saved  # linear layers in 4 bits, the rest as it was
    return {name: {**plan, "activations": kept} for name, plan in plans.items()}


def _plans() -> Numbers:
    """Plan the memory of three models, name → method → part → bytes."""
    models = ["roberta-large", "gpt2-xl", "gpt3-175b"]
    plans = {model: memory_plans(model) for model in models}
    largest = plans["gpt3-175b"]
    return {
        "models": ", ".join(models),
        "gpt3_weights": largest["LoRA"]["weights"] / 1e9,
        "gpt3_qlora": largest["QLoRA"]["weights"] / 1e9,
        "plans": plans,
    }


@figure(_plans)
def training_memory(numbers: Numbers) -> Figure:
    """Show where memory goes: LoRA saves gradients and optimizer states, QLoRA weights as well.

    Stacked bars of bytes in training for {models}, each with full fine-tuning, LoRA and QLoRA:
    weights, gradients, optimizer states, activations. Full fine-tuning is by far the highest, and
    most of it is optimizer states. With LoRA gradients and states vanish, weights stay;
    activations, an estimate, are alike. QLoRA has a quarter to two fifths of the weights. For GPT-3
    the weights alone are {gpt3_weights:.0f} GB with LoRA, {gpt3_qlora:.0f} GB with QLoRA.
    """
    fig, axes = plt.subplots(1, 3, figsize=(10, 4.2), layout="constrained")
    looks = [(BLUE, ""), (ORANGE, "//"), (GREEN, ".."), (GREY, "xx")]
    for ax, (model, plan) in zip(axes, numbers["plans"].items(), strict=True):
        bottom = np.zeros(len(plan))
        for part, (color, hatch) in zip(plan["full"], looks, strict=True):
            heights = np.array([parts[part] for parts in plan.values()]) / 1e9
            ax.bar(list(plan), heights, bottom=bottom, color=color, hatch=hatch, label=part,
                   edgecolor="white", linewidth=0)  # fmt: skip
            bottom += heights
        ax.set(title=model, ylabel="GB")
    axes[0].legend(fontsize=9)
    return fig


def _reductions() -> Numbers:
    """Divide what three models have by what LoRA on q and v trains of it, rank for rank."""
    ranks = [2**i for i in range(9)]
    trained = {
        "gpt3-175b": [FUNCTIONS["square_lora"]("gpt3-175b", [r, r]) for r in ranks],
        "llama-3.1-8b": [counting.count("llama-3.1-8b", r, ["q_proj", "v_proj"])[0] for r in ranks],
        "roberta-base": [counting.count("roberta-base", r, ["query", "value"])[0] for r in ranks],
    }
    curves = {}
    for model, counts in trained.items():
        base = counting.base_parameters(model)
        curves[model] = [base / count for count in counts]
    at_4 = ranks.index(4)
    return {
        "ranks": ranks,
        "reductions": curves,
        "gpt3": curves["gpt3-175b"][at_4],
        "llama": curves["llama-3.1-8b"][at_4],
        "roberta": curves["roberta-base"][at_4],
    }


@figure(_reductions)
def reduction_by_rank(numbers: Numbers) -> Figure:
    """Show the reduction of whole models against the rank, LoRA on q and v.

    How many times fewer parameters LoRA on q and v trains than the model has, against the rank from
    1 to 256, both axes logarithmic: three parallel falling lines, each halved when r doubles. GPT-3
    is highest, {gpt3:,.0f} times at r = 4; Llama 3.1 8B has {llama:,.0f} times there, RoBERTa base
    {roberta:,.0f}.
    """
    ranks, gpt3 = numbers["ranks"], numbers["gpt3"]
    fig, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    looks = [("o-", BLUE), ("s--", GREEN), ("^:", VERMILION)]
    beside: dict[str, Any] = {"textcoords": "offset points"}
    for (model, curve), (style, color) in zip(numbers["reductions"].items(), looks, strict=True):
        ax.plot(ranks, curve, style, color=color, markersize=5)
        ax.annotate(model, (ranks[-1], curve[-1]), (6, -3), color=color, **beside)
    ax.annotate(grouped(round(gpt3)), (4, gpt3), (6, 6), color=BLACK, **beside)
    ax.set(xscale="log", yscale="log", xlabel="r", ylabel="base / trainable", xticks=ranks)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: grouped(value)))
    ax.minorticks_off()
    return fig


def _number(value: float | Fraction) -> str:
    return f"{value:_}" if isinstance(value, int) else f"{float(value):_.6g}"


def _rows() -> list[tuple[Entry, list[str]]]:
    return [
        (e, [e.id, e.model, e.configuration, q.name, q.published, _number(q.derived), q.verdict])
        for e in ledger() for q in e.quantities
    ]  # fmt: skip


@table("ledger.csv", "Every published figure with source, derivation's result and verdict.")
def ledger_csv() -> str:
    """Write the ledger as CSV, one row for each figure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["id", "model", "configuration", "quantity", "published", "derived", "verdict"]
    writer.writerow([*head, "explanation", "source", "place"])
    for entry, cells in _rows():
        why = entry.explanation if cells[-1] == "differs" else ""
        writer.writerow([*cells, why, entry.source, entry.place])
    return text.getvalue()


@table("ledger.md", "The same as a table to read, by source, with what was tried for each misfit.")
def ledger_markdown() -> str:
    """Write the ledger as Markdown: a table for each source, and the misfits explained."""
    rows, lines = _rows(), ["# The ledger", "", "Made by `lora-edu figures`; see lesson 05."]
    for source in dict.fromkeys(entry.source for entry, _ in rows):
        lines += ["", f"## {source}", "", "| id | model | configuration | published | derived | |"]
        lines += ["|---|---|---|---:|---:|---|"]
        for entry, (name, model, how, _, published, derived, judged) in rows:
            if entry.source == source:
                cells = (name, model, how, published, derived, judged)
                lines.append(f"| {' | '.join(cells)} |")
        for entry in {entry.id: entry for entry, _ in rows if entry.source == source}.values():
            if entry.verdict == "differs":
                tried = [f"{h.name}: {_number(h.derived)} ({h.verdict})" for h in entry.hypotheses]
                lines += ["", f"**{entry.id}**: {entry.explanation} {entry.note} Tried: "
                          + "; ".join(tried) + "."]  # fmt: skip
    return "\n".join(lines).replace("  Tried", " Tried") + "\n"
