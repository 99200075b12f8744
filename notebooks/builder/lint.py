"""A source and its committed notebook → each breach of a rule, in a line. Nothing is run.

What stands in a source is named with file, line and cell; what only a committed notebook shows,
with its file and the cell. The page shows the idea and the numbers, and its machinery stands
behind it: no assert in a visible cell, no True or False in place of a number. A section ends with
its claims; a question keeps its secret, and stands in a cell of its own.
"""

import ast
import json
import math
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token
from nbformat import NotebookNode

from builder.editions import (
    built_path,
    draws,
    dumps,
    load,
    outputs,
    printed,
    reading_edition,
    sections,
    told_by,
    with_outputs,
)
from builder.source import (
    NOTEBOOKS,
    REPEATS,
    UNSTABLE,
    BuildError,
    Source,
    file_name,
    listed_numbers,
    numbers_in,
    read_source,
    read_text,
    slug,
    sources,
    tags,
)
from builder.translate import languages, read_translation, translate
from lora_edu.course.claims import plain
from lora_edu.course.say import say

MOST_BYTES = 600_000  # of a notebook, which everybody who clones the course fetches
HTML = re.compile(r"</?(?:details|summary)>|<details open>")  # all that a page may hold
LINK = re.compile(r"https?://.+|#.*|(?P<up>\.\./)?(?P<lesson>\d\d_\w+)\.ipynb(?:#.*)?")
REBUILD = "run `notebooks/build.py` for it"
MADE = "what is written in the notebook itself is lost"
WAYS = ("same", "less", "more", "none", "perhaps")  # of claims.yml: "no more" before "no"
NBVAL = re.compile(r"nbval-[a-z-]+|#[#\s]*(?:NBVAL|PYTEST_VALIDATE)_\w+")


def check(path: Path) -> tuple[list[str], list[str]]:
    """Return what is wrong with a lesson, and where translations are behind it.

    That is: its source, its committed notebook, its translations; and a text for each place that is
    late, with what has changed.
    """
    try:
        source = read_source(path)
    except BuildError as error:
        return [str(error)], []
    committed, late = load(built_path(path)), []
    if committed is None:
        missing = f"{path.stem}.ipynb: missing, or no notebook; {REBUILD}"
        return [*check_source(source), missing], []
    found = [
        *check_committed(source, committed),
        *check_cells(committed),
        *check_claims(committed),
        *check_collection(path, committed),
        *check_prose(committed, source.allowed_numbers),
        *check_page(committed),
    ]
    problems = [*check_source(source), *(f"{path.stem}.ipynb: {problem}" for problem in found)]
    problems += check_repeats(path, committed)
    for language in languages(path):
        wrong, behind = check_translation(source, committed, language)
        problems, late = problems + wrong, late + behind
    return problems, late


def check_translation(
    source: Source, committed: NotebookNode, language: str
) -> tuple[list[str], list[str]]:
    """Check one translation against the English source, and its notebook against both."""
    name = f"{language}/{source.path.stem}"
    try:
        rendered = read_translation(source, language)
        translation, problems, late = translate(source, rendered)
        problems += check_source(rendered)
        own = load(built_path(source.path, language))  # its pictures are compared with nothing
        expected = with_outputs(reading_edition(translation, language), committed, language, own)
    except BuildError as error:
        return [str(error)], []
    if not problems and own != expected:
        problems.append(f"{name}.ipynb: differs from its source; {REBUILD}")
    if not late:  # else the text of a claim may be missing
        late = [f"{name}: {line}" for line in check_spoken(expected, language)]
    return problems, late


def check_spoken(edition: NotebookNode, language: str) -> Iterator[str]:
    """Name the claims that a panel of a translation cannot say in its language.

    As in English, the words of a claim have to stand in the text of its section.
    """
    for section in sections(edition.cells):
        text = plain(" ".join(c.source for c in section if c.cell_type == "markdown"))
        for cell in section:
            for words in (plain(row["words"]) for row in carried(cell)):
                said = say(words, language)
                if said == words:
                    yield f"cell {cell.id}: no {language}.po has “{words}”"
                elif said not in text:
                    yield f"cell {cell.id}: no sentence of its section says “{said}”"


