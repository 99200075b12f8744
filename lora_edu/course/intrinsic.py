"""How few directions: of a matrix that hold its energy, and of all parameters that solve a task."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lora_edu import lowrank


def r90(matrix: Tensor) -> int:
    """Return how many directions of a matrix, (d, k), hold 90 % of its energy, in float64."""
    return lowrank.energy_rank(torch.linalg.svdvals(matrix.detach().double()).numpy())


class Subspace(nn.Module):
    """A model that moves in d random directions only: it trains z, and nothing else.

        θ = θ₀ + P z,   θ₀ (D,) the trainable parameters as they are now, P (D, d), z (d,), z₀ = 0

    Each entry of P is ±1 with probability 1/√D, else 0, drawn from ``seed``; then its columns are
    scaled to length 1. ``model`` is frozen. A ValueError if d < 1 or nothing in it trains.
    Source: Li et al. 2018, Measuring the Intrinsic Dimension (arXiv:1804.08838), section 2, S7.
    """

    def __init__(self, model: nn.Module, d: int, *, seed: int) -> None:
        super().__init__()
        start = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        if d < 1 or not start:
            raise ValueError(f"d, and what trains, must be at least 1, got {d} and {len(start)}")
        self.model, self.start = model.requires_grad_(False), start
        self.D, self.d = sum(p.numel() for p in start.values()), d
        u = torch.rand(d, self.D, generator=torch.Generator().manual_seed(seed)).T  # (D, d)
        half = 0.5 / math.sqrt(self.D)  # the probability of +1, and of -1
        dtype = next(iter(start.values())).dtype
        self.z = nn.Parameter(torch.zeros(d, dtype=dtype))
        signs = (u < half).to(dtype) - (u >= 1 - half).to(dtype)
        self.P = signs / signs.norm(dim=0).clamp(min=1)

    def parameters_now(self) -> dict[str, Tensor]:
        """Return θ₀ + P z by name, each in the shape of its parameter."""
        parts = (self.P @ self.z).split([p.numel() for p in self.start.values()])
        return {n: p + o.view_as(p) for (n, p), o in zip(self.start.items(), parts, strict=True)}

    def forward(self, *inputs: Any) -> Any:
        """Return what ``model`` gives with the parameters θ₀ + P z."""
        return torch.func.functional_call(self.model, self.parameters_now(), inputs)
