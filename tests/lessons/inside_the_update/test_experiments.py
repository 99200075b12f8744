"""What the lesson compares: cuts that add up, strips that PEFT adds alike, its records."""

import numpy as np
import pytest
import torch
from lessons.inside_the_update import cases
from torch import nn

from lora_edu.course import language
from lora_edu.course.experiments import differences, find, read, run
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
    return {name: B @ A for name, (A, B) in adapter(0).items()}


def norm(deltas):
    return sum(float(delta.square().sum()) for delta in deltas.values()) ** 0.5


def test_what_a_cut_takes_and_what_it_leaves_are_all(deltas):
    left = dict(experiments.cuts(deltas, 4, seed=0))
    pairs = [(f"layer {layer}", f"without layer {layer}") for layer in LAYERS]
    pairs += [
        ("strongest", "without strongest"),
        ("lower half", "upper half"),
        ("attention", "MLP"),
    ]
    for one, other in pairs:
        for name, delta in deltas.items():
            zero = torch.zeros_like(delta)
            total = left[one].get(name, zero) + left[other].get(name, zero)
            torch.testing.assert_close(total, delta, atol=1e-4, rtol=1e-4)
    kinds = [name for kind in LINEAR for name in left[kind]]
    assert sorted(kinds) == sorted(deltas)
    assert not left["none"]
    assert len(left["drawn half 0"]) == len(deltas) // 2
    assert left["drawn half 0"].keys() != left["drawn half 1"].keys()
    drawn = [name.rpartition(".")[2] for name in left["one of each kind 0"]]
    assert sorted(drawn) == sorted(LINEAR)


def test_the_controls_vary_one_thing(deltas):
    left = dict(experiments.cuts(deltas, 4, seed=0))
    for name, delta in deltas.items():
        U, S, _ = torch.linalg.svd(delta, full_matrices=False)
        for words in ("strongest", "second, as large", "drawn anywhere"):
            values = torch.linalg.svdvals(left[words][name])
            torch.testing.assert_close(values[0], S[0])
            assert values[1] < 1e-4 * values[0]
        inside = left["drawn of its span"][name]
        assert torch.linalg.matrix_rank(inside, rtol=1e-4) == 1
        torch.testing.assert_close(U[:, :4] @ (U[:, :4].T @ inside), inside, atol=1e-4, rtol=1e-4)
        stranger = left["stranger"][name]
        torch.testing.assert_close(stranger.flatten().sort()[0], delta.flatten().sort()[0])
        assert not torch.allclose(stranger, delta)
        torch.testing.assert_close(left["knob 0.4"][name], 0.4 * delta)


def test_the_cut_is_the_learners(deltas):
    for delta, (A, B) in zip(deltas.values(), adapter(0).values(), strict=True):
        A_2, B_2 = cases.cut(A.double().numpy(), B.double().numpy(), 2)
        np.testing.assert_allclose(experiments.cut_to(delta.double(), 2), B_2 @ A_2, atol=1e-5)


def test_turned_strips_are_the_same_update_and_add_to_another():
    one, other = adapter(0), adapter(1)
    turned = experiments.turned(one, torch.Generator().manual_seed(0))
    before, after = (experiments.strips_added(strips, other) for strips in (one, turned))
    for name, (A, B) in one.items():
        A_2, B_2 = turned[name]
        torch.testing.assert_close(B_2 @ A_2, B @ A, atol=1e-4, rtol=1e-4)
        assert (after[name] - before[name]).norm() > 0.3 * before[name].norm()


def test_strips_are_turned_evenly():
    """QR alone would give columns that point one way, and the cross terms a sign."""
    draw = torch.Generator().manual_seed(0)
    square = {str(i): (torch.eye(4), torch.eye(4)) for i in range(2000)}
    mean = torch.stack([A for A, _ in experiments.turned(square, draw).values()]).mean(0)
    assert mean.abs().max() < 0.06


