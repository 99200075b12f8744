"""Hostile input, generated: the right result, or one sentence and nothing changed.

Four kinds: folders, configurations, models, and what is done to a model afterwards. What is right
is said by PEFT, or by the equation in float64. Reading never changes a folder.
"""

import copy
import json
import math
import os
import random
import re
import subprocess
import sys
import types
import warnings
from collections import Counter, OrderedDict
from pathlib import Path

import peft
import pytest
import seen
import torch
from helpers import attempt, scramble
from safetensors.torch import load_file, save_file
from tiny_net import X, tiny_net
from torch import nn
from torch.nn.utils import prune
from transformers.pytorch_utils import Conv1D

from lora_edu import adapt, checkpoint, variants
from lora_edu.adapt import LoraConfig, add_lora
from lora_edu.checkpoint import COMMITTED, CONFIG, FILES, SAVING, WEIGHTS
from lora_edu.layers import LoRALinear
from lora_edu.variants import DoRALinear

# Of torch: on widths of 0, the old weight_norm, complex modules.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors"),
    pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Complex modules are a new feature"),
]
PREFIX = "base_model.model."


def add(model, fields):
    return add_lora(model, LoraConfig(**fields))


def close(ours, expected, dtype=torch.float32):
    """Whether two lists of outputs agree to rounding in ``dtype``, relative to their size."""
    for own, other in zip(ours, expected, strict=True):
        wide = torch.complex128 if own.is_complex() else torch.float64
        own, other = own.detach().to(wide), other.detach().to(wide)
        size = 1 + (other.abs().max() if other.numel() else 0)
        if own.shape != other.shape or not ((own - other).abs() <= 32 * eps(dtype) * size).all():
            return False
    return True


def eps(dtype):
    return torch.finfo(dtype).eps


# -- folders ----------------------------------------------------------------------------------

DTYPES = [torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float8_e8m0fnu]
DTYPES += [torch.float64, torch.bfloat16, torch.float16, torch.uint16, torch.int64]
WORDS = ["a", "x\ny", "\x1b[31m", "é" * 9, "n" * 5000, "", "a.lora_A.weight", "__metadata__ "]


def flat_net():
    torch.manual_seed(0)
    layers = {"a": nn.Linear(4, 5), "norm": nn.BatchNorm1d(5), "b": nn.Linear(5, 3)}
    return nn.Sequential(OrderedDict(layers)).eval()


def saved_adapter(folder, seed):
    fields = {"target_modules": ["a", "b"], "r": 2, "lora_alpha": 6}
    if seed % 2:
        fields["modules_to_save"] = ["norm"]
    checkpoint.save_adapter(scramble(add(flat_net(), fields), seed), folder)


def other_tensor(rng, folder):
    """Give one tensor, or all, other numbers, another type or another shape."""
    tensors = load_file(folder / WEIGHTS)
    dtype, factor = rng.choice(DTYPES), rng.choice([math.nan, math.inf, -math.inf, 1e300])
    changes = [lambda old: old * 2, lambda old: old.double() * factor]
    changes += [lambda old: old.abs().to(dtype)] * 2
    changes += [torch.flatten, lambda old: old[None], lambda old: torch.stack([old] * 2)]
    changes += [lambda old: torch.ones(rng.choice([(), 0]))]
    change, keys = rng.choice(changes), sorted(tensors)
    for key in rng.choice([keys, [rng.choice(keys)]]):
        tensors[key] = change(tensors[key])
    save_file(tensors, folder / WEIGHTS)


def other_keys(rng, folder):
    """Write a tensor under two keys, too many, too few, or all without PEFT's prefix."""
    tensors = load_file(folder / WEIGHTS)
    key, how = rng.choice(sorted(tensors)), rng.randrange(4)
    if how == 0:
        tensors[key.removeprefix(PREFIX)] = tensors[key] + rng.randint(0, 1)
    elif how == 1:
        new = rng.choice(["", PREFIX]) + rng.choice(WORDS)
        tensors[new] = torch.ones(rng.choice([(), (2, 4)]))
    elif how == 2:
        del tensors[key]
    else:
        tensors = {key.removeprefix(PREFIX): tensor for key, tensor in tensors.items()}
    save_file(tensors, folder / WEIGHTS)


