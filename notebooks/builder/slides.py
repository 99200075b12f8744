"""Make slides of the lessons: one HTML file each, which opens in any browser without a network.

Cells tagged `slide` begin a slide, and so does a `###` heading in them. Cells tagged `fragment`
come onto it at the next key press, and so does what a code cell prints: first the question, then
the answer. A picture has a slide of its own, with what its cell prints after it; the code of the
course's own figures is left out, as are all other cells. Pictures are inside the file, formulas
are MathML. On a slide that is too long, code moves to the next one; what is too long even so is
drawn smaller.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

from latex2mathml.converter import convert
from nbconvert.filters import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

from builder.editions import built_path, load, outputs
from builder.source import BuildError, tags
from lora_edu.files import write_whole

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
{highlight}
html, body {{ margin: 0; height: 100%; overflow: hidden; background: white; color: #111 }}
body {{ font: 26px/1.4 system-ui, sans-serif }}
section {{ display: none; width: 1200px; padding: 40px 40px 60px; transform-origin: 0 0 }}
section.now {{ display: block }}
section > .hidden {{ visibility: hidden }}
h1 {{ font-size: 48px }} h2 {{ font-size: 42px }} h3 {{ font-size: 34px }}
pre {{ font-size: 20px; line-height: 1.35; margin: 8px 0; white-space: pre-wrap }}
div.highlight {{ background: #f5f5f5; padding: 4px 12px; border-left: 4px solid #0072b2 }}
pre.output {{ padding: 4px 16px }}
code {{ font-size: 85% }}
math {{ font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", math }}
img {{ display: block; width: 1200px; height: 600px; object-fit: contain }}
table {{ border-collapse: collapse }} td, th {{ padding: 4px 14px; border-bottom: 1px solid #ccc }}
blockquote {{ margin: 0; padding-left: 20px; border-left: 4px solid #e69f00 }}
footer {{ position: fixed; right: 16px; bottom: 8px; font-size: 16px; color: #555 }}
@page {{ size: 1280px 1040px; margin: 0 }}
@media print {{ html, body {{ overflow: visible }}
  section {{ display: block; page-break-after: always; transform: none !important }}
  section > .hidden {{ visibility: visible }} footer {{ display: none }} }}
</style>
{slides}
<footer></footer>
<script>
for (const slide of document.querySelectorAll("section")) {{  // too long: its code on the next one
  slide.classList.add("now");
  const code = slide.querySelector(":scope > .step > .highlight")?.parentNode;
  const long = slide.offsetHeight > 900;
  slide.classList.remove("now");
  if (!code || !long) continue;
  const next = document.createElement("section"), all = [...slide.children];
  next.append(...all.slice(all.indexOf(code)));
  slide.after(next);
  code.classList.remove("step");
}}
const slides = [...document.querySelectorAll("section")], footer = document.querySelector("footer");
let at = Math.min(Math.max(Number(location.hash.slice(1)) || 1, 1), slides.length) - 1;
const steps = slide => [...slide.querySelectorAll(":scope > .step")];
function show(open) {{  // a slide; all of its steps open, or none
  slides.forEach((slide, i) => slide.classList.toggle("now", i === at));
  steps(slides[at]).forEach(step => step.classList.toggle("hidden", !open));
  const {{ offsetWidth, offsetHeight }} = slides[at];
  const scale = Math.min(innerWidth / offsetWidth, innerHeight / offsetHeight);
  const left = Math.max(0, (innerWidth - scale * offsetWidth) / 2);
  slides[at].style.transform = `translate(${{left}}px, 0) scale(${{scale}})`;
  footer.textContent = `${{at + 1}} / ${{slides.length}}`;
  history.replaceState(null, "", `#${{at + 1}}`);
}}
function go(forward) {{
  const hidden = steps(slides[at]).filter(step => step.classList.contains("hidden"));
  if (forward && hidden.length) return hidden[0].classList.remove("hidden");
  const next = at + (forward ? 1 : -1);
  if (slides[next]) {{ at = next; show(!forward); }}
}}
addEventListener("keydown", event => {{
  if (["ArrowRight", "ArrowDown", "PageDown", " "].includes(event.key)) go(true);
  else if (["ArrowLeft", "ArrowUp", "PageUp"].includes(event.key)) go(false);
  else return;
  event.preventDefault();
}});
addEventListener("click", event => event.target.closest("a, details") || go(true));
addEventListener("resize", () => show(true));
addEventListener("load", () => show(false));
</script>
</html>
"""


class Renderer(IPythonRenderer):
    """Markdown with formulas as MathML, which browsers draw by themselves."""

    def inline_math(self, body: str) -> str:
        """Return a formula within a line."""
        return convert(body)

    def block_math(self, body: str) -> str:
        """Return a formula on a line of its own."""
        return convert(body, display="block")


def parts(cell: NotebookNode, following: NotebookNode | None) -> list[str]:
    """Return what a cell shows, as HTML: its text or code, then its outputs, in their order."""
    if cell.cell_type == "markdown":
        renderer = Renderer(escape=False, exclude_anchor_links=True)
        texts = re.split(r"\n(?=### )", cell.source) if "slide" in tags(cell) else [cell.source]
        return [MarkdownWithMath(renderer=renderer).render(text) for text in texts]
    described = following is not None and "figure-text" in tags(following)
    alt = re.sub(r"[*$`\\]", "", following.source) if described else ""
    drawn = re.match(r"fig, \w+ = figures\.", cell.source)  # the picture says what the code does
    shown = [] if drawn else [Highlight2HTML()(cell.source)]
    for output in outputs(cell):
        data = output.get("data", {})
        if "image/png" in data:
            source = f"data:image/png;base64,{data['image/png'].strip()}"
            shown.append(f'<img src="{source}" alt="{html.escape(alt)}">')
        elif text := output.get("text") or data.get("text/plain"):
            joined = shown.pop() if shown and shown[-1].startswith("<pre") else ""
            shown.append(f'{joined}<pre class="output">{html.escape(text)}</pre>')
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


def page(path: Path) -> str:
    """Return the slides of the lesson whose source is ``path``, as one HTML page."""
    notebook = load(built_path(path))
    if notebook is None:
        raise BuildError(f"{path.stem}: there is no notebook; run `make notebooks`")
    found = slides(notebook)
    if not found:
        raise BuildError(f"{path.stem}: no cell is tagged `slide`")
    title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
    return PAGE.format(
        title=html.escape(title),
        highlight=HtmlFormatter().get_style_defs(".highlight"),
        slides="\n".join(f"<section>\n{slide}\n</section>" for slide in found),
    )


def write_slides(path: Path, folder: Path) -> Path:
    """Write the slides of a lesson into a folder; return their file."""
    target = folder / f"{path.stem}.html"
    write_whole(target, page(path))
    return target
