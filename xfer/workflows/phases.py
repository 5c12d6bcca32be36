"""The phases of a run: the head, pseudo-labels, fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np

from xfer.data import Data
from xfer.runtime.profiling import Phases
from xfer.specs.settings import RunSettings
from xfer.training.trainer import Trainer
from xfer.workflows.pseudo_labels import pseudo_label
from xfer.workflows.setup import head_data


def train_phases(config: RunSettings, data: Data, trainer: Trainer, phases: Phases) -> Data:
    """Train phase by phase, leaving out those that were finished before an interruption.

    Returns:
        The data, with pseudo-labels if there are any.
    """
    model, under_way = trainer.model, trainer.plan.phase if trainer.plan else None
    over = {row["phase"] for row in trainer.history} - {under_way}

    def fit(phase: str, begin: Callable[[], object], images: Callable[[], Data]) -> None:
        if phase not in over:
            with phases.phase(phase.replace("-", "_")):
                if phase == under_way:
                    trainer.fit(images())
                else:
                    begin()

    def head() -> None:
        model.freeze()
        if config.lora is not None:
            model.unfreeze(only="lora")
        if config.train == "biases":
            model.unfreeze(only="biases")
            if config.train_norm is False:
                model.freezer.freeze_norm()
        trainer.fit(head_data(config, model, data), config.epochs, phase="head")

    def fine_tune() -> None:
        trainer.fine_tune(
            data,
            head_epochs=0,
            epochs=config.fine_tune,
            unfreeze=config.unfreeze,
            lr=config.fine_tune_lr,
            train_norm=config.weights == "none" if config.train_norm is None else config.train_norm,
        )

    if config.epochs:
        fit("head", head, lambda: head_data(config, model, data))
    if config.pseudo_label is not None:
        if "pseudo_labels" not in trainer.extra:
            labelled, report = pseudo_label(
                model, data, threshold=config.pseudo_label, batch_size=config.images_per_pass, cache=config.cache
            )
            trainer.extra["pseudo_labels"] = {"report": asdict(report), "labels": labelled.train.labels.tolist()}
        data = _relabelled(data, trainer.extra["pseudo_labels"]["labels"])
        epochs = max(config.epochs, 1)
        fit(
            "pseudo-label",
            lambda: trainer.fit(head_data(config, model, data), epochs, phase="pseudo-label"),
            lambda: head_data(config, model, data),
        )
    if config.fine_tune:
        fit("fine-tune", fine_tune, lambda: data)
    return data


def _relabelled(data: Data, labels: list[int]) -> Data:
    """The data with other labels in train, which an earlier part of the run has found."""
    return replace(data, train=replace(data.train, labels=np.array(labels, np.int64)))
