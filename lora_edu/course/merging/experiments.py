"""Measurement: what a model takes as it is, merged, with LoRA apart, with adapters."""

import copy
import platform
import time
from collections.abc import Sequence

import torch
from torch import nn

from lora_edu.adapt import merge_and_unload
from lora_edu.course.experiments import Row, Settings, experiment
from lora_edu.course.timing import Timings, compare
from lora_edu.course.training import seed_everything
from lora_edu.layers import LoRALinear, is_linear
from lora_edu.variants import BottleneckAdapter

SHAPE = {  # of MiniLM-L6, but for its vocabulary
    "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
    "intermediate_size": 1536, "vocab_size": 1000,
}  # fmt: skip
SIZES = {"r": 6, "lora_alpha": 12, "width": 10, "std": 0.05}


def encoder(seed: int = 0, shape: Settings = SHAPE) -> nn.Module:
    """Return a BERT with random weights: the time does not depend on them."""
    from transformers import BertConfig, BertModel

    seed_everything(seed)
    model = BertModel(BertConfig(**shape), add_pooling_layer=False)
    return model.requires_grad_(False).eval()


def adapted(base: nn.Module, method: str, seed: int = 0, sizes: Settings = SIZES) -> nn.Module:
    """Return a copy of ``base`` with "LoRA" or "bottleneck" at the sites of Houlsby et al.

    Those are the output projections of attention and of the feed-forward block. LoRA's r and the
    bottleneck's width give parameter counts within 1 %. What starts at zero is drawn, as if it had
    been trained.
    """
    model = copy.deepcopy(base)
    seed_everything(seed)
    linear = [name for name, module in model.named_modules() if is_linear(module)]
    for parent, _, child in [n.rpartition(".") for n in linear if n.endswith(".output.dense")]:
        block = model.get_submodule(parent)
        site = getattr(block, child)
        if method == "LoRA":
            layer = LoRALinear(site, sizes["r"], sizes["lora_alpha"])
        else:
            layer = BottleneckAdapter(site, sizes["width"])
        setattr(block, child, layer)
        for weight in (p for p in layer.parameters() if p.requires_grad and p.ndim == 2):
            nn.init.normal_(weight, std=sizes["std"])
    return model.eval()


def candidates(base: nn.Module, seed: int = 0, sizes: Settings = SIZES) -> dict[str, nn.Module]:
    """Return the five to compare, each a copy, so that all lie in memory alike.

    "copy" is the base a second time: how far its ratio is from 1 is noise.
    """
    apart = {method: adapted(base, method, seed, sizes) for method in ("LoRA", "bottleneck")}
    merged = merge_and_unload(copy.deepcopy(apart["LoRA"]))
    return {"base": copy.deepcopy(base), "copy": copy.deepcopy(base), "merged": merged, **apart}


@torch.no_grad()
def measure(
    models: dict[str, nn.Module], batch: int, tokens: int, rounds: int, seconds: float = 0.03
) -> Timings:
    """Time each model on the same random tokens, (batch, tokens), in one thread.

    The seconds are those that the thread computes, not those in which other programs have its core.
    """
    torch.set_num_threads(1)
    ids = torch.randint(1000, (batch, tokens), generator=torch.Generator().manual_seed(0))
    calls = {name: lambda model=model: model(ids) for name, model in models.items()}
    return compare(calls, rounds, seconds, clock=time.process_time)


@experiment(compared=("ratio",), tolerance=0.1)
def latency(
    *, shape: Settings = SHAPE, sizes: Settings = SIZES,
    cases: Sequence[tuple[int, int]] = ((1, 16), (1, 128), (8, 32), (32, 32)),
    rounds: int = 60, sample_seconds: float = 0.03,
) -> Row:  # fmt: skip
    """Record every round of every case, a batch of so many tokens."""
    models, found = candidates(encoder(shape=shape), sizes=sizes), []
    for batch, tokens in cases:
        timings = measure(models, batch, tokens, rounds, sample_seconds)
        ratio = {name: [round(q, 4) for q in timings.ratio(name, "base")] for name in models}
        seconds = {name: [float(f"{s:.4g}") for s in row] for name, row in timings.seconds.items()}
        found.append({"batch": batch, "tokens": tokens, "ratio": ratio, "seconds": seconds})
    return {"processor": platform.machine(), "threads": 1, "cases": found}
