"""What `manifest.json` says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from xfer.checkpoints.backbone import Backbone
from xfer.checkpoints.stored import StoredFile
from xfer.runtime.text import classes_text
from xfer.specs.decision import Decision
from xfer.specs.head import Head
from xfer.specs.lora import Lora
from xfer.specs.loss import LossSpec
from xfer.specs.precision import Precision
from xfer.specs.preprocessing import Preprocessing
from xfer.specs.tasks import Task
from xfer.weights.hub import WeightsSource

FORMAT = 3  # 1 had no checksum, 2 no settings of a trainer

MANIFEST = "manifest.json"

METRICS = "metrics.json"  # what a finished run has beside it


@dataclass(frozen=True)
class FitPlan:
    """A fit under way: the epoch it began at, how many it takes, and its word in the history."""

    first: int
    epochs: int
    phase: str = ""


@dataclass(frozen=True)
class TrainingState:
    """The settings of a trainer and its position.

    Args:
        settings: the document of `xfer.specs.training_settings.TrainingSettings`, checked when it is used.
        loss: the loss, with class weights and priors as numbers.
        rates: learning rate of each block, before the schedule.
        base_rates: those that fine-tuning lowers; None where they are `rates`.
        batch_size: images an update; a number also where the settings say "auto".
        epoch, step: the next epoch and batch to train on.
        fit: the fit that was interrupted, if one was.
        micro_batch_size: images of a forward and backward pass, where a batch did not fit into memory.
        auto_lr: of lr="auto", the rate that was found for the head; "auto" before, when `rates` are ratios.
    """

    settings: dict[str, Any]
    loss: LossSpec
    rates: dict[str, float]
    batch_size: int
    epoch: int
    step: int
    fit: FitPlan | None = None
    micro_batch_size: int | None = None
    base_rates: dict[str, float] | None = None
    auto_lr: float | Literal["auto"] | None = None


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says."""

    format: int
    xfer: str
    model: str
    classes: tuple[str, ...]
    head: Head
    preprocessing: Preprocessing
    precision: Precision | Literal["auto"]
    trainable: tuple[str, ...]
    backend: str
    versions: dict[str, str]
    tensors: StoredFile
    optimizer: StoredFile | None = None
    training: TrainingState | None = None
    dropout: bool = True
    columns: int = 0
    tasks: tuple[Task, ...] = ()
    decision: Decision = field(default_factory=Decision)
    transformers: StoredFile | None = None
    column_names: tuple[str, ...] = ()
    numeric_columns: tuple[bool, ...] = ()
    estimator: StoredFile | None = None
    progress: StoredFile | None = None
    callbacks: StoredFile | None = None
    source: WeightsSource | None = None  # of the weights that the run began with, where they came from the hub
    resized: tuple[int, int] | None = None  # patches a side before and after, of those weights' position embeddings
    lora: Lora | None = None
    backbone: Backbone | None = None  # what `tensors` leaves out
    extra: dict[str, Any] = field(default_factory=dict)

    def files(self, *, training: bool) -> tuple[StoredFile, ...]:
        """The files beside it: what a model is loaded from, and with `training` what a run goes on from as well."""
        found = [self.tensors, self.transformers, self.estimator]
        found += [self.optimizer, self.progress, self.callbacks] if training else []
        return tuple(file for file in found if file is not None)

    def __repr__(self) -> str:
        state = "" if self.training is None else f", epoch {self.training.epoch}"
        return f"Manifest({self.model} on {self.backend}, {classes_text(self.classes)}{state})"
