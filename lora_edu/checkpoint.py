"""Adapters on disk, in PEFT's format: what one library saves, the other loads.

A directory holds ``adapter_config.json`` and ``adapter_model.safetensors``. Source: PEFT,
``save_pretrained`` and ``get_peft_model_state_dict``.
"""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import BinaryIO

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from lora_edu import adapt
from lora_edu.adapt import LoraConfig
from lora_edu.files import one_line, uninterrupted

CONFIG, WEIGHTS = FILES = "adapter_config.json", "adapter_model.safetensors"
# Folders that exist while a save is under way: for files being written, and for both complete.
SAVING, COMMITTED = ".adapter-saving", ".adapter-committed"
PREFIX = "base_model.model."  # of PEFT's keys; the rest is a name in adapter_tensors(model)

# Fields of PEFT that change nothing in a saved adapter, and values at which others change nothing:
# null means the default, except for r and lora_alpha, where it is an error.
# (LoRALinear finds out by itself which way round a weight is stored: fan_in_fan_out.)
INERT = {"auto_mapping", "base_model_name_or_path", "fan_in_fan_out", "inference_mode"}
INERT |= {"megatron_core", "peft_version", "qalora_group_size", "revision", "task_type"}
INERT_VALUES = {"peft_type": ["LORA"], "bias": ["none", None], "r": [], "lora_alpha": []}
INERT_VALUES |= {"init_lora_weights": ["gaussian", False, None], "loftq_config": [{}, None]}
# Bytes that are parsed, of which each may take thirty: 7,000 tensors have them, and 10,000 names.
MOST = 1_000_000
# What reading a file raises that is too large, damaged, nested too deeply, or of a newer format.
READING = (SafetensorError, OSError, MemoryError, ValueError, TypeError, KeyError, RuntimeError)
Adapter = tuple[LoraConfig, dict[str, Tensor]]


