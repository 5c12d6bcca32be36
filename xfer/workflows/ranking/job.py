"""One pass over the training images with each network, and the scores of its features."""

from __future__ import annotations

import gc
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data import Data, Loader, Split
from xfer.data import load as load_data
from xfer.data.batch import Skipped
from xfer.errors import (
    BackendError,
    DataError,
    DeviceError,
    NumbersError,
    UnknownNameError,
    UsageError,
    WeightsError,
    XferError,
)
from xfer.evaluation.logme import logme
from xfer.evaluation.probe import fold_count, linear_probe, nearest_neighbours
from xfer.evaluation.significance import mcnemar, wilson
from xfer.features.cache import FeatureCache
from xfer.models.backend import Backend, any_backend
from xfer.models.base_model import BaseModel
from xfer.runtime.progress import say
from xfer.specs.inputs import head_inputs
from xfer.specs.settings import RunSettings
from xfer.workflows.ranking.candidates import Candidate, LeftOut, named, on_this_machine, parse_count
from xfer.workflows.ranking.cost import seconds_per_image
from xfer.workflows.ranking.options import OF_MODEL, OF_TRAINING, OPTIONS
from xfer.workflows.ranking.ranking import LEVEL, Images, Ranked, Ranking
from xfer.workflows.setup import read_data


@dataclass(frozen=True, eq=False)
class Features:
    """Features of the images that can be read.

    Args:
        rows: float (N, D).
        indices: int64 (N,), of the images in their split.
        unreadable: why not, by index.
        computed: how many went through the network.
    """

    rows: np.ndarray
    indices: np.ndarray
    unreadable: dict[int, str]
    computed: int


def rank_models(
    data: Any,
    *,
    models: Iterable[str | BaseModel] | None = None,
    under: int | str | None = None,
    backend: str | Backend | None = None,
    cache: bool | str | Path | FeatureCache = True,
    progress: bool = True,
    **options: Any,
) -> Ranking:
    """Rank networks; the arguments and errors are those of `xfer.rank`."""
    for name in options:
        if name not in OPTIONS:
            raise UnknownNameError("option", name, OPTIONS)
    path = os.fspath(data) if isinstance(data, str | os.PathLike) else None
    config = RunSettings.of({"data": path or "DATA", **options})
    if models is not None and under is not None:
        raise UsageError("models and under are both given: under chooses among networks whose weights are at hand")
    given = None if models is None else named(models)
    most = None if under is None else parse_count(under)
    whole = _read(data, config)
    source, unlabelled = _checked(whole), int((~whole.train.labelled).sum())
    for each in given or ():
        if isinstance(each.model, BaseModel) and each.model.trained_on.among(source.source, source.train).any():
            raise UsageError(f"{each.name} was trained on these images: its features are no evidence about new ones")
    engine = any_backend(backend)
    candidates, left_out = (given, []) if given is not None else on_this_machine(engine, most)
    if not candidates:
        under_most = "" if most is None else f" of at most {most:,} parameters"
        raise UsageError(
            f"no network{under_most} has its weights on this machine: name some in models, which are downloaded"
        )
    return _rank(_Job(source, unlabelled, engine, config, FeatureCache.of(cache), progress), candidates, left_out)


@dataclass(frozen=True)
class _Job:
    data: Data
    unlabelled: int
    backend: Backend
    config: RunSettings
    cache: FeatureCache | None
    progress: bool

    def load(self, candidate: Candidate) -> BaseModel | LeftOut:
        """The network, or why it is left out."""
        if isinstance(candidate.model, str) and candidate.model not in self.backend.architectures():
            return LeftOut(candidate.name, f"backend {self.backend.name!r} does not have it")
        chosen = {name: getattr(self.config, name) for name in OF_MODEL}
        try:
            return candidate.load(self.backend, self.data.classes, **chosen, seed=self.config.seed)
        except DeviceError:
            raise
        except (WeightsError, BackendError, UsageError) as error:
            return LeftOut(candidate.name, str(error))

    def features(self, model: BaseModel) -> Features:
        """What the head would read of the training images."""
        size, workers = self.config.images_per_pass, self.config.workers
        known, computed = self.data.train, None
        if self.cache is not None:
            try:
                data, used = self.cache.data(model, self.data, "features", size, workers, ("train",))
                known, computed = data.train, used.computed
            except OSError as error:
                say(f"features are not kept: {error}")
        loader = Loader(known, model.spec.preprocessing, batch_size=size, workers=workers)
        rows, _, indices = loader.collect(lambda batch: model.stage(batch.inputs, "features"))
        found = head_inputs(rows, None)
        if not np.isfinite(found).all():
            raise NumbersError("its features of these images are not finite")
        return Features(found, indices, loader.unreadable, len(indices) if computed is None else computed)


