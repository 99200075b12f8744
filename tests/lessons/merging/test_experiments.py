"""What the lesson compares: the same sites, as many parameters, the same base; and its records."""

import copy
import math

import pytest
import torch
from torch import nn

from lora_edu.course.experiments import read
from lora_edu.course.merging import experiments
from lora_edu.course.timing import Timings
from lora_edu.layers import LoRALinear


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_peft_merges_to_the_same_bits(dtype):
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    own = LoRALinear(nn.Linear(64, 48, bias=False, dtype=dtype), 4, 8)
    nn.init.normal_(own.lora_B, std=0.002)
    config = peft.LoraConfig(target_modules=["0"], r=4, lora_alpha=8)
    model = peft.get_peft_model(nn.Sequential(copy.deepcopy(own.base)), config)
    theirs = model.base_model.model[0]
    theirs.lora_A["default"].weight.data.copy_(own.lora_A.data)
    theirs.lora_B["default"].weight.data.copy_(own.lora_B.data)
    own.merge()
    model.merge_adapter()
    assert torch.equal(theirs.base_layer.weight, own.base.weight)


def test_ratios_of_the_record_are_quartiles_of_its_rounds():
    record = read("served")["rows"][0]
    added = record["added"]
    assert added["copy"] == added["merged"] == 0
    assert added["bottleneck"] == pytest.approx(added["apart"], rel=0.01)
    for case in record["cases"].values():
        timings = Timings(case["seconds"])
        first = next(iter(case["seconds"]))
        for name, ratio in case["ratio"].items():
            assert len(case["seconds"][name]) >= 12
            assert ratio == pytest.approx(timings.ratio(name, first), abs=1e-2)


def test_a_stranger_has_the_numbers_of_a_voice_in_other_places():
    draw = torch.Generator().manual_seed(0)
    A, B = torch.randn(4, 30), torch.randn(20, 4)
    delta = experiments._stranger({"a": (A, B)}, draw)["a"]
    torch.testing.assert_close(delta.flatten().sort()[0], (B @ A).flatten().sort()[0])
    assert not torch.allclose(delta, B @ A, atol=0.5)


def test_the_swaps_of_the_record_start_at_the_base_and_end_where_they_should():
    for row in read("swapped")["rows"]:
        for way, how in read("swapped")["arguments"]["swaps"].items():
            found = row[way]
            assert found["off"][0] == found["changed"][0] == 0
            assert (max(found["off"]) == 0) == how["keep"]
            assert found["off"] == sorted(found["off"])
        assert len(set(row["two voices, W0 kept"]["prose"])) == 1


def test_the_voices_of_the_first_seed_are_those_that_ship():
    """What is measured apart is what the record of the voices says of them."""
    measured = read("requantised")["rows"][0]
    for voice, scales in read("voices")["rows"][0]["matrix"].items():
        for way, scale in (("base", "0.0"), ("apart", "1.0")):
            row = measured[way]
            said = row["said"][voice] if way == "base" else row[voice]["said"]
            assert math.log(said) == pytest.approx(scales[scale][voice], abs=2e-3)


def test_off_its_levels_a_weight_moves_by_half_a_step_and_all_arrives():
    draw = torch.Generator().manual_seed(0)
    W = experiments.in_4_bits(torch.randn(40, 64, generator=draw))
    moved = experiments._off_its_levels(W, draw)
    step = (W.view(-1, 32).amax(1) - W.view(-1, 32).amin(1)) / 15
    by = (moved - W).view(-1, 32) / step[:, None]
    assert 0.49 < by.abs().max() <= 0.5
    assert by.mean() == pytest.approx(0, abs=0.02)
    for row in read("requantised")["rows"]:
        for voice in row["sizes"]:
            arrived = row["off its levels, 4 bits"][voice]["arrived"]
            assert sum(arrived) / len(arrived) == pytest.approx(1, abs=0.03)


def test_a_smaller_rate_makes_a_smaller_update_and_less_of_it_arrives():
    for row in read("requantised")["rows"]:
        tenth, hundredth = row["faint"].values()
        assert 0.015 > tenth["size"] > 5 * hundredth["size"]
        assert 1 > tenth["arrived"] > 3 * hundredth["arrived"]
        assert tenth["apart"] < hundredth["apart"]


def test_in_nf4_a_voice_apart_is_unharmed_and_merged_is_gone():
    for row in read("requantised")["rows"]:
        for voice in row["sizes"]:
            assert len(row["sizes"][voice]) == 70
            none, apart = row["base in NF4"]["said"][voice], row["NF4, apart"][voice]["said"]
            assert row["NF4"][voice]["said"] > apart * (none / apart) ** 0.8
            assert max(row["NF4"][voice]["arrived"]) < 0.2


@pytest.mark.assets
@pytest.mark.long
def test_a_voice_comes_out_as_recorded():
    """Another seed's adapter is trained anew, and merged: a few minutes."""
    row = experiments.requantised(1, fainter=())
    before = read("requantised")["rows"][1]
    for voice in row["sizes"]:
        for way in ("apart", "4 bits", "4 bits, dice"):
            now, then = row[way][voice], before[way][voice]
            assert math.log(now["said"]) == pytest.approx(math.log(then["said"]), abs=0.25)
