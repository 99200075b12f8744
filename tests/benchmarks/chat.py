"""A chat model that writes: the base, an adapter beside it, merged into it, and PEFT's.

    python tests/benchmarks/chat.py [--rounds 7] [--tokens 48]

writes ``chat.json`` (every sample) and ``chat.md`` (the table) beside this file. One thread; the
likeliest tokens, always as many; the adapter that ships as "pirate". Needs the asset smollm2.
"""

import argparse
import copy
import json
import resource
import statistics
import time
import warnings
from pathlib import Path

import peft
import torch

from lora_edu import adapt, chat, checkpoint
from lora_edu.course.timing import compare

HERE = Path(__file__).parent
QUESTION = "Tell me about the sea."


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=48)
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    model, tokenizer = chat.load()
    load = time.perf_counter() - start
    where = chat.SHIPPED / "pirate"
    start = time.perf_counter()
    voice = chat.adapter(model, where)
    attach = time.perf_counter() - start
    apart = checkpoint.load_adapter(copy.deepcopy(model), where).eval()
    merged = adapt.merge_and_unload(checkpoint.load_adapter(copy.deepcopy(model), where)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT's, about transformers 6
        theirs = peft.PeftModel.from_pretrained(copy.deepcopy(model), where).eval()
    said = [{"role": "user", "content": QUESTION}]
    text = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, return_tensors="pt")["input_ids"]

    def write(speaker):
        n = options.tokens
        how = {"do_sample": False, "max_new_tokens": n, "min_new_tokens": n}
        mask = torch.ones_like(ids)
        speaker.generate(input_ids=ids, attention_mask=mask, pad_token_id=2, eos_token_id=2, **how)

    def row_of_a_batch():
        with chat.speaking(model, [voice]):
            write(model)

    candidates = {
        "base": lambda: write(model),
        "merged": lambda: write(merged),
        "apart (load_adapter)": lambda: write(apart),
        "apart (speaking)": row_of_a_batch,
        "PEFT": lambda: write(theirs),
    }
    timings = compare(candidates, options.rounds)
    found = {
        "tokens": options.tokens,
        "load": round(load, 2),
        "adapter": round(attach, 3),
        "peak_GiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "seconds": {n: [round(s, 4) for s in each] for n, each in timings.seconds.items()},
    }
    (HERE / "chat.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    lines = ["| | tokens a second | time / base: quartiles |", "|---|---|---|"]
    for name, seconds in timings.seconds.items():
        speed = options.tokens / statistics.median(seconds)
        low, middle, high = timings.ratio(name, "base")
        lines.append(f"| {name} | {speed:.1f} | {middle:.3f} ({low:.3f}–{high:.3f}) |")
    head = (
        f"# Writing {options.tokens} tokens with SmolLM2-135M, one thread\n\n"
        "Written by `chat.py`; medians, and the ratio within each of "
        f"{options.rounds} rounds.\n\n"
    )
    tail = f"\nTo load the model, its hash checked: {load:.1f} s; an adapter: {attach:.2f} s.\n"
    (HERE / "chat.md").write_text(head + "\n".join(lines) + "\n" + tail, encoding="utf-8")
    print((HERE / "chat.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
