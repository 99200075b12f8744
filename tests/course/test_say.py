"""What the package says in a learner's language, and what of the catalogue it finds there."""

import json
import re
import sys

import pytest

from lora_edu.course import claims, say
from lora_edu.course.checks import check, predict

VIETNAMESE = say.ROW.findall((say.CATALOGUES / "vi.po").read_text(encoding="utf-8"))
ROWS = [(json.loads(english), json.loads(own)) for english, own in VIETNAMESE]


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A catalogue of German, of a few rows."""
    rows = {
        "answer: {}": "Antwort: {}", "too large: {} times": "zu groß: das {}fache",
        "it says {}: {}": "es sagt {!s}: {}", "row {} of {}": "von {1} Zeilen die {0}.",
        "a \"b\"\n{}": "ein „b“\n{}", "yes": "ja",
    }  # fmt: skip
    text = "".join(f"msgid {json.dumps(a)}\nmsgstr {json.dumps(b)}\n\n" for a, b in rows.items())
    (tmp_path / "de.po").write_text(text, encoding="utf-8")
    monkeypatch.setattr(say, "CATALOGUES", tmp_path)
    for cached in ("catalogue", "languages"):
        monkeypatch.setattr(say, cached, getattr(say, cached).__wrapped__)


MESSAGES = [
    ("yes", "ja"),
    ("answer: too large: 3 times", "Antwort: zu groß: das 3fache"),
    ("it says yes: yes", "es sagt yes: ja"),
    ("row 3 of 7", "von 7 Zeilen die 3."),
    ('a "b"\nanswer: 1', "ein „b“\nAntwort: 1"),
    ("no row has this: yes", "no row has this: yes"),
    (f"answer: {'(a, ' * 3000}", f"answer: {'(a, ' * 3000}"),  # at once
]


@pytest.mark.parametrize(("english", "own"), MESSAGES)
@pytest.mark.usefixtures("table")
def test_a_message_is_said_by_the_row_that_fits_it(english, own, monkeypatch):
    assert say.languages() == ["en", "de"]
    assert say.say(english, "de") == own
    assert say.say(english) == say.say(english, "fr") == english  # no catalogue: it stays English
    monkeypatch.setenv("LORA_EDU_LANG", "de")
    assert say.say(english) == own


def test_the_language_is_that_of_the_notebook_or_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("LORA_EDU_LANG", raising=False)
    metadata = {"one": {"language": "vi"}, "two": [], "three": {}}
    for name, told in metadata.items():
        text = json.dumps({"metadata": {"lora_edu": told}, "cells": []})
        (tmp_path / f"{name}.ipynb").write_text(text, encoding="utf-8")
    for name, language in {"one": "vi", "two": "en", "three": "en", "none": "en"}.items():
        monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / f"{name}.ipynb"))  # Jupyter
        assert say.language() == language
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__vsc_ipynb_file__", str(tmp_path / "one.ipynb"), raising=False)
    assert say.language() == "vi"
    monkeypatch.setenv("LORA_EDU_LANG", "vi")
    with say.speaking("en"):
        assert say.language() == "en"
    assert say.language() == "vi"
    monkeypatch.setenv("LORA_EDU_LANG", "../vi")  # it has no catalogue
    assert say.language() == "en"


def test_a_row_has_the_holes_of_its_message():
    wrong = []
    for english, own in ROWS:
        many, holes = english.count("{}"), re.findall(r"\{(\d*)(?:!s)?\}", own)
        if many and not ({*holes} <= {*map(str, range(many))} or holes == [""] * many):
            wrong.append(english)
    assert wrong == []


def test_no_message_has_two_rows():
    messages = [english for english, _ in ROWS]
    assert sorted(messages) == sorted({*messages})


def test_a_check_a_prediction_and_a_panel_speak_vietnamese(monkeypatch, capsys):
    monkeypatch.setenv("LORA_EDU_LANG", "vi")
    monkeypatch.delenv("LORA_EDU_CLAIMS", raising=False)

    @check
    def check_it(answer):
        raise AssertionError(f"yours is {answer}: 2 · A in place of B")

    check_it(...)
    with pytest.raises(AssertionError, match=r"^của bạn là 3: 2 · A thay vì B$"):
        check_it(3)
    predict("Không biết", "the same")
    predict("hai nghìn", 2000)
    assert capsys.readouterr().out.splitlines() == [
        "check_it: chưa làm: hãy viết câu trả lời của bạn vào chỗ ...",
        "đáp án: vẫn thế",
        "đáp án: 2,000   bạn đoán: hai nghìn   đúng",
    ]
    found = claims.panel(claims.claim("one is more", more={"one": 1, "other": 2}))
    assert repr(found) == (
        "Trong 1 câu ở đây, 1 câu không còn đúng:\n"
        "  ✗ “one is more”: bây giờ là 1 so với 2 (bài viết: hơn other)"
    )


TYPED = [
    ("khoảng 1.000 số", 1000, (), "đúng"),
    ("một nửa", 0.5, (), "đúng"),
    ("có", "yes", ("yes", "no"), "đúng"),
    ("bảy trăm", 700, (), "đúng"),
    ("2,5 triệu", 2_500_000, (), "đúng"),
    ("17 phần trăm", 0.17, (0.02, 0.17, 0.5), "đúng"),
    ("Không.", "no", ("yes", "no"), "đúng"),
    ("không", "yes", ("yes", "no"), "chưa đúng"),
    ("hơn 10.000", "more", (1_000, 10_000, "more"), "đúng"),
    ("ít hơn 5", "fewer", ("fewer", 5, "more"), "đúng"),
    ("bước 700", 684, (240, 700, 2200), "đúng"),
    ("r = 2", 2, (), "đúng"),
    ("câu B, D và E", "BDE", (), "đúng"),
    ("là chữ L", "L", ("T", "L", "X", "U"), "đúng"),
    ("mười hai", 12, (1, 4, 8, 12), "đúng"),
    ("bốn mươi lăm bước", 45, (), "đúng"),
    ("của B", "B", ("A", "B", "both", "none"), "đúng"),
    ("a" * 60, 5, (), "chưa đúng"),  # and at once
    ("vẫn thế", "the same", (), "đúng"),
    ("2 nghìn rưỡi", 2500, (), "đúng"),
    ("một phần tư", 0.25, (), "đúng"),
    ("1 phần 8", 0.125, (), "đúng"),
    ("một phần vạn", 1e-4, (1e-4, 0.01), "đúng"),
    ("khong", "no", ("yes", "no"), "đúng"),  # without a Vietnamese keyboard
    ("2 nghin", 2000, (), "đúng"),
    ("1228", 1.228, (), "lớn gấp 1,000 lần (có phải bạn viết theo kiểu Việt"),
]


@pytest.mark.parametrize(("guess", "actual", "options", "verdict"), TYPED)
def test_a_guess_may_be_typed_in_vietnamese(guess, actual, options, verdict, monkeypatch, capsys):
    monkeypatch.setenv("LORA_EDU_LANG", "vi")
    predict(guess, actual, *options)
    said = capsys.readouterr().out
    assert f"bạn đoán: {guess}   {verdict}" in said


def test_a_short_row_joins_parts_and_no_sentence_that_nobody_has_translated():
    assert say.say("row 1 and row 2", "vi") == "hàng 1 và hàng 2"
    unknown = "whoever reads all of this long text has to go on and so on to its very end"
    assert say.say(unknown, "vi") == unknown
