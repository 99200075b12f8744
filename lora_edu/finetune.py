"""Train an adapter on the user's texts: ``add_lora``, and transformers' ``Trainer``.

The Trainer brings the progress bar, warm-up, clipping, checkpoints, resuming and ``torchrun``. This
module reads the table, holds a part of it out, adds LoRA, and writes files that PEFT can read.
"""

import contextlib
import csv
import hashlib
import io
import json
import math
import random
import time
import zipfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import lora_edu
from lora_edu import adapt, assets, chat, checkpoint
from lora_edu.files import printable, take_place, temporary_folder, write_whole

Examples = list[dict[str, Any]]  # what the Trainer takes: each has "input_ids" and "labels"
SHOWN = 3  # answers before and after
ROLES = ("system", "user", "assistant")


class Texts:
    """Texts, a label each: the model gets a head, and learns to tell the labels apart."""

    model, batch_size, max_length = "minilm", 32, 128  # unless told otherwise
    use = """PEFT loads the adapter in {out} (metrics.json has the names of the labels):
  base = AutoModelForSequenceClassification.from_pretrained({folder!r}, num_labels={labels})
  model = PeftModel.from_pretrained(base, {out!r})"""

    def __init__(self, options: Namespace) -> None:
        self.rows, self.labels = read_table(options.data, options.text, options.label)
        self.names = sorted(set(self.labels))
        self.held_out = split(self.rows, self.labels, options.seed)
        self.content = [self.rows, self.labels]

    def load(self, folder: str) -> tuple[Any, Any, list[str]]:
        """Return a classifier, its tokenizer, and the names of the modules that train in full.

        Those are the head, and whatever the folder has no weights for (a pooler, say).
        """
        (model, info), tokenizer = chat.from_folder(
            folder,
            transformers.AutoModelForSequenceClassification,
            output_loading_info=True,
            id2label=dict(enumerate(self.names)),
            label2id={name: i for i, name in enumerate(self.names)},
            ignore_mismatched_sizes=True,  # a head for other labels
            problem_type="single_label_classification",  # whatever it was trained for
        )
        if tokenizer.pad_token is None:
            raise ValueError(f"{folder}: its tokenizer has no padding token")
        body = f"{model.base_model_prefix}."
        for name, *_ in info["mismatched_keys"]:
            if name.startswith(body):
                raise ValueError(f"{folder}: {name} has another shape than config.json says")
        new = info["missing_keys"]
        whole = [n for n, _ in model.named_parameters() if n in new or not n.startswith(body)]
        return model, tokenizer, sorted({name.rpartition(".")[0] for name in whole})

    def encode(self, tokenizer: Any, most: int) -> tuple[Examples, int]:
        """Return the examples, a text each, and how many were cut to ``most`` tokens.

        A ValueError if nothing of a text is left in one.
        """
        lengths = [len(row) for row in tokenizer(self.rows, verbose=False)["input_ids"]]
        shortest, text = min(zip(lengths, self.rows, strict=True))
        if min(shortest, most) <= tokenizer.num_special_tokens_to_add():
            raise ValueError(f"max_length {most} leaves no token of the text {text[:60]!r}")
        cut = tokenizer(self.rows, truncation=True, max_length=most)["input_ids"]
        numbers = [self.names.index(label) for label in self.labels]
        examples = [{"input_ids": i, "labels": n} for i, n in zip(cut, numbers, strict=True)]
        return examples, sum(length > most for length in lengths)

    def metrics(self, trainer: Any, train: Examples, held_out: Examples) -> dict[str, Any]:
        """Return what ``metrics.json`` says of the model: the accuracy on each part."""
        found: dict[str, Any] = {"labels": self.names}
        for name, part in (("train", train), ("validation", held_out)):
            accuracy = trainer.evaluate(part, metric_key_prefix=name)[f"{name}_accuracy"]
            found[name] = {"texts": len(part), "accuracy": accuracy}
        return found


