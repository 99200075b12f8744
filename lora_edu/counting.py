"""Parameters, bytes and multiply-adds of LoRA and its relatives, from shapes alone.

Letters: d = ``out_features``, k = ``in_features``, r = the rank of the update. Counts are exact
Python integers, in numbers unless a name says bytes; no weights are needed. Functions of one matrix
come first, then those of a whole model, then memory. Errors, in every function: a TypeError if a
size is not an integer, a ValueError if it is below 1, or a count below 0. (r may exceed min(d, k),
as in PEFT.)

Source: Hu et al. 2021 (arXiv:2106.09685), sections 4 and 5.1.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from importlib import resources
from math import ceil, prod
from operator import index
from typing import Any, NamedTuple

from lora_edu.names import meant

Names = Collection[str]  # of modules
METHODS = ("lora", "dora", "lora-fa", "vera")
OPTIMIZERS = {"sgd": 0, "momentum": 1, "adamw": 2}  # numbers kept for each trained one
EXPERTS = ("router", "fused", "experts", "stack")  # kinds of parameters that are no layers
ROUTERS = ("gate", "router")  # names of the layer that chooses experts
# In data/models.json, "layers.{num_layers}.attention" stands for a module in each layer, and
# "layers.{dense:num_layers}.attention" for one in each from config["dense"] on.
NUMBERED = re.compile(r"([^{]*)(?:\{(?:(\w+):)?(\w+)\})?(.*)")
# Bits of a number. NF4 adds a 32-bit scale to each block of 64; double quantisation makes that
# 8 bits, and 32 for 256 blocks together (QLoRA, arXiv:2305.14314, section 3).
BITS: dict[str, int | Fraction] = {
    "float64": 64, "float32": 32, "float16": 16, "bfloat16": 16, "int8": 8, "int4": 4,
    "nf4": 4 + Fraction(32, 64), "nf4-double": 4 + Fraction(8, 64) + Fraction(32, 64 * 256),
}  # fmt: skip


def dense_parameters(out_features: int, in_features: int) -> int:
    """Count the numbers in a full update ΔW: ``d * k``."""
    return at_least_one("out_features", out_features) * at_least_one("in_features", in_features)


def lora_parameters(out_features: int, in_features: int, r: int) -> int:
    """Count the numbers in ``lora_A`` (r, k) and ``lora_B`` (d, r) together: ``r * (d + k)``."""
    d, k = at_least_one("out_features", out_features), at_least_one("in_features", in_features)
    return at_least_one("r", r) * (d + k)


def reduction(out_features: int, in_features: int, r: int) -> float:
    """Return how many times fewer LoRA trains, ``d * k / (r * (d + k))``: below 1, it is more."""
    lora = lora_parameters(out_features, in_features, r)
    return dense_parameters(out_features, in_features) / lora


def break_even_rank(out_features: int, in_features: int) -> float:
    """Return the rank below which LoRA saves, ``d * k / (d + k)``; in general no integer."""
    return reduction(out_features, in_features, r=1)


def degrees_of_freedom(out_features: int, in_features: int, r: int) -> int:
    """Return the dimension of the d x k matrices of rank r ≤ min(d, k): ``r * (d + k - r)``.

    The factors hold r² more: (B M, M⁻¹ A) is the same update for each invertible r x r matrix M.
    """
    both = lora_parameters(out_features, in_features, r)
    if r > (least := min(out_features, in_features)):
        raise ValueError(f"r must be at most min(out_features, in_features) = {least}, got {r}")
    return both - index(r) ** 2


def dense_multiply_adds(out_features: int, in_features: int, *, vectors: int = 1) -> int:
    """Count the multiply-adds of ``W x`` for a number of vectors x: ``vectors * d * k``."""
    return at_least_one("vectors", vectors) * dense_parameters(out_features, in_features)


def lora_multiply_adds(
    out_features: int, in_features: int, r: int, *, vectors: int = 1, form_delta: bool = False
) -> int:
    """Count the multiply-adds of the update alone, for a number of vectors x.

    B (A x):                        vectors * r * (d + k)
    (B A) x, with ``form_delta``:   d * r * k + vectors * d * k
    """
    apart = at_least_one("vectors", vectors) * lora_parameters(out_features, in_features, r)
    dense = dense_multiply_adds(out_features, in_features, vectors=vectors)
    formed = index(r) * dense_parameters(out_features, in_features)
    return formed + dense if form_delta else apart


def adapter_parameters(
    out_features: int, in_features: int, r: int, method: str = "lora"
) -> tuple[int, int]:
    """Count what one adapted matrix (trains, adds to the model), for a method of ``METHODS``.

    lora      r (d + k), all trained
    dora      r (d + k) + d: a magnitude for each row (arXiv:2402.09353)
    lora-fa   r (d + k), of which only B, r d, trains (arXiv:2308.03303)
    vera      d + r: two vectors; A and B are random and shared (arXiv:2310.11454)
    """
    one_of("method", method, METHODS)
    both, d, r = lora_parameters(out_features, in_features, r), index(out_features), index(r)
    if method == "lora-fa":
        return r * d, both
    total = {"lora": both, "dora": both + d, "vera": d + r}[method]
    return total, total


def bottleneck_parameters(width: int, r: int, sites: int, layer_norms: int = 0) -> int:
    """Count bottleneck adapters: ``sites * (2 * width * r + r + width) + layer_norms * 2 * width``.

    At each site two projections with biases. Adapter-H has two sites a layer, Adapter-L one and a
    LayerNorm, Adapter-P one, Adapter-D (AdapterDrop) one in those layers that it does not drop.
    """
    width, r = at_least_one("width", width), at_least_one("r", r)
    norms = _whole("layer_norms", layer_norms)
    return at_least_one("sites", sites) * (2 * width * r + r + width) + norms * 2 * width


def prefix_parameters(width: int, tokens: int, layers: int = 1) -> int:
    """Count trained positions: ``layers * tokens * width`` (prefix embeddings: one layer)."""
    d, tokens = at_least_one("width", width), at_least_one("tokens", tokens)
    return at_least_one("layers", layers) * tokens * d


# -- a whole model ----------------------------------------------------------------------------


class Module(NamedTuple):
    """What a module holds itself: a d x k weight, biases, and ``more`` numbers.

    ``kind`` is linear (Conv1D too), head (the output embedding), embedding (d = width, k = rows),
    conv (k = kernel and inputs) or other (k = 1). A mixture of experts has a router, and parameters
    of ``copies`` matrices under their own names: fused (gate and up in one) and experts, which PEFT
    adapts under all-linear, or stack, which it does not. What another module holds too is counted
    at its first place: ``tied`` says so of the weight.
    """

    kind: str
    out_features: int
    in_features: int
    bias: int = 0
    tied: bool = False
    more: int = 0
    copies: int = 1

    @property
    def parameters(self) -> int:
        """How many numbers it adds to the model."""
        weight = 0 if self.tied else self.copies * self.out_features * self.in_features
        return weight + self.bias + self.more


class Count(NamedTuple):
    """Parameters of an adapted model, as PEFT's ``print_trainable_parameters`` counts them."""

    trainable: int
    all: int
    base: int
    adapted_modules: int


