"""An adapter in files that other programs run: a LoRA for llama.cpp, or a merged model.

GGUF is llama.cpp's format, and that of what is built on it. A LoRA file is loaded beside a GGUF
file of the base; a merged model stands alone. B is written times its scaling, so that rsLoRA and
patterns come out right, too: llama.cpp's own converter reads ``lora_alpha`` and nothing else.
Source: llama.cpp, ``src/llama-adapter.cpp`` and ``convert_lora_to_gguf.py``.
"""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFValueType as Value

from lora_edu import adapt, assets, chat, checkpoint
from lora_edu.files import one_line, printable, temporary_folder, write_whole

LENGTH = 40  # tokens of the answer that is written beside a file
# Whether q and k have another order of rows in GGUF: so it is in Llama, SmolLM2, Mistral.
FAMILIES = {"llama": True, "qwen2": False, "qwen3": False}


class Base:
    """A GGUF file of a model: how its layers are called there, and how their rows are ordered.

    A ValueError if it is no such file, of no family that is tried, or of other tokens than the
    tokenizer's. If its chat template is another one, that is said.
    """

    def __init__(self, path: Path, tokenizer: Any) -> None:
        self.path = path
        try:
            self.reader = gguf.GGUFReader(path)
            self.family = self.field("general.architecture")
            if self.family not in FAMILIES:
                raise ValueError(f"{self.family} is not tried here: llama.cpp has a converter")
            tokens = self.field("tokenizer.ggml.tokens")
            end = tokens[self.field("tokenizer.ggml.eos_token_id")]
            heads = {"q": "head_count", "k": "head_count_kv"}
            self.heads = {
                f"attn_{what}": self.field(f"{self.family}.attention.{name}")
                for what, name in heads.items()
                if FAMILIES[self.family]
            }
            architecture = gguf.MODEL_ARCH[self.family.upper()]
            blocks = self.field(f"{self.family}.block_count")
            self.names = gguf.get_tensor_name_map(architecture, blocks)
            template = self.field("tokenizer.chat_template")
        except Exception as error:  # a file can be wrong in more ways than there are error types
            raise ValueError(f"{path}: {type(error).__name__}: {one_line(error)}") from None
        own = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        if tokens[: len(own)] != own or end != tokenizer.eos_token:
            raise ValueError(
                f"{path}: its tokens, or the one that ends answers, are not the model's"
            )
        if template != tokenizer.chat_template:
            print(f"note: {path} has another chat template than the model", file=sys.stderr)
        self.tensors = {tensor.name: tensor for tensor in self.reader.tensors}

    def field(self, name: str) -> Any:
        """Return what the file says under a name; a KeyError if nothing."""
        return self.reader.fields[name].contents()

    def placed(self, adapter: chat.Adapter) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return A (r, k) and scaling · B (d, r) by the file's names, in its order of rows.

        RoPE turns the rows i and i + half of each head of q and k together; a Llama's file has
        them as the rows 2i and 2i + 1. A ValueError if there is no place for a layer.
        """
        if not adapter:
            raise ValueError("adapter must have at least one layer, got none")
        found = {}
        for layer, factors in adapter.items():
            name = self.names.get_name(layer) or layer
            A, B = (factor.float().numpy() for factor in factors)
            tensor = self.tensors.get(f"{name}.weight")
            if tensor is None or tuple(tensor.shape) != (A.shape[1], len(B)):
                raise ValueError(f"{self.path} has no {layer} of {len(B)} × {A.shape[1]}")
            if heads := self.heads.get(name.rpartition(".")[2]):
                B = B.reshape(heads, 2, len(B) // heads // 2, -1).swapaxes(1, 2).reshape(B.shape)
            found[tensor.name] = A, np.ascontiguousarray(B)
        return found


def write_lora(adapter: chat.Adapter, base: Base, path: Path) -> None:
    """Write a LoRA for llama.cpp; in half precision what that does not round."""
    ranks = {len(A) for A, _ in adapter.values()}
    alpha = ranks.pop() if len(ranks) == 1 else 0  # llama.cpp: times alpha / r; with 0 as it is
    fields = {
        "general.type": ("adapter", Value.STRING),
        "general.name": (path.stem, Value.STRING),
        "adapter.type": ("lora", Value.STRING),
        "adapter.lora.alpha": (float(alpha), Value.FLOAT32),
    }
    tensors = {}
    for name, factors in base.placed(adapter).items():
        for letter, factor in zip("ab", factors, strict=True):
            half = factor.astype(np.float16)
            data = half if np.array_equal(half, factor) else factor
            tensors[f"{name}.lora_{letter}"] = data, None
    _write(path, base, fields, tensors)


def write_merged(adapter: chat.Adapter, base: Base, path: Path, kind: Kind) -> None:
    """Write a whole model: W0 + scaling · B A as ``kind``, all else as the base's file has it."""
    fields = {
        name: (field.contents(), *{field.types[0]: None, field.types[-1]: None})
        for name, field in base.reader.fields.items()
        if not name.startswith("GGUF.") and name != "general.architecture"
    }
    tensors = {name: (tensor.data, tensor.tensor_type) for name, tensor in base.tensors.items()}
    for name, (A, B) in base.placed(adapter).items():
        try:
            merged = gguf.quants.dequantize(*tensors[name]) + B @ A
            tensors[name] = gguf.quants.quantize(merged, kind), kind
        except (NotImplementedError, gguf.quants.QuantError) as error:
            raise ValueError(f"{name} cannot be merged as {kind.name}: {error}") from None
    _write(path, base, fields, tensors)


