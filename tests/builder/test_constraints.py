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
def test_versions_are_written_when_all_lessons_are_built(capsys, lesson, monkeypatch):
    path, pins = lesson.root / "constraints.txt", ["numpy==1"]
    monkeypatch.setattr(execute, "pins", lambda: pins)

    def run(*argv):
        """Return what the command complains of, and what the file says then."""
        build.main(argv)
        file = path.read_text() if path.exists() else ""
        return capsys.readouterr().err, [row for row in file.splitlines() if row[0] != "#"]

    lesson.write(code("sum", "print(2 + 3)"))
    said, written = run("07")  # some lessons: not the file's business
    assert said.startswith("constraints.txt says otherwise of numpy: it is written when all")
    assert written == []
    assert run() == ("", ["numpy==1"])
    pins[:] = ["numpy==2", "torch==2"]
    for way in (["--check"], ["--solved"], ["--own"], ["07"]):  # nor if no output changes
        assert run(*way) == ("", ["numpy==1"])
    assert run() == ("", pins)  # though no output changes
    assert execute.write_constraints(lesson.root) == "unchanged"
