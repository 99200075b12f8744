"""The house: a core, what one uses after the course, tools, and a folder a lesson."""

import ast
import re
import sys
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest
from house import imported, tree_of

from lora_edu.course import LESSONS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lora_edu"
# What a core module may load beyond the standard library.
CORE = {
    "names": set(),
    "counting": {"lora_edu.names"},
    "lowrank": {"numpy", "lora_edu.counting", "lora_edu.reference"},  # for their checks
    "reference": {"numpy"},
    "_fused": {"torch"},
    "layers": {"torch", "lora_edu.files", "lora_edu._fused"},
    "quantize": {"torch"},
    "variants": {"torch", "lora_edu.files", "lora_edu.layers"},
    "adapt": {"torch", "regex", "lora_edu"},  # of lora_edu: what stands above
    "checkpoint": {"torch", "safetensors", "lora_edu.files", "lora_edu.adapt"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))
SMALL = sorted(PACKAGE.glob("*.py"))
TOOLS = sorted((PACKAGE / "course").glob("*.py"))
BUILDER = sorted(ROOT.glob("notebooks/builder/*.py"))
IN_LESSONS = sorted((PACKAGE / "course").glob("*/*.py"))
# Lines of code that a part may have, with some room. Where one is full, ask what
# can go; if nothing can, raise the number and say why.
MOST_LINES = {
    "the package": 3250,
    "the tools": 4250,
    "the lessons": 6300,
    "the builder": 3550,
    "the tests": 14200,
}


def within(module, parents):
    return any(module == parent or module.startswith(f"{parent}.") for parent in parents)


def relative(path):
    return str(path.relative_to(PACKAGE))


# -- who may import whom ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CORE)
def test_the_core_loads_only_what_it_may(name):
    for module in imported(PACKAGE / f"{name}.py"):
        if module.split(".")[0] not in sys.stdlib_module_names:
            assert within(module, CORE[name]), f"{name} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_the_package_knows_no_course_a_tool_no_lesson_and_a_lesson_no_other(path):
    """Code that two lessons use is a tool; a record is shared by its name."""
    lessons = [f"lora_edu.course.{lesson}" for lesson in LESSONS if lesson != path.parent.name]
    strangers = ["lora_edu.course"] if path in SMALL else lessons
    # The command loads the course when it is asked for something of it.
    found = imported(path, everywhere=path.stem != "cli")
    assert [module for module in found if within(module, strangers)] == []


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_page_takes_tools_and_of_its_own_folder_checks_and_figures(lesson):
    """Names to learn stand on the page or in a tool, and nothing comes from another lesson."""
    (source,) = (ROOT / "notebooks" / "src").glob(f"*_{lesson}.md")
    text = source.read_text(encoding="utf-8")
    assert [m for m in LESSONS if m != lesson and f"lora_edu.course.{m}" in text] == []
    for module, line in re.findall(r"from (lora_edu\.course\S*) import (.+)", text):
        taken = {name.split()[0] for name in line.split(", ")}
        assert not taken & {*LESSONS}
        if module == f"lora_edu.course.{lesson}":
            assert taken <= {"checks", "figures"}


def test_each_lesson_has_a_folder_of_its_slug_and_a_source_in_this_order():
    sources = sorted((ROOT / "notebooks" / "src").glob("*.md"))
    assert [path.stem.partition("_")[2] for path in sources] == list(LESSONS)
    folders = {path.parent.name for path in (PACKAGE / "course").glob("*/__init__.py")}
    assert folders == set(LESSONS)
    files = {path.name for path in IN_LESSONS}
    assert files == {"__init__.py", "checks.py", "figures.py", "experiments.py"}


def test_no_circle_of_imports():
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in MODULES}
    names |= {path: f"builder.{path.stem}" for path in BUILDER}
    names = {path: name.removesuffix(".__init__") for path, name in names.items()}
    needs = {}
    for path, name in names.items():
        found = list(imported(path))
        needs[name] = {other for other in names.values() if any(within(m, [other]) for m in found)}
        needs[name] -= {"lora_edu", "lora_edu.course", "builder", name}
    TopologicalSorter(needs).prepare()  # or a CycleError, which names the circle


