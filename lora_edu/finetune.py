"""Your own table of texts → an adapter: ``add_lora``, and transformers' ``Trainer`` around it.

The Trainer brings the progress bar, checkpoints, resuming and ``torchrun``. What is ours: to read
the table, to hold a part of it out, to freeze, and to leave files that PEFT reads.
"""

import csv
import hashlib
import io
import json
import os
import random
import shutil
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import lora_edu
from lora_edu import adapt, assets, checkpoint
from lora_edu.files import write_whole

USE = """PEFT loads the adapter in {out} (metrics.json has the names of the labels):
  base = AutoModelForSequenceClassification.from_pretrained("{folder}", num_labels={labels})
  model = PeftModel.from_pretrained(base, "{out}")"""


def finetune(options: Namespace) -> dict[str, object]:
    """Train LoRA and a head to tell the labels of texts apart; return what ``metrics.json`` holds.

    ``options`` are those of ``lora-edu finetune``. The folder ``out`` gets ``settings.json``,
    ``checkpoints``, the adapter in PEFT's format (head included), with ``merge`` a plain model in
    ``merged``, and at last ``metrics.json``. With ``resume``, a run goes on from its last
    checkpoint, if it has one. Under torchrun, ``batch_size`` is that of all processes together.

    A ValueError or OSError says what is wrong with the table, the model or an option (nothing was
    written then), or that the loss is not finite.
    """
    for name in ("epochs", "lr", "batch_size", "max_length"):
        if not getattr(options, name) > 0:
            raise ValueError(f"{name} must be greater than 0, got {getattr(options, name)}")
    texts, labels = read_table(options.data, options.text, options.label)
    names, chosen = sorted(set(labels)), split(texts, labels, options.seed)
    free = ("merge", "resume", "run")  # options that may be others when a run goes on
    record = {k: v for k, v in vars(options).items() if k not in free}
    record["table"] = hashlib.sha256(json.dumps([texts, labels]).encode()).hexdigest()
    record = json.dumps(record, indent=1) + "\n"
    out, begun = Path(options.out), Path(options.out, "settings.json")
    again = options.resume and begun.is_file() and begun.read_text(encoding="utf-8") == record
    if not again and out.exists() and any(out.iterdir()):
        whose = "a run with the same options and the same table"
        raise ValueError(f"{out} must be empty or, to --resume, hold {whose}")

    transformers.set_seed(options.seed)  # the head and lora_A are drawn from it
    folder, targets = str(options.model or assets.path("minilm")), options.target_modules
    model, tokenizer, whole = _load(folder, names)
    lora = {"r": options.rank, "lora_alpha": options.alpha, "modules_to_save": whole}
    lora["target_modules"] = targets[0] if targets == ["all-linear"] else targets
    adapt.add_lora(model, adapt.LoraConfig(**lora))
    trained, total = adapt.count_parameters(model)
    own = sum(p.numel() for p in adapt.lora_parameters(model))
    sizes = {"frozen": total - trained, "LoRA": own, "head": trained - own}

    most = min(tokenizer.model_max_length, model.config.max_position_embeddings, options.max_length)
    ids = tokenizer(texts, truncation=True, max_length=most)["input_ids"]
    cut = sum(len(row) > most for row in tokenizer(texts, verbose=False)["input_ids"])
    rows = [{"input_ids": i, "labels": names.index(n)} for i, n in zip(ids, labels, strict=True)]
    train = [row for row, text in zip(rows, texts, strict=True) if text not in chosen]
    held_out = [row for row, text in zip(rows, texts, strict=True) if text in chosen]
    args = transformers.TrainingArguments(
        str(out / "checkpoints"), num_train_epochs=options.epochs, learning_rate=options.lr,
        seed=options.seed, save_steps=20, save_total_limit=2, eval_strategy="epoch",
        logging_steps=1, logging_nan_inf_filter=False, disable_tqdm=False, report_to="none",
        use_cpu=not torch.cuda.is_available(), dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,  # there are none
        # The loss is a mean already: multiplied by the number of processes, as the Trainer does for
        # sums over tokens, it would have gradients as many times too large.
        average_tokens_across_devices=False,
    )  # fmt: skip
    args.per_device_train_batch_size, rest = divmod(options.batch_size, args.world_size)
    if rest:
        raise ValueError(f"batch_size must be a multiple of {args.world_size} (processes)")
    # The batches are made by its default, which pads.
    trainer = _Trainer(model, args, None, train, held_out, tokenizer, compute_metrics=_accuracy)
    trainer.remove_callback(transformers.ProgressCallback)
    trainer.add_callback(_Progress)
    trainer.accelerator.wait_for_everyone()  # all processes have looked into out
    if args.should_save:  # the first process: it alone prints, and writes results
        write_whole(begun, record)
        print(
            f"texts: {len(train):_} train, {len(held_out):_} held out, {cut:_} cut to {most} tokens"
        )
        for kind, size in sizes.items():
            print(f"{kind:<8} {size:>13_} numbers {4 * size:>15_} bytes")
        if args.world_size > 1:
            print(f"bytes all-reduced each step: {4 * trained:_}; full: {4 * (total - own):_}")
    trainer.train(_last(out / "checkpoints"))
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    if not torch.tensor(losses).isfinite().all():
        raise ValueError("the loss is not finite: try a smaller lr")
    metrics = {"labels": names, "truncated": cut, "parameters": sizes, "loss": losses}
    for name, part in (("train", train), ("validation", held_out)):
        accuracy = trainer.evaluate(part, metric_key_prefix=name)[f"{name}_accuracy"]
        metrics[name] = {"texts": len(part), "accuracy": accuracy}
    metrics["versions"] = {p.__name__: p.__version__ for p in (lora_edu, torch, transformers)}
    if args.should_save:
        checkpoint.save_adapter(model.cpu(), out)
        if options.merge:
            with tempfile.TemporaryDirectory(dir=out, prefix=".merged-") as temporary:
                adapt.merge_and_unload(model)
                model.save_pretrained(Path(temporary, "merged"))
                tokenizer.save_pretrained(Path(temporary, "merged"))
                shutil.rmtree(out / "merged", ignore_errors=True)
                os.replace(Path(temporary, "merged"), out / "merged")
        write_whole(out / "metrics.json", json.dumps(metrics, indent=1) + "\n")
        print(USE.format(out=out, folder=folder, labels=len(names)))
    # Under torchrun: a process whose group is still open when it exits may abort.
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()
    return metrics


