import numpy as np
import pytest

from lora_edu.course import recorded

SETTINGS = [
    ({}, [0, 1, 2, 3]),
    ({"method": "lora"}, [0, 1, 2]),
    ({"method": "lora", "lr": 0.1}, [0, 1]),
]


@pytest.mark.parametrize(("settings", "places"), SETTINGS)
def test_a_column_is_what_stands_at_the_end_of_a_path_in_the_rows_of_a_setting(
    monkeypatch, settings, places
):
    of = [("lora", 0.1), ("lora", 0.1), ("lora", 0.3), ("full", 0.1)]
    rows = [
        {"method": method, "lr": lr, "losses": {"own": [place, 10 * place]}}
        for place, (method, lr) in enumerate(of)
    ]
    monkeypatch.setattr(recorded, "record", lambda name: {"rows": rows})
    assert recorded.runs("some", **settings) == [rows[place] for place in places]
    assert recorded.column("some", "losses", "own", 0, **settings).tolist() == places
    pairs = [[place, 10 * place] for place in places]
    assert recorded.column("some", "losses", "own", **settings).tolist() == pairs


def test_a_mean_is_rounded():
    values = np.array([0.12345, 0.12355])
    assert recorded.rounded(values) == 0.123
    assert recorded.rounded(values, 4) == 0.1235
    assert type(recorded.rounded(values)) is float