def _rank(job: _Job, candidates: Sequence[Candidate], left_out: list[LeftOut]) -> Ranking:
    train, seed = job.data.train, job.config.seed
    found: list[tuple[Candidate, Ranked, np.ndarray]] = []
    first: Features | None = None
    for number, candidate in enumerate(candidates, 1):
        if job.progress:
            say(f"{number}/{len(candidates)} {candidate.name}")
        model = job.load(candidate)
        if isinstance(model, LeftOut):
            left_out.append(model)
            continue
        try:
            features = job.features(model)
        except NumbersError as error:
            left_out.append(LeftOut(candidate.name, str(error)))
            continue
        first = first or features
        if not np.array_equal(features.indices, first.indices):
            raise XferError(f"images of {job.data.source} changed while networks were ranked: run again")
        kept = _two_of_a_class(train.labels[features.indices])
        labels = np.unique(train.labels[features.indices][kept], return_inverse=True)[1]
        ranked, right = _scores(candidate, model, features, kept, labels, job.config)
        found.append((candidate, ranked, right))
        del model
        gc.collect()  # networks hold circles: the memory of each is to be free before the next
    if first is None:
        raise XferError(f"no network was ranked; {left_out[0].model}: {left_out[0].reason}")
    found.sort(key=lambda each: -each[1].logme)
    best, best_right = found[0][0], found[0][2]
    ranking = [replace(each, p_value=mcnemar(best_right, right).p_value) for _, each, right in found]
    engine = ranking[0].backend
    return Ranking(tuple(ranking), tuple(left_out), _images(job, first), seed, _command(job.config, best, engine))


def _scores(
    candidate: Candidate,
    model: BaseModel,
    features: Features,
    kept: np.ndarray,
    labels: np.ndarray,
    config: RunSettings,
) -> tuple[Ranked, np.ndarray]:
    """The scores of a network, and which images its probe has right, bool (N,)."""
    rows = features.rows[kept]
    right = linear_probe(rows, labels, config.seed) == labels
    ranked = Ranked(
        model=candidate.name,
        backend=model.backend.name,
        logme=logme(rows, labels),
        probe_accuracy=float(right.mean()),
        interval=wilson(int(right.sum()), len(right), LEVEL),
        p_value=1.0,
        knn_accuracy=float((nearest_neighbours(rows, labels) == labels).mean()),
        seconds_per_image=seconds_per_image(model, config.images_per_pass),
        parameters=sum(model.parameters.values()),
        bytes=sum(4 * int(np.prod(shape)) for shape in model.shapes().values()),
        features=rows.shape[1],
        image_size=model.spec.preprocessing.size,
        precision=model.spec.precision,
        computed=features.computed,
    )
    return ranked, right


def _read(data: Any, config: RunSettings) -> Data:
    if isinstance(data, str | os.PathLike):
        return read_data(config)
    found = load_data(data, val=config.val, seed=config.seed)
    return found if config.limit is None else replace(found, train=found.train.limit(config.limit, config.seed))


def _checked(data: Data) -> Data:
    """The data with the images to rank on: those of train that have a label, without columns.

    Raises:
        UsageError: several tasks, or labels that are shares. DataError: features in place of images, or fewer than two
        classes with two images.
    """
    train = data.train
    if data.tasks:
        raise UsageError(f"{data.source} has {len(data.tasks)} tasks: networks are ranked for the classes of one")
    if train.targets is not None:
        raise UsageError(
            f"the labels of {data.source} are shares of classes: networks are ranked for one class an image"
        )
    if train.after is not None:
        raise DataError(f"{data.source} is outputs of {train.after!r} already: give pictures")
    enough = [name for name, count in train.counts().items() if count > 1]
    if len(enough) < 2:
        raise DataError(
            f"{data.source} has {len(enough)} classes with two labelled images or more for training: networks are "
            "ranked by how well they tell at least two apart"
        )
    plain: Split = replace(train, columns=None, column_names=())
    return replace(data, train=plain if plain.labelled.all() else plain.subset(np.flatnonzero(plain.labelled)))


def _two_of_a_class(labels: np.ndarray) -> np.ndarray:
    """Places of the images whose class has another one: else it could not be both learned and judged.

    Raises:
        DataError: fewer than two such classes.
    """
    counts = np.bincount(labels)
    if (counts > 1).sum() < 2:
        raise DataError("fewer than two classes have two images that can be read")
    return np.flatnonzero(counts[labels] > 1)


def _images(job: _Job, features: Features) -> Images:
    given, train = job.data, job.data.train
    counts = np.bincount(train.labels[features.indices], minlength=len(train.classes))
    used = counts[counts > 1]
    return Images(
        source=given.source,
        used=int(used.sum()),
        classes=len(used),
        folds=fold_count(np.repeat(np.arange(len(used)), used)),
        unlabelled=job.unlabelled,
        single=tuple(train.classes[i] for i in np.flatnonzero(counts == 1)),
        skipped=tuple(Skipped(train.names[i], reason) for i, reason in sorted(features.unreadable.items())),
        untouched=sum(len(split) for name, split in given.splits.items() if name != "train"),
    )


def _command(config: RunSettings, best: Candidate, backend: str) -> str:
    """`xfer train` for the first of the ranking, with the options that were given; nothing for a user's own network."""
    if not isinstance(best.model, str):
        return ""
    words = ["xfer", "train", config.data, "--model", best.model]
    words += [] if best.weights == "imagenet" else ["--weights", best.weights or "none"]
    words += ["--backend", backend]
    for name in OF_TRAINING:
        if name in config.model_fields_set:
            words += [f"--{name.replace('_', '-')}", str(getattr(config, name))]
    return shlex.join(words)