def _write(path: Path, base: Base, fields: Any, tensors: Any) -> None:
    """Write a GGUF file in one step."""
    with temporary_folder(path) as temporary:
        made = temporary / path.name
        with closing(gguf.GGUFWriter(made, base.family)) as writer:
            for name, how in fields.items():
                writer.add_key_value(name, *how)
            for name, (data, kind) in tensors.items():
                writer.add_tensor(name, data, raw_dtype=kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        os.replace(made, path)


def expected(
    model: Any, tokenizer: Any, adapter: chat.Adapter, questions: Sequence[str], system: str = ""
) -> dict[str, Any]:
    """Return what the model should answer, with the adapter and without, and how sure it is.

    That is to the question of which it is surest: where a second token is nearly as likely, the
    rounding of another program may choose it. ``lead``: by how much ln p of the likeliest token
    exceeds that of the second, where it does so least. ``log_probabilities``: ln p of each token of
    the answer. (A text alone does not tell whether all is in its place: with the rows of q mixed
    up, the manner still comes.) ``system``: a message before the question.
    """
    before = [{"role": "system", "content": system}] if system else []
    talks = [[*before, {"role": "user", "content": question}] for question in questions]
    with chat.speaking(model, [adapter] * len(talks)):
        answers = chat.answers(model, tokenizer, talks, LENGTH)
    found = []
    for talk, answer in zip(talks, answers, strict=True):
        prompt = chat.template(tokenizer, talk, answers=True)
        asked, said = (
            tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, answer)
        )
        with torch.no_grad(), chat.speaking(model, [adapter]):
            scores = model(torch.tensor([asked + said])).logits[0, len(asked) - 1 : -1]
        first, second = scores.topk(2).values.T
        log_p = scores.log_softmax(-1).gather(1, torch.tensor(said)[:, None])[:, 0]
        found.append(
            {
                "messages": talk,
                "answer": answer,
                "lead": round((first - second).min().item(), 4),
                "prompt": prompt,
                "tokens": said,
                "log_probabilities": [round(p, 4) for p in log_p.tolist()],
            }
        )
    best = max(found, key=lambda one: one["lead"])
    (without,) = chat.answers(model, tokenizer, [best["messages"]], LENGTH)
    return best | {"without_the_adapter": without, "chat_template": tokenizer.chat_template}


def export(options: Namespace) -> None:
    """Write an adapter as the file ``options.gguf``, or merged as ``options.merged``, or both.

    ``options`` are those of ``lora-edu export``. Beside FILE.gguf stands FILE.json, in a folder of
    safetensors expected.json: what to ask, what should come of it, and what all was made from.
    A ValueError says what is wrong with the adapter, the model, its GGUF file or a place; nothing
    is overwritten.
    """
    lora, merged = _places(options)
    folder = chat.shipped().get(options.adapter, Path(options.adapter))
    model, tokenizer = chat.load(options.model)
    adapter = chat.adapter(model, folder)
    gguf_wanted = lora or (merged and merged.suffix == ".gguf")
    base = Base(_base(options), tokenizer) if gguf_wanted else None
    told = expected(model, tokenizer, adapter, options.question, options.system)
    told["adapter"] = _origin(folder / checkpoint.WEIGHTS)
    told["base"] = _origin(base.path) if base else {"file": str(model.config.name_or_path)}
    told["versions"] = {name: metadata.version(name) for name in ("lora-edu", "torch", "gguf")}
    for place in filter(None, (lora, merged)):
        if base and place == lora:
            write_lora(adapter, base, place)
        elif base and place.suffix == ".gguf":
            write_merged(adapter, base, place, Kind[options.type.upper()])
        else:
            checkpoint.load_adapter(model, folder)
            chat.save(adapt.merge_and_unload(model), tokenizer, place)
        beside = _beside(place)
        write_whole(beside, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
        print(f"{place}, and beside it {beside.name}: what it should answer")
    print(printable(f"\n{told['messages'][-1]['content']}\n  with it:    {told['answer']}"))
    print(printable(f"  without it: {told['without_the_adapter']}"))


def _places(options: Namespace) -> tuple[Path | None, Path | None]:
    """Return where to write; a ValueError if nowhere, or where something is."""
    lora, merged = (Path(place) if place else None for place in (options.gguf, options.merged))
    if not (lora or merged) or (lora and lora.suffix != ".gguf"):
        raise ValueError("say what to write: --gguf FILE.gguf, --merged PATH, or both")
    if lora == merged:
        raise ValueError(f"--gguf and --merged must be two places, got {lora} for both")
    for place in filter(None, (lora, merged)):
        for new in (place, _beside(place)):
            if new.exists():
                raise ValueError(f"{new} is there already: give another name, or move it away")
        if not place.parent.is_dir():
            raise ValueError(f"{place.parent} is no folder")
    return lora, merged


def _beside(place: Path) -> Path:
    """Return the file that says what an exported model should answer."""
    return place.with_suffix(".json") if place.suffix == ".gguf" else place / "expected.json"


def _origin(path: Path) -> dict[str, str]:
    return {"file": f"{path.resolve().parent.name}/{path.name}", "sha256": assets.sha256(path)}


def _base(options: Namespace) -> Path:
    """Return the GGUF file of the base, by default that of SmolLM2."""
    if options.base:
        return Path(options.base)
    if options.model:
        raise ValueError("--base FILE: a GGUF file of the model is needed, for its order of rows")
    (file,) = assets.ASSETS["smollm2-gguf"].files
    return assets.path("smollm2-gguf") / file
