"""Folders of at most 10 MB, made to cost time and memory, and what loading each of them costs.

As a program it takes a range of seeds, makes and loads each folder in a process of its own with
limits, and prints its seed, its kind, the seconds of the processor, the MB above what there was,
and what was said. (The real ones in `test_hostile.py` are wrong in other ways, and cost nothing.)
"""

import gc
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from lora_edu.checkpoint import COMMITTED, CONFIG, FILES, WEIGHTS, load_adapter
from lora_edu.layers import is_linear

MOST = 9_900_000
ALLOWED = 980_000  # just within what is allowed for a configuration, or a header
PREFIX = "base_model.model."
PARTS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LARGE = [f"model.layers.{i}.self_attn.{part}" for i in range(126) for part in PARTS]
MARK = "[!?]"  # which no name has


def shapes(model):
    return {n: tuple(m.weight.shape) for n, m in model.named_modules() if is_linear(m)}


def write(folder, fields, tensors=None):
    """Write a configuration, which may be no JSON yet, and tensors."""
    fields = fields if isinstance(fields, bytes) else json.dumps({"peft_type": "LORA"} | fields)
    text = fields if isinstance(fields, bytes) else fields.encode()
    (folder / CONFIG).write_bytes(text[:MOST])
    save_file({PREFIX + name: t for name, t in (tensors or {}).items()}, folder / WEIGHTS)


def factors(model, r):
    found = {}
    for name, (d, k) in shapes(model).items():
        found[f"{name}.lora_A.weight"] = torch.ones(r, k)
        found[f"{name}.lora_B.weight"] = torch.ones(d, r)
    return found


# -- regular expressions ----------------------------------------------------------------------

ATOMS = [
    "a",
    ".",
    r"\w",
    "[a-z]",
    "[^a]",
    "(a|b)",
    "(?:.|..)",
    "q_proj",
    "layers",
    "",
    MARK,
    "(?i)",
]
ATOMS += ["(?=.*)", "(?<=a*)", "(?<!.)", r"\b", "^", "$", "é", "[\0-\U0010ffff]", r"\p{L}", r"\X"]
ATOMS += ["(?R)", "(?1)", "(?P<x>a)", "(?P>x)", r"\1", "(?:ab){e<=3}", r"\L<x>", "(?|a|b)", r"\G"]
ATOMS += ["(?:a*)*", "(?>a+)", "[[a-z]--[b]]", "[[:alpha:]]", "(?b)(?:ab){i<=9}", "(?(1)a|b)"]
REPEATS = [
    "*",
    "+",
    "?",
    "*?",
    "++",
    "{2}",
    "{9}",
    "{100}",
    "{1,99}",
    "{0,1000000}",
    "{99999999999}",
]
SLOW = [
    "(?:.|..|...)",
    r"(?:\w|.|..)",
    "(.|.?)",
    "(?:(?=.*)(?:.|..))",
    r"(\w*.)",
    "(?:.?.?)",
    "(a|b|.)*",
]
SLOW += ["(?:.*.*)", "(?:(?:.?){9}){9}", "[^!]{0,99}", "(?:(.)|(..)|(.))"]
ENDS = [MARK, "(?!.)[!]", "[^a-z._0-9]", r"\B\b", "(?<!.)", "(?=[!?]).*"]


def expression(rng):
    """Return a regular expression that costs much: allowed, just so, or not."""
    how, text = rng.randrange(6), rng.choice(ATOMS)
    if how == 0:  # grown at random
        for _ in range(rng.choice([3, 9, 30, 200])):
            opened = f"({rng.choice(['', '?:', '?=', '?!', '?<='])}"
            grown = [opened + text + ")" + rng.choice(REPEATS), f"{rng.choice(ATOMS)}|{text}"]
            grown += [text + rng.choice(ATOMS) + rng.choice(REPEATS), text[-300:] * 2]
            text = rng.choice(grown)
    elif how == 1:  # repeats of repeats
        for _ in range(rng.randint(2, 12)):
            text = f"(?:{text}){rng.choice(REPEATS)}"
        text *= rng.randint(1, 40)
    elif how == 2:  # deep
        depth = rng.choice([9, 14, 30, 100, 200, 450, 10_000, 200_000])
        opened = rng.choice(["(", "(?:", "(?=", "(?<!", "(a|", "[", "(?:a?"])
        text = (
            opened * depth + "a" + rng.choice([")", ")*", ")+", "){1,}", "){1,2}", ")?|b"]) * depth
        )
    elif how == 3:  # long
        text += rng.choice(["", "", "{99}", "{9999}"])
        text = text * rng.choice([150, 1000, 100_000]) + rng.choice(["", "{99}", MARK])
    elif how == 4:  # it tries each way to cut a name into pieces
        text = "((((" + rng.choice(SLOW) * rng.choice([1, 1, 9]) + "+)+)+)+)+" + rng.choice(ENDS)
    else:
        text = rng.choice(["(?R)", "(?:(?:a{1000}){1000}){1000}", "(?:a{80}){60}", "(?P<a>(?&a))*"])
    return text[:999] if rng.random() < 0.5 else text


