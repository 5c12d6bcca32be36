"""Progress of a fit on stderr: a line for each epoch."""

from __future__ import annotations

from xfer.runtime.progress import say
from xfer.training.callback import Callback, TrainerView
from xfer.training.history import Row


class Progress(Callback):
    """One line an epoch; how far an epoch is while it runs, `Trainer.fit` shows beside it."""

    def __init__(self) -> None:
        self._last = 0

    def on_fit_begin(self, trainer: TrainerView, epochs: int) -> None:
        self._last = trainer.epoch + epochs
        if (used := trainer.cached) is not None:
            size = (used.there + used.computed) * used.row_bytes / 2**20
            made = f"{used.computed:,} images computed, {used.there:,} read from the cache"
            say(f"frozen blocks: {made} ({size:.1f} MiB)")

    def on_epoch_end(self, trainer: TrainerView, row: Row) -> None:
        say(line(row, self._last))


def line(row: Row, last: int) -> str:
    """An epoch in one line: `head epoch 3/10  loss 0.21  val_loss 0.18  val_accuracy 0.954  2.1 s`."""
    shown = {name: value for name, value in row.items() if name == "loss" or name.startswith("val_")}
    numbers = [f"{name} {value:.4f}" for name, value in shown.items() if isinstance(value, float)]
    phase = f"{row['phase']} " if row["phase"] else ""
    return "  ".join([f"{phase}epoch {row['epoch']}/{last}", *numbers, f"{row['seconds']:.1f} s"])
