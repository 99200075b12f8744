"""What makes an experiment of minutes one of seconds: a chat model of four layers, few posts."""

import pytest
from tiny_llama import llama

from lora_edu import chat
from lora_edu.course import language, minilm
from lora_edu.course.experiments import KEYS, find, read

SMALL = {
    "recipe": language.RECIPE | {"first": 2, "sizes": (8, 4, 4), "steps": 4},
    "posts": minilm.POSTS | {"sizes": (32, 16, 16)},
    "elsewhere": minilm.ELSEWHERE_POSTS | {"sizes": (32, 0, 0)},
}


@pytest.fixture
def tiny_run(tmp_path, monkeypatch):
    """Return a function that runs an experiment on little, and returns its row.

    It has what the row of the same key has in the record, or a part of it, with other numbers.
    """
    model, texts = chat.load(llama(tmp_path)), language.texts
    monkeypatch.setattr(language, "base", lambda: model)
    monkeypatch.setattr(language, "texts", lambda name: texts(name)[:8])

    def run(name, *key, **arguments):
        constants = find(name).arguments
        small = {what: value for what, value in SMALL.items() if what in constants}
        row = find(name).run(*key, **{**small, **arguments})
        rows = {tuple(r[k] for k in KEYS if k in r): r for r in read(name)["rows"]}
        recorded = {k: value for k, value in rows[key].items() if k not in KEYS}
        assert row.keys() == recorded.keys()
        for what, value in row.items():
            if isinstance(value, dict):
                assert value.keys() <= recorded[what].keys()
        return row

    return run
