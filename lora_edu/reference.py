"""LoRA in NumPy: the executable definition that every faster implementation is tested against.

All of LoRA for one linear layer, in row-vector code (a sample is a row, as in every framework):

    y = x @ weight.T + scaling * (x @ lora_A.T) @ lora_B.T + bias

Letters: d = out_features, k = in_features, r = rank, n = number of samples (all leading dimensions
of ``x`` together). ``scaling`` is ``lora_alpha / r``, or ``lora_alpha / sqrt(r)`` for rsLoRA.

Errors, in every function: a TypeError if an argument does not hold real numbers, a ValueError if
one is not finite or its shape does not fit the others.

Source: Hu et al. 2021 (arXiv:2106.09685), section 4.1 and equation 3, where samples are columns:
``h = W0 x + B A x``.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike as Array
from numpy.typing import NDArray

# The axes of each argument, in one table, so that a letter means one thing.
_AXES = {"weight": "d k", "lora_A": "r k", "lora_B": "d r", "bias": "d", "scaling": ""}
_AXES |= {"x": "... k", "grad_output": "... d"}


class Gradients(NamedTuple):
    """Gradients of the loss, each of its argument's shape. The frozen weight has none."""

    lora_A: NDArray  # (r, k)
    lora_B: NDArray  # (d, r)
    x: NDArray  # (..., k)


def delta_weight(lora_A: Array, lora_B: Array, scaling: float = 1.0) -> NDArray:
    """Return the dense update ``ΔW = scaling · lora_B @ lora_A``, (d, k), of rank at most r."""
    lora_A, lora_B, _ = _checked(lora_A=lora_A, lora_B=lora_B, scaling=scaling)
    return scaling * (lora_B @ lora_A)  # (d, k)


def forward(
    x: Array,
    weight: Array,
    lora_A: Array,
    lora_B: Array,
    scaling: float = 1.0,
    bias: Array | None = None,
) -> NDArray:
    """Return ``y = x @ weight.T + scaling · (x @ lora_A.T) @ lora_B.T + bias``.

    The order of the products is the saving: ``x @ lora_A.T`` has r columns and ΔW is never built,
    so that a sample costs r·(d + k) multiply-adds beside the d·k of ``weight``. Shapes: x (..., k),
    weight (d, k), lora_A (r, k), lora_B (d, r), bias (d,); returns (..., d).
    """
    W0, A, B, x, _ = _checked(weight=weight, lora_A=lora_A, lora_B=lora_B, x=x, scaling=scaling)
    h = x @ A.T  # (..., r)
    y = x @ W0.T + scaling * (h @ B.T)  # (..., d)
    return y if bias is None else y + _checked(weight=W0, bias=bias)[1]


def backward(
    grad_output: Array, x: Array, weight: Array, lora_A: Array, lora_B: Array, scaling: float = 1.0
) -> Gradients:
    """Return the gradients of a loss L by the chain rule, from ``G = ∂L/∂y``.

    With the samples as rows, h = x Aᵀ and s = ``scaling``:

        dB = s · Gᵀ h              (d, r)
        dA = s · (G B)ᵀ x          (r, k)
        dx = G W0 + s · (G B) A    (n, k)

    ``s · G B`` is the gradient of h. At B = 0 it vanishes: at the first step only B learns.

    Shapes: grad_output (..., d), x (..., k), weight (d, k), lora_A (r, k), lora_B (d, r); each
    gradient has the shape of its argument, and the unit of the loss over the argument's.
    """
    W0, A, B, x, G, _ = _checked(
        weight=weight, lora_A=lora_A, lora_B=lora_B, x=x, grad_output=grad_output, scaling=scaling
    )
    d, k = W0.shape
    G, rows = G.reshape(-1, d), x.reshape(-1, k)  # (n, d), (n, k)
    h = rows @ A.T  # (n, r)
    grad_h = scaling * (G @ B)  # (n, r)
    grad_A = grad_h.T @ rows  # (r, k)
    grad_B = scaling * (G.T @ h)  # (d, r)
    grad_x = G @ W0 + grad_h @ A  # (n, k)
    return Gradients(grad_A, grad_B, grad_x.reshape(x.shape))


def merge(weight: Array, lora_A: Array, lora_B: Array, scaling: float = 1.0) -> NDArray:
    """Return ``weight + scaling · lora_B @ lora_A``, a new (d, k): one plain layer."""
    W0, A, B = _checked(weight=weight, lora_A=lora_A, lora_B=lora_B)
    return W0 + delta_weight(A, B, scaling)  # (d, k)


def real_array(name: str, value: Array) -> NDArray[np.floating]:
    """Return ``value`` as an array of finite floating-point numbers, of 32 bits or more."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must hold real numbers, got {value!r}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
    return array.astype(np.result_type(array, np.float32), copy=False)  # uint8 would wrap at 256


def _checked(**arguments: Array) -> list[NDArray]:
    """Return the arguments as arrays that fit: the first one with a letter decides its length."""
    lengths: dict[str, int | tuple[int, ...]] = {}
    arrays = []
    for name, value in arguments.items():
        array, letters = real_array(name, value), _AXES[name].split()
        # "..." stands for any number of leading dimensions: one letter, a tuple of lengths.
        own = (array.shape[:-1], *array.shape[-1:]) if "..." in letters else array.shape
        known = {letter: lengths[letter] for letter in letters if letter in lengths}
        here = dict(zip(letters, own, strict=False))
        if len(own) != len(letters) or any(here[letter] != known[letter] for letter in known):
            given = "".join(f", {letter} = {length}" for letter, length in known.items())
            raise ValueError(f"{name} must be ({', '.join(letters)}){given}, got {array.shape}")
        lengths |= here
        if lengths.get("r") == 0:
            raise ValueError(f"r must be at least 1, got 0: {name} has shape {array.shape}")
        arrays.append(array)
    return arrays
