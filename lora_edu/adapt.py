"""LoRA for a whole model: find the layers, replace them in place, merge, count.

Names, and the rules by which they match, are those of PEFT: one configuration means the same
adapter in both.
"""

import contextlib
import copy
import difflib
import re
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any, TypeAlias

import regex  # unlike re, it has a timeout
import torch
from torch import Tensor, nn

from lora_edu import counting, layers, variants
from lora_edu.files import uninterrupted
from lora_edu.layers import LoRALinear, all_or_nothing, lora_layers

# The layers whose adapters PEFT's files can hold.
AdapterLayer: TypeAlias = LoRALinear | variants.DoRALinear
# A regular expression may stand in a file of somebody else's, written to take all time and memory.
# So it is of letters, groups, sets and repeats, without recursion; all of them are short, also with
# what {n} repeats written out; and to match them there are so many seconds of the processor.
GRAMMAR = re.compile(
    r"(\(\?i\))?([^][\\(){}]|\\(\W|[ABDSWZbdsw])|\[([^][\\]|\\(\W|[DSWdsw]))+\]"
    r"|\((\?([:=!]|<[=!])|(?![?*]))|\)|\{\d+(,\d*)?\})*"
)
SIGNS, TOGETHER, PATTERNS, NAMES, PATIENCE = 1_000, 100_000, 2_000, 10_000, 0.8


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Which layers get LoRA, and how much of it; a TypeError or ValueError names a bad field.

    ``target_modules``: a list of names, where a module matches if its name is one, or ends in a dot
    and one; or a regular expression that a whole name must match; or ``"all-linear"``: every linear
    layer but ``modules_to_save`` and the output head (what ``get_output_embeddings`` returns).
    ``exclude_modules``: what gets none, by names that match in the same way, or an expression.
    ``layers_to_transform``, for a list of names: of what ends in one, only the layers with these
    numbers. ``rank_pattern``, ``alpha_pattern``: regular expression → another r or lora_alpha, for
    modules whose name, or an end of it after a dot, matches; the first match counts.
    ``modules_to_save``: modules whose names end so are trained as a whole and saved with the
    adapter, a new head for instance; what they share with others becomes their own.
    An expression has letters, groups, sets and repeats, at most 1,000 signs in all.
    ``use_dora`` and ``init_lora_weights="pissa"``: see :mod:`lora_edu.variants`. The other fields
    are as in :class:`~lora_edu.layers.LoRALinear`.
    """

    target_modules: Collection[str] | str
    exclude_modules: Collection[str] | str | None = None
    r: int = 8
    lora_alpha: float = 8
    lora_dropout: float = 0.0
    use_rslora: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    modules_to_save: Collection[str] | None = None
    layers_to_transform: Collection[int] | None = None
    use_dora: bool = False
    init_lora_weights: bool | str = True

    def __post_init__(self) -> None:
        for name in ("use_rslora", "use_dora"):
            if not isinstance(given := getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, got {given!r}")
        if (given := self.init_lora_weights) is not True and given != "pissa":
            raise ValueError(f'init_lora_weights must be True or "pissa", got {given!r}')
        self._check_patterns()
        if not isinstance(self.target_modules, str):
            self._sort("target_modules", str)
        if self.exclude_modules and not isinstance(self.exclude_modules, str):
            self._sort("exclude_modules", str)
        if self.modules_to_save:  # [] is none, as in PEFT
            self._sort("modules_to_save", str)
        if self.layers_to_transform is not None and isinstance(self.target_modules, str):
            raise ValueError("layers_to_transform needs a list of names as target_modules")
        if self.layers_to_transform not in (None, []):
            self._sort("layers_to_transform", int)

    @cached_property
    def rules(self) -> list[list[Any]]:
        """The entries of rank_pattern and of alpha_pattern."""
        return [[*map(_rule, p, p.values())] for p in (self.rank_pattern, self.alpha_pattern)]

    def _check_patterns(self) -> None:
        """Check the regular expressions, and each r and lora_alpha."""
        single = [p for p in (self.target_modules, self.exclude_modules) if isinstance(p, str)]
        for name in ("rank_pattern", "alpha_pattern"):
            given = getattr(self, name)
            if not isinstance(given, dict):  # another mapping could not be saved
                raise TypeError(f"{name} must be a dict, got {given!r}")
        patterns = [*single, *self.rank_pattern, *self.alpha_pattern]
        many, signs = len(patterns), sum(map(_written_out, patterns))
        if many > PATTERNS or signs > TOGETHER:
            got = f"got {many:,} of {signs:,} with repeats written out"
            raise ValueError(f"patterns must be at most {PATTERNS:,} of {TOGETHER:,} signs, {got}")
        _ = self.rules, *map(_compile, single)
        for r in (self.r, *self.rank_pattern.values()):
            layers.check_hyperparameters(r, self.lora_alpha, self.lora_dropout)
        for lora_alpha in self.alpha_pattern.values():
            layers.check_hyperparameters(self.r, lora_alpha, self.lora_dropout)

    def _sort(self, field_name: str, kind: type) -> None:
        """Sort and deduplicate the entries of a list: their order means nothing."""
        given = getattr(self, field_name)
        entries = [given] if type(given) is int else given
        listed = isinstance(entries, list | tuple | set | frozenset)
        if not (listed and 0 < len(entries) <= NAMES and {*map(type, entries)} == {kind}):
            what = f"{NAMES:,} {'names' if kind is str else 'numbers'}"
            raise TypeError(f"{field_name} must be a list of 1 to {what}, got {given!r}")
        object.__setattr__(self, field_name, sorted(set(entries)))


def add_lora(
    model: nn.Module, config: LoraConfig, tensors: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Freeze ``model``, put a LoRALinear around each layer that ``config`` targets, return it.

    It is changed in place, and gets the configuration as its attribute ``lora_config``. With
    ``tensors``, as :func:`swap_adapter` takes them, it is that adapter. A ValueError if the model
    has LoRA layers already, if nothing matches (it gives the nearest names), if what matches is no
    linear layer, or one in several places, if r is above 1000 and above its sides, or if the
    tensors do not fit. After any error or interrupt the model is as it was.
    """
    planned, saved = _plan(model, config)
    tensors = None if tensors is None else _fitting(model, planned, saved, tensors)
    with all_or_nothing(model):
        model.requires_grad_(False)
        for name, (base, r, lora_alpha) in planned.items():
            layer = LoRALinear(base, r, lora_alpha, config.lora_dropout, config.use_rslora)
            model.set_submodule(name, layer.train(base.training))
        for name in saved:  # a copy, as in PEFT: tied to nothing outside of it
            model.set_submodule(name, copy.deepcopy(model.get_submodule(name)).requires_grad_(True))
        if config.target_modules == "all-linear":  # resolved, as in PEFT's files
            config = replace(config, target_modules=list(planned))
        model.lora_config = config  # pyright: ignore[reportArgumentType]  torch knows Tensor
        if config.init_lora_weights == "pissa":
            variants.init_pissa(model)
        if config.use_dora:
            variants.to_dora(model)
        if tensors is not None:
            swap_adapter(model, tensors)
    return model