@lru_cache(1)
def _data() -> dict[str, Any]:
    file = resources.files("lora_edu") / "data" / "models.json"
    return json.loads(file.read_text(encoding="utf-8"))


def models() -> list[dict[str, Any]]:
    """Return the models of ``data/models.json``: id, source, config; other names, a total."""
    return _data()["models"]


def catalogue() -> dict[str, dict[str, Any]]:
    """Return their configs: id → config."""
    return {model["id"]: model["config"] for model in models()}


def named(name: str) -> str:
    """Return the id of the model that is meant, as :func:`lora_edu.names.meant` reads a name.

    A ValueError suggests others.
    """
    return meant(name, {model["id"]: model.get("names", ()) for model in models()})


def family_rows(family: str) -> dict[str, list[Any]]:
    """Return the kinds of modules of a family: name → kind, d, k, bias, tied, copies."""
    families = _data()["families"]
    rows = dict(families[one_of("model_type", family, families)])
    while "like" in rows:  # but for the rows that it has itself, and those that it has not: null
        rows = families[rows.pop("like")] | rows
    usual = [None, None, None, 0, False, 1]
    return {name: row + usual[len(row) :] for name, row in rows.items() if row is not None}


def modules(source: Any) -> dict[str, Module]:
    """Return the modules that hold parameters, by their names in ``named_modules()``.

    ``source`` is an id of the catalogue; a config (a mapping, or with ``to_dict``) of one of the
    families there; a model, known by its ``named_modules`` (shapes are enough: the meta device);
    or what this function returned. A ValueError names an unknown id, family or key.
    """
    if hasattr(source, "named_modules"):
        return _modules_of_model(source)
    if isinstance(source, str):
        source = catalogue()[named(source)]
    config: Mapping[str, Any] = source if isinstance(source, Mapping) else source.to_dict()
    if config and isinstance(next(iter(config.values())), Module):
        return dict(config)
    family = config.get("family", config.get("model_type"))
    found: dict[str, Module] = {}
    try:
        for pattern, (kind, d, k, bias, tied, copies) in family_rows(family).items():
            held = config[tied] if isinstance(tied, str) else bool(tied)
            if not isinstance(held, bool):
                raise TypeError(f"{tied} must be true or false, got {held!r}")
            d, k, copies = (_size(config, size) for size in (d, k, copies))
            module = Module(kind, d, k, copies * d if bias else 0, held, copies=copies)
            found.update(dict.fromkeys(_names(config, pattern), module))
    except KeyError as missing:
        raise ValueError(f"this config of a {family} model lacks {missing}") from None
    return found


