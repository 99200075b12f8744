import csv
import errno
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import peft
import pytest
import transformers
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lora_edu import __version__, cli
from lora_edu.course import figures
from lora_edu.course.claims import collected

QUERY_VALUE = ["--target-modules", "q_proj", "v_proj"]
TINY_LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 96, "vocab_size": 100, "tie_word_embeddings": False,
}  # fmt: skip


def main(line, *more):
    return cli.main([*line.split(), *map(str, more)])


@pytest.fixture
def printed(capsys):
    """Return a function: run a command that ends well; return what it printed."""

    def run(line, *more):
        assert main(line, *more) == 0
        return capsys.readouterr().out

    return run


def config_file(tmp_path, **changes):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**TINY_LLAMA, **changes}))
    return path


# -- all commands -----------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["", "paint", "figures --colour", "count gpt2 --method dorra"])
def test_wrong_usage_exits_with_2(line):
    with pytest.raises(SystemExit) as stop:
        main(line)
    assert stop.value.code == 2


def test_numbers_that_are_not_given_are_those_of_the_pages():
    found = vars(cli._parsed(["finetune", "--data", "a", "--out", "b"]))
    assert found["target_modules"] == ["all-linear"]
    numbers = {"rank": None, "epochs": None, "head_lr": 1e-2, "warmup": 0, "seed": 0}
    assert numbers.items() <= found.items()
    numbers = {"scale": 1, "max_tokens": 200, "temperature": 0, "seed": 0, "adapter": []}
    assert numbers.items() <= vars(cli._parsed(["chat"])).items()
    assert vars(cli._parsed(["experiments"]))["jobs"] == 1


BARE = """import sys
from lora_edu.cli import main
for line in ("ledger hu2021 table2", "count llama-3.1-405b --json", "records --help"):
    try:
        assert main(line.split()) == 0
    except SystemExit:
        pass
print(any(name in sys.modules for name in ("numpy", "torch", "matplotlib")))
import lora_edu.course.matrix_example.checks
print("torch" in sys.modules)
sys.modules["torch"] = None
print(main("count gpt2 --memory".split()))
"""


def test_counts_and_the_ledger_load_no_torch_and_without_it_memory_is_one_line():
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True)
    assert done.stdout.endswith("\nFalse\nFalse\n2\n")
    assert done.stderr == 'lora-edu: this needs torch: pip install "lora-edu[course]"\n'


def test_a_reader_that_has_seen_enough_is_no_error():
    command = [sys.executable, "-m", "lora_edu.cli", "claims", *["matrix_example"] * 20]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait() == 0
    version = subprocess.check_output([*command[:3], "--version"], text=True)
    assert version == f"lora-edu {__version__}\n"


@pytest.mark.parametrize(
    ("platform", "name", "code"), [("win32", [], 0), ("win32", ["a:b"], 2), ("linux", [], 2)]
)
def test_what_windows_says_of_a_closed_pipe_is_no_error(platform, name, code, monkeypatch, capfd):
    fail = Mock(side_effect=OSError(errno.EINVAL, "No good", *name))
    monkeypatch.setattr("lora_edu.course.commands.list_claims", fail)
    monkeypatch.setattr(sys, "platform", platform)
    kept = os.dup(sys.stdout.fileno())
    assert main("claims") == code
    os.dup2(kept, sys.stdout.fileno())
    assert ("No good" in capfd.readouterr().err) is (code == 2)


def test_a_terminal_without_a_letter_for_it_gets_its_number(monkeypatch, printed):
    """As a pipe on Windows, whose code page has no Greek."""
    text = printed("records descendants_turned")
    bare = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", bare)
    assert main("records descendants_turned") == 0
    assert not text.isascii()
    assert bare.buffer.getvalue() == text.encode("ascii", "backslashreplace")


IMPOSSIBLE = [
    ("experiments knob --merge=a b", "experiments --merge was removed: record it on one mach"),
    ("figures --check --format svg", "--check is about the PNG pictures and takes no --format"),
    ("figures --format svg --only mona_lisa", "no figure is called 'mona_lisa'"),
    ("reproduce figure", "name a figure"),
    ("figures --only matrix_anatomy --out taken/figures", "taken"),
    ("count zzz-9", "'zzz-9' is no model of the catalogue. It is no file either: `lora-edu"),
    ("count", "name a model, a config.json or its folder; or --list alone"),
    ("count gpt2 --list", "name a model, a config.json or its folder; or --list alone"),
    ("count .", "config.json"),
    ("count gpt2", "gpt2 is in the catalogue and here: ./gpt2 means what is here\n"),
    ("count tiny --batch 0", "--batch and --length are for --memory"),
    ("count tiny --length 0", "--batch and --length are for --memory"),
    ("count tiny --memory --method dora", "--memory plans plain LoRA"),
    ("count tiny --memory --modules-to-save norm", "--memory plans plain LoRA"),
    ("ledger nobody", "no source 'nobody'; there are hu2021, "),
    ("ledger hu2021 table9", "hu2021 has no 'table9'; there are: "),
    ("ledger hu2021 --csv --json", "--csv or --json, not both"),
    ("ledger hu2021 --check params", "takes no SOURCE and no --csv"),
    ("ledger --csv --check params", "takes no SOURCE and no --csv"),
    ("claims cooking", "no claims of 'cooking'; there are those of first_words, "),
]


