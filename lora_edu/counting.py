"""Parameters, degrees of freedom and multiply-adds of LoRA in closed form.

Everything here is integer arithmetic on shapes: d = ``out_features``, k = ``in_features``, r = the
rank of the update. Results are exact Python integers (ratios: floats). No weights are needed, so
a matrix of GPT-3's size is counted as fast as one of 100 x 100.

Source: Hu et al. 2021 (arXiv:2106.09685), section 4.
"""

from __future__ import annotations

from operator import index

__all__ = [
    "break_even_rank",
    "degrees_of_freedom",
    "dense_multiply_adds",
    "dense_parameters",
    "lora_multiply_adds",
    "lora_parameters",
    "reduction",
]


def _at_least_one(name: str, value: int) -> int:
    """Return ``value`` as an int of at least 1, or raise an error that names it."""
    try:
        number = index(value)  # takes NumPy's integers too, refuses 5.0, "5" and NaN
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if isinstance(value, bool):  # True is an int to Python, and a slip to everybody else
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")
    return number


def _shape(out_features: int, in_features: int) -> tuple[int, int]:
    return _at_least_one("out_features", out_features), _at_least_one("in_features", in_features)


def dense_parameters(out_features: int, in_features: int) -> int:
    """Count the numbers in a full update ΔW: ``d * k``.

    Parameters
    ----------
    out_features, in_features : int
        d and k, the shape of the weight; each at least 1.

    Returns
    -------
    int
        Numbers (not bytes).

    Raises
    ------
    TypeError, ValueError
        An argument is not an integer, or is below 1. This holds for each function here.

    Examples
    --------
    >>> dense_parameters(100, 100)
    10000
    """
    d, k = _shape(out_features, in_features)
    return d * k


def lora_parameters(out_features: int, in_features: int, r: int) -> int:
    """Count the numbers in ``lora_A`` (r x k) and ``lora_B`` (d x r): ``r * (d + k)``.

    Parameters
    ----------
    out_features, in_features : int
        d and k, the shape of the adapted weight.
    r : int
        Rank of the update, at least 1. It may exceed min(d, k): wasteful, but allowed, as in PEFT.

    Returns
    -------
    int
        Numbers (not bytes).

    Examples
    --------
    >>> lora_parameters(100, 100, r=5)
    1000
    """
    d, k = _shape(out_features, in_features)
    return _at_least_one("r", r) * (d + k)


def reduction(out_features: int, in_features: int, r: int) -> float:
    """Say how many times fewer numbers LoRA trains: ``d * k / (r * (d + k))``.

    Below 1, LoRA trains *more* numbers than the full update has.

    Returns
    -------
    float
        A ratio without unit.

    Examples
    --------
    >>> reduction(100, 100, r=5)
    10.0
    """
    return dense_parameters(out_features, in_features) / lora_parameters(
        out_features, in_features, r
    )


def break_even_rank(out_features: int, in_features: int) -> float:
    """Return the rank at which both counts are equal: ``d * k / (d + k)``.

    LoRA trains fewer numbers for each r strictly below it. It is half the harmonic mean of d and
    k: d/2 for a square matrix, and never above min(d, k).

    Returns
    -------
    float
        In general not an integer.

    Examples
    --------
    >>> break_even_rank(100, 100)
    50.0
    """
    d, k = _shape(out_features, in_features)
    return d * k / (d + k)


def degrees_of_freedom(out_features: int, in_features: int, r: int) -> int:
    """Count the independent numbers in a d x k matrix of rank r: ``r * (d + k - r)``.

    This is the dimension of the manifold of such matrices. ``lora_A`` and ``lora_B`` hold r²
    numbers more: (B M, M⁻¹ A) is the same update for each invertible r x r matrix M.

    Parameters
    ----------
    out_features, in_features : int
        d and k.
    r : int
        From 1 to min(d, k): no matrix has a higher rank.

    Returns
    -------
    int
        Numbers, at most ``d * k`` (reached at r = min(d, k)).

    Raises
    ------
    ValueError
        r is above min(d, k).

    Examples
    --------
    >>> degrees_of_freedom(100, 100, r=5)
    975
    """
    d, k = _shape(out_features, in_features)
    r = _at_least_one("r", r)
    if r > min(d, k):
        raise ValueError(f"r must be at most min(out_features, in_features) = {min(d, k)}, got {r}")
    return r * (d + k - r)


def dense_multiply_adds(out_features: int, in_features: int, *, vectors: int = 1) -> int:
    """Count the multiply-adds of ``W x`` for a number of vectors x: ``vectors * d * k``.

    Examples
    --------
    >>> dense_multiply_adds(100, 100)
    10000
    """
    return _at_least_one("vectors", vectors) * dense_parameters(out_features, in_features)


def lora_multiply_adds(
    out_features: int, in_features: int, r: int, *, vectors: int = 1, form_delta: bool = False
) -> int:
    """Count the multiply-adds of the update alone, ``B (A x)`` or ``(B A) x``.

    ::

        B (A x):    vectors * r * (d + k)
        (B A) x:    d * r * k  +  vectors * d * k

    Parameters
    ----------
    out_features, in_features, r : int
        d, k and the rank.
    vectors : int
        How many vectors x go through the update (batch size times tokens).
    form_delta : bool
        Whether the product B A is formed first. That is dearer than ``B (A x)`` for each number
        of vectors while r is below the break-even rank.

    Returns
    -------
    int
        Multiply-adds; twice as many floating-point operations.

    Examples
    --------
    >>> lora_multiply_adds(100, 100, r=5)
    1000
    >>> lora_multiply_adds(100, 100, r=5, form_delta=True)
    60000
    """
    parameters = lora_parameters(out_features, in_features, r)
    if not form_delta:
        return _at_least_one("vectors", vectors) * parameters
    forming = r * dense_parameters(out_features, in_features)
    return forming + dense_multiply_adds(out_features, in_features, vectors=vectors)
