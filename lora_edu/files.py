"""Atomic changes, and checks of untrusted files.

A change is made completely or not at all: a file is written, a folder is replaced, and Ctrl + C
waits until a block is done. Files and messages of others may hold anything: control characters, a
configuration that would be built for ever.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Fields of a config that say how many parts of a kind a model has: they are built one by one.
REPEATED = re.compile(r"(n|num)_(\w+_)?(layers?|blocks|experts|labels)|(en|de)coder_layers|depths")


def printable(text: object) -> str:
    """Return a text of somebody else's with its control characters escaped, for a terminal."""
    return re.sub(r"[\0-\x08\x0b-\x1f\x7f-\x9f]", lambda sign: repr(sign[0])[1:-1], str(text))


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line of at most 500 characters."""
    return " ".join(printable(str(error)[:5000]).split())[:500]


def read_config(path: Path) -> Any:
    """Return a config.json without its keys ``…_implementation``, which may name code to fetch.

    A ValueError if it is no JSON, nested too deeply, or asks for more than 10,000 parts of a kind.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_bounded)
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise ValueError(f"{path} is no config of a model: {error}") from None


def _bounded(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, value in pairs:
        for number in value if isinstance(value, list) else [value]:
            if REPEATED.fullmatch(name) and isinstance(number, int) and not 0 <= number <= 10_000:
                raise ValueError(f"{name} must be from 0 to 10_000, got {number}")
    return {name: value for name, value in pairs if not name.endswith("_implementation")}


def write_whole(path: Path | str, content: bytes | str) -> bool:
    """Write ``content`` to ``path`` in one step; return whether anything changed.

    The content goes to a temporary file on the same disk, which then takes the place of ``path``
    (``os.replace`` is atomic there). A reader, or a crash, sees the old file or the new one. A file
    that holds the same bytes already is left alone, its time of change as well.

    Parameters
    ----------
    path : path
        Its folder is created when missing.
    content : bytes or str
        A string is written as UTF-8, its line ends as they are.

    Raises
    ------
    OSError
        The folder cannot be written; ``path`` is as it was, and nothing temporary stays behind.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(path) as folder:
        (folder / "new").write_bytes(data)
        os.replace(folder / "new", path)
    return True


@contextlib.contextmanager
def temporary_folder(beside: Path) -> Iterator[Path]:
    """Make a temporary folder next to ``beside``, for its replacement; remove it in the end.

    Not with tempfile, which on Windows tries for ever where one may not write.
    """
    made = beside.with_name(f".{beside.name}-{secrets.token_hex(8)}")
    made.mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def take_place(made: Path, place: Path) -> None:
    """Replace the folder ``place`` by ``made``; if that fails, put the old one back."""
    old = made.with_name("old")
    if place.exists():
        place.rename(old)
    try:
        made.rename(place)
    except BaseException:
        if old.exists():
            old.rename(place)
        raise


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Ctrl + C until the block is done."""
    came: list[int] = []
    try:
        before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    except ValueError:  # not the main thread: nothing interrupts it
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
    if came:
        signal.raise_signal(signal.SIGINT)