# -- one flow: an experiment's constants are its arguments -------------------------------------


def tables(tree):
    """Names at the top level of a module that hold numbers, or are made from such names."""
    found = set()
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            parts = list(ast.walk(node))
            numbers = any(type(getattr(part, "value", None)) in (int, float) for part in parts)
            if numbers or any(isinstance(part, ast.Name) and part.id in found for part in parts):
                targets = getattr(node, "targets", None) or [node.target]
                stored = [part for target in targets for part in ast.walk(target)]
                found |= {part.id for part in stored if isinstance(part, ast.Name)}
    return found


def numbers_read_inside(tree):
    """Yield each number, or table of numbers, of a module that the body of a function reads.

    As a default it may be read: then it is an argument, and stands in the record.
    """
    shared = tables(tree)
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.Lambda)):
            body = function.body if isinstance(function.body, list) else [function.body]
            for node in chain(*map(ast.walk, body)):
                if isinstance(node, ast.Name) and node.id in shared:
                    yield f"line {node.lineno}: {node.id}"


# The lessons' experiments, and the tools that do their work.
RUNS = [
    PACKAGE / "course" / f"{n}.py"
    for n in ("datasets", "digits", "intrinsic", "language", "minilm")
]
RUNS += sorted((PACKAGE / "course").glob("*/experiments.py"))


@pytest.mark.parametrize("path", RUNS, ids=relative)
def test_an_experiment_reads_its_constants_from_its_arguments(path):
    found = list(numbers_read_inside(tree_of(path)))
    assert found == [], "make it an argument: then the record holds it"


# -- small enough to hold in the head ----------------------------------------------------------


def lines_of_code(path):
    """Count the lines that hold code: no blank ones, no comments, no docstrings."""
    tree = tree_of(path)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    described = set()
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            described.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    return sum(
        bool(line.strip()) and not line.strip().startswith("#") and number not in described
        for number, line in lines
    )


@pytest.mark.parametrize("part", MOST_LINES)
def test_a_part_stays_small(part):
    files = {
        "the package": SMALL,
        "the tools": TOOLS,
        "the lessons": IN_LESSONS,
        "the builder": [*ROOT.glob("notebooks/**/*.py")],
        "the tests": [*ROOT.glob("tests/**/*.py"), ROOT / "conftest.py"],
    }
    lines = sum(map(lines_of_code, files[part]))
    assert lines <= MOST_LINES[part], f"{part}: {lines:,} lines of code. What can go?"


def test_the_builder_is_twelve_modules_each_from_one_thing_to_the_next():
    modules = [path for path in BUILDER if path.stem != "__init__"]
    assert len(modules) <= 12
    for path in modules:
        first = (ast.get_docstring(tree_of(path)) or "").partition("\n")[0]
        assert re.search(r"\S → \S", first), f"{path.name}: say what goes in → what comes out"


def test_the_docstring_of_the_package_names_the_core_and_its_page_how_long_it_is():
    text = ast.get_docstring(tree_of(PACKAGE / "__init__.py"))
    assert all(f"``{name}``" in text for name in CORE)
    lines = sum(lines_of_code(PACKAGE / f"{name}.py") for name in CORE)
    page = (PACKAGE / "README.md").read_text(encoding="utf-8")
    assert f"about {round(lines, -2):,} lines of code" in page


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_nothing_unpickles_or_evaluates(path):
    calls = {ast.unparse(n.func) for n in ast.walk(tree_of(path)) if isinstance(n, ast.Call)}
    assert not calls & {"eval", "exec", "torch.load", "np.load", "numpy.load", "pickle.load"}
    assert not {"pickle", "dill", "joblib"} & {i.split(".")[0] for i in imported(path)}
