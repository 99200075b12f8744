"""The SVD of lora_B @ lora_A: factored (two QRs) against dense.

    python tests/benchmarks/svd.py [--sizes 256 512 1024 2048 4096] [--rounds 3]

writes ``svd.json`` (every sample) and ``svd.md`` (the table) beside this file. float64, Gaussian
factors, r = 16, NumPy's own number of threads. The dense SVD gets the product ready-made and
returns singular values only; the factored one starts from the factors and returns vectors as well.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np

from lora_edu.course.timing import compare
from lora_edu.lowrank import svd_of_product

HERE = Path(__file__).parent
R = 16


def measure(size, rounds):
    rng = np.random.default_rng(0)
    lora_A, lora_B = rng.normal(size=(R, size)), rng.normal(size=(size, R))
    product = lora_B @ lora_A
    values = {}

    def dense():
        values["dense"] = np.linalg.svd(product, compute_uv=False)

    def factored():
        values["factored"] = svd_of_product(lora_A, lora_B)[1]

    timings = compare({"dense": dense, "factored": factored}, rounds=rounds)
    difference = np.abs(values["dense"][:R] - values["factored"]).max() / values["dense"][0]
    return {
        "size": size,
        "seconds": {n: [float(f"{s:.5g}") for s in v] for n, v in timings.seconds.items()},
        "dense_to_factored": timings.ratio("dense", "factored"),
        "largest_difference": float(difference),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    lines = [
        "# The SVD of lora_B @ lora_A, measured",
        "",
        "Made by `svd.py` beside this file, which says what is timed. "
        f"r = {R}, {os.cpu_count()} cores, NumPy {np.__version__}.",
        "",
        "| size | dense, s | factored, ms | dense / factored (quartiles) | difference, of σ₁ |",
        "|---|---|---|---|---|",
    ]
    results = []
    for size in arguments.sizes:
        result = measure(size, arguments.rounds)
        results.append(result)
        dense, factored = (np.median(v) for v in result["seconds"].values())
        first, median, third = (f"{ratio:,.0f}" for ratio in result["dense_to_factored"])
        lines.append(
            f"| {size} | {dense:.3g} | {1e3 * factored:.3g} | {median} ({first}–{third}) "
            f"| {result['largest_difference']:.1e} |"
        )
        print(lines[-1], flush=True)
    (HERE / "svd.json").write_text(json.dumps(results))
    (HERE / "svd.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
