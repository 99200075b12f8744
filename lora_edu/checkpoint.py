"""Adapters on disk, in PEFT's format: what one library saves, the other loads.

A directory holds ``adapter_config.json`` and ``adapter_model.safetensors``. Source: PEFT,
``save_pretrained`` and ``get_peft_model_state_dict``.
"""

import contextlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, fields
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from lora_edu import adapt
from lora_edu.adapt import LoraConfig

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."

# A save is committed by one rename to this folder; then its files move to their places.
_COMMITTED = ".committed"

# Fields of PEFT's that do not change what a saved adapter computes, and those that do not at
# these values. Every other one has to be null, false or empty.
_INERT = {
    "auto_mapping",
    "base_model_name_or_path",
    "fan_in_fan_out",  # LoRALinear sees by itself which way round a weight is stored
    "inference_mode",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
}
_INERT_VALUES = {"peft_type": ["LORA"], "bias": ["none"], "init_lora_weights": [True, "gaussian"]}


def save_adapter(model: nn.Module, directory: str | os.PathLike) -> None:
    """Write the adapter of ``model`` (merged or not) as PEFT would, whole or not at all.

    Killed at any point, the directory holds the former adapter or the new one for
    :func:`load_adapter`; other files in it stay as they are. (For another reader there is a moment
    between two renames in which the weights are new and the configuration is not.)

    Raises
    ------
    ValueError
        If the model has no LoRA layers.
    """
    tensors = {
        _key(name): tensor.cpu().contiguous()
        for name, tensor in adapt.adapter_tensors(model).items()
    }
    config = asdict(model.lora_config) | {
        "base_model_name_or_path": getattr(getattr(model, "config", None), "name_or_path", None),
        "bias": "none",
        "fan_in_fan_out": any(m.fan_in_fan_out for m in adapt.lora_layers(model).values()),
        "inference_mode": True,
        "init_lora_weights": True,
        "peft_type": "LORA",
        "task_type": None,
    }
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    _finish(directory)
    for abandoned in directory.glob(".saving-*"):
        shutil.rmtree(abandoned)
    temporary = Path(tempfile.mkdtemp(prefix=".saving-", dir=directory))
    try:
        # Not sorted: the first pattern that matches counts.
        (temporary / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        safetensors.torch.save_file(tensors, temporary / WEIGHTS, metadata={"format": "pt"})
        os.replace(temporary, directory / _COMMITTED)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _finish(directory)


def load_adapter(model: nn.Module, directory: str | os.PathLike) -> nn.Module:
    """Add LoRA to a plain model as the files in ``directory`` say, load it, return the model.

    Raises
    ------
    ValueError
        If a file is missing, damaged or no adapter's, if the configuration asks for what is not
        supported, or if the tensors do not fit the model, which then is as it was.
    """
    config, tensors = read_adapter(directory)
    trainable = {name: p.requires_grad for name, p in model.named_parameters()}
    adapt.add_lora(model, config)
    try:
        adapt.swap_adapter(model, tensors)
    except ValueError as error:
        adapt._unload(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(trainable[name])
        raise ValueError(f"{Path(directory) / WEIGHTS}: {error}") from None
    return model


def read_adapter(directory: str | os.PathLike) -> tuple[LoraConfig, dict[str, Tensor]]:
    """Return the configuration and the tensors of a saved adapter, the latter named as in a model.

    :func:`lora_edu.adapt.swap_adapter` takes these tensors. Errors as in :func:`load_adapter`.
    """
    directory = Path(directory)
    _finish(directory)
    path = directory / CONFIG
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(saved, dict) or "peft_type" not in saved:
            raise ValueError("not the configuration of an adapter")
        known = {f.name for f in fields(LoraConfig)}
        for name, value in saved.items():
            if name in known or name in _INERT or value in _INERT_VALUES.get(name, []):
                continue
            if value is not None and value is not False and value not in ("", [], {}):
                raise ValueError(f"{name} = {json.dumps(value)} is not supported")
        config = LoraConfig(**{n: v for n, v in saved.items() if n in known and v is not None})
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    path = directory / WEIGHTS
    try:
        tensors = safetensors.torch.load_file(path)
        return config, {_name(key): tensor for key, tensor in tensors.items()}
    except (OSError, SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _key(name: str) -> str:
    """Return PEFT's key for a tensor of the model: there, lora_A and lora_B are layers."""
    return _PREFIX + name + (".weight" if name.endswith(("lora_A", "lora_B")) else "")


def _name(key: str) -> str:
    """Return the tensor's name in the model."""
    if not key.startswith(_PREFIX):
        raise ValueError(f"keys must start with {_PREFIX}, got {key}")
    name = key.removeprefix(_PREFIX)
    factor = name.removesuffix(".weight")
    return factor if factor.endswith(("lora_A", "lora_B")) else name


def _finish(directory: Path) -> None:
    """Move the files of a committed save to their places, also those of a save that was killed."""
    committed = directory / _COMMITTED
    with contextlib.suppress(FileNotFoundError):
        for file in sorted(committed.iterdir()):
            os.replace(file, directory / file.name)
        committed.rmdir()