def save_adapter(model: nn.Module, directory: str | os.PathLike) -> None:
    """Write the adapter of ``model``, merged or not, as PEFT would.

    A ValueError if it has none, or layers of different kinds, which PEFT's files cannot describe.
    One process at a time writes into a directory, and others wait (not so on Windows). If it is
    killed, :func:`load_adapter` finds either the former adapter or the new one, complete. Files of
    others are not touched. (Other readers may find one new file and one old one.)
    """
    lora_config = getattr(model, "lora_config", None)
    if lora_config is None:
        raise ValueError("model must have a lora_config: call add_lora(model, config) first")
    directory = Path(directory)
    config = asdict(lora_config) | _peft_options(model)
    base = getattr(getattr(model, "config", None), "name_or_path", None)
    config |= {"peft_type": "LORA", "task_type": None, "bias": "none", "inference_mode": True}
    conv = any(layer.fan_in_fan_out for layer in adapt.lora_layers(model).values())
    config |= {"base_model_name_or_path": base and str(base), "fan_in_fan_out": conv}
    directory.mkdir(parents=True, exist_ok=True)
    saving = directory / SAVING
    with _lock(directory):
        _check_places(directory)
        _finish(directory)
        try:
            shutil.rmtree(saving, ignore_errors=True)  # left by a save that was killed
            saving.mkdir()
            # Not sorted: of the patterns, the first that matches counts.
            (saving / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            _write(adapt.adapter_tensors(model), saving / WEIGHTS)
            with uninterrupted():
                os.replace(saving, directory / COMMITTED)  # from here on the new one is there
                _finish(directory)
        except BaseException:
            shutil.rmtree(saving, ignore_errors=True)
            raise


def load_adapter(model: nn.Module, directory: str | os.PathLike) -> nn.Module:
    """Add LoRA to a plain model as the files in ``directory`` say, load it, return the model.

    A ValueError if a file is missing, damaged or no adapter's, asks for what is not supported, or
    does not fit the model. Embeddings and a head of the base, which PEFT may save as well, must be
    those of the model. After any error or interrupt the model is as it was.
    """
    config, tensors = read_adapter(directory)
    try:
        return adapt.add_lora(model, config, tensors)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{directory}: {one_line(error)}") from None


def read_adapter(directory: str | os.PathLike) -> Adapter:
    """Return the configuration and the tensors of a saved adapter, as ``swap_adapter`` takes them.

    Nothing on disk changes. If an adapter is saved at the same time, the old one or the new one is
    returned, never files of both. A ValueError if a file is missing, damaged, no adapter's, or asks
    for what is not supported.
    """
    directory = Path(directory)
    while True:
        with _open(directory, CONFIG) as config, _open(directory, WEIGHTS) as weights:
            with _open(directory, CONFIG) as again:
                same = os.path.sameopenfile(config.fileno(), again.fileno())
            if same:  # else another adapter was saved between the two
                return _contents(directory, config, weights)


def _contents(directory: Path, config: BinaryIO, weights: BinaryIO) -> Adapter:
    """Return what the open files of an adapter hold."""
    path = directory / CONFIG
    try:
        if len(text := config.read(MOST + 1)) > MOST:
            raise ValueError("a configuration must be at most 1 MB")
        lora_config, path = _config(text), directory / WEIGHTS
        if int.from_bytes((data := weights.read())[:8], "little") > MOST:
            raise ValueError("a header must be at most 1 MB")
        tensors = safetensors.torch.load(data)
        named = {key.removeprefix(PREFIX): tensor for key, tensor in tensors.items()}
        if len(named) < len(tensors):
            raise ValueError("two keys stand for one tensor")
        return lora_config, named
    except READING as error:
        raise ValueError(f"{path}: {one_line(error) or 'no memory for it'}") from error


def _config(text: bytes) -> LoraConfig:
    """Return the configuration that a file of PEFT's holds."""
    saved, known = json.loads(text), {f.name for f in fields(LoraConfig)}
    if not isinstance(saved, dict) or not saved.get("peft_type"):
        raise ValueError("not the configuration of an adapter")
    given = {}
    for name, value in saved.items():
        if name in INERT or value in INERT_VALUES.get(name, [None]):
            continue
        if name in known:
            given[name] = value
        elif value is not False and value not in ("", []):  # for PEFT, {} may switch a method on
            raise ValueError(f"{name} = {json.dumps(value)[:200]} is not supported")
    return LoraConfig(**given)


def _open(directory: Path, name: str) -> BinaryIO:
    """Open a file of the adapter: of what is committed, if a save is under way."""
    if (directory / COMMITTED).is_symlink():
        raise ValueError(f"{directory / COMMITTED} must be no link")
    for path in (directory / COMMITTED / name, directory / name):
        try:
            if path.is_file():
                return path.open("rb")
        except FileNotFoundError:  # a save has moved it since
            continue
        except OSError as error:
            raise ValueError(f"{path}: {error}") from error
    raise ValueError(f"{directory / name} is no file")


def _write(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write the tensors under PEFT's names; what two of them share is written twice."""
    copies = {PREFIX + name: tensor.contiguous().cpu().clone() for name, tensor in tensors.items()}
    try:
        safetensors.torch.save_file(copies, path, metadata={"format": "pt"})
    except SafetensorError as error:  # a full disk is no OSError there
        raise OSError(f"cannot write {path.parents[1] / path.name}: {error}") from None
    path.chmod(0o644)  # safetensors makes files that only their owner reads


def _peft_options(model: nn.Module) -> dict[str, object]:
    """Return what PEFT's configuration says of every layer of the model."""
    (first, layer), *others = adapt.adapter_layers(model).items()
    options = layer.peft_options()
    for name, other in others:
        if other.peft_options() != options:
            both = f"{first} has {options}, {name} has {other.peft_options()}"
            raise ValueError(f"all layers must be of one kind to be saved, but {both}")
    return options


def _check_places(directory: Path) -> None:
    """Raise an OSError if a save into ``directory`` would overwrite files of others.

    The folders of a save must not be links. If they exist, they must hold nothing but files of an
    adapter (or ``.tmp…``, which safetensors leaves if it is killed while it writes).
    """
    places = [directory / name for name in FILES]
    for folder in (directory / SAVING, directory / COMMITTED):
        if folder.is_symlink():
            raise OSError(f"{folder} must be no link")
        if folder.exists():
            places += folder.iterdir()
    for path in places:
        if path.is_dir() or not (path.name in FILES or path.name.startswith(".tmp")):
            raise OSError(f"{path} is in the way: it must be a file of an adapter")


def _finish(directory: Path) -> None:
    """Move the files of a committed save to their places, also those of a save that was killed."""
    if (directory / COMMITTED).exists():
        for name in FILES:
            with contextlib.suppress(FileNotFoundError):
                os.replace(directory / COMMITTED / name, directory / name)
        for left in (directory / COMMITTED).glob(".tmp*"):  # by safetensors, when it was killed
            left.unlink()
        (directory / COMMITTED).rmdir()


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for this directory, and keep them out.

    The lock ends with the process that holds it, and leaves no file behind. Windows has none.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
