"""Record what `lora-edu finetune` prints under torchrun: MiniLM, 20 Newsgroups, two processes.

    python tests/benchmarks/torchrun.py

writes lora_edu/course/data/torchrun.json, which the lesson beyond_lora shows: the command, its
output, the metrics (each step's loss, versions) and the date. Two minutes.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from lora_edu import assets
from lora_edu.course.datasets import COMP

OUT = Path(__file__).parents[2] / "lora_edu" / "course" / "data" / "torchrun.json"
POSTS = 355  # of each of the five groups, 35 of them held out: 50 steps of 32 texts
COMMAND = (
    "torchrun --nproc-per-node 2 -m lora_edu.cli finetune --data posts.csv --text text"
    " --label group --model minilm --out adapter --epochs 1 --max-length 64"
)

if __name__ == "__main__":
    table = (assets.path("newsgroups") / "20newsgroups-train.tab").read_text(encoding="utf-8")
    posts = [line.split("\t") for line in dict.fromkeys(table.splitlines())]
    rows = [row for group in COMP for row in [row for row in posts if row[0] == group][:POSTS]]
    with tempfile.TemporaryDirectory() as folder:
        with open(Path(folder, "posts.csv"), "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("group", "text"), *rows])
        Path(folder, "minilm").symlink_to(assets.path("minilm"))  # no path of this machine
        torchrun = [sys.executable, "-m", "torch.distributed.run", *COMMAND.split()[1:]]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        how = {"cwd": folder, "env": environment, "text": True, "check": True}
        printed = subprocess.run(torchrun, stdout=subprocess.PIPE, **how).stdout
        metrics = json.loads(Path(folder, "adapter", "metrics.json").read_text(encoding="utf-8"))
    content = {"command": COMMAND, "output": printed.splitlines(), "metrics": metrics}
    content["date"] = datetime.now(timezone.utc).date().isoformat()
    OUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(printed)
