"""A chat model small enough for tests: four layers, bytes for tokens, a template as SmolLM2's."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, logging

# Its bars for writing go to stderr, where tests count lines: whichever of them runs first.
logging.disable_progress_bar()

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "vocab_size": 259}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}
SIZES |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
SIZES |= {"tie_word_embeddings": True, "initializer_range": 0.2}


def tokenizer(template=TEMPLATE):
    """Return a tokenizer of single bytes, and three special tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    numbers = {token: i for i, token in enumerate([*SPECIAL, *letters])}
    made = Tokenizer(models.BPE(numbers, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    names = dict(zip(("unk_token", "bos_token", "eos_token"), SPECIAL, strict=True))
    fast = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<|im_end|>", **names)
    fast.chat_template = template
    return fast


def llama(folder, template=TEMPLATE, seed=0):
    """Write the model and its tokenizer, as transformers does; return the folder."""
    tokenizer(template).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(folder)
    return folder
