"""Figures, and the ledger as tables."""

import csv
import io

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lora_edu import counting
from lora_edu.course.figures import Numbers, figure, table
from lora_edu.course.ledger import FUNCTIONS, Entry, ledger, printed_value
from lora_edu.course.plots import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION, grouped


@figure(
    "published_vs_derived",
    alt="Left: {quantities} published figures against the derived ones, on logarithmic axes, "
    "along the diagonal; crosses mark the {misfits} that differ. Right: by how far published / "
    "derived is from 1 for those {misfits}, from {least:.2g} to {most:.2g}. Those off by more "
    "than a tenth have a row each, with their names; the others, more than half, share one. The "
    "farthest are misprints and a table that counts frozen matrices.",
)
def published_vs_derived() -> tuple[Figure, Numbers]:
    """Show every figure of the ledger against its derivation, and each large misfit by its name."""
    pairs = [
        (entry.id, q.verdict, printed_value(q.published, q.unit) , q.derived)
        for entry in ledger() for q in entry.quantities
    ]  # fmt: skip
    misfits = [(name, float(p / d) - 1) for name, judged, p, d in pairs if judged == "differs"]
    misfits.sort(key=lambda pair: pair[1])
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 5.6), layout="constrained")
    left.plot([1e-4, 1e14], [1e-4, 1e14], color=GREY, linewidth=1)
    for differs, style, color in ((False, "o", BLUE), (True, "X", VERMILION)):
        chosen = [(float(d), float(p)) for _, v, p, d in pairs if (v == "differs") == differs]
        left.plot(*zip(*chosen, strict=True), style, color=color, alpha=0.6, markersize=6)
    left.set(xscale="log", yscale="log", xlabel="derived", ylabel="published", aspect="equal")
    ratios = [ratio for _, ratio in misfits]
    below, near = sum(r < -0.1 for r in ratios), sum(abs(r) <= 0.1 for r in ratios)
    rows = [min(i, max(below, i - near + 1)) for i in range(len(ratios))]  # the near ones: one row
    names = [name for name, ratio in misfits if abs(ratio) > 0.1]
    names.insert(below, f"{near}: |x| ≤ 0.1")
    right.axvline(0, color=GREY, linewidth=1)
    right.plot(ratios, rows, "X", color=VERMILION)
    right.set_yticks(range(len(names)), names, fontsize=10)
    right.set_xscale("symlog", linthresh=1e-4)
    right.set(xlabel="x = published / derived − 1", xlim=(-2, 6), ylim=(-1, len(names)))
    right.set_xticks([-1, -1e-2, 0, 1e-2, 1])
    return fig, {
        "quantities": len(pairs),
        "misfits": len(misfits),
        "least": ratios[0],
        "most": ratios[-1],
        "off_by": [list(pair) for pair in misfits],
    }


@figure(
    "gpt3_one_terabyte",
    alt="Two reductions of GPT-3 on one logarithmic axis of bytes. The paper, at 2 bytes a number: "
    "350 GB to 35 MB published, {paper_full:.4g} GB to {paper_adapter:.3g} MB derived. The talk, "
    "at 6 bytes: 1 TB to 25 MB published, {talk_full:.4g} GB to {talk_adapter:.3g} MB derived. The "
    "large ends agree; both small ends are published smaller than derived. The derived ratios are "
    "{paper_ratio:,.0f} and {talk_ratio:,.0f}.",
)
def gpt3_one_terabyte() -> tuple[Figure, Numbers]:
    """Show both accounts of GPT-3's reduction, as told and as counted."""
    base = counting.base_parameters("gpt3-175b")
    told = {"paper": (350e9, 35e6, [4, 4], 2), "talk": (1e12, 25e6, [1, 1], 6)}
    fig, ax = plt.subplots(figsize=(8, 3), layout="constrained")
    numbers: Numbers = {}
    for row, (name, (full, small, ranks, size)) in enumerate(told.items()):
        adapter = FUNCTIONS["square_lora"]("gpt3-175b", ranks)
        derived = [base * size, adapter * size]
        ax.plot(derived, [row, row], "-", color=GREY, linewidth=1)
        ax.plot(derived, [row, row], "o", color=BLUE, markersize=13, markerfacecolor="white")
        ax.plot([full, small], [row, row], "X", color=VERMILION, markersize=7)
        ax.annotate(f"× {grouped(round(base / adapter))}   {size} B", (5e9, row), (0, 6),
                    textcoords="offset points", ha="center")  # fmt: skip
        numbers |= {f"{name}_full": derived[0] / 1e9, f"{name}_adapter": derived[1] / 1e6}
        numbers[f"{name}_ratio"] = base / adapter
    ax.plot([], [], "o", color=BLUE, markersize=13, markerfacecolor="white", label="derived")
    ax.plot([], [], "X", color=VERMILION, label="published")
    ax.legend(loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.2))
    ax.set_yticks([0, 1], ["$r_q = r_v = 4$", "$r_q = r_v = 1$"])
    ax.set(xscale="log", xlabel="bytes", ylim=(1.5, -0.5))
    return fig, numbers


