"""Runs on few posts: what trains, what is kept of an update, what an update is."""

import pytest

from lora_edu.course.real_model import experiments


@pytest.mark.seconds
@pytest.mark.assets
@pytest.mark.parametrize(
    ("method", "trained"),
    [("head", 0), ("full q,v, 6 passes", 4), ("LoRA all r=8", 12)],
)
def test_the_size_of_each_update_that_trained_is_told(few, method, trained):
    row = experiments.minilm(method, 1e-3, 0, **few)
    assert row.keys() - {"sizes"} == {"validation", "test", "neighbours"}
    sizes = row.get("sizes", [])
    assert len(sizes) == trained
    assert all(0 < size < 2 for size in sizes)


@pytest.mark.seconds
@pytest.mark.assets
def test_all_directions_of_an_update_are_the_update(few):
    row = experiments.minilm_updates("full", 1e-3, 0, posts=few["posts"], cuts=(384,))
    for way in ("cut", "cut_by_outputs", "cut_centred"):
        assert row[way] == [row["test"]]
    assert len(row["r90"]) == 12
    assert max(row["r90"]) < min(row["r90_noise"])
    small = experiments.minilm_updates("LoRA q,v r=8", 1e-3, 0, posts=few["posts"])
    assert max(small["r90"]) <= 8
    assert small["heights"][0][4] == 0  # of the 16th direction
