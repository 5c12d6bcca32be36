"""The base class of callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from xfer.training.history import Row
    from xfer.training.trainer import Trainer


class Callback:
    """Hooks into the loop; every one may be left out. Setting `trainer.stop` ends the fit after the epoch."""

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        """Before the first of `epochs` epochs."""

    def on_epoch_begin(self, trainer: Trainer, epoch: int, steps: int) -> None:
        """Before the first of `steps` batches of an epoch."""

    def on_step_end(self, trainer: Trainer, step: int, loss: float) -> None:
        """After an update."""

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """After validation, with the epoch's row of the history."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last epoch, also when the fit ended early or by an error."""

    def state(self) -> dict[str, np.ndarray]:
        """What a checkpoint in mid-fit must keep of this callback, for the fit to go on as if it had never stopped."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave; `on_fit_begin` was called before."""


def below(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """Those whose key begins with `name/`, without it."""
    return {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}
