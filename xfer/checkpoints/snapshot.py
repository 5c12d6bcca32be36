"""What a checkpoint stores of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xfer.checkpoints.backbone import Backbone
from xfer.data.columns import Columns
from xfer.specs.decision import Decision
from xfer.specs.estimator import FittedEstimator
from xfer.specs.head import Head
from xfer.specs.lora import Lora
from xfer.specs.precision import Precision
from xfer.specs.preprocessing import Preprocessing
from xfer.specs.tasks import Task
from xfer.weights.hub import WeightsSource


@dataclass(frozen=True, eq=False)
class ModelSnapshot:
    """A model at one moment, without its framework.

    Args:
        name: of the architecture.
        backend: name of the backend.
        versions: of its packages.
        weights: the tensors by canonical name, in torch's layouts; all but those of `backbone`.
        trainable: names of the tensors that are trained.
        classes: class names in the order of the logits.
        head: the head's shape.
        preprocessing: input size and normalisation.
        precision: of the passes, "auto" if it was not chosen yet.
        dropout: whether the network's own dropout is active in training.
        columns: how many numbers join the features.
        tasks: those of a network with several heads.
        decision: temperature and thresholds.
        transformer: the transformer of the columns, if they have names.
        estimator: the scikit-learn estimator that is the head, if one is.
        source: the file on the hub that its weights were loaded from, if they were.
        resized: patches a side before and after, if the position embeddings of its weights were resized.
        lora: its adapters, if it has any.
        backbone: what `weights` leaves out, if anything.
    """

    name: str
    backend: str
    versions: dict[str, str]
    weights: Mapping[str, np.ndarray]
    trainable: tuple[str, ...]
    classes: tuple[str, ...]
    head: Head
    preprocessing: Preprocessing
    precision: Precision | Literal["auto"]
    dropout: bool
    columns: int
    tasks: tuple[Task, ...]
    decision: Decision
    transformer: Columns | None
    estimator: FittedEstimator | None
    source: WeightsSource | None
    resized: tuple[int, int] | None
    lora: Lora | None
    backbone: Backbone | None
