"""Adapters of at most 10 MB, made to cost time and memory, and what it costs to load each.

As a program it loads each in a process of its own, under limits, and prints its name, the seconds
of the processor, the megabytes above what there was, and what was said.
"""

import gc
import json
import os
import resource
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from lora_edu.checkpoint import CONFIG, WEIGHTS, load_adapter

MOST = 9_900_000
MEMORY = 4 * 10**9
PARTS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def model():
    """Return a network whose layers are called as those of a Llama."""
    layers = [nn.ModuleDict({part: nn.Linear(32, 32) for part in PARTS}) for _ in range(4)]
    return nn.ModuleDict({"layers": nn.ModuleList(layers), "lm_head": nn.Linear(32, 49_152)})


def patterns(kind, many):
    """Return as many patterns as may stand in a file, or as it asks for."""
    return {"rank_pattern": {kind.format(f"{i:x}"): 3 for i in range(many)}}


COSTLY = {  # fields, beside a list of targets
    "right": {},
    "calls itself": {"target_modules": "(?R)"},
    "calls a group": {"target_modules": "(?P<a>(?&a))*"},
    "repeats of repeats": {"target_modules": "(?:(?:a{1000}){1000}){1000}"},
    "repeats that double": {"target_modules": "(" * 20 + "a" + ")+" * 20},
    "deep": {"target_modules": "(" * 200_000 + ")" * 200_000},
    "each way to cut a name": {"target_modules": "((((" + "(?:.|..)" + "+)+)+)+)+[!?]"},
    "and each end of it": patterns("(.|..)+{}|[!?]", 882),
    "a long pattern": patterns("x" * 900_000 + "{}", 1),
    "many patterns": patterns("{}", 80_000),
    "many long ones": patterns("a?b*" * 150 + "{}", 1_900),
    "all that a file holds": patterns("{}", 700_000),
    "many names": {"target_modules": [f"{i:x}" for i in range(90_000)]},
    "one long name": {"target_modules": ["x" * 900_000]},
    "many layers": {"layers_to_transform": list(range(120_000))},
    "fields of the future": {f"{i:x}": None for i in range(60_000)},
    "a rank for a wide head": {"target_modules": ["lm_head"], "r": 49_152},
    "a rank beyond any": {"r": 10**9},
}


def write(folder, fields):
    """Write a configuration, and the tensors of rank 8 that it may or may not ask for."""
    text = json.dumps({"peft_type": "LORA", "r": 8, "target_modules": PARTS} | fields)
    (folder / CONFIG).write_text(text[:MOST])
    tensors = {}
    for name, part in model().named_modules():
        if isinstance(part, nn.Linear) and name != "lm_head":
            tensors[f"base_model.model.{name}.lora_A.weight"] = torch.ones(8, 32)
            tensors[f"base_model.model.{name}.lora_B.weight"] = torch.ones(32, 8)
    if "r" in fields:
        tensors["base_model.model.lm_head.lora_A.weight"] = torch.ones(49_152, 32)
    save_file(tensors, folder / WEIGHTS)


def peak():
    """Return the most megabytes that this process has used since it last forgot them."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1e3


def load(base, folder):
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before, start = peak(), time.process_time()
    try:
        load_adapter(base, folder)
        said = "loaded"
    except ValueError as error:
        said = str(error)
    seconds = time.process_time() - start
    print(f"{seconds:.2f}\t{peak() - before:.0f}\t{said[:200]}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    base = model()
    for name, fields in COSTLY.items():
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), fields)
            print(name, end="\t", flush=True)
            if (child := os.fork()) == 0:
                load(base, folder)
                os._exit(0)
            if os.waitpid(child, 0)[1]:
                print("99\t9999\tkilled", flush=True)
