"""Ensembles: the averaged probabilities of several models, on any backends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np

from xfer.checkpoints import checkpoint, stored
from xfer.data import Batch, Data, OnBad, Split
from xfer.data import load as load_data
from xfer.errors import CheckpointError, UsageError
from xfer.evaluation.evaluate import judged
from xfer.evaluation.evaluation import Evaluation, evaluate_logits, mean
from xfer.evaluation.loaders import evaluation_loader
from xfer.features.cache import FeatureCache
from xfer.models.base_model import BaseModel
from xfer.models.factory import load
from xfer.models.finite import check_predictions
from xfer.models.predictions import SplitPredictions
from xfer.models.predictor import OnBatch, Predictor
from xfer.runtime import checksums, files
from xfer.runtime.paths import expanded
from xfer.specs.decision import Decision, softmax
from xfer.specs.inputs import Inputs
from xfer.workflows.ensemble_files import FORMAT, MANIFEST, MOST, read_ensemble


@dataclass(frozen=True, eq=False)
class Member:
    """A model; or one of several heads on its backbone, which then costs all of them one pass.

    Args:
        model: of one task.
        head: tensors of the head by canonical name, None for those that the model has.
    """

    model: BaseModel
    head: Mapping[str, np.ndarray] | None = None

    @contextmanager
    def active(self) -> Iterator[BaseModel]:
        """The model with this head on it, for this thread alone."""
        with self.model.exclusively():
            if self.head is not None:
                self.model.write(self.head)
            yield self.model


@dataclass(frozen=True, eq=False)
class Ensemble(Predictor):
    """Soft voting: the weighted mean of its members' probabilities.

    Args:
        members: models or `Member`s of the same classes in the same order.
        weights: one each, which sum to 1; empty for equal ones.
    """

    members: tuple[Member, ...]
    weights: tuple[float, ...] = field(default=())
    decision = Decision()

    def __post_init__(self) -> None:
        if len(self.members) > MOST:
            raise UsageError(f"{len(self.members):,} members: an ensemble has at most {MOST:,}")
        members = tuple(each if isinstance(each, Member) else Member(each) for each in self.members)
        if not members:
            raise UsageError("an ensemble has no members: give at least one model")
        for member in members:
            if member.model.spec.tasks:
                raise UsageError(f"{member.model.name} has several tasks: an ensemble averages the classes of one")
            if member.model.classes != members[0].model.classes:
                raise UsageError("the members have different classes: train them on the same data set")
        weights = self.weights or (1.0,) * len(members)
        if len(weights) != len(members) or min(weights) < 0 or not sum(weights) > 0:
            raise UsageError(f"weights={weights}: give one number >= 0 for each of {len(members)} members")
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "weights", tuple(float(w) / sum(weights) for w in weights))

    @property
    def name(self) -> str:
        """For titles."""
        return f"ensemble of {len(self.members)}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return self.members[0].model.classes

    @property
    def column_names(self) -> tuple[str, ...]:
        """Columns of a table that its members read beside an image."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.model.column_names))

    def predict_split(
        self, split: Split, *, batch_size: int = 32, tta: str = "none", on_batch: OnBatch | None = None
    ) -> SplitPredictions:
        """The mean probabilities for the images of a split; see `Predictor.predict_split`."""

        def tell(images: float) -> None:
            if on_batch is not None:
                on_batch(images / len(self.members))

        each = []
        for member in self.members:
            with member.active() as model:
                each.append(model.predict_split(split, batch_size=batch_size, tta=tta, on_batch=tell))
        total = sum(weight * found.outputs for weight, found in zip(self.weights, each, strict=True))
        return SplitPredictions(np.asarray(total, np.float32), each[-1].unreadable)

    def evaluate(
        self,
        data: Any,
        *,
        split: str | None = None,
        batch_size: int = 32,
        workers: int | None = None,
        on_bad: OnBad = "report",
        tta: str = "none",
        cache: bool | str | Path | FeatureCache = True,
    ) -> Evaluation:
        """Metrics on data; see `xfer.evaluation.evaluate.evaluate`."""
        options = {"batch_size": batch_size, "workers": workers, "on_bad": on_bad, "tta": tta, "cache": cache}
        return mean(self.evaluations(data, split=split, **options), self.weights)

    def explain(self, images: Any, *arguments: Any, **options: Any) -> NoReturn:
        """Refused: the maps of several networks do not add up to one; each model has its own `explain`."""
        raise UsageError(
            f"{self.name} models has no map of its own: explain one of them, ensemble.members[0].model or its member-0"
        )

    def evaluations(self, data: Any, **options: Any) -> list[Evaluation]:
        """Each member's own answers, on one pass for all heads of a backbone."""
        source = judged([member.model for member in self.members], data, options.pop("split", None))
        found: dict[int, Evaluation] = {}
        for model in {id(member.model): member.model for member in self.members}.values():
            mine = [i for i, member in enumerate(self.members) if member.model is model]
            several = len(mine) > 1 and options.get("tta", "none") == "none" and model.estimator is None
            if several:
                found |= dict(zip(mine, _heads(model, [self.members[i] for i in mine], source, options), strict=True))
            else:
                for i in mine:
                    with self.members[i].active() as alone:
                        found[i] = alone.evaluate(source, **options)
        return [found[i] for i in range(len(self.members))]

    def vote(self, data: Any, rounds: int = 50, **options: Any) -> Self:
        """The same members with weights chosen on the validation split of `data`.

        Members are added one after another, any of them more than once, each time the one with which the mean has the
        least log loss (Caruana et al. 2004); the counts of the best round are the weights.
        """
        evaluations = self.evaluations(load_data(data), **options)
        labels = evaluations[0].labels
        each = np.stack(
            [softmax(e.logits)[np.arange(len(labels)), labels] for e in evaluations if e.logits is not None]
        )
        counts, total, best = np.zeros(len(each)), np.zeros(len(labels)), (np.inf, np.ones(len(each)))
        least = np.finfo(np.float64).tiny
        for number in range(1, rounds + 1):
            losses = -np.log(np.maximum((total + each) / number, least)).mean(axis=1)
            chosen = int(losses.argmin())
            counts[chosen] += 1
            total = total + each[chosen]
            if losses[chosen] < best[0]:
                best = float(losses[chosen]), counts.copy()
        return replace(self, weights=tuple((best[1] / best[1].sum()).tolist()))

    def save(self, path: str | Path) -> Path:
        """Write a folder with a run for each model, the heads beside them, and `ensemble.json`."""
        folder = expanded(path)
        last = {id(member.model): member for member in self.members}  # of the heads on one backbone
        runs = {model: f"member-{number}" for number, model in enumerate(last)}
        listed = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for model, member in last.items():
                with member.active() as active:
                    active.save(folder / runs[model])
            for member in self.members:
                file = None if member.head is None else stored.write_tensors(folder, "head", member.head)
                listed.append({"run": runs[id(member.model)], "head": None if file is None else asdict(file)})
            document = {"format": FORMAT, "members": listed, "weights": self.weights}
            files.write_atomically(folder / MANIFEST, checksums.with_checksum(document))
        except OSError as error:
            raise CheckpointError(f"cannot write the ensemble {folder}: {error.strerror or error}") from None
        return folder

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto") -> Self:
        """The ensemble that `save` wrote, each member on the backend that it was on.

        Raises:
            CheckpointError: no ensemble, or a damaged one. BackendError: a framework that is not installed.
        """
        folder = expanded(path)
        document = read_ensemble(folder)
        runs = sorted({entry.run for entry in document.members})
        opened = load_members([folder / run for run in runs], device=device)
        models = {run: member.model for run, member in zip(runs, opened, strict=True)}
        members = []
        for entry in document.members:
            head = stored.read_tensors(folder, entry.head) if entry.head else None
            members.append(Member(models[entry.run], head))
        return cls(tuple(members), document.weights)


