"""Numbers of ``lora_edu`` → what the explorables show: the data of the web edition's scripts.

An explorable NAME is ``notebooks/site/static/NAME.js``. A page opened from a folder may not fetch,
so its data stand in a script of their own, NAME.data.js, as ``loraData.NAME``.
"""

import hashlib
import io
import json
import shutil
import string
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from builder.source import BuildError
from lora_edu.files import write_whole

# -- calculator -------------------------------------------------------------------------------

# The names that "q and v" means: the first line all of whose names a model has.
QUERY_AND_VALUE = (
    "q_proj v_proj", "query value", "query_proj value_proj", "q v", "c_attn", "qkv_proj",
    "query_key_value", "q_proj kv_b_proj", "q_b_proj kv_b_proj",
)  # fmt: skip

# The families whose configs the page reads; for those of other models there is the command.
READ = (
    "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "mixtral", "gpt_oss",
    "qwen3_moe", "deepseek_v3", "deepseek-lite", "gpt2", "bert", "roberta", "deberta-v2",
    "gpt_neox", "opt", "vit", "t5", "t5-gated", "chatglm",
)  # fmt: skip

# What many a config.json leaves out, as transformers completes it: a sum of products and quotients
# of other keys, or true or false.
HEADS = {"head_dim": "hidden_size/num_attention_heads"}
APART, TIED = {"tie_word_embeddings": False}, {"tie_word_embeddings": True}
EXPERTS = {"num_local_experts": "num_experts"}
LATENT = {
    "qk_head_dim": "qk_nope_head_dim+qk_rope_head_dim",
    "kv_a_features": "kv_lora_rank+qk_rope_head_dim",
    "kv_b_head_dim": "qk_nope_head_dim+v_head_dim",
}
COMPLETED: dict[str, dict[str, str | bool]] = {
    "llama": {"num_key_value_heads": "num_attention_heads", **HEADS, **APART},
    "mistral": {**HEADS, **APART},
    "mixtral": {**HEADS, **APART},
    "qwen2": {**HEADS, **APART},
    "qwen3": APART,
    "qwen3_moe": {**EXPERTS, **APART},
    "gemma2": TIED,
    "gemma3_text": TIED,
    "phi3": {"qkv_heads": "num_attention_heads+2*num_key_value_heads", **HEADS, **APART},
    "deepseek_v3": {**LATENT, **APART},
    "gpt_neox": APART,
    "deberta-v2": {"position_biased_input": True, "share_att_key": False},
    "opt": {"position_rows": "max_position_embeddings+2", "do_layer_norm_before": True},
    "t5": {"num_decoder_layers": "num_layers", **TIED},
}

# Where a config says otherwise, its model has other shapes than its family in models.json.
NO_BIAS = {"attention_bias": False}
ASSUMED: dict[str, dict[str, Any]] = {
    "llama": {**NO_BIAS, "mlp_bias": False},
    "qwen3": NO_BIAS,
    "qwen3_moe": {**NO_BIAS, "mlp_only_layers": [], "decoder_sparse_step": 1},
    "gemma2": NO_BIAS,
    "gemma3_text": NO_BIAS,
    "deepseek_v3": NO_BIAS,
    "gpt2": {"n_inner": None, "add_cross_attention": False, "tie_word_embeddings": True},
    "bert": {"add_cross_attention": False},
    "roberta": {"add_cross_attention": False},
    "deberta-v2": {"position_biased_input": False, "share_att_key": True, "type_vocab_size": 0},
    "gpt_neox": {"attention_bias": True},
    "opt": {"do_layer_norm_before": False},
    "t5": {"feed_forward_proj": "relu"},
}


def kinds_of(family: str) -> list[list[Any]]:
    """Return the kinds of modules of a family: last name, numbers, kind, d, k, bias, tied, copies.

    The numbers of its modules begin at a key of the config, or 0, and end before another. ``tied``
    is true, false or a key.
    """
    from lora_edu.counting import NUMBERED, family_rows

    kinds = []
    for name, (kind, d, k, bias, tied, copies) in family_rows(family).items():
        _, start, end, _ = NUMBERED.findall(name)[0]
        tied = tied if isinstance(tied, str) else bool(tied)
        kinds.append([name.rpartition(".")[2], start, end, kind, d, k, bias, tied, copies])
    return kinds