def memory_plans(model: str, r: int = 8, batch: int = 1) -> dict[str, dict[str, int]]:
    """Plan bytes in training: full, LoRA on q and v, QLoRA, at 16 bits with Adam in 32.

    GPT- and BERT-like models only, for the estimate of activations (sequences of 512 tokens).
    """
    found, config = counting.modules(model), counting.catalogue()[model]
    base, half, single = counting.base_parameters(found), "bfloat16", "float32"
    linear = sum(m.out_features * m.in_features for m in found.values() if m.kind == "linear")
    layers, width, heads = (config[a] if a in config else config[b] for a, b in [
        ("n_layer", "num_hidden_layers"), ("n_embd", "hidden_size"),
        ("n_head", "num_attention_heads")])  # fmt: skip
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


@figure(
    "training_memory",
    alt="Stacked bars of bytes in training for {models}, each with full fine-tuning, LoRA and "
    "QLoRA: weights, gradients, optimizer states, activations. Full fine-tuning is by far the "
    "highest, and most of it is optimizer states. With LoRA gradients and states vanish, weights "
    "stay; activations, an estimate, are alike. QLoRA has a quarter to two fifths of the weights. "
    "For GPT-3 the weights alone are {gpt3_weights:.0f} GB with LoRA, {gpt3_qlora:.0f} GB with "
    "QLoRA.",
)
def training_memory() -> tuple[Figure, Numbers]:
    """Show where memory goes: LoRA saves gradients and optimizer states, QLoRA weights as well."""
    models = ["roberta-large", "gpt2-xl", "gpt3-175b"]
    plans = {model: memory_plans(model) for model in models}
    fig, axes = plt.subplots(1, 3, figsize=(10, 4.2), layout="constrained")
    looks = [(BLUE, ""), (ORANGE, "//"), (GREEN, ".."), (GREY, "xx")]
    for ax, (model, plan) in zip(axes, plans.items(), strict=True):
        bottom = np.zeros(len(plan))
        for part, (color, hatch) in zip(plan["full"], looks, strict=True):
            heights = np.array([parts[part] for parts in plan.values()]) / 1e9
            ax.bar(list(plan), heights, bottom=bottom, color=color, hatch=hatch, label=part,
                   edgecolor="white", linewidth=0)  # fmt: skip
            bottom += heights
        ax.set(title=model, ylabel="GB")
    axes[0].legend(fontsize=9)
    weights = [plans["gpt3-175b"][name]["weights"] / 1e9 for name in ("LoRA", "QLoRA")]
    return fig, {"models": ", ".join(models), "gpt3_weights": weights[0], "gpt3_qlora": weights[1],
                 "plans": plans}  # fmt: skip


@figure(
    "reduction_by_rank",
    alt="How many times fewer parameters LoRA on q and v trains than the model has, against the "
    "rank from 1 to 256, both axes logarithmic: three parallel falling lines, each halved when r "
    "doubles. GPT-3 is highest, {gpt3:,.0f} times at r = 4; Llama 3.1 8B has {llama:,.0f} times "
    "there, RoBERTa base {roberta:,.0f}.",
)
def reduction_by_rank() -> tuple[Figure, Numbers]:
    """Show the reduction of whole models against the rank, LoRA on q and v."""
    ranks = [2**i for i in range(9)]
    counts = {
        "gpt3-175b": [FUNCTIONS["square_lora"]("gpt3-175b", [r, r]) for r in ranks],
        "llama-3.1-8b": [counting.count("llama-3.1-8b", r, ["q_proj", "v_proj"])[0] for r in ranks],
        "roberta-base": [counting.count("roberta-base", r, ["query", "value"])[0] for r in ranks],
    }
    fig, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    curves = {}
    for (model, trained), style, color in zip(
        counts.items(), ["o-", "s--", "^:"], [BLUE, GREEN, VERMILION], strict=True
    ):
        curves[model] = [counting.base_parameters(model) / n for n in trained]
        ax.plot(ranks, curves[model], style, color=color, markersize=5)
        ax.annotate(
            model, (256, curves[model][-1]), (6, -3), textcoords="offset points", color=color
        )
    ax.annotate(grouped(round(curves["gpt3-175b"][2])), (4, curves["gpt3-175b"][2]), (6, 6),
                textcoords="offset points", color=BLACK)  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="r", ylabel="base / trainable", xticks=ranks)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: grouped(value)))
    ax.minorticks_off()
    at4 = {name: curves[m][2] for name, m in zip(("gpt3", "llama", "roberta"), curves, strict=True)}
    return fig, {"ranks": ranks, "reductions": curves, **at4}


def _number(value: float) -> str:
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
    rows, lines = _rows(), ["# The ledger", "", "Made by `make figures`; see lesson 05."]
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
