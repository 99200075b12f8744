"""Fine-tuning on real text: the upper two layers of MiniLM, a sentence encoder, meet newsgroups.

Letters: n = texts, L = tokens of a text; d, k and r as everywhere.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from lora_edu import assets
from lora_edu.adapt import LoraConfig, add_lora, lora_layers
from lora_edu.course.datasets import COMP, newsgroups
from lora_edu.course.training import Batches, fit
from lora_edu.layers import dense_weight

if TYPE_CHECKING:
    from transformers import BertForSequenceClassification as MiniLM
    from transformers import BertLayer

Part = tuple[Tensor, Tensor, Tensor]  # what enters layer 4 (n, L, 384), mask (n, L), class (n,)

LAYERS = (4, 5)  # of 0 … 5: these two train
ATTENTION = ("attention.self.query", "attention.self.key", "attention.self.value")
PARTS = (*ATTENTION, "attention.output.dense", "intermediate.dense", "output.dense")
MODULES = tuple(f"bert.encoder.layer.{i}.{part}" for i in LAYERS for part in PARTS)
QUERY_VALUE = tuple(name for name in MODULES if name.endswith(("query", "value")))
ELSEWHERE = (  # groups that no fine-tuning sees
    "rec.autos", "rec.sport.hockey", "sci.crypt", "sci.med", "sci.space", "soc.religion.christian",
    "talk.politics.guns", "talk.politics.mideast",
)  # fmt: skip
POSTS = {"groups": COMP, "sizes": (1000, 500, 1000), "length": 32}
ELSEWHERE_POSTS = {"groups": ELSEWHERE, "sizes": (600, 0, 0), "length": 32}


def pretrained(classes: int = 5) -> MiniLM:
    """Return MiniLM with a new head, in ``eval()`` and without dropout."""
    import transformers

    transformers.logging.set_verbosity_error()  # it would warn of the new head, as it should
    transformers.logging.disable_progress_bar()
    kind = transformers.AutoModelForSequenceClassification
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return kind.from_pretrained(assets.path("minilm"), num_labels=classes, **no_dropout).eval()


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
        """Return the logits, (n, classes). Only the first token is computed in the last layer.

        The head reads no other. It saves a third of the time.
        """
        first = self.embed(hidden, mask, slice(0, 1))  # (n, 1, 384)
        pooler = self.model.bert.pooler
        assert pooler is not None
        return self.model.classifier(pooler(first))


@torch.no_grad()
def cached(model: MiniLM, part: Part, size: int = 100, layer: int = LAYERS[0]) -> Part:
    """Return (hidden, mask, y): the ids become what enters a layer, so those below run once."""
    below, words = Top(model, range(layer)), model.bert.embeddings
    hidden = _over(part, lambda ids, mask: below.embed(words(input_ids=ids), mask), size)
    return hidden, part[1], part[2]


@functools.lru_cache(maxsize=1)
def encoder() -> MiniLM:
    """Return the model of the recorded runs, loaded once; callers restore what they change."""
    return pretrained()


@functools.lru_cache(maxsize=6)
def cached_part(name: str, seed: int, **posts: Any) -> Part:
    """Return a part of the posts that a seed draws, train, validation or test, up to layer 4."""
    return cached(encoder(), getattr(newsgroups(**posts, split=seed), name))


def adapt(
    base: MiniLM,
    seed: int,
    modules: Collection[str] = (),
    r: int | None = None,
    lora_alpha: float = 8,
) -> MiniLM:
    """Return a copy of ``base`` with a new head, ready to train: LoRA of rank r on ``modules``.

    Without ``r`` their weights train as a whole; without modules the head alone does. Biases and
    norms stay in any case.
    """
    model = copy.deepcopy(base).requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.classifier.reset_parameters()
        if r is not None:
            how: dict[str, Any] = {"r": r, "lora_alpha": lora_alpha}
            how["modules_to_save"] = ["classifier"]
            add_lora(model, LoraConfig(target_modules=list(modules), **how))
    model.classifier.requires_grad_(True)
    for name in modules if r is None else ():
        dense_weight(model.get_submodule(name)).requires_grad_(True)
    return model


def train(
    model: MiniLM,
    part: Part,
    lr: float,
    seed: int,
    epochs: int = 2,
    size: int = 16,
    head_lr: float = 2e-2,
    layers: Sequence[int] = LAYERS,
    ratio: float = 1,
) -> MiniLM:
    """Train what is trainable with Adam, in batches of ``size``; the head at a rate of its own.

    (Where the head trains alone, that is ``lr``.) ``part`` holds what enters the first of
    ``layers``. ``ratio`` is that of LoRA+: lora_B learns at ``ratio * lr``.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    alone = all(name.startswith("classifier.") for name in trained)
    groups = []
    for name, parameter in trained.items():
        rate = ratio * lr if name.endswith("lora_B") else lr
        if name.startswith("classifier.") and not alone:
            rate = head_lr
        groups.append({"params": [parameter], "lr": rate})
    optimizer = torch.optim.Adam(groups)
    batches = Batches(*part, size=size, generator=torch.Generator().manual_seed(seed))
    fit(Top(model, layers), batches, nn.functional.cross_entropy, optimizer, epochs)
    return model


