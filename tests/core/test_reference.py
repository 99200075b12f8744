"""The definition: against numbers checked by hand, and against autograd."""

import numpy as np
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


def test_all_by_hand():
    assert reference.delta_weight(A, B).tolist() == [[3, 6], [4, 8]]
    assert reference.merge(W0, A, B).tolist() == [[4, 6], [4, 9]]
    assert reference.forward(X, W0, A, B).tolist() == [[10, 13]]
    assert reference.backward(G, X, W0, A, B).x.tolist() == [[1 + 11, 2 + 22]]
    assert reference.merge(W0, A, B, scaling=2).tolist() == [[7, 12], [8, 17]]
    # h = 1·1 + 1·2 = 3; ΔW x = (9, 12); doubled (18, 24); W0 x = (1, 1); bias (100, 200).
    assert reference.forward(X, W0, A, B, scaling=2, bias=[100, 200]).tolist() == [[119, 225]]


def test_types_and_arguments_are_kept():
    weight, x, a, b = (array.astype(np.float32) for array in (W0, X, A, B))
    assert reference.forward(x, weight, a, b, 0.5).dtype == np.float32
    assert reference.merge(weight, a, b).dtype == np.float32
    assert weight.tolist() == W0.tolist()
    ones = np.ones((1, 1), np.float16)
    assert reference.merge(ones, ones, ones).dtype == np.float32
    y = reference.forward(np.uint8([[200, 100]]), np.uint8([[1, 1]]), [[0, 0]], [[0]])
    assert y.tolist() == [[300]]  # and not 44, which is what is left of it in a byte


@st.composite
def problems(draw):
    """A problem of any small shape, with zero to three leading dimensions, some of them empty."""
    d, k, r = (draw(st.integers(1, 6)) for _ in range(3))
    leading = draw(st.lists(st.integers(0, 3), max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shapes = (*leading, d), (*leading, k), (d, k), (r, k), (d, r)
    names = "grad_output", "x", "weight", "lora_A", "lora_B"
    arrays = {name: rng.normal(size=shape) for name, shape in zip(names, shapes, strict=True)}
    return arrays, draw(st.sampled_from([-1.5, 0.5, 1.0, 2.0]))


@given(problems())
@settings(max_examples=60)
def test_outputs_and_gradients_equal_the_dense_expression_and_autograd(problem):
    arrays, s = problem
    found = reference.backward(**arrays, scaling=s)
    g, x, w, a, b = (torch.tensor(array, requires_grad=True) for array in arrays.values())
    y = x @ (w + s * b @ a).T
    expected = torch.autograd.grad(y, (a, b, x), g, allow_unused=True)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.as_tensor(ours), theirs, rtol=1e-12, atol=1e-12)
    del arrays["grad_output"]
    ours = reference.forward(**arrays, scaling=s)
    torch.testing.assert_close(torch.as_tensor(ours), y.detach(), rtol=1e-10, atol=1e-12)
