"""Where the time of LoRA goes in a training step of a whole model: part after part is put in.

    python tests/benchmarks/breakdown.py [--rounds 60]

writes ``breakdown.json``, ``breakdown.md`` and ``breakdown.svg`` beside this file. The model, the
step and *frozen* are those of ``model.py``; one thread. Each candidate computes what the one before
it does, and a part more; only the last one computes LoRA, the others are wrong on purpose.
"""

import argparse
import json
from pathlib import Path

import common
import matplotlib as mpl
import matplotlib.pyplot as plt
import model
import numpy as np
import torch

from lora_edu import _fused
from lora_edu.course.timing import compare
from lora_edu.layers import LoRALinear, lora_layers

HERE = Path(__file__).parent
PARTS = {  # candidate → what it computes beyond the one before it
    "inputs": "inputs kept to the end",
    "node": "checks, nodes of autograd",
    "forward": "y += s · x Aᵀ Bᵀ",
    "through": "gradients of h and x",
    "ours": "gradients of A and B",
}


class _Staged(torch.autograd.Function):
    """The node of ``_fused``, with the products of LoRA up to a stage; the rest is left empty."""

    @staticmethod
    def forward(ctx, x, weight, lora_A, lora_B, scaling, stage):
        if stage == "node":
            y = torch.mm(x.reshape(-1, x.shape[-1]), weight.T)
            y, h_t = y.resize_(*x.shape[:-1], len(weight)), lora_A
        else:
            y, h_t = _fused._products(x, weight, None, lora_A, lora_B, scaling)
        ctx.save_for_backward(x, weight, lora_A, lora_B, h_t)
        ctx.scaling, ctx.stage = scaling, stage
        return y

    @staticmethod
    def backward(ctx, grad_output):
        x, weight, lora_A, lora_B, h_t = ctx.saved_tensors
        G = grad_output.reshape(-1, len(weight))
        grad_x, grad_A, grad_B = None, torch.empty_like(lora_A), torch.empty_like(lora_B)
        if ctx.stage == "through":
            grad_h_t = torch.addmm(h_t, lora_B.T, G.T, beta=0, alpha=ctx.scaling)
            if ctx.needs_input_grad[0]:
                grad_x = torch.mm(grad_h_t.T, lora_A).addmm_(G, weight).view(x.shape)
        elif ctx.needs_input_grad[0]:
            grad_x = torch.mm(G, weight).view(x.shape)
        return grad_x, None, grad_A, grad_B, None, None


def staged(ours, stage):
    class Layer(LoRALinear):
        def forward(self, x):
            x, weight, _, lora_A, lora_B = _fused.operands(self, x)
            return _Staged.apply(x, weight, lora_A, lora_B, self.scaling, stage)

    found = model.copy.deepcopy(ours)
    for layer in lora_layers(found).values():
        layer.__class__ = Layer
    return found


def keeping_inputs(frozen):
    """Return a frozen model that holds the inputs of its linear layers, and where it holds them."""
    found, held = model.copy.deepcopy(frozen), []
    for name, layer in found.named_modules():
        if name.rpartition(".")[2] in model.TARGETS:
            layer.register_forward_pre_hook(lambda layer, inputs: held.append(inputs[0]))
    return found, held


def products(base):
    """Return a step's multiply-adds in LoRA and in the frozen layers, and the latter's seconds."""
    thin = large = seconds = 0
    for name, layer in base.named_modules():
        if name.rpartition(".")[2] in model.TARGETS:
            d, k = layer.weight.shape
            thin += 3 * (d + k) * model.R * model.TOKENS
            large += 2 * d * k * model.TOKENS
    for d, k, times in ((576, 576, 2), (192, 576, 2), (1536, 576, 2), (576, 1536, 1)):
        x, G, W = torch.randn(model.TOKENS, k), torch.randn(model.TOKENS, d), torch.randn(d, k)
        pair = {"y": lambda x=x, W=W: x @ W.T, "dx": lambda G=G, W=W: G @ W}
        timings = compare(pair, rounds=15)
        seconds += 6 * times * sum(timings.quartiles(name)[1] for name in pair)
    return thin, large, seconds


