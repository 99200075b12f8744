"""Fine-tuning on real text: the upper two layers of MiniLM, a sentence encoder, meet newsgroups.

Letters: n = texts, L = tokens of a text; d, k and r as everywhere.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lora_edu import assets, lowrank
from lora_edu.adapt import LoraConfig, add_lora, lora_layers
from lora_edu.course.datasets import COMP
from lora_edu.course.training import Batches, fit
from lora_edu.layers import LoRALinear, dense_weight

if TYPE_CHECKING:
    from transformers import BertForSequenceClassification as MiniLM
    from transformers.models.bert.modeling_bert import BertLayer

Part = tuple[Tensor, Tensor, Tensor]  # what enters layer 4 (n, L, 384), mask (n, L), class (n,)

LAYERS = (4, 5)  # of 0 … 5: these two train
ATTENTION = ("attention.self.query", "attention.self.key", "attention.self.value")
PARTS = (*ATTENTION, "attention.output.dense", "intermediate.dense", "output.dense")
MODULES = tuple(f"bert.encoder.layer.{i}.{part}" for i in LAYERS for part in PARTS)
ADAPTED = tuple(name for name in MODULES if name.endswith(("query", "value")))  # get LoRA
ELSEWHERE = (  # groups that no fine-tuning sees
    "rec.autos", "rec.sport.hockey", "sci.crypt", "sci.med", "sci.space", "soc.religion.christian",
    "talk.politics.guns", "talk.politics.mideast",
)  # fmt: skip
POSTS = {"groups": COMP, "sizes": (1500, 500, 1500), "length": 32}  # of the experiments


def pretrained(classes: int = 5) -> MiniLM:
    """Return MiniLM with a new head, in ``eval()`` and without dropout."""
    import transformers

    transformers.logging.set_verbosity_error()  # it would warn of the new head, as it should
    transformers.logging.disable_progress_bar()
    return transformers.AutoModelForSequenceClassification.from_pretrained(
        assets.path("minilm"),
        num_labels=classes,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    ).eval()


class Top(nn.Module):
    """The upper layers of a model and its head: from what enters layer 4 to the logits.

    It shares the model's own modules: to train the one is to train the other.
    """

    def __init__(self, model: MiniLM, layers: Sequence[int] = LAYERS) -> None:
        super().__init__()
        self.model, self.layers = model, layers

    def embed(self, hidden: Tensor, mask: Tensor, tokens: slice = slice(None)) -> Tensor:
        """Return what leaves the last layer for some tokens, all by default: (n, L, 384)."""
        # Added to the attention scores: 0 for a token, the least number there is for padding.
        bias = (1 - mask[:, None, None].to(hidden)) * torch.finfo(hidden.dtype).min  # (n, 1, 1, L)
        for i in self.layers:
            layer = cast("BertLayer", self.model.bert.encoder.layer[i])
            of = tokens if i == self.layers[-1] else slice(None)
            context = layer.attention.self(hidden, bias)[0]  # (n, L, 384)
            hidden = layer.attention.output(context[:, of], hidden[:, of])
            hidden = layer.output(layer.intermediate(hidden), hidden)
        return hidden

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the logits, (n, classes). The head reads the first token: only that is computed.

        It saves a third of the time.
        """
        first = self.embed(hidden, mask, slice(0, 1))  # (n, 1, 384)
        pooler = self.model.bert.pooler
        assert pooler is not None
        return self.model.classifier(pooler(first))


@torch.no_grad()
def cached(model: MiniLM, part: Part, size: int = 100, layer: int = LAYERS[0]) -> Part:
    """Return (ids, mask, y) with, for the ids, what enters a layer: those below run this once."""
    ids, mask, y = part
    run = functools.partial(model.bert, output_hidden_states=True)
    batches = zip(ids.split(size), mask.split(size), strict=True)
    hidden = [run(i, attention_mask=m).hidden_states[layer] for i, m in batches]
    return torch.cat(hidden), mask, y


def adapt(
    base: MiniLM,
    method: str,
    seed: int,
    adapted: Sequence[str] = ADAPTED,
    modules: Sequence[str] = MODULES,
    lora_alpha: float = 8,
) -> MiniLM:
    """Return a copy of ``base`` with a new head, ready to train: "head", "r=8", … or "full".

    LoRA is put on the modules ``adapted``; "full" trains the weights of ``modules``. Biases and
    norms stay in both.
    """
    model = copy.deepcopy(base).requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.classifier.reset_parameters()
        if method.startswith("r="):
            config = LoraConfig(
                target_modules=adapted,
                r=int(method.removeprefix("r=")),
                lora_alpha=lora_alpha,
                modules_to_save=["classifier"],
            )
            add_lora(model, config)
    model.classifier.requires_grad_(True)
    if method == "full":
        for name in modules:
            weight = dense_weight(model.get_submodule(name))
            weight.requires_grad_(True)
    return model


