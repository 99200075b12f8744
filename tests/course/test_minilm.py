"""The tools for MiniLM, on a tiny BERT with random weights: no assets needed."""

import copy

import numpy as np
import pytest
import torch
import transformers
from lessons.real_model.cases import neighbours

from lora_edu.adapt import merge_and_unload
from lora_edu.course import minilm as lab

SMALL = {"hidden_size": 24, "num_hidden_layers": 6, "num_attention_heads": 2, "vocab_size": 50}


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    config = transformers.BertConfig(**SMALL, intermediate_size=40, num_labels=3)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    return transformers.BertForSequenceClassification(config).eval()


@pytest.fixture(scope="module")
def posts():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(50, (40, 7), generator=generator)
    mask = (torch.arange(7) < torch.randint(2, 8, (40, 1), generator=generator)).long()
    return ids, mask, torch.randint(3, (40,), generator=generator)


@pytest.fixture(scope="module")
def cached(base, posts):
    return lab.cached(base, posts, size=16)


@pytest.fixture(scope="module")
def whole(base, posts):
    """What transformers gives for the posts, states included."""
    with torch.no_grad():
        return base(posts[0], attention_mask=posts[1], output_hidden_states=True)


@torch.no_grad()
def test_the_top_computes_what_the_whole_model_does(base, posts, cached, whole):
    top, real = lab.Top(base), posts[1][..., None]  # what padding holds is no matter
    torch.testing.assert_close(top(*cached[:2]), whole.logits)
    torch.testing.assert_close(top.embed(*cached[:2]) * real, whole.hidden_states[-1] * real)


def test_accuracy_is_that_of_the_whole_model_from_whatever_layer(base, posts, whole):
    right = (whole.logits.argmax(1) == posts[2]).double().mean()
    for layers in (lab.LAYERS, (5,)):
        part = lab.cached(base, posts, layer=layers[0])
        assert lab.accuracy(base, part, layers) == pytest.approx(right.item())


WAYS = [((), None, []), (lab.QUERY_VALUE, 2, ["lora_A", "lora_B"] * 4)]
WAYS += [(lab.MODULES, None, ["weight"] * 12)]


@pytest.mark.parametrize(("modules", "r", "trained"), WAYS)
def test_what_trains_moves_and_nothing_else(base, cached, modules, r, trained):
    model = lab.adapt(base, 0, modules, r)
    names = [n for n, p in model.named_parameters() if p.requires_grad and "classifier" not in n]
    assert [name.rpartition(".")[2] for name in names] == trained
    before = copy.deepcopy(model.state_dict())
    lab.train(model, cached, 1e-2, seed=0, epochs=1)
    moved = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert moved == {*names, "classifier.weight", "classifier.bias"}


def test_a_seed_draws_the_head_the_adapter_and_the_order(base, cached):
    def run(seed, epochs):
        model = lab.adapt(base, seed, lab.QUERY_VALUE, 2)
        lab.train(model, cached, 1e-2, seed, epochs)
        return model.classifier.weight, lab.lora_layers(model)[lab.QUERY_VALUE[0]].lora_A

    for epochs in (0, 1):
        for one, again, other in zip(*(run(seed, epochs) for seed in (0, 0, 1)), strict=True):
            assert torch.equal(one, again)
            assert not torch.equal(one, other)


def test_rates_are_those_of_body_head_and_lora_b(base, cached, monkeypatch):
    def rates(modules, r, **how):
        model, seen = lab.adapt(base, 0, modules, r), {}
        names = {parameter: name for name, parameter in model.named_parameters()}

        def fit(top, batches, loss, optimizer, epochs):
            assert (batches.size, epochs) == (16, 2)
            for group in optimizer.param_groups:
                seen.update((names[p].rpartition(".")[2], group["lr"]) for p in group["params"])

        monkeypatch.setattr(lab, "fit", fit)
        lab.train(model, cached, 1e-3, 0, **how)
        return seen

    assert rates((), None) == {"weight": 1e-3, "bias": 1e-3}
    lora = rates(lab.QUERY_VALUE, 2, ratio=4, head_lr=0.5)
    assert lora == {"lora_A": 1e-3, "lora_B": 4e-3, "weight": 0.5, "bias": 0.5}


def test_updates_are_what_was_added(base, cached):
    lora = lab.train(lab.adapt(base, 0, lab.QUERY_VALUE, 2, 4), cached, 1e-2, 0, 1)
    assert {layer.scaling for layer in lab.lora_layers(lora).values()} == {2}
    merged = merge_and_unload(copy.deepcopy(lora))
    for name, delta in lab.updates(lora, base).items():
        added = merged.get_submodule(name).weight - base.get_submodule(name).weight
        assert delta.dtype == torch.float64  # and the model itself is left in float32
        torch.testing.assert_close(delta.float(), added.detach(), atol=1e-6, rtol=1e-4)
    assert next(lora.parameters()).dtype == torch.float32


def test_other_updates_take_the_place_of_the_trained_ones(base, cached):
    full = lab.train(lab.adapt(base, 0, lab.MODULES), cached, 1e-3, 0, 1)
    deltas = lab.updates(full, base)
    for times, like in ((1, full), (0, base)):
        other = lab.replaced(full, base, {n: times * delta.double() for n, delta in deltas.items()})
        for name in lab.MODULES:
            weights = (model.get_submodule(name).weight for model in (other, like))
            torch.testing.assert_close(*weights)
        assert torch.equal(other.classifier.weight, full.classifier.weight)


def test_moments_are_those_of_what_enters_a_module(base, cached):
    found = lab.moments(base, cached)
    hidden, mask, _ = cached
    x = hidden[mask == 1].double()  # what enters layer 4: its query, key and value
    centred = x - x.mean(0)
    for name in lab.MODULES[:3]:
        torch.testing.assert_close(found[name], (x.T @ x, centred.T @ centred))
    assert not base.get_submodule(lab.MODULES[0])._forward_pre_hooks


def test_neighbours_are_found_by_definition(base, cached):
    with torch.no_grad():
        tokens = lab.Top(base).embed(*cached[:2]).numpy()  # (n, L, 24)
    mask, y = cached[1].numpy(), cached[2].numpy()
    e = np.stack([t[m == 1].mean(0) for t, m in zip(tokens, mask, strict=True)])
    assert lab.neighbours(base, cached) == pytest.approx(neighbours(e, y))
