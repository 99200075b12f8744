"""``LoRALinear``: the mathematics of :mod:`lora_edu.reference` in PyTorch.

Letters: d = out_features, k = in_features, r = rank. :mod:`lora_edu._fused` makes it fast.
Source: Hu et al. 2021 (arXiv:2106.09685), section 4.1; the start follows loralib and PEFT.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from lora_edu import _fused


class LoRALinear(nn.Module):
    """A frozen linear layer with a trained update of low rank.

        y = x @ W0.T + bias + scaling · dropout(x) @ lora_A.T @ lora_B.T

    Two paths compute it, equal but for rounding. The plain one, the equation left to autograd,
    stands in ``forward``. The fast one, :func:`lora_edu._fused.lora_linear`, needs less memory, and
    serves where all tensors have one dtype, as in float32 or under autocast. Of operands of mixed
    dtypes, the sum is made in the larger one, and returned in that of ``base``.

    ``state_dict`` holds W0, merged or not, so that no copy of the layer counts ΔW twice. The layer
    has no attribute ``weight`` on purpose: code that computes with it by itself, as
    nn.TransformerEncoderLayer does, would leave LoRA out without an error.

    ``base``, an nn.Linear or transformers' Conv1D (else a TypeError), is frozen. ``scaling`` is
    ``lora_alpha / r``, or ``lora_alpha / sqrt(r)`` with ``use_rslora`` (Kalajdzievski 2023,
    arXiv:2312.03732). ``lora_dropout`` is the probability with which, in training, an input of
    ``lora_A`` is zeroed. r ≥ 1, lora_alpha > 0, 0 ≤ lora_dropout < 1 (else a ValueError).

    ``lora_A`` (r, in_features) and ``lora_B`` (out_features, r) have the dtype of ``base``, but at
    least float32, as in PEFT: half precision would round the small steps of training away.
    """

    def __init__(
        self,
        base: nn.Module,
        r: int,
        lora_alpha: float,
        lora_dropout: float = 0.0,
        use_rslora: bool = False,
    ) -> None:
        super().__init__()
        if not is_linear(base):
            raise TypeError(f"base must be nn.Linear or Conv1D, got {type(base).__name__}")
        check_hyperparameters(r, lora_alpha, lora_dropout)
        self.base = base.requires_grad_(False)
        self.fan_in_fan_out = type(base) is not nn.Linear  # Conv1D: weight of shape (k, d)
        weight = dense_weight(base)
        self.out_features, self.in_features = weight.shape
        self.r, self.lora_alpha, self.lora_dropout = r, lora_alpha, lora_dropout
        self.use_rslora = use_rslora
        self.scaling = lora_alpha / (math.sqrt(r) if use_rslora else r)
        dtype = torch.promote_types(weight.dtype, torch.float32)
        self.lora_A = nn.Parameter(weight.new_empty(r, self.in_features, dtype=dtype))
        self.lora_B = nn.Parameter(weight.new_empty(self.out_features, r, dtype=dtype))
        self.init_lora_weights: bool | str = True  # PEFT's field: "pissa" has changed the base
        self._merged: tuple[Tensor, Tensor] | None = None  # copies of the factors that were merged
        self.reset_lora_parameters()

    def reset_lora_parameters(self) -> None:
        """Start anew: lora_A uniform in ±1/√in_features, lora_B zero, so that ΔW = 0."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B)

    def forward(self, x: Tensor) -> Tensor:
        """Return y, (..., out_features), for x, (..., in_features).

        A RuntimeError if the layer is merged and in training: what it learns would not be in y.
        """
        if self.merged:
            if self.training and torch.is_grad_enabled() and self._learns():
                raise RuntimeError(
                    "a merged LoRALinear cannot train: call unmerge() first, or eval()"
                )
            return self.base(x)
        operands = _fused.operands(self, x)  # None where the fast path does not serve
        if operands is not None:
            return _fused.lora_linear(*operands, self.scaling)
        y = self.base(x)  # (..., d)
        x = F.dropout(x.to(self.lora_A.dtype), self.lora_dropout, self.training)  # (..., k)
        h = F.linear(x, self.lora_A)  # (..., r)
        return (y + F.linear(h, self.lora_B) * self.scaling).to(y.dtype)  # (..., d)

    def _learns(self) -> bool:
        return self.lora_A.requires_grad or self.lora_B.requires_grad

    @property
    def merged(self) -> bool:
        """Whether ΔW is in ``base.weight`` now."""
        return self._merged is not None

    def delta_weight(self) -> Tensor:
        """Return ΔW = scaling · lora_B @ lora_A, (out_features, in_features), in float32 or more.

        Of a merged layer, it is the ΔW in its weight, even if the factors have changed since.
        """
        dtype = torch.promote_types(self.lora_A.dtype, torch.float32)
        A, B = self._merged or (self.lora_A, self.lora_B)  # (r, k), (d, r)
        A, B = A.to(self.lora_A.device, dtype), B.to(self.lora_A.device, dtype)
        return (B @ A) * self.scaling  # (d, k)

    @torch.no_grad()
    def merge(self) -> None:
        """Add ΔW to ``base.weight`` in place: from now on the layer costs what the base costs.

        A RuntimeError if it is merged already; a ValueError, and no change, if ΔW is not finite.
        """
        if self.merged:
            raise RuntimeError("this LoRALinear is merged already")
        weight = dense_weight(self.base)  # (d, k)
        total = weight + self.delta_weight()  # to be rounded once
        if not torch.isfinite(total.to(weight.dtype)).all():
            raise ValueError("W0 + delta_weight() must be finite, got NaN or infinity")
        weight.copy_(total)
        self._merged = self.lora_A.detach().clone(), self.lora_B.detach().clone()

    @torch.no_grad()
    def unmerge(self) -> None:
        """Subtract from ``base.weight`` in place what :meth:`merge` added.

        W0 comes back up to two roundings, |error| ≤ u · (|W0 + ΔW| + |W0|) with the unit roundoff
        u = ``torch.finfo(dtype).eps / 2``: 6e-8 in float32, 4e-3 in bfloat16. For W0 to the last
        bit, keep a copy of it. A RuntimeError if the layer is not merged.
        """
        if not self.merged:
            raise RuntimeError("this LoRALinear is not merged")
        weight = dense_weight(self.base)  # (d, k)
        weight.copy_(weight - self.delta_weight())
        self._merged = None

    def adapter_tensors(self) -> dict[str, Tensor]:
        """Return what trains, under the names that it has in PEFT's files."""
        return {"lora_A.weight": self.lora_A.detach(), "lora_B.weight": self.lora_B.detach()}

    def peft_options(self) -> dict[str, object]:
        """Return what PEFT's configuration says of such a layer, beside LoraConfig's fields."""
        return {"init_lora_weights": self.init_lora_weights}

    def state_dict(self, *args: object, prefix: str = "", **kwargs: object) -> dict[str, Tensor]:
        """Return the state of the layer with W0 for its weight, merged or not."""
        state = super().state_dict(*args, prefix=prefix, **kwargs)
        if self.merged:
            weight = dense_weight(self.base)
            W0 = (weight - self.delta_weight()).detach().to(weight.dtype)  # (d, k)
            state[prefix + "base.weight"] = W0.T if self.fan_in_fan_out else W0
        return state

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        if self.merged:
            raise RuntimeError(f"{prefix[:-1] or 'this layer'} is merged: unmerge() before loading")
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Return what ``print(layer)`` says beside the base layer."""
        names = ["in_features", "out_features", "r", "lora_alpha", "scaling"]
        names += ["lora_dropout", "use_rslora", "merged"]
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


def is_linear(module: nn.Module) -> bool:
    """Return whether LoRALinear can wrap ``module``: nn.Linear itself, or transformers' Conv1D."""
    # No subclass: it may compute something else. Conv1D by name: importing its home takes seconds.
    return type(module) is nn.Linear or type(module).__name__ == "Conv1D"


def dense_weight(linear: nn.Module) -> Tensor:
    """Return the weight of a linear layer as (out_features, in_features), a view of it.

    A RuntimeError if it is packed, as in NF4: then there is no dense weight to show or to change.
    """
    weight = linear.weight
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        raise RuntimeError(f"{type(linear).__name__} has no dense weight")
    return weight.T if type(linear).__name__ == "Conv1D" else weight  # Conv1D's is (k, d)


def check_hyperparameters(r: int, lora_alpha: float, lora_dropout: float) -> None:
    """Raise the TypeError or ValueError that says what is wrong with one of them."""
    if type(r) is not int:  # a whole number of another type could not be saved as JSON
        raise TypeError(f"r must be an integer, got {r!r}")
    if r < 1:
        raise ValueError(f"r must be at least 1, got {r}")
    for name, value in (("lora_alpha", lora_alpha), ("lora_dropout", lora_dropout)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0 < lora_alpha < math.inf:
        raise ValueError(f"lora_alpha must be greater than 0 and finite, got {lora_alpha}")
    if not 0 <= lora_dropout < 1:
        raise ValueError(f"lora_dropout must be at least 0 and below 1, got {lora_dropout}")
