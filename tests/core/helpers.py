"""What many tests need: tensors, how near two are, a stand-in for training, errors as text."""

from itertools import cycle

import seen
import torch

from lora_edu import adapt, checkpoint
from lora_edu.adapt import LoraConfig


def randn(*shape, seed=0, dtype=torch.float32):
    """Return the same random tensor each time, whatever else draws."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def relative(ours, theirs):
    """Return the largest difference between two tensors, relative to the largest entry."""
    assert ours.shape == theirs.shape
    if not ours.numel():
        return 0.0
    ours, theirs = ours.detach().double(), theirs.detach().double()
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-300)).item()


def assert_near(ours, theirs, tolerance):
    """Fail unless two lists of tensors (or None) agree in dtype, shape, and up to the tolerance."""
    for one, other in zip(ours, theirs, strict=True):
        if one is None or other is None:
            assert one is other
        else:
            assert one.dtype == other.dtype
            assert relative(one, other) <= tolerance


def error_of(function, *args, **kwargs):
    """Return the error of a call as text, "ValueError: r must be at least 1, got 0"."""
    try:
        function(*args, **kwargs)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def attempt(action, model, *arguments):
    """Return (result, None), or (None, its error of one line), which leaves the model as it was."""
    before = seen.of_model(model)
    try:
        return action(model, *arguments), None
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        kind, said = type(error).__name__, str(error)
    assert len(said.splitlines()) == 1, said
    assert seen.of_model(model) == before, said
    return None, f"{kind}: {said}"


@torch.no_grad()
def scramble(model, seed):
    """Stand in for training: give every number of the adapter another value."""
    torch.manual_seed(seed)
    for name, tensor in adapt.adapter_tensors(model).items():
        if tensor.is_floating_point():
            tensor.uniform_(0.1 if name.endswith("_var") else -0.3, 0.7)
    return model


def save_random(model, folder, seed=0, **config):
    """Write an adapter of random numbers for the model, which gets it too; return the folder."""
    checkpoint.save_adapter(scramble(adapt.add_lora(model, LoraConfig(**config)), seed), folder)
    return folder


def said(*contents, roles=("user", "assistant")):
    """Return a conversation in which the roles take turns."""
    turns = zip(cycle(roles), contents, strict=False)
    return [{"role": role, "content": content} for role, content in turns]
