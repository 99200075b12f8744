"""Low rank: against numbers checked by hand, the dense SVD, and the theorems."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lora_edu import lowrank
from lora_edu.lowrank import subspace_similarity

ANY = settings(max_examples=60)
near = np.testing.assert_allclose


@st.composite
def matrix_and_rank(draw):
    """A matrix of whole numbers, singular or not, and a rank that it can be cut to."""
    shape = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    matrix = draw(arrays(np.float64, shape, elements=st.integers(-9, 9).map(float)))
    return matrix, draw(st.integers(1, min(shape)))


@st.composite
def factors(draw):
    """lora_A and lora_B of any small shapes: r may exceed d, k or both."""
    d, k, r = (draw(st.integers(1, 7)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.normal(size=(r, k)), rng.normal(size=(d, r))


def assert_svd(U, S, Vt, product, tolerance):
    """The triples are orthonormal, and as long as there are singular values."""
    assert (U.shape, Vt.shape) == ((len(product), len(S)), (len(S), product.shape[1]))
    near(U.T @ U, np.eye(len(S)), atol=1e-12)
    near(Vt @ Vt.T, np.eye(len(S)), atol=1e-12)
    near((U * S) @ Vt, product, atol=tolerance)


@given(matrix_and_rank())
@ANY
def test_the_best_approximation_leaves_the_tail_of_the_spectrum(case):
    """Eckart and Young: in the Frobenius and in the spectral norm. The factors are balanced."""
    matrix, r = case
    best = lowrank.best_approximation(matrix, r)
    assert_svd(*lowrank.truncated_svd(matrix, r), best, 1e-12)
    tail = np.linalg.svd(matrix, compute_uv=False)[r:]
    near(np.linalg.norm(matrix - best), np.linalg.norm(tail), atol=1e-11)
    near(np.linalg.norm(matrix - best, 2), np.max(tail, initial=0), atol=1e-11)
    assert lowrank.factor(matrix.astype(np.float16), r)[0].dtype == np.float32
    lora_A, lora_B = lowrank.factor(matrix, r)
    near(lora_B @ lora_A, best, atol=1e-11)
    near(lora_A @ lora_A.T, lora_B.T @ lora_B, atol=1e-11)  # both are Σ


@given(factors())
@ANY
def test_the_svd_of_a_product_equals_the_dense_one(case):
    lora_A, lora_B = case
    product = lora_B @ lora_A
    U, S, Vt = lowrank.svd_of_product(lora_A, lora_B)
    dense = np.linalg.svd(product, compute_uv=False)[: len(lora_A)]
    near(S, dense, atol=1e-12 * dense[0])
    assert_svd(U, S, Vt, product, 1e-12 * dense[0])


# Measures of rank


def test_measures_of_rank_by_hand():
    # Energies 16, 4, 4, 1 of 25: shares .64, .80, .96, 1.
    S = [2, 1, 4, 2]  # in any order
    assert [lowrank.energy_rank(S, e) for e in (0.5, 0.65, 0.9, 0.97, 1)] == [1, 2, 3, 4, 4]
    assert lowrank.energy_rank(S) == 3
    assert lowrank.stable_rank(S) == 25 / 16
    assert lowrank.energy_rank([0, 0]) == lowrank.stable_rank([0, 0]) == 0
    assert lowrank.energy_rank(np.float32([1, *[1e-4] * 9]), 1) == 10  # not rounded away


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_equal_singular_values_count_themselves(scale):
    assert lowrank.energy_rank(np.full(7, scale), 1.0) == 7
    assert lowrank.stable_rank(np.full(7, scale)) == pytest.approx(7)


@given(arrays(np.float64, st.integers(1, 8), elements=st.floats(0, 1e3)), st.randoms())
@ANY
def test_measures_are_bounded_and_know_no_order_and_no_unit(S, random):
    rank = np.count_nonzero(S)
    shuffled = S.copy()
    random.shuffle(shuffled)
    for measure in (lowrank.energy_rank, lowrank.stable_rank):
        assert min(rank, 1) - 1e-9 <= measure(S) <= rank + 1e-9
        near(measure(4 * shuffled), measure(S))  # a power of two: nothing is rounded


# Subspaces


def test_subspace_similarity_by_hand():
    # Directions e0, e1 against e1, e2, strongest first: only the second and the first one agree.
    phi = subspace_similarity([[2, 0, 0], [0, 1, 0]], [[0, 2, 0], [0, 0, 1]])
    near(phi, [[0, 0], [1, 0.5]], atol=1e-15)
    # It ends at the rank, also of huge numbers: the singular value of these is none any more.
    near(subspace_similarity(np.full((2, 3), 1.7e308), np.eye(3)[:1]), [[1 / 3]])
    assert subspace_similarity(np.zeros((2, 3)), np.eye(3)).shape == (0, 3)


@given(factors(), st.integers(0, 2**32 - 1))
@ANY
def test_subspace_similarity_against_its_definition(case, seed):
    A_1, _ = case
    A_2 = np.random.default_rng(seed).normal(size=(3, A_1.shape[1]))
    phi = subspace_similarity(A_1, A_2)
    V_1, V_2 = np.linalg.svd(A_1)[2].T, np.linalg.svd(A_2)[2].T
    assert phi.shape == (min(A_1.shape), min(A_2.shape))
    for i, j in np.ndindex(phi.shape):
        overlap = np.linalg.norm(V_1[:, : i + 1].T @ V_2[:, : j + 1]) ** 2
        near(phi[i, j], overlap / min(i + 1, j + 1), atol=1e-10)
    near(np.diag(subspace_similarity(A_1, A_1)), 1)


@pytest.mark.parametrize(("own", "update"), [(1, 1), (1e200, 1e200), (1e-200, 1), (1e200, 1e-100)])
def test_amplification_by_hand(own, update):
    # Strengths (6, 8), norm 10, against (3, 4), norm 5; then 6 along e0, where W0 has 3.
    W0, delta = own * np.diag([3, 4]), update * np.diag([6, 8])
    near(lowrank.amplification(W0, delta, 2), 2 * update / own)
    near(lowrank.amplification(W0, delta * [1, 0], 1), 2 * update / own)
    assert lowrank.amplification(W0 * [0, 1], delta * [1, 0], 1) == np.inf
    assert lowrank.amplification(0 * W0, delta, 1) == np.inf
