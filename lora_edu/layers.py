"""``LoRALinear``: the mathematics of :mod:`lora_edu.reference` in PyTorch.

Letters: d = out_features, k = in_features, r = rank. :mod:`lora_edu._fused` makes it fast.
Source: Hu et al. 2021 (arXiv:2106.09685), section 4.1; the start follows loralib and PEFT.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from lora_edu import _fused
from lora_edu.files import uninterrupted

REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class LoRALinear(nn.Module):
    """A frozen linear layer with a trained update of low rank.

        y = x @ W0.T + bias + scaling · dropout(x) @ lora_A.T @ lora_B.T

    Two paths compute it, with results that are equal up to rounding. The plain path is the equation
    in ``forward``, differentiated by autograd. The fast path, :func:`lora_edu._fused.lora_linear`,
    needs less memory, and is used where all tensors have one dtype, as in float32 or under
    autocast. If dtypes are mixed, the sum is computed in the larger one and returned in that of
    ``base``.

    ``state_dict`` holds W0, merged or not, so that no copy of the layer counts ΔW twice.

    ``base``, an nn.Linear or transformers' Conv1D of real numbers of 16 bits or more (else a
    TypeError), is frozen. ``scaling`` is ``lora_alpha / r``, or ``lora_alpha / sqrt(r)`` with
    ``use_rslora`` (Kalajdzievski 2023, arXiv:2312.03732). ``lora_dropout`` is the probability with
    which, in training, an input of ``lora_A`` is zeroed. r ≥ 1, lora_alpha > 0 and finite, 0 ≤
    lora_dropout < 1 (else a ValueError).

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
        check_base(base)
        check_hyperparameters(r, lora_alpha, lora_dropout)
        self.base: Any = base
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
        base.requires_grad_(False)  # the last step, because none can fail after it

    def reset_lora_parameters(self) -> None:
        """Draw lora_A uniformly from ±1/√in_features, and set lora_B to zero, so that ΔW = 0."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B)

    def forward(self, x: Tensor) -> Tensor:
        """Return y, (..., out_features), for x, (..., in_features).

        A RuntimeError if the layer is merged and in training: what it learns would not be in y.
        """
        if self.merged:
            learns = self.lora_A.requires_grad or self.lora_B.requires_grad
            if self.training and torch.is_grad_enabled() and learns:
                raise RuntimeError("a merged LoRALinear cannot train: unmerge() first, or eval()")
            return self.base(x)
        operands = _fused.operands(self, x)  # None where the fast path does not serve
        if operands is not None:
            return _fused.lora_linear(*operands, self.scaling)
        y = self.base(x)  # (..., d)
        x = F.dropout(x.to(self.lora_A.dtype), self.lora_dropout, self.training)  # (..., k)
        h = F.linear(x, self.lora_A)  # (..., r)
        return (y + F.linear(h, self.lora_B) * self.scaling).to(y.dtype)  # (..., d)

    @property
    def merged(self) -> bool:
        """Whether ΔW is in ``base.weight`` now."""
        return self._merged is not None

    @property
    def weight(self) -> Tensor:
        """W0 + ΔW, (out_features, in_features), computed at each use.

        It is for code that does not call the layer: nn.TransformerEncoderLayer passes the weight to
        one kernel for the whole block, Mamba multiplies by that of dt_proj, and T5 asks for its
        dtype. (PEFT shows W0 there. So what it trains of a dt_proj stays zero, and what is trained
        here counts in PEFT only after its ``merge_and_unload``.)
        """
        weight = dense_weight(self.base)
        return weight if self.merged else (weight + self.delta_weight()).to(weight.dtype)

    @property
    def bias(self) -> Tensor | None:
        """The bias of ``base``, for the same code."""
        return self.base.bias

    def delta_weight(self) -> Tensor:
        """Return ΔW = scaling · lora_B @ lora_A, (out_features, in_features), in float32 or more.

        Of a merged layer, it is the ΔW in its weight, even if the factors have changed since.
        """
        A, B = self.factors()
        return (B @ A) * self.scaling  # (d, k)

    def factors(self) -> tuple[Tensor, Tensor]:
        """Return lora_A and lora_B, in float32 or more; of a merged layer, those in its weight."""
        dtype = torch.promote_types(self.lora_A.dtype, torch.float32)
        A, B = self._merged or (self.lora_A, self.lora_B)  # (r, k), (d, r)
        return A.to(self.lora_A.device, dtype), B.to(self.lora_A.device, dtype)

    def merge(self) -> None:
        """Add ΔW to ``base.weight`` in place: from now on the layer costs what the base costs.

        What shares this weight changes with it; :func:`lora_edu.adapt.merge` refuses that.

        A RuntimeError if it is merged already, or if no weight can hold ΔW: it is packed, made anew
        at each call (pruned, say), or of inference mode. A ValueError if W0 + ΔW is not finite.
        Then nothing has changed.
        """
        merge_layers([self])

    def unmerge(self) -> None:
        """Subtract from ``base.weight`` in place what :meth:`merge` added.

        W0 comes back up to two roundings, |error| ≤ u · (|W0 + ΔW| + |W0|) with the unit roundoff
        u = ``torch.finfo(dtype).eps / 2``: 6e-8 in float32, 4e-3 in bfloat16. For W0 to the last
        bit, keep a copy of it. A RuntimeError if the layer is not merged.
        """
        unmerge_layers([self])

    def unloaded(self) -> nn.Module:
        """Return the base layer, with what its weight holds now: W0, or, if merged, W0 + ΔW."""
        if self.init_lora_weights is not True and not self.merged:
            start = self.init_lora_weights
            raise ValueError(f"without its adapter, {start}'s base is only a part of W0: merge it")
        return self.base

    def adapter_tensors(self) -> dict[str, Tensor]:
        """Return what trains, under the names that it has in PEFT's files."""
        return {"lora_A.weight": self.lora_A.detach(), "lora_B.weight": self.lora_B.detach()}

    def peft_options(self) -> dict[str, object]:
        """Return the fields of PEFT's configuration that the layer itself determines."""
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
        """Return what ``print(layer)`` says in addition to the base layer."""
        names = "in_features out_features r lora_alpha scaling lora_dropout use_rslora merged"
        return ", ".join(f"{name}={getattr(self, name)}" for name in names.split())


