"""Real printouts of other tools, as they stand in public repositories, and altered ones."""

import json
import time

import pytest

from lora_edu import counting
from lora_edu.cli import main
from lora_edu.course import printouts

# (printout, model and rank and names that the usual ways must hold)
REAL = [
    (
        "trainable params: 4,194,304 || all params: 6,742,609,920 || trainable%: 0.06220594",
        "llama-2-7b: LoRA r = 8 on q_proj, v_proj",
    ),
    (
        "trainable params: 9,289,728 || all params: 3,222,039,552",
        "llama-3.2-3b: DoRA r = 32 on q_proj, v_proj",
    ),
    (
        "trainable params: 667,493 || all params: 86,543,818 || trainable%: 0.7712775047664294",
        "vit-base-patch16-224: LoRA r = 16 on q_proj, v_proj, classifier trained",
    ),
    (  # a base in 4 bits, two numbers in one
        "trainable params: 8650752 || all params: 10597552128 || trainable%: 0.08162971878329976",
        "gpt-neox-20b: LoRA r = 8 on query_key_value",
    ),
    (
        "trainable params: 540,672 || all params: 494,573,440 || trainable%: 0.1093",
        "qwen2.5-0.5b: LoRA r = 8 on q_proj, v_proj",
    ),
    (
        "Trainable parameters = 33,030,144 of 4,055,498,240 (0.81% trained)",
        "qwen3-4b: LoRA r = 16 on q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
    ),
    (
        "Trainable parameters = 207,093,760 of 70,760,800,256 (0.29% trained)",
        "llama-3.3-70b: LoRA r = 16 on q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
        "down_proj",
    ),
    (
        "Number of trainable parameters = 41,943,040",
        "llama-3.1-8b: LoRA r = 16 on q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
        "down_proj",
    ),
    (
        "Trainable parameters: 0.484% (2.884M/596.050M)",
        "qwen3-0.6b: LoRA r = 8 on q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj "
        "in 16 layers",
    ),
    (
        "294 K     Trainable params\n124 M     Non-trainable params\n124 M     Total params",
        "gpt2: LoRA r = 8 on c_attn",
    ),
    (
        "Total params: 124,734,720\nTrainable params: 294,912\nNon-trainable params: 124,439,808",
        "gpt2: LoRA r = 8 on c_attn",
    ),
]
ALTERED = [
    ("trainable params: 4,194,304 || all params: 6,742,609,902", printouts.OPEN, "the nearest"),
    ("trainable params: 4,194,305 || all params: 6,742,609,921", printouts.OPEN, "no way to"),
    (
        "trainable params: 4,194,304 || all params: 6,742,609,920 || trainable%: 0.0632",
        printouts.FAILS, "the share must be 0.0622 %",
    ),
    ("Trainable parameters: 99% (1.704M/7241.732M)", printouts.FAILS, "the share must be"),
    ("trainable params: 4,194,304 || all params: 7,241,732,096", printouts.FAILS, "nothing was"),
    ("trainable params: 10 || all params: 5", printouts.FAILS, "more is trainable"),
    ("trainable params: 0 || all params: 0 || trainable%: 0", printouts.FAILS, "more is"),
]  # fmt: skip
# True printouts of PEFT that are not of the catalogue, or of what is not looked for.
TRUE_BUT_OPEN = [
    "trainable params: 159,744 || all params: 1,235,974,144",  # layers_to_transform
    "trainable params: 397,056 || all params: 124,734,720",  # bias="all"
    "trainable params: 1,126,400 || all params: 1,101,174,784",  # TinyLlama
    "trainable params: 296,450 || all params: 109,780,228",  # BERT with a new head
    "trainable params: 327,680 || all params: 1,236,142,080",  # keys alone: nobody's choice
]


@pytest.mark.parametrize(("text", "way"), REAL)
def test_a_real_printout_holds_and_its_run_is_among_the_ways(text, way):
    (printout,) = printouts.read(f"step 3\n{text}\nstep 4")
    judgement = printouts.judge(printout)
    assert judgement.verdict == printouts.HOLDS, judgement.findings
    assert way in [str(found) for found in judgement.ways if found.usual]


@pytest.mark.parametrize(("text", "word", "why"), ALTERED)
def test_an_altered_printout_does_not_hold_and_says_why(text, word, why):
    (printout,) = printouts.read(text)
    judgement = printouts.judge(printout)
    assert judgement.verdict == word
    assert any(why in finding for finding in judgement.findings), judgement.findings