@pytest.mark.parametrize(("line", "message"), IMPOSSIBLE)
def test_what_cannot_be_done_is_refused(line, message, tmp_path, monkeypatch, refused):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "taken").write_text("a file")
    config_file(tmp_path / "tiny", max_position_embeddings=2048)
    monkeypatch.chdir(tmp_path)
    assert message in refused(*line.split())


# -- figures ----------------------------------------------------------------------------------


@pytest.mark.seconds
def test_figures_for_print_stand_apart(tmp_path, printed, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["matrix_anatomy", "rank_and_noise"]
    expected = [str(Path("print", f"{name}.pdf")) for name in names]
    assert printed("figures --format pdf --only", *names).split() == expected
    printed("figures --format svg --out here --only", names[0])
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    assert written == {*expected, str(Path("here", f"{names[0]}.svg"))}


def test_a_stale_figure_ends_a_check_with_code_1(monkeypatch, capsys):
    monkeypatch.setattr(figures, "check", lambda folder: ["house: stale"])
    assert main("figures --check") == 1
    out, error = capsys.readouterr()
    assert "1 problems: run `lora-edu figures`" in out
    assert error == "house: stale\n"


# -- count ------------------------------------------------------------------------------------


def test_counting_a_model_of_the_catalogue(printed):
    numbers = {"trainable": 4_194_304, "all": 6_742_609_920, "base": 6_738_415_616}
    numbers["adapted_modules"] = 64
    assert json.loads(printed("count llama-2-7b --json", *QUERY_VALUE)) == numbers
    assert printed("count llama-2-7b", *QUERY_VALUE).splitlines() == [
        "llama-2-7b  lora  r=8  q_proj v_proj",
        *(f"{name:<16} {number:>19_}" for name, number in numbers.items()),
        "bytes float16              8_388_608  8.4 MB",
        "bytes float32             16_777_216  16.8 MB",
        "trainable / all               0.0622 %",
        "base / trainable             1_606.6 x",
    ]


@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's, on ties
def test_counting_a_config_as_peft_does(tmp_path, printed):
    changes = {"tie_word_embeddings": True, "head_dim": 16}
    targets, saved = ["o_proj", "down_proj"], ["embed_tokens"]
    options = ["--rank", 4, "--target-modules", *targets, "--modules-to-save", *saved]
    options += ["--method", "dora", "--json"]
    found = printed("count", config_file(tmp_path, **changes), *options)
    assert printed("count", tmp_path, *options) == found
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**TINY_LLAMA, **changes}))
    how = {"r": 4, "target_modules": targets, "modules_to_save": saved}
    adapted = peft.get_peft_model(model, peft.LoraConfig(**how, use_dora=True))
    assert tuple(json.loads(found).values())[:2] == adapted.get_nb_trainable_parameters()


WRONG_CONFIGS = [
    ({"architectures": ["LlamaForSinging"]}, "has no LlamaForSinging"),
    ({"architectures": ["LlamaConfig"]}, "has no LlamaConfig"),
    ({"architectures": ["\x1b[31mred"]}, r"has no \x1b[31mred"),
    ({"architectures": None}, '"architectures": ["NAME"]'),
    ({"hidden_size": "\x1b[31mred\x9b\n"}, r"'hidden_size' expected int, got str (value: '\x1b[3"),
    ({"num_key_value_heads": 3}, "8 heads cannot share 3 key/value heads evenly"),
    ({"num_attention_heads": 0}, ": no LlamaForCausalLM: "),
    ({"num_hidden_layers": -1}, "num_hidden_layers must be from 0 to 10_000, got -1"),
    ({"encoder_layers": 10_001}, "encoder_layers must be from 0 to 10_000"),
    ({"num_local_experts": 10**9}, "num_local_experts must be from 0 to 10_000"),
    ({"depths": [1, 10**9]}, "depths must be from 0 to 10_000"),
    ({"text_config": {"num_labels": 10**30}}, "num_labels must be from 0 to 10_000"),
    ('{"architectures": ', "config.json is no config of a model: Expecting value"),
    ("[1, 2]", 'config.json must hold an object with "architectures": ["NAME"]'),
    ("[" * 100_000, "maximum recursion depth"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG_CONFIGS)
def test_a_wrong_config_is_refused(changes, message, tmp_path, refused):
    """Also before one of very many layers is built."""
    if isinstance(changes, str):
        (tmp_path / "config.json").write_text(changes)
    else:
        config_file(tmp_path, **changes)
    assert message in refused("count", tmp_path)


SIZES = st.sampled_from(["hidden_size", "intermediate_size", "num_attention_heads", "vocab_size"])
ABSURD = st.integers(max_value=-1) | st.integers(min_value=2**70) | st.floats() | st.text()
ABSURD |= st.none() | st.lists(st.integers()) | st.dictionaries(st.text(), st.integers())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SIZES, ABSURD)
@example("hidden_size", "\x1b[31mred\x9b\n")
def test_an_absurd_size_is_one_line(tmp_path, refused, name, value):
    refused("count", config_file(tmp_path, **{name: value}))


