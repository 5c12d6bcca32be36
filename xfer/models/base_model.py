"""BaseModel: a network with named blocks and tensors, the same on every backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xfer.errors import UnknownNameError, UsageError
from xfer.models import compilation
from xfer.models.finite import check_answers
from xfer.models.freezer import Freezer, FreezeReport
from xfer.models.precision import settle
from xfer.models.predictions import Prediction, rank
from xfer.specs.decision import Decision, softmax
from xfer.specs.estimator import FittedEstimator
from xfer.specs.head import EstimatorHead, Head
from xfer.specs.inputs import Inputs, check_images, head_inputs
from xfer.specs.names import class_names
from xfer.specs.tasks import Task, output_names, split_outputs

if TYPE_CHECKING:
    from xfer.data import Batch, Data, OnBad, Split
    from xfer.data.columns import Columns
    from xfer.data.transforms.test_time import View
    from xfer.features.cache import FeatureCache
    from xfer.models.backend import Backend
    from xfer.models.spec import ModelSpec
    from xfer.specs.precision import Precision
    from xfer.zoo import Card


STATISTICS = (".running_mean", ".running_var")


class BaseModel(ABC):
    """A backbone and a head, readable and settable by canonical names.

    Names and layouts of tensors are torch's (`layer1.0.conv1.weight`, (out, in, kh, kw)) on every backend; images are
    uint8 (N, H, W, 3), block outputs (N, H, W, C), features (N, D), logits (N, K). Results are float32, float64 in
    precision "fp64". A backend implements the methods at the end.

    Attributes:
        trainable: names of the tensors that training changes.
        freezer: the freeze plan.
        columns: how columns beside the image become the numbers that the head reads, if it reads any.
        decision: what becomes of logits: the temperature, and the thresholds of classes.
        estimator: of scikit-learn, which gives the logits in the head's place, if there is one.
        native: the framework's own object, a `torch.nn.Module` or a `keras.Model`, on normalised input.
        undecided: whether precision "auto" is still to be settled, on the first images that come.
        compiled: whether inference and training run compiled, as far as that is settled; see `xfer.models.compilation`.
    """

    native: Any

    def __init__(self, backend: Backend, spec: ModelSpec) -> None:
        self.backend, self.spec = backend, spec
        self.freezer = Freezer(self)
        self.trainable: frozenset[str] = frozenset()
        self.columns: Columns | None = None
        self.decision = Decision()
        self.estimator: EstimatorHead | FittedEstimator | None = None
        self.undecided = False
        self.compiled: dict[str, bool] = {}

    @property
    def card(self) -> Card:
        """The architecture's card."""
        return self.spec.card

    @property
    def name(self) -> str:
        """The architecture's name."""
        return self.spec.card.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.spec.classes

    @property
    def blocks(self) -> tuple[str, ...]:
        """Block names in forward order, "head" last."""
        return self.spec.card.block_names

    @property
    def parameters(self) -> dict[str, int]:
        """Number of elements of every tensor that could be trained, in forward order."""
        shapes = self.shapes()
        return {n: int(np.prod(s)) for n, s in shapes.items() if not n.endswith(STATISTICS)}

    def set_precision(self, precision: Precision) -> None:
        """Compute in "fp32" or "bf16" from now on; weights, statistics, the head and the loss are float32 in both."""
        self.undecided = False
        if precision != self.spec.precision:
            self.spec = replace(self.spec, precision=precision)
            self.apply_precision()

    def set_trainable(self, names: frozenset[str]) -> None:
        """Set `trainable`; `freeze`, `unfreeze` and `freezer` say it in words."""
        self.trainable = names
        self.apply_trainable()

    def freeze(self, *layers: str) -> FreezeReport:
        """Freeze layers, or everything but the head; see `Freezer.freeze`."""
        return self.freezer.freeze(*layers)

    def unfreeze(self, *names: str, last: int | None = None, layers: int | None = None) -> FreezeReport:
        """Make layers trainable, or everything; see `Freezer.unfreeze`."""
        return self.freezer.unfreeze(*names, last=last, layers=layers)

    def weights(self) -> dict[str, np.ndarray]:
        """All tensors by canonical name, statistics included."""
        return self.read(self.shapes())

    def live_weights(self) -> dict[str, np.ndarray]:
        """The tensors that training changes under the freeze plan, statistics of normalisation included."""
        frozen = set(self.freezer.frozen())
        return self.read(name for name in self.shapes() if name not in frozen)

    def set_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set the tensors named, frozen or not; the freeze plan stays and is proved against the new values.

        Raises:
            UnknownNameError: a name the model lacks. UsageError: a shape that does not fit.
        """
        shapes = self.shapes()
        for name, array in arrays.items():
            if name not in shapes:
                raise UnknownNameError("tensor", name, shapes)
            if tuple(array.shape) != shapes[name]:
                raise UsageError(f"tensor {name!r} has shape {tuple(array.shape)}: expected {shapes[name]}")
        self.write(arrays)
        self.freezer.snapshot()

    def replace_head(
        self,
        classes: Sequence[str] | Sequence[Task] | int,
        head: Head | EstimatorHead | None = None,
        seed: int = 0,
        *,
        columns: Columns | int = 0,
    ) -> None:
        """Give the model a new head with seeded weights; it is trainable, the rest of the plan stays.

        Args:
            classes: names or a number; or tasks, which have a head each.
            head: its shape; of tasks each brings its own.
            seed: of the weights.
            columns: what joins the features before the head, as in `xfer.load`.
        """
        tasks = tuple(t for t in classes if isinstance(t, Task)) if not isinstance(classes, int) else ()
        names = output_names(tasks) if tasks else class_names(classes)  # type: ignore[arg-type]
        width = columns if isinstance(columns, int) else columns.width
        backbone = {name for name in self.trainable if self.card.block_of(name) != "head"}
        network = head if isinstance(head, Head) else Head()
        self.spec = replace(self.spec, head=network, classes=names, tasks=tasks, columns=width)
        self.columns, self.decision = (None if isinstance(columns, int) else columns), Decision()
        self.estimator = head if isinstance(head, EstimatorHead) else None
        self.build_head()
        self.write(self.spec.initial_heads(seed))
        self.freezer.restore(backbone | {n for n in self.parameters if self.card.block_of(n) == "head"})

    def logits(self, inputs: np.ndarray | Inputs) -> np.ndarray:
        """Class scores (N, K) of uint8 images (N, S, S, 3), or of `Inputs`, in inference mode."""
        return self.outputs(inputs, ["head"])["head"]

    def block_outputs(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Output of every block, "features" (the head's input) and "head" (the logits), in inference mode."""
        return self.outputs(images, [*self.blocks[:-1], "features", "head"])

    def features(self, images: Any, *, batch_size: int = 32) -> np.ndarray:
        """What the head reads of each image, for files, pictures, arrays or a data split as in `predict`.

        (N, D); where the head reads every place of a map (SqueezeNet), (N, P, D).
        """
        split = replace(self._split(images, None), columns=None, column_names=())
        batches = self._batches(split, batch_size, columns=None)
        rows = [self.stage(batch.inputs, "features") for batch in batches]
        return np.concatenate(rows) if rows else np.zeros((0, self.card.feature_dim), np.float32)

    def stage(self, inputs: np.ndarray | Inputs, name: str) -> np.ndarray:
        """Outputs of one stage before the head, whatever columns the head reads; inputs after it are the outputs."""
        given, width = Inputs.of(inputs), self.spec.columns
        if given.after == name:
            return given.values
        blank = np.zeros((len(given), width)) if width else None
        return self.outputs(Inputs(given.values, given.after, blank), [name])[name]

    def predict_proba(self, images: Any, *, columns: Any = None, batch_size: int = 32, tta: str = "none") -> np.ndarray:
        """Class probabilities float32 (N, K) in the order of `classes`; see `predict`."""
        from xfer.data.transforms.test_time import views_of

        self._one_task("predict_proba")
        views = list(views_of(tta))
        total: Any = 0.0
        for view in views:
            z = self._logits_of(images, columns, batch_size, view)
            total = total + softmax(self.decision.scaled(z))
        return np.asarray(total / len(views), np.float32)

    def predict(
        self, images: Any, *, columns: Any = None, top: int = 5, batch_size: int = 32, tta: str = "none"
    ) -> list[Prediction]:
        """What is in each image: a list with one `Prediction` an image, also for a single one.

        Args:
            images: a path, a Pillow image, a uint8 array (H, W, 3) or (N, H, W, 3), a list of these, or a split.
            columns: what a table says beside each image, rows of cells, where the model reads columns.
            top: how many classes to list for each image.
            batch_size: images a forward pass.
            tta: test-time augmentation: the mean over views of each image; see `xfer.data.transforms.test_time`.

        Raises:
            DataError: an image that cannot be read, by name. NumbersError: an answer is not finite, likewise.
        """
        probabilities = self.predict_proba(images, columns=columns, batch_size=batch_size, tta=tta)
        return rank(probabilities, self.classes, self.decision, top)

    def predict_tasks(self, images: Any, *, columns: Any = None, batch_size: int = 32) -> dict[str, np.ndarray]:
        """Predictions to every task, float64 (N, K): probabilities of its classes or labels, or numbers; see `predict`."""
        if not self.spec.tasks:
            raise UsageError(f"{self.name} has one task: call predict_proba")
        return split_outputs(self.spec.tasks, self._logits_of(images, columns, batch_size))

    def evaluate(
        self,
        data: Data | Split | Any,
        *,
        batch_size: int = 32,
        workers: int | None = None,
        on_bad: OnBad = "report",
        tta: str = "none",
        cache: bool | str | Path | FeatureCache = True,
    ) -> Any:
        """Metrics on a data set's validation split (or on the split given); see `xfer.evaluation.evaluate`."""
        from xfer.evaluation.evaluate import evaluate

        return evaluate(self, data, batch_size=batch_size, workers=workers, on_bad=on_bad, tta=tta, cache=cache)

    def _one_task(self, what: str) -> None:
        if self.spec.tasks:
            raise UsageError(f"{self.name} has {len(self.spec.tasks)} tasks: call predict_tasks, not {what}")

    def _logits_of(self, images: Any, columns: Any, batch_size: int, view: View | None = None) -> np.ndarray:
        split = self._split(images, columns)
        rows = [self.logits(b.inputs) for b in self._batches(split, batch_size, columns=self.columns, view=view)]
        z = np.concatenate(rows) if rows else np.zeros((0, len(self.classes)), np.float32)
        check_answers(self, z, split.names)
        return z

    def _split(self, images: Any, columns: Any) -> Split:
        from xfer.data import pictures

        split = pictures(images)
        if columns is None or self.columns is None:
            return split
        cells = np.empty((len(columns), len(self.columns.names)), object)
        for i, row in enumerate(columns):
            cells[i] = [row[name] for name in self.columns.names] if isinstance(row, Mapping) else list(row)
        return replace(split, columns=cells, column_names=self.columns.names)

    def _batches(
        self, split: Split, batch_size: int, *, columns: Columns | None, view: View | None = None
    ) -> Iterator[Batch]:
        from xfer.data import Loader

        recipe = self.spec.preprocessing
        loader = Loader(
            split, recipe, batch_size=batch_size, workers=None, on_bad="raise", columns=columns, augment=view
        )
        yield from loader.epoch(0)

    def save(self, path: str | Path) -> Path:
        """Write a checkpoint folder that any backend loads; see `xfer.checkpoints.checkpoint`.

        In a run of several processes call it in all: the first writes, the others wait.
        """
        from xfer.checkpoints.checkpoint import save

        self.backend.distributed_context(self.spec.device).on_main_process(lambda: save(self, path), "save")
        return Path(path)

    def outputs(self, inputs: np.ndarray | Inputs, stages: Sequence[str]) -> dict[str, np.ndarray]:
        """Outputs of blocks by name in inference mode; "features" is the head's input, "head" the logits.

        Args:
            inputs: uint8 images (N, S, S, 3), N may be 0; or `Inputs` that begin after a block or bring columns.
            stages: block names, "features", or "input", which is the normalised images (N, S, S, 3).
        """
        accepted = self.accept(inputs)
        there = ("input", *self.stages_after(None)) if accepted.after is None else self.stages_after(accepted.after)
        for stage in stages:
            if stage not in there:
                raise UnknownNameError("stage", stage, there)
        with self.backend.deterministically(self.spec):
            if self.spec.compile and "inference" not in self.compiled and accepted.after is None:
                compilation.settle(
                    self, "inference", lambda: self.run(accepted, tuple(s for s in stages if s != "head"))
                )
            if self.estimator is None or "head" not in stages:
                return self.run(accepted, tuple(stages))
            return self._run_estimator(accepted, tuple(stages))

    def stages_after(self, after: str | None) -> tuple[str, ...]:
        """Names of the stages that run on outputs of `after`, or on images: blocks, "features" and "head"."""
        stages = (*self.blocks[:-1], "features", "head")
        return stages if after is None else stages[stages.index(after) + 1 :]

    def accept(self, inputs: np.ndarray | Inputs) -> Inputs:
        """Refuse at the border what is not a batch for this model.

        Raises:
            UsageError: anything but uint8 (N, S, S, 3), or outputs of a block, with the columns that the model reads.
        """
        given, width = Inputs.of(inputs), self.spec.columns
        if given.after is None:
            check_images(given.values, self.spec.preprocessing.size)
            if self.undecided and len(given):
                settle(self, given.values)
        elif given.after not in self.entries:
            raise UnknownNameError("stage to begin after", given.after, self.entries)
        if (given.columns is None) != (width == 0) or (width and given.columns.shape != (len(given), width)):  # type: ignore[union-attr]
            found = "no columns" if given.columns is None else f"columns of shape {given.columns.shape}"
            raise UsageError(
                f"{self.name} was given {found}: expected {f'({len(given)}, {width})' if width else 'none'}"
            )
        return given

    def _run_estimator(self, inputs: Inputs, stages: Sequence[str]) -> dict[str, np.ndarray]:
        if not isinstance(self.estimator, FittedEstimator):
            raise UsageError("the head is an estimator that has not been fitted: call Trainer(model).fit(data) first")
        if inputs.after == "features":
            found = {"features": inputs.values}
        else:
            found = self.run(inputs, tuple(dict.fromkeys(["features", *(s for s in stages if s != "head")])))
        read = head_inputs(found["features"], inputs.columns)
        fine = np.isfinite(read).all(axis=1)
        logits = self.estimator.logits(np.where(fine[:, None], read, 0))
        logits[~fine] = np.nan  # which not every estimator takes
        found["head"] = logits.astype(np.float64 if self.spec.precision == "fp64" else np.float32)
        return {stage: found[stage] for stage in stages}

    @property
    def entries(self) -> tuple[str, ...]:
        """Stages whose outputs the network can begin with."""
        return self.stages_after(None)[:-1]

    # What a backend implements.

    @abstractmethod
    def apply_precision(self) -> None:
        """Take over a precision of the spec, "fp32" or "bf16", that has changed."""

    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all tensors by canonical name in forward order, statistics included."""

    @abstractmethod
    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Copies of tensors by canonical name, in torch's layouts."""

    @abstractmethod
    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set tensors by canonical name, in torch's layouts."""

    @abstractmethod
    def apply_trainable(self) -> None:
        """Take over `trainable`.

        In training, a block in which nothing is trainable runs in inference mode, and so does every normalisation
        layer in which nothing is trainable: batch statistics unused, running statistics unchanged, no dropout.
        """

    @abstractmethod
    def build_head(self) -> None:
        """Replace the head, and the last layers of auxiliary classifiers, as `spec` says, with undefined weights."""

    @abstractmethod
    def run(self, inputs: Inputs, stages: Sequence[str]) -> dict[str, np.ndarray]:
        """See `outputs`; the inputs are checked and the stages are there. Columns join the features before the head."""
