"""Names as people write them, and the model of the catalogue that each means."""

import pytest

from lora_edu import counting, names

MEANT = {
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "unsloth/Meta-Llama-3.1-8B-bnb-4bit": "llama-3.1-8b",
    "Llama3-8B": "llama-3.1-8b",  # of the same shapes
    "meta-llama/Llama-2-7b-chat-hf": "llama-2-7b",
    "mistral-7b": "mistral-7b-v0.1",
    "Mistral-7B-Instruct-v0.3": "mistral-7b-v0.3",
    "google/gemma-3-4b-it": "gemma-3-4b",
    "Qwen/Qwen2.5-7B-Instruct-AWQ": "qwen2.5-7b",
    "qwen3-4b-instruct-2507": "qwen3-4b",
    "DeepSeek-R1-Distill-Llama-8B": "llama-3.1-8b",
    "openai/whisper-large-v3": "whisper-large-v3",
}


@pytest.mark.parametrize(("written", "id_"), MEANT.items())
def test_a_name_means_a_model(written, id_):
    assert counting.named(written) == id_
    assert counting.count(written, 8, "all-linear") == counting.count(id_, 8, "all-linear")


def test_each_id_and_each_other_name_means_its_own_model():
    written = [name for model in counting.models() for name in model.get("names", [])]
    assert len(written) == len(set(written)) > 200
    for model in counting.models():
        for name in (model["id"], *model.get("names", [])):
            assert counting.named(name) == model["id"], name


MISSPELT = [
    ("mistral-9b", "mistral-7b-v0.1", "mixtral"),
    ("lama-3.1-9b", "llama-3.1-8b", "gemma"),
    ("gemma-2-28b", "gemma-2-27b", "gpt"),
    ("t5", "t5-base", "gpt"),
    ("qwen2.5-8b", "qwen2.5-7b", "qwen3"),
]


@pytest.mark.parametrize(("written", "near", "far"), MISSPELT)
def test_an_unknown_name_suggests_its_own_family(written, near, far):
    with pytest.raises(ValueError, match="is no model of the catalogue: ") as error:
        counting.named(written)
    assert near in str(error.value)
    assert far not in str(error.value)


@pytest.mark.parametrize("written", ["", "!", "zzz", "/", "42", "ü" * 300])
def test_what_is_no_name_is_refused(written):
    with pytest.raises(ValueError, match=r"is no model of the catalogue\.$"):
        names.meant(written, {"gpt2": []})
    with pytest.raises(TypeError, match="name must be a text, got 5"):
        counting.named(5)
