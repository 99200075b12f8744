"""Hostile input, drawn at random: the right result, or one sentence and nothing changed.

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
import textwrap
import types
import warnings
from collections import Counter

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import prune
from transformers.pytorch_utils import Conv1D

from lora_edu import adapt, counting, variants
from lora_edu.adapt import LoraConfig, add_lora
from lora_edu.checkpoint import (
    COMMITTED,
    CONFIG,
    FILES,
    SAVING,
    WEIGHTS,
    load_adapter,
    save_adapter,
)
from lora_edu.layers import LoRALinear

# Of torch: on widths of 0, the old weight_norm, complex modules.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors"),
    pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Complex modules are a new feature"),
]
SENTENCE = (ValueError, TypeError, RuntimeError, OSError)
PREFIX = "base_model.model."


def attempt(action, *arguments):
    """Return what it returns and None, or None and what it says: one line of a known kind."""
    try:
        return action(*arguments), None
    except SENTENCE as error:
        said = str(error)
    assert len(said.splitlines()) == 1, said
    return None, said


def everything_of(model):
    """All that can be seen of a model: modules, hooks, attributes, numbers, and what trains."""
    seen = []
    for name, module in model.named_modules(remove_duplicate=False):
        seen.append((name, type(module), id(module), module.training, sorted(vars(module))))
        for key, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is not None:
                numbers = tensor.detach().contiguous().reshape(-1)
                held = None if tensor.is_meta else numbers.view(torch.uint8).tolist()
                seen.append((key, id(tensor), tensor.requires_grad, tensor.dtype, held))
    return seen


def everything_in(folder):
    """All that can be seen of a folder, but for when a file was last read."""
    seen = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        content = os.readlink(path) if path.is_symlink() else None
        if not path.is_symlink() and path.is_file() and about.st_size < 10**6:
            content = path.read_bytes()
        own = (about.st_mode, about.st_ino, about.st_size, about.st_mtime_ns, content)
        seen[str(path.relative_to(folder))] = own
    return seen


def quietly(action, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return action(*arguments)


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


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Linear(4, 5)
        self.norm = nn.BatchNorm1d(5)
        self.b = nn.Linear(5, 3)
        self.eval()

    def forward(self, x):
        return self.b(self.norm(self.a(x).relu()))


X = torch.linspace(-1, 1, 12).view(3, 4)
DTYPES = [torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float8_e8m0fnu]
DTYPES += [torch.float64, torch.bfloat16, torch.float16, torch.uint16, torch.int64]
WORDS = ["a", "x\ny", "\x1b[31m", "é" * 9, "n" * 5000, "", "a.lora_A.weight", "__metadata__ "]


def saved_adapter(folder, seed):
    rng = random.Random(seed)
    more = {"modules_to_save": ["norm"]} if rng.random() < 0.5 else {}
    model = add_lora(Net(), LoraConfig(target_modules=["a", "b"], r=2, lora_alpha=6, **more))
    torch.manual_seed(seed)
    with torch.no_grad():
        for tensor in adapt.adapter_tensors(model).values():
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 1)
    save_adapter(model, folder)
    return model


def one_tensor(change):
    """Make a damage of a function that changes a dict of tensors."""

    def damage(rng, folder):
        path = folder / WEIGHTS
        tensors = load_file(path)
        change(rng, tensors, rng.choice(sorted(tensors)))
        save_file(tensors, path)

    damage.__name__ = change.__name__
    return damage


def another_dtype(rng, tensors, key):
    dtype = rng.choice(DTYPES)
    keys = [key] if rng.random() < 0.6 else list(tensors)
    for key in keys:
        tensors[key] = tensors[key].abs().to(dtype)


def a_number_that_is_none(rng, tensors, key):
    values = [math.nan, math.inf, -math.inf, 1e300]
    tensors[key] = tensors[key].double().clone()
    tensors[key].view(-1)[0] = rng.choice(values)


def a_key_twice(rng, tensors, key):
    tensors[key.removeprefix(PREFIX)] = tensors[key] + rng.randint(0, 1)


def a_key_too_many(rng, tensors, key):
    tensors[rng.choice(["", PREFIX]) + rng.choice(WORDS)] = torch.ones(rng.choice([(), (2, 4)]))


def a_key_too_few(rng, tensors, key):
    del tensors[key]


def keys_without_prefix(rng, tensors, key):
    for key in list(tensors):
        tensors[key.removeprefix(PREFIX)] = tensors.pop(key)


def another_shape(rng, tensors, key):
    old = tensors[key].float()
    new = [old.flatten(), old[None], torch.ones(0), torch.ones(()), old.flatten()[None]]
    tensors[key] = rng.choice([*new, torch.cat([old.view(len(old) if old.ndim else 1, -1)] * 2)])


def other_numbers(rng, tensors, key):
    tensors[key] = tensors[key] * rng.choice([2, 3])


def damage_file(rng, folder):
    path = folder / rng.choice(FILES)
    content = bytearray(path.read_bytes())
    how = rng.randrange(4)
    if how == 0:
        content = content[: rng.randrange(len(content))]
    elif how == 1:
        content += bytes(rng.randrange(256) for _ in range(rng.randint(1, 20)))
    else:
        for _ in range(rng.choice([1, 1, 5])):
            content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content)


def sparse_file(rng, folder):
    """A file that is said to be far larger than memory, and takes no space."""
    path = folder / rng.choice(FILES)
    try:
        os.truncate(path, 10**13)
    except OSError:  # this file system has no such files
        path.write_bytes(path.read_bytes() * 2)


def hostile_header(rng, folder):
    key = f"{PREFIX}a.lora_A.weight"
    own = {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}
    changes = [{"dtype": rng.choice(["F4", "F6_E2M3", "F8_E8M0", "X", "", "C64", "U64", 7])}]
    changes += [{"shape": rng.choice([[1] * 99, [0, 2**62], [0, 2**64 - 1], [2**63], [-1], [2.5]])}]
    changes += [{"data_offsets": rng.choice([[32, 0], [0, 2**63], [0], [1, 33], None])}]
    header = json.dumps({key: own | rng.choice(changes), "__metadata__": {"format": "pt"}})
    double = json.dumps({key: own})[:-1] + ", " + json.dumps({key: own})[1:]
    text = rng.choice([header, header, header, double, "[" * 10**5, '{"a":' * 10**4, "\ud800"])
    raw = text.encode("utf-8", "surrogatepass")
    size = rng.choice([len(raw), len(raw), len(raw), 2**63, 2**64 - 1, 0])
    (folder / WEIGHTS).write_bytes(size.to_bytes(8, "little") + raw + bytes(32))


def hostile_json(rng, folder):
    path = folder / CONFIG
    text = path.read_text()
    inside = text.strip().removesuffix("}").rstrip()
    number = rng.choice(["NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "9" * 5000, "-0.0"])
    texts = [f'{inside}, "lora_alpha": {number}}}', f'{inside}, "r": {number}}}']
    texts += [f'{inside}, "lora_alpha": 3}}', f'{inside}, "r": 3, "r": 2}}']  # the last one counts
    texts += ["[" * 10**5, '{"a":' * 10**5, "", "[]", "null", '"LORA"', "7", text + "}", text * 2]
    texts += [f'{inside}, "{rng.choice(["new", "a b", "é", "r "])}": {rng.choice(["[[]]", "1"])}}}']
    coding = rng.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32-be"])
    ends = rng.choice([b"", b"", b"", b"\xff", b"\0"])
    path.write_bytes(rng.choice(texts).encode(coding) + ends)


def something_else(rng, folder):
    """Put something that is no plain file in the place of one, some of which can be read."""
    path = folder / rng.choice(FILES)
    aside = folder.parent / f"blob-{path.name}"
    os.rename(path, aside)
    how = rng.randrange(8)
    if how <= 2:  # as in the cache of Hugging Face: what is meant lies elsewhere
        path.symlink_to([aside, f"../{aside.name}", path.parent / "link"][how])
        (path.parent / "link").symlink_to(aside)
    elif how == 3:
        path.symlink_to(rng.choice([path, "nothing", folder, "/dev/zero", "/dev/null"]))
    elif how == 4:
        os.mkfifo(path)
    elif how == 5:
        path.mkdir()
    elif how == 6:
        path.symlink_to(folder.parent / "pipe")
        os.mkfifo(folder.parent / "pipe")


def hostile_place(rng, folder):
    """Something of others where a save keeps its files in the making, or puts them."""
    path, aside = folder / rng.choice([COMMITTED, SAVING]), folder.parent / "aside"
    how = rng.randrange(8)
    if path.exists() or path.is_symlink():
        return
    if how == 0:
        aside.mkdir(exist_ok=True)
        path.symlink_to(aside)
    elif how == 1:
        path.write_text("mine")
    elif how == 2:
        path.symlink_to(rng.choice(["nothing", path]))
    elif how == 3:
        os.mkfifo(path)
    else:
        path.mkdir()
        if how == 4:
            (path / "mine.txt").write_text("mine")
        elif how == 5:  # a save that was killed there
            saved_adapter(path, rng.randrange(99))
        elif how == 6:
            (path / rng.choice(FILES)).mkdir()
        elif how == 7:  # a save that was killed while it wrote
            (path / ".tmpAbC").write_bytes(bytes(99))


TENSORS = [another_dtype, a_number_that_is_none, a_key_twice, a_key_too_many, a_key_too_few]
TENSORS += [keys_without_prefix, another_shape, other_numbers]
DAMAGES = [*map(one_tensor, TENSORS), damage_file, damage_file, sparse_file, hostile_header]
DAMAGES += [hostile_json, hostile_json, something_else, something_else, hostile_place]


def file_in(folder, name):
    committed = folder / COMMITTED / name
    return committed if committed.is_file() else folder / name


def by_the_equation(folder):
    """Return the outputs that the files mean, in float64, by other code than ours."""
    config = json.loads(file_in(folder, CONFIG).read_bytes())
    tensors = load_file(file_in(folder, WEIGHTS))
    tensors = {key.removeprefix(PREFIX): tensor for key, tensor in tensors.items()}
    net, scaling = Net().double(), config["lora_alpha"] / config["r"]
    with torch.no_grad():
        for name in ("a", "b"):
            A, B = (tensors.pop(f"{name}.lora_{side}.weight").double() for side in "AB")
            net.get_submodule(name).weight += scaling * (B @ A)
        for key, tensor in tensors.items():
            net.state_dict()[key].copy_(tensor)
        return net(X.double())


def by_peft(folder):
    """Return PEFT's outputs, or None if it does not load the folder (or would make up a part)."""
    named = [*load_file(folder / WEIGHTS)] if (folder / WEIGHTS).is_file() else [""]
    if (folder / COMMITTED).exists() or not all(key.startswith(PREFIX) for key in named):
        return None
    try:
        return quietly(peft.PeftModel.from_pretrained, Net(), str(folder)).eval()(X)
    except Exception:  # of any kind, and often far from the cause
        return None


