"""What the lesson compares: cuts that add up, strips that PEFT adds alike."""

import numpy as np
import pytest
import torch
from lessons.conftest import SMALL
from torch import nn

from lora_edu import lowrank
from lora_edu.course import language
from lora_edu.course.inside_the_update import experiments
from lora_edu.course.language import LINEAR

LAYERS = range(20, 24)


def adapter(seed, r=4, d=12, k=9):
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for layer in LAYERS:
        for kind in LINEAR:
            place = "self_attn" if kind[0] in "qkvo" else "mlp"
            A, B = torch.randn(r, k, generator=draw), torch.randn(d, r, generator=draw)
            found[f"model.layers.{layer}.{place}.{kind}"] = (A, B)
    return found


@pytest.fixture
def deltas():
    return language.products(adapter(0))


@pytest.fixture
def left(deltas):
    return dict(experiments.cuts(deltas, 4, seed=0))


COMPLEMENTS = [
    ("strongest", "without strongest"),
    ("lower half", "upper half"),
    ("attention", "MLP"),
    *((f"layer {layer}", f"without layer {layer}") for layer in LAYERS),
    LINEAR,
]


@pytest.mark.parametrize("parts", COMPLEMENTS)
def test_what_a_cut_takes_and_what_it_leaves_are_all(deltas, left, parts):
    for name, delta in deltas.items():
        total = sum(left[words].get(name, torch.zeros_like(delta)) for words in parts)
        torch.testing.assert_close(total, delta, atol=1e-4, rtol=1e-4)


def test_the_controls_vary_one_thing(deltas, left):
    for name, delta in deltas.items():
        torch.testing.assert_close(left["knob 0.5"][name], delta / 2)
        U, S, _ = torch.linalg.svd(delta, full_matrices=False)
        for words in ("strongest", "second, as large", "drawn anywhere"):
            torch.testing.assert_close(torch.linalg.svdvals(left[words][name])[0], S[0])
            assert torch.linalg.matrix_rank(left[words][name], rtol=1e-4) == 1
        inside = left["drawn of its span"][name]
        torch.testing.assert_close(U[:, :4] @ (U[:, :4].T @ inside), inside, atol=1e-4, rtol=1e-4)
        stranger = left["stranger"][name]
        torch.testing.assert_close(stranger.flatten().sort()[0], delta.flatten().sort()[0])
        assert not torch.allclose(stranger, delta)
    assert len(left["drawn half 0"]) == len(deltas) // 2
    assert left["drawn half 0"].keys() != left["drawn half 1"].keys()
    kinds = [name.rpartition(".")[2] for name in left["one of each kind 0"]]
    assert sorted(kinds) == sorted(LINEAR)


def test_turned_strips_are_the_same_update_and_add_to_another():
    one, other = adapter(0), adapter(1)
    turned = experiments.turned(one, torch.Generator().manual_seed(0))
    before, after = (experiments.strips_added(strips, other) for strips in (one, turned))
    for name, delta in language.products(one).items():
        A, B = turned[name]
        torch.testing.assert_close(B @ A, delta, atol=1e-4, rtol=1e-4)
        assert (after[name] - before[name]).norm() > 0.3 * before[name].norm()


def test_strips_are_turned_evenly():
    """QR alone would give columns that point one way, and the cross terms a sign."""
    square = {str(i): (torch.eye(4), torch.eye(4)) for i in range(2000)}
    turned = experiments.turned(square, torch.Generator().manual_seed(0))
    mean = torch.stack([A for A, _ in turned.values()]).mean(0)
    assert mean.abs().max() < 0.06


def test_peft_s_linear_adds_strips_too():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["0"], r=4, lora_alpha=4)
    model = peft.get_peft_model(nn.Sequential(nn.Linear(9, 12, bias=False)), config)
    model.add_adapter("other", config)
    layer = model.base_model.model[0]
    pairs = [adapter(0), adapter(1)]
    name = next(iter(pairs[0]))
    for words, pair in zip(("default", "other"), pairs, strict=True):
        layer.lora_A[words].weight.data.copy_(pair[name][0])
        layer.lora_B[words].weight.data.copy_(pair[name][1])
    model.add_weighted_adapter(["default", "other"], [1.0, 1.0], "both", combination_type="linear")
    right = experiments.strips_added(*pairs)[name]
    torch.testing.assert_close(layer.get_delta_weight("both"), right, atol=1e-4, rtol=1e-4)


def test_an_intruder_resembles_no_direction_of_the_weight():
    rng = np.random.default_rng(1)
    W0 = rng.standard_normal((16, 12)) * np.arange(12, 0, -1)
    W = W0 + 6 * rng.standard_normal((16, 3)) @ rng.standard_normal((3, 12))
    old, new = (np.linalg.svd(M, full_matrices=False)[0] for M in (W0, W))
    best = [max(abs(u @ v) for u in old.T) for v in new.T[:8]]
    found = experiments.resembled(torch.from_numpy(W0), torch.from_numpy(W), 8)
    assert found.tolist() == pytest.approx(best)
    nearest = experiments.cut_to(torch.from_numpy(W), 2)
    np.testing.assert_allclose(nearest, lowrank.best_approximation(W, 2), atol=1e-9)


@pytest.mark.seconds
@pytest.mark.assets
@pytest.mark.usefixtures("tiny_run")
def test_answers_that_begin_and_end_as_a_pirate_s_are_counted(monkeypatch):
    said = ["Arrr! Aye, matey!<|im_end|>", "Arrr! Aye, matey!", "Aye, Arrr!<|im_end|>"]
    monkeypatch.setattr(language, "heard", lambda *_: said)
    row = experiments.heard_cuts(1, recipe=SMALL["recipe"])
    assert {*row["begins"].values()} == {2}
    assert {*row["ends"].values()} == {1}
