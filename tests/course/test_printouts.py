"""Real printouts of other tools, as they stand in public repositories, and altered ones."""

import json
import time

import pytest

from lora_edu import counting
from lora_edu.cli import main
from lora_edu.course import printouts

ALL = "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"
LLAMA = "trainable params: 4,194,304 || all params: 6,742,609,920"
UNSLOTH = "Trainable parameters = 33,030,144 of 4,055,498,240 (0.81% trained)"
REAL = {  # a printout, and what must be among the usual ways
    f"{LLAMA} || trainable%: 0.06220594": "llama-2-7b: LoRA r = 8 on q_proj, v_proj",
    "trainable params: 9,289,728 || all params: 3,222,039,552":
        "llama-3.2-3b: DoRA r = 32 on q_proj, v_proj",
    "trainable params: 667,493 || all params: 86,543,818 || trainable%: 0.7712775047664294":
        "vit-base-patch16-224: LoRA r = 16 on q_proj, v_proj, classifier trained",
    # A base in 4 bits, two numbers in one.
    "trainable params: 8650752 || all params: 10597552128 || trainable%: 0.08162971878329976":
        "gpt-neox-20b: LoRA r = 8 on query_key_value",
    # Colours; then a line break, and no commas.
    "Trainable parameters = \x1b[1m33,030,144\x1b[0m of 4,055,498,240 (0.81% trained)":
        f"qwen3-4b: LoRA r = 16 on {ALL}",
    "trainable params: 33030144 ||\nall params: 4055498240 || trainable%:0.8145":
        f"qwen3-4b: LoRA r = 16 on {ALL}",
    "Number of trainable parameters = 41,943,040": f"llama-3.1-8b: LoRA r = 16 on {ALL}",
    "Number of trainable parameters = 124,439,808": "gpt2: all of its parameters",
    "trainable params: 151,060,480 || all params: 6,889,476,096":
        f"llama-2-7b: LoRA r = 8 on {ALL}, lm_head trained",
    "Trainable parameters: 0.484% (2.884M/596.050M)":
        f"qwen3-0.6b: LoRA r = 8 on {ALL} in 16 layers",
    "294 K     Trainable params\n124 M     Non-trainable params\n124 M     Total params":
        "gpt2: LoRA r = 8 on c_attn",
    "Total params: 124,734,720\nTrainable params: 294,912\nNon-trainable params: 124,439,808":
        "gpt2: LoRA r = 8 on c_attn",
}  # fmt: skip
ALTERED = [
    (LLAMA.replace("920", "902"), printouts.OPEN, "the nearest, llama-2-7b, has 18 more"),
    (LLAMA.replace("9,920", "9,938"), printouts.OPEN, "the nearest, llama-2-7b, has 18 fewer"),
    ("trainable params: 4,194,305 || all params: 6,742,609,921", printouts.OPEN, "no usual way to"),
    (f"{LLAMA} || trainable%: 0.0632", printouts.FAILS, "the share must be 0.0622 %, and 0.0632"),
    ("Trainable parameters: 99% (1.704M/7241.732M)", printouts.FAILS, "the share must be 0.0235 %"),
    (
        "trainable params: 4,194,304 || all params: 7,241,732,096", printouts.FAILS,
        "all is mistral-7b-v0.1 alone: nothing was added",
    ),
    ("trainable params: 10 || all params: 5", printouts.FAILS, "more is trainable than there is"),
    # A true printout of PEFT that is not of the catalogue.
    ("trainable params: 397,056 || all params: 124,734,720", printouts.OPEN, "of no model"),
]  # fmt: skip


def judged(text):
    (printout,) = printouts.read(f"step 3\n{text}\nstep 4")
    return printouts.judge(printout)


@pytest.mark.parametrize(("text", "way"), REAL.items())
def test_a_real_printout_holds_and_its_run_is_among_the_ways(text, way):
    judgement = judged(text)
    assert judgement.verdict == printouts.HOLDS, judgement.findings
    assert way in [str(found) for found in judgement.ways if found.usual]


