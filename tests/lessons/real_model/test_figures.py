"""Which settings of the map are beaten."""

import numpy as np
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