@torch.no_grad()
def merge_layers(layers: Collection[LoRALinear]) -> None:
    """Merge all of these layers in place, or none; the errors are those of LoRALinear.merge."""
    for layer in layers:
        if layer.merged:
            raise RuntimeError("this LoRALinear is merged already")
        W0, (A, B) = dense_weight(layer.base), layer.factors()
        bound = W0.norm() + layer.scaling * A.norm() * B.norm()  # no entry of W0 + ΔW is larger
        if not (bound < torch.finfo(W0.dtype).max / 2 or torch.isfinite(layer.weight).all()):
            raise ValueError("W0 + delta_weight() must be finite, got NaN or infinity")
    _add(layers, 1)


@torch.no_grad()
def unmerge_layers(layers: Collection[LoRALinear]) -> None:
    """Unmerge all of these layers in place, or none: a RuntimeError if one is not merged."""
    if not all(layer.merged for layer in layers):
        raise RuntimeError("this LoRALinear is not merged")
    _add(layers, -1)


def _add(layers: Collection[LoRALinear], sign: int) -> None:
    """Add sign · ΔW to each weight in place. Whatever may fail comes before the first change."""
    factors = [[factor.clone() for factor in layer.factors()] for layer in layers]  # (r, k), (d, r)
    memory: dict[Any, Tensor] = {}  # for the largest ΔW on each device; the layers share it
    for layer, (A, _) in zip(layers, factors, strict=True):
        own = layer.base._parameters.get("weight")  # none of a pruned layer
        if own is None or own.is_inference() or 0 in own.stride():  # the last: expanded
            raise RuntimeError(f"{layer.base} has no weight of its own that could hold ΔW")
        kind = A.device, A.dtype
        if kind not in memory or len(memory[kind]) < own.numel():
            memory[kind] = A.new_empty(own.numel())
    with uninterrupted():
        for layer, (A, B) in zip(layers, factors, strict=True):
            weight = dense_weight(layer.base)  # (d, k)
            delta = memory[A.device, A.dtype][: weight.numel()].view(weight.shape)
            torch.mm(B, A, out=delta).mul_(layer.scaling)
            weight.add_(delta, alpha=sign)  # rounded once
            layer._merged = (A, B) if sign > 0 else None


