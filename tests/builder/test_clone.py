"""What `lora-edu` does in a clone: lab, check, test."""

import os
import signal
import subprocess
import sys
import time

import pytest
from builder import clone

from lora_edu import cli


@pytest.fixture
def ran(monkeypatch):
    """Note what would be run, and run nothing."""
    made = []
    monkeypatch.setattr(clone, "run", lambda arguments: made.append(list(arguments)) or 0)
    monkeypatch.setattr(clone, "fetch", lambda: made.append("fetch"))
    return made


def checks(monkeypatch, **codes):
    made = {
        name: ["-c", f"print('{name} speaks'); raise SystemExit({n})"] for name, n in codes.items()
    }
    monkeypatch.setattr(clone, "CHECKS", made)


def test_what_fails_speaks_and_the_last_line_says_how_to_go_on(monkeypatch, capsys):
    checks(monkeypatch, good=0, bad=1, worse=3)
    assert cli.main(["check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    said = [line.split()[:2] for line in lines[:-1]]  # in the order in which they end
    assert sorted(said) == [
        ["bad", "FAILED"],
        ["bad", "speaks"],
        ["good", "ok"],
        ["worse", "FAILED"],
        ["worse", "speaks"],
    ]
    assert said[said.index(["bad", "FAILED"]) + 1] == ["bad", "speaks"]
    assert sorted(lines[-1].partition(" failed in ")[0].split(", ")) == ["bad", "worse"]
    assert set(lines[-1].partition(" Mended? lora-edu check ")[2].split()) == {"bad", "worse"}


def test_when_nothing_fails_the_last_line_says_what_to_run_next(monkeypatch, capsys):
    checks(monkeypatch, good=0, bad=1)
    assert cli.main(["check", "good"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "Next: lora-edu test" in lines[-1]


def test_a_check_that_is_none_is_one_line(monkeypatch, capsys):
    checks(monkeypatch, good=0, bad=1)
    assert cli.main(["check", "goo"]) == 2
    assert capsys.readouterr().err == "lora-edu: there is no check 'goo'; there are good, bad\n"


def test_a_check_may_say_what_it_likes(monkeypatch, capfd):
    code = "import sys; sys.stdout.buffer.write(b'caf\\xe9 \\xc3\\xa9'); sys.exit(1)"
    monkeypatch.setattr(clone, "CHECKS", {"odd": ["-c", code]})
    assert cli.main(["check"]) == 1
    assert "caf� é" in capfd.readouterr().out


def test_what_is_late_is_said_though_all_is_well(monkeypatch, capsys):
    says = ["-c", "print('fine\\nlate, in translations: 3; build.py --check 01')"]
    monkeypatch.setattr(clone, "CHECKS", {"notebooks": says})
    assert cli.main(["check", "notebooks"]) == 0
    out = capsys.readouterr().out
    assert "\nlate, in translations: 3; build.py --check 01\n" in out
    assert "fine" not in out


def test_the_first_time_the_first_lesson_is_opened(ran, tmp_path, monkeypatch):
    monkeypatch.setattr(clone, "ROOT", tmp_path)
    mine = tmp_path / "notebooks" / "mine"
    clone.open_lab([])
    assert ran[-1][-1] == str(mine / "00_first_words.ipynb")
    mine.mkdir(parents=True)
    (mine / "00_first_words.ipynb").touch()
    clone.open_lab([])
    assert ran[-1][-1] == str(mine)


def test_options_go_to_those_who_know_them(ran):
    assert cli.main(["lab", "--no-browser", "--port", "8899"]) == 0
    assert cli.main(["test", "-q", "-x"]) == 0
    assert cli.main(["test", "--slow"]) == 0
    assert cli.main(["test", "--long"]) == 0
    assert cli.main(["test", "--browser"]) == 0
    own, lab, _, quick, _, slow, _, long, _, browser = ran
    assert own == ["notebooks/build.py", "--own"]
    assert lab[:2] == ["-m", "jupyterlab"]
    assert lab[-3:] == ["--no-browser", "--port", "8899"]
    assert quick[:4] == ["-m", "pytest", "-n", "2"]
    assert quick[-4:] == ["--dist", "loadfile", "-q", "-x"]
    assert slow[:4] == ["-m", "pytest", "-m", "slow"]
    assert slow[-2:] == ["--dist", "worksteal"]
    assert long == [word.replace("slow", "long") for word in slow]
    assert browser == ["-m", "pytest", "tests/browser"]


def test_a_path_is_one_from_where_the_caller_stands(ran, monkeypatch):
    monkeypatch.chdir(clone.ROOT / "tests" / "core")
    here = str(clone.ROOT / "tests" / "core" / "test_files.py")
    assert cli.main(["test", "test_files.py", "-k", "others"]) == 0
    assert cli.main(["test", "tests/core", "-x"]) == 0
    assert cli.main(["test", "test_files.py::test_it", "-v"]) == 0
    monkeypatch.chdir(clone.ROOT)
    assert cli.main(["test", "-k", "figures"]) == 0  # a word, though a folder is called so
    assert cli.main(["test", "--slow", "-k", "matrix"]) == 0
    assert cli.main(["test", "--browser", "tests/browser/test_lab.py"]) == 0
    assert [made for made in ran if made != "fetch"] == [
        ["-m", "pytest", here, "-k", "others"],
        ["-m", "pytest", "tests/core", "-x"],  # not from here: pytest is started in the clone
        ["-m", "pytest", f"{here}::test_it", "-v"],
        ["-m", "pytest", "-k", "figures"],
        ["-m", "pytest", "-m", "slow", "-k", "matrix"],
        ["-m", "pytest", str(clone.ROOT / "tests" / "browser" / "test_lab.py")],
    ]


def test_copies_that_cannot_be_made_open_no_lab(monkeypatch):
    made = []
    monkeypatch.setattr(clone, "run", lambda arguments: made.append(arguments[0]) or 1)
    assert cli.main(["lab"]) == 1
    assert made == ["notebooks/build.py"]


@pytest.mark.parametrize("command", ["lab", "check", "test"])
def test_what_is_not_installed_is_one_line_that_says_how(command, monkeypatch, capsys):
    monkeypatch.setattr(clone.importlib.util, "find_spec", lambda name: None)
    assert cli.main([command]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"is not installed: in {clone.ROOT}, run python -m pip install -e" in line


@pytest.mark.parametrize("command", ["lab", "check", "test"])
def test_without_a_clone_one_line_says_where_the_lessons_are(
    command, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "site-packages" / "lora_edu" / "cli.py"))
    assert cli.main([command]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lora-edu: the lessons and the tests are in a clone of the course")


def test_assets_that_cannot_be_fetched_stop_nothing(monkeypatch, capsys):
    def offline(name):
        raise OSError(f"could not download {name}")

    monkeypatch.setattr(clone.assets, "path", offline)
    clone.fetch()
    said = capsys.readouterr().err
    assert said.startswith("could not download ")
    assert said.endswith("What needs these assets will be skipped\n")


def test_all_is_run_in_the_clone_by_this_python_with_one_thread(capfd):
    code = "import os, sys; print(os.getcwd(), sys.executable, os.environ['OMP_NUM_THREADS'])"
    assert clone.run(["-c", code + "; sys.exit(7)"]) == 7
    assert capfd.readouterr().out.splitlines() == [f"{clone.ROOT} {sys.executable} 1"]


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
def test_an_interrupt_is_the_childs_to_answer():
    """As JupyterLab, which asks whether it is meant: the command waits for it."""
    child = (
        "import signal, time\n"
        "signal.signal(signal.SIGINT, lambda *_: (print('asked', flush=True), exit(5)))\n"
        "print('ready', flush=True)\ntime.sleep(60)"
    )
    code = f"import sys; from builder import clone; sys.exit(clone.run(['-c', {child!r}]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=clone.ROOT / "notebooks",
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(1)  # the command waits for its child by now
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=30)[0] == "asked\n"
    assert process.returncode == 5
