"""The data of the explorables: what the scripts of the web edition begin with."""

import json
import string
from collections import Counter
from math import prod
from unicodedata import normalize

import numpy as np
import pytest
import torch
from builder import explorables
from builder.source import NOTEBOOKS
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from lora_edu import counting, memory
from lora_edu.course.matrix_example.figures import matrix_example
from lora_edu.course.plots import letters
from lora_edu.course.rank_and_svd.figures import MACHINE, picture


def test_ellipse_begins_with_the_lessons_machine_and_its_matrices_are_what_they_are_called():
    data = json.loads(json.dumps(explorables.ellipse_data()))
    presets = {name: np.array(matrix) for name, matrix in data["presets"].items()}
    assert next(iter(presets)) == "machine"
    np.testing.assert_array_equal(presets["machine"], MACHINE)
    for matrix in presets.values():  # a slider can stand there
        assert matrix.shape == (2, 2)
        steps = matrix / data["step"]
        np.testing.assert_allclose(steps, steps.round(), atol=1e-9)
        assert np.abs(matrix).max() <= data["limit"]
    for name, det in (("turn", 1), ("mirror", -1)):
        np.testing.assert_allclose(presets[name] @ presets[name].T, np.eye(2), atol=1e-12)
        np.testing.assert_allclose(np.linalg.det(presets[name]), det)
    spectra = {name: np.linalg.svd(matrix, compute_uv=False) for name, matrix in presets.items()}
    assert spectra["stretch"].tolist() == [1.5, 0.5]
    assert 0 < spectra["almost"][1] < 0.05 * spectra["almost"][0]
    ranks = [np.linalg.matrix_rank(presets[name]) for name in ("almost", "flat", "zeros")]
    assert ranks == [2, 1, 0]
    np.testing.assert_array_equal(presets["shear"] @ [1, 0], [1, 0])
    np.testing.assert_array_equal(presets["shear"] @ [0, 1], [1, 1])


# -- rank -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rank():
    return json.loads(json.dumps(explorables.rank_data()))


def test_the_matrices_of_rank_are_those_of_the_lessons(rank):
    W0, lora_A, lora_B = matrix_example()
    np.testing.assert_allclose(rank["noise"], W0, rtol=0, atol=5.1e-4)
    update = np.transpose(rank["columns"]) @ rank["rows"]
    np.testing.assert_allclose(update, lora_B @ lora_A, rtol=0, atol=5e-3)
    assert np.linalg.matrix_rank(update) == 5
    np.testing.assert_allclose(rank["house"], picture(), rtol=0, atol=1e-12)
    assert rank["limits"] == {"noise": 2.0, "update": 2.1}
    ends = [rank["cividis"][end] for end in (0, -1)]
    np.testing.assert_allclose(ends, [[0, 34, 78, 255], [254, 232, 56, 255]], rtol=0, atol=1)


@pytest.mark.parametrize("letter", ["A", "i", "8", "Ễ", "ự", "đ", "Ł", "’"])
def test_an_outline_of_rank_is_that_of_the_font(rank, letter):
    bold = FontProperties(family="DejaVu Sans", weight="bold")
    polygons = TextPath((0, 0), letter, 1, bold).to_polygons()
    _, parts = rank["letters"][letter]
    assert len(parts) == len(polygons)
    for (number, right, up), polygon in zip(parts, polygons, strict=True):
        outline = np.add(rank["outlines"][number], (right, up)) / explorables.UNITS
        np.testing.assert_allclose(outline, polygon[:-1], rtol=0, atol=1e-9)


def test_rank_has_the_letters_of_names_and_each_outline_once(rank):
    marks = ["", "\u0300", "\u0301", "\u0303", "\u0309", "\u0323"]  # the tones
    vowels = "aăâeêioôơuưyAĂÂEÊIOÔƠUƯY"
    vietnamese = {normalize("NFC", vowel + mark) for vowel in vowels for mark in marks}
    assert {len(letter) for letter in vietnamese} == {1}
    more = string.ascii_letters + string.digits + "đĐ ñßØÅčŁ'-"
    assert vietnamese | set(more) <= rank["letters"].keys()
    width, parts = rank["letters"][" "]
    assert (width / explorables.UNITS, parts) == (713 / 2048, [])
    shapes = {json.dumps(outline) for outline in rank["outlines"]}
    assert len(shapes) == len(rank["outlines"]) < len(rank["letters"])


# -- calculator -------------------------------------------------------------------------------

FAMILIES = {  # a config of each, of few layers
    config.get("family", config["model_type"]): {
        key: min(value, 4) if key.endswith(("layers", "n_layer")) else value
        for key, value in config.items()
    }
    for config in counting.catalogue().values()
}


def built(config):
    """How many parameters the model has that transformers builds."""
    with torch.device("meta"):
        return counting.base_parameters(memory.build(config))


