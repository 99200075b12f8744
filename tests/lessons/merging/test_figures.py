"""The figures: what rounds, against NumPy and other code; what is drawn, against the records."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from scipy.stats import binom

from lora_edu.course.experiments import read, results
from lora_edu.course.merging import figures
from lora_edu.course.merging.experiments import in_4_bits, outcome
from lora_edu.course.plots import letters


@pytest.mark.parametrize("size", [0.1, 0.003, 0.0003])
def test_the_outcome_of_a_merge_is_that_of_numpys_float16(size):
    rng = np.random.default_rng(5)
    W0 = rng.standard_normal((40, 30)).astype(np.float16)
    delta = size * rng.standard_normal((40, 30))
    step = (W0 + delta).astype(np.float16).astype(float) - W0
    stored = torch.from_numpy((W0 + delta).astype(np.float16)).double()
    arrived, error, still = outcome(torch.from_numpy(W0).double(), torch.from_numpy(delta), stored)
    assert arrived == pytest.approx((step * delta).sum() / (delta**2).sum(), abs=1e-9)
    assert error == pytest.approx(np.linalg.norm(step - delta) / np.linalg.norm(delta), abs=1e-9)
    assert still == np.mean(step == 0)


def test_the_word_is_whole_then_gone():
    numbers = figures.rounding()
    assert len(numbers["captions"]) == 24
    assert numbers["sizes"][0] == 1
    assert numbers["sizes"][-1] == pytest.approx(1e-4)
    np.testing.assert_allclose(numbers["arrived"][:10], 1, atol=0.01)
    assert numbers["arrived"][-1] < 0.06
    assert np.all(np.diff(numbers["still"]) >= 0)
    drawn = np.vstack([letters("Lo")[::2], letters("RA")[::2]])
    for kept, like in ((numbers["kept"][0], 0.9), (numbers["delta"], 0.9)):
        assert np.corrcoef(kept.ravel(), drawn.ravel())[0, 1] > like
    # What stays is what bfloat16 cannot see: half a step, at most 1/256 of the weight.
    moved = numbers["kept"][12] != 0
    assert np.abs(numbers["delta"][moved]).min() > 0


@pytest.mark.seconds
@pytest.mark.parametrize("dtype", ["float16", torch.float32])
def test_the_film_takes_other_types(dtype):
    assert figures.rounding(dtype)["arrived"][12] == pytest.approx(1, abs=0.01)
    assert figures.film_of_rounding(dtype).html != figures.film_of_rounding().html


@pytest.mark.parametrize("dtype", ["bf16", "int8", "Tensor", 16, None, torch.int8, ["float16"]])
def test_the_film_refuses_what_is_no_floating_type(dtype):
    with pytest.raises(ValueError, match="dtype must be a floating-point type of torch, got"):
        figures.rounding(dtype)


def test_the_error_of_16_bits_obeys_the_law():
    _, numbers = figures.what_arrives()
    for name, u in (("float16", 2**-11), ("bfloat16", 2**-8)):
        for size, error in zip(numbers["sizes"], numbers[name]["error"], strict=True):
            if (law := 0.425 * u / size) < 0.25 and size < 0.5:
                assert error == pytest.approx(law, rel=0.1)
    assert numbers["4 bits"]["arrived"][-1] == pytest.approx(0.07, abs=0.02)


def test_what_arrives_draws_the_kinds_it_is_asked_for():
    _, numbers = figures.what_arrives(["float16"])
    assert "bfloat16" not in numbers
    with pytest.raises(ValueError, match="kinds must be among float16, bfloat16, 4 bits, got 'b"):
        figures.what_arrives(["bf16"])


def test_real_updates_are_those_of_the_records_and_of_table_7():
    sizes = figures.real_sizes()
    assert len(sizes) == 6
    assert sizes["GPT-3, r = 4"] == pytest.approx([6.91 / 61.95] * 2)
    every = [row["sizes"]["grimm"] for row in read("requantised")["rows"]]
    assert sizes["the voice of Grimm"] == [min(map(min, every)), max(map(max, every))]
    runs = np.array([run["sizes"] for run in results("minilm")["runs"]["full"]])
    assert sizes["MiniLM, full"] == pytest.approx([runs.mean(0).min(), runs.mean(0).max()])


def test_the_matrices_of_the_voices_lie_on_the_line_of_their_type():
    numbers = figures.what_arrives.numbers()
    size, error = numbers["bfloat16, error"]
    assert len(size) == 2 * 3 * 70
    np.testing.assert_allclose(error, 0.425 * 2**-8 / size, rtol=0.35)


def test_the_swaps_are_the_means_of_the_record():
    _, numbers = figures.many_swaps()
    rows = read("swapped")["rows"]
    assert numbers["rounds"] == [1, 10, 100, 1000]
    for name in figures.LINES:
        means = np.mean([row[name]["off"] for row in rows], axis=0)[1:]
        assert numbers[name] == pytest.approx(means, rel=0.01)


def test_each_line_of_the_table_is_a_way_after_a_number_of_swaps():
    lines = figures.asked()
    record = read("swapped")
    assert len(lines) == 5 * len(record["arguments"]["swaps"])
    line = next(line for line in lines if line.way == "strangers" and line.swaps == 100)
    assert line.paris == [row["strangers"]["paris"][3] for row in record["rows"]]
    assert line.pirate == [row["strangers"]["pirate"][3] for row in record["rows"]]
    kept = [line for line in lines if line.way == "two voices, W0 kept"]
    assert len({tuple(line.prose) for line in kept}) == 1


def test_four_bits_reads_both_kinds_of_rows():
    rows = read("requantised")["rows"]
    none = figures.four_bits("base in NF4", "grimm")
    assert none.tolist() == [r["base in NF4"]["said"]["grimm"] for r in rows]
    errors = figures.four_bits("4 bits", "pirate", "error")
    assert errors.shape == (3, 70)
    _, numbers = figures.voice_in_four_bits()
    assert list(numbers["pirate"]) == list(figures.WAYS)


def test_ratios_are_of_the_same_round_and_their_interval_is_that_of_a_median():
    seconds = read("served")["rows"][0]["cases"]["write"]["seconds"]
    median, low, high = figures.ratio("write", "apart")
    ratios = sorted(a / b for a, b in zip(seconds["apart"], seconds["base"], strict=True))
    assert median == pytest.approx(np.median(ratios))
    # Of 40 rounds the 14th and the 27th: of 40 tosses 13 or fewer come up in 1.9 %, 14 in 4.0 %.
    assert (low, high) == (ratios[13], ratios[26])
    assert binom.cdf(13, 40, 0.5) < 0.025 < binom.cdf(14, 40, 0.5)
    assert figures.speed("write", "base") == pytest.approx(8 / np.median(seconds["base"]))


def test_the_sizes_by_module_are_means_of_those_of_the_records():
    found = figures.by_module()
    every = [row["sizes"]["grimm"] for row in read("requantised")["rows"]]
    grimm = found["the voice of Grimm"]
    assert grimm["query"] == pytest.approx(np.mean([sizes[0::7] for sizes in every]))
    assert grimm["down"] == pytest.approx(np.mean([sizes[6::7] for sizes in every]))
    least, most = figures.real_sizes()["MiniLM, LoRA r = 8"]
    assert least < min(found["MiniLM, LoRA r = 8"].values())
    assert max(found["MiniLM, LoRA r = 8"].values()) < most
    assert list(found["MiniLM, full"]) == ["query", "key", "value", "output", "up", "down"]
    assert found["GPT-3, r = 4"] == {"query": pytest.approx(6.91 / 61.95)}


def test_the_batch_draws_the_record():
    _, numbers = figures.one_batch_many_adapters()
    assert numbers["customers"] == 8
    widths = [bar.get_width() for bar in plt.gcf().axes[1].patches]
    assert widths == [numbers["ratio"][name][0] for name in figures.CALLS]


def test_in_4_bits_is_the_format_of_the_models_file():
    gguf = pytest.importorskip("gguf")
    W = 0.05 * torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    kind = gguf.GGMLQuantizationType.Q4_1
    there = gguf.quants.dequantize(gguf.quants.quantize(W.numpy(), kind), kind)
    own = in_4_bits(W).numpy()
    step = (W.view(-1, 32).amax(1) - W.view(-1, 32).amin(1)).max().item() / 15
    # Least and step have 16 bits in the file: that is all.
    assert np.abs(own - there).max() < 1.2 * step
    assert np.mean(np.abs(own - there) < 0.01 * step) > 0.98
    torch.testing.assert_close(in_4_bits(torch.from_numpy(there)), torch.from_numpy(there))


def test_dice_leave_a_weight_on_its_level_and_are_right_on_average():
    draw = torch.Generator().manual_seed(0)
    W = torch.randn(4, 32, generator=draw)
    levels = in_4_bits(W)
    torch.testing.assert_close(in_4_bits(levels, draw), levels)
    mean = torch.stack([in_4_bits(W, draw) for _ in range(4000)]).mean(0)
    step = (W.amax(1) - W.amin(1)) / 15
    assert ((mean - W).abs() / step[:, None]).max() < 0.04
    assert (in_4_bits(torch.zeros(2, 32)) == 0).all()