def _plan(model: nn.Module, config: LoraConfig) -> tuple[dict[str, Any], dict[str, nn.Module]]:
    """Return base, r and lora_alpha of each layer by name, and the modules to save."""
    for name, module in model.named_modules():
        if isinstance(module, LoRALinear):
            raise ValueError(f"model must have no LoRA layers yet, but {name or 'it'} is one")
    if hasattr(model, "lora_config"):
        raise ValueError("model has an attribute lora_config of its own, where ours would go")
    until = time.thread_time() + PATIENCE
    targets, saved = _targets(model, config, until), _modules_to_save(model, config)
    places = Counter(id(m) for parent in model.modules() for m in parent._modules.values())
    planned = {}
    for name, base in targets.items():
        if f"{name}.".startswith(tuple(f"{other}." for other in saved)):
            raise ValueError(f"{name} must not be in target_modules and in modules_to_save")
        try:
            layers.check_base(base, name)
        except TypeError as error:
            raise ValueError(f"target_modules: {error}") from None
        if places[id(base)] > 1:
            raise ValueError(f"{name} is one layer in {places[id(base)]} places: give each its own")
        r = _first_match(config.rules[0], name, config.r, until)
        # It may be above the sides of a small layer, as in PEFT; a typo must not fill the memory.
        d, k = layers.dense_weight(base).shape
        if r > (most := max(1000, d, k)):
            raise ValueError(f"r must be at most {most} for {name}, got {r}")
        lora_alpha = _first_match(config.rules[1], name, config.lora_alpha, until)
        planned[name] = base, r, lora_alpha
    return planned, saved


