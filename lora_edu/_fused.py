"""The fast path of :class:`~lora_edu.layers.LoRALinear`: its gradients by hand, term by term.

The whole layer is one node of autograd's graph. For the backward pass it keeps x @ lora_A.T, and
otherwise only what exists anyway: x and the parameters. For more than one token, no product needs a
temporary of the size of y. The mathematics is that of :mod:`lora_edu.reference`.
Letters: d = out_features, k = in_features, r = rank, n = samples (all leading dimensions of x).
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch._C import _are_functorch_transforms_active
from torch.autograd import forward_ad
from torch.compiler import is_compiling
from torch.jit import is_tracing  # pyright: ignore[reportPrivateImportUsage]
from torch.nn.modules.module import _has_any_global_hook

_PLAIN = (Tensor, nn.Parameter)  # a subclass may compute something else


def operands(layer: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor] | None:
    """Return x, weight, bias, lora_A, lora_B for :func:`lora_linear`, or None: it must not be used.

    None under ``torch.compile``, export, tracing, the transforms of ``torch.func`` and forward-mode
    AD, which differentiate the plain equation themselves; where there is dropout, or nothing to
    compute (no features, the meta device); where the base is trained, was replaced, has hooks (or
    all modules have) or another forward; where x or the weight is no plain tensor, or a parameter
    has become an attribute; and where dtypes differ: beside a half-precision base the factors are
    float32. Under autocast all tensors are cast, as it would cast those of each product.
    """
    # Private names of torch, as the one of the hooks: no public function tells it as fast.
    transformed = _are_functorch_transforms_active() or forward_ad._current_level >= 0
    if transformed or is_compiling() or is_tracing() or type(x) not in _PLAIN or x.is_meta:
        return None
    base = layer._modules["base"]
    hooks = base._forward_hooks or base._forward_pre_hooks or _has_any_global_hook()
    hooks = hooks or base._backward_hooks or base._backward_pre_hooks
    replaced = not (base.__class__ is nn.Linear or layer.fan_in_fan_out)  # or else it is Conv1D
    replaced = replaced or "forward" in base.__dict__  # as accelerate does
    dropout = layer.training and layer.lora_dropout > 0
    if hooks or replaced or dropout or 0 in (layer.in_features, layer.out_features):
        return None
    try:  # an attribute of an nn.Module takes as long as a product with one sample
        lora_A, lora_B = layer._parameters["lora_A"], layer._parameters["lora_B"]
        weight, bias = base._parameters["weight"], base._parameters["bias"]
    except KeyError:  # pruned, or a replica of nn.DataParallel
        return None
    if type(weight) not in _PLAIN or weight.requires_grad or getattr(bias, "requires_grad", False):
        return None
    weight = weight.T if layer.fan_in_fan_out else weight  # (d, k)
    device = x.device.type
    if torch.is_autocast_enabled(device) and x.is_floating_point() and x.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        bias = None if bias is None else bias.to(dtype)
        return x.to(dtype), weight.to(dtype), bias, lora_A.to(dtype), lora_B.to(dtype)
    same = x.dtype == weight.dtype == lora_A.dtype == lora_B.dtype
    return (x, weight, bias, lora_A, lora_B) if same else None


def lora_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, lora_A: Tensor, lora_B: Tensor, scaling: float
) -> Tensor:
    """Return ``x @ weight.T + bias + scaling · x @ lora_A.T @ lora_B.T``, (..., d).

    Shapes: x (..., k), weight (d, k), bias (d,), lora_A (r, k), lora_B (d, r), all of one dtype.
    Gradients go to x, lora_A and lora_B, as far as they need one; weight and bias get none.
    """
    learns = x.requires_grad or lora_A.requires_grad or lora_B.requires_grad
    if learns and torch.is_grad_enabled():
        return _Fused.apply(x, weight, bias, lora_A, lora_B, scaling)
    return _products(x, weight, bias, lora_A, lora_B, scaling)[0]


def _products(
    x: Tensor, weight: Tensor, bias: Tensor | None, lora_A: Tensor, lora_B: Tensor, scaling: float
) -> tuple[Tensor, Tensor]:
    """Return y and the numbers of h_t = lora_A @ xᵀ, in their order.

    The thin product comes first, and the large one adds to it: that hides a pass over y, which is
    limited by memory, behind one that is limited by arithmetic. h_t and its gradient lie in memory
    as r long rows: as n rows of r numbers, BLAS takes up to five times as long where r is 8.
    """
    if x.numel() == x.shape[-1]:  # one token: what takes time is the number of calls
        h = F.linear(x, lora_A)  # (..., r)
        return torch.add(F.linear(x, weight, bias), F.linear(h, lora_B), alpha=scaling), h
    rows = x.reshape(-1, x.shape[-1])  # (n, k)
    h_t = torch.mm(lora_A, rows.T)  # (r, n)
    start, beta = (x.new_empty(1), 0) if bias is None else (bias, 1)  # 0: start is not read
    y = torch.addmm(start, h_t.T, lora_B.T, beta=beta, alpha=scaling).addmm_(rows, weight.T)
    return y.resize_(*x.shape[:-1], len(weight)), h_t  # no view: that could not be changed later


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, lora_A, lora_B, scaling):  # noqa: ANN001, ANN205
        y, h_t = _products(x, weight, bias, lora_A, lora_B, scaling)
        ctx.save_for_backward(x, weight, lora_A, lora_B, h_t.view(len(lora_A), -1))
        ctx.scaling = scaling
        return y

    @staticmethod
    def backward(ctx, grad_output):  # noqa: ANN001, ANN205
        if torch.is_autocast_enabled(grad_output.device.type):  # what was to be cast is already
            with torch.autocast(grad_output.device.type, enabled=False):
                return _Fused.backward(ctx, grad_output)
        x, weight, lora_A, lora_B, h_t = ctx.saved_tensors
        needs_x, _, _, needs_A, needs_B, _ = ctx.needs_input_grad
        G = grad_output.reshape(-1, len(weight))  # (n, d)
        rows = x.reshape(-1, x.shape[-1])  # (n, k)
        if torch.is_grad_enabled():  # double backward: h_t depends on x and lora_A
            h_t = lora_A @ rows.T  # (r, n)
        # With beta=0 addmm does not read its first argument: it is a product that also scales.
        grad_h_t = torch.addmm(h_t, lora_B.T, G.T, beta=0, alpha=ctx.scaling)  # (r, n)
        grad_x = grad_A = grad_B = None
        if needs_B and len(G) > len(h_t):  # before the large product pushes G out of the cache
            grad_B = torch.addmm(lora_B.T, h_t, G, beta=0, alpha=ctx.scaling).T  # (d, r)
        elif needs_B:  # few samples: to copy that transpose, as autograd does, would take longer
            grad_B = torch.addmm(lora_B, G.T, h_t.T, beta=0, alpha=ctx.scaling)  # (d, r)
        if needs_A:
            grad_A = torch.mm(grad_h_t, rows)  # (r, k)
        if needs_x:
            grad_x = torch.mm(grad_h_t.T, lora_A).addmm_(G, weight).view(x.shape)  # (..., k)
        return grad_x, None, None, grad_A, grad_B, None
