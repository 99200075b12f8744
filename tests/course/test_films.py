"""Films: the same scene as a strip of stills and as a player, which is safe to put into a page."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from lora_edu.course import figures, films

SIZE = (1.0, 0.5)  # inches
HOSTILE = '</script><b id="x">"\'&amp; <!-- {x} a₁\nhttp'


def shades(count=3):
    """Numbers of a film whose frame i is one shade of grey, 40 i."""
    captions = [f"shade {i}" for i in range(count)]
    return {"captions": captions, "moments": [0, count - 1], "step": 40}


def scene(stage, numbers):
    ax = films.place(stage, 0, 0, *SIZE)
    image = ax.imshow([[0]], vmin=0, vmax=255, cmap="gray", aspect="auto")
    ax.axis("off")
    return lambda i: image.set_data([[numbers["step"] * i]])


@pytest.fixture
def grey_shades(monkeypatch):
    """A film of its own registry."""
    monkeypatch.setattr(figures, "FIGURES", {})

    @figures.figure(shades)
    def grey_shades(numbers):
        """Show shades.

        Steps of {step} & "more".
        """
        return films.strip(scene, numbers, SIZE)

    return grey_shades


class Page(HTMLParser):
    """Collect tags with their attributes, and the texts between them."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def opened(address):
    kind, _, data = address.partition(";base64,")
    assert kind == "data:image/png"
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


def test_lengths_are_inches_in_a_figure_and_in_a_part_of_one():
    fig = plt.figure(figsize=(4, 2), dpi=50)
    for stage, corner in ((fig, (0, 0)), (fig.subfigures(1, 2)[1], (100, 0))):
        box = films.place(stage, 0.5, 0.2, 1, 0.4).get_window_extent()
        assert np.allclose(box.bounds, (corner[0] + 25, 10, 50, 20))


def test_a_strip_shows_its_moments_above_their_captions(grey_shades):
    fig = grey_shades.draw(shades(4))
    images = [ax.images[0].get_array().item() for ax in fig.axes]
    assert images == [0, 3 * 40]
    texts = [text.get_text() for text in fig.findobj(mpl.text.Text) if text.get_text()]
    assert texts == ["shade 0", "shade 3"]
    assert list(fig.get_size_inches()) == [2 * SIZE[0], SIZE[1] + films.CAPTION]


def test_a_player_holds_each_frame_once_and_in_order(grey_shades):
    page = Page(films.player(grey_shades, shades(5), scene, SIZE).html)
    figure = dict(page.tags)["figure"]
    captions = json.loads(figure["data-captions"])
    assert captions == shades(5)["captions"]
    sheet = opened(figure["data-sheet"]).convert("L")
    assert sheet.size == (100 * len(captions), 50)
    assert [sheet.getpixel((100 * i + 50, 25)) for i in range(5)] == [0, 40, 80, 120, 160]
    assert plt.get_fignums() == []


def test_a_sheet_keeps_the_colour_of_a_dot(grey_shades):
    """Among 10,000 greens a single blue cell stays blue; so does each green, to the eye."""
    drawn = np.zeros((100, 100, 3), np.uint8)
    drawn[..., 1] = np.linspace(0, 255, 100)
    drawn[50, 50] = (0, 0, 255)

    def dotted(stage, numbers):
        image = films.place(stage, 0, 0, 1, 1).imshow(drawn, aspect="auto")
        image.axes.axis("off")
        return lambda i: None

    page = Page(films.player(grey_shades, shades(2), dotted, (1, 1)).html)
    sheet = np.array(opened(dict(page.tags)["figure"]["data-sheet"]).convert("RGB"), int)
    assert np.abs(sheet[:, :100] - drawn).max() <= 4


def test_without_scripts_a_player_is_the_strip_with_its_alt_text(grey_shades):
    page = Page(films.player(grey_shades, shades(), scene, SIZE).html)
    assert [tag for tag, _ in page.tags] == ["figure", "img", "script"]
    assert page.open == []
    still = dict(page.tags)["img"]
    assert still["alt"] == 'Steps of 40 & "more".'
    png = base64.b64encode(grey_shades.picture(shades(), "png")).decode()
    assert still["src"] == f"data:image/png;base64,{png}"
    assert dict(page.tags)["figure"]["aria-label"] == "grey shades"


def test_a_player_is_made_of_the_same_bytes_each_time_and_asks_for_nothing(grey_shades):
    first, again = (films.player(grey_shades, shades(), scene, SIZE).html for _ in range(2))
    assert first == again
    assert films.player(grey_shades, shades() | {"step": 41}, scene, SIZE).html != first
    words = re.sub(r"base64,[\w+/=]+", "", first)
    assert len(words) < 5000
    assert not re.search(r"https?:|\bid=|uuid|import|fetch|XMLHttp", words)


def test_no_caption_breaks_out_of_a_player(grey_shades):
    numbers = shades() | {"captions": ["a", HOSTILE, "c"], "moments": [0]}
    page = Page(films.player(grey_shades, numbers, scene, SIZE).html)
    assert [tag for tag, _ in page.tags] == ["figure", "img", "script"]
    assert json.loads(dict(page.tags)["figure"]["data-captions"]) == ["a", HOSTILE, "c"]
    assert "</" not in films.Path(films.__file__).with_suffix(".js").read_text(encoding="utf-8")


def test_a_film_is_drawn_in_the_style_of_the_course(grey_shades):
    def styled(stage, numbers):
        assert not mpl.rcParams["axes.spines.top"]
        show = scene(stage, numbers)

        def show_styled(i):
            assert not mpl.rcParams["axes.spines.top"]
            show(i)

        return show_styled

    with plt.rc_context({"axes.spines.top": True}):
        films.player(grey_shades, shades(), styled, SIZE)
        assert mpl.rcParams["axes.spines.top"]


@pytest.mark.parametrize("count", [0, 25])
def test_too_few_or_too_many_frames_are_refused(grey_shades, count):
    message = f"^a film has 1 to 24 frames, got {count} captions$"
    with pytest.raises(ValueError, match=message):
        films.player(grey_shades, shades(count), scene, SIZE)


def test_a_sheet_that_is_too_wide_is_refused(grey_shades):
    message = "32,000 pixels wide in all: 24 frames of 1334 are 32,016$"
    with pytest.raises(ValueError, match=message):
        films.player(grey_shades, shades(24), scene, (13.34, 1))


def test_a_player_that_is_too_large_is_refused_with_its_size(grey_shades):
    def noise(stage, numbers):
        rng = np.random.default_rng(0)
        image = films.place(stage, 0, 0, 4, 4).imshow(np.zeros((400, 400)), vmin=0, vmax=1)
        return lambda i: image.set_data(rng.uniform(size=(400, 400)))

    message = r"^a player may have 400 kB, this one has \d{3}: show fewer frames, or smaller ones$"
    with pytest.raises(ValueError, match=message):
        films.player(grey_shades, shades(), noise, (4, 4))
