"""Images that deserve a second look: wrong labels, near-duplicates, outliers, pictures of which little can be seen."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data import Data, Split, load
from xfer.data.audit.appearance import Appearance, appearances
from xfer.data.audit.duplicates import Place
from xfer.data.audit.near import NearDuplicates, near_duplicates, same_picture
from xfer.data.audit.quality import QualityIssue, quality_issues
from xfer.errors import DataError, UsageError
from xfer.evaluation.label_errors import LabelError, judge_labels
from xfer.evaluation.loaders import together
from xfer.evaluation.neighbours import neighbour_distances, upper_fence
from xfer.features.cache import FeatureCache
from xfer.features.extract import extract
from xfer.models.base_model import BaseModel
from xfer.models.factory import load as load_model
from xfer.specs.tasks import spans


@dataclass(frozen=True)
class Outlier:
    """An image unlike the others.

    Args:
        place: the image.
        score: mean cosine distance of its features to the ten nearest images.
        bound: what it is above.
    """

    place: Place
    score: float
    bound: float


@dataclass(frozen=True, repr=False)
class LabelIssues:
    """What `find_label_issues` finds, the most suspicious first.

    Args:
        source: where the data came from.
        model: whose features were used.
        backend: on which.
        judged: every label that could be judged.
        near_duplicates: images of nearly the same pixels; those of the same pixels alone are in `xfer.data.inspect`.
        outliers: images unlike the others.
        quality: dark, blurred or tiny images, and those of low contrast.
        notes: what could not be judged, a line each.
    """

    source: str
    model: str
    backend: str
    judged: tuple[LabelError, ...]
    near_duplicates: tuple[NearDuplicates, ...]
    outliers: tuple[Outlier, ...]
    quality: tuple[QualityIssue, ...]
    notes: tuple[str, ...]

    @property
    def label_errors(self) -> tuple[LabelError, ...]:
        """The labels that are suspected to be wrong."""
        return tuple(each for each in self.judged if each.suspected)

    def __repr__(self) -> str:
        return f"LabelIssues({self.source}: {self.summary()})"

    def summary(self) -> str:
        """How many of each, in words."""
        errors, judged = len(self.label_errors), len(self.judged)
        return (
            f"{errors:,} of {judged:,} labels suspected, {len(self.near_duplicates):,} groups of near-duplicates, "
            f"{len(self.outliers):,} outliers, {len(self.quality):,} pictures of poor quality"
        )

    def document(self) -> dict[str, Any]:
        """What `xfer inspect --with --json` prints beside the inspection."""
        return {
            "label_errors": [_label_error(each) for each in self.label_errors],
            "near_duplicates": [[place.name for place in group.places] for group in self.near_duplicates],
            "outliers": [{**_place(each.place), "score": round(each.score, 6)} for each in self.outliers],
            "quality": [
                {**_place(each.place), "issue": each.issue, "value": round(each.value, 4), "bound": each.bound}
                for each in self.quality
            ],
            "judged": {
                "labels": len(self.judged),
                "model": self.model,
                "backend": self.backend,
                "notes": list(self.notes),
            },
        }


def find_label_issues(
    data: Any,
    model: str | Path | BaseModel = "efficientnet_lite0",
    *,
    backend: str | None = None,
    device: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    cache: bool | str | Path | FeatureCache = True,
) -> LabelIssues:
    """Find likely label errors (confident learning), near-duplicates, outliers, and pictures of poor quality.

    The images of all splits are judged together. Every label is compared with the class probabilities of a logistic
    regression on the model's features that saw neither the image nor another of the same picture (five folds, over
    all splits); classes with one picture are not judged. Of several tasks, each single-label task is.

    C. Northcutt, L. Jiang, I. Chuang: Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 70, 2021.

    Args:
        data: whatever `xfer.data.load` takes, of images.
        model: an architecture with its published weights, the folder of a run, or a model; its features are used.
        backend: of a model that is given by name.
        device: likewise. Such a model computes in float32.
        batch_size: images a forward pass.
        workers: decoding threads; None for one a core.
        cache: whether features are read from the cache, and kept in it; see `xfer.extract`.

    Raises:
        DataError: features in place of images, or no image can be read. UsageError: no such model.
    """
    source = load(data)
    if source.train.after is not None:
        raise DataError(f"{source.source} is outputs of {source.train.after!r} already: give pictures")
    extractor = _model(model, backend, device)
    splits = source.splits
    places = [place for name, split in splits.items() for place in _places(name, split)]
    whole = together(list(splits.values()))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # they do not say of which file they speak
        looks = appearances(whole, workers)
    rows, features = _features(extractor, source, whole, looks, batch_size, workers, cache)
    seen = [looks[i] for i in rows]
    groups, pairs = same_picture([each for each in seen if each is not None])
    of_rows = [places[i] for i in rows]
    judged, notes = _judge(source, whole.subset(rows), features, groups, of_rows)
    return LabelIssues(
        source=source.source,
        model=extractor.name,
        backend=extractor.backend.name,
        judged=tuple(judged),
        near_duplicates=tuple(near_duplicates(of_rows, groups, pairs)),
        outliers=tuple(_outliers(features, groups, of_rows)),
        quality=tuple(quality_issues(of_rows, seen)),
        notes=tuple(notes),
    )


def _model(model: str | Path | BaseModel, backend: str | None, device: str) -> BaseModel:
    if isinstance(model, BaseModel):
        if backend is not None and backend != model.backend.name:
            raise UsageError(f"backend={backend!r} is given beside a model on {model.backend.name}: leave it out")
        return model
    if not isinstance(model, str | Path):
        raise UsageError(f"model is a {type(model).__name__}: give a model, its name, or the folder of a run")
    # bfloat16 would make the ranking depend on the device.
    return load_model(model, backend=backend, device=device, precision="fp32")


def _places(name: str, split: Split) -> Iterator[Place]:
    for image, label in zip(split.names, split.labels.tolist(), strict=True):
        yield Place(name, image, split.classes[label] if label >= 0 else None)


def _features(
    model: BaseModel,
    source: Data,
    whole: Split,
    looks: Sequence[Appearance | None],
    batch_size: int,
    workers: int | None,
    cache: bool | str | Path | FeatureCache,
) -> tuple[np.ndarray, np.ndarray]:
    """Which images have features, and the features, float32 (N, D)."""
    readable = np.flatnonzero([each is not None for each in looks])
    if not len(readable):
        raise DataError(f"no image of {source.source} can be read")
    # An image's number in the place of its label says which of them are left.
    numbered = replace(whole.subset(readable), labels=readable, classes=(), targets=None, columns=None, column_names=())
    alone = Data(numbered, None, None, numbered.classes, source.source)
    found = extract(model, alone, batch_size=batch_size, workers=workers, cache=cache).train
    there = [i for i in range(len(found)) if _row(found, i) is not None]
    return found.labels[there], np.stack([found.images[i] for i in there])


def _row(split: Split, index: int) -> Any:
    """The features of an image; None where it is too long and thin to be resized."""
    from xfer.data.images.decode import BadImageError

    try:
        return split.images[index]
    except BadImageError:
        return None


def _judge(
    source: Data, split: Split, features: np.ndarray, groups: np.ndarray, places: Sequence[Place]
) -> tuple[list[LabelError], list[str]]:
    if not source.tasks:
        judged, remark = judge_labels(features, split.labels, groups, places, source.classes)
        return judged, [remark] if remark else []
    assert split.targets is not None
    everything, notes = list[LabelError](), list[str]()
    for task, _, span in spans(source.tasks):
        if task.kind != "single-label":
            notes.append(f"task {task.name} is {task.kind}: its targets are not judged")
            continue
        column = split.targets[:, span.start]
        labels = np.where(np.isnan(column), -1, column).astype(np.int64)
        judged, remark = judge_labels(features, labels, groups, places, task.classes, task.name)
        everything += judged
        notes += [remark] if remark else []
    return sorted(everything, key=lambda each: each.score), notes


def _outliers(features: np.ndarray, groups: np.ndarray, places: Sequence[Place]) -> list[Outlier]:
    distances = neighbour_distances(features, groups)
    bound = upper_fence(distances)
    order = np.argsort(-distances.round(6), kind="stable")
    return [Outlier(places[i], float(distances[i]), bound) for i in order.tolist() if distances[i] > bound]


def _place(place: Place) -> dict[str, Any]:
    return {"image": place.name, "split": place.split, "label": place.label}


def _label_error(found: LabelError) -> dict[str, Any]:
    task = {"task": found.task} if found.task else {}
    return {**_place(found.place), "suggested": found.suggested, "score": round(found.score, 6), **task}
