import contextlib
import csv
import errno
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lora_edu import __version__, memory
from lora_edu.cli import main
from lora_edu.course import figures
from lora_edu.course.claims import collected


@pytest.mark.seconds
def test_figures_for_print_stand_apart(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["matrix_anatomy", "rank_and_noise"]
    assert main(["figures", "--format", "pdf", "--only", *names]) == 0
    expected = [str(Path("print", f"{name}.pdf")) for name in names]
    assert capsys.readouterr().out.split() == expected
    assert main(["figures", "--format", "svg", "--only", *names, "--out", "here"]) == 0
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    assert written == {*expected, *(str(Path("here", f"{name}.svg")) for name in names)}


def test_only_the_pixels_are_checked(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["figures", "--check", "--format", "svg"]) == 2
    error = "lora-edu: --check is about the PNG pictures and takes no --format\n"
    assert capsys.readouterr().err == error
    assert main(["figures", "--format", "svg", "--only", "mona_lisa"]) == 2
    assert capsys.readouterr().err.startswith("lora-edu: no figure is called 'mona_lisa'")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_figure_is_one_line_and_code_2(tmp_path, capsys):
    assert main(["figures", "--only", "mona_lisa", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("lora-edu: no figure is called 'mona_lisa'")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line_and_code_2(tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    out = str(tmp_path / "taken" / "figures")
    assert main(["figures", "--only", "matrix_anatomy", "--out", out]) == 2
    assert capsys.readouterr().err.startswith("lora-edu: ")


def test_a_stale_figure_ends_a_check_with_code_1(monkeypatch, capsys):
    monkeypatch.setattr(figures, "check", lambda folder: ["house: stale"])
    assert main(["figures", "--check"]) == 1
    printed, error = capsys.readouterr()
    assert "1 problems: run `lora-edu figures`" in printed
    assert error == "house: stale\n"


@pytest.mark.parametrize("arguments", [[], ["paint"], ["figures", "--colour"]])
def test_wrong_usage_exits_with_2(arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_the_module_runs_as_a_command_without_loading_matplotlib():
    code = "import sys, lora_edu.cli; print(any(m in sys.modules for m in ('numpy', 'torch')))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
    run = [sys.executable, "-m", "lora_edu.cli", "--version"]
    assert subprocess.check_output(run, text=True).strip() == f"lora-edu {__version__}"


# -- count ------------------------------------------------------------------------------------

QUERY_VALUE = ["--target-modules", "q_proj", "v_proj"]
TINY_LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 96, "vocab_size": 100, "tie_word_embeddings": False,
}  # fmt: skip


def config_file(tmp_path, config=TINY_LLAMA, name="config.json"):
    path = tmp_path / name
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return str(path)


def test_counting_a_model_of_the_catalogue(capsys):
    assert main(["count", "llama-2-7b", "--rank", "8", *QUERY_VALUE, "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert counted == {
        "trainable": 4_194_304, "all": 6_742_609_920, "base": 6_738_415_616, "adapted_modules": 64,
    }  # fmt: skip


def test_the_table_says_numbers_bytes_and_the_reduction(capsys):
    assert main(["count", "llama-2-7b", "--rank", "8", *QUERY_VALUE]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "llama-2-7b  lora  r=8  q_proj v_proj"
    assert [line.split()[-1] for line in lines[1:5]] == [
        "4_194_304", "6_742_609_920", "6_738_415_616", "64",
    ]  # fmt: skip
    assert lines[5].endswith("8_388_608  8.4 MB")
    assert lines[6].endswith("16_777_216  16.8 MB")
    assert lines[7].endswith("0.0622 %")
    assert lines[8].endswith("1_606.6 x")


@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's, on ties
@pytest.mark.parametrize(
    ("changes", "targets", "saved", "method"),
    [
        ({}, ["q_proj", "v_proj"], [], "lora"),
        ({"tie_word_embeddings": True}, ["embed_tokens", "down_proj"], [], "lora"),
        ({"head_dim": 16}, ["o_proj"], ["lm_head"], "lora"),
        ({}, ["all-linear"], ["embed_tokens"], "dora"),
        ({}, ["k_proj"], [], "vera"),
    ],
)
def test_counting_a_config_as_peft_does(tmp_path, capsys, changes, targets, saved, method):
    import peft
    import transformers

    config = {**TINY_LLAMA, **changes}
    options = ["--rank", "4", "--target-modules", *targets, "--method", method, "--json"]
    options += ["--modules-to-save", *saved] if saved else []
    for source in (config_file(tmp_path, config), str(tmp_path)):
        assert main(["count", source, *options]) == 0
        printed, error = capsys.readouterr()
        assert error == ""
    counted = json.loads(printed)

    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config))
    assert counted["base"] == model.num_parameters()
    how = {
        "r": 4,
        "target_modules": targets[0] if targets == ["all-linear"] else targets,
        "modules_to_save": saved or None,
    }
    lora = peft.VeraConfig(**how) if method == "vera" else peft.LoraConfig(
        **how, use_dora=method == "dora"
    )  # fmt: skip
    adapted = peft.get_peft_model(model, lora)
    assert (counted["trainable"], counted["all"]) == adapted.get_nb_trainable_parameters()


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (TINY_LLAMA, ["--rank", "0", *QUERY_VALUE], "r must be at least 1, got 0"),
        (TINY_LLAMA, ["--rank", "-1", *QUERY_VALUE], "r must be at least 1, got -1"),
        (TINY_LLAMA, ["--rank", "4", "--target-modules", "query"], "matches 'query'"),
        (TINY_LLAMA, ["--rank", "4", "--target-modules", "self_attn"], "matches 'self_attn'"),
        (TINY_LLAMA, ["--rank", "4", "--target-modules", "norm"], "model.norm is no linear"),
        (
            TINY_LLAMA,
            ["--rank", "4", *QUERY_VALUE, "--modules-to-save", "score"],
            "modules_to_save: no module with parameters is called 'score'",
        ),
        (
            {**TINY_LLAMA, "architectures": ["LlamaForSinging"]},
            ["--rank", "4", *QUERY_VALUE],
            "has no LlamaForSinging",
        ),
        (
            {**TINY_LLAMA, "architectures": ["LlamaConfig"]},
            ["--rank", "4", *QUERY_VALUE],
            "has no LlamaConfig",
        ),
        ({"model_type": "llama"}, ["--rank", "4", *QUERY_VALUE], '"architectures": ["NAME"]'),
        ([1, 2], ["--rank", "4", *QUERY_VALUE], '"architectures": ["NAME"]'),
        (
            '{"architectures": ',
            ["--rank", "4", *QUERY_VALUE],
            "config.json is no config of a model: Expecting value",
        ),
        ("", ["--rank", "4", *QUERY_VALUE], "config.json is no config of a model: Expecting value"),
        (
            {**TINY_LLAMA, "hidden_size": "wide"},
            ["--rank", "4", *QUERY_VALUE],
            "config.json: no LlamaForCausalLM: ",
        ),
        (
            {**TINY_LLAMA, "num_key_value_heads": 3},
            ["--rank", "4", *QUERY_VALUE],
            "config.json: 8 heads cannot share 3 key/value heads evenly",
        ),
        (
            {**TINY_LLAMA, "num_attention_heads": 0},
            ["--rank", "4", *QUERY_VALUE],
            "config.json: no LlamaForCausalLM: ",
        ),
    ],
)
def test_what_cannot_be_counted_is_one_line_and_code_2(tmp_path, capsys, config, options, message):
    assert main(["count", config_file(tmp_path, config), *options]) == 2
    printed, error = capsys.readouterr()
    assert printed == ""
    assert error.startswith("lora-edu: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_config_of_two_models_has_no_defaults_to_tell():
    class Two:
        attribute_map: ClassVar[dict[str, str]] = {}

        def __init__(self, **parts):
            parts["encoder"]

    assert memory.silent({"quantization_config": {}}, Two(encoder={})) == []


@pytest.mark.seconds
def test_what_transformers_takes_in_silence_is_said(tmp_path, capsys):
    config = {**TINY_LLAMA, "num_hiden_layers": 2, "quantization_config": {"load_in_4bit": True}}
    del config["num_hidden_layers"]
    for more in ([], ["--memory"]):
        assert main(["count", config_file(tmp_path, config), *QUERY_VALUE, *more]) == 0
        assert capsys.readouterr().err.splitlines() == [
            "note: not in the file, so transformers' own: num_hidden_layers 32",
            "note: num_hiden_layers is no key that it reads: is num_hidden_layers meant?",
            "note: its quantization is left out: counted are numbers, not their bits",
        ]
    assert main(["count", config_file(tmp_path), *QUERY_VALUE]) == 0
    assert capsys.readouterr().err == ""


def test_an_unknown_source_or_an_empty_folder_is_one_line_and_code_2(tmp_path, capsys):
    assert main(["count", "gpt-9", "--rank", "4", *QUERY_VALUE]) == 2
    assert "gpt-9 is no file or folder, and none of the catalogue: all-" in capsys.readouterr().err
    assert main(["count", "Llama2-7B", "--rank", "4", *QUERY_VALUE]) == 2
    assert "none of the catalogue (is llama-2-7b meant?): all-" in capsys.readouterr().err
    assert main(["count", str(tmp_path), "--rank", "4", *QUERY_VALUE]) == 2
    error = capsys.readouterr().err
    assert "config.json" in error
    assert error.count("\n") == 1


def counted(capsys, *arguments):
    """Count, and return the code, what was printed, and the complaint."""
    code = main(["count", *map(str, arguments), "--rank", "4", *QUERY_VALUE])
    printed, error = capsys.readouterr()
    assert error.count("\n") == (code == 2)
    assert printed == "" or code == 0
    assert not re.search(r"[\0-\x08\x0b-\x1f\x7f-\x9f]", printed + error)
    return code, printed, error


def test_a_name_of_the_catalogue_and_of_a_folder_is_refused(tmp_path, capsys, monkeypatch):
    (tmp_path / "llama-2-7b").mkdir()
    config_file(tmp_path / "llama-2-7b")
    monkeypatch.chdir(tmp_path)
    assert counted(capsys, "llama-2-7b")[2] == (
        "lora-edu: llama-2-7b is in the catalogue and here: ./llama-2-7b means what is here\n"
    )
    code, printed, _ = counted(capsys, "./llama-2-7b")
    assert code == 0
    assert "adapted_modules                    4" in printed


@pytest.mark.parametrize(
    "config",
    [
        {**TINY_LLAMA, "num_hidden_layers": 10**9},
        {**TINY_LLAMA, "num_hidden_layers": 10_001},
        {**TINY_LLAMA, "num_hidden_layers": -1},
        {**TINY_LLAMA, "num_labels": 10**9},
        {"architectures": ["GPT2LMHeadModel"], "n_layer": 10**30},
        {"architectures": ["BartModel"], "encoder_layers": 10**9},
        {"architectures": ["T5Model"], "num_decoder_layers": 10**9},
        {"architectures": ["MixtralForCausalLM"], "num_local_experts": 10**9},
        {"architectures": ["SwinModel"], "depths": [1, 10**9]},
        {"architectures": ["LlavaModel"], "text_config": {"num_hidden_layers": 10**9}},
    ],
)
def test_so_many_parts_are_refused_before_one_is_built(tmp_path, capsys, config):
    code, _, error = counted(capsys, config_file(tmp_path, config))
    assert code == 2
    assert "must be from 0 to 10_000, got" in error


def test_a_config_that_is_nested_too_deeply_is_refused(tmp_path, capsys):
    nested = f'{{"architectures": ["LlamaForCausalLM"], "x": {"[" * 100_000}{"]" * 100_000}}}'
    code, _, error = counted(capsys, config_file(tmp_path, nested))
    assert code == 2
    assert "is no config of a model: maximum recursion depth" in error


SIZES = st.sampled_from(["hidden_size", "intermediate_size", "num_attention_heads", "vocab_size"])
ABSURD = st.one_of(
    st.integers(max_value=-1), st.integers(min_value=2**70), st.floats(), st.text(), st.none(),
    st.lists(st.integers()), st.booleans(), st.dictionaries(st.text(), st.integers()),
)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(SIZES, ABSURD)
@example("hidden_size", "\x1b[31mred\x9b\n")
def test_an_absurd_size_is_one_line(tmp_path_factory, name, value):
    path = config_file(tmp_path_factory.mktemp("absurd"), {**TINY_LLAMA, name: value})
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        assert main(["count", path, "--rank", "4", *QUERY_VALUE]) == 2
    assert errors.getvalue().startswith("lora-edu: ")
    assert errors.getvalue().count("\n") == 1
    assert not re.search(r"[\0-\x08\x0b-\x1f\x7f-\x9f]", errors.getvalue())


def test_the_reason_that_transformers_gives_is_kept(tmp_path, capsys):
    wide = {**TINY_LLAMA, "hidden_size": "wide"}
    error = counted(capsys, config_file(tmp_path, wide))[2]
    assert "'hidden_size' expected int, got str (value: 'wide')" in error
    odd = {**TINY_LLAMA, "num_attention_heads": 7}
    assert "is not a multiple of" in counted(capsys, config_file(tmp_path, odd))[2]


def test_what_a_file_calls_a_model_does_not_steer_the_terminal(tmp_path, capsys):
    red = {**TINY_LLAMA, "architectures": ["\x1b[31mred"]}
    assert r"has no \x1b[31mred" in counted(capsys, config_file(tmp_path, red))[2]


def test_the_code_that_a_config_names_is_never_run(tmp_path, capsys):
    named = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}
    more = {"auto_map": named, "_attn_implementation": "kernels-community/evil"}
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    config_file(tmp_path, {**TINY_LLAMA, **more})
    assert counted(capsys, tmp_path)[0] == 0
    assert not (tmp_path / "ran").exists()


@pytest.mark.seconds
def test_memory_is_planned_and_bad_sizes_are_one_line(capsys):
    assert main(["count", "gpt2", "--memory", "--batch", "2", "--length", "64"]) == 0
    printed = capsys.readouterr().out
    assert "r=8  all-linear  batch 2, length 64" in printed
    weights = next(line for line in printed.splitlines() if line.startswith("weights"))
    assert weights.split()[1] == f"{2 * 124_439_808:_}"
    assert main(["count", "gpt2", "--memory", "--length", "64", "--json"]) == 0
    plans = json.loads(capsys.readouterr().out)
    assert list(plans) == ["full", "LoRA", "QLoRA"]
    for options, message in [
        (["--memory", "--batch", "0"], "batch must be at least 1, got 0"),
        (["--batch", "0"], "--batch and --length are for --memory"),
        (["--memory", "--method", "dora"], "--memory plans plain LoRA"),
        (["--memory", "--length", "1025"], "length must be at most n_positions = 1024"),
    ]:
        assert main(["count", "gpt2", *options]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_without_torch_memory_is_one_line_and_the_ledger_works():
    without = "import sys; sys.modules['torch'] = None; from lora_edu.cli import main; sys.exit("
    for command, code in (("count gpt2 --memory", 2), ("ledger hu2021 table2", 0)):
        run = [sys.executable, "-c", f"{without}main({command.split()}))"]
        done = subprocess.run(run, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert done.stderr.count("\n") == (code == 2)


@pytest.mark.seconds
def test_the_ledger_on_the_command_line(capsys):
    assert main(["ledger"]) == 0
    assert "arXiv:2106.09685v2" in capsys.readouterr().out
    assert main(["ledger", "hu2021", "Table 2"]) == 0
    printed = capsys.readouterr().out
    assert (
        printed.index("RoB_base (FT)*") < printed.index("RoB_large (LoRA)") < printed.index("DeB")
    )
    assert main(["ledger", "hu2021", "2", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["derived"] for row in rows][:2] == ["124645632", "102912"]
    assert rows[0]["arithmetic"] == "base(roberta-base)"
    assert main(["ledger", "vera", "table1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 18
    for bad in (["nobody"], [""], ["hu2021", "table9"], ["hu2021", "--csv", "--json"]):
        assert main(["ledger", *bad]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_catalogue_is_counted_without_loading_torch():
    code = (
        "import sys; from lora_edu.cli import main; "
        "main('count llama-3.1-405b --rank 16 --target-modules all-linear --json'.split()); "
        "print(any(m in sys.modules for m in ('numpy', 'torch')))"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert out.endswith("}\nFalse\n")


@pytest.mark.seconds
@pytest.mark.skipif(not hasattr(os, "wait4"), reason="measures memory the Unix way")
def test_a_70b_model_is_counted_in_30_seconds_and_2_gigabytes(tmp_path):
    from lora_edu import counting

    path = config_file(tmp_path, counting.catalogue()["llama-3.1-70b"])
    command = ["count", path, "--rank", "16", "--target-modules", "all-linear", "--json"]
    run = subprocess.Popen(
        [sys.executable, "-m", "lora_edu.cli", *command], stdout=subprocess.PIPE, text=True
    )
    printed = run.stdout.read()
    _, status, usage = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    run.stdout.close()
    kilobytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    assert run.returncode == 0
    assert json.loads(printed)["base"] == 70_553_706_496
    assert usage.ru_utime + usage.ru_stime < 30  # its own: other programs may be running
    assert kilobytes < 2e6


def test_claims_prints_every_sentence_that_a_lesson_vouches_for(capsys):
    assert main(["claims", "01"]) == 0
    by_number = capsys.readouterr().out
    assert main(["claims", "matrix_example"]) == 0
    said = capsys.readouterr().out
    assert said == by_number
    assert said.startswith("matrix_example: ")
    rows = [line.split("  ")[-1] for line in said.splitlines()]
    for claim in collected()["matrix_example"]:
        assert claim["words"] in rows
    assert re.search(r" 38\.4 +38\.4 +0\.05 +any +38\.4 times in a small", said)
    assert re.search(r"below 1e-12 +any +Same result", said)


def test_claims_are_a_table_for_a_spreadsheet_too(capsys):
    assert main(["claims", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == sum(map(len, collected().values()))
    assert set(rows[0]) >= {"lesson", "section", "words", "value", "says", "within", "seeds"}


def test_claims_of_a_lesson_that_makes_none_are_refused(capsys):
    assert main(["claims", "cooking"]) == 2
    assert "no claims of 'cooking'; there are those of first_words, " in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error():
    command = [sys.executable, "-m", "lora_edu.cli", "claims", *["matrix_example"] * 20]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait() == 0


@pytest.mark.parametrize(("platform", "name"), [("win32", ""), ("win32", "a:b"), ("linux", "")])
def test_what_windows_calls_a_closed_pipe(platform, name, monkeypatch, capfd):
    def closed(*_):
        raise OSError(errno.EINVAL, "Invalid argument", *filter(None, [name]))

    monkeypatch.setattr("lora_edu.course.commands.list_claims", closed)
    monkeypatch.setattr(sys, "platform", platform)
    kept = os.dup(sys.stdout.fileno())
    code = main(["claims"])
    os.dup2(kept, sys.stdout.fileno())
    is_closed = (platform, name) == ("win32", "")
    assert code == (0 if is_closed else 2)
    assert ("Invalid argument" not in capfd.readouterr().err) is is_closed


@pytest.mark.seconds
def test_a_terminal_without_a_letter_for_it_gets_its_number():
    """As a pipe on Windows, whose code page has no Greek."""
    command = [sys.executable, "-m", "lora_edu.cli", "records", "descendants_turned"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    text = subprocess.run(
        command, env={**environment, "PYTHONIOENCODING": "utf-8"}, capture_output=True
    ).stdout
    lost = [letter for letter in text.decode() if not letter.isascii()]
    assert lost
    assert lost[0].encode("ascii", "backslashreplace") in done.stdout
