"""Train an adapter on the user's texts: ``add_lora``, and transformers' ``Trainer``.

The Trainer brings warm-up, clipping, checkpoints, resuming and ``torchrun``. This module chooses
what nobody should have to know, measures on texts that were not trained on, and writes files that
PEFT can read. :mod:`lora_edu.tables` reads the texts.
"""

import contextlib
import copy
import functools
import hashlib
import json
import math
import os
import random
import time
import zipfile
from argparse import Namespace
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import filelock
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
import transformers
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

import lora_edu
from lora_edu import adapt, assets, chat, checkpoint, counting
from lora_edu.files import printable, write_whole
from lora_edu.tables import read_chats, read_table

Examples = list[dict[str, Any]]  # what the Trainer takes: each has "input_ids" and "labels"
ENOUGH = 30  # texts held out, from which on they tell epochs and accuracies apart
FOLDS = 5  # parts of the cross-validation of a smaller table
FEW = 12  # texts a label, below which LoRA is often no better than a fit on the frozen model
LEARNED = 0.05  # mean loss of an epoch at which a small table is known by heart
STATES = 10**9  # bytes, at most, for what enters the layers with LoRA
LOCK = ".running"  # in the folder, while a run writes into it


class Texts:
    """Texts, a label each: the model gets a head, and learns to tell the labels apart."""

    # Unless told otherwise. At least so many steps; batches of a small table, and of a large one.
    model, steps, batches, last_layers = "minilm", 60, (8, 32), None
    defaults = MappingProxyType({"max_length": 128, "rank": 8, "lr": 1e-3})
    use = """Load it with PEFT (metrics.json has the names of the labels):
  base = AutoModelForSequenceClassification.from_pretrained({folder!r}, num_labels={labels})
  model = PeftModel.from_pretrained(base, {out!r})"""
    result = """accuracy on texts not trained on: {accuracy:.2f} \
({right} of {texts}; 95 % interval {interval[0]:.2f} to {interval[1]:.2f})
  a logistic regression on the frozen model's vectors: {frozen:.2f}
  always the most frequent label: {most_frequent:.2f}"""

    def __init__(self, options: Namespace) -> None:
        from sklearn.linear_model import LogisticRegression

        self.regression = LogisticRegression(C=10, max_iter=1000)
        self.rows, self.labels = read_table(options.data, options.text, options.label)
        self.names = sorted(set(self.labels))
        self.held_out, self.folds = split(self.rows, self.labels, options.seed)
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
        model.config.pad_token_id = tokenizer.pad_token_id
        body = f"{model.base_model_prefix}."
        if wrong := [name for name, *_ in info["mismatched_keys"] if name.startswith(body)]:
            raise ValueError(f"{folder}: {wrong[0]} has another shape than config.json says")
        new = info["missing_keys"]
        whole = [n for n, _ in model.named_parameters() if n in new or not n.startswith(body)]
        self.collate: Any = transformers.DataCollatorWithPadding(tokenizer)
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

    def before(self, run: "Run") -> dict[str, Any]:
        """Fit a logistic regression on the frozen model's vectors; cross-validate a small table.

        For that, an adapter is trained without each of the FOLDS parts, and judged on this part: so
        each text is judged once, by an adapter that has not seen it.
        """
        labels = np.array([example["labels"] for example in run.examples])
        _, vectors = self.told(run, run.examples)
        frozen = right = 0
        for part in self.folds or [self.held_out]:
            held = np.array([row in part for row in self.rows])
            fit = self.regression.fit(vectors[~held], labels[~held])
            frozen += int((fit.predict(vectors[held]) == labels[held]).sum())
            if self.folds:
                run.train(part, keep=False)
                right += self.right(run, run.parts(part)[1])
                adapt.swap_adapter(run.model, run.start)
        judged = labels if self.folds else labels[held]
        texts, most = len(judged), int(np.bincount(judged).max())
        found = {"texts": texts, "right": right, "folds": len(self.folds)}
        return found | {"most_frequent": most / texts, "frozen": frozen / texts}

    @torch.no_grad()
    def told(self, run: "Run", examples: Examples) -> tuple[np.ndarray, np.ndarray]:
        """Return the label that each text gets, (n,), and the mean of its last states, (n, h)."""
        told, vectors = [], []
        for start in range(0, len(examples), 32):
            batch = self.collate(examples[start : start + 32])
            del batch["labels"]
            found = run.model.eval()(**batch.to(run.model.device), output_hidden_states=True)
            told.append(found.logits.argmax(-1))
            states = found.get("encoder_hidden_states") or found.hidden_states
            mask = batch["attention_mask"][..., None]  # (n, L, 1)
            vectors.append(F.normalize((states[-1] * mask).sum(1), dim=-1))
        return torch.cat(told).cpu().numpy(), torch.cat(vectors).cpu().numpy()

    def after(self, run: "Run", before: dict[str, Any]) -> dict[str, Any]:
        """Return what ``metrics.json`` says of the model: how many texts of each part are right.

        The interval is Wilson's: where the accuracy on very many texts would lie, in 95 of 100
        tables.
        """
        from scipy.stats import binomtest

        train, held_out = run.parts(self.held_out)
        seen: dict[str, Any] = {"texts": len(train), "right": self.right(run, train)}
        unseen = before if self.folds else before | {"right": self.right(run, held_out)}
        for part in (seen, unseen):
            test = binomtest(part["right"], part["texts"])
            part["accuracy"] = test.statistic
            part["interval"] = test.proportion_ci(method="wilson")
        return {"labels": self.names, "train": seen, "validation": unseen}

    def right(self, run: "Run", examples: Examples) -> int:
        """Return how many texts get their own label."""
        return int((self.told(run, examples)[0] == [one["labels"] for one in examples]).sum())

    def report(self, found: dict[str, Any]) -> list[str]:
        """Return the result in words, line by line."""
        told, least = found["validation"], min(Counter(self.labels).values())
        lines = [self.result.format(**told)]
        if told["folds"]:
            lines.append(f"  ({told['folds']} adapters, each judged on the texts it did not see)")
        if told["interval"][0] <= told["most_frequent"]:
            lines.append(
                "LoRA is not told apart from always guessing the most frequent label here."
            )
        if told["frozen"] >= told["accuracy"]:
            lines.append("LoRA is no better than the frozen model here.")
        if least < FEW:
            rule = f"With fewer than {FEW} texts a label (here {least}), LoRA is often no better"
            lines.append(f"{rule} than the frozen model: more texts help most.")
        return lines


