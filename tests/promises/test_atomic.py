"""Nothing half done: a failure or Ctrl + C at any step leaves model and folder as they were.

Failures are put in from outside: at the n-th allocation of memory, at the n-th operation on a file,
and as a real signal at the n-th line of our own code. What is found then is the state from before,
bit for bit; after Ctrl + C also the new state, where the last step was done already.
"""

import os
import shutil
import signal
import sys
import threading
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import safetensors.torch
import seen
import torch
from helpers import scramble
from safetensors import SafetensorError
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.pytorch_utils import Conv1D

import lora_edu
from lora_edu import adapt, variants
from lora_edu.adapt import LoraConfig, add_lora
from lora_edu.checkpoint import FILES, load_adapter, read_adapter, save_adapter

OURS = Path(lora_edu.__file__).parent


class Net(nn.Module):
    """Layers of all kinds: with a bias and without, Conv1D, of three dtypes, tied, a buffer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(8, 6)
        self.body = nn.ModuleDict({"a": nn.Linear(6, 5), "b": Conv1D(4, 5), "c": nn.Linear(4, 6)})
        self.wide = nn.Linear(6, 6).double()
        self.low = nn.Linear(6, 6, bias=False).to(torch.bfloat16)
        self.head = nn.Linear(6, 8, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(8)
        self.embed.weight.requires_grad_(False)  # a state of its own to come back to

    def forward(self, tokens):
        x = self.body["c"](self.body["b"](self.body["a"](self.embed(tokens))))
        x = self.wide(x.double()).float()
        return self.norm(self.head(self.low(x.to(torch.bfloat16)).to(x.dtype)))


NAMES = ["a", "b", "c", "low", "wide"]
PLAIN = LoraConfig(target_modules=NAMES, r=2, modules_to_save=["head", "norm"])
SMALL = LoraConfig(target_modules=["a", "b"], r=2)
DORA = replace(SMALL, target_modules=["a", "b", "c"], use_dora=True)
PISSA = replace(SMALL, init_lora_weights="pissa")


def adapted(config=PLAIN, seed=1):
    return scramble(add_lora(Net(), config), seed)


def merged():
    model = adapted()
    adapt.merge(model)
    return model


def of_model(action, *arguments):
    """Make an action on a model and a folder of one that needs no folder."""
    return lambda model, folder: action(model, *arguments)


def swap_adapter(model, folder):
    adapt.swap_adapter(model, read_adapter(folder)[1])


ACTIONS = {  # → a model, and what is done with it and with a folder that holds an adapter
    "add_lora": (Net, of_model(add_lora, PLAIN)),
    "add_lora, DoRA": (Net, of_model(add_lora, DORA)),
    "add_lora, PiSSA": (Net, of_model(add_lora, PISSA)),
    "load_adapter": (Net, load_adapter),
    "swap_adapter": (lambda: adapted(seed=2), swap_adapter),
    "merge": (adapted, of_model(adapt.merge)),
    "unmerge": (merged, of_model(adapt.unmerge)),
    "unload": (adapted, of_model(adapt.unload)),
    "unload, DoRA": (lambda: adapted(DORA), of_model(adapt.unload)),
    "init_pissa": (lambda: adapted(SMALL), of_model(variants.init_pissa)),
    "to_dora": (lambda: adapted(SMALL), of_model(variants.to_dora)),
    "save_adapter": (lambda: adapted(seed=3), save_adapter),
}


@pytest.fixture(autouse=True)
def ctrl_c():
    """Let the signal interrupt in the background too, where a shell has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save_adapter(adapted(), folder)
    return folder


# -- ways to fail: each at the n-th step, and each says whether it came to that step ----------


def memory(thing):
    """Where the numbers of a tensor lie; None if it is none."""
    return thing.untyped_storage().data_ptr() if isinstance(thing, torch.Tensor) else None


class NoMemory(TorchDispatchMode):
    """Fail at the n-th operation that makes a tensor in memory of its own."""

    def __init__(self, n):
        super().__init__()
        self.left = n

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        out = function(*arguments, **(options or {}))
        given = {memory(tensor) for tensor in (*arguments, *(options or {}).values())}
        made = out if isinstance(out, tuple | list) else [out]
        if not given.issuperset(map(memory, made)):
            self.left -= 1
            if self.left == 0:
                raise torch.OutOfMemoryError("no memory left")
        return out


def out_of_memory(n, action, *arguments):
    try:
        with NoMemory(n):
            action(*arguments)
    except torch.OutOfMemoryError:
        return True
    return False


def interrupted(n, action, *arguments):
    """Send a real SIGINT before the n-th line of our own code: it may wait, and then it comes."""
    lines = count(1)

    def trace(frame, event, argument):
        if not Path(frame.f_code.co_filename).is_relative_to(OURS):
            return None
        if event == "line" and next(lines) == n:
            signal.raise_signal(signal.SIGINT)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action(*arguments)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    assert next(lines) <= n  # else it was sent, and has got lost
    return False


