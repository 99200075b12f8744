"""What stands around the code: metadata, the two environments, the built wheel, the README."""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from functools import partial
from itertools import chain
from pathlib import Path

import clone
import pytest
import yaml
from builder import execute
from house import imported
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lora_edu.cli import main

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# conda-forge's names where they differ
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
EXTRAS = PROJECT["optional-dependencies"]
# Distributions by the names of their modules, where these differ
DISTRIBUTIONS = {
    "PIL": "pillow", "sklearn": "scikit-learn", "IPython": "ipython", "yaml": "pyyaml",
    "axe_playwright_python": "axe-playwright-python", "cosmic_ray": "cosmic-ray",
    "coverage": "pytest-cov", "zxingcpp": "zxing-cpp", "markdown_it": "markdown-it-py",
}  # fmt: skip
# What a learner installs and nothing imports: run by its name, or loaded by tqdm, whose bars in a
# notebook warn without it
NOT_IMPORTED = {"jupyterlab", "ipywidgets"}
STANDARD = sys.stdlib_module_names | {"tomllib"}  # which Python 3.10 has not yet


def requirements(*extras):
    return [Requirement(line) for line in chain(PROJECT["dependencies"], *map(EXTRAS.get, extras))]


def declared(*extras):
    return {requirement.name for requirement in requirements(*extras)}


def test_both_environments_name_the_same_packages_with_the_same_bounds():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    *conda, pip = listed
    assert pip["pip"].pop() == "-e ."
    in_yaml = {(r.name, str(r.specifier)) for r in map(Requirement, [*conda, *pip["pip"]])}
    installed = requirements("course", "test", "dev")  # by everybody
    in_toml = {(CONDA.get(r.name, r.name), str(r.specifier)) for r in installed}
    assert in_yaml == in_toml | {("python", PROJECT["requires-python"]), ("pip", "")}
    # Pinned are the tools alone whose output is committed.
    pinned = {r.name for r in installed if "==" in str(r.specifier)}
    assert pinned == {"jupytext", "nbclient", "ruff", "pyright"}


def distributions(pattern, *, everywhere=True):
    """Return the distributions that files import (anywhere, or at their top level), with files."""
    own = {"lora_edu"}
    for path in [*ROOT.glob("tests/**/*.py"), *ROOT.glob("notebooks/**/*.py")]:
        own |= {path.stem, path.parent.name}
    found = {}
    for path in ROOT.glob(pattern):
        modules = {name.partition(".")[0] for name in imported(path, everywhere=everywhere)}
        for module in modules - STANDARD - own:
            found.setdefault(DISTRIBUTIONS.get(module, module), []).append(path.name)
    return found


def test_what_is_imported_is_declared_and_what_a_learner_installs_is_used():
    lessons, sources = distributions("lora_edu/**/*.py"), distributions("notebooks/src/**/*.md")
    for found, extras in (
        (distributions("lora_edu/*.py", everywhere=False), []),  # the package alone needs no extra
        (lessons, ["course"]),
        (sources, ["course"]),
        (distributions("notebooks/**/*.py"), ["course", "dev"]),
        (distributions("tests/**/*.py"), EXTRAS),
    ):
        unknown = found.keys() - declared(*extras)
        assert {name: found[name] for name in unknown} == {}
        assert found  # something was read at all
    assert declared("course") - lessons.keys() - sources.keys() == NOT_IMPORTED


