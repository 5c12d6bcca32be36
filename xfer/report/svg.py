"""Matplotlib figures in xfer's style: as SVG in a page, whose colours the page decides, or in print colours."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Palette:
    """Colours of a figure: of text, of labels, of lines of the grid, of the background, and of each series."""

    ink: str
    muted: str
    grid: str
    paper: str
    colours: tuple[str, ...]

    def series(self, index: int) -> str:
        """The colour of the series in that place."""
        return self.colours[index % len(self.colours)]

    def style(self) -> dict[Any, Any]:
        """Settings of matplotlib."""
        return {
            "svg.fonttype": "none",
            "svg.hashsalt": "xfer",
            "text.parse_math": False,  # a class may be called $x$
            "axes.edgecolor": self.grid,
            "axes.labelcolor": self.muted,
            "axes.linewidth": 0.8,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.unicode_minus": False,
            "axes.formatter.useoffset": False,
            "font.size": 9,
            "grid.color": self.grid,
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "text.color": self.ink,
            "xtick.color": self.grid,
            "xtick.labelcolor": self.muted,
            "ytick.color": self.grid,
            "ytick.labelcolor": self.muted,
        }


PAGE = Palette(INK, MUTED, GRID, PAPER, SERIES)
# As style.css by day.
PRINT = Palette(
    "#1b1c1e", "#62656b", "#e1e2e4", "#ffffff", ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b98500", "#3d9bd1")
)

Drawing = Callable[[Palette], "Figure"]


def series(index: int) -> str:
    """The stand-in colour of the series in that place."""
    return PAGE.series(index)


@contextmanager
def drawing(palette: Palette = PAGE) -> Iterator[None]:
    """Within it, figures are made and written in the report's style."""
    from matplotlib import style

    with style.context(["default", palette.style()]), warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def element(draw: Drawing, name: str, description: str) -> str:
    """What `draw` draws as an `<svg>` element that a template does not escape; see `inline`."""
    from markupsafe import Markup

    with drawing():
        return Markup(inline(draw(PAGE), name, description))


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
