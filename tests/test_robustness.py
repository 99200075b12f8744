"""`make robustness`, on a lesson that holds for one seed and one thread only."""

import pytest
import robustness
from builder import execute
from small_lesson import FRONT, GOOD, code

FRAGILE = [
    *GOOD,
    code("threads", 'import os\n\nprint("threads", os.environ["OMP_NUM_THREADS"])'),
    code("timing", 'print(os.environ["OMP_NUM_THREADS"])', "timing"),
    code("first-claim", 'assert SEED == 0, "true for 0 only"'),
    code("second-claim", "assert SEED < 1"),
]


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = tmp_path / "src" / "07_small.md"
    path.parent.mkdir()
    path.write_text(FRONT + "".join(FRAGILE), encoding="utf-8")
    return path


def test_each_assertion_that_another_seed_breaks_is_reported(source):
    assert list(robustness.with_seed(source, 0)) == []
    assert list(robustness.with_seed(source, 3)) == [
        "cell first-claim: AssertionError: true for 0 only",
        "cell second-claim: AssertionError: ",
    ]


def test_each_line_that_is_printed_otherwise_is_reported(source, monkeypatch):
    assert list(robustness.as_committed(source)) == ["it is not built yet: run `make notebooks`"]
    execute.build(source)
    assert list(robustness.as_committed(source)) == []
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert list(robustness.as_committed(source)) == [
        "cell threads: prints 'threads 2', committed is 'threads 1'"
    ]