def test_the_kinds_of_a_family_are_its_modules():
    families = json.loads(json.dumps(explorables.calculator_data()))["families"]
    assert families.keys() == counting._data()["families"].keys()
    for family, config in FAMILIES.items():
        found = Counter(
            (name.rpartition(".")[2], m.kind) for name, m in counting.modules(config).items()
        )
        kinds = Counter()
        for name, start, end, kind, *_ in families[family]:
            many = config[end] - (config[start] if start else 0) if end else 1
            kinds[name, kind] += many
        assert kinds == found, family
        linear = {name for name, kind in found if kind == "linear"}
        assert any(set(names.split()) <= linear for names in explorables.QUERY_AND_VALUE)


@pytest.mark.parametrize("family", explorables.COMPLETED)
def test_a_config_is_completed_as_transformers_completes_it_or_refused(family):
    rules, config = explorables.COMPLETED[family], FAMILIES[family]
    bare = {key: value for key, value in config.items() if key not in rules}
    if "num_local_experts" in rules:
        bare["num_experts"] = config["num_local_experts"]

    def size(product):
        return prod(int(f) if f.isdigit() else bare[f] for f in product.split("*"))

    def quotient(part):
        over, _, under = part.partition("/")
        return size(over) // size(under or "1")

    completed = {
        key: rule if isinstance(rule, bool) else sum(map(quotient, rule.split("+")))
        for key, rule in rules.items()
    }
    assumed = explorables.ASSUMED.get(family, {})
    refused = any(completed.get(key, usual) != usual for key, usual in assumed.items())
    same = built(bare) == counting.base_parameters({**config, **completed})
    assert same is not refused


@pytest.mark.parametrize("family", explorables.ASSUMED)
def test_where_a_config_says_otherwise_its_model_is_another(family):
    config = FAMILIES[family]
    counted = counting.base_parameters(config)
    assert built(config) == counted
    for key, usual in explorables.ASSUMED[family].items():
        if isinstance(usual, bool):
            other = not usual
        else:
            other = {"null": 100, '"relu"': "gated-gelu", "0": 2, "1": 2, "[]": [0]}[
                json.dumps(usual)
            ]
        assert built({**config, key: other, "is_decoder": True}) != counted, key


@pytest.mark.parametrize("name", explorables.DATA)
def test_a_piece_to_play_with_is_short(name):
    rows = (NOTEBOOKS / "site" / "static" / f"{name}.js").read_text(encoding="utf-8").splitlines()
    assert len(rows) <= 150
    assert max(map(len, rows)) <= 100


def said_in(name):
    return (NOTEBOOKS / "site" / "explore" / f"{name}.md").read_text(encoding="utf-8")


def test_what_the_page_of_the_ellipse_says_is_so():
    shear = np.array([[1, 1], [0, 1]])
    _, S, Vt = np.linalg.svd(shear)
    angle = np.degrees(np.arctan(Vt[0, 1] / Vt[0, 0]))
    assert f"at about {angle:.0f}°: there the output is {S[0]:.2f} long" in said_in("ellipse")


def test_what_the_page_of_names_says_is_so():
    page, (W0, _, _) = said_in("rank"), matrix_example(0, 100, 100, 5)
    for name, words in {"LILI": "LILI is exact with {} directions", "X": "X only with {}"}.items():
        assert words.format(np.linalg.matrix_rank(letters(name))) in page
    S = np.linalg.svd(W0, compute_uv=False)
    missing = np.sqrt(np.sum(S[5:] ** 2) / np.sum(S**2))
    assert f"its best five directions leave {100 * missing:.0f} % of it missing" in page


def test_what_the_page_of_the_calculator_says_is_so():
    page, types = said_in("calculator"), ("bfloat16", "float32", "float32")

    def memory_of(names, r):
        count = counting.count("llama-3.1-8b", r, names)
        return sum(counting.training_memory(count.base, count.trainable, dtypes=types).values())

    two, all_linear = (memory_of(names, 8) for names in (["q_proj", "v_proj"], "all-linear"))
    assert round(100 * (all_linear / two - 1)) == 2
    assert "with all linear layers it grows by two percent (at a rank of 8)" in page
    assert memory_of(["q_proj", "v_proj"], 16) / two < 1.005
    assert "so the memory of LoRA hardly moves" in page
    count = counting.count("llama-3.1-8b", 8, ["q_proj", "v_proj"])
    assert f"trains {count.trainable:,} numbers beside {count.base:,}" in page
    assert f"{two / 1e9:.1f} GB with LoRA" in page
    for d, break_even in ((4096, "2,048"), (1024, "819.2")):
        assert f"{counting.break_even_rank(d, 4096):,.1f}".removesuffix(".0") == break_even
        assert break_even in page
