"""Does training fit? Bytes by kind, from shapes alone: no weights, no GPU.

Weights, gradients and optimizer states are counted (:func:`lora_edu.counting.training_memory`). The
activations that are kept for the backward pass are found by running the model once on *fake*
tensors, which have shapes, types and storages, but no numbers. The result is that of a real run to
the byte (see the tests), and takes seconds even for a model of 405 billion parameters.
"""

import difflib
import logging
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from lora_edu import counting
from lora_edu.adapt import LoraConfig, add_lora
from lora_edu.counting import at_least_one

CARDS = (8, 16, 24, 48, 80, 141)  # GiB of memory that GPUs have
# Overhead in bytes that a plan does not count: cards needed at most 1.5 GB more with LoRA, and 5.3
# with QLoRA, in the 15 runs that LitGPT publishes (``ledger.measured``; a slow test). Full training
# is not among them: its number is a guess.
BESIDE = {"full": 1_500_000_000, "LoRA": 1_500_000_000, "QLoRA": 5_500_000_000}
TEXT = "input_ids"
# Keys of a config that say how large a model is, in the words of its family.
SIZE = re.compile(
    r"(num|n)_(?!key_value)(\w+_)?(layers?|heads?|experts)|hidden_size|intermediate_size|vocab_size"
    r"|n_embd|d_model|d_ff"
)
Plan = dict[str, int]  # part (weights, gradients, optimizer, activations) → bytes


