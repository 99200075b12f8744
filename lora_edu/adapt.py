"""LoRA for a whole model: find the layers, replace them in place, merge, count.

The names and the rules by which they match are those of PEFT, so that one configuration means the
same adapter in both.
"""

import difflib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from lora_edu.layers import LoRALinear, check_hyperparameters, is_linear


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Which layers get LoRA, and how much of it.

    Parameters
    ----------
    target_modules : sequence of str, or str
        Names, each of which matches the modules called so or ending in ``.name``; or a regular
        expression that a module's whole name must match; or ``"all-linear"``: every linear layer
        but the output head (as ``get_output_embeddings`` names it) and ``modules_to_save``.
    r, lora_alpha, lora_dropout, use_rslora
        As in :class:`~lora_edu.layers.LoRALinear`.
    rank_pattern, alpha_pattern : dict from str to int, or float
        Another r or lora_alpha for the modules whose name, or an end of it that follows a dot,
        matches the regular expression. The first that matches counts.
    modules_to_save : sequence of str, optional
        Modules whose name ends so are trained as a whole and saved with the adapter: a new head.

    Raises
    ------
    TypeError, ValueError
        If a field is not what is said here.
    """

    target_modules: Sequence[str] | str
    r: int = 8
    lora_alpha: float = 8
    lora_dropout: float = 0.0
    use_rslora: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    modules_to_save: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in ("rank_pattern", "alpha_pattern"):
            if not isinstance(getattr(self, name), Mapping):
                raise TypeError(f"{name} must be a dict, got {getattr(self, name)!r}")
        for r in (self.r, *self.rank_pattern.values()):
            for lora_alpha in (self.lora_alpha, *self.alpha_pattern.values()):
                check_hyperparameters(r, lora_alpha, self.lora_dropout, self.use_rslora)
        patterns = [*self.rank_pattern, *self.alpha_pattern]
        if isinstance(self.target_modules, str):
            patterns.append(self.target_modules)
        else:
            # A set has no order to save; a list in another order means the same.
            object.__setattr__(
                self, "target_modules", _names("target_modules", self.target_modules)
            )
        if self.modules_to_save is not None:
            saved = _names("modules_to_save", self.modules_to_save)
            object.__setattr__(self, "modules_to_save", saved)
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} must be a regular expression: {error}") from None


def add_lora(model: nn.Module, config: LoraConfig) -> nn.Module:
    """Freeze ``model``, put a LoRALinear around each layer that ``config`` targets, return it.

    The change is made in place: the model that comes back is the one that went in, with the
    configuration as its attribute ``lora_config``.

    Raises
    ------
    ValueError
        If the model has LoRA layers already, if nothing matches (the nearest names are given), or
        if a layer that matches is not a linear one. The model is unchanged then.

    Warns
    -----
    UserWarning
        If a layer's weight is tied to another module's: merging would change both.
    """
    for name, module in model.named_modules():
        if isinstance(module, LoRALinear):
            raise ValueError(f"model must have no LoRA layers yet, but {name or 'it'} is one")
    targets = _targets(model, config)
    trained = _modules_to_save(model, config)
    for name in targets:
        if any(name == other or name.startswith(other + ".") for other in trained):
            raise ValueError(f"{name} must not be in target_modules and in modules_to_save")
    _warn_of_ties(model, [*targets, *trained])

    model.requires_grad_(False)
    for name, base in targets.items():
        layer = LoRALinear(
            base,
            _matching(config.rank_pattern, name, config.r),
            _matching(config.alpha_pattern, name, config.lora_alpha),
            config.lora_dropout,
            config.use_rslora,
        )
        _set(model, name, layer.train(base.training))
    for module in trained.values():
        module.requires_grad_(True)
    if config.target_modules == "all-linear":  # as PEFT does: later matches are by these names
        config = replace(config, target_modules=list(targets))
    model.lora_config = config
    return model


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """Return the LoRA layers of ``model`` by name; a ValueError if there is none."""
    layers = {n: m for n, m in model.named_modules() if isinstance(m, LoRALinear)}
    if not layers:
        raise ValueError("model must have LoRA layers: call add_lora(model, config) first")
    return layers


def lora_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Iterate over lora_A and lora_B of every LoRA layer (and not over ``modules_to_save``)."""
    for layer in lora_layers(model).values():
        yield layer.lora_A
        yield layer.lora_B


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Return how many parameters train, and how many there are; tied ones are counted once."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trains in sizes if trains), sum(n for n, _ in sizes)


def merge(model: nn.Module) -> None:
    """Merge every LoRA layer in place. A RuntimeError if one is merged already: none is touched."""
    layers = lora_layers(model)
    for name, layer in layers.items():
        if layer.merged:
            raise RuntimeError(f"{name} is merged already")
    for done, (name, layer) in enumerate(layers.items()):
        try:
            layer.merge()
        except ValueError as error:  # not finite
            for merged in list(layers.values())[:done]:
                merged.unmerge()
            raise ValueError(f"{name}: {error}") from None


def unmerge(model: nn.Module) -> None:
    """Unmerge every LoRA layer in place. A RuntimeError if one is not merged: none is touched."""
    layers = lora_layers(model)
    for name, layer in layers.items():
        if not layer.merged:
            raise RuntimeError(f"{name} is not merged")
    for layer in layers.values():
        layer.unmerge()