def check_folder(seed, root):
    rng = random.Random(seed)
    folder = root / f"{seed}" / "adapter"
    folder.mkdir(parents=True)
    saved_adapter(folder, seed)
    drawn = sorted(rng.sample(range(len(DAMAGES)), rng.choice([1, 1, 2])))
    for damage in [DAMAGES[i] for i in drawn]:  # what cannot be read any more comes last
        try:
            damage(rng, folder)
        except Exception:  # the first one has left nothing that this one could damage
            assert len(drawn) == 2
    model = Net()
    model.a.weight.requires_grad_(False)  # a state of its own to come back to
    before, there = everything_of(model), everything_in(folder)
    loaded, said = attempt(load_adapter, model, folder)
    assert everything_in(folder) == there
    if said:
        assert everything_of(model) == before, said
    else:
        outputs = loaded(X)
        assert close([outputs], [by_the_equation(folder)])
        theirs = by_peft(folder)
        assert theirs is None or close([outputs], [theirs])
    check_save(folder, there, rng)
    return "refused" if said else "equal"


def check_save(folder, there, rng):
    """Save into the folder: then it is there, and nothing of others is lost; or nothing changed."""
    config = LoraConfig(target_modules=["a"], r=1, lora_alpha=rng.randint(1, 9))
    new = add_lora(Net(), config)
    nn.init.ones_(new.a.lora_B)
    _, said = attempt(save_adapter, new, folder)
    if said:
        assert everything_in(folder) == there, said
        return
    assert torch.equal(load_adapter(Net(), folder)(X), new(X))
    ours = {
        *FILES,
        *(f"{place}{more}" for place in (COMMITTED, SAVING) for more in ("", "/.tmpAbC")),
    }
    ours |= {f"{place}/{name}" for place in (COMMITTED, SAVING) for name in FILES}
    for name, own in there.items():
        if name not in ours:
            assert everything_in(folder)[name] == own


