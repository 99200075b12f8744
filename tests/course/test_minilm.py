"""The tools for MiniLM, on a tiny BERT with random weights: no assets needed."""

import copy

import numpy as np
import pytest
import torch
import transformers

from lora_edu import lowrank
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


def test_the_top_computes_what_the_whole_model_does(base, posts, cached):
    with torch.no_grad():
        whole = base(posts[0], attention_mask=posts[1], output_hidden_states=True)
        top = lab.Top(base)
        torch.testing.assert_close(top(*cached[:2]), whole.logits)
        last = whole.hidden_states[-1] * posts[1][..., None]  # what padding holds is no matter
        torch.testing.assert_close(top.embed(*cached[:2]) * posts[1][..., None], last)


@pytest.mark.parametrize(
    ("method", "trained"),
    [("head", []), ("r=2", ["lora_A", "lora_B"] * 4), ("full", ["weight"] * 12)],
)
def test_what_trains_moves_and_nothing_else(base, cached, method, trained):
    model = lab.adapt(base, method, seed=0)
    names = [n for n, p in model.named_parameters() if p.requires_grad and "classifier" not in n]
    assert [name.rpartition(".")[2] for name in names] == trained
    before = copy.deepcopy(model.state_dict())
    lab.train(model, cached, 1e-2, seed=0, epochs=1)
    moved = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert moved == {*names, "classifier.weight", "classifier.bias"}


def test_a_seed_is_a_run(base, cached):
    runs = [
        lab.train(lab.adapt(base, "r=2", seed), cached, 1e-2, seed, 1).classifier.weight
        for seed in (0, 0, 1)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_updates_are_what_was_added(base, cached):
    lora = lab.train(lab.adapt(base, "r=2", 0), cached, 1e-2, 0, 1)
    merged = merge_and_unload(copy.deepcopy(lora))
    for name, delta in lab.updates(lora, base).items():
        added = merged.get_submodule(name).weight - base.get_submodule(name).weight
        assert delta.dtype == torch.float64  # and the model itself is left in float32
        torch.testing.assert_close(delta.float(), added.detach(), atol=1e-6, rtol=1e-4)
    assert next(lora.parameters()).dtype == torch.float32


def test_an_update_cut_to_its_whole_rank_is_the_update(base, cached):
    full = lab.train(lab.adapt(base, "full", 0), cached, 1e-3, 0, 1)
    for k, like in ((24, full), (0, base)):
        cut = lab.truncated(full, base, k)
        for name in lab.MODULES:
            weights = (model.get_submodule(name).weight for model in (cut, like))
            torch.testing.assert_close(*weights)
        assert torch.equal(cut.classifier.weight, full.classifier.weight)


def test_an_update_cut_to_rank_1_has_rank_1(base, cached):
    tuned = lab.train(lab.adapt(base, "full", 0), cached, 1e-3, 0, epochs=1)
    whole = lab.updates(tuned, base)
    for name, cut in lab.updates(lab.truncated(tuned, base, 1), base).items():
        nearest = torch.from_numpy(lowrank.best_approximation(whole[name].numpy(), 1))
        torch.testing.assert_close(cut, nearest, atol=1e-6, rtol=0)  # W0 + ΔW - W0, in float32


def test_neighbours_are_found_by_definition(base, cached):
    with torch.no_grad():
        tokens = lab.Top(base).embed(*cached[:2]).numpy()  # (n, L, 24)
    mask, y = cached[1].numpy(), cached[2].numpy()
    e = [t[m == 1].mean(0) for t, m in zip(tokens, mask, strict=True)]
    right = 0
    for i, one in enumerate(e):
        cosines = [one @ o / np.linalg.norm(one) / np.linalg.norm(o) for o in e]
        cosines[i] = -2
        right += y[int(np.argmax(cosines))] == y[i]
    assert lab.neighbours(base, cached) == pytest.approx(right / len(e))


def test_intruders():
    rng = np.random.default_rng(0)
    U = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    W0 = torch.tensor(U[:, :4] * [4, 3, 2, 1] @ np.eye(4, 6))
    new = torch.tensor(np.outer(U[:, 7], np.eye(6)[5]))  # orthogonal to all that W0 has
    assert lab.intruders(W0, W0, 4) == [0] * 4
    assert lab.intruders(W0, W0 + 9 * new, 1) == [1] * 4
    assert lab.intruders(W0, W0 + 9 * new, 3) == [1] * 4
    assert lab.intruders(W0, W0 + 0.5 * new, 4) == [0] * 4  # not among the top 4
    half = torch.tensor(np.outer((U[:, 0] + U[:, 7]) / 2**0.5, np.eye(6)[0]))
    assert lab.intruders(0 * half + W0, 99 * half, 1, [0.7, 0.72]) == [0, 1]  # cos 45° = 0.707


def test_one_seed_for_two_ranks_is_an_artefact(base):
    def start(seed_2, seed_8):
        models = lab.adapt(base, "r=2", seed_2), lab.adapt(base, "r=8", seed_8)
        return lab.similarity(*map(lab.lora_layers, models))[0][-1, -1]

    assert start(0, 0) == pytest.approx(1, abs=1e-5)
    assert start(0, 1) < 0.8