def load_members(runs: Sequence[str | Path], *, device: str = "auto") -> tuple[Member, ...]:
    """The models of runs, each on the backend that it was trained on."""
    backends = {run: checkpoint.open_checkpoint(run).manifest.backend for run in runs}
    # torch first: after TensorFlow it would crash the process.
    ordered = sorted(backends, key=lambda run: backends[run] != "torch")
    models = {run: load(run, backend=backends[run], device=device) for run in ordered}
    return tuple(Member(models[run]) for run in runs)


def _heads(model: BaseModel, members: Sequence[Member], data: Data, options: Mapping[str, Any]) -> list[Evaluation]:
    settings = {"batch_size": 32, "workers": None, "cache": True} | {k: v for k, v in options.items() if k != "tta"}
    loader = evaluation_loader(model, data, **settings)

    def logits(batch: Batch) -> np.ndarray:
        """(N, heads, K), on one pass through the backbone."""
        features = Inputs(model.stage(batch.inputs, "features"), "features", batch.columns)
        found = []
        for member in members:
            with member.active() as active:
                found.append(active.logits(features))
        return np.stack(found, axis=1)

    z, y, indices = loader.collect(logits)
    names, skipped = [loader.split.names[i] for i in indices], tuple(loader.skipped)
    check_predictions(model, z.reshape(len(z), -1), names)
    return [evaluate_logits(z[:, i], y, names, model.classes, model.decision, skipped) for i in range(len(members))]
