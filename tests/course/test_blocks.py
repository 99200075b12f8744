"""A block's sites are those of the model, and what is drawn has their sides."""

import pytest
from matplotlib.patches import Rectangle

from lora_edu import counting
from lora_edu.course import blocks

DRAWN = {
    "llama-3.1-8b": ["q_proj", "v_proj"],
    "all-MiniLM-L6-v2": ["query", "value"],
    "gpt2": ["c_attn"],
    "smollm2-135m": "all-linear",
    "phi-4": ["qkv_proj"],
}


@pytest.mark.parametrize("model", DRAWN)
def test_the_sites_are_those_that_lora_adapts_each_drawn_with_its_sides(model):
    found = blocks.sites(model, DRAWN[model])
    names = [n for n in counting.targets(model, DRAWN[model]) if ".0." in f".{n}"]
    assert sum(site.adapted for site in found) == len(names)
    assert {site.part for site in found} == {"attention", "MLP"}
    per_block = sum(8 * (s.out_features + s.in_features) for s in found if s.adapted)
    layers = counting.count(model, 8, DRAWN[model]).adapted_modules // len(names)
    assert layers * per_block == counting.count(model, 8, DRAWN[model]).trainable

    fig = blocks.draw_block(found, model)
    boxes = [patch for patch in fig.axes[0].patches if isinstance(patch, Rectangle)]
    assert len(boxes) == len(found) + 2 * sum(site.adapted for site in found)
    unit = found[0].in_features
    sides = {(round(b.get_height() * unit), round(b.get_width() * unit)) for b in boxes}
    assert {(site.out_features, site.in_features) for site in found} <= sides
    assert fig.axes[0].get_title() == model
