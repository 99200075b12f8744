"""Which settings of the map are beaten."""

import json
import re

import numpy as np
from builder.source import NOTEBOOKS
from lessons.real_model import cases

from lora_edu.course.real_model import figures


def test_a_dot_is_beaten_by_what_is_better_in_both():
    names, learned, kept = figures.means("validation")
    assert figures.better(1.0, -1.0) == []
    assert figures.better(-1.0, -1.0) == list(names)
    place = int(np.argmax(learned))
    for off, expected in {0.0: [], 1e-6: [names[place]]}.items():
        assert figures.better(learned[place] - off, kept[place] - off) == expected
    assert list(figures.on_frontier(learned, kept)) == list(cases.frontier(learned, kept))


def test_no_reply_is_printed_because_a_reply_names_whom_it_answers():
    """The posts are other people's, and what the lesson prints of them is published."""
    (path,) = NOTEBOOKS.glob("*_real_model.ipynb")
    cells = {cell["id"]: cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]}
    printed = "".join(cells["posts-code"]["outputs"][0]["text"]).splitlines()[1:]
    assert len(printed) == 6
    assert not [post for post in printed if re.search(r" re | writes | wrote ", post)]
