"""Evaluating a model on labelled data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data import Data, Loader, OnBad, Split, load
from xfer.data.transforms.test_time import views_of
from xfer.errors import UsageError
from xfer.evaluation.evaluation import Evaluation, evaluate_logits, mean
from xfer.evaluation.loaders import evaluation_loader, one_split
from xfer.evaluation.metrics import METRICS
from xfer.evaluation.tasks import TasksEvaluation, evaluate_tasks
from xfer.features.cache import FeatureCache
from xfer.models.base_model import BaseModel
from xfer.models.finite import check_predictions
from xfer.runtime.progress import say
from xfer.specs.decision import Decision

Collect = Callable[[Loader, str], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Of a loader, and what the pass is called: logits, labels and indices of what can be read, as `Loader.collect`."""


def evaluate(
    model: BaseModel,
    data: Any,
    *,
    split: str | None = None,
    batch_size: int = 32,
    workers: int | None = None,
    on_bad: OnBad = "report",
    tta: str = "none",
    cache: bool | str | Path | FeatureCache = True,
    collect: Collect | None = None,
) -> Evaluation | TasksEvaluation:
    """Metrics of `model` on data, all of which is judged: nothing is held out of what was not trained on.

    Of a folder, a table or arrays that the model was trained on as they are given here, the share that `fit` held out
    for validation is judged, and a line on stderr says so.

    Args:
        model: its classes must include those of the data; they are matched by name.
        data: a split, or whatever `xfer.data.load` takes.
        split: "train", "val" or "test" of data that has several, or "all" of it. By default the validation split if
            there is one, else the test split, else all. A `Data` from which a share was held out has one.
        batch_size: images a forward pass.
        workers: decoding threads; None for one a core.
        on_bad: "report" lists unreadable images in `skipped`; "raise" stops at the first; "impute" puts a blank image
            in the place of each.
        tta: test-time augmentation, the mean of probabilities over views: "none", "flip", "five-crop", "ten-crop".
        cache: whether outputs of frozen blocks that training or `xfer features` has kept are read; none are made here.
            A path says where; see `xfer.features.cache.FeatureCache`.
        collect: has the logits of a loader computed elsewhere; see `Collect`.

    Raises:
        DataError: classes that the model does not know, or not one readable image; with `on_bad="raise"`, an
            image that cannot be read, by name. NumbersError: an answer is not finite, with the names of the images.
    """
    source = judged([model], data, split)
    if tta == "none":
        loader = evaluation_loader(model, source, batch_size=batch_size, workers=workers, on_bad=on_bad, cache=cache)
        return run(model, loader, collect=collect)
    if model.spec.tasks:
        raise UsageError("test-time augmentation averages the classes of one task: leave tta out with several")
    found, views = [], list(views_of(tta))
    for number, view in enumerate(views, 1):
        loader = evaluation_loader(model, source, batch_size=batch_size, workers=workers, on_bad=on_bad, view=view)
        found.append(run(model, loader, (), f"evaluating view {number} of {len(views)}", collect))
    thresholds = Decision(thresholds=model.decision.thresholds)  # the logits have the temperature already
    return mean([each for each in found if isinstance(each, Evaluation)], decision=thresholds)


def judged(models: Sequence[BaseModel], data: Any, split: str | None) -> Data:
    """The data with one split to evaluate on: of a single one, the images that none of the models was trained on.

    Data that is split already, `Data` and `Split`, is taken as it is.
    """
    source = load(data, val=0)
    if split is not None or len(source.splits) > 1 or isinstance(data, Data | Split):
        return one_split(source, split)
    seen = np.any([model.trained_on.among(source.source, source.train) for model in models], axis=0)
    others = np.flatnonzero(~seen)
    if seen.any():
        rest = "the others are judged" if len(others) else "the figures are too good"
        say(f"the model was trained on {seen.sum()} of these {len(seen)} images: {rest}")
    return one_split(source if not len(others) else replace(source, train=source.train.subset(others)), None)


def run(
    model: BaseModel,
    loader: Loader,
    metrics: Iterable[str] = tuple(METRICS),
    doing: str = "evaluating",
    collect: Collect | None = None,
) -> Evaluation | TasksEvaluation:
    """Metrics of `model` over one pass of `loader`, whose labels are the model's; by default all of them.

    Raises:
        NumbersError: an answer is not finite, with the names of the images.
    """
    if collect is not None:
        z, y, indices = collect(loader, doing)
    else:
        z, y, indices = loader.collect(lambda batch: model.logits(batch.inputs), doing=doing)
    names, skipped = tuple(loader.split.names[i] for i in indices), tuple(loader.skipped)
    check_predictions(model, z, names)
    if model.spec.tasks:
        return evaluate_tasks(model.spec.tasks, z, y, names, skipped, metrics)
    return evaluate_logits(z, y, names, model.classes, model.decision, skipped, metrics)
