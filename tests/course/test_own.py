"""The learner's own file: what goes into it, and that nothing else is touched."""

import builtins
import itertools
import linecache
import subprocess
import sys

import pytest

from lora_edu.course import own

CLASS = """\
import torch
from torch import nn

class LoRA(nn.Module):
    '''Two strips.'''

    def __init__(self, base):
        super().__init__()
        self.base = base   # W0

    def forward(self, x):
        return [self.base(y) for y in x]

print("something else in this cell")
"""
TRAIN = """\
def train(model, batches):
    total = 0
    for x in batches:
        total += sum(model(x))
    return total
"""
STUB = """\
def merge(layer):
    '''Return a plain layer.'''
    raise NotImplementedError
"""
numbers = itertools.count()


class Page(dict):
    """A notebook's names, and its cells as IPython keeps them."""

    def run(self, text):
        name = f"cell-{next(numbers)}"
        linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
        exec(compile(text, name, "exec"), self)


@pytest.fixture
def page(capsys):
    page = Page(__builtins__=builtins)
    page.run(CLASS)
    page.run(TRAIN)
    page.run(STUB)
    capsys.readouterr()
    return page


@pytest.fixture
def mine(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("LORA_EDU_CLAIMS", raising=False)
    return folder


def test_the_file_holds_what_stands_in_the_cells_and_runs_by_itself(page, mine, capsys):
    own.keep(page["LoRA"], page["train"], page["merge"])
    told = capsys.readouterr().out
    text = (mine / "lora.py").read_text()
    lines = len(text.splitlines())
    assert told == (
        f"notebooks/mine/lora.py is yours now, {lines} lines: LoRA, train. Still to be written: "
        "merge.\n"
    )
    assert "something else" not in text
    assert "merge" not in text
    assert CLASS.split("\n\n", 1)[1].split("\n\nprint")[0] in text  # comments and all
    assert TRAIN in text
    code = "import lora; print(lora.train(lora.LoRA(abs), [[-1, 2], [3]]))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=mine, text=True) == "6\n"


def test_a_stub_that_is_written_comes_into_the_file(page, mine, capsys):
    page.run("def merge(layer):\n    return layer.base\n")
    own.keep(page["train"], page["merge"])
    assert "train, merge.\n" in capsys.readouterr().out
    assert "    return layer.base\n" in (mine / "lora.py").read_text()


def test_nothing_of_an_older_file_is_lost_and_the_same_is_written_once(page, mine, capsys):
    own.keep(page["train"])
    first = (mine / "lora.py").read_text()
    own.keep(page["train"])
    assert sorted(path.name for path in mine.iterdir()) == ["lora.py"]
    (mine / "lora.py").write_text("# mine alone\n")
    own.keep(page["train"])
    assert "What it held before is in lora-1.py." in capsys.readouterr().out
    own.keep(page["LoRA"])
    assert (mine / "lora-1.py").read_text() == "# mine alone\n"
    assert (mine / "lora-2.py").read_text() == first


def test_a_decorator_comes_along(page, mine):
    page.run("import torch\n\n@torch.no_grad()\ndef merge(layer):\n    return layer.base\n")
    own.keep(page["merge"])
    assert "@torch.no_grad()\ndef merge(layer):\n" in (mine / "lora.py").read_text()


def test_bytes_that_are_no_text_and_a_folder_of_that_name_are_kept_aside(page, mine, capsys):
    (mine / "lora.py").write_bytes(b"\xff\xfe")
    own.keep(page["train"])
    assert (mine / "lora-1.py").read_bytes() == b"\xff\xfe"
    (mine / "lora.py").unlink()
    (mine / "lora.py").mkdir()
    own.keep(page["train"])
    assert (mine / "lora-2.py").is_dir()
    assert (mine / "lora.py").read_text().endswith(TRAIN)


def test_a_disk_that_says_no_is_told_in_a_line(page, mine, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(own, "write_whole", full)
    own.keep(page["train"])
    assert capsys.readouterr().out == "Nothing is written: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("folder", ["notebooks", "mine/deeper/still"])
def test_only_a_copy_in_mine_writes(page, mine, capsys, monkeypatch, folder):
    other = mine.parent / folder
    other.mkdir(parents=True)
    monkeypatch.chdir(other)
    own.keep(page["train"])
    assert "In your own copy of this page they become notebooks/mine/lora.py." in (
        capsys.readouterr().out
    )
    assert not [path for path in mine.parent.rglob("*") if path.is_file()]


def test_a_translations_copy_writes_into_mine(page, mine, monkeypatch):
    (mine / "vi").mkdir()
    monkeypatch.chdir(mine / "vi")
    own.keep(page["train"])
    assert (mine / "lora.py").is_file()


def test_no_test_and_no_build_writes(page, mine, monkeypatch):
    monkeypatch.setenv("LORA_EDU_CLAIMS", "strict")
    own.keep(page["train"])
    assert list(mine.iterdir()) == []


def test_modules_of_the_page_are_imported(page, mine):
    page.run("import math, os.path\nimport torch.nn.functional as F\nalso = math")
    page.run("def area(r, p):\n    return math.pi * r**2 + len(p), F.relu, also.pi\n")
    own.keep(page["area"])
    text = (mine / "lora.py").read_text()
    for line in ("import math\n", "import torch.nn.functional as F\n", "import math as also\n"):
        assert line in text


@pytest.mark.parametrize(
    ("cells", "names", "said"),
    [
        (["lr = 0.1", "def step():\n    return lr\n"], ["step"], "step uses lr, which the file"),
        ([], ["merge"], "all of it is still to be written"),
        (["step = lambda: 1"], ["step"], "<lambda> stands in no cell"),
        (["step = len"], ["step"], "neither a function nor a class"),
        (["class Empty:\n    pass\n"], ["Empty"], "neither a function nor a class with methods"),
        (["def use(x):\n    return merge(x)\n"], ["use"], "use uses merge, which the file would"),
    ],
)
def test_what_cannot_stand_alone_is_refused_in_a_line(page, mine, capsys, cells, names, said):
    for cell in cells:
        page.run(cell)
    own.keep(*(page[name] for name in names))
    told = capsys.readouterr().out
    assert told.startswith("Nothing is written: ")
    assert told.count("\n") == 1
    assert said in told
    assert list(mine.iterdir()) == []


def test_a_cell_that_is_forgotten_is_run_again(page, mine, capsys):
    linecache.cache.pop(page["train"].__code__.co_filename)
    own.keep(page["train"])
    assert "train stands in no cell: run the cell that defines it" in capsys.readouterr().out


# -- and taken again ------------------------------------------------------------------------------


def test_what_stands_in_the_file_is_taken(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "lora.py").write_text("LoRA = 'mine'\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.delenv("LORA_EDU_CLAIMS", raising=False)
    assert own.take("LoRA", "theirs") == "mine"
    assert "yours, from notebooks/mine/lora.py" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "AttributeError"), ("1 / 0", "ZeroDivisionError"), ("class (", "SyntaxError")],
)
def test_a_file_that_fails_is_named_and_nothing_stops(tmp_path, monkeypatch, capsys, text, why):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "lora.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.delenv("LORA_EDU_CLAIMS", raising=False)
    assert own.take("LoRA", "theirs") == "theirs"
    assert why in capsys.readouterr().out


def test_elsewhere_nothing_is_taken(tmp_path, monkeypatch, capsys):
    (tmp_path / "lora.py").write_text("raise SystemExit", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert own.take("LoRA", "theirs") == "theirs"
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    assert own.take("LoRA", "theirs") == "theirs"
    assert capsys.readouterr().out.count("the package's") == 2
