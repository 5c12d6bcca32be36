"""Progress on stderr: a bar in a terminal, plain lines in a log."""

from __future__ import annotations

import sys
from typing import Any

from xfer.training.callback import Callback, TrainerView
from xfer.training.history import Row

EVERY = 10  # steps between two losses shown


class Progress(Callback):
    """One line an epoch; in a terminal also a bar with the loss while the epoch runs."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._last = 0

    def on_fit_begin(self, trainer: TrainerView, epochs: int) -> None:
        self._last = trainer.epoch + epochs
        if (used := trainer.cached) is not None:
            size = (used.there + used.computed) * used.row_bytes / 2**20
            made = f"{used.computed:,} images computed, {used.there:,} read from the cache"
            print(f"frozen blocks: {made} ({size:.1f} MiB)", file=sys.stderr, flush=True)

    def on_epoch_begin(self, trainer: TrainerView, epoch: int, steps: int) -> None:
        if sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.add_task(f"epoch {epoch + 1}/{self._last}", total=steps)
            self._bar.start()

    def on_step_end(self, trainer: TrainerView, step: int, loss: float) -> None:
        if self._bar is None:
            return
        task = self._bar.task_ids[0]
        self._bar.advance(task)
        if step % EVERY == 0:
            epoch = f"epoch {trainer.epoch + 1}/{self._last}"
            self._bar.update(task, description=f"{epoch} loss {loss:.4f}")

    def on_epoch_end(self, trainer: TrainerView, row: Row) -> None:
        self._close()
        print(line(row, self._last), file=sys.stderr, flush=True)

    def on_fit_end(self, trainer: TrainerView) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def line(row: Row, last: int) -> str:
    """An epoch in one line: `head epoch 3/10  loss 0.21  val_loss 0.18  val_accuracy 0.954  2.1 s`."""
    shown = {name: value for name, value in row.items() if name == "loss" or name.startswith("val_")}
    numbers = [f"{name} {value:.4f}" for name, value in shown.items() if isinstance(value, float)]
    phase = f"{row['phase']} " if row["phase"] else ""
    return "  ".join([f"{phase}epoch {row['epoch']}/{last}", *numbers, f"{row['seconds']:.1f} s"])
