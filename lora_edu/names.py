"""Names of models as people write them, and which known one is meant.

``meta-llama/Llama-3.1-8B-Instruct`` and ``llama3.1-8b`` mean the same shapes. A name is read as a
list of words, of letters or of a number with its unit: ``llama``, ``3.1``, ``8b``.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

WORD = re.compile(r"\d+(?:\.\d+)*(?:[bmk](?![a-z]))?|[a-z]+")
STORED = re.compile(
    r"\.gguf$|[-_](?:bnb[-_])?[48]bit|[-_](?:fp8|int[48]|awq|gptq|gguf|bf16|fp16)", re.I
)
# These may stand in a name and say nothing of shapes.
SHAPELESS = {
    "hf", "meta", "instruct", "it", "chat", "base", "pt", "dpo", "sft", "unsloth", "model", "orig",
    "thinking", "preview", "text",
}  # fmt: skip


@lru_cache(4096)
def words(name: str) -> tuple[str, ...]:
    """Return the words of a name, without its owner and how the weights are stored."""
    return tuple(WORD.findall(STORED.sub("", name.rstrip("/").rpartition("/")[2]).lower()))


def meant(name: str, known: Mapping[str, Iterable[str]]) -> str:
    """Return the key of ``known``, id → other names, that a name means.

    Its words must be those of the id or of one of its other names, but for words that say nothing
    of shapes. A ValueError suggests what else may be meant: names with as many of the same words
    as can be, of the same family (the first word) where there is one. A TypeError if it is no text.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a text, got {name!r}")
    if name in known:
        return name
    written = words(name)
    ids = {words(other): id_ for id_, others in known.items() for other in (id_, *others)}
    if written in ids:
        return ids[written]
    plain = [word for word in written if word not in SHAPELESS]
    for own, id_ in ids.items():
        if [word for word in own if word not in SHAPELESS] == plain and {*own} <= {*written}:
            return id_
    near = ", ".join(_near(written, ids))
    raise ValueError(f"{name!r} is no model of the catalogue" + (f": {near}?" if near else "."))


def _near(written: tuple[str, ...], ids: Mapping[tuple[str, ...], str]) -> list[str]:
    """Return up to three ids, the likeliest first."""
    families = {own[0] for own in ids}
    first = difflib.get_close_matches(written[0] if written else "", families, 1, 0.75)
    if not first:
        return []
    wanted = (first[0], *written[1:])
    of_it = {own: id_ for own, id_ in ids.items() if own[0] == first[0]}
    alike = {own: difflib.SequenceMatcher(None, wanted, own).ratio() for own in of_it}
    best = sorted(of_it, key=lambda own: -alike[own])
    return list(dict.fromkeys(of_it[own] for own in best))[:3]
