"""The state of a fit under way: its loaders, its callbacks, and what a checkpoint stores of it."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from xfer.checkpoints.fit_progress import FitProgress
from xfer.checkpoints.manifest import FitPlan
from xfer.data import Batch, Loader, Skipped
from xfer.errors import UsageError
from xfer.runtime.progress import say
from xfer.runtime.signals import Watch
from xfer.training.callback import Callback, TrainerView, below
from xfer.training.history import History


@dataclass
class Fit:
    """A fit from its first epoch to its last.

    Args:
        plan: which epochs.
        train: the batches to train on.
        validation: those to validate on, if there are any.
        callbacks: the callbacks.
        watch: notes signals.
        losses: of the batches of this epoch so far, with the numbers of their labelled images.
        images: of the epoch so far.
        generation, heads: of the model, as callbacks know it.
    """

    plan: FitPlan
    train: Loader
    validation: Loader | None
    callbacks: Sequence[Callback]
    watch: Watch
    losses: list[tuple[float, int]] = field(default_factory=list)
    images: int = 0
    generation: int = 0
    heads: int = 0

    @property
    def last(self) -> int:
        """The epoch after the last."""
        return self.plan.first + self.plan.epochs

    @property
    def updates(self) -> int:
        """Of all epochs."""
        return self.plan.epochs * len(self.train)

    def done(self, epoch: int) -> int:
        """Updates in the epochs before."""
        return (epoch - self.plan.first) * len(self.train)

    def each(self, hook: str, *arguments: Any) -> None:
        """Call a hook of every callback."""
        for callback in self.callbacks:
            getattr(callback, hook)(*arguments)

    def begin(self, trainer: TrainerView) -> None:
        """Tell callbacks that the fit begins."""
        self.generation, self.heads = trainer.model.generation, trainer.model.new_heads
        self.each("on_fit_begin", trainer, self.last - trainer.epoch)

    def tell_changes(self, trainer: TrainerView) -> None:
        """Tell callbacks that one of them has changed the freeze plan or the head."""
        model = trainer.model
        if model.generation != self.generation:
            new_head, self.generation, self.heads = model.new_heads != self.heads, model.generation, model.new_heads
            self.each("on_model_change", trainer, new_head)

    def leave_out(self, batch: Batch, *, shown: bool) -> bool:
        """Whether a batch, all of whose other images were unreadable, is left out; a line on stderr may say so."""
        if self.train.batch_size == 1 or len(self.train) == 1:
            return False
        if shown:
            name = self.train.split.names[int(batch.indices[0])]
            say(f"{name} is left out: it is alone in its batch, whose statistics are undefined")
        return True

    def progress(self, history: History, *, stop: bool) -> FitProgress:
        """What a checkpoint stores, so that the fit can be continued exactly."""
        return FitProgress(
            history=tuple(history),
            losses=tuple(self.losses),
            images=self.images,
            skipped=tuple((bad.name, bad.reason, bad.imputed) for bad in self.train.skipped),
            stop=stop,
            callbacks={
                f"{name}/{key}": array
                for name, callback in _named(self.callbacks).items()
                for key, array in callback.state().items()
            },
        )

    def restore(self, found: FitProgress) -> None:
        """Restore what an earlier part of the fit has recorded."""
        self.losses = list(found.losses)
        self.images = found.images or sum(number for _, number in found.losses)  # xfer 0.1 did not tell them apart
        self.train.know(Skipped(*bad) for bad in found.skipped)
        named = _named(self.callbacks)
        if lost := {key.partition("/")[0] for key in found.callbacks} - named.keys():
            kinds = ", ".join(sorted(name.rpartition(".")[0] for name in lost))
            raise UsageError(f"the fit was interrupted with the callbacks {kinds}: give them to Trainer.resume, too")
        for name, callback in named.items():
            if state := below(found.callbacks, name):
                callback.load_state(state)


def step_seed(seed: int, epoch: int, batch: int) -> int:
    """The seed of what is random inside the network in an update."""
    return zlib.crc32(f"{seed} {epoch} {batch}".encode())


def _named(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    """Callbacks by the name that a checkpoint gives them: the class, and how many of it came before."""
    seen: Counter[str] = Counter()
    found = {}
    for callback in callbacks:
        kind = type(callback).__name__
        found[f"{kind}.{seen[kind]}"] = callback
        seen[kind] += 1
    return found
