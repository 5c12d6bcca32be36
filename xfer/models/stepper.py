"""One update at a time: the only thing about training that a backend does."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from xfer.errors import CheckpointError, DeviceError, UsageError
from xfer.models import compilation
from xfer.models.base_model import STATISTICS
from xfer.specs.inputs import Inputs
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec

if TYPE_CHECKING:
    from xfer.models.base_model import BaseModel

_STRIDE = 0x9E3779B9  # between the seeds of micro_batches


class Stepper(ABC):
    """Loss, gradients and update rule on a backend, for the tensors that are trainable at the moment.

    The state of the optimizer is kept by canonical tensor name: what stays trainable keeps its slots over a change of
    the freeze plan, what becomes trainable starts with none.

    A batch that does not fit into memory is taken in micro_batches: the logits of all of them first, then the loss of the
    whole batch, and then each micro_batch once more, with the loss's gradient at its logits. So loss and gradients are those
    of the whole batch, whatever the loss; only live normalisation sees one micro_batch at a time.

    An update is made only of numbers: where the loss or the global norm of the gradients is NaN or infinite, weights,
    slots and statistics stay as they are. A norm beyond the range of the precision counts, for its square would spoil
    Adam's slots. To know it, each step waits once for the device, between the gradients and the update.

    Attributes:
        micro_batch_size: images in a micro_batch; None for the whole batch. It is halved when memory runs out, and stays so.
    """

    micro_batch_size: int | None = None

    def __init__(
        self, model: BaseModel, optimizer: OptimizerSpec, loss: LossSpec, clip_norm: float | None = None
    ) -> None:
        self.model, self.optimizer, self.loss, self.clip_norm = model, optimizer, loss, clip_norm
        self._built_for: object = None
        self._live: tuple[str, ...] = ()
        self._fitted: set[tuple[str | None, int]] = set()

    def step(self, inputs: np.ndarray | Inputs, labels: np.ndarray, rates: Mapping[str, float], seed: int = 0) -> float:
        """One update. The step is rebuilt first if the freeze plan or the head has changed.

        Args:
            inputs: uint8 images (N, S, S, 3), or `Inputs` that begin after a block or bring columns.
            labels: int64 (N,), class indices, -1 where there is none; or float64: shares of classes (N, K), or the
                targets of all tasks side by side (N, M), NaN where there is none.
            rates: learning rate by block, the schedule's factor included.
            seed: of what is random inside the network (dropout) in this step.

        Returns:
            The loss before the update; NaN where it or a gradient is not finite, and then nothing has changed.

        Raises:
            DeviceError: there is not enough memory for a single image, or in one of several processes.
        """
        self._rebuild_if_stale()
        accepted, targets = self._accepted(inputs), _typed(labels)
        with self.model.backend.deterministically(self.model.spec):
            return self._step(accepted, targets, rates, seed)

    def _step(self, accepted: Inputs, targets: np.ndarray, rates: Mapping[str, float], seed: int) -> float:
        if self.model.spec.compile and "training" not in self.model.compiled and accepted.after is None:
            compilation.settle(self.model, "training", lambda: self.compute_gradients(accepted, targets, seed))
        kind = (accepted.after, len(accepted))
        if kind in self._fitted:
            return self.train_step(accepted, targets, rates, seed)
        statistics = self.model.read(name for name in self.model.shapes() if name.endswith(STATISTICS))
        while True:
            try:
                loss = self.train_step(accepted, targets, rates, seed)
            except Exception as error:
                if not self.model.backend.out_of_memory(error):
                    raise
                if accepted.shards:  # the other processes would wait for micro_batches that they do not have
                    raise DeviceError(
                        f"out of memory with {len(accepted)} images in one of several processes: lower batch_size"
                    ) from None
            else:
                self._fitted.add(kind)
                return loss
            # Outside of the handler, which holds what the failed step had allocated.
            self._halve_micro_batches(len(accepted))
            self.model.write(statistics)

    def gradients(self, inputs: np.ndarray | Inputs, labels: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
        """Gradients of the loss for every trainable tensor by canonical name, torch's layouts, unclipped.

        The forward pass runs as in training, but neither weights nor statistics change.
        """
        self._rebuild_if_stale()
        accepted = self._accepted(inputs)
        with self.model.backend.deterministically(self.model.spec):
            return self.compute_gradients(accepted, _typed(labels), seed)

    def state(self) -> dict[str, np.ndarray]:
        """Optimizer slots as `slot/tensor` (`exp_avg/fc.weight`) and `step/tensor`, an int64 count of updates."""
        self._rebuild_if_stale()
        return self.read_state()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Set the slots that `state` names; the others keep what they have.

        Raises:
            CheckpointError: a slot of another shape.
        """
        self._rebuild_if_stale()
        for name, array in self.read_state().items():
            if name in state and state[name].shape != array.shape:
                raise CheckpointError(f"optimizer slot {name!r} has shape {state[name].shape}: expected {array.shape}")
        self.write_state(state)

    def trainable_by_block(self) -> dict[str, list[str]]:
        """Names of the trainable tensors in forward order, by block."""
        found: dict[str, list[str]] = {}
        for name in self.model.parameters:
            if name in self.model.trainable:
                found.setdefault(self.model.card.block_of(name), []).append(name)
        return found

    def _accepted(self, inputs: np.ndarray | Inputs) -> Inputs:
        accepted = self.model.accept(inputs)
        if accepted.after is not None:
            skipped = set(self.model.blocks) - set(self.model.stages_after(accepted.after))
            for block in self._live:
                if block in skipped:
                    raise UsageError(
                        f"block {block!r} is trainable, but the inputs are outputs of {accepted.after!r}: freeze it"
                    )
        return accepted

    def _rebuild_if_stale(self) -> None:
        if self._built_for is not self.model.trainable:
            self.rebuild()
            self._fitted.clear()
            self._live = tuple(self.trainable_by_block())
            self._built_for = self.model.trainable

    def micro_batches(self, inputs: Inputs, seed: int) -> list[tuple[Inputs, int]]:
        """What passes through the network at once, each with a seed of its own."""
        parts = inputs.micro_batches(self.micro_batch_size)
        return [(part, (seed + i * _STRIDE) % 2**32) for i, part in enumerate(parts)]

    def _halve_micro_batches(self, images: int) -> None:
        before = min(images, self.micro_batch_size or images)
        if before < 2:
            raise DeviceError(
                f"{self.model.spec.device} has no memory for a training step of one image: give a smaller image_size, "
                "unfreeze fewer blocks, or take another device"
            )
        self.micro_batch_size = (before + 1) // 2
        live = any(name.endswith(STATISTICS) for name in self.model.live_weights())
        print(
            f"out of memory with {before} images at once: gradients are accumulated over {self.micro_batch_size} at a time, the "
            f"batch stays {images}" + ("; live batch statistics are of one micro_batch" if live else ""),
            file=sys.stderr,
        )

    @abstractmethod
    def rebuild(self) -> None:
        """Make the step for `model.trainable`, keeping the slots of tensors that stay."""

    @abstractmethod
    def train_step(self, inputs: Inputs, labels: np.ndarray, rates: Mapping[str, float], seed: int) -> float:
        """See `step`."""

    @abstractmethod
    def compute_gradients(self, inputs: Inputs, labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        """See `gradients`."""

    @abstractmethod
    def read_state(self) -> dict[str, np.ndarray]:
        """See `state`."""

    @abstractmethod
    def write_state(self, state: Mapping[str, np.ndarray]) -> None:
        """See `load_state`."""


def _typed(labels: np.ndarray) -> np.ndarray:
    return np.asarray(labels, np.int64 if np.ndim(labels) == 1 else np.float64)
