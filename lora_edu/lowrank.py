"""Low rank: the best approximation of a matrix, the SVD of a product, and how to measure rank.

Letters: a matrix has shape (d, k) and m = min(d, k) singular values; r is a rank. Singular values
have the unit of the matrix, ranks and shares have none. Results keep the floating type of the input
(half precision becomes single).

Errors, in every function: a TypeError if an argument does not hold real numbers, a ValueError if
one is not finite, its shape does not fit, or a rank or share is outside the range given.
"""

import numpy as np
from numpy.typing import ArrayLike as Array
from numpy.typing import NDArray

from lora_edu.counting import at_least_one
from lora_edu.reference import real_array

Matrix = NDArray[np.floating]
Triple = tuple[Matrix, NDArray[np.floating], Matrix]


def truncated_svd(matrix: Array, r: int) -> Triple:
    """Return the r largest singular triples, 1 ≤ r ≤ m: ``matrix ≈ (U * S) @ Vt``.

    Shapes: matrix (d, k); U (d, r) and Vt (r, k), orthonormal; S (r,), the largest first. Source:
    Golub and Van Loan, Matrix Computations, section 2.4.
    """
    matrix = _array("matrix", matrix, ndim=2)
    _check_rank(r, min(matrix.shape), f"min(d, k) of shape {matrix.shape}")
    U, S, Vt = np.linalg.svd(matrix, full_matrices=False)  # (d, m), (m,), (m, k)
    return U[:, :r], _array("S", S[:r], ndim=1), Vt[:r]  # of huge numbers, it is too large


def best_approximation(matrix: Array, r: int) -> Matrix:
    """Return the matrix of rank ≤ r nearest to ``matrix``, 1 ≤ r ≤ m: ``Σᵢ≤ᵣ σᵢ uᵢ vᵢᵀ``.

    Nearest in the Frobenius norm, with the error ``sqrt(Σᵢ>ᵣ σᵢ²)``, and in the spectral norm, with
    the error ``σᵣ₊₁``. Shapes: matrix (d, k); returns (d, k). Source: Eckart and Young 1936.
    """
    U, S, Vt = truncated_svd(matrix, r)
    return (U * S) @ Vt  # (d, k)


def factor(matrix: Array, r: int) -> tuple[Matrix, Matrix]:
    """Return LoRA's factors of the best approximation of rank r, 1 ≤ r ≤ m.

        lora_A = √Σ Vᵀ,   lora_B = U √Σ,   lora_B @ lora_A = best_approximation(matrix, r)

    The balanced split: both get the same norm. Shapes: matrix (d, k); returns (r, k) and (d, r).
    Source: Meng et al. 2024, PiSSA (arXiv:2404.02948), section 3.
    """
    U, S, Vt = truncated_svd(matrix, r)
    root = np.sqrt(S)  # (r,)
    return root[:, None] * Vt, U * root  # (r, k), (d, r)


def svd_of_product(lora_A: Array, lora_B: Array) -> Triple:
    """Return U, S, Vt of ``lora_B @ lora_A`` without forming it.

        lora_B = Q_B R_B,   lora_Aᵀ = Q_A R_A,   lora_B @ lora_A = Q_B (R_B R_Aᵀ) Q_Aᵀ

    The core ``R_B R_Aᵀ`` is r × r and has the product's singular values, right to rounding relative
    to the *largest* one: O((d + k) r²) operations instead of O(d k m). Shapes: lora_A (r, k),
    lora_B (d, r); U (d, q), S (q,), Vt (q, k) with q = min(d, k, r). Source: Chan 1982, An improved
    algorithm for computing the SVD (QR first), on both sides.
    """
    lora_A, lora_B = _array("lora_A", lora_A, ndim=2), _array("lora_B", lora_B, ndim=2)
    at_least_one("r", len(lora_A))
    if lora_B.shape[1] != len(lora_A):
        raise ValueError(f"lora_B must be (d, r), r = {len(lora_A)}, got {lora_B.shape}")
    Q_A, R_A = np.linalg.qr(lora_A.T)  # (k, r), (r, r)
    Q_B, R_B = np.linalg.qr(lora_B)  # (d, r), (r, r)
    with np.errstate(over="ignore", invalid="ignore"):
        core = _array("lora_B @ lora_A", R_B @ R_A.T, ndim=2)  # (r, r), finite
    U, S, Vt = np.linalg.svd(core, full_matrices=False)  # (r, q), (q,), (q, r)
    return Q_B @ U, S, Vt @ Q_A.T  # (d, q), (q,), (q, k)


def energy_rank(singular_values: Array, energy: float = 0.9) -> int:
    """Return the least n with ``Σᵢ≤ₙ σᵢ² ≥ energy · Σ σᵢ²``, for a share 0 < energy ≤ 1.

    Shapes: singular_values (m,), in any order, here and below. The zero matrix has rank 0, here and
    below. Source: the cumulative variance of Jolliffe, Principal Component Analysis, 6.1.1.
    """
    if not 0 < _array("energy", energy, ndim=0) <= 1:
        raise ValueError(f"energy must be a share, 0 < energy <= 1, got {energy}")
    S = _singular_values(singular_values)
    cumulative = np.cumsum(S**2)  # (m,)
    return int(np.searchsorted(cumulative, energy * cumulative[-1])) + 1 if S.any() else 0