@pytest.mark.parametrize(("text", "word", "why"), ALTERED)
def test_an_altered_or_unknown_printout_does_not_hold_and_says_why(text, word, why):
    judgement = judged(text)
    assert judgement.verdict == word
    assert any(why in finding for finding in judgement.findings), judgement.findings


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (LLAMA, "all - trainable = 6,738,415,616: the base of llama-2-7b"),
        (
            "trainable params: 8650752 || all params: 10597552128",
            "all - trainable = 10,588,901,376: the base of gpt-neox-20b, two numbers in a byte "
            "(4 bits)",
        ),
        (
            "Trainable parameters: 0.484% (2.884M/596.050M)",
            "all (MLX counts no adapter): the base of qwen3-0.6b",
        ),
    ],
)
def test_the_base_that_is_left_is_named(text, finding):
    assert judged(text).findings == [finding]


def test_every_way_gives_the_count_and_what_people_do_comes_first():
    ways = judged("trainable params: 9,175,040 || all params: 3,221,924,864").ways
    assert len(ways) >= 3
    order = [(not w.usual, bin(w.r).count("1") > 1, w.method == "dora") for w in ways]
    assert order == sorted(order)
    for way in ways:
        counted = counting.count(way.model, way.r, list(way.target_modules), way.method)
        assert (counted.trainable, counted.all) == (9_175_040, 3_221_924_864)


def test_of_a_trainable_count_alone_only_usual_ways_are_told():
    judgement = judged("Number of trainable parameters = 294,912")
    assert (judgement.verdict, judgement.findings) == (printouts.HOLDS, [])
    assert judgement.ways
    assert all(way.usual for way in judgement.ways)
    assert judged("Number of trainable parameters = 294,913").verdict == printouts.OPEN


def test_several_are_read_in_their_order_and_a_long_log_in_seconds():
    text = f"{'x' * 10_000}Number of trainable parameters = 5\n{LLAMA}\n{UNSLOTH}"
    assert [found.tool for found in printouts.read(text)] == ["Trainer", "PEFT", "Unsloth"]
    start = time.process_time()
    with pytest.raises(ValueError, match="there is no printout such as"):
        printouts.read("12 K Trainable params and 1,234,567 of them: 8\n" * 20_000 + "1" * 200_000)
    assert time.process_time() - start < 5


def test_the_command_judges_a_text_or_a_file(tmp_path, capsys):
    assert main(["ledger", "--check", LLAMA]) == 0
    assert "4,194,304 of 6,742,609,920: holds" in capsys.readouterr().out
    log = tmp_path / "train.log"
    log.write_text(f"{UNSLOTH}\n{ALTERED[0][0]}\n", encoding="utf-8")
    assert main(["ledger", "--check", str(log)]) == 1
    printed = capsys.readouterr().out
    assert printed.count(": holds") == printed.count(": NOT EXPLAINED") == 1
    assert main(["ledger", "--check", str(log), "--json"]) == 1
    verdicts = [one["verdict"] for one in json.loads(capsys.readouterr().out)]
    assert verdicts == [printouts.HOLDS, printouts.OPEN]
    log.write_bytes(f"\ufeff{LLAMA}".encode("utf-16-le"))
    assert main(["ledger", "--check", str(log)]) == 0
    capsys.readouterr()
    for bad in ("hello", "", str(tmp_path), str(tmp_path / "none.log")):
        assert main(["ledger", "--check", bad]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_what_looks_like_a_printout_and_is_none_is_not_passed_over(tmp_path, capsys):
    path = tmp_path / "log.txt"
    path.write_text(f"{LLAMA}\nNon-trainable params: 3\n", encoding="utf-8")
    assert main(["ledger", "--check", str(path)]) == 0
    assert capsys.readouterr().err == ""
    unread = "trainable params: 4.194.304 || all params: 0,0622\n"
    path.write_text(f"{LLAMA}\n{unread}", encoding="utf-8")
    assert main(["ledger", "--check", str(path)]) == 1
    said = "not read: 1 of the places that say 'trainable param'\n"
    assert capsys.readouterr().err == said
