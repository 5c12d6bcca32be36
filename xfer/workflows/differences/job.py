"""The runs of a gap: with nothing exchanged, with one part at a time, and with all, for each seed."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data import Data
from xfer.data import load as load_data
from xfer.errors import DataError, UnknownNameError, UsageError
from xfer.features.cache import FeatureCache
from xfer.models.backend import Backend, get_backend
from xfer.models.base_model import BaseModel
from xfer.runtime.distributed import launch_environment
from xfer.runtime.profiling import Phases
from xfer.runtime.progress import Report, show_progress, work
from xfer.specs.numerics import Numerics, Value
from xfer.specs.settings import RunSettings
from xfer.training.trainer import Trainer
from xfer.workflows.differences.chosen import Exchange, Run, exchanges
from xfer.workflows.differences.gap import Effect, Gap, Images, NotApplied, difference
from xfer.workflows.differences.interval import Estimate
from xfer.workflows.differences.options import DEFAULTS, OPTIONS
from xfer.workflows.phases import train_phases
from xfer.workflows.setup import check_run, model_of, read_data

_PROBE = 2  # images


@dataclass(frozen=True)
class Scores:
    """Accuracy and loss on the validation images after the last epoch, by seed."""

    accuracy: list[float]
    loss: list[float]


def measure_gap(
    data: Any,
    *,
    from_: str,
    to: str,
    parts: str | Iterable[str] | None,
    seeds: int,
    backend: str | Backend | None,
    cache: bool | str | Path | FeatureCache,
    progress: bool,
    **options: Any,
) -> Gap:
    """Measure a gap; the arguments and errors are those of `xfer.gap`."""
    for name in options:
        if name not in OPTIONS:
            raise UnknownNameError("option", name, OPTIONS)
    if seeds < 2:
        raise UsageError(f"seeds={seeds}: give at least 2, for there is no noise to be seen in one")
    if launch_environment().size > 1:
        raise UsageError("a gap is measured in one process: start one")
    path = os.fspath(data) if isinstance(data, str | os.PathLike) else None
    engine = None if backend is None else get_backend(backend)
    config = RunSettings.of({**DEFAULTS, "data": path or "DATA", **options})
    wanted = exchanges(from_, to, parts)
    _check(config)
    with show_progress(progress):
        source = read_data(config) if path is not None else load_data(data, val=config.val, seed=config.seed)
        return _Job(config, _checked(source), engine, FeatureCache.of(cache)).gap(from_, to, wanted, seeds)


def _check(config: RunSettings) -> None:
    check_run(config)
    for name in ("lr", "batch_size"):
        if getattr(config, name) == "auto":
            raise UsageError(f"{name}=auto would find another value for each part: give a number")


def _checked(data: Data) -> Data:
    if data.tasks:
        raise UsageError(f"{data.source} has {len(data.tasks)} tasks: a gap is of the classes of one")
    if data.train is None or data.val is None:
        raise DataError(f"{data.source} has no validation images: give a split, or images to hold some out of")
    if data.train.after is not None:
        raise DataError(f"{data.source} is outputs of {data.train.after!r} already: give pictures")
    return data


@dataclass(frozen=True)
class _Job:
    config: RunSettings
    data: Data
    backend: Backend | None
    cache: FeatureCache | None

    @property
    def images(self) -> Images:
        """What the runs are trained and measured on."""
        return Images(self.data.source, *(len(self.data.splits[name]) for name in ("train", "val")))

    def gap(self, before: str, after: str, wanted: Sequence[Exchange], seeds: int) -> Gap:
        habits = Numerics.habits(before)
        base = self.model(habits)
        run = Run(self.config, self.images.train, base)
        missing = [NotApplied(each.part.name, why) for each in wanted if (why := run.lacks(each.part))]
        names = {each.name for each in missing}
        chosen = [each for each in wanted if each.part.name not in names]
        padding = next((each for each in chosen if each.part.name == "padding"), None)
        if padding is not None and self._same_features(base, habits.with_part(padding.part, padding.after)):
            missing.append(NotApplied("padding", f"{base.name} pads no convolution that has a stride"))
            chosen.remove(padding)
        if not chosen:
            raise UsageError(f"no part applies to this run: {'; '.join(f'{e.name}: {e.reason}' for e in missing)}")
        together = habits
        for each in chosen:
            together = together.with_part(each.part, each.after)
        kinds = [habits.with_part(each.part, each.after) for each in chosen]
        with work("measuring a gap", (len(kinds) + 2) * seeds, "runs") as report:
            reference = self.scores(base, seeds, report)
            own, engine, device = _trained_with(base), base.backend.name, base.spec.device
            del base, run
            found = [self.scores(self.model(kind), seeds, report) for kind in (*kinds, together)]
        effects = [_effect(each, reference, scores) for each, scores in zip(chosen, found, strict=False)]
        return Gap(
            before=before,
            after=after,
            backend=engine,
            model=self.config.model,
            trained_with=own,
            images=self.images,
            seeds=tuple(range(self.config.seed, self.config.seed + seeds)),
            settings={name: getattr(self.config, name) for name in OPTIONS if name != "seed"} | {"device": device},
            accuracy=tuple(reference.accuracy),
            loss=tuple(reference.loss),
            effects=tuple(effects),
            together=_whole("all together", before, after, reference, found[-1]),
            unexplained=_unexplained(effects, reference, found[-1]),
            not_applied=tuple(missing),
        )

    def model(self, numerics: Numerics) -> BaseModel:
        """The network with these habits."""
        gc.collect()  # networks hold circles: the memory of each is to be free before the next
        return model_of(self.config, self.data, numerics, self.backend)

    def scores(self, model: BaseModel, seeds: int, report: Report) -> Scores:
        """Train one network as often as there are seeds, from the same weights but of its head."""
        start, found = model.weights(), Scores([], [])
        for seed in range(self.config.seed, self.config.seed + seeds):
            model.set_weights(start | model.spec.initial_heads(seed))
            config = self.config.model_copy(update={"seed": seed})
            trainer = Trainer(model, settings=config, progress=False, cache=False if self.cache is None else self.cache)
            train_phases(config, self.data, trainer, Phases())
            last = trainer.history[-1]
            found.accuracy.append(float(last["val_accuracy"]))
            found.loss.append(float(last["val_loss"]))
            report.advance()
        return found

    def _same_features(self, model: BaseModel, numerics: Numerics) -> bool:
        size = model.spec.preprocessing.size
        images = np.random.default_rng(0).integers(0, 256, (_PROBE, size, size, 3)).astype(np.uint8)
        return bool(np.array_equal(model.stage(images, "features"), self.model(numerics).stage(images, "features")))


def _effect(exchange: Exchange, reference: Scores, found: Scores) -> Effect:
    before, after = exchange.words
    return replace(_whole(exchange.part.name, before, after, reference, found), source=exchange.sources)


def _whole(name: str, before: str, after: str, reference: Scores, found: Scores) -> Effect:
    accuracy = difference(reference.accuracy, found.accuracy)
    return Effect(name, before, after, "", accuracy, difference(reference.loss, found.loss))


def _unexplained(effects: Sequence[Effect], reference: Scores, together: Scores) -> Effect:
    """Of each seed, the difference of all together less the sum of those of the parts."""
    whole = _whole("", "", "", reference, together)
    left = [
        Estimate.of(np.subtract(all_of_them.by_seed, np.sum([each.by_seed for each in parts], axis=0)).tolist())
        for all_of_them, parts in (
            (whole.accuracy, [each.accuracy for each in effects]),
            (whole.loss, [each.loss for each in effects]),
        )
    ]
    return Effect("unexplained", "sum of the parts", "all together", "", *left)


def _trained_with(model: BaseModel) -> dict[str, str]:
    """The habits that the weights of a network were trained with."""
    card = model.card
    recipe, found = card.preprocessing, dict[str, Value]()
    found["resize"] = f"{recipe.interpolation}, {'antialiased' if recipe.antialias else 'not antialiased'}"
    found["crop"] = "squash" if recipe.squash else f"shorter side to {recipe.resize}, centre of {recipe.size}"
    found["normalisation"] = f"mean {recipe.mean}, std {recipe.std}"
    found["padding"] = "same" if card.same_padding else "symmetric"
    found["norm-eps"], found["norm-momentum"] = f"{card.norm_eps:g}", f"{card.norm_momentum:g}"
    return {name: str(value) for name, value in found.items()}
