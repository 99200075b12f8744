"""NF4, the 4-bit type of QLoRA, packed: two weights in a byte.

A block of weights shares one number, its largest absolute value, and each weight keeps the index
of the nearest of 16 levels. Source: Dettmers et al. 2023 (arXiv:2305.14314), section 3; the levels
and the order in a byte follow bitsandbytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

OFFSET = 1 - (1 / 32 + 1 / 30) / 2  # of bitsandbytes: the largest level is this quantile of N(0, 1)
GROUP = 256  # how many block maxima share a step, when they are quantised as well


def nf4_levels() -> Tensor:
    """Return the 16 levels, float32, ascending from -1 to 1, zero among them.

    Quantiles Q of the standard normal distribution at evenly spaced probabilities, 8 between 0.5
    and p = ``OFFSET`` and 7 between 1 - p and 0.5, divided by the largest:

        Q(0.5 + i (p - 0.5) / 8), i = 1..8,   -Q(0.5 + i (p - 0.5) / 7), i = 1..7,   0

    These are the published levels to 2e-7. The paper's own formula, the means of neighbouring
    quantiles, gives others (``tests/core/test_quantize.py`` tries it).
    """
    below = torch.special.ndtri(torch.linspace(0.5, OFFSET, 8, dtype=torch.float64))  # that is Q
    above = torch.special.ndtri(torch.linspace(0.5, OFFSET, 9, dtype=torch.float64))
    return (torch.cat([-below[1:].flip(0), above]) / above[-1]).float()  # above[0] is 0


LEVELS = nf4_levels()
BETWEEN = (LEVELS[1:] + LEVELS[:-1]) / 2  # where the nearest level changes


@dataclass(frozen=True)
class NF4:
    """A tensor in NF4: what ``quantize`` makes, and ``dequantize`` reads.

        W ≈ absmax[block] · LEVELS[code]

    ``codes`` is uint8, (⌈numel / block_size⌉ · block_size / 2,): the first of two weights is in the
    upper half of a byte. ``maxima`` holds ``absmax``, one number a block: float32, or int8 when it
    is quantised itself (``double``); then ``steps``, float32, has one number for each group of 256
    and ``mean`` one for all, else both are empty. ``shape`` and ``dtype`` are those of W.
    """

    codes: Tensor
    maxima: Tensor
    steps: Tensor
    mean: Tensor
    shape: torch.Size
    dtype: torch.dtype
    block_size: int

    @classmethod
    def quantize(cls, W: Tensor, block_size: int = 64, double: bool = False) -> NF4:
        """Return W, a floating-point tensor of any shape, in NF4.

        Blocks are taken along the rows; the last one is filled up with zeros. Between two levels
        the nearer one is taken, at a tie the lower. ``double`` quantises the block maxima too:
        their distance from the mean, in 255 even steps for each 256 blocks (bitsandbytes spaces
        its 256 steps unevenly; the bytes are the same).

        Raises
        ------
        ValueError
            ``block_size`` is odd or below 2; W is empty, or holds NaN or infinity.
        TypeError
            W does not hold floating-point numbers.
        """
        if block_size < 2 or block_size % 2:
            raise ValueError(f"block_size must be even and at least 2, got {block_size}")
        if not W.is_floating_point():
            raise TypeError(f"W must hold floating-point numbers, got {W.dtype}")
        if not W.numel() or not torch.isfinite(W.detach().float()).all():
            raise ValueError("W must be finite in float32, got NaN, infinity or nothing at all")
        blocks = _rows(W.detach().float(), block_size)  # (blocks, block_size)
        absmax = blocks.abs().amax(1)  # (blocks,)
        share = blocks / absmax.where(absmax > 0, 1)[:, None]  # in [-1, 1]; a block of zeros is 0
        codes = torch.bucketize(share, BETWEEN.to(W.device)).to(torch.uint8).flatten()
        codes = codes[::2] << 4 | codes[1::2]
        steps = mean = absmax.new_empty(0)
        if double:
            mean = absmax.mean()
            groups = _rows(absmax - mean, GROUP)  # (groups, 256)
            steps = groups.abs().amax(1) / 127
            even = torch.round(groups / steps.where(steps > 0, 1)[:, None])
            absmax = even.to(torch.int8).flatten()[: len(absmax)]
        return cls(codes, absmax, steps, mean, W.shape, W.dtype, block_size)

    @property
    def absmax(self) -> Tensor:
        """The largest absolute value of each block, (blocks,), float32, as it is known."""
        if not len(self.steps):
            return self.maxima
        steps = self.steps.repeat_interleave(GROUP)[: len(self.maxima)]
        return (self.maxima * steps + self.mean).clamp(min=0)  # rounded, it may fall below zero

    def dequantize(self) -> Tensor:
        """Return the tensor that the codes stand for, in the shape and dtype of the original."""
        codes = torch.stack([self.codes >> 4, self.codes & 15], 1).long()  # (bytes, 2)
        blocks = LEVELS.to(codes.device)[codes].view(-1, self.block_size) * self.absmax[:, None]
        return blocks.flatten()[: math.prod(self.shape)].view(self.shape).to(self.dtype)

    @property
    def nbytes(self) -> int:
        """The bytes of all that is stored."""
        return sum(t.nbytes for t in (self.codes, self.maxima, self.steps, self.mean))


def _rows(t: Tensor, width: int) -> Tensor:
    """Return the numbers of ``t`` in rows of ``width``, the last one filled up with zeros."""
    return F.pad(t.flatten(), (0, -t.numel() % width)).view(-1, width)
