"""The definition: against numbers checked by hand, central differences and autograd."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_edu import reference

# One sample, r = 1, all integers: every result below can be worked out on paper.
W0 = np.array([[1, 0], [0, 1]])
A = np.array([[1, 2]])
B = np.array([[3], [4]])
X = np.array([[1, 1]])
G = np.array([[1, 2]])


def test_delta_weight_by_hand():
    np.testing.assert_array_equal(reference.delta_weight(A, B), [[3, 6], [4, 8]])
    np.testing.assert_array_equal(reference.delta_weight(A, B, scaling=2), [[6, 12], [8, 16]])


def test_forward_and_merge_by_hand():
    # h = 1·1 + 1·2 = 3; ΔW x = (9, 12); doubled (18, 24); W0 x = (1, 1); bias (100, 200).
    y = reference.forward(X, W0, A, B, scaling=2, bias=[100, 200])
    np.testing.assert_array_equal(y, [[119, 225]])
    np.testing.assert_array_equal(reference.merge(W0, A, B, scaling=2), [[7, 12], [8, 17]])


def test_backward_by_hand():
    # G B = 1·3 + 2·4 = 11, doubled 22; h = 3.
    gradients = reference.backward(G, X, W0, A, B, scaling=2)
    np.testing.assert_array_equal(gradients.lora_A, [[22, 22]])
    np.testing.assert_array_equal(gradients.lora_B, [[6], [12]])
    np.testing.assert_array_equal(gradients.x, [[1 + 22, 2 + 44]])


def test_merge_leaves_its_arguments_alone():
    weight = W0.astype(float)  # no copy is made of it, as is of integers
    reference.merge(weight, A, B)
    np.testing.assert_array_equal(weight, W0)


def test_single_precision_stays_single():
    x, w, a, b = (array.astype(np.float32) for array in (X, W0, A, B))
    assert reference.forward(x, w, a, b, 0.5).dtype == np.float32
    assert reference.merge(w, a, b, 0.5).dtype == np.float32


def test_small_types_are_computed_in_floating_point():
    y = reference.forward(np.uint8([[200, 100]]), np.uint8([[1, 1]]), [[0, 0]], [[0]])
    assert y.tolist() == [[300]]  # and not 44, which is what is left of it in a byte
    assert reference.merge(*(np.ones((1, 1), np.float16) for _ in range(3))).dtype == np.float32


@st.composite
def problems(draw):
    """A problem of any small shape, with zero to three leading dimensions, some of them empty."""
    d, k, r = (draw(st.integers(1, 6)) for _ in range(3))
    leading = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scaling = draw(st.sampled_from([-1.5, 0.5, 1.0, 2.0]))
    arrays = {
        "grad_output": rng.normal(size=(*leading, d)),
        "x": rng.normal(size=(*leading, k)),
        "weight": rng.normal(size=(d, k)),
        "lora_A": rng.normal(size=(r, k)),
        "lora_B": rng.normal(size=(d, r)),
    }
    return arrays, scaling


@given(problems())
@settings(deadline=None, max_examples=60)
def test_shapes_and_the_two_orders_of_the_product(problem):
    arrays, s = problem
    _, x, w, a, b = arrays.values()
    y = reference.forward(x, w, a, b, s)
    assert y.shape == (*x.shape[:-1], len(w))
    np.testing.assert_allclose(y, x @ reference.merge(w, a, b, s).T, rtol=1e-10, atol=1e-12)
    gradients = reference.backward(**arrays, scaling=s)
    assert [g.shape for g in gradients] == [a.shape, b.shape, x.shape]


@given(problems())
@settings(deadline=None, max_examples=60)
def test_gradients_equal_autograd(problem):
    arrays, s = problem
    g, x, w, a, b = (torch.tensor(array, requires_grad=True) for array in arrays.values())
    y = x @ (w + s * b @ a).T  # the dense expression: not the order of products of the reference
    expected = torch.autograd.grad(y, (a, b, x), g, allow_unused=True)
    for ours, theirs in zip(reference.backward(**arrays, scaling=s), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12, atol=1e-12)


@given(problems())
@settings(deadline=None, max_examples=20)
def test_gradients_equal_central_differences(problem):
    arrays, s = problem
    g = arrays.pop("grad_output")
    gradients = reference.backward(g, **arrays, scaling=s)._asdict()
    for name, gradient in gradients.items():
        for index in np.ndindex(gradient.shape):
            ends = []
            for step in (1e-4, -1e-4):  # y is linear in each argument: no truncation error
                moved = arrays[name].copy()
                moved[index] += step
                ends.append(np.sum(g * reference.forward(**{**arrays, name: moved}, scaling=s)))
            assert abs((ends[0] - ends[1]) / 2e-4 - gradient[index]) < 1e-9 * (1 + abs(ends[0]))


def test_zero_start():
    """B = 0 is W0 itself, and only B has a gradient; A = B = 0 is a saddle that nothing leaves."""
    x, zero_A, zero_B = np.array([[1.0, 2.0]]), np.zeros((1, 2)), np.zeros((2, 1))
    np.testing.assert_array_equal(reference.forward(x, W0, A, zero_B), x)
    start = reference.backward(G, x, W0, A, zero_B)
    assert not start.lora_A.any()
    assert start.lora_B.all()
    saddle = reference.backward(G, x, W0, zero_A, zero_B)
    assert not saddle.lora_A.any()
    assert not saddle.lora_B.any()


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"lora_B": B.T}, ValueError, r"lora_B must be \(d, r\), d = 2, r = 1, got \(1, 2\)"),
        ({"lora_A": A[0]}, ValueError, r"lora_A must be \(r, k\), k = 2, got \(2,\)"),
        ({"lora_A": A[:0]}, ValueError, r"r must be at least 1, got 0: lora_A has shape \(0, 2\)"),
        ({"x": [1, 2, 3]}, ValueError, r"x must be \(\.\.\., k\), k = 2, got \(3,\)"),
        ({"x": 1.0}, ValueError, r"x must be \(\.\.\., k\), k = 2, got \(\)"),
        ({"bias": [1.0]}, ValueError, r"bias must be \(d\), d = 2, got \(1,\)"),
        ({"x": [[np.nan, 1]]}, ValueError, "x must be finite, got nan"),
        ({"scaling": float("inf")}, ValueError, "scaling must be finite, got inf"),
        ({"scaling": "2"}, TypeError, "scaling must hold real numbers, got '2'"),
        ({"scaling": True}, TypeError, "scaling must hold real numbers, got True"),
        ({"weight": "W0"}, TypeError, "weight must hold real numbers, got 'W0'"),
        ({"x": None}, TypeError, "x must hold real numbers, got None"),
    ],
)
def test_bad_input_is_named(changed, error, message):
    arguments = {"x": X, "weight": W0, "lora_A": A, "lora_B": B} | changed
    with pytest.raises(error, match=message):
        reference.forward(**arguments)


def test_grad_output_must_have_the_samples_of_x():
    message = r"grad_output must be \(\.\.\., d\), \.\.\. = \(1,\), d = 2, got \(3, 2\)"
    with pytest.raises(ValueError, match=message):
        reference.backward(np.ones((3, 2)), X, W0, A, B)
