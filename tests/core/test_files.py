import os
import stat
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lora_edu.files import one_line, printable, take_place, write_whole


def refuse(*_):
    raise PermissionError(13, "in use")


def test_writes_and_says_whether_anything_changed(tmp_path):
    path = tmp_path / "new" / "file.txt"
    assert write_whole(path, "ΔW\n") is True
    assert path.read_bytes() == "ΔW\n".encode()
    before = path.stat().st_mtime_ns
    assert write_whole(path, "ΔW\n") is False
    assert path.stat().st_mtime_ns == before
    assert write_whole(path, b"other") is True
    assert path.read_bytes() == b"other"
    if os.name != "nt":  # Windows keeps no such modes
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_crash_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, "old")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="in use"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_whose_successor_cannot_come_is_back(tmp_path, monkeypatch):
    made, place = tmp_path / "work" / "new", tmp_path / "place"
    made.mkdir(parents=True)
    write_whole(place / "a", "a")
    rename = Path.rename
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda p, to: refuse() if p == made else rename(p, to))
        with pytest.raises(PermissionError):
            take_place(made, place)
    assert (place / "a").read_text() == "a"
    take_place(made, place)
    assert list(place.iterdir()) == []


@given(st.text())
@example("\x1b]0;title\x07\x1b[31mred\x9b2J\r\u2028\ud800 Phở\t\n")
def test_no_sign_that_steers_a_terminal_is_shown(text):
    assert not any(
        unicodedata.category(sign) == "Cc" for sign in printable(text) if sign not in "\t\n"
    )
    harmless = "".join(sign for sign in text if unicodedata.category(sign) != "Cc")
    assert printable(harmless) == harmless


def test_what_steers_a_terminal_is_escaped_and_an_error_is_one_line():
    assert printable("\x07a\x9b\n") == "\\x07a\\x9b\n"
    assert one_line(ValueError("a\n  b\x1b" + "c" * 600)) == r"a b\x1b" + "c" * 493
