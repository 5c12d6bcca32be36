"""Progress in a notebook: one output that is updated, however many epochs there are."""

from __future__ import annotations

import sys
import time
from typing import Any

from xfer.runtime import html
from xfer.training.callback import Callback, TrainerView
from xfer.training.history import Row
from xfer.training.progress import Progress, line

_SECONDS = 0.2  # between two updates: each is a message to the browser


def progress_callback() -> Callback:
    """What shows progress here: `NotebookProgress` in a notebook, `Progress` in a terminal or a log."""
    return NotebookProgress() if in_notebook() else Progress()


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")  # which a notebook has imported
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return hasattr(shell, "kernel")


class NotebookProgress(Callback):
    """One line of a notebook's cell: the epoch that runs with its loss, or the last one with its metrics."""

    shows_epochs = True

    def __init__(self) -> None:
        self._display: Any = None
        self._last = self._steps = 0
        self._cached, self._shown = "", 0.0

    def on_fit_begin(self, trainer: TrainerView, epochs: int) -> None:
        self._display, self._last, self._cached = None, trainer.epoch + epochs, ""
        if (used := trainer.cached) is not None:
            made = f"{used.computed:,} images computed, {used.there:,} read from the cache"
            self._cached = f"frozen blocks: {made}"

    def on_epoch_begin(self, trainer: TrainerView, epoch: int, steps: int) -> None:
        self._steps = steps
        self._say(f"epoch {epoch + 1}/{self._last}", 0.0)

    def on_step_end(self, trainer: TrainerView, step: int, loss: float) -> None:
        if time.monotonic() - self._shown >= _SECONDS:
            self._say(f"epoch {trainer.epoch + 1}/{self._last}  loss {loss:.4f}", step / max(self._steps, 1))

    def on_epoch_end(self, trainer: TrainerView, row: Row) -> None:
        self._say(line(row, self._last), 1.0)

    def _say(self, said: str, share: float) -> None:
        from IPython import display

        show: Any = display.display

        beside = f'<span style="opacity:.72">{html.text(self._cached)}</span>' if self._cached else ""
        bar = f'<progress max="1" value="{share:.3f}"></progress>'
        shown = {
            "text/plain": f"{said}  {self._cached}".rstrip(),
            "text/html": f'<div style="font-size:13px">{bar} <code>{html.text(said)}</code> {beside}</div>',
        }
        if self._display is None:
            self._display = show(shown, raw=True, display_id=True)
        else:
            self._display.update(shown, raw=True)
        self._shown = time.monotonic()
