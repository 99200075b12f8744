"""The learner's own file: what goes into it, and that nothing else is touched."""

import linecache
import runpy
from unittest.mock import Mock

import pytest
import torch
from tiny_llama import llama

from lora_edu import chat
from lora_edu.course import language, lora_file

NAMES = ["model.layers.1.self_attn.q_proj", "model.layers.3.mlp.down_proj"]

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
TRAIN = "def train(model, batches):\n    return sum(sum(model(x)) for x in batches)\n"
STUB = "def merge(layer):\n    'Return a plain layer.'\n    raise NotImplementedError\n"


@pytest.fixture
def keep(capsys):
    """Return a function: run cells, keep what they define; return what was printed."""
    page = {}

    def run(names, *cells):
        for cell in (CLASS, TRAIN, STUB, *cells):
            name = f"cell-{hash(cell)}"
            linecache.cache[name] = len(cell), None, cell.splitlines(keepends=True), name  # IPython
            exec(compile(cell, name, "exec"), page)
        capsys.readouterr()
        lora_file.keep(*(page[name] for name in names.split()))
        return capsys.readouterr().out

    return run


@pytest.fixture
def mine(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("LORA_EDU_CLAIMS", raising=False)
    return folder


def test_the_file_holds_what_stands_in_the_cells_and_runs_by_itself(keep, mine):
    told = keep("LoRA train merge")
    text = (mine / "lora.py").read_text()
    lines = len(text.splitlines())
    assert told == (
        f"notebooks/mine/lora.py is yours now, {lines} lines: LoRA, train. Still to be written: "
        "merge.\n"
    )
    assert "something else" not in text
    assert "merge" not in text
    assert CLASS.split("\n\n", 1)[1].split("\n\nprint")[0] in text  # comments and all
    assert text.endswith(TRAIN)
    found = runpy.run_path(str(mine / "lora.py"))
    assert found["train"](found["LoRA"](abs), [[-1, 2], [3]]) == 6


NEEDS = [
    ("@torch.no_grad()\ndef merge(a): pass", "@torch.no_grad()\ndef merge(a): pass\n"),
    ("import math as m\ndef merge(r): return m.pi * r**2", "import math as m\n"),
]


@pytest.mark.parametrize(("cell", "lines"), NEEDS)
def test_what_a_function_needs_comes_along(cell, lines, keep, mine):
    assert "train, merge.\n" in keep("train merge", cell)
    assert lines in (mine / "lora.py").read_text()


def test_nothing_of_an_older_file_is_lost_and_the_same_is_written_once(keep, mine):
    """Neither bytes that are no text, nor a folder of that name."""
    keep("train")
    first = (mine / "lora.py").read_text()
    keep("train")
    assert [path.name for path in mine.iterdir()] == ["lora.py"]
    (mine / "lora.py").write_bytes(b"\xff\xfe")
    assert keep("train").endswith(" What it held before is in lora-1.py.\n")
    keep("LoRA")
    (mine / "lora.py").unlink()
    (mine / "lora.py").mkdir()
    keep("train")
    assert (mine / "lora-1.py").read_bytes() == b"\xff\xfe"
    assert (mine / "lora-2.py").read_text() == first == (mine / "lora.py").read_text()
    assert (mine / "lora-3.py").is_dir()


def test_a_disk_that_says_no_is_told_in_a_line(keep, mine, monkeypatch):
    full = Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr(lora_file, "write_whole", full)
    assert keep("train") == "Nothing is written: [Errno 28] No space left on device\n"


PLACES = [
    ("mine/deeper/still", None, []),
    ("mine", "strict", []),  # a build or a test
    ("mine/vi", None, ["mine/lora.py"]),  # the copy of a translation
]


@pytest.mark.parametrize(("folder", "claims", "written"), PLACES)
def test_only_a_copy_in_mine_writes(folder, claims, written, keep, mine, monkeypatch):
    other = mine.parent / folder
    other.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(other)
    if claims:
        monkeypatch.setenv("LORA_EDU_CLAIMS", claims)
    told = "notebooks/mine/lora.py is yours now" if written else "Your own copy of this page"
    assert told in keep("train")
    files = [path for path in mine.parent.rglob("*") if path.is_file()]
    assert [str(path.relative_to(mine.parent)) for path in files] == written


NOT_ALONE = [
    ("step", ["lr = 0.1\ndef step(): return lr"], "step uses lr, which the file"),
    ("merge", [], "all of it is still to be written"),
    ("step", ["step = lambda: 1"], "<lambda> stands in no cell: run the cell that defines it"),
    ("Empty", ["class Empty: pass"], "neither a function nor a class with methods"),
]


@pytest.mark.parametrize(("names", "cells", "said"), NOT_ALONE)
def test_what_cannot_stand_alone_is_refused_in_a_line(names, cells, said, keep, mine):
    told = keep(names, *cells)
    assert told.startswith("Nothing is written: ")
    assert told.count("\n") == 1
    assert said in told
    assert list(mine.iterdir()) == []


TAKEN = [
    ("LoRA = 'mine'\n", "mine", "LoRA: yours, from notebooks/mine/lora.py\n"),
    (None, "theirs", "LoRA: this page's. (Your own copy of it takes the one"),
    ("1 / 0", "theirs", "lora.py fails: ZeroDivisionError: division by zero\n"),
]


@pytest.mark.parametrize(("text", "taken", "said"), TAKEN)
def test_what_stands_in_the_file_is_taken_and_a_file_that_fails_is_named(
    text, taken, said, mine, capsys, monkeypatch
):
    if text is not None:
        (mine / "lora.py").write_text(text, encoding="utf-8")
    assert lora_file.take("LoRA", "theirs") == taken
    assert said in capsys.readouterr().out
    monkeypatch.chdir(mine.parent)  # elsewhere, nothing is read
    assert lora_file.take("LoRA", "theirs") == "theirs"


def test_a_voice_is_kept_among_the_learners_own_and_a_chat_takes_it_up(
    mine, monkeypatch, capsys, tmp_path
):
    """In half precision, as it was; the model stays as it is. Elsewhere it is kept for a while."""
    model, _ = chat.load(llama(tmp_path / "llama"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    monkeypatch.setattr(language, "base", lambda: (model, None))
    draw = torch.Generator().manual_seed(0)
    sizes = {name: model.get_submodule(name).weight.shape for name in NAMES}
    voice = {
        name: (torch.randn(3, k, generator=draw).half().float(), torch.ones(d, 3) / 4)
        for name, (d, k) in sizes.items()
    }
    folder = lora_file.keep_voice(voice, "cat")
    assert folder == mine / "cat"
    assert f'lora-edu chat --adapter "{folder}"' in capsys.readouterr().out
    talks = chat.Conversation(str(tmp_path / "llama"), [str(folder)], 5, 0.0, 0)
    said = {name: talks.voice[name] for name in NAMES}
    torch.testing.assert_close(said, voice, rtol=0, atol=0, check_dtype=False)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    lora_file.keep_voice(voice, "cat")
    assert "Saved. What it held before is in cat-1." in capsys.readouterr().out
    assert {path.name for path in folder.parent.iterdir()} >= {"cat", "cat-1"}
    monkeypatch.chdir(tmp_path)
    elsewhere = lora_file.keep_voice(voice, "dog")
    assert "Your own copy of this page" in capsys.readouterr().out
    assert not list(tmp_path.rglob("dog"))
    assert chat.adapter(model, elsewhere).keys() == voice.keys()
    for adapter, name in ((voice, "../cat"), (voice, ""), ({}, "cat")):
        with pytest.raises(ValueError, match=f"got {len(adapter)} and '{name}'"):
            lora_file.keep_voice(adapter, name)
