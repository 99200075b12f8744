"""What makes an experiment of minutes one of seconds: a chat model of four layers, few posts."""

import pytest
from tiny_llama import llama

from lora_edu import chat
from lora_edu.course import language, minilm
from lora_edu.course.experiments import KEYS, find, read

RECIPE = language.RECIPE | {"first": 2, "sizes": (8, 4, 4), "steps": 4}


def names(value, depth=2):
    """Return the names in a row, and those in what they stand for."""
    if isinstance(value, dict) and depth:
        return {name: names(item, depth - 1) for name, item in value.items()}
    return None


@pytest.fixture
def tiny_run(tmp_path, monkeypatch):
    """Return a function that runs an experiment on the small model, and returns its row.

    It has what the row of the same key has in the record, with other numbers.
    """
    model, texts = chat.load(llama(tmp_path)), language.texts
    monkeypatch.setattr(language, "base", lambda: model)
    monkeypatch.setattr(language, "texts", lambda name: texts(name)[:8])

    def run(name, *key, **arguments):
        row = find(name).run(*key, recipe=RECIPE, **arguments)
        rows = {tuple(r[k] for k in KEYS if k in r): r for r in read(name)["rows"]}
        recorded = {k: value for k, value in rows[key].items() if k not in KEYS}
        assert names(row) == names(recorded)
        return row

    return run


@pytest.fixture
def few():
    """Return settings of MiniLM's experiments: a few posts in the place of a thousand."""
    return {
        "posts": minilm.POSTS | {"sizes": (32, 16, 16)},
        "elsewhere": minilm.ELSEWHERE_POSTS | {"sizes": (32, 0, 0)},
    }
