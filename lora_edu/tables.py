"""A table of the user's: texts with labels, or conversations; from CSV, TSV or JSONL.

Whatever is wrong with one is a ValueError that names the file, and the line where it is in one.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

ROLES = ("system", "user", "assistant")


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
        how = "(in Excel: Save as, CSV UTF-8)"
        raise ValueError(f"{path} must be a file in UTF-8 {how}: {error}") from None


def _columns(path: str | Path, one: str, other: str) -> Iterator[list[str]]:
    """Yield what stands in two columns of a CSV or TSV file, row by row."""
    csv.field_size_limit(2**31 - 1)  # its own limit is 131,072 characters
    between = "\t" if Path(path).suffix.lower() == ".tsv" else ","
    empty: dict[str, list[str]] = {}  # the lines in which a column is
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True, delimiter=between)
    try:
        names = next(reader, [])
        _check_names(path, names, (one, other), between)
        for row in filter(None, reader):
            if "\0" in "".join(row):
                raise csv.Error("line contains NUL")  # as Python 3.10 does itself
            if len(row) != len(names):
                raise csv.Error(f"{len(row)} fields, not {len(names)}: is a {between!r} unquoted?")
            field = dict(zip(names, row, strict=True))
            for name in (one, other):
                if not field[name].strip():
                    empty.setdefault(name, []).append(str(reader.line_num))
            yield [field[one], field[other]]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}, is no CSV: {error}") from None
    for name, lines in empty.items():
        many = f"lines {', '.join(lines[:20])}" if len(lines) > 1 else f"line {lines[0]}"
        raise ValueError(f"{path}, {many}: an empty {name}")


def _check_names(path: str | Path, names: list[str], wanted: tuple[str, str], between: str) -> None:
    """Raise a ValueError if a table has not exactly one column of each name that is wanted."""
    for name in wanted:
        if name not in names:
            hint = f" (columns are separated by {between!r})" if len(names) < 2 else ""
            raise ValueError(f"{path} has no column {name!r}, only {names}{hint}")
        if names.count(name) > 1 or wanted[0] == wanted[1]:
            raise ValueError(f"{path} must have two columns, and one of the name {name!r}")
