"""A whole model: its training step, its words a second, its adapter's files.

    python tests/benchmarks/model.py [--threads 1 2] [--rounds 30]

writes its rows of the table in README.md beside this file.

The model has the shape of SmolLM2-135M (576 wide, 1536 in between, 9 heads of which 3 for keys and
values), random weights and no biases; LoRA with r = 8 on all its linear layers but the head.
*Step*: 6 layers, 192 tokens, forward and backward, gradients cleared; no optimizer, which would be
the same for all. *Frozen* is the model without LoRA, through which gradients flow as they do with
it: from the outputs of the first layer's three projections on. *Writing*: 30 layers, 24 tokens, one
after the other, with a cache; *merged* stands there in place of ours. *Files*: 16 layers of
4096 × 4096 in float32, 1.07 GB, r = 16, one thread.
"""

import copy
import tempfile
import warnings

import layers as shared
import loralib
import peft
import torch
import transformers
from torch import nn

from lora_edu import adapt, checkpoint
from lora_edu.course.timing import compare
from lora_edu.layers import lora_layers

R, ALPHA, TOKENS, WORDS = 8, 16, 192, 24
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def llama(layers):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=layers, num_attention_heads=9,
        num_key_value_heads=3, vocab_size=2048,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).requires_grad_(False)


def with_lora(base):
    config = adapt.LoraConfig(target_modules=TARGETS, r=R, lora_alpha=ALPHA)
    model = adapt.add_lora(copy.deepcopy(base), config)
    for layer in lora_layers(model).values():
        nn.init.normal_(layer.lora_B, std=0.01)
    return model


def with_peft(base):
    config = peft.LoraConfig(target_modules=TARGETS, r=R, lora_alpha=ALPHA)
    model = peft.get_peft_model(copy.deepcopy(base), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.01)
    return model


def with_loralib(base):
    model = copy.deepcopy(base)
    for name, linear in list(model.named_modules()):
        if name.rpartition(".")[2] in TARGETS:
            sizes = linear.in_features, linear.out_features
            layer = loralib.Linear(*sizes, r=R, lora_alpha=ALPHA, bias=False, merge_weights=False)
            layer.weight = linear.weight
            model.set_submodule(name, layer)
    return model


def frozen(base):
    """Return a copy through which gradients flow from where they flow with LoRA."""
    model = copy.deepcopy(base)
    for name in TARGETS[:3]:
        first = model.model.layers[0].self_attn.get_submodule(name)
        first.register_forward_hook(lambda layer, inputs, output: output.requires_grad_())
    return model


def candidates(layers):
    base = llama(layers)
    return {
        "frozen": frozen(base),
        "loralib": with_loralib(base),
        "PEFT": with_peft(base),
        "ours": with_lora(base),
    }


def step(model):
    ids = torch.arange(TOKENS)[None]
    trained = [p for p in model.train().parameters() if p.requires_grad]

    def run():
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        for parameter in trained:
            parameter.grad = None

    return run


def writing(model):
    model.eval()
    ids = torch.arange(16)[None]
    how = {"do_sample": False, "min_new_tokens": WORDS, "max_new_tokens": WORDS, "pad_token_id": 0}
    return lambda: model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **how)


def files(rounds):
    """Time what is done to an adapter's file and to merge it, for ours and PEFT's."""
    base = nn.Sequential(*[nn.Linear(4096, 4096, bias=False) for _ in range(16)])
    base.requires_grad_(False)
    names = [str(i) for i in range(16)]
    ours = adapt.add_lora(
        copy.deepcopy(base), adapt.LoraConfig(target_modules=names, r=16, lora_alpha=16)
    )
    theirs = peft.get_peft_model(base, peft.LoraConfig(target_modules=names, r=16, lora_alpha=16))
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:

        def load_ours():
            checkpoint.load_adapter(adapt.unload(ours), one)

        def load_theirs():
            nonlocal theirs
            theirs = peft.PeftModel.from_pretrained(theirs.unload(), other)

        def merge_ours():
            adapt.merge(ours)
            adapt.unmerge(ours)

        def merge_theirs():
            theirs.merge_adapter()
            theirs.unmerge_adapter()

        pairs = {
            "save": (lambda: checkpoint.save_adapter(ours, one),
                     lambda: theirs.save_pretrained(other)),
            "load": (load_ours, load_theirs),
            "merge and unmerge": (merge_ours, merge_theirs),
        }  # fmt: skip
        return {
            name: compare({"ours": mine, "PEFT": pefts}, rounds=rounds).seconds
            for name, (mine, pefts) in pairs.items()
        }


def measure(options):
    """Time all of it; return what is timed → seconds of each candidate."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    models = candidates(6)
    found = {"step": compare({n: step(m) for n, m in models.items()}, options.rounds).seconds}
    models = candidates(30)
    merged = copy.deepcopy(models["ours"])
    adapt.merge(merged)
    tasks = {name: writing(model) for name, model in models.items()}
    seconds = compare(tasks | {"merged": writing(merged)}, max(5, options.rounds // 3)).seconds
    found["writing"] = seconds
    found["writing, merged"] = {"PEFT": seconds["PEFT"], "ours": seconds["merged"]}
    if options.threads == [1]:
        found |= files(max(5, options.rounds // 5))
    return found


def main():
    rows, rounds = [], 0
    for threads, found in shared.measured(__file__, measure).items():
        rows += [shared.table_row(f"model, {w}", threads, s) for w, s in found.items()]
        rounds = len(found["step"]["ours"])
    shared.record("model", rows, rounds)


if __name__ == "__main__":
    main()
