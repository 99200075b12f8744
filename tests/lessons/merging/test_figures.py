"""The figures: a word that is rounded away, the law of its error, times and their intervals."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

from lora_edu.course.merging import figures
from lora_edu.course.recorded import column, record


def test_the_word_is_whole_then_gone():
    numbers = figures.rounding()
    np.testing.assert_allclose(numbers["arrived"][:10], 1, atol=0.01)
    assert numbers["arrived"][-1] < 0.06
    assert np.all(np.diff(numbers["still"]) >= 0)
    word = numbers["delta"].ravel()
    assert np.corrcoef(numbers["kept"][0].ravel(), word)[0, 1] > 0.9


@pytest.mark.seconds
@pytest.mark.parametrize("dtype", ["float16", torch.float32])
def test_the_film_takes_other_types(dtype):
    assert figures.rounding(dtype)["arrived"][12] == pytest.approx(1, abs=0.01)
    assert figures.film_of_rounding(dtype).html != figures.film_of_rounding().html


@pytest.mark.parametrize("dtype", ["bf16", "int8", "Tensor", 16, None, torch.int8, ["float16"]])
def test_the_film_refuses_what_is_no_floating_type(dtype):
    with pytest.raises(ValueError, match="dtype must be a floating-point type of torch, got"):
        figures.rounding(dtype)


@pytest.mark.parametrize(("name", "u"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_the_error_of_16_bits_obeys_the_law(name, u):
    _, numbers = figures.what_arrives([name])
    assert not numbers.keys() & figures.KINDS.keys() - {name}
    law = 0.425 * u / np.array(numbers["sizes"])
    simple = law < 0.25
    simple[:2] = False  # as large as the weights
    error = np.array(numbers[name]["error"])
    np.testing.assert_allclose(error[simple], law[simple], rtol=0.1)


def test_what_arrives_refuses_other_kinds():
    with pytest.raises(ValueError, match="kinds must be among float16, bfloat16, 4 bits, got 'b"):
        figures.what_arrives(["bf16"])


def test_sizes_are_of_the_matrices_they_are_named_after():
    grimm = column("requantised", "sizes", "grimm")  # (runs, 70): seven kinds, layer by layer
    found = figures.by_module()
    assert found["the voice of Grimm"]["query"] == pytest.approx(grimm[:, 0::7].mean())
    assert found["the voice of Grimm"]["down"] == pytest.approx(grimm[:, 6::7].mean())
    assert found["GPT-3, r = 4"] == {"query": pytest.approx(6.91 / 61.95)}
    for name, (least, most) in figures.real_sizes().items():
        assert all(least <= mean <= most for mean in found[name].values())


def test_a_ratio_is_of_the_same_round_and_its_interval_that_of_a_median():
    seconds = record("served")["cases"]["write"]["seconds"]
    ratios = sorted(np.divide(seconds["apart"], seconds["base"]))
    # Of 40 rounds the 14th and the 27th: of 40 tosses 13 or fewer come up in 1.9 %, 14 in 4.0 %.
    assert binom.cdf(13, 40, 0.5) < 0.025 < binom.cdf(14, 40, 0.5)
    expected = np.median(ratios), ratios[13], ratios[26]
    assert figures.ratio("write", "apart") == pytest.approx(expected)
    assert figures.speed("write", "base") == pytest.approx(8 / np.median(seconds["base"]))
