"""Matplotlib figures as SVG in the style of the page."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Matplotlib draws in these stand-ins; the page decides what they look like, by day and by night.
INK, MUTED, GRID, PAPER = "#000001", "#000002", "#000003", "#000004"
SERIES = ("#000011", "#000012", "#000013", "#000014", "#000015", "#000016")
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--rule)",
    PAPER: "var(--paper)",
    **{colour: f"var(--series-{i})" for i, colour in enumerate(SERIES)},
}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "xfer",
    "text.parse_math": False,  # a class may be called $x$
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": False,
    "axes.formatter.useoffset": False,
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
}


def series(index: int) -> str:
    """The stand-in colour of the backend in that place."""
    return SERIES[index % len(SERIES)]


@contextmanager
def drawing() -> Iterator[None]:
    """Within it, figures are made and written in the report's style."""
    from matplotlib import style

    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def inline(figure: Figure, name: str, description: str) -> str:
    """The figure as an `<svg>` element for HTML, all its text escaped.

    Args:
        figure: made within `drawing`.
        name: an identifier, unique in the page.
        description: what a reader hears who does not see it.
    """
    written = io.StringIO()
    figure.savefig(
        written, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.04, metadata={"Date": None}
    )
    root = ElementTree.fromstring(written.getvalue())
    for parent in root.iter():
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    used = {target for element in root.iter() for value in element.attrib.values() for target in _targets(value)}
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {
            key.rpartition("}")[2]: _own(value, name)
            for key, value in element.attrib.items()
            if key != "id" or value in used
        }
        if "id" in element.attrib:
            element.attrib["id"] = f"{name}-{element.attrib['id']}"
    width = float(root.attrib["width"].removesuffix("pt")) * 4 / 3
    root.attrib = {
        "role": "img",
        "aria-label": description,
        "viewBox": root.attrib["viewBox"],
        "style": f"--width: {width:.0f}px",
    }
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _targets(value: str) -> list[str]:
    """Identifiers that an attribute refers to: `#a`, `url(#a)`."""
    return re.findall(r"(?:^|url\()#([\w-]+)", value)


def _own(value: str, name: str) -> str:
    """An attribute with the page's colours, and references to this figure's own identifiers."""
    for colour, variable in _VARIABLES.items():
        value = value.replace(colour, variable)
    return re.sub(r"(^|url\()#(?=[\w-])", rf"\1#{name}-", value)
