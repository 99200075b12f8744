"""Real printouts of other tools, as they stand in public repositories, and altered ones."""

import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lora_edu import counting
from lora_edu.cli import main
from lora_edu.course import printouts
from lora_edu.course.ledger import printed_value

ALL = "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"
LLAMA = "trainable params: 4,194,304 || all params: 6,742,609,920"
NEOX = "trainable params: 8650752 || all params: 10597552128"  # in 4 bits, two numbers in one
MLX = "Trainable parameters: 0.484% (2.884M/596.050M)"
SWIFT = "PeftModelForCausalLM: 6742.6099M Params (4.1943M Trainable [0.0622%])"
UNSLOTH = "Trainable parameters = 33,030,144 of 4,055,498,240 (0.81% trained)"
KERAS = "Total params: 124,734,720\nTrainable params: 294,912\nNon-trainable params: "
LLAMA_8, GPT2_8 = "llama-2-7b: LoRA r = 8 on q_proj, v_proj", "gpt2: LoRA r = 8 on c_attn"
REAL = {  # a printout, and what must be among the usual ways
    f"{LLAMA} || trainable%: 0.06220594": LLAMA_8,
    "trainable params: 667,493 || all params: 86,543,818 || trainable%: 0.7712775047664294":
        "vit-base-food101: LoRA r = 16 on q_proj, v_proj, classifier trained",
    "trainable params: 33030144 ||\nall params: 4055498240 || trainable%:0.8145":
        f"qwen3-4b: LoRA r = 16 on {ALL}",
    "Number of trainable parameters = 41,943,040": f"llama-3.1-8b: LoRA r = 16 on {ALL}",
    "Number of trainable parameters = 124,439,808": "gpt2: all of its parameters",
    "trainable params: 151,060,480 || all params: 6,889,476,096":
        f"llama-2-7b: LoRA r = 8 on {ALL}, lm_head trained",
    MLX: f"qwen3-0.6b: LoRA r = 8 on {ALL} in 16 blocks",
    "294 K     Trainable params\n124 M     Non-trainable params\n124 M     Total params": GPT2_8,
    SWIFT: LLAMA_8,
    "124 M Trainable params 0 Non-trainable params 124 M Total params":
        "gpt2: all of its parameters",
    "Trainable params: 294 K       \nNon-trainable params: 124 M   \nTotal params: 124 M": GPT2_8,
    "Trainable lora params: ≈0.295M || All params: ~124.7M || trainable = 0.24%": GPT2_8,
    "trainable params: 294912.0 || all params: 124734720.00 || trainable: 0.23643": GPT2_8,
    "* Total Number of Trainable Parameters: 294.9k\n* Total Number of Parameters: 124.7M\n"
    "* Trainable Parameters represent 0.2364% of the total size.": GPT2_8,
}  # fmt: skip
# What others printed, and the model and the rank that stand beside it in their notebooks.
STATED = {
    "trainable params: 22347776 || all params: 4562948096": "llama-3.1-8b: DoRA r = 8 on q_proj,",
    "trainable params: 4718592 || all params: 787868672": "flan-t5-large: LoRA r = 16 on q, v",
    "Trainable parameters = 56,758,272 of 27,489,164,912": "gemma-3-27b: LoRA r = 8 on q_proj",
    "Trainable parameters = 9,292,800 of 25,815,226,672": "gemma-4-26b-a4b: LoRA r = 8 on",
    "Trainable parameters = 3,981,312 of 20,918,738,496": "gpt-oss-20b: LoRA r = 8 on q_proj, k_",
    "Trainable parameters: 0.022% (6.685M / 30532.123M)": "qwen3-30b-a3b: LoRA r = 8 on q_proj, k_",
}
PEFT = "trainable params: {t} || all params: {a} || trainable%: {s}"
# How tools print exact numbers: trainable t, all a, the others f, the share s.
TOOLS = {
    "PEFT": PEFT,
    "QLoRA": "trainable params: {t} || all params: {a} || trainable: {s}",
    "reversed": "all params: {a} || trainable params: {t} || trainable%: {s:.7f}",
    "after its base": "Total parameters: {f}\ntrainable params: {t} || all params: {a}",
    "Unsloth 2025": "Trainable parameters = {t} of {a} ({s:.2f}% trained)",
    "Trainer": "[INFO|trainer.py:1718] 20:53:22,548 >>   Number of trainable parameters = {t}",
    "Lightning": "{t}     Trainable params\n{f}         Non-trainable params\n"
    "{a}     Total params\n497.758   Total estimated model params size (MB)",
    "torchinfo": "====\nTotal params: {a}\nTrainable params: {t}\nNon-trainable params: {f}\n"
    "Total mult-adds (G): 6.74\n====\nParams size (MB): 497.76",
    "Keras 3": "\x1b[1m Total params: \x1b[0m\x1b[38;5;34m{a}\x1b[0m (25.12 GB)\n"
    "\x1b[1m Trainable params: \x1b[0m\x1b[38;5;34m{t}\x1b[0m (16.00 MB)\n"
    "\x1b[1m Non-trainable params: \x1b[0m\x1b[38;5;34m{f}\x1b[0m (25.10 GB)",
    "Keras, trained": " Total params: 9,999,999,999,999 (9 TB)\n Trainable params: {t} (16.00 MB)\n"
    " Non-trainable params: {f} (25.10 GB)\n Optimizer params: 8,388,610 (32.00 MB)",
    "LitGPT": "Number of trainable parameters: {t}\nNumber of non-trainable parameters: {f}",
    "fairseq": "| INFO | fairseq_cli.train | num. model params: {a} (num. trained: {t})",
    "fairseq, sparse": "| INFO | num. shared model params: {a} (num. trained: {t})",
    "a script": "Number of parameters: {a}\nNumber of trainable parameters: {t}",
    "PaddleNLP": "Frozen parameters: {f} || Trainable parameters:{t} || Total parameters:{a}|| "
    "Trainable:{s:.2f}%",
    "JSON": '[1, {{"trainable_params": {t}, "all_params": {a}, "trainable%": {s}}}]',
    "a dict": "{{'total_params': {a}, 'trainable_params': {t}}}",
    "a notebook": f'    "{PEFT[:-1]}:.4f}}\\n"',
    "Markdown": "| Trainable params | {t} |\n|---|--:|\n| **All params** | `{a}` |",
    "a sentence": "✓ Trainable parameters in the model: {t} ({s:.2f}%). Untrainable params: {f}.",
}  # fmt: skip
SIGNS = ["", ",", "_", "'", "’", ".", " ", "\xa0", "\u2009", "\u202f"]
POSSIBLE, IMPOSSIBLE = printouts.POSSIBLE, printouts.IMPOSSIBLE
UNEXPLAINED, UNKNOWN = printouts.UNEXPLAINED, printouts.UNKNOWN
JUDGED = [
    (LLAMA, POSSIBLE, "all - trainable = 6,738,415,616: the base of llama-2-7b\n"),
    (NEOX, POSSIBLE, "10,588,901,376: the base of gpt-neox-20b, two numbers in a byte (4 bits)\n"),
    (MLX, POSSIBLE, "all (MLX counts no adapter): the base of qwen3-0.6b\n"),
    (SWIFT, POSSIBLE, "all - trainable = 6,738,415,600: the base of llama-2-7b\n"),
    (LLAMA.replace("920", "902"), UNKNOWN, "the nearest, llama-2-7b, has 18 more"),
    ("trainable params: 4,194,305 || all params: 6,742,609,921", IMPOSSIBLE, "a multiple of 256"),
    ("trainable params: 1,310,720 || all params: 810,188,800", UNEXPLAINED, "of all blocks or of"),
    ("trainable params: 2,359,296 || all params: 752,610,304", POSSIBLE, "its head tied to the"),
    ("4,194,304 trainable params | 6,742,609,920 total params", POSSIBLE, "base of llama-2-7b"),
    ("trainable params: 9,999,999 || all params: 8.0B", UNEXPLAINED, "the base of llama-3.1-8b"),
    ("trainable params: 532,480 || all params: 8,030,793,728", POSSIBLE, "in no usual way"),
    ("trainable params: 296,450 || all params: 108,608,260", POSSIBLE, "with a head of 2 outputs"),
    # DistilBERT, DeBERTa, ViT as people print them: a layer before the head, trained or not
    ("trainable params: 739,586 || all params: 67,694,596", POSSIBLE, "a layer and a head of 2 o"),
    ("trainable params: 667493 || all params: 86466149", POSSIBLE, "its head counted once"),
    ("trainable params: 4,194,304 || all params: 6,742,618,112", POSSIBLE, "with 1 rows more"),
    ("Trainable parameters = 29,802,496/4,329,881,968 (0.69% trained)", POSSIBLE, "its towers"),
    ("Trainable parameters = 18,350,080/8,014,506,528 (0.23% trained)", UNKNOWN, "its towers"),
    ("Trainable parameters = 24,313,856/3,000,000,000 (0.81% trained)", POSSIBLE, "llama-3.2-3b"),
    (LLAMA.replace("6,742,609,920", "7,000,000,000 || trainable%: 0.0599"), UNKNOWN, "no model"),
    ("trainable params: 0 || all params: 7,655,986,688", IMPOSSIBLE, "nothing trains"),
    ("Trainable parameters: 0.182% = 7.34M / 4,022M", POSSIBLE, "the base of qwen3-4b"),
    ("Trainable parameters: 44% (1.0M/2.0M)", IMPOSSIBLE, "the share must be 50.0000 %"),
    (f"{LLAMA} || trainable%: 0.0623", IMPOSSIBLE, "the share must be 0.0622 %, and 0.0623"),
    (
        "trainable params: 1 || all params: 7,241,732,096",
        UNEXPLAINED,
        "all is mistral-7b-v0.1 alone: not",
    ),
    ("trainable params: 10 || all params: 5", IMPOSSIBLE, "more is trainable than there is"),
    (f"{KERAS}124,439,809", IMPOSSIBLE, "non-trainable must be 124,439,808, and 124,439,809"),
]


