"""LoRA for a whole model: find the layers, replace them in place, merge, count.

Names, and the rules by which they match, are those of PEFT: one configuration means the same
adapter in both.
"""

import difflib
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from lora_edu.layers import LoRALinear, check_hyperparameters, is_linear

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Which layers get LoRA, and how much of it; a TypeError or ValueError names a bad field.

    ``target_modules``: a list of names, where a module matches if its name is one, or ends in a dot
    and one; or a regular expression that a whole name must match; or ``"all-linear"``: every linear
    layer but ``modules_to_save`` and the output head (what ``get_output_embeddings`` returns).
    ``rank_pattern``, ``alpha_pattern``: regular expression → another r or lora_alpha, for modules
    whose name, or an end of it after a dot, matches; the first match counts. ``modules_to_save``:
    modules whose names end so are trained as a whole and saved with the adapter, a new head for
    instance. The other fields are as in :class:`~lora_edu.layers.LoRALinear`.
    """

    target_modules: Collection[str] | str
    r: int = 8
    lora_alpha: float = 8
    lora_dropout: float = 0.0
    use_rslora: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    modules_to_save: Collection[str] | None = None

    def __post_init__(self) -> None:
        patterns = [self.target_modules] if isinstance(self.target_modules, str) else []
        for name in ("rank_pattern", "alpha_pattern"):
            given = getattr(self, name)
            if not isinstance(given, Mapping):
                raise TypeError(f"{name} must be a dict, got {given!r}")
            patterns.extend(given)
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} must be a regular expression: {error}") from None
        for r in (self.r, *self.rank_pattern.values()):
            for lora_alpha in (self.lora_alpha, *self.alpha_pattern.values()):
                check_hyperparameters(r, lora_alpha, self.lora_dropout)
        if not isinstance(self.target_modules, str):
            self._sort("target_modules")
        if self.modules_to_save is not None:
            self._sort("modules_to_save")

    def _sort(self, field_name: str) -> None:
        """Put the names of a list in order, which means nothing, once each."""
        names = getattr(self, field_name)
        listed = names and not isinstance(names, str)
        if not listed or not all(isinstance(name, str) for name in names):
            raise TypeError(f"{field_name} must be a list of names, got {names!r}")
        object.__setattr__(self, field_name, sorted(set(names)))


@runtime_checkable
class AdapterLayer(Protocol):
    """What a layer says of its adapter: LoRALinear does, and each variant that PEFT has too."""

    def adapter_tensors(self) -> dict[str, Tensor]:
        """Return what trains, under the names that it has in PEFT's files."""
        ...

    def peft_options(self) -> dict[str, object]:
        """Return what PEFT's configuration says of such a layer, beside LoraConfig's fields."""
        ...


def add_lora(model: nn.Module, config: LoraConfig) -> nn.Module:
    """Freeze ``model``, put a LoRALinear around each layer that ``config`` targets, return it.

    It is changed in place, and gets the configuration as its attribute ``lora_config``. A
    UserWarning tells of tied weights, which merging would change for all that share them. A
    ValueError if the model has LoRA layers already, if nothing matches (it gives the nearest
    names), or if what matches is no linear layer: the model is then as it was.
    """
    for name, module in model.named_modules():
        if isinstance(module, LoRALinear):
            raise ValueError(f"model must have no LoRA layers yet, but {name or 'it'} is one")
    targets, trained = _targets(model, config), _modules_to_save(model, config)
    for name in targets:
        if f"{name}.".startswith(tuple(f"{saved}." for saved in trained)):
            raise ValueError(f"{name} must not be in target_modules and in modules_to_save")
    _warn_of_ties(model, [*targets, *trained])

    model.requires_grad_(False)
    for name, base in targets.items():
        r = _first_match(config.rank_pattern, name, config.r)
        lora_alpha = _first_match(config.alpha_pattern, name, config.lora_alpha)
        layer = LoRALinear(base, r, lora_alpha, config.lora_dropout, config.use_rslora)
        _set(model, name, layer.train(base.training))
    for module in trained.values():
        module.requires_grad_(True)
    if config.target_modules == "all-linear":  # resolved, as in PEFT's files
        config = replace(config, target_modules=list(targets))
    model.lora_config = config  # pyright: ignore[reportArgumentType]  torch knows Tensor, Module
    return model


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """Return the LoRA layers of ``model`` by name; a ValueError if there is none."""
    layers = {n: m for n, m in model.named_modules() if isinstance(m, LoRALinear)}
    if not layers:
        raise ValueError("model must have LoRA layers: call add_lora(model, config) first")
    return layers


def adapter_layers(model: nn.Module) -> dict[str, AdapterLayer]:
    """Return the adapter layers by name; a ValueError if there is none.

    A LoRALinear that is a part of another one (DoRA's) is left out: the whole speaks for it.
    """
    lora_layers(model)
    layers: dict[str, AdapterLayer] = {}
    parts: set[nn.Module] = set()
    for name, module in model.named_modules():
        if isinstance(module, AdapterLayer) and module not in parts:
            layers[name] = module
            parts.update(model.get_submodule(name).modules())
    return layers


