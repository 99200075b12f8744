"""What the lesson compares: the same sites, as many parameters, the same base; and its record."""

import copy

import pytest
import torch
from torch import nn

from lora_edu import counting
from lora_edu.adapt import count_parameters
from lora_edu.course.experiments import results
from lora_edu.course.merging import experiments
from lora_edu.course.timing import Timings
from lora_edu.layers import LoRALinear
from lora_edu.variants import BottleneckAdapter

NAMES = ["base", "copy", "merged", "LoRA", "bottleneck"]


@pytest.fixture(scope="module")
def models():
    return experiments.candidates(experiments.encoder())


def of_type(model, kind):
    return {name: module for name, module in model.named_modules() if type(module) is kind}


def test_adapters_stand_at_the_same_sites_with_as_many_parameters(models):
    assert list(models) == NAMES
    lora, bottleneck = of_type(models["LoRA"], LoRALinear), of_type(
        models["bottleneck"], BottleneckAdapter
    )  # fmt: skip
    assert lora.keys() == bottleneck.keys()
    assert len(lora) == 12
    shapes = [layer.base.weight.shape for layer in lora.values()]
    assert shapes == [layer.base.weight.shape for layer in bottleneck.values()]
    base = count_parameters(models["base"])[1]
    added = {name: count_parameters(model)[1] - base for name, model in models.items()}
    assert added["LoRA"] == sum(counting.lora_parameters(*shape, r=6) for shape in shapes)
    assert added["bottleneck"] == counting.bottleneck_parameters(384, 10, sites=12)
    assert added["LoRA"] == pytest.approx(added["bottleneck"], rel=0.01)
    assert added["copy"] == added["merged"] == 0


def test_the_merged_model_is_a_plain_one_and_computes_what_lora_computes(models):
    ids = torch.randint(1000, (2, 7), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        out = {name: model(ids).last_hidden_state for name, model in models.items()}
    torch.testing.assert_close(out["merged"], out["LoRA"], rtol=0, atol=1e-4)
    assert torch.equal(out["copy"], out["base"])
    for name in ("merged", "bottleneck"):
        assert not torch.allclose(out[name], out["base"], atol=0.01)
    assert of_type(models["merged"], nn.Linear).keys() == of_type(models["base"], nn.Linear).keys()
    pointers = [{p.data_ptr() for p in model.parameters()} for model in models.values()]
    assert not set.intersection(*pointers)  # nothing is shared: each lies in memory alike


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


def test_measuring_runs_each_model_in_each_round(models):
    timings = experiments.measure({name: models[name] for name in ("base", "copy")}, 1, 2, rounds=2)
    assert {name: len(row) for name, row in timings.seconds.items()} == {"base": 2, "copy": 2}


def test_the_quartiles_of_the_record_are_those_of_its_rounds():
    record = results("latency")
    assert {"processor", "threads", "made"} <= record.keys()
    assert len(record["cases"]) == 4
    for case in record["cases"]:
        assert list(case["ratio"]) == list(case["seconds"]) == NAMES
        timings = Timings(case["seconds"])
        for name in NAMES:
            assert len(case["seconds"][name]) >= 30
            assert case["ratio"][name] == pytest.approx(timings.ratio(name, "base"), abs=1e-3)
