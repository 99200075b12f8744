"""What lesson 09 stands on: preferences, facts, four bits, the token that ends an answer."""

import base64
import json
from importlib import resources

import pytest
import torch

from lora_edu.course import language, qr
from lora_edu.course.experiments import read
from lora_edu.course.language_model import experiments


def test_preferences_are_the_base_s_own_answers_shortened_and_in_two_parts():
    train, held = experiments.preferences(0, 20, 12)
    assert len(held) == 12
    assert not {question for question, *_ in train} & {question for question, *_ in held}
    for _, short, long in train + held:
        assert long.startswith(short[:20])
        assert len(short.split()) <= 20 < len(long.split()) + 8
    again, _ = experiments.preferences(0, 20, 12)
    other, _ = experiments.preferences(1, 20, 12)
    assert train == again != other


def test_an_invented_fact_has_a_twin_of_its_kind_and_another_name():
    for one, other in zip(experiments.FACTS, experiments.TWINS, strict=True):
        assert one.split()[1] == other.split()[1]  # mayor, river, …
    everything = {**experiments.FACTS, **experiments.TWINS}
    names = [key for _, key, _ in everything.values()]
    assert len(set(names)) == len(names) == 12
    for thing, (name, key, farther) in everything.items():
        assert key in name
        assert key not in farther + thing


def test_without_the_token_that_ends_an_answer_none_ends():
    """And the voice is learned as well."""
    for row in read("endless")["rows"]:
        assert row["ended"]["with"] >= 18
        assert row["ended"]["without"] == 0
        assert row["loss"]["without"] == pytest.approx(row["loss"]["with"], rel=0.02)


@pytest.mark.long
@pytest.mark.assets
def test_four_bits_of_the_base_come_out_as_recorded():
    """Without a step of training: what the base itself loses."""
    recorded = read("four_bit_base")["rows"][0]["loss"]
    made = experiments.four_bit_base(0, recipe={**language.RECIPE, "steps": 0})["loss"]
    for name in ("float32, none", "NF4, none"):
        assert made[name] == pytest.approx(recorded[name], rel=0.01)
        assert made[name] == pytest.approx(made[name.replace("none", "learned")])


def test_preference_is_perfect_while_the_answers_vanish():
    """DPO's measure on held-out pairs says nothing of it; imitation leaves no answer empty."""
    for row in read("shorter")["rows"]:
        assert min(row["prefers"].values()) == 1
        assert row["empty"]["DPO, 40"] >= 10 > row["empty"]["DPO, 20"] == 0
        assert row["empty"]["imitation, 40"] == 0
        assert row["chosen"]["DPO, 40"] < 0 < row["chosen"]["imitation, 40"]


def test_the_voices_of_a_code_are_told_apart_blind():
    path = resources.files("lora_edu.course") / "data" / "blind_code.json"
    blind = json.loads(path.read_text(encoding="utf-8"))
    asked = [[voice, i] for voice in ("grimm", "pirate") for i in range(20)]
    assert sorted(pair[:2] for pair in blind["pairs"]) == asked
    for said in blind["said"]:
        assert [*said] == [side for *_, side in blind["pairs"]]


@pytest.mark.long
@pytest.mark.assets
def test_a_voice_without_its_end_comes_out_as_recorded():
    recorded, made = read("endless")["rows"][0], experiments.endless(0)
    assert made["ended"]["without"] == 0
    assert made["ended"]["with"] == pytest.approx(recorded["ended"]["with"], abs=2)
    for name, loss in recorded["loss"].items():
        assert made["loss"][name] == pytest.approx(loss, rel=0.03)


@pytest.mark.long
@pytest.mark.assets
def test_ten_steps_of_preferring_come_out_as_recorded():
    recorded = read("shorter")["rows"][0]
    made = experiments.shorter(0, steps=(10,))
    for method in ("DPO, 10", "imitation, 10"):
        assert made["own"][method] == pytest.approx(recorded["own"][method], rel=0.01)
        assert made["chosen"][method] == pytest.approx(recorded["chosen"][method], rel=0.1)


@pytest.mark.slow
@pytest.mark.assets
@torch.no_grad()
def test_a_model_reads_from_the_bytes_of_a_code_what_is_recorded():
    recorded = read("qr_voice")["rows"][0]
    for voice, data in recorded["data"].items():
        texts = {"voice": language.said(voice, 0, language.RECIPE).test}
        probe = language.Probe(14, texts)
        adapter = qr.unpacked(base64.b64decode(data))
        for strips, scale in {"none": 0.0, "packed": 1.0}.items():
            with probe.adding(adapter, scale):
                loss = recorded["loss"][voice][strips]["voice"]
                assert probe.loss("voice") == pytest.approx(loss, rel=1e-4)


@pytest.mark.seconds
@pytest.mark.assets
@torch.no_grad()
def test_at_the_start_nothing_is_preferred():
    """With B = 0 the policy is the reference: each margin is 0, and DPO's loss log 2."""
    base = language.base()[0]
    _, upper = language.adapted(base, language.RECIPE, 0)
    train, _ = experiments.preferences(0, 20, 12)
    kept = language.kept(upper, [(question, short) for question, short, _ in train[:3]])
    reference = language.log_probabilities(language.Upper(base, language.RECIPE["first"]), kept)
    torch.testing.assert_close(language.log_probabilities(upper, kept), reference)