def lora_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Iterate over lora_A and lora_B of every LoRA layer (and not over ``modules_to_save``)."""
    for layer in lora_layers(model).values():
        yield from (layer.lora_A, layer.lora_B)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Return how many parameters train, and how many there are; tied ones are counted once."""
    parameters = list(model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    return trained, sum(p.numel() for p in parameters)


def merge(model: nn.Module) -> None:
    """Merge every LoRA layer in place, or none: the errors are those of ``LoRALinear.merge``."""
    layers = _layers(model, merged=False)
    try:
        for layer in layers:
            layer.merge()
    except (RuntimeError, ValueError):
        for layer in layers:
            if layer.merged:
                layer.unmerge()
        raise


def unmerge(model: nn.Module) -> None:
    """Unmerge every LoRA layer in place, or none: a RuntimeError if one is not merged."""
    for layer in _layers(model, merged=True):
        layer.unmerge()


def merge_and_unload(model: nn.Module) -> nn.Module:
    """Merge what is not merged yet, and return the model with plain (frozen) layers again."""
    for layer in lora_layers(model).values():
        if not layer.merged:
            layer.merge()
    return unload(model)


def unload(model: nn.Module) -> nn.Module:
    """Put the base layers back, with what their weights hold now, and return the model."""
    for name, layer in lora_layers(model).items():
        if layer is model:
            return layer.base
        _set(model, name, layer.base)
    vars(model).pop("lora_config", None)
    return model


def adapter_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the adapter's own tensors by name: those of each layer, and ``modules_to_save``.

    The names are those of PEFT's files, without their prefix: ``fc.lora_A.weight`` for instance.
    """
    tensors = {}
    for name, layer in adapter_layers(model).items():
        for own_name, tensor in layer.adapter_tensors().items():
            tensors[f"{name}.{own_name}"] = tensor
    for name, module in _modules_to_save(model, getattr(model, "lora_config", None)).items():
        tensors |= module.state_dict(prefix=f"{name}.")
    return tensors


@torch.no_grad()
def swap_adapter(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy another adapter's tensors into the model, in place: one base, many adapters.

    ``tensors`` has the names and shapes of ``adapter_tensors(model)``; scalings stay as they are.
    A RuntimeError if a layer is merged (its weight would go on holding the old adapter), a
    ValueError if a tensor is missing, unknown or of another shape. The model is then as it was.
    """
    _layers(model, merged=False)
    own = adapter_tensors(model)
    for name in sorted(own.keys() | tensors.keys()):
        wanted = tuple(own[name].shape) if name in own else "absent"
        given = tuple(tensors[name].shape) if name in tensors else "nothing"
        if wanted != given:
            raise ValueError(f"{name} must be {wanted}, got {given}")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


def _targets(model: nn.Module, config: LoraConfig) -> dict[str, nn.Module]:
    """Return the layers that get LoRA, by name."""
    wanted, saved = config.target_modules, config.modules_to_save or []
    head = getattr(model, "get_output_embeddings", lambda: None)()
    named = dict(model.named_modules())
    del named[""]  # the model itself
    for other in saved:  # what lies in a module to save trains as a whole
        named = {n: m for n, m in named.items() if not re.match(rf"(^|.*\.){other}($|\..*)", n)}
    linear = {n: m for n, m in named.items() if is_linear(m) or isinstance(m, nn.Linear)}
    if wanted == "all-linear":
        targets = {n: m for n, m in linear.items() if m is not head}
    elif isinstance(wanted, str):
        targets = {n: m for n, m in named.items() if re.fullmatch(wanted, n)}
    else:
        ends = tuple(f".{name}" for name in wanted)
        targets = {n: m for n, m in named.items() if f".{n}".endswith(ends)}
    if not targets:
        ends = sorted({name.rpartition(".")[2] for name in linear})
        near: set[str] = set()
        for name in [wanted] if isinstance(wanted, str) else wanted:
            near.update(difflib.get_close_matches(name, ends))
        raise ValueError(
            f"target_modules must match a linear layer, got {wanted!r}; "
            f"nearest names: {', '.join(sorted(near) or ends) or 'none'}"
        )
    if bad := [f"{n} is {type(m).__name__}" for n, m in targets.items() if not is_linear(m)]:
        raise ValueError(f"target_modules must match nn.Linear or Conv1D, but {bad[0]}")
    return targets


def _modules_to_save(model: nn.Module, config: LoraConfig | None) -> dict[str, nn.Module]:
    """Return the modules that train as a whole, by name: PEFT's rule is the bare end of a name."""
    names = () if config is None else tuple(config.modules_to_save or ())
    modules = {n: m for n, m in model.named_modules() if n.endswith(names)}
    if names and not modules:
        raise ValueError(f"modules_to_save must match a module, got {list(names)}")
    return modules


def _first_match(patterns: Mapping[str, Number], name: str, default: Number) -> Number:
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return value
    return default


def _warn_of_ties(model: nn.Module, names: Collection[str]) -> None:
    everywhere: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        everywhere.setdefault(id(parameter), []).append(name)
    prefixes = tuple(f"{name}." for name in names)
    for tied in everywhere.values():
        if len(tied) > 1 and any(name.startswith(prefixes) for name in tied):
            warnings.warn(
                f"{' and '.join(tied)} are one tensor: merging (or training) one changes all. "
                "To keep them apart, give the adapted layer a clone of its weight first.",
                stacklevel=3,
            )


def _layers(model: nn.Module, merged: bool) -> Collection[LoRALinear]:
    """Return the LoRA layers; a RuntimeError if one of them is not as they all should be."""
    layers = lora_layers(model)
    for name, layer in layers.items():
        if layer.merged is not merged:
            raise RuntimeError(f"{name} is {'not merged' if merged else 'merged already'}")
    return layers.values()


def _set(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
