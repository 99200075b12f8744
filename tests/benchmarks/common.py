"""What the benchmarks of the layer and of the model share: states of a machine, and their one
number, the *overhead* = (ours - frozen) / (PEFT - frozen), each over the frozen time of its round.
"""

import contextlib
import importlib.util
import json
import os
import platform
import subprocess
import sys

import numpy as np
import peft
import torch
from torch.profiler import profile

from lora_edu.layers import LoRALinear

KEPT = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}
BUSY = "import torch; torch.set_num_threads(1); x = torch.randn(512, 512)\nwhile True: x @ x"
STATES = {  # what is set in the environment, and what runs beside
    "quiet": ({}, None),
    "kept": (KEPT, None),  # the C library keeps freed memory, so that no page is faulted in twice
    "busy": ({}, BUSY),  # another process computes on a core that is left
}


def in_states(script, states, threads, options):
    """Run ``script --worker`` once for each state and number of threads; return what they print."""
    found = []
    for state in states:
        environment, beside = STATES[state]
        for n in threads:
            if beside and n >= os.cpu_count():  # they wait for each other, and all is noise
                continue
            command = [sys.executable, "-W", "ignore", script, "--worker", str(n), *options]
            neighbour = subprocess.Popen([sys.executable, "-c", beside]) if beside else None
            try:
                out = subprocess.run(
                    command, env=os.environ | environment, stdout=subprocess.PIPE, check=True
                )
            finally:
                if neighbour:
                    neighbour.kill()
                    neighbour.wait()
            found.append({"state": state, "threads": n, **json.loads(out.stdout)})
            print(f"{script}: {state}, {n} thread(s) done", file=sys.stderr, flush=True)
    return found


def machine():
    """Return what a recording says of where it was made."""
    return (
        f"{platform.processor() or platform.machine()} ({cpu()}), {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.2f} at the start, Python {platform.python_version()}, "
        f"torch {torch.__version__}, PEFT {peft.__version__}"
    )


def cpu():
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        return next(line for line in lines if line.startswith("model name")).split(": ")[1].strip()
    return "unknown"


def rounded(timings):
    return {name: [float(f"{s:.5g}") for s in v] for name, v in timings.seconds.items()}


def over_frozen(seconds, name):
    """Return the median over the rounds of ``name / frozen``."""
    return float(np.median(np.divide(seconds[name], seconds["frozen"])))


def overhead(seconds, name="ours", than="PEFT"):
    """Return the overhead and its 95 % interval, drawing rounds with replacement."""
    mine, theirs = (np.divide(seconds[n], seconds["frozen"]) for n in (name, than))
    draws = np.random.default_rng(0).integers(len(mine), size=(2000, len(mine)))

    def of(one, other, axis=None):
        return (np.median(one, axis) - 1) / (np.median(other, axis) - 1)

    low, high = np.quantile(of(mine[draws], theirs[draws], 1), [0.025, 0.975])
    return float(of(mine, theirs)), float(low), float(high)


def peak_memory(function, warm=True):
    """Return the most bytes that ``function`` holds at once, beyond what was there before."""
    if warm:
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


def other_code(path):
    """Return a class like LoRALinear whose fast path is another ``_fused.py``: an older one, say.

    Set it as the ``__class__`` of a layer: old and new code are then compared in one process.
    """
    spec = importlib.util.spec_from_file_location("other_fused", path)
    fused = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fused)

    class Other(LoRALinear):
        def forward(self, x):
            if self.merged:
                return self.base(x)
            return fused.lora_linear(*fused.operands(self, x), self.scaling)

    return Other
