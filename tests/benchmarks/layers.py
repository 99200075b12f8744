"""LoRALinear against a frozen linear layer, the plain expression, loralib and PEFT.

    python tests/benchmarks/layers.py [--threads 1 2] [--rounds 30]

writes ``layers.json`` (every sample) and ``layers.md`` (the table) beside this file.

All candidates share one base layer (weight and bias frozen), one lora_A and one lora_B; float32, no
dropout, no autocast, one adapter. *Forward* is prediction, under ``torch.no_grad()``. *Step* is the
forward pass and the backward pass down to the gradients of x, lora_A and lora_B. The frozen layer
is the bound: what a layer would take whose LoRA part cost nothing.
"""

import argparse
import json
import math
import os
import platform
from pathlib import Path

import loralib
import peft
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.profiler import profile

from lora_edu.course.timing import compare
from lora_edu.layers import LoRALinear

# (out_features, in_features, r, batch, tokens)
SHAPES = [
    (384, 384, 8, 32, 32),
    (768, 768, 8, 8, 128),
    (1024, 4096, 16, 4, 128),
    (4096, 4096, 16, 1, 1),
    (768, 768, 8, 1, 1),
    (2048, 2048, 64, 4, 64),
]
NAMES = ["frozen", "plain", "ours", "loralib", "PEFT"]
HERE = Path(__file__).parent


class Plain(nn.Module):
    """The equation as most people write it."""

    def __init__(self, ours):
        super().__init__()
        self.base, self.lora_A, self.lora_B = ours.base, ours.lora_A, ours.lora_B
        self.scaling = ours.scaling

    def forward(self, x):
        return self.base(x) + F.linear(F.linear(x, self.lora_A), self.lora_B) * self.scaling


def layers(d, k, r):
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
    return dict(zip(NAMES, [ours.base, Plain(ours), ours, theirs, pefts], strict=True))


def work(layer, x, cotangent):
    """Return the two things to time."""
    parameters = [p for p in (*layer.parameters(), x) if p.requires_grad]

    def forward():
        with torch.no_grad():
            layer(x)

    def step():
        for parameter in parameters:
            parameter.grad = None
        layer(x).backward(cotangent)

    return {"forward": forward, "step": step}


