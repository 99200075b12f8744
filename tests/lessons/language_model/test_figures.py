"""The blind test, boxes of tokens, and a QR code."""

import numpy as np
import pytest

from lora_edu.course import qr
from lora_edu.course.language_model import checks, figures


def test_a_blind_test_gives_each_a_third_and_letters_say_whose_an_answer_is(capsys):
    answers = {who: [f"{who} {i}<|im_end|>" for i in range(9)] for who in ("mine", "base", "tale")}
    letters = checks.blind(answers, [f"{i}?" for i in range(9)], 0)
    shown = capsys.readouterr().out
    assert sorted("".join(letters.values())) == [*"ABCDEFGHI"]
    for who, of_them in letters.items():
        assert len(of_them) == 3
        for letter in of_them:
            i = ord(letter) - 65
            assert f"{letter}   {i}?\n    {who} {i}\n" in shown
    assert letters != checks.blind(answers, [f"{i}?" for i in range(9)], 1)


@pytest.mark.parametrize(
    ("guess", "said"),
    [("ABC", "3 of 3"), ("cab", "3 of 3"), ("A, B, D", "2 of 3"), ("DEF", "0 of 3"),
     ("A", "no 3 letters"), ("?", "no 3 letters"), (None, "no 3 letters")],
)  # fmt: skip
def test_letters_are_scored(guess, said):
    assert checks.score(guess, "ABC").startswith(said)


def test_each_token_is_a_box_and_those_learned_are_filled():
    pieces, labels = ["<|im_end|>", "\n", "Who", " is", "?"] * 20, [-100, -100, 5, 0, -100] * 20
    boxes = figures.tokens(pieces, labels).axes[0].texts
    assert [box.get_text() for box in boxes[:4]] == ["<|im_end|>", "⏎", "Who", "␣is"]
    filled = [box.get_bbox_patch().get_facecolor() != (1, 1, 1, 1) for box in boxes]
    assert filled == [label != -100 for label in labels]


def test_the_code_of_the_record_is_drawn_and_a_reader_finds_its_bytes():
    zxingcpp = pytest.importorskip("zxingcpp")
    data = figures.voice_in_bytes()
    image = figures.code(data).axes[0].images[0].get_array()  # 1 is dark
    pixels = np.kron(1 - np.asarray(image, dtype=np.uint8), np.ones((4, 4), np.uint8)) * 255
    (found,) = zxingcpp.read_barcodes(pixels)
    assert found.bytes == data
    assert len(data) <= qr.HOLDS
    assert len(qr.unpacked(data)) == 7
