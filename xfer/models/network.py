"""Network: tensors by name, blocks in order, and passes from images or block outputs to block outputs."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from xfer.data.columns import Columns
from xfer.data.dataset import Split
from xfer.data.loader import Loader
from xfer.data.trained_on import TrainedOn
from xfer.errors import UnknownNameError, UsageError
from xfer.models import compilation, fingerprint, precision
from xfer.models.engine import Engine
from xfer.models.spec import ModelSpec
from xfer.runtime.text import classes_text, listed, one_line
from xfer.specs.decision import Decision
from xfer.specs.estimator import FittedEstimator
from xfer.specs.head import EstimatorHead
from xfer.specs.inputs import Inputs, check_images, head_inputs
from xfer.specs.precision import Precision
from xfer.weights.hub import WeightsSource
from xfer.zoo.card import Card

STATISTICS = (".running_mean", ".running_var")
WRAPPED = "wrapped"  # the family of networks that are not the zoo's
_PROBE = 4  # images


class Network(ABC):
    """A backbone and a head, readable and settable by canonical names.

    Names and layouts of tensors are torch's (`layer1.0.conv1.weight`, (out, in, kh, kw)) on every backend; images are
    uint8 (N, H, W, 3), block outputs (N, H, W, C), features (N, D), logits (N, K). Results are float32, float64 in
    precision "fp64". A backend implements the methods at the end.

    Attributes:
        backend: the framework.
        spec: everything that the network was built from.
        trainable: the freeze plan, names of `freezable` that training changes.
        columns: the transformer of the columns that the head reads beside the features, if it reads any.
        decision: temperature and thresholds, from logits to the predicted class.
        estimator: a scikit-learn estimator that gives the logits in place of the head, if there is one.
        native: the framework's own object, a `torch.nn.Module` or a `keras.Model`, on normalised input.
        undecided: whether precision "auto" is still to be resolved, on the first images.
        compiled: whether inference and training run compiled, once that was chosen; see `xfer.models.compilation`.
        generation: how often the freeze plan or the head was changed; whoever holds something of the model compares it.
        new_heads: how often the head was replaced; state of the optimizer belongs to one head.
        digests: SHA-256 of what is frozen, from when the freeze plan was made.
        trained_on: the images that it was trained on in this process.
        source: the file on the hub that its weights were loaded from, if they were.
        resized: patches a side before and after, if the position embeddings of its weights were resized.
    """

    native: Any

    def __init__(self, backend: Engine, spec: ModelSpec) -> None:
        self.backend, self.spec = backend, spec
        self.trainable: frozenset[str] = frozenset()
        self.columns: Columns | None = None
        self.decision = Decision()
        self.estimator: EstimatorHead | FittedEstimator | None = None
        self.undecided = False
        self.compiled: dict[str, bool] = {}
        self.generation = self.new_heads = 0
        self.digests: dict[str, bytes] = {}
        self.trained_on = TrainedOn()
        self.source: WeightsSource | None = None
        self.resized: tuple[int, int] | None = None
        self._lock, self._process = threading.RLock(), os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_process")}

    def __repr__(self) -> str:
        spec, trained = self.spec, {self.card.block_of(name) for name in self.trainable}
        what = f"tasks {listed(t.name for t in spec.tasks)}" if spec.tasks else classes_text(spec.classes)
        plan = f"trainable: {listed(block for block in self.blocks if block in trained) or 'nothing'}"
        size = f"{sum(self.parameters.values()):,} parameters, {spec.preprocessing.size} px"
        how = f"{spec.precision} on {spec.device}" + (f", LoRA of rank {spec.lora.rank}" if spec.lora else "")
        how += f", {spec.numerics}" if spec.numerics.given else ""
        return f"{type(self).__name__}({one_line(self.name, 40)}: {what}\n  {size}, {how}; {plan})"

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock, self._process = threading.RLock(), os.getpid()

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """One thread at a time runs or changes the network.

        Raises:
            UsageError: in a forked process, where the framework's threads and locks are gone and a pass would hang.
        """
        if os.getpid() != self._process:
            raise UsageError(
                f"{self.name} was loaded before this process was forked, where {self.backend.name} would hang: load it "
                'in the worker, or start workers with multiprocessing.get_context("spawn")'
            )
        with self._lock:
            yield

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
        """Number of elements of every tensor that has a gradient, in forward order."""
        buffers = self.buffers()
        return {name: int(np.prod(shape)) for name, shape in self.shapes().items() if name not in buffers}

    @property
    def freezable(self) -> tuple[str, ...]:
        """What a freeze plan names, in forward order: all parameters, and buffers of layers that have no parameter."""
        buffers = self.buffers()
        layers = {layer_of(name) for name in self.shapes() if name not in buffers}
        return tuple(name for name in self.shapes() if name not in buffers or layer_of(name) not in layers)

    def weights(self) -> dict[str, np.ndarray]:
        """All tensors by canonical name, buffers included."""
        with self.exclusively():
            return self.read(self.shapes())

    def set_trainable(self, names: frozenset[str]) -> None:
        """Set `trainable`; `freeze`, `unfreeze` and `freezer` do it by blocks and layers."""
        with self.exclusively():
            self.trainable = names
            self.generation += 1
            self.apply_trainable()

    def set_precision(self, precision: Precision) -> None:
        """Compute in "fp32" or "bf16" from now on; weights, statistics, the head and the loss are float32 in both."""
        self.undecided = False
        if precision != self.spec.precision:
            self.spec = replace(self.spec, precision=precision)
            self.apply_precision()

    def resolve_precision(self, images: np.ndarray) -> None:
        """Choose between "fp32" and "bf16" if the precision is "auto", on the first of uint8 images (N, S, S, 3)."""
        if not self.undecided or not len(images):
            return
        self.undecided = False
        blank = np.zeros((len(images), self.spec.columns)) if self.spec.columns else None

        def features(chosen: Precision) -> np.ndarray:
            self.set_precision(chosen)
            inputs = Inputs(images, None, blank).take(np.arange(min(len(images), precision.IMAGES)))
            return self.run(inputs, ("features",))["features"]

        self.set_precision(precision.choose(self.name, self.fingerprint("features"), features))

    def resolve_precision_on(self, split: Split) -> None:
        """Choose the precision on the first images of a split that can be read; see `resolve_precision`."""
        if not self.undecided or split.after is not None:
            return
        plain = replace(split, columns=None, column_names=(), targets=None)
        for batch in Loader(plain, self.spec.preprocessing, batch_size=precision.IMAGES).epoch(0, allow_nothing=True):
            self.resolve_precision(batch.images)
            return

    def fingerprint(self, after: str, augmented: str = "") -> str:
        """The cache namespace of the outputs of a stage: a digest of everything but the image that decides them."""
        stages = self.stages_after(None)
        before = stages[: stages.index(after) + 1]
        beside = tuple(f"{branch.name}." for branch in self.card.auxiliary)  # no later block reads them
        names = [name for name in self.shapes() if self.card.block_of(name) in before and not name.startswith(beside)]
        arrays = self.read(names)
        if self.card.family == WRAPPED:  # the weights alone do not say what it computes
            arrays["outputs of random images"] = self._probe(after)
        return fingerprint.namespace(self.spec, self.backend, arrays, after, augmented)

    def logits(self, inputs: np.ndarray | Inputs) -> np.ndarray:
        """Class scores (N, K) of uint8 images (N, S, S, 3), or of `Inputs`, in inference mode."""
        return self.outputs(inputs, ["head"])["head"]

    def block_outputs(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Output of every block, "features" (the head's input) and "head" (the logits), in inference mode."""
        return self.outputs(images, [*self.blocks[:-1], "features", "head"])

    def stage(self, inputs: np.ndarray | Inputs, name: str) -> np.ndarray:
        """Outputs of one stage before the head, with or without columns; inputs after it are the outputs."""
        given, width = Inputs.of(inputs), self.spec.columns
        if given.after == name:
            return given.values
        blank = np.zeros((len(given), width)) if width else None
        return self.outputs(Inputs(given.values, given.after, blank), [name])[name]

    def outputs(self, inputs: np.ndarray | Inputs, stages: Sequence[str]) -> dict[str, np.ndarray]:
        """Outputs of blocks by name in inference mode; "features" is the head's input, "head" the logits.

        Args:
            inputs: uint8 images (N, S, S, 3), N may be 0; or `Inputs` that begin after a block or bring columns.
            stages: block names, "features", or "input", which is the normalised images (N, S, S, 3).
        """
        accepted = self.accept(inputs)
        known = ("input", *self.stages_after(None)) if accepted.after is None else self.stages_after(accepted.after)
        for stage in stages:
            if stage not in known:
                raise UnknownNameError("stage", stage, known)
        with self.exclusively(), self.backend.deterministically(self.spec):
            if self.spec.compile and "inference" not in self.compiled and accepted.after is None and len(accepted):
                before_head = tuple(s for s in stages if s != "head") or ("features",)
                compilation.choose(
                    "inference", lambda: self.run(accepted, before_head), self.compiled, self.spec.deterministic
                )
            if self.estimator is None or "head" not in stages:
                return self.run(accepted, tuple(stages))
            return self._run_estimator(accepted, tuple(stages))

    def activation_gradient(self, inputs: Any, block: str, at_logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Output of a block in inference mode, and the gradient of a weighted sum of the logits with respect to it.

        Both have the shape that `outputs` gives. Nothing of the model changes; frozen blocks have gradients too.

        Args:
            inputs: what `outputs` takes, N at least 1.
            block: a name of `blocks`, the head left out, after which the inputs do not begin.
            at_logits: (N, K), the weight of each logit in the sum; a row with a single 1 gives that logit's gradient.

        Raises:
            UsageError: the head is an estimator, or the logits do not depend on the block in a way that has a gradient.
        """
        accepted = self.accept(inputs)
        known = [name for name in self.stages_after(accepted.after) if name not in ("features", "head")]
        if block not in known:
            raise UnknownNameError("block", block, known)
        if self.estimator is not None:
            raise UsageError(f"the head of {self.name} is a scikit-learn estimator, which has no gradient")
        if at_logits.shape != (expected := (max(len(accepted), 1), len(self.classes))):
            raise UsageError(f"at_logits has shape {at_logits.shape}: expected {expected}")
        with self.exclusively(), self.backend.deterministically(self.spec):
            return self.run_gradient(accepted, block, at_logits)

    def stages_after(self, after: str | None) -> tuple[str, ...]:
        """Names of the stages that run on outputs of `after`, or on images: blocks, "features" and "head"."""
        stages = (*self.blocks[:-1], "features", "head")
        return stages if after is None else stages[stages.index(after) + 1 :]

    @property
    def entries(self) -> tuple[str, ...]:
        """Stages whose outputs the network can begin with."""
        return self.stages_after(None)[:-1]

    def accept(self, inputs: np.ndarray | Inputs) -> Inputs:
        """Refuse what is not a batch for this model.

        Raises:
            UsageError: anything but uint8 (N, S, S, 3), or outputs of a block, with the columns that the model reads.
        """
        given, width = Inputs.of(inputs), self.spec.columns
        if given.after is None:
            check_images(given.values, self.spec.preprocessing.size)
            self.resolve_precision(given.values)
        elif given.after not in self.entries:
            raise UnknownNameError("stage to begin after", given.after, self.entries)
        if (given.columns is None) != (width == 0) or (width and given.columns.shape != (len(given), width)):  # type: ignore[union-attr]
            found = "no columns" if given.columns is None else f"columns of shape {given.columns.shape}"
            raise UsageError(
                f"{self.name} was given {found}: expected {f'({len(given)}, {width})' if width else 'none'}"
            )
        return given

    def _probe(self, after: str) -> np.ndarray:
        size = self.spec.preprocessing.size
        images = np.random.default_rng(0).integers(0, 256, (_PROBE, size, size, 3)).astype(np.uint8)
        return self.stage(images, after)

    def _run_estimator(self, inputs: Inputs, stages: Sequence[str]) -> dict[str, np.ndarray]:
        if not isinstance(self.estimator, FittedEstimator):
            raise UsageError("the head is an estimator that has not been fitted: call Trainer(model).fit(data) first")
        wanted = tuple(dict.fromkeys(["features", *(s for s in stages if s != "head")]))
        found = {"features": inputs.values} if inputs.after == "features" else self.run(inputs, wanted)
        logits = self.estimator.finite_logits(head_inputs(found["features"], inputs.columns))
        found["head"] = logits.astype(np.float64 if self.spec.precision == "fp64" else np.float32)
        return {stage: found[stage] for stage in stages}

    # What a backend implements.

    @abstractmethod
    def apply_precision(self) -> None:
        """Take over a precision of the spec, "fp32" or "bf16", that has changed."""

    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all tensors by canonical name in forward order, buffers included."""

    def buffers(self) -> frozenset[str]:
        """Names of the tensors that have no gradient: running statistics, and other buffers of a wrapped network."""
        return frozenset(name for name in self.shapes() if name.endswith(STATISTICS))

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
    def build_lora(self) -> None:
        """Give the layers of `spec.lora` adapters of zeros; take those that are there away."""

    @abstractmethod
    def run(self, inputs: Inputs, stages: Sequence[str]) -> dict[str, np.ndarray]:
        """See `outputs`; inputs and stages are valid. Columns join the features before the head."""

    @abstractmethod
    def run_gradient(self, inputs: Inputs, block: str, at_logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `activation_gradient`; inputs, block and weights are valid, and N is at least 1."""


def layer_of(tensor: str) -> str:
    """The name of the layer that a tensor belongs to; its own where it is the network's itself."""
    return tensor.rpartition(".")[0] or tensor
