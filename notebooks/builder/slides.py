"""A committed notebook, or the script of a class → slides: one HTML file for a browser alone.

Cells tagged `slide` begin a slide, and so does a `###` heading in them. Cells tagged `fragment`
come onto it at the next key press, and so does what a code cell prints: first the question, then
the answer. A picture has a slide of its own, with what its cell prints after it. Left out are the
code that draws a picture, that of a prediction, and all other cells. Pictures are inside the file,
formulas are MathML.

They can be read from the back row: code in 24 pixels on a screen of 1280 x 720, and ten lines of it
on a slide. What is longer goes on on the next one; the browser cuts it, for it knows the heights.

A class, `notebooks/NAME.md`, is a script for a teacher. What stands in its frames (`>`) goes onto
the screen: words as they are; in place of a lesson and a cell, such as
``[01](01_matrix_example.ipynb) `film```, what that cell shows, and of a `live` cell the player.
"""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

from latex2mathml.converter import convert
from nbconvert.filters import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

from builder.editions import built_path, draws, load, outputs, told_by
from builder.source import BuildError, read_text, slug, tags
from builder.translate import languages
from lora_edu.files import write_whole

PAGE = """<!doctype html>
<html lang="{language}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
{highlight}
html, body {{ margin: 0; height: 100%; overflow: hidden; background: white; color: #111 }}
body {{ font: 26px/1.4 system-ui, sans-serif }}
section {{ display: none; box-sizing: border-box; width: 1280px; padding: 20px 16px 16px 20px;
  transform-origin: 0 0 }}
section.now {{ display: block }}
section > .hidden {{ visibility: hidden }}
h1 {{ font-size: 48px }} h2 {{ font-size: 42px }} h3 {{ font-size: 34px }}
h1, h2, h3 {{ margin: 0 0 16px }}
pre {{ font: 24px/1.35 "DejaVu Sans Mono", Menlo, Consolas, monospace; margin: 8px 0;
  white-space: pre-wrap; overflow-wrap: anywhere }}
.row {{ display: block; min-height: 1.35em }}
div.highlight {{ background: #f5f5f5; padding: 1px 8px; border-left: 4px solid #0072b2 }}
pre.output {{ padding: 0 16px; font-size: 22px }}
code {{ font-size: 92% }} pre code {{ font-size: 100% }}
math {{ font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", math }}
section > div > img {{ display: block; width: 1216px; height: 640px; object-fit: contain }}
figure {{ margin: 0 auto !important; zoom: 1.3 }} figure button, figure output {{ font-size: 20px }}
table {{ border-collapse: collapse }} td, th {{ padding: 4px 14px; border-bottom: 1px solid #ccc }}
blockquote {{ margin: 0; padding-left: 20px; border-left: 4px solid #e69f00 }}
footer {{ position: fixed; right: 16px; bottom: 8px; font-size: 16px; color: #555 }}
@page {{ size: 1280px 720px; margin: 0 }}
@media print {{ html, body {{ overflow: visible }}
  section {{ display: block; page-break-after: always; transform: none !important }}
  section > .hidden {{ visibility: visible }} footer {{ display: none }}
  figure > img {{ display: block !important }} figure > :not(img) {{ display: none !important }} }}
</style>
{slides}
<footer></footer>
<script>
const MOST = 10, TALL = 720;  // lines of code on a slide, pixels
const lines = part => [...part.querySelectorAll(".highlight pre")].reduce((sum, code) =>
  sum + Math.round(code.offsetHeight / parseFloat(getComputedStyle(code).lineHeight)), 0);
function move(slide, parts) {{  // parts of a slide to a new one behind it
  const next = document.createElement("section");
  next.append(...parts);
  next.firstElementChild.classList.remove("step");
  slide.after(next);
  return next;
}}
function cut(slide) {{  // until all that is left on a slide can be read
  slide.classList.add("now");
  const parts = [...slide.children], low = part => part.offsetTop + part.offsetHeight;
  const picture = slide.querySelector(":scope > div > img");
  if (picture) picture.style.height = "";
  const over = slide.offsetHeight - TALL + 16;  // a smaller picture, for what stands beside it
  if (picture && over > 0) picture.style.height = `${{Math.max(400, 640 - over)}}px`;
  let code = 0, at = parts.findIndex(part => (code += lines(part)) > MOST || low(part) > TALL - 26);
  if (at < 0 && slide.offsetHeight > TALL) at = parts.length - 1;  // by its lower margin
  let rest = null;
  if (at > 0) rest = move(slide, parts.slice(at));
  else if (at === 0) {{  // a part that is too long by itself: between two of its paragraphs
    const within = [...parts[0].children], first = within.findIndex(each => low(each) > TALL - 42);
    const heads = within.findIndex(each => !/^H[1-6]$/.test(each.tagName));
    if (first > Math.max(heads, 0)) {{
      const part = document.createElement("div");
      part.append(...within.slice(first));
      rest = move(slide, [part, ...parts.slice(1)]);
    }} else if (parts.length > 1) rest = move(slide, parts.slice(1));
  }}
  slide.classList.remove("now");
  if (rest) cut(rest);
}}
document.querySelectorAll("section").forEach(cut);
const slides = [...document.querySelectorAll("section")], footer = document.querySelector("footer");
let at = 0;
const steps = slide => [...slide.querySelectorAll(":scope > .step")];
function show(open) {{  // a slide; all of its steps open, or none
  slides.forEach((slide, i) => slide.classList.toggle("now", i === at));
  steps(slides[at]).forEach(step => step.classList.toggle("hidden", !open));
  fit();
  footer.textContent = `${{at + 1}} / ${{slides.length}}`;
  history.replaceState(null, "", `#${{at + 1}}`);
}}
function fit() {{
  const {{ offsetWidth, offsetHeight }} = slides[at];
  const scale = Math.min(innerWidth / offsetWidth, innerHeight / offsetHeight);
  const left = Math.max(0, (innerWidth - scale * offsetWidth) / 2);
  slides[at].style.transform = `translate(${{left}}px, 0) scale(${{scale}})`;
}}
function go(forward) {{
  const hidden = steps(slides[at]).filter(step => step.classList.contains("hidden"));
  if (forward && hidden.length) return hidden[0].classList.remove("hidden");
  const next = at + (forward ? 1 : -1);
  if (slides[next]) {{ at = next; show(!forward); }}
}}
function jump(to) {{  // to a slide, none of its steps open yet
  at = Math.min(Math.max(to || 1, 1), slides.length) - 1;
  show(false);
}}
// Before a player hears them: its own are the arrows of its slider, and space and Enter.
addEventListener("keydown", event => {{
  const {{ key, target }} = event, player = target.closest("figure");
  if (player && !(target.type === "range" ? /^Page/ : /^(Page|Arrow)/).test(key)) return;
  if (["ArrowRight", "ArrowDown", "PageDown", " "].includes(key)) go(true);
  else if (["ArrowLeft", "ArrowUp", "PageUp"].includes(key)) go(false);
  else if (key === "Home") jump(1);
  else if (key === "End") jump(slides.length);
  else return;
  event.preventDefault();
  event.stopPropagation();
}}, true);
addEventListener("hashchange", () => jump(Number(location.hash.slice(1))));
addEventListener("click", event => event.target.closest("a, details, figure") || go(true));
addEventListener("resize", fit);
addEventListener("load", () => jump(Number(location.hash.slice(1))));
</script>
</html>
"""


