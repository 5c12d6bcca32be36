"""Recording of `fit` as one of its callbacks, in the place of a `with` block around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from xfer.errors import UsageError

if TYPE_CHECKING:
    from xfer_keras.record import KerasRecorder


class RecorderCallback(keras.callbacks.Callback):
    """Begins to record when the training begins, and ends when all steps are there or the training ends.

    In a `with` block, which does both, it does nothing.
    """

    def __init__(self, recorder: KerasRecorder) -> None:
        super().__init__()
        self.recorder, self.mine = recorder, False

    def on_train_begin(self, logs: Any = None) -> None:
        if self.model is not self.recorder.model:
            raise UsageError(
                f"the callback of a recorder of {self.recorder.model.name} was given to fit of {self.model.name}: "
                "give it to the fit of the model that is recorded"
            )
        if not self.recorder.active and not self.recorder.complete:
            self.mine = True
            self.recorder.__enter__()
            self.model.make_train_function()  # fit has made it before this

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.recorder.complete:
            self.on_train_end()

    def on_train_end(self, logs: Any = None) -> None:
        if self.mine:
            self.mine = False
            self.recorder.__exit__()
