"""A voice in the bytes of a QR code, or of a link: an adapter of rank 1, four bits a number.

A code of the largest size (version 40, error correction L) holds 2,953 bytes.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lora_edu import chat
from lora_edu.course import language
from lora_edu.quantize import NF4

HOLDS = 2953
D, K = 192, 576  # outputs and inputs of v_proj of SmolLM2-135M
BLOCK = 192  # numbers that share a largest value: a third of A, and all of B
PLACE = re.compile(r"model\.layers\.(\d\d?)\.self_attn\.v_proj")
LAYERS = (14, 17, 20, 22, 24, 26, 28)  # chosen in qr_voice_tuning
RECIPE = {"first": LAYERS[0], "layers": LAYERS, "modules": ("v_proj",)}
RECIPE |= {"r": 1, "lora_alpha": 2, "size": 4}


def taught(
    rows: Sequence[language.Pair], seed: int, lr: float = 1e-2, steps: int = 40,
    recipe: Mapping[str, Any] = RECIPE,
) -> chat.Adapter:  # fmt: skip
    """Return strips that learned questions and answers, of a shape that :func:`packed` takes."""
    return language.taught(rows, lr, seed, {**recipe, "steps": steps})


def packed(adapter: chat.Adapter) -> bytes:
    """Return an adapter of rank 1 on v_proj as bytes, layer by layer.

    Of each the number of the layer, a byte; then A and B in NF4: the codes, two in a byte, and the
    largest value of each 192 numbers in half precision. A ValueError for any other adapter.
    """
    if not adapter:
        raise ValueError("adapter must have at least one layer, got none")
    found = []
    for name, (A, B) in adapter.items():
        layer = PLACE.fullmatch(name)
        if layer is None or A.numel() != K or B.numel() != D:
            raise ValueError(f"adapter must be of rank 1 on v_proj, got {name} of rank {len(A)}")
        found.append(bytes([int(layer[1])]))
        for strip in (A, B):
            four = NF4.quantize(strip, BLOCK)
            found += [four.codes.numpy().tobytes(), four.maxima.half().numpy().tobytes()]
    return b"".join(found)


def as_text(data: bytes) -> str:
    """Return bytes in letters that an address may hold: base64url, without its padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unpacked(data: bytes) -> chat.Adapter:
    """Return the adapter that :func:`packed` made bytes of.

    A ValueError if that cannot be.
    """
    long = {n: n // 2 + n // BLOCK * 2 for n in (D, K)}  # number → bytes of a strip
    step = 1 + long[K] + long[D]
    if not data or len(data) % step:
        raise ValueError(f"data must be a multiple of {step} bytes, got {len(data)}")
    adapter = {}
    for i in range(0, len(data), step):
        A = _strip(data[i + 1 : i + 1 + long[K]], K)
        B = _strip(data[i + 1 + long[K] : i + step], D)
        adapter[f"model.layers.{data[i]}.self_attn.v_proj"] = (A[None, :], B[:, None])
    return adapter


def _strip(data: bytes, n: int) -> torch.Tensor:
    codes = torch.frombuffer(bytearray(data[: n // 2]), dtype=torch.uint8)
    maxima = torch.frombuffer(bytearray(data[n // 2 :]), dtype=torch.float16).float()
    none = maxima.new_empty(0)
    return NF4(codes, maxima, none, none, torch.Size([n]), torch.float32, BLOCK).dequantize()
