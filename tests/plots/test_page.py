"""A page holds all it shows, asks nobody for anything, and can be read by everybody."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from batterykit import __version__
from batterykit.errors import BatterykitError
from batterykit.plots.page import Picture, Section, Table, page, write_page
from tests.plots.browser import Browser


def png(width: float = 3, height: float = 2) -> bytes:
    """A picture of 100 px an inch."""
    buffer = io.BytesIO()
    Figure(figsize=(width, height)).savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


TABLE = Table("At the end", ("cell", "LLI [%]", "flags"), (("E5-A", "3.10 ± 0.05", "none"),))
SECTIONS = (
    Section("Summary", ("Eight cells.", TABLE)),
    Section("Pictures", (Picture(png(), "Line chart of nothing", "Nothing over nothing."),)),
)


class Seen(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def test_the_page_says_its_title_language_and_version_and_every_text() -> None:
    seen = Seen(page("Degradation modes", SECTIONS))
    assert seen.of("html") == [{"lang": "en"}]
    assert seen.open == []  # every tag is closed, in order
    for text in ("Degradation modes", "Eight cells.", "3.10 ± 0.05", "Nothing over nothing."):
        assert text in seen.text
    assert f"batterykit {__version__}" in seen.text


def test_every_picture_has_an_alternative_text_and_its_size() -> None:
    (image,) = Seen(page("t", SECTIONS)).of("img")
    assert image["alt"] == "Line chart of nothing"
    assert (image["width"], image["height"]) == ("300", "200")


def test_every_table_has_a_caption_and_headers_for_columns_and_rows() -> None:
    seen = Seen(page("t", SECTIONS))
    assert len(seen.of("caption")) == 1
    assert [header["scope"] for header in seen.of("th")] == ["col", "col", "col", "row"]


def test_the_contents_lead_to_every_section() -> None:
    seen = Seen(page("t", SECTIONS))
    assert [link["href"] for link in seen.of("a")] == ["#section-1", "#section-2"]
    assert [heading["id"] for heading in seen.of("h2")] == ["section-1", "section-2"]


def test_nothing_on_the_page_points_outside_it() -> None:
    html = page("t", SECTIONS)
    assert "script" not in {tag for tag, _ in Seen(html).tags}
    assert not re.search(r"https?://|url\(|@import", html)
    for _, attrs in Seen(html).tags:
        for name in ("src", "href"):
            assert (attrs.get(name) or "#").startswith(("#", "data:"))


SMALL = png(0.2, 0.2)


def sections_of(text: str) -> list[Section]:
    table = Table(text, (text, text), ((text, text),))
    return [Section(text, (text, table, Picture(SMALL, text, text)))]


@given(st.text().map("x{}".format))
def test_any_text_is_shown_as_it_is_and_never_becomes_markup(text: str) -> None:
    seen, plain = Seen(page(text, sections_of(text))), Seen(page("x", sections_of("x")))
    assert [tag for tag, _ in seen.tags] == [tag for tag, _ in plain.tags]
    assert seen.of("img")[0]["alt"] == text
    assert seen.text.count(text) >= 8


def test_a_picture_that_is_none_or_says_nothing_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="PNG pictures only"):
        page("t", [Section("s", (Picture(b"GIF89a", "a picture"),))])
    with pytest.raises(ValueError, match="alternative text"):
        page("t", [Section("s", (Picture(SMALL, " "),))])


def test_a_row_that_does_not_fit_its_header_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="has 1 of"):
        page("t", [Section("s", (Table("c", ("a", "b"), (("1",),)),))])


def test_a_page_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BatterykitError, match="page cannot be written"):
        write_page(tmp_path / "file" / "ica.html", "t", SECTIONS)


def test_a_name_that_is_no_unicode_does_not_stop_the_page(tmp_path: Path) -> None:
    named = "half-cell \udcff.csv"  # how Python shows a file name that is not UTF-8
    path = write_page(tmp_path / "dma.html", "t", [Section("s", (named,))])
    assert "half-cell ?.csv" in path.read_text(encoding="utf-8")


def test_a_page_replaces_the_one_before_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    for title in ("first", "second"):
        path = write_page(tmp_path / "new" / "ica.html", title, SECTIONS)
    assert "<title>second</title>" in path.read_text(encoding="utf-8")
    assert list(path.parent.iterdir()) == [path]


WIDE = Section(
    "Much",
    (
        Table("Wide", tuple(f"column {k}" for k in range(12)), (tuple(["12345.678"] * 12),)),
        Table("Long", ("name", "meaning"), (("kernel_width", "very long words " * 20),)),
        Picture(png(16, 12), "A broad picture", "Said below."),
        "A word that has no end: " + "x" * 300,
    ),
)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_a_browser_shows_every_picture_and_asks_the_network_for_nothing(
    tmp_path: Path, browser: Browser, width: int, dark: bool
) -> None:
    path = write_page(tmp_path / "page.html", "A page", [*SECTIONS, WIDE])
    browser.open(path, width=width, dark=dark)
    decoded = "Promise.all([...document.images].map(i => i.decode())).then(() => true)"
    assert browser.evaluate(decoded)
    assert browser.evaluate("[...document.images].map(i => i.naturalWidth)") == [300, 1600]
    assert browser.requested() == [path.resolve().as_uri()]
    assert browser.complaints() == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_text_stands_out_in_light_and_in_dark(tmp_path: Path, browser: Browser) -> None:
    """At least 7:1 for text and 4.5:1 for what is less important (WCAG 2.2, 1.4.6 and 1.4.3)."""
    path = write_page(tmp_path / "page.html", "A page", SECTIONS)
    for dark in (False, True):
        browser.open(path, dark=dark)
        ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        for selector, least in (("p", 7.0), ("th", 7.0), ("caption", 4.5), ("a", 4.5)):
            ink = browser.evaluate(f"getComputedStyle(document.querySelector('{selector}')).color")
            assert _contrast(ink, ground) >= least, (selector, dark)
        assert (_luminance(ground) < 0.1) is dark


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    """Relative luminance of an `rgb(r, g, b)`, as WCAG 2.2 defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
