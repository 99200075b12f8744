from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_edu import counting

sizes = st.integers(1, 20_000)
ranks = st.integers(1, 512)


def test_the_example():
    assert counting.dense_parameters(100, 100) == 10_000
    assert counting.lora_parameters(100, 100, 5) == 1_000
    assert counting.reduction(100, 100, 5) == 10.0
    assert counting.break_even_rank(100, 100) == 50.0
    assert counting.degrees_of_freedom(100, 100, 5) == 975


def test_rectangular_shapes_tell_rows_from_columns():
    # 3 x 7, r = 2: A is 2 x 7, B is 3 x 2
    assert counting.lora_parameters(3, 7, 2) == 2 * 7 + 3 * 2 == 20
    assert counting.degrees_of_freedom(3, 7, 2) == 2 * (3 + 7 - 2) == 16
    assert counting.lora_multiply_adds(3, 7, 2, vectors=5) == 5 * 20
    assert counting.lora_multiply_adds(3, 7, 2, vectors=5, form_delta=True) == 42 + 5 * 21


@given(sizes, sizes, ranks)
def test_lora_counts_the_entries_of_both_factors(d, k, r):
    lora_A, lora_B = np.broadcast_to(0, (r, k)), np.broadcast_to(0, (d, r))
    assert counting.lora_parameters(d, k, r) == lora_A.size + lora_B.size


@given(sizes, sizes, ranks)
def test_lora_saves_exactly_below_the_break_even_rank(d, k, r):
    saves = counting.lora_parameters(d, k, r) < counting.dense_parameters(d, k)
    assert saves == (Fraction(r) < Fraction(d * k, d + k))
    assert counting.break_even_rank(d, k) == pytest.approx(float(Fraction(d * k, d + k)))
    assert (counting.reduction(d, k, r) > 1) == saves


@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_degrees_of_freedom_are_the_rank_of_the_jacobian(d, k, data):
    r = data.draw(st.integers(1, min(d, k)))
    rng = np.random.default_rng(0)
    lora_A, lora_B = rng.standard_normal((r, k)), rng.standard_normal((d, r))
    jacobian = np.hstack([np.kron(np.eye(d), lora_A.T), np.kron(lora_B, np.eye(k))])
    assert np.linalg.matrix_rank(jacobian) == counting.degrees_of_freedom(d, k, r)


@given(sizes, sizes)
def test_full_rank_has_as_many_degrees_of_freedom_as_entries(d, k):
    assert counting.degrees_of_freedom(d, k, min(d, k)) == d * k


@given(st.integers(1, 2000), st.integers(1, 2000), ranks, st.integers(1, 64))
def test_forming_the_product_is_dearer_below_break_even(d, k, r, vectors):
    apart = counting.lora_multiply_adds(d, k, r, vectors=vectors)
    formed = counting.lora_multiply_adds(d, k, r, vectors=vectors, form_delta=True)
    dense = counting.dense_multiply_adds(d, k, vectors=vectors)
    assert formed > dense
    if r <= counting.break_even_rank(d, k):
        assert apart <= dense < formed


def test_numpy_integers_are_integers():
    result = counting.lora_parameters(np.int32(70_000), np.int64(70_000), np.int16(8))
    assert type(result) is int  # no int32, which would overflow a little further on
    assert result == 8 * 140_000


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((100, 100, 0), ValueError, "r must be at least 1, got 0"),
        ((100, 100, -3), ValueError, "r must be at least 1, got -3"),
        ((0, 100, 5), ValueError, "out_features must be at least 1, got 0"),
        ((100, -1, 5), ValueError, "in_features must be at least 1, got -1"),
        ((100, 100, 5.0), TypeError, "r must be an integer, got 5.0"),
        ((100, 100, True), TypeError, "r must be an integer, got True"),
        ((100, 100, None), TypeError, "r must be an integer, got None"),
        ((float("nan"), 100, 5), TypeError, "out_features must be an integer, got nan"),
        ((100, "100", 5), TypeError, "in_features must be an integer, got '100'"),
    ],
)
@pytest.mark.parametrize(
    "count",
    [
        counting.lora_parameters,
        counting.reduction,
        counting.degrees_of_freedom,
        counting.lora_multiply_adds,
    ],
)
def test_bad_input_is_named(count, arguments, error, message):
    with pytest.raises(error, match=message):
        count(*arguments)


def test_rank_above_the_matrix_has_no_degrees_of_freedom():
    with pytest.raises(ValueError, match=r"at most min\(out_features, in_features\) = 8, got 9"):
        counting.degrees_of_freedom(8, 100, 9)
    assert counting.lora_parameters(8, 100, 9) == 972  # but it can be counted, as PEFT does


@pytest.mark.parametrize("count", [counting.dense_multiply_adds, counting.lora_multiply_adds])
def test_no_vectors_is_an_error(count):
    r = {"r": 2} if count is counting.lora_multiply_adds else {}
    with pytest.raises(ValueError, match="vectors must be at least 1, got 0"):
        count(4, 4, vectors=0, **r)


def test_the_examples_in_the_docstrings():
    import doctest

    tested = doctest.testmod(counting)
    assert tested.attempted >= 7
    assert tested.failed == 0
