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

from lora_edu.adapt import (
    LoraConfig,
    adapter_layers,
    adapter_tensors,
    add_lora,
    lora_layers,
    swap_adapter,
    unload,
)

CONFIG, WEIGHTS, COMMITTED = "adapter_config.json", "adapter_model.safetensors", ".committed"
PREFIX = "base_model.model."  # of PEFT's keys; the rest is a name in adapter_tensors(model)

# Fields of PEFT that change nothing in a saved adapter, and values at which others change nothing.
# (Which way round a weight is stored, fan_in_fan_out, LoRALinear sees by itself.)
INERT = {"auto_mapping", "base_model_name_or_path", "fan_in_fan_out", "inference_mode"}
INERT |= {"megatron_core", "peft_version", "qalora_group_size", "revision", "task_type"}
INERT_VALUES = {"peft_type": ["LORA"], "bias": ["none"], "init_lora_weights": [True, "gaussian"]}


def save_adapter(model: nn.Module, directory: str | os.PathLike) -> None:
    """Write the adapter of ``model``, merged or not, as PEFT would.

    A ValueError if it has none, or layers of different kinds, which PEFT's files cannot describe.
    Killed at any point, it leaves the former adapter or the new one whole for :func:`load_adapter`;
    other files stay. (For other readers, only one of the two is new between two renames.)
    """
    lora_config = getattr(model, "lora_config", None)
    if lora_config is None:
        raise ValueError("model must have a lora_config: call add_lora(model, config) first")
    directory = Path(directory)
    tensors = {PREFIX + n: t.cpu().contiguous() for n, t in adapter_tensors(model).items()}
    config = asdict(lora_config) | _peft_options(model)
    config |= {"peft_type": "LORA", "task_type": None, "bias": "none", "inference_mode": True}
    base_config = getattr(model, "config", None)
    config["base_model_name_or_path"] = getattr(base_config, "name_or_path", None)
    layers = lora_layers(model).values()
    config["fan_in_fan_out"] = any(layer.fan_in_fan_out for layer in layers)
    directory.mkdir(parents=True, exist_ok=True)
    _finish(directory)
    for abandoned in directory.glob(".saving-*"):
        shutil.rmtree(abandoned)
    saving = tempfile.TemporaryDirectory(None, ".saving-", directory, ignore_cleanup_errors=True)
    with saving as temporary:
        # Not sorted: of the patterns, the first that matches counts.
        Path(temporary, CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        weights = Path(temporary, WEIGHTS)
        try:
            safetensors.torch.save_file(tensors, weights, metadata={"format": "pt"})
        except SafetensorError as error:  # a full disk is no OSError there
            raise OSError(f"cannot write {directory / WEIGHTS}: {error}") from None
        weights.chmod(0o644)  # it makes files that only their owner can read
        os.replace(temporary, directory / COMMITTED)  # from here on the new one is there
    _finish(directory)


def load_adapter(model: nn.Module, directory: str | os.PathLike) -> nn.Module:
    """Add LoRA to a plain model as the files in ``directory`` say, load it, return the model.

    A ValueError if a file is missing, damaged or no adapter's, asks for what is not supported, or
    does not fit the model, which is then as it was.
    """
    config, tensors = read_adapter(directory)
    trainable = {p: p.requires_grad for p in model.parameters()}
    add_lora(model, config)
    try:
        swap_adapter(model, tensors)
    except ValueError as error:
        unload(model)
        for parameter, requires_grad in trainable.items():
            parameter.requires_grad_(requires_grad)
        raise ValueError(f"{Path(directory) / WEIGHTS}: {error}") from None
    return model


def read_adapter(directory: str | os.PathLike) -> tuple[LoraConfig, dict[str, Tensor]]:
    """Return the configuration and the tensors of a saved adapter, as ``swap_adapter`` takes them.

    A ValueError if a file is missing, damaged, no adapter's, or asks for what is not supported.
    """
    directory = Path(directory)
    _finish(directory)
    path, known = directory / CONFIG, {f.name for f in fields(LoraConfig)}
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(saved, dict) or "peft_type" not in saved:
            raise ValueError("not the configuration of an adapter")
        for name, value in saved.items():
            inert = name in known | INERT or value in INERT_VALUES.get(name, [])
            if not inert and value is not None and value is not False and value not in ("", [], {}):
                raise ValueError(f"{name} = {json.dumps(value)} is not supported")
        config = LoraConfig(**{n: v for n, v in saved.items() if n in known and v is not None})
        path = directory / WEIGHTS
        tensors = safetensors.torch.load_file(path)
        return config, {key.removeprefix(PREFIX): tensor for key, tensor in tensors.items()}
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _peft_options(model: nn.Module) -> dict[str, object]:
    """Return what PEFT's configuration says of every layer of the model."""
    layers = adapter_layers(model)
    first = next(iter(layers))
    options = layers[first].peft_options()
    for name, layer in layers.items():
        if layer.peft_options() != options:
            raise ValueError(
                f"all layers must be of one kind to be saved, but {first} has {options}, "
                f"{name} has {layer.peft_options()}"
            )
    return options


def _finish(directory: Path) -> None:
    """Move the files of a committed save to their places, also those of a save that was killed."""
    with contextlib.suppress(FileNotFoundError):
        for file in sorted((directory / COMMITTED).iterdir()):
            os.replace(file, directory / file.name)
        (directory / COMMITTED).rmdir()