def one_pattern(rng, model, folder):
    field = rng.choice(["target_modules", "exclude_modules", "rank_pattern", "alpha_pattern"])
    fields, text = {"target_modules": [next(iter(shapes(model)))], "r": 2}, expression(rng)
    write(folder, fields | {field: {text: 3} if "pattern" in field else text})


def entries(rng, most):
    """Return a dictionary of patterns, as many of a kind as `most` bytes hold, or fewer."""
    many, long = rng.choice([(882, 45), (1900, 45), (100, 970), (300, 300), (900_000, 2)])
    same, found = expression(rng)[: long - 6], {}
    kinds = [lambda i: f"{i:x}".rjust(long, "a"), lambda i: f"(.|..)+{i:x}".rjust(long, "a")]
    kinds += [lambda i: (".1" * long)[: long - 6] + f"{i:x}?"]
    kinds += [lambda i: f"(?:a?b*){{{6000 // long}}}{i:x}", lambda i: f"(?:.*{i:x}.*)+{MARK}"]
    kinds += [lambda i: expression(rng)[: long - 6] + f"|{i:x}", lambda i: f"{same}|{i:x}"] * 2
    kind = rng.choice(kinds)
    for i in range(many):
        key = kind(i)
        most -= len(json.dumps(key)) + 5
        if most < 0:
            break
        found[key] = 3
    return found


def many_patterns(rng, model, folder):
    found = entries(rng, rng.choice([ALLOWED, MOST]))
    fields = {"target_modules": "all-linear", "r": 2}
    fields |= {rng.choice(["rank_pattern", "alpha_pattern"]): found}
    if rng.random() < 0.3:
        fields |= {"rank_pattern": {}, "alpha_pattern": {}}
        for number, key in enumerate(found):
            fields[("rank_pattern", "alpha_pattern")[number % 2]][key] = 3
    write(folder, fields, factors(model, rng.choice([2, 3])))


# -- lists, numbers, JSON -----------------------------------------------------------------------