def milliseconds(samples, name, than="frozen"):
    """Return the median time beyond another candidate's in the same round, and its interval."""
    more = 1e3 * (np.array(samples[name]) - samples[than])
    draws = np.random.default_rng(0).integers(len(more), size=(2000, len(more)))
    return [float(np.median(more)), *np.quantile(np.median(more[draws], axis=1), [0.025, 0.975])]


def draw(beyond, at_rate, path):
    with mpl.rc_context({"svg.hashsalt": "lora_edu", "font.size": 9}):
        figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
        left, colors = 0.0, plt.get_cmap("viridis")(np.linspace(0.15, 0.85, len(PARTS)))
        for (name, label), color in zip(PARTS.items(), colors, strict=True):
            width = beyond[name][0] - left
            axes.barh("ours", width, left=left, color=color, label=f"{label}: {width:.1f} ms")
            left = beyond[name][0]
        axes.barh("PEFT", beyond["PEFT"][0], color="0.7", label=f"PEFT: {beyond['PEFT'][0]:.1f} ms")
        axes.barh("limit", beyond["inputs"][0], color=colors[0])
        label = f"LoRA's products, as fast as W0's: {at_rate:.1f} ms"
        axes.barh(
            "limit", at_rate, left=beyond["inputs"][0], color="w", ec="k", ls=":", label=label
        )
        axes.set(xlabel="ms in a training step beyond the frozen model", ylim=(2.6, -0.6))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        figure.savefig(path, metadata={"Date": None})


def write(found):
    """Write what was found, its table and its picture."""
    samples, seconds = found["seconds"], found["base"]
    thin, large = found["thin"], found["large"]
    beyond = {name: milliseconds(samples, name) for name in (*PARTS, "PEFT")}
    at_rate = 1e3 * seconds * thin / large
    lines = [
        "# Where the time of LoRA goes",
        "",
        f"Made by `breakdown.py` beside this file, which says what is timed; {found['rounds']} "
        f"rounds, one thread. {found['machine']}.",
        "",
        f"The frozen model takes {1e3 * np.median(samples['frozen']):.0f} ms a step. Its products "
        f"with W0 take {1e3 * seconds:.0f} ms in a loop of their own. LoRA has {thin / large:.1%} "
        f"more multiply-adds: {at_rate:.1f} ms at that rate. That, and inputs kept, is the limit.",
        "",
        "| computed so far | ms beyond the frozen model (95 %) | beyond the line above |",
        "|---|---|---|",
    ]
    before = "frozen"
    for name, label in (PARTS | {"PEFT": "(all of PEFT)"}).items():
        part = (
            ""
            if name == "PEFT"
            else "{:.1f} ({:.1f}–{:.1f})".format(*milliseconds(samples, name, before))
        )
        lines.append("| {} | {:.1f} ({:.1f}–{:.1f}) | {} |".format(label, *beyond[name], part))
        before = name
    draw(beyond, at_rate, HERE / "breakdown.svg")
    (HERE / "breakdown.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    (HERE / "breakdown.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    where = common.machine()
    base = model.llama(6)
    frozen, ours = model.frozen(base), model.with_lora(base)
    keeping, held = keeping_inputs(frozen)
    models = {"frozen": frozen, "inputs": keeping}
    models |= {stage: staged(ours, stage) for stage in ("node", "forward", "through")}
    models |= {"ours": ours, "PEFT": model.with_peft(base)}
    tasks = model.steps(models)
    tasks["inputs"] = lambda step=tasks["inputs"]: (step(), held.clear())
    samples = common.rounded(compare(tasks, rounds=options.rounds))
    thin, large, seconds = products(base)
    made = {"machine": where, "rounds": options.rounds, "seconds": samples}
    write(made | {"thin": thin, "large": large, "base": seconds})


if __name__ == "__main__":
    main()
