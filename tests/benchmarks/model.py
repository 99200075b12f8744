"""A whole model: its training step, its memory, its words a second, its adapter's files.

    python tests/benchmarks/model.py [--threads 1 2] [--states quiet busy] [--rounds 30]
                                     [--before FILE]

writes ``model.json`` (every sample) and ``model.md`` (the tables) beside this file. ``FILE`` is
another ``_fused.py``, an older one for instance, which is timed beside the others.

The model has the shape of SmolLM2-135M (576 wide, 1536 in between, 9 heads of which 3 for keys and
values), random weights and no biases; LoRA with r = 8 on all its linear layers but the head.
*Step*: 6 layers, 192 tokens, forward and backward, gradients cleared; no optimizer, which would be
the same for all. *Frozen* is the model without LoRA, through which gradients flow as they do with
it: from the outputs of the first layer's three projections on. *Writing*: 30 layers, one token
after the other, with a cache. *Files*: 16 layers of 4096 × 4096 in float32, 1.07 GB, r = 16.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import common
import loralib
import peft
import torch
import transformers
from torch import nn

from lora_edu import adapt, checkpoint
from lora_edu.course.timing import compare
from lora_edu.layers import lora_layers

HERE = Path(__file__).parent
R, ALPHA, TOKENS, WORDS = 8, 16, 192, 24
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def llama(layers, vocabulary=2048):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=vocabulary,
    )
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


def with_other_code(model, path):
    model = copy.deepcopy(model)
    kind = common.other_code(path)
    for layer in lora_layers(model).values():
        layer.__class__ = kind
    return model


def candidates(layers, before):
    base = llama(layers)
    found = {"frozen": frozen(base), "loralib": with_loralib(base), "PEFT": with_peft(base)}
    ours = with_lora(base)
    if before:
        found["before"] = with_other_code(ours, before)
    return found | {"ours": ours}


def steps(models):
    ids = torch.randint(0, 2048, (1, TOKENS))

    def step(model):
        trained = [p for p in model.parameters() if p.requires_grad]

        def run():
            model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
            for parameter in trained:
                parameter.grad = None

        return run

    return {name: step(model.train()) for name, model in models.items()}


def words(models):
    ids = torch.randint(0, 2048, (1, 16))
    how = {"do_sample": False, "min_new_tokens": WORDS, "max_new_tokens": WORDS, "pad_token_id": 0}

    def write(model):
        return lambda: model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **how)

    return {name: write(model.eval()) for name, model in models.items()}


def measure(rounds, before):
    models = candidates(6, before)
    tasks = steps(models)
    found = {"step": common.rounded(compare(tasks, rounds=rounds))}
    found["peak_bytes"] = {name: common.peak_memory(task) for name, task in tasks.items()}
    models = candidates(30, before)
    models["merged"] = copy.deepcopy(models["ours"])
    adapt.merge(models["merged"])
    return found | {"words": common.rounded(compare(words(models), rounds=rounds // 3))}


def files():
    """Return seconds and peak bytes of what is done to an adapter, for ours and PEFT's."""
    sizes = [nn.Linear(4096, 4096, bias=False) for _ in range(16)]
    base = nn.Sequential(*sizes).requires_grad_(False)
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

        pairs = {
            "save": (lambda: checkpoint.save_adapter(ours, one),
                     lambda: theirs.save_pretrained(other)),
            "load": (load_ours, load_theirs),
            "merge": (lambda: adapt.merge(ours), lambda: theirs.merge_adapter()),
            "unmerge": (lambda: adapt.unmerge(ours), lambda: theirs.unmerge_adapter()),
        }  # fmt: skip
        seconds = {name: ([], []) for name in pairs}
        for i in range(6):
            for name, pair in pairs.items():
                for j in (i % 2, (i + 1) % 2):  # each goes first in turn
                    start = time.perf_counter()
                    pair[j]()
                    if i:  # the first round is warm-up
                        seconds[name][j].append(time.perf_counter() - start)
        peaks = {}
        for name, pair in pairs.items():  # what is merged must be unmerged first, and so on
            peaks[name] = [common.peak_memory(function, warm=False) for function in pair]
    return {"seconds": seconds, "peak_bytes": peaks}


