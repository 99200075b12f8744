"""``LoRALinear``: the mathematics of :mod:`lora_edu.reference` in PyTorch, made fast.

Letters: d = out_features, k = in_features, r = rank, n = samples (all leading dimensions of ``x``).
Source: Hu et al. 2021 (arXiv:2106.09685), section 4.1; the start follows loralib and PEFT.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class LoRALinear(nn.Module):
    """A frozen linear layer with a trained update of low rank.

        y = x @ W0.T + bias + scaling · dropout(x) @ lora_A.T @ lora_B.T

    Two paths compute it, equal but for rounding. The *fused* one, with the gradients by hand, keeps
    only x and x @ lora_A.T for the backward pass. The *plain* one, the equation left to autograd,
    serves dropout, ``torch.compile`` and export, operands of mixed dtypes (the sum is made in the
    larger one, and returned in that of ``base``), and a base that was unfrozen or has hooks.

    ``state_dict`` holds W0, merged or not, so that no copy of the layer counts ΔW twice. There is
    no ``weight``: who computes with it (nn.TransformerEncoderLayer) would skip LoRA in silence.

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
        self.out_features, self.in_features = self._weight().shape
        self.r, self.lora_alpha, self.lora_dropout = r, lora_alpha, lora_dropout
        self.use_rslora = use_rslora
        self.scaling = lora_alpha / (math.sqrt(r) if use_rslora else r)
        dtype = torch.promote_types(base.weight.dtype, torch.float32)
        self.lora_A = nn.Parameter(base.weight.new_empty(r, self.in_features, dtype=dtype))
        self.lora_B = nn.Parameter(base.weight.new_empty(self.out_features, r, dtype=dtype))
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
        base = self._modules["base"]
        try:  # an attribute of an nn.Module takes as long as a product with one sample
            lora_A, lora_B = self._parameters["lora_A"], self._parameters["lora_B"]
            weight, bias = base._parameters["weight"], base._parameters["bias"]
        except KeyError:  # pruned, or a replica of nn.DataParallel: no parameters, but attributes
            lora_A, lora_B, weight, bias = self.lora_A, self.lora_B, base.weight, base.bias
        weight = weight.T if self.fan_in_fan_out else weight  # (d, k)
        learns = torch.is_grad_enabled() and (lora_A.requires_grad or lora_B.requires_grad)
        if self._merged is not None:
            if learns and self.training:
                raise RuntimeError(
                    "a merged LoRALinear cannot train: call unmerge() first, or eval()"
                )
            return base(x)
        if (
            torch.compiler.is_compiling()  # also true under export
            or (self.training and self.lora_dropout > 0)
            or (weight.requires_grad or (bias is not None and bias.requires_grad))
            or (base._forward_hooks or base._forward_pre_hooks)
            or "forward" in base.__dict__  # replaced on the instance, as accelerate does
        ):
            return self._plain(x)
        if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
            dtype = torch.get_autocast_dtype(x.device.type)
            tensors = (x, weight, bias, lora_A, lora_B)
            x, weight, bias, lora_A, lora_B = (t if t is None else t.to(dtype) for t in tensors)
        if not x.dtype == weight.dtype == lora_A.dtype == lora_B.dtype:
            return self._plain(x)
        if learns or (torch.is_grad_enabled() and x.requires_grad):
            return _Fused.apply(x, weight, bias, lora_A, lora_B, self.scaling)
        return _fused(x, weight, bias, lora_A, lora_B, self.scaling)[0]

    def _plain(self, x: Tensor) -> Tensor:
        y = self.base(x)  # (..., d)
        x = F.dropout(x.to(self.lora_A.dtype), self.lora_dropout, self.training)  # (..., k)
        h = F.linear(x, self.lora_A)  # (..., r)
        return (y + F.linear(h, self.lora_B) * self.scaling).to(y.dtype)  # (..., d)

    def _weight(self) -> Tensor:
        return self.base.weight.T if self.fan_in_fan_out else self.base.weight  # (d, k), a view

    @property
    def merged(self) -> bool:
        """Whether ΔW is in ``base.weight`` now."""
        return self._merged is not None

    def delta_weight(self) -> Tensor:
        """Return ΔW = scaling · lora_B @ lora_A, (out_features, in_features), in float32 or more.

        Of a merged layer, it is the ΔW in its weight, even if the factors have changed since.
        """
        device, dtype = self.base.weight.device, torch.promote_types(self.lora_A.dtype, torch.float)
        A, B = (t.to(device, dtype) for t in self._merged or (self.lora_A, self.lora_B))
        return (B @ A) * self.scaling  # (d, k)

    @torch.no_grad()
    def merge(self) -> None:
        """Add ΔW to ``base.weight`` in place: from now on the layer costs what the base costs.

        A RuntimeError if it is merged already; a ValueError, and no change, if ΔW is not finite.
        """
        if self.merged:
            raise RuntimeError("this LoRALinear is merged already")
        total = self._weight() + self.delta_weight()  # (d, k), to be rounded once
        if not torch.isfinite(total.to(self.base.weight.dtype)).all():
            raise ValueError("W0 + delta_weight() must be finite, got NaN or infinity")
        self._weight().copy_(total)
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
        self._weight().copy_(self._weight() - self.delta_weight())
        self._merged = None

    def state_dict(self, *args: object, prefix: str = "", **kwargs: object) -> dict[str, Tensor]:
        """Return the state of the layer with W0 for its weight, merged or not."""
        state = super().state_dict(*args, prefix=prefix, **kwargs)
        if self.merged:
            W0 = (self._weight() - self.delta_weight()).detach().to(self.base.weight.dtype)
            state[prefix + "base.weight"] = W0.T if self.fan_in_fan_out else W0  # from (d, k)
        return state

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        if self.merged:
            raise RuntimeError(f"{prefix[:-1] or 'this layer'} is merged: unmerge() before loading")
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Return what ``print(layer)`` says beside the base layer."""
        names = "in_features out_features r lora_alpha scaling lora_dropout use_rslora merged"
        return ", ".join(f"{name}={getattr(self, name)}" for name in names.split())


def is_linear(module: nn.Module) -> bool:
    """Return whether LoRALinear can wrap ``module``: nn.Linear itself, or transformers' Conv1D."""
    # No subclass: it may compute something else. Conv1D by name: importing its home takes seconds.
    return type(module) is nn.Linear or type(module).__name__ == "Conv1D"


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