def merge_and_unload(model: nn.Module) -> nn.Module:
    """Merge what is not merged yet, and return the model with plain (frozen) layers again."""
    for layer in lora_layers(model).values():
        if not layer.merged:
            layer.merge()
    return _unload(model)


def adapter_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return what an adapter consists of, by name: all lora_A, lora_B and ``modules_to_save``.

    The tensors are the model's own: clone them to keep them while it trains on.
    """
    tensors = {}
    for name, layer in lora_layers(model).items():
        prefix = f"{name}." if name else ""
        tensors[prefix + "lora_A"] = layer.lora_A.detach()  # (r, k)
        tensors[prefix + "lora_B"] = layer.lora_B.detach()  # (d, r)
    for name, module in _modules_to_save(model, model.lora_config).items():
        tensors |= module.state_dict(prefix=f"{name}.")
    return tensors


@torch.no_grad()
def swap_adapter(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy another adapter's tensors into the model: one base, many adapters.

    Parameters
    ----------
    model : nn.Module
        With LoRA layers that are not merged.
    tensors : mapping from str to Tensor
        With the names and shapes of ``adapter_tensors(model)``. Scalings stay as they are.

    Raises
    ------
    RuntimeError
        If a layer is merged: its weight would go on holding the old adapter.
    ValueError
        If a tensor is missing, unknown or of another shape. The model is unchanged then.
    """
    for name, layer in lora_layers(model).items():
        if layer.merged:
            raise RuntimeError(f"{name} is merged: unmerge(model) before swapping")
    own = adapter_tensors(model)
    if missing := own.keys() - tensors.keys():
        raise ValueError(f"tensors must hold {min(missing)} ({len(missing)} missing)")
    if unknown := tensors.keys() - own.keys():
        raise ValueError(f"tensors must not hold {min(unknown)} ({len(unknown)} unknown)")
    for name, tensor in own.items():
        if tensors[name].shape != tensor.shape:
            wanted, got = tuple(tensor.shape), tuple(tensors[name].shape)
            raise ValueError(f"{name} must have shape {wanted}, got {got}")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


def _names(field_name: str, value: Sequence[str]) -> list[str]:
    """Return the names sorted, without repeats."""
    if isinstance(value, str) or not value or not all(isinstance(name, str) for name in value):
        raise TypeError(f"{field_name} must be a list of names, got {value!r}")
    return sorted(set(value))


def _targets(model: nn.Module, config: LoraConfig) -> dict[str, nn.Module]:
    """Return the layers that get LoRA, by name."""
    wanted, linear = config.target_modules, {}
    head = getattr(model, "get_output_embeddings", lambda: None)()
    saved = config.modules_to_save or []
    targets = {}
    for name, module in list(model.named_modules())[1:]:  # the model itself has no place in it
        # PEFT's rule: whatever lies within a module to save is trained as a whole.
        if any(re.match(rf"(^|.*\.){other}($|\..*)", name) for other in saved):
            continue
        if is_linear(module):
            linear[name] = module
        if wanted == "all-linear":
            matches = module is not head and (is_linear(module) or isinstance(module, nn.Linear))
        elif isinstance(wanted, str):
            matches = re.fullmatch(wanted, name)
        else:
            matches = any(name == other or name.endswith("." + other) for other in wanted)
        if matches:
            targets[name] = module
    for name, module in targets.items():
        if not is_linear(module):
            raise ValueError(
                f"target_modules must match nn.Linear or Conv1D, {name} is {type(module).__name__}"
            )
    if not targets:
        ends = sorted({name.rpartition(".")[2] for name in linear})
        given = [wanted] if isinstance(wanted, str) else wanted
        near = {end for name in given for end in difflib.get_close_matches(name, ends)}
        raise ValueError(
            f"target_modules must match a linear layer, got {wanted!r}; "
            f"nearest names: {', '.join(sorted(near) or ends) or 'none'}"
        )
    return targets


def _modules_to_save(model: nn.Module, config: LoraConfig) -> dict[str, nn.Module]:
    """Return the modules that train as a whole, by name: PEFT's rule is the bare end of a name."""
    names = tuple(config.modules_to_save or ())
    modules = {n: m for n, m in model.named_modules() if names and n.endswith(names)}
    if names and not modules:
        raise ValueError(f"modules_to_save must match a module, got {list(names)}")
    return modules


def _matching(patterns: Mapping[str, float], name: str, default: float) -> float:
    """Return the value of the first pattern that matches ``name`` or an end of it after a dot."""
    matches = (v for pattern, v in patterns.items() if re.match(rf"(.*\.)?({pattern})$", name))
    return next(matches, default)


def _warn_of_ties(model: nn.Module, names: Sequence[str]) -> None:
    """Warn if a parameter of the named modules is a parameter of another module as well."""
    everywhere: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        everywhere.setdefault(id(parameter), []).append(name)
    prefixes = tuple(f"{name}." for name in names)
    for tied in everywhere.values():
        if len(tied) > 1 and any(n.startswith(prefixes) for n in tied):
            warnings.warn(
                f"{' and '.join(tied)} are one tensor: merging (or training) one changes all. "
                "To keep them apart, give the adapted layer a clone of its weight first.",
                stacklevel=3,
            )


def _set(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def _unload(model: nn.Module) -> nn.Module:
    """Put the base layers back, whatever their weights hold now."""
    for name, layer in lora_layers(model).items():
        if layer is model:
            return layer.base
        _set(model, name, layer.base)
    del model.lora_config
    return model