def adapter_layers(model: nn.Module) -> dict[str, AdapterLayer]:
    """Return the adapter layers by name; a ValueError if there is none.

    The LoRALinear inside a DoRALinear is left out, because the whole layer describes it.
    """
    lora_layers(model)
    found = {n: m for n, m in model.named_modules() if isinstance(m, AdapterLayer)}
    parts = {layer.lora for layer in found.values() if isinstance(layer, variants.DoRALinear)}
    return {name: layer for name, layer in found.items() if layer not in parts}


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
    """Merge every LoRA layer in place, or none: the errors are those of ``LoRALinear.merge``.

    A ValueError as well if a weight is tied to another place, which would change with it.
    """
    _layers(model, merged=False)
    _merge(model)


def _merge(model: nn.Module) -> None:
    """Merge each LoRA layer that is not merged yet, or none."""
    check_merge(model)
    layers.merge_layers([layer for layer in lora_layers(model).values() if not layer.merged])


def check_merge(model: nn.Module) -> None:
    """Raise a ValueError if a LoRA layer shares its weight: merging would change others too."""
    layers.check_untied(model, "merging")


def unmerge(model: nn.Module) -> None:
    """Unmerge every LoRA layer in place, or none: a RuntimeError if one is not merged."""
    layers.unmerge_layers(_layers(model, merged=True))


def merge_and_unload(model: nn.Module) -> nn.Module:
    """Merge the model, if it is not merged yet, and return it with plain (frozen) layers again."""
    _merge(model)
    return unload(model)


def unload(model: nn.Module) -> nn.Module:
    """Put the base layers back, with what their weights hold now, and return the model.

    ``modules_to_save`` stay as they are now. A ValueError, and no change, if PiSSA has taken a part
    of W0 out of a layer that is not merged.
    """
    with all_or_nothing(model):
        for name, layer in adapter_layers(model).items():
            if layer is model:
                return layer.unloaded()
            model.set_submodule(name, layer.unloaded())
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
    ValueError if a tensor is missing, unknown, of another shape, or not of finite real numbers. The
    model is then as it was.
    """
    _layers(model, merged=False)
    own = adapter_tensors(model)
    for name in sorted(own.keys() | tensors.keys()):
        _fits(name, tensors.get(name), own.get(name))
        if name in own and own[name].is_meta:
            raise ValueError(f"{name} is on the meta device: it can hold no numbers")
    with uninterrupted():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def _fits(name: str, tensor: Tensor | None, own: Tensor | None) -> None:
    """Raise a ValueError unless the tensor can take the place of our own (None: absent)."""
    shape, given = (None if t is None else str(tuple(t.shape)) for t in (own, tensor))
    if tensor is None or own is None or given != shape:
        raise ValueError(f"{name} must be {shape or 'absent'}, got {given or 'nothing'}")
    if tensor.dtype != own.dtype and not {tensor.dtype, own.dtype} <= {*layers.REAL}:
        raise ValueError(f"{name} must hold numbers of {own.dtype}, got {tensor.dtype}")
    if not torch.isfinite(tensor.to(own.dtype)).all():  # float64 may hold what float32 cannot
        raise ValueError(f"{name} must be finite, got NaN or infinity")


def _fitting(model: nn.Module, planned: Any, saved: Any, tensors: Any) -> dict[str, Tensor]:
    """Return the tensors without the base's embeddings and head, which PEFT may save beside them.

    A ValueError if these are not those of the model, or if others do not fit: before there is
    memory for an r that may stand in a file.
    """
    own, base = {}, dict(model.named_parameters(remove_duplicate=False))
    for name, (linear, r, _) in planned.items():
        d, k = layers.dense_weight(linear).shape
        own[f"{name}.lora_A.weight"] = torch.empty(r, k, dtype=torch.float64, device="meta")
        own[f"{name}.lora_B.weight"] = torch.empty(d, r, dtype=torch.float64, device="meta")
    for name, module in saved.items():
        own |= module.state_dict(prefix=f"{name}.")
    for name, tensor in own.items():
        _fits(name, tensors.get(name), tensor)
    left = dict(tensors)
    for name in sorted(tensors.keys() - own.keys()):
        plain = re.sub(r"\.(base_layer|original_module)\.", ".", name)
        if plain in base:
            held, tensor = base[plain].detach(), left.pop(name)
            _fits(name, tensor, held)  # the same numbers, in the type of fewer digits:
            if held.is_meta or not tensor.to(held).equal(held.to(tensor.dtype).to(held.dtype)):
                raise ValueError(f"{name} must hold the numbers of the model itself, got others")
    return left


def _targets(model: nn.Module, config: LoraConfig, until: float) -> dict[str, nn.Module]:
    """Return the layers that get LoRA, by name."""
    wanted = config.target_modules
    named = dict(model.named_modules())
    del named[""]  # the model itself
    # What lies in a module to save trains as a whole.
    whole = tuple(f"{name}." for name in _chosen(named, config.modules_to_save or [], until))
    excluded = _chosen(named, config.exclude_modules or [], until)
    left = {n: m for n, m in named.items() if not (n in excluded or f"{n}.".startswith(whole))}
    counting.check_converted(model, wanted)
    linear = wanted == "all-linear"
    found = counting.targets(model, wanted) if linear else _chosen(left, wanted, until)
    found = {n for n in found if n in wanted or _in_layers(n, config.layers_to_transform)}
    targets = {n: m for n, m in left.items() if n in found}
    if not targets:
        names = {n.rpartition(".")[2] for n, m in left.items() if layers.is_linear(m)}
        tried = [name[:100] for name in ([wanted] if isinstance(wanted, str) else [*wanted][:10])]
        similar = {near for name in tried for near in difflib.get_close_matches(name, names)}
        nearest = f"nearest names: {', '.join(sorted(similar or names)) or 'none'}"
        raise ValueError(f"target_modules must match a linear layer, got {wanted!r}; {nearest}")
    return targets


def _chosen(names: Iterable[str], wanted: Collection[str] | str, until: float) -> set[str]:
    """Return the names that a regular expression matches, or that are or end in one of a list."""
    if isinstance(wanted, str):
        pattern = _compile(wanted)
        return {name for name in names if _matches(pattern, name, until)}
    ends = tuple(f".{name}" for name in wanted)
    return {name for name in names if f".{name}".endswith(ends)}


def _in_layers(name: str, numbers: Collection[int] | None) -> bool:
    """Return whether the first number in a name, for PEFT that of its layer, is one of these."""
    found = re.match(r".*?\.[^.]*\.(\d+)\.", name)
    return numbers in (None, []) or (found is not None and int(found[1]) in numbers)


def _modules_to_save(model: nn.Module, config: LoraConfig | None) -> dict[str, nn.Module]:
    """Return the modules that train as a whole, by name: PEFT's rule is the bare end of a name."""
    names = () if config is None else tuple(config.modules_to_save or ())
    modules = {n: m for n, m in model.named_modules() if n.endswith(names)}
    if names and not modules:
        raise ValueError(f"modules_to_save must match a module, got {list(names)}")
    return modules