needs_fifos = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes FIFOs and links")


@needs_fifos
@pytest.mark.parametrize("fifth", range(5))
def test_a_folder_is_read_rightly_or_refused_and_never_changed(fifth, tmp_path):
    outcomes = Counter(check_folder(seed, tmp_path) for seed in range(20 * fifth, 20 * fifth + 20))
    assert outcomes["equal"] >= 1
    assert outcomes["refused"] >= 2


@needs_fifos
@pytest.mark.slow
def test_a_folder_is_read_rightly_or_refused_and_never_changed_many_times(tmp_path):
    outcomes = Counter(check_folder(seed, tmp_path) for seed in range(100, 2000))
    print(outcomes)


def test_a_configuration_beyond_all_size_is_refused_before_it_is_read(tmp_path):
    saved_adapter(tmp_path, 0)
    os.truncate(tmp_path / CONFIG, 10_000_001)  # no more: Windows writes the zeros
    with pytest.raises(ValueError, match="a configuration must be at most 10 MB"):
        load_adapter(Net(), tmp_path)


KILLED_WHILE_IT_WRITES = textwrap.dedent("""
    import os, sys, time
    from pathlib import Path
    import torch
    from torch import nn
    from lora_edu.adapt import LoraConfig, add_lora
    from lora_edu.checkpoint import load_adapter, save_adapter

    torch.set_num_threads(1)
    folder = Path(sys.argv[1])

    def make(r):
        model = nn.Sequential(nn.Linear(2, 2), nn.Embedding(1000, 5000))
        return add_lora(model, LoraConfig(target_modules=["0"], modules_to_save=["1"], r=r))

    new = make(2)
    child = os.fork()
    if not child:
        save_adapter(new, folder)
        os._exit(0)
    saving = folder / ".adapter-saving"
    while not any(path.suffix != ".json" for path in saving.glob("*")):
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it was too fast"
        time.sleep(1e-4)
    os.kill(child, 9)
    os.waitpid(child, 0)
    save_adapter(new, folder)
    assert load_adapter(nn.Sequential(nn.Linear(2, 2), nn.Embedding(1000, 5000)), folder)[0].r == 2
    assert sorted(os.listdir(folder)) == ["adapter_config.json", "adapter_model.safetensors"]
""")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
def test_after_a_save_that_was_killed_while_it_wrote_one_can_save_again(tmp_path):
    """Safetensors writes into a file of a name of its own first, which then stays behind."""
    command = [sys.executable, "-c", KILLED_WHILE_IT_WRITES, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert result.returncode == 0, result.stderr


# -- configurations ---------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.value = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)

    def forward(self, x):
        return x + self.value(self.query(x).tanh())


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(4, 3)
        self.eval()

    def forward(self, x):
        return self.head(self.layers[1](self.layers[0](x)))

    def dtype_of_weights(self):
        return next(self.parameters()).dtype


NAN, INF = float("nan"), float("inf")
NUMBERS = [-1, 0, 1, 2, 3, 7, 10**9, 10**400, -(10**400), 2.0, 2.5, -0.5, 1e-300, 1e300, NAN, INF]
TEXTS = [
    "",
    "query",
    "head",
    ".*query",
    "layers.0.value",
    "all-linear",
    "(",
    "(?i).*QUERY",
    "a" * 999,
]
TEXTS += ["(?x)query #", "0", "true", "pissa", "none", "LORA", ")|(", r"layers\.1\..*", "x\ny"]
ANY = [*NUMBERS, *TEXTS, True, False, None, [], {}, [1], [0, 1], ["query"], [None], [["query"]]]
ANY += [
    ["query", "head"],
    {"query": 3},
    {"query": "3"},
    {"(": 1},
    {"value": 2.5},
    {"a": {}},
    {1: 2},
]
FINE = {
    "target_modules": [
        ["query"],
        ["value", "head"],
        "all-linear",
        r".*\.(query|value)",
        ("query",),
    ],
    "r": [1, 2, 5],
    "lora_alpha": [1, 0.25, 16, 3],
    "lora_dropout": [0, 0.0, 0.5],
    "use_rslora": [True, False],
    "rank_pattern": [{}, {"query": 3}, {"^layers.1": 2, "value": 1}, {r"0\.value|1\.query": 4}],
    "alpha_pattern": [{}, {"head": 0.5}, {"value": 3, "query": 5}, {r"layers\.\d\.query": 2}],
    "modules_to_save": [None, ["head"], ["1.value"], []],
    "layers_to_transform": [None, [0], 1, [1, 0], [7]],
    "use_dora": [False, True],
    "init_lora_weights": [True, "pissa"],
}


def draw_config(rng):
    fields = {"target_modules": rng.choice(FINE["target_modules"])}
    for name in rng.sample(sorted(FINE), rng.randint(0, 4)):
        fields[name] = rng.choice(FINE[name])
    for name in rng.sample(sorted(FINE), rng.choice([0, 0, 1, 1, 2])):
        fields[name] = rng.choice(ANY)
    return fields


def adapted_by_us(fields):
    model = add_lora(Deep(), LoraConfig(**fields))
    layers = adapt.lora_layers(model)
    return {n.removesuffix(".lora"): (layer.r, layer.scaling) for n, layer in layers.items()}


def adapted_by_peft(fields):
    model = quietly(lambda: peft.get_peft_model(Deep(), peft.LoraConfig(**copy.deepcopy(fields))))
    return {
        name.removeprefix(PREFIX): (module.r["default"], module.scaling["default"])
        for name, module in model.named_modules()
        if isinstance(module, peft.tuners.lora.Linear)
    }


def check_config(seed):
    """Return what became of a configuration: of both, of us alone, or of none."""
    fields = draw_config(random.Random(seed))
    model = Deep()
    before = everything_of(model)
    _, said = attempt(lambda: add_lora(model, LoraConfig(**fields)))
    if said:
        assert everything_of(model) == before, said
        return "refused"
    ours = adapted_by_us(fields)
    try:
        theirs = adapted_by_peft(fields)
    except Exception:
        return "ours alone", str(fields)
    assert ours == theirs, fields
    return "equal"


@pytest.mark.parametrize("tenth", range(10))
def test_a_configuration_means_what_it_means_in_peft_or_is_refused(tenth):
    outcomes = Counter(check_config(seed) for seed in range(20 * tenth, 20 * tenth + 20))
    assert outcomes.pop("equal") >= 2
    assert outcomes.pop("refused") >= 2
    assert not outcomes


@pytest.mark.slow
def test_a_configuration_means_what_it_means_in_peft_or_is_refused_many_times():
    outcomes = Counter(check_config(seed) for seed in range(200, 3000))
    print(outcomes)


PEFTS_FIELDS = sorted(peft.LoraConfig.__dataclass_fields__)


def check_field(seed, folder):
    """Write a value into any field of a file of PEFT's: what loads has PEFT's outputs."""
    rng = random.Random(seed)
    model = add_lora(Deep(), LoraConfig(target_modules=["query"], r=2, lora_alpha=6))
    torch.manual_seed(seed)
    for layer in adapt.lora_layers(model).values():
        nn.init.normal_(layer.lora_B)
    save_adapter(model, folder)
    name, value = rng.choice(PEFTS_FIELDS), rng.choice(ANY)
    text = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text(json.dumps(json.loads(text) | {name: value}))
    plain = Deep()
    before, there = everything_of(plain), everything_in(folder)
    loaded, said = attempt(load_adapter, plain, folder)
    assert everything_in(folder) == there
    if said:
        assert everything_of(plain) == before
        return "refused"
    try:
        theirs = quietly(peft.PeftModel.from_pretrained, Deep(), str(folder)).eval()(X)
    except Exception:
        return "ours alone", name, str(value)
    assert close([loaded(X)], [theirs]), (name, value)
    return "equal"


@pytest.mark.parametrize("tenth", range(10))
def test_any_value_in_any_field_of_a_file_has_pefts_outputs_or_is_refused(tenth, tmp_path):
    seeds = range(12 * tenth, 12 * tenth + 12)
    outcomes = Counter(check_field(seed, tmp_path / str(seed)) for seed in seeds)
    assert outcomes["refused"] >= 2


@pytest.mark.slow
def test_any_value_in_any_field_of_a_file_has_pefts_outputs_many_times(tmp_path):
    print(Counter(check_field(seed, tmp_path / str(seed)) for seed in range(120, 2000)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lora_alpha", "lora_alpha must be a number"),
        ("r", "r must be an integer"),
        ("peft_type", "not the config"),
    ],
)
def test_null_is_not_the_default_of_what_peft_needs(name, message, tmp_path):
    save_adapter(add_lora(Deep(), LoraConfig(target_modules=["query"])), tmp_path)
    text = (tmp_path / CONFIG).read_text()
    (tmp_path / CONFIG).write_text(json.dumps(json.loads(text) | {name: None}))
    with pytest.raises(ValueError, match=message):
        load_adapter(Deep(), tmp_path)


def test_many_patterns_take_no_longer_than_patience():
    """They were compared pair by pair, and compiled anew for each layer."""
    many = {f"a{i}": 1 for i in range(3000)}
    config = LoraConfig(target_modules=["query"], rank_pattern=many, alpha_pattern=many)
    assert add_lora(Deep(), config).layers[0].query.r == 8


# -- models -----------------------------------------------------------------------------------


class Subclass(nn.Linear):
    pass


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


OwnConv = type("Conv1D", (OwnLinear,), {})
OwnLinear.__name__ = "Linear"
PLAIN, HALVES = "plain", (torch.bfloat16, torch.float16)


def made_anew(how):
    """Return a function that builds a linear layer whose weight is computed at each call."""

    def build(k, d):
        layer = nn.Linear(k, d)
        if how == "pruned":
            prune.random_unstructured(layer, "weight", 0.3)
        elif how == "weight_norm":
            nn.utils.weight_norm(layer)
        else:
            nn.utils.parametrizations.weight_norm(layer)
        return layer

    return build


def watched(k, d):
    layer = nn.Linear(k, d)
    layer.register_forward_hook(lambda *_: None)
    layer.register_forward_pre_hook(lambda *_: None)
    return layer


def with_another_forward(k, d):
    layer = nn.Linear(k, d)
    layer.forward = types.MethodType(nn.Linear.forward, layer)  # a copy of it is bound to the copy
    return layer


def with_a_row_of_zeros(k, d):
    layer = nn.Linear(k, d)
    nn.init.zeros_(layer.weight[:1])
    return layer


def floating(k, d):
    return nn.Linear(k, d).to(torch.float8_e4m3fn)


LEAVES = {
    PLAIN: nn.Linear,
    "without bias": lambda k, d: nn.Linear(k, d, bias=False),
    "Conv1D": lambda k, d: Conv1D(d, k),
    "float64": lambda k, d: nn.Linear(k, d).double(),
    "bfloat16": lambda k, d: nn.Linear(k, d).bfloat16(),
    "float16": lambda k, d: nn.Linear(k, d).half(),
    "watched": watched,
    "another forward": with_another_forward,
    "row of zeros": with_a_row_of_zeros,
    "pruned": made_anew("pruned"),
    "weight_norm": made_anew("weight_norm"),
    "parametrized": made_anew("parametrized"),
    "subclass": Subclass,
    "packed": Packed,
    "called Linear": OwnLinear,
    "called Conv1D": OwnConv,
    "complex": lambda k, d: nn.Linear(k, d, dtype=torch.complex64),
    "float8": floating,
    "meta": lambda k, d: nn.Linear(k, d, device="meta"),
}
COMMON = list(LEAVES)[:9]
CANNOT_RUN = ("complex", "float8", "meta")  # real inputs through a product on this machine


class Tree(nn.Module):
    """Layers in nested containers; its outputs are those of each layer, for an input of its own."""

    def __init__(self, seed):
        super().__init__()
        rng = random.Random(seed)
        torch.manual_seed(seed)
        self.body, self.kinds, self.weight = nn.ModuleDict(), {}, 7.0
        kinds = COMMON if rng.random() < 0.6 else list(LEAVES)
        for number in range(rng.randint(1, 5)):
            k, d = (rng.choice([0, 1, 1, 2, 3, 5, 8]) for _ in "kd")
            kind = rng.choice(kinds) if k and d else PLAIN
            name = f"{rng.choice('qvo')}{number}"
            leaf = LEAVES[kind](k, d)
            inner = nn.ModuleDict({name: leaf})
            box = nn.Sequential(inner) if rng.random() < 0.5 else nn.ModuleList([inner])
            self.body[f"box{number}"] = box
            self.kinds[f"body.box{number}.0.{name}"] = kind
        self.tie(rng)
        self.merge = "an attribute"
        self.train(rng.random() < 0.3)

    def tie(self, rng):
        """Share a block, a layer or a weight, in some of the models."""
        first = next(iter(self.kinds))
        leaf, how = (
            self.get_submodule(first),
            rng.choice(["", "", "block", "layer", "weight", "data"]),
        )
        if how == "block":
            self.body["again"] = self.body["box0"]
        elif how == "layer":
            self.body["again"] = leaf
        elif how in ("weight", "data") and self.kinds[first] in COMMON[:6] and leaf.weight.numel():
            shape = leaf.weight.shape
            self.table = nn.Embedding(*shape, dtype=leaf.weight.dtype)
            self.table.weight = leaf.weight
            if how == "data":
                self.table.weight = nn.Parameter(leaf.weight.data)

    def forward(self):
        outputs = []
        for name, kind in self.kinds.items():
            if kind not in CANNOT_RUN:
                layer = self.get_submodule(name)
                outputs.append(layer(input_of(name, layer)))
        if hasattr(self, "table"):
            outputs.append(self.table.weight.detach().clone())
        return outputs


def width_and_dtype(layer):
    while isinstance(layer, (LoRALinear, variants.DoRALinear)):
        layer = layer.lora if isinstance(layer, variants.DoRALinear) else layer.base
    if isinstance(layer, OwnLinear):
        return len(layer.matrix), layer.matrix.dtype
    if isinstance(layer, Conv1D):
        return layer.weight.shape[0], layer.weight.dtype
    packed = isinstance(layer, Packed)
    return layer.in_features, torch.float32 if packed else layer.weight.dtype


def input_of(name, layer):
    k, dtype = width_and_dtype(layer)
    generator = torch.Generator().manual_seed(len(name) + k)
    return torch.randn(3, k, generator=generator).to(dtype)


def tolerance(model):
    kinds = {*model.kinds.values()}
    if "bfloat16" in kinds:
        return torch.bfloat16
    return torch.float16 if "float16" in kinds else torch.float32


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
def scramble(model, seed):
    torch.manual_seed(seed)
    for tensor in adapt.adapter_tensors(model).values():
        tensor.copy_(torch.rand_like(tensor) - 0.3)


@torch.no_grad()
def expected_outputs(model, plain, seed):
    """Return what the equation says, in float64, of a model and its layers before LoRA."""
    base, outputs = Tree(seed), []
    base.load_state_dict(plain)
    for (name, kind), y in zip(
        [item for item in base.kinds.items() if item[1] not in CANNOT_RUN], base(), strict=False
    ):
        layer, old = model.get_submodule(name), base.get_submodule(name)
        x, y = input_of(name, old).double(), y.double()
        dora = isinstance(layer, variants.DoRALinear)
        lora = layer.lora if dora else layer
        if isinstance(lora, LoRALinear):
            delta = lora.scaling * lora.lora_B.double() @ lora.lora_A.double()
            update = x @ delta.T
            if dora:  # the base as a matrix, whatever it is made of
                bias = 0 if old.bias is None else old.bias.double()
                W0 = old.weight.double()
                V = (W0.T if kind == "Conv1D" else W0) + delta
                norm = V.norm(dim=1)
                unit = V / norm.where(norm > 0, 1)[:, None]
                y = x @ (layer.magnitude.double()[:, None] * unit).T + bias
            else:
                y = y + update
        outputs.append(y)
    return outputs + base()[len(outputs) :]


def check_model(seed, folder):
    """Add, compute, save, load, merge, unmerge, count, unload: each right, or refused."""
    rng = random.Random(seed)
    model = Tree(seed)
    config, before = choose(rng, model), everything_of(model)
    plain = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        first = model()
    _, said = attempt(add_lora, model, config)
    if said:
        assert everything_of(model) == before, said
        return "refused"
    dtype, pissa = tolerance(model), config.init_lora_weights == "pissa"
    assert close(model(), first, dtype)
    check_counts(model, config, seed)
    if pissa:
        _, said = attempt(adapt.merge_and_unload, model)
        assert close(model(), first, dtype)
        return "equal, not merged" if said else "equal"
    scramble(model, seed)
    doras = [m.scale() for m in model.modules() if isinstance(m, variants.DoRALinear)]
    if any(
        not scale.is_meta and (scale > 100).any() for scale in doras
    ):  # W0 + ΔW almost cancels: so do its digits
        return "ill-conditioned"
    outputs = model()
    assert close(outputs, expected_outputs(model, plain, seed), dtype)
    _, said = attempt(save_adapter, model, folder)
    if not said:
        assert close(load_adapter(Tree(seed), folder)(), outputs, torch.float64)
    merged = check_merge(model, outputs, plain, dtype)
    adapt.unload(model)
    if not merged:
        assert close(model(), first, torch.float64)
        names = [[type(m).__name__ for m in tree.modules()] for tree in (model, Tree(seed))]
        assert names[0] == names[1]
    return "equal" if merged else "equal, not merged"


@torch.no_grad()
def check_merge(model, outputs, plain, dtype):
    """Merge and come back, with all that may be done in between; return whether it was merged."""
    before = everything_of(model)
    model.eval()
    _, said = attempt(adapt.merge, model)
    if said:
        model.train(before[0][3])
        assert close(model(), outputs, torch.float64)
        return False
    assert close(model(), outputs, dtype)
    state = model.state_dict()
    for name, tensor in plain.items():
        own = state.get(name)
        for ending in (".weight", ".bias"):  # a layer that was wrapped has its tensors deeper
            stem = name.removesuffix(ending)
            for inner in (".base", ".lora.base"):
                own = state.get(f"{stem}{inner}{ending}", own)
        assert own is None or own.is_meta or close([own], [tensor], dtype), name
    _, said = attempt(model.load_state_dict, state)
    assert said
    assert "unmerge() before loading" in said
    twin = copy.deepcopy(model)
    adapt.unmerge(twin)
    assert close(twin(), outputs, dtype)
    assert close(adapt.merge_and_unload(twin)(), outputs, dtype)
    assert not any(isinstance(module, LoRALinear) for module in twin.modules())
    assert close(model(), outputs, dtype)
    weights = {n: layer.weight.clone() for n, layer in adapt.lora_layers(model).items()}
    adapt.unmerge(model)
    for name, layer in adapt.lora_layers(model).items():
        W0 = plain[f"{name.removesuffix('.lora')}.weight"]
        W, own = weights[name].double(), layer.base.weight.double()
        W = W.T if layer.fan_in_fan_out else W
        bound = eps(layer.base.weight.dtype) / 2 * (W.abs() + W0.double().abs())
        assert ((own - W0.double()).abs() <= bound * (1 + 1e-3) + 1e-30).all()  # as is documented
    assert close(model(), outputs, dtype)
    return True


def check_counts(model, config, seed):
    """Numbers that train, all of them, and the closed form: each by going through the model."""
    own = {id(p): p for p in model.parameters()}.values()
    trained = sum(math.prod(p.shape) for p in own if p.requires_grad)
    assert adapt.count_parameters(model) == (trained, sum(math.prod(p.shape) for p in own))
    method, targets = ("dora" if config.use_dora else "lora"), model.lora_config.target_modules
    counted, said = attempt(lambda: counting.count(Tree(seed), config.r, targets, method))
    if config.init_lora_weights == "pissa":  # what is tied to its weight keeps the old one
        return
    if not said and "packed" not in model.kinds.values():
        assert counted[:2] == adapt.count_parameters(model)
        assert counted.adapted_modules == len(adapt.lora_layers(model))


@pytest.mark.parametrize("tenth", range(10))
def test_any_model_is_adapted_by_the_equation_or_refused(tenth, tmp_path):
    seeds = range(15 * tenth, 15 * tenth + 15)
    outcomes = Counter(check_model(seed, tmp_path / str(seed)) for seed in seeds)
    assert outcomes["equal"] >= 2
    assert outcomes["refused"] >= 1


@pytest.mark.slow
def test_any_model_is_adapted_by_the_equation_or_refused_many_times(tmp_path):
    print(Counter(check_model(seed, tmp_path / str(seed)) for seed in range(150, 3000)))


# -- what is done to a model afterwards -------------------------------------------------------


def check_walk(seed):
    """Do things in any order: after each, the outputs are those of the equation, or it was refused.

    Precision is lost for good where a type of fewer digits was passed through.
    """
    rng = random.Random(seed)
    model = add_lora(Deep(), LoraConfig(target_modules="all-linear", r=2, lora_alpha=5))
    if rng.random() < 0.3:
        variants.to_dora(model)
    scramble(model, seed)
    expected, dtype, taken, refused = model(X).detach().double(), torch.float32, [], 0
    for _ in range(rng.randint(3, 9)):
        step = rng.choice(["merge", "unmerge", "copy", "cast", "take", "put", "mode", "meta"])
        before = everything_of(model)
        said = None
        if step in ("merge", "unmerge"):
            _, said = attempt(getattr(adapt, step), model)
        elif step == "copy":
            kept, model = model, copy.deepcopy(model)
            attempt(adapt.unmerge, kept)  # the copy does not see it
        elif step == "cast":
            to = rng.choice([torch.float32, torch.float64, torch.bfloat16])
            model, dtype = model.to(to), max(dtype, to, key=eps)
        elif step == "take":
            taken.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        elif step == "put" and taken:
            _, said = attempt(model.load_state_dict, rng.choice(taken))
        elif step == "mode":
            model.train(rng.random() < 0.5)
        elif step == "meta":
            empty = copy.deepcopy(model).to("meta")
            with torch.no_grad():
                assert empty(X.to("meta", empty.dtype_of_weights())).shape == (3, 3)
        if said:
            refused += 1
            assert everything_of(model) == before
        check_walked(model, expected, dtype)
    check_walked(adapt.merge_and_unload(model), expected, dtype)
    return refused


def check_walked(model, expected, dtype):
    """Assert that ΔW is counted once; in training, a merged model says that it cannot train."""
    merged = any(m.merged for m in model.modules() if isinstance(m, LoRALinear))
    x = X.to(model.dtype_of_weights())
    if merged and model.training:
        _, said = attempt(model, x)
        assert said
        assert "a merged LoRALinear cannot train" in said
    with torch.no_grad():
        assert close([model(x)], [expected], dtype)


@pytest.mark.parametrize("tenth", range(5))
def test_whatever_is_done_to_a_model_no_output_is_wrong_in_silence(tenth):
    refused = [check_walk(seed) for seed in range(12 * tenth, 12 * tenth + 12)]
    assert 0 < sum(refused) < 60


@pytest.mark.slow
def test_whatever_is_done_to_a_model_no_output_is_wrong_in_silence_many_times():
    for seed in range(60, 1000):
        check_walk(seed)


# -- what was found ---------------------------------------------------------------------------


def test_layers_of_different_dtypes_are_merged_and_unmerged_together():
    model = nn.Sequential(nn.Linear(4, 4, dtype=torch.float64), nn.Linear(2, 2))
    add_lora(model, LoraConfig(target_modules=["0", "1"], r=2))
    adapt.merge(model)
    adapt.unmerge(model)
    assert not any(layer.merged for layer in adapt.lora_layers(model).values())


def test_a_weight_tied_by_its_memory_is_not_merged():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
    model[1].weight = nn.Parameter(model[0].weight.data)
    add_lora(model, LoraConfig(target_modules=["1"]))
    with pytest.raises(ValueError, match="1 shares its weight"):
        adapt.merge(model)


def test_a_model_that_is_one_layer_is_refused_also_for_all_linear():
    for targets in ("all-linear", [""], ".*"):
        with pytest.raises(ValueError, match="target_modules must match a linear layer"):
            add_lora(nn.Linear(2, 2), LoraConfig(target_modules=targets))


def test_dora_of_a_row_of_zeros_is_zero_there():
    """PEFT divides 0 by 0."""
    layer = with_a_row_of_zeros(3, 2)
    expected = layer(torch.ones(1, 3))
    model = variants.to_dora(add_lora(nn.Sequential(layer), LoraConfig(target_modules=["0"], r=1)))
    torch.testing.assert_close(model(torch.ones(1, 3)), expected)
    model(torch.ones(1, 3)).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_what_is_saved_whole_may_hold_other_numbers_than_real_ones(dtype, tmp_path):
    def make():
        model = Net()
        model.norm.register_buffer("more", torch.tensor([1, 0]).to(dtype))
        return model

    config = LoraConfig(target_modules=["a"], modules_to_save=["norm"])
    save_adapter(add_lora(make(), config), tmp_path)
    assert torch.equal(load_adapter(make(), tmp_path).norm.more, make().norm.more)


def test_dora_of_half_precision_has_outputs_of_half_precision():
    """They were of float32, and the next layer could not take them."""
    model = add_lora(Deep().bfloat16(), LoraConfig(target_modules="all-linear", use_dora=True))
    expected = Deep().bfloat16()(X.bfloat16())
    outputs = model(X.bfloat16())
    assert outputs.dtype == torch.bfloat16
    assert close([outputs], [expected], torch.bfloat16)


@pytest.mark.parametrize("kind", ["pruned", "weight_norm"])
def test_a_weight_that_is_made_anew_is_not_split_for_pissa(kind):
    model = nn.Sequential(LEAVES[kind](4, 4))
    before = everything_of(model)
    config = LoraConfig(target_modules=["0"], r=2, init_lora_weights="pissa")
    with pytest.raises(ValueError, match="0 makes its weight anew at each call"):
        add_lora(model, config)
    assert everything_of(model) == before


def test_a_scaling_that_float32_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="lora_alpha must be greater than 0 and finite"):
        LoraConfig(target_modules=["a"], lora_alpha=1e300)


def test_a_configuration_of_a_method_that_peft_would_switch_on_is_refused(tmp_path):
    save_adapter(add_lora(Deep(), LoraConfig(target_modules=["query"])), tmp_path)
    text = (tmp_path / CONFIG).read_text()
    (tmp_path / CONFIG).write_text(json.dumps(json.loads(text) | {"kasa_config": {}}))
    with pytest.raises(ValueError, match=r"kasa_config = \{\} is not supported"):
        load_adapter(Deep(), tmp_path)
