"""A line chart as SVG without a plotting library, in the page's own colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from xfer.runtime.html import COLOURS, text

_WIDTH, _HEIGHT = 320, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 34, 34
_DASHES = ("", "5 3", "1.5 3", "8 3 2 3")  # so that lines differ in grey, too
_GRID = 'stroke="currentColor" stroke-opacity=".16"'


@dataclass(frozen=True)
class Curve:
    """A named line through (x, y); points that are not finite are left out."""

    name: str
    points: Sequence[tuple[float, float]]

    @property
    def drawn(self) -> list[tuple[float, float]]:
        """The points that can be drawn."""
        return [(x, y) for x, y in self.points if math.isfinite(x) and math.isfinite(y)]


def chart(title: str, curves: Sequence[Curve], x_label: str, most: float = math.inf) -> str:
    """An `<svg>` of at most four curves over whole numbers such as epochs, with ticks, grid and legend.

    Args:
        title: also the description for those who do not see it.
        curves: those without a point that can be drawn are left out.
        x_label: of the axis below.
        most: the largest value that there can be, such as 1 of an accuracy.
    """
    curves = [curve for curve in curves if curve.drawn][: len(COLOURS)]
    points = [point for curve in curves for point in curve.drawn]
    if not points:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    ticks = [tick for tick in _ticks(min(ys), max(ys)) if tick <= max(most, max(ys)) + 1e-9]
    low, high = ticks[0], ticks[-1]
    first, last = min(xs), max(xs)

    def across(x: float) -> float:
        share = (x - first) / (last - first) if last > first else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        return _HEIGHT - _BOTTOM - (y - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    parts = []
    for tick in ticks:
        y = down(tick)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" {_GRID}/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{tick:.{digits}f}</text>')
    for number in _whole(first, last):
        at = f'x="{across(number):.1f}" y="{_HEIGHT - _BOTTOM + 14}"'
        parts.append(f'<text {at} text-anchor="middle">{number}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 5}" text-anchor="middle">{text(x_label)}</text>')
    for place, curve in enumerate(curves):
        line = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in curve.drawn)
        style = f'fill="none" stroke="{COLOURS[place]}" stroke-width="2" stroke-dasharray="{_DASHES[place]}"'
        parts.append(f'<polyline points="{line}" {style}/>')
        x, y = curve.drawn[-1]
        parts.append(f'<circle cx="{across(x):.1f}" cy="{down(y):.1f}" r="3" fill="{COLOURS[place]}"/>')
        parts.append(_legend(curve, place))
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    described = f"{title} by {x_label}: " + "; ".join(f"{c.name} ends at {c.drawn[-1][1]:.4g}" for c in curves)
    font = 'font-size="11" font-family="inherit" fill="currentColor"'
    return f'<svg {size} role="img" aria-label="{text(described)}" {font}>{"".join(parts)}</svg>'


def _legend(curve: Curve, place: int) -> str:
    x, y = _LEFT + 140 * (place % 2), 10 + 14 * (place // 2)
    style = f'stroke="{COLOURS[place]}" stroke-width="2" stroke-dasharray="{_DASHES[place]}"'
    line = f'<line x1="{x}" x2="{x + 22}" y1="{y}" y2="{y}" {style}/>'
    return f'{line}<text x="{x + 28}" y="{y + 4}">{text(curve.name)}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers around the values (Heckbert 1990, Graphics Gems: nice numbers for graph labels)."""
    if low == high:
        low, high = low - (abs(low) * 0.1 or 1.0), high + (abs(high) * 0.1 or 1.0)
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(start, max(stop, start + 1) + 1)]


def _whole(first: float, last: float) -> list[int]:
    """At most nine round whole numbers from the first to the last."""
    steps = (factor * 10**power for power in range(12) for factor in (1, 2, 5))
    step = next(step for step in steps if (last - first) / step <= 8)
    return list(range(math.ceil(first / step) * step, math.floor(last) + 1, step))
