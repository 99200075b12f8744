"""What the lesson measures: a merge and its rounding, against other code."""

import numpy as np
import pytest
import torch

from lora_edu.course.experiments import read
from lora_edu.course.merging import experiments
from lora_edu.course.merging.experiments import in_4_bits, outcome


@pytest.mark.parametrize("size", [0.1, 0.003, 0.0003])
def test_the_outcome_of_a_merge_is_that_of_numpys_float16(size):
    rng = np.random.default_rng(5)
    W0 = rng.standard_normal((40, 30)).astype(np.float16).astype(float)
    delta = size * rng.standard_normal((40, 30))
    W = (W0 + delta).astype(np.float16).astype(float)
    arrived, error, still = outcome(*map(torch.from_numpy, (W0, delta, W)))
    norm = np.linalg.norm(delta)
    assert arrived == pytest.approx(np.vdot(W - W0, delta) / norm**2)
    assert error == pytest.approx(np.linalg.norm(W - W0 - delta) / norm)
    assert still == np.mean(W == W0)


def test_in_4_bits_is_the_format_of_the_models_file():
    gguf = pytest.importorskip("gguf")
    W = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    kind = gguf.GGMLQuantizationType.Q4_1
    there = gguf.quants.dequantize(gguf.quants.quantize(W.numpy(), kind), kind)
    # The file holds a block's least weight and its step in 16 bits: there is no other difference.
    off = np.abs(in_4_bits(W).numpy() - there)
    assert np.mean(off < 0.003) > 0.98
    torch.testing.assert_close(in_4_bits(torch.from_numpy(there)), torch.from_numpy(there))


def test_stochastic_rounding_keeps_levels_and_is_right_on_average():
    draw = torch.Generator().manual_seed(0)
    W = torch.linspace(-1, 2, 32)  # a step of 0.2
    torch.testing.assert_close(in_4_bits(in_4_bits(W), draw), in_4_bits(W))
    mean = torch.stack([in_4_bits(W, draw) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, W, atol=0.01, rtol=0)
    assert (in_4_bits(torch.zeros(32)) == 0).all()


@pytest.mark.slow
@pytest.mark.assets
def test_merged_a_voice_has_no_more_numbers_and_its_rival_as_many_as_apart():
    row = experiments.served(prompt=3, tokens=2, long=6, customers=2, rounds=2, turns=2)
    added = row["added"]
    assert added["copy"] == added["merged"] == 0
    assert added["bottleneck"] == pytest.approx(added["apart"], rel=0.01)
    for case, recorded in read("served")["rows"][0]["cases"].items():
        assert row["cases"][case]["ratio"].keys() == recorded["ratio"].keys()