def calculator_data() -> dict[str, Any]:
    """Return the catalogue and the families of ``data/models.json``, and what memory is made of."""
    from lora_edu import counting, memory

    shapes = counting._data()
    models = counting.catalogue().items()
    packed = Fraction(counting.BITS["nf4-double"]) / 8  # bytes a number
    more = f"> {memory.CARDS[-1]} GB"
    return {
        "families": {family: kinds_of(family) for family in READ},
        "models": {id: c for id, c in models if c.get("family", c["model_type"]) in READ},
        "converted": shapes["converted"],
        "experts": shapes["experts"],
        "queryAndValue": [names.split() for names in QUERY_AND_VALUE],
        "completed": {family: COMPLETED.get(family, {}) for family in READ},
        "assumed": {family: ASSUMED.get(family, {}) for family in READ},
        "packed": [packed.numerator, packed.denominator],
        "cards": [*((size * 2**30, f"{size} GB") for size in memory.CARDS), (1e99, more)],
        "beside": list(memory.BESIDE.values()),
    }


# -- rank -------------------------------------------------------------------------------------

UNITS = 25_600  # of an em: in these, all points of the outlines are whole numbers
NAMES = "".join(
    [string.digits, string.ascii_letters, " '-.’"]
    + [chr(code) for code in (*range(0xC0, 0x180), *range(0x1A0, 0x1B1), *range(0x1EA0, 0x1EFA))]
)  # the letters of names: Latin with accents, all of Vietnamese


def outlines(characters: str) -> dict[str, Any]:
    """Return the outlines of which ``plots.letters`` makes its pictures, in units of an em.

    ``outlines`` are closed polygons, each once, its points from its own left and bottom.
    ``letters`` has for each letter its width, and a list of its outlines: the number of the
    polygon, and how far right and up it stands. What the font lacks is left out.
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.ft2font import LoadFlags
    from matplotlib.textpath import TextPath

    bold = FontProperties(family="DejaVu Sans", weight="bold")
    font = get_font(findfont(bold))
    numbers: dict[tuple[tuple[int, int], ...], int] = {}  # polygon → its number, in order
    letters: dict[str, tuple[float, list[list[int]]]] = {}
    for letter in characters:
        if ord(letter) not in font.get_charmap():
            continue
        width = font.load_char(ord(letter), LoadFlags.NO_SCALE).horiAdvance / font.units_per_EM
        parts = []
        for polygon in [] if letter == " " else TextPath((0, 0), letter, 1, bold).to_polygons():
            points = np.rint(UNITS * polygon[:-1]).astype(int)  # the last is the first again
            right, up = points.min(axis=0).tolist()
            outline = tuple((x - right, y - up) for x, y in points.tolist())
            parts.append([numbers.setdefault(outline, len(numbers)), right, up])
        letters[letter] = UNITS * width, parts
    return {"em": UNITS, "outlines": list(numbers), "letters": letters}


def rank_data() -> dict[str, Any]:
    """Return lesson 01's update and noise, lesson 02's house, letters, and the colours."""
    from matplotlib import colormaps

    from lora_edu.course.matrix_example.figures import matrix_example
    from lora_edu.course.rank_and_svd.figures import picture

    W0, lora_A, lora_B = matrix_example()
    return {
        "noise": W0.round(3).tolist(),
        "rows": lora_A.round(3).tolist(),
        "columns": lora_B.T.round(3).tolist(),
        "house": picture().round(2).tolist(),
        "limits": {  # of the colours, where they are other than 1
            "noise": round(2 * float(np.std(W0)), 1),
            "update": round(2 * float(np.std(lora_B @ lora_A)), 1),
        },
        **outlines(NAMES),
        "cividis": colormaps["cividis"](np.arange(256), bytes=True).tolist(),
    }


# -- ellipse ----------------------------------------------------------------------------------

# Beside the lesson's machine, in tenths, as the sliders go. A turn by 53.13°, a mirror.
MATRICES = {
    "turn": [[0.6, -0.8], [0.8, 0.6]],
    "mirror": [[0.6, 0.8], [0.8, -0.6]],
    "stretch": [[1.5, 0.0], [0.0, 0.5]],
    "shear": [[1.0, 1.0], [0.0, 1.0]],
    "almost": [[1.2, 0.6], [0.8, 0.5]],
    "flat": [[1.2, 0.6], [0.8, 0.4]],
    "zeros": [[0.0, 0.0], [0.0, 0.0]],
}


def ellipse_data() -> dict[str, Any]:
    """Return 2 × 2 matrices to begin with, lesson 02's first, and how far each entry may go."""
    from lora_edu.course.rank_and_svd.figures import MACHINE

    return {"presets": {"machine": MACHINE.tolist(), **MATRICES}, "limit": 2, "step": 0.1}


# -- front ----------------------------------------------------------------------------------


def front_data() -> dict[str, Any]:
    """Return what two voices say at each scale, and how many numbers speak."""
    from safetensors.numpy import load_file

    from lora_edu import chat, counting
    from lora_edu.checkpoint import WEIGHTS
    from lora_edu.course.experiments import read

    record = read("dialled")
    asked, scales = record["arguments"]["asked"], record["arguments"]["scales"]
    file = chat.SHIPPED / "pirate" / WEIGHTS
    added = sum(strip.size for strip in load_file(file).values())
    return {
        "asked": asked,
        "scales": scales,
        "said": record["rows"][0]["said"],
        "model": counting.base_parameters("smollm2-135m"),
        "added": added,
        "bytes": file.stat().st_size,
    }


