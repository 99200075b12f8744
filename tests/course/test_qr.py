"""An adapter as bytes that fit a QR code."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lora_edu.course import qr
from lora_edu.quantize import NF4


def strips(*layers, r=1, part="self_attn.v_proj", seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {
        f"model.layers.{i}.{part}": (
            torch.randn(r, 576, generator=draw),
            torch.randn(192, r, generator=draw) / 100,
        )
        for i in layers
    }


@given(st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True), st.integers(0, 99))
def test_bytes_hold_what_four_bits_keep(layers, seed):
    adapter = strips(*layers, seed=seed)
    data = qr.packed(adapter)
    assert len(data) == 393 * len(layers)
    found = qr.unpacked(data)
    assert list(found) == list(adapter)
    for name, (A, B) in adapter.items():
        for strip, read in zip((A, B), found[name], strict=True):
            coarse = NF4.quantize(strip, qr.BLOCK).dequantize()
            torch.testing.assert_close(read, coarse, rtol=1e-3, atol=1e-6)  # half-precision maxima


def test_packing_what_was_read_changes_nothing():
    data = qr.packed(strips(3, 29))
    assert qr.packed(qr.unpacked(data)) == data


@pytest.mark.parametrize(
    "adapter", [strips(1, r=2), strips(1, part="self_attn.q_proj"), strips(1, part="mlp.v_proj")]
)
def test_another_adapter_is_refused(adapter):
    with pytest.raises(ValueError, match="adapter must be of rank 1 on v_proj, got model"):
        qr.packed(adapter)


def test_what_has_no_bytes_is_refused():
    with pytest.raises(ValueError, match="at least one layer, got none"):
        qr.packed({})
    with pytest.raises(ValueError, match=r"rank 1 on v_proj, got model\.layers\.300"):
        qr.packed(strips(300))


@pytest.mark.parametrize("data", [b"", b"x" * 392, b"x" * 394])
def test_other_bytes_are_refused(data):
    with pytest.raises(ValueError, match="data must be a multiple of 393 bytes, got"):
        qr.unpacked(data)


def test_seven_layers_fit_and_eight_do_not():
    assert len(qr.packed(strips(*range(7)))) <= qr.HOLDS < len(qr.packed(strips(*range(8))))
