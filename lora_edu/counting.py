"""Parameters, degrees of freedom and multiply-adds of LoRA in closed form.

Integer arithmetic on shapes: d = ``out_features``, k = ``in_features``, r = the rank of the update.
Counts are exact Python integers, in numbers and not in bytes; no weights are needed.

Errors, in every function: a TypeError if an argument is not an integer, a ValueError if it is below
1. (r may exceed min(d, k): wasteful, but PEFT allows it, and it can be counted.)

Source: Hu et al. 2021 (arXiv:2106.09685), section 4.
"""

from operator import index


def at_least_one(name: str, value: int) -> int:
    """Return ``value`` as a Python int of at least 1, or raise the error that names it."""
    try:
        number = index(value)  # takes NumPy's integers too, refuses 5.0, "5" and NaN
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if isinstance(value, bool):  # an int to Python, and a slip to everybody else
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")
    return number


def dense_parameters(out_features: int, in_features: int) -> int:
    """Count the numbers in a full update ΔW: ``d * k``.

    >>> dense_parameters(100, 100)
    10000
    """
    return at_least_one("out_features", out_features) * at_least_one("in_features", in_features)


def lora_parameters(out_features: int, in_features: int, r: int) -> int:
    """Count the numbers in ``lora_A`` (r, k) and ``lora_B`` (d, r) together: ``r * (d + k)``.

    >>> lora_parameters(100, 100, r=5)
    1000
    """
    d, k = at_least_one("out_features", out_features), at_least_one("in_features", in_features)
    return at_least_one("r", r) * (d + k)


def reduction(out_features: int, in_features: int, r: int) -> float:
    """Say how many times fewer numbers LoRA trains: the ratio ``d * k / (r * (d + k))``.

    Below 1, it trains *more* numbers than the full update has.

    >>> reduction(100, 100, r=5)
    10.0
    """
    lora = lora_parameters(out_features, in_features, r)
    return dense_parameters(out_features, in_features) / lora


def break_even_rank(out_features: int, in_features: int) -> float:
    """Return the rank at which both counts are equal, ``d * k / (d + k)``; in general no integer.

    LoRA trains fewer numbers for each r strictly below it. For a square matrix it is d / 2.

    >>> break_even_rank(100, 100)
    50.0
    """
    return reduction(out_features, in_features, r=1)


def degrees_of_freedom(out_features: int, in_features: int, r: int) -> int:
    """Count the independent numbers in a d x k matrix of rank r ≤ min(d, k): ``r * (d + k - r)``.

    This is the dimension of the manifold of such matrices. ``lora_A`` and ``lora_B`` hold r²
    numbers more: (B M, M⁻¹ A) is the same update for each invertible r x r matrix M.

    >>> degrees_of_freedom(100, 100, r=5)
    975
    """
    both = lora_parameters(out_features, in_features, r)
    if r > min(out_features, in_features):
        least = min(out_features, in_features)
        raise ValueError(f"r must be at most min(out_features, in_features) = {least}, got {r}")
    return both - index(r) ** 2


def dense_multiply_adds(out_features: int, in_features: int, *, vectors: int = 1) -> int:
    """Count the multiply-adds of ``W x`` for a number of vectors x: ``vectors * d * k``.

    >>> dense_multiply_adds(100, 100)
    10000
    """
    return at_least_one("vectors", vectors) * dense_parameters(out_features, in_features)


def lora_multiply_adds(
    out_features: int, in_features: int, r: int, *, vectors: int = 1, form_delta: bool = False
) -> int:
    """Count the multiply-adds of the update alone, for a number of vectors x.

        B (A x):                        vectors * r * (d + k)
        (B A) x, with ``form_delta``:   d * r * k + vectors * d * k

    >>> lora_multiply_adds(100, 100, r=5), lora_multiply_adds(100, 100, r=5, form_delta=True)
    (1000, 60000)
    """
    apart = at_least_one("vectors", vectors) * lora_parameters(out_features, in_features, r)
    dense = dense_multiply_adds(out_features, in_features, vectors=vectors)
    return r * dense_parameters(out_features, in_features) + dense if form_delta else apart
