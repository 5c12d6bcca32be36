"""BaseModel: a network with named blocks and tensors, the same on every backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xfer.errors import UnknownNameError, UsageError
from xfer.freezer import Freezer, FreezeReport
from xfer.head import Head

if TYPE_CHECKING:
    from xfer.backend import Backend, ModelSpec
    from xfer.data import Data, OnBad, Split
    from xfer.evaluation import Evaluation
    from xfer.zoo import Card

STATISTICS = (".running_mean", ".running_var")


@dataclass(frozen=True)
class Prediction:
    """What the model sees in one image: the best class, its probability, and the k best as (label, probability)."""

    label: str
    probability: float
    top: tuple[tuple[str, float], ...]


class BaseModel(ABC):
    """A backbone and a head, readable and settable by canonical names.

    Names and layouts of tensors are torch's (`layer1.0.conv1.weight`, (out, in, kh, kw)) on every backend; images are
    uint8 (N, H, W, 3), block outputs (N, H, W, C), features (N, D), logits (N, K). Results are float32, float64 in
    precision "fp64". A backend implements the five methods at the end.

    Attributes:
        trainable: names of the tensors that training changes.
        freezer: the freeze plan.
        native: the framework's own object, a `torch.nn.Module` or a `keras.Model`, on normalised input.
    """

    native: Any

    def __init__(self, backend: Backend, spec: ModelSpec) -> None:
        self.backend, self.spec = backend, spec
        self.freezer = Freezer(self)
        self.trainable: frozenset[str] = frozenset()

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

    def replace_head(self, classes: Sequence[str] | int, head: Head | None = None, seed: int = 0) -> None:
        """Give the model a new head with seeded weights; it is trainable, the rest of the plan stays."""
        names = class_names(classes)
        head = head or Head()
        backbone = {name for name in self.trainable if self.card.block_of(name) != "head"}
        self.spec = replace(self.spec, head=head, classes=names)
        self.build_head()
        self.write(self.card.initial_heads(head, len(names), seed))
        self.freezer.restore(backbone | {n for n in self.parameters if self.card.block_of(n) == "head"})

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Class scores (N, K) of uint8 images (N, S, S, 3), in inference mode."""
        return self.outputs(images, ["head"])["head"]

    def block_outputs(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Output of every block, "features" (the head's input) and "head" (the logits), in inference mode."""
        return self.outputs(images, [*self.blocks[:-1], "features", "head"])

    def features(self, images: Any, *, batch_size: int = 32) -> np.ndarray:
        """What the head reads, for files, pictures, arrays or a data split as in `predict`.

        (N, D); where the head reads every place of a map (SqueezeNet), (N, P, D).
        """
        return self._stack("features", images, batch_size, (self.card.feature_dim,))

    def predict_proba(self, images: Any, *, batch_size: int = 32) -> np.ndarray:
        """Class probabilities float32 (N, K) in the order of `classes`; see `predict`."""
        return softmax(self._stack("head", images, batch_size, (len(self.classes),))).astype(np.float32)

    def predict(self, images: Any, *, top: int = 5, batch_size: int = 32) -> list[Prediction]:
        """What is in each image: a list with one `Prediction` an image, also for a single one.

        Args:
            images: a path, a Pillow image, a uint8 array (H, W, 3) or (N, H, W, 3), a list of these, or a split.
            top: how many classes to list for each image.
            batch_size: images a forward pass.

        Raises:
            DataError: an image that cannot be read, by name.
        """
        result = []
        for row in self.predict_proba(images, batch_size=batch_size):
            best = np.argsort(-row, kind="stable")[:top]
            ranked = tuple((self.classes[i], float(row[i])) for i in best)
            result.append(Prediction(*ranked[0], ranked))
        return result

    def evaluate(
        self, data: Data | Split | Any, *, batch_size: int = 32, workers: int | None = None, on_bad: OnBad = "report"
    ) -> Evaluation:
        """Metrics on a data set's validation split (or on the split given); see `xfer.evaluation.evaluate`."""
        from xfer.evaluation import evaluate

        return evaluate(self, data, batch_size=batch_size, workers=workers, on_bad=on_bad)

    def save(self, path: str | Path) -> Path:
        """Write a checkpoint folder that any backend loads; see `xfer.checkpoint`."""
        from xfer.checkpoint import save

        return save(self, path)

    def _stack(self, stage: str, images: Any, batch_size: int, tail: tuple[int, ...]) -> np.ndarray:
        rows = [self.outputs(batch, [stage])[stage] for batch in self._batches(images, batch_size)]
        return np.concatenate(rows) if rows else np.zeros((0, *tail), np.float32)

    def _batches(self, images: Any, batch_size: int) -> Iterator[np.ndarray]:
        from xfer.data import Loader, pictures

        split, preprocessing = pictures(images), self.spec.preprocessing
        loader = Loader(split, preprocessing, batch_size=batch_size, workers=None, on_bad="raise")
        yield from (batch.images for batch in loader.epoch(0))

    # What a backend implements.

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
    def outputs(self, images: np.ndarray, stages: Sequence[str]) -> dict[str, np.ndarray]:
        """Outputs of blocks by name in inference mode; "features" is the head's input, "head" the logits.

        Args:
            images: uint8 (N, S, S, 3); N may be 0.
            stages: block names, "features", or "input", which is the normalised images (N, S, S, 3).
        """


def class_names(classes: Sequence[str] | int) -> tuple[str, ...]:
    """Names for `classes`: as given, or "0" to "K-1" for a number.

    Raises:
        UsageError: fewer than one class, or a name given twice.
    """
    names = tuple(str(i) for i in range(classes)) if isinstance(classes, int) else tuple(map(str, classes))
    if not names:
        raise UsageError(f"classes={classes!r} names no class: give names or a number of at least 1")
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise UsageError(f"class {twice!r} is named twice: class names must differ")
    return names


def check_images(images: np.ndarray, size: int) -> None:
    """Refuse what is not a batch at the border.

    Raises:
        UsageError: anything but uint8 (N, size, size, 3).
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3):
        given = f"{images.dtype} {tuple(images.shape)}"
        raise UsageError(f"images are {given}: expected uint8 (N, {size}, {size}, 3); predict() resizes by itself")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (N, K) of logits (N, K), computed in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
