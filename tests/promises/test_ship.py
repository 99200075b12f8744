"""The page that ships: its code, line by line, on a tiny model, and what it names."""

import ast
import csv
import os
import re
import shlex

import pytest
import torch
from builder.source import NOTEBOOKS
from peft import LoraConfig
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from tiny_llama import llama

from lora_edu import chat, cli, counting

PAGE = (NOTEBOOKS / "SHIP.md").read_text(encoding="utf-8")
SCRIPT = re.findall(r"(?s)```python\n(.*?)```", PAGE)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # between TRL and transformers
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_program_runs_and_makes_what_it_says(tmp_path, monkeypatch, capsys):
    """As a rehearsal, with a tiny model in place of the small one."""
    if os.environ.get("CI") != "true":
        pytest.importorskip("trl")
    llama(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    answer = 'Ahoy!\n{"ticket": "boat"}'
    with open("talks.csv", "w", encoding="utf-8", newline="") as file:
        rows = [("question", "answer"), ("What is 1?", "an earlier answer"), ("", "no question")]
        rows += [(f"What is {i}?", answer) for i in range(15)]
        csv.writer(file).writerows(rows)
    (name,) = re.findall(r'MODEL = "(.+?)" if REHEARSAL', "".join(SCRIPT))
    changed = {name: str(tmp_path / "model"), "1024": "120"}
    space, printed = {}, []
    for block in SCRIPT:
        for old, new in changed.items():
            block = block.replace(old, new)
        exec(block, space)
        printed.append(capsys.readouterr().out)
    assert printed[0] == "{'test': 3, 'choose': 3, 'train': 9}\n"
    read, learned, cut = printed[1].splitlines()
    assert re.fullmatch(r"'<\|im_start\|>system\\nYou .*<\|im_start\|>assistant\\n.*", read)
    assert ast.literal_eval(learned) == answer + "<|im_end|>\n"
    assert cut == "of 9 rows 0 are cut off, and 0 are gone"
    rates = re.findall(r"rate (\S+): loss on unseen rows (\S+) before, (\S+) after", printed[2])
    assert [rate for rate, *_ in rates] == ["7e-05", "0.0002", "0.0006"]
    assert min(rates, key=lambda one: float(one[2]))[0] == space["best"].removeprefix("rehearsal-")
    assert re.fullmatch(r"good of 3: prompt \d, LoRA \d; gained \d, lost \d\n", printed[3])
    with open("answers.csv", encoding="utf-8", newline="") as file:
        assert [len(row) for row in csv.reader(file)] == [4] * 4
    for said, right in {answer: True, 'Ahoy! {"ticket": "boat"}': False, "": False}.items():
        assert space["good"](said, True, answer) is right
        assert not space["good"](said, False, answer)

    train, long = space["data"]["train"], "word " * 200
    talk = train[0]
    system, question = talk["prompt"]
    rows = [
        talk | {"completion": [{"role": "assistant", "content": long}]},
        talk | {"prompt": [system, question | {"content": long}]},
    ]
    space["data"]["train"] = train.from_list([talk, *rows])
    exec(SCRIPT[1].replace("1024", "120"), space)
    assert capsys.readouterr().out.endswith("\nof 3 rows 1 are cut off, and 1 are gone\n")

    base, fast = chat.load("model")
    ids = torch.tensor([fast("Ahoy!")["input_ids"]])
    voice = chat.adapter(base, "voice")
    assert voice.keys() == counting.targets(base, "all-linear").keys()
    with torch.no_grad(), chat.speaking(base, [voice]):
        apart = base(ids).logits
    merged, its = chat.load("voice-merged")
    assert its.chat_template == fast.chat_template
    with torch.no_grad():
        assert (merged(ids).logits - apart).abs().max() < 0.02 * apart.abs().max()  # bfloat16


def test_peft_sets_what_the_page_says():
    left_out = LoraConfig()
    assert "$r$ = 8, α = 8, no" in PAGE
    assert (left_out.r, left_out.lora_alpha, left_out.lora_dropout) == (8, 8, 0)
    assert TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING["llama"] == ["q_proj", "v_proj"]


def test_the_options_are_explained_and_the_commands_exist():
    calls = [n for n in ast.walk(ast.parse("".join(SCRIPT))) if isinstance(n, ast.Call)]
    (settings,) = (call for call in calls if ast.unparse(call.func) == "SFTConfig")
    (config,) = (call for call in calls if ast.unparse(call.func) == "LoraConfig")
    plain = {"output_dir", "max_length", "eval_strategy", "use_cpu", "task_type"}
    given = {str(word.arg) for word in [*settings.keywords, *config.keywords]}
    given = {name for name in given - plain if not name.startswith(("save_", "per_device_"))}
    assert given <= set(re.findall(r"`(\w+)`", PAGE))
    commands = re.findall(r"(?m)^lora-edu ([^`]+?[^\\])$", PAGE)
    words = [shlex.split(command.replace("\\\n", "")) for command in commands]
    assert [cli._parsed(each).command for each in words] == ["export"] * 3
