"""Small HTML for notebooks: tables, bars, line charts and pictures that follow the page's own colours.

Text and lines are drawn in `currentColor`, series in colours that are readable on white and on black, so that a
fragment fits the light and the dark theme of any notebook. All values are escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


COLOURS = ("#2f86c8", "#d8601a", "#1c9a72", "#c266a0")  # at least 3:1 on white and on #111

# The class stands three times, so that these rules win over those of JupyterLab for tables.
_STYLE = """
.x-view{font-size:13px;line-height:1.45;max-width:60em;overflow-x:auto}
.x-view svg{display:block;max-width:100%;height:auto}
.x-view summary{cursor:pointer;opacity:.72}
.x-view .x-title{font-weight:600}
.x-view .x-note{opacity:.72}
.x-view figcaption{overflow-wrap:anywhere;max-width:16em}
.x-view.x-view.x-view :is(p,figure){margin:.2em 0 .5em}
.x-view.x-view.x-view table{border-collapse:collapse;border:0;margin:.2em 0 .6em;font-size:inherit}
.x-view.x-view.x-view table{width:auto;display:table}
.x-view.x-view.x-view tr{background:none}
.x-view.x-view.x-view :is(th,td){padding:.15em .9em .15em 0;border:0;text-align:left;font-weight:400}
.x-view.x-view.x-view :is(th,td){vertical-align:middle;max-width:none;white-space:nowrap;color:inherit;background:none}
.x-view.x-view.x-view :is(th,td){border-bottom:1px solid color-mix(in srgb,currentColor 18%,transparent)}
.x-view.x-view.x-view thead th{opacity:.72}
.x-view.x-view.x-view .x-numbers :is(th,td):not(:first-child){text-align:right;font-variant-numeric:tabular-nums}
.x-view.x-view.x-view .x-texts :is(th,td){white-space:normal;vertical-align:top;overflow-wrap:break-word}
.x-view.x-view.x-view .x-numbers .x-bar.x-bar{text-align:left;width:11em;min-width:6em}
.x-view.x-view.x-view td.x-cell.x-cell{text-align:center;min-width:2.6em;padding:.15em .4em}
.x-view.x-view.x-view .x-row figure .x-bar.x-bar{width:6em}
.x-view .x-bar i{display:block;height:.75em;background:#2f86c8;border-radius:1px}
.x-view .x-row{display:flex;flex-wrap:wrap;gap:.7em 1em;align-items:flex-start}
.x-view.x-view.x-view .x-row figure{margin:0;max-width:100%}
.x-view.x-view.x-view img{display:block;margin:0 0 .3em;max-width:100%;border-radius:2px}
.x-view .x-missing{display:grid;place-items:center;width:96px;height:96px;margin:0 0 .3em}
.x-view .x-missing{border:1px dashed currentColor;opacity:.6}
"""


def view(*parts: str) -> str:
    """A fragment that a notebook shows: parts of HTML, with the style that they need."""
    return f'<div class="x-view"><style>{_STYLE.strip()}</style>{"".join(parts)}</div>'


def page(title: str, *parts: str) -> str:
    """A document of its own, light or dark as the reader's system is."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    dark = '<meta name="color-scheme" content="light dark">'
    body = '<body style="margin:1.5em;font-family:system-ui,sans-serif">'
    return f"<!doctype html><html lang=en><head>{head}{dark}<title>{text(title)}</title></head>{body}{view(*parts)}"


def text(value: object) -> str:
    """A value as escaped text; bytes of a file's name that are no text become replacement characters."""
    shown = str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return escape("".join(c if c.isprintable() or c == " " else "\N{REPLACEMENT CHARACTER}" for c in shown))


def title(line: object) -> str:
    """The first line, which says what was found."""
    return f'<p class="x-title">{text(line)}</p>'


def note(line: object) -> str:
    """A line in weaker type."""
    return f'<p class="x-note">{text(line)}</p>'


def table(head: Sequence[object], rows: Iterable[Sequence[object]], bar: int | None = None) -> str:
    """A table of numbers, the first column of which has names.

    Args:
        head: of the columns; nothing for no head.
        rows: cells; a float at the place `bar` is a share in [0, 1], drawn as a bar.
        bar: which column has bars, if one does.
    """
    top = "".join(f'<th scope="col">{text(cell)}</th>' for cell in head)
    body = "".join(f"<tr>{''.join(_cell(cell, i, i == bar) for i, cell in enumerate(row))}</tr>" for row in rows)
    return f'<table class="x-numbers">{f"<thead><tr>{top}</tr></thead>" if top else ""}<tbody>{body}</tbody></table>'


def texts(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table of sentences, which are broken into lines."""
    return table(head, rows).replace('class="x-numbers"', 'class="x-texts"', 1)


def _cell(value: object, place: int, bar: bool) -> str:
    if bar and isinstance(value, float):
        return f'<td class="x-bar"><i style="width:{100 * min(max(value, 0.0), 1.0):.1f}%"></i></td>'
    shown = f"{value:,}" if isinstance(value, int) else text(value)
    return f'<th scope="row">{shown}</th>' if place == 0 else f"<td>{shown}</td>"


def matrix(counts: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Counts by true class (rows) and predicted class (columns); a cell is as strong as its share of the row."""
    top = "".join(f'<th scope="col">{text(name)}</th>' for name in names)
    rows = []
    for name, row in zip(names, counts, strict=True):
        whole = max(sum(row), 1)
        cells = "".join(
            f'<td class="x-cell" style="background:rgb(47 134 200/{0.55 * n / whole:.2f})">{n:,}</td>' for n in row
        )
        rows.append(f'<tr><th scope="row">{text(name)}</th>{cells}</tr>')
    head = f'<thead><tr><th scope="col">true \\ predicted</th>{top}</tr></thead>'
    return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"


def row(parts: Iterable[str]) -> str:
    """Figures side by side, as many as there is room for."""
    return f'<div class="x-row">{"".join(parts)}</div>'


def figure(content: str, caption: str = "", width: int | None = None) -> str:
    """HTML, and HTML of what is said of it, so many pixels wide if that is given."""
    style = f' style="width:{width}px"' if width else ""
    return f"<figure{style}>{content}{f'<figcaption>{caption}</figcaption>' if caption else ''}</figure>"


def picture(uri: str | None, described: object, side: int = 96) -> str:
    """An image that is so many pixels high and wide at the most, or a place that says that there is none."""
    if uri is None:
        return '<div class="x-missing">no picture</div>'
    place = "object-fit:contain;object-position:left top"
    return f'<img src="{uri}" alt="{text(described)}" style="width:{side}px;height:{side}px;{place}">'


def more(shown: int, total: int, what: str) -> str:
    """How many were left out, if any were."""
    return note(f"... {total - shown:,} more {what}") if total > shown else ""


def details(summary: object, content: str) -> str:
    """Content that a click opens."""
    return f"<details><summary>{text(summary)}</summary>{content}</details>"


def scaled(image: Image, side: int) -> Image:
    """An RGB image, its longer side at most `side`; tiny ones are enlarged in whole steps."""
    from PIL.Image import Resampling

    factor = side // max(image.size)
    if factor > 1:
        return image.resize((image.width * factor, image.height * factor), Resampling.NEAREST)
    image = image.copy()
    image.thumbnail((side, side))
    return image


def data_uri(image: Image, side: int, quality: int = 82) -> str:
    """An RGB image as a JPEG data URI, its longer side at most `side`; tiny ones are enlarged in whole steps."""
    jpeg = io.BytesIO()
    scaled(image, side).save(jpeg, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode()
