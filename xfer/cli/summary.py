"""What a command says at its end: a table, and the path of what was written."""

from __future__ import annotations

from collections.abc import Mapping

from xfer.cli.cells import cell
from xfer.cli.guard import printable, show


def summary(title: str, rows: Mapping[str, str], **written: object) -> None:
    """Print a table of two columns; below it a line for each thing that was written, such as `report: PATH`."""
    from rich.table import Table
    from rich.text import Text

    table = Table("", cell(title))
    for name, value in rows.items():
        table.add_row(Text(printable(name)), Text(printable(value)))
    show(table)
    for name, path in written.items():
        print(f"{name}: {printable(str(path))}")
