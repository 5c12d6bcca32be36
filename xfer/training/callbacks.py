"""What looks on while a model trains: early stopping, best weights, TensorBoard, and what a user adds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfer.errors import UsageError
from xfer.training.callback import Callback

if TYPE_CHECKING:
    from xfer.training.history import Row
    from xfer.training.trainer import Trainer


class TensorBoard(Callback):
    """Writes every number of every epoch as TensorBoard events into a folder (extra "tensorboard")."""

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError:
            raise UsageError('TensorBoard needs tensorboardX: pip install "xfer-learn[tensorboard]"') from None
        self._make = partial(SummaryWriter, str(folder))
        self._writer: Any = None

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        if trainer.distributed.rank:
            return
        self._writer = self._writer or self._make()
        for name, value in row.items():
            if isinstance(value, float):
                self._writer.add_scalar(name, value, row["epoch"])

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._writer is not None:
            self._writer.close()  # waits until all is written; another fit opens a file of its own