@pytest.mark.parametrize("text", TRUE_BUT_OPEN)
def test_what_we_do_not_know_is_not_called_false(text):
    (printout,) = printouts.read(text)
    assert printouts.judge(printout).verdict == printouts.OPEN


def test_full_fine_tuning_and_saved_tables_are_known():
    for text, way in [
        ("Number of trainable parameters = 124,439,808", "gpt2: all of its parameters"),
        (
            "trainable params: 151,060,480 || all params: 6,889,476,096",
            "llama-2-7b: LoRA r = 8 on q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
            "down_proj, lm_head trained",
        ),
    ]:
        (printout,) = printouts.read(text)
        judgement = printouts.judge(printout)
        assert judgement.verdict == printouts.HOLDS
        assert way in map(str, judgement.ways)


def test_colours_line_breaks_and_the_other_spelling_are_read():
    for text in (
        "Trainable parameters = \x1b[1m33,030,144\x1b[0m of 4,055,498,240 (0.81% trained)",
        "trainable params: 33030144 ||\nall params: 4055498240 || trainable%:0.8145",
    ):
        (printout,) = printouts.read(text)
        assert printout.trainable.replace(",", "") == "33030144"
        assert printouts.judge(printout).verdict == printouts.HOLDS


def test_every_way_gives_the_count():
    (printout,) = printouts.read("trainable params: 9,175,040 || all params: 3,221,924,864")
    ways = printouts.judge(printout).ways
    assert len(ways) >= 3
    for way in ways:
        counted = counting.count(way.model, way.r, list(way.target_modules), way.method)
        assert (counted.trainable, counted.all) == (9_175_040, 3_221_924_864)


def test_several_are_read_in_their_order_and_text_between_is_skipped():
    text = "x" * 10_000 + "Number of trainable parameters = 5\n" + REAL[0][0] + "\n" + REAL[5][0]
    assert [found.tool for found in printouts.read(text)] == ["Trainer", "PEFT", "Unsloth"]
    with pytest.raises(ValueError, match="there is no printout such as"):
        printouts.read("nothing trains here")


def test_a_long_log_is_read_in_seconds():
    start = time.process_time()
    with pytest.raises(ValueError, match="no printout"):
        printouts.read("12 K Trainable params and 1,234,567 of them: 8\n" * 20_000 + "1" * 200_000)
    assert time.process_time() - start < 5


def test_the_command_judges_a_text_or_a_file(tmp_path, capsys):
    assert main(["ledger", "--check", REAL[0][0]]) == 0
    assert "4,194,304 of 6,742,609,920: holds" in capsys.readouterr().out
    log = tmp_path / "train.log"
    log.write_text(f"{REAL[4][0]}\n{ALTERED[0][0]}\n", encoding="utf-8")
    assert main(["ledger", "--check", str(log)]) == 1
    printed = capsys.readouterr().out
    assert printed.count(": holds") == 1
    assert printed.count(": NOT EXPLAINED") == 1
    assert main(["ledger", "--check", str(log), "--json"]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert (first["verdict"], second["verdict"]) == (printouts.HOLDS, printouts.OPEN)
    log.write_bytes("\ufeff".encode("utf-16-le") + REAL[0][0].encode("utf-16-le"))
    assert main(["ledger", "--check", str(log)]) == 0
    capsys.readouterr()
    for bad in ("hello", "", str(tmp_path), str(tmp_path / "none.log")):
        assert main(["ledger", "--check", bad]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_what_looks_like_a_printout_and_is_none_is_not_passed_over(tmp_path, capsys):
    good = "trainable params: 4,194,304 || all params: 6,742,609,920\nNon-trainable params: 3\n"
    path = tmp_path / "log.txt"
    path.write_text(good, encoding="utf-8")
    assert main(["ledger", "--check", str(path)]) == 0
    assert capsys.readouterr().err == ""
    path.write_text(good + "trainable params: 4.194.304 || all params: 0,0622\n", encoding="utf-8")
    assert main(["ledger", "--check", str(path)]) == 1
    assert capsys.readouterr().err == "not read: 1 of the places that say 'trainable param'\n"


def test_a_base_in_four_bits_is_called_so():
    (packed,) = printouts.read("trainable params: 8650752 || all params: 10597552128")
    assert "two numbers in a byte (4 bits)" in printouts.judge(packed).findings[0]
    (plain,) = printouts.read(REAL[0][0])
    assert "4 bits" not in printouts.judge(plain).findings[0]
