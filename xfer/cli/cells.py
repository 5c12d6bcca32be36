"""Cells of tables on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xfer.cli.guard import printable

if TYPE_CHECKING:
    from xfer.data.audit.duplicates import Place


def cell(text: str) -> str:
    """Text that a table shows as it is: rich would take [brackets] in a file's name for markup."""
    from rich.markup import escape

    return escape(printable(text))


def where(place: Place) -> str:
    """An image: its split, its name, and its label if it has one."""
    label = "" if place.label is None else f" ({place.label})"
    return cell(f"{place.split}: {place.name}{label}")
