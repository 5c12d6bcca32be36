"""One update at a time: the only part of training that a backend does."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from xfer.errors import CheckpointError, DeviceError, UsageError
from xfer.models import compilation
from xfer.models.base_model import BaseModel
from xfer.models.update_rule import UpdateRule
from xfer.runtime.progress import say
from xfer.specs.inputs import Inputs
from xfer.specs.lora import Lora, is_adapter
from xfer.specs.tasks import check_loss
from xfer.specs.update import UpdateSpec

_STRIDE = 0x9E3779B9  # between the seeds of micro-batches
_START = "start/"  # before the names of tensors that L2-SP decays towards, in the state


class _Built(NamedTuple):
    """What the update rule was made for."""

    generation: int
    heads: int
    update: UpdateSpec
    lora: Lora | None


class Stepper(ABC):
    """Loss, gradients and update rule on a backend, for the tensors that are trainable at the moment.

    The state of the optimizer belongs to canonical tensor names: what stays trainable keeps its slots over a change of
    the freeze plan, what becomes trainable starts with zeros, and so does a new head, whatever its tensors are called.

    A batch that does not fit into memory is computed in micro-batches: the logits of all of them first, then the loss
    of the whole batch, and then each micro-batch once more, with the loss's gradient at its logits. So loss and
    gradients are those of the whole batch, for any loss; only batch statistics are those of a micro-batch.

    Where the loss, the global norm of the gradients or a running statistic is NaN or infinite, no update is made:
    weights, slots and statistics stay as they are. A norm beyond the range of the precision counts as infinite, because
    its square would overflow in Adam's slots. To know it, each step waits for the device once, between gradients and
    update.

    Attributes:
        update: what a step computes; may be replaced between steps.
        optimizer: the update rule, which `rebuild` makes.
        start: what L2-SP decays tensors towards, by name: their weights when they were trained for the first time.
        micro_batch_size: images of a micro-batch; None for the whole batch. It is halved when memory runs out.
    """

    optimizer: UpdateRule
    micro_batch_size: int | None = None

    def __init__(self, model: BaseModel, update: UpdateSpec) -> None:
        check_loss(update.loss, model.classes, model.spec.tasks)
        self.model, self.update = model, update
        self._built_for: _Built | None = None
        self.start: dict[str, np.ndarray] = {}
        self._live: tuple[str, ...] = ()
        self._fitted: set[tuple[str | None, int]] = set()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model.name} with {self.update.optimizer.name})"

    def step(self, inputs: np.ndarray | Inputs, labels: np.ndarray, rates: Mapping[str, float], seed: int = 0) -> float:
        """One update. The step is rebuilt first if the freeze plan or the head has changed.

        Args:
            inputs: uint8 images (N, S, S, 3), or `Inputs` that begin after a block or bring columns.
            labels: int64 (N,), class indices, -1 where there is none; or float64: shares of classes (N, K), or the
                targets of all tasks side by side (N, M), NaN where there is none.
            rates: learning rate by block, the schedule's factor included.
            seed: seed of what is random inside the network (dropout) in this step.

        Returns:
            The loss before the update; NaN where it or a gradient is not finite, and then nothing has changed.

        Raises:
            DeviceError: there is not enough memory for a single image, or in one of several processes.
        """
        with self._ready():
            return self._step(self._accepted(inputs), self._targets(labels), rates, seed)

    def gradients(self, inputs: np.ndarray | Inputs, labels: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
        """Gradients of the loss for every trainable tensor by canonical name, torch's layouts, unclipped.

        The forward pass runs as in training, but neither weights nor statistics change.
        """
        with self._ready():
            return self._gradients(self._accepted(inputs), self._targets(labels), seed)

    def state(self) -> dict[str, np.ndarray]:
        """Optimizer slots as `slot/tensor` (`exp_avg/fc.weight`) and `step/tensor`, an int64 count of updates.

        With L2-SP also `start/tensor`.
        """
        with self._ready():
            slots, counts = self.optimizer.slots(), dict(self.optimizer.counts)
        found = {f"{slot}/{name}": array for name, each in slots.items() for slot, array in each.items()}
        found |= {f"step/{name}": np.array(count, np.int64) for name, count in counts.items()}
        return found | {f"{_START}{name}": array for name, array in self.start.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Set the slots and counts that `state` names; the others stay.

        Raises:
            CheckpointError: a slot of another shape.
        """
        with self._ready():
            self._load_start({n.removeprefix(_START): array for n, array in state.items() if n.startswith(_START)})
            slots: dict[str, dict[str, np.ndarray]] = {}
            for name, mine in self.optimizer.slots().items():
                for slot, array in mine.items():
                    given = state.get(f"{slot}/{name}")
                    if given is not None and given.shape != array.shape:
                        raise CheckpointError(
                            f"optimizer slot '{slot}/{name}' has shape {given.shape}: expected {array.shape}"
                        )
                    slots.setdefault(name, {})[slot] = array if given is None else given
            counts = {name: int(state.get(f"step/{name}", count)) for name, count in self.optimizer.counts.items()}
            self.optimizer.load(slots, counts)

    def trainable_by_block(self) -> dict[str, list[str]]:
        """Names of the trainable tensors in forward order, by block."""
        found: dict[str, list[str]] = {}
        for name in self.model.parameters:
            if name in self.model.trainable:
                found.setdefault(self.model.card.block_of(name), []).append(name)
        return found

    def micro_batches(self, inputs: Inputs, seed: int) -> list[tuple[Inputs, int]]:
        """The micro-batches of a batch, each with a seed of its own."""
        parts = inputs.micro_batches(self.micro_batch_size)
        return [(part, (seed + i * _STRIDE) % 2**32) for i, part in enumerate(parts)]

    def statistics(self) -> Mapping[str, Any]:
        """Copies of what a forward pass in training may change: running statistics, and other buffers."""
        return self.model.read(self.model.buffers())

    def restore(self, statistics: Mapping[str, Any]) -> None:
        """Set what `statistics` returned."""
        self.model.write(statistics)

    def _step(self, inputs: Inputs, labels: np.ndarray, rates: Mapping[str, float], seed: int) -> float:
        model = self.model
        if model.spec.compile and "training" not in model.compiled and inputs.after is None:
            compilation.choose(
                "training", lambda: self._gradients(inputs, labels, seed), model.compiled, model.spec.deterministic
            )
        kind = (inputs.after, len(inputs))
        if kind in self._fitted:
            return self._train(inputs, labels, rates, seed)
        statistics = self.statistics()
        while True:
            try:
                loss = self._train(inputs, labels, rates, seed)
            except Exception as error:
                if not model.backend.out_of_memory(error):
                    raise
                if inputs.shards:  # the other processes would wait for micro-batches that they do not have
                    raise DeviceError(
                        f"out of memory with {len(inputs)} images in one of several processes: lower batch_size"
                    ) from None
            else:
                self._fitted.add(kind)
                return loss
            # Outside of the handler, which holds what the failed step had allocated.
            self._halve_micro_batches(len(inputs))
            self.restore(statistics)

    def _train(self, inputs: Inputs, labels: np.ndarray, rates: Mapping[str, float], seed: int) -> float:
        micro = self.micro_batches(inputs, seed)
        if len(micro) == 1 or inputs.shards:
            return self.train_step(inputs, labels, rates, seed)
        statistics = self.statistics()
        loss, gradients = self._accumulated(micro, labels, statistics)
        if gradients is None:
            return math.nan
        return self.apply_gradients(loss, gradients, rates, statistics)

    def _gradients(self, inputs: Inputs, labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        statistics = self.statistics()
        micro = self.micro_batches(inputs, seed)
        if len(micro) == 1 or inputs.shards:
            gradients = self.compute_gradients(inputs, labels, seed)
        else:
            gradients = self._accumulated(micro, labels, statistics)[1]
            if gradients is None:
                return {name: np.full(self.model.shapes()[name], np.nan) for name in self.optimizer.counts}
        self.restore(statistics)
        return self.read_gradients(gradients)

    def _accumulated(
        self, micro: Sequence[tuple[Inputs, int]], labels: np.ndarray, statistics: Mapping[str, Any]
    ) -> tuple[Any, Any]:
        """The loss of the whole batch, and its gradients, if it is finite, from these statistics."""
        outputs = [self.forward(*each) for each in micro]
        self.restore(statistics)
        loss, at_outputs = self.loss_gradients(outputs, labels)
        if not math.isfinite(float(loss)):  # some layers refuse to compute what is not defined
            return loss, None
        total = None
        for (inputs, seed), at_output in zip(micro, at_outputs, strict=True):
            total = self.backward(inputs, seed, at_output, total)
        return loss, total

    def _targets(self, labels: np.ndarray) -> np.ndarray:
        """Class indices int64 (N,), or shares or targets float64 (N, M).

        Raises:
            UsageError: another number of columns.
        """
        given, tasks = np.asarray(labels), self.update.loss.tasks
        if given.ndim == 2 and given.shape[1] == 1 and not tasks:
            given = given[:, 0]
        wanted = sum(task.columns for task in tasks) if tasks else len(self.model.classes)
        if given.ndim > 1 and given.shape[1:] != (wanted,):
            raise UsageError(f"labels have shape {given.shape}: expected (N,), or (N, {wanted})")
        return np.asarray(given, np.int64 if given.ndim == 1 else np.float64)

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

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """The model for this thread alone, with an update rule for what is trainable now."""
        with self.model.exclusively(), self.model.backend.deterministically(self.model.spec):
            self._rebuild_if_stale()
            yield

    def _rebuild_if_stale(self) -> None:
        wanted = _Built(self.model.generation, self.model.new_heads, self.update, self.model.spec.lora)
        if self._built_for != wanted:
            self._rebuild(wanted)

    def _rebuild(self, wanted: _Built) -> None:
        check_loss(self.update.loss, self.model.classes, self.model.spec.tasks)
        slots = {} if self._built_for is None else dict(self.optimizer.slots())
        counts = {} if self._built_for is None else dict(self.optimizer.counts)
        fresh = self._new_tensors(self._built_for) if self._built_for else set()
        blocks, shapes = self.trainable_by_block(), self.model.shapes()
        self.rebuild(blocks, self._start_of([name for names in blocks.values() for name in names]))
        self._fitted.clear()
        self._live, self._built_for = tuple(blocks), wanted
        same = [
            name
            for names in blocks.values()
            for name in names
            if name in counts
            and name not in fresh
            and all(array.shape == shapes[name] for array in slots.get(name, {}).values())
        ]
        self.optimizer.load({n: slots[n] for n in same if n in slots}, {n: counts[n] for n in same})

    def _start_of(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """What L2-SP decays these tensors towards, those left out that are new: heads and adapters."""
        if self.update.l2_sp is None:
            return {}
        heads = self._of_heads()
        pulled = [name for name in names if name not in heads and not is_adapter(name)]
        self.start |= self.model.read(name for name in pulled if name not in self.start)
        return {name: self.start[name] for name in pulled}

    def _load_start(self, start: Mapping[str, np.ndarray]) -> None:
        shapes = self.model.shapes()
        for name, array in start.items():
            if shapes.get(name) != array.shape:
                raise CheckpointError(f"'{_START}{name}' has shape {array.shape}: expected {shapes.get(name)}")
        if start and self._built_for:
            self.start |= start
            self._rebuild(self._built_for)

    def _new_tensors(self, before: _Built) -> set[str]:
        """What a new head has brought, and new adapters."""
        lora = self.model.spec.lora
        found = set[str]() if lora is None or lora is before.lora else set(lora.tensors)
        return found | (self._of_heads() if before.heads != self.model.new_heads else set())

    def _of_heads(self) -> set[str]:
        """Tensors that a new head brings: its own, and the last layers of auxiliary classifiers."""
        card = self.model.card
        last = tuple(f"{branch.head}." for branch in card.auxiliary)
        return {name for name in self.model.parameters if card.block_of(name) == "head" or name.startswith(last)}

    def _halve_micro_batches(self, images: int) -> None:
        before = min(images, self.micro_batch_size or images)
        if before < 2:
            raise DeviceError(
                f"{self.model.spec.device} has no memory for a training step of one image: give a smaller image_size, "
                "unfreeze fewer blocks, or use another device"
            )
        self.micro_batch_size = (before + 1) // 2
        live = not self.model.buffers().issubset(self.model.freezer.frozen())
        say(
            f"out of memory with {before} images: gradients are accumulated over micro-batches of "
            f"{self.micro_batch_size}, the batch stays {images}"
            + ("; batch statistics are those of a micro-batch" if live else "")
        )

    # What a backend implements. `Any` stands for the framework's own tensors.

    @abstractmethod
    def rebuild(self, blocks: Mapping[str, Sequence[str]], start: Mapping[str, np.ndarray]) -> None:
        """Make `optimizer` for the trainable tensors, by block, with empty slots; L2-SP decays towards `start`."""

    @abstractmethod
    def train_step(self, inputs: Inputs, labels: np.ndarray, rates: Mapping[str, float], seed: int) -> float:
        """See `step`: a whole batch, or a process's share of it."""

    @abstractmethod
    def compute_gradients(self, inputs: Inputs, labels: np.ndarray, seed: int) -> Any:
        """Gradients of a whole batch; statistics may change."""

    @abstractmethod
    def forward(self, inputs: Inputs, seed: int) -> Any:
        """The outputs of a micro-batch in training, without gradients: logits, and those of auxiliary classifiers."""

    @abstractmethod
    def loss_gradients(self, outputs: Sequence[Any], labels: np.ndarray) -> tuple[Any, list[Any]]:
        """The loss of a batch from the outputs of its micro-batches, and its gradient at the outputs of each."""

    @abstractmethod
    def backward(self, inputs: Inputs, seed: int, at_outputs: Any, total: Any) -> Any:
        """Gradients of a micro-batch from that at its outputs, added to `total`, which is None for the first."""

    @abstractmethod
    def apply_gradients(
        self, loss: Any, gradients: Any, rates: Mapping[str, float], statistics: Mapping[str, Any]
    ) -> float:
        """Clip and update; where loss or norm are not finite, restore `statistics` and return NaN."""

    @abstractmethod
    def read_gradients(self, gradients: Any) -> dict[str, np.ndarray]:
        """Gradients by canonical name in torch's layouts."""