def paired(samples, name, than):
    return statistics.median(a / b for a, b in zip(samples[name], samples[than], strict=True))


def table(runs):
    names = [n for n in runs[0]["step"] if n != "frozen"]
    lines = [
        "## A training step",
        "",
        "| state, threads | frozen, ms | " + " | ".join(names) + " | ours / PEFT | frozen / PEFT "
        "| overhead (95 %) |",
        "|---|---|" + "---|" * len(names) + "---|---|---|",
    ]
    for run in runs:
        samples = run["step"]
        cells = [f"{1e3 * statistics.median(samples['frozen']):.0f}"]
        cells += [f"{paired(samples, name, 'frozen'):.3f}" for name in names]
        cells += [f"{paired(samples, name, 'PEFT'):.3f}" for name in ("ours", "frozen")]
        said = ["**{:.2f}** ({:.2f}–{:.2f})".format(*common.overhead(samples))]
        if "before" in samples:
            said = ["{:.2f} ({:.2f}–{:.2f}) →".format(*common.overhead(samples, "before")), *said]
        lines.append(
            f"| {run['state']}, {run['threads']} | " + " | ".join([*cells, " ".join(said)]) + " |"
        )
    peaks = runs[0]["peak_bytes"]
    lines += [
        "",
        "The most that a step holds at once, beyond the model: "
        + ", ".join(f"{name} {peak / 1e6:.1f}" for name, peak in peaks.items())
        + " MB.",
        "",
        f"## Writing, {len(runs[0]['words']['ours'])} rounds",
        "",
        "| state, threads | tokens a second: base | PEFT | "
        + " | ".join(f"speed of {name} / PEFT's (quartiles)" for name in ("ours", "merged"))
        + " |",
        "|---|---|---|---|---|",
    ]
    for run in runs:
        samples = run["words"]
        cells = [f"{WORDS / statistics.median(samples[n]):.1f}" for n in ("frozen", "PEFT")]
        for name in ("ours", "merged"):
            ratios = [b / a for a, b in zip(samples[name], samples["PEFT"], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            cells.append(f"**{middle:.3f}** ({low:.3f}–{high:.3f})")
        lines.append(f"| {run['state']}, {run['threads']} | " + " | ".join(cells) + " |")
    return lines


def table_of_files(found):
    lines = [
        "",
        "## Files and merging, 1.07 GB of weights, one thread, 5 rounds",
        "",
        "Peak: of what torch allocates, beyond the model.",
        "",
        "| | ours, s | PEFT, s | ours / PEFT | peak, MB: ours | PEFT |",
        "|---|---|---|---|---|---|",
    ]
    for name, (ours, theirs) in found["seconds"].items():
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        peaks = " | ".join(f"{peak / 1e6:.0f}" for peak in found["peak_bytes"][name])
        lines.append(
            f"| {name} | {statistics.median(ours):.3f} | {statistics.median(theirs):.3f} "
            f"| {ratio:.2f} | {peaks} |"
        )
    return lines


def write(found):
    """Write what was found, and its tables."""
    lines = [
        "# A whole model, measured",
        "",
        f"Made by `model.py` beside this file, which says what is timed; {found['rounds']} rounds. "
        f"{found['machine']}.",
        "",
        "Times of a step are over that of the frozen model, medians of the ratio within a round; "
        "overhead = (ours − frozen) / (PEFT − frozen). The states are those of "
        "[layers.md](layers.md).",
        "",
        *table(found["runs"]),
        *table_of_files(found["files"]),
    ]
    (HERE / "model.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    (HERE / "model.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--states", nargs="+", choices=common.STATES, default=["quiet", "busy"])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    if options.worker:
        torch.set_num_threads(options.worker)
        print(json.dumps(measure(options.rounds, options.before)))
        return
    where = common.machine()
    passed = ["--rounds", str(options.rounds)]
    passed += ["--before", str(options.before.resolve())] if options.before else []
    runs = common.in_states(__file__, options.states, options.threads, passed)
    torch.set_num_threads(1)
    stored = files()
    write({"machine": where, "rounds": options.rounds, "runs": runs, "files": stored})


if __name__ == "__main__":
    main()
