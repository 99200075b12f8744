"""A network of two blocks, each with three linear layers, and a head; and inputs for it."""

from collections import OrderedDict

import torch
from torch import nn

X = torch.linspace(-1, 1, 12).view(3, 4)


def block():
    layers = {"query": nn.Linear(4, 4), "key": nn.Linear(4, 4), "tanh": nn.Tanh()}
    layers["value"] = nn.Linear(4, 4, bias=False)
    return nn.Sequential(OrderedDict(layers))


def tiny_net():
    """Return the same network at each call, in eval mode: ``body.layers.0.query``, ``head``."""
    torch.manual_seed(0)
    body = OrderedDict(layers=nn.Sequential(block(), block()))
    return nn.Sequential(OrderedDict(body=nn.Sequential(body), head=nn.Linear(4, 3))).eval()