def _size(config: Mapping[str, Any], product: int | str) -> int:
    """Return the value of a product such as "3*hidden_size"."""
    factors = str(product).split("*")
    return prod(int(f) if f.isdigit() else at_least_one(f, config[f]) for f in factors)


def _names(config: Mapping[str, Any], pattern: str) -> list[str]:
    """Return the names of the modules for which a row stands: one, or one for each layer."""
    before, start, end, after = NUMBERED.findall(pattern)[0]
    if not end:
        return [pattern]
    if isinstance(config[end], list):
        return [f"{before}{_whole(end, number)}{after}" for number in config[end]]
    first = int(start) if start.isdigit() else _whole(start, config[start]) if start else 0
    many = _whole(end, config[end])
    if many > 10_000:
        raise ValueError(f"{end} must be at most 10_000, got {many:_}")
    if first > many:
        raise ValueError(f"{start} must be at most {end} = {many}, got {first}")
    return [f"{before}{number}{after}" for number in range(first, many)]


def _modules_of_model(model: Any) -> dict[str, Module]:
    head = getattr(model, "get_output_embeddings", lambda: None)()
    found, seen = {}, set()
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        new = {n: p.numel() for n, p in own.items() if id(p) not in seen}
        seen.update(map(id, own.values()))
        tied, bias = "weight" not in new, new.pop("bias", 0)
        mro = {f"{c.__module__}.{c.__name__}" for c in type(module).__mro__}
        if "torch.nn.modules.linear.Linear" in mro:  # its own words: 4 bits are packed
            kind, d, k = "linear", module.out_features, module.in_features
        elif "torch.nn.modules.sparse.Embedding" in mro:
            kind, d, k = "embedding", module.embedding_dim, module.num_embeddings
        elif "transformers.pytorch_utils.Conv1D" in mro:
            kind, (k, d) = "linear", module.weight.shape
        elif "torch.nn.modules.conv._ConvNd" in mro and not module.transposed:
            kind = "conv" if module.groups < 2 else "other"  # LoRA has no place in groups
            d, k = len(module.weight), module.weight[0].numel()
        elif name.endswith(".experts") and own:
            found |= {f"{name}.{n}": m for n, m in _experts(own, _family(model)).items()}
            continue
        elif name.rpartition(".")[2] in ROUTERS and "weight" in own and own["weight"].dim() == 2:
            kind, (d, k) = "router", own["weight"].shape
        elif own:
            kind, d, k, tied, new = "other", sum(new.values()), 1, False, {}
        else:
            continue
        new.pop("weight", None)  # not there if it is tied, or parametrized: then others hold it
        kind = "head" if module is head else kind
        found[name] = Module(kind, d, k, bias, tied, more=sum(new.values()))
    return found


def _experts(own: Mapping[str, Any], family: Any) -> dict[str, Module]:
    """Return the parameters that experts share, each with its bias, under their names."""
    found = {}
    for name, stack in own.items():
        if stack.dim() == 3:
            copies, d, k = stack.shape
            bias = own.get(f"{name}_bias")
            if bias is not None and bias.shape[1] != d:  # in gpt-oss they are stored as (k, d)
                d, k = k, d
            kind = "fused" if name == "gate_up_proj" else "experts"
            kind = kind if family in _data()["converted"] else "stack"
            biases = 0 if bias is None else bias.numel()
            found[name] = Module(kind, d, k, biases, copies=copies)
        elif not (name.endswith("_bias") and name.removesuffix("_bias") in own):
            found[name] = Module("other", stack.numel(), 1)
    return found


