"""The data of the explorables: what the scripts of the web edition begin with."""

import json
from math import prod

import numpy as np
import pytest
import torch
from builder import explorables
from builder.source import NOTEBOOKS

from lora_edu import counting, memory
from lora_edu.course.matrix_example.figures import matrix_example
from lora_edu.course.plots import letters
from lora_edu.course.rank_and_svd.figures import MACHINE


@pytest.fixture(scope="module")
def data():
    """What the pages get, by the name of the piece."""
    found = {}
    for name, text in explorables.scripts({"model.gguf": 5}).items():
        start = f"(window.loraData ??= {{}}).{name} = "
        found[name] = json.loads(text.removeprefix(start).removesuffix(";\n"))
    return found


def test_the_first_page_says_what_the_record_holds(data):
    front = data["front"]
    assert front["model"] == 134_515_008
    assert front["added"] == 407_040
    zero = front["scales"].index(0)
    for answers in front["said"].values():
        assert len(answers) == len(front["asked"]) == 4
        assert {len(each) for each in answers} == {len(front["scales"])}
    alone = [[each[zero] for each in answers] for answers in front["said"].values()]
    assert alone[0] == alone[1]  # without a voice, whichever it is
    assert data["talk"]["files"] == {"model.gguf": 5}


def test_the_matrices_of_ellipse_are_what_they_are_called(data):
    about = data["ellipse"]
    presets = {name: np.array(matrix) for name, matrix in about["presets"].items()}
    assert next(iter(presets)) == "machine"
    np.testing.assert_array_equal(presets["machine"], MACHINE)
    every = np.array([*presets.values()])  # a slider can stand there
    np.testing.assert_allclose(every, (every / about["step"]).round() * about["step"], atol=1e-9)
    assert np.abs(every).max() <= about["limit"]
    for name, det in (("turn", 1), ("mirror", -1)):
        np.testing.assert_allclose(presets[name] @ presets[name].T, np.eye(2), atol=1e-12)
        np.testing.assert_allclose(np.linalg.det(presets[name]), det)
    assert np.linalg.svd(presets["stretch"], compute_uv=False).tolist() == [1.5, 0.5]
    ranks = [np.linalg.matrix_rank(presets[name]) for name in ("almost", "flat", "zeros")]
    assert ranks == [2, 1, 0]
    assert np.linalg.cond(presets["almost"]) > 20
    np.testing.assert_array_equal(presets["shear"], [[1, 1], [0, 1]])


# -- calculator -------------------------------------------------------------------------------

FAMILIES = {}  # a config of each, of few layers
for found in explorables.calculator_data()["models"].values():
    layers = {key: n for key, n in found.items() if key.endswith(("layers", "n_layer"))}
    small = {key: min(n, 4) for key, n in layers.items() if n}
    FAMILIES[found.get("family", found["model_type"])] = {**found, **small}


def built(config):
    """How many parameters the model has that transformers builds."""
    with torch.device("meta"):
        return counting.base_parameters(memory.build(config))


def value(product, config):
    """Multiply the factors of a product, which are numbers or keys of a config."""
    return prod(int(each) if each.isdigit() else config[each] for each in product.split("*"))


@pytest.mark.parametrize("family", explorables.COMPLETED)
def test_a_config_is_completed_as_transformers_completes_it_or_refused(family):
    rules, config = explorables.COMPLETED[family], FAMILIES[family]
    bare = {key: value for key, value in config.items() if key not in rules}
    if "num_local_experts" in rules:
        bare["num_experts"] = config["num_local_experts"]
    completed = {}
    for key, rule in rules.items():
        if isinstance(rule, bool):
            completed[key] = rule
            continue
        parts = [part.partition("/") for part in rule.split("+")]
        completed[key] = sum(value(a, bare) // value(b or "1", bare) for a, _, b in parts)
    assumed = explorables.ASSUMED.get(family, {})
    refused = any(completed.get(key, usual) != usual for key, usual in assumed.items())
    same = built(bare) == counting.base_parameters({**config, **completed})
    assert same is not refused


OTHER = {"null": 100, '"relu"': "gated-gelu", "0": 2, "1": 2, "[]": [0], "true": False}
OTHER["false"] = True


@pytest.mark.parametrize("family", explorables.ASSUMED)
def test_where_a_config_says_otherwise_its_model_is_another(family):
    config = FAMILIES[family]
    counted = counting.base_parameters(config)
    for key, usual in explorables.ASSUMED[family].items():
        other = {key: OTHER[json.dumps(usual)], "is_decoder": True}
        assert built({**config, **other}) != counted, key


# -- what the pages say -----------------------------------------------------------------------


def memory_of(names, r):
    """Return the bytes of training Llama 3.1 8B with LoRA."""
    count = counting.count("llama-3.1-8b", r, names)
    types = ("bfloat16", "float32", "float32")
    return sum(counting.training_memory(count.base, count.trainable, dtypes=types).values())


def test_what_the_pages_say_is_so():
    _, S, Vt = np.linalg.svd([[1, 1], [0, 1]])
    angle = np.degrees(np.arctan(Vt[0, 1] / Vt[0, 0]))
    lili, x = (np.linalg.matrix_rank(letters(name)) for name in ("LILI", "X"))
    noise = np.linalg.svd(matrix_example(0, 100, 100, 5)[0], compute_uv=False)
    missing = 100 * np.sqrt(np.sum(noise[5:] ** 2) / np.sum(noise**2))
    two = ["q_proj", "v_proj"]
    assert round(100 * memory_of("all-linear", 8) / memory_of(two, 8)) == 102
    count = counting.count("llama-3.1-8b", 8, two)
    for name, sentence in (
        ("ellipse", f"at about {angle:.0f}°: there the output is {S[0]:.2f} long"),
        ("rank", f"LILI is exact with {lili} directions, X only with {x}"),
        ("rank", f"its best five directions leave {missing:.0f} % of it missing"),
        ("rank", f"Each direction costs {counting.lora_parameters(100, 100, 1)} numbers"),
        ("rank", f"At $r = {counting.break_even_rank(100, 100):g}$ the strips are as large"),
        ("calculator", "with all linear layers it grows by two percent (at a rank of 8)"),
        ("calculator", f"trains {count.trainable:,} numbers beside {count.base:,}"),
        ("calculator", f"{memory_of(two, 8) / 1e9:.1f} GB with LoRA"),
        ("calculator", f"{counting.break_even_rank(4096, 4096):,.0f}"),
        ("calculator", f"{counting.break_even_rank(1024, 4096):,.1f}"),
    ):
        page = NOTEBOOKS / "site" / "explore" / f"{name}.md"
        assert sentence in page.read_text(encoding="utf-8")