def train(
    model: MiniLM,
    part: Part,
    lr: float,
    seed: int,
    epochs: int = 3,
    size: int = 32,
    head_lr: float = 5e-3,
    layers: Sequence[int] = LAYERS,
) -> MiniLM:
    """Train what is trainable with Adam, in batches of ``size``; the head at a rate of its own.

    (Where the head trains alone, that is ``lr``.) ``part`` holds what enters the first of
    ``layers``.
    """
    head = list(model.classifier.parameters())
    body = list(trained(model))
    groups = [{"params": body, "lr": lr}, {"params": head, "lr": head_lr if body else lr}]
    optimizer = torch.optim.Adam([group for group in groups if group["params"]])
    batches = Batches(*part, size=size, generator=torch.Generator().manual_seed(seed))
    fit(Top(model, layers), batches, nn.functional.cross_entropy, optimizer, epochs)
    return model


def trained(model: MiniLM) -> Iterator[nn.Parameter]:
    """Iterate over what trains but for the head."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not name.startswith("classifier."):
            yield parameter


@torch.no_grad()
def _over(part: Part, function: Any, size: int = 100) -> Tensor:
    batches = zip(part[0].split(size), part[1].split(size), strict=True)
    return torch.cat([function(hidden, mask) for hidden, mask in batches])


def accuracy(model: MiniLM, part: Part, layers: Sequence[int] = LAYERS) -> float:
    """Return the share of posts whose group is found; ``part`` as in :func:`train`."""
    return (_over(part, Top(model, layers)).argmax(-1) == part[2]).double().mean().item()


def neighbours(model: MiniLM, part: Part) -> float:
    """Return the share of posts whose nearest neighbour among them is of their own group.

    By the cosine of the mean over the tokens: what this encoder was made for. No head is involved.
    """

    def mean(hidden: Tensor, mask: Tensor) -> Tensor:
        tokens = Top(model).embed(hidden, mask) * mask[..., None]  # (n, L, 384)
        return nn.functional.normalize(tokens.sum(1), dim=-1)  # (n, 384); its length is no matter

    e, y = _over(part, mean), part[2]
    nearest = (e @ e.T).fill_diagonal_(-2).argmax(1)  # (n,); a cosine is never below -1
    return (y[nearest] == y).double().mean().item()


def updates(
    model: nn.Module, base: nn.Module, modules: Sequence[str] = MODULES
) -> dict[str, Tensor]:
    """Return ΔW by name, (d, k) each: of the LoRA layers, or else of ``modules``.

    That of LoRA in float64: in float32 its small singular values would drown in rounding.
    """
    if hasattr(model, "lora_config"):
        layers = copy.deepcopy(lora_layers(model))
        return {name: layer.double().delta_weight().detach() for name, layer in layers.items()}
    deltas = {}
    for name in modules:
        new, old = dense_weight(model.get_submodule(name)), dense_weight(base.get_submodule(name))
        deltas[name] = (new - old).detach()
    return deltas


def truncated(model: MiniLM, base: MiniLM, k: int, modules: Sequence[str] = MODULES) -> MiniLM:
    """Return a fully fine-tuned ``model`` with each update cut to rank k; the head as it is."""
    cut = copy.deepcopy(model)
    for name, delta in updates(model, base, modules).items():
        weight = dense_weight(base.get_submodule(name)).detach().clone()
        if k:
            weight += torch.from_numpy(lowrank.best_approximation(delta.numpy(), k))
        dense_weight(cut.get_submodule(name)).data = weight
    return cut


def intruders(
    W0: Tensor, tuned: Tensor, k: int = 10, epsilons: Sequence[float] = (0.5, 0.7, 0.8, 0.9)
) -> list[int]:
    """Count the top-k left singular vectors of ``tuned`` that W0 has nothing like, for each ε.

    Nothing like: every |cosine| with a left singular vector of ``W0`` is below ε. Shapes: W0 and
    tuned (d, k). Source: Shuttleworth et al. 2024 (arXiv:2410.21228), definition of section 3.
    """
    old, new = (torch.linalg.svd(W.detach().double(), full_matrices=False)[0] for W in (W0, tuned))
    most = (old.T @ new[:, :k]).abs().amax(0)  # (k,)
    return [int((most < epsilon).sum()) for epsilon in epsilons]


def similarity(
    one: Mapping[str, LoRALinear],
    other: Mapping[str, LoRALinear],
    adapted: Sequence[str] = ADAPTED,
) -> list[NDArray[np.floating]]:
    """Return φ of lora_A for all i, j, for each of ``adapted``; takes LoRA layers by name."""
    found = []
    for name in adapted:
        A_1, A_2 = one[name].lora_A.detach().numpy(), other[name].lora_A.detach().numpy()
        found.append(lowrank.subspace_similarity(A_1, A_2))
    return found
