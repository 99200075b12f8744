"""constraints.txt: the exact versions behind the committed outputs.

It is written after each build of *all* lessons that refuses none, whether or not an output has
changed. For then every committed output is one that this environment gave just now, so that its
versions are true of all of them. To write it only when an output has changed would be less: let
``build.py 03`` change an output under newer versions, and a build of all lessons after it finds
nothing left to change, while the file still names the older ones.

After a build of some lessons no one environment need stand behind all outputs, and the file is left
alone; when the versions here are others than its, the command says so.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from builder.source import BuildError
from lora_edu.files import write_whole

FILE = "constraints.txt"
PROJECT = "lora-edu"
EXTRAS = ("course", "test", "dev")
HEADER = """\
# The exact versions behind the outputs of notebooks/*.ipynb, on Python {python}.
# Written by notebooks/build.py when it builds all lessons. To install them:
#   python -m pip install -e ".[course,test,dev]" -c constraints.txt
"""


def pins(project: str = PROJECT, extras: tuple[str, ...] = EXTRAS) -> list[str]:
    """Return ``name==version`` of all that a project needs here, and of what these need, sorted.

    The project itself has no line. A local label (``+cpu``) is left out, for PyPI has none.

    Raises
    ------
    BuildError
        Something that the project needs is not installed.
    """
    versions: dict[str, str] = {}
    waiting = [(canonicalize_name(project), extra) for extra in ("", *extras)]
    seen = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise BuildError(
                f"{FILE}: not written: {name} is not installed; "
                f"python -m pip install -e '.[{','.join(EXTRAS)}]'"
            ) from None
        versions[name] = Version(distribution.version).public
        for line in distribution.requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                to = canonicalize_name(needed.name)
                waiting += [(to, one) for one in ("", *needed.extras)]
    del versions[canonicalize_name(project)]
    return [f"{name}=={version}" for name, version in sorted(versions.items())]


def text() -> str:
    """Return what the file says of this environment."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return HEADER.format(python=python) + "\n".join(pins()) + "\n"


def write_constraints(root: Path) -> bool:
    """Write the file into the project's folder; return whether it changed."""
    return write_whole(root / FILE, text())


def says_otherwise(root: Path) -> list[str]:
    """Return the packages of which the file says something else than this environment."""
    path = root / FILE
    written = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = set(written.splitlines()) ^ set(text().splitlines())
    return sorted({line.partition("==")[0] for line in lines if not line.startswith("#")})
