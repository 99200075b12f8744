"""NF4: the published levels, which is nearest, bounds, sizes, and what is refused."""

import hypothesis
import pytest
import torch
from helpers import randn
from hypothesis import strategies as st

from lora_edu.quantize import NF4, nf4_levels

# Dettmers et al. 2023, appendix E; the same numbers stand in bitsandbytes.
PUBLISHED = torch.tensor([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
])  # fmt: skip
WIDEST = 0.5 * (1 - 0.6961928)  # half of the widest gap between two levels


def test_the_levels_are_the_published_ones():
    assert (nf4_levels() - PUBLISHED).abs().max() < 2e-7
    Q = torch.special.ndtri(torch.arange(1, 17) / 17)
    means = (Q[1:] + Q[:-1]) / 2  # the paper's own formula
    assert means[-2] / means[-1] > PUBLISHED[-2] + 0.04


def test_at_a_tie_the_lower_level_is_taken():
    middle = nf4_levels()[-2:].mean()
    assert NF4.quantize(torch.stack([middle / middle, middle]), 2).codes.tolist() == [0xFE]
    assert NF4.quantize(torch.stack([middle / middle, middle + 1e-7]), 2).codes.tolist() == [0xFF]


@pytest.mark.parametrize("double", [False, True])
def test_no_level_is_nearer(double):
    W = randn(32, 64)
    packed = NF4.quantize(W, double=double)
    exact = W.abs().amax(1)  # 64 columns: a row is a block
    nearest = ((W / exact[:, None]).flatten()[:, None] - nf4_levels()).abs().argmin(1)
    codes = torch.stack([packed.codes >> 4, packed.codes & 15], 1).flatten()
    assert torch.equal(codes.long(), nearest)
    step = packed.steps.max() if double else 0  # of 127 on each side
    assert (packed.absmax - exact).abs().max() <= 0.51 * step
    assert torch.equal(packed.absmax, exact) != double


@hypothesis.settings(max_examples=40)
@hypothesis.given(
    st.lists(st.integers(1, 9), max_size=3),
    st.sampled_from([2, 6, 64]),
    st.booleans(),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
)
def test_every_shape_comes_back_within_half_a_gap(shape, block_size, double, dtype):
    W = randn(*shape, dtype=dtype)
    back = NF4.quantize(W, block_size, double).dequantize()
    assert (back.shape, back.dtype) == (W.shape, dtype)
    slack = 1.02 if dtype is torch.bfloat16 else 1.0001
    bound = (WIDEST + (0.01 if double else 0)) * W.abs().max() * slack
    assert (back - W).abs().max() <= bound


@pytest.mark.parametrize("double", [False, True])
def test_what_is_on_a_level_comes_back_exactly(double):
    once = NF4.quantize(randn(64, 64)).dequantize()
    assert torch.equal(NF4.quantize(once).dequantize(), once)
    for value in (0.0, -3.0):
        W = torch.full((300, 65), value)
        assert torch.equal(NF4.quantize(W, double=double).dequantize(), W)


def test_bits_for_each_weight():
    # A number of 32 bits a block; or one of 8, one of 32 for 256 blocks, and a mean for all.
    for double, bits in [(False, 4 + 32 / 64), (True, 4 + 8 / 64 + 32 / (64 * 256) + 32 / 2**20)]:
        assert 8 * NF4.quantize(randn(1024, 1024), double=double).nbytes == bits * 2**20
