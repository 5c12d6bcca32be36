"""xfer as a scikit-learn classifier, for Pipeline, GridSearchCV and cross_val_score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_is_fitted, column_or_1d

from xfer.data import Data, pictures
from xfer.data.dataset import Split
from xfer.data.empty import is_empty
from xfer.errors import UsageError
from xfer.models.base_model import BaseModel
from xfer.models.factory import load
from xfer.specs.head import Head
from xfer.specs.loss import LossSpec
from xfer.training.trainer import Trainer

__all__ = ["ImageClassifier"]


class ImageClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A network with a new head, trained on a frozen backbone and fine-tuned if asked.

    Args:
        model: an architecture's name.
        backend: "torch", "tensorflow", "jax", or None for the first installed.
        weights: as in `xfer.load`.
        epochs: of the head.
        fine_tune: epochs of fine-tuning after them, of the last `unfreeze` blocks.
        unfreeze: see `Trainer.fine_tune`.
        lr: learning rate of the head.
        optimizer, batch_size, augment, sampling, image_size, device: as in `Trainer` and `xfer.load`.
        head: a `Head`, also `Head.sklearn(estimator)`; linear by default.
        loss: a `LossSpec`.
        seed: of weights and order.

    Attributes:
        classes_: the labels, sorted.
        model_: the trained `BaseModel`.
        history_: one row an epoch.
    """

    def __init__(
        self,
        model: str = "efficientnet_lite0",
        *,
        backend: str | None = None,
        weights: str | None = "imagenet",
        epochs: int = 10,
        fine_tune: int = 0,
        unfreeze: int = 1,
        lr: float = 1e-3,
        optimizer: str = "adamw",
        batch_size: int = 32,
        augment: str = "none",
        sampling: str = "none",
        image_size: int | None = None,
        head: Any = None,
        loss: LossSpec | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        self.model, self.backend, self.weights = model, backend, weights
        self.epochs, self.fine_tune, self.unfreeze, self.lr, self.optimizer = epochs, fine_tune, unfreeze, lr, optimizer
        self.batch_size, self.augment, self.sampling, self.image_size = batch_size, augment, sampling, image_size
        self.head, self.loss, self.device, self.seed = head, loss, device, seed

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on images and labels.

        Args:
            X: paths, Pillow images, or uint8 arrays: a list or a pandas Series of them, or an array (N,) of paths,
                (N, H, W) of grey pixels or (N, H, W, 3) of colours.
            y: labels (N,) of any type that sorts, of two classes or more.
            sample_weight: numbers (N,) that multiply the losses of the images; those of 0 are left out.

        Raises:
            UsageError: (a ValueError) labels that are missing, continuous, infinite or of more than one column; other
                numbers of images and labels; one class. DataError: an image that cannot be read, by name.
        """
        labels, weights = _labels(y), _weights(sample_weight, y)
        images = _list(X)
        if len(images) != len(labels):
            raise UsageError(f"X has {len(images)} images and y {len(labels)} labels: give as many")
        if not len(images):
            raise UsageError("Found array with 0 sample(s), while a minimum of 1 is required")  # scikit-learn's words
        counted = np.arange(len(labels)) if weights is None else np.flatnonzero(weights > 0)
        if not len(counted):
            raise UsageError("sample_weight is zero for all images: give some of them a weight")
        split, labels = pictures(images).subset(counted), labels[counted]
        self.classes_, places = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise UsageError(f"y has one class, {str(self.classes_[0])!r}: the classifier needs two or more")
        names = tuple(str(i) for i in range(len(self.classes_)))
        train = Split(split.images, places, split.names, names)
        if weights is not None:
            shares = np.eye(len(names))[places] * (weights[counted] / weights[counted].mean())[:, None]
            train = replace(train, targets=shares)
        data = Data(train, None, None, names, "X")
        self.model_: BaseModel = load(
            self.model,
            backend=self.backend,
            weights=self.weights,
            classes=names,
            head=self.head or Head(),
            device=self.device,
            image_size=self.image_size,
            seed=self.seed,
        )
        trainer = Trainer(
            self.model_,
            lr=self.lr,
            optimizer=self.optimizer,  # type: ignore[arg-type]
            loss=self.loss,
            batch_size=self.batch_size,
            seed=self.seed,
            augment=self.augment,
            sampling=self.sampling,  # type: ignore[arg-type]
            on_bad="raise",
            progress=False,
        )
        self.model_.freeze()
        if self.epochs:
            trainer.fit(data, self.epochs)
        if self.fine_tune:
            trainer.fine_tune(data, head_epochs=0, epochs=self.fine_tune, unfreeze=self.unfreeze)
        self.history_ = trainer.history
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities float32 (N, K) in the order of `classes_`."""
        check_is_fitted(self)
        return self.model_.predict_proba(_list(X), batch_size=self.batch_size)

    def predict(self, X: Any) -> np.ndarray:
        """Labels (N,)."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])


def _list(images: Any) -> Any:
    """Images one by one: scikit-learn splits arrays of paths, and an array of grey images is no single one."""
    if hasattr(images, "to_numpy"):  # of pandas
        images = images.to_numpy()
    if isinstance(images, np.ndarray) and images.ndim == 1:
        return [Path(str(each)) if isinstance(each, str) else each for each in images.tolist()]
    return list(images) if isinstance(images, np.ndarray) and images.ndim == 3 else images


def _labels(y: Any) -> np.ndarray:
    """Labels (N,), checked as scikit-learn does."""
    if y is None:
        raise UsageError("this estimator requires y to be passed, but the target y is None")
    try:
        labels = np.asarray(column_or_1d(y, warn=True))
        if labels.dtype.kind == "f":
            assert_all_finite(labels, input_name="y")
        if labels.dtype.kind == "O" and any(is_empty(each) for each in labels):
            raise ValueError("Input y contains NaN or None.")
        check_classification_targets(labels)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return labels


def _weights(given: Any, y: Any) -> np.ndarray | None:
    if given is None:
        return None
    weights = np.asarray(given, np.float64)
    if weights.shape != (len(y),) or not np.isfinite(weights).all() or (weights < 0).any():
        raise UsageError(f"sample_weight has shape {weights.shape}: give one number >= 0 for each of {len(y)} images")
    return weights
