"""Data, and texts that are looked up → pages of the web edition: each function returns Markdown."""

import html
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from builder.explorables import front_data
from builder.pages import Pictures, inline
from builder.source import NOTEBOOKS, BuildError, read_text
from lora_edu.course import ledger as published
from lora_edu.course.claims import collected
from lora_edu.course.say import without_accents

ROOT = NOTEBOOKS.parent
TEXTS = NOTEBOOKS / "site"  # what these pages say beside their data
TABLE = re.compile(r"(?m)(?:^\|.*\n)+")
COLUMNS = ["where", "row", "model", "published", "derived", "verdict", "why"]


def filled(name: str, language: str = "en", **parts: object) -> str:
    """Return a text of the site with what stands there in braces."""
    text = read_text(TEXTS / ("" if language == "en" else language) / f"{name}.md")
    for part, value in parts.items():
        text = text.replace(f"{{{part}}}", str(value))
    return text


def heads(names: Iterable[str]) -> str:
    """Return the head of a table."""
    columns = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f"<thead><tr>{columns}</tr></thead>"


# -- how we know ----------------------------------------------------------------------------------


def know(stem: str, title: str, section: list[str], places: dict[str, str]) -> str:
    """Return what stands behind a lesson: its own section on that, and every claim.

    ``places`` holds the place of each heading of the lesson, to which the table leads.
    """
    found = collected().get(stem.partition("_")[2], [])
    body = []
    for name in dict.fromkeys(claim["section"] for claim in found):
        own = [claim for claim in found if claim["section"] == name]
        link = f'<a href="{places.get(name, f"../{stem}.html")}">{inline(name)}</a>'
        body.append(f'<tr><th colspan="4" scope="colgroup">{link}</th></tr>')
        body += map(claimed, own)
    head = heads(["the sentence", "it says", "computed", "said of"])
    table = f'<table class="claims">{head}<tbody>\n' + "\n".join(body) + "\n</tbody></table>"
    headed = (re.sub(r"^## .*", "## What was run, and how sure one can be", b) for b in section)
    return filled(
        "know",
        number=stem[:2],
        title=title,
        stem=stem,
        count=len(found),
        section="\n\n".join(headed),
        table=f'<div class="table-wrapper">{table}</div>',
    )


def claimed(claim: dict[str, Any]) -> str:
    """Return one claim as a row."""
    seeds = claim["seeds"]
    within = f" ± {claim['within']:g}" if claim["within"] else ""
    said = [f"{claim['says']}{within}", claim["value"]]
    said.append(f"{seeds} runs" if isinstance(seeds, int) else f"{seeds} seed")
    cells = [inline(claim["words"]), *map(html.escape, said)]
    return "<tr>" + "\n".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def know_index(stems: Iterable[str]) -> str:
    """Return the page that leads to what stands behind each lesson."""
    found = collected()
    each = [f"- [{s[:2]}]({s}.md): {len(found[s.partition('_')[2]])} sentences" for s in stems]
    total = sum(map(len, found.values()))
    return filled("know_index", count=f"{total:,}", list="\n".join(each))


# -- the glossary, the ledger, the gallery --------------------------------------------------------


def glossary(text: str, language: str = "en") -> str:
    """Give each row of the glossary its place, and the page an opening for those who only read."""

    def placed(row: re.Match[str]) -> str:
        name = re.sub(r"[^a-z0-9]+", "-", without_accents(row[1]).replace("+", "plus"))
        return (
            f'| <span id="term-{name}">{row[1]}</span> | <span id="means-{name}">{row[2]}</span> |'
        )

    table = TABLE.search(text)
    if table is None:
        raise BuildError("GLOSSARY.md: the table is missing")
    head, line, rows = table[0].split("\n", 2)
    body = re.sub(r"(?m)^\| ([^|]+?) \| ([^|]+?) \|", placed, rows)
    return "\n".join([filled("glossary", language) + head, line, body])


def gallery(text: str, names: dict[str, str], pictures: Pictures) -> str:
    """Return the gallery by lessons: small pictures with titles, each of which opens the large one.

    ``names`` holds the files of the lessons, by their slugs.
    """
    head, *entries = re.split(r"(?m)^## ", text)
    groups: dict[str, list[str]] = {slug: [] for slug in names}
    last = ""  # what is no picture
    for entry in entries:
        if "lesson: `" not in entry:
            last += f"\n\n## {entry}"
            continue
        name, shows, *rest = entry.strip().split("\n\n")
        lesson = re.findall(r"lesson: `(\w+)`", entry)[0]
        title = re.sub(r"^Show (?:that )?", "", shows).rstrip(".")
        small = pictures.add(f"{name}-small", thumbnail(ROOT / "figures" / f"{name}.png"))[0]
        summary = (
            f'<img src="{small}" loading="lazy" alt=""> {inline(title[0].upper() + title[1:])}'
        )
        told = [block.replace(f"; lesson: `{lesson}`", "") for block in rest]
        opening = f'<details id="{name}"><summary>{summary}</summary>'
        groups[lesson].append("\n\n".join([opening, *told, "</details>"]))
    blocks = [
        f"## Lesson {names[lesson][:2]}\n\n[To the lesson](../notebooks/{names[lesson]})\n\n"
        '<div class="gallery">\n\n' + "\n\n".join(found) + "\n\n</div>"
        for lesson, found in groups.items()
        if found
    ]
    return "\n\n".join([head.strip(), *blocks]) + last