def other_bytes(rng, folder):
    path = folder / rng.choice(FILES)
    content = bytearray(path.read_bytes())
    how = rng.randrange(5)
    if how == 0:
        content = content[: rng.randrange(len(content))]
    elif how == 1:
        content += rng.randbytes(rng.randint(1, 20))
    else:
        for _ in range(rng.choice([1, 1, 5])):
            content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content)
    if how == 2:  # said to be far larger than memory; where there are such files, it takes no space
        os.truncate(path, 10**13)


def hostile_header(rng, folder):
    key = f"{PREFIX}a.lora_A.weight"
    own = {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}
    changes = [{"dtype": rng.choice(["F4", "F8_E8M0", "X", "", "C64", "U64", 7])}]
    changes += [{"shape": rng.choice([[1] * 99, [0, 2**62], [2**63], [-1], [2.5]])}]
    changes += [{"data_offsets": rng.choice([[32, 0], [0, 2**63], [0], [1, 33], None])}]
    header = json.dumps({key: own | rng.choice(changes)})
    raw = rng.choice([header, header, "[" * 10**5, "\ud800"]).encode("utf-8", "surrogatepass")
    size = rng.choice([len(raw), len(raw), len(raw), 2**63, 0])
    (folder / WEIGHTS).write_bytes(size.to_bytes(8, "little") + raw + bytes(32))


