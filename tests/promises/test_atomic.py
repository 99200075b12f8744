"""Nothing half done: a failure or Ctrl + C at any step leaves model and folder as they were.

Failures are put in from outside: at the n-th allocation of memory, at the n-th operation on a file,
and as a real signal at the n-th line of our own code. What is found then is the state from before,
bit for bit; after Ctrl + C also the new state, where the last step was done already.
"""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.pytorch_utils import Conv1D

import lora_edu
from lora_edu import adapt, variants
from lora_edu.adapt import LoraConfig, add_lora
from lora_edu.checkpoint import load_adapter, read_adapter, save_adapter
from lora_edu.files import uninterrupted

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
DORA = LoraConfig(target_modules=["a", "b", "c"], r=2, use_dora=True)
PISSA = LoraConfig(target_modules=["a", "b"], r=2, init_lora_weights="pissa")
BOTH = replace(PISSA, use_dora=True)


def adapted(config=PLAIN, seed=1):
    model = add_lora(Net(), config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for tensor in adapt.adapter_tensors(model).values():
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 1)  # a variance is among them
    return model


def merged():
    model = adapted()
    adapt.merge(model)
    return model


def state(model):
    """All that can be seen of a model: its modules, numbers, ties, and what trains."""
    seen = []
    for name, module in model.named_modules():
        own = [f"{name}: {type(module).__name__} {id(module)} {module.training}"]
        own += sorted(key for key in vars(module) if not key.startswith("_backward"))
        for part in (module._parameters, module._buffers):
            for key, tensor in part.items():
                if tensor is None:
                    own.append(f"{key}: None")
                    continue
                digits = tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist()
                own.append((key, id(tensor), tensor.requires_grad, tensor.dtype, digits))
        own.append(getattr(module, "merged", None))
        own.append(getattr(module, "lora_config", None))
        seen.append(own)
    return seen


