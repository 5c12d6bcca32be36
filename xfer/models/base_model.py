"""BaseModel: what a user does with a network, the same on every backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from xfer.checkpoints.backbone import Original
from xfer.checkpoints.saving import save
from xfer.checkpoints.snapshot import ModelSnapshot
from xfer.data.columns import Columns
from xfer.data.dataset import Split
from xfer.data.loader import Loader
from xfer.data.sources.load import pictures
from xfer.data.transforms.test_time import TestTimeView, views_of
from xfer.errors import UnknownNameError, UsageError, check_name
from xfer.models import lora
from xfer.models.drop_rates import DropRates
from xfer.models.finite import check_predictions
from xfer.models.freezer import Freezer, FreezeReport, Only
from xfer.models.network import Network
from xfer.models.predictions import OnUnreadable, SplitPredictions
from xfer.models.predictor import PREDICTING, OnBatch, Predictor, split_of
from xfer.runtime.paths import expanded
from xfer.runtime.progress import work
from xfer.specs.decision import Decision, softmax
from xfer.specs.estimator import FittedEstimator
from xfer.specs.head import EstimatorHead, Head
from xfer.specs.lora import Lora
from xfer.specs.names import class_names
from xfer.specs.tasks import Task, output_names, split_outputs


class BaseModel(Network, Predictor):
    """A network to freeze, train, evaluate, predict with and save.

    Threads may share it: one at a time runs it or changes it. It can be pickled and copied.

    Attributes:
        original: the weights that it was loaded with, where they can be read again.
    """

    original: Original | None = None
    drop_rates = DropRates()

    @property
    def freezer(self) -> Freezer:
        """The freeze plan."""
        return Freezer(self)  # made anew: a model that is part of a circle would not be freed when it is let go of

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Its tasks, if it has several."""
        return self.spec.tasks

    @property
    def column_names(self) -> tuple[str, ...]:
        """Columns of a table that it reads beside an image."""
        return self.columns.names if self.columns is not None else ()

    def freeze(self, *layers: str) -> FreezeReport:
        """Freeze layers, or everything but the head; see `Freezer.freeze`."""
        return self.freezer.freeze(*layers)

    def unfreeze(
        self, *names: str, last: int | None = None, layers: int | None = None, only: Only | None = None
    ) -> FreezeReport:
        """Make layers trainable, or everything, or only biases or adapters; see `Freezer.unfreeze`."""
        return self.freezer.unfreeze(*names, last=last, layers=layers, only=only)

    def add_lora(
        self, rank: int = 8, alpha: float | None = None, layers: str | Sequence[str] = (), *, seed: int = 0
    ) -> FreezeReport:
        """Give linear layers below the head adapters, which are trained with the head; everything else is frozen.

        LoRA (Hu et al. 2021, arXiv:2106.09685): a layer computes W x + (alpha / rank) B A x + b. A is drawn, B is zero,
        so nothing changes before training. Weights, as everything that is frozen, stay bitwise the same.

        Args:
            rank: columns of B and rows of A.
            alpha: by default `rank`.
            layers: blocks, globs or `re:` patterns; by default all linear layers below the head.
            seed: of A.

        Raises:
            UsageError: no such linear layer, adapters that are there, or a head that is an estimator.
        """
        patterns = [layers] if isinstance(layers, str) else list(layers)
        with self.exclusively():
            wanted = Lora(rank, float(rank if alpha is None else alpha), lora.chosen(self, patterns))
            lora.attach(self, wanted)
            self.write(wanted.initial(self.shapes(), seed))
            self.freezer.freeze()
            return self.freezer.unfreeze(only="lora")

    def merge_lora(self) -> None:
        """Add the adapters to the weights of their layers, and take them away: the outputs stay, to rounding.

        Raises:
            UsageError: there are none.
        """
        with self.exclusively():
            lora.merge(self)
            self.freezer.snapshot()

    def live_names(self) -> list[str]:
        """Names of the tensors that training changes under the freeze plan, statistics of normalisation included."""
        frozen = set(self.freezer.frozen())
        return [name for name in self.shapes() if name not in frozen]

    def live_weights(self) -> dict[str, np.ndarray]:
        """The tensors that training changes under the freeze plan, statistics of normalisation included."""
        return self.read(self.live_names())

    def set_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set the tensors named, frozen or not; the freeze plan stays, and is verified against the new values.

        Raises:
            UnknownNameError: a name that the model does not have. UsageError: a shape that does not fit.
        """
        shapes = self.shapes()
        for name, array in arrays.items():
            if name not in shapes:
                raise UnknownNameError("tensor", name, shapes)
            if tuple(array.shape) != shapes[name]:
                raise UsageError(f"tensor {name!r} has shape {tuple(array.shape)}: expected {shapes[name]}")
        with self.exclusively():
            self.write(arrays)
            self.freezer.snapshot()

    def set_drop_rates(self, rates: DropRates) -> None:
        """Set the rates of stochastic depth and dropout below the head in training; a trainer does it at each fit.

        Raises:
            UsageError: a rate of layers that the network does not have.
        """
        if rates != self.drop_rates:
            rates.check(self.card)
            with self.exclusively():
                self.drop_rates = rates
                self.generation += 1
                self.apply_drop_rates()

    def apply_drop_rates(self) -> None:
        """Take over `drop_rates`; a backend whose networks have no such layers keeps this."""

    def replace_head(
        self,
        classes: Sequence[str] | Sequence[Task] | int,
        head: Head | EstimatorHead | None = None,
        seed: int = 0,
        *,
        columns: Columns | int = 0,
    ) -> None:
        """Give the model a new head with seeded weights; it is trainable, the rest of the plan stays.

        A trainer that goes on with the model begins with empty optimizer state for the new tensors.

        Args:
            classes: names or a number; or tasks, which have a head each.
            head: its shape; each task brings its own.
            seed: seed of the weights.
            columns: what joins the features before the head, as in `xfer.load`.
        """
        tasks = tuple(t for t in classes if isinstance(t, Task)) if not isinstance(classes, int) else ()
        names = output_names(tasks) if tasks else class_names(classes)  # type: ignore[arg-type]
        width = columns if isinstance(columns, int) else columns.width
        backbone = {name for name in self.trainable if self.card.block_of(name) != "head"}
        network = head if isinstance(head, Head) else Head()
        with self.exclusively():
            self.spec = replace(self.spec, head=network, classes=names, tasks=tasks, columns=width)
            self.columns, self.decision = (None if isinstance(columns, int) else columns), Decision()
            self.estimator = head if isinstance(head, EstimatorHead) else None
            self.build_head()
            self.new_heads += 1
            self.write(self.spec.initial_heads(seed))
            # Also where the names are the same: the tensors are new.
            self.set_trainable(frozenset(backbone | {n for n in self.freezable if self.card.block_of(n) == "head"}))
            self.freezer.snapshot()

    def features(self, images: Any, *, batch_size: int = 32) -> np.ndarray:
        """The input of the head for each image, for files, images, arrays or a data split as in `predict`.

        (N, D); where the head reads every place of a map (SqueezeNet), (N, P, D).
        """
        split = replace(pictures(images), columns=None, column_names=())
        loader = Loader(split, self.spec.preprocessing, batch_size=batch_size, workers=None, on_bad="raise")
        found = [self.stage(batch.inputs, "features") for batch in loader.epoch(0, doing="extracting features")]
        return np.concatenate(found) if found else np.zeros((0, self.card.feature_dim), np.float32)

    def predict_tasks(
        self,
        images: Any,
        *,
        columns: Any = None,
        batch_size: int = 32,
        on_bad: OnUnreadable = "raise",
    ) -> dict[str, np.ndarray]:
        """Predictions for every task, float64 (N, K): probabilities of its classes or labels, or numbers.

        NaN for what cannot be read; the arguments and errors are those of `predict`.
        """
        if not self.tasks:
            raise UsageError(f"{self.name} has one task: call predict_proba")
        check_name("on_bad", on_bad, get_args(OnUnreadable))
        split = split_of(images, columns, self.column_names)
        with work(PREDICTING, len(split)) as report:
            found = self.predict_split(split, batch_size=batch_size, on_batch=report.advance)
        return dict(found.of_all(split.names, on_bad))

    def loader(self, split: Split, batch_size: int, view: TestTimeView | None = None) -> Loader:
        """Batches of a split as predictions read them: every image once, in order, with the columns of the model."""
        if (columns := self.columns) is not None:
            split = split.with_columns(columns.names)
        recipe = self.spec.preprocessing
        return Loader(split, recipe, batch_size=batch_size, workers=None, columns=columns, augment=view)

    def predict_split(
        self, split: Split, *, batch_size: int = 32, tta: str = "none", on_batch: OnBatch | None = None
    ) -> SplitPredictions:
        """Predictions for the images of a split; see `Predictor.predict_split`."""
        views = list(views_of(tta))
        if self.tasks and len(views) > 1:
            raise UsageError("test-time augmentation averages the classes of one task: leave tta out with several")

        def tell(images: int) -> None:
            if on_batch is not None:
                on_batch(images / len(views))

        total, unreadable = np.zeros(()), dict[int, str]()
        for view in views:
            logits, unreadable = self._logits_of(split, batch_size, view, tell)
            if self.tasks:
                return SplitPredictions(split_outputs(self.tasks, logits), unreadable)
            total = total + softmax(self.decision.scaled(logits))
        return SplitPredictions(np.asarray(total / len(views), np.float32), unreadable)

    def evaluate(self, data: Any, **options: Any) -> Any:
        """Metrics on data: all of it, or the validation split where there is one; see `xfer.evaluation.evaluate`.

        Args:
            data: a split, or whatever `xfer.data.load` takes; nothing is held out of it.
            options: `split`, `batch_size`, `workers`, `on_bad`, `tta`, `cache`, as `xfer.evaluation.evaluate.evaluate`.
        """
        from xfer.evaluation.evaluate import evaluate

        return evaluate(self, data, **options)

    def explain(
        self, images: Any, target: Any = None, method: str = "grad-cam", block: str | None = None, **options: Any
    ) -> Any:
        """Maps of the places of each image that an output depends on; see `xfer.evaluation.explanations.explain`.

        Args:
            images: what `predict` takes.
            target: a class name or index, `(task, class)` where there are several tasks, or a list with one for each
                image; None for the class that is predicted.
            method: "grad-cam" or "occlusion".
            block: whose output Grad-CAM reads; None for the last that is a map.
            options: `columns`, `batch_size`, `on_bad`, `patch`, `stride`, `fill`, as
                `xfer.evaluation.explanations.explain.explain`.

        Returns:
            `Explanations`: `maps` (N, S, S) from 0 to 1 over `images` (N, S, S, 3), S the network's image size.
        """
        from xfer.evaluation.explanations.explain import explain

        return explain(self, images, target, method, block, **options)  # type: ignore[arg-type]

    def save(self, path: str | Path) -> Path:
        """Write a checkpoint folder that any backend loads.

        In a run of several processes call it in all of them: the main process writes, the others wait.
        """
        context = self.backend.distributed_context(self.spec.device)
        context.on_main_process(lambda: save(self.snapshot(), path), "save")
        return expanded(path)

    def push(self, repo: str, **options: Any) -> str:
        """Write the model and a model card into a repository of the Hugging Face Hub; see `xfer.report.push`.

        Args:
            repo: "owner/name"; made if it is not there.
            options: `evaluation`, `license`, `private`, `token`, `revision`, `message`, as `xfer.report.push.push`.

        Returns:
            `hf://owner/name@<commit>`, which `xfer.load` takes.
        """
        from xfer.report.push import push

        return push(self, repo, **options)

    def snapshot(self, *, whole: bool = False) -> ModelSnapshot:
        """What a checkpoint stores of the model; the tensors are copies.

        Args:
            whole: with all tensors. Otherwise, of a model with adapters, those are left out that the weights which it
                was loaded with have, too.
        """
        weights, backbone = self.weights(), None
        if self.spec.lora is not None and self.original is not None and not whole:
            backbone = self.original.unchanged(self.card, weights)
        self.spec.numerics.check_own("saved")
        left_out = frozenset(backbone.tensors if backbone else ())
        return ModelSnapshot(
            name=self.name,
            backend=self.backend.name,
            versions=self.backend.versions(),
            weights={name: array for name, array in weights.items() if name not in left_out},
            trainable=tuple(sorted(self.trainable)),
            classes=self.classes,
            head=self.spec.head,
            preprocessing=self.spec.preprocessing,
            precision="auto" if self.undecided else self.spec.precision,
            dropout=self.spec.dropout,
            columns=self.spec.columns,
            tasks=self.spec.tasks,
            decision=self.decision,
            transformer=self.columns,
            estimator=self.estimator if isinstance(self.estimator, FittedEstimator) else None,
            source=self.source,
            resized=self.resized,
            lora=self.spec.lora,
            backbone=backbone,
        )

    def _logits_of(
        self, split: Split, batch_size: int, view: TestTimeView, tell: Callable[[int], object]
    ) -> tuple[np.ndarray, dict[int, str]]:
        """Logits (N, K), NaN for images that cannot be read, and why not, by index."""
        loader = self.loader(split, batch_size, view)
        kind = np.float64 if self.spec.precision == "fp64" else np.float32
        z = np.full((len(split), len(self.classes)), np.nan, kind)
        for batch in loader.epoch(0, allow_nothing=True):
            z[batch.indices] = self.logits(batch.inputs)
            tell(len(batch))
        tell(len(bad := loader.unreadable))
        good = [i for i in range(len(split)) if i not in bad]
        check_predictions(self, z[good], [split.names[i] for i in good])
        return z, dict(sorted(bad.items()))
