"""LoRALinear against a frozen linear layer, the plain expression, loralib and PEFT.

    python tests/benchmarks/layers.py [--threads 1 2] [--rounds 30]

writes its rows of the table in README.md beside this file.

All candidates share one base layer (weight and bias frozen), one lora_A and one lora_B; float32, no
dropout, no autocast, one adapter. *Forward* is prediction, under ``torch.no_grad()``. *Step* is the
forward pass and the backward pass down to the gradients of x, lora_A and lora_B. The frozen layer
is the limit: what a layer would take whose LoRA part cost nothing.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import loralib
import numpy as np
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
MANY = 192  # rows of x, from which on a shape counts in the mean
PAGE = Path(__file__).with_name("README.md")
# The C library keeps the memory that is freed. Otherwise it may give it back to the system, and
# then each step pays for its pages again: sometimes for one candidate and not for another.
KEPT = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}


# -- what both benchmarks share ---------------------------------------------------------------


def measured(script, measure):
    """Run ``measure(options)`` in a process for each number of threads; return threads → result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        torch.set_num_threads(options.threads[0])
        print(json.dumps(measure(options)))
        sys.exit()
    found = {}
    for threads in options.threads:
        command = [sys.executable, "-W", "ignore", script, "--worker", "--threads", str(threads)]
        command += ["--rounds", str(options.rounds)]
        how = {"env": os.environ | KEPT, "stdout": subprocess.PIPE, "check": True}
        found[threads] = json.loads(subprocess.run(command, **how).stdout)
        print(f"{Path(script).name}: {threads} thread(s) done", file=sys.stderr, flush=True)
    return found


def ratio(seconds, name, than):
    """Return the median over the rounds of ``name / than``, and its 95 % interval."""
    each = np.divide(seconds[name], seconds[than])
    drawn = np.random.default_rng(0).integers(len(each), size=(2000, len(each)))
    low, high = np.quantile(np.median(each[drawn], axis=1), [0.025, 0.975])
    return float(np.median(each)), float(low), float(high)


def table_row(what, threads, seconds):
    """Return a row of the table: milliseconds of each candidate, and ours over PEFT's."""
    cells = []
    for name in ("frozen", "plain", "loralib", "PEFT", "ours"):
        samples = seconds.get(name)
        cells.append(f"{1000 * statistics.median(samples):.4g}" if samples else "")
    middle, low, high = ratio(seconds, "ours", "PEFT")
    cells.append(f"**{middle:.2f}** ({low:.2f}–{high:.2f})")
    return f"| {what} | {threads} | " + " | ".join(cells) + " |"


def record(kind, rows, rounds):
    """Write the rows of one kind, "layer" or "model", into the table of the page."""
    processor = platform.processor() or platform.machine()
    when = datetime.now(timezone.utc).date().isoformat()
    made = (
        f"- *{kind}*: {rounds} rounds, {when}, {processor}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, torch {torch.__version__}, PEFT {peft.__version__}."
    )
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith((f"| {kind},", f"- *{kind}*"))]
    # Below the head of the table; rows of the model stand below those of the layer.
    heads = "|---|---|---|" if kind == "layer" else ("|---|---|---|", "| layer,")
    last = max(i for i, line in enumerate(lines) if line.startswith(heads))
    lines[last + 1 : last + 1] = rows
    lines.insert(lines.index("Recorded:") + 2, made)
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join([*rows, made]))


# -- the layer --------------------------------------------------------------------------------


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
    return {
        "frozen": ours.base,
        "plain": Plain(ours),
        "loralib": theirs,
        "PEFT": pefts,
        "ours": ours,
    }


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
    """Make sure that all compute the same before they are timed."""
    results = {}
    for name, layer in candidates.items():
        if name != "frozen":
            y = layer(x)
            leaves = (x, candidates["ours"].lora_A, candidates["ours"].lora_B)
            results[name] = (y, *torch.autograd.grad(y, leaves, cotangent))
    assert all(map(torch.equal, results["plain"], results["PEFT"]))  # bit for bit
    for found in results.values():
        for one, other in zip(found, results["PEFT"], strict=True):
            assert (one - other).abs().max() <= 1e-5 * other.abs().max()


def measure(options):
    """Time each shape; return a list of shape, kind of work, and seconds of each candidate."""
    found = []
    for shape in SHAPES:
        d, k, r, batch, tokens = shape
        candidates = layers(d, k, r)
        x = torch.randn(batch, tokens, k, requires_grad=True)
        cotangent = torch.randn(batch, tokens, d)
        check(candidates, x, cotangent)
        tasks = {name: work(layer, x, cotangent) for name, layer in candidates.items()}
        for kind in ("forward", "step"):
            timed = {name: task[kind] for name, task in tasks.items()}
            seconds = compare(timed, rounds=options.rounds).seconds
            found.append({"shape": shape, "kind": kind, "seconds": seconds})
    return found


def main():
    rows, rounds = [], 0
    for threads, found in measured(__file__, measure).items():
        for each in found:
            what = "layer, {}: {} × {}, r {}, {} × {}".format(each["kind"], *each["shape"])
            rows.append(table_row(what, threads, each["seconds"]))
            rounds = len(each["seconds"]["ours"])
        for kind in ("forward", "step"):
            many = [e for e in found if e["kind"] == kind and math.prod(e["shape"][3:]) >= MANY]
            mean = statistics.geometric_mean(ratio(e["seconds"], "ours", "PEFT")[0] for e in many)
            mean_row = f"| layer, {kind}: geometric mean of {MANY} rows or more | {threads} |"
            rows.append(f"{mean_row} | | | | | **{mean:.2f}** |")
    record("layer", rows, rounds)


if __name__ == "__main__":
    main()