@pytest.mark.seconds
@pytest.mark.parametrize("more", [[], ["--memory"]])
def test_what_transformers_takes_in_silence_is_said(more, tmp_path, capsys):
    path = config_file(tmp_path, num_hiden_layers=2, quantization_config={"load_in_4bit": True})
    path.write_text(path.read_text().replace('"num_hidden_layers": 2, ', ""))
    assert main("count", tmp_path, *more) == 0
    assert capsys.readouterr().err.splitlines() == [
        "note: not in the file, so transformers' own: num_hidden_layers 32",
        "note: num_hiden_layers is no key that it reads: is num_hidden_layers meant?",
        "note: its quantization is left out: counted are numbers, not their bits",
    ]
    assert main("count", config_file(tmp_path), *more) == 0
    assert capsys.readouterr().err == ""


def test_the_code_that_a_config_names_is_never_run(tmp_path, printed):
    named = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}
    more = {"auto_map": named, "_attn_implementation": "kernels-community/evil"}
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    config_file(tmp_path, **more)
    assert "adapted_modules                    4" in printed("count", tmp_path, *QUERY_VALUE)
    assert not (tmp_path / "ran").exists()


@pytest.mark.seconds
def test_memory_is_planned(printed):
    out = printed("count gpt2 --memory --batch 2 --length 64")
    assert out.startswith("gpt2  r=8  all-linear  batch 2, length 64\n")
    plans = json.loads(printed("count gpt2 --memory --batch 2 --length 64 --json"))
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    totals = {method: sum(plan.values()) for method, plan in plans.items()}
    assert rows["weights"] == [f"{plan['weights']:_}" for plan in plans.values()]
    assert rows["total"] == [f"{total:_}" for total in totals.values()]
    assert rows["fits"] == ["in", *["8", "GB"] * 3]
    for method, total in totals.items():
        bar, *size = rows[method]
        assert size == [f"{total / 1e9:.1f}", "GB"]
        assert len(bar) == pytest.approx(60 * total / totals["full"], abs=2)
    out = printed("count gpt2 --memory")
    assert out.startswith("gpt2  r=8  all-linear  batch 1, length 512\n")


# -- ledger and claims ------------------------------------------------------------------------


@pytest.mark.seconds
def test_the_ledger_on_the_command_line(printed):
    assert "arXiv:2106.09685v2" in printed("ledger")
    table = printed("ledger hu2021", "Table 2")
    assert printed("ledger hu2021 2") == table
    assert table.index("RoB_base (FT)*") < table.index("RoB_large (LoRA)") < table.index("DeB")
    rows = list(csv.DictReader(io.StringIO(printed("ledger hu2021 2 --csv"))))
    assert [row["derived"] for row in rows][:2] == ["124645632", "102912"]
    assert rows[0]["arithmetic"] == "base(roberta-base)"
    assert len(json.loads(printed("ledger vera table1 --json"))) == 18


def test_claims_prints_every_sentence_that_a_lesson_vouches_for(printed):
    said = printed("claims matrix_example")
    assert printed("claims 01") == said
    assert said.startswith("matrix_example: ")
    rows = [line.split("  ")[-1] for line in said.splitlines()]
    for claim in collected()["matrix_example"]:
        assert claim["words"] in rows
    assert re.search(r" 18\.0956 +18 +0\.5 +any +and from five it stays 18 % off", said)
    assert re.search(r"0 to rounding +same as \$W_0\$ +exact +any +the result equals", said)
    rows = list(csv.DictReader(io.StringIO(printed("claims --csv"))))
    assert len(rows) == sum(map(len, collected().values()))
    assert set(rows[0]) >= {"lesson", "section", "words", "value", "says", "within", "seeds"}