def peak_memory(function):
    """Return the most bytes that ``function`` holds at once, beyond what was there before."""
    function()
    with profile(profile_memory=True) as profiler:
        function()
    held = peak = 0
    events = profiler.profiler.kineto_results.events()
    for event in sorted(events, key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def check(candidates, x, cotangent):
    """Make sure that all compute the same before they are timed; return how nearly ours does."""
    results = {}
    for name in NAMES[1:]:
        leaves = (x, candidates["ours"].lora_A, candidates["ours"].lora_B)
        y = candidates[name](x)
        results[name] = (y, *torch.autograd.grad(y, leaves, cotangent))
    assert all(map(torch.equal, results["plain"], results["PEFT"]))  # bit for bit
    differences = [
        ((ours - theirs).abs().max() / theirs.abs().max()).item()
        for ours, theirs in zip(results["ours"], results["PEFT"], strict=True)
    ]
    assert differences[0] <= 1e-6
    assert max(differences[1:]) <= 1e-5
    return {"output": differences[0], "gradients": max(differences[1:])}


def measure(shape, threads, rounds):
    torch.set_num_threads(threads)
    d, k, r, batch, tokens = shape
    candidates = layers(d, k, r)
    x = torch.randn(batch, tokens, k, requires_grad=True)
    cotangent = torch.randn(batch, tokens, d)
    differences = check(candidates, x, cotangent)
    tasks = {name: work(layer, x, cotangent) for name, layer in candidates.items()}
    result = {"shape": shape, "threads": threads, "to_peft": differences}
    for kind in ("forward", "step"):
        timings = compare({name: task[kind] for name, task in tasks.items()}, rounds=rounds)
        result[kind] = {
            "seconds": {n: [float(f"{s:.5g}") for s in v] for n, v in timings.seconds.items()},
            "peak_bytes": {name: peak_memory(task[kind]) for name, task in tasks.items()},
            "to_frozen": {name: timings.ratio(name, "frozen") for name in NAMES},
            "ours_to": {name: timings.ratio("ours", name) for name in ("loralib", "PEFT")},
            "frozen_to": {name: timings.ratio("frozen", name) for name in ("loralib", "PEFT")},
        }
    return result


def mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def table(results):
    """Return the Markdown of all results of one number of threads."""
    lines = []
    for kind in ("forward", "step"):
        lines += [
            f"### {kind.capitalize()}: time over that of the frozen layer, median (quartiles)",
            "",
            "| out, in, r, batch × tokens | frozen, ms | " + " | ".join(NAMES[1:]) + " |",
            "|---|---|" + "---|" * len(NAMES[1:]),
        ]
        for result in results:
            d, k, r, batch, tokens = result["shape"]
            cells = [
                f"{m:.2f} ({a:.2f}–{b:.2f})"
                for a, m, b in (result[kind]["to_frozen"][name] for name in NAMES[1:])
            ]
            frozen = sorted(result[kind]["seconds"]["frozen"])
            ms = 1e3 * frozen[len(frozen) // 2]
            lines.append(
                f"| {d}, {k}, {r}, {batch} × {tokens} | {ms:.3g} | " + " | ".join(cells) + " |"
            )
        lines += [
            "",
            "| | ours / PEFT | bound | ours / loralib | bound | overhead, of PEFT's | memory: "
            + ", ".join(NAMES)
            + ", MB |",
            "|---|---|---|---|---|---|---|",
        ]
        for result in results:
            r = result[kind]
            cells = [
                f"{r[key][n][1]:.2f}"
                for n in ("PEFT", "loralib")
                for key in ("ours_to", "frozen_to")
            ]
            overhead = (r["to_frozen"]["ours"][1] - 1) / (r["to_frozen"]["PEFT"][1] - 1)
            memory = ", ".join(f"{r['peak_bytes'][n] / 1e6:.3g}" for n in NAMES)
            shape = "{}, {}, {}, {} × {}".format(*result["shape"])
            lines.append(f"| {shape} | " + " | ".join(cells) + f" | {overhead:.2f} | {memory} |")
        means = [
            f"**{mean([result[kind][key][n][1] for result in results]):.3f}**"
            for n in ("PEFT", "loralib")
            for key in ("ours_to", "frozen_to")
        ]
        lines += ["| geometric mean | " + " | ".join(means) + " | | |", ""]
    return lines


def processor():
    for line in (
        Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if os.path.exists("/proc/cpuinfo")
        else []
    ):
        if line.startswith("model name"):
            return line.split(": ")[1]
    return platform.processor()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    machine = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "peft": peft.__version__,
        "rounds": arguments.rounds,
    }
    lines = [
        "# LoRALinear, measured",
        "",
        "Made by `layers.py` beside this file, which says what is timed. "
        "Bound: the frozen layer in place of ours.",
        "",
        ", ".join(f"{name} {value}" for name, value in machine.items()),
        "",
    ]
    results = []
    for threads in arguments.threads:
        rows = []
        for shape in SHAPES:
            rows.append(measure(shape, threads, arguments.rounds))
            print(threads, shape, rows[-1]["step"]["ours_to"], flush=True)
        results += rows
        output, gradients = (
            max(row["to_peft"][what] for row in rows) for what in ("output", "gradients")
        )
        lines += [
            f"## {threads} thread{'s' * (threads > 1)}",
            "",
            "The plain expression equals PEFT bit for bit. Ours differs, relative to the largest "
            f"entry, by at most {output:.1e} in the output and {gradients:.1e} in the gradients.",
            "",
            *table(rows),
        ]
    (HERE / "layers.json").write_text(json.dumps({"machine": machine, "results": results}))
    (HERE / "layers.md").write_text("\n".join(lines).rstrip() + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