def is_linear(module: nn.Module) -> bool:
    """Return whether LoRALinear can wrap ``module``: nn.Linear itself, or transformers' Conv1D."""
    # No subclass: it may compute something else. Conv1D by name: importing its home takes seconds.
    home = "transformers.pytorch_utils", "Conv1D"
    return type(module) is nn.Linear or (type(module).__module__, type(module).__name__) == home


def check_base(base: nn.Module, name: str = "base") -> None:
    """Raise a TypeError unless LoRALinear can wrap ``base``, which is called ``name``."""
    if not is_linear(base):
        raise TypeError(f"{name} must be nn.Linear or Conv1D, got {type(base).__name__}")
    if base.weight.dtype not in REAL:
        raise TypeError(f"{name} must have a weight of real numbers, got {base.weight.dtype}")


def dense_weight(linear: nn.Module) -> Tensor:
    """Return the weight of a linear layer as (out_features, in_features), a view of it.

    A RuntimeError if it is packed, as in NF4: then there is no dense weight to show or to change.
    """
    weight = linear.weight
    if not isinstance(weight, Tensor) or weight.dtype not in REAL:
        raise RuntimeError(f"{type(linear).__name__} has no dense weight")
    return weight.T if type(linear).__name__ == "Conv1D" else weight  # Conv1D's is (k, d)


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """Return the LoRA layers of ``model`` by name; a ValueError if there is none."""
    found = {n: m for n, m in model.named_modules() if isinstance(m, LoRALinear)}
    if not found:
        raise ValueError("model must have LoRA layers: call add_lora(model, config) first")
    return found


def check_untied(model: nn.Module, what: str) -> None:
    """Raise a ValueError if a LoRA layer shares its weight: ``what`` would change others too."""
    own = [p for m in model.modules() for p in m._parameters.values() if p is not None]
    held = Counter(p.data_ptr() or id(p) for p in own)  # tied by .data, too; 0: no memory
    for name, layer in lora_layers(model).items():
        if held[dense_weight(layer.base).data_ptr() or id(layer.base.weight)] > 1:
            raise ValueError(f"{name} shares its weight, so {what} changes others: clone it first")


@contextlib.contextmanager
def all_or_nothing(model: nn.Module) -> Iterator[None]:
    """Restore the model's modules, parameters and attributes if the block fails or is interrupted.

    Whatever the block replaces is restored, and ``requires_grad``; numbers that it changes in place
    are not.
    """
    own = [part for m in model.modules() for part in (vars(m), m._modules, m._parameters)]
    before: list[dict[str, Any]] = [part.copy() for part in own]
    trains = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    except BaseException:
        with uninterrupted():
            for part, was in zip(own, before, strict=True):
                part.clear()
                part.update(was)
            for parameter, requires_grad in trains:
                parameter.requires_grad_(requires_grad)
        raise


def check_hyperparameters(r: int, lora_alpha: float, lora_dropout: float) -> None:
    """Raise the TypeError or ValueError that says what is wrong with one of them."""
    if type(r) is not int:  # a whole number of another type could not be saved as JSON
        raise TypeError(f"r must be an integer, got {r!r}")
    if r < 1:
        raise ValueError(f"r must be at least 1, got {r}")
    for name, value in (("lora_alpha", lora_alpha), ("lora_dropout", lora_dropout)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0 < lora_alpha <= torch.finfo(torch.float32).max:  # a product is scaled in float32
        raise ValueError(f"lora_alpha must be greater than 0 and finite, got {lora_alpha}")
    if not 0 <= lora_dropout < 1:
        raise ValueError(f"lora_dropout must be at least 0 and below 1, got {lora_dropout}")
