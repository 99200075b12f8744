"""LoRALinear against a frozen linear layer, the plain expression, loralib and PEFT.

    python tests/benchmarks/layers.py [--threads 1 2] [--states quiet kept busy] [--rounds 30]
                                      [--before FILE]

writes ``layers.json`` (every sample) and ``layers.md`` (the tables) beside this file. ``FILE`` is
another ``_fused.py``, an older one for instance, which is timed beside the others.

All candidates share one base layer (weight and bias frozen), one lora_A and one lora_B; float32, no
dropout, no autocast, one adapter. *Forward* is prediction, under ``torch.no_grad()``. *Step* is the
forward pass and the backward pass down to the gradients of x, lora_A and lora_B. The frozen layer
is the limit: what a layer would take whose LoRA part cost nothing.
"""

import argparse
import copy
import json
import math
from pathlib import Path

import common
import loralib
import peft
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from lora_edu.course.timing import compare
from lora_edu.layers import LoRALinear

# (out_features, in_features, r, batch, tokens)
SHAPES = [
    (384, 384, 8, 32, 32),
    (768, 768, 8, 8, 128),
    (576, 576, 8, 1, 192),
    (1024, 4096, 16, 4, 128),
    (2048, 2048, 64, 4, 64),
    (4096, 4096, 16, 1, 1),
    (768, 768, 8, 1, 1),
]
HERE = Path(__file__).parent


class Plain(nn.Module):
    """The equation as most people write it."""

    def __init__(self, ours):
        super().__init__()
        self.base, self.lora_A, self.lora_B = ours.base, ours.lora_A, ours.lora_B
        self.scaling = ours.scaling

    def forward(self, x):
        return self.base(x) + F.linear(F.linear(x, self.lora_A), self.lora_B) * self.scaling


def layers(d, k, r, before=None):
    """Return every candidate, around the same tensors."""
    torch.manual_seed(0)
    ours = LoRALinear(nn.Linear(k, d), r=r, lora_alpha=2 * r)
    nn.init.normal_(ours.lora_B)

    theirs = loralib.Linear(k, d, r=r, lora_alpha=2 * r, merge_weights=False)
    theirs.weight, theirs.bias = ours.base.weight, ours.base.bias
    theirs.lora_A, theirs.lora_B = ours.lora_A, ours.lora_B

    config = peft.LoraConfig(r=r, lora_alpha=2 * r, target_modules=["0"])
    pefts = peft.get_peft_model(nn.Sequential(nn.Linear(k, d)), config).base_model.model[0]
    pefts.base_layer = ours.base
    pefts.lora_A["default"].weight = ours.lora_A
    pefts.lora_B["default"].weight = ours.lora_B
    found = {"frozen": ours.base, "plain": Plain(ours), "loralib": theirs, "PEFT": pefts}
    if before:
        found["before"] = copy.copy(ours)
        found["before"].__class__ = common.other_code(before)
    return found | {"ours": ours}


def work(layer, x, cotangent):
    """Return the two things to time."""
    parameters = [p for p in (*layer.parameters(), x) if p.requires_grad]

    def forward():
        with torch.no_grad():
            layer(x)

    def step():
        layer(x).backward(cotangent)
        for parameter in parameters:
            parameter.grad = None

    return {"forward": forward, "step": step}


def check(candidates, x, cotangent):
    """Make sure that all compute the same before they are timed; return how nearly ours does."""
    results = {}
    for name, layer in candidates.items():
        if name != "frozen":
            y = layer(x)
            leaves = (x, candidates["ours"].lora_A, candidates["ours"].lora_B)
            results[name] = (y, *torch.autograd.grad(y, leaves, cotangent))
    assert all(map(torch.equal, results["plain"], results["PEFT"]))  # bit for bit
    for found in results.values():
        differences = [
            ((one - other).abs().max() / other.abs().max()).item()
            for one, other in zip(found, results["PEFT"], strict=True)
        ]
        assert differences[0] <= 1e-6
        assert max(differences[1:]) <= 1e-5
    return {"output": differences[0], "gradients": max(differences[1:])}


def measure(shape, rounds, before):
    d, k, r, batch, tokens = shape
    candidates = layers(d, k, r, before)
    x = torch.randn(batch, tokens, k, requires_grad=True)
    cotangent = torch.randn(batch, tokens, d)
    found = {"shape": shape, "to_peft": check(candidates, x, cotangent)}
    tasks = {name: work(layer, x, cotangent) for name, layer in candidates.items()}
    for kind in ("forward", "step"):
        timings = compare({name: task[kind] for name, task in tasks.items()}, rounds=rounds)
        peaks = {name: common.peak_memory(task[kind]) for name, task in tasks.items()}
        found[kind] = {"seconds": common.rounded(timings), "peak_bytes": peaks}
    return found


