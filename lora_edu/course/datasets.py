"""Data for the lessons, and the small network that they train on it."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lora_edu import assets

COMP = (  # five neighbouring topics: hard enough that fine-tuning has something to do
    "comp.graphics", "comp.os.ms-windows.misc", "comp.sys.ibm.pc.hardware",
    "comp.sys.mac.hardware", "comp.windows.x",
)  # fmt: skip


class Parts(NamedTuple):
    """Three disjoint parts of some data."""

    train: Any
    validation: Any
    test: Any


Digits = Parts  # each (x, y): x (n, 64), from 0 to 1, float64; y (n,), the digit


def digits(
    degrees: float = 0,
    *,
    inverted: bool = False,
    shuffle_labels: int | None = None,
    validation: int = 400,
    test: int = 400,
    split: int = 0,
) -> Digits:
    """Return scikit-learn's 1,797 handwritten digits of 8 × 8 pixels, in the same parts each time.

    In which part a sample lies the seed ``split`` draws, whatever is done to the sample: turned
    anticlockwise by ``degrees``, light and dark ``inverted``. ``shuffle_labels``, a seed, permutes
    all labels of the training part: as many of each digit, and no relation to the pictures.
    ``validation`` and ``test`` are sizes; the other samples, 997, are for training. The parts share
    their writers. In float64: in float32 the roundings of another processor grow, while a network
    trains, into points of accuracy.
    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI.
    """
    from scipy.ndimage import rotate
    from sklearn.datasets import load_digits

    if not isinstance(split, int) or split < 0:
        raise ValueError(f"split must be an integer, at least 0, got {split!r}")
    data: Any = load_digits()
    x = data.images / 16  # (1797, 8, 8)
    if degrees:
        x = rotate(x, degrees, axes=(2, 1), reshape=False, order=1)  # bilinear; outside is 0
    x = torch.tensor(1 - x if inverted else x, dtype=torch.float64).flatten(1)  # (1797, 64)
    y = torch.tensor(data.target)  # (1797,)
    order = np.random.default_rng(split).permutation(len(x))
    parts = torch.tensor(order).split([len(x) - validation - test, validation, test])
    train, *held_out = ((x[part], y[part]) for part in parts)
    if shuffle_labels is not None:
        generator = torch.Generator().manual_seed(shuffle_labels)
        pictures, labels = train
        train = pictures, labels[torch.randperm(len(labels), generator=generator)]
    return Digits(train, *held_out)


def mlp(*widths: int, seed: int) -> nn.Sequential:
    """Return linear layers ``fc1``, ``fc2``, … with ReLU between them, drawn from ``seed``.

    ``widths``: inputs, hidden layers, outputs. In float64, as the digits are. PyTorch's global
    generator is left as it was.
    """
    if len(widths) < 2:
        raise ValueError(f"widths must be two numbers or more, got {widths}")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for number, pair in enumerate(pairwise(widths), start=1):
            layers[f"fc{number}"] = nn.Linear(*pair, dtype=torch.float64)
            layers[f"relu{number}"] = nn.ReLU()
    layers.popitem()  # none after the last
    return nn.Sequential(layers)


def newsgroups(
    groups: Sequence[str] = COMP,
    *,
    sizes: tuple[int, int, int] = (1500, 500, 1500),
    length: int = 32,
    split: int = 0,
) -> Parts:
    """Return posts of 20 Newsgroups, each cut to ``length`` tokens; the class is its place.

    Each part is (ids, mask, y), int64, as transformers takes them: (n, L) tokens, (n, L) 1 for
    text, (n,) class.
    ``sizes``: how many posts to train, validate (both before a date) and test (after it) on. The
    seed ``split`` draws which. A text that occurs twice, in whatever group or part, is kept where
    it is first. Tokenised as MiniLM was trained. A ValueError for an unknown group, too few posts,
    a negative size, or a length below 3 (two tokens mark the start and the end).
    Source: Lang 1995, NewsWeeder; the split by date.
    """
    from tokenizers import Tokenizer

    if len(sizes) != 3 or min(sizes) < 0:
        raise ValueError(f"sizes must be three numbers, none negative, got {sizes}")
    if length < 3:
        raise ValueError(f"length must be at least 3, got {length}")
    first: dict[str, tuple[str, str]] = {}  # text → part, group
    for part in ("train", "test"):
        path = assets.path("newsgroups") / f"20newsgroups-{part}.tab"
        for line in path.read_text(encoding="utf-8").splitlines()[4:]:  # below the header
            group, text = line.split("\t")
            first.setdefault(text, (part, group))
    if unknown := set(groups) - {group for _, group in first.values()}:
        raise ValueError(f"groups must be of the 20 newsgroups, got {sorted(unknown)}")
    tokenizer = Tokenizer.from_file(str(assets.path("minilm") / "tokenizer.json"))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    parts: list[Any] = []
    for part, wanted in (("train", sizes[:2]), ("test", sizes[2:])):
        posts = [
            (text, groups.index(group))
            for text, (where, group) in first.items()
            if where == part and group in groups
        ]
        if len(posts) < sum(wanted):
            raise ValueError(f"sizes must fit: {sum(wanted)} to {part}, got {len(posts)} posts")
        order = np.random.default_rng(split).permutation(len(posts))[: sum(wanted)]
        encoded = tokenizer.encode_batch([posts[i][0] for i in order])
        ids = torch.tensor([e.ids for e in encoded])  # (n, L)
        mask = torch.tensor([e.attention_mask for e in encoded])  # (n, L)
        y = torch.tensor([posts[i][1] for i in order])  # (n,)
        parts += zip(ids.split(wanted), mask.split(wanted), y.split(wanted), strict=True)
    return Parts(*parts)


@torch.no_grad()
def accuracy(model: nn.Module, part: tuple[Tensor, Tensor]) -> float:
    """Return the share of samples of ``part`` whose largest output is that of their label."""
    x, y = part
    return (model(x).argmax(-1) == y).double().mean().item()
