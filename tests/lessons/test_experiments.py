"""Experiments, run on little: they have what is recorded, and what a lesson says holds there."""

import json

import numpy as np
import pytest

from lora_edu.course import language
from lora_edu.course.experiments import read

SHORT = {"training": {"epochs": 2, "size": 64, "ratio": 16.0}}


def digits_learn(row):
    assert row["curve"][0] < row["curve"][1] == row["validation"]


def all_directions_are_left(row):
    assert row["cut"][1] == row["cut_by_outputs"][1] == row["test"]


def voices_are_learned(row):
    for voice, scales in row["matrix"].items():
        assert scales["1.0"][voice] < scales["0.0"][voice]


def a_part_of_the_update_is_between(row):
    assert len(row["own"]) == 3
    assert row["validation"] == -row["voice"][2] > -row["voice"][0]
    first, *down, last = row["voice"][0], *row["down"]["voice"], row["voice"][2]
    assert len(down) == 3
    assert first > down[0] > last


def what_is_taught_costs(row):
    assert row["cost"].keys() == row["capitals"].keys() == row["right"].keys()
    assert min(map(abs, row["cost"].values())) > 1e-4
    missing = [0.9 - min(right.values()) for right in row["right"].values()]
    expected = -np.mean([*row["cost"].values()]) - 10 * np.mean(missing)
    assert row["validation"] == pytest.approx(expected)


def nothing_is_taught_in_no_step(row):
    for n, cost in row["cost"].items():
        assert cost == pytest.approx(0, abs=1e-4)
        assert {*row["right"][n].values()} == {0}


def four_bits_are_learned_around(row):
    loss = row["loss"]
    assert loss["float32, learned"]["grimm"] < loss["float32, none"]["grimm"]
    assert loss["NF4, learned"]["grimm"] < loss["NF4, none"]["grimm"]
    assert loss["NF4, none"] != loss["float32, none"]


def imitation_makes_likelier_and_preference_tells_apart(row):
    assert row["chosen"]["imitation, 40"] > 0
    assert row["prefers"]["DPO, 40"] > 0.5


def rounding_adds_up_unless_the_weights_are_kept(row):
    for way in row.values():
        assert way["off"][0] == way["changed"][0] == 0
        assert way["off"] == sorted(way["off"])
    assert row["strangers, float32"]["off"][2] < 1e-3 * row["strangers"]["off"][2]


def the_error_is_smaller_where_more_is_stored(row):
    ways = ("apart", "bfloat16", "5 bits", "4 bits", "4 bits, dice")
    for voice in row["sizes"]:
        errors = [np.mean(row[way][voice]["error"]) for way in ways]
        assert errors == sorted(errors)
        assert errors[0] < 1e-4
        arrived = {way: np.mean(row[way][voice]["arrived"]) for way in ("NF4", *ways)}
        assert arrived["apart"] == pytest.approx(1)
        assert arrived["NF4"] < 0.5 < arrived["4 bits, dice"] < 1.5
        assert row["apart"][voice]["said"] < row["base"]["said"][voice]
    assert row["faint"]["0.0001"]["size"] > 5 * row["faint"]["1e-05"]["size"]


def half_a_voice_is_between(row):
    for voice, cuts in row["cuts"].items():
        assert cuts["all"][voice] < cuts["knob 0.5"][voice] < cuts["none"][voice]
        assert len(row["sizes"][voice]) == 14
    none = row["cuts"]["grimm"]["none"]["grimm"]
    assert all(taught["grimm"] < none for taught in row["taught"].values())


def strips_of_one_start_hold_a_multiple(row):
    assert min(row["alike"]) > 0.99
    assert row["multiple"]["strips"] == pytest.approx(2, abs=0.1)
    assert row["multiple"]["strips, turned 0"] < 1.5


def all_directions_are_the_update(row):
    for way in ("cut", "cut_by_outputs", "cut_centred"):
        assert row[way] == [row["test"]]
    assert max(row["r90"]) < min(row["r90_noise"])


def scaled_by_one_a_part_is_whole(row):
    assert all(values == [row["all"]] for values in row["scaled"].values())
    for update, held, most in row["between"]:
        assert 0 < held < most
        assert update > 0
    for who in ("intruders", "strangers"):
        counts = np.array([*row[who].values()])  # (ε, k)
        assert (np.diff(counts, axis=0) >= 0).all()
        assert (np.diff(counts, axis=1) >= 0).all()


