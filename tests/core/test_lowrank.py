"""Low rank: against numbers checked by hand, the dense SVD, and the theorems."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lora_edu import lowrank

ANY = settings(deadline=None, max_examples=60)
matrices = st.tuples(st.integers(1, 8), st.integers(1, 8)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-9, 9).map(float))
)


@st.composite
def matrix_and_rank(draw):
    matrix = draw(matrices)
    return matrix, draw(st.integers(1, min(matrix.shape)))


@st.composite
def factors(draw):
    """lora_A and lora_B of any small shapes: r may exceed d, k or both."""
    d, k, r = (draw(st.integers(1, 7)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.normal(size=(r, k)), rng.normal(size=(d, r))


def test_truncated_svd_by_hand():
    U, S, Vt = lowrank.truncated_svd([[0, 3], [2, 0]], 1)
    np.testing.assert_allclose(S, [3])
    np.testing.assert_allclose((U * S) @ Vt, [[0, 3], [0, 0]], atol=1e-15)


@given(matrix_and_rank())
@ANY
def test_truncated_svd_shapes_and_orthonormality(case):
    matrix, r = case
    U, S, Vt = lowrank.truncated_svd(matrix, r)
    assert (U.shape, S.shape, Vt.shape) == ((len(matrix), r), (r,), (r, matrix.shape[1]))
    np.testing.assert_allclose(U.T @ U, np.eye(r), atol=1e-12)
    np.testing.assert_allclose(Vt @ Vt.T, np.eye(r), atol=1e-12)


@given(matrix_and_rank())
@ANY
def test_eckart_young(case):
    """The error is the tail of the spectrum, in the Frobenius and in the spectral norm."""
    matrix, r = case
    error = matrix - lowrank.best_approximation(matrix, r)
    tail = np.linalg.svd(matrix, compute_uv=False)[r:]
    assert np.linalg.norm(error) == pytest.approx(np.linalg.norm(tail), abs=1e-11)
    assert np.linalg.norm(error, 2) == pytest.approx(np.max(tail, initial=0), abs=1e-11)


@given(matrix_and_rank())
@ANY
def test_factor_is_balanced_and_best(case):
    matrix, r = case
    lora_A, lora_B = lowrank.factor(matrix, r)
    assert (lora_A.shape, lora_B.shape) == ((r, matrix.shape[1]), (len(matrix), r))
    np.testing.assert_allclose(lora_B @ lora_A, lowrank.best_approximation(matrix, r), atol=1e-11)
    np.testing.assert_allclose(lora_A @ lora_A.T, lora_B.T @ lora_B, atol=1e-11)  # both are Σ


@given(factors())
@ANY
def test_svd_of_product_equals_the_dense_one(case):
    lora_A, lora_B = case
    product = lora_B @ lora_A
    U, S, Vt = lowrank.svd_of_product(lora_A, lora_B)
    m = min(*product.shape, len(lora_A))
    assert (U.shape, S.shape, Vt.shape) == ((len(product), m), (m,), (m, product.shape[1]))
    dense = np.linalg.svd(product, compute_uv=False)
    np.testing.assert_allclose(S, dense[:m], atol=1e-12 * dense[0])
    np.testing.assert_allclose((U * S) @ Vt, product, atol=1e-12 * dense[0])
    np.testing.assert_allclose(U.T @ U, np.eye(m), atol=1e-12)
    np.testing.assert_allclose(Vt @ Vt.T, np.eye(m), atol=1e-12)


def test_svd_of_product_at_the_size_of_a_model():
    rng = np.random.default_rng(0)
    lora_A, lora_B = rng.normal(size=(16, 300)), rng.normal(size=(400, 16))
    dense = np.linalg.svd(lora_B @ lora_A, compute_uv=False)
    S = lowrank.svd_of_product(lora_A, lora_B)[1]
    assert np.abs(S - dense[:16]).max() <= 1e-12 * dense[0]


def test_measures_of_rank_by_hand():
    # Energies 16, 4, 4, 1 of 25: shares .64, .80, .96, 1.
    S = [4, 2, 2, 1]
    assert [lowrank.energy_rank(S, e) for e in (0.5, 0.65, 0.9, 0.97, 1)] == [1, 2, 3, 4, 4]
    assert lowrank.energy_rank(S) == 3
    assert lowrank.stable_rank(S) == 25 / 16


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_equal_singular_values_count_themselves(scale):
    S = np.full(7, scale)
    assert lowrank.energy_rank(S, 1.0) == 7
    assert lowrank.stable_rank(S) == pytest.approx(7)


def test_the_zero_matrix_has_rank_zero():
    S = np.zeros(3)
    assert (lowrank.energy_rank(S), lowrank.stable_rank(S)) == (0, 0)


@given(arrays(np.float64, st.integers(1, 8), elements=st.floats(0, 1e3)), st.randoms())
@ANY
def test_measures_are_bounded_and_know_no_order_and_no_unit(S, random):
    rank = np.count_nonzero(S)
    shuffled = S.copy()
    random.shuffle(shuffled)
    for measure in (lowrank.energy_rank, lowrank.stable_rank):
        value = measure(S)
        assert min(rank, 1) <= value + 1e-9
        assert value <= rank + 1e-9
        assert measure(4 * shuffled) == pytest.approx(value)  # a power of two: nothing is rounded


def test_noise_moves_the_exact_rank_and_not_the_measures():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(100, 4)) @ rng.normal(size=(4, 100))
    noisy = np.linalg.svd(matrix + 1e-6 * rng.normal(size=(100, 100)), compute_uv=False)
    clean = np.linalg.svd(matrix, compute_uv=False)
    assert np.count_nonzero(noisy > 1e-10 * noisy[0]) == 100
    assert lowrank.energy_rank(noisy, 0.99) == lowrank.energy_rank(clean, 0.99) == 4
    assert lowrank.stable_rank(noisy) == pytest.approx(lowrank.stable_rank(clean), rel=1e-6)


def test_subspace_similarity_by_hand():
    # Directions e0, e1 against e1, e2, strongest first: only the second and the first one agree.
    phi = lowrank.subspace_similarity([[2, 0, 0], [0, 1, 0]], [[0, 2, 0], [0, 0, 1]])
    np.testing.assert_allclose(phi, [[0, 0], [1, 0.5]], atol=1e-15)


def test_subspace_similarity_ends_at_the_rank():
    same_row_twice = np.ones((2, 3))
    assert lowrank.subspace_similarity(same_row_twice, np.eye(3)).shape == (1, 3)
    assert lowrank.subspace_similarity(np.zeros((2, 3)), np.eye(3)).shape == (0, 3)


@given(factors(), st.integers(0, 2**32 - 1))
@ANY
def test_subspace_similarity_against_its_definition(case, seed):
    A_1, _ = case
    A_2 = np.random.default_rng(seed).normal(size=(3, A_1.shape[1]))
    phi = lowrank.subspace_similarity(A_1, A_2)
    V_1, V_2 = np.linalg.svd(A_1)[2].T, np.linalg.svd(A_2)[2].T
    for i, j in np.ndindex(phi.shape):
        overlap = np.linalg.norm(V_1[:, : i + 1].T @ V_2[:, : j + 1]) ** 2
        assert phi[i, j] == pytest.approx(overlap / min(i + 1, j + 1), abs=1e-10)
    np.testing.assert_allclose(np.diag(lowrank.subspace_similarity(A_1, A_1)), 1)
    assert (phi >= 0).all()
    assert (phi <= 1 + 1e-10).all()


def test_subspace_similarity_of_random_subspaces_is_max_i_j_over_k():
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(8, 384)), rng.normal(size=(64, 384))) for _ in range(20)]
    mean = np.mean([lowrank.subspace_similarity(*pair)[[7, 7], [7, 63]] for pair in pairs], axis=0)
    np.testing.assert_allclose(mean, [8 / 384, 64 / 384], rtol=0.1)


def test_amplification_by_hand():
    # ΔW acts along e0 with strength 6, where W0 has 3 (and 100 elsewhere).
    assert lowrank.amplification(np.diag([3, 100]), np.diag([6, 0]), 1) == pytest.approx(2)
    # Strengths (6, 8), norm 10, against (3, 4), norm 5.
    assert lowrank.amplification(np.diag([3, 4]), np.diag([6, 8]), 2) == pytest.approx(2)
    assert lowrank.amplification(np.diag([0, 1]), np.diag([1, 0]), 1) == float("inf")


@pytest.mark.parametrize(("own", "update"), [(1e200, 1e200), (1e-200, 1e-200), (1e200, 1e-100)])
def test_amplification_of_huge_and_tiny_numbers(own, update):
    found = lowrank.amplification(own * np.diag([3, 4]), update * np.diag([6, 8]), 2)
    assert found == pytest.approx(2 * update / own)
    assert lowrank.amplification(np.zeros((2, 2)), update * np.eye(2), 1) == float("inf")


def test_huge_directions_are_directions():
    huge = np.full((2, 3), 1.7e308)  # its singular value is too large for a number
    np.testing.assert_allclose(lowrank.subspace_similarity(huge, np.eye(3)[:1]), [[1 / 3]])


def test_small_energies_are_not_rounded_away():
    assert lowrank.energy_rank(np.float32([1, *[1e-4] * 9]), 1) == 10


def test_half_precision_is_computed_in_single_and_single_stays_single():
    for given_type in (np.float16, np.float32):
        lora_A, lora_B = lowrank.factor(np.eye(3, dtype=given_type), 2)
        assert (lora_A.dtype, lora_B.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: lowrank.truncated_svd(np.eye(3), 0), ValueError, "r must be at least 1, got 0"),
        (
            lambda: lowrank.factor(np.ones((5, 3)), 4),
            ValueError,
            r"r must be at most 3, min\(d, k\) of shape \(5, 3\), got 4",
        ),
        (lambda: lowrank.factor(np.eye(3), True), TypeError, "r must be an integer, got True"),
        (lambda: lowrank.factor(np.eye(3), 2.0), TypeError, "r must be an integer, got 2.0"),
        (lambda: lowrank.factor("eye", 1), TypeError, "matrix must hold real numbers, got 'eye'"),
        (lambda: lowrank.factor([[1j]], 1), TypeError, "matrix must hold real numbers"),
        (lambda: lowrank.factor(np.ones(3), 1), ValueError, r"2 dimensions, got shape \(3,\)"),
        (
            lambda: lowrank.truncated_svd([[np.nan, 1]], 1),
            ValueError,
            "matrix must be finite, got nan",
        ),
        (
            lambda: lowrank.truncated_svd(np.full((2, 2), 1.5e308), 1),
            ValueError,
            "S must be finite",
        ),
        (
            lambda: lowrank.svd_of_product(np.full((1, 2), 1e200), np.full((2, 1), 1e200)),
            ValueError,
            "lora_B @ lora_A must be finite, got inf",
        ),
        (
            lambda: lowrank.svd_of_product(np.ones((2, 5)), np.ones((2, 5))),
            ValueError,
            r"lora_B must be \(d, r\), r = 2, got \(2, 5\)",
        ),
        (
            lambda: lowrank.svd_of_product(np.ones((0, 5)), np.ones((5, 0))),
            ValueError,
            "r must be at least 1, got 0",
        ),
        (lambda: lowrank.stable_rank([1, -1]), ValueError, "at least one number >= 0"),
        (lambda: lowrank.stable_rank([]), ValueError, "at least one number >= 0"),
        (lambda: lowrank.energy_rank([1], 0), ValueError, "energy must be a share.*got 0"),
        (lambda: lowrank.energy_rank([1], 90), ValueError, "energy must be a share.*got 90"),
        (
            lambda: lowrank.subspace_similarity(np.ones((1, 2)), np.ones((1, 3))),
            ValueError,
            r"A_2 must be \(r_2, k\), k = 2, got \(1, 3\)",
        ),
        (
            lambda: lowrank.amplification(np.eye(2), np.eye(3), 1),
            ValueError,
            r"weight must be \(3, 3\), as delta_weight, got \(2, 2\)",
        ),
        (
            lambda: lowrank.amplification(np.eye(2), np.diag([1, 0]), 2),
            ValueError,
            "r must be at most 1, the rank of delta_weight, got 2",
        ),
        (
            lambda: lowrank.amplification(np.eye(2), np.zeros((2, 2)), 1),
            ValueError,
            "r must be at most 0, the rank of delta_weight, got 1",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_numpy_is_all_it_loads():
    code = "import sys, lora_edu.lowrank, lora_edu.reference; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
