"""What stands around the code: metadata, the two environments, the built wheel, the README."""

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from functools import partial
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# conda-forge's names where they differ
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def requirements():
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(line) for line in [*PROJECT["dependencies"], *chain(*extras)]]


def environment():
    """Read environment.yml: (conda's lines, pip's lines). It has no nesting beyond these two."""
    conda, pip = [], []
    for line in (ROOT / "environment.yml").read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"  - (\S+[^:\s])", line):
            conda.append(match[1])
        elif match := re.fullmatch(r"      - (.+)", line):
            pip.append(match[1])
        else:
            assert re.fullmatch(r"\s*#.*|name: \S+|channels:|dependencies:|  - pip:|", line), line
    return conda[1:], pip  # the first is the channel


def test_both_environments_name_the_same_packages_with_the_same_bounds():
    conda, pip = environment()
    assert pip[-1] == "-e ."
    in_yaml = {(r.name, str(r.specifier)) for r in map(Requirement, [*conda, *pip[:-1]])}
    in_toml = {(CONDA.get(r.name, r.name), str(r.specifier)) for r in requirements()}
    python = ("python", PROJECT["requires-python"])
    assert in_yaml == in_toml | {python, ("pip", "")}


def test_only_the_tools_whose_output_is_committed_are_pinned():
    pinned = {r.name for r in requirements() if "==" in str(r.specifier)}
    assert pinned == {"jupytext", "nbclient", "ruff"}
    assert not any("+" in str(r.specifier) for r in requirements())


@pytest.fixture
def wheel(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(tmp_path.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_alone_draws_the_figures_and_counts(wheel, tmp_path):
    venv.create(tmp_path / "alone", with_pip=True)
    run = partial(subprocess.run, cwd=tmp_path, capture_output=True, text=True, check=False)
    binaries = tmp_path / "alone" / "bin"
    installed = run([binaries / "python", "-m", "pip", "install", "--quiet", str(wheel)])
    if installed.returncode and "CI" not in os.environ:
        pytest.skip(f"its dependencies cannot be fetched: {installed.stderr[-200:]}")
    assert installed.returncode == 0, installed.stderr
    drawn = run([binaries / "lora-edu", "figures"])
    assert drawn.returncode == 0, drawn.stderr
    expected = {path.name for path in (ROOT / "figures").glob("*.png")}
    assert {path.name for path in (tmp_path / "figures").glob("*.png")} == expected
    what = ["llama-2-7b", "--rank", "8", "--target-modules", "q_proj", "v_proj", "--json"]
    counted = run([binaries / "lora-edu", "count", *what])
    assert json.loads(counted.stdout)["trainable"] == 4_194_304


def test_the_wheel_holds_the_package_and_its_data(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "lora_edu").rglob("*")
        if path.is_file() and path.suffix in {".py", ".json"}
    }
    assert package <= set(names)
    assert not any(name.startswith(("tests", "notebooks", "figures")) for name in names)


def test_one_version_everywhere():
    from lora_edu import __version__

    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in citation


def links(path):
    text = re.sub(r"(?s)```.*?```", "", path.read_text(encoding="utf-8"))
    return re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "figures/README.md"])
def test_links_lead_somewhere(name):
    page = ROOT / name
    for link in links(page):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), f"{name}: {link}"


def test_the_readme_lists_every_lesson_there_is():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"](notebooks/{notebook.name})" in readme


def test_the_readme_names_commands_that_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"`?make ([a-z-]+)", readme))
    assert {"lab", "test"} <= named
    targets = set(re.findall(r"(?m)^([a-z-]+):", makefile))
    assert named <= targets


def test_what_a_learner_works_on_is_neither_committed_nor_tested(pytestconfig):
    assert "mine" in pytestconfig.getini("norecursedirs")
    mine = "notebooks/mine/01_matrix_example.ipynb"
    ignored = subprocess.run(["git", "check-ignore", mine], cwd=ROOT, capture_output=True)
    assert ignored.returncode != 1, "git would offer to commit the learner's copy"


def test_no_path_of_a_machine_is_committed():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    machine = re.compile(r"/(?:root|home/\w+|Users/\w+|tmp/ipykernel\w*)/")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.suffix != ".png" and path.exists():
            assert not machine.search(path.read_text(encoding="utf-8")), name


def test_the_code_in_the_readme_gives_what_its_comments_say():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names, compared = {}, 0
    for block in re.findall(r"(?s)```python\n(.*?)```", readme):
        for line in filter(None, block.splitlines()):
            code, _, comment = line.partition("#")
            if comment:
                value = str(eval(code, names))
                assert comment.startswith(f" {value}"), f"{code.strip()} is {value}"
                compared += 1
            else:
                exec(code, names)
    assert compared >= 2