def thumbnail(path: Path) -> bytes:
    """Return a picture of at most 360 × 240 pixels, as PNG."""
    buffer = io.BytesIO()
    with Image.open(path) as picture:
        small = picture.convert("RGB")
        small.thumbnail((360, 240))
        small.save(buffer, "png")
    return buffer.getvalue()


def ledger(text: str) -> str:
    """Return the ledger as one table that sorts, and what filters it, below the text's opening."""
    found = published.lines(published.tables())
    known = {entry["id"] for entry in found}

    def choice(name: str) -> str:
        values = dict.fromkeys(entry[name] for entry in found)
        options = "".join(f"<option>{html.escape(value)}</option>" for value in values)
        return (
            f'<label>{name} <select name="{name}">'
            f'<option value="">all</option>{options}</select></label>'
        )

    body, placed = [], set()
    for entry in found:
        place = "" if entry["id"] in placed else f' id="{entry["id"]}"'
        placed.add(entry["id"])
        cells = figure_of(entry, known)
        chosen = f'data-source="{entry["source"]}" data-verdict="{entry["verdict"]}"'
        body.append(f"<tr{place} {chosen}>" + "\n".join(cells) + "</tr>")
    rows = "\n".join(body)
    table = (
        f'<div class="filters" data-filters="ledger">{choice("source")}{choice("verdict")}'
        '<label>containing <input type="search" name="containing"></label> <output></output></div>'
        '\n\n<div class="table-wrapper high"><table class="sortable" id="ledger">'
        f"{heads(COLUMNS)}\n<tbody>\n{rows}\n</tbody></table></div>"
    )
    cited = "\n".join(f"- **{name}**: {what}" for name, what in published.sources().items())
    counts = published.shares()
    told = {name: counts[name] for name in ("figures", "tested", "differ", "causes")}
    opening = text.split(f"\n## {found[0]['source']}:")[0].strip()  # what differs, too
    return filled("ledger", opening=opening, table=table, cited=cited, rows=len(found), **told)


def figure_of(entry: dict[str, Any], known: set[str]) -> Iterator[str]:
    """Yield the cells of one published figure; in its reason, other entries are links."""
    what = entry["row"] if entry["quantity"] == "value" else f"{entry['row']} · {entry['quantity']}"
    how = "" if entry["configuration"] == entry["row"] else f", {entry['configuration']}"
    model = f"{entry['model']}{how}" if entry["model"] else entry["configuration"]
    address, where = html.escape(entry["url"]), f"{entry['source']}, {entry['table']}"
    yield f'<td><a href="{address}" title="{entry["read"]}">{html.escape(where)}</a></td>'
    for value in (what, model):
        yield f"<td>{html.escape(value)}</td>"
    printed, number = entry["published"], entry["derived"]
    size = float(published.printed_value(printed.removesuffix(" (MiB)")))  # for sorting
    yield f'<td data-value="{size}">{html.escape(printed)}</td>'
    derived = f"{number:,}" if isinstance(number, int) else f"{number:,.6g}"
    yield f'<td data-value="{number}">{derived}</td>'
    yield f"<td>{entry['verdict']}</td>"
    why = html.escape(entry["explanation"])
    why = re.sub(
        r"\b[A-Z][\w.]*\d[\w.]*\w\b",
        lambda m: f'<a href="#{m[0]}">{m[0]}</a>' if m[0] in known else m[0],
        why,
    )
    tried = f" Tried: {html.escape(entry['tried'])}." if entry["tried"] else ""
    made = "" if entry["could_fail"] else " <em>This one could not have come out otherwise.</em>"
    yield f"<td>{why}{tried}{made}</td>"


# -- the first page -------------------------------------------------------------------------------


def landing(readme: str, language: str = "en") -> str:
    """Return the README as the first page: its opening, and its picture, give way to the site's.

    What there is to read comes before what to install.
    """
    opening, begin, syllabus, *others = re.split(r"(?m)^(?=## )", readme)
    _, picture, rest = opening.rpartition("](figures/matrix_anatomy.png)\n")
    roads = TABLE.search(begin)
    if not picture or roads is None:
        raise BuildError("README.md: the picture of matrices is missing, or the table of the roads")
    first = filled("front", language, moments=moments(), strips=box("strips", language))
    explore = filled("explore", language, roads=roads[0])
    return "\n".join([first, rest, explore, syllabus, begin.replace(roads[0], ""), *others])


def moments() -> str:
    """Return what the voice says when it is out, half in and in, for a page without scripts."""
    data = front_data()
    shown = [(data["scales"].index(scale), scale) for scale in (0, 0.5, 1)]
    said = "".join(
        f"<dt>W₀ + {scale:g} · BA</dt><dd>{html.escape(data['said']['pirate'][0][at])}</dd>"
        for at, scale in shown
    )
    return f"<p><b>{html.escape(data['asked'][0])}</b></p><dl>{said}</dl>"


def box(name: str, language: str = "en") -> str:
    """Return the place of a piece to play with, as its own page has it."""
    text = read_text(TEXTS / ("" if language == "en" else language) / "explore" / f"{name}.md")
    return text[text.index('<div class="explorable"') : text.index("</div>")] + "</div>"


# -- the package ----------------------------------------------------------------------------------


def api(name: str) -> str:
    """Return the page of a module: what its docstrings say."""
    title = f"# `lora_edu.{name}`"
    return f"{title}\n\n```{{eval-rst}}\n.. automodule:: lora_edu.{name}\n   :members:\n```\n"