def stable_rank(singular_values: Array) -> float:
    """Return ``‖M‖²_F / ‖M‖²₂ = Σσᵢ² / σ₁²``, from 1 to the rank, and hardly moved by noise.

    Source: Rudelson and Vershynin 2007 (arXiv:math/0503442), where it is called numerical rank.
    """
    return float(np.sum(_singular_values(singular_values) ** 2))


def subspace_similarity(A_1: Array, A_2: Array) -> Matrix:
    """Return φ for all i, j: how far the top-i directions of ``A_1`` lie in the top-j of ``A_2``.

        φ(A_1, A_2, i, j) = ‖V₁ᵢᵀ V₂ⱼ‖²_F / min(i, j)

    V₁ᵢ holds, as columns, the right singular vectors of ``A_1`` of its i largest singular values.
    1: the smaller subspace lies in the larger; 0: orthogonal; two random ones: max(i, j) / k.

    Shapes: A_1 (r_1, k), A_2 (r_2, k); returns (rank of A_1, rank of A_2) with φ(A_1, A_2, i, j) at
    ``[i - 1, j - 1]``, up to the numerical ranks: further singular vectors are arbitrary. Source:
    Hu et al. 2021, section 7.2, equation 4 (whose U are right singular vectors too).
    """
    A_1, A_2 = _array("A_1", A_1, ndim=2), _array("A_2", A_2, ndim=2)
    if A_1.shape[1] != A_2.shape[1]:
        raise ValueError(f"A_2 must be (r_2, k), k = {A_1.shape[1]}, got {A_2.shape}")
    V_1, V_2 = _right_vectors(A_1), _right_vectors(A_2)  # (k, rank of A_1), (k, rank of A_2)
    # ‖V₁ᵢᵀ V₂ⱼ‖²_F is the sum of the squared cosines over the top left i × j corner.
    corners = np.cumsum(np.cumsum((V_1.T @ V_2) ** 2, axis=0), axis=1)  # (r_1, r_2)
    i, j = np.indices(corners.shape) + 1
    return corners / np.minimum(i, j)


def amplification(weight: Array, delta_weight: Array, r: int) -> float:
    """Return how much stronger ΔW is than W0 in the r directions that ΔW acts on.

        ‖ΔW‖_F / ‖Uᵀ W0 V‖_F,   U and V the top-r left and right singular vectors of ΔW

    1 ≤ r ≤ rank of ΔW, whose norm counts these r directions only. ``inf`` where W0 has nothing in
    them. It grows with the learning rate and ``scaling``: compare only where these are equal.
    Shapes: weight, not merged, and delta_weight (d, k). Source: Hu et al. 2021, section 7.3.
    """
    weight = _array("weight", weight, ndim=2)
    delta_weight = _array("delta_weight", delta_weight, ndim=2)
    U, S, Vt = truncated_svd(delta_weight, r)  # (d, r), (r,), (r, k)
    shape = len(U), Vt.shape[1]
    if weight.shape != shape:
        raise ValueError(f"weight must be {shape}, as delta_weight, got {weight.shape}")
    _check_rank(r, int(np.linalg.matrix_rank(delta_weight)), "the rank of delta_weight")
    size = np.abs(weight).max()  # no square of what is left can overflow, or vanish
    if not size or not (own := np.linalg.norm(U.T @ (weight / size) @ Vt.T)):  # of (r, r)
        return float("inf")
    return float(np.linalg.norm(S / S[0]) / own) * (float(S[0]) / float(size))


def _right_vectors(A: Matrix) -> Matrix:
    """Return the right singular vectors of ``A``, (k, rank of A): those that are not arbitrary."""
    A = A / (np.abs(A).max(initial=0) or 1)
    Vt = np.linalg.svd(A, full_matrices=False)[2]
    return Vt[: np.linalg.matrix_rank(A)].T


def _array(name: str, value: Array, ndim: int) -> NDArray[np.floating]:
    array = real_array(name, value)
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions, got shape {array.shape}")
    return array


def _singular_values(values: Array) -> NDArray[np.floating]:
    """Return them checked, largest first, over the largest (so that no square can overflow)."""
    S = np.sort(_array("singular_values", values, ndim=1).astype(np.float64))[::-1]  # (m,)
    if not len(S) or S[-1] < 0:
        raise ValueError(f"singular_values must be at least one number >= 0, got {values!r}")
    return S / S[0] if S[0] > 0 else S


def _check_rank(r: int, upper: int, what: str) -> None:
    if at_least_one("r", r) > upper:
        raise ValueError(f"r must be at most {upper}, {what}, got {r}")
