import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from lora_edu.course.datasets import accuracy, digits, mlp


def same(one, other):
    pairs = (pair for parts in zip(one, other, strict=True) for pair in zip(*parts, strict=True))
    return all(torch.equal(*pair) for pair in pairs)


def test_the_split_is_disjoint_complete_and_always_the_same():
    data = digits()
    assert [len(y) for _, y in data] == [997, 400, 400]
    assert all(x.dtype == torch.float32 and y.dtype == torch.int64 for x, y in data)
    rows = np.concatenate([np.column_stack([x * 16, y]) for x, y in data])
    original = load_digits()
    expected = np.column_stack([original.data, original.target])
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(expected, axis=0))
    assert len(np.unique(rows, axis=0)) == len(np.unique(expected, axis=0))
    torch.manual_seed(7)
    assert same(digits(), data)


def test_each_part_has_every_digit():
    assert all((torch.bincount(y, minlength=10) >= 0.07 * len(y)).all() for _, y in digits())


def test_a_quarter_turn_is_exact_and_anticlockwise():
    turned, upright = digits(90), digits()
    for (x, y), (x0, y0) in zip(turned, upright, strict=True):
        expected = torch.rot90(x0.unflatten(1, (8, 8)), 1, dims=(1, 2)).flatten(1)
        torch.testing.assert_close(x, expected, atol=1e-6, rtol=0)
        assert torch.equal(y, y0)


def test_45_degrees_keep_the_middle_and_lose_the_corners():
    x = digits(45).train[0].unflatten(1, (8, 8))
    x0 = digits().train[0].unflatten(1, (8, 8))
    assert x[:, 0, 0].abs().max() == 0  # the corner comes from outside the picture
    assert x.min() >= 0
    assert x.max() <= 1
    assert abs(x[:, 2:6, 2:6].mean() / x0[:, 2:6, 2:6].mean() - 1) < 0.1


def test_inverted_pixels_and_all_together():
    for degrees in (0, 45):
        for (x, y), (x0, y0) in zip(digits(degrees, inverted=True), digits(degrees), strict=True):
            torch.testing.assert_close(x, 1 - x0)
            assert torch.equal(y, y0)


def test_shuffled_labels_keep_their_counts_and_leave_the_test_part_alone():
    plain, shuffled = digits(45), digits(45, shuffle_labels=0)
    assert torch.equal(plain.train[0], shuffled.train[0])
    assert torch.equal(torch.bincount(plain.train[1]), torch.bincount(shuffled.train[1]))
    assert (plain.train[1] == shuffled.train[1]).double().mean() < 0.2
    assert same(plain[1:], shuffled[1:])
    assert same(digits(45, shuffle_labels=0), shuffled)
    assert not same(digits(45, shuffle_labels=1), shuffled)


def test_mlp_is_drawn_from_its_seed_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    model = mlp(64, 256, 256, 10, seed=0)
    assert torch.equal(torch.rand(1), expected)
    assert [n for n, _ in model.named_children()] == ["fc1", "relu1", "fc2", "relu2", "fc3"]
    assert torch.equal(model.fc2.weight, mlp(64, 256, 256, 10, seed=0).fc2.weight)
    assert not torch.equal(model.fc2.weight, mlp(64, 256, 256, 10, seed=1).fc2.weight)
    small = mlp(64, 64, 64, 10, seed=0)
    assert sum(p.numel() for p in small.parameters()) == 8970
    with pytest.raises(ValueError, match="widths must be two numbers or more"):
        mlp(3, seed=0)


def test_accuracy_counts_what_is_right():
    x = torch.eye(4)
    assert accuracy(torch.nn.Identity(), (x, torch.tensor([0, 1, 2, 0]))) == 0.75