class Chats:
    """Questions and answers, or whole conversations: the model learns to answer so.

    The loss counts the tokens of its own messages, with the one that ends each, and no others.
    """

    model, steps, batches, last_layers = "smollm2", 40, (4, 8), 2 / 3  # unless told otherwise
    defaults = MappingProxyType({"max_length": 512, "rank": 4, "lr": 1.5e-3})
    folds = ()
    use = """Talk with it:
  lora-edu chat "{folder}" --adapter "{out}"
Take it elsewhere (for llama.cpp, vLLM and others see notebooks/SHIP.md):
  lora-edu export "{out}" --merged "{out}-merged" --model "{folder}"
Load it with PEFT:
  base = transformers.AutoModelForCausalLM.from_pretrained({folder!r})
  model = peft.PeftModel.from_pretrained(base, {out!r})"""

    def __init__(self, options: Namespace) -> None:
        self.rows = list(read_chats(options.data, options.prompt, options.response))
        self.content, different = self.rows, sorted(set(self.rows))
        if len(different) < 2:
            raise ValueError(f"{options.data} must have two different rows, one to be held out")
        many = max(len(different) // 10, min(5, len(different) // 4), 1)
        self.held_out = set(random.Random(options.seed).sample(different, many))

    def load(self, folder: str) -> tuple[Any, Any, list[str]]:
        """Return a causal model and its tokenizer; no module trains in full."""
        model, self.tokenizer = chat.load(folder)
        return model, self.tokenizer, []

    def example(self, messages: Sequence[Any]) -> dict[str, list[int]]:
        """Return a conversation as the model reads it."""
        ids, labels = chat.encode(self.tokenizer, messages)
        return {"input_ids": ids, "labels": labels, "attention_mask": [1] * len(ids)}

    def encode(self, tokenizer: Any, most: int) -> tuple[Examples, int]:
        """Return the examples, a conversation each, and how many were cut to ``most`` tokens.

        A ValueError if nothing of an answer is left of one.
        """
        examples, cut = [], 0
        for number, row in enumerate(self.rows, 1):
            try:
                whole = self.example(json.loads(row))
            except ValueError as error:
                raise ValueError(f"conversation {number}: {error}") from None
            examples.append({name: numbers[:most] for name, numbers in whole.items()})
            if all(label == -100 for label in examples[-1]["labels"]):
                raise ValueError(f"max_length {most} leaves no answer of conversation {number}")
            cut += len(whole["labels"]) > most
        # The model is asked what it can read: whole conversations.
        pairs = {row: len(one["input_ids"]) for row, one in zip(self.rows, examples, strict=True)}
        short = [row for row in sorted(self.held_out) if pairs[row] < most]
        self.asked = [json.loads(row)[:-1] for row in short[:8]]
        return examples, cut

    def collate(self, examples: Examples) -> Any:
        """Return examples as one batch, padded on the right."""
        batch = {}
        for name in examples[0]:
            rows = [torch.as_tensor(one[name]) for one in examples]
            batch[name] = pad_sequence(rows, True, -100 if name == "labels" else 0)
        return batch

    def before(self, run: "Run") -> dict[str, Any]:
        """Measure the base itself, and keep its own answers, to see later what is forgotten."""
        found = self._measured(run, [])
        self.own: Examples = []
        for talk, (_, answer) in zip(self.asked, found["answers"], strict=True):
            content = answer.removesuffix(self.tokenizer.eos_token)
            with contextlib.suppress(ValueError):  # it may hold what ends a message
                self.own.append(self.example([*talk, {"role": "assistant", "content": content}]))
        return found | {"own_perplexity": perplexity(run.model, self.own)}

    def after(self, run: "Run", before: dict[str, Any]) -> dict[str, Any]:
        """Return what ``metrics.json`` says of the model: perplexities and held-out answers."""
        return {"before": before, **self._measured(run, self.own)}

    def _measured(self, run: "Run", own: Examples) -> dict[str, Any]:
        model, (_, held_out) = run.model.eval(), run.parts(self.held_out)
        said = chat.answers(model, self.tokenizer, self.asked, 60) if self.asked else []
        return {
            "texts": len(held_out),
            "perplexity": perplexity(model, held_out),
            "own_perplexity": perplexity(model, own),
            "ended": sum(answer.endswith(self.tokenizer.eos_token) for answer in said),
            "answers": [[q[-1]["content"], a] for q, a in zip(self.asked, said, strict=True)],
        }

    def report(self, found: dict[str, Any]) -> list[str]:
        """Return the result in words, line by line."""
        was, lines = found["before"], []
        parts = {"perplexity": f"{found['texts']} texts held out"}
        parts["own_perplexity"] = "the answers that the base gave (higher: it forgets them)"
        for name, part in parts.items():
            if found[name] is not None:
                lines.append(f"perplexity of {part}: {was[name]:.2f} → {found[name]:.2f}")
        ended = f"{was['ended']} → {found['ended']} of {len(found['answers'])}"
        lines.append(f"answers that end by themselves: {ended}")
        if found["texts"] < ENOUGH:
            lines.append(f"{found['texts']} texts tell little: talk with it.")
        pairs = zip(was["answers"], found["answers"], strict=True)
        for (question, first), (_, then) in list(pairs)[:3]:
            lines.append(f"\n{question}\n  before: {first}\n  after:  {then}")
        return lines


class Run:
    """A model with LoRA and the examples of a table; it trains on those that are not held out."""

    def __init__(self, options: Namespace, data: Texts | Chats, folder: str) -> None:
        self.options, self.data = options, data
        transformers.set_seed(options.seed)  # the head and lora_A are drawn from it
        self.model, tokenizer, whole = data.load(folder)
        self.tokenizer = tokenizer
        self._add_lora(whole)
        read = int(tokenizer.model_max_length), chat.positions(self.model)
        self.most = min(*read, options.max_length)
        self.examples, self.cut = data.encode(tokenizer, self.most)
        try:
            self.model(torch.tensor([self.examples[0]["input_ids"]]))
        except Exception as error:  # some models look into their layers
            targets = options.target_modules
            raise ValueError(f"{folder} does not run with LoRA on {targets}: {error}") from None
        self.start = {n: t.clone() for n, t in adapt.adapter_tensors(self.model).items()}
        self.upper = self._upper() if isinstance(data, Chats) else None
        trained, total = adapt.count_parameters(self.model)
        own = sum(p.numel() for p in adapt.lora_parameters(self.model))
        self.sizes = {"frozen": total - trained, "LoRA": own, "head": trained - own}
        steps = options.epochs * math.ceil(len(data.rows) / options.batch_size)
        steps *= 1 + len(data.folds)  # at most
        self.bar = tqdm(total=steps, disable=None, unit="step", leave=False)  # none in a pipe

    def _add_lora(self, whole: list[str]) -> None:
        """Add LoRA to the model, in place; unless told otherwise, to the last layers of a chat."""
        model, options = self.model, self.options
        names: Any = options.target_modules
        names = "all-linear" if names == ["all-linear"] else names
        layers, numbers = getattr(model.config.get_text_config(), "num_hidden_layers", 0), None
        if options.last_layers is None and names == "all-linear" and self.data.last_layers:
            options.last_layers = max(round(layers * self.data.last_layers), 1)
        if options.last_layers is not None:
            if not 1 <= options.last_layers <= layers:
                raise ValueError(f"last_layers must be 1 to {layers}, got {options.last_layers}")
            numbers = list(range(layers - options.last_layers, layers))
            if names == "all-linear":
                found = counting.targets(model, names, whole)
                names = sorted({name.rpartition(".")[2] for name in found})
        config = adapt.LoraConfig(
            target_modules=names, layers_to_transform=numbers, modules_to_save=whole or None,
            r=options.rank, lora_alpha=options.alpha,
        )  # fmt: skip
        adapt.add_lora(model, config)
        if options.merge:
            adapt.check_merge(model)  # not after hours
        if options.gradient_checkpointing:
            enable = getattr(model, "activation_checkpointing_enable", None)  # its newer name
            (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})

    @torch.no_grad()
    def _upper(self) -> Any:
        """Return a model of the last layers, if only these have LoRA; None if that is not possible.

        What enters them never changes. It is computed once, and takes the place of the embeddings.
        """
        model, last = self.model.eval(), self.options.last_layers
        size = sum(len(one["input_ids"]) for one in self.examples) * 4  # bytes of a float each
        size *= getattr(model.base_model.config, "hidden_size", 0)
        alone = os.environ.get("WORLD_SIZE", "1") == "1"  # several processes need the whole model
        if not (last and alone and 0 < size < STATES):
            return None
        kept = []
        try:
            body, upper = copy.copy(model.base_model), copy.copy(model)
            first = len(body.layers) - last
            body.config = copy.copy(body.config)
            body.config.num_hidden_layers = last
            body._modules = {**body._modules, "layers": body.layers[first:]}
            upper._modules = {**upper._modules, model.base_model_prefix: body}
            for example in self.examples:
                whole = model(torch.tensor([example["input_ids"]]), output_hidden_states=True)
                states = whole.hidden_states[first]  # (1, L, h)
                if not kept:  # some models do more to embeddings than to hand them on
                    again = upper(inputs_embeds=states, use_cache=False).logits
                    torch.testing.assert_close(again, whole.logits, rtol=1e-3, atol=1e-3)
                kept.append(states[0])
        except Exception:  # of a model that is more than a stack of layers: as a whole, then
            return None
        for example, states in zip(self.examples, kept, strict=True):
            example["inputs_embeds"] = states
        return upper

    def parts(self, held_out: Collection[str]) -> tuple[Examples, Examples]:
        """Return the examples to train on, and those of the texts that are held out."""
        parts: tuple[Examples, Examples] = [], []
        for row, example in zip(self.data.rows, self.examples, strict=True):
            parts[row in held_out].append(example)
        return parts

    def train(self, held_out: Collection[str], *, keep: bool) -> transformers.Trainer:
        """Train, and return the Trainer. What is not to ``keep`` is neither told nor written."""
        parts: Any = self.parts(held_out)  # a Trainer takes lists, and its types do not say so
        train, held = parts
        lora = dict.fromkeys(adapt.lora_parameters(self.model))
        head = [p for p in self.model.parameters() if p.requires_grad and p not in lora]
        rates = ((list(lora), self.options.lr), (head, self.options.head_lr))
        groups = [{"params": part, "lr": lr} for part, lr in rates if part]
        args = _arguments(self.options, len(train), len(held) if keep else 0)
        args.save_strategy = args.save_strategy if keep else "no"
        trainer = _Trainer(
            self.model, args, train_dataset=train, eval_dataset=held,
            data_collator=self.data.collate,
            optimizers=(torch.optim.AdamW(groups, weight_decay=0.0, fused=True), None),
            callbacks=[_Progress(self.bar, keep, self.options.few)],
        )  # fmt: skip
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.upper = self.upper
        if not self.options.text:  # our own loss takes the number of items, if no forward does
            trainer.model_accepts_loss_kwargs = True
        trainer.train(_last(Path(self.options.out, "checkpoints")) if keep else None)
        return trainer

    def choices(self, processes: int = 1) -> str:
        """Return how much trains, and how: the options that were given, or chosen."""
        train, held = self.parts(self.data.held_out)
        chosen = []
        for name in ("epochs", "batch_size", "lr", "head_lr", "rank", "alpha", "last_layers"):
            if (value := getattr(self.options, name)) is not None:
                chosen.append(f"--{name.replace('_', '-')} {value:g}")
        chosen += ["--target-modules", *self.options.target_modules]
        size = {name: f"{number:_} ({4 * number:_} bytes)" for name, number in self.sizes.items()}
        lines = [
            f"texts: {len(train):_} train, {len(held):_} held out, "
            f"{self.cut:_} cut to {self.most} tokens",
            f"numbers: {size['frozen']} frozen, {size['LoRA']} LoRA, {size['head']} head",
            f"options: {' '.join(chosen)}",
        ]
        if processes > 1:
            each, full = (4 * (self.sizes[n] + self.sizes["head"]) for n in ("LoRA", "frozen"))
            lines.append(f"bytes all-reduced each step: {each:_}; full: {full:_}")
        return "\n".join(lines)


