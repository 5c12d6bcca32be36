"""The history of training, one row for each epoch, as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, SupportsIndex, overload

from xfer.errors import CheckpointError
from xfer.runtime import files, html
from xfer.runtime.curves import Curve, chart
from xfer.runtime.files import write_atomically
from xfer.runtime.text import count_of

Row = dict[str, Any]
_ROWS = 50  # of a table in a notebook


class History(list[Row]):
    """One row an epoch: epoch, phase, lr, loss, images, seconds, and val_loss, val_accuracy, ... where validated."""

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Row: ...
    @overload
    def __getitem__(self, index: slice, /) -> History: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> Row | History:
        return History(super().__getitem__(index)) if isinstance(index, slice) else super().__getitem__(index)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {_number(value)}" for name, value in self[-1].items() if _shown(name)) if self else ""
        return f"History({count_of(len(self), 'epoch')}{f'; the last: {last}' if last else ''})"

    def _repr_html_(self) -> str:
        """Curves of the losses and of the validation accuracy, and a table, as a notebook shows them."""
        if not self:
            return html.view(html.title("no epoch"))
        columns = [n for n in dict.fromkeys(key for row in self for key in row) if n not in ("epoch", "images", "lr")]
        scores = [n for n in columns if n.startswith("val_") and n.endswith("accuracy") and "top5" not in n]
        curves = [self._curve(name) for name in ("loss", "val_loss")], [self._curve(name) for name in scores]
        charts = [chart("loss", curves[0], "epoch"), chart("accuracy", curves[1], "epoch", most=1.0)]
        rows = [(row["epoch"], *(_number(row.get(name, "")) for name in columns)) for row in self[-_ROWS:]]
        left_out = html.more(len(rows), len(self), "epochs before these")
        return html.view(
            html.title(repr(self).removeprefix("History(").removesuffix(")")),
            html.row(html.figure(each) for each in charts if each),
            html.details("all epochs", html.table(("epoch", *columns), rows) + left_out),
        )

    def _curve(self, name: str) -> Curve:
        return Curve(name, [(row["epoch"], row[name]) for row in self if isinstance(row.get(name), float)])

    def column(self, name: str) -> list[Any]:
        """The values of one key, epochs without it left out."""
        return [row[name] for row in self if name in row]

    def best(self, name: str, *, higher: bool) -> Row:
        """The row with the best value of a key, the first of equals."""
        rows = [row for row in self if name in row]
        return (max if higher else min)(rows, key=lambda row: row[name])

    def read(self, folder: Path) -> None:
        """Take over the rows of `history.json`, if the folder has it.

        Raises:
            CheckpointError: it is damaged.
        """
        path = folder / "history.json"
        if not path.exists():
            return
        try:
            rows = json.loads(files.read_inside(folder, path.name))
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} is damaged, remove it to go on without: {error}") from None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise CheckpointError(f"{path} is damaged, remove it to go on without: it is no list of epochs")
        self[:] = rows

    def write(self, folder: Path) -> None:
        """Write `history.json` and `history.csv`."""
        write_atomically(folder / "history.json", json.dumps(list(self), indent=1).encode())
        text = io.StringIO(newline="")
        out = csv.DictWriter(text, list(dict.fromkeys(key for row in self for key in row)))
        out.writeheader()
        out.writerows(self)
        write_atomically(folder / "history.csv", text.getvalue().encode())


def _shown(name: str) -> bool:
    return name in ("loss", "val_loss") or (
        name.startswith("val_") and name.endswith("accuracy") and "top5" not in name
    )


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