class Chats:
    """Questions and answers, or whole conversations: the model learns to answer so.

    The loss counts the tokens of its own messages, with the one that ends each, and no others.
    """

    model, batch_size, max_length = "smollm2", 8, 512  # unless told otherwise
    use = """lora-edu chat "{folder}" --adapter "{out}"
PEFT loads it too:
  base = transformers.AutoModelForCausalLM.from_pretrained({folder!r})
  model = peft.PeftModel.from_pretrained(base, {out!r})"""

    def __init__(self, options: Namespace) -> None:
        self.rows = list(read_chats(options.data, options.prompt, options.response))
        self.content, different = self.rows, sorted(set(self.rows))
        if len(different) < 2:
            raise ValueError(f"{options.data} must have two different rows, one to be held out")
        many = max(len(different) // 10, 1)
        self.held_out = set(random.Random(options.seed).sample(different, many))

    def load(self, folder: str) -> tuple[Any, Any, list[str]]:
        """Return a causal model and its tokenizer; no module trains in full."""
        model, self.tokenizer = chat.load(folder)
        return model, self.tokenizer, []

    def encode(self, tokenizer: Any, most: int) -> tuple[Examples, int]:
        """Return the examples, a conversation each, and how many were cut to ``most`` tokens.

        A ValueError if nothing of an answer is left of one.
        """
        examples, cut = [], 0
        for number, row in enumerate(self.rows, 1):
            try:
                ids, labels = chat.encode(tokenizer, json.loads(row))
            except ValueError as error:
                raise ValueError(f"conversation {number}: {error}") from None
            if all(label == -100 for label in labels[:most]):
                raise ValueError(f"max_length {most} leaves no answer of conversation {number}")
            cut += len(ids) > most
            examples.append({"input_ids": ids[:most], "labels": labels[:most]})
        return examples, cut

    def metrics(self, trainer: Any, _: Examples, held_out: Examples) -> dict[str, Any]:
        """Return what ``metrics.json`` says of the model: perplexity and some held-out answers.

        The perplexity is exp of the mean loss, in which each token with a label counts once.
        """
        model = trainer.model.eval()
        total, count = 0.0, 0
        for one in held_out:
            ids = torch.tensor([one["input_ids"]], device=model.device)
            labels = torch.tensor([one["labels"]], device=model.device)
            tokens = int((labels[:, 1:] != -100).sum())
            with torch.no_grad():
                total += model(input_ids=ids, labels=labels).loss.item() * tokens
            count += tokens
        asked = [json.loads(row)[:-1] for row in sorted(self.held_out)[:SHOWN]]
        said = chat.answers(model, self.tokenizer, asked, 60)
        pairs = [[talk[-1]["content"], answer] for talk, answer in zip(asked, said, strict=True)]
        perplexity = math.exp(min(total / count, 700))
        return {"texts": len(held_out), "perplexity": perplexity, "answers": pairs}


def finetune(options: Namespace) -> dict[str, object]:
    """Train LoRA on the user's texts; return what ``metrics.json`` holds.

    ``options`` are those of ``lora-edu finetune``: with ``text`` and ``label``, a head learns to
    tell labels apart; else a chat model learns to answer. The folder ``out`` gets
    ``settings.json``, ``checkpoints``, the adapter in PEFT's format (a head included), with
    ``merge`` a plain model in ``merged``, and at last ``metrics.json``. With ``resume``, a run goes
    on from its last checkpoint, if it has one. Under torchrun, ``batch_size`` is that of all
    processes together.

    A ValueError or OSError says what is wrong with the table, the model or an option (nothing was
    written then), or that the loss is not finite.
    """
    kind = Texts if options.text else Chats
    _complete(options, kind)
    data = kind(options)
    folder, out = str(options.model or assets.path(kind.model)), Path(options.out)
    settings = _settings(options, data.content, folder)
    _check_out(out, settings, options.resume)

    transformers.set_seed(options.seed)  # the head and lora_A are drawn from it
    model, tokenizer, whole = data.load(folder)
    sizes = _add_lora(model, whole, options)
    most = min(int(tokenizer.model_max_length), chat.positions(model), options.max_length)
    examples, cut = data.encode(tokenizer, most)
    try:
        model(torch.tensor([examples[0]["input_ids"]]))
    except Exception as error:  # some models look into their layers
        targets = options.target_modules
        raise ValueError(f"{folder} does not run with LoRA on {targets}: {error}") from None
    pairs = list(zip(data.rows, examples, strict=True))
    train = [example for row, example in pairs if row not in data.held_out]
    held_out = [example for row, example in pairs if row in data.held_out]
    trainer = _trainer(options, model, tokenizer, train, held_out)
    trainer.accelerator.wait_for_everyone()  # all processes have looked into out
    first = trainer.args.should_save  # the first process alone prints, and writes results
    if first:
        write_whole(out / "settings.json", settings)
        texts = f"{len(train):_} train, {len(held_out):_} held out"
        print(f"texts: {texts}, {cut:_} cut to {most} tokens")
        _print_sizes(sizes, trainer.args.world_size)

    metrics: dict[str, Any] = {"truncated": cut, "parameters": sizes}
    if kind is Chats:
        metrics["before"] = data.metrics(trainer, train, held_out)
    trainer.train(_last(out / "checkpoints"))
    metrics["loss"] = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    metrics |= data.metrics(trainer, train, held_out)
    losses = [*metrics["loss"], metrics.get("perplexity", 1.0)]  # the last step has no loss
    if not all(loss < 1e300 for loss in losses):  # NaN is not less, either
        raise ValueError("the loss is not finite: try a smaller lr, and another folder for out")
    metrics["versions"] = {p.__name__: p.__version__ for p in (lora_edu, torch, transformers)}
    if first:
        checkpoint.save_adapter(model.cpu(), out)
        if options.merge:
            _write_merged(model, tokenizer, out)
        write_whole(out / "metrics.json", json.dumps(metrics, indent=1) + "\n")
        if kind is Chats:
            _compare(metrics["before"], metrics)
        labels = len(metrics.get("labels", ()))
        print(kind.use.format(out=str(out), folder=folder, labels=labels))
    _close(trainer)
    return metrics


def _complete(options: Namespace, kind: type[Texts | Chats]) -> None:
    """Set what depends on the kind of data; a ValueError if a number is out of its range."""
    for name in ("batch_size", "max_length"):
        if getattr(options, name) is None:
            setattr(options, name, getattr(kind, name))
    for name in ("epochs", "lr", "batch_size", "max_length"):
        if not getattr(options, name) > 0:
            raise ValueError(f"{name} must be greater than 0, got {getattr(options, name)}")
    if not 0 <= options.warmup < 1:
        raise ValueError(f"warmup must be at least 0 and below 1, got {options.warmup}")


def _settings(options: Namespace, content: list[Any], folder: str) -> str:
    """Return what two runs must share, so that one goes on from the other's checkpoints.

    Of the table and the model the content counts, not where they are.
    """
    free = ("merge", "resume", "command", "gradient_checkpointing", "data", "out", "model")
    settings = {name: value for name, value in vars(options).items() if name not in free}
    settings["table"] = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    settings["weights"] = [assets.sha256(p) for p in sorted(Path(folder).glob("*.safetensors"))]
    return json.dumps(settings, indent=1) + "\n"


def _check_out(out: Path, settings: str, resume: bool) -> None:
    """Raise a ValueError if ``out`` holds anything but, to be resumed, a run of such settings."""
    begun = out / "settings.json"
    if resume and begun.is_file() and begun.read_text(encoding="utf-8") == settings:
        return
    if out.exists() and any(out.iterdir()):
        whose = "a run with the same options, table and model"
        raise ValueError(f"{out} must be empty or, to --resume, hold {whose}")


def _add_lora(model: Any, whole: list[str], options: Namespace) -> dict[str, int]:
    """Add LoRA to the model, in place; return how many of its numbers are of which part."""
    lora = {"r": options.rank, "lora_alpha": options.alpha, "modules_to_save": whole or None}
    names = options.target_modules
    lora["target_modules"] = "all-linear" if names == ["all-linear"] else names
    adapt.add_lora(model, adapt.LoraConfig(**lora))
    if options.merge:
        adapt.check_merge(model)  # not after hours
    if options.gradient_checkpointing:
        enable = getattr(model, "activation_checkpointing_enable", None)  # its newer name
        (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
    trained, total = adapt.count_parameters(model)
    own = sum(p.numel() for p in adapt.lora_parameters(model))
    return {"frozen": total - trained, "LoRA": own, "head": trained - own}


def _trainer(
    options: Namespace, model: Any, tokenizer: Any, train: Examples, held_out: Examples
) -> transformers.Trainer:
    """Return the Trainer; a ValueError if its processes cannot share a batch evenly."""
    args = transformers.TrainingArguments(
        str(Path(options.out) / "checkpoints"), save_steps=20, save_total_limit=2,
        num_train_epochs=options.epochs, learning_rate=options.lr, warmup_steps=options.warmup,
        seed=options.seed, eval_strategy="epoch", report_to="none", disable_tqdm=False,
        logging_steps=1, logging_nan_inf_filter=False,
        use_cpu=not torch.cuda.is_available(), dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,  # there are none
        # The Trainer multiplies a loss summed over tokens by the number of processes. A mean over
        # texts would get gradients as many times too large.
        average_tokens_across_devices=not options.text,
    )  # fmt: skip
    each, rest = divmod(options.batch_size, args.world_size)
    if rest:
        raise ValueError(f"batch_size must be a multiple of {args.world_size} (processes)")
    args.per_device_train_batch_size = each
    args.per_device_eval_batch_size = min(each, 8)
    how: dict[str, Any] = {"processing_class": tokenizer, "compute_metrics": _accuracy}
    if not options.text:
        how = {"data_collator": transformers.DataCollatorForSeq2Seq(tokenizer)}  # pads labels, too
    trainer = _Trainer(model, args, train_dataset=train, eval_dataset=held_out, **how)
    trainer.remove_callback(transformers.ProgressCallback)
    trainer.add_callback(_Progress)
    return trainer


def _print_sizes(sizes: dict[str, int], processes: int) -> None:
    """Print the numbers and bytes of each part, and what several processes exchange each step."""
    for part, size in sizes.items():
        if size:
            print(f"{part:<8} {size:>13_} numbers {4 * size:>15_} bytes")
    if processes > 1:
        trained, full = sizes["LoRA"] + sizes["head"], sizes["frozen"] + sizes["head"]
        print(f"bytes all-reduced each step: {4 * trained:_}; full: {4 * full:_}")


def _close(trainer: transformers.Trainer) -> None:
    """End a run of several processes: one whose group is open when it exits may abort.

    When the group goes, torch holds Python's lock (the GIL) while it waits for gloo's thread. If
    that thread needs the lock to let go of what the barrier left, both wait for ever. So it gets
    the time first.
    """
    trainer.accelerator.wait_for_everyone()
    if trainer.args.world_size > 1:
        time.sleep(1)
    trainer.accelerator.end_training()


def _write_merged(model: Any, tokenizer: Any, out: Path) -> None:
    """Write the model with the adapter merged into the folder ``merged``, atomically."""
    with temporary_folder(out / "merged") as temporary:
        adapt.merge_and_unload(model)
        model.save_pretrained(temporary / "new")
        tokenizer.save_pretrained(temporary / "new")
        for path in (temporary / "new").iterdir():
            path.chmod(0o644)  # a class may share the folder
        take_place(temporary / "new", out / "merged")


def _compare(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Print the perplexity, and some answers, of the base and of the trained model."""
    was, now = before["perplexity"], after["perplexity"]
    print(f"perplexity of what was held out: {was:.2f} → {now:.2f}")
    for (question, first), (_, then) in zip(before["answers"], after["answers"], strict=True):
        print(printable(f"\n{question}\n  before: {first}\n  after:  {then}"))
    print("\n(An answer that ended by itself shows its end token.)\n")


def read_chats(path: str | Path, prompt: str | None, response: str | None) -> Iterator[str]:
    """Yield conversations, each as JSON: a list of messages with a role and a content.

    From a CSV or TSV file, the columns ``prompt`` and ``response``; from a JSONL file, the
    ``messages`` of each line. A ValueError says what is wrong, and where.
    """
    if Path(path).suffix.lower() == ".jsonl":
        if prompt or response:
            raise ValueError(f"{path} holds messages: prompt and response are columns of a table")
        for number, line in enumerate(_text(path).split("\n"), 1):
            if line.strip():
                yield json.dumps(_messages(line, f"{path}, line {number}"))
        return
    if not (prompt and response):
        raise ValueError(f"{path}: name the columns, --prompt and --response or --text and --label")
    for question, answer in _columns(path, prompt, response):
        said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        yield json.dumps(said)


def _messages(line: str, at: str) -> list[dict[str, str]]:
    """Return the messages of a line of JSONL, of which the last is the model's."""
    try:
        messages = json.loads(line)["messages"]
        found = [{"role": one["role"], "content": one["content"]} for one in messages]
        "".join(one["content"] for one in found).encode()  # half a letter (a surrogate) is none
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        wanted = '{"messages": [{"role": "user", "content": "..."}, ...]}'
        raise ValueError(f"{at} must be {wanted}") from None
    if unknown := [one["role"] for one in found if one["role"] not in ROLES]:
        raise ValueError(f"{at}: role must be {', '.join(ROLES)}, got {unknown[0]!r}")
    if not all(one["content"].strip() for one in found):
        raise ValueError(f"{at}: an empty content")
    if len(found) < 2 or found[-1]["role"] != "assistant":
        raise ValueError(f"{at} must end with what the assistant answers")
    return found


def read_table(path: str | Path, text: str, label: str) -> tuple[list[str], list[str]]:
    """Return the texts and the labels of a CSV or TSV file, without the spaces around them.

    A ValueError if it is no such file in UTF-8, lacks a column or rows, has a row with too many
    or too few fields or with an empty one, one label only, or a text under two. An OSError if it
    cannot be read.
    """
    pairs = [(text.strip(), name.strip()) for text, name in _columns(path, text, label)]
    if len(names := {name for _, name in pairs}) < 2:
        raise ValueError(f"{path} must have two labels or more, got {len(pairs)} rows, {[*names]}")
    last = dict(pairs)
    for text, name in pairs:
        if name != last[text]:
            raise ValueError(f"{path}: {text[:60]!r} has two labels, {name!r} and {last[text]!r}")
    return [text for text, _ in pairs], [name for _, name in pairs]


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be a file in UTF-8: {error}") from None


def _columns(path: str | Path, one: str, other: str) -> Iterator[list[str]]:
    """Yield what stands in two columns of a CSV or TSV file, row by row."""
    csv.field_size_limit(2**31 - 1)  # its own limit is 131,072 characters
    between = "\t" if Path(path).suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True, delimiter=between)
    try:
        names = next(reader, [])
        for name in (one, other):
            if name not in names:
                hint = f" (columns are separated by {between!r})" if len(names) < 2 else ""
                raise ValueError(f"{path} has no column {name!r}, only {names}{hint}")
            if names.count(name) > 1 or one == other:
                raise ValueError(f"{path} must have two columns, and one of the name {name!r}")
        for row in filter(None, reader):
            if "\0" in "".join(row):
                raise csv.Error("it holds NUL")
            if len(row) != len(names):
                raise csv.Error(f"{len(row)} fields, not {len(names)}: is a {between!r} unquoted?")
            field = dict(zip(names, row, strict=True))
            if empty := [name for name in (one, other) if not field[name].strip()]:
                raise ValueError(f"{path}, line {reader.line_num}: an empty {empty[0]}")
            yield [field[one], field[other]]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}, is no CSV: {error}") from None


def split(texts: list[str], labels: list[str], seed: int) -> set[str]:
    """Return the texts to hold out: a tenth of each label's, and at least one if it has two.

    They are drawn from ``seed``. A text that occurs twice counts once. A ValueError if none can be
    held out.
    """
    label_of, held_out = dict(zip(texts, labels, strict=True)), set()
    generator = random.Random(seed)
    for label in sorted(set(labels)):
        own = [text for text in label_of if label_of[text] == label]
        if len(own) > 1:
            held_out.update(generator.sample(own, max(len(own) // 10, 1)))
    if not held_out:
        raise ValueError("a label must have two texts or more, one of them to be held out")
    return held_out


def _last(folder: Path) -> str | None:
    """Return the newest checkpoint that is whole."""
    for path in sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1])):
        with contextlib.suppress(Exception):  # damaged in more ways than there are error types
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            checkpoint.read_adapter(path)
            files = [path / "optimizer.pt", path / "scheduler.pt", *path.glob("rng_state*.pth")]
            if not any(zipfile.ZipFile(file).testzip() for file in files):
                return str(path)
    return None


def _accuracy(found: transformers.EvalPrediction) -> dict[str, float]:
    logits = found.predictions  # (n, labels); of an encoder and a decoder, the first of several
    logits = logits[0] if isinstance(logits, tuple) else logits
    return {"accuracy": float(np.mean(logits.argmax(-1) == found.label_ids))}


class _Trainer(transformers.Trainer):
    """The Trainer, whose checkpoints hold the adapter alone, and which evaluates without a trace.

    (The states of Adam and of the random generators it pickles, and loads with ``weights_only``.)
    """

    def _save(self, output_dir: str, state_dict: object = None) -> None:
        if self.args.should_save:
            assert self.model is not None
            checkpoint.save_adapter(self.model, output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: object = None) -> None:
        assert self.model is not None
        adapt.swap_adapter(self.model, checkpoint.read_adapter(resume_from_checkpoint)[1])

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        with torch.random.fork_rng():  # else a run that resumes after it would draw other dropout
            return super().evaluate(*args, **kwargs)


class _Progress(transformers.ProgressCallback):
    """The Trainer's bar and, of all that it logs, a line an epoch."""

    def on_log(self, *args: object, logs: dict, **kwargs: object) -> None:
        if self.training_bar is not None and "eval_loss" in logs:
            line = "epoch {epoch:.0f}: held out, loss {eval_loss:.3f}"
            if "eval_accuracy" in logs:
                line += ", accuracy {eval_accuracy:.3f}"
            else:
                line += f", perplexity {math.exp(min(logs['eval_loss'], 700)):.2f}"
            self.training_bar.write(line.format(**logs))