@pytest.fixture
def wheel(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(tmp_path.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_alone_draws_the_figures_counts_and_prints_the_claims(wheel, tmp_path):
    venv.create(tmp_path / "alone", with_pip=True)
    run = partial(subprocess.run, cwd=tmp_path, capture_output=True, text=True, check=False)
    binaries = tmp_path / "alone" / ("Scripts" if os.name == "nt" else "bin")
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
    claimed = run([binaries / "lora-edu", "claims", "matrix_example"])
    assert claimed.stdout.startswith("matrix_example: "), claimed.stderr
    # What it says of a missing part can be followed, with no clone at hand.
    command = ["finetune", "--data", "rows.csv", "--text", "t", "--label", "l", "--out", "out"]
    (tmp_path / "rows.csv").write_text("t,l\n", encoding="utf-8")
    advice = 'pip install "lora-edu[finetune]"'
    for needed in ("this needs accelerate: ", "rows.csv"):
        said = run([binaries / "lora-edu", *command]).stderr
        assert needed in said
        assert (advice in said) == ("needs" in needed)
        followed = run([binaries / "python", "-m", *advice.replace('"', "").split()])
        assert followed.returncode == 0, followed.stderr


def test_the_wheel_holds_the_package_and_its_data(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "lora_edu").rglob("*")
        if path.is_file() and path.suffix in {".py", ".json", ".js", ".safetensors"}
    }
    assert package <= set(names)
    assert not any(name.startswith(("tests", "notebooks", "figures")) for name in names)


def test_one_version_everywhere():
    from lora_edu import __version__

    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    zenodo = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    assert cff["version"] == zenodo["version"] == __version__
    names = {"title": "title", "creators": "authors", "description": "abstract"}
    for ours, theirs in names.items():
        assert zenodo[ours] == cff[theirs]
    # Each of the two names one licence, and has words for both.
    licences = PROJECT["license"].split(" AND ")
    assert cff["license"] == zenodo["license"] == licences[0]
    assert all(licence in cff["abstract"].replace(" ", "-") for licence in licences)
    cited = f"*{cff['authors'][0]['name']}, {cff['title']}, version {__version__}, "
    for page in ("README.md", "README.vi.md"):
        assert cited in (ROOT / page).read_text(encoding="utf-8")
    newest = f"## {__version__} – {cff['date-released']}"
    headings = re.findall("^## .*", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    released = [heading for heading in headings if not heading.startswith("## Unreleased")]
    assert released[0].startswith(newest)


def test_the_committed_constraints_name_versions_that_the_project_allows():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    versions = dict(line.split("==") for line in re.findall("(?m)^[^#].*", text))
    assert list(versions) == sorted(versions)
    python = {"python_version": re.search(r"on Python (\S+)\.", text)[1]}
    for requirement in requirements(*execute.EXTRAS):
        if requirement.marker is None or requirement.marker.evaluate(python):
            version = versions[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), requirement


def links(path):
    text = re.sub(r"(?s)```.*?```", "", path.read_text(encoding="utf-8"))
    return re.findall(r"\]\(([^)\s]+)\)", text)


def headings(path):
    """Return the anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"(?s)```.*?```", "", path.read_text(encoding="utf-8"))
    titles = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


PAGES = [*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/*.md"), *ROOT.glob("[a-z]*/*/*/README.md")]
PAGES += ROOT.glob("tests/benchmarks/README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in links(page):
        if not link.startswith("http"):
            address, _, anchor = link.partition("#")
            target = page.parent / address if address else page
            assert target.exists(), link
            if anchor:
                assert anchor in headings(target), link


def test_one_page_leads_to_all_others_and_the_first_to_each_lesson():
    index = ROOT / "notebooks" / "README.md"
    reached = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    beside = {*index.parent.glob("*.md"), *ROOT.glob("[a-z]*/README.md"), ROOT / "CONTRIBUTING.md"}
    assert beside - {index} <= reached
    lessons = {f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert lessons <= {*links(ROOT / "README.md")}


def test_pages_and_hooks_name_commands_that_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"(?m)^\.PHONY: (.+)$", makefile)
    lines = re.findall(r"(?m)^([a-z -]+):(?!=)", makefile)
    assert set(phony.split()) == {target for line in lines for target in line.split()}
    for page in PAGES:
        if page.name != "CHANGELOG.md":
            text = page.read_text(encoding="utf-8")
            targets = set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE))
            assert targets <= set(phony.split()), page
            commands = set(re.findall(r"(?:`|^|/)lora-edu ([a-z]+)", text, re.MULTILINE))
            for command in commands:
                with pytest.raises(SystemExit) as stop:
                    main([command, "--help"])
                assert stop.value.code == 0, f"{page}: lora-edu {command}"
    # Each check is a hook, under its own name, and nothing is fetched.
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    hooks = {(hook["id"], hook["entry"], hook["language"]) for hook in repo["hooks"]}
    assert hooks == {(name, f"lora-edu check {name}", "system") for name in clone.CHECKS}


def git(*command):
    """Run Git in the project; skip where there is none, or no checkout."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    run = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True)
    if "not a git repository" in run.stderr:
        pytest.skip("not a git checkout")
    return run


def test_what_a_learner_works_on_is_neither_committed_nor_tested(pytestconfig):
    assert "mine" in pytestconfig.getini("norecursedirs")
    mine = git("check-ignore", "notebooks/mine/01_matrix_example.ipynb")
    assert mine.returncode == 0, "git would offer to commit the learner's copy"


def test_what_is_committed_names_no_machine_no_address_and_no_file_that_there_is_not():
    machine = re.compile(r"/(?:root|home/\w+|Users/\w+|tmp/ipykernel\w*)/")
    path = re.compile(
        r"(?<![\w/.-])(?:tests|lora_edu|notebooks|figures)/[\w/.-]+\.(?:py|md|json)\b"
    )
    mail = re.compile(r"[\w.+-]+@(?:[\w-]+\.)+(?:com|edu|org|net|gov|mil|uk|de|ca|au)\b")
    placeholder = re.compile(r"/(?:NN_|SLUG/|NAME\.|LANGUAGE/|mine/)")  # mine: the learner's
    named = []
    for name in filter(None, git("ls-files", "-z").stdout.split("\0")):
        if (ROOT / name).exists() and not name.endswith(
            (".png", ".webp", ".woff2", ".safetensors")
        ):
            text = (ROOT / name).read_text(encoding="utf-8")
            assert not machine.search(text), name
            assert not mail.search(text), name
            named += [(name, found) for found in path.findall(text)]
    assert len(named) > 50
    files = [(name, found) for name, found in named if not placeholder.search(found)]
    assert [(name, found) for name, found in files if not (ROOT / found).exists()] == []


@pytest.mark.seconds
def test_the_code_on_the_packages_page_gives_what_its_comments_say():
    readme = (ROOT / "lora_edu" / "README.md").read_text(encoding="utf-8")
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
