import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from lora_edu import assets
from lora_edu.course.datasets import COMP, accuracy, digits, mlp, newsgroups


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


def test_another_split_has_the_same_digits_in_other_parts():
    usual, other, turned = digits(), digits(split=1), digits(45, split=1)
    assert [len(y) for _, y in other] == [len(y) for _, y in usual]
    assert not same(other, usual)
    everything = [torch.cat([x for x, _ in parts]) for parts in (usual, other)]
    assert torch.equal(*(x.sum(1).sort().values for x in everything))
    assert all(torch.equal(y, y0) for (_, y), (_, y0) in zip(turned, other, strict=True))


@pytest.mark.parametrize("split", [-1, 1.5, "a"])
def test_a_split_is_a_seed(split):
    with pytest.raises(ValueError, match=f"split must be an integer, at least 0, got {split!r}"):
        digits(split=split)


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


@pytest.fixture
def posts(monkeypatch, tmp_path):
    """Two groups with texts of one to twelve words, some of them twice, in place of the asset."""
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


def test_posts_are_split_by_date_and_none_comes_twice(posts):
    data = newsgroups(("a", "b"), sizes=(40, 20, 60), length=12)
    rows = [tuple(ids.tolist()) for part in data for ids in part[0]]
    assert len(rows) == len(set(rows)) == 120
    first = [ids[:, 0] for ids, _, _ in data]  # the word w0 has id 2
    assert max(first[0].max(), first[1].max()) < 2 + 60
    assert first[2].min() >= 2 + 200
    again = newsgroups(("a", "b"), sizes=(40, 20, 60), length=12)
    assert same(again, data)


def test_a_seed_draws_the_split_and_each_part_stays_on_its_side_of_the_date(posts):
    splits = [newsgroups(("a", "b"), sizes=(20, 10, 30), length=12, split=s) for s in (0, 1, 1)]
    assert same(splits[1], splits[2])
    for part, other in zip(*splits[:2], strict=True):
        assert not torch.equal(part[0], other[0])
    first = [ids[:, 0] for ids, _, _ in splits[1]]  # the word w0 has id 2
    assert max(first[0].max(), first[1].max()) < 2 + 60 < 2 + 200 <= first[2].min()


def test_posts_are_cut_padded_and_labelled(posts):
    for ids, mask, y in newsgroups(("a", "b"), sizes=(40, 20, 60), length=5):
        number = (ids[:, 0] - 2) % 200  # of the row: its words are n, n + 1, …, n % 12 + 1 of them
        assert ids.shape == mask.shape == (len(y), 5)
        assert torch.equal(y, number % 2)
        assert torch.equal(mask.sum(1), (number % 12 + 1).clamp(max=5))
        assert torch.equal(ids == 0, mask == 0)
        assert ids.dtype == mask.dtype == y.dtype == torch.int64


def test_posts_that_are_not_there(posts):
    with pytest.raises(ValueError, match=r"groups must be of the 20 newsgroups, got \['x'\]"):
        newsgroups(("a", "x"))
    with pytest.raises(ValueError, match="sizes must fit: 61 to train, got 60 posts"):
        newsgroups(("a", "b"), sizes=(60, 1, 1))
    with pytest.raises(ValueError, match=r"sizes must be three numbers.*, got \(-1, 2, 2\)"):
        newsgroups(("a", "b"), sizes=(-1, 2, 2))
    with pytest.raises(ValueError, match="length must be at least 3, got 0"):
        newsgroups(("a", "b"), sizes=(2, 2, 2), length=0)


@pytest.mark.assets
def test_the_real_posts_have_five_balanced_classes():
    data = newsgroups()
    assert [len(y) for _, _, y in data] == [1500, 500, 1500]
    assert all((torch.bincount(y, minlength=len(COMP)) > 0.15 * len(y)).all() for _, _, y in data)
    assert all((ids[:, 0] == 101).all() for ids, _, _ in data)  # [CLS]
