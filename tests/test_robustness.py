"""`make robustness`, on a lesson that holds for one thread only."""

import pytest
import robustness
from builder import execute
from small_lesson import FRONT, GOOD, code

FRAGILE = [
    *GOOD,
    code("threads", 'import os\n\nprint("threads", os.environ["OMP_NUM_THREADS"])'),
    code("timing", 'print(os.environ["OMP_NUM_THREADS"])', "timing"),
]


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = tmp_path / "src" / "07_small.md"
    path.parent.mkdir()
    path.write_text(FRONT + "".join(FRAGILE), encoding="utf-8")
    return path


def test_each_line_that_is_printed_otherwise_is_reported(source, monkeypatch):
    assert list(robustness.as_committed(source)) == ["it is not built yet: run `make notebooks`"]
    execute.build(source)
    assert list(robustness.as_committed(source)) == []
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert list(robustness.as_committed(source)) == [
        "cell threads: prints 'threads 2', committed is 'threads 1'"
    ]
