"""How near two results are to each other."""

import torch


def relative(ours, theirs):
    """Return the largest difference between two tensors, relative to the largest entry."""
    assert ours.shape == theirs.shape
    if not ours.numel():
        return 0.0
    ours, theirs = ours.detach().double(), theirs.detach().double()
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-300)).item()


def assert_near(ours, theirs, tolerance):
    """Fail unless two lists of tensors agree in dtype, in shape, and up to the tolerance."""
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        assert relative(one, other) <= tolerance


def randn(*shape, seed=0, dtype=torch.float32):
    """Return the same random tensor each time, whatever else draws."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