def finetune(options: Namespace) -> dict[str, object]:
    """Train LoRA on the user's texts; return what ``metrics.json`` holds.

    ``options`` are those of ``lora-edu finetune``: with ``text`` and ``label``, a head learns to
    tell labels apart; else a chat model learns to answer. The folder ``out`` gets
    ``settings.json``, ``checkpoints``, the adapter in PEFT's format (a head included), with
    ``merge`` a plain model in ``merged``, ``README.md``, and at last ``metrics.json``. With
    ``resume``, a run goes on from its last checkpoint, if it has one. Under torchrun,
    ``batch_size`` is that of all processes together.

    A ValueError or OSError says what is wrong with the table, the model, an option or ``out``
    (nothing was written then), or that the loss is not finite.
    """
    kind = Texts if options.text else Chats
    out, first = Path(options.out), os.environ.get("RANK", "0") == "0"  # it prints and writes
    with _alone(out) if first else contextlib.nullcontext():
        if first and not options.resume:
            _check_out(out, None)
        data = kind(options)
        _complete(options, kind, sum(row not in data.held_out for row in data.rows))
        folder = str(options.model or assets.path(kind.model))
        settings = _settings(options, data.content, folder)
        if first and options.resume:
            _check_out(out, settings)
        run = Run(options, data, folder)
        processes = _arguments(options, 1, 0).world_size
        if options.batch_size % processes:
            raise ValueError(f"batch_size must be a multiple of {processes} (processes)")
        if first:
            write_whole(out / "settings.json", settings)  # from now on, the run can be resumed
            print(run.choices(processes), flush=True)
        before = data.before(run)
        transformers.set_seed(options.seed)
        trainer = run.train(data.held_out, keep=True)
        run.bar.close()
        losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
        metrics: dict[str, Any] = {
            "truncated": run.cut,
            "parameters": run.sizes,
            "loss": losses,
            "step": trainer.state.best_global_step or trainer.state.global_step,
            **data.after(run, before),
            "versions": {p.__name__: p.__version__ for p in (lora_edu, torch, transformers)},
        }
        # The last step has no loss. NaN is not less, either.
        if not all(loss < 1e300 for loss in [*losses, metrics.get("perplexity", 1.0)]):
            raise ValueError("the loss is not finite: try a smaller lr, and another folder for out")
        if first:
            _write(run, out, folder, metrics)
        _close(trainer)
        return metrics


def split(texts: list[str], labels: list[str], seed: int) -> tuple[set[str], list[set[str]]]:
    """Return the texts to hold out, or else, of a small table, the parts to cross-validate.

    A tenth of each label's texts is held out, at least five (but at most half). If these are fewer
    than ENOUGH, or more than a fifth of all, none is held out, and all are dealt to FOLDS parts,
    each label's evenly. The seed draws them. A text that occurs twice counts once. A ValueError if
    there are no two labels with two texts.
    """
    label_of = dict(zip(texts, labels, strict=True))
    generator = random.Random(seed)
    held_out: set[str] = set()
    dealt: list[str] = []
    for label in sorted(set(labels)):
        own = [text for text in label_of if label_of[text] == label]
        generator.shuffle(own)
        held_out.update(own[: min(max(len(own) // 10, 5), len(own) // 2)])
        dealt += own
    if len({label_of[text] for text in held_out}) < 2:
        raise ValueError("two labels or more must have two texts or more, one of them to hold out")
    if ENOUGH <= len(held_out) <= len(dealt) / 5:
        return held_out, []
    return set(), [set(dealt[i::FOLDS]) for i in range(min(FOLDS, len(dealt)))]


@torch.no_grad()
def perplexity(model: Any, examples: Examples) -> float | None:
    """Return exp of the mean loss, each token with a label counting once; None of no example."""
    total, count = 0.0, 0
    for one in examples:
        ids = torch.tensor([one["input_ids"]], device=model.device)
        labels = torch.tensor([one["labels"]], device=model.device)
        tokens = int((labels[:, 1:] != -100).sum())
        total += model(input_ids=ids, labels=labels).loss.item() * tokens
        count += tokens
    return math.exp(min(total / count, 700)) if count else None


def _complete(options: Namespace, kind: type[Texts | Chats], texts: int) -> None:
    """Choose what is not given; a ValueError if a number is out of its range.

    What counts is the number of steps: a small table is read more often, a large one in larger
    batches.
    """

    def choose(**values: Any) -> None:
        for name, value in values.items():
            if getattr(options, name) is None:
                setattr(options, name, value)

    choose(**kind.defaults)
    for name in ("epochs", "lr", "head_lr", "batch_size", "max_length"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be greater than 0, got {value}")
    if not 0 <= options.warmup < 1:
        raise ValueError(f"warmup must be at least 0 and below 1, got {options.warmup}")
    large = 3 * texts >= kind.steps * kind.batches[1]
    choose(alpha=2.0 * options.rank, batch_size=kind.batches[large])
    needed = math.ceil(kind.steps / math.ceil(texts / options.batch_size))
    options.few = options.epochs is None and needed > 3
    choose(epochs=max(needed, 3))


def _settings(options: Namespace, content: list[Any], folder: str) -> str:
    """Return what two runs must share, so that one goes on from the other's checkpoints.

    Of the table and the model the content counts, not where they are.
    """
    free = ("merge", "resume", "command", "gradient_checkpointing", "data", "out", "model")
    settings = {name: value for name, value in vars(options).items() if name not in free}
    settings["table"] = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    settings["weights"] = [assets.sha256(p) for p in sorted(Path(folder).glob("*.safetensors"))]
    return json.dumps(settings, indent=1) + "\n"


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep the folder to this process; a ValueError if another has it.

    The lock ends with the process, however that ends. If nothing was written, no folder is left.
    """
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)  # an OSError if it is a file, or a link to nothing
    try:
        with filelock.FileLock(out / LOCK, timeout=0):
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # Windows removes no open file
                    (out / LOCK).unlink()
                    for folder in new:
                        folder.rmdir()  # if it is empty
    except filelock.Timeout:
        raise ValueError(f"another run writes into {out}: take another folder") from None


def _check_out(out: Path, settings: str | None) -> None:
    """Raise a ValueError if ``out`` holds anything but, to be resumed, a run of such settings."""
    begun = out / "settings.json"
    if settings and begun.is_file() and begun.read_text(encoding="utf-8") == settings:
        return
    if begun.is_file() and not settings:
        raise ValueError(f"{out} holds a run: go on with --resume, or take another folder")
    if any(path.name != LOCK for path in out.iterdir()):
        whose = "a run with the same options, table and model"
        raise ValueError(f"{out} must be empty or, to --resume, hold {whose}")


def _arguments(options: Namespace, train: int, held_out: int) -> transformers.TrainingArguments:
    """Return the Trainer's arguments: it evaluates and saves each epoch, a long one several times.

    The best of these is kept, if enough is held out to tell.
    """
    steps = math.ceil(train / options.batch_size)  # an epoch
    every = math.ceil(steps / math.ceil(steps / 200))
    args = transformers.TrainingArguments(
        str(Path(options.out) / "checkpoints"), num_train_epochs=options.epochs,
        save_strategy="steps", save_steps=every, save_total_limit=2,
        eval_strategy="steps" if held_out else "no", eval_steps=every,
        load_best_model_at_end=held_out >= ENOUGH,
        warmup_steps=options.warmup, seed=options.seed, report_to="none", disable_tqdm=True,
        logging_steps=1, logging_nan_inf_filter=False,
        use_cpu=not torch.cuda.is_available(), dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,  # there are none
        # The Trainer multiplies a loss summed over tokens by the number of processes. A mean over
        # texts would get gradients as many times too large.
        average_tokens_across_devices=not options.text,
    )  # fmt: skip
    args.per_device_train_batch_size = max(options.batch_size // args.world_size, 1)
    args.per_device_eval_batch_size = min(args.per_device_train_batch_size, 8)
    return args


def _write(run: Run, out: Path, folder: str, metrics: dict[str, Any]) -> None:
    """Write the results, and print what they are and what to do with them."""
    checkpoint.save_adapter(run.model.cpu(), out)
    merged = "with --resume --merge, a plain model, too"
    if run.options.merge:
        merged = "merged is a plain model, for from_pretrained"
        chat.save(adapt.merge_and_unload(run.model), run.tokenizer, out / "merged")
    kept = f"kept: the adapter of step {metrics['step']}"
    if len(run.data.held_out) < ENOUGH:
        kept += f", the last (fewer than {ENOUGH} texts held out do not tell which is best)"
    report = "\n".join([kept, *run.data.report(metrics)])
    use = run.data.use.format(out=str(out), folder=folder, labels=len(metrics.get("labels", ())))
    base, versions = Path(folder).name, metrics["versions"]
    card = f"---\nlibrary_name: peft\nbase_model: {base}\n---\n\n# LoRA for {base}\n\n"
    card += f"```text\n{run.choices()}\n\n{report}\n```\n\n## Use\n\n```text\n{use}\n```\n\n"
    card += f"Made by `lora-edu finetune` with {', '.join(map(' '.join, versions.items()))}.\n"
    write_whole(out / "README.md", card)
    write_whole(out / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    held = f"{out} holds the adapter, its card README.md, metrics.json"
    print(printable(f"{report}\n\n{held}; {merged}.\n{use}"))


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


class _Trainer(transformers.Trainer):
    """The Trainer, whose checkpoints hold the adapter alone, and which evaluates without a trace.

    (The states of Adam and of the random generators it pickles, and loads with ``weights_only``.)
    """

    model: Any
    upper: Any  # of a chat, the last layers, if they alone have LoRA

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss; of a chat the mean over labels, the head computed only where one is."""
        if inputs["labels"].ndim == 1:  # one for each text
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs.pop("labels")[:, 1:]  # (n, L - 1): what comes after each token
        counted = labels != -100
        if "inputs_embeds" in inputs:
            del inputs["input_ids"]
            model = functools.partial(self.upper, use_cache=False)
        head = self.model.get_output_embeddings()
        with head.register_forward_pre_hook(lambda _, given: given[0][:, :-1][counted]):
            logits = model(**inputs).logits  # (counted, v)
        loss = F.cross_entropy(logits.float(), labels[counted], reduction="sum")
        # The labels are those of all processes together, whose gradients are averaged.
        loss = loss * self.args.world_size / num_items_in_batch
        return (loss, {}) if return_outputs else loss

    def _save(self, output_dir: str, state_dict: object = None) -> None:
        if self.args.should_save:
            checkpoint.save_adapter(self.model, output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: Any, model: object = None) -> None:
        adapt.swap_adapter(self.model, checkpoint.read_adapter(resume_from_checkpoint)[1])

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(self.state.best_model_checkpoint)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        with torch.random.fork_rng():  # else a run that resumes after it would draw other dropout
            return super().evaluate(*args, **kwargs)


class _Progress(transformers.TrainerCallback):
    """Move the bar, print a line an epoch, stop when a small table is known by heart."""

    def __init__(self, bar: tqdm, keep: bool, few: bool) -> None:
        self.bar, self.keep, self.few = bar, keep, few

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update(state.global_step)  # of a run that is resumed

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update()
        if args.eval_strategy != "no" and state.global_step == state.max_steps:
            control.should_evaluate = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:
        losses = [log["loss"] for log in state.log_history if "loss" in log]
        loss = np.mean(losses[-max(args.save_steps, 5) :])
        line = f"epoch {logs['epoch']:.3g} of {args.num_train_epochs}: loss {loss:.3f}"
        ended = "loss" in logs and state.global_step % args.save_steps == 0
        if ended and self.few and len(losses) >= 5 and loss < LEARNED:
            control.should_training_stop, control.should_save = True, self.keep
        told = ended and args.eval_strategy == "no"
        if "eval_loss" in logs:
            told, line = True, f"{line}, held out {logs['eval_loss']:.3f}"
        if told and self.keep and state.is_world_process_zero:
            self.bar.write(line)
