"""Runs of Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal
from uuid import uuid4

from xfer.errors import UsageError
from xfer.runtime.progress import say
from xfer.training.tracking import Tracker


class WandB(Tracker):
    """Logs a run to Weights & Biases (extra "wandb"), as `WANDB_MODE`, `WANDB_PROJECT` and its other variables say.

    Args:
        folder: for its files.
        project: its name; by default `WANDB_PROJECT`, else "xfer".
        mode: "online", "offline" or "disabled"; by default `WANDB_MODE`, else online.
    """

    name: ClassVar[str] = "wandb"
    library: ClassVar[str] = "wandb"

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        project: str | None = None,
        mode: Literal["online", "offline", "disabled", "shared"] | None = None,
    ) -> None:
        super().__init__(folder)
        self.project, self.mode = project, mode
        self._run: Any = None

    def new_id(self) -> str:
        return uuid4().hex[:8]

    def begin(self, run: str | None, config: Mapping[str, Any], folder: Path) -> str:
        import wandb

        if self._run is None:
            online = (self.mode or os.environ.get("WANDB_MODE", "online")) == "online"
            if online and not wandb.login(prompt=False):
                raise UsageError("nobody is logged in: run `wandb login`, or set WANDB_MODE=offline")
            folder.mkdir(parents=True, exist_ok=True)  # else it takes another one
            settings = wandb.Settings(console="off", silent=True)
            self._run = wandb.init(
                project=self.project or os.environ.get("WANDB_PROJECT") or "xfer",
                id=run,
                resume="allow",
                dir=folder if self.folder else folder.parent,  # it makes one of its name in there
                config=dict(config),
                mode=self.mode,
                settings=settings,
            )
            self._run.define_metric("*", step_metric="epoch")
            if online:
                say(f"wandb: {self._run.url}")
        return str(self._run.id)

    def log(self, row: Mapping[str, float], epoch: int) -> None:
        self._run.log({**row, "epoch": epoch})

    def end(self, metrics: Mapping[str, float], epoch: int) -> None:
        self._run.summary.update(dict(metrics))
        self._run.finish()
        self._run = None