def judged(text):
    ((printout,), _) = printouts.read(f"step 3\n{text}\nstep 4")
    return printouts.judge(printout)


WAYS = [*((text, f"{way}\n") for text, way in REAL.items()), *STATED.items()]


@pytest.mark.parametrize(("text", "way"), WAYS)
def test_a_real_printout_holds_and_its_run_is_among_the_ways(text, way):
    judgement = judged(text)
    assert judgement.verdict == POSSIBLE, judgement.findings
    assert any(f"{found}\n".startswith(way) for found in judgement.ways if found.usual)


@pytest.mark.parametrize(("text", "word", "why"), JUDGED)
def test_the_verdict_and_what_was_found(text, word, why):
    judgement = judged(text)
    assert judgement.verdict == word
    assert why in "\n".join([*judgement.findings, ""])


def test_every_way_gives_the_count_and_what_people_do_comes_first():
    judgement = judged("trainable params: 9,175,040 || all params: 3,221,924,864")
    assert judgement.models == ["llama-3.2-3b"]
    ways = judgement.ways
    assert len(ways) >= 3
    order = [(not w.usual, bin(w.r).count("1") > 1, w.method == "dora") for w in ways]
    assert order == sorted(order)
    for way in ways:
        counted = counting.count(way.model, way.r, list(way.target_modules), way.method)
        assert (counted.trainable, counted.all) == (9_175_040, 3_221_924_864)


