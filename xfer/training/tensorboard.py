"""Metrics as TensorBoard events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from xfer.training.tracking import Tracker


class TensorBoard(Tracker):
    """Writes every number of every epoch as TensorBoard events into a folder (extra "tensorboard")."""

    name: ClassVar[str] = "tensorboard"
    library: ClassVar[str] = "tensorboardX"

    def __init__(self, folder: str | Path | None = None) -> None:
        super().__init__(folder)
        self._writer: Any = None
        self._files = 0

    def begin(self, run: str | None, config: Mapping[str, Any], folder: Path) -> str:
        self._open(folder)
        if run is None:
            lines = "\n".join(f"    {name}: {value}" for name, value in config.items())  # indented: code in Markdown
            self._writer.add_text("config", lines)
        return folder.name

    def log(self, row: Mapping[str, float], epoch: int) -> None:
        for name, value in row.items():
            self._writer.add_scalar(name, value, epoch)

    def pause(self, *, finished: bool) -> None:
        self._writer.close()  # waits until all is written

    def end(self, metrics: Mapping[str, float], epoch: int) -> None:
        self._open(Path(self._writer.logdir))
        self.log(metrics, epoch)
        self._writer.close()

    def _open(self, folder: Path) -> None:
        """A file of its own: names have the second, and what is opened twice in one would be overwritten."""
        from tensorboardX import SummaryWriter

        self._files += 1
        self._writer = SummaryWriter(str(folder), filename_suffix=f".{self._files}")