# -- a source ---------------------------------------------------------------------------------


def check_source(source: Source) -> Iterator[str]:
    """Name breaches of the rules of the page in a source, or in a translation."""
    for cell in source.cells:
        if found := NBVAL.search("\n".join([*tags(cell), cell.source])):
            kinds = ", ".join(sorted(UNSTABLE))
            yield f"{source.place(cell)}: {found[0]}: say what the cell is: {kinds}"
        if cell.cell_type == "markdown":
            for below, problem in check_markdown(cell.source, source.path.parent):
                yield f"{source.place(cell, below)}: {problem}"
        elif cell.source.rstrip().endswith(";"):
            yield (
                f"{source.place(cell)}: ends in `;`, which nbval does not honour: use `plt.show()`"
            )


MARKDOWN = MarkdownIt("commonmark").enable("table")
# The rules of the page judge an address, and more strictly.
MARKDOWN.validateLink = lambda url: True  # pyright: ignore[reportAttributeAccessIssue]


def check_markdown(text: str, siblings: Path) -> Iterator[tuple[int, str]]:
    """Name what a Markdown cell may not hold, each with how many lines below its first.

    That is: HTML other than ``<details>`` and ``<summary>``, a directive of MyST, and a link that
    leads neither to a page of the web, nor into the page, nor to a sibling notebook.
    """
    references: dict[str, dict] = {}
    line = 0
    for block in MARKDOWN.parse(text, {"references": references}):
        line = block.map[0] if block.map else line
        for token in [block, *(block.children or [])]:
            address = token.attrGet("src" if token.type == "image" else "href")
            if problem := wrong_html(token) or wrong_link(address, siblings):
                yield line, problem
                break  # one for a block: what opens is closed as well
    for reference in references.values():
        if problem := wrong_link(reference["href"], siblings):
            yield reference["map"][0], problem


def wrong_html(token: Token) -> str | None:
    """Say what a piece of Markdown shows raw or runs, if anything."""
    if token.type == "fence" and token.info.strip().startswith("{"):
        return f"a MyST directive (Jupyter shows it raw): {token.info!r}"
    if token.type == "inline" and (found := re.search(r"(?m)^:::+ *\{.*", token.content)):
        return f"a MyST directive (Jupyter shows it raw): {found[0]!r}"
    if token.type not in ("html_block", "html_inline"):
        return None
    found = re.search(r"<[^>\n]*>?", HTML.sub("", token.content))
    return f"HTML other than <details>: {found[0]!r}" if found else None


def wrong_link(address: Any, siblings: Path) -> str | None:
    """Say where a link or a picture leads if it may not lead there."""
    if address is None:
        return None
    match = LINK.fullmatch(address)
    if match is not None:
        folder = siblings.parent if match["up"] else siblings  # from a translation to English
        if match["lesson"] is None or (folder / f"{match['lesson']}.md").exists():
            return None
    return f"a link to neither https://…, nor #…, nor a sibling notebook: {address!r}"


# -- a committed notebook beside its source ---------------------------------------------------


def check_committed(source: Source, committed: NotebookNode) -> Iterator[str]:
    """Name what in a committed notebook is not as a fresh build of its source makes it."""
    expected = reading_edition(source)
    for new, old in zip(expected.cells, committed.cells, strict=False):
        if as_written(new) != as_written(old):
            yield f"cell {new.id}: differs from its source; {REBUILD} ({MADE})"
    if len(expected.cells) != len(committed.cells):
        yield f"{len(committed.cells)} cells, its source has {len(expected.cells)}; {REBUILD}"
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        if cell.execution_count != count:
            yield (
                f"cell {cell.id}: execution count {cell.execution_count}, expected {count}: "
                "not run from top to bottom"
            )
    if set(committed.metadata) - {"kernelspec", "language_info"}:
        yield f"metadata that no build writes: {sorted(committed.metadata)}"
    if (size := len(dumps(committed).encode())) > MOST_BYTES:
        yield f"{size:,} bytes, more than {MOST_BYTES:,}: draw fewer or smaller pictures"


