import subprocess
import sys

import pytest

from lora_edu import __version__
from lora_edu.cli import main


def test_figures_are_written_then_checked(tmp_path, capsys):
    out = str(tmp_path / "figures")
    assert main(["figures", "--out", out]) == 0
    assert "matrix_anatomy" in capsys.readouterr().out
    assert main(["figures", "--check", "--out", out]) == 0
    (tmp_path / "figures" / "matrix_anatomy.png").unlink()
    assert main(["figures", "--check", "--out", out]) == 1
    assert "matrix_anatomy: the picture is missing" in capsys.readouterr().err


def test_an_unknown_figure_is_one_line_and_code_2(tmp_path, capsys):
    assert main(["figures", "--only", "mona_lisa", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("lora-edu: no figure is called 'mona_lisa'")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line_and_code_2(tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    out = str(tmp_path / "taken" / "figures")
    assert main(["figures", "--only", "parameters_vs_rank", "--out", out]) == 2
    assert capsys.readouterr().err.startswith("lora-edu: ")


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
