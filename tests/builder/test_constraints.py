"""constraints.txt: which versions it names, and that those committed are the project's."""

import re
import sys
from pathlib import Path

import pytest
from builder import constraints
from builder.source import BuildError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Distributions that are only metadata; call it with a name, a version and what it requires."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def install(name, version, *requires):
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = [f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}"]
        lines += [f"Requires-Dist: {line}" for line in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n")

    return install


def test_all_that_is_needed_has_a_line_and_nothing_else(installed):
    installed(
        "A_Course", "0.1", "Py.Torch>=2", 'learn[fast]>=1; extra == "course"',
        'unused; extra == "other"', 'old; python_version < "3"', 'a-course[course]; extra == "all"',
    )  # fmt: skip
    installed("py_torch", "2.13.0+cpu", "deep>=1")
    installed("learn", "1.4", 'quick; extra == "fast"', 'slow; extra == "careful"')
    installed("quick", "3.0rc1", "learn")  # a circle
    installed("deep", "1.0.post2")
    installed("unused", "9")
    installed("slow", "9")
    alone = ["deep==1.0.post2", "py-torch==2.13.0"]
    both = ["deep==1.0.post2", "learn==1.4", "py-torch==2.13.0", "quick==3.0rc1"]
    assert constraints.pins("a-course", ()) == alone
    assert constraints.pins("a-course", ("course",)) == both
    assert constraints.pins("a-course", ("all",)) == both


def test_what_is_needed_and_not_installed_is_named(installed):
    installed("a-course", "0.1", "nowhere-to-be-found")
    with pytest.raises(BuildError, match="not written: nowhere-to-be-found is not installed"):
        constraints.pins("a-course", ())


def test_the_file_is_written_whole_and_once(tmp_path, monkeypatch):
    monkeypatch.setattr(constraints, "pins", lambda: ["numpy==2.4.0"])
    assert constraints.says_otherwise(tmp_path) == ["numpy"]
    assert constraints.write_constraints(tmp_path) is True
    assert constraints.write_constraints(tmp_path) is False
    assert constraints.says_otherwise(tmp_path) == []
    *header, last = (tmp_path / "constraints.txt").read_text().splitlines()
    assert last == "numpy==2.4.0"
    assert all(line.startswith("#") for line in header)
    assert 'python -m pip install -e ".[course,test,dev]" -c constraints.txt' in header[-1]
    monkeypatch.setattr(constraints, "pins", lambda: ["numpy==2.4.1", "torch==2.13.0"])
    assert constraints.says_otherwise(tmp_path) == ["numpy", "torch"]
    assert constraints.write_constraints(tmp_path) is True


def test_what_is_committed_names_versions_that_the_project_allows():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.!]*", line) for line in lines)
    versions = dict(line.split("==") for line in lines)
    assert list(versions) == sorted(versions)
    assert "lora-edu" not in versions
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        required += extra
    python = {"python_version": re.search(r"on Python (\S+)\.", text)[1]}
    for requirement in map(Requirement, required):
        if requirement.marker is not None and not requirement.marker.evaluate(python):
            continue
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement
