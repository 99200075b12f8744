"""A chat model on a laptop: load it, let it answer, and let an adapter change its voice.

Letters: n = rows of a batch, L = tokens of a row; d, k and r as everywhere.
"""

import contextlib
import functools
import importlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lora_edu import adapt, assets, checkpoint
from lora_edu.files import one_line, printable, read_config, take_place, temporary_folder
from lora_edu.layers import dense_weight

SHIPPED = Path(__file__).parent / "course" / "records" / "adapters"
Message = Mapping[str, str]  # {"role": "user" or "assistant", "content": ...}
Adapter = Mapping[str, tuple[Tensor, Tensor]]  # layer → lora_A (r, k), scaling · lora_B (d, r)


def load(folder: str | Path | None = None) -> tuple[Any, Any]:
    """Return a causal model, in float32 and ``eval()``, and its tokenizer; SmolLM2 by default.

    It is set to write the likeliest token, until one of those that end a message. A ValueError if
    ``folder`` is no such model, lacks weights, or its tokenizer has no chat template or end token.
    """
    import transformers

    folder = assets.path("smollm2") if folder is None else Path(folder)
    kind = transformers.AutoModelForCausalLM
    (model, info), tokenizer = from_folder(folder, kind, output_loading_info=True)
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"{folder} has no weights for {missing[0]}")
    for needed in ("chat_template", "eos_token"):
        if not getattr(tokenizer, needed):
            raise ValueError(f"{folder}: its tokenizer has no {needed}")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    ends = model.generation_config.eos_token_id or []
    ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=sorted(ends), pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return model.eval(), tokenizer


def from_folder(folder: str | Path, kind: Any, **how: Any) -> tuple[Any, Any]:
    """Return a model of a kind of transformers', in float32, and its tokenizer.

    From safetensors, and never with code of the folder's own. A ValueError says what is wrong.
    """
    import transformers

    if not Path(folder, "config.json").is_file():
        raise ValueError(
            "model must be a folder with a config.json and weights (from a hub: hf download NAME "
            f"--local-dir FOLDER), got {folder}"
        )
    if Path(folder, checkpoint.CONFIG).exists():  # transformers would put it on without a word
        raise ValueError(f"{folder} holds an adapter beside the model: give each its own folder")
    read_config(Path(folder, "config.json"))  # refuses what would be built for ever
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    how |= {"dtype": torch.float32, "use_safetensors": True, "trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        return kind.from_pretrained(folder, **how), tokenizer
    except Exception as error:  # a folder can be wrong in more ways than there are error types
        raise ValueError(f"{folder}: {type(error).__name__}: {error}") from None


def shipped() -> dict[str, Path]:
    """Return the folders of the voices that come with the course, by their names."""
    return {path.name: path for path in sorted(SHIPPED.glob("*")) if path.is_dir()}


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a plain model and its tokenizer as transformers does, in one step."""
    with temporary_folder(folder) as temporary:
        new = temporary / "new"
        model.save_pretrained(new)
        tokenizer.save_pretrained(new)
        for path in new.iterdir():
            path.chmod(0o644)  # a class may share the folder
        take_place(new, folder)


def positions(model: Any) -> int:
    """Return how many tokens the model can read: 2**31 if its configuration sets no limit."""
    most = getattr(model.config, "max_position_embeddings", None) or 0  # XLNet: -1
    for name, part in model.named_modules():
        if "position" in name and isinstance(part, nn.Embedding) and part.padding_idx is not None:
            most = part.num_embeddings - part.padding_idx - 1  # RoBERTa counts from there
    return most if most > 0 else 2**31


def template(tokenizer: Any, messages: Sequence[Message], answers: bool = False) -> str:
    """Return a conversation as the model's template writes it; if it ``answers`` next, up to there.

    A ValueError if the template refuses it.
    """
    try:
        how = {"tokenize": False, "add_generation_prompt": answers}
        return tokenizer.apply_chat_template(messages, **how)
    except Exception as error:  # whatever the template raises
        raise ValueError(f"the chat template of the model refuses this: {error}") from None


def encode(tokenizer: Any, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
    """Return the tokens of a conversation and their labels: −100 but for what the model says.

    That is its own messages, each with the token that ends it: a model that is trained without this
    token never stops. The pieces are tokenised one by one, as they are when the model answers. A
    ValueError if a message holds that token itself, or if the template changes an earlier message.
    """
    ids: list[int] = []
    labels: list[int] = []
    done, end = "", tokenizer.eos_token_id
    if any(tokenizer.eos_token in message["content"] for message in messages):
        raise ValueError(f"a message holds {tokenizer.eos_token}, which ends messages")
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        asked = template(tokenizer, messages[:i], answers=True)
        whole = template(tokenizer, messages[: i + 1])
        if not (asked.startswith(done) and whole.startswith(asked)):
            raise ValueError(f"message {i + 1}: the chat template changes what stands before it")
        question = tokenizer(asked.removeprefix(done), add_special_tokens=False)["input_ids"]
        answer = tokenizer(whole.removeprefix(asked), add_special_tokens=False)["input_ids"]
        last = answer.index(end) + 1 if end in answer else len(answer)
        answer, rest = answer[:last], answer[last:]
        if end not in answer and i + 1 == len(messages):
            answer = [*answer, end]
        ids += question + answer
        labels += [-100] * len(question) + answer
        done = whole.removesuffix(tokenizer.decode(rest))
    return ids, labels


def answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str | Sequence[Message]],
    max_tokens: int = 80,
    *,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Return what the model answers to each prompt (a question, or a conversation), as one batch.

    An answer has at most ``max_tokens`` tokens; if it ended by itself, its end token is kept, so
    that one sees it. Each token is the likeliest one or, for a ``temperature`` above 0, drawn from
    softmax(logits / temperature) with ``seed``.
    """
    rows = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts]
    if not rows:
        raise ValueError("prompts must be at least one, got none")
    texts = [template(tokenizer, row, answers=True) for row in rows]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    longest = max(map(len, ids))
    if longest >= positions(model):
        raise ValueError(f"a prompt has {longest} tokens, the model reads {positions(model)}")
    pad = tokenizer.pad_token_id
    left = torch.tensor([[pad] * (longest - len(row)) + row for row in ids], device=model.device)
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in ids]  # (n, L), as left
    how = _how(min(max_tokens, positions(model) - longest), temperature)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        out = model.generate(left, attention_mask=torch.tensor(mask, device=model.device), **how)
    found, ends = [], model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    for row in out[:, longest:].tolist():
        end = next((i + 1 for i, token in enumerate(row) if token in ends), len(row))
        found.append(tokenizer.decode(row[:end]))
    return found


def _how(max_tokens: int, temperature: float) -> dict[str, Any]:
    """Return the arguments of ``generate`` that :func:`load` has not set already."""
    how: dict[str, Any] = {"max_new_tokens": max_tokens}
    if temperature > 0:
        how |= {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    return how


def adapter(model: nn.Module, directory: str | Path) -> Adapter:
    """Read an adapter in PEFT's format for ``model``, which stays as it is.

    A ValueError if it does not fit the model, is not finite, or is more than LoRA on linear layers,
    as DoRA and PiSSA are.
    """
    config = checkpoint.read_adapter(directory)[0]
    if config.modules_to_save or config.use_dora or config.init_lora_weights is not True:
        raise ValueError(
            f"{directory} must be plain LoRA for a chat: no head of its own, as a classifier has, "
            "no DoRA or PiSSA"
        )
    found = {}
    try:
        for name, layer in adapt.lora_layers(checkpoint.load_adapter(model, directory)).items():
            found[name] = (layer.lora_A.detach().clone(), layer.lora_B.detach() * layer.scaling)
            if not all(factor.isfinite().all() for factor in found[name]):
                raise ValueError(f"{directory}: {name} must be finite, got NaN or infinity")
    finally:  # an interrupt too leaves the model as it was
        with contextlib.suppress(ValueError):  # there is nothing to unload
            adapt.unload(model)
    return found


@contextlib.contextmanager
def speaking(
    model: nn.Module, adapters: Sequence[Adapter | None], scales: Sequence[float] | None = None
) -> Iterator[None]:
    """Within ``with``, give each row of a batch its own adapter; None is the base itself.

        y_i = W0 x_i + scale_i · B_i A_i x_i

    Two small products for the whole batch, whatever the number of adapters: smaller ranks are
    padded with zeros. ``scales`` (1 by default) may be negative. A ValueError if there are not as
    many of them as of ``adapters``, or if a batch has another number of rows.
    """
    scales = [1.0] * len(adapters) if scales is None else scales
    if len(scales) != len(adapters):
        raise ValueError(f"scales must be {len(adapters)}, got {len(scales)}")
    with contextlib.ExitStack() as hooks:
        for name in {name for each in adapters if each for name in each}:
            linear = model.get_submodule(name)
            add = functools.partial(_add, *_stacked(linear, name, adapters, scales))
            hooks.enter_context(linear.register_forward_hook(add))
        yield


def _add(A: Tensor, B: Tensor, _: nn.Module, x: tuple[Tensor], y: Tensor) -> Tensor:
    """Return what a layer gives, y, (n, L, d), with the update of each row."""
    if len(x[0]) != len(A):  # one row would be spread over all, without a word
        raise ValueError(f"the batch must have {len(A)} rows, got {len(x[0])}")
    return y + x[0] @ A.mT @ B.mT


def _stacked(
    linear: nn.Module, name: str, adapters: Sequence[Adapter | None], scales: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return the factors of a layer for all rows: (n, r, k) and (n, d, r)."""
    weight = dense_weight(linear)  # (d, k)
    none = weight.new_zeros(0, weight.shape[1]), weight.new_zeros(len(weight), 0)  # r = 0
    pairs = [(each or {}).get(name, none) for each in adapters]
    A = pad_sequence([A for A, _ in pairs], batch_first=True)  # (n, r, k)
    scaled = [B.T * scale for (_, B), scale in zip(pairs, scales, strict=True)]  # (r, d) each
    return A.to(weight), pad_sequence(scaled, batch_first=True).mT.to(weight)


# -- lora-edu chat ----------------------------------------------------------------------------

HELP = """/adapter NAME   speak with this adapter: {names}, or a folder
/scale S        add S times the adapter's update: 1 as trained, 0 nothing; from -1 to 2
/off            the base itself
/new            forget the conversation, which stays when the voice changes
/quit           leave; Ctrl + C ends an answer"""


class Conversation:
    """What ``lora-edu chat`` holds: the messages so far, and how the model speaks.

    ``names``: of adapters to choose from, beside those that ship, or their folders; the first one
    speaks.
    """

    def __init__(
        self, folder: str | None, names: Sequence[str], max_tokens: int,
        temperature: float, seed: int, scale: float = 1.0,
    ) -> None:  # fmt: skip
        if temperature and not 0.01 <= temperature < math.inf:
            raise ValueError(f"temperature must be 0, or at least 0.01, got {temperature}")
        self.scale = _scale(scale)
        self.model, self.tokenizer = load(folder)
        if not 1 <= max_tokens < positions(self.model):
            most = positions(self.model) - 1
            raise ValueError(f"max_tokens must be from 1 to {most}, got {max_tokens}")
        self.messages: list[dict[str, str]] = []
        self.max_tokens, self.temperature, self.seed = max_tokens, temperature, seed
        self.known = shipped()
        self.voice: Adapter | None = None
        self.name = "the base itself"
        for name in reversed(names):
            self.take(name)

    def take(self, name: str) -> None:
        """Speak with an adapter, by its name or folder; a ValueError if there is none that fits."""
        path = self.known.get(name, Path(name))
        if not name or not path.is_dir():
            known = ", ".join(self.known)
            raise ValueError(f"no adapter is called {name!r}; there are {known}, or a folder")
        short = path.resolve().name
        self.voice, self.name = adapter(self.model, path), name
        self.known[name if self.known.get(short, path) != path else short] = path

    def command(self, line: str) -> str:
        """Do what a line that begins with / says, or raise a ValueError; return what to print."""
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        if name == "/new":
            self.messages.clear()
            return "(a new conversation)"
        if name == "/help":
            return HELP.format(names=", ".join(self.known))
        if name == "/adapter" and rest:
            try:
                self.take(rest)
            except OSError as error:  # one of the terminal would end the conversation
                raise ValueError(error) from None
        elif name == "/scale" and rest:
            self.scale = _scale(rest)
        elif name == "/off":
            self.voice, self.name = None, "the base itself"
        elif name not in ("/adapter", "/scale"):  # these two alone say how it is
            raise ValueError(f"no command is called {name}: /help lists them")
        scale = f", scale {self.scale:g}" if self.voice else ""
        talk = "; it reads what was said before: /new forgets that" if self.messages else ""
        return f"(speaks: {self.name}{scale}{talk})"

    def answer(self, question: str, write: Callable[[str], object]) -> bool:
        """Let the model answer; ``write`` gets the words as they come. Return whether it finished.

        Interrupted, it keeps what it has said; cut off, it is followed by "…". A ValueError if the
        conversation is too long.
        """
        import transformers

        asked = [*self.messages, {"role": "user", "content": question}]
        text = template(self.tokenizer, asked, answers=True)
        ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        room = positions(self.model) - self.max_tokens
        if ids.shape[1] > room:
            raise ValueError(f"the conversation has {ids.shape[1]} tokens, at most {room}: /new")
        said: list[str] = []

        class Streamer(transformers.TextStreamer):
            def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
                said.append(text)
                write(text)

        how = _how(self.max_tokens, self.temperature)
        how["streamer"] = Streamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        finished = False
        with contextlib.suppress(KeyboardInterrupt), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + len(self.messages))
            with speaking(self.model, [self.voice], [self.scale]):
                out = self.model.generate(ids, attention_mask=torch.ones_like(ids), **how)
            finished = True
            if out[0, -1].item() not in self.model.generation_config.eos_token_id:
                write(" …")
        self.messages = [*asked, {"role": "assistant", "content": "".join(said)}]
        return finished


def _scale(text: str | float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -1 <= value <= 2:
        raise ValueError(f"scale must be a number from -1 to 2, got {text}")
    return value


def talk(conversation: Conversation) -> int:
    """Read questions and commands line by line, to the end; answer on standard output.

    Return the exit code: 1 if a line of a pipe could not be answered. At a terminal an interrupt
    ends an answer; in a pipe it ends everything.
    """
    terminal = sys.stdin.isatty()
    if terminal:
        with contextlib.suppress(ImportError):
            importlib.import_module("readline")  # arrows and history for input()
        print("Ask anything; /help says what else there is.")
    code = 0
    while True:
        try:
            line = input("> " if terminal else "").strip()
            if line in ("/quit", "/exit"):
                return code
            if not (_reply(conversation, line) or terminal):
                raise KeyboardInterrupt
        except EOFError:
            return code
        except ValueError as error:
            print(one_line(error), file=sys.stderr)
            code = 0 if terminal else 1
        except KeyboardInterrupt:
            if not terminal:
                raise
            print("\n(/quit leaves)")


def _reply(conversation: Conversation, line: str) -> bool:
    """Print what a command or a question gives; return False if the answer was interrupted."""
    if line.startswith("/"):
        print(conversation.command(line))
    elif line:
        finished = conversation.answer(
            line, lambda text: print(printable(text), end="", flush=True)
        )
        print()
        return finished
    return True
