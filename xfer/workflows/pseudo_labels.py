"""Pseudo-labels: the model's own predictions as labels of images that have none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data import Data, Loader, Split
from xfer.errors import UsageError
from xfer.evaluation.loaders import relabelled
from xfer.features.cache import FeatureCache
from xfer.models.base_model import BaseModel
from xfer.models.finite import check_predictions
from xfer.runtime.text import count_of
from xfer.specs.decision import softmax


@dataclass(frozen=True)
class PseudoLabels:
    """What became of the images without a label.

    Args:
        threshold: of the probability.
        unlabelled: how many there were.
        given: names, classes and probabilities of those that got a label; `unlabelled - len(given)` stay without.
    """

    threshold: float
    unlabelled: int
    given: tuple[tuple[str, str, float], ...]

    def __repr__(self) -> str:
        labelled = f"{len(self.given):,} of {count_of(self.unlabelled, 'unlabelled image')} got a label"
        return f"PseudoLabels({labelled}, probability at least {self.threshold:g})"


def pseudo_label(
    model: BaseModel,
    data: Data,
    *,
    threshold: float = 0.95,
    batch_size: int = 32,
    cache: bool | str | Path | FeatureCache = True,
) -> tuple[Data, PseudoLabels]:
    """The data set with the model's own answer for a label where train has none and the model is sure (Lee 2013).

    Args:
        model: trained on the labels there are; of one task.
        data: its training images without a label are looked at, nothing else.
        threshold: least probability, in (0, 1]; calibrate the model first, for else it is surer than right.
        batch_size: images a forward pass.
        cache: as in `evaluate`.

    Returns:
        The data, with a note, and a report that names each image that got a label.

    Raises:
        UsageError: the threshold is no probability. DataError: not one of the unlabelled images can be read; one that
        cannot stays without.
    """
    if not 0.0 < threshold <= 1.0:
        raise UsageError(f"threshold={threshold} is not in (0, 1]: give for example 0.95")
    train = data.train
    if train.targets is not None:
        raise UsageError("pseudo-labels are of one task: the data has several")
    places = np.flatnonzero(train.labels < 0)
    if set(model.classes) - set(data.classes):  # the answer may be a class that the data does not have
        splits: dict[str, Any] = {name: relabelled(model, data, split) for name, split in data.splits.items()}
        data = replace(data, classes=model.classes, **splits)
        train = data.train
    labels, given = train.labels.copy(), []
    for index, label, probability in _answers(model, train.subset(places), batch_size, cache) if len(places) else ():
        if probability >= threshold:
            place, name = int(places[index]), model.classes[label]
            labels[place] = data.classes.index(name)
            given.append((train.names[place], name, probability))
    note = f"{len(given)} of {len(places)} images without a label got the model's own (threshold {threshold:g})"
    report = PseudoLabels(threshold, len(places), tuple(given))
    return replace(data, train=replace(train, labels=labels), notes=(*data.notes, note)), report


def _answers(
    model: BaseModel, split: Split, batch_size: int, cache: bool | str | Path | FeatureCache
) -> Iterable[tuple[int, int, float]]:
    """Index, class named and its probability, of every image that can be read."""
    kept = FeatureCache.of(cache)
    known = split if kept is None else kept.look_up(model, split)
    loader = Loader(known, model.spec.preprocessing, batch_size=batch_size, workers=None, columns=model.columns)
    logits, _, indices = loader.collect(lambda batch: model.logits(batch.inputs), doing="labelling images")
    check_predictions(model, logits, [split.names[i] for i in indices])
    probabilities = softmax(model.decision.scaled(logits))
    chosen = model.decision.choose(probabilities)
    sure = probabilities[np.arange(len(chosen)), chosen]
    return zip(indices.tolist(), chosen.tolist(), sure.tolist(), strict=True)
