"""The page that ships: its code, line by line, on a tiny model, and what it names."""

import ast
import json
import os
import re
import shlex

import pytest
import torch
from builder.source import NOTEBOOKS, read_source, sources
from tiny_llama import llama

from lora_edu import chat, cli, counting

PAGE = (NOTEBOOKS / "SHIP.md").read_text(encoding="utf-8")
SCRIPT = re.findall(r"(?s)```python\n(.*?)```", PAGE)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # between TRL and transformers
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_each_line_of_code_runs_and_makes_what_it_says(tmp_path, monkeypatch, capsys):
    if os.environ.get("CI") != "true":
        pytest.importorskip("trl")
    llama(tmp_path / "model")
    rows = [{"prompt": f"What is {i}?", "completion": f"Ahoy {i}!"} for i in range(20)]
    roles = {"prompt": "user", "completion": "assistant"}
    talks = [
        json.dumps({k: [{"role": roles[k], "content": v}] for k, v in row.items()}) for row in rows
    ]
    (tmp_path / "talks.jsonl").write_text("\n".join(talks))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (name,) = re.findall(r'MODEL = "(.+)"', "".join(SCRIPT))
    space, printed = {}, []
    for block in SCRIPT:
        exec(block.replace(name, str(tmp_path / "model")), space)
        printed.append(capsys.readouterr().out)
    assert re.fullmatch(r"'Ahoy \d+!<\|im_end\|>\\n'\n", printed[1])
    trains = sum(p.numel() for p in space["trainer"].model.parameters() if p.requires_grad)
    base, fast = chat.load("model")
    assert trains == counting.count(base, 16, "all-linear").trainable
    assert re.search(r"good: \d before, \d after, of 4; gained \d, lost \d\n", printed[3])

    ids = torch.tensor([fast("Ahoy!")["input_ids"]])
    voice = chat.adapter(base, "voice")
    with torch.no_grad(), chat.speaking(base, [voice]):
        apart = base(ids).logits
    merged, its = chat.load("voice-merged")
    assert its.chat_template == fast.chat_template
    with torch.no_grad():
        assert (merged(ids).logits - apart).abs().max() < 0.02 * apart.abs().max()  # bfloat16


def test_the_options_are_explained_and_the_cells_and_commands_exist():
    calls = [n for n in ast.walk(ast.parse("".join(SCRIPT))) if isinstance(n, ast.Call)]
    (settings,) = (call for call in calls if ast.unparse(call.func) == "SFTConfig")
    (config,) = (call for call in calls if ast.unparse(call.func) == "LoraConfig")
    plain = {"output_dir", "per_device_train_batch_size", "eval_strategy", "use_cpu", "task_type"}
    given = {word.arg for word in [*settings.keywords, *config.keywords]}
    assert given - plain <= set(re.findall(r"`(\w+)`", PAGE))
    named = re.findall(r"\b(\d\d) (`[a-z0-9-]+`(?:, `[a-z0-9-]+`)*)", PAGE)
    named += re.findall(r"\[(\d\d)\]\(\w+\.ipynb\)\s(`[a-z0-9-]+`(?:, `[a-z0-9-]+`)*)", PAGE)
    assert len(named) >= 15
    for number, cells in named:
        (path,) = sources([number])
        assert set(re.findall(r"`(.+?)`", cells)) <= {one.id for one in read_source(path).cells}
    lines = [
        line for block in re.findall(r"(?s)```bash\n(.*?)```", PAGE) for line in block.split("\n")
    ]
    ours = [shlex.split(line)[1:] for line in lines if line.startswith("lora-edu ")]
    assert [cli._parsed(words).command for words in ours] == ["export", "export"]