def files(folder):
    """All that can be seen of a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


ACTIONS = {  # → a model, and what is done with it; {} is a folder with an adapter in it
    "add_lora": (Net, lambda model, folder: add_lora(model, PLAIN)),
    "add_lora, DoRA": (Net, lambda model, folder: add_lora(model, DORA)),
    "add_lora, PiSSA": (Net, lambda model, folder: add_lora(model, PISSA)),
    "add_lora, both": (Net, lambda model, folder: add_lora(model, BOTH)),
    "load_adapter": (Net, load_adapter),
    "swap_adapter": (
        lambda: adapted(seed=2),
        lambda model, folder: adapt.swap_adapter(model, read_adapter(folder)[1]),
    ),
    "merge": (adapted, lambda model, folder: adapt.merge(model)),
    "unmerge": (merged, lambda model, folder: adapt.unmerge(model)),
    "unload": (adapted, lambda model, folder: adapt.unload(model)),
    "unload, DoRA": (lambda: adapted(DORA), lambda model, folder: adapt.unload(model)),
    "init_pissa": (
        lambda: adapted(LoraConfig(target_modules=["a", "b"], r=2)),
        lambda model, folder: variants.init_pissa(model),
    ),
    "to_dora": (
        lambda: adapted(LoraConfig(target_modules=["a", "b"])),
        lambda model, folder: variants.to_dora(model),
    ),
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


@pytest.mark.parametrize("name", ACTIONS)
def test_out_of_memory_at_any_step_changes_nothing(name, saved, tmp_path):
    make, action = ACTIONS[name]
    folder = tmp_path / "saved"
    folder.mkdir()
    for path in saved.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    model, n, failed = make(), 0, True
    before, there = state(model), files(folder)
    while failed:
        n += 1
        try:
            with NoMemory(n):
                action(model, folder)
            failed = False
        except torch.OutOfMemoryError:
            assert state(model) == before, f"allocation {n}"
            assert files(folder) == there, f"allocation {n}"
    assert n > 1 or name.startswith("unload")  # which makes nothing
    assert (state(model), files(folder)) != (before, there)


def interrupt_at(n, action, *arguments):
    """Do ``action``, send a real SIGINT before the n-th line of our own code; return if it came."""
    lines = [0]

    def trace(frame, event, argument):
        if not Path(frame.f_code.co_filename).is_relative_to(OURS):
            return None
        if event == "line":
            lines[0] += 1
            if lines[0] == n:
                signal.raise_signal(signal.SIGINT)
        return trace

    sys.settrace(trace)
    try:
        action(*arguments)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return lines[0] >= n


@pytest.mark.parametrize("name", ACTIONS)
def test_interrupted_at_any_line_it_is_done_or_not_done(name, saved, tmp_path):
    make, action = ACTIONS[name]
    n, step, undone, done = 1, 1, 0, 0
    while True:
        folder = tmp_path / str(n)
        folder.mkdir()
        for path in saved.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        model = make()
        before, there = state(model), files(folder)
        if not interrupt_at(n, action, model, folder):
            break
        if (state(model), files(folder)) == (before, there):
            undone += 1
        else:
            done += 1
            check_done(name, model, folder, make)
        n += step
        step = 1 + n // 40  # all of the first lines, then fewer: they repeat themselves
    assert undone
    assert undone + done > 5


def check_done(name, model, folder, make):
    """Assert that a model (or a folder) that was changed was changed as a whole."""
    if name == "save_adapter":
        _, tensors = read_adapter(folder)
        expected = adapt.adapter_tensors(make())
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(tensors[key], expected[key]) for key in tensors)
        return
    layers = [m.merged for m in model.modules() if isinstance(m, adapt.LoRALinear)]
    assert len(set(layers)) <= 1
    tokens = torch.arange(8)
    model.eval()
    if name in ("merge", "unmerge"):
        torch.testing.assert_close(model(tokens), adapted().eval()(tokens), rtol=0.1, atol=0.1)
    elif name == "init_pissa":
        torch.testing.assert_close(model(tokens), Net().eval()(tokens))
    elif name in ("load_adapter", "swap_adapter"):
        assert torch.equal(model(tokens), adapted().eval()(tokens))
    else:  # it was interrupted after the last step
        assert hasattr(model, "lora_config") == (not name.startswith("unload"))


class Full:
    """A disk that is full at the n-th operation that would write."""

    def __init__(self, n):
        self.left = n

    def __call__(self, function, error):
        def failing(*arguments, **options):
            self.left -= 1
            if self.left == 0:
                raise error("No space left on device")
            return function(*arguments, **options)

        return failing


def test_a_full_disk_at_any_step_changes_nothing(saved, tmp_path, monkeypatch):
    model, save_file, n = adapted(seed=4), safetensors.torch.save_file, 0
    while True:
        n += 1
        folder = tmp_path / str(n)
        folder.mkdir()
        for path in saved.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        there, full = files(folder), Full(n)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "mkdir", full(Path.mkdir, OSError))
            patch.setattr(Path, "write_text", full(Path.write_text, OSError))
            patch.setattr(safetensors.torch, "save_file", full(save_file, SafetensorError))
            if n == 5:  # it does four such things
                save_adapter(model, folder)
                assert full.left == 1
                return
            with pytest.raises(OSError, match="No space left on device"):
                save_adapter(model, folder)
            assert files(folder) == there, f"operation {n}"


def test_two_that_save_at_once_and_one_that_reads(tmp_path):
    """Each of many reads finds one adapter whole: the configuration of one, and its tensors."""
    folder, stop, seen = tmp_path / "shared", threading.Event(), set()
    code = textwrap.dedent("""
        import sys, torch
        from torch import nn
        from lora_edu.adapt import LoraConfig, add_lora
        from lora_edu.checkpoint import save_adapter

        torch.set_num_threads(1)
        r = int(sys.argv[2])
        model = add_lora(nn.Sequential(nn.Linear(64, 64)), LoraConfig(target_modules=["0"], r=r))
        nn.init.constant_(model[0].lora_B, r)
        for _ in range(100):
            save_adapter(model, sys.argv[1])
    """)
    command = [sys.executable, "-c", code, str(folder)]
    writers = [subprocess.Popen([*command, r], stderr=subprocess.PIPE) for r in ("2", "5")]
    while not (folder / "adapter_model.safetensors").exists():
        assert any(writer.poll() is None for writer in writers)
    while any(writer.poll() is None for writer in writers):
        config, tensors = read_adapter(folder)
        assert (tensors["0.lora_B.weight"] == config.r).all()
        seen.add(config.r)
        stop.wait(0.001)
    for writer in writers:
        assert writer.communicate()[1] == b""
        assert writer.returncode == 0
    assert seen
    assert sorted(os.listdir(folder)) == ["adapter_config.json", "adapter_model.safetensors"]


def test_ctrl_c_waits_and_then_comes():
    done = []

    def work():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append(1)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done
    handler = signal.getsignal(signal.SIGINT)
    with uninterrupted():
        assert signal.getsignal(signal.SIGINT) is not handler
    assert signal.getsignal(signal.SIGINT) is handler


def test_in_another_thread_there_is_nothing_to_wait_for():
    worked = []

    def work():
        with uninterrupted():
            worked.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert worked
