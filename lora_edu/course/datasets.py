"""Data for the lessons, and the small network that they train on it."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Digits", "accuracy", "digits", "mlp"]

VALIDATION, TEST = 400, 400  # samples; the other 997 are for training


class Digits(NamedTuple):
    """Three disjoint parts; each is (x, y): x (n, 64), from 0 to 1, float32; y (n,), the digit."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def digits(
    degrees: float = 0, *, inverted: bool = False, shuffle_labels: int | None = None
) -> Digits:
    """Return scikit-learn's 1,797 handwritten digits of 8 × 8 pixels, always in the same split.

    A sample lies in the same part whatever is done to it: turned anticlockwise by ``degrees``,
    light and dark ``inverted``. ``shuffle_labels``, a seed, permutes all labels of the training
    part: as many of each digit, and no relation to the pictures. The parts share their writers.
    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI.
    """
    from scipy.ndimage import rotate
    from sklearn.datasets import load_digits

    data = load_digits()
    x = data.images / 16  # (1797, 8, 8)
    if degrees:
        x = rotate(x, degrees, axes=(2, 1), reshape=False, order=1)  # bilinear; outside is 0
    x = torch.tensor(1 - x if inverted else x, dtype=torch.float32).flatten(1)  # (1797, 64)
    y, order = torch.tensor(data.target), np.random.default_rng(0).permutation(len(x))
    parts = torch.tensor(order).split([len(x) - VALIDATION - TEST, VALIDATION, TEST])
    train, validation, test = ((x[part], y[part]) for part in parts)
    if shuffle_labels is not None:
        generator = torch.Generator().manual_seed(shuffle_labels)
        train = train[0], train[1][torch.randperm(len(train[1]), generator=generator)]
    return Digits(train, validation, test)


def mlp(*widths: int, seed: int) -> nn.Sequential:
    """Return linear layers ``fc1``, ``fc2``, … with ReLU between them, drawn from ``seed``.

    ``widths``: inputs, hidden layers, outputs. PyTorch's global generator is left as it was.
    """
    if len(widths) < 2:
        raise ValueError(f"widths must be two numbers or more, got {widths}")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for number, pair in enumerate(pairwise(widths), start=1):
            layers[f"fc{number}"] = nn.Linear(*pair)
            layers[f"relu{number}"] = nn.ReLU()
    layers.popitem()  # none after the last
    return nn.Sequential(layers)


@torch.no_grad()
def accuracy(model: nn.Module, part: tuple[Tensor, Tensor]) -> float:
    """Return the share of samples of ``part`` whose largest output is that of their label."""
    x, y = part
    return (model(x).argmax(-1) == y).double().mean().item()