@torch.no_grad()
def _over(part: Part, function: Any, size: int = 100) -> Tensor:
    batches = zip(part[0].split(size), part[1].split(size), strict=True)
    return torch.cat([function(hidden, mask) for hidden, mask in batches])


def accuracy(model: MiniLM, part: Part, layers: Sequence[int] = LAYERS) -> float:
    """Return the share of posts whose group is found; ``part`` as in :func:`train`."""
    return (_over(part, Top(model, layers)).argmax(-1) == part[2]).double().mean().item()


def neighbours(model: MiniLM, part: Part) -> float:
    """Return the share of posts whose nearest other one, by cosine, is of their own group.

    Compared are sentence embeddings, the mean over a post's tokens: no head is involved.
    """
    top = Top(model)

    def embedding(hidden: Tensor, mask: Tensor) -> Tensor:
        tokens = top.embed(hidden, mask) * mask[..., None]  # (n, L, 384)
        return tokens.sum(1) / mask.sum(1, keepdim=True)

    e, y = nn.functional.normalize(_over(part, embedding), dim=-1), part[2]
    nearest = (e @ e.T).fill_diagonal_(-2).argmax(1)  # (n,); a cosine is never below -1
    return (y[nearest] == y).double().mean().item()


def updates(
    model: nn.Module, base: nn.Module, modules: Collection[str] = MODULES
) -> dict[str, Tensor]:
    """Return ΔW by name, (d, k) each: of the LoRA layers, or else of ``modules``.

    That of LoRA in float64: in float32 its small singular values would drown in rounding.
    """
    if hasattr(model, "lora_config"):
        layers = copy.deepcopy(lora_layers(model))
        return {name: layer.double().delta_weight().detach() for name, layer in layers.items()}
    return {name: _weight(model, name) - _weight(base, name) for name in modules}


def _weight(model: nn.Module, name: str) -> Tensor:
    return dense_weight(model.get_submodule(name)).detach()  # (d, k)


def replaced(model: MiniLM, base: MiniLM, deltas: Mapping[str, Tensor]) -> MiniLM:
    """Return a fully fine-tuned ``model`` with other updates, W₀ + ΔW each; the head as it is."""
    other = copy.deepcopy(model)
    for name, delta in deltas.items():
        W0 = _weight(base, name)
        dense_weight(other.get_submodule(name)).data = W0 + delta.to(W0)
    return other


@torch.no_grad()
def moments(
    model: MiniLM, part: Part, modules: Collection[str] = MODULES
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return XᵀX by name, (k, k), where X holds what enters a module, a token a row.

    And the same of X less its mean row.
    """
    found: dict[str, Tensor] = {}

    def look(name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0][mask[:, : inputs[0].shape[1]] == 1].double()  # (tokens, k), no padding
        x = nn.functional.pad(x, (0, 1), value=1)  # a column of ones, for the sums and the count
        found[name] = found.get(name, 0) + x.T @ x

    with contextlib.ExitStack() as hooks:
        for name in modules:
            hook = functools.partial(look, name)
            hooks.enter_context(model.get_submodule(name).register_forward_pre_hook(hook))
        for hidden, mask in zip(part[0].split(100), part[1].split(100), strict=True):
            Top(model)(hidden, mask)
    moments = {}
    for name, sums in found.items():
        squares, total, count = sums[:-1, :-1], sums[-1, :-1], sums[-1, -1]
        moments[name] = squares, squares - total.outer(total) / count
    return moments
