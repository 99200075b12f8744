"""Variants of LoRA, and one rival, each in a few lines.

rsLoRA is a flag of the layer, ``use_rslora``. The others are applied to a model after ``add_lora``,
and change one thing each: LoRA+ the optimizer's groups, PiSSA the start, DoRA the layers. The tests
compare them with PEFT's. The rival is the bottleneck adapter, which cannot be merged.
Letters: d = out_features, k = in_features, r = rank or width, n = samples (all leading
dimensions), s = scaling.
"""

from operator import index
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from lora_edu import layers
from lora_edu.files import uninterrupted
from lora_edu.layers import LoRALinear, all_or_nothing, check_base, dense_weight, lora_layers


def loraplus_groups(model: nn.Module, lr: float, ratio: float = 16.0) -> list[dict[str, Any]]:
    """Return LoRA+'s two groups for an optimizer: lr for lora_A, ratio · lr for lora_B.

    As in PEFT, trained vectors (biases, DoRA's magnitudes) go with lora_B, other trained matrices
    (a head) with lora_A. A ValueError unless lr and ratio are greater than 0.
    Source: Hayou et al. 2024 (arXiv:2402.12354), section 4.
    """
    for name, value in (("lr", lr), ("ratio", ratio)):
        if not value > 0:
            raise ValueError(f"{name} must be greater than 0, got {value}")
    slow, fast = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            group = fast if name.endswith("lora_B") or parameter.ndim == 1 else slow
            group.append(parameter)
    return [{"params": slow, "lr": lr}, {"params": fast, "lr": ratio * lr}]


@torch.no_grad()
def init_pissa(model: nn.Module) -> None:
    """Let each LoRA layer start at the principal directions of its W0 = U Σ Vᵀ, in place.

        lora_A = √(Σ_r / s) V_rᵀ,   lora_B = U_r √(Σ_r / s),   base = W0 - s · lora_B @ lora_A

    The outputs stay; what trains is W0's strongest part, and what is frozen is the rest of it. So
    the base weight is not W0 any more: who loads such an adapter (PEFT does) has to split W0 again.
    A ValueError, and no change, if r > min(d, k), if a weight is made anew (pruned, say), or if it
    is tied to another place. (There PEFT splits the weight of both: outputs change at the start.)
    Source: Meng et al. 2024 (arXiv:2404.02948), section 3; PEFT's ``init_lora_weights="pissa"``.
    """
    starts = []
    layers.check_untied(model, "PiSSA")
    for name, layer in lora_layers(model).items():
        if layer.r > (least := min(layer.out_features, layer.in_features)):
            raise ValueError(f"r must be at most {least} for PiSSA of {name}, got {layer.r}")
        if "weight" not in layer.base._parameters:
            raise ValueError(f"{name} makes its weight anew at each call: PiSSA cannot split it")
        W0 = dense_weight(layer.base)  # (d, k)
        U, sigma, Vt = torch.linalg.svd(W0.to(layer.lora_A.dtype), full_matrices=False)
        root = (sigma[: layer.r] / layer.scaling).sqrt()  # (r,)
        A, B = root[:, None] * Vt[: layer.r], U[:, : layer.r] * root  # (r, k), (d, r)
        starts.append((layer, A, B, _frozen(layer, W0 - layer.scaling * (B @ A))))
    with uninterrupted():
        for layer, A, B, rest in starts:
            layer.lora_A.copy_(A)
            layer.lora_B.copy_(B)
            layer.base.weight = rest
            layer.init_lora_weights = "pissa"


def _frozen(layer: LoRALinear, W: Tensor) -> nn.Parameter:
    """Return another weight for the base of a layer, from W, (d, k)."""
    W = (W.T if layer.fan_in_fan_out else W).to(layer.base.weight.dtype)
    return nn.Parameter(W.contiguous(), requires_grad=False)


