"""constraints.txt: which versions it names, when it is written, and what is committed."""

import re
import sys

import build
import pytest
from builder import constraints
from builder.source import NOTEBOOKS, BuildError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from small_lesson import code, text

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

INSTALLED = [  # name, version, and what it requires
    (
        "A_Course", "0.1", "Py.Torch>=2", 'learn[fast]>=1; extra == "course"',
        'unused; extra == "other"', 'old; python_version < "3"', 'a-course[course]; extra == "all"',
    ),
    ("py_torch", "2.13.0+cpu", "deep>=1"),
    ("learn", "1.4", 'quick; extra == "fast"', 'slow; extra == "careful"'),
    ("quick", "3.0rc1", "learn"),  # a circle
    ("deep", "1.0.post2"),
    ("broken", "1", "nowhere-to-be-found"),
]  # fmt: skip


def test_all_that_is_needed_has_a_line_and_nothing_else(tmp_path, monkeypatch):
    for name, version, *requires in INSTALLED:
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        lines = [f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}"]
        lines += [f"Requires-Dist: {line}" for line in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    alone = ["deep==1.0.post2", "py-torch==2.13.0"]
    both = ["deep==1.0.post2", "learn==1.4", "py-torch==2.13.0", "quick==3.0rc1"]
    assert constraints.pins("a-course", ()) == alone
    assert constraints.pins("a-course", ("course",)) == both
    assert constraints.pins("a-course", ("all",)) == both
    with pytest.raises(BuildError, match="not written: nowhere-to-be-found is not installed"):
        constraints.pins("broken", ())


@pytest.mark.seconds
def test_versions_are_written_when_all_lessons_are_built(capsys, lesson, monkeypatch):
    path, pins = lesson.root / "constraints.txt", ["numpy==1"]
    monkeypatch.setattr(constraints, "pins", lambda: pins)

    def run(*argv):
        """Return what the command complains of, and what the file says then."""
        build.main(argv)
        file = path.read_text() if path.exists() else ""
        return capsys.readouterr().err, [row for row in file.splitlines() if row[0] != "#"]

    lesson.write(text("title", "# Small"), code("bad", "1 / 0"))
    assert run()[1] == []  # a lesson is refused
    lesson.write(text("title", "# Small"), code("sum", "print(2 + 3)"))
    said, written = run("07")  # some lessons: not the file's business
    assert said.startswith("constraints.txt says otherwise of numpy: it is written when all")
    assert written == []
    assert run() == ("", ["numpy==1"])
    assert 'python -m pip install -e ".[course,test,dev]" -c constraints.txt' in path.read_text()

    pins[:] = ["numpy==2", "torch==2"]
    for way in (["--check"], ["--solved"], ["--own"], ["--seed", "1"]):
        assert run(*way)[1] == ["numpy==1"]
    lesson.edit("2 + 3", "2 + 4")
    said, written = run("07")  # an output of numpy 2 is committed now ...
    assert said.startswith("constraints.txt says otherwise of numpy, torch: it is written when")
    assert written == ["numpy==1"]
    assert run() == ("", pins)  # ... and though no output changes any more, the file is mended
    assert constraints.write_constraints(lesson.root) is False


def test_what_is_committed_names_versions_that_the_project_allows():
    text = (NOTEBOOKS.parent / "constraints.txt").read_text(encoding="utf-8")
    lines = re.findall("(?m)^[^#].*", text)
    versions = dict(line.split("==") for line in lines)
    assert list(versions) == sorted(versions)
    toml = (NOTEBOOKS.parent / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(toml)["project"]
    required = [*project["dependencies"]]
    for extra in constraints.EXTRAS:
        required += project["optional-dependencies"][extra]
    python = {"python_version": re.search(r"on Python (\S+)\.", text)[1]}
    for requirement in map(Requirement, required):
        if requirement.marker is None or requirement.marker.evaluate(python):
            version = versions[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), requirement
