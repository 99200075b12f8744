"""What learners keep in notebooks/mine: lora.py, which a later lesson reads, and a voice.

Only the learner's copy of a lesson, which lies in ``notebooks/mine``, does so. The course's own
page, a build and a test say what would be in the file, and leave the learner's files alone.
"""

import ast
import builtins
import functools
import inspect
import linecache
import os
import runpy
import symtable
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from lora_edu.course.say import say
from lora_edu.files import write_whole

if TYPE_CHECKING:
    from lora_edu.chat import Adapter

HEAD = '"""LoRA, from your copy of lesson 03: it needs PyTorch, and nothing else."""\n\n'


def keep(*parts: Any) -> None:
    """Write functions and classes, as they stand in the notebook, into ``notebooks/mine/lora.py``.

    A function that is still a stub is left out. If a file of that name holds something else, it is
    kept as ``lora-1.py``, and so on. What was done, or why nothing was, is printed. Of all else on
    the page, these ``parts`` may use modules, which the file imports.
    """
    try:
        sources = {part.__name__: _source(part) for part in parts}
        todo = [name for name, source in sources.items() if _is_stub(source)]
        text = _text([part for part in parts if part.__name__ not in todo], sources)
        folder = _mine()
        moved = _write(folder / "lora.py", text) if folder else ""
    except (ValueError, SyntaxError, OSError) as error:
        print(say(f"Nothing is written: {error}"))
        return
    done = ", ".join(name for name in sources if name not in todo)
    told = f"{len(text.splitlines())} lines: {done}."
    if todo:
        told += f" Still to be written: {', '.join(todo)}."
    if folder:
        print(say(f"notebooks/mine/lora.py is yours now, {told}{moved}"))
    else:
        theirs = "Your own copy of this page, which make lab opens, puts them into a file."
        print(say(f"{told}\n{theirs}"))


def take(name: str, instead: Any) -> Any:
    """Return what the learner kept under a name, in ``notebooks/mine/lora.py``, or ``instead``.

    ``instead``, which the page has, is returned where this is no copy of the learner's, or where
    the file is not there, does not run, or has no such name. What was taken is printed.
    """
    folder = _mine()
    if folder is None or not (folder / "lora.py").is_file():
        theirs = "(Your own copy of it takes the one you kept in lesson 03.)"
        print(say(f"{name}: this page's. {theirs}"))
        return instead
    try:
        found = runpy.run_path(str(folder / "lora.py"))[name]
    except Exception as error:  # a learner's file can fail in every way
        failed = f"{type(error).__name__}: {error}"
        print(say(f"{name}: this page's, because lora.py fails: {failed}"))
        return instead
    print(say(f"{name}: yours, from notebooks/mine/lora.py"))
    return found


def keep_voice(adapter: "Adapter", name: str) -> Path:
    """Save an adapter of the chat model, in PEFT's format, and return its folder.

    In half precision, as ``notebooks/mine/NAME``; outside a learner's own copy, in a folder that
    goes when Python ends. A voice that had the name before is moved aside. How to talk with it is
    printed. No layer, or a path: ValueError.
    """
    from lora_edu import adapt, checkpoint
    from lora_edu.course.language import base

    if not adapter or not name or Path(name).name != name:
        raise ValueError(f"a layer and a plain name are needed, got {len(adapter)} and {name!r}")
    mine = _mine()
    folder = (mine or Path(_until_the_end().name)) / name
    model, r = base()[0], len(next(iter(adapter.values()))[0])
    tensors = {
        f"{layer}.lora_{letter}.weight": factor
        for layer, factors in adapter.items()
        for letter, factor in zip("AB", factors, strict=True)
    }
    config = adapt.LoraConfig(target_modules=list(adapter), r=r, lora_alpha=r)  # B is scaled
    adapt.add_lora(model, config, tensors)
    try:
        for parameter in adapt.lora_parameters(model):
            parameter.data = parameter.data.half()
        aside = _aside(folder) if mine else ""
        checkpoint.save_adapter(model, folder)
    finally:
        adapt.unload(model)
    kept = "Saved." if mine else "Your own copy of this page, which make lab opens, will save it."
    shown = folder if mine else Path("notebooks", "mine", name)
    how = "(File, New, Terminal; /new when it repeats itself, /quit leaves)"
    told = say(f"{kept}{aside} To talk with it, in a terminal {how}:")
    print(f"{told}\n")
    print(f'lora-edu chat --adapter "{shown}"')
    return folder


