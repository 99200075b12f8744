"""The builder in the order in which one reads it."""

import ast
import re
from pathlib import Path

import builder

FOLDER = Path(builder.__file__).parent


def test_each_module_is_named_and_imports_only_such_as_stand_before_it():
    order = re.findall(r"``(\w+)``", builder.__doc__)
    assert sorted(order) == sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
    for position, name in enumerate(order):
        tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("builder"):
                assert node.module.removeprefix("builder.") in order[:position], name
