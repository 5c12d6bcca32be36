"""The history of training, one row for each epoch, as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from xfer.errors import CheckpointError
from xfer.runtime import files
from xfer.runtime.files import write_atomically

Row = dict[str, Any]


class History(list[Row]):
    """One row an epoch: epoch, phase, lr, loss, images, seconds, and val_loss, val_accuracy, ... where validated."""

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