def test_of_a_count_that_is_alone_or_rounded_only_usual_ways_are_told():
    judgement = judged("Number of trainable parameters = 294,912")
    assert (judgement.verdict, judgement.findings) == (POSSIBLE, [])
    for ways in (judgement.ways, judged("trainable params: 0.3M || all params: 124.7M").ways):
        assert ways
        assert all(way.usual for way in ways)
    assert judged("Number of trainable parameters = 294,913").verdict == UNKNOWN


def printed(tool, trainable, frozen, *signs):
    """Return what a tool prints, with the thousands apart by a sign each."""
    numbers = (trainable, trainable + frozen, frozen)
    t, a, f = (f"{n:,}".replace(",", sign) for n, sign in zip(numbers, signs, strict=True))
    return TOOLS[tool].format(t=t, a=a, f=f, s=100 * trainable / (trainable + frozen))


COUNTS = st.integers(1, 999) | st.integers(10**6, 10**13)  # between them a point could be decimal
SIGN = st.sampled_from(SIGNS)


@pytest.mark.parametrize("tool", TOOLS)
@settings(max_examples=10)
@given(COUNTS, COUNTS, st.tuples(SIGN, SIGN, SIGN))
@example(7, 10**13, ("", ".", ","))  # a share of 7e-11 %
def test_a_number_in_any_grouping_is_read_from_whatever_tool(tool, trainable, frozen, signs):
    if not all(n >= 10**6 or n < 1000 for n in (trainable, trainable + frozen)):
        signs = (",", ",", ",")
    ((printout,), wrong) = printouts.read(printed(tool, trainable, frozen, *signs))
    assert wrong == []
    assert printed_value(printout.trainable) == trainable
    assert printout.all is None or printed_value(printout.all) == trainable + frozen
    assert (printout.all is None) == (tool == "Trainer")
    share = 100 * trainable / (trainable + frozen)
    assert printout.share is None or float(printout.share) == pytest.approx(share, abs=0.005)
    assert (printout.frozen is None) == ("{f}" not in TOOLS[tool].replace("ters: {f}\ntrain", ""))