def _fused(
    x: Tensor, weight: Tensor, bias: Tensor | None, lora_A: Tensor, lora_B: Tensor, scaling: float
) -> tuple[Tensor, Tensor]:
    """Return y and h_t = lora_A @ xᵀ, with no temporary of the size of y.

    h_t and its gradient lie in memory as r long rows: as n rows of r numbers, BLAS takes up to five
    times as long where r is 8.
    """
    rows = x.reshape(-1, x.shape[-1])  # (n, k)
    y = x.new_empty(*x.shape[:-1], len(weight))  # (..., d)
    out = y.view(-1, len(weight))  # (n, d); y must not be the view: it could not be changed later
    if bias is None:
        torch.mm(rows, weight.T, out=out)
    else:
        torch.addmm(bias, rows, weight.T, out=out)
    h_t = torch.mm(lora_A, rows.T)  # (r, n)
    out.addmm_(h_t.T, lora_B.T, alpha=scaling)
    return y, h_t


class _Fused(torch.autograd.Function):
    """The forward and the gradients of :mod:`lora_edu.reference`, term by term."""

    @staticmethod
    def forward(ctx, x, weight, bias, lora_A, lora_B, scaling):  # noqa: ANN001, ANN205
        y, h_t = _fused(x, weight, bias, lora_A, lora_B, scaling)
        ctx.save_for_backward(x, weight, lora_A, lora_B, h_t)
        ctx.scaling = scaling
        return y

    @staticmethod
    def backward(ctx, grad_output):  # noqa: ANN001, ANN205
        x, weight, lora_A, lora_B, h_t = ctx.saved_tensors
        needs_x, _, _, needs_A, needs_B, _ = ctx.needs_input_grad
        G = grad_output.reshape(-1, len(weight))  # (n, d)
        rows = x.reshape(-1, x.shape[-1])  # (n, k)
        if torch.is_grad_enabled():  # double backward: h_t depends on x and lora_A
            h_t = lora_A @ rows.T  # (r, n)
        # With beta=0 addmm does not read its first argument: it is a product that also scales.
        grad_h_t = torch.addmm(h_t, lora_B.T, G.T, beta=0, alpha=ctx.scaling)  # (r, n)
        grad_x = grad_A = grad_B = None
        if needs_A:
            grad_A = torch.mm(grad_h_t, rows)  # (r, k)
        if needs_B and len(G) > len(h_t):
            grad_B = torch.addmm(lora_B.T, h_t, G, beta=0, alpha=ctx.scaling).T  # (d, r)
        elif needs_B:  # few samples: to copy that transpose, as autograd does, would take longer
            grad_B = torch.addmm(lora_B, G.T, h_t.T, beta=0, alpha=ctx.scaling)  # (d, r)
        if needs_x:
            grad_x = torch.mm(G, weight).addmm_(grad_h_t.T, lora_A).view(x.shape)  # (..., k)
        return grad_x, None, None, grad_A, grad_B, None
