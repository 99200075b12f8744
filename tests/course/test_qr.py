"""An adapter as bytes that fit a QR code, and a link."""

import base64
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lora_edu import cli
from lora_edu.course import commands, qr, verification
from lora_edu.quantize import NF4


def strips(*layers, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {
        f"model.layers.{i}.self_attn.v_proj": (
            torch.randn(1, 576, generator=draw),
            torch.randn(192, 1, generator=draw) / 100,
        )
        for i in layers
    }


@given(st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True), st.integers(0, 99))
def test_bytes_hold_what_four_bits_keep(layers, seed):
    adapter = strips(*layers, seed=seed)
    data = qr.packed(adapter)
    assert len(data) == 393 * len(layers)
    found = qr.unpacked(data)
    assert list(found) == list(adapter)
    assert qr.packed(found) == data
    for name, (A, B) in adapter.items():
        for strip, read in zip((A, B), found[name], strict=True):
            coarse = NF4.quantize(strip, qr.BLOCK).dequantize()
            torch.testing.assert_close(read, coarse, rtol=1e-3, atol=1e-6)  # half-precision maxima


def test_seven_layers_fit_and_eight_do_not():
    assert len(qr.packed(strips(*range(7)))) <= qr.HOLDS < len(qr.packed(strips(*range(8))))


# -- lora-edu voice -----------------------------------------------------------------------------

ROWS = [(f"What is {i}?", f"Form {i}, please.") for i in range(5)]
TABLE = "question,answer\n" + "".join(f'"{asked}","{answer}"\n' for asked, answer in ROWS)


def test_the_bytes_of_a_voice_are_letters_of_a_link():
    data = bytes(range(256)) * 2
    text = qr.as_text(data)
    assert not set("+/=") & set(text)
    assert base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) == data


@pytest.mark.seconds
@pytest.mark.assets
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_voice_is_taught_from_rows_and_its_link_holds_what_was_learned(
    kind, tmp_path, monkeypatch, capsys
):
    told = []
    monkeypatch.setattr(qr, "taught", lambda rows, seed: told.append((rows, seed)) or strips(3, 7))
    said = [[{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b in ROWS]
    lines = "".join(json.dumps({"messages": talk}) + "\n" for talk in said)
    rows, code = tmp_path / f"rows.{kind}", tmp_path / "voice.png"
    rows.write_text(TABLE if kind == "csv" else lines, encoding="utf-8")
    argv = ["voice", str(rows), "--site", "https://example.org/", "--png", str(code)]
    assert cli.main([*argv, "--seed", "4", "--question", "Good morning!"]) == 0
    out = capsys.readouterr().out
    assert told == [(ROWS, 4)]
    assert [
        out.count(f"\n{words}") for words in ("Good morning!", "  without it: ", "  with it:    ")
    ] == [1] * 3
    link = f"https://example.org/talk.html#v={qr.as_text(qr.packed(strips(3, 7)))}"
    assert link in out.splitlines()
    assert code.read_bytes()[:4] == b"\x89PNG"


TALK = {"messages": [{"role": role, "content": "x"} for role in ("system", "user", "assistant")]}
FEW = [
    ("rows.csv", "question,answer\na,b\n", "must have at least 5 rows, got 1"),
    ("rows.csv", "ask,reply\na,b\n", "question"),
    ("rows.jsonl", json.dumps(TALK), "must have a question and an answer in each row"),
    ("none.csv", "", "none.csv"),
]


@pytest.mark.parametrize(("name", "text", "message"), FEW)
def test_rows_that_teach_no_voice_are_refused(name, text, message, tmp_path, refused):
    rows = tmp_path / name
    if text:
        rows.write_text(text)
    assert message in refused("voice", rows)


ORIGINS = {
    "ssh://github.com/Some-One/lora-edu.git": "https://some-one.github.io/lora-edu/",
    "https://github.com/someone/course": "https://someone.github.io/course/",
    "https://example.org/someone/course.git": "",
}


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_clone_from_github_knows_the_address_of_its_pages(origin, monkeypatch):
    monkeypatch.setattr(verification, "git", lambda *_: origin)
    assert commands._site() == ORIGINS[origin]