REFUSED = [
    "4.194", "4.000", "4.2", "4,2 M", "4.19e+06", "4.2G", "4,194.304", "41,94,304", "４１", "4１",
    "12x", "004,194,304", "4,,194,,304", "4.194.30", "4.194.00", "94.860.59m", "3.682.477.93232B",
    "4,194,304e", "0,5", "00",
]  # fmt: skip
NOTHING = ["-5", "nan", "", "{n}", "42 G", "42 million", "42 thousand", "1" * 99, "All params |"]
ELSEWHERE = [
    "Non-trainable params: 5", "non trainable params: 5 || all params: 6", "frozen params: 7",
    "untrainable_params = 8", "trainable parameters: 0.58% of total", "hello", "", "|",
    "not trainable params: 5", "non‑trainable params: 5", "non–trainable params: 5",
    "trainable parameterization: 5", "retrainable params: 5", "gpu4 Trainable params",
    "x2 891 674  Trainable params", "we train fewer trainable parameters, by 5 times",
    "Params size (MB): 4",
]  # fmt: skip

NO_NUMBERS = [
    *((f"trainable params: {n}", "line 1: .* must be like 4,194,304") for n in REFUSED),
    *((f"all params: {n} || trainable params: 5", "must be like 4,194,") for n in REFUSED),
    *((f"| Trainable params: {n}", "line 1: no number stands after 'Tra") for n in NOTHING),
    *((text, "there is no printout like") for text in ELSEWHERE),
    (f"{LLAMA} || trainable%: 0,0622", "'0,0622' must be like .*; a share like 0.06"),
]


@pytest.mark.parametrize(("text", "why"), NO_NUMBERS)
def test_what_is_no_number_is_refused_in_a_line(text, why):
    with pytest.raises(ValueError, match=f"^.*{why}.*$"):  # a line
        printouts.read(text)


def test_several_are_read_in_their_order():
    text = f"Total params: 9\nThen:\n{'x' * 10_000} Number of trainable parameters = 5\n{LLAMA}"
    found = printouts.read(f"{text}\n{UNSLOTH}")[0]
    assert [one.trainable for one in found] == ["5", "4,194,304", "33,030,144"]
    assert found[0].all is None  # what stood before other words is no part of it


def test_a_long_log_is_read_in_seconds_and_any_line_judged_within_one():
    for text in (
        "12 K Layers and 1,234,567 of them: 8\n" * 20_000 + "1" * 200_000, "1 " * 200_000,
        "111 " * 100_000, "trainable params" + " " * 10**6, "non-" * 10**5, "total " * 10**5,
        "0.1% (" * 10**5, "\x1b[" * 10**5,
    ):  # fmt: skip
        start = time.process_time()
        with pytest.raises(ValueError, match="there is no printout like"):
            printouts.read(text)
        assert time.process_time() - start < 5
    for text in (
        "trainable params: 1000K || all params: 1B", "Number of trainable parameters = 1B",
        "trainable params: 2,000,003 || all params: 126,439,811",
        "Trainable parameters: 0.1% (10000K/5B)", "Number of trainable parameters = 20,000,003",
    ):  # fmt: skip
        start = time.process_time()
        judged(text)
        assert time.process_time() - start < 1


def test_the_command_judges_a_text_or_a_file(tmp_path, capsys):
    log = tmp_path / "train.log"

    def told(code, given, *more):
        assert main(["ledger", "--check", str(given), *more]) == code
        return capsys.readouterr()

    assert "4,194,304 of 6,742,609,920: possible" in told(0, LLAMA).out
    log.write_text(f"{UNSLOTH}\n{LLAMA.replace('920', '902')}\n", encoding="utf-8")
    printed = told(1, log).out
    assert printed.count(": possible") == printed.count(": UNKNOWN FAMILY") == 1
    assert [one["verdict"] for one in json.loads(told(1, log, "--json").out)] == [POSSIBLE, UNKNOWN]
    log.write_bytes(f"\ufeff{LLAMA}".encode("utf-16-le"))
    assert told(0, log).err == ""
    log.write_text(f"{LLAMA}\n" * 20_000 + "trainable_params = sum(sizes)\n", encoding="utf-8")
    out, err = told(0, log)
    assert (out.count(": possible"), err) == (1, "")  # each is judged once, and code is no printout
    unread = (
        "trainable params: 4.194.304 || all params: 0,0622\n| Trainable params | All params |\n"
    )
    log.write_text(f"{LLAMA}\n{unread}", encoding="utf-8")
    assert told(1, log).err.splitlines() == [
        "not read: line 2: '0,0622' must be like 4,194,304, 4194304 or 4.2 M; a share like 0.06",
        "not read: line 3: no number stands after 'Trainable params'",
    ]
    for bad in ("hello", "x" * 10**6, "a\0b", "", tmp_path, tmp_path / "none.log"):
        assert told(2, bad).err.count("\n") == 1
