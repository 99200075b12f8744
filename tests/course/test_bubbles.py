"""Chat bubbles: the same words as text and as HTML, which runs nothing."""

import re

from lora_edu.course.bubbles import dial, show

LONG = "so it is " * 30


def test_a_question_that_several_answer_stands_there_once():
    text = repr(show(["Why?", "Why?", "Who?"], ["So.", "No.", "I."], [-1, 0.5, 1]))
    assert text.splitlines() == ["Why?", "    −1: So.", "    0.5: No.", "Who?", "    1: I."]


def test_text_wraps_and_html_holds_the_same_words_and_no_markup_of_the_model():
    talk = show(["<b>Why</b>?"], [f"<script>\n\n{LONG}\ufffd"], ["pirate"])
    assert max(map(len, repr(talk).splitlines())) <= 80
    page = talk._repr_html_()
    assert "<script>" not in page
    words = re.sub(r"<.*?>", " ", page).replace("&lt;", "<").replace("&gt;", ">")
    assert words.split() == repr(talk).split()
    assert "\n\n" not in page  # a blank line would end the HTML of a page in Markdown


def test_a_dial_shows_one_answer_and_begins_nearest_to_zero():
    talk = dial({"<a>": "Why?"}, {"<a>": ["So.", "No."]}, [-1, 0.5])
    assert re.findall(r'data-at="([^"]+)"( hidden)?', talk.page) == [
        ("&lt;a&gt;0", " hidden"), ("&lt;a&gt;1", ""),
    ]  # fmt: skip
    assert "−1: So." in repr(talk)
