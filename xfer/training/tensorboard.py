"""Metrics as TensorBoard events."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from xfer.errors import UsageError
from xfer.training.callback import Callback, TrainerView
from xfer.training.history import Row


class TensorBoard(Callback):
    """Writes every number of every epoch as TensorBoard events into a folder (extra "tensorboard")."""

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError:
            raise UsageError('TensorBoard needs tensorboardX: pip install "xfer-learn[tensorboard]"') from None
        self._make = partial(SummaryWriter, str(folder))
        self._writer: Any = None

    def on_epoch_end(self, trainer: TrainerView, row: Row) -> None:
        if trainer.distributed.rank:
            return
        self._writer = self._writer or self._make()
        for name, value in row.items():
            if isinstance(value, float):
                self._writer.add_scalar(name, value, row["epoch"])

    def on_fit_end(self, trainer: TrainerView) -> None:
        if self._writer is not None:
            self._writer.close()  # waits until all is written; another fit opens a file of its own