def base_parameters(source: Any) -> int:
    """Count the parameters of a model; tied ones once."""
    return sum(m.parameters * times for m, times in Counter(modules(source).values()).items())


def bitfit_parameters(source: Any) -> int:
    """Count all biases, those of norms too: what BitFit trains (arXiv:2106.10199)."""
    return sum(module.bias for module in modules(source).values())


def packed_4bit_parameters(source: Any) -> int:
    """Count stored elements when linear weights (not the head's) hold two numbers in one."""
    linear = [m for m in modules(source).values() if m.kind == "linear"]
    return base_parameters(source) - sum(m.out_features * m.in_features // 2 for m in linear)


def targets(source: Any, target_modules: Names, modules_to_save: Names = ()) -> dict[str, Module]:
    """Return the modules that PEFT would adapt.

    A list names them whole or by last parts (``q_proj``, ``attn.c_proj``); a string is a regular
    expression, or ``"all-linear"``: every linear layer except the head. (Experts that share one
    parameter are none. In some families PEFT adapts them still, and the router, under all-linear;
    but then no linear layer that has a name of the experts', such as ``down_proj``. There a regular
    expression and such names are a ValueError.)
    What lies in ``modules_to_save`` is left out. A ValueError if a name matches nothing, or what
    LoRA cannot adapt.
    """
    found = modules(source)
    for saved in modules_to_save:
        found = {name: m for name, m in found.items() if f".{saved}." not in f".{name}."}
    if target_modules != "all-linear":
        check_converted(source, target_modules)
    if target_modules == "all-linear":
        names = [name for name, m in found.items() if m.kind == "linear"]
        if any(m.kind in EXPERTS[1:3] for m in found.values()) or (
            _family(source) in _data()["converted"]
        ):  # last parts of names then, but for those of experts
            last = {name.rpartition(".")[2] for name in names} - {*_data()["experts"]} | {"gate"}
            names = [
                name
                for name, m in found.items()
                if m.kind in EXPERTS or name.rpartition(".")[2] in last
            ]
        matches = {target_modules: names}
    elif isinstance(target_modules, str):
        matches = {target_modules: [name for name in found if re.fullmatch(target_modules, name)]}
    else:
        matches = {t: [n for n in found if f".{n}".endswith(f".{t}")] for t in target_modules}
    for wanted, names in matches.items():
        if not names:
            free = ", but for those to save," if modules_to_save else ""
            last = dict.fromkeys(
                n.rpartition(".")[2] for n, m in found.items() if m.kind == "linear"
            )
            there = f"; its linear layers are {', '.join(list(last)[:20])}" if last else ""
            none = f"no module with parameters{free} matches {wanted!r}"
            raise ValueError(f"target_modules: {none}{there}")
    chosen = {name: found[name] for names in matches.values() for name in names}
    unfit = ("other",) if target_modules == "all-linear" else ("other", *EXPERTS)
    if others := [name for name, m in chosen.items() if m.kind in unfit]:
        raise ValueError(f"target_modules: {others[0]} is no linear, embedding or convolution")
    return chosen


def _family(source: Any) -> Any:
    if isinstance(source, str):
        source = catalogue()[named(source)]
    its = getattr(source, "config", source)
    return its.get("model_type") if isinstance(its, Mapping) else getattr(its, "model_type", None)


def left_frozen(
    source: Any, target_modules: Names, modules_to_save: Names = ()
) -> dict[str, tuple[str, int]]:
    """Return what one may think is adapted and is not: name without its number → kind, numbers.

    Experts, always; with all-linear, linear layers too, which PEFT passes over in some families.
    """
    chosen = targets(source, target_modules, modules_to_save)
    kinds = (*EXPERTS[1:], "linear") if target_modules == "all-linear" else EXPERTS[1:]
    found: dict[str, tuple[str, int]] = {}
    for name, module in modules(source).items():
        if module.kind in kinds and name not in chosen:
            short = re.sub(r".*\.\d+\.", "", name)
            found[short] = module.kind, found.get(short, ("", 0))[1] + module.parameters
    return found


def check_converted(source: Any, target_modules: Names) -> None:
    """Raise a ValueError where PEFT would adapt experts that share one parameter."""
    if (family := _family(source)) in _data()["converted"]:
        for name in [target_modules] if isinstance(target_modules, str) else target_modules:
            if name is target_modules or name.rpartition(".")[2] in _data()["experts"]:
                why = "whose experts share a parameter, in a way of its own: name other layers"
                raise ValueError(f"{name}: PEFT adapts a model of type {family}, {why}")


def count(
    source: Any, r: int, target_modules: Names, method: str = "lora", modules_to_save: Names = ()
) -> Count:
    """Count an adapted model as PEFT does: sums of ``adapter_parameters`` over ``targets``.

    Modules to save (matched by the end of their names, as in PEFT) are trained, and count twice in
    ``all``: the copy that is trained, and the original that is kept. A ValueError if r is above
    1000 and above the sides of a layer, as in :func:`~lora_edu.adapt.add_lora`.
    """
    found = modules(source)
    chosen = targets(source, target_modules, modules_to_save)
    saved: set[str] = set()
    for wanted in modules_to_save:
        named = {name for name in found if name.endswith(wanted) or f"{wanted}." in name}
        if not named:
            raise ValueError(f"modules_to_save: no module with parameters is called {wanted!r}")
        saved |= named
    if both := sorted(saved & chosen.keys()):
        raise ValueError(f"{both[0]} must not be in target_modules and in modules_to_save")
    if method == "vera" and any(m.kind not in ("linear", "head") for m in chosen.values()):
        raise ValueError("method: vera adapts linear layers only")
    if method != "lora" and any(m.kind in EXPERTS for m in chosen.values()):
        raise ValueError(f"method: {method} adapts no experts: name other layers")
    copies = sum(found[name]._replace(tied=False).parameters for name in saved)
    if saved and hasattr(source, "named_modules"):  # it knows what else is tied
        whole = [m for n, m in source.named_modules() if n.endswith(tuple(modules_to_save))]
        copies = sum(p.numel() for module in whole for p in module.parameters())
    trainable, added = copies, copies
    for module, times in Counter(chosen.values()).items():
        rank = 2 * r if module.kind == "fused" else r  # gate and up: r for each
        trains, adds = adapter_parameters(module.out_features, module.in_features, rank, method)
        trainable += times * module.copies * trains
        added += times * module.copies * adds
    for name, (_, d, k, *_) in found.items():  # as in add_lora; VeRA is published with r above d
        if name in chosen and method != "vera" and r > max(1000, d, k):
            raise ValueError(f"r must be at most {max(1000, d, k)} for {name}, got {r}")
    base = base_parameters(found)
    return Count(trainable, base + added, base, len(chosen))


def bytes_of(numbers: int, dtype: str) -> int:
    """Count the bytes of some numbers of a type of ``BITS``, rounded up to whole ones."""
    return ceil(Fraction(_whole("numbers", numbers) * BITS[one_of("dtype", dtype, BITS)], 8))


def training_memory(
    frozen: int,
    trained: int,
    optimizer: str = "adamw",
    dtypes: Sequence[str] = ("float32",) * 3,
    tensors: int = 0,
) -> dict[str, int]:
    """Plan the bytes of weights, gradients and optimizer states.

    Activations come on top: :func:`lora_edu.memory.plan`.

    ``dtypes`` are those of frozen weights, of trained ones and their gradients, and of states: none
    with ``sgd``, 1 a trained number with ``momentum``, 2 with ``adamw``, which also counts its
    steps in float32 for each of the trained ``tensors``.
    """
    frozen, trained = _whole("frozen", frozen), _whole("trained", trained)
    tensors = _whole("tensors", tensors)
    kept = OPTIMIZERS[one_of("optimizer", optimizer, OPTIMIZERS)] * trained
    steps = bytes_of(tensors, "float32") if optimizer == "adamw" else 0
    return {
        "weights": bytes_of(frozen, dtypes[0]) + bytes_of(trained, dtypes[1]),
        "gradients": bytes_of(trained, dtypes[1]),
        "optimizer": bytes_of(kept, dtypes[2]) + steps,
    }


def one_of(name: str, value: Any, known: Collection[str]) -> Any:
    """Return a value that is one of those known; else raise a ``ValueError`` that names them."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, got {value!r}")
    return value


def _whole(name: str, value: int, least: int = 0) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):  # NumPy's integers have it
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if (number := index(value)) < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def at_least_one(name: str, value: int) -> int:
    """Return ``value`` as a Python int of at least 1, or raise the error that names it."""
    return _whole(name, value, least=1)
