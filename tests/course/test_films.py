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
def grey(monkeypatch):
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
    """The attributes of each tag of a page; each that is opened must be closed."""

    def __init__(self, player):
        super().__init__()
        self.tags, self.open = {}, []
        self.feed(player.html)
        self.close()
        assert list(self.tags) == ["figure", "img", "script"]
        assert self.open == []
        self.captions = json.loads(self.tags["figure"]["data-captions"])

    def handle_starttag(self, tag, attrs):
        assert tag not in self.tags
        self.tags[tag] = dict(attrs)
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def sheet(self, mode):
        kind, _, data = self.tags["figure"]["data-sheet"].partition(";base64,")
        assert kind == "data:image/png"
        return Image.open(io.BytesIO(base64.b64decode(data, validate=True))).convert(mode)


def test_lengths_are_inches_in_a_figure_and_in_a_part_of_one():
    fig = plt.figure(figsize=(4, 2), dpi=50)
    for stage, corner in ((fig, 0), (fig.subfigures(1, 2)[1], 100)):
        box = films.place(stage, 0.5, 0.2, 1, 0.4).get_window_extent()
        assert np.allclose(box.bounds, (corner + 25, 10, 50, 20))


def test_a_strip_shows_its_moments_above_their_captions(grey):
    fig = grey.draw(shades(4))
    assert [ax.images[0].get_array().item() for ax in fig.axes] == [0, 3 * 40]
    texts = [text.get_text() for text in fig.findobj(mpl.text.Text) if text.get_text()]
    assert texts == ["shade 0", "shade 3"]
    assert list(fig.get_size_inches()) == [2 * SIZE[0], SIZE[1] + films.CAPTION]


def test_a_player_holds_each_frame_once_and_in_order_and_without_scripts_the_strip(grey):
    page = Page(films.player(grey, shades(5), scene, SIZE))
    assert page.captions == shades(5)["captions"]
    sheet = page.sheet("L")
    assert sheet.size == (100 * 5, 50)
    assert [sheet.getpixel((100 * i + 50, 25)) for i in range(5)] == [0, 40, 80, 120, 160]
    assert page.tags["figure"]["aria-label"] == "grey shades"
    assert page.tags["img"]["alt"] == 'Steps of 40 & "more".'
    png = base64.b64encode(grey.picture(shades(5), "png")).decode()
    assert page.tags["img"]["src"] == f"data:image/png;base64,{png}"
    assert plt.get_fignums() == []


def test_a_film_takes_what_its_figure_takes_and_tells_the_captions_of_a_learners(grey):
    page = Page(films.film(grey, scene, SIZE)(2))
    assert page.tags["img"]["alt"] == "shade 0; shade 1"
    assert films.film(grey, scene, SIZE)().html == films.player(grey, shades(), scene, SIZE).html


def test_a_sheet_keeps_the_colour_of_a_dot(grey):
    """Among 10,000 greens a single blue cell stays blue; so does each green, to the eye."""
    drawn = np.zeros((100, 100, 3), np.uint8)
    drawn[..., 1] = np.linspace(0, 255, 100)
    drawn[50, 50] = (0, 0, 255)

    def dotted(stage, numbers):
        image = films.place(stage, 0, 0, 1, 1).imshow(drawn, aspect="auto")
        image.axes.axis("off")
        return lambda i: None

    sheet = Page(films.player(grey, shades(2), dotted, (1, 1))).sheet("RGB")
    assert np.abs(np.array(sheet, int)[:, :100] - drawn).max() <= 4


def test_a_player_is_made_of_the_same_bytes_each_time_and_asks_for_nothing(grey):
    first, again = (films.player(grey, shades(), scene, SIZE).html for _ in range(2))
    assert first == again
    assert films.player(grey, shades() | {"step": 41}, scene, SIZE).html != first
    words = re.sub(r"base64,[\w+/=]+", "", first)
    assert len(words) < 5000
    assert not re.search(r"https?:|\bid=|uuid|import|fetch|XMLHttp", words)


def test_no_caption_breaks_out_of_a_player(grey):
    numbers = shades() | {"captions": ["a", HOSTILE, "c"], "moments": [0]}
    assert Page(films.player(grey, numbers, scene, SIZE)).captions == ["a", HOSTILE, "c"]
    assert "</" not in films.Path(films.__file__).with_suffix(".js").read_text(encoding="utf-8")


def noisy(stage, numbers):
    rng = np.random.default_rng(0)
    image = films.place(stage, 0, 0, 4, 4).imshow(np.zeros((400, 400)), vmin=0, vmax=1)
    return lambda i: image.set_data(rng.uniform(size=(400, 400)))


TOO_MUCH = [
    (0, scene, SIZE, "^a film has 1 to 24 frames, got 0 captions$"),
    (25, scene, SIZE, "^a film has 1 to 24 frames, got 25 captions$"),
    (24, scene, (13.34, 1), "32,000 pixels wide in all: 24 frames of 1334 are 32,016$"),
    (3, noisy, (4, 4), r"^a player may have 400 kB, this one has \d{3}: show fewer frames, or"),
]


@pytest.mark.parametrize(("count", "drawn", "size", "message"), TOO_MUCH)
def test_a_film_that_is_too_long_or_too_large_is_refused(grey, count, drawn, size, message):
    with pytest.raises(ValueError, match=message):
        films.player(grey, shades(count), drawn, size)