@functools.cache
def _until_the_end() -> TemporaryDirectory[str]:
    """Return a folder that is removed when Python ends."""
    return TemporaryDirectory(prefix="lora_edu-")


def _write(path: Path, text: str) -> str:
    """Write the file; return where its former content is now, in words, if there was other."""
    told = "" if path.is_file() and path.read_bytes() == text.encode() else _aside(path)
    write_whole(path, text)
    return told


def _aside(path: Path) -> str:
    """Move a file or a folder aside, if there is one; return where it is now, in words."""
    if not os.path.lexists(path):
        return ""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.stem}-{number}{path.suffix}")):
        number += 1
    path.rename(aside)
    return f" What it held before is in {aside.name}."


def _mine() -> Path | None:
    """Return the folder ``mine`` if this is a learner's own copy, and neither build nor test."""
    if "LORA_EDU_CLAIMS" in os.environ:
        return None
    here = Path.cwd()
    return next((folder for folder in (here, here.parent) if folder.name == "mine"), None)


def _text(parts: list[Any], sources: dict[str, str]) -> str:
    """Put together the text of the file; a ValueError if it would miss something of the page."""
    if not parts:
        raise ValueError("all of it is still to be written")
    imports = {"torch": "import torch", "nn": "from torch import nn"}
    own = [part.__name__ for part in parts]
    for part in parts:
        for name in _names(sources[part.__name__]):
            if name in own or name in imports or hasattr(builtins, name):
                continue
            value = _function(part).__globals__.get(name)
            if not isinstance(value, ModuleType):
                raise ValueError(
                    f"{part.__name__} uses {name}, which the file would not hold: make it an "
                    "argument, or give it to keep as well"
                )
            other = "" if value.__name__ == name else f" as {name}"
            imports[name] = f"import {value.__name__}{other}"
    return HEAD + "\n\n\n".join(["\n".join(imports.values()), *(sources[n] for n in own)]) + "\n"


def _function(part: Any) -> FunctionType:
    """Return a function, or the first method of a class: it knows where it was written."""
    candidates = vars(part).values() if isinstance(part, type) else [part]
    for candidate in candidates:
        if isinstance(candidate, FunctionType):
            return inspect.unwrap(candidate)  # of ``@torch.no_grad()``, say
    raise ValueError(f"{part!r} is neither a function nor a class with methods")


def _source(part: Any) -> str:
    """Return the lines of the cell in which a function or a class stands."""
    lines = linecache.getlines(_function(part).__code__.co_filename)
    for node in ast.parse("".join(lines)).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == part.__name__:
            first = min(part.lineno for part in [node, *node.decorator_list])
            return "".join(lines[first - 1 : node.end_lineno]).rstrip()
    raise ValueError(f"{part.__name__} stands in no cell: run the cell that defines it")


def _is_stub(source: str) -> bool:
    """Say whether a function does nothing yet but raise NotImplementedError."""
    (part,) = ast.parse(source).body
    return isinstance(part, ast.FunctionDef) and "raise NotImplementedError" in [
        ast.unparse(statement) for statement in part.body
    ]


def _names(source: str) -> Iterator[str]:
    """Return the names that a function or a class takes from outside of it."""
    tables = [symtable.symtable(source, "lora.py", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_global() and symbol.is_referenced():
                yield symbol.get_name()