MOST_LINES, MOST_PRINTED, WIDE = 10, 22, 84  # lines of code and of output on a slide; signs a line


class Renderer(IPythonRenderer):
    """Markdown with formulas as MathML, which browsers draw by themselves."""

    def inline_math(self, body: str) -> str:
        """Return a formula within a line."""
        return convert(body)

    def block_math(self, body: str) -> str:
        """Return a formula on a line of its own."""
        return convert(body, display="block")


def markdown(text: str) -> str:
    """Return Markdown as HTML."""
    renderer = Renderer(escape=False, exclude_anchor_links=True)
    return MarkdownWithMath(renderer=renderer).render(text)


def on_slide(text: str) -> str:
    """Return Markdown as HTML; a link to a lesson, which does not lie beside slides, is words."""
    return markdown(re.sub(r"\[([^\]]+)\]\((?:\.\./)?\d\d_\w+\.ipynb\)", r"\1", text))


def pieces(text: str, most: int, wide: int) -> list[str]:
    """Cut code, or what it prints, into pieces of so many lines at most, of so many signs each.

    It is cut where a line is blank, or else where one is least indented, never within a docstring.
    """
    rows = text.splitlines()
    found = []
    while True:
        fits = 0  # rows of the text; one that is wider than the slide takes several lines of it
        while fits < len(rows) and sum(lines_of(row, wide) for row in rows[: fits + 1]) <= most:
            fits += 1
        fits = max(fits, 1)
        if fits >= len(rows):
            return [*found, "\n".join(rows)]
        places = [i for i in range(2, fits + 1) if "\n".join(rows[:i]).count('"""') % 2 == 0]
        places = places or [fits]
        blank = [i for i in places if not rows[i].strip() and i > fits // 3]
        depth = {i: len(rows[i]) - len(rows[i].lstrip()) for i in places}
        at = blank[-1] if blank else max(places, key=lambda i: (-depth[i], i))
        found.append("\n".join(rows[:at]))
        rows = rows[at:]
        while rows and not rows[0].strip():
            rows = rows[1:]


def undrawn(code: str) -> str:
    """Leave out of the code of a picture what draws it; nothing is left if it does nothing else."""
    drawing = re.compile(r"\b(?:plt|plots|figures|axe?s?|fig)\.")
    kept, ideas = [], False
    rows = code.splitlines()
    for node in ast.parse(code).body:
        if drawing.search(ast.unparse(node)) and not isinstance(node, ast.FunctionDef):
            continue
        kept.append("\n".join(rows[node.lineno - 1 : node.end_lineno]))
        ideas = ideas or isinstance(node, (ast.Assign, ast.FunctionDef, ast.ClassDef))
    return "\n".join(kept) if ideas else ""


def highlighted(code: str) -> str:
    """Return code as HTML in colours; a row that is too long goes on further to the right."""
    code = code.strip("\n")
    found = re.fullmatch(r"(?s)(.*?<pre>)(.*?)\n?(</pre>.*)", Highlight2HTML()(code))
    assert found is not None, code
    before, rows, after = found.groups()
    parts = []
    for row, plain in zip(rows.split("\n"), code.split("\n"), strict=True):
        deep = len(plain) - len(plain.lstrip()) + 4
        parts.append(
            f'<span class="row" style="padding-left:{deep}ch;text-indent:-{deep}ch">{row}</span>'
        )
    return f"{before}{''.join(parts)}{after}"


def lines_of(row: str, wide: int) -> int:
    """Return how many lines of a slide a row takes: what is too long goes on, indented."""
    deep = len(row) - len(row.lstrip()) + 4
    return 1 + max(0, -(-(len(row) - wide) // max(wide - deep, 1)))


def parts(cell: NotebookNode, following: NotebookNode | None, coded: bool = True) -> list[str]:
    """Return what a cell shows, as HTML: its text or code, then its outputs, in their order.

    Not ``coded``: the outputs alone.
    """
    if cell.cell_type == "markdown":
        text = re.split(r"\n\*\*(?:You need|Bạn cần)\*\*", cell.source)[0]  # the title is short
        texts = re.split(r"\n(?=### )", text) if "slide" in tags(cell) else [text]
        return [on_slide(text) for text in texts]
    alt = re.sub(r"[*$`\\]", "", told_by(following))
    code = cell.source if coded and "predict" not in tags(cell) else ""
    if draws(cell):
        code = undrawn(code)
    narrow = re.sub(r"(?<=\S) {2,}#", "  #", code)  # comments in no column
    shown = [highlighted(each) for each in pieces(narrow, MOST_LINES, WIDE)] if code else []
    for output in outputs(cell):
        data = output.get("data", {})
        if "image/png" in data:
            source = f"data:image/png;base64,{data['image/png'].strip()}"
            shown.append(f'<img src="{source}" alt="{html.escape(alt)}">')
        elif "text/html" in data:
            shown.append(data["text/html"])
        elif text := output.get("text") or data.get("text/plain"):
            for piece in pieces(text, MOST_PRINTED, WIDE):
                shown.append(f'<pre class="output">{html.escape(piece)}</pre>')
    return shown


def slides(notebook: NotebookNode) -> list[str]:
    """Return the slides of a notebook, each the inside of a section."""
    found: list[list[str]] = []
    for cell, following in zip(notebook.cells, [*notebook.cells[1:], None], strict=True):
        if "slide" in tags(cell):
            found.append([])
        elif "fragment" not in tags(cell):
            continue
        elif not found:
            raise BuildError(f"cell {cell.id}: a fragment before the first slide")
        if found[-1] and "<img" in found[-1][0]:
            found.append([])
        for part in parts(cell, following):
            titled = part.startswith("<h3") and "slide" in tags(cell)
            if found[-1] and (titled or part.startswith("<img")):
                found.append([])
            step = " class=step" if found[-1] else ""
            found[-1].append(f"<div{step}>{part}</div>")
    return ["\n".join(slide) for slide in found]


def built(path: Path, language: str = "en") -> NotebookNode:
    """Return the notebook of the lesson whose source is ``path``."""
    notebook = load(built_path(path, "" if language == "en" else language))
    if notebook is None:
        raise BuildError(f"{path.stem}: there is no notebook; run `make notebooks`")
    return notebook


def page(path: Path, language: str = "en") -> str:
    """Return the slides of the lesson whose source is ``path``, as one HTML page."""
    notebook = built(path, language)
    found = slides(notebook)
    if not found:
        raise BuildError(f"{path.stem}: no cell is tagged `slide`")
    return as_page(notebook.cells[0].source, found, language)


def as_page(text: str, found: list[str], language: str = "en") -> str:
    """Return slides as a page, whose title is the first line of the text."""
    return PAGE.format(
        language=language,
        title=html.escape(text.splitlines()[0].lstrip("# ")),
        highlight=HtmlFormatter().get_style_defs(".highlight"),
        slides="\n".join(f"<section>\n{slide}\n</section>" for slide in found),
    )


# -- a class --------------------------------------------------------------------------------------

CELL = re.compile(r"\[(\d\d)\]\((\d\d_\w+)\.ipynb\) `([a-z0-9-]+)`")  # a lesson and its cell


def frames(script: str) -> list[str]:
    """Return what stands in the frames of a script, each as Markdown."""
    found = re.findall(r"(?m)(?:^>.*\n?)+", script)
    return [re.sub(r"(?m)^> ?", "", frame).strip() for frame in found]


def class_page(script: Path) -> str:
    """Return the slides of a class, as one HTML page.

    Raises
    ------
    BuildError
        There is no frame, or one names a lesson or a cell that there is not, or a film that needs
        more than its name.
    """
    text = read_text(script)
    found = [in_a_frame(frame, script) for frame in frames(text)]
    if not found:
        raise BuildError(f"{script.name}: no frame (`>`): nothing goes on a slide")
    return as_page(text, found)


def in_a_frame(frame: str, script: Path) -> str:
    """Return one slide of a class: its words, at once, and what the cells show that it names."""
    shown: list[str] = []
    words = False
    for part in re.split(r"\n\s*\n", frame):
        if match := CELL.fullmatch(part.strip()):
            shown += of_a_cell(script, match[2], match[3])
        elif words:
            shown[-1] += on_slide(part)
        else:
            shown.append(on_slide(part))
        words = match is None
    steps = [""] + [" class=step"] * (len(shown) - 1)
    return "\n".join(f"<div{step}>{part}</div>" for step, part in zip(steps, shown, strict=True))


def of_a_cell(script: Path, lesson: str, name: str) -> Iterator[str]:
    """Yield what a cell shows; of a `live` one, the player."""
    source = script.parent / "src" / f"{lesson}.md"
    cells = built(source).cells
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        if cell.id == name and "live" in tags(cell):
            yield player(cell, slug(source), f"{script.name}: {lesson}, cell {name}")
            return
        if cell.id == name:
            yield from parts(cell, following, coded=False)
            return
    raise BuildError(f"{script.name}: {lesson} has no cell {name}")


def player(cell: NotebookNode, lesson: str, place: str) -> str:
    """Return the film of a cell: a function of the lesson's figures that is called without more."""
    film = re.match(r"figures\.(\w+)\(\)", cell.source)
    if film is None:
        raise BuildError(f"{place}: only figures.NAME() plays on a slide: show its still instead")
    return film_page(lesson, film[1])


@cache
def film_page(lesson: str, name: str) -> str:
    """Return the player of a film of a lesson's, of the course's own numbers."""
    return getattr(import_module(f"lora_edu.course.{lesson}.figures"), name)().html


def write_slides(path: Path, folder: Path) -> Path:
    """Write the slides of a lesson, or of a class, into a folder; return their file.

    Those of a translation go into a folder of it.
    """
    target = folder / f"{path.stem}.html"
    write_whole(target, page_of(path))
    for language in languages(path) if path.parent.name == "src" else ():
        write_whole(folder / language / target.name, page(path, language))
    return target


def page_of(path: Path) -> str:
    """Return the slides of a lesson, or of a class, as one HTML page."""
    return page(path) if path.parent.name == "src" else class_page(path)