def as_written(cell: NotebookNode) -> tuple[object, ...]:
    """Return what of a cell its source says."""
    return cell.id, cell.cell_type, cell.source, tags(cell)


def check_cells(committed: NotebookNode) -> Iterator[str]:
    """Name errors among the outputs, figures without text, live cells without a still twin."""
    for cell in committed.cells:
        for output in outputs(cell):
            if output.output_type == "error":
                yield f"cell {cell.id}: an error output: {output.ename}: {output.evalue}"
            if output.get("name") == "stderr":
                yield f"cell {cell.id}: an output on stderr: {output.text[:80]!r}"
    for cell, following in zip(committed.cells, [*committed.cells[1:], None], strict=True):
        if draws(cell) and not told_by(following):
            yield f"cell {cell.id}: a figure without its text (a next cell tagged `figure-text`)"
        if "live" in tags(cell) and (
            following is None or "live" in tags(following) or not outputs(following)
        ):
            yield f"cell {cell.id}: live, without a still twin (a next cell with an output)"


# -- numbers in the prose ---------------------------------------------------------------------


def check_prose(notebook: NotebookNode, allowed: Iterable[float]) -> Iterator[str]:
    """Name each number in the prose that no cell of its section holds or shows.

    A section without code (a closing, say) may use the numbers of the whole notebook; so may the
    opening, which says what is to come.
    """
    parts = sections(notebook.cells)
    by_part = [
        set().union(*(numbers_shown(c) for c in part if c.cell_type == "code")) for part in parts
    ]
    everywhere = set().union(*by_part)
    for position, (part, shown) in enumerate(zip(parts, by_part, strict=True)):
        has_code = any(cell.cell_type == "code" for cell in part)
        known = {*allowed, *(shown if has_code and position > 0 else everywhere)}
        for cell in part:
            if cell.cell_type == "markdown" and not {"solution", "quiz"}.intersection(tags(cell)):
                for value, written in numbers_in(cell.source).items():
                    if value not in known:
                        yield f"cell {cell.id}: no cell of this section shows the number {written}"


def numbers_shown(cell: NotebookNode) -> set[float]:
    """Collect the numbers that a code cell holds as constants, or shows and will show again."""
    if "claims" in tags(cell):  # a panel shows how many there are, and holds what each says
        return numbers_claimed(cell)
    values = set()
    for node in ast.walk(parsed(cell)):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            values.add(float(node.value))
    return values if UNSTABLE.intersection(tags(cell)) else {*values, *numbers_in(printed(cell))}


def parsed(cell: NotebookNode) -> ast.Module:
    """Return the code of a cell; of one with a magic, nothing."""
    try:
        return ast.parse(cell.source)
    except SyntaxError:
        return ast.Module([], [])


# -- the rules of the page --------------------------------------------------------------------