def hostile_json(rng, folder):
    text = (folder / CONFIG).read_text()
    inside = text.strip().removesuffix("}").rstrip()
    number = rng.choice(["NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "9" * 5000, "-0.0"])
    added = [f'"lora_alpha": {number}', f'"r": {number}', '"lora_alpha": 3', '"r": 3, "r": 2']
    added += [f'"{rng.choice(["new", "a b", "é", "r "])}": {rng.choice(["[[]]", "1"])}']
    texts = [f"{inside}, {field}}}" for field in added]
    texts += ["[" * 10**5, '{"a":' * 10**5, "", "[]", "null", '"LORA"', "7", text + "}", text * 2]
    coding = rng.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32-be"])
    end = rng.choice([b"", b"", b"", b"\xff", b"\0"])
    (folder / CONFIG).write_bytes(rng.choice(texts).encode(coding) + end)


NO_FILES = [
    Path.mkdir,
    os.mkfifo if hasattr(os, "mkfifo") else Path.mkdir,
    lambda path: path.write_text("mine"),
    lambda path: path.symlink_to("nothing"),
    lambda path: path.symlink_to(path.name),
    lambda path: path.symlink_to(path.parent),
    lambda path: path.symlink_to("/dev/zero"),
]


def something_else(rng, folder):
    """Put a link, or what others or a killed save may leave, in the place of what is ours."""
    path = folder / rng.choice([*FILES, COMMITTED, SAVING])
    aside = folder.parent / f"aside-{path.name}"
    how = rng.randrange(5)
    if path.name in FILES:
        path.rename(aside)
    elif how > 1:  # what a killed save, or somebody else, leaves there
        path.mkdir()
        if how != 3:
            saved_adapter(path, rng.randrange(99))
        if how != 2:
            (path / rng.choice([".tmpAbC", "mine.txt"])).write_bytes(bytes(99))
        return
    if how == 0 and path.name in FILES:  # as in the cache of Hugging Face: all is well, elsewhere
        path.symlink_to(rng.choice([aside, f"../{aside.name}"]))
    elif how == 1:
        rng.choice(NO_FILES)(folder.parent / "other")
        path.symlink_to(folder.parent / "other")
    else:
        rng.choice(NO_FILES)(path)


# A damage that leaves nothing to read comes after those that read.
DAMAGES = [other_tensor, other_tensor, other_keys, other_keys, other_bytes, other_bytes]
DAMAGES += [hostile_header, hostile_json, hostile_json, *[something_else] * 3]


def file_in(folder, name):
    committed = folder / COMMITTED / name
    return committed if committed.is_file() else folder / name


def by_the_equation(folder):
    """Return the outputs that the files mean, in float64, by other code than ours."""
    config = json.loads(file_in(folder, CONFIG).read_bytes())
    tensors = load_file(file_in(folder, WEIGHTS))
    tensors = {key.removeprefix(PREFIX): tensor for key, tensor in tensors.items()}
    net, scaling = flat_net().double(), config["lora_alpha"] / config["r"]
    with torch.no_grad():
        for name in ("a", "b"):
            A, B = (tensors.pop(f"{name}.lora_{side}.weight").double() for side in "AB")
            net.get_submodule(name).weight += scaling * (B @ A)
        for key, tensor in tensors.items():
            net.state_dict()[key].copy_(tensor)
        return net(X.double())


def check_folder(seed, root):
    """Damage a folder once or twice, then load and save: each is right, or refused."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("makes FIFOs and links")
    rng = random.Random(seed)
    folder = root / "adapter"
    folder.mkdir(parents=True)
    saved_adapter(folder, seed)
    drawn = sorted(rng.sample(range(len(DAMAGES)), rng.choice([1, 1, 2])))
    for number in drawn:
        try:
            DAMAGES[number](rng, folder)
        except Exception:  # the first one has left nothing that this one could damage
            assert len(drawn) == 2
    model = flat_net()
    model.a.weight.requires_grad_(False)  # a state of its own to come back to
    there = seen.of_folder(folder)
    loaded, said = attempt(checkpoint.load_adapter, model, folder)
    assert seen.of_folder(folder) == there
    if not said:
        assert close([loaded(X)], [by_the_equation(folder)])
    check_save(folder, there, rng)
    return "refused" if said else "equal"


def check_save(folder, there, rng):
    """Save into the folder: then it is there, and nothing of others is lost; or nothing changed."""
    new = add(flat_net(), {"target_modules": ["a"], "r": 1, "lora_alpha": rng.randint(1, 9)})
    nn.init.ones_(new.a.lora_B)
    _, said = attempt(checkpoint.save_adapter, new, folder)
    left, ours = seen.of_folder(folder), {*FILES, COMMITTED, SAVING}
    if said:
        assert left == there, said
        return
    assert torch.equal(checkpoint.load_adapter(flat_net(), folder)(X), new(X))
    for place in (COMMITTED, SAVING):
        ours.update(f"{place}/{name}" for name in (*FILES, ".tmpAbC"))
    assert all(left[name] == own for name, own in there.items() if name not in ours)


# -- configurations ---------------------------------------------------------------------------


ANY = [-1, 0, 1, 3, 10**9, 10**400, 2.0, 2.5, -0.5, 1e-300, 1e300, math.nan, math.inf, True, False]
ANY += [None, "", "query", "head", ".*query", "all-linear", "(", "(?i).*QUERY", "a" * 999, ")|("]
ANY += ["(?x)query #", "true", "pissa", "none", "LORA", "x\ny", [], {}, [1], [0, 1], ["query"]]
ANY += [[None], ["query", "head"], {"query": 3}, {"query": "3"}, {"(": 1}, {"value": 2.5}]
ANY += [{"a": {}}, {1: 2}]
PEFTS_FIELDS = sorted(peft.LoraConfig.__dataclass_fields__)
OUR_FIELDS = sorted(LoraConfig.__dataclass_fields__)


def check_config(seed, folder):
    """Write a value into any field of a file of PEFT's: what loads has PEFT's outputs."""
    rng = random.Random(seed)
    model = add(tiny_net(), {"target_modules": ["query"], "r": 2, "lora_alpha": 6})
    checkpoint.save_adapter(scramble(model, seed), folder)
    some = rng.sample(rng.choice([PEFTS_FIELDS, OUR_FIELDS]), rng.choice([1, 1, 2]))
    fields = json.loads((folder / CONFIG).read_text()) | {name: rng.choice(ANY) for name in some}
    (folder / CONFIG).write_text(json.dumps(fields))
    there = seen.of_folder(folder)
    loaded, said = attempt(checkpoint.load_adapter, tiny_net(), folder)
    assert seen.of_folder(folder) == there
    if said:
        return "refused"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs = peft.PeftModel.from_pretrained(tiny_net(), str(folder)).eval()(X)
        except Exception:
            return "ours alone"
    assert close([loaded(X)], [theirs]), (folder / CONFIG).read_text()
    return "equal"


# -- models -----------------------------------------------------------------------------------


class Packed(nn.Linear):
    """A subclass whose weight is packed, as bitsandbytes has it."""

    def __init__(self, k, d):
        super().__init__(k, d)
        codes = torch.zeros((k * d + 1) // 2, 1, dtype=torch.uint8)
        self.weight = nn.Parameter(codes, requires_grad=False)

    def forward(self, x):
        return nn.functional.linear(x, x.new_ones(self.out_features, self.in_features), self.bias)


class OwnLinear(nn.Module):
    def __init__(self, k, d):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(k, d))

    def forward(self, x):
        return x @ self.matrix


def changed(change):
    """Return a function that builds a linear layer, and changes it."""

    def build(k, d):
        layer = nn.Linear(k, d)
        change(layer)
        return layer

    return build


def bound(layer):
    return types.MethodType(nn.Linear.forward, layer)  # a copy of it is bound to the copy


LEAVES = {
    "plain": nn.Linear,
    "without bias": lambda k, d: nn.Linear(k, d, bias=False),
    "Conv1D": lambda k, d: Conv1D(d, k),
    "float64": changed(nn.Linear.double),
    "bfloat16": changed(nn.Linear.bfloat16),
    "float16": changed(nn.Linear.half),
    "hook": changed(lambda layer: layer.register_forward_hook(lambda *_: None)),
    "hook before": changed(lambda layer: layer.register_forward_pre_hook(lambda *_: None)),
    "another forward": changed(lambda layer: setattr(layer, "forward", bound(layer))),
    "row of zeros": changed(lambda layer: nn.init.zeros_(layer.weight[:1])),
    "pruned": changed(lambda layer: prune.random_unstructured(layer, "weight", 0.3)),
    "weight_norm": changed(nn.utils.weight_norm),
    "parametrized": changed(nn.utils.parametrizations.weight_norm),
    "subclass": type("Subclass", (nn.Linear,), {}),
    "packed": Packed,
    "called Linear": type("Linear", (OwnLinear,), {}),
    "called Conv1D": type("Conv1D", (OwnLinear,), {}),
    "complex": lambda k, d: nn.Linear(k, d, dtype=torch.complex64),
    "float8": changed(lambda layer: layer.to(torch.float8_e4m3fn)),
    "meta": lambda k, d: nn.Linear(k, d, device="meta"),
}
COMMON = list(LEAVES)[:10]
CANNOT_RUN = ("complex", "float8", "meta")  # real inputs through a product on this machine


class Tree(nn.Module):
    """Layers in nested containers; its outputs are those of each layer, for an input of its own."""

    def __init__(self, seed):
        super().__init__()
        rng = random.Random(seed)
        torch.manual_seed(seed)
        self.body, self.kinds, self.widths, self.weight = nn.ModuleDict(), {}, {}, 7.0
        kinds = COMMON if rng.random() < 0.6 else list(LEAVES)
        for number in range(rng.randint(1, 5)):
            k, d = (rng.choice([0, 1, 1, 2, 3, 5, 8]) for _ in "kd")
            kind = rng.choice(kinds) if k and d else "plain"
            name = f"{rng.choice('qvo')}{number}"
            inner = nn.ModuleDict({name: LEAVES[kind](k, d)})
            box = nn.Sequential(inner) if rng.random() < 0.5 else nn.ModuleList([inner])
            self.body[f"box{number}"] = box
            self.kinds[f"body.box{number}.0.{name}"] = kind
            self.widths[f"body.box{number}.0.{name}"] = k
        self.tie(rng.choice(["", "", "block", "layer", "weight", "data"]))
        self.merge = "an attribute"
        self.train(rng.random() < 0.3)

    def tie(self, how):
        """Share a block, a layer or a weight, in some of the models."""
        first = next(iter(self.kinds))
        leaf = self.get_submodule(first)
        if how == "block":
            self.body["again"] = self.body["box0"]
        elif how == "layer":
            self.body["again"] = leaf
        elif how and self.kinds[first] in COMMON[:6] and leaf.weight.numel():
            self.table = nn.Embedding(*leaf.weight.shape, dtype=leaf.weight.dtype)
            self.table.weight = leaf.weight
            if how == "data":
                self.table.weight = nn.Parameter(leaf.weight.data)

    def inputs(self):
        """Return an input for each layer that can run; it depends on its name and its width."""
        found = {}
        for name, kind in self.kinds.items():
            if kind not in CANNOT_RUN:
                generator = torch.Generator().manual_seed(len(name) + self.widths[name])
                x = torch.randn(3, self.widths[name], generator=generator)
                found[name] = x.to(getattr(torch, kind)) if "float" in kind else x
        return found

    def forward(self):
        outputs = [self.get_submodule(name)(x) for name, x in self.inputs().items()]
        if hasattr(self, "table"):
            outputs.append(self.table.weight.detach().clone())
        return outputs


def choose(rng, tree):
    """Return a configuration for some of the layers."""
    names = list(tree.kinds)
    some = rng.sample(names, rng.randint(1, len(names)))
    wanted = [some, "all-linear", "|".join(map(re.escape, some)), [names[0].split(".")[-1]]]
    fields = {"target_modules": rng.choice(wanted), "r": rng.choice([1, 2, 4, 9])}
    fields |= {"lora_alpha": rng.choice([0.5, 4, 7]), "use_rslora": rng.random() < 0.3}
    if rng.random() < 0.25:
        fields["use_dora"] = True
    elif rng.random() < 0.2:
        fields["init_lora_weights"] = "pissa"
    return LoraConfig(**fields)


@torch.no_grad()
def expected_outputs(model, base):
    """Return what the equation says, in float64, of a model, from its layers before LoRA."""
    outputs = base()
    for number, (name, x) in enumerate(base.inputs().items()):
        layer, old = model.get_submodule(name), base.get_submodule(name)
        lora = getattr(layer, "lora", layer)
        if not isinstance(lora, LoRALinear):
            continue
        x, y = x.double(), outputs[number].double()
        delta = lora.scaling * lora.lora_B.double() @ lora.lora_A.double()
        outputs[number] = y + x @ delta.T
        if isinstance(layer, DoRALinear):  # the base as a matrix, whatever it is made of
            W0 = old.weight.double()
            V = (W0.T if isinstance(old, Conv1D) else W0) + delta
            norm = V.norm(dim=1)
            unit = V / norm.where(norm > 0, 1)[:, None]
            bias = 0 if old.bias is None else old.bias.double()
            outputs[number] = x @ (layer.magnitude.double()[:, None] * unit).T + bias
    return outputs


def check_model(seed, folder):
    """Add, compute, save, load, merge, unmerge, count, unload: each right, or refused."""
    rng = random.Random(seed)
    model = Tree(seed)
    config = choose(rng, model)
    plain = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    kinds = {*model.kinds.values()}
    low = torch.float16 if "float16" in kinds else torch.float32
    dtype = torch.bfloat16 if "bfloat16" in kinds else low
    with torch.no_grad():
        first = model()
    _, said = attempt(add_lora, model, config)
    if said:
        return "refused"
    assert close(model(), first, dtype)
    assert [y.dtype for y in model()] == [y.dtype for y in first]
    if config.init_lora_weights == "pissa":
        _, said = attempt(adapt.merge_and_unload, model)
        assert close(model(), first, dtype)
        return "equal, not merged" if said else "equal"
    scramble(model, seed)
    doras = [m.scale() for m in model.modules() if isinstance(m, DoRALinear)]
    if any((scale > 100).any() for scale in doras if not scale.is_meta):
        return "ill-conditioned"  # W0 + ΔW almost cancels: so do its digits
    outputs, base = model(), Tree(seed)
    base.load_state_dict(plain)
    assert close(outputs, expected_outputs(model, base), dtype)
    _, said = attempt(checkpoint.save_adapter, model, folder)
    if not said:
        assert close(checkpoint.load_adapter(Tree(seed), folder)(), outputs, torch.float64)
    _, said = attempt(adapt.merge, model.eval())
    if said:
        assert close(model(), outputs, torch.float64)
        adapt.unload(model)
        assert close(model(), first, torch.float64)
        return "equal, not merged"
    check_merged(model, outputs, plain, dtype)
    return "equal"


@torch.no_grad()
def check_merged(model, outputs, plain, dtype):
    """What is merged says the same, knows its old weights, and comes back to them."""
    assert close(model(), outputs, dtype)
    state = model.state_dict()
    for name, tensor in plain.items():
        stem, _, last = name.rpartition(".")
        for place in (stem, f"{stem}.base", f"{stem}.lora.base"):  # a wrapped layer lies deeper
            own = state.get(f"{place}.{last}")
            assert own is None or own.is_meta or close([own], [tensor], dtype), name
    twin = copy.deepcopy(model)
    assert close(adapt.merge_and_unload(twin)(), outputs, dtype)
    assert not any(isinstance(module, LoRALinear) for module in twin.modules())
    weights = {n: layer.weight.clone() for n, layer in adapt.lora_layers(model).items()}
    adapt.unmerge(model)
    for name, layer in adapt.lora_layers(model).items():
        W0 = plain[f"{name.removesuffix('.lora')}.weight"].double()
        W, own = weights[name].double(), layer.base.weight.double()
        W = W.T if layer.fan_in_fan_out else W
        bound = eps(layer.base.weight.dtype) / 2 * (W.abs() + W0.abs())
        assert ((own - W0).abs() <= bound * (1 + 1e-3) + 1e-30).all()  # as is documented
    assert close(model(), outputs, dtype)


# -- what is done to a model afterwards -------------------------------------------------------


def check_walk(seed, _):
    """Do things in any order: after each, the outputs are those of the equation, or it was refused.

    Precision is lost for good where a type of fewer digits was passed through.
    """
    rng = random.Random(seed)
    model = add(tiny_net(), {"target_modules": "all-linear", "r": 2, "lora_alpha": 5})
    if rng.random() < 0.3:
        variants.to_dora(model)
    scramble(model, seed)
    expected, dtype, outcome = model(X).detach(), torch.float32, "equal"
    taken = copy.deepcopy(model.state_dict())
    for _ in range(rng.randint(3, 9)):
        said, step = None, rng.choice(["merge", "unmerge", "copy", "cast", "take", "put"])
        if step in ("merge", "unmerge"):
            _, said = attempt(getattr(adapt, step), model)
        elif step == "put":
            _, said = attempt(nn.Module.load_state_dict, model, taken)
        elif step == "copy":
            kept, model = model, copy.deepcopy(model)
            attempt(adapt.unmerge, kept)  # the copy does not see it
        elif step == "cast":
            model.to(rng.choice([torch.float32, torch.float64, torch.bfloat16]))
        else:
            taken = copy.deepcopy(model.state_dict())
        outcome = "refused" if said else outcome
        dtype = max(dtype, model.head.weight.dtype, key=eps)
        assert close([model(X.to(model.head.weight.dtype))], [expected], dtype)
    plain = adapt.merge_and_unload(model)
    assert close([plain(X.to(plain.head.weight.dtype))], [expected], dtype)
    return outcome


# What holds → a check of one case, how many are always checked, and where the slow test ends.
GENERATED = {
    "a folder is read rightly or refused": (check_folder, 100, 2000),
    "a configuration is PEFT's or refused": (check_config, 200, 3000),
    "a model is right or refused": (check_model, 150, 3000),
    "no output is wrong in silence": (check_walk, 60, 1000),
}


@pytest.mark.parametrize("many", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", GENERATED)
def test_of_generated_cases(what, many, tmp_path):
    check, *limits = GENERATED[what]
    seeds = range(*limits) if many else range(limits[0])
    found = Counter(check(seed, tmp_path / str(seed)) for seed in seeds)
    print(found)
    assert found.keys() >= {"equal", "refused"}


# -- what it costs ------------------------------------------------------------------------------


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="memory is measured by Linux"
)
def test_a_folder_of_ten_megabytes_costs_two_seconds_and_200_megabytes_at_most():
    """Whatever its configuration holds."""
    program = [sys.executable, Path(__file__).with_name("costly.py")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    costs = [line.split("\t") for line in done.stdout.splitlines()]
    loaded = [name for name, *_, said in costs if said == "loaded"]
    assert loaded == ["right", "fields of the future"]  # what is null changes nothing
    for name, seconds, megabytes, said in costs:
        assert float(seconds) < 4, f"{name}: {said}"  # two, where nothing else runs
        assert float(megabytes) < 200, f"{name}: {said}"
