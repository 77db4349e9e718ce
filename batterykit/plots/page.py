"""One self-contained HTML page: text, tables and pictures, nothing fetched from anywhere.

Pure: sections in, the page's text out. It needs no network, no script and no file beside it, and
its own policy forbids the browser to ask for any.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TypeAlias

from batterykit import __version__
from batterykit.errors import BatterykitError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

LONG_TEXT = 40  # characters from which on the text in a table is broken into lines

_NUMBER = re.compile(r"[-+]?[\d.,]+(e[-+]?\d+)?( ± [\d.]+)?|-|")
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de;
  --ground: #ffffff; --raised: #f6f8fa; --link: #0757b8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa5b1; --line: #3a424c;
  --ground: #12161b; --raised: #1b2129; --link: #7ab7ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
header, main, footer { max-width: 76rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 1.75rem; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .75rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
p { margin: .6rem 0; max-width: 48rem; overflow-wrap: anywhere; }
a { color: var(--link); }
nav ul { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap;
  gap: .25rem 1.25rem; }
figure { margin: 1.25rem 0; }
figcaption, caption { color: var(--soft); font-size: .92rem; }
figcaption { max-width: 48rem; margin-top: .4rem; }
caption { text-align: left; padding: 0 0 .4rem; }
caption span { display: inline-block; position: sticky; left: 0; white-space: normal;
  max-width: min(48rem, calc(100vw - 2.5rem)); }
.wide { overflow-x: auto; border-radius: 6px; }
.wide:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 6px;
  border: 1px solid var(--line); }
@media (max-width: 46rem) { img.broad { max-width: none; width: 46rem; } }
table { border-collapse: collapse; font-size: .92rem; margin: .75rem 0;
  font-variant-numeric: tabular-nums; }
th, td { padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; white-space: nowrap; }
thead th { border-bottom: 2px solid var(--line); vertical-align: bottom; }
tbody th { font-weight: 600; }
.number { text-align: right; }
.long { white-space: normal; min-width: 18rem; max-width: 48rem; overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: .92rem; margin-top: 3rem; padding-bottom: 2rem; }
@media print { .wide { overflow: visible; } h2 { break-after: avoid; }
  figure { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Picture:
    """A picture of a page.

    Parameters
    ----------
    png
        The file's bytes.
    alt
        What the picture shows, for those who do not see it.
    caption
        Said below the picture.
    """

    png: bytes
    alt: str
    caption: str = ""

    @staticmethod
    def of(path: Path, alt: str, caption: str = "") -> Picture:
        """Return the picture in a PNG file."""
        return Picture(path.read_bytes(), alt, caption)


@dataclass(frozen=True)
class Table:
    """A table of a page, or of the command line.

    Parameters
    ----------
    caption
        Said above the table.
    columns
        Headers.
    rows
        Texts, one for each column; the first names the row.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Block: TypeAlias = str | Table | Picture


@dataclass(frozen=True)
class Section:
    """A part of a page with a title: paragraphs (plain text), tables and pictures, in order."""

    title: str
    blocks: tuple[Block, ...]


def page(title: str, sections: Sequence[Section]) -> str:
    """Return an HTML page that holds everything it shows.

    Parameters
    ----------
    title
        Of the page; plain text, as every text of the sections: it is escaped here.
    sections
        What the page shows, in order.

    Returns
    -------
    str
        An HTML document in UTF-8, in English.

    Raises
    ------
    ValueError
        A picture is not a PNG or has no alternative text, or a table's row is not as long as its
        header: the caller's mistake.
    """
    anchors = [f"section-{number}" for number in range(1, len(sections) + 1)]
    contents = "".join(
        f'<li><a href="#{anchor}">{_text(section.title)}</a></li>'
        for anchor, section in zip(anchors, sections, strict=True)
    )
    parts = "\n".join(
        f'<section aria-labelledby="{anchor}">\n<h2 id="{anchor}">{_text(section.title)}</h2>\n'
        + "\n".join(_block(block) for block in section.blocks)
        + "\n</section>"
        for anchor, section in zip(anchors, sections, strict=True)
    )
    navigation = f'<nav aria-label="Contents"><ul>{contents}</ul></nav>' if sections else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="batterykit {_text(__version__)}">
<title>{_text(title)}</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{_text(title)}</h1>
{navigation}
</header>
<main>
{parts}
</main>
<footer><p>Written by batterykit {_text(__version__)}. This file holds everything it shows.</p>
</footer>
</body>
</html>
"""


def write_page(path: Path, title: str, sections: Sequence[Section]) -> Path:
    """Write a page, whole or not at all, its folder too; return the path.

    Raises
    ------
    BatterykitError
        It cannot be written there.
    """
    text = page(title, sections)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8", errors="replace")
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise BatterykitError(
            f"the page cannot be written ({error})",
            fix="free some space on the disk, or name another folder",
            file=path,
        ) from error
    return path


def _block(block: Block) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Picture):
        return _picture(block)
    return f"<p>{_text(block)}</p>"


def _picture(picture: Picture) -> str:
    if not picture.png.startswith(PNG_SIGNATURE):
        raise ValueError("a page takes PNG pictures only")
    if not picture.alt.strip():
        raise ValueError("a picture needs an alternative text")
    width, height = (int.from_bytes(picture.png[k : k + 4], "big") for k in (16, 20))  # IHDR
    data = base64.b64encode(picture.png).decode("ascii")
    caption = f"<figcaption>{_text(picture.caption)}</figcaption>" if picture.caption else ""
    kind = "broad" if width > height / 2 else "tall"
    return (
        f'<figure><div class="wide" tabindex="0" role="group" aria-label="Picture">'
        f'<img class="{kind}" src="data:image/png;base64,{data}" alt="{_text(picture.alt)}" '
        f'width="{width}" height="{height}"></div>{caption}</figure>'
    )


def _table(table: Table) -> str:
    for row in table.rows:
        if len(row) != len(table.columns):
            raise ValueError(f"a row of '{table.caption}' has {len(row)} of {table.columns}")
    look = [_look_of_column(table, column) for column in range(len(table.columns))]
    head = "".join(
        f'<th scope="col"{look_of_it}>{_text(name)}</th>'
        for name, look_of_it in zip(table.columns, look, strict=True)
    )
    body = "\n".join(f"<tr>{''.join(_cells(row, look))}</tr>" for row in table.rows)
    name = _text(table.caption)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{name}">'
        f"<table><caption><span>{name}</span></caption>"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _cells(row: Sequence[str], look: Sequence[str]) -> Iterable[str]:
    yield f'<th scope="row"{look[0]}>{_text(row[0])}</th>'
    for value, look_of_it in zip(row[1:], look[1:], strict=True):
        yield f"<td{look_of_it}>{_text(value)}</td>"


def _look_of_column(table: Table, column: int) -> str:
    values = [row[column] for row in table.rows]
    if values and all(_NUMBER.fullmatch(value) for value in values):
        return ' class="number"'
    return ' class="long"' if any(len(value) > LONG_TEXT for value in values) else ""


def _text(text: str) -> str:
    return escape(str(text), quote=True)