def shown(shape):
    return "{} × {}, r {}, {} × {}".format(*shape)


def table(rows, kind):
    """Return the Markdown of one kind of work, in one state, with one number of threads."""
    names = [n for n in rows[0][kind]["seconds"] if n != "frozen"]
    lines = [
        f"| {kind} | frozen, ms | " + " | ".join(names) + " | ours / PEFT | frozen / PEFT"
        " | overhead (95 %)"
        " | peak MB: frozen, PEFT, ours |",
        "|---|---|" + "---|" * len(names) + "---|---|---|---|",
    ]
    for row in rows:
        seconds, peaks = row[kind]["seconds"], row[kind]["peak_bytes"]
        times = [common.over_frozen(seconds, name) for name in names]
        frozen = sorted(seconds["frozen"])[len(seconds["frozen"]) // 2]
        peft_time = common.over_frozen(seconds, "PEFT")
        share, low, high = common.overhead(seconds)
        cells = [f"{1e3 * frozen:.3g}", *(f"{t:.2f}" for t in times)]
        cells += [f"{times[-1] / peft_time:.2f}", f"{1 / peft_time:.2f}"]
        cells += [f"**{share:.2f}** ({low:.2f}–{high:.2f})"]
        cells += [", ".join(f"{peaks[n] / 1e6:.3g}" for n in ("frozen", "PEFT", "ours"))]
        lines.append(f"| {shown(row['shape'])} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def mean_overhead(rows, kind, name="ours"):
    """Return the geometric mean over the shapes with 192 rows or more."""
    many = [row for row in rows if row["shape"][3] * row["shape"][4] >= 192]
    shares = [common.overhead(row[kind]["seconds"], name)[0] for row in many]
    if min(shares) <= 0:  # faster than the frozen layer: noise
        return math.nan
    return math.exp(sum(map(math.log, shares)) / len(shares))


def summary(runs):
    """Return the overheads of all states side by side."""
    heads = [f"{run['state']}, {run['threads']}" for run in runs]
    lines = [
        "| overhead: state, threads | " + " | ".join(heads) + " |",
        "|---|" + "---|" * len(runs),
    ]
    names = [n for n in ("before", "ours") if n in runs[0]["rows"][0]["step"]["seconds"]]
    for kind in ("forward", "step"):
        for i, row in enumerate(runs[0]["rows"]):
            cells = []
            for run in runs:
                seconds = run["rows"][i][kind]["seconds"]
                cells.append(" → ".join(f"{common.overhead(seconds, n)[0]:.2f}" for n in names))
            lines.append(f"| {kind}, {shown(row['shape'])} | " + " | ".join(cells) + " |")
        cells = [
            " → ".join(f"**{mean_overhead(run['rows'], kind, n):.2f}**" for n in names)
            for run in runs
        ]
        lines.append(f"| {kind}, geometric mean of ≥ 192 rows | " + " | ".join(cells) + " |")
    return [*lines, ""]


def write(found):
    """Write what was found, and its tables."""
    runs = found["runs"]
    far = {what: max(row["to_peft"][what] for run in runs for row in run["rows"])
           for what in ("output", "gradients")}  # fmt: skip
    lines = [
        "# LoRALinear, measured",
        "",
        "Made by `layers.py` beside this file, which says what is timed; "
        f"{found['rounds']} rounds. {found['machine']}.",
        "",
        "Overhead = (ours − frozen) / (PEFT − frozen); the columns of candidates are times over "
        "that of the frozen layer. Quiet: nothing of ours runs beside. "
        "Kept: as quiet, and the C library keeps freed memory. Busy: another process computes. The "
        "intervals are of one process each; the next one may differ by more.",
        "",
        "The plain expression equals PEFT bit for bit. Ours differs, relative to the largest entry,"
        f" by at most {far['output']:.1e} in the output and {far['gradients']:.1e} in a gradient.",
        "",
        *summary(runs),
    ]
    for run in runs:
        if run["state"] == "kept":
            lines += [f"## {run['threads']} thread(s), memory kept", ""]
            lines += table(run["rows"], "forward") + table(run["rows"], "step")
    (HERE / "layers.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    (HERE / "layers.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--states", nargs="+", choices=common.STATES, default=[*common.STATES])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        torch.set_num_threads(options.worker)
        rows = [measure(shape, options.rounds, options.before) for shape in SHAPES]
        print(json.dumps({"rows": rows}))
        return
    where = common.machine()
    passed = ["--rounds", str(options.rounds)]
    passed += ["--before", str(options.before.resolve())] if options.before else []
    runs = common.in_states(__file__, options.states, options.threads, passed)
    write({"machine": where, "rounds": options.rounds, "runs": runs})


if __name__ == "__main__":
    main()