@pytest.mark.parametrize(("how", "exact"), [("cat", True), ("linear", False)])
def test_peft_adds_strips_too_unless_it_puts_them_side_by_side(how, exact):
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    config = peft.LoraConfig(target_modules=["0"], r=4, lora_alpha=4)
    model = peft.get_peft_model(nn.Sequential(nn.Linear(9, 12, bias=False)), config)
    model.add_adapter("other", config)
    layer = model.base_model.model[0]
    pairs = {"default": adapter(0), "other": adapter(1)}
    (A_1, B_1), (A_2, B_2) = (next(iter(strips.values())) for strips in pairs.values())
    for name, (A, B) in {"default": (A_1, B_1), "other": (A_2, B_2)}.items():
        layer.lora_A[name].weight.data.copy_(A)
        layer.lora_B[name].weight.data.copy_(B)
    model.add_weighted_adapter(["default", "other"], [1.0, 1.0], "both", combination_type=how)
    right = B_1 @ A_1 + B_2 @ A_2 if exact else (B_1 + B_2) @ (A_1 + A_2)
    torch.testing.assert_close(layer.get_delta_weight("both"), right, atol=1e-4, rtol=1e-4)


def test_an_intruder_resembles_no_direction_of_the_weight():
    rng = np.random.default_rng(1)
    W0 = rng.standard_normal((16, 12)) * np.arange(12, 0, -1)
    W = W0 + 6 * rng.standard_normal((16, 3)) @ rng.standard_normal((3, 12))
    best = experiments.resembled(torch.from_numpy(W0), torch.from_numpy(W), 8)
    assert len(best) == 8
    for epsilon in (0.5, 0.7, 0.9):
        old, new = (np.linalg.svd(M, full_matrices=False)[0] for M in (W0, W))
        found = [j for j in range(8) if all(abs(u @ new[:, j]) < epsilon for u in old.T)]
        assert int((best < epsilon).sum()) == len(found)


# -- the records --------------------------------------------------------------------------------


def test_the_voices_of_the_first_seed_are_those_that_ship():
    row = next(row for row in read("surgery")["rows"] if row["seed"] == 0)
    for voice, scales in read("voices")["rows"][0]["matrix"].items():
        for cut, scale in {"none": "0.0", "all": "1.0", "knob 0.5": "0.5"}.items():
            assert row["cuts"][voice][cut][voice] == pytest.approx(scales[scale][voice], abs=2e-3)


def test_eight_runs_of_each_and_nothing_is_an_intruder_at_first_sight():
    for name in ("surgery", "two_voices", "opened", "alike"):
        assert len({row["seed"] for row in read(name)["rows"]}) >= 8
    record = read("opened")
    for row in record["rows"]:
        for who in ("intruders", "strangers"):
            counts = np.array([row[who][f"{e:g}"] for e in record["arguments"]["epsilons"]])
            assert (np.diff(counts, axis=0) >= 0).all()
            assert (np.diff(counts, axis=1) >= 0).all()
        for size, (update, held, most) in zip(row["sizes"], row["between"], strict=True):
            assert 0 < held < most
            assert update <= size * 1.001


@pytest.mark.long
@pytest.mark.assets
def test_a_seed_of_the_twins_comes_out_as_recorded():
    rows = {(row["seed"],): row for row in read("alike")["rows"]}
    again = {(1,): run("alike", (1,))}
    assert differences(rows, again, find("alike")) == []


@pytest.mark.long
@pytest.mark.assets
def test_a_voice_that_is_trained_and_cut_again_comes_out_as_recorded():
    """A whole run of the surgery takes ten minutes: one voice, and some of its cuts."""
    seed, recipe = 1, language.RECIPE
    texts = {"pirate": language.said("pirate", seed, recipe).test}
    probe = language.Probe(recipe["first"], texts)
    strips = language.trained("pirate", language.RATES["pirate"], seed, recipe)
    start = {n: probe.model.get_submodule(n).weight.detach().clone() for n in strips}
    update = {name: B @ A for name, (A, B) in strips.items()}
    recorded = next(row for row in read("surgery")["rows"] if row["seed"] == seed)
    left = dict(experiments.cuts(update, recipe["r"], seed))
    for cut in ("none", "all", "strongest", "without strongest", "layer 29"):
        probe.put({n: W0 + left[cut][n] if n in left[cut] else W0 for n, W0 in start.items()})
        assert probe.loss("pirate") == pytest.approx(
            recorded["cuts"]["pirate"][cut]["pirate"], 0.05
        )
    probe.put(start)
