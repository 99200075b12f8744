"""Models of the catalogue, built by transformers on the meta device: shapes without numbers."""

import torch
import transformers

from lora_edu import counting

OUR_KEYS = {
    "family", "architectures", "model_type", "position_rows", "qkv_heads", "kv_a_features",
    "kv_b_head_dim",
}  # fmt: skip


def build(name, **changes):
    config = {**counting.catalogue()[name], **changes}
    cls = getattr(transformers, config["architectures"][0])
    config = {key: value for key, value in config.items() if key not in OUR_KEYS}
    with torch.device("meta"):
        return cls(cls.config_class(**config))
