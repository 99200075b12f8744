"""How Sphinx builds the staged pages of one language (see builder/site.py)."""

import html
import json
import re
from pathlib import Path
from textwrap import shorten
from typing import Any

from builder.pages import LABELS, plain
from builder.site import ADDRESS
from docutils import nodes
from latex2mathml.converter import convert
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.search import SearchLanguage
from sphinx.util.docutils import SphinxTranslator

from lora_edu import __version__
from lora_edu.course.say import without_accents

project = "LoRA, verified"
copyright = "the lora-edu authors; code MIT, prose and pictures CC BY 4.0"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # a part of a page may begin with a lower heading
templates_path = ["templates"]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "languages.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
html_theme = "furo"
html_title = project
locale_dirs = ["locale"]  # of the stage
html_favicon = "strips.svg"
html_css_files = ["site.css", "explorables.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_search_scorer = str(Path(__file__).with_name("scorer.js"))
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
html_theme_options = {"top_of_page_buttons": []}
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
toc_object_entries = False
smartquotes = False


# -- formulas, which browsers draw by themselves --------------------------------------------------


def coloured(formula: str) -> str:
    """Give the two strips their colours, which they have wherever they occur."""
    return re.sub(r"<mi>([AB])</mi>", r'<mi class="\1">\1</mi>', formula)


def inline_formula(self: SphinxTranslator, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(coloured(convert(node.astext())))
    raise nodes.SkipNode


def block_formula(self: SphinxTranslator, node: nodes.math_block) -> None:
    """Write a formula on a line of its own."""
    formula = coloured(convert(node.astext(), display="block"))
    self.body.append(f'<div class="math-block">{formula}</div>')
    raise nodes.SkipNode


# -- a search that folds tones, and what the theme says by itself ---------------------------------


class SearchVietnamese(SearchLanguage):
    """Words without their tones, and đ as d: as one types them without a Vietnamese keyboard."""

    lang = "vi"
    language_name = "Vietnamese"
    js_stemmer_code = """
var Stemmer = function () {
  this.stemWord = word =>
    word.replaceAll("đ", "d").normalize("NFD").replace(/[\\u0300-\\u036f]/g, "");
};
"""

    def stem(self, word: str) -> str:
        """Return a word as it stands in the index."""
        return without_accents(word)


# What furo says, and cannot be told in another language.
FIXED = {
    "Skip to content": "Đến nội dung",
    "Toggle site navigation sidebar": "Mở hoặc đóng mục lục của trang web",
    "Toggle table of contents sidebar": "Mở hoặc đóng mục lục của trang này",
    "Toggle Light / Dark / Auto color theme": "Đổi nền sáng, tối, tự động",
}


def speak(app: Sphinx) -> None:
    """Let the scripts and the brand speak the language."""
    if app.config.language == "vi":
        app.add_js_file("words.vi.js")
        app.config.html_title = "LoRA, kiểm chứng từng bước"


def translate_rest(app: Sphinx, error: Exception | None) -> None:
    """Put FIXED into the pages that are written."""
    if app.config.language == "vi" and error is None:
        for page in Path(app.outdir).rglob("*.html"):
            text = page.read_text(encoding="utf-8")
            for words, own in FIXED.items():
                text = text.replace(words, own)
            page.write_text(text, encoding="utf-8")


# -- terms lead to the glossary -------------------------------------------------------------------

ROW = re.compile(
    r'(?m)^\| <span id="(?P<id>[^"]+)">(?P<term>[^<]+)</span> '
    r'\| <span id="[^"]+">(?P<what>.+?)</span> \| (?P<last>.+) \|$'
)
APART = (nodes.title, nodes.reference, nodes.literal, nodes.math, nodes.raw, nodes.literal_block)


def terms(app: Sphinx) -> dict[str, tuple[str, str]]:
    """Return the terms of the glossary: word → its anchor, and what it means in plain words.

    A translated one has the English word in a column before the meaning.
    """
    page = Path(app.srcdir) / "notebooks" / "GLOSSARY.md"
    if not page.exists():
        return {}
    rows = ROW.finditer(page.read_text(encoding="utf-8"))
    if app.config.language == "en":
        return {row["term"]: (row["id"], plain(row["what"])) for row in rows}
    return {
        row["term"]: (row["id"], plain(f"({row['what']}) {row['last'].split(' | ')[0]}"))
        for row in rows
    }


def index_terms(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Let the search put the meaning of a term before the pages on which it stands."""
    if docname == "notebooks/GLOSSARY":
        places = {term: place.replace("term-", "means-") for term, (place, _) in terms(app).items()}
        entries = [("single", term, place, "main", None) for term, place in places.items()]
        doctree.insert(0, addnodes.index(entries=entries))


def apart(text: nodes.Text) -> bool:
    """Say whether a text stands in a heading, a link, code or a formula."""
    parent = text.parent
    while parent is not None and not isinstance(parent, APART):
        parent = parent.parent
    return parent is not None


LESSON = re.compile(r"(?i)(?<![\w-])(?:lesson|bài) (\d\d)(?!\d)")


def linked(text: nodes.Text, links: list[tuple[re.Match[str], str]]) -> None:
    """Put links, as HTML, in the place of what was found in a text."""
    words, at, parts = text.astext(), 0, []
    for match, link in links:
        parts += [nodes.Text(words[at : match.start()]), nodes.raw("", link, format="html")]
        at = match.end()
    if parts:
        text.parent.replace(text, [*parts, nodes.Text(words[at:])])


def link_lessons(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Let each mention of another lesson lead there: in this language or, failing that, English."""
    known = json.loads((Path(app.srcdir) / "languages.json").read_text(encoding="utf-8"))
    own = app.config.language
    places = {
        Path(name).name[:2]: (language, name)
        for language in ("en", own)
        for name in known[language]
        if re.match(r"notebooks/\d\d_", name)
    }
    for text in list(doctree.findall(nodes.Text)):
        links = []
        for match in () if apart(text) else LESSON.finditer(text.astext()):
            language, place = places.get(match[1], ("", docname))
            if place == docname:
                continue
            there = app.builder.get_relative_uri(docname, place)
            if language != own:
                there = f"{'../' * (docname.count('/') + 1)}{language}/{place}.html"
            links.append((match, f'<a href="{there}">{match[0]}</a>'))
        linked(text, links)


def link_terms(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Let the first mention of each term in a lesson lead to the glossary."""
    if not re.match(r"notebooks/\d\d_", docname):
        return
    left = terms(app)
    for text in list(doctree.findall(nodes.Text)):
        if apart(text) or not left:
            continue
        # In Vietnamese a word of one syllable is part of many others: đầu, in đầu vào. There it is
        # a term where it stands by itself, in bold.
        alone = text.astext().lower() if isinstance(text.parent, nodes.strong) else ""
        here = [t for t in left if app.config.language == "en" or " " in t or t.lower() == alone]
        wanted = "|".join(sorted(map(re.escape, here), key=len, reverse=True)) or "(?!)"
        match = re.search(rf"(?i)(?<![\w-])(?:{wanted})(?![\w-])", text.astext())
        term = next((t for t in left if match and t.lower() == match[0].lower()), None)
        if match is not None and term is not None:
            place, what = left.pop(term)
            tip, words = html.escape(what), html.escape(match[0])
            link = f'<a class="term" href="GLOSSARY.html#{place}" title="{tip}">{words}</a>'
            linked(text, [(match, link)])


# -- the same page in another language ------------------------------------------------------------


def metatags(
    app: Sphinx, page: str, context: dict[str, Any], doctree: nodes.document | None
) -> str:
    """Return what search engines, and those to whom one sends the page, see of it."""
    told = [] if doctree is None else [each.astext() for each in doctree.findall(nodes.paragraph)]
    told = [" ".join(re.sub("<[^>]+>", "", text).split()) for text in told]
    shared = plain(LABELS[app.config.language]["here"])[:20]  # of all lessons
    long = [text for text in told if len(text) > 60 and not text.startswith(shared)]
    title = html.unescape(plain(context.get("title") or project))
    found = {"og:title": title, "og:site_name": project, "og:type": "website"}
    if long:
        found["description"] = found["og:description"] = shorten(long[0], 200, placeholder=" …")
    if ADDRESS:
        owner, _, name = ADDRESS.partition("/")
        root = f"https://{owner.lower()}.github.io/{name}/{app.config.language}/"
        found |= {"og:url": f"{root}{page}.html", "og:image": f"{root}_static/card.png"}
        found["twitter:card"] = "summary_large_image"
    kinds = {key: "property" if key.startswith("og:") else "name" for key in found}
    rows = (f'<meta {kinds[key]}="{key}" content="{html.escape(found[key])}">' for key in found)
    return "\n".join(rows)


def add_languages(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Give the template where the page is in each language, or else that language's first page."""
    known = json.loads((Path(app.srcdir) / "languages.json").read_text(encoding="utf-8"))
    up = "../" * (page.count("/") + 1)
    context["languages"] = [
        (language, f"{up}{language}/{page if page in places else 'index'}.html")
        for language, places in known.items()
    ]
    context["metatags"] = context.get("metatags", "") + metatags(app, page, context, doctree)
    tree = context.get("furo_navigation_tree", "")  # whose captions say no level
    context["furo_navigation_tree"] = tree.replace(
        'role="heading"', 'role="heading" aria-level="2"'
    )


# -- docstrings, which are written to be read as they are -----------------------------------------


def as_written(app: Sphinx, kind: str, name: str, _: Any, options: Any, lines: list[str]) -> None:
    """Let `|` be one; keep the lines of an equation that stands apart, and of a list in columns."""
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines))
    for i, paragraph in enumerate(paragraphs):
        rows = paragraph.split("\n")
        apart = all(row.startswith("    ") for row in rows) and " = " in paragraph
        if apart or all(re.search(r"\S {3,}\S", row) for row in rows):
            paragraphs[i] = "\n".join(["::", "", *(f"    {row}" for row in rows)])
        else:
            paragraphs[i] = paragraph.replace("|", r"\|")
    lines[:] = "\n\n".join(paragraphs).split("\n")


# How NumPy writes out what the code calls ArrayLike and NDArray.
ALIASES = {
    r"\S*_?Buffer \| .*?_NestedSequence\[complex \| bytes \| str\]": "ArrayLike",
    r"[\w.~]*ndarray\[tuple\[.*?\], [\w.~]*dtype\[[^\]]*\]\]": "NDArray",
}


def in_short(
    app: Sphinx, kind: str, name: str, _: Any, options: Any, takes: str | None, gives: str | None
) -> tuple[str, str | None] | None:
    """Call types of arrays as the code does."""
    if takes is None:  # a module has no signature
        return None
    for long, short in ALIASES.items():
        takes = re.sub(long, short, takes)
        gives = gives and re.sub(long, short, gives)
    return takes, gives


def left_out(
    app: Sphinx, kind: str, name: str, found: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out the fields of named tuples, of which Python says no more than their number."""
    return True if type(found).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> None:
    """Register what is above."""
    app.connect("autodoc-process-docstring", as_written)
    app.connect("autodoc-process-signature", in_short)
    app.connect("autodoc-skip-member", left_out)
    app.add_html_math_renderer("mathml", (inline_formula, None), (block_formula, None))
    app.add_search_language(SearchVietnamese)
    app.connect("builder-inited", speak)
    app.connect("build-finished", translate_rest)
    app.connect("doctree-resolved", index_terms)
    app.connect("doctree-resolved", link_lessons)
    app.connect("doctree-resolved", link_terms)
    app.connect("html-page-context", add_languages, priority=900)  # after the theme's own