def build(config: Mapping[str, Any], where: str = "config", text: bool = False) -> nn.Module:
    """Build the model of a transformers config, named by its first ``architectures``.

    Under ``torch.device("meta")`` or fake tensors it takes no memory. A ValueError, which begins
    with ``where``, if transformers has no such model or cannot build it, or if it must read
    ``text`` and does not.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    names = config.get("architectures") if isinstance(config, Mapping) else None
    if not (isinstance(names, list) and names and isinstance(names[0], str)):
        raise ValueError(f'{where} must hold an object with "architectures": ["NAME"]')
    model_class = getattr(transformers, names[0], None)
    reads = getattr(model_class, "main_input_name", TEXT)
    if text and reads != TEXT:
        raise ValueError(f"{where}: {names[0]} reads {reads}, and a plan is for a model of text")
    config_class = getattr(model_class, "config_class", None)
    if model_class is None or config_class is None:
        raise ValueError(f"{where}: transformers {transformers.__version__} has no {names[0]}")
    try:
        model = model_class(config_class.from_dict(dict(config)))
    except Exception as error:  # a config can be wrong in more ways than there are error types
        raise ValueError(f"{where}: no {names[0]}: {type(error).__name__}: {error}") from None
    heads, shared = config.get("num_attention_heads"), config.get("num_key_value_heads")
    if isinstance(heads, int) and isinstance(shared, int) and heads % shared:
        raise ValueError(f"{where}: {heads} heads cannot share {shared} key/value heads evenly")
    return model


def silent(config: Mapping[str, Any], built: Any) -> list[str]:
    """Return what transformers does not say when it builds a config: defaults, and ignored keys.

    ``built`` is the config of the model. Named are sizes that the file does not hold, keys that
    look misspelt, and a quantization, which changes the bytes and not the numbers.
    """
    try:
        usual = type(built)()
    except Exception:  # one of several models has no default
        return []
    known = usual.to_dict()
    given = {built.attribute_map.get(key, key) for key in config}
    sizes = {k: v for k, v in known.items() if SIZE.fullmatch(k) and isinstance(v, int)}
    missing = ", ".join(f"{key} {value}" for key, value in sizes.items() if key not in given)
    said = [f"not in the file, so transformers' own: {missing}"] if missing else []
    for key in config:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.85)
        if near and key not in known and not hasattr(usual, key):
            said.append(f"{key} is no key that it reads: is {near[0]} meant?")
    if "quantization_config" in config:
        said.append("its quantization is left out: counted are numbers, not their bits")
    return said


def activations(model: nn.Module, batch: int, length: int) -> int:
    """Count the bytes that one forward pass of a text model keeps for the backward pass.

    Each storage once, and those of parameters not: batch sequences of ``length`` tokens, with the
    loss over all of them if the model has one. Gradient checkpointing and ``model.eval()`` (no
    dropout masks) are the caller's choice.
    """
    batch, length = at_least_one("batch", batch), at_least_one("length", length)
    tokens = torch.zeros(batch, length, dtype=torch.long)
    inputs: dict[str, Any] = {"input_ids": tokens}
    ends = ("LMHeadModel", "ForCausalLM", "ForMaskedLM", "ForConditionalGeneration")
    if type(model).__name__.endswith(ends):
        inputs["labels"] = tokens.clone()
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        inputs["decoder_input_ids"] = tokens.clone()
    return saved_bytes(model, lambda: model(**inputs))


def saved_bytes(model: nn.Module, run: Callable[[], object]) -> int:
    """Count the bytes that ``run()`` keeps for the backward pass, but for the model's parameters.

    Each storage once.
    """
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor  # alive, so that no address comes twice
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(t.untyped_storage().nbytes() for at, t in kept.items() if at not in weights)


def plan(
    config: Mapping[str, Any],
    r: int = 8,
    target_modules: Collection[str] | str = "all-linear",
    batch: int = 1,
    length: int = 512,
    where: str = "config",
) -> dict[str, Plan]:
    """Plan the bytes of training a model of a config: "full", "LoRA", "QLoRA" → part → bytes.

    Frozen weights take 16 bits, those of QLoRA's linear layers 4 (NF4 with double quantisation; the
    others stay, where ``peft.prepare_model_for_kbit_training`` would make them float32).
    In full fine-tuning a number that trains takes 2 + 2 + 8 bytes, for weight, gradient and Adam's
    two in float32 (PyTorch's own AdamW keeps them in the type of the weight: then 2 + 2 + 4); in an
    adapter 4 + 4 + 8, all in float32, as PEFT has it. (Experts that share a
    parameter are no linear layers, and stay in 16 bits.) Activations are those
    of bfloat16, without dropout and gradient checkpointing, with attention that keeps no matrix of
    length × length where PyTorch has it; those of QLoRA are LoRA's. A ValueError if the model
    cannot be built, takes no text or chooses its way by the numbers, or if a name matches nothing.
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a mapping, as in config.json, got {config!r}")
    if at_least_one("batch", batch) * at_least_one("length", length) > 10**9:
        raise ValueError(f"batch times length must be at most 10**9, got {batch} and {length}")
    for key in ("n_positions", "max_position_embeddings"):  # fake tensors have no index too large
        if isinstance(most := config.get(key), int) and length > most:
            raise ValueError(f"length must be at most {key} = {most}, got {length}")
    half, single = "bfloat16", "float32"
    config = {**config, "dtype": half, "use_cache": True}  # without, transformers makes a mask
    with FakeTensorMode(allow_non_fake_inputs=True):
        usual = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            model = build(config, where, text=True).eval()
        finally:
            torch.set_default_dtype(usual)
        modules = counting.modules(model)
        base = counting.base_parameters(modules)
        counting.targets(modules, target_modules)  # names each that matches nothing
        kept = _activations(model, batch, length)
        tensors = sum(1 for _ in model.parameters())
        full = counting.training_memory(0, base, dtypes=(half, half, single), tensors=tensors)
        add_lora(model, LoraConfig(r=r, lora_alpha=r, target_modules=target_modules))
        adapters = [p for p in model.parameters() if p.requires_grad]
        trained = sum(p.numel() for p in adapters)
        kept_by_lora = _activations(model, batch, length)
    types = (half, single, single)
    lora = counting.training_memory(base, trained, dtypes=types, tensors=len(adapters))
    linear = sum(m.out_features * m.in_features for m in modules.values() if m.kind == "linear")
    saved = counting.bytes_of(linear, half) - counting.bytes_of(linear, "nf4-double")
    return {
        "full": {**full, "activations": kept},
        "LoRA": {**lora, "activations": kept_by_lora},
        "QLoRA": {**lora, "weights": lora["weights"] - saved, "activations": kept_by_lora},
    }


def _activations(model: nn.Module, batch: int, length: int) -> int:
    log = logging.getLogger("torch._subclasses.fake_tensor")
    log.disabled = True  # it prints what the error below says
    try:
        return activations(model, batch, length)
    except Exception as error:  # of the model, or of fake tensors where numbers would decide
        why = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise ValueError(
            f"{type(model).__name__} cannot be run on {length} tokens without its numbers: {why}"
        ) from None
    finally:
        log.disabled = False


def smallest_card(plan: Plan, method: str = "LoRA") -> int | None:
    """Return the smallest of ``CARDS`` that fits a plan plus its overhead ``BESIDE``; else None."""
    total = BESIDE[counting.one_of("method", method, BESIDE)] + sum(plan.values())
    return next((size for size in CARDS if total <= size * 2**30), None)
