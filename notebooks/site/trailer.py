"""The first page, filmed: README's first picture, forty silent seconds, and the card of a link.

python notebooks/site/trailer.py SITE, a folder that `make site` made; it needs Chromium.
"""

import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SIZE, CARD = {"width": 800, "height": 640}, {"width": 1200, "height": 630}
BROWSERS = ("chromium", "google-chrome", "chrome")
TURNS = [  # what is asked, whose voice, at which quarters of a scale, and how long each is read
    ("Good morning!", "pirate", range(0, 5), 1000),
    ("What is the capital of France?", "pirate", range(4, 7), 2000),
    ("I am hungry.", "Grimm", range(0, 5), 1100),
    ("I am hungry.", "Grimm", range(-1, -5, -1), 900),
]
Frame = tuple[bytes, int]  # a picture, and its milliseconds


def slider(page: Page) -> Iterator[Frame]:
    """Yield the voice, turned."""
    box = page.locator(".front")
    box.scroll_into_view_if_needed()
    for asked, voice, quarters, pause in TURNS:
        box.get_by_role("radio", name=voice).check()
        box.get_by_role("button", name=asked).click()
        for quarter in quarters:
            box.get_by_role("slider").fill(str(4 + quarter))
            if (secret := box.get_by_role("button", name="Show it")).count():
                secret.click()
            page.mouse.move(0, 0)
            yield page.screenshot(), pause
        yield page.screenshot(), 900


def strips(page: Page) -> Iterator[Frame]:
    """Yield the two strips as they learn a word and a name."""
    box = page.locator("[data-explorable=strips]")
    box.evaluate("box => scrollTo(0, box.getBoundingClientRect().top + scrollY - 20)")
    for name, rank in (("HI", 2), ("LIT", 3)):
        box.get_by_role("textbox").fill(name)
        box.get_by_role("slider", name="Rank").fill(str(rank))
        yield page.screenshot(), 900
        for step in range(45):
            box.get_by_role("button", name="10 steps").click()
            if step < 15 or step % 3 == 0:
                yield page.screenshot(), 160
        yield page.screenshot(), 1800


def main() -> None:
    """Film the first page of a site."""
    address = f"{Path(sys.argv[1]).resolve().as_uri()}/en/index.html"
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, BROWSERS)))
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, reduced_motion="reduce")
        page.goto(address)
        page.add_style_tag(content=".mobile-header { display: none }")
        frames = [*slider(page), *strips(page)]
        page = browser.new_page(viewport=CARD, reduced_motion="reduce")
        page.goto(f"{address}#pirate,1,1")
        page.screenshot(path=ROOT / "notebooks" / "site" / "static" / "card.png")
        browser.close()
    pictures = [Image.open(io.BytesIO(png)).convert("RGB") for png, _ in frames]
    pauses = [pause for _, pause in frames]
    out = ROOT / "figures" / "trailer.webp"
    pictures[0].save(
        out, save_all=True, append_images=pictures[1:], duration=pauses, loop=0,
        quality=60, method=6, minimize_size=True, allow_mixed=True,
    )  # fmt: skip
    print(f"{out.name}: {sum(pauses) / 1000:.0f} s, {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