def check_page(notebook: NotebookNode) -> Iterator[str]:
    """Name each breach of the rules of the page."""
    for cell in notebook.cells:
        if cell.cell_type != "code" or "claims" in tags(cell):
            continue
        tree = parsed(cell)
        names = {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
        asserts = any(isinstance(node, ast.Assert) for node in ast.walk(tree))
        if asserts or any("assert_" in name for name in names):
            yield f"cell {cell.id}: an assert on the page: claims hold what it says"
        asks = bool(names & ASKING)
        if asks != ("predict" in tags(cell)) or asks != is_question(cell.source, tree):
            yield (
                f'cell {cell.id}: a question holds guess = "?" and predict(guess, …) alone, '
                "and has the tag `predict`"
            )
        elif asks and gives_away(tree):
            yield f"cell {cell.id}: the question gives its answer away: compute it"
        if re.search(r"\b(?:True|False)_?\b", printed(cell)):
            yield f"cell {cell.id}: it shows True or False; show the number, or say it in words"
    for section in sections(notebook.cells)[1:]:
        code = [cell for cell in section if cell.cell_type == "code"]
        if code and [cell for cell in code if "claims" in tags(cell)] != section[-1:]:
            yield f"cell {section[0].id}: one cell tagged `claims` ends a section with code"


ASKING = {"predict", "checks.vote"}


def is_question(source: str, tree: ast.Module) -> bool:
    """Say whether a cell is ``guess = "?"``, a comment perhaps, and ``predict(guess, …)`` alone."""
    match tree.body:
        case [
            ast.Assign(targets=[ast.Name("guess")]),
            ast.Expr(ast.Call(asking, [ast.Name("guess"), _, *_])),
        ] if ast.unparse(asking) in ASKING:
            return re.match(r'guess = "\?"(?:  # .*)?\n', source) is not None
    return False


def gives_away(question: ast.Module) -> bool:
    """Say whether a prediction holds its answer, which nothing computes; a vote has none."""
    call: Any = question.body[1]
    if ast.unparse(call.value.func) != "predict":
        return False
    return not any(isinstance(node, (ast.Name, ast.Call)) for node in ast.walk(call.value.args[1]))


# -- claims: the outputs of panels carry them as metadata; one file collects those of all ---------

# What a reader sees of a folded cell, for JupyterLab shows its first line.
FIRST_LINE = "# What this section says, held to its numbers (click to read)"


def carried(cell: NotebookNode) -> list[dict[str, Any]]:
    """Return the claims that the output of a cell carries."""
    found = []
    for output in outputs(cell):
        found += output.get("metadata", {}).get("lora_edu", {}).get("claims", [])
    return found


def claims_of(notebook: NotebookNode) -> list[dict[str, Any]]:
    """Return the claims of a notebook in their order, each with its section and its cell."""
    found = []
    for section in sections(notebook.cells):
        for cell in section:
            title = re.sub(r"^#+ (?:\d+ · )?", "", section[0].source.partition("\n")[0])
            found += [{"section": title, "cell": cell.id, **row} for row in carried(cell)]
    return found


def numbers_claimed(cell: NotebookNode) -> set[float]:
    """Return the numbers that a panel holds its text to."""
    texts = [text for row in carried(cell) for text in (row["says"], *row.get("names", []))]
    return {number for text in texts for number in numbers_in(text)}


def check_claims(notebook: NotebookNode) -> Iterator[str]:
    """Name each panel that is not as it should be, and each claim that no sentence makes."""
    folded = {"hint", "solution"}
    for section in sections(notebook.cells):
        prose = [
            c for c in section if c.cell_type == "markdown" and not folded.intersection(tags(c))
        ]
        text = "\n\n".join(cell.source for cell in prose)
        for cell in section:
            if "claims" not in tags(cell):
                continue
            if {"slide", "fragment"}.intersection(tags(cell)):
                yield f"cell {cell.id}: claims are no part of the slides"
            if cell.source.partition("\n")[0] != FIRST_LINE:
                yield f"cell {cell.id}: a reader sees its first line, which is {FIRST_LINE!r}"
            if not carried(cell):
                yield f"cell {cell.id}: it shows no panel of claims"
            for row in carried(cell):
                if problem := wrong_words(row, text):
                    yield f"cell {cell.id}: {problem}"


def wrong_words(row: dict[str, Any], text: str) -> str | None:
    """Say what is wrong with the words of a claim, if anything."""
    words, problem = plain(row["words"]), None
    paragraphs = plain(re.sub(r"\n\s*\n", " . ", text))
    clause = rf"(?:^|[.,;:?!–-] |[.?!]\) |\(){re.escape(words)}(?= ?[.,;:?!)](?:[\s)]|$)| \(|\s*$)"
    if len(words.split()) < 2 or words not in plain(text):
        return f"no sentence of its section says “{row['words']}”"
    if not (re.search(clause, paragraphs) and re.search(any_of(lexicon()["verbs"]), words)):
        problem = "is no clause, from comma to comma, with a verb"
    else:
        problem = contradiction(words, row, whole=True)
    return f"“{row['words']}” {problem}" if problem else None


@cache
def lexicon() -> dict[str, list[str]]:
    """Return the words that say which way a claim goes, by their direction, verbs and numbers."""
    read = yaml.safe_load(read_text(NOTEBOOKS / "src" / "claims.yml"))
    return {kind: words.split(", ") for kind, words in read.items()}


def any_of(words: Iterable[str]) -> str:
    """Return a pattern of whole words, in capitals or not."""
    return rf"(?i:(?<![\w-])(?:{'|'.join(map(re.escape, words))})(?![\w-]))"


def contradiction(words: str, row: dict[str, Any], whole: bool = False) -> str | None:
    """Say what words say otherwise than the code of a claim: of whom, which way, how much.

    The ``whole`` of its numbers need not be in a sentence that repeats it.
    """
    sense, says = row.get("sense", ""), plain(row["says"])
    if names := [plain(name) for name in row.get("names", [])]:
        found = [re.search(any_of([name]), words) for name in names]
        places = [match.start() if match else math.inf for match in found]
        if places != sorted(places) or math.inf in (places[:1] if sense else places):
            return f"does not name “{'”, then “'.join(names)}”"
        words, says = (re.sub(any_of(names), "…", each) for each in (words, says))
    numbers, said = ([value for value, _ in listed_numbers(each)] for each in (words, says))
    if said == [0] and not numbers:
        sense, said = "none", []
    ways = "|".join(f"(?P<{way}>{any_of(lexicon()[way])})" for way in WAYS)
    told = sorted({str(match.lastgroup) for match in re.finditer(ways, words)})
    if told != [sense] * bool(sense):
        no = "no direction"
        return f"says {' and '.join(told) or no}, its code {sense or no}"
    for number, numeral in enumerate(lexicon()["numbers"]):
        words = re.sub(any_of([numeral]), str(number), words)
    bounds = says.startswith(("above", "below")) or " to " in says
    spelled = said if bounds or not whole else [value for value, _ in listed_numbers(words)]
    return (
        None if in_order(numbers, said) and in_order(said, spelled) else f"is held to {row['says']}"
    )


def in_order(some: Iterable[float], others: Iterable[float]) -> bool:
    """Say whether some numbers are among others, in this order, if need be in %."""
    rest = iter(others)
    return all(
        any(math.isclose(one, times * other) for other in rest for times in (1, 100, 0.01))
        for one in some
    )


def check_repeats(path: Path, notebook: NotebookNode) -> Iterator[str]:
    """Name what a lesson, or DECISIONS, repeats of its claims though they say otherwise by now."""
    claims = {row["name"]: row for row in claims_of(notebook) if row.get("name")}
    for file, lesson in ((path, None), (path.parents[1] / "DECISIONS.md", slug(path))):
        lines = read_text(file).split("\n") if file.exists() else []
        for number, line in enumerate(lines, 1):
            for match in REPEATS.finditer(line):
                before = plain(REPEATS.sub("", line[: match.start()]))
                clause = re.split(r"[.;:|] ", before)[-1]
                row = claims.get(match["name"], {"says": "no more"})
                problem = contradiction(clause, row)
                if row["says"] != match["says"]:
                    problem = f"repeats {match['name']}, which says {row['says']}"
                if match["lesson"] == lesson and problem:
                    yield f"{file_name(file)}:{number}: “{clause}” {problem}"


def collection(folder: Path) -> Path:
    """Return the file that holds the claims of all lessons in ``folder``, the notebooks'."""
    return folder.parent / "lora_edu" / "course" / "data" / "claims.json"


def collect(folder: Path) -> str:
    """Return what that file must say: lesson → claims, of each lesson that makes any."""
    found = {}
    for path in sources(folder=folder):
        notebook = load(folder / f"{path.stem}.ipynb")
        if notebook is not None and (rows := claims_of(notebook)):
            found[slug(path)] = rows
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def check_collection(path: Path, notebook: NotebookNode) -> Iterator[str]:
    """Say whether the file has other claims of a lesson than its notebook."""
    file = collection(path.parent.parent)
    stored = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if stored.get(slug(path), []) != claims_of(notebook):
        yield f"{file.name} has other claims of this lesson; run `notebooks/build.py` for it"