def disk_full(n, action, *arguments):
    """Fail at the n-th operation that writes, as each does when there is no room."""
    writes = count(1)

    def failing(function, error):
        def write(*arguments, **options):
            if next(writes) == n:
                raise error("No space left on device")
            return function(*arguments, **options)

        return write

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "mkdir", failing(Path.mkdir, OSError))
        patch.setattr(Path, "write_text", failing(Path.write_text, OSError))
        write = failing(safetensors.torch.save_file, SafetensorError)
        patch.setattr(safetensors.torch, "save_file", write)
        try:
            action(*arguments)
        except OSError as error:
            return "No space left on device" in str(error)
    return False


def described(model, folder):
    """Return what an action leaves, wherever it lies in memory or on the disk."""
    parts = [(name, type(m), getattr(m, "merged", None)) for name, m in model.named_modules()]
    config, tensors = read_adapter(folder)
    numbers = [
        {key: t.tolist() for key, t in held.items()} for held in (model.state_dict(), tensors)
    ]
    return parts, numbers, config, hasattr(model, "lora_config")


def outcomes(name, fail, saved, folders):
    """Return, for each step at which it failed, whether all was as before; else it was done."""
    make, action = ACTIONS[name]
    model, folder = make(), shutil.copytree(saved, folders / "done")
    action(model, folder)
    done, found, n = described(model, folder), [], 1
    while True:
        folder = shutil.copytree(saved, folders / str(n))
        model = make()
        before = seen.of_model(model), seen.of_folder(folder)
        if not fail(n, action, model, folder):
            assert (seen.of_model(model), seen.of_folder(folder)) != before
            return found
        found.append((seen.of_model(model), seen.of_folder(folder)) == before)
        assert found[-1] or described(model, folder) == done
        n += 1 + n // 40  # all of the first steps, then fewer: they repeat themselves


@pytest.mark.parametrize("name", ACTIONS)
def test_out_of_memory_at_any_step_changes_nothing(name, saved, tmp_path):
    found = outcomes(name, out_of_memory, saved, tmp_path)
    assert all(found)
    assert found or name.startswith("unload")  # which makes nothing


# A file whose closing was interrupted is closed by Python, which says so.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("name", ACTIONS)
def test_interrupted_at_any_line_it_is_done_or_not_done(name, saved, tmp_path):
    found = outcomes(name, interrupted, saved, tmp_path)
    assert any(found)
    assert len(found) > 5


def test_a_full_disk_at_any_step_changes_nothing(saved, tmp_path):
    assert outcomes("save_adapter", disk_full, saved, tmp_path) == [True] * 4


# -- other processes, and kills ---------------------------------------------------------------


def constant(r):
    """Return an adapter whose rank stands in the configuration, the shapes and the values."""
    model = add_lora(nn.Sequential(nn.Linear(64, 64)), LoraConfig(target_modules=["0"], r=r))
    nn.init.constant_(model[0].lora_B, r)
    return model


def rank_of(folder):
    """Return the rank of the adapter there, which is that of one as a whole."""
    config, tensors = read_adapter(folder)
    assert (tensors["0.lora_B.weight"] == config.r).all()
    return config.r


def test_two_that_save_at_once_and_one_that_reads(tmp_path):
    def write(model):
        for _ in range(100):
            save_adapter(model, tmp_path)

    save_adapter(constant(2), tmp_path)
    writers = [threading.Thread(target=write, args=[constant(r)]) for r in (2, 5)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert rank_of(tmp_path) in (2, 5)
    assert sorted(os.listdir(tmp_path)) == sorted(FILES)


class Killed(BaseException):
    pass


left = []  # one entry for each operation on a file before all of them fail, if it is not empty


def kill(event, _):
    """From some operation on, let no process do anything to a file, cleaning up included."""
    if left and (event == "open" or event.startswith("os.")):
        if len(left) == 1:
            raise Killed
        left.pop()


def test_killed_at_every_operation_on_a_file(tmp_path):
    sys.addaudithook(kill)
    save_adapter(constant(2), tmp_path / "old")
    new, ranks, killed = constant(5), [], True
    while killed:
        folder = shutil.copytree(tmp_path / "old", tmp_path / str(len(ranks)))
        left[:] = [None] * (len(ranks) + 1)
        try:
            save_adapter(new, folder)
            killed = False
        except Killed:
            pass
        left.clear()
        ranks.append(rank_of(folder))
        save_adapter(new, folder)  # and the next save clears up
        assert sorted(os.listdir(folder)) == sorted(FILES)
        assert rank_of(folder) == 5
    assert len(ranks) > 5
    assert ranks == sorted(ranks)  # the old one up to some point, then the new one
    assert {ranks[0], ranks[-1]} == {2, 5}
