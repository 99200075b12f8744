"""The figures: the example's rank, what is counted of it, and the widths of real models."""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt

from lora_edu import counting
from lora_edu.course.matrix_example import figures

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_the_example_is_of_rank_five_whatever_the_seed():
    for seed in range(20):
        W0, lora_A, lora_B = figures.matrix_example(seed)
        assert (W0.shape, lora_A.shape, lora_B.shape) == ((100, 100), (5, 100), (100, 5))
        assert np.linalg.matrix_rank(lora_B @ lora_A) == 5


def test_anatomy_draws_the_matrices_it_is_given():
    _, numbers = figures.matrix_anatomy(np.eye(6, 4), np.ones((2, 4)), np.ones((6, 2)))
    assert (numbers["d"], numbers["k"], numbers["r"]) == (6, 4, 2)
    assert numbers["rank_of_update"] == 1
    assert numbers["numbers_in_factors"] == 2 * (6 + 4)
    assert numbers["colour_limit"] == pytest.approx(2 * np.std(np.eye(6, 4) + 2))  # W0 + BA, BA = 2


def test_model_widths_are_those_of_square_query_projections():
    path = ROOT / "lora_edu" / "data" / "models.json"
    sources = {m["id"]: m["source"] for m in json.loads(path.read_text("utf-8"))["models"]}
    for name, width in figures.model_widths().items():
        module = next(
            m
            for n, m in counting.modules(name).items()
            if n.endswith(("query", "q_proj", "attn.c_proj"))
        )
        assert module.out_features == module.in_features == width
        assert len(sources[name]) > 20


@pytest.mark.parametrize(
    ("model", "config", "width"),
    [
        ("roberta-base", "RobertaConfig", "hidden_size"),
        ("llama-2-7b", "LlamaConfig", "hidden_size"),
    ],
)
def test_model_widths_agree_with_transformers_defaults(model, config, width):
    transformers = pytest.importorskip("transformers")
    assert figures.model_widths()[model] == getattr(getattr(transformers, config)(), width)
