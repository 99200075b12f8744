"""The figures: a word that is rounded away, the law of its error, times and their intervals."""

import numpy as np
import pytest
from scipy.stats import binom

from lora_edu.course.merging import figures
from lora_edu.course.recorded import record


def test_a_ratio_is_of_the_same_round_and_its_interval_that_of_a_median():
    seconds = record("served")["cases"]["write"]["seconds"]
    ratios = sorted(np.divide(seconds["apart"], seconds["base"]))
    # Of 40 rounds the 14th and the 27th: of 40 tosses 13 or fewer come up in 1.9 %, 14 in 4.0 %.
    assert binom.cdf(13, 40, 0.5) < 0.025 < binom.cdf(14, 40, 0.5)
    expected = np.median(ratios), ratios[13], ratios[26]
    assert figures.ratio("write", "apart") == pytest.approx(expected)
