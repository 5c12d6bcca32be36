"""How mobile networks round scaled widths."""

from __future__ import annotations


def multiple_of_8(width: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth smaller."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded
