"""What `lora-edu` does in a clone: lab, check, test."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import clone
import pytest

from lora_edu import cli

CORE = clone.ROOT / "tests" / "core"
FILES = str(CORE / "test_files.py")
TWO = ["-n", "2", "--no-loadscope-reorder", "--dist"]


@pytest.fixture
def ran(monkeypatch):
    """What would be run, while nothing is."""
    made = []
    monkeypatch.setattr(clone, "run", lambda arguments: made.append(list(arguments)) or 0)
    monkeypatch.setattr(clone, "fetch", lambda: made.append("fetch"))
    return made


def test_a_check_that_fails_speaks_and_the_last_line_says_how_to_go_on(monkeypatch, capfd):
    late = "late, in translations: 3; build.py --check 01"
    made = {
        "good": f"print('fine\\n{late}')",
        "bad": "import sys; sys.stdout.buffer.write(b'caf\\xe9 \\xc3\\xa9'); sys.exit(1)",
    }
    monkeypatch.setattr(clone, "CHECKS", {name: ["-c", code] for name, code in made.items()})

    assert cli.main(["check"]) == 1
    *lines, last = capfd.readouterr().out.splitlines()
    said = [" ".join(line.split()[:2]) for line in lines]  # in the order in which they end
    # What may be written is anything; and what is late is said though all is well.
    assert sorted(said) == ["bad FAILED", "caf� é", "good ok", "late, in"]
    assert said[said.index("bad FAILED") + 1] == "caf� é"
    assert last.startswith("bad failed in ")
    assert last.endswith(" Mended? lora-edu check bad")
    assert cli.main(["check", "good"]) == 0
    _, told, last = capfd.readouterr().out.splitlines()
    assert told == late
    assert "Next: lora-edu test" in last
    assert cli.main(["check", "goo"]) == 2
    assert capfd.readouterr().err == "lora-edu: there is no check 'goo'; there are good, bad\n"


LAB = "jupyter/labconfig/default_setting_overrides.json"


def test_each_start_opens_the_page_that_greets_and_no_news(ran, tmp_path, monkeypatch):
    monkeypatch.setattr(clone, "ROOT", tmp_path)
    monkeypatch.setattr(clone, "ENVIRONMENT", {})
    monkeypatch.delenv("JUPYTER_CONFIG_PATH", raising=False)
    assert cli.main(["lab", "--port", "8899"]) == 0
    assert ran[0] == ["notebooks/build.py", "--own"]
    assert ran[-1][:2] == ["-m", "jupyterlab"]
    own = json.loads((Path(clone.__file__).parent / LAB).read_text(encoding="utf-8"))
    assert own["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
    assert clone.ENVIRONMENT["JUPYTER_CONFIG_PATH"] == str(tmp_path / "notebooks" / "jupyter")
    assert ran[-1][-3:] == [str(tmp_path / "notebooks" / "mine" / "START.ipynb"), "--port", "8899"]
    monkeypatch.setattr(clone, "run", lambda arguments: ran.append(arguments[0]) or 1)
    assert cli.main(["lab"]) == 1  # copies that cannot be made open no lab
    assert ran[-1] == "notebooks/build.py"


RUNS = [
    (CORE, ["-q", "-x"], [*TWO, "loadfile", "-q", "-x"]),
    (CORE, ["--slow"], ["-m", "slow", *TWO, "worksteal"]),
    (CORE, ["tests/core", "-x"], ["tests/core", "-x"]),  # not from here, but in the clone
    (CORE, ["test_files.py::test_it", "-v"], [f"{FILES}::test_it", "-v"]),
    (clone.ROOT, ["-k", "figures"], ["-k", "figures"]),  # though a folder is called so
    (clone.ROOT, ["--browser", "-m", "smoke"], ["tests/browser", "-m", "smoke"]),
]


@pytest.mark.parametrize(("here", "asked", "run"), RUNS)
def test_options_and_paths_from_here_go_to_pytest(ran, monkeypatch, here, asked, run):
    monkeypatch.chdir(here)
    assert cli.main(["test", *asked]) == 0
    assert ran == ["fetch", ["-m", "pytest", *run]]


@pytest.mark.parametrize("command", ["lab", "check", "test"])
def test_what_is_not_there_is_one_line_that_says_how(command, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(clone.importlib.util, "find_spec", lambda name: None)
    assert cli.main([command]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"is not installed: in {clone.ROOT}, run python -m pip install -e" in line
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "site-packages" / "lora_edu" / "cli.py"))
    assert cli.main([command]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lora-edu: the lessons and the tests are in a clone of the course")


def test_assets_that_cannot_be_fetched_stop_nothing(monkeypatch, capsys):
    offline = Mock(side_effect=OSError("could not download it"))
    monkeypatch.setattr(clone.assets, "path", offline)
    clone.fetch()
    said = capsys.readouterr().err
    assert said.startswith("could not download ")
    assert said.endswith("What needs these assets will be skipped\n")


# It goes on for a while, as JupyterLab, which asks whether the interrupt is meant.
CHILD = """
import os, signal, sys, time
def asked(*_):
    print('asked', flush=True)
    time.sleep(1)
    exit(5)
signal.signal(signal.SIGINT, asked)
print(os.getcwd(), sys.executable, os.environ['OMP_NUM_THREADS'], flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
def test_all_is_run_in_the_clone_with_one_thread_and_an_interrupt_is_the_childs_to_answer():
    code = f"import sys; import clone; sys.exit(clone.run(['-c', {CHILD!r}]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=clone.ROOT / "notebooks",
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == f"{clone.ROOT} {sys.executable} 1\n"
    time.sleep(1)  # the command waits for its child by now
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=30)[0] == "asked\n"
    assert process.returncode == 5
