"""Lessons that run in a browser: what is fetched is what was pinned, and nothing else."""

import ast
import hashlib
import json
import zipfile

import nbformat
import pytest
from builder import live, site
from builder import stage as staging
from builder.source import BuildError, sources

PINNED = json.loads(live.PINNED.read_text(encoding="utf-8"))


def test_each_package_of_the_kernel_is_pinned_by_its_lock():
    packages = PINNED["lock"]["packages"].values()
    assert {"numpy", "matplotlib", "scikit-learn"} <= PINNED["lock"]["packages"].keys()
    assert {p["file_name"]: p["sha256"] for p in packages}.items() <= PINNED["files"].items()
    known = {name.lower().replace("_", "-") for name in PINNED["lock"]["packages"]}
    needed = {each.lower().replace("_", "-") for p in packages for each in p["depends"]}
    assert needed <= known


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "bringer-1.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("assets/pyodide/kernel.wasm", b"kernel")
        archive.writestr("bringer/code.py", b"never run")
    return path


def test_files_are_unpacked_if_they_are_the_pinned_ones(tmp_path, wheel):
    pinned = {"files": {"kernel.wasm": hashlib.sha256(b"kernel").hexdigest()}, "lock": {"v": 1}}
    live.unpack(wheel, pinned, tmp_path / "kernel")
    found = {path.name: path.read_bytes() for path in (tmp_path / "kernel").iterdir()}
    assert found == {"kernel.wasm": b"kernel", "pyodide-lock.json": b'{"v": 1}'}


@pytest.mark.parametrize(
    ("files", "problem"),
    [({"kernel.wasm": "0" * 64}, "its hash is not the one"), ({"code.py": "0"}, "is missing")],
)
def test_other_files_are_refused(tmp_path, wheel, files, problem):
    with pytest.raises(BuildError, match=problem):
        live.unpack(wheel, {"files": files, "lock": {}}, tmp_path / "kernel")
    assert not (tmp_path / "kernel").exists()


def test_the_lessons_need_no_more_than_the_kernel_has():
    for path in sources(live.LESSONS):
        notebook = nbformat.reads(live.live_edition(path), as_version=4)
        assert "piplite.install" in notebook.cells[0].source
        code = [c.source for c in notebook.cells if c.cell_type == "code"][1:]
        nodes = [node for source in code for node in ast.walk(ast.parse(source))]
        named = {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
        named |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        tops = {name.partition(".")[0] for name in named}
        assert tops <= {"numpy", "matplotlib", "sklearn", "lora_edu", "time"}, tops
        assert "guess = None" in "".join(code)


def test_a_lesson_that_runs_says_so_with_a_button(tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "ADDRESS", "somebody/lora")
    stem = "01_matrix_example"
    for runs in ({}, {"matrix_example": 43}):
        stage = staging.Stage("en", tmp_path, runs)
        stage.lesson(stem, staging.lessons("en")[stem])
        page = (tmp_path / f"notebooks/{stem}.md").read_text(encoding="utf-8")
        button = f'<a class="live" href="../../live/notebooks/index.html?path={stem}.ipynb">▶'
        assert (button in page) == bool(runs)
        assert f"(https://mybinder.org/v2/gh/somebody/lora/main?labpath=notebooks/{stem}" in page
    assert "43 MB to load" in page


def test_a_folder_that_is_no_site_is_not_replaced(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BuildError, match="is there, and is no site"):
        site.write_site(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"
