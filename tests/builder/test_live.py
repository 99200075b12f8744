"""Lessons that run in a browser: what is fetched is what was pinned, and nothing else."""

import ast
import hashlib
import json
import zipfile

import nbformat
import pytest
from builder import live, site
from builder import stage as staging
from builder.source import BuildError, slug, sources

PINNED = json.loads(live.PINNED.read_text(encoding="utf-8"))
RIGHT, WRONG = hashlib.sha256(b"kernel").hexdigest(), "0" * 64


def test_each_package_of_the_kernel_is_pinned_by_its_lock():
    packages = PINNED["lock"]["packages"].values()
    assert {"numpy", "matplotlib", "scikit-learn"} <= PINNED["lock"]["packages"].keys()
    assert {p["file_name"]: p["sha256"] for p in packages}.items() <= PINNED["files"].items()
    known = {name.lower().replace("_", "-") for name in PINNED["lock"]["packages"]}
    needed = {each.lower().replace("_", "-") for p in packages for each in p["depends"]}
    assert needed <= known


FILES = [
    ({"kernel.wasm": RIGHT}, None),
    ({"kernel.wasm": WRONG}, "kernel.wasm: its hash is not the one in live.json"),
    ({"code.py": WRONG}, "bringer-1.whl: code.py is missing"),
]


@pytest.mark.parametrize(("files", "problem"), FILES)
def test_files_are_unpacked_if_they_are_the_pinned_ones(tmp_path, files, problem):
    wheel, out = tmp_path / "bringer-1.whl", tmp_path / "kernel"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("assets/pyodide/kernel.wasm", b"kernel")
        archive.writestr("bringer/code.py", b"never run")
    pinned = {"files": files, "lock": {"v": 1}}
    if problem:
        with pytest.raises(BuildError, match=problem):
            live.unpack(wheel, pinned, out)
        assert not out.exists()
    else:
        live.unpack(wheel, pinned, out)
        found = {path.name: path.read_bytes() for path in out.iterdir()}
        assert found == {"kernel.wasm": b"kernel", "pyodide-lock.json": b'{"v": 1}'}


@pytest.mark.parametrize("path", sources(live.LESSONS), ids=slug)
def test_the_lessons_need_no_more_than_the_kernel_has(path):
    first, *cells = nbformat.reads(live.live_edition(path), as_version=4).cells
    assert "piplite.install" in first.source
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    named = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            named.add(node.module)
    tops = {name.partition(".")[0] for name in named}
    assert tops <= {"numpy", "matplotlib", "sklearn", "lora_edu", "time"}
    assert "guess = None" in code


@pytest.mark.parametrize("runs", [{}, {"matrix_example": 43}])
def test_a_lesson_that_runs_says_so_with_a_button(tmp_path, monkeypatch, runs):
    monkeypatch.setattr(staging, "ADDRESS", "somebody/lora")
    stem = "01_matrix_example"
    stage = staging.Stage("en", tmp_path, runs)
    stage.lesson(stem, staging.lessons("en")[stem])
    page = (tmp_path / f"notebooks/{stem}.md").read_text(encoding="utf-8")
    button = f'<a class="live" href="../../live/notebooks/index.html?path={stem}.ipynb">▶'
    assert (button in page) == ("43 MB to load" in page) == bool(runs)
    assert f"(https://mybinder.org/v2/gh/somebody/lora/main?labpath=notebooks/{stem}" in page


def test_a_folder_that_is_no_site_is_not_replaced(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BuildError, match="is there, and is no site"):
        site.write_site(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"