# -- talk -------------------------------------------------------------------------------------


def talk_data() -> dict[str, Any]:
    """Return a voice of 2,751 bytes, and what its bytes mean."""
    from lora_edu.course import qr
    from lora_edu.course.language_model.figures import voice_in_bytes
    from lora_edu.quantize import LEVELS

    return {
        "voice": qr.as_text(voice_in_bytes("pirate")),
        "shape": [qr.K, qr.D],  # of A, of B
        "block": qr.BLOCK,
        "levels": LEVELS.tolist(),
        "files": {},  # those beside the pages, and their bytes; see write_voice
    }


# -- all --------------------------------------------------------------------------------------

DATA: dict[str, Callable[[], dict[str, Any]]] = {
    "calculator": calculator_data,
    "rank": rank_data,
    "ellipse": ellipse_data,
    "front": front_data,
    "talk": talk_data,
}


def scripts(voice: Mapping[str, int]) -> dict[str, str]:
    """Return the data of each piece, as a script; ``voice``: the files with which a page speaks."""
    found = {name: make() for name, make in DATA.items()}
    found["talk"]["files"] = dict(voice)
    dumps = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))  # in few bytes
    return {
        name: f"(window.loraData ??= {{}}).{name} = {dumps(data)};\n"
        for name, data in found.items()
    }


# -- the chat model in a page -----------------------------------------------------------------
#
# llama.cpp comes as WebAssembly, in wllama (MIT), from npm; ``npm pack`` fetches it as it is, and
# runs nothing of it. What is fetched has its SHA-256 here and is refused otherwise.

# A package → its SHA-256, and which of its files go where. The compat build is for browsers without
# JSPI or 64-bit memory, such as Safari; its page alone loads it.
PROGRAMS = {
    "@wllama/wllama@3.13.0": (
        "a9eaac205ff9a1d6fdbea395a48652bd5febc56511a7b66b736d862bf726d2d5",
        {
            "esm/index.min.js": "wllama.js",
            "esm/wasm/wllama.wasm": "wllama.wasm",
            "LICENCE": "LICENCE.txt",
        },
    ),
    "@wllama/wllama-compat@3.13.0": (
        "4114beb68a61a0ab14ac3fe4416648b45d8a940e2e6aed5fe91eb6328ba6479d",
        {"wasm/wllama.js": "compat.js", "wasm/wllama.wasm": "compat.wasm"},
    ),
}
MODEL, VOICES = "model.gguf", ("pirate", "grimm")


def write_voice(out: Path) -> dict[str, int]:
    """Write all that the page loads into a folder; return the bytes of each file.

    Raises
    ------
    BuildError
        A program cannot be had, or is not the one that is named here.
    """
    from lora_edu import assets, chat, export

    for package, (digest, files) in PROGRAMS.items():
        unpack(fetched(package), digest, files, out)
    (file,) = assets.ASSETS["smollm2-gguf"].files
    shutil.copyfile(assets.path("smollm2-gguf") / file, out / MODEL)  # checks its hash
    model, tokenizer = chat.load()
    base = export.Base(out / MODEL, tokenizer)
    for voice in VOICES:
        export.write_lora(chat.adapter(model, chat.SHIPPED / voice), base, out / f"{voice}.gguf")
    return {path.name: path.stat().st_size for path in sorted(out.iterdir())}


def fetched(package: str) -> bytes:
    """Return a package of npm, as the archive in which it comes."""
    npm = shutil.which("npm")
    if npm is None:
        raise BuildError("npm is needed, which comes with Node.js, to fetch llama.cpp for browsers")
    with TemporaryDirectory(prefix="npm-") as folder:
        command = [npm, "pack", "--silent", "--pack-destination", folder, package]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        found = [*Path(folder).glob("*.tgz")]
        if result.returncode or not found:
            raise BuildError(f"npm could not fetch {package}:\n{result.stderr[-2000:]}")
        return found[0].read_bytes()


def unpack(archive: bytes, digest: str, files: dict[str, str], out: Path) -> None:
    """Write files of an archive that has a hash; ``files``: their place in it → their new name."""
    if hashlib.sha256(archive).hexdigest() != digest:
        raise BuildError(
            "what npm fetched has another SHA-256 than the one in builder/explorables.py"
        )
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for place, name in files.items():
            member = opened.extractfile(f"package/{place}")
            assert member is not None, place  # the hash says that it is there
            write_whole(out / name, member.read())
