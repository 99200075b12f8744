"""The digits in their parts, small networks, and posts of a made-up asset."""

import pytest
import torch
from sklearn.datasets import load_digits

from lora_edu import assets
from lora_edu.course.datasets import COMP, digits, mlp, newsgroups


def same(one, other):
    """Whether two data sets hold the same tensors in the same parts."""
    pairs = zip(sum(one, ()), sum(other, ()), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("split", [0, 1])
def test_each_sample_is_in_one_part_and_always_in_the_same(split):
    data = digits(split=split)
    assert [len(y) for _, y in data] == [997, 400, 400]
    assert all(x.dtype == torch.float64 and y.dtype == torch.int64 for x, y in data)
    rows = [torch.cat([x * 16, y[:, None]], 1) for x, y in data]
    original = load_digits()
    expected = torch.tensor([[*x, y] for x, y in zip(original.data, original.target, strict=True)])
    assert sorted(torch.cat(rows).tolist()) == sorted(expected.tolist())
    torch.manual_seed(7)
    assert same(digits(split=split), data)
    assert not same(digits(split=1 - split), data)


def test_a_quarter_turn_is_exact_and_anticlockwise_and_moves_no_sample():
    turned, upright = digits(90), digits()
    for (x, y), (x0, y0) in zip(turned, upright, strict=True):
        expected = torch.rot90(x0.unflatten(1, (8, 8)), 1, dims=(1, 2)).flatten(1)
        torch.testing.assert_close(x, expected, atol=1e-6, rtol=0)
        assert torch.equal(y, y0)


def test_shuffled_labels_keep_their_counts_and_leave_the_other_parts_alone():
    upright, shuffled = digits(45), digits(45, shuffle_labels=0)
    (x, y), (x0, y0) = shuffled.train, upright.train
    assert torch.equal(x, x0)
    assert torch.equal(torch.bincount(y), torch.bincount(y0))
    assert (y == y0).double().mean() < 0.2
    assert same(shuffled[1:], upright[1:])
    assert same(digits(45, shuffle_labels=0), shuffled)
    assert not same(digits(45, shuffle_labels=1), shuffled)


def test_a_network_is_drawn_from_its_seed_alone():
    torch.manual_seed(3)
    model, drawn = mlp(64, 32, 16, 10, seed=0), torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), drawn)
    assert [n for n, _ in model.named_children()] == ["fc1", "relu1", "fc2", "relu2", "fc3"]
    assert model.fc2.weight.shape == (16, 32)
    assert torch.equal(model.fc2.weight, mlp(64, 32, 16, 10, seed=0).fc2.weight)
    assert not torch.equal(model.fc2.weight, mlp(64, 32, 16, 10, seed=1).fc2.weight)


# -- posts --------------------------------------------------------------------------------------


@pytest.fixture
def posts(monkeypatch, tmp_path):
    """Two groups in place of the asset: post n has the words n, n + 1, …, n % 12 + 1 of them."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [f"w{number}" for number in range(400)]
    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for part, start in (("train", 0), ("test", 200)):
        rows = [f"{'ab'[n % 2]}\t{' '.join(words[start + n :][: 1 + n % 12])}" for n in range(60)]
        rows += ["a\tw0", "b\tw0", "c\tw7 w7"]  # w0 is a text of a's already
        text = "\n".join(["Category\tText", "d\tstring", "class\t", "", *rows, ""])
        (tmp_path / f"20newsgroups-{part}.tab").write_text(text)
    monkeypatch.setattr(assets, "path", lambda name: tmp_path)


def made(sizes=(40, 20, 60), **how):
    return newsgroups(("a", "b"), sizes=sizes, **{"length": 12, **how})


def test_posts_are_split_by_date_and_none_comes_twice(posts):
    rows = [tuple(ids.tolist()) for part in made() for ids in part[0]]
    assert len(rows) == len(set(rows)) == 120
    one, again, other = (made((20, 10, 30), split=split) for split in (0, 0, 1))
    train, validation, test = (ids[:, 0] - 2 for ids, _, _ in one)  # w0 has the number 2
    assert max(train.max(), validation.max()) < 60
    assert test.min() >= 200
    assert same(one, again)
    assert not any(torch.equal(a[0], b[0]) for a, b in zip(one, other, strict=True))


def test_posts_are_cut_padded_and_labelled(posts):
    for ids, mask, y in made(length=5):
        number = (ids[:, 0] - 2) % 200
        assert ids.shape == mask.shape == (len(y), 5)
        assert torch.equal(y, number % 2)
        assert torch.equal(mask.sum(1), (number % 12 + 1).clamp(max=5))
        assert torch.equal(ids == 0, mask == 0)
        assert ids.dtype == mask.dtype == y.dtype == torch.int64


NO_SUCH_POSTS = [
    ({"groups": ("a", "x")}, r"groups must be of the 20 newsgroups, got \['x'\]"),
    ({"sizes": (1, 1, 61)}, "sizes must fit: 61 to test, got 60 posts"),
    ({"sizes": (-1, 2, 2)}, r"sizes must be three numbers.*, got \(-1, 2, 2\)"),
    ({"sizes": (2, 2, 2), "length": 2}, "length must be at least 3, got 2"),
]


@pytest.mark.parametrize(("how", "message"), NO_SUCH_POSTS)
def test_posts_that_are_not_there(posts, how, message):
    with pytest.raises(ValueError, match=message):
        newsgroups(**{"groups": ("a", "b"), **how})


@pytest.mark.assets
def test_the_real_posts_have_five_balanced_classes():
    data = newsgroups()
    assert [len(y) for _, _, y in data] == [1500, 500, 1500]
    assert all((torch.bincount(y, minlength=len(COMP)) > 0.15 * len(y)).all() for _, _, y in data)
    assert all((ids[:, 0] == 101).all() for ids, _, _ in data)  # [CLS]