def names(rng, model, folder):
    some = [name.rpartition(".")[2] for name in shapes(model)]
    long, near = rng.choice([1, 9, 60, 9_000, 900_000, 9_000_000]), rng.choice(some)
    many = min(rng.choice([1, 40, 9_990, 2_000_000]), rng.choice([ALLOWED, MOST]) // (long + 6))
    entry = rng.choice([lambda i: f"{i:x}".zfill(long), lambda i: (near * long)[:long] + f"{i:x}"])
    found = [*map(entry, range(many)), rng.choice([near, "", *some])]
    fields = {"target_modules": some[:1], "r": 2}
    for field in rng.sample(
        ["target_modules", "exclude_modules", "modules_to_save"], rng.choice([1, 3])
    ):
        fields[field] = found
    write(folder, fields, factors(model, 2))


def numbers(rng, model, folder):
    huge = [10**9, 10**400, 10**4299, 1e308, 1e-320, -1, 0, 1000, 1001, 2**63, 300_000]
    fields = {"target_modules": "all-linear", rng.choice(["r", "lora_alpha"]): rng.choice(huge)}
    if rng.random() < 0.4:
        many = rng.choice([1, 9_990, 90_000, 1_200_000])
        layers = [rng.choice([i, 0, 10**30 + i]) for i in range(many)]
        fields |= {"layers_to_transform": layers, "target_modules": PARTS}
    elif rng.random() < 0.5:
        fields["rank_pattern"] = {".*": rng.choice(huge)}
    write(folder, fields, factors(model, rng.choice([1, 8])))


UNITS = ["[]", "{}", '{"":0}', '{"a":[]}', "1e1", "1", '""', "null", "[[[[[]]]]]", '"\U0001f600"']
FIELDS = [
    "new",
    "auto_mapping",
    "target_modules",
    "exclude_modules",
    "modules_to_save",
    "r",
    "use_dora",
]
FIELDS += [
    "rank_pattern",
    "alpha_pattern",
    "layers_to_transform",
    "init_lora_weights",
    "lora_dropout",
]


def much_json(rng, size):
    """Return JSON that takes much more memory than it is long."""
    unit = rng.choice([*UNITS, "9" * 4000, r'"\ud800"'])
    many, how = size // (len(unit.encode()) + 1), rng.random()
    if how < 0.2:
        depth = rng.choice([400, 900, 100_000, size // 6])
        return rng.choice(["[" * depth + "]" * depth, '{"":' * depth + "0" + "}" * depth])
    if how < 0.5:
        keys = range(size // (len(unit.encode()) + 9))
        return f"{{{','.join(f'{chr(34)}{i:x}{chr(34)}:{unit}' for i in keys)}}}"
    return f"[{','.join([unit] * many)}]"


def values(rng, model, folder):
    text = much_json(rng, rng.choice([ALLOWED - 100, MOST]))
    field = f'"{rng.choice(FIELDS)}": {text}'
    whole = f'{{"peft_type": "LORA", "target_modules": "all-linear", {field}}}'
    coding = rng.choice(["utf-8", "utf-8", "utf-16"])
    write(folder, rng.choice([whole] * 9 + [text]).encode(coding, "surrogatepass"))


# -- tensors ------------------------------------------------------------------------------------


def header(rng, size):
    """Return a file of tensors whose header costs more than what it holds."""
    empty, parts, body = '"dtype":"U8","shape":[0],"data_offsets":[0,0]', [], 0
    one = '"dtype":"U8","shape":[1],"data_offsets"'
    kind = rng.choice([
        lambda i: f'"{i:x}":{{{empty}}}',
        lambda i: f'"{i:x}":{{{one}:[{i},{i + 1}]}}',
        lambda i: f'"{i:x}":{{"dtype":"U8","shape":[{"0," * 60}0],"data_offsets":[0,0]}}',
        lambda i: f'"{"x" * 100_000}{i}":{{{empty}}}',
        lambda i: f'"{i:x}":{{"dtype":"F32","shape":[{"[" * 50}{"]" * 50}],"data_offsets":[0,0]}}',
        lambda i: f'"{PREFIX}{i}.base_layer.weight":{{{empty}}}',
        lambda i: '"__metadata__":{' + ",".join(f'"{j}":""' for j in range(size // 12)) + "}",
    ])  # fmt: skip
    while size > 0:
        parts.append(kind(len(parts)))
        size -= len(parts[-1]) + 1
        body += one in parts[-1]
    raw = f"{{{','.join(parts)}}}".encode()[: MOST - 200_000]
    said = rng.choice([len(raw)] * 4 + [2**62])
    return said.to_bytes(8, "little") + raw + bytes(body)


def headers(rng, model, folder):
    write(folder, {"target_modules": "all-linear", "r": 1})
    (folder / WEIGHTS).write_bytes(header(rng, rng.choice([ALLOWED, ALLOWED, MOST])))


def tensors(rng, model, folder):
    """Declare a rank that only lora_A has, or tensors of other types and sizes."""
    name, (d, k) = max(shapes(model).items(), key=lambda item: item[1][0])
    r = rng.choice([max(1000, d, k), MOST // 4 // k, 10**9])
    own = {f"{name}.lora_A.weight": torch.ones(min(r, MOST // 4 // k), k)}
    dtype = rng.choice([torch.int8, torch.float16, torch.complex64, torch.bool])
    weights = {n: p for n, p in model.named_parameters() if n.endswith(".weight")}
    own = rng.choice([
        own,
        own | {f"{name}.lora_B.weight": torch.ones(1, 1)},
        {key: tensor.to(dtype) for key, tensor in own.items()},
        {f"{name}.lora_A.weight": torch.ones(2_000, 1000)},
        {f"{n[:-7]}.base_layer.weight": torch.ones(p.shape) for n, p in weights.items()},
    ])  # fmt: skip
    write(folder, {"target_modules": [name], "r": r, "use_dora": rng.random() < 0.3}, own)


def modules(rng, model, folder):
    """Ask for copies of modules that lie in each other."""
    every = [name for name, _ in model.named_modules() if name]
    last = [name.rpartition(".")[2] for name in every]
    some = rng.choice([[""], every, last, ["", *every], every[:1], list("0123456789abcdefg_")])
    own = factors(model, 2)
    if rng.random() < 0.7:
        own |= {name: tensor.clone() for name, tensor in model.state_dict().items()}
    write(folder, {"target_modules": "all-linear", "r": 2, "modules_to_save": some}, own)


def right(rng, model, folder):
    """An adapter that is right, and has a rank, a variant or patterns that cost much."""
    least = min(min(shape) for shape in shapes(model).values())
    r = rng.choice([1, least, least, 300])
    own, names = factors(model, r), [*shapes(model)]
    fields = {"target_modules": names, "r": r, "use_dora": rng.random() < 0.4}
    if fields["use_dora"]:
        own |= {f"{n}.lora_magnitude_vector": torch.ones(d) for n, (d, _) in shapes(model).items()}
    if rng.random() < 0.5 and r <= least:
        fields["init_lora_weights"] = "pissa"
    if rng.random() < 0.5:
        fields |= {
            "rank_pattern": dict.fromkeys(LARGE, r),
            "alpha_pattern": dict.fromkeys(LARGE, 8),
        }
    if rng.random() < 0.5:
        fields["target_modules"] = names + LARGE
    write(folder, fields, own)


def all_at_once(rng, model, folder):
    """Each part costs as much as it may."""
    slow = rng.choice(["(.|..)+", "(a?)*", "[a-z]?.?"]) * rng.choice([1, 2, 4])
    fields = {"target_modules": "all-linear", "auto_mapping": None, "r": 2}
    fields["rank_pattern"] = {f"{slow}{i:x}{MARK}": 3 for i in range(1900)}
    fields["alpha_pattern"] = {"((((" + rng.choice(SLOW) + "+)+)+)+)+" + rng.choice(ENDS): 3}
    fields["exclude_modules"] = [f"{i:x}" for i in range(9_990)]
    text = json.dumps(fields | {"peft_type": "LORA"})
    junk = much_json(rng, ALLOWED - len(text))
    write(folder, text.replace('"auto_mapping": null', f'"auto_mapping": {junk}').encode())
    (folder / WEIGHTS).write_bytes(header(rng, ALLOWED))


def files(rng, model, folder):
    right(rng, model, folder)
    how, path = rng.randrange(6), folder / rng.choice(FILES)
    if how == 0:
        os.truncate(path, rng.choice([10**10, 10**13]))  # it takes no space on the disk
    elif how == 1:
        for i in range(2000):
            (folder / f"{i}").write_bytes(b"")
    elif how == 2:
        path.unlink()
        path.symlink_to(rng.choice(["/dev/zero", "/proc/self/mem", "/proc/self/maps", path.name]))
    elif how == 3:
        (folder / COMMITTED).mkdir()
        os.truncate(shutil.copy(folder / CONFIG, folder / COMMITTED), MOST)
    elif how == 4:
        path.unlink()
        os.mkfifo(path)
    else:
        content = bytearray(path.read_bytes())
        for _ in range(rng.choice([1, 9, 99])):
            content[rng.randrange(min(len(content), 5000))] = rng.randrange(256)
        path.write_bytes(content)


KINDS = [one_pattern, many_patterns, names, values, headers, tensors, all_at_once, right]
KINDS += [one_pattern, many_patterns, numbers, values, headers, modules, all_at_once, files]


# -- what it costs ------------------------------------------------------------------------------


def tiny():
    """Return a network whose layers are called as those of a Llama."""
    torch.manual_seed(0)
    layers = nn.ModuleList()
    for _ in range(4):
        own = {part: nn.Linear(32, 32) for part in PARTS} | {"down_proj": nn.Linear(48, 32)}
        layers.append(nn.ModuleDict({"self_attn": nn.ModuleDict(own)}))
    return nn.ModuleDict(
        {"model": nn.ModuleDict({"layers": layers}), "lm_head": nn.Linear(32, 300)}
    )


def peak():
    """Return the most MB that this process has used since it last said so."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e3


def load(model, folder, memory):
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # what was the most is forgotten
    before, start, wall = peak(), time.process_time(), time.monotonic()
    try:
        load_adapter(model, folder)
        said = "loaded"
    except ValueError as error:
        said = str(error).removeprefix(f"{folder}/")
    seconds, wall = time.process_time() - start, time.monotonic() - wall
    print(f"{seconds:.2f} {wall:.2f} {peak() - before:.0f} {said[:200]}", flush=True)


def in_a_child(action, *arguments):
    """Do something in a process of its own; return how that ended, 0 if well."""
    sys.stdout.flush()
    if child := os.fork():
        return os.waitpid(child, 0)[1]
    try:
        action(*arguments)
        os._exit(0)
    except BaseException as error:
        print(type(error).__name__, error, flush=True)
        os._exit(1)


def main(first, last, build=tiny, memory=4 * 10**9):
    torch.set_num_threads(1)
    model = build()
    for seed in range(first, last):
        kind = KINDS[seed % len(KINDS)]
        with tempfile.TemporaryDirectory() as folder:
            if in_a_child(kind, random.Random(seed), model, Path(folder)):
                raise RuntimeError(f"seed {seed}: no folder was made")
            print(seed, kind.__name__, end=" ", flush=True)
            if ended := in_a_child(load, model, folder, memory):
                print(f"99 99 9999 killed: {ended}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
