"""constraints.txt: which versions it names, and when it is written."""

import build
import pytest
from builder import execute
from builder.source import BuildError
from small_lesson import code


def test_all_that_is_needed_here_has_a_line_and_nothing_else():
    versions = dict(line.split("==") for line in execute.pins())
    assert list(versions) == sorted(versions)
    assert {"numpy", "torch", "jupyterlab", "pytest"} <= versions.keys()
    assert "sympy" in versions  # which torch needs
    assert "lora-edu" not in versions
    assert not any("+" in version for version in versions.values())
    with pytest.raises(BuildError, match="not written: nowhere-to-be-found is not installed"):
        execute.pins("nowhere-to-be-found", ())


@pytest.mark.seconds
def test_versions_are_written_when_all_lessons_are_built(lesson, monkeypatch):
    path, pins = lesson.root / "constraints.txt", ["numpy==1"]
    monkeypatch.setattr(execute, "pins", lambda: pins)

    def run(*argv):
        """Return what the file says after a command."""
        build.main(argv)
        file = path.read_text() if path.exists() else ""
        return [row for row in file.splitlines() if row[0] != "#"]

    lesson.write(code("bad", "1 / 0"))
    assert run() == []  # a lesson is refused
    lesson.write(code("sum", "print(2 + 3)"))
    assert run("07") == []  # some lessons: not the file's business
    assert run() == ["numpy==1"]
    pins[:] = ["numpy==2", "torch==2"]
    for way in (["--check"], ["--own"], ["07"]):
        assert run(*way) == ["numpy==1"]
    assert run() == pins  # though no output changes
    assert execute.write_constraints(lesson.root) == "unchanged"
