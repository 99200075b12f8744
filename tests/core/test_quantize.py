"""NF4: the published levels, the packing by hand, bounds, sizes, and what is refused."""

import math
import statistics

import hypothesis
import pytest
import torch
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


def gaussian(*shape, seed=0, **kind):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(**kind)


def test_the_levels_are_the_published_ones():
    assert (nf4_levels() - PUBLISHED).abs().max() < 2e-7
    assert (nf4_levels(0.9677083) - PUBLISHED).abs().max() < 2e-7  # rounded, as in bitsandbytes
    assert (nf4_levels(0.968) - PUBLISHED).abs().max() > 1e-4
    Q, step = statistics.NormalDist().inv_cdf, (1 - (1 / 32 + 1 / 30) / 2 - 0.5) / 8
    by_hand = [Q(0.5 + i * step) / Q(0.5 + 8 * step) for i in range(1, 9)]
    assert nf4_levels()[8:].tolist() == pytest.approx(by_hand, abs=1e-7)


def test_the_formula_of_the_paper_gives_other_levels():
    # q_i = (Q(i / (2^k + 1)) + Q((i + 1) / (2^k + 1))) / 2; Q(0) is infinite, so i from 1
    Q = statistics.NormalDist().inv_cdf
    whole = torch.tensor([(Q(i / 17) + Q((i + 1) / 17)) / 2 for i in range(1, 16)])
    assert len(whole) == 15
    assert (whole / whole.max() - PUBLISHED[1:]).abs().max() > 0.1
    # "2^(k-1) for the negative part and 2^(k-1) + 1 for the positive", each by the same formula
    positive = torch.tensor([(Q(i / 18) + Q((i + 1) / 18)) / 2 for i in range(9, 17)])
    assert (positive / positive.max() - PUBLISHED[8:]).abs().max() > 0.05


def test_the_packing_by_hand():
    # absmax 2: the shares are -1, 1, 0, 0.5. Levels 0, 15, 7, and 12 (0.44) before 13 (0.56)
    packed = NF4.quantize(torch.tensor([-2.0, 2.0, 0.0, 1.0]), block_size=4)
    assert packed.codes.tolist() == [0x0F, 0x7C]
    assert packed.absmax.tolist() == [2.0]
    torch.testing.assert_close(
        packed.dequantize(), 2 * PUBLISHED[[0, 15, 7, 12]], rtol=0, atol=2e-7
    )


def test_at_a_tie_the_lower_level_is_taken():
    middle = float((nf4_levels()[14] + nf4_levels()[15]) / 2)
    for share, code in [(middle, 14), (math.nextafter(middle, 2) + 1e-7, 15)]:
        packed = NF4.quantize(torch.tensor([1.0, share]), block_size=2)
        assert packed.codes.tolist() == [0xF0 | code]


@pytest.mark.parametrize("double", [False, True])
def test_no_level_is_nearer(double):
    W = gaussian(32, 64)
    packed = NF4.quantize(W, double=double)
    shares = (W / W.abs().amax(1, keepdim=True)).flatten()  # 64 columns: a row is a block
    nearest = (shares[:, None] - nf4_levels()).abs().argmin(1)
    codes = torch.stack([packed.codes >> 4, packed.codes & 15], 1).flatten()
    assert torch.equal(codes.long(), nearest)
    exact = W.abs().amax(1)
    if double:  # half a step of one in 254
        assert (packed.absmax - exact).abs().max() <= 0.51 * packed.steps.max()
        assert not torch.equal(packed.absmax, exact)
    else:
        assert torch.equal(packed.absmax, exact)


@hypothesis.settings(deadline=None, max_examples=40)
@hypothesis.given(
    st.lists(st.integers(1, 9), min_size=0, max_size=3),
    st.sampled_from([2, 6, 64]),
    st.booleans(),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
)
def test_every_shape_comes_back_within_half_a_gap(shape, block_size, double, dtype):
    W = gaussian(*shape, dtype=dtype)
    back = NF4.quantize(W, block_size, double).dequantize()
    assert (back.shape, back.dtype) == (W.shape, dtype)
    slack = 1.02 if dtype is torch.bfloat16 else 1.0001
    bound = (WIDEST + (0.01 if double else 0)) * W.abs().max() * slack
    assert (back - W).abs().max() <= bound


def test_what_is_on_a_level_comes_back_exactly_and_a_second_time_changes_nothing():
    W = gaussian(64, 64)
    once = NF4.quantize(W).dequantize()
    assert torch.equal(NF4.quantize(once).dequantize(), once)
    assert not torch.equal(once, W)
    assert torch.equal(NF4.quantize(torch.zeros(3, 5)).dequantize(), torch.zeros(3, 5))
    assert torch.equal(NF4.quantize(torch.zeros(3, 5), double=True).dequantize(), torch.zeros(3, 5))
    assert torch.equal(NF4.quantize(torch.full((300, 64), -3.0), double=True).dequantize(),
                       torch.full((300, 64), -3.0))  # fmt: skip


def test_bits_for_each_weight():
    W = gaussian(1024, 1024)
    for double, bits in [(False, 4 + 32 / 64), (True, 4 + 8 / 64 + 32 / (64 * 256))]:
        packed = NF4.quantize(W, double=double)
        mean = 32 / W.numel() if double else 0
        assert 8 * packed.nbytes / W.numel() == pytest.approx(bits + mean, abs=1e-12)
    assert round(bits, 3) == 4.127


def test_the_error_of_gaussian_weights_and_that_of_even_levels(monkeypatch):
    from lora_edu import quantize

    W = gaussian(512, 512)
    error = (NF4.quantize(W).dequantize() - W).norm() / W.norm()
    assert 0.08 < error < 0.1
    even = torch.linspace(-1, 1, 16)
    monkeypatch.setattr(quantize, "LEVELS", even)
    monkeypatch.setattr(quantize, "BETWEEN", (even[1:] + even[:-1]) / 2)
    assert (NF4.quantize(W).dequantize() - W).norm() / W.norm() > error + 0.005


def test_the_original_is_left_alone_and_may_need_a_gradient():
    W = torch.nn.Parameter(gaussian(4, 64))
    before = W.detach().clone()
    assert not NF4.quantize(W).dequantize().requires_grad
    assert torch.equal(W, before)


@pytest.mark.parametrize("block_size", [0, -2, 3, 1])
def test_a_bad_block_size_is_named(block_size):
    with pytest.raises(ValueError, match=f"even and at least 2, got {block_size}"):
        NF4.quantize(torch.ones(4), block_size)


def test_bad_numbers_are_named():
    huge = torch.tensor([1e300], dtype=torch.float64)
    for bad in (torch.tensor([1.0, math.nan]), torch.tensor([math.inf]), torch.empty(0), huge):
        with pytest.raises(ValueError, match="W must be finite in float32"):
            NF4.quantize(bad)
    with pytest.raises(TypeError, match=r"floating-point numbers, got torch\.int64"):
        NF4.quantize(torch.arange(4))
    for offset in (0.5, 1.0):
        with pytest.raises(ValueError, match=f"offset must be above 0.5 and below 1, got {offset}"):
            nf4_levels(offset)