def _written_out(pattern: Any) -> int:
    """Return how many signs a pattern has with its repeats written out: of a long one, a part."""
    text = str(pattern)[: SIGNS + 1]  # compiled, (a)+ is (a)(a)*
    copies = prod(int(number) + 1 for number in re.findall(r"[{,](\d{1,4})", text))
    return len(text) * copies * 2 ** text.count(")+")


def _compile(pattern: str, start: str = "") -> Any:
    """Return what follows ``start`` as a regular expression, in a group; a ValueError if none."""
    try:
        if len(pattern) > SIGNS or not GRAMMAR.fullmatch(pattern):
            raise ValueError(f"letters, groups, sets and repeats, {SIGNS:,} signs at most")
        return regex.compile(f"{start}(?:{pattern})", cache_pattern=False)
    except Exception as error:  # it has more kinds of errors than its own
        raise ValueError(f"{pattern!r} must be a regular expression: {error}") from None


def _matches(pattern: Any, name: str, until: float) -> bool:
    """Return whether the whole name matches; a ValueError if it takes longer."""
    with contextlib.suppress(TimeoutError, MemoryError):
        if (left := until - time.thread_time()) > 0:
            return bool(pattern.fullmatch(name, timeout=left))
    raise ValueError(f"{pattern.pattern!r} takes too long to compare with {name!r}")


def _rule(pattern: str, value: Any) -> tuple[str, Any, Any]:
    """Return a number that names hold if a plain pattern matches: to ask for it costs less."""
    compiled = _compile(pattern, start=r"(?:.*\.)?")
    number = re.search(r"\.(\d+)\\?\.", pattern) if {*pattern}.isdisjoint("|([") else None
    return number[1] if number else "", compiled, value


def _first_match(rules: Iterable[Any], name: str, default: Any, until: float) -> Any:
    """Return the value of the first pattern that matches the name, or an end of it after a dot."""
    for number, pattern, value in rules:
        if number in name and _matches(pattern, name, until):
            return value
    return default


def _layers(model: nn.Module, merged: bool) -> Collection[LoRALinear]:
    """Return the LoRA layers; a RuntimeError if one of them is not as they all should be."""
    own = lora_layers(model)
    for name, layer in own.items():
        if layer.merged is not merged:
            raise RuntimeError(f"{name} is {'not merged' if merged else 'merged already'}")
    return own.values()
