"""The package is what its docstring says: a small core, and the course around it."""

import ast
import io
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path

import pytest

from lora_edu.course import LESSONS

PACKAGE = Path(__file__).parents[1] / "lora_edu"
CORE = ["counting", "lowrank", "reference", "layers", "_fused", "adapt", "checkpoint"]
CORE += ["variants", "quantize"]
# What a core module may load beyond the standard library.
MAY_LOAD = {
    "counting": set(),
    "lowrank": {"numpy", "lora_edu.counting"},  # for its check of a rank
    "reference": {"numpy"},
    "layers": {"torch", "lora_edu._fused"},
    "_fused": {"torch"},
    "adapt": {"torch", "lora_edu.layers"},
    "checkpoint": {"torch", "lora_edu.layers", "lora_edu.adapt", "safetensors"},
    "variants": {"torch", "lora_edu.layers", "lora_edu.adapt", "lora_edu.quantize"},
    "quantize": {"torch"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path, *, everywhere=False):
    """Names of the modules that a file imports: at its top level, or anywhere in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("name", CORE)
def test_the_core_loads_only_what_it_may(name):
    for module in imported(PACKAGE / f"{name}.py", everywhere=True):
        if module.split(".")[0] in sys.stdlib_module_names:
            continue
        allowed = any(module == m or module.startswith(f"{m}.") for m in MAY_LOAD[name])
        assert allowed, f"{name} imports {module}"


def test_no_circle_of_imports():
    names = {p: ".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts) for p in MODULES}
    names = {p: name.removesuffix(".__init__") for p, name in names.items()}
    needs = {
        names[p]: {
            n for n in names.values() for i in imported(p) if i == n or i.startswith(n + ".")
        }
        - {"lora_edu", names[p]}
        for p in MODULES
    }
    while needs:
        free = [name for name, others in needs.items() if not others & needs.keys()]
        assert free, f"a circle among {sorted(needs)}"
        for name in free:
            del needs[name]


def test_importing_lora_edu_loads_neither_numpy_nor_torch():
    def loaded(module):
        code = f"import sys, {module}; print(*[m for m in ('numpy', 'torch') if m in sys.modules])"
        return subprocess.check_output([sys.executable, "-c", code], text=True).split()

    assert loaded("lora_edu") == []
    assert loaded("lora_edu.counting") == []
    assert loaded("lora_edu.lowrank") == ["numpy"]
    assert loaded("lora_edu.reference") == ["numpy"]
    assert loaded("lora_edu.course.matrix_example.checks") == ["numpy"]


def lines_of_code(path):
    """Count the lines that hold code: no blank ones, no comments, no docstrings."""
    text = path.read_text(encoding="utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            docstrings.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    skip = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    code = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (*skip, tokenize.ENDMARKER):
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings)


def test_the_package_stays_small():
    """What one reads to know the package, and what a lesson brings: its folder."""
    lessons, shared = Counter(), 0
    for path in MODULES:
        if path.parent.name in LESSONS:
            lessons[path.parent.name] += lines_of_code(path)
        else:
            shared += lines_of_code(path)
    assert sum(lines_of_code(PACKAGE / f"{name}.py") for name in CORE) <= 1200
    assert shared <= 2500
    assert all(lines <= 400 for lines in lessons.values()), lessons


def test_the_docstring_of_the_package_names_the_core():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    text = ast.get_docstring(tree)
    assert all(f"``{name}``" in text for name in CORE)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_unpickles_or_evaluates(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    calls = {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    assert not calls & {"eval", "exec", "torch.load", "np.load", "numpy.load", "pickle.load"}
    assert not {"pickle", "dill", "joblib"} & {
        i.split(".")[0] for i in imported(path, everywhere=True)
    }