def read_table(path: str | Path, text: str, label: str) -> tuple[list[str], list[str]]:
    """Return the texts and the labels of a CSV file, without the spaces around them.

    A ValueError if it is no CSV in UTF-8, lacks a column or rows, has a row with too many fields or
    with an empty text or label, or one label only. An OSError if it cannot be read.
    """
    csv.field_size_limit(2**31 - 1)  # its own limit is 131,072 characters
    pairs = []
    try:
        content = io.StringIO(Path(path).read_bytes().decode("utf-8-sig"), newline="")
        reader = csv.DictReader(content, strict=True)
        if missing := {text, label} - set(reader.fieldnames or []):
            raise ValueError(f"{path} has no column {min(missing)!r}, only {reader.fieldnames}")
        for row in reader:
            pair = [(row[name] or "").strip() for name in (text, label)]
            if None in row or not all(pair):
                at = f"{path}, line {reader.line_num}"
                raise ValueError(f"{at}: an empty text or label, or a comma not in quotes")
            pairs.append(pair)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} must be a CSV file in UTF-8: {error}") from None
    if len(names := {name for _, name in pairs}) < 2:
        raise ValueError(f"{path} must have two labels or more, got {len(pairs)} rows, {[*names]}")
    return [text for text, _ in pairs], [name for _, name in pairs]


def split(texts: list[str], labels: list[str], seed: int) -> set[str]:
    """Return the texts to hold out: a tenth of each label's, and at least one if it has two.

    They are drawn from ``seed``. A text that occurs twice counts once, under its last label. A
    ValueError if none can be held out.
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


def _load(folder: str, labels: list[str]) -> tuple[Any, Any, list[str]]:
    """Return a classifier on the model in ``folder``, its tokenizer, and what trains as a whole.

    That is the head (new, if there is none for so many labels), and a pooler if it is new.
    """
    if not Path(folder, "config.json").is_file():
        raise ValueError(f"model must be a folder with a config.json and weights, got {folder}")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    how = {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}}
    how |= {"dtype": torch.float32, "use_safetensors": True, "ignore_mismatched_sizes": True}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        classifiers = transformers.AutoModelForSequenceClassification
        model, info = classifiers.from_pretrained(folder, output_loading_info=True, **how)
    except Exception as error:  # a folder can be wrong in more ways than there are error types
        raise ValueError(f"{folder}: {type(error).__name__}: {error}".splitlines()[0]) from None
    if tokenizer.pad_token is None:
        raise ValueError(f"{folder}: its tokenizer has no padding token")
    new, body = info["missing_keys"], f"{model.base_model_prefix}."
    whole = [n for n, _ in model.named_parameters() if n in new or not n.startswith(body)]
    return model, tokenizer, sorted({name.rpartition(".")[0] for name in whole})


def _last(folder: Path) -> str | None:
    """Return the newest whole checkpoint: ``trainer_state.json`` is what is written last."""
    done = [p.parent for p in folder.glob("*/trainer_state.json") if p.read_text()[-3:] == "\n}\n"]
    return str(max(done, key=lambda path: int(path.name.split("-")[1]))) if done else None


def _accuracy(found: transformers.EvalPrediction) -> dict[str, float]:
    assert isinstance(found.predictions, np.ndarray)  # (n, labels); a classifier has one output
    return {"accuracy": float(np.mean(found.predictions.argmax(-1) == found.label_ids))}


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
        if self.training_bar is not None and "eval_accuracy" in logs:
            line = "epoch {epoch:.0f}: held out, loss {eval_loss:.3f}, accuracy {eval_accuracy:.3f}"
            self.training_bar.write(line.format(**logs))
