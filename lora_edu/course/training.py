"""One training loop for the whole course. It knows a model's parameters, and nothing of LoRA."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class History:
    """What a run leaves behind: ``loss`` before each step, ``validation`` after each epoch."""

    loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)


class Batches:
    """Mini-batches of tensors of one length n, each sample once a pass, in a new order each time.

    ``size`` samples in each, fewer in the last. The ``generator`` that shuffles is their own: no
    other draw of random numbers changes the order.
    """

    def __init__(self, *tensors: Tensor, size: int, generator: torch.Generator) -> None:
        lengths = [len(tensor) for tensor in tensors]
        if len(set(lengths)) != 1 or not lengths[0]:
            raise ValueError(f"tensors must be of one length, at least 1, got lengths {lengths}")
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.tensors, self.size, self.generator = tensors, size, generator

    def __len__(self) -> int:
        return math.ceil(len(self.tensors[0]) / self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        order = torch.randperm(len(self.tensors[0]), generator=self.generator)  # (n,)
        for chosen in order.split(self.size):  # (size,)
            yield tuple(tensor[chosen] for tensor in self.tensors)


def fit(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, ...]],
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    epochs: int = 1,
    *,
    validate: Callable[[nn.Module], float] | None = None,
) -> History:
    """Train the parameters that ``optimizer`` holds: ``epochs`` passes over ``batches``.

    These are tuples (input, ..., target): a list (``[(x, y)]`` trains on all samples at once),
    ``Batches`` or a ``DataLoader``; not an iterator, which would be empty at the second epoch.
    ``loss(model(input, ...), target)`` is a scalar tensor, ``validate(model)`` a number, after each
    epoch and without gradients. The model is in ``train()`` for its steps, in ``eval()`` while it
    is validated, then as it came.

    A TypeError if ``batches`` is an iterator; a FloatingPointError if the loss is not finite: the
    step that it would have led to is not taken.
    """
    if isinstance(batches, Iterator):
        raise TypeError(f"batches must be iterable anew each epoch, got {type(batches).__name__}")
    history, mode = History(), model.training
    try:
        for _ in range(epochs):
            model.train()
            for *inputs, target in batches:
                value = loss(model(*inputs), target)
                history.loss.append(value.item())
                if not math.isfinite(history.loss[-1]):
                    found = f"{history.loss[-1]} at step {len(history.loss)}"
                    raise FloatingPointError(f"the loss is {found}: try a smaller lr")
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
            if validate is not None:
                model.eval()
                with torch.no_grad():
                    history.validation.append(float(validate(model)))
    finally:
        model.train(mode)
    return history
