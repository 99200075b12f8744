"""What else can be trained in LoRA's place, each in the fewest honest lines.

Letters: d = out_features, k = in_features, r = rank or width, n = samples (all leading dimensions).
"""

from __future__ import annotations

from torch import Tensor, nn

from lora_edu.layers import is_linear

__all__ = ["BottleneckAdapter"]


class BottleneckAdapter(nn.Module):
    """A frozen linear layer, followed by a small trained network with a shortcut around it.

        h = x @ W0.T + bias,   y = h + up(gelu(down(h)))

    ``down`` is (r, d), ``up`` is (d, r), both with biases. ``up`` starts at zero, so that y = h at
    first (Houlsby et al. start near zero). Between the two stands a function that is not linear:
    no weight of one layer could do the same, so there is nothing to merge, ever. ``base`` is an
    nn.Linear or Conv1D (else a TypeError), and is frozen; r ≥ 1 (else a ValueError).
    Source: Houlsby et al. 2019 (arXiv:1902.00751), section 2.1, who put one behind the output
    projection of the attention and one behind that of the feed-forward block.
    """

    def __init__(self, base: nn.Module, r: int) -> None:
        super().__init__()
        if not is_linear(base):
            raise TypeError(f"base must be nn.Linear or Conv1D, got {type(base).__name__}")
        if r < 1:
            raise ValueError(f"r must be at least 1, got {r}")
        self.base = base.requires_grad_(False)
        d = base.weight.shape[0 if type(base) is nn.Linear else 1]  # Conv1D: weight of shape (k, d)
        like = {"device": base.weight.device, "dtype": base.weight.dtype}
        self.down, self.up = nn.Linear(d, r, **like), nn.Linear(r, d, **like)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return y, (..., d), for x, (..., k)."""
        h = self.base(x)  # (..., d)
        return h + self.up(nn.functional.gelu(self.down(h)))  # (..., d)