class DoRALinear(nn.Module):
    """A LoRA layer whose rows have a trained length: weight-decomposed LoRA.

        y = x @ W.T + bias,   W = magnitude / ‖V‖ · V,   V = W0 + ΔW

    ‖V‖ is the norm of each *row* of V: (d,), one for each output, as ``magnitude`` is. (The paper
    says "column"; its own code and PEFT take rows of a weight (d, k).) ``magnitude`` starts at
    ‖W0‖, so that W = W0. ‖V‖ passes no gradient, section 4.3. Inside, ``lora`` is the LoRALinear
    (else a TypeError); without dropout this is PEFT's ``use_dora=True``.
    Source: Liu et al. 2024 (arXiv:2402.09353).
    """

    def __init__(self, lora: LoRALinear) -> None:
        super().__init__()
        if not isinstance(lora, LoRALinear):
            raise TypeError(f"lora must be a LoRALinear, got {type(lora).__name__}")
        self.lora = lora
        self.magnitude = nn.Parameter(self.direction().detach().norm(dim=1))  # (d,)

    def direction(self) -> Tensor:
        """Return V = W0 + ΔW, (d, k)."""
        W0 = dense_weight(self.lora.base)
        return W0 if self.lora.merged else W0 + self.lora.delta_weight()

    @property
    def weight(self) -> Tensor:
        """W, (d, k): what a plain layer would hold after merging."""
        return (self.scale()[:, None] * self.direction()).to(self.lora.base.weight.dtype)

    def scale(self) -> Tensor:
        """Return magnitude / ‖V‖, (d,); a row of zeros has no direction, and stays zero."""
        with torch.no_grad():
            norm = self.direction().norm(dim=1)  # (d,)
        return self.magnitude / norm.where(norm > 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return y, (..., d), for x, (..., k)."""
        scale = self.scale()  # (d,)
        y, bias = self.lora(x), 0 if self.lora.bias is None else self.lora.bias  # (..., d)
        return (y * scale + (1 - scale) * bias).to(y.dtype)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        if self.lora.merged:  # said before ``magnitude`` is loaded, which comes before ``lora``
            raise RuntimeError(f"{prefix[:-1] or 'this layer'} is merged: unmerge() before loading")
        super()._load_from_state_dict(state_dict, prefix, *args)

    @torch.no_grad()
    def unloaded(self) -> nn.Module:
        """Return the base layer: with W0, or, merged, with W, which takes the place of W0 + ΔW."""
        base = self.lora.unloaded()
        if self.lora.merged:
            base.weight = _frozen(self.lora, self.weight)
        return base

    def adapter_tensors(self) -> dict[str, Tensor]:
        """Return what trains, under the names that it has in PEFT's files."""
        return self.lora.adapter_tensors() | {"lora_magnitude_vector": self.magnitude.detach()}

    def peft_options(self) -> dict[str, object]:
        """Return the fields of PEFT's configuration that the layer itself determines."""
        return self.lora.peft_options() | {"use_dora": True}


def to_dora(model: nn.Module) -> nn.Module:
    """Make each LoRA layer of ``model`` a DoRALinear, in place; return the model.

    A ValueError if one is a DoRALinear already.
    """
    if any(isinstance(module, DoRALinear) for module in model.modules()):
        raise ValueError("model has DoRA layers already")
    with all_or_nothing(model):
        for name, layer in lora_layers(model).items():
            model.set_submodule(name, DoRALinear(layer))
    return model


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
        check_base(base)
        if index(r) < 1:
            raise ValueError(f"r must be at least 1, got {r}")
        self.base = base
        weight = dense_weight(base)  # (d, k)
        d = len(weight)
        self.down = nn.Linear(d, r, device=weight.device, dtype=weight.dtype)
        self.up = nn.Linear(r, d, device=weight.device, dtype=weight.dtype)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        base.requires_grad_(False)  # the last step, because none can fail after it

    def forward(self, x: Tensor) -> Tensor:
        """Return y, (..., d), for x, (..., k)."""
        h = self.base(x)  # (..., d)
        return h + self.up(F.gelu(self.down(h)))  # (..., d)