def one_seed_begins_with_the_same_directions(row):
    """In the first matrix: what is drawn for the others then depends on the rank."""
    chance = [64 / 384] * 3
    for words, first in {"same": 1, "other strips": 64 / 384}.items():
        overlaps = [phi[7][6] for phi in row["untrained"][words]]
        assert overlaps == pytest.approx([first, *chance], abs=0.05)


FEW = {"numbers": (5, 20), "in_full": (20,), "max_tokens": 4, "short": 4}
STEPS = {"steps": tuple(read("shorter")["arguments"]["steps"]), "max_tokens": 4, "lr": 3e-3}
NO_STEP = FEW | {"recipe": language.RECIPE | {"first": 2, "steps": 0}}
GROUPS = {"steps": 2, "questions": 2, "group": 3, "tokens": 4, "asked": 1}
PARTS = {"scales": (1.0,)}
PARTNERS = {"partners": ("same", "other strips")}
LITTLE = [  # a run on little, and what a lesson says of it; None: it comes from its seed
    ("voice_rates", ("grimm", 1e-3, 100), {"questions": 3}, None),
    ("how_many", ("facts", 2.5e-4, 1), FEW, None),
    ("frontier", ("full", 1e-4, 1), {}, None),
    ("taught_facts", (1,), {"max_tokens": 4}, None),
    ("endless", (1,), {}, None),
    ("ranks", (1,), {}, None),
    ("voices", (1,), {"scales": (0.0, 1.0)}, voices_are_learned),
    ("frontier", ("r=4, own answers", 1e-3, 1), {}, a_part_of_the_update_is_between),
    ("few_rows", (1,), {"steps": (20,), "max_tokens": 4}, None),
    ("capitals_left", (1,), {"max_tokens": 4}, None),
    ("how_many", ("facts", 2.5e-4, 1), NO_STEP, nothing_is_taught_in_no_step),
    ("how_many", ("style in full", 3e-4, 1), NO_STEP, nothing_is_taught_in_no_step),
    ("how_many", ("style", 4e-3, 1), FEW, what_is_taught_costs),
    ("how_many", ("format", 2.5e-4, 1), FEW | {"numbers": (5,)}, what_is_taught_costs),
    ("four_bit_base", (1,), {}, four_bits_are_learned_around),
    ("shorter", (1,), STEPS, imitation_makes_likelier_and_preference_tells_apart),
    ("swapped", (1,), {"rounds": (0, 1, 20)}, rounding_adds_up_unless_the_weights_are_kept),
    ("requantised", (1,), {}, the_error_is_smaller_where_more_is_stored),
    ("surgery", (1,), {"answers": 2}, half_a_voice_is_between),
    ("two_voices", (1,), {"answers": 2}, strips_of_one_start_hold_a_multiple),
    ("minilm", ("LoRA all r=8", 1e-3, 0), {}, None),
    ("minilm_updates", ("full", 1e-4, 0), {"cuts": (384,)}, all_directions_are_the_update),
    ("minilm_updates", ("LoRA q,v r=64", 1e-3, 0), {}, None),
    ("opened", ("r=8", 0.003, 0), PARTS, scaled_by_one_a_part_is_whole),
    ("alike", (0,), PARTNERS, one_seed_begins_with_the_same_directions),
    ("turned", ("full", 1e-3, 0), {"cuts": (1, 64)}, all_directions_are_left),
    ("rewarded", ("LoRA, r = 1", 1e-3, 0), GROUPS, None),
    ("descendants_turned", ("dora r=8 alpha=128", 0.003, 0), SHORT, digits_learn),
]


@pytest.mark.seconds
@pytest.mark.assets
@pytest.mark.parametrize(("name", "key", "arguments", "holds"), LITTLE)
def test_a_run_on_little_has_what_is_recorded_and_what_a_lesson_says_holds(
    tiny_run, name, key, arguments, holds
):
    row = tiny_run(name, *key, **arguments)
    assert json.dumps(row, allow_nan=False)
    if holds:
        holds(row)
    else:
        assert row == tiny_run(name, *key, **arguments)
